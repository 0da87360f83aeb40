//! What the user should know before money is spent; none of it stops the job.

use std::path::PathBuf;

use serde::Serialize;

use crate::catalog::RetirementNotice;
use crate::estimate::CacheSplit;
use crate::output::OutputWarning;
use crate::request::RequestWarning;
use crate::source::SourceWarning;
use crate::template::TemplateWarning;

/// A warning about a job, its source or its rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// The job has no key columns, so answers cannot be matched after the source changes.
    NoKeyColumns,
    /// A warning about the columns of the output.
    Output(OutputWarning),
    /// A warning about a template.
    Template(TemplateWarning),
    /// The job's model is retired, or will be soon.
    ModelRetirement(RetirementNotice),
    /// What earlier runs of the job showed cannot be read, and is not used.
    HistoryNotUsed {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// What the run showed could not be recorded for later plans.
    HistoryNotRecorded {
        /// Why not.
        cause: String,
    },
    /// Prompts are longer than the context window, by estimate.
    PromptsTooLong {
        /// The model of the first.
        model: String,
        /// Its context window.
        context_tokens: u64,
        /// The prompts.
        prompts: LongPrompts,
        /// Whether they are still sent, or set aside.
        is_sent: bool,
    },
    /// Prompts fit the context window, but not with the longest answer, by estimate.
    AnswersMayNotFit {
        /// The model of the first.
        model: String,
        /// Its context window.
        context_tokens: u64,
        /// The prompts.
        prompts: LongPrompts,
    },
    /// What is marked for the cache is shorter than what the model caches.
    CacheMarkTooShort {
        /// Tokens up to the last mark, by estimate.
        marked_tokens: u64,
        /// The shortest prefix that the model caches.
        min_cache_tokens: u64,
        /// Whether that is certain, for all that the estimate may be off.
        is_certain: bool,
    },
    /// Rows have caches of their own.
    CacheSplit {
        /// By what.
        by: CacheSplit,
    },
    /// The source can be read, but part of it is skipped or read in a surprising form.
    Source(SourceWarning),
    /// A warning about the requests.
    Request(RequestWarning),
}

impl From<RequestWarning> for Warning {
    fn from(warning: RequestWarning) -> Warning {
        Warning::Request(warning)
    }
}

/// Rows with long prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LongPrompts {
    /// How many.
    pub count: u64,
    /// The first of them, at most five.
    pub first: Vec<LongPrompt>,
}

/// A row with a long prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LongPrompt {
    /// The row, from 0.
    pub row_index: u64,
    /// Its key, such as `id = 7`; `row 8` where the job has no key columns.
    pub key: String,
    /// Tokens of its prompt, by estimate.
    pub tokens: u64,
    /// Its model.
    pub model: String,
}

impl From<TemplateWarning> for Warning {
    fn from(warning: TemplateWarning) -> Warning {
        Warning::Template(warning)
    }
}
