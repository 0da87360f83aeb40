//! Before the first create call of a run that another process planned: are there batches of it that
//! its journal does not know?
//!
//! A folder that was put back from a copy, or that two machines work on, or whose journal lost its
//! end on a network disk, does not have all that was sent. So the provider's list is searched once,
//! back to the time of the plan:
//!
//! ```text
//!   known to this run, or to another run of the state folder: passed over
//!   of another number of requests than every batch that is to be sent: passed over
//!   as many of a size as there are batches of that size in doubt: left to doubt.rs
//!   ended: the ids in its first results identify it ─▶ adopted, or passed over
//!   not ended, and created after the run was planned: may be it ─▶ that batch is in doubt, and waits (doubt.rs)
//! ```
//!
//! What else is known of a batch in doubt is used here too: results on disk that hold all its ids
//! show that it was accepted and has ended, even where the provider no longer has it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::journal::{
    self, AdoptionProof, Batch, BatchState, DoubtReason, Event, Step, Unproven, Verdict,
    VerdictReason,
};
use crate::provider::retry::Call;
use crate::provider::{BatchId, Counts, Processing, RemoteBatch};

use super::context::{Context, Until};
use super::first_lines::first_lines;
use super::note::StepNote;
use super::provider_error::Action;
use super::provider_error::stopped;
use super::{Error, Run, collect, doubt};

/// Batches a page: as many as there may be.
const PAGE: u32 = 1000;
/// Pages looked through: a hundred thousand batches.
const MAX_PAGES: usize = 100;
/// How far the provider's clock may have been from ours when the run was planned, where batches of
/// the run show the difference.
const MEASURED: SignedDuration = SignedDuration::from_mins(10);
/// The same, where nothing shows it: for batches that have ended, whose results identify them,
const UNMEASURED: SignedDuration = SignedDuration::from_hours(26);
/// and for those that have not, which would hold a batch of the run without proof.
const UNMEASURED_UNPROVEN: SignedDuration = SignedDuration::from_hours(2);

/// Looks for batches of a resumed run that its journal does not know: once in a process, and once
/// more for batches that were added since (rows that are sent again, parts of one that was too
/// large), which a copy of the run may have sent. No batch is sent before.
///
/// # Errors
/// [`Error::Provider`] when the list cannot be fetched; [`Error::Journal`] when what is found
/// cannot be recorded.
pub(crate) async fn look_for_strays(
    driver: &Context<'_>,
    run: &mut Run,
    until: Until,
) -> Result<(), Error> {
    let saved: Vec<u32> = run
        .state()
        .doubts()
        .filter(|batch| run.has_saved_results(*batch))
        .collect();
    let is_unknown = |batch: &&Batch| !run.is_searched_for(batch.number());
    let unsent: Vec<u32> = run
        .state()
        .left_to(Step::Submit)
        .filter(is_unknown)
        .map(Batch::number)
        .collect();
    let sends = run
        .state()
        .left_to(Step::Submit)
        .filter(is_unknown)
        .any(|batch| until.sends(batch.attempt));
    if saved.is_empty() && !sends {
        return Ok(());
    }
    let targets: Vec<u32> = saved.iter().copied().chain(unsent).collect();
    let Some(candidates) = candidates(driver, run, &targets).await? else {
        return Ok(());
    };
    for candidate in candidates {
        if !look_into(driver, run, &targets, &candidate).await? {
            return Ok(());
        }
    }
    for batch in saved {
        if matches!(
            run.standing_of(batch),
            BatchState::InDoubt { .. } | BatchState::Intended { .. }
        ) {
            adopt_saved(driver, run, batch)?;
        }
    }
    run.searched();
    Ok(())
}

/// The batches that may be of this run: of a size that is wanted, not older than the plan, and
/// not known as another run's. `None` if it is time to stop.
async fn candidates(
    driver: &Context<'_>,
    run: &Run,
    targets: &[u32],
) -> Result<Option<Vec<RemoteBatch>>, Error> {
    let bounds = Bounds::of(run);
    let sizes: HashSet<u64> = targets
        .iter()
        .map(|batch| u64::from(run.spooled(*batch).requests))
        .collect();
    let mut found: Vec<RemoteBatch> = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let list = driver.retrying(Call::List, None, || driver.api.list(PAGE, after.as_deref()));
        let Some(page) = driver.unless_leaving(list).await else {
            return Ok(None);
        };
        let page = page.map_err(|source| stopped(run, Action::FindUnrecorded, source))?;
        let is_past = page
            .data
            .last()
            .is_some_and(|last| last.created_at < bounds.ended);
        let may_be_ours = |b: &RemoteBatch| {
            let oldest = if b.processing_status == Processing::Ended {
                bounds.ended
            } else {
                bounds.unended
            };
            b.created_at >= oldest
                && sizes.contains(&b.request_counts.total())
                && run.state().batch_of(&b.id).is_none()
        };
        found.extend(page.data.into_iter().filter(may_be_ours));
        if is_past || !page.has_more || page.last_id.is_none() || page.last_id == after {
            break;
        }
        after = page.last_id;
    }
    if !found.is_empty() {
        let others = ids_of_other_runs(run);
        found.retain(|b| !others.contains(&b.id.0));
    }
    // What has not ended, and a batch in doubt explains, is looked into by `doubt.rs`, and holds no
    // other batch of its size.
    let doubts: Vec<u64> = run
        .state()
        .doubts()
        .filter(|b| !targets.contains(b))
        .map(|b| u64::from(run.spooled(b).requests))
        .collect();
    let of_size = |sizes: &[u64], size: u64| sizes.iter().filter(|other| **other == size).count();
    let found_sizes: Vec<u64> = found.iter().map(|b| b.request_counts.total()).collect();
    found.retain(|b| {
        let size = b.request_counts.total();
        let is_proven = b.processing_status == Processing::Ended;
        is_proven || of_size(&found_sizes, size) > of_size(&doubts, size)
    });
    // The oldest first, as in `doubt.rs`.
    found.sort_by_key(|b| b.created_at);
    Ok(Some(found))
}

/// The oldest batches that are looked into, in the provider's time.
struct Bounds {
    ended: Timestamp,
    unended: Timestamp,
}

impl Bounds {
    fn of(run: &Run) -> Bounds {
        let planned = run.plan().created_at;
        let back = |from: Timestamp, by| from.saturating_sub(by).unwrap_or(Timestamp::MIN);
        // A batch that was known so long after the plan was created at most so long after it.
        let remotes = run
            .state()
            .batches()
            .iter()
            .filter_map(|batch| batch.remote.as_ref());
        let measured = remotes.filter_map(|remote| {
            let since_plan = remote.known_since.duration_since(planned);
            remote.created_at.checked_sub(since_plan).ok()
        });
        match measured.min() {
            Some(planned) => Bounds {
                ended: back(planned, MEASURED),
                unended: back(planned, MEASURED),
            },
            None => Bounds {
                ended: back(planned, UNMEASURED),
                unended: back(planned, UNMEASURED_UNPROVEN),
            },
        }
    }
}

/// Finds out whether a batch is one of the run's, and records it; `false` if it is time to stop.
async fn look_into(
    driver: &Context<'_>,
    run: &mut Run,
    targets: &[u32],
    candidate: &RemoteBatch,
) -> Result<bool, Error> {
    let is_open = |run: &Run, batch: u32| {
        use BatchState::{InDoubt, Intended, Planned, Refused};
        matches!(
            run.standing_of(batch),
            Planned | Refused { .. } | Intended { .. } | InDoubt { .. }
        )
    };
    let of_size =
        |batch: &u32| u64::from(run.spooled(*batch).requests) == candidate.request_counts.total();
    let same: Vec<u32> = targets
        .iter()
        .copied()
        .filter(of_size)
        .filter(|batch| is_open(run, *batch))
        .collect();
    if candidate.processing_status != Processing::Ended {
        hold(driver, run, &same, candidate, Unproven::NotEnded)?;
        return Ok(true);
    }
    // Where the provider has thrown the results away, a batch of this run would be of no use, and
    // could not be identified.
    if candidate.archived_at.is_some() {
        return Ok(true);
    }
    let Some(ids) = first_lines(driver, &candidate.id).await.into_ids() else {
        if driver.is_leaving() {
            return Ok(false);
        }
        hold(driver, run, &same, candidate, Unproven::Unreadable)?;
        return Ok(true);
    };
    for batch in same {
        if let Some(id) = run.proof_of(batch, &ids)? {
            adopt(driver, run, batch, candidate, id)?;
            return Ok(true);
        }
    }
    let looked_for: Vec<u32> = run.state().doubts().collect();
    for batch in looked_for {
        if run.proof_of(batch, &ids)?.is_none() {
            run.rule_out_by(candidate.id.clone(), batch, &ids);
        }
    }
    Ok(true)
}

/// Records that batches may have been sent, so that none of them is sent before that is known.
fn hold(
    driver: &Context<'_>,
    run: &mut Run,
    batches: &[u32],
    candidate: &RemoteBatch,
    unproven: Unproven,
) -> Result<(), Error> {
    for &batch in batches {
        if !matches!(
            run.standing_of(batch),
            BatchState::Planned | BatchState::Refused { .. }
        ) {
            continue;
        }
        intend(driver, run, batch, candidate)?;
        let id = candidate.id.clone();
        driver.note(StepNote::PossiblyUnrecorded {
            batch,
            id: id.clone(),
            why: unproven,
        });
        let reason = DoubtReason::Listed { id, unproven };
        run.record(driver.clock.now(), Event::Doubt { batch, reason })?;
    }
    Ok(())
}

fn adopt(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    found: &RemoteBatch,
    id: &str,
) -> Result<(), Error> {
    if matches!(
        run.standing_of(batch),
        BatchState::Planned | BatchState::Refused { .. }
    ) {
        intend(driver, run, batch, found)?;
    }
    doubt::record_adoption(driver, run, batch, found, id)?;
    let id = found.id.clone();
    driver.note(StepNote::FoundUnrecorded { batch, id });
    Ok(())
}

/// Records the intent that the journal lacks.
fn intend(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    candidate: &RemoteBatch,
) -> Result<(), Error> {
    let now = driver.clock.now();
    while run.state().waits_at_checkpoint(batch) {
        let Some(checkpoint) = run
            .state()
            .checkpoints()
            .iter()
            .find(|checkpoint| checkpoint.verdict.is_none())
            .map(|checkpoint| checkpoint.checkpoint.batch)
        else {
            break;
        };
        let reason = VerdictReason::LaterBatchSent;
        run.record(
            now,
            Event::Judged {
                batch: checkpoint,
                verdict: Verdict::Rescued,
                reason,
            },
        )?;
    }
    let spooled = run.spooled(batch);
    let (requests, bytes, body_hash) = (
        spooled.requests,
        spooled.body_bytes,
        spooled.body_hash.clone(),
    );
    // The batch in question is not older than itself.
    let newest_listed = Some(candidate.created_at);
    run.record(
        run.plan().created_at.min(now),
        Event::Intent {
            batch,
            requests,
            bytes,
            body_hash,
            newest_listed,
        },
    )
}

/// Uses the results on disk as those of a batch that cannot be found at the provider: they hold a
/// line for each of its ids.
fn adopt_saved(driver: &Context<'_>, run: &mut Run, batch: u32) -> Result<(), Error> {
    let path = run.results_path(batch);
    let now = driver.clock.now();
    let (file, file_hash) = (run.relative(&path), collect::hash_of(&path)?);
    let lines = collect::counts_of(run, batch, &path)?;
    let id = BatchId(format!("saved-{}-{batch:05}", run.plan().nonce.as_str()));
    let proof = AdoptionProof::SavedResults { file: file.clone() };
    let counts = Counts {
        succeeded: u64::from(run.spooled(batch).requests),
        ..Counts::default()
    };
    run.record(
        now,
        Event::Adopted {
            batch,
            id,
            created_at: run.plan().created_at,
            proof,
        },
    )?;
    run.record(
        now,
        Event::Ended {
            batch,
            counts,
            ended_at: None,
        },
    )?;
    run.record(
        now,
        Event::Collected {
            batch,
            file,
            file_hash,
            counts: lines,
        },
    )?;
    driver.note(StepNote::SavedResultsUsed { batch });
    Ok(())
}

/// What identifies a batch in a line of a journal.
#[derive(Deserialize)]
struct Line {
    nonce: Option<String>,
    id: Option<String>,
}

/// The batches that other runs of the state folder know as theirs. A copy of this run, which has
/// its nonce, is no other run.
fn ids_of_other_runs(run: &Run) -> HashSet<String> {
    let mut ids = HashSet::new();
    let own_job = run.folder().parent().map(Path::to_path_buf);
    let jobs = folders_in(run.state_folder()).into_iter().chain(own_job);
    let jobs: HashSet<PathBuf> = jobs.collect();
    for pruned in jobs.iter().flat_map(|job| journal::pruned_runs(job)) {
        if pruned.nonce != run.plan().nonce {
            ids.extend(pruned.batches.into_iter().map(|id| id.0));
        }
    }
    let folders: HashSet<PathBuf> = jobs.iter().flat_map(|job| folders_in(job)).collect();
    for folder in folders {
        // What cannot be read excludes nothing: the batch is looked into then.
        let Ok(text) = fs::read_to_string(folder.join("journal.jsonl")) else {
            continue;
        };
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        if lines
            .next()
            .and_then(|header| header.nonce)
            .is_some_and(|nonce| nonce != run.plan().nonce.as_str())
        {
            ids.extend(lines.filter_map(|line| line.id));
        }
    }
    ids
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
