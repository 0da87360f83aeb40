//! What a call of the engine resulted in, as data.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::cost::Money;
use crate::job::JobFile;
use crate::journal::Manifest;
use crate::ledger::OnLimit;
use crate::outcome::answer::Answers;
use crate::outcome::class::Class;
use crate::source::SourceSpec;
use crate::template::prompt::SystemSpec;

use super::compile::CompiledJob;
use super::context::RunOutcome;
use super::export_summary::ExportSummary;
use super::failures::Failures;
use super::finished::Finished;
use super::output_change::OutputChange;
use super::plan_report::{NoRequests, PlanReport};
use super::provider_error::RunStanding;
use super::{Run, Warning};

/// Where a run stands when a call returns.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The run's id.
    pub run: String,
    /// The folder it is kept in.
    pub folder: PathBuf,
    /// How far it got.
    pub outcome: RunOutcome,
    /// Whether its answers are made up.
    pub simulated: bool,
    /// Whether the run was abandoned: nothing more of it is sent.
    pub abandoned: bool,
    /// Its batches by state.
    pub standing: RunStanding,
    /// Batches that wait to be sent.
    pub unsent_batches: u64,
    /// Batches that may or may not have been created.
    pub uncertain_batches: u64,
    /// Whether batches are in flight, may be, or have results that are not fetched.
    pub in_flight_or_ended: bool,
    /// What happens to batches that the budget has no room for.
    pub on_limit: OnLimit,
    /// The run in the shape that is kept as `manifest.json`.
    pub manifest: Manifest,
    /// What the export came to; `None` where nothing was exported by this call.
    pub summary: Option<ExportSummary>,
    /// What the output looks like.
    pub output: OutputShape,
    /// Whether nothing of the run has ever been sent.
    pub nothing_sent: bool,
    /// Whether it is a run of the job as it was, which is not finished yet: the job as it is now is
    /// not planned before.
    pub is_in_the_way: bool,
    /// Set where there was nothing to send.
    pub nothing_to_do: Option<NothingToDo>,
}

/// What an output looks like, as far as it takes to show some of its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutputShape {
    /// The job file.
    pub job_path: PathBuf,
    /// What begins the names of the columns that rowmill adds.
    pub prefix: String,
    /// The columns of the row key.
    pub key_columns: Vec<String>,
    /// The number of columns that answers are parsed into.
    pub answer_columns: usize,
    /// Whether the job marks a part of its prompt for the cache.
    pub marks_cache: bool,
}

/// Why there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NothingReason {
    /// The job has not changed since a run of it was finished.
    Unchanged,
    /// Rows that failed were to be sent again, and every row of the run succeeded.
    NoFailures,
    /// The run has no row to send.
    NoRows {
        /// Why.
        why: NoRequests,
    },
}

/// What is so where nothing was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NothingToDo {
    /// The reason.
    #[serde(flatten)]
    pub reason: NothingReason,
    /// Rows of the finished run that did not succeed.
    pub failed: u64,
    /// Why the output at its place is not the finished run's; `None` where it is.
    pub output_change: Option<OutputChange>,
}

impl RunReport {
    pub(super) fn new(
        run: &Run,
        outcome: RunOutcome,
        summary: Option<ExportSummary>,
        now: Timestamp,
    ) -> RunReport {
        let state = run.state();
        RunReport {
            run: run.plan().run.clone(),
            folder: run.folder().to_path_buf(),
            outcome,
            simulated: run.plan().simulated,
            abandoned: state.abandoned().is_some(),
            standing: run.standing(),
            unsent_batches: (run.state().unsent().count() as u64),
            uncertain_batches: run.state().doubts().count() as u64,
            in_flight_or_ended: run.in_flight_or_ended(),
            on_limit: run.on_limit(),
            manifest: run.manifest(now),
            summary,
            output: OutputShape::of(run),
            nothing_sent: state.has_sent_nothing(),
            is_in_the_way: false,
            nothing_to_do: no_rows(run),
        }
    }

    pub(super) fn of_finished(
        finished: &Finished,
        manifest: Manifest,
        output_change: Option<OutputChange>,
    ) -> RunReport {
        RunReport {
            run: manifest.run.clone(),
            folder: finished.folder.clone(),
            outcome: RunOutcome::Complete,
            simulated: manifest.simulated,
            abandoned: false,
            standing: RunStanding {
                run: manifest.run.clone(),
                folder: finished.folder.clone(),
                ..RunStanding::default()
            },
            unsent_batches: 0,
            uncertain_batches: 0,
            in_flight_or_ended: false,
            on_limit: OnLimit::default(),
            manifest,
            summary: None,
            output: OutputShape::default(),
            nothing_sent: false,
            is_in_the_way: false,
            nothing_to_do: Some(NothingToDo {
                reason: NothingReason::Unchanged,
                failed: finished.failed,
                output_change,
            }),
        }
    }

    pub(super) fn with_nothing_to_do(mut self, reason: NothingReason, failed: u64) -> RunReport {
        self.nothing_to_do = Some(NothingToDo {
            reason,
            failed,
            output_change: None,
        });
        self
    }

    pub(super) fn in_the_way(mut self) -> RunReport {
        self.is_in_the_way = true;
        self
    }

    /// The output that the call wrote, or that a finished run has; `None` where there is none yet.
    #[must_use]
    pub fn output_path(&self) -> Option<&Path> {
        match &self.summary {
            Some(summary) => summary.path.as_deref(),
            None => self.manifest.output.as_deref(),
        }
    }

    /// Whether every row that was to be answered was.
    #[must_use]
    pub fn all_succeeded(&self) -> bool {
        match (&self.summary, &self.nothing_to_do) {
            (Some(summary), _) => summary.all_succeeded(),
            (None, Some(nothing)) => nothing.failed == 0,
            (None, None) => false,
        }
    }
}

/// That a run has no row to send.
fn no_rows(run: &Run) -> Option<NothingToDo> {
    let counts = &run.plan().counts;
    let limit = run.job().source.limit;
    let read = (counts.rows, counts.rows + counts.filtered);
    let classes = run.reuse().map(|reuse| &reuse.classes);
    let why = NoRequests::of(counts.requests, read, classes, limit)?;
    Some(NothingToDo {
        reason: NothingReason::NoRows { why },
        failed: 0,
        output_change: None,
    })
}

impl OutputShape {
    fn of(run: &Run) -> OutputShape {
        let options = run.options();
        let request = &run.job().request;
        let answers = Answers::compile(&options.answer).ok().flatten();
        let in_system = matches!(&request.system, SystemSpec::Blocks(blocks)
            if blocks.iter().any(|block| block.cache.is_some()));
        OutputShape {
            job_path: run.plan().job_path.clone(),
            prefix: options.output.prefix.clone(),
            key_columns: run.job().key.columns.clone(),
            answer_columns: answers.map_or(0, |answers| answers.fields().len()),
            marks_cache: in_system || request.messages.iter().any(|m| m.cache.is_some()),
        }
    }
}

/// What a dry run found.
#[derive(Debug, Clone, Serialize)]
pub struct PlanResult {
    /// The job's name.
    pub job: String,
    /// Its model.
    pub model: String,
    /// Rows, batches, tokens and money.
    pub plan: PlanReport,
    /// The run that keeps the plan, where one was asked for.
    pub run: Option<PathBuf>,
    /// What was found while the job was compiled.
    pub warnings: Vec<Warning>,
    /// The job's source, with the rows that were selected.
    #[serde(skip)]
    pub source: SourceSpec,
}

impl PlanResult {
    pub(super) fn new(
        file: &JobFile,
        compiled: &CompiledJob,
        plan: PlanReport,
        run: Option<PathBuf>,
    ) -> PlanResult {
        PlanResult {
            job: file.job.head.name.clone(),
            model: file.job.request.model.clone(),
            plan,
            run,
            warnings: compiled.warnings.clone(),
            source: file.job.source.clone(),
        }
    }
}

/// What a cancel did.
#[derive(Debug, Clone, Serialize)]
pub struct CancelReport {
    /// Batches that the provider was asked to cancel.
    pub asked: u64,
    /// Whether the run had been abandoned before.
    pub was_abandoned: bool,
    /// Why batches of an abandoned run were not canceled; `None` where they were, or there is none.
    pub not_canceled: Option<String>,
    /// Until when batches of the run may run at the provider; `None` where none can.
    pub may_run_until: Option<Timestamp>,
    /// What stays reserved for them.
    pub reserved: Money,
    /// When that is released at the latest, once the run is abandoned.
    pub reserved_until: Option<Timestamp>,
    /// Where the run stands.
    pub run: RunReport,
}

/// Why no row can be retried.
#[derive(Debug, Clone, Serialize)]
pub struct NothingToRetry {
    /// The classes that were asked for.
    pub classes: Vec<Class>,
    /// The rows that failed, by what can be done about them.
    pub failures: Failures,
    /// The run.
    pub run: RunReport,
}
