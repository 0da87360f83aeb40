//! `/v1/models`: the catalog in the API's shape.

use serde_json::{Value, json};

use super::reply::ErrorReply;
use crate::catalog::{Catalog, Lifecycle, Model, Retired};

/// The wanted part of the list of models.
#[derive(Debug, Default)]
pub(super) struct ModelsQuery {
    pub(super) limit: usize,
    pub(super) after_id: Option<String>,
    pub(super) before_id: Option<String>,
    /// Stages of life; empty: all that can be called.
    pub(super) lifecycle: Vec<String>,
}

/// One page of models, the newest first.
pub(super) fn page(catalog: &Catalog, wanted: &ModelsQuery) -> Result<Value, ErrorReply> {
    let mut all: Vec<ModelEntry<'_>> = Vec::new();
    all.extend(
        catalog
            .models
            .iter()
            .filter(|(_, model)| wanted.lists(stage(model)))
            .map(|(id, model)| ModelEntry::Alive(id, model)),
    );
    all.extend(
        catalog
            .retired
            .iter()
            .filter(|_| wanted.lists("retired"))
            .map(|(id, model)| ModelEntry::Gone(id, model)),
    );
    all.sort_by_key(|entry| std::cmp::Reverse((created_at(entry.id()), entry.id())));
    let place = |cursor: &Option<String>| match cursor {
        None => Ok(None),
        Some(cursor) => match all.iter().position(|entry| entry.id() == cursor) {
            Some(at) => Ok(Some(at)),
            None => Err(ErrorReply::invalid(
                "after_id or before_id: no model with this id",
            )),
        },
    };
    let (after, before) = (place(&wanted.after_id)?, place(&wanted.before_id)?);
    let (from, to) = match before {
        Some(before) => (before.saturating_sub(wanted.limit), before),
        None => {
            let from = after.map_or(0, |at| at + 1);
            (from, (from + wanted.limit).min(all.len()))
        }
    };
    let has_more = if before.is_some() {
        from > 0
    } else {
        to < all.len()
    };
    let shown = &all[from..to];
    Ok(json!({
        "data": shown.iter().map(ModelEntry::object).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": shown.first().map(ModelEntry::id),
        "last_id": shown.last().map(ModelEntry::id),
    }))
}

/// One model by id or alias.
pub(super) fn one(catalog: &Catalog, id: &str) -> Result<Value, ErrorReply> {
    let short: String = id.chars().take(80).collect();
    let alive = catalog.model(id).map(|(id, model)| object(id, model));
    let found = alive.or_else(|| catalog.retired(id).map(|(id, model)| gone(id, model)));
    found.ok_or_else(|| ErrorReply::not_found(format!("model: {short}")))
}

/// One entry of the list.
enum ModelEntry<'a> {
    Alive(&'a str, &'a Model),
    Gone(&'a str, &'a Retired),
}

impl<'a> ModelEntry<'a> {
    fn id(&self) -> &'a str {
        match self {
            ModelEntry::Alive(id, _) | ModelEntry::Gone(id, _) => id,
        }
    }

    fn object(&self) -> Value {
        match self {
            ModelEntry::Alive(id, model) => object(id, model),
            ModelEntry::Gone(id, model) => gone(id, model),
        }
    }
}

impl ModelsQuery {
    fn lists(&self, stage: &str) -> bool {
        if self.lifecycle.is_empty() {
            stage != "retired"
        } else {
            self.lifecycle.iter().any(|wanted| wanted == stage)
        }
    }
}

fn stage(model: &Model) -> &'static str {
    match model.lifecycle {
        Lifecycle::Active | Lifecycle::Legacy => "active",
        Lifecycle::Deprecated => "deprecated",
        Lifecycle::Retired => "retired",
    }
}

/// The catalog has no dates of birth: the date in the id, or the epoch, which the API uses where it
/// does not know one either.
fn created_at(id: &str) -> String {
    let date = id
        .rsplit('-')
        .next()
        .filter(|part| part.len() == 8 && part.bytes().all(|b| b.is_ascii_digit()));
    match date {
        Some(date) => format!("{}-{}-{}T00:00:00Z", &date[..4], &date[4..6], &date[6..]),
        None => "1970-01-01T00:00:00Z".to_owned(),
    }
}

/// `claude-haiku-4-5-20251001` → `Claude Haiku 4.5`.
fn display_name(id: &str) -> String {
    let mut name = String::new();
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mut after_number = false;
    for part in id
        .split('-')
        .filter(|part| !(part.len() == 8 && is_number(part)))
    {
        if !name.is_empty() {
            name.push(if after_number && is_number(part) {
                '.'
            } else {
                ' '
            });
        }
        after_number = is_number(part);
        let mut chars = part.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(chars.as_str());
    }
    name
}

fn object(id: &str, model: &Model) -> Value {
    let yes = |supported: bool| json!({"supported": supported});
    let effort = |level: &str| yes(model.effort.iter().any(|known| known == level));
    let retires = model
        .retires
        .filter(|_| matches!(model.lifecycle, Lifecycle::Deprecated | Lifecycle::Retired));
    let thinks = |kind: &str| yes(!model.thinking_refused.iter().any(|refused| refused == kind));
    let newer = !model.effort.is_empty();
    json!({
        "id": id,
        "type": "model",
        "display_name": display_name(id),
        "created_at": created_at(id),
        "lifecycle": stage(model),
        "deprecated_at": null,
        "retires_at": retires.map(|day| format!("{day}T00:00:00Z")),
        "line": line(id),
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
        "capabilities": {
            "batch": yes(true),
            "citations": yes(true),
            "code_execution": yes(newer),
            "context_management": {
                "supported": true, "clear_thinking_20251015": yes(true), "clear_tool_uses_20250919": yes(true),
                "compact_20260112": yes(newer)
            },
            "effort": {
                "supported": !model.effort.is_empty(), "low": effort("low"), "medium": effort("medium"), "high": effort("high"),
                "xhigh": effort("xhigh"), "max": effort("max")
            },
            "image_input": yes(true),
            "pdf_input": yes(true),
            "server_tools": {"supported": true, "web_search": yes(true), "code_execution": yes(true)},
            "structured_outputs": yes(model.structured_output),
            "thinking": {"supported": true, "types": {
                "adaptive": thinks("adaptive"), "between_tools": yes(model.between_tools),
                "disabled": thinks("disabled"), "enabled": thinks("enabled"),
            }},
        },
    })
}

fn line(id: &str) -> Option<&'static str> {
    ["haiku", "sonnet", "opus", "fable", "mythos"]
        .into_iter()
        .find(|line| id.contains(line))
}

/// A model of which only the end is known.
fn gone(id: &str, model: &Retired) -> Value {
    json!({
        "id": id, "type": "model", "display_name": display_name(id), "created_at": created_at(id), "lifecycle": "retired",
        "deprecated_at": null, "retires_at": model.retires.map(|day| format!("{day}T00:00:00Z")), "line": line(id),
        "max_input_tokens": null, "max_tokens": null, "capabilities": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_models_for_people() {
        for (id, name) in [
            ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
            ("claude-fable-5", "Claude Fable 5"),
            ("claude-opus-5-5", "Claude Opus 5.5"),
        ] {
            assert_eq!(display_name(id), name);
        }
    }

    #[test]
    fn pages_through_all_models_that_can_be_called() {
        let mut catalog = Catalog::builtin().clone();
        let model = catalog.model("claude-haiku-4-5").unwrap().1.clone();
        catalog.models.clear();
        for n in 0..4 {
            catalog.models.insert(format!("m-{n}"), model.clone());
        }
        let mut seen = Vec::new();
        let mut wanted = ModelsQuery {
            limit: 3,
            ..ModelsQuery::default()
        };
        loop {
            let page = page(&catalog, &wanted).unwrap();
            seen.extend(
                page["data"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|m| m["id"].as_str().unwrap().to_owned()),
            );
            wanted.after_id = page["last_id"].as_str().map(str::to_owned);
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(seen, ["m-3", "m-2", "m-1", "m-0"]);
        wanted.after_id = None;
        wanted.before_id = Some("m-0".to_owned());
        wanted.limit = 2;
        let before = page(&catalog, &wanted).unwrap();
        assert_eq!(
            (before["first_id"].as_str(), before["has_more"].as_bool()),
            (Some("m-2"), Some(true))
        );
        let retired = ModelsQuery {
            limit: 1_000,
            lifecycle: vec!["retired".to_owned()],
            ..ModelsQuery::default()
        };
        let retired = super::page(&catalog, &retired).unwrap();
        assert!(
            retired["data"]
                .as_array()
                .unwrap()
                .iter()
                .all(|m| m["lifecycle"] == "retired")
        );
        assert_eq!(
            retired["data"].as_array().unwrap().len(),
            catalog.retired.len()
        );
    }
}
