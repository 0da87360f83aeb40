//! A batch whose body is still arriving.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::fingerprint;
use crate::simulator::envelope::BatchElement;

/// A batch that is being received. Dropped before [`Store::accept`], it leaves nothing behind.
pub(in crate::simulator) struct IncomingBatch {
    pub(super) folder: tempfile::TempDir,
    pub(in crate::simulator) requests: BufWriter<File>,
    pub(super) ids: BufWriter<File>,
    hasher: blake3::Hasher,
    arrived: BodySummary,
}

/// What is known of a body once it is there.
#[derive(Debug, Clone, Default)]
pub(super) struct BodySummary {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) ids_blake3: String,
    pub(super) body_blake3: String,
}

impl IncomingBatch {
    pub(super) fn begin(parent: &Path) -> io::Result<IncomingBatch> {
        let folder = tempfile::tempdir_in(parent)?;
        let open = |name: &str| {
            File::create_new(folder.path().join(name))
                .map(|file| BufWriter::with_capacity(1 << 18, file))
        };
        let (requests, ids) = (open("requests.jsonl")?, open("ids.txt")?);
        Ok(IncomingBatch {
            folder,
            requests,
            ids,
            hasher: blake3::Hasher::new(),
            arrived: BodySummary::default(),
        })
    }

    /// Requests so far.
    pub(in crate::simulator) fn requests(&self) -> u64 {
        self.arrived.requests
    }

    /// Counts bytes of the body.
    pub(in crate::simulator) fn body(&mut self, piece: &[u8]) {
        self.arrived.bytes += piece.len() as u64;
        self.hasher.update(piece);
    }

    /// Keeps one element of the body.
    pub(in crate::simulator) fn push(
        &mut self,
        bytes: &[u8],
        element: &BatchElement<'_>,
    ) -> io::Result<()> {
        // Outside of strings a line feed is only space, and inside of them JSON has none: so a
        // space does as well.
        for line in bytes.split(|b| matches!(b, b'\n' | b'\r')) {
            self.requests.write_all(line)?;
            self.requests.write_all(b" ")?;
        }
        self.requests.write_all(b"\n")?;
        self.ids.write_all(element.custom_id.as_bytes())?;
        self.ids.write_all(b"\n")?;
        self.arrived.requests += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<(tempfile::TempDir, BodySummary)> {
        self.requests.flush()?;
        self.ids.flush()?;
        let ids = fs::read_to_string(self.folder.path().join("ids.txt"))?;
        self.arrived.ids_blake3 = fingerprint(ids.lines().map(str::to_owned).collect());
        self.arrived.body_blake3 = self.hasher.finalize().to_hex().to_string();
        Ok((self.folder, self.arrived))
    }
}
