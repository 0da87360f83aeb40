//! The target of a command: a job file, a run's folder, or a run's id.

use std::path::{Path, PathBuf};

use rowmill::engine::{Engine, Error, StateLocation, Target};
use rowmill::job::JobFile;

use super::args::{Common, Fresh};
use super::explain::{CHANGE, Failure};
use super::screen::{Screen, shown_to};

/// A job file, or a run.
pub(crate) fn find(engine: &Engine, target: &Path) -> Result<Target, Failure> {
    let found = engine.find(target)?;
    Ok(found.ok_or_else(|| Error::NoRun {
        target: target.to_path_buf(),
    })?)
}

/// Refuses to start a new run of a run.
pub(crate) fn check_new(target: &Target, fresh: Fresh) -> Result<(), Failure> {
    match target {
        Target::Run(folder) if fresh.new => Err(Failure::words(
            CHANGE,
            format!(
                "--new starts a run of a job, and `{}` is a run",
                folder.display()
            ),
            "name the job file, or leave out --new to resume the run",
        )),
        _ => Ok(()),
    }
}

/// The state directory of a command: the one that was typed or set, else that of its target.
pub(crate) fn state(
    common: &Common,
    target: Option<&Path>,
    screen: &Screen,
) -> Result<PathBuf, Failure> {
    let state = match target {
        Some(target) => state_of(common, target)?,
        None => {
            (common.state.clone()).unwrap_or_else(|| StateLocation::of_working_directory().into())
        }
    };
    warn_of_others(&state, screen);
    Ok(state)
}

/// The state directory of a target.
pub(crate) fn state_of(common: &Common, target: &Path) -> Result<PathBuf, Failure> {
    match &common.state {
        Some(typed) => Ok(typed.clone()),
        None => Ok(StateLocation::of_target(target)?.into()),
    }
}

/// The state directory of a command that names a job file.
pub(crate) fn state_of_job(common: &Common, file: &JobFile) -> PathBuf {
    let typed = common.state.clone();
    typed.unwrap_or_else(|| StateLocation::of_job(file).into())
}

/// Warns about a state directory that others can change: its contents decide what is sent and
/// billed.
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
                 what is sent and billed\n  run `chmod o-w {path}`"
            ));
        } else if meta.uid() != own && meta.uid() != 0 {
            screen.warn(format!(
                "the state directory `{path}` belongs to another user, who can \
                    change what is sent and billed"
            ));
        }
    }
}
