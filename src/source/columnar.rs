//! What Parquet and Arrow IPC have in common: calls into their reader crates, and batches of a file
//! as the source's schema wants them.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

use super::convert::{ConvertError, convert};
use super::{Error, Format, LargeItem, logical, types};
use crate::border;

/// Calls a reader crate; an error or a panic in it is an error of this file.
pub(super) fn guarded<T, E>(
    path: &Path,
    format: Format,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Corrupt {
        path: path.to_path_buf(),
        format,
        source,
    };
    match border::guard(call) {
        Ok(result) => result.map_err(|e| failed(Box::new(e))),
        Err(panicked) => Err(failed(Box::new(panicked))),
    }
}

pub(super) fn corrupt(path: &Path, format: Format, problem: &str) -> Error {
    Error::Corrupt {
        path: path.to_path_buf(),
        format,
        source: problem.into(),
    }
}

/// Selects the columns of `schema` from a batch and converts them to its types.
pub(super) fn fit(
    path: &Path,
    batch: &RecordBatch,
    schema: &SchemaRef,
    rows_before: u64,
) -> Result<RecordBatch, Error> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let place = batch
            .schema_ref()
            .index_of(field.name())
            .map_err(Error::Batch)?;
        let column = batch.column(place);
        // Where the job asks for bytes, a UUID stays as it is in the file.
        let as_bytes = matches!(field.data_type(), DataType::Binary);
        let as_text = (!as_bytes)
            .then(|| logical::cells_as_read(column, &batch.schema_ref().fields()[place]));
        let column = as_text
            .transpose()
            .map_err(Error::Batch)?
            .unwrap_or_else(|| Arc::clone(column));
        let column = convert(&column, field.data_type()).map_err(|error| match error {
            ConvertError::Row(row) => Error::Cell {
                path: path.to_path_buf(),
                row: rows_before + row as u64 + 1,
                line: None,
                column: field.name().clone(),
                expected: types::name(field.data_type()),
            },
            ConvertError::Types(e) => Error::Batch(e),
        })?;
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::Batch)
}

/// Rejects texts and bytes beyond the limit: not every encoding shows their length before they are
/// decoded.
pub(super) fn check_cells(
    path: &Path,
    batch: &RecordBatch,
    rows_before: u64,
    limit: u64,
) -> Result<(), Error> {
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        // A column below the limit as a whole has no cell beyond it.
        if column.get_buffer_memory_size() as u64 <= limit {
            continue;
        }
        let Some(lengths) = length(column)
            .ok()
            .filter(|_| !matches!(column.data_type(), DataType::Dictionary(..)))
        else {
            continue;
        };
        let Ok(lengths) = cast(&lengths, &DataType::Int64) else {
            continue;
        };
        let lengths = lengths.as_primitive::<Int64Type>();
        let longest = (0..lengths.len())
            .filter(|row| lengths.is_valid(*row))
            .max_by_key(|row| lengths.value(*row));
        let longest = longest
            .map(|row| (row, lengths.value(row).unsigned_abs()))
            .filter(|(_, bytes)| *bytes > limit);
        if let (Some((row, bytes)), false) = (longest, column.data_type().is_nested()) {
            let (path, column, row) = (
                path.to_path_buf(),
                field.name().clone(),
                Some(rows_before + row as u64 + 1),
            );
            return Err(Error::TooLarge {
                path,
                row,
                column,
                item: LargeItem::Cell,
                bytes,
                limit,
            });
        }
    }
    Ok(())
}
