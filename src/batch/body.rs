//! The body of a create call, put together from the spool while it is sent.
//!
//! The bytes are the same on every walk and at every try, so a body can be compared with the hash
//! in the plan. Memory: one row group of the spool file (about 16 MiB) and one chunk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, StringArray};
use bytes::Bytes;

use super::envelope::Envelope;
use super::reader::RowGroups;
use super::rows::{CUSTOM_ID, FRAGMENT};
use super::spool::SpooledBatch;
use super::{BatchBody, Error};

/// Size of a chunk: large enough that TLS and the socket are busy, small enough that no reader
/// waits for it.
const CHUNK_BYTES: usize = 256 * 1024;

/// Puts a body together, request by request.
#[derive(Debug, Clone)]
pub(super) struct Assembler {
    envelope: Envelope,
    head: Arc<[u8]>,
    requests: u32,
}

impl Assembler {
    pub(super) fn new(envelope: Envelope, head: Arc<[u8]>) -> Assembler {
        Assembler {
            envelope,
            head,
            requests: 0,
        }
    }

    pub(super) fn push(&mut self, custom_id: &str, fragment: &[u8], out: &mut Vec<u8>) {
        self.envelope
            .push(self.requests, custom_id, &self.head, fragment, out);
        self.requests += 1;
    }

    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.envelope.close(self.requests, out);
    }
}

/// The body of a batch's create call.
///
/// **Errors** while reading: when the file is missing or cannot be decoded, or does not hold what
/// the plan announced.
#[derive(Debug, Clone)]
pub struct SpooledBody {
    path: PathBuf,
    envelope: Envelope,
    head: Arc<[u8]>,
    requests: u32,
    bytes: u64,
}

impl SpooledBody {
    /// The body of the batch in the file `path`, with the envelope and the head it was planned
    /// with.
    #[must_use]
    pub fn new(
        path: &Path,
        envelope: Envelope,
        head: Arc<[u8]>,
        batch: &SpooledBatch,
    ) -> SpooledBody {
        SpooledBody {
            path: path.to_path_buf(),
            envelope,
            head,
            requests: batch.requests,
            bytes: batch.body_bytes,
        }
    }
}

impl BatchBody for SpooledBody {
    fn requests(&self) -> u32 {
        self.requests
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn chunks(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<Bytes>> + Send>> {
        let columns = [CUSTOM_ID, FRAGMENT];
        let groups = RowGroups::open(&self.path, Some(&columns)).map_err(io::Error::other)?;
        Ok(Box::new(Chunks {
            path: self.path.clone(),
            groups: Some(groups),
            group: None,
            assembler: Assembler::new(self.envelope, Arc::clone(&self.head)),
            buffer: Vec::new(),
            requests: self.requests,
            bytes_left: self.bytes,
        }))
    }
}

/// A walk over the spool.
struct Chunks {
    path: PathBuf,
    /// What is still on disk; `None` when the end is reached.
    groups: Option<RowGroups>,
    /// The requests read, and the next of them.
    group: Option<(StringArray, BinaryArray, usize)>,
    assembler: Assembler,
    buffer: Vec<u8>,
    requests: u32,
    bytes_left: u64,
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self.fill().and_then(|()| self.take()) {
            Ok(chunk) => (!chunk.is_empty()).then_some(Ok(chunk)),
            Err(error) => {
                self.groups = None;
                self.group = None;
                self.buffer.clear();
                self.bytes_left = 0;
                Some(Err(io::Error::other(error)))
            }
        }
    }
}

impl Chunks {
    /// Puts requests together until there is a chunk of them, or the end.
    fn fill(&mut self) -> Result<(), Error> {
        if self.groups.is_some() && self.buffer.capacity() < CHUNK_BYTES {
            self.buffer.reserve(CHUNK_BYTES + CHUNK_BYTES / 4);
        }
        while self.buffer.len() < CHUNK_BYTES {
            let Some((ids, fragments, next)) = &mut self.group else {
                if !self.read_group()? {
                    return Ok(());
                }
                continue;
            };
            if *next == ids.len() {
                self.group = None;
                continue;
            }
            if fragments.is_valid(*next) {
                self.assembler
                    .push(ids.value(*next), fragments.value(*next), &mut self.buffer);
            }
            *next += 1;
        }
        Ok(())
    }

    /// Reads the next row group; at the end, closes the body and answers `false`.
    fn read_group(&mut self) -> Result<bool, Error> {
        let Some(groups) = &mut self.groups else {
            return Ok(false);
        };
        if let Some(batch) = groups.next().transpose()? {
            self.group = Some((
                batch.column(0).as_string().clone(),
                batch.column(1).as_binary().clone(),
                0,
            ));
            return Ok(true);
        }
        self.groups = None;
        self.assembler.close(&mut self.buffer);
        if self.assembler.requests != self.requests || self.buffer.len() as u64 != self.bytes_left {
            return Err(Error::Altered {
                path: self.path.clone(),
            });
        }
        Ok(false)
    }

    /// Hands the buffer out, but never more bytes than were announced.
    fn take(&mut self) -> Result<Bytes, Error> {
        let chunk = std::mem::take(&mut self.buffer);
        self.bytes_left = self
            .bytes_left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| Error::Altered {
                path: self.path.clone(),
            })?;
        Ok(Bytes::from(chunk))
    }
}
