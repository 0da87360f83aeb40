//! A cost compared with the limits that apply to it.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cost::Money;
use crate::estimate::Bounds;
use crate::ledger::{
    BudgetLimits, BudgetSpec, Ledger, LimitScope, LimitUse, LimitedBatch, OnLimit,
};

use super::budget_split::rounds;
use super::{Error, Run};

/// A limit, and what a cost means for it.
#[derive(Debug, Clone, Serialize)]
pub struct LimitCheck {
    /// The limit, and how much of it is used.
    #[serde(flatten)]
    pub used: LimitUse,
    /// Whether the limit was set on the command line, not in the job file.
    pub typed: bool,
    /// What is left of it.
    #[serde(rename = "left_usd")]
    pub left: Money,
    /// The expected cost.
    #[serde(rename = "expected_usd")]
    pub expected: Money,
    /// The most that it can cost.
    #[serde(rename = "worst_case_usd")]
    pub worst_case: Money,
    /// What that means.
    #[serde(flatten)]
    pub verdict: LimitVerdict,
}

/// What a limit means for a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
#[non_exhaustive]
pub enum LimitVerdict {
    /// The worst case fits: everything can be in flight at once.
    Fits,
    /// The expected cost fits and the worst case does not: what fits is sent, and more once that is
    /// billed.
    SentInRounds {
        /// About how often that happens, if the cost is as expected.
        rounds: u32,
    },
    /// The expected cost does not fit; `budget.on_limit` is `partial`, so what fits is sent.
    SentInPart,
    /// The expected cost, or a single request in its worst case, does not fit: nothing is sent.
    Refused,
}

/// A cost, and how a budget applies to it.
pub(super) struct Spending {
    pub(super) cost: Bounds,
    pub(super) requests: u64,
    pub(super) on_limit: OnLimit,
    /// The limit that was set on the command line.
    pub(super) typed: Option<Money>,
}

impl Spending {
    pub(super) fn check(&self, uses: Vec<LimitUse>) -> Vec<LimitCheck> {
        let check = |used: LimitUse| LimitCheck {
            used,
            typed: used.scope == LimitScope::Run && self.typed == Some(used.limit),
            left: used.left(),
            expected: self.cost.expected,
            worst_case: self.cost.worst_case,
            verdict: self.verdict(used.left()),
        };
        uses.into_iter().map(check).collect()
    }

    fn verdict(&self, left: Money) -> LimitVerdict {
        let Bounds {
            expected,
            worst_case,
            ..
        } = self.cost;
        // Which request is the most expensive is not known here: one of the mean is looked at.
        let one =
            worst_case.picodollars() / i64::try_from(self.requests.max(1)).unwrap_or(i64::MAX);
        if worst_case <= left {
            LimitVerdict::Fits
        } else if Money::from_picodollars(one) > left {
            LimitVerdict::Refused
        } else if expected <= left {
            LimitVerdict::SentInRounds {
                rounds: rounds(left, expected, worst_case),
            }
        } else if self.on_limit == OnLimit::Partial {
            LimitVerdict::SentInPart
        } else {
            LimitVerdict::Refused
        }
    }
}

/// What is used of the limits before a run of a job is planned. Nothing is created.
pub(super) fn uses_before_a_run(
    ledger: (&Path, Duration),
    budget: &BudgetSpec,
    typed: Option<Money>,
    simulated: bool,
    now: Timestamp,
) -> Result<Vec<LimitUse>, Error> {
    let limits = budget.limits(typed);
    if limits == BudgetLimits::default() {
        return Ok(Vec::new());
    }
    let of = LimitedBatch {
        run: "",
        batch: 0,
        simulated,
    };
    let (ledger, patience) = ledger;
    Ok(match Ledger::open_if_there(ledger, patience)? {
        Some(ledger) => ledger.uses(&of, &limits, now)?,
        None => limits.unused(),
    })
}

impl Run {
    /// A cost compared with the limits that apply to the run.
    pub(super) fn check_limits(
        &self,
        cost: Bounds,
        requests: u64,
        now: Timestamp,
    ) -> Result<Vec<LimitCheck>, Error> {
        let spending = Spending {
            cost,
            requests,
            on_limit: self.on_limit(),
            typed: self.max_cost(),
        };
        Ok(spending.check(self.limit_uses(now)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn compares_the_expected_cost_with_what_is_left() {
        let spending = |on_limit| Spending {
            cost: Bounds {
                expected: usd("0.37"),
                worst_case: usd("5"),
                ..Bounds::default()
            },
            requests: 1_000,
            on_limit,
            typed: Some(usd("1")),
        };
        let uses = |limit: &str, spent: &str, reserved: &str| LimitUse {
            scope: LimitScope::Run,
            limit: usd(limit),
            spent: usd(spent),
            reserved: usd(reserved),
        };
        use LimitVerdict::{Fits, Refused, SentInPart, SentInRounds};
        for (used, stop, partial) in [
            (uses("6", "0.5", "0.5"), Fits, Fits),
            (
                uses("1", "0", "0"),
                SentInRounds { rounds: 7 },
                SentInRounds { rounds: 7 },
            ),
            (uses("1", "0.4", "0.3"), Refused, SentInPart),
            (uses("1", "0.9", "0.096"), Refused, Refused),
        ] {
            for (on_limit, verdict) in [(OnLimit::Stop, stop), (OnLimit::Partial, partial)] {
                let checked = spending(on_limit).check(vec![used]);
                assert_eq!(checked[0].verdict, verdict, "{used:?} {on_limit:?}");
                assert_eq!(checked[0].typed, used.limit == usd("1"));
            }
        }
    }
}
