//! Faults on request: what goes wrong, where, and how often.
//!
//! Three lists in one TOML file, described in `docs/simulator.md`:
//!
//! ```toml
//! [[rows]]                     # single requests of a batch
//! outcome = "errored"
//! share = 0.02
//! error_type = "overloaded_error"
//!
//! [[calls]]                    # calls on the wire
//! on = "create"
//! nth = [2]
//! do = "reset_after"           # the batch exists, the answer is lost
//!
//! [[batches]]                  # whole batches
//! nth = [1]
//! extra_seconds = 30
//! ```
//!
//! A fault fires by count, and the counts are kept on disk: a restarted server continues them.
//!
//! To add a fault of calls: a [`FaultAction`], and its arm in `middleware.rs` (any call) or
//! `results.rs` (the results file). To add a fault of rows: a [`RowOutcome`], and its arm in
//! `process.rs`.

mod counter;
#[cfg(test)]
mod tests;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use counter::FaultCounter;

/// All faults of a simulator. None by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimFaults {
    /// What happens to single requests.
    pub rows: Vec<RequestFault>,
    /// What goes wrong with calls.
    pub calls: Vec<CallFault>,
    /// What goes wrong with whole batches.
    pub batches: Vec<BatchFault>,
    /// Requests, over all batches, after which the organisation's monthly spend is used up.
    pub spend_cap_requests: Option<u64>,
    /// Another limit of queued requests than the simulator's own.
    pub queue_limit: Option<u64>,
}

impl SimFaults {
    /// Reads the TOML of a faults file.
    ///
    /// # Errors
    /// When it is not TOML, or names something unknown; the message says where.
    pub fn from_toml(text: &str) -> Result<SimFaults, toml::de::Error> {
        toml::from_str(text)
    }
}

/// A fault of some of the requests in batches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFault {
    /// What happens.
    pub outcome: RowOutcome,
    /// The share of all requests, 0 to 1, drawn by seed and custom_id.
    #[serde(default)]
    pub share: f64,
    /// These custom_ids in any case.
    #[serde(default)]
    pub ids: Vec<String>,
    /// How many times it fires for the same custom_id; 0: always. By default
    /// 1 for outcomes that a retry changes.
    pub times: Option<u32>,
    /// For `errored`: the kind of error, by default `api_error`.
    pub error_type: Option<String>,
    /// For `errored`: the message.
    pub message: Option<String>,
    /// For `replaced`: the usage, as JSON text.
    pub usage: Option<JsonText>,
    /// For `replaced`: the blocks of the answer, as JSON text.
    pub content: Option<JsonText>,
    /// For `replaced`: why the model stopped.
    pub stop_reason: Option<String>,
}

/// JSON that is put into an answer as it is written, numbers that no program can hold among it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct JsonText(pub(super) Box<RawValue>);

impl TryFrom<String> for JsonText {
    type Error = String;

    fn try_from(text: String) -> Result<JsonText, String> {
        // On one line, since it becomes part of a result line.
        let text = text.replace(['\r', '\n'], " ");
        RawValue::from_string(text)
            .map(JsonText)
            .map_err(|error| format!("is not JSON: {error}"))
    }
}

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// An `errored` line.
    Errored,
    /// An `expired` line.
    Expired,
    /// A `canceled` line.
    Canceled,
    /// Succeeded with `stop_reason: refusal` and no content.
    Refused,
    /// Succeeded with half an answer and `stop_reason: max_tokens`.
    Truncated,
    /// Succeeded with half an answer and `stop_reason: pause_turn`.
    Paused,
    /// Succeeded without content.
    Empty,
    /// Succeeded with JSON whose texts are in capitals.
    Recased,
    /// Succeeded with words before the JSON.
    NotJson,
    /// Succeeded, with the usage, the content or the stop reason that the fault names.
    Replaced,
}

impl RequestFault {
    fn times(&self) -> u32 {
        use RowOutcome::{Canceled, Errored, Expired, Paused, Truncated};
        self.times.unwrap_or(match self.outcome {
            Errored | Expired | Canceled | Truncated | Paused => 1,
            _ => 0,
        })
    }

    fn meets(&self, seed: u64, rule: usize, custom_id: &str) -> bool {
        if self.ids.iter().any(|id| id == custom_id) {
            return true;
        }
        if self.share <= 0.0 {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&seed.to_le_bytes())
            .update(&(rule as u64).to_le_bytes())
            .update(custom_id.as_bytes());
        let mut first = [0; 4];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
        f64::from(u32::from_le_bytes(first)) / f64::from(u32::MAX) < self.share
    }
}

/// A fault of some calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallFault {
    /// Which calls.
    pub on: ApiCall,
    /// What happens to them.
    #[serde(rename = "do")]
    pub act: FaultAction,
    /// Which of them, counted from 1; empty: as `from` and `times` say.
    #[serde(default)]
    pub nth: Vec<u64>,
    /// The first one; by default 1.
    pub from: Option<u64>,
    /// How many of them; by default all that follow.
    pub times: Option<u64>,
    /// For `status` and `redirect`: the HTTP status.
    pub status: Option<u16>,
    /// For `status`: the kind of error; by default the one that belongs to the status.
    pub error_type: Option<String>,
    /// For `status`: the machine code in `error.details`.
    pub error_code: Option<String>,
    /// For `status`: the message.
    pub message: Option<String>,
    /// For `status`: the `retry-after` header.
    pub retry_after: Option<String>,
    /// For `status`: the `x-should-retry` header.
    pub should_retry: Option<bool>,
    /// For `status`: answer before the body has been read.
    #[serde(default)]
    pub early: bool,
    /// For `status`: as a gateway before the API answers, a web page without a request id.
    #[serde(default)]
    pub gateway: bool,
    /// For `hang_before`, `hang_after` and `delay`: how long, at most 600; by default 30.
    pub seconds: Option<f64>,
    /// For `cut`, `reset_during` and `truncated_json`: after how many bytes.
    pub at_byte: Option<u64>,
    /// For faults of result lines: which line, from 1; for `cut`: after how many lines.
    pub at_line: Option<u64>,
    /// For `cut` and `truncated_json`: break the connection, where else the answer just ends.
    #[serde(default)]
    pub abrupt: bool,
    /// For `redirect` and `foreign_results_url`: where to.
    pub url: Option<String>,
    /// For `content_type`, `unknown_status` and `batch_id`: the word. For `huge_line`: `last` for
    /// what makes it long to stand behind everything else.
    pub value: Option<String>,
    /// For `huge_line`: how long.
    pub bytes: Option<u64>,
}

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// An error status instead of the answer; nothing has been done.
    Status,
    /// The connection breaks; nothing has been done.
    ResetBefore,
    /// The connection breaks while the body arrives; nothing has been done.
    ResetDuring,
    /// The call is carried out, then the connection breaks.
    ResetAfter,
    /// No answer for a while, then the connection breaks; nothing has been done.
    HangBefore,
    /// The call is carried out, then there is no answer for a while, then the connection breaks.
    HangAfter,
    /// The call is carried out, the answer comes late.
    Delay,
    /// A redirect instead of the answer; nothing has been done.
    Redirect,
    /// The call is carried out, the JSON of the answer is cut off.
    TruncatedJson,
    /// Another content type.
    ContentType,
    /// `results_url` names another host.
    ForeignResultsUrl,
    /// `processing_status` is a word that does not exist.
    UnknownStatus,
    /// The batch in the answer has another id.
    BatchId,
    /// Results: the stream ends too early.
    Cut,
    /// Results: a line comes a second time, at the end.
    DuplicateLine,
    /// Results: a line is left out.
    MissingLine,
    /// Results: a line too many, of a custom_id that is not in the batch.
    ForeignLine,
    /// Results: a line too many, that is not JSON.
    GarbageLine,
    /// Results: a line is very long.
    HugeLine,
    /// Results: lines end with CR LF.
    Crlf,
    /// Results: empty lines between the lines.
    BlankLines,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiCall {
    /// All of them.
    Any,
    /// Create a batch.
    Create,
    /// Look at a batch.
    Retrieve,
    /// List batches.
    List,
    /// Fetch results.
    Results,
    /// Cancel a batch.
    Cancel,
    /// Delete a batch.
    Delete,
    /// One message.
    Message,
    /// Count tokens.
    CountTokens,
    /// List models or look at one.
    Models,
    /// Upload a file.
    Upload,
    /// List files, look at one or delete one.
    Files,
}

impl ApiCall {
    /// The call that a method and a path make; `None` for what is not of the API.
    pub(super) fn of(method: &Method, path: &str) -> Option<ApiCall> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        Some(match (method.as_str(), parts.as_slice()) {
            ("POST", ["v1", "messages"]) => ApiCall::Message,
            ("POST", ["v1", "messages", "count_tokens"]) => ApiCall::CountTokens,
            ("POST", ["v1", "messages", "batches"]) => ApiCall::Create,
            ("GET", ["v1", "messages", "batches"]) => ApiCall::List,
            ("GET", ["v1", "messages", "batches", _]) => ApiCall::Retrieve,
            ("DELETE", ["v1", "messages", "batches", _]) => ApiCall::Delete,
            ("GET", ["v1", "messages", "batches", _, "results"]) => ApiCall::Results,
            ("POST", ["v1", "messages", "batches", _, "cancel"]) => ApiCall::Cancel,
            ("GET", ["v1", "models"] | ["v1", "models", _]) => ApiCall::Models,
            ("POST", ["v1", "files"]) => ApiCall::Upload,
            ("GET", ["v1", "files"] | ["v1", "files", _]) | ("DELETE", ["v1", "files", _]) => {
                ApiCall::Files
            }
            _ => return None,
        })
    }
}

/// A fault of some batches.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchFault {
    /// Which batches, by the order of their creation from 1; empty: all.
    pub nth: Vec<u64>,
    /// How much longer they take.
    pub extra_seconds: f64,
    /// How long they answer 404 after they were created.
    pub hidden_seconds: f64,
    /// How long they are missing in the list after they were created, though they can be looked at.
    pub unlisted_seconds: f64,
}
