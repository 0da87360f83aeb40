//! A target → the run to work on: an unfinished one, a new one, or a finished one that has done
//! everything already.
//!
//! ```text
//!  run ──────────────────────────────────────────────▶ open it, unless it is abandoned
//!  job ─▶ lock of the job ─▶ a new run asked for? ─ yes ─▶ abandon what is unfinished, plan, open
//!                                └─ no ─▶ unfinished run?
//!                                └─ yes ─▶ unchanged? ─ yes ─▶ open it
//!                                │             └─ no ─▶ nothing sent? ─ yes ─▶ plan again
//!                                │                           └─ no ─▶ finish it first, or Error::Changed
//!                                └─ no ─▶ a finished run of the same job and rows? ─ yes ─▶ nothing to do
//!                                                              └─ no ─▶ plan, open
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::job::JobFile;
use crate::journal::{self, AbandonReason, Plan};
use crate::output::OutputMode;
use crate::request::custom_id::Nonce;
use crate::template::prompt::uploads::Uploads;

use super::compile::CompiledJob;
use super::connect::{ApiOptions, Connection};
use super::export_options::full_place;
use super::finished::{self, Finished};
use super::kept_job::absolute;
use super::new_run::NewRun;
use super::notice::{LostAnswers, Notice};
use super::options::{RunOptions, Target};
use super::plan_inputs::PlanInputs;
use super::plan_report::PlanReport;
use super::reuse::ReuseRules;
use super::setup::Engine;
use super::upload::{self, Uploader};
use super::{Error, JobChange, Run, leftovers};

/// The folder of a job where cells are copied to that are about to be uploaded.
const COPIES: &str = ".uploads";

/// What a start results in.
pub(super) enum Started {
    /// A run to work on, open and locked, and the connection to its provider.
    Ready(Box<(Run, Connection)>),
    /// A run of the job as it was: to be finished before a new one is planned, so that its answers
    /// are there to be reused.
    FinishFirst(Box<(Run, Connection)>),
    /// The job has not changed since a run of it was finished.
    NothingToDo(Box<Finished>),
}

impl Started {
    fn ready(opened: (Run, Connection)) -> Started {
        Started::Ready(Box::new(opened))
    }
}

/// A run that is about to be planned.
pub(super) struct NewPlan<'a> {
    pub(super) folder: &'a Path,
    pub(super) origin: String,
    pub(super) simulated: bool,
    pub(super) options: &'a RunOptions,
}

/// An output that is gone.
pub(super) struct LostOutput {
    /// Where it was.
    pub(super) output: PathBuf,
    /// The folder of the run that wrote it last.
    pub(super) writer: PathBuf,
    /// Whether that run is still there.
    pub(super) has_writer: bool,
}

impl LostOutput {
    /// That it is gone, and what becomes of its answers where the run that wrote it is there.
    pub(super) fn notice(&self, answers: LostAnswers) -> Notice<'_> {
        Notice::OutputGone {
            output: &self.output,
            run: &self.writer,
            answers: if self.has_writer {
                answers
            } else {
                LostAnswers::Removed
            },
        }
    }
}

/// Whether an unfinished run of a job that has changed is ended, so that the changed job can be
/// planned: only rows have changed, or everything of it was sent. Nothing more of it is sent, and
/// its answers are reused.
fn finishes_first(run: &Run, what: &[JobChange]) -> bool {
    let state = run.state();
    !state.is_canceled() && (state.unsent().next().is_none() || what == [JobChange::Source])
}

impl Engine {
    /// Finds or plans the run that a target and its options mean.
    pub(super) fn start(&self, target: &Target, options: &RunOptions) -> Result<Started, Error> {
        let file = match target {
            Target::Run(folder) => {
                let opened = self.open(folder, options.simulate, options.max_cost)?;
                opened.0.check_not_abandoned()?;
                if !options.no_reuse {
                    self.check_not_outdated(&opened.0, options.replace_output)?;
                }
                self.check_output_of(&opened.0, options.take_over)?;
                return Ok(Started::ready(opened));
            }
            Target::Job(file) => {
                let mut file = file.as_ref().clone();
                options.rows.apply(&mut file.job);
                file
            }
        };
        let job_folder = self.state.of_job_named(&file.job.head.name);
        self.check_old_state(&file, options.simulate)?;
        // Two starts at once would plan two runs of the same rows, and both would be paid.
        let _alone = self.lock_job(&job_folder)?;
        self.check_start(&file, options.simulate, &options.rows, options.take_over)?;
        if options.new {
            // What can be found wrong without rows is found before a run is given up.
            let compiled = self.compile(&file)?;
            self.abandon_unfinished(&file, options)?;
            let opened = self.plan_and_open(&file, Some(compiled), options)?;
            return Ok(Started::ready(opened));
        }
        match self.unfinished(&file, options)? {
            Some(unfinished) => self.resume(&file, &unfinished, options),
            None => self.start_new(&file, options),
        }
    }

    /// Opens an unfinished run of the job, unless the job has changed and nothing was sent yet.
    fn resume(
        &self,
        file: &JobFile,
        folder: &Path,
        options: &RunOptions,
    ) -> Result<Started, Error> {
        let (mut run, connection) = self.open(folder, options.simulate, options.max_cost)?;
        self.observer.notice(Notice::Resuming { run: folder });
        run.set_budget(&file.job.budget);
        run.set_patience(file.job.batch.patience_seconds);
        let compiled = match self.compile(file) {
            // Its rows are in the run, so what it sent needs no source to be fetched and written.
            Err(Error::NotStarted(_)) if !run.state().has_sent_nothing() => {
                return Ok(Started::ready((run, connection)));
            }
            compiled => compiled?,
        };
        match run.check_unchanged(file, &compiled) {
            Ok(()) => Ok(Started::ready((run, connection))),
            Err(changed @ Error::Changed { .. }) if run.state().has_sent_nothing() => {
                // A folder that was put back from a copy does not know what was sent since.
                self.look_for_unknown(&mut run, &connection)?;
                if !run.state().has_sent_nothing() {
                    return Err(changed);
                }
                self.observer.notice(Notice::PlannedAgain { run: folder });
                run.abandon(self.clock.now(), AbandonReason::JobChanged)?;
                // The simulator's folder is locked by the connection; the new run has its own.
                let options = RunOptions {
                    max_cost: options.max_cost.or(run.max_cost()),
                    ..options.clone()
                };
                drop((run, connection));
                self.start_new(file, &options)
            }
            Err(Error::Changed { what, .. }) if finishes_first(&run, &what) => {
                self.observer.notice(Notice::FinishedFirst {
                    run: folder,
                    what: &what,
                });
                Ok(Started::FinishFirst(Box::new((run, connection))))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a run, unless a finished one has done the same.
    fn start_new(&self, file: &JobFile, options: &RunOptions) -> Result<Started, Error> {
        let finished = if options.no_reuse {
            Vec::new()
        } else {
            self.finished(file, options)?
        };
        if finished.is_empty() {
            return Ok(Started::ready(self.plan_and_open(file, None, options)?));
        }
        let compiled = self.compile(file)?;
        let mut alike = finished;
        // A merge sends rows without an answer again, whether or not anything else has changed.
        let sends_failed = file.job.output.mode == OutputMode::Merge;
        let continues = file.job.output.mode.continues() && !options.rows.narrows();
        alike.retain(|finished| {
            finished.has_files_of(&compiled)
                && !(sends_failed && finished.failed > 0)
                && !(continues && finished.is_continued())
        });
        if let Some(same) = alike
            .iter()
            .find(|finished| finished.has_source_of(&compiled))
        {
            return Ok(Started::NothingToDo(Box::new(same.clone())));
        }
        // Whether the rows are the same is known once they are rendered, so the run is planned
        // first and dropped if another has done it.
        let (run, connection) = self.plan_and_open(file, Some(compiled), options)?;
        for finished in alike {
            if finished.has_rows_of(run.folder())? {
                let planned = run.folder().to_path_buf();
                drop(run);
                // No other process knows of it: the job is locked, and nothing was sent.
                std::fs::remove_dir_all(&planned).map_err(|source| Error::File {
                    doing: "remove",
                    path: planned,
                    source,
                })?;
                return Ok(Started::NothingToDo(Box::new(finished)));
            }
        }
        Ok(Started::ready((run, connection)))
    }

    /// Finished runs of the job as it is now.
    fn finished(&self, file: &JobFile, options: &RunOptions) -> Result<Vec<Finished>, Error> {
        let origin = self.origin(options.simulate)?;
        finished::of_job(self.state.path(), file, options.simulate, &origin)
    }

    fn plan_and_open(
        &self,
        file: &JobFile,
        compiled: Option<CompiledJob>,
        options: &RunOptions,
    ) -> Result<(Run, Connection), Error> {
        let api_options = ApiOptions::of_request(&file.job.request);
        // Credentials and addresses first: they are cheaper to find wrong than a table is to
        // render. The simulator is started as late as possible, since it locks its folder.
        let mut connection = if options.simulate {
            None
        } else {
            Some(self.connect(&api_options)?)
        };
        let mut compiled = compiled.map_or_else(|| self.compile(file), Ok)?;
        let simulated = connection.as_ref().is_none_or(Connection::is_simulated);
        let origin = connection
            .as_ref()
            .map_or_else(|| Plan::IN_PROCESS.to_owned(), Connection::origin);
        if !options.simulate {
            let (state, patience) = (self.state.path(), self.ledger_patience);
            let name = &file.job.head.name;
            leftovers::check_no_run_is_gone(state, name, simulated, patience)?;
        }
        for warning in &compiled.warnings {
            self.observer.notice(Notice::Warning(warning));
        }
        let runs = self.state.of_job_named(&file.job.head.name);
        journal::remove_abandoned_plans(&runs)?;
        let folder = runs.join(self.run_id());
        if simulated && connection.is_some() {
            self.observer.notice(Notice::Simulated);
        }
        if file.job.request.uploads() {
            let connection = match &mut connection {
                Some(connection) => connection,
                none => none.insert(self.connect_simulator(&api_options)?),
            };
            compiled = self.upload(compiled, file, connection)?;
        }
        self.restore_output(file, options, simulated)?;
        // The sample is counted before the plan is written, and by the same provider.
        if connection.is_none() && options.calibrate.is_some() {
            connection = Some(self.connect_simulator(&api_options)?);
        }
        let new = NewPlan {
            folder: &folder,
            origin,
            simulated,
            options,
        };
        let report = self.plan_at(file, &compiled, &new, connection.as_ref())?;
        let connection = connection.map_or_else(|| self.connect_simulator(&api_options), Ok)?;
        self.observer.notice(Notice::Planned {
            report: &report,
            source: &file.job.source,
        });
        let (run, _) = Run::open(
            &folder,
            self.clock.now(),
            &self.budget_context(options.max_cost),
        )?;
        self.notice_opened(&run);
        Ok((run.planned_now(), connection))
    }

    /// Writes the output of a job again where it is gone, from the answers of the run that wrote it
    /// last: they are reused, and rows that no source has any more are kept.
    ///
    /// # Errors
    /// As the export gives them: nothing is sent whose answers may be there.
    pub(super) fn restore_output(
        &self,
        file: &JobFile,
        options: &RunOptions,
        simulated: bool,
    ) -> Result<(), Error> {
        if options.no_reuse && !file.job.output.mode.continues() {
            return Ok(());
        }
        let Some(lost) = self.lost_output(file, options.simulate, Some(simulated)) else {
            return Ok(());
        };
        self.observer.notice(lost.notice(LostAnswers::WrittenAgain));
        if lost.has_writer {
            let mut run = self.open_offline(&lost.writer, None)?;
            self.export_opened(&mut run)?;
        }
        Ok(())
    }

    /// The output of a job where it is gone, and the run that wrote it last, be it removed since;
    /// `None` where that was of the other kind. `simulated` is unknown before there is a connection.
    pub(super) fn lost_output(
        &self,
        file: &JobFile,
        in_process: bool,
        simulated: Option<bool>,
    ) -> Option<LostOutput> {
        let output = full_place(&absolute(&file.resolve(&file.job.output.path)), in_process);
        if output.exists() {
            return None;
        }
        let runs = self.state.of_job_named(&file.job.head.name);
        let last = journal::writer_of(&runs, &output)
            .filter(|last| simulated.is_none_or(|simulated| simulated == last.simulated))?;
        let writer = runs.join(last.run);
        Some(LostOutput {
            has_writer: journal::is_run(&writer),
            output,
            writer,
        })
    }

    /// Plans a job into a new run's folder.
    pub(super) fn plan_at(
        &self,
        file: &JobFile,
        compiled: &CompiledJob,
        new: &NewPlan<'_>,
        connection: Option<&Connection>,
    ) -> Result<PlanReport, Error> {
        let observer = &self.step_observer();
        let runs = self.state.of_job_named(&file.job.head.name);
        let rules = ReuseRules {
            file,
            compiled,
            runs: &runs,
            in_process: new.origin == Plan::IN_PROCESS,
            simulated: Some(new.simulated),
            narrowed: new.options.rows.narrows(),
            sends_all: new.options.no_reuse,
        };
        let calibrate = new.options.calibrate;
        let inputs = PlanInputs::new(&rules, self.state.path(), calibrate, observer)?;
        let nonce = Nonce::new(fastrand::u64(..));
        let run = NewRun {
            folder: new.folder,
            state: self.state.path(),
            file,
            compiled,
            nonce: &nonce,
            origin: new.origin.clone(),
            simulated: new.simulated,
            narrowed: new.options.rows.narrows(),
            max_cost: new.options.max_cost,
            now: self.clock.now(),
        };
        let planner = |scratch: PathBuf| {
            inputs.planner(file, compiled, self.format(), &nonce, scratch, observer)
        };
        let counted_by = connection.map(|connection| (connection, self.clock.as_ref()));
        let report = run.plan(planner, |planner, report| {
            inputs.count(counted_by, planner, report)
        })?;
        self.with_limits(file, new.options.max_cost, new.simulated, report)
    }

    /// A run's id: when it began, and a few letters so that two of one second differ.
    fn run_id(&self) -> String {
        let now = self.clock.now().strftime("%Y%m%d-%H%M%S");
        let tail: String = (0..4).map(|_| fastrand::lowercase()).collect();
        format!("{now}-{tail}")
    }

    /// Uploads the files that the requests name, once all rows have been rendered without fault,
    /// and compiles the job with their ids.
    fn upload(
        &self,
        compiled: CompiledJob,
        file: &JobFile,
        connection: &Connection,
    ) -> Result<CompiledJob, Error> {
        let copies = self.state.of_job_named(&file.job.head.name).join(COPIES);
        // Left by a run that was killed; no other process works on the job.
        let _ = std::fs::remove_dir_all(&copies);
        crate::durable::create_private_dir(&copies).map_err(|source| Error::File {
            doing: "use",
            path: copies.clone(),
            source,
        })?;
        let uploads = Arc::new(Uploads::keeping_copies(&copies));
        let uploaded = self.upload_into(&uploads, compiled, file, connection);
        let _ = std::fs::remove_dir_all(&copies);
        uploaded
    }

    fn upload_into(
        &self,
        uploads: &Arc<Uploads>,
        compiled: CompiledJob,
        file: &JobFile,
        connection: &Connection,
    ) -> Result<CompiledJob, Error> {
        let compiled = compiled.with_uploads(file, uploads)?;
        PlanInputs::default().plan(file, &compiled, self.format(), None, &self.step_observer())?;
        let api = connection.api().file_store().ok_or(Error::NoFileStore)?;
        let pace = if connection.is_simulated() {
            Duration::ZERO
        } else {
            upload::pace()
        };
        let origin = connection.origin();
        let uploader = Uploader {
            api,
            clock: self.clock.as_ref(),
            patience: self.patience(file.job.batch.patience_seconds.map(Duration::from_secs)),
            origin: &origin,
            state: self.state.path(),
            pace,
        };
        let done = connection.block_on(uploader.upload(uploads))?;
        self.observer.notice(Notice::Uploaded(done));
        compiled.with_uploads(file, uploads)
    }
}
