//! CSV and TSV: UTF-8, a header line, lines that end in a line feed.
//!
//! A cell is quoted when it must be (it holds the delimiter, a quote, a line end), and when it is an empty text: a null is nothing at
//! all, so the two can be told apart by readers that care, this crate's own among them.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::EncoderOptions;

use super::cells::{self, CellText};
use super::writer::{Cause, Sink};
use crate::durable::Pending;

/// A CSV or TSV file on its way.
pub(super) struct CsvFile {
    file: Pending,
    delimiter: u8,
    options: EncoderOptions,
    /// Lines that have not gone to the file yet.
    lines: Vec<u8>,
    /// Room for one cell.
    cell: Vec<u8>,
}

/// Bytes of lines after which they go to the file.
const LINES_BYTES: usize = 1 << 18;

impl CsvFile {
    pub(super) fn create(file: Pending, delimiter: u8, schema: &SchemaRef) -> Result<CsvFile, Cause> {
        let mut csv = CsvFile {
            file,
            delimiter,
            options: cells::encoder_options(),
            lines: Vec::with_capacity(2 * LINES_BYTES),
            cell: Vec::new(),
        };
        for (i, field) in schema.fields().iter().enumerate() {
            csv.next_cell(i);
            push_cell(&mut csv.lines, field.name().as_bytes(), delimiter);
        }
        csv.end_line()?;
        Ok(csv)
    }

    fn next_cell(&mut self, column: usize) {
        if column > 0 {
            self.lines.push(self.delimiter);
        }
    }

    fn end_line(&mut self) -> Result<(), Cause> {
        self.lines.push(b'\n');
        if self.lines.len() >= LINES_BYTES {
            self.file.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }
}

impl Sink for CsvFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        let options = self.options.clone();
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let mut columns: Vec<_> =
            columns.map(|(field, array)| CellText::new(field, array, &options)).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter_mut().enumerate() {
                self.next_cell(i);
                if let Some(text) = column.text(row, &mut self.cell)? {
                    push_cell(&mut self.lines, text, self.delimiter);
                }
            }
            self.end_line()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Pending, Cause> {
        self.file.write_all(&self.lines)?;
        Ok(self.file)
    }
}

/// Appends a cell that is not null, quoted if need be.
fn push_cell(lines: &mut Vec<u8>, text: &[u8], delimiter: u8) {
    let plain = memchr::memchr3(b'"', b'\n', delimiter, text).is_none() && memchr::memchr(b'\r', text).is_none();
    if plain && !text.is_empty() {
        lines.extend_from_slice(text);
        return;
    }
    lines.push(b'"');
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        lines.extend_from_slice(&rest[..=quote]);
        lines.push(b'"');
        rest = &rest[quote + 1..];
    }
    lines.extend_from_slice(rest);
    lines.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_a_cell_where_it_must() {
        for (text, expected) in [
            ("plain", "plain"),
            (" kept ", " kept "),
            ("=1+1", "=1+1"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("a\tb", "a\tb"),
            ("two\nlines", "\"two\nlines\""),
            ("carriage\rreturn", "\"carriage\rreturn\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("\"", "\"\"\"\""),
        ] {
            let mut lines = Vec::new();
            push_cell(&mut lines, text.as_bytes(), b',');
            assert_eq!(String::from_utf8(lines).unwrap(), expected);
        }
    }
}
