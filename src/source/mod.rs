//! Rows in: CSV, TSV, Parquet, JSON Lines and Arrow IPC, from files, globs, folders and standard
//! input.
//!
//! What comes in is the `[source]` section of a job; what goes out is record batches with the
//! position of each row. The order is that of the files and their rows. The steps:
//!
//! ```text
//!   files ── read ──▶ derive ──▶ where ──▶ limit ──▶ batches of at most 8192 rows, about 16 MiB
//!            only the columns and row groups that are needed
//! ```
//!
//! The columns are those of the files, then the partition columns of folder names (`country=DE/`),
//! then the derived ones.
//!
//! **Promises.** Every scan returns the same rows in the same order, or an error: a file that
//! changed is noticed. Memory is bounded by a few batches, whatever the size of a file. No value
//! differs from the file: text of CSV stays as written, a cell that does not fit its type is an
//! error, no number is rounded. A scan ends only where the file ends: an unterminated quote, a
//! truncated stream or a damaged row group is an error, not a shorter table.
//!
//! To add a format: a module with an iterator over `FileBatch`, a variant in [`Format`],
//! and an arm each in `columns.rs` and in `ReadOptions`.

mod bytes;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(crate) mod checks;
mod columnar;
mod columns;
pub(crate) mod convert;
mod csv;
mod error;
mod files;
mod infer;
mod ipc;
mod jsonl;
pub(crate) mod logical;
mod open;
mod pages;
mod parquet;
mod prune;
mod repeats;
mod scan;
mod schema;
mod spec;
pub(crate) mod types;
mod unreadable;
mod unsupported;
mod warning;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Scalar};
use arrow::datatypes::{FieldRef, SchemaRef};
use encoding_rs::Encoding;

pub use bytes::SourceFile;
pub use error::{Error, LargeItem};
pub use scan::{MAX_BYTES, MAX_ROWS, Scan, ScanCounts, SourceRows};
pub use spec::{
    Compression, EmptyCells, Format, MAX_CELL_BYTES, NullTexts, OnMissing, Paths, SourceSpec,
};
pub use types::{any_in, type_name};
pub use unsupported::{Unsupported, without_credentials};
pub use warning::{SourceWarning, TextReason};

use crate::table::{self, Expression};
use bytes::Input;

/// A table that can be read again and again.
///
/// ```
/// use rowmill::source::{Source, SourceSpec};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("a.csv"), "id,text\n007,hello\n008,\n")?;
/// let spec = SourceSpec { path: "a.csv".into(), ..SourceSpec::default() };
/// let source = Source::open(&spec, folder.path())?;
/// assert_eq!(source.schema().field(0).name(), "id");
/// for rows in source.scan(None)? {
///     assert_eq!(rows?.row_index, [0, 1]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    folder: std::path::PathBuf,
    warnings: Arc<[SourceWarning]>,
    table: Arc<SourceTable>,
}

/// The part of a source that its scans share.
#[derive(Debug)]
struct SourceTable {
    read_options: ReadOptions,
    /// The files with rows.
    files: Vec<TableFile>,
    /// All files, including the empty ones.
    source_files: Vec<SourceFile>,
    /// The columns of the files, with the types that the job asks for.
    columns: Vec<FieldRef>,
    /// The columns for which the job asks for a type.
    retyped: HashSet<String>,
    /// The partition columns, whose values are in folder names.
    partitions: Vec<FieldRef>,
    derived: Vec<DerivedColumn>,
    filter: Option<Expression>,
    limit: Option<u64>,
    /// The most bytes of a cell in columnar files.
    max_cell_bytes: u64,
    schema: SchemaRef,
}

impl SourceTable {
    fn check_readable<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        for name in names {
            let field = self.columns.iter().find(|field| field.name() == name);
            if let Some(reason) = field.and_then(|field| unreadable::reason(field)) {
                let path = self
                    .files
                    .first()
                    .map(|file| file.input.path().to_path_buf())
                    .unwrap_or_default();
                return Err(Error::Unreadable {
                    path,
                    column: name.to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The format of the files, with the settings of that format.
#[derive(Debug)]
enum ReadOptions {
    Csv(csv::Dialect),
    Jsonl {
        encoding: Option<&'static Encoding>,
        /// Columns whose values have no common type, or for which the job asks for one.
        as_text: HashSet<String>,
        max_line_bytes: usize,
    },
    Parquet,
    Ipc,
}

/// A file of the table.
#[derive(Debug)]
struct TableFile {
    input: Arc<Input>,
    /// The number of rows, where the file states it.
    rows: Option<u64>,
    /// The values of the table's partition columns.
    partition_values: Vec<Scalar<ArrayRef>>,
}

/// A column by expression.
#[derive(Debug)]
struct DerivedColumn {
    name: String,
    expression: Expression,
}

impl DerivedColumn {
    fn failed(&self, source: table::Error) -> Error {
        Error::Expression {
            setting: format!("derive.{}", self.name),
            source: source.into(),
        }
    }
}

fn where_failed(source: table::Error) -> Error {
    Error::Expression {
        setting: "where".to_owned(),
        source: source.into(),
    }
}

/// The files of a path, a glob or a folder, in the order in which a source reads them; none where a
/// glob or a folder has none.
///
/// # Errors
/// [`Error::NotFound`] for a file that does not exist, [`Error::BadGlob`], [`Error::Io`].
pub fn find_files(path: &str, base: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    match files::find(&path.into(), base, OnMissing::Error) {
        Ok(found) => Ok(found.into_iter().map(|file| file.path).collect()),
        Err(Error::NoFiles { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Source {
    /// Finds the files, reads their columns, and checks the expressions. Relative paths start from
    /// `base`.
    ///
    /// JSON Lines are read once as a whole to find their types. Standard input is copied to a
    /// private temporary file, since a source is read more than once; so is a compressed Parquet or
    /// Arrow file, which is read from its end.
    ///
    /// # Errors
    /// Everything that can be known before rows are read: files that are missing, unreadable or do
    /// not agree; settings, types and expressions that are not valid.
    pub fn open(spec: &SourceSpec, base: &Path) -> Result<Source, Error> {
        Self::open_with(spec, base, &mut std::io::stdin())
    }

    /// As [`Source::open`], with another reader as standard input.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_with(
        spec: &SourceSpec,
        base: &Path,
        stdin: &mut dyn Read,
    ) -> Result<Source, Error> {
        open::open(spec, base, stdin)
    }

    /// The columns: of the files in their order, then the partition columns, then the derived ones.
    /// The metadata holds the entries of Parquet and Arrow files (`pandas`, `geo`) on which all
    /// files agree.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.table.schema
    }

    /// The files, in the order in which they are read.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.table.source_files
    }

    /// What a user should know about the source; none of it stops a run.
    #[must_use]
    pub fn warnings(&self) -> &[SourceWarning] {
        &self.warnings
    }

    /// The folder to which paths in cells are relative: the one that the paths of the source have
    /// in common, whichever files exist.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The number of rows before `where` and `limit`, where every file states it (Parquet and Arrow
    /// IPC do).
    #[must_use]
    pub fn rows_hint(&self) -> Option<u64> {
        self.table.files.iter().map(|file| file.rows).sum()
    }

    /// Checks that the named columns can be read. Others may have unknown types.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn check_readable(&self, names: &[String]) -> Result<(), Error> {
        self.table.check_readable(names.iter().map(String::as_str))
    }

    /// Starts a pass over the rows. `projection` names the columns to return, in any order; they
    /// are in the order of the schema.
    ///
    /// Only columns that are returned or read by an expression are decoded.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`] for a name that the schema does not have.
    pub fn scan(&self, projection: Option<&[String]>) -> Result<Scan, Error> {
        Scan::new(self.table.clone(), projection)
    }
}
