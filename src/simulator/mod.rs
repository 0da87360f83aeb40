//! A local server that speaks the wire format of the Message Batches API: for samples, tests, and
//! the first run without a key.
//!
//! ```text
//!  create ─▶ envelope ─▶ store (one folder a batch)          retrieve, list, cancel, delete ─▶ store
//!                          │ when its processing time is over
//!                          ▼
//!            process: params ─▶ answer ─▶ results.jsonl      results ─▶ streamed from disk
//!                       │ cache, tokens ─▶ usage             message, count_tokens ─▶ params, answer at once
//!
//!            files (uploaded once, named by id) ─▶ files.rs
//!
//!  every call passes the middleware: faults, headers, request id, log
//! ```
//!
//! In come HTTP calls; out go answers in the API's shapes, with answers of a "model" that fit the
//! request. Promises: the same seed, the same custom_id and the same `params` give the same answer;
//! a batch that was answered with an id survives the process; every request of an ended batch has
//! exactly one result line; the memory does not grow with the rows. It listens on loopback only and
//! reads no credentials, only whether there are any.
//!
//! Time comes from [`SimulatorSpec`]: by [`SimulatorSpec::with_manual_time`] a test moves the clock
//! itself, and a day of processing takes milliseconds.
//!
//! Where the API's behaviour is not known, the simulator's is a guess, and `docs/simulator.md` says
//! so.
//!
//! To add an endpoint: `server/`. A rule about a value: `request/parameters.rs`; about a model or a
//! message: `params/`, `messages.rs`, `media.rs`. A fault: `faults/`.

mod answer;
mod cache;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(crate) mod checks;
mod citations;
mod connection;
mod envelope;
mod faults;
mod files;
mod forms;
mod instance;
mod labels;
mod ledger;
mod media;
mod messages;
mod middleware;
mod models;
mod params;
mod pattern;
mod process;
mod reply;
mod results;
mod running;
mod server;
mod spec;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use self::state::SimState;

pub use faults::{
    ApiCall, BatchFault, CallFault, FaultAction, JsonText, RequestFault, RowOutcome, SimFaults,
};
pub use ledger::{AcceptedBatch, SimLedger};
pub use running::{RunningSimulator, Simulator};

pub use spec::{SimClock, SimSleep, SimulatorSpec};

/// The header that shows a client, in any answer, that it does not speak with a real provider.
const HEADER: &str = crate::provider::anthropic::SIMULATOR_HEADER;

/// The API version without sampling parameters.
const NEW_VERSION: &str = "2026-10-21";

/// Removes batches from the folder of a simulator that is not running, and returns the bytes freed.
///
/// # Errors
/// `WouldBlock` when it is running; else what the file system answers.
pub(crate) fn forget_batches(folder: &Path, ids: &HashSet<&str>) -> io::Result<u64> {
    store::forget(folder, ids)
}

fn is_new_version(version: &str) -> bool {
    version == NEW_VERSION
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
