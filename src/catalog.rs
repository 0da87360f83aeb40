//! The models: what each can do, what it costs, how long it lives.
//!
//! One dated table in the binary, `catalog.toml`, read from the provider's documentation; a user's
//! file of the same form overrides it key by key. In comes TOML, out go [`Model`]s by id, what they
//! cost as exact [`Prices`], and advice about models that are at the end of their life.
//!
//! Promises: a price is what was written, to the last decimal; an id means one model only; a
//! retired model is never handed out as a [`Model`], only as [`Retired`], since nothing but its end
//! and its old prices is known of it; an id the table does not know is no error here, because a
//! model can be newer than the table.
//!
//! To add a model: an entry in `catalog.toml`. To add a fact about models: a field here, with its
//! source in the table's head.

mod price;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use price::{
    Band, DecimalError, Factor, HourPrice, Price, Prices, Rates, ServerTools, UsePrice,
};

/// How long before its end a model is warned about, in days. The provider gives notice at least 60
/// days before.
const NOTICE_DAYS: i64 = 60;
/// Most names in a "did you mean".
const MOST_NEAREST: usize = 3;
/// Likeness, from 0 to 1, above which a name is worth proposing: `haiku` finds `claude-haiku-5-5`,
/// `gpt-4` finds nothing.
const NEAR: f64 = 0.5;

/// The table of all models.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The day the table was last compared with its sources; where overrides name a day, theirs.
    pub date: Date,
    /// Models in service, by id.
    pub models: BTreeMap<String, Model>,
    /// Models whose calls fail, by id.
    pub retired: BTreeMap<String, Retired>,
    /// Where its facts come from, in words.
    pub sources: Vec<String>,
    /// What tools cost that run at the provider.
    pub server_tools: ServerTools,
    /// Ids that overrides added or changed.
    pub overridden: BTreeSet<String>,
    /// The table as written, for overrides to be laid over.
    written: Entries,
}

/// The entries of a table as written.
#[derive(Debug, Clone, Default)]
struct Entries {
    sources: Vec<String>,
    server_tools: Table,
    models: BTreeMap<String, Table>,
}

/// One model in service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Other ids that mean the same model.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Most tokens of a prompt.
    pub context_tokens: u64,
    /// Most tokens of an answer.
    pub max_output_tokens: u64,
    /// Most tokens of an answer in a batch with the extended-output beta; absent where there is
    /// none.
    #[serde(default)]
    pub max_batch_output_tokens: Option<u64>,
    /// Shortest prefix that is cached at all, in tokens; a shorter one is silently not cached.
    pub min_cache_tokens: u64,
    /// Which tokenizer counts: the newer one makes about 30% more tokens of the same text.
    pub tokenizer: Tokenizer,
    /// How it thinks.
    pub thinking: Thinking,
    /// Values of `thinking.type` that are answered with a 400. One that is not listed is not
    /// promised to be taken.
    #[serde(default)]
    pub thinking_refused: Vec<String>,
    /// Whether `thinking.type = "between_tools"` is known to be taken, which leaves out the
    /// thinking before the answer.
    #[serde(default)]
    pub between_tools: bool,
    /// Levels of effort at which thinking may be off, or `between_tools`; empty where that depends
    /// on no level, or where it cannot be off.
    #[serde(default)]
    pub thinking_off_effort: Vec<String>,
    /// Levels of effort it takes; empty where the parameter is refused.
    #[serde(default)]
    pub effort: Vec<String>,
    /// Whether `temperature`, `top_p` and `top_k` may be sent (under API version 2023-06-01 only).
    #[serde(default)]
    pub sampling: bool,
    /// Whether a trailing assistant turn (prefill) is taken.
    #[serde(default)]
    pub prefill: bool,
    /// Whether a message of the role `system` is taken behind a user turn.
    #[serde(default)]
    pub system_messages: bool,
    /// Types of tools that are answered with a 400, such as `computer_20251124`.
    #[serde(default)]
    pub tools_refused: Vec<String>,
    /// The only models that may advise it; empty where others may.
    #[serde(default)]
    pub advisors: Vec<String>,
    /// Models that may not advise it.
    #[serde(default)]
    pub advisors_refused: Vec<String>,
    /// Whether a forced tool (`tool_choice` `any` or `tool`) is taken.
    #[serde(default)]
    pub forced_tools: bool,
    /// What tools add to a prompt besides their definitions: a system prompt of the provider's own.
    /// Absent where it was not read.
    #[serde(default)]
    pub tool_prompt_tokens: Option<ToolPromptTokens>,
    /// Whether `output_config.format` is taken.
    #[serde(default)]
    pub structured_output: bool,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// The last day calls are promised to work where the end is set; otherwise the earliest day it
    /// may retire.
    #[serde(default)]
    pub retires: Option<Date>,
    /// The model to go to instead.
    #[serde(default)]
    pub successor: Option<String>,
    /// What it costs; `None` where that is not known.
    #[serde(default)]
    pub prices: Option<Prices>,
}

/// A model whose calls fail: only its end is kept, and its prices, so that an old run can still be
/// priced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Other ids that meant the same model.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The day it went.
    #[serde(default)]
    pub retires: Option<Date>,
    /// The model to go to instead.
    #[serde(default)]
    pub successor: Option<String>,
    /// What it cost; `None` where that is not known.
    #[serde(default)]
    pub prices: Option<Prices>,
}

/// The length of the system prompt that tools bring along, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolPromptTokens {
    /// Where the model may choose: `tool_choice` is `auto`, `none` or absent.
    pub auto: u64,
    /// Where it is forced to call one: `any` or `tool`.
    pub any: u64,
}

/// A generation of tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// Models up to 4.6, and Haiku 4.5.
    First,
    /// Models from 4.7 on.
    Second,
}

/// How a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Only with `type: "enabled"` and a budget.
    Extended,
    /// Off unless `adaptive` is asked for.
    AdaptiveOptional,
    /// On unless disabled.
    AdaptiveDefault,
    /// Always on; thinking counts against `max_tokens`.
    Always,
}

/// Where a model is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// In service.
    Active,
    /// In service, with a successor.
    Legacy,
    /// In service until a day that is set.
    Deprecated,
    /// Calls fail.
    Retired,
}

impl Lifecycle {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Active => "active",
            Lifecycle::Legacy => "legacy",
            Lifecycle::Deprecated => "deprecated",
            Lifecycle::Retired => "retired",
        }
    }
}

/// Why a table of models was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML, or a key at the top that is none of `date`, `sources`, `server_tools` and
    /// `models`.
    #[error("the model table cannot be read")]
    Table {
        /// What the reader says.
        #[source]
        source: toml::de::Error,
    },
    /// An entry lacks a key, has one that does not exist, or a value that does not fit.
    #[error("model `{model}` cannot be read")]
    Model {
        /// The model's id.
        model: String,
        /// What the reader says.
        #[source]
        source: toml::de::Error,
    },
    /// The section on server tools has a key that does not exist, or a value that does not fit.
    #[error("`server_tools` cannot be read")]
    ServerTools {
        /// What the reader says.
        #[source]
        source: toml::de::Error,
    },
    /// One name, two models.
    #[error("`{name}` names two models, `{first}` and `{second}`")]
    Ambiguous {
        /// The id or alias.
        name: String,
        /// One model.
        first: String,
        /// The other.
        second: String,
    },
    /// Bands have to rise, or it would depend on their order which one holds.
    #[error("the price bands of model `{model}` do not rise")]
    Bands {
        /// The model's id.
        model: String,
    },
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    date: Option<Date>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    server_tools: Table,
    #[serde(default)]
    models: BTreeMap<String, Table>,
}

impl Model {
    /// Whether the day that was set for its end has passed, and it is still in service as far as
    /// the table knows. A date alone retires nothing, since ends are put off: the stage of its life
    /// decides, which is what the provider's own list of models says.
    #[must_use]
    pub fn is_overdue(&self, today: Date) -> bool {
        self.lifecycle == Lifecycle::Deprecated && self.retires.is_some_and(|day| day < today)
    }
}

impl Catalog {
    /// The table in the binary.
    #[must_use]
    pub fn builtin() -> &'static Catalog {
        static TABLE: OnceLock<Catalog> = OnceLock::new();
        TABLE.get_or_init(|| {
            let written = read(include_str!("catalog.toml")).expect("the built-in catalog is TOML");
            let date = written.date.expect("the built-in catalog has a date");
            let entries = Entries {
                sources: written.sources,
                server_tools: written.server_tools,
                models: written.models,
            };
            Catalog::assemble(date, entries, BTreeSet::new())
                .expect("the built-in catalog is whole")
        })
    }

    /// This table with another laid over it: a key that is there replaces the one here, all others
    /// stay. `prices` is laid over key by key too, `bands` and other lists are replaced whole. An
    /// entry may go by an alias; an entry that is new has to be whole.
    ///
    /// # Errors
    /// [`Error`], which names the model.
    pub fn with_overrides(&self, text: &str) -> Result<Catalog, Error> {
        let over = read(text)?;
        let mut written = self.written.clone();
        let mut overridden = self.overridden.clone();
        written.sources.extend(over.sources);
        lay_over(&mut written.server_tools, over.server_tools);
        for (name, table) in over.models {
            let id = self.own_id(&name).map(str::to_owned).unwrap_or(name);
            lay_over(written.models.entry(id.clone()).or_default(), table);
            overridden.insert(id);
        }
        Catalog::assemble(over.date.unwrap_or(self.date), written, overridden)
    }

    /// The model in service of this id or alias, with its own id.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<(&str, &Model)> {
        find(&self.models, id, |model| &model.aliases)
    }

    /// The retired model of this id or alias, with its own id.
    #[must_use]
    pub fn retired(&self, id: &str) -> Option<(&str, &Retired)> {
        find(&self.retired, id, |model| &model.aliases)
    }

    /// Ids and aliases of models in service that look most like this one, best first; at most
    /// three, perhaps none.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Vec<&str> {
        let typed = bare(id);
        let names = self
            .models
            .iter()
            .flat_map(|(id, model)| std::iter::once(id).chain(&model.aliases));
        let mut scored: Vec<(f64, &str)> = names
            .map(|name| {
                (
                    strsim::normalized_damerau_levenshtein(&typed, &bare(name)),
                    name.as_str(),
                )
            })
            .filter(|(score, _)| *score > NEAR)
            .collect();
        // Among equals the later name is the newer model.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(a.1)));
        scored
            .into_iter()
            .take(MOST_NEAREST)
            .map(|(_, name)| name)
            .collect()
    }

    /// What to say to someone who uses this model today: that it is retired, or will be within 60
    /// days. `None` where there is nothing to say, and for an unknown id.
    #[must_use]
    pub fn advice(&self, id: &str, today: Date) -> Option<String> {
        if let Some((_, gone)) = self.retired(id) {
            let when = gone
                .retires
                .map(|day| format!(" on {day}"))
                .unwrap_or_default();
            return Some(format!(
                "model `{id}` was retired{when}{}",
                instead(gone.successor.as_deref())
            ));
        }
        let (_, model) = self.model(id)?;
        let day = model
            .retires
            .filter(|_| model.lifecycle == Lifecycle::Deprecated)?;
        let instead = instead(model.successor.as_deref());
        match days_between(today, day) {
            ..0 => Some(format!(
                "model `{id}` was to be retired on {day}, so every row may fail{instead}"
            )),
            0 => Some(format!("model `{id}` is retired today{instead}")),
            1 => Some(format!(
                "model `{id}` is retired tomorrow, on {day}{instead}"
            )),
            days @ ..=NOTICE_DAYS => Some(format!(
                "model `{id}` is retired in {days} days, on {day}{instead}"
            )),
            _ => None,
        }
    }

    /// Reads the entries and checks them against each other.
    fn assemble(
        date: Date,
        written: Entries,
        overridden: BTreeSet<String>,
    ) -> Result<Catalog, Error> {
        let server_tools = written
            .server_tools
            .clone()
            .try_into()
            .map_err(|source| Error::ServerTools { source })?;
        let mut models = BTreeMap::new();
        let mut retired = BTreeMap::new();
        for (id, table) in &written.models {
            let unreadable = |source| Error::Model {
                model: id.clone(),
                source,
            };
            if table.get("lifecycle").and_then(Value::as_str) == Some("retired") {
                retired.insert(
                    id.clone(),
                    table.clone().try_into::<Retired>().map_err(unreadable)?,
                );
            } else {
                models.insert(
                    id.clone(),
                    table.clone().try_into::<Model>().map_err(unreadable)?,
                );
            }
        }
        let catalog = Catalog {
            date,
            models,
            retired,
            sources: written.sources.clone(),
            server_tools,
            overridden,
            written,
        };
        catalog.check_names()?;
        catalog.check_bands()?;
        Ok(catalog)
    }

    /// The id of the model, in service or retired, that goes by this name.
    fn own_id(&self, name: &str) -> Option<&str> {
        self.model(name)
            .map(|(id, _)| id)
            .or_else(|| self.retired(name).map(|(id, _)| id))
    }

    fn check_names(&self) -> Result<(), Error> {
        let live = self.models.iter().map(|(id, model)| (id, &model.aliases));
        let gone = self.retired.iter().map(|(id, model)| (id, &model.aliases));
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (id, aliases) in live.chain(gone) {
            for name in std::iter::once(id).chain(aliases) {
                if let Some(first) = seen.insert(name, id) {
                    return Err(Error::Ambiguous {
                        name: name.clone(),
                        first: first.to_owned(),
                        second: id.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_bands(&self) -> Result<(), Error> {
        let live = self.models.iter().map(|(id, model)| (id, &model.prices));
        let gone = self.retired.iter().map(|(id, model)| (id, &model.prices));
        for (id, prices) in live.chain(gone) {
            let bands = prices
                .as_ref()
                .map(|prices| prices.bands.as_slice())
                .unwrap_or_default();
            if !bands.is_sorted_by(|a, b| a.above_prompt_tokens < b.above_prompt_tokens) {
                return Err(Error::Bands { model: id.clone() });
            }
        }
        Ok(())
    }
}

/// Reads a table of models without looking into its entries.
fn read(text: &str) -> Result<Written, Error> {
    let unreadable = |source| Error::Table { source };
    let mut table: Table = toml::from_str(text).map_err(unreadable)?;
    table.iter_mut().for_each(|(_, value)| dates_to_text(value));
    table.try_into().map_err(unreadable)
}

/// Turns TOML's own dates into text, so that `2026-11-30` may stand with and without quotes.
fn dates_to_text(value: &mut Value) {
    match value {
        Value::Datetime(date) => *value = Value::String(date.to_string()),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| dates_to_text(value)),
        _ => {}
    }
}

/// Puts the values of `over` in the place of those below; tables are laid over key by key.
fn lay_over(below: &mut Table, over: Table) {
    for (key, value) in over {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => lay_over(below, over),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Looks an entry up by id, then by alias.
fn find<'a, T>(
    entries: &'a BTreeMap<String, T>,
    name: &str,
    aliases: impl Fn(&T) -> &Vec<String>,
) -> Option<(&'a str, &'a T)> {
    entries
        .get_key_value(name)
        .or_else(|| {
            entries
                .iter()
                .find(|(_, entry)| aliases(entry).iter().any(|alias| alias == name))
        })
        .map(|(id, entry)| (id.as_str(), entry))
}

/// A model id without what people add, leave out or write otherwise: `anthropic/Claude-Haiku-4.5`
/// is `haiku-4-5`.
fn bare(id: &str) -> String {
    let name = id
        .rsplit('/')
        .next()
        .unwrap_or(id)
        .to_lowercase()
        .replace(['.', '_', ' '], "-");
    let name = name.trim_start_matches("anthropic-");
    name.strip_prefix("claude-").unwrap_or(name).to_owned()
}

/// The end of a sentence of advice.
fn instead(successor: Option<&str>) -> String {
    successor
        .map(|id| format!("; its successor is `{id}`"))
        .unwrap_or_default()
}

/// Days from one day to another, negative backwards.
fn days_between(from: Date, to: Date) -> i64 {
    i64::from((to - from).get_days())
}
