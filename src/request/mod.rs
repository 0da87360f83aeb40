//! Prompt → request.
//!
//! In come the job's `[request]` section, the columns of its source, and then rows; out goes, for
//! each row, a *fragment*: the row's own part of the `params` of a Messages request. The rest, the
//! *head*, is the same in every request and kept once: head + fragment are the exact bytes sent.
//! The row's key becomes the request's custom_id ([`keys`], [`custom_id`]).
//!
//! Promises:
//! * The same job, files and row give the same bytes, and the [`RequestHash`] is over exactly
//!   these.
//! * What is the same for all rows comes first, byte for byte, so that a prompt cache can hit.
//! * What the API would refuse for every row is an error of the job, with the way out, before
//!   anything is sent: refused parameters, schemas outside of its subset ([`schema`]), tools
//!   ([`tools`]), what the model does not take, cache marks that cannot hit. Where rows choose by
//!   themselves ([`per_row`]), the row is at fault.
//! * custom_ids are unique over the run: [`duplicates`] finds rows that share a key, over any
//!   number of rows.
//!
//! Everything here is pure but for the files read by [`Requests::compile`]; rows can be rendered
//! from several threads.
//!
//! To add a parameter, see `parameters.rs` and `options.rs`; a rule about models, `rules.rs`.

pub(crate) mod betas;
pub mod custom_id;
pub mod duplicates;
mod encode;
pub mod keys;
mod options;
pub(crate) mod parameters;
pub mod per_row;
mod rules;
pub mod schema;
pub mod tools;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::catalog::{Catalog, Model, Thinking};
use crate::template::prompt::media::{MediaFacts, PromptLimits};
use crate::template::prompt::{
    CacheTtl, ContentSpec, MessageSpec, Prompt, RowFault, Setting, SharedBlock, SystemSpec,
    check_marks,
};
use crate::template::row::Table;
use crate::template::{self, Columns};
use options::{Options, place};
use per_row::{Choice, ChoiceFault, JobsOwn, PerRow, PerRowSpec, Values};
use rules::Case;
use schema::{Finding, SchemaSpec};

pub use tools::{Tool, ToolSpec};

/// The newest API version, under which sampling parameters are gone.
pub const NEWEST_API_VERSION: &str = "2026-10-21";

/// The API versions that are served. **Source**: API release notes, read 2026-11-22.
pub const API_VERSIONS: &[&str] = &[NEWEST_API_VERSION, "2023-06-01"];

/// The section `[request]` of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSpec {
    /// The model's id.
    pub model: String,
    /// Most tokens of an answer, at least 1.
    pub max_tokens: u32,
    /// What all requests share: a text, or a list of blocks.
    #[serde(default)]
    pub system: SystemSpec,
    /// The messages, of which at least one is rendered from the row.
    pub messages: Vec<MessageSpec>,
    /// The JSON Schema that answers follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSpec>,
    /// The tools that the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Whether the model calls a tool: `auto`, `any`, `none`, or a table as it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// How the model thinks before it answers: a word, a budget, or a table as it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Value>,
    /// How much effort goes into an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// How much chance there is in an answer; only older models have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Number>,
    /// As `temperature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Number>,
    /// As `temperature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<Number>,
    /// Texts at which an answer ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
    /// Where the model runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// What rows choose by themselves.
    #[serde(default, skip_serializing_if = "PerRowSpec::is_empty")]
    pub per_row: PerRowSpec,
    /// Anything else the Messages API takes, passed on as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// The API version; the newest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Beta features, for the header of the whole batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<String>,
    /// Whether betas are taken that this version does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown_betas: bool,
    /// What happens to a row that cannot be rendered.
    #[serde(default)]
    pub on_row_error: OnRowError,
    /// What happens to a row whose prompt is longer than the context window of its model, by the
    /// estimate of its tokens.
    #[serde(default, skip_serializing_if = "OnTooLarge::is_send")]
    pub on_too_large: OnTooLarge,
}

/// What happens to a row whose prompt is longer than the context window of its model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTooLarge {
    /// It is sent: the length is an estimate, and what is refused is not billed.
    #[default]
    Send,
    /// It is set aside as `unsent`, with the reason `too_large`.
    Unsent,
}

impl OnTooLarge {
    fn is_send(&self) -> bool {
        *self == OnTooLarge::Send
    }
}

/// What happens to a row that cannot be rendered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRowError {
    /// The job stops before anything is sent: a template that fails for one row is most often wrong
    /// for many.
    #[default]
    Error,
    /// The row is set aside as `unsent`, with the reason.
    Skip,
}

impl RequestSpec {
    /// Whether requests name files that are uploaded before.
    #[must_use]
    pub fn uploads(&self) -> bool {
        let blocks = self
            .messages
            .iter()
            .flat_map(|message| message.content.iter().flatten());
        let uploads = |block: &ContentSpec| {
            block.image.as_ref().is_some_and(|image| image.upload)
                || block
                    .document
                    .as_ref()
                    .is_some_and(|document| document.upload)
        };
        blocks.into_iter().any(uploads)
    }

    /// The API version that requests are sent under.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.api_version.as_deref().unwrap_or(NEWEST_API_VERSION)
    }
}

/// Why requests cannot be made from a job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The prompt cannot be compiled.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// A setting of the section makes no sense.
    #[error("`request.{key}` {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A parameter cannot be sent, or its model does not take it.
    #[error("`request.{key}` {why}; {way_out}")]
    Param {
        /// The parameter, as the job names it.
        key: String,
        /// Why not.
        why: String,
        /// What to do instead.
        way_out: String,
    },
    /// What rows choose cannot be worked out.
    #[error("`request.per_row.{key}` does not fit the table")]
    Expression {
        /// The parameter.
        key: &'static str,
        /// What is wrong with its expression.
        #[source]
        source: Box<crate::table::Error>,
    },
    /// A tool cannot be sent.
    #[error("{place} {problem}")]
    Tool {
        /// Where it is defined.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The schema of a strict tool holds what the API refuses.
    #[error("the API does not take the schema of a strict tool, {place}{}", findings_listed(.findings))]
    ToolSchema {
        /// Where the tool is defined.
        place: String,
        /// All that is refused.
        findings: Vec<Finding>,
    },
    /// The schema is not JSON.
    #[error("`{}` is not JSON", .path.display())]
    SchemaJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The schema holds what the API refuses.
    #[error("the API does not take the schema `{}`{}", .path.display(), findings_listed(.findings))]
    Schema {
        /// The file.
        path: PathBuf,
        /// All that is refused.
        findings: Vec<Finding>,
        /// Whether all of it could be said in words.
        can_be_lowered: bool,
    },
}

fn findings_listed(findings: &[Finding]) -> String {
    let line = |f: &Finding| {
        let place = if f.pointer.is_empty() {
            "the top level"
        } else {
            &f.pointer
        };
        format!("\n  at {place}, `{}`: {}; {}", f.keyword, f.why, f.way_out)
    };
    findings.iter().map(line).collect()
}

/// Why a row has no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It has no prompt.
    #[error(transparent)]
    Prompt(#[from] RowFault),
    /// What it chooses cannot be sent.
    #[error(transparent)]
    Choice(#[from] ChoiceFault),
}

/// 128 bits of BLAKE3 over the exact bytes of a request's `params`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestHash(pub u128);

impl RequestHash {
    /// The hash of a request made of a head and a fragment.
    #[must_use]
    pub fn of(head: &[u8], fragment: &[u8]) -> RequestHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(head);
        hasher.update(fragment);
        RequestHash::finish(&hasher)
    }

    fn finish(hasher: &blake3::Hasher) -> RequestHash {
        let hash = hasher.finalize();
        let (first, _) = hash.as_bytes().split_at(16);
        RequestHash(
            first
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u128::from(byte)),
        )
    }
}

/// A request's head with another limit for the tokens of the answer; `None` where the head has
/// none, because rows choose theirs.
#[must_use]
pub fn with_max_tokens(head: &[u8], max_tokens: u32) -> Option<Vec<u8>> {
    encode::with_max_tokens(head, max_tokens)
}

/// The most tokens of an answer of a model, under the betas of a job.
#[must_use]
pub fn most_tokens(model: &Model, betas: &[String]) -> u64 {
    rules::most_tokens(model, betas)
}

impl fmt::Display for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The requests of a job, compiled: what they share, and how a row becomes its part.
///
/// ```
/// # use std::{path::Path, sync::Arc};
/// # use arrow::array::{RecordBatch, StringArray};
/// # use rowmill::{catalog::Catalog, request::{RequestSpec, Requests}};
/// let spec: RequestSpec = toml::from_str(
///     r#"model = "claude-haiku-4-5"
///        max_tokens = 10
///        system = "Sort the message into one of: bug, question."
///        messages = [{ role = "user", text = "{{ subject }}" }]"#,
/// )?;
/// let rows = RecordBatch::try_from_iter([("subject", Arc::new(StringArray::from(vec!["It \"crashes\""])) as _)])?;
///
/// let requests = Requests::compile(&spec, Path::new("."), &rows.schema(), Catalog::builtin())?;
/// let mut fragment = Vec::new();
/// requests.render(&rows, 0, &mut fragment)?;
/// assert_eq!(String::from_utf8(fragment)?, r#"{"role":"user","content":"It \"crashes\""}]}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Requests {
    prompt: Prompt,
    /// Those of the job's model; the widest where rows choose theirs.
    limits: PromptLimits,
    head: Vec<u8>,
    /// The hash state behind the head, to go on from for each row.
    head_hash: blake3::Hasher,
    has_shared_messages: bool,
    schema: Option<schema::AnswerSchema>,
    tools: Vec<Tool>,
    job: JobsOwn,
    per_row: PerRow,
    warnings: Vec<String>,
    files: Vec<(PathBuf, String)>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("head_bytes", &self.head.len())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Requests {
    /// Compiles the requests of a job against the columns of its source; paths start from `folder`,
    /// the job's own.
    ///
    /// # Errors
    /// [`Error`]: everything that would fail for every row.
    pub fn compile(
        spec: &RequestSpec,
        folder: &Path,
        columns: &Schema,
        catalog: &Catalog,
    ) -> Result<Requests, Error> {
        Requests::compile_in(spec, &Setting::in_folder(folder), columns, catalog)
    }

    /// As [`Requests::compile`], knowing where the table lies and which files have been uploaded.
    ///
    /// # Errors
    /// As there.
    pub fn compile_in(
        spec: &RequestSpec,
        setting: &Setting<'_>,
        columns: &Schema,
        catalog: &Catalog,
    ) -> Result<Requests, Error> {
        let folder = setting.folder;
        // Where rows choose their model, what all share is checked for each row by its own model.
        let limits = match catalog.model(&spec.model) {
            _ if spec.per_row.model.is_some() => PromptLimits::WIDEST,
            Some((_, model)) => limits_of(model),
            None => setting.limits,
        };
        let prompt = Prompt::compile(
            &spec.system,
            &spec.messages,
            &Setting {
                limits,
                ..setting.clone()
            },
            columns,
        )?;
        let mut files = prompt.files().to_vec();
        let newest_tools = catalog
            .model(&spec.model)
            .is_none_or(|(_, model)| model.thinking != Thinking::Extended);
        let Options {
            params,
            output_config,
            tools,
            mut asked,
            mut warnings,
        } = Options::compile(spec, newest_tools, folder, &mut files)?;
        warnings.extend(prompt.shared().iter().filter_map(travels));
        check_marks(&marks(&tools, prompt.shared(), params.get("cache_control")))?;
        check_advisors(&tools, catalog)?;
        let schema = spec
            .schema
            .as_ref()
            .map(|spec| schema::read(spec, folder, &mut files))
            .transpose()?;
        if schema.is_some() && prompt.ends_with_prefill() {
            let problem = "cannot be used with a last message of the role `assistant`: the API \
                does not take both"
                .to_owned();
            return Err(Error::Value {
                key: "schema",
                problem,
            });
        }
        if schema.is_some() && prompt.cites() {
            let problem =
                "cannot be used with a document that has `citations`: the API does not take both"
                    .to_owned();
            return Err(Error::Value {
                key: "schema",
                problem,
            });
        }
        check_schemas(&tools, schema.as_ref())?;
        asked.prefill = prompt.ends_with_prefill();
        asked.system_messages = prompt.has_system_messages();
        let job = JobsOwn {
            model: spec.model.clone(),
            max_tokens: spec.max_tokens,
            asked,
        };
        warnings.extend(check_model(spec, &job, catalog)?);
        let output_config = encode::output_config(
            output_config,
            schema.as_ref().map(schema::AnswerSchema::sent),
        );
        let per_row = PerRow::compile(spec, columns, &output_config, catalog)?;
        let head = encode::Head {
            model: (!per_row.has_model()).then_some(spec.model.as_str()),
            max_tokens: (!per_row.has_max_tokens()).then_some(spec.max_tokens),
            params: &params,
            tools: &tools,
            output_config: Some(&output_config)
                .filter(|config| !config.is_empty() && !per_row.has_effort()),
            shared: prompt.shared(),
            is_open: prompt.is_open(),
        }
        .bytes();
        let mut head_hash = blake3::Hasher::new();
        head_hash.update(&head);
        let has_shared_messages = prompt.shared().iter().any(|block| block.role.is_some());
        Ok(Requests {
            prompt,
            limits,
            head,
            head_hash,
            has_shared_messages,
            schema,
            tools,
            job,
            per_row,
            warnings,
            files,
        })
    }

    /// The columns that the templates and the rows' own choices read.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.prompt
            .columns()
            .clone()
            .union(Columns::Named(self.per_row.columns()))
    }

    /// Text columns that templates use as conditions.
    pub(crate) fn conditions(&self) -> &[template::TextCondition] {
        self.prompt.conditions()
    }

    /// The start of `params`, the same in every request: everything up to the first message that
    /// depends on the row.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The head with no message left open, so that another message may follow it: the shared part
    /// may end in the middle of one.
    #[must_use]
    pub fn closed_head(&self) -> Vec<u8> {
        let end: &[u8] = if self.prompt.is_open() { b"]}" } else { b"" };
        [&self.head, end].concat()
    }

    /// What all requests share, in the order the model reads it: system blocks, then the blocks of
    /// leading messages. Tools, which the model reads before, are not among them. A block is text
    /// or, where [`SharedBlock::media`] is not empty, a picture or document.
    #[must_use]
    pub fn shared_text(&self) -> &[SharedBlock] {
        self.prompt.shared()
    }

    /// The pictures and documents among what all requests share.
    #[must_use]
    pub fn shared_media(&self) -> &MediaFacts {
        self.prompt.shared_media()
    }

    /// Whether rows carry pictures or documents, so that their requests differ much in size.
    #[must_use]
    pub fn has_row_media(&self) -> bool {
        self.prompt.has_row_media()
    }

    /// Every template, system file and schema that was read, as the job names it, with its blake3
    /// in hex.
    #[must_use]
    pub fn template_files(&self) -> &[(PathBuf, String)] {
        &self.files
    }

    /// The schema that answers follow: as it was written, and as it is sent.
    #[must_use]
    pub fn answer_schema(&self) -> Option<&schema::AnswerSchema> {
        self.schema.as_ref()
    }

    /// The tools that every request offers, in their order.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// What rows choose by themselves.
    #[must_use]
    pub fn choices(&self) -> Choices {
        Choices {
            model: self.per_row.has_model(),
            max_tokens: self.per_row.has_max_tokens(),
            effort: self.per_row.has_effort(),
            user_id: self.per_row.has_user_id(),
            tag: self.per_row.has_tag(),
        }
    }

    /// What a person should know of the parameters, none of which stops the job.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the last message is the beginning of the answer (a prefill), which newer models
    /// refuse.
    #[must_use]
    pub fn ends_with_prefill(&self) -> bool {
        self.prompt.ends_with_prefill()
    }

    /// Prepares a batch for rendering; cheaper than [`Requests::render`] where several rows of it
    /// are rendered.
    #[must_use]
    pub fn rows(&self, batch: &RecordBatch) -> Rows<'_> {
        Rows {
            requests: self,
            table: self.prompt.table(batch),
            values: self.per_row.values(batch),
        }
    }

    /// Appends the fragment of one row to `out`.
    ///
    /// # Errors
    /// [`RowError`]: the row cannot be rendered, or a message is empty. `out` is then as it was.
    pub fn render(
        &self,
        batch: &RecordBatch,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<RequestHash, RowError> {
        self.rows(batch).render(row, out)
    }

    /// The hash of the request with this fragment.
    #[must_use]
    pub fn hash(&self, fragment: &[u8]) -> RequestHash {
        let mut hasher = self.head_hash.clone();
        hasher.update(fragment);
        RequestHash::finish(&hasher)
    }

    /// The whole `params` object of a fragment, as it is sent.
    #[must_use]
    pub fn params_json(&self, fragment: &[u8]) -> Vec<u8> {
        [&self.head, fragment].concat()
    }
}

/// A batch of rows, ready to be rendered.
pub struct Rows<'r> {
    requests: &'r Requests,
    table: Arc<Table>,
    values: Values,
}

/// Which parameters rows choose by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Their model.
    pub model: bool,
    /// Their `max_tokens`.
    pub max_tokens: bool,
    /// Their effort.
    pub effort: bool,
    /// Whom the request is made for.
    pub user_id: bool,
    /// Their tag, which is not sent.
    pub tag: bool,
}

impl Choices {
    /// The members of `params` that differ from row to row because rows choose them.
    #[must_use]
    pub fn members(&self) -> Vec<&'static str> {
        let all = [
            (self.model, "model"),
            (self.max_tokens, "max_tokens"),
            (self.effort, "output_config"),
            (self.user_id, "metadata"),
        ];
        all.into_iter()
            .filter(|(is_chosen, _)| *is_chosen)
            .map(|(_, member)| member)
            .collect()
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Rows<'_> {
    /// As [`Requests::render`].
    ///
    /// # Errors
    /// As there.
    pub fn render(&self, row: usize, out: &mut Vec<u8>) -> Result<RequestHash, RowError> {
        self.render_with(row, out, &mut MediaFacts::default())
    }

    /// As [`Requests::render`]; also tells which pictures and documents the row itself brings, in
    /// place of what `facts` held.
    ///
    /// # Errors
    /// As there.
    pub fn render_with(
        &self,
        row: usize,
        out: &mut Vec<u8>,
        facts: &mut MediaFacts,
    ) -> Result<RequestHash, RowError> {
        let start = out.len();
        let choice = self.choice(row)?;
        facts.clear();
        let mut messages = encode::Messages::new(out, self.requests.has_shared_messages);
        let limits = self
            .requests
            .per_row
            .limits(choice.model)
            .unwrap_or(self.requests.limits);
        let rendered = self
            .requests
            .prompt
            .render(&self.table, row, &limits, facts, |part| {
                messages.part(&part)
            });
        if let Err(fault) = rendered {
            out.truncate(start);
            return Err(fault.into());
        }
        self.requests.per_row.close(&choice, out);
        Ok(self.requests.hash(&out[start..]))
    }

    /// About the bytes that a row's pictures and documents take in its request, told without
    /// reading them.
    #[must_use]
    pub fn media_weight(&self, row: usize) -> u64 {
        self.requests.prompt.media_weight(&self.table, row)
    }

    /// A row's tag.
    #[must_use]
    pub fn tag(&self, row: usize) -> Option<&str> {
        self.values.tag(row)
    }

    /// The model and the limit of the answer that a row is sent with, where both can be worked out;
    /// else the job's own.
    #[must_use]
    pub fn model_and_max_tokens(&self, row: usize) -> (&str, u32) {
        let job = &self.requests.job;
        let own = (job.model.as_str(), job.max_tokens);
        if self.requests.per_row.has_model() || self.requests.per_row.has_max_tokens() {
            return self
                .choice(row)
                .map_or(own, |choice| (choice.model, choice.max_tokens));
        }
        own
    }

    /// What a row is sent with besides its prompt, and its tag.
    ///
    /// # Errors
    /// A choice that cannot be worked out, or that the row's model does not take.
    pub fn choice(&self, row: usize) -> Result<Choice<'_>, ChoiceFault> {
        self.requests
            .per_row
            .choice(&self.values, row, &self.requests.job)
    }
}

/// The limits that hold over all schemas of a request: those of strict tools, and of the answer.
fn check_schemas(tools: &[Tool], answer: Option<&schema::AnswerSchema>) -> Result<(), Error> {
    let strict = tools
        .iter()
        .filter(|tool| tool.strict)
        .filter_map(|tool| tool.input_schema.as_ref());
    match schema::too_much(strict.chain(answer.map(schema::AnswerSchema::sent))) {
        None => Ok(()),
        Some(what) => {
            let why = format!("and the schema of the answer have {what}");
            let way_out = "put more properties into `required`, give them one type each, or leave \
                `strict` out";
            Err(Error::Param {
                key: "tools".to_owned(),
                why,
                way_out: way_out.to_owned(),
            })
        }
    }
}

/// What a request to a model may hold.
fn limits_of(model: &Model) -> PromptLimits {
    PromptLimits::of_context(model.context_tokens, model.prefill, model.system_messages)
}

/// Asks the rules of the job's model, and gives back what is worth a word. A model that is not in
/// the catalog has no rules here; where rows choose their model, each row is checked by its own,
/// and the job's model is only for rows that choose none.
fn check_model(spec: &RequestSpec, job: &JobsOwn, catalog: &Catalog) -> Result<Vec<String>, Error> {
    let Some((_, model)) = catalog.model(&job.model) else {
        return Ok(Vec::new());
    };
    let effort = job.asked.effort.as_deref();
    let case = Case {
        id: &job.model,
        model,
        max_tokens: job.max_tokens.into(),
        effort,
        asked: &job.asked,
    };
    let Some(refusal) = case.refusal().filter(|_| spec.per_row.model.is_none()) else {
        return Ok(case.advice());
    };
    let in_params = match refusal.key {
        "effort" => spec.effort.is_none(),
        key => spec.params.contains_key(key),
    };
    Err(Error::Param {
        key: place(refusal.key, in_params),
        why: refusal.why,
        way_out: refusal.way_out,
    })
}

/// A picture or document of this many bytes is worth an upload: 10,000 requests make 2 GB of it.
const WORTH_AN_UPLOAD: usize = 200_000;

fn travels(block: &SharedBlock) -> Option<String> {
    let bytes = block.carried_bytes();
    let what = format!(
        "{} has {bytes} bytes and travels with every request; `upload = true` sends it once",
        block.part
    );
    (bytes >= WORTH_AN_UPLOAD).then_some(what)
}

/// All cache marks, in the order in which the model reads them: tools, system blocks, messages, and
/// the automatic one at their end.
fn marks(
    tools: &[Tool],
    shared: &[SharedBlock],
    automatic: Option<&Value>,
) -> Vec<(String, CacheTtl)> {
    let tools = tools
        .iter()
        .filter_map(|tool| Some((format!("tool `{}`", tool.name), tool.cache?)));
    let shared = shared
        .iter()
        .filter_map(|block| Some((block.part.clone(), block.cache?)));
    let automatic = automatic
        .and_then(tools::mark_of)
        .map(|ttl| ("`request.params.cache_control`".to_owned(), ttl));
    tools.chain(shared).chain(automatic).collect()
}

/// Checks that models which advise are in service, as the job's own model has to be.
fn check_advisors(tools: &[Tool], catalog: &Catalog) -> Result<(), Error> {
    for id in tools.iter().filter_map(tools::advisor) {
        if catalog.model(id).is_some() {
            continue;
        }
        let (why, way_out) = match (catalog.retired(id), catalog.nearest(id).first()) {
            (Some((_, gone)), _) => {
                let successor = gone.successor.as_deref().unwrap_or("another model");
                (
                    format!("has the advisor `{id}`, which is retired"),
                    format!("use `{successor}`"),
                )
            }
            (None, near) => {
                let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                (
                    format!("has the unknown advisor `{id}`"),
                    format!("{near}a model table of your own adds newer ones"),
                )
            }
        };
        return Err(Error::Param {
            key: "tools".to_owned(),
            why,
            way_out,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
