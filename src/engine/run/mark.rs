//! The mark beside the output of a run: which job, state and run write it.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::engine::Error;
use crate::engine::run_place::RunPlace;
use crate::engine::state_files::OutputMark;

use super::Run;

impl Run {
    /// Whether the run writes the output that the job names, and not a trial beside it.
    pub(crate) fn writes_the_output(&self) -> bool {
        !self.plan.is_in_process() && !self.plan.narrowed
    }

    /// Where the run belongs.
    pub(crate) fn place(&self) -> &RunPlace {
        &self.budget.place
    }

    /// The id of its state directory.
    pub(crate) fn state_id(&self) -> &str {
        &self.budget.state_id
    }

    /// Marks the output as this run's, before its first batch is sent: from then on no other state
    /// may send the same rows.
    ///
    /// # Errors
    /// [`Error::File`]: the mark, and so the output, cannot be written.
    pub(crate) fn mark_output(&self, now: Timestamp) -> Result<(), Error> {
        if !self.writes_the_output() || self.state().unsent().next().is_none() {
            return Ok(());
        }
        let output = self.output_path();
        let mark = self.mark(now);
        match OutputMark::read(&output)? {
            Some(old) if self.is_its_mark(&old) && old.unfinished == mark.unfinished => Ok(()),
            _ => mark.write(&output),
        }
    }

    /// Brings the mark in line with where the run stands.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn update_mark(&self, now: Timestamp) -> Result<(), Error> {
        if !self.writes_the_output() {
            return Ok(());
        }
        let output = self.output_path();
        let wrote = self
            .state()
            .export()
            .and_then(|(export, _)| export.path.clone());
        let has_written = wrote.is_some_and(|path: PathBuf| path == output);
        // What cannot be read is replaced by whoever writes the output.
        let old = OutputMark::read(&output).ok().flatten();
        let mark = self.mark(now);
        match old {
            Some(old) if self.is_its_mark(&old) => {
                if old.unfinished == mark.unfinished {
                    return Ok(());
                }
                mark.write(&output)
            }
            _ if has_written => mark.write(&output),
            _ => Ok(()),
        }
    }

    fn mark(&self, now: Timestamp) -> OutputMark {
        let place = self.place();
        let mark = OutputMark::of(
            &self.plan.job_name,
            &place.job_file,
            &place.state,
            self.state_id(),
        );
        OutputMark {
            run: Some(self.plan.run.clone()),
            unfinished: !self.state().is_finished(),
            written_at: now,
            ..mark
        }
    }

    fn is_its_mark(&self, mark: &OutputMark) -> bool {
        mark.run.as_ref() == Some(&self.plan.run) && mark.state_id == self.state_id()
    }
}
