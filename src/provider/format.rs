//! A provider's wire format: what can be written and read without a connection.
//!
//! A run keeps the name of the format it was planned for; everything that is written for it or read
//! from it goes through that format, also without a connection.
//!
//! A results file is lines, each with a custom_id and the result of its request. One virtual call a
//! line is all that a format costs: the readers behind it are compiled for their own shapes.

use std::borrow::Cow;
use std::fmt;

use super::anthropic;
use crate::batch::{BatchRules, Envelope, Limits};
use crate::outcome::Outcome;
use crate::outcome::details::Wanted;

/// Why a line is no result line. It holds nothing of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not UTF-8.
    #[error("the line is not UTF-8 from byte {at}")]
    NotUtf8 {
        /// The first byte that is wrong, from 0.
        at: usize,
    },
    /// It is not JSON; an empty or cut-off line too.
    #[error("the line is not JSON from byte {column}")]
    NotJson {
        /// Where it stops being JSON, from 1.
        column: usize,
    },
    /// It has no custom_id that is a string.
    #[error("the line has no `custom_id`")]
    NoCustomId,
}

/// One result line: which request it answers, and the outcome of that request.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultLine<'l> {
    /// Which request it answers; borrowed from the line where it has no escapes.
    pub custom_id: Cow<'l, str>,
    /// The outcome of the request.
    pub outcome: Outcome,
}

/// How a provider writes batches and results.
///
/// ```
/// use rowmill::outcome::{Status, details::Wanted};
/// use rowmill::provider::{BatchFormat as _, anthropic};
///
/// let line = br#"{"custom_id":"a-1","result":{"type":"succeeded","message":{"content":
///     [{"type":"text","text":"Hello"}],"stop_reason":"end_turn"}}}"#;
/// let read = anthropic::FORMAT.result(line, Wanted::default()).unwrap();
/// assert_eq!(read.custom_id, "a-1");
/// assert_eq!(read.outcome.status, Status::Succeeded);
/// assert_eq!(read.outcome.text.as_deref(), Some("Hello"));
/// ```
pub trait BatchFormat: fmt::Debug + Send + Sync {
    /// The provider's name, which plans keep. It never changes.
    fn name(&self) -> &'static str;
    /// What stands around the requests in the body of a create call.
    fn envelope(&self) -> Envelope;
    /// What one batch may hold by the provider's reference.
    fn limits(&self) -> Limits;
    /// What a batch must be besides. By default, one request is enough, and each may name its own
    /// model.
    fn rules(&self) -> BatchRules {
        BatchRules::default()
    }
    /// Reads the custom_id of a result line, without its line feed, and as little else as possible:
    /// this is called for every line before any outcome is read.
    ///
    /// # Errors
    /// It is no result line, as far as that can be seen.
    fn custom_id<'l>(&self, line: &'l [u8]) -> Result<Cow<'l, str>, LineError>;
    /// Reads a result line, without its line feed. `wanted` says which details the job needs; a
    /// format that has none of them leaves `Outcome::details` empty.
    ///
    /// # Errors
    /// It has no custom_id. A line that has one always gives an outcome.
    fn result<'l>(&self, line: &'l [u8], wanted: Wanted) -> Result<ResultLine<'l>, LineError>;
    /// Whether the beginning of a line, up to 64 KiB, can be that of a result line. What a gateway
    /// writes at the end of a stream that it cut off is none.
    fn begins_result(&self, beginning: &[u8]) -> bool;
    /// Whether a line that has no line feed still counts as complete. By default, if it is JSON.
    fn is_whole(&self, line: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
    }
}

/// The formats that stored runs are read by.
///
/// ```
/// use rowmill::provider::Formats;
///
/// assert!(Formats::default().find("anthropic").is_some());
/// assert!(Formats::default().find("another").is_none());
/// ```
#[derive(Debug, Clone)]
pub struct Formats(Vec<&'static dyn BatchFormat>);

impl Default for Formats {
    /// Those of this crate.
    fn default() -> Formats {
        Formats(vec![anthropic::FORMAT])
    }
}

impl Formats {
    /// The same, and one more. It replaces one with the same name.
    #[must_use]
    pub fn with(mut self, format: &'static dyn BatchFormat) -> Formats {
        self.0.retain(|other| other.name() != format.name());
        self.0.push(format);
        self
    }

    /// The format with a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static dyn BatchFormat> {
        self.0.iter().copied().find(|format| format.name() == name)
    }
}
