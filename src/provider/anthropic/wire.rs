//! The JSON shapes of the Message Batches API, read leniently.
//!
//! Fields that are unknown are ignored and fields that are missing are tolerated wherever the rest
//! still means something, because gateways answer in their own way and the API grows. Result lines
//! have a file of their own, [`super::result_line`].

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

/// Longest id that is taken for one; the API's own have 33 characters, and gateways pack a few
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

/// What a person would read of a body that is not JSON.
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
mod tests {
    use super::*;

    fn batch(json: &str) -> Result<RemoteBatch, &'static str> {
        serde_json::from_str::<WireBatch>(json)
            .map_err(|_| "not the shape")?
            .batch()
    }

    #[test]
    fn reads_a_whole_batch() {
        let batch = batch(
            r#"{"id":"msgbatch_1","type":"message_batch","processing_status":"ended",
                "request_counts":{"processing":0,"succeeded":2,"errored":1,"canceled":0,"expired":4,"held":9},
                "created_at":"2026-08-20T18:37:24.100435Z","expires_at":"2026-08-21T18:37:24.100435Z",
                "ended_at":"2026-08-20T19:00:00+00:00","cancel_initiated_at":null,"archived_at":null,
                "results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}"#,
        )
        .unwrap();
        assert_eq!(batch.processing_status, Processing::Ended);
        assert_eq!(batch.request_counts.total(), 7);
        assert_eq!(batch.created_at.to_string(), "2026-08-20T18:37:24.100435Z");
        assert_eq!(batch.ended_at.unwrap().to_string(), "2026-08-20T19:00:00Z");
    }

    #[test]
    fn reads_what_there_is_of_a_batch() {
        let sparse = batch(
            r#"{"id":"b","expires_at":"2026-08-21T00:00:00Z","ended_at":"soon","request_counts":{"processing":null}}"#,
        );
        let sparse = sparse.unwrap();
        assert_eq!(sparse.created_at.to_string(), "2026-08-20T00:00:00Z");
        assert_eq!(
            (sparse.processing_status, sparse.ended_at),
            (Processing::Other(String::new()), None)
        );
        let new =
            batch(r#"{"id":"b","processing_status":"paused","created_at":"2026-08-21T00:00:00Z"}"#)
                .unwrap();
        assert_eq!(
            new.processing_status,
            Processing::Other("paused".to_owned())
        );
        assert_eq!(new.request_counts, Counts::default());
    }

    #[test]
    fn says_what_is_missing_of_a_batch() {
        assert_eq!(
            batch(r#"{"id":"b"}"#).unwrap_err(),
            "it has no `created_at`"
        );
        assert_eq!(
            batch(r#"{"id":"","created_at":"2026-08-21T00:00:00Z"}"#).unwrap_err(),
            "it has no `id`"
        );
        assert_eq!(batch("{}").unwrap_err(), "not the shape");
    }

    #[test]
    fn takes_no_id_that_could_name_something_else() {
        let long = "x".repeat(MAX_ID_CHARS + 1);
        let odd = [
            "a/b",
            "..",
            ".",
            "a\\b",
            "a b",
            "a\0",
            "a\n",
            "ü",
            "a?b",
            "a#b",
            "a%2f",
            "\u{202e}abc",
            "<b>",
            long.as_str(),
        ];
        for id in odd {
            let json =
                serde_json::json!({"id": id, "created_at": "2026-08-21T00:00:00Z"}).to_string();
            assert_eq!(
                batch(&json).unwrap_err(),
                "its `id` is none that a batch can have",
                "{id}"
            );
            let listed = serde_json::from_str::<WireBatch>(&json)
                .unwrap()
                .entry()
                .unwrap();
            assert_eq!(
                listed.id.0, "",
                "it is there, and cannot be called for: {id}"
            );
        }
        for id in [
            "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF",
            "batch:eu-1:abc",
            "YWJj+ZGVm==",
            "a.b~c;d,e",
        ] {
            let json = format!(r#"{{"id":"{id}","created_at":"2026-08-21T00:00:00Z"}}"#);
            assert_eq!(batch(&json).unwrap().id.0, id);
            assert_eq!(
                serde_json::from_str::<WireBatch>(&json)
                    .unwrap()
                    .entry()
                    .unwrap()
                    .id
                    .0,
                id
            );
        }
    }

    #[test]
    fn knows_the_envelope_of_the_api() {
        for (body, is_enveloped) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
                true,
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
                true,
            ),
            (
                r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                false,
            ),
            (
                r#"{"type":"error","error":{"message":"Overloaded"}}"#,
                false,
            ),
            (r#"{"type":"error","message":"flat"}"#, false),
            (r#"{"type":"error","error":"overloaded_error"}"#, false),
            (r#"{"type":"error","error":{"type":"overloaded_er"#, false),
            ("<title>529</title>", false),
            ("", false),
        ] {
            assert_eq!(error(body.as_bytes()).is_enveloped, is_enveloped, "{body}");
        }
    }

    #[test]
    fn reads_every_shape_of_error() {
        let read = |body: &str| {
            let error = error(body.as_bytes());
            (
                error.kind.unwrap_or_default(),
                error.code.unwrap_or_default(),
                error.message,
                error.request_id.unwrap_or_default(),
            )
        };
        #[rustfmt::skip]
        let table = [
            (r#"{"type":"error","error":{"type":"invalid_request_error","message":"m","details":{"error_code":"c"}},"request_id":"req_1"}"#,
             ["invalid_request_error", "c", "m", "req_1"]),
            (r#"{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
             ["request_too_large", "", "Request exceeds the maximum size", ""]),
            (r#"{"type":"error","error":{"type":"x","message":null,"details":null},"request_id":null}"#, ["x", "", "the answer \
                gives no reason", ""]),
            (r#"{"error":"no route"}"#, ["", "", "no route", ""]),
            (r#"{"detail":"Not Found"}"#, ["", "", "Not Found", ""]),
            (r#"{"type":"error","message":"flat"}"#, ["", "", "flat", ""]),
            ("<html><head><title>502 Bad Gateway</title></head><body>…</body></html>", ["", "", "502 Bad Gateway", ""]),
            ("<HTML><TITLE></TITLE>x", ["", "", "<HTML><TITLE></TITLE>x", ""]),
            ("upstream connect error", ["", "", "upstream connect error", ""]),
            ("  \n", ["", "", "the answer is empty", ""]),
            ("[1]", ["", "", "[1]", ""]),
        ];
        for (body, [kind, code, message, request_id]) in table {
            assert_eq!(
                read(body),
                (
                    kind.to_owned(),
                    code.to_owned(),
                    message.to_owned(),
                    request_id.to_owned()
                ),
                "{body}"
            );
        }
        assert_eq!(error(b"\xff\xfe").message, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn counts_that_no_batch_has_are_unreadable() {
        let most = u64::MAX;
        for counts in [
            format!("\"succeeded\":{most}"),
            format!("\"succeeded\":{most},\"errored\":{most},\"expired\":1"),
        ] {
            let text = format!(
                "{{\"id\":\"b\",\"created_at\":\"2026-08-21T00:00:00Z\",\"request_counts\":{{{counts}}}}}"
            );
            let batch: WireBatch = serde_json::from_str(&text).unwrap();
            assert_eq!(
                batch.batch().unwrap_err(),
                "its `request_counts` are larger than those of any batch"
            );
        }
        let saturated = Counts {
            succeeded: most,
            errored: most,
            ..Counts::default()
        };
        assert_eq!(saturated.total(), most);
    }

    #[test]
    fn counts_what_can_be_counted() {
        let counted =
            countable(br#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"max_tokens"}],"metadata":{}}"#);
        assert_eq!(
            counted.unwrap(),
            br#"{"messages":[{"role":"user","content":"max_tokens"}],"model":"m"}"#
        );
        // As the official client's type of the call has them, less the headers.
        let left_out = [
            "container",
            "diagnostics",
            "metadata",
            "fallback_credit_token",
            "fallbacks",
            "thread",
            "max_tokens",
        ];
        let left_out = left_out.iter().chain(&[
            "stream",
            "stop_sequences",
            "service_tier",
            "inference_geo",
            "temperature",
        ]);
        let taken = [
            "tools",
            "tool_choice",
            "thinking",
            "system",
            "output_config",
            "cache_control",
            "mcp_servers",
        ];
        let taken = taken.iter().chain(&[
            "compaction",
            "context_management",
            "speed",
            "billing_policy",
            "newer_than_this",
        ]);
        let all = left_out
            .chain(taken.clone())
            .map(|name| format!("\"{name}\":1"))
            .collect::<Vec<_>>()
            .join(",");
        let counted: Map<String, Value> =
            serde_json::from_slice(&countable(format!("{{{all}}}").as_bytes()).unwrap()).unwrap();
        let mut taken: Vec<&str> = taken.copied().collect();
        taken.sort_unstable();
        let mut counted: Vec<&str> = counted.keys().map(String::as_str).collect();
        counted.sort_unstable();
        assert_eq!(counted, taken);
        assert!(countable(b"[]").is_err());
    }
}
