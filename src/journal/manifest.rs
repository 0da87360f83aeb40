//! A small summary of the run for other programs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    BatchStateKind, CheckpointState, Error, NextAction, RunDir, RunNote, Stage, Verdict,
    VerdictReason, cannot,
};
use crate::cost::{Bill, CacheUse, Cost, Money};
use crate::durable;
use crate::estimate::CacheReason;
use crate::estimate::compare::Comparison;
use crate::outcome::{Status, Usage};

/// What an orchestrator needs to know of a run. Nothing reads it back to decide anything: the
/// journal does that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the run directory.
    pub format: u32,
    /// The run's id.
    pub run: String,
    /// The job's name.
    pub job: String,
    /// Whether the answers come from the simulator.
    pub simulated: bool,
    /// Where the run stands.
    pub state: Stage,
    /// Rows of the run.
    pub rows: u64,
    /// Rows by status; empty until the results are joined.
    pub by_status: BTreeMap<Status, u64>,
    /// Rows that succeeded with an empty answer; `None` until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_answers: Option<u64>,
    /// Batches by where they stand.
    pub batches: BTreeMap<BatchStateKind, u64>,
    /// Tokens of all attempts.
    pub usage: Usage,
    /// What they cost in US dollars, as an exact decimal; `None` until it is known.
    pub cost_usd: Option<Money>,
    /// What is reserved for batches in flight, in US dollars; `None` until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_usd: Option<Money>,
    /// The bill, from several sides; `None` until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<BillSummary>,
    /// What was decided about the prompt cache, and what it did; `None` where nothing is cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSummary>,
    /// The checkpoints, and how they were judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "gates")]
    pub checkpoints: Vec<CheckpointSummary>,
    /// What it was expected to cost, and why it cost something else; `None` until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Comparison>,
    /// The output, once it is in its place.
    pub output: Option<PathBuf>,
    /// What to do next.
    pub next_action: NextAction,
    /// When the run was planned.
    pub created_at: Timestamp,
    /// When this summary was written.
    pub updated_at: Timestamp,
    /// What the user should know.
    pub notes: Vec<RunNote>,
}

/// A bill, from several sides. Each side adds up to the total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillSummary {
    /// The day of the prices.
    pub priced_at: Date,
    /// By kind of token.
    pub by_kind: Cost,
    /// By the model that answered.
    pub by_model: BTreeMap<String, Money>,
    /// By the status of the row.
    pub by_status: BTreeMap<Status, Money>,
    /// By batch, under the provider's id.
    pub by_batch: BTreeMap<String, Money>,
    /// By the label that the job gives its rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_tag: BTreeMap<String, Money>,
    /// Requests whose cost is unknown; they are in no sum.
    pub unknown: u64,
}

/// The prompt cache, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSummary {
    /// Whether one request was to go first.
    pub primes: bool,
    /// Why.
    pub why: CacheReason,
    /// What the cache did; `None` until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredCache>,
}

/// What the prompt cache did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredCache {
    /// Requests that were billed.
    pub requests: u64,
    /// Requests of these that read something from the cache.
    pub reading: u64,
    /// Tokens read from the cache.
    pub read_tokens: u64,
    /// Tokens written to it.
    pub written_tokens: u64,
    /// How many of these tokens were read and not written, in thousandths.
    pub read_share_thousandths: u64,
    /// What they cost less than without any mark, in US dollars; negative where they cost more.
    pub saved_usd: Money,
}

impl MeasuredCache {
    /// What a run's requests show; `None` where nothing was written or read.
    #[must_use]
    pub fn new(cache: &CacheUse) -> Option<MeasuredCache> {
        let CacheUse {
            requests,
            reading,
            read_tokens,
            written_tokens,
            saved,
        } = *cache;
        let read_share_thousandths = cache.read_share()?;
        Some(MeasuredCache {
            requests,
            reading,
            read_tokens,
            written_tokens,
            read_share_thousandths,
            saved_usd: saved,
        })
    }
}

/// A checkpoint, and how it was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSummary {
    /// The batch.
    pub batch: u32,
    /// `prime` or `canary`.
    #[serde(rename = "gate")]
    pub checkpoint: String,
    /// How it was judged.
    pub verdict: CheckpointVerdict,
    /// Why; `None` while it waits.
    #[serde(
        default,
        deserialize_with = "reason",
        skip_serializing_if = "Option::is_none"
    )]
    pub reason: Option<VerdictReason>,
}

/// Whether a checkpoint waits, and else how it was judged: one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointVerdict {
    /// Its batch is not back.
    Waiting,
    /// It was judged.
    #[serde(untagged)]
    Judged(Verdict),
}

/// Earlier versions wrote an empty reason for a checkpoint that waits.
fn reason<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<VerdictReason>, D::Error> {
    let reason = Option::<VerdictReason>::deserialize(from)?;
    Ok(reason.filter(|reason| *reason != VerdictReason::Other(String::new())))
}

impl CheckpointSummary {
    pub(crate) fn of(checkpoint: &CheckpointState) -> CheckpointSummary {
        let (verdict, reason) = match &checkpoint.verdict {
            Some((_, verdict, reason)) => {
                (CheckpointVerdict::Judged(*verdict), Some(reason.clone()))
            }
            None => (CheckpointVerdict::Waiting, None),
        };
        let checkpoint = &checkpoint.checkpoint;
        CheckpointSummary {
            batch: checkpoint.batch,
            checkpoint: checkpoint.kind.as_str().to_owned(),
            verdict,
            reason,
        }
    }
}

impl BillSummary {
    /// A bill that was worked out by the prices of a day.
    #[must_use]
    pub fn new(bill: &Bill, priced_at: Date) -> BillSummary {
        BillSummary {
            priced_at,
            by_kind: bill.total(),
            by_model: bill
                .by_model()
                .into_iter()
                .map(|(model, cost)| (model.to_owned(), cost.total()))
                .collect(),
            by_status: bill.by_status.clone(),
            by_batch: bill
                .by_batch
                .iter()
                .map(|(batch, share)| (batch.to_string(), share.total()))
                .collect(),
            by_tag: bill.by_tag.clone(),
            unknown: bill.unknown(),
        }
    }
}

impl Manifest {
    /// Replaces the run's manifest.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub fn write(&self, run: &RunDir) -> Result<(), Error> {
        let path = run.manifest();
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| cannot("write", &path)(io::Error::other(e)))?;
        text.push(b'\n');
        durable::write_file(&path, &text).map_err(cannot("write", &path))
    }

    /// Reads the run's manifest; `None` where none was written.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(run: &RunDir) -> Result<Option<Manifest>, Error> {
        let path = run.manifest();
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("read", &path)(error)),
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| Error::Damaged { path, source }),
        }
    }
}
