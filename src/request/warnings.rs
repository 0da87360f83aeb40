//! What is accepted and may not be meant: facts about the requests of a job, none of which stops
//! it.

use serde::Serialize;

/// A warning about the requests of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestWarning {
    /// A beta whose feature works without it.
    ObsoleteBeta {
        /// Its name.
        beta: String,
    },
    /// A member of `request.params` that this version does not know; it is passed on.
    UnknownParameter {
        /// Its name.
        name: String,
    },
    /// `request.params.cache_control` marks the end of each row's own text, so that every row pays
    /// for a cache entry that no other row reads.
    CacheMarkOnRows,
    /// A tool belongs to a beta that the job does not name; without it every row may fail.
    ToolNeedsBeta {
        /// The tool's name.
        tool: String,
        /// The newest known beta that has the tool.
        beta: String,
    },
    /// A large picture or document is part of every request, where an upload would send it once.
    LargeSharedMedia {
        /// Which part of the prompt it is.
        part: String,
        /// Its bytes in each request.
        bytes: usize,
    },
    /// The model thinks before it answers, and thinking may use up `max_tokens`.
    LittleRoomToThink {
        /// The model, as the job names it.
        model: String,
        /// The job's limit.
        max_tokens: u64,
        /// The limit from which there is room.
        enough_tokens: u64,
        /// Whether thinking can be switched off for this model.
        can_be_off: bool,
    },
    /// The beta of long answers, for a model that has none.
    LongOutputWithoutEffect {
        /// The beta.
        beta: String,
        /// The model, as the job names it.
        model: String,
        /// Most tokens of its answers.
        max_output_tokens: u64,
    },
    /// The beta of long prompts, which no model needs any more.
    LongContextWithoutEffect {
        /// The beta.
        beta: String,
        /// The model, as the job names it.
        model: String,
        /// Most tokens of its prompts.
        context_tokens: u64,
    },
}
