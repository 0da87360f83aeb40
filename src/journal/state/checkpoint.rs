//! Where the checkpoints of a run stand.

use jiff::Timestamp;

use super::super::{Checkpoint, Verdict, VerdictReason};
use super::Batch;

/// A checkpoint, and how it was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointState {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The first and the last row of its batch, by `row_index`.
    pub(super) rows: (u64, u64),
    /// When it was judged last, how, and why.
    pub verdict: Option<(Timestamp, Verdict, VerdictReason)>,
}

impl CheckpointState {
    /// Whether the batches after it may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.last_verdict().is_some_and(Verdict::is_open)
    }

    /// Whether the user is to decide.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.last_verdict() == Some(Verdict::Stopped)
    }

    pub(super) fn last_verdict(&self) -> Option<Verdict> {
        self.verdict.as_ref().map(|(_, verdict, _)| *verdict)
    }

    /// Whether a batch sends rows that come after it.
    pub(super) fn lies_before(&self, batch: &Batch) -> bool {
        batch.spooled.requests > 0 && batch.spooled.first_row > self.rows.1
    }

    /// Whether a batch is the one that it waits for, or a part of it.
    pub(super) fn waits_for(&self, batch: &Batch) -> bool {
        // A batch that was split is known by its rows; rows that are sent again do not count.
        let is_part = || {
            batch.spooled.requests > 0
                && (self.rows.0..=self.rows.1).contains(&batch.spooled.first_row)
        };
        batch.number() == self.checkpoint.batch || (batch.attempt == 1 && is_part())
    }
}
