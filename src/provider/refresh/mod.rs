//! The catalog beside the provider's own list of models: what is new, what has changed, what is
//! retired.
//!
//! In come the catalog and the [`ModelInfo`]s of a list that names retired models too; out come the
//! differences, and the overrides that update the catalog. The list has limits, capabilities and
//! the end of a model's life. It has no prices, no shortest cached prefix and no tokenizer: of a
//! new model these are taken from the newest one of its line in service, except for the prices,
//! without which no plan is made.
//!
//! **Source** of the list's members: the provider's official Python SDK 2.14.0, type `ModelInfo`,
//! read 2026-11-30.

mod listed;

use std::fmt::Write as _;

use jiff::civil::Date;
use serde::Serialize;
use toml::Table;

use super::ModelInfo;
use crate::catalog::{Catalog, Lifecycle, Model, Thinking, Tokenizer};
use listed::{ListedModel, THINKING};

/// The lines of models.
const LINES: [&str; 5] = ["fable", "mythos", "opus", "sonnet", "haiku"];

/// What a list of models shows that the catalog does not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refresh {
    /// Models the catalog does not have.
    pub new: Vec<NewModel>,
    /// Models of which it says something else.
    pub changed: Vec<ChangedModel>,
    /// Models that it has in service, and whose calls fail.
    pub retired: Vec<RetiredModel>,
    /// Models that it has in service and the list does not name: they may be retired, or not
    /// offered to this workspace.
    pub unlisted: Vec<String>,
    /// What the catalog is overridden with.
    #[serde(skip)]
    overrides: Table,
}

/// A model that the catalog does not have.
#[derive(Debug, Clone, Serialize)]
pub struct NewModel {
    /// Its id.
    pub id: String,
    /// The model that supplies what the list lacks.
    pub like: Option<String>,
}

/// A model of which the catalog says something else.
#[derive(Debug, Clone, Serialize)]
pub struct ChangedModel {
    /// Its id in the catalog.
    pub id: String,
    /// The differences.
    pub facts: Vec<ChangedFact>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedFact {
    /// The key in the catalog.
    pub key: &'static str,
    /// What the catalog says.
    pub was: String,
    /// What the provider says.
    pub is: String,
}

/// A model that was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetiredModel {
    /// Its id.
    pub id: String,
    /// The day it was retired, where the list says it.
    pub retires: Option<Date>,
    /// The model to go to instead.
    pub successor: Option<String>,
}

impl Refresh {
    /// Compares the catalog with a list.
    #[must_use]
    pub fn of(catalog: &Catalog, list: &[ModelInfo]) -> Refresh {
        let mut refresh = Refresh::default();
        for info in list {
            let listed = ListedModel::of(info);
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
        self.overrides.is_empty()
    }

    /// The overrides of the catalog, as a file that begins with `comment`. `own` is the overrides
    /// file in use; what it says of other keys stays.
    ///
    /// # Errors
    /// When `own` is not TOML.
    pub fn overrides(&self, own: Option<&str>, comment: &str) -> Result<String, toml::de::Error> {
        let mut table: Table = own.map(toml::from_str).transpose()?.unwrap_or_default();
        let models = table.entry("models").or_insert_with(|| Table::new().into());
        if let toml::Value::Table(models) = models {
            for (id, entry) in &self.overrides {
                match (models.get_mut(id), entry) {
                    (Some(toml::Value::Table(below)), toml::Value::Table(over)) => {
                        below.extend(over.clone())
                    }
                    _ => drop(models.insert(id.clone(), entry.clone())),
                }
            }
        }
        let mut text = String::new();
        for line in comment.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let written = toml::to_string_pretty(&table).expect("a TOML table can be written as TOML");
        let _ = write!(text, "\n{written}");
        Ok(text)
    }

    fn set(&mut self, id: &str, key: &str, value: impl Into<toml::Value>) {
        let entry = self
            .overrides
            .entry(id)
            .or_insert_with(|| Table::new().into());
        if let toml::Value::Table(entry) = entry {
            entry.insert(key.to_owned(), value.into());
        }
    }

    fn retire(&mut self, catalog: &Catalog, id: &str, model: &Model, listed: &ListedModel) {
        self.set(id, "lifecycle", "retired");
        let retires = listed.retires.or(model.retires);
        if let Some(day) = listed.retires {
            self.set(id, "retires", day.to_string());
        }
        let successor = model
            .successor
            .clone()
            .or_else(|| newest_like(catalog, id).map(|(id, _)| id.to_owned()));
        if let (Some(successor), None) = (&successor, &model.successor) {
            self.set(id, "successor", successor.as_str());
        }
        self.retired.push(RetiredModel {
            id: id.to_owned(),
            retires,
            successor,
        });
    }

    fn compare(&mut self, catalog: &Catalog, id: &str, model: &Model, listed: &ListedModel) {
        let mut facts = Vec::new();
        let mut differ = |key: &'static str, was: String, is: String, value: toml::Value| {
            if was != is {
                facts.push((ChangedFact { key, was, is }, value));
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
            self.set(id, "successor", newest);
        }
        let mut shown = Vec::new();
        for (fact, value) in facts {
            self.set(id, fact.key, value);
            shown.push(fact);
        }
        self.changed.push(ChangedModel {
            id: id.to_owned(),
            facts: shown,
        });
    }

    fn add(&mut self, catalog: &Catalog, id: &str, listed: &ListedModel) {
        let like = newest_like(catalog, id);
        let of = |fact: fn(&Model) -> u64, default| like.map_or(default, |(_, model)| fact(model));
        self.set(
            id,
            "context_tokens",
            number(
                listed
                    .context_tokens
                    .unwrap_or_else(|| of(|m| m.context_tokens, 200_000)),
            ),
        );
        self.set(
            id,
            "max_output_tokens",
            number(
                listed
                    .max_output_tokens
                    .unwrap_or_else(|| of(|m| m.max_output_tokens, 64_000)),
            ),
        );
        self.set(
            id,
            "min_cache_tokens",
            number(of(|m| m.min_cache_tokens, 4_096)),
        );
        let tokenizer = like.map_or(Tokenizer::Second, |(_, model)| model.tokenizer);
        self.set(
            id,
            "tokenizer",
            if tokenizer == Tokenizer::First {
                "first"
            } else {
                "second"
            },
        );
        let refused = listed.thinking_refused.clone().unwrap_or_default();
        self.set(
            id,
            "thinking",
            thinking(&refused, like.map(|(_, model)| model.thinking)),
        );
        self.set(id, "thinking_refused", refused);
        self.set(id, "between_tools", listed.between_tools.unwrap_or(false));
        self.set(
            id,
            "system_messages",
            like.is_some_and(|(_, model)| model.system_messages),
        );
        self.set(id, "effort", listed.effort.clone().unwrap_or_default());
        self.set(
            id,
            "structured_output",
            listed.structured_output.unwrap_or(false),
        );
        self.set(
            id,
            "lifecycle",
            listed.lifecycle.unwrap_or(Lifecycle::Active).as_str(),
        );
        if let Some(day) = listed.retires {
            self.set(id, "retires", day.to_string());
        }
        self.new.push(NewModel {
            id: id.to_owned(),
            like: like.map(|(id, _)| id.to_owned()),
        });
    }
}

/// How a model thinks, as far as its refusals show.
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
mod tests;
