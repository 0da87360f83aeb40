//! Where the state of a job is: runs, ledger and what the job learned.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::job::JobFile;
use crate::journal::{self, RunDir};
use crate::ledger;
use crate::source::{Unsupported, without_credentials};

use super::Error;
use super::kept_job::absolute;
use super::state_files::StateRecord;

/// What the state directory is called, beside the job file.
const DEFAULT: &str = ".rowmill";

/// Where runs, the ledger and what a job learned are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateLocation(PathBuf);

impl StateLocation {
    /// A directory of this machine; created when a run is started.
    pub fn directory(path: impl Into<PathBuf>) -> StateLocation {
        StateLocation(path.into())
    }

    /// The state of a job: what `[state] path` names, else `.rowmill` beside the job file.
    #[must_use]
    pub fn of_job(file: &JobFile) -> StateLocation {
        match &file.job.state.path {
            Some(path) if Unsupported::of_address(&path.to_string_lossy()).is_some() => {
                StateLocation(path.clone())
            }
            Some(path) => StateLocation(file.resolve(path)),
            None => StateLocation::beside(file),
        }
    }

    /// The state of what is started or worked on in the working directory without naming a job.
    #[must_use]
    pub fn of_working_directory() -> StateLocation {
        StateLocation(PathBuf::from(DEFAULT))
    }

    /// The state that the folder of a run lies in; `None` for a plan that was kept elsewhere.
    #[must_use]
    pub fn holding(run: &Path) -> Option<StateLocation> {
        let above = |run: &Path| Some(run.parent()?.parent()?.to_path_buf());
        let state = above(run).filter(|state| !state.as_os_str().is_empty());
        let state = state.or_else(|| above(&absolute(run)))?;
        let is_state = state.join(ledger::FILE).is_file()
            || StateRecord::read(&state).is_ok_and(|record| record.is_some());
        is_state.then_some(StateLocation(state))
    }

    /// The state that a target belongs to: that of a job for its file, that of a run for its
    /// folder, else that of the working directory.
    ///
    /// # Errors
    /// [`Error::Job`] where a job file cannot be read.
    pub fn of_target(target: &Path) -> Result<StateLocation, Error> {
        if target.is_file() {
            return Ok(StateLocation::of_job(&JobFile::read(target)?));
        }
        let planned = || {
            let (_, plan, _) = RunDir::open(target).ok()?;
            plan.state.map(StateLocation)
        };
        let of_run = StateLocation::holding(target).filter(|_| journal::is_run(target));
        Ok(of_run
            .or_else(planned)
            .unwrap_or_else(StateLocation::of_working_directory))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a job's runs.
    pub(crate) fn of_job_named(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether it is where the state of a job is if nothing else is said.
    pub(super) fn is_default_of(&self, file: &JobFile) -> bool {
        file.job.state.path.is_none()
            && absolute(&self.0) == absolute(&StateLocation::beside(file).0)
    }

    /// # Errors
    /// [`Error::StateAddress`]: it is an address, and no directory of this machine.
    pub(super) fn check(&self) -> Result<(), Error> {
        let path = self.0.to_string_lossy();
        match Unsupported::of_address(&path) {
            Some(_) => Err(Error::StateAddress {
                address: without_credentials(&path),
            }),
            None => Ok(()),
        }
    }

    fn beside(file: &JobFile) -> StateLocation {
        let folder = file.folder.strip_prefix(".").unwrap_or(&file.folder);
        StateLocation(folder.join(DEFAULT))
    }
}

impl From<StateLocation> for PathBuf {
    fn from(state: StateLocation) -> PathBuf {
        state.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(path: &str, section: &str) -> PathBuf {
        let text = format!(
            "[job]\nname = \"a\"\n[source]\npath = \"a.csv\"\n[request]\nmodel = \
             \"claude-haiku-4-5\"\nmax_tokens = 10\nmessages = [{{ role = \"user\", text = \"a\" \
             }}]\n{section}\n[output]\npath = \"b.parquet\"\n"
        );
        StateLocation::of_job(&JobFile::parse(Path::new(path), text).unwrap()).into()
    }

    #[test]
    fn lies_beside_the_job_file_unless_the_job_says_otherwise() {
        for (job, section, state) in [
            ("job.toml", "", ".rowmill"),
            ("./job.toml", "", ".rowmill"),
            ("jobs/job.toml", "", "jobs/.rowmill"),
            ("/jobs/job.toml", "", "/jobs/.rowmill"),
            (
                "jobs/job.toml",
                "[state]\npath = \"../kept\"",
                "jobs/../kept",
            ),
            ("jobs/job.toml", "[state]\npath = \"/kept\"", "/kept"),
            ("jobs/job.toml", "[state]\npath = \"s3://b/k\"", "s3://b/k"),
        ] {
            assert_eq!(state_of(job, section), Path::new(state), "{job} {section}");
        }
    }

    #[test]
    fn an_address_is_no_state() {
        let refused = StateLocation::directory("s3://bucket/state").check();
        let Err(Error::StateAddress { address }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(address, "s3://bucket/state");
        StateLocation::directory("state").check().unwrap();
    }
}
