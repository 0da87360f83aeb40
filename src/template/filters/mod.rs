//! The filters of prompts.
//!
//! The engine's own filters are there as well (`trim`, `upper`, `lower`, `replace`, `join`,
//! `length`, `first`, `last`, `items`, `int`, `float`, `round`, …). Two of them are replaced:
//! `default` also replaces null cells, and `tojson` writes plain JSON where the engine's own
//! escapes `<`, `>`, `&` and `'` for HTML, which a model would read as noise.
//!
//! To add a filter: a function below, its entry in [`FILTERS`], and its line in `add`.

mod json;
mod number;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::row::{is_null, plain_null};
use json::{compact_json, json};
use number::number;

/// The documentation of a filter.
#[derive(Debug, Clone, Copy)]
pub struct FilterDoc {
    /// Its name, with its arguments.
    pub usage: &'static str,
    /// An example that renders as it stands.
    pub example: &'static str,
    /// What the example renders to.
    pub renders: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// The filters of this room; documentation is printed from here, and every example is a test.
pub static FILTERS: &[FilterDoc] = &[
    FilterDoc {
        usage: "json(indent=none)",
        example: r#"{{ {"name": "Ann & Bo", "tags": ["a", "b"]}|json }}"#,
        renders: r#"{"name":"Ann & Bo","tags":["a","b"]}"#,
        meaning: "Compact JSON, not escaped for HTML; `json(2)` puts each item on its own line. \
                  Null cells are `null`, dates and decimals are text. `row|json` is the whole row. \
                  `tojson` is the same.",
    },
    FilterDoc {
        usage: "default(other=\"\", falsy=false)",
        example: r#"{{ none|default("unknown") }}"#,
        renders: "unknown",
        meaning: "Another value where a cell is null or a field does not exist; with `falsy=true` \
                  also for empty text, 0 and false. `d` is the same.",
    },
    FilterDoc {
        usage: "truncate(n, end=\"…\")",
        example: r#"{{ "a long sentence"|truncate(7) }}"#,
        renders: "a long…",
        meaning: "At most `n` characters, the ending included; shorter text stays as it is.",
    },
    FilterDoc {
        usage: "truncate_words(n, end=\"…\")",
        example: r#"{{ "one two three four"|truncate_words(2) }}"#,
        renders: "one two…",
        meaning: "The first `n` words as they stand, and the ending if there were more.",
    },
    FilterDoc {
        usage: "oneline",
        example: r#"{{ "  two\n\n lines "|oneline }}"#,
        renders: "two lines",
        meaning: "Every run of white space becomes one space, none at the ends.",
    },
    FilterDoc {
        usage: "date(format)",
        example: r#"{{ "2024-02-29T18:30:00Z"|date("%d %B %Y, %H:%M") }}"#,
        renders: "29 February 2024, 18:30",
        meaning: "A date, or a date and time, written by a strftime format; text that is neither \
            is an error of the row, null stays null.",
    },
    FilterDoc {
        usage: "number(decimals=none, thousands=\"\")",
        example: r#"{{ "1234567.895"|number(2, ",") }}"#,
        renders: "1,234,567.90",
        meaning: "A number, or text that is one, with `decimals` decimals (rounded half away from \
                  zero, on the decimal text) and marks between thousands; null stays null.",
    },
    FilterDoc {
        usage: "base64",
        example: r#"{{ "héllo"|base64 }}"#,
        renders: "aMOpbGxv",
        meaning: "Standard base64 of a binary cell, or of text as UTF-8. A binary cell can only be \
            rendered through it.",
    },
    FilterDoc {
        usage: "hash",
        example: r#"{{ "ann@example.com"|hash }}"#,
        renders: "70e881aa833cb2b3971702cab47d07ec",
        meaning: "128 bits of BLAKE3 in hexadecimal: the same for the same text, for names that \
            should not be sent as they are.",
    },
    FilterDoc {
        usage: "slug",
        example: r#"{{ "Größe & Farbe: Rot"|slug }}"#,
        renders: "größe-farbe-rot",
        meaning: "Letters and digits in lower case, everything between them one hyphen.",
    },
];

/// The engine's own filters, to propose the nearest name for an unknown one.
pub(crate) const ENGINE_FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "dictsort",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "trim",
    "unique",
    "upper",
    "zip",
];

/// Gives an environment the filters and tests of this room.
pub(crate) fn add(env: &mut Environment<'_>) {
    env.add_filter("json", json);
    env.add_filter("tojson", json);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("truncate", truncate);
    env.add_filter("truncate_words", truncate_words);
    env.add_filter("oneline", oneline);
    env.add_filter("date", date);
    env.add_filter("number", number);
    env.add_filter("base64", base64);
    env.add_filter("hash", hash);
    env.add_filter("slug", slug);
    // To the engine a null cell is an empty iterator, or the text `None`. These filters pass a null
    // on, so that the comparison behind them stays false.
    for (name, filter) in [
        ("upper", Value::from_function(filters::upper)),
        ("lower", Value::from_function(filters::lower)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("abs", Value::from_function(filters::abs)),
        ("string", Value::from_function(filters::string)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("reverse", Value::from_function(filters::reverse)),
    ] {
        env.add_filter(
            name,
            move |state: &mut State, value: &Value| match null_or_missing(value)? {
                true => Ok(plain_null()),
                false => filter.call(state, std::slice::from_ref(value)),
            },
        );
    }
    for (name, filter, has_default) in [
        ("trim", Value::from_function(filters::trim), false),
        ("int", Value::from_function(filters::int), true),
        ("float", Value::from_function(filters::float), true),
        ("round", Value::from_function(filters::round), false),
    ] {
        env.add_filter(
            name,
            move |state: &mut State,
                  value: &Value,
                  first: Option<Value>,
                  second: Option<Value>,
                  named: Kwargs| {
                if null_or_missing(value)? {
                    let default: Option<Value> = if has_default {
                        named.get("default")?
                    } else {
                        None
                    };
                    return Ok(first
                        .filter(|_| has_default)
                        .or(default)
                        .unwrap_or_else(plain_null));
                }
                let mut all = vec![value.clone()];
                all.extend(first.into_iter().chain(second));
                if named.args().next().is_some() {
                    all.push(Value::from(named));
                }
                filter.call(state, &all)
            },
        );
    }
    env.add_test("none", is_null);
    env.add_test("null", is_null);
}

/// Whether a value is null; an undefined one is an error.
fn null_or_missing(value: &Value) -> Result<bool, Error> {
    match value.is_undefined() {
        // The engine's own error, which names what is undefined.
        true => value.get_attr("").map(|_| false),
        false => Ok(is_null(value)),
    }
}

fn wrong(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn bytes_need_base64() -> Error {
    wrong("a binary cell cannot be rendered as text; use the filter `base64`")
}

/// Writes a value into a prompt: null as nothing, booleans as `true` and `false`, floats in their
/// shortest form, lists and maps as compact JSON.
pub(crate) fn print(out: &mut dyn std::fmt::Write, value: &Value) -> Result<(), Error> {
    // The engine would take bytes that happen to be UTF-8 for text.
    match value.as_str().filter(|_| value.kind() != ValueKind::Bytes) {
        Some(text) => out.write_str(text),
        None => out.write_str(&printed(value)?),
    }
    .map_err(Error::from)
}

fn printed(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok(String::new()),
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(float) if !value.is_integer() => Ok(format!("{float:?}")),
            _ => Ok(value.to_string()),
        },
        ValueKind::Bytes => Err(bytes_need_base64()),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if is_null(value) => {
            Ok(String::new())
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => compact_json(value),
        ValueKind::Invalid => Err(wrong("an invalid value cannot be rendered")),
        _ => Ok(value.to_string()),
    }
}

fn default(
    value: &Value,
    other: Option<Value>,
    falsy: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let falsy = match falsy {
        Some(falsy) => falsy,
        None => kwargs.get::<Option<bool>>("falsy")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let stands_in = value.is_undefined() || is_null(value) || (falsy && !value.is_true());
    Ok(if stands_in {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// The ending of a truncated text, given by place or by name.
fn ending<'a>(end: Option<Cow<'a, str>>, kwargs: &'a Kwargs) -> Result<Cow<'a, str>, Error> {
    let end = match end {
        Some(end) => end,
        None => kwargs.get::<Option<&str>>("end")?.unwrap_or("…").into(),
    };
    kwargs.assert_all_used()?;
    Ok(end)
}

fn truncate(
    text: Cow<'_, str>,
    n: usize,
    end: Option<Cow<'_, str>>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let end = ending(end, &kwargs)?;
    // Fewer bytes than that are certainly not more characters.
    if text.len() <= n || text.chars().nth(n).is_none() {
        return Ok(text.into_owned());
    }
    match n.checked_sub(end.chars().count()) {
        Some(kept) => Ok(text.chars().take(kept).chain(end.chars()).collect()),
        None => Ok(text.chars().take(n).collect()),
    }
}

fn truncate_words(
    text: Cow<'_, str>,
    n: usize,
    end: Option<Cow<'_, str>>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let end = ending(end, &kwargs)?;
    let mut words = 0;
    let mut in_word = false;
    let mut last_end = 0;
    for (at, c) in text.char_indices() {
        if !c.is_whitespace() && !in_word {
            if words == n {
                return Ok(format!("{}{end}", &text[..last_end]));
            }
            words += 1;
        }
        in_word = !c.is_whitespace();
        if in_word {
            last_end = at + c.len_utf8();
        }
    }
    Ok(text.into_owned())
}

fn oneline(text: Cow<'_, str>) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

fn date(value: &Value, format: &str) -> Result<Value, Error> {
    if is_null(value) {
        return Ok(plain_null());
    }
    let text = value
        .as_str()
        .ok_or_else(|| wrong("`date` takes a date or its text"))?;
    let pieces = DateTimeParser::new()
        .parse_pieces(text.trim())
        .map_err(|_| {
            wrong(
                "`date` got text that is no date or date and time, such as `2024-01-31` \
            or `2024-01-31T18:30:00Z`",
            )
        })?;
    let at = DateTime::from_parts(pieces.date(), pieces.time().unwrap_or_default());
    let written = match pieces.to_numeric_offset() {
        Some(offset) => TimeZone::fixed(offset)
            .to_zoned(at)
            .and_then(|zoned| strtime::format(format, &zoned)),
        None => strtime::format(format, at),
    };
    written
        .map(Value::from)
        .map_err(|_| wrong("`date` cannot write this value by its format"))
}

/// The bytes of a binary cell, or of a value's text.
fn bytes_of(value: &Value) -> Result<Cow<'_, [u8]>, Error> {
    match value.as_bytes() {
        Some(bytes) => Ok(Cow::Borrowed(bytes)),
        None if value.is_undefined() => Err(Error::from(ErrorKind::UndefinedError)),
        None => Ok(Cow::Owned(printed(value)?.into_bytes())),
    }
}

fn base64(value: &Value) -> Result<String, Error> {
    Ok(STANDARD.encode(bytes_of(value)?))
}

fn hash(value: &Value) -> Result<String, Error> {
    let hash = blake3::hash(&bytes_of(value)?).to_hex();
    Ok(hash[..32].to_owned())
}

fn slug(text: Cow<'_, str>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}
