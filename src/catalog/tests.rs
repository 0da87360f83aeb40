//! The table as a whole, lookups, advice and overrides.

use jiff::civil::date;

use super::*;

/// The models in service that have a price, which are all.
fn priced() -> impl Iterator<Item = (&'static str, &'static Model, &'static Prices)> {
    Catalog::builtin()
        .models
        .iter()
        .filter_map(|(id, model)| Some((id.as_str(), model, model.prices.as_ref()?)))
}

fn factor(text: &str) -> PriceFactor {
    text.parse().expect("a factor")
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {}", chain(cause)))
        .unwrap_or_default();
    format!("{error}{cause}")
}

#[test]
fn every_model_has_a_price() {
    let catalog = Catalog::builtin();
    let live = catalog
        .models
        .iter()
        .filter(|(_, model)| model.prices.is_none())
        .map(|(id, _)| id);
    assert_eq!(live.collect::<Vec<_>>(), Vec::<&String>::new());
    // Of the models of 2023 the batch price is documented nowhere: there were no batches.
    let gone = catalog
        .retired
        .iter()
        .filter(|(_, model)| model.prices.is_none())
        .map(|(id, _)| id);
    assert_eq!(gone.collect::<Vec<_>>(), ["claude-2.1"]);
    for id in [
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-20240620",
        "claude-3-sonnet-20240229",
    ] {
        let prices = catalog.retired(id).expect(id).1.prices.as_ref().expect(id);
        assert_eq!(
            prices.rates(0).times(prices.batch_factor),
            Some(rates(["1.50", "7.50", "1.875", "3", "0.15"])),
            "{id}"
        );
    }
}

#[test]
fn the_documentation_names_every_model_in_service() {
    let page = include_str!("../../docs/models.md");
    for (id, model) in &Catalog::builtin().models {
        let name = model.aliases.first().unwrap_or(id);
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn batch_prices_are_as_published() {
    // Entered a second time from the published batch columns: input, output, 5 m write, 1 h write,
    // read.
    let table = [
        ("claude-fable-5-2", ["4", "20", "5", "8", "0.10"]),
        ("claude-mythos-5-2", ["4", "20", "5", "8", "0.10"]),
        ("claude-fable-5-1", ["5", "25", "6.25", "10", "0.125"]),
        ("claude-mythos-5-1", ["5", "25", "6.25", "10", "0.125"]),
        ("claude-fable-5", ["5", "25", "6.25", "10", "0.50"]),
        ("claude-mythos-5", ["5", "25", "6.25", "10", "0.50"]),
        ("claude-mythos-preview", ["5", "25", "6.25", "10", "0.50"]),
        ("claude-opus-5-5", ["2", "10", "2.50", "4", "0.10"]),
        ("claude-opus-5", ["2.50", "12.50", "3.125", "5", "0.25"]),
        ("claude-opus-4-8", ["2.50", "12.50", "3.125", "5", "0.25"]),
        ("claude-opus-4-7", ["2.50", "12.50", "3.125", "5", "0.25"]),
        ("claude-opus-4-6", ["2.50", "12.50", "3.125", "5", "0.25"]),
        ("claude-opus-4-5", ["2.50", "12.50", "3.125", "5", "0.25"]),
        ("claude-sonnet-5-5", ["1", "5", "1.25", "2", "0.05"]),
        ("claude-sonnet-5", ["1", "5", "1.25", "2", "0.10"]),
        ("claude-sonnet-4-6", ["1.50", "7.50", "1.875", "3", "0.15"]),
        ("claude-sonnet-4-5", ["1.50", "7.50", "1.875", "3", "0.15"]),
        (
            "claude-haiku-5-5",
            ["0.05", "0.25", "0.0625", "0.10", "0.005"],
        ),
        ("claude-haiku-4-5", ["0.50", "2.50", "0.625", "1", "0.05"]),
    ];
    assert_eq!(table.len(), priced().count());
    for (id, published) in table {
        let prices = Catalog::builtin()
            .model(id)
            .expect(id)
            .1
            .prices
            .as_ref()
            .expect(id);
        assert_eq!(
            prices.rates(0).times(prices.batch_factor),
            Some(rates(published)),
            "{id}"
        );
    }
    let haiku = Catalog::builtin().models["claude-haiku-5-5"]
        .prices
        .as_ref()
        .expect("prices");
    let above = rates(["0.25", "1.25", "0.3125", "0.50", "0.025"]);
    assert_eq!(haiku.rates(100_001).times(haiku.batch_factor), Some(above));
    assert_eq!(haiku.rates(100_000), haiku.rates(0));
}

fn rates(five: [&str; 5]) -> Rates {
    let [input, output, cache_write_5m, cache_write_1h, cache_read] =
        five.map(|text| text.parse().expect("a price"));
    Rates {
        input,
        output,
        cache_write_5m,
        cache_write_1h,
        cache_read,
    }
}

#[test]
fn cache_prices_are_the_published_multiples_of_the_input_price() {
    for (id, _, prices) in priced() {
        let read = match id {
            "claude-opus-5-5" | "claude-sonnet-5-5" => "0.05",
            "claude-fable-5-1" | "claude-fable-5-2" | "claude-mythos-5-1" | "claude-mythos-5-2" => {
                "0.025"
            }
            _ => "0.1",
        };
        for rates in [prices.rates(0), prices.rates(u64::MAX)] {
            assert_eq!(
                rates.input.times(factor("1.25")),
                Some(rates.cache_write_5m),
                "{id}"
            );
            assert_eq!(
                rates.input.times(factor("2")),
                Some(rates.cache_write_1h),
                "{id}"
            );
            assert_eq!(
                rates.input.times(factor(read)),
                Some(rates.cache_read),
                "{id}"
            );
            assert_eq!(rates.input.times(factor("5")), Some(rates.output), "{id}");
        }
    }
}

#[test]
fn factors_stack_exactly() {
    for (id, model, prices) in priced() {
        assert_eq!(prices.batch_factor, factor("0.5"), "{id}");
        // Binding to the US can be asked for from 4.6 on, which are the models that no longer take
        // a prefill.
        assert_eq!(
            prices.us_factor,
            (!model.prefill).then(|| factor("1.1")),
            "{id}"
        );
        for rates in [prices.rates(0), prices.rates(u64::MAX)] {
            let batch = rates.times(prices.batch_factor).expect(id);
            assert!(batch.times(factor("1.1")).is_some(), "{id}");
        }
    }
}

#[test]
fn shortest_cached_prefixes_are_as_published() {
    for (id, model) in &Catalog::builtin().models {
        let tokens = match id.as_str() {
            "claude-opus-4-8"
            | "claude-sonnet-5"
            | "claude-sonnet-4-6"
            | "claude-sonnet-4-5-20250929" => 1_024,
            "claude-opus-4-7" | "claude-mythos-preview" => 2_048,
            "claude-opus-4-6" | "claude-opus-4-5-20251101" | "claude-haiku-4-5-20251001" => 4_096,
            _ => 512,
        };
        assert_eq!(model.min_cache_tokens, tokens, "{id}");
    }
}

#[test]
fn facts_of_a_generation_agree_with_each_other() {
    for (id, model) in &Catalog::builtin().models {
        let up_to_4_6 = model.tokenizer == Tokenizer::First;
        let dated = id.ends_with(|last: char| last.is_ascii_digit())
            && id.rsplit('-').next().is_some_and(|part| part.len() == 8);
        assert_eq!(model.sampling, up_to_4_6, "{id}");
        assert_eq!(model.prefill, dated, "{id}");
        assert_eq!(model.aliases.len(), usize::from(dated), "{id}");
        assert_eq!(model.thinking == Thinking::Extended, dated, "{id}");
        assert_eq!(
            model.context_tokens,
            if dated { 200_000 } else { 1_000_000 },
            "{id}"
        );
        assert_eq!(
            model.max_output_tokens,
            if dated { 64_000 } else { 128_000 },
            "{id}"
        );
        assert!(model.structured_output, "{id}");
        assert_eq!(
            model.thinking == Thinking::Always,
            model.thinking_refused.iter().any(|kind| kind == "disabled"),
            "{id}"
        );
        assert!(
            model
                .max_batch_output_tokens
                .is_none_or(|most| most > model.max_output_tokens),
            "{id}"
        );
    }
}

#[test]
fn what_is_on_its_way_out_names_a_model_that_is_not() {
    let catalog = Catalog::builtin();
    for (id, model) in &catalog.models {
        let replaced = model.lifecycle != Lifecycle::Active;
        assert_eq!(model.successor.is_some(), replaced, "{id}");
        if let Some(successor) = &model.successor {
            assert_eq!(
                catalog.models[successor].lifecycle,
                Lifecycle::Active,
                "{id}"
            );
        }
        assert!(
            model.lifecycle != Lifecycle::Deprecated || model.retires.is_some(),
            "{id}"
        );
    }
    for (id, model) in &catalog.retired {
        let successor = model.successor.as_ref().expect(id);
        assert_eq!(
            catalog.models[successor].lifecycle,
            Lifecycle::Active,
            "{id}"
        );
        assert!(model.retires.expect(id) <= catalog.date, "{id}");
    }
}

#[test]
fn finds_models_by_id_and_alias() {
    let catalog = Catalog::builtin();
    assert_eq!(
        catalog.model("claude-haiku-4-5").map(|found| found.0),
        Some("claude-haiku-4-5-20251001")
    );
    assert_eq!(
        catalog.model("claude-sonnet-5-5").map(|found| found.0),
        Some("claude-sonnet-5-5")
    );
    assert!(catalog.model("claude-opus-4-1").is_none());
    assert_eq!(
        catalog.retired("claude-opus-4-1").map(|found| found.0),
        Some("claude-opus-4-1-20250805")
    );
}

#[test]
fn proposes_the_names_most_like_the_one_typed() {
    let catalog = Catalog::builtin();
    for (typed, first) in [
        ("claude-haiku-4.5", "claude-haiku-4-5"),
        ("haiku-4-5", "claude-haiku-4-5"),
        ("anthropic/Claude_Sonnet_5.5", "claude-sonnet-5-5"),
        ("claude-sonet-5-5", "claude-sonnet-5-5"),
        ("claude-opus-55", "claude-opus-5-5"),
        ("claude-haiku", "claude-haiku-5-5"),
    ] {
        assert_eq!(catalog.nearest(typed).first(), Some(&first), "{typed}");
    }
    for typed in ["", "gpt-4", "mistral-large", "🦀"] {
        assert!(
            catalog.nearest(typed).is_empty(),
            "{typed}: {:?}",
            catalog.nearest(typed)
        );
    }
    assert!(catalog.nearest("claude-opus-4").len() <= table::MAX_NEAREST);
}

#[test]
fn advises_about_models_at_their_end() {
    let catalog = Catalog::builtin();
    let table = [
        (
            "claude-opus-4-1",
            date(2026, 11, 22),
            Some(
                "model `claude-opus-4-1` was retired on 2026-08-05; its successor is \
                 `claude-opus-5-5`",
            ),
        ),
        ("claude-sonnet-4-5", date(2026, 9, 30), None),
        (
            "claude-sonnet-4-5",
            date(2026, 10, 1),
            Some(
                "model `claude-sonnet-4-5` is retired in 60 days, on 2026-11-30; its successor is \
                 `claude-sonnet-5-5`",
            ),
        ),
        (
            "claude-sonnet-4-5",
            date(2026, 11, 29),
            Some(
                "model `claude-sonnet-4-5` is retired tomorrow, on 2026-11-30; its successor is \
                 `claude-sonnet-5-5`",
            ),
        ),
        (
            "claude-sonnet-4-5",
            date(2026, 11, 30),
            Some(
                "model `claude-sonnet-4-5` is retired today; its successor is `claude-sonnet-5-5`",
            ),
        ),
        (
            "claude-sonnet-4-5",
            date(2027, 1, 1),
            Some(
                "model `claude-sonnet-4-5` was to be retired on 2026-11-30, so every row may fail; \
                 its successor is `claude-sonnet-5-5`",
            ),
        ),
        // Deprecated on 2026-11-23, which is 60 days before.
        ("claude-opus-4-5", date(2026, 11, 22), None),
        (
            "claude-opus-4-5",
            date(2026, 11, 23),
            Some(
                "model `claude-opus-4-5` is retired in 60 days, on 2027-01-22; its successor is \
                 `claude-opus-5-5`",
            ),
        ),
        // The earliest day is not a day that is set.
        ("claude-haiku-4-5", date(2026, 11, 22), None),
        ("claude-haiku-5-5", date(2030, 1, 1), None),
        ("a-model-of-tomorrow", date(2026, 11, 22), None),
    ];
    for (id, today, expected) in table {
        assert_eq!(
            catalog
                .advice(id, today)
                .map(|notice| notice.to_string())
                .as_deref(),
            expected,
            "{id} {today}"
        );
        let says_overdue = expected.is_some_and(|advice| advice.contains("was to be retired"));
        assert_eq!(
            catalog
                .model(id)
                .is_some_and(|(_, model)| model.is_overdue(today)),
            says_overdue,
            "{id} {today}"
        );
    }
}

#[test]
fn overrides_replace_the_keys_they_name_and_no_others() {
    let over = "date = 2027-01-05\n[models.claude-haiku-4-5]\nretires = 2027-03-01\nlifecycle = \
        'deprecated'\n[models.claude-haiku-4-5.prices]\noutput = '4.50'\n";
    let catalog = Catalog::builtin().with_overrides(over).expect("overrides");
    let (id, model) = catalog.model("claude-haiku-4-5").expect("the model");
    let prices = model.prices.as_ref().expect("prices");
    assert_eq!(
        (id, model.context_tokens),
        ("claude-haiku-4-5-20251001", 200_000)
    );
    assert_eq!(
        (prices.output, prices.input),
        ("4.5".parse().unwrap(), "1".parse().unwrap())
    );
    assert_eq!(
        (model.lifecycle, model.retires),
        (Lifecycle::Deprecated, Some(date(2027, 3, 1)))
    );
    assert_eq!(catalog.date, date(2027, 1, 5));
    assert_eq!(
        catalog.overridden.iter().collect::<Vec<_>>(),
        ["claude-haiku-4-5-20251001"]
    );
    assert_eq!(catalog.models.len(), Catalog::builtin().models.len());
}

#[test]
fn overrides_may_retire_a_model_and_add_one() {
    let over = "[models.claude-haiku-4-5]\nlifecycle = \
                'retired'\n[models.house-model]\ncontext_tokens = 1000\nmax_output_tokens = \
                100\nmin_cache_tokens = 10\ntokenizer = 'second'\nthinking = 'always'\nlifecycle = \
                'active'\n";
    let catalog = Catalog::builtin().with_overrides(over).expect("overrides");
    assert!(catalog.model("claude-haiku-4-5").is_none());
    assert_eq!(
        catalog
            .retired("claude-haiku-4-5")
            .expect("retired")
            .1
            .retires,
        Some(date(2026, 10, 15))
    );
    assert!(
        catalog
            .model("house-model")
            .expect("the new model")
            .1
            .prices
            .is_none()
    );
    assert_eq!(catalog.date, Catalog::builtin().date);
}

#[test]
fn refuses_overrides_that_do_not_fit_and_names_the_model() {
    let band = "above_prompt_tokens = 5\ninput = '1'\noutput = '1'\ncache_write_5m = \
        '1'\ncache_write_1h = '1'\ncache_read = '1'\n";
    let bands = format!(
        "[[models.claude-opus-5-5.prices.bands]]\n{band}[[models.claude-opus-5-5.prices.bands]]\n{band}"
    );
    for (over, expected) in [
        (
            "[models",
            "the model table cannot be read: TOML parse error",
        ),
        (
            "modles = 1",
            "the model table cannot be read: unknown field `modles`",
        ),
        (
            "[models.new]\nlifecycle = 'active'",
            "model `new` cannot be read: missing field `context_tokens`",
        ),
        (
            "[models.claude-opus-5-5]\ncolour = 1",
            "model `claude-opus-5-5` cannot be read: unknown field `colour`",
        ),
        (
            "[models.claude-opus-5-5.prices]\ninput = 4.0",
            "model `claude-opus-5-5` cannot be read: invalid type: floating point `4.0`",
        ),
        (
            "[models.claude-opus-5-5.prices]\ninput = '4,0'",
            "model `claude-opus-5-5` cannot be read: `4,0` is not a decimal",
        ),
        (
            "[models.claude-opus-5-5]\naliases = ['claude-haiku-4-5']",
            "`claude-haiku-4-5` names two models",
        ),
        (
            bands.as_str(),
            "the price bands of model `claude-opus-5-5` do not rise",
        ),
    ] {
        let error = Catalog::builtin().with_overrides(over).expect_err(over);
        assert!(
            chain(&error).starts_with(expected),
            "{over}: {}",
            chain(&error)
        );
    }
}

#[test]
fn a_day_that_has_passed_retires_nothing_but_the_lifecycle_does() {
    let catalog = Catalog::builtin();
    let long_after = date(2028, 1, 1);
    // The provider's list of models calls it deprecated months after its day.
    let (_, preview) = catalog.model("claude-mythos-preview").expect("in service");
    assert!(preview.is_overdue(catalog.date));
    assert!(
        catalog
            .model("claude-sonnet-4-5")
            .is_some_and(|(_, model)| model.is_overdue(long_after))
    );
    let over = "[models.claude-sonnet-4-5]\nlifecycle = 'retired'\n";
    let gone = catalog.with_overrides(over).expect("overrides");
    assert!(gone.model("claude-sonnet-4-5").is_none());
    let (id, retired) = gone.retired("claude-sonnet-4-5").expect("retired");
    assert_eq!(
        (id, retired.retires, retired.prices.is_some()),
        ("claude-sonnet-4-5-20250929", Some(date(2026, 11, 30)), true)
    );
}

#[test]
fn facts_on_tools_and_messages_are_as_published() {
    for (id, model) in &Catalog::builtin().models {
        let name = id.as_str();
        let takes_system = model.tokenizer == Tokenizer::Second && name != "claude-opus-4-7";
        assert_eq!(model.system_messages, takes_system, "{id}");
        let off = matches!(
            name,
            "claude-opus-5" | "claude-haiku-5-5" | "claude-sonnet-5-5"
        );
        assert_eq!(
            model.thinking_off_effort,
            if off {
                vec!["low", "medium", "high"]
            } else {
                vec![]
            },
            "{id}"
        );
        assert_eq!(model.between_tools, name == "claude-sonnet-5-5", "{id}");
        let toolset = name.ends_with("-5-5") || name.ends_with("-5-2");
        assert_eq!(
            model.tools_refused,
            if toolset {
                vec!["computer_20251124"]
            } else {
                vec![]
            },
            "{id}"
        );
        for advisor in model.advisors.iter().chain(&model.advisors_refused) {
            assert!(
                Catalog::builtin().models.contains_key(advisor),
                "{id}: {advisor}"
            );
        }
    }
}
