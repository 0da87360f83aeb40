//! The settings of a simulator.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::faults::SimFaults;
use crate::catalog::Catalog;

/// Where the time comes from.
pub type SimClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Waits for some simulated time.
pub type SimSleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// The settings of a simulator.
#[derive(Clone)]
pub struct SimulatorSpec {
    /// Everything random follows from it.
    pub seed: u64,
    /// Its state. A server that is started on the same folder later finds its batches.
    pub folder: PathBuf,
    /// Where the time comes from.
    pub clock: SimClock,
    /// How a call waits that a fault delays.
    pub sleep: SimSleep,
    /// Whether a call first waits until every batch whose processing time is over has ended. With a
    /// clock that only a test moves, no time passes between two calls in which a batch could end.
    /// Off by default: a large batch takes seconds to end, and a call must not hang that long.
    pub ends_batches_at_calls: bool,
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
    pub faults: SimFaults,
    /// The models it knows.
    pub catalog: Arc<Catalog>,
}

impl SimulatorSpec {
    /// A simulator without faults, whose batches end at once.
    #[must_use]
    pub fn new(seed: u64, folder: PathBuf, clock: SimClock) -> SimulatorSpec {
        SimulatorSpec {
            seed,
            folder,
            clock,
            sleep: Arc::new(|time| Box::pin(tokio::time::sleep(time))),
            ends_batches_at_calls: false,
            processing: Duration::ZERO,
            canceling: Duration::ZERO,
            concurrency: 64,
            queue_limit: 200_000,
            faults: SimFaults::default(),
            catalog: Arc::new(Catalog::builtin().clone()),
        }
    }

    /// Runs by a clock that the caller moves: waits go through `sleep`, which moves the clock, and
    /// a batch whose processing time is over has ended at the next call. No real time passes.
    #[must_use]
    pub fn with_manual_time(self, sleep: SimSleep) -> SimulatorSpec {
        SimulatorSpec {
            sleep,
            ends_batches_at_calls: true,
            ..self
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
