//! A create call without a certain result → the batch it created, or the proof that it created
//! none.
//!
//! A batch carries no label and create has no idempotency key, so the one way to know is to look:
//!
//! ```text
//!   list, newest first, back to what was there before the first create call of the batch
//!     ├─ known to this run, or looked into before: passed over
//!     ├─ of another number of requests: not it
//!     ├─ ended: the ids in its first results tell whose it is ─▶ adopted, or passed over for good
//!     └─ not ended, or its results cannot be read: may be it ─▶ looked at again
//!   nothing left that may be it, and looked for as long as the settling time ─▶ absent: sent again
//! ```
//!
//! **What may be sent meanwhile**: every batch that shares no row with an uncertain one
//! ([`holds`]). Batches of one attempt share none: they are cut from the table, or pooled from
//! failed rows, without overlap, and the parts of a split batch take the place of one that was
//! refused. A batch of another attempt at rows in the same stretch waits. That the others are sent
//! cannot lead to a wrong adoption or a wrong absence: a batch is adopted by the ids in its results
//! alone, which no other batch of the same attempt has; a batch of the run whose id is known is
//! never looked at; and one that is uncertain too is ruled out, for each of the two, by its ids
//! only. Sizes choose what is looked into, and prove nothing: two uncertain batches of the same
//! size wait for each other's end, and are told apart then.
//!
//! The settling time counts from when the uncertainty was written to the journal; a batch that was
//! `Intended` when the run was opened is written down then, since it is unknown how late its call
//! came to its end. Where that was in this process, as much time has to have passed by the
//! machine's monotonic clock, so that a clock that is set forward settles nothing; and where it was
//! written down by a clock that has been set back since, that time is enough. The last look begins
//! after the settling time, and a look that did not see the whole list settles nothing. The time
//! must be longer than a new batch may take to show itself in the list: what shows itself later was
//! sent, and paid, twice.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};

use crate::journal::{AdoptionProof, Batch, BatchState, DoubtReason, Event, State, Step};
use crate::provider::anthropic::result_line::custom_id_of;
use crate::provider::retry::{Call, Verdict, judge};
use crate::provider::{ApiError, BatchId, Processing, RemoteBatch};

use super::drive::{BRIEFLY, Context, between};
use super::notice::{WaitReason, wait_in_words};
use super::submit::stopped;
use super::{Error, Run};

/// How far the provider's own clocks may be apart: batches made so long before what was known
/// before the create call are looked at.
const PROVIDER_CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);
/// How far our clock may be ahead of the provider's, where only ours tells when the call was made:
/// longer than the provider keeps results, so that every batch whose results can tell whose it is
/// is looked into.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(35 * 24);
/// A batch in doubt for no longer than this cannot have lost its results to their age.
const TOO_YOUNG_TO_BE_ARCHIVED: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// Batches a page: as many as there may be.
const PAGE: u32 = 1000;
/// Pages looked through at the most: a hundred thousand batches. A list that goes on settles
/// nothing.
const MAX_PAGES: usize = 100;
/// Result lines looked at for an id of ours. One would do if every line were one of its batch; more
/// cost little.
const LINES: usize = 32;
/// So much of results is read for these lines.
const MAX_BYTES: usize = 64 << 20;

/// What the search remembers. All of it can be lost.
#[derive(Debug)]
pub(crate) struct DoubtSearch {
    /// Batches of the workspace that a person was told of, and what.
    candidates: HashSet<(BatchId, &'static str)>,
    /// Uncertain batches that something found may be, or of which the last look saw too little.
    open: HashSet<u32>,
    /// When this process began, and since when it has known each uncertain batch.
    begun: Timestamp,
    known: HashMap<u32, Instant>,
    /// Since when the list has not answered, and how often.
    unlisted: Option<(Timestamp, u32)>,
}

impl DoubtSearch {
    pub(crate) fn new(now: Timestamp) -> DoubtSearch {
        DoubtSearch {
            candidates: HashSet::new(),
            open: HashSet::new(),
            begun: now,
            known: HashMap::new(),
            unlisted: None,
        }
    }

    /// The uncertain batches, and until when each is looked for.
    pub(crate) fn reasons(
        &self,
        driver: &Context<'_>,
        run: &Run,
        now: Timestamp,
    ) -> Vec<WaitReason> {
        let left = |batch| {
            driver
                .settle
                .saturating_sub(between(run.in_doubt_since(batch), now))
        };
        let reason = |batch| WaitReason::Uncertain {
            batch,
            left: (!self.open.contains(&batch)).then(|| left(batch)),
        };
        run.doubts().map(reason).collect()
    }

    /// Whether a batch was looked for long enough, in a look that began then.
    fn is_settled(
        &self,
        driver: &Context<'_>,
        run: &Run,
        batch: u32,
        began: Timestamp,
        by: Instant,
    ) -> bool {
        let since = run.in_doubt_since(batch);
        let is_ours = since >= self.begun;
        let known = self
            .known
            .get(&batch)
            .map_or(Duration::ZERO, |known| by.duration_since(*known));
        // Where it was written down by a clock that was ahead, only what has passed in this process
        // is certain.
        let passed = if since > began {
            known
        } else {
            between(since, began)
        };
        passed >= driver.settle && (!is_ours || known >= driver.settle)
    }
}

/// Whether a batch has to wait for an uncertain one that may carry some of its rows.
pub(crate) fn holds(state: &State, batch: &Batch) -> bool {
    let (first, last) = (batch.piece.first_row, batch.piece.last_row);
    let overlaps = |other: &Batch| other.piece.first_row <= last && first <= other.piece.last_row;
    state
        .left_to(Step::Settle)
        .any(|open| open.attempt != batch.attempt && overlaps(open))
}

/// Says that a batch is uncertain, why, and for how long it is looked for.
pub(crate) fn announce(driver: &Context<'_>, batch: u32, why: &str) {
    driver.note(&format!(
        "batch {batch} may or may not have been created ({why}); it is looked for, up to {}, and \
         the other batches are sent meanwhile",
        wait_in_words(driver.settle)
    ));
}

/// Writes down what is uncertain: each batch that was about to be sent when the last process ended.
pub(crate) fn admit(driver: &Context<'_>, run: &mut Run) -> Result<(), Error> {
    let intended = |batch: &u32| matches!(run.standing_of(*batch), BatchState::Intended { .. });
    let batches: Vec<u32> = run.doubts().filter(intended).collect();
    for batch in batches {
        let reason = DoubtReason::ProcessEnded;
        run.record(driver.clock.now(), Event::Doubt { batch, reason })?;
        announce(driver, batch, "rowmill ended while it was sent");
    }
    Ok(())
}

/// Looks once for every uncertain batch; tells whether that settled one of them.
pub(crate) async fn settle(
    driver: &Context<'_>,
    run: &mut Run,
    told: &mut DoubtSearch,
) -> Result<bool, Error> {
    let open: Vec<u32> = run.doubts().collect();
    if open.is_empty() {
        return Ok(false);
    }
    let (began, by) = (driver.clock.now(), Instant::now());
    for batch in &open {
        told.known.entry(*batch).or_insert(by);
    }
    let Some(look) = candidates(driver, run, told, &open).await? else {
        return Ok(false);
    };
    let mut has_settled = false;
    for batch in open {
        has_settled |= settle_one(driver, run, told, batch, &look, (began, by)).await?;
    }
    Ok(has_settled)
}

/// Looks whether one of the candidates is an uncertain batch; tells whether it is settled.
async fn settle_one(
    driver: &Context<'_>,
    run: &mut Run,
    told: &mut DoubtSearch,
    batch: u32,
    look: &ListSearch,
    (began, by): (Timestamp, Instant),
) -> Result<bool, Error> {
    let mut is_open = !look.is_whole;
    for candidate in &look.candidates {
        if !may_be(driver, run, candidate, batch) {
            continue;
        }
        match whose(driver, run, batch, candidate).await? {
            BatchOwner::Ours(id) => {
                return adopt(driver, run, batch, candidate, &id).map(|()| true);
            }
            BatchOwner::Anothers(ids) => run.rule_out_by(candidate.id.clone(), batch, &ids),
            BatchOwner::Open(why) => {
                is_open = true;
                if told.candidates.insert((candidate.id.clone(), why)) {
                    driver.note(&format!(
                        "{} may be batch {batch}: it has its size and {why}; batch {batch} is not \
                         sent again until that is known",
                        candidate.id
                    ));
                }
            }
        }
    }
    if is_open {
        told.open.insert(batch);
    } else {
        told.open.remove(&batch);
    }
    let by_person = run.is_decided(batch);
    if !by_person && (is_open || !told.is_settled(driver, run, batch, began, by)) {
        return Ok(false);
    }
    run.record(
        driver.clock.now(),
        Event::Absent {
            batch,
            checked_until: began,
            by_person,
        },
    )?;
    run.looked_for(batch);
    driver.note(&if by_person {
        format!("batch {batch} is sent again, as you decided; if it was created, it is paid twice")
    } else {
        format!(
            "batch {batch} was not created: nothing of its size has shown itself; it is sent again"
        )
    });
    Ok(true)
}

fn adopt(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    found: &RemoteBatch,
    id: &str,
) -> Result<(), Error> {
    let proof = AdoptionProof::HoldsId {
        custom_id: id.to_owned(),
    };
    run.record(
        driver.clock.now(),
        Event::Adopted {
            batch,
            id: found.id.clone(),
            created_at: found.created_at,
            proof,
        },
    )?;
    driver.note(&format!("batch {batch} was found: it is {}", found.id));
    Ok(())
}

/// What a look at the list shows.
struct ListSearch {
    /// The batches that may be one of the uncertain ones, those that have ended first, and of these
    /// the oldest.
    candidates: Vec<RemoteBatch>,
    /// Whether the list was seen back to what was there before.
    is_whole: bool,
}

/// Lists the batches that may be one of the uncertain ones. `None` if it is time to leave, or the
/// list does not answer for now.
async fn candidates(
    driver: &Context<'_>,
    run: &Run,
    told: &mut DoubtSearch,
    open: &[u32],
) -> Result<Option<ListSearch>, Error> {
    let oldest = open
        .iter()
        .map(|batch| oldest(run, *batch))
        .min()
        .unwrap_or(Timestamp::MIN);
    let mut look = ListSearch {
        candidates: Vec::new(),
        is_whole: false,
    };
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let list = driver.retrying(Call::List, Some(BRIEFLY), || {
            driver.api.list(PAGE, after.as_deref())
        });
        let Some(page) = driver.unless_leaving(list).await else {
            return Ok(None);
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return unlisted(driver, run, told, open, error).map(|()| None),
        };
        told.unlisted = None;
        let is_past = page
            .data
            .last()
            .is_some_and(|last| last.created_at < oldest);
        let is_empty = page.data.is_empty();
        let is_wanted = |candidate: &RemoteBatch| {
            open.iter()
                .any(|batch| may_be(driver, run, candidate, *batch))
        };
        look.candidates
            .extend(page.data.into_iter().filter(is_wanted));
        // A page that leads nowhere ends the look, and what is behind it was not seen.
        if is_past || !page.has_more || is_empty || page.last_id.is_none() || page.last_id == after
        {
            look.is_whole = is_past || !page.has_more;
            break;
        }
        after = page.last_id;
    }
    // The oldest first: rows that are sent again go in later batches, which may have the size and
    // the ids of an earlier one.
    look.candidates.sort_by_key(|candidate| {
        (
            candidate.processing_status != Processing::Ended,
            candidate.created_at,
        )
    });
    Ok(Some(look))
}

/// Whether a batch of the workspace may be an uncertain one: not older than its create call, of its
/// size, not known to be another.
fn may_be(driver: &Context<'_>, run: &Run, candidate: &RemoteBatch, batch: u32) -> bool {
    // A batch that was only just created may not be counted yet, and counts that cannot be read are
    // 0 too.
    let has_size =
        [0, u64::from(run.piece(batch).requests)].contains(&candidate.request_counts.total());
    let is_young = between(run.intended_at(batch), driver.clock.now()) < TOO_YOUNG_TO_BE_ARCHIVED;
    let is_too_old =
        candidate.created_at < oldest(run, batch) || (is_young && candidate.archived_at.is_some());
    has_size && !is_too_old && !run.is_not(&candidate.id, batch)
}

/// The list does not answer: looked at again later, as long as there is patience for such a call.
///
/// # Errors
/// [`Error::Provider`] when it is over, or the fault will not pass.
fn unlisted(
    driver: &Context<'_>,
    run: &Run,
    told: &mut DoubtSearch,
    open: &[u32],
    error: ApiError,
) -> Result<(), Error> {
    let now = driver.clock.now();
    let (since, tries) = told
        .unlisted
        .map_or((now, 0), |(since, tries)| (since, tries + 1));
    told.unlisted = Some((since, tries));
    match judge(Call::List, &error, 0, between(since, now), 0.0) {
        Verdict::Again { .. } => Ok(()),
        _ => {
            let which: Vec<String> = open.iter().map(u32::to_string).collect();
            let doing = format!(
                "cannot look for batch {}, which may or may not have been created",
                which.join(", ")
            );
            Err(stopped(run, doing, error))
        }
    }
}

/// When the oldest batch that may be the lost one was created, in the provider's time.
fn oldest(run: &Run, batch: u32) -> Timestamp {
    let (known, slack) = match run.not_before(batch) {
        Some(known) => (known, PROVIDER_CLOCKS_DIFFER),
        None => (run.intended_at(batch), CLOCKS_DIFFER),
    };
    known.saturating_sub(slack).unwrap_or(Timestamp::MIN)
}

/// BatchOwner a batch is.
enum BatchOwner {
    /// Ours: its results hold this id.
    Ours(String),
    /// Somebody else's, or another batch of ours: its first ids.
    Anothers(Vec<String>),
    /// That cannot be told now: why.
    Open(&'static str),
}

/// Tells whose a batch is by the ids in its first results. What cannot be read proves nothing: to
/// send again then could be to pay twice.
async fn whose(
    driver: &Context<'_>,
    run: &Run,
    batch: u32,
    candidate: &RemoteBatch,
) -> Result<BatchOwner, Error> {
    const UNREADABLE: BatchOwner = BatchOwner::Open("its results cannot be read");
    if candidate.processing_status != Processing::Ended {
        return Ok(BatchOwner::Open("has not ended"));
    }
    let lines = first_lines(driver, &candidate.id).await;
    if let Some(id) = run.proof_of(batch, &lines.ids)? {
        return Ok(BatchOwner::Ours(id.to_owned()));
    }
    Ok(if lines.ids.is_empty() || lines.is_broken {
        UNREADABLE
    } else {
        BatchOwner::Anothers(lines.ids)
    })
}

/// Reads the first result lines of a batch, as far as they can be read before it is time to leave.
pub(crate) async fn first_lines(driver: &Context<'_>, id: &BatchId) -> FirstLines {
    let mut lines = FirstLines::default();
    let Some(Ok(mut stream)) = driver.unless_leaving(driver.api.results(id)).await else {
        lines.is_broken = true;
        return lines;
    };
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
    lines
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
    fn is_enough(&self) -> bool {
        self.ids.len() >= LINES || self.bytes >= MAX_BYTES
    }

    fn take(&mut self, chunk: &[u8]) {
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

    /// The ids; `None` where the lines cannot be read.
    pub(crate) fn into_ids(self) -> Option<Vec<String>> {
        (!self.is_broken && !self.ids.is_empty()).then_some(self.ids)
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.rest);
        if let Ok(id) = custom_id_of(line.trim_ascii()) {
            self.ids.push(id.into_owned());
        }
    }
}

/// How long until a look can settle one of the uncertain batches; zero where one waits for nothing
/// but a look.
pub(crate) fn time_left(driver: &Context<'_>, run: &Run) -> Option<Duration> {
    let now = driver.clock.now();
    run.doubts()
        .map(|batch| {
            driver
                .settle
                .saturating_sub(between(run.in_doubt_since(batch), now))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SpooledBatch;
    use crate::journal::JournalEntry;

    fn piece(piece: u32, first_row: u64, last_row: u64) -> SpooledBatch {
        let requests = u32::try_from(last_row - first_row + 1).unwrap();
        let (file_hash, body_hash) = (String::new(), String::new());
        SpooledBatch {
            piece,
            rows: requests.into(),
            requests,
            body_bytes: 9,
            first_row,
            last_row,
            file_bytes: 9,
            file_hash,
            body_hash,
        }
    }

    #[test]
    fn only_a_batch_that_would_carry_the_same_rows_waits_for_an_uncertain_one() {
        // The second and the third have the size of the first, and wait for nothing.
        let pieces = [piece(1, 0, 9), piece(2, 10, 19), piece(3, 20, 29)];
        let intent = Event::Intent {
            batch: 1,
            requests: 10,
            bytes: 9,
            body_hash: String::new(),
            newest_listed: None,
        };
        let added = |batch, first, last| Event::Added {
            batch,
            attempt: 2,
            piece: piece(batch, first, last),
            head: None,
        };
        let uncertain = Event::Doubt {
            batch: 1,
            reason: DoubtReason::ProcessEnded,
        };
        let events = [
            intent,
            added(4, 5, 12),
            added(5, 10, 12),
            added(6, 9, 9),
            uncertain,
        ];
        let entries: Vec<JournalEntry> = (1..)
            .zip(events)
            .map(|(seq, event)| JournalEntry::new(seq, Timestamp::UNIX_EPOCH, event))
            .collect();
        let held = |entries: &[JournalEntry]| -> Vec<u32> {
            let state = State::from_events(&pieces, &[], entries).unwrap();
            state
                .to_send()
                .filter(|batch| holds(&state, batch))
                .map(Batch::number)
                .collect()
        };
        assert_eq!(held(&entries), [4, 6]);
        // As soon as the call was about to be made it may have been; once it is known, nothing is
        // held.
        assert_eq!(held(&entries[..4]), [4, 6]);
        let absent = Event::Absent {
            batch: 1,
            checked_until: Timestamp::UNIX_EPOCH,
            by_person: false,
        };
        let settled = [
            &entries[..],
            &[JournalEntry::new(6, Timestamp::UNIX_EPOCH, absent)],
        ]
        .concat();
        assert!(held(&settled).is_empty());
    }

    fn ids(chunks: &[&str]) -> Vec<String> {
        let mut lines = FirstLines::default();
        chunks.iter().for_each(|chunk| lines.take(chunk.as_bytes()));
        lines.end();
        lines.ids
    }

    #[test]
    fn finds_the_first_ids_however_the_lines_are_cut() {
        assert_eq!(
            ids(&[
                "{\"custom_id\":\"a\",\"result\":{}}\r\n\n{\"cust",
                "om_id\":\"b\",\"result\":{}}"
            ]),
            ["a", "b"]
        );
        assert_eq!(
            ids(&["no json\n", "{\"custom_id\":\"a\",\"result\":{}}\n"]),
            ["a"]
        );
        assert_eq!(
            ids(&["{\"custom_id\":\"a\",\"resu"]),
            [] as [&str; 0],
            "half a line proves nothing"
        );
        assert_eq!(ids(&[""]), [] as [&str; 0]);
        let many = "{\"custom_id\":\"a\",\"result\":{}}\n".repeat(100);
        assert_eq!(ids(&[&many]).len(), LINES);
    }
}
