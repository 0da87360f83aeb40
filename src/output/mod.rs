//! Joined rows → a file.
//!
//! ```text
//!  input columns   answer columns   columns of the run (`columns.rs`)
//!  id   text       topic  urgent    _rm_status  _rm_text  …  _rm_request_hash
//!  └─ unchanged ─┘ └─ by schema ─┘  └─ the same twenty in every run ─┘
//! ```
//!
//! In comes a piece's input columns and its [`JoinedRow`](crate::join::JoinedRow)s, a few thousand
//! at a time; out comes one file, Parquet, CSV, TSV, JSON Lines or Arrow IPC:
//!
//! 1. [`OutputSchema::new`] fixes the columns before anything is sent, so that a clash of names or
//!    a type the format cannot hold is an error when it costs nothing; [`check_writable`] does the
//!    same for the place.
//! 2. [`RowBuilders`] turn joined rows into record batches of that schema.
//! 3. [`OutputWriter`] writes them under a temporary name beside the target and renames when
//!    complete. Whatever goes wrong, what was at the target stays as it was, and nothing is left
//!    beside it.
//!
//! Promises: rows are written in the order they arrive, each once; input columns keep order, type
//! and values. Memory: one batch, and in Parquet the encoded pages of one row group (65,536 rows or
//! 64 MiB, whatever is less).
//!
//! What the formats keep:
//!
//! | | Parquet | Arrow IPC | CSV, TSV | JSON Lines |
//! |---|---|---|---|---|
//! | types | all but unions and nanosecond intervals; runs unpacked, seconds as milliseconds | all; dictionaries unpacked | text | JSON's own |
//! | UUID, JSON, GEOMETRY and so on | as is | as is | text | text |
//! | null | null | null | empty; an empty text is `""` | `null` |
//! | decimals, dates, times | exact | exact | exact, as text | exact, as text |
//! | binary | as is | as is | base64 | base64 |
//! | lists, structs, maps | as is | as is | JSON | as is |
//! | NaN and infinities | as is | as is | `NaN`, `inf` | `null` |
//! | metadata (the input's, run, job) | in the footer | in the schema | nowhere | nowhere |
//! | simulated | in the footer, and the column `_rm_simulated` | in the schema, and the column | the column | the column |
//!
//! Text that a spreadsheet would take for a formula (`=`, `+`, `-`, `@` first) is written as it is:
//! changing it would corrupt data for every other reader. `output.escape_formulas` puts a `'`
//! before it, for tables that go to a spreadsheet.
//!
//! To add a column: one entry in `columns.rs`. To add a format: its file here, its variant in
//! [`Format`], its arm in [`OutputWriter`].

mod cells;
mod columns;
mod csv;
mod ipc;
mod jsonl;
mod notes;
mod parquet;
mod place;
mod rows;
mod schema;
mod spec;
mod types;
mod warning;
mod writer;

use std::io;
use std::path::PathBuf;

use ::arrow::datatypes::DataType;

pub use columns::{
    COLUMNS, Column, EXTRA, ExtraColumn, documentation, extra_documentation, wanted,
};
pub use notes::notes;
pub use place::{beside, check_writable};
pub use rows::RowBuilders;
pub use schema::{ColumnOrigin, OutputSchema};
pub use spec::{Compression, Format, KeptColumns, OutputMode, OutputSpec, RemovedRows};
pub use warning::OutputWarning;
pub use writer::{OutputSummary, OutputWriter};

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The format cannot be derived from the name of the output.
    #[error("the name `{}` has no known extension: set `output.format` to one of {}", .path.display(), Format::words())]
    Format {
        /// The output.
        path: PathBuf,
    },
    /// A place or a kind of file that rowmill does not write.
    #[error("the output `{path}` is {what}, which is not supported")]
    NotSupported {
        /// The path as the job names it, without credentials.
        path: String,
        /// What it is.
        what: crate::source::Unsupported,
    },
    /// A setting that makes no sense.
    #[error("`{key}` {problem}")]
    Setting {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A column to be kept that the input does not have.
    #[error("`output.columns` names `{column}`, which the input does not have")]
    UnknownColumn {
        /// The column.
        column: String,
        /// The input column that comes nearest.
        nearest: Option<String>,
    },
    /// Two columns of one name.
    #[error(
        "the output would have two columns `{}`{}: {first} and {second}; {}",
        .names[0],
        schema::and_more(.names.len()),
        schema::ways_out(*first, *second)
    )]
    Clash {
        /// The names that come twice between these two; at least one.
        names: Vec<String>,
        /// Where the first one comes from.
        first: ColumnOrigin,
        /// Where the second one comes from.
        second: ColumnOrigin,
    },
    /// Columns whose names differ in letter case only, one of which the answer or the run adds.
    #[error(
        "the output would have the columns `{}` and `{}`{}, which differ only in letter case: \
         {first} and {second}; most readers take them for one name: {}",
        .names[0].0,
        .names[0].1,
        schema::and_more(.names.len()),
        schema::ways_out(*first, *second)
    )]
    CaseClash {
        /// The names in pairs; at least one.
        names: Vec<(String, String)>,
        /// Where the first of each pair comes from.
        first: ColumnOrigin,
        /// Where the second comes from.
        second: ColumnOrigin,
    },
    /// A column of a type that the format cannot hold.
    #[error(
        "{format} cannot hold the column `{column}` of type `{data_type}`: leave it out with \
         `output.columns`, or choose another format"
    )]
    Unsupported {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
        /// The format.
        format: Format,
        /// What the format's writer said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Rows and input columns that do not belong together, or are not those the output was made
    /// for.
    #[error("the rows do not fit the output: {problem}")]
    Mismatch {
        /// What does not fit.
        problem: String,
    },
    /// The target is a folder, or has no file name.
    #[error("the output `{}` is a folder; it must name a file", .path.display())]
    Folder {
        /// The target.
        path: PathBuf,
    },
    /// The target is a device, a pipe or a socket, which a finished file cannot replace.
    #[error("the output `{}` is not an ordinary file", .path.display())]
    NotAFile {
        /// The target.
        path: PathBuf,
    },
    /// No file can be made in the target's folder.
    #[error("cannot write in the folder `{}` of the output", .folder.display())]
    Place {
        /// The folder, or the nearest one above it that exists.
        folder: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the output `{}`", .path.display())]
    Write {
        /// The target.
        path: PathBuf,
        /// What the file system or the format's writer said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier batch could not be written, so the file will not be finished.
    #[error("the output `{}` is not complete, because an earlier write failed", .path.display())]
    Incomplete {
        /// The target.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests;
