//! One request's `params`, checked as the API checks them once a batch is accepted.
//!
//! In comes the JSON text of `params`; out goes a [`ParsedRequest`]: its [`RequestHead`]
//! (everything but the messages), the [`ParsedMessages`] (the messages), or the [`ErrorReply`] that
//! becomes an `errored` line in a batch and an HTTP error at `/v1/messages`. The wording follows
//! the API's where that is known; programs must not depend on it there, nor here.
//!
//! The requests of a run share their head byte for byte, so heads are read once and remembered by
//! their bytes.
//!
//! Which parameters there are, and where, is in the table of `request/parameters.rs`, by which jobs
//! are checked too; what the provider's tools accept, in `request/tools`. To add a rule about a
//! value: in that table. About a model: in `model_rules.rs`, and the fact in the catalog. About
//! messages: `messages.rs`.

mod model_rules;
mod reader;
mod schemas;
mod system;
#[cfg(test)]
mod tests;
mod tools;
mod values;

use std::sync::Arc;

use serde_json::Value;

use super::cache::{Prefix, Ttl};
use super::messages::ParsedMessages;
use crate::catalog::Model;

pub(in crate::simulator) use reader::RequestReader;

/// What is asked for: the rules differ a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A request in a batch.
    Batch,
    /// A single message, answered at once.
    Message,
    /// Counting the input tokens.
    CountTokens,
}

/// What the headers of the call say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallContext<'t> {
    pub(super) endpoint: Endpoint,
    /// API version 2026-10-21, which has no sampling parameters.
    pub(super) new_version: bool,
    /// The beta features asked for.
    pub(super) betas: &'t [String],
}

impl CallContext<'_> {
    fn has_beta(&self, name: &str) -> bool {
        self.betas.iter().any(|beta| beta == name)
    }
}

/// A whole request that may be answered.
pub(super) struct ParsedRequest {
    pub(super) head: Arc<RequestHead>,
    pub(super) row: ParsedMessages,
}

/// All of a request but its messages.
pub(super) struct RequestHead {
    pub(super) model_id: String,
    pub(super) model: Model,
    pub(super) max_tokens: u64,
    pub(super) thinking: Option<ThinkingMode>,
    pub(super) effort: Option<String>,
    pub(super) shape: AnswerFormat,
    pub(super) labels: Option<Vec<String>>,
    /// The form that the system prompt asks to be filled in.
    pub(super) form: Option<String>,
    /// Tools that the provider runs, by name, and how often each may be used.
    pub(super) server_tools: Vec<(&'static str, u64)>,
    pub(super) stop_sequences: Vec<String>,
    pub(super) inference_geo: Option<String>,
    pub(super) automatic_mark: Option<Ttl>,
    pub(super) prefix: Prefix,
}

/// That the model thinks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThinkingMode {
    pub(super) budget: Option<u64>,
    /// Whether the thinking is shown, or its text left out.
    pub(super) shown: bool,
}

/// What the answer has to look like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AnswerFormat {
    /// Any text.
    Free,
    /// JSON text of this schema.
    Json(Value),
    /// Calls of these tools.
    Tools(CallableTools),
}

/// The tools that the client runs and the answer may call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallableTools {
    /// Each with the schema of its arguments; at least one.
    pub(super) tools: Vec<(String, Value)>,
    /// Whether one answer may call several times.
    pub(super) parallel: bool,
}
