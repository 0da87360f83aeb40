//! What each step of a run gets: provider, clock, observer, stop signal and deadline.
//!
//! The steps take time, chance and the wish to stop from here and from nowhere else, so that a test
//! has all of them in hand.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::provider::retry::{Call, Clock, FailedTry, Patience, with_retry_reporting};
use crate::provider::{ApiError, BatchApi};

use super::note::StepNote;
use super::notice::{Notice, Observer};

/// How long a call is tried again while others wait behind it.
pub(crate) const BRIEFLY: Duration = Duration::from_secs(30);
/// A call that fails and succeeds within this time is nothing to speak of.
const NOT_WORTH_TELLING: Duration = Duration::from_millis(1_500);
/// How long a call may go without an answer before that is reported; then the time doubles, up to a
/// minute.
const SLOW: Duration = Duration::from_secs(10);
/// The longest time between two such reports.
const SLOW_AT_MOST: Duration = Duration::from_secs(60);
/// How long a call may take that starts after the deadline.
const A_MOMENT: Duration = Duration::from_secs(5);

/// What the steps that wait work with.
pub(crate) struct Context<'a> {
    /// The provider.
    pub api: &'a dyn BatchApi,
    /// Time and chance.
    pub clock: &'a dyn Clock,
    /// Receives progress.
    pub observer: &'a dyn Observer,
    /// Set when the user asks to stop.
    pub stop: StopSignal,
    /// How many requests may be in flight over all batches.
    pub max_queued_requests: u64,
    /// How long to look for a batch that may or may not have been created before it counts as not
    /// created.
    pub settle: Duration,
    /// How long what may pass is tried again.
    pub patience: Patience,
    /// When to leave, finished or not.
    pub deadline: Option<Timestamp>,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Everything that fits is sent.
    Sent,
    /// One poll of what is in flight; what has ended is saved. Nothing is sent but rows that are
    /// sent again.
    PolledOnce,
    /// Everything that was sent is saved. Nothing is sent but rows that are sent again.
    Fetched,
    /// Everything is sent and saved.
    Collected,
}

impl Until {
    /// Whether a batch of this attempt is sent: a command that only fetches spends no more than was
    /// decided when the run was submitted.
    pub(crate) fn sends(self, attempt: u32) -> bool {
        attempt > 1 || matches!(self, Until::Sent | Until::Collected)
    }
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// All results are saved.
    Complete,
    /// Batches are in flight, or wait to be sent.
    Unfinished,
    /// A batch may or may not have been created; its rows are not sent until that is known.
    InDoubt,
    /// The user asked to stop.
    Interrupted,
    /// What is still to be sent does not fit into the budget, and nothing is in flight whose end
    /// would make room.
    OverBudget,
}

/// Sets a [`StopSignal`].
#[derive(Debug, Clone)]
pub struct StopHandle(watch::Sender<bool>);

impl StopHandle {
    /// Asks everything that waits for the signal to stop after its current step.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Asks a call of the engine to stop after its current step.
#[derive(Debug, Clone)]
pub struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Makes a signal, and the handle that sets it.
    #[must_use]
    pub fn new() -> (StopHandle, StopSignal) {
        let (sender, receiver) = watch::channel(false);
        (StopHandle(sender), StopSignal(receiver))
    }

    /// Makes a signal that is never set.
    #[must_use]
    pub fn never() -> StopSignal {
        // A signal whose handle is gone keeps the value it has.
        StopSignal::new().1
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for something, or until the signal is set.
    pub(super) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut wish = self.0.clone();
        tokio::select! {
            done = work => Some(done),
            Ok(_) = wish.wait_for(|set| *set) => None,
        }
    }
}

impl Context<'_> {
    /// Whether the user asks to stop, or the deadline has come.
    pub(crate) fn is_leaving(&self) -> bool {
        self.stop.is_set()
            || self
                .deadline
                .is_some_and(|deadline| deadline <= self.clock.now())
    }

    /// Waits for a call that can be interrupted, until the run stops. A call that is begun after
    /// the deadline gets a short grace period, so that one poll always completes.
    pub(crate) async fn unless_leaving<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let Some(deadline) = self.deadline else {
            return self.stop.or(work).await;
        };
        let left = between(self.clock.now(), deadline).max(A_MOMENT);
        let in_time = async {
            tokio::select! {
                done = work => Some(done),
                () = self.clock.alarm(left) => None,
            }
        };
        self.stop.or(in_time).await.flatten()
    }

    /// Makes a call until it succeeds or the verdict is something else than to wait, at most for
    /// `longest`, and reports it meanwhile.
    pub(crate) async fn retrying<T, F, R>(
        &self,
        call: Call,
        longest: Option<Duration>,
        mut make: F,
    ) -> Result<T, ApiError>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<T, ApiError>>,
    {
        let report = |failed: FailedTry<'_>| {
            let FailedTry {
                error,
                since,
                after,
                ..
            } = failed;
            if since.saturating_add(after) > NOT_WORTH_TELLING {
                self.observer.notice(Notice::Retrying {
                    error,
                    since,
                    after,
                });
            }
        };
        with_retry_reporting(call, self.clock, self.patience, longest, report, || {
            self.reporting_if_slow(call, make())
        })
        .await
    }

    /// Waits for a call, and reports from time to time that it has not been answered.
    pub(crate) async fn reporting_if_slow<T>(
        &self,
        call: Call,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        let mut waited = Duration::ZERO;
        loop {
            let step = waited.clamp(SLOW, SLOW_AT_MOST);
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.clock.alarm(step) => {
                    waited += step;
                    self.observer.notice(Notice::Slow { call: call.name(), waited });
                }
            }
        }
    }

    /// Reports a note to the user.
    pub(crate) fn note(&self, note: StepNote) {
        self.observer.notice(Notice::Note(&note));
    }
}

/// The time from one timestamp to a later one; zero if they are reversed.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
