//! The cost of requests of one model in each scenario: low, expected, high, worst case.

use super::assumptions::EXPECTED_USES;
use super::cache::CacheOutlook;
use super::estimator::PricedModel;
use super::fit::Fit;
use super::rows::RowSums;
use super::shared::MarkedTokens;
use super::steps::Steps;
use super::tokens::costs;
use super::{Bounds, MeasuredPrompts, Span, Tokens, scale};
use crate::catalog::Catalog;
use crate::cost::{self, Money, Unpriced};
use crate::outcome::Usage;
use crate::template::prompt::CacheTtl;

/// One set of assumptions, by which requests are priced.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    /// Thousandths of the tokens that prompts have by the fit.
    prompts: u64,
    /// Thousandths of requests that read the cache.
    reads: u64,
    /// Thousandths of the searches, and of the uses of an advisor, that are allowed.
    uses: u64,
    /// Whether prompts hold what tools of the provider's may find.
    finds: bool,
    /// Which end of the range of answers.
    output: fn(Span) -> u64,
}

/// Prices requests of one model, batch after batch, in the order in which they are sent.
pub(super) struct ModelEstimator<'a> {
    priced: &'a PricedModel<'a>,
    fit: Fit,
    /// What results of the run showed of prompts to this model.
    measured: MeasuredPrompts,
    pub(super) cache: CacheOutlook,
    /// Nothing has been written into the cache yet.
    unwritten: bool,
    /// Requests so far that may find something to read. Their share is rounded over all of them:
    /// rounded for each small batch, 98% of five requests would be all of them.
    before: u64,
}

impl<'a> ModelEstimator<'a> {
    pub(super) fn new(
        priced: &'a PricedModel<'a>,
        fit: Fit,
        warms_up: bool,
        reads: Option<(u64, u64)>,
    ) -> ModelEstimator<'a> {
        let MarkedTokens { hour, minutes } = priced.shared.marked;
        let marked = MarkedTokens {
            hour: fit.shared(hour),
            minutes: fit.shared(minutes),
        };
        let cache = CacheOutlook::new(marked, priced.prices, warms_up, reads);
        ModelEstimator {
            priced,
            fit,
            measured: MeasuredPrompts::default(),
            cache,
            unwritten: true,
            before: 0,
        }
    }

    pub(super) fn with_measured(mut self, measured: MeasuredPrompts) -> ModelEstimator<'a> {
        self.measured = measured;
        self
    }

    pub(super) fn bounds(&mut self, catalog: &Catalog, sums: &RowSums) -> Result<Bounds, Unpriced> {
        let off = self.fit.off;
        let reads = self.cache.reads;
        let low = Scenario {
            prompts: 1_000 - off.min(1_000),
            reads: reads.low,
            uses: 0,
            finds: false,
            output: |span| span.low,
        };
        let expected = Scenario {
            prompts: 1_000,
            reads: reads.expected,
            uses: EXPECTED_USES,
            finds: false,
            output: |span| span.expected,
        };
        let high = Scenario {
            prompts: 1_000 + off,
            reads: reads.high,
            uses: 1_000,
            finds: true,
            output: |span| span.high,
        };
        // The first request of the run finds nothing to read.
        let writes_one = std::mem::take(&mut self.unwritten);
        let worst_case = self.worst_case(catalog, sums)?;
        let may_read = sums.requests.saturating_sub(u64::from(writes_one));
        let cost = |scenario| {
            Ok(self
                .cost(catalog, sums, scenario, may_read)?
                .min(worst_case))
        };
        let bounds = Bounds {
            low: cost(low)?,
            expected: cost(expected)?,
            high: cost(high)?,
            worst_case,
        };
        self.before += may_read;
        Ok(bounds)
    }

    fn cost(
        &self,
        catalog: &Catalog,
        sums: &RowSums,
        scenario: Scenario,
        may_read: u64,
    ) -> Result<Money, Unpriced> {
        let by = |tokens: u64| scale(tokens, scenario.prompts, 1_000);
        let n = sums.requests;
        let mut prompts = by(self.fit.prompts(sums, &self.priced.shared));
        if let Some(found) = self.priced.shared.found.filter(|_| scenario.finds) {
            let context = self.priced.model.context_tokens.saturating_mul(n);
            prompts = prompts
                .saturating_add(found.saturating_mul(n))
                .min(context.max(prompts));
        }
        let reads_of = |requests| scale(requests, scenario.reads, 1_000);
        let reads = (reads_of(self.before + may_read) - reads_of(self.before)).min(may_read);
        let writes = if self.cache.tokens() == 0 {
            0
        } else {
            n - reads
        };
        let (hour, minutes) = (by(self.cache.hour_tokens), by(self.cache.minutes_tokens));
        let rest = prompts.saturating_sub((hour + minutes).saturating_mul(n));
        // A mark behind the row's own text: each row writes it, and none reads it.
        let is_long_enough = prompts / n.max(1) >= self.priced.model.min_cache_tokens;
        let (rest, rest_hour, rest_minutes) =
            match self.priced.shared.each_writes.filter(|_| is_long_enough) {
                None => (rest, 0, 0),
                Some(CacheTtl::OneHour) => (0, rest, 0),
                Some(CacheTtl::FiveMinutes) => (0, 0, rest),
            };
        let usage = Usage {
            input_tokens: Some(rest),
            cache_creation_1h_input_tokens: Some(
                hour.saturating_mul(writes).saturating_add(rest_hour),
            ),
            cache_creation_5m_input_tokens: Some(
                minutes.saturating_mul(writes).saturating_add(rest_minutes),
            ),
            cache_read_input_tokens: Some((hour + minutes).saturating_mul(reads)),
            output_tokens: Some((scenario.output)(sums.output).div_ceil(1_000)),
            inference_geo: self.priced.shared.inference_geo.clone(),
            web_search_requests: self
                .searches(n)
                .map(|searches| scale(searches, scenario.uses, 1_000)),
            ..Usage::default()
        };
        let output = (scenario.output)(sums.output).div_ceil(1_000);
        let steps = Steps {
            requests: n,
            prompts,
            output,
            uses: scenario.uses,
        };
        Ok(self.price(catalog, &usage, prompts / n.max(1))?
            + self.priced.steps_cost(catalog, steps)?)
    }

    /// Searches of this many requests in the worst case; `None` where they are not offered.
    fn searches(&self, requests: u64) -> Option<u64> {
        self.priced
            .shared
            .searches
            .map(|_| self.priced.shared.max_searches().saturating_mul(requests))
    }

    /// No answer is longer than `max_tokens`, no prompt has more tokens than bytes, or than results
    /// of the run let expect, and nothing is read from the cache. What tools of the provider's find adds to prompts, and nothing limits
    /// it but the context window.
    fn worst_case(&self, catalog: &Catalog, sums: &RowSums) -> Result<Money, Unpriced> {
        let n = sums.requests;
        let (shared, context) = (
            self.measured.shared(&self.priced.shared),
            self.priced.model.context_tokens,
        );
        let prompts = self.prompts_worst_case(sums).min(context.saturating_mul(n));
        let own = self.priced.shared.each_writes;
        let hour = self.cache.hour_tokens > 0 || own == Some(CacheTtl::OneHour);
        let minutes = self.cache.minutes_tokens > 0;
        // All that is shared may be written, at the most expensive of the marks; with a mark behind
        // it, the row's own text too.
        let written = match own {
            Some(_) => prompts,
            None if hour || minutes => shared.saturating_mul(n).min(prompts),
            None => 0,
        };
        let mut usage = Usage {
            input_tokens: Some(prompts - written),
            output_tokens: Some(sums.max_tokens),
            inference_geo: self.priced.shared.inference_geo.clone(),
            web_search_requests: self.searches(n),
            ..Usage::default()
        };
        if hour {
            usage.cache_creation_1h_input_tokens = Some(written);
        } else {
            usage.cache_creation_5m_input_tokens = Some(written);
        }
        let largest = if self.priced.shared.found.is_some() {
            context
        } else {
            shared.saturating_add(sums.largest)
        };
        Ok(self.price(catalog, &usage, largest.min(context))?
            + self.priced.steps_worst_case(catalog, sums, prompts)?)
    }

    fn prompts_worst_case(&self, sums: &RowSums) -> u64 {
        let shared = &self.priced.shared;
        let whole = if shared.found.is_some() {
            self.priced.model.context_tokens
        } else {
            0
        };
        let text = sums
            .characters
            .thousandths(&costs(self.priced.model.tokenizer));
        let text = self.measured.text(shared, text, sums.characters.bytes);
        self.measured
            .shared(shared)
            .saturating_mul(sums.requests)
            .saturating_add(text)
            .saturating_add(sums.worst_case() - sums.characters.bytes)
            .max(whole.saturating_mul(sums.requests))
    }

    fn price(
        &self,
        catalog: &Catalog,
        usage: &Usage,
        prompt_tokens: u64,
    ) -> Result<Money, Unpriced> {
        Ok(cost::of_many(catalog, self.priced.id, usage, prompt_tokens)?.total())
    }

    pub(super) fn add_tokens(&self, tokens: &mut Tokens, sums: &RowSums) {
        let prompts = self.fit.prompts(sums, &self.priced.shared);
        let off = self.fit.off;
        tokens.prompts.add(Span {
            low: scale(prompts, 1_000 - off.min(1_000), 1_000),
            expected: prompts,
            high: scale(prompts, 1_000 + off, 1_000).saturating_add(
                self.priced
                    .shared
                    .found
                    .unwrap_or(0)
                    .saturating_mul(sums.requests),
            ),
        });
        tokens.fixed += sums.fixed();
        tokens.prompts_by_letters +=
            Fit::constants(self.priced.model.tokenizer).prompts(sums, &self.priced.shared);
        tokens
            .output
            .add(sums.output.map(|thousandths| thousandths.div_ceil(1_000)));
        tokens.prompts_worst_case = tokens
            .prompts_worst_case
            .saturating_add(self.prompts_worst_case(sums));
        tokens.output_worst_case = tokens.output_worst_case.saturating_add(sums.max_tokens);
    }
}
