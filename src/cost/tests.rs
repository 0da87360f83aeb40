//! Every price rule against figures worked out by hand from the published prices, in dollars.

use super::*;
use crate::outcome::{Iteration, TokenCounts};

/// Plain input, 5 m write, 1 h write, read, output.
type Tokens = [u64; 5];

fn usage(
    [input, write_5m, write_1h, read, output]: Tokens,
    tier: Option<&str>,
    geo: Option<&str>,
) -> Usage {
    Usage {
        input_tokens: Some(input),
        cache_creation_5m_input_tokens: Some(write_5m),
        cache_creation_1h_input_tokens: Some(write_1h),
        cache_read_input_tokens: Some(read),
        output_tokens: Some(output),
        service_tier: tier.map(str::to_owned),
        inference_geo: geo.map(str::to_owned),
        ..Usage::default()
    }
}

fn total(model: &str, usage: &Usage) -> String {
    of_usage(Catalog::builtin(), model, usage)
        .expect(model)
        .total()
        .to_string()
}

/// What is priced, the model, its tokens, the tier, the place, and the dollars that makes.
type Case = (
    &'static str,
    &'static str,
    Tokens,
    Option<&'static str>,
    Option<&'static str>,
    &'static str,
);

/// A million tokens of one kind cost the figure in the price list.
const M: u64 = 1_000_000;

#[test]
fn each_kind_of_token_costs_what_the_price_list_says() {
    const BATCH: Option<&str> = Some("batch");
    const STANDARD: Option<&str> = Some("standard");
    const US: Option<&str> = Some("us");
    let table: &[Case] = &[
        // Half of the list price in a batch, and where no tier is named; the full price in any
        // other tier.
        (
            "half price in a batch",
            "claude-haiku-4-5",
            [M, 0, 0, 0, 0],
            BATCH,
            None,
            "0.5",
        ),
        (
            "a tier that is not named is a batch",
            "claude-haiku-4-5",
            [M, 0, 0, 0, 0],
            None,
            None,
            "0.5",
        ),
        (
            "standard tier",
            "claude-haiku-4-5",
            [M, 0, 0, 0, M],
            STANDARD,
            None,
            "6",
        ),
        (
            "priority tier",
            "claude-haiku-4-5",
            [M, 0, 0, 0, M],
            Some("priority"),
            None,
            "6",
        ),
        // 1,234 × 0.50 + 567 × 2.50, by the million: 0.000617 + 0.0014175.
        (
            "an everyday request",
            "claude-haiku-4-5",
            [1_234, 0, 0, 0, 567],
            BATCH,
            None,
            "0.0020345",
        ),
        (
            "one token",
            "claude-haiku-5-5",
            [1, 0, 0, 0, 0],
            BATCH,
            None,
            "0.00000005",
        ),
        (
            "one cached token",
            "claude-haiku-5-5",
            [0, 0, 0, 1, 0],
            BATCH,
            None,
            "0.000000005",
        ),
        // Writes cost 1.25 and 2 times the input: 3.00 × 1.25 / 2 and 3.00 × 2 / 2.
        (
            "five-minute write",
            "claude-sonnet-4-6",
            [0, M, 0, 0, 0],
            BATCH,
            None,
            "1.875",
        ),
        (
            "one-hour write",
            "claude-sonnet-4-6",
            [0, 0, M, 0, 0],
            BATCH,
            None,
            "3",
        ),
        (
            "both writes",
            "claude-sonnet-4-6",
            [0, M, M, 0, 0],
            BATCH,
            None,
            "4.875",
        ),
        // Reads: a tenth on most models, a twentieth and a fortieth on others.
        (
            "read at 0.1",
            "claude-sonnet-5",
            [0, 0, 0, M, 0],
            BATCH,
            None,
            "0.1",
        ),
        (
            "read at 0.05",
            "claude-sonnet-5-5",
            [0, 0, 0, M, 0],
            BATCH,
            None,
            "0.05",
        ),
        (
            "read at 0.05",
            "claude-opus-5-5",
            [0, 0, 0, M, 0],
            BATCH,
            None,
            "0.1",
        ),
        (
            "read at 0.025",
            "claude-fable-5-1",
            [0, 0, 0, M, 0],
            BATCH,
            None,
            "0.125",
        ),
        (
            "read at 0.025",
            "claude-fable-5-2",
            [0, 0, 0, M, 0],
            BATCH,
            None,
            "0.1",
        ),
        // Geography: 1.1 on every kind of token; (2 + 2.5 + 4 + 0.1 + 10) × 1.1.
        (
            "us, every kind",
            "claude-opus-5-5",
            [M, M, M, M, M],
            BATCH,
            US,
            "20.46",
        ),
        (
            "us, standard tier",
            "claude-opus-5-5",
            [M, 0, 0, 0, 0],
            STANDARD,
            US,
            "4.4",
        ),
        (
            "global",
            "claude-opus-5-5",
            [M, 0, 0, 0, 0],
            BATCH,
            Some("global"),
            "2",
        ),
        (
            "us, on a model without the factor",
            "claude-haiku-4-5",
            [M, 0, 0, 0, 0],
            BATCH,
            US,
            "0.5",
        ),
        // Bands of Haiku 5.5, by the whole prompt; above, every token costs five times as much,
        // output included.
        (
            "100,000 plain",
            "claude-haiku-5-5",
            [100_000, 0, 0, 0, 1_000],
            BATCH,
            None,
            "0.00525",
        ),
        (
            "100,001 plain",
            "claude-haiku-5-5",
            [100_001, 0, 0, 0, 1_000],
            BATCH,
            None,
            "0.02625025",
        ),
        (
            "100,000 in four kinds",
            "claude-haiku-5-5",
            [10_000, 20_000, 30_000, 40_000, 0],
            BATCH,
            None,
            "0.00495",
        ),
        (
            "100,001 in four kinds",
            "claude-haiku-5-5",
            [10_001, 20_000, 30_000, 40_000, 0],
            BATCH,
            None,
            "0.02475025",
        ),
        (
            "100,001 with the last one read",
            "claude-haiku-5-5",
            [10_000, 20_000, 30_000, 40_001, 0],
            BATCH,
            None,
            "0.024750025",
        ),
        (
            "output does not count for the band",
            "claude-haiku-5-5",
            [100_000, 0, 0, 0, M],
            BATCH,
            None,
            "0.255",
        ),
        (
            "100,001 in the US",
            "claude-haiku-5-5",
            [100_001, 0, 0, 0, 0],
            BATCH,
            US,
            "0.027500275",
        ),
        (
            "no other model has bands",
            "claude-sonnet-5-5",
            [900_000, 0, 0, 0, 0],
            BATCH,
            None,
            "0.9",
        ),
        // By the dated id of an answer, and of a time that is over.
        (
            "dated id",
            "claude-haiku-4-5-20251001",
            [M, 0, 0, 0, 0],
            BATCH,
            None,
            "0.5",
        ),
        (
            "retired, by id",
            "claude-3-haiku-20240307",
            [M, 0, 0, 0, M],
            BATCH,
            None,
            "0.75",
        ),
        (
            "retired, by alias",
            "claude-opus-4-1",
            [M, 0, 0, 0, M],
            BATCH,
            None,
            "45",
        ),
    ];
    for (what, model, tokens, tier, geo, dollars) in table {
        assert_eq!(
            total(model, &usage(*tokens, *tier, *geo)),
            *dollars,
            "{what}: {model} {tokens:?}"
        );
    }
}

#[test]
fn reports_what_the_money_was_for() {
    let cost = of_usage(
        Catalog::builtin(),
        "claude-opus-5-5",
        &usage([M, M, M, M, M], None, None),
    )
    .unwrap();
    let each = [
        cost.input,
        cost.output,
        cost.cache_write_5m,
        cost.cache_write_1h,
        cost.cache_read,
        cost.server_tools,
    ];
    assert_eq!(
        each.map(|amount| amount.to_string()),
        ["2", "10", "2.5", "4", "0.1", "0"]
    );
    assert_eq!(
        (cost.input_side().to_string(), cost.total().to_string()),
        ("8.6".into(), "18.6".into())
    );
}

#[test]
fn searches_cost_a_cent_each_in_a_batch_too_and_anywhere() {
    for (tier, geo) in [(None, None), (Some("standard"), None), (None, Some("us"))] {
        let usage = Usage {
            web_search_requests: Some(3),
            ..usage([0; 5], tier, geo)
        };
        assert_eq!(total("claude-sonnet-5-5", &usage), "0.03");
    }
    let usage = Usage {
        web_search_requests: Some(2),
        web_fetch_requests: Some(7),
        code_execution_requests: Some(9),
        ..usage([1_000, 0, 0, 0, 100], None, None)
    };
    assert_eq!(total("claude-sonnet-5-5", &usage), "0.0215");
}

#[test]
fn kinds_that_are_not_named_cost_nothing() {
    let usage = Usage {
        output_tokens: Some(1_000),
        ..Usage::default()
    };
    assert_eq!(total("claude-haiku-4-5", &usage), "0.0025");
    assert_eq!(total("claude-haiku-4-5", &Usage::default()), "0");
}

#[test]
fn a_model_without_a_price_is_an_error_and_no_zero() {
    let error = |model| of_usage(Catalog::builtin(), model, &Usage::default()).unwrap_err();
    let mut catalog = Catalog::builtin().clone();
    catalog
        .models
        .get_mut("claude-opus-5")
        .expect("the model")
        .prices = None;
    let unpriced = of_usage(&catalog, "claude-opus-5", &Usage::default());
    assert_eq!(
        unpriced.unwrap_err(),
        Unpriced::NoPrice {
            model: "claude-opus-5".into()
        }
    );
    assert_eq!(
        error("claude-2.1"),
        Unpriced::NoPrice {
            model: "claude-2.1".into()
        }
    );
    assert_eq!(
        error("gpt-4"),
        Unpriced::UnknownModel {
            model: "gpt-4".into()
        }
    );
}

fn outcome(status: Status, result: &str, usage: Option<Usage>) -> Outcome {
    Outcome {
        result: result.to_owned(),
        text: Some("text".to_owned()),
        model: Some("claude-haiku-4-5-20251001".to_owned()),
        usage,
        ..Outcome::new(status)
    }
}

#[test]
fn outcomes_are_billed_as_the_provider_bills_them() {
    let used = || Some(usage([1_000, 0, 0, 0, 100], Some("batch"), None));
    // 1,000 × 0.50 + 100 × 2.50, by the million.
    let billed = Ok("0.00075".to_owned());
    let nothing = Ok("0".to_owned());
    let unknown = Err(Unpriced::NoUsage);
    for (outcome, expected) in [
        (outcome(Status::Succeeded, "succeeded", used()), &billed),
        (outcome(Status::Truncated, "succeeded", used()), &billed),
        (outcome(Status::Invalid, "succeeded", used()), &billed),
        (outcome(Status::Paused, "succeeded", used()), &billed),
        (outcome(Status::Refused, "succeeded", used()), &billed),
        (
            Outcome {
                text: None,
                ..outcome(Status::Refused, "succeeded", used())
            },
            &nothing,
        ),
        (
            Outcome {
                text: Some(String::new()),
                ..outcome(Status::Refused, "succeeded", used())
            },
            &nothing,
        ),
        (outcome(Status::Errored, "errored", None), &nothing),
        (outcome(Status::Canceled, "canceled", None), &nothing),
        (outcome(Status::Expired, "expired", None), &nothing),
        (outcome(Status::Succeeded, "succeeded", None), &unknown),
        (
            Outcome {
                model: None,
                ..outcome(Status::Succeeded, "succeeded", used())
            },
            &unknown,
        ),
        (outcome(Status::Missing, "", None), &unknown),
        (
            outcome(Status::Errored, "a word of tomorrow", None),
            &unknown,
        ),
    ] {
        let cost = of_outcome(Catalog::builtin(), &outcome).map(|cost| cost.total().to_string());
        assert_eq!(cost, *expected, "{outcome:?}");
    }
}

fn step(model: Option<&str>, [input, write_5m, write_1h, read, output]: Tokens) -> Iteration {
    let tokens = TokenCounts {
        input_tokens: Some(input),
        cache_creation_5m_input_tokens: Some(write_5m),
        cache_creation_1h_input_tokens: Some(write_1h),
        cache_read_input_tokens: Some(read),
        output_tokens: Some(output),
    };
    Iteration {
        model: model.map(str::to_owned),
        tokens,
    }
}

fn in_steps(steps: Vec<Iteration>, geo: Option<&str>) -> Usage {
    let mut sums = TokenCounts::default();
    steps.iter().for_each(|step| sums.add(step.tokens));
    let usage = Usage {
        inference_geo: geo.map(str::to_owned),
        ..Usage::default()
    };
    Usage {
        iterations: steps,
        ..usage.with_tokens(sums)
    }
}

#[test]
fn an_answer_in_several_steps_costs_the_sum_over_them_each_by_its_model_and_band() {
    let compaction = || step(None, [180_000, 0, 0, 0, 3_500]);
    let message = || step(None, [23_000, 0, 0, 0, 1_000]);
    for (what, model, usage, dollars) in [
        // 203,000 × 1.50 + 4,500 × 7.50, by the million; without the compaction it would be 0.042.
        (
            "compaction",
            "claude-sonnet-4-6",
            in_steps(vec![compaction(), message()], None),
            "0.33825",
        ),
        // 180,000 × 0.25 + 3,500 × 1.25 in the upper band, 23,000 × 0.05 + 1,000 × 0.25 in the
        // lower.
        (
            "a band for each step",
            "claude-haiku-5-5",
            in_steps(vec![compaction(), message()], None),
            "0.050775",
        ),
        // 1,000 × 0.50 + 100 × 2.50, then 2,000 × 2 + 400 × 10, in thousandths of a dollar: 0.75 +
        // 8.
        (
            "advisor",
            "claude-haiku-4-5",
            in_steps(
                vec![
                    step(None, [1_000, 0, 0, 0, 100]),
                    step(Some("claude-opus-5-5"), [2_000, 0, 0, 0, 400]),
                ],
                None,
            ),
            "0.00875",
        ),
        // The place raises only the advisor's price: Haiku 4.5 has no factor for it. 0.75 + 8.8.
        (
            "advisor in the US",
            "claude-haiku-4-5",
            in_steps(
                vec![
                    step(None, [1_000, 0, 0, 0, 100]),
                    step(Some("claude-opus-5-5"), [2_000, 0, 0, 0, 400]),
                ],
                Some("us"),
            ),
            "0.00955",
        ),
        // Writes for an hour at the advisor's price: 1,000 × 4, by the million.
        (
            "a cache split for each step",
            "claude-haiku-4-5",
            in_steps(
                vec![
                    step(None, [0; 5]),
                    step(Some("claude-opus-5-5"), [0, 0, 1_000, 0, 0]),
                ],
                None,
            ),
            "0.004",
        ),
    ] {
        assert_eq!(total(model, &usage), dollars, "{what}");
    }
    let searched = Usage {
        web_search_requests: Some(2),
        ..in_steps(vec![message(), message()], None)
    };
    assert_eq!(
        total("claude-sonnet-4-6", &searched),
        "0.104",
        "tools are counted once"
    );
}

#[test]
fn the_share_of_an_advisor_is_under_its_own_model() {
    let usage = in_steps(
        vec![
            step(None, [1_000, 0, 0, 0, 100]),
            step(Some("claude-opus-5-5"), [2_000, 0, 0, 0, 400]),
        ],
        None,
    );
    let usage = Usage {
        web_search_requests: Some(1),
        ..usage
    };
    let outcome = outcome(Status::Succeeded, "succeeded", Some(usage));
    let mut bill = Bill::default();
    let batch: std::sync::Arc<str> = "b".into();
    for (model, cost) in by_model(Catalog::builtin(), &outcome).unwrap() {
        bill.add(&batch, Some(model), &Ok(cost));
    }
    let shares: Vec<(&str, String)> = bill
        .by_model()
        .into_iter()
        .map(|(model, cost)| (model, cost.total().to_string()))
        .collect();
    assert_eq!(
        shares,
        [
            ("claude-haiku-4-5-20251001", "0.01075".to_owned()),
            ("claude-opus-5-5", "0.008".to_owned())
        ]
    );
    assert_eq!(
        bill.total().total(),
        of_outcome(Catalog::builtin(), &outcome).unwrap().total()
    );
}

#[test]
fn usage_with_a_hole_has_no_price() {
    let whole = || usage([1_000, 0, 0, 0, 100], Some("batch"), None);
    for usage in [
        Usage {
            input_tokens: None,
            ..whole()
        },
        Usage {
            output_tokens: None,
            ..whole()
        },
        Usage {
            unreadable: true,
            ..whole()
        },
        Usage::default(),
        in_steps(
            vec![
                step(None, [1; 5]),
                step(Some("a-model-of-tomorrow"), [1; 5]),
            ],
            None,
        ),
        Usage {
            iterations: vec![Iteration::default()],
            ..whole()
        },
    ] {
        for status in [
            Status::Succeeded,
            Status::Truncated,
            Status::Refused,
            Status::Paused,
        ] {
            let outcome = outcome(status, "succeeded", Some(usage.clone()));
            assert!(
                of_outcome(Catalog::builtin(), &outcome).is_err(),
                "{status} {usage:?}"
            );
        }
    }
}

#[test]
fn nothing_is_rounded_with_the_built_in_prices() {
    let catalog = Catalog::builtin();
    let live = catalog
        .models
        .iter()
        .filter_map(|(id, model)| Some((id, model.prices.as_ref()?)));
    let gone = catalog
        .retired
        .iter()
        .filter_map(|(id, model)| Some((id, model.prices.as_ref()?)));
    for (id, _) in live.chain(gone) {
        for geo in [None, Some("us")] {
            for tokens in [
                [1, 0, 0, 0, 0],
                [0, 1, 0, 0, 0],
                [0, 0, 1, 0, 0],
                [0, 0, 0, 1, 0],
                [0, 0, 0, 0, 1],
            ] {
                let cost = |n: u64| {
                    of_usage(catalog, id, &usage(tokens.map(|t| t * n), None, geo))
                        .unwrap()
                        .total()
                };
                assert_eq!(cost(1).times(7), cost(7), "{id} {geo:?} {tokens:?}");
            }
        }
    }
}

#[test]
fn a_price_that_is_too_fine_is_rounded_up_once_a_kind_and_request() {
    // 0.000001 dollars a million tokens is 10⁻¹² a token; half of that is none, three halves are
    // two.
    let fine = "[models.claude-haiku-4-5.prices]\ninput = '0.000001'\n";
    let catalog = Catalog::builtin().with_overrides(fine).unwrap();
    for (tokens, pico) in [(1, 1), (2, 1), (3, 2), (1_000_001, 500_001)] {
        let cost = of_usage(
            &catalog,
            "claude-haiku-4-5",
            &usage([tokens, 0, 0, 0, 0], None, None),
        )
        .unwrap();
        assert_eq!(cost.total().picodollars(), pico, "{tokens}");
    }
}

#[test]
fn more_tokens_than_there_are_stop_at_the_largest_amount() {
    assert_eq!(
        total("claude-opus-5-5", &usage([u64::MAX; 5], None, None)),
        Money::MAX.to_string()
    );
}
