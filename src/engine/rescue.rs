//! A run whose journal is lost → the same run, with every batch to be looked for.
//!
//! Without its journal it is not known which batches of a run were sent, so all of them are in
//! doubt: those of the plan, and those that only the spool knows, which hold rows that were sent
//! again or the halves of a batch that was too large (`evidence.rs`). That is how the journal is
//! rebuilt, and from there the run resumes as usual: the provider's list is searched for batches of
//! their sizes, and what is found is proven by the ids in its results (`doubt.rs`). Results on disk
//! that hold all ids of a batch are used where the provider no longer has it. What cannot be found
//! within the settling time, and the ledger has no bill for, counts as not created.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::journal::{
    Checkpoint, Event, Journal, JournalEntry, Lock, Owner, RunDir, State, Verdict, VerdictReason,
};
use crate::ledger::{Ledger, LedgerEntry};

use super::evidence::{Evidence, Scope};
use super::kept_job::KeptJob;
use super::run_place::RunPlace;
use super::{BudgetContext, Error, Run};

/// Rebuilds the journal of a run, with every batch in doubt. Returns the run, and where the old
/// journal is kept, if there was one.
///
/// # Errors
/// [`Error::SoundJournal`] if the journal can be read, for a sound one knows more;
/// [`Error::Journal`] if the run is locked, or its plan is lost too.
pub(super) fn rescue(
    folder: &Path,
    now: Timestamp,
    context: &BudgetContext,
) -> Result<(Run, Option<PathBuf>), Error> {
    let (dir, plan) = RunDir::open_without_journal(folder)?;
    let lock = Lock::take(&dir, &Owner::this_process(now))?;
    if Journal::read(&dir.journal(), &plan).is_ok() {
        return Err(Error::SoundJournal {
            run: folder.to_path_buf(),
        });
    }
    let kept = KeptJob::of_plan(&dir, &plan)?;
    let place = RunPlace::of(folder, &plan, &kept.job.budget, &context.state);
    let ledger = Ledger::open_if_there(&place.ledger, context.ledger_patience)?;
    let entries = ledger.map_or(Ok(Vec::new()), |ledger| ledger.of_run(&plan.run))?;
    let entries: BTreeMap<u32, LedgerEntry> = entries
        .into_iter()
        .map(|entry| (entry.batch, entry))
        .collect();
    // Nor is it known whether a checkpoint was passed; it is judged again.
    let judged = |checkpoint: &Checkpoint| Event::Judged {
        batch: checkpoint.batch,
        verdict: Verdict::Rescued,
        reason: VerdictReason::JournalLost,
    };
    let mut events: Vec<(Timestamp, Event)> = plan
        .checkpoints
        .iter()
        .map(|checkpoint| (now, judged(checkpoint)))
        .collect();
    let lines: Vec<_> = (1..)
        .zip(&events)
        .map(|(seq, (at, event))| JournalEntry::new(seq, *at, event.clone()))
        .collect();
    let state = State::from_events(&plan.batches, &plan.checkpoints, &lines).map_err(|source| {
        crate::journal::Error::Impossible {
            path: dir.journal(),
            source,
        }
    })?;
    events.extend(
        Evidence::read(&dir, &plan, &entries, &context.formats)?
            .lost_events(&state, Scope::All, now)?
            .events,
    );
    let kept = Journal::renew(&dir, &plan, now, events)?;
    drop(lock);
    let (run, _) = Run::open(folder, now, context)?;
    Ok((run, kept))
}
