//! The tools of a request: definitions from JSON files or from the job, and the provider's own
//! tools by name.
//!
//! In come the entries of `request.tools` (or what stands in `request.params.tools`); out goes a
//! [`Tool`] for each, with the definition as it is sent: members in the order in which they were
//! written, the same bytes in every request. Everything the API would refuse is found here, since
//! otherwise it shows row by row when a batch has ended: names, schemas of strict tools,
//! marks.
//!
//! A tool of the job's own has an `input_schema`, and the model answers with a call of it. A tool
//! of the provider's is recognised by its `type`: of the versions in `SERVER_TOOLS` every setting
//! is checked, of a newer version those settings that are known; a tool that is not known here is
//! passed on as it is written. The simulator asks the same table.
//!
//! To add a tool of the provider, or a version: an entry in `SERVER_TOOLS`; a setting: an entry in
//! `SETTINGS`.

mod compile;
mod definition;
mod server_tools;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Error;
use crate::template::prompt::CacheTtl;

pub(crate) use server_tools::refused_by;
#[cfg(feature = "simulator")]
pub(crate) use settings::problem;

pub(super) use compile::{compile, from_params};
pub(super) use server_tools::{advisor, beta_missing};
pub(super) use settings::mark_of;

/// One entry of `request.tools`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ToolSpec {
    /// A JSON file with one definition, or a list of them.
    File(PathBuf),
    /// `{ file = … }`, `{ server = … }`, or a definition.
    Table(Map<String, Value>),
}

impl<'de> Deserialize<'de> for ToolSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ToolSpec, D::Error> {
        // Written out, because a derived untagged enum says nothing of what it wanted.
        struct FileOrTable;
        impl<'de> Visitor<'de> for FileOrTable {
            type Value = ToolSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a JSON file, or a table with `file`, `server` or a definition",
                )
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<ToolSpec, E> {
                Ok(ToolSpec::File(path.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolSpec, A::Error> {
                Map::deserialize(de::value::MapAccessDeserializer::new(map)).map(ToolSpec::Table)
            }
        }
        deserializer.deserialize_any(FileOrTable)
    }
}

/// A tool that requests offer to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What the model calls it by.
    pub name: String,
    /// The schema of a call's input; `None` for a tool that the provider runs.
    pub input_schema: Option<Value>,
    /// Whether the API enforces the schema.
    pub strict: bool,
    /// The cache mark on it.
    pub cache: Option<CacheTtl>,
    /// The definition, as it is sent.
    pub definition: Value,
}

fn wrong(place: &str, problem: &str) -> Error {
    Error::Tool {
        place: place.to_owned(),
        problem: problem.to_owned(),
    }
}
