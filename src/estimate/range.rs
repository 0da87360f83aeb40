//! Numbers and amounts as ranges.

use serde::{Deserialize, Serialize};

use crate::cost::Money;

/// What something is expected to cost: never more than [`Bounds::worst_case`].
///
/// **File format**: `plan.json` keeps these. Earlier versions wrote `likely` and `most`, which
/// are still read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Few tokens, short answers, and every possible cache read.
    pub low: Money,
    /// The expected cost.
    #[serde(alias = "likely")]
    pub expected: Money,
    /// Many tokens, long answers, no cache reads.
    pub high: Money,
    /// The upper bound; reserved while a batch is in flight.
    #[serde(alias = "most")]
    pub worst_case: Money,
}

impl Bounds {
    /// Adds the cost of something else.
    pub(crate) fn add(&mut self, other: Bounds) {
        self.low += other.low;
        self.expected += other.expected;
        self.high += other.high;
        self.worst_case += other.worst_case;
    }
}

/// An amount of money as a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneySpan {
    /// The lowest amount.
    pub low: Money,
    /// The expected amount.
    #[serde(alias = "likely")]
    pub expected: Money,
    /// The highest amount.
    pub high: Money,
}

/// A number as a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The end of the range at which the run is cheapest.
    pub low: u64,
    /// The expected number.
    #[serde(alias = "likely")]
    pub expected: u64,
    /// The end of the range at which the run is most expensive.
    pub high: u64,
}

impl Span {
    /// The same number at both ends.
    pub(super) fn exactly(n: u64) -> Span {
        Span {
            low: n,
            expected: n,
            high: n,
        }
    }

    /// Adds another range.
    pub(crate) fn add(&mut self, other: Span) {
        self.low += other.low;
        self.expected += other.expected;
        self.high += other.high;
    }

    /// The sum with another range.
    pub(super) fn plus(mut self, other: Span) -> Span {
        self.add(other);
        self
    }

    /// Each end through a function.
    #[must_use]
    pub(crate) fn map(self, f: impl Fn(u64) -> u64) -> Span {
        Span {
            low: f(self.low),
            expected: f(self.expected),
            high: f(self.high),
        }
    }
}

/// `n · times / of`, rounded to the nearest whole number; `of` of 0 counts as 1.
pub(crate) fn scale(n: u64, times: u64, of: u64) -> u64 {
    let of = u128::from(of.max(1));
    u64::try_from((u128::from(n) * u128::from(times) + of / 2) / of).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_to_the_nearest_and_never_overflows() {
        assert_eq!(
            [scale(10, 1, 3), scale(11, 1, 3), scale(5, 2, 0)],
            [3, 4, 10]
        );
        assert_eq!(scale(u64::MAX, 3, 3), u64::MAX);
    }

    #[test]
    fn reads_the_names_of_earlier_versions_and_writes_the_new_ones() {
        let bounds: Bounds =
            serde_json::from_str(r#"{"low":"1","likely":"2","high":"3","most":"4"}"#).unwrap();
        assert_eq!(
            serde_json::to_value(bounds).unwrap(),
            serde_json::json!({ "low": "1", "expected": "2", "high": "3", "worst_case": "4" })
        );
        let span: Span = serde_json::from_str(r#"{"low":1,"likely":2,"high":3}"#).unwrap();
        assert_eq!(
            serde_json::to_value(span).unwrap(),
            serde_json::json!({ "low": 1, "expected": 2, "high": 3 })
        );
    }
}
