//! SIGINT, SIGTERM and SIGHUP: the first asks to stop, the second stops at once.
//!
//! The handlers are set for themselves, so that they hold for process 1 of a container too, where
//! what the kernel does by default is nothing. Whoever works looks at [`is_leaving`], or waits with
//! [`wanted`]; what only reads is ended after a moment. Being ended at any moment is safe: the
//! journal sees to that.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::exit_code;

/// How long something may go on that does not look at the signal.
const GRACE: Duration = Duration::from_secs(2);
/// How long something may go on that does, between two stretches of rows.
const LONG_GRACE: Duration = Duration::from_secs(10);

static WANTED: OnceLock<watch::Sender<bool>> = OnceLock::new();
/// Whether somebody leaves in an orderly way when asked to.
static IS_ORDERLY: AtomicBool = AtomicBool::new(false);

fn channel() -> &'static watch::Sender<bool> {
    WANTED.get_or_init(|| watch::channel(false).0)
}

/// Whether somebody looks at the signal now and then.
static IS_LOOKED_AT: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked to stop.
pub(crate) fn is_leaving() -> bool {
    IS_LOOKED_AT.store(true, Ordering::Relaxed);
    *channel().borrow()
}

/// From now on the work stops by itself when it is asked to, however long its current step takes.
pub(crate) fn leave_orderly() {
    IS_ORDERLY.store(true, Ordering::SeqCst);
}

/// Calls something when a signal asks to stop.
pub(crate) fn on_signal(stop: impl FnOnce() + Send + 'static) {
    let mut signal = channel().subscribe();
    // Ends with the process: nothing waits for it.
    let _ = std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            if let Ok(runtime) = runtime
                && runtime.block_on(signal.wait_for(|wanted| *wanted)).is_ok()
            {
                stop();
            }
        });
}

/// Waits until a signal asks to stop.
pub(crate) async fn wanted() {
    // The sender is never dropped.
    let _ = channel().subscribe().wait_for(|wanted| *wanted).await;
}

/// Listens for signals on a thread of its own. `say` puts a word on the screen, `stop` what stands
/// there last when the process is ended in the middle of its work.
pub(crate) fn listen(say: impl Fn(&str) + Send + 'static, stop: impl FnOnce() + Send + 'static) {
    channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a listener the system does what it does by default, which is safe too.
    let Ok(runtime) = runtime else { return };
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let _ = thread.spawn(move || {
        runtime.block_on(async {
            let mut signals = Signals::new();
            let _ = ready.send(());
            signals.next().await;
            // As long as nobody waits for it there is no receiver, and `send` would keep the old
            // value.
            channel().send_replace(true);
            if IS_ORDERLY.load(Ordering::SeqCst) {
                say(
                    "stopping after the current step; submitted batches keep running at the \
                    provider. A second signal stops at once",
                );
                signals.next().await;
            } else {
                tokio::select! {
                    () = signals.next() => {}
                    () = ended_by_itself() => {}
                }
            }
            stop();
            std::process::exit(exit_code::INTERRUPTED.into());
        });
    });
    let _ = is_ready.recv();
}

/// The grace of what does not look at the signal; without end for what does.
async fn ended_by_itself() {
    tokio::time::sleep(GRACE).await;
    if IS_LOOKED_AT.load(Ordering::Relaxed) {
        tokio::time::sleep(LONG_GRACE.saturating_sub(GRACE)).await;
    }
    if IS_ORDERLY.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn new() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        // Who was started with `nohup` is meant to outlive its terminal.
        if !is_hangup_ignored() {
            kinds.push(SignalKind::hangup());
        }
        Signals(
            kinds
                .into_iter()
                .filter_map(|kind| signal(kind).ok())
                .collect(),
        )
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let mut is_there =
                |signal: &mut tokio::signal::unix::Signal| signal.poll_recv(context).is_ready();
            if self.0.iter_mut().any(&mut is_there) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

/// Whether the process was started with SIGHUP ignored, as far as the system tells.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Signals {
        Signals
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
