//! What a person should know of a run, and need not act on, as data.

use std::time::Duration;

use serde::Serialize;

use crate::journal::{CheckpointKind, DoubtReason, RunNote, Unproven};
use crate::provider::{ApiError, BatchId};

use super::notice::{api_error, maybe_seconds, seconds};

/// Something a person should know of a run: what was found, decided or could not be had.
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
    /// It is not known whether a batch was created; it is looked for.
    Uncertain {
        /// The batch, from 1.
        batch: u32,
        /// Why it is not known.
        reason: DoubtReason,
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
    /// A batch is sent again, since it does not exist or a person decided so.
    SentAgain {
        /// The batch, from 1.
        batch: u32,
        /// Whether a person decided it, so that it may exist, and be paid twice.
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
    /// A batch is too large for the provider; its requests are sent in smaller ones.
    SplitUp {
        /// The batch, from 1.
        batch: u32,
        /// The provider's answer.
        #[serde(serialize_with = "api_error")]
        error: ApiError,
        /// The batches that take its place.
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
    /// The run's statistics could not be saved for the next estimate of the job.
    StatisticsNotSaved {
        /// Why.
        error: String,
    },
}
