//! The table of all models: read, laid over, looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jiff::civil::Date;
use serde::Deserialize;
use toml::{Table, Value};

use super::{Error, Model, Retired, ServerTools};

/// Most names in a "did you mean".
pub(super) const MAX_NEAREST: usize = 3;
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
    /// The sources of its facts.
    pub sources: Vec<String>,
    /// What tools cost that run at the provider.
    pub server_tools: ServerTools,
    /// Ids that overrides added or changed.
    pub overridden: BTreeSet<String>,
    /// The table as written, for overrides to be laid over.
    written: CatalogTables,
}

/// The entries of a table as written.
#[derive(Debug, Clone, Default)]
struct CatalogTables {
    sources: Vec<String>,
    server_tools: Table,
    models: BTreeMap<String, Table>,
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    date: Option<Date>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    server_tools: Table,
    #[serde(default)]
    models: BTreeMap<String, Table>,
}

impl Catalog {
    /// The table in the binary.
    #[must_use]
    pub fn builtin() -> &'static Catalog {
        static TABLE: OnceLock<Catalog> = OnceLock::new();
        TABLE.get_or_init(|| {
            let written =
                read(include_str!("../catalog.toml")).expect("the built-in catalog is TOML");
            let date = written.date.expect("the built-in catalog has a date");
            let entries = CatalogTables {
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
            .take(MAX_NEAREST)
            .map(|(_, name)| name)
            .collect()
    }

    /// Reads the entries and checks them against each other.
    fn assemble(
        date: Date,
        written: CatalogTables,
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
fn read(text: &str) -> Result<CatalogFile, Error> {
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
