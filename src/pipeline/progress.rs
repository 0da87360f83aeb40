//! What a step tells while it works; who listens decides how it looks.

use std::time::Duration;

use crate::provider::{BatchId, Counts};

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Rows are being read and rendered.
    Planning {
        /// Rows done.
        rows: u64,
        /// Rows in the source, where that is known before.
        of: Option<u64>,
    },
    /// The provider counts the tokens of a sample.
    Counting {
        /// Rows done.
        rows: u64,
        /// Rows of the sample.
        of: u64,
    },
    /// A batch is on its way to the provider.
    Submitting {
        /// The batch, from 1.
        batch: u32,
        /// Batches of the run.
        of: u32,
        /// Its requests.
        requests: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// The provider has accepted a batch.
    Accepted {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: &'a BatchId,
    },
    /// Nothing to do but wait.
    Waiting {
        /// Batches in flight.
        in_flight: u32,
        /// Batches over.
        ended: u32,
        /// Batches of the run.
        of: u32,
        /// Since the oldest batch in flight was accepted.
        elapsed: Duration,
        /// Until the next look.
        next: Duration,
    },
    /// A batch is over.
    Ended {
        /// The batch, from 1.
        batch: u32,
        /// Its requests by what became of them.
        counts: Counts,
    },
    /// A batch's results are saved.
    Collected {
        /// The batch, from 1.
        batch: u32,
        /// Batches saved so far.
        done: u32,
        /// Batches of the run.
        of: u32,
    },
    /// Rows are being written to the output.
    Exporting {
        /// Rows done.
        rows: u64,
        /// Rows of the run.
        of: u64,
    },
    /// Something a person should know, and need not act on.
    Note(&'a str),
}

/// Hears what a step tells.
pub trait Listener: Sync {
    /// Called from the working threads, often; must be quick.
    fn hear(&self, progress: Progress<'_>);

    /// Whether a person wants to stop. Steps that neither send nor wait look at it between two stretches of rows.
    fn is_leaving(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn hear(&self, _: Progress<'_>) {}
}
