//! Usage × dated prices → money.
//!
//! ```text
//!  usage of one request                      prices of the model that answered         cost
//!   input 1,200 · read 40,000 · output 310  ×  band by the whole prompt           ─▶   input, output, cache writes, cache read,
//!   tier `batch` · place `us`                  × batch factor × factor of the place    server tools: whole 10⁻¹² dollars
//! ```
//!
//! In comes what the provider counted ([`Usage`]), or what an estimate expects it to count; out
//! goes a [`Cost`] by kind of token. The same function serves the plan, the bill and the ledger, so
//! that they cannot disagree.
//!
//! **Rules.** The band is chosen by the whole prompt (plain input, cache writes and cache reads
//! together) and holds for every token of the request, output included. The batch factor applies
//! where the tier is `batch` or not named, any other tier costs the standard price. The factor of
//! the US applies where `inference_geo` is `us` and the model has one. Both factors multiply every
//! kind of token and stack. Searches and fetches of the provider's web tools cost the same
//! everywhere. What executing code costs is counted by the hour over a whole organisation, so it
//! cannot be assigned to a request, and is in no figure.
//!
//! **Exactness.** Nothing is rounded with the prices in the catalog: tokens × price × factors is a
//! whole number of 10⁻¹² dollars. Prices of one's own can be so fine that it is not; then each kind
//! of token of a request is rounded up to the next 10⁻¹² dollar, once, so that sums over requests
//! stay sums of what the requests cost.

mod bill;
mod cache;
mod money;
#[cfg(test)]
mod tests;

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

pub use bill::{BatchCost, Bill};
pub use cache::CacheUse;
pub use money::{Money, MoneyError};

use crate::catalog::{Catalog, Price, PriceFactor, Prices};
use crate::outcome::{Outcome, Status, Usage};

/// What a batch, or an answer without a tier, is served as.
const BATCH_TIER: &str = "batch";
/// Where inference was bound to the US.
const US: &str = "us";

/// What one request cost, or several together, by what it was for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Input that was neither written to nor read from a cache.
    pub input: Money,
    /// Output, thinking included.
    pub output: Money,
    /// Input written to the five-minute cache.
    pub cache_write_5m: Money,
    /// Input written to the one-hour cache.
    pub cache_write_1h: Money,
    /// Input read from a cache.
    pub cache_read: Money,
    /// Tools that ran at the provider.
    pub server_tools: Money,
}

impl Cost {
    /// Nothing.
    pub const ZERO: Cost = Cost {
        input: Money::ZERO,
        output: Money::ZERO,
        cache_write_5m: Money::ZERO,
        cache_write_1h: Money::ZERO,
        cache_read: Money::ZERO,
        server_tools: Money::ZERO,
    };

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Money {
        self.input_side() + self.output + self.server_tools
    }

    /// What the prompt cost: plain input, cache writes and cache reads.
    #[must_use]
    pub fn input_side(&self) -> Money {
        self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        self.input += more.input;
        self.output += more.output;
        self.cache_write_5m += more.cache_write_5m;
        self.cache_write_1h += more.cache_write_1h;
        self.cache_read += more.cache_read;
        self.server_tools += more.server_tools;
    }
}

/// Why something has no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// The catalog does not know the model.
    #[error("the model `{model}` is not in the catalog, so its price is not known")]
    UnknownModel {
        /// The id.
        model: String,
    },
    /// The catalog knows the model, and no price of it.
    #[error("the catalog has no price of the model `{model}`")]
    NoPrice {
        /// The id.
        model: String,
    },
    /// Nothing was counted that can be relied on: no result line arrived, or its usage is missing
    /// or cannot be read.
    #[error("the usage is unknown")]
    NoUsage,
}

/// The prices of a model in service or retired, by id or alias.
///
/// # Errors
/// [`Unpriced::UnknownModel`] and [`Unpriced::NoPrice`].
pub fn prices<'c>(catalog: &'c Catalog, model: &str) -> Result<&'c Prices, Unpriced> {
    let prices = match (catalog.model(model), catalog.retired(model)) {
        (Some((_, model)), _) => model.prices.as_ref(),
        (None, Some((_, retired))) => retired.prices.as_ref(),
        (None, None) => {
            return Err(Unpriced::UnknownModel {
                model: model.to_owned(),
            });
        }
    };
    prices.ok_or_else(|| Unpriced::NoPrice {
        model: model.to_owned(),
    })
}

/// What one request costs by its usage, all steps together.
///
/// # Errors
/// As [`prices`].
pub fn of_usage(catalog: &Catalog, model: &str, usage: &Usage) -> Result<Cost, Unpriced> {
    if usage.iterations.is_empty() {
        return of_many(catalog, model, usage, prompt_tokens(usage));
    }
    let mut total = Cost {
        server_tools: server_tools(catalog, usage),
        ..Cost::ZERO
    };
    for (_, cost) in of_steps(catalog, model, usage)? {
        total += cost;
    }
    Ok(total)
}

/// What each step of an answer costs, with the model whose prices hold. Tools of the provider are
/// in none of them.
fn of_steps<'u>(
    catalog: &Catalog,
    model: &'u str,
    usage: &'u Usage,
) -> Result<Vec<(&'u str, Cost)>, Unpriced> {
    let step = |(model, usage): (&'u str, Usage)| {
        let cost = of_many(catalog, model, &usage, prompt_tokens(&usage))?;
        Ok((
            model,
            Cost {
                server_tools: Money::ZERO,
                ..cost
            },
        ))
    };
    steps(model, usage).map(step).collect()
}

/// The steps of an answer as usages of their own.
fn steps<'u>(model: &'u str, usage: &'u Usage) -> impl Iterator<Item = (&'u str, Usage)> {
    usage.iterations.iter().map(move |step| {
        (
            step.model.as_deref().unwrap_or(model),
            usage.with_tokens(step.tokens),
        )
    })
}

/// What was returned for a request, by the model whose prices hold; one entry for nearly every
/// answer.
///
/// # Errors
/// As [`of_outcome`].
pub fn by_model<'o>(
    catalog: &Catalog,
    outcome: &'o Outcome,
) -> Result<Vec<(&'o str, Cost)>, Unpriced> {
    let total = of_outcome(catalog, outcome)?;
    let Some(model) = outcome.model.as_deref() else {
        return Ok(Vec::new());
    };
    match &outcome.usage {
        Some(usage) if !usage.iterations.is_empty() && total != Cost::ZERO => {
            let mut shares = of_steps(catalog, model, usage)?;
            shares.push((
                model,
                Cost {
                    server_tools: total.server_tools,
                    ..Cost::ZERO
                },
            ));
            Ok(shares)
        }
        _ => Ok(vec![(model, total)]),
    }
}

/// What many requests cost together: `usage` is that of all of them, `prompt_tokens` the length of
/// the prompt of each, which decides the band.
///
/// # Errors
/// As [`prices`].
pub fn of_many(
    catalog: &Catalog,
    model: &str,
    usage: &Usage,
    prompt_tokens: u64,
) -> Result<Cost, Unpriced> {
    let prices = prices(catalog, model)?;
    let rates = prices.rates(prompt_tokens);
    let factors = PriceFactors::of(prices, usage);
    let tokens = |n: Option<u64>, price: Price| factors.amount(n.unwrap_or(0), price);
    Ok(Cost {
        input: tokens(usage.input_tokens, rates.input),
        output: tokens(usage.output_tokens, rates.output),
        cache_write_5m: tokens(usage.cache_creation_5m_input_tokens, rates.cache_write_5m),
        cache_write_1h: tokens(usage.cache_creation_1h_input_tokens, rates.cache_write_1h),
        cache_read: tokens(usage.cache_read_input_tokens, rates.cache_read),
        server_tools: server_tools(catalog, usage),
    })
}

/// What was returned for a request, as it is billed.
///
/// Nothing is billed for what errored, expired or was canceled, and for a refusal before any
/// output, whatever its usage says.
///
/// **Source**: batch guide and refusals page, read 2026-08.
///
/// # Errors
/// As [`of_usage`]; [`Unpriced::NoUsage`] where it is unknown what was used: no line arrived, or
/// its usage is missing, cannot be read, or names no input or no output tokens.
pub fn of_outcome(catalog: &Catalog, outcome: &Outcome) -> Result<Cost, Unpriced> {
    if is_never_billed(outcome) {
        return Ok(Cost::ZERO);
    }
    let usage = outcome
        .usage
        .as_ref()
        .filter(|usage| usage.is_readable())
        .ok_or(Unpriced::NoUsage)?;
    if outcome.status == Status::Refused && has_no_output(outcome, usage) {
        return Ok(Cost::ZERO);
    }
    let model = outcome.model.as_deref().ok_or(Unpriced::NoUsage)?;
    of_usage(catalog, model, usage)
}

fn is_never_billed(outcome: &Outcome) -> bool {
    matches!(outcome.result.as_str(), "errored" | "expired" | "canceled")
}

/// Whether the model declined before it wrote anything. Its usage may name output tokens all the
/// same.
fn has_no_output(outcome: &Outcome, usage: &Usage) -> bool {
    let thought = usage.thinking_tokens.is_some_and(|tokens| tokens > 0);
    let wrote = outcome.text.as_deref().is_some_and(|text| !text.is_empty());
    usage.output_tokens == Some(0) || (!thought && !wrote)
}

/// Tokens of the whole prompt, which decide the band.
#[must_use]
pub fn prompt_tokens(usage: &Usage) -> u64 {
    [
        usage.input_tokens,
        usage.cache_creation_5m_input_tokens,
        usage.cache_creation_1h_input_tokens,
        usage.cache_read_input_tokens,
    ]
    .into_iter()
    .flatten()
    .fold(0, u64::saturating_add)
}

fn server_tools(catalog: &Catalog, usage: &Usage) -> Money {
    let prices = &catalog.server_tools;
    [
        (usage.web_search_requests, prices.web_search),
        (usage.web_fetch_requests, prices.web_fetch),
    ]
    .into_iter()
    .map(|(uses, price)| u128::from(uses.unwrap_or(0)) * u128::from(price.picodollars_per_use()))
    .map(Money::from_wide)
    .sum()
}

/// What the prices of a request are multiplied with: batch and place.
#[derive(Debug, Clone, Copy)]
struct PriceFactors {
    /// The product, × 10⁶.
    millionths: u64,
}

impl PriceFactors {
    fn of(prices: &Prices, usage: &Usage) -> PriceFactors {
        let is_batch = usage
            .service_tier
            .as_deref()
            .is_none_or(|tier| tier == BATCH_TIER);
        let is_us = usage.inference_geo.as_deref() == Some(US);
        let batch = Some(prices.batch_factor).filter(|_| is_batch);
        let us = prices.us_factor.filter(|_| is_us);
        let thousandths =
            |factor: Option<PriceFactor>| u64::from(factor.map_or(1_000, PriceFactor::thousandths));
        PriceFactors {
            millionths: thousandths(batch) * thousandths(us),
        }
    }

    /// The cost of `tokens` at a price; rounded up to a whole 10⁻¹² dollar where it is none.
    fn amount(self, tokens: u64, price: Price) -> Money {
        let standard = u128::from(tokens) * u128::from(price.picodollars_per_token());
        Money::from_wide(
            standard
                .saturating_mul(self.millionths.into())
                .div_ceil(1_000_000),
        )
    }
}
