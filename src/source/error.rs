//! The errors of a source.

use std::path::PathBuf;

use super::{Format, Unsupported};

/// An error of a source. Rows and columns in messages count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No path was given.
    #[error("`source.path` is missing")]
    NoPath,
    /// A path that does not exist.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A glob or a folder without a file.
    #[error("no file matches `{pattern}`")]
    NoFiles {
        /// The glob or folder as written.
        pattern: String,
    },
    /// An invalid glob.
    #[error("`{pattern}` is not a glob")]
    BadGlob {
        /// The glob as written.
        pattern: String,
        /// The cause.
        #[source]
        source: glob::PatternError,
    },
    /// A file that is named twice.
    #[error("`{}` is named twice in `source.path`", path.display())]
    FileTwice {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder that cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A path to something other than a regular file.
    #[error("`{}` is {kind}, not an ordinary file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A place or a kind of file that rowmill does not read.
    #[error("`{path}` is {what}, which is not supported")]
    Unsupported {
        /// The path as the job names it, without credentials.
        path: String,
        /// What it is.
        what: Unsupported,
    },
    /// One JSON array where each line should be an object.
    #[error("`{}` is one JSON array; JSON Lines has one object a line", path.display())]
    JsonArray {
        /// The file.
        path: PathBuf,
    },
    /// Folders that are nested too deeply, for example by a link to a parent.
    #[error("folders under `{}` are nested more than {limit} deep", path.display())]
    TooDeep {
        /// The topmost folder.
        path: PathBuf,
        /// Deepest nesting.
        limit: usize,
    },
    /// A table whose log decides which of its files count.
    #[error("`{}` is a Delta table; its log decides which files count, and rowmill does not read it", path.display())]
    DeltaTable {
        /// The folder.
        path: PathBuf,
    },
    /// A file whose name does not show its format.
    #[error("the name of `{}` does not show its format", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// Standard input, whose first bytes do not show its format.
    #[error("the format of standard input cannot be detected")]
    StdinFormat,
    /// Files of several formats.
    #[error("`{}` is {} and `{}` is {}", first.display(), first_format.name(), second.display(), second_format.name())]
    MixedFormats {
        /// The first file.
        first: PathBuf,
        /// Its format.
        first_format: Format,
        /// The file that differs.
        second: PathBuf,
        /// Its format.
        second_format: Format,
    },
    /// A setting with a value that it cannot have.
    #[error("`source.{setting}` cannot be `{value}`; it is {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A setting that does not apply to this format.
    #[error("`source.{setting}` does not apply to a {} source", format.name())]
    SettingUnused {
        /// The setting.
        setting: &'static str,
        /// The format.
        format: Format,
    },
    /// An unknown encoding.
    #[error("`source.encoding` names no known encoding: `{label}`")]
    UnknownEncoding {
        /// The label.
        label: String,
    },
    /// An unknown type.
    #[error("column `{column}` cannot have the type `{name}`; types are {known}")]
    UnknownType {
        /// The column.
        column: String,
        /// The type as written.
        name: String,
        /// The types there are.
        known: &'static str,
    },
    /// An unknown column.
    #[error("the source has no column `{name}`, which {wanted_by} names; it has {known}")]
    UnknownColumn {
        /// The column.
        name: String,
        /// The setting that names it.
        wanted_by: &'static str,
        /// The most similar column.
        nearest: Option<String>,
        /// The columns of the source, as text.
        known: String,
    },
    /// Two columns of one name in one file.
    #[error("`{}` has two columns named `{name}`: columns {first} and {second}", path.display())]
    ColumnTwice {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// Its first position, from 1.
        first: usize,
        /// Its second position, from 1.
        second: usize,
    },
    /// A column without a name.
    #[error("column {column} of `{}` has no name", path.display())]
    ColumnUnnamed {
        /// The file.
        path: PathBuf,
        /// Its position, from 1.
        column: usize,
    },
    /// Another number of names in the job than of columns in a file.
    #[error("`{}` has {columns} columns, and `source.names` has {names}", path.display())]
    NamesCount {
        /// The file.
        path: PathBuf,
        /// The names.
        names: usize,
        /// The columns.
        columns: usize,
    },
    /// Headers that differ where the job names the columns by position.
    #[error("column {column} of `{}` has another name than in `{}`, and `source.names` names \
        columns by position", path.display(), first.display())]
    HeadersDiffer {
        /// The file that differs.
        path: PathBuf,
        /// The first file.
        first: PathBuf,
        /// The column, from 1.
        column: usize,
    },
    /// A partition column or a derived column with the name of another column.
    #[error("{what} `{name}` clashes with a column of that name")]
    Clash {
        /// `partition column` or `derived column`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A file without anything, not even a header.
    #[error("`{}` is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A source without columns.
    #[error("`{}` has no columns", path.display())]
    NoColumns {
        /// The first file.
        path: PathBuf,
    },
    /// More columns than a table may have.
    #[error("`{}` has more than {limit} columns by line {line}", path.display())]
    TooManyColumns {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// Most columns.
        limit: usize,
    },
    /// A file that lacks a column of the first file, or has one more.
    #[error("column `{column}` is in `{}` but not in `{}`", present.display(), absent.display())]
    ColumnMissing {
        /// The column.
        column: String,
        /// The file that has it.
        present: PathBuf,
        /// The file that does not.
        absent: PathBuf,
    },
    /// A column of different types in two files.
    #[error("column `{column}` is {found} in `{}` but {expected} in `{}`", path.display(), first.display())]
    TypeDiffers {
        /// The file that differs.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type there.
        found: String,
        /// Its type in the first file.
        expected: String,
        /// The first file.
        first: PathBuf,
    },
    /// A file with other partition columns than the first file.
    #[error("`{}` has the partition columns {found}, `{}` has {expected}", path.display(), first.display())]
    PartitionsDiffer {
        /// The file that differs.
        path: PathBuf,
        /// Its partition columns.
        found: String,
        /// The first file.
        first: PathBuf,
        /// Its partition columns.
        expected: String,
    },
    /// A partition value that is not of its column's type.
    #[error("partition column `{name}` of `{}` is not {expected}", path.display())]
    PartitionValue {
        /// The file.
        path: PathBuf,
        /// The partition column.
        name: String,
        /// The type.
        expected: String,
    },
    /// A type that cannot become the type asked for.
    #[error("column `{column}` is {from} and cannot become {to}")]
    NoCast {
        /// The column.
        column: String,
        /// Its type in the file.
        from: String,
        /// The type asked for.
        to: String,
    },
    /// A record of a CSV file with too many or too few cells.
    #[error("`{}` line {line}: {found} {}, expected {expected}", path.display(), if *found == 1 { "cell" } else { "cells" })]
    CellCount {
        /// The file.
        path: PathBuf,
        /// The line where the record begins.
        line: u64,
        /// Cells found.
        found: usize,
        /// Cells expected.
        expected: usize,
    },
    /// A quotation mark that is never closed.
    #[error("`{}` line {line}: a quoted cell is never closed", path.display())]
    Quote {
        /// The file.
        path: PathBuf,
        /// The line where the record begins.
        line: u64,
        /// Whether a backslash is before a quotation mark in the record.
        escape: bool,
    },
    /// Text where a quoted cell has been closed.
    #[error(
        "`{}` line {line}, byte {byte}: text follows the closing quotation mark of column \
         {column}{}",
        path.display(),
        begins_in(*begins, *line)
    )]
    AfterQuote {
        /// The file.
        path: PathBuf,
        /// The line of the closing mark.
        line: u64,
        /// The byte of that line behind the mark, from 1.
        byte: u64,
        /// The column by name, or by number where it has no name.
        column: String,
        /// The line where the record begins.
        begins: u64,
        /// Whether a backslash is before a quotation mark in the record.
        escape: bool,
    },
    /// A cell beyond `source.max_cell_bytes`.
    #[error("`{}`{}: column {column} has a cell of more than {limit} bytes", path.display(), place_of(*row, *line))]
    CellTooLarge {
        /// The file.
        path: PathBuf,
        /// The row in the file, from 1, header not counted, where it is known.
        row: Option<u64>,
        /// The line where the row begins, where the format has lines.
        line: Option<u64>,
        /// The column by name, or by number where it has no name.
        column: String,
        /// Most bytes.
        limit: u64,
    },
    /// A record or line beyond four times `source.max_cell_bytes`.
    #[error("`{}` line {line}: the row has more than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line where it begins.
        line: u64,
        /// Most bytes.
        limit: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("`{}` line {line}: column {column} is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line where the record begins.
        line: u64,
        /// The column by name, or by number where it has no name; the byte of the line in JSON
        /// Lines.
        column: String,
    },
    /// Bytes that the encoding does not have.
    #[error("`{}` is not {encoding}: byte {byte} is not the start of a character", path.display())]
    NotEncoded {
        /// The file.
        path: PathBuf,
        /// The encoding.
        encoding: &'static str,
        /// Where it goes wrong, from 0, in the uncompressed file.
        byte: u64,
    },
    /// A compressed file that ends early or is damaged.
    #[error("`{}` cannot be decompressed", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A cell that is not of its column's type.
    #[error("`{}`{}: column `{column}` is not {expected}", path.display(), place(*row, *line))]
    Cell {
        /// The file.
        path: PathBuf,
        /// The row in the file, from 1, header not counted.
        row: u64,
        /// The line where the row begins, where the format has lines.
        line: Option<u64>,
        /// The column.
        column: String,
        /// The type.
        expected: String,
    },
    /// A line that is not a JSON object.
    #[error("`{}` line {line}, byte {byte}: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The byte of the line, from 1.
        byte: usize,
        /// The cause.
        problem: String,
    },
    /// A file that is damaged, or not of its format.
    #[error("`{}` cannot be read as {}", path.display(), format.name())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The format.
        format: Format,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A cell, a row or a page beyond what `source.max_cell_bytes` allows.
    #[error(
        "`{}`: {item}{}{} has {bytes} bytes decompressed; the limit is {limit}",
        path.display(),
        of_column(column),
        at_row(*row)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The row in the file, from 1, where it is known; of a page the first.
        row: Option<u64>,
        /// The column; empty where several are held together.
        column: String,
        /// What is too large.
        item: LargeItem,
        /// Its bytes.
        bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// A column of a type that cannot be read, and that the job needs.
    #[error("`{}`: column `{column}` cannot be read: it is {reason}", path.display())]
    Unreadable {
        /// The first file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it is, or what the reader said.
        reason: String,
    },
    /// A file with another number of rows than its metadata says.
    #[error("`{}` has {found} rows, but its metadata says {expected}", path.display())]
    RowCount {
        /// The file.
        path: PathBuf,
        /// The number of rows in its metadata.
        expected: u64,
        /// Rows read.
        found: u64,
    },
    /// A file that changed after the source was opened.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An expression that cannot be parsed or evaluated.
    #[error("`source.{setting}` cannot be evaluated")]
    Expression {
        /// `where`, or `derive` and the column.
        setting: String,
        /// The cause.
        #[source]
        source: Box<crate::table::Error>,
    },
    /// Columns that cannot form a batch.
    #[error("the rows do not fit the source's schema")]
    Batch(#[source] arrow::error::ArrowError),
}

fn begins_in(begins: u64, line: u64) -> String {
    if begins == line {
        String::new()
    } else {
        format!(" (the record begins in line {begins})")
    }
}

fn place_of(row: Option<u64>, line: Option<u64>) -> String {
    match (row, line) {
        (Some(row), line) => place(row, line),
        (None, Some(line)) => format!(" line {line}"),
        (None, None) => String::new(),
    }
}

/// Something that takes memory as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LargeItem {
    /// A cell.
    Cell,
    /// The items of a row.
    Row,
    /// A page of Parquet.
    Page,
    /// The dictionary of a row group.
    Dictionary,
    /// A batch of Arrow IPC.
    Batch,
}

impl std::fmt::Display for LargeItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LargeItem::Cell => "a cell",
            LargeItem::Row => "the value of a row",
            LargeItem::Page => "a page",
            LargeItem::Dictionary => "a dictionary",
            LargeItem::Batch => "a batch",
        })
    }
}

fn of_column(column: &str) -> String {
    if column.is_empty() {
        String::new()
    } else {
        format!(" of column `{column}`")
    }
}

fn at_row(row: Option<u64>) -> String {
    row.map_or_else(String::new, |row| format!(" at row {row}"))
}

fn place(row: u64, line: Option<u64>) -> String {
    match line {
        Some(line) => format!(" line {line} (row {row})"),
        None => format!(" row {row}"),
    }
}

/// The names as words, the first twenty of them.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if text.is_empty() {
        text.push_str("none");
    }
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// The known name nearest to a wrong one, if one is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
