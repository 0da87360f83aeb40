//! The cache warm-up: whether one request goes first and writes the shared prefix into the cache,
//! for the others to read. The job file calls it `cache.prime`.
//!
//! ```text
//!  n requests, prefix of t tokens: plain input p, write w, read r (each for t tokens), share h of requests that read
//!
//!  unmarked    n · p
//!  cold        n · ((1 − h) · w + h · r)             h: 30% to 98% documented, and none where all run at once
//!  warmed up   w + (n − 1) · ((1 − H) · w + H · r)   H: 98%, the best that is documented
//!  a mark pays from h = (w − p) / (w − r) on
//! ```
//!
//! A warm-up costs the wait for one more batch, of one request. It is worth that where it saves
//! `WORTH_A_WAIT` against the expected cost without it. Pure: prices and tokens in, a decision
//! and its reason out.

use serde::{Deserialize, Serialize};

use super::cache::{DOCUMENTED_READS, WARM_UP_READS, pays_from};
use super::cache_decision::{CacheBill, CacheDecision, CacheReason, CacheSplit, CacheWarning};
use super::fit::Fit;
use super::{Estimator, MoneySpan, scale};
use crate::cost::{self, Money, Unpriced};
use crate::outcome::Usage;

/// What a warm-up has to save for the wait to be worth it: a cent. Below that, a table is so small
/// that the user waits for it.
pub(crate) const WORTH_A_WAIT: Money = Money::from_picodollars(10_000_000_000);
/// No run has more requests.
const MOST_REQUESTS: u64 = 1 << 32;

/// When one request goes first: the key `cache.prime` of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmUpMode {
    /// Where it saves enough.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Off,
}

/// The arithmetic of the shared prefix of one job.
#[derive(Debug, Clone)]
pub(crate) struct WarmUpDecision {
    mode: WarmUpMode,
    model: String,
    min_tokens: u64,
    /// Tokens of the prefix; 0 where nothing is cached.
    tokens: u64,
    is_marked: bool,
    is_hour: bool,
    /// What the prefix costs one request: plain, written, read.
    plain: Money,
    write: Money,
    read: Money,
    pays_from: u64,
    /// What rows choose by themselves that gives each choice a cache of its own.
    split_by: Option<CacheSplit>,
}

impl WarmUpDecision {
    /// For the requests of an estimator, with tokens by a fit.
    ///
    /// # Errors
    /// [`Unpriced`].
    pub(crate) fn new(
        mode: WarmUpMode,
        estimator: &Estimator<'_>,
        fit: &Fit,
    ) -> Result<WarmUpDecision, Unpriced> {
        let shared = estimator.shared();
        let is_marked = shared.marked.tokens() > 0 || shared.too_short;
        // Without a mark: what one at the end of the shared part would do.
        let (is_hour, tokens) = match shared.marked.tokens() {
            0 if is_marked => (true, 0),
            0 => (true, shared.tokens),
            tokens => (shared.marked.hour > 0, tokens),
        };
        let min_tokens = estimator.own.model.min_cache_tokens;
        let tokens = fit.shared(tokens);
        let tokens = if tokens < min_tokens { 0 } else { tokens };
        let prices = estimator.own.prices;
        let kinds = PrefixUsage::of(tokens, is_hour);
        let write = if is_hour {
            prices.cache_write_1h
        } else {
            prices.cache_write_5m
        };
        Ok(WarmUpDecision {
            mode,
            model: estimator.own.id.to_owned(),
            min_tokens,
            tokens,
            is_marked,
            is_hour,
            plain: prefix_cost(estimator, kinds.plain, tokens)?,
            write: prefix_cost(estimator, kinds.written, tokens)?,
            read: prefix_cost(estimator, kinds.read, tokens)?,
            pays_from: pays_from(prices.input, write, prices.cache_read),
            split_by: None,
        })
    }

    /// For requests whose cache is split by something that rows choose.
    #[must_use]
    pub(crate) fn split_by(self, choice: Option<CacheSplit>) -> WarmUpDecision {
        WarmUpDecision {
            split_by: choice,
            ..self
        }
    }

    /// The smallest number of requests for which one goes first; `None` if none ever does.
    #[must_use]
    pub(crate) fn pays_from_requests(&self) -> Option<u64> {
        match self.mode {
            WarmUpMode::Off => None,
            // One goes first, and one at least follows.
            WarmUpMode::Always => Some(2),
            WarmUpMode::Auto
                if !self.is_marked
                    || !self.is_hour
                    || self.tokens == 0
                    || self.split_by.is_some() =>
            {
                None
            }
            WarmUpMode::Auto => {
                let mut enough = 2;
                while !self.pays(enough) {
                    enough *= 2;
                    if enough > MOST_REQUESTS {
                        return None;
                    }
                }
                let mut too_few = enough / 2;
                while enough - too_few > 1 {
                    let middle = too_few + (enough - too_few) / 2;
                    if self.pays(middle) {
                        enough = middle
                    } else {
                        too_few = middle
                    }
                }
                Some(enough)
            }
        }
    }

    /// What the prefix costs this many requests.
    #[must_use]
    pub(crate) fn bill(&self, requests: u64) -> CacheBill {
        let (worst, best) = DOCUMENTED_READS;
        let all = |reads| self.marked(requests, reads);
        let first = if requests > 0 {
            self.write
        } else {
            Money::ZERO
        };
        CacheBill {
            requests,
            tokens: self.tokens,
            unmarked: self.plain.times(requests),
            cold: MoneySpan {
                low: all(best),
                expected: all((worst + best) / 2),
                high: all(worst),
            },
            warmed_up: first.saturating_add(self.marked(requests.saturating_sub(1), WARM_UP_READS)),
            pays_from: self.pays_from,
        }
    }

    /// The decision for a run of this many requests; `follows` says whether any follow the first
    /// one.
    #[must_use]
    pub(crate) fn decide(&self, requests: u64, follows: bool) -> CacheDecision {
        self.explain(
            requests,
            follows
                && self
                    .pays_from_requests()
                    .is_some_and(|from| requests >= from),
            follows,
        )
    }

    /// The reason and the figures for a run where it is settled whether one request goes first.
    #[must_use]
    pub(crate) fn explain(&self, requests: u64, warms_up: bool, follows: bool) -> CacheDecision {
        let bill = (self.is_marked && self.tokens > 0).then(|| self.bill(requests));
        CacheDecision {
            warms_up,
            reason: self.reason(requests, warms_up, follows),
            warning: self.warning(requests, warms_up),
            bill,
        }
    }

    /// What `requests` cost of which some thousandths read and the others write.
    fn marked(&self, requests: u64, reads: u64) -> Money {
        let reading = scale(requests, reads, 1_000).min(requests);
        self.read
            .times(reading)
            .saturating_add(self.write.times(requests - reading))
    }

    fn saves(&self, requests: u64) -> Money {
        let bill = self.bill(requests);
        bill.cold.expected.saturating_sub(bill.warmed_up)
    }

    fn pays(&self, requests: u64) -> bool {
        self.saves(requests) >= WORTH_A_WAIT
    }

    fn reason(&self, requests: u64, warms_up: bool, follows: bool) -> CacheReason {
        if self.tokens == 0 || !self.is_marked {
            return self.reason_without_cache(requests, warms_up);
        }
        match self.mode {
            WarmUpMode::Always if warms_up => CacheReason::Always,
            _ if warms_up => CacheReason::WorthTheWait,
            _ if !follows => CacheReason::NothingFollows,
            WarmUpMode::Off => CacheReason::Off,
            _ => match self.split_by {
                Some(by) => CacheReason::SplitCache { by },
                None if !self.is_hour => CacheReason::ShortLivedMark,
                None => CacheReason::SavesTooLittle {
                    saves: self.saves(requests).max(Money::ZERO),
                    min_saving: WORTH_A_WAIT,
                },
            },
        }
    }

    fn reason_without_cache(&self, requests: u64, warms_up: bool) -> CacheReason {
        if self.is_marked {
            return CacheReason::TooShort {
                model: self.model.clone(),
                min_tokens: self.min_tokens,
            };
        }
        let bill = self.bill(requests);
        if self.tokens > 0 && bill.unmarked.saturating_sub(bill.warmed_up) >= WORTH_A_WAIT {
            return CacheReason::MarkWouldSave {
                tokens: self.tokens,
                marked: bill.warmed_up,
                unmarked: bill.unmarked,
            };
        }
        if warms_up {
            CacheReason::NothingMarked
        } else {
            CacheReason::NothingToCache
        }
    }

    fn warning(&self, requests: u64, warms_up: bool) -> Option<CacheWarning> {
        if self.tokens == 0 || !self.is_marked || requests < 2 {
            return None;
        }
        if warms_up && !self.is_hour {
            return Some(CacheWarning::ExpiresBeforeReads);
        }
        let bill = self.bill(requests);
        let loss = bill.cold.high.saturating_sub(bill.unmarked);
        (!warms_up && self.is_hour && loss >= WORTH_A_WAIT).then_some(
            CacheWarning::MarkMayCostMore {
                pays_from: self.pays_from,
                reads: DOCUMENTED_READS.0,
                marked: bill.cold.high,
                unmarked: bill.unmarked,
            },
        )
    }
}

/// The usage of a prefix by how it is sent.
struct PrefixUsage {
    plain: Usage,
    written: Usage,
    read: Usage,
}

impl PrefixUsage {
    fn of(tokens: u64, is_hour: bool) -> PrefixUsage {
        let tokens = Some(tokens);
        PrefixUsage {
            plain: Usage {
                input_tokens: tokens,
                ..Usage::default()
            },
            written: Usage {
                cache_creation_1h_input_tokens: tokens.filter(|_| is_hour),
                cache_creation_5m_input_tokens: tokens.filter(|_| !is_hour),
                ..Usage::default()
            },
            read: Usage {
                cache_read_input_tokens: tokens,
                ..Usage::default()
            },
        }
    }
}

/// What a prefix of this many tokens costs one request with this usage, where the job's requests
/// are served.
fn prefix_cost(estimator: &Estimator<'_>, usage: Usage, tokens: u64) -> Result<Money, Unpriced> {
    let usage = Usage {
        inference_geo: estimator.shared().inference_geo.clone(),
        ..usage
    };
    cost::of_many(estimator.catalog, estimator.own.id, &usage, tokens).map(|cost| cost.total())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::{RequestPrefix, RunHistory};

    /// A job on Haiku 4.5, which caches from 4,096 tokens on, whose system prompt has about this
    /// many tokens and this mark.
    fn decision(mode: WarmUpMode, tokens: usize, ttl: Option<&str>) -> WarmUpDecision {
        let text = "word ".repeat(tokens * 34 / 50);
        let mark = ttl
            .map(|ttl| format!(r#","cache_control":{{"type":"ephemeral","ttl":"{ttl}"}}"#))
            .unwrap_or_default();
        let head = format!(
            r#"{{"model":"m","system":[{{"type":"text","text":"{text}"{mark}}}],"messages":["#
        );
        let estimator = Estimator::new(
            Catalog::builtin(),
            &RequestPrefix::text("claude-haiku-4-5", head.as_bytes()),
            RunHistory::default(),
        )
        .unwrap();
        let fit = estimator.fit();
        WarmUpDecision::new(mode, &estimator, &fit).unwrap()
    }

    /// A prefix of exactly 10,000 tokens at the prices of Haiku 4.5 in a batch: $0.50, $1 and $0.05
    /// a million.
    fn exact(mode: WarmUpMode) -> WarmUpDecision {
        let micro = |millionths: i64| Money::from_picodollars(millionths * 1_000_000);
        WarmUpDecision {
            tokens: 10_000,
            plain: micro(5_000),
            write: micro(10_000),
            read: micro(500),
            ..decision(mode, 10_000, Some("1h"))
        }
    }

    #[test]
    fn computes_as_by_hand() {
        // 1,000 requests, dollars: unmarked 1,000 × 0.005 = 5; at 98%: 980 × 0.0005 + 20 × 0.01 =
        // 0.69; at 64%: 0.32 + 3.6 = 3.92; at 30%: 0.15 + 7 = 7.15; warmed up: 0.01 + 979 × 0.0005
        // + 20 × 0.01 = 0.6995 (98% of 999 is 979).
        let bill = exact(WarmUpMode::Auto).bill(1_000);
        let dollars = |text: &str| text.parse::<Money>().unwrap();
        assert_eq!(bill.unmarked, dollars("5"));
        assert_eq!(
            bill.cold,
            MoneySpan {
                low: dollars("0.69"),
                expected: dollars("3.92"),
                high: dollars("7.15")
            }
        );
        assert_eq!(bill.warmed_up, dollars("0.6995"));
        assert_eq!(exact(WarmUpMode::Auto).bill(0).warmed_up, Money::ZERO);
    }

    #[test]
    fn the_priced_prefix_is_that_of_the_catalog() {
        let priming = decision(WarmUpMode::Auto, 10_000, Some("1h"));
        assert!(
            (9_000..10_500).contains(&priming.tokens),
            "{}",
            priming.tokens
        );
        let per_token = |money: Money| money.picodollars() / i64::try_from(priming.tokens).unwrap();
        assert_eq!(
            [priming.plain, priming.write, priming.read].map(per_token),
            [500_000, 1_000_000, 50_000]
        );
        let minutes = decision(WarmUpMode::Auto, 10_000, Some("5m"));
        assert_eq!(
            minutes.write.picodollars() / i64::try_from(minutes.tokens).unwrap(),
            625_000
        );
        assert_eq!((priming.pays_from, minutes.pays_from), (527, 218));
    }

    #[test]
    fn warms_up_where_it_saves_a_cent() {
        // Saved with n requests: at 64% n × 0.00392 on the whole less what is paid warmed up; from
        // the fifth on it is a cent.
        let auto = exact(WarmUpMode::Auto);
        let from = auto.pays_from_requests().unwrap();
        assert!(
            auto.saves(from) >= WORTH_A_WAIT && auto.saves(from - 1) < WORTH_A_WAIT,
            "{from}"
        );
        assert!((3..10).contains(&from), "{from}");
        for (requests, primes) in [
            (1, false),
            (from - 1, false),
            (from, true),
            (1_000_000, true),
        ] {
            assert_eq!(
                auto.decide(requests, requests > 1).warms_up,
                primes,
                "{requests}"
            );
        }
        assert!(
            exact(WarmUpMode::Always).decide(2, true).warms_up
                && !exact(WarmUpMode::Always).decide(1, false).warms_up
        );
        assert!(!exact(WarmUpMode::Off).decide(1_000_000, true).warms_up);
        let small = decision(WarmUpMode::Auto, 5_000, Some("1h"));
        assert!(
            small.pays_from_requests().unwrap() >= from,
            "a shorter prefix pays later"
        );
    }

    #[test]
    fn does_not_warm_up_what_is_not_cached_or_does_not_last() {
        let bare = decision(WarmUpMode::Auto, 10_000, None);
        let short = decision(WarmUpMode::Auto, 1_000, Some("1h"));
        let minutes = decision(WarmUpMode::Auto, 10_000, Some("5m"));
        for priming in [&bare, &short, &minutes] {
            assert_eq!(priming.pays_from_requests(), None);
            let decision = priming.decide(10_000, true);
            assert_eq!((decision.warms_up, decision.warning), (false, None));
        }
        let bill = bare.bill(10_000);
        assert_eq!(
            bare.decide(10_000, true).reason,
            CacheReason::MarkWouldSave {
                tokens: bare.tokens,
                marked: bill.warmed_up,
                unmarked: bill.unmarked
            }
        );
        assert_eq!(
            short.decide(10_000, true).reason,
            CacheReason::TooShort {
                model: "claude-haiku-4-5-20251001".to_owned(),
                min_tokens: 4_096
            }
        );
        assert_eq!(
            minutes.decide(10_000, true).reason,
            CacheReason::ShortLivedMark
        );
        assert_eq!(
            decision(WarmUpMode::Auto, 500, None)
                .decide(10_000, true)
                .reason,
            CacheReason::NothingToCache
        );
    }

    #[test]
    fn gives_the_reason_and_the_figures() {
        let decision = exact(WarmUpMode::Auto).decide(1_000, true);
        assert_eq!(decision.reason, CacheReason::WorthTheWait);
        let bill = decision.bill.unwrap();
        assert_eq!((bill.tokens, bill.pays_from), (10_000, 527));
        let reason = |mode, requests, follows| exact(mode).decide(requests, follows).reason;
        let few = reason(WarmUpMode::Auto, 2, true);
        assert!(
            matches!(few, CacheReason::SavesTooLittle { saves, min_saving } if saves < min_saving),
            "{few:?}"
        );
        assert_eq!(reason(WarmUpMode::Off, 9, true), CacheReason::Off);
        assert_eq!(reason(WarmUpMode::Always, 2, true), CacheReason::Always);
        assert_eq!(
            reason(WarmUpMode::Always, 1, false),
            CacheReason::NothingFollows
        );
        let split = exact(WarmUpMode::Auto).split_by(Some(CacheSplit::Model));
        assert_eq!(
            split.decide(9_000, true).reason,
            CacheReason::SplitCache {
                by: CacheSplit::Model
            }
        );
    }

    #[test]
    fn points_out_marks_that_may_lose_money() {
        let warning = |mode, requests, follows| exact(mode).decide(requests, follows).warning;
        let dollars = |text: &str| text.parse::<Money>().unwrap();
        assert_eq!(
            warning(WarmUpMode::Off, 1_000, true),
            Some(CacheWarning::MarkMayCostMore {
                pays_from: 527,
                reads: 300,
                marked: dollars("7.15"),
                unmarked: dollars("5"),
            })
        );
        assert_eq!(warning(WarmUpMode::Auto, 1_000, true), None);
        assert_eq!(warning(WarmUpMode::Off, 1, false), None);
        let minutes = decision(WarmUpMode::Always, 10_000, Some("5m")).decide(1_000, true);
        assert_eq!(
            (minutes.warms_up, minutes.warning),
            (true, Some(CacheWarning::ExpiresBeforeReads))
        );
        assert_eq!(
            decision(WarmUpMode::Off, 10_000, Some("5m"))
                .decide(1_000, true)
                .warning,
            None,
            "a 5 m mark pays at 30%"
        );
    }
}
