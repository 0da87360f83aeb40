//! A call to the provider that stopped a step: what was being done, and what of the work is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::journal::BatchStateKind;
use crate::provider::{ApiError, BatchId};

use super::{Error, Run};

/// What was being done when the provider refused a call, or could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// A batch was created.
    CreateBatch {
        /// The batch, from 1.
        batch: u32,
        /// Batches of the run.
        of: u32,
    },
    /// Batches whose create call had no certain result were looked for.
    FindUncertain {
        /// The batches, from 1.
        batches: Vec<u32>,
    },
    /// Batches of the run that its journal does not have were looked for.
    FindUnrecorded,
    /// The batches in flight were listed.
    ListBatches,
    /// The state of a batch was read.
    WatchBatch {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
    },
    /// The results of a batch were fetched.
    FetchResults {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
        /// Whether some of them were fetched.
        is_partial: bool,
    },
    /// A batch was canceled.
    CancelBatch {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: BatchId,
    },
    /// The tokens of sample rows were counted.
    CountTokens,
    /// Files that requests name were uploaded.
    UploadFiles,
    /// Files that were uploaded before were looked for.
    FindFiles,
    /// The models were listed.
    ListModels,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::CreateBatch { batch, of } => {
                write!(f, "batch {batch} of {of} was not accepted")
            }
            Action::FindUncertain { batches } => {
                let word = if batches.len() == 1 {
                    "batch"
                } else {
                    "batches"
                };
                let numbers: Vec<String> = batches.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "cannot look for {word} {}, which may or may not have been created",
                    numbers.join(", ")
                )
            }
            Action::FindUnrecorded => {
                f.write_str("cannot look for batches of the run that its journal does not have")
            }
            Action::ListBatches => f.write_str("cannot read the state of the batches in flight"),
            Action::WatchBatch { batch, id } => {
                write!(f, "cannot read the state of batch {batch} ({id})")
            }
            Action::FetchResults {
                batch,
                id,
                is_partial,
            } => {
                let all = if *is_partial { "all " } else { "the " };
                write!(f, "cannot fetch {all}results of batch {batch} ({id})")
            }
            Action::CancelBatch { batch, id } => write!(f, "cannot cancel batch {batch} ({id})"),
            Action::CountTokens => f.write_str("cannot count the tokens of sample rows"),
            Action::UploadFiles => f.write_str("cannot upload the files that requests name"),
            Action::FindFiles => f.write_str("cannot look for files that were uploaded before"),
            Action::ListModels => f.write_str("cannot read the list of models"),
        }
    }
}

/// What of the work is kept when a step stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kept", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kept {
    /// Nothing was sent, and nothing had to be kept.
    Nothing,
    /// Nothing was sent; files that were uploaded are remembered.
    Files {
        /// How many.
        files: u64,
    },
    /// The run, as its journal has it.
    Run(RunStanding),
}

/// How far a run is, by its journal.
#[derive(Default, Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStanding {
    /// The run's id.
    pub run: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Batches of the run.
    pub batches: u32,
    /// The batches by state, such as `in_flight` or `collected`.
    pub by_state: BTreeMap<BatchStateKind, u64>,
}

/// A provider's error, with how far the run is.
pub(crate) fn stopped(run: &Run, action: Action, source: ApiError) -> Error {
    Error::Provider {
        action,
        source: Box::new(source),
        kept: Kept::Run(run.standing()),
    }
}
