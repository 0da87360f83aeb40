//! The metadata of a file: its columns, with the types that they are read with, and its rows.

use std::fs::File;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type;
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::schema::types::ColumnDescPtr;

use super::super::bytes::Input;
use super::super::columnar::{corrupt, guarded};
use super::super::pages::{self, Int96Unit};
use super::super::{Error, Format, logical, unreadable};
use crate::border;

/// The columns and the number of rows by the metadata of a file.
pub(in crate::source) fn describe(input: &Input) -> Result<(SchemaRef, u64), Error> {
    let (_, metadata) = open_file(input)?;
    Ok((
        metadata.schema().clone(),
        metadata.metadata().file_metadata().num_rows() as u64,
    ))
}

/// Opens a file whose row groups add up to its number of rows.
pub(super) fn open_file(input: &Input) -> Result<(File, ArrowReaderMetadata), Error> {
    let file = input.open()?;
    if file.metadata().map_err(|e| input.failed(e))?.len() == 0 {
        return Err(Error::Empty {
            path: input.path().to_path_buf(),
        });
    }
    let guarded = |call: &dyn Fn() -> _| guarded(input.path(), Format::Parquet, call);
    let metadata = guarded(&|| {
        typed(
            input,
            &file,
            ParquetMetaDataReader::new().parse_and_finish(&file)?,
        )
    })?;
    let stated = metadata.metadata().file_metadata().num_rows();
    match rows_of_groups(&metadata) {
        Some(rows) if rows == stated => Ok((file, metadata)),
        // Some writers leave the sum at 0, and the reader would then return no rows.
        Some(rows) if stated == 0 => {
            let corrected = guarded(&|| typed(input, &file, with_rows(&metadata, rows)))?;
            Ok((file, corrected))
        }
        _ => Err(corrupt(
            input.path(),
            Format::Parquet,
            "its row groups do not add up to its number of rows",
        )),
    }
}

/// The columns of a file with the types that they are read with.
fn typed(
    input: &Input,
    file: &File,
    metadata: ParquetMetaData,
) -> parquet::errors::Result<ArrowReaderMetadata> {
    let metadata = unreadable::reader_metadata(metadata)?;
    let metadata = with_int96_units(input, file, metadata)?;
    // Zones before kinds: each step replaces the schema by which the reader decodes, and a unit of
    // 96-bit timestamps must be set before its zone is compared.
    let metadata = with_zones(metadata)?;
    with_logical_kinds(metadata)
}

/// Reads 96-bit timestamps in microseconds, or in nanoseconds where they have digits that small.
/// The reader's default is nanoseconds, which overflow silently after the year 2262, while the most
/// common writer of such timestamps (Spark) counts microseconds and uses the year 9999.
fn with_int96_units(
    input: &Input,
    file: &File,
    metadata: ArrowReaderMetadata,
) -> parquet::errors::Result<ArrowReaderMetadata> {
    let leaves = metadata.parquet_schema();
    if leaves
        .columns()
        .iter()
        .all(|leaf| leaf.physical_type() != Type::INT96)
    {
        return Ok(metadata);
    }
    let groups = metadata.metadata().row_groups();
    let counts_microseconds = metadata.schema().metadata().contains_key(SPARK_KEY);
    let found = |(place, leaf): (usize, &ColumnDescPtr)| {
        let is_int96 = leaf.physical_type() == Type::INT96;
        if is_int96 && !counts_microseconds {
            pages::int96_unit(file, input.path(), groups, place)
        } else {
            Int96Unit::Microseconds
        }
    };
    let times = input
        .int96_units
        .get_or_init(|| leaves.columns().iter().enumerate().map(found).collect());
    let mut place = 0;
    let mut next = || {
        place += 1;
        let leaf = leaves
            .columns()
            .get(place - 1)
            .filter(|leaf| leaf.physical_type() == Type::INT96)?;
        Some((
            times
                .get(place - 1)
                .copied()
                .unwrap_or(Int96Unit::Microseconds),
            leaf.path().string(),
        ))
    };
    let with_times = |field: &FieldRef| {
        let mut neither = None;
        let typed = with_unit(field, &mut || {
            let (times, path) = next()?;
            if times == Int96Unit::Neither {
                neither = Some(path);
            }
            Some(if times == Int96Unit::Nanoseconds {
                TimeUnit::Nanosecond
            } else {
                TimeUnit::Microsecond
            })
        });
        match neither {
            Some(_) => Arc::new(unreadable::marked(&typed, NO_UNIT)),
            None => typed,
        }
    };
    let fields: Vec<FieldRef> = metadata.schema().fields().iter().map(with_times).collect();
    let schema = Schema::new(fields).with_metadata(metadata.schema().metadata().clone());
    let options = ArrowReaderOptions::default().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// The key that Spark writes into its files.
const SPARK_KEY: &str = "org.apache.spark.version";
const NO_UNIT: &str = "96-bit timestamps, some with nanoseconds and some outside of the years 1677 \
    to 2262, which no type holds together";

/// The field with the units of its 96-bit timestamps; `unit` is called for each leaf in the order
/// of the file.
fn with_unit(field: &FieldRef, unit: &mut dyn FnMut() -> Option<TimeUnit>) -> FieldRef {
    let is_nested = matches!(field.data_type(), DataType::Struct(_) | DataType::Map(..))
        || logical::item(field.data_type()).is_some();
    if is_nested {
        return Arc::new(logical::with_inner(field, &mut |inner| {
            with_unit(inner, unit)
        }));
    }
    match (field.data_type(), unit()) {
        (DataType::Timestamp(_, zone), Some(unit)) => {
            let data_type = DataType::Timestamp(unit, zone.clone());
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        }
        _ => Arc::clone(field),
    }
}

/// Restores the zones of timestamps that the file stores in another unit than its writer had.
///
/// The file itself knows UTC only; the zone is in the Arrow schema that many writers add to the
/// metadata. The reader applies that schema only to timestamps of the same unit. Parquet has no
/// seconds, so `timestamp[s]` always has another one.
fn with_zones(metadata: ArrowReaderMetadata) -> parquet::errors::Result<ArrowReaderMetadata> {
    let Some(written) = written_schema(metadata.metadata()) else {
        return Ok(metadata);
    };
    let fields: Fields = metadata
        .schema()
        .fields()
        .iter()
        .map(|field| with_zone(field, written.field_with_name(field.name()).ok()))
        .collect();
    if fields == *metadata.schema().fields() {
        return Ok(metadata);
    }
    let schema = Schema::new(fields).with_metadata(metadata.schema().metadata().clone());
    ArrowReaderMetadata::try_new(
        Arc::clone(metadata.metadata()),
        ArrowReaderOptions::default().with_schema(Arc::new(schema)),
    )
}

/// The Arrow schema that the writer had, if it is in the metadata of the file.
fn written_schema(metadata: &ParquetMetaData) -> Option<Schema> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    let entry = entries
        .iter()
        .find(|entry| entry.key == ARROW_SCHEMA_META_KEY)?;
    let message = BASE64_STANDARD.decode(entry.value.as_ref()?).ok()?;
    // An unreadable one is ignored, as the reader does.
    border::guarded(|| arrow::ipc::convert::try_schema_from_ipc_buffer(&message)).ok()
}

/// The field with the zones that `written`, the same field of the writer, has.
fn with_zone(field: &FieldRef, written: Option<&Field>) -> FieldRef {
    let Some(written) = written else {
        return Arc::clone(field);
    };
    match (field.data_type(), written.data_type()) {
        // Only where the values are instants: those of the file are in UTC.
        (DataType::Timestamp(unit, Some(_)), DataType::Timestamp(_, Some(zone))) => {
            let data_type = DataType::Timestamp(*unit, Some(Arc::clone(zone)));
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        }
        (DataType::Struct(_), DataType::Struct(members)) => {
            Arc::new(logical::with_inner(field, &mut |member| {
                let same = members.iter().find(|other| other.name() == member.name());
                with_zone(member, same.map(AsRef::as_ref))
            }))
        }
        (DataType::Map(..), DataType::Map(entries, _)) => {
            Arc::new(logical::with_inner(field, &mut |pair| {
                with_zone(pair, Some(entries))
            }))
        }
        (list, written) => match (logical::item(list), logical::item(written)) {
            (Some(_), Some(written)) => Arc::new(logical::with_inner(field, &mut |item| {
                with_zone(item, Some(written))
            })),
            _ => Arc::clone(field),
        },
    }
}

fn rows_of_groups(metadata: &ArrowReaderMetadata) -> Option<i64> {
    let mut rows = metadata
        .metadata()
        .row_groups()
        .iter()
        .map(RowGroupMetaData::num_rows);
    rows.try_fold(0_i64, |sum, rows| {
        sum.checked_add(rows).filter(|_| rows >= 0)
    })
}

fn with_rows(metadata: &ArrowReaderMetadata, rows: i64) -> ParquetMetaData {
    let stated = metadata.metadata().file_metadata();
    let corrected = FileMetaData::new(
        stated.version(),
        rows,
        stated.created_by().map(str::to_owned),
        stated.key_value_metadata().cloned(),
        stated.schema_descr_ptr(),
        stated.column_orders().cloned(),
    );
    ParquetMetaData::new(corrected, metadata.metadata().row_groups().to_vec())
}

/// Adds the logical kinds of the file to the fields, so that the reader returns them with the rows.
fn with_logical_kinds(
    metadata: ArrowReaderMetadata,
) -> parquet::errors::Result<ArrowReaderMetadata> {
    let Some(fields) = logical::with_file_kinds(
        metadata.schema().fields(),
        metadata.parquet_schema().root_schema(),
    ) else {
        return Ok(metadata);
    };
    let schema = Schema::new(fields).with_metadata(metadata.schema().metadata().clone());
    ArrowReaderMetadata::try_new(
        Arc::clone(metadata.metadata()),
        ArrowReaderOptions::default().with_schema(Arc::new(schema)),
    )
}
