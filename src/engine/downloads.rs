//! Results that cannot be fetched now → fetched later, while the other batches continue.
//!
//! Each batch has its own backoff. Downloads that are given up here are requested again by the next
//! command.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::provider::ApiError;
use crate::provider::retry::{Call, Verdict};

use super::context::Context;
use super::notice::WaitReason;
use super::provider_error::Action;
use super::provider_error::stopped;
use super::{Error, Run};

/// How often results that are complete but for an id are fetched before they are accepted as they
/// are, and how often in quick succession those that end early.
pub(super) const TRIES: u32 = 4;

/// How long results that end early, or break off, are fetched again in one process.
const PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);
/// Longest pause between two downloads of the same results.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Downloads that did not bring everything, and when each is tried again. All of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    open: HashMap<u32, OpenDownload>,
    /// Batches whose results were looked for a second time in this process.
    polled_again: HashSet<u32>,
}

/// A batch whose results are still to be fetched.
#[derive(Debug)]
struct OpenDownload {
    tries: u32,
    /// Since when, and when the next try is due.
    since: Duration,
    next: Duration,
    /// Whether a retry cannot help, or retries have lasted too long.
    is_given_up: bool,
    /// What was wrong the last time; `None` where they were not found, which is waited for.
    error: Option<ApiError>,
}

impl Downloads {
    pub(super) fn is_due(&self, batch: u32, now: Duration) -> bool {
        self.open
            .get(&batch)
            .is_none_or(|open| !open.is_given_up && open.next <= now)
    }

    /// Whether a download is retried within seconds, so that even a single poll waits for it.
    pub(crate) fn is_quick(&self, run: &Run) -> bool {
        let is_quick =
            |open: &OpenDownload| open.error.is_some() && !open.is_given_up && open.tries < TRIES;
        run.ended()
            .any(|(batch, _)| self.open.get(&batch).is_some_and(is_quick))
    }

    /// Records that a batch's results were saved, or are left as they were.
    pub(super) fn is_over(&mut self, batch: u32) {
        self.open.remove(&batch);
    }

    /// Whether a batch's results are not asked for any more in this process, or were not found.
    pub(super) fn is_hopeless(&self, batch: u32) -> bool {
        self.open
            .get(&batch)
            .is_some_and(|open| open.is_given_up || open.error.is_none())
    }

    /// Records that a batch's results are polled for again; returns whether this is the first time
    /// in this process.
    pub(super) fn polls_again(&mut self, batch: u32) -> bool {
        self.polled_again.insert(batch)
    }

    /// How long until the next batch is fetched again.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        self.open
            .values()
            .filter(|open| !open.is_given_up)
            .map(|open| open.next.saturating_sub(now))
            .min()
    }

    /// The batches that are fetched again, and when.
    pub(super) fn reasons(&self, now: Duration) -> impl Iterator<Item = WaitReason> {
        let waiting = self.open.iter().filter(|(_, open)| !open.is_given_up);
        let mut waiting: Vec<_> = waiting
            .map(|(batch, open)| (*batch, open.next.saturating_sub(now)))
            .collect();
        waiting.sort_unstable();
        waiting
            .into_iter()
            .map(|(batch, after)| WaitReason::Results { batch, after })
    }

    /// Records that a batch was given up: the next process looks for it again.
    pub(crate) fn lost(&mut self, batch: u32) {
        self.polled_again.insert(batch);
    }

    /// Why a batch that has ended is not collected, if there is one.
    pub(crate) fn failure(&self, run: &Run) -> Option<Error> {
        let failed = run
            .ended()
            .find_map(|(batch, id)| Some((batch, id, self.open.get(&batch)?.error.clone()?)));
        let (batch, id, error) = failed?;
        let is_partial = true;
        let action = Action::FetchResults {
            batch,
            id,
            is_partial,
        };
        Some(stopped(run, action, error))
    }

    /// The failure, once only downloads that were given up are left. `sends_more` says whether the
    /// command has batches to send that something else than these results holds back.
    pub(crate) fn dead_end(&self, run: &Run, sends_more: bool) -> Option<Error> {
        let is_given_up = |batch: u32| self.open.get(&batch).is_some_and(|open| open.is_given_up);
        let has_more = sends_more
            || run.state().in_flight().next().is_some()
            || run.state().doubts().next().is_some();
        let all = !has_more && run.ended().all(|(batch, _)| is_given_up(batch));
        if all { self.failure(run) } else { None }
    }

    /// Records a try that did not bring everything.
    pub(super) fn again(&mut self, driver: &Context<'_>, batch: u32, next: DownloadFault) -> u32 {
        let now = driver.clock.elapsed();
        let open = self.open.entry(batch).or_insert(OpenDownload {
            tries: 0,
            since: now,
            next: now,
            is_given_up: false,
            error: None,
        });
        open.tries += 1;
        let (error, pause) = match next {
            DownloadFault::Short(error) => {
                open.is_given_up = now.saturating_sub(open.since) >= driver.patience.or(PATIENCE);
                let pause =
                    Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(open.tries - 1));
                (Some(error), pause.min(LONGEST_PAUSE))
            }
            DownloadFault::Refused(error) => {
                let since = now.saturating_sub(open.since);
                match driver.patience.judge(
                    Call::Results,
                    &error,
                    open.tries - 1,
                    since,
                    driver.clock.jitter(),
                ) {
                    Verdict::Again { after } | Verdict::Wait404 { after } => (Some(error), after),
                    _ => {
                        open.is_given_up = true;
                        (Some(error), Duration::ZERO)
                    }
                }
            }
            DownloadFault::NotFound => {
                let pause =
                    Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(open.tries - 1));
                (None, pause.min(LONGEST_PAUSE))
            }
        };
        open.error = error;
        open.next = now + pause;
        open.tries
    }
}

/// Why a download is tried again.
pub(super) enum DownloadFault {
    /// It ended early, or broke off.
    Short(ApiError),
    /// The provider refused it, or could not be reached.
    Refused(ApiError),
    /// The provider does not find the results.
    NotFound,
}
