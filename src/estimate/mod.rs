//! What a run will cost, before anything is sent.
//!
//! In come the requests as they are rendered, the prices, and what earlier runs of the job showed;
//! out comes an [`Estimate`]: tokens and money, for each batch and for all of them, as a range.
//!
//! ```text
//!  head ─────▶ Shared ──────┐                          prices, CacheOutlook ─┐
//!  fragment ─▶ RowEstimate ─┴▶ BatchStatistics ── Fit ──▶ tokens ────────────┴▶ Estimate: low, expected, high, worst case
//!              (on every core)      constants, a counted sample,
//!                                   or the bill of an earlier run
//! ```
//!
//! * **low**: few tokens, short answers, and every possible cache read.
//! * **expected**: the expected cost.
//! * **high**: many tokens, long answers, every allowed search, and no cache reads.
//! * **worst case**: the upper bound of a batch: every answer as long as `max_tokens`, no cache
//!   reads, and one token for every byte of a prompt, or what results of the run showed of prompts;
//!   where tools of the provider add to prompts, the whole context window. This amount is reserved
//!   of a budget while a batch is in flight.
//!
//! [`Estimate`] holds the facts behind each figure; the sentences about them are written by the
//! command line.
//!
//! Everything here is pure: no clock, no file, no network. To add something that costs tokens: a
//! field of `RowEstimate` if it belongs to a row, of `Shared` if to all.

mod assumptions;
pub mod cache;
mod cache_decision;
pub mod compare;
mod encoding;
mod estimator;
pub mod fit;
pub(crate) mod learned;
mod length_recorder;
mod lengths;
mod measured;
pub(crate) mod media;
pub mod output;
mod prompt_reader;
mod range;
pub(crate) mod rows;
pub mod sample;
pub mod sample_plan;
mod scenario;
mod schema_size;
pub mod shared;
mod steps;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod warm_up;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use cache::CacheOutlook;
use fit::Fit;
use lengths::AnswerLengths;
use output::OutputBasis;

pub use assumptions::{AssumedAdvisor, Assumptions, UseLimit};
pub use cache_decision::{CacheBill, CacheDecision, CacheReason, CacheSplit, CacheWarning};
pub(crate) use encoding::SpooledEstimate;
pub(crate) use estimator::{Estimator, RequestPrefix};
pub(crate) use length_recorder::{BatchLengthRecorder, LengthRecorder};
pub(crate) use measured::{BatchPrompts, MeasuredPrompts};
pub(crate) use range::scale;
pub use range::{Bounds, MoneySpan, Span};

/// What a run is expected to cost.
///
/// **File format**: part of `plan.json`, under these names. Earlier versions wrote `likely` for
/// `expected`, `most` for `worst_case`, and sentences under `says`; they are still read, without
/// the sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The day of the prices.
    pub priced_at: Date,
    /// The model whose prices they are.
    pub model: String,
    /// Requests.
    pub requests: u64,
    /// All batches together.
    pub total: Bounds,
    /// The batches in their order: batch 1 stands first.
    #[serde(rename = "pieces")]
    pub batches: Vec<Bounds>,
    /// The tokens behind the money.
    pub tokens: Tokens,
    /// How characters became tokens.
    pub fit: Fit,
    /// How the length of answers is known.
    pub output_basis: OutputBasis,
    /// What is expected of the cache.
    pub cache: CacheOutlook,
    /// What else the figures assume.
    #[serde(default)]
    pub assumptions: Assumptions,
}

/// Tokens behind an estimate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// What every request has in common; each carries it.
    pub shared: u64,
    /// Tokens of all prompts, the shared part of each included.
    pub prompts: Span,
    /// The same by the constants alone.
    pub prompts_by_letters: u64,
    /// Those of them that no fit changes: what messages cost beside their text, pictures and
    /// documents.
    pub fixed: u64,
    /// Tokens of all answers.
    pub output: Span,
    /// Upper bound of the tokens of all prompts.
    #[serde(alias = "prompts_most")]
    pub prompts_worst_case: u64,
    /// `max_tokens` of all requests.
    #[serde(alias = "output_most")]
    pub output_worst_case: u64,
}

/// What earlier runs of a job showed, as far as an estimate uses it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunHistory {
    /// How characters became tokens.
    pub(crate) fit: Option<Fit>,
    /// How long answers were, and whether the prompt has changed since.
    pub(crate) lengths: Option<(AnswerLengths, bool)>,
    /// Share of the requests that read the shared part from the cache, in thousandths, and the
    /// number of rows it was measured on.
    pub(crate) reads: Option<(u64, u64)>,
}
