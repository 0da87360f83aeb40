//! The ledger: what all jobs of a state directory have spent, and what is reserved for batches that
//! are in flight.
//!
//! ```text
//!              reserve: checked against the budget        settle: what its results cost
//!   (no row) ───────────────────────────────▶ reserved ──────────────────────────────▶ billed ↻ priced again
//!                                               ▲  │ release: it was not created
//!                                               └──▼
//!                                             released
//! ```
//!
//! One row for each batch of each run. A batch is reserved before its create call is made, with
//! the most that it can cost, and billed with what its results cost once they are saved. It
//! counts for the day, in UTC, on which it was reserved.
//!
//! Promises: several processes may use a ledger at once, and what they reserve together never
//! passes a limit, since a limit is checked and the reservation made in one transaction; a row is
//! written whole or not at all, whatever ends the process; writing the same row again changes
//! nothing, so the ledger is updated from a run's journal whenever the run is opened.
//! Simulated runs are counted apart from real ones.
//!
//! A row belongs to one batch for good: a batch that is reserved under a number whose row is
//! billed, or was reserved by another run, is refused, since a copy of the run, or a journal that
//! lost its end, would else replace what was spent.
//!
//! The file is SQLite, so that other programs can read it. Every row has a checksum, and so do all
//! rows together (`seal` in the file): a ledger that another program has edited is refused, since a
//! budget could no longer rely on it.

mod rows;
mod spec;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::cost::{BatchCost, Money};

pub use spec::{BudgetSpec, OnLimit};
pub use store::{Ledger, PATIENCE};

/// The ledger's name in the state directory.
pub const FILE: &str = "ledger.sqlite";
/// Version of the ledger. A newer one is refused; an older one would be migrated.
const VERSION: i64 = 1;

/// What one batch cost, or is expected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// The run.
    pub run: String,
    /// The batch, from 1.
    pub batch: u32,
    /// The run's job.
    pub job: String,
    /// The model that is asked.
    pub model: String,
    /// Whether the run is a simulated one.
    pub simulated: bool,
    /// Its requests.
    pub requests: u64,
    /// Its state.
    pub state: EntryState,
    /// What was reserved for it.
    pub reserved: Money,
    /// The upper bound of its cost by the plan.
    pub worst_case: Money,
    /// What it cost, by the model that answered.
    pub share: BatchCost,
    /// The day on which it was reserved, in UTC, which is the day that it counts for.
    pub day: Date,
    /// When it was reserved.
    pub reserved_at: Timestamp,
    /// When it was billed or released.
    pub settled_at: Option<Timestamp>,
}

/// The state of a batch in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// It is in flight, or may be.
    Reserved,
    /// Its results are saved.
    Billed,
    /// It was not created.
    Released,
}

impl LedgerEntry {
    /// What it has cost so far.
    #[must_use]
    pub fn spent(&self) -> Money {
        if self.state == EntryState::Billed {
            self.share.total()
        } else {
            Money::ZERO
        }
    }

    /// Whether a row is of another batch than one that is to replace it: what is billed stays so,
    /// as what it is.
    fn is_another_than(&self, new: &LedgerEntry) -> bool {
        let is_same = self.reserved_at == new.reserved_at && self.requests == new.requests;
        match self.state {
            EntryState::Billed => !is_same || new.state != EntryState::Billed,
            EntryState::Reserved => !is_same,
            EntryState::Released => false,
        }
    }

    /// What is still held for it: all of what is in flight, and of what is billed the part of the
    /// requests whose cost is unknown.
    #[must_use]
    pub fn held(&self) -> Money {
        match self.state {
            EntryState::Reserved => self.reserved,
            // As `RESERVED` in the store has it.
            EntryState::Billed => {
                let each = self.reserved.picodollars()
                    / i64::try_from(self.requests.max(1)).unwrap_or(i64::MAX);
                Money::from_picodollars(each).times(self.share.unknown)
            }
            EntryState::Released => Money::ZERO,
        }
    }
}

impl EntryState {
    /// The word in the file.
    fn as_str(self) -> &'static str {
        match self {
            EntryState::Reserved => "reserved",
            EntryState::Billed => "billed",
            EntryState::Released => "released",
        }
    }
}

/// What is to be reserved for a batch.
#[derive(Debug, Clone)]
pub struct Reservation<'a> {
    /// The run.
    pub run: &'a str,
    /// The batch, from 1.
    pub batch: u32,
    /// The run's job.
    pub job: &'a str,
    /// The model that is asked.
    pub model: &'a str,
    /// Whether the run is a simulated one.
    pub simulated: bool,
    /// Its requests.
    pub requests: u64,
    /// What is reserved: the most that it can cost, by what is known when it is sent.
    pub amount: Money,
    /// The upper bound of its cost by the plan, which is never less.
    pub worst_case: Money,
}

/// Whose budget is looked at.
#[derive(Debug, Clone, Copy)]
pub struct LimitedBatch<'a> {
    /// The run.
    pub run: &'a str,
    /// A batch of it that does not count, from 1; 0 where all count.
    pub batch: u32,
    /// Whether the run is a simulated one.
    pub simulated: bool,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LimitUse {
    /// What the limit is for.
    pub scope: LimitScope,
    /// The limit.
    #[serde(rename = "limit_usd")]
    pub limit: Money,
    /// What is spent of it.
    #[serde(rename = "spent_usd")]
    pub spent: Money,
    /// What is reserved of it for batches in flight.
    #[serde(rename = "reserved_usd")]
    pub reserved: Money,
}

impl LimitUse {
    /// What is left of the limit.
    #[must_use]
    pub fn left(&self) -> Money {
        (self.limit - self.spent - self.reserved).max(Money::ZERO)
    }
}

/// How much may be spent; `None` where there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetLimits {
    /// For a run.
    pub run: Option<Money>,
    /// For a day, over all jobs.
    pub day: Option<Money>,
    /// For a month, over all jobs.
    pub month: Option<Money>,
}

impl BudgetLimits {
    /// The limits that are set, of which nothing is used.
    #[must_use]
    pub fn unused(&self) -> Vec<LimitUse> {
        let all = [
            (LimitScope::Run, self.run),
            (LimitScope::Day, self.day),
            (LimitScope::Month, self.month),
        ];
        let unused = |(scope, limit): (LimitScope, Option<Money>)| {
            Some(LimitUse {
                scope,
                limit: limit?,
                spent: Money::ZERO,
                reserved: Money::ZERO,
            })
        };
        all.into_iter().filter_map(unused).collect()
    }
}

/// What a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// One run.
    Run,
    /// A day in UTC, over all jobs of the state directory.
    Day,
    /// A month in UTC, over all jobs of the state directory.
    Month,
}

/// Why something cannot be reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shortage {
    /// Which limit would be passed.
    pub scope: LimitScope,
    /// The limit.
    pub limit: Money,
    /// What was asked for.
    pub asked: Money,
    /// What is spent of it.
    pub spent: Money,
    /// What is reserved of it.
    pub reserved: Money,
    /// Who has spent and reserved it, the largest first; at most five.
    pub by: Vec<JobSpend>,
}

impl Shortage {
    /// What is left of the limit.
    #[must_use]
    pub fn left(&self) -> Money {
        (self.limit - self.spent - self.reserved).max(Money::ZERO)
    }
}

/// A job's part of what is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobSpend {
    /// The job.
    pub job: String,
    /// What it has spent.
    pub spent: Money,
    /// What is reserved for it.
    pub reserved: Money,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is something else.
    #[error("`{}` is no ledger of rowmill", .path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file is from a newer version.
    #[error("the ledger `{}` has format {found}, and this version knows formats up to {VERSION}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Another program has written in it.
    #[error("the ledger `{}` was edited: {edit}", .path.display())]
    Edited {
        /// The file.
        path: PathBuf,
        /// What does not match.
        edit: Edit,
    },
    /// It has another batch of this number, so the run's journal lacks something that was sent.
    #[error("the ledger `{}` has another batch {batch} of run `{run}`, which is {}", .path.display(), .state.as_str())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// The run.
        run: String,
        /// The batch.
        batch: u32,
        /// The state of the other one.
        state: EntryState,
    },
    /// Another process has locked it.
    #[error("the ledger `{}` is locked by another process", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot create the ledger `{}`", .path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// SQLite.
    #[error("cannot use the ledger `{}`", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
}

/// What does not match in a ledger that was edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Edit {
    /// A row does not match its checksum.
    #[error("batch {batch} of run `{run}` does not match its checksum")]
    Row {
        /// The run.
        run: String,
        /// The batch, from 1.
        batch: i64,
    },
    /// It has more or fewer rows than were written.
    #[error("it has {found} batches, and {written} were written")]
    Count {
        /// Rows that it has.
        found: i64,
        /// Rows that were written.
        written: i64,
    },
    /// Its rows do not match the checksum of the whole.
    #[error("batches were removed or added")]
    Rows,
}

/// The file of the ledger in a place: a directory, or the file itself by its ending `.sqlite`.
#[must_use]
pub fn file_of(place: &Path) -> PathBuf {
    if place.extension().is_some_and(|ending| ending == "sqlite") {
        place.to_path_buf()
    } else {
        place.join(FILE)
    }
}
