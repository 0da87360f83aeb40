//! The faults with their counts, which survive the process.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::{ApiCall, BatchFault, CallFault, RequestFault, SimFaults};
use crate::simulator::store;

/// What the batch faults add up to for one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::simulator) struct BatchDelays {
    pub(in crate::simulator) extra_seconds: f64,
    pub(in crate::simulator) hidden_seconds: f64,
    pub(in crate::simulator) unlisted_seconds: f64,
}

/// The faults with their counts.
pub(in crate::simulator) struct FaultCounter {
    faults: SimFaults,
    pub(super) seed: u64,
    pub(super) folder: PathBuf,
    pub(super) calls: Mutex<Vec<u64>>,
    pub(super) rows: Mutex<HashMap<(usize, String), Vec<u64>>>,
}

#[derive(Serialize, Deserialize)]
struct SavedCounts<T> {
    /// The faults that were counted: for others the counts start at zero.
    faults: String,
    counts: T,
}

impl FaultCounter {
    pub(in crate::simulator) fn open(
        faults: SimFaults,
        seed: u64,
        folder: &Path,
    ) -> io::Result<FaultCounter> {
        let key = key_of(&faults);
        let calls = load::<Vec<u64>>(&folder.join(CALLS), &key)?
            .unwrap_or_else(|| vec![0; faults.calls.len()]);
        let rows =
            load::<Vec<(usize, String, Vec<u64>)>>(&folder.join(ROWS), &key)?.unwrap_or_default();
        let rows = rows
            .into_iter()
            .map(|(rule, id, batches)| ((rule, id), batches))
            .collect();
        Ok(FaultCounter {
            faults,
            seed,
            folder: folder.to_owned(),
            calls: Mutex::new(calls),
            rows: Mutex::new(rows),
        })
    }

    /// Counts a call, and says what happens to it.
    pub(in crate::simulator) fn call(&self, call: ApiCall) -> io::Result<Vec<CallFault>> {
        let mut counts = self
            .calls
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut fired = Vec::new();
        let mut counted = false;
        for (fault, count) in self.faults.calls.iter().zip(counts.iter_mut()) {
            if fault.on != call && fault.on != ApiCall::Any {
                continue;
            }
            counted = true;
            *count += 1;
            let from = fault.from.unwrap_or(1);
            let in_range = *count >= from && fault.times.is_none_or(|times| *count - from < times);
            if fault.nth.contains(count) || (fault.nth.is_empty() && in_range) {
                fired.push(fault.clone());
            }
        }
        if counted {
            let saved = SavedCounts {
                faults: key_of(&self.faults),
                counts: &*counts,
            };
            store::replace(&self.folder.join(CALLS), &serde_json::to_vec(&saved)?)?;
        }
        Ok(fired)
    }

    /// What happens to the `nth` batch, counted from 1.
    pub(in crate::simulator) fn batch(&self, nth: u64) -> BatchDelays {
        let meets = |fault: &&BatchFault| fault.nth.is_empty() || fault.nth.contains(&nth);
        self.faults
            .batches
            .iter()
            .filter(meets)
            .fold(BatchDelays::default(), |delays, fault| BatchDelays {
                extra_seconds: delays.extra_seconds + fault.extra_seconds.max(0.0),
                hidden_seconds: delays.hidden_seconds.max(fault.hidden_seconds),
                unlisted_seconds: delays.unlisted_seconds.max(fault.unlisted_seconds),
            })
    }

    /// What happens to a request of the batch with this number: the first rule that meets it and
    /// has not met it too often.
    pub(in crate::simulator) fn row(&self, custom_id: &str, batch: u64) -> Option<&RequestFault> {
        self.faults
            .rows
            .iter()
            .enumerate()
            .find_map(|(rule, fault)| {
                if !fault.meets(self.seed, rule, custom_id) {
                    return None;
                }
                let times = fault.times();
                if times > 0 {
                    let mut rows = self
                        .rows
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    let met = rows.entry((rule, custom_id.to_owned())).or_default();
                    if !met.contains(&batch) {
                        if met.len() >= times as usize {
                            return None;
                        }
                        met.push(batch);
                    }
                }
                Some(fault)
            })
    }

    /// Keeps the counts of rows; called when a batch has ended.
    pub(in crate::simulator) fn save_rows(&self) -> io::Result<()> {
        if self.faults.rows.is_empty() {
            return Ok(());
        }
        let rows = self
            .rows
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let counts: Vec<_> = rows
            .iter()
            .map(|((rule, id), batches)| (rule, id, batches))
            .collect();
        let saved = SavedCounts {
            faults: key_of(&self.faults),
            counts,
        };
        store::replace(&self.folder.join(ROWS), &serde_json::to_vec(&saved)?)
    }

    pub(in crate::simulator) fn spend_cap_requests(&self) -> Option<u64> {
        self.faults.spend_cap_requests
    }
}

const CALLS: &str = "fault-calls.json";

const ROWS: &str = "fault-rows.json";

fn key_of(faults: &SimFaults) -> String {
    blake3::hash(format!("{faults:?}").as_bytes())
        .to_hex()
        .to_string()
}

fn load<T: serde::de::DeserializeOwned>(path: &Path, key: &str) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => {
            let saved: SavedCounts<T> = serde_json::from_slice(&text)?;
            Ok((saved.faults == key).then_some(saved.counts))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
