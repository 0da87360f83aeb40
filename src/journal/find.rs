//! The runs in a folder of runs.
//!
//! A run that cannot be read is listed with its problem and counts as unfinished: batches of it may
//! be in flight, and skipping the run could pay for them again.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{
    Error, Journal, Manifest, Plan, RunDir, SourceFile, Stage, State, cannot, is_run, pruned_runs,
};

/// A run that was found.
#[derive(Debug)]
pub struct RunSummary {
    /// Its folder.
    pub path: PathBuf,
    /// When it was planned; where the plan cannot be read, when its folder was changed last.
    pub created_at: Timestamp,
    /// Whether its batches go to the simulator in the process itself; `None` if its plan cannot be
    /// read, which may hide either.
    pub in_process: Option<bool>,
    /// Where it stands; `None` if that cannot be read.
    pub stage: Option<Stage>,
    /// Whether nothing is left to do: its output is in its place, and its manifest says so. The
    /// manifest is written last, so a process that ended in between reported nothing, and the
    /// same command must not begin a second run.
    pub finished: bool,
    /// Why it cannot be read.
    pub problem: Option<Error>,
}

/// The runs of a job, newest first. `state` is the folder of all jobs.
///
/// # Errors
/// When the job's folder cannot be read. That there is none means that there are no runs.
pub fn runs_of(state: &Path, job_name: &str) -> Result<Vec<RunSummary>, Error> {
    Ok(newest_first(runs_in(&state.join(job_name))?))
}

/// The runs of all jobs, newest first. A job's folder that cannot be read is listed like a run with
/// its problem, so that it hides no other.
///
/// # Errors
/// When the folder of all jobs cannot be read.
pub fn all_runs(state: &Path) -> Result<Vec<RunSummary>, Error> {
    let mut runs = Vec::new();
    for job in folders_in(state)? {
        match runs_in(&job) {
            Ok(found) => runs.extend(found),
            Err(problem) => runs.push(RunSummary {
                problem: Some(problem),
                ..unread(job)
            }),
        }
    }
    Ok(newest_first(runs))
}

/// The folders of all jobs of a state directory.
///
/// # Errors
/// When it cannot be read. That there is none means that there are no jobs.
pub fn job_folders(state: &Path) -> Result<Vec<PathBuf>, Error> {
    folders_in(state)
}

/// The unfinished runs of a job, newest first, of the kind asked for: a run on the simulator in the
/// process is never confused with one that uses a connection.
///
/// A run that could match and cannot be read is an error in its place: it may have batches in
/// flight.
///
/// # Errors
/// When the folder cannot be read.
pub fn unfinished(
    state: &Path,
    job_name: &str,
    in_process: bool,
) -> Result<impl Iterator<Item = Result<RunSummary, Error>> + use<>, Error> {
    let is_meant =
        move |run: &RunSummary| !run.finished && run.in_process.is_none_or(|own| own == in_process);
    let runs = runs_of(state, job_name)?.into_iter().filter(is_meant);
    Ok(runs.map(|mut run| run.problem.take().map_or(Ok(run), Err)))
}

/// The run that wrote an output last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWriter {
    /// Its id.
    pub run: String,
    /// Whether its answers are simulated.
    pub simulated: bool,
    /// The files of its source; `None` where the run was removed.
    pub sources: Option<Vec<SourceFile>>,
}

/// The run in a folder of runs that wrote an output last, be it removed since. Runs that cannot be
/// read are passed over: what they wrote is unknown.
#[must_use]
pub fn writer_of(runs: &Path, output: &Path) -> Option<LastWriter> {
    let wrote = |folder: PathBuf| {
        let (plan, state) = read_run(&folder).ok()?;
        let (export, _) = state.export()?;
        let writer = LastWriter {
            run: plan.run,
            simulated: plan.simulated,
            sources: Some(plan.sources),
        };
        (export.path.as_deref() == Some(output)).then_some((export.at, writer))
    };
    let folders = folders_in(runs)
        .unwrap_or_default()
        .into_iter()
        .filter(|folder| is_run(folder));
    let removed = pruned_runs(runs).into_iter().filter_map(|pruned| {
        let written = pruned.written.filter(|written| written.path == output)?;
        let writer = LastWriter {
            run: pruned.run,
            simulated: pruned.simulated,
            sources: None,
        };
        Some((written.at, writer))
    });
    folders
        .filter_map(wrote)
        .chain(removed)
        .max_by_key(|(at, _)| *at)
        .map(|(_, writer)| writer)
}

/// The plan of a run, and what its journal says.
///
/// # Errors
/// When one of them cannot be read.
pub fn read_run(folder: &Path) -> Result<(Plan, State), Error> {
    let (run, plan, _) = RunDir::open(folder)?;
    let state = Journal::read(&run.journal(), &plan)?.state;
    Ok((plan, state))
}

/// Where a run stands; `None` if that cannot be read.
#[must_use]
pub fn stage_of(folder: &Path) -> Option<Stage> {
    summary(folder.to_path_buf()).stage
}

fn newest_first(mut runs: Vec<RunSummary>) -> Vec<RunSummary> {
    runs.sort_by(|a, b| {
        Reverse(a.created_at)
            .cmp(&Reverse(b.created_at))
            .then_with(|| b.path.cmp(&a.path))
    });
    runs
}

/// The runs in a folder of runs, in no order.
///
/// # Errors
/// When the folder cannot be read. That there is none means that there are no runs.
pub fn runs_in(job: &Path) -> Result<Vec<RunSummary>, Error> {
    let folders = folders_in(job)?;
    Ok(folders
        .into_iter()
        .filter(|folder| is_run(folder))
        .map(summary)
        .collect())
}

pub(super) fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(cannot("read", folder))?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    Ok(paths
        .map_err(cannot("read", folder))?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

/// A run of which nothing is known yet.
fn unread(path: PathBuf) -> RunSummary {
    RunSummary {
        created_at: changed(&path).unwrap_or(Timestamp::UNIX_EPOCH),
        path,
        in_process: None,
        stage: None,
        finished: false,
        problem: None,
    }
}

fn summary(path: PathBuf) -> RunSummary {
    let mut summary = unread(path);
    let plan = RunDir::open(&summary.path).map(|(run, plan, _)| (run, plan));
    if let Ok((_, plan)) = &plan {
        (summary.created_at, summary.in_process) = (plan.created_at, Some(plan.is_in_process()));
    }
    match plan.and_then(|(run, plan)| state_of(&run, &plan)) {
        Ok((state, is_told)) => {
            (summary.stage, summary.finished) =
                (Some(state.stage()), state.is_finished() && is_told)
        }
        Err(problem) => summary.problem = Some(problem),
    }
    summary
}

/// What the journal says, and whether the manifest says the same.
fn state_of(run: &RunDir, plan: &Plan) -> Result<(State, bool), Error> {
    let state = Journal::read(&run.journal(), plan)?.state;
    let stage = state.stage();
    let is_in_manifest = || {
        Manifest::read(run)
            .ok()
            .flatten()
            .is_some_and(|manifest| manifest.state == stage)
    };
    let is_told = stage != Stage::Exported || is_in_manifest();
    Ok((state, is_told))
}

fn changed(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(fs::metadata(path).ok()?.modified().ok()?).ok()
}
