//! The source's cells on their way through the spool: what Parquet cannot give back exactly, and
//! how much room cells take.
//!
//! Parquet gives most columns back as they were. A column of another type (unions, run ends,
//! intervals of months and nanoseconds, list views, dictionaries of structs) is *packed*: a binary
//! column whose first value in a write holds the cells of that write as an Arrow IPC stream, the
//! other values being null. So a spool carries every type that Arrow has.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::{
    BinaryViewType, ByteViewType, DataType, Field, FieldRef, IntervalUnit, Schema, StringViewType,
};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::{
    ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, encode_arrow_schema, parquet_to_arrow_schema,
};
use parquet::file::metadata::KeyValue;

use crate::border;

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
    let hint = vec![KeyValue::new(
        ARROW_SCHEMA_META_KEY.to_owned(),
        encode_arrow_schema(&schema),
    )];
    border::guarded(|| parquet_to_arrow_schema(&descriptor, Some(&hint)))
        .is_ok_and(|read| read.fields() == schema.fields())
}

/// Types whose cells the Parquet codec is known to write and read; the rest it refuses, some of it
/// by a panic.
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

/// Whether the type holds a dictionary whose keys are so narrow that two stretches cannot share a
/// dictionary.
pub(super) fn has_narrow_keys(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Dictionary(key, value) => {
            key.primitive_width().is_some_and(|bytes| bytes <= 2) || has_narrow_keys(value)
        }
        T::FixedSizeList(item, _) | T::List(item) | T::LargeList(item) | T::Map(item, _) => {
            has_narrow_keys(item.data_type())
        }
        T::ListView(item) | T::LargeListView(item) | T::RunEndEncoded(_, item) => {
            has_narrow_keys(item.data_type())
        }
        T::Struct(fields) => fields
            .iter()
            .any(|field| has_narrow_keys(field.data_type())),
        T::Union(fields, _) => fields
            .iter()
            .any(|(_, field)| has_narrow_keys(field.data_type())),
        _ => false,
    }
}

/// The column that stands in the file for a packed one.
pub(super) fn packed_field(name: &str) -> Field {
    Field::new(name, DataType::Binary, true)
}

/// Packs cells: as many values as cells, all null but the first.
pub(super) fn pack(field: &FieldRef, cells: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(cells)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&batch)?;
    let stream = writer.into_inner()?;
    let values = (0..cells.len()).map(|row| (row == 0).then_some(stream.as_slice()));
    Ok(Arc::new(values.collect::<BinaryArray>()))
}

/// Unpacks what one or several calls of [`pack`] made.
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

/// About how many bytes the cells of a column take, a slice counted as a slice.
///
/// Buffers shared by cells (dictionaries) are not counted, since they do not grow with the rows.
pub(super) fn bytes_of(cells: &dyn Array) -> usize {
    use DataType as T;
    let rows = cells.len();
    match cells.data_type() {
        T::Null => 0,
        T::Boolean => rows.div_ceil(8),
        T::Utf8 => span(cells.as_string::<i32>().value_offsets()) + 4 * rows,
        T::Binary => span(cells.as_binary::<i32>().value_offsets()) + 4 * rows,
        T::LargeUtf8 => span(cells.as_string::<i64>().value_offsets()) + 8 * rows,
        T::LargeBinary => span(cells.as_binary::<i64>().value_offsets()) + 8 * rows,
        T::Utf8View => view_bytes::<StringViewType>(cells),
        T::BinaryView => view_bytes::<BinaryViewType>(cells),
        T::Dictionary(..) => bytes_of(cells.as_any_dictionary().keys()),
        T::Struct(_) => cells
            .as_struct()
            .columns()
            .iter()
            .map(|column| bytes_of(column))
            .sum(),
        T::List(_) => list_bytes(
            cells.as_list::<i32>().value_offsets(),
            cells.as_list::<i32>().values(),
        ),
        T::LargeList(_) => list_bytes(
            cells.as_list::<i64>().value_offsets(),
            cells.as_list::<i64>().values(),
        ),
        T::FixedSizeList(..) => bytes_of(cells.as_fixed_size_list().values()),
        T::Map(..) => list_bytes(
            cells.as_map().value_offsets(),
            &(Arc::new(cells.as_map().entries().clone()) as ArrayRef),
        ),
        other => other.primitive_width().unwrap_or(16) * rows,
    }
}

fn span<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
    match offsets {
        [first, .., last] => (*last - *first).as_usize(),
        _ => 0,
    }
}

fn view_bytes<T: ByteViewType>(cells: &dyn Array) -> usize {
    cells
        .as_byte_view::<T>()
        .lengths()
        .map(|bytes| bytes as usize + 16)
        .sum()
}

fn list_bytes<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef) -> usize {
    let first = offsets.first().map_or(0, |first| first.as_usize());
    bytes_of(&values.slice(first, span(offsets))) + size_of_val(offsets)
}
