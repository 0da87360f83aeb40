//! Connection, headers, redirects, timeouts: HTTP as every provider here speaks it.
//!
//! HTTP/1.1 over rustls, because the flow control of HTTP/2 makes bodies of this size several times
//! slower. Proxies are taken from the environment, but never for this machine. A call is sent once;
//! a redirect within the origin is followed with a body made anew.
//!
//! There is no limit on the whole of a bulk call. What ends one is silence: no byte handed out and
//! none received for [`Timeouts::idle`].

use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::redact::{SecretFilter, redact};
use super::upload::{Upload, UploadProgress};
use super::{ApiError, ApiErrorKind, Call, Delivery, Error, ResultStream};
use crate::batch::BatchBody;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included. Ten seconds: a host that takes longer is down or misrouted.
    pub connect: Duration,
    /// Without a byte in either direction. Ten minutes, as in the vendor's own clients.
    pub idle: Duration,
    /// For a whole call with a small answer, such as a look at a batch. Two minutes.
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
/// Longest answer that is read into memory; a list of 1000 batches has less than one megabyte.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// What is read of the body of an error.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Longest message kept of what another side says.
const MAX_MESSAGE_CHARS: usize = 300;

/// One origin and how to speak to it.
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    secrets: Arc<Secrets>,
    timeouts: Timeouts,
}

/// One call to be sent.
pub(super) struct Outgoing<'a> {
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
    pub(super) async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Answer, ApiError> {
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

    fn url(&self, outgoing: &Outgoing<'_>) -> Result<Url, ApiError> {
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

    async fn exchange(&self, outgoing: &Outgoing<'_>, url: Url) -> Result<Answer, ApiError> {
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
        let wire = Wire {
            call: outgoing.call,
            idle: self.timeouts.idle,
            secrets: Arc::clone(&self.secrets),
        };
        match answer {
            Ok(Ok(response)) => Ok(Answer {
                response,
                progress,
                wire,
            }),
            Ok(Err(error)) => Err(wire.lost(&error, progress.as_deref())),
            Err(Idle) => Err(wire.idle(progress.as_deref())),
        }
    }

    /// Where an answer sends the call, if it does and may.
    fn redirect(
        &self,
        outgoing: &Outgoing<'_>,
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

/// Puts the payload on a request; the body of a batch is made anew each time.
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

struct Idle;

/// Waits for the answer as long as the body moves. (The client's own read timeout runs from the
/// start of the request, so a long upload would meet it.)
async fn unless_idle<T>(
    pending: impl Future<Output = T>,
    idle: Duration,
    progress: Option<&UploadProgress>,
) -> Result<T, Idle> {
    let mut pending = pin!(pending);
    let mut deadline = Instant::now() + idle;
    loop {
        tokio::select! {
            biased;
            answer = &mut pending => return Ok(answer),
            () = sleep_until(deadline) => match progress.map(|progress| progress.moved() + idle) {
                Some(later) if later > deadline => deadline = later,
                _ => return Err(Idle),
            },
        }
    }
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    response: reqwest::Response,
    progress: Option<Arc<UploadProgress>>,
    wire: Wire,
}

/// What an answer says of itself in its headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) should_retry: Option<bool>,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(super) fn facts(&self) -> Facts {
        facts(self.response.headers(), &self.wire.secrets)
    }

    /// Whether the whole request had left; if not, the rest never will.
    pub(super) fn whole(&self) -> bool {
        self.progress
            .as_ref()
            .is_none_or(|progress| progress.stop())
    }

    /// Reads the body of a good answer.
    pub(super) async fn body(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            if bytes.len() + piece.len() > MAX_ANSWER_BYTES {
                let message = format!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
                return Err(ApiError::new(
                    self.wire.call,
                    ApiErrorKind::Unreadable,
                    message,
                    Delivery::Unknown,
                ));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Reads what can be had of the body of an error in this time.
    pub(super) async fn error_body(&mut self, within: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        let deadline = Instant::now() + within;
        while bytes.len() < MAX_ERROR_BYTES
            && let Ok(Ok(Some(piece))) = timeout_at(deadline, self.piece()).await
        {
            bytes.extend_from_slice(&piece);
        }
        bytes.truncate(MAX_ERROR_BYTES);
        bytes
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        match timeout(self.wire.idle, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(self.wire.lost(&error, None)),
            Err(_) => Err(self.wire.idle(None)),
        }
    }

    /// The body as it comes, but for secrets, which [`SecretFilter`] replaces. An error ends the
    /// stream; an end without error is where the other side said it would be.
    pub(super) fn stream(self) -> ResultStream {
        let Answer { response, wire, .. } = self;
        let filter = SecretFilter::of(&wire.secrets);
        let state = Some((response.bytes_stream(), wire, filter));
        futures_util::stream::unfold(state, |state| async {
            let (mut pieces, wire, mut filter) = state?;
            let item = match timeout(wire.idle, pieces.next()).await {
                Ok(None) => {
                    return Some((Ok(filter.rest()), None))
                        .filter(|(rest, _)| !matches!(rest, Ok(rest) if rest.is_empty()));
                }
                Ok(Some(Ok(piece))) => {
                    let piece = filter.pass(piece);
                    return Some((Ok(piece), Some((pieces, wire, filter))));
                }
                Ok(Some(Err(error))) => wire.lost(&error, None),
                Err(_) => wire.idle(None),
            };
            Some((Err(item), None))
        })
        .boxed()
    }
}

/// Turns faults of the connection into errors.
struct Wire {
    call: Call,
    idle: Duration,
    secrets: Arc<Secrets>,
}

impl Wire {
    fn lost(&self, error: &reqwest::Error, progress: Option<&UploadProgress>) -> ApiError {
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

    fn idle(&self, progress: Option<&UploadProgress>) -> ApiError {
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

/// Checks a base URL; a path in front of the API's own is kept.
fn base(text: &str) -> Result<Url, Error> {
    let fail = |reason: String| Err(Error::BaseUrl { reason });
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(error) => return fail(format!("it is not a URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return fail(format!(
            "it begins with `{}:` instead of `https:`",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fail("it holds a user name or a password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return fail("it holds a `?` or a `#`".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Error::PlainHttp {
            host: url.host_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(url)
}

/// Whether a URL names this machine: 127.0.0.0/8, ::1 or `localhost`.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// What must not stand in any message.
pub(super) struct Secrets(pub(super) Vec<SecretString>);

impl Secrets {
    fn clean(&self, text: &str) -> String {
        let cleaned = self.0.iter().fold(text.to_owned(), |text, secret| {
            redact(text, secret.expose_secret())
        });
        one_line(&cleaned)
    }
}

/// Cuts a text to one line of at most 300 characters, without control characters.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        let _ = write!(line, "{}{word}", if line.is_empty() { "" } else { " " });
        if line.len() > 4 * MAX_MESSAGE_CHARS {
            break;
        }
    }
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn facts(headers: &HeaderMap, secrets: &Secrets) -> Facts {
    let word = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    Facts {
        request_id: word("request-id").map(|id| secrets.clean(id)),
        retry_after: retry_after(word("retry-after-ms"), word("retry-after"), word("date")),
        should_retry: match word("x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        },
    }
}

/// How long to wait: milliseconds, else seconds, else a date, which is measured against the other
/// side's own clock. More than can be counted is as long as can be, less than nothing says nothing.
fn retry_after(millis: Option<&str>, after: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let seconds = |seconds: f64| match Duration::try_from_secs_f64(seconds) {
        Ok(wait) => Some(wait),
        Err(_) => (seconds > 0.0).then_some(Duration::MAX),
    };
    if let Some(millis) = millis.and_then(|text| text.parse::<f64>().ok()) {
        return seconds(millis / 1000.0);
    }
    let after = after?;
    if let Ok(number) = after.parse::<f64>() {
        return seconds(number);
    }
    let wait = instant(after)?.duration_since(instant(date?)?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// A date as HTTP writes it (three ways, of which two are old), or as everything else does.
fn instant(text: &str) -> Option<jiff::Timestamp> {
    const OLD: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let modern = || Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    let old = || {
        let time = OLD
            .iter()
            .find_map(|form| jiff::civil::DateTime::strptime(form, text).ok())?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    modern().or_else(old).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_base_urls_that_keep_the_key_safe() {
        for (text, kept) in [
            ("https://api.anthropic.com", "https://api.anthropic.com/"),
            (
                " https://gateway.example/anthropic/ ",
                "https://gateway.example/anthropic/",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://127.255.3.4", "http://127.255.3.4/"),
            ("http://[::1]:9", "http://[::1]:9/"),
            ("http://localhost:1/x", "http://localhost:1/x"),
        ] {
            assert_eq!(base(text).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn refuses_base_urls_that_would_give_the_key_away() {
        for (text, said) in [
            ("api.anthropic.com", "not a URL"),
            ("", "not a URL"),
            ("ftp://api.anthropic.com", "begins with `ftp:`"),
            ("https://user:hunter2@host", "user name or a password"),
            ("https://host/?key=hunter2", "holds a `?`"),
            ("https://host/#x", "holds a `?` or a `#`"),
            (
                "http://api.anthropic.com",
                "plain http to `api.anthropic.com`",
            ),
            ("http://128.0.0.1", "plain http to `128.0.0.1`"),
            ("http://localhost.example", "plain http"),
            ("http://127.0.0.1.example", "plain http"),
            ("http://[::2]", "plain http"),
            ("http://0.0.0.0", "plain http"),
        ] {
            let error = base(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn reads_how_long_to_wait() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (millis, after, expected) in [
            (None, Some("2"), Some(2.0)),
            (None, Some("1.5"), Some(1.5)),
            (None, Some("0"), Some(0.0)),
            (Some("250"), Some("9"), Some(0.25)),
            (None, Some("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30.0)),
            (None, Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0.0)),
            (None, Some("-1"), None),
            (None, Some("soon"), None),
            (None, Some("NaN"), None),
            (None, Some("-0.5"), None),
            (Some("-3"), Some("9"), None),
            (None, Some("Sunday, 06-Nov-94 08:50:07 GMT"), Some(30.0)),
            (None, Some("Sun Nov  6 08:50:07 1994"), Some(30.0)),
            (None, Some("1994-11-06T08:50:07Z"), Some(30.0)),
            (None, None, None),
        ] {
            assert_eq!(
                retry_after(millis, after, date),
                expected.map(Duration::from_secs_f64),
                "{millis:?} {after:?}"
            );
        }
        assert_eq!(retry_after(None, date, None), None);
        for endless in ["1e300", "inf", "99999999999999999999999"] {
            assert_eq!(
                retry_after(None, Some(endless), None),
                Some(Duration::MAX),
                "{endless}"
            );
        }
    }

    #[test]
    fn makes_one_line_of_any_text() {
        assert_eq!(one_line(" a\r\n\u{1b}[31mb\u{2028}c "), "a [31mb c");
        let long = one_line(&"ü".repeat(5000));
        assert_eq!(long.chars().count(), 301);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn redacts_before_it_cuts() {
        let secrets = Secrets(vec![SecretString::from("sk-ant-0123456789")]);
        let text = format!("{} sk-ant-0123456789 is wrong", "x".repeat(290));
        let clean = secrets.clean(&text);
        assert!(!clean.contains("sk-a"), "{clean}");
    }
}
