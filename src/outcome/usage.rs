//! Tokens of one request by kind, as the provider counted them.

use serde::{Deserialize, Serialize};

/// Tokens by kind, and uses of the provider's own tools. The list `iterations`, which some answers carry, is not read: it splits up what is
/// counted here. A kind the provider did not name is `None`, which is not the same as 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that were neither written to nor read from a cache: *not* the size of the prompt.
    pub input_tokens: Option<u64>,
    /// Input tokens written to the five-minute cache.
    pub cache_creation_5m_input_tokens: Option<u64>,
    /// Input tokens written to the one-hour cache.
    pub cache_creation_1h_input_tokens: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read_input_tokens: Option<u64>,
    /// Output tokens, thinking included.
    pub output_tokens: Option<u64>,
    /// The part of the output tokens that was thinking.
    pub thinking_tokens: Option<u64>,
    /// `batch`, `standard` or `priority`.
    pub service_tier: Option<String>,
    /// Where the request ran, which may raise the price.
    pub inference_geo: Option<String>,
    /// Web searches made by the provider's own tool.
    pub web_search_requests: Option<u64>,
    /// Pages fetched by the provider's own tool.
    #[serde(default)]
    pub web_fetch_requests: Option<u64>,
    /// Runs of the provider's code execution tool.
    #[serde(default)]
    pub code_execution_requests: Option<u64>,
}
