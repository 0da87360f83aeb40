//! Submit, watch, collect in a loop, until everything is there or it is time to leave.
//!
//! ```text
//!   ┌─▶ judge gates ─▶ send what fits ─▶ look for uncertain batches ─▶ look at what is in flight ─▶ save what has ended ─▶ all saved? ─▶ done
//!   └───────────────────────────────── wait, longer each time ◀───────────────────────────────────────────────────────┘
//! ```
//!
//! What stops the sending (a spend limit, a batch that is refused for good) ends the loop only
//! after what has ended was saved; results that cannot be fetched end it only when nothing else is
//! left. The loop holds nothing that is not in the journal: ended at any point and started again,
//! it resumes.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::journal::Step;
use crate::provider::retry::{Call, Clock, FailedTry, with_retry_telling};
use crate::provider::{ApiError, BatchApi};

use super::note::StepNote;
use super::notice::{Notice, Observer, WaitReason};
use super::{
    Error, Run, budget_check, checkpoints, collect, doubt, pace, resume, submit, watch as look,
};

/// Between two looks at the least. A tenth of a second costs a few calls at the start of a run, and
/// lets a small one end quickly.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at the most: the batch guide polls once a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// As long as a batch is uncertain, a look is worth more.
const LONGEST_PAUSE_IN_DOUBT: Duration = Duration::from_secs(15);
/// How long a call is tried again while others wait behind it.
pub(crate) const BRIEFLY: Duration = Duration::from_secs(30);
/// A call that fails and succeeds within this time is nothing to speak of.
const NOT_WORTH_TELLING: Duration = Duration::from_millis(1_500);
/// How long a call may go without an answer before that is reported; then the time doubles, up to a
/// minute.
const SLOW: Duration = Duration::from_secs(10);
/// How long a call may take that is begun after the deadline.
const A_MOMENT: Duration = Duration::from_secs(5);

/// What the steps that wait work with.
pub struct Context<'a> {
    /// The provider.
    pub api: &'a dyn BatchApi,
    /// Time and chance.
    pub clock: &'a dyn Clock,
    /// Who hears of progress.
    pub observer: &'a dyn Observer,
    /// Set when a person wants to leave.
    pub stop: StopSignal,
    /// How many requests may be in flight over all batches.
    pub max_queued_requests: u64,
    /// How long to look for a batch that may or may not have been created before it counts as not
    /// created.
    pub settle: Duration,
    /// When to leave, finished or not.
    pub deadline: Option<Timestamp>,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything that fits is sent.
    Sent,
    /// One look at what is in flight; what has ended is saved. Nothing is sent but rows that are
    /// sent again.
    LookedOnce,
    /// Everything that was sent is saved. Nothing is sent but rows that are sent again.
    Fetched,
    /// Everything is sent and saved.
    Collected,
}

impl Until {
    /// Whether a batch of this attempt is sent: who only fetches spends no more than was decided
    /// when the run was submitted.
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
    /// A person wanted to leave.
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
    async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut wish = self.0.clone();
        tokio::select! {
            done = work => Some(done),
            Ok(_) = wish.wait_for(|set| *set) => None,
        }
    }
}

/// What the loop remembers from one round to the next. All of it can be lost.
struct Memory {
    not_found: look::NotFoundTracker,
    pace: pace::Pace,
    told: doubt::DoubtSearch,
    /// How many events there were after the last round, and since when there have been no more.
    quiet: (u64, Timestamp),
}

impl Context<'_> {
    /// Resumes a run, as far as it is told to.
    ///
    /// # Errors
    /// [`Error::Provider`] when the provider refuses or cannot be reached for long;
    /// [`Error::Refused`] when it does not take a batch as it is; [`Error::StoppedAtCheckpoint`]
    /// when what the first rows came to speaks against sending the rest; [`Error::Budget`] when it
    /// does not fit into its budget; [`Error::Journal`] and [`Error::File`] when what must be kept
    /// cannot be written. Everything accepted until then is recorded.
    pub async fn drive(&self, run: &mut Run, until: Until) -> Result<RunOutcome, Error> {
        run.check_provider(self.api.format())?;
        let now = self.clock.now();
        let mut memory = Memory {
            not_found: look::NotFoundTracker::default(),
            pace: pace::Pace::resumed(run, now),
            told: doubt::DoubtSearch::new(now),
            quiet: (run.state().events(), now),
        };
        if until.sends(1) {
            budget_check::check_before_the_first(run, now)?;
            checkpoints::announce(self, run, now);
        }
        resume::look_for_strays(self, run, until).await?;
        loop {
            if self.stop.is_set() {
                return Ok(RunOutcome::Interrupted);
            }
            let sent = self.send_and_settle(run, until, &mut memory).await;
            if let Err(error) = &sent {
                if until == Until::Sent
                    || !matches!(error, Error::Provider { .. } | Error::Refused(_))
                {
                    return sent.map(|()| standing(run));
                }
                if run.in_flight().next().is_some() || run.ended().next().is_some() {
                    self.note(StepNote::SendingStopped);
                }
            }
            if until != Until::Sent || checkpoints::is_pending(run) {
                let saved = self.look_and_save(run, until, &mut memory).await;
                // What stopped the sending came first, and says more.
                sent.and(saved)?;
            }
            if budget_check::is_held(run, until, &mut memory.pace.short, self.clock.now())? {
                return Ok(RunOutcome::OverBudget);
            }
            if self.is_far_enough(run, until, &memory) {
                checkpoints::judge(self, run, false)?;
                checkpoints::check(run)?;
                return end(run, &memory);
            }
            let Some(pause) = self.pause(run, until, &mut memory) else {
                return end(run, &memory);
            };
            if self.stop.or(self.clock.sleep(pause)).await.is_none() {
                return Ok(RunOutcome::Interrupted);
            }
        }
    }

    /// Looks whether the provider has batches of a run that its journal does not know, and records
    /// what is found. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Provider`] when the list cannot be had; [`Error::Journal`] when what is found
    /// cannot be recorded.
    pub async fn look_for_unknown(&self, run: &mut Run) -> Result<(), Error> {
        resume::look_for_strays(self, run, Until::Sent).await
    }

    /// Sends what can be sent, then looks for what is uncertain; what that settles is sent too.
    async fn send_and_settle(
        &self,
        run: &mut Run,
        until: Until,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        doubt::admit(self, run)?;
        self.send(run, until, memory).await?;
        if doubt::settle(self, run, &mut memory.told).await? {
            self.send(run, until, memory).await?;
        }
        Ok(())
    }

    async fn send(&self, run: &mut Run, until: Until, memory: &mut Memory) -> Result<(), Error> {
        checkpoints::judge(self, run, until.sends(1))?;
        if until.sends(1) {
            checkpoints::check(run)?;
        }
        submit::send_what_fits(self, run, &mut memory.pace, |attempt| until.sends(attempt)).await?;
        // A batch that was too large became others, which a copy of the run may have sent.
        while submit::waits_for_a_search(run, &memory.pace, |attempt| until.sends(attempt))
            && !self.is_leaving()
        {
            resume::look_for_strays(self, run, until).await?;
            submit::send_what_fits(self, run, &mut memory.pace, |attempt| until.sends(attempt))
                .await?;
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::Provider`] also when nothing is left to do but to fetch results that cannot be had.
    async fn look_and_save(
        &self,
        run: &mut Run,
        until: Until,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        look::look(self, run, &mut memory.not_found).await?;
        collect::save_what_has_ended(self, run, &mut memory.not_found).await?;
        // What the budget holds, and what this command does not send, is not waited for: nothing
        // would end the wait.
        let short = &memory.pace.short;
        let sends_more = if short.is_current(run) {
            run.next_to_send(|attempt| until.sends(attempt), short)
                .is_some()
        } else {
            run.state()
                .to_send()
                .any(|batch| until.sends(batch.attempt))
        };
        memory
            .not_found
            .downloads
            .dead_end(run, sends_more)
            .map_or(Ok(()), Err)
    }

    /// How long until the next look: a tenth of the time in which nothing happened, so that a short
    /// batch is seen at once and a long one costs few calls. `None` when the deadline comes first.
    fn pause(&self, run: &Run, until: Until, memory: &mut Memory) -> Option<Duration> {
        let now = self.clock.now();
        if run.state().events() != memory.quiet.0 {
            memory.quiet = (run.state().events(), now);
        }
        let mut pause = (between(memory.quiet.1, now) / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if let Some(left) = doubt::time_left(self, run) {
            // The look that settles a batch begins when it can.
            let longest = if left.is_zero() {
                LONGEST_PAUSE_IN_DOUBT
            } else {
                left.min(LONGEST_PAUSE_IN_DOUBT)
            };
            pause = pause.clamp(SHORTEST_PAUSE, longest.max(SHORTEST_PAUSE));
        }
        if let Some(left) = checkpoints::time_left(self, run).filter(|left| !left.is_zero()) {
            pause = pause.min(left.max(SHORTEST_PAUSE));
        }
        for wait in [
            memory.pace.wait(now),
            memory.not_found.downloads.wait(self.clock.elapsed()),
        ]
        .into_iter()
        .flatten()
        {
            pause = pause.min(wait.max(SHORTEST_PAUSE));
        }
        if let Some(deadline) = self.deadline
            && between(now, deadline) <= pause
        {
            return None;
        }
        let (_, ended) = run.progress();
        let known_since =
            |batch: &crate::journal::Batch| batch.remote.as_ref().map(|remote| remote.known_since);
        let in_flight = run.state().left_to(Step::Watch).count();
        self.observer.notice(Notice::Waiting {
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            ended,
            of: run.batches(),
            elapsed: run
                .state()
                .left_to(Step::Watch)
                .filter_map(known_since)
                .min()
                .map(|since| between(since, now)),
            next: pause,
            reasons: &self.reasons(run, until, memory, now),
        });
        Some(pause)
    }

    /// What the run waits for besides the batches in flight.
    fn reasons(&self, run: &Run, until: Until, memory: &Memory, now: Timestamp) -> Vec<WaitReason> {
        let next = run.next_to_send(|attempt| until.sends(attempt), &memory.pace.short);
        let mut reasons = memory.told.reasons(self, run, now);
        reasons.extend(memory.pace.reasons(self, run, next, now));
        if until.sends(1) {
            reasons.extend(checkpoints::reason(self, run));
        }
        reasons.extend(memory.not_found.downloads.reasons(self.clock.elapsed()));
        reasons
    }

    /// Whether there is nothing more to do, or to wait for.
    fn is_far_enough(&self, run: &Run, until: Until, memory: &Memory) -> bool {
        match until {
            Until::Sent => {
                // A batch that only time holds back is waited for, whatever is uncertain besides;
                // one that waits for others to end is not.
                let is_waiting = run.next_to_send(|_| true, &memory.pace.short).is_some()
                    && memory.pace.passes(run, self.clock.now());
                !is_waiting && !checkpoints::is_awaited(self, run)
            }
            Until::LookedOnce => !memory.not_found.downloads.is_quick(run),
            Until::Fetched => {
                let is_sending = run
                    .next_to_send(|attempt| until.sends(attempt), &memory.pace.short)
                    .is_some()
                    || run.doubts().next().is_some();
                !is_sending && run.in_flight().next().is_none() && run.ended().next().is_none()
            }
            Until::Collected => run.is_collected(),
        }
    }

    /// Whether a person wants to leave, or the deadline has come.
    pub(crate) fn is_leaving(&self) -> bool {
        self.stop.is_set()
            || self
                .deadline
                .is_some_and(|deadline| deadline <= self.clock.now())
    }

    /// Waits for a call that can be broken off, until it is time to leave. A call that is begun
    /// after the deadline has a moment yet, so that one look is always had.
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
    /// `longest`, and tells of it meanwhile.
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
        let tell = |failed: FailedTry<'_>| {
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
        with_retry_telling(call, self.clock, longest, tell, || {
            self.telling_if_slow(call, make())
        })
        .await
    }

    /// Waits for a call, and tells from time to time that it has not been answered.
    pub(crate) async fn telling_if_slow<T>(&self, call: Call, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut waited = Duration::ZERO;
        loop {
            let step = waited.clamp(SLOW, LONGEST_PAUSE);
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

    /// Tells a person something.
    pub(crate) fn note(&self, note: StepNote) {
        self.observer.notice(Notice::Note(&note));
    }
}

/// Where the run stands when it is time to leave.
///
/// # Errors
/// [`Error::Provider`] where results that are there cannot be fetched in full.
fn end(run: &Run, memory: &Memory) -> Result<RunOutcome, Error> {
    memory
        .not_found
        .downloads
        .failure(run)
        .map_or_else(|| Ok(standing(run)), Err)
}

fn standing(run: &Run) -> RunOutcome {
    if run.is_collected() {
        RunOutcome::Complete
    } else if run.doubts().next().is_some() {
        RunOutcome::InDoubt
    } else {
        RunOutcome::Unfinished
    }
}

/// The time from one moment to a later one; none if they are the other way round.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
