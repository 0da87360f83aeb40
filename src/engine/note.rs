//! What the user should know about a run, and need not act on, as data.

use std::time::Duration;

use serde::Serialize;

use crate::cost::Money;
use crate::join::LineCounts;
use crate::journal::{CheckpointKind, LossReason, RunNote, Unproven, Verdict, VerdictReason};
use crate::provider::{ApiError, BatchId};

use super::serialize::{api_error, maybe_api_error, maybe_seconds, seconds};

/// Something the user should know about a run: what was found, decided or could not be fetched.
///
/// It serializes as one JSON object with its kind in `note`; durations are seconds.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepNote {
    /// Opening the run's files showed something unusual.
    RunFiles {
        /// What.
        found: RunNote,
    },
    /// Sending failed; batches that have ended are fetched before the command stops.
    SendingStopped,
    /// A batch goes first, and the others wait for it.
    CheckpointWaits {
        /// The batch, from 1.
        batch: u32,
        /// Why it goes first.
        kind: CheckpointKind,
        /// How long ago it was accepted; `None` where it is not sent yet.
        #[serde(rename = "sent_ago_seconds", serialize_with = "maybe_seconds")]
        sent_ago: Option<Duration>,
        /// How long after that the others follow without it. A canary has no such limit.
        #[serde(rename = "limit_seconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// A checkpoint was decided, and the rest of the run follows.
    CheckpointDecided {
        /// The batch that went first, from 1.
        batch: u32,
        /// Why it went first.
        kind: CheckpointKind,
        /// The decision.
        verdict: Verdict,
        /// What it is based on.
        reason: VerdictReason,
    },
    /// It is not known whether a batch was created; it is looked for.
    Uncertain {
        /// The batch, from 1.
        batch: u32,
        /// Why it is not known.
        cause: UncertainCause,
        /// For how long it is looked for at most.
        #[serde(rename = "settle_seconds", serialize_with = "seconds")]
        settle: Duration,
    },
    /// A batch at the provider may be one of the run whose create call had no certain result.
    PossibleMatch {
        /// The batch of the run, from 1.
        batch: u32,
        /// The batch at the provider.
        id: BatchId,
        /// Why that is not known.
        why: Unproven,
    },
    /// A batch of the run whose create call had no certain result was found at the provider.
    Found {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
    },
    /// A batch is sent again, since it does not exist or the user decided so.
    SentAgain {
        /// The batch, from 1.
        batch: u32,
        /// Whether the user decided it, so that it may exist, and be paid twice.
        by_person: bool,
    },
    /// A batch at the provider may be one of the run that its journal does not have.
    PossiblyUnrecorded {
        /// The batch of the run, from 1.
        batch: u32,
        /// The batch at the provider.
        id: BatchId,
        /// Why that is not known.
        why: Unproven,
    },
    /// A batch at the provider is one of the run, although the journal does not have it.
    FoundUnrecorded {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
    },
    /// A batch is not at the provider, but its saved results are complete, and are used.
    SavedResultsUsed {
        /// The batch, from 1.
        batch: u32,
    },
    /// The provider refused a batch for now.
    NotAccepted {
        /// The batch, from 1.
        batch: u32,
        /// Its answer.
        #[serde(serialize_with = "api_error")]
        error: ApiError,
        /// Until the next attempt.
        #[serde(rename = "after_seconds", serialize_with = "seconds")]
        after: Duration,
    },
    /// The worst case of a batch is more than the budget has left: its first requests are sent, and
    /// the rest once they are billed.
    SplitForBudget {
        /// The batch, from 1.
        batch: u32,
        /// Requests that are sent now.
        requests: u32,
        /// Requests of the batch.
        of: u32,
        /// The most that the batch can cost.
        #[serde(rename = "worst_case_usd")]
        worst_case: Money,
        /// What is left of the budget.
        #[serde(rename = "left_usd")]
        left: Money,
        /// The batches that its requests are in now: those that are sent, and the rest.
        into: Vec<u32>,
    },
    /// A batch is too large for the provider; its requests are sent in smaller ones.
    SplitUp {
        /// The batch, from 1.
        batch: u32,
        /// The provider's answer.
        #[serde(serialize_with = "api_error")]
        error: ApiError,
        /// The batches that replace it.
        into: Vec<u32>,
    },
    /// The provider does not find a batch that it accepted, or its results, for now.
    NotFound {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
        /// Whether its results are not found, and not the batch.
        results: bool,
    },
    /// The provider still has results that are incomplete on this disk: they are fetched again.
    ResultsStillThere {
        /// The batch, from 1.
        batch: u32,
    },
    /// Results cannot be fetched for now; the other batches continue.
    ResultsRefused {
        /// The batch, from 1.
        batch: u32,
        /// Why.
        #[serde(serialize_with = "api_error")]
        error: ApiError,
    },
    /// No more results of a batch could be fetched in this process.
    ResultsIncomplete {
        /// The batch, from 1.
        batch: u32,
    },
    /// A download of results ended early; it is made again.
    DownloadShort {
        /// The batch, from 1.
        batch: u32,
        /// Why the download broke off; `None` where it ended by itself.
        #[serde(serialize_with = "maybe_api_error")]
        error: Option<ApiError>,
        /// Complete lines of this download.
        lines: u64,
        /// Lines there should be.
        expected: u64,
        /// Lines of all downloads so far.
        saved_lines: u64,
        /// Whether the next downloads come less often.
        is_slower: bool,
    },
    /// Saved results have lines that are missing, repeated, of other requests or unreadable.
    ResultsIrregular {
        /// The batch, from 1.
        batch: u32,
        /// The lines by kind.
        lines: LineCounts,
    },
    /// Results of a batch are lost.
    ResultsLost {
        /// The batch, from 1.
        batch: u32,
        /// Why.
        reason: LossReason,
        /// Rows without a result; `None` where that is all of them.
        rows: Option<u64>,
    },
}

/// Why it is not known whether a batch was created.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum UncertainCause {
    /// The process that sent it ended before there was an answer.
    ProcessEnded,
    /// The create call had no certain result.
    Call {
        /// The result of the call.
        #[serde(serialize_with = "api_error")]
        error: ApiError,
    },
}
