//! Rows and bytes per second of each format: all columns, one column, and one row, compared with
//! the crate that reads the format.

#![allow(missing_docs)] // divan's macros make items without

mod text;

use std::fs;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::OnceLock;

use arrow::ipc::reader::FileReader;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rowmill::source::{Source, SourceSpec};

const ROWS: u64 = 100_000;
const FORMATS: [&str; 4] = ["csv", "jsonl", "parquet", "arrow"];

fn main() {
    text::announce();
    divan::main();
}

/// The same rows in every format: a number, a word, and a text of about 400 bytes.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| write_files().expect("the files can be written"))
        .path()
}

fn write_files() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut lines = fs::File::create(folder.path().join("a.jsonl")).map(std::io::BufWriter::new)?;
    for (id, text) in text::texts(ROWS as usize).into_iter().enumerate() {
        let lang = if id.is_multiple_of(2) { "ko" } else { "en" };
        let row = serde_json::json!({"id": id, "lang": lang, "text": text});
        writeln!(lines, "{row}")?;
    }
    lines.flush()?;

    let rows = Source::open(&spec("jsonl"), folder.path())?;
    let mut table = csv::Writer::from_path(folder.path().join("a.csv"))?;
    table.write_record(["id", "lang", "text"])?;
    let mut parquet = ArrowWriter::try_new(
        fs::File::create(folder.path().join("a.parquet"))?,
        rows.schema().clone(),
        None,
    )?;
    let arrow = fs::File::create(folder.path().join("a.arrow"))?;
    let mut arrow = arrow::ipc::writer::FileWriter::try_new(arrow, rows.schema())?;
    for rows in rows.scan(None)? {
        let batch = rows?.batch;
        parquet.write(&batch)?;
        arrow.write(&batch)?;
        let columns = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.write_record(
                columns
                    .iter()
                    .map(|c| arrow::array::AsArray::as_string::<i32>(c).value(row)),
            )?;
        }
    }
    table.flush()?;
    parquet.close()?;
    arrow.finish()?;
    Ok(folder)
}

fn spec(format: &str) -> SourceSpec {
    SourceSpec {
        path: format!("a.{format}").as_str().into(),
        ..SourceSpec::default()
    }
}

fn scan(bencher: Bencher<'_, '_>, spec: &SourceSpec, projection: Option<&[String]>) {
    let source = Source::open(spec, folder()).expect("the source opens");
    let bytes: u64 = source.files().iter().map(|file| file.bytes).sum();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(bytes))
        .bench(|| {
            for rows in source.scan(projection).expect("the columns are there") {
                black_box(rows.expect("the rows can be read"));
            }
        });
}

#[divan::bench(args = FORMATS, sample_count = 10)]
fn all_columns(bencher: Bencher<'_, '_>, format: &str) {
    scan(bencher, &spec(format), None);
}

/// The baseline: every record once through the crate that reads the format (JSON Lines: every
/// line), without a conversion.
#[divan::bench(args = FORMATS, sample_count = 10)]
fn by_the_crate_alone(bencher: Bencher<'_, '_>, format: &str) {
    let path = folder().join(format!("a.{format}"));
    let bytes = fs::metadata(&path).expect("it was written").len();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(bytes))
        .bench(|| {
            let file = fs::File::open(&path).expect("it was written");
            let rows = match format {
                "csv" => csv_rows(file),
                "jsonl" => std::io::BufReader::with_capacity(1 << 18, file)
                    .split(b'\n')
                    .count(),
                "parquet" => {
                    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                        .and_then(|b| b.with_batch_size(8_192).build());
                    reader
                        .expect("Parquet")
                        .map(|batch| batch.expect("rows").num_rows())
                        .sum()
                }
                _ => {
                    let reader = FileReader::try_new(file, None).expect("Arrow IPC");
                    reader.map(|batch| batch.expect("rows").num_rows()).sum()
                }
            };
            assert_eq!(rows as u64, ROWS);
        });
}

fn csv_rows(file: fs::File) -> usize {
    let mut reader = csv::ReaderBuilder::new()
        .buffer_capacity(1 << 18)
        .from_reader(file);
    let mut record = csv::ByteRecord::new();
    let mut rows = 0;
    while reader.read_byte_record(&mut record).expect("CSV") {
        rows += 1;
    }
    rows
}

#[divan::bench(args = FORMATS, sample_count = 10)]
fn one_column(bencher: Bencher<'_, '_>, format: &str) {
    scan(bencher, &spec(format), Some(&["lang".to_owned()]));
}

#[divan::bench(args = FORMATS, sample_count = 10)]
fn where_one_row(bencher: Bencher<'_, '_>, format: &str) {
    let id = if format == "csv" {
        "id = '99999'"
    } else {
        "id = 99999"
    };
    let spec = SourceSpec {
        filter: Some(id.to_owned()),
        ..spec(format)
    };
    scan(bencher, &spec, None);
}

#[divan::bench(args = FORMATS, sample_count = 10)]
fn open(bencher: Bencher<'_, '_>, format: &str) {
    let (folder, spec) = (folder(), spec(format));
    bencher.bench(|| Source::open(black_box(&spec), folder).expect("the source opens"));
}
