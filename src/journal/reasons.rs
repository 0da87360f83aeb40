//! Why something was recorded: the reasons in events and manifests, as data.
//!
//! Each is stored as an object with its `kind`. Earlier versions stored a sentence; a plain string
//! is read as `Other` and written back as it is. A version that knows sentences only refuses a
//! journal that holds an object, instead of misreading it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Status};
use crate::provider::BatchId;

/// Why it is unknown whether a batch was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DoubtReason {
    /// The create call had no certain result.
    NoCertainResult {
        /// The error of the call, in the provider's or the connection's words.
        error: String,
    },
    /// The process ended between the intent and the result of the call.
    ProcessEnded,
    /// The provider lists a batch that may be this one: it has its size and was created after the
    /// run was planned.
    Listed {
        /// The listed batch.
        id: BatchId,
        /// Why its results do not identify its owner.
        unproven: Unproven,
    },
    /// Its results are on disk, and the journal has no record of the call.
    ResultsOnDisk,
    /// The ledger has its bill, and the journal has no record of the call.
    Billed,
    /// The ledger has a reservation for it, and the journal has no record of the call.
    Reserved,
    /// It is part of a batch that was too large, and neither journal nor ledger has a record of it.
    PartOfSplitBatch,
    /// The manifest counts more sent batches than the journal.
    ManifestCountsMore,
    /// The journal was lost.
    JournalLost,
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// Why a listed batch cannot be distinguished from another by its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unproven {
    /// It has not ended, so it has no results.
    NotEnded,
    /// Its results cannot be read.
    Unreadable,
}

/// What shows that a batch that was found belongs to the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdoptionProof {
    /// Its results hold an id that only this batch sends.
    HoldsId {
        /// The id.
        custom_id: String,
    },
    /// Saved results hold all its ids; the provider's own id of the batch is unknown.
    SavedResults {
        /// The file, relative to the run directory.
        file: String,
    },
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// Why the results of a batch can never be fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// The provider deleted them when their time was over.
    Archived {
        /// When.
        at: Timestamp,
    },
    /// Their time is over, and the provider does not find them.
    ResultsNotFound,
    /// Their time is over, and the provider does not find the batch.
    BatchNotFound,
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// Why a run was abandoned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AbandonReason {
    /// The user asked for it.
    Requested,
    /// The job was changed before anything was sent, and is planned again.
    JobChanged,
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// Why a checkpoint was judged as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerdictReason {
    /// The user overruled the checkpoint: the rest is sent whatever the first rows show.
    Overruled,
    /// The first batch has not ended in time, so the rest is sent without it.
    NotEnded {
        /// How long it was waited for.
        waited_seconds: u64,
    },
    /// The journal was lost, or lost its end.
    JournalLost,
    /// A later batch may have been sent, although the journal has no record of it.
    LaterBatchSent,
    /// The warm-up request has no result, so nothing is cached.
    NoResult,
    /// The provider refused the warm-up request, and would refuse every other.
    RequestRefused(RequestError),
    /// The warm-up request was canceled.
    Canceled,
    /// The warm-up request failed at the provider, so nothing is cached.
    ProviderFailed(RequestError),
    /// The warm-up request succeeded.
    Cached {
        /// Tokens that it wrote to the cache.
        written_tokens: u64,
        /// Tokens that it read from the cache.
        read_tokens: u64,
    },
    /// The canary rows are within their limits.
    WithinLimits {
        /// Rows that were judged.
        rows: u64,
        /// Rows of these that succeeded.
        succeeded: u64,
        /// Rows of these whose answer is empty.
        empty: u64,
    },
    /// No canary row was answered: all were canceled or expired.
    Unanswered {
        /// The rows.
        rows: u64,
        /// The rows by status.
        by_status: BTreeMap<Status, u64>,
    },
    /// The canary rows exceed a limit.
    OverLimits {
        /// Rows that were judged.
        rows: u64,
        /// The limits that are exceeded.
        limits: Vec<ExceededLimit>,
        /// The first error among the rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_error: Option<RequestError>,
    },
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// The error of one request, in the provider's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestError {
    /// The provider's kind of error.
    pub error_type: Option<String>,
    /// The provider's words.
    pub message: Option<String>,
}

impl RequestError {
    /// The error of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> RequestError {
        RequestError {
            error_type: outcome.error_type.clone(),
            message: outcome.error.clone(),
        }
    }
}

/// A limit of the canary that its rows exceed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExceededLimit {
    /// Which limit.
    pub limit: CanaryLimit,
    /// Rows that count against it.
    pub rows: u64,
    /// The largest share of the rows that it allows, from 0 to 1.
    pub max: f64,
}

/// The limits of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryLimit {
    /// `canary.max_error`
    Error,
    /// `canary.max_truncated`
    Truncated,
    /// `canary.max_refused`
    Refused,
    /// `canary.max_invalid`
    Invalid,
    /// `canary.max_empty`
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_sentences_of_earlier_versions_and_writes_them_back() {
        let text = r#""the connection was closed""#;
        let doubt: DoubtReason = serde_json::from_str(text).unwrap();
        assert_eq!(
            doubt,
            DoubtReason::Other("the connection was closed".to_owned())
        );
        assert_eq!(serde_json::to_string(&doubt).unwrap(), text);
        assert!(matches!(
            serde_json::from_str(text).unwrap(),
            VerdictReason::Other(_)
        ));
    }

    #[test]
    fn writes_an_object_with_its_kind() {
        let reason = VerdictReason::OverLimits {
            rows: 20,
            limits: vec![ExceededLimit {
                limit: CanaryLimit::Error,
                rows: 5,
                max: 0.1,
            }],
            first_error: None,
        };
        let text =
            r#"{"kind":"over_limits","rows":20,"limits":[{"limit":"error","rows":5,"max":0.1}]}"#;
        assert_eq!(serde_json::to_string(&reason).unwrap(), text);
        assert_eq!(serde_json::from_str::<VerdictReason>(text).unwrap(), reason);
        let refused = VerdictReason::RequestRefused(RequestError {
            error_type: Some("invalid_request_error".to_owned()),
            message: None,
        });
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"request_refused","error_type":"invalid_request_error","message":null}"#
        );
        assert_eq!(
            serde_json::from_str::<VerdictReason>(&text).unwrap(),
            refused
        );
        let unanswered = VerdictReason::Unanswered {
            rows: 2,
            by_status: BTreeMap::from([(Status::Expired, 2)]),
        };
        let text = serde_json::to_string(&unanswered).unwrap();
        assert_eq!(
            serde_json::from_str::<VerdictReason>(&text).unwrap(),
            unanswered
        );
    }
}
