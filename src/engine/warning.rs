//! What a person should know before money is spent; none of it stops the job.

use serde::Serialize;

use crate::source::SourceWarning;

/// A warning about a job, its source or its rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A warning that a room still words by itself.
    Text(String),
    /// The source can be read, but part of it is skipped or read in a way that may surprise.
    Source(SourceWarning),
}

impl From<String> for Warning {
    fn from(text: String) -> Warning {
        Warning::Text(text)
    }
}
