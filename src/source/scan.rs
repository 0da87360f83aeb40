//! One pass over a source: read, derive, keep what `where` keeps, stop at the limit.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::schema::unknown_column;
use super::{Error, Reading, Table, csv, ipc, jsonl, parquet, prune, types};
use crate::table::Bound;

/// Most rows of a batch.
pub const MAX_ROWS: usize = 8192;

/// About the most bytes of a batch; a single row may be larger.
pub const MAX_BYTES: usize = 16 << 20;

/// What a file gives next.
pub(super) enum Piece {
    /// Rows.
    Rows(RecordBatch),
    /// So many rows that cannot match, and were not read.
    Skipped(u64),
}

type Pieces = Box<dyn Iterator<Item = Result<Piece, Error>> + Send>;

/// Rows of a source.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns asked for.
    pub batch: RecordBatch,
    /// The position of each row in the source before `where` and `limit`, over all files, from 0.
    pub row_index: Vec<u64>,
}

/// How far a scan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCounts {
    /// Rows of the source that went by, those included that statistics excluded without reading.
    pub read: u64,
    /// Rows handed out.
    pub kept: u64,
}

/// One pass over a source.
///
/// **Shape**: batches of at most [`MAX_ROWS`] rows and about [`MAX_BYTES`], in the order of the
/// source; batches from which nothing is kept are not handed out. A few batches are in memory,
/// whatever the size of the source.
///
/// **Errors**: the first error ends the scan.
pub struct Scan {
    table: Arc<Table>,
    /// The columns to read from the files.
    read: SchemaRef,
    /// The folder keys to add, by position in the table's.
    keys: Vec<usize>,
    /// The derived columns to add, by position in the table's.
    derived: Vec<usize>,
    /// What is handed out.
    schema: SchemaRef,
    bounds: Vec<Bound>,
    next_part: usize,
    pieces: Option<Pieces>,
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
    pub(super) fn new(table: Arc<Table>, projection: Option<&[String]>) -> Result<Scan, Error> {
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
        let keys = (0..table.keys.len())
            .filter(|i| wanted.contains(table.keys[*i].name()))
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
            keys,
            derived,
            schema,
            bounds,
            next_part: 0,
            pieces: None,
            waiting: VecDeque::new(),
            counts: ScanCounts::default(),
            ended: false,
        })
    }

    /// The columns that are handed out.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How far the scan has come.
    #[must_use]
    pub fn counts(&self) -> ScanCounts {
        self.counts
    }

    fn step(&mut self) -> Result<Option<Rows>, Error> {
        while self.left() > 0 {
            if let Some(batch) = self.waiting.pop_front() {
                if let Some(rows) = self.admit(batch)? {
                    return Ok(Some(rows));
                }
                continue;
            }
            match self.next_piece()? {
                None => return Ok(None),
                Some(Piece::Skipped(rows)) => self.counts.read += rows,
                Some(Piece::Rows(batch)) => self.waiting.extend(split(&batch)),
            }
        }
        Ok(None)
    }

    fn left(&self) -> u64 {
        self.table
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.counts.kept))
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(pieces) = &mut self.pieces {
                if let Some(piece) = pieces.next().transpose()? {
                    return Ok(Some(piece));
                }
                self.pieces = None;
            }
            if self.next_part == self.table.parts.len() {
                return Ok(None);
            }
            let part = self.next_part;
            self.next_part += 1;
            if let (Some(rows), true) = (self.table.parts[part].rows, self.excluded_by_folder(part))
            {
                return Ok(Some(Piece::Skipped(rows)));
            }
            self.pieces = Some(self.open(part)?);
        }
    }

    /// Whether the folders of a file exclude all its rows. A key that is null compares true with
    /// nothing.
    fn excluded_by_folder(&self, part: usize) -> bool {
        let values = &self.table.parts[part].keys;
        self.bounds.iter().any(|bound| {
            let key = self
                .table
                .keys
                .iter()
                .position(|key| *key.name() == bound.column);
            key.is_some_and(|key| {
                let value = values[key].get().0;
                value.is_null(0) || prune::excludes(bound, value, value, 0)
            })
        })
    }

    fn open(&self, part: usize) -> Result<Pieces, Error> {
        let (input, read) = (self.table.parts[part].input.clone(), self.read.clone());
        Ok(match &self.table.reading {
            Reading::Csv(dialect) => Box::new(csv::Rows::open(input, dialect, read)?),
            Reading::Jsonl {
                encoding,
                as_text,
                max_line_bytes,
            } => Box::new(jsonl::Rows::open(
                input,
                *encoding,
                read,
                |name| as_text.contains(name),
                *max_line_bytes,
            )?),
            Reading::Ipc => Box::new(ipc::Rows::open(input, read, self.table.max_cell_bytes)?),
            Reading::Parquet => Box::new(parquet::Rows::open(
                input,
                read,
                &self.bounds_of_file(),
                self.table.max_cell_bytes,
            )?),
        })
    }

    /// The bounds that speak of values as they are in the file.
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

    /// Takes a batch of the current file through derive, where, limit and projection.
    fn admit(&mut self, batch: RecordBatch) -> Result<Option<Rows>, Error> {
        let first = self.counts.read;
        self.counts.read += batch.num_rows() as u64;
        let batch = self.with_keys(batch)?;
        let batch = self.with_derived(batch)?;
        let (batch, row_index) = self.filtered(batch, first)?;
        let (batch, row_index) = self.limited(batch, row_index);
        self.counts.kept += row_index.len() as u64;
        if row_index.is_empty() {
            return Ok(None);
        }
        Ok(Some(Rows {
            batch: self.projected(&batch)?,
            row_index,
        }))
    }

    fn with_keys(&self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        if self.keys.is_empty() {
            return Ok(batch);
        }
        let part = &self.table.parts[self.next_part - 1];
        let added = self.keys.iter().map(|key| {
            let column =
                types::repeated(&part.keys[*key], batch.num_rows()).map_err(Error::Batch)?;
            Ok((self.table.keys[*key].clone(), column))
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
        made(
            self.schema.clone(),
            columns.collect::<Result<Vec<_>, Error>>()?,
            batch.num_rows(),
        )
    }
}

impl Iterator for Scan {
    type Item = Result<Rows, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let rows = self.step();
        self.ended = !matches!(rows, Ok(Some(_)));
        rows.transpose()
    }
}

/// The columns that must be there to hand out those of `schema`: these, and what `where` and the
/// derived columns read.
fn needed(table: &Table, schema: &Schema) -> HashSet<String> {
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
    // A derived column may read those before it.
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
    made(Arc::new(Schema::new(fields)), columns, batch.num_rows())
}

fn made(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, Error> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(Error::Batch)
}

fn keep(batch: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, Error> {
    filter_record_batch(batch, mask).map_err(Error::Batch)
}

/// Cuts a batch into batches within both limits.
fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let by_bytes = row_bytes(batch).div_ceil(MAX_BYTES).max(1);
    let size = rows.div_ceil(by_bytes).clamp(1, MAX_ROWS);
    (0..rows)
        .step_by(size)
        .map(|start| batch.slice(start, size.min(rows - start)))
        .collect()
}

/// About how many bytes the rows of a batch take, without what all its rows share.
pub(super) fn row_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

fn column_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        // The entries are shared by every slice.
        DataType::Dictionary(..) => column
            .as_any_dictionary()
            .keys()
            .to_data()
            .get_slice_memory_size()
            .unwrap_or(0),
        // Views count what they show, since a slice keeps every buffer.
        DataType::Utf8View => column.len() * 16 + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => {
            column.len() * 16 + column.as_binary_view().total_buffer_bytes_used()
        }
        DataType::Struct(_) => column.as_struct().columns().iter().map(column_bytes).sum(),
        _ => column.to_data().get_slice_memory_size().unwrap_or(0),
    }
}
