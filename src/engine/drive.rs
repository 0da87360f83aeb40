//! Submit, watch, collect in a loop, until everything is collected or the run is asked to stop.
//!
//! ```text
//!   ┌─▶ judge checkpoints ─▶ send what fits ─▶ look for uncertain batches ─▶ poll what is in flight ─▶ save what has ended ─▶ all saved? ─▶ done
//!   └───────────────────────────────── wait, longer each time ◀───────────────────────────────────────────────────────┘
//! ```
//!
//! What stops the sending (a spend limit, a batch that is rejected permanently) ends the loop only
//! after what has ended was saved; results that cannot be fetched end it only when nothing else is
//! left. The loop holds nothing that is not in the journal: ended at any point and started again,
//! it resumes.

use std::time::Duration;

use jiff::Timestamp;

use crate::journal::{Batch, Step};

use super::context::{Context, RunOutcome, Until, between};
use super::note::StepNote;
use super::notice::{Notice, WaitReason};
use super::view::BATCH_LIFE;
use super::{Error, Run, budget_check, checkpoints, collect, doubt, pace, resume, submit, watch};

/// The shortest time between two polls. A tenth of a second costs a few calls at the start of a
/// run, and lets a small one end quickly.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two polls: the batch guide polls once a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same while a batch is uncertain, since polling is then worth more.
const LONGEST_PAUSE_IN_DOUBT: Duration = Duration::from_secs(15);
/// What the loop remembers from one round to the next. All of it can be lost.
struct Memory {
    not_found: watch::NotFoundTracker,
    pace: pace::Pace,
    search: doubt::DoubtSearch,
    /// How many events there were after the last round, and since when there have been no more.
    quiet: (u64, Timestamp),
}

impl Context<'_> {
    /// Resumes a run up to the requested step.
    ///
    /// # Errors
    /// [`Error::Provider`] when the provider refuses or cannot be reached for long;
    /// [`Error::Refused`] when it does not take a batch as it is; [`Error::StoppedAtCheckpoint`]
    /// when the results of the first rows stop the run; [`Error::Budget`] when it does not fit into
    /// its budget; [`Error::Journal`] and [`Error::File`] when what must be kept cannot be written.
    /// Everything accepted until then is recorded.
    pub(crate) async fn drive(&self, run: &mut Run, until: Until) -> Result<RunOutcome, Error> {
        run.check_provider(self.api.format())?;
        let now = self.clock.now();
        let mut memory = Memory {
            not_found: watch::NotFoundTracker::default(),
            pace: pace::Pace::resumed(run, now),
            search: doubt::DoubtSearch::new(now),
            quiet: (run.state().events(), now),
        };
        if until.sends(1) {
            budget_check::check_before_the_first(run, now)?;
            run.mark_output(now)?;
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
                if run.state().in_flight().next().is_some() || run.ended().next().is_some() {
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

    /// Checks whether the provider has batches of a run that its journal does not know, and records
    /// what is found. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Provider`] when the list cannot be fetched; [`Error::Journal`] when what is found
    /// cannot be recorded.
    pub(crate) async fn look_for_unknown(&self, run: &mut Run) -> Result<(), Error> {
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
        if doubt::settle(self, run, &mut memory.search).await? {
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
    /// [`Error::Provider`] also when nothing is left to do but to fetch results that cannot be
    /// fetched.
    async fn look_and_save(
        &self,
        run: &mut Run,
        until: Until,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        watch::poll(self, run, &mut memory.not_found).await?;
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

    /// How long until the next poll: a tenth of the time in which nothing happened, so that a short
    /// batch is seen at once and a long one costs few calls. `None` when the deadline comes first.
    fn pause(&self, run: &Run, until: Until, memory: &mut Memory) -> Option<Duration> {
        let now = self.clock.now();
        if run.state().events() != memory.quiet.0 {
            memory.quiet = (run.state().events(), now);
        }
        let mut pause = (between(memory.quiet.1, now) / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if let Some(left) = doubt::time_left(self, run) {
            // The poll that settles a batch starts as soon as it can.
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
        self.report_wait(run, until, memory, (now, pause));
        Some(pause)
    }

    /// Reports where the run stands, what it waits for, and until when.
    fn report_wait(
        &self,
        run: &Run,
        until: Until,
        memory: &Memory,
        (now, next): (Timestamp, Duration),
    ) {
        let (_, ended) = run.progress();
        let known_since = |batch: &Batch| batch.remote.as_ref().map(|remote| remote.known_since);
        let in_flight = run.state().left_to(Step::Watch).count();
        let oldest = run.state().left_to(Step::Watch).filter_map(known_since);
        let elapsed = oldest.min().map(|since| between(since, now));
        let (rows_done, rows) = run.rows_done(|batch| memory.not_found.done(batch));
        self.observer.notice(Notice::Waiting {
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            ended,
            of: run.state().batch_count(),
            rows_done,
            rows,
            elapsed,
            expires: elapsed.map(|elapsed| BATCH_LIFE.saturating_sub(elapsed)),
            next,
            reasons: &self.reasons(run, until, memory, now),
        });
    }

    /// What the run waits for besides the batches in flight.
    fn reasons(&self, run: &Run, until: Until, memory: &Memory, now: Timestamp) -> Vec<WaitReason> {
        let next = run.next_to_send(|attempt| until.sends(attempt), &memory.pace.short);
        let mut reasons = memory.search.reasons(self, run, now);
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
            Until::PolledOnce => !memory.not_found.downloads.is_quick(run),
            Until::Fetched => {
                let is_sending = run
                    .next_to_send(|attempt| until.sends(attempt), &memory.pace.short)
                    .is_some()
                    || run.state().doubts().next().is_some();
                !is_sending
                    && run.state().in_flight().next().is_none()
                    && run.ended().next().is_none()
            }
            Until::Collected => run.is_collected(),
        }
    }
}

/// Where the run stands when it is asked to stop.
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

/// Where the run stands.
pub(super) fn standing(run: &Run) -> RunOutcome {
    if run.is_collected() {
        RunOutcome::Complete
    } else if run.state().doubts().next().is_some() {
        RunOutcome::InDoubt
    } else {
        RunOutcome::Unfinished
    }
}
