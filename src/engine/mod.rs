//! The only place where rooms meet; one file a step.
//!
//! ```text
//! compile   job → compiled rooms                      plan      → run directory with spooled batches, nothing sent
//! sample_plan some rows of a huge table → an estimate for all of them
//! calibrate a sample of rows, counted by the provider → a better estimate
//! submit    spooled batches → accepted batches        watch     accepted → ended
//! collect   ended → saved result lines                export    saved lines → outcomes → joined rows → output file
//! upload    files that requests name → their ids
//! drive     the last four in a loop, until done or asked to stop
//! checkpoints a warm-up or canary batch → whether the rest may follow
//! doubt     a create call without answer → the batch it created, or none   split     a batch too large → smaller ones
//! downloads results that cannot be fetched for now, while other batches continue
//! resume    a run of an earlier process → batches of it that its journal does not know
//! evidence  other files of such a run → the batches that they record
//! prune     old runs and trials → removed, with everything kept that others need
//! ```
//!
//! Every step can be run again: it reads the run's journal, does what is missing, and records it.
//! Sending is logged before and after; a batch in an unknown state is looked up before anything is
//! sent again.

mod abandon;
mod batch_estimate;
mod batch_join;
mod batch_maker;
mod budget;
mod budget_check;
mod budget_report;
mod budget_split;
mod calibrate;
mod calls;
mod check;
mod checkpoints;
mod collect;
mod compile;
mod connect;
mod context;
mod doubt;
mod downloads;
mod drive;
mod evidence;
mod export;
mod export_options;
mod export_summary;
mod failures;
mod faults;
mod fingerprint;
mod finish;
mod finished;
mod first_lines;
mod if_running;
mod in_order;
mod kept_job;
mod learn;
mod leftovers;
mod lines;
mod new_run;
mod not_started;
mod note;
mod notice;
mod options;
mod output_change;
mod pace;
mod plan;
mod plan_inputs;
mod plan_report;
mod preview;
mod previous_output;
mod provider_error;
mod prune;
mod rebalance;
mod rebuild;
mod render;
mod report;
mod rescue;
mod results_file;
mod resume;
mod retry;
mod reuse;
mod row_warnings;
mod run;
mod run_place;
mod sample_plan;
mod serialize;
mod setup;
mod shared;
mod split;
mod start;
mod start_checks;
mod state_files;
mod state_location;
mod submit;
mod trials;
mod unfinished;
mod upload;
mod view;
mod warm_up;
mod warning;
mod watch;

use std::path::PathBuf;

use crate::provider::ApiError;

pub(crate) use budget::BudgetContext;
pub use budget::{BudgetCause, OverBudget};
pub use budget_report::{LimitCheck, LimitVerdict};
pub(crate) use calibrate::calibrate;
pub use check::{AnswerColumn, CheckReport};
pub use checkpoints::StoppedAtCheckpoint;
pub use compile::CompiledJob;
pub use connect::{ApiOptions, Provider, SimulatorOptions};
pub use context::{RunOutcome, StopHandle, StopSignal};
pub use export_summary::ExportSummary;
pub use failures::{Failures, FirstFailure};
pub use faults::{Causes, FaultCount, Faults};
pub use not_started::NotStarted;
pub use note::{StepNote, UncertainCause};
pub use notice::{LostAnswers, Notice, Observer, RetryCost, Silent, WaitReason};
pub use options::{
    CancelOptions, CheckOptions, CollectOptions, IfRunning, PlanOptions, PreviewOptions,
    PruneOptions, ReexportOptions, RetryOptions, RowSelection, RunOptions, Target,
};
pub use output_change::OutputChange;
pub use plan_report::{NoRequests, PlanReport, PlannedBatch, SharedKeys};
pub use preview::{PreviewReport, PreviewRow};
pub use previous_output::{SetAside, WorseOutput};
pub use provider_error::{Action, Kept, RunStanding};
pub use prune::{KeptBecause, PruneReport, PrunedRunReport, PrunedTrialReport};
pub use rebuild::LedgerRebuilt;
pub use report::{
    CancelReport, NothingReason, NothingToDo, NothingToRetry, OutputShape, PlanResult, RunReport,
};
pub use reuse::{
    CannotContinue, ContinueFault, Incremental, KeptCounts, NotReused, RequestChange, RowClass,
    RowClasses,
};
pub use run::JobChange;
pub(crate) use run::Run;
pub use run_place::ledger_of;
pub use setup::Engine;
pub use shared::{CacheVerdict, SharedReport};
pub use start_checks::{
    OldState, OldStateMove, OutputTaken, PlanOutdatedBy, StateNote, TakenBecause,
};
pub use state_files::OutputMark;
pub use state_location::StateLocation;
pub use submit::RefusedBatch;
pub use trials::{TrialKind, TrialOutput};
pub use upload::Uploaded;
pub use view::{BatchView, MoneyView, RunView, create_calls, view};
pub use warning::{LongPrompt, LongPrompts, Warning};

/// What a sample of rows cannot go together with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleConflict {
    /// A plan that is kept has every request in it.
    KeptPlan,
    /// Rows are drawn for counting by the text of every request.
    Calibration,
}

impl std::fmt::Display for SampleConflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SampleConflict::KeptPlan => "a plan that is kept",
            SampleConflict::Calibration => "calibration",
        })
    }
}

/// Why a step stopped. The command line says what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job file cannot be used.
    #[error(transparent)]
    Job(#[from] crate::job::Error),
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] crate::source::Error),
    /// The prompts or the request cannot be compiled.
    #[error(transparent)]
    Request(#[from] crate::request::Error),
    /// The key cannot make custom_ids.
    #[error(transparent)]
    Keys(#[from] crate::request::keys::Error),
    /// The job's schema cannot become columns.
    #[error(transparent)]
    Answer(#[from] crate::outcome::answer::Error),
    /// The output cannot be written as the job says.
    #[error(transparent)]
    Output(#[from] crate::output::Error),
    /// The spool cannot be written or read.
    #[error(transparent)]
    Batch(#[from] crate::batch::Error),
    /// The run directory or its journal cannot be used.
    #[error(transparent)]
    Journal(#[from] crate::journal::Error),
    /// Results cannot be joined to their rows.
    #[error(transparent)]
    Join(#[from] crate::join::Error),
    /// The provider refused, or cannot be reached.
    #[error("{action}")]
    Provider {
        /// What was being done.
        action: Action,
        /// Why it failed.
        #[source]
        source: Box<ApiError>,
        /// What of the work is kept.
        kept: Kept,
    },
    /// The provider does not take a batch as it is, and sending it again changes nothing.
    #[error("batch {} of {} was refused", .0.batch, .0.of)]
    Refused(#[source] Box<submit::RefusedBatch>),
    /// No such model.
    #[error("unknown model `{model}`")]
    UnknownModel {
        /// The id in the job.
        model: String,
        /// Known ids that come near.
        nearest: Vec<String>,
    },
    /// The model is gone.
    #[error("{advice}")]
    RetiredModel {
        /// When, and what to use instead.
        advice: String,
    },
    /// The user declined to spend money on a retry; nothing was sent or recorded.
    #[error("the retry was declined, and nothing was sent")]
    Declined {
        /// The run.
        run: PathBuf,
    },
    /// The run does not fit into its budget.
    #[error("the budget does not allow it")]
    Budget(Box<budget::OverBudget>),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::Error),
    /// What the model costs is not known, so neither plan nor bill could be trusted.
    #[error(transparent)]
    NoPrice(#[from] crate::cost::Unpriced),
    /// Rows have no key, or cannot be rendered.
    #[error("some rows cannot be sent")]
    Rows(Box<faults::Faults>),
    /// Several rows share a key.
    #[error("row key is not unique")]
    DuplicateKeys(Box<plan_report::SharedKeys>),
    /// Requests name files that have not been uploaded.
    #[error("{}", not_uploaded(*.files))]
    NotUploaded {
        /// How many.
        files: usize,
    },
    /// The run's job, templates or source are no longer what they were when it was planned.
    #[error("the job has changed since run `{run}` was planned")]
    Changed {
        /// The unfinished run.
        run: PathBuf,
        /// What changed.
        what: Vec<JobChange>,
    },
    /// The user abandoned the run: nothing more of it is sent.
    #[error("the run `{}` was abandoned: nothing more of it is sent", .run.display())]
    Abandoned {
        /// The run.
        run: PathBuf,
    },
    /// The ledger holds money for a run whose folder is gone, so what it sent may still be in
    /// flight.
    #[error("run {run} of this job is not in `{}`, and the ledger holds {reserved} for batches \
        that it may have sent", .state.display())]
    RunGone {
        /// The run's id.
        run: String,
        /// The state directory.
        state: PathBuf,
        /// What is reserved for its batches.
        reserved: crate::cost::Money,
    },
    /// The state is an address, and no directory of this machine.
    #[error("the state `{address}` is not a directory of this machine")]
    StateAddress {
        /// The address, without credentials.
        address: String,
    },
    /// A file that says what a state, a job's folder or an output belongs to cannot be read.
    #[error("cannot read `{}`", .path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// The state directory cannot be created, or cannot be written.
    #[error("the state directory `{}` cannot be written", .state.display())]
    StateNotWritable {
        /// The directory.
        state: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The runs of this name belong to another job file.
    #[error("the state `{}` has runs of another job `{job}`", .state.display())]
    OtherJobFile {
        /// The job's name.
        job: String,
        /// The state directory.
        state: PathBuf,
        /// The job file that the runs belong to.
        recorded: PathBuf,
        /// The job file that was started.
        given: PathBuf,
    },
    /// The working directory has runs of the job, where earlier versions kept them.
    #[error("`{}` has runs of the job `{}`, whose state is now `{}`", .0.old.display(), .0.job,
        .0.state.display())]
    OldState(Box<OldState>),
    /// The output belongs to another state or another job.
    #[error("the output `{}` belongs to another {}", .0.output.display(), match .0.why {
        TakenBecause::OtherJob => "job",
        _ => "state",
    })]
    OutputTaken(Box<OutputTaken>),
    /// The run that writes the output is not in the state, so that the state was probably restored
    /// from an older copy.
    #[error("the state `{}` does not have the unfinished run `{run}`, which writes `{}`",
        .state.display(), .output.display())]
    StateRestored {
        /// The state directory.
        state: PathBuf,
        /// The output.
        output: PathBuf,
        /// The run.
        run: String,
    },
    /// The newest run of the job lies in the future.
    #[error("the clock shows {now}, and the newest run of the job was at work at {at}")]
    ClockBehind {
        /// What the clock shows.
        now: jiff::Timestamp,
        /// When something was recorded of the run last.
        at: jiff::Timestamp,
        /// The run.
        run: PathBuf,
    },
    /// A run of which nothing was sent was planned before another run of its job sent rows, or
    /// wrote the output that it continues.
    #[error("`{}` was planned before {since}", .run.display())]
    PlanOutdated {
        /// The run.
        run: PathBuf,
        /// What has happened since.
        since: PlanOutdatedBy,
    },
    /// The ledger is gone, or lacks runs since it was gone: what they spent is unknown.
    #[error("the ledger `{}` is lost: budgets do not know what was spent", .ledger.display())]
    LedgerLost {
        /// The ledger.
        ledger: PathBuf,
        /// The state whose runs it lacks.
        state: PathBuf,
    },
    /// A journal is to be rebuilt that is not broken.
    #[error("the journal of the run `{}` can be read: there is nothing to rescue", .run.display())]
    SoundJournal {
        /// The run.
        run: PathBuf,
    },
    /// Saved results are not what they were.
    #[error("the results `{}` were altered after they were saved", .path.display())]
    AlteredResults {
        /// The file.
        path: PathBuf,
    },
    /// Saved results are gone.
    #[error("the results `{}` are missing", .path.display())]
    MissingResults {
        /// The file.
        path: PathBuf,
    },
    /// The output cannot be continued.
    #[error("cannot continue the output `{}`", .0.path.display())]
    CannotContinue(Box<reuse::CannotContinue>),
    /// An earlier output that answers are to be taken from cannot be used.
    #[error("cannot take answers from `{}`", .path.display())]
    Reuse {
        /// The output.
        path: PathBuf,
        /// Why not.
        why: reuse::NotReused,
    },
    /// A copy of an earlier output is not what it was when the run was planned.
    #[error("`{}`, a copy of an earlier output, was altered", .path.display())]
    EarlierOutputAltered {
        /// The copy.
        path: PathBuf,
    },
    /// The output would replace a file the job is built from.
    #[error("the output `{}` is {}, and would be overwritten", .path.display(), .what.noun())]
    OutputIsInput {
        /// The output.
        path: PathBuf,
        /// What it is to the job.
        what: JobInput,
    },
    /// The run belongs to another provider than the one that is set.
    #[error("this run was planned for {planned}, not for {given}")]
    OtherOrigin {
        /// Where the run's batches are.
        planned: String,
        /// What is set now.
        given: String,
    },
    /// The run was planned for a provider whose format is not known here.
    #[error("the run was planned for the provider `{provider}`, which is not known")]
    UnknownProvider {
        /// The name in the plan.
        provider: String,
    },
    /// The run was planned for a provider with another format.
    #[error("the run was planned for the provider `{planned}`, not for `{given}`")]
    OtherProvider {
        /// The name in the plan.
        planned: String,
        /// The name of the provider that was given.
        given: String,
    },
    /// A batch has fewer requests than the provider takes.
    #[error("batch {batch} has {requests} requests, and the provider accepts {min} or more")]
    BatchTooSmall {
        /// The batch, from 1.
        batch: u32,
        /// Its requests.
        requests: u32,
        /// Fewest requests that the provider takes.
        min: u32,
    },
    /// Rows choose their model, and the provider accepts one model per batch.
    #[error("rows choose their model, and the provider accepts one model per batch")]
    OneModelABatch,
    /// The results of the first rows stop the run before the rest is sent.
    #[error("the {} batch stopped the run", .0.kind.as_str())]
    StoppedAtCheckpoint(Box<checkpoints::StoppedAtCheckpoint>),
    /// Files around the steps.
    #[error("cannot {doing} `{}`", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The user asked to stop while rows were planned or written. Nothing was sent by the step, and
    /// nothing of it is left.
    #[error("interrupted")]
    Interrupted,
    /// A run of a provider is to be resumed on the simulator.
    #[error("the run `{}` is not one of the built-in simulator", .run.display())]
    NotSimulated {
        /// The run.
        run: PathBuf,
    },
    /// The call did nothing, as its options or the job ask for in such a case: no failure.
    #[error("nothing was started")]
    NotStarted(Box<NotStarted>),
    /// Another process works on the job or the run, and it did not finish in the time that the call
    /// had.
    #[error("`{}` is still locked by another process", .locked.display())]
    StillRunning {
        /// The folder that the other process has locked.
        locked: PathBuf,
        /// The process, as far as it can be read.
        owner: Option<crate::journal::Owner>,
        /// How long the call waited.
        waited: std::time::Duration,
    },
    /// The run's answers are not all there yet.
    #[error("the run `{}` is not finished: not all of its results are collected", .run.display())]
    NotFinished {
        /// The run.
        run: PathBuf,
        /// Whether it was abandoned, so that it can be collected and not run.
        abandoned: bool,
    },
    /// No failed row is of a class that is to be sent again.
    #[error("no row of the run can be retried as asked")]
    NothingToRetry(Box<report::NothingToRetry>),
    /// Neither an age nor a run says what is to be removed.
    #[error("nothing says which runs are to be removed")]
    PruneWithoutAge {
        /// The job file whose runs were meant; `None` where all runs were.
        job: Option<PathBuf>,
    },
    /// The run was removed.
    #[error("the run `{run}` was removed on {}", .removed_at.strftime("%Y-%m-%d"))]
    Pruned {
        /// Its id.
        run: String,
        /// When.
        removed_at: jiff::Timestamp,
    },
    /// There is no such run.
    #[error("there is no run `{}`", .target.display())]
    NoRun {
        /// What was given.
        target: PathBuf,
    },
    /// The job has no run yet.
    #[error("the job `{job}` has no run in `{}`", .state.display())]
    JobHasNoRun {
        /// The job.
        job: String,
        /// The state directory.
        state: PathBuf,
    },
    /// The engine has no provider, and the call needs one.
    #[error("the engine has no provider")]
    NoProvider,
    /// The provider has no file store, and requests name files.
    #[error("the provider keeps no files, and requests name some")]
    NoFileStore,
    /// The provider cannot count tokens.
    #[error("there is no key")]
    NoCredential {
        /// The address that it is for, where that is not the provider's own.
        base_url: Option<String>,
    },
    /// The connection cannot be set up. Nothing was sent.
    #[error(transparent)]
    Connect(#[from] crate::provider::Error),
    /// A simulated run was asked of a build without the simulator.
    #[error("this build has no simulator (feature `simulator`)")]
    WithoutSimulator,
    /// The simulator of this process cannot be started.
    #[cfg(feature = "simulator")]
    #[error("the simulator cannot start")]
    Simulator(#[from] crate::simulator::Error),
    /// The system gives no threads to wait on.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// No row is to be shown.
    #[error("there is no row to show")]
    NoRow {
        /// The key that was asked for.
        key: Option<String>,
    },
    /// Options exclude each other.
    #[error("a sample cannot be combined with {with}")]
    SampleWith {
        /// What it cannot go together with.
        with: SampleConflict,
    },
    /// Something that cannot happen did.
    #[error("{0}: this is a bug in rowmill")]
    Bug(String),
}

/// A file that a job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobInput {
    /// A file of the source.
    Source,
    /// The job file.
    Job,
    /// A template, a schema or another file that the job names.
    File,
}

impl JobInput {
    fn noun(self) -> &'static str {
        match self {
            JobInput::Source => "a file of the source",
            JobInput::Job => "the job file",
            JobInput::File => "a template, a schema or another file of the job",
        }
    }
}

fn not_uploaded(files: usize) -> String {
    match files {
        1 => "1 file that requests name is not uploaded".to_owned(),
        n => format!("{n} files that requests name are not uploaded"),
    }
}

/// An error and its causes in one line, for `_rm_error`.
#[must_use]
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The columns of a record batch that a schema names, in its order.
fn project(
    batch: &arrow::array::RecordBatch,
    schema: &arrow::datatypes::SchemaRef,
) -> Result<arrow::array::RecordBatch, Error> {
    let bug = |e: arrow::error::ArrowError| {
        Error::Bug(format!("a column that was asked for was not read ({e})"))
    };
    let places: Result<Vec<usize>, _> = schema
        .fields()
        .iter()
        .map(|f| batch.schema_ref().index_of(f.name()))
        .collect();
    let projected = batch.project(&places.map_err(bug)?).map_err(bug)?;
    // The reader may say less of the whole table than the source did when it was opened.
    projected
        .with_schema(std::sync::Arc::clone(schema))
        .map_err(bug)
}
