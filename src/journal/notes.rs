//! What the user should know about a run, and what to do next, as data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DoubtReason, LossReason};
use crate::join::LineCounts;

/// Something that the user should know about a run, and that does not stop it.
///
/// It is stored in the manifest as an object with its `kind`; a sentence of an earlier version is
/// read as [`RunNote::Other`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunNote {
    /// The journal ended in half a line, as after a crash. The line is left out.
    TornLine {
        /// The line, counted from 1.
        line: u64,
        /// How much of it was there.
        bytes: u64,
    },
    /// The run was moved after it was planned.
    Moved {
        /// Where it was planned.
        from: PathBuf,
    },
    /// The run is a copy, and the original is still there.
    Copied {
        /// The original.
        from: PathBuf,
    },
    /// Batches may or may not have been created, although the journal has no record of them.
    MayBeSent {
        /// The batches.
        batches: Vec<u32>,
        /// Why, each reason once.
        reasons: Vec<DoubtReason>,
    },
    /// Whether other files of the run name batches that the journal lacks could not be checked.
    Unchecked {
        /// Why, with its causes.
        error: String,
    },
    /// The manifest cannot be read; it is written again by the next command.
    UnreadableManifest {
        /// Why, with its causes.
        error: String,
    },
    /// Saved results are not exactly one line for each request.
    UncleanResults {
        /// The batch.
        batch: u32,
        /// Its lines.
        counts: LineCounts,
    },
    /// The results of a batch can never be fetched.
    LostResults {
        /// The batch.
        batch: u32,
        /// Why.
        reason: LossReason,
    },
    /// The results of a batch can soon no longer be fetched, or that time is over.
    ResultsExpire {
        /// The batch.
        batch: u32,
        /// Until then; 0 when it is over.
        seconds_left: u64,
    },
    /// The run has no rows to send.
    NothingToSend,
    /// Some batches are sent, and these are not.
    UnsentBatches {
        /// How many.
        batches: u64,
        /// Their requests.
        requests: u64,
    },
    /// Rows succeeded with an answer that is empty.
    EmptyAnswers {
        /// How many.
        empty: u64,
        /// Rows that succeeded.
        succeeded: u64,
    },
    /// The cost of some requests is unknown; it is in no sum.
    UnknownCost {
        /// How many.
        requests: u64,
    },
    /// The output is not at its place, because a better one is there.
    OutputSetAside {
        /// The place.
        instead_of: PathBuf,
    },
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// What to do next with a run.
///
/// It is stored in the manifest as an object with its `kind`; a sentence of an earlier version is
/// read as [`NextAction::Other`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NextAction {
    /// Nothing is left to do.
    Nothing,
    /// Send the batches that are not sent.
    Run {
        /// The run's folder.
        run: PathBuf,
    },
    /// Find out whether the batches in doubt were created; a run does so.
    ResolveDoubt {
        /// The run's folder.
        run: PathBuf,
    },
    /// Fetch results, and write the output.
    Collect {
        /// The run's folder.
        run: PathBuf,
        /// Whether the run was abandoned, so that only what was sent before is fetched.
        abandoned: bool,
    },
    /// Look at the first results, then send the rest or cancel the run.
    Decide {
        /// The run's folder.
        run: PathBuf,
    },
    /// Look at the failures: too few rows succeeded for the output to be written.
    ReviewFailures {
        /// The run's folder.
        run: PathBuf,
    },
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_sentences_of_earlier_versions() {
        let action: NextAction =
            serde_json::from_str(r#""rowmill collect runs/a (or run)""#).unwrap();
        assert_eq!(
            action,
            NextAction::Other("rowmill collect runs/a (or run)".to_owned())
        );
        let notes: Vec<RunNote> =
            serde_json::from_str(r#"["no rows to send",{"kind":"nothing_to_send"}]"#).unwrap();
        assert_eq!(
            notes,
            [
                RunNote::Other("no rows to send".to_owned()),
                RunNote::NothingToSend
            ]
        );
    }

    #[test]
    fn writes_an_object_with_its_kind() {
        let note = RunNote::LostResults {
            batch: 3,
            reason: LossReason::ResultsNotFound,
        };
        let text = r#"{"kind":"lost_results","batch":3,"reason":{"kind":"results_not_found"}}"#;
        assert_eq!(serde_json::to_string(&note).unwrap(), text);
        assert_eq!(serde_json::from_str::<RunNote>(text).unwrap(), note);
        assert_eq!(
            serde_json::to_string(&NextAction::Collect {
                run: "runs/a".into(),
                abandoned: false
            })
            .unwrap(),
            r#"{"kind":"collect","run":"runs/a","abandoned":false}"#
        );
    }
}
