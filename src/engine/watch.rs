//! Accepted → ended.
//!
//! The API counts nothing until a batch has ended, so there is no progress to report but time and
//! whole batches; where a provider counts before that, its counters are reported. A few batches are asked for one by one; many are found by listing, which is one call a
//! page. A batch that is not found although it was accepted is waited for: the API has been seen to
//! answer 404 for batches that all finished.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::journal::{Event, LossReason};
use crate::provider::retry::{Call, Verdict, judge};
use crate::provider::{ApiError, BatchId, Counts, Processing, RemoteBatch};

use super::context::{Context, between};
use super::downloads::Downloads;
use super::note::StepNote;
use super::notice::Notice;
use super::provider_error::Action;
use super::provider_error::stopped;
use super::{Error, Run, collect};

/// Up to this many batches are asked for one by one; more are listed.
const ONE_BY_ONE: usize = 4;
/// Batches a page when listing.
const PAGE: u32 = 1000;
/// Pages listed at most; what is not on them is asked for.
const MAX_PAGES: usize = 5;

/// What polling remembers between two polls.
#[derive(Debug, Default)]
pub(crate) struct NotFoundTracker {
    not_found_since: HashMap<BatchId, Duration>,
    /// The downloads of results that did not bring everything.
    pub(crate) downloads: Downloads,
    /// What the provider last counted of each batch in flight.
    counts: HashMap<u32, Counts>,
}

/// Over several processes, a batch counts as gone when it was not found so often,
const SIGHTINGS: usize = 3;
/// and each time so long after the time before.
const APART: Duration = Duration::from_secs(30 * 60);

impl NotFoundTracker {
    /// Records that a batch, or its results where `results` is set, is not found for now, and
    /// returns whether that has been so for too long, whatever is done to the clock meanwhile.
    pub(crate) fn misses(
        &mut self,
        driver: &Context<'_>,
        batch: u32,
        id: &BatchId,
        results: bool,
    ) -> bool {
        let now = driver.clock.elapsed();
        let since = *self.not_found_since.entry(id.clone()).or_insert_with(|| {
            let id = id.clone();
            driver.note(StepNote::NotFound { batch, id, results });
            now
        });
        now.saturating_sub(since) >= driver.patience.not_found()
    }

    /// Whether what is not found now is gone permanently: its results are past their time, counted
    /// from when this machine knew of the batch, and it has not been found for an hour, or several
    /// times, far apart. A clock that was set wrong, and a single answer, prove nothing.
    ///
    /// # Errors
    /// [`Error::Journal`] when that it was not found cannot be recorded.
    pub(crate) fn is_gone(
        &self,
        driver: &Context<'_>,
        run: &mut Run,
        batch: u32,
        is_for_long: bool,
    ) -> Result<bool, Error> {
        if !collect::is_past_retention(driver, run, batch) {
            return Ok(false);
        }
        let now = driver.clock.now();
        let last = run.not_found(batch).last().copied();
        if last.is_none_or(|last: Timestamp| between(last, now) >= APART) {
            run.record(now, Event::NotFound { batch })?;
        }
        Ok(is_for_long || run.not_found(batch).len() >= SIGHTINGS)
    }

    /// The requests of a batch in flight that are done, where the provider counts them.
    pub(crate) fn done(&self, batch: u32) -> u64 {
        self.counts
            .get(&batch)
            .map_or(0, |counts| counts.total().saturating_sub(counts.processing))
    }

    /// Records that it is found.
    pub(crate) fn finds(&mut self, id: &BatchId) {
        self.not_found_since.remove(id);
    }
}

/// Polls every batch in flight once, and records those that are over.
pub(crate) async fn poll(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
) -> Result<(), Error> {
    let in_flight: BTreeMap<u32, BatchId> = run.state().in_flight().collect();
    let mut listed = if in_flight.len() > ONE_BY_ONE {
        list(driver, run, &in_flight).await?
    } else {
        HashMap::new()
    };
    for (batch, id) in in_flight {
        let remote = match listed.remove(&id) {
            Some(remote) => remote,
            None => match retrieve(driver, run, not_found, batch, &id).await? {
                Some(remote) => remote,
                None => continue,
            },
        };
        not_found.finds(&id);
        not_found.counts.insert(batch, remote.request_counts);
        note_end(driver, run, batch, &remote)?;
    }
    Ok(())
}

fn note_end(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    remote: &RemoteBatch,
) -> Result<(), Error> {
    if remote.processing_status != Processing::Ended {
        return Ok(());
    }
    let counts = remote.request_counts;
    run.record(
        driver.clock.now(),
        Event::Ended {
            batch,
            counts,
            ended_at: remote.ended_at,
        },
    )?;
    driver.observer.notice(Notice::Ended { batch, counts });
    Ok(())
}

/// The batches in flight that a listing shows; newest first, until all are found.
async fn list(
    driver: &Context<'_>,
    run: &Run,
    wanted: &BTreeMap<u32, BatchId>,
) -> Result<HashMap<BatchId, RemoteBatch>, Error> {
    let mut found = HashMap::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let call = driver.retrying(Call::List, None, || driver.api.list(PAGE, after.as_deref()));
        let Some(page) = driver.unless_leaving(call).await else {
            break;
        };
        let page = page.map_err(|source| stopped(run, Action::ListBatches, source))?;
        let more = page.has_more;
        found.extend(
            page.data
                .into_iter()
                .filter(|b| wanted.values().any(|id| *id == b.id))
                .map(|b| (b.id.clone(), b)),
        );
        if !more || found.len() == wanted.len() || page.last_id.is_none() {
            break;
        }
        after = page.last_id;
    }
    Ok(found)
}

/// Asks for one batch; `None` if it is not found for now, or the user asks to stop.
async fn retrieve(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    id: &BatchId,
) -> Result<Option<RemoteBatch>, Error> {
    let gone = |run: &Run, source| {
        let id = id.clone();
        stopped(run, Action::WatchBatch { batch, id }, source)
    };
    // The loop waits for a batch that is not found, and continues with the others meanwhile.
    let is_missing = |error: &ApiError| {
        matches!(
            judge(Call::Retrieve, error, 0, Duration::ZERO, 0.0),
            Verdict::Wait404 { .. }
        )
    };
    let call = driver.retrying(Call::Retrieve, None, || async {
        match driver.api.retrieve(id).await {
            Err(error) if is_missing(&error) => Ok(Err(error)),
            Err(error) => Err(error),
            Ok(remote) => Ok(Ok(remote)),
        }
    });
    let Some(answer) = driver.unless_leaving(call).await else {
        return Ok(None);
    };
    let error = match answer.map_err(|error| gone(run, error))? {
        Ok(remote) => return Ok(Some(remote)),
        Err(error) => error,
    };
    let is_for_long = not_found.misses(driver, batch, id, false);
    if not_found.is_gone(driver, run, batch, is_for_long)? {
        collect::lose(driver, run, batch, &LossReason::BatchNotFound)?;
        not_found.downloads.lost(batch);
        return Ok(None);
    }
    if is_for_long {
        Err(gone(run, error))
    } else {
        Ok(None)
    }
}
