//! Parquet.
//!
//! Pages are encoded as batches come, so an open row group is held in its compressed form; a group
//! is closed at the row limit or at 64 MiB. Row groups do not depend on each other: to encode
//! several at a time, `write` would hand slices of whole groups to column writers of parquet's
//! `ArrowRowGroupWriterFactory` and append them in order. Nothing outside this file would notice.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use ::parquet::basic::{Compression as Codec, LogicalType, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::schema::types::{ColumnPath, SchemaDescriptor, Type, TypePtr};
use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, FieldRef, Schema};

use super::writer::{Cause, FormatWriter};
use super::{Compression, OutputSchema, OutputSpec};
use crate::border;
use crate::durable::Pending;
use crate::source::logical;

/// Most encoded bytes in a row group: what a reader of one column must at most skip, and what the
/// writer holds.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    writer: ArrowWriter<Pending>,
}

impl ParquetFile {
    pub(super) fn create(
        file: Pending,
        spec: &OutputSpec,
        schema: &OutputSchema,
        metadata: Vec<(String, String)>,
    ) -> Result<ParquetFile, Cause> {
        // Into the Arrow schema in the footer too: pyarrow shows that one's metadata and not the
        // file's own.
        let metadata = schema.metadata(metadata);
        let known: BTreeMap<String, String> = metadata.iter().cloned().collect();
        let arrow_schema = schema.schema().as_ref().clone().with_metadata(known);
        let options = ArrowWriterOptions::new()
            .with_properties(properties(spec, schema, metadata))
            .with_parquet_schema(parquet_schema(&arrow_schema)?);
        Ok(ParquetFile {
            writer: ArrowWriter::try_new_with_options(file, arrow_schema.into(), options)?,
        })
    }
}

impl FormatWriter for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        Ok(self.writer.write(batch)?)
    }

    fn note(&mut self, key: &str, value: &str) {
        self.writer
            .append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
    }

    fn finish(self: Box<Self>) -> Result<Pending, Cause> {
        Ok(self.writer.into_inner()?)
    }
}

fn properties(
    spec: &OutputSpec,
    schema: &OutputSchema,
    metadata: Vec<(String, String)>,
) -> WriterProperties {
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| KeyValue::new(key, value))
        .collect();
    let codec = match spec.compression.unwrap_or_default() {
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::Snappy => Codec::SNAPPY,
        Compression::None => Codec::UNCOMPRESSED,
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("rowmill ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(Some(spec.row_group_rows as usize))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_key_value_metadata(Some(metadata));
    for (name, repeats) in schema.run_column_names() {
        // Where every row has its own text, a dictionary is filled up for nothing.
        if !repeats {
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::new(vec![name.to_owned()]), false);
        }
    }
    properties.build()
}

/// The Parquet types of the columns: those of the crate, and for columns with a mark the logical
/// type that their source has.
fn parquet_schema(schema: &Schema) -> Result<SchemaDescriptor, Cause> {
    let converted = ArrowSchemaConverter::new().convert(schema)?;
    let root = converted.root_schema();
    let fields = schema
        .fields()
        .iter()
        .zip(root.get_fields())
        .map(|(field, of_file)| with_mark(field, of_file));
    let root = Type::group_type_builder(root.name())
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

/// The Parquet type of a field with the logical type of its mark, at any depth. The crate has built
/// it after the field.
fn with_mark(field: &FieldRef, of_file: &TypePtr) -> Result<TypePtr, ParquetError> {
    let inner = match field.data_type() {
        DataType::Struct(members) => members.iter().collect(),
        DataType::Map(entries, _) => vec![entries],
        list => logical::item(list).into_iter().collect::<Vec<_>>(),
    };
    let mark = logical::logical_kind(field).filter(|mark| mark.fits(field.data_type()));
    if of_file.is_primitive() {
        return mark.map_or_else(
            || Ok(Arc::clone(of_file)),
            |mark| leaf(of_file, mark.in_parquet()),
        );
    }
    let below = of_file.get_fields();
    let changed = match (field.data_type(), below) {
        (DataType::Struct(_) | DataType::Map(..), _) if below.len() == inner.len() => inner
            .into_iter()
            .zip(below)
            .map(|(field, of_file)| with_mark(field, of_file))
            .collect::<Result<Vec<_>, _>>()?,
        (_, [repeated])
            if inner.len() == 1 && repeated.is_group() && repeated.get_fields().len() == 1 =>
        {
            vec![group(
                repeated,
                vec![with_mark(inner[0], &repeated.get_fields()[0])?],
                None,
            )?]
        }
        _ => return Ok(Arc::clone(of_file)),
    };
    group(of_file, changed, mark.map(|mark| mark.in_parquet()))
}

fn leaf(of_file: &Type, logical: LogicalType) -> Result<TypePtr, ParquetError> {
    let info = of_file.get_basic_info();
    let length = if let Type::PrimitiveType { type_length, .. } = of_file {
        *type_length
    } else {
        -1
    };
    let new = Type::primitive_type_builder(of_file.name(), of_file.get_physical_type())
        .with_repetition(info.repetition())
        .with_id(info.has_id().then(|| info.id()))
        .with_length(length)
        .with_logical_type(Some(logical))
        .build()?;
    Ok(Arc::new(new))
}

fn group(
    of_file: &Type,
    fields: Vec<TypePtr>,
    logical: Option<LogicalType>,
) -> Result<TypePtr, ParquetError> {
    let info = of_file.get_basic_info();
    let new = Type::group_type_builder(of_file.name())
        .with_fields(fields)
        .with_repetition(info.repetition())
        .with_id(info.has_id().then(|| info.id()))
        .with_converted_type(info.converted_type())
        .with_logical_type(logical.or_else(|| info.logical_type_ref().cloned()))
        .build()?;
    Ok(Arc::new(new))
}

/// Checks that Parquet can hold a column, by writing one null of it.
pub(super) fn check(field: &FieldRef) -> Result<(), Cause> {
    border::guard(|| check_here(field))?
}

fn check_here(field: &FieldRef) -> Result<(), Cause> {
    if holds_union(field.data_type()) {
        return Err("Parquet knows no unions".into());
    }
    let column = new_null_array(field.data_type(), 1);
    let schema = Arc::new(Schema::new(vec![
        field.as_ref().clone().with_nullable(true),
    ]));
    let options = ArrowWriterOptions::new().with_parquet_schema(parquet_schema(&schema)?);
    let mut writer = ArrowWriter::try_new_with_options(io::sink(), schema.clone(), options)?;
    writer.write(&RecordBatch::try_new(schema, vec![column])?)?;
    writer.close()?;
    Ok(())
}

/// The writer of parquet 60 panics at a union, so it must not come so far.
fn holds_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => holds_union(item.data_type()),
        DataType::Dictionary(_, values) => holds_union(values),
        DataType::Struct(members) => members.iter().any(|member| holds_union(member.data_type())),
        _ => false,
    }
}
