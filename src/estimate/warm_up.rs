//! Whether one request is to go first and write the shared prefix into the cache, for the others to
//! read.
//!
//! ```text
//!  n requests, prefix of t tokens: plain input p, write w, read r (each for t tokens), share h of requests that read
//!
//!  unmarked   n · p
//!  unprimed   n · ((1 − h) · w + h · r)             h: 30% to 98% documented, and none where all run at once
//!  primed     w + (n − 1) · ((1 − H) · w + H · r)   H: 98%, the best that is documented
//!  a mark pays from h = (w − p) / (w − r) on
//! ```
//!
//! WarmUpDecision costs the wait for one more batch, of one request. It is worth that where it
//! saves [`WORTH_A_WAIT`] against what is likely without it. Pure: prices and tokens in, a decision
//! and its reason out.

use serde::{Deserialize, Serialize};

use super::cache::{DOCUMENTED, PRIMED, pays_from};
use super::fit::Fit;
use super::rows::scale;
use super::{Estimator, share};
use crate::cost::{self, Money, Unpriced};
use crate::outcome::Usage;

/// What priming has to save for the wait to be worth it: a cent. Below that, a table is so small
/// that whoever runs it waits for it.
pub const WORTH_A_WAIT: Money = Money::from_picodollars(10_000_000_000);
/// No run has more requests.
const MOST_REQUESTS: u64 = 1 << 32;

/// Whether one request goes first: the key `cache.prime` of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prime {
    /// Where it pays.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Off,
}

/// What the marked prefix costs a number of requests in a batch, by how it is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheBill {
    /// Requests.
    pub requests: u64,
    /// Tokens of the prefix.
    pub tokens: u64,
    /// Not marked at all.
    pub unmarked: Money,
    /// Marked, all requests at once: at the best, the middle and the worst of the documented shares
    /// of reads.
    pub unprimed: Bounded,
    /// Marked, one request first.
    pub primed: Money,
}

/// An amount as a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in every estimate")]
pub struct Bounded {
    pub low: Money,
    pub likely: Money,
    pub high: Money,
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheDecision {
    /// Whether one request goes first.
    pub primes: bool,
    /// The reason, as a sentence with its figures; empty where there is nothing to cache and
    /// nothing to say.
    pub why: String,
    /// What a person should change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The figures, where something is cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<CacheBill>,
}

/// The arithmetic of one job's prefix.
#[derive(Debug, Clone)]
pub struct WarmUpDecision {
    wish: Prime,
    model: String,
    least_tokens: u64,
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
    split_by: Option<&'static str>,
}

impl WarmUpDecision {
    /// For the requests of an estimator, with tokens by a fit.
    ///
    /// # Errors
    /// [`Unpriced`].
    pub fn new(
        wish: Prime,
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
        let least_tokens = estimator.own.model.min_cache_tokens;
        let tokens = fit.shared(tokens);
        let tokens = if tokens < least_tokens { 0 } else { tokens };
        let geo = shared.inference_geo.clone();
        let price = |usage: Usage| {
            let usage = Usage {
                inference_geo: geo.clone(),
                ..usage
            };
            cost::of_many(estimator.catalog, estimator.own.id, &usage, tokens)
                .map(|cost| cost.total())
        };
        let written = if is_hour {
            Usage {
                cache_creation_1h_input_tokens: Some(tokens),
                ..Usage::default()
            }
        } else {
            Usage {
                cache_creation_5m_input_tokens: Some(tokens),
                ..Usage::default()
            }
        };
        let prices = estimator.own.prices;
        let write = if is_hour {
            prices.cache_write_1h
        } else {
            prices.cache_write_5m
        };
        Ok(WarmUpDecision {
            wish,
            model: estimator.own.id.to_owned(),
            least_tokens,
            tokens,
            is_marked,
            is_hour,
            plain: price(Usage {
                input_tokens: Some(tokens),
                ..Usage::default()
            })?,
            write: price(written)?,
            read: price(Usage {
                cache_read_input_tokens: Some(tokens),
                ..Usage::default()
            })?,
            pays_from: pays_from(prices.input, write, prices.cache_read),
            split_by: None,
        })
    }

    /// For requests whose cache is split by something that rows choose.
    #[must_use]
    pub fn split_by(self, choice: Option<&'static str>) -> WarmUpDecision {
        WarmUpDecision {
            split_by: choice,
            ..self
        }
    }

    /// So many requests a run must have for one to go first; `None` if none ever does.
    #[must_use]
    pub fn from_requests(&self) -> Option<u64> {
        match self.wish {
            Prime::Off => None,
            // One goes first, and one at least follows.
            Prime::Always => Some(2),
            Prime::Auto
                if !self.is_marked
                    || !self.is_hour
                    || self.tokens == 0
                    || self.split_by.is_some() =>
            {
                None
            }
            Prime::Auto => {
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

    /// What the prefix costs so many requests.
    #[must_use]
    pub fn bill(&self, requests: u64) -> CacheBill {
        let (worst, best) = DOCUMENTED;
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
            unprimed: Bounded {
                low: all(best),
                likely: all((worst + best) / 2),
                high: all(worst),
            },
            primed: first.saturating_add(self.marked(requests.saturating_sub(1), PRIMED)),
        }
    }

    /// What is decided for a run of so many requests, of which some follow behind the first one
    /// (`follows`).
    #[must_use]
    pub fn decide(&self, requests: u64, follows: bool) -> CacheDecision {
        self.told(
            requests,
            follows && self.from_requests().is_some_and(|from| requests >= from),
            follows,
        )
    }

    /// What is to be said of a run for which it is settled whether one request goes first.
    #[must_use]
    pub fn told(&self, requests: u64, primes: bool, follows: bool) -> CacheDecision {
        let bill = (self.is_marked && self.tokens > 0).then(|| self.bill(requests));
        CacheDecision {
            primes,
            why: self.why(requests, primes, follows),
            warning: self.warning(requests, primes),
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
        bill.unprimed.likely.saturating_sub(bill.primed)
    }

    fn pays(&self, requests: u64) -> bool {
        self.saves(requests) >= WORTH_A_WAIT
    }

    fn why(&self, requests: u64, primes: bool, follows: bool) -> String {
        if self.tokens == 0 || !self.is_marked {
            return self.why_nothing_is_cached(requests, primes);
        }
        let figures = self.figures(requests);
        let tokens = thousands(self.tokens);
        match (primes, self.wish) {
            (true, wish) => {
                let because = if wish == Prime::Always {
                    ", as the job says"
                } else {
                    ""
                };
                format!(
                    "one request goes first{because} and writes the shared {tokens} tokens for the \
                     others to read: {figures}"
                )
            }
            _ if !follows => {
                format!("not primed, since nothing follows the first request: {figures}")
            }
            (_, Prime::Off) => format!("not primed, as the job says: {figures}"),
            _ if let Some(choice) = self.split_by => {
                format!(
                    "not primed, since rows choose the {choice}, and each has a cache of its own: \
                     {figures}"
                )
            }
            _ if !self.is_hour => {
                format!(
                    "not primed, since the mark lives five minutes and a batch may take longer; \
                     `\"1h\"` could be primed: {figures}"
                )
            }
            _ => {
                let saved = about(self.saves(requests).max(Money::ZERO));
                format!(
                    "not primed, since that would save {saved}, and less than {} is not worth the \
                     wait: {figures}",
                    about(WORTH_A_WAIT)
                )
            }
        }
    }

    fn why_nothing_is_cached(&self, requests: u64, primes: bool) -> String {
        let first = if primes {
            "one request goes first, as the job says; "
        } else {
            ""
        };
        if self.is_marked {
            return format!(
                "{first}nothing is cached: what is marked is shorter than the {} tokens from which \
                 `{}` caches",
                thousands(self.least_tokens),
                self.model
            );
        }
        let bill = self.bill(requests);
        if self.tokens > 0 && bill.unmarked.saturating_sub(bill.primed) >= WORTH_A_WAIT {
            return format!(
                "{first}nothing is marked: with `cache = \"1h\"` at their end, the {} tokens that \
                 all requests share would cost about {} instead of {}",
                thousands(self.tokens),
                about(bill.primed),
                about(bill.unmarked)
            );
        }
        if primes {
            format!("{first}nothing is marked for the cache")
        } else {
            String::new()
        }
    }

    fn figures(&self, requests: u64) -> String {
        let bill = self.bill(requests);
        let (worst, best) = DOCUMENTED;
        let Bounded { low, likely, high } = bill.unprimed;
        format!(
            "{} for {} requests primed ({} of them read), {} unprimed ({} to {} at {} to {}), {} \
             without a mark, which pays from {} on",
            about(bill.primed),
            thousands(requests),
            share(PRIMED),
            about(likely),
            about(low),
            about(high),
            share(best),
            share(worst),
            about(bill.unmarked),
            share(self.pays_from),
        )
    }

    fn warning(&self, requests: u64, primes: bool) -> Option<String> {
        if self.tokens == 0 || !self.is_marked || requests < 2 {
            return None;
        }
        if primes && !self.is_hour {
            return Some(
                "the mark lives five minutes from the priming request on, and its batch may take \
                 longer: set `cache = \"1h\"`, or the others find nothing to read"
                    .to_owned(),
            );
        }
        let bill = self.bill(requests);
        let loss = bill.unprimed.high.saturating_sub(bill.unmarked);
        (!primes && self.is_hour && loss >= WORTH_A_WAIT).then(|| {
            format!(
                "the 1 h mark is not primed: below {} of the requests that read, it costs more \
                 than no mark, up to {} instead of {} at {}; set `cache.prime = \"always\"`, or \
                 take the mark away",
                share(self.pays_from),
                about(bill.unprimed.high),
                about(bill.unmarked),
                share(DOCUMENTED.0)
            )
        })
    }
}

/// An amount for people: two decimals from a dollar on, else two digits that tell something.
#[must_use]
pub fn about(money: Money) -> String {
    let sign = if money.is_negative() { "-" } else { "" };
    let pico = u128::from(money.picodollars().unsigned_abs());
    let decimals = (2..12)
        .find(|&decimals| pico >= 10_u128.pow(13 - decimals))
        .unwrap_or(12);
    let unit = 10_u128.pow(12 - decimals);
    let rounded = (pico + unit / 2) / unit;
    if rounded == 0 {
        return "$0".to_owned();
    }
    let scale = 10_u128.pow(decimals);
    let fraction = format!("{:0width$}", rounded % scale, width = decimals as usize);
    let shown = fraction.trim_end_matches('0').len().max(2);
    format!(
        "{sign}${}.{}",
        thousands(u64::try_from(rounded / scale).unwrap_or(u64::MAX)),
        &fraction[..shown]
    )
}

/// A number for people: `12,345`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::{Asked, Known};

    /// A job on Haiku 4.5, which caches from 4,096 tokens on, whose system prompt has about so many
    /// tokens and this mark.
    fn priming(wish: Prime, tokens: usize, ttl: Option<&str>) -> WarmUpDecision {
        let text = "word ".repeat(tokens * 34 / 50);
        let mark = ttl
            .map(|ttl| format!(r#","cache_control":{{"type":"ephemeral","ttl":"{ttl}"}}"#))
            .unwrap_or_default();
        let head = format!(
            r#"{{"model":"m","system":[{{"type":"text","text":"{text}"{mark}}}],"messages":["#
        );
        let estimator = Estimator::new(
            Catalog::builtin(),
            &Asked::text("claude-haiku-4-5", head.as_bytes()),
            Known::default(),
        )
        .unwrap();
        let fit = estimator.fit();
        WarmUpDecision::new(wish, &estimator, &fit).unwrap()
    }

    /// A prefix of exactly 10,000 tokens at the prices of Haiku 4.5 in a batch: $0.50, $1 and $0.05
    /// a million.
    fn exact(wish: Prime) -> WarmUpDecision {
        let micro = |millionths: i64| Money::from_picodollars(millionths * 1_000_000);
        WarmUpDecision {
            tokens: 10_000,
            plain: micro(5_000),
            write: micro(10_000),
            read: micro(500),
            ..priming(wish, 10_000, Some("1h"))
        }
    }

    #[test]
    fn reckons_as_by_hand() {
        // 1,000 requests, dollars: unmarked 1,000 × 0.005 = 5; at 98%: 980 × 0.0005 + 20 × 0.01 =
        // 0.69; at 64%: 0.32 + 3.6 = 3.92; at 30%: 0.15 + 7 = 7.15; primed: 0.01 + 979 × 0.0005 +
        // 20 × 0.01 = 0.6995 (98% of 999 is 979).
        let bill = exact(Prime::Auto).bill(1_000);
        let dollars = |text: &str| text.parse::<Money>().unwrap();
        assert_eq!(bill.unmarked, dollars("5"));
        assert_eq!(
            bill.unprimed,
            Bounded {
                low: dollars("0.69"),
                likely: dollars("3.92"),
                high: dollars("7.15")
            }
        );
        assert_eq!(bill.primed, dollars("0.6995"));
        assert_eq!(exact(Prime::Auto).bill(0).primed, Money::ZERO);
    }

    #[test]
    fn the_priced_prefix_is_that_of_the_catalog() {
        let priming = priming(Prime::Auto, 10_000, Some("1h"));
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
        let minutes = self::priming(Prime::Auto, 10_000, Some("5m"));
        assert_eq!(
            minutes.write.picodollars() / i64::try_from(minutes.tokens).unwrap(),
            625_000
        );
        assert_eq!((priming.pays_from, minutes.pays_from), (527, 218));
    }

    #[test]
    fn primes_where_it_saves_a_cent() {
        // Saved with n requests: at 64% n × 0.00392 on the whole less what is paid primed; from the
        // fifth on it is a cent.
        let auto = exact(Prime::Auto);
        let from = auto.from_requests().unwrap();
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
                auto.decide(requests, requests > 1).primes,
                primes,
                "{requests}"
            );
        }
        assert!(
            exact(Prime::Always).decide(2, true).primes
                && !exact(Prime::Always).decide(1, false).primes
        );
        assert!(!exact(Prime::Off).decide(1_000_000, true).primes);
        let small = priming(Prime::Auto, 5_000, Some("1h"));
        assert!(
            small.from_requests().unwrap() >= from,
            "a shorter prefix pays later"
        );
    }

    #[test]
    fn does_not_prime_what_is_not_cached_or_does_not_last() {
        for (priming, words) in [
            (
                priming(Prime::Auto, 10_000, None),
                "nothing is marked: with `cache = \"1h\"`",
            ),
            (
                priming(Prime::Auto, 1_000, Some("1h")),
                "shorter than the 4,096 tokens from which `claude-haiku-4-5-20251001` caches",
            ),
            (
                priming(Prime::Auto, 10_000, Some("5m")),
                "lives five minutes",
            ),
        ] {
            assert_eq!(priming.from_requests(), None, "{words}");
            let decision = priming.decide(10_000, true);
            assert!(
                !decision.primes && decision.why.contains(words),
                "{}",
                decision.why
            );
            assert_eq!(decision.warning, None);
        }
        assert_eq!(
            priming(Prime::Auto, 500, None).decide(10_000, true).why,
            "",
            "there is nothing to say"
        );
    }

    #[test]
    fn says_why_with_figures() {
        let why = exact(Prime::Auto).decide(1_000, true).why;
        assert_eq!(
            why,
            "one request goes first and writes the shared 10,000 tokens for the others to read: \
             $0.70 for 1,000 requests primed (98% of them read), $3.92 unprimed ($0.69 to $7.15 at \
             98% to 30%), $5.00 without a mark, which pays from 52.7% on"
        );
        let few = exact(Prime::Auto).decide(2, true).why;
        assert!(
            few.starts_with("not primed, since that would save"),
            "{few}"
        );
        assert!(
            exact(Prime::Off)
                .decide(9, true)
                .why
                .starts_with("not primed, as the job says")
        );
        assert!(
            exact(Prime::Always)
                .decide(2, true)
                .why
                .starts_with("one request goes first, as the job says")
        );
    }

    #[test]
    fn points_out_marks_that_may_lose_money() {
        let warning = exact(Prime::Off).decide(1_000, true).warning.unwrap();
        assert!(
            warning.contains("below 52.7%")
                && warning.contains("up to $7.15 instead of $5.00 at 30%"),
            "{warning}"
        );
        assert_eq!(exact(Prime::Auto).decide(1_000, true).warning, None);
        assert_eq!(exact(Prime::Off).decide(1, false).warning, None);
        let minutes = priming(Prime::Always, 10_000, Some("5m")).decide(1_000, true);
        assert!(minutes.primes && minutes.warning.unwrap().contains("set `cache = \"1h\"`"));
        assert_eq!(
            priming(Prime::Off, 10_000, Some("5m"))
                .decide(1_000, true)
                .warning,
            None,
            "a 5 m mark pays at 30%"
        );
    }

    #[test]
    fn writes_amounts_for_people() {
        for (dollars, words) in [
            ("0", "$0"),
            ("1234.5", "$1,234.50"),
            ("0.6995", "$0.70"),
            ("0.0123", "$0.012"),
            ("0.00004567", "$0.000046"),
            ("-2", "-$2.00"),
        ] {
            assert_eq!(about(dollars.parse().unwrap()), words);
        }
    }
}
