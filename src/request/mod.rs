//! Prompt → request.
//!
//! In come the job's `[request]` section, the columns of its source, and then rows; out goes, for each row, a *fragment*: the row's
//! own part of the `params` of a Messages request. The rest, the *head*, is the same in every request and kept once:
//! head + fragment are the exact bytes sent. The row's key becomes the request's custom_id ([`keys`], [`custom_id`]).
//!
//! Promises:
//! * The same job, files and row give the same bytes, and the [`RequestHash`] is over exactly these.
//! * What is the same for all rows comes first, byte for byte, so that a prompt cache can hit.
//! * What the API would refuse for every row is an error of the job, with the way out, before anything is sent: refused parameters,
//!   schemas outside of its subset ([`schema`]), cache marks that cannot hit. Which parameters a *model* takes is checked against the
//!   catalog elsewhere.
//! * custom_ids are unique over the run: [`duplicates`] finds rows that share a key, over any number of rows.
//!
//! Everything here is pure but for the files read by [`Requests::compile`]; rows can be rendered from several threads.
//!
//! To add a check of parameters: an entry in `REFUSED_PARAMS`.

pub mod custom_id;
pub mod duplicates;
mod encode;
pub mod keys;
pub mod schema;
pub mod tools;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::{Catalog, Thinking};
use crate::template::prompt::media::{MediaFacts, PromptLimits};
use crate::template::prompt::{CacheTtl, MessageSpec, Prompt, RowFault, Setting, SharedBlock, SystemSpec, check_marks};
use crate::template::row::Table;
use crate::template::{self, Columns};
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
    /// Anything else the Messages API takes, passed on as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// The API version; the newest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Beta features, for the header of the whole batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<String>,
    /// What happens to a row that cannot be rendered.
    #[serde(default)]
    pub on_row_error: OnRowError,
}

/// What happens to a row that cannot be rendered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRowError {
    /// The job stops before anything is sent: a template that fails for one row is most often wrong for many.
    #[default]
    Error,
    /// The row is set aside as `unsent`, with the reason.
    Skip,
}

impl RequestSpec {
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
    /// A parameter cannot be sent.
    #[error("`request.params.{key}` {why}; {way_out}")]
    Param {
        /// The parameter.
        key: String,
        /// Why not.
        why: String,
        /// What to do instead.
        way_out: String,
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
        let place = if f.pointer.is_empty() { "the top level" } else { &f.pointer };
        format!("\n  at {place}, `{}`: {}; {}", f.keyword, f.why, f.way_out)
    };
    findings.iter().map(line).collect()
}

/// Why a row has no request.
pub type RowError = RowFault;

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
        RequestHash(first.iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte)))
    }
}

/// A request's head with another limit for the tokens of the answer; `None` if it is no head of ours.
#[must_use]
pub fn with_max_tokens(head: &[u8], max_tokens: u32) -> Option<Vec<u8>> {
    encode::with_max_tokens(head, max_tokens)
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
    head: Vec<u8>,
    /// The hash state behind the head, to go on from for each row.
    head_hash: blake3::Hasher,
    has_shared_messages: bool,
    schema: Option<schema::AnswerSchema>,
    tools: Vec<Tool>,
    files: Vec<(PathBuf, String)>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("head_bytes", &self.head.len()).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Requests {
    /// Compiles the requests of a job against the columns of its source; paths start from `folder`, the job's own.
    ///
    /// # Errors
    /// [`Error`]: everything that would fail for every row.
    pub fn compile(spec: &RequestSpec, folder: &Path, columns: &Schema, catalog: &Catalog) -> Result<Requests, Error> {
        Requests::compile_in(spec, &Setting::in_folder(folder), columns, catalog)
    }

    /// As [`Requests::compile`], knowing where the table lies and which files have been uploaded.
    ///
    /// # Errors
    /// As there.
    pub fn compile_in(spec: &RequestSpec, setting: &Setting<'_>, columns: &Schema, catalog: &Catalog) -> Result<Requests, Error> {
        check_values(spec)?;
        check_params(spec)?;
        let folder = setting.folder;
        let limits = match catalog.model(&spec.model) {
            Some((_, model)) => PromptLimits::of_context(model.context_tokens, model.prefill),
            None => setting.limits,
        };
        let prompt = Prompt::compile(&spec.system, &spec.messages, &Setting { limits, ..setting.clone() }, columns)?;
        if prompt.ends_with_prefill() && !limits.prefill {
            let model = &spec.model;
            let problem = format!(
                "ends with a message of the role `assistant`, the beginning of an answer, which `{model}` does not go on from; \
                 leave it out, and say in the prompt how the answer begins, or use `request.schema`"
            );
            return Err(Error::Value { key: "messages", problem });
        }
        let mut files = prompt.files().to_vec();
        let tools = compile_tools(spec, folder, catalog, &mut files)?;
        check_marks(&marks(&tools, prompt.shared()))?;
        let schema = spec.schema.as_ref().map(|spec| schema::read(spec, folder, &mut files)).transpose()?;
        if schema.is_some() && prompt.ends_with_prefill() {
            let problem = "cannot be used with a last message of the role `assistant`: the API does not take both".to_owned();
            return Err(Error::Value { key: "schema", problem });
        }
        if schema.is_some() && prompt.cites() {
            let problem = "cannot be used with a document that has `citations`: the API does not take both".to_owned();
            return Err(Error::Value { key: "schema", problem });
        }
        let head = encode::Head {
            model: &spec.model,
            max_tokens: spec.max_tokens,
            params: &spec.params,
            tools: &tools,
            schema: schema.as_ref().map(schema::AnswerSchema::sent),
            shared: prompt.shared(),
            is_open: prompt.is_open(),
        }
        .bytes();
        let mut head_hash = blake3::Hasher::new();
        head_hash.update(&head);
        let has_shared_messages = prompt.shared().iter().any(|block| block.role.is_some());
        Ok(Requests { prompt, head, head_hash, has_shared_messages, schema, tools, files })
    }

    /// The columns the templates read.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.prompt.columns().clone()
    }

    /// The start of `params`, the same in every request: everything up to the first message that depends on the row.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What all requests share, in the order the model reads it: system blocks, then the blocks of leading messages. Tools, which the
    /// model reads before, are not among them. A block is text or, where [`SharedBlock::media`] is not empty, a picture or document.
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

    /// Every template, system file and schema that was read, as the job names it, with its blake3 in hex.
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

    /// Whether the last message is the beginning of the answer (a prefill), which newer models refuse.
    #[must_use]
    pub fn ends_with_prefill(&self) -> bool {
        self.prompt.ends_with_prefill()
    }

    /// Prepares a batch for rendering; cheaper than [`Requests::render`] where several rows of it are rendered.
    #[must_use]
    pub fn rows(&self, batch: &RecordBatch) -> Rows<'_> {
        Rows { requests: self, table: self.prompt.table(batch) }
    }

    /// Appends the fragment of one row to `out`.
    ///
    /// # Errors
    /// [`RowError`]: the row cannot be rendered, or a message is empty. `out` is then as it was.
    pub fn render(&self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<RequestHash, RowError> {
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

    /// As [`Requests::render`]; also tells which pictures and documents the row itself brings, in place of what `facts` held.
    ///
    /// # Errors
    /// As there.
    pub fn render_with(&self, row: usize, out: &mut Vec<u8>, facts: &mut MediaFacts) -> Result<RequestHash, RowError> {
        let start = out.len();
        facts.clear();
        let mut messages = encode::Messages::new(out, self.requests.has_shared_messages);
        let rendered = self.requests.prompt.render(&self.table, row, facts, |part| messages.part(&part));
        if let Err(fault) = rendered {
            out.truncate(start);
            return Err(fault);
        }
        out.extend_from_slice(encode::END);
        Ok(self.requests.hash(&out[start..]))
    }

    /// About the bytes that a row's pictures and documents take in its request, told without reading them.
    #[must_use]
    pub fn media_weight(&self, row: usize) -> u64 {
        self.requests.prompt.media_weight(&self.table, row)
    }
}

fn check_values(spec: &RequestSpec) -> Result<(), Error> {
    let wrong = |key, problem: &str| Err(Error::Value { key, problem: problem.to_owned() });
    if spec.model.trim().is_empty() {
        return wrong("model", "is empty");
    }
    if spec.max_tokens == 0 {
        return wrong("max_tokens", "must be at least 1; a batch takes no request without an answer");
    }
    if !API_VERSIONS.contains(&spec.api_version()) {
        return wrong("api_version", &format!("must be one of {}", API_VERSIONS.join(", ")));
    }
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if !spec.betas.iter().all(is_name) {
        return wrong("betas", "must be names such as `output-300k-2026-03-24`, one in each text");
    }
    Ok(())
}

/// Keys of `params` that the job sets by itself.
const OWN_PARAMS: &[&str] = &["model", "max_tokens", "system", "messages"];

/// Keys of `params` that are refused in a batch: the keys, why, and the way out.
///
/// **Source**: batch guide, read 2026-08-22, and its list of parameters that a batch refuses.
const REFUSED_PARAMS: &[(&[&str], &str, &str)] = &[
    (&["stream"], "is refused in a batch: results come as a file", "leave it out"),
    (&["speed"], "is refused in a batch: there is no fast mode", "leave it out"),
    (
        &["store", "previous_thread_event_id"],
        "is refused in a batch: requests are not part of a thread",
        "put what the model needs to know into `request.messages`",
    ),
    (&["cache_hint", "context_hint"], "is refused in a batch", "leave it out, and mark shared system blocks with `cache`"),
    (&["research_preview_2026_02"], "is refused in a batch", "leave it out"),
    (&["fallbacks"], "fails every row of a batch", "leave it out, and run the rows that failed with another `request.model`"),
    (
        &["cache_control"],
        "would mark the end of each row's own text: every row would pay for writing a cache entry that no other reads",
        "put `cache` on the last shared system block",
    ),
    (
        &["betas", "anthropic_beta", "anthropic-beta"],
        "is refused in `params`: beta names stand in the header of the whole batch",
        "put them into `request.betas`",
    ),
    (
        &["anthropic_version", "anthropic-version"],
        "is refused in `params`: the version stands in a header",
        "use `request.api_version`",
    ),
];

const SAMPLING_PARAMS: &[&str] = &["temperature", "top_p", "top_k"];

fn check_params(spec: &RequestSpec) -> Result<(), Error> {
    let wrong = |key: &str, why: &str, way_out: &str| {
        Err(Error::Param { key: key.to_owned(), why: why.to_owned(), way_out: way_out.to_owned() })
    };
    for (key, value) in &spec.params {
        let key = key.as_str();
        if OWN_PARAMS.contains(&key) {
            return wrong(key, "is set by the job", &format!("use `request.{key}`"));
        }
        if let Some((_, why, way_out)) = REFUSED_PARAMS.iter().find(|(keys, ..)| keys.contains(&key)) {
            return wrong(key, why, way_out);
        }
        if SAMPLING_PARAMS.contains(&key) && spec.api_version() == NEWEST_API_VERSION {
            let why = format!("is refused under API version {NEWEST_API_VERSION}, even at its default");
            return wrong(
                key,
                &why,
                "leave it out, or set `request.api_version = \"2023-06-01\"` for a model that still takes it",
            );
        }
        if value.get("bill_to").is_some_and(|to| to == "user_profile") && key == "billing_policy" {
            return wrong(key, "fails every row of a batch where it bills a user profile", "leave it out");
        }
        if has_toml_date(value) {
            return wrong(key, "holds a TOML date, and JSON has none", "write it as text, in quotes");
        }
    }
    check_output_config(spec)
}

fn check_output_config(spec: &RequestSpec) -> Result<(), Error> {
    let wrong = |key: &str, why: &str, way_out: &str| {
        Err(Error::Param { key: key.to_owned(), why: why.to_owned(), way_out: way_out.to_owned() })
    };
    let config = spec.params.get("output_config");
    if config.is_some_and(|config| !config.is_object()) {
        return wrong("output_config", "must be a table", "write for instance `output_config = { effort = \"low\" }`");
    }
    if spec.schema.is_none() {
        return Ok(());
    }
    if config.is_some_and(|config| config.get("format").is_some()) {
        return wrong("output_config.format", "is set by `request.schema`", "keep one of the two");
    }
    if spec.params.contains_key("output_format") {
        return wrong("output_format", "is the old name of what `request.schema` sets", "leave it out");
    }
    Ok(())
}

/// TOML has dates of its own, which come as an object with one key of this name.
fn has_toml_date(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key("$__toml_private_datetime") || map.values().any(has_toml_date),
        Value::Array(items) => items.iter().any(has_toml_date),
        _ => false,
    }
}

/// The tools, from `request.tools` or, as they are sent, from `request.params.tools`.
fn compile_tools(
    spec: &RequestSpec,
    folder: &Path,
    catalog: &Catalog,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let newest = catalog.model(&spec.model).is_none_or(|(_, model)| model.thinking != Thinking::Extended);
    match (spec.params.get("tools"), spec.tools.is_empty()) {
        (Some(_), false) => {
            let problem = "stands in `request.params` too; keep one of the two".to_owned();
            Err(Error::Value { key: "tools", problem })
        }
        (Some(written), true) => tools::from_params(written),
        (None, _) => tools::compile(&spec.tools, newest, folder, files),
    }
}

/// All cache marks, in the order in which the model reads them: tools, system blocks, messages.
fn marks(tools: &[Tool], shared: &[SharedBlock]) -> Vec<(String, CacheTtl)> {
    let tools = tools.iter().filter_map(|tool| Some((format!("tool `{}`", tool.name), tool.cache?)));
    let shared = shared.iter().filter_map(|block| Some((block.part.clone(), block.cache?)));
    tools.chain(shared).collect()
}

#[cfg(test)]
mod tests;
