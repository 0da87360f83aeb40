//! Values as JSON.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::{bytes_need_base64, printed, wrong};
use crate::template::row::{is_null, is_row};

/// The filter `json`.
pub(super) fn json(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get("indent")?,
    };
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let mut writer = JsonWriter {
        out: String::new(),
        indent: indent
            .filter(|&indent| indent > 0)
            .map(|indent| indent.min(16)),
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// A value as compact JSON; also how a list or a map is rendered when a template prints it as it
/// is.
pub(crate) fn compact_json(value: &Value) -> Result<String, Error> {
    let mut writer = JsonWriter {
        out: String::new(),
        indent: None,
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// Deeper values are not data of a table; a template can build one that holds itself.
const MAX_DEPTH: usize = 100;

struct JsonWriter {
    out: String,
    indent: Option<usize>,
}

impl JsonWriter {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(wrong(
                "a value nested more than 100 deep cannot be written as JSON",
            ));
        }
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.text(value.as_str().unwrap_or_default())?,
            ValueKind::Bytes => return Err(bytes_need_base64()),
            _ if is_null(value) => self.out.push_str("null"),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            _ => self.text(&value.to_string())?,
        }
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        match f64::try_from(value.clone()) {
            Ok(float) if !value.is_integer() => {
                // JSON has no word for these.
                if float.is_finite() {
                    write!(self.out, "{float:?}")
                } else {
                    write!(self.out, "null")
                }
                .ok();
            }
            _ => {
                write!(self.out, "{value}").ok();
            }
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::to_string(text)
            .map_err(|e| wrong("text cannot be written as JSON").with_source(e))?;
        self.out.push_str(&quoted);
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()?.checked() {
            self.separate(&mut empty, depth + 1);
            self.value(&item?, depth + 1)?;
        }
        self.close(']', empty, depth);
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut empty = true;
        for key in value.try_iter()?.checked() {
            let key = key?;
            self.separate(&mut empty, depth + 1);
            match key.as_str() {
                Some(text) => self.text(text)?,
                None => self.text(&printed(&key)?)?,
            }
            self.out
                .push_str(if self.indent.is_some() { ": " } else { ":" });
            let item = value.get_item(&key)?;
            if item.kind() == ValueKind::Bytes && is_row(value) {
                // The name of a column may be shown; the key of a map is a row's contents.
                let column = key.as_str().unwrap_or_default();
                return Err(wrong(format!(
                    "the column `{column}` is binary; name the other columns, or use the filter \
                     `base64` for it"
                )));
            }
            self.value(&item, depth + 1)?;
        }
        self.close('}', empty, depth);
        Ok(())
    }

    fn separate(&mut self, empty: &mut bool, depth: usize) {
        if !*empty {
            self.out.push(',');
        }
        *empty = false;
        self.new_line(depth);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}
