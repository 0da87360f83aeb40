//! CSV and TSV: every cell is text unless the job gives its column a type.
//!
//! Nothing is guessed: `007`, `NA`, `nan` and `1e5` stay as written. An empty cell is null (or an
//! empty text, by `source.empty`), quoted or not, because the programs that write CSV do not agree
//! on a difference; `source.null` adds texts that are null, quoted or not, too. Blank lines between
//! records are passed over, also in a table of one column, where a null must be written `""` to be
//! a row. A quotation mark inside an unquoted cell is text.
//!
//! What would lose or mix rows is an error that names its line: a record of another length than the
//! header, text behind a closing quotation mark, a quoted cell that is never closed, header names
//! that are missing or repeated, a cell or record larger than its limit. How a file is taken apart
//! stands in `records.rs`.

mod records;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use encoding_rs::Encoding;

use self::records::{Record, Records};
use super::bytes::Input;
use super::scan::{MAX_BYTES, MAX_ROWS, Piece};
use super::types::{self, Misfit};
use super::{EmptyCells, Error, Format, SourceSpec};

/// How the records of a file are written.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
    skip_lines: u64,
    header: bool,
    /// The names of the columns, in place of the header's.
    names: Arc<[String]>,
    empty: EmptyCells,
    nulls: Arc<[String]>,
    decimal_comma: bool,
    encoding: Option<&'static Encoding>,
    max_cell_bytes: usize,
}

impl Dialect {
    /// Checks the settings that say how a file is written, each by itself and together.
    pub(super) fn new(
        spec: &SourceSpec,
        format: Format,
        encoding: Option<&'static Encoding>,
    ) -> Result<Dialect, Error> {
        let delimiter = spec
            .delimiter
            .unwrap_or(if format == Format::Tsv { '\t' } else { ',' });
        let quote = match spec.quote.as_deref() {
            None => Some('"'),
            Some("") => None,
            Some(text) => Some(single(text).ok_or_else(|| bad("quote", text, ONE_MARK))?),
        };
        let byte = |setting, mark: char| {
            self::mark(mark).ok_or_else(|| bad(setting, &mark.to_string(), ONE_MARK))
        };
        let delimiter = byte("delimiter", delimiter)?;
        let quote = quote.map(|quote| byte("quote", quote)).transpose()?;
        let escape = spec
            .escape
            .map(|escape| byte("escape", escape))
            .transpose()?;
        let comment = spec
            .comment
            .map(|comment| byte("comment", comment))
            .transpose()?;
        let clash = |setting, mark: Option<u8>, others: &[Option<u8>]| match mark {
            Some(byte) if others.contains(&mark) => {
                Err(bad(setting, &char::from(byte).to_string(), ONE_MARK))
            }
            _ => Ok(()),
        };
        clash("quote", quote, &[Some(delimiter)])?;
        clash("escape", escape, &[Some(delimiter)])?;
        clash("comment", comment, &[Some(delimiter), quote, escape])?;
        if let (Some(escape), None) = (spec.escape, quote) {
            return Err(bad(
                "escape",
                &escape.to_string(),
                "for quotation marks inside quoted cells, and `source.quote = \"\"` says that \
                 there are none",
            ));
        }
        let nulls = spec.null.as_slice();
        if spec.empty == EmptyCells::Text && nulls.iter().any(String::is_empty) {
            return Err(bad(
                "null",
                "",
                "not the empty text where `source.empty = \"text\"`",
            ));
        }
        let decimal_comma = match spec.decimal {
            None | Some('.') => false,
            Some(',') if delimiter == b',' && quote.is_none() => {
                return Err(bad(
                    "decimal",
                    ",",
                    "not what stands between the cells, where no cell is quoted",
                ));
            }
            Some(',') => true,
            Some(other) => return Err(bad("decimal", &other.to_string(), "`.` or `,`")),
        };
        if spec.decimal.is_some()
            && !spec
                .columns
                .values()
                .filter_map(|name| types::parse(name))
                .any(|to| has_decimals(&to))
        {
            let expected = "for columns of floats and decimals, and `source.columns` makes no \
                column one of these";
            return Err(bad(
                "decimal",
                &spec.decimal.map(String::from).unwrap_or_default(),
                expected,
            ));
        }
        Ok(Dialect {
            delimiter,
            quote,
            // Doubling the quotation mark is read in any case.
            escape: escape.filter(|_| escape != quote),
            comment,
            skip_lines: spec.skip_lines,
            header: spec.header.unwrap_or(true),
            names: spec.names.clone().into(),
            empty: spec.empty,
            nulls: nulls.into(),
            decimal_comma,
            encoding,
            max_cell_bytes: super::cell_limit(spec),
        })
    }
}

fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn mark(mark: char) -> Option<u8> {
    u8::try_from(mark)
        .ok()
        .filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0))
}

const ONE_MARK: &str = "one ASCII character, no line break, and not the same as another mark";

fn bad(setting: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Setting {
        setting,
        value: value.to_owned(),
        expected,
    }
}

fn has_decimals(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_decimal()
}

/// What the first record of a file says of its columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// The names of the columns: by the job, by the file, or by their numbers.
    pub(super) names: Vec<String>,
    /// As the file has them, where it has any.
    pub(super) written: Option<Vec<String>>,
}

/// Reads the first record of a file.
///
/// # Errors
/// [`Error::Empty`] for a file without a first record; a name that is missing or repeated is the
/// caller's to find.
pub(super) fn header(input: &Input, dialect: &Dialect) -> Result<Header, Error> {
    let mut records = Records::open(input, dialect)?;
    let mut first = Record::default();
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
    Ok(Header {
        names,
        written: dialect.header.then_some(cells),
    })
}

/// The cells of a record as text.
fn texts<'a>(
    input: &Input,
    records: &Records,
    record: &'a Record,
) -> Result<impl Iterator<Item = &'a str> + use<'a>, Error> {
    record.texts().map_err(|cell| Error::NotUtf8 {
        path: input.path().to_path_buf(),
        line: record.line,
        column: records.column(cell),
    })
}

/// The rows of one file, in pieces of bounded size.
pub(super) struct Rows {
    input: Arc<Input>,
    records: Records,
    /// Reused, so that a record costs no allocation.
    record: Record,
    columns: Vec<Column>,
    /// By cell of the file: the column that takes it.
    takes: Vec<Option<usize>>,
    schema: SchemaRef,
    rows_before: u64,
    /// Kept only where a cell can be of the wrong type.
    lines: Option<Vec<u64>>,
    ended: bool,
}

struct Column {
    field: FieldRef,
    cells: StringBuilder,
    empty_is_null: bool,
    nulls: Arc<[String]>,
    decimal_comma: bool,
}

impl Rows {
    /// Opens a file for the columns of `schema`, each of which it has.
    pub(super) fn open(
        input: Arc<Input>,
        dialect: &Dialect,
        schema: SchemaRef,
    ) -> Result<Rows, Error> {
        let names = header(&input, dialect)?.names;
        let mut records = Records::open(&input, dialect)?.with_names(&names);
        let mut record = Record::default();
        if dialect.header {
            records.next(&input, &mut record)?;
        }
        let takes = names
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
            .map(|field| Column::new(field, dialect))
            .collect();
        let lines = typed.then(Vec::new);
        Ok(Rows {
            input,
            records,
            record,
            columns,
            takes,
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
            if record.cells != self.takes.len() {
                let path = self.input.path().to_path_buf();
                return Err(Error::CellCount {
                    path,
                    line: record.line,
                    found: record.cells,
                    expected: self.takes.len(),
                });
            }
            for (cell, takes) in texts(&self.input, &self.records, record)?.zip(&self.takes) {
                if let Some(column) = takes {
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
            let array =
                types::convert(&cells, column.field.data_type()).map_err(
                    |misfit| match misfit {
                        Misfit::Row(row) => Error::Cell {
                            path: self.input.path().to_path_buf(),
                            row: self.rows_before + row as u64 + 1,
                            line: self
                                .lines
                                .as_ref()
                                .and_then(|lines| lines.get(row).copied()),
                            column: column.field.name().clone(),
                            expected: types::name(column.field.data_type()),
                        },
                        Misfit::Types(e) => Error::Batch(e),
                    },
                )?;
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

impl Iterator for Rows {
    type Item = Result<Piece, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.read_batch();
        self.ended |= batch.is_err();
        batch.map(|batch| batch.map(Piece::Rows)).transpose()
    }
}

impl Column {
    fn new(field: &FieldRef, dialect: &Dialect) -> Column {
        let empty_is_null =
            dialect.empty == EmptyCells::Null || field.data_type() != &DataType::Utf8;
        let decimal_comma = dialect.decimal_comma && has_decimals(field.data_type());
        Column {
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
            // A point in such a cell would be a mark between thousands: as a comma, it makes no
            // number.
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
