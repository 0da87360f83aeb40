//! Checkpoints: batches that must be back before the rest of the run is sent.
//!
//! ```text
//!  batch 1          batch 2              batch 3 …
//!  one request  ▌   `canary.rows`  ▌     everything else
//!           checkpoint         checkpoint
//! ```
//!
//! The plan says which batches are followed by a checkpoint; how a checkpoint was judged is in the
//! journal, as [`Verdict`]s. A batch whose rows come after a checkpoint that is not open is not
//! sent; batches that replace the first one (halves of it, rows of it that are sent again) come
//! before it.

use serde::{Deserialize, Serialize};

/// A checkpoint after a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The batch, by its number in the plan.
    pub batch: u32,
    /// What it waits for.
    #[serde(flatten)]
    pub kind: CheckpointKind,
}

/// What a checkpoint waits for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum CheckpointKind {
    /// Cache warm-up: one request writes the shared prefix into the cache, for the others to read.
    /// The rest waits for a time that the job sets.
    Prime,
    /// Some rows show whether the job works.
    Canary {
        /// How many of them may fail.
        limits: CanaryLimits,
    },
}

impl CheckpointKind {
    /// The word in messages and manifests.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            CheckpointKind::Prime => "prime",
            CheckpointKind::Canary { .. } => "canary",
        }
    }
}

/// The largest shares of a canary's rows, from 0 to 1, with which the rest is sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CanaryLimits {
    /// The provider reports an error, or there is no result line.
    pub max_error: f64,
    /// The answer was truncated.
    pub max_truncated: f64,
    /// The model declined.
    pub max_refused: f64,
    /// The answer does not fit the schema.
    pub max_invalid: f64,
    /// The row succeeded with an empty answer. Runs planned before there was such a limit have
    /// none.
    #[serde(default = "no_limit")]
    pub max_empty: f64,
}

fn no_limit() -> f64 {
    1.0
}

/// How a checkpoint was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The batch is back, and its results are good enough to send the rest.
    Passed,
    /// The batch is not back in time; the rest is sent without it.
    TimedOut,
    /// The results are not good enough to send the rest.
    Stopped,
    /// The user overruled it: the rest is sent.
    Overruled,
    /// The journal was lost: whether the checkpoint was open is unknown, so it is judged again.
    Rescued,
}

impl Verdict {
    /// Whether the batches after it may be sent.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Verdict::Passed | Verdict::TimedOut | Verdict::Overruled
        )
    }

    /// The word in messages and manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::TimedOut => "timed_out",
            Verdict::Stopped => "stopped",
            Verdict::Overruled => "overruled",
            Verdict::Rescued => "rescued",
        }
    }
}
