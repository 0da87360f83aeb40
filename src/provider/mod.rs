//! Where batches go and results come from: the only room that knows a wire format.
//!
//! [`BatchApi`] is the door; [`anthropic`] stands behind it. A provider takes a [`BatchBody`]
//! (bytes it does not look into) and gives back [`RemoteBatch`]es and a stream of result bytes,
//! exactly as they came. Every fault is an [`ApiError`] that says whether the request can have
//! reached the provider, because a create that may have arrived must never be sent again blindly.
//!
//! A call is made once. [`retry`] is the one place that says what may be tried again, and after how
//! long.
//!
//! Promises: the credential goes to the origin of the base URL and nowhere else, over TLS or to
//! this machine; it stands in no error, log line or `Debug` output; redirects to another origin are
//! refused; a body goes out with its exact length or not in full; a stream of results that breaks
//! off says so.
//!
//! ```text
//! anthropic/mod.rs          the calls                    anthropic/wire.rs         the JSON shapes
//! http.rs                   connection, redirects        anthropic/result_line.rs  result line → outcome
//! anthropic/file_store.rs   the calls about files        files.rs                  what they take and give
//! upload.rs                 the body of a create call    retry.rs                  what may be tried again
//! refresh.rs                the catalog beside the provider's list of models
//! ```
//!
//! To add a provider: a folder here, and one arm where `ProviderSpec` is opened.

pub mod anthropic;
pub mod files;
mod http;
mod redact;
pub mod refresh;
pub mod retry;
mod upload;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::batch::{BatchBody, Limits};

pub use http::Timeouts;

/// Why a provider could not be set up. Nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL is not one that calls can be built on.
    #[error("the base URL cannot be used: {reason}")]
    BaseUrl {
        /// What is wrong with it; names no password.
        reason: String,
    },
    /// The base URL would send the credential in the clear.
    #[error(
        "plain http to `{host}` would send the key in the clear; it is allowed to this machine only"
    )]
    PlainHttp {
        /// The host in the base URL.
        host: String,
    },
    /// The key or token is not one that a header can carry.
    #[error("the key or token cannot be used: {reason}")]
    Credential {
        /// What is wrong with it; no part of it.
        reason: &'static str,
    },
    /// A header cannot be sent.
    #[error("the header `{name}` cannot be sent: {reason}")]
    Header {
        /// The header's name.
        name: String,
        /// What is wrong with it; no part of its value.
        reason: &'static str,
    },
    /// A line of the custom headers is not `Name: value`.
    #[error("line {line} of the custom headers is not `Name: value`")]
    HeaderLine {
        /// The line, from 1.
        line: usize,
    },
    /// The HTTP client could not be made, for instance because the machine has no certificates.
    #[error("the HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
}

/// The provider's id of a batch; opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub String);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a batch stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processing {
    /// Being worked on.
    InProgress,
    /// A cancel was asked for and is under way (one l, as on the wire).
    Canceling,
    /// Over: every request has a result. Not the same as success.
    Ended,
    /// A word that did not exist when this was written; treated as still under way.
    #[serde(untagged)]
    Other(String),
}

/// Requests of a batch by what became of them. All but `processing` stay 0 until the whole batch
/// has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Not finished.
    pub processing: u64,
    /// Finished with a message.
    pub succeeded: u64,
    /// Finished with an error.
    pub errored: u64,
    /// Canceled before they were processed.
    pub canceled: u64,
    /// Not processed before the window closed.
    pub expired: u64,
}

impl Counts {
    /// All requests of the batch; `u64::MAX` where that is no number a provider can mean.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Counts {
            processing,
            succeeded,
            errored,
            canceled,
            expired,
        } = *self;
        [processing, succeeded, errored, canceled, expired]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A batch as the provider describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteBatch {
    /// The provider's id.
    pub id: BatchId,
    /// Where it stands.
    pub processing_status: Processing,
    /// Requests by what became of them.
    #[serde(default)]
    pub request_counts: Counts,
    /// When it was created.
    pub created_at: Timestamp,
    /// When what is unfinished expires: 24 hours after creation.
    pub expires_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When a cancel was asked for.
    pub cancel_initiated_at: Option<Timestamp>,
    /// When the results stopped being available.
    pub archived_at: Option<Timestamp>,
    /// Where the provider says the results are; never followed to another origin.
    pub results_url: Option<String>,
}

/// One page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Whether there are more behind them.
    pub has_more: bool,
    /// Where the next page begins: hand it in as `after`.
    pub last_id: Option<String>,
}

/// A model as the provider describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The model id.
    pub id: String,
    /// Its name for people.
    #[serde(default)]
    pub display_name: String,
    /// Everything else the provider says of it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// Bytes of a results file, as they come.
pub type ResultStream = Pin<Box<dyn Stream<Item = Result<Bytes, ApiError>> + Send>>;

/// Whether a request can have had an effect at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Certainly not: no connection, or the body never left in full, so that no one can have read a
    /// whole request.
    NotSent,
    /// Perhaps: it was on its way, or the answer was lost, or the answer was a server error.
    Unknown,
    /// The provider answered and refused it (4xx but 408, 409 and 499): it has had no effect.
    Refused,
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// What was being done, such as `create batch`.
    pub call: &'static str,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The provider's kind of error, such as `rate_limit_error`; for faults on our side of the wire
    /// one of the constants of this type.
    pub kind: String,
    /// The machine code in `error.details.error_code`.
    pub code: Option<String>,
    /// The provider's words, or ours. Never a secret.
    pub message: String,
    /// The provider's id of the request, to quote to its support.
    pub request_id: Option<String>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// What the provider says of trying again (`x-should-retry`), which counts more than the
    /// status.
    pub should_retry: Option<bool>,
    /// Whether the call can have had an effect.
    pub delivery: Delivery,
}

impl ApiError {
    /// No connection, or it broke.
    pub const CONNECTION: &'static str = "connection";
    /// The other side's certificate was not accepted.
    pub const CERTIFICATE: &'static str = "certificate";
    /// Nothing moved for too long.
    pub const TIMEOUT: &'static str = "timeout";
    /// A redirect that is not followed.
    pub const REDIRECT: &'static str = "redirect";
    /// An answer that is not what the API describes.
    pub const UNREADABLE: &'static str = "unreadable";
    /// The body could not be produced as announced, or the call is one that no URL can be made for.
    pub const BODY: &'static str = "body";

    /// An error without an answer from the provider.
    #[must_use]
    pub fn new(
        call: &'static str,
        kind: &str,
        message: impl Into<String>,
        delivery: Delivery,
    ) -> ApiError {
        ApiError {
            call,
            status: None,
            kind: kind.to_owned(),
            code: None,
            message: message.into(),
            request_id: None,
            retry_after: None,
            should_retry: None,
            delivery,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call)?;
        match self.status {
            Some(status) => write!(f, "the provider answered {status} `{}`", self.kind)?,
            None => write!(f, "`{}`", self.kind)?,
        }
        write!(f, ": {}", self.message)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// A batch API. Calls are made once: what may be tried again, and when, is decided by the caller
/// with [`retry`]'s policy.
pub trait BatchApi: Send + Sync {
    /// What one batch may hold.
    fn limits(&self) -> Limits;
    /// Its file store, where it has one.
    fn files(&self) -> Option<&dyn files::FileApi> {
        None
    }
    /// Whether the answers are made up, as those of the simulator are. May ask the other side.
    fn is_simulated(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }
    /// Where the calls go, without credentials; for messages and the journal.
    fn origin(&self) -> String;
    /// Creates a batch. There is no idempotency: see [`Delivery`].
    fn create(&self, body: Arc<dyn BatchBody>) -> BoxFuture<'_, Result<RemoteBatch, ApiError>>;
    /// Looks at a batch.
    fn retrieve<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>>;
    /// One page of all batches of the workspace, newest first; `limit` 1 to 1000, `after` from
    /// [`Page::last_id`].
    fn list<'a>(
        &'a self,
        limit: u32,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Page<RemoteBatch>, ApiError>>;
    /// The results of an ended batch, from the base URL, as raw bytes.
    fn results<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<ResultStream, ApiError>>;
    /// Asks for a batch to be canceled.
    fn cancel<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>>;
    /// Deletes an ended batch and its results.
    fn delete<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<(), ApiError>>;
    /// One request, answered at once and at full price: `params` as in a batch; the whole message
    /// as JSON.
    fn message<'a>(
        &'a self,
        params: &'a [u8],
    ) -> BoxFuture<'a, Result<serde_json::Value, ApiError>>;
    /// Counts the input tokens of a request, free of charge.
    fn count_tokens<'a>(&'a self, params: &'a [u8]) -> BoxFuture<'a, Result<u64, ApiError>>;
    /// All models the provider lists, retired ones too.
    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ApiError>>;
}
