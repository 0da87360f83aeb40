//! Row keys: what identifies a row, from the columns the job names.
//!
//! A key is the tuple of the row's key cells, each with its type, so that the text `1` and the
//! number 1 are two keys, and so are `("a", "b-c")` and `("a-b", "c")`. Its 128-bit hash is what
//! duplicates are found by, over any number of rows
//! ([`DuplicateFinder`](super::duplicates::DuplicateFinder)).
//!
//! ```text
//! one part of the tuple, before it is hashed:   type (1 byte) · length of the text (4 bytes, little-endian) · text
//! ```
//!
//! The text of a part does not depend on how the column is stored (dictionary, width of an integer,
//! unit or zone of a time).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};

use super::custom_id::{CustomId, Nonce};
use crate::template::cell::{CellValue, cell};
use crate::template::nearest;

/// The section `[key]` of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySpec {
    /// The columns whose cells together are the key; none: the row's number is its key.
    pub columns: Vec<String>,
    /// What to do with rows that share a key.
    pub on_duplicate: OnDuplicate,
}

/// What to do with rows that share a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDuplicate {
    /// Nothing is sent. The default, since answers could not be assigned by their key.
    #[default]
    Error,
    /// Only the first row of a key is sent.
    First,
    /// All are sent; the later ones get a number.
    Number,
}

/// Why a job's key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source lacks the column.
    #[error(
        "the input has no column `{column}`, which `key.columns` names; it has {}",
        crate::template::listed(columns)
    )]
    UnknownColumn {
        /// The column.
        column: String,
        /// The column that comes nearest.
        nearest: Option<String>,
        /// All columns of the source.
        columns: Vec<String>,
    },
    /// The column is named twice.
    #[error("`key.columns` names `{column}` twice")]
    Twice {
        /// The column.
        column: String,
    },
    /// The column's type makes no key.
    #[error("the column `{column}` has the type {data_type}, which cannot be a key: {why}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
        /// Why not.
        why: &'static str,
    },
}

/// Why a row has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// A key cell is null.
    #[error("the key column `{column}` is null")]
    Null {
        /// The column.
        column: String,
    },
    /// A key cell is an empty text.
    #[error("the key column `{column}` is empty")]
    Empty {
        /// The column.
        column: String,
    },
}

/// The key of a job, checked against the columns of its source.
#[derive(Debug, Clone)]
pub struct Keys {
    columns: Arc<[String]>,
    /// Where the columns stand in the schema given to [`Keys::new`].
    places: Vec<usize>,
}

impl Keys {
    /// Checks the key's columns.
    ///
    /// # Errors
    /// [`Error`]: a column that does not exist, is named twice, or whose type has no text that is the same everywhere (floats) or no
    /// single one (lists, structs, maps).
    pub fn new(spec: &KeySpec, schema: &Schema) -> Result<Keys, Error> {
        let mut places = Vec::with_capacity(spec.columns.len());
        for column in &spec.columns {
            let place = schema.index_of(column).map_err(|_| Error::UnknownColumn {
                column: column.clone(),
                nearest: nearest(
                    column,
                    schema.fields().iter().map(|field| field.name().as_str()),
                ),
                columns: schema
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .collect(),
            })?;
            if places.contains(&place) {
                return Err(Error::Twice {
                    column: column.clone(),
                });
            }
            let data_type = schema.field(place).data_type();
            if let Some(why) = no_key(data_type) {
                return Err(Error::Type {
                    column: column.clone(),
                    data_type: data_type.clone(),
                    why,
                });
            }
            places.push(place);
        }
        Ok(Keys {
            columns: spec.columns.clone().into(),
            places,
        })
    }

    /// The key columns, in the order of the job.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The key of a row. `row` counts within the batch, `row_index` within the whole source.
    ///
    /// The batch may hold the columns in another order, or only some of them, as long as the key's
    /// are there.
    ///
    /// # Errors
    /// [`KeyFault`]: a key cell is null (or its column is not there) or an empty text.
    pub fn key(&self, batch: &RecordBatch, row: usize, row_index: u64) -> Result<RowKey, KeyFault> {
        let mut key = RowKey {
            columns: Arc::clone(&self.columns),
            typed: Vec::with_capacity(32),
            row_index,
        };
        if self.columns.is_empty() {
            key.push(b'r', &(row_index + 1).to_string());
        }
        for (column, &place) in self.columns.iter().zip(&self.places) {
            let in_place = batch
                .schema_ref()
                .fields()
                .get(place)
                .filter(|field| field.name() == column)
                .map(|_| place);
            let place = in_place.or_else(|| batch.schema_ref().index_of(column).ok());
            let cell = place.map_or(CellValue::Null, |place| cell(batch.column(place), row));
            key.push_cell(column, &cell)?;
        }
        Ok(key)
    }
}

/// Why a type makes no key, if it makes none.
fn no_key(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Dictionary(_, values) => no_key(values),
        DataType::RunEndEncoded(_, values) => no_key(values.data_type()),
        _ if data_type.is_floating() => {
            Some("equal numbers can differ in their last digit; round it, or read it as text")
        }
        _ if data_type.is_nested() => Some("it holds several values; take one of them"),
        DataType::Null => Some("it holds nothing but nulls"),
        DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_) => Some("it names no point in time"),
        _ => None,
    }
}

/// The key of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    columns: Arc<[String]>,
    /// The parts, as in the head of this file.
    typed: Vec<u8>,
    row_index: u64,
}

impl RowKey {
    fn push(&mut self, kind: u8, text: &str) {
        self.push_bytes(kind, text.as_bytes());
    }

    fn push_bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.typed.push(kind);
        // Arrow's cells are shorter than 4 GiB.
        self.typed
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.typed.extend_from_slice(bytes);
    }

    fn push_cell(&mut self, column: &str, cell: &CellValue<'_>) -> Result<(), KeyFault> {
        match cell {
            CellValue::Null | CellValue::Nested => {
                return Err(KeyFault::Null {
                    column: column.to_owned(),
                });
            }
            CellValue::Text("") | CellValue::Bytes([]) => {
                return Err(KeyFault::Empty {
                    column: column.to_owned(),
                });
            }
            CellValue::Text(text) => self.push(b't', text),
            CellValue::Bytes(bytes) => self.push_bytes(b'y', bytes),
            CellValue::Bool(value) => self.push(b'b', if *value { "true" } else { "false" }),
            CellValue::Int(value) => self.push(b'i', &value.to_string()),
            CellValue::UInt(value) => self.push(b'i', &value.to_string()),
            CellValue::Float(value) => self.push(b'f', &value.to_string()),
            CellValue::Decimal(text) => self.push(b'c', text),
            CellValue::Date(date) => self.push(b'd', &date.to_string()),
            CellValue::DateTime(at) => self.push(b's', &at.to_string()),
            CellValue::Instant(at, _) => self.push(b'z', &at.to_string()),
            CellValue::Time(time) => self.push(b'm', &time.to_string()),
            CellValue::Duration(duration) => self.push(b'u', &duration.to_string()),
            CellValue::Other(text) => self.push(b'o', text),
        }
        Ok(())
    }

    /// The parts, each with its type.
    fn parts(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.typed.as_slice();
        std::iter::from_fn(move || {
            let (&kind, after) = rest.split_first()?;
            let (len, after) = after.split_first_chunk::<4>()?;
            let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some((kind, part))
        })
    }

    /// 128 bits of BLAKE3 over the typed tuple.
    #[must_use]
    pub fn hash(&self) -> u128 {
        hash128(&self.typed)
    }

    /// The key as the user knows it: `tenant = "acme", ticket_id = "T-0042"`, or `row 17`. Long
    /// values are shortened.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.columns.is_empty() {
            return format!("row {}", self.row_index + 1);
        }
        let parts = self.columns.iter().zip(self.parts());
        parts
            .map(|(column, (kind, part))| format!("{column} = {}", shown(kind, part)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The key's values alone, joined by a comma, as the user types them; bytes in hexadecimal
    /// digits.
    #[must_use]
    pub fn plain(&self) -> String {
        let value = |(_, part): (u8, &[u8])| match std::str::from_utf8(part) {
            Ok(text) => text.to_owned(),
            Err(_) => part.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        self.parts().map(value).collect::<Vec<_>>().join(",")
    }

    /// The custom_id of the row.
    #[must_use]
    pub fn custom_id(&self, nonce: &Nonce) -> CustomId {
        CustomId::of_key(nonce, self.readable().as_deref(), self.hash())
    }

    /// The custom_id of the `n`-th row that repeats this key, counted from 1; always a hash.
    #[must_use]
    pub fn custom_id_numbered(&self, nonce: &Nonce, n: u32) -> CustomId {
        let mut typed = self.typed.clone();
        typed.push(b'n');
        typed.extend_from_slice(&n.to_le_bytes());
        CustomId::of_hash(nonce, hash128(&typed))
    }

    /// The key in the alphabet of custom_ids, if it is unique in it.
    fn readable(&self) -> Option<String> {
        let mut text = String::new();
        let is_single = self.columns.len() < 2;
        for (i, (kind, part)) in self.parts().enumerate() {
            let part = std::str::from_utf8(part).ok().filter(|_| kind != b'y')?;
            // In a composite key the hyphen stands between the parts, so none may hold one.
            if !is_single && !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return None;
            }
            if i > 0 {
                text.push('-');
            }
            text.push_str(part);
        }
        Some(text)
    }
}

fn hash128(bytes: &[u8]) -> u128 {
    let hash = blake3::hash(bytes);
    let (first, _) = hash.as_bytes().split_at(16);
    first
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u128::from(byte))
}

fn shown(kind: u8, part: &[u8]) -> String {
    const MOST: usize = 80;
    let shorten = |text: &str| match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    match (kind, std::str::from_utf8(part)) {
        (b'y', _) | (_, Err(_)) => {
            let hex: String = part
                .iter()
                .take(MOST / 2)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("0x{hex}{}", if part.len() > MOST / 2 { "…" } else { "" })
        }
        // As a Rust string, so that quotes and line feeds in a key cannot break a message apart.
        (b't', Ok(text)) => format!("{:?}", shorten(text)),
        (_, Ok(text)) => shorten(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
        Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray,
        TimestampMillisecondArray, TimestampSecondArray, UInt64Array,
    };
    use arrow::datatypes::Int8Type;
    use std::collections::HashMap;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap()
    }

    fn keys(columns: &[&str], batch: &RecordBatch) -> Result<Keys, Error> {
        let spec = KeySpec {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            ..KeySpec::default()
        };
        Keys::new(&spec, &batch.schema())
    }

    fn key_of(array: ArrayRef) -> RowKey {
        let batch = batch(vec![("k", array)]);
        keys(&["k"], &batch).unwrap().key(&batch, 0, 0).unwrap()
    }

    #[test]
    fn writes_single_keys_as_they_are() {
        let nonce = Nonce::new(0);
        let arrays: Vec<(ArrayRef, &str, &str)> = vec![
            (
                Arc::new(StringArray::from(vec!["T-0042"])),
                "T-0042",
                "k = \"T-0042\"",
            ),
            (
                Arc::new(StringArray::from(vec!["007"])),
                "007",
                "k = \"007\"",
            ),
            (Arc::new(Int64Array::from(vec![-7])), "-7", "k = -7"),
            (
                Arc::new(UInt64Array::from(vec![u64::MAX])),
                "18446744073709551615",
                "k = 18446744073709551615",
            ),
            (Arc::new(BooleanArray::from(vec![true])), "true", "k = true"),
            (
                Arc::new(Date32Array::from(vec![0])),
                "1970-01-01",
                "k = 1970-01-01",
            ),
        ];
        for (array, id, description) in arrays {
            let key = key_of(array);
            assert_eq!(key.custom_id(&nonce).as_str(), format!("00000000-{id}"));
            assert_eq!(key.describe(), description);
        }
    }

    #[test]
    fn hashes_keys_that_do_not_fit() {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a/b"])),
            Arc::new(StringArray::from(vec!["Zürich"])),
            Arc::new(BinaryArray::from_vec(vec![b"abc"])),
            Arc::new(TimestampSecondArray::from(vec![0])),
            Arc::new(
                Decimal128Array::from(vec![150])
                    .with_precision_and_scale(5, 2)
                    .unwrap(),
            ),
        ];
        for array in arrays {
            let key = key_of(array);
            assert_eq!(
                key.custom_id(&Nonce::new(0)).as_str(),
                format!("00000000-{:032x}", key.hash())
            );
        }
    }

    #[test]
    fn gives_the_same_key_however_a_column_is_stored() {
        let text: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec!["a"])),
            Arc::new(LargeStringArray::from(vec!["a"])),
            Arc::new(DictionaryArray::<Int8Type>::from_iter(["a"])),
        ];
        let int: [ArrayRef; 3] = [
            Arc::new(Int32Array::from(vec![1])),
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(UInt64Array::from(vec![1])),
        ];
        let time: [ArrayRef; 3] = [
            Arc::new(TimestampSecondArray::from(vec![1]).with_timezone("UTC")),
            Arc::new(TimestampMillisecondArray::from(vec![1000]).with_timezone("+00:00")),
            Arc::new(TimestampMillisecondArray::from(vec![1000]).with_timezone("+05:00")),
        ];
        for same in [text, int, time] {
            let hashes = same.map(|array| key_of(array).hash());
            assert_eq!(hashes, [hashes[0]; 3]);
        }
    }

    #[test]
    fn distinguishes_types_and_tuples() {
        let columns = |a: &str, b: &str| {
            let batch = batch(vec![
                ("a", Arc::new(StringArray::from(vec![a])) as ArrayRef),
                ("b", Arc::new(StringArray::from(vec![b]))),
            ]);
            keys(&["a", "b"], &batch)
                .unwrap()
                .key(&batch, 0, 0)
                .unwrap()
        };
        let mut seen = HashMap::new();
        for key in [
            key_of(Arc::new(StringArray::from(vec!["1"]))),
            key_of(Arc::new(Int64Array::from(vec![1]))),
            key_of(Arc::new(BinaryArray::from_vec(vec![b"1"]))),
            key_of(Arc::new(TimestampSecondArray::from(vec![1]))),
            key_of(Arc::new(
                TimestampSecondArray::from(vec![1]).with_timezone("UTC"),
            )),
            columns("a", "b-c"),
            columns("a-b", "c"),
            columns("ab", "c"),
            columns("a", "bc"),
        ] {
            assert_eq!(seen.insert(key.hash(), key.describe()), None);
        }
        let nonce = Nonce::new(0);
        assert_eq!(
            columns("acme", "T_1").custom_id(&nonce).as_str(),
            "00000000-acme-T_1"
        );
        assert_ne!(
            columns("a", "b-c").custom_id(&nonce),
            columns("a-b", "c").custom_id(&nonce)
        );
        assert_eq!(
            columns("acme", "T_1").describe(),
            "a = \"acme\", b = \"T_1\""
        );
    }

    #[test]
    fn numbers_repeated_keys() {
        let key = key_of(Arc::new(StringArray::from(vec!["a"])));
        let nonce = Nonce::new(0);
        let ids = [
            key.custom_id(&nonce),
            key.custom_id_numbered(&nonce, 1),
            key.custom_id_numbered(&nonce, 2),
        ];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(ids[1].as_str().len(), 8 + 1 + 32);
    }

    #[test]
    fn takes_the_row_number_where_no_column_is_named() {
        let batch = batch(vec![(
            "k",
            Arc::new(StringArray::from(vec!["x", "x"])) as ArrayRef,
        )]);
        let keys = keys(&[], &batch).unwrap();
        let key = keys.key(&batch, 1, 16).unwrap();
        assert_eq!(
            (
                key.describe().as_str(),
                key.custom_id(&Nonce::new(0)).as_str()
            ),
            ("row 17", "00000000-17")
        );
        assert_ne!(key.hash(), keys.key(&batch, 0, 15).unwrap().hash());
    }

    #[test]
    fn refuses_null_and_empty_cells() {
        let batch = batch(vec![(
            "k",
            Arc::new(StringArray::from(vec![None, Some("")])) as ArrayRef,
        )]);
        let keys = keys(&["k"], &batch).unwrap();
        assert_eq!(
            keys.key(&batch, 0, 0),
            Err(KeyFault::Null {
                column: "k".to_owned()
            })
        );
        assert_eq!(
            keys.key(&batch, 1, 1),
            Err(KeyFault::Empty {
                column: "k".to_owned()
            })
        );
    }

    #[test]
    fn finds_its_columns_in_a_projected_batch() {
        let whole = batch(vec![
            ("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("k", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
        ]);
        let keys = keys(&["k"], &whole).unwrap();
        let part = whole.project(&[1]).unwrap();
        assert_eq!(keys.key(&part, 0, 0), keys.key(&whole, 0, 0));
    }

    #[test]
    fn refuses_columns_that_make_no_key() {
        let batch = batch(vec![
            (
                "ticket_id",
                Arc::new(StringArray::from(vec!["a"])) as ArrayRef,
            ),
            ("f", Arc::new(Float64Array::from(vec![1.0]))),
        ]);
        assert!(matches!(keys(&["f"], &batch), Err(Error::Type { .. })));
        assert!(matches!(
            keys(&["f", "ticket_id"], &batch),
            Err(Error::Type { .. })
        ));
        assert_eq!(
            keys(&["ticket_id", "ticket_id"], &batch).err(),
            Some(Error::Twice {
                column: "ticket_id".to_owned()
            })
        );
        let nearest = Some("ticket_id".to_owned());
        let columns = batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(
            keys(&["ticketid"], &batch).err(),
            Some(Error::UnknownColumn {
                column: "ticketid".to_owned(),
                nearest,
                columns
            })
        );
    }

    #[test]
    fn describes_awkward_keys_on_one_line() {
        for (text, shown) in [
            ("a\n\"b\"", "k = \"a\\n\\\"b\\\"\"".to_owned()),
            (&"é".repeat(90), format!("k = \"{}…\"", "é".repeat(80))),
        ] {
            assert_eq!(
                key_of(Arc::new(StringArray::from(vec![text]))).describe(),
                shown
            );
        }
        assert_eq!(
            key_of(Arc::new(BinaryArray::from_vec(vec![&[0, 255]]))).describe(),
            "k = 0x00ff"
        );
    }
}
