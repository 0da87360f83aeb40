//! A run whose journal is lost → the same run, with every batch to be looked for.
//!
//! Without its journal nobody knows which batches of a run were sent, so all of them are in doubt. That is how the journal is begun
//! anew, and from there the way is the usual one: the provider's list is searched for batches of their sizes, and what is found is
//! proven by the ids in its results (`doubt.rs`). What cannot be found within the settling time counts as not made.
//!
//! Batches that sent rows for the second time (`heal.rs`) are not found again: their rows are as their first try left them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::batch::PieceSummary;
use crate::journal::{Event, Gate, Journal, Lock, Owner, RunDir, Verdict};

use super::{Error, Means, Run};

/// Begins the journal of a run anew, with every batch in doubt. Gives the run, and where the old journal is kept, if there was one.
///
/// # Errors
/// [`Error::SoundJournal`] if the journal can be read, for a sound one knows more; [`Error::Journal`] if the run is locked, or its plan is
/// lost too.
pub fn rescue(folder: &Path, now: Timestamp, means: &Means) -> Result<(Run, Option<PathBuf>), Error> {
    let (dir, plan) = RunDir::open_without_journal(folder)?;
    let lock = Lock::take(&dir, &Owner::this_process(now))?;
    if Journal::read(&dir.journal(), &plan).is_ok() {
        return Err(Error::SoundJournal { run: folder.to_path_buf() });
    }
    // It can have been sent at any time since the plan was made.
    let was_sent = |piece: &PieceSummary| {
        let (batch, requests, bytes, body_hash) = (piece.piece, piece.requests, piece.body_bytes, piece.body_hash.clone());
        let intent = Event::Intent { batch, requests, bytes, body_hash, newest_listed: None };
        [(plan.created_at, intent), (now, Event::Doubt { batch, reason: "the run's journal was lost".to_owned() })]
    };
    // Nor is it known whether a gate was open; it is judged again.
    let reason = "the run's journal was lost";
    let judged = |gate: &Gate| Event::Judged { batch: gate.batch, verdict: Verdict::Rescued, reason: reason.to_owned() };
    let gates = plan.gates.iter().map(|gate| (now, judged(gate)));
    let sent = plan.pieces.iter().filter(|piece| piece.requests > 0).flat_map(was_sent);
    let events = gates.chain(sent).collect();
    let kept = Journal::renew(&dir, &plan, now, events)?;
    drop(lock);
    let (run, _) = Run::open(folder, now, means)?;
    Ok((run, kept))
}
