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
//! * What the API would refuse for every row is an error of the job, with the fix, before
//!   anything is sent: refused parameters, schemas outside of its subset ([`schema`]), tools
//!   ([`tools`]), what the model does not take, cache marks that cannot hit. Where rows choose by
//!   themselves ([`per_row`]), the row is at fault.
//! * custom_ids are unique over the run: [`duplicates`] finds rows that share a key, over any
//!   number of rows.
//!
//! Everything here is pure but for the files read by [`Requests::compile`]; rows can be rendered
//! from several threads.
//!
//! To add a parameter, see `parameters.rs`; a rule about models, `rules.rs`.

pub(crate) mod betas;
mod compiled;
pub mod custom_id;
pub mod duplicates;
mod encode;
mod hash;
mod job_checks;
pub mod keys;
mod option_values;
mod options;
pub(crate) mod parameters;
pub mod per_row;
mod rows;
mod rules;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod tools;
mod warnings;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use self::per_row::{PerRowSpec, RowParamError};
use self::schema::{SchemaFinding, SchemaSpec};
use crate::catalog::Model;
use crate::outcome::Status;
use crate::template;
use crate::template::prompt::{ContentSpec, MessageSpec, PromptFault, SystemSpec};

pub use compiled::{PerRowParams, Requests};
pub use hash::RequestHash;
pub use rows::RequestRows;
pub use tools::{Tool, ToolSpec};
pub use warnings::RequestWarning;

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
    /// Whether unknown betas are accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown_betas: bool,
    /// Whether identical requests of a run are sent once, and their rows share the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dedupe: bool,
    /// Outputs of earlier runs whose answers are taken where the request is the same: files, globs
    /// or folders, beside the job's own output and its trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reuse: Vec<String>,
    /// The statuses whose rows count as answered.
    #[serde(
        default = "default_reuse_status",
        skip_serializing_if = "is_default_reuse_status"
    )]
    pub reuse_status: Vec<Status>,
    /// What happens to a row that cannot be rendered.
    #[serde(default)]
    pub on_row_error: OnRowError,
    /// What happens to a row whose prompt is longer than the context window of its model, by the
    /// estimate of its tokens.
    #[serde(default, skip_serializing_if = "OnTooLarge::is_send")]
    pub on_too_large: OnTooLarge,
}

fn default_reuse_status() -> Vec<Status> {
    vec![Status::Succeeded]
}

fn is_default_reuse_status(statuses: &Vec<Status>) -> bool {
    *statuses == default_reuse_status()
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
    #[error("`request.{key}` {why}; {fix}")]
    Param {
        /// The parameter, as the job names it.
        key: String,
        /// Why not.
        why: String,
        /// What to do instead.
        fix: String,
    },
    /// An expression of `request.per_row` does not fit the table.
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
    #[error("the API does not support the schema of a strict tool, {place}{}", findings_listed(.findings))]
    ToolSchema {
        /// Where the tool is defined.
        place: String,
        /// All that is refused.
        findings: Vec<SchemaFinding>,
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
    #[error("the API does not support the schema `{}`{}", .path.display(), findings_listed(.findings))]
    Schema {
        /// The file.
        path: PathBuf,
        /// All that is refused.
        findings: Vec<SchemaFinding>,
        /// Whether all of it could be said in words.
        can_be_lowered: bool,
    },
}

fn findings_listed(findings: &[SchemaFinding]) -> String {
    let line = |f: &SchemaFinding| {
        let place = if f.pointer.is_empty() {
            "the top level"
        } else {
            &f.pointer
        };
        format!("\n  at {place}, `{}`: {}; {}", f.keyword, f.why, f.fix)
    };
    findings.iter().map(line).collect()
}

/// Why a row has no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It has no prompt.
    #[error(transparent)]
    Prompt(#[from] PromptFault),
    /// What it chooses cannot be sent.
    #[error(transparent)]
    Param(#[from] RowParamError),
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
