//! The models: what each can do, what it costs, how long it lives.
//!
//! One dated table in the binary, `catalog.toml`, read from the provider's documentation; a user's file of the same form overrides
//! it key by key. In comes TOML, out go [`Model`]s by id, what they cost as exact [`Prices`], and advice about models that are at
//! the end of their life.
//!
//! Promises: a price is what was written, to the last decimal; an id means one model only; a retired model is never handed out as a
//! [`Model`], only as [`Retired`], since nothing but its end is known of it; an id the table does not know is no error here, because
//! a model can be newer than the table.
//!
//! To add a model: an entry in `catalog.toml`. To add a fact about models: a field here, with its source in the table's head.

mod price;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use price::{Band, DecimalError, Factor, Price, Prices, Rates};

/// How long before its end a model is warned about, in days. The provider gives notice at least 60 days before.
const NOTICE_DAYS: i64 = 60;
/// Most names in a "did you mean".
const MOST_NEAREST: usize = 3;
/// Likeness, from 0 to 1, above which a name is worth proposing: `haiku` finds `claude-haiku-5-5`, `gpt-4` finds nothing.
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
    /// Ids that overrides added or changed.
    pub overridden: BTreeSet<String>,
    /// The table as written, for overrides to be laid over.
    written: BTreeMap<String, Table>,
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
    /// Most tokens of an answer in a batch with the extended-output beta; absent where there is none.
    #[serde(default)]
    pub max_batch_output_tokens: Option<u64>,
    /// Shortest prefix that is cached at all, in tokens; a shorter one is silently not cached.
    pub min_cache_tokens: u64,
    /// Which tokenizer counts: the newer one makes about 30 % more tokens of the same text.
    pub tokenizer: Tokenizer,
    /// How it thinks.
    pub thinking: Thinking,
    /// Values of `thinking.type` that are answered with a 400. One that is not listed is not promised to be taken.
    #[serde(default)]
    pub thinking_refused: Vec<String>,
    /// Levels of effort it takes; empty where the parameter is refused.
    #[serde(default)]
    pub effort: Vec<String>,
    /// Whether `temperature`, `top_p` and `top_k` may be sent (under API version 2023-06-01 only).
    #[serde(default)]
    pub sampling: bool,
    /// Whether a trailing assistant turn (prefill) is taken.
    #[serde(default)]
    pub prefill: bool,
    /// Whether a forced tool (`tool_choice` `any` or `tool`) is taken.
    #[serde(default)]
    pub forced_tools: bool,
    /// Whether `output_config.format` is taken.
    #[serde(default)]
    pub structured_output: bool,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// The last day calls are promised to work where the end is set; otherwise the earliest day it may retire.
    #[serde(default)]
    pub retires: Option<Date>,
    /// The model to go to instead.
    #[serde(default)]
    pub successor: Option<String>,
    /// What it costs; `None` where that is not known.
    #[serde(default)]
    pub prices: Option<Prices>,
}

/// A model whose calls fail: only its end is kept.
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

/// Why a table of models was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML, or a key at the top that is neither `date` nor `models`.
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
    models: BTreeMap<String, Table>,
}

impl Catalog {
    /// The table in the binary.
    #[must_use]
    pub fn builtin() -> &'static Catalog {
        static TABLE: OnceLock<Catalog> = OnceLock::new();
        TABLE.get_or_init(|| {
            let written = read(include_str!("catalog.toml")).expect("the built-in catalog is TOML");
            let date = written.date.expect("the built-in catalog has a date");
            Catalog::assemble(date, written.models, BTreeSet::new()).expect("the built-in catalog is whole")
        })
    }

    /// This table with another laid over it: a key that is there replaces the one here, all others stay. `prices` is laid over key by
    /// key too, `bands` and other lists are replaced whole. An entry may go by an alias; an entry that is new has to be whole.
    ///
    /// # Errors
    /// [`Error`], which names the model.
    pub fn with_overrides(&self, text: &str) -> Result<Catalog, Error> {
        let over = read(text)?;
        let mut written = self.written.clone();
        let mut overridden = self.overridden.clone();
        for (name, table) in over.models {
            let id = self.own_id(&name).map(str::to_owned).unwrap_or(name);
            lay_over(written.entry(id.clone()).or_default(), table);
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

    /// Ids and aliases of models in service that look most like this one, best first; at most three, perhaps none.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Vec<&str> {
        let typed = bare(id);
        let names = self.models.iter().flat_map(|(id, model)| std::iter::once(id).chain(&model.aliases));
        let mut scored: Vec<(f64, &str)> = names
            .map(|name| (strsim::normalized_damerau_levenshtein(&typed, &bare(name)), name.as_str()))
            .filter(|(score, _)| *score > NEAR)
            .collect();
        // Among equals the later name is the newer model.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(a.1)));
        scored.into_iter().take(MOST_NEAREST).map(|(_, name)| name).collect()
    }

    /// What to say to someone who uses this model today: that it is retired, or will be within 60 days. `None` where there is nothing
    /// to say, and for an unknown id.
    #[must_use]
    pub fn advice(&self, id: &str, today: Date) -> Option<String> {
        if let Some((_, gone)) = self.retired(id) {
            let when = gone.retires.map(|day| format!(" on {day}")).unwrap_or_default();
            return Some(format!("model `{id}` was retired{when}{}", instead(gone.successor.as_deref())));
        }
        let (_, model) = self.model(id)?;
        let day = model.retires.filter(|_| model.lifecycle == Lifecycle::Deprecated)?;
        let instead = instead(model.successor.as_deref());
        match days_between(today, day) {
            ..0 => Some(format!("model `{id}` was to be retired on {day}{instead}")),
            0 => Some(format!("model `{id}` is retired today{instead}")),
            1 => Some(format!("model `{id}` is retired tomorrow, on {day}{instead}")),
            days @ ..=NOTICE_DAYS => Some(format!("model `{id}` is retired in {days} days, on {day}{instead}")),
            _ => None,
        }
    }

    /// Reads the entries and checks them against each other.
    fn assemble(date: Date, written: BTreeMap<String, Table>, overridden: BTreeSet<String>) -> Result<Catalog, Error> {
        let mut models = BTreeMap::new();
        let mut retired = BTreeMap::new();
        for (id, table) in &written {
            let unreadable = |source| Error::Model { model: id.clone(), source };
            if table.get("lifecycle").and_then(Value::as_str) == Some("retired") {
                retired.insert(id.clone(), table.clone().try_into::<Retired>().map_err(unreadable)?);
            } else {
                models.insert(id.clone(), table.clone().try_into::<Model>().map_err(unreadable)?);
            }
        }
        let catalog = Catalog { date, models, retired, overridden, written };
        catalog.check_names()?;
        catalog.check_bands()?;
        Ok(catalog)
    }

    /// The id of the model, in service or retired, that goes by this name.
    fn own_id(&self, name: &str) -> Option<&str> {
        self.model(name).map(|(id, _)| id).or_else(|| self.retired(name).map(|(id, _)| id))
    }

    fn check_names(&self) -> Result<(), Error> {
        let live = self.models.iter().map(|(id, model)| (id, &model.aliases));
        let gone = self.retired.iter().map(|(id, model)| (id, &model.aliases));
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (id, aliases) in live.chain(gone) {
            for name in std::iter::once(id).chain(aliases) {
                if let Some(first) = seen.insert(name, id) {
                    return Err(Error::Ambiguous { name: name.clone(), first: first.to_owned(), second: id.clone() });
                }
            }
        }
        Ok(())
    }

    fn check_bands(&self) -> Result<(), Error> {
        for (id, model) in &self.models {
            let bands = model.prices.as_ref().map(|prices| prices.bands.as_slice()).unwrap_or_default();
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
fn find<'a, T>(entries: &'a BTreeMap<String, T>, name: &str, aliases: impl Fn(&T) -> &Vec<String>) -> Option<(&'a str, &'a T)> {
    entries
        .get_key_value(name)
        .or_else(|| entries.iter().find(|(_, entry)| aliases(entry).iter().any(|alias| alias == name)))
        .map(|(id, entry)| (id.as_str(), entry))
}

/// A model id without what people add, leave out or write otherwise: `anthropic/Claude-Haiku-4.5` is `haiku-4-5`.
fn bare(id: &str) -> String {
    let name = id.rsplit('/').next().unwrap_or(id).to_lowercase().replace(['.', '_', ' '], "-");
    let name = name.trim_start_matches("anthropic-");
    name.strip_prefix("claude-").unwrap_or(name).to_owned()
}

/// The end of a sentence of advice.
fn instead(successor: Option<&str>) -> String {
    successor.map(|id| format!("; its successor is `{id}`")).unwrap_or_default()
}

/// Days from one day to another, negative backwards.
fn days_between(from: Date, to: Date) -> i64 {
    i64::from((to - from).get_days())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// The models in service that have a price, which are all but the preview.
    fn priced() -> impl Iterator<Item = (&'static str, &'static Model, &'static Prices)> {
        Catalog::builtin().models.iter().filter_map(|(id, model)| Some((id.as_str(), model, model.prices.as_ref()?)))
    }

    fn factor(text: &str) -> Factor {
        text.parse().expect("a factor")
    }

    fn chain(error: &dyn std::error::Error) -> String {
        let cause = error.source().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
        format!("{error}{cause}")
    }

    #[test]
    fn every_model_has_a_price_but_the_preview() {
        let without: Vec<_> =
            Catalog::builtin().models.iter().filter(|(_, model)| model.prices.is_none()).map(|(id, _)| id).collect();
        assert_eq!(without, ["claude-mythos-preview"]);
    }

    #[test]
    fn batch_prices_are_as_published() {
        // Entered a second time from the published batch columns: input, output, 5 m write, 1 h write, read.
        let table = [
            ("claude-fable-5-2", ["4", "20", "5", "8", "0.10"]),
            ("claude-mythos-5-2", ["4", "20", "5", "8", "0.10"]),
            ("claude-fable-5-1", ["5", "25", "6.25", "10", "0.125"]),
            ("claude-mythos-5-1", ["5", "25", "6.25", "10", "0.125"]),
            ("claude-fable-5", ["5", "25", "6.25", "10", "0.50"]),
            ("claude-mythos-5", ["5", "25", "6.25", "10", "0.50"]),
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
            ("claude-haiku-5-5", ["0.05", "0.25", "0.0625", "0.10", "0.005"]),
            ("claude-haiku-4-5", ["0.50", "2.50", "0.625", "1", "0.05"]),
        ];
        assert_eq!(table.len(), priced().count());
        for (id, published) in table {
            let prices = Catalog::builtin().model(id).expect(id).1.prices.as_ref().expect(id);
            assert_eq!(prices.rates(0).times(prices.batch_factor), Some(rates(published)), "{id}");
        }
        let haiku = Catalog::builtin().models["claude-haiku-5-5"].prices.as_ref().expect("prices");
        let above = rates(["0.25", "1.25", "0.3125", "0.50", "0.025"]);
        assert_eq!(haiku.rates(100_001).times(haiku.batch_factor), Some(above));
        assert_eq!(haiku.rates(100_000), haiku.rates(0));
    }

    fn rates(five: [&str; 5]) -> Rates {
        let [input, output, cache_write_5m, cache_write_1h, cache_read] = five.map(|text| text.parse().expect("a price"));
        Rates { input, output, cache_write_5m, cache_write_1h, cache_read }
    }

    #[test]
    fn cache_prices_are_the_published_multiples_of_the_input_price() {
        for (id, _, prices) in priced() {
            let read = match id {
                "claude-opus-5-5" | "claude-sonnet-5-5" => "0.05",
                "claude-fable-5-1" | "claude-fable-5-2" | "claude-mythos-5-1" | "claude-mythos-5-2" => "0.025",
                _ => "0.1",
            };
            for rates in [prices.rates(0), prices.rates(u64::MAX)] {
                assert_eq!(rates.input.times(factor("1.25")), Some(rates.cache_write_5m), "{id}");
                assert_eq!(rates.input.times(factor("2")), Some(rates.cache_write_1h), "{id}");
                assert_eq!(rates.input.times(factor(read)), Some(rates.cache_read), "{id}");
                assert_eq!(rates.input.times(factor("5")), Some(rates.output), "{id}");
            }
        }
    }

    #[test]
    fn factors_stack_exactly() {
        for (id, model, prices) in priced() {
            assert_eq!(prices.batch_factor, factor("0.5"), "{id}");
            // Binding to the US can be asked for from 4.6 on, which are the models that no longer take a prefill.
            assert_eq!(prices.us_factor, (!model.prefill).then(|| factor("1.1")), "{id}");
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
                "claude-opus-4-8" | "claude-sonnet-5" | "claude-sonnet-4-6" | "claude-sonnet-4-5-20250929" => 1_024,
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
            let dated =
                id.ends_with(|last: char| last.is_ascii_digit()) && id.rsplit('-').next().is_some_and(|part| part.len() == 8);
            assert_eq!(model.sampling, up_to_4_6, "{id}");
            assert_eq!(model.prefill, dated, "{id}");
            assert_eq!(model.aliases.len(), usize::from(dated), "{id}");
            assert_eq!(model.thinking == Thinking::Extended, dated, "{id}");
            assert_eq!(model.context_tokens, if dated { 200_000 } else { 1_000_000 }, "{id}");
            assert_eq!(model.max_output_tokens, if dated { 64_000 } else { 128_000 }, "{id}");
            assert!(model.structured_output, "{id}");
            assert_eq!(model.thinking == Thinking::Always, model.thinking_refused.iter().any(|kind| kind == "disabled"), "{id}");
            assert!(model.max_batch_output_tokens.is_none_or(|most| most > model.max_output_tokens), "{id}");
        }
    }

    #[test]
    fn what_is_on_its_way_out_names_a_model_that_is_not() {
        let catalog = Catalog::builtin();
        for (id, model) in &catalog.models {
            let replaced = model.lifecycle != Lifecycle::Active;
            assert_eq!(model.successor.is_some(), replaced, "{id}");
            if let Some(successor) = &model.successor {
                assert_eq!(catalog.models[successor].lifecycle, Lifecycle::Active, "{id}");
            }
            assert!(model.lifecycle != Lifecycle::Deprecated || model.retires.is_some(), "{id}");
        }
        for (id, model) in &catalog.retired {
            let successor = model.successor.as_ref().expect(id);
            assert_eq!(catalog.models[successor].lifecycle, Lifecycle::Active, "{id}");
            assert!(model.retires.expect(id) <= catalog.date, "{id}");
        }
    }

    #[test]
    fn finds_models_by_id_and_alias() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.model("claude-haiku-4-5").map(|found| found.0), Some("claude-haiku-4-5-20251001"));
        assert_eq!(catalog.model("claude-sonnet-5-5").map(|found| found.0), Some("claude-sonnet-5-5"));
        assert!(catalog.model("claude-opus-4-1").is_none());
        assert_eq!(catalog.retired("claude-opus-4-1").map(|found| found.0), Some("claude-opus-4-1-20250805"));
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
            assert!(catalog.nearest(typed).is_empty(), "{typed}: {:?}", catalog.nearest(typed));
        }
        assert!(catalog.nearest("claude-opus-4").len() <= MOST_NEAREST);
    }

    #[test]
    fn advises_about_models_at_their_end() {
        let catalog = Catalog::builtin();
        let table = [
            (
                "claude-opus-4-1",
                date(2026, 11, 22),
                Some("model `claude-opus-4-1` was retired on 2026-08-05; its successor is `claude-opus-5-5`"),
            ),
            ("claude-sonnet-4-5", date(2026, 9, 30), None),
            (
                "claude-sonnet-4-5",
                date(2026, 10, 1),
                Some("model `claude-sonnet-4-5` is retired in 60 days, on 2026-11-30; its successor is `claude-sonnet-5-5`"),
            ),
            (
                "claude-sonnet-4-5",
                date(2026, 11, 29),
                Some("model `claude-sonnet-4-5` is retired tomorrow, on 2026-11-30; its successor is `claude-sonnet-5-5`"),
            ),
            (
                "claude-sonnet-4-5",
                date(2026, 11, 30),
                Some("model `claude-sonnet-4-5` is retired today; its successor is `claude-sonnet-5-5`"),
            ),
            (
                "claude-sonnet-4-5",
                date(2027, 1, 1),
                Some("model `claude-sonnet-4-5` was to be retired on 2026-11-30; its successor is `claude-sonnet-5-5`"),
            ),
            // The earliest day is not a day that is set.
            ("claude-haiku-4-5", date(2026, 11, 22), None),
            ("claude-haiku-5-5", date(2030, 1, 1), None),
            ("a-model-of-tomorrow", date(2026, 11, 22), None),
        ];
        for (id, today, expected) in table {
            assert_eq!(catalog.advice(id, today).as_deref(), expected, "{id} {today}");
        }
    }

    #[test]
    fn overrides_replace_the_keys_they_name_and_no_others() {
        let over = "date = 2027-01-05\n[models.claude-haiku-4-5]\nretires = 2027-03-01\nlifecycle = 'deprecated'\n[models.claude-haiku-4-5.prices]\noutput = '4.50'\n";
        let catalog = Catalog::builtin().with_overrides(over).expect("overrides");
        let (id, model) = catalog.model("claude-haiku-4-5").expect("the model");
        let prices = model.prices.as_ref().expect("prices");
        assert_eq!((id, model.context_tokens), ("claude-haiku-4-5-20251001", 200_000));
        assert_eq!((prices.output, prices.input), ("4.5".parse().unwrap(), "1".parse().unwrap()));
        assert_eq!((model.lifecycle, model.retires), (Lifecycle::Deprecated, Some(date(2027, 3, 1))));
        assert_eq!(catalog.date, date(2027, 1, 5));
        assert_eq!(catalog.overridden.iter().collect::<Vec<_>>(), ["claude-haiku-4-5-20251001"]);
        assert_eq!(catalog.models.len(), Catalog::builtin().models.len());
    }

    #[test]
    fn overrides_may_retire_a_model_and_add_one() {
        let over = "[models.claude-haiku-4-5]\nlifecycle = 'retired'\n\
                    [models.house-model]\ncontext_tokens = 1000\nmax_output_tokens = 100\nmin_cache_tokens = 10\ntokenizer = 'second'\n\
                    thinking = 'always'\nlifecycle = 'active'\n";
        let catalog = Catalog::builtin().with_overrides(over).expect("overrides");
        assert!(catalog.model("claude-haiku-4-5").is_none());
        assert_eq!(catalog.retired("claude-haiku-4-5").expect("retired").1.retires, Some(date(2026, 10, 15)));
        assert!(catalog.model("house-model").expect("the new model").1.prices.is_none());
        assert_eq!(catalog.date, Catalog::builtin().date);
    }

    #[test]
    fn refuses_overrides_that_do_not_fit_and_names_the_model() {
        let band =
            "above_prompt_tokens = 5\ninput = '1'\noutput = '1'\ncache_write_5m = '1'\ncache_write_1h = '1'\ncache_read = '1'\n";
        let bands = format!("[[models.claude-opus-5-5.prices.bands]]\n{band}[[models.claude-opus-5-5.prices.bands]]\n{band}");
        for (over, expected) in [
            ("[models", "the model table cannot be read: TOML parse error"),
            ("modles = 1", "the model table cannot be read: unknown field `modles`"),
            ("[models.new]\nlifecycle = 'active'", "model `new` cannot be read: missing field `context_tokens`"),
            ("[models.claude-opus-5-5]\ncolour = 1", "model `claude-opus-5-5` cannot be read: unknown field `colour`"),
            (
                "[models.claude-opus-5-5.prices]\ninput = 4.0",
                "model `claude-opus-5-5` cannot be read: invalid type: floating point `4.0`",
            ),
            ("[models.claude-opus-5-5.prices]\ninput = '4,0'", "model `claude-opus-5-5` cannot be read: `4,0` is not a decimal"),
            ("[models.claude-opus-5-5]\naliases = ['claude-haiku-4-5']", "`claude-haiku-4-5` names two models"),
            (bands.as_str(), "the price bands of model `claude-opus-5-5` do not rise"),
        ] {
            let error = Catalog::builtin().with_overrides(over).expect_err(over);
            assert!(chain(&error).starts_with(expected), "{over}: {}", chain(&error));
        }
    }
}
