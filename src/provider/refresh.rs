//! The catalog beside the provider's own list of models: what is new, what has changed, what is
//! gone.
//!
//! In come the catalog and the [`ModelInfo`]s of a list that names retired models too; out come the
//! differences, and the table that lays them over the catalog. The list tells limits, capabilities
//! and the end of a model's life. It tells no prices, no shortest cached prefix and no tokenizer:
//! of a new model these are taken from the newest one of its line in service, except for the
//! prices, without which no plan is made.
//!
//! **Source** of the list's members: the provider's official Python SDK 2.14.0, type `ModelInfo`,
//! read 2026-11-30.

use std::fmt::Write as _;

use jiff::civil::Date;
use serde::Serialize;
use serde_json::Value;
use toml::Table;

use super::ModelInfo;
use crate::catalog::{Catalog, Lifecycle, Model, Thinking, Tokenizer};

/// The kinds of thinking that the catalog keeps account of.
const THINKING: [&str; 3] = ["adaptive", "disabled", "enabled"];
/// The levels of effort, in their order.
const EFFORT: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
/// The lines of models.
const LINES: [&str; 5] = ["fable", "mythos", "opus", "sonnet", "haiku"];

/// What a list of models shows that the catalog does not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refresh {
    /// Models the catalog does not have.
    pub new: Vec<New>,
    /// Models of which it says something else.
    pub changed: Vec<Changed>,
    /// Models that it has in service, and whose calls fail.
    pub retired: Vec<Gone>,
    /// Models that it has in service and the list does not name: they may be gone, or not offered
    /// to this workspace.
    pub unlisted: Vec<String>,
    /// What is laid over the catalog.
    #[serde(skip)]
    over: Table,
}

/// A model that the catalog does not have.
#[derive(Debug, Clone, Serialize)]
pub struct New {
    /// Its id.
    pub id: String,
    /// The model from which what the list does not tell was taken.
    pub like: Option<String>,
}

/// A model of which the catalog says something else.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// Its id in the catalog.
    pub id: String,
    /// The differences.
    pub facts: Vec<Fact>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The key in the catalog.
    pub key: &'static str,
    /// What the catalog says.
    pub was: String,
    /// What the provider says.
    pub is: String,
}

/// A model that is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Its id.
    pub id: String,
    /// The day it went, where the list tells.
    pub retires: Option<Date>,
    /// The model to go to instead.
    pub successor: Option<String>,
}

/// What the list says of a model, in the catalog's terms; `None` where it says nothing.
#[derive(Debug, Default)]
struct Listed {
    lifecycle: Option<Lifecycle>,
    retires: Option<Date>,
    context_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    structured_output: Option<bool>,
    effort: Option<Vec<String>>,
    thinking_refused: Option<Vec<String>>,
    between_tools: Option<bool>,
}

impl Listed {
    fn of(info: &ModelInfo) -> Listed {
        let at = |pointer: &str| info.more.get(pointer).filter(|value| !value.is_null());
        let capabilities = at("capabilities").cloned().unwrap_or_default();
        let can = |value: &Value| value.get("supported").and_then(Value::as_bool);
        let effort = capabilities
            .get("effort")
            .filter(|effort| effort.is_object());
        let levels = |effort: &Value| {
            EFFORT
                .into_iter()
                .filter(|level| can(&effort[*level]) == Some(true))
                .map(str::to_owned)
                .collect()
        };
        let types = capabilities
            .pointer("/thinking/types")
            .filter(|types| types.is_object());
        let refused = |types: &Value| {
            THINKING
                .into_iter()
                .filter(|kind| can(&types[*kind]) == Some(false))
                .map(str::to_owned)
                .collect()
        };
        Listed {
            lifecycle: at("lifecycle")
                .and_then(Value::as_str)
                .and_then(|word| match word {
                    "active" => Some(Lifecycle::Active),
                    "deprecated" => Some(Lifecycle::Deprecated),
                    "retired" => Some(Lifecycle::Retired),
                    _ => None,
                }),
            retires: at("retires_at")
                .and_then(Value::as_str)
                .and_then(|time| time.get(..10)?.parse().ok()),
            context_tokens: at("max_input_tokens").and_then(Value::as_u64),
            max_output_tokens: at("max_tokens").and_then(Value::as_u64),
            structured_output: capabilities.get("structured_outputs").and_then(can),
            effort: effort.map(levels),
            thinking_refused: types.map(refused),
            between_tools: types.and_then(|types| can(&types["between_tools"])),
        }
    }

    fn is_retired(&self) -> bool {
        self.lifecycle == Some(Lifecycle::Retired)
    }
}

impl Refresh {
    /// Holds the catalog against a list.
    #[must_use]
    pub fn of(catalog: &Catalog, list: &[ModelInfo]) -> Refresh {
        let mut refresh = Refresh::default();
        for info in list {
            let listed = Listed::of(info);
            match (catalog.model(&info.id), listed.is_retired()) {
                (Some((id, model)), true) => refresh.retire(catalog, id, model, &listed),
                (Some((id, model)), false) => refresh.compare(catalog, id, model, &listed),
                (None, false) => refresh.add(catalog, &info.id, &listed),
                (None, true) => {}
            }
        }
        let is_listed = |id: &str| {
            list.iter().any(|info| {
                catalog
                    .model(&info.id)
                    .is_some_and(|(known, _)| known == id)
            })
        };
        refresh.unlisted = catalog
            .models
            .keys()
            .filter(|id| !is_listed(id))
            .cloned()
            .collect();
        refresh
    }

    /// Whether the catalog says what the list says. Models that the list does not name are no
    /// difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.over.is_empty()
    }

    /// The table to lay over the catalog, as a file. `own` is the file that was laid over it
    /// already; what it says otherwise stays.
    ///
    /// # Errors
    /// When `own` is not TOML.
    pub fn overrides(&self, own: Option<&str>, seen: Date) -> Result<String, toml::de::Error> {
        let mut table: Table = own.map(toml::from_str).transpose()?.unwrap_or_default();
        let models = table.entry("models").or_insert_with(|| Table::new().into());
        if let toml::Value::Table(models) = models {
            for (id, entry) in &self.over {
                match (models.get_mut(id), entry) {
                    (Some(toml::Value::Table(below)), toml::Value::Table(over)) => {
                        below.extend(over.clone())
                    }
                    _ => drop(models.insert(id.clone(), entry.clone())),
                }
            }
        }
        let mut text = format!(
            "# What the provider's list of models said on {seen}, where it differs from the table \
             of rowmill {}.\n# Lay it over with `--models FILE` or ROWMILL_MODELS; docs/models.md \
             tells what the keys mean.\n",
            env!("CARGO_PKG_VERSION")
        );
        for New { id, like } in &self.new {
            let like = like
                .as_ref()
                .map(|like| format!(" (`{like}` has them)"))
                .unwrap_or_default();
            let _ = writeln!(
                text,
                "# `{id}`: the list tells no prices; add `[models.{id}.prices]`{like}, or a plan \
                 with it is refused. Its tokenizer and\n# shortest cached prefix are taken from \
                 its line and were not told either."
            );
        }
        let _ = write!(
            text,
            "\n{}",
            toml::to_string_pretty(&table).unwrap_or_default()
        );
        Ok(text)
    }

    fn lay(&mut self, id: &str, key: &str, value: impl Into<toml::Value>) {
        let entry = self.over.entry(id).or_insert_with(|| Table::new().into());
        if let toml::Value::Table(entry) = entry {
            entry.insert(key.to_owned(), value.into());
        }
    }

    fn retire(&mut self, catalog: &Catalog, id: &str, model: &Model, listed: &Listed) {
        self.lay(id, "lifecycle", "retired");
        let retires = listed.retires.or(model.retires);
        if let Some(day) = listed.retires {
            self.lay(id, "retires", day.to_string());
        }
        let successor = model
            .successor
            .clone()
            .or_else(|| newest_like(catalog, id).map(|(id, _)| id.to_owned()));
        if let (Some(successor), None) = (&successor, &model.successor) {
            self.lay(id, "successor", successor.as_str());
        }
        self.retired.push(Gone {
            id: id.to_owned(),
            retires,
            successor,
        });
    }

    fn compare(&mut self, catalog: &Catalog, id: &str, model: &Model, listed: &Listed) {
        let mut facts = Vec::new();
        let mut differ = |key: &'static str, was: String, is: String, value: toml::Value| {
            if was != is {
                facts.push((Fact { key, was, is }, value));
            }
        };
        if let Some(is) = listed.context_tokens {
            differ(
                "context_tokens",
                model.context_tokens.to_string(),
                is.to_string(),
                number(is),
            );
        }
        if let Some(is) = listed.max_output_tokens {
            differ(
                "max_output_tokens",
                model.max_output_tokens.to_string(),
                is.to_string(),
                number(is),
            );
        }
        if let Some(is) = listed.structured_output {
            differ(
                "structured_output",
                model.structured_output.to_string(),
                is.to_string(),
                is.into(),
            );
        }
        if let Some(is) = listed.between_tools {
            differ(
                "between_tools",
                model.between_tools.to_string(),
                is.to_string(),
                is.into(),
            );
        }
        if let Some(is) = &listed.effort {
            differ("effort", words(&model.effort), words(is), is.clone().into());
        }
        if let Some(is) = &listed.thinking_refused {
            let was: Vec<String> = THINKING
                .into_iter()
                .map(str::to_owned)
                .filter(|kind| model.thinking_refused.contains(kind))
                .collect();
            let others = model
                .thinking_refused
                .iter()
                .filter(|kind| !THINKING.contains(&kind.as_str()))
                .cloned();
            let all: Vec<String> = is.iter().cloned().chain(others).collect();
            differ("thinking_refused", words(&was), words(is), all.into());
        }
        // Active and legacy are one to the provider.
        let is_set = |lifecycle: Lifecycle| lifecycle == Lifecycle::Deprecated;
        if let Some(is) = listed
            .lifecycle
            .filter(|is| is_set(*is) != is_set(model.lifecycle))
        {
            differ(
                "lifecycle",
                model.lifecycle.as_str().to_owned(),
                is.as_str().to_owned(),
                is.as_str().into(),
            );
        }
        if let Some(is) = listed
            .retires
            .filter(|_| listed.lifecycle.is_some_and(is_set))
        {
            let was = model.retires.map(|day| day.to_string()).unwrap_or_default();
            differ("retires", was, is.to_string(), is.to_string().into());
        }
        if facts.is_empty() {
            return;
        }
        if listed.lifecycle.is_some_and(is_set)
            && model.successor.is_none()
            && let Some((newest, _)) = newest_like(catalog, id)
        {
            self.lay(id, "successor", newest);
        }
        let mut shown = Vec::new();
        for (fact, value) in facts {
            self.lay(id, fact.key, value);
            shown.push(fact);
        }
        self.changed.push(Changed {
            id: id.to_owned(),
            facts: shown,
        });
    }

    fn add(&mut self, catalog: &Catalog, id: &str, listed: &Listed) {
        let like = newest_like(catalog, id);
        let of = |fact: fn(&Model) -> u64, default| like.map_or(default, |(_, model)| fact(model));
        self.lay(
            id,
            "context_tokens",
            number(
                listed
                    .context_tokens
                    .unwrap_or_else(|| of(|m| m.context_tokens, 200_000)),
            ),
        );
        self.lay(
            id,
            "max_output_tokens",
            number(
                listed
                    .max_output_tokens
                    .unwrap_or_else(|| of(|m| m.max_output_tokens, 64_000)),
            ),
        );
        self.lay(
            id,
            "min_cache_tokens",
            number(of(|m| m.min_cache_tokens, 4_096)),
        );
        let tokenizer = like.map_or(Tokenizer::Second, |(_, model)| model.tokenizer);
        self.lay(
            id,
            "tokenizer",
            if tokenizer == Tokenizer::First {
                "first"
            } else {
                "second"
            },
        );
        let refused = listed.thinking_refused.clone().unwrap_or_default();
        self.lay(
            id,
            "thinking",
            thinking(&refused, like.map(|(_, model)| model.thinking)),
        );
        self.lay(id, "thinking_refused", refused);
        self.lay(id, "between_tools", listed.between_tools.unwrap_or(false));
        self.lay(
            id,
            "system_messages",
            like.is_some_and(|(_, model)| model.system_messages),
        );
        self.lay(id, "effort", listed.effort.clone().unwrap_or_default());
        self.lay(
            id,
            "structured_output",
            listed.structured_output.unwrap_or(false),
        );
        self.lay(
            id,
            "lifecycle",
            listed.lifecycle.unwrap_or(Lifecycle::Active).as_str(),
        );
        if let Some(day) = listed.retires {
            self.lay(id, "retires", day.to_string());
        }
        self.new.push(New {
            id: id.to_owned(),
            like: like.map(|(id, _)| id.to_owned()),
        });
    }
}

/// How a model thinks, as far as what it refuses tells.
fn thinking(refused: &[String], like: Option<Thinking>) -> &'static str {
    let refuses = |kind: &str| refused.iter().any(|word| word == kind);
    match (refuses("disabled"), refuses("adaptive"), like) {
        (true, _, _) => "always",
        (_, true, _) => "extended",
        (_, _, Some(Thinking::AdaptiveOptional)) => "adaptive_optional",
        // That it thinks when nothing is said is the dearer guess.
        _ => "adaptive_default",
    }
}

/// The newest model in service of the same line, with a price where one has.
fn newest_like<'c>(catalog: &'c Catalog, id: &str) -> Option<(&'c str, &'c Model)> {
    let line = LINES.into_iter().find(|line| id.contains(line))?;
    let alike = catalog.models.iter().filter(|(other, model)| {
        other.contains(line)
            && other.as_str() != id
            && matches!(model.lifecycle, Lifecycle::Active | Lifecycle::Legacy)
    });
    alike
        .max_by_key(|(other, model)| {
            (
                model.prices.is_some(),
                model.lifecycle == Lifecycle::Active,
                other.as_str(),
            )
        })
        .map(|(id, model)| (id.as_str(), model))
}

fn number(n: u64) -> toml::Value {
    i64::try_from(n).unwrap_or(i64::MAX).into()
}

fn words(list: &[String]) -> String {
    if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

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
        let text = refresh.overrides(own, date(2026, 12, 1)).unwrap();
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
    fn a_new_model_gets_what_is_not_told_from_its_line_but_no_price() {
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
        let text = refresh.overrides(None, date(2026, 12, 1)).unwrap();
        assert!(
            text.contains("add `[models.claude-haiku-6.prices]`"),
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
        assert!(
            Refresh::default()
                .overrides(Some("= no"), date(2026, 12, 1))
                .is_err()
        );
    }
}
