//! Columns of a Parquet file that the reader crate does not know how to read, such as decimals of
//! more than 76 digits.
//!
//! One such column would make the whole file unreadable. So its annotation is removed: the crate
//! sees bytes or plain numbers, which it can at least skip, and the field's metadata holds the
//! reason. Only a job that needs the column fails, and its error names the column.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema_by_columns};
use parquet::errors::Result;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::types;
use crate::border;

/// The metadata of a field with the reason why its column cannot be read.
const KEY: &str = "rowmill:unreadable";

/// The reason why a column cannot be read, if it cannot.
pub(super) fn reason(field: &Field) -> Option<&str> {
    field.metadata().get(KEY).map(String::as_str)
}

/// The field with a reason in its metadata.
pub(super) fn marked(field: &Field, reason: &str) -> Field {
    let mut field = field.clone();
    field
        .metadata_mut()
        .insert(KEY.to_owned(), reason.to_owned());
    field
}

/// Copies the reason to a field that replaces another.
pub(super) fn inherit(field: &mut Field, from: &Field) {
    if let Some(reason) = reason(from) {
        *field = marked(field, reason);
    }
}

/// The columns of a file, with reasons for those that cannot be read.
pub(super) fn reader_metadata(metadata: ParquetMetaData) -> Result<ArrowReaderMetadata> {
    let metadata = Arc::new(metadata);
    let read = border::guarded(|| {
        ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::default())
    });
    if let Ok(read) = &read
        && read
            .schema()
            .fields()
            .iter()
            .all(|field| too_precise(field.data_type()).is_none())
    {
        return Ok(read.clone());
    }
    let columns = metadata.file_metadata().schema_descr();
    let root = columns.root_schema();
    let reasons: Vec<Option<String>> = (0..root.get_fields().len())
        .map(|place| problem(&metadata, place))
        .collect();
    if reasons.iter().all(Option::is_none) {
        return read;
    }
    let fields = root.get_fields().iter().zip(&reasons);
    let fields = fields.map(|(field, reason)| {
        if reason.is_some() {
            plain(field)
        } else {
            Ok(Arc::clone(field))
        }
    });
    let root = Type::group_type_builder(root.name())
        .with_fields(fields.collect::<Result<_>>()?)
        .build()?;
    let file_metadata = metadata.file_metadata();
    let file_metadata = FileMetaData::new(
        file_metadata.version(),
        file_metadata.num_rows(),
        file_metadata.created_by().map(str::to_owned),
        file_metadata.key_value_metadata().cloned(),
        Arc::new(SchemaDescriptor::new(Arc::new(root))),
        file_metadata.column_orders().cloned(),
    );
    let changed = ParquetMetaData::new(file_metadata, metadata.row_groups().to_vec());
    let read = ArrowReaderMetadata::try_new(Arc::new(changed), ArrowReaderOptions::default())?;
    let fields = read
        .schema()
        .fields()
        .iter()
        .zip(reasons)
        .map(|(field, reason)| {
            reason.map_or_else(|| field.as_ref().clone(), |reason| marked(field, &reason))
        });
    let schema =
        Schema::new(fields.collect::<Vec<_>>()).with_metadata(read.schema().metadata().clone());
    let options = ArrowReaderOptions::default().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(read.metadata()), options)
}

/// The reason why a column of the root cannot be read, if it cannot.
fn problem(metadata: &ParquetMetaData, place: usize) -> Option<String> {
    let file_metadata = metadata.file_metadata();
    let columns = file_metadata.schema_descr();
    let mask = ProjectionMask::roots(columns, [place]);
    let schema = border::guarded(|| {
        parquet_to_arrow_schema_by_columns(columns, mask, file_metadata.key_value_metadata())
    });
    match schema {
        Ok(schema) => schema
            .fields()
            .first()
            .and_then(|field| too_precise(field.data_type())),
        Err(e) => Some(e.to_string()),
    }
}

/// The reason why a type with a decimal of too many digits, at any depth, cannot be read.
fn too_precise(data_type: &DataType) -> Option<String> {
    types::find_in(data_type, &|part| match part {
        DataType::Decimal256(precision, scale) if *precision > DECIMAL256_MAX_PRECISION => {
            Some(format!(
                "a decimal({precision},{scale}), and decimals have at most \
                 {DECIMAL256_MAX_PRECISION} digits"
            ))
        }
        _ => None,
    })
}

/// The type without the annotations of its leaves.
fn plain(of_file: &TypePtr) -> Result<TypePtr> {
    let info = of_file.get_basic_info();
    let id = info.has_id().then(|| info.id());
    Ok(Arc::new(match of_file.as_ref() {
        Type::PrimitiveType {
            physical_type,
            type_length,
            ..
        } => Type::primitive_type_builder(of_file.name(), *physical_type)
            .with_repetition(info.repetition())
            .with_length(*type_length)
            .with_id(id)
            .build()?,
        Type::GroupType { fields, .. } => Type::group_type_builder(of_file.name())
            .with_fields(fields.iter().map(plain).collect::<Result<_>>()?)
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_id(id)
            .build()?,
    }))
}
