//! The bridge between arrow-rs and polars: the Arrow C data interface, both ways.
//!
//! The two libraries have the same memory layout behind different Rust types, so a column is passed
//! by its pointers and the function that frees them. polars has fewer types: [`polars_type`] is the
//! type a column is cast to before it is passed, [`result_type`] the type it is cast to when it
//! comes back.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullArray, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use polars::prelude::{CompatLevel, PolarsError, Series};
use polars_arrow::ffi::{self, ArrowArray, ArrowSchema};

/// The type a column is cast to for polars; `None` where there is none.
pub(super) fn polars_type(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match data_type {
        T::Null | T::Boolean | T::Date32 => data_type.clone(),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt32 | T::UInt64 => data_type.clone(),
        // Absent from the slim build of polars.
        T::UInt8 | T::UInt16 => T::UInt32,
        T::Float32 | T::Float64 => data_type.clone(),
        T::Float16 => T::Float32,
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => T::Float64,
        // The views share the text with the original; from `Utf8`, polars would copy it.
        T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8View,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::BinaryView,
        T::Date64 => T::Date32,
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Nanosecond),
        T::Duration(unit) => T::Duration(at_least_milliseconds(*unit)),
        T::Timestamp(unit, zone) => {
            T::Timestamp(at_least_milliseconds(*unit), zone.as_ref().map(named_zone))
        }
        T::Dictionary(_, values) => polars_type(values)?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            T::LargeList(polars_field(item)?)
        }
        T::Struct(fields) if !fields.is_empty() => {
            T::Struct(fields.iter().map(polars_field).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn polars_field(field: &FieldRef) -> Option<FieldRef> {
    // polars accepts a column of nulls in a list or struct, but cannot return one.
    if field.data_type().is_null() {
        return None;
    }
    Some(Arc::new(Field::new(
        field.name(),
        polars_type(field.data_type())?,
        true,
    )))
}

/// polars has no seconds.
fn at_least_milliseconds(unit: TimeUnit) -> TimeUnit {
    if unit == TimeUnit::Second {
        TimeUnit::Millisecond
    } else {
        unit
    }
}

/// polars has zones by name only. An offset does not change the instants, so UTC is the same.
fn named_zone(zone: &Arc<str>) -> Arc<str> {
    if zone.starts_with(['+', '-']) {
        "UTC".into()
    } else {
        Arc::clone(zone)
    }
}

/// The type of a result: the same whatever type polars used inside.
pub(super) fn result_type(data_type: &DataType) -> DataType {
    use DataType as T;
    let result_field = |field: &FieldRef| {
        Arc::new(Field::new(
            field.name(),
            result_type(field.data_type()),
            true,
        ))
    };
    match data_type {
        T::Utf8View | T::LargeUtf8 => T::Utf8,
        T::BinaryView | T::LargeBinary => T::Binary,
        T::List(item) | T::LargeList(item) => T::List(result_field(&Arc::new(
            item.as_ref().clone().with_name("item"),
        ))),
        T::FixedSizeList(item, size) => T::FixedSizeList(result_field(item), *size),
        T::Struct(fields) => T::Struct(fields.iter().map(result_field).collect()),
        other => other.clone(),
    }
}

/// Passes an arrow column to polars; `None` where polars does not have its type.
#[expect(unsafe_code, reason = "the Arrow C data interface hands over pointers")]
pub(super) fn to_polars(name: &str, array: &ArrayRef) -> Option<Series> {
    // A cast to the same type copies nothing.
    let array = cast(array, &polars_type(array.data_type())?).ok()?;
    let (array, schema) = arrow::ffi::to_ffi(&array.to_data()).ok()?;
    // SAFETY: both structs are the `ArrowArray` of the C data interface, `#[repr(C)]` with the same
    // fields in the same order, and transmute checks that they are of one size. Moving it moves the
    // duty to call `release` with it, once.
    let array = unsafe { std::mem::transmute::<FFI_ArrowArray, ArrowArray>(array) };
    // SAFETY: as above, for `ArrowSchema`.
    let schema = unsafe { std::mem::transmute::<FFI_ArrowSchema, ArrowSchema>(schema) };
    // SAFETY: the schema was just exported by arrow-rs, so it is valid, and it lives until the end
    // of this function.
    let field = unsafe { ffi::import_field_from_c(&schema) }.ok()?;
    // SAFETY: the array was exported together with that schema, so its buffers are those that the
    // type asks for.
    let array = unsafe { ffi::import_array_from_c(array, field.dtype) }.ok()?;
    Series::from_arrow(name.into(), array).ok()
}

/// Takes a column from polars, as one array of a [`result_type`].
#[expect(unsafe_code, reason = "the Arrow C data interface hands over pointers")]
pub(super) fn to_arrow(series: &Series) -> Result<ArrayRef, PolarsError> {
    if series.dtype().is_null() {
        // The interface has no buffers for nulls, but polars exports one.
        return Ok(Arc::new(NullArray::new(series.len())));
    }
    let array = series.rechunk().to_arrow(0, CompatLevel::newest());
    let field =
        polars_arrow::datatypes::Field::new(series.name().clone(), array.dtype().clone(), true);
    let schema = ffi::export_field_to_c(&field);
    let array = ffi::export_array_to_c(array);
    // SAFETY: both structs are the `ArrowArray` of the C data interface, `#[repr(C)]` with the same
    // fields in the same order, and transmute checks that they are of one size. Moving it moves the
    // duty to call `release` with it, once.
    let array = unsafe { std::mem::transmute::<ArrowArray, FFI_ArrowArray>(array) };
    // SAFETY: as above, for `ArrowSchema`.
    let schema = unsafe { std::mem::transmute::<ArrowSchema, FFI_ArrowSchema>(schema) };
    // SAFETY: polars exported the array and its schema together just now, so the buffers are those
    // that the type asks for.
    let data = unsafe { arrow::ffi::from_ffi(array, &schema) };
    let array =
        make_array(data.map_err(|fault| PolarsError::InvalidOperation(fault.to_string().into()))?);
    cast(&array, &result_type(array.data_type()))
        .map_err(|fault| PolarsError::InvalidOperation(fault.to_string().into()))
}

#[cfg(test)]
mod tests;
