//! What a run has cost, added up as it is shown, recorded and compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CacheUse, Cost, Money, Unpriced};
use crate::outcome::Status;

/// What all attempts at some rows cost. Every sum of it is the sum of the rows, to the last unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// By the batch that was billed, under the provider's id.
    pub by_batch: BTreeMap<Arc<str>, BatchCost>,
    /// By the result of the row in the end; a row's earlier attempts count where the row does.
    pub by_status: BTreeMap<Status, Money>,
    /// By the label that the job gives its rows; empty where it gives none. Of more than a
    /// thousand, the further ones stand together under `(other tags)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_tag: BTreeMap<String, Money>,
    /// What the prompt cache did.
    #[serde(default)]
    pub cache: CacheUse,
}

/// Most tags that a bill lists: a label that each row has for itself is no label.
const MAX_TAGS: usize = 1_000;
/// Under this name stands what rows of further tags cost.
const OTHER_TAGS: &str = "(other tags)";

/// What one batch cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCost {
    /// By the model that answered.
    pub by_model: BTreeMap<String, Cost>,
    /// Requests whose cost is unknown: no line arrived, or the model has no price. They are in no
    /// sum.
    #[serde(default)]
    pub unknown: u64,
}

impl BatchCost {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Money {
        self.by_model.values().map(Cost::total).sum()
    }

    fn add(&mut self, model: &str, cost: Cost) {
        match self.by_model.get_mut(model) {
            Some(sum) => *sum += cost,
            None => drop(self.by_model.insert(model.to_owned(), cost)),
        }
    }

    fn merge(&mut self, other: &BatchCost) {
        other
            .by_model
            .iter()
            .for_each(|(model, cost)| self.add(model, *cost));
        self.unknown += other.unknown;
    }
}

impl Bill {
    /// Adds what one request of a batch cost.
    pub fn add(&mut self, batch: &Arc<str>, model: Option<&str>, cost: &Result<Cost, Unpriced>) {
        if !self.by_batch.contains_key(batch) {
            self.by_batch
                .insert(Arc::clone(batch), BatchCost::default());
        }
        let Some(share) = self.by_batch.get_mut(batch) else {
            return;
        };
        match (cost, model) {
            (Err(_), _) => share.unknown += 1,
            (Ok(cost), Some(model)) => share.add(model, *cost),
            // What failed before a model answered is free.
            (Ok(_), None) => {}
        }
    }

    /// Adds what all attempts at a row cost.
    pub fn add_row(&mut self, status: Status, tag: Option<&str>, cost: Money) {
        *self.by_status.entry(status).or_default() += cost;
        if let Some(tag) = tag {
            self.add_tag(tag, cost);
        }
    }

    fn add_tag(&mut self, tag: &str, cost: Money) {
        if let Some(sum) = self.by_tag.get_mut(tag) {
            return *sum += cost;
        }
        let tag = if self.by_tag.len() < MAX_TAGS {
            tag
        } else {
            OTHER_TAGS
        };
        *self.by_tag.entry(tag.to_owned()).or_default() += cost;
    }

    /// Adds another bill.
    pub fn merge(&mut self, other: &Bill) {
        for (batch, share) in &other.by_batch {
            self.by_batch
                .entry(Arc::clone(batch))
                .or_default()
                .merge(share);
        }
        other
            .by_status
            .iter()
            .for_each(|(status, cost)| self.add_row(*status, None, *cost));
        other
            .by_tag
            .iter()
            .for_each(|(tag, cost)| self.add_tag(tag, *cost));
        self.cache.merge(&other.cache);
    }

    /// By the model that answered.
    #[must_use]
    pub fn by_model(&self) -> BTreeMap<&str, Cost> {
        let mut models: BTreeMap<&str, Cost> = BTreeMap::new();
        for (model, cost) in self.by_batch.values().flat_map(|share| &share.by_model) {
            *models.entry(model).or_default() += *cost;
        }
        models
    }

    /// All of it, by what it was for.
    #[must_use]
    pub fn total(&self) -> Cost {
        let mut total = Cost::ZERO;
        self.by_batch
            .values()
            .flat_map(|share| share.by_model.values())
            .for_each(|cost| total += *cost);
        total
    }

    /// Requests whose cost is unknown.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.by_batch.values().map(|share| share.unknown).sum()
    }
}
