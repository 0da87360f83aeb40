//! A cost compared with limits, in words.

use rowmill::engine::{LimitCheck, LimitVerdict};
use rowmill::ledger::LimitScope;

use super::super::format::usd;

/// What stands above a table of limits.
pub(crate) const COLUMNS: [&str; 7] = [
    "budget",
    "limit",
    "spent",
    "reserved",
    "expected",
    "worst case",
    "verdict",
];

/// The cells of a limit in such a table.
pub(crate) fn cells(check: &LimitCheck) -> Vec<String> {
    let amounts = [
        check.used.limit,
        check.used.spent,
        check.used.reserved,
        check.expected,
        check.worst_case,
    ];
    std::iter::once(limit_name(check.used.scope, check.typed).to_owned())
        .chain(amounts.map(usd))
        .chain([verdict(check.verdict)])
        .collect()
}

/// Where a limit was set.
pub(crate) fn limit_name(scope: LimitScope, typed: bool) -> &'static str {
    match scope {
        LimitScope::Run if typed => "--max-cost",
        LimitScope::Run => "budget.run_usd",
        LimitScope::Day => "budget.day_usd",
        LimitScope::Month => "budget.month_usd",
    }
}

fn verdict(verdict: LimitVerdict) -> String {
    match verdict {
        LimitVerdict::Fits => "fits".to_owned(),
        LimitVerdict::SentInRounds { rounds } => format!("sent in about {rounds} rounds"),
        LimitVerdict::SentInPart => "sent in part".to_owned(),
        LimitVerdict::Refused => "refused".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// What the verdicts mean, where one of them needs an explanation.
pub(crate) fn explanation(checks: &[LimitCheck]) -> Option<String> {
    let of = |wanted: fn(&LimitVerdict) -> bool| checks.iter().find(|check| wanted(&check.verdict));
    if let Some(check) = of(|verdict| *verdict == LimitVerdict::Refused) {
        let what = if check.expected > check.left {
            format!(
                "the expected cost is more than the {} left",
                usd(check.left)
            )
        } else {
            format!(
                "a single request in its worst case is more than the {} left",
                usd(check.left)
            )
        };
        return Some(format!("a run sends nothing and exits with code 6: {what}"));
    }
    if of(|verdict| *verdict == LimitVerdict::SentInPart).is_some() {
        return Some("batches are sent until no more fit; the other rows stay unsent".to_owned());
    }
    let check = of(|verdict| matches!(verdict, LimitVerdict::SentInRounds { .. }))?;
    Some(format!(
        "the worst case is {} and {} is left: batches are sent as long as their worst case fits, \
         and more once those are billed",
        usd(check.worst_case),
        usd(check.left)
    ))
}

/// What is left of each limit, in a line.
pub(crate) fn left(checks: &[LimitCheck]) -> Option<String> {
    let limit = |check: &LimitCheck| {
        format!(
            "{} of {} (`{}`)",
            usd(check.left),
            usd(check.used.limit),
            limit_name(check.used.scope, check.typed)
        )
    };
    let limits: Vec<String> = checks.iter().map(limit).collect();
    (!limits.is_empty()).then(|| format!("left of the budget: {}", limits.join(", ")))
}
