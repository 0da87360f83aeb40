//! Where a run belongs, wherever its folder was moved: its state directory, its job file, its
//! ledger and its output.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::journal::{self, Plan, RunDir};
use crate::ledger::{self, BudgetSpec};

use super::Error;
use super::kept_job::KeptJob;
use super::state_files::{JobRecord, LedgerStanding, SharedLedger, StateRecord, is_same_place};
use super::state_location::StateLocation;

/// Where a run belongs.
#[derive(Debug, Clone)]
pub(crate) struct RunPlace {
    /// Its state directory.
    pub state: PathBuf,
    /// Its job file, where it is now.
    pub job_file: PathBuf,
    /// The file of its ledger.
    pub ledger: PathBuf,
    job: String,
    shared: Option<PathBuf>,
}

impl RunPlace {
    /// Where a run belongs; `state` is the directory that is set, for a run that lies in none.
    pub(crate) fn of(folder: &Path, plan: &Plan, budget: &BudgetSpec, state: &Path) -> RunPlace {
        let own = StateLocation::holding(folder);
        let state = own.map_or_else(|| state.to_path_buf(), PathBuf::from);
        let record = JobRecord::read(&state.join(&plan.job_name)).ok().flatten();
        let job_file = record
            .and_then(|record| record.job_file(&state))
            .unwrap_or_else(|| plan.job_path.clone());
        RunPlace::new(state, &plan.job_name, job_file, budget)
    }

    /// Where the runs of a job belong.
    pub(super) fn new(
        state: PathBuf,
        job: &str,
        job_file: PathBuf,
        budget: &BudgetSpec,
    ) -> RunPlace {
        let folder = job_file.parent().unwrap_or(Path::new(""));
        let shared = budget.ledger.as_ref().map(|path| folder.join(path));
        RunPlace {
            ledger: ledger::file_of(shared.as_deref().unwrap_or(&state)),
            state,
            job: job.to_owned(),
            job_file,
            shared: budget.ledger.clone(),
        }
    }

    /// A file of the job, by the place it had when the run was planned: where the job's folder was
    /// moved since, it was moved along.
    pub(crate) fn moved_along(&self, plan: &Plan, file: &Path) -> PathBuf {
        let (Some(then), Some(now)) = (plan.job_path.parent(), self.job_file.parent()) else {
            return file.to_path_buf();
        };
        match file.strip_prefix(then) {
            Ok(own) if !is_same_place(then, now) => now.join(own),
            _ => file.to_path_buf(),
        }
    }

    /// Whether its ledger is lost: it was there, and runs have sent batches that a new one does
    /// not have.
    ///
    /// # Errors
    /// [`Error::StateFile`].
    pub(super) fn has_lost_ledger(&self) -> Result<bool, Error> {
        let Some(record) = StateRecord::read(&self.state)? else {
            return Ok(false);
        };
        Ok(match self.standing_in(&record) {
            None => false,
            Some(LedgerStanding::Incomplete) => true,
            Some(LedgerStanding::Complete) => {
                !self.ledger.is_file() && self.has_runs_that_sent()?
            }
        })
    }

    /// Records that the ledger is there, and whether it has every run.
    ///
    /// # Errors
    /// [`Error::StateFile`], [`Error::File`].
    pub(super) fn record_ledger(
        &self,
        standing: LedgerStanding,
        now: Timestamp,
    ) -> Result<StateRecord, Error> {
        let mut record = StateRecord::ensure(&self.state, now)?;
        if self.standing_in(&record) == Some(standing) {
            return Ok(record);
        }
        match &self.shared {
            None => record.ledger = Some(standing),
            Some(path) => {
                let path = path.clone();
                let shared = SharedLedger { path, standing };
                record.shared_ledgers.insert(self.job.clone(), shared);
            }
        }
        record.write(&self.state)?;
        Ok(record)
    }

    /// Records the job file of the run, where its job's folder does not name one yet.
    ///
    /// # Errors
    /// [`Error::StateFile`], [`Error::File`].
    pub(super) fn record_job_file(&self) -> Result<(), Error> {
        let folder = self.state.join(&self.job);
        if folder.is_dir() && JobRecord::read(&folder)?.is_none() {
            JobRecord::new(&self.state, &self.job_file).write(&folder)?;
        }
        Ok(())
    }

    fn standing_in(&self, record: &StateRecord) -> Option<LedgerStanding> {
        let Some(path) = &self.shared else {
            return record.ledger;
        };
        let shared = record.shared_ledgers.get(&self.job)?;
        (shared.path == *path).then_some(shared.standing)
    }

    fn has_runs_that_sent(&self) -> Result<bool, Error> {
        let runs = match &self.shared {
            None => journal::all_runs(&self.state)?,
            Some(_) => journal::runs_of(&self.state, &self.job)?,
        };
        // What cannot be read may have sent something.
        let has_sent = |folder: &Path| {
            let (plan, state) = journal::read_run(folder).ok()?;
            Some(!plan.is_in_process() && !state.has_sent_nothing())
        };
        Ok(runs.iter().any(|run| has_sent(&run.path).unwrap_or(true)))
    }
}

/// The files of the ledgers that the runs of a state use, each with whether other states may use
/// it too. Only those that exist.
pub(super) fn ledgers_of(state: &Path) -> Vec<(PathBuf, bool)> {
    let record = StateRecord::read(state).ok().flatten();
    let shared = record
        .map(|record| record.shared_ledgers)
        .unwrap_or_default();
    let shared = shared.iter().filter_map(|(job, shared)| {
        let record = JobRecord::read(&state.join(job)).ok()??;
        let folder = record.job_file(state)?.parent()?.to_path_buf();
        Some((ledger::file_of(&folder.join(&shared.path)), true))
    });
    let mut ledgers = vec![(ledger::file_of(state), false)];
    ledgers.extend(shared);
    ledgers.retain(|(file, _)| file.is_file());
    ledgers.dedup();
    ledgers
}

/// The file of the ledger that counts for a run; `state` is the directory that is set, for a run
/// that lies in none.
///
/// # Errors
/// [`Error::Journal`] where the run cannot be read.
pub fn ledger_of(run: &Path, state: &Path) -> Result<PathBuf, Error> {
    let (dir, plan, _) = RunDir::open(run)?;
    let kept = KeptJob::of_plan(&dir, &plan)?;
    Ok(RunPlace::of(run, &plan, &kept.job.budget, state).ledger)
}
