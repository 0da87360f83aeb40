//! The totals of a join: rows by status, and every token that will be billed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::JoinedRow;
use crate::cost::Bill;
use crate::outcome::{Outcome, Status, Usage};

/// Counts over joined rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Rows by status; a status no row has is not listed.
    pub statuses: BTreeMap<Status, u64>,
    /// Rows that succeeded with an answer that says nothing.
    #[serde(default)]
    pub empty: u64,
    /// Tokens of *all* attempts, those that did not count too, by what decides the price.
    pub usages: Vec<(UsageKey, Usage)>,
    /// What all attempts cost; empty where no prices were available.
    #[serde(default)]
    pub bill: Bill,
}

/// What decides the price of a token, besides its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UsageKey {
    /// The model that answered.
    pub model: Option<String>,
    /// The tier that served it.
    pub service_tier: Option<String>,
    /// Where it ran.
    pub inference_geo: Option<String>,
}

impl Totals {
    /// Adds the totals of another batch.
    pub fn merge(&mut self, other: &Totals) {
        self.rows += other.rows;
        self.empty += other.empty;
        for (status, rows) in &other.statuses {
            *self.statuses.entry(*status).or_default() += rows;
        }
        for (key, usage) in &other.usages {
            self.add_usage(key.model.as_deref(), usage);
        }
        self.bill.merge(&other.bill);
    }

    /// Rows of a status.
    #[must_use]
    pub fn count(&self, status: Status) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Tokens of all attempts over all models.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut total = Usage::default();
        self.usages
            .iter()
            .for_each(|(_, usage)| add(&mut total, usage));
        total
    }

    /// Adds a row whose answer was paid for before: its tokens are not billed again.
    pub fn add_paid_before(&mut self, row: &JoinedRow<'_>) {
        self.rows += 1;
        *self.statuses.entry(row.status).or_default() += 1;
        self.empty += u64::from(row.outcome().is_some_and(Outcome::is_empty_answer));
    }

    pub(super) fn add(&mut self, row: &JoinedRow<'_>) {
        self.add_paid_before(row);
        for attempt in &row.attempts {
            if let Some(usage) = &attempt.outcome.usage {
                self.add_usage(attempt.outcome.model.as_deref(), usage);
            }
        }
    }

    // A run has a few kinds at most, so a list does, and a row that fits one allocates nothing.
    fn add_usage(&mut self, model: Option<&str>, usage: &Usage) {
        let fits = |key: &UsageKey| {
            key.model.as_deref() == model
                && key.service_tier == usage.service_tier
                && key.inference_geo == usage.inference_geo
        };
        let place = self
            .usages
            .iter()
            .position(|(key, _)| fits(key))
            .unwrap_or_else(|| {
                let key = UsageKey {
                    model: model.map(str::to_owned),
                    service_tier: usage.service_tier.clone(),
                    inference_geo: usage.inference_geo.clone(),
                };
                let first = Usage {
                    service_tier: usage.service_tier.clone(),
                    inference_geo: usage.inference_geo.clone(),
                    ..Usage::default()
                };
                self.usages.push((key, first));
                self.usages.len() - 1
            });
        add(&mut self.usages[place].1, usage);
    }
}

/// Adds tokens kind by kind: one that was never named stays unnamed.
fn add(total: &mut Usage, usage: &Usage) {
    let Usage {
        input_tokens,
        cache_creation_5m_input_tokens,
        cache_creation_1h_input_tokens,
        cache_read_input_tokens,
        output_tokens,
        thinking_tokens,
        service_tier: _,
        inference_geo: _,
        web_search_requests,
        web_fetch_requests,
        code_execution_requests,
        iterations: _,
        unreadable: _,
    } = usage;
    for (total, more) in [
        (&mut total.input_tokens, input_tokens),
        (
            &mut total.cache_creation_5m_input_tokens,
            cache_creation_5m_input_tokens,
        ),
        (
            &mut total.cache_creation_1h_input_tokens,
            cache_creation_1h_input_tokens,
        ),
        (&mut total.cache_read_input_tokens, cache_read_input_tokens),
        (&mut total.output_tokens, output_tokens),
        (&mut total.thinking_tokens, thinking_tokens),
        (&mut total.web_search_requests, web_search_requests),
        (&mut total.web_fetch_requests, web_fetch_requests),
        (&mut total.code_execution_requests, code_execution_requests),
    ] {
        if let Some(more) = more {
            *total = Some(total.unwrap_or(0).saturating_add(*more));
        }
    }
}
