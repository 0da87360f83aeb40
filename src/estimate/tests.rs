//! Estimates against figures worked out by hand.

use super::cache::ReadsBasis;
use super::fit::FitBasis;
use super::rows::BatchStatistics;
use super::rows::RowEstimate;
use super::shared::PER_MESSAGE;
use super::tokens::CharacterCounts;
use super::*;
use crate::catalog::Catalog;
use crate::cost::{Money, Unpriced};

const SHORT: &str =
    r#"{"model":"m","max_tokens":100,"system":[{"type":"text","text":"Sort."}],"messages":["#;

fn head(shared_words: usize, mark: &str) -> String {
    let text = "word ".repeat(shared_words);
    format!(r#"{{"system":[{{"type":"text","text":"{text}"{mark}}}],"messages":["#)
}

const HOUR: &str = r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#;

fn estimator(model: &str, head: &str, known: RunHistory) -> Estimator<'static> {
    let prefix = RequestPrefix::text(model, head.as_bytes());
    Estimator::new(Catalog::builtin(), &prefix, known).expect("a price")
}

/// `rows` rows of such a text, in batches of 100.
fn statistics(estimator: &Estimator<'_>, rows: u64, text: &str) -> BatchStatistics {
    let mut statistics = estimator.statistics();
    let characters = CharacterCounts::of(text);
    for row in 0..rows {
        if row > 0 && row % 100 == 0 {
            statistics.close();
        }
        let output = Span {
            low: 5_000,
            expected: 10_000,
            high: 20_000,
        };
        statistics.push(&RowEstimate {
            characters,
            messages: 1,
            output,
            max_tokens: 100,
            model: estimator.place,
            ..RowEstimate::default()
        });
    }
    statistics.close();
    statistics
}

#[test]
fn expected_is_tokens_times_price() {
    let estimator = estimator("claude-haiku-4-5", SHORT, RunHistory::default());
    let statistics = statistics(&estimator, 250, &"a".repeat(1_000));
    let estimate = estimator
        .estimate(&statistics, estimator.fit(), false)
        .unwrap();
    // 1,000 letters are 306 tokens, and a message costs four; "Sort." is four letters and a mark,
    // and a request costs three.
    let prompt = 306 + PER_MESSAGE + (4 * 306_u64 + 800).div_ceil(1_000) + 3;
    assert_eq!(estimate.tokens.prompts.expected, 250 * prompt);
    assert_eq!(estimate.tokens.output.expected, 2_500);
    // In a batch: half of 1 dollar a million in, half of 5 out.
    let units = 250 * prompt * 500_000 + 2_500 * 2_500_000;
    assert_eq!(
        estimate.total.expected.picodollars(),
        i64::try_from(units).unwrap()
    );
    assert_eq!((estimate.batches.len(), estimate.requests), (3, 250));
    let Bounds {
        low,
        expected,
        high,
        worst_case,
    } = estimate.total;
    assert!(low < expected && expected < high && high < worst_case);
}

#[test]
fn the_sum_of_the_batches_is_the_total() {
    let estimator = estimator(
        "claude-sonnet-5-5",
        &head(1_000, HOUR),
        RunHistory::default(),
    );
    let statistics = statistics(&estimator, 350, "a row");
    let estimate = estimator
        .estimate(&statistics, estimator.fit(), false)
        .unwrap();
    assert_eq!(
        estimate
            .batches
            .iter()
            .map(|piece| piece.expected)
            .sum::<Money>(),
        estimate.total.expected
    );
    assert_eq!(
        estimate
            .batches
            .iter()
            .map(|piece| piece.worst_case)
            .sum::<Money>(),
        estimate.total.worst_case
    );
}

#[test]
fn most_holds_every_byte_and_every_answer() {
    let estimator = estimator("claude-haiku-4-5", SHORT, RunHistory::default());
    let statistics = statistics(&estimator, 10, "영화");
    let estimate = estimator
        .estimate(&statistics, estimator.fit(), false)
        .unwrap();
    let prompt = 6 + PER_MESSAGE + 5 + 3;
    assert_eq!(estimate.tokens.prompts_worst_case, 10 * prompt);
    assert_eq!(
        estimate.total.worst_case.picodollars(),
        i64::try_from(10 * prompt * 500_000 + 10 * 100 * 2_500_000).unwrap()
    );
}

#[test]
fn a_primed_cache_is_cheaper_and_no_cache_read_is_dearer() {
    let long = head(5_000, HOUR);
    let marked = estimator("claude-sonnet-5-5", &long, RunHistory::default());
    let plain = estimator("claude-sonnet-5-5", &head(5_000, ""), RunHistory::default());
    let of = |estimator: &Estimator<'_>, primed| {
        estimator
            .estimate(
                &statistics(estimator, 1_000, "a row"),
                estimator.fit(),
                primed,
            )
            .unwrap()
    };
    let (cold, primed, plain) = (of(&marked, false), of(&marked, true), of(&plain, false));
    assert!(
        primed.total.expected < cold.total.expected && cold.total.expected < plain.total.expected
    );
    assert!(
        cold.total.high > plain.total.high,
        "every request writes, for twice the price"
    );
    assert_eq!(cold.cache.basis, ReadsBasis::Documented);
    assert_eq!(cold.cache.reads.expected, 640);
}

#[test]
fn the_first_request_of_all_writes_the_cache() {
    let estimator = estimator(
        "claude-sonnet-5-5",
        &head(5_000, HOUR),
        RunHistory {
            reads: Some((1_000, 9)),
            ..RunHistory::default()
        },
    );
    let one = estimator
        .estimate(&statistics(&estimator, 1, "a row"), estimator.fit(), false)
        .unwrap();
    let two = estimator
        .estimate(&statistics(&estimator, 2, "a row"), estimator.fit(), false)
        .unwrap();
    // A write costs 2, a read 0.05 of plain input.
    assert!(
        two.total
            .expected
            .saturating_sub(one.total.expected)
            .times(10)
            < one.total.expected
    );
}

#[test]
fn shares_of_the_cache_are_rounded_over_all_requests_not_for_each_few() {
    let estimator = estimator(
        "claude-sonnet-5-5",
        &head(5_000, HOUR),
        RunHistory {
            reads: Some((980, 9)),
            ..RunHistory::default()
        },
    );
    let together = statistics(&estimator, 100, "a row");
    let mut apart = together.clone();
    apart.batches = (0..20)
        .map(|_| statistics(&estimator, 5, "a row").batches.remove(0))
        .collect();
    let expected = |rows: &BatchStatistics| {
        estimator
            .estimate(rows, estimator.fit(), true)
            .unwrap()
            .total
            .expected
    };
    // Two in a hundred write: of five by themselves that would be none.
    let off = (expected(&together).picodollars() - expected(&apart).picodollars()).unsigned_abs();
    assert!(
        off * 1_000 < expected(&together).picodollars().unsigned_abs(),
        "{} {}",
        expected(&together),
        expected(&apart)
    );
}

#[test]
fn a_prompt_above_the_line_has_the_price_behind_it() {
    let estimator = estimator("claude-haiku-5-5", SHORT, RunHistory::default());
    let mut statistics = estimator.statistics();
    let model = estimator.place;
    let row = |letters: usize| RowEstimate {
        model,
        characters: CharacterCounts::of(&"a".repeat(letters)),
        messages: 1,
        max_tokens: 1,
        ..RowEstimate::default()
    };
    // 419 thousandths a letter: 90,000 and 110,000 tokens or so.
    statistics.push(&row(215_000));
    statistics.push(&row(262_000));
    statistics.close();
    assert_eq!(statistics.batches[0].len(), 2);
    let estimate = estimator
        .estimate(&statistics, estimator.fit(), false)
        .unwrap();
    let tokens = |letters: u64| {
        (letters * 419).div_ceil(1_000) + PER_MESSAGE + (4 * 419_u64 + 1_000).div_ceil(1_000) + 3
    };
    // 0.05 and 0.25 dollars a million.
    let units = tokens(215_000) * 50_000 + tokens(262_000) * 250_000;
    assert_eq!(
        estimate.total.expected.picodollars(),
        i64::try_from(units).unwrap()
    );
}

#[test]
fn the_place_of_inference_has_its_price() {
    let us = SHORT.replace(r#""model":"m""#, r#""model":"m","inference_geo":"us""#);
    let expected = |head: &str| {
        let estimator = estimator("claude-sonnet-5-5", head, RunHistory::default());
        estimator
            .estimate(&statistics(&estimator, 10, "a row"), estimator.fit(), false)
            .unwrap()
            .total
            .expected
    };
    assert_eq!(
        expected(&us).picodollars() * 10,
        expected(SHORT).picodollars() * 11
    );
}

#[test]
fn what_earlier_runs_showed_is_used_and_said() {
    let fit = Fit {
        basis: FitBasis::Learned { rows: 500 },
        off: 20,
        ..Fit::constants(crate::catalog::Tokenizer::First)
    }
    .corrected(12, 10);
    let known = RunHistory {
        fit: Some(fit),
        ..RunHistory::default()
    };
    let (knows, guesses) = (
        estimator("claude-haiku-4-5", SHORT, known),
        estimator("claude-haiku-4-5", SHORT, RunHistory::default()),
    );
    let of = |estimator: &Estimator<'_>| {
        estimator
            .estimate(
                &statistics(estimator, 100, &"word ".repeat(99)),
                estimator.fit(),
                false,
            )
            .unwrap()
    };
    let (known, guessed) = (of(&knows), of(&guesses));
    assert!(known.tokens.prompts.expected > guessed.tokens.prompts.expected * 115 / 100);
    assert_eq!(known.fit.basis, FitBasis::Learned { rows: 500 });
    assert!(known.total.high < guessed.total.high.saturating_add(guessed.total.expected));
}

#[test]
fn a_model_without_a_price_has_no_estimate() {
    let prefix = RequestPrefix::text("claude-2.1", b"{");
    let mut catalog = Catalog::builtin().clone();
    let model = catalog.models["claude-opus-5"].clone();
    catalog.models.insert(
        "claude-2.1".to_owned(),
        crate::catalog::Model {
            prices: None,
            ..model
        },
    );
    let unpriced = Estimator::new(&catalog, &prefix, RunHistory::default());
    assert!(matches!(unpriced, Err(Unpriced::NoPrice { .. })));
}

#[test]
fn a_mark_behind_each_rows_own_text_is_paid_by_each_row() {
    let of = |mark: &str, words: usize| {
        let head = SHORT.replace(r#""model":"m""#, &format!(r#""model":"m"{mark}"#));
        let estimator = estimator("claude-opus-5", &head, RunHistory::default());
        let output = Span {
            low: 0,
            expected: 0,
            high: 0,
        };
        let mut statistics = estimator.statistics();
        let characters = CharacterCounts::of(&"word ".repeat(words));
        let weight = RowEstimate {
            characters,
            messages: 1,
            output,
            max_tokens: 0,
            model: estimator.place,
            ..RowEstimate::default()
        };
        (0..100).for_each(|_| statistics.push(&weight));
        statistics.close();
        estimator
            .estimate(&statistics, estimator.fit(), false)
            .unwrap()
            .total
    };
    let (plain, hour, minutes) = (
        of("", 1_000),
        of(HOUR, 1_000),
        of(&HOUR.replace("1h", "5m"), 1_000),
    );
    // Writing costs 2 times the input for an hour, 1.25 times for five minutes.
    assert_eq!(
        hour.expected.picodollars(),
        2 * plain.expected.picodollars()
    );
    assert_eq!(
        minutes.expected.picodollars() * 4,
        5 * plain.expected.picodollars()
    );
    assert_eq!(
        (
            hour.worst_case.picodollars(),
            minutes.worst_case.picodollars() * 4
        ),
        (
            2 * plain.worst_case.picodollars(),
            5 * plain.worst_case.picodollars()
        )
    );
    // A prompt below the model's shortest prefix is not cached.
    assert_eq!(of(HOUR, 5).expected, of("", 5).expected);
}

#[test]
fn a_row_that_chooses_another_model_has_its_price() {
    let estimator = estimator("claude-haiku-4-5", SHORT, RunHistory::default());
    let other = rows::place_of(estimator.catalog, "claude-opus-5").unwrap();
    let mut statistics = estimator.statistics();
    let weight = RowEstimate {
        characters: CharacterCounts::of(&"a".repeat(1_000)),
        messages: 1,
        max_tokens: 1,
        model: other,
        ..RowEstimate::default()
    };
    statistics.push(&weight);
    statistics.close();
    let estimate = estimator
        .estimate(&statistics, estimator.fit(), false)
        .unwrap();
    let tokens = 419 + PER_MESSAGE + (4 * 419_u64 + 1_000).div_ceil(1_000) + 3;
    assert_eq!(
        estimate.total.expected.picodollars(),
        i64::try_from(tokens * 2_500_000).unwrap()
    );
}

#[test]
fn searches_and_what_they_find_are_in_what_is_reserved() {
    let of = |uses: &str| {
        let tool = format!(r#"{{"type":"web_search_20250305","name":"web_search"{uses}}}"#);
        let head = format!(r#"{{"tools":[{tool}],"messages":["#);
        let estimator = estimator("claude-haiku-4-5", &head, RunHistory::default());
        estimator
            .estimate(&statistics(&estimator, 10, "a row"), estimator.fit(), false)
            .unwrap()
    };
    // A search costs a cent; without them the tokens of ten short rows are worth less than that.
    let cents = |money: Money| money.picodollars() / 10_000_000_000;
    let three = of(r#","max_uses":3"#);
    assert_eq!(
        (cents(three.total.low), cents(three.total.expected)),
        (0, 15)
    );
    let found = i64::try_from(10 * 3 * shared::FOUND_TOKENS * 500_000).unwrap();
    assert_eq!(
        (three.total.high.picodollars() - found) / 10_000_000_000,
        30
    );
    // Ten prompts as long as the context window, ten answers of 100 tokens, and thirty searches.
    let context = i64::try_from(
        Catalog::builtin()
            .model("claude-haiku-4-5")
            .unwrap()
            .1
            .context_tokens,
    )
    .unwrap();
    let worst_case = 10 * context * 500_000 + 10 * 100 * 2_500_000 + 30 * 10_000_000_000;
    assert_eq!(three.total.worst_case.picodollars(), worst_case);
    let searches = |uses, is_assumed| Some(UseLimit { uses, is_assumed });
    assert_eq!(three.assumptions.searches, searches(3, false));
    assert_eq!(
        (
            three.assumptions.found_tokens,
            three.assumptions.expected_uses
        ),
        (Some(30_000), 500)
    );

    let endless = of("");
    assert!(
        endless.total.high > three.total.high && endless.total.high <= endless.total.worst_case
    );
    assert_eq!(endless.assumptions.searches, searches(5, true));
}

/// The estimate of 100 rows of `letters` letters with this in the head.
fn with(model: &str, extra: &str, letters: usize) -> Estimate {
    let head = format!(r#"{{"model":"m","max_tokens":100,{extra}"messages":["#);
    let estimator = estimator(model, &head, RunHistory::default());
    let statistics = statistics(&estimator, 100, &"a".repeat(letters));
    estimator
        .estimate(&statistics, estimator.fit(), false)
        .unwrap()
}

#[test]
fn an_advisor_is_priced_by_its_own_model_and_by_its_limit() {
    let tool = |model: &str, limits: &str| {
        format!(
            r#""tools":[{{"type":"advisor_20260301","name":"advisor","model":"{model}"{limits}}}],"#
        )
    };
    let plain = with("claude-haiku-4-5", "", 3_000).total;
    let twice = with(
        "claude-haiku-4-5",
        &tool("claude-opus-5-5", r#","max_uses":2,"max_tokens":500"#),
        3_000,
    );
    let dearer = with(
        "claude-haiku-4-5",
        &tool("claude-fable-5-2", r#","max_uses":2,"max_tokens":500"#),
        3_000,
    )
    .total;
    // The least that two pieces of advice for each of 100 rows cost: 1,000 tokens in and out at 2
    // and 10 dollars a million.
    let advice: Money = "0.3".parse().unwrap();
    assert!(
        twice.total.high >= plain.high + advice,
        "{:?} {plain:?}",
        twice.total
    );
    assert!(twice.total.worst_case > twice.total.high && dearer.high > twice.total.high);
    assert!(twice.total.low < twice.total.expected && twice.total.expected < twice.total.high);
    let advisors = |uses, is_assumed| {
        vec![AssumedAdvisor {
            model: "claude-opus-5-5".to_owned(),
            limit: UseLimit { uses, is_assumed },
        }]
    };
    assert_eq!(twice.assumptions.advisors, advisors(2, false));
    let unlimited = with("claude-haiku-4-5", &tool("claude-opus-5-5", ""), 3_000);
    assert!(unlimited.total.high > twice.total.high);
    assert_eq!(unlimited.assumptions.advisors, advisors(5, true));
}

#[test]
fn an_advisor_without_a_price_has_no_estimate() {
    let head = r#"{"tools":[{"type":"advisor_20260301","name":"advisor","model":"a-model-of-tomorrow"}],"messages":["#;
    let error = Estimator::new(
        Catalog::builtin(),
        &RequestPrefix::text("claude-haiku-4-5", head.as_bytes()),
        RunHistory::default(),
    );
    assert_eq!(
        error.unwrap_err(),
        Unpriced::UnknownModel {
            model: "a-model-of-tomorrow".to_owned()
        }
    );
}

#[test]
fn a_prompt_that_is_compacted_is_paid_twice() {
    let edit = r#""context_management":{"edits":[{"type":"compact_20260112","trigger":{"type":"input_tokens","value":50000}}]},"#;
    // 200,000 letters are 61,200 tokens, 3,000 are 918.
    let (short, short_compacted) = (
        with("claude-sonnet-4-6", "", 3_000),
        with("claude-sonnet-4-6", edit, 3_000),
    );
    assert_eq!(
        short.total, short_compacted.total,
        "it never gets that long"
    );
    let (long, compacted) = (
        with("claude-sonnet-4-6", "", 200_000).total,
        with("claude-sonnet-4-6", edit, 200_000),
    );
    // 61,200 × 1.50 and a summary of 3,500 × 7.50, by the million, for each of 100 rows.
    let more: Money = "11.8".parse().unwrap();
    assert!(
        compacted.total.expected >= long.expected + more,
        "{:?} {long:?}",
        compacted.total
    );
    assert!(
        compacted.total.high > long.high + more
            && compacted.total.worst_case > compacted.total.high
    );
    assert_eq!(compacted.assumptions.compacted_from, Some(50_000));
}

#[test]
fn reads_an_estimate_of_an_earlier_version() {
    let old = r#"{"priced_at":"2026-11-20","model":"claude-haiku-4-5-20251001","requests":20,
        "total":{"low":"0.1","likely":"0.2","high":"0.3","most":"0.4"},
        "pieces":[{"low":"0.1","likely":"0.2","high":"0.3","most":"0.4"}],
        "tokens":{"shared":10,"prompts":{"low":1,"likely":2,"high":3},"prompts_by_letters":2,"fixed":1,
            "output":{"low":4,"likely":5,"high":6},"prompts_most":9,"output_most":8},
        "fit":{"basis":{"from":"constants"},"costs":[1,2,3,4,5,6,7,8,9,10,11,12],"per_row":0,"shared":1000,"off":350},
        "output_basis":{"from":"schema"},
        "cache":{"hour_tokens":5,"minutes_tokens":0,"basis":{"from":"primed"},"reads":{"low":1000,"likely":980,"high":0},
            "pays_from":527},
        "says":{"low":"few tokens","likely":"tokens by the letters","high":"many","most":"a token for every byte"}}"#;
    let estimate: Estimate = serde_json::from_str(old).unwrap();
    let dollars = |text: &str| text.parse::<Money>().unwrap();
    let bounds = Bounds {
        low: dollars("0.1"),
        expected: dollars("0.2"),
        high: dollars("0.3"),
        worst_case: dollars("0.4"),
    };
    assert_eq!((estimate.total, &estimate.batches), (bounds, &vec![bounds]));
    assert_eq!(
        (
            estimate.tokens.prompts.expected,
            estimate.tokens.prompts_worst_case,
            estimate.tokens.output_worst_case
        ),
        (2, 9, 8)
    );
    assert_eq!(
        (&estimate.cache.basis, estimate.cache.reads.expected),
        (&ReadsBasis::WarmUp, 980)
    );
    assert_eq!(estimate.assumptions, Assumptions::default());
    let written = serde_json::to_string(&estimate).unwrap();
    assert_eq!(
        serde_json::from_str::<Estimate>(&written).unwrap(),
        estimate
    );
}
