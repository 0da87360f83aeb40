//! How the answers of a run become its output: as it was planned, or as a job file says now.
//!
//! Answers are paid for once and kept as received. If a pointer, an expression, a schema or a
//! column was wrong, they are re-parsed free of charge. What was sent cannot change: tools and the
//! beginning of the answer are those of the plan.

use std::path::{Path, PathBuf};

use crate::job::JobFile;
use crate::journal::Plan;
use crate::outcome::answer::{AnswerPlan, Answers};
use crate::output::{self, OutputSpec};
use crate::request::schema;

use super::Error;
use super::kept_job::{KeptJob, absolute};
use super::run_place::RunPlace;

/// Marks the name of an output whose answers are simulated.
pub(super) const SIMULATED: &str = "simulated";
/// Marks the name of an output of some of the job's rows only.
pub(super) const TRIAL: &str = "trial";

/// Marks the name of an output that is less complete than the existing one.
pub(super) const INCOMPLETE: &str = "incomplete";
/// All marks in the name of an output that is not in its place.
pub(super) const OWN_NAMES: [&str; 3] = [SIMULATED, TRIAL, INCOMPLETE];

/// How answers are read, and what is written.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// What decides how answers become columns.
    pub answer: AnswerPlan,
    /// How the output is written; its input columns are among those that the run kept.
    pub output: OutputSpec,
    /// Where it is written.
    pub path: PathBuf,
}

impl ExportOptions {
    /// As the run was planned.
    pub(super) fn of_plan(plan: &Plan, kept: &KeptJob, at: &RunPlace) -> ExportOptions {
        let output = OutputSpec {
            columns: output::KeptColumns::All,
            ..kept.job.output_spec()
        };
        ExportOptions {
            answer: plan.answer.clone(),
            output: marked(plan, output),
            path: place(plan, &at.moved_along(plan, &plan.output)),
        }
    }

    /// Whether answers become columns.
    pub(super) fn has_answer_columns(&self) -> bool {
        Answers::compile(&self.answer).is_ok_and(|answers| answers.is_some())
    }

    /// As a job says now: its `[answer]`, its schema and its `[output]`.
    ///
    /// # Errors
    /// [`Error::Request`] and [`Error::Answer`]: the schema cannot be read, or the columns make no sense.
    pub fn of_job(plan: &Plan, file: &JobFile) -> Result<ExportOptions, Error> {
        let schema = file
            .job
            .request
            .schema
            .as_ref()
            .map(|spec| schema::read(spec, &file.folder, &mut Vec::new()))
            .transpose()?;
        let (schema, sent_schema) = schema
            .map(|schema| (schema.written, schema.lowered))
            .unzip();
        let answer = AnswerPlan {
            schema,
            sent_schema: sent_schema.flatten(),
            spec: file.job.answer.clone(),
            ..plan.answer.clone()
        };
        Answers::compile(&answer)?;
        let output = file.job.output_spec();
        output.check()?;
        let path = place(plan, &absolute(&file.resolve(&file.job.output.path)));
        Ok(ExportOptions {
            answer,
            output: marked(plan, output),
            path,
        })
    }
}

/// The output with the mark that each row of a simulated run has.
fn marked(plan: &Plan, output: OutputSpec) -> OutputSpec {
    if plan.simulated {
        output.of_simulated_run()
    } else {
        output
    }
}

/// Where a run is written whose job names an output: a trial never stands in for it. One that is
/// simulated and narrowed is first of all simulated.
fn place(plan: &Plan, output: &Path) -> PathBuf {
    if plan.narrowed && !plan.is_in_process() {
        output::beside(output, TRIAL)
    } else {
        full_place(output, plan.is_in_process())
    }
}

/// The same for a run of all rows.
pub(super) fn full_place(output: &Path, in_process: bool) -> PathBuf {
    if in_process {
        output::beside(output, SIMULATED)
    } else {
        output.to_path_buf()
    }
}
