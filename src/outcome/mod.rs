//! What was returned for one request.
//!
//! A provider's result line becomes an [`Outcome`]: the API's own word, a [`Status`] that says what
//! it means, the text, and the [`Usage`] that will be billed. An outcome belongs to one request and
//! one attempt.

pub mod answer;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(crate) mod checks;
pub mod class;
pub mod details;
pub mod usage;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use details::Details;
pub use usage::{Iteration, TokenCounts, Usage};

/// The result of a row. The words stand in the column `_rm_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A whole answer, that fits the job's schema where there is one.
    Succeeded,
    /// The answer was truncated: `max_tokens` or the context window.
    Truncated,
    /// The model declined.
    Refused,
    /// A server-tool loop stopped at its cap, or the conversation was compacted and nothing said
    /// after it; the answer is unfinished.
    Paused,
    /// A whole answer that does not become the job's columns: by its schema, its picked columns, or
    /// its tools.
    Invalid,
    /// The provider reports an error for this request.
    Errored,
    /// The batch's window closed before the request was processed.
    Expired,
    /// Canceled before it was processed.
    Canceled,
    /// The batch ended without a result line for the request.
    Missing,
    /// Never sent: it could not be rendered, fits no batch, or was held back.
    Unsent,
}

impl Status {
    /// All ten, in the order they are listed everywhere.
    pub const ALL: [Status; 10] = [
        Status::Succeeded,
        Status::Truncated,
        Status::Refused,
        Status::Paused,
        Status::Invalid,
        Status::Errored,
        Status::Expired,
        Status::Canceled,
        Status::Missing,
        Status::Unsent,
    ];

    /// The word in columns, manifests and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Succeeded => "succeeded",
            Status::Truncated => "truncated",
            Status::Refused => "refused",
            Status::Paused => "paused",
            Status::Invalid => "invalid",
            Status::Errored => "errored",
            Status::Expired => "expired",
            Status::Canceled => "canceled",
            Status::Missing => "missing",
            Status::Unsent => "unsent",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was returned for one request in one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The result of the row, as far as the line alone shows it ([`Status::Invalid`] is decided
    /// against the schema later).
    pub status: Status,
    /// The API's own word: `succeeded`, `errored`, `canceled`, `expired`, or one that did not exist
    /// when this was written.
    pub result: String,
    /// The text blocks of the answer, joined; `None` where there is no answer.
    pub text: Option<String>,
    /// Whether the answer calls a tool of the job's.
    pub calls_tools: bool,
    /// Why the model stopped, in the API's word.
    pub stop_reason: Option<String>,
    /// The kind of error, such as `invalid_request_error`.
    pub error_type: Option<String>,
    /// The error in words: the provider's, or ours.
    pub error: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider's id of the message.
    pub message_id: Option<String>,
    /// Tokens by kind; `None` where the line has no usage.
    pub usage: Option<Usage>,
    /// What else the job asks for; `None` where it asks for nothing.
    pub details: Option<Box<Details>>,
}

impl Outcome {
    /// An outcome of which only the status is known.
    #[must_use]
    pub fn new(status: Status) -> Outcome {
        Outcome {
            status,
            result: String::new(),
            text: None,
            calls_tools: false,
            stop_reason: None,
            error_type: None,
            error: None,
            model: None,
            message_id: None,
            usage: None,
            details: None,
        }
    }

    /// Whether the row succeeded with an answer that says nothing: no text but white space, and no
    /// call of a tool. One that only thinks is empty too.
    #[must_use]
    pub fn is_empty_answer(&self) -> bool {
        let says_nothing = || {
            self.text
                .as_deref()
                .is_none_or(|text| text.trim().is_empty())
        };
        self.status == Status::Succeeded && !self.calls_tools && says_nothing()
    }
}
