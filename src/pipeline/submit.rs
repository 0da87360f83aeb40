//! Spooled batches → accepted batches, each accepted once.
//!
//! ```text
//!   intent to the journal ─▶ POST ─┬─▶ accepted: id to the journal
//!                                  ├─▶ refused, certainly without effect: to the journal; later again, in halves, or stop
//!                                  └─▶ answer lost: a doubt, to the journal; nothing is sent until it is settled (doubt.rs)
//! ```
//!
//! Batches are sent one after the other, so at most one is ever in doubt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::journal::Event;
use crate::ledger::{OnLimit, Shortage};
use crate::provider::retry::{Call, Clock, Verdict, judge, with_retry};
use crate::provider::{ApiError, BatchApi, BatchId, RemoteBatch};

use super::drive::{Driver, between};
use super::progress::Progress;
use super::split::split_in_two;
use super::{Error, Run};

/// What the sending remembers of a batch that was refused for now.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    refused: Option<Refused>,
    /// The batches that the budget has no room for.
    pub(crate) short: HeldByBudget,
}

/// Batches that the budget has no room for, as long as nothing happens to the run that could make room.
#[derive(Debug, Default)]
pub(crate) struct HeldByBudget {
    batches: BTreeMap<u32, Shortage>,
    events: u64,
}

impl HeldByBudget {
    /// Forgets what was held, if something has happened since.
    fn begin(&mut self, run: &Run) {
        if self.events != run.state().events() {
            self.batches.clear();
        }
        self.events = run.state().events();
    }

    fn hold(&mut self, batch: u32, shortage: Shortage) {
        self.batches.insert(batch, shortage);
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
        self.batches.first_key_value().map(|(batch, shortage)| (*batch, shortage))
    }
}

#[derive(Debug)]
struct Refused {
    batch: u32,
    /// When it was sent first.
    begun: Timestamp,
    attempts: u32,
    /// When it may be sent again.
    not_before: Timestamp,
    /// Whether the queue is full or calls come too fast; both pass as time goes by.
    is_limit: bool,
}

impl Pace {
    /// How long the next batch is to wait yet; `None` if it need not wait.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.refused.as_ref().map(|refused| between(now, refused.not_before)).filter(|wait| !wait.is_zero())
    }

    /// Whether there is nothing to do but to send a refused batch again: no other batch is in flight whose end would make room.
    pub(crate) fn is_all_there_is(&self, run: &Run) -> bool {
        self.refused.as_ref().is_some_and(|refused| !refused.is_limit || run.requests_in_flight() == 0)
    }

    /// When the batch was sent first, and how often it was refused.
    fn history(&self, batch: u32, now: Timestamp) -> (Timestamp, u32) {
        match &self.refused {
            Some(refused) if refused.batch == batch => (refused.begun, refused.attempts),
            _ => (now, 0),
        }
    }

    fn later(&mut self, batch: u32, now: Timestamp, after: Duration, error: &ApiError) {
        let (begun, attempts) = self.history(batch, now);
        let not_before = now.checked_add(after).unwrap_or(Timestamp::MAX);
        self.refused = Some(Refused { batch, begun, attempts: attempts + 1, not_before, is_limit: error.status == Some(429) });
    }
}

/// Sends the batches that are planned, in order, while there is room in the queue and no doubt is open; `which` tells of which attempts.
pub(crate) async fn send_what_fits(
    driver: &Driver<'_>,
    run: &mut Run,
    pace: &mut Pace,
    which: impl Fn(u32) -> bool,
) -> Result<(), Error> {
    pace.short.begin(run);
    while let Some(batch) = run.next_to_send(&which, &pace.short) {
        let must_wait = pace.wait(driver.clock.now()).is_some() || !has_room(driver, run, batch);
        if driver.is_leaving() || run.doubts().next().is_some() || must_wait {
            break;
        }
        if let Some(shortage) = run.reserve(batch, driver.clock.now())? {
            pace.short.hold(batch, shortage);
            match run.on_limit() {
                OnLimit::Stop => break,
                OnLimit::Partial => continue,
            }
        }
        if !send(driver, run, pace, batch).await? {
            break;
        }
    }
    Ok(())
}

fn has_room(driver: &Driver<'_>, run: &Run, batch: u32) -> bool {
    let queued = run.requests_in_flight();
    queued == 0 || queued + u64::from(run.piece(batch).requests) <= driver.max_queued_requests
}

/// Sends one batch; tells whether the next may follow at once.
async fn send(driver: &Driver<'_>, run: &mut Run, pace: &mut Pace, batch: u32) -> Result<bool, Error> {
    let (begun, attempts) = pace.history(batch, driver.clock.now());
    let body = Arc::new(run.body(batch)?);
    let piece = run.piece(batch);
    let (requests, bytes, body_hash) = (piece.requests, piece.body_bytes, piece.body_hash.clone());
    driver.listener.hear(Progress::Submitting { batch, of: run.batches(), requests: requests.into(), bytes });
    let newest_listed = if run.has_remotes() { None } else { newest_listed(driver).await };
    run.record(driver.clock.now(), Event::Intent { batch, requests, bytes, body_hash, newest_listed })?;
    // Not interrupted by a wish to leave: half a create call is a doubt.
    let error = match driver.api.create(body).await {
        Ok(remote) => {
            accept(driver, run, batch, &remote)?;
            pace.refused = None;
            return Ok(true);
        }
        Err(error) => error,
    };
    let now = driver.clock.now();
    match judge(Call::Create, &error, attempts, between(begun, now), driver.clock.jitter()) {
        Verdict::Doubt => {
            run.record(now, Event::Doubt { batch, reason: error.to_string() })?;
            driver.note(&format!("batch {batch} may or may not have been made ({error}); looking for it, nothing is sent again"));
            pace.refused = None;
            Ok(false)
        }
        Verdict::Again { after } => {
            refused(run, now, batch, &error)?;
            pace.later(batch, now, after, &error);
            driver.note(&format!("batch {batch} was not taken ({error}); trying again in {} s", after.as_secs().max(1)));
            Ok(false)
        }
        Verdict::Split if requests > 1 => {
            refused(run, now, batch, &error)?;
            pace.refused = None;
            let into = split_in_two(run, now, batch)?;
            driver.note(&format!(
                "batch {batch} is too large for the provider; its requests go in batches {} and {}",
                into[0], into[1]
            ));
            Ok(true)
        }
        _ => {
            refused(run, now, batch, &error)?;
            Err(stopped(run, format!("batch {batch} of {} was not accepted", run.batches()), error))
        }
    }
}

/// When the newest batch that the provider lists was made, in its own time: a batch that is made after this is not older, whatever our
/// clock says. Only to be had before the first batch of a run; where the list does not answer, the search goes by our clock.
async fn newest_listed(driver: &Driver<'_>) -> Option<Timestamp> {
    let page = driver.unless_leaving(driver.api.list(1, None)).await?.ok()?;
    Some(page.data.first().map_or(Timestamp::UNIX_EPOCH, |newest| newest.created_at))
}

fn accept(driver: &Driver<'_>, run: &mut Run, batch: u32, remote: &RemoteBatch) -> Result<(), Error> {
    run.record(driver.clock.now(), Event::Accepted { batch, id: remote.id.clone(), created_at: remote.created_at })?;
    driver.listener.hear(Progress::Accepted { batch, id: &remote.id });
    Ok(())
}

fn refused(run: &mut Run, now: Timestamp, batch: u32, error: &ApiError) -> Result<(), Error> {
    run.record(now, Event::Refused { batch, status: error.status, kind: error.kind.clone(), message: error.message.clone() })
}

/// A provider's error, with what of the run is safe.
pub(crate) fn stopped(run: &Run, doing: String, source: ApiError) -> Error {
    Error::Provider { doing, source: Box::new(source), standing: run.standing_in_words() }
}

/// Asks the provider to cancel every batch in flight, and gives their number. What was planned and not sent stays unsent for good.
///
/// # Errors
/// [`Error::Provider`] when the provider cannot be reached; batches asked before that are recorded.
pub async fn cancel(api: &dyn BatchApi, clock: &dyn Clock, run: &mut Run) -> Result<u64, Error> {
    while let Some(batch) = run.first_unsent() {
        run.record(clock.now(), Event::Withdrawn { batch })?;
    }
    let in_flight: Vec<(u32, BatchId)> = run.in_flight().collect();
    let mut asked = 0;
    for (batch, id) in in_flight {
        run.record(clock.now(), Event::CancelAsked { batch })?;
        // A batch that ended meanwhile answers "not found": there is nothing to cancel, and its results wait.
        let has_ended = |error: &ApiError| error.status.is_some_and(|status| matches!(status, 400 | 404 | 409));
        let call = with_retry(Call::Cancel, clock, || async {
            match api.cancel(&id).await {
                Err(error) if has_ended(&error) => Ok(false),
                answer => answer.map(|_| true),
            }
        });
        asked += u64::from(call.await.map_err(|source| stopped(run, format!("cannot cancel batch {batch} ({id})"), source))?);
    }
    Ok(asked)
}
