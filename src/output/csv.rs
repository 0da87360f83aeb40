//! CSV and TSV: UTF-8, a header line, lines that end in a line feed.
//!
//! A cell is quoted when it must be (it holds the delimiter, a quote, a line end), and when it is
//! an empty text: a null is nothing at all, so the two can be distinguished by readers that care,
//! this crate's own among them.
//!
//! Where the job asks for it, a text that a spreadsheet would run as a formula gets a `'` before
//! it, as OWASP advises: one that begins with `=`, `+`, `-`, `@`, a tab or a carriage return,
//! unless it is a plain number.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::writer::EncoderOptions;

use super::cells::{self, CellText};
use super::writer::{Cause, FormatWriter};
use crate::durable::Pending;

/// A CSV or TSV file that is being written.
pub(super) struct CsvFile {
    file: Pending,
    delimiter: u8,
    escape_formulas: bool,
    options: EncoderOptions,
    /// Lines that have not gone to the file yet.
    lines: Vec<u8>,
    /// Room for one cell.
    cell: Vec<u8>,
}

/// Bytes of lines after which they go to the file.
const LINES_BYTES: usize = 1 << 18;

impl CsvFile {
    pub(super) fn create(
        file: Pending,
        delimiter: u8,
        escape_formulas: bool,
        schema: &SchemaRef,
    ) -> Result<CsvFile, Cause> {
        let mut csv = CsvFile {
            file,
            delimiter,
            escape_formulas,
            options: cells::encoder_options(),
            lines: Vec::with_capacity(2 * LINES_BYTES),
            cell: Vec::new(),
        };
        for (i, field) in schema.fields().iter().enumerate() {
            csv.next_cell(i);
            csv.push(field.name().as_bytes(), escape_formulas);
        }
        csv.end_line()?;
        Ok(csv)
    }

    fn next_cell(&mut self, column: usize) {
        if column > 0 {
            self.lines.push(self.delimiter);
        }
    }

    fn push(&mut self, text: &[u8], escape_formulas: bool) {
        if escape_formulas && is_formula(text) {
            push_cell(&mut self.lines, &[b"'", text].concat(), self.delimiter);
        } else {
            push_cell(&mut self.lines, text, self.delimiter);
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

impl FormatWriter for CsvFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        let options = self.options.clone();
        let schema = batch.schema();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let escape = self.escape_formulas && is_written_as_text(field.data_type());
            columns.push((CellText::new(field, array, &options)?, escape));
        }
        let mut cell = std::mem::take(&mut self.cell);
        for row in 0..batch.num_rows() {
            for (i, (column, escape)) in columns.iter_mut().enumerate() {
                self.next_cell(i);
                if let Some(text) = column.text(row, &mut cell)? {
                    self.push(text, *escape);
                }
            }
            self.end_line()?;
        }
        self.cell = cell;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Pending, Cause> {
        self.file.write_all(&self.lines)?;
        Ok(self.file)
    }
}

/// Whether cells of a type are written as free text: numbers, dates and JSON begin no formula.
fn is_written_as_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_written_as_text(values),
        DataType::RunEndEncoded(_, values) => is_written_as_text(values.data_type()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        // Base64 may begin with a plus.
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        _ => false,
    }
}

/// Whether a spreadsheet would run a text as a formula.
fn is_formula(text: &[u8]) -> bool {
    let (Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'), Ok(text)) =
        (text.first(), std::str::from_utf8(text))
    else {
        return false;
    };
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.parse::<f64>().is_ok();
    !is_number
}

/// Appends a cell that is not null, quoted if need be.
fn push_cell(lines: &mut Vec<u8>, text: &[u8], delimiter: u8) {
    let plain = memchr::memchr3(b'"', b'\n', delimiter, text).is_none()
        && memchr::memchr(b'\r', text).is_none();
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
    fn distinguishes_formulas_from_numbers_and_text() {
        for text in [
            "=1+1",
            "+49 30 1234",
            "-1+1|cmd",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "-",
            "=",
            "+e",
        ] {
            assert!(is_formula(text.as_bytes()), "{text:?}");
        }
        for text in ["", "a=1", "-12.5", "+3", "-1e5", " =1", "'=1", "1-1"] {
            assert!(!is_formula(text.as_bytes()), "{text:?}");
        }
    }

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
