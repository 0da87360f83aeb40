//! WarmUpBatches batches that have to be back before the rest of the run is sent.
//!
//! ```text
//!  batch 1          batch 2              batch 3 …
//!  one request  ▌   `canary.rows`  ▌     everything else
//!               gate               gate
//! ```
//!
//! The plan says which batches are followed by a gate; what became of a gate is in the journal, as
//! [`Verdict`]s. A batch whose rows lie behind a gate that is not open is not sent; batches that
//! take the place of the leading one (halves of it, rows of it that are sent again) lie before it.

use serde::{Deserialize, Serialize};

/// A gate behind a leading batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The batch, by the number of its piece.
    pub batch: u32,
    /// What it waits for.
    #[serde(flatten)]
    pub kind: CheckpointKind,
}

/// What a gate waits for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum CheckpointKind {
    /// One request writes the shared prefix into the cache, for the others to read. The rest waits
    /// for a time that the job sets.
    Prime,
    /// Some rows show whether the job does what it is meant to.
    Canary {
        /// What may go wrong.
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
    /// The answer was cut off.
    pub max_truncated: f64,
    /// The model declined.
    pub max_refused: f64,
    /// The answer does not fit the schema.
    pub max_invalid: f64,
    /// The row succeeded with an answer that says nothing. Runs planned before there was such a
    /// limit have none.
    #[serde(default = "no_limit")]
    pub max_empty: f64,
}

fn no_limit() -> f64 {
    1.0
}

/// What became of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The leading batch is back, and nothing speaks against the rest.
    Passed,
    /// The leading batch is not back in time; the rest goes without it.
    TimedOut,
    /// What came back speaks against the rest.
    Stopped,
    /// A person wants the rest to be sent all the same.
    Overruled,
    /// The journal was lost: whether the gate was open is not known, so it is judged again.
    Rescued,
}

impl Verdict {
    /// Whether what lies behind may be sent.
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
