//! Why a call did nothing, where that is what its caller wanted: neither a run nor a failure.

use std::path::PathBuf;

use serde::Serialize;

use crate::journal::Owner;

/// Why a call did nothing, as its options or the job ask for in such a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotStarted {
    /// No file of the source is there, and `source.on_missing` is `"empty"`: nothing was planned,
    /// and an existing output is as it was.
    SourceMissing {
        /// The job.
        job: String,
        /// What was looked for.
        paths: Vec<String>,
        /// The output of an earlier run, where there is one.
        output: Option<PathBuf>,
    },
    /// Another process works on the job or the run, and the call was to be skipped then.
    AlreadyRunning {
        /// The folder that the other process has locked: of the run, or of the job's runs.
        locked: PathBuf,
        /// The process, as far as it can be read.
        owner: Option<Owner>,
    },
}
