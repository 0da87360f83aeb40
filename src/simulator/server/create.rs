//! `POST /v1/messages/batches`: a body becomes a batch.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use tokio::sync::mpsc::{Receiver, channel};

use super::{RouteResult, betas, check_encoding, header_text};
use crate::simulator::SimState;
use crate::simulator::envelope::{BatchElement, MAX_BYTES, MAX_REQUESTS, SeenIds, Splitter};
use crate::simulator::middleware;
use crate::simulator::reply::ErrorReply;
use crate::simulator::store::{self, BatchRecord, QueueLoad, later};

pub(super) async fn create(
    State(sim): State<Arc<SimState>>,
    headers: HeaderMap,
    body: Body,
) -> RouteResult {
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

/// A part of a body that is sent to the thread that stores it. Without `End` nothing is accepted.
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

fn check_length(headers: &HeaderMap) -> Option<ErrorReply> {
    let length: u64 = headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    (length > MAX_BYTES).then(ErrorReply::too_large)
}
