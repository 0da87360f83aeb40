//! What all calls and the worker share.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::faults::{ApiCall, CallFault};
use super::spec::{SimClock, SimSleep, SimulatorSpec};
use super::{Error, cache, faults, files, params, process, reply, store};
use crate::catalog::Catalog;

/// What all calls and the worker share.
pub(super) struct SimState {
    pub(super) seed: u64,
    pub(super) base_url: String,
    pub(super) clock: SimClock,
    pub(super) sleep: SimSleep,
    pub(super) ends_batches_at_calls: bool,
    pub(super) worker: process::WorkerSignals,
    pub(super) processing: Duration,
    pub(super) canceling: Duration,
    pub(super) concurrency: u64,
    pub(super) queue_limit: u64,
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: store::Store,
    /// What was uploaded.
    pub(super) files: Arc<files::FileStore>,
    pub(super) faults: faults::FaultCounter,
    pub(super) caches: Mutex<cache::PromptCaches>,
    /// Reads single messages; the worker has its own.
    pub(super) reader: Mutex<params::RequestReader>,
    pub(super) messages: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) started: i64,
    pub(super) calls: Mutex<CallLog>,
    pub(super) stopping: AtomicBool,
    pub(super) stopped: watch::Receiver<bool>,
}

pub(super) struct CallLog {
    log: std::fs::File,
    counts: BTreeMap<ApiCall, u64>,
}

impl fmt::Debug for SimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimState")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl SimState {
    pub(super) fn open(
        spec: SimulatorSpec,
        address: SocketAddr,
        stopped: watch::Receiver<bool>,
    ) -> Result<SimState, Error> {
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
            files::FileStore::open(&spec.folder, spec.seed, spec.clock.clone()).map_err(broken)?,
        );
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(spec.folder.join("calls.jsonl"))
            .map_err(broken)?;
        Ok(SimState {
            seed: spec.seed,
            base_url: format!("http://{address}"),
            processing: spec.processing,
            canceling: spec.canceling,
            concurrency: spec.concurrency.max(1),
            queue_limit: spec.faults.queue_limit.unwrap_or(spec.queue_limit),
            faults: faults::FaultCounter::open(spec.faults, spec.seed, &spec.folder)
                .map_err(broken)?,
            caches: Mutex::new(
                cache::PromptCaches::load(&spec.folder.join("cache.json")).map_err(broken)?,
            ),
            reader: Mutex::new(params::RequestReader::new(
                spec.catalog.clone(),
                files.clone(),
            )),
            catalog: spec.catalog,
            files,
            store,
            messages: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            started: (spec.clock)().as_microsecond(),
            clock: spec.clock,
            sleep: spec.sleep,
            ends_batches_at_calls: spec.ends_batches_at_calls,
            worker: process::WorkerSignals::default(),
            calls: Mutex::new(CallLog {
                log,
                counts: BTreeMap::new(),
            }),
            stopping: AtomicBool::new(false),
            stopped,
        })
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until no batch is due, the worker has failed, or the server stops.
    pub(super) async fn end_due_batches(&self) {
        let mut stopped = self.stopped.clone();
        // Subscribed before the look at the store: a batch that ends in between is not missed.
        let mut rounds = self.worker.rounds();
        while self.store.next_due((self.clock)()).is_some() {
            self.worker.wake();
            tokio::select! {
                round = rounds.changed() => {
                    if round.is_err() || rounds.borrow_and_update().has_failed {
                        return;
                    }
                }
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    pub(super) fn cache_path(&self) -> PathBuf {
        self.store.folder().join("cache.json")
    }

    /// The id of a call; another one for each, in each process.
    pub(super) fn request_id(&self) -> String {
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
    pub(super) fn log_call(
        &self,
        line: &str,
        call: Option<ApiCall>,
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

    pub(super) fn call_counts(&self) -> BTreeMap<ApiCall, u64> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .counts
            .clone()
    }
}
