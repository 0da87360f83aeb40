//! The `[source]` section of a job.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The `[source]` section of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// A file, a glob, a folder, `-` for standard input, or a list of them.
    pub path: Paths,
    /// What it means that a path, glob or folder has no file.
    #[serde(skip_serializing_if = "is_default")]
    pub on_missing: OnMissing,
    /// The format; by default that of the file names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The delimiter of a CSV file: by default `,`, or a tab in a TSV file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The quotation mark of a CSV file, by default `"`; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The character before a quotation mark inside a quoted cell of a CSV file, such as `\`, and
    /// before itself. A doubled quotation mark is read with and without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escape: Option<char>,
    /// Whether the first record of a CSV file names the columns; by default it does. Without a
    /// header the columns are `column_1`, `column_2` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The names of a CSV file's columns, in place of those of its header: for columns whose names
    /// are missing or repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The first character of lines of a CSV file that are skipped, such as `#`. Only between
    /// records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<char>,
    /// The number of lines of each CSV file that are skipped before the header.
    #[serde(skip_serializing_if = "is_default")]
    pub skip_lines: u64,
    /// The decimal separator of numbers in a CSV file: `.` (the default) or `,`. It applies to
    /// columns for which `columns` sets a type of such numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// The encoding of a text file by its web label (`latin1`, `windows-1252`, `shift_jis`,
    /// `utf-16le`); by default that of a byte order mark, else UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The compression of the files as a whole; by default that of the file name's extension or of
    /// the first bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// What an empty cell of a CSV file is.
    #[serde(skip_serializing_if = "is_default")]
    pub empty: EmptyCells,
    /// NullTexts that are a null in a CSV file, beside an empty cell.
    #[serde(skip_serializing_if = "is_default")]
    pub null: NullTexts,
    /// The most bytes of one cell; a row may have four times as many. Larger ones are an error, so
    /// that memory is bounded.
    #[serde(skip_serializing_if = "is_default_cell")]
    pub max_cell_bytes: u64,
    /// A predicate: only rows where it is true are kept.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// New columns by expression; a later one may use an earlier one.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub derive: IndexMap<String, String>,
    /// Types by column, in place of those the file gives.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub columns: IndexMap<String, String>,
    /// The most rows, counted after `where`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// The default of [`SourceSpec::max_cell_bytes`]: twice the largest request of the API.
pub const MAX_CELL_BYTES: u64 = 64 << 20;

impl Default for SourceSpec {
    fn default() -> Self {
        SourceSpec {
            path: Paths::default(),
            on_missing: OnMissing::default(),
            format: None,
            delimiter: None,
            quote: None,
            escape: None,
            header: None,
            names: Vec::new(),
            comment: None,
            skip_lines: 0,
            decimal: None,
            encoding: None,
            compression: None,
            empty: EmptyCells::default(),
            null: NullTexts::default(),
            max_cell_bytes: MAX_CELL_BYTES,
            filter: None,
            derive: IndexMap::new(),
            columns: IndexMap::new(),
            limit: None,
        }
    }
}

fn is_default_cell(bytes: &u64) -> bool {
    *bytes == MAX_CELL_BYTES
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One path or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum Paths {
    /// One file, glob or folder.
    One(String),
    /// Several, read in this order.
    Many(Vec<String>),
}

impl Default for Paths {
    fn default() -> Self {
        Paths::Many(Vec::new())
    }
}

impl Paths {
    /// The paths as written.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(paths) => paths,
        }
    }
}

impl From<&str> for Paths {
    fn from(path: &str) -> Self {
        Paths::One(path.to_owned())
    }
}

/// What it means that a path, glob or folder has no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// An error, since a path that is spelled wrong looks the same.
    #[default]
    Error,
    /// No new rows: the other paths are read, and without any file there is nothing to do.
    Empty,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum NullTexts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Default for NullTexts {
    fn default() -> Self {
        NullTexts::Many(Vec::new())
    }
}

impl NullTexts {
    /// The texts.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            NullTexts::One(text) => std::slice::from_ref(text),
            NullTexts::Many(texts) => texts,
        }
    }
}

/// A format rows are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// JSON Lines: one object a line.
    Jsonl,
    /// Arrow IPC, as a file (Feather) or a stream.
    Ipc,
}

impl Format {
    /// The word in the job file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Parquet => "parquet",
            Format::Jsonl => "jsonl",
            Format::Ipc => "ipc",
        }
    }

    /// Whether it is text, which has an encoding and lines.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Format::Csv | Format::Tsv | Format::Jsonl)
    }

    pub(super) fn of_extension(extension: &str) -> Option<Format> {
        Some(match extension {
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "parquet" | "pq" => Format::Parquet,
            "jsonl" | "ndjson" | "json" => Format::Jsonl,
            "arrow" | "arrows" | "ipc" | "feather" => Format::Ipc,
            _ => return None,
        })
    }
}

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
}

/// What an empty cell of a CSV file is. CSV cannot distinguish a missing value from an empty text;
/// a quoted empty cell counts as empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyCells {
    /// A null, because tables written as CSV write their nulls so.
    #[default]
    Null,
    /// A text of no characters; in a column that is not text, still a null.
    Text,
}
