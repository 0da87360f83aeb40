//! A batch of a run: what it holds, and where it stands.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{HeadFile, LossReason};
use crate::batch::SpooledBatch;
use crate::join::LineCounts;
use crate::provider::{BatchId, Counts};

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchState {
    /// It has no requests.
    Empty,
    /// Not sent.
    Planned,
    /// The create call is about to be made.
    Intended {
        /// When the intent was recorded.
        at: Timestamp,
    },
    /// The last create call certainly had no effect.
    Refused {
        /// When.
        at: Timestamp,
        /// HTTP status, where there was an answer.
        status: Option<u16>,
        /// Until when the provider asks to wait.
        retry_at: Option<Timestamp>,
    },
    /// The create call may or may not have had an effect.
    InDoubt {
        /// When the call was about to be made.
        intended_at: Timestamp,
        /// Since when this is in doubt.
        since: Timestamp,
    },
    /// The provider has it; see [`Batch::remote`].
    Accepted,
    /// It has ended, and its results are not fetched.
    Ended {
        /// Its counters.
        counts: Counts,
    },
    /// Its results are on disk.
    Collected {
        /// Its counters.
        counts: Counts,
        /// The results, relative to the run directory.
        file: String,
        /// blake3 of the results, in hex.
        file_hash: String,
        /// The lines of the results, by kind.
        lines: LineCounts,
    },
    /// Its results can never be fetched.
    Lost {
        /// Why.
        reason: LossReason,
    },
    /// It was too large for the provider, or for the budget, and its requests go in other batches.
    Split {
        /// The numbers of those.
        into: Vec<u32>,
    },
    /// The user canceled the run before it was sent.
    Withdrawn,
}

/// Where a batch stands, without the details: a word in manifests and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchStateKind {
    /// [`BatchState::Empty`]
    Empty,
    /// [`BatchState::Planned`]
    Planned,
    /// [`BatchState::Refused`]
    Refused,
    /// [`BatchState::Intended`] or [`BatchState::InDoubt`]
    InDoubt,
    /// [`BatchState::Accepted`]
    InFlight,
    /// [`BatchState::Ended`]
    Ended,
    /// [`BatchState::Collected`]
    Collected,
    /// [`BatchState::Lost`]
    Lost,
    /// [`BatchState::Split`]
    Split,
    /// [`BatchState::Withdrawn`]
    Withdrawn,
}

impl BatchStateKind {
    /// The word in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BatchStateKind::Empty => "empty",
            BatchStateKind::Planned => "planned",
            BatchStateKind::Refused => "refused",
            BatchStateKind::InDoubt => "in_doubt",
            BatchStateKind::InFlight => "in_flight",
            BatchStateKind::Ended => "ended",
            BatchStateKind::Collected => "collected",
            BatchStateKind::Lost => "lost",
            BatchStateKind::Split => "split",
            BatchStateKind::Withdrawn => "withdrawn",
        }
    }
}

impl fmt::Display for BatchStateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl BatchState {
    /// The state without its details.
    #[must_use]
    pub fn kind(&self) -> BatchStateKind {
        match self {
            BatchState::Empty => BatchStateKind::Empty,
            BatchState::Planned => BatchStateKind::Planned,
            // A process that ended right after the intent leaves the batch as uncertain as a
            // connection that broke.
            BatchState::Intended { .. } | BatchState::InDoubt { .. } => BatchStateKind::InDoubt,
            BatchState::Refused { .. } => BatchStateKind::Refused,
            BatchState::Accepted => BatchStateKind::InFlight,
            BatchState::Ended { .. } => BatchStateKind::Ended,
            BatchState::Collected { .. } => BatchStateKind::Collected,
            BatchState::Lost { .. } => BatchStateKind::Lost,
            BatchState::Split { .. } => BatchStateKind::Split,
            BatchState::Withdrawn => BatchStateKind::Withdrawn,
        }
    }

    /// The next thing to do for it.
    #[must_use]
    pub fn next(&self) -> Option<Step> {
        match self {
            BatchState::Planned | BatchState::Refused { .. } => Some(Step::Submit),
            BatchState::Intended { .. } | BatchState::InDoubt { .. } => Some(Step::Settle),
            BatchState::Accepted => Some(Step::Watch),
            BatchState::Ended { .. } => Some(Step::Collect),
            BatchState::Empty
            | BatchState::Collected { .. }
            | BatchState::Lost { .. }
            | BatchState::Split { .. }
            | BatchState::Withdrawn => None,
        }
    }

    /// Whether it is unknown whether the create call had an effect.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(
            self,
            BatchState::Intended { .. } | BatchState::InDoubt { .. }
        )
    }

    /// Whether the batch can be sent: it was not, or its last create call certainly had no effect.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        matches!(self, BatchState::Planned | BatchState::Refused { .. })
    }
}

/// What is to be done for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Find out whether it was created. Nothing else may be sent for it before.
    Settle,
    /// Send it.
    Submit,
    /// Poll whether it has ended.
    Watch,
    /// Fetch its results.
    Collect,
}

/// A batch as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBatch {
    /// The provider's id.
    pub id: BatchId,
    /// When it was created, in the provider's time.
    pub created_at: Timestamp,
    /// Since when it has been known, in this machine's time.
    pub known_since: Timestamp,
    /// When its create call was about to be made, in this machine's time: it is not older.
    pub sent_at: Timestamp,
}

/// A batch of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// What it holds; its number is [`SpooledBatch::number`].
    pub spooled: SpooledBatch,
    /// Which try this is for its rows, counted from 1.
    pub attempt: u32,
    /// What its requests have in common, where that is not the plan's head.
    pub head: Option<HeadFile>,
    /// How many create calls were about to be made for it.
    pub intents: u32,
    /// How many of them certainly had no effect.
    pub refusals: u32,
    /// No batch that one of these calls created can be older than this, in the provider's time;
    /// `None` where that is unknown.
    pub not_before: Option<Timestamp>,
    /// What the provider knows it as.
    pub remote: Option<ProviderBatch>,
    /// When it was not found, after the time for which its results are kept.
    pub not_found: Vec<Timestamp>,
    /// Where it stands.
    pub state: BatchState,
}

impl Batch {
    pub(super) fn new(spooled: SpooledBatch, attempt: u32, head: Option<HeadFile>) -> Batch {
        let state = if spooled.requests == 0 {
            BatchState::Empty
        } else {
            BatchState::Planned
        };
        Batch {
            spooled,
            attempt,
            head,
            intents: 0,
            refusals: 0,
            not_before: None,
            remote: None,
            not_found: Vec::new(),
            state,
        }
    }

    /// Its number, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.spooled.number
    }

    /// The provider's id, where the provider knows it.
    #[must_use]
    pub fn id(&self) -> Option<&BatchId> {
        self.remote.as_ref().map(|remote| &remote.id)
    }

    /// The provider's id, and since when it has been known, in this machine's time.
    #[must_use]
    pub fn known_since(&self) -> Option<(BatchId, Timestamp)> {
        let remote = self.remote.as_ref()?;
        Some((remote.id.clone(), remote.known_since))
    }

    /// When the last create call was about to be made, in this machine's time; `None` where none
    /// was, or the last one certainly had no effect.
    #[must_use]
    pub fn sent_at(&self) -> Option<Timestamp> {
        match &self.remote {
            Some(remote) => Some(remote.sent_at),
            None => self.intended_at(),
        }
    }

    /// When the create call of a batch in doubt was about to be made.
    #[must_use]
    pub fn intended_at(&self) -> Option<Timestamp> {
        match self.state {
            BatchState::Intended { at } => Some(at),
            BatchState::InDoubt { intended_at, .. } => Some(intended_at),
            _ => None,
        }
    }

    /// Since when it has been unknown whether the batch was created.
    #[must_use]
    pub fn in_doubt_since(&self) -> Option<Timestamp> {
        match self.state {
            BatchState::InDoubt { since, .. } => Some(since),
            _ => self.intended_at(),
        }
    }

    /// The provider's counters of a batch that has ended.
    #[must_use]
    pub fn ended_counts(&self) -> Option<Counts> {
        match &self.state {
            BatchState::Ended { counts, .. } | BatchState::Collected { counts, .. } => {
                Some(*counts)
            }
            _ => None,
        }
    }

    /// How many lines its results must have: what its counters say, else one for each request.
    #[must_use]
    pub fn expected_lines(&self) -> u64 {
        // Counters that cannot be read are 0, and say nothing.
        let counted = self.ended_counts().map(|counts| counts.total());
        counted
            .filter(|total| *total > 0)
            .unwrap_or(u64::from(self.spooled.requests))
    }

    /// Whether its saved results end before the last line: fewer lines than its counters report, so
    /// the provider has more. Earlier versions saved such results as if they were all.
    #[must_use]
    pub fn falls_short(&self) -> bool {
        match &self.state {
            BatchState::Collected { counts, lines, .. } => {
                lines.missing > 0 && lines.lines.saturating_sub(lines.torn) < counts.total()
            }
            _ => false,
        }
    }

    /// Whether its rows, by `row_index`, and those of another batch have one in common.
    #[must_use]
    pub fn overlaps(&self, other: &SpooledBatch) -> bool {
        self.spooled.first_row <= other.last_row && other.first_row <= self.spooled.last_row
    }
}
