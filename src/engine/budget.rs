//! The money of a run: reserved before a batch is sent, settled when its results are here.
//!
//! The ledger follows the journal. The state of a batch decides what the ledger has to say of it:
//!
//! ```text
//!  Planned, Refused, Split, Withdrawn   Intended, InDoubt, Accepted, Ended   Collected, Lost
//!  nothing, or released                 reserved                             billed: what its result lines cost
//! ```
//!
//! The one step that comes before the journal is the reservation: it is made right before the
//! intent, so that no batch is ever sent without. Everything else is written after the journal, and
//! again whenever the run is opened: that repairs the ledger of a process that ended between the
//! two. What is written is the same each time, since it follows from the run's own files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::cost::{BatchCost, Bill, Money};
use crate::estimate::Bounds;
use crate::join::{AttemptResults, Joiner, RequestRow, ResultIndex};
use crate::journal::{BatchState, Plan, Step};
use crate::ledger::{
    BudgetLimits, BudgetSpec, EntryState, Ledger, LedgerEntry, OnLimit, Reservation, Shortage,
};
use crate::outcome::details::Wanted;
use crate::provider::Formats;

use super::batch_join::parser;
use super::run_place::RunPlace;
use super::state_files::{LedgerStanding, StateRecord};
use super::{Error, Run, results_file};

/// What the budget of a run depends on.
#[derive(Debug, Clone)]
pub struct BudgetContext {
    /// The models and their prices.
    pub catalog: Arc<Catalog>,
    /// The state directory of runs that lie in none.
    pub state: PathBuf,
    /// How long another process is waited for that has locked the ledger.
    pub ledger_patience: Duration,
    /// Most that the run may cost, if the user set it; it replaces what was set when the run was
    /// planned.
    pub max_cost: Option<Money>,
    /// The formats that runs are read by; other than the built-in ones for a provider of one's own.
    pub formats: Formats,
}

/// The run's part of the ledger.
#[derive(Debug)]
pub(crate) struct RunBudget {
    ledger: Ledger,
    pub(super) place: RunPlace,
    /// The id of the state directory.
    pub(super) state_id: String,
    /// Whether the ledger was lost, and lacks what other runs have spent.
    is_incomplete: bool,
    entries: BTreeMap<u32, LedgerEntry>,
    budget: BudgetSpec,
    max_cost: Option<Money>,
    /// Estimates of batches that were not in the plan, as far as they were needed.
    pub(super) estimated: RefCell<BTreeMap<u32, Bounds>>,
}

/// A run whose next batches do not fit into its budget.
#[derive(Debug)]
pub struct OverBudget {
    /// The limit that would be passed, and who has used it up.
    pub shortage: Shortage,
    /// Batches that are to be sent.
    pub batches: u64,
    /// Their requests.
    pub requests: u64,
    /// Their cost by the high figure of the estimate.
    pub high: Money,
    /// Their expected cost.
    pub expected: Money,
    /// Whether the limit for the run was set on the command line, not in the job file.
    pub typed: bool,
    /// Whether batches of the run were sent before.
    pub is_under_way: bool,
    /// The run.
    pub run: PathBuf,
}

impl RunBudget {
    /// Opens the ledger that counts for a run, and makes the directory of the run a state if it is
    /// none yet.
    pub(crate) fn open(
        place: RunPlace,
        plan: &Plan,
        context: &BudgetContext,
        budget: BudgetSpec,
        now: Timestamp,
    ) -> Result<RunBudget, Error> {
        for folder in [Some(place.state.as_path()), place.ledger.parent()] {
            let folder = folder.unwrap_or(Path::new(""));
            crate::durable::create_private_dir(folder).map_err(|source| Error::File {
                doing: "create the folder",
                path: folder.to_path_buf(),
                source,
            })?;
        }
        let is_incomplete = place.has_lost_ledger()?;
        if is_incomplete {
            // Before a new one is there, which nothing would tell from a complete one.
            place.record_ledger(LedgerStanding::Incomplete, now)?;
        }
        let ledger = Ledger::open_file(&place.ledger, context.ledger_patience)?;
        let entries = ledger
            .of_run(&plan.run)?
            .into_iter()
            .map(|entry| (entry.batch, entry))
            .collect();
        let record = match is_incomplete {
            true => StateRecord::ensure(&place.state, now)?,
            false => place.record_ledger(LedgerStanding::Complete, now)?,
        };
        place.record_job_file()?;
        let max_cost = context.max_cost.or(plan.max_cost);
        Ok(RunBudget {
            ledger,
            place,
            state_id: record.id,
            is_incomplete,
            entries,
            budget,
            max_cost,
            estimated: RefCell::default(),
        })
    }

    fn limits(&self) -> BudgetLimits {
        self.budget.limits(self.max_cost)
    }
}

impl Run {
    /// Takes the budget of the job file as it is now: a limit may be raised while a run is under
    /// way.
    pub fn set_budget(&mut self, budget: &BudgetSpec) {
        self.budget.budget = budget.clone();
    }

    /// What happens where the run does not fit into its budget.
    #[must_use]
    pub fn on_limit(&self) -> OnLimit {
        self.budget.budget.on_limit
    }

    /// What the run has spent, and what is reserved for its batches in flight.
    #[must_use]
    pub fn spent_and_reserved(&self) -> (Money, Money) {
        let entries = self.budget.entries.values();
        (
            entries.clone().map(LedgerEntry::spent).sum(),
            entries.map(LedgerEntry::held).sum(),
        )
    }

    /// What is to be reserved for a batch, at this amount.
    fn reservation(&self, batch: u32, amount: Money, worst_case: Money) -> Reservation<'_> {
        Reservation {
            run: &self.plan().run,
            batch,
            job: &self.plan().job_name,
            model: &self.job().request.model,
            simulated: self.plan().simulated,
            requests: self.spooled(batch).requests.into(),
            amount,
            worst_case,
        }
    }

    /// Reserves money for a batch that is about to be sent, or returns the shortage.
    pub(crate) fn reserve(
        &mut self,
        batch: u32,
        now: Timestamp,
    ) -> Result<Option<Shortage>, Error> {
        if self.budget.is_incomplete && !self.plan().is_in_process() {
            return Err(Error::LedgerLost {
                ledger: self.budget.ledger.path().to_path_buf(),
                state: self.budget.place.state.clone(),
            });
        }
        let Bounds {
            high, worst_case, ..
        } = self.expected_cost(batch)?;
        let limits = self.budget.limits();
        let wanted = self.reservation(batch, high, worst_case);
        match self
            .budget
            .ledger
            .reserve(&wanted, self.budget.entries.get(&batch), &limits, now)?
        {
            Ok(entry) => {
                self.budget.entries.insert(batch, entry);
                Ok(None)
            }
            Err(shortage) => Ok(Some(shortage)),
        }
    }

    /// Whether everything that is still to be sent fits into the budget together.
    ///
    /// # Errors
    /// [`Error::Budget`] if it does not.
    pub(crate) fn check_budget(&self, now: Timestamp) -> Result<(), Error> {
        let Some(first) = self.state().left_to(Step::Submit).next() else {
            return Ok(());
        };
        let Bounds {
            high, worst_case, ..
        } = self.left_to_send()?;
        let wanted = self.reservation(first.number(), high, worst_case);
        match self
            .budget
            .ledger
            .shortage(&wanted, &self.budget.limits(), now)?
        {
            Some(shortage) => Err(self.short(shortage)?),
            None => Ok(()),
        }
    }

    /// What is short for a batch now; nothing is reserved.
    pub(crate) fn shortage(&self, batch: u32, now: Timestamp) -> Result<Option<Shortage>, Error> {
        let Bounds {
            high, worst_case, ..
        } = self.expected_cost(batch)?;
        Ok(self.budget.ledger.shortage(
            &self.reservation(batch, high, worst_case),
            &self.budget.limits(),
            now,
        )?)
    }

    /// What everything that is still to be sent costs.
    ///
    /// # Errors
    /// [`Error::Batch`] when a spool file cannot be read; [`Error::NoPrice`].
    pub fn left_to_send(&self) -> Result<Bounds, Error> {
        let mut sum = Bounds::default();
        for batch in self.state().left_to(Step::Submit) {
            sum.add(self.expected_cost(batch.number())?);
        }
        Ok(sum)
    }

    /// The error about a shortage.
    pub(crate) fn short(&self, shortage: Shortage) -> Result<Error, Error> {
        let left = self.left_to_send()?;
        Ok(Error::Budget(Box::new(OverBudget {
            typed: self
                .budget
                .max_cost
                .is_some_and(|typed| typed == shortage.limit),
            shortage,
            batches: (self.state().unsent().count() as u64),
            requests: self
                .state()
                .left_to(Step::Submit)
                .map(|batch| u64::from(batch.spooled.requests))
                .sum(),
            high: left.high,
            expected: left.expected,
            is_under_way: self.state().has_remotes(),
            run: self.folder().to_path_buf(),
        })))
    }

    /// Brings the ledger in line with where every batch stands.
    pub(crate) fn follow_all(&mut self, now: Timestamp) -> Result<(), Error> {
        (1..=self.state().batch_count()).try_for_each(|batch| self.follow(batch, now))
    }

    /// Brings the ledger in line with where a batch stands.
    pub(crate) fn follow(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        let wanted = worth(self.standing_of(batch));
        let entry = self.budget.entries.get(&batch);
        match (entry.map(|entry| entry.state), wanted) {
            (None | Some(EntryState::Released), EntryState::Released) => Ok(()),
            (Some(EntryState::Reserved), EntryState::Released) => self.release(batch, now),
            // What was billed was paid, even if a rebuilt journal does not have the batch.
            (Some(EntryState::Billed), EntryState::Released) => Ok(()),
            // A bill that was written is worth more than a rebuilt journal.
            (Some(EntryState::Reserved | EntryState::Billed), EntryState::Reserved) => Ok(()),
            (None | Some(EntryState::Released), EntryState::Reserved) => self.admit(batch),
            (Some(EntryState::Billed), EntryState::Billed) => Ok(()),
            (Some(EntryState::Reserved), EntryState::Billed) => {
                self.settle_by_its_results(batch, now)
            }
            (None | Some(EntryState::Released), EntryState::Billed) => {
                self.admit(batch)?;
                self.settle_by_its_results(batch, now)
            }
        }
    }

    /// Writes down what the rows of an output cost, where prices have changed since the results
    /// came.
    pub(crate) fn settle_by(&mut self, bill: &Bill, now: Timestamp) -> Result<(), Error> {
        for (id, share) in &bill.by_batch {
            let batch = self
                .state()
                .batch_of(&crate::provider::BatchId(id.to_string()));
            let Some(entry) = batch.and_then(|batch| self.budget.entries.get(&batch)) else {
                continue;
            };
            if entry.state != EntryState::Billed || entry.share != *share {
                let entry = self.budget.ledger.settle(entry, share.clone(), now)?;
                self.budget.entries.insert(entry.batch, entry);
            }
        }
        Ok(())
    }

    fn release(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        let Some(entry) = self.budget.entries.get(&batch) else {
            return Ok(());
        };
        let entry = self.budget.ledger.release(entry, now)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// Reserves for a batch that was sent without a reservation in this ledger.
    fn admit(&mut self, batch: u32) -> Result<(), Error> {
        let Bounds {
            high, worst_case, ..
        } = self.expected_cost(batch)?;
        // The day of the ledger is this machine's day, whatever the provider's clock says.
        let at = self.sent_at(batch);
        let sent = self.reservation(batch, high, worst_case);
        let entry = self
            .budget
            .ledger
            .admit(&sent, self.budget.entries.get(&batch), at)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// What the ledger has on the run's batches.
    pub(crate) fn entries(&self) -> &BTreeMap<u32, LedgerEntry> {
        &self.budget.entries
    }

    /// The state directory that the run belongs to.
    pub(crate) fn state_folder(&self) -> &Path {
        &self.budget.place.state
    }

    /// Whether the ledger has a bill for a batch.
    pub(crate) fn is_billed(&self, batch: u32) -> bool {
        self.budget
            .entries
            .get(&batch)
            .is_some_and(|entry| entry.state == EntryState::Billed)
    }

    /// Writes down what a batch cost whose results were fetched once more.
    pub(crate) fn settle_again(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        self.settle_by_its_results(batch, now)
    }

    fn settle_by_its_results(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        // Results that are lost on this disk are reported by the export; until then the batch stays
        // reserved.
        let index = self.take_index(batch);
        let Some(share) = self.share_of(batch, index)? else {
            return Ok(());
        };
        let Some(entry) = self.budget.entries.get(&batch) else {
            return Ok(());
        };
        let entry = self.budget.ledger.settle(entry, share, now)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// What the saved results of a batch cost, by the very rule by which its rows are priced.
    /// `None` if they are not there.
    fn share_of(&self, batch: u32, index: Option<ResultIndex>) -> Result<Option<BatchCost>, Error> {
        let path = self.results_path(batch);
        let (Some(remote), true) = (
            self.state()
                .batch(batch)
                .and_then(|batch| batch.remote.as_ref()),
            path.is_file(),
        ) else {
            return Ok(None);
        };
        let ids = self.ids_of(batch)?;
        let index = match index {
            Some(index) => index,
            None => results_file::read_index(self, &ids, &path, None)?,
        };
        let attempt = AttemptResults {
            attempt: 1,
            batch_id: Arc::from(remote.id.0.as_str()),
            index,
        };
        let mut joiner = Joiner::new(
            vec![attempt],
            None,
            parser(self.format(), Wanted::default()),
        )
        .priced_by(self.catalog());
        for custom_id in ids.iter().flatten() {
            joiner.row(RequestRow {
                custom_id,
                ..RequestRow::default()
            })?;
        }
        Ok(Some(
            joiner
                .totals()
                .bill
                .by_batch
                .values()
                .next()
                .cloned()
                .unwrap_or_default(),
        ))
    }
}

/// Where a batch must be in the ledger.
fn worth(state: &BatchState) -> EntryState {
    match state {
        BatchState::Empty
        | BatchState::Planned
        | BatchState::Refused { .. }
        | BatchState::Split { .. }
        | BatchState::Withdrawn => EntryState::Released,
        BatchState::Intended { .. }
        | BatchState::InDoubt { .. }
        | BatchState::Accepted
        | BatchState::Ended { .. } => EntryState::Reserved,
        BatchState::Collected { .. } | BatchState::Lost { .. } => EntryState::Billed,
    }
}
