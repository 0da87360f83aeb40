//! Starts, watches and stops a simulator.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::faults::ApiCall;
use super::ledger::SimLedger;
use super::spec::SimulatorSpec;
use super::state::SimState;
use super::{Error, connection, process, server};

/// How long a stopping server waits for calls in progress. Where there are none it stops at once.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(3);

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
    pub async fn start(spec: SimulatorSpec, listen: SocketAddr) -> Result<RunningSimulator, Error> {
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
        let sim = Arc::new(SimState::open(spec, address, stopped)?);
        let worker = {
            let sim = sim.clone();
            thread::Builder::new()
                .name("simulator".to_owned())
                .spawn(move || process::work(&sim))
                .map_err(cannot_listen)?
        };
        let server = {
            let app = server::routes(sim.clone())
                .into_make_service_with_connect_info::<connection::ConnectionBreaker>();
            let mut stopped = stop.subscribe();
            let until = async move {
                // An error means that the handle was dropped, which stops the server too.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            tokio::spawn(async move {
                // The listener retries by itself; there is no error to hand on.
                let _ = axum::serve(connection::BreakableListener(listener), app)
                    .with_graceful_shutdown(until)
                    .await;
            })
        };
        Ok(RunningSimulator {
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
pub struct RunningSimulator {
    sim: Arc<SimState>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<tokio::task::JoinHandle<()>>,
    worker: Option<thread::JoinHandle<()>>,
}

impl RunningSimulator {
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
    pub fn ledger(&self) -> io::Result<SimLedger> {
        SimLedger::read(self.sim.store.folder())
    }

    /// How many calls of each kind it has got since it was started.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<ApiCall, u64> {
        self.sim.call_counts()
    }

    /// Waits until every batch whose processing time is over has ended. For tests with a simulated
    /// clock.
    pub async fn settle(&self) {
        self.sim.end_due_batches().await;
    }

    /// Stops: calls in progress may finish, a batch in processing is left as it was before. The
    /// folder is free afterwards.
    pub async fn stop(mut self) {
        self.signal_stop();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(STOP_TIMEOUT, &mut server)
                .await
                .is_err()
        {
            server.abort();
        }
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has nothing more to report; the folder is released all the
            // same.
            let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        }
        self.sim.store.release();
    }

    fn signal_stop(&self) {
        self.sim.stopping.store(true, Ordering::SeqCst);
        self.stop.send_replace(true);
        // The worker may be waiting for the next look at the clock.
        self.sim.worker.wake();
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        self.signal_stop();
    }
}
