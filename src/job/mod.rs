//! The job file: one TOML file with the source, the prompt, the request settings and the output.
//!
//! In comes the text of the file; out goes a [`JobFile`] with the [`Job`], every value of the right
//! type and in range, or an [`Error`] with the place in the file. Each section is defined by the
//! room that reads it. Paths are relative to the folder of the file. An unknown key is an error
//! that names the nearest known one: a setting that is silently ignored costs money.
//!
//! To add a setting: a field in the room's own `…Spec`, its range in `values.rs`, and its line in
//! `docs/job-file.md`.

mod batch;
mod budget;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub mod checks;
mod file;
mod state;
mod toml_message;
mod values;
mod warm_up;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ledger::BudgetSpec;
use crate::outcome::answer::AnswerSpec;
use crate::outcome::class::RetrySpec;
use crate::output::OutputSpec;
use crate::request::RequestSpec;
use crate::request::keys::KeySpec;
use crate::source::SourceSpec;

pub use batch::BatchSpec;
pub use file::JobFile;
pub use state::StateSpec;
pub use warm_up::{CacheSpec, CanarySpec};

/// A job, as the file says it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What the job is called.
    #[serde(rename = "job")]
    pub head: JobSection,
    /// The input rows.
    pub source: SourceSpec,
    /// What makes a row's custom_id.
    #[serde(default)]
    pub key: KeySpec,
    /// The prompt and the request settings.
    pub request: RequestSpec,
    /// How answers become columns.
    #[serde(default)]
    pub answer: AnswerSpec,
    /// How requests are packed into batches.
    #[serde(default)]
    pub batch: BatchSpec,
    /// Whether one request goes first, so that the others read the shared prefix from the cache.
    #[serde(default)]
    pub cache: CacheSpec,
    /// Rows that are sent first, as a check before the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySpec>,
    /// How much may be spent.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// Where runs, ledger and what the job learned are kept.
    #[serde(default, skip_serializing_if = "StateSpec::is_default")]
    pub state: StateSpec,
    /// Which failures are retried, and how often.
    #[serde(default)]
    pub retry: RetrySpec,
    /// Where the output is written.
    pub output: OutputSpec,
}

impl Job {
    /// How the output is written: a job that gives its rows tags has them in a column.
    #[must_use]
    pub fn output_spec(&self) -> OutputSpec {
        let mut spec = self.output.clone();
        if self.request.per_row.tag.is_some() && !spec.extra.iter().any(|extra| extra == "tag") {
            spec.extra.push("tag".to_owned());
        }
        spec
    }
}

/// The section `[job]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSection {
    /// The job's name, which also names the folder of its runs: letters, digits, `_`, `-` and `.`.
    pub name: String,
}

/// Why a job file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the job file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, or says something that no section knows.
    #[error("`{}` line {line}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
        /// The known name that comes nearest to an unknown one.
        nearest: Option<String>,
    },
    /// A value that is of the right type and yet makes no sense.
    #[error("`{}`: `{key}` {problem}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
