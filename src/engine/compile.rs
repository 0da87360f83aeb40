//! Job → the compiled rooms, before any row is read.
//!
//! Whatever can be known without rows is found out here: the source opens, the templates compile
//! and name columns that exist, the key has columns of a kind that can be one, the schema is one
//! the API takes, the output's columns do not clash and its folder can be written. A plan, a check
//! and a preview all begin with this, so that they cannot disagree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use jiff::civil::Date;

use crate::catalog::Catalog;
use crate::cost;
use crate::job::{Job, JobFile};
use crate::outcome::answer::{AnswerPlan, Answers, ToolSchema};
use crate::output::{self, OutputSchema};
use crate::request::keys::Keys;
use crate::request::{Requests, Tool};
use crate::source::Source;
use crate::template::prompt::uploads::Uploads;
use crate::template::prompt::{MessageSpec, PromptContext, Role};
use crate::template::{self, TemplateColumns};

use super::shared::SharedReport;
use super::{Error, JobInput, Warning};

/// A job whose rooms are compiled.
pub struct CompiledJob {
    /// The folder of the job file, seen from the working directory.
    pub job_folder: PathBuf,
    /// What is known of models, and what they cost.
    pub catalog: Arc<Catalog>,
    /// Where rows come from.
    pub source: Source,
    /// What makes a row's custom_id.
    pub keys: Keys,
    /// What is asked.
    pub requests: Requests,
    /// The ids of the files that requests name, and the files that have none yet.
    pub uploads: Arc<Uploads>,
    /// What decides how answers become columns.
    pub answer_plan: AnswerPlan,
    /// How they do; `None` where they stay text.
    pub answer: Option<Answers>,
    /// The columns of the output.
    pub output: OutputSchema,
    /// Where the output goes, seen from the working directory.
    pub output_path: PathBuf,
    /// Source columns to read: those that the key, the templates or the output need, in source
    /// order.
    pub read: Vec<String>,
    /// Source columns kept for the output, in source order.
    pub kept: SchemaRef,
    /// What all requests share, and whether it can be read from the cache.
    pub shared: SharedReport,
    /// What the user should know before money is spent; none of it stops the job.
    pub warnings: Vec<Warning>,
}

impl CompiledJob {
    /// Compiles a job. `today` decides what is said of models that retire; `catalog` knows them and
    /// their prices.
    ///
    /// # Errors
    /// The first room that cannot be compiled; nothing has been written.
    pub fn new(file: &JobFile, today: Date, catalog: &Arc<Catalog>) -> Result<CompiledJob, Error> {
        let job = &file.job;
        let mut warnings = Vec::new();
        check_model(catalog, &job.request.model, today, &mut warnings)?;
        let source = Source::open(&job.source, &file.folder)?;
        warnings.extend(source.warnings().iter().cloned().map(Warning::Source));
        let schema = source.schema();
        let keys = Keys::new(&job.key, schema)?;
        let uploads = Arc::default();
        let requests = compile(file, &source, catalog, &uploads)?;
        // Before the columns: a source that reads the job's own output would have all of them
        // twice.
        let output_path = file.resolve(&job.output.path);
        check_replaces_nothing(file, &source, &requests, &output_path)?;
        warnings.extend(requests.warnings().iter().cloned().map(Warning::from));
        let answer_plan = answer_plan(job, &requests);
        let answer = Answers::compile(&answer_plan)?;
        let answers = answer.as_ref().map_or(&[][..], Answers::fields);
        let output = OutputSchema::new(schema, answers, &job.output_spec())?;
        let of_output = output.losses().into_iter().chain(output.check_case()?);
        warnings.extend(of_output.map(Warning::Output));
        // A simulated run has one column more, and its name is kept free for it.
        OutputSchema::new(schema, answers, &job.output_spec().of_simulated_run())?;
        let kept = Arc::new(
            schema
                .project(output.input_columns())
                .map_err(|e| Error::Bug(e.to_string()))?,
        );
        output::check_writable(&output_path)?;
        let read = columns_to_read(schema, &keys, &requests, &kept);
        source.check_readable(&read)?;
        let shared = SharedReport::new(catalog, &requests, &job.request);
        warnings.extend(shared.warning());
        if job.key.columns.is_empty() {
            warnings.push(Warning::NoKeyColumns);
        }
        Ok(CompiledJob {
            job_folder: file.folder.clone(),
            catalog: Arc::clone(catalog),
            uploads,
            keys,
            requests,
            shared,
            answer_plan,
            answer,
            output,
            output_path,
            read,
            kept,
            warnings,
            source,
        })
    }

    /// Compiles the requests again, now that files have ids, or with another place to note those
    /// that have none.
    ///
    /// # Errors
    /// As [`CompiledJob::new`]: a file may have changed.
    pub fn with_uploads(
        mut self,
        file: &JobFile,
        uploads: &Arc<Uploads>,
    ) -> Result<CompiledJob, Error> {
        self.requests = compile(file, &self.source, &self.catalog, uploads)?;
        self.uploads = Arc::clone(uploads);
        Ok(self)
    }
}

fn compile(
    file: &JobFile,
    source: &Source,
    catalog: &Catalog,
    uploads: &Arc<Uploads>,
) -> Result<Requests, Error> {
    let context = PromptContext {
        table: source.folder(),
        uploads: Arc::clone(uploads),
        ..PromptContext::in_folder(&file.folder)
    };
    Ok(Requests::compile_in(
        &file.job.request,
        &context,
        source.schema(),
        catalog,
    )?)
}

/// What the job, its schema and its tools say of answers.
fn answer_plan(job: &Job, requests: &Requests) -> AnswerPlan {
    let tool = |tool: &Tool| {
        Some(ToolSchema {
            name: tool.name.clone(),
            input_schema: tool.input_schema.clone()?,
        })
    };
    let (schema, sent_schema) = requests
        .answer_schema()
        .map(|schema| (schema.written.clone(), schema.lowered.clone()))
        .unzip();
    AnswerPlan {
        schema,
        sent_schema: sent_schema.flatten(),
        spec: job.answer.clone(),
        tools: requests.tools().iter().filter_map(tool).collect(),
        prefill: prefill(&job.request.messages),
    }
}

/// The beginning of every answer, where the last message is one and the same for all rows; white
/// space at its end is not sent.
fn prefill(messages: &[MessageSpec]) -> Option<String> {
    let last = messages
        .last()
        .filter(|message| message.role == Some(Role::Assistant))?;
    let text = last.text.as_deref()?;
    let is_plain = last.raw || template::is_plain_text(text);
    is_plain.then(|| text.trim_end().to_owned())
}

/// Makes sure that the output replaces nothing that the job reads.
fn check_replaces_nothing(
    file: &JobFile,
    source: &Source,
    requests: &Requests,
    output: &Path,
) -> Result<(), Error> {
    // Trials are written beside the output, and are not to be read either.
    std::iter::once(output.to_path_buf())
        .chain(super::export_options::OWN_NAMES.map(|word| output::beside(output, word)))
        .try_for_each(|output| check_replaces_nothing_at(file, source, requests, &output))
}

fn check_replaces_nothing_at(
    file: &JobFile,
    source: &Source,
    requests: &Requests,
    output: &Path,
) -> Result<(), Error> {
    // What is not there yet replaces nothing.
    let Ok(real) = output.canonicalize() else {
        return Ok(());
    };
    let is_output = |path: &Path| path.canonicalize().is_ok_and(|path| path == real);
    let what = if source.files().iter().any(|file| is_output(&file.path)) {
        JobInput::Source
    } else if is_output(&file.path) {
        JobInput::Job
    } else if requests
        .template_files()
        .iter()
        .any(|(path, _)| is_output(&file.resolve(path)))
    {
        JobInput::File
    } else {
        return Ok(());
    };
    Err(Error::OutputIsInput {
        path: output.to_path_buf(),
        what,
    })
}

fn check_model(
    catalog: &Catalog,
    id: &str,
    today: Date,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    if catalog.model(id).is_none() {
        let nearest = || catalog.nearest(id).into_iter().map(str::to_owned).collect();
        return Err(match catalog.advice(id, today) {
            Some(notice) => Error::RetiredModel {
                advice: notice.to_string(),
            },
            None => Error::UnknownModel {
                model: id.to_owned(),
                nearest: nearest(),
            },
        });
    }
    cost::prices(catalog, id)?;
    warnings.extend(catalog.advice(id, today).map(Warning::ModelRetirement));
    Ok(())
}

fn columns_to_read(
    schema: &Schema,
    keys: &Keys,
    requests: &Requests,
    kept: &Schema,
) -> Vec<String> {
    let mut wanted: BTreeSet<&str> = keys.columns().iter().map(String::as_str).collect();
    let used = requests.columns();
    match &used {
        TemplateColumns::All => wanted.extend(schema.fields().iter().map(|f| f.name().as_str())),
        TemplateColumns::Named(names) => wanted.extend(names.iter().map(String::as_str)),
    }
    wanted.extend(kept.fields().iter().map(|f| f.name().as_str()));
    schema
        .fields()
        .iter()
        .filter(|f| wanted.contains(f.name().as_str()))
        .map(|f| f.name().clone())
        .collect()
}
