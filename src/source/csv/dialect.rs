//! The dialect of a file: its delimiter, quotation mark and other characters.

use std::sync::Arc;

use arrow::datatypes::DataType;
use encoding_rs::Encoding;

use super::super::types;
use super::super::{EmptyCells, Error, Format, SourceSpec};

/// The settings by which a file is split into records and cells.
#[derive(Debug, Clone)]
pub(in crate::source) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) skip_lines: u64,
    pub(super) header: bool,
    /// The names of the columns, in place of the header's.
    pub(super) names: Arc<[String]>,
    pub(super) empty: EmptyCells,
    pub(super) nulls: Arc<[String]>,
    pub(super) decimal_comma: bool,
    pub(super) encoding: Option<&'static Encoding>,
    pub(super) max_cell_bytes: usize,
}

impl Dialect {
    /// Checks the settings, each by itself and together.
    pub(in crate::source) fn new(
        spec: &SourceSpec,
        format: Format,
        encoding: Option<&'static Encoding>,
    ) -> Result<Dialect, Error> {
        let Characters {
            delimiter,
            quote,
            escape,
            comment,
        } = Characters::new(spec, format)?;
        check_nulls(spec)?;
        let decimal_comma = decimal_comma(spec, delimiter, quote)?;
        Ok(Dialect {
            delimiter,
            quote,
            // A doubled quotation mark is read with and without this setting.
            escape: escape.filter(|_| escape != quote),
            comment,
            skip_lines: spec.skip_lines,
            header: spec.header.unwrap_or(true),
            names: spec.names.clone().into(),
            empty: spec.empty,
            nulls: spec.null.as_slice().into(),
            decimal_comma,
            encoding,
            max_cell_bytes: super::super::open::cell_limit(spec),
        })
    }
}

/// The special characters of a dialect.
struct Characters {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
}

impl Characters {
    /// Checks each character by itself, then that no two are the same.
    fn new(spec: &SourceSpec, format: Format) -> Result<Characters, Error> {
        let default_delimiter = if format == Format::Tsv { '\t' } else { ',' };
        let delimiter = byte("delimiter", spec.delimiter.unwrap_or(default_delimiter))?;
        let quote = match spec.quote.as_deref() {
            None => Some(b'"'),
            Some("") => None,
            Some(text) => {
                let quote = single(text).ok_or_else(|| bad("quote", text, ONE_CHARACTER))?;
                Some(byte("quote", quote)?)
            }
        };
        let optional = |setting, character: Option<char>| {
            character
                .map(|character| byte(setting, character))
                .transpose()
        };
        let escape = optional("escape", spec.escape)?;
        let comment = optional("comment", spec.comment)?;
        check_clash("quote", quote, &[Some(delimiter)])?;
        // An escape may be the quotation mark itself: that is the usual doubling.
        check_clash("escape", escape, &[Some(delimiter)])?;
        check_clash("comment", comment, &[Some(delimiter), quote, escape])?;
        if let (Some(escape), None) = (spec.escape, quote) {
            return Err(bad(
                "escape",
                &escape.to_string(),
                "for quotation marks inside quoted cells, and `source.quote` turns quotation \
                 marks off",
            ));
        }
        Ok(Characters {
            delimiter,
            quote,
            escape,
            comment,
        })
    }
}

fn byte(setting: &'static str, character: char) -> Result<u8, Error> {
    ascii_byte(character).ok_or_else(|| bad(setting, &character.to_string(), ONE_CHARACTER))
}

fn check_clash(
    setting: &'static str,
    character: Option<u8>,
    others: &[Option<u8>],
) -> Result<(), Error> {
    match character {
        Some(byte) if others.contains(&character) => {
            Err(bad(setting, &char::from(byte).to_string(), ONE_CHARACTER))
        }
        _ => Ok(()),
    }
}

/// An empty cell cannot be an empty text and a null at once.
fn check_nulls(spec: &SourceSpec) -> Result<(), Error> {
    if spec.empty == EmptyCells::Text && spec.null.as_slice().iter().any(String::is_empty) {
        return Err(bad(
            "null",
            "",
            "not the empty text where `source.empty` makes empty cells a text",
        ));
    }
    Ok(())
}

/// Whether decimals have a comma.
fn decimal_comma(spec: &SourceSpec, delimiter: u8, quote: Option<u8>) -> Result<bool, Error> {
    let Some(decimal) = spec.decimal else {
        return Ok(false);
    };
    let expected = match decimal {
        ',' if delimiter == b',' && quote.is_none() => "not the delimiter where no cell is quoted",
        '.' | ',' if makes_decimals(spec) => return Ok(decimal == ','),
        '.' | ',' => {
            "for columns of floats and decimals, and `source.columns` makes no column one of these"
        }
        _ => "`.` or `,`",
    };
    Err(bad("decimal", &decimal.to_string(), expected))
}

/// Whether the job gives a column a type with decimals.
fn makes_decimals(spec: &SourceSpec) -> bool {
    spec.columns
        .values()
        .filter_map(|name| types::parse(name))
        .any(|to| has_decimals(&to))
}

fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn ascii_byte(mark: char) -> Option<u8> {
    u8::try_from(mark)
        .ok()
        .filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0))
}

const ONE_CHARACTER: &str =
    "one ASCII character, no line break, and not the same as another of these characters";

fn bad(setting: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Setting {
        setting,
        value: value.to_owned(),
        expected,
    }
}

pub(super) fn has_decimals(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_decimal()
}
