//! The section `[batch]`: how requests are packed into batches.

use serde::{Deserialize, Serialize};

/// The section `[batch]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSpec {
    /// Most requests in one batch. Progress and loss are counted in batches, so the default lies
    /// well under the API's limit.
    pub max_requests: u32,
    /// Most bytes in one batch's body. The documented limit of 256 MB is ambiguous, so the default
    /// keeps clear of both.
    pub max_bytes: u64,
    /// Most requests in flight over all batches of the run: half of what the lowest tier lets an
    /// organisation queue.
    pub max_queued_requests: u64,
    /// How long a batch that may or may not have been created is looked for before it counts as not
    /// created, in seconds. A batch shows in the list seconds after it is created; the default
    /// leaves a wide margin.
    pub settle_seconds: u64,
    /// How long faults that may pass are tried again, in seconds; `None`: by the kind of call and
    /// fault. It says how long a command waits and nothing about what is sent, so a change of it is
    /// no change of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience_seconds: Option<u64>,
}

impl Default for BatchSpec {
    fn default() -> BatchSpec {
        BatchSpec {
            max_requests: 10_000,
            max_bytes: 250_000_000,
            max_queued_requests: 100_000,
            settle_seconds: 300,
            patience_seconds: None,
        }
    }
}
