//! Lists of models compared with the built-in catalog.

use jiff::civil::date;
use serde_json::{Value, json};

use super::*;

fn info(id: &str, more: Value) -> ModelInfo {
    let Value::Object(more) = more else {
        panic!("an object")
    };
    ModelInfo {
        id: id.to_owned(),
        display_name: String::new(),
        more,
    }
}

fn haiku(lifecycle: &str, retires: Value, max_tokens: u64) -> ModelInfo {
    info(
        "claude-haiku-4-5-20251001",
        json!({"lifecycle": lifecycle, "retires_at": retires, "max_input_tokens": 200_000, "max_tokens": max_tokens,
            "capabilities": {"structured_outputs": {"supported": true}}}),
    )
}

fn after(list: &[ModelInfo], own: Option<&str>) -> Catalog {
    let refresh = Refresh::of(Catalog::builtin(), list);
    let text = refresh.overrides(own, "a comment\nof two lines").unwrap();
    Catalog::builtin()
        .with_overrides(&text)
        .unwrap_or_else(|e| panic!("{e:?} in\n{text}"))
}

#[test]
fn finds_nothing_where_the_list_says_the_same() {
    let refresh = Refresh::of(Catalog::builtin(), &[haiku("active", Value::Null, 64_000)]);
    assert!(
        refresh.is_empty() && refresh.changed.is_empty(),
        "{refresh:?}"
    );
    assert!(refresh.unlisted.contains(&"claude-opus-5-5".to_owned()));
    assert!(
        !refresh
            .unlisted
            .contains(&"claude-haiku-4-5-20251001".to_owned())
    );
}

#[test]
fn takes_over_limits_and_the_end_of_a_life() {
    let list = [haiku("deprecated", json!("2027-02-01T00:00:00Z"), 32_000)];
    let refresh = Refresh::of(Catalog::builtin(), &list);
    let facts: Vec<(&str, &str, &str)> = refresh.changed[0]
        .facts
        .iter()
        .map(|fact| (fact.key, fact.was.as_str(), fact.is.as_str()))
        .collect();
    assert_eq!(facts[0], ("max_output_tokens", "64000", "32000"));
    assert_eq!(facts[1].0, "lifecycle");
    assert_eq!((facts[2].0, facts[2].2), ("retires", "2027-02-01"));
    let catalog = after(&list, None);
    let (_, model) = catalog.model("claude-haiku-4-5").unwrap();
    assert_eq!(
        (model.max_output_tokens, model.lifecycle),
        (32_000, Lifecycle::Deprecated)
    );
    let advice = catalog
        .advice("claude-haiku-4-5", date(2027, 1, 20))
        .unwrap()
        .to_string();
    assert!(
        advice.contains("2027-02-01") && advice.contains("claude-haiku-5-5"),
        "{advice}"
    );
}

#[test]
fn a_model_that_is_gone_is_named_with_its_day_and_successor() {
    let list = [haiku("retired", json!("2026-11-30T00:00:00Z"), 64_000)];
    let refresh = Refresh::of(Catalog::builtin(), &list);
    assert_eq!(refresh.retired[0].retires, Some(date(2026, 11, 30)));
    let catalog = after(&list, None);
    assert!(catalog.model("claude-haiku-4-5").is_none());
    let advice = catalog
        .advice("claude-haiku-4-5", date(2026, 12, 1))
        .unwrap()
        .to_string();
    assert_eq!(
        advice,
        "model `claude-haiku-4-5` was retired on 2026-11-30; its successor is \
         `claude-haiku-5-5`"
    );
}

#[test]
fn a_new_model_inherits_from_its_line_but_not_the_price() {
    let can = |yes: bool| json!({ "supported": yes });
    let list = [info(
        "claude-haiku-6",
        json!({"lifecycle": "active", "max_input_tokens": 2_000_000, "max_tokens": 64_000, "capabilities": {
            "structured_outputs": can(true), "effort": {"supported": true, "low": can(true), "high": can(true), "max": can(false)},
            "thinking": {"types": {"adaptive": can(true), "disabled": can(false), "enabled": can(false)}}}}),
    )];
    let refresh = Refresh::of(Catalog::builtin(), &list);
    assert_eq!(refresh.new[0].like.as_deref(), Some("claude-haiku-5-5"));
    let catalog = after(&list, None);
    let (_, model) = catalog.model("claude-haiku-6").unwrap();
    assert_eq!(
        (model.context_tokens, model.min_cache_tokens, model.thinking),
        (2_000_000, 512, Thinking::Always)
    );
    assert_eq!(
        (model.effort.join(" "), model.thinking_refused.join(" ")),
        ("low high".to_owned(), "disabled enabled".to_owned())
    );
    assert!(model.prices.is_none() && catalog.overridden.contains("claude-haiku-6"));
    let text = refresh.overrides(None, "a comment\nof two lines").unwrap();
    assert!(
        text.starts_with("# a comment\n# of two lines\n\n["),
        "{text}"
    );
}

#[test]
fn what_a_file_of_ones_own_says_stays() {
    let own = "date = \"2026-11-25\"\n[models.claude-haiku-4-5-20251001]\nmin_cache_tokens = \
        77\n[models.claude-haiku-4-5-20251001.prices]\ninput = \"3\"\n";
    let catalog = after(&[haiku("active", Value::Null, 32_000)], Some(own));
    let (_, model) = catalog.model("claude-haiku-4-5").unwrap();
    assert_eq!(
        (model.min_cache_tokens, model.max_output_tokens),
        (77, 32_000)
    );
    assert_eq!(String::from(model.prices.as_ref().unwrap().input), "3");
    assert!(Refresh::default().overrides(Some("= no"), "").is_err());
}
