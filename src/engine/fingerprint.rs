//! Detects whether a job is still the one that a run was planned for: its hash, the hashes of its
//! files, and the files of its source.

use crate::job::Job;
use crate::journal::{HashedFile, SourceFile};
use crate::ledger::BudgetSpec;

use super::compile::CompiledJob;

/// What was set on the command line counts as part of it, so the hash is over the job as it was
/// read and not over its text. The budget does not: it may be raised while a run is in progress,
/// and changes nothing of what is sent.
pub(super) fn hash_of_job(job: &Job) -> String {
    let mut job = Job {
        budget: BudgetSpec::default(),
        ..job.clone()
    };
    job.batch.patience_seconds = None;
    let text = serde_json::to_string(&job).expect("a job came from a file, and has string keys");
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

pub(super) fn hashed_files(compiled: &CompiledJob) -> Vec<HashedFile> {
    compiled
        .requests
        .template_files()
        .iter()
        .map(|(path, hash)| HashedFile {
            path: path.clone(),
            hash: hash.clone(),
        })
        .collect()
}

pub(super) fn source_files(compiled: &CompiledJob) -> Vec<SourceFile> {
    let files = compiled.source.files().iter();
    files
        .map(|file| SourceFile {
            path: file.path.display().to_string(),
            bytes: file.bytes,
            modified: file.modified,
        })
        .collect()
}
