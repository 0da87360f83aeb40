//! One pass over a source: read, derive, filter by `where`, stop at the limit.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::schema::unknown_column;
use super::{Error, ReadOptions, SourceTable, convert, csv, ipc, jsonl, parquet, prune};
use crate::table::Bound;

/// The most rows of a batch.
pub const MAX_ROWS: usize = 8192;

/// The approximate most bytes of a batch; a single row may be larger.
pub const MAX_BYTES: usize = 16 << 20;

/// The next rows of a file.
pub(super) enum FileBatch {
    /// Rows.
    Rows(RecordBatch),
    /// A number of rows that cannot match, and were not read.
    Skipped(u64),
}

type FileBatches = Box<dyn Iterator<Item = Result<FileBatch, Error>> + Send>;

/// Rows of a source.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// The columns asked for.
    pub batch: RecordBatch,
    /// The position of each row in the source before `where` and `limit`, over all files, from 0.
    pub row_index: Vec<u64>,
}

/// The progress of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCounts {
    /// Rows of the source so far, including those that statistics excluded without reading.
    pub read: u64,
    /// Rows returned.
    pub kept: u64,
}

/// One pass over a source.
///
/// **Shape**: batches of at most [`MAX_ROWS`] rows and about [`MAX_BYTES`], in the order of the
/// source; batches without a row to return are left out. A few batches are in memory, whatever
/// the size of the source.
///
/// **Errors**: the first error ends the scan.
pub struct Scan {
    table: Arc<SourceTable>,
    /// The columns to read from the files.
    read: SchemaRef,
    /// The partition columns to add, by position in the table's.
    partitions: Vec<usize>,
    /// The derived columns to add, by position in the table's.
    derived: Vec<usize>,
    /// The columns that are returned.
    schema: SchemaRef,
    bounds: Vec<Bound>,
    next_file: usize,
    file_batches: Option<FileBatches>,
    waiting: VecDeque<RecordBatch>,
    counts: ScanCounts,
    ended: bool,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan")
            .field("schema", &self.schema)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Scan {
    pub(super) fn new(
        table: Arc<SourceTable>,
        projection: Option<&[String]>,
    ) -> Result<Scan, Error> {
        let names: HashSet<&str> = match projection {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => table
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect(),
        };
        if let Some(unknown) = names
            .iter()
            .find(|name| table.schema.index_of(name).is_err())
        {
            let known = table
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_str());
            return Err(unknown_column(unknown, "the projection", known));
        }
        let schema = of_fields(
            table
                .schema
                .fields()
                .iter()
                .filter(|field| names.contains(field.name().as_str())),
        );
        let wanted = needed(&table, &schema);
        let read = of_fields(
            table
                .columns
                .iter()
                .filter(|field| wanted.contains(field.name())),
        );
        table.check_readable(read.fields().iter().map(|field| field.name().as_str()))?;
        let partitions = (0..table.partitions.len())
            .filter(|i| wanted.contains(table.partitions[*i].name()))
            .collect();
        let derived = (0..table.derived.len())
            .filter(|i| wanted.contains(&table.derived[*i].name))
            .collect();
        let bounds = table
            .filter
            .as_ref()
            .map_or_else(Vec::new, |filter| filter.bounds());
        Ok(Scan {
            table,
            read,
            partitions,
            derived,
            schema,
            bounds,
            next_file: 0,
            file_batches: None,
            waiting: VecDeque::new(),
            counts: ScanCounts::default(),
            ended: false,
        })
    }

    /// The columns that are returned.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The progress so far.
    #[must_use]
    pub fn counts(&self) -> ScanCounts {
        self.counts
    }

    fn step(&mut self) -> Result<Option<SourceRows>, Error> {
        while self.left() > 0 {
            if let Some(batch) = self.waiting.pop_front() {
                if let Some(rows) = self.process(batch)? {
                    return Ok(Some(rows));
                }
                continue;
            }
            match self.next_file_batch()? {
                None => return Ok(None),
                Some(FileBatch::Skipped(rows)) => self.counts.read += rows,
                Some(FileBatch::Rows(batch)) => self.waiting.extend(split(&batch)),
            }
        }
        Ok(None)
    }

    fn left(&self) -> u64 {
        self.table
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.counts.kept))
    }

    fn next_file_batch(&mut self) -> Result<Option<FileBatch>, Error> {
        loop {
            if let Some(file_batches) = &mut self.file_batches {
                if let Some(batch) = file_batches.next().transpose()? {
                    return Ok(Some(batch));
                }
                self.file_batches = None;
            }
            if self.next_file == self.table.files.len() {
                return Ok(None);
            }
            let file = self.next_file;
            self.next_file += 1;
            if let (Some(rows), true) = (
                self.table.files[file].rows,
                self.excluded_by_partition(file),
            ) {
                return Ok(Some(FileBatch::Skipped(rows)));
            }
            self.file_batches = Some(self.open(file)?);
        }
    }

    /// Whether the partition values of a file exclude all its rows. A comparison with null is never
    /// true.
    fn excluded_by_partition(&self, file: usize) -> bool {
        let values = &self.table.files[file].partition_values;
        self.bounds.iter().any(|bound| {
            let partition = self
                .table
                .partitions
                .iter()
                .position(|partition| *partition.name() == bound.column);
            partition.is_some_and(|partition| {
                let value = values[partition].get().0;
                value.is_null(0) || prune::excludes(bound, value, value, 0)
            })
        })
    }

    fn open(&self, file: usize) -> Result<FileBatches, Error> {
        let (input, read) = (self.table.files[file].input.clone(), self.read.clone());
        Ok(match &self.table.read_options {
            ReadOptions::Csv(dialect) => Box::new(csv::CsvRows::open(input, dialect, read)?),
            ReadOptions::Jsonl {
                encoding,
                as_text,
                max_line_bytes,
            } => Box::new(jsonl::JsonlRows::open(
                input,
                *encoding,
                read,
                |name| as_text.contains(name),
                *max_line_bytes,
            )?),
            ReadOptions::Ipc => {
                Box::new(ipc::IpcRows::open(input, read, self.table.max_cell_bytes)?)
            }
            ReadOptions::Parquet => Box::new(parquet::ParquetRows::open(
                input,
                read,
                &self.bounds_of_file(),
                self.table.max_cell_bytes,
            )?),
        })
    }

    /// The bounds on values as they are in the file: statistics are about these, not about values
    /// of another type or of expressions.
    fn bounds_of_file(&self) -> Vec<Bound> {
        let in_file = |bound: &&Bound| {
            self.table
                .columns
                .iter()
                .any(|field| *field.name() == bound.column)
                && !self.table.retyped.contains(&bound.column)
        };
        self.bounds.iter().filter(in_file).cloned().collect()
    }

    /// Applies derive, where, limit and projection to a batch of the current file.
    fn process(&mut self, batch: RecordBatch) -> Result<Option<SourceRows>, Error> {
        let first = self.counts.read;
        self.counts.read += batch.num_rows() as u64;
        let batch = self.with_partitions(batch)?;
        let batch = self.with_derived(batch)?;
        let (batch, row_index) = self.filtered(batch, first)?;
        let (batch, row_index) = self.limited(batch, row_index);
        self.counts.kept += row_index.len() as u64;
        if row_index.is_empty() {
            return Ok(None);
        }
        Ok(Some(SourceRows {
            batch: self.projected(&batch)?,
            row_index,
        }))
    }

    fn with_partitions(&self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        if self.partitions.is_empty() {
            return Ok(batch);
        }
        let file = &self.table.files[self.next_file - 1];
        let added = self.partitions.iter().map(|partition| {
            let column = convert::repeated(&file.partition_values[*partition], batch.num_rows())
                .map_err(Error::Batch)?;
            Ok((self.table.partitions[*partition].clone(), column))
        });
        let added = added.collect::<Result<Vec<_>, Error>>()?;
        with_columns(&batch, added)
    }

    fn with_derived(&self, mut batch: RecordBatch) -> Result<RecordBatch, Error> {
        for derived in self.derived.iter().map(|i| &self.table.derived[*i]) {
            let column = derived
                .expression
                .evaluate(&batch)
                .map_err(|source| derived.failed(source))?;
            let field = Field::new(&derived.name, derived.expression.data_type().clone(), true);
            batch = with_columns(&batch, vec![(field.into(), column)])?;
        }
        Ok(batch)
    }

    fn filtered(&self, batch: RecordBatch, first: u64) -> Result<(RecordBatch, Vec<u64>), Error> {
        let positions = first..first + batch.num_rows() as u64;
        let Some(filter) = &self.table.filter else {
            return Ok((batch, positions.collect()));
        };
        let mask = filter.mask(&batch).map_err(super::where_failed)?;
        let row_index = positions
            .zip(mask.iter())
            .filter(|(_, keep)| *keep == Some(true))
            .map(|(at, _)| at)
            .collect();
        Ok((keep(&batch, &mask)?, row_index))
    }

    fn limited(&self, batch: RecordBatch, mut row_index: Vec<u64>) -> (RecordBatch, Vec<u64>) {
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        if row_index.len() <= left {
            return (batch, row_index);
        }
        row_index.truncate(left);
        (batch.slice(0, left), row_index)
    }

    fn projected(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let columns = self.schema.fields().iter().map(|field| {
            let at = batch
                .schema_ref()
                .index_of(field.name())
                .map_err(Error::Batch)?;
            Ok(batch.column(at).clone())
        });
        new_batch(
            self.schema.clone(),
            columns.collect::<Result<Vec<_>, Error>>()?,
            batch.num_rows(),
        )
    }
}

impl Iterator for Scan {
    type Item = Result<SourceRows, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let rows = self.step();
        self.ended = !matches!(rows, Ok(Some(_)));
        rows.transpose()
    }
}

/// The columns that are needed to return those of `schema`: these, and the columns that `where` and
/// the derived columns read.
fn needed(table: &SourceTable, schema: &Schema) -> HashSet<String> {
    let mut wanted: HashSet<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    wanted.extend(
        table
            .filter
            .iter()
            .flat_map(|filter| filter.columns().iter().cloned()),
    );
    // In reverse order, since a derived column may read those before it.
    for derived in table.derived.iter().rev() {
        if wanted.contains(&derived.name) {
            wanted.extend(derived.expression.columns().iter().cloned());
        }
    }
    wanted
}

fn of_fields<'a>(fields: impl Iterator<Item = &'a FieldRef>) -> SchemaRef {
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

fn with_columns(
    batch: &RecordBatch,
    added: Vec<(FieldRef, ArrayRef)>,
) -> Result<RecordBatch, Error> {
    let mut fields = batch.schema_ref().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for (field, column) in added {
        fields.push(field);
        columns.push(column);
    }
    new_batch(Arc::new(Schema::new(fields)), columns, batch.num_rows())
}

fn new_batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, Error> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(Error::Batch)
}

fn keep(batch: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, Error> {
    filter_record_batch(batch, mask).map_err(Error::Batch)
}

/// Splits a batch into batches within both limits.
fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let by_bytes = row_bytes(batch).div_ceil(MAX_BYTES).max(1);
    let size = rows.div_ceil(by_bytes).clamp(1, MAX_ROWS);
    (0..rows)
        .step_by(size)
        .map(|start| batch.slice(start, size.min(rows - start)))
        .collect()
}

/// The approximate bytes of the rows of a batch, without buffers that all its rows share.
pub(super) fn row_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

fn column_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        // All slices share the values of the dictionary.
        DataType::Dictionary(..) => column
            .as_any_dictionary()
            .keys()
            .to_data()
            .get_slice_memory_size()
            .unwrap_or(0),
        // Only the bytes that views refer to: a slice keeps all buffers of the whole.
        DataType::Utf8View => column.len() * 16 + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => {
            column.len() * 16 + column.as_binary_view().total_buffer_bytes_used()
        }
        DataType::Struct(_) => column.as_struct().columns().iter().map(column_bytes).sum(),
        _ => column.to_data().get_slice_memory_size().unwrap_or(0),
    }
}
