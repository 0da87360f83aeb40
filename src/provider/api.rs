//! The calls a provider answers.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};

use super::files::FileApi;
use super::{ApiError, BatchFormat, BatchId, Call, ModelInfo, Page, RemoteBatch};
use crate::batch::{BatchBody, Limits};

/// Bytes of a results file, as they arrive.
pub type ResultStream = Pin<Box<dyn Stream<Item = Result<Bytes, ApiError>> + Send>>;

/// Which of the optional calls a provider has. The others end with
/// [`ApiErrorKind::Unsupported`](super::ApiErrorKind::Unsupported), and nothing is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// [`BatchApi::delete`].
    pub delete: bool,
    /// [`BatchApi::message`].
    pub message: bool,
    /// [`BatchApi::count_tokens`].
    pub count_tokens: bool,
    /// [`BatchApi::models`].
    pub models: bool,
}

impl Capabilities {
    /// Whether the provider has a call. The calls of a file store are not asked for here: see
    /// [`BatchApi::file_store`].
    #[must_use]
    pub fn has(&self, call: Call) -> bool {
        match call {
            Call::Delete => self.delete,
            Call::Message => self.message,
            Call::CountTokens => self.count_tokens,
            Call::Models => self.models,
            Call::Create | Call::Retrieve | Call::List | Call::Results | Call::Cancel => true,
            Call::Upload | Call::Files => false,
        }
    }
}

/// A batch API. Calls are made once: what may be tried again, and when, is decided by the caller
/// with the policy of [`retry`](super::retry).
///
/// A provider has the first eight methods. The others are optional: one that it has is named in
/// [`BatchApi::capabilities`].
pub trait BatchApi: Send + Sync {
    /// The wire format: who writes the body of a create call, and who reads a result line.
    fn format(&self) -> &'static dyn BatchFormat;
    /// What one batch may hold. By default, what the format says.
    fn limits(&self) -> Limits {
        self.format().limits()
    }
    /// Where the calls go, without credentials; for messages and the journal.
    fn origin(&self) -> String;
    /// Creates a batch. There is no idempotency: see [`Delivery`](super::Delivery).
    fn create(&self, body: Arc<dyn BatchBody>) -> BoxFuture<'_, Result<RemoteBatch, ApiError>>;
    /// Gets a batch.
    fn retrieve<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>>;
    /// One page of all batches of the workspace, newest first; `limit` 1 to 1000, `after` from
    /// [`Page::last_id`].
    fn list<'a>(
        &'a self,
        limit: u32,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Page<RemoteBatch>, ApiError>>;
    /// The results of an ended batch, as raw bytes: lines in any order.
    fn results<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<ResultStream, ApiError>>;
    /// Asks for a batch to be canceled.
    fn cancel<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>>;

    /// Which of the calls below the provider has. By default, none.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    /// Deletes an ended batch and its results.
    fn delete<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<(), ApiError>> {
        let _ = id;
        unsupported(Call::Delete)
    }
    /// One request, answered at once and at full price: `params` as in a batch; the whole message
    /// as JSON.
    fn message<'a>(
        &'a self,
        params: &'a [u8],
    ) -> BoxFuture<'a, Result<serde_json::Value, ApiError>> {
        let _ = params;
        unsupported(Call::Message)
    }
    /// Counts the input tokens of a request, free of charge.
    fn count_tokens<'a>(&'a self, params: &'a [u8]) -> BoxFuture<'a, Result<u64, ApiError>> {
        let _ = params;
        unsupported(Call::CountTokens)
    }
    /// All models the provider lists, retired ones too.
    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ApiError>> {
        unsupported(Call::Models)
    }
    /// Whether the answers are made up, as those of the simulator are. May ask the other side.
    fn is_simulated(&self) -> BoxFuture<'_, bool> {
        std::future::ready(false).boxed()
    }
    /// The provider's file store, if it has one.
    fn file_store(&self) -> Option<&dyn FileApi> {
        None
    }
}

fn unsupported<'a, T: Send + 'a>(call: Call) -> BoxFuture<'a, Result<T, ApiError>> {
    std::future::ready(Err(ApiError::unsupported(call))).boxed()
}
