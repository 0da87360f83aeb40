//! Batches on disk: everything the simulator knows, so that it can be stopped and a later process
//! finds it again.
//!
//! ```text
//!  folder/
//!    lock                     held while a server runs
//!    incoming/…               a body that is still arriving; thrown away at the next start
//!    batches/<id>/meta.json   the batch object, replaced as a whole
//!                 requests.jsonl   one element of `requests` a line, until there are results
//!                 ids.txt          the accepted custom_ids, one a line; stays for the ledger
//!                 results.jsonl    the result lines, shuffled
//!    cache.json, fault-*.json  the simulated prompt cache; counts of faults
//! ```
//!
//! A batch exists from the moment its folder is renamed from `incoming` into `batches`: there is no
//! half-accepted batch. A batch has ended from the moment its `meta.json` says so, which is after
//! its results are in place; results without that are made again.
//!
//! Memory: one small record a batch. Rows stay on disk.

mod incoming;
mod record;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::incoming::IncomingBatch;
use super::reply::{ErrorReply, opaque_id};
use crate::provider::Counts;

pub(super) use record::{BatchObject, BatchRecord, later, wire_time};

/// All batches of one folder.
pub(super) struct Store {
    folder: PathBuf,
    seed: u64,
    batches: Mutex<BatchIndex>,
    lock: File,
}

#[derive(Default)]
struct BatchIndex {
    records: BTreeMap<u64, BatchRecord>,
    ordinals: HashMap<String, u64>,
}

/// Which part of the list.
#[derive(Debug, Default)]
pub(super) struct PageQuery {
    pub(super) limit: usize,
    pub(super) after_id: Option<String>,
    pub(super) before_id: Option<String>,
}

impl Store {
    /// Opens a folder and reads its batches.
    ///
    /// # Errors
    /// `WouldBlock` when another server holds the folder; else what the file system answers.
    pub(super) fn open(folder: &Path, seed: u64) -> io::Result<Store> {
        fs::create_dir_all(folder.join("batches"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        match fs::remove_dir_all(folder.join("incoming")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => fs::create_dir_all(folder.join("incoming"))?,
        }
        let mut batches = BatchIndex::default();
        for record in records(folder)? {
            if record.ended_at.is_some() {
                // A process that was killed right after a batch had ended leaves its requests
                // behind.
                remove(
                    &folder
                        .join("batches")
                        .join(&record.id)
                        .join("requests.jsonl"),
                )?;
            }
            batches.ordinals.insert(record.id.clone(), record.ordinal);
            batches.records.insert(record.ordinal, record);
        }
        Ok(Store {
            folder: folder.to_owned(),
            seed,
            batches: Mutex::new(batches),
            lock,
        })
    }

    /// Gives the folder back, even while a call still holds on to the store.
    pub(super) fn release(&self) {
        // Fails only where the lock is gone already.
        let _ = self.lock.unlock();
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn batches(&self) -> MutexGuard<'_, BatchIndex> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch_folder(&self, id: &str) -> PathBuf {
        self.folder.join("batches").join(id)
    }

    /// Begins to take in a batch.
    pub(super) fn incoming(&self) -> io::Result<IncomingBatch> {
        IncomingBatch::begin(&self.folder.join("incoming"))
    }

    /// Accepts a batch that has arrived whole. `admit` looks at the number of requests that are
    /// queued or were ever accepted and may refuse; `complete` fills in what only the server knows.
    pub(super) fn accept(
        &self,
        incoming: IncomingBatch,
        admit: impl FnOnce(QueueLoad) -> Result<(), ErrorReply>,
        complete: impl FnOnce(u64) -> NewBatch,
    ) -> Result<BatchRecord, ErrorReply> {
        let (folder, arrived) = incoming.finish()?;
        let mut batches = self.batches();
        admit(batches.load())?;
        let ordinal = batches
            .records
            .last_key_value()
            .map_or(0, |(last, _)| *last)
            + 1;
        let new = complete(ordinal);
        let record = BatchRecord {
            id: opaque_id(
                "msgbatch_",
                &[&self.seed.to_le_bytes(), &ordinal.to_le_bytes()],
            ),
            ordinal,
            created_at: new.created_at,
            requests: arrived.requests,
            bytes: arrived.bytes,
            ids_blake3: arrived.ids_blake3,
            body_blake3: arrived.body_blake3,
            version: new.version,
            betas: new.betas,
            processing: new.processing,
            hidden_until: new.hidden_until,
            unlisted_until: new.unlisted_until,
            cancel_initiated_at: None,
            canceling: new.canceling,
            ended_at: None,
            counts: Counts::default(),
            deleted_at: None,
        };
        replace(
            &folder.path().join("meta.json"),
            &serde_json::to_vec_pretty(&record).map_err(io::Error::from)?,
        )?;
        // The rename is the acceptance; the temporary folder has nothing left to throw away after
        // it.
        fs::rename(folder.path(), self.batch_folder(&record.id))?;
        batches.ordinals.insert(record.id.clone(), ordinal);
        batches.records.insert(ordinal, record.clone());
        Ok(record)
    }

    /// A batch that can be seen.
    pub(super) fn get(&self, id: &str, now: Timestamp) -> Result<BatchRecord, ErrorReply> {
        self.batches()
            .find(id, now)
            .cloned()
            .ok_or_else(|| no_such(id))
    }

    /// One page, newest first, and whether there is more behind it.
    pub(super) fn page(
        &self,
        page: &PageQuery,
        now: Timestamp,
    ) -> Result<(Vec<BatchRecord>, bool), ErrorReply> {
        let batches = self.batches();
        let cursor = |id: &Option<String>, name: &str| match id {
            None => Ok(None),
            Some(id) => match batches.ordinals.get(id) {
                Some(ordinal) => Ok(Some(*ordinal)),
                None => Err(ErrorReply::invalid(format!(
                    "{name}: no batch with this id"
                ))),
            },
        };
        let listed = |record: &BatchRecord| record.unlisted_until.is_none_or(|until| until <= now);
        let visible = |record: &&BatchRecord| batches.is_visible(record, now) && listed(record);
        let (after, before) = (
            cursor(&page.after_id, "after_id")?,
            cursor(&page.before_id, "before_id")?,
        );
        let mut found: Vec<BatchRecord> = match before {
            // The page right before an entry of a list that runs from new to old: the next newer
            // ones.
            Some(before) => batches
                .records
                .range(before + 1..)
                .map(|(_, r)| r)
                .filter(visible)
                .take(page.limit + 1)
                .cloned()
                .collect(),
            None => {
                let older = batches.records.range(..after.unwrap_or(u64::MAX));
                older
                    .rev()
                    .map(|(_, r)| r)
                    .filter(visible)
                    .take(page.limit + 1)
                    .cloned()
                    .collect()
            }
        };
        let has_more = found.len() > page.limit;
        found.truncate(page.limit);
        if before.is_some() {
            found.reverse();
        }
        Ok((found, has_more))
    }

    /// Changes a record, on disk first.
    fn change(
        &self,
        batches: &mut BatchIndex,
        mut record: BatchRecord,
        change: impl FnOnce(&mut BatchRecord),
    ) -> Result<BatchRecord, ErrorReply> {
        change(&mut record);
        let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from)?;
        replace(&self.batch_folder(&record.id).join("meta.json"), &text)?;
        batches.records.insert(record.ordinal, record.clone());
        Ok(record)
    }

    pub(super) fn cancel(&self, id: &str, now: Timestamp) -> Result<BatchRecord, ErrorReply> {
        let mut batches = self.batches();
        let record = batches.find(id, now).cloned().ok_or_else(|| no_such(id))?;
        if record.ended_at.is_some() {
            return Err(ErrorReply::not_found(format!(
                "Batch {id} has already ended and cannot be canceled"
            )));
        }
        if record.cancel_initiated_at.is_some() {
            return Ok(record);
        }
        self.change(&mut batches, record, |record| {
            record.cancel_initiated_at = Some(now)
        })
    }

    pub(super) fn delete(&self, id: &str, now: Timestamp) -> Result<(), ErrorReply> {
        let mut batches = self.batches();
        let record = batches.find(id, now).cloned().ok_or_else(|| no_such(id))?;
        if record.ended_at.is_none() {
            return Err(ErrorReply::invalid(format!(
                "Batch {id} is still in progress; cancel it before deleting it"
            )));
        }
        self.change(&mut batches, record, |record| record.deleted_at = Some(now))?;
        remove(&self.results_path(id))?;
        Ok(())
    }

    /// Where the results of a batch are, once it has ended.
    pub(super) fn results_path(&self, id: &str) -> PathBuf {
        self.batch_folder(id).join("results.jsonl")
    }

    pub(super) fn requests_path(&self, id: &str) -> PathBuf {
        self.batch_folder(id).join("requests.jsonl")
    }

    /// The batch whose processing was over first, of those that have not ended.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<BatchRecord> {
        let batches = self.batches();
        let due = batches
            .records
            .values()
            .filter(|r| r.ended_at.is_none() && r.due() <= now);
        due.min_by_key(|r| (r.due(), r.ordinal)).cloned()
    }

    /// Marks a batch as ended, its results being in place, and throws its requests away.
    pub(super) fn end(
        &self,
        ordinal: u64,
        counts: Counts,
        ended_at: Timestamp,
    ) -> Result<(), ErrorReply> {
        let mut batches = self.batches();
        // Read again: it may have been canceled while its results were written.
        let Some(record) = batches.records.get(&ordinal).cloned() else {
            return Ok(());
        };
        let record = self.change(&mut batches, record, |record| {
            record.counts = counts;
            record.ended_at = Some(ended_at);
        })?;
        drop(batches);
        remove(&self.requests_path(&record.id))?;
        Ok(())
    }
}

/// What the server adds to a batch that has arrived.
pub(super) struct NewBatch {
    pub(super) created_at: Timestamp,
    pub(super) version: String,
    pub(super) betas: Vec<String>,
    pub(super) processing: Duration,
    pub(super) canceling: Duration,
    pub(super) hidden_until: Option<Timestamp>,
    pub(super) unlisted_until: Option<Timestamp>,
}

/// Requests of all batches.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLoad {
    pub(super) queued: u64,
    pub(super) ever: u64,
}

impl BatchIndex {
    fn load(&self) -> QueueLoad {
        let queued = self
            .records
            .values()
            .filter(|r| r.ended_at.is_none())
            .map(|r| r.requests)
            .sum();
        QueueLoad {
            queued,
            ever: self.records.values().map(|r| r.requests).sum(),
        }
    }

    fn is_visible(&self, record: &BatchRecord, now: Timestamp) -> bool {
        record.deleted_at.is_none() && record.hidden_until.is_none_or(|until| until <= now)
    }

    fn find(&self, id: &str, now: Timestamp) -> Option<&BatchRecord> {
        let record = self.records.get(self.ordinals.get(id)?)?;
        self.is_visible(record, now).then_some(record)
    }
}

fn no_such(id: &str) -> ErrorReply {
    let short: String = id.chars().take(80).collect();
    ErrorReply::not_found(format!("Message batch {short} was not found"))
}

/// All records of a folder, in no order.
pub(super) fn records(folder: &Path) -> io::Result<Vec<BatchRecord>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder.join("batches"))? {
        let text = fs::read(entry?.path().join("meta.json"))?;
        records.push(serde_json::from_slice(&text)?);
    }
    Ok(records)
}

/// Removes batches from a folder, and returns the bytes freed. The newest batch stays, since the
/// numbers of batches, and so their ids, are counted from it.
///
/// # Errors
/// `WouldBlock` when a server holds the folder; else what the file system answers.
pub(super) fn forget(folder: &Path, ids: &HashSet<&str>) -> io::Result<u64> {
    if ids.is_empty() || !folder.join("batches").is_dir() {
        return Ok(0);
    }
    let lock = File::options().write(true).open(folder.join("lock"))?;
    lock.try_lock().map_err(io::Error::from)?;
    let mut records = records(folder)?;
    records.sort_by_key(|record| record.ordinal);
    records.pop();
    let mut freed = 0;
    for record in records.iter().filter(|r| ids.contains(r.id.as_str())) {
        let batch = folder.join("batches").join(&record.id);
        freed += crate::durable::size_of_dir(&batch)?;
        // Deleted where the next start throws everything away: a batch is there as a whole or not
        // at all.
        let leaving = folder.join("incoming").join(&record.id);
        fs::create_dir_all(folder.join("incoming"))?;
        fs::rename(&batch, &leaving)?;
        fs::remove_dir_all(&leaving)?;
    }
    Ok(freed)
}

/// The accepted custom_ids of a batch, in the order they were sent.
pub(super) fn custom_ids(folder: &Path, id: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(folder.join("batches").join(id).join("ids.txt"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// A hash of a set of custom_ids, whatever their order.
pub(super) fn fingerprint(mut ids: Vec<String>) -> String {
    ids.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for id in &ids {
        hasher.update(id.as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// Replaces a small file as a whole. A power failure may lose it, a killed process cannot: more
/// than that is not asked of a simulator.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
