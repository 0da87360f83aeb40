//! Requests → batches on disk.
//!
//! In come rendered requests in row order; out go *pieces* of the run: one spool file each, holding a stretch of rows, the
//! requests made from them, and the source columns the output needs. A piece becomes one batch at the provider.
//!
//! Promises: row order is kept; no batch passes the [`Limits`], measured on the exact bytes sent; a row whose request fits no
//! batch is set aside by itself, with the reason; the bytes of a batch can be produced again, the same to the last one.
//!
//! ```text
//! body of a create call, put together while it is sent (`body.rs`):
//!
//!   {"requests":[ {"custom_id":"<id>","params":<head><fragment>} , ... ]}
//!                                              ^      ^
//!                       the same in every request    the row's own part, from the spool
//!                       of the run, kept once
//! ```

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a provider takes in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most requests in one batch.
    pub max_requests: u32,
    /// Most bytes in the body of one create call.
    pub max_bytes: u64,
}

/// The body of one create call: its exact length is known before, and it can be produced any number of times.
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
