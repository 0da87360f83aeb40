//! The money of a run: reserved before a batch is sent, settled when its results are here.
//!
//! What is reserved is the most that a batch can cost, so that what is spent and reserved never
//! passes a limit, whatever the answers are. A run is refused up front only where its *expected*
//! cost does not fit; where only the worst case does not, batches wait until others are settled, or
//! are sent in parts (`budget_split.rs`).
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
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::cost::{BatchCost, Bill, Money};
use crate::estimate::{Bounds, MeasuredPrompts};
use crate::join::{AttemptResults, JoinedRow, Joiner, RequestRow, ResultIndex};
use crate::journal::{Batch, BatchState, Plan, Step};
use crate::ledger::{
    BudgetLimits, BudgetSpec, EntryState, Ledger, LedgerEntry, LimitUse, LimitedBatch, OnLimit,
    Reservation, Shortage,
};
use crate::outcome::Usage;
use crate::outcome::details::Wanted;
use crate::provider::Formats;

use super::abandon::LONGEST_RESERVED;
use super::batch_join::parser;
use super::context::between;
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
    /// What results of the run showed of its prompts, and the batches that were looked at.
    pub(super) measured: MeasuredPrompts,
    looked_at: BTreeSet<u32>,
    /// The most that batches can cost by that, as far as it was needed.
    pub(super) worst_cases: RefCell<BTreeMap<u32, Money>>,
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
    /// Their expected cost.
    pub expected: Money,
    /// The most that they can cost.
    pub worst_case: Money,
    /// What does not fit.
    pub cause: BudgetCause,
    /// Whether the limit for the run was set on the command line, not in the job file.
    pub typed: bool,
    /// Whether batches of the run were sent before.
    pub is_under_way: bool,
    /// The run.
    pub run: PathBuf,
}

/// What of a run does not fit into its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetCause {
    /// The expected cost of everything that is still to be sent.
    Expected,
    /// Not even one request in its worst case.
    OneRequest {
        /// What that costs.
        worst_case: Money,
    },
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
            measured: MeasuredPrompts::default(),
            looked_at: BTreeSet::new(),
            worst_cases: RefCell::default(),
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

    /// The most that the run may cost, if the user set it.
    pub(crate) fn max_cost(&self) -> Option<Money> {
        self.budget.max_cost
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
        self.measure_saved_results()?;
        let (amount, limits) = (self.worst_case(batch)?, self.budget.limits());
        let wanted = self.reservation(batch, amount, self.expected_cost(batch)?.worst_case);
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

    /// Whether the expected cost of everything that is still to be sent fits into the budget.
    ///
    /// # Errors
    /// [`Error::Budget`] if it does not.
    pub(crate) fn check_budget(&self, now: Timestamp) -> Result<(), Error> {
        let Some(first) = self.state().left_to(Step::Submit).next() else {
            return Ok(());
        };
        let left = self.left_to_send()?;
        let wanted = self.reservation(first.number(), left.expected, left.worst_case);
        match self
            .budget
            .ledger
            .shortage(&wanted, &self.budget.limits(), now)?
        {
            Some(shortage) => Err(self.short(shortage, BudgetCause::Expected)?),
            None => Ok(()),
        }
    }

    /// What is short for a batch now; nothing is reserved.
    pub(crate) fn shortage(&self, batch: u32, now: Timestamp) -> Result<Option<Shortage>, Error> {
        let amount = self.worst_case(batch)?;
        Ok(self.budget.ledger.shortage(
            &self.reservation(batch, amount, amount),
            &self.budget.limits(),
            now,
        )?)
    }

    /// How much of each limit is used.
    pub(crate) fn limit_uses(&self, now: Timestamp) -> Result<Vec<LimitUse>, Error> {
        let of = LimitedBatch {
            run: &self.plan().run,
            batch: 0,
            simulated: self.plan().simulated,
        };
        Ok(self.budget.ledger.uses(&of, &self.budget.limits(), now)?)
    }

    /// What is left of the limit with the least left; everything where there is none.
    pub(crate) fn room(&self, now: Timestamp) -> Result<Money, Error> {
        let uses = self.limit_uses(now)?;
        Ok(uses.iter().map(LimitUse::left).min().unwrap_or(Money::MAX))
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

    /// Requests that are still to be sent.
    pub(crate) fn requests_left_to_send(&self) -> u64 {
        let left = self.state().left_to(Step::Submit);
        left.map(|batch| u64::from(batch.spooled.requests)).sum()
    }

    /// The error about a shortage.
    pub(crate) fn short(&self, shortage: Shortage, cause: BudgetCause) -> Result<Error, Error> {
        let left = self.left_to_send()?;
        Ok(Error::Budget(Box::new(OverBudget {
            typed: self
                .budget
                .max_cost
                .is_some_and(|typed| typed == shortage.limit),
            shortage,
            batches: (self.state().unsent().count() as u64),
            requests: self.requests_left_to_send(),
            expected: left.expected,
            worst_case: left.worst_case,
            cause,
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
            (Some(EntryState::Released), EntryState::Reserved) if self.is_outlived(batch, now) => {
                Ok(())
            }
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

    /// Releases what is reserved for batches of an abandoned run that can cost nothing more, and
    /// returns the amount. What they cost is counted once their results are fetched.
    ///
    /// # Errors
    /// [`Error::Ledger`].
    pub(super) fn release_outlived(&mut self, now: Timestamp) -> Result<Money, Error> {
        let mut sum = Money::ZERO;
        for batch in 1..=self.state().batch_count() {
            let entry = self.budget.entries.get(&batch);
            let reserved = entry.filter(|entry| entry.state == EntryState::Reserved);
            if let Some(amount) = reserved.map(|entry| entry.reserved)
                && self.is_outlived(batch, now)
            {
                self.release(batch, now)?;
                sum += amount;
            }
        }
        Ok(sum)
    }

    /// Whether nothing more can be billed for a batch of an abandoned run: its counters say that no
    /// request succeeded, or it has ended by its age, whether or not that was seen.
    fn is_outlived(&self, batch: u32, now: Timestamp) -> bool {
        let is_free = match self.standing_of(batch) {
            BatchState::Ended { counts } => {
                counts.total() > 0 && counts.succeeded == 0 && counts.processing == 0
            }
            _ => false,
        };
        let age = between(self.sent_at(batch), now);
        self.state().abandoned().is_some() && (is_free || age >= LONGEST_RESERVED)
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
        let amount = self.expected_cost(batch)?.worst_case;
        // The day of the ledger is this machine's day, whatever the provider's clock says.
        let at = self.sent_at(batch);
        let sent = self.reservation(batch, amount, amount);
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
        let Some(BatchBill { share, usages }) = self.share_of(batch, index)? else {
            return Ok(());
        };
        self.measure(batch, &usages)?;
        let Some(entry) = self.budget.entries.get(&batch) else {
            return Ok(());
        };
        let entry = self.budget.ledger.settle(entry, share, now)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// Takes in how many tokens the prompts of a batch had, by the usage of each request.
    fn measure(&mut self, batch: u32, usages: &[Option<Usage>]) -> Result<(), Error> {
        let is_new = self.budget.looked_at.insert(batch);
        if is_new && !self.budget.measured.is_enough() {
            let prompts = self.rows_of(batch)?.measured(self, usages)?;
            self.budget.measured.add(&prompts);
            self.budget.worst_cases.borrow_mut().clear();
        }
        Ok(())
    }

    /// The same for batches whose results an earlier process saved, as far as more is to be known.
    fn measure_saved_results(&mut self) -> Result<(), Error> {
        let is_saved = |batch: &&Batch| matches!(batch.state, BatchState::Collected { .. });
        let saved = self.state().batches().iter().filter(is_saved);
        let saved: Vec<u32> = saved.map(Batch::number).collect();
        for batch in saved {
            if self.budget.measured.is_enough() {
                break;
            }
            if !self.budget.looked_at.contains(&batch)
                && let Some(BatchBill { usages, .. }) = self.share_of(batch, None)?
            {
                self.measure(batch, &usages)?;
            }
        }
        Ok(())
    }

    /// What the saved results of a batch cost, by the very rule by which its rows are priced, and
    /// the usage of each request. `None` if they are not there.
    fn share_of(&self, batch: u32, index: Option<ResultIndex>) -> Result<Option<BatchBill>, Error> {
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
        let mut usages = Vec::new();
        for custom_id in ids.iter().flatten() {
            let row = joiner.row(RequestRow {
                custom_id,
                ..RequestRow::default()
            })?;
            usages.push(usage_of(row));
        }
        let bills = &joiner.totals().bill.by_batch;
        let share = bills.values().next().cloned().unwrap_or_default();
        Ok(Some(BatchBill { share, usages }))
    }
}

/// What the saved results of a batch say of its cost.
struct BatchBill {
    share: BatchCost,
    /// The usage of each request, in order.
    usages: Vec<Option<Usage>>,
}

/// The usage of a row that was sent once.
fn usage_of(row: JoinedRow<'_>) -> Option<Usage> {
    row.attempts.into_iter().next()?.outcome.usage
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
