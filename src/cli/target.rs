//! What a command is pointed at: a job file, a run's folder, or a run's id.

use std::path::{Path, PathBuf};

use rowmill::job::JobFile;
use rowmill::journal;

use super::explain::{self, Failure};

/// What was meant.
pub(crate) enum Target {
    /// A job file.
    Job(Box<JobFile>),
    /// The folder of a run.
    Run(PathBuf),
}

impl Target {
    /// Tells a job file from a run.
    pub(crate) fn find(target: &Path, state: &Path) -> Result<Target, Failure> {
        if journal::is_run(target) {
            return Ok(Target::Run(target.to_path_buf()));
        }
        if target.is_dir() {
            return Err(no_run(target));
        }
        if target.is_file() || target.extension().is_some_and(|e| e == "toml") {
            return Ok(Target::Job(Box::new(JobFile::read(target)?)));
        }
        by_id(target, state).map(Target::Run).ok_or_else(|| no_run(target))
    }
}

/// The run that a command without a job of its own works on: the one named, or the newest of the job named.
pub(crate) fn run_of(target: &Path, state: &Path) -> Result<PathBuf, Failure> {
    match Target::find(target, state)? {
        Target::Run(folder) => Ok(folder),
        Target::Job(file) => {
            let runs = journal::runs_of(state, &file.job.head.name)?;
            runs.into_iter().next().map(|run| run.path).ok_or_else(|| {
                let message = format!("the job `{}` has no run in `{}`", file.job.head.name, state.display());
                Failure::words(explain::NO_RUN, message, "start one with `rowmill run`, or name another folder with --state")
            })
        }
    }
}

/// A run's folder by its id, whatever job it is of.
fn by_id(id: &Path, state: &Path) -> Option<PathBuf> {
    let id = id.to_str().filter(|id| !id.contains(['/', '\\']))?;
    let jobs = std::fs::read_dir(state).ok()?;
    jobs.filter_map(Result::ok).map(|job| job.path().join(id)).find(|folder| journal::is_run(folder))
}

fn no_run(target: &Path) -> Failure {
    Failure::words(
        explain::NO_RUN,
        format!("there is no run `{}`", target.display()),
        "`rowmill status` lists the runs; name a run's folder or id, or a job file",
    )
}
