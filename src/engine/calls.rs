//! The calls of [`Engine`]: from a job to its output, and everything between that a scheduler
//! needs.

use std::ops::Not as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cost::Money;
use crate::job::JobFile;
use crate::journal::{self, AbandonReason, RunNote};

use super::budget_report::{Spending, uses_before_a_run};
use super::compile::CompiledJob;
use super::connect::{ApiOptions, Connection};
use super::context::{RunOutcome, Until, between};
use super::finished::Finished;
use super::kept_job::absolute;
use super::notice::{LostAnswers, Notice};
use super::options::{
    CollectOptions, PlanOptions, ReexportOptions, RetryOptions, RunOptions, Target,
};
use super::output_change::OutputChange;
use super::plan_inputs::PlanInputs;
use super::plan_report::PlanReport;
use super::report::{NothingReason, PlanResult, RunReport};
use super::reuse::ReuseRules;
use super::setup::Engine;
use super::start::{NewPlan, Started};
use super::view::{self, RunView};
use super::{Error, Run, SampleConflict, leftovers};

impl Engine {
    /// Plans a job: reads and renders its rows, and estimates what they cost. Sends nothing, and
    /// leaves nothing behind unless [`PlanOptions::out`] names a folder.
    ///
    /// # Errors
    /// Whatever a run of the job would refuse before sending: [`Error::Source`],
    /// [`Error::Request`], [`Error::Rows`], [`Error::DuplicateKeys`] and others.
    pub fn plan(&self, file: &JobFile, options: &PlanOptions) -> Result<PlanResult, Error> {
        let conflict = match (options.sample, &options.out, options.calibrate) {
            (Some(_), Some(_), _) => Some(SampleConflict::KeptPlan),
            (Some(_), None, Some(_)) => Some(SampleConflict::Calibration),
            _ => None,
        };
        if let Some(with) = conflict {
            return Err(Error::SampleWith { with });
        }
        let mut file = file.clone();
        options.rows.apply(&mut file.job);
        let api_options = ApiOptions::of_request(&file.job.request);
        // A dry run leaves nothing behind, so the simulator that counts for it has a folder that
        // is removed with it.
        let scratch = tempfile::tempdir().map_err(|source| Error::File {
            doing: "create",
            path: std::env::temp_dir(),
            source,
        })?;
        let connection = match (options.calibrate, options.simulate) {
            (None, _) => None,
            (Some(_), true) => Some(self.connect_simulator_in(scratch.path(), &api_options)?),
            (Some(_), false) => Some(self.connect(&api_options)?),
        };
        let simulated = match self.is_simulated(options.simulate, connection.as_ref()) {
            Some(simulated) => simulated,
            // What is kept is sent later: it says what kind it is, as every run does.
            None => options.out.is_some() && self.connect(&api_options)?.is_simulated(),
        };
        if options.out.is_some() {
            let (simulate, rows, take_over) = (options.simulate, &options.rows, options.take_over);
            self.check_start(&file, simulate, rows, take_over)?;
        }
        let compiled = self.compile(&file)?;
        let report = match &options.out {
            None => self.dry_run(&file, &compiled, options, connection.as_ref())?,
            Some(folder) => {
                let origin = self.origin(options.simulate)?;
                let run_options = RunOptions {
                    simulate: options.simulate,
                    rows: options.rows.clone(),
                    calibrate: options.calibrate,
                    max_cost: options.max_cost,
                    no_reuse: options.no_reuse,
                    ..RunOptions::default()
                };
                self.restore_output(&file, &run_options, simulated)?;
                let new = NewPlan {
                    folder,
                    origin,
                    simulated,
                    options: &run_options,
                };
                self.plan_at(&file, &compiled, &new, connection.as_ref())?
            }
        };
        Ok(PlanResult::new(
            &file,
            &compiled,
            report,
            options.out.clone(),
        ))
    }

    fn dry_run(
        &self,
        file: &JobFile,
        compiled: &CompiledJob,
        options: &PlanOptions,
        connection: Option<&Connection>,
    ) -> Result<PlanReport, Error> {
        let observer = &self.step_observer();
        let state = self.state.path();
        let runs = self.state.of_job_named(&file.job.head.name);
        let rules = ReuseRules {
            file,
            compiled,
            runs: &runs,
            in_process: options.simulate,
            simulated: self.is_simulated(options.simulate, connection),
            narrowed: options.rows.narrows(),
            sends_all: options.no_reuse,
        };
        if !options.no_reuse
            && let Some(lost) = self.lost_output(file, options.simulate, rules.simulated)
        {
            self.observer.notice(lost.notice(LostAnswers::LeftToARun));
        }
        let simulated = rules.simulated.unwrap_or(false);
        let inputs = PlanInputs::new(&rules, state, options.calibrate, observer)?;
        if let Some(spec) = options.sample {
            let report = inputs.plan_by_sample(file, compiled, self.format(), spec, observer)?;
            return self.with_limits(file, options.max_cost, simulated, report);
        }
        let counted_by = connection.map(|connection| (connection, self.clock.as_ref()));
        let report = inputs.plan(file, compiled, self.format(), counted_by, observer)?;
        self.with_limits(file, options.max_cost, simulated, report)
    }

    /// A plan whose cost is compared with the limits of its job.
    pub(super) fn with_limits(
        &self,
        file: &JobFile,
        max_cost: Option<Money>,
        simulated: bool,
        mut report: PlanReport,
    ) -> Result<PlanReport, Error> {
        let (ledger, budget) = (&self.ledger_file_of(file), &file.job.budget);
        let now = self.clock.now();
        let spending = Spending {
            cost: report.estimate.total,
            requests: report.requests,
            on_limit: budget.on_limit,
            typed: max_cost,
        };
        let ledger = (ledger.as_path(), self.ledger_patience);
        let uses = uses_before_a_run(ledger, budget, max_cost, simulated, now)?;
        report.budget = spending.check(uses);
        Ok(report)
    }

    /// Whether a run would be simulated; `None` where that shows only when the provider is called.
    fn is_simulated(&self, in_process: bool, connection: Option<&Connection>) -> Option<bool> {
        match (in_process, connection) {
            (true, _) => Some(true),
            (false, Some(connection)) => Some(connection.is_simulated()),
            // Only a server on this machine is reached without encryption.
            (false, None) => {
                let is_local = |origin: String| origin.starts_with("http://");
                self.provider
                    .origin()
                    .is_ok_and(is_local)
                    .not()
                    .then_some(false)
            }
        }
    }

    /// Takes a job to its output: plans it, submits, watches, collects and exports; resumes an
    /// unfinished run of the same job, and does nothing where a finished run of the unchanged job
    /// has all answers.
    ///
    /// # Errors
    /// As the steps give them. Everything that was accepted until then is recorded, and the same
    /// call resumes from there.
    pub fn run(&self, target: &Target, options: &RunOptions) -> Result<RunReport, Error> {
        self.run_until(target, options, Until::Collected)
    }

    /// Plans a job and sends its batches, as far as limits and budget allow, then returns.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn submit(&self, target: &Target, options: &RunOptions) -> Result<RunReport, Error> {
        self.run_until(target, options, Until::Sent)
    }

    fn run_until(
        &self,
        target: &Target,
        options: &RunOptions,
        until: Until,
    ) -> Result<RunReport, Error> {
        let start = |longest| {
            self.unless_running(options.if_running, longest, || self.start(target, options))
        };
        let (started, waited) = start(options.deadline)?;
        let left = options.deadline.map(|time| time.saturating_sub(waited));
        let deadline = left.map(|left| self.after(left));
        let started = match started {
            Started::FinishFirst(opened) => {
                if let Some(earlier) = self.finish_first(*opened, until, options, deadline)? {
                    return Ok(earlier.in_the_way());
                }
                start(deadline.map(|end| between(self.clock.now(), end)))?.0
            }
            started => started,
        };
        let (mut run, connection) = match started {
            Started::Ready(opened) => *opened,
            Started::NothingToDo(finished) => {
                return self.nothing_to_do(&finished, until, options.replace_output);
            }
            Started::FinishFirst(_) => {
                return Err(Error::Bug("a finished run is still unfinished".to_owned()));
            }
        };
        self.settle_abandoned(Some(&connection));
        if options.resubmit_uncertain && run.resubmit_doubtful() == 0 {
            self.observer.notice(Notice::NothingUncertain);
        }
        if options.ignore_canary {
            run.ignore_canary();
        }
        if options.replace_output {
            run.replace_output();
        }
        self.finish(&mut run, &connection, until, deadline)
    }

    /// Ends a run of the job as it was: what it sent is fetched and exported, so that its answers
    /// can be reused, and nothing more of it is sent. `Some` where batches of it are still open.
    fn finish_first(
        &self,
        (mut run, connection): (Run, Connection),
        until: Until,
        options: &RunOptions,
        deadline: Option<Timestamp>,
    ) -> Result<Option<RunReport>, Error> {
        if options.ignore_canary {
            run.ignore_canary();
        }
        let until = match until {
            Until::Sent => Until::PolledOnce,
            _ => Until::Fetched,
        };
        let report = self.finish(&mut run, &connection, until, deadline)?;
        if run.in_flight_or_ended() || report.outcome == RunOutcome::Interrupted {
            return Ok(Some(report));
        }
        let exported = match &report.summary {
            Some(summary) => summary.path.is_some(),
            None => self.export_opened(&mut run)?.output_path().is_some(),
        };
        if !exported || run.state().unsent().next().is_some() {
            run.abandon(self.clock.now(), AbandonReason::JobChanged)?;
            run.write_manifest(self.clock.now())?;
        }
        Ok(None)
    }

    /// Fetches the results of what has ended, and writes the output once all of them are there.
    ///
    /// # Errors
    /// As the steps give them; [`Error::OtherOrigin`] where the engine's provider is not the run's.
    pub fn collect(&self, run: &Path, options: &CollectOptions) -> Result<RunReport, Error> {
        let ((mut run, connection), waited) =
            self.unless_running(options.if_running, options.wait, || {
                self.open(run, false, None)
            })?;
        if options.replace_output {
            run.replace_output();
        }
        let (until, deadline) = match options.wait {
            None => (Until::PolledOnce, None),
            Some(wait) => (
                Until::Fetched,
                Some(self.after(wait.saturating_sub(waited))),
            ),
        };
        self.finish(&mut run, &connection, until, deadline)
    }

    /// Reads where a run stands. Nothing is sent, locked or changed.
    ///
    /// # Errors
    /// [`Error::Journal`] where the run's files cannot be read.
    pub fn status(&self, run: &Path) -> Result<(RunView, Vec<RunNote>), Error> {
        view::view(run, self.clock.now())
    }

    /// Sends failed rows of a finished run again, by class, and writes the output again.
    ///
    /// # Errors
    /// [`Error::NotFinished`] where it is not known yet which rows failed;
    /// [`Error::NothingToRetry`] where no row fits; [`Error::Declined`] where the observer declines
    /// its cost.
    pub fn retry(&self, run: &Path, options: &RetryOptions) -> Result<RunReport, Error> {
        self.retry_rows(run, options)
    }

    /// Writes the output of a finished run again, its answers parsed as a job says now. Sends
    /// nothing; results that are missing are fetched again, which costs nothing.
    ///
    /// # Errors
    /// [`Error::NotFinished`], [`Error::Request`], [`Error::Answer`] and [`Error::Output`].
    pub fn export(&self, run: &Path, options: &ReexportOptions) -> Result<RunReport, Error> {
        self.reexport(run, options)
    }

    /// Begins the journal of a run again that was lost, and looks for every batch of it in the
    /// provider's list. Where the old journal is kept is reported by [`Notice::Rescued`].
    ///
    /// # Errors
    /// [`Error::SoundJournal`] where the journal can be read.
    pub fn rescue(&self, run: &Path) -> Result<RunReport, Error> {
        let context = self.budget_context(None);
        let (rescued, kept) = super::rescue::rescue(run, self.clock.now(), &context)?;
        self.observer.notice(Notice::Rescued {
            old_journal: kept.as_deref(),
            settle: rescued.settle(),
        });
        // The lock goes with the run; opening it again connects to its provider too.
        drop(rescued);
        let (mut run, connection) = self.open(run, false, None)?;
        self.finish(&mut run, &connection, Until::Sent, None)
    }

    /// Writes off what the ledger holds for a run whose folder is gone, and gives the amount;
    /// `None` where it holds nothing for it. The amount stays spent, since the bill cannot be
    /// known.
    ///
    /// # Errors
    /// [`Error::Ledger`].
    pub fn write_off(&self, run: &str) -> Result<Option<Money>, Error> {
        leftovers::write_off(
            self.state.path(),
            run,
            self.clock.now(),
            self.ledger_patience,
        )
    }

    /// The run that a folder, a run's id or a job file means; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Job`] where a job file cannot be read, [`Error::File`].
    pub fn find(&self, target: &Path) -> Result<Option<Target>, Error> {
        if journal::is_run(target) {
            return Ok(Some(Target::run(target)));
        }
        if target.is_dir() {
            return Ok(None);
        }
        if target.is_file() || target.extension().is_some_and(|e| e == "toml") {
            return Ok(Some(Target::job(JobFile::read(target)?)));
        }
        Ok(self.run_by_id(target)?.map(Target::Run))
    }

    /// The folder of the run that a call without a job of its own works on: the one named, or the
    /// newest of the job named. A simulated run since then does not hide an unfinished run of a
    /// provider.
    ///
    /// # Errors
    /// [`Error::NoRun`] and [`Error::JobHasNoRun`].
    pub fn find_run(&self, target: &Path) -> Result<PathBuf, Error> {
        match self.find(target)? {
            Some(Target::Run(folder)) => Ok(folder),
            Some(Target::Job(file)) => {
                let name = &file.job.head.name;
                let runs = journal::runs_of(self.state.path(), name)?;
                let newest = runs
                    .iter()
                    .find(|run| run.in_process != Some(true))
                    .filter(|run| !run.finished)
                    .or(runs.first());
                newest
                    .map(|run| self.current(&file, run))
                    .ok_or_else(|| Error::JobHasNoRun {
                        job: name.clone(),
                        state: self.state.path().to_path_buf(),
                    })
            }
            None => Err(self.no_run(target)),
        }
    }

    /// The run that a job's newest run stands for: the one that wrote the job's output last, where
    /// an older run was exported again because the job is again what it was then.
    fn current(&self, file: &JobFile, newest: &journal::RunSummary) -> PathBuf {
        let runs = self.state.of_job_named(&file.job.head.name);
        let output = absolute(&file.resolve(&file.job.output.path));
        let wrote_it = |folder: &Path| {
            let (_, state) = journal::read_run(folder).ok()?;
            Some(state.export()?.0.path.as_deref() == Some(output.as_path()))
        };
        if !newest.finished || wrote_it(&newest.path) != Some(true) {
            return newest.path.clone();
        }
        let writer = journal::writer_of(&runs, &output).map(|writer| runs.join(writer.run));
        writer
            .filter(|folder| journal::is_run(folder))
            .unwrap_or_else(|| newest.path.clone())
    }

    /// That a target is no run; one that was removed is known by its id.
    pub(super) fn no_run(&self, target: &Path) -> Error {
        let id = target.file_name().unwrap_or_default().to_string_lossy();
        let jobs = journal::job_folders(self.state.path()).unwrap_or_default();
        let mut pruned = jobs.iter().flat_map(|job| journal::pruned_runs(job));
        match pruned.find(|pruned| pruned.run == id) {
            Some(pruned) => Error::Pruned {
                run: pruned.run,
                removed_at: pruned.removed_at,
            },
            None => Error::NoRun {
                target: target.to_path_buf(),
            },
        }
    }

    fn run_by_id(&self, id: &Path) -> Result<Option<PathBuf>, Error> {
        let Some(id) = id.to_str().filter(|id| !id.contains(['/', '\\'])) else {
            return Ok(None);
        };
        let state = self.state.path();
        let jobs = match std::fs::read_dir(state) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            jobs => jobs.map_err(|source| Error::File {
                doing: "read",
                path: state.to_path_buf(),
                source,
            })?,
        };
        Ok(jobs
            .filter_map(Result::ok)
            .map(|job| job.path().join(id))
            .find(|folder| journal::is_run(folder)))
    }

    /// The finished run that makes a start needless, its output written again where it is gone.
    fn nothing_to_do(
        &self,
        finished: &Finished,
        until: Until,
        replace: bool,
    ) -> Result<RunReport, Error> {
        self.settle_abandoned(None);
        let change = finished.lost_output();
        self.observer.notice(Notice::NothingToDo {
            run: &finished.folder,
            failed: finished.failed,
        });
        // What a later step reads would else be the output of other rows.
        let is_another = change == Some(OutputChange::Replaced) && !finished.is_trial();
        if (until == Until::Sent && !is_another) || (change.is_none() && !replace) {
            let view = self.status(&finished.folder)?.0;
            return Ok(RunReport::of_finished(finished, view.manifest, change));
        }
        self.observer.notice(Notice::OutputWrittenAgain { change });
        let mut run = self.open_offline(&finished.folder, None)?;
        if replace {
            run.replace_output();
        }
        let report = self.export_opened(&mut run)?;
        Ok(report.with_nothing_to_do(NothingReason::Unchanged, finished.failed))
    }
}
