//! What the prompt cache did for a run: how much was read, and whether marking paid.
//!
//! Every request says how many of its tokens were written to the cache and how many read from it.
//! Without marks all of them would have been plain input; the difference, at the prices of the same
//! request, is what the marks saved, or lost where writes outweigh reads.

use serde::{Deserialize, Serialize};

use super::{Cost, Money, Unpriced, of_outcome, of_usage, server_tools, steps};
use crate::catalog::Catalog;
use crate::outcome::{Outcome, Usage};

/// What the cache did for some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    /// Requests that were billed.
    pub requests: u64,
    /// Requests of these that read something from the cache.
    pub reading: u64,
    /// Tokens read from the cache.
    pub read_tokens: u64,
    /// Tokens written to it.
    pub written_tokens: u64,
    /// What these tokens cost less than plain input would have; negative where they cost more.
    pub saved: Money,
}

impl CacheUse {
    /// Adds what was returned for a request. What is free, or cannot be priced, is left out.
    pub fn add(&mut self, catalog: &Catalog, outcome: &Outcome) {
        let (Some(usage), Some(model)) = (&outcome.usage, &outcome.model) else {
            return;
        };
        let Ok(cost) = of_outcome(catalog, outcome) else {
            return;
        };
        // A priced usage has no holes: a kind of cache that is not named was not used.
        let read = usage.cache_read_input_tokens.unwrap_or(0);
        let written = written(usage);
        if cost.total() == Money::ZERO {
            return;
        }
        self.requests += 1;
        if read + written == 0 {
            return;
        }
        let Ok(plain) = unmarked_cost(catalog, model, usage) else {
            return;
        };
        self.reading += u64::from(read > 0);
        self.read_tokens += read;
        self.written_tokens += written;
        self.saved = self
            .saved
            .saturating_add(plain.total().saturating_sub(cost.total()));
    }

    /// Adds what it did for other requests.
    pub fn merge(&mut self, other: &CacheUse) {
        self.requests += other.requests;
        self.reading += other.reading;
        self.read_tokens += other.read_tokens;
        self.written_tokens += other.written_tokens;
        self.saved = self.saved.saturating_add(other.saved);
    }

    /// Whether anything was written or read.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.read_tokens + self.written_tokens > 0
    }

    /// How many of the tokens that were marked were read and not written, in thousandths; `None`
    /// where none were.
    #[must_use]
    pub fn read_share(&self) -> Option<u64> {
        let marked = u128::from(self.read_tokens) + u128::from(self.written_tokens);
        let share = (u128::from(self.read_tokens) * 1_000).checked_div(marked)?;
        u64::try_from(share).ok()
    }
}

fn written(usage: &Usage) -> u64 {
    let [minutes, hour] = [
        usage.cache_creation_5m_input_tokens,
        usage.cache_creation_1h_input_tokens,
    ];
    minutes.unwrap_or(0).saturating_add(hour.unwrap_or(0))
}

/// What the same usage would cost if nothing had been marked, each step by itself.
fn unmarked_cost(catalog: &Catalog, model: &str, usage: &Usage) -> Result<Cost, Unpriced> {
    if usage.iterations.is_empty() {
        return of_usage(catalog, model, &unmarked(usage));
    }
    let mut total = Cost {
        server_tools: server_tools(catalog, usage),
        ..Cost::ZERO
    };
    for (model, step) in steps(model, usage) {
        let step = Usage {
            web_search_requests: None,
            web_fetch_requests: None,
            ..unmarked(&step)
        };
        total += of_usage(catalog, model, &step)?;
    }
    Ok(total)
}

fn unmarked(usage: &Usage) -> Usage {
    let cached = usage
        .cache_read_input_tokens
        .unwrap_or(0)
        .saturating_add(written(usage));
    Usage {
        input_tokens: Some(usage.input_tokens.unwrap_or(0).saturating_add(cached)),
        cache_creation_5m_input_tokens: None,
        cache_creation_1h_input_tokens: None,
        cache_read_input_tokens: None,
        ..usage.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Status;

    fn outcome(input: u64, written_1h: u64, read: u64) -> Outcome {
        Outcome {
            status: Status::Succeeded,
            result: "succeeded".to_owned(),
            text: Some("words".to_owned()),
            calls_tools: false,
            stop_reason: None,
            error_type: None,
            error: None,
            model: Some("claude-haiku-4-5".to_owned()),
            message_id: None,
            usage: Some(Usage {
                input_tokens: Some(input),
                cache_creation_1h_input_tokens: Some(written_1h),
                cache_read_input_tokens: Some(read),
                output_tokens: Some(10),
                service_tier: Some("batch".to_owned()),
                ..Usage::default()
            }),
            details: None,
        }
    }

    fn after(outcomes: &[Outcome]) -> CacheUse {
        let mut cache = CacheUse::default();
        outcomes
            .iter()
            .for_each(|outcome| cache.add(Catalog::builtin(), outcome));
        cache
    }

    #[test]
    fn reports_what_reads_saved_and_writes_cost() {
        // Haiku 4.5 in a batch, dollars a million: input 0.50, written for an hour 1, read 0.05.
        // One write of 10,000 tokens costs 0.005 more than plain input, each read of them 0.0045
        // less.
        let written = after(&[outcome(100, 10_000, 0)]);
        assert_eq!(written.saved, "-0.005".parse().unwrap());
        assert_eq!((written.reading, written.read_share()), (0, Some(0)));
        let mut primed = after(&[
            outcome(100, 0, 10_000),
            outcome(90, 0, 10_000),
            outcome(70, 0, 10_000),
        ]);
        primed.merge(&written);
        assert_eq!(primed.saved, "0.0085".parse().unwrap());
        assert_eq!(
            (primed.requests, primed.reading, primed.read_share()),
            (4, 3, Some(750))
        );
    }

    #[test]
    fn says_nothing_where_nothing_is_cached_or_billed() {
        let plain = after(&[outcome(100, 0, 0)]);
        assert_eq!(
            (
                plain.requests,
                plain.is_used(),
                plain.read_share(),
                plain.saved
            ),
            (1, false, None, Money::ZERO)
        );
        let errored = Outcome {
            result: "errored".to_owned(),
            status: Status::Errored,
            ..outcome(1, 10_000, 0)
        };
        let unknown = Outcome {
            model: Some("no-such-model".to_owned()),
            ..outcome(1, 10_000, 0)
        };
        assert_eq!(after(&[errored, unknown]), CacheUse::default());
    }

    #[test]
    fn the_band_of_a_long_prompt_stays_what_it_is() {
        // Haiku 5.5 above 100,000 tokens, in a batch: input 0.25, read 0.025 dollars a million;
        // cached tokens count for the band.
        let long = Outcome {
            model: Some("claude-haiku-5-5".to_owned()),
            ..outcome(40_000, 0, 80_000)
        };
        assert_eq!(after(&[long]).saved, "0.018".parse().unwrap());
    }
}
