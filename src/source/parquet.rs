//! Parquet: row groups in order, only the columns asked for, row groups passed over where their
//! statistics exclude every row.
//!
//! A file is read row group by row group, in batches sized by what the row group says its values
//! weigh, so that a column of pictures takes no more memory than one of numbers. What comes out of
//! a row group is counted against the file's own metadata: a damaged file ends in an error, never
//! in fewer rows. The reader crate may panic on a hostile file; that is caught here.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, Type};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::schema::types::ColumnDescPtr;

use super::bytes::Input;
use super::pages::OldTimes;
use super::scan::{MAX_BYTES, MAX_ROWS, Piece, row_bytes};
use super::types::{self, Misfit};
use super::{Error, Format, Held, logical, pages, prune, unreadable};
use crate::border;
use crate::table::Bound;

/// Rows read to learn how much the values of a dictionary weigh when they are written out.
const PROBE_ROWS: usize = 64;

/// A dictionary no larger than this cannot make a batch too large: no value is larger than the
/// dictionary.
const SMALL_DICTIONARY: i64 = (MAX_BYTES / MAX_ROWS) as i64;

/// What a file says of itself: its columns and its rows.
pub(super) fn describe(input: &Input) -> Result<(SchemaRef, u64), Error> {
    let (_, metadata) = open_file(input)?;
    Ok((
        metadata.schema().clone(),
        metadata.metadata().file_metadata().num_rows() as u64,
    ))
}

/// Opens a file whose row groups add up to its number of rows.
fn open_file(input: &Input) -> Result<(File, ArrowReaderMetadata), Error> {
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
    let told = metadata.metadata().file_metadata().num_rows();
    match rows_of_groups(&metadata) {
        Some(rows) if rows == told => Ok((file, metadata)),
        // Some writers leave the sum at 0; the reader would believe it and give nothing.
        Some(rows) if told == 0 => {
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
    with_marks(with_old_times(
        input,
        file,
        unreadable::reader_metadata(metadata)?,
    )?)
}

/// Reads the old 96-bit timestamps in microseconds, or in nanoseconds where they have them. The
/// reader by itself would take nanoseconds, which end in the year 2262 and begin again in 1677
/// without a word, while what writes such timestamps most (Spark) counts microseconds and knows the
/// year 9999.
fn with_old_times(
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
        let is_old = leaf.physical_type() == Type::INT96;
        if is_old && !counts_microseconds {
            pages::old_times(file, input.path(), groups, place)
        } else {
            OldTimes::Microseconds
        }
    };
    let times = input
        .old_times
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
                .unwrap_or(OldTimes::Microseconds),
            leaf.path().string(),
        ))
    };
    let with_times = |field: &FieldRef| {
        let mut neither = None;
        let typed = with_unit(field, &mut || {
            let (times, path) = next()?;
            if times == OldTimes::Neither {
                neither = Some(path);
            }
            Some(if times == OldTimes::Nanoseconds {
                TimeUnit::Nanosecond
            } else {
                TimeUnit::Microsecond
            })
        });
        match neither {
            Some(_) => Arc::new(unreadable::marked(&typed, NEITHER)),
            None => typed,
        }
    };
    let fields: Vec<FieldRef> = metadata.schema().fields().iter().map(with_times).collect();
    let schema = Schema::new(fields).with_metadata(metadata.schema().metadata().clone());
    let options = ArrowReaderOptions::default().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// The key by which Spark marks its files.
const SPARK_KEY: &str = "org.apache.spark.version";
const NEITHER: &str = "96-bit timestamps, some with nanoseconds and some outside of the years 1677 \
    to 2262, which no type holds together";

/// A field whose leaves, asked one by one in the order of the file, have this unit where they are
/// old timestamps.
fn with_unit(field: &FieldRef, unit: &mut impl FnMut() -> Option<TimeUnit>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| with_unit(field, unit)).collect())
        }
        DataType::List(item) => DataType::List(with_unit(item, unit)),
        DataType::LargeList(item) => DataType::LargeList(with_unit(item, unit)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(with_unit(item, unit), *n),
        DataType::ListView(item) => DataType::ListView(with_unit(item, unit)),
        DataType::LargeListView(item) => DataType::LargeListView(with_unit(item, unit)),
        DataType::Map(entries, sorted) => DataType::Map(with_unit(entries, unit), *sorted),
        other => match (other, unit()) {
            (DataType::Timestamp(_, zone), Some(unit)) => DataType::Timestamp(unit, zone.clone()),
            _ => return Arc::clone(field),
        },
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
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
    let told = metadata.metadata().file_metadata();
    let corrected = FileMetaData::new(
        told.version(),
        rows,
        told.created_by().map(str::to_owned),
        told.key_value_metadata().cloned(),
        told.schema_descr_ptr(),
        told.column_orders().cloned(),
    );
    ParquetMetaData::new(corrected, metadata.metadata().row_groups().to_vec())
}

/// Puts to the fields what the file says of them beside their Arrow types, so that the reader hands
/// it out with the rows.
fn with_marks(metadata: ArrowReaderMetadata) -> parquet::errors::Result<ArrowReaderMetadata> {
    let Some(fields) = logical::marked(
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

/// Calls into a reader crate; an error or a panic there is an error of this file.
pub(super) fn guarded<T, E>(
    path: &Path,
    format: Format,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Corrupt {
        path: path.to_path_buf(),
        format,
        source,
    };
    match border::guard(call) {
        Ok(result) => result.map_err(|e| failed(Box::new(e))),
        Err(panicked) => Err(failed(Box::new(panicked))),
    }
}

pub(super) fn corrupt(path: &Path, format: Format, problem: &str) -> Error {
    Error::Corrupt {
        path: path.to_path_buf(),
        format,
        source: problem.into(),
    }
}

/// The rows of one file.
pub(super) struct Rows {
    input: Arc<Input>,
    file: File,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    schema: SchemaRef,
    /// Row groups not begun yet, each with whether it is passed over.
    groups: std::vec::IntoIter<(usize, bool)>,
    group: Option<Group>,
    rows_before: u64,
    max_cell_bytes: u64,
    failed: bool,
}

struct Group {
    reader: ParquetRecordBatchReader,
    rows: u64,
    given: u64,
}

impl Rows {
    /// Opens a file for the columns of `schema`, each of which it has. Row groups that the bounds
    /// exclude are passed over.
    pub(super) fn open(
        input: Arc<Input>,
        schema: SchemaRef,
        bounds: &[Bound],
        max_cell_bytes: u64,
    ) -> Result<Rows, Error> {
        let (file, metadata) = open_file(&input)?;
        let wanted = (0..metadata.schema().fields().len())
            .filter(|i| schema.index_of(metadata.schema().field(*i).name()).is_ok());
        let mask = ProjectionMask::roots(metadata.parquet_schema(), wanted);
        let skip = guarded(input.path(), Format::Parquet, || {
            Ok::<_, Error>(excluded(&metadata, bounds))
        })?;
        let groups = skip.into_iter().enumerate().collect::<Vec<_>>().into_iter();
        Ok(Rows {
            input,
            file,
            metadata,
            mask,
            schema,
            groups,
            group: None,
            rows_before: 0,
            max_cell_bytes,
            failed: false,
        })
    }

    fn read(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(group) = &mut self.group {
                if let Some(batch) = next_batch(self.input.path(), group)? {
                    return self.fit(batch).map(|batch| Some(Piece::Rows(batch)));
                }
                self.group = None;
            }
            let Some((number, skipped)) = self.groups.next() else {
                return Ok(None);
            };
            let rows = self.metadata.metadata().row_group(number).num_rows() as u64;
            if skipped {
                self.rows_before += rows;
                return Ok(Some(Piece::Skipped(rows)));
            }
            self.group = Some(Group {
                reader: self.reader(number)?,
                rows,
                given: 0,
            });
        }
    }

    fn reader(&self, group: usize) -> Result<ParquetRecordBatchReader, Error> {
        let rows = self.batch_rows(group)?;
        guarded(self.input.path(), Format::Parquet, || {
            self.builder(group)?.with_batch_size(rows).build()
        })
    }

    fn builder(
        &self,
        group: usize,
    ) -> parquet::errors::Result<ParquetRecordBatchReaderBuilder<File>> {
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.try_clone()?,
            self.metadata.clone(),
        )
        .with_projection(self.mask.clone())
        .with_row_groups(vec![group]))
    }

    /// How many rows of a row group make a batch.
    fn batch_rows(&self, group: usize) -> Result<usize, Error> {
        let chunk = self.metadata.metadata().row_group(group);
        let rows = chunk.num_rows().max(1) as u64;
        let safe = self.safe_rows(chunk)?;
        let (told, is_sure) = told_bytes(chunk, &self.mask);
        let per_row = if is_sure {
            told.div_ceil(rows)
        } else {
            self.probe(group, safe)?.max(told.div_ceil(rows))
        };
        let fitting = (MAX_BYTES as u64) / per_row.max(1);
        Ok((fitting as usize).clamp(1, MAX_ROWS).min(safe))
    }

    /// How many rows are bounded in memory whatever they hold, once nothing in them is beyond the
    /// limits.
    fn safe_rows(&self, group: &RowGroupMetaData) -> Result<usize, Error> {
        let look = pages::Look {
            path: self.input.path(),
            file: &self.file,
            max_cell_bytes: self.max_cell_bytes,
            rows_before: self.rows_before,
        };
        let most = border::guard(|| {
            pages::most_row_bytes(&look, group, |leaf| self.mask.leaf_included(leaf))
        });
        Ok(pages::safe_rows(most.map_err(|panicked| {
            corrupt(look.path, Format::Parquet, &panicked.to_string())
        })??))
    }

    /// Bytes of a row, by the first rows of a row group.
    fn probe(&self, group: usize, safe: usize) -> Result<u64, Error> {
        let rows = PROBE_ROWS.min(safe);
        let batch = guarded(self.input.path(), Format::Parquet, || {
            let builder = self.builder(group)?.with_batch_size(rows).with_limit(rows);
            Ok::<_, parquet::errors::ParquetError>(builder.build()?.next())
        })?;
        match batch {
            Some(Ok(batch)) => Ok((row_bytes(&batch) / batch.num_rows().max(1)) as u64),
            // What is wrong shows when the rows are read.
            _ => Ok(0),
        }
    }

    /// The columns in the order and of the types asked for.
    fn fit(&mut self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        let (path, schema, before) = (self.input.path(), &self.schema, self.rows_before);
        let fitted = border::guard(|| fit(path, &batch, schema, before));
        let fitted =
            fitted.map_err(|panicked| corrupt(path, Format::Parquet, &panicked.to_string()))??;
        check_cells(path, &fitted, self.rows_before, self.max_cell_bytes)?;
        self.rows_before += batch.num_rows() as u64;
        Ok(fitted)
    }
}

fn next_batch(path: &Path, group: &mut Group) -> Result<Option<RecordBatch>, Error> {
    let batch = guarded(path, Format::Parquet, || group.reader.next().transpose())?;
    group.given += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
    let ended = batch.is_none();
    if group.given > group.rows || (ended && group.given < group.rows) {
        return Err(Error::RowCount {
            path: path.to_path_buf(),
            expected: group.rows,
            found: group.given,
        });
    }
    Ok(batch)
}

impl Iterator for Rows {
    type Item = Result<Piece, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let piece = self.read();
        self.failed = piece.is_err();
        piece.transpose()
    }
}

/// Takes the columns of `schema` out of a batch and turns them to its types.
pub(super) fn fit(
    path: &Path,
    batch: &RecordBatch,
    schema: &SchemaRef,
    rows_before: u64,
) -> Result<RecordBatch, Error> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let place = batch
            .schema_ref()
            .index_of(field.name())
            .map_err(Error::Batch)?;
        let column = batch.column(place);
        // Asked for as bytes, a UUID is read as it stands in the file.
        let as_bytes = matches!(field.data_type(), DataType::Binary);
        let shown =
            (!as_bytes).then(|| logical::shown_cells(column, &batch.schema_ref().fields()[place]));
        let column = shown
            .transpose()
            .map_err(Error::Batch)?
            .unwrap_or_else(|| Arc::clone(column));
        let column = types::convert(&column, field.data_type()).map_err(|misfit| match misfit {
            Misfit::Row(row) => Error::Cell {
                path: path.to_path_buf(),
                row: rows_before + row as u64 + 1,
                line: None,
                column: field.name().clone(),
                expected: types::name(field.data_type()),
            },
            Misfit::Types(e) => Error::Batch(e),
        })?;
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::Batch)
}

/// Refuses texts and bytes beyond the limit: not every encoding shows their length before they are
/// unpacked.
pub(super) fn check_cells(
    path: &Path,
    batch: &RecordBatch,
    rows_before: u64,
    limit: u64,
) -> Result<(), Error> {
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        // A column that is smaller as a whole has no such cell.
        if column.get_buffer_memory_size() as u64 <= limit {
            continue;
        }
        let Some(lengths) = length(column)
            .ok()
            .filter(|_| !matches!(column.data_type(), DataType::Dictionary(..)))
        else {
            continue;
        };
        let Ok(lengths) = cast(&lengths, &DataType::Int64) else {
            continue;
        };
        let lengths = lengths.as_primitive::<Int64Type>();
        let longest = (0..lengths.len())
            .filter(|row| lengths.is_valid(*row))
            .max_by_key(|row| lengths.value(*row));
        let longest = longest
            .map(|row| (row, lengths.value(row).unsigned_abs()))
            .filter(|(_, bytes)| *bytes > limit);
        if let (Some((row, bytes)), false) = (longest, column.data_type().is_nested()) {
            let (path, column, row) = (
                path.to_path_buf(),
                field.name().clone(),
                Some(rows_before + row as u64 + 1),
            );
            return Err(Error::TooLarge {
                path,
                row,
                column,
                what: Held::Cell,
                bytes,
                limit,
            });
        }
    }
    Ok(())
}

/// Bytes of the chosen columns of a row group, and whether that is what they weigh in memory: the
/// values of a dictionary are written once, and weigh as often as they are used.
fn told_bytes(group: &RowGroupMetaData, mask: &ProjectionMask) -> (u64, bool) {
    let (mut bytes, mut is_sure) = (0_u64, true);
    for (_, chunk) in group
        .columns()
        .iter()
        .enumerate()
        .filter(|(leaf, _)| mask.leaf_included(*leaf))
    {
        let written = chunk.uncompressed_size();
        let weighs = chunk
            .unencoded_byte_array_data_bytes()
            .unwrap_or(0)
            .max(written);
        bytes = bytes.saturating_add(u64::try_from(weighs).unwrap_or(0));
        is_sure &= chunk.unencoded_byte_array_data_bytes().is_some()
            || written <= SMALL_DICTIONARY
            || !may_repeat(chunk);
    }
    (bytes, is_sure)
}

fn may_repeat(chunk: &ColumnChunkMetaData) -> bool {
    let is_bytes = matches!(
        chunk.column_type(),
        Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY
    );
    let repeats = |encoding| {
        matches!(
            encoding,
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY | Encoding::DELTA_BYTE_ARRAY
        )
    };
    is_bytes && chunk.encodings().any(repeats)
}

/// For each row group whether a bound excludes all its rows.
fn excluded(metadata: &ArrowReaderMetadata, bounds: &[Bound]) -> Vec<bool> {
    let groups = metadata.metadata().row_groups();
    let mut skip = vec![false; groups.len()];
    for bound in bounds {
        for (skip, by_this) in skip.iter_mut().zip(excluded_by(bound, metadata, groups)) {
            *skip |= by_this;
        }
    }
    skip
}

fn excluded_by(
    bound: &Bound,
    metadata: &ArrowReaderMetadata,
    groups: &[RowGroupMetaData],
) -> Vec<bool> {
    let nothing = || vec![false; groups.len()];
    let Ok(statistics) =
        StatisticsConverter::try_new(&bound.column, metadata.schema(), metadata.parquet_schema())
    else {
        return nothing();
    };
    let Some(leaf) = statistics.parquet_column_index() else {
        return nothing();
    };
    let ends = (
        statistics.row_group_mins(groups),
        statistics.row_group_maxes(groups),
    );
    let (Ok(least), Ok(greatest)) = ends else {
        return nothing();
    };
    let by_group = |(i, group): (usize, &RowGroupMetaData)| {
        let Some(of_chunk) = group.column(leaf).statistics() else {
            return false;
        };
        // A comparison with null is never true, so a row group of nulls has no match.
        let all_null = of_chunk.null_count_opt() == u64::try_from(group.num_rows()).ok();
        // The old fields were written in no agreed order.
        all_null
            || (!of_chunk.is_min_max_deprecated() && prune::excludes(bound, &least, &greatest, i))
    };
    groups.iter().enumerate().map(by_group).collect()
}
