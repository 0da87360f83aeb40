//! What can be asked of the state of a run.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::AbandonReason;
use super::{Batch, BatchState, BatchStateKind, CheckpointState, ExportRecord, Stage, State, Step};
use crate::batch::SpooledBatch;
use crate::provider::BatchId;

/// How many batches of a run are at the provider, and how many need nothing more from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchProgress {
    /// Batches that the provider works on, or may work on.
    pub in_flight: u32,
    /// Batches that have ended, or will never be sent.
    pub ended: u32,
}

/// The batches.
impl State {
    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// When the last event was recorded, in this machine's time.
    #[must_use]
    pub fn last_event_at(&self) -> Option<Timestamp> {
        self.last_event_at
    }

    /// The batches, by number.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// How many batches there are.
    #[must_use]
    pub fn batch_count(&self) -> u32 {
        u32::try_from(self.batches.len()).unwrap_or(u32::MAX)
    }

    /// A batch by its number.
    #[must_use]
    pub fn batch(&self, number: u32) -> Option<&Batch> {
        self.batches.get((number as usize).checked_sub(1)?)
    }

    /// A batch whose number came from this state.
    ///
    /// # Panics
    /// Where there is no such batch.
    #[must_use]
    pub(crate) fn known_batch(&self, number: u32) -> &Batch {
        self.batch(number)
            .expect("batch numbers come from the state")
    }

    /// The batch of this run that the provider knows by this id.
    #[must_use]
    pub fn batch_of(&self, id: &BatchId) -> Option<u32> {
        self.ids.get(id).copied()
    }

    /// Batches by where they stand.
    #[must_use]
    pub fn batches_by_state(&self) -> BTreeMap<BatchStateKind, u64> {
        let mut counts = BTreeMap::new();
        for batch in &self.batches {
            *counts.entry(batch.state.kind()).or_default() += 1;
        }
        counts
    }

    /// How many batches are in flight, and how many have ended.
    #[must_use]
    pub fn progress(&self) -> BatchProgress {
        let mut progress = BatchProgress::default();
        for batch in &self.batches {
            match batch.state.kind() {
                BatchStateKind::InFlight | BatchStateKind::InDoubt => progress.in_flight += 1,
                BatchStateKind::Planned | BatchStateKind::Refused => {}
                BatchStateKind::Empty
                | BatchStateKind::Ended
                | BatchStateKind::Collected
                | BatchStateKind::Lost
                | BatchStateKind::Split
                | BatchStateKind::Withdrawn => progress.ended += 1,
            }
        }
        progress
    }

    /// Batches of which it is unknown whether they were created.
    pub fn doubts(&self) -> impl Iterator<Item = u32> {
        self.left_to(Step::Settle).map(Batch::number)
    }

    /// Batches that the provider works on, with its ids of them.
    pub fn in_flight(&self) -> impl Iterator<Item = (u32, BatchId)> {
        with_ids(self.left_to(Step::Watch))
    }

    /// Batches that have ended and whose results are not saved, with the provider's ids of them.
    pub fn ended(&self) -> impl Iterator<Item = (u32, BatchId)> {
        with_ids(self.left_to(Step::Collect))
    }

    /// Batches that are not sent.
    pub fn unsent(&self) -> impl Iterator<Item = u32> {
        self.left_to(Step::Submit).map(Batch::number)
    }

    /// Whether a batch with rows that were sent before waits to be sent.
    #[must_use]
    pub fn has_unsent_retries(&self) -> bool {
        self.left_to(Step::Submit).any(|batch| batch.attempt > 1)
    }

    /// Rows of a planned batch that are not sent yet, by their first and last `row_index`.
    #[must_use]
    pub fn unsent_rows(&self, planned: &SpooledBatch) -> Vec<(u64, u64)> {
        let unsent = self
            .left_to(Step::Submit)
            .filter(|batch| batch.attempt == 1 && batch.overlaps(planned));
        unsent
            .map(|batch| (batch.spooled.first_row, batch.spooled.last_row))
            .collect()
    }

    /// Batches whose saved results are not all that the provider had: lost, or saved with fewer
    /// lines than their counters report.
    pub fn incomplete(&self) -> impl Iterator<Item = &Batch> {
        self.batches
            .iter()
            .filter(|batch| batch.falls_short() || matches!(batch.state, BatchState::Lost { .. }))
    }

    /// Requests the provider works on, or may work on.
    #[must_use]
    pub fn requests_in_flight(&self) -> u64 {
        let in_flight = self
            .batches
            .iter()
            .filter(|batch| matches!(batch.state.next(), Some(Step::Settle | Step::Watch)));
        in_flight
            .map(|batch| u64::from(batch.spooled.requests))
            .sum()
    }

    /// Whether a create call was made, or was about to be.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.batches.iter().any(|batch| batch.intents > 0)
    }

    /// Whether it is certain that the provider holds no batch of the run: no create call was made,
    /// or each had certainly no effect.
    #[must_use]
    pub fn has_sent_nothing(&self) -> bool {
        self.batches
            .iter()
            .all(|batch| batch.remote.is_none() && batch.intents == batch.refusals)
    }

    /// How many create calls were made, or were about to be.
    #[must_use]
    pub fn create_calls(&self) -> u64 {
        // A batch of a rescued journal may be known without an intent.
        let calls = |batch: &Batch| u64::from(batch.intents).max(batch.remote.is_some().into());
        self.batches.iter().map(calls).sum()
    }

    /// Whether the provider knows a batch of the run.
    #[must_use]
    pub fn has_remotes(&self) -> bool {
        self.batches.iter().any(|batch| batch.remote.is_some())
    }
}

fn with_ids<'s>(batches: impl Iterator<Item = &'s Batch>) -> impl Iterator<Item = (u32, BatchId)> {
    batches.filter_map(|batch| Some((batch.number(), batch.id()?.clone())))
}

/// What is left to do.
impl State {
    /// What is to be done next for each batch that is not finished; once the run is abandoned,
    /// nothing is sent.
    pub fn what_is_left(&self) -> impl Iterator<Item = (u32, Step)> {
        self.batches
            .iter()
            .filter_map(|batch| Some((batch.number(), self.next(batch)?)))
    }

    /// What is to be done next for a batch.
    fn next(&self, batch: &Batch) -> Option<Step> {
        batch
            .state
            .next()
            .filter(|step| *step != Step::Submit || self.abandoned.is_none())
    }

    /// The batches for which this is to be done next.
    pub fn left_to(&self, step: Step) -> impl Iterator<Item = &Batch> {
        self.batches
            .iter()
            .filter(move |batch| self.next(batch) == Some(step))
    }

    /// The batches that may be sent next: not sent, and after no checkpoint that is not open.
    pub fn to_send(&self) -> impl Iterator<Item = &Batch> {
        self.left_to(Step::Submit)
            .filter(|batch| self.checkpoint_before(batch).is_none())
    }

    /// Whether all results that can be fetched are saved.
    #[must_use]
    pub fn is_collected(&self) -> bool {
        self.batches.iter().all(|batch| self.next(batch).is_none())
    }

    /// Whether the user canceled the run: then nothing is sent again unless requested.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.is_canceled
    }

    /// Why the run was abandoned.
    #[must_use]
    pub fn abandoned(&self) -> Option<&AbandonReason> {
        self.abandoned.as_ref()
    }

    /// The last export, and whether everything that is here went into it.
    #[must_use]
    pub fn export(&self) -> Option<(&ExportRecord, bool)> {
        Some((self.export.as_ref()?, self.is_export_current))
    }

    /// Whether nothing is left to do: the output is in place and complete, or the run was
    /// abandoned.
    ///
    /// A run whose output was held back is *not* finished: planned again, its rows would be paid
    /// again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.stage(), Stage::Exported | Stage::Abandoned)
    }

    /// Where the run stands, by what is to be done first.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let left = |step| self.left_to(step).next().is_some();
        if self.abandoned.is_some() {
            Stage::Abandoned
        } else if left(Step::Settle) {
            Stage::InDoubt
        } else if self.is_stopped() && !left(Step::Watch) && !left(Step::Collect) {
            Stage::Stopped
        } else if left(Step::Submit) {
            if self.events == 0 {
                Stage::Planned
            } else {
                Stage::Submitting
            }
        } else if left(Step::Watch) {
            Stage::InFlight
        } else if left(Step::Collect) {
            Stage::Ended
        } else {
            match &self.export {
                Some(export) if self.is_export_current && export.path.is_some() => Stage::Exported,
                Some(_) if self.is_export_current => Stage::HeldBack,
                _ => Stage::Collected,
            }
        }
    }
}

/// The checkpoints.
impl State {
    /// The checkpoints, in order.
    #[must_use]
    pub fn checkpoints(&self) -> &[CheckpointState] {
        &self.checkpoints
    }

    /// Whether everything that a checkpoint waits for is back that can come back.
    #[must_use]
    pub fn is_back(&self, checkpoint: &CheckpointState) -> bool {
        self.batches
            .iter()
            .filter(|batch| checkpoint.waits_for(batch))
            .all(|batch| batch.state.next().is_none())
    }

    /// Since when the provider has had the batch of a checkpoint, or a part of it, in this
    /// machine's time.
    #[must_use]
    pub fn known_since(&self, checkpoint: &CheckpointState) -> Option<Timestamp> {
        let parts = self
            .batches
            .iter()
            .filter(|batch| checkpoint.waits_for(batch));
        parts
            .filter_map(|batch| Some(batch.remote.as_ref()?.known_since))
            .min()
    }

    /// The checkpoint that a batch waits at.
    #[must_use]
    pub fn checkpoint_before(&self, batch: &Batch) -> Option<&CheckpointState> {
        self.checkpoints
            .iter()
            .find(|checkpoint| !checkpoint.is_open() && checkpoint.lies_before(batch))
    }

    /// Whether a batch waits at a checkpoint.
    #[must_use]
    pub fn waits_at_checkpoint(&self, batch: u32) -> bool {
        self.batch(batch)
            .is_some_and(|batch| self.checkpoint_before(batch).is_some())
    }

    /// The first checkpoint that is not open and has batches after it that are to be sent.
    #[must_use]
    pub fn next_checkpoint(&self) -> Option<&CheckpointState> {
        let waiting = self
            .left_to(Step::Submit)
            .filter_map(|batch| self.checkpoint_before(batch));
        waiting.min_by_key(|checkpoint| checkpoint.checkpoint.batch)
    }

    /// Whether nothing more is sent until the user has decided.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.next_checkpoint()
            .is_some_and(CheckpointState::is_stopped)
            && self.to_send().next().is_none()
    }
}
