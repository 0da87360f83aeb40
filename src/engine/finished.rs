//! A job, and its runs that are over → the one that has done already what a new run would do.
//!
//! Runs are compared by what they send and by what they write: the job with what was set beside it,
//! its templates and other files, and the source. The source is known by its files, their sizes and
//! when they were last modified. Where that is not enough (a pipe, a file that was written again,
//! rows that name pictures) the planned rows of both runs are compared, one by one: the keys, the
//! hashes of the requests and the columns kept for the output.

use std::path::{Path, PathBuf};

use crate::batch::SpoolReader;
use crate::job::JobFile;
use crate::journal::{self, Journal, Plan, RunDir, Stage};
use crate::outcome::Status;

use super::Error;
use super::compile::CompiledJob;
use super::fingerprint::{has_same_files, hash_of_job, hashed_files, is_same_source, source_files};
use super::output_change::OutputChange;

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
        let done = export
            .by_status
            .get(&Status::Succeeded)
            .copied()
            .unwrap_or(0)
            + left_out;
        let (rows, output) = (export.rows, export.path.clone()?);
        (!state.is_canceled()).then(|| Finished {
            folder,
            plan,
            output,
            failed: rows.saturating_sub(done),
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

    /// Whether a new run would be made from the same templates and other files, and the same
    /// columns.
    #[must_use]
    pub(super) fn has_files_of(&self, compiled: &CompiledJob) -> bool {
        has_same_files(&self.plan.templates, &hashed_files(compiled))
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
    /// same keys, and the same columns to be written beside their answers.
    ///
    /// # Errors
    /// [`Error::Journal`] and [`Error::Batch`] when the planned run cannot be read. If that happens
    /// with the finished one, it is another.
    pub(super) fn has_rows_of(&self, planned: &Path) -> Result<bool, Error> {
        let (dir, plan, _) = RunDir::open(planned)?;
        let same_size = |(a, b): (&crate::batch::SpooledBatch, &crate::batch::SpooledBatch)| {
            (a.rows, a.requests, a.first_row, a.last_row)
                == (b.rows, b.requests, b.first_row, b.last_row)
        };
        if plan.batches.len() != self.plan.batches.len()
            || !plan.batches.iter().zip(&self.plan.batches).all(same_size)
        {
            return Ok(false);
        }
        let Ok((own, ..)) = RunDir::open(&self.folder) else {
            return Ok(false);
        };
        for batch in &plan.batches {
            let theirs = SpoolReader::open_without_fragments(&dir.spool_file(batch.number))?;
            let Ok(ours) = SpoolReader::open_without_fragments(&own.spool_file(batch.number))
            else {
                return Ok(false);
            };
            if theirs.columns() != ours.columns() {
                return Ok(false);
            }
            let mut ours = ours.into_iter();
            for theirs in theirs {
                let theirs = theirs?;
                let Some(Ok(ours)) = ours.next() else {
                    return Ok(false);
                };
                let is_same = ours.row_index == theirs.row_index
                    && ours.key == theirs.key
                    && ours.request_hash == theirs.request_hash
                    && ours.unsent == theirs.unsent
                    && ours.tag == theirs.tag
                    && ours.columns == theirs.columns;
                if !is_same {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
