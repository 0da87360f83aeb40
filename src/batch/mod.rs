//! Requests → batches on disk.
//!
//! In come rendered requests in row order; out go *pieces* of the run: one spool file each, holding
//! a stretch of rows, the requests made from them, and the source columns the output needs. A piece
//! becomes one batch at the provider.
//!
//! Promises: row order is kept; no batch passes the [`Limits`], measured on the exact bytes sent; a
//! row whose request fits no batch is set aside by itself, with the reason; the bytes of a batch
//! can be produced again, the same to the last one.
//!
//! ```text
//! body of a create call, put together while it is sent (`body.rs`):
//!
//!   {"requests":[ {"custom_id":"<id>","params":<head><fragment>} , ... ]}
//!                                              ^      ^
//!                       the same in every request    the row's own part, from the spool
//!                       of the run, kept once
//! ```
//!
//! [`pack`] says where a batch ends, [`spool`] writes a piece, [`reader`] reads it, [`body`] puts
//! the bytes of a create call together. A provider with another envelope gets its own constants in
//! `body.rs`; nothing else knows them.

pub mod body;
mod cells;
pub mod pack;
pub mod reader;
pub mod rows;
pub mod spool;

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

pub use body::SpooledBody;
pub use pack::{Packer, Placement};
pub use reader::{SpoolReader, estimates, sent_ids, verify};
pub use rows::{SpoolRows, SpoolRowsBuilder};
pub use spool::{SpoolWriter, SpooledBatch, summary_of};

/// What a provider takes in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most requests in one batch.
    pub max_requests: u32,
    /// Most bytes in the body of one create call.
    pub max_bytes: u64,
}

/// The body of one create call: its exact length is known before, and it can be produced any number
/// of times.
pub trait BatchBody: Send + Sync {
    /// Requests in the body.
    fn requests(&self) -> u32;
    /// Exact length in bytes.
    fn bytes(&self) -> u64;
    /// The bytes, in pieces of about 256 KiB, from the start; every call begins anew.
    ///
    /// # Errors
    /// When the spool cannot be opened; the iterator yields what goes wrong while reading.
    fn chunks(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<Bytes>> + Send>>;
}

/// Why a piece cannot be written or read.
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
    /// A column of the source cannot be carried.
    #[error("cannot {doing} a source column in the spool file `{}`", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// `write` or `read`.
        doing: &'static str,
        /// What the codec says.
        source: ArrowError,
    },
    /// The file is gone.
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
    /// Not a spool file, or one of a newer version.
    #[error("`{}` is not a spool file this version can read: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Rows were handed in that do not belong together.
    #[error("row {} cannot be written to the spool file `{}`: {what}", row_index + 1, path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row in the run, counted from 0.
        row_index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A stretch of rows whose parts differ in length or schema.
    #[error("rows cannot be written to the spool file `{}`: {what}", path.display())]
    Stretch {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests;
