//! Where batches go and results come from: the only room that knows a wire format.
//!
//! A provider is two things. Its [`BatchFormat`] says how the body of a create call is written and
//! how a result line is read; it needs no connection, and a stored run is read by it. Its
//! [`BatchApi`] makes the calls: it takes a [`BatchBody`](crate::batch::BatchBody), bytes it does
//! not look into, and gives back [`RemoteBatch`]es and a stream of result bytes, exactly as they
//! came. Every failed call is an [`ApiError`] that says whether the request can have reached the
//! provider, because a create that may have arrived must never be sent again without a search.
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
//! format.rs      bodies and result lines            anthropic/mod.rs        the calls
//! api.rs         the calls, and the optional ones   anthropic/format.rs     its envelope, limits and lines
//! remote.rs      batches and models                 anthropic/wire.rs       its JSON shapes
//! api_error.rs   why a call failed                  anthropic/result_line/  result line → outcome
//! retry/         what may be tried again            anthropic/files.rs      its file store
//! files.rs       the calls of a file store          http/                   connection, redirects
//! refresh/       the catalog compared with          upload.rs               the body of a create call
//!                the provider's list of models      redact.rs               keeps secrets out
//! ```
//!
//! To add a provider: a folder here with a format and an API, its format in [`Formats`], and one
//! arm where connections are opened. `examples/custom_provider.rs` shows one outside of this crate.

pub mod anthropic;
mod api;
mod api_error;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(crate) mod checks;
pub mod files;
mod format;
mod http;
mod redact;
pub mod refresh;
mod remote;
pub mod retry;
mod upload;

pub use api::{BatchApi, Capabilities, ResultStream};
pub use api_error::{ApiError, ApiErrorKind, Call, Delivery};
pub use format::{BatchFormat, Formats, LineError, ResultLine};
pub use http::Timeouts;
pub use remote::{BatchId, Counts, ModelInfo, Page, Processing, RemoteBatch};

/// The provider of stored plans that name none: when they were written there was no other.
pub const DEFAULT_PROVIDER: &str = anthropic::NAME;

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
