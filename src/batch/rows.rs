//! The rows of a spool file: seven columns of rowmill's own, followed by the source's columns, and
//! a last one with the estimate of each request.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, RecordBatch,
    RecordBatchOptions, StringArray, StringBuilder, UInt64Array, UInt64Builder,
};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt64Type};
use arrow::error::ArrowError;

use super::cell_bytes::cell_bytes;

/// Names of rowmill's own columns, which come first. Columns are found by position, so a source
/// column may have one of these names too.
pub(super) const OWN_COLUMNS: [&str; 7] = [
    "rowmill:row_index",
    "rowmill:custom_id",
    "rowmill:request_hash",
    "rowmill:fragment",
    "rowmill:unsent",
    "rowmill:key",
    "rowmill:tag",
];
/// Name of the column behind the source's columns.
pub(super) const ESTIMATE: &str = "rowmill:estimate";
pub(super) const CUSTOM_ID: usize = 1;
pub(super) const FRAGMENT: usize = 3;
pub(super) const UNSENT: usize = 4;
pub(super) const TAG: usize = 6;

/// Consecutive rows as they are written and read back: arrays of one length.
#[derive(Debug, Clone, PartialEq)]
pub struct SpoolRows {
    /// Position of the row in the source, counted from 0; ascending.
    pub row_index: UInt64Array,
    /// The id of the request; a row without a request may have one.
    pub custom_id: StringArray,
    /// Hash of the request, for comparing runs.
    pub request_hash: StringArray,
    /// The row's own bytes of `params`, following the head; null where there is no request.
    pub fragment: BinaryArray,
    /// Why there is no request, as `word: sentence`; null where there is a request.
    pub unsent: StringArray,
    /// The row's key, as messages show it.
    pub key: StringArray,
    /// The row's tag, where the job sets one; it is not sent.
    pub tag: StringArray,
    /// What each request was estimated at, as bytes that only the estimates read; null where there
    /// is no request, or no estimate of it.
    pub estimate: BinaryArray,
    /// The source's columns.
    pub columns: RecordBatch,
}

impl SpoolRows {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row_index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Part of the rows, without copying.
    ///
    /// # Panics
    /// When `offset + length` is more than [`SpoolRows::len`].
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> SpoolRows {
        SpoolRows {
            row_index: self.row_index.slice(offset, length),
            custom_id: self.custom_id.slice(offset, length),
            request_hash: self.request_hash.slice(offset, length),
            fragment: self.fragment.slice(offset, length),
            unsent: self.unsent.slice(offset, length),
            key: self.key.slice(offset, length),
            tag: self.tag.slice(offset, length),
            estimate: self.estimate.slice(offset, length),
            columns: self.columns.slice(offset, length),
        }
    }

    /// The rows that `keep` marks.
    ///
    /// # Errors
    /// When `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<SpoolRows, ArrowError> {
        let own_columns = filter_record_batch(
            &RecordBatch::try_new(Arc::new(Schema::new(own_fields())), self.own_columns())?,
            keep,
        )?;
        let estimate = filter(&self.estimate, keep)?.as_binary().clone();
        Ok(SpoolRows::from_own_columns(
            own_columns.columns(),
            estimate,
            filter_record_batch(&self.columns, keep)?,
        ))
    }

    /// The same rows without the source's columns.
    #[must_use]
    pub fn without_columns(&self) -> SpoolRows {
        SpoolRows {
            columns: no_columns(self.len()),
            ..self.clone()
        }
    }

    pub(super) fn own_columns(&self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.row_index.clone()),
            Arc::new(self.custom_id.clone()),
            Arc::new(self.request_hash.clone()),
            Arc::new(self.fragment.clone()),
            Arc::new(self.unsent.clone()),
            Arc::new(self.key.clone()),
            Arc::new(self.tag.clone()),
        ]
    }

    /// The rows from columns whose types have been checked.
    pub(super) fn from_own_columns(
        own_columns: &[ArrayRef],
        estimate: BinaryArray,
        columns: RecordBatch,
    ) -> SpoolRows {
        SpoolRows {
            row_index: own_columns[0].as_primitive::<UInt64Type>().clone(),
            custom_id: own_columns[CUSTOM_ID].as_string().clone(),
            request_hash: own_columns[2].as_string().clone(),
            fragment: own_columns[FRAGMENT].as_binary().clone(),
            unsent: own_columns[4].as_string().clone(),
            key: own_columns[5].as_string().clone(),
            tag: own_columns[TAG].as_string().clone(),
            estimate,
            columns,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let own_columns: usize = self
            .own_columns()
            .iter()
            .map(|column| cell_bytes(column))
            .sum();
        own_columns
            + cell_bytes(&(Arc::new(self.estimate.clone()) as ArrayRef))
            + self
                .columns
                .columns()
                .iter()
                .map(|column| cell_bytes(column))
                .sum::<usize>()
    }
}

/// Builds [`SpoolRows`] row by row.
#[derive(Debug, Default)]
pub struct SpoolRowsBuilder {
    row_index: UInt64Builder,
    custom_id: StringBuilder,
    request_hash: StringBuilder,
    fragment: BinaryBuilder,
    unsent: StringBuilder,
    key: StringBuilder,
    tag: StringBuilder,
    estimate: BinaryBuilder,
    /// The tag of the next row.
    next_tag: Option<String>,
    /// The estimate of the next row; empty where there is none.
    next_estimate: Vec<u8>,
}

impl SpoolRowsBuilder {
    /// Gives the row that is added next a tag.
    pub fn tag_next(&mut self, tag: Option<&str>) {
        self.next_tag = tag.map(str::to_owned);
    }

    /// A buffer for the estimate of the row that is added next; what is left empty is null.
    pub fn estimate_next(&mut self) -> &mut Vec<u8> {
        &mut self.next_estimate
    }

    /// Adds a row that is sent.
    pub fn push_request(
        &mut self,
        row_index: u64,
        key: &str,
        custom_id: &str,
        request_hash: &str,
        fragment: &[u8],
    ) {
        self.row_index.append_value(row_index);
        self.key.append_value(key);
        self.custom_id.append_value(custom_id);
        self.request_hash.append_value(request_hash);
        self.fragment.append_value(fragment);
        self.unsent.append_null();
        self.tag.append_option(self.next_tag.take());
        if self.next_estimate.is_empty() {
            self.estimate.append_null();
        } else {
            self.estimate.append_value(&self.next_estimate);
            self.next_estimate.clear();
        }
    }

    /// Adds a row that is not sent, with the reason as text; it may have a request all the same,
    /// which was answered before.
    pub fn push_unsent(
        &mut self,
        row_index: u64,
        key: &str,
        custom_id: Option<&str>,
        request_hash: Option<&str>,
        reason: &str,
    ) {
        self.row_index.append_value(row_index);
        self.key.append_value(key);
        self.custom_id.append_option(custom_id);
        self.request_hash.append_option(request_hash);
        self.fragment.append_null();
        self.unsent.append_value(reason);
        self.tag.append_option(self.next_tag.take());
        self.estimate.append_null();
        self.next_estimate.clear();
    }

    /// Rows added since the last [`SpoolRowsBuilder::finish`].
    #[must_use]
    pub fn len(&self) -> usize {
        ArrayBuilder::len(&self.row_index)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the fragments added since the last [`SpoolRowsBuilder::finish`].
    #[must_use]
    pub fn fragment_bytes(&self) -> usize {
        self.fragment.values_slice().len()
    }

    /// The rows added so far, with the source's columns of the same rows; the builder is empty
    /// afterwards.
    #[must_use]
    pub fn finish(&mut self, columns: RecordBatch) -> SpoolRows {
        SpoolRows {
            row_index: self.row_index.finish(),
            custom_id: self.custom_id.finish(),
            request_hash: self.request_hash.finish(),
            fragment: self.fragment.finish(),
            unsent: self.unsent.finish(),
            key: self.key.finish(),
            tag: self.tag.finish(),
            estimate: self.estimate.finish(),
            columns,
        }
    }

    /// As [`SpoolRowsBuilder::finish`], without source columns.
    #[must_use]
    pub fn finish_without_columns(&mut self) -> SpoolRows {
        let columns = no_columns(self.len());
        self.finish(columns)
    }
}

pub(super) fn own_fields() -> [FieldRef; 7] {
    let [
        row_index,
        custom_id,
        request_hash,
        fragment,
        unsent,
        key,
        tag,
    ] = OWN_COLUMNS;
    [
        Field::new(row_index, DataType::UInt64, false),
        Field::new(custom_id, DataType::Utf8, true),
        Field::new(request_hash, DataType::Utf8, true),
        Field::new(fragment, DataType::Binary, true),
        Field::new(unsent, DataType::Utf8, true),
        Field::new(key, DataType::Utf8, false),
        Field::new(tag, DataType::Utf8, true),
    ]
    .map(Arc::new)
}

pub(super) fn estimate_field() -> FieldRef {
    Arc::new(Field::new(ESTIMATE, DataType::Binary, true))
}

fn no_columns(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .expect("no columns fit no fields")
}
