//! The memory that the cells of a column take.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType};

/// The approximate bytes that the cells of a column take; of a slice, only those of the slice.
///
/// Buffers that cells share (dictionaries) are not counted, since they do not grow with the rows.
pub(super) fn cell_bytes(cells: &dyn Array) -> usize {
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
        T::Dictionary(..) => cell_bytes(cells.as_any_dictionary().keys()),
        T::Struct(_) => cells
            .as_struct()
            .columns()
            .iter()
            .map(|column| cell_bytes(column))
            .sum(),
        T::List(_) => list_bytes(
            cells.as_list::<i32>().value_offsets(),
            cells.as_list::<i32>().values(),
        ),
        T::LargeList(_) => list_bytes(
            cells.as_list::<i64>().value_offsets(),
            cells.as_list::<i64>().values(),
        ),
        T::FixedSizeList(..) => cell_bytes(cells.as_fixed_size_list().values()),
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
    cell_bytes(&values.slice(first, span(offsets))) + size_of_val(offsets)
}
