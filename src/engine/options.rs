//! What a caller decides about one call of the engine, besides the job.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cost::Money;
use crate::estimate::sample::SampleSpec;
use crate::job::{Job, JobFile};
use crate::outcome::class::{Class, MoreTokens};

/// What a call works on.
#[derive(Debug, Clone)]
pub enum Target {
    /// A job: its newest unfinished run, or a new one.
    Job(Box<JobFile>),
    /// A run, by its folder.
    Run(PathBuf),
}

impl Target {
    /// A job as a target.
    #[must_use]
    pub fn job(file: JobFile) -> Target {
        Target::Job(Box::new(file))
    }

    /// The folder of a run as a target.
    pub fn run(folder: impl Into<PathBuf>) -> Target {
        Target::Run(folder.into())
    }
}

/// Which rows of the job's source are used, besides what the job itself says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RowSelection {
    /// At most this number of rows; the smaller of this and the job's own limit holds.
    pub limit: Option<u64>,
    /// A SQL predicate; a row is used where this and the job's own `where` hold.
    pub filter: Option<String>,
}

impl RowSelection {
    /// Whether it leaves rows of the job out. The output is a trial then, and is written beside the
    /// job's output.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.limit.is_some() || self.filter.is_some()
    }

    /// Adds the selection to the source of a job, as if it stood in the job file.
    pub(crate) fn apply(&self, job: &mut Job) {
        let source = &mut job.source;
        if let Some(limit) = self.limit {
            source.limit = Some(source.limit.map_or(limit, |own| own.min(limit)));
        }
        if let Some(filter) = &self.filter {
            source.filter = Some(match &source.filter {
                Some(own) => format!("({own}) AND ({filter})"),
                None => filter.clone(),
            });
        }
    }
}

/// What happens where another process works on the job or the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfRunning {
    /// The call fails, and names the process.
    #[default]
    Fail,
    /// The call does nothing: [`Error::NotStarted`](super::Error::NotStarted).
    Skip,
    /// The call waits until the other process has finished, within its own deadline.
    Wait,
}

/// How a job is run, or submitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// Use the simulator in this process instead of the provider.
    pub simulate: bool,
    /// Which rows are used.
    pub rows: RowSelection,
    /// The most that the run may cost, beside the job's own budget.
    pub max_cost: Option<Money>,
    /// Have this number of rows counted by the provider for a better estimate.
    pub calibrate: Option<u32>,
    /// Start a new run: an unfinished run of the job is abandoned, and a finished one of the
    /// unchanged job does not make it needless. Does nothing where the target is a run.
    pub new: bool,
    /// Send all rows, also those whose answers an earlier output has. An unfinished run is resumed
    /// all the same, unless [`RunOptions::new`] is set.
    pub no_reuse: bool,
    /// What happens where another process works on the job or the run.
    pub if_running: IfRunning,
    /// Send batches again that may or may not have been created. They are looked for once more, and
    /// adopted where they are found; one that is not found may be paid for twice.
    pub resubmit_uncertain: bool,
    /// Send the rest whatever the canary showed.
    pub ignore_canary: bool,
    /// Replace the output even where it holds more than the new one.
    pub replace_output: bool,
    /// Write the output although another state or another job has written it, or is about to.
    pub take_over: bool,
    /// Return after this time, counted from when the run is planned or opened, finished or not; a
    /// wait for another process counts too.
    /// Submitted batches keep running at the provider.
    pub deadline: Option<Duration>,
}

/// How a job is planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlanOptions {
    /// Use the simulator in this process instead of the provider.
    pub simulate: bool,
    /// Which rows are used.
    pub rows: RowSelection,
    /// Have this number of rows counted by the provider for a better estimate.
    pub calibrate: Option<u32>,
    /// The most that the run may cost, beside the job's own budget; kept with the plan.
    pub max_cost: Option<Money>,
    /// Render a sample of the rows only, and extrapolate. Not together with `out` or `calibrate`.
    pub sample: Option<SampleSpec>,
    /// Keep the plan as a run in this folder.
    pub out: Option<PathBuf>,
    /// Price all rows, also those whose answers an earlier output has.
    pub no_reuse: bool,
    /// Keep the plan although another state or another job writes the same output.
    pub take_over: bool,
}

/// How the results of a run are collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectOptions {
    /// Wait at most this time for what is in flight; `None`: look once.
    pub wait: Option<Duration>,
    /// What happens where another process works on the run.
    pub if_running: IfRunning,
    /// Replace the output even where it holds more than the new one.
    pub replace_output: bool,
}

/// Which old runs are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneOptions {
    /// Runs, by their folder or id, and jobs, by their file: all runs of the job. Empty: all runs
    /// of the state directory.
    pub targets: Vec<PathBuf>,
    /// Remove only runs of which nothing was recorded for this time. Without it, every run has to be
    /// named, or `trials` set.
    pub older_than: Option<Duration>,
    /// Keep this number of finished runs of each job, the newest, whatever their age: they show a
    /// start that there is nothing to do, and their answers can be exported again.
    pub keep_last: usize,
    /// Remove trials and simulated runs only, with their outputs.
    pub trials: bool,
    /// Remove nothing, and report what would be removed.
    pub dry_run: bool,
}

impl Default for PruneOptions {
    /// One finished run of each job is kept.
    fn default() -> PruneOptions {
        PruneOptions {
            targets: Vec::new(),
            older_than: None,
            keep_last: 1,
            trials: false,
            dry_run: false,
        }
    }
}

/// Which failed rows of a run are sent again.
#[derive(Debug, Clone, Default)]
pub struct RetryOptions {
    /// The classes of failures.
    pub classes: Vec<Class>,
    /// How much more room an answer has that was cut off.
    pub more_tokens: Option<MoreTokens>,
    /// The most that the run may cost in all.
    pub max_cost: Option<Money>,
    /// Return after this time, finished or not.
    pub deadline: Option<Duration>,
    /// Replace the output even where it holds more than the new one.
    pub replace_output: bool,
    /// What happens where another process works on the run.
    pub if_running: IfRunning,
}

/// How a job is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckOptions {
    /// Which rows are used.
    pub rows: RowSelection,
}

/// How a run is canceled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CancelOptions {
    /// Abandon the run: nothing more of it is ever sent, and its job starts a new one.
    pub abandon: bool,
}

/// How the output of a run is written again.
#[derive(Debug, Clone, Default)]
pub struct ReexportOptions {
    /// The job whose `[answer]`, schema and `[output]` are used; `None`: as the run was planned.
    pub job: Option<JobFile>,
    /// Replace the output even where it holds more than the new one.
    pub replace_output: bool,
}

/// How the requests of some rows are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreviewOptions {
    /// Which rows are used.
    pub rows: RowSelection,
    /// The number of rows shown.
    pub count: u64,
    /// Show the rows with this key: its values, joined by a comma.
    pub key: Option<String>,
}
