//! The estimator of one job: rows in, an [`Estimate`] out.

use std::collections::{BTreeMap, BTreeSet};

use super::assumptions::Assumptions;
use super::fit::{CountedRow, Fit};
use super::media::Media;
use super::output::OutputEstimator;
use super::rows::{self, BatchStatistics, RowEstimate, RowEstimator, RowSums};
use super::scenario::ModelEstimator;
use super::shared::Shared;
use super::{BatchPrompts, Bounds, Estimate, MeasuredPrompts, RunHistory, Tokens};
use crate::catalog::{Catalog, Model, Prices};
use crate::cost::{self, Unpriced};
use crate::media::MediaFacts;
use crate::outcome::Usage;

/// What all requests of a job share: their beginning, before any row is rendered.
#[derive(Debug)]
pub(crate) struct RequestPrefix<'a> {
    /// The job's model, by id or alias.
    pub(crate) model: &'a str,
    /// The bytes at the beginning of every request.
    pub(crate) head: &'a [u8],
    /// The pictures and documents in it.
    pub(crate) media: &'a MediaFacts,
}

impl<'a> RequestPrefix<'a> {
    /// Requests without shared pictures and documents.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn text(model: &'a str, head: &'a [u8]) -> RequestPrefix<'a> {
        static NONE: std::sync::LazyLock<MediaFacts> =
            std::sync::LazyLock::new(MediaFacts::default);
        RequestPrefix {
            model,
            head,
            media: &NONE,
        }
    }
}

/// Makes the estimates of one job.
#[derive(Debug)]
pub(crate) struct Estimator<'c> {
    pub(super) catalog: &'c Catalog,
    head: Vec<u8>,
    media: MediaFacts,
    /// The job's own model; rows may choose another.
    pub(super) own: PricedModel<'c>,
    /// Its index in the catalog.
    pub(super) place: usize,
    history: RunHistory,
    /// What results of the run showed of its prompts.
    measured: MeasuredPrompts,
    row_estimator: RowEstimator<'c>,
}

/// A model, and what all requests share as it counts it.
#[derive(Debug)]
pub(super) struct PricedModel<'c> {
    pub(super) id: &'c str,
    pub(super) model: &'c Model,
    pub(super) prices: &'c Prices,
    pub(super) shared: Shared,
}

impl<'c> PricedModel<'c> {
    fn new(
        catalog: &'c Catalog,
        model: &str,
        head: &[u8],
        media: &MediaFacts,
    ) -> Result<PricedModel<'c>, Unpriced> {
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
        Ok(PricedModel {
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
    pub(crate) fn new(
        catalog: &'c Catalog,
        prefix: &RequestPrefix<'_>,
        history: RunHistory,
    ) -> Result<Estimator<'c>, Unpriced> {
        let own = PricedModel::new(catalog, prefix.model, prefix.head, prefix.media)?;
        let lengths = history
            .lengths
            .as_ref()
            .map(|(lengths, stale)| (lengths, *stale));
        let output_estimator = OutputEstimator::new(own.id, own.model, &own.shared, lengths);
        let place = rows::place_of(catalog, own.id).unwrap_or(usize::MAX);
        Ok(Estimator {
            catalog,
            head: prefix.head.to_vec(),
            media: prefix.media.clone(),
            own,
            place,
            history,
            measured: MeasuredPrompts::default(),
            row_estimator: RowEstimator {
                catalog,
                output_estimator,
            },
        })
    }

    /// The same estimator, whose worst case knows what results of the run showed of its prompts.
    #[must_use]
    pub(crate) fn with_measured(mut self, measured: MeasuredPrompts) -> Estimator<'c> {
        self.measured = measured;
        self
    }

    /// Adds a request to the prompts of a batch, by its usage. Only rows of the job's own model
    /// say something about others.
    pub(crate) fn measure(&self, prompts: &mut BatchPrompts, row: &RowEstimate, usage: &Usage) {
        if row.model == self.place {
            prompts.add(row, usage, self.own.model.tokenizer);
        }
    }

    /// The estimator of single rows.
    #[must_use]
    pub(crate) fn row_estimator(&self) -> &RowEstimator<'c> {
        &self.row_estimator
    }

    /// What requests share.
    #[must_use]
    pub(crate) fn shared(&self) -> &Shared {
        &self.own.shared
    }

    /// Empty statistics, for row estimates to be added.
    #[must_use]
    pub(crate) fn statistics(&self) -> BatchStatistics {
        let has_bands = self
            .catalog
            .models
            .values()
            .filter_map(|model| model.prices.as_ref())
            .any(|prices| !prices.bands.is_empty());
        BatchStatistics::new(has_bands.then_some(self.own.model.tokenizer))
    }

    /// The fit where nothing is counted: what earlier runs showed, else the constants.
    #[must_use]
    pub(crate) fn fit(&self) -> Fit {
        self.history
            .fit
            .clone()
            .unwrap_or_else(|| Fit::constants(self.own.model.tokenizer))
    }

    /// A fit to rows that the provider counted.
    #[must_use]
    pub(crate) fn counted(&self, shared_tokens: u64, sample: &[CountedRow], all: &RowSums) -> Fit {
        Fit::counted(
            self.own.model.tokenizer,
            &self.own.shared,
            shared_tokens,
            sample,
            all,
        )
    }

    /// The estimate of rows by a fit. `warms_up` says that one request goes first and writes the
    /// cache.
    ///
    /// # Errors
    /// [`Unpriced`].
    pub(crate) fn estimate(
        &self,
        statistics: &BatchStatistics,
        fit: Fit,
        warms_up: bool,
    ) -> Result<Estimate, Unpriced> {
        let reads = self.history.reads;
        let own = &self.own;
        let other_models = self.other_models(statistics)?;
        let mut models = BTreeMap::from([(
            self.place,
            ModelEstimator::new(own, fit.clone(), warms_up, reads).with_measured(self.measured),
        )]);
        for (place, priced) in &other_models {
            // What was counted or billed for one tokenizer says nothing of the other.
            let fit = if priced.model.tokenizer == own.model.tokenizer {
                fit.clone()
            } else {
                Fit::constants(priced.model.tokenizer)
            };
            models.insert(*place, ModelEstimator::new(priced, fit, warms_up, reads));
        }
        let mut tokens = Tokens {
            shared: fit.shared(own.shared.tokens),
            ..Tokens::default()
        };
        // In the order of the batches: the first request of a run finds nothing in the cache.
        let mut batches = Vec::with_capacity(statistics.batches.len());
        for groups in &statistics.batches {
            let mut bounds = Bounds::default();
            for ((place, _), sums) in groups.iter().filter(|(_, sums)| sums.requests > 0) {
                let model = models.get_mut(place).expect("every model has an estimator");
                bounds.add(model.bounds(self.catalog, sums)?);
                model.add_tokens(&mut tokens, sums);
            }
            batches.push(bounds);
        }
        let mut total = Bounds::default();
        batches.iter().for_each(|batch| total.add(*batch));
        let output_estimator = &self.row_estimator.output_estimator;
        Ok(Estimate {
            priced_at: self.catalog.date,
            model: own.id.to_owned(),
            requests: statistics.total().requests,
            total,
            batches,
            tokens,
            assumptions: Assumptions::new(&own.shared, output_estimator.thinking),
            output_basis: output_estimator.basis.clone(),
            cache: models
                .remove(&self.place)
                .expect("the job's own model has an estimator")
                .cache,
            fit,
        })
    }

    /// The models that rows choose beside the job's own, by their index in the catalog.
    fn other_models(
        &self,
        statistics: &BatchStatistics,
    ) -> Result<Vec<(usize, PricedModel<'c>)>, Unpriced> {
        let chosen: BTreeSet<usize> = statistics
            .batches
            .iter()
            .flat_map(BTreeMap::keys)
            .map(|(model, _)| *model)
            .filter(|place| *place != self.place)
            .collect();
        chosen
            .into_iter()
            .map(|place| {
                let id = self.catalog.models.keys().nth(place);
                let id = id.map_or("", String::as_str);
                let priced = PricedModel::new(self.catalog, id, &self.head, &self.media)?;
                Ok((place, priced))
            })
            .collect()
    }
}
