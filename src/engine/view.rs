//! A run as seen by a reader that does not work on it: where its batches stand, how long they have,
//! what to do next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cost::Money;
use crate::journal::{
    Batch, BatchState, BatchStateKind, CacheSummary, CheckpointSummary, FORMAT, Journal, Manifest,
    NextAction, Plan, RunDir, RunNote, Stage, State, Step,
};
use crate::ledger::LedgerEntry;
use crate::outcome::{Status, Usage};
use crate::provider::Formats;

use super::Error;
use super::context::between;
use super::evidence::{Evidence, Scope};

/// A run as seen by a reader that does not work on it.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// Its folder.
    pub folder: PathBuf,
    /// The summary as last written, or made now where there is none.
    pub manifest: Manifest,
    /// Its batches.
    pub batches: Vec<BatchView>,
    /// What is spent and reserved, where the ledger knows of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<MoneyView>,
    /// What the user should know or act on.
    pub warnings: Vec<RunNote>,
}

/// The money of a run, or of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MoneyView {
    /// What it has cost so far.
    pub spent_usd: Money,
    /// What is reserved for what is in flight.
    pub reserved_usd: Money,
    /// What it costs in the worst case, without retries; `None` where the plan does not say.
    pub most_usd: Option<Money>,
}

/// A batch as a reader sees it.
#[derive(Debug, Clone, Serialize)]
pub struct BatchView {
    /// Its number, from 1.
    pub batch: u32,
    /// Which attempt for its rows, from 1.
    pub attempt: u32,
    /// Its requests.
    pub requests: u64,
    /// What it has cost, or what is reserved for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<MoneyView>,
    /// Where it stands.
    pub state: BatchStateKind,
    /// The provider's id.
    pub id: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Until what is unfinished expires, in seconds; only while it is in flight.
    pub expires_in_seconds: Option<u64>,
    /// Until its results can no longer be fetched, in seconds; only until they are saved.
    pub results_vanish_in_seconds: Option<u64>,
}

/// The lifetime of a batch. **Source**: batch API guide, read 2026-08-22.
pub(crate) const BATCH_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Results can be fetched this long, counted from the batch's creation. **Source**: as above.
pub(crate) const RETENTION: Duration = Duration::from_secs(29 * 24 * 60 * 60);
/// How long before results expire the user is warned.
const WARN_BEFORE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

impl RunView {
    /// Adds what the ledger says of the run.
    pub fn add_money(&mut self, entries: &[LedgerEntry]) {
        self.add_doubts(entries);
        let most_usd = self.money.and_then(|money| money.most_usd);
        let view = |entry: &LedgerEntry, most_usd| MoneyView {
            spent_usd: entry.spent(),
            reserved_usd: entry.held(),
            most_usd,
        };
        let mut sum = MoneyView {
            most_usd,
            ..MoneyView::default()
        };
        for entry in entries
            .iter()
            .filter(|entry| entry.run == self.manifest.run)
        {
            let money = view(entry, Some(entry.worst_case));
            sum.spent_usd += money.spent_usd;
            sum.reserved_usd += money.reserved_usd;
            if let Some(batch) = self
                .batches
                .iter_mut()
                .find(|batch| batch.batch == entry.batch)
            {
                batch.money = Some(money);
            }
        }
        self.money = Some(sum);
    }

    /// Warns where other files know of batches that were sent, and the journal does not.
    fn add_doubts(&mut self, entries: &[LedgerEntry]) {
        let Ok((dir, plan, _)) = RunDir::open(&self.folder) else {
            return;
        };
        let Ok(journal) = Journal::read(&dir.journal(), &plan) else {
            return;
        };
        if journal.state.abandoned().is_some() {
            return;
        }
        let own = entries
            .iter()
            .filter(|entry| entry.run == plan.run)
            .map(|entry| (entry.batch, entry.clone()))
            .collect();
        let lost = Evidence::read(&dir, &plan, &own, &Formats::default()).and_then(|known| {
            known.lost_events(&journal.state, Scope::DoubtSearch, Timestamp::now())
        });
        match lost {
            Ok(lost) if lost.doubts.is_empty() => {}
            Ok(lost) => self.warnings.push(RunNote::MayBeSent {
                batches: lost.doubts,
                reasons: lost.reasons,
            }),
            Err(error) => self.warnings.push(RunNote::Unchecked {
                error: super::in_one_line(&error),
            }),
        }
    }

    /// Batches that count: one that was split is replaced by its parts, and has no results.
    #[must_use]
    pub fn with_results(&self) -> usize {
        let batches = self.batches.iter();
        batches
            .filter(|batch| batch.state != BatchStateKind::Split)
            .count()
    }

    /// Batches whose results are saved.
    #[must_use]
    pub fn collected(&self) -> usize {
        self.batches
            .iter()
            .filter(|batch| {
                matches!(
                    batch.state,
                    BatchStateKind::Collected | BatchStateKind::Empty
                )
            })
            .count()
    }
}

/// Reads a run without taking its lock; another process may be working on it.
///
/// # Errors
/// As `open`, but for the lock.
pub fn view(folder: &Path, now: Timestamp) -> Result<(RunView, Vec<RunNote>), Error> {
    let (dir, plan, notes_of_dir) = RunDir::open(folder)?;
    let state = Journal::read(&dir.journal(), &plan)?.state;
    let batches: Vec<BatchView> = state
        .batches()
        .iter()
        .map(|batch| batch_view(batch, now))
        .collect();
    let mut warnings: Vec<RunNote> = batches.iter().filter_map(results_expire).collect();
    warnings.extend(notes(&state).into_iter().chain(not_sent(&state)));
    let mut manifest = manifest(&plan, &state, dir.path(), now);
    let written = Manifest::read(&dir).unwrap_or_else(|error| {
        warnings.push(RunNote::UnreadableManifest {
            error: super::in_one_line(&error),
        });
        None
    });
    if let Some(written) = written {
        (manifest.usage, manifest.updated_at) = (written.usage, written.updated_at);
        (manifest.cost_usd, manifest.reserved_usd, manifest.bill) =
            (written.cost_usd, written.reserved_usd, written.bill);
        manifest.cache = written.cache.or(manifest.cache);
    }
    Ok((
        RunView {
            folder: dir.path().to_path_buf(),
            manifest,
            batches,
            money: most_of(&plan),
            warnings,
        },
        notes_of_dir,
    ))
}

/// How often a batch of a run was about to be sent, or was; `None` where its journal cannot be
/// read.
#[must_use]
pub fn create_calls(folder: &Path) -> Option<u64> {
    let (_, state) = crate::journal::read_run(folder).ok()?;
    Some(state.create_calls())
}

/// That the results of a batch can soon no longer be fetched.
fn results_expire(batch: &BatchView) -> Option<RunNote> {
    let seconds_left = batch.results_vanish_in_seconds?;
    (seconds_left < WARN_BEFORE.as_secs()).then_some(RunNote::ResultsExpire {
        batch: batch.batch,
        seconds_left,
    })
}

fn most_of(plan: &Plan) -> Option<MoneyView> {
    let most_usd = Some(plan.estimate.as_ref()?.total.worst_case);
    Some(MoneyView {
        most_usd,
        ..MoneyView::default()
    })
}

fn batch_view(batch: &Batch, now: Timestamp) -> BatchView {
    let created_at = batch.remote.as_ref().map(|remote| remote.created_at);
    // By this machine's clock alone: it was created after its create call was about to be made.
    let sent_at = batch.remote.as_ref().map(|remote| remote.sent_at);
    let left =
        |life: Duration| sent_at.map(|sent| life.saturating_sub(between(sent, now)).as_secs());
    let in_flight = matches!(batch.state, BatchState::Accepted);
    let uncollected = in_flight || matches!(batch.state, BatchState::Ended { .. });
    BatchView {
        batch: batch.number(),
        attempt: batch.attempt,
        requests: batch.spooled.requests.into(),
        money: None,
        state: batch.state.kind(),
        id: batch.remote.as_ref().map(|remote| remote.id.0.clone()),
        created_at,
        expires_in_seconds: left(BATCH_LIFE).filter(|_| in_flight),
        results_vanish_in_seconds: left(RETENTION).filter(|_| uncollected),
    }
}

/// The summary of a run from its plan and its journal. Tokens are known only to the process that
/// joined the results last.
pub(super) fn manifest(plan: &Plan, state: &State, folder: &Path, now: Timestamp) -> Manifest {
    Manifest {
        format: FORMAT,
        run: plan.run.clone(),
        job: plan.job_name.clone(),
        simulated: plan.simulated,
        state: state.stage(),
        rows: plan.rows(),
        by_status: by_status(state),
        empty_answers: None,
        batches: state.batches_by_state(),
        usage: Usage::default(),
        cost_usd: None,
        reserved_usd: None,
        bill: None,
        cache: cache_of(plan),
        checkpoints: state
            .checkpoints()
            .iter()
            .map(CheckpointSummary::of)
            .collect(),
        estimate: None,
        output: state.export().and_then(|(export, _)| export.path.clone()),
        next_action: next_action(state, folder),
        created_at: plan.created_at,
        updated_at: now,
        notes: notes(state)
            .into_iter()
            .chain(no_rows(plan))
            .chain(not_sent(state))
            .collect(),
    }
}

/// That some batches of a run are sent and others are not, for lack of budget or because the
/// process was stopped.
fn not_sent(state: &State) -> Option<RunNote> {
    let left = || state.left_to(Step::Submit);
    let batches = left().count() as u64;
    (state.has_remotes() && batches > 0).then(|| RunNote::UnsentBatches {
        batches,
        requests: left().map(|batch| u64::from(batch.spooled.requests)).sum(),
    })
}

/// That a run has nothing to send, which no count of rows by status says.
fn no_rows(plan: &Plan) -> Option<RunNote> {
    (plan.counts.requests == 0).then_some(RunNote::NothingToSend)
}

/// What was decided about the prompt cache, where something is cached.
fn cache_of(plan: &Plan) -> Option<CacheSummary> {
    let decision = plan
        .cache
        .as_ref()
        .filter(|decision| decision.bill.is_some())?;
    Some(CacheSummary {
        primes: decision.warms_up,
        why: decision.reason.clone(),
        measured: None,
    })
}

fn by_status(state: &State) -> BTreeMap<Status, u64> {
    state
        .export()
        .map(|(export, _)| export.by_status.clone())
        .unwrap_or_default()
}

/// The batches whose saved results are not clean, or can never be fetched.
fn notes(state: &State) -> Vec<RunNote> {
    let note = |batch: &Batch| match &batch.state {
        BatchState::Collected { lines, .. } if !lines.is_clean() => Some(RunNote::UncleanResults {
            batch: batch.number(),
            counts: *lines,
        }),
        BatchState::Lost { reason } => Some(RunNote::LostResults {
            batch: batch.number(),
            reason: reason.clone(),
        }),
        _ => None,
    };
    state.batches().iter().filter_map(note).collect()
}

fn next_action(state: &State, folder: &Path) -> NextAction {
    let run = folder.to_path_buf();
    match state.stage() {
        Stage::Exported => NextAction::Nothing,
        // What was sent before is still fetched: it is paid.
        Stage::Abandoned if state.what_is_left().next().is_some() => NextAction::Collect {
            run,
            abandoned: true,
        },
        Stage::Abandoned => NextAction::Nothing,
        Stage::Planned | Stage::Submitting => NextAction::Run { run },
        Stage::InDoubt => NextAction::ResolveDoubt { run },
        Stage::InFlight | Stage::Ended | Stage::Collected => NextAction::Collect {
            run,
            abandoned: false,
        },
        Stage::Stopped => NextAction::Decide { run },
        Stage::HeldBack => NextAction::ReviewFailures { run },
    }
}
