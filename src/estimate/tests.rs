//! Estimates against figures worked out by hand.

use super::rows::RowEstimate;
use super::shared::PER_MESSAGE;
use super::tokens::CharacterCounts;
use super::*;

const SHORT: &str =
    r#"{"model":"m","max_tokens":100,"system":[{"type":"text","text":"Sort."}],"messages":["#;

fn head(shared_words: usize, mark: &str) -> String {
    let text = "word ".repeat(shared_words);
    format!(r#"{{"system":[{{"type":"text","text":"{text}"{mark}}}],"messages":["#)
}

const HOUR: &str = r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#;

fn estimator(model: &str, head: &str, known: Known) -> Estimator<'static> {
    let asked = Asked::text(model, head.as_bytes());
    Estimator::new(Catalog::builtin(), &asked, known).expect("a price")
}

/// So many rows of such a text, in batches of 100.
fn gathered(estimator: &Estimator<'_>, rows: u64, text: &str) -> BatchStatistics {
    let mut gathered = estimator.gathered();
    let tally = CharacterCounts::of(text);
    for row in 0..rows {
        if row > 0 && row % 100 == 0 {
            gathered.close();
        }
        let output = Span {
            low: 5_000,
            likely: 10_000,
            high: 20_000,
        };
        gathered.push(&RowEstimate {
            tally,
            messages: 1,
            output,
            max_tokens: 100,
            model: estimator.place,
            ..RowEstimate::default()
        });
    }
    gathered.close();
    gathered
}

#[test]
fn likely_is_tokens_times_price() {
    let estimator = estimator("claude-haiku-4-5", SHORT, Known::default());
    let gathered = gathered(&estimator, 250, &"a".repeat(1_000));
    let estimate = estimator
        .estimate(&gathered, estimator.fit(), false)
        .unwrap();
    // 1,000 letters are 306 tokens, and a message costs four; "Sort." is four letters and a mark,
    // and a request costs three.
    let prompt = 306 + PER_MESSAGE + (4 * 306_u64 + 800).div_ceil(1_000) + 3;
    assert_eq!(estimate.tokens.prompts.likely, 250 * prompt);
    assert_eq!(estimate.tokens.output.likely, 2_500);
    // In a batch: half of 1 dollar a million in, half of 5 out.
    let units = 250 * prompt * 500_000 + 2_500 * 2_500_000;
    assert_eq!(
        estimate.total.likely.picodollars(),
        i64::try_from(units).unwrap()
    );
    assert_eq!((estimate.pieces.len(), estimate.requests), (3, 250));
    let Bounds {
        low,
        likely,
        high,
        most,
    } = estimate.total;
    assert!(low < likely && likely < high && high < most);
}

#[test]
fn the_sum_of_the_batches_is_the_total() {
    let estimator = estimator("claude-sonnet-5-5", &head(1_000, HOUR), Known::default());
    let gathered = gathered(&estimator, 350, "a row");
    let estimate = estimator
        .estimate(&gathered, estimator.fit(), false)
        .unwrap();
    assert_eq!(
        estimate
            .pieces
            .iter()
            .map(|piece| piece.likely)
            .sum::<Money>(),
        estimate.total.likely
    );
    assert_eq!(
        estimate
            .pieces
            .iter()
            .map(|piece| piece.most)
            .sum::<Money>(),
        estimate.total.most
    );
}

#[test]
fn most_holds_every_byte_and_every_answer() {
    let estimator = estimator("claude-haiku-4-5", SHORT, Known::default());
    let gathered = gathered(&estimator, 10, "영화");
    let estimate = estimator
        .estimate(&gathered, estimator.fit(), false)
        .unwrap();
    let prompt = 6 + PER_MESSAGE + 5 + 3;
    assert_eq!(estimate.tokens.prompts_most, 10 * prompt);
    assert_eq!(
        estimate.total.most.picodollars(),
        i64::try_from(10 * prompt * 500_000 + 10 * 100 * 2_500_000).unwrap()
    );
}

#[test]
fn a_primed_cache_is_cheaper_and_no_cache_read_is_dearer() {
    let long = head(5_000, HOUR);
    let marked = estimator("claude-sonnet-5-5", &long, Known::default());
    let plain = estimator("claude-sonnet-5-5", &head(5_000, ""), Known::default());
    let of = |estimator: &Estimator<'_>, primed| {
        estimator
            .estimate(
                &gathered(estimator, 1_000, "a row"),
                estimator.fit(),
                primed,
            )
            .unwrap()
    };
    let (cold, primed, plain) = (of(&marked, false), of(&marked, true), of(&plain, false));
    assert!(primed.total.likely < cold.total.likely && cold.total.likely < plain.total.likely);
    assert!(
        cold.total.high > plain.total.high,
        "every request writes, for twice the price"
    );
    assert_eq!(cold.cache.basis, ReadsBasis::Documented);
    assert!(
        cold.says
            .likely
            .contains("64% of the requests read the cache"),
        "{:?}",
        cold.says
    );
}

#[test]
fn the_first_request_of_all_writes_the_cache() {
    let estimator = estimator(
        "claude-sonnet-5-5",
        &head(5_000, HOUR),
        Known {
            reads: Some((1_000, 9)),
            ..Known::default()
        },
    );
    let one = estimator
        .estimate(&gathered(&estimator, 1, "a row"), estimator.fit(), false)
        .unwrap();
    let two = estimator
        .estimate(&gathered(&estimator, 2, "a row"), estimator.fit(), false)
        .unwrap();
    // A write costs 2, a read 0.05 of plain input.
    assert!(two.total.likely.saturating_sub(one.total.likely).times(10) < one.total.likely);
}

#[test]
fn shares_of_the_cache_are_rounded_over_all_requests_not_for_each_few() {
    let estimator = estimator(
        "claude-sonnet-5-5",
        &head(5_000, HOUR),
        Known {
            reads: Some((980, 9)),
            ..Known::default()
        },
    );
    let together = gathered(&estimator, 100, "a row");
    let mut apart = together.clone();
    apart.pieces = (0..20)
        .map(|_| gathered(&estimator, 5, "a row").pieces.remove(0))
        .collect();
    let likely = |rows: &BatchStatistics| {
        estimator
            .estimate(rows, estimator.fit(), true)
            .unwrap()
            .total
            .likely
    };
    // Two in a hundred write: of five by themselves that would be none.
    let off = (likely(&together).picodollars() - likely(&apart).picodollars()).unsigned_abs();
    assert!(
        off * 1_000 < likely(&together).picodollars().unsigned_abs(),
        "{} {}",
        likely(&together),
        likely(&apart)
    );
}

#[test]
fn a_prompt_above_the_line_has_the_price_behind_it() {
    let estimator = estimator("claude-haiku-5-5", SHORT, Known::default());
    let mut gathered = estimator.gathered();
    let model = estimator.place;
    let row = |letters: usize| RowEstimate {
        model,
        tally: CharacterCounts::of(&"a".repeat(letters)),
        messages: 1,
        max_tokens: 1,
        ..RowEstimate::default()
    };
    // 419 thousandths a letter: 90,000 and 110,000 tokens or so.
    gathered.push(&row(215_000));
    gathered.push(&row(262_000));
    gathered.close();
    assert_eq!(gathered.pieces[0].len(), 2);
    let estimate = estimator
        .estimate(&gathered, estimator.fit(), false)
        .unwrap();
    let tokens = |letters: u64| {
        (letters * 419).div_ceil(1_000) + PER_MESSAGE + (4 * 419_u64 + 1_000).div_ceil(1_000) + 3
    };
    // 0.05 and 0.25 dollars a million.
    let units = tokens(215_000) * 50_000 + tokens(262_000) * 250_000;
    assert_eq!(
        estimate.total.likely.picodollars(),
        i64::try_from(units).unwrap()
    );
}

#[test]
fn the_place_of_inference_has_its_price() {
    let us = SHORT.replace(r#""model":"m""#, r#""model":"m","inference_geo":"us""#);
    let likely = |head: &str| {
        let estimator = estimator("claude-sonnet-5-5", head, Known::default());
        estimator
            .estimate(&gathered(&estimator, 10, "a row"), estimator.fit(), false)
            .unwrap()
            .total
            .likely
    };
    assert_eq!(
        likely(&us).picodollars() * 10,
        likely(SHORT).picodollars() * 11
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
    let known = Known {
        fit: Some(fit),
        ..Known::default()
    };
    let (knows, guesses) = (
        estimator("claude-haiku-4-5", SHORT, known),
        estimator("claude-haiku-4-5", SHORT, Known::default()),
    );
    let of = |estimator: &Estimator<'_>| {
        estimator
            .estimate(
                &gathered(estimator, 100, &"word ".repeat(99)),
                estimator.fit(),
                false,
            )
            .unwrap()
    };
    let (known, guessed) = (of(&knows), of(&guesses));
    assert!(known.tokens.prompts.likely > guessed.tokens.prompts.likely * 115 / 100);
    assert!(
        known.says.likely.contains("as billed in 500 rows"),
        "{:?}",
        known.says
    );
    assert!(known.total.high < guessed.total.high.saturating_add(guessed.total.likely));
}

#[test]
fn a_model_without_a_price_has_no_estimate() {
    let asked = Asked::text("claude-2.1", b"{");
    let mut catalog = Catalog::builtin().clone();
    let model = catalog.models["claude-opus-5"].clone();
    catalog.models.insert(
        "claude-2.1".to_owned(),
        crate::catalog::Model {
            prices: None,
            ..model
        },
    );
    let unpriced = Estimator::new(&catalog, &asked, Known::default());
    assert!(matches!(unpriced, Err(Unpriced::NoPrice { .. })));
}

#[test]
fn a_mark_behind_each_rows_own_text_is_paid_by_each_row() {
    let of = |mark: &str, words: usize| {
        let head = SHORT.replace(r#""model":"m""#, &format!(r#""model":"m"{mark}"#));
        let estimator = estimator("claude-opus-5", &head, Known::default());
        let output = Span {
            low: 0,
            likely: 0,
            high: 0,
        };
        let mut gathered = estimator.gathered();
        let tally = CharacterCounts::of(&"word ".repeat(words));
        let weight = RowEstimate {
            tally,
            messages: 1,
            output,
            max_tokens: 0,
            model: estimator.place,
            ..RowEstimate::default()
        };
        (0..100).for_each(|_| gathered.push(&weight));
        gathered.close();
        estimator
            .estimate(&gathered, estimator.fit(), false)
            .unwrap()
            .total
    };
    let (plain, hour, minutes) = (
        of("", 1_000),
        of(HOUR, 1_000),
        of(&HOUR.replace("1h", "5m"), 1_000),
    );
    // Writing costs 2 times the input for an hour, 1.25 times for five minutes.
    assert_eq!(hour.likely.picodollars(), 2 * plain.likely.picodollars());
    assert_eq!(
        minutes.likely.picodollars() * 4,
        5 * plain.likely.picodollars()
    );
    assert_eq!(
        (hour.most.picodollars(), minutes.most.picodollars() * 4),
        (2 * plain.most.picodollars(), 5 * plain.most.picodollars())
    );
    // A prompt below the model's shortest prefix is not cached.
    assert_eq!(of(HOUR, 5).likely, of("", 5).likely);
}

#[test]
fn thousandths_read_as_percent() {
    assert_eq!(
        [share(0), share(25), share(980), share(1_000)],
        ["0%", "2.5%", "98%", "100%"]
    );
}

#[test]
fn a_row_that_chooses_another_model_has_its_price() {
    let estimator = estimator("claude-haiku-4-5", SHORT, Known::default());
    let other = rows::place_of(estimator.catalog, "claude-opus-5").unwrap();
    let mut gathered = estimator.gathered();
    let weight = RowEstimate {
        tally: CharacterCounts::of(&"a".repeat(1_000)),
        messages: 1,
        max_tokens: 1,
        model: other,
        ..RowEstimate::default()
    };
    gathered.push(&weight);
    gathered.close();
    let estimate = estimator
        .estimate(&gathered, estimator.fit(), false)
        .unwrap();
    let tokens = 419 + PER_MESSAGE + (4 * 419_u64 + 1_000).div_ceil(1_000) + 3;
    assert_eq!(
        estimate.total.likely.picodollars(),
        i64::try_from(tokens * 2_500_000).unwrap()
    );
}

#[test]
fn searches_and_what_they_find_are_in_what_is_reserved() {
    let of = |uses: &str| {
        let tool = format!(r#"{{"type":"web_search_20250305","name":"web_search"{uses}}}"#);
        let head = format!(r#"{{"tools":[{tool}],"messages":["#);
        let estimator = estimator("claude-haiku-4-5", &head, Known::default());
        estimator
            .estimate(&gathered(&estimator, 10, "a row"), estimator.fit(), false)
            .unwrap()
    };
    // A search costs a cent; without them the tokens of ten short rows are worth less than that.
    let cents = |money: Money| money.picodollars() / 10_000_000_000;
    let three = of(r#","max_uses":3"#);
    assert_eq!((cents(three.total.low), cents(three.total.likely)), (0, 15));
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
    let most = 10 * context * 500_000 + 10 * 100 * 2_500_000 + 30 * 10_000_000_000;
    assert_eq!(three.total.most.picodollars(), most);
    assert!(
        three
            .says
            .likely
            .contains("50% of 3 searches a request (assumed)"),
        "{:?}",
        three.says
    );
    assert!(
        three
            .says
            .high
            .contains("3 searches a request, up to 30000 tokens"),
        "{:?}",
        three.says
    );
    assert!(
        three.says.most.contains("context window"),
        "{:?}",
        three.says
    );

    let endless = of("");
    assert!(endless.total.high > three.total.high && endless.total.high <= endless.total.most);
    assert!(
        endless
            .says
            .high
            .contains("5 searches a request (assumed, since nothing limits them)"),
        "{:?}",
        endless.says
    );
}

/// The estimate of 100 rows of so many letters with this in the head.
fn with(model: &str, extra: &str, letters: usize) -> Estimate {
    let head = format!(r#"{{"model":"m","max_tokens":100,{extra}"messages":["#);
    let estimator = estimator(model, &head, Known::default());
    let gathered = gathered(&estimator, 100, &"a".repeat(letters));
    estimator
        .estimate(&gathered, estimator.fit(), false)
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
    // The least that two pieces of advice for each of 100 rows cost: 1,000 tokens each way at 2 and
    // 10 dollars a million.
    let advice: Money = "0.3".parse().unwrap();
    assert!(
        twice.total.high >= plain.high + advice,
        "{:?} {plain:?}",
        twice.total
    );
    assert!(twice.total.most > twice.total.high && dearer.high > twice.total.high);
    assert!(twice.total.low < twice.total.likely && twice.total.likely < twice.total.high);
    assert!(
        twice
            .says
            .high
            .contains("2 uses of the advisor `claude-opus-5-5` a request"),
        "{}",
        twice.says.high
    );
    assert!(
        twice.says.likely.contains("50% of 2 uses of the advisor"),
        "{}",
        twice.says.likely
    );
    let unlimited = with("claude-haiku-4-5", &tool("claude-opus-5-5", ""), 3_000);
    assert!(unlimited.total.high > twice.total.high);
    assert!(unlimited.says.most.contains(
        "5 uses of the advisor `claude-opus-5-5` a request, assumed, since nothing limits it"
    ));
}

#[test]
fn an_advisor_without_a_price_has_no_estimate() {
    let head = r#"{"tools":[{"type":"advisor_20260301","name":"advisor","model":"a-model-of-tomorrow"}],"messages":["#;
    let error = Estimator::new(
        Catalog::builtin(),
        &Asked::text("claude-haiku-4-5", head.as_bytes()),
        Known::default(),
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
        compacted.total.likely >= long.likely + more,
        "{:?} {long:?}",
        compacted.total
    );
    assert!(compacted.total.high > long.high + more && compacted.total.most > compacted.total.high);
    assert!(
        compacted
            .says
            .high
            .contains("one compaction of each prompt of 50000 tokens or more"),
        "{}",
        compacted.says.high
    );
}
