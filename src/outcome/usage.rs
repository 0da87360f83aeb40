//! Tokens of one request by kind, as the provider counted them.
//!
//! An answer that was made in several steps (server-side compaction, an advisor, a model that
//! stepped in) lists them in `iterations`. The top-level fields of such an answer leave some of
//! them out, so the counts here are the **sums over the list**, which is what is billed;
//! [`Usage::iterations`] keeps the steps, since each has prices of its own. Without the list they
//! are the top-level fields.

use serde::{Deserialize, Serialize};

/// Tokens by kind, and uses of the provider's own tools. A kind the provider did not name is
/// `None`, which is not the same as 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that were neither written to nor read from a cache: *not* the size of the
    /// prompt.
    pub input_tokens: Option<u64>,
    /// Input tokens written to the five-minute cache.
    pub cache_creation_5m_input_tokens: Option<u64>,
    /// Input tokens written to the one-hour cache.
    pub cache_creation_1h_input_tokens: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read_input_tokens: Option<u64>,
    /// Output tokens, thinking included.
    pub output_tokens: Option<u64>,
    /// The part of the output tokens that was thinking, if the provider reports it.
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
    /// The steps that the counts are the sums of; empty where there was one step, by the model that
    /// answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iterations: Vec<Iteration>,
    /// Whether something that decides the price is there and cannot be read, or contradicts itself.
    /// What the request cost is then unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

/// One step of an answer that was made in several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iteration {
    /// The model whose prices hold; `None`: the model that answered.
    pub model: Option<String>,
    /// Tokens of the step.
    pub tokens: TokenCounts,
}

/// Tokens of one step, by what decides their price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in `Usage`")]
pub struct TokenCounts {
    pub input_tokens: Option<u64>,
    pub cache_creation_5m_input_tokens: Option<u64>,
    pub cache_creation_1h_input_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
}

impl Usage {
    /// Whether what the request cost follows from it: what is plain input and what is output was
    /// named, in every step, and all of it can be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let named = |input: Option<u64>, output: Option<u64>| input.is_some() && output.is_some();
        !self.unreadable
            && named(self.input_tokens, self.output_tokens)
            && self
                .iterations
                .iter()
                .all(|step| named(step.tokens.input_tokens, step.tokens.output_tokens))
    }

    /// The same with other counts of tokens, for one step of it.
    #[must_use]
    pub fn with_tokens(&self, tokens: TokenCounts) -> Usage {
        Usage {
            input_tokens: tokens.input_tokens,
            cache_creation_5m_input_tokens: tokens.cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens: tokens.cache_creation_1h_input_tokens,
            cache_read_input_tokens: tokens.cache_read_input_tokens,
            output_tokens: tokens.output_tokens,
            iterations: Vec::new(),
            ..self.clone()
        }
    }
}

impl TokenCounts {
    /// Adds another step, kind by kind: one that was never named stays unnamed.
    pub fn add(&mut self, more: TokenCounts) {
        for (sum, more) in [
            (&mut self.input_tokens, more.input_tokens),
            (
                &mut self.cache_creation_5m_input_tokens,
                more.cache_creation_5m_input_tokens,
            ),
            (
                &mut self.cache_creation_1h_input_tokens,
                more.cache_creation_1h_input_tokens,
            ),
            (
                &mut self.cache_read_input_tokens,
                more.cache_read_input_tokens,
            ),
            (&mut self.output_tokens, more.output_tokens),
        ] {
            if let Some(more) = more {
                *sum = Some(sum.map_or(more, |sum| sum.saturating_add(more)));
            }
        }
    }
}
