//! Connection, headers, redirects, timeouts: HTTP as every provider here speaks it.
//!
//! HTTP/1.1 over rustls, because the flow control of HTTP/2 makes bodies of this size several times
//! slower. Proxies are taken from the environment, but never for this machine. A call is sent once;
//! a redirect within the origin is followed with a body that is read again.
//!
//! There is no limit on the whole of a bulk call. What ends one is silence: no byte handed out and
//! none received for [`Timeouts::idle`].

mod answer;
mod base_url;
mod headers;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::SecretString;
use tokio::time::{Instant, sleep_until};

use super::redact::Secrets;
use super::upload::{Upload, UploadProgress};
use super::{ApiError, ApiErrorKind, Call, Delivery, Error};
use crate::batch::BatchBody;
use answer::CallContext;
use base_url::{base, is_loopback};

pub(super) use answer::Answer;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included. Ten seconds: a host that takes longer is down or misrouted.
    pub connect: Duration,
    /// Without a byte in either direction. Ten minutes, as in the vendor's own clients.
    pub idle: Duration,
    /// For a whole call with a small answer, such as a batch. Two minutes.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            call: Duration::from_secs(120),
        }
    }
}

const USER_AGENT: &str = concat!("rowmill/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 5;
/// Below the idle time of the usual front ends, so that a call rarely meets a connection that is
/// just being closed.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// One origin and how to speak to it.
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    secrets: Arc<Secrets>,
    timeouts: Timeouts,
}

/// One call to be sent.
pub(super) struct HttpCall<'a> {
    /// What is being done, for messages.
    pub(super) call: Call,
    pub(super) method: Method,
    /// Path below the base URL, with its slash in front, already encoded.
    pub(super) path: String,
    pub(super) query: Vec<(&'a str, String)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) payload: Payload,
}

/// What a call carries.
pub(super) enum Payload {
    None,
    Json(Bytes),
    Batch(Arc<dyn BatchBody>),
    /// A form with this content type.
    Form(HeaderValue, Arc<dyn BatchBody>),
}

impl Http {
    /// Makes a client for one base URL; `headers` go with every call, `secrets` are kept out of
    /// every message.
    pub(super) fn new(
        base_url: &str,
        headers: HeaderMap,
        secrets: Vec<SecretString>,
        timeouts: Timeouts,
    ) -> Result<Http, Error> {
        let base = base(base_url)?;
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .user_agent(USER_AGENT)
            .connect_timeout(timeouts.connect)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Nothing will be encrypted, so a machine without certificates must do.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(Error::Client)?;
        Ok(Http {
            client,
            base,
            headers,
            secrets: Arc::new(Secrets(secrets)),
            timeouts,
        })
    }

    /// Whether the calls stay on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Makes text of the other side fit for a message: no secrets, one line, not long.
    pub(super) fn clean(&self, text: &str) -> String {
        self.secrets.clean(text)
    }

    /// Sends a call, follows redirects within the origin, and gives back the answer whatever its
    /// status.
    pub(super) async fn send(&self, outgoing: &HttpCall<'_>) -> Result<Answer, ApiError> {
        let mut url = self.url(outgoing)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(outgoing, url.clone()).await?;
            let Some(next) = self.redirect(outgoing, &url, &answer)? else {
                return Ok(answer);
            };
            answer.whole();
            url = next;
        }
        let message = format!(
            "more than {MAX_REDIRECTS} redirects within {}",
            self.origin()
        );
        Err(ApiError::new(
            outgoing.call,
            ApiErrorKind::Redirect,
            message,
            Delivery::Refused,
        ))
    }

    fn url(&self, outgoing: &HttpCall<'_>) -> Result<Url, ApiError> {
        let text = format!(
            "{}{}",
            self.base.as_str().trim_end_matches('/'),
            outgoing.path
        );
        let mut url = Url::parse(&text).map_err(|e| {
            ApiError::new(
                outgoing.call,
                ApiErrorKind::Body,
                e.to_string(),
                Delivery::NotSent,
            )
        })?;
        if !outgoing.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&outgoing.query);
        }
        Ok(url)
    }

    async fn exchange(&self, outgoing: &HttpCall<'_>, url: Url) -> Result<Answer, ApiError> {
        let mut request = reqwest::Request::new(outgoing.method.clone(), url);
        *request.headers_mut() = self.headers.clone();
        for (name, value) in &outgoing.headers {
            // A header the user set for all calls stands.
            request
                .headers_mut()
                .entry(name)
                .or_insert_with(|| value.clone());
        }
        let progress = attach(&mut request, &outgoing.payload);
        let answer = unless_idle(
            self.client.execute(request),
            self.timeouts.idle,
            progress.as_deref(),
        )
        .await;
        let context = CallContext {
            call: outgoing.call,
            idle: self.timeouts.idle,
            secrets: Arc::clone(&self.secrets),
        };
        match answer {
            Ok(Ok(response)) => Ok(Answer {
                response,
                progress,
                context,
            }),
            Ok(Err(error)) => Err(context.lost(&error, progress.as_deref())),
            Err(IdleTooLong) => Err(context.idle(progress.as_deref())),
        }
    }

    /// Where an answer sends the call, if it does and may.
    fn redirect(
        &self,
        outgoing: &HttpCall<'_>,
        from: &Url,
        answer: &Answer,
    ) -> Result<Option<Url>, ApiError> {
        let status = answer.status();
        let keeps_method = matches!(status.as_u16(), 307 | 308);
        if !keeps_method && !matches!(status.as_u16(), 301..=303) {
            return Ok(None);
        }
        let Some(location) = answer.header(&header::LOCATION) else {
            return Ok(None);
        };
        let refuse = |message: String, delivery| {
            let error = ApiError::new(
                outgoing.call,
                ApiErrorKind::Redirect,
                self.clean(&message),
                delivery,
            );
            Err(ApiError {
                status: Some(status.as_u16()),
                ..error
            })
        };
        let Ok(mut next) = from.join(location) else {
            return refuse(
                "the answer redirects to something that is no URL".to_owned(),
                Delivery::Refused,
            );
        };
        if next.origin() != from.origin() {
            let (from, to) = (
                from.origin().ascii_serialization(),
                next.origin().ascii_serialization(),
            );
            return refuse(
                format!("{from} redirects to another origin, {to}, which is not followed"),
                Delivery::Refused,
            );
        }
        if outgoing.method != Method::GET && !keeps_method {
            // "See other" may mean that it has been done.
            return refuse(
                format!(
                    "{} redirects a {}, which is not followed",
                    self.origin(),
                    outgoing.method
                ),
                Delivery::Unknown,
            );
        }
        let _ = next.set_username("").and_then(|()| next.set_password(None));
        Ok(Some(next))
    }
}

/// Puts the payload on a request; the body of a batch is read again each time.
fn attach(request: &mut reqwest::Request, payload: &Payload) -> Option<Arc<UploadProgress>> {
    let json = HeaderValue::from_static("application/json");
    match payload {
        Payload::None => {
            if *request.method() == Method::POST {
                // Some front ends refuse a POST that does not say it has no body.
                request
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            None
        }
        Payload::Json(bytes) => {
            request.headers_mut().insert(header::CONTENT_TYPE, json);
            *request.body_mut() = Some(bytes.clone().into());
            None
        }
        Payload::Batch(body) => Some(stream(request, json, body)),
        Payload::Form(kind, body) => Some(stream(request, kind.clone(), body)),
    }
}

fn stream(
    request: &mut reqwest::Request,
    kind: HeaderValue,
    body: &Arc<dyn BatchBody>,
) -> Arc<UploadProgress> {
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    let (upload, progress) = Upload::start(Arc::clone(body));
    *request.body_mut() = Some(reqwest::Body::wrap(upload));
    progress
}

/// Nothing moved for too long.
struct IdleTooLong;

/// Waits for the answer as long as the body moves. (The client's own read timeout runs from the
/// start of the request, so a long upload would meet it.)
async fn unless_idle<T>(
    pending: impl Future<Output = T>,
    idle: Duration,
    progress: Option<&UploadProgress>,
) -> Result<T, IdleTooLong> {
    let mut pending = pin!(pending);
    let mut deadline = Instant::now() + idle;
    loop {
        tokio::select! {
            biased;
            answer = &mut pending => return Ok(answer),
            () = sleep_until(deadline) => match progress.map(|progress| progress.moved() + idle) {
                Some(later) if later > deadline => deadline = later,
                _ => return Err(IdleTooLong),
            },
        }
    }
}
