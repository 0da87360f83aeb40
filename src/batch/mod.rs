//! Requests → batches on disk.
//!
//! In come rendered requests in row order; out go *planned batches*, one spool file each: with
//! consecutive rows, the requests rendered from them, and the source columns that the output needs.
//! Each becomes one batch at the provider.
//!
//! **Promises.** Row order is kept. No batch exceeds the [`Limits`], measured on the exact bytes
//! sent. A row whose request fits into no batch is recorded as unsent, with the reason. The body of
//! a batch can be produced again, byte for byte.
//!
//! ```text
//! body of a create call, put together while it is sent (`body.rs`):
//!
//!   <prefix> <before_id><id><after_id><head><fragment><after_params> <separator> ... <suffix>
//!                                     ^     ^
//!              the same in every request    the row's own part, from the spool
//!              of the run, kept once
//! ```
//!
//! [`Packer`] decides where a batch ends, [`SpoolWriter`] writes a spool file, [`SpoolReader`]
//! reads it, [`body`] assembles the bytes of a create call. The bytes around the requests are an
//! [`Envelope`], which comes from the provider's format.

mod batch_sizes;
pub mod body;
mod cell_bytes;
mod envelope;
mod packed_columns;
mod packer;
mod reader;
mod rows;
mod spool;

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

pub use batch_sizes::near_equal;
pub use body::SpooledBody;
pub use envelope::{BatchRules, Envelope};
pub use packer::{Packer, Placement};
pub use reader::{SpoolReader, estimates, no_request_reasons, sent_ids, verify};
pub use rows::{SpoolRows, SpoolRowsBuilder};
pub use spool::{SpoolWriter, SpooledBatch, summary_of};

/// The limits of one batch at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most requests in one batch.
    pub max_requests: u32,
    /// Most bytes in the body of one create call.
    pub max_bytes: u64,
}

/// The body of one create call: its exact length is known in advance, and it can be produced any
/// number of times.
pub trait BatchBody: Send + Sync {
    /// Requests in the body.
    fn requests(&self) -> u32;
    /// Exact length in bytes.
    fn bytes(&self) -> u64;
    /// The bytes in chunks of about 256 KiB; every call starts from the beginning.
    ///
    /// # Errors
    /// When the spool cannot be opened; the iterator yields what goes wrong while reading.
    fn chunks(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<Bytes>> + Send>>;
}

/// An error while a spool file is written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {doing} the spool file `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `write` or `read`.
        doing: &'static str,
        /// What it answered.
        source: io::Error,
    },
    /// The file cannot be encoded or decoded.
    #[error("cannot {doing} the spool file `{}`", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// `write` or `read`.
        doing: &'static str,
        /// What the codec says.
        source: ParquetError,
    },
    /// A column of the source cannot be written or read.
    #[error("cannot {doing} a source column in the spool file `{}`", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// `write` or `read`.
        doing: &'static str,
        /// What the codec says.
        source: ArrowError,
    },
    /// The file does not exist.
    #[error("the spool file `{}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is not the one that was planned.
    #[error("the spool file `{}` was altered after it was planned", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// Not a spool file, or one of another format version.
    #[error("`{}` is not a spool file this version can read: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A row that is out of order or incomplete.
    #[error("row {} cannot be written to the spool file `{}`: {what}", row_index + 1, path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row in the run, counted from 0.
        row_index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Rows whose columns differ in length or schema.
    #[error("rows cannot be written to the spool file `{}`: {what}", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests;
