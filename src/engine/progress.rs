//! What a step tells while it works; who listens decides how it looks.

use std::time::Duration;

use crate::journal::CheckpointKind;
use crate::ledger::Shortage;
use crate::provider::{ApiError, BatchId, Counts};

use super::Warning;

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Rows are being read and rendered.
    Planning {
        /// Rows done.
        rows: u64,
        /// Rows in the source, where that is known before.
        of: Option<u64>,
    },
    /// The provider counts the tokens of a sample.
    Counting {
        /// Rows done.
        rows: u64,
        /// Rows of the sample.
        of: u64,
    },
    /// A batch is on its way to the provider.
    Submitting {
        /// The batch, from 1.
        batch: u32,
        /// Batches of the run.
        of: u32,
        /// Its requests.
        requests: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// The provider has accepted a batch.
    Accepted {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: &'a BatchId,
    },
    /// Nothing to do but wait.
    Waiting {
        /// Batches in flight.
        in_flight: u32,
        /// Batches over.
        ended: u32,
        /// Batches of the run.
        of: u32,
        /// Since the oldest batch in flight was accepted; `None` where none is in flight.
        elapsed: Option<Duration>,
        /// Until the next look.
        next: Duration,
        /// What else the run waits for.
        reasons: &'a [Reason],
    },
    /// A call failed and is made again. DoubtSearch once it has been so for a moment, and from then
    /// on for each try.
    Retrying {
        /// What failed.
        error: &'a ApiError,
        /// Since the first try.
        since: Duration,
        /// Until the next try.
        after: Duration,
    },
    /// A call has had no answer for a while.
    Slow {
        /// What is being done, such as `list batches`.
        call: &'static str,
        /// Since the call began.
        waited: Duration,
    },
    /// The budget has no room for a batch: it is sent when there is.
    HeldBack {
        /// The batch, from 1.
        batch: u32,
        /// Which limit stands in the way.
        shortage: &'a Shortage,
    },
    /// A batch is over.
    Ended {
        /// The batch, from 1.
        batch: u32,
        /// Its requests by what became of them.
        counts: Counts,
    },
    /// A batch's results are saved.
    Collected {
        /// The batch, from 1.
        batch: u32,
        /// Batches saved so far.
        done: u32,
        /// Batches of the run.
        of: u32,
    },
    /// Rows are being written to the output.
    Exporting {
        /// Rows done.
        rows: u64,
        /// Rows of the run.
        of: u64,
    },
    /// Something a person should know, and need not act on.
    Note(&'a str),
    /// A warning about something that does not stop the run.
    Warning(&'a Warning),
}

/// What a run waits for besides the batches in flight, and until when.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It is not known whether a batch was created, and it is looked for.
    Uncertain {
        /// The batch, from 1.
        batch: u32,
        /// Until it counts as not created, if it does not show itself; `None` where a batch was
        /// found that may be it and has not ended.
        left: Option<Duration>,
    },
    /// The provider refused a batch for now.
    Refused {
        /// The batch, from 1.
        batch: u32,
        /// The status it answered with.
        status: Option<u16>,
        /// Until the next try.
        after: Duration,
    },
    /// As many requests are in flight as `batch.max_queued_requests` allows.
    QueueFull {
        /// The batch that waits, from 1.
        batch: u32,
        /// Requests in flight.
        queued: u64,
        /// Most that may be.
        limit: u64,
    },
    /// Several create calls in a row had no certain result: nothing is sent until it is known of
    /// one of their batches.
    TooUncertain {
        /// How many.
        calls: u32,
    },
    /// The first rows have to be back before the rest is sent.
    Checkpoint {
        /// The batch that goes first, from 1.
        batch: u32,
        /// Why it goes first.
        kind: CheckpointKind,
        /// Until the rest is sent without it; `None` where it is waited for as long as it takes.
        left: Option<Duration>,
    },
    /// The budget has no room for a batch.
    Budget {
        /// The batch, from 1.
        batch: u32,
    },
    /// The results of a batch cannot be fetched for now.
    Results {
        /// The batch, from 1.
        batch: u32,
        /// Until the next try.
        after: Duration,
    },
}

/// A wait as people say it, exact where it is short: `0.3 s`, `12 s`, `5 min`.
#[must_use]
pub fn wait_in_words(wait: Duration) -> String {
    if wait < Duration::from_secs(10) {
        let text = format!("{:.1}", wait.as_secs_f64());
        return format!("{} s", text.trim_end_matches(".0"));
    }
    super::in_words(wait)
}

/// Hears what a step tells.
pub trait Listener: Sync {
    /// Called from the working threads, often; must be quick.
    fn hear(&self, progress: Progress<'_>);

    /// Whether a person wants to stop. Steps that neither send nor wait look at it between two
    /// stretches of rows.
    fn is_leaving(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn hear(&self, _: Progress<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_short_waits_exactly() {
        for (millis, text) in [
            (0, "0 s"),
            (300, "0.3 s"),
            (1_000, "1 s"),
            (9_400, "9.4 s"),
            (12_000, "12 s"),
            (300_000, "5 min"),
        ] {
            assert_eq!(wait_in_words(Duration::from_millis(millis)), text);
        }
    }
}
