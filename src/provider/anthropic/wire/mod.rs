//! The JSON shapes of the Message Batches API, read leniently.
//!
//! Fields that are unknown are ignored and fields that are missing are tolerated wherever the rest
//! still means something, because gateways answer in their own format and the API grows. Result
//! lines have a file of their own, [`super::result_line`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::provider::{ApiErrorKind, BatchId, Counts, ModelInfo, Page, Processing, RemoteBatch};
use crate::request::parameters;

/// A batch, before it is checked.
#[derive(Debug, Deserialize)]
pub(super) struct WireBatch {
    id: String,
    processing_status: Option<String>,
    request_counts: Option<WireCounts>,
    created_at: Option<String>,
    expires_at: Option<String>,
    ended_at: Option<String>,
    cancel_initiated_at: Option<String>,
    archived_at: Option<String>,
    results_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct WireCounts {
    processing: Option<u64>,
    succeeded: Option<u64>,
    errored: Option<u64>,
    canceled: Option<u64>,
    expired: Option<u64>,
}

/// More requests than this are in no batch of any provider, so an answer with more is damaged. The
/// largest batches take a million.
const MOST_REQUESTS: u64 = 1_000_000_000;

impl WireBatch {
    /// As [`Self::batch`], for an entry of a list: one whose id is impossible is kept with an empty
    /// id, with which no call is made. It is there, so it may be a batch that is looked for, and
    /// nothing can be proven of it.
    pub(super) fn entry(mut self) -> Result<RemoteBatch, &'static str> {
        if is_possible_id(&self.id) {
            return self.batch();
        }
        "-".clone_into(&mut self.id);
        Ok(RemoteBatch {
            id: BatchId(String::new()),
            ..self.batch()?
        })
    }

    /// The batch, or what is missing of it.
    pub(super) fn batch(self) -> Result<RemoteBatch, &'static str> {
        let time = |text: Option<String>| text?.parse::<Timestamp>().ok();
        let expires_at = time(self.expires_at);
        // The window is 24 hours, so one of the two is enough.
        let created_at = time(self.created_at)
            .or_else(|| expires_at?.checked_sub(SignedDuration::from_hours(24)).ok());
        if self.id.is_empty() {
            return Err("it has no `id`");
        }
        if !is_possible_id(&self.id) {
            return Err("its `id` is none that a batch can have");
        }
        let counts = self.request_counts.unwrap_or_default();
        let request_counts = Counts {
            processing: counts.processing.unwrap_or(0),
            succeeded: counts.succeeded.unwrap_or(0),
            errored: counts.errored.unwrap_or(0),
            canceled: counts.canceled.unwrap_or(0),
            expired: counts.expired.unwrap_or(0),
        };
        if request_counts.total() > MOST_REQUESTS {
            return Err("its `request_counts` are larger than those of any batch");
        }
        Ok(RemoteBatch {
            id: BatchId(self.id),
            processing_status: processing(self.processing_status.unwrap_or_default()),
            request_counts,
            created_at: created_at.ok_or("it has no `created_at`")?,
            expires_at,
            ended_at: time(self.ended_at),
            cancel_initiated_at: time(self.cancel_initiated_at),
            archived_at: time(self.archived_at),
            results_url: self.results_url,
        })
    }
}

/// Longest id that is accepted; the API's own have 33 characters, and gateways pack a few
/// facts into theirs.
const MAX_ID_CHARS: usize = 512;

/// Whether a text can be the id of a batch: it will stand in paths, in the journal and on screens.
pub(super) fn is_possible_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !br#"/\?#%"'<>`"#.contains(&byte);
    (1..=MAX_ID_CHARS).contains(&id.len()) && !matches!(id, "." | "..") && id.bytes().all(is_plain)
}

fn processing(word: String) -> Processing {
    match word.as_str() {
        "in_progress" => Processing::InProgress,
        "canceling" => Processing::Canceling,
        "ended" => Processing::Ended,
        _ => Processing::Other(word),
    }
}

/// A page of a list, before its entries are checked.
#[derive(Debug, Deserialize)]
pub(super) struct WirePage<T> {
    data: Vec<T>,
    has_more: Option<bool>,
    last_id: Option<String>,
}

impl<T> WirePage<T> {
    /// The page with each entry checked.
    pub(super) fn page<U>(
        self,
        check: impl Fn(T) -> Result<U, &'static str>,
    ) -> Result<Page<U>, &'static str> {
        Ok(Page {
            data: self.data.into_iter().map(check).collect::<Result<_, _>>()?,
            has_more: self.has_more.unwrap_or(false),
            // One that no URL can carry leads nowhere.
            last_id: self.last_id.filter(|id| id.len() <= MAX_ID_CHARS),
        })
    }
}

/// A model; everything but its id is optional.
pub(super) fn model(mut fields: Map<String, Value>) -> Result<ModelInfo, &'static str> {
    let mut word = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(word)) => Some(word),
        _ => None,
    };
    let id = word("id").ok_or("a model has no `id`")?;
    let display_name = word("display_name").unwrap_or_default();
    Ok(ModelInfo {
        id,
        display_name,
        more: fields,
    })
}

/// The answer of the token counter.
#[derive(Debug, Deserialize)]
pub(super) struct WireCount {
    pub(super) input_tokens: u64,
}

/// The `params` of a request as the token counter takes them: without what only matters when an
/// answer is made.
pub(super) fn countable(params: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(params)?;
    // What the table does not have may be newer than it, and is passed on here as elsewhere.
    fields.retain(|name, _| parameters::parameter(name).is_none_or(|parameter| parameter.count));
    serde_json::to_vec(&fields)
}

/// What the body of an error says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WireError {
    /// Whether it is the API's own envelope: `{"type":"error","error":{"type":…}}`.
    pub(super) is_enveloped: bool,
    pub(super) kind: Option<String>,
    pub(super) code: Option<String>,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
}

/// Reads the body of an error, whatever it is: the API's envelope, the envelope's inside, a
/// gateway's JSON, HTML, text or nothing.
pub(super) fn error(body: &[u8]) -> WireError {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(envelope)) => envelope_error(&envelope),
        _ => WireError {
            message: plain(&String::from_utf8_lossy(body)),
            ..WireError::default()
        },
    }
}

fn envelope_error(envelope: &Map<String, Value>) -> WireError {
    let word = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let inner = match envelope.get("error") {
        Some(Value::Object(inner)) => inner,
        _ => envelope,
    };
    let message = ["message", "error", "detail", "title"]
        .into_iter()
        .find_map(|name| word(inner.get(name)));
    let kind = word(inner.get("type")).filter(|kind| kind != "error");
    WireError {
        is_enveloped: word(envelope.get("type")).as_deref() == Some("error")
            && envelope.get("error").is_some_and(Value::is_object)
            && kind.is_some(),
        kind,
        code: word(
            inner
                .get("details")
                .and_then(|details| details.get("error_code")),
        ),
        message: message.unwrap_or_else(|| "the answer gives no reason".to_owned()),
        request_id: word(envelope.get("request_id")),
    }
}

/// The readable text of a body that is not JSON.
fn plain(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = || {
        let begin = lower.find("<title>")? + "<title>".len();
        let end = begin + lower[begin..].find("</title>")?;
        Some(text[begin..end].trim().to_owned())
    };
    match title().filter(|title| !title.is_empty()) {
        Some(title) => title,
        None if text.trim().is_empty() => "the answer is empty".to_owned(),
        None => text.to_owned(),
    }
}

/// The kind of error a status means where the body names none.
pub(super) fn kind_of(status: u16) -> ApiErrorKind {
    let word = match status {
        300..=399 => return ApiErrorKind::Redirect,
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    ApiErrorKind::Provider(word.to_owned())
}

#[cfg(test)]
mod tests;
