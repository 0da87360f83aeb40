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

mod model;
mod notice;
mod price;
mod table;
#[cfg(test)]
mod tests;

pub use model::{Lifecycle, Model, Retired, Thinking, Tokenizer, ToolPromptTokens};
pub use notice::RetirementNotice;
pub use price::{
    Band, DecimalError, HourPrice, Price, PriceFactor, Prices, Rates, ServerTools, UsePrice,
};
pub use table::Catalog;

/// Why a table of models cannot be used.
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
