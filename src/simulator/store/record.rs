//! One batch, as kept on disk and as on the wire.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::provider::Counts;

/// How long a batch may take. Source: the provider's documentation on batches, August 2026.
pub(in crate::simulator) const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How long results are kept, from the creation of the batch on.
const KEPT: Duration = Duration::from_secs(29 * 24 * 3600);

/// One batch, as kept in `meta.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::simulator) struct BatchRecord {
    pub(in crate::simulator) id: String,
    /// The order of creation, from 1.
    pub(in crate::simulator) ordinal: u64,
    pub(in crate::simulator) created_at: Timestamp,
    pub(in crate::simulator) requests: u64,
    /// Bytes of the create body.
    pub(in crate::simulator) bytes: u64,
    pub(in crate::simulator) ids_blake3: String,
    pub(in crate::simulator) body_blake3: String,
    /// Header `anthropic-version` of the create call.
    pub(in crate::simulator) version: String,
    /// Header `anthropic-beta` of the create call.
    pub(in crate::simulator) betas: Vec<String>,
    /// How long it takes, faults included.
    pub(in crate::simulator) processing: Duration,
    /// Until when it answers 404, for a fault.
    pub(in crate::simulator) hidden_until: Option<Timestamp>,
    /// Until when it is missing in the list, for a fault.
    pub(in crate::simulator) unlisted_until: Option<Timestamp>,
    pub(in crate::simulator) cancel_initiated_at: Option<Timestamp>,
    /// How long a cancel takes.
    pub(in crate::simulator) canceling: Duration,
    pub(in crate::simulator) ended_at: Option<Timestamp>,
    pub(in crate::simulator) counts: Counts,
    pub(in crate::simulator) deleted_at: Option<Timestamp>,
}

impl BatchRecord {
    pub(in crate::simulator) fn expires_at(&self) -> Timestamp {
        later(self.created_at, WINDOW)
    }

    /// When its processing is over.
    pub(in crate::simulator) fn due(&self) -> Timestamp {
        let whole = later(self.created_at, self.processing).min(self.expires_at());
        self.cancel_initiated_at
            .map_or(whole, |at| whole.min(later(at, self.canceling)))
    }

    pub(in crate::simulator) fn archived_at(&self, now: Timestamp) -> Option<Timestamp> {
        let at = later(self.created_at, KEPT);
        (now >= at).then_some(at)
    }
}

/// The timestamp `by` later, or the last one there is.
pub(in crate::simulator) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A batch as on the wire.
#[derive(Debug, Serialize)]
pub(in crate::simulator) struct BatchObject {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    processing_status: &'static str,
    request_counts: Counts,
    ended_at: Option<String>,
    created_at: String,
    expires_at: String,
    archived_at: Option<String>,
    cancel_initiated_at: Option<String>,
    results_url: Option<String>,
}

/// RFC 3339 with microseconds and `Z`.
pub(in crate::simulator) fn wire_time(at: Timestamp) -> String {
    format!("{at:.6}")
}

impl BatchObject {
    pub(in crate::simulator) fn of(
        record: &BatchRecord,
        base_url: &str,
        now: Timestamp,
    ) -> BatchObject {
        let archived_at = record.archived_at(now);
        let has_results = record.ended_at.is_some() && archived_at.is_none();
        BatchObject {
            id: record.id.clone(),
            kind: "message_batch",
            processing_status: match (record.ended_at, record.cancel_initiated_at) {
                (Some(_), _) => "ended",
                (None, Some(_)) => "canceling",
                (None, None) => "in_progress",
            },
            request_counts: match record.ended_at {
                Some(_) => record.counts,
                None => Counts {
                    processing: record.requests,
                    ..Counts::default()
                },
            },
            ended_at: record.ended_at.map(wire_time),
            created_at: wire_time(record.created_at),
            expires_at: wire_time(record.expires_at()),
            archived_at: archived_at.map(wire_time),
            cancel_initiated_at: record.cancel_initiated_at.map(wire_time),
            results_url: has_results
                .then(|| format!("{base_url}/v1/messages/batches/{}/results", record.id)),
        }
    }
}
