//! What a person should know before money is spent; none of it stops the job.

use std::path::PathBuf;

use serde::Serialize;

use crate::catalog::RetirementNotice;

/// A warning about a job, its source or its rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A warning that a room still words by itself.
    Text(String),
    /// The job's model is retired, or will be soon.
    ModelRetirement(RetirementNotice),
    /// What earlier runs of the job showed cannot be read, and is not used.
    HistoryNotUsed {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// What the run showed could not be recorded for later plans.
    HistoryNotRecorded {
        /// Why not.
        cause: String,
    },
}

impl From<String> for Warning {
    fn from(text: String) -> Warning {
        Warning::Text(text)
    }
}
