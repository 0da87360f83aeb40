//! The rows of one file, row group by row group.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, Type};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::super::bytes::Input;
use super::super::columnar::{check_cells, corrupt, fit, guarded};
use super::super::scan::{FileBatch, MAX_BYTES, MAX_ROWS, row_bytes};
use super::super::{Error, Format, pages};
use super::metadata::open_file;
use super::statistics::excluded;
use crate::border;
use crate::table::Bound;

/// The rows that are read to find the size of values that a dictionary stores once.
const PROBE_ROWS: usize = 64;

/// A dictionary no larger than this cannot make a batch too large: no value is larger than the
/// dictionary.
const SMALL_DICTIONARY: i64 = (MAX_BYTES / MAX_ROWS) as i64;

/// The rows of one file.
pub(in crate::source) struct ParquetRows {
    input: Arc<Input>,
    file: File,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    schema: SchemaRef,
    /// The row groups not opened yet, and whether they are skipped.
    groups: std::vec::IntoIter<(usize, bool)>,
    group: Option<OpenRowGroup>,
    rows_before: u64,
    max_cell_bytes: u64,
    failed: bool,
}

struct OpenRowGroup {
    reader: ParquetRecordBatchReader,
    rows: u64,
    given: u64,
}

impl ParquetRows {
    /// Opens a file for the columns of `schema`, all of which it has. Row groups that the bounds
    /// exclude are skipped.
    pub(in crate::source) fn open(
        input: Arc<Input>,
        schema: SchemaRef,
        bounds: &[Bound],
        max_cell_bytes: u64,
    ) -> Result<ParquetRows, Error> {
        let (file, metadata) = open_file(&input)?;
        let wanted = (0..metadata.schema().fields().len())
            .filter(|i| schema.index_of(metadata.schema().field(*i).name()).is_ok());
        let mask = ProjectionMask::roots(metadata.parquet_schema(), wanted);
        let skip = guarded(input.path(), Format::Parquet, || {
            Ok::<_, Error>(excluded(&metadata, bounds))
        })?;
        let groups = skip.into_iter().enumerate().collect::<Vec<_>>().into_iter();
        Ok(ParquetRows {
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

    fn read(&mut self) -> Result<Option<FileBatch>, Error> {
        loop {
            if let Some(group) = &mut self.group {
                if let Some(batch) = next_batch(self.input.path(), group)? {
                    return self.fit(batch).map(|batch| Some(FileBatch::Rows(batch)));
                }
                self.group = None;
            }
            let Some((number, skipped)) = self.groups.next() else {
                return Ok(None);
            };
            let rows = self.metadata.metadata().row_group(number).num_rows() as u64;
            if skipped {
                self.rows_before += rows;
                return Ok(Some(FileBatch::Skipped(rows)));
            }
            self.group = Some(OpenRowGroup {
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

    /// The number of rows of a row group that make a batch.
    fn batch_rows(&self, group: usize) -> Result<usize, Error> {
        let chunk = self.metadata.metadata().row_group(group);
        let rows = chunk.num_rows().max(1) as u64;
        let safe = self.safe_rows(chunk)?;
        let (stated, is_sure) = stated_bytes(chunk, &self.mask);
        let per_row = if is_sure {
            stated.div_ceil(rows)
        } else {
            self.probe(group, safe)?.max(stated.div_ceil(rows))
        };
        let fitting = (MAX_BYTES as u64) / per_row.max(1);
        Ok((fitting as usize).clamp(1, MAX_ROWS).min(safe))
    }

    /// The number of rows whose memory is bounded whatever they hold, after all pages have been
    /// checked against the limits.
    fn safe_rows(&self, group: &RowGroupMetaData) -> Result<usize, Error> {
        let context = pages::RowGroupContext {
            path: self.input.path(),
            file: &self.file,
            max_cell_bytes: self.max_cell_bytes,
            rows_before: self.rows_before,
        };
        let most = border::guard(|| {
            pages::most_row_bytes(&context, group, |leaf| self.mask.leaf_included(leaf))
        });
        Ok(pages::safe_rows(most.map_err(|panicked| {
            corrupt(context.path, Format::Parquet, &panicked.to_string())
        })??))
    }

    /// The bytes of a row, estimated by the first rows of a row group.
    fn probe(&self, group: usize, safe: usize) -> Result<u64, Error> {
        let rows = PROBE_ROWS.min(safe);
        let batch = guarded(self.input.path(), Format::Parquet, || {
            let builder = self.builder(group)?.with_batch_size(rows).with_limit(rows);
            Ok::<_, parquet::errors::ParquetError>(builder.build()?.next())
        })?;
        match batch {
            Some(Ok(batch)) => Ok((row_bytes(&batch) / batch.num_rows().max(1)) as u64),
            // Damage is reported when the rows are read.
            _ => Ok(0),
        }
    }

    /// The batch with the columns and types of the schema, checked against the limits.
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

fn next_batch(path: &Path, group: &mut OpenRowGroup) -> Result<Option<RecordBatch>, Error> {
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

impl Iterator for ParquetRows {
    type Item = Result<FileBatch, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.read();
        self.failed = batch.is_err();
        batch.transpose()
    }
}

/// The bytes of the wanted columns of a row group by its metadata, and whether they take the same
/// in memory: the values of a dictionary are stored once, but take memory in every row that uses
/// them.
fn stated_bytes(group: &RowGroupMetaData, mask: &ProjectionMask) -> (u64, bool) {
    let (mut bytes, mut is_sure) = (0_u64, true);
    for (_, chunk) in group
        .columns()
        .iter()
        .enumerate()
        .filter(|(leaf, _)| mask.leaf_included(*leaf))
    {
        let written = chunk.uncompressed_size();
        let in_memory = chunk
            .unencoded_byte_array_data_bytes()
            .unwrap_or(0)
            .max(written);
        bytes = bytes.saturating_add(u64::try_from(in_memory).unwrap_or(0));
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
