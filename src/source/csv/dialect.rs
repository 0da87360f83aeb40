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
        let delimiter = spec
            .delimiter
            .unwrap_or(if format == Format::Tsv { '\t' } else { ',' });
        let quote = match spec.quote.as_deref() {
            None => Some('"'),
            Some("") => None,
            Some(text) => Some(single(text).ok_or_else(|| bad("quote", text, ONE_CHARACTER))?),
        };
        let byte = |setting, mark: char| {
            ascii_byte(mark).ok_or_else(|| bad(setting, &mark.to_string(), ONE_CHARACTER))
        };
        let delimiter = byte("delimiter", delimiter)?;
        let quote = quote.map(|quote| byte("quote", quote)).transpose()?;
        let escape = spec
            .escape
            .map(|escape| byte("escape", escape))
            .transpose()?;
        let comment = spec
            .comment
            .map(|comment| byte("comment", comment))
            .transpose()?;
        let clash = |setting, mark: Option<u8>, others: &[Option<u8>]| match mark {
            Some(byte) if others.contains(&mark) => {
                Err(bad(setting, &char::from(byte).to_string(), ONE_CHARACTER))
            }
            _ => Ok(()),
        };
        clash("quote", quote, &[Some(delimiter)])?;
        clash("escape", escape, &[Some(delimiter)])?;
        clash("comment", comment, &[Some(delimiter), quote, escape])?;
        if let (Some(escape), None) = (spec.escape, quote) {
            return Err(bad(
                "escape",
                &escape.to_string(),
                "for quotation marks inside quoted cells, and `source.quote` turns quotation \
                 marks off",
            ));
        }
        let nulls = spec.null.as_slice();
        if spec.empty == EmptyCells::Text && nulls.iter().any(String::is_empty) {
            return Err(bad(
                "null",
                "",
                "not the empty text where `source.empty` makes empty cells a text",
            ));
        }
        let decimal_comma = match spec.decimal {
            None | Some('.') => false,
            Some(',') if delimiter == b',' && quote.is_none() => {
                return Err(bad(
                    "decimal",
                    ",",
                    "not the delimiter where no cell is quoted",
                ));
            }
            Some(',') => true,
            Some(other) => return Err(bad("decimal", &other.to_string(), "`.` or `,`")),
        };
        if spec.decimal.is_some()
            && !spec
                .columns
                .values()
                .filter_map(|name| types::parse(name))
                .any(|to| has_decimals(&to))
        {
            let expected = "for columns of floats and decimals, and `source.columns` makes no \
                column one of these";
            return Err(bad(
                "decimal",
                &spec.decimal.map(String::from).unwrap_or_default(),
                expected,
            ));
        }
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
            nulls: nulls.into(),
            decimal_comma,
            encoding,
            max_cell_bytes: super::super::open::cell_limit(spec),
        })
    }
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
