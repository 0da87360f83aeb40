//! The models: what each can do, what it costs, how long it lives.
//!
//! One dated table in the binary, `catalog.toml`, read from the provider's documentation; a user's file of the same form overrides
//! it model by model. Money stands as written, in US dollars per million tokens, and is read as exact decimals.
//!
//! To add a model: an entry in `catalog.toml`. To add a fact about models: a field here, with its source in the table's head.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The table of all models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The day the table was last compared with its sources.
    pub date: jiff::civil::Date,
    /// Models by id.
    pub models: BTreeMap<String, Model>,
}

/// One model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Other ids that mean the same model.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Most tokens of a prompt.
    pub context_tokens: u64,
    /// Most tokens of an answer.
    pub max_output_tokens: u64,
    /// Most tokens of an answer in a batch with the extended-output beta; absent where there is none.
    #[serde(default)]
    pub max_batch_output_tokens: Option<u64>,
    /// Shortest prefix that is cached at all, in tokens; a shorter one is silently not cached.
    pub min_cache_tokens: u64,
    /// Which tokenizer counts: the newer one makes about 30 % more tokens of the same text.
    pub tokenizer: Tokenizer,
    /// How it thinks.
    pub thinking: Thinking,
    /// Levels of effort it takes; empty where the parameter is refused.
    #[serde(default)]
    pub effort: Vec<String>,
    /// Whether `temperature`, `top_p` and `top_k` may be sent (under API version 2023-06-01 only).
    #[serde(default)]
    pub sampling: bool,
    /// Whether a trailing assistant turn (prefill) is taken.
    #[serde(default)]
    pub prefill: bool,
    /// Whether a forced tool (`tool_choice` `any` or `tool`) is taken.
    #[serde(default)]
    pub forced_tools: bool,
    /// Whether `output_config.format` is taken.
    #[serde(default)]
    pub structured_output: bool,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// The day after which calls fail, or the earliest such day.
    #[serde(default)]
    pub retires: Option<jiff::civil::Date>,
    /// The model to go to instead.
    #[serde(default)]
    pub successor: Option<String>,
}

/// A generation of tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// Models up to 4.6, and Haiku 4.5.
    First,
    /// Models from 4.7 on.
    Second,
}

/// How a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Only with `type: "enabled"` and a budget.
    Extended,
    /// Off unless `adaptive` is asked for.
    AdaptiveOptional,
    /// On unless disabled.
    AdaptiveDefault,
    /// Always on; thinking counts against `max_tokens`.
    Always,
}

/// Where a model is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// In service.
    Active,
    /// In service, with a successor.
    Legacy,
    /// In service until a day that is set.
    Deprecated,
    /// Calls fail.
    Retired,
}

impl Catalog {
    /// The table in the binary.
    #[must_use]
    pub fn builtin() -> &'static Catalog {
        static TABLE: OnceLock<Catalog> = OnceLock::new();
        TABLE.get_or_init(|| toml::from_str(include_str!("catalog.toml")).expect("the built-in catalog parses"))
    }

    /// The model of this id or alias, with its own id.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<(&str, &Model)> {
        if let Some((id, model)) = self.models.get_key_value(id) {
            return Some((id.as_str(), model));
        }
        self.models
            .iter()
            .find(|(_, model)| model.aliases.iter().any(|alias| alias == id))
            .map(|(id, model)| (id.as_str(), model))
    }
}
