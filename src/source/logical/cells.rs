//! Cells of files and of rows: UUIDs as bytes and as text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, FixedSizeListArray,
    GenericListArray, MapArray, OffsetSizeTrait, StringBuilder, StructArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use super::fields::as_read;
use super::kind::{LogicalKind, logical_kind};

/// The cells of a column of a file as they are in the rows of a source; `field` is that of the
/// file.
pub(in crate::source) fn cells_as_read(
    cells: &ArrayRef,
    field: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let to = as_read(field);
    if to.data_type() == field.data_type() {
        Ok(Arc::clone(cells))
    } else {
        convert_cells(cells, &to, &uuid_text)
    }
}

/// The cells of a column of the rows as they are in a file, where the field is `to`.
pub(crate) fn stored_cells(cells: &ArrayRef, to: &FieldRef) -> Result<ArrayRef, ArrowError> {
    convert_cells(cells, to, &uuid_bytes)
}

/// Converts an array to the type of a field: UUIDs by `leaf`, all else by Arrow's casts.
fn convert_cells(
    cells: &ArrayRef,
    to: &FieldRef,
    leaf: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    if cells.data_type() == to.data_type() {
        return Ok(Arc::clone(cells));
    }
    if cells.data_type().is_nested() != to.data_type().is_nested() {
        return cast_with_options(
            cells,
            to.data_type(),
            &CastOptions {
                safe: false,
                ..CastOptions::default()
            },
        );
    }
    if logical_kind(to) == Some(LogicalKind::Uuid) {
        return leaf(cells);
    }
    Ok(match (cells.data_type(), to.data_type()) {
        (DataType::Struct(_), DataType::Struct(members)) => {
            let from = cells.as_struct();
            let columns = from
                .columns()
                .iter()
                .zip(members)
                .map(|(column, to)| convert_cells(column, to, leaf));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new_with_length(
                members.clone(),
                columns,
                from.nulls().cloned(),
                from.len(),
            )?)
        }
        (DataType::List(_), DataType::List(item)) => list::<i32>(cells, item, leaf)?,
        (DataType::LargeList(_), DataType::LargeList(item)) => list::<i64>(cells, item, leaf)?,
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, length)) => {
            let from = cells.as_fixed_size_list();
            let values = convert_cells(from.values(), item, leaf)?;
            let nulls = from.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new_with_length(
                Arc::clone(item),
                *length,
                values,
                nulls,
                from.len(),
            )?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let from = cells.as_map();
            let pairs: ArrayRef = Arc::new(from.entries().clone());
            let pairs = convert_cells(&pairs, entries, leaf)?.as_struct().clone();
            Arc::new(MapArray::try_new(
                Arc::clone(entries),
                from.offsets().clone(),
                pairs,
                from.nulls().cloned(),
                *sorted,
            )?)
        }
        // Not the default options: a value that does not fit must be an error, never a null.
        _ => cast_with_options(
            cells,
            to.data_type(),
            &CastOptions {
                safe: false,
                ..CastOptions::default()
            },
        )?,
    })
}

fn list<O: OffsetSizeTrait>(
    cells: &ArrayRef,
    item: &FieldRef,
    leaf: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let from = cells.as_list::<O>();
    let values = convert_cells(from.values(), item, leaf)?;
    Ok(Arc::new(GenericListArray::try_new(
        Arc::clone(item),
        from.offsets().clone(),
        values,
        from.nulls().cloned(),
    )?))
}

/// UUIDs as text, from 16 bytes each.
fn uuid_text(cells: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let cells = cast(cells, &DataType::FixedSizeBinary(16))?;
    let bytes = cells.as_fixed_size_binary();
    let mut texts = StringBuilder::with_capacity(bytes.len(), bytes.len() * 36);
    let mut text = [b'-'; 36];
    for row in 0..bytes.len() {
        if bytes.is_null(row) {
            texts.append_null();
            continue;
        }
        let mut at = 0;
        for (i, byte) in bytes.value(row).iter().enumerate() {
            at += usize::from(matches!(i, 4 | 6 | 8 | 10));
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        texts.append_value(std::str::from_utf8(&text).expect("digits and dashes are ASCII"));
    }
    Ok(Arc::new(texts.finish()))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// UUIDs as 16 bytes each, from text.
pub(super) fn uuid_bytes(cells: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let cells = cast(cells, &DataType::Utf8)?;
    let texts = cells.as_string::<i32>();
    let mut bytes = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts {
        match text {
            None => bytes.append_null(),
            Some(text) => match parsed(text) {
                Some(value) => bytes.append_value(value)?,
                None => {
                    return Err(ArrowError::CastError(
                        "a text of a UUID column is not a UUID".to_owned(),
                    ));
                }
            },
        }
    }
    let bytes: FixedSizeBinaryArray = bytes.finish();
    Ok(Arc::new(bytes))
}

fn parsed(text: &str) -> Option<[u8; 16]> {
    let mut digits = text
        .bytes()
        .filter(|byte| *byte != b'-')
        .map(|byte| char::from(byte).to_digit(16));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}
