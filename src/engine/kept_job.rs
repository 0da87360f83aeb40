//! What a plan keeps of the job: everything that is needed once the job file is gone or has
//! changed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::job::{Job, JobFile};
use crate::journal::{self, Plan, RunDir};

/// What a plan keeps of the job: everything that is needed once the job file is gone or has
/// changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptJob {
    pub(super) job: Job,
    text: String,
}

impl KeptJob {
    /// The job that a plan keeps.
    ///
    /// # Errors
    /// [`Error::Journal`]: it is not one.
    pub(super) fn of_plan(dir: &RunDir, plan: &Plan) -> Result<KeptJob, Error> {
        let kept = serde_json::from_value(plan.job.clone());
        Ok(kept.map_err(|source| journal::Error::Damaged {
            path: dir.plan(),
            source,
        })?)
    }

    pub(super) fn of(file: &JobFile) -> KeptJob {
        KeptJob {
            job: file.job.clone(),
            text: file.text.clone(),
        }
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
