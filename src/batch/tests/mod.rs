//! A batch from rows to bytes and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::provider::anthropic::ENVELOPE;

mod packer;

const HEAD: &[u8] = br#"{"model":"m","max_tokens":9,"system":"s\u00e9","#;

/// A spool file in a folder of its own.
struct Work {
    folder: TempDir,
}

impl Work {
    fn new() -> Work {
        Work {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("00001.parquet")
    }

    fn write(&self, chunks: &[SpoolRows]) -> Result<SpooledBatch, Error> {
        let columns = chunks
            .first()
            .map_or_else(|| Arc::new(Schema::empty()), |rows| rows.columns.schema());
        let mut writer = SpoolWriter::create(&self.path(), 1, ENVELOPE, HEAD.into(), &columns)?;
        for rows in chunks {
            writer.write(rows)?;
        }
        writer.finish()
    }

    fn read(&self) -> Vec<SpoolRows> {
        SpoolReader::open(&self.path())
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    fn body(&self, batch: &SpooledBatch) -> Vec<u8> {
        let body = SpooledBody::new(&self.path(), ENVELOPE, HEAD.into(), batch);
        let chunks: Vec<Bytes> = body.chunks().unwrap().map(Result::unwrap).collect();
        chunks.concat()
    }
}

/// Rows with requests of the texts given (`None`: no request), with `columns` of the same length.
fn rows(first: u64, texts: &[Option<&str>], columns: RecordBatch) -> SpoolRows {
    let mut builder = SpoolRowsBuilder::default();
    for (row_index, text) in (first..).zip(texts) {
        match text {
            Some(text) => {
                let fragment = format!(
                    r#""messages":{}}}"#,
                    json!([{ "role": "user", "content": text }])
                );
                builder.push_request(
                    row_index,
                    &format!("key {row_index}"),
                    &format!("n-{row_index}"),
                    "h",
                    fragment.as_bytes(),
                );
            }
            None => builder.push_unsent(
                row_index,
                &format!("key {row_index}"),
                None,
                None,
                "cannot be rendered",
            ),
        }
    }
    assert_eq!(builder.len(), texts.len());
    builder.finish(columns)
}

fn plain(first: u64, texts: &[Option<&str>]) -> SpoolRows {
    let column: StringArray = texts
        .iter()
        .map(|text| text.map(|text| format!("cell of {text}")))
        .collect();
    rows(
        first,
        texts,
        RecordBatch::try_from_iter_with_nullable([("text", Arc::new(column) as ArrayRef, true)])
            .unwrap(),
    )
}

/// One column of each kind, four rows each.
fn zoo() -> RecordBatch {
    let texts = || StringArray::from(vec![Some("a"), None, Some(""), Some("ü\u{0}\"\n")]);
    let ints = || Int32Array::from(vec![Some(1), None, Some(i32::MIN), Some(i32::MAX)]);
    let large_dictionary: DictionaryArray<Int64Type> = vec![Some("x"), None, Some("y"), Some("x")]
        .into_iter()
        .collect();
    let narrow_dictionary: DictionaryArray<Int8Type> = vec![Some("x"), None, Some("y"), Some("x")]
        .into_iter()
        .collect();
    let structs_in_dictionary = DictionaryArray::<Int32Type>::new(
        Int32Array::from(vec![Some(0), None, Some(1), Some(0)]),
        Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("s", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![7, 8])) as ArrayRef,
        )])),
    );
    let ints_in_dictionary = DictionaryArray::<UInt16Type>::new(
        UInt16Array::from(vec![Some(0), None, Some(1), Some(0)]),
        Arc::new(Int64Array::from(vec![7, 8])),
    );
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(3)]),
    ]);
    let renamed_list = ListArray::new(
        Arc::new(
            Field::new("element of mine", DataType::Utf8, true)
                .with_metadata([("k".to_owned(), "v".to_owned())]),
        ),
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 1, 1, 2, 4])),
        Arc::new(texts()),
        None,
    );
    let nested = StructArray::from(vec![
        (
            Arc::new(Field::new("same", DataType::Int32, true)),
            Arc::new(ints()) as ArrayRef,
        ),
        (
            Arc::new(Field::new("same", list.data_type().clone(), true)),
            Arc::new(list.clone()) as ArrayRef,
        ),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for row in 0..4 {
        map.keys().append_value(format!("k{row}"));
        map.values().append_option((row % 2 == 0).then_some(row));
        map.append(row != 1).unwrap();
    }
    let mut runs = StringRunBuilder::<Int32Type>::new();
    runs.extend([Some("a"), Some("a"), None, Some("b")]);
    let union = UnionArray::try_new(
        UnionFields::try_new(
            [0, 1],
            [
                Field::new("i", DataType::Int32, true),
                Field::new("t", DataType::Utf8, true),
            ],
        )
        .unwrap(),
        ScalarBuffer::from(vec![0i8, 1, 0, 1]),
        None,
        vec![Arc::new(ints()), Arc::new(texts())],
    )
    .unwrap();
    let list_view = ListViewArray::new(
        Arc::new(Field::new_list_field(DataType::Int32, true)),
        ScalarBuffer::from(vec![2, 0, 0, 1]),
        ScalarBuffer::from(vec![2, 0, 2, 1]),
        Arc::new(ints()),
        None,
    );
    let pairs = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(
        vec![
            Some(vec![Some(1.5), None]),
            None,
            Some(vec![Some(f64::NAN), Some(-0.0)]),
            Some(vec![None, None]),
        ],
        2,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("null", Arc::new(NullArray::new(4))),
        (
            "bool",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                None,
                Some(false),
                Some(true),
            ])),
        ),
        (
            "i8",
            Arc::new(Int8Array::from(vec![
                Some(-1),
                None,
                Some(i8::MIN),
                Some(0),
            ])),
        ),
        (
            "u16",
            Arc::new(UInt16Array::from(vec![
                Some(1),
                None,
                Some(u16::MAX),
                Some(0),
            ])),
        ),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![
                Some(1),
                None,
                Some(u64::MAX),
                Some(0),
            ])),
        ),
        (
            "f16",
            Arc::new(Float16Array::from_iter(
                [Some(1.0f32), None, Some(-2.0), Some(0.0)]
                    .map(|v| v.map(<Float16Type as ArrowPrimitiveType>::Native::from_f32)),
            )),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![
                Some(1.5),
                None,
                Some(f32::INFINITY),
                Some(-0.0),
            ])),
        ),
        ("text", Arc::new(texts())),
        (
            "large text",
            Arc::new(LargeStringArray::from(vec![
                Some("a"),
                None,
                Some(""),
                Some("b"),
            ])),
        ),
        (
            "text view",
            Arc::new(StringViewArray::from(vec![
                Some("a"),
                None,
                Some(""),
                Some("longer than twelve bytes"),
            ])),
        ),
        (
            "bytes",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\xff\x00"[..]),
                None,
                Some(b""),
                Some(b"x"),
            ])),
        ),
        (
            "large bytes",
            Arc::new(LargeBinaryArray::from(vec![
                Some(&b"\xff\x00"[..]),
                None,
                Some(b""),
                Some(b"x"),
            ])),
        ),
        (
            "bytes view",
            Arc::new(BinaryViewArray::from(vec![
                Some(&b"\xff\x00"[..]),
                None,
                Some(b""),
                Some(b"longer than twelve bytes"),
            ])),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some(b"abc"), None, Some(b"\0\0\0"), Some(b"xyz")].into_iter(),
                    3,
                )
                .unwrap(),
            ),
        ),
        (
            "decimal 32",
            Arc::new(
                Decimal32Array::from(vec![Some(123), None, Some(-1), Some(0)])
                    .with_precision_and_scale(7, 2)
                    .unwrap(),
            ),
        ),
        (
            "decimal 64",
            Arc::new(
                Decimal64Array::from(vec![Some(123), None, Some(-1), Some(0)])
                    .with_precision_and_scale(17, 2)
                    .unwrap(),
            ),
        ),
        (
            "decimal 128",
            Arc::new(
                Decimal128Array::from(vec![Some(123), None, Some(-1), Some(0)])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (
            "decimal 128 of few digits",
            Arc::new(
                Decimal128Array::from(vec![Some(123), None, Some(-1), Some(0)])
                    .with_precision_and_scale(5, -2)
                    .unwrap(),
            ),
        ),
        (
            "decimal 256",
            Arc::new(
                Decimal256Array::from(vec![
                    Some(i256::from(123)),
                    None,
                    Some(i256::from(-1)),
                    Some(i256::from(0)),
                ])
                .with_precision_and_scale(70, 3)
                .unwrap(),
            ),
        ),
        (
            "date 32",
            Arc::new(Date32Array::from(vec![Some(1), None, Some(-1), Some(0)])),
        ),
        (
            "date 64",
            Arc::new(Date64Array::from(vec![
                Some(86_400_000),
                None,
                Some(1),
                Some(0),
            ])),
        ),
        (
            "time s",
            Arc::new(Time32SecondArray::from(vec![
                Some(1),
                None,
                Some(2),
                Some(0),
            ])),
        ),
        (
            "time ns",
            Arc::new(Time64NanosecondArray::from(vec![
                Some(1),
                None,
                Some(2),
                Some(0),
            ])),
        ),
        (
            "duration",
            Arc::new(DurationMicrosecondArray::from(vec![
                Some(1),
                None,
                Some(-2),
                Some(0),
            ])),
        ),
        (
            "timestamp s",
            Arc::new(TimestampSecondArray::from(vec![
                Some(1),
                None,
                Some(-2),
                Some(0),
            ])),
        ),
        (
            "timestamp ns",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(1),
                None,
                Some(-2),
                Some(0),
            ])),
        ),
        (
            "timestamp zone",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(-2), Some(0)])
                    .with_timezone("Asia/Tokyo"),
            ),
        ),
        (
            "timestamp s zone",
            Arc::new(
                TimestampSecondArray::from(vec![Some(1), None, Some(-2), Some(0)])
                    .with_timezone("+02:00"),
            ),
        ),
        (
            "interval ym",
            Arc::new(IntervalYearMonthArray::from(vec![
                Some(1),
                None,
                Some(-2),
                Some(0),
            ])),
        ),
        (
            "interval dt",
            Arc::new(IntervalDayTimeArray::from(vec![
                Some(IntervalDayTime::new(1, 2)),
                None,
                None,
                Some(IntervalDayTime::ZERO),
            ])),
        ),
        (
            "interval mdn",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(1, 2, 3)),
                None,
                None,
                None,
            ])),
        ),
        ("dictionary", Arc::new(large_dictionary)),
        ("narrow dictionary", Arc::new(narrow_dictionary)),
        ("dictionary of structs", Arc::new(structs_in_dictionary)),
        ("dictionary of integers", Arc::new(ints_in_dictionary)),
        ("list", Arc::new(list)),
        ("renamed list", Arc::new(renamed_list)),
        ("list view", Arc::new(list_view)),
        ("pairs", Arc::new(pairs)),
        ("struct", Arc::new(nested)),
        (
            "empty struct",
            Arc::new(StructArray::new_empty_fields(4, None)),
        ),
        ("map", Arc::new(map.finish())),
        ("runs", Arc::new(runs.finish())),
        ("union", Arc::new(union)),
        ("", Arc::new(ints())),
        ("a.b", Arc::new(ints())),
        ("text", Arc::new(ints())),
        ("rowmill:key", Arc::new(texts())),
    ];
    let mut fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    fields[7].set_metadata([
        ("PARQUET:field_id".to_owned(), "12".to_owned()),
        ("unit".to_owned(), "°C".to_owned()),
    ]);
    fields.push(Field::new("never null", DataType::Int32, false));
    let metadata = [
        ("pandas", "{}"),
        ("rowmill:spool", "mine"),
        ("ARROW:schema", "mine too"),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let columns = columns
        .into_iter()
        .map(|(_, column)| column)
        .chain([Arc::new(Int32Array::from(vec![1, 2, 3, 4])) as ArrayRef]);
    RecordBatch::try_new(
        Arc::new(Schema::new_with_metadata(fields, metadata)),
        columns.collect(),
    )
    .unwrap()
}

#[test]
fn gives_back_columns_of_every_type_exactly() {
    let work = Work::new();
    let written = rows(0, &[Some("a"), None, Some("b"), Some("c")], zoo());
    work.write(&[written.slice(0, 1), written.slice(1, 3)])
        .unwrap();

    let read = work.read();
    assert_eq!(
        SpoolReader::open(&work.path()).unwrap().columns(),
        written.columns.schema_ref()
    );
    let columns: Vec<_> = read.iter().map(|rows| rows.columns.clone()).collect();
    let expected = written.columns.columns();
    for (position, field) in written.columns.schema().fields().iter().enumerate() {
        let parts: Vec<&dyn Array> = columns
            .iter()
            .map(|batch| batch.column(position).as_ref())
            .collect();
        let column = arrow::compute::concat(&parts).unwrap();
        assert_eq!(
            column.data_type(),
            field.data_type(),
            "type of `{}`",
            field.name()
        );
        let expected = arrow::compute::concat(&[expected[position].as_ref()]).unwrap();
        assert!(
            column.to_data() == expected.to_data(),
            "cells of `{}`: {column:?}",
            field.name()
        );
        column.to_data().validate_full().unwrap();
    }
    assert_eq!(read.iter().map(SpoolRows::len).sum::<usize>(), 4);
    for rows in read {
        assert_eq!(rows.columns.schema(), written.columns.schema());
    }
}

#[test]
fn gives_back_tables_by_other_writers_exactly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let mut tables = 0;
    for file in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let Ok(file) = fs::File::open(&file) else {
            continue;
        };
        let Ok(reader) = ParquetRecordBatchReaderBuilder::try_new(file) else {
            continue;
        };
        let schema = Arc::clone(reader.schema());
        let Ok(batches) = reader
            .with_batch_size(700)
            .build()
            .unwrap()
            .take(20)
            .collect::<Result<Vec<_>, _>>()
        else {
            continue;
        };
        let mut first = 0;
        let chunks: Vec<SpoolRows> = batches
            .iter()
            .map(|batch| {
                let chunk = rows(first, &vec![Some("t"); batch.num_rows()], batch.clone());
                first += batch.num_rows() as u64;
                chunk
            })
            .collect();
        let work = Work::new();
        work.write(&chunks).unwrap();
        let read: Vec<RecordBatch> = work.read().into_iter().map(|rows| rows.columns).collect();
        for position in 0..schema.fields().len() {
            let column = |batches: &[RecordBatch]| {
                let parts: Vec<&dyn Array> = batches
                    .iter()
                    .map(|batch| batch.column(position).as_ref())
                    .collect();
                (!parts.is_empty()).then(|| arrow::compute::concat(&parts).unwrap().to_data())
            };
            assert!(
                column(&read) == column(&batches),
                "`{}` differs",
                schema.field(position).name()
            );
        }
        assert!(
            read.iter()
                .all(|batch| batch.schema().fields() == schema.fields())
        );
        tables += 1;
    }
    assert!(tables > 30, "only {tables} tables were readable");
}

#[test]
fn counts_the_cells_of_a_slice_only() {
    let long = "x".repeat(1_000);
    let column: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); 10]));
    let lists: ArrayRef = Arc::new(ListArray::new(
        Arc::new(Field::new_list_field(DataType::Utf8, true)),
        OffsetBuffer::from_lengths([2; 5]),
        Arc::clone(&column),
        None,
    ));
    let views: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(); 10]));
    for (column, row) in [(column, 1_000), (lists, 2_000), (views, 1_000)] {
        let bytes = cell_bytes::cell_bytes(&column.slice(2, 1));
        assert!(
            (row..row + 100).contains(&bytes),
            "{bytes} bytes for {}",
            column.data_type()
        );
    }
    for column in zoo().columns() {
        assert!(
            cell_bytes::cell_bytes(column) <= 400,
            "{} takes {}",
            column.data_type(),
            cell_bytes::cell_bytes(column)
        );
    }
}

#[test]
fn keeps_narrow_dictionaries_of_many_stretches_apart() {
    let work = Work::new();
    let chunks: Vec<SpoolRows> = (0..4u64)
        .map(|chunk| {
            let words: Vec<String> = (0..100).map(|word| format!("{chunk}-{word}")).collect();
            let column: DictionaryArray<Int8Type> =
                words.iter().map(|word| Some(word.as_str())).collect();
            let columns =
                RecordBatch::try_from_iter([("d", Arc::new(column) as ArrayRef)]).unwrap();
            rows(chunk * 100, &[Some("text"); 100], columns)
        })
        .collect();
    work.write(&chunks).unwrap();
    let read = work.read();
    assert_eq!(read.len(), 4);
    for (read, written) in read.iter().zip(&chunks) {
        assert_eq!(
            format!("{:?}", read.columns.column(0)),
            format!("{:?}", written.columns.column(0))
        );
    }
}

#[test]
fn cuts_row_groups_by_rows_and_by_bytes() {
    let work = Work::new();
    let texts = vec![Some("t"); 20_000];
    work.write(&[plain(0, &texts[..5_000]), plain(5_000, &texts[5_000..])])
        .unwrap();
    assert_eq!(
        work.read().iter().map(SpoolRows::len).collect::<Vec<_>>(),
        [8_192, 8_192, 3_616]
    );

    let long = "x".repeat(3 << 20);
    let texts = vec![Some(long.as_str()); 7];
    work.write(&[plain(0, &texts)]).unwrap();
    let read = work.read();
    assert!(read.len() >= 3, "{} groups of rows of 6 MiB", read.len());
    assert_eq!(read.iter().map(SpoolRows::len).sum::<usize>(), 7);
}

#[test]
fn summarises_the_exact_bytes() {
    let work = Work::new();
    let batch = work
        .write(&[
            plain(3, &[Some("a"), None]),
            plain(9, &[Some("b\"\u{1F600}")]),
        ])
        .unwrap();
    let body = work.body(&batch);
    assert_eq!(
        (
            batch.number,
            batch.rows,
            batch.requests,
            batch.first_row,
            batch.last_row
        ),
        (1, 3, 2, 3, 9)
    );
    assert_eq!(batch.body_bytes, body.len() as u64);
    assert_eq!(batch.body_hash, blake3::hash(&body).to_hex().as_str());
    let file = fs::read(work.path()).unwrap();
    assert_eq!(batch.file_bytes, file.len() as u64);
    assert_eq!(batch.file_hash, blake3::hash(&file).to_hex().as_str());
    let overheads = 2 * ENVELOPE.request_bytes(HEAD.len());
    let own: u64 = work.read()[0]
        .fragment
        .iter()
        .flatten()
        .map(|fragment| fragment.len() as u64 + 3)
        .sum();
    assert_eq!(batch.body_bytes, ENVELOPE.bytes() + overheads + 1 + own);
}

#[test]
fn writes_a_file_without_requests_or_without_rows() {
    for chunks in [vec![plain(0, &[None, None])], vec![], vec![plain(0, &[])]] {
        let work = Work::new();
        let batch = work.write(&chunks).unwrap();
        assert_eq!(batch.requests, 0);
        assert_eq!(work.body(&batch), br#"{"requests":[]}"#);
        assert_eq!(SpoolReader::open(&work.path()).unwrap().rows(), batch.rows);
        assert_eq!(
            work.read()
                .iter()
                .map(|rows| rows.len() as u64)
                .sum::<u64>(),
            batch.rows
        );
    }
}

#[test]
fn carries_a_selection_of_rows_without_source_columns() {
    let work = Work::new();
    work.write(&[plain(0, &[Some("a"), Some("b"), None, Some("d")])])
        .unwrap();
    let chosen = work.read()[0]
        .filter(&BooleanArray::from(vec![false, true, false, true]))
        .unwrap();
    assert_eq!(chosen.columns.num_rows(), 2);

    let retry = Work::new();
    let batch = retry.write(&[chosen.without_columns()]).unwrap();
    let body: Value = serde_json::from_slice(&retry.body(&batch)).unwrap();
    let ids: Vec<_> = body["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| request["custom_id"].clone())
        .collect();
    assert_eq!(ids, ["n-1", "n-3"]);
    assert_eq!(retry.read()[0], chosen.without_columns());
}

#[test]
fn passes_over_fragments_on_request() {
    let work = Work::new();
    work.write(&[plain(0, &[Some("a"), None])]).unwrap();
    let full = work.read().remove(0);
    let rows = SpoolReader::open_without_fragments(&work.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(rows.fragment.null_count(), 2);
    assert_eq!(
        SpoolRows {
            fragment: full.fragment.clone(),
            ..rows
        },
        full
    );
}

#[test]
fn reads_the_ids_that_are_sent_alone() {
    let work = Work::new();
    work.write(&[
        plain(0, &[Some("a"), None, Some("c")]),
        plain(7, &[None, Some("d")]),
    ])
    .unwrap();
    let ids: Vec<StringArray> = sent_ids(&work.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        ids.iter().flatten().flatten().collect::<Vec<_>>(),
        ["n-0", "n-2", "n-8"]
    );
}

#[test]
fn refuses_rows_that_do_not_fit() {
    let good = plain(5, &[Some("a"), Some("b")]);
    let id = |id: Option<&str>| SpoolRows {
        custom_id: StringArray::from(vec![Some("n-5"), id]),
        ..good.clone()
    };
    let cases = [
        (
            vec![good.clone(), good.clone()],
            "row 6 cannot be written to the spool file",
            "it does not follow the row before it",
        ),
        (vec![id(None)], "row 7 cannot", "no custom_id"),
        (vec![id(Some("a\"b"))], "row 7 cannot", "no custom_id"),
        (vec![id(Some(""))], "row 7 cannot", "no custom_id"),
        (
            vec![SpoolRows {
                unsent: StringArray::from(vec![None, Some("why")]),
                ..good.clone()
            }],
            "row 7 cannot",
            "either a request or a reason",
        ),
        (
            vec![SpoolRows {
                columns: good.columns.slice(0, 1),
                ..good.clone()
            }],
            "rows cannot",
            "different lengths",
        ),
        (
            vec![good.clone(), rows(7, &[None; 4], zoo())],
            "rows cannot",
            "another schema",
        ),
    ];
    for (chunks, start, end) in cases {
        let work = Work::new();
        let message = work.write(&chunks).unwrap_err().to_string();
        assert!(
            message.starts_with(start) && message.contains(end),
            "{message}"
        );
        assert_eq!(
            fs::read_dir(work.folder.path()).unwrap().count(),
            0,
            "something was left behind"
        );
    }
}

#[test]
fn names_a_file_that_is_missing_altered_or_foreign() {
    let work = Work::new();
    let missing = verify(&work.path(), "").unwrap_err();
    assert!(
        matches!(missing, Error::Missing { .. }) && missing.to_string().contains("00001.parquet"),
        "{missing}"
    );
    assert!(matches!(
        SpoolReader::open(&work.path()),
        Err(Error::Missing { .. })
    ));

    let batch = work.write(&[plain(0, &[Some("a")])]).unwrap();
    verify(&work.path(), &batch.file_hash).unwrap();
    let mut bytes = fs::read(work.path()).unwrap();
    bytes[10] ^= 1;
    fs::write(work.path(), &bytes).unwrap();
    let altered = verify(&work.path(), &batch.file_hash).unwrap_err();
    assert!(
        matches!(altered, Error::Altered { .. }) && altered.to_string().contains("00001.parquet"),
        "{altered}"
    );

    fs::write(work.path(), &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(
        SpoolReader::open(&work.path()),
        Err(Error::Parquet { .. })
    ));

    let mut foreign =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), plain(0, &[None]).columns.schema(), None)
            .unwrap();
    foreign.write(&plain(0, &[None]).columns).unwrap();
    fs::write(work.path(), foreign.into_inner().unwrap()).unwrap();
    assert!(matches!(
        SpoolReader::open(&work.path()),
        Err(Error::Format { .. })
    ));
}

#[test]
fn stops_a_body_that_is_not_the_announced_one() {
    let work = Work::new();
    let texts: Vec<String> = (0..2_000).map(|text| "x".repeat(text)).collect();
    let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
    let batch = work.write(&[plain(0, &texts)]).unwrap();
    for announced in [
        SpooledBatch {
            body_bytes: batch.body_bytes - 1,
            ..batch.clone()
        },
        SpooledBatch {
            body_bytes: 1,
            ..batch.clone()
        },
        SpooledBatch {
            body_bytes: batch.body_bytes + 1,
            ..batch.clone()
        },
        SpooledBatch {
            requests: batch.requests + 1,
            ..batch.clone()
        },
    ] {
        let body = SpooledBody::new(&work.path(), ENVELOPE, HEAD.into(), &announced);
        let chunks: Vec<_> = body.chunks().unwrap().collect();
        assert!(chunks.last().unwrap().is_err(), "{announced:?}");
        let sent: u64 = chunks
            .iter()
            .flatten()
            .map(|chunk| chunk.len() as u64)
            .sum();
        assert!(
            sent <= announced.body_bytes
                && chunks.iter().filter(|chunk| chunk.is_err()).count() == 1
        );
    }
}

#[test]
fn hands_the_body_out_in_chunks_of_its_size() {
    let work = Work::new();
    let long = "x".repeat(50_000);
    let batch = work
        .write(&[plain(0, &vec![Some(long.as_str()); 40])])
        .unwrap();
    let body = SpooledBody::new(&work.path(), ENVELOPE, HEAD.into(), &batch);
    let sizes: Vec<usize> = body
        .chunks()
        .unwrap()
        .map(|chunk| chunk.unwrap().len())
        .collect();
    assert!(
        sizes[..sizes.len() - 1]
            .iter()
            .all(|size| (256 << 10..320 << 10).contains(size)),
        "{sizes:?}"
    );
    assert_eq!(sizes.iter().sum::<usize>() as u64, body.bytes());
}

#[cfg(unix)]
#[test]
fn keeps_the_spool_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = Work::new();
    work.write(&[plain(0, &[Some("a")])]).unwrap();
    assert_eq!(
        fs::metadata(work.path()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn makes_the_same_body_as_plain_json_at_every_try(
        texts in prop::collection::vec(prop::option::weighted(0.9, ".{0,40}"), 0..60),
        cut in 0usize..60,
    ) {
        let work = Work::new();
        let texts: Vec<Option<&str>> = texts.iter().map(|text| text.as_deref()).collect();
        let cut = cut.min(texts.len());
        let batch = work.write(&[plain(0, &texts[..cut]), plain(cut as u64, &texts[cut..])]).unwrap();
        let first = work.body(&batch);
        prop_assert_eq!(&first, &work.body(&batch));
        prop_assert_eq!(first.len() as u64, batch.body_bytes);

        let naive: Vec<Value> = texts.iter().enumerate().filter_map(|(row, text)| text.map(|text| json!({
            "custom_id": format!("n-{row}"),
            "params": {
                "model": "m", "max_tokens": 9, "system": "s\u{e9}",
                "messages": [{ "role": "user", "content": text }],
            },
        }))).collect();
        prop_assert_eq!(naive.len(), batch.requests as usize);
        prop_assert_eq!(serde_json::from_slice::<Value>(&first).unwrap(), json!({ "requests": naive }));
    }
}

/// Rows of which the first has an estimate.
fn with_estimate(first: u64) -> SpoolRows {
    let mut builder = SpoolRowsBuilder::default();
    builder.estimate_next().extend_from_slice(b"weighty");
    builder.push_request(first, "a", "n-a", "h", b"{}");
    builder
        .estimate_next()
        .extend_from_slice(b"of a row that is not sent");
    builder.push_unsent(first + 1, "b", None, None, "cannot be rendered");
    builder.push_request(first + 2, "c", "n-c", "h", b"{}");
    builder.finish_without_columns()
}

/// Rewrites a spool file as the version before did, which kept no estimates.
fn write_without_estimates(path: &Path) {
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;

    let file = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let facts = file.metadata().file_metadata().key_value_metadata();
    let facts: Vec<KeyValue> = facts
        .unwrap()
        .iter()
        .filter(|fact| fact.key.starts_with("rowmill:"))
        .map(|fact| match fact.key.as_str() {
            spool::FORMAT_KEY => KeyValue::new(fact.key.clone(), "2".to_owned()),
            _ => fact.clone(),
        })
        .collect();
    let batches: Vec<RecordBatch> = file
        .build()
        .unwrap()
        .map(|batch| {
            let batch = batch.unwrap();
            let kept: Vec<usize> = (0..batch.num_columns() - 1).collect();
            batch.project(&kept).unwrap()
        })
        .collect();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(facts))
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).unwrap();
    batches
        .iter()
        .for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

#[test]
fn keeps_the_estimates_of_requests() {
    let work = Work::new();
    let written = [with_estimate(0), with_estimate(7)];
    work.write(&written).unwrap();
    assert_eq!(work.read()[0].slice(0, 3), written[0]);
    let read: Vec<BinaryArray> = estimates(&work.path())
        .unwrap()
        .expect("a file with estimates")
        .map(Result::unwrap)
        .collect();
    let read: Vec<Option<&[u8]>> = read.iter().flatten().collect();
    // Each request has a value; the row that is not sent is none.
    let first: Option<&[u8]> = Some(b"weighty");
    assert_eq!(read, [first, None, first, None]);
}

#[test]
fn reads_files_of_the_version_before_which_kept_no_estimates() {
    let work = Work::new();
    for rows in [with_estimate(0), plain(0, &[Some("a"), None, Some("c")])] {
        work.write(std::slice::from_ref(&rows)).unwrap();
        write_without_estimates(&work.path());
        let read = work.read().remove(0);
        assert_eq!(read.estimate.null_count(), 3);
        let without = SpoolRows {
            estimate: BinaryArray::new_null(3),
            ..rows
        };
        assert_eq!(read, without);
        assert!(estimates(&work.path()).unwrap().is_none());
        let ids: usize = sent_ids(&work.path())
            .unwrap()
            .map(|ids| ids.unwrap().len())
            .sum();
        assert_eq!(ids, 2);
    }
}
