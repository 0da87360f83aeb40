//! What the job says of its budget.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::BudgetLimits;
use crate::cost::Money;

/// The section `[budget]`. Amounts are US dollars; days and months are those of UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetSpec {
    /// Most that one run may cost.
    #[serde(deserialize_with = "amount")]
    pub run_usd: Option<Money>,
    /// Most that all jobs of the state directory may cost in a day.
    #[serde(deserialize_with = "amount")]
    pub day_usd: Option<Money>,
    /// Most that all jobs of the state directory may cost in a month.
    #[serde(deserialize_with = "amount")]
    pub month_usd: Option<Money>,
    /// What happens where a run does not fit.
    pub on_limit: OnLimit,
    /// A ledger that several states share: a directory, or a file that ends in `.sqlite`. That of
    /// the state directory if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<PathBuf>,
}

/// What happens where a run does not fit into its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Nothing is sent.
    #[default]
    Stop,
    /// The batches that fit are sent.
    Partial,
}

impl BudgetSpec {
    /// The limits, with another one for the run where the user typed one: the lower of the two
    /// holds.
    #[must_use]
    pub fn limits(&self, typed: Option<Money>) -> BudgetLimits {
        let run = [self.run_usd, typed].into_iter().flatten().min();
        BudgetLimits {
            run,
            day: self.day_usd,
            month: self.month_usd,
        }
    }

    /// The amounts, by their keys.
    pub fn amounts_mut(&mut self) -> [(&'static str, &mut Option<Money>); 3] {
        [
            ("run_usd", &mut self.run_usd),
            ("day_usd", &mut self.day_usd),
            ("month_usd", &mut self.month_usd),
        ]
    }
}

/// An amount as text or as a number. A number with a point has been through floating point by now:
/// a caller that has the original text takes the amount from there (see `job/budget.rs`).
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    deserializer.deserialize_any(AmountVisitor)
}

struct AmountVisitor;

impl<'de> Visitor<'de> for AmountVisitor {
    type Value = Option<Money>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of dollars such as 12.50")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Some).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, dollars: i64) -> Result<Self::Value, E> {
        self.visit_str(&dollars.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, dollars: u64) -> Result<Self::Value, E> {
        self.visit_str(&dollars.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, dollars: f64) -> Result<Self::Value, E> {
        self.visit_str(&dollars.to_string())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self).map_err(D::Error::custom)
    }
}
