//! Old runs and trials → removed, with everything kept that the next run, the ledger and the
//! estimates need.
//!
//! ```text
//!  lock of the job ─▶ each run: may it go? ─ no ─▶ kept, and why
//!                                  │ yes
//!                                  ▼
//!    lock of the run ─▶ asked again ─▶ its trial file ─▶ line in pruned.jsonl ─▶ renamed ─▶ deleted
//! ```
//!
//! A run may go if nothing of it is in flight, uncertain, waiting to be fetched or reserved in the
//! ledger, if no process works on it, and if no start needs it: the newest finished runs of a job
//! show that there is nothing to do. A process that ends between two steps has removed the run or
//! not; what is left of a folder is deleted by the next prune.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::cost::Money;
use crate::durable;
use crate::journal::{
    self, Batch, Journal, Lock, Owner, Plan, PrunedRun, RunDir, Stage, State, Step,
};
use crate::ledger::{self, EntryState, Ledger, LedgerEntry};

use super::context::between;
use super::evidence::{Evidence, Scope};
use super::notice::Observer as _;
use super::options::{PruneOptions, Target};
use super::run_place::ledger_of;
use super::setup::Engine;
use super::trials::{TrialOutput, is_trial, trials_in};
use super::view::RETENTION;
use super::{Error, in_one_line};

/// What a prune removed, and what it kept.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PruneReport {
    /// Whether nothing was removed, only looked at.
    pub dry_run: bool,
    /// The runs that were looked at.
    pub runs: Vec<PrunedRunReport>,
    /// The trial outputs that were looked at.
    pub trials: Vec<PrunedTrialReport>,
    /// Folders that an earlier prune had begun to remove.
    pub unfinished_removals: u64,
    /// Bytes that were freed, or would be.
    pub bytes_freed: u64,
}

/// A run that a prune looked at.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedRunReport {
    /// Its job; `None` where it cannot be read.
    pub job: Option<String>,
    /// Its id.
    pub run: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether it was named, and not only found.
    pub named: bool,
    /// Whether it is a trial: simulated, or of some rows only.
    pub trial: bool,
    /// Where it stands; `None` where it cannot be read.
    pub state: Option<Stage>,
    /// When something was recorded of it last; `None` where it cannot be read.
    pub last_event_at: Option<Timestamp>,
    /// Its size.
    pub bytes: u64,
    /// Why it is kept; `None` where it is removed.
    pub kept: Option<KeptBecause>,
}

/// A trial output that a prune looked at.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedTrialReport {
    /// The file.
    #[serde(flatten)]
    pub output: TrialOutput,
    /// Why it is kept; `None` where it is removed.
    pub kept: Option<KeptBecause>,
}

/// Why a run, or a trial output, is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeptBecause {
    /// It is younger than what was asked for.
    TooRecent,
    /// It is one of the newest finished runs of its job, which show that there is nothing to do.
    NewestFinished,
    /// Batches of it are in flight.
    InFlight {
        /// How many.
        batches: u64,
    },
    /// Batches of it may or may not have been created.
    Uncertain {
        /// How many.
        batches: u64,
    },
    /// Results of it were not fetched.
    NotCollected {
        /// Batches with such results.
        batches: u64,
    },
    /// Something of it was sent, and it is not finished.
    Unfinished,
    /// The ledger holds money for it.
    Reserved {
        /// How much.
        amount: Money,
    },
    /// Another process works on it.
    Locked {
        /// Who that is, as far as it is known.
        owner: Option<String>,
    },
    /// Another process plans or looks for a run of its job.
    JobLocked {
        /// Who that is, as far as it is known.
        owner: Option<String>,
    },
    /// It cannot be read, so it may have batches in flight.
    Unreadable {
        /// Why.
        problem: String,
    },
    /// The run that wrote it is kept.
    OfKeptRun,
}

impl PruneReport {
    /// Adds what was removed and kept in another state.
    pub fn add(&mut self, other: PruneReport) {
        self.runs.extend(other.runs);
        self.trials.extend(other.trials);
        self.unfinished_removals += other.unfinished_removals;
        self.bytes_freed += other.bytes_freed;
    }

    /// The runs that are removed.
    pub fn removed_runs(&self) -> impl Iterator<Item = &PrunedRunReport> {
        self.runs.iter().filter(|run| run.kept.is_none())
    }

    /// The trial outputs that are removed.
    pub fn removed_trials(&self) -> impl Iterator<Item = &PrunedTrialReport> {
        self.trials.iter().filter(|trial| trial.kept.is_none())
    }
}

impl Engine {
    /// Removes the folders of old runs. The ledger, what jobs learned and uploaded files stay, and
    /// so does every run that is not over or that the next start of its job needs.
    ///
    /// # Errors
    /// [`Error::PruneWithoutAge`] where neither an age nor a run is given; [`Error::NoRun`];
    /// [`Error::Ledger`] and [`Error::Journal`] where something cannot be read or removed. Runs
    /// that were removed before stay removed.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport, Error> {
        let selection = self.select(options)?;
        let mut pruning = Pruning {
            engine: self,
            options,
            now: self.clock.now(),
            trials: trials_in(self.state.path(), None)?,
            report: PruneReport {
                dry_run: options.dry_run,
                ..PruneReport::default()
            },
        };
        for folder in &selection {
            pruning.folder(folder)?;
        }
        Ok(pruning.report)
    }

    /// The folders of runs that the targets of a prune mean.
    fn select(&self, options: &PruneOptions) -> Result<Vec<Selection>, Error> {
        let has_filter = options.older_than.is_some() || options.trials;
        let mut folders: BTreeMap<PathBuf, Selection> = BTreeMap::new();
        if options.targets.is_empty() {
            if !has_filter {
                return Err(Error::PruneWithoutAge { job: None });
            }
            for job in journal::job_folders(self.state.path())? {
                folders.insert(job.clone(), Selection::whole(job));
            }
        }
        for target in &options.targets {
            match self.find(target)? {
                Some(Target::Job(file)) if has_filter => {
                    let job = self.state.of_job_named(&file.job.head.name);
                    let of_job = folders
                        .entry(job.clone())
                        .or_insert_with(|| Selection::whole(job));
                    of_job.whole = true;
                }
                Some(Target::Job(_)) => {
                    return Err(Error::PruneWithoutAge {
                        job: Some(target.clone()),
                    });
                }
                Some(Target::Run(run)) => add_named(&mut folders, run),
                None if journal::removal_of(target).path().is_dir() => {
                    add_named(&mut folders, target.clone());
                }
                None => return Err(self.no_run(target)),
            }
        }
        Ok(folders.into_values().collect())
    }

    /// Whether a folder of runs is that of a job in a state directory, where starts look for runs.
    fn is_job_folder(&self, folder: &Path) -> bool {
        let Some(state) = folder.parent() else {
            return false;
        };
        let same = |a: &Path, b: &Path| {
            std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
        };
        same(state, self.state.path()) || state.join(ledger::FILE).is_file()
    }
}

fn add_named(folders: &mut BTreeMap<PathBuf, Selection>, run: PathBuf) {
    let has_folder = run.file_name().is_some() && run.parent() != Some(Path::new(""));
    let run = if has_folder {
        run
    } else {
        std::fs::canonicalize(&run)
            .or_else(|_| std::path::absolute(&run))
            .unwrap_or(run)
    };
    let folder = run.parent().map(Path::to_path_buf).unwrap_or_default();
    let selection = folders.entry(folder.clone()).or_insert_with(|| Selection {
        whole: false,
        ..Selection::whole(folder)
    });
    selection.named.insert(run);
}

/// The runs of a folder that are looked at.
#[derive(Debug)]
struct Selection {
    folder: PathBuf,
    /// Whether all of them are.
    whole: bool,
    /// Those that were named.
    named: HashSet<PathBuf>,
}

impl Selection {
    fn whole(folder: PathBuf) -> Selection {
        Selection {
            folder,
            whole: true,
            named: HashSet::new(),
        }
    }
}

/// A prune under way.
struct Pruning<'a> {
    engine: &'a Engine,
    options: &'a PruneOptions,
    now: Timestamp,
    trials: Vec<TrialOutput>,
    report: PruneReport,
}

impl Pruning<'_> {
    /// Works through a folder of runs, which no other process plans into meanwhile.
    fn folder(&mut self, selection: &Selection) -> Result<(), Error> {
        let folder = &selection.folder;
        if !has_runs(folder)? {
            return Ok(());
        }
        let is_job = self.engine.is_job_folder(folder);
        let lock = match (self.options.dry_run, is_job) {
            (false, true) => Lock::of_job(folder, &Owner::this_process(self.now)).map(Some),
            _ => Ok(None),
        };
        let (_lock, job_is_locked) = match lock {
            Ok(lock) => (lock, None),
            Err(journal::Error::JobLocked { owner, .. }) => {
                let owner = owner.map(|owner| owner.to_string());
                (None, Some(KeptBecause::JobLocked { owner }))
            }
            Err(error) => return Err(error.into()),
        };
        if job_is_locked.is_none() {
            self.finish_removals(selection)?;
        }
        let mut runs: Vec<Known> = Vec::new();
        for run in journal::runs_in(folder)? {
            match Known::read(&run.path, run.finished) {
                Ok(known) => runs.push(known),
                Err(error) if selection.takes(&run.path) && !self.options.trials => {
                    let problem = run.problem.map_or(error, Error::Journal);
                    self.keep_unreadable(&run.path, selection, &problem);
                }
                Err(_) => {}
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.last_event));
        let newest = self.newest_finished(&runs, is_job);
        for run in &runs {
            if !selection.takes(&run.folder) || (self.options.trials && !run.is_trial()) {
                continue;
            }
            if self.engine.step_observer().is_stopping() {
                return Err(Error::Interrupted);
            }
            let mut report = run.report(selection);
            report.kept = match &job_is_locked {
                Some(locked) => Some(locked.clone()),
                None => self.run(run, &newest, is_job)?,
            };
            self.report.runs.push(report);
        }
        self.trials_of_removed_runs(selection, job_is_locked.as_ref())
    }

    /// Deletes what an earlier prune had begun to remove.
    fn finish_removals(&mut self, selection: &Selection) -> Result<(), Error> {
        let named = selection.named.iter();
        let begun = if selection.whole {
            journal::removals_in(&selection.folder)?
        } else {
            let named = named.map(|run| journal::removal_of(run));
            named.filter(|removal| removal.path().is_dir()).collect()
        };
        for removal in begun {
            let home = self.home_of(&selection.folder, None);
            let bytes = durable::size_of_dir(removal.path()).unwrap_or(0);
            self.report.unfinished_removals += 1;
            self.report.bytes_freed += bytes;
            if self.options.dry_run {
                continue;
            }
            if let Some(pruned) = journal::recorded_removal(&home, &removal.run()) {
                self.forget_simulated(&pruned);
            }
            removal.finish()?;
        }
        Ok(())
    }

    /// The runs that are kept whatever their age: the newest that finished, and the newest that
    /// finished without being canceled, of each kind. The first are what `export` takes, the second
    /// what shows a start that there is nothing to do.
    fn newest_finished(&self, runs: &[Known], is_job: bool) -> HashSet<PathBuf> {
        let mut newest = HashSet::new();
        if !is_job {
            return newest;
        }
        let mut counts: BTreeMap<(bool, bool, bool, bool), usize> = BTreeMap::new();
        let finished = runs.iter().filter(|run| {
            let is_asked_for = self.options.trials && run.is_trial();
            !is_asked_for && matches!(run.state.stage(), Stage::Exported | Stage::HeldBack)
        });
        for run in finished {
            let Plan {
                simulated,
                narrowed,
                ..
            } = run.plan;
            let is_whole = run.state.stage() == Stage::Exported && !run.state.is_canceled();
            let ranks = [false].into_iter().chain(is_whole.then_some(true));
            for rank in ranks {
                let count = counts
                    .entry((run.plan.is_in_process(), simulated, narrowed, rank))
                    .or_default();
                if *count < self.options.keep_last {
                    newest.insert(run.folder.clone());
                }
                *count += 1;
            }
        }
        newest
    }

    /// Removes a run, unless it is kept.
    fn run(
        &mut self,
        run: &Known,
        newest: &HashSet<PathBuf>,
        is_job: bool,
    ) -> Result<Option<KeptBecause>, Error> {
        if let Some(kept) = self.kept(run, newest)? {
            return Ok(Some(kept));
        }
        if self.options.dry_run {
            self.report.bytes_freed += run.bytes();
            return Ok(None);
        }
        let _lock = match Lock::take(&run.dir, &Owner::this_process(self.now)) {
            Ok(lock) => lock,
            Err(journal::Error::Locked { owner, .. }) => {
                let owner = owner.map(|owner| owner.to_string());
                return Ok(Some(KeptBecause::Locked { owner }));
            }
            Err(error) => return Err(error.into()),
        };
        // What was read before may have changed until the lock was taken.
        let run = Known::read(&run.folder, run.is_reported)?;
        if let Some(kept) = self.kept(&run, newest)? {
            return Ok(Some(kept));
        }
        self.remove(&run, is_job)?;
        Ok(None)
    }

    /// Why a run is kept; `None` where it may go.
    fn kept(&self, run: &Known, newest: &HashSet<PathBuf>) -> Result<Option<KeptBecause>, Error> {
        if let Some(unfinished) = run.unfinished(self.now) {
            return Ok(Some(unfinished));
        }
        if self.is_too_recent(run.last_event) {
            return Ok(Some(KeptBecause::TooRecent));
        }
        if newest.contains(&run.folder) {
            return Ok(Some(KeptBecause::NewestFinished));
        }
        self.held_by_other_files(run)
    }

    fn is_too_recent(&self, at: Timestamp) -> bool {
        self.options.older_than.is_some_and(|age| {
            let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
            self.now.duration_since(at) < age
        })
    }

    /// What the ledger and the other files of a run know that its journal does not.
    fn held_by_other_files(&self, run: &Known) -> Result<Option<KeptBecause>, Error> {
        let ledger = ledger_of(&run.folder, self.engine.state.path())?;
        let entries = match Ledger::open_if_there(&ledger, self.engine.ledger_patience)? {
            Some(ledger) => ledger.of_run(&run.plan.run)?,
            None => Vec::new(),
        };
        let reserved = entries
            .iter()
            .filter(|entry| entry.state == EntryState::Reserved);
        let amount: Money = reserved.clone().map(LedgerEntry::held).sum();
        if reserved.count() > 0 {
            return Ok(Some(KeptBecause::Reserved { amount }));
        }
        if run.state.abandoned().is_some() {
            return Ok(None);
        }
        let entries = entries
            .into_iter()
            .map(|entry| (entry.batch, entry))
            .collect();
        let formats = self.engine.budget_context(None).formats;
        let lost = Evidence::read(&run.dir, &run.plan, &entries, &formats)
            .and_then(|known| known.lost_events(&run.state, Scope::DoubtSearch, self.now));
        Ok(match lost {
            Ok(lost) if lost.doubts.is_empty() => None,
            Ok(lost) => Some(KeptBecause::Uncertain {
                batches: lost.doubts.len() as u64,
            }),
            Err(error) => Some(KeptBecause::Unreadable {
                problem: in_one_line(&error),
            }),
        })
    }

    /// Removes a run whose lock is held. The record comes first: from then on it is known which
    /// file the run wrote, and which batches were its own.
    fn remove(&mut self, run: &Known, is_job: bool) -> Result<(), Error> {
        let bytes = run.bytes();
        if self.options.trials {
            self.trial_of(run)?;
        }
        let parent = run.folder.parent().unwrap_or(Path::new(""));
        let home = self.home_of(parent, (!is_job).then_some(&run.plan));
        durable::create_private_dir(&home).map_err(|source| Error::File {
            doing: "create",
            path: home.clone(),
            source,
        })?;
        let pruned = PrunedRun::new(&run.plan, &run.state, self.now);
        pruned.record(&home)?;
        let removal = run.dir.begin_removal()?;
        self.forget_simulated(&pruned);
        removal.finish()?;
        self.report.bytes_freed += bytes;
        Ok(())
    }

    /// Where it is recorded that a run was removed: beside the runs of its job.
    fn home_of(&self, folder: &Path, elsewhere: Option<&Plan>) -> PathBuf {
        match elsewhere {
            Some(plan) => self.engine.state.of_job_named(&plan.job_name),
            None => folder.to_path_buf(),
        }
    }

    /// Removes the trial output of a run that is about to be removed.
    fn trial_of(&mut self, run: &Known) -> Result<(), Error> {
        let own = |trial: &TrialOutput| trial.run == run.plan.run && trial.folder.is_some();
        let Some(place) = self.trials.iter().position(own) else {
            return Ok(());
        };
        let trial = self.trials.remove(place);
        self.remove_trial(trial)
    }

    fn remove_trial(&mut self, trial: TrialOutput) -> Result<(), Error> {
        self.report.bytes_freed += trial.bytes;
        if !self.options.dry_run {
            durable::act();
            std::fs::remove_file(&trial.path).map_err(|source| Error::File {
                doing: "remove",
                path: trial.path.clone(),
                source,
            })?;
        }
        self.report.trials.push(PrunedTrialReport {
            output: trial,
            kept: None,
        });
        Ok(())
    }

    /// The trial outputs that are left: those of runs that are kept, and those of runs that were
    /// removed earlier.
    fn trials_of_removed_runs(
        &mut self,
        selection: &Selection,
        job_is_locked: Option<&KeptBecause>,
    ) -> Result<(), Error> {
        if !self.options.trials {
            return Ok(());
        }
        let job = selection.folder.file_name().unwrap_or_default();
        let was_looked_at = |trial: &TrialOutput| {
            let mut runs = self.report.runs.iter();
            runs.any(|run| run.run == trial.run)
        };
        let is_meant = |trial: &TrialOutput| match &trial.folder {
            Some(_) => was_looked_at(trial),
            None => selection.whole && job == trial.job.as_str(),
        };
        let (meant, others) = std::mem::take(&mut self.trials)
            .into_iter()
            .partition(is_meant);
        self.trials = others;
        for trial in meant {
            let is_removed = |run: &PrunedRunReport| run.run == trial.run && run.kept.is_none();
            let is_of_kept_run = trial.folder.is_some() && !self.report.runs.iter().any(is_removed);
            let kept = if let Some(locked) = job_is_locked {
                Some(locked.clone())
            } else if self.is_too_recent(trial.written_at) {
                Some(KeptBecause::TooRecent)
            } else {
                is_of_kept_run.then_some(KeptBecause::OfKeptRun)
            };
            match kept {
                None => self.remove_trial(trial)?,
                kept => self.report.trials.push(PrunedTrialReport {
                    output: trial,
                    kept,
                }),
            }
        }
        Ok(())
    }

    fn keep_unreadable(&mut self, folder: &Path, selection: &Selection, problem: &Error) {
        self.report.runs.push(PrunedRunReport {
            job: None,
            run: name_of(folder),
            folder: folder.to_path_buf(),
            named: selection.named.contains(folder),
            trial: false,
            state: None,
            last_event_at: None,
            bytes: durable::size_of_dir(folder).unwrap_or(0),
            kept: Some(KeptBecause::Unreadable {
                problem: in_one_line(problem),
            }),
        });
    }

    /// Removes what the simulator of this state directory keeps of a run. A simulator that is in
    /// use keeps it: nothing depends on it any more.
    fn forget_simulated(&mut self, pruned: &PrunedRun) {
        #[cfg(feature = "simulator")]
        if pruned.in_process {
            let folder = self.engine.state.path().join(super::connect::SIMULATOR);
            let ids = pruned.batches.iter().map(|id| id.0.as_str()).collect();
            let freed = crate::simulator::forget_batches(&folder, &ids);
            self.report.bytes_freed += freed.unwrap_or(0);
        }
        #[cfg(not(feature = "simulator"))]
        let _ = pruned;
    }
}

impl Selection {
    fn takes(&self, run: &Path) -> bool {
        self.whole || self.named.contains(run)
    }
}

/// A run as far as a prune looks at it.
struct Known {
    folder: PathBuf,
    dir: RunDir,
    plan: Plan,
    state: State,
    last_event: Timestamp,
    /// Whether the end of the run was reported; else the same command would finish it.
    is_reported: bool,
}

impl Known {
    fn read(folder: &Path, is_reported: bool) -> Result<Known, Error> {
        let (dir, plan, _) = RunDir::open(folder)?;
        let history = Journal::read(&dir.journal(), &plan)?;
        let last_event = history.entries.iter().map(|entry| entry.at).max();
        Ok(Known {
            folder: folder.to_path_buf(),
            dir,
            last_event: last_event.unwrap_or(plan.created_at),
            plan,
            state: history.state,
            is_reported,
        })
    }

    /// What of the run is not over, by its journal.
    fn unfinished(&self, now: Timestamp) -> Option<KeptBecause> {
        let is_over = |batch: &&Batch| self.state.abandoned().is_some() && is_past(batch, now);
        let count = |step| {
            let left = self.state.left_to(step);
            left.filter(|batch| !is_over(batch)).count() as u64
        };
        let (uncertain, in_flight, ended) = (
            count(Step::Settle),
            count(Step::Watch),
            count(Step::Collect),
        );
        if uncertain > 0 {
            return Some(KeptBecause::Uncertain { batches: uncertain });
        }
        if in_flight > 0 {
            return Some(KeptBecause::InFlight { batches: in_flight });
        }
        if ended > 0 {
            return Some(KeptBecause::NotCollected { batches: ended });
        }
        let is_over = match self.state.stage() {
            Stage::Exported => self.is_reported,
            Stage::HeldBack | Stage::Abandoned => true,
            // Only a plan.
            _ => self.state.has_sent_nothing(),
        };
        (!is_over).then_some(KeptBecause::Unfinished)
    }

    fn is_trial(&self) -> bool {
        is_trial(&self.plan, &self.state)
    }

    fn bytes(&self) -> u64 {
        durable::size_of_dir(&self.folder).unwrap_or(0)
    }

    fn report(&self, selection: &Selection) -> PrunedRunReport {
        PrunedRunReport {
            job: Some(self.plan.job_name.clone()),
            run: self.plan.run.clone(),
            folder: self.folder.clone(),
            named: selection.named.contains(&self.folder),
            trial: self.is_trial(),
            state: Some(self.state.stage()),
            last_event_at: Some(self.last_event),
            bytes: self.bytes(),
            kept: None,
        }
    }
}

/// Whether a batch was sent so long ago that it has ended and its results are gone. What it cost is
/// then in the ledger or never known; nobody waits for it in an abandoned run.
fn is_past(batch: &Batch, now: Timestamp) -> bool {
    let sent_at = batch.sent_at().or_else(|| batch.intended_at());
    sent_at.is_some_and(|sent| between(sent, now) > RETENTION)
}

/// Whether a folder has runs, or had some: the state directory has other folders too.
fn has_runs(folder: &Path) -> Result<bool, Error> {
    Ok(!journal::runs_in(folder)?.is_empty()
        || !journal::removals_in(folder)?.is_empty()
        || !journal::pruned_runs(folder).is_empty())
}

fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
