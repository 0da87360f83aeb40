//! What a provider says of batches and models, in this library's terms.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The provider's id of a batch; opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub String);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a batch stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processing {
    /// Being worked on.
    InProgress,
    /// A cancel was requested and is in progress (one l, as on the wire).
    Canceling,
    /// Over: every request has a result. Not the same as success.
    Ended,
    /// A word that did not exist when this was written; treated as still in progress.
    #[serde(untagged)]
    Other(String),
}

/// Requests of a batch by result. All but `processing` stay 0 until the whole batch
/// has ended.
///
/// ```
/// use rowmill::provider::Counts;
///
/// let counts = Counts { succeeded: 97, expired: 3, ..Counts::default() };
/// assert_eq!(counts.total(), 100);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Not finished.
    pub processing: u64,
    /// Finished with a message.
    pub succeeded: u64,
    /// Finished with an error.
    pub errored: u64,
    /// Canceled before they were processed.
    pub canceled: u64,
    /// Not processed before the window closed.
    pub expired: u64,
}

impl Counts {
    /// All requests of the batch; `u64::MAX` where that is no number a provider can mean.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Counts {
            processing,
            succeeded,
            errored,
            canceled,
            expired,
        } = *self;
        [processing, succeeded, errored, canceled, expired]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A batch as the provider describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteBatch {
    /// The provider's id.
    pub id: BatchId,
    /// Where it stands.
    pub processing_status: Processing,
    /// Requests by result.
    #[serde(default)]
    pub request_counts: Counts,
    /// When it was created.
    pub created_at: Timestamp,
    /// When what is unfinished expires: 24 hours after creation.
    pub expires_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When a cancel was asked for.
    pub cancel_initiated_at: Option<Timestamp>,
    /// When the results stopped being available.
    pub archived_at: Option<Timestamp>,
    /// Where the provider says the results are; never followed to another origin.
    pub results_url: Option<String>,
}

/// One page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Whether there are more behind them.
    pub has_more: bool,
    /// Where the next page begins: hand it in as `after`.
    pub last_id: Option<String>,
}

/// A model as the provider describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The model id.
    pub id: String,
    /// Its name for people.
    #[serde(default)]
    pub display_name: String,
    /// Everything else the provider says of it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}
