//! A job, and its runs that are over → the one that has done already what a new run would do.
//!
//! Runs are compared by what they send and by what they write: the job with what was set beside it,
//! its templates and other files, and the source. The source is known by its files, their sizes and
//! when they were last modified. Where that is not enough (a pipe, a file that was written again,
//! rows that name pictures) the planned rows of both runs are compared, one by one: the keys, the
//! hashes of the requests and the columns kept for the output.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::batch::{SpoolReader, SpoolRows};
use crate::job::JobFile;
use crate::journal::{self, Journal, Plan, RunDir, Stage};
use crate::outcome::Status;

use super::Error;
use super::compile::CompiledJob;
use super::fingerprint::{hash_of_job, hashed_files, is_same_source, source_files};
use super::output_change::OutputChange;
use super::reuse;

/// A run that is over, with its output.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    /// Its folder.
    pub folder: PathBuf,
    /// Its plan.
    plan: Plan,
    /// Where its output is, or was.
    pub output: PathBuf,
    /// Rows that did not succeed; those that the job left out on purpose do not count.
    pub failed: u64,
    /// Those of them whose status does not count as answered.
    pub unanswered: u64,
}

/// The finished runs of a job as it is now, newest first: of the same kind and the same provider,
/// neither canceled nor abandoned.
///
/// # Errors
/// [`Error::Journal`] when the job's folder cannot be read. A run that cannot be read is none.
pub(super) fn of_job(
    state: &Path,
    file: &JobFile,
    in_process: bool,
    origin: &str,
) -> Result<Vec<Finished>, Error> {
    let hash = hash_of_job(&file.job);
    let runs = journal::runs_of(state, &file.job.head.name)?.into_iter();
    let over = runs.filter(|run| {
        run.finished && run.stage == Some(Stage::Exported) && run.in_process == Some(in_process)
    });
    let read = |folder: PathBuf| {
        let (dir, plan, _) = RunDir::open(&folder).ok()?;
        if plan.job_hash != hash || plan.origin != origin {
            return None;
        }
        let state = Journal::read(&dir.journal(), &plan).ok()?.state;
        let (export, _) = state.export()?;
        let left_out = plan
            .counts
            .unsent
            .get("duplicate_key")
            .copied()
            .unwrap_or(0);
        let rows_without = |statuses: &[Status]| {
            let of_them = export.by_status.iter();
            let of_them = of_them.filter(|(status, _)| statuses.contains(status));
            let done: u64 = of_them.map(|(_, rows)| *rows).sum();
            export.rows.saturating_sub(done + left_out)
        };
        let output = export.path.clone()?;
        (!state.is_canceled()).then(|| Finished {
            folder,
            plan,
            output,
            failed: rows_without(&[Status::Succeeded]),
            unanswered: rows_without(&file.job.request.reuse_status),
        })
    };
    Ok(over.filter_map(|run| read(run.path)).collect())
}

impl Finished {
    /// Why the output of the run cannot be read at its place; `None` where it can.
    #[must_use]
    pub(super) fn lost_output(&self) -> Option<OutputChange> {
        if !self.output.exists() {
            return Some(OutputChange::Gone);
        }
        let writer = journal::writer_of(self.folder.parent()?, &self.output)?;
        (writer.run != self.plan.run).then_some(OutputChange::Replaced)
    }

    /// Whether its output is a trial or simulated in this process, which no later step reads.
    #[must_use]
    pub(super) fn is_trial(&self) -> bool {
        self.plan.narrowed || self.plan.is_in_process()
    }

    /// Whether a later run has written the output since. Where outputs are continued, that one may
    /// have rows which this run does not know, so this output never takes its place again.
    #[must_use]
    pub(super) fn is_continued(&self) -> bool {
        self.lost_output() == Some(OutputChange::Replaced)
    }

    /// Whether a new run would be made from the same templates and other files, and the same
    /// columns.
    #[must_use]
    pub(super) fn has_files_of(&self, compiled: &CompiledJob) -> bool {
        self.plan.templates == hashed_files(compiled)
            && self.plan.answer == compiled.answer_plan
            && self.plan.source_schema == format!("{:?}", compiled.source.schema())
    }

    /// Whether the source is certainly the same, as far as can be known without reading its rows.
    #[must_use]
    pub(super) fn has_source_of(&self, compiled: &CompiledJob) -> bool {
        let sources = source_files(compiled);
        let is_dated = sources.iter().all(|file| file.modified.is_some());
        is_dated
            && is_same_source(&self.plan.sources, &sources)
            && !compiled.requests.has_row_media()
    }

    /// Whether a run that is planned, and not sent, has the same rows: the same requests under the
    /// same keys, and the same columns to be written beside their answers. Which of them are sent
    /// does not matter, nor in which batches.
    ///
    /// # Errors
    /// [`Error::Journal`] and [`Error::Batch`] when the planned run cannot be read. If that happens
    /// with the finished one, it is another.
    pub(super) fn has_rows_of(&self, planned: &Path) -> Result<bool, Error> {
        let (dir, plan, _) = RunDir::open(planned)?;
        let Ok((own, ..)) = RunDir::open(&self.folder) else {
            return Ok(false);
        };
        let mut theirs = PlannedRows::new(&dir, &plan);
        let mut ours = PlannedRows::new(&own, &self.plan);
        loop {
            let Ok(at_hand) = ours.at_hand() else {
                return Ok(false);
            };
            let count = match (theirs.at_hand()?, at_hand) {
                (0, 0) => return Ok(true),
                (theirs, ours) => theirs.min(ours),
            };
            if count == 0 || !is_same(&theirs.take(count), &ours.take(count)) {
                return Ok(false);
            }
        }
    }
}

/// Whether rows of two plans are the same, sent or not.
fn is_same(theirs: &SpoolRows, ours: &SpoolRows) -> bool {
    let needs_no_request = |reason: Option<&str>| reason.is_none_or(reuse::is_answered_elsewhere);
    let mut reasons = theirs.unsent.iter().zip(&ours.unsent);
    ours.row_index == theirs.row_index
        && ours.key == theirs.key
        && ours.request_hash == theirs.request_hash
        && reasons.all(|(a, b)| a == b || (needs_no_request(a) && needs_no_request(b)))
        && ours.tag == theirs.tag
        && ours.columns == theirs.columns
}

/// The rows of a plan, over all its batches.
struct PlannedRows {
    files: VecDeque<PathBuf>,
    open: Option<SpoolReader>,
    rows: Option<SpoolRows>,
}

impl PlannedRows {
    fn new(dir: &RunDir, plan: &Plan) -> PlannedRows {
        let files = plan
            .batches
            .iter()
            .map(|batch| dir.spool_file(batch.number));
        PlannedRows {
            files: files.collect(),
            open: None,
            rows: None,
        }
    }

    /// How many rows can be taken now; 0 at the end.
    fn at_hand(&mut self) -> Result<usize, Error> {
        loop {
            if let Some(rows) = self.rows.as_ref().filter(|rows| !rows.is_empty()) {
                return Ok(rows.len());
            }
            self.rows = match &mut self.open {
                Some(open) => open.next().transpose()?,
                None => None,
            };
            if self.rows.is_none() {
                let Some(file) = self.files.pop_front() else {
                    return Ok(0);
                };
                self.open = Some(SpoolReader::open_without_fragments(&file)?);
            }
        }
    }

    /// Takes rows that are at hand.
    fn take(&mut self, count: usize) -> SpoolRows {
        let rows = self.rows.take().expect("rows are at hand");
        self.rows = Some(rows.slice(count, rows.len() - count));
        rows.slice(0, count)
    }
}
