//! What a command is pointed at: a job file, a run's folder, or a run's id.

use std::path::{Path, PathBuf};

use rowmill::engine::Error;
use rowmill::job::JobFile;
use rowmill::journal;

use super::explain::{self, Failure};
use super::screen::{Screen, shown_to};

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
        by_id(target, state)?
            .map(Target::Run)
            .ok_or_else(|| no_run(target))
    }
}

/// The run that a command without a job of its own works on: the one named, or the newest of the
/// job named.
pub(crate) fn run_of(target: &Path, state: &Path) -> Result<PathBuf, Failure> {
    match Target::find(target, state)? {
        Target::Run(folder) => Ok(folder),
        Target::Job(file) => {
            let runs = journal::runs_of(state, &file.job.head.name)?;
            runs.into_iter().next().map(|run| run.path).ok_or_else(|| {
                let message = format!(
                    "the job `{}` has no run in `{}`",
                    file.job.head.name,
                    state.display()
                );
                Failure::words(
                    explain::NO_RUN,
                    message,
                    "start one with `rowmill run`, or name another folder with --state",
                )
            })
        }
    }
}

/// A run's folder by its id, whatever job it is of.
fn by_id(id: &Path, state: &Path) -> Result<Option<PathBuf>, Failure> {
    let Some(id) = id.to_str().filter(|id| !id.contains(['/', '\\'])) else {
        return Ok(None);
    };
    let jobs = match std::fs::read_dir(state) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        jobs => jobs.map_err(|source| Error::File {
            doing: "read",
            path: state.to_path_buf(),
            source,
        })?,
    };
    Ok(jobs
        .filter_map(Result::ok)
        .map(|job| job.path().join(id))
        .find(|folder| journal::is_run(folder)))
}

/// Warns of a state directory that others can change: what stands in it decides what is sent, and
/// paid for.
pub(crate) fn warn_of_others(state: &Path, screen: &Screen) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(meta) = std::fs::metadata(state) else {
            return;
        };
        let own = std::fs::metadata("/proc/self").map_or_else(|_| meta.uid(), |own| own.uid());
        let path = shown_to(&state.display().to_string(), 1_000);
        if meta.mode() & 0o002 != 0 {
            screen.warn(format!(
                "every user of this machine can change the state directory `{path}`, and with it \
                 what is sent and paid for\n  `chmod o-w {path}` ends that"
            ));
        } else if meta.uid() != own && meta.uid() != 0 {
            screen.warn(format!(
                "the state directory `{path}` belongs to another user, who can \
                    change what is sent and paid for"
            ));
        }
    }
}

fn no_run(target: &Path) -> Failure {
    Failure::words(
        explain::NO_RUN,
        format!("there is no run `{}`", target.display()),
        "`rowmill status` lists the runs; name a run's folder or id, or a job file",
    )
}
