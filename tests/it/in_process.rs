//! Whole runs in this process, with a clock that the test moves: [`Bench`] has an engine, a
//! simulator and a folder, and no wait of a run takes real time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use rowmill::durable::{Crash, crash_thread_at};
use rowmill::engine::{
    CancelOptions, CancelReport, CollectOptions, Engine, Error, Notice, Observer, RetryOptions,
    RunOptions, RunReport, StopSignal, Target,
};
use rowmill::job::JobFile;
use rowmill::provider::anthropic::{AnthropicSpec, Credential};
use rowmill::provider::retry::Clock;
use rowmill::simulator::{
    ApiCall, RunningSimulator, SimFaults, SimLedger, Simulator, SimulatorSpec,
};
use secrecy::SecretString;
use tokio::sync::watch;

use crate::support::{Table, Workdir};

/// A clock that stands still until something sleeps: then it moves on by that time at once.
#[derive(Clone)]
pub(crate) struct TestClock {
    now: Arc<watch::Sender<Timestamp>>,
    /// Ends its batches before the time moves on, so that time never outruns it.
    simulator: Arc<OnceLock<Arc<RunningSimulator>>>,
}

impl TestClock {
    /// A clock that begins in 2026.
    pub(crate) fn new() -> TestClock {
        TestClock::at("2026-11-30T08:00:00Z".parse().expect("a time"))
    }

    fn at(start: Timestamp) -> TestClock {
        TestClock {
            now: Arc::new(watch::channel(start).0),
            simulator: Arc::default(),
        }
    }

    /// Moves on.
    pub(crate) fn advance(&self, by: Duration) {
        self.now
            .send_modify(|now| *now = now.checked_add(by).expect("a time that exists"));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.advance(duration);
            if let Some(simulator) = self.simulator.get() {
                simulator.settle().await;
            }
            tokio::task::yield_now().await;
        }
        .boxed()
    }

    fn alarm(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let end = self.now().checked_add(duration).expect("a time");
        let mut now = self.now.subscribe();
        async move {
            // The sender lives as long as the clock.
            let _ = now.wait_for(|now| *now >= end).await;
        }
        .boxed()
    }

    fn jitter(&self) -> f64 {
        0.0
    }
}

/// Keeps what a run reports, as JSON.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<serde_json::Value>>>);

impl Notices {
    /// The notes of one kind so far.
    pub(crate) fn notes(&self, kind: &str) -> Vec<serde_json::Value> {
        let mut notes = self.of("note");
        notes.retain(|note| note["note"] == kind);
        notes
    }

    /// The notices of one kind so far.
    pub(crate) fn of(&self, kind: &str) -> Vec<serde_json::Value> {
        let notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = notices.iter().filter(|notice| notice["notice"] == kind);
        of_kind.cloned().collect()
    }
}

impl Observer for Notices {
    fn notice(&self, notice: Notice<'_>) {
        let notice = serde_json::to_value(&notice).expect("a notice is data");
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(notice);
    }
}

/// An engine, a simulator and a folder with a job.
pub(crate) struct Bench {
    pub(crate) work: Workdir,
    pub(crate) clock: TestClock,
    pub(crate) notices: Notices,
    simulator: Arc<RunningSimulator>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// With a simulator that makes no faults, and whose batches end at once.
    pub(crate) fn new(work: Workdir) -> Bench {
        Bench::with(work, "", Duration::ZERO)
    }

    /// With faults as in `docs/simulator.md`, and batches that take `processing` of the clock's
    /// time.
    pub(crate) fn with(work: Workdir, faults: &str, processing: Duration) -> Bench {
        Bench::at(TestClock::new(), work, faults, processing)
    }

    /// The same folder a second later, with another simulator.
    pub(crate) fn with_other_simulator(self, faults: &str, processing: Duration) -> Bench {
        let clock = TestClock::at(self.clock.now());
        clock.advance(Duration::from_secs(1));
        Bench::at(clock, self.work, faults, processing)
    }

    fn at(clock: TestClock, work: Workdir, faults: &str, processing: Duration) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let time = clock.clone();
        let spec = SimulatorSpec {
            faults: SimFaults::from_toml(faults).unwrap_or_else(|e| panic!("{e} in\n{faults}")),
            processing,
            ..SimulatorSpec::new(1, folder.path().to_path_buf(), Arc::new(move || time.now()))
        };
        let slept = clock.clone();
        let spec = spec.with_manual_time(Arc::new(move |by| {
            slept.advance(by);
            futures_util::future::ready(()).boxed()
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let start = Simulator::start(spec, ([127, 0, 0, 1], 0).into());
        let simulator = Arc::new(runtime.block_on(start).expect("the simulator starts"));
        assert!(clock.simulator.set(Arc::clone(&simulator)).is_ok());
        Bench {
            work,
            clock,
            notices: Notices::default(),
            simulator,
            folder,
            _runtime: runtime,
        }
    }

    /// An engine as another process would have it: nothing but the files is shared.
    pub(crate) fn engine(&self) -> Engine {
        self.engine_with(StopSignal::never())
    }

    /// An engine that stops by a signal.
    pub(crate) fn engine_with(&self, stop: StopSignal) -> Engine {
        self.engine_in(self.state()).with_stop(stop)
    }

    /// An engine with another state directory.
    pub(crate) fn engine_in(&self, state: PathBuf) -> Engine {
        let key = Credential::ApiKey(SecretString::from(crate::support::KEY));
        let provider = AnthropicSpec {
            base_url: self.simulator.base_url(),
            ..AnthropicSpec::new(key)
        };
        Engine::new(state)
            .expect("an engine")
            .with_provider(provider)
            .with_clock(self.clock.clone())
            .with_observer(self.notices.clone())
    }

    /// Does something with an engine on a thread of its own, which ends like a process that crashes
    /// when it is about to do its `n`-th act, counted from 1. `Err` where it came to that.
    ///
    /// All acts of a run are on the thread that calls the engine, since it polls its own futures;
    /// but for the spool files, which the threads that render rows commit. Those, and what an abort
    /// leaves because no destructor runs, are for the spawned crash test.
    pub(crate) fn crash_at<T: Send>(
        &self,
        n: u32,
        work: impl FnOnce(Engine) -> T + Send,
    ) -> Result<T, Crash> {
        let engine = self.engine();
        let armed = || {
            crash_thread_at(n);
            work(engine)
        };
        let done = std::thread::scope(|scope| scope.spawn(armed).join());
        done.map_err(|panic| match panic.downcast() {
            Ok(crash) => *crash,
            Err(other) => std::panic::resume_unwind(other),
        })
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.work.path(".rowmill")
    }

    /// The job of the folder.
    pub(crate) fn job(&self) -> Target {
        Target::job(JobFile::read(&self.work.path("job.toml")).expect("a job"))
    }

    pub(crate) fn run(&self) -> Result<RunReport, Error> {
        self.run_with(&RunOptions::default())
    }

    /// Runs the job, a second after the call before it, so that the newest run is known.
    pub(crate) fn run_with(&self, options: &RunOptions) -> Result<RunReport, Error> {
        self.clock.advance(Duration::from_secs(1));
        self.engine().run(&self.job(), options)
    }

    pub(crate) fn submit(&self) -> Result<RunReport, Error> {
        self.submit_with(&RunOptions::default())
    }

    /// Submits the job, a second after the call before it.
    pub(crate) fn submit_with(&self, options: &RunOptions) -> Result<RunReport, Error> {
        self.clock.advance(Duration::from_secs(1));
        self.engine().submit(&self.job(), options)
    }

    /// Collects the newest run of the job.
    pub(crate) fn collect(&self, wait: Option<Duration>) -> Result<RunReport, Error> {
        let options = CollectOptions {
            wait,
            ..CollectOptions::default()
        };
        self.engine().collect(&self.newest_run(), &options)
    }

    pub(crate) fn retry(&self, options: &RetryOptions) -> Result<RunReport, Error> {
        self.engine().retry(&self.newest_run(), options)
    }

    pub(crate) fn cancel(&self, abandon: bool) -> Result<CancelReport, Error> {
        let options = CancelOptions { abandon };
        self.engine().cancel(&self.newest_run(), &options)
    }

    /// The folder of the newest run of the job.
    pub(crate) fn newest_run(&self) -> PathBuf {
        self.engine()
            .find_run(&self.work.path("job.toml"))
            .expect("the job has a run")
    }

    /// The output as a table.
    pub(crate) fn output(&self) -> Table {
        self.work.parquet("out.parquet")
    }

    /// How often each row was accepted, by its key: what follows the nonce in its custom_id.
    pub(crate) fn accepted(&self) -> std::collections::BTreeMap<String, u64> {
        accepted(self.folder.path())
    }

    /// The simulator.
    pub(crate) fn simulator(&self) -> &RunningSimulator {
        &self.simulator
    }
}

/// What a test looks at when a call has returned.
impl Bench {
    /// The requests of each batch that was accepted, in order.
    pub(crate) fn sent(&self) -> Vec<u64> {
        let ledger = self.simulator.ledger().expect("the ledger");
        ledger.batches.iter().map(|batch| batch.requests).collect()
    }

    /// How often a call was made.
    pub(crate) fn calls(&self, call: ApiCall) -> u64 {
        self.simulator.calls().get(&call).copied().unwrap_or(0)
    }

    /// Every result line of every batch, as it stands in the simulator's own results.
    pub(crate) fn result_lines(&self) -> Vec<serde_json::Value> {
        crate::support::result_lines(self.folder.path())
    }

    /// The text that was answered to each custom_id, as it stands in the simulator's own results.
    pub(crate) fn answers(&self) -> std::collections::BTreeMap<String, String> {
        crate::support::answers(&self.result_lines())
    }

    /// The entries of the ledger of the state directory.
    pub(crate) fn entries(&self) -> Vec<rowmill::ledger::LedgerEntry> {
        let ledger = rowmill::ledger::Ledger::open(&self.state()).expect("the ledger");
        ledger.entries().expect("its entries")
    }

    /// The job in another file of the folder.
    pub(crate) fn job_in(&self, name: &str) -> Target {
        Target::job(JobFile::read(&self.work.path(name)).expect("a job"))
    }
}

fn accepted(folder: &Path) -> std::collections::BTreeMap<String, u64> {
    let mut rows = std::collections::BTreeMap::new();
    for (id, times) in SimLedger::tally(folder).expect("the ledger") {
        let (_, key) = id.split_once('-').expect("a nonce and a key");
        *rows.entry(key.to_owned()).or_default() += times;
    }
    rows
}
