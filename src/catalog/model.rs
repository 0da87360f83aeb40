//! The facts about one model.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Prices;

/// One model in service.
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
    /// Most tokens of an answer in a batch with the extended-output beta; absent where there is
    /// none.
    #[serde(default)]
    pub max_batch_output_tokens: Option<u64>,
    /// Shortest prefix that is cached at all, in tokens; a shorter one is silently not cached.
    pub min_cache_tokens: u64,
    /// Which tokenizer counts: the newer one makes about 30% more tokens of the same text.
    pub tokenizer: Tokenizer,
    /// How it thinks.
    pub thinking: Thinking,
    /// Values of `thinking.type` that are answered with a 400. One that is not listed is not
    /// promised to be taken.
    #[serde(default)]
    pub thinking_refused: Vec<String>,
    /// Whether `thinking.type = "between_tools"` is known to be taken, which leaves out the
    /// thinking before the answer.
    #[serde(default)]
    pub between_tools: bool,
    /// Levels of effort at which thinking may be off, or `between_tools`; empty where that depends
    /// on no level, or where it cannot be off.
    #[serde(default)]
    pub thinking_off_effort: Vec<String>,
    /// Levels of effort it takes; empty where the parameter is refused.
    #[serde(default)]
    pub effort: Vec<String>,
    /// Whether `temperature`, `top_p` and `top_k` may be sent (under API version 2023-06-01 only).
    #[serde(default)]
    pub sampling: bool,
    /// Whether a trailing assistant turn (prefill) is taken.
    #[serde(default)]
    pub prefill: bool,
    /// Whether a message of the role `system` is taken behind a user turn.
    #[serde(default)]
    pub system_messages: bool,
    /// Types of tools that are answered with a 400, such as `computer_20251124`.
    #[serde(default)]
    pub tools_refused: Vec<String>,
    /// The only models that may advise it; empty where others may.
    #[serde(default)]
    pub advisors: Vec<String>,
    /// Models that may not advise it.
    #[serde(default)]
    pub advisors_refused: Vec<String>,
    /// Whether a forced tool (`tool_choice` `any` or `tool`) is taken.
    #[serde(default)]
    pub forced_tools: bool,
    /// What tools add to a prompt besides their definitions: a system prompt of the provider's own.
    /// Absent where it was not read.
    #[serde(default)]
    pub tool_prompt_tokens: Option<ToolPromptTokens>,
    /// Whether `output_config.format` is taken.
    #[serde(default)]
    pub structured_output: bool,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// The last day calls are promised to work where the end is set; otherwise the earliest day it
    /// may retire.
    #[serde(default)]
    pub retires: Option<Date>,
    /// The model to go to instead.
    #[serde(default)]
    pub successor: Option<String>,
    /// What it costs; `None` where that is not known.
    #[serde(default)]
    pub prices: Option<Prices>,
}

/// A model whose calls fail: only its end is kept, and its prices, so that an old run can still be
/// priced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Other ids that meant the same model.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The day it went.
    #[serde(default)]
    pub retires: Option<Date>,
    /// The model to go to instead.
    #[serde(default)]
    pub successor: Option<String>,
    /// What it cost; `None` where that is not known.
    #[serde(default)]
    pub prices: Option<Prices>,
}

/// The length of the system prompt that tools bring along, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolPromptTokens {
    /// Where the model may choose: `tool_choice` is `auto`, `none` or absent.
    pub auto: u64,
    /// Where it is forced to call one: `any` or `tool`.
    pub any: u64,
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

impl Lifecycle {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Active => "active",
            Lifecycle::Legacy => "legacy",
            Lifecycle::Deprecated => "deprecated",
            Lifecycle::Retired => "retired",
        }
    }
}

impl Model {
    /// Whether the day that was set for its end has passed, and it is still in service as far as
    /// the table knows. A date alone retires nothing, since ends are put off: the stage of its life
    /// decides, which is what the provider's own list of models says.
    #[must_use]
    pub fn is_overdue(&self, today: Date) -> bool {
        self.lifecycle == Lifecycle::Deprecated && self.retires.is_some_and(|day| day < today)
    }
}
