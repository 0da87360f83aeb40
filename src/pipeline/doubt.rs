//! A create call whose answer was lost → the batch it made, or the proof that it made none.
//!
//! A batch carries no label and create has no idempotency key, so the one way to know is to look:
//!
//! ```text
//!   list, newest first, back to what was there before the first create call of the batch
//!     ├─ known to this run, or looked into before: passed over
//!     ├─ of another number of requests: not it (the batches of a run differ in size)
//!     ├─ ended: the ids in its first results tell whose it is ─▶ adopted, or passed over for good
//!     └─ not ended, or its results cannot be read: may be it ─▶ hold
//!   nothing left that may be it, and looked for as long as the settling time ─▶ absent: sent again
//! ```
//!
//! While a doubt is open nothing is sent. The settling time counts from when the doubt was written to the journal; a batch that was
//! `Intended` when the run was opened is written down as a doubt then, since nobody knows how late its call came to its end. The
//! last look begins after the settling time, and a look that did not see the whole list settles nothing. The time must be longer
//! than a new batch may take to show itself in the list: what shows itself later was sent, and paid, twice.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};

use crate::journal::{BatchState, Event};
use crate::provider::anthropic::result_line::custom_id_of;
use crate::provider::retry::{Call, with_retry};
use crate::provider::{BatchId, Processing, RemoteBatch};

use super::drive::{Driver, between};
use super::submit::stopped;
use super::{Error, Run};

/// How far the provider's own clocks may be apart: batches made so long before what was known before the create call are looked at.
const PROVIDER_CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);
/// How far our clock may be ahead of the provider's, where only ours tells when the call was made: longer than the provider keeps results,
/// so that every batch whose results can tell whose it is is looked into.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(35 * 24);
/// A batch in doubt for no longer than this cannot have lost its results to their age.
const TOO_YOUNG_TO_BE_ARCHIVED: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// Batches a page: as many as there may be.
const PAGE: u32 = 1000;
/// Pages looked through at the most: a hundred thousand batches. A list that goes on settles nothing.
const MAX_PAGES: usize = 100;
/// Result lines looked at for an id of ours. One would do if every line were one of its batch; more cost little.
const LINES: usize = 32;
/// So much of results is read for these lines.
const MAX_BYTES: usize = 64 << 20;

/// What has been told of doubts, so that it is told once.
#[derive(Debug, Default)]
pub(crate) struct Told(HashSet<BatchId>);

/// Looks for every batch whose create call lost its answer.
pub(crate) async fn settle_doubts(driver: &Driver<'_>, run: &mut Run, told: &mut Told) -> Result<(), Error> {
    let doubts: Vec<u32> = run.doubts().collect();
    for batch in doubts {
        admit(driver, run, batch)?;
        settle(driver, run, told, batch).await?;
    }
    Ok(())
}

/// A batch that was about to be sent when the last process ended is in doubt from now on.
fn admit(driver: &Driver<'_>, run: &mut Run, batch: u32) -> Result<(), Error> {
    if !matches!(run.standing_of(batch), BatchState::Intended { .. }) {
        return Ok(());
    }
    let reason = "rowmill ended between the intent and the answer".to_owned();
    run.record(driver.clock.now(), Event::Doubt { batch, reason })?;
    driver.note(&format!("batch {batch} may or may not have been made, since rowmill ended while it was sent; looking for it"));
    Ok(())
}

async fn settle(driver: &Driver<'_>, run: &mut Run, told: &mut Told, batch: u32) -> Result<(), Error> {
    let began = driver.clock.now();
    let Some(look) = candidates(driver, run, batch).await? else { return Ok(()) };
    let mut is_open = !look.is_whole;
    for candidate in &look.candidates {
        match whose(driver, run, batch, candidate).await? {
            Whose::Ours(id) => return adopt(driver, run, batch, candidate, &id),
            Whose::Anothers(ids) => run.rule_out_by(candidate.id.clone(), batch, &ids),
            Whose::Open(why) => {
                is_open = true;
                if told.0.insert(candidate.id.clone()) {
                    driver.note(&format!(
                        "{} may be batch {batch}: it has its size and {why}; nothing is sent until that is known",
                        candidate.id
                    ));
                }
            }
        }
    }
    if run.is_decided(batch) {
        run.record(driver.clock.now(), Event::Absent { batch, checked_until: began, by_person: true })?;
        driver.note(&format!("batch {batch} is sent again, as you decided; if it was made, it is paid twice"));
    } else if !is_open && between(run.in_doubt_since(batch), began) >= driver.settle {
        run.record(driver.clock.now(), Event::Absent { batch, checked_until: began, by_person: false })?;
        driver.note(&format!("batch {batch} was not made: nothing of its size has shown itself; it is sent again"));
    }
    Ok(())
}

fn adopt(driver: &Driver<'_>, run: &mut Run, batch: u32, found: &RemoteBatch, id: &str) -> Result<(), Error> {
    let proof = format!("its results hold `{id}`");
    run.record(driver.clock.now(), Event::Adopted { batch, id: found.id.clone(), created_at: found.created_at, proof })?;
    driver.note(&format!("batch {batch} was found: it is {}", found.id));
    Ok(())
}

/// What a look at the list shows.
struct Look {
    /// The batches that may be the lost one, those that have ended first, and of these the oldest.
    candidates: Vec<RemoteBatch>,
    /// Whether the list was seen back to what was there before.
    is_whole: bool,
}

/// Lists the batches that may be the lost one: not older than its create call, of its size, not known. `None` if it is time to leave.
async fn candidates(driver: &Driver<'_>, run: &Run, batch: u32) -> Result<Option<Look>, Error> {
    let oldest = oldest(run, batch);
    let is_young = between(run.intended_at(batch), driver.clock.now()) < TOO_YOUNG_TO_BE_ARCHIVED;
    let requests = u64::from(run.piece(batch).requests);
    let mut look = Look { candidates: Vec::new(), is_whole: false };
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let list = with_retry(Call::List, driver.clock, || driver.api.list(PAGE, after.as_deref()));
        let Some(page) = driver.unless_leaving(list).await else { return Ok(None) };
        let page = page.map_err(|source| stopped(run, format!("cannot look for batch {batch}, whose fate is open"), source))?;
        let is_past = page.data.last().is_some_and(|last| last.created_at < oldest);
        // A batch that was only just made may not be counted yet.
        let has_size = |b: &RemoteBatch| {
            b.request_counts.total() == requests || (b.request_counts.total() == 0 && b.processing_status != Processing::Ended)
        };
        let is_too_old = |b: &RemoteBatch| is_young && b.archived_at.is_some();
        let may_be_it = |b: &RemoteBatch| b.created_at >= oldest && has_size(b) && !is_too_old(b) && !run.is_not(&b.id, batch);
        look.candidates.extend(page.data.into_iter().filter(may_be_it));
        if is_past || !page.has_more || page.last_id.is_none() || page.last_id == after {
            look.is_whole = is_past || !page.has_more;
            break;
        }
        after = page.last_id;
    }
    // The oldest first: rows that are sent again go in later batches, which may have the size and the ids of an earlier one.
    look.candidates.sort_by_key(|candidate| (candidate.processing_status != Processing::Ended, candidate.created_at));
    Ok(Some(look))
}

/// When the oldest batch that may be the lost one was made, in the provider's time.
fn oldest(run: &Run, batch: u32) -> Timestamp {
    let (known, slack) = match run.not_before(batch) {
        Some(known) => (known, PROVIDER_CLOCKS_DIFFER),
        None => (run.intended_at(batch), CLOCKS_DIFFER),
    };
    known.saturating_sub(slack).unwrap_or(Timestamp::MIN)
}

/// Whose a batch is.
enum Whose {
    /// Ours: its results hold this id.
    Ours(String),
    /// Somebody else's, or another batch of ours: its first ids.
    Anothers(Vec<String>),
    /// That cannot be told now: why.
    Open(&'static str),
}

/// Tells whose a batch is by the ids in its first results. What cannot be read proves nothing: to send again then could be to pay twice.
async fn whose(driver: &Driver<'_>, run: &Run, batch: u32, candidate: &RemoteBatch) -> Result<Whose, Error> {
    const UNREADABLE: Whose = Whose::Open("its results cannot be read");
    if candidate.processing_status != Processing::Ended {
        return Ok(Whose::Open("has not ended"));
    }
    let Some(Ok(mut stream)) = driver.unless_leaving(driver.api.results(&candidate.id)).await else { return Ok(UNREADABLE) };
    let mut lines = FirstLines::default();
    while !lines.is_enough() {
        match driver.unless_leaving(stream.next()).await {
            Some(Some(Ok(chunk))) => lines.take(&chunk),
            Some(None) => {
                lines.end();
                break;
            }
            Some(Some(Err(_))) | None => {
                lines.is_broken = true;
                break;
            }
        }
    }
    if let Some(id) = run.proof_of(batch, &lines.ids)? {
        return Ok(Whose::Ours(id.to_owned()));
    }
    Ok(if lines.ids.is_empty() || lines.is_broken { UNREADABLE } else { Whose::Anothers(lines.ids) })
}

/// The ids of the first result lines.
#[derive(Debug, Default)]
pub(crate) struct FirstLines {
    ids: Vec<String>,
    rest: Vec<u8>,
    bytes: usize,
    is_broken: bool,
}

impl FirstLines {
    pub(crate) fn is_enough(&self) -> bool {
        self.ids.len() >= LINES || self.bytes >= MAX_BYTES
    }

    pub(crate) fn take(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len();
        let mut chunk = chunk;
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            self.rest.extend_from_slice(&chunk[..end]);
            self.end();
            chunk = &chunk[end + 1..];
            if self.ids.len() >= LINES {
                return;
            }
        }
        self.rest.extend_from_slice(chunk);
    }

    pub(crate) fn into_ids(self) -> Vec<String> {
        self.ids
    }

    pub(crate) fn end(&mut self) {
        let line = std::mem::take(&mut self.rest);
        if let Ok(id) = custom_id_of(line.trim_ascii()) {
            self.ids.push(id.into_owned());
        }
    }
}

/// How long until a look can settle an open doubt: at most the settling time.
pub(crate) fn time_left(driver: &Driver<'_>, run: &Run) -> Option<Duration> {
    let now = driver.clock.now();
    run.doubts().map(|batch| driver.settle.saturating_sub(between(run.in_doubt_since(batch), now))).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(chunks: &[&str]) -> Vec<String> {
        let mut lines = FirstLines::default();
        chunks.iter().for_each(|chunk| lines.take(chunk.as_bytes()));
        lines.end();
        lines.ids
    }

    #[test]
    fn finds_the_first_ids_however_the_lines_are_cut() {
        assert_eq!(ids(&["{\"custom_id\":\"a\",\"result\":{}}\r\n\n{\"cust", "om_id\":\"b\",\"result\":{}}"]), ["a", "b"]);
        assert_eq!(ids(&["no json\n", "{\"custom_id\":\"a\",\"result\":{}}\n"]), ["a"]);
        assert_eq!(ids(&["{\"custom_id\":\"a\",\"resu"]), [] as [&str; 0], "half a line proves nothing");
        assert_eq!(ids(&[""]), [] as [&str; 0]);
        let many = "{\"custom_id\":\"a\",\"result\":{}}\n".repeat(100);
        assert_eq!(ids(&[&many]).len(), LINES);
    }
}
