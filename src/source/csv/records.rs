//! Records: a file split into cells, by the characters of its dialect.
//!
//! ```text
//!   record  = cell (delimiter cell)* (line break | end of the file)
//!   cell    = plain | quote (text | quote quote | escape quote | escape escape)* quote
//! ```
//!
//! A quotation mark opens a quoted cell only as its first byte; inside an unquoted cell it is text.
//! Only a delimiter, a line break or the end of the file may follow the closing mark: anything else
//! means that quotation marks inside cells are not doubled, and cells and rows would be merged
//! silently.
//!
//! Text is searched for special bytes with `memchr`, and copied once.

use std::io::{BufRead, BufReader, Read};

use super::super::Error;
use super::super::bytes::Input;
use super::dialect::Dialect;
use super::lines::LineCounter;

/// The bytes that are read from the file at once.
const BUFFER_BYTES: usize = 1 << 17;

/// A file with more columns than this is not CSV.
const MAX_CELLS: usize = 100_000;

/// The first bytes of a cell are checked one by one: for these, `memchr` takes longer to start.
const SHORT: usize = 16;

/// One record: the text of its cells without anything between them.
#[derive(Debug, Default)]
pub(in crate::source) struct CsvRecord {
    text: Vec<u8>,
    /// The end of each cell in `text`, of no more cells than expected.
    ends: Vec<usize>,
    /// The number of cells in the file, expected or not.
    pub(in crate::source) cells: usize,
    /// The line where the record begins, from 1.
    pub(in crate::source) line: u64,
}

impl CsvRecord {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.cells = 0;
    }

    /// The bytes of its cells.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The cells as text, or the number of the first cell that is not UTF-8, from 0.
    pub(in crate::source) fn texts(&self) -> Result<impl Iterator<Item = &str>, usize> {
        let text = std::str::from_utf8(&self.text).map_err(|e| self.cell_at(e.valid_up_to()))?;
        // The cells are checked together, since that is faster. But half a character at the end of
        // one cell and half at the start of the next look like a whole one.
        if !text.is_ascii()
            && let Some(cell) = self
                .ends
                .iter()
                .position(|end| !text.is_char_boundary(*end))
        {
            return Err(cell);
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        Ok(starts
            .zip(&self.ends)
            .map(move |(start, end)| &text[start..*end]))
    }

    fn cell_at(&self, byte: usize) -> usize {
        self.ends
            .iter()
            .position(|end| byte < *end)
            .unwrap_or(self.ends.len().saturating_sub(1))
    }

    fn start_of_cell(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

/// The end of a cell.
enum CellEnd {
    Delimiter,
    Record,
}

/// The records of a file.
pub(in crate::source) struct CsvRecords {
    reader: BufReader<Box<dyn Read + Send>>,
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
    /// For each byte, whether it ends an unquoted cell.
    ends_cell: Box<[bool; 256]>,
    max_cell_bytes: usize,
    /// The names of the columns, for messages; their number is the expected number of cells. Empty
    /// until the header has been read.
    names: Vec<String>,
    lines: LineCounter,
}

impl CsvRecords {
    /// Opens a file and skips the lines that the dialect says.
    pub(super) fn open(input: &Input, dialect: &Dialect) -> Result<CsvRecords, Error> {
        Self::open_buffered(input, dialect, BUFFER_BYTES)
    }

    /// As [`CsvRecords::open`], with a buffer of this size: records must not depend on it.
    pub(in crate::source) fn open_buffered(
        input: &Input,
        dialect: &Dialect,
        buffer_bytes: usize,
    ) -> Result<CsvRecords, Error> {
        let mut ends_cell = Box::new([false; 256]);
        for byte in [dialect.delimiter, b'\n', b'\r'] {
            ends_cell[usize::from(byte)] = true;
        }
        let mut records = CsvRecords {
            reader: BufReader::with_capacity(buffer_bytes, input.text(dialect.encoding)?),
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            escape: dialect.escape,
            comment: dialect.comment,
            ends_cell,
            max_cell_bytes: dialect.max_cell_bytes,
            names: Vec::new(),
            lines: LineCounter::default(),
        };
        for _ in 0..dialect.skip_lines {
            records.skip_line(input)?;
        }
        Ok(records)
    }

    /// Sets the names of the columns, and so their number.
    pub(in crate::source) fn with_names(mut self, names: &[String]) -> CsvRecords {
        names.clone_into(&mut self.names);
        self
    }

    /// Reads the next record; `false` at the end of the file.
    pub(in crate::source) fn next(
        &mut self,
        input: &Input,
        record: &mut CsvRecord,
    ) -> Result<bool, Error> {
        record.clear();
        let mut first = self.first_byte(input)?;
        if first.is_none() {
            return Ok(false);
        }
        record.line = self.lines.line();
        loop {
            let end = match first {
                Some(byte) if self.quote == Some(byte) => self.quoted(input, record)?,
                Some(_) => self.plain(input, record)?,
                None => CellEnd::Record,
            };
            self.end_cell(input, record)?;
            match end {
                CellEnd::Record => return Ok(true),
                CellEnd::Delimiter => first = self.peek(input)?,
            }
        }
    }

    /// The first byte of the next record, after blank lines and comments; `None` at the end of the
    /// file.
    fn first_byte(&mut self, input: &Input) -> Result<Option<u8>, Error> {
        loop {
            match self.peek(input)? {
                None => return Ok(None),
                Some(byte @ (b'\n' | b'\r')) => {
                    self.consume(1);
                    self.lines.broke(byte);
                }
                Some(byte) if self.comment == Some(byte) => self.skip_line(input)?,
                Some(byte) => return Ok(Some(byte)),
            }
        }
    }

    fn skip_line(&mut self, input: &Input) -> Result<(), Error> {
        loop {
            let chunk = self.reader.fill_buf().map_err(|e| input.failed(e))?;
            if chunk.is_empty() {
                return Ok(());
            }
            let Some(at) = memchr::memchr2(b'\n', b'\r', chunk) else {
                let length = chunk.len();
                self.consume(length);
                continue;
            };
            let byte = chunk[at];
            self.consume(at + 1);
            self.lines.broke(byte);
            // A line feed after the return belongs to the same break. Left unread, it would count
            // as a line of its own when several lines are skipped.
            if byte == b'\r' && self.peek(input)? == Some(b'\n') {
                self.consume(1);
                self.lines.broke(b'\n');
            }
            return Ok(());
        }
    }

    /// Reads an unquoted cell and the byte that ends it.
    fn plain(&mut self, input: &Input, record: &mut CsvRecord) -> Result<CellEnd, Error> {
        loop {
            let chunk = self.reader.fill_buf().map_err(|e| input.failed(e))?;
            if chunk.is_empty() {
                return Ok(CellEnd::Record);
            }
            let short = &chunk[..chunk.len().min(SHORT)];
            let end = short
                .iter()
                .position(|byte| self.ends_cell[usize::from(*byte)])
                .or_else(|| {
                    memchr::memchr3(self.delimiter, b'\n', b'\r', &chunk[short.len()..])
                        .map(|at| at + short.len())
                });
            let Some(at) = end else {
                record.text.extend_from_slice(chunk);
                let length = chunk.len();
                self.consume(length);
                self.check_size(input, record)?;
                continue;
            };
            record.text.extend_from_slice(&chunk[..at]);
            let byte = chunk[at];
            self.consume(at + 1);
            return Ok(self.ended_by(byte));
        }
    }

    fn ended_by(&mut self, byte: u8) -> CellEnd {
        if byte == self.delimiter {
            return CellEnd::Delimiter;
        }
        self.lines.broke(byte);
        CellEnd::Record
    }

    /// Reads a quoted cell and the byte that ends it after its closing mark.
    fn quoted(&mut self, input: &Input, record: &mut CsvRecord) -> Result<CellEnd, Error> {
        self.consume(1);
        let quote = self.quote.unwrap_or(b'"');
        let escape = self.escape.unwrap_or(quote);
        loop {
            let chunk = self.reader.fill_buf().map_err(|e| input.failed(e))?;
            if chunk.is_empty() {
                let escape = self.looks_escaped(record);
                return Err(Error::Quote {
                    path: input.path().to_path_buf(),
                    line: record.line,
                    escape,
                });
            }
            let mark = memchr::memchr2(quote, escape, chunk);
            let text = &chunk[..mark.unwrap_or(chunk.len())];
            record.text.extend_from_slice(text);
            self.lines.passed(text);
            let (length, mark) = (text.len(), mark.map(|at| chunk[at]));
            self.consume(length + usize::from(mark.is_some()));
            self.check_size(input, record)?;
            let Some(mark) = mark else { continue };
            // The meaning of a mark depends on the byte after it, which may be in the next buffer:
            // the mark is consumed first, then the next byte is looked at.
            let next = self.peek(input)?;
            match next {
                Some(byte) if byte == quote || (mark == escape && byte == escape) => {
                    record.text.push(byte);
                    self.consume(1);
                }
                // An escape that escapes nothing is text.
                _ if mark != quote => record.text.push(mark),
                None => return Ok(CellEnd::Record),
                Some(byte) if byte == self.delimiter || matches!(byte, b'\n' | b'\r') => {
                    self.consume(1);
                    return Ok(self.ended_by(byte));
                }
                Some(_) => return Err(self.after_quote(input, record)),
            }
        }
    }

    fn after_quote(&self, input: &Input, record: &CsvRecord) -> Error {
        Error::AfterQuote {
            path: input.path().to_path_buf(),
            line: self.lines.line(),
            byte: self.lines.byte(),
            column: self.column(record.cells),
            begins: record.line,
            escape: self.looks_escaped(record),
        }
    }

    /// Whether a backslash is before a quotation mark in the record, or before its end: then the
    /// file probably uses backslashes as escapes.
    fn looks_escaped(&self, record: &CsvRecord) -> bool {
        self.escape.is_none()
            && (record.text.ends_with(b"\\") || record.text.windows(2).any(|pair| pair == b"\\\""))
    }

    fn end_cell(&self, input: &Input, record: &mut CsvRecord) -> Result<(), Error> {
        self.check_size(input, record)?;
        record.cells += 1;
        let (expected, path) = (self.names.len(), || input.path().to_path_buf());
        if expected == 0 && record.cells > MAX_CELLS {
            return Err(Error::TooManyColumns {
                path: path(),
                line: record.line,
                limit: MAX_CELLS,
            });
        }
        // Of surplus cells only the number is reported; their text is dropped.
        if expected == 0 || record.cells <= expected {
            record.ends.push(record.text.len());
        } else {
            record.text.truncate(record.start_of_cell());
        }
        Ok(())
    }

    fn check_size(&self, input: &Input, record: &CsvRecord) -> Result<(), Error> {
        let (whole, limit) = (record.text.len(), self.max_cell_bytes);
        if whole <= limit {
            return Ok(());
        }
        let path = input.path().to_path_buf();
        if whole - record.start_of_cell() > limit {
            let column = self.column(record.cells);
            return Err(Error::CellTooLarge {
                path,
                row: None,
                line: Some(record.line),
                column,
                limit: limit as u64,
            });
        }
        match super::super::open::row_limit(limit) {
            limit if whole > limit => Err(Error::TooLong {
                path,
                line: record.line,
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// The next byte, without consuming it.
    fn peek(&mut self, input: &Input) -> Result<Option<u8>, Error> {
        self.reader
            .fill_buf()
            .map(|chunk| chunk.first().copied())
            .map_err(|e| input.failed(e))
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.lines.read += bytes as u64;
    }

    /// A column for messages: its name, or its number where it has none.
    pub(in crate::source) fn column(&self, cell: usize) -> String {
        self.names
            .get(cell)
            .map_or_else(|| (cell + 1).to_string(), |name| format!("`{name}`"))
    }
}
