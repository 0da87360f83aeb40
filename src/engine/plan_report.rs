//! What planning found, as data.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::estimate::rows::BatchStatistics;
use crate::estimate::sample::SampledRow;
use crate::estimate::sample_plan::Sampling;
use crate::estimate::{CacheDecision, Estimate};
use crate::journal::Checkpoint;
use crate::source::SourceSpec;

use super::Warning;
use super::budget_report::LimitCheck;
use super::faults::Causes;
use super::reuse::{FileUses, Incremental, RowClasses};

/// What planning found.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows that `where` and `limit` let through: the rows of the run.
    pub rows: u64,
    /// Rows that are sent.
    pub requests: u64,
    /// Rows that are not sent, by the reason's word.
    pub unsent: BTreeMap<String, u64>,
    /// Rows that are set aside because they cannot be rendered, by why.
    pub set_aside: Causes,
    /// What the user should know about the rows; none of it stops the job.
    pub warnings: Vec<Warning>,
    /// The batches, in order.
    pub batches: Vec<PlannedBatch>,
    /// Bytes of all create bodies.
    pub body_bytes: u64,
    /// Bytes that every request has in common; sent with each, kept once.
    pub shared_bytes: u64,
    /// The checkpoints: batches whose results are needed before the rest is sent.
    #[serde(rename = "gates")]
    pub checkpoints: Vec<Checkpoint>,
    /// Whether one request goes first and writes the cache, and why.
    pub cache: CacheDecision,
    /// The estimate of its cost.
    pub estimate: Estimate,
    /// The cost compared with each limit that is set.
    pub budget: Vec<LimitCheck>,
    /// What the rows are, compared with earlier outputs; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incremental: Option<Incremental>,
    /// From which earlier outputs rows take answers.
    #[serde(skip)]
    pub(crate) uses: FileUses,
    /// What the figures rest on, where only some rows were rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampling>,
    /// The sums of the requests, for another estimate of them.
    #[serde(skip)]
    pub(crate) statistics: BatchStatistics,
    /// Rows for the provider to count, where they were prefix for.
    #[serde(skip)]
    pub(crate) sample: Vec<SampledRow>,
}

impl PlanReport {
    /// Why there is no row to send, where there is none. That is no error: a night may have no new
    /// rows.
    #[must_use]
    pub fn no_requests(&self, source: &SourceSpec) -> Option<NoRequests> {
        let classes = self.incremental.as_ref().map(|found| &found.classes);
        let read = (self.rows, self.rows_read);
        NoRequests::of(self.requests, read, classes, source.limit)
    }
}

impl NoRequests {
    /// Why a plan has no request to send, if it has none: by its rows, and the rows read for it.
    pub(super) fn of(
        requests: u64,
        (rows, rows_read): (u64, u64),
        classes: Option<&RowClasses>,
        limit: Option<u64>,
    ) -> Option<NoRequests> {
        if requests > 0 {
            return None;
        }
        let answered = classes.map_or(0, |found| found.all_reused() + found.skipped);
        Some(match (limit, rows_read) {
            _ if answered > 0 => NoRequests::NothingNew { rows: answered },
            _ if rows > 0 => NoRequests::AllSetAside { rows },
            (Some(0), _) => NoRequests::LimitIsZero,
            (_, 0) => NoRequests::EmptySource,
            (_, rows) => NoRequests::NoneMatch { rows },
        })
    }
}

/// Why a run has nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoRequests {
    /// Every row is set aside.
    AllSetAside {
        /// Rows of the run.
        rows: u64,
    },
    /// Earlier outputs have the answers of the rows.
    NothingNew {
        /// Rows that they have.
        rows: u64,
    },
    /// `source.limit` is 0.
    LimitIsZero,
    /// The source has columns and no rows.
    EmptySource,
    /// `source.where` holds for none of the rows.
    NoneMatch {
        /// Rows of the source.
        rows: u64,
    },
}

/// One batch of a plan.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct PlannedBatch {
    /// Its rows, including those that are not sent.
    pub rows: u64,
    /// Requests.
    pub requests: u32,
    /// Exact bytes of the create body.
    pub body_bytes: u64,
}

/// Keys that several rows have.
#[derive(Debug)]
pub struct SharedKeys {
    /// The key columns.
    pub columns: Vec<String>,
    /// Rows whose key an earlier row has.
    pub rows: u64,
    /// Keys that more than one row has.
    pub keys: u64,
    /// The first of them: the key in words, and its first rows by `row_index`.
    pub first: Vec<(String, Vec<u64>)>,
}
