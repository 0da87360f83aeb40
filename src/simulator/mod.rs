//! A local server that speaks the wire of the Message Batches API: for samples, tests, and the
//! first run without a key.
//!
//! ```text
//!  create ─▶ envelope ─▶ store (one folder a batch)          retrieve, list, cancel, delete ─▶ store
//!                          │ when its time is over
//!                          ▼
//!            process: params ─▶ answer ─▶ results.jsonl      results ─▶ streamed from disk
//!                       │ cache, tokens ─▶ usage             message, count_tokens ─▶ params, answer at once
//!
//!            files (uploaded once, named by id) ─▶ files.rs
//!
//!  every call passes the gate: faults, headers, request id, log
//! ```
//!
//! In come HTTP calls; out go answers in the API's shapes, with answers of a "model" that fit the
//! request. Promises: the same seed, the same custom_id and the same `params` give the same answer;
//! a batch that was answered with an id survives the process; every request of an ended batch has
//! exactly one result line; the memory does not grow with the rows. It listens on loopback only and
//! never looks at credentials beyond their being there.
//!
//! Where the API's behaviour is not known, the simulator's is a guess, and `docs/simulator.md` says
//! so.
//!
//! To add an endpoint: `server.rs`. A rule about parameters: `params.rs`, `messages.rs`,
//! `media.rs`. A fault: `faults.rs`.

mod answer;
mod cache;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(crate) mod checks;
mod cited;
mod envelope;
mod faults;
mod files;
mod forms;
mod gate;
mod instance;
mod labels;
mod ledger;
mod media;
mod messages;
mod models;
mod params;
mod pattern;
mod process;
mod reply;
mod results;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use faults::{Act, BatchFault, Call, CallFault, Faults, JsonText, RowFault, RowOutcome};
pub use ledger::{Accepted, Ledger};

use crate::catalog::Catalog;

/// The header by which a client can tell, from any answer, that it does not speak with a real
/// provider.
const HEADER: &str = crate::provider::anthropic::SIMULATOR_HEADER;
/// The API version without sampling parameters.
const NEW_VERSION: &str = "2026-10-21";
/// How long a stopping server waits for calls under way.
const PATIENCE: Duration = Duration::from_secs(3);

fn is_new_version(version: &str) -> bool {
    version == NEW_VERSION
}

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a simulator shall be like.
#[derive(Clone)]
pub struct SimulatorSpec {
    /// Everything random follows from it.
    pub seed: u64,
    /// Its state. A server that is started on the same folder later finds its batches.
    pub folder: PathBuf,
    /// Where the time comes from.
    pub clock: Clock,
    /// How long a batch takes.
    pub processing: Duration,
    /// How long a cancel takes.
    pub canceling: Duration,
    /// Requests of a batch that run at the same time, and so cannot read what the others write to
    /// the prompt cache.
    pub concurrency: u64,
    /// Most requests of all batches that have not ended. The API's first tier has 200,000.
    pub queue_limit: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// The models it knows.
    pub catalog: Arc<Catalog>,
}

impl SimulatorSpec {
    /// A simulator without faults, whose batches end at once.
    #[must_use]
    pub fn new(seed: u64, folder: PathBuf, clock: Clock) -> SimulatorSpec {
        SimulatorSpec {
            seed,
            folder,
            clock,
            processing: Duration::ZERO,
            canceling: Duration::ZERO,
            concurrency: 64,
            queue_limit: 200_000,
            faults: Faults::default(),
            catalog: Arc::new(Catalog::builtin().clone()),
        }
    }
}

impl fmt::Debug for SimulatorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatorSpec")
            .field("seed", &self.seed)
            .field("folder", &self.folder)
            .field("processing", &self.processing)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would be reachable from other machines.
    #[error("the simulator listens on loopback only, not on `{address}`")]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Another simulator runs on the folder.
    #[error("another simulator uses `{}`", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be used.
    #[error("cannot use `{}` for the state of the simulator", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the file system says.
        #[source]
        cause: io::Error,
    },
    /// The port cannot be used.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// The simulator.
#[derive(Debug)]
pub struct Simulator;

impl Simulator {
    /// Starts a simulator; port 0 takes any free one.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(spec: SimulatorSpec, listen: SocketAddr) -> Result<Running, Error> {
        if !listen.ip().is_loopback() {
            return Err(Error::NotLoopback { address: listen });
        }
        let cannot_listen = |cause| Error::Listen {
            address: listen,
            cause,
        };
        let listener = TcpListener::bind(listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let (stop, stopped) = watch::channel(false);
        let sim = Arc::new(Sim::open(spec, address, stopped)?);
        let worker = {
            let sim = sim.clone();
            thread::Builder::new()
                .name("simulator".to_owned())
                .spawn(move || process::work(&sim))
                .map_err(cannot_listen)?
        };
        let server = {
            let app =
                server::routes(sim.clone()).into_make_service_with_connect_info::<wire::Scissors>();
            let mut stopped = stop.subscribe();
            let until = async move {
                // An error means that nobody can ever say stop: the handle is gone.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            tokio::spawn(async move {
                // The listener retries by itself; there is no error to hand on.
                let _ = axum::serve(wire::Door(listener), app)
                    .with_graceful_shutdown(until)
                    .await;
            })
        };
        Ok(Running {
            sim,
            address,
            stop,
            server: Some(server),
            worker: Some(worker),
        })
    }
}

/// A simulator that runs. Dropped, it stops, without waiting for that.
#[derive(Debug)]
pub struct Running {
    sim: Arc<Sim>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<tokio::task::JoinHandle<()>>,
    worker: Option<thread::JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for clients.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.sim.base_url.clone()
    }

    /// What it has accepted so far.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn ledger(&self) -> io::Result<Ledger> {
        Ledger::read(self.sim.store.folder())
    }

    /// How many calls of each kind it has got since it was started.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Call, u64> {
        self.sim.call_counts()
    }

    /// Waits until every batch whose time is over has ended. For tests with a simulated clock.
    pub async fn settle(&self) {
        while self.sim.store.next_due((self.sim.clock)()).is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops: calls under way may finish, a batch in processing is left as it was before. The
    /// folder is free afterwards.
    pub async fn stop(mut self) {
        self.tell();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(PATIENCE, &mut server).await.is_err()
        {
            server.abort();
        }
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has nothing more to say; the folder is given back all the
            // same.
            let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        }
        self.sim.store.release();
    }

    fn tell(&self) {
        self.sim.stopping.store(true, Ordering::SeqCst);
        self.stop.send_replace(true);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell();
    }
}

/// What all calls and the worker share.
struct Sim {
    seed: u64,
    base_url: String,
    clock: Clock,
    processing: Duration,
    canceling: Duration,
    concurrency: u64,
    queue_limit: u64,
    catalog: Arc<Catalog>,
    store: store::Store,
    /// What was uploaded.
    files: Arc<files::Files>,
    faults: faults::FaultBook,
    caches: Mutex<cache::Caches>,
    /// Reads single messages; the worker has its own.
    reader: Mutex<params::Reader>,
    messages: AtomicU64,
    requests: AtomicU64,
    started: i64,
    calls: Mutex<Calls>,
    stopping: AtomicBool,
    stopped: watch::Receiver<bool>,
}

struct Calls {
    log: std::fs::File,
    counts: BTreeMap<Call, u64>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl Sim {
    fn open(
        spec: SimulatorSpec,
        address: SocketAddr,
        stopped: watch::Receiver<bool>,
    ) -> Result<Sim, Error> {
        let broken = |cause: io::Error| match cause.kind() {
            io::ErrorKind::WouldBlock => Error::Locked {
                folder: spec.folder.clone(),
            },
            _ => Error::Folder {
                folder: spec.folder.clone(),
                cause,
            },
        };
        let store = store::Store::open(&spec.folder, spec.seed).map_err(broken)?;
        let files = Arc::new(
            files::Files::open(&spec.folder, spec.seed, spec.clock.clone()).map_err(broken)?,
        );
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(spec.folder.join("calls.jsonl"))
            .map_err(broken)?;
        Ok(Sim {
            seed: spec.seed,
            base_url: format!("http://{address}"),
            processing: spec.processing,
            canceling: spec.canceling,
            concurrency: spec.concurrency.max(1),
            queue_limit: spec.faults.queue_limit.unwrap_or(spec.queue_limit),
            faults: faults::FaultBook::open(spec.faults, spec.seed, &spec.folder)
                .map_err(broken)?,
            caches: Mutex::new(
                cache::Caches::load(&spec.folder.join("cache.json")).map_err(broken)?,
            ),
            reader: Mutex::new(params::Reader::new(spec.catalog.clone(), files.clone())),
            catalog: spec.catalog,
            files,
            store,
            messages: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            started: (spec.clock)().as_microsecond(),
            clock: spec.clock,
            calls: Mutex::new(Calls {
                log,
                counts: BTreeMap::new(),
            }),
            stopping: AtomicBool::new(false),
            stopped,
        })
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn cache_path(&self) -> PathBuf {
        self.store.folder().join("cache.json")
    }

    /// The id of a call; another one for each, in each process.
    fn request_id(&self) -> String {
        let n = self.requests.fetch_add(1, Ordering::Relaxed);
        reply::opaque_id(
            "req_",
            &[
                &self.seed.to_le_bytes(),
                &self.started.to_le_bytes(),
                &n.to_le_bytes(),
            ],
        )
    }

    /// Counts a call and writes it to `calls.jsonl`. Headers and bodies are not looked at.
    fn log_call(
        &self,
        line: &str,
        call: Option<Call>,
        status: u16,
        request_id: &str,
        faults: &[CallFault],
    ) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = call {
            *calls.counts.entry(call).or_default() += 1;
        }
        let faults: Vec<String> = faults
            .iter()
            .map(|fault| format!("{:?}", fault.act))
            .collect();
        let entry = serde_json::json!({
            "at": store::wire_time((self.clock)()), "call": line, "status": status, "request_id": request_id, "faults": faults,
        });
        // A log that cannot be written is no reason to fail the call.
        let _ = writeln!(calls.log, "{entry}");
    }

    fn call_counts(&self) -> BTreeMap<Call, u64> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .counts
            .clone()
    }
}
