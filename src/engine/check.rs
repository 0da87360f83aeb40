//! A job → everything that can be known of it offline.

use std::path::PathBuf;

use arrow::datatypes::DataType;
use serde::Serialize;

use crate::job::JobFile;
use crate::source::SourceSpec;

use super::compile::CompiledJob;
use super::options::CheckOptions;
use super::plan_inputs::PlanInputs;
use super::plan_report::PlanReport;
use super::setup::Engine;
use super::shared::SharedReport;
use super::{Error, Warning};

/// What a job is, and what its rows come to, as far as that is known offline.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The job's name.
    pub job: String,
    /// The job file.
    pub job_path: PathBuf,
    /// Its model.
    pub model: String,
    /// The most tokens that an answer may have.
    pub max_tokens: u32,
    /// The files of the source.
    pub source_files: usize,
    /// The columns of the source that are read.
    pub columns_read: Vec<String>,
    /// The columns of the row key; none where a row is known by its number.
    pub key: Vec<String>,
    /// What all requests have in common.
    pub shared: SharedReport,
    /// The columns that answers are parsed into.
    pub answer: Vec<AnswerColumn>,
    /// Whether bounds of the schema are sent in words, and checked afterwards.
    pub sends_bounds_in_words: bool,
    /// The templates and other files of the job.
    pub templates: Vec<PathBuf>,
    /// The output.
    pub output: PathBuf,
    /// Its columns.
    pub output_columns: Vec<String>,
    /// The rows, batches and bytes.
    pub plan: PlanReport,
    /// Whether there are earlier outputs, whose answers a run takes over. A check does not read
    /// them, so its plan counts and prices all rows.
    pub has_earlier_answers: bool,
    /// What was found while the job was compiled.
    pub warnings: Vec<Warning>,
    /// The job's source, with the rows that were selected.
    #[serde(skip)]
    pub source: SourceSpec,
}

/// A column that answers are parsed into.
#[derive(Debug, Clone, Serialize)]
pub struct AnswerColumn {
    /// Its name.
    pub name: String,
    /// Its Arrow type.
    #[serde(serialize_with = "by_name")]
    pub data_type: DataType,
}

fn by_name<S: serde::Serializer>(data_type: &DataType, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(data_type)
}

impl Engine {
    /// Finds out everything about a job that can be known offline, over every row that is selected.
    ///
    /// # Errors
    /// Whatever a run of the job would refuse before sending.
    pub fn check(&self, file: &JobFile, options: &CheckOptions) -> Result<CheckReport, Error> {
        let mut file = file.clone();
        options.rows.apply(&mut file.job);
        let compiled = self.compile(&file)?;
        let observer = &self.step_observer();
        let plan = PlanInputs::default().plan(&file, &compiled, self.format(), None, observer)?;
        let plan = self.with_limits(&file, None, false, plan)?;
        Ok(report(&file, compiled, plan))
    }
}

fn report(file: &JobFile, compiled: CompiledJob, plan: PlanReport) -> CheckReport {
    let fields = compiled.answer.iter().flat_map(|answer| answer.fields());
    let answer = fields.map(|field| AnswerColumn {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
    });
    let request = &file.job.request;
    CheckReport {
        job: file.job.head.name.clone(),
        job_path: file.path.clone(),
        model: request.model.clone(),
        max_tokens: request.max_tokens,
        source_files: compiled.source.files().len(),
        columns_read: compiled.read,
        key: file.job.key.columns.clone(),
        answer: answer.collect(),
        shared: compiled.shared,
        sends_bounds_in_words: compiled.answer_plan.sent_schema.is_some(),
        templates: compiled
            .requests
            .template_files()
            .iter()
            .map(|(path, _)| path.clone())
            .collect(),
        has_earlier_answers: compiled.output_path.exists() || !request.reuse.is_empty(),
        output: compiled.output_path,
        output_columns: compiled
            .output
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect(),
        plan,
        warnings: compiled.warnings,
        source: file.job.source.clone(),
    }
}
