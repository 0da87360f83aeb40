//! Answers that a run keeps in its folder because its job's output does not have them: those of a
//! trial, of an output that was written beside the better one, and of one that was held back.
//!
//! They were paid for. A later run of the job takes them over, wherever another trial has been
//! written since.

use std::path::{Path, PathBuf};

use super::plan::{cannot, copy_hashed};
use crate::engine::{Error, Run};
use crate::output::OutputWriter;

/// The name of the file, before its extension.
const ANSWERS: &str = "answers";
/// Most runs whose answers are looked into, the newest ones.
const MOST_RUNS: usize = 100;

/// Keeps the answers of an output in the run's folder.
///
/// # Errors
/// [`Error::File`].
pub(in crate::engine) fn keep_answers(run: &Run, output: &Path) -> Result<(), Error> {
    copy_hashed(output, &place(run, output)).map(drop)
}

/// Keeps the answers of an output that is held back: it is written under a name that no reader takes
/// for data, and copied.
///
/// # Errors
/// [`Error::Output`], [`Error::File`].
pub(in crate::engine) fn keep_held_back(run: &Run, writer: OutputWriter) -> Result<(), Error> {
    let output = run.output_path();
    let name = output
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let held_back = output.with_file_name(format!(".{name}.held-back.partial"));
    let written = writer.finish_as(&held_back)?;
    let kept = copy_hashed(&written.path, &place(run, &output)).map(drop);
    std::fs::remove_file(&held_back).map_err(cannot("remove", &held_back))?;
    kept
}

fn place(run: &Run, output: &Path) -> PathBuf {
    let mut place = run.folder().join(ANSWERS);
    if let Some(extension) = output.extension() {
        place.set_extension(extension);
    }
    place
}

/// The files of answers that runs keep, the newest run first.
pub(super) fn of_runs(runs: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(runs).into_iter().flatten();
    let mut folders: Vec<PathBuf> = folders
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| crate::journal::is_run(folder))
        .collect();
    folders.sort_unstable();
    let files = folders.iter().rev().take(MOST_RUNS).filter_map(|folder| {
        let mut files = std::fs::read_dir(folder).ok()?;
        files.find_map(|entry| {
            let path = entry.ok()?.path();
            is_of_a_run(&path).then_some(path)
        })
    });
    files.collect()
}

/// Whether a file is one that a run keeps.
pub(super) fn is_of_a_run(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == ANSWERS)
        && path.parent().is_some_and(crate::journal::is_run)
}
