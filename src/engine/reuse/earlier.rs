//! An output of an earlier run: which rows it has, by key and by request, and which are answered.

use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::outcome::Status;
use crate::output::{self, Format};
use crate::source::{self, Paths, Source, SourceSpec};

use super::classes::{MadeWith, NotReused};

/// The metadata entry of an output that says what its requests were made with.
pub(crate) const MADE_WITH: &str = "rowmill.made_with";

/// An output of an earlier run, opened.
pub(super) struct EarlierOutput {
    /// The file.
    pub(super) path: PathBuf,
    /// Its format.
    pub(super) format: Format,
    /// Its rows and columns.
    pub(super) source: Source,
    /// What its requests were made with, where it says so.
    pub(super) made_with: Option<MadeWith>,
    prefix: String,
}

/// A row of an earlier output, as far as it takes to find it again.
#[derive(Debug, Clone, Copy)]
pub(super) struct EarlierRow<'a> {
    /// The custom_id of its request; `None` for a row without a key.
    pub(super) custom_id: Option<&'a str>,
    /// The hash of its request; `None` for a row without one.
    pub(super) request_hash: Option<u128>,
    /// Its status.
    pub(super) status: &'a str,
}

impl EarlierOutput {
    /// Opens an output whose own columns begin with `prefix`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(
        path: &Path,
        format: Format,
        prefix: &str,
    ) -> Result<EarlierOutput, NotReused> {
        let source = open(path, format).map_err(unreadable)?;
        let made_with = output::notes(path, format)
            .and_then(|notes| serde_json::from_str(notes.get(MADE_WITH)?).ok());
        let output = EarlierOutput {
            path: path.to_path_buf(),
            format,
            source,
            made_with,
            prefix: prefix.to_owned(),
        };
        // An answer that is taken over has all of them.
        for column in &output::COLUMNS {
            output.check_column(column.name)?;
        }
        Ok(output)
    }

    /// Whether another file is at its place now.
    pub(super) fn has_changed(&self) -> bool {
        let now = open(&self.path, self.format).ok();
        now.is_none_or(|now| now.files() != self.source.files())
    }

    /// Checks that it has a column of the run's.
    ///
    /// # Errors
    /// [`NotReused::NoColumn`].
    pub(super) fn check_column(&self, name: &str) -> Result<(), NotReused> {
        let column = format!("{}{name}", self.prefix);
        match self.source.schema().index_of(&column) {
            Ok(_) => Ok(()),
            Err(_) => Err(NotReused::NoColumn { column }),
        }
    }

    /// Whether its answers come from the simulator.
    ///
    /// # Errors
    /// [`NotReused::Unreadable`].
    pub(super) fn is_simulated(&self) -> Result<bool, NotReused> {
        if self.check_column("simulated").is_err() {
            return Ok(false);
        }
        let (mut any, mut rows) = (false, 0);
        let column = [format!("{}simulated", self.prefix)];
        for batch in self.source.scan(Some(&column)).map_err(unreadable)? {
            let batch = batch.map_err(unreadable)?.batch;
            let words = text(batch.column(0))?;
            any |= words.iter().flatten().any(|word| word == "true");
            rows += batch.num_rows();
            // All rows of an output say the same.
            if rows > 0 {
                break;
            }
        }
        Ok(any)
    }

    /// Calls with each row and its place in the file.
    ///
    /// # Errors
    /// [`NotReused::Unreadable`].
    pub(super) fn each_row(
        &self,
        mut call: impl FnMut(u64, EarlierRow<'_>),
    ) -> Result<(), NotReused> {
        let names = ["custom_id", "request_hash", "status"];
        let names = names.map(|name| format!("{}{name}", self.prefix));
        for rows in self.source.scan(Some(&names)).map_err(unreadable)? {
            let rows = rows.map_err(unreadable)?;
            let column = |name: &String| {
                let column = rows.batch.column_by_name(name);
                text(column.expect("the scan returns the columns that it is asked for"))
            };
            let (ids, hashes, statuses) =
                (column(&names[0])?, column(&names[1])?, column(&names[2])?);
            for row in 0..rows.batch.num_rows() {
                let cell = |column: &'_ StringArray| {
                    (column.is_valid(row) && !column.value(row).is_empty()).then_some(row)
                };
                let earlier = EarlierRow {
                    custom_id: cell(&ids).map(|row| ids.value(row)),
                    request_hash: cell(&hashes)
                        .and_then(|row| u128::from_str_radix(hashes.value(row), 16).ok()),
                    status: cell(&statuses).map_or("", |row| statuses.value(row)),
                };
                call(rows.row_index[row], earlier);
            }
        }
        Ok(())
    }
}

/// Opens the file of an output as a table.
pub(crate) fn open(path: &Path, format: Format) -> Result<Source, source::Error> {
    let format = match format {
        Format::Parquet => source::Format::Parquet,
        Format::Csv => source::Format::Csv,
        Format::Tsv => source::Format::Tsv,
        Format::Jsonl => source::Format::Jsonl,
        Format::Ipc => source::Format::Ipc,
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let spec = SourceSpec {
        path: Paths::One(path.to_string_lossy().into_owned()),
        format: Some(format),
        ..SourceSpec::default()
    };
    Source::open(&spec, Path::new(""))
}

/// A column as text.
pub(super) fn text(column: &arrow::array::ArrayRef) -> Result<StringArray, NotReused> {
    cast(column, &DataType::Utf8)
        .map(|text| text.as_string().clone())
        .map_err(unreadable)
}

/// Whether a status is one whose answer is taken.
pub(super) fn is_answered(status: &str, wanted: &[Status]) -> bool {
    wanted.iter().any(|wanted| wanted.as_str() == status)
}

fn unreadable(error: impl std::error::Error + 'static) -> NotReused {
    NotReused::Unreadable {
        reason: crate::engine::in_one_line(&error),
    }
}
