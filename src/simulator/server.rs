//! The routes.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::multipart::MultipartRejection;
use axum::extract::{DefaultBodyLimit, Extension, Multipart, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Router, response::IntoResponse};
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};

use super::SimState;
use super::envelope::{BatchElement, MAX_BYTES, MAX_REQUESTS, SeenIds, Splitter};
use super::files::MAX_FILE_BYTES;
use super::middleware::{self, ResultFaults};
use super::params::{CallContext, Endpoint};
use super::reply::{ErrorReply, json};
use super::store::{self, BatchObject, BatchRecord, PageQuery, QueueLoad, later};
use super::{SimLedger, is_new_version, models, process, results};

/// Most bytes in the body of a message or a count. Source: the provider's documentation, August
/// 2026.
const MAX_MESSAGE_BYTES: usize = 32_000_000;

type RouteResult = Result<Response<Body>, ErrorReply>;
type Pairs = Query<Vec<(String, String)>>;

/// All routes, behind the gate.
pub(super) fn routes(sim: Arc<SimState>) -> Router {
    Router::new()
        .route("/v1/messages/batches", post(create).get(list))
        .route("/v1/messages/batches/{id}", get(retrieve).delete(delete))
        .route("/v1/messages/batches/{id}/results", get(results))
        .route("/v1/messages/batches/{id}/cancel", post(cancel))
        .route("/v1/messages", post(message))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/files", post(upload).get(list_files))
        .route("/v1/files/{id}", get(file).delete(delete_file))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{id}", get(model))
        .route("/_sim/ledger", get(ledger))
        .fallback(async || ErrorReply::not_found("Not found"))
        .method_not_allowed_fallback(async || {
            ErrorReply::new(405, "invalid_request_error", "Method Not Allowed")
        })
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(sim.clone(), middleware::handle))
        .with_state(sim)
}

impl SimState {
    fn object(&self, record: &BatchRecord) -> Response<Body> {
        json(&BatchObject::of(record, &self.base_url, (self.clock)()))
    }
}

async fn create(State(sim): State<Arc<SimState>>, headers: HeaderMap, body: Body) -> RouteResult {
    if let Some(refusal) = check_encoding(&headers).or_else(|| check_length(&headers)) {
        middleware::drain(body).await;
        return Err(refusal);
    }
    let headers_sent = CreateHeaders {
        version: header_text(&headers, "anthropic-version"),
        betas: betas(&headers),
    };
    let (pieces, receiver) = channel(16);
    let receiving = {
        let sim = sim.clone();
        tokio::task::spawn_blocking(move || receive(&sim, receiver, headers_sent))
    };
    let mut stream = body.into_data_stream();
    let mut arrived = 0;
    loop {
        match stream.next().await {
            Some(Ok(piece)) => {
                arrived += piece.len() as u64;
                if arrived > MAX_BYTES {
                    middleware::drain_stream(&mut stream).await;
                    return Err(ErrorReply::too_large());
                }
                if pieces.send(BodyChunk::Bytes(piece)).await.is_err() {
                    // It was refused already; the rest is of no interest.
                    middleware::drain_stream(&mut stream).await;
                    break;
                }
            }
            Some(Err(_)) => {
                return Err(ErrorReply::invalid("The request body did not arrive whole"));
            }
            None => {
                // Fails only when the body was refused already.
                let _ = pieces.send(BodyChunk::End).await;
                break;
            }
        }
    }
    drop(pieces);
    let record = receiving.await.map_err(|e| ErrorReply::broken(&e))??;
    Ok(sim.object(&record))
}

/// A part of a body on its way to the thread that takes it in. Without `End` nothing is accepted.
enum BodyChunk {
    Bytes(Bytes),
    End,
}

/// What the headers of a create call say.
struct CreateHeaders {
    version: String,
    betas: Vec<String>,
}

/// Takes a body apart, keeps it, and accepts the batch: from then on it exists, whether or not
/// anyone hears of it.
fn receive(
    sim: &SimState,
    mut pieces: Receiver<BodyChunk>,
    headers_sent: CreateHeaders,
) -> Result<BatchRecord, ErrorReply> {
    let mut incoming = sim.store.incoming()?;
    let mut splitter = Splitter::new();
    let mut seen = SeenIds::default();
    loop {
        match pieces.blocking_recv() {
            Some(BodyChunk::Bytes(piece)) => {
                incoming.body(&piece);
                splitter.feed(&piece, &mut |bytes| {
                    let n = incoming.requests();
                    if n == MAX_REQUESTS {
                        let text = "requests: List should have at most 100000 items after \
                            validation, not 100001";
                        return Err(ErrorReply::invalid(text));
                    }
                    let element = BatchElement::parse(bytes, n)?;
                    seen.add(&element.custom_id, n)?;
                    Ok(incoming.push(bytes, &element)?)
                })?;
            }
            Some(BodyChunk::End) => break,
            None => return Err(ErrorReply::invalid("The request body did not arrive whole")),
        }
    }
    splitter.finish()?;
    let requests = incoming.requests();
    if requests == 0 {
        return Err(ErrorReply::invalid(
            "requests: List should have at least 1 item after validation, not 0",
        ));
    }
    sim.store.accept(
        incoming,
        |load| admit(sim, load, requests),
        |ordinal| new_batch(sim, ordinal, headers_sent),
    )
}

fn admit(sim: &SimState, load: QueueLoad, requests: u64) -> Result<(), ErrorReply> {
    if sim
        .faults
        .spend_cap_requests()
        .is_some_and(|cap| load.ever + requests > cap)
    {
        let text = "Your organization has reached its enforced monthly spend limit. Access returns \
            on the first of next month at 00:00 UTC.";
        return Err(
            ErrorReply::new(429, "rate_limit_error", text).code("enforced_spend_limit_reached")
        );
    }
    if load.queued + requests > sim.queue_limit {
        let text = format!(
            "This request would exceed the limit of {} batch requests in the processing queue ({} \
             are queued)",
            sim.queue_limit, load.queued
        );
        let wait = sim.processing.as_secs().clamp(1, 60);
        return Err(
            ErrorReply::new(429, "rate_limit_error", text).header("retry-after", wait.to_string())
        );
    }
    Ok(())
}

fn new_batch(sim: &SimState, ordinal: u64, headers_sent: CreateHeaders) -> store::NewBatch {
    let delays = sim.faults.batch(ordinal);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let created_at = (sim.clock)();
    let until = |after: f64| (after > 0.0).then(|| later(created_at, seconds(after)));
    store::NewBatch {
        created_at,
        version: headers_sent.version,
        betas: headers_sent.betas,
        processing: sim.processing.saturating_add(seconds(delays.extra_seconds)),
        canceling: sim.canceling,
        hidden_until: until(delays.hidden_seconds),
        unlisted_until: until(delays.unlisted_seconds),
    }
}

async fn retrieve(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    Ok(sim.object(&sim.store.get(&id, (sim.clock)())?))
}

async fn list(State(sim): State<Arc<SimState>>, Query(pairs): Pairs) -> RouteResult {
    let page = PageQuery {
        limit: limit(&pairs)?,
        after_id: value(&pairs, "after_id"),
        before_id: value(&pairs, "before_id"),
    };
    let now = (sim.clock)();
    let (records, has_more) = sim.store.page(&page, now)?;
    Ok(json(&json!({
        "data": records.iter().map(|record| BatchObject::of(record, &sim.base_url, now)).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": records.first().map(|record| &record.id),
        "last_id": records.last().map(|record| &record.id),
    })))
}

async fn results(
    State(sim): State<Arc<SimState>>,
    Path(id): Path<String>,
    Extension(faults): Extension<ResultFaults>,
) -> RouteResult {
    let now = (sim.clock)();
    let record = sim.store.get(&id, now)?;
    if record.ended_at.is_none() {
        return Err(ErrorReply::invalid(format!(
            "Batch {id} has not ended; its results are not available yet"
        )));
    }
    if record.archived_at(now).is_some() {
        return Err(ErrorReply::not_found(format!(
            "The results of batch {id} are no longer available"
        )));
    }
    let body = results::stream(sim.store.results_path(&id), faults.0).await?;
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-jsonl"),
    );
    Ok(response)
}

async fn cancel(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    Ok(sim.object(&sim.store.cancel(&id, (sim.clock)())?))
}

async fn delete(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    sim.store.delete(&id, (sim.clock)())?;
    Ok(json(&json!({"id": id, "type": "message_batch_deleted"})))
}

async fn message(State(sim): State<Arc<SimState>>, headers: HeaderMap, body: Body) -> RouteResult {
    let params = read_params(&headers, body).await?;
    let betas = betas(&headers);
    let context = message_context(&headers, &betas, Endpoint::Message);
    let mut reader = sim.reader.lock().unwrap_or_else(PoisonError::into_inner);
    let message = process::message(&sim, &mut reader, &params, context)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], message).into_response())
}

async fn count_tokens(
    State(sim): State<Arc<SimState>>,
    headers: HeaderMap,
    body: Body,
) -> RouteResult {
    let params = read_params(&headers, body).await?;
    let betas = betas(&headers);
    let context = message_context(&headers, &betas, Endpoint::CountTokens);
    let mut reader = sim.reader.lock().unwrap_or_else(PoisonError::into_inner);
    let request = reader.read(&params, context)?;
    Ok(json(&json!({"input_tokens": request.row.input_tokens})))
}

async fn read_params(headers: &HeaderMap, body: Body) -> Result<String, ErrorReply> {
    if let Some(refusal) = check_encoding(headers) {
        middleware::drain(body).await;
        return Err(refusal);
    }
    let bytes = to_bytes(body, MAX_MESSAGE_BYTES)
        .await
        .map_err(|_| ErrorReply::too_large())?;
    String::from_utf8(bytes.into())
        .map_err(|_| ErrorReply::invalid("The request body is not valid JSON: it is not UTF-8"))
}

async fn list_models(State(sim): State<Arc<SimState>>, Query(pairs): Pairs) -> RouteResult {
    let lifecycle: Vec<String> = pairs
        .iter()
        .filter(|(key, _)| key.trim_end_matches("[]") == "lifecycle")
        .map(|(_, value)| value.clone())
        .collect();
    if let Some(odd) = lifecycle
        .iter()
        .find(|stage| !["active", "deprecated", "retired"].contains(&stage.as_str()))
    {
        let short: String = odd.chars().take(40).collect();
        return Err(ErrorReply::invalid(format!(
            "lifecycle: `{short}` is not one of 'active', 'deprecated', 'retired'"
        )));
    }
    let wanted = models::ModelsQuery {
        limit: limit(&pairs)?,
        after_id: value(&pairs, "after_id"),
        before_id: value(&pairs, "before_id"),
        lifecycle,
    };
    Ok(json(&models::page(&sim.catalog, &wanted)?))
}

async fn model(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    Ok(json(&models::one(&sim.catalog, &id)?))
}

/// Takes a file in; the form's parts may come in any order.
async fn upload(
    State(sim): State<Arc<SimState>>,
    form: Result<Multipart, MultipartRejection>,
) -> RouteResult {
    let bad =
        |what: &str| ErrorReply::invalid(format!("The request body is not a valid form: {what}"));
    let mut form = form.map_err(|_| bad("its content type is not multipart/form-data"))?;
    let (mut file, mut life) = (None, None);
    while let Some(part) = form.next_field().await.map_err(|e| bad(&e.body_text()))? {
        match part.name() {
            Some("file") => {
                let name = part.file_name().unwrap_or_default().to_owned();
                let kind = part.content_type().map(str::to_owned);
                let bytes = part.bytes().await.map_err(|e| bad(&e.body_text()))?;
                if bytes.len() > MAX_FILE_BYTES {
                    return Err(ErrorReply::too_large());
                }
                file = Some((name, kind, bytes));
            }
            Some("expires_in_seconds") => {
                let text = part.text().await.map_err(|e| bad(&e.body_text()))?;
                let seconds = text.trim().parse().map_err(|_| {
                    ErrorReply::invalid("expires_in_seconds: Input should be a valid integer")
                })?;
                life = Some(seconds);
            }
            other => {
                let name: String = other.unwrap_or_default().chars().take(40).collect();
                return Err(ErrorReply::invalid(format!(
                    "{name}: Extra inputs are not permitted"
                )));
            }
        }
    }
    let (name, kind, bytes) = file.ok_or_else(|| ErrorReply::invalid("file: Field required"))?;
    let added =
        tokio::task::spawn_blocking(move || sim.files.add(&name, kind.as_deref(), &bytes, life))
            .await;
    Ok(json(&added.map_err(|e| ErrorReply::broken(&e))??))
}

async fn list_files(State(sim): State<Arc<SimState>>, Query(pairs): Pairs) -> RouteResult {
    let named = |key: &str| key.trim_end_matches("[]") == "ids";
    let ids: Vec<String> = pairs
        .iter()
        .filter(|(key, _)| named(key))
        .flat_map(|(_, ids)| ids.split(',').map(str::to_owned))
        .collect();
    Ok(json(&sim.files.list(
        &ids,
        limit(&pairs)?,
        value(&pairs, "page").as_deref(),
    )?))
}

async fn file(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    Ok(json(&sim.files.one(&id)?))
}

async fn delete_file(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    Ok(json(&sim.files.delete(&id)?))
}

/// Not of the API: what was accepted, for tests.
async fn ledger(State(sim): State<Arc<SimState>>) -> RouteResult {
    let ledger = SimLedger::read(sim.store.folder()).map_err(|e| ErrorReply::broken(&e))?;
    Ok(json(
        &json!({"batches": ledger.batches, "calls": sim.call_counts()}),
    ))
}

fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs
        .iter()
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.clone())
}

fn limit(pairs: &[(String, String)]) -> Result<usize, ErrorReply> {
    let Some(text) = value(pairs, "limit") else {
        return Ok(20);
    };
    match text.parse::<i64>() {
        Ok(n) if n < 1 => Err(ErrorReply::invalid(
            "limit: Input should be greater than or equal to 1",
        )),
        Ok(n) if n > 1_000 => Err(ErrorReply::invalid(
            "limit: Input should be less than or equal to 1000",
        )),
        Ok(n) => Ok(usize::try_from(n).unwrap_or(1_000)),
        Err(_) => Err(ErrorReply::invalid(
            "limit: Input should be a valid integer",
        )),
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn betas(headers: &HeaderMap) -> Vec<String> {
    let lines = headers
        .get_all("anthropic-beta")
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|beta| beta.trim().to_owned())
        .filter(|beta| !beta.is_empty())
        .collect()
}

fn message_context<'b>(
    headers: &HeaderMap,
    betas: &'b [String],
    endpoint: Endpoint,
) -> CallContext<'b> {
    CallContext {
        endpoint,
        new_version: is_new_version(&header_text(headers, "anthropic-version")),
        betas,
    }
}

fn check_length(headers: &HeaderMap) -> Option<ErrorReply> {
    let length: u64 = headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    (length > MAX_BYTES).then(ErrorReply::too_large)
}

/// Compressed bodies are not taken: whether the API takes them for batches is not documented.
fn check_encoding(headers: &HeaderMap) -> Option<ErrorReply> {
    let encoding = headers
        .get(header::CONTENT_ENCODING)?
        .to_str()
        .unwrap_or("?");
    let short: String = encoding.chars().take(40).collect();
    (encoding != "identity").then(|| {
        ErrorReply::invalid(format!("content-encoding: `{short}` is not supported"))
            .code("request_body_encoding_unsupported")
    })
}
