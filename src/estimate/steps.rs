//! What an answer costs that is made in several steps: advice of another model, and compaction.
//!
//! Both are billed beside the answer (`usage.iterations`). A use of an advisor is a request of its
//! own, at the advisor's prices, with all that was said so far; afterwards the model reads its
//! prompt again. A prompt that has reached the length at which it is compacted is read once more,
//! and a summary is written. How often a model asks is not known before, and a loop of tools may be
//! compacted several times: the figures say what they assume.

use super::estimator::PricedModel;
use super::rows::RowSums;
use super::scale;
use super::shared::{ADVICE_TOKENS, AdvisorTool, SUMMARY_TOKENS};
use crate::catalog::Catalog;
use crate::cost::{self, Money, Unpriced};
use crate::outcome::Usage;

/// Requests of which the further steps are to be priced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) requests: u64,
    /// Tokens of all their prompts.
    pub(super) prompts: u64,
    /// Tokens of all their answers.
    pub(super) output: u64,
    /// Thousandths of the uses of an advisor that are allowed.
    pub(super) uses: u64,
}

impl PricedModel<'_> {
    /// What the steps beside the answer cost.
    pub(super) fn steps_cost(&self, catalog: &Catalog, steps: Steps) -> Result<Money, Unpriced> {
        let Steps {
            requests: n,
            prompts,
            output,
            uses,
        } = steps;
        let prompt = prompts.div_ceil(n.max(1));
        let said = prompt.saturating_add(output.div_ceil(n.max(1)));
        let mut money = Money::ZERO;
        for advisor in &self.shared.advisors {
            let uses = scale(advisor.uses().saturating_mul(n), uses, 1_000);
            let advice = advisor
                .max_tokens
                .map_or(ADVICE_TOKENS, |most| most.min(ADVICE_TOKENS));
            money += self.advice(catalog, advisor, uses, said, advice)?;
            money += self.read_again(catalog, uses, said)?;
        }
        if self
            .shared
            .compacted_from
            .is_some_and(|from| prompt >= from)
        {
            money += self.compaction(catalog, n, prompt, SUMMARY_TOKENS)?;
        }
        Ok(money)
    }

    /// Upper bound of what the steps cost, as far as there is one: one compaction, and advice as
    /// often as it is allowed or assumed.
    pub(super) fn steps_worst_case(
        &self,
        catalog: &Catalog,
        sums: &RowSums,
        prompts_worst_case: u64,
    ) -> Result<Money, Unpriced> {
        let (n, context) = (sums.requests, self.model.context_tokens);
        let mut money = Money::ZERO;
        for advisor in &self.shared.advisors {
            let uses = advisor.uses().saturating_mul(n);
            let (window, longest) = catalog
                .model(&advisor.model)
                .map_or((context, ADVICE_TOKENS), |(_, model)| {
                    (model.context_tokens, model.max_output_tokens)
                });
            money += self.advice(
                catalog,
                advisor,
                uses,
                window,
                advisor.max_tokens.unwrap_or(longest),
            )?;
            money += self.read_again(catalog, uses, context)?;
        }
        let longest = self
            .shared
            .worst_case
            .saturating_add(sums.largest)
            .max(prompts_worst_case.div_ceil(n.max(1)));
        // What an advisor or a tool adds counts for the length too.
        let grows = !self.shared.advisors.is_empty() || self.shared.found.is_some();
        if self
            .shared
            .compacted_from
            .is_some_and(|from| grows || longest >= from)
        {
            money += self.compaction(catalog, n, context, self.model.max_output_tokens)?;
        }
        Ok(money)
    }

    /// `uses` requests to an advisor.
    fn advice(
        &self,
        catalog: &Catalog,
        advisor: &AdvisorTool,
        uses: u64,
        prompt: u64,
        answer: u64,
    ) -> Result<Money, Unpriced> {
        self.requests(catalog, &advisor.model, uses, prompt, answer)
    }

    /// The prompt, read again by the model itself.
    fn read_again(&self, catalog: &Catalog, times: u64, prompt: u64) -> Result<Money, Unpriced> {
        self.requests(catalog, self.id, times, prompt, 0)
    }

    fn compaction(
        &self,
        catalog: &Catalog,
        times: u64,
        prompt: u64,
        summary: u64,
    ) -> Result<Money, Unpriced> {
        self.requests(catalog, self.id, times, prompt, summary)
    }

    fn requests(
        &self,
        catalog: &Catalog,
        model: &str,
        times: u64,
        prompt: u64,
        answer: u64,
    ) -> Result<Money, Unpriced> {
        let usage = Usage {
            input_tokens: Some(prompt.saturating_mul(times)),
            output_tokens: Some(answer.saturating_mul(times)),
            inference_geo: self.shared.inference_geo.clone(),
            ..Usage::default()
        };
        Ok(cost::of_many(catalog, model, &usage, prompt)?.total())
    }
}
