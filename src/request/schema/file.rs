//! The schema's file, and what the job says of it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{check, lower};
use crate::durable;
use crate::request::Error;
use crate::template;

/// `request.schema`: a file, or a table that says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaSpec {
    /// The file, relative to the job's folder.
    pub file: PathBuf,
    /// Whether what the API would refuse is said in words instead.
    pub lower: bool,
}

/// The table form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    file: PathBuf,
    #[serde(default)]
    lower: bool,
}

impl Serialize for SchemaSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            SchemaSpec { file, lower: false } => file.serialize(serializer),
            SchemaSpec { file, lower } => Table {
                file: file.clone(),
                lower: *lower,
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SchemaSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SchemaSpec, D::Error> {
        struct Spec;
        impl<'de> Visitor<'de> for Spec {
            type Value = SchemaSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a file, or `{ file = …, lower = true }`")
            }
            fn visit_str<E>(self, file: &str) -> Result<SchemaSpec, E> {
                Ok(SchemaSpec {
                    file: file.into(),
                    lower: false,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SchemaSpec, A::Error> {
                let Table { file, lower } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SchemaSpec { file, lower })
            }
        }
        deserializer.deserialize_any(Spec)
    }
}

/// A schema that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerSchema {
    /// As it was written: what answers are checked against.
    pub written: Value,
    /// As it is sent, where that is something else.
    pub lowered: Option<Value>,
}

impl AnswerSchema {
    /// The schema that is sent.
    #[must_use]
    pub fn sent(&self) -> &Value {
        self.lowered.as_ref().unwrap_or(&self.written)
    }
}

/// Reads the schema of a job; the file is added to `files`, as the job names it, with its blake3 in
/// hex.
pub(crate) fn read(
    spec: &SchemaSpec,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<AnswerSchema, Error> {
    let path = &spec.file;
    let text =
        durable::read_text(&folder.join(path), durable::MAX_TEXT_BYTES).map_err(|source| {
            template::Error::Read {
                path: path.clone(),
                source,
            }
        })?;
    let written: Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|source| {
            Error::SchemaJson {
                path: path.clone(),
                source,
            }
        })?;
    let lowered = lower(&written);
    let findings = check(if spec.lower { &lowered } else { &written });
    if !findings.is_empty() {
        let can_be_lowered = !spec.lower && check(&lowered).is_empty();
        return Err(Error::Schema {
            path: path.clone(),
            findings,
            can_be_lowered,
        });
    }
    files.push((
        path.clone(),
        blake3::hash(text.as_bytes()).to_hex().to_string(),
    ));
    let lowered = Some(lowered).filter(|lowered| spec.lower && *lowered != written);
    Ok(AnswerSchema { written, lowered })
}
