//! The routes.

mod create;
mod files;

use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;

use self::create::create;
use self::files::{delete_file, file, list_files, upload};
use super::middleware::{self, ResultFaults};
use super::params::{CallContext, Endpoint};
use super::reply::{ErrorReply, json};
use super::store::{BatchObject, BatchRecord, PageQuery};
use super::{SimLedger, SimState, is_new_version, models, process, results};

/// Most bytes in the body of a message or a count. Source: the provider's documentation, August
/// 2026.
const MAX_MESSAGE_BYTES: usize = 32_000_000;

type RouteResult = Result<Response<Body>, ErrorReply>;

type Pairs = Query<Vec<(String, String)>>;

/// All routes, behind the middleware.
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

/// Compressed bodies are refused: whether the API accepts them for batches is not documented.
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
