//! A create call without a certain result → the batch it created, or the proof that it created
//! none.
//!
//! A batch carries no label and create has no idempotency key, so only a search can find it:
//!
//! ```text
//!   list, newest first, back to what was there before the first create call of the batch
//!     ├─ known to this run, or looked into before: passed over
//!     ├─ of another number of requests: not it
//!     ├─ ended: the ids in its first results identify it ─▶ adopted, or ruled out permanently
//!     └─ not ended, or its results cannot be read: may be it ─▶ checked again
//!   nothing left that may be it, and searched for during the settling time ─▶ absent: sent again
//! ```
//!
//! **What may be sent meanwhile**: every batch that shares no row with an uncertain one
//! ([`holds`]). Batches of one attempt share none: they are slices of the table, or pooled from
//! failed rows, without overlap, and the parts of a split batch replace one that was refused. A
//! batch of another attempt at rows in the same range waits. That the others are sent cannot lead
//! to a wrong adoption or a wrong absence: a batch is adopted by the ids in its results alone,
//! which no other batch of the same attempt has; a batch of the run whose id is known is never
//! looked at; and one that is uncertain too is ruled out, for each of the two, by its ids only.
//! Sizes choose what is looked into, and prove nothing: two uncertain batches of the same size wait
//! for each other's end, and are distinguished then.
//!
//! The settling time counts from when the uncertainty was written to the journal; a batch that was
//! `Intended` when the run was opened is written down then, since it is unknown how late its call
//! ended. Where that was in this process, as much time has to have passed by the machine's
//! monotonic clock, so that a clock that is set forward settles nothing; and where it was written
//! down by a clock that has been set back since, that time is enough. The last search begins after
//! the settling time, and a search that did not see the whole list settles nothing. The time must
//! be longer than a new batch may take to show itself in the list: what shows itself later was
//! sent, and paid, twice.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::journal::{AdoptionProof, Batch, BatchState, DoubtReason, Event, State, Step, Unproven};
use crate::provider::retry::{Call, Verdict};
use crate::provider::{ApiError, BatchId, Processing, RemoteBatch};

use super::context::{BRIEFLY, Context, between};
use super::first_lines::first_lines;
use super::note::{StepNote, UncertainCause};
use super::notice::WaitReason;
use super::provider_error::Action;
use super::provider_error::stopped;
use super::{Error, Run};

/// How far the provider's own clocks may be apart: batches made so long before what was known
/// before the create call are looked at.
const PROVIDER_CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);
/// How far our clock may be ahead of the provider's, where only ours shows when the call was made:
/// longer than the provider keeps results, so that every batch that its results can identify is
/// examined.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(35 * 24);
/// A batch in doubt for no longer than this cannot have lost its results to their age.
const TOO_YOUNG_TO_BE_ARCHIVED: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// Batches a page: as many as there may be.
const PAGE: u32 = 1000;
/// Pages read at most: a hundred thousand batches. A list that is longer settles nothing.
const MAX_PAGES: usize = 100;
/// What the search remembers. All of it can be lost.
#[derive(Debug)]
pub(crate) struct DoubtSearch {
    /// Batches of the workspace that were reported, each with the reason.
    candidates: HashSet<(BatchId, Unproven)>,
    /// Uncertain batches that something found may be, or of which the last search saw too little.
    open: HashSet<u32>,
    /// When this process began, and since when it has known each uncertain batch.
    begun: Timestamp,
    known: HashMap<u32, Duration>,
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
        let unlisted = self.unlisted.map(|(since, _)| WaitReason::NotListed {
            since: between(since, now),
        });
        let uncertain = run.state().doubts().map(reason);
        unlisted.into_iter().chain(uncertain).collect()
    }

    /// Whether a batch was searched for long enough, in a search that began then.
    fn is_settled(
        &self,
        driver: &Context<'_>,
        run: &Run,
        batch: u32,
        began: Timestamp,
        by: Duration,
    ) -> bool {
        let since = run.in_doubt_since(batch);
        let is_ours = since >= self.begun;
        let known = self
            .known
            .get(&batch)
            .map_or(Duration::ZERO, |known| by.saturating_sub(*known));
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
    let (first, last) = (batch.spooled.first_row, batch.spooled.last_row);
    let overlaps =
        |other: &Batch| other.spooled.first_row <= last && first <= other.spooled.last_row;
    state
        .left_to(Step::Settle)
        .any(|open| open.attempt != batch.attempt && overlaps(open))
}

/// Says that a batch is uncertain, why, and for how long it is looked for.
pub(crate) fn announce(driver: &Context<'_>, batch: u32, cause: UncertainCause) {
    driver.note(StepNote::Uncertain {
        batch,
        cause,
        settle: driver.settle,
    });
}

/// Writes down what is uncertain: each batch that was about to be sent when the last process ended.
pub(crate) fn admit(driver: &Context<'_>, run: &mut Run) -> Result<(), Error> {
    let intended = |batch: &u32| matches!(run.standing_of(*batch), BatchState::Intended { .. });
    let batches: Vec<u32> = run.state().doubts().filter(intended).collect();
    for batch in batches {
        let reason = DoubtReason::ProcessEnded;
        run.record(driver.clock.now(), Event::Doubt { batch, reason })?;
        announce(driver, batch, UncertainCause::ProcessEnded);
    }
    Ok(())
}

/// Searches once for every uncertain batch, and returns whether that settled one of them.
pub(crate) async fn settle(
    driver: &Context<'_>,
    run: &mut Run,
    search: &mut DoubtSearch,
) -> Result<bool, Error> {
    let open: Vec<u32> = run.state().doubts().collect();
    if open.is_empty() {
        return Ok(false);
    }
    let (began, by) = (driver.clock.now(), driver.clock.elapsed());
    for batch in &open {
        search.known.entry(*batch).or_insert(by);
    }
    let Some(list) = candidates(driver, run, search, &open).await? else {
        return Ok(false);
    };
    let mut has_settled = false;
    for batch in open {
        has_settled |= settle_one(driver, run, search, batch, &list, (began, by)).await?;
    }
    Ok(has_settled)
}

/// Checks whether one of the candidates is an uncertain batch, and returns whether that settles it.
async fn settle_one(
    driver: &Context<'_>,
    run: &mut Run,
    search: &mut DoubtSearch,
    batch: u32,
    list: &ListSearch,
    (began, by): (Timestamp, Duration),
) -> Result<bool, Error> {
    let mut is_open = !list.is_complete;
    for candidate in &list.candidates {
        if !may_be(driver, run, candidate, batch) {
            continue;
        }
        match identify(driver, run, batch, candidate).await? {
            Identity::Same(id) => {
                return adopt(driver, run, batch, candidate, &id).map(|()| true);
            }
            Identity::Other(ids) => run.rule_out_by(candidate.id.clone(), batch, &ids),
            Identity::Unknown(why) => {
                is_open = true;
                if search.candidates.insert((candidate.id.clone(), why)) {
                    let id = candidate.id.clone();
                    driver.note(StepNote::PossibleMatch { batch, id, why });
                }
            }
        }
    }
    if is_open {
        search.open.insert(batch);
    } else {
        search.open.remove(&batch);
    }
    // The user's decision needs no settling time: it accepts that the batch may exist.
    let by_person = run.is_decided(batch);
    if !by_person && (is_open || !search.is_settled(driver, run, batch, began, by)) {
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
    driver.note(StepNote::SentAgain { batch, by_person });
    Ok(true)
}

fn adopt(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    found: &RemoteBatch,
    id: &str,
) -> Result<(), Error> {
    record_adoption(driver, run, batch, found, id)?;
    let id = found.id.clone();
    driver.note(StepNote::Found { batch, id });
    Ok(())
}

/// Records that a batch at the provider is one of the run, as its results prove by `custom_id`.
pub(crate) fn record_adoption(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    found: &RemoteBatch,
    custom_id: &str,
) -> Result<(), Error> {
    let proof = AdoptionProof::HoldsId {
        custom_id: custom_id.to_owned(),
    };
    run.record(
        driver.clock.now(),
        Event::Adopted {
            batch,
            id: found.id.clone(),
            created_at: found.created_at,
            proof,
        },
    )
}

/// What the provider's list shows.
struct ListSearch {
    /// The batches that may be one of the uncertain ones, those that have ended first, and of these
    /// the oldest.
    candidates: Vec<RemoteBatch>,
    /// Whether the list was seen back to what was there before.
    is_complete: bool,
}

/// Lists the batches that may be one of the uncertain ones. `None` if the run is asked to stop, or
/// the list does not answer for now.
async fn candidates(
    driver: &Context<'_>,
    run: &Run,
    search: &mut DoubtSearch,
    open: &[u32],
) -> Result<Option<ListSearch>, Error> {
    let oldest = open
        .iter()
        .map(|batch| oldest(run, *batch))
        .min()
        .unwrap_or(Timestamp::MIN);
    let mut list = ListSearch {
        candidates: Vec::new(),
        is_complete: false,
    };
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let call = driver.retrying(Call::List, Some(BRIEFLY), || {
            driver.api.list(PAGE, after.as_deref())
        });
        let Some(page) = driver.unless_leaving(call).await else {
            return Ok(None);
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return unlisted(driver, run, search, open, error).map(|()| None),
        };
        search.unlisted = None;
        let is_past = page
            .data
            .last()
            .is_some_and(|last| last.created_at < oldest);
        let is_empty = page.data.is_empty();
        let is_wanted = |candidate: &RemoteBatch| {
            open.iter()
                .any(|batch| may_be(driver, run, candidate, *batch))
        };
        list.candidates
            .extend(page.data.into_iter().filter(is_wanted));
        // A page without a next one ends the search, and what is behind it was not seen.
        if is_past || !page.has_more || is_empty || page.last_id.is_none() || page.last_id == after
        {
            list.is_complete = is_past || !page.has_more;
            break;
        }
        after = page.last_id;
    }
    // The oldest first: rows that are sent again go in later batches, which may have the size and
    // the ids of an earlier one.
    list.candidates.sort_by_key(|candidate| {
        (
            candidate.processing_status != Processing::Ended,
            candidate.created_at,
        )
    });
    Ok(Some(list))
}

/// Whether a batch of the workspace may be an uncertain one: not older than its create call, of its
/// size, not known to be another.
fn may_be(driver: &Context<'_>, run: &Run, candidate: &RemoteBatch, batch: u32) -> bool {
    // A batch that was only just created may not be counted yet, and counts that cannot be read are
    // 0 too.
    let has_size =
        [0, u64::from(run.spooled(batch).requests)].contains(&candidate.request_counts.total());
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
    search: &mut DoubtSearch,
    open: &[u32],
    error: ApiError,
) -> Result<(), Error> {
    let now = driver.clock.now();
    let (since, tries) = search
        .unlisted
        .map_or((now, 0), |(since, tries)| (since, tries + 1));
    search.unlisted = Some((since, tries));
    let passed = between(since, now);
    match driver.patience.judge(Call::List, &error, 0, passed, 0.0) {
        Verdict::Again { .. } => Ok(()),
        _ => {
            let batches = open.to_vec();
            Err(stopped(run, Action::FindUncertain { batches }, error))
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

/// Whether a batch at the provider is an uncertain one.
enum Identity {
    /// It is: its results hold this id, which only that batch sends.
    Same(String),
    /// It is another batch, of this run or of another client: the first ids in its results.
    Other(Vec<String>),
    /// That cannot be known now: why.
    Unknown(Unproven),
}

/// Identifies a batch by the ids in its first results. What cannot be read proves nothing: sending
/// again then could mean paying twice.
async fn identify(
    driver: &Context<'_>,
    run: &Run,
    batch: u32,
    candidate: &RemoteBatch,
) -> Result<Identity, Error> {
    const UNREADABLE: Identity = Identity::Unknown(Unproven::Unreadable);
    if candidate.processing_status != Processing::Ended {
        return Ok(Identity::Unknown(Unproven::NotEnded));
    }
    let lines = first_lines(driver, &candidate.id).await;
    if let Some(id) = run.proof_of(batch, &lines.ids)? {
        return Ok(Identity::Same(id.to_owned()));
    }
    Ok(if lines.ids.is_empty() || lines.is_broken {
        UNREADABLE
    } else {
        Identity::Other(lines.ids)
    })
}

/// How long until a search can settle one of the uncertain batches; zero where one waits only for a
/// search.
pub(crate) fn time_left(driver: &Context<'_>, run: &Run) -> Option<Duration> {
    let now = driver.clock.now();
    run.state()
        .doubts()
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

    fn spooled(number: u32, first_row: u64, last_row: u64) -> SpooledBatch {
        let requests = u32::try_from(last_row - first_row + 1).unwrap();
        let (file_hash, body_hash) = (String::new(), String::new());
        SpooledBatch {
            number,
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
        let batches = [spooled(1, 0, 9), spooled(2, 10, 19), spooled(3, 20, 29)];
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
            spooled: spooled(batch, first, last),
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
            let state = State::from_events(&batches, &[], entries).unwrap();
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
}
