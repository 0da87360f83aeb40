//! Estimate against bill: by how much it was off, and why.
//!
//! The expected figure is turned into the bill step by step, each step with one cause: other
//! numbers of requests that were billed, other lengths of prompts, another share that was read from
//! the cache, other lengths of answers. What each step changes is what its cause cost; the steps
//! add up to the difference, to the last unit. What is left is prices: another tier, place or band,
//! and tools of the provider.

use serde::{Deserialize, Serialize};

use super::{Estimate, scale};
use crate::catalog::Catalog;
use crate::cost::{self, Money};
use crate::outcome::Usage;

/// An estimate beside its bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The expected cost.
    #[serde(alias = "likely")]
    pub expected: Money,
    /// The actual cost.
    pub billed: Money,
    /// The bill's difference from the estimate, in thousandths of it.
    pub off: i64,
    /// What made the difference, in the order of [`Cause::ALL`]; they add up to it.
    pub causes: Vec<(Cause, Money)>,
}

/// What makes a bill differ from its estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// More or fewer requests were billed than planned: rows that failed are free, rows that were
    /// sent again are not.
    Requests,
    /// Prompts had other lengths.
    PromptTokens,
    /// Another share was read from the cache.
    CacheShare,
    /// Answers had other lengths.
    OutputTokens,
    /// Other prices: tier, place, long prompts, tools of the provider.
    Prices,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 5] = [
        Cause::Requests,
        Cause::PromptTokens,
        Cause::CacheShare,
        Cause::OutputTokens,
        Cause::Prices,
    ];
}

impl Comparison {
    /// Compares. `usage` is that of all billed requests together, `requests` their number, `billed`
    /// what they cost.
    ///
    /// `None` where the model of the estimate has no price any more.
    #[must_use]
    pub(crate) fn new(
        catalog: &Catalog,
        estimate: &Estimate,
        requests: u64,
        usage: &Usage,
        billed: Money,
    ) -> Option<Comparison> {
        let prompts = cost::prompt_tokens(usage);
        let output = usage.output_tokens.unwrap_or(0);
        let tokens = &estimate.tokens;
        let planned = PromptSplit::expected(estimate, estimate.requests, tokens.prompts.expected);
        let as_billed = PromptSplit::expected(
            estimate,
            requests,
            scale(tokens.prompts.expected, requests, estimate.requests),
        );
        let longer = PromptSplit::expected(estimate, requests, prompts);
        let expected_output = scale(tokens.output.expected, requests, estimate.requests);
        let steps = [
            (planned, tokens.output.expected),
            (as_billed, expected_output),
            (longer, expected_output),
            (PromptSplit::of(usage), expected_output),
            (PromptSplit::of(usage), output),
        ];
        let mean = prompts / requests.max(1);
        let price = |(split, output): &(PromptSplit, u64)| {
            let usage = Usage {
                inference_geo: usage.inference_geo.clone(),
                ..split.usage(*output)
            };
            Some(
                cost::of_many(catalog, &estimate.model, &usage, mean)
                    .ok()?
                    .total(),
            )
        };
        let priced: Vec<Money> = steps.iter().map(price).collect::<Option<_>>()?;
        let mut causes: Vec<(Cause, Money)> = Cause::ALL
            .into_iter()
            .zip(
                priced
                    .windows(2)
                    .map(|pair| pair[1].saturating_sub(pair[0])),
            )
            .collect();
        let difference = billed.saturating_sub(estimate.total.expected);
        let explained = causes.iter().map(|(_, money)| *money).sum::<Money>();
        causes.push((Cause::Prices, difference.saturating_sub(explained)));
        let off = i128::from(difference.picodollars()) * 1_000
            / i128::from(estimate.total.expected.picodollars().max(1));
        Some(Comparison {
            expected: estimate.total.expected,
            billed,
            off: i64::try_from(off).unwrap_or(i64::MAX),
            causes,
        })
    }

    /// The causes that made more than a hundredth of the estimate, the largest first.
    #[must_use]
    pub fn main_causes(&self) -> Vec<(Cause, Money)> {
        let least = self.expected.picodollars() / 100;
        let mut main: Vec<_> = self
            .causes
            .iter()
            .copied()
            .filter(|(_, money)| money.picodollars().abs() > least)
            .collect();
        main.sort_by_key(|(_, money)| std::cmp::Reverse(money.picodollars().abs()));
        main
    }
}

/// Prompt tokens by kind.
#[derive(Debug, Clone, Copy)]
struct PromptSplit {
    plain: u64,
    hour: u64,
    minutes: u64,
    read: u64,
}

impl PromptSplit {
    fn of(usage: &Usage) -> PromptSplit {
        PromptSplit {
            plain: usage.input_tokens.unwrap_or(0),
            hour: usage.cache_creation_1h_input_tokens.unwrap_or(0),
            minutes: usage.cache_creation_5m_input_tokens.unwrap_or(0),
            read: usage.cache_read_input_tokens.unwrap_or(0),
        }
    }

    /// How this many prompt tokens would be split if the cache were read as expected.
    fn expected(estimate: &Estimate, requests: u64, prompts: u64) -> PromptSplit {
        let cache = &estimate.cache;
        // The marked part grows with the prompts.
        let all = |tokens: u64| {
            scale(
                tokens.saturating_mul(estimate.requests),
                prompts,
                estimate.tokens.prompts.expected,
            )
        };
        let (hour, minutes) = (all(cache.hour_tokens), all(cache.minutes_tokens));
        // The first request finds nothing to read; the share is that of the others.
        let reads = scale(requests.saturating_sub(1), cache.reads.expected, 1_000);
        let read = scale(hour + minutes, reads, requests);
        let written = |tokens: u64| tokens - scale(tokens, reads, requests);
        PromptSplit {
            plain: prompts.saturating_sub(hour + minutes),
            hour: written(hour),
            minutes: written(minutes),
            read,
        }
    }

    fn usage(self, output: u64) -> Usage {
        Usage {
            input_tokens: Some(self.plain),
            cache_creation_1h_input_tokens: Some(self.hour),
            cache_creation_5m_input_tokens: Some(self.minutes),
            cache_read_input_tokens: Some(self.read),
            output_tokens: Some(output),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::rows::RowEstimate;
    use crate::estimate::tokens::CharacterCounts;
    use crate::estimate::{Estimator, RequestPrefix, RunHistory, Span};

    const MODEL: &str = "claude-sonnet-5-5";

    fn estimate(marked: bool) -> Estimate {
        estimate_of(marked, &[1_000], false)
    }

    /// Batches of these sizes.
    fn estimate_of(marked: bool, batches: &[usize], warms_up: bool) -> Estimate {
        let mark = if marked {
            r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#
        } else {
            ""
        };
        let head = format!(
            r#"{{"system":[{{"type":"text","text":"{}"{mark}}}],"messages":["#,
            "word ".repeat(2_000)
        );
        let prefix = RequestPrefix::text(MODEL, head.as_ref());
        let estimator = Estimator::new(Catalog::builtin(), &prefix, RunHistory::default()).unwrap();
        let mut statistics = estimator.statistics();
        let model = crate::estimate::rows::place_of(Catalog::builtin(), MODEL).unwrap();
        let output = Span {
            low: 1_000,
            expected: 10_000,
            high: 20_000,
        };
        let weight = RowEstimate {
            characters: CharacterCounts::of("some text of a row"),
            messages: 1,
            output,
            max_tokens: 100,
            model,
            ..RowEstimate::default()
        };
        for batch in batches {
            (0..*batch).for_each(|_| statistics.push(&weight));
            statistics.close();
        }
        estimator
            .estimate(&statistics, estimator.fit(), warms_up)
            .unwrap()
    }

    fn usage(prompts: u64, read: u64, written: u64, output: u64) -> Usage {
        Usage {
            input_tokens: Some(prompts - read - written),
            cache_read_input_tokens: Some(read),
            cache_creation_1h_input_tokens: Some(written),
            output_tokens: Some(output),
            ..Usage::default()
        }
    }

    fn compare(estimate: &Estimate, requests: u64, usage: &Usage) -> Comparison {
        let billed = cost::of_usage(Catalog::builtin(), MODEL, usage)
            .unwrap()
            .total();
        let comparison =
            Comparison::new(Catalog::builtin(), estimate, requests, usage, billed).unwrap();
        let sum: Money = comparison.causes.iter().map(|(_, money)| *money).sum();
        assert_eq!(
            comparison.expected.saturating_add(sum),
            billed,
            "{comparison:?}"
        );
        comparison
    }

    #[test]
    fn names_the_cause() {
        let plain = estimate(false);
        let (prompts, output) = (plain.tokens.prompts.expected, plain.tokens.output.expected);
        let cases = [
            (
                1_000,
                usage(prompts * 3 / 2, 0, 0, output),
                Cause::PromptTokens,
            ),
            (1_000, usage(prompts, 0, 0, output * 9), Cause::OutputTokens),
            (500, usage(prompts / 2, 0, 0, output / 2), Cause::Requests),
        ];
        for (requests, usage, cause) in cases {
            let main = compare(&plain, requests, &usage).main_causes();
            assert_eq!(
                main.iter().map(|(cause, _)| *cause).collect::<Vec<_>>(),
                [cause],
                "{usage:?}"
            );
        }
        let cached = estimate(true);
        let (prompts, marked) = (
            cached.tokens.prompts.expected,
            cached.cache.tokens() * 1_000,
        );
        let cold = compare(&cached, 1_000, &usage(prompts, 0, marked, output));
        assert_eq!(cold.main_causes()[0].0, Cause::CacheShare);
        assert!(cold.off > 500, "{cold:?}");
        let warm = compare(
            &cached,
            1_000,
            &usage(prompts, marked * 999 / 1_000, marked / 1_000, output),
        );
        assert!(
            warm.main_causes()[0].1.is_negative() && warm.off < 0,
            "{warm:?}"
        );
    }

    #[test]
    fn a_right_estimate_has_no_cause() {
        let plain = estimate(false);
        let comparison = compare(
            &plain,
            1_000,
            &usage(
                plain.tokens.prompts.expected,
                0,
                0,
                plain.tokens.output.expected,
            ),
        );
        assert_eq!((comparison.off, comparison.main_causes()), (0, vec![]));
    }

    #[test]
    fn small_batches_are_computed_like_the_run_as_a_whole() {
        for (batches, warms_up) in [([1, 7, 7, 7, 7, 3], true), ([9, 7, 7, 7, 7, 3], false)] {
            let cached = estimate_of(true, &batches, warms_up);
            let requests = cached.requests;
            let split = PromptSplit::expected(&cached, requests, cached.tokens.prompts.expected);
            let comparison = compare(
                &cached,
                requests,
                &split.usage(cached.tokens.output.expected),
            );
            let prices = comparison
                .causes
                .iter()
                .find(|(cause, _)| *cause == Cause::Prices)
                .unwrap()
                .1;
            assert!(
                prices.picodollars().abs() * 1_000 < cached.total.expected.picodollars(),
                "{comparison:?}"
            );
        }
    }

    #[test]
    fn nothing_billed_is_a_difference_of_all() {
        let plain = estimate(false);
        let comparison = Comparison::new(
            Catalog::builtin(),
            &plain,
            0,
            &Usage::default(),
            Money::ZERO,
        )
        .unwrap();
        assert_eq!(comparison.off, -1_000);
        assert_eq!(comparison.main_causes()[0].0, Cause::Requests);
    }
}
