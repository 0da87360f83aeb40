//! What a run will cost, before anything is sent.
//!
//! In come the requests as they are rendered, the prices, and what earlier runs of the job learned;
//! out comes an [`Estimate`]: tokens and money, for each batch and for all of them, as a range.
//!
//! ```text
//!  head ──▶ Shared ───┐                     prices, cache outlook ─┐
//!  fragment ─▶ RowEstimate ─┴▶ BatchStatistics ── Fit ──▶ tokens ──────────────┴▶ Estimate: low, likely, high, most
//!           (by every core)      constants, a counted sample,
//!                                or the bill of an earlier run
//! ```
//!
//! * **low**: everything goes well: few tokens, short answers, and the shared part is read from the
//!   cache wherever that can be.
//! * **likely**: what to reckon with.
//! * **high**: nothing goes well: many tokens, long answers, every search that is allowed, and no
//!   cache is read. This is what is reserved of a budget while a batch is in flight.
//! * **most**: what a batch cannot pass: every answer as long as `max_tokens` lets it, no cache
//!   read, every byte of a prompt a token, or where tools of the provider's add to it, the whole
//!   context window.
//!
//! [`Estimate::says`] has these in words, with the figures that were assumed.
//!
//! Everything here is pure: no clock, no file, no network. To add a kind of thing that costs
//! tokens: a field of [`rows::RowEstimate`] if it belongs to a row, of [`shared::Shared`] if to
//! all.

pub mod cache;
pub mod compare;
pub mod fit;
pub mod learned;
pub mod lengths;
pub mod media;
pub mod output;
pub mod rows;
pub mod sample;
pub mod sample_plan;
pub mod shared;
mod steps;
pub mod tokens;
pub mod warm_up;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Model, Prices};
use crate::cost::{self, Money, Unpriced};
use crate::media::MediaFacts;
use crate::outcome::Usage;
use crate::template::prompt::CacheTtl;
use cache::{CacheOutlook, ReadsBasis};
use fit::{Fit, FitBasis};
use lengths::Lengths;
use media::Media;
use output::{Guess, OutputBasis};
use rows::{BatchStatistics, Load, RowEstimator, Span, scale};
use shared::{Marked, Shared};
use steps::Steps;

/// What a run is expected to cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The day of the prices.
    pub priced_at: Date,
    /// The model whose prices they are.
    pub model: String,
    /// Requests.
    pub requests: u64,
    /// All batches together.
    pub total: Bounds,
    /// The batches in their order: batch 1 stands first.
    pub pieces: Vec<Bounds>,
    /// What is behind the money.
    pub tokens: Tokens,
    /// How characters became tokens.
    pub fit: Fit,
    /// How the length of answers is known.
    pub output_basis: OutputBasis,
    /// What is expected of the cache.
    pub cache: CacheOutlook,
    /// What each figure assumes, in words.
    pub says: Says,
}

/// What something is expected to cost: never more than [`Bounds::most`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// If everything goes well.
    pub low: Money,
    /// What to reckon with.
    pub likely: Money,
    /// If nothing goes well; reserved while it is in flight.
    pub high: Money,
    /// What it cannot pass.
    pub most: Money,
}

/// Tokens behind an estimate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// What every request has in common; each carries it.
    pub shared: u64,
    /// Tokens of all prompts, the shared part of each included.
    pub prompts: Span,
    /// The same by the constants alone.
    pub prompts_by_letters: u64,
    /// Those of them that no fit changes: what messages cost beside their text, pictures and
    /// documents.
    pub fixed: u64,
    /// Tokens of all answers.
    pub output: Span,
    /// More than the tokens of all prompts can be.
    pub prompts_most: u64,
    /// `max_tokens` of all requests.
    pub output_most: u64,
}

/// What each figure of an estimate assumes, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named like the figures")]
pub struct Says {
    pub low: String,
    pub likely: String,
    pub high: String,
    pub most: String,
}

/// What earlier runs of a job showed, as far as an estimate uses it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// How characters became tokens.
    pub fit: Option<Fit>,
    /// How long answers were, and whether the prompt has changed since.
    pub lengths: Option<(Lengths, bool)>,
    /// Share of the requests that read the shared part from the cache, in thousandths, and of how
    /// many rows that is known.
    pub reads: Option<(u64, u64)>,
}

/// The requests that an estimate is about, before any row of them.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The job's model, by id or alias.
    pub model: &'a str,
    /// The beginning of every request.
    pub head: &'a [u8],
    /// The pictures and documents in it.
    pub media: &'a MediaFacts,
}

impl<'a> Asked<'a> {
    /// Requests without shared pictures and documents.
    #[must_use]
    pub fn text(model: &'a str, head: &'a [u8]) -> Asked<'a> {
        static NONE: std::sync::LazyLock<MediaFacts> =
            std::sync::LazyLock::new(MediaFacts::default);
        Asked {
            model,
            head,
            media: &NONE,
        }
    }
}

/// Makes the estimates of one job.
#[derive(Debug)]
pub struct Estimator<'c> {
    catalog: &'c Catalog,
    head: Vec<u8>,
    media: MediaFacts,
    /// The job's own model; rows may choose another.
    own: Side<'c>,
    place: usize,
    known: Known,
    estimator: RowEstimator<'c>,
}

/// A model, and what all requests share as it counts it.
#[derive(Debug)]
struct Side<'c> {
    id: &'c str,
    model: &'c Model,
    prices: &'c Prices,
    shared: Shared,
}

impl<'c> Side<'c> {
    fn new(
        catalog: &'c Catalog,
        model: &str,
        head: &[u8],
        media: &MediaFacts,
    ) -> Result<Side<'c>, Unpriced> {
        let prices = cost::prices(catalog, model)?;
        let (id, model) = catalog.model(model).ok_or_else(|| Unpriced::UnknownModel {
            model: model.to_owned(),
        })?;
        let shared = Shared::of(head, Media::of(media, model), model);
        // An advisor without a price would make every figure too low.
        shared
            .advisors
            .iter()
            .try_for_each(|advisor| cost::prices(catalog, &advisor.model).map(drop))?;
        Ok(Side {
            id,
            model,
            prices,
            shared,
        })
    }
}

impl<'c> Estimator<'c> {
    /// For the requests of a job.
    ///
    /// # Errors
    /// [`Unpriced`] where the model, or its price, is not in the catalog.
    pub fn new(
        catalog: &'c Catalog,
        asked: &Asked<'_>,
        known: Known,
    ) -> Result<Estimator<'c>, Unpriced> {
        let own = Side::new(catalog, asked.model, asked.head, asked.media)?;
        let lengths = known
            .lengths
            .as_ref()
            .map(|(lengths, stale)| (lengths, *stale));
        let guess = Guess::new(own.id, own.model, &own.shared, lengths);
        let place = rows::place_of(catalog, own.id).unwrap_or(usize::MAX);
        let estimator = RowEstimator { catalog, guess };
        Ok(Estimator {
            catalog,
            head: asked.head.to_vec(),
            media: asked.media.clone(),
            own,
            place,
            known,
            estimator,
        })
    }

    /// What weighs rows.
    #[must_use]
    pub fn estimator(&self) -> &RowEstimator<'c> {
        &self.estimator
    }

    /// What requests share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.own.shared
    }

    /// A place for the weights of rows.
    #[must_use]
    pub fn gathered(&self) -> BatchStatistics {
        let banded = self
            .catalog
            .models
            .values()
            .filter_map(|model| model.prices.as_ref())
            .any(|prices| !prices.bands.is_empty());
        BatchStatistics::new(banded.then_some(self.own.model.tokenizer))
    }

    /// The fit where nothing is counted: what earlier runs showed, else the constants.
    #[must_use]
    pub fn fit(&self) -> Fit {
        self.known
            .fit
            .clone()
            .unwrap_or_else(|| Fit::constants(self.own.model.tokenizer))
    }

    /// A fit to rows that the provider counted.
    #[must_use]
    pub fn counted(&self, shared_tokens: u64, sample: &[fit::Counted], all: &Load) -> Fit {
        Fit::counted(
            self.own.model.tokenizer,
            &self.own.shared,
            shared_tokens,
            sample,
            all,
        )
    }

    /// The estimate of rows that were weighed, by a fit. `primed` says that one request goes first
    /// and writes the cache.
    ///
    /// # Errors
    /// [`Unpriced`].
    pub fn estimate(
        &self,
        gathered: &BatchStatistics,
        fit: Fit,
        primed: bool,
    ) -> Result<Estimate, Unpriced> {
        let reads = self.known.reads;
        let mut views =
            BTreeMap::from([(self.place, View::new(&self.own, fit.clone(), primed, reads))]);
        let others: BTreeSet<usize> = gathered
            .pieces
            .iter()
            .flat_map(BTreeMap::keys)
            .map(|(model, _)| *model)
            .collect();
        let sides: Vec<(usize, Side<'_>)> = others
            .into_iter()
            .filter(|place| *place != self.place)
            .map(|place| {
                let id = self
                    .catalog
                    .models
                    .keys()
                    .nth(place)
                    .map_or("", String::as_str);
                Ok((place, Side::new(self.catalog, id, &self.head, &self.media)?))
            })
            .collect::<Result<_, Unpriced>>()?;
        for (place, side) in &sides {
            // What was counted or billed for one tokenizer says nothing of the other.
            let same = side.model.tokenizer == self.own.model.tokenizer;
            let fit = if same {
                fit.clone()
            } else {
                Fit::constants(side.model.tokenizer)
            };
            views.insert(*place, View::new(side, fit, primed, reads));
        }
        let mut pieces = Vec::with_capacity(gathered.pieces.len());
        let own = &self.own;
        let mut tokens = Tokens {
            shared: fit.shared(own.shared.tokens),
            ..Tokens::default()
        };
        for loads in &gathered.pieces {
            let mut bounds = Bounds::default();
            for ((place, _), load) in loads.iter().filter(|(_, load)| load.requests > 0) {
                let view = views.get_mut(place).expect("every model has a view");
                bounds.add(view.bounds(self.catalog, load)?);
                view.add_tokens(&mut tokens, load);
            }
            pieces.push(bounds);
        }
        let mut total = Bounds::default();
        pieces.iter().for_each(|piece| total.add(*piece));
        let requests = gathered.total().requests;
        let view = views
            .remove(&self.place)
            .expect("the job's own model has a view");
        let says = view.says(&self.estimator.guess, &tokens, requests);
        Ok(Estimate {
            priced_at: self.catalog.date,
            model: own.id.to_owned(),
            requests,
            total,
            pieces,
            tokens,
            says,
            output_basis: self.estimator.guess.basis.clone(),
            cache: view.cache,
            fit,
        })
    }
}

impl Bounds {
    fn add(&mut self, other: Bounds) {
        self.low += other.low;
        self.likely += other.likely;
        self.high += other.high;
        self.most += other.most;
    }
}

/// One way in which things may go.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    /// Thousandths of the tokens that prompts have by the fit.
    prompts: u64,
    /// Thousandths of requests that read the cache.
    reads: u64,
    /// Thousandths of the searches, and of the uses of an advisor, that are allowed.
    searches: u64,
    /// Whether prompts hold what tools of the provider's may find.
    finds: bool,
    /// Which end of the range of answers.
    output: fn(Span) -> u64,
}

/// Thousandths of the searches that are allowed which are likely made. **Source**: an assumption.
const LIKELY_SEARCHES: u64 = 500;

/// A model with all that is assumed of it.
struct View<'a> {
    side: &'a Side<'a>,
    fit: Fit,
    cache: CacheOutlook,
    /// Nothing has been written into the cache yet.
    unwritten: bool,
    /// Requests so far that may find something to read: shares of them are rounded over all, not
    /// anew for each few.
    before: u64,
}

impl<'a> View<'a> {
    fn new(side: &'a Side<'a>, fit: Fit, primed: bool, reads: Option<(u64, u64)>) -> View<'a> {
        let Marked { hour, minutes } = side.shared.marked;
        let marked = Marked {
            hour: fit.shared(hour),
            minutes: fit.shared(minutes),
        };
        let cache = CacheOutlook::new(marked, side.prices, primed, reads);
        View {
            side,
            fit,
            cache,
            unwritten: true,
            before: 0,
        }
    }

    fn bounds(&mut self, catalog: &Catalog, load: &Load) -> Result<Bounds, Unpriced> {
        let off = self.fit.off;
        let reads = self.cache.reads;
        let low = Scenario {
            prompts: 1_000 - off.min(1_000),
            reads: reads.low,
            searches: 0,
            finds: false,
            output: |span| span.low,
        };
        let likely = Scenario {
            prompts: 1_000,
            reads: reads.likely,
            searches: LIKELY_SEARCHES,
            finds: false,
            output: |span| span.likely,
        };
        let high = Scenario {
            prompts: 1_000 + off,
            reads: reads.high,
            searches: 1_000,
            finds: true,
            output: |span| span.high,
        };
        // The first request of the run finds nothing to read.
        let write_one = std::mem::take(&mut self.unwritten);
        let most = self.most(catalog, load)?;
        let may_read = load.requests.saturating_sub(u64::from(write_one));
        let cost = |scenario| Ok(self.cost(catalog, load, scenario, may_read)?.min(most));
        let bounds = Bounds {
            low: cost(low)?,
            likely: cost(likely)?,
            high: cost(high)?,
            most,
        };
        self.before += may_read;
        Ok(bounds)
    }

    fn cost(
        &self,
        catalog: &Catalog,
        load: &Load,
        scenario: Scenario,
        may_read: u64,
    ) -> Result<Money, Unpriced> {
        let by = |tokens: u64| scale(tokens, scenario.prompts, 1_000);
        let n = load.requests;
        let mut prompts = by(self.fit.prompts(load, &self.side.shared));
        if let Some(found) = self.side.shared.found.filter(|_| scenario.finds) {
            let context = self.side.model.context_tokens.saturating_mul(n);
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
        let is_long_enough = prompts / n.max(1) >= self.side.model.min_cache_tokens;
        let (rest, rest_hour, rest_minutes) =
            match self.side.shared.each_writes.filter(|_| is_long_enough) {
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
            output_tokens: Some((scenario.output)(load.output).div_ceil(1_000)),
            inference_geo: self.side.shared.inference_geo.clone(),
            web_search_requests: self
                .searches(n)
                .map(|searches| scale(searches, scenario.searches, 1_000)),
            ..Usage::default()
        };
        let output = (scenario.output)(load.output).div_ceil(1_000);
        let steps = Steps {
            requests: n,
            prompts,
            output,
            uses: scenario.searches,
        };
        Ok(self.price(catalog, &usage, prompts / n.max(1))?
            + self.side.steps_cost(catalog, steps)?)
    }

    /// Searches of so many requests in the worst case; `None` where they are not offered.
    fn searches(&self, requests: u64) -> Option<u64> {
        self.side
            .shared
            .searches
            .map(|_| self.side.shared.most_searches().saturating_mul(requests))
    }

    /// No answer is longer than `max_tokens`, no prompt has more tokens than bytes, and nothing is
    /// read from the cache. What tools of the provider's find adds to prompts, and nothing limits
    /// it but the context window.
    fn most(&self, catalog: &Catalog, load: &Load) -> Result<Money, Unpriced> {
        let n = load.requests;
        let (shared, context) = (self.side.shared.most, self.side.model.context_tokens);
        let prompts = self.prompts_most(load).min(context.saturating_mul(n));
        let own = self.side.shared.each_writes;
        let hour = self.cache.hour_tokens > 0 || own == Some(CacheTtl::OneHour);
        let minutes = self.cache.minutes_tokens > 0;
        // All that is shared may be written, at the dearest of the marks; with a mark behind it,
        // the row's own text too.
        let written = match own {
            Some(_) => prompts,
            None if hour || minutes => shared.saturating_mul(n).min(prompts),
            None => 0,
        };
        let mut usage = Usage {
            input_tokens: Some(prompts - written),
            output_tokens: Some(load.max_tokens),
            inference_geo: self.side.shared.inference_geo.clone(),
            web_search_requests: self.searches(n),
            ..Usage::default()
        };
        if hour {
            usage.cache_creation_1h_input_tokens = Some(written);
        } else {
            usage.cache_creation_5m_input_tokens = Some(written);
        }
        let heaviest = if self.side.shared.found.is_some() {
            context
        } else {
            shared.saturating_add(load.heaviest)
        };
        Ok(self.price(catalog, &usage, heaviest.min(context))?
            + self.side.steps_most(catalog, load, prompts)?)
    }

    fn prompts_most(&self, load: &Load) -> u64 {
        let Shared { most, found, .. } = &self.side.shared;
        let whole = if found.is_some() {
            self.side.model.context_tokens
        } else {
            0
        };
        most.saturating_mul(load.requests)
            .saturating_add(load.most())
            .max(whole.saturating_mul(load.requests))
    }

    fn price(
        &self,
        catalog: &Catalog,
        usage: &Usage,
        prompt_tokens: u64,
    ) -> Result<Money, Unpriced> {
        Ok(cost::of_many(catalog, self.side.id, usage, prompt_tokens)?.total())
    }

    fn add_tokens(&self, tokens: &mut Tokens, load: &Load) {
        let prompts = self.fit.prompts(load, &self.side.shared);
        let off = self.fit.off;
        tokens.prompts.add(Span {
            low: scale(prompts, 1_000 - off.min(1_000), 1_000),
            likely: prompts,
            high: scale(prompts, 1_000 + off, 1_000).saturating_add(
                self.side
                    .shared
                    .found
                    .unwrap_or(0)
                    .saturating_mul(load.requests),
            ),
        });
        tokens.fixed += load.fixed();
        tokens.prompts_by_letters +=
            Fit::constants(self.side.model.tokenizer).prompts(load, &self.side.shared);
        tokens
            .output
            .add(load.output.map(|thousandths| thousandths.div_ceil(1_000)));
        tokens.prompts_most = tokens.prompts_most.saturating_add(self.prompts_most(load));
        tokens.output_most = tokens.output_most.saturating_add(load.max_tokens);
    }

    fn says(&self, guess: &Guess, tokens: &Tokens, requests: u64) -> Says {
        let n = requests.max(1);
        let off = share(self.fit.off);
        let mean = |tokens: u64| tokens.div_ceil(n);
        let reads = |thousandths: u64, what: &str| match self.cache.tokens() {
            0 => String::new(),
            _ => format!(
                ", {} of the requests read the cache{what}",
                share(thousandths)
            ),
        };
        let likely_reads = match self.cache.basis {
            ReadsBasis::Documented => " (the middle of what is documented, 30% to 98%)",
            ReadsBasis::Primed => ", since one request goes first",
            ReadsBasis::Runs { .. } => ", as in earlier runs",
            ReadsBasis::Nothing => "",
        };
        let likely = match &self.fit.basis {
            FitBasis::Constants => "tokens by the letters of the text".to_owned(),
            FitBasis::Counted { rows } => format!("tokens as counted in {rows} rows"),
            FitBasis::Learned { rows } => format!("tokens as billed in {rows} rows"),
        };
        let output = match (&guess.basis, guess.thinking) {
            (OutputBasis::Runs { rows, .. }, _) => format!("as in {rows} rows of earlier runs"),
            (OutputBasis::Schema, 0) => "by the schema".to_owned(),
            (OutputBasis::Schema, thinking) => {
                format!("by the schema, {thinking} of them thinking")
            }
            (OutputBasis::MaxTokens, 0) => "a quarter of `max_tokens`".to_owned(),
            (OutputBasis::MaxTokens, thinking) => {
                format!("a quarter of `max_tokens`, and {thinking} of thinking")
            }
        };
        let Shared {
            searches, found, ..
        } = self.side.shared;
        let allowed = match (searches, self.side.shared.most_searches()) {
            (None, _) => String::new(),
            (Some(u64::MAX), assumed) => {
                format!("{assumed} searches a request (assumed, since nothing limits them)")
            }
            (Some(_), limit) => format!("{limit} searches a request"),
        };
        let likely_searches = if allowed.is_empty() {
            String::new()
        } else {
            format!(", {} of {allowed} (assumed)", share(LIKELY_SEARCHES))
        };
        let searches = if allowed.is_empty() {
            String::new()
        } else {
            format!(", {allowed}")
        };
        let finds = found.map_or_else(String::new, |found| {
            format!(", up to {found} tokens a request of what the provider's tools find (assumed)")
        });
        let steps = |uses| steps::says(&self.side.shared, uses);
        let shortest = mean(tokens.output.low);
        let longest = mean(tokens.output.high);
        Says {
            low: format!(
                "{off} fewer tokens, answers of {shortest}{}",
                reads(self.cache.reads.low, "")
            ),
            likely: format!(
                "{likely}, answers of {} ({output}){likely_searches}{}{}",
                mean(tokens.output.likely),
                steps(LIKELY_SEARCHES),
                reads(self.cache.reads.likely, likely_reads)
            ),
            high: format!(
                "{off} more tokens, answers of {longest}{searches}{finds}{}{}",
                steps(1_000),
                if self.cache.tokens() == 0 {
                    ""
                } else {
                    ", every request writes the cache and none reads it"
                }
            ),
            most: format!(
                "{}, every answer as long as `max_tokens`{searches}{}",
                if found.is_some() {
                    "every prompt as long as the model's context window, since the provider's \
                     tools may fill it"
                } else {
                    "a token for every byte"
                },
                steps(1_000)
            ),
        }
    }
}

/// Thousandths in words: `2.5%`.
#[must_use]
pub fn share(thousandths: u64) -> String {
    if thousandths.is_multiple_of(10) {
        format!("{}%", thousandths / 10)
    } else {
        format!("{}.{}%", thousandths / 10, thousandths % 10)
    }
}

#[cfg(test)]
mod tests;
