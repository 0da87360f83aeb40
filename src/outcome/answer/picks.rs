//! Single values picked out of an answer's text: by JSON pointer, or by regular expression.
//!
//! A pointer looks into the JSON that the text holds (bare, in a fence or with words around it); a
//! regular expression looks at the text itself, and returns the group named `value`, else the first
//! group, else the whole match. What was found becomes the column's type as a source's cell does:
//! nothing is rounded, and what does not fit is a reason why the answer is invalid.
//!
//! Values are taken from the JSON as it is written, so that `1.10` stays `1.10` in a text or
//! decimal column.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use indexmap::IndexMap;
use regex::Regex;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::shape::ColumnShape;
use super::{Error, NO_TEXT, cut, json_in_text, unique};
use crate::source::{convert, types};

/// One column picked out of answers: a JSON pointer, or a table that says more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PickSpec {
    /// Where the value stands in the answer's JSON, such as `/score`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What the value is in the answer's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The column's type, as in `source.columns`.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether an answer without the value is `invalid`; otherwise it is null.
    pub required: bool,
}

/// The table form; the type is text and the value is required unless it says otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    pointer: Option<String>,
    regex: Option<String>,
    #[serde(rename = "type", default = "text")]
    data_type: String,
    #[serde(default = "yes")]
    required: bool,
}

fn text() -> String {
    "string".to_owned()
}

fn yes() -> bool {
    true
}

impl<'de> Deserialize<'de> for PickSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PickSpec, D::Error> {
        struct Pick;
        impl<'de> Visitor<'de> for Pick {
            type Value = PickSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a JSON pointer such as \"/label\", or a table with `pointer` or `regex`",
                )
            }
            fn visit_str<E>(self, pointer: &str) -> Result<PickSpec, E> {
                Ok(PickSpec {
                    pointer: Some(pointer.to_owned()),
                    regex: None,
                    data_type: text(),
                    required: true,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PickSpec, A::Error> {
                let Table {
                    pointer,
                    regex,
                    data_type,
                    required,
                } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PickSpec {
                    pointer,
                    regex,
                    data_type,
                    required,
                })
            }
        }
        deserializer.deserialize_any(Pick)
    }
}

/// The columns, compiled.
#[derive(Debug)]
pub(super) struct Picks {
    picks: Vec<Pick>,
    /// Whether the text has to be read as JSON.
    any_pointer: bool,
}

#[derive(Debug)]
struct Pick {
    column: String,
    way: PickSource,
    data_type: DataType,
    type_name: String,
    required: bool,
}

#[derive(Debug)]
enum PickSource {
    /// The steps of a pointer, unescaped, and the pointer itself.
    Pointer(Vec<String>, String),
    /// An expression, and its group that is the value.
    Regex(Box<Regex>, usize),
}

impl Picks {
    pub(super) fn compile(columns: &IndexMap<String, PickSpec>) -> Result<Picks, Error> {
        let picks: Vec<Pick> = columns
            .iter()
            .map(|(column, spec)| Pick::compile(column, spec))
            .collect::<Result<_, _>>()?;
        let any_pointer = picks
            .iter()
            .any(|pick| matches!(pick.way, PickSource::Pointer(..)));
        Ok(Picks { picks, any_pointer })
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (String, ColumnShape)> {
        self.picks
            .iter()
            .map(|pick| (pick.column.clone(), pick.shape()))
    }

    /// Picks the values out of a text, and adds them to the members of an answer.
    pub(super) fn read(
        &self,
        text: Option<&str>,
        members: &mut Map<String, Value>,
    ) -> Result<(), String> {
        if self.picks.is_empty() {
            return Ok(());
        }
        let json = if self.any_pointer {
            text.ok_or(NO_TEXT).and_then(json_in_text::find)
        } else {
            Err(NO_TEXT)
        };
        // Not a value that is missing, which a column may allow.
        if let Some(why) = json.ok().and_then(unique::repeated_name) {
            return Err(cut(&why));
        }
        let document =
            json.and_then(|json| Document::of(json).ok_or("the JSON in the answer cannot be read"));
        for pick in &self.picks {
            let found = match &pick.way {
                PickSource::Pointer(steps, pointer) => match &document {
                    Ok(document) => document
                        .find(steps)
                        .ok_or_else(|| format!("the answer has nothing at `{pointer}`"))
                        .and_then(text_of),
                    Err(why) => Err((*why).to_owned()),
                },
                PickSource::Regex(regex, group) => in_text(regex, *group, text),
            };
            let value = match found {
                Ok(None) => Value::Null,
                Ok(Some(text)) => pick.value(text)?,
                Err(_) if !pick.required => Value::Null,
                Err(why) => return Err(pick.reason(&why)),
            };
            members.insert(pick.column.clone(), value);
        }
        Ok(())
    }
}

impl Pick {
    fn compile(column: &str, spec: &PickSpec) -> Result<Pick, Error> {
        let wrong = |problem: String| Error::Setting {
            key: format!("columns.{column}"),
            problem,
        };
        let way = match (&spec.pointer, &spec.regex) {
            (Some(pointer), None) => {
                PickSource::Pointer(steps(pointer).map_err(&wrong)?, pointer.clone())
            }
            (None, Some(regex)) => {
                let regex = Regex::new(regex)
                    .map_err(|e| wrong(format!("is no regular expression: {}", in_one_line(&e))))?;
                let named = regex.capture_names().position(|name| name == Some("value"));
                let group = named.unwrap_or(usize::from(regex.captures_len() > 1));
                PickSource::Regex(Box::new(regex), group)
            }
            _ => return Err(wrong("needs either `pointer` or `regex`".to_owned())),
        };
        let known = || {
            wrong(format!(
                "cannot have the type `{}`; types are {}",
                spec.data_type,
                types::KNOWN
            ))
        };
        let data_type = types::parse(&spec.data_type).ok_or_else(known)?;
        let type_name = types::name(&data_type);
        Ok(Pick {
            column: column.to_owned(),
            way,
            data_type,
            type_name,
            required: spec.required,
        })
    }

    fn shape(&self) -> ColumnShape {
        match &self.data_type {
            DataType::Utf8 => ColumnShape::Text,
            other => ColumnShape::Typed(other.clone()),
        }
    }

    /// The text as the value of the column, which the builder turns into its type.
    fn value(&self, mut text: String) -> Result<Value, String> {
        if self.data_type.is_integer() {
            // To JSON, 3.0 is an integer.
            text.truncate(
                text.find('.')
                    .filter(|&at| text[at + 1..].bytes().all(|byte| byte == b'0'))
                    .unwrap_or(text.len()),
            );
        }
        if is_of_type(&text, &self.data_type) {
            return Ok(Value::String(text));
        }
        let place = match &self.way {
            PickSource::Pointer(_, pointer) => format!("the value at `{pointer}`"),
            PickSource::Regex(..) => "what the expression found".to_owned(),
        };
        Err(self.reason(&format!("{place} is no `{}`", self.type_name)))
    }

    fn reason(&self, why: &str) -> String {
        cut(&format!("`{}`: {why}", self.column))
    }
}

/// The steps of a JSON pointer (RFC 6901).
fn steps(pointer: &str) -> Result<Vec<String>, String> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let inner = pointer.strip_prefix('/').ok_or_else(|| {
        format!(
            "is `{pointer}`, and a JSON pointer begins with `/`; a regular expression is \
            written `{{ regex = … }}`"
        )
    })?;
    let step = |step: &str| {
        let stray = step.replace("~0", "").replace("~1", "").contains('~');
        if stray {
            Err(format!("is `{pointer}`, where `~` has to be written `~0`"))
        } else {
            Ok(unescaped(step))
        }
    };
    inner.split('/').map(step).collect()
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// What is wrong with an expression, without the picture of several lines.
fn in_one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

/// A JSON document whose first level is taken apart; what is deeper stays as it is written.
struct Document<'a> {
    whole: &'a RawValue,
    top: Level<'a>,
}

enum Level<'a> {
    Object(BTreeMap<String, &'a RawValue>),
    Array(Vec<&'a RawValue>),
    Other,
}

impl<'a> Document<'a> {
    fn of(json: &'a str) -> Option<Document<'a>> {
        let whole: &RawValue = serde_json::from_str(json).ok()?;
        Some(Document {
            whole,
            top: Level::of(whole)?,
        })
    }

    fn find(&self, steps: &[String]) -> Option<&'a RawValue> {
        match steps.split_first() {
            None => Some(self.whole),
            Some((first, deeper)) => deeper.iter().try_fold(self.top.get(first)?, |value, step| {
                Level::of(value)?.get(step)
            }),
        }
    }
}

impl<'a> Level<'a> {
    fn of(value: &'a RawValue) -> Option<Level<'a>> {
        let json = value.get();
        match json.as_bytes().first()? {
            b'{' => serde_json::from_str(json).ok().map(Level::Object),
            b'[' => serde_json::from_str(json).ok().map(Level::Array),
            _ => Some(Level::Other),
        }
    }

    fn get(&self, step: &str) -> Option<&'a RawValue> {
        let is_index = step == "0"
            || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
        match self {
            Level::Object(members) => members.get(step).copied(),
            Level::Array(items) if is_index => items.get(step.parse::<usize>().ok()?).copied(),
            Level::Array(_) | Level::Other => None,
        }
    }
}

/// A JSON value as text: what a text says, and everything else as it is written; `None` for null.
fn text_of(value: &RawValue) -> Result<Option<String>, String> {
    match value.get() {
        "null" => Ok(None),
        text if text.starts_with('"') => serde_json::from_str(text)
            .map(Some)
            .map_err(|_| "the text there holds half a character".to_owned()),
        other => Ok(Some(other.to_owned())),
    }
}

/// What an expression finds in a text.
fn in_text(regex: &Regex, group: usize, text: Option<&str>) -> Result<Option<String>, String> {
    let found = regex
        .captures(text.ok_or(NO_TEXT)?)
        .and_then(|found| Some(found.get(group)?.as_str().to_owned()));
    found
        .map(Some)
        .ok_or_else(|| format!("nothing in the answer matches `{}`", regex.as_str()))
}

/// Whether a text becomes a type without loss, as a source's cell would.
fn is_of_type(text: &str, data_type: &DataType) -> bool {
    let plainly = match data_type {
        DataType::Utf8 => true,
        DataType::Int64 => text.parse::<i64>().is_ok(),
        DataType::Float64 => text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    };
    plainly || {
        let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
        convert::convert(&column, data_type).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(columns: &str) -> Result<Picks, String> {
        let columns: IndexMap<String, PickSpec> =
            toml::from_str(columns).map_err(|e| e.message().to_owned())?;
        Picks::compile(&columns).map_err(|e| e.to_string())
    }

    fn read(columns: &str, text: Option<&str>) -> Result<String, String> {
        let mut members = Map::new();
        picks(columns).unwrap().read(text, &mut members)?;
        Ok(Value::Object(members).to_string())
    }

    #[test]
    fn picks_values_by_pointer_as_they_are_written() {
        let text = r#"{"a": {"b/c": [1.10, "x\ny"]}, "n": null, "o": {"k": [ 1 ]}, "t": true, "": 3, "s": "é"}"#;
        for (column, expected) in [
            (r#"p = "/a/b~1c/0""#, r#"{"p":"1.10"}"#),
            (r#"p = "/a/b~1c/1""#, r#"{"p":"x\ny"}"#),
            (r#"p = "/n""#, r#"{"p":null}"#),
            (r#"p = "/o""#, r#"{"p":"{\"k\": [ 1 ]}"}"#),
            (r#"p = "/""#, r#"{"p":"3"}"#),
            (
                r#"p = { pointer = "/t", type = "bool" }"#,
                r#"{"p":"true"}"#,
            ),
            (
                r#"p = { pointer = "/a/b~1c/0", type = "decimal(5,2)" }"#,
                r#"{"p":"1.10"}"#,
            ),
            (
                r#"p = { pointer = "/none", required = false }"#,
                r#"{"p":null}"#,
            ),
        ] {
            assert_eq!(
                read(column, Some(text)).as_deref(),
                Ok(expected),
                "{column}"
            );
        }
        assert_eq!(
            read(r#"p = """#, Some("[1]")).as_deref(),
            Ok(r#"{"p":"[1]"}"#)
        );
    }

    #[test]
    fn refuses_json_in_which_a_name_stands_twice() {
        for column in [
            r#"p = "/a""#,
            r#"p = "/b/x""#,
            r#"p = { pointer = "/none", required = false }"#,
            r#"p = """#,
        ] {
            for text in [
                r#"{"a": 1, "b": {"x": 2, "x": 3}}"#,
                "It is:\n```json\n{\"a\": 1, \"b\": {\"x\": 2}, \"a\": 4}\n```",
            ] {
                let why = read(column, Some(text)).unwrap_err();
                assert!(why.contains("twice"), "{column} {text}: {why}");
            }
        }
        assert_eq!(
            read("p = { regex = 'x' }", Some(r#"{"x": 1, "x": 2}"#)).as_deref(),
            Ok(r#"{"p":"x"}"#)
        );
    }

    #[test]
    fn picks_values_by_expression() {
        let text = Some("Label: spam\nScore: 0.9 of 1\n");
        for (column, expected) in [
            (r"p = { regex = 'Label:\s*(\w+)' }", r#"{"p":"spam"}"#),
            (
                r"p = { regex = '(?m)^(Sc|La).*?: (?<value>\S+)' }",
                r#"{"p":"spam"}"#,
            ),
            (
                r"p = { regex = '[0-9.]+', type = 'float64' }",
                r#"{"p":"0.9"}"#,
            ),
            (
                r"p = { regex = 'Label: (ham)?', required = false }",
                r#"{"p":null}"#,
            ),
        ] {
            assert_eq!(read(column, text).as_deref(), Ok(expected), "{column}");
        }
    }

    #[test]
    fn says_what_was_not_found_or_does_not_fit() {
        let json = Some(r#"{"a": "x", "list": [1], "f": 1.5}"#);
        for (column, text, expected) in [
            (r#"p = "/b""#, json, "`p`: the answer has nothing at `/b`"),
            (
                r#"p = "/a/b""#,
                json,
                "`p`: the answer has nothing at `/a/b`",
            ),
            (
                r#"p = "/list/01""#,
                json,
                "`p`: the answer has nothing at `/list/01`",
            ),
            (
                r#"p = { pointer = "/f", type = "int64" }"#,
                json,
                "`p`: the value at `/f` is no `int64`",
            ),
            (
                r#"p = { pointer = "/a", type = "Date" }"#,
                json,
                "`p`: the value at `/a` is no `date`",
            ),
            (r#"p = "/a""#, Some("no"), "`p`: the answer holds no JSON"),
            (r#"p = "/a""#, None, "`p`: the answer has no text"),
            (
                r"p = { regex = 'b+' }",
                Some("no"),
                "`p`: nothing in the answer matches `b+`",
            ),
            (
                r"p = { regex = 'o', type = 'int8' }",
                Some("no"),
                "`p`: what the expression found is no `int8`",
            ),
            (
                r#"p = { pointer = "/f", type = "int64", required = false }"#,
                json,
                "`p`: the value at `/f` is no `int64`",
            ),
        ] {
            assert_eq!(read(column, text).unwrap_err(), expected, "{column}");
        }
    }

    #[test]
    fn takes_whole_numbers_written_with_a_point() {
        let column = |kind: &str| format!(r#"p = {{ pointer = "/n", type = "{kind}" }}"#);
        assert_eq!(
            read(&column("int32"), Some(r#"{"n": 3.0}"#)).as_deref(),
            Ok(r#"{"p":"3"}"#)
        );
        assert!(read(&column("int32"), Some(r#"{"n": "3.0"}"#)).is_ok());
        assert!(read(&column("int32"), Some(r#"{"n": 3.5}"#)).is_err());
    }

    #[test]
    fn refuses_columns_that_make_no_sense() {
        for (column, expected) in [
            (
                r#"p = "label""#,
                "`answer.columns.p` is `label`, and a JSON pointer begins with `/`; a regular \
                 expression is written `{ regex = … }`",
            ),
            (
                r#"p = "/a~b""#,
                "`answer.columns.p` is `/a~b`, where `~` has to be written `~0`",
            ),
            (
                r#"p = { type = "date" }"#,
                "`answer.columns.p` needs either `pointer` or `regex`",
            ),
            (
                r#"p = { pointer = "/a", regex = "a" }"#,
                "`answer.columns.p` needs either `pointer` or `regex`",
            ),
            (
                r#"p = { regex = "(a" }"#,
                "`answer.columns.p` is no regular expression: unclosed group",
            ),
        ] {
            assert_eq!(picks(column).unwrap_err(), expected, "{column}");
        }
        let error = picks(r#"p = { pointer = "/a", type = "float" }"#).unwrap_err();
        assert!(
            error.starts_with(
                "`answer.columns.p` cannot have the type `float`; types are `string`, "
            ),
            "{error}"
        );
        let error = picks(r#"p = { pionter = "/a" }"#).unwrap_err();
        assert!(
            error.starts_with("unknown field `pionter`, expected one of `pointer`, `regex`"),
            "{error}"
        );
    }
}
