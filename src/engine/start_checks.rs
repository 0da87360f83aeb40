//! What refuses a start before anything is planned or sent: a state, a job file, an output or a
//! clock that do not belong together. Rows could be paid twice otherwise.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::job::JobFile;
use crate::journal::{self, Owner, Plan};
use crate::ledger::Ledger;

use super::kept_job::absolute;
use super::leftovers::is_run_id;
use super::notice::Notice;
use super::previous_output::is_not_the_base;
use super::run_place::RunPlace;
use super::setup::Engine;
use super::state_files::{JobRecord, OutputMark, StateRecord, is_same_place, plain};
use super::state_location::StateLocation;
use super::{Error, RowSelection, Run};

/// How far in the future a run may lie: more than time zones and clocks that are a little off.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// An output that belongs to another state or another job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputTaken {
    /// The output.
    pub output: PathBuf,
    /// Who writes it.
    pub mark: OutputMark,
    /// Whether the state that the mark names still exists.
    pub has_state: bool,
    /// The job that was started.
    pub job: String,
    /// Its job file.
    pub job_file: PathBuf,
    /// Its state.
    pub state: PathBuf,
    /// Why it is refused.
    pub why: TakenBecause,
}

/// Why an output that another state or job has written is refused to a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TakenBecause {
    /// The run that writes it is unfinished.
    Unfinished,
    /// The other state still exists.
    OtherState,
    /// The other job still exists.
    OtherJob,
}

/// What has happened since a run was planned of which nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanOutdatedBy {
    /// Another run of the job has sent rows: those that both have would be paid twice.
    RowsSent {
        /// The other run.
        run: PathBuf,
        /// The rows that it sent.
        rows: u64,
    },
    /// The output that the run would merge with or append to was written by another run or program.
    OutputChanged {
        /// The output.
        output: PathBuf,
    },
}

impl fmt::Display for PlanOutdatedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanOutdatedBy::RowsSent { run, rows } => {
                let s = if *rows == 1 { "" } else { "s" };
                let run = run.display();
                write!(f, "the run `{run}` sent {rows} row{s} of the job")
            }
            PlanOutdatedBy::OutputChanged { output } => {
                write!(f, "the output `{}` was changed", output.display())
            }
        }
    }
}

/// Runs of a job in the working directory, where earlier versions kept them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldState {
    /// The job's folder there.
    pub old: PathBuf,
    /// The state of the job.
    pub state: PathBuf,
    /// The job.
    pub job: String,
    /// An unfinished run in the old folder.
    pub unfinished: Option<PathBuf>,
    /// How the runs are moved; `None` where the job's own state has runs too.
    pub moves: Option<OldStateMove>,
}

/// What is moved to the state of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct OldStateMove {
    /// What is moved; where it is a folder's content, the folder.
    pub from: PathBuf,
    /// Its new place.
    pub to: PathBuf,
    /// Whether the content of the folder is moved, since the new folder exists.
    pub content: bool,
}

/// What a start should report about state, job file and output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StateNote {
    /// The job file was moved: its runs go on under the new path.
    JobFileMoved {
        /// Where it was.
        from: PathBuf,
        /// Where it is.
        to: PathBuf,
    },
    /// The output is taken over from a state or a job.
    OutputTakenOver(Box<OutputTaken>),
    /// A finished run that wrote the output is not in the state, which was probably restored from
    /// an older copy.
    RunForgotten {
        /// The state.
        state: PathBuf,
        /// The output.
        output: PathBuf,
        /// The run.
        run: String,
    },
    /// The working directory has runs of the job too.
    OldRuns(Box<OldState>),
}

/// Who wants to write an output.
struct Claim<'a> {
    output: &'a Path,
    place: &'a RunPlace,
    job: &'a str,
    /// The id of the state, where it has one.
    state_id: Option<String>,
    /// The run that is resumed.
    run: Option<&'a str>,
}

impl Engine {
    /// Takes the lock of a job, under which runs are looked for and planned.
    ///
    /// # Errors
    /// [`Error::Journal`]: another process has it; [`Error::StateNotWritable`].
    pub(super) fn lock_job(&self, job_folder: &Path) -> Result<journal::Lock, Error> {
        let owner = Owner::this_process(self.clock.now());
        match journal::Lock::of_job(job_folder, &owner) {
            Err(journal::Error::Io { source, .. }) => Err(Error::StateNotWritable {
                state: self.state.path().to_path_buf(),
                source,
            }),
            lock => Ok(lock?),
        }
    }

    /// Checks whether a job may start in this state. Nothing is changed but the record of a job
    /// file that was moved.
    ///
    /// # Errors
    /// [`Error::OtherJobFile`], [`Error::ClockBehind`], [`Error::LedgerLost`],
    /// [`Error::OutputTaken`], [`Error::StateRestored`], [`Error::StateFile`].
    pub(super) fn check_start(
        &self,
        file: &JobFile,
        simulate: bool,
        rows: &RowSelection,
        take_over: bool,
    ) -> Result<(), Error> {
        self.check_job_file(file, take_over)?;
        if simulate {
            return Ok(());
        }
        self.check_clock(&file.job.head.name)?;
        let state = self.state.path().to_path_buf();
        let job = &file.job.head.name;
        let place = RunPlace::new(state, job, plain(&file.path), &file.job.budget);
        if place.has_lost_ledger()? {
            return Err(Error::LedgerLost {
                ledger: place.ledger,
                state: place.state,
            });
        }
        if rows.narrows() {
            // A trial is written beside the output.
            return Ok(());
        }
        let record = StateRecord::read(&place.state)?;
        let claim = Claim {
            output: &absolute(&file.resolve(&file.job.output.path)),
            place: &place,
            job,
            state_id: record.map(|record| record.id),
            run: None,
        };
        self.check_output(&claim, take_over)
    }

    /// Checks that an opened run of which nothing was sent still fits: no other run of the job has
    /// sent rows since it was planned, whose answers its plan does not know, and the output that it
    /// continues is what it was.
    ///
    /// # Errors
    /// [`Error::PlanOutdated`]; [`Error::Journal`] where the runs of the job cannot be listed.
    pub(super) fn check_not_outdated(&self, run: &Run, replace: bool) -> Result<(), Error> {
        let state = run.state();
        if !state.has_sent_nothing() || state.export().is_some() {
            return Ok(());
        }
        let outdated = |since| {
            Err(Error::PlanOutdated {
                run: run.folder().to_path_buf(),
                since,
            })
        };
        let plan = run.plan();
        for other in journal::runs_of(self.state.path(), &plan.job_name)? {
            if is_same_place(&other.path, run.folder()) {
                continue;
            }
            if let Some(rows) = sent_since(&other.path, plan) {
                let run = other.path;
                return outdated(PlanOutdatedBy::RowsSent { run, rows });
            }
        }
        let output = run.output_path();
        if !replace && is_not_the_base(run, &output) {
            return outdated(PlanOutdatedBy::OutputChanged { output });
        }
        Ok(())
    }

    /// The file of the ledger that the runs of a job use.
    pub(super) fn ledger_file_of(&self, file: &JobFile) -> PathBuf {
        let (state, job) = (self.state.path().to_path_buf(), &file.job.head.name);
        RunPlace::new(state, job, absolute(&file.path), &file.job.budget).ledger
    }

    /// Checks whether an opened run may write its output.
    ///
    /// # Errors
    /// [`Error::OutputTaken`], [`Error::StateRestored`], [`Error::StateFile`].
    pub(super) fn check_output_of(&self, run: &Run, take_over: bool) -> Result<(), Error> {
        if !run.writes_the_output() {
            return Ok(());
        }
        let claim = Claim {
            output: &run.output_path(),
            place: run.place(),
            job: &run.plan().job_name,
            state_id: Some(run.state_id().to_owned()),
            run: Some(&run.plan().run),
        };
        self.check_output(&claim, take_over)
    }

    /// Checks whether the working directory has runs of the job from before its state was kept
    /// beside the job file. Before the state of the job is created, so that the old one can take
    /// its place.
    ///
    /// # Errors
    /// [`Error::OldState`]: they have to be moved, or finished, first.
    pub(super) fn check_old_state(&self, file: &JobFile, simulate: bool) -> Result<(), Error> {
        let old_state = StateLocation::of_working_directory();
        let (old_state, state) = (old_state.path(), self.state.path());
        let name = &file.job.head.name;
        let old = old_state.join(name);
        if simulate
            || !old.is_dir()
            || !self.state.is_default_of(file)
            || is_same_place(old_state, state)
        {
            return Ok(());
        }
        let mut runs = journal::runs_of(old_state, name)?;
        runs.retain(|run| run.in_process != Some(true));
        if runs.is_empty() {
            return Ok(());
        }
        let own = journal::runs_of(state, name)?;
        let has_own = own.iter().any(|run| run.in_process != Some(true));
        let unfinished = runs.into_iter().find(|run| !run.finished);
        let found = Box::new(OldState {
            moves: (!has_own).then(|| OldStateMove::new(old_state, state, name)),
            old,
            state: state.to_path_buf(),
            job: name.clone(),
            unfinished: unfinished.map(|run| run.path),
        });
        if has_own && found.unfinished.is_none() {
            self.observer
                .notice(Notice::State(&StateNote::OldRuns(found)));
            return Ok(());
        }
        Err(Error::OldState(found))
    }

    /// The runs in a job's folder belong to one job file.
    fn check_job_file(&self, file: &JobFile, take_over: bool) -> Result<(), Error> {
        let (state, name) = (self.state.path(), &file.job.head.name);
        let job_folder = self.state.of_job_named(name);
        let own = JobRecord::new(state, &file.path);
        let Some(record) = JobRecord::read(&job_folder)? else {
            // A job without runs gets its record with the first one.
            return match journal::runs_of(state, name)?.is_empty() {
                true => Ok(()),
                false => own.write(&job_folder),
            };
        };
        if record == own {
            return Ok(());
        }
        match record.job_file(state) {
            Some(same) if is_same_place(&same, &file.path) => return own.write(&job_folder),
            Some(other) if !take_over => {
                return Err(Error::OtherJobFile {
                    job: name.clone(),
                    state: state.to_path_buf(),
                    recorded: other,
                    given: file.path.clone(),
                });
            }
            _ => {}
        }
        self.observer
            .notice(Notice::State(&StateNote::JobFileMoved {
                from: record.recorded().to_path_buf(),
                to: plain(&file.path),
            }));
        own.write(&job_folder)
    }

    /// A clock that is behind would look for batches at the wrong time, and count them for a day
    /// that is over.
    fn check_clock(&self, job: &str) -> Result<(), Error> {
        let now = self.clock.now();
        let latest = now.saturating_add(MAX_AHEAD).unwrap_or(Timestamp::MAX);
        match newest_run(&self.state.of_job_named(job)) {
            Some((run, at)) if at > latest => Err(Error::ClockBehind { now, at, run }),
            _ => Ok(()),
        }
    }

    fn check_output(&self, claim: &Claim<'_>, take_over: bool) -> Result<(), Error> {
        let Some(mark) = OutputMark::read(claim.output)? else {
            return Ok(());
        };
        if claim.is_of(&mark) {
            return self.check_not_restored(claim, mark, take_over);
        }
        let why = claim.refusal(&mark);
        let taken = Box::new(OutputTaken {
            output: claim.output.to_path_buf(),
            has_state: mark.has_state(),
            mark,
            job: claim.job.to_owned(),
            job_file: claim.place.job_file.clone(),
            state: claim.place.state.clone(),
            why: why.unwrap_or(TakenBecause::OtherState),
        });
        if why.is_some() && !take_over {
            return Err(Error::OutputTaken(taken));
        }
        self.observer
            .notice(Notice::State(&StateNote::OutputTakenOver(taken)));
        self.take_over(claim, take_over)
    }

    /// Whether the state still has the run that wrote the output last, or is about to.
    fn check_not_restored(
        &self,
        claim: &Claim<'_>,
        mark: OutputMark,
        take_over: bool,
    ) -> Result<(), Error> {
        let Some(run) = mark.run.filter(|run| !claim.has_run(run)) else {
            return Ok(());
        };
        let place = claim.place;
        let ledger = Ledger::open_if_there(&place.ledger, self.ledger_patience)?;
        let entries = ledger.map_or(Ok(Vec::new()), |ledger| ledger.of_run(&run))?;
        if !entries.is_empty() {
            return Ok(());
        }
        let (state, output) = (place.state.clone(), claim.output.to_path_buf());
        if mark.unfinished && !take_over {
            return Err(Error::StateRestored { state, output, run });
        }
        self.observer
            .notice(Notice::State(&StateNote::RunForgotten {
                state,
                output,
                run,
            }));
        self.take_over(claim, take_over)
    }

    /// Records the new owner of an output at once where the user decided it, since the job may have
    /// nothing to send.
    fn take_over(&self, claim: &Claim<'_>, is_decided: bool) -> Result<(), Error> {
        if !is_decided {
            return Ok(());
        }
        let place = claim.place;
        crate::durable::create_private_dir(&place.state).map_err(|source| {
            Error::StateNotWritable {
                state: place.state.clone(),
                source,
            }
        })?;
        let now = self.clock.now();
        let id = StateRecord::ensure(&place.state, now)?.id;
        let mark = OutputMark::of(claim.job, &place.job_file, &place.state, &id);
        OutputMark {
            written_at: now,
            ..mark
        }
        .write(claim.output)
    }
}

/// Requests that a run sent whose answers were in no output yet when another one was planned; `None`
/// where there are none. A run that cannot be read has none.
fn sent_since(run: &Path, planned: &Plan) -> Option<u64> {
    let (plan, state) = journal::read_run(run).ok()?;
    if plan.origin != planned.origin || state.abandoned().is_some() {
        return None;
    }
    let is_new = match state.export() {
        Some((export, _)) => export.since > planned.created_at,
        None => !state.is_canceled(),
    };
    let sent = state
        .batches()
        .iter()
        .filter(|batch| batch.remote.is_some())
        .map(|batch| u64::from(batch.spooled.requests))
        .sum();
    (is_new && sent > 0).then_some(sent)
}

/// The newest run in a folder of runs by its id, which begins with the time, and when something was
/// recorded of it last. Only that one is read: there may be a run for each night.
fn newest_run(runs: &Path) -> Option<(PathBuf, Timestamp)> {
    let names = std::fs::read_dir(runs).ok()?.flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let newest = runs.join(names.filter(|name| is_run_id(name)).max()?);
    let (plan, state) = journal::read_run(&newest).ok()?;
    Some((newest, state.last_event_at().unwrap_or(plan.created_at)))
}

impl Claim<'_> {
    /// Whether the mark is that of the same job in the same state: by its id, or by the run that it
    /// has, since runs can be moved from one state to another. A copy of a state that still exists
    /// is another state.
    fn is_of(&self, mark: &OutputMark) -> bool {
        let is_it = || self.state_id.as_ref() == Some(&mark.state_id);
        let has_its_run = || mark.run.as_ref().is_some_and(|run| self.has_run(run));
        let is_copied = || !is_same_place(&mark.state, &self.place.state) && mark.has_state();
        mark.job == self.job && (is_it() || has_its_run()) && !is_copied()
    }

    /// Whether a run is the one that is resumed, or lies in the state.
    fn has_run(&self, run: &str) -> bool {
        let folder = self.place.state.join(self.job).join(run);
        self.run == Some(run) || journal::is_run(&folder)
    }

    /// Why the output of another state or job may not be taken over.
    fn refusal(&self, mark: &OutputMark) -> Option<TakenBecause> {
        let is_own_state = is_same_place(&mark.state, &self.place.state);
        let job_exists = || {
            !is_same_place(&mark.job_file, &self.place.job_file)
                && mark.job_file.exists()
                && JobFile::read(&mark.job_file).map_or(true, |file| file.job.head.name == mark.job)
        };
        if mark.unfinished {
            Some(TakenBecause::Unfinished)
        } else if !is_own_state && mark.has_state() {
            Some(TakenBecause::OtherState)
        } else if job_exists() {
            Some(TakenBecause::OtherJob)
        } else {
            None
        }
    }
}

impl OldStateMove {
    fn new(old_state: &Path, state: &Path, job: &str) -> OldStateMove {
        let (old, new) = (old_state.join(job), state.join(job));
        let content = new.exists();
        let (from, to) = match state.exists() {
            false => (old_state.to_path_buf(), state.to_path_buf()),
            true => (old, new),
        };
        OldStateMove { from, to, content }
    }
}
