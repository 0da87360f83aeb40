//! Spooled batches → accepted batches, each accepted once.
//!
//! ```text
//!   intent to the journal ─▶ POST ─┬─▶ accepted: id to the journal
//!                                  ├─▶ refused, certainly without effect: to the journal; try again, or stop
//!                                  └─▶ answer lost: a doubt, to the journal; nothing is sent until it is settled
//! ```
//!
//! A doubt is settled by looking: the batches created since the intent are listed, those of this run that are known and those of other
//! size are left out, and what remains is proven by the ids in its results. Only when nothing like it has shown itself for a
//! while is the batch taken for not made, and sent.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::journal::Event;
use crate::provider::retry::{Call, Clock, Verdict, judge, with_retry};
use crate::provider::{ApiError, BatchApi, BatchId, Processing, RemoteBatch};

use super::drive::{Driver, between};
use super::progress::Progress;
use super::{Error, Run};

/// How far the provider's clock may be from ours before a batch made just now is taken for an older one.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(15);
/// Batches a page when looking for a lost one.
const PAGE: u32 = 100;
/// Pages looked through at the most: ten thousand batches made since the intent.
const MAX_PAGES: usize = 100;
/// First line of a results file: so much of it is read for its id.
const FIRST_LINE_BYTES: usize = 64 << 20;

/// Sends the batches that are planned, in order, while there is room in the queue and no doubt is open.
pub(crate) async fn send_what_fits(driver: &Driver<'_>, run: &mut Run) -> Result<(), Error> {
    while let Some(batch) = run.next_to_send() {
        if driver.stop.is_set() || run.doubts().next().is_some() || !has_room(driver, run, batch) {
            break;
        }
        if !send(driver, run, batch).await? {
            break;
        }
    }
    Ok(())
}

fn has_room(driver: &Driver<'_>, run: &Run, batch: u32) -> bool {
    let queued = run.requests_in_flight();
    queued == 0 || queued + u64::from(run.piece(batch).requests) <= driver.max_queued_requests
}

/// Sends one batch; tells whether it was accepted.
async fn send(driver: &Driver<'_>, run: &mut Run, batch: u32) -> Result<bool, Error> {
    let begun = driver.clock.now();
    let body = Arc::new(run.body(batch)?);
    for attempt in 0.. {
        let piece = run.piece(batch);
        let (requests, bytes, body_hash) = (piece.requests, piece.body_bytes, piece.body_hash.clone());
        driver.listener.hear(Progress::Submitting { batch, of: run.batches(), requests: requests.into(), bytes });
        run.record(driver.clock.now(), Event::Intent { batch, requests, bytes, body_hash })?;
        // Not interrupted by a wish to leave: half a create call is a doubt.
        let error = match driver.api.create(Arc::clone(&body) as _).await {
            Ok(remote) => {
                accept(driver, run, batch, &remote)?;
                return Ok(true);
            }
            Err(error) => error,
        };
        let since = between(begun, driver.clock.now());
        match judge(Call::Create, &error, attempt, since, driver.clock.jitter()) {
            Verdict::Doubt => {
                run.record(driver.clock.now(), Event::Doubt { batch, reason: error.to_string() })?;
                let text =
                    format!("batch {batch} may or may not have been made ({error}); looking for it, nothing is sent again");
                driver.listener.hear(Progress::Note(&text));
                return Ok(false);
            }
            Verdict::Again { after } => {
                refused(driver, run, batch, &error)?;
                let text = format!("batch {batch} was not taken ({error}); trying again in {} s", after.as_secs().max(1));
                driver.listener.hear(Progress::Note(&text));
                if run.requests_in_flight() > 0 && error.status == Some(429) {
                    // The queue empties as batches end; the loop looks after them meanwhile.
                    return Ok(false);
                }
                if driver.stop.or(driver.clock.sleep(after)).await.is_none() {
                    return Ok(false);
                }
            }
            _ => {
                refused(driver, run, batch, &error)?;
                return Err(stopped(run, format!("batch {batch} of {} was not accepted", run.batches()), error));
            }
        }
    }
    Ok(false)
}

fn accept(driver: &Driver<'_>, run: &mut Run, batch: u32, remote: &RemoteBatch) -> Result<(), Error> {
    run.record(driver.clock.now(), Event::Accepted { batch, id: remote.id.clone(), created_at: remote.created_at })?;
    driver.listener.hear(Progress::Accepted { batch, id: &remote.id });
    Ok(())
}

fn refused(driver: &Driver<'_>, run: &mut Run, batch: u32, error: &ApiError) -> Result<(), Error> {
    let event = Event::Refused { batch, status: error.status, kind: error.kind.clone(), message: error.message.clone() };
    run.record(driver.clock.now(), event)
}

/// A provider's error, with what of the run is safe.
pub(crate) fn stopped(run: &Run, doing: String, source: ApiError) -> Error {
    Error::Provider { doing, source: Box::new(source), standing: run.standing_in_words() }
}

/// Looks for batches whose create call lost its answer.
pub(crate) async fn settle_doubts(driver: &Driver<'_>, run: &mut Run) -> Result<(), Error> {
    let doubts: Vec<u32> = run.doubts().collect();
    for batch in doubts {
        settle(driver, run, batch).await?;
    }
    Ok(())
}

async fn settle(driver: &Driver<'_>, run: &mut Run, batch: u32) -> Result<(), Error> {
    let Some(candidates) = candidates(driver, run, batch).await? else { return Ok(()) };
    for candidate in &candidates {
        if candidate.processing_status != Processing::Ended {
            // It may be ours; only its results can tell.
            return Ok(());
        }
        // Results that cannot be read prove nothing: to send again now could be to pay twice.
        let Some(found) = first_id(driver, &candidate.id).await? else { return Ok(()) };
        if run.has_id(batch, &found)? {
            let proof = format!("its results hold `{found}`");
            run.record(
                driver.clock.now(),
                Event::Adopted { batch, id: candidate.id.clone(), created_at: candidate.created_at, proof },
            )?;
            let text = format!("batch {batch} was found: it is {}", candidate.id);
            driver.listener.hear(Progress::Note(&text));
            return Ok(());
        }
        run.not_ours(candidate.id.clone());
    }
    let now = driver.clock.now();
    if between(run.in_doubt_since(batch), now) >= driver.settle {
        run.record(now, Event::Absent { batch, checked_until: now })?;
        let text = format!("batch {batch} was not made: nothing of its size has shown itself; it is sent again");
        driver.listener.hear(Progress::Note(&text));
    }
    Ok(())
}

/// The batches that may be the lost one: made since the intent, of its size, not known. `None` if a person wants to leave.
async fn candidates(driver: &Driver<'_>, run: &Run, batch: u32) -> Result<Option<Vec<RemoteBatch>>, Error> {
    let since = run.intended_at(batch).saturating_sub(CLOCKS_DIFFER).unwrap_or(jiff::Timestamp::MIN);
    let requests = u64::from(run.piece(batch).requests);
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let list = with_retry(Call::List, driver.clock, || driver.api.list(PAGE, after.as_deref()));
        let Some(page) = driver.stop.or(list).await else { return Ok(None) };
        let page = page.map_err(|source| stopped(run, format!("cannot look for batch {batch}, whose fate is open"), source))?;
        let over = !page.has_more || page.last_id.is_none() || page.data.last().is_some_and(|oldest| oldest.created_at < since);
        let like_it = |b: &RemoteBatch| b.created_at >= since && b.request_counts.total() == requests && !run.is_known(&b.id);
        found.extend(page.data.into_iter().filter(like_it));
        if over {
            break;
        }
        after = page.last_id;
    }
    Ok(Some(found))
}

/// The custom_id of the first result line of a batch; `None` if it has none, or cannot be read now.
async fn first_id(driver: &Driver<'_>, id: &BatchId) -> Result<Option<String>, Error> {
    use futures_util::StreamExt as _;
    let Ok(mut stream) = driver.api.results(id).await else { return Ok(None) };
    let mut line = Vec::new();
    while let Some(Ok(chunk)) = stream.next().await {
        line.extend_from_slice(&chunk);
        let Some(end) = memchr::memchr(b'\n', &line) else { if line.len() > FIRST_LINE_BYTES { break } else { continue } };
        let first = line[..end].trim_ascii();
        if first.is_empty() {
            line.drain(..=end);
            continue;
        }
        let found = crate::provider::anthropic::result_line::custom_id_of(first);
        return Ok(found.ok().map(std::borrow::Cow::into_owned));
    }
    Ok(None)
}

/// Asks the provider to cancel every batch in flight, and gives their number. What was planned and not sent stays unsent.
///
/// # Errors
/// [`Error::Provider`] when the provider cannot be reached; batches asked before that are recorded.
pub async fn cancel(api: &dyn BatchApi, clock: &dyn Clock, run: &mut Run) -> Result<u64, Error> {
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
