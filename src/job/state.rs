//! Where the state of a job is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The section `[state]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSpec {
    /// The directory for runs, ledger and what the job learned; `.rowmill` beside the job file if
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl StateSpec {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == StateSpec::default()
    }
}
