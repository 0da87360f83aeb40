//! The lines of the log.
//!
//! ```text
//! {"journal":1,"run":"20261123-031500-abcd","nonce":"k3v9q2"}
//! {"v":1,"seq":1,"at":"2026-11-23T03:15:02.5Z","event":"intent","batch":1,"requests":10000,"bytes":8123456,"body_hash":"…"}
//! {"v":1,"seq":2,"at":"2026-11-23T03:15:09.1Z","event":"accepted","batch":1,"id":"msgbatch_…","created_at":"…"}
//! ```
//!
//! A reader of this version ignores fields it does not know, and refuses events and versions it
//! does not know. Reasons are objects (`reasons.rs`); the sentences of earlier versions are read
//! too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AbandonReason, AdoptionProof, DoubtReason, FORMAT, HeadFile, LineFault, LossReason, Verdict,
    VerdictReason,
};
use crate::batch::SpooledBatch;
use crate::join::LineCounts;
use crate::outcome::Status;
use crate::provider::{BatchId, Counts, Processing};

/// Something that happened, or is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A batch that was not in the plan: rows that are sent again.
    Added {
        /// The next free number.
        batch: u32,
        /// Which try this is for its rows: 2 or more.
        attempt: u32,
        /// Its spool file.
        #[serde(rename = "piece")]
        spooled: SpooledBatch,
        /// What its requests have in common, where that is not the plan's head.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<HeadFile>,
    },
    /// The create call is about to be made.
    Intent {
        /// The batch.
        batch: u32,
        /// Requests in the body.
        requests: u32,
        /// Bytes of the body.
        bytes: u64,
        /// blake3 of the body, in hex.
        body_hash: String,
        /// When the newest batch of the workspace was created, in the provider's time, by its list
        /// right before the call; the batch that this call creates is not older. The epoch where
        /// the list was empty; left out where it was not asked for, or did not answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest_listed: Option<Timestamp>,
    },
    /// The create call failed and certainly had no effect.
    Refused {
        /// The batch.
        batch: u32,
        /// HTTP status, where there was an answer.
        status: Option<u16>,
        /// The provider's kind of error.
        kind: String,
        /// The provider's words.
        message: String,
        /// Until when the provider asks to wait, in this machine's time; left out where it does not
        /// ask.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// The create call succeeded.
    Accepted {
        /// The batch.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
        /// When it was created, in the provider's time.
        created_at: Timestamp,
    },
    /// It is unknown whether the create call succeeded.
    Doubt {
        /// The batch.
        batch: u32,
        /// Why.
        reason: DoubtReason,
    },
    /// A doubt is settled: the batch was created and found.
    Adopted {
        /// The batch.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
        /// When it was created, in the provider's time.
        created_at: Timestamp,
        /// What shows that it is ours.
        proof: AdoptionProof,
    },
    /// A doubt is settled: the batch was not created, and may be sent again.
    Absent {
        /// The batch.
        batch: u32,
        /// Until when it was looked for.
        checked_until: Timestamp,
        /// Whether the user decided so, and nothing that was found contradicted it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_person: bool,
    },
    /// The provider takes no body of this size, or the budget has no room for all of it: the batch's
    /// requests go in new, smaller batches instead.
    Split {
        /// The batch that is not sent.
        batch: u32,
        /// The spool files of the new batches, with the next free numbers.
        into: Vec<SpooledBatch>,
    },
    /// The user canceled the run before the batch was sent; it stays unsent.
    Withdrawn {
        /// The batch.
        batch: u32,
    },
    /// The provider was asked to cancel the batch.
    CancelAsked {
        /// The batch.
        batch: u32,
    },
    /// The provider reports something new about the batch.
    Seen {
        /// The batch.
        batch: u32,
        /// What the provider reports.
        status: Processing,
        /// Its counters.
        counts: Counts,
    },
    /// The batch, or its results, was not found after the time for which results are kept. Several
    /// of these, far apart, are needed before its results count as lost.
    NotFound {
        /// The batch.
        batch: u32,
    },
    /// The batch has ended.
    Ended {
        /// The batch.
        batch: u32,
        /// Its counters.
        counts: Counts,
        /// When it ended, in the provider's time.
        ended_at: Option<Timestamp>,
    },
    /// The batch's results are on disk.
    Collected {
        /// The batch.
        batch: u32,
        /// The file, relative to the run directory.
        file: String,
        /// blake3 of the file, in hex.
        file_hash: String,
        /// Its lines by kind.
        counts: LineCounts,
    },
    /// The batch's results can never be fetched: its rows stay without an answer.
    Lost {
        /// The batch.
        batch: u32,
        /// Why.
        reason: LossReason,
    },
    /// A checkpoint was judged by the results of its batch.
    Judged {
        /// The batch of the checkpoint, by the number of its planned batch.
        batch: u32,
        /// Whether the batches after it may be sent.
        verdict: Verdict,
        /// Why.
        reason: VerdictReason,
    },
    /// The output is in its place.
    Exported {
        /// The output.
        path: PathBuf,
        /// Rows in it.
        rows: u64,
        /// Rows by status.
        by_status: BTreeMap<Status, u64>,
        /// blake3 of it, in hex, where later runs continue it; left out otherwise, and by earlier
        /// versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
    },
    /// The output was not put in its place, because too few rows succeeded.
    HeldBack {
        /// Rows it would have.
        rows: u64,
        /// Rows by status.
        by_status: BTreeMap<Status, u64>,
    },
    /// The user abandoned the run. Nothing is sent after it; what was sent can still be fetched.
    Abandoned {
        /// Why.
        reason: AbandonReason,
    },
}

impl Event {
    /// The batch it is about; `None` where it is about the run.
    #[must_use]
    pub fn batch(&self) -> Option<u32> {
        match self {
            Event::Added { batch, .. }
            | Event::Intent { batch, .. }
            | Event::Refused { batch, .. }
            | Event::Accepted { batch, .. }
            | Event::Doubt { batch, .. }
            | Event::Adopted { batch, .. }
            | Event::Absent { batch, .. }
            | Event::Split { batch, .. }
            | Event::Withdrawn { batch }
            | Event::CancelAsked { batch }
            | Event::Seen { batch, .. }
            | Event::NotFound { batch }
            | Event::Ended { batch, .. }
            | Event::Collected { batch, .. }
            | Event::Lost { batch, .. }
            | Event::Judged { batch, .. } => Some(*batch),
            Event::Exported { .. } | Event::HeldBack { .. } | Event::Abandoned { .. } => None,
        }
    }
}

/// An event with its place and time: one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Version of the line.
    v: u32,
    /// Position among the events, counted from 1, without gaps.
    pub seq: u64,
    /// When it was recorded, in this machine's time.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The parts of a line that determine whether the rest can be read.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl JournalEntry {
    /// The `seq`-th event. Times are kept to the millisecond, for people who read the file.
    #[must_use]
    pub fn new(seq: u64, at: Timestamp, event: Event) -> JournalEntry {
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        JournalEntry {
            v: FORMAT,
            seq,
            at,
            event,
        }
    }

    /// The line in the file this is: the first one is the header.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.seq.saturating_add(1)
    }

    /// Reads a line.
    pub(super) fn parse(line: &[u8]) -> Result<JournalEntry, LineFault> {
        if line.contains(&0) {
            return Err(LineFault::NulBytes);
        }
        let Version { v } = serde_json::from_slice(line)?;
        if !(1..=FORMAT).contains(&v) {
            return Err(LineFault::Version { found: v });
        }
        Ok(serde_json::from_slice(line)?)
    }
}
