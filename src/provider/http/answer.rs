//! An answer: its status and headers at once, its body as a stream.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::HeaderName;
use tokio::time::{Instant, timeout, timeout_at};

use super::headers::{AnswerFacts, facts};
use crate::provider::redact::{SecretFilter, Secrets};
use crate::provider::upload::UploadProgress;
use crate::provider::{ApiError, ApiErrorKind, Call, Delivery, ResultStream};

/// Longest answer that is read into memory; a list of 1000 batches has less than one megabyte.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// What is read of the body of an error.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// An answer whose body is still to be read.
pub(in crate::provider) struct Answer {
    pub(super) response: reqwest::Response,
    pub(super) progress: Option<Arc<UploadProgress>>,
    pub(super) context: CallContext,
}

impl Answer {
    pub(in crate::provider) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(in crate::provider) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(in crate::provider) fn facts(&self) -> AnswerFacts {
        facts(self.response.headers(), &self.context.secrets)
    }

    /// Whether the whole request had left; if not, the rest never will.
    pub(in crate::provider) fn whole(&self) -> bool {
        self.progress
            .as_ref()
            .is_none_or(|progress| progress.stop())
    }

    /// Reads the body of a good answer.
    pub(in crate::provider) async fn body(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                let message = format!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
                return Err(ApiError::new(
                    self.context.call,
                    ApiErrorKind::Unreadable,
                    message,
                    Delivery::Unknown,
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Reads what can be had of the body of an error in this time.
    pub(in crate::provider) async fn error_body(&mut self, within: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        let deadline = Instant::now() + within;
        while bytes.len() < MAX_ERROR_BYTES
            && let Ok(Ok(Some(chunk))) = timeout_at(deadline, self.chunk()).await
        {
            bytes.extend_from_slice(&chunk);
        }
        bytes.truncate(MAX_ERROR_BYTES);
        bytes
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        match timeout(self.context.idle, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(self.context.lost(&error, None)),
            Err(_) => Err(self.context.idle(None)),
        }
    }

    /// The body as a stream, but for secrets, which [`SecretFilter`] replaces. An error ends the
    /// stream; an end without error is where the other side said it would be.
    pub(in crate::provider) fn stream(self) -> ResultStream {
        let Answer {
            response, context, ..
        } = self;
        let filter = SecretFilter::of(&context.secrets);
        let state = Some((response.bytes_stream(), context, filter));
        futures_util::stream::unfold(state, |state| async {
            let (mut chunks, context, mut filter) = state?;
            let item = match timeout(context.idle, chunks.next()).await {
                Ok(None) => {
                    return Some((Ok(filter.rest()), None))
                        .filter(|(rest, _)| !matches!(rest, Ok(rest) if rest.is_empty()));
                }
                Ok(Some(Ok(chunk))) => {
                    let chunk = filter.pass(chunk);
                    return Some((Ok(chunk), Some((chunks, context, filter))));
                }
                Ok(Some(Err(error))) => context.lost(&error, None),
                Err(_) => context.idle(None),
            };
            Some((Err(item), None))
        })
        .boxed()
    }
}

/// Turns faults of the connection into errors.
pub(in crate::provider) struct CallContext {
    pub(super) call: Call,
    pub(super) idle: Duration,
    pub(super) secrets: Arc<Secrets>,
}

impl CallContext {
    pub(super) fn lost(
        &self,
        error: &reqwest::Error,
        progress: Option<&UploadProgress>,
    ) -> ApiError {
        let in_part = progress.is_some_and(|progress| !progress.stop());
        if let Some(fault) = progress.and_then(UploadProgress::fault) {
            return ApiError::new(
                self.call,
                ApiErrorKind::Body,
                self.secrets.clean(&fault),
                Delivery::NotSent,
            );
        }
        let unsent = in_part || error.is_connect() || error.is_builder();
        let words = causes(error);
        let kind = if words.contains("certificate") {
            ApiErrorKind::Certificate
        } else if error.is_timeout() {
            ApiErrorKind::Timeout
        } else {
            ApiErrorKind::Connection
        };
        ApiError::new(
            self.call,
            kind,
            self.secrets.clean(&words),
            if unsent {
                Delivery::NotSent
            } else {
                Delivery::Unknown
            },
        )
    }

    pub(super) fn idle(&self, progress: Option<&UploadProgress>) -> ApiError {
        let unsent = progress.is_some_and(|progress| !progress.stop());
        let message = format!("nothing moved for {} s", self.idle.as_secs_f32());
        ApiError::new(
            self.call,
            ApiErrorKind::Timeout,
            message,
            if unsent {
                Delivery::NotSent
            } else {
                Delivery::Unknown
            },
        )
    }
}

/// The causes of an error in one line. The outermost says nothing but that a request failed, and
/// may name the URL; the next one says nothing but in which layer.
fn causes(error: &reqwest::Error) -> String {
    let mut words = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.ends_with(&text) && !text.starts_with("client error (") {
            let _ = write!(words, "{}{text}", if words.is_empty() { "" } else { ": " });
        }
        source = cause.source();
    }
    if words.is_empty() {
        "the connection failed".to_owned()
    } else {
        words
    }
}
