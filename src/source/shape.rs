//! The columns of JSON Lines, found by looking at every line.
//!
//! | values of a column                                   | type                                                    |
//! |------------------------------------------------------|---------------------------------------------------------|
//! | booleans                                             | bool                                                    |
//! | integers that fit 64 bits                            | int64                                                   |
//! | numbers, whose integers a float holds exactly        | float64                                                 |
//! | strings; nothing but nulls                           | string                                                  |
//! | arrays of one of these, objects of these             | list, struct                                            |
//! | anything else: kinds that differ, integers too large | string: the characters of strings, others as written    |

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use encoding_rs::Encoding;
use indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::bytes::Input;
use super::jsonl::{Key, Lines};
use super::note::TextReason;
use super::{Error, Note, repeats};

/// More columns than this are taken for keys that are data.
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
    /// Its values do not agree in a type, so it is read as text.
    pub(super) is_mixed: bool,
}

/// Finds the columns of all files, in the order in which they first appear, and what is odd about
/// them.
pub(super) fn infer(
    inputs: &[Arc<Input>],
    encoding: Option<&'static Encoding>,
    max_cell_bytes: usize,
) -> Result<(Vec<JsonColumn>, Vec<Note>), Error> {
    let mut columns: IndexMap<String, Seen> = IndexMap::new();
    let mut notes = Vec::new();
    for input in inputs {
        let mut lines = Lines::open(input.clone(), encoding, super::row_limit(max_cell_bytes))?;
        let mut stamp = Stamp {
            max_cell_bytes,
            ..Stamp::default()
        };
        while let Some(line) = lines.next()? {
            stamp.line += 1;
            let problem = look_at(line, &mut columns, &mut stamp);
            problem.map_err(|problem| problem.named(&lines))?;
            notes.extend(stamp.turned.drain(..).map(|(column, why)| {
                let path = input.path().to_path_buf();
                Note::ReadAsText {
                    column,
                    path,
                    line: lines.number,
                    why,
                }
            }));
        }
        // Lines are numbered from 1 in the next file.
        columns.values_mut().for_each(|seen| seen.in_line = 0);
    }
    Ok((
        columns
            .into_iter()
            .map(|(name, seen)| seen.kind.column(name))
            .collect(),
        notes,
    ))
}

struct Seen {
    kind: Kind,
    /// The last line that had this key, to notice a key that comes twice.
    in_line: u64,
    /// Whether it was noted that its values, or some in them, are read as text.
    is_noted: bool,
}

/// What is found in a line.
#[derive(Default)]
struct Stamp {
    line: u64,
    max_cell_bytes: usize,
    /// A key that comes twice in one object, and the column it is in, unless it is the column.
    twice: Option<(String, Option<String>)>,
    too_many: bool,
    too_large: Option<String>,
    /// Columns that are read as text from this line on.
    turned: Vec<(String, TextReason)>,
}

enum Problem {
    Json(serde_json::Error),
    NoObject,
    Array,
    KeyTwice(String, Option<String>),
    TooManyColumns,
    TooLarge(String, usize),
}

impl Problem {
    fn named(self, lines: &Lines) -> Error {
        match self {
            Problem::Json(e) => lines.not_json(&e),
            Problem::NoObject => {
                lines.bad(1, "not a JSON object; JSON Lines has one object a line")
            }
            Problem::Array => Error::JsonArray {
                path: lines.input().path().to_path_buf(),
            },
            Problem::KeyTwice(key, None) => lines.bad(1, format!("key `{key}` comes twice")),
            Problem::KeyTwice(key, Some(column)) => lines.bad(
                1,
                format!("key `{key}` comes twice in one object of column `{column}`"),
            ),
            Problem::TooLarge(column, limit) => Error::CellTooLarge {
                path: lines.input().path().to_path_buf(),
                row: None,
                line: Some(lines.number),
                column: format!("`{column}`"),
                limit: limit as u64,
            },
            Problem::TooManyColumns => Error::TooManyColumns {
                path: lines.input().path().to_path_buf(),
                line: lines.number,
                limit: MAX_COLUMNS,
            },
        }
    }
}

fn look_at(
    line: &str,
    columns: &mut IndexMap<String, Seen>,
    stamp: &mut Stamp,
) -> Result<(), Problem> {
    match line.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') if stamp.line == 1 => return Err(Problem::Array),
        _ => return Err(Problem::NoObject),
    }
    let mut parser = serde_json::Deserializer::from_str(line);
    serde::Deserializer::deserialize_map(&mut parser, Columns { columns, stamp })
        .map_err(Problem::Json)?;
    parser.end().map_err(Problem::Json)?;
    if let Some((key, column)) = stamp.twice.take() {
        return Err(Problem::KeyTwice(key, column));
    }
    if let Some(column) = stamp.too_large.take() {
        return Err(Problem::TooLarge(column, stamp.max_cell_bytes));
    }
    if stamp.too_many {
        Err(Problem::TooManyColumns)
    } else {
        Ok(())
    }
}

struct Columns<'a> {
    columns: &'a mut IndexMap<String, Seen>,
    stamp: &'a mut Stamp,
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value::<&RawValue>()?.get();
            let is_full = self.columns.len() == MAX_COLUMNS;
            let seen = match self.columns.get_mut(key.as_ref()) {
                Some(seen) => seen,
                None if is_full => {
                    self.stamp.too_many = true;
                    continue;
                }
                None => {
                    let new = Seen {
                        kind: Kind::Null,
                        in_line: 0,
                        is_noted: false,
                    };
                    self.columns.entry(key.clone().into_owned()).or_insert(new)
                }
            };
            if value.len() > self.stamp.max_cell_bytes {
                self.stamp.too_large = Some(key.into_owned());
                continue;
            }
            if seen.in_line == self.stamp.line {
                self.stamp.twice = Some((key.clone().into_owned(), None));
            } else if let Some(twice) = repeats::repeated_key(value) {
                self.stamp.twice = Some((twice, Some(key.clone().into_owned())));
            }
            seen.in_line = self.stamp.line;
            let turned = seen.kind.see(value, 0).map_err(serde::de::Error::custom)?;
            if let (Some(why), false) = (turned, seen.is_noted) {
                seen.is_noted = true;
                self.stamp.turned.push((key.into_owned(), why));
            }
        }
        Ok(())
    }
}

/// What the values seen so far have in common.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Nothing but nulls.
    Null,
    Bool,
    /// Integers; whether a float holds them all exactly.
    Int {
        exact_in_float: bool,
    },
    Float,
    Text,
    List(Box<Kind>),
    Object(IndexMap<String, Kind>),
    /// Scalars of several kinds, which can be text.
    Scalars,
    /// Values that only the text of their JSON can stand for.
    Mixed,
}

impl Kind {
    /// Takes another value into account. The value is valid JSON. Tells why something of it is read
    /// as text from now on.
    fn see(&mut self, raw: &str, depth: usize) -> serde_json::Result<Option<TextReason>> {
        if *self == Kind::Mixed {
            return Ok(None);
        }
        Ok(match raw.as_bytes().first() {
            Some(b'n') => None,
            Some(b't' | b'f') => self.merge(Kind::Bool),
            Some(b'"') => {
                // Half of a character outside the basic plane is valid JSON, but no text.
                if raw.contains("\\ud") || raw.contains("\\uD") {
                    serde_json::from_str::<String>(raw)?;
                }
                self.merge(Kind::Text)
            }
            Some(b'[' | b'{') if depth == MAX_DEPTH => self.mix(TextReason::Depth),
            Some(b'[') => {
                if *self == Kind::Null {
                    *self = Kind::List(Box::new(Kind::Null));
                }
                let Kind::List(items) = self else {
                    return Ok(self.mix(TextReason::Kinds));
                };
                let mut parser = serde_json::Deserializer::from_str(raw);
                serde::Deserializer::deserialize_seq(
                    &mut parser,
                    Items {
                        kind: items,
                        depth: depth + 1,
                    },
                )?
            }
            Some(b'{') => {
                if *self == Kind::Null {
                    *self = Kind::Object(IndexMap::new());
                }
                let Kind::Object(keys) = self else {
                    return Ok(self.mix(TextReason::Kinds));
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
                    self.mix(TextReason::Keys)
                } else {
                    turned
                }
            }
            _ => self.merge(number(raw)),
        })
    }

    fn mix(&mut self, why: TextReason) -> Option<TextReason> {
        *self = Kind::Mixed;
        Some(why)
    }

    fn merge(&mut self, other: Kind) -> Option<TextReason> {
        let exact = |kind: &Kind| {
            matches!(
                kind,
                Kind::Float
                    | Kind::Int {
                        exact_in_float: true
                    }
            )
        };
        let is_number = |kind: &Kind| matches!(kind, Kind::Null | Kind::Float | Kind::Int { .. });
        let before = std::mem::replace(self, Kind::Null);
        let was_text = matches!(before, Kind::Scalars | Kind::Mixed);
        // A number alone is of several kinds where no type holds it.
        let why = match (is_number(&before), &other) {
            (true, Kind::Scalars) => TextReason::OutOfRange,
            (true, Kind::Int { .. } | Kind::Float) => TextReason::WouldBeRounded,
            _ => TextReason::Kinds,
        };
        *self = match (before, other) {
            (Kind::Null, other) => other,
            (Kind::Int { exact_in_float: a }, Kind::Int { exact_in_float: b }) => Kind::Int {
                exact_in_float: a && b,
            },
            (a, b) if a == b => a,
            (a, b) if exact(&a) && exact(&b) => Kind::Float,
            (Kind::List(_) | Kind::Object(_) | Kind::Mixed, _) => Kind::Mixed,
            _ => Kind::Scalars,
        };
        (!was_text && matches!(self, Kind::Scalars | Kind::Mixed)).then_some(why)
    }

    fn column(self, name: String) -> JsonColumn {
        match (&self, self.data_type()) {
            (Kind::Scalars, _) | (_, None) => JsonColumn {
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
            Kind::Null | Kind::Text | Kind::Scalars => DataType::Utf8,
            Kind::Bool => DataType::Boolean,
            Kind::Int { .. } => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::List(items) => {
                DataType::List(Arc::new(Field::new_list_field(items.data_type()?, true)))
            }
            // A struct needs a field.
            Kind::Object(keys) if keys.is_empty() => return None,
            Kind::Object(keys) => {
                let fields = keys
                    .iter()
                    .map(|(key, kind)| Some(Field::new(key, kind.data_type()?, true)));
                DataType::Struct(fields.collect::<Option<Vec<_>>>()?.into())
            }
            Kind::Mixed => return None,
        })
    }
}

fn number(raw: &str) -> Kind {
    if raw.contains(['.', 'e', 'E']) {
        // A number beyond all floats would become infinite.
        return if raw.parse::<f64>().is_ok_and(f64::is_finite) {
            Kind::Float
        } else {
            Kind::Scalars
        };
    }
    match raw.parse::<i64>() {
        Ok(value) => Kind::Int {
            exact_in_float: value.unsigned_abs() <= EXACT_IN_FLOAT,
        },
        Err(_) => Kind::Scalars,
    }
}

struct Items<'a> {
    kind: &'a mut Kind,
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
                .kind
                .see(item.get(), self.depth)
                .map_err(serde::de::Error::custom)?);
        }
        Ok(turned)
    }
}

struct Keys<'a> {
    keys: &'a mut IndexMap<String, Kind>,
    depth: usize,
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Option<TextReason>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut turned = None;
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value::<&RawValue>()?.get();
            // One more than allowed tells the caller.
            let is_full = self.keys.len() > MAX_KEYS;
            let kind = match self.keys.get_mut(key.as_ref()) {
                Some(kind) => kind,
                None if is_full => continue,
                None => self.keys.entry(key.into_owned()).or_insert(Kind::Null),
            };
            turned = turned.or(kind
                .see(value, self.depth)
                .map_err(serde::de::Error::custom)?);
        }
        Ok(turned)
    }
}
