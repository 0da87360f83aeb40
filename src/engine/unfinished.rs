//! The unfinished run that a start resumes, and those that stand in no one's way.

use std::path::{Path, PathBuf};

use crate::job::JobFile;
use crate::journal::{self, AbandonReason, BatchState, Journal, Plan, RunDir};

use super::notice::Notice;
use super::options::RunOptions;
use super::setup::Engine;
use super::{Error, Run};

impl Engine {
    /// The newest unfinished run of a job. A run that was planned for another provider, and of
    /// which nothing was sent that anybody pays for, is passed over.
    ///
    /// # Errors
    /// [`Error::Journal`] where a run that may have batches in flight cannot be read.
    pub(super) fn unfinished(
        &self,
        file: &JobFile,
        options: &RunOptions,
    ) -> Result<Option<PathBuf>, Error> {
        let job = &file.job.head.name;
        for run in journal::unfinished(self.state.path(), job, options.simulate)? {
            let run = run?.path;
            let origin = self.origin(options.simulate)?;
            match origin_without_cost(&run, &origin)? {
                None => return Ok(Some(run)),
                Some(planned) => self.observer.notice(Notice::PassedOver {
                    run: &run,
                    origin: &planned,
                }),
            }
        }
        Ok(None)
    }

    /// Abandons every unfinished run of a job, as its user asks for. The provider is not asked:
    /// what may still be billed stays reserved.
    ///
    /// # Errors
    /// [`Error::Journal`] where another process works on one of them, or one cannot be read.
    pub(super) fn abandon_unfinished(
        &self,
        file: &JobFile,
        options: &RunOptions,
    ) -> Result<(), Error> {
        let job = &file.job.head.name;
        for run in journal::unfinished(self.state.path(), job, options.simulate)? {
            let now = self.clock.now();
            let (mut run, _) = Run::open(&run?.path, now, &self.budget_context(None))?;
            let is_paid = run
                .state()
                .batches()
                .iter()
                .any(|batch| matches!(batch.state, BatchState::Collected { .. }));
            if is_paid && !options.no_reuse {
                // Its answers are kept for the new run.
                self.export_opened(&mut run)?;
            }
            run.abandon(now, AbandonReason::Requested)?;
            run.write_manifest(now)?;
            self.observer.notice(Notice::Abandoned {
                run: run.folder(),
                in_flight: run.in_flight_or_ended(),
            });
        }
        Ok(())
    }

    /// Where the batches of a start go.
    pub(super) fn origin(&self, simulate: bool) -> Result<String, Error> {
        if simulate {
            Ok(Plan::IN_PROCESS.to_owned())
        } else {
            self.provider.origin()
        }
    }
}

/// Where a run was planned to be sent, if that is elsewhere and nothing that costs money was sent
/// there.
fn origin_without_cost(run: &Path, origin: &str) -> Result<Option<String>, Error> {
    let (dir, plan, _) = RunDir::open(run)?;
    if plan.origin == origin {
        return Ok(None);
    }
    let is_free = plan.simulated
        || Journal::read(&dir.journal(), &plan)?
            .state
            .has_sent_nothing();
    Ok(is_free.then_some(plan.origin))
}
