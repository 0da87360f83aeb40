//! Why a call failed, and whether it can have had an effect.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The calls of [`super::BatchApi`] and [`super::files::FileApi`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named like the methods they stand for")]
pub enum Call {
    Create,
    Retrieve,
    List,
    Results,
    Cancel,
    Delete,
    Message,
    CountTokens,
    Models,
    /// A file goes to the file store. One that was lost in transit is sent again: it costs nothing.
    Upload,
    /// A file of the file store is described, listed or deleted.
    Files,
}

impl Call {
    /// The nine of [`super::BatchApi`].
    pub const ALL: [Call; 9] = [
        Call::Create,
        Call::Retrieve,
        Call::List,
        Call::Results,
        Call::Cancel,
        Call::Delete,
        Call::Message,
        Call::CountTokens,
        Call::Models,
    ];

    /// What is being done, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Call::Create => "create batch",
            Call::Retrieve => "retrieve batch",
            Call::List => "list batches",
            Call::Results => "fetch results",
            Call::Cancel => "cancel batch",
            Call::Delete => "delete batch",
            Call::Message => "send message",
            Call::CountTokens => "count tokens",
            Call::Models => "list models",
            Call::Upload => "upload file",
            Call::Files => "look at files",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a request can have had an effect at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Certainly not: no connection, or the body never left in full, so that the provider cannot
    /// have read a whole request.
    NotSent,
    /// Perhaps: it was in transit, or the answer was lost, or the answer was a server error.
    Unknown,
    /// The provider answered and refused it (4xx but 408, 409 and 499): it has had no effect.
    Refused,
}

/// What kind of error a call ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiErrorKind {
    /// No connection, or it broke.
    Connection,
    /// The other side's certificate was not accepted.
    Certificate,
    /// Nothing moved for too long.
    Timeout,
    /// A redirect that is not followed.
    Redirect,
    /// An answer that is not what the API describes.
    Unreadable,
    /// The body could not be produced as announced, or no URL can be made for the call.
    Body,
    /// The provider has no such call ([`super::Capabilities`]).
    Unsupported,
    /// The provider's own kind of error, such as `rate_limit_error`.
    Provider(String),
}

impl ApiErrorKind {
    /// The kind as it is shown and logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            ApiErrorKind::Connection => "connection",
            ApiErrorKind::Certificate => "certificate",
            ApiErrorKind::Timeout => "timeout",
            ApiErrorKind::Redirect => "redirect",
            ApiErrorKind::Unreadable => "unreadable",
            ApiErrorKind::Body => "body",
            ApiErrorKind::Unsupported => "unsupported",
            ApiErrorKind::Provider(kind) => kind,
        }
    }
}

impl fmt::Display for ApiErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ApiErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a call failed.
///
/// ```
/// use rowmill::provider::{ApiError, ApiErrorKind, Call, Delivery};
///
/// let error = ApiError {
///     status: Some(429),
///     ..ApiError::new(
///         Call::Create,
///         ApiErrorKind::Provider("rate_limit_error".to_owned()),
///         "too many requests",
///         Delivery::Refused,
///     )
/// };
/// assert_eq!(
///     error.to_string(),
///     "create batch: the provider answered 429 `rate_limit_error`: too many requests"
/// );
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct ApiError {
    /// The call that failed.
    pub call: Call,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What kind of error it is.
    pub kind: ApiErrorKind,
    /// The machine code in `error.details.error_code`.
    pub code: Option<String>,
    /// The provider's message, or ours. Never a secret.
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
    /// An error without an answer from the provider.
    #[must_use]
    pub fn new(
        call: Call,
        kind: ApiErrorKind,
        message: impl Into<String>,
        delivery: Delivery,
    ) -> ApiError {
        ApiError {
            call,
            status: None,
            kind,
            code: None,
            message: message.into(),
            request_id: None,
            retry_after: None,
            should_retry: None,
            delivery,
        }
    }

    /// The error of a call that the provider does not have. Nothing was sent.
    #[must_use]
    pub fn unsupported(call: Call) -> ApiError {
        let message = "the provider has no such call";
        ApiError::new(call, ApiErrorKind::Unsupported, message, Delivery::NotSent)
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
