//! Sentences about estimates, prices and the ledger.

use std::path::Path;

use rowmill::engine::NoRequests;
use rowmill::estimate::cache::{DOCUMENTED_READS, ReadsBasis, WARM_UP_READS};
use rowmill::estimate::compare::Cause;
use rowmill::estimate::fit::FitBasis;
use rowmill::estimate::output::OutputBasis;
use rowmill::estimate::sample_plan::Sampling;
use rowmill::estimate::shared::PartKind;
use rowmill::estimate::{
    AssumedAdvisor, CacheBill, CacheDecision, CacheReason, CacheSplit, CacheWarning, Estimate,
    UseLimit,
};

use crate::cli::format::{count, percent, plural, usd};

/// The names of the four figures of an estimate, in the order of [`assumptions`].
pub(crate) const FIGURES: [&str; 4] = ["low", "expected", "high", "worst case"];

/// What each of the four figures of an estimate assumes.
pub(crate) fn assumptions(estimate: &Estimate) -> [String; 4] {
    [
        low(estimate),
        expected(estimate),
        high(estimate),
        worst_case(estimate),
    ]
}

fn low(estimate: &Estimate) -> String {
    format!(
        "{} fewer tokens, answers of {}{}",
        percent(estimate.fit.off),
        mean(estimate, estimate.tokens.output.low),
        reads(estimate, estimate.cache.reads.low, "")
    )
}

fn expected(estimate: &Estimate) -> String {
    let tokens = match &estimate.fit.basis {
        FitBasis::Constants => "tokens estimated from characters".to_owned(),
        FitBasis::Counted { rows } => {
            format!("tokens as counted in {}", plural(*rows, "row", "rows"))
        }
        FitBasis::Learned { rows } => {
            format!("tokens as billed in {}", plural(*rows, "row", "rows"))
        }
    };
    let thinking = estimate.assumptions.thinking_tokens;
    let answers = match (&estimate.output_basis, thinking) {
        (OutputBasis::Runs { rows, .. }, _) => {
            format!("as in {} of earlier runs", plural(*rows, "row", "rows"))
        }
        (OutputBasis::Schema, 0) => "by the schema".to_owned(),
        (OutputBasis::Schema, _) => {
            format!("by the schema, {} of them thinking", count(thinking))
        }
        (OutputBasis::MaxTokens, 0) => "a quarter of `max_tokens`".to_owned(),
        (OutputBasis::MaxTokens, _) => {
            format!(
                "a quarter of `max_tokens`, and {} of thinking",
                count(thinking)
            )
        }
    };
    let (least, best) = DOCUMENTED_READS;
    let basis = match estimate.cache.basis {
        ReadsBasis::Documented => format!(
            " (the middle of the documented {} to {})",
            percent(least),
            percent(best)
        ),
        ReadsBasis::WarmUp => ", since one request goes first".to_owned(),
        ReadsBasis::Runs { .. } => ", as in earlier runs".to_owned(),
        ReadsBasis::Nothing => String::new(),
    };
    let uses = estimate.assumptions.expected_uses;
    let searches = searches(estimate).map_or_else(String::new, |searches| {
        format!(", {} of {searches} (assumed)", percent(uses))
    });
    format!(
        "{tokens}, answers of {} ({answers}){searches}{}{}",
        mean(estimate, estimate.tokens.output.expected),
        steps(estimate, uses),
        reads(estimate, estimate.cache.reads.expected, &basis)
    )
}

fn high(estimate: &Estimate) -> String {
    let found = estimate
        .assumptions
        .found_tokens
        .map_or_else(String::new, |found| {
            format!(
                ", up to {} tokens a request from the provider's tools (assumed)",
                count(found)
            )
        });
    format!(
        "{} more tokens, answers of {}{}{found}{}{}",
        percent(estimate.fit.off),
        mean(estimate, estimate.tokens.output.high),
        all_searches(estimate),
        steps(estimate, 1_000),
        if estimate.cache.tokens() == 0 {
            ""
        } else {
            ", every request writes the cache and none reads it"
        }
    )
}

fn worst_case(estimate: &Estimate) -> String {
    format!(
        "{}, every answer as long as `max_tokens`{}{}",
        if estimate.assumptions.found_tokens.is_some() {
            "every prompt as long as the model's context window, since the provider's tools may \
             fill it"
        } else {
            "a token for every byte"
        },
        all_searches(estimate),
        steps(estimate, 1_000)
    )
}

/// The mean of something over all requests.
fn mean(estimate: &Estimate, tokens: u64) -> String {
    count(tokens.div_ceil(estimate.requests.max(1)))
}

fn reads(estimate: &Estimate, share: u64, basis: &str) -> String {
    match estimate.cache.tokens() {
        0 => String::new(),
        _ => format!(", {} of the requests read the cache{basis}", percent(share)),
    }
}

/// The searches that each request is allowed, or assumed to make.
fn searches(estimate: &Estimate) -> Option<String> {
    let UseLimit { uses, is_assumed } = estimate.assumptions.searches?;
    Some(if is_assumed {
        format!(
            "{} searches a request (assumed, since nothing limits them)",
            count(uses)
        )
    } else {
        format!("{} searches a request", count(uses))
    })
}

fn all_searches(estimate: &Estimate) -> String {
    searches(estimate).map_or_else(String::new, |searches| format!(", {searches}"))
}

/// What is assumed of the steps beside the answer, with this share of the allowed advice, in
/// thousandths.
fn steps(estimate: &Estimate, share: u64) -> String {
    let mut text = String::new();
    for AssumedAdvisor { model, limit } in &estimate.assumptions.advisors {
        let part = if share < 1_000 {
            format!("{} of ", percent(share))
        } else {
            String::new()
        };
        let assumed = if limit.is_assumed {
            ", assumed, since nothing limits it"
        } else {
            ""
        };
        text += &format!(
            ", {part}{} uses of the advisor `{model}` a request{assumed}",
            count(limit.uses)
        );
    }
    if let Some(from) = estimate.assumptions.compacted_from {
        text += &format!(
            ", one compaction of each prompt of {} tokens or more",
            count(from)
        );
    }
    text
}

/// The data that an estimate is based on.
pub(crate) fn basis(estimate: &Estimate) -> String {
    let fit = match &estimate.fit.basis {
        FitBasis::Constants => "tokens are estimated from characters; --calibrate 200 counts some \
                                rows, which is free"
            .to_owned(),
        FitBasis::Counted { rows } => format!(
            "tokens were counted for {}, which leaves ±{} for all of them",
            plural(*rows, "row", "rows"),
            percent(estimate.fit.off)
        ),
        FitBasis::Learned { rows } => format!(
            "tokens as billed for {} of earlier runs",
            plural(*rows, "row", "rows")
        ),
    };
    let output = match &estimate.output_basis {
        OutputBasis::Runs {
            rows,
            by_column,
            by_length,
            stale,
        } => {
            let by = match (by_column, by_length) {
                (Some(column), _) => format!(", by `{column}`"),
                (None, true) => ", by the length of the prompt".to_owned(),
                (None, false) => String::new(),
            };
            let stale = if *stale {
                " (the prompt has changed since)"
            } else {
                ""
            };
            format!(
                "answers as in {} of earlier runs{by}{stale}",
                plural(*rows, "row", "rows")
            )
        }
        OutputBasis::Schema | OutputBasis::MaxTokens => {
            "the length of answers is not known before the first run".to_owned()
        }
    };
    format!("{fit}; {output}; prices of {}", estimate.priced_at)
}

/// What a sample stands for, and how far its figures may be off.
pub(crate) fn sampling(sampling: &Sampling) -> String {
    let Sampling {
        rows,
        of,
        seed,
        off,
        ..
    } = sampling;
    format!(
        "{} of {} rows were rendered (seed {seed}), and all other figures are extrapolated from \
         them, the worst case too; a plan of all rows differs, in 95 of 100 samples, by no more \
         than {} in prompt tokens, {} in answer tokens, {} in expected cost; all rows have a key, \
         duplicate keys were not searched for",
        count(*rows),
        count(*of),
        percent(off.prompts),
        percent(off.output),
        percent(off.cost)
    )
}

/// Why a run has nothing to send.
pub(crate) fn no_requests(why: NoRequests) -> String {
    match why {
        NoRequests::AllSetAside { rows } => format!("all {} are set aside", count(rows)),
        NoRequests::NothingNew { rows } => {
            format!("earlier outputs have the answers of all {}", count(rows))
        }
        NoRequests::LimitIsZero => "the limit is 0".to_owned(),
        NoRequests::EmptySource => "the source has columns and no rows".to_owned(),
        NoRequests::NoneMatch { rows } => format!("`where` holds for none of {}", count(rows)),
        why => format!("{why:?}"),
    }
}

/// What was decided about the cache warm-up, and why; `None` where there is nothing to cache.
pub(crate) fn cache_decision(decision: &CacheDecision) -> Option<String> {
    let first = if decision.warms_up {
        "one request goes first, as the job says; "
    } else {
        ""
    };
    let reason = match &decision.reason {
        CacheReason::NothingToCache => return None,
        CacheReason::Other(text) => return Some(text.clone()).filter(|text| !text.is_empty()),
        CacheReason::NothingMarked => format!("{first}nothing is marked for the cache"),
        CacheReason::TooShort { model, min_tokens } => format!(
            "{first}nothing is cached: what is marked is shorter than the {} tokens from which \
             `{model}` caches",
            count(*min_tokens)
        ),
        CacheReason::MarkWouldSave {
            tokens,
            marked,
            unmarked,
        } => format!(
            "{first}nothing is marked: with `cache = \"1h\"` at their end, the {} tokens that all \
             requests share would cost about {} instead of {}",
            count(*tokens),
            usd(*marked),
            usd(*unmarked)
        ),
        CacheReason::WorthTheWait => warm_up("one request goes first", decision),
        CacheReason::Always => warm_up("one request goes first, as the job says,", decision),
        CacheReason::NothingFollows => "no warm-up, since nothing follows the first request".into(),
        CacheReason::Off => "no warm-up, as the job says".to_owned(),
        CacheReason::SplitCache { by } => format!(
            "no warm-up, since rows choose the {}, and each has a cache of its own",
            match by {
                CacheSplit::Model => "model",
                CacheSplit::Effort => "effort",
                _ => "parameters",
            }
        ),
        CacheReason::ShortLivedMark => "no warm-up, since the mark expires after five minutes and \
                                        a batch may take longer; `\"1h\"` could be warmed up"
            .to_owned(),
        CacheReason::SavesTooLittle { saves, min_saving } => format!(
            "no warm-up, since that would save {}, and less than {} is not worth the wait",
            usd(*saves),
            usd(*min_saving)
        ),
        reason => format!("{reason:?}"),
    };
    Some(match &decision.bill {
        Some(bill) => format!("{reason}: {}", cache_figures(bill)),
        None => reason,
    })
}

fn warm_up(first: &str, decision: &CacheDecision) -> String {
    let tokens = decision.bill.map_or(0, |bill| bill.tokens);
    format!(
        "{first} and writes the shared {} tokens for the others to read",
        count(tokens)
    )
}

fn cache_figures(bill: &CacheBill) -> String {
    let (worst, best) = DOCUMENTED_READS;
    format!(
        "{} for {} with a warm-up ({} of them read), {} without ({} to {} at {} to {}), {} without \
         a mark, which pays from {} on",
        usd(bill.warmed_up),
        plural(bill.requests, "request", "requests"),
        percent(WARM_UP_READS),
        usd(bill.cold.expected),
        usd(bill.cold.low),
        usd(bill.cold.high),
        percent(best),
        percent(worst),
        usd(bill.unmarked),
        percent(bill.pays_from),
    )
}

/// What should be changed about the cache marks of a job.
pub(crate) fn cache_warning(warning: &CacheWarning) -> String {
    match warning {
        CacheWarning::ExpiresBeforeReads => {
            "the mark expires five minutes after the warm-up request, and its batch may take \
             longer: set `cache = \"1h\"`, or the others find nothing to read"
                .to_owned()
        }
        CacheWarning::MarkMayCostMore {
            pays_from,
            reads,
            marked,
            unmarked,
        } => format!(
            "the 1 h mark has no warm-up: below {} of the requests that read, it costs more than \
             no mark, up to {} instead of {} at {}; set `cache.prime = \"always\"`, or remove the \
             mark",
            percent(*pays_from),
            usd(*marked),
            usd(*unmarked),
            percent(*reads)
        ),
        CacheWarning::Other(text) => text.clone(),
        warning => format!("{warning:?}"),
    }
}

/// A part of what all requests share.
pub(crate) fn part(part: &PartKind) -> String {
    match part {
        PartKind::ToolPrompt => "the provider's tool prompt".to_owned(),
        PartKind::Tool { name } => format!("tool `{name}`"),
        PartKind::Schema => "schema of the answer".to_owned(),
        PartKind::SystemBlock { number } => format!("system block {number}"),
        PartKind::Message { number } => format!("message {number}"),
        PartKind::MessageBlock { message, number } => {
            format!("block {number} of message {message}")
        }
        part => format!("{part:?}"),
    }
}

/// A cause of the difference between an estimate and its bill.
pub(crate) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Requests => "requests billed",
        Cause::PromptTokens => "prompt tokens",
        Cause::CacheShare => "cache share",
        Cause::OutputTokens => "output tokens",
        Cause::Prices => "prices",
    }
}

pub(super) fn history_not_used(path: &Path, cause: &str) -> String {
    format!(
        "the statistics of earlier runs are not used: {cause} (`{}`)",
        path.display()
    )
}

pub(super) fn history_not_recorded(cause: &str) -> String {
    format!("the statistics of this run are not in the job's next estimate: {cause}")
}

#[cfg(test)]
mod tests {
    use rowmill::cost::Money;
    use rowmill::estimate::MoneySpan;

    use super::*;

    fn dollars(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn decision(reason: CacheReason, warms_up: bool) -> CacheDecision {
        let cold = MoneySpan {
            low: dollars("0.69"),
            expected: dollars("3.92"),
            high: dollars("7.15"),
        };
        CacheDecision {
            warms_up,
            reason,
            warning: None,
            bill: Some(CacheBill {
                requests: 1_000,
                tokens: 10_000,
                unmarked: dollars("5"),
                cold,
                warmed_up: dollars("0.6995"),
                pays_from: 527,
            }),
        }
    }

    #[test]
    fn explains_a_warm_up_with_its_figures() {
        let figures = "$0.6995 for 1,000 requests with a warm-up (98% of them read), $3.92 without \
                       ($0.69 to $7.15 at 98% to 30%), $5.00 without a mark, which pays from 52.7% \
                       on";
        for (reason, warms_up, words) in [
            (
                CacheReason::WorthTheWait,
                true,
                "one request goes first and writes the shared 10,000 tokens for the others to read",
            ),
            (
                CacheReason::Always,
                true,
                "one request goes first, as the job says, and writes the shared 10,000 tokens for \
                 the others to read",
            ),
            (CacheReason::Off, false, "no warm-up, as the job says"),
            (
                CacheReason::SavesTooLittle {
                    saves: dollars("0.002"),
                    min_saving: dollars("0.01"),
                },
                false,
                "no warm-up, since that would save $0.002, and less than $0.01 is not worth the \
                 wait",
            ),
        ] {
            let said = cache_decision(&decision(reason, warms_up)).unwrap();
            assert_eq!(said, format!("{words}: {figures}"));
        }
    }

    #[test]
    fn says_nothing_where_there_is_nothing_to_cache() {
        for reason in [
            CacheReason::NothingToCache,
            CacheReason::Other(String::new()),
        ] {
            assert_eq!(cache_decision(&decision(reason, false)), None);
        }
        let old = CacheReason::Other("a sentence of an earlier version".to_owned());
        assert_eq!(
            cache_decision(&decision(old, true)).unwrap(),
            "a sentence of an earlier version"
        );
    }

    #[test]
    fn a_mark_that_may_cost_more_is_pointed_out_with_the_amounts() {
        let warning = CacheWarning::MarkMayCostMore {
            pays_from: 527,
            reads: 300,
            marked: dollars("7.15"),
            unmarked: dollars("5"),
        };
        assert_eq!(
            cache_warning(&warning),
            "the 1 h mark has no warm-up: below 52.7% of the requests that read, it costs more \
             than no mark, up to $7.15 instead of $5.00 at 30%; set `cache.prime = \"always\"`, or \
             remove the mark"
        );
    }
}
