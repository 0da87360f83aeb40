//! The ranges of values, as far as a type does not say them.

use std::path::Path;

use super::{CanarySpec, Error, Job};

/// Checks values that have the right type and may be out of range.
pub(super) fn check(path: &Path, job: &Job) -> Result<(), Error> {
    let wrong = |key, problem: &str| {
        Err(Error::Value {
            path: path.to_path_buf(),
            key,
            problem: problem.to_owned(),
        })
    };
    let name = &job.head.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > 100 || !name.chars().all(plain) {
        return wrong(
            "job.name",
            "names a folder: use letters, digits, `_`, `-` and `.`, not first a dot, at most 100",
        );
    }
    if job.batch.max_requests == 0 || job.batch.max_requests > 100_000 {
        return wrong(
            "batch.max_requests",
            "must be from 1 to 100,000, the most a batch may hold",
        );
    }
    if job.batch.max_bytes < 1_000 || job.batch.max_bytes > 256_000_000 {
        return wrong(
            "batch.max_bytes",
            "must be from 1,000 to 256,000,000, the most a batch may hold",
        );
    }
    if job.batch.max_queued_requests < u64::from(job.batch.max_requests) {
        return wrong(
            "batch.max_queued_requests",
            "must be at least `batch.max_requests`, or no batch could ever be sent",
        );
    }
    if job.batch.settle_seconds == 0 {
        return wrong(
            "batch.settle_seconds",
            "must be at least 1: a batch that was just created may not be listed yet",
        );
    }
    if job.output.mode.continues() && job.key.columns.is_empty() {
        return wrong(
            "output.mode",
            "compares rows by their key: set `key.columns`, since the number of a row changes with \
             the rows before it",
        );
    }
    if job.request.reuse_status.is_empty() {
        return wrong("request.reuse_status", "must name at least one status");
    }
    if let Some((key, problem)) = job.canary.as_ref().and_then(CanarySpec::problem) {
        return wrong(key, problem);
    }
    Ok(())
}
