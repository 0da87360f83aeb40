//! What a plan keeps of the job: everything that is needed once the job file is gone or has
//! changed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::job::{Job, JobFile};

/// What a plan keeps of the job: everything that is needed once the job file is gone or has
/// changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptJob {
    pub(super) job: Job,
    text: String,
}

impl KeptJob {
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
