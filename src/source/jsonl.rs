//! JSON Lines: one object a line, columns by the union of all their keys.
//!
//! The columns are known after one pass over the whole file ([`super::infer`]), so a type that
//! changes in the last line is seen. Columns with a common type are decoded by arrow-json. The
//! others, and those for which the job sets a type, are read here as text: the characters of a
//! string, anything else as it is written in the file, so that no digit is lost.
//! Blank lines are skipped; a key that is missing in a line is null.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use encoding_rs::Encoding;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::bytes::Input;
use super::convert::{ConvertError, convert};
use super::scan::{FileBatch, MAX_BYTES, MAX_ROWS};
use super::types;
use super::{Error, Format};

/// The lines of a file that are not blank, checked to be UTF-8.
pub(super) struct JsonLines {
    input: Arc<Input>,
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    /// Most bytes of a line.
    limit: usize,
    /// The number of the line just read, from 1.
    pub(super) number: u64,
}

impl JsonLines {
    /// Opens a file of which no line may have more than `limit` bytes.
    pub(super) fn open(
        input: Arc<Input>,
        encoding: Option<&'static Encoding>,
        limit: usize,
    ) -> Result<JsonLines, Error> {
        let reader = BufReader::with_capacity(1 << 17, input.text(encoding)?);
        Ok(JsonLines {
            input,
            reader,
            line: Vec::new(),
            limit,
            number: 0,
        })
    }

    /// The next line that is not blank, without its line break.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Error> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut limited = self.reader.by_ref().take(self.limit as u64 + 1);
            let length = limited
                .read_until(b'\n', &mut self.line)
                .map_err(|e| self.input.failed(e))?;
            if length == 0 {
                return Ok(None);
            }
            if length > self.limit {
                let path = self.input.path().to_path_buf();
                return Err(Error::TooLong {
                    path,
                    line: self.number,
                    limit: self.limit,
                });
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        match std::str::from_utf8(&self.line) {
            Ok(line) => Ok(Some(line.trim_ascii_end())),
            Err(e) => Err(Error::NotUtf8 {
                path: self.input.path().to_path_buf(),
                line: self.number,
                column: (e.valid_up_to() + 1).to_string(),
            }),
        }
    }

    /// The error of a line that is not as it should be.
    pub(super) fn bad(&self, byte: usize, problem: impl Into<String>) -> Error {
        Error::Json {
            path: self.input.path().to_path_buf(),
            line: self.number,
            byte,
            problem: problem.into(),
        }
    }

    /// The error of a line that is not JSON. The parser sees one line at a time, so the "line 1" in
    /// its message would mislead.
    pub(super) fn not_json(&self, e: &serde_json::Error) -> Error {
        let said = e.to_string();
        let problem = said.split(" at line ").next().unwrap_or(&said);
        self.bad(e.column(), problem)
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }
}

/// The rows of one file, in batches of bounded size.
pub(super) struct JsonlRows {
    lines: JsonLines,
    schema: SchemaRef,
    /// Decodes the columns whose values have a common type, if there are any.
    agreed: Option<Decoder>,
    texts: TextColumns,
    rows_before: u64,
    numbers: Vec<u64>,
    ended: bool,
}

impl JsonlRows {
    /// Opens a file for the columns of `schema`; `as_text` says which of them are read as text
    /// first.
    pub(super) fn open(
        input: Arc<Input>,
        encoding: Option<&'static Encoding>,
        schema: SchemaRef,
        as_text: impl Fn(&str) -> bool,
        limit: usize,
    ) -> Result<JsonlRows, Error> {
        let (texts, agreed): (Vec<_>, Vec<_>) = schema
            .fields()
            .iter()
            .cloned()
            .partition(|field| as_text(field.name()));
        let agreed = (!agreed.is_empty())
            .then(|| {
                let builder = ReaderBuilder::new(Arc::new(Schema::new(agreed)));
                builder
                    .with_batch_size(MAX_ROWS)
                    .with_coerce_primitive(true)
                    .build_decoder()
            })
            .transpose()
            .map_err(Error::Batch)?;
        let lines = JsonLines::open(input, encoding, limit)?;
        let texts = TextColumns::new(&texts);
        Ok(JsonlRows {
            lines,
            schema,
            agreed,
            texts,
            rows_before: 0,
            numbers: Vec::new(),
            ended: false,
        })
    }

    fn read_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.numbers.clear();
        let mut bytes = 0;
        while self.numbers.len() < MAX_ROWS && bytes < MAX_BYTES {
            if !self.read_line(&mut bytes)? {
                self.ended = true;
                break;
            }
            self.numbers.push(self.lines.number);
        }
        if self.numbers.is_empty() {
            return Ok(None);
        }
        self.finish().map(Some)
    }

    fn read_line(&mut self, bytes: &mut usize) -> Result<bool, Error> {
        let Some(line) = self.lines.next()? else {
            return Ok(false);
        };
        *bytes += line.len();
        let textual = if self.texts.is_empty() {
            Ok(())
        } else {
            self.texts.read(line)
        };
        let decoded = match &mut self.agreed {
            // Without the line break, the decoder would join a number at the end of this line with
            // the start of the next one.
            Some(decoder) => decoder
                .decode(line.as_bytes())
                .and_then(|_| decoder.decode(b"\n"))
                .map(|_| decoder),
            None => return textual.map(|()| true).map_err(|e| self.lines.not_json(&e)),
        };
        textual.map_err(|e| self.lines.not_json(&e))?;
        match decoded {
            Ok(decoder)
                if decoder.len() == self.numbers.len() + 1 && !decoder.has_partial_record() =>
            {
                Ok(true)
            }
            _ => Err(self.lines.bad(1, "not one JSON object")),
        }
    }

    fn finish(&mut self) -> Result<RecordBatch, Error> {
        let rows = self.numbers.len();
        let agreed = match &mut self.agreed {
            Some(decoder) => decoder.flush().map_err(|e| Error::Corrupt {
                path: self.lines.input().path().to_path_buf(),
                format: Format::Jsonl,
                source: Box::new(e),
            })?,
            None => None,
        };
        let mut texts = self.texts.finish().into_iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let decoded = agreed
                .as_ref()
                .and_then(|batch| batch.column_by_name(field.name()));
            let column = match decoded {
                Some(column) => column.clone(),
                None => texts.next().expect("a column is decoded or text"),
            };
            columns.push(self.converted(&column, field)?);
        }
        self.rows_before += rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(Error::Batch)
    }

    fn converted(&self, column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, Error> {
        convert(column, field.data_type()).map_err(|error| match error {
            ConvertError::Row(row) => Error::Cell {
                path: self.lines.input().path().to_path_buf(),
                row: self.rows_before + row as u64 + 1,
                line: self.numbers.get(row).copied(),
                column: field.name().clone(),
                expected: types::name(field.data_type()),
            },
            ConvertError::Types(e) => Error::Batch(e),
        })
    }
}

impl Iterator for JsonlRows {
    type Item = Result<FileBatch, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.read_batch();
        self.ended |= batch.is_err();
        batch.map(|batch| batch.map(FileBatch::Rows)).transpose()
    }
}

/// The columns that are read as text.
struct TextColumns {
    by_name: HashMap<String, usize>,
    columns: Vec<StringBuilder>,
    rows: usize,
}

impl TextColumns {
    fn new(fields: &[FieldRef]) -> TextColumns {
        let by_name = fields
            .iter()
            .enumerate()
            .map(|(i, field)| (field.name().clone(), i))
            .collect();
        TextColumns {
            by_name,
            columns: fields.iter().map(|_| StringBuilder::new()).collect(),
            rows: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Reads the values of the columns from one line.
    fn read(&mut self, line: &str) -> serde_json::Result<()> {
        let mut parser = serde_json::Deserializer::from_str(line);
        OneLine(self).deserialize(&mut parser)?;
        parser.end()?;
        self.rows += 1;
        for column in &mut self.columns {
            if arrow::array::ArrayBuilder::len(column) < self.rows {
                column.append_null();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.columns
            .iter_mut()
            .map(|column| Arc::new(column.finish()) as ArrayRef)
            .collect()
    }
}

struct OneLine<'a>(&'a mut TextColumns);

impl<'de> DeserializeSeed<'de> for OneLine<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneLine<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let Some(column) = self.0.by_name.get(key.as_ref()) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut self.0.columns[*column];
            match text_of(map.next_value::<&RawValue>()?.get()).map_err(serde::de::Error::custom)? {
                Some(text) => column.append_value(text),
                None => column.append_null(),
            }
        }
        Ok(())
    }
}

/// Reads a key without a copy where it has no escapes.
pub(super) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = std::borrow::Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = std::borrow::Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(key.into())
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(key.to_owned().into())
    }
}

/// A JSON value as text: the characters of a string, none for null, anything else as written.
fn text_of(raw: &str) -> serde_json::Result<Option<std::borrow::Cow<'_, str>>> {
    Ok(match raw.as_bytes() {
        b"null" => None,
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Some(raw[1..raw.len() - 1].into()),
        [b'"', ..] => Some(serde_json::from_str::<String>(raw)?.into()),
        _ => Some(raw.into()),
    })
}
