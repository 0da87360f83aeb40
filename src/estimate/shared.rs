//! What all requests have in common, as far as it costs tokens.

use serde::Serialize;
use serde_json::Value;

use crate::template::prompt::CacheTtl;

/// Tokens that a request costs beside its messages. **Source**: an assumption; a request of one
/// short word is counted as seven or eight tokens.
pub(crate) const PER_REQUEST: u64 = 3;
/// Tokens that a message costs beside its text. **Source**: as [`PER_REQUEST`].
pub(crate) const PER_MESSAGE: u64 = 4;
/// How often a request is expected to use a tool of the provider's that nothing limits, in the
/// worst case. **Source**: none is published; an assumption for questions of the size of a row.
/// `max_uses` in the job replaces it.
pub(crate) const UNLIMITED_USES: u64 = 5;
/// Tokens that one use of such a tool is expected to put into the prompt, in the worst case.
/// **Source**: as [`UNLIMITED_USES`]; a page of results or a long article. `max_content_tokens` in
/// the job replaces it.
pub(crate) const FOUND_TOKENS: u64 = 10_000;
/// Tokens of one piece of advice, its thinking included, in the worst case. **Source**: none is
/// published; an assumption. `max_tokens` of the advisor replaces it.
pub(crate) const ADVICE_TOKENS: u64 = 2_000;
/// Tokens of the summary that a compaction writes. **Source**: the documentation's own example,
/// 3,500.
pub(crate) const SUMMARY_TOKENS: u64 = 3_500;
/// The shared part of every request of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Tokens of all of it, by the constants.
    pub(crate) tokens: u64,
    /// Its parts, in the order in which the model reads them.
    pub(crate) parts: Vec<SharedPart>,
    /// Upper bound of its tokens.
    pub(crate) worst_case: u64,
    /// Tokens up to the last mark of one hour, then those from there to the last mark of five
    /// minutes; none where the model caches nothing so short.
    pub(crate) marked: MarkedTokens,
    /// Whether there are marks that have no effect, because what they cover is too short.
    pub(crate) too_short: bool,
    /// How long what each request writes at its end lives: the mark that all requests have behind
    /// the row's own text, where there is one.
    pub(crate) each_writes: Option<CacheTtl>,
    /// Where inference is bound to.
    pub(crate) inference_geo: Option<String>,
    /// The effort setting of the model.
    pub(crate) effort: Option<String>,
    /// The `thinking` parameter.
    pub(crate) thinking: Option<Value>,
    /// The schema of the answers.
    pub(crate) schema: Option<Value>,
    /// How often the provider's search may be used in a request: `None` where it is not offered,
    /// [`u64::MAX`] where nothing limits it.
    pub(crate) searches: Option<u64>,
    /// Tokens that tools which the provider runs are expected to put into a request in the worst
    /// case: `None` where none is offered.
    pub(crate) found: Option<u64>,
    /// Other models that the model may ask for advice, each billed at its own prices.
    pub(crate) advisors: Vec<AdvisorTool>,
    /// The length of a prompt from which on it is compacted first, which is billed beside the
    /// answer; `None` where it never is.
    pub(crate) compacted_from: Option<u64>,
}

/// A model that may be prefix for advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdvisorTool {
    /// The model, by id or alias.
    pub(crate) model: String,
    /// How often it may be prefix in a request; `None` where nothing limits it.
    pub(crate) max_uses: Option<u64>,
    /// Most tokens of one piece of advice; `None` where the advisor's own limit holds.
    pub(crate) max_tokens: Option<u64>,
}

impl AdvisorTool {
    /// How often it is prefix in a request in the worst case.
    #[must_use]
    pub(crate) fn uses(&self) -> u64 {
        self.max_uses.unwrap_or(UNLIMITED_USES)
    }
}

impl Shared {
    /// Searches of a request in the worst case.
    #[must_use]
    pub(crate) fn max_searches(&self) -> u64 {
        self.searches.map_or(0, |uses| {
            if uses == u64::MAX {
                UNLIMITED_USES
            } else {
                uses
            }
        })
    }
}

/// A part of what all requests have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedPart {
    /// What it is.
    pub what: PartKind,
    /// Its tokens, about.
    pub tokens: u64,
    /// Those up to its end.
    pub up_to_here: u64,
    /// The cache mark at its end.
    pub cache: Option<CacheTtl>,
    /// Whether it holds a picture or document, whose tokens are counted elsewhere.
    pub has_media: bool,
}

/// What a part of the shared prompt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartKind {
    /// The provider's own system prompt about tools.
    ToolPrompt,
    /// The definition of a tool.
    Tool {
        /// Its name, or its type where it has none.
        name: String,
    },
    /// The schema of the answer.
    Schema,
    /// A block of the system prompt.
    SystemBlock {
        /// Its number, from 1.
        number: usize,
    },
    /// A message, or the only block of one.
    Message {
        /// Its number, from 1.
        number: usize,
    },
    /// One of several blocks of a message.
    MessageBlock {
        /// The number of the message, from 1.
        message: usize,
        /// The number of the block, from 1.
        number: usize,
    },
}

/// The part of the shared tokens that is to be cached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MarkedTokens {
    /// Up to the last mark of one hour.
    pub(crate) hour: u64,
    /// From there to the last mark of five minutes.
    pub(crate) minutes: u64,
}

impl MarkedTokens {
    /// All of it.
    #[must_use]
    pub(crate) fn tokens(self) -> u64 {
        self.hour + self.minutes
    }
}
