//! The columns of JSON Lines and their types, inferred from every line.
//!
//! | values of a column                                   | type                                                    |
//! |------------------------------------------------------|---------------------------------------------------------|
//! | booleans                                             | bool                                                    |
//! | integers that fit 64 bits                            | int64                                                   |
//! | numbers, whose integers a float holds exactly        | float64                                                 |
//! | strings; nothing but nulls                           | string                                                  |
//! | arrays of one of these, objects of these             | list, struct                                            |
//! | anything else: types that differ, integers too large | string: the characters of strings, others as written    |

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use encoding_rs::Encoding;
use indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::bytes::Input;
use super::jsonl::{JsonLines, KeySeed};
use super::{Error, SourceWarning, TextReason, repeats};

/// A file with more columns than this uses keys as data.
const MAX_COLUMNS: usize = 10_000;

/// An object with more distinct keys than this is a map rather than a struct; it is kept as text.
const MAX_KEYS: usize = 1_000;

/// Values nested deeper than this are kept as text.
const MAX_DEPTH: usize = 32;

/// The largest integer up to which a float holds every integer.
const EXACT_IN_FLOAT: u64 = 1 << 53;

/// A column of JSON Lines.
#[derive(Debug, PartialEq)]
pub(super) struct JsonColumn {
    pub(super) name: String,
    pub(super) data_type: DataType,
    /// Its values have no common type, so it is read as text.
    pub(super) is_mixed: bool,
}

/// Finds the columns of all files, in the order in which they first appear, and returns a warning
/// for each column that is read as text although it holds other values.
pub(super) fn infer(
    inputs: &[Arc<Input>],
    encoding: Option<&'static Encoding>,
    max_cell_bytes: usize,
) -> Result<(Vec<JsonColumn>, Vec<SourceWarning>), Error> {
    let mut columns: IndexMap<String, ColumnState> = IndexMap::new();
    let mut warnings = Vec::new();
    for input in inputs {
        let mut lines = JsonLines::open(
            input.clone(),
            encoding,
            super::open::row_limit(max_cell_bytes),
        )?;
        let mut state = LineState {
            max_cell_bytes,
            ..LineState::default()
        };
        while let Some(line) = lines.next()? {
            state.line += 1;
            let problem = inspect(line, &mut columns, &mut state);
            problem.map_err(|problem| problem.named(&lines))?;
            warnings.extend(state.became_text.drain(..).map(|(column, reason)| {
                let path = input.path().to_path_buf();
                SourceWarning::ReadAsText {
                    column,
                    path,
                    line: lines.number,
                    reason,
                }
            }));
        }
        // The lines of the next file are numbered from 1 again.
        columns.values_mut().for_each(|column| column.in_line = 0);
    }
    Ok((
        columns
            .into_iter()
            .map(|(name, column)| column.json_type.column(name))
            .collect(),
        warnings,
    ))
}

/// A column and what is known of it so far.
struct ColumnState {
    json_type: JsonType,
    /// The last line that had this key, to detect a key that appears twice in one.
    in_line: u64,
    /// Whether there is a warning about the column already.
    has_warning: bool,
}

/// The findings of a line.
#[derive(Default)]
struct LineState {
    line: u64,
    max_cell_bytes: usize,
    /// A key that appears twice in one object, and the column that contains the object, if any.
    repeated: Option<(String, Option<String>)>,
    too_many: bool,
    too_large: Option<String>,
    /// The columns that are read as text from this line on.
    became_text: Vec<(String, TextReason)>,
}

enum LineProblem {
    Json(serde_json::Error),
    NoObject,
    Array,
    KeyTwice(String, Option<String>),
    TooManyColumns,
    TooLarge(String, usize),
}

impl LineProblem {
    fn named(self, lines: &JsonLines) -> Error {
        match self {
            LineProblem::Json(e) => lines.not_json(&e),
            LineProblem::NoObject => {
                lines.bad(1, "not a JSON object; JSON Lines has one object a line")
            }
            LineProblem::Array => Error::JsonArray {
                path: lines.input().path().to_path_buf(),
            },
            LineProblem::KeyTwice(key, None) => lines.bad(1, format!("key `{key}` comes twice")),
            LineProblem::KeyTwice(key, Some(column)) => lines.bad(
                1,
                format!("key `{key}` comes twice in one object of column `{column}`"),
            ),
            LineProblem::TooLarge(column, limit) => Error::CellTooLarge {
                path: lines.input().path().to_path_buf(),
                row: None,
                line: Some(lines.number),
                column: format!("`{column}`"),
                limit: limit as u64,
            },
            LineProblem::TooManyColumns => Error::TooManyColumns {
                path: lines.input().path().to_path_buf(),
                line: lines.number,
                limit: MAX_COLUMNS,
            },
        }
    }
}

fn inspect(
    line: &str,
    columns: &mut IndexMap<String, ColumnState>,
    state: &mut LineState,
) -> Result<(), LineProblem> {
    match line.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') if state.line == 1 => return Err(LineProblem::Array),
        _ => return Err(LineProblem::NoObject),
    }
    let mut parser = serde_json::Deserializer::from_str(line);
    serde::Deserializer::deserialize_map(&mut parser, LineVisitor { columns, state })
        .map_err(LineProblem::Json)?;
    parser.end().map_err(LineProblem::Json)?;
    if let Some((key, column)) = state.repeated.take() {
        return Err(LineProblem::KeyTwice(key, column));
    }
    if let Some(column) = state.too_large.take() {
        return Err(LineProblem::TooLarge(column, state.max_cell_bytes));
    }
    if state.too_many {
        Err(LineProblem::TooManyColumns)
    } else {
        Ok(())
    }
}

struct LineVisitor<'a> {
    columns: &'a mut IndexMap<String, ColumnState>,
    state: &'a mut LineState,
}

impl<'de> Visitor<'de> for LineVisitor<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value::<&RawValue>()?.get();
            let is_full = self.columns.len() == MAX_COLUMNS;
            let column = match self.columns.get_mut(key.as_ref()) {
                Some(column) => column,
                None if is_full => {
                    self.state.too_many = true;
                    continue;
                }
                None => {
                    let new = ColumnState {
                        json_type: JsonType::Null,
                        in_line: 0,
                        has_warning: false,
                    };
                    self.columns.entry(key.clone().into_owned()).or_insert(new)
                }
            };
            if value.len() > self.state.max_cell_bytes {
                self.state.too_large = Some(key.into_owned());
                continue;
            }
            if column.in_line == self.state.line {
                self.state.repeated = Some((key.clone().into_owned(), None));
            } else if let Some(twice) = repeats::repeated_key(value) {
                self.state.repeated = Some((twice, Some(key.clone().into_owned())));
            }
            column.in_line = self.state.line;
            let turned = column
                .json_type
                .add(value, 0)
                .map_err(serde::de::Error::custom)?;
            if let (Some(why), false) = (turned, column.has_warning) {
                column.has_warning = true;
                self.state.became_text.push((key.into_owned(), why));
            }
        }
        Ok(())
    }
}

/// The type that all values of a column have so far.
#[derive(Debug, Clone, PartialEq)]
enum JsonType {
    /// Nothing but nulls.
    Null,
    Bool,
    /// Integers; whether a float holds them all exactly.
    Int {
        exact_in_float: bool,
    },
    Float,
    Text,
    List(Box<JsonType>),
    Object(IndexMap<String, JsonType>),
    /// Scalars of several types, which can be text.
    Scalars,
    /// Values that only the text of their JSON can represent.
    Mixed,
}

impl JsonType {
    /// Adds a value, which must be valid JSON. Returns the reason if the column, or a part of it,
    /// is read as text from now on.
    fn add(&mut self, raw: &str, depth: usize) -> serde_json::Result<Option<TextReason>> {
        if *self == JsonType::Mixed {
            return Ok(None);
        }
        Ok(match raw.as_bytes().first() {
            Some(b'n') => None,
            Some(b't' | b'f') => self.merge(JsonType::Bool),
            Some(b'"') => {
                // A lone surrogate is valid JSON by its grammar, but cannot be text: reading it as
                // a string gives the error.
                if raw.contains("\\ud") || raw.contains("\\uD") {
                    serde_json::from_str::<String>(raw)?;
                }
                self.merge(JsonType::Text)
            }
            Some(b'[' | b'{') if depth == MAX_DEPTH => self.mix(TextReason::TooDeep),
            Some(b'[') => {
                if *self == JsonType::Null {
                    *self = JsonType::List(Box::new(JsonType::Null));
                }
                let JsonType::List(items) = self else {
                    return Ok(self.mix(TextReason::MixedTypes));
                };
                let mut parser = serde_json::Deserializer::from_str(raw);
                serde::Deserializer::deserialize_seq(
                    &mut parser,
                    Items {
                        json_type: items,
                        depth: depth + 1,
                    },
                )?
            }
            Some(b'{') => {
                if *self == JsonType::Null {
                    *self = JsonType::Object(IndexMap::new());
                }
                let JsonType::Object(keys) = self else {
                    return Ok(self.mix(TextReason::MixedTypes));
                };
                let mut parser = serde_json::Deserializer::from_str(raw);
                let turned = serde::Deserializer::deserialize_map(
                    &mut parser,
                    Keys {
                        keys,
                        depth: depth + 1,
                    },
                )?;
                if keys.len() > MAX_KEYS {
                    self.mix(TextReason::TooManyKeys)
                } else {
                    turned
                }
            }
            _ => self.merge(number(raw)),
        })
    }

    fn mix(&mut self, why: TextReason) -> Option<TextReason> {
        *self = JsonType::Mixed;
        Some(why)
    }

    fn merge(&mut self, other: JsonType) -> Option<TextReason> {
        let exact = |json_type: &JsonType| {
            matches!(
                json_type,
                JsonType::Float
                    | JsonType::Int {
                        exact_in_float: true
                    }
            )
        };
        let is_number = |json_type: &JsonType| {
            matches!(
                json_type,
                JsonType::Null | JsonType::Float | JsonType::Int { .. }
            )
        };
        let before = std::mem::replace(self, JsonType::Null);
        let was_text = matches!(before, JsonType::Scalars | JsonType::Mixed);
        // `other` is `Scalars` for a number that no type holds.
        let why = match (is_number(&before), &other) {
            (true, JsonType::Scalars) => TextReason::OutOfRange,
            (true, JsonType::Int { .. } | JsonType::Float) => TextReason::WouldBeRounded,
            _ => TextReason::MixedTypes,
        };
        *self = match (before, other) {
            (JsonType::Null, other) => other,
            (JsonType::Int { exact_in_float: a }, JsonType::Int { exact_in_float: b }) => {
                JsonType::Int {
                    exact_in_float: a && b,
                }
            }
            (a, b) if a == b => a,
            (a, b) if exact(&a) && exact(&b) => JsonType::Float,
            (JsonType::List(_) | JsonType::Object(_) | JsonType::Mixed, _) => JsonType::Mixed,
            _ => JsonType::Scalars,
        };
        (!was_text && matches!(self, JsonType::Scalars | JsonType::Mixed)).then_some(why)
    }

    fn column(self, name: String) -> JsonColumn {
        match (&self, self.data_type()) {
            (JsonType::Scalars, _) | (_, None) => JsonColumn {
                name,
                data_type: DataType::Utf8,
                is_mixed: true,
            },
            (_, Some(data_type)) => JsonColumn {
                name,
                data_type,
                is_mixed: false,
            },
        }
    }

    /// The type that holds these values; `None` where only text does.
    fn data_type(&self) -> Option<DataType> {
        Some(match self {
            JsonType::Null | JsonType::Text | JsonType::Scalars => DataType::Utf8,
            JsonType::Bool => DataType::Boolean,
            JsonType::Int { .. } => DataType::Int64,
            JsonType::Float => DataType::Float64,
            JsonType::List(items) => {
                DataType::List(Arc::new(Field::new_list_field(items.data_type()?, true)))
            }
            // A struct must have at least one field.
            JsonType::Object(keys) if keys.is_empty() => return None,
            JsonType::Object(keys) => {
                let fields = keys
                    .iter()
                    .map(|(key, json_type)| Some(Field::new(key, json_type.data_type()?, true)));
                DataType::Struct(fields.collect::<Option<Vec<_>>>()?.into())
            }
            JsonType::Mixed => return None,
        })
    }
}

fn number(raw: &str) -> JsonType {
    if raw.contains(['.', 'e', 'E']) {
        // A number beyond the range of floats would become infinite.
        return if raw.parse::<f64>().is_ok_and(f64::is_finite) {
            JsonType::Float
        } else {
            JsonType::Scalars
        };
    }
    match raw.parse::<i64>() {
        Ok(value) => JsonType::Int {
            exact_in_float: value.unsigned_abs() <= EXACT_IN_FLOAT,
        },
        Err(_) => JsonType::Scalars,
    }
}

struct Items<'a> {
    json_type: &'a mut JsonType,
    depth: usize,
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Option<TextReason>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut turned = None;
        while let Some(item) = items.next_element::<&RawValue>()? {
            turned = turned.or(self
                .json_type
                .add(item.get(), self.depth)
                .map_err(serde::de::Error::custom)?);
        }
        Ok(turned)
    }
}

struct Keys<'a> {
    keys: &'a mut IndexMap<String, JsonType>,
    depth: usize,
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Option<TextReason>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut turned = None;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value::<&RawValue>()?.get();
            // One key more than allowed is enough for the caller to see that there are too many.
            let is_full = self.keys.len() > MAX_KEYS;
            let json_type = match self.keys.get_mut(key.as_ref()) {
                Some(json_type) => json_type,
                None if is_full => continue,
                None => self.keys.entry(key.into_owned()).or_insert(JsonType::Null),
            };
            turned = turned.or(json_type
                .add(value, self.depth)
                .map_err(serde::de::Error::custom)?);
        }
        Ok(turned)
    }
}
