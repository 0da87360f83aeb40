//! What was decided about the prompt cache, and why: facts that a plan keeps and reports explain.

use serde::{Deserialize, Serialize};

use super::MoneySpan;
use crate::cost::Money;

/// What the marked prefix costs a number of requests in a batch, by how it is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheBill {
    /// Requests.
    pub requests: u64,
    /// Tokens of the prefix.
    pub tokens: u64,
    /// Without a mark.
    pub unmarked: Money,
    /// Marked, all requests at once: at the best, the middle and the worst of the documented shares
    /// of reads.
    #[serde(rename = "unprimed")]
    pub cold: MoneySpan,
    /// Marked, one request first.
    #[serde(rename = "primed")]
    pub warmed_up: Money,
    /// Share of reads from which on the mark saves money, in thousandths; 0 in plans of
    /// earlier versions.
    #[serde(default)]
    pub pays_from: u64,
}

/// What was decided about the cache warm-up, and why.
///
/// **File format**: part of `plan.json`. Earlier versions wrote the reason and the warning as
/// sentences, which are read as [`CacheReason::Other`] and [`CacheWarning::Other`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheDecision {
    /// Whether one request goes first and writes the cache.
    #[serde(rename = "primes")]
    pub warms_up: bool,
    /// The reason.
    #[serde(rename = "why")]
    pub reason: CacheReason,
    /// What should be changed in the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<CacheWarning>,
    /// The figures, where something is cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<CacheBill>,
}

/// Why one request goes first, or why none does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheReason {
    /// There is nothing that is worth caching.
    NothingToCache,
    /// The job asks for a warm-up, and nothing is marked for the cache.
    NothingMarked,
    /// Nothing is marked, and a mark at the end of the shared part would save money.
    MarkWouldSave {
        /// Tokens that all requests share.
        tokens: u64,
        /// Their cost with a mark.
        marked: Money,
        /// Their cost without one.
        unmarked: Money,
    },
    /// What is marked is shorter than what the model caches.
    TooShort {
        /// The model.
        model: String,
        /// The shortest prefix that it caches, in tokens.
        min_tokens: u64,
    },
    /// It saves enough to be worth the wait.
    WorthTheWait,
    /// The job asks for it.
    Always,
    /// The job turns it off.
    Off,
    /// No request follows the first one.
    NothingFollows,
    /// Rows choose something that gives each choice a cache of its own.
    SplitCache {
        /// What they choose.
        by: CacheSplit,
    },
    /// The mark expires after five minutes, and a batch may take longer.
    ShortLivedMark,
    /// It would save less than the wait is worth.
    SavesTooLittle {
        /// What it would save.
        saves: Money,
        /// What it would have to save.
        min_saving: Money,
    },
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

/// What rows choose that splits the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheSplit {
    /// Rows choose their model, and each model has a cache of its own.
    Model,
    /// Rows choose their effort, which is part of what is cached.
    Effort,
}

/// What should be changed about the cache marks of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheWarning {
    /// One request goes first, and what it writes may expire before the others read it.
    ExpiresBeforeReads,
    /// Without a warm-up the one-hour mark may cost more than no mark.
    MarkMayCostMore {
        /// Share of reads from which on the mark saves money, in thousandths.
        pays_from: u64,
        /// Share of reads in the worst documented case, in thousandths.
        reads: u64,
        /// The cost in that case.
        marked: Money,
        /// The cost without a mark.
        unmarked: Money,
    },
    /// A sentence of an earlier version.
    #[serde(untagged)]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_sentences_of_earlier_versions() {
        let old = r#"{"primes":true,"why":"one request goes first: $0.70","warning":"the mark lives five minutes",
            "bill":{"requests":9,"tokens":5882,"unmarked":"5","unprimed":{"low":"1","likely":"2","high":"3"},"primed":"0.7"}}"#;
        let decision: CacheDecision = serde_json::from_str(old).unwrap();
        assert_eq!(
            (&decision.reason, &decision.warning),
            (
                &CacheReason::Other("one request goes first: $0.70".to_owned()),
                &Some(CacheWarning::Other(
                    "the mark lives five minutes".to_owned()
                ))
            )
        );
        let bill = decision.bill.as_ref().unwrap();
        assert_eq!(bill.cold.expected, "2".parse().unwrap());
        assert_eq!((decision.warms_up, bill.pays_from), (true, 0));
        let new = CacheDecision {
            reason: CacheReason::SplitCache {
                by: CacheSplit::Effort,
            },
            warning: Some(CacheWarning::ExpiresBeforeReads),
            ..decision.clone()
        };
        for decision in [decision, new] {
            let text = serde_json::to_string(&decision).unwrap();
            assert_eq!(
                serde_json::from_str::<CacheDecision>(&text).unwrap(),
                decision
            );
        }
    }
}
