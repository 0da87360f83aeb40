//! The type a column has in a file, by format.

use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::schema::ColumnOrigin;
use super::{Error, Format, cells, parquet};
use crate::border;
use crate::source::logical;

/// The field as the format holds it.
pub(super) fn in_file(
    format: Format,
    origin: ColumnOrigin,
    field: &FieldRef,
) -> Result<FieldRef, Error> {
    let field = &if origin == ColumnOrigin::Input && !format.is_text() {
        logical::stored(field)
    } else {
        Arc::clone(field)
    };
    let unsupported = |source| Error::Unsupported {
        column: field.name().clone(),
        data_type: field.data_type().clone(),
        format,
        source,
    };
    let data_type = match origin {
        // Its dictionaries are the same in every batch, and so an IPC file can hold them.
        ColumnOrigin::Answer if format == Format::Ipc => field.data_type().clone(),
        _ => file_type(format, field.data_type()),
    };
    if data_type != *field.data_type() && !can_cast_types(field.data_type(), &data_type) {
        return Err(unsupported(None));
    }
    let field = if data_type == *field.data_type() {
        field.clone()
    } else {
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match format {
        Format::Parquet => parquet::check(&field).map_err(|e| unsupported(Some(e)))?,
        Format::Csv | Format::Tsv | Format::Jsonl => {
            border::guard(|| cells::check(&field))
                .map_err(Into::into)
                .flatten()
                .map_err(|e| unsupported(Some(e)))?;
        }
        Format::Ipc => {}
    }
    Ok(field)
}

/// The type a column has in a format, where it cannot stay what it is.
///
/// An IPC file holds one dictionary a column, while every batch of the input may bring another, so
/// those of the input are unpacked there (a growing dictionary is allowed by the format, but not
/// read by all). Parquet remembers dictionaries, but not runs. As text, all that counts are the
/// values; and a time with a named zone is written in UTC, because the names are not known here.
fn file_type(format: Format, data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(file_type(format, field.data_type())),
        )
    };
    match data_type {
        DataType::Dictionary(_, values) if format != Format::Parquet => file_type(format, values),
        DataType::RunEndEncoded(_, values) if format != Format::Ipc => {
            file_type(format, values.data_type())
        }
        DataType::Timestamp(unit, Some(zone))
            if format.is_text() && !zone.starts_with(['+', '-']) =>
        {
            DataType::Timestamp(*unit, Some("+00:00".into()))
        }
        // Parquet counts neither seconds nor days in 64 bits: without Arrow's own schema they would
        // be bare numbers.
        DataType::Timestamp(TimeUnit::Second, zone) if format == Format::Parquet => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) if format == Format::Parquet => {
            DataType::Time32(TimeUnit::Millisecond)
        }
        DataType::Date64 if format == Format::Parquet => DataType::Date32,
        DataType::Dictionary(_, values) if file_type(format, values) != **values => {
            file_type(format, values)
        }
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(inner(item), *len),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(members) => DataType::Struct(members.iter().map(inner).collect()),
        other => other.clone(),
    }
}
