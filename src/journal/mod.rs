//! What survives a crash: the run directory, its lock, its plan and its log.
//!
//! ```text
//!  <state>/<job>/<run id>/        0700
//!    plan.json                    what will be sent, written once                       plan_file.rs
//!    head.bin                     what all requests have in common, byte for byte
//!    spool/00001.parquet          the rows and requests of batch 1                      (room `batch`)
//!    journal.jsonl                what was done, line by line, each on disk in time     event.rs, reasons.rs, log.rs
//!    results/00001.1.jsonl.zst    the raw result lines of batch 1, attempt 1
//!    manifest.json                a summary for other programs, replaced as a whole     manifest.rs, notes.rs
//!    lock                         who works on the run                                  lock.rs
//!  <state>/<job>/pruned.jsonl     what stays known of runs that were removed             pruned.rs
//! ```
//!
//! A run is planned in `<run id>.planning` and gets its name when the plan is whole, so a folder
//! that has the name of a run holds all it takes to send it. The journal is the only memory of what
//! happened: [`State`] is derived from its lines and nothing else, and a sequence that cannot have
//! happened is an error that names the line. Damage is never taken for "nothing happened", because
//! what was sent would be paid again.
//!
//! To record something new: a variant in `event.rs`, and what it does to a batch in
//! `state/apply.rs`. Reasons and notes are data; their sentences are made by the command line.
//! Formats carry a version ([`FORMAT`]); a reader refuses newer ones.

mod checkpoint;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub mod checks;
mod event;
mod find;
mod lock;
mod log;
mod manifest;
mod notes;
mod plan_file;
mod pruned;
mod reasons;
mod run_dir;
mod state;

use std::io;
use std::path::PathBuf;

pub use checkpoint::{CanaryLimits, Checkpoint, CheckpointKind, Verdict};
pub use event::{Event, JournalEntry};
pub use find::{
    LastWriter, RunSummary, all_runs, job_folders, read_run, runs_in, runs_of, stage_of,
    unfinished, writer_of,
};
pub use lock::{Lock, Owner};
pub use log::{Journal, JournalHistory, LineFault};
pub use manifest::{
    BillSummary, CacheSummary, CheckpointSummary, CheckpointVerdict, Manifest, MeasuredCache,
};
pub use notes::{NextAction, RunNote};
pub use plan_file::{HashedFile, HeadFile, Plan, PlanCounts, SourceFile};
pub use pruned::{PrunedRun, WrittenFile, pruned_runs, recorded_removal};
pub use reasons::{
    AbandonReason, AdoptionProof, CanaryLimit, DoubtReason, ExceededLimit, LossReason,
    RequestError, Unproven, VerdictReason,
};
pub use run_dir::{
    COLUMNS_NAME, Planning, Removal, RunDir, is_run, removal_of, removals_in,
    remove_abandoned_plans, spool_name,
};
pub use state::{
    Batch, BatchProgress, BatchState, BatchStateKind, CheckpointState, ExportRecord,
    ImpossibleEvent, ProviderBatch, Stage, State, Step,
};

/// Version of the files in a run directory. Older versions are read as long as that is possible,
/// newer ones are refused.
pub const FORMAT: u32 = 2;

/// Why a run cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
    /// Nothing is there.
    #[error("there is no run `{}`", path.display())]
    NoRun {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is there, but not a run, or not all of one.
    #[error("`{}` is not a run that can be used: {what}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The place of a new run is taken.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the run cannot be understood.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        source: serde_json::Error,
    },
    /// A file of the run contradicts itself or the plan.
    #[error("`{}` is inconsistent: {what}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What contradicts what.
        what: String,
    },
    /// A file was written by a newer version.
    #[error("`{}` has the format version {found}, and this program reads versions up to {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Another process works on the run.
    #[error("the run `{}` is being worked on by {}", path.display(), named(owner.as_ref()))]
    Locked {
        /// The run.
        path: PathBuf,
        /// Who that is, as far as it can be read.
        owner: Option<Owner>,
    },
    /// Another process looks for a run of the job, or plans one.
    #[error("a run of the job in `{}` is being started by {}", path.display(), named(owner.as_ref()))]
    JobLocked {
        /// The folder of the job's runs.
        path: PathBuf,
        /// Who that is, as far as it can be read.
        owner: Option<Owner>,
    },
    /// A line of the journal cannot be read.
    #[error("line {line} of the journal `{}` cannot be read", path.display())]
    Line {
        /// The journal.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        source: LineFault,
    },
    /// The journal's lines contradict each other.
    #[error("the journal `{}` contains an impossible sequence of events", path.display())]
    Impossible {
        /// The journal.
        path: PathBuf,
        /// Which line, and why.
        source: ImpossibleEvent,
    },
    /// An earlier write to the journal failed, so it is unknown how the file ends.
    #[error("the journal `{}` cannot be written, because writing the last line failed", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
    },
}

fn named(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "another process".to_owned(), Owner::to_string)
}

fn cannot(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
