//! Submit, watch, collect in a loop, until everything is there or it is time to leave.
//!
//! ```text
//!   ┌─▶ settle doubts ─▶ send what fits ─▶ look at what is in flight ─▶ save what has ended ─▶ all saved? ─▶ done
//!   └──────────────────────────── wait, longer each time ◀──────────────────────────────────────┘
//! ```
//!
//! The loop holds nothing that is not in the journal: ended at any point and started again, it goes on.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::provider::BatchApi;
use crate::provider::retry::Clock;

use super::progress::{Listener, Progress};
use super::{Error, Run, collect, submit, watch as look};

/// What the steps that wait work with.
pub struct Driver<'a> {
    /// The provider.
    pub api: &'a dyn BatchApi,
    /// Time and chance.
    pub clock: &'a dyn Clock,
    /// Who hears of progress.
    pub listener: &'a dyn Listener,
    /// Set when a person wants to leave.
    pub stop: Stop,
    /// How many requests may be in flight over all batches.
    pub max_queued_requests: u64,
    /// How long to look for a batch whose create call lost its answer before it counts as not made.
    pub settle: Duration,
    /// When to leave, finished or not.
    pub deadline: Option<Timestamp>,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything that fits is sent.
    Sent,
    /// One look at what is in flight; what has ended is saved.
    LookedOnce,
    /// Everything is saved.
    Collected,
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All results are saved.
    Complete,
    /// Batches are in flight, or wait to be sent.
    Unfinished,
    /// A batch may or may not have been made; nothing is sent until that is known.
    InDoubt,
    /// A person wanted to leave.
    Interrupted,
}

/// A wish to leave, made known to everything that waits.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A wish, and the hand that makes it.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Stop) {
        let (sender, receiver) = watch::channel(false);
        (sender, Stop(receiver))
    }

    /// Whether it was made.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for something, or until the wish is made.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut wish = self.0.clone();
        tokio::select! {
            done = work => Some(done),
            Ok(_) = wish.wait_for(|set| *set) => None,
        }
    }
}

impl Driver<'_> {
    /// Goes on with a run, as far as it is told to.
    ///
    /// # Errors
    /// [`Error::Provider`] when the provider refuses or cannot be reached for long; [`Error::Journal`] and [`Error::File`] when what must
    /// be kept cannot be written. Everything accepted until then is recorded.
    pub async fn drive(&self, run: &mut Run, until: Until) -> Result<Standing, Error> {
        let mut eyes = look::Eyes::default();
        loop {
            if self.stop.is_set() {
                return Ok(Standing::Interrupted);
            }
            if until != Until::LookedOnce {
                submit::settle_doubts(self, run).await?;
                submit::send_what_fits(self, run).await?;
            }
            if until == Until::Sent {
                return Ok(standing(run));
            }
            look::look(self, run, &mut eyes).await?;
            collect::save_what_has_ended(self, run).await?;
            let standing = standing(run);
            if standing == Standing::Complete || until == Until::LookedOnce {
                return Ok(standing);
            }
            let Some(pause) = self.pause(run) else { return Ok(standing) };
            if self.stop.or(self.clock.sleep(pause)).await.is_none() {
                return Ok(Standing::Interrupted);
            }
        }
    }

    /// How long until the next look: a tenth of the time gone by, so that a short batch is seen at once and a long one costs few
    /// calls. `None` when the deadline comes first.
    fn pause(&self, run: &Run) -> Option<Duration> {
        let now = self.clock.now();
        let elapsed = run.oldest_in_flight().map_or(Duration::ZERO, |since| between(since, now));
        let pause = (elapsed / 10).clamp(Duration::from_millis(100), Duration::from_secs(60));
        if let Some(deadline) = self.deadline
            && between(now, deadline) <= pause
        {
            return None;
        }
        let (in_flight, ended) = run.progress();
        let of = run.batches();
        self.listener.hear(Progress::Waiting { in_flight, ended, of, elapsed, next: pause });
        Some(pause)
    }
}

fn standing(run: &Run) -> Standing {
    if run.is_collected() {
        Standing::Complete
    } else if run.doubts().next().is_some() {
        Standing::InDoubt
    } else {
        Standing::Unfinished
    }
}

/// The time from one moment to a later one; none if they are the other way round.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
