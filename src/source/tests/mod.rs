//! Tests over the room as a whole: one folder of files, one spec, the rows that come out.

mod columnar;
mod dialect;
mod kinds;
mod rows;
mod text;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::table::{Bound, BoundOp, BoundValue};
use arrow::record_batch::RecordBatch;

/// A folder with files in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Folder {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }
    fn open(&self, spec: &SourceSpec) -> Result<Source, Error> {
        Source::open_with(spec, self.path(), &mut std::io::empty())
    }
}

fn spec(path: &str) -> SourceSpec {
    SourceSpec {
        path: path.into(),
        ..SourceSpec::default()
    }
}

fn with(path: &str, change: impl FnOnce(&mut SourceSpec)) -> SourceSpec {
    let mut spec = spec(path);
    change(&mut spec);
    spec
}

fn map(entries: &[(&str, &str)]) -> IndexMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// All rows as text, null as `-`, and their positions.
fn rows_of(source: &Source) -> Result<(Vec<Vec<String>>, Vec<u64>), Error> {
    let (mut cells, mut positions) = (Vec::new(), Vec::new());
    for rows in source.scan(None)? {
        let rows = rows?;
        assert!(rows.batch.num_rows() <= MAX_ROWS);
        assert_eq!(rows.batch.num_rows(), rows.row_index.len());
        cells.extend(shown(&rows.batch));
        positions.extend(rows.row_index);
    }
    Ok((cells, positions))
}

fn shown(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("-");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c, &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect()
        })
        .collect()
}

fn cells(source: &Source) -> Vec<Vec<String>> {
    rows_of(source).unwrap().0
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Vec<String>>, Error> {
    read_with(name, bytes, |_| ())
}

fn read_with(
    name: &str,
    bytes: impl AsRef<[u8]>,
    change: impl FnOnce(&mut SourceSpec),
) -> Result<Vec<Vec<String>>, Error> {
    let source = Folder::new().with(name, bytes);
    let source_spec = with(name, change);
    source
        .open(&source_spec)
        .and_then(|source| rows_of(&source))
        .map(|(cells, _)| cells)
}

fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        text.push_str(&format!(": {e}"));
        cause = e.source();
    }
    text
}

/// A folder of files that other programs wrote, or damaged.
fn test_data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

const PEOPLE: &str = "id,name,age\n1,Ann,31\n2,Bob,\n3,Cem,17\n4,Dee,62\n5,Eva,30\n";

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn parquet_bytes(
    batch: &RecordBatch,
    rows_of_group: usize,
    statistics: EnabledStatistics,
) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_of_group))
        .set_statistics_enabled(statistics)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Ten row groups of ten rows: id 0..100, text t00..t99, number id / 2, nulls in every 7th row, all
/// nulls in the third group.
fn hundred_rows(first: i64) -> RecordBatch {
    let ids = first..first + 100;
    let numbers = ids
        .clone()
        .map(|id| (id % 7 != 0 && !(20..30).contains(&(id - first))).then_some(id as f64 / 2.0));
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        (
            "text",
            Arc::new(StringArray::from_iter_values(
                ids.map(|id| format!("t{id:03}")),
            )),
        ),
        ("number", Arc::new(Float64Array::from_iter(numbers))),
    ])
}
