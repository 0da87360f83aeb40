//! Events → where each batch stands and what is left.
//!
//! ```text
//!                      ┌─ refused ──┐
//!                      ▼            │
//!  added ─▶ Planned ─ intent ─▶ Intended ─ accepted ─────────▶ Accepted ─ ended ─▶ Ended ─ collected ─▶ Collected
//!              ▲                    │ doubt                    ▲  ↻ seen,           │                    ↻ again
//!              │                    ▼                          │    cancel_asked    │
//!              └───── absent ──── InDoubt ───── adopted ───────┘  └───── lost ──────┴──▶ Lost ─ ended ─▶ Ended
//!
//!  Refused ─ split ─▶ Split, and new batches of the same attempt, Planned       Planned, Refused ─ withdrawn ─▶ Withdrawn
//!
//!  checkpoint:   waiting ─ judged ─┬─ passed, timed_out ─▶ open
//!                   ▲              └─ stopped ─▶ closed ─ overruled ─▶ open
//!                   └─ rescued
//! ```
//!
//! The batches after a checkpoint are sent when it is open; an intent before that cannot have
//! happened.
//!
//! After `abandoned` nothing is sent; what was sent is still watched, collected and exported.
//!
//! A batch that is `Intended` when the journal is opened is as good as in doubt: the process ended
//! between intent and answer, and may or may not have sent it. A batch without requests is `Empty`
//! and goes nowhere.
//!
//! What a batch is and which states it has is in `batch.rs`, what an event does in `apply.rs`, what
//! can be asked of a state in `queries.rs`. All of it is pure: no clock, no file.

mod apply;
mod batch;
mod checkpoint;
mod queries;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AbandonReason, Checkpoint, JournalEntry};
use crate::batch::SpooledBatch;
use crate::outcome::Status;
use crate::provider::BatchId;

pub use batch::{Batch, BatchState, BatchStateKind, ProviderBatch, Step};
pub use checkpoint::CheckpointState;
pub use queries::BatchProgress;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was sent.
    Planned,
    /// Some batches are to be sent.
    Submitting,
    /// It is unknown whether some batch was created.
    InDoubt,
    /// Everything is sent, some batches have not ended.
    InFlight,
    /// Everything has ended, some results are not fetched.
    Ended,
    /// A checkpoint stopped the run; the user decides whether the rest is sent.
    Stopped,
    /// All results are here, the output is not written.
    Collected,
    /// The output was held back.
    HeldBack,
    /// The output is in its place.
    Exported,
    /// Abandoned.
    Abandoned,
}

impl Stage {
    /// The word in manifests and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Planned => "planned",
            Stage::Submitting => "submitting",
            Stage::InDoubt => "in_doubt",
            Stage::InFlight => "in_flight",
            Stage::Ended => "ended",
            Stage::Stopped => "stopped",
            Stage::Collected => "collected",
            Stage::HeldBack => "held_back",
            Stage::Exported => "exported",
            Stage::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was exported, or held back.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRecord {
    /// When.
    pub at: Timestamp,
    /// When the same answers were exported, or held back, first.
    pub since: Timestamp,
    /// The output; `None` where it was held back.
    pub path: Option<PathBuf>,
    /// blake3 of the output, in hex, where it was recorded.
    pub hash: Option<String>,
    /// Rows.
    pub rows: u64,
    /// Rows by status.
    pub by_status: BTreeMap<Status, u64>,
}

/// A line that cannot follow the lines before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {reason}", batch.map(|batch| format!(" (batch {batch})")).unwrap_or_default())]
pub struct ImpossibleEvent {
    /// The line, counted from 1.
    pub line: u64,
    /// The batch it is about.
    pub batch: Option<u32>,
    /// Why it cannot.
    pub reason: String,
}

/// Where the run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    batches: Vec<Batch>,
    checkpoints: Vec<CheckpointState>,
    ids: HashMap<BatchId, u32>,
    events: u64,
    last_event_at: Option<Timestamp>,
    export: Option<ExportRecord>,
    is_export_current: bool,
    /// Whether the user canceled the run, and has not had rows sent again since.
    is_canceled: bool,
    abandoned: Option<AbandonReason>,
}

impl State {
    /// A run of the planned batches, of which nothing has happened.
    #[must_use]
    pub fn new(batches: &[SpooledBatch], checkpoints: &[Checkpoint]) -> State {
        let planned =
            |checkpoint: &Checkpoint| batches.get((checkpoint.batch as usize).wrapping_sub(1));
        let rows = |checkpoint: &Checkpoint| {
            planned(checkpoint).map_or((u64::MAX, u64::MAX), |batch| {
                (batch.first_row, batch.last_row)
            })
        };
        let checkpoint = |checkpoint: &Checkpoint| CheckpointState {
            checkpoint: checkpoint.clone(),
            rows: rows(checkpoint),
            verdict: None,
        };
        State {
            batches: batches
                .iter()
                .map(|batch| Batch::new(batch.clone(), 1, None))
                .collect(),
            checkpoints: checkpoints.iter().map(checkpoint).collect(),
            ids: HashMap::new(),
            events: 0,
            last_event_at: None,
            export: None,
            is_export_current: false,
            is_canceled: false,
            abandoned: None,
        }
    }

    /// The state after some events.
    ///
    /// # Errors
    /// The first event that cannot follow those before it.
    pub fn from_events(
        batches: &[SpooledBatch],
        checkpoints: &[Checkpoint],
        entries: &[JournalEntry],
    ) -> Result<State, ImpossibleEvent> {
        let mut state = State::new(batches, checkpoints);
        entries.iter().try_for_each(|entry| state.apply(entry))?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests;
