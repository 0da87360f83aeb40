//! What the simulator accepted: the proof that every row was sent exactly once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::store;

/// All batches that were ever accepted in one folder, in the order of their creation, deleted ones
/// included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimLedger {
    /// The batches.
    pub batches: Vec<AcceptedBatch>,
}

/// One accepted batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedBatch {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// Its requests.
    pub requests: u64,
    /// Bytes of the body of the create call.
    pub bytes: u64,
    /// Hash of the set of its custom_ids: see [`SimLedger::fingerprint`].
    pub ids_blake3: String,
    /// Hash of the body of the create call.
    pub body_blake3: String,
    /// Whether it has been deleted since.
    pub deleted: bool,
}

impl SimLedger {
    /// Reads the ledger of a folder, whether or not a server is running on it.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn read(folder: &Path) -> io::Result<SimLedger> {
        let mut records = store::records(folder)?;
        records.sort_by_key(|record| record.ordinal);
        let accepted = |record: store::BatchRecord| AcceptedBatch {
            id: record.id,
            at: record.created_at,
            requests: record.requests,
            bytes: record.bytes,
            ids_blake3: record.ids_blake3,
            body_blake3: record.body_blake3,
            deleted: record.deleted_at.is_some(),
        };
        Ok(SimLedger {
            batches: records.into_iter().map(accepted).collect(),
        })
    }

    /// The custom_ids of one batch, in the order they were sent.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn custom_ids(folder: &Path, batch: &str) -> io::Result<Vec<String>> {
        store::custom_ids(folder, batch)
    }

    /// How many times each custom_id was accepted, over all batches. Holds all of them in memory.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn request_counts(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for batch in SimLedger::read(folder)?.batches {
            for id in SimLedger::custom_ids(folder, &batch.id)? {
                *counts.entry(id).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// The hash of a set of custom_ids: blake3 over the sorted ids, each with a line feed after it,
    /// in hex.
    #[must_use]
    pub fn fingerprint(ids: impl IntoIterator<Item = String>) -> String {
        store::fingerprint(ids.into_iter().collect())
    }
}
