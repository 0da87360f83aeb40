//! The Anthropic Message Batches API.
//!
//! [`Anthropic`] speaks it to the API itself or to a gateway with the same paths. Every URL is
//! built from the base URL, the one of the results too: what `results_url` names is never followed,
//! since behind a gateway it may name another host.
//!
//! A create whose answer is good but cannot be read is an error of [`Delivery::Unknown`]: the batch
//! may exist.
//!
//! **Source**: the vendor's reference and clients of 2026-11; what the API does beyond them is
//! noted where the code depends on it.

mod files;
mod format;
pub mod result_line;
mod wire;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::files::FileApi;
use super::http::{Answer, Http, Outgoing, Payload};
use super::{
    ApiError, ApiErrorKind, BatchApi, BatchFormat, BatchId, Call, Capabilities, Delivery, Error,
    ModelInfo, Page, RemoteBatch, ResultStream, Timeouts,
};
use crate::batch::{BatchBody, Limits};
use crate::durable;

pub use format::{ENVELOPE, FORMAT, LIMITS, NAME};

/// Where the API lives.
pub const BASE_URL: &str = "https://api.anthropic.com";
/// The newest version of the API this room was written for.
pub const API_VERSION: &str = "2026-10-21";
/// The header with which the simulator says what it is, in every answer.
pub const SIMULATOR_HEADER: &str = "rowmill-simulator";

const BATCHES: &str = "/v1/messages/batches";
/// Models of these stages are listed; retired ones only on request.
const LIFECYCLES: [&str; 3] = ["active", "deprecated", "retired"];
/// More tokens than a request can have: a thousand times the largest context window.
const MAX_COUNTED_TOKENS: u64 = 1_000_000_000;
/// Models on one page; more than there are.
const MODELS_A_PAGE: u32 = 1000;
const MAX_MODEL_PAGES: usize = 20;
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

/// What proves who calls. `Debug` shows its kind only.
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
    /// What proves who calls.
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

/// The client.
pub struct Anthropic {
    http: Http,
    betas: Option<HeaderValue>,
    limits: Limits,
}

impl fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anthropic")
            .field("origin", &self.http.origin())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Anthropic {
    /// Makes a client. Nothing is sent.
    ///
    /// # Errors
    /// A base URL that is none or would send the credential in the clear, a credential or header
    /// that cannot be sent, a machine without certificates.
    pub fn new(spec: AnthropicSpec) -> Result<Anthropic, Error> {
        let headers = headers(&spec)?;
        let secrets = secrets(&spec);
        let betas = match spec.betas.join(",") {
            names if names.is_empty() => None,
            names => Some(header_value("anthropic-beta", &names)?),
        };
        let http = Http::new(&spec.base_url, headers, secrets, spec.timeouts)?;
        Ok(Anthropic {
            http,
            betas,
            limits: spec.limits,
        })
    }

    /// Makes a client of a base URL and a credential, everything else as in [`AnthropicSpec::new`].
    ///
    /// # Errors
    /// As [`Anthropic::new`].
    pub fn from_parts(base_url: &str, credential: Credential) -> Result<Anthropic, Error> {
        Anthropic::new(AnthropicSpec {
            base_url: base_url.to_owned(),
            ..AnthropicSpec::new(credential)
        })
    }

    /// Whether the other side is the simulator, running on this machine: then nothing that comes
    /// back is a real answer. Asks for one page of models; any fault counts as no. A provider
    /// elsewhere is not asked.
    pub async fn is_simulator(&self) -> bool {
        if !self.http.is_loopback() {
            return false;
        }
        let outgoing = Self::get(Call::Models, "/v1/models".to_owned());
        let answer = self.soon(outgoing.call, self.http.send(&outgoing)).await;
        answer.is_ok_and(|answer| {
            answer
                .header(&HeaderName::from_static(SIMULATOR_HEADER))
                .is_some()
        })
    }

    fn get(call: Call, path: String) -> Outgoing<'static> {
        Self::outgoing(call, Method::GET, path, Payload::None)
    }

    fn outgoing(call: Call, method: Method, path: String, payload: Payload) -> Outgoing<'static> {
        Outgoing {
            call,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            payload,
        }
    }

    /// A call that makes a request, or counts one, and so may need a beta.
    fn post(&self, call: Call, path: &str, payload: Payload) -> Outgoing<'static> {
        let mut outgoing = Self::outgoing(call, Method::POST, path.to_owned(), payload);
        outgoing.headers = self
            .betas
            .iter()
            .map(|betas| (HeaderName::from_static("anthropic-beta"), betas.clone()))
            .collect();
        outgoing
    }

    /// Sends a call; an answer of another status than 2xx becomes an error.
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Answer, ApiError> {
        let mut answer = self.http.send(outgoing).await?;
        let facts = answer.facts();
        let status = answer.status().as_u16();
        tracing::debug!(
            call = outgoing.call.name(),
            status,
            request_id = facts.request_id
        );
        if answer.status().is_success() {
            return Ok(answer);
        }
        let said = wire::error(&answer.error_body(self.http.timeouts().call).await);
        // Whatever of the request has not left by now never will, so the provider has nothing more
        // to answer to.
        let whole = answer.whole();
        let request_id = facts
            .request_id
            .or_else(|| said.request_id.as_ref().map(|id| self.http.clean(id)));
        // The API itself says that it turned the request away. Anything else of 5xx may have
        // happened after it was carried out.
        let is_overloaded = status == 529
            && said.is_enveloped
            && said.kind.as_deref() == Some("overloaded_error")
            && request_id.is_some();
        let delivery = match status {
            307 | 308 => Delivery::Refused,
            400..=499 if !matches!(status, 408 | 409 | 499) => Delivery::Refused,
            _ if !whole => Delivery::NotSent,
            _ if is_overloaded => Delivery::Refused,
            _ => Delivery::Unknown,
        };
        Err(ApiError {
            call: outgoing.call,
            status: Some(status),
            kind: said.kind.map_or_else(
                || wire::kind_of(status),
                |kind| ApiErrorKind::Provider(self.http.clean(&kind)),
            ),
            code: said.code.map(|code| self.http.clean(&code)),
            message: self.http.clean(&said.message),
            request_id,
            retry_after: facts.retry_after,
            should_retry: facts.should_retry,
            delivery,
        })
    }

    /// Sends a call and reads its answer as JSON; `check` makes the product of it, or says what is
    /// missing.
    async fn read<W, T>(
        &self,
        outgoing: Outgoing<'_>,
        check: impl FnOnce(W) -> Result<T, &'static str>,
    ) -> Result<T, ApiError>
    where
        W: DeserializeOwned,
    {
        let mut answer = self.send(&outgoing).await?;
        let (request_id, status) = (answer.facts().request_id, answer.status().as_u16());
        let kind_of_body = answer
            .header(&header::CONTENT_TYPE)
            .unwrap_or("no content type")
            .to_owned();
        // The answer is small, whatever the request was: one that never ends is lost.
        let body = match self.soon(outgoing.call, answer.body()).await {
            Ok(body) => body,
            Err(error) => {
                return Err(ApiError {
                    request_id,
                    ..error
                });
            }
        };
        let unreadable = |reason: &str| {
            let message = format!(
                "the answer is not what the API describes: {reason} ({} bytes, {kind_of_body})",
                body.len()
            );
            let error = ApiError::new(
                outgoing.call,
                ApiErrorKind::Unreadable,
                self.http.clean(&message),
                Delivery::Unknown,
            );
            ApiError {
                status: Some(status),
                request_id: request_id.clone(),
                ..error
            }
        };
        let wire = serde_json::from_slice(&body).map_err(|error| {
            // The parser's own words may quote the answer.
            let reason = if error.is_data() {
                "it has another shape"
            } else {
                "it is not JSON"
            };
            unreadable(&format!(
                "{reason}, line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        check(wire).map_err(unreadable)
    }

    /// As [`Self::read`], for calls with small answers: the whole of it within [`Timeouts::call`].
    async fn read_soon<W, T>(
        &self,
        outgoing: Outgoing<'_>,
        check: impl FnOnce(W) -> Result<T, &'static str>,
    ) -> Result<T, ApiError>
    where
        W: DeserializeOwned,
    {
        self.soon(outgoing.call, self.read(outgoing, check)).await
    }

    async fn soon<T>(
        &self,
        call: Call,
        pending: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let limit = self.http.timeouts().call;
        tokio::time::timeout(limit, pending)
            .await
            .unwrap_or_else(|_| {
                let message = format!("no answer within {} s", limit.as_secs_f32());
                Err(ApiError::new(
                    call,
                    ApiErrorKind::Timeout,
                    message,
                    Delivery::Unknown,
                ))
            })
    }
}

impl BatchApi for Anthropic {
    fn format(&self) -> &'static dyn BatchFormat {
        FORMAT
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            delete: true,
            message: true,
            count_tokens: true,
            models: true,
        }
    }

    fn file_store(&self) -> Option<&dyn FileApi> {
        Some(self)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn is_simulated(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.is_simulator())
    }

    fn origin(&self) -> String {
        self.http.origin()
    }

    fn create(&self, body: Arc<dyn BatchBody>) -> BoxFuture<'_, Result<RemoteBatch, ApiError>> {
        async move {
            durable::act();
            self.read(
                self.post(Call::Create, BATCHES, Payload::Batch(body)),
                wire::WireBatch::batch,
            )
            .await
        }
        .boxed()
    }

    fn retrieve<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>> {
        async move {
            let path = batch_path(Call::Retrieve, id, "")?;
            self.read_soon(Self::get(Call::Retrieve, path), wire::WireBatch::batch)
                .await
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        limit: u32,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Page<RemoteBatch>, ApiError>> {
        async move {
            let mut outgoing = Self::get(Call::List, BATCHES.to_owned());
            outgoing.query.push(("limit", limit.to_string()));
            outgoing
                .query
                .extend(after.map(|after| ("after_id", after.to_owned())));
            self.read_soon(outgoing, |page: wire::WirePage<wire::WireBatch>| {
                page.page(wire::WireBatch::entry)
            })
            .await
        }
        .boxed()
    }

    fn results<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<ResultStream, ApiError>> {
        async move {
            let mut outgoing = Self::get(Call::Results, batch_path(Call::Results, id, "/results")?);
            outgoing.headers.push((
                header::ACCEPT,
                HeaderValue::from_static("application/binary"),
            ));
            let answer = self.send(&outgoing).await?;
            match answer.header(&header::CONTENT_TYPE) {
                Some(kind) if kind.starts_with("text/html") => {
                    let message = "the answer is a web page instead of results";
                    Err(ApiError::new(
                        outgoing.call,
                        ApiErrorKind::Unreadable,
                        message,
                        Delivery::Unknown,
                    ))
                }
                _ => Ok(answer.stream()),
            }
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>> {
        async move {
            let path = batch_path(Call::Cancel, id, "/cancel")?;
            durable::act();
            self.read_soon(
                Self::outgoing(Call::Cancel, Method::POST, path, Payload::None),
                wire::WireBatch::batch,
            )
            .await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<(), ApiError>> {
        async move {
            let path = batch_path(Call::Delete, id, "")?;
            durable::act();
            let outgoing = Self::outgoing(Call::Delete, Method::DELETE, path, Payload::None);
            self.soon(outgoing.call, self.send(&outgoing))
                .await
                .map(drop)
        }
        .boxed()
    }

    fn message<'a>(&'a self, params: &'a [u8]) -> BoxFuture<'a, Result<Value, ApiError>> {
        let payload = Payload::Json(Bytes::copy_from_slice(params));
        self.read(
            self.post(Call::Message, "/v1/messages", payload),
            Ok::<Value, _>,
        )
        .boxed()
    }

    fn count_tokens<'a>(&'a self, params: &'a [u8]) -> BoxFuture<'a, Result<u64, ApiError>> {
        async move {
            let call = Call::CountTokens;
            let params = wire::countable(params).map_err(|_| {
                ApiError::new(
                    call,
                    ApiErrorKind::Body,
                    "the parameters are not a JSON object",
                    Delivery::NotSent,
                )
            })?;
            let outgoing = self.post(
                call,
                "/v1/messages/count_tokens",
                Payload::Json(params.into()),
            );
            let check = |count: wire::WireCount| match count.input_tokens {
                tokens if tokens <= MAX_COUNTED_TOKENS => Ok(tokens),
                _ => Err("it counts more tokens than a request can have"),
            };
            self.read_soon(outgoing, check).await
        }
        .boxed()
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ApiError>> {
        async move {
            let mut models = Vec::new();
            let mut after = None;
            for _ in 0..MAX_MODEL_PAGES {
                let mut outgoing = Self::get(Call::Models, "/v1/models".to_owned());
                outgoing.query.push(("limit", MODELS_A_PAGE.to_string()));
                outgoing
                    .query
                    .extend(LIFECYCLES.map(|stage| ("lifecycle[]", stage.to_owned())));
                outgoing.query.extend(
                    after
                        .iter()
                        .map(|after: &String| ("after_id", after.clone())),
                );
                let page = self
                    .read_soon(outgoing, |page: wire::WirePage<Map<String, Value>>| {
                        page.page(wire::model)
                    })
                    .await?;
                models.extend(page.data);
                // A page that leads nowhere new ends the list.
                if !page.has_more || page.last_id.is_none() || page.last_id == after {
                    break;
                }
                after = page.last_id;
            }
            Ok(models)
        }
        .boxed()
    }
}

/// The path of one batch. An id that would name another path is not sent.
fn batch_path(call: Call, id: &BatchId, end: &str) -> Result<String, ApiError> {
    // An id from a journal of an older version may be any text.
    if matches!(id.0.as_str(), "" | "." | "..") {
        let message = format!("`{id}` is no id of a batch");
        return Err(ApiError::new(
            call,
            ApiErrorKind::Body,
            message,
            Delivery::NotSent,
        ));
    }
    let mut path = format!("{BATCHES}/");
    for byte in id.0.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                path.push(char::from(byte))
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(path + end)
}

/// The headers of every call; all that can hold a secret are marked, so that nothing prints them.
fn headers(spec: &AnthropicSpec) -> Result<HeaderMap, Error> {
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

fn header_value(name: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|_| Error::Header {
        name: name.to_owned(),
        reason: "its value has characters that no header may have",
    })
}

/// What must not stand in any message.
fn secrets(spec: &AnthropicSpec) -> Vec<SecretString> {
    let (Credential::ApiKey(secret) | Credential::AuthToken(secret)) = &spec.credential;
    let custom = spec.custom_headers.iter().map(|(_, value)| value.trim());
    // A scheme in front, as in `Bearer xyz`, is not part of the secret.
    let custom = custom.map(|value| value.rsplit(' ').next().unwrap_or(value));
    let all = std::iter::once(secret.expose_secret().trim()).chain(custom);
    all.filter(|value| value.len() >= MIN_SECRET_CHARS)
        .map(SecretString::from)
        .collect()
}

#[cfg(test)]
mod tests;
