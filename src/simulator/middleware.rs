//! Runs around every call: faults on the wire, checks of headers, the request id, the log of calls.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::Value;

use super::connection::ConnectionBreaker;
use super::faults::{ApiCall, CallFault, FaultAction};
use super::reply::ErrorReply;
use super::{HEADER, SimState};

/// Longest time a call hangs.
const MAX_HANG: Duration = Duration::from_secs(600);
/// The foreign address where a fault names none: nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The faults of a results file, handed to its handler.
#[derive(Clone)]
pub(super) struct ResultFaults(pub(super) Vec<CallFault>);

/// A refusal is carried inside the response, since only the middleware knows the request id.
impl IntoResponse for ErrorReply {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

/// Wraps all routes of the API.
pub(super) async fn handle(
    State(sim): State<Arc<SimState>>,
    ConnectInfo(breaker): ConnectInfo<ConnectionBreaker>,
    request: Request,
    next: Next,
) -> Response<Body> {
    if request.uri().path().starts_with("/_sim/") {
        return next.run(request).await;
    }
    let call = ApiCall::of(request.method(), request.uri().path());
    let line = format!("{} {}", request.method(), request.uri().path());
    if sim.ends_batches_at_calls {
        sim.end_due_batches().await;
    }
    let request_id = sim.request_id();
    let faults = match call.map(|call| sim.faults.call(call)) {
        Some(Ok(faults)) => faults,
        Some(Err(cause)) => {
            return finish(
                &sim,
                ErrorReply::from(cause).answer(&request_id),
                &request_id,
                &line,
                call,
                &[],
            );
        }
        None => Vec::new(),
    };
    let call_faults = FaultyCall {
        sim: &sim,
        breaker,
        faults,
    };
    let response = call_faults.go(request, next, &request_id).await;
    finish(
        &sim,
        response,
        &request_id,
        &line,
        call,
        &call_faults.faults,
    )
}

fn finish(
    sim: &SimState,
    mut response: Response<Body>,
    id: &str,
    line: &str,
    call: Option<ApiCall>,
    faults: &[CallFault],
) -> Response<Body> {
    if let Some(refusal) = response.extensions_mut().remove::<ErrorReply>() {
        response = refusal.answer(id);
    }
    let status = response.status();
    let is_of_a_gateway = faults
        .iter()
        .any(|fault| fault.act == FaultAction::Status && fault.gateway);
    if is_of_a_gateway {
        *response.body_mut() =
            Body::from(format!("<html><head><title>{status}</title></head></html>"));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    if let (Ok(id), false) = (HeaderValue::try_from(id), is_of_a_gateway) {
        headers.insert("request-id", id);
    }
    headers.insert(HEADER, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    headers.insert(
        "anthropic-organization-id",
        HeaderValue::from_static("00000000-0000-4000-8000-000000000000"),
    );
    sim.log_call(line, call, response.status().as_u16(), id, faults);
    response
}

struct FaultyCall<'a> {
    sim: &'a SimState,
    breaker: ConnectionBreaker,
    faults: Vec<CallFault>,
}

impl FaultyCall<'_> {
    fn find(&self, act: FaultAction) -> Option<&CallFault> {
        self.faults.iter().find(|fault| fault.act == act)
    }

    async fn go(&self, mut request: Request, next: Next, request_id: &str) -> Response<Body> {
        if let Some(instead) = self.before(&mut request).await {
            return instead;
        }
        if let Err(refusal) = check_headers(request.headers()) {
            drain(std::mem::take(request.body_mut())).await;
            return refusal.answer(request_id);
        }
        request.extensions_mut().insert(ResultFaults(
            self.faults
                .iter()
                .filter(|f| is_of_results(f.act))
                .cloned()
                .collect(),
        ));
        let response = next.run(request).await;
        self.after(response).await
    }

    /// Faults that keep the call from being carried out.
    async fn before(&self, request: &mut Request) -> Option<Response<Body>> {
        let body = |request: &mut Request| std::mem::take(request.body_mut());
        if let Some(fault) = self.find(FaultAction::Status) {
            if !fault.early {
                drain(body(request)).await;
            }
            return Some(refusal_of(fault).into_response());
        }
        if let Some(fault) = self.find(FaultAction::Redirect) {
            drain(body(request)).await;
            return Some(redirect(fault, request.uri().path()));
        }
        if let Some(fault) = self.find(FaultAction::ResetDuring) {
            read_some(body(request), fault.at_byte.unwrap_or(1)).await;
            return Some(self.cut());
        }
        if self.find(FaultAction::ResetBefore).is_some() {
            drain(body(request)).await;
            return Some(self.cut());
        }
        if let Some(fault) = self.find(FaultAction::HangBefore) {
            drain(body(request)).await;
            self.wait(fault).await;
            return Some(self.cut());
        }
        None
    }

    /// Faults of the answer to a call that has been carried out.
    async fn after(&self, mut response: Response<Body>) -> Response<Body> {
        if let Some(fault) = self.find(FaultAction::Delay) {
            self.wait(fault).await;
        }
        if let Some(fault) = self.find(FaultAction::HangAfter) {
            self.wait(fault).await;
            return self.cut();
        }
        if self.find(FaultAction::ResetAfter).is_some() {
            return self.cut();
        }
        if let Some(fault) = self.find(FaultAction::ForeignResultsUrl) {
            let host = fault.url.as_deref().unwrap_or(NOWHERE).to_owned();
            response = edit(response, |object| move_results_url(object, &host)).await;
        }
        if let Some(fault) = self.find(FaultAction::UnknownStatus) {
            let word = fault.value.as_deref().unwrap_or("finalizing").to_owned();
            let set = |object: &mut Value| {
                if let Some(status) = object.get_mut("processing_status") {
                    *status = Value::String(word.clone());
                }
            };
            response = edit(response, set).await;
        }
        if let Some(fault) = self.find(FaultAction::BatchId) {
            let id = fault.value.as_deref().unwrap_or("../another").to_owned();
            response = edit(response, |object| object["id"] = Value::String(id.clone())).await;
        }
        if let Some(fault) = self.find(FaultAction::ContentType)
            && let Ok(kind) = HeaderValue::try_from(fault.value.as_deref().unwrap_or("text/html"))
        {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        match self.find(FaultAction::TruncatedJson) {
            Some(fault) => truncated(response, fault).await,
            None => response,
        }
    }

    fn cut(&self) -> Response<Body> {
        self.breaker.cut();
        Response::new(Body::empty())
    }

    /// Waits as long as the fault says, or until the server stops.
    async fn wait(&self, fault: &CallFault) {
        let seconds = fault.seconds.unwrap_or(30.0);
        let time = Duration::try_from_secs_f64(seconds.max(0.0))
            .unwrap_or(MAX_HANG)
            .min(MAX_HANG);
        let mut stopped = self.sim.stopped.clone();
        tokio::select! {
            () = (self.sim.sleep)(time) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

fn is_of_results(act: FaultAction) -> bool {
    matches!(
        act,
        FaultAction::Cut
            | FaultAction::DuplicateLine
            | FaultAction::MissingLine
            | FaultAction::ForeignLine
            | FaultAction::GarbageLine
            | FaultAction::HugeLine
            | FaultAction::Crlf
            | FaultAction::BlankLines
    )
}

/// Credentials are only asked for, never looked at.
fn check_headers(headers: &HeaderMap) -> Result<(), ErrorReply> {
    let sent = |name: &str| headers.get(name).is_some_and(|value| !value.is_empty());
    if !sent("x-api-key") && !sent("authorization") {
        return Err(ErrorReply::new(
            401,
            "authentication_error",
            "x-api-key header is required",
        ));
    }
    match headers.get("anthropic-version").map(HeaderValue::to_str) {
        None => Err(ErrorReply::invalid("anthropic-version: header is required")),
        Some(Ok("2023-06-01" | super::NEW_VERSION)) => Ok(()),
        Some(other) => {
            let version: String = other.unwrap_or("?").chars().take(40).collect();
            Err(ErrorReply::invalid(format!(
                "anthropic-version: \"{version}\" is not a valid version"
            )))
        }
    }
}

fn refusal_of(fault: &CallFault) -> ErrorReply {
    let status = fault.status.unwrap_or(500);
    let (kind, message) = match status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low"),
        403 => (
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        404 => ("not_found_error", "Not found"),
        409 => ("conflict_error", "Conflict"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => (
            "rate_limit_error",
            "This request would exceed your organization's rate limit.",
        ),
        504 => ("timeout_error", "The request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        400..500 => (
            "invalid_request_error",
            "The simulator was asked to refuse this call",
        ),
        _ => ("api_error", "Internal server error"),
    };
    let mut refusal = ErrorReply::new(
        status,
        fault.error_type.as_deref().unwrap_or(kind),
        fault.message.as_deref().unwrap_or(message),
    );
    if let Some(code) = &fault.error_code {
        refusal = refusal.code(code);
    }
    if let Some(after) = &fault.retry_after {
        refusal = refusal.header("retry-after", after);
    }
    if let Some(should) = fault.should_retry {
        refusal = refusal.header("x-should-retry", should.to_string());
    }
    refusal
}

fn redirect(fault: &CallFault, path: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = fault
        .status
        .and_then(|s| StatusCode::from_u16(s).ok())
        .unwrap_or(StatusCode::TEMPORARY_REDIRECT);
    let target = format!("{}{path}", fault.url.as_deref().unwrap_or(NOWHERE));
    if let Ok(target) = HeaderValue::try_from(target) {
        response.headers_mut().insert(header::LOCATION, target);
    }
    response
}

/// Reads a body to its end and forgets it, so that the answer finds a client that listens.
pub(super) async fn drain(body: Body) {
    drain_stream(&mut body.into_data_stream()).await;
}

pub(super) async fn drain_stream(body: &mut BodyDataStream) {
    while let Some(Ok(_)) = body.next().await {}
}

async fn read_some(body: Body, bytes: u64) {
    let mut stream = body.into_data_stream();
    let mut read = 0;
    while read < bytes {
        match stream.next().await {
            Some(Ok(piece)) => read += piece.len() as u64,
            _ => return,
        }
    }
}

/// Changes the batch, or each batch of a list, in an answer.
async fn edit(response: Response<Body>, change: impl Fn(&mut Value)) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    match value.get_mut("data").and_then(Value::as_array_mut) {
        Some(entries) => entries.iter_mut().for_each(&change),
        None => change(&mut value),
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(value.to_string()))
}

fn move_results_url(object: &mut Value, host: &str) {
    if let Some(Value::String(url)) = object.get_mut("results_url")
        && let Some(path) = url.find("/v1/")
    {
        *url = format!("{host}{}", &url[path..]);
    }
}

/// The first bytes of an answer: as if that were all, or with the announced length and a broken
/// connection.
async fn truncated(response: Response<Body>, fault: &CallFault) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let end = fault.at_byte.map_or(bytes.len() / 2, |at| {
        usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len())
    });
    let head = bytes.slice(..end);
    if !fault.abrupt {
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::from(head));
    }
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let pieces = futures_util::stream::iter([Ok(head)]).chain(futures_util::stream::once(async {
        // Real time, whatever the clock: what was sent before has to leave the socket before the
        // connection breaks, or the reset overtakes it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    }));
    Response::from_parts(parts, Body::from_stream(pieces))
}
