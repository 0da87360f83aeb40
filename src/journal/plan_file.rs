//! The plan: what will be sent, and everything that must not change under it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Checkpoint, Error, FORMAT, cannot};
use crate::batch::{Limits, SpooledBatch};
use crate::cost::Money;
use crate::durable;
use crate::estimate::CacheDecision;
use crate::estimate::Estimate;
use crate::outcome::answer::AnswerPlan;
use crate::provider::DEFAULT_PROVIDER;
use crate::request::custom_id::Nonce;

/// A run as it was planned. Written once; `head.bin` and the spool belong to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the run directory.
    pub format: u32,
    /// Version of the program that planned it.
    pub tool: String,
    /// When it was planned.
    pub created_at: Timestamp,
    /// The run's id, which is also the name of its folder.
    pub run: String,
    /// The run's mark in every custom_id.
    pub nonce: Nonce,
    /// Whether the provider is the simulator, in this process or beside it: then nothing in the run
    /// is a real answer.
    pub simulated: bool,
    /// The job's name.
    pub job_name: String,
    /// The job as it was resolved.
    pub job: serde_json::Value,
    /// The job file.
    pub job_path: PathBuf,
    /// blake3 of the job file, in hex.
    pub job_hash: String,
    /// The templates and other files that make the requests.
    pub templates: Vec<HashedFile>,
    /// The source's files.
    pub sources: Vec<SourceFile>,
    /// The source's schema, in words.
    pub source_schema: String,
    /// How answers become columns.
    #[serde(default)]
    pub answer: AnswerPlan,
    /// The name of the provider, and so of the format that its batches and results are in. Not
    /// written for the default one, so that versions which know no other read the plan as before.
    #[serde(
        default = "default_provider",
        skip_serializing_if = "is_default_provider"
    )]
    pub provider: String,
    /// Where the batches go: the provider's base URL.
    pub origin: String,
    /// What all requests have in common.
    pub head: HeadFile,
    /// The batches, numbered from 1 without gaps.
    #[serde(rename = "pieces")]
    pub batches: Vec<SpooledBatch>,
    /// The batches that must be back before those after them are sent, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "gates")]
    pub checkpoints: Vec<Checkpoint>,
    /// Whether one request goes first and writes the cache, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheDecision>,
    /// Rows and requests in all.
    pub counts: PlanCounts,
    /// What one batch may hold.
    pub limits: Limits,
    /// The output that the job names. A trial is written beside it.
    pub output: PathBuf,
    /// Whether the rows to take were set on the command line: then it is a trial, whatever comes of
    /// it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub narrowed: bool,
    /// What it was expected to cost, and the date of the prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Most that the run may cost, as set on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// The state directory that the run belongs to, which a plan that is kept elsewhere does not
    /// lie in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// What is taken from the outputs of earlier runs; only the engine reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<serde_json::Value>,
    /// Where the run was planned; set when the plan is written.
    #[serde(default)]
    pub home: PathBuf,
}

fn default_provider() -> String {
    DEFAULT_PROVIDER.to_owned()
}

fn is_default_provider(name: &str) -> bool {
    name == DEFAULT_PROVIDER
}

/// A file that went into the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// The file.
    pub path: PathBuf,
    /// blake3 of it, in hex.
    pub hash: String,
}

/// A file of the source, as it was when the run was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last modified, where the store reports it.
    pub modified: Option<Timestamp>,
}

/// What requests have in common, in a file of its own: it may be large, and need not be text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadFile {
    /// The file, relative to the run directory.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// blake3 of it, in hex.
    pub hash: String,
}

/// Rows and requests of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCounts {
    /// Rows of the run, sent or not.
    pub rows: u64,
    /// Rows that are sent.
    pub requests: u64,
    /// Rows that are not sent, by the reason's word.
    pub unsent: BTreeMap<String, u64>,
    /// Rows of the source that are not in the run.
    pub filtered: u64,
}

/// The part that determines whether the rest can be read.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl HeadFile {
    /// The head of the planned batches (`None`), or one that an added batch has for itself.
    #[must_use]
    pub fn describe(batch: Option<u32>, bytes: &[u8]) -> HeadFile {
        let file = batch.map_or_else(
            || "head.bin".to_owned(),
            |batch| format!("head.{batch:05}.bin"),
        );
        HeadFile {
            file,
            bytes: bytes.len() as u64,
            hash: blake3::hash(bytes).to_hex().to_string(),
        }
    }
}

impl Plan {
    /// The origin of a run whose batches go to the simulator in the process itself, and so to no
    /// URL.
    pub const IN_PROCESS: &str = "the built-in simulator";

    /// Whether the batches go to the simulator in the process itself.
    #[must_use]
    pub fn is_in_process(&self) -> bool {
        self.origin == Plan::IN_PROCESS
    }

    /// Rows of the run.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.counts.rows
    }

    pub(super) fn read(path: &Path) -> Result<Plan, Error> {
        let bytes = fs::read(path).map_err(cannot("read", path))?;
        let damaged = |source| Error::Damaged {
            path: path.to_path_buf(),
            source,
        };
        let Version { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(Error::Newer {
                path: path.to_path_buf(),
                found: format,
            });
        }
        let plan: Plan = serde_json::from_slice(&bytes).map_err(damaged)?;
        plan.check(path)?;
        Ok(plan)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        self.check(path)?;
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| cannot("write", path)(io::Error::other(e)))?;
        text.push(b'\n');
        durable::write_file(path, &text).map_err(cannot("write", path))
    }

    /// Whether the batches make up the run.
    fn check(&self, path: &Path) -> Result<(), Error> {
        let contradiction = |what| {
            Err(Error::Contradiction {
                path: path.to_path_buf(),
                what,
            })
        };
        if let Some((number, batch)) = (1..)
            .zip(&self.batches)
            .find(|(number, batch)| batch.number != *number)
        {
            return contradiction(format!("batch {} stands in place {number}", batch.number));
        }
        let mut first = self.checkpoints.iter().map(|checkpoint| checkpoint.batch);
        if !self.checkpoints.is_sorted_by(|a, b| a.batch < b.batch)
            || first.any(|batch| batch == 0 || batch as usize > self.batches.len())
        {
            return contradiction(
                "a checkpoint follows a batch that is not one of the first".to_owned(),
            );
        }
        let sums = self.batches.iter().fold((0, 0), |(rows, requests), batch| {
            (rows + batch.rows, requests + u64::from(batch.requests))
        });
        if sums != (self.counts.rows, self.counts.requests) {
            let PlanCounts { rows, requests, .. } = self.counts;
            return contradiction(format!(
                "{rows} rows with {requests} requests are planned, the batches hold {} with {}",
                sums.0, sums.1
            ));
        }
        Ok(())
    }
}
