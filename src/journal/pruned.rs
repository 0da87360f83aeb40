//! What stays known of runs that were removed.
//!
//! One line a run, in the file `pruned.jsonl` of the job's folder, written before the run's folder
//! is touched:
//!
//! ```text
//! {"v":1,"run":"20260801-031500-abcd","nonce":"k3v9q2","job":"triage",…,"batches":["msgbatch_…"]}
//! ```
//!
//! It answers what the run's own files answered: which run wrote the file at an output's place,
//! and which batches of the workspace are known to be of another run. A line counts only while no
//! run of that name is there, so a process that ended between the line and the removal has changed
//! nothing. Lines that cannot be read are passed over.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, Plan, State, cannot, is_run};
use crate::durable::Appender;
use crate::provider::BatchId;
use crate::request::custom_id::Nonce;

/// The file in a job's folder.
const FILE: &str = "pruned.jsonl";
/// Version of a line.
const VERSION: u32 = 1;

/// A run that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedRun {
    v: u32,
    /// The run's id.
    pub run: String,
    /// Its mark in every custom_id.
    pub nonce: Nonce,
    /// Its job.
    pub job: String,
    /// Whether its answers were invented.
    pub simulated: bool,
    /// Whether its batches went to the simulator in the process.
    pub in_process: bool,
    /// Whether the rows to take were set on the command line.
    pub narrowed: bool,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// The output that its job named.
    pub output: PathBuf,
    /// The file that it wrote last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<WrittenFile>,
    /// The provider's ids of its batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchId>,
}

/// A file that a run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// The file.
    pub path: PathBuf,
    /// When.
    pub at: Timestamp,
    /// Its rows.
    pub rows: u64,
}

impl WrittenFile {
    /// The file that a run wrote last; `None` where it wrote none.
    #[must_use]
    pub fn of(state: &State) -> Option<WrittenFile> {
        let (export, _) = state.export()?;
        Some(WrittenFile {
            path: export.path.clone()?,
            at: export.at,
            rows: export.rows,
        })
    }
}

impl PrunedRun {
    /// What stays known of a run that is removed now.
    #[must_use]
    pub fn new(plan: &Plan, state: &State, now: Timestamp) -> PrunedRun {
        let ids = state.batches().iter().filter_map(|batch| batch.id());
        PrunedRun {
            v: VERSION,
            run: plan.run.clone(),
            nonce: plan.nonce.clone(),
            job: plan.job_name.clone(),
            simulated: plan.simulated,
            in_process: plan.is_in_process(),
            narrowed: plan.narrowed,
            created_at: plan.created_at,
            removed_at: now,
            output: plan.output.clone(),
            written: WrittenFile::of(state),
            batches: ids.cloned().collect(),
        }
    }

    /// Adds the line to the file of a job's folder; it is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record(&self, job_folder: &Path) -> Result<(), Error> {
        let path = job_folder.join(FILE);
        let written = serde_json::to_string(self)
            .map_err(io::Error::other)
            .and_then(|line| {
                let mut appender = Appender::open(&path)?;
                if ends_in_half_a_line(&path)? {
                    appender.append_line("")?;
                }
                appender.append_line(&line)
            });
        written.map_err(cannot("write", &path))
    }
}

/// The runs that were removed from a job's folder, in the order of their removal.
#[must_use]
pub fn pruned_runs(job_folder: &Path) -> Vec<PrunedRun> {
    let lines = lines_of(job_folder).into_iter();
    lines
        .filter(|pruned| !is_run(&job_folder.join(&pruned.run)))
        .collect()
}

/// What is recorded of a run whose removal has begun.
#[must_use]
pub fn recorded_removal(job_folder: &Path, run: &str) -> Option<PrunedRun> {
    let mut lines = lines_of(job_folder);
    lines.retain(|pruned| pruned.run == run);
    lines.pop()
}

/// The lines that can be read; the last one of each run.
fn lines_of(job_folder: &Path) -> Vec<PrunedRun> {
    let text = fs::read(job_folder.join(FILE)).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let mut runs: Vec<PrunedRun> = Vec::new();
    for pruned in lines.filter_map(|line| serde_json::from_slice::<PrunedRun>(line).ok()) {
        runs.retain(|other| other.run != pruned.run);
        runs.push(pruned);
    }
    runs
}

/// Whether a process ended while it wrote the last line.
fn ends_in_half_a_line(path: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
