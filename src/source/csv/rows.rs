//! The rows of a file: records converted to batches of columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::super::bytes::Input;
use super::super::convert::{ConvertError, convert};
use super::super::scan::{FileBatch, MAX_BYTES, MAX_ROWS};
use super::super::{EmptyCells, Error, types};
use super::dialect::{Dialect, has_decimals};
use super::records::{CsvRecord, CsvRecords};

/// The columns of a file by its first record.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::source) struct CsvHeader {
    /// The names of the columns: those of the job, those of the file, or numbered ones.
    pub(in crate::source) names: Vec<String>,
    /// The names in the file, where it has a header.
    pub(in crate::source) written: Option<Vec<String>>,
}

/// Reads the first record of a file.
///
/// # Errors
/// [`Error::Empty`] for a file without a first record. Names that are missing or repeated are left
/// to the caller.
pub(in crate::source) fn header(input: &Input, dialect: &Dialect) -> Result<CsvHeader, Error> {
    let mut records = CsvRecords::open(input, dialect)?;
    let mut first = CsvRecord::default();
    let path = || input.path().to_path_buf();
    if !records.next(input, &mut first)? {
        return Err(Error::Empty { path: path() });
    }
    let cells: Vec<String> = texts(input, &records, &first)?.map(str::to_owned).collect();
    let names = match &*dialect.names {
        [] if dialect.header => cells.clone(),
        [] => (1..=cells.len())
            .map(|number| format!("column_{number}"))
            .collect(),
        names if names.len() == cells.len() => names.to_vec(),
        names => {
            return Err(Error::NamesCount {
                path: path(),
                names: names.len(),
                columns: cells.len(),
            });
        }
    };
    Ok(CsvHeader {
        names,
        written: dialect.header.then_some(cells),
    })
}

/// The cells of a record as text.
fn texts<'a>(
    input: &Input,
    records: &CsvRecords,
    record: &'a CsvRecord,
) -> Result<impl Iterator<Item = &'a str> + use<'a>, Error> {
    record.texts().map_err(|cell| Error::NotUtf8 {
        path: input.path().to_path_buf(),
        line: record.line,
        column: records.column(cell),
    })
}

/// The rows of one file, in batches of bounded size.
pub(in crate::source) struct CsvRows {
    input: Arc<Input>,
    records: CsvRecords,
    /// Reused, so that a record needs no allocation.
    record: CsvRecord,
    columns: Vec<CsvColumn>,
    /// For each cell of a record, the column it belongs to, if that is wanted.
    targets: Vec<Option<usize>>,
    schema: SchemaRef,
    rows_before: u64,
    /// The line of each row of the batch, kept only where a cell can be of the wrong type.
    lines: Option<Vec<u64>>,
    ended: bool,
}

struct CsvColumn {
    field: FieldRef,
    cells: StringBuilder,
    empty_is_null: bool,
    nulls: Arc<[String]>,
    decimal_comma: bool,
}

impl CsvRows {
    /// Opens a file for the columns of `schema`, all of which it has.
    pub(in crate::source) fn open(
        input: Arc<Input>,
        dialect: &Dialect,
        schema: SchemaRef,
    ) -> Result<CsvRows, Error> {
        let names = header(&input, dialect)?.names;
        let mut records = CsvRecords::open(&input, dialect)?.with_names(&names);
        let mut record = CsvRecord::default();
        if dialect.header {
            records.next(&input, &mut record)?;
        }
        let targets = names
            .iter()
            .map(|name| schema.index_of(name).ok())
            .collect();
        let typed = schema
            .fields()
            .iter()
            .any(|field| field.data_type() != &DataType::Utf8);
        let columns = schema
            .fields()
            .iter()
            .map(|field| CsvColumn::new(field, dialect))
            .collect();
        let lines = typed.then(Vec::new);
        Ok(CsvRows {
            input,
            records,
            record,
            columns,
            targets,
            schema,
            rows_before: 0,
            lines,
            ended: false,
        })
    }

    /// Reads records until a batch is full or the file ends.
    fn read_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < MAX_ROWS && bytes < MAX_BYTES {
            if !self.records.next(&self.input, &mut self.record)? {
                self.ended = true;
                break;
            }
            let record = &self.record;
            if record.cells != self.targets.len() {
                let path = self.input.path().to_path_buf();
                return Err(Error::CellCount {
                    path,
                    line: record.line,
                    found: record.cells,
                    expected: self.targets.len(),
                });
            }
            for (cell, target) in texts(&self.input, &self.records, record)?.zip(&self.targets) {
                if let Some(column) = target {
                    self.columns[*column].push(cell);
                }
            }
            rows += 1;
            bytes += record.bytes();
            if let Some(lines) = &mut self.lines {
                lines.push(record.line);
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        self.finish(rows).map(Some)
    }

    fn finish(&mut self, rows: usize) -> Result<RecordBatch, Error> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let cells: ArrayRef = Arc::new(column.cells.finish());
            let array = convert(&cells, column.field.data_type()).map_err(|error| match error {
                ConvertError::Row(row) => Error::Cell {
                    path: self.input.path().to_path_buf(),
                    row: self.rows_before + row as u64 + 1,
                    line: self
                        .lines
                        .as_ref()
                        .and_then(|lines| lines.get(row).copied()),
                    column: column.field.name().clone(),
                    expected: types::name(column.field.data_type()),
                },
                ConvertError::Types(e) => Error::Batch(e),
            })?;
            arrays.push(array);
        }
        if let Some(lines) = &mut self.lines {
            lines.clear();
        }
        self.rows_before += rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(Error::Batch)
    }
}

impl Iterator for CsvRows {
    type Item = Result<FileBatch, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.read_batch();
        self.ended |= batch.is_err();
        batch.map(|batch| batch.map(FileBatch::Rows)).transpose()
    }
}

impl CsvColumn {
    fn new(field: &FieldRef, dialect: &Dialect) -> CsvColumn {
        let empty_is_null =
            dialect.empty == EmptyCells::Null || field.data_type() != &DataType::Utf8;
        let decimal_comma = dialect.decimal_comma && has_decimals(field.data_type());
        CsvColumn {
            field: field.clone(),
            cells: StringBuilder::new(),
            empty_is_null,
            nulls: Arc::clone(&dialect.nulls),
            decimal_comma,
        }
    }

    fn push(&mut self, cell: &str) {
        let is_null = if cell.is_empty() {
            self.empty_is_null
        } else {
            self.nulls.iter().any(|null| null == cell)
        };
        if is_null {
            self.cells.append_null();
        } else if self.decimal_comma {
            // A point in such a cell separates thousands. Swapped for a comma, it makes the cell
            // an error, where dropping it would change the number.
            let swapped = |c| {
                if c == ',' {
                    '.'
                } else if c == '.' {
                    ','
                } else {
                    c
                }
            };
            self.cells
                .append_value(cell.chars().map(swapped).collect::<String>());
        } else {
            self.cells.append_value(cell);
        }
    }
}
