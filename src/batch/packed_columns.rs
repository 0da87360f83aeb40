//! Source columns that Parquet cannot give back exactly.
//!
//! Parquet gives most columns back as they were. A column of another type (unions, run ends,
//! intervals of months and nanoseconds, list views, dictionaries of structs) is *packed*: a binary
//! column whose first value in a write holds the cells of that write as an Arrow IPC stream; the
//! other values are null. So a spool file can hold every type that Arrow has.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::{
    ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, encode_arrow_schema, parquet_to_arrow_schema,
};
use parquet::file::metadata::KeyValue;

use crate::border;
use crate::source::any_in;

/// Whether Parquet gives the column back with the same type, nullability and metadata, and the same
/// cells.
pub(super) fn survives_parquet(field: &FieldRef) -> bool {
    if !is_known(field.data_type()) {
        return false;
    }
    let schema = Schema::new(vec![Arc::clone(field)]);
    let Ok(descriptor) = border::guarded(|| ArrowSchemaConverter::new().convert(&schema)) else {
        return false;
    };
    // The reader restores Arrow types from this entry of the file's metadata.
    let hint = vec![KeyValue::new(
        ARROW_SCHEMA_META_KEY.to_owned(),
        encode_arrow_schema(&schema),
    )];
    border::guarded(|| parquet_to_arrow_schema(&descriptor, Some(&hint)))
        .is_ok_and(|read| read.fields() == schema.fields())
}

/// Whether the Parquet codec is known to write and read cells of this type. It refuses the other
/// types, some of them by a panic.
fn is_known(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::FixedSizeBinary(width) => *width > 0,
        T::FixedSizeList(item, length) => *length > 0 && is_known(item.data_type()),
        T::List(item) | T::LargeList(item) | T::Map(item, _) => is_known(item.data_type()),
        T::Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|field| is_known(field.data_type()))
        }
        T::Dictionary(_, value) => {
            matches!(**value, T::Utf8 | T::LargeUtf8 | T::Binary | T::LargeBinary)
        }
        T::Interval(unit) => *unit != IntervalUnit::MonthDayNano,
        T::Union(..) | T::RunEndEncoded(..) | T::ListView(_) | T::LargeListView(_) => false,
        _ => true,
    }
}

/// Whether the type contains a dictionary whose keys are so narrow that the dictionaries of two
/// writes may not fit into one: each write then gets a row group of its own.
pub(super) fn has_narrow_keys(data_type: &DataType) -> bool {
    any_in(
        data_type,
        |part| matches!(part, DataType::Dictionary(key, _) if key.primitive_width().is_some_and(|bytes| bytes <= 2)),
    )
}

/// The column that replaces a packed one in the file.
pub(super) fn packed_field(name: &str) -> Field {
    Field::new(name, DataType::Binary, true)
}

/// Packs cells into one value per cell, all of them null except the first.
pub(super) fn pack(field: &FieldRef, cells: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(cells)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&batch)?;
    let stream = writer.into_inner()?;
    let values = (0..cells.len()).map(|row| (row == 0).then_some(stream.as_slice()));
    Ok(Arc::new(values.collect::<BinaryArray>()))
}

/// Unpacks the results of one or several calls of [`pack`].
pub(super) fn unpack(packed: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let mut parts = Vec::new();
    for stream in packed.as_binary::<i32>().iter().flatten() {
        for batch in StreamReader::try_new(Cursor::new(stream), None)? {
            parts.push(Arc::clone(batch?.column(0)));
        }
    }
    if let [part] = parts.as_slice() {
        return Ok(Arc::clone(part));
    }
    arrow::compute::concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}
