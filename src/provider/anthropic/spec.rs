//! How the API is reached: base URL, credential, headers.

use std::fmt;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::format::LIMITS;
use super::{API_VERSION, BASE_URL};
use crate::batch::Limits;
use crate::provider::{Error, Timeouts};

/// Headers that describe the message itself and are set by the connection.
const NOT_CUSTOM: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::ACCEPT_ENCODING,
];
/// A key, a token or a custom header's value of at least this length is kept out of messages; a
/// shorter one is a word (`test`, `unused`), not a secret, and would take ordinary words out of
/// them.
const MIN_SECRET_CHARS: usize = 8;

/// The credentials of the caller. `Debug` shows its kind only.
#[derive(Clone)]
pub enum Credential {
    /// Sent as `x-api-key`.
    ApiKey(SecretString),
    /// Sent as `Authorization: Bearer`.
    AuthToken(SecretString),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::ApiKey(_) => "ApiKey(..)",
            Credential::AuthToken(_) => "AuthToken(..)",
        })
    }
}

/// How the API is reached.
#[derive(Clone)]
pub struct AnthropicSpec {
    /// Scheme, host, port, and the path a gateway puts in front. Plain http to this machine only.
    pub base_url: String,
    /// The credentials of the caller.
    pub credential: Credential,
    /// The `anthropic-version`.
    pub api_version: String,
    /// Names for `anthropic-beta`, which goes with create, message and count tokens, for all their
    /// requests.
    pub betas: Vec<String>,
    /// The workspace, for credentials that can act on several.
    pub workspace_id: Option<String>,
    /// Headers that go with every call and win over ours.
    pub custom_headers: Vec<(String, String)>,
    /// What one batch may hold.
    pub limits: Limits,
    /// How long a call may take.
    pub timeouts: Timeouts,
}

impl AnthropicSpec {
    /// The API itself, with its limits and our defaults.
    #[must_use]
    pub fn new(credential: Credential) -> AnthropicSpec {
        AnthropicSpec {
            base_url: BASE_URL.to_owned(),
            credential,
            api_version: API_VERSION.to_owned(),
            betas: Vec::new(),
            workspace_id: None,
            custom_headers: Vec::new(),
            limits: LIMITS,
            timeouts: Timeouts::default(),
        }
    }
}

impl fmt::Debug for AnthropicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .custom_headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        // The base URL is left out too: unchecked as it is, it may hold a password.
        f.debug_struct("AnthropicSpec")
            .field("credential", &self.credential)
            .field("api_version", &self.api_version)
            .field("betas", &self.betas)
            .field("workspace_id", &self.workspace_id)
            .field("custom_headers", &names)
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// Reads custom headers, one `Name: value` a line; empty lines are passed over.
///
/// # Errors
/// A line without a colon, or with nothing before it. The error has the line's number and nothing
/// of its text.
///
/// ```
/// use rowmill::provider::anthropic::custom_headers;
///
/// let headers = custom_headers("X-Team: data\n\nX-Trace: a:b\n").unwrap();
/// assert_eq!(headers[0], ("X-Team".to_owned(), "data".to_owned()));
/// assert_eq!(headers[1], ("X-Trace".to_owned(), "a:b".to_owned()));
/// assert!(custom_headers("no colon").is_err());
/// ```
pub fn custom_headers(text: &str) -> Result<Vec<(String, String)>, Error> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| match line.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(Error::HeaderLine { line: index + 1 }),
        })
        .collect()
}

/// The headers of every call; all that can hold a secret are marked, so that nothing prints them.
pub(super) fn headers(spec: &AnthropicSpec) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let (name, value) = credential_header(&spec.credential)?;
    headers.insert(name, value);
    headers.insert(
        "anthropic-version",
        header_value("anthropic-version", &spec.api_version)?,
    );
    if let Some(id) = &spec.workspace_id {
        headers.insert(
            "anthropic-workspace-id",
            header_value("anthropic-workspace-id", id)?,
        );
    }
    for (name, value) in &spec.custom_headers {
        let fail = |reason| {
            Err(Error::Header {
                name: name.clone(),
                reason,
            })
        };
        let Ok(header) = HeaderName::try_from(name.as_str()) else {
            return fail("its name has characters that no name may have");
        };
        if NOT_CUSTOM.contains(&header) {
            return fail("it belongs to the connection");
        }
        let mut value = header_value(name, value)?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn credential_header(credential: &Credential) -> Result<(HeaderName, HeaderValue), Error> {
    let (name, secret, prefix) = match credential {
        Credential::ApiKey(key) => (HeaderName::from_static("x-api-key"), key, ""),
        Credential::AuthToken(token) => (header::AUTHORIZATION, token, "Bearer "),
    };
    let secret = secret.expose_secret().trim();
    if secret.is_empty() {
        return Err(Error::Credential {
            reason: "it is empty",
        });
    }
    let Ok(mut value) = HeaderValue::from_str(&format!("{prefix}{secret}")) else {
        return Err(Error::Credential {
            reason: "it has characters that no header may have",
        });
    };
    value.set_sensitive(true);
    Ok((name, value))
}

pub(super) fn header_value(name: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|_| Error::Header {
        name: name.to_owned(),
        reason: "its value has characters that no header may have",
    })
}

/// What must not stand in any message.
pub(super) fn secrets(spec: &AnthropicSpec) -> Vec<SecretString> {
    let (Credential::ApiKey(secret) | Credential::AuthToken(secret)) = &spec.credential;
    let custom = spec.custom_headers.iter().map(|(_, value)| value.trim());
    // A scheme in front, as in `Bearer xyz`, is not part of the secret.
    let custom = custom.map(|value| value.rsplit(' ').next().unwrap_or(value));
    let all = std::iter::once(secret.expose_secret().trim()).chain(custom);
    all.filter(|value| value.len() >= MIN_SECRET_CHARS)
        .map(SecretString::from)
        .collect()
}
