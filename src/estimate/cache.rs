//! The prompt cache: how often the shared part is read from it, and which share of reads pays for
//! writing it.

use serde::{Deserialize, Serialize};

use super::Span;
use super::shared::MarkedTokens;
use crate::catalog::{Price, Prices};

/// How often requests in batches read what others wrote, in thousandths. **Source**: batch guide:
/// 30% to 98%, depending on traffic.
pub const DOCUMENTED_READS: (u64, u64) = (300, 980);
/// How often after one request of the run has written the shared part, alone and before all others,
/// in thousandths. **Source**: reports of batches that read it in every request after a batch of
/// one (Bike4Mind/bike4mind#2741); the best documented share is taken.
pub const WARM_UP_READS: u64 = 980;
/// How far the share of an earlier run may be off, in thousandths.
const LEARNED_OFF: u64 = 50;

/// How it is known how often the cache will be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum ReadsBasis {
    /// Nothing is cached.
    Nothing,
    /// The range that the provider documents.
    Documented,
    /// One request goes first and writes it.
    #[serde(rename = "primed")]
    WarmUp,
    /// What earlier runs of the job showed.
    Runs {
        /// Rows of them.
        rows: u64,
    },
}

/// What is expected of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheOutlook {
    /// Tokens of each request that are marked for one hour.
    pub hour_tokens: u64,
    /// Tokens of each request that are marked for five minutes.
    pub minutes_tokens: u64,
    /// How it is known how often they will be read.
    pub basis: ReadsBasis,
    /// Requests that read them, in thousandths of all: the fewer, the more expensive, so `low`
    /// is the largest of the three.
    pub reads: Span,
    /// Share of reads, in thousandths, from which on caching costs less than not caching.
    pub pays_from: u64,
}

impl CacheOutlook {
    /// What to expect: `learned` is the share that earlier runs read, in thousandths, and of how
    /// many rows.
    #[must_use]
    pub(crate) fn new(
        marked: MarkedTokens,
        prices: &Prices,
        warms_up: bool,
        learned: Option<(u64, u64)>,
    ) -> CacheOutlook {
        let (worst, best) = DOCUMENTED_READS;
        let (basis, reads) = match learned {
            _ if marked.tokens() == 0 => (ReadsBasis::Nothing, Span::default()),
            Some((share, rows)) => {
                let best = (share + LEARNED_OFF).min(1_000);
                (
                    ReadsBasis::Runs { rows },
                    Span {
                        low: best,
                        expected: share,
                        high: 0,
                    },
                )
            }
            None if warms_up => (
                ReadsBasis::WarmUp,
                Span {
                    low: 1_000,
                    expected: WARM_UP_READS,
                    high: 0,
                },
            ),
            None => (
                ReadsBasis::Documented,
                Span {
                    low: best,
                    expected: (worst + best) / 2,
                    high: 0,
                },
            ),
        };
        let write = if marked.hour > 0 {
            prices.cache_write_1h
        } else {
            prices.cache_write_5m
        };
        CacheOutlook {
            hour_tokens: marked.hour,
            minutes_tokens: marked.minutes,
            basis,
            reads,
            pays_from: pays_from(prices.input, write, prices.cache_read),
        }
    }

    /// Tokens of each request that are marked.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.hour_tokens + self.minutes_tokens
    }
}

/// The share of reads, in thousandths, from which on caching costs less than not caching:
/// `(w - 1) / (w - r)`, where a write costs `w` times and a read `r` times as much as plain input.
/// Rounded up.
#[must_use]
pub(crate) fn pays_from(input: Price, write: Price, read: Price) -> u64 {
    let [input, write, read] = [input, write, read].map(Price::picodollars_per_token);
    let extra = write.saturating_sub(input) * 1_000;
    extra.div_ceil(write.saturating_sub(read).max(1)).min(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn prices(model: &str) -> Prices {
        Catalog::builtin()
            .model(model)
            .unwrap()
            .1
            .prices
            .clone()
            .unwrap()
    }

    #[test]
    fn pays_from_the_shares_that_the_documentation_implies() {
        // (w - 1) / (w - r) for w = 2 and w = 1.25, and r = 0.1, 0.05 and 0.025.
        for (model, hour, minutes) in [
            ("claude-haiku-4-5", 527, 218),
            ("claude-opus-5-5", 513, 209),
            ("claude-fable-5-2", 507, 205),
        ] {
            let prices = prices(model);
            let outlook = |marked| CacheOutlook::new(marked, &prices, false, None).pays_from;
            assert_eq!(
                outlook(MarkedTokens {
                    hour: 5_000,
                    minutes: 0
                }),
                hour,
                "{model}"
            );
            assert_eq!(
                outlook(MarkedTokens {
                    hour: 0,
                    minutes: 5_000
                }),
                minutes,
                "{model}"
            );
        }
    }

    #[test]
    fn what_was_seen_counts_more_than_what_is_documented() {
        let prices = prices("claude-haiku-4-5");
        let marked = MarkedTokens {
            hour: 5_000,
            minutes: 0,
        };
        let expected = |marked, warms_up, learned| {
            CacheOutlook::new(marked, &prices, warms_up, learned)
                .reads
                .expected
        };
        assert_eq!(expected(marked, false, None), 640);
        assert_eq!(expected(marked, true, None), 980);
        assert_eq!(expected(marked, true, Some((712, 10_000))), 712);
        assert_eq!(
            expected(MarkedTokens::default(), true, Some((712, 10_000))),
            0
        );
    }
}
