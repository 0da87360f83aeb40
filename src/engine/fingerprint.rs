//! Detects whether a job is still the one that a run was planned for: its hash, the hashes of its
//! files, and the files of its source.

use std::path::{Path, PathBuf};

use crate::job::{Job, StateSpec};
use crate::journal::{HashedFile, SourceFile};
use crate::ledger::BudgetSpec;

use super::compile::CompiledJob;
use super::kept_job::absolute;

/// What a source that is read from standard input is called.
const STDIN: &str = "-";

/// What was set on the command line counts as part of it, so the hash is over the job as it was
/// read and not over its text. The budget does not: it may be raised while a run is in progress,
/// and changes nothing of what is sent. Nor does the place of the state, which may be moved.
pub(super) fn hash_of_job(job: &Job) -> String {
    let mut job = Job {
        budget: BudgetSpec::default(),
        state: StateSpec::default(),
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
            path: from_job_folder(&file.path, &compiled.job_folder)
                .display()
                .to_string(),
            bytes: file.bytes,
            modified: file.modified,
        })
        .collect()
}

/// Whether the files of a source are those that a run was planned from. Earlier versions recorded
/// them as seen from the working directory.
pub(super) fn is_same_source(planned: &[SourceFile], now: &[SourceFile]) -> bool {
    let is_same = |(planned, now): (&SourceFile, &SourceFile)| {
        (planned.bytes, planned.modified) == (now.bytes, now.modified)
            && is_same_path(Path::new(&planned.path), Path::new(&now.path))
    };
    planned.len() == now.len() && planned.iter().zip(now).all(is_same)
}

/// Whether a recorded path is that of a file. What an earlier version recorded was seen from the
/// working directory, so it has the way to the job's folder before it.
fn is_same_path(planned: &Path, now: &Path) -> bool {
    planned == now || (now.is_relative() && planned.ends_with(now))
}

/// A file as seen from the folder of its job, so that it is the same from every working directory
/// and when the folder is moved; its whole path where it lies elsewhere.
fn from_job_folder(path: &Path, folder: &Path) -> PathBuf {
    if path == Path::new(STDIN) {
        return path.to_path_buf();
    }
    let (path, folder) = (absolute(path), absolute(folder));
    match path.strip_prefix(&folder) {
        Ok(own) => own.to_path_buf(),
        Err(_) => path,
    }
}
