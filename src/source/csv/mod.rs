//! CSV and TSV: every cell is text unless the job gives its column a type.
//!
//! Nothing is guessed: `007`, `NA`, `nan` and `1e5` stay as written. An empty cell is null (or an
//! empty text, by `source.empty`), quoted or not, because the programs that write CSV do not agree
//! on a difference; `source.null` adds texts that are null, quoted or not. Blank lines between
//! records are skipped, also in a table of one column, where a null must be written `""` to be a
//! row. A quotation mark inside an unquoted cell is text.
//!
//! Whatever would lose or mix rows is an error with its line: a record of another length than the
//! header, text after a closing quotation mark, a quoted cell that is never closed, header names
//! that are missing or repeated, a cell or record larger than its limit. `records.rs` splits a file
//! into cells.

mod dialect;
mod lines;
mod records;
mod rows;

pub(super) use dialect::Dialect;
pub(super) use rows::{CsvHeader, CsvRows, header};

#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(super) use records::{CsvRecord, CsvRecords};
