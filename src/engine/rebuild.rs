//! Runs of a state → its ledger, where that was lost: what the journals and results of all runs
//! say is entered again.

use std::path::PathBuf;

use serde::Serialize;

use crate::journal;

use super::run_place::RunPlace;
use super::setup::Engine;
use super::state_files::LedgerStanding;
use super::{Error, Run};

/// A ledger that was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerRebuilt {
    /// The runs whose costs are entered.
    pub runs: usize,
    /// Runs that cannot be opened, each with the reason. The ledger is not complete then.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Engine {
    /// Enters what every run of the state has spent or reserved, by its journal and its results,
    /// into its ledger. What is entered already stays as it is.
    ///
    /// # Errors
    /// [`Error::Journal`] where the state cannot be read; [`Error::Ledger`]. A run that cannot be
    /// opened is reported, and the ledger stays incomplete.
    pub fn rebuild_ledger(&self) -> Result<LedgerRebuilt, Error> {
        let now = self.clock.now();
        let mut rebuilt = LedgerRebuilt {
            runs: 0,
            unreadable: Vec::new(),
        };
        let mut places: Vec<RunPlace> = Vec::new();
        for run in journal::all_runs(self.state.path())? {
            match Run::open(&run.path, now, &self.budget_context(None)) {
                Ok((run, _)) => {
                    rebuilt.runs += 1;
                    places.push(run.place().clone());
                }
                Err(error @ Error::Ledger(_)) => return Err(error),
                Err(error) => {
                    let reason = super::in_one_line(&error);
                    rebuilt.unreadable.push((run.path, reason));
                }
            }
        }
        if rebuilt.unreadable.is_empty() {
            for place in places {
                place.record_ledger(LedgerStanding::Complete, now)?;
            }
        }
        Ok(rebuilt)
    }
}
