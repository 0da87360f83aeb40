//! The client: sends one call and reads its answer.

use std::fmt;

use reqwest::Method;
use reqwest::header::{self, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

use super::spec::{AnthropicSpec, Credential, header_value, headers, secrets};
use super::{SIMULATOR_HEADER, wire};
use crate::batch::Limits;
use crate::provider::http::{Answer, Http, HttpCall, Payload};
use crate::provider::{ApiError, ApiErrorKind, Call, Delivery, Error};

/// The client.
pub struct Anthropic {
    pub(super) http: Http,
    pub(super) betas: Option<HeaderValue>,
    pub(super) limits: Limits,
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
    ///
    /// ```
    /// use rowmill::provider::anthropic::{Anthropic, BASE_URL, Credential};
    /// use rowmill::provider::{BatchApi as _, Error};
    ///
    /// let key = Credential::ApiKey("sk-ant-0123456789".into());
    /// let api = Anthropic::from_parts(BASE_URL, key.clone()).unwrap();
    /// assert_eq!(api.origin(), "https://api.anthropic.com");
    ///
    /// let refused = Anthropic::from_parts("http://gateway.example", key);
    /// assert!(matches!(refused, Err(Error::PlainHttp { .. })));
    /// ```
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

    pub(super) fn get(call: Call, path: String) -> HttpCall<'static> {
        Self::http_call(call, Method::GET, path, Payload::None)
    }

    pub(super) fn http_call(
        call: Call,
        method: Method,
        path: String,
        payload: Payload,
    ) -> HttpCall<'static> {
        HttpCall {
            call,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            payload,
        }
    }

    /// A call that makes a request, or counts one, and so may need a beta.
    pub(super) fn post(&self, call: Call, path: &str, payload: Payload) -> HttpCall<'static> {
        let mut outgoing = Self::http_call(call, Method::POST, path.to_owned(), payload);
        outgoing.headers = self
            .betas
            .iter()
            .map(|betas| (HeaderName::from_static("anthropic-beta"), betas.clone()))
            .collect();
        outgoing
    }

    /// Sends a call; an answer of another status than 2xx becomes an error.
    pub(super) async fn send(&self, outgoing: &HttpCall<'_>) -> Result<Answer, ApiError> {
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
        let is_overloaded =
            status == 529 && said.is_enveloped && said.kind.as_deref() == Some("overloaded_error");
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
    pub(super) async fn read<W, T>(
        &self,
        outgoing: HttpCall<'_>,
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
    pub(super) async fn read_soon<W, T>(
        &self,
        outgoing: HttpCall<'_>,
        check: impl FnOnce(W) -> Result<T, &'static str>,
    ) -> Result<T, ApiError>
    where
        W: DeserializeOwned,
    {
        self.soon(outgoing.call, self.read(outgoing, check)).await
    }

    pub(super) async fn soon<T>(
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
