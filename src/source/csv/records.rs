//! Records: a file taken apart into cells, by the marks of its dialect.
//!
//! ```text
//!   record  = cell (delimiter cell)* (line break | end of the file)
//!   cell    = plain | quote (text | quote quote | escape quote | escape escape)* quote
//! ```
//!
//! A quotation mark opens a quoted cell only as its first byte; inside an unquoted cell it is text.
//! After the closing mark only a delimiter, a line break or the end of the file may follow:
//! anything else means that the marks inside cells are not doubled, and that cells and rows would
//! run into each other without a word.
//!
//! Text is looked through for marks with `memchr`, and copied once. Lines are those that an editor
//! counts: broken by line feeds, or by carriage returns in a file whose first line ends in one.

use std::io::{BufRead, BufReader, Read};

use super::super::Error;
use super::super::bytes::Input;
use super::Dialect;

/// More columns than this are taken for a file that is no CSV.
const MAX_CELLS: usize = 100_000;

/// How far a cell is looked through byte by byte; starting `memchr` costs more than that.
const SHORT: usize = 16;

/// One record: its cells one behind the other.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: Vec<u8>,
    /// Where each cell ends, of as many as are expected.
    ends: Vec<usize>,
    /// The cells in the file.
    pub(super) cells: usize,
    /// The line where it begins, from 1.
    pub(super) line: u64,
}

impl Record {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.cells = 0;
    }

    /// The bytes of its cells.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The cells as text; the number of the first that is none, from 0.
    pub(super) fn texts(&self) -> Result<impl Iterator<Item = &str>, usize> {
        let text = std::str::from_utf8(&self.text).map_err(|e| self.cell_at(e.valid_up_to()))?;
        // Half a character at the end of one cell and half at the start of the next would look like
        // a whole one.
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

/// What ended a cell.
enum End {
    Delimiter,
    Record,
}

/// The records of a file.
pub(super) struct Records {
    reader: BufReader<Box<dyn Read + Send>>,
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
    /// Bytes that end an unquoted cell.
    ends_cell: Box<[bool; 256]>,
    max_cell_bytes: usize,
    /// The names of the columns, for messages; their number is that of the cells expected, once it
    /// is known.
    names: Vec<String>,
    lines: Lines,
}

impl Records {
    /// Opens a file and passes over the lines that are to be skipped.
    pub(super) fn open(input: &Input, dialect: &Dialect) -> Result<Records, Error> {
        let mut ends_cell = Box::new([false; 256]);
        for byte in [dialect.delimiter, b'\n', b'\r'] {
            ends_cell[usize::from(byte)] = true;
        }
        let mut records = Records {
            reader: BufReader::with_capacity(1 << 17, input.text(dialect.encoding)?),
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            escape: dialect.escape,
            comment: dialect.comment,
            ends_cell,
            max_cell_bytes: dialect.max_cell_bytes,
            names: Vec::new(),
            lines: Lines::default(),
        };
        for _ in 0..dialect.skip_lines {
            records.skip_line(input)?;
        }
        Ok(records)
    }

    /// Says how the columns are called, and so how many there are.
    pub(super) fn with_names(mut self, names: &[String]) -> Records {
        names.clone_into(&mut self.names);
        self
    }

    /// Reads the next record; `false` at the end of the file.
    pub(super) fn next(&mut self, input: &Input, record: &mut Record) -> Result<bool, Error> {
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
                None => End::Record,
            };
            self.end_cell(input, record)?;
            match end {
                End::Record => return Ok(true),
                End::Delimiter => first = self.peek(input)?,
            }
        }
    }

    /// The first byte of the next record, behind blank lines and comments; `None` where there is no
    /// record any more.
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
            // Not left for the next line, which would be an empty one.
            if byte == b'\r' && self.peek(input)? == Some(b'\n') {
                self.consume(1);
                self.lines.broke(b'\n');
            }
            return Ok(());
        }
    }

    /// An unquoted cell up to what ends it.
    fn plain(&mut self, input: &Input, record: &mut Record) -> Result<End, Error> {
        loop {
            let chunk = self.reader.fill_buf().map_err(|e| input.failed(e))?;
            if chunk.is_empty() {
                return Ok(End::Record);
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

    fn ended_by(&mut self, byte: u8) -> End {
        if byte == self.delimiter {
            return End::Delimiter;
        }
        self.lines.broke(byte);
        End::Record
    }

    /// A quoted cell, and what ends it behind its closing mark.
    fn quoted(&mut self, input: &Input, record: &mut Record) -> Result<End, Error> {
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
            let next = self.peek(input)?;
            match next {
                Some(byte) if byte == quote || (mark == escape && byte == escape) => {
                    record.text.push(byte);
                    self.consume(1);
                }
                // It escapes nothing, so it is text.
                _ if mark != quote => record.text.push(mark),
                None => return Ok(End::Record),
                Some(byte) if byte == self.delimiter || matches!(byte, b'\n' | b'\r') => {
                    self.consume(1);
                    return Ok(self.ended_by(byte));
                }
                Some(_) => return Err(self.after_quote(input, record)),
            }
        }
    }

    fn after_quote(&self, input: &Input, record: &Record) -> Error {
        Error::AfterQuote {
            path: input.path().to_path_buf(),
            line: self.lines.line(),
            byte: self.lines.byte(),
            column: self.column(record.cells),
            begins: record.line,
            escape: self.looks_escaped(record),
        }
    }

    /// Whether a backslash stands before a quotation mark in the record, or before where it ended.
    fn looks_escaped(&self, record: &Record) -> bool {
        self.escape.is_none()
            && (record.text.ends_with(b"\\") || record.text.windows(2).any(|pair| pair == b"\\\""))
    }

    fn end_cell(&self, input: &Input, record: &mut Record) -> Result<(), Error> {
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
        // Of cells that are too many only the number is told.
        if expected == 0 || record.cells <= expected {
            record.ends.push(record.text.len());
        } else {
            record.text.truncate(record.start_of_cell());
        }
        Ok(())
    }

    fn check_size(&self, input: &Input, record: &Record) -> Result<(), Error> {
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
        match super::super::row_limit(limit) {
            limit if whole > limit => Err(Error::TooLong {
                path,
                line: record.line,
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// The next byte, which stays.
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

    /// A column for messages: by its name, or by its number where it has none.
    pub(super) fn column(&self, cell: usize) -> String {
        self.names
            .get(cell)
            .map_or_else(|| (cell + 1).to_string(), |name| format!("`{name}`"))
    }
}

/// Counts the lines of a file.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes read so far.
    read: u64,
    /// Bytes before the line that is being read.
    before_line: u64,
    breaks: Breaks,
    line_feeds: u64,
    /// Carriage returns that no line feed follows; counted only while they may be what breaks
    /// lines.
    returns: u64,
    /// The last byte counted was a carriage return, which ends at this place of the file.
    return_at: Option<u64>,
}

/// What breaks the lines of a file, by the end of its first line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Breaks {
    #[default]
    Unknown,
    LineFeed,
    Return,
}

impl Lines {
    /// Counts a line break just read.
    fn broke(&mut self, byte: u8) {
        let here = self.read;
        self.count(byte, here);
    }

    /// Counts the line breaks of text that is about to be read.
    fn passed(&mut self, text: &[u8]) {
        if self.breaks == Breaks::LineFeed {
            let mut last = None;
            for at in memchr::memchr_iter(b'\n', text) {
                self.line_feeds += 1;
                last = Some(at);
            }
            if let Some(at) = last {
                self.before_line = self.read + at as u64 + 1;
            }
            return;
        }
        for at in memchr::memchr2_iter(b'\n', b'\r', text) {
            self.count(text[at], self.read + at as u64 + 1);
        }
    }

    /// Counts a line break that ends at this place of the file.
    fn count(&mut self, byte: u8, end: u64) {
        let follows_return = self.return_at == Some(end - 1) && self.return_at.is_some();
        if byte == b'\r' {
            // The first one is known to break lines when the next byte is no line feed.
            if self.breaks == Breaks::Unknown && self.return_at.is_some() {
                self.breaks = Breaks::Return;
            }
            if self.breaks != Breaks::LineFeed {
                self.returns += 1;
                self.return_at = Some(end);
                self.before_line = end;
            }
            return;
        }
        self.line_feeds += 1;
        self.before_line = end;
        if follows_return {
            self.returns -= 1;
        }
        if self.breaks == Breaks::Unknown {
            // A return before that was the break of an earlier line, unless it belongs to this one.
            self.breaks = if self.returns > 0 {
                Breaks::Return
            } else {
                Breaks::LineFeed
            };
        }
        self.return_at = None;
    }

    /// The line that is being read, from 1.
    fn line(&self) -> u64 {
        1 + self.line_feeds
            + if self.breaks == Breaks::LineFeed {
                0
            } else {
                self.returns
            }
    }

    /// The byte of the line that is next, from 1.
    fn byte(&self) -> u64 {
        self.read - self.before_line + 1
    }
}
