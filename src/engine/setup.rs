//! [`Engine`]: how it is set up, and how its calls reach a run and its provider.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::catalog::Catalog;
use crate::cost::Money;
use crate::job::JobFile;
use crate::ledger;
use crate::provider::retry::{Clock, Patience, SystemClock};
use crate::provider::{BatchFormat, Formats, anthropic};
use crate::source::{self, OnMissing};

use super::compile::CompiledJob;
use super::connect::{ApiOptions, Connection, Provider, SimulatorOptions, check_simulated};
use super::context::{Context, RunOutcome, StopSignal, Until};
use super::not_started::NotStarted;
use super::note::StepNote;
use super::notice::{Notice, Observer, RetryCost, Silent};
use super::state_location::StateLocation;
use super::{BudgetContext, Error, Run, Warning};

/// Plans, runs and finishes jobs: the only place where it is decided what is sent, waited for,
/// fetched and written.
///
/// An engine is set up once and used for any number of jobs, one call at a time or from several
/// threads; runs are locked, so two calls never work on the same one. All methods block until they
/// are done, and drive their own runtime: from async code, call them on a blocking thread. The
/// simulator of a state directory serves one call at a time; a second one is refused with
/// `Error::Simulator`.
///
/// ```no_run
/// use rowmill::engine::{Engine, RunOptions, StateLocation, Target};
/// use rowmill::job::JobFile;
///
/// # fn main() -> Result<(), rowmill::engine::Error> {
/// let job = JobFile::read("triage.toml".as_ref())?;
/// let engine = Engine::new(StateLocation::of_job(&job))?;
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
    pub(super) ledger_patience: Duration,
    pub(super) patience: Option<Duration>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Engine {
    /// Makes an engine whose runs are kept in a directory, such as [`StateLocation::of_job`] gives
    /// for a job. It uses the built-in catalog, the
    /// machine's clock, and no provider but the simulator.
    ///
    /// # Errors
    /// [`Error::Runtime`] where the system gives no threads; [`Error::StateAddress`].
    pub fn new(state: impl Into<PathBuf>) -> Result<Engine, Error> {
        let state = StateLocation::directory(state);
        state.check()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        Ok(Engine {
            state,
            catalog: Arc::new(Catalog::builtin().clone()),
            provider: Arc::new(NoProvider),
            simulator: SimulatorOptions::default(),
            clock: Arc::new(SystemClock),
            observer: Arc::new(Silent),
            stop: StopSignal::never(),
            ledger_patience: ledger::PATIENCE,
            patience: None,
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

    /// Sets the observer that receives progress, warnings and waits.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + Send + 'static) -> Engine {
        self.observer = Arc::new(observer);
        self
    }

    /// Sets the signal that asks to stop after the current step. Planning and writing end with
    /// [`Error::Interrupted`], as where [`Observer::is_stopping`] asks for it; what waits for the
    /// provider returns [`RunOutcome::Interrupted`].
    #[must_use]
    pub fn with_stop(mut self, stop: StopSignal) -> Engine {
        self.stop = stop;
        self
    }

    /// Sets how long another process is waited for that has locked the ledger.
    #[must_use]
    pub fn with_ledger_patience(mut self, patience: Duration) -> Engine {
        self.ledger_patience = patience;
        self
    }

    /// Sets how long calls are tried again while the provider cannot be reached or answers with a
    /// fault that may pass, for every kind of call; it counts from the first try of each. `None`: as
    /// the job says, else by the kind of call and fault. When it ends, the call of the engine ends
    /// with [`Error::Provider`], and the same call resumes.
    #[must_use]
    pub fn with_patience(mut self, patience: Option<Duration>) -> Engine {
        self.patience = patience;
        self
    }

    /// Where runs are kept.
    #[must_use]
    pub fn state(&self) -> &StateLocation {
        &self.state
    }
}

/// What the calls share.
impl Engine {
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
        if (run.state().unsent().count() as u64) > 0 {
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

    /// Compiles a job.
    ///
    /// # Errors
    /// As [`CompiledJob::new`]; [`Error::NotStarted`] where the source has no file, and the job
    /// says that there is nothing to do then.
    pub(super) fn compile(&self, file: &JobFile) -> Result<CompiledJob, Error> {
        let compiled = CompiledJob::new(file, self.today(), &self.catalog);
        compiled.map_err(|error| match error {
            Error::Source(source::Error::NoFiles { .. })
                if file.job.source.on_missing == OnMissing::Empty =>
            {
                let output = file.resolve(&file.job.output.path);
                Error::NotStarted(Box::new(NotStarted::SourceMissing {
                    job: file.job.head.name.clone(),
                    paths: file.job.source.path.as_slice().to_vec(),
                    output: Some(output).filter(|output| output.exists()),
                }))
            }
            other => other,
        })
    }

    pub(super) fn connect(&self, options: &ApiOptions) -> Result<Connection, Error> {
        Connection::real(self.provider.as_ref(), options, self.handle())
    }

    pub(super) fn connect_simulator(&self, options: &ApiOptions) -> Result<Connection, Error> {
        self.connect_simulator_in(self.state.path(), options)
    }

    pub(super) fn connect_simulator_in(
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

    /// Runs something that waits to its end.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle().block_on(work)
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        let runtime = self.runtime.as_ref();
        runtime.expect("taken when the engine is dropped").handle()
    }

    /// How the provider writes batches and results.
    pub(super) fn format(&self) -> &'static dyn BatchFormat {
        self.provider.format()
    }

    pub(super) fn budget_context(&self, max_cost: Option<Money>) -> BudgetContext {
        BudgetContext {
            catalog: Arc::clone(&self.catalog),
            state: self.state.path().to_path_buf(),
            ledger_patience: self.ledger_patience,
            max_cost,
            formats: Formats::default().with(self.format()),
        }
    }

    /// How long calls are tried again for a job that has this to say about it.
    pub(super) fn patience(&self, of_job: Option<Duration>) -> Patience {
        self.patience
            .or(of_job)
            .map_or_else(Patience::default, Patience::of)
    }

    pub(super) fn today(&self) -> Date {
        self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    /// The time after a duration from now; the last time there is for one that is too long.
    pub(super) fn after(&self, duration: Duration) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(duration).unwrap_or(Timestamp::MAX)
    }

    /// The observer of the steps that neither send nor wait: it stops them also by the engine's
    /// signal.
    pub(super) fn step_observer(&self) -> StepObserver<'_> {
        StepObserver {
            observer: self.observer.as_ref(),
            stop: &self.stop,
        }
    }

    pub(super) fn notice_opened(&self, run: &Run) {
        self.observer.notice(Notice::Opened {
            run: run.folder(),
            create_calls: run.state().create_calls(),
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
            max_queued_requests: run.job().batch.max_queued_requests,
            settle: run.settle(),
            patience: self.patience(run.patience()),
            deadline,
        }
    }

    /// Asks the provider once about what is in flight, and fetches what has ended or was not
    /// fetched in full, which costs nothing.
    pub(super) fn look_once(
        &self,
        run: &mut Run,
        connection: &Connection,
    ) -> Result<RunOutcome, Error> {
        self.look_until(run, connection, Until::PolledOnce, None)
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
}

/// Passes notices on, and stops a step when the engine's signal is set.
pub(super) struct StepObserver<'a> {
    observer: &'a dyn Observer,
    stop: &'a StopSignal,
}

impl Observer for StepObserver<'_> {
    fn notice(&self, notice: Notice<'_>) {
        self.observer.notice(notice);
    }

    fn is_stopping(&self) -> bool {
        // The observer is asked in any case, since it may count on being asked.
        self.observer.is_stopping() || self.stop.is_set()
    }

    fn confirms_retry(&self, retry: &RetryCost) -> bool {
        self.observer.confirms_retry(retry)
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
