//! The calls of the Message Batches API, and the ones about messages and models.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{self, HeaderValue};
use serde_json::{Map, Value};

use super::{Anthropic, FORMAT, wire};
use crate::batch::{BatchBody, Limits};
use crate::durable;
use crate::provider::files::FileApi;
use crate::provider::http::Payload;
use crate::provider::{
    ApiError, ApiErrorKind, BatchApi, BatchFormat, BatchId, Call, Capabilities, Delivery,
    ModelInfo, Page, RemoteBatch, ResultStream,
};

const BATCHES: &str = "/v1/messages/batches";
/// Models of these stages are listed; retired ones only on request.
const LIFECYCLES: [&str; 3] = ["active", "deprecated", "retired"];
/// More tokens than a request can have: a thousand times the largest context window.
const MAX_COUNTED_TOKENS: u64 = 1_000_000_000;
/// Models on one page; more than there are.
const MODELS_A_PAGE: u32 = 1000;
const MAX_MODEL_PAGES: usize = 20;

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
        self.is_simulator().boxed()
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
                Self::http_call(Call::Cancel, Method::POST, path, Payload::None),
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
            let outgoing = Self::http_call(Call::Delete, Method::DELETE, path, Payload::None);
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
