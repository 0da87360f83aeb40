//! What the figures of an estimate assume beyond prompts, answers and the cache: facts without
//! words, from which a report makes its sentences.

use serde::{Deserialize, Serialize};

use super::shared::Shared;

/// Share of the allowed uses of a tool of the provider that is expected, in thousandths.
/// **Source**: an assumption.
pub(super) const EXPECTED_USES: u64 = 500;

/// What an estimate assumes of thinking and of the provider's own tools.
///
/// **File format**: part of `plan.json`. Earlier versions kept sentences in its place (`says`),
/// which are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumptions {
    /// Tokens of thinking in each answer, part of the expected length of answers.
    pub thinking_tokens: u64,
    /// Share of the allowed searches and advisor uses that is expected, in thousandths. The low
    /// figure has none of them, the high one and the worst case have all.
    pub expected_uses: u64,
    /// Searches of each request; `None` where search is not offered.
    pub searches: Option<UseLimit>,
    /// Tokens that tools of the provider add to each prompt in the high figure; `None` where none
    /// is offered.
    pub found_tokens: Option<u64>,
    /// Models that may be asked for advice.
    pub advisors: Vec<AssumedAdvisor>,
    /// Prompts of this many tokens are compacted once; `None` where none is.
    pub compacted_from: Option<u64>,
}

/// How often a request may use a tool of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseLimit {
    /// Uses of each request.
    pub uses: u64,
    /// Whether the number is assumed, because the job sets no limit.
    pub is_assumed: bool,
}

/// A model that may be asked for advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssumedAdvisor {
    /// The model, by id or alias.
    pub model: String,
    /// How often each request may ask it.
    pub limit: UseLimit,
}

impl Assumptions {
    pub(super) fn new(shared: &Shared, thinking_tokens: u64) -> Assumptions {
        Assumptions {
            thinking_tokens,
            expected_uses: EXPECTED_USES,
            searches: shared.searches.map(|limit| UseLimit {
                uses: shared.max_searches(),
                is_assumed: limit == u64::MAX,
            }),
            found_tokens: shared.found,
            advisors: shared
                .advisors
                .iter()
                .map(|advisor| AssumedAdvisor {
                    model: advisor.model.clone(),
                    limit: UseLimit {
                        uses: advisor.uses(),
                        is_assumed: advisor.max_uses.is_none(),
                    },
                })
                .collect(),
            compacted_from: shared.compacted_from,
        }
    }
}
