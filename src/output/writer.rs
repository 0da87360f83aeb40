//! The file that is being written: temporary name, batches, rename.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;

use super::{Error, Format, OutputSchema, OutputSpec, csv, ipc, jsonl, parquet, place};
use crate::border;
use crate::durable::Pending;

/// What a format's writer can stumble over.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A format's writer over the temporary file.
pub(super) trait FormatWriter: Send {
    /// Writes a batch of the output's schema.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause>;
    /// Adds a word about the whole file, where the format keeps any.
    fn note(&mut self, _key: &str, _value: &str) {}
    /// Writes what is held back, and the end of the file.
    fn finish(self: Box<Self>) -> Result<Pending, Cause>;
}

/// Writes an output: nothing is at its place until it is complete.
///
/// Dropped before [`OutputWriter::finish`], it leaves nothing behind; a process that is killed
/// leaves a file `.<name>.<random>.partial`, which no reader takes for data.
pub struct OutputWriter {
    /// `None` after a write that failed.
    sink: Option<Box<dyn FormatWriter>>,
    schema: OutputSchema,
    path: PathBuf,
    target: PathBuf,
    rows: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSummary {
    /// The file.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

impl std::fmt::Debug for OutputWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputWriter")
            .field("target", &self.target)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl OutputWriter {
    /// Opens an output at `path` (which may be another than the job says, for instance a trial's),
    /// making its folder if need be.
    ///
    /// `metadata` are the words about the whole file, such as `rowmill.run`, which Parquet and
    /// Arrow IPC keep.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::NotAFile`], [`Error::Place`], [`Error::Write`].
    pub fn create(
        spec: &OutputSpec,
        path: &Path,
        schema: &OutputSchema,
        metadata: Vec<(String, String)>,
    ) -> Result<OutputWriter, Error> {
        let target = place::target(path)?;
        place::make_folder(&target)?;
        let pending = Pending::create_public(&target).map_err(|source| Error::Place {
            folder: place::folder_of(&target),
            source,
        })?;
        let sink =
            guarded(|| open(spec, pending, schema, metadata)).map_err(|source| Error::Write {
                path: path.to_path_buf(),
                source,
            })?;
        Ok(OutputWriter {
            sink: Some(sink),
            schema: schema.clone(),
            path: path.to_path_buf(),
            target,
            rows: 0,
        })
    }

    /// Writes a batch as [`RowBuilders::finish`](super::RowBuilders::finish) makes it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a batch of another schema; [`Error::Write`], after which the output
    /// can not be finished any more.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.schema_ref() != self.schema.schema() {
            return Err(Error::Mismatch {
                problem: "the batch has other columns than the output".to_owned(),
            });
        }
        let Some(sink) = &mut self.sink else {
            return Err(Error::Incomplete {
                path: self.path.clone(),
            });
        };
        if let Err(source) = guarded(|| sink.write(batch)) {
            self.sink = None;
            return Err(Error::Write {
                path: self.path.clone(),
                source,
            });
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Adds a word about the whole file that is known only now, such as `rowmill.cost_usd`. It
    /// stands in the footer of Parquet and Arrow IPC, but not in the schema that is kept there.
    pub fn note(&mut self, key: &str, value: &str) {
        if let Some(sink) = &mut self.sink {
            sink.note(key, value);
        }
    }

    /// Rows written so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Write`], and [`Error::Incomplete`] after a write that failed. What was at the path
    /// stays as it was then.
    pub fn finish(self) -> Result<OutputSummary, Error> {
        let path = self.path.clone();
        self.finish_as(&path)
    }

    /// As [`OutputWriter::finish`], under another name in the same folder: where what is written
    /// turns out not to be worth the place it was meant for.
    ///
    /// # Errors
    /// As [`OutputWriter::finish`].
    pub fn finish_as(mut self, path: &Path) -> Result<OutputSummary, Error> {
        if path != self.path {
            self.target = place::target(path)?;
            self.path = path.to_path_buf();
        }
        let Some(sink) = self.sink else {
            return Err(Error::Incomplete { path: self.path });
        };
        let written = guarded(|| sink.finish()).and_then(|pending| {
            pending.commit_as(&self.target)?;
            Ok(std::fs::metadata(&self.target)?.len())
        });
        match written {
            Ok(bytes) => Ok(OutputSummary {
                path: self.path,
                rows: self.rows,
                bytes,
            }),
            Err(source) => Err(Error::Write {
                path: self.path,
                source,
            }),
        }
    }
}

/// Calls a format's writer; a panic there is an error of this file.
fn guarded<T>(call: impl FnOnce() -> Result<T, Cause>) -> Result<T, Cause> {
    border::guard(call)?
}

fn open(
    spec: &OutputSpec,
    file: Pending,
    schema: &OutputSchema,
    metadata: Vec<(String, String)>,
) -> Result<Box<dyn FormatWriter>, Cause> {
    Ok(match schema.format() {
        Format::Parquet => Box::new(parquet::ParquetFile::create(file, spec, schema, metadata)?),
        Format::Csv => Box::new(csv::CsvFile::create(
            file,
            b',',
            spec.escape_formulas,
            schema.schema(),
        )?),
        Format::Tsv => Box::new(csv::CsvFile::create(
            file,
            b'\t',
            spec.escape_formulas,
            schema.schema(),
        )?),
        Format::Jsonl => Box::new(jsonl::JsonlFile::create(file)),
        Format::Ipc => Box::new(ipc::IpcFile::create(file, schema, metadata)?),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    struct FullDisk(Pending);

    impl FormatWriter for FullDisk {
        fn write(&mut self, _: &RecordBatch) -> Result<(), Cause> {
            Err("no space left".into())
        }
        fn finish(self: Box<Self>) -> Result<Pending, Cause> {
            Ok(self.0)
        }
    }

    #[test]
    fn never_finishes_after_a_write_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let spec = OutputSpec::new(&path);
        let schema = OutputSchema::new(&Schema::empty(), &[], &spec).unwrap();
        let mut writer = OutputWriter::create(&spec, &path, &schema, vec![]).unwrap();
        writer.sink = Some(Box::new(FullDisk(Pending::create(&path).unwrap())));
        let batch = RecordBatch::new_empty(Arc::clone(schema.schema()));
        assert!(matches!(writer.write(&batch), Err(Error::Write { .. })));
        assert!(matches!(
            writer.write(&batch),
            Err(Error::Incomplete { .. })
        ));
        assert!(matches!(writer.finish(), Err(Error::Incomplete { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
