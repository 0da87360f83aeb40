//! [`Engine`]: takes a job to its output, and everything between that a scheduler needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::batch::Limits;
use crate::catalog::Catalog;
use crate::cost::Money;
use crate::job::JobFile;
use crate::journal::{self, AbandonReason, Plan, RunNote, Stage};
use crate::provider::retry::{Clock, SystemClock};
use crate::provider::{BatchFormat, Formats, anthropic};

use super::compile::CompiledJob;
use super::connect::{ApiOptions, Connection, Provider, SimulatorOptions, check_simulated};
use super::drive::{Context, RunOutcome, StopSignal, Until};
use super::finished::Finished;
use super::note::StepNote;
use super::notice::{Notice, Observer, Silent};
use super::options::{
    CancelOptions, CollectOptions, PlanOptions, ReexportOptions, RetryOptions, RunOptions,
    StateLocation, Target,
};
use super::plan::PlanReport;
use super::plan_inputs::{PlanInputs, batch_limits};
use super::report::{CancelReport, PlanResult, RunReport};
use super::start::{NewPlan, Started};
use super::view::{self, RunView};
use super::{BudgetContext, Error, Run, SampleConflict, Warning, leftovers, submit};

/// How long a run is watched that is abandoned, so that its batches end and their cost is known.
const SETTLE_ABANDONED: Duration = Duration::from_secs(10);

/// Plans, runs and finishes jobs: the only place where it is decided what is sent, waited for,
/// fetched and written.
///
/// An engine is set up once and used for any number of jobs, one call at a time or from several
/// threads; runs are locked, so two calls never work on the same one. All methods block until they
/// are done, and drive their own runtime: from async code, call them on a blocking thread.
///
/// ```no_run
/// use rowmill::engine::{Engine, RunOptions, Target};
/// use rowmill::job::JobFile;
///
/// # fn main() -> Result<(), rowmill::engine::Error> {
/// let engine = Engine::new(".rowmill")?;
/// let job = JobFile::read("triage.toml".as_ref())?;
/// let options = RunOptions { simulate: true, ..RunOptions::default() };
/// let report = engine.run(&Target::job(job), &options)?;
/// println!("{:?}: {:?}", report.outcome, report.output_path());
/// # Ok(())
/// # }
/// ```
pub struct Engine {
    pub(super) state: StateLocation,
    pub(super) catalog: Arc<Catalog>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) simulator: SimulatorOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) observer: Arc<dyn Observer + Send>,
    pub(super) stop: StopSignal,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Engine {
    /// Makes an engine whose runs are kept in a directory. It uses the built-in catalog, the
    /// machine's clock, and no provider but the simulator.
    ///
    /// # Errors
    /// [`Error::Runtime`] where the system gives no threads.
    pub fn new(state: impl Into<PathBuf>) -> Result<Engine, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        Ok(Engine {
            state: StateLocation::directory(state),
            catalog: Arc::new(Catalog::builtin().clone()),
            provider: Arc::new(NoProvider),
            simulator: SimulatorOptions::default(),
            clock: Arc::new(SystemClock),
            observer: Arc::new(Silent),
            stop: StopSignal::never(),
            runtime: Some(runtime),
        })
    }

    /// Sets the provider that batches are sent to: an
    /// [`AnthropicSpec`](crate::provider::anthropic::AnthropicSpec), a client behind an `Arc`, or
    /// anything that connects once it knows the job.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Provider + 'static) -> Engine {
        self.provider = Arc::new(provider);
        self
    }

    /// Sets what the simulator of this process is like.
    #[must_use]
    pub fn with_simulator(mut self, simulator: SimulatorOptions) -> Engine {
        self.simulator = simulator;
        self
    }

    /// Sets what is known of models and prices.
    #[must_use]
    pub fn with_catalog(mut self, catalog: impl Into<Arc<Catalog>>) -> Engine {
        self.catalog = catalog.into();
        self
    }

    /// Sets where time and chance come from.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Engine {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets who is told of progress, warnings and waits.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + Send + 'static) -> Engine {
        self.observer = Arc::new(observer);
        self
    }

    /// Sets the signal that asks to stop after the current step.
    #[must_use]
    pub fn with_stop(mut self, stop: StopSignal) -> Engine {
        self.stop = stop;
        self
    }

    /// Where runs are kept.
    #[must_use]
    pub fn state(&self) -> &StateLocation {
        &self.state
    }

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
        let simulated =
            options.simulate || connection.as_ref().is_some_and(Connection::is_simulated);
        let compiled = CompiledJob::new(&file, self.today(), &self.catalog)?;
        let report = match &options.out {
            None => self.dry_run(&file, &compiled, options, simulated, connection.as_ref())?,
            Some(folder) => {
                let origin = if options.simulate {
                    Plan::IN_PROCESS.to_owned()
                } else {
                    self.provider.origin()?
                };
                let run_options = RunOptions {
                    simulate: options.simulate,
                    rows: options.rows.clone(),
                    calibrate: options.calibrate,
                    ..RunOptions::default()
                };
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
        simulated: bool,
        connection: Option<&Connection>,
    ) -> Result<PlanReport, Error> {
        let observer = self.observer.as_ref();
        let state = self.state.path();
        let calibrate = options.calibrate;
        let inputs = PlanInputs::new(file, compiled, state, simulated, calibrate, observer);
        let limits = batch_limits(file, compiled, self.limits());
        if let Some(spec) = options.sample {
            return inputs.plan_by_sample(file, compiled, self.format(), limits, spec, observer);
        }
        let counted_by = connection.map(|connection| (connection, self.clock.as_ref()));
        inputs.plan(file, compiled, self.format(), limits, counted_by, observer)
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
        let (mut run, connection) = match self.start(target, options)? {
            Started::Ready(opened) => *opened,
            Started::NothingToDo(finished) => {
                return self.nothing_to_do(&finished, until, options.replace_output);
            }
        };
        if options.resubmit_uncertain && run.resubmit_doubtful() == 0 {
            self.observer.notice(Notice::NothingUncertain);
        }
        if options.ignore_canary {
            run.ignore_canary();
        }
        if options.replace_output {
            run.replace_output();
        }
        let deadline = options
            .deadline
            .filter(|_| until == Until::Collected)
            .map(|deadline| self.clock.now() + deadline);
        self.finish(&mut run, &connection, until, deadline)
    }

    /// Fetches the results of what has ended, and writes the output once all of them are there.
    ///
    /// # Errors
    /// As the steps give them; [`Error::OtherOrigin`] where the engine's provider is not the run's.
    pub fn collect(&self, run: &Path, options: &CollectOptions) -> Result<RunReport, Error> {
        let (mut run, connection) = self.open(run, false, None)?;
        if options.replace_output {
            run.replace_output();
        }
        let (until, deadline) = match options.wait {
            None => (Until::LookedOnce, None),
            Some(wait) => (Until::Fetched, Some(self.clock.now() + wait)),
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
    /// [`Error::NothingToRetry`] where no row fits.
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
    /// provider's list. Gives where the old journal is kept, if there was one.
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

    /// Asks the provider to cancel what is in flight. What has come back is kept, and what was not
    /// sent never is.
    ///
    /// # Errors
    /// [`Error::Provider`] where the provider cannot be reached; what was asked before is recorded.
    pub fn cancel(&self, run: &Path, options: &CancelOptions) -> Result<CancelReport, Error> {
        let (mut run, connection) = self.open(run, false, None)?;
        let clock = self.clock.as_ref();
        let asked = connection.block_on(submit::cancel(connection.api(), clock, &mut run));
        if asked.is_ok() && options.abandon {
            run.abandon(clock.now(), AbandonReason::Requested)?;
            if run.in_flight_or_ended() {
                // What ends within moments is settled here; the rest is by `collect`.
                let deadline = Some(clock.now() + SETTLE_ABANDONED);
                if let Err(error) = self.look_until(&mut run, &connection, Until::Fetched, deadline)
                {
                    self.observer.notice(Notice::ResultsNotFetched {
                        reason: super::in_one_line(&error),
                    });
                }
            }
        }
        run.write_manifest(clock.now())?;
        let asked = asked?;
        Ok(CancelReport {
            asked,
            run: RunReport::new(&run, RunOutcome::Unfinished, None, clock.now()),
        })
    }

    /// Writes off what the ledger holds for a run whose folder is gone, and gives the amount; `None`
    /// where it holds nothing for it. The amount stays spent, since the bill cannot be known.
    ///
    /// # Errors
    /// [`Error::Ledger`].
    pub fn write_off(&self, run: &str) -> Result<Option<Money>, Error> {
        leftovers::write_off(self.state.path(), run, self.clock.now())
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
    /// newest of the job named.
    ///
    /// # Errors
    /// [`Error::NoRun`] and [`Error::JobHasNoRun`].
    pub fn find_run(&self, target: &Path) -> Result<PathBuf, Error> {
        match self.find(target)? {
            Some(Target::Run(folder)) => Ok(folder),
            Some(Target::Job(file)) => {
                let name = &file.job.head.name;
                let newest = journal::runs_of(self.state.path(), name)?
                    .into_iter()
                    .next();
                newest
                    .map(|run| run.path)
                    .ok_or_else(|| Error::JobHasNoRun {
                        job: name.clone(),
                        state: self.state.path().to_path_buf(),
                    })
            }
            None => Err(Error::NoRun {
                target: target.to_path_buf(),
            }),
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

    /// Opens a run, and connects to its provider.
    pub(super) fn open(
        &self,
        folder: &Path,
        simulate: bool,
        max_cost: Option<Money>,
    ) -> Result<(Run, Connection), Error> {
        let run = self.open_offline(folder, max_cost)?;
        let connection = self.connect_to(&run, simulate)?;
        Ok((run, connection))
    }

    /// Opens a run without a connection.
    pub(super) fn open_offline(
        &self,
        folder: &Path,
        max_cost: Option<Money>,
    ) -> Result<Run, Error> {
        let (run, notes) = Run::open(folder, self.clock.now(), &self.budget_context(max_cost))?;
        self.notice_opened(&run);
        for found in notes {
            self.observer
                .notice(Notice::Note(&StepNote::RunFiles { found }));
        }
        Ok(run)
    }

    /// Connects to the provider of an opened run.
    pub(super) fn connect_to(&self, run: &Run, simulate: bool) -> Result<Connection, Error> {
        if run.unsent_batches() > 0 {
            // What was in service when the run was planned may be gone when its rest is sent.
            let advice = self.catalog.advice(&run.job().request.model, self.today());
            if let Some(advice) = advice.map(Warning::ModelRetirement) {
                self.observer.notice(Notice::Warning(&advice));
            }
        }
        check_simulated(run, simulate)?;
        let options = ApiOptions::of_request(&run.job().request);
        let connection = if run.plan().is_in_process() {
            self.connect_simulator(&options)?
        } else {
            self.connect(&options)?
        };
        run.check_origin(&connection.origin())?;
        Ok(connection)
    }

    pub(super) fn connect(&self, options: &ApiOptions) -> Result<Connection, Error> {
        Connection::real(self.provider.as_ref(), options, self.handle())
    }

    pub(super) fn connect_simulator(&self, options: &ApiOptions) -> Result<Connection, Error> {
        self.connect_simulator_in(self.state.path(), options)
    }

    fn connect_simulator_in(
        &self,
        folder: &Path,
        options: &ApiOptions,
    ) -> Result<Connection, Error> {
        #[cfg(feature = "simulator")]
        {
            self.observer.notice(Notice::Simulated);
            let (simulator, clock, catalog) = (&self.simulator, &self.clock, &self.catalog);
            Connection::simulator(folder, simulator, clock, catalog, options, self.handle())
        }
        #[cfg(not(feature = "simulator"))]
        {
            let _ = (folder, options, &self.simulator);
            Err(Error::WithoutSimulator)
        }
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        let runtime = self.runtime.as_ref();
        runtime.expect("taken when the engine is dropped").handle()
    }

    /// How the provider writes batches and results.
    pub(super) fn format(&self) -> &'static dyn BatchFormat {
        self.provider.format()
    }

    /// What one batch of the provider may hold.
    pub(super) fn limits(&self) -> Limits {
        self.format().limits()
    }

    pub(super) fn budget_context(&self, max_cost: Option<Money>) -> BudgetContext {
        BudgetContext {
            catalog: Arc::clone(&self.catalog),
            state: self.state.path().to_path_buf(),
            max_cost,
            formats: Formats::default().with(self.format()),
        }
    }

    pub(super) fn today(&self) -> Date {
        self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    pub(super) fn notice_opened(&self, run: &Run) {
        self.observer.notice(Notice::Opened {
            run: run.folder(),
            create_calls: run.create_calls(),
        });
    }

    /// What the steps of a run work with.
    pub(super) fn context<'a>(
        &'a self,
        run: &Run,
        connection: &'a Connection,
        stop: StopSignal,
        deadline: Option<Timestamp>,
    ) -> Context<'a> {
        Context {
            api: connection.api(),
            clock: self.clock.as_ref(),
            observer: self.observer.as_ref(),
            stop,
            max_queued_requests: run.max_queued_requests(),
            settle: run.settle(),
            deadline,
        }
    }

    /// Asks the provider once about what is in flight, and fetches what has ended or was not fetched
    /// in full, which costs nothing.
    pub(super) fn look_once(
        &self,
        run: &mut Run,
        connection: &Connection,
    ) -> Result<RunOutcome, Error> {
        self.look_until(run, connection, Until::LookedOnce, None)
    }

    /// Watches what is in flight until all of it is fetched, or until the deadline.
    pub(super) fn look_until(
        &self,
        run: &mut Run,
        connection: &Connection,
        until: Until,
        deadline: Option<Timestamp>,
    ) -> Result<RunOutcome, Error> {
        let context = self.context(run, connection, StopSignal::never(), deadline);
        connection.block_on(context.drive(run, until))
    }

    /// Looks for batches of a run at the provider that its journal does not know.
    pub(super) fn look_for_unknown(
        &self,
        run: &mut Run,
        connection: &Connection,
    ) -> Result<(), Error> {
        let context = self.context(run, connection, StopSignal::never(), None);
        connection.block_on(context.look_for_unknown(run))
    }

    /// Settles what the ledger holds for abandoned runs, as far as their batches have ended. What
    /// cannot be settled now is settled the next time.
    pub(super) fn settle_abandoned(&self, connection: &Connection) {
        let Ok(reservations) = leftovers::reservations(self.state.path()) else {
            return;
        };
        let folders = reservations
            .into_iter()
            .filter_map(|reservation| reservation.folder);
        for folder in folders.filter(|f| journal::stage_of(f) == Some(Stage::Abandoned)) {
            let Ok((mut run, _)) = Run::open(&folder, self.clock.now(), &self.budget_context(None))
            else {
                continue;
            };
            if run.check_origin(&connection.origin()).is_ok()
                && self.look_once(&mut run, connection).is_ok()
            {
                let _ = run.write_manifest(self.clock.now());
            }
        }
    }

    /// The finished run that makes a start needless, its output written again where it is gone.
    fn nothing_to_do(
        &self,
        finished: &Finished,
        until: Until,
        replace: bool,
    ) -> Result<RunReport, Error> {
        let change = finished.lost_output();
        self.observer.notice(Notice::NothingToDo {
            run: &finished.folder,
            failed: finished.failed,
        });
        if until == Until::Sent || (change.is_none() && !replace) {
            let view = self.status(&finished.folder)?.0;
            return Ok(RunReport::of_finished(finished, view.manifest, change));
        }
        self.observer.notice(Notice::OutputWrittenAgain { change });
        let mut run = self.open_offline(&finished.folder, None)?;
        if replace {
            run.replace_output();
        }
        let report = self.export_opened(&mut run)?;
        Ok(report.as_nothing_to_do(finished.failed))
    }
}

impl Drop for Engine {
    /// Waits for nothing: what counts is in the journal.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What an engine has until it is given a provider.
struct NoProvider;

impl Provider for NoProvider {
    fn format(&self) -> &'static dyn BatchFormat {
        anthropic::FORMAT
    }

    fn origin(&self) -> Result<String, Error> {
        Err(Error::NoProvider)
    }

    fn connect(&self, _: &ApiOptions) -> Result<Arc<dyn crate::provider::BatchApi>, Error> {
        Err(Error::NoProvider)
    }
}
