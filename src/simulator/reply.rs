//! What the server answers when it refuses, and the headers that all its answers carry.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// A refusal in the API's terms: the answer to a call, or the error of one request in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorReply {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) code: Option<String>,
    pub(super) headers: Vec<(String, String)>,
}

impl ErrorReply {
    pub(super) fn new(status: u16, kind: &str, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            status,
            kind: kind.to_owned(),
            message: message.into(),
            code: None,
            headers: Vec::new(),
        }
    }

    /// 400: something about the request is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> ErrorReply {
        ErrorReply::new(400, "invalid_request_error", message)
    }

    /// 404: there is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> ErrorReply {
        ErrorReply::new(404, "not_found_error", message)
    }

    /// 413: too many bytes.
    pub(super) fn too_large() -> ErrorReply {
        ErrorReply::new(413, "request_too_large", "Request exceeds the maximum size")
    }

    /// 500: the simulator itself failed, for instance because its disk is full.
    pub(super) fn broken(cause: &dyn std::error::Error) -> ErrorReply {
        ErrorReply::new(500, "api_error", format!("The simulator failed: {cause}"))
    }

    pub(super) fn code(mut self, code: &str) -> ErrorReply {
        self.code = Some(code.to_owned());
        self
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> ErrorReply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The envelope around an error, on the wire and in a result line.
    pub(super) fn envelope<'a>(&'a self, request_id: Option<&'a str>) -> ErrorEnvelope<'a> {
        ErrorEnvelope {
            kind: Some("error"),
            error: self.inner(),
            request_id,
        }
    }

    fn inner(&self) -> ErrorBody<'_> {
        let details = self
            .code
            .as_deref()
            .map(|error_code| ErrorDetails { error_code });
        ErrorBody {
            kind: &self.kind,
            message: &self.message,
            details,
        }
    }

    pub(super) fn answer(self, request_id: &str) -> Response<Body> {
        // The 413 is made by the network in front of the API, which knows nothing of its envelope.
        let envelope = match self.status {
            413 => ErrorEnvelope {
                kind: None,
                error: self.inner(),
                request_id: None,
            },
            _ => self.envelope(Some(request_id)),
        };
        let mut response = json(&envelope);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            ) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<std::io::Error> for ErrorReply {
    fn from(error: std::io::Error) -> ErrorReply {
        ErrorReply::broken(&error)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ErrorEnvelope<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    error: ErrorBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<ErrorDetails<'a>>,
}

#[derive(Debug, Serialize)]
struct ErrorDetails<'a> {
    error_code: &'a str,
}

/// A 200 with a JSON body.
pub(super) fn json(value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("the shapes of the wire have only text keys");
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Makes an id of the API's form: a prefix and 24 characters.
pub(super) fn opaque_id(prefix: &str, parts: &[&[u8]]) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut id = String::with_capacity(prefix.len() + 24);
    id.push_str(prefix);
    id.push_str("01");
    id.extend(
        hasher
            .finalize()
            .as_bytes()
            .iter()
            .take(22)
            .map(|b| char::from(ALPHABET[usize::from(*b) % 62])),
    );
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_apis_envelope() {
        let refusal = ErrorReply::new(429, "rate_limit_error", "slow down")
            .code("enforced_spend_limit_reached");
        let text = serde_json::to_string(&refusal.envelope(Some("req_1"))).unwrap();
        let expected = concat!(
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down","#,
            r#""details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn ids_have_the_apis_length_and_differ() {
        let (a, b) = (
            opaque_id("msg_", &[b"a", b"b"]),
            opaque_id("msg_", &[b"ab", b""]),
        );
        assert_eq!(a.len(), "msg_013Zva2CMHLNnXjNJJKqJ2EF".len());
        assert_ne!(a, b);
    }
}
