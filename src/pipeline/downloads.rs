//! Results that cannot be fetched for now → fetched later, while the other batches go on.
//!
//! A batch whose results fail is left alone for a while, longer each time, as long as [`judge`] has patience. Then it stays failed: the
//! other batches are waited for and saved first, and its error ends the command last. Another command begins from the start.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::provider::retry::{Call, Verdict, judge};

use super::drive::{Driver, between};
use super::progress::{Reason, wait_in_words};
use super::{Error, Run};

/// The batches whose results could not be fetched.
#[derive(Debug, Default)]
pub(crate) struct Downloads(BTreeMap<u32, Failed>);

#[derive(Debug)]
struct Failed {
    error: Error,
    since: Timestamp,
    tries: u32,
    /// When it is fetched again; `None` where that has no use.
    next: Option<Timestamp>,
}

impl Downloads {
    /// Whether a batch is fetched now.
    pub(crate) fn is_due(&self, batch: u32, now: Timestamp) -> bool {
        self.0.get(&batch).is_none_or(|failed| failed.next.is_some_and(|next| next <= now))
    }

    /// Takes note that a batch's results were saved, or given up.
    pub(crate) fn is_over(&mut self, batch: u32) {
        self.0.remove(&batch);
    }

    /// Takes note that a batch's results could not be fetched.
    ///
    /// # Errors
    /// The error itself, where it concerns every other batch too.
    pub(crate) fn fails(&mut self, driver: &Driver<'_>, batch: u32, error: Error) -> Result<(), Error> {
        let Error::Provider { source, .. } = &error else { return Err(error) };
        let now = driver.clock.now();
        let (since, tries) = self.0.get(&batch).map_or((now, 0), |failed| (failed.since, failed.tries + 1));
        let next = match judge(Call::Results, source, tries, between(since, now), driver.clock.jitter()) {
            Verdict::StopCredentials | Verdict::StopSpend => return Err(error),
            Verdict::Again { after } | Verdict::Wait404 { after } => {
                driver.note(&format!(
                    "the results of batch {batch} cannot be fetched now ({source}); trying again in {}, the other batches go on",
                    wait_in_words(after)
                ));
                now.checked_add(after).ok()
            }
            _ => {
                driver.note(&format!("the results of batch {batch} cannot be fetched ({source}); the other batches go on"));
                None
            }
        };
        self.0.insert(batch, Failed { error, since, tries, next });
        Ok(())
    }

    /// How long until the next batch is fetched again.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.0.values().filter_map(|failed| failed.next).map(|next| between(now, next)).min()
    }

    /// The batches that are fetched again, and when.
    pub(crate) fn reasons(&self, now: Timestamp) -> impl Iterator<Item = Reason> {
        self.0
            .iter()
            .filter_map(move |(batch, failed)| Some(Reason::Results { batch: *batch, after: between(now, failed.next?) }))
    }

    /// Whether nothing but failed batches is left of what was sent, and none of them is fetched again.
    pub(crate) fn are_all_that_is_left(&self, run: &Run) -> bool {
        let is_failed = |batch: u32| self.0.get(&batch).is_some_and(|failed| failed.next.is_none());
        !self.0.is_empty()
            && run.in_flight().next().is_none()
            && run.doubts().next().is_none()
            && run.ended().all(|(batch, _)| is_failed(batch))
    }

    /// The error of the first batch that failed.
    pub(crate) fn first_error(&mut self) -> Option<Error> {
        self.0.pop_first().map(|(_, failed)| failed.error)
    }
}
