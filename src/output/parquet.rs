//! Parquet.
//!
//! Pages are encoded as batches come, so an open row group is held in its compressed form; a group is closed at the row limit
//! or at 64 MiB. Row groups do not depend on each other: to encode several at a time, `write` would hand slices of whole groups
//! to column writers of parquet's `ArrowRowGroupWriterFactory` and append them in order. Nothing outside this file would notice.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression as Codec, ZstdLevel};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::schema::types::ColumnPath;
use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, FieldRef, Schema};

use super::writer::{Cause, Sink};
use super::{Compression, OutputSchema, OutputSpec};
use crate::durable::Pending;

/// Most encoded bytes in a row group: what a reader of one column must at most skip, and what the writer holds.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A Parquet file on its way.
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
        // Into the Arrow schema in the footer too: pyarrow shows that one's metadata and not the file's own.
        let known: BTreeMap<String, String> = metadata.iter().cloned().collect();
        let arrow_schema = schema.schema().as_ref().clone().with_metadata(known);
        let writer = ArrowWriter::try_new(file, arrow_schema.into(), Some(properties(spec, schema, metadata)))?;
        Ok(ParquetFile { writer })
    }
}

impl Sink for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        Ok(self.writer.write(batch)?)
    }

    fn note(&mut self, key: &str, value: &str) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
    }

    fn finish(self: Box<Self>) -> Result<Pending, Cause> {
        Ok(self.writer.into_inner()?)
    }
}

fn properties(spec: &OutputSpec, schema: &OutputSchema, metadata: Vec<(String, String)>) -> WriterProperties {
    let metadata = metadata.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
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
            properties = properties.set_column_dictionary_enabled(ColumnPath::new(vec![name.to_owned()]), false);
        }
    }
    properties.build()
}

/// Checks that Parquet can hold a column, by writing one null of it.
pub(super) fn check(field: &FieldRef) -> Result<(), Cause> {
    if holds_union(field.data_type()) {
        return Err("Parquet knows no unions".into());
    }
    let column = new_null_array(field.data_type(), 1);
    let schema = Arc::new(Schema::new(vec![field.as_ref().clone().with_nullable(true)]));
    let mut writer = ArrowWriter::try_new(io::sink(), schema.clone(), None)?;
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
