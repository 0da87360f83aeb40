//! What holds back the next batch, and for how long: a refusal, lost calls, the queue, the budget.
//!
//! ```text
//!   refused for now ─────▶ waits as long as the provider asks; others wait with it, since a limit counts for all
//!   lost calls in a row ─▶ a pause, doubled each time; after some, until one of them is settled
//!   queue full ──────────▶ waits until others end
//!   over the budget ─────▶ held until something happens to the run that could free money
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::journal::{Batch, BatchState};
use crate::ledger::Shortage;
use crate::provider::ApiError;

use super::Run;
use super::context::{Context, between};
use super::notice::{Notice, WaitReason};

/// Create calls in a row that may end uncertain before sending pauses until one of their batches is
/// found, or shown not to exist. Where every call is lost, each further batch would be looked for,
/// and hold its part of the budget, in vain.
const MAX_UNCERTAIN_IN_A_ROW: u32 = 4;
/// The wait before the next create call after one that ended uncertain; twice as long after each
/// more.
const AFTER_UNCERTAIN: Duration = Duration::from_millis(500);

/// What the sending remembers of a batch that was refused for now, and of calls that ended
/// uncertain.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(super) refused: Option<RefusedForNow>,
    /// How many create calls in a row ended uncertain, and when the next may follow.
    uncertain: (u32, Option<Timestamp>),
    /// The batches that the budget has no room for.
    pub(crate) short: HeldByBudget,
}

/// Batches that the budget has no room for, as long as nothing happens to the run that could make
/// room.
#[derive(Debug, Default)]
pub(crate) struct HeldByBudget {
    batches: BTreeMap<u32, Shortage>,
    events: u64,
    /// Whether the first of them was reported: with `partial` there may be many.
    is_reported: bool,
}

impl HeldByBudget {
    /// Forgets what was held, if something has happened since.
    pub(super) fn begin(&mut self, run: &Run) {
        if self.events != run.state().events() {
            self.batches.clear();
        }
        self.events = run.state().events();
    }

    /// Holds a batch, and reports the first.
    pub(super) fn hold(&mut self, driver: &Context<'_>, batch: u32, shortage: Shortage) {
        if !std::mem::replace(&mut self.is_reported, true) {
            driver.observer.notice(Notice::HeldBack {
                batch,
                shortage: &shortage,
            });
        }
        self.batches.insert(batch, shortage);
    }

    /// Whether nothing has happened to the run since it was looked what fits.
    pub(crate) fn is_current(&self, run: &Run) -> bool {
        self.events == run.state().events()
    }

    /// Whether a batch is held.
    pub(crate) fn holds(&self, batch: u32) -> bool {
        self.batches.contains_key(&batch)
    }

    /// The held batches, by number.
    pub(crate) fn batches(&self) -> impl Iterator<Item = u32> {
        self.batches.keys().copied()
    }

    /// Holds nothing any more.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    /// The first of them, and what is short for it.
    pub(crate) fn first(&self) -> Option<(u32, &Shortage)> {
        self.batches
            .first_key_value()
            .map(|(batch, shortage)| (*batch, shortage))
    }
}

#[derive(Debug)]
pub(super) struct RefusedForNow {
    batch: u32,
    /// When it was sent first.
    begun: Timestamp,
    attempts: u32,
    /// When it may be sent again.
    not_before: Timestamp,
    /// What the provider answered.
    status: Option<u16>,
}

impl RefusedForNow {
    /// Whether the queue is full or calls come too fast: both pass as batches end.
    fn is_limit(&self) -> bool {
        self.status == Some(429)
    }
}

impl Pace {
    /// What is left of the waits that a provider asked an earlier process for.
    pub(crate) fn resumed(run: &Run, now: Timestamp) -> Pace {
        let asked = |batch: &Batch| match batch.state {
            BatchState::Refused {
                at,
                status,
                retry_at: Some(retry_at),
                ..
            } if retry_at > now => {
                // A clock that was put back must not make it longer than was asked.
                let left = between(now, retry_at).min(between(at, retry_at));
                let not_before = now.checked_add(left).unwrap_or(retry_at);
                Some(RefusedForNow {
                    batch: batch.number(),
                    begun: at,
                    attempts: 1,
                    not_before,
                    status,
                })
            }
            _ => None,
        };
        let refused = run
            .state()
            .to_send()
            .filter_map(asked)
            .max_by_key(|refused| refused.not_before);
        Pace {
            refused,
            ..Pace::default()
        }
    }

    /// How long the next batch is to wait yet; `None` if it need not wait.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let refused = self.refused.as_ref().map(|refused| refused.not_before);
        let wait = refused
            .into_iter()
            .chain(self.uncertain.1)
            .map(|not_before| between(now, not_before))
            .max();
        wait.filter(|wait| !wait.is_zero())
    }

    /// Whether time alone makes room for the next batch, so that `submit` waits for it, too: not
    /// where a batch has to end first.
    pub(crate) fn passes(&self, run: &Run, now: Timestamp) -> bool {
        let is_paused = self.uncertain.1.is_some_and(|not_before| not_before > now);
        is_paused
            || self
                .refused
                .as_ref()
                .is_some_and(|refused| !refused.is_limit() || run.state().requests_in_flight() == 0)
    }

    /// Whether too many calls were lost, so that sending pauses until one of them is settled.
    pub(super) fn is_too_uncertain(&self, run: &Run) -> bool {
        self.uncertain.0 >= MAX_UNCERTAIN_IN_A_ROW && run.state().doubts().next().is_some()
    }

    /// When the batch was sent first, and how often it was refused.
    pub(super) fn history(&self, batch: u32, now: Timestamp) -> (Timestamp, u32) {
        match &self.refused {
            Some(refused) if refused.batch == batch => (refused.begun, refused.attempts),
            _ => (now, 0),
        }
    }

    /// Records that a batch was refused for now.
    pub(super) fn later(&mut self, batch: u32, now: Timestamp, after: Duration, error: &ApiError) {
        let (begun, attempts) = self.history(batch, now);
        let not_before = now.checked_add(after).unwrap_or(Timestamp::MAX);
        self.refused = Some(RefusedForNow {
            batch,
            begun,
            attempts: attempts + 1,
            not_before,
            status: error.status,
        });
        self.answered();
    }

    /// The provider answered, certainly: calls are not lost any more.
    pub(super) fn answered(&mut self) {
        self.uncertain = (0, None);
    }

    /// Records that a create call has an unknown result.
    pub(super) fn lost(&mut self, now: Timestamp) {
        let calls = self.uncertain.0.saturating_add(1);
        let after = AFTER_UNCERTAIN * 2_u32.pow((calls - 1).min(7));
        self.uncertain = (calls, now.checked_add(after).ok());
        // A lost call shows no limit: the next batch waits for its own pause only.
        self.refused = None;
    }

    /// What holds back the next batch, and until when.
    pub(crate) fn reasons(
        &self,
        driver: &Context<'_>,
        run: &Run,
        next: Option<u32>,
        now: Timestamp,
    ) -> Vec<WaitReason> {
        let mut reasons = Vec::new();
        if let (Some(refused), Some(after)) = (&self.refused, self.wait(now)) {
            reasons.push(WaitReason::Refused {
                batch: refused.batch,
                status: refused.status,
                since: between(refused.begun, now),
                after,
            });
        }
        if next.is_some() && self.is_too_uncertain(run) {
            reasons.push(WaitReason::TooUncertain {
                calls: self.uncertain.0,
            });
        } else if let Some(batch) = next.filter(|batch| !has_room(driver, run, *batch)) {
            let (queued, limit) = (run.state().requests_in_flight(), driver.max_queued_requests);
            reasons.push(WaitReason::QueueFull {
                batch,
                queued,
                limit,
            });
        }
        reasons.extend(
            self.short
                .first()
                .map(|(batch, _)| WaitReason::Budget { batch }),
        );
        reasons
    }
}

/// Requests of batches that are uncertain count: they may well be in the queue.
pub(super) fn has_room(driver: &Context<'_>, run: &Run, batch: u32) -> bool {
    let queued = run.state().requests_in_flight();
    queued == 0 || queued + u64::from(run.spooled(batch).requests) <= driver.max_queued_requests
}
