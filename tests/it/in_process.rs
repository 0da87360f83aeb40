//! Whole runs in this process, with a clock that the test moves: [`Bench`] has an engine, a
//! simulator and a folder, and no wait of a run takes real time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use rowmill::durable::{Crash, crash_thread_at};
use rowmill::engine::{
    CancelOptions, CancelReport, CollectOptions, Engine, Error, Notice, Observer, PlanOptions,
    RetryOptions, RunOptions, RunReport, StopSignal, Target,
};
use rowmill::job::JobFile;
use rowmill::provider::Timeouts;
use rowmill::provider::anthropic::{AnthropicSpec, Credential};
use rowmill::provider::retry::Clock;
use rowmill::simulator::{
    ApiCall, RunningSimulator, SimFaults, SimLedger, SimSleep, Simulator, SimulatorSpec,
};
use secrecy::SecretString;
use tokio::sync::watch;

use crate::support::{Table, Workdir};

/// A clock that stands still until something sleeps: then it moves on by that time at once.
#[derive(Clone)]
pub(crate) struct TestClock {
    now: Arc<watch::Sender<Timestamp>>,
    /// Ends its batches before the time moves on, so that time never outruns it.
    /// Not the simulator itself, which holds this clock: the two would never be dropped.
    simulator: Arc<OnceLock<Weak<RunningSimulator>>>,
    /// How far the provider's clock is ahead, in seconds.
    ahead: Arc<AtomicI64>,
}

impl TestClock {
    /// A clock that begins in 2026.
    pub(crate) fn new() -> TestClock {
        TestClock::at("2026-11-30T08:00:00Z".parse().expect("a time"))
    }

    fn at(start: Timestamp) -> TestClock {
        TestClock {
            now: Arc::new(watch::channel(start).0),
            simulator: Arc::default(),
            ahead: Arc::default(),
        }
    }

    /// What the provider's clock shows.
    fn of_provider(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead.load(Ordering::SeqCst));
        self.now().checked_add(ahead).expect("a time that exists")
    }

    /// Puts the provider's clock ahead of ours (or behind, where negative).
    pub(crate) fn set_provider_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::SeqCst);
    }

    /// Moves on.
    pub(crate) fn advance(&self, by: Duration) {
        self.now
            .send_modify(|now| *now = now.checked_add(by).expect("a time that exists"));
    }
}

impl TestClock {
    /// Shows another time, as a clock that was set.
    pub(crate) fn set(&self, now: Timestamp) {
        self.now.send_replace(now);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.advance(duration);
            if let Some(simulator) = self.simulator.get().and_then(Weak::upgrade) {
                simulator.settle().await;
            }
            tokio::task::yield_now().await;
        }
        .boxed()
    }

    fn alarm(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let end = self.now().checked_add(duration).unwrap_or(Timestamp::MAX);
        let mut now = self.now.subscribe();
        async move {
            // The sender lives as long as the clock.
            let _ = now.wait_for(|now| *now >= end).await;
        }
        .boxed()
    }

    fn jitter(&self) -> f64 {
        0.0
    }

    fn is_manual(&self) -> bool {
        true
    }
}

/// Keeps what a run reports, as JSON.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<serde_json::Value>>>);

impl Notices {
    /// The notes of one kind so far.
    pub(crate) fn notes(&self, kind: &str) -> Vec<serde_json::Value> {
        let mut notes = self.of("note");
        notes.retain(|note| note["note"] == kind);
        notes
    }

    /// The notices of one kind so far.
    pub(crate) fn of(&self, kind: &str) -> Vec<serde_json::Value> {
        let notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = notices.iter().filter(|notice| notice["notice"] == kind);
        of_kind.cloned().collect()
    }
}

impl Observer for Notices {
    fn notice(&self, notice: Notice<'_>) {
        let notice = serde_json::to_value(&notice).expect("a notice is data");
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(notice);
    }
}

impl Notices {
    /// Keeps a fact that a call ended with.
    pub(crate) fn keep(&self, fact: serde_json::Value) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(fact);
    }

    /// Everything so far, which is forgotten.
    pub(crate) fn take(&self) -> Vec<serde_json::Value> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An engine, a simulator and a folder with a job.
pub(crate) struct Bench {
    pub(crate) work: Workdir,
    pub(crate) clock: TestClock,
    pub(crate) notices: Notices,
    simulator: Arc<RunningSimulator>,
    timeouts: Timeouts,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// With a simulator that makes no faults, and whose batches end at once.
    pub(crate) fn new(work: Workdir) -> Bench {
        Bench::with(work, "", Duration::ZERO)
    }

    /// With faults as in `docs/simulator.md`, and batches that take `processing` of the clock's
    /// time.
    pub(crate) fn with(work: Workdir, faults: &str, processing: Duration) -> Bench {
        Bench::at(TestClock::new(), work, faults, processing)
    }

    /// With calls that hang in real time, and a client that gives them up after a moment: how long
    /// a connection is silent is not measured with the clock of a run.
    pub(crate) fn with_hangs(work: Workdir, faults: &str) -> Bench {
        let hang: SimSleep = Arc::new(|time| tokio::time::sleep(time).boxed());
        let mut bench = Bench::of(TestClock::new(), work, faults, Duration::ZERO, hang);
        bench.timeouts.idle = Duration::from_millis(200);
        bench
    }

    /// The same folder a second later, with another simulator.
    pub(crate) fn with_other_simulator(self, faults: &str, processing: Duration) -> Bench {
        let clock = TestClock::at(self.clock.now());
        clock.advance(Duration::from_secs(1));
        Bench::at(clock, self.work, faults, processing)
    }

    fn at(clock: TestClock, work: Workdir, faults: &str, processing: Duration) -> Bench {
        let slept = clock.clone();
        let sleep: SimSleep = Arc::new(move |by| {
            slept.advance(by);
            futures_util::future::ready(()).boxed()
        });
        Bench::of(clock, work, faults, processing, sleep)
    }

    fn of(
        clock: TestClock,
        work: Workdir,
        faults: &str,
        processing: Duration,
        sleep: SimSleep,
    ) -> Bench {
        let folder = crate::support::folder_in_memory();
        let time = clock.clone();
        let spec = SimulatorSpec {
            faults: SimFaults::from_toml(faults).unwrap_or_else(|e| panic!("{e} in\n{faults}")),
            processing,
            ..SimulatorSpec::new(
                1,
                folder.path().to_path_buf(),
                Arc::new(move || time.of_provider()),
            )
        };
        let spec = spec.with_manual_time(sleep);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let start = Simulator::start(spec, ([127, 0, 0, 1], 0).into());
        let simulator = Arc::new(runtime.block_on(start).expect("the simulator starts"));
        assert!(clock.simulator.set(Arc::downgrade(&simulator)).is_ok());
        Bench {
            work,
            clock,
            notices: Notices::default(),
            simulator,
            timeouts: Timeouts::default(),
            folder,
            runtime,
        }
    }

    /// An engine as another process would have it: nothing but the files is shared.
    pub(crate) fn engine(&self) -> Engine {
        self.engine_with(StopSignal::never())
    }

    /// An engine that stops by a signal.
    pub(crate) fn engine_with(&self, stop: StopSignal) -> Engine {
        self.engine_at(self.simulator.base_url()).with_stop(stop)
    }

    /// An engine for another address.
    pub(crate) fn engine_at(&self, base_url: String) -> Engine {
        self.engine_in(self.state(), base_url)
    }

    /// An engine with another state directory.
    pub(crate) fn engine_in(&self, state: PathBuf, base_url: String) -> Engine {
        let key = Credential::ApiKey(SecretString::from(crate::support::KEY));
        let provider = AnthropicSpec {
            base_url,
            timeouts: self.timeouts,
            ..AnthropicSpec::new(key)
        };
        Engine::new(state)
            .expect("an engine")
            .with_provider(provider)
            .with_clock(self.clock.clone())
            .with_observer(self.notices.clone())
    }

    /// Does something with an engine on a thread of its own, which ends like a process that crashes
    /// when it is about to do its `n`-th act, counted from 1. `Err` where it came to that.
    ///
    /// All acts of a run are on the thread that calls the engine, since it polls its own futures;
    /// but for the spool files, which the threads that render rows commit. Those, and what an abort
    /// leaves because no destructor runs, are for the spawned crash test.
    pub(crate) fn crash_at<T: Send>(
        &self,
        n: u32,
        work: impl FnOnce(Engine) -> T + Send,
    ) -> Result<T, Crash> {
        let engine = self.engine();
        let armed = || {
            crash_thread_at(n);
            work(engine)
        };
        let done = std::thread::scope(|scope| scope.spawn(armed).join());
        done.map_err(|panic| match panic.downcast() {
            Ok(crash) => *crash,
            Err(other) => std::panic::resume_unwind(other),
        })
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.work.path(".rowmill")
    }

    /// The job of the folder.
    pub(crate) fn job(&self) -> Target {
        Target::job(JobFile::read(&self.work.path("job.toml")).expect("a job"))
    }

    pub(crate) fn run(&self) -> Result<RunReport, Error> {
        self.run_with(&RunOptions::default())
    }

    /// Runs the job, a second after the call before it, so that the newest run is known.
    pub(crate) fn run_with(&self, options: &RunOptions) -> Result<RunReport, Error> {
        self.clock.advance(Duration::from_secs(1));
        self.engine().run(&self.job(), options)
    }

    pub(crate) fn submit(&self) -> Result<RunReport, Error> {
        self.submit_with(&RunOptions::default())
    }

    /// Submits the job, a second after the call before it.
    pub(crate) fn submit_with(&self, options: &RunOptions) -> Result<RunReport, Error> {
        self.clock.advance(Duration::from_secs(1));
        self.engine().submit(&self.job(), options)
    }

    /// Collects the newest run of the job.
    pub(crate) fn collect(&self, wait: Option<Duration>) -> Result<RunReport, Error> {
        let options = CollectOptions {
            wait,
            ..CollectOptions::default()
        };
        self.engine().collect(&self.newest_run(), &options)
    }

    pub(crate) fn retry(&self, options: &RetryOptions) -> Result<RunReport, Error> {
        self.engine().retry(&self.newest_run(), options)
    }

    pub(crate) fn cancel(&self, abandon: bool) -> Result<CancelReport, Error> {
        let options = CancelOptions { abandon };
        self.engine().cancel(&self.newest_run(), &options)
    }

    /// The folder of the newest run of the job.
    pub(crate) fn newest_run(&self) -> PathBuf {
        self.engine()
            .find_run(&self.work.path("job.toml"))
            .expect("the job has a run")
    }

    /// The output as a table.
    pub(crate) fn output(&self) -> Table {
        self.work.parquet("out.parquet")
    }

    /// How often each row was accepted, by its key: what follows the nonce in its custom_id.
    pub(crate) fn accepted(&self) -> std::collections::BTreeMap<String, u64> {
        accepted(self.folder.path())
    }

    /// Takes a batch in that somebody else of the workspace sends.
    pub(crate) fn take_foreign_batch(&self, requests: usize) {
        let send = crate::support::send_foreign_batch(self.simulator.base_url(), requests);
        self.runtime.block_on(send);
    }

    /// The simulator.
    pub(crate) fn simulator(&self) -> &RunningSimulator {
        &self.simulator
    }
}

/// Runs by their folder.
impl Bench {
    /// Plans the job, and keeps the plan as a run in this folder.
    pub(crate) fn plan_at(&self, folder: &str) -> PathBuf {
        let job = JobFile::read(&self.work.path("job.toml")).expect("a job");
        let options = PlanOptions {
            out: Some(self.work.path(folder)),
            ..PlanOptions::default()
        };
        let planned = self.engine().plan(&job, &options).expect("a plan");
        planned.run.expect("the plan is kept")
    }

    /// Resumes the run in this folder.
    pub(crate) fn run_at(&self, folder: &Path) -> Result<RunReport, Error> {
        let run = Target::run(folder);
        self.engine().run(&run, &RunOptions::default())
    }
}

/// What a test looks at when a call has returned.
impl Bench {
    /// The requests of each batch that was accepted, in order.
    pub(crate) fn sent(&self) -> Vec<u64> {
        let ledger = self.simulator.ledger().expect("the ledger");
        ledger.batches.iter().map(|batch| batch.requests).collect()
    }

    /// How often a call was made.
    pub(crate) fn calls(&self, call: ApiCall) -> u64 {
        self.simulator.calls().get(&call).copied().unwrap_or(0)
    }

    /// Every result line of every batch, as it stands in the simulator's own results.
    pub(crate) fn result_lines(&self) -> Vec<serde_json::Value> {
        crate::support::result_lines(self.folder.path())
    }

    /// The text that was answered to each custom_id, as it stands in the simulator's own results.
    pub(crate) fn answers(&self) -> std::collections::BTreeMap<String, String> {
        crate::support::answers(&self.result_lines())
    }

    /// The entries of the ledger of the state directory.
    pub(crate) fn entries(&self) -> Vec<rowmill::ledger::LedgerEntry> {
        let ledger = rowmill::ledger::Ledger::open(&self.state()).expect("the ledger");
        ledger.entries().expect("its entries")
    }

    /// The job in another file of the folder.
    pub(crate) fn job_in(&self, name: &str) -> Target {
        Target::job(JobFile::read(&self.work.path(name)).expect("a job"))
    }
}

fn accepted(folder: &Path) -> std::collections::BTreeMap<String, u64> {
    let mut rows = std::collections::BTreeMap::new();
    for (id, times) in SimLedger::request_counts(folder).expect("the ledger") {
        let (_, key) = id.split_once('-').expect("a nonce and a key");
        *rows.entry(key.to_owned()).or_default() += times;
    }
    rows
}
