//! Tests over the room as a whole: one folder of files, one spec, the rows that come out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow::util::display::{ArrayFormatter, FormatOptions};
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
    SourceSpec { path: path.into(), ..SourceSpec::default() }
}

fn with(path: &str, change: impl FnOnce(&mut SourceSpec)) -> SourceSpec {
    let mut spec = spec(path);
    change(&mut spec);
    spec
}

fn map(entries: &[(&str, &str)]) -> IndexMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
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
    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

fn cells(source: &Source) -> Vec<Vec<String>> {
    rows_of(source).unwrap().0
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Vec<String>>, Error> {
    read_with(name, bytes, |_| ())
}

fn read_with(name: &str, bytes: impl AsRef<[u8]>, change: impl FnOnce(&mut SourceSpec)) -> Result<Vec<Vec<String>>, Error> {
    let source = Folder::new().with(name, bytes);
    let source_spec = with(name, change);
    source.open(&source_spec).and_then(|source| rows_of(&source)).map(|(cells, _)| cells)
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

/// The folder of real and hostile files, which is not part of the project.
fn shared(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("ROWMILL_SHARED_DATA").map(PathBuf::from);
    let places = named.into_iter().chain([here.join("../shared/data"), here.join("../../shared/data")]);
    let found = places.map(|place| place.join(name)).find(|place| place.exists());
    if found.is_none() {
        skipped(name);
    }
    found
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skipped(name: &str) {
    eprintln!("skipped: no shared data `{name}`");
}

// ---- csv -------------------------------------------------------------------------------------------------------------------------

#[test]
fn keeps_csv_cells_as_they_are_written() {
    let text = "id,a,b\n007,NA,nan\n1.10,1e5,2024-01-01\n,\"\",\"a\"\"b\"\n \"x\" ,2\"3,\"line\nbreak, comma\"\n";
    let expected =
        [["007", "NA", "nan"], ["1.10", "1e5", "2024-01-01"], ["-", "-", "a\"b"], [" \"x\" ", "2\"3", "line\nbreak, comma"]];
    assert_eq!(read("a.csv", text).unwrap(), expected);
    assert_eq!(read_with("a.csv", text, |s| s.empty = EmptyCells::Text).unwrap()[2], ["", "", "a\"b"]);
}

#[test]
fn reads_every_way_of_writing_csv() {
    let expected = [["1", "ä"], ["2", "-"]];
    let utf16: Vec<u8> = [0xfeff].into_iter().chain("a,b\n1,ä\n2,".encode_utf16()).flat_map(u16::to_be_bytes).collect();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all("a,b\n1,ä\n2,\n".as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for (name, bytes) in [
        ("a.csv", "a,b\n1,ä\n2,\n".as_bytes().to_vec()),
        ("a.csv", "a,b\r\n1,ä\r\n2,".as_bytes().to_vec()),
        ("a.csv", "a,b\r1,ä\r2,\r".as_bytes().to_vec()),
        ("a.csv", "\u{feff}a,b\n\n\n1,ä\n\n2,\n\n".as_bytes().to_vec()),
        ("a.csv", utf16),
        ("a.tsv", "a\tb\n1\tä\n2\t\n".as_bytes().to_vec()),
        ("a.csv.gz", gzip),
        ("a.csv.zst", zstd::encode_all("a,b\n1,ä\n2,\n".as_bytes(), 1).unwrap()),
    ] {
        assert_eq!(read(name, &bytes).unwrap(), expected, "{name} {bytes:?}");
    }
    let latin1 = read_with("a.csv", b"a,b\n1,\xe4\n2,\n", |s| s.encoding = Some("latin1".to_owned()));
    assert_eq!(latin1.unwrap(), expected);
    let semicolons = read_with("a.csv", "a;b\n1;'ä'\n2;\n", |s| (s.delimiter, s.quote) = (Some(';'), Some("'".to_owned())));
    assert_eq!(semicolons.unwrap(), expected);
    let unquoted = read_with("a.tsv", "a\tb\n1\t\"open\n2\t5\" pipe\n", |s| s.quote = Some(String::new()));
    assert_eq!(unquoted.unwrap(), [["1", "\"open"], ["2", "5\" pipe"]]);
}

#[test]
fn names_columns_where_there_is_no_header() {
    let folder = Folder::new().with("a.csv", "1,2\n3,4\n");
    let source = folder.open(&with("a.csv", |s| s.header = Some(false))).unwrap();
    assert_eq!(source.schema().field(1).name(), "column_2");
    assert_eq!(cells(&source), [["1", "2"], ["3", "4"]]);
}

#[test]
fn takes_a_header_without_rows_for_an_empty_table() {
    for text in ["a,b", "a,b\n", "a,b\r\n\r\n"] {
        let folder = Folder::new().with("a.csv", text);
        let source = folder.open(&spec("a.csv")).unwrap();
        assert_eq!(source.schema().fields().len(), 2);
        assert!(cells(&source).is_empty());
    }
}

#[test]
fn passes_over_blank_lines_in_a_table_of_one_column() {
    assert_eq!(read("a.csv", "a\n\n1\n\n\"\"\n2\n\n").unwrap(), [["1"], ["-"], ["2"]]);
}

#[test]
fn names_the_place_where_a_csv_file_is_wrong() {
    let typed = |text: &str| read_with("a.csv", text, |s| s.columns = map(&[("b", "int64")]));
    for (text, expected) in [
        ("a,b\n1\n", "line 2: 1 cells, expected 2"),
        ("a,b\r\n1,2\r\n\r\n1,2,3\r\n", "line 4: 3 cells, expected 2"),
        ("a,b\n\"x\ny\",2\n\n\n1\n", "line 6: 1 cells, expected 2"),
        ("a,b\r\n\"x\r\ny\",2\r\n1\r\n", "line 4: 1 cells, expected 2"),
        ("a,b\n1,\"2\n3,4\n", "line 2: a quoted cell is never closed"),
        ("a,b\r\n\r\n1,2\r\n\"3,4\r\n5,6", "line 4: a quoted cell is never closed"),
        ("a,b\n1,\"", "line 2: a quoted cell is never closed"),
        ("a,b\n1,\"2\"\"", "line 2: a quoted cell is never closed"),
        ("\"a,b\n1,2\n", "line 1: a quoted cell is never closed"),
        ("a,b,a\n", "two columns named `a`: columns 1 and 3"),
        ("a,,b\n", "column 2 of "),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("\u{feff}", "is empty"),
    ] {
        let error = read("a.csv", text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
    }
    for (text, expected) in [
        ("a,b\n1,2\n3,secret\n", "line 3 (row 2): column `b` is not int64"),
        ("a,b\r\n\r\n\"\r\n\",\r\n3,secret\r\n", "line 5 (row 2): column `b` is not int64"),
    ] {
        let error = typed(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
        assert!(!words(&error).contains("secret"));
    }
}

#[test]
fn names_line_and_column_of_bytes_that_are_not_utf8() {
    let error = read("a.csv", b"a,b\n1,2\n3,\xe4x\n").unwrap_err();
    assert!(error.to_string().ends_with("line 3: column `b` is not UTF-8"), "{error}");
    let error = read("a.csv", b"a,\xe4\n").unwrap_err();
    assert!(error.to_string().ends_with("line 1: column 2 is not UTF-8"), "{error}");
    // The mark that the reader puts behind the end, in the middle of a file.
    let mark = b"a\n1\n\xff\xfeend of rowmill source\xfe\xff\n2\n";
    assert!(matches!(read("a.csv", mark), Err(Error::NotUtf8 { line: 3, .. })));
}

#[test]
fn gives_columns_the_types_of_the_job() {
    let text = "i,f,b,d,t,n,s\n7,1e3,true,2024-02-29,2024-02-29 12:00:00,1.50,007\n,,,,,,\n";
    let types = map(&[
        ("i", "int64"),
        ("f", "float64"),
        ("b", "bool"),
        ("d", "date"),
        ("t", "timestamp"),
        ("n", "decimal(9,2)"),
        ("s", "string"),
    ]);
    let rows = read_with("a.csv", text, |s| (s.columns, s.empty) = (types, EmptyCells::Text)).unwrap();
    assert_eq!(rows[0], ["7", "1000.0", "true", "2024-02-29", "2024-02-29T12:00:00", "1.50", "007"]);
    assert_eq!(rows[1], ["-", "-", "-", "-", "-", "-", ""]);
}

#[test]
fn reads_the_csv_spectrum() {
    let Some(folder) = shared("csv-spectrum") else { return };
    let mut cases = 0;
    for entry in fs::read_dir(folder.join("csvs")).unwrap() {
        let path = entry.unwrap().path();
        let json = fs::read_to_string(folder.join("json").join(path.with_extension("json").file_name().unwrap())).unwrap();
        // A table of one row is an object rather than a list of one.
        let json = if json.trim_start().starts_with('[') { json } else { format!("[{json}]") };
        let expected: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&json).unwrap();
        let spec = with(path.to_str().unwrap(), |s| s.empty = EmptyCells::Text);
        let source = Source::open(&spec, Path::new("")).unwrap();
        let names: Vec<&String> = source.schema().fields().iter().map(|field| field.name()).collect();
        assert_eq!(names, expected[0].keys().collect::<Vec<_>>(), "{}", path.display());
        let values: Vec<Vec<&str>> =
            expected.iter().map(|row| row.values().map(|cell| cell.as_str().unwrap()).collect()).collect();
        let mut read = cells(&source);
        if path.ends_with("location_coordinates.csv") {
            // The set has another phone number in the JSON than in the CSV.
            read[0][0] = values[0][0].to_owned();
        }
        assert_eq!(read, values, "{}", path.display());
        cases += 1;
    }
    assert_eq!(cases, 12);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: prop::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn gives_back_every_cell_of_a_csv_file(
        rows in prop::collection::vec(prop::collection::vec("[ -~äß😀\"',;\t\r\n]{0,12}", 3), 0..20),
        always in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        let style = if always { ::csv::QuoteStyle::Always } else { ::csv::QuoteStyle::Necessary };
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new().quote_style(style).terminator(terminator).from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let read = read_with("a.csv", writer.into_inner().unwrap(), |s| s.empty = EmptyCells::Text).unwrap();
        prop_assert_eq!(read, rows);
    }
}

// ---- json lines ------------------------------------------------------------------------------------------------------------------

fn types_of(source: &Source) -> Vec<String> {
    source.schema().fields().iter().map(|field| types::name(field.data_type())).collect()
}

#[test]
fn finds_the_types_of_json_lines_in_the_whole_file() {
    for (values, data_type, expected) in [
        (vec!["1", "null", "-2"], "int64", vec!["1", "-", "-2"]),
        (vec!["1", "1.5"], "float64", vec!["1.0", "1.5"]),
        (vec!["true", "false"], "bool", vec!["true", "false"]),
        (vec!["\"007\"", "\"a\\n\\u00e4\""], "string", vec!["007", "a\nä"]),
        (vec!["null", "null"], "string", vec!["-", "-"]),
        (vec!["1.10", "\"x\"", "true", "null"], "string", vec!["1.10", "x", "true", "-"]),
        (vec!["1", "{\"b\": 1.0}", "[1, 2]"], "string", vec!["1", "{\"b\": 1.0}", "[1, 2]"]),
        (vec!["18446744073709551615", "1"], "string", vec!["18446744073709551615", "1"]),
        (vec!["9007199254740993", "0.5"], "string", vec!["9007199254740993", "0.5"]),
        (vec!["1e400", "0.5"], "string", vec!["1e400", "0.5"]),
        (vec!["{}", "{}"], "string", vec!["{}", "{}"]),
    ] {
        let text: String = values.iter().map(|value| format!("{{\"a\":{value}}}\n")).collect();
        let folder = Folder::new().with("a.jsonl", text);
        let source = folder.open(&spec("a.jsonl")).unwrap();
        assert_eq!(types_of(&source), [data_type], "{values:?}");
        assert_eq!(cells(&source).concat(), expected, "{values:?}");
    }
}

#[test]
fn keeps_nested_json_nested() {
    let text = "{\"a\":[1,2.5],\"b\":{\"x\":1}}\r\n\n   \n{\"b\":{\"y\":[\"z\"],\"x\":\"t\"},\"c\":[[]]}";
    let folder = Folder::new().with("a.ndjson", text);
    let source = folder.open(&spec("a.ndjson")).unwrap();
    assert!(source.schema().field(1).data_type().is_nested());
    let rows = cells(&source);
    assert_eq!(rows[0], ["[1.0, 2.5]", "{x: 1, y: -}", "-"]);
    assert_eq!(rows[1], ["-", "{x: t, y: [z]}", "[[]]"]);
    let deep = format!("{{\"a\":{}1{}}}\n", "[".repeat(100), "]".repeat(100));
    assert_eq!(read("a.jsonl", &deep).unwrap().concat(), [deep[5..deep.len() - 2].to_owned()]);
}

#[test]
fn reads_json_numbers_as_the_job_asks() {
    let text = "{\"n\":0.10,\"id\":12345678901234567890,\"s\":\"5\"}\n{\"n\":null,\"id\":1,\"s\":\"6\"}\n";
    let types = map(&[("n", "decimal(5,2)"), ("id", "uint64"), ("s", "int64")]);
    let rows = read_with("a.jsonl", text, |s| s.columns = types).unwrap();
    assert_eq!(rows, [["0.10", "12345678901234567890", "5"], ["-", "1", "6"]]);
    let rows = read_with("a.jsonl", text, |s| s.columns = map(&[("n", "string")])).unwrap();
    assert_eq!(rows[0][0], "0.10");
    let error = read_with("a.jsonl", "\n{\"n\":1}\n{\"n\":\"secret\"}\n", |s| s.columns = map(&[("n", "int64")])).unwrap_err();
    assert!(error.to_string().ends_with("line 3 (row 2): column `n` is not int64"), "{error}");
}

#[test]
fn names_the_line_that_is_not_json() {
    for (text, expected) in [
        ("{\"a\":1}\n\n{\"a\":tru}\n", "line 3, byte 9: expected ident"),
        ("{\"a\":1}\n{\"a\":1", "line 2, byte 6: EOF while parsing an object"),
        ("[1]\n", "line 1, byte 1: not a JSON object"),
        ("{\"a\":1}{\"a\":2}\n", "line 1, byte 8: trailing characters"),
        ("{\"a\":1}\n{\"a\":1,\"a\":2}\n", "line 2, byte 1: key `a` comes twice"),
        ("{\"a\":\"\\ud800\"}\n", "line 1"),
        ("{\n\"a\": 1\n}\n", "line 1, byte 1: EOF while parsing an object"),
        ("\n \n", "has no columns"),
        ("", "has no columns"),
        ("{\"\":1}\n", "column 1 of "),
    ] {
        let error = read("a.jsonl", text).unwrap_err();
        assert!(words(&error).contains(expected), "{text:?}: {}", words(&error));
    }
    assert!(matches!(read("a.jsonl", b"{\"a\":1}\n{\"a\":\"\xff\"}\n"), Err(Error::NotUtf8 { line: 2, .. })));
}

#[test]
fn unites_the_columns_of_several_json_files() {
    let folder = Folder::new().with("a.jsonl", "{\"a\":1}\n").with("b.jsonl", "{\"b\":\"x\",\"a\":2}\n").with("c.jsonl", "");
    assert_eq!(cells(&folder.open(&spec("*.jsonl")).unwrap()), [["1", "-"], ["2", "x"]]);
}

// ---- parquet ---------------------------------------------------------------------------------------------------------------------

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn parquet_bytes(batch: &RecordBatch, rows_of_group: usize, statistics: EnabledStatistics) -> Vec<u8> {
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(rows_of_group)).set_statistics_enabled(statistics).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Ten row groups of ten rows: id 0..100, text t00..t99, number id / 2, nulls in every 7th row, all nulls in the third group.
fn hundred_rows(first: i64) -> RecordBatch {
    let ids = first..first + 100;
    let numbers = ids.clone().map(|id| (id % 7 != 0 && !(20..30).contains(&(id - first))).then_some(id as f64 / 2.0));
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("text", Arc::new(StringArray::from_iter_values(ids.map(|id| format!("t{id:03}"))))),
        ("number", Arc::new(Float64Array::from_iter(numbers))),
    ])
}

#[test]
fn passes_over_row_groups_and_still_counts_their_rows() {
    let folder = Folder::new()
        .with("a.parquet", parquet_bytes(&hundred_rows(0), 10, EnabledStatistics::Page))
        .with("b.parquet", parquet_bytes(&hundred_rows(100), 10, EnabledStatistics::Chunk))
        .with("c.parquet", parquet_bytes(&hundred_rows(200), 10, EnabledStatistics::None));
    for (predicate, expected) in [
        ("id = 142", vec![142]),
        ("id BETWEEN 95 AND 104", (95..105).collect()),
        ("id >= 298 OR text = 't005'", vec![5, 298, 299]),
        ("text > 't295'", (296..300).collect()),
        ("number < 1", vec![1]),
        ("number > 149", vec![299]),
        ("id > 40 AND text < 't043'", vec![41, 42]),
        ("id = 1000", vec![]),
        ("id < 30 AND number IS NULL", (0..30).filter(|id| id % 7 == 0 || *id >= 20).collect()),
    ] {
        let source = folder.open(&with("*.parquet", |s| s.filter = Some(predicate.to_owned()))).unwrap();
        assert_eq!(source.rows_hint(), Some(300));
        let (cells, positions) = rows_of(&source).unwrap();
        assert_eq!(positions, expected, "{predicate}");
        assert_eq!(cells.iter().map(|row| row[0].parse().unwrap()).collect::<Vec<u64>>(), expected, "{predicate}");
    }
}

#[test]
fn reads_only_the_row_groups_that_may_match() {
    let folder = Folder::new().with("a.parquet", parquet_bytes(&hundred_rows(0), 10, EnabledStatistics::Chunk));
    let input = Arc::new(Input::of_file(&folder.path().join("a.parquet"), None).unwrap());
    let schema = hundred_rows(0).schema();
    let groups = |column: &str, op: BoundOp, value: BoundValue| {
        let bound = Bound { column: column.to_owned(), op, value };
        let pieces = parquet::Rows::open(input.clone(), schema.clone(), &[bound]).unwrap();
        let read = pieces.map(|piece| matches!(piece.unwrap(), scan::Piece::Rows(_)));
        read.enumerate().filter(|(_, read)| *read).map(|(group, _)| group).collect::<Vec<_>>()
    };
    assert_eq!(groups("id", BoundOp::Eq, BoundValue::Int(35)), [3]);
    assert_eq!(groups("id", BoundOp::GtEq, BoundValue::Int(80)), [8, 9]);
    assert_eq!(groups("text", BoundOp::Lt, BoundValue::Text("t010".to_owned())), [0]);
    // Floats are bounded from above only; the third row group holds nothing but nulls.
    assert_eq!(groups("number", BoundOp::LtEq, BoundValue::Float(15.0)), [0, 1, 3]);
    assert_eq!(groups("number", BoundOp::Gt, BoundValue::Float(1e9)), [0, 1, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn finds_not_a_number_where_statistics_leave_it_out() {
    let values = batch(vec![("x", Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0])))]);
    let folder = Folder::new().with("a.parquet", parquet_bytes(&values, 10, EnabledStatistics::Page));
    let source = folder.open(&with("a.parquet", |s| s.filter = Some("x > 5".to_owned()))).unwrap();
    assert_eq!(rows_of(&source).unwrap().1, [1]);
}

#[test]
fn does_not_prune_a_column_whose_type_the_job_changed() {
    let folder = Folder::new().with("a.parquet", parquet_bytes(&hundred_rows(0), 10, EnabledStatistics::Page));
    let source = folder.open(&with("a.parquet", |s| {
        s.filter = Some("id < '2'".to_owned());
        s.columns = map(&[("id", "string")]);
    }));
    let (cells, _) = rows_of(&source.unwrap()).unwrap();
    assert_eq!(cells.iter().map(|row| row[0].as_str()).collect::<Vec<_>>().len(), 12);
    assert_eq!(cells[0][0], "0");
}

#[test]
fn cuts_batches_by_rows_and_by_bytes() {
    let pictures = (0..300_u32).map(|i| vec![i as u8; 150_000]).collect::<Vec<_>>();
    let one_picture = vec![vec![7_u8; 150_000]; 300];
    for pictures in [pictures, one_picture] {
        let rows = batch(vec![("picture", Arc::new(BinaryArray::from_iter_values(pictures)))]);
        let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        stream.write(&rows).unwrap();
        let folder = Folder::new()
            .with("a.parquet", parquet_bytes(&rows, 1000, EnabledStatistics::None))
            .with("a.arrow", stream.into_inner().unwrap());
        for name in ["a.parquet", "a.arrow"] {
            let source = folder.open(&spec(name)).unwrap();
            let mut read = 0;
            for rows in source.scan(None).unwrap() {
                let rows = rows.unwrap();
                assert!(rows.batch.num_rows() <= 120, "{name}: {} rows", rows.batch.num_rows());
                read += rows.batch.num_rows();
            }
            assert_eq!(read, 300);
        }
    }
}

#[test]
fn cuts_text_formats_by_bytes() {
    let row = "x".repeat(1 << 20);
    let csv = format!("a\n{}", format!("{row}\n").repeat(40));
    let jsonl = format!("{{\"a\":\"{row}\"}}\n").repeat(40);
    let folder = Folder::new().with("a.csv", csv).with("a.jsonl", jsonl);
    for name in ["a.csv", "a.jsonl"] {
        let source = folder.open(&spec(name)).unwrap();
        let sizes: Vec<usize> = source.scan(None).unwrap().map(|rows| rows.unwrap().batch.num_rows()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 40);
        assert!(sizes.iter().all(|rows| *rows <= 17), "{name}: {sizes:?}");
    }
}

#[test]
fn reads_what_the_parquet_crate_reads() {
    let Some(folder) = shared("parquet") else { return };
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let source = Source::open(&spec(path.to_str().unwrap()), Path::new(""));
        let source = source.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap().build().unwrap();
        let whole = |batches: Vec<RecordBatch>| arrow::compute::concat_batches(source.schema(), &batches).unwrap();
        let expected = whole(reader.map(Result::unwrap).collect());
        let read = whole(source.scan(None).unwrap().map(|rows| rows.unwrap().batch).collect());
        assert_eq!(source.rows_hint(), Some(read.num_rows() as u64));
        if path.ends_with("repeated_no_annotation.parquet") {
            // Its footer says 0 rows, and the crate believes it; its row group holds 6.
            assert_eq!((expected.num_rows(), read.num_rows()), (0, 6));
            continue;
        }
        assert_eq!(read.columns(), expected.columns(), "{}", path.display());
        files += 1;
    }
    assert!(files > 40);
}

#[test]
fn refuses_files_that_do_not_agree() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let large: ArrayRef = Arc::new(arrow::array::LargeStringArray::from(vec!["y"]));
    let bytes = |columns| parquet_bytes(&batch(columns), 10, EnabledStatistics::None);
    let folder = Folder::new()
        .with("a.parquet", bytes(vec![("id", ids.clone()), ("t", texts.clone())]))
        .with("turned.parquet", bytes(vec![("t", large), ("id", ids.clone())]))
        .with("type.parquet", bytes(vec![("id", texts.clone()), ("t", texts.clone())]))
        .with("less.parquet", bytes(vec![("id", ids.clone())]))
        .with("more.parquet", bytes(vec![("id", ids.clone()), ("t", texts.clone()), ("u", texts)]))
        .with("a.csv", "id,t\n1,x\n")
        .with("turned.csv", "t,id\ny,1\n")
        .with("less.csv", "id\n1\n");
    let open = |other: &str, extension: &str| {
        let paths = Paths::Many(vec![format!("a.{extension}"), format!("{other}.{extension}")]);
        folder.open(&SourceSpec { path: paths, ..SourceSpec::default() })
    };
    assert_eq!(cells(&open("turned", "parquet").unwrap()), [["1", "x"], ["1", "y"]]);
    assert_eq!(cells(&open("turned", "csv").unwrap()), [["1", "x"], ["1", "y"]]);
    let said = |other: &str, extension: &str| words(&open(other, extension).unwrap_err());
    assert!(said("type", "parquet").starts_with("column `id` is string in "));
    assert!(said("less", "parquet").starts_with("column `t` is in "));
    assert!(said("more", "parquet").starts_with("column `u` is in "));
    assert!(said("less", "csv").starts_with("column `t` is in "));
}

#[test]
fn ends_in_an_error_for_hostile_files() {
    let Some(folder) = shared("hostile") else { return };
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension == "md") {
            continue;
        }
        let read = Source::open(&spec(path.to_str().unwrap()), Path::new("")).and_then(|source| rows_of(&source));
        let error = read.map(|_| path.clone()).unwrap_err();
        let expected = match path.file_name().unwrap().to_str().unwrap() {
            "duckdb_unterminated.csv" => matches!(error, Error::Quote { .. }),
            "duckdb_invalid_utf.csv" => matches!(error, Error::NotUtf8 { .. }),
            name if name.ends_with(".csv") => matches!(error, Error::CellCount { .. }),
            _ => matches!(error, Error::Corrupt { .. } | Error::RowCount { .. }),
        };
        assert!(expected, "{}: {error:?}", path.display());
        files += 1;
    }
    assert_eq!(files, 7);
}

#[test]
fn never_gives_another_number_of_rows_of_a_damaged_file() {
    let rows = hundred_rows(0);
    let mut file = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    file.write(&rows).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    stream.write(&rows).unwrap();
    stream.finish().unwrap();
    for (name, bytes) in [
        ("a.parquet", parquet_bytes(&rows, 30, EnabledStatistics::Chunk)),
        ("a.arrow", file.into_inner().unwrap()),
        ("b.arrow", stream.into_inner().unwrap()),
    ] {
        for length in (0..bytes.len()).step_by(7) {
            assert!(read(name, &bytes[..length]).is_err(), "{name} cut after {length} of {} bytes", bytes.len());
        }
        let mut wrong = 0;
        for at in (0..bytes.len()).step_by(5) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x55;
            match read(name, &bytes) {
                Ok(rows) => assert_eq!(rows.len(), 100, "{name} damaged at byte {at}"),
                Err(_) => wrong += 1,
            }
        }
        assert!(wrong > 0, "{name}");
    }
}

// ---- arrow ipc -------------------------------------------------------------------------------------------------------------------

#[test]
fn reads_arrow_files_and_streams_as_they_are() {
    let words: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None, Some(vec![])]);
    let rows =
        batch(vec![("id", Arc::new(Int64Array::from(vec![1, 2, 3]))), ("word", Arc::new(words)), ("list", Arc::new(lists))]);
    let compressed = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME)).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &rows.schema(), compressed).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    for _ in 0..2 {
        file.write(&rows).unwrap();
        stream.write(&rows).unwrap();
    }
    let folder = Folder::new().with("a.feather", file.into_inner().unwrap()).with("a.arrows", stream.into_inner().unwrap());
    for name in ["a.feather", "a.arrows"] {
        let source = folder.open(&spec(name)).unwrap();
        assert_eq!(source.schema().field(1).data_type(), rows.schema().field(1).data_type());
        assert_eq!(source.rows_hint(), Some(6));
        assert_eq!(cells(&source), [shown(&rows), shown(&rows)].concat(), "{name}");
        let only: Vec<_> = source.scan(Some(&["list".to_owned()])).unwrap().map(|rows| rows.unwrap().batch).collect();
        assert_eq!(only[0].num_columns(), 1);
        let none: usize = source.scan(Some(&[])).unwrap().map(|rows| rows.unwrap().batch.num_rows()).sum();
        assert_eq!(none, 6);
        assert_eq!(cells(&folder.open(&with(name, |s| s.filter = Some("word = 'y'".to_owned()))).unwrap()).len(), 2, "{name}");
    }
}

// ---- the way of a row ------------------------------------------------------------------------------------------------------------

const PEOPLE: &str = "id,name,age\n1,Ann,31\n2,Bob,\n3,Cem,17\n4,Dee,62\n5,Eva,30\n";

#[test]
fn derives_then_filters_then_limits() {
    let folder = Folder::new().with("a.csv", PEOPLE).with("b.csv", PEOPLE);
    let asked = with("*.csv", |s| {
        s.columns = map(&[("age", "int64")]);
        s.derive = map(&[("older", "age + 1"), ("label", "name || '-' || CAST(older AS VARCHAR)")]);
        s.filter = Some("older > 18".to_owned());
        s.limit = Some(4);
    });
    let source = folder.open(&asked).unwrap();
    let names: Vec<&str> = source.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name", "age", "older", "label"]);
    let (cells, positions) = rows_of(&source).unwrap();
    assert_eq!(positions, [0, 3, 4, 5]);
    assert_eq!(cells[1], ["4", "Dee", "62", "63", "Dee-63"]);
    assert_eq!(cells[3], ["1", "Ann", "31", "32", "Ann-32"]);

    let mut scan = source.scan(Some(&["label".to_owned(), "id".to_owned()])).unwrap();
    let rows = scan.next().unwrap().unwrap();
    assert_eq!(shown(&rows.batch)[0], ["1", "Ann-32"]);
    assert_eq!(scan.by_ref().count(), 1);
    assert_eq!(scan.counts(), ScanCounts { read: 10, kept: 4 });
    let nothing = folder.open(&SourceSpec { limit: Some(0), ..asked }).unwrap();
    assert_eq!(nothing.scan(None).unwrap().count(), 0);
}

#[test]
fn stops_reading_at_the_limit() {
    let text = format!("a\n{}\"never closed", "1\n".repeat(100_000));
    let folder = Folder::new().with("a.csv", text);
    let source = folder.open(&with("a.csv", |s| s.limit = Some(5))).unwrap();
    assert_eq!(rows_of(&source).unwrap().1, [0, 1, 2, 3, 4]);
}

#[test]
fn hands_out_no_empty_batches() {
    let rows: String = (0..50_000).map(|i| format!("{i}\n")).collect();
    let folder = Folder::new().with("a.csv", format!("a\n{rows}"));
    let source = folder.open(&with("a.csv", |s| s.filter = Some("a = '49999'".to_owned()))).unwrap();
    let mut scan = source.scan(None).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().row_index, [49_999]);
    assert!(scan.next().is_none());
    assert_eq!(scan.counts(), ScanCounts { read: 50_000, kept: 1 });
}

#[test]
fn hands_out_rows_without_columns() {
    let folder = Folder::new()
        .with("a.csv", PEOPLE)
        .with("a.jsonl", "{\"a\":1}\n{\"a\":2}\n")
        .with("a.parquet", parquet_bytes(&hundred_rows(0), 30, EnabledStatistics::None));
    for (name, expected) in [("a.csv", 5), ("a.jsonl", 2), ("a.parquet", 100)] {
        let scan = folder.open(&spec(name)).unwrap().scan(Some(&[])).unwrap();
        assert_eq!(scan.map(|rows| rows.unwrap().batch.num_rows()).sum::<usize>(), expected, "{name}");
    }
}

#[test]
fn adds_the_keys_of_folders_as_columns() {
    let rows =
        |id: i64| parquet_bytes(&batch(vec![("id", Arc::new(Int64Array::from(vec![id, id + 1])))]), 10, EnabledStatistics::Page);
    let folder = Folder::new()
        .with("t/rating=1/land=D%C3%84/p.parquet", rows(10))
        .with("t/rating=2/land=__HIVE_DEFAULT_PARTITION__/p.parquet", rows(20))
        .with("t/rating=10/land=FR/p.parquet", rows(30))
        .with("t/rating=10/land=FR/_metadata", "x");
    let source = folder.open(&spec("t")).unwrap();
    let expected =
        [["10", "1", "DÄ"], ["11", "1", "DÄ"], ["30", "10", "FR"], ["31", "10", "FR"], ["20", "2", "-"], ["21", "2", "-"]];
    assert_eq!(cells(&source), expected);
    let asked = with("t", |s| {
        s.columns = map(&[("rating", "int64")]);
        s.filter = Some("rating > 1 AND land IS NULL".to_owned());
    });
    let source = folder.open(&asked).unwrap();
    assert_eq!(
        rows_of(&source).unwrap(),
        (
            vec![vec!["20".to_owned(), "2".to_owned(), "-".to_owned()], vec!["21".to_owned(), "2".to_owned(), "-".to_owned()]],
            vec![4, 5]
        )
    );
    let source = folder.open(&with("t", |s| s.filter = Some("land = 'FR'".to_owned()))).unwrap();
    assert_eq!(rows_of(&source).unwrap().1, [2, 3]);
    let error = folder.open(&with("t", |s| s.columns = map(&[("land", "int64")]))).unwrap_err();
    assert!(matches!(error, Error::KeyValue { .. }), "{error:?}");
}

#[test]
fn refuses_folders_of_different_keys_and_keys_that_clash() {
    let folder = Folder::new().with("t/k=1/a.csv", "a\n1\n").with("t/j=1/a.csv", "a\n1\n").with("u/a=1/a.csv", "a\n1\n");
    assert!(matches!(folder.open(&spec("t")), Err(Error::FoldersDiffer { .. })));
    assert!(matches!(folder.open(&spec("u")), Err(Error::Clash { what: "folder key", .. })));
}

#[test]
fn reads_the_reviews_by_rating() {
    let Some(folder) = shared("sample/reviews_by_rating") else { return };
    let source = Source::open(&with(folder.to_str().unwrap(), |s| s.filter = Some("rating = '10'".to_owned())), Path::new(""));
    let source = source.unwrap();
    assert_eq!(source.files().len(), 10);
    let (rows, positions) = rows_of(&source).unwrap();
    assert!(!rows.is_empty() && (rows.len() as u64) < source.rows_hint().unwrap());
    assert_eq!(positions[positions.len() - 1] - positions[0] + 1, positions.len() as u64);
}

#[test]
fn reads_standard_input_again_and_again() {
    let open =
        |change: &dyn Fn(&mut SourceSpec), mut bytes: &[u8]| Source::open_with(&with("-", change), Path::new(""), &mut bytes);
    let source = open(&|s| s.format = Some(Format::Csv), PEOPLE.as_bytes()).unwrap();
    assert_eq!(cells(&source).len(), 5);
    assert_eq!(cells(&source).len(), 5);
    assert_eq!(source.files()[0].path, Path::new("-"));
    let parquet = parquet_bytes(&hundred_rows(0), 30, EnabledStatistics::None);
    assert_eq!(cells(&open(&|_| (), &parquet).unwrap()).len(), 100);
    let packed = zstd::encode_all(&parquet[..], 1).unwrap();
    assert_eq!(cells(&open(&|_| (), &packed).unwrap()).len(), 100);
    assert!(matches!(open(&|_| (), PEOPLE.as_bytes()), Err(Error::StdinFormat)));
}

#[test]
fn names_settings_that_cannot_be() {
    let folder = Folder::new().with("a.csv", PEOPLE).with("a.jsonl", "{\"a\":1}\n");
    let said = |path: &str, change: &dyn Fn(&mut SourceSpec)| words(&folder.open(&with(path, change)).unwrap_err());
    type Change = &'static dyn Fn(&mut SourceSpec);
    let cases: [(&str, Change, &str); 12] = [
        ("a.csv", &|s| s.delimiter = Some('é'), "`source.delimiter` cannot be `é`"),
        ("a.csv", &|s| s.quote = Some("ab".to_owned()), "`source.quote` cannot be `ab`"),
        ("a.csv", &|s| s.quote = Some(",".to_owned()), "`source.quote` cannot be `,`"),
        ("a.csv", &|s| s.encoding = Some("utf-9".to_owned()), "no known encoding: `utf-9`"),
        ("a.jsonl", &|s| s.delimiter = Some(';'), "`source.delimiter` has no meaning for a jsonl source"),
        ("a.csv", &|s| s.columns = map(&[("agee", "int64")]), "no column `agee`, which `source.columns` names; it has `id`"),
        ("a.csv", &|s| s.columns = map(&[("age", "integer")]), "column `age` cannot have the type `integer`; types are `string`"),
        ("a.csv", &|s| s.derive = map(&[("age", "1")]), "derived column `age` clashes"),
        ("a.csv", &|s| s.derive = map(&[("x", "agee + 1")]), "`source.derive.x` cannot be evaluated"),
        ("a.csv", &|s| s.filter = Some("agee = '1'".to_owned()), "`source.where` cannot be evaluated"),
        ("a.csv", &|s| s.filter = Some("age".to_owned()), "`source.where` cannot be evaluated"),
        ("a.csv", &|s| s.compression = Some(Compression::Gzip), "cannot be decompressed"),
    ];
    for (path, change, expected) in cases {
        let said = said(path, change);
        assert!(said.contains(expected), "{said}");
    }
    let error = folder.open(&with("a.csv", |s| s.columns = map(&[("agee", "int64")]))).unwrap_err();
    assert!(matches!(error, Error::UnknownColumn { nearest: Some(name), .. } if name == "age"));
    let error = folder.open(&spec("a.csv")).unwrap().scan(Some(&["nam".to_owned()])).unwrap_err();
    assert!(matches!(error, Error::UnknownColumn { nearest: Some(name), .. } if name == "name"));
}

#[test]
fn changes_types_of_parquet_columns_without_loss() {
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("x", Arc::new(Float64Array::from(vec![1.0, 1.5]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false]))),
        ("n", Arc::new(Int32Array::from(vec![Some(1), None]))),
    ]);
    let bytes = parquet_bytes(&rows, 10, EnabledStatistics::Page);
    let types = map(&[("id", "string"), ("b", "string"), ("n", "decimal(9,2)")]);
    assert_eq!(
        read_with("a.parquet", &bytes, |s| s.columns = types).unwrap(),
        [["1", "1.0", "true", "1.00"], ["2", "1.5", "false", "-"]]
    );
    let error = read_with("a.parquet", &bytes, |s| s.columns = map(&[("x", "int64")])).unwrap_err();
    assert!(error.to_string().ends_with("row 2: column `x` is not int64"), "{error}");
}

#[test]
fn reads_a_spec_from_a_job_file() {
    let spec: SourceSpec = toml::from_str(
        "path = ['a.csv', 'b.csv']\nwhere = \"a = '1'\"\nlimit = 3\ndelimiter = '\t'\nempty = 'text'\n\
         compression = 'gzip'\nformat = 'tsv'\n[columns]\nzip = 'string'\n[derive]\nb = 'a'\n",
    )
    .unwrap();
    assert_eq!(spec.path.as_slice(), ["a.csv", "b.csv"]);
    assert_eq!((spec.limit, spec.delimiter, spec.format), (Some(3), Some('\t'), Some(Format::Tsv)));
    assert_eq!(toml::from_str::<SourceSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
    let error = toml::from_str::<SourceSpec>("path = 'a'\npaht = 'b'\n").unwrap_err().to_string();
    assert!(error.contains("unknown field `paht`"), "{error}");
}

#[test]
fn notices_a_file_that_changes_between_scans() {
    let folder = Folder::new().with("a.csv", PEOPLE);
    let source = folder.open(&spec("a.csv")).unwrap();
    let folder = folder.with("a.csv", "id,name,age\n1,Ann,31\n");
    assert!(matches!(rows_of(&source), Err(Error::Changed { .. })));
    drop(folder);
}

#[test]
fn may_be_scanned_in_another_thread() {
    fn send<T: Send + 'static>(_: &T) {}
    let folder = Folder::new().with("a.csv", PEOPLE);
    let scan = folder.open(&spec("a.csv")).unwrap().scan(None).unwrap();
    send(&scan);
    assert_eq!(scan.map(|rows| rows.unwrap().batch.column(0).as_string::<i32>().len()).sum::<usize>(), 5);
}
