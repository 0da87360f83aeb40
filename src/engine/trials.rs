//! Trials: outputs of some rows only, or with invented answers, which stand beside the job's output.
//!
//! A file counts as a trial if the run that wrote it last says so (its journal, or what stays known
//! of it after its removal), no job has its output there, and the file itself names that run: in
//! its metadata, or by the mark that each custom_id of a run begins with. What a person put in its
//! place is no trial.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow::array::AsArray as _;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use jiff::Timestamp;
use serde::Serialize;

use crate::journal::{self, Plan, PrunedRun, State, WrittenFile, pruned_runs};
use crate::output;

use super::Error;
use super::export_options::{SIMULATED, TRIAL};
use super::reuse;
use super::setup::Engine;

/// An output that stands beside the job's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialOutput {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: TrialKind,
    /// The job.
    pub job: String,
    /// The run that wrote it.
    pub run: String,
    /// The run's folder; `None` where the run was removed.
    pub folder: Option<PathBuf>,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub written_at: Timestamp,
}

/// What an output beside the job's own is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// It has some of the job's rows.
    Trial,
    /// Its answers are invented.
    Simulated,
}

impl Engine {
    /// The trials of a job, or of all jobs of the state directory, that exist; the newest first.
    ///
    /// # Errors
    /// [`Error::Journal`] where the state directory cannot be read. A run that cannot be read has
    /// no trial.
    pub fn trials(&self, job: Option<&str>) -> Result<Vec<TrialOutput>, Error> {
        trials_in(self.state.path(), job)
    }
}

/// As [`Engine::trials`].
pub(super) fn trials_in(state: &Path, job: Option<&str>) -> Result<Vec<TrialOutput>, Error> {
    let claims = claims_in(state)?;
    let places: HashSet<PathBuf> = claims.iter().map(|claim| claim.output.clone()).collect();
    let mut writers: HashMap<PathBuf, Claim> = HashMap::new();
    for claim in claims {
        let Some(written) = &claim.written else {
            continue;
        };
        let is_later = |other: &Claim| other.written.as_ref().is_some_and(|w| w.at > written.at);
        if !writers.get(&written.path).is_some_and(is_later) {
            writers.insert(written.path.clone(), claim);
        }
    }
    let mut trials: Vec<TrialOutput> = writers
        .into_iter()
        .filter(|(path, claim)| !places.contains(path) && job.is_none_or(|job| job == claim.job))
        .filter_map(|(_, claim)| claim.trial())
        .collect();
    trials.sort_by(|a, b| (b.written_at, &b.path).cmp(&(a.written_at, &a.path)));
    Ok(trials)
}

/// What a run says of the file that it wrote.
struct Claim {
    run: String,
    nonce: String,
    job: String,
    folder: Option<PathBuf>,
    narrowed: bool,
    simulated: bool,
    output: PathBuf,
    written: Option<WrittenFile>,
}

/// Whether a run is a trial: it is simulated in its own process, has some of the job's rows only,
/// or was simulated and had to write beside a better output.
pub(super) fn is_trial(plan: &Plan, state: &State) -> bool {
    let is_aside = || {
        plan.simulated
            && WrittenFile::of(state).is_some_and(|written| has_mark(&written.path, SIMULATED))
    };
    plan.is_in_process() || plan.narrowed || is_aside()
}

fn claims_in(state: &Path) -> Result<Vec<Claim>, Error> {
    let of_run = |folder: PathBuf| {
        let (plan, state) = journal::read_run(&folder).ok()?;
        Some(Claim {
            folder: Some(folder),
            nonce: plan.nonce.as_str().to_owned(),
            run: plan.run,
            job: plan.job_name,
            narrowed: plan.narrowed,
            simulated: plan.simulated,
            output: plan.output,
            written: WrittenFile::of(&state),
        })
    };
    let runs = journal::all_runs(state)?.into_iter();
    let mut claims: Vec<Claim> = runs.filter_map(|run| of_run(run.path)).collect();
    for job in journal::job_folders(state)? {
        claims.extend(pruned_runs(&job).into_iter().map(Claim::of_removed));
    }
    Ok(claims)
}

impl Claim {
    fn of_removed(pruned: PrunedRun) -> Claim {
        Claim {
            nonce: pruned.nonce.as_str().to_owned(),
            run: pruned.run,
            job: pruned.job,
            folder: None,
            narrowed: pruned.narrowed,
            simulated: pruned.simulated,
            output: pruned.output,
            written: pruned.written,
        }
    }

    /// The file as a trial, where it is one and exists.
    fn trial(self) -> Option<TrialOutput> {
        let written = self.written.as_ref()?;
        let kind = if self.simulated && has_mark(&written.path, SIMULATED) {
            TrialKind::Simulated
        } else if self.narrowed && has_mark(&written.path, TRIAL) {
            TrialKind::Trial
        } else {
            return None;
        };
        // A link leads to a file that somebody else chose.
        let meta = std::fs::symlink_metadata(&written.path).ok()?;
        if !meta.is_file() || !names_run(&written.path, &self.run, &self.nonce) {
            return None;
        }
        Some(TrialOutput {
            path: written.path.clone(),
            kind,
            rows: written.rows,
            written_at: written.at,
            bytes: meta.len(),
            job: self.job,
            run: self.run,
            folder: self.folder,
        })
    }
}

/// Whether a name is one that [`output::beside`] makes with a word.
fn has_mark(path: &Path, word: &str) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let before = stem
        .strip_suffix(word)
        .and_then(|stem| stem.strip_suffix('.'));
    before.is_some_and(|stem| !stem.is_empty())
}

/// Whether a file says that a run wrote it: in its metadata, or by a custom_id with the run's mark.
/// A table without rows, but with a column for custom_ids, says nothing against it.
fn names_run(path: &Path, run: &str, nonce: &str) -> bool {
    look_for(path, run, nonce).unwrap_or(false)
}

fn look_for(path: &Path, run: &str, nonce: &str) -> Option<bool> {
    let format = output::Format::of(path)?;
    if let Some(notes) = output::notes(path, format) {
        return Some(notes.get("rowmill.run")? == run);
    }
    let source = reuse::open_output(path, format).ok()?;
    let fields = source.schema().fields().iter();
    let ids: Vec<String> = fields
        .map(|field| field.name().clone())
        .filter(|name| name.ends_with("custom_id"))
        .collect();
    if ids.is_empty() {
        return None;
    }
    let mark = format!("{nonce}-");
    let mut rows = 0;
    for batch in source.scan(Some(&ids)).ok()? {
        let batch = batch.ok()?.batch;
        rows += batch.num_rows();
        for column in batch.columns() {
            let ids = cast(column, &DataType::Utf8).ok()?;
            let mut ids = ids.as_string::<i32>().iter().flatten();
            if ids.any(|id| id.starts_with(&mark)) {
                return Some(true);
            }
        }
    }
    Some(rows == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names_that_are_made_for_trials() {
        for (path, is_marked) in [
            ("a/out.trial.parquet", true),
            ("a/out.trial", false),
            ("my.out.trial.csv", true),
            ("outtrial.csv", false),
            ("trial.csv", false),
            ("out.trial.incomplete.csv", false),
            ("out.csv", false),
        ] {
            assert_eq!(has_mark(Path::new(path), TRIAL), is_marked, "{path}");
        }
    }
}
