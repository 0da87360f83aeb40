//! CSV and TSV: every cell is text unless the job gives its column a type.
//!
//! Nothing is guessed: `007`, `NA`, `nan` and `1e5` stay as written. An empty cell is null (or an empty text, by `source.empty`),
//! quoted or not, because the programs that write CSV do not agree on a difference. Blank lines between records are passed over,
//! also in a table of one column, where a null must be written `""` to be a row. A quotation mark inside an unquoted cell is text.
//!
//! The `csv` crate lets three things pass that are caught here: records of another length than the header, header names that are
//! missing or repeated, and a quoted cell that is never closed, which would swallow the rest of the file:
//!
//! ```text
//!   id,text⏎                 the file, as the Guard passes it on:
//!   1,"never closed⏎
//!   2,b⏎                     … 2,b⏎ ⏎ SENTINEL      a record of its own, or the tail of a cell that is still open
//! ```

use std::io::{self, Read};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use csv::{ByteRecord, StringRecord};
use encoding_rs::Encoding;

use super::bytes::Input;
use super::scan::{MAX_BYTES, MAX_ROWS, Piece};
use super::types::{self, Misfit};
use super::{EmptyCells, Error, Format, SourceSpec};

/// A record longer than this is taken for a file that is no CSV.
const MAX_RECORD_BYTES: usize = 256 << 20;

/// What the guard adds behind the last line. No text holds these bytes, since they are not UTF-8.
const SENTINEL: &[u8] = b"\xff\xfeend of rowmill source\xfe\xff";

/// How the records of a file are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    delimiter: u8,
    quote: Option<u8>,
    header: bool,
    empty: EmptyCells,
    encoding: Option<&'static Encoding>,
}

impl Dialect {
    /// Checks the settings that say how a file is written.
    pub(super) fn new(spec: &SourceSpec, format: Format, encoding: Option<&'static Encoding>) -> Result<Dialect, Error> {
        let delimiter = spec.delimiter.unwrap_or(if format == Format::Tsv { '\t' } else { ',' });
        let quote = match spec.quote.as_deref() {
            None => Some('"'),
            Some("") => None,
            Some(text) => Some(single(text).ok_or_else(|| bad("quote", text))?),
        };
        let delimiter = mark(delimiter).ok_or_else(|| bad("delimiter", &delimiter.to_string()))?;
        let quote = quote.map(|quote| mark(quote).ok_or_else(|| bad("quote", &quote.to_string()))).transpose()?;
        if quote == Some(delimiter) {
            return Err(bad("quote", &char::from(delimiter).to_string()));
        }
        Ok(Dialect { delimiter, quote, header: spec.header.unwrap_or(true), empty: spec.empty, encoding })
    }
}

fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn mark(mark: char) -> Option<u8> {
    u8::try_from(mark).ok().filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0))
}

fn bad(setting: &'static str, value: &str) -> Error {
    let expected = "one ASCII character, no line break, and not the same as the other mark";
    Error::Setting { setting, value: value.to_owned(), expected }
}

/// The names of the columns.
///
/// # Errors
/// [`Error::Empty`] for a file without a first record; a name that is missing or repeated is the caller's to find.
pub(super) fn header(input: &Input, dialect: &Dialect) -> Result<Vec<String>, Error> {
    let mut records = Records::open(input, dialect)?;
    let Some(first) = records.next(input, ByteRecord::new())? else {
        return Err(Error::Empty { path: input.path().to_path_buf() });
    };
    if dialect.header {
        return Ok(first.iter().map(str::to_owned).collect());
    }
    Ok((1..=first.len()).map(|number| format!("column_{number}")).collect())
}

/// The rows of one file, in pieces of bounded size.
pub(super) struct Rows {
    input: Arc<Input>,
    records: Records,
    /// Reused, so that a record costs no allocation.
    record: Option<ByteRecord>,
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
}

impl Rows {
    /// Opens a file for the columns of `schema`, each of which it has.
    pub(super) fn open(input: Arc<Input>, dialect: &Dialect, schema: SchemaRef) -> Result<Rows, Error> {
        let names = header(&input, dialect)?;
        let mut records = Records::open(&input, dialect)?;
        if dialect.header {
            records.next(&input, ByteRecord::new())?;
        }
        let takes = names.iter().map(|name| schema.index_of(name).ok()).collect();
        records.names = names;
        let typed = schema.fields().iter().any(|field| field.data_type() != &DataType::Utf8);
        let columns = schema.fields().iter().map(|field| Column::new(field, dialect.empty)).collect();
        let lines = typed.then(Vec::new);
        Ok(Rows { input, records, record: None, columns, takes, schema, rows_before: 0, lines, ended: false })
    }

    /// Reads records until a batch is full or the file ends.
    fn read_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < MAX_ROWS && bytes < MAX_BYTES {
            let Some(text) = self.records.next(&self.input, self.record.take().unwrap_or_default())? else {
                self.ended = true;
                break;
            };
            if text.len() != self.takes.len() {
                let line = self.records.line(text.as_byte_record());
                let path = self.input.path().to_path_buf();
                return Err(Error::CellCount { path, line, found: text.len(), expected: self.takes.len() });
            }
            for (cell, takes) in text.iter().zip(&self.takes) {
                if let Some(column) = takes {
                    self.columns[*column].push(cell);
                }
            }
            rows += 1;
            bytes += text.as_byte_record().as_slice().len();
            if let Some(lines) = &mut self.lines {
                lines.push(self.records.line(text.as_byte_record()));
            }
            self.record = Some(text.into_byte_record());
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
            let array = types::convert(&cells, column.field.data_type()).map_err(|misfit| match misfit {
                Misfit::Row(row) => Error::Cell {
                    path: self.input.path().to_path_buf(),
                    row: self.rows_before + row as u64 + 1,
                    line: self.lines.as_ref().and_then(|lines| lines.get(row).copied()),
                    column: column.field.name().clone(),
                    expected: types::name(column.field.data_type()),
                },
                Misfit::Types(e) => Error::Batch(e),
            })?;
            arrays.push(array);
        }
        if let Some(lines) = &mut self.lines {
            lines.clear();
        }
        self.rows_before += rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(Error::Batch)
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
    fn new(field: &FieldRef, empty: EmptyCells) -> Column {
        let empty_is_null = empty == EmptyCells::Null || field.data_type() != &DataType::Utf8;
        Column { field: field.clone(), cells: StringBuilder::new(), empty_is_null }
    }

    fn push(&mut self, cell: &str) {
        if cell.is_empty() && self.empty_is_null {
            self.cells.append_null();
        } else {
            self.cells.append_value(cell);
        }
    }
}

/// The records of a file, checked to be text and to end where the file ends.
struct Records {
    reader: csv::Reader<Guard>,
    names: Vec<String>,
}

impl Records {
    fn open(input: &Input, dialect: &Dialect) -> Result<Records, Error> {
        let guard = Guard {
            inner: input.text(dialect.encoding)?,
            tail: None,
            record_bytes: 0,
            limit: MAX_RECORD_BYTES,
            breaks: Breaks::default(),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .quote(dialect.quote.unwrap_or(b'"'))
            .quoting(dialect.quote.is_some())
            .buffer_capacity(1 << 17)
            .from_reader(guard);
        Ok(Records { reader, names: Vec::new() })
    }

    /// The next record; `None` at the end of the file. The record handed in is reused.
    fn next(&mut self, input: &Input, mut record: ByteRecord) -> Result<Option<StringRecord>, Error> {
        self.reader.get_mut().record_bytes = 0;
        let found = self.read(input, &mut record)?;
        if !found || record.as_slice().ends_with(SENTINEL) {
            return self.end(input, &record).map(|()| None);
        }
        match StringRecord::from_byte_record(record) {
            Ok(text) => Ok(Some(text)),
            Err(e) => {
                let cell = e.utf8_error().field();
                let line = self.line(&e.into_byte_record());
                Err(self.not_utf8(input, line, cell))
            }
        }
    }

    fn read(&mut self, input: &Input, record: &mut ByteRecord) -> Result<bool, Error> {
        let path = || input.path().to_path_buf();
        self.reader.read_byte_record(record).map_err(|e| match e.into_kind() {
            csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::FileTooLarge => {
                Error::TooLong { path: path(), line: record.position().map_or(0, csv::Position::line), limit: MAX_RECORD_BYTES }
            }
            csv::ErrorKind::Io(e) => input.failed(e),
            other => Error::Corrupt { path: path(), format: Format::Csv, source: format!("{other:?}").into() },
        })
    }

    /// Tells the end of the file from a cell that is still open there.
    fn end(&mut self, input: &Input, record: &ByteRecord) -> Result<(), Error> {
        let alone = record.as_slice() == SENTINEL;
        let (line, open_line) = (self.line(record), self.reader.position().line() - breaks_in(record));
        if self.read(input, &mut ByteRecord::new())? {
            // More follows, so these bytes are the file's own.
            return Err(self.not_utf8(input, line, record.len() - 1));
        }
        if alone { Ok(()) } else { Err(Error::Quote { path: input.path().to_path_buf(), line: open_line }) }
    }

    fn not_utf8(&self, input: &Input, line: u64, cell: usize) -> Error {
        let column = self.names.get(cell).map_or_else(|| (cell + 1).to_string(), |name| format!("`{name}`"));
        Error::NotUtf8 { path: input.path().to_path_buf(), line, column }
    }

    /// The line where the record just read begins.
    ///
    /// The reader's own position stands before blank lines, and between a carriage return and its line feed; so this counts back
    /// from where the record ends.
    fn line(&self, record: &ByteRecord) -> u64 {
        let passed_break = u64::from(self.reader.get_ref().breaks != Breaks::CrLf);
        self.reader.position().line().saturating_sub(breaks_in(record) + passed_break).max(1)
    }
}

fn breaks_in(record: &ByteRecord) -> u64 {
    memchr::memchr_iter(b'\n', record.as_slice()).count() as u64
}

/// Passes the file on, adds the sentinel, and refuses to feed one record without end.
struct Guard {
    inner: Box<dyn Read + Send>,
    /// What is left to say once the file has ended.
    tail: Option<io::Cursor<Vec<u8>>>,
    /// Bytes passed on since the last record ended.
    record_bytes: usize,
    limit: usize,
    breaks: Breaks,
}

/// How the lines of a file end, by its first line break.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Breaks {
    #[default]
    Unknown,
    /// Unknown yet, and the last byte was a carriage return.
    Cr,
    Lf,
    CrLf,
}

impl Breaks {
    fn look(self, bytes: &[u8]) -> Breaks {
        if matches!(self, Breaks::Lf | Breaks::CrLf) {
            return self;
        }
        match memchr::memchr(b'\n', bytes) {
            Some(0) if self == Breaks::Cr => Breaks::CrLf,
            Some(at) if at > 0 && bytes[at - 1] == b'\r' => Breaks::CrLf,
            Some(_) => Breaks::Lf,
            None if bytes.last() == Some(&b'\r') => Breaks::Cr,
            None => Breaks::Unknown,
        }
    }
}

impl Read for Guard {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.record_bytes > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.tail.is_none() {
            let length = self.inner.read(buf)?;
            if length > 0 {
                self.record_bytes += length;
                self.breaks = self.breaks.look(&buf[..length]);
                return Ok(length);
            }
        }
        self.tail.get_or_insert_with(|| io::Cursor::new([b"\n", SENTINEL].concat())).read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_on_a_record_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, format!("a,b\n1,\"{}", "x\n".repeat(500_000))).unwrap();
        let input = Input::of_file(&path, None).unwrap();
        let dialect = Dialect::new(&SourceSpec::default(), Format::Csv, None).unwrap();
        let mut records = Records::open(&input, &dialect).unwrap();
        records.reader.get_mut().limit = 300_000;
        assert!(records.next(&input, ByteRecord::new()).is_ok());
        let error = records.next(&input, ByteRecord::new()).unwrap_err();
        assert!(matches!(error, Error::TooLong { line: 2, .. }), "{error:?}");
    }
}
