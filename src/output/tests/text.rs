use arrow::array::*;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

/// Columns that text formats have no plain form of; a value and a null each.
fn hard_columns() -> RecordBatch {
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let mut map = MapBuilder::new(None, Int32Builder::new(), BinaryBuilder::new());
    map.keys().append_value(7);
    map.values().append_value([255, 0]);
    map.keys().append_value(8);
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let members: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("d", DataType::Decimal128(20, 3), true)),
            {
                let numbers = Decimal128Array::from(vec![Some(-1_500), None]);
                Arc::new(numbers.with_precision_and_scale(20, 3).unwrap())
            },
        ),
        (
            Arc::new(Field::new("s", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("a \"b\""), None])),
        ),
    ];
    let number = Decimal256Array::from(vec![Some(arrow::datatypes::i256::from_i128(100)), None]);
    let micros = |values: [i64; 2]| TimestampMicrosecondArray::from(values.to_vec());
    table(vec![
        ("list", Arc::new(lists)),
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(StructArray::from(members))),
        (
            "decimal",
            Arc::new(number.with_precision_and_scale(40, 2).unwrap()),
        ),
        (
            "bytes",
            Arc::new(BinaryArray::from_opt_vec(vec![
                Some(&[0xff, 0xfe, 0x00, 0x01]),
                None,
            ])),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1, 2]), None].into_iter(),
                    2,
                )
                .unwrap(),
            ),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(19_000), None])),
        ),
        (
            "time",
            Arc::new(Time64NanosecondArray::from(vec![Some(1), None])),
        ),
        (
            "zoned",
            Arc::new(micros([0, 1_700_000_000_123_456]).with_timezone("Europe/Berlin")),
        ),
        ("offset", Arc::new(micros([0, 0]).with_timezone("+05:30"))),
        ("outside", Arc::new(micros([i64::MAX, i64::MIN]))),
        ("float", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
        ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        (
            "view",
            Arc::new(StringViewArray::from(vec![Some(""), None])),
        ),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("null", Arc::new(NullArray::new(2))),
    ])
}

#[test]
fn writes_formulas_as_text_where_the_job_asks() {
    let texts = StringArray::from(vec![Some("=1+1"), Some("-5"), Some("@a,b"), None]);
    let words: DictionaryArray<Int32Type> = vec![Some("+x"), Some("y"), Some("-z"), Some("")]
        .into_iter()
        .collect();
    let numbers = Int64Array::from(vec![-1, 2, -3, 4]);
    let source = table(vec![
        ("=h", Arc::new(texts) as ArrayRef),
        ("words", Arc::new(words)),
        ("n", Arc::new(numbers)),
    ]);
    let cells = |spec: OutputSpec| -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let text =
            std::fs::read_to_string(write(folder.path(), &spec, &source, &unsent_row(), 100))
                .unwrap();
        text.lines()
            .map(|line| {
                line.split(",unsent")
                    .next()
                    .unwrap()
                    .split(",_rm")
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let plain = OutputSpec::new("a.csv");
    assert_eq!(
        cells(plain.clone()),
        [
            "=h,words,n",
            "=1+1,+x,-1",
            "-5,y,2",
            "\"@a,b\",-z,-3",
            ",\"\",4"
        ]
    );
    let escaped = OutputSpec {
        escape_formulas: true,
        ..plain
    };
    assert_eq!(
        cells(escaped),
        [
            "'=h,words,n",
            "'=1+1,'+x,-1",
            "-5,y,2",
            "\"'@a,b\",'-z,-3",
            ",\"\",4"
        ]
    );
}

#[test]
fn writes_hard_columns_as_csv() {
    let text = written_text("a.csv", &hard_columns());
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split(",unsent").next().unwrap())
        .collect();
    assert_eq!(
        lines[1..],
        [
            r#""[1,null]","{""7"":""/wA="",""8"":null}","{""d"":""-1.500"",""s"":""a \""b\""""}",1.00,//4AAQ==,AQI=,2022-01-08,00:00:00.000000001,1970-01-01T00:00:00Z,1970-01-01T05:30:00+05:30,9223372036854775807,0.1,18446744073709551615,"",true,"#,
            r#",,"{""d"":null,""s"":null}",,,,,,2023-11-14T22:13:20.123456Z,1970-01-01T05:30:00+05:30,-9223372036854775808,NaN,0,,,"#,
        ]
    );
}

#[test]
fn writes_hard_columns_as_json_lines() {
    let text = written_text("a.jsonl", &hard_columns());
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split(",\"_rm_").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            r#"{"list":[1,null],"map":{"7":"/wA=","8":null},"struct":{"d":"-1.500","s":"a \"b\""},"decimal":"1.00","bytes":"//4AAQ==","fixed":"AQI=","date":"2022-01-08","time":"00:00:00.000000001","zoned":"1970-01-01T00:00:00Z","offset":"1970-01-01T05:30:00+05:30","outside":"9223372036854775807","float":0.1,"big":18446744073709551615,"view":"","bool":true,"null":null"#,
            r#"{"list":null,"map":null,"struct":{"d":null,"s":null},"decimal":null,"bytes":null,"fixed":null,"date":null,"time":null,"zoned":"2023-11-14T22:13:20.123456Z","offset":"1970-01-01T05:30:00+05:30","outside":"-9223372036854775808","float":null,"big":0,"view":null,"bool":null,"null":null"#,
        ]
    );
}

#[test]
fn separates_tsv_by_tabs() {
    let source = table(vec![(
        "a\tb",
        Arc::new(StringArray::from(vec!["x,y", "tab\there"])),
    )]);
    let text = written_text("a.tsv", &source);
    let cells: Vec<_> = text
        .lines()
        .map(|line| {
            line.split("\tunsent")
                .next()
                .unwrap()
                .split("\t_rm")
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(cells, ["\"a\tb\"", "x,y", "\"tab\there\""]);
}

proptest! {
    #![proptest_config(Config { cases: 150, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..Config::default() })]

    #[test]
    fn reads_any_text_back(cells in prop::collection::vec(prop::option::of("[ \
        -~\\r\\n\\t\"',;é中\u{0}\u{2028}🎉]{0,12}"), 1..20)) {
        let source = table(vec![("t", Arc::new(StringArray::from(cells.clone())))]);
        let csv = written_text("a.csv", &source);
        let mut reader = ::csv::ReaderBuilder::new().from_reader(csv.as_bytes());
        let read: Vec<_> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
        prop_assert_eq!(read, cells.iter().map(|cell| cell.clone().unwrap_or_default()).collect::<Vec<_>>());

        let lines = written_text("a.jsonl", &source);
        let read: Vec<_> = lines.split_terminator('\n').map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["t"].clone()).collect();
        prop_assert_eq!(read, cells.iter().map(|cell| cell.clone().map_or(serde_json::Value::Null, Into::into)).collect::<Vec<_>>());
    }
}

#[test]
fn reads_every_arrow_type_back_from_parquet_and_ipc() {
    let dictionary: DictionaryArray<Int32Type> = [Some("x"), None].into_iter().collect();
    let runs = RunArray::<Int32Type>::from_iter(["a", "a"]);
    let more = table(vec![
        ("dictionary", Arc::new(dictionary)),
        ("runs", Arc::new(runs)),
        (
            "large",
            Arc::new(LargeStringArray::from(vec![Some("x"), None])),
        ),
        (
            "large_bytes",
            Arc::new(LargeBinaryArray::from_opt_vec(vec![Some(b"x"), None])),
        ),
        (
            "view_bytes",
            Arc::new(BinaryViewArray::from(vec![Some(&b"x"[..]), None])),
        ),
        ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None]))),
        (
            "u16",
            Arc::new(UInt16Array::from(vec![Some(u16::MAX), None])),
        ),
        (
            "u32",
            Arc::new(UInt32Array::from(vec![Some(u32::MAX), None])),
        ),
        (
            "f16",
            Arc::new(Float16Array::from(vec![Some(half_one()), None])),
        ),
        (
            "d32",
            Arc::new(
                Decimal32Array::from(vec![Some(5), None])
                    .with_precision_and_scale(5, 2)
                    .unwrap(),
            ),
        ),
        (
            "d64",
            Arc::new(
                Decimal64Array::from(vec![Some(5), None])
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
        ),
        (
            "date64",
            Arc::new(Date64Array::from(vec![Some(86_400_000), None])),
        ),
        (
            "seconds",
            Arc::new(Time32SecondArray::from(vec![Some(1), None])),
        ),
        (
            "at_seconds",
            Arc::new(TimestampSecondArray::from(vec![Some(1), None])),
        ),
        (
            "at_nanos",
            Arc::new(TimestampNanosecondArray::from(vec![Some(1), None]).with_timezone("UTC")),
        ),
        (
            "duration",
            Arc::new(DurationMillisecondArray::from(vec![Some(1), None])),
        ),
        (
            "months",
            Arc::new(IntervalYearMonthArray::from(vec![Some(1), None])),
        ),
    ]);
    for source in [more, hard_columns()] {
        let columns = source.num_columns();
        let folder = tempfile::tempdir().unwrap();
        let parquet = read_parquet(&write(
            folder.path(),
            &OutputSpec::new("a.parquet"),
            &source,
            &full_row(),
            2,
        ));
        let ipc = read_ipc(&write(
            folder.path(),
            &OutputSpec::new("a.arrow"),
            &source,
            &full_row(),
            2,
        ));
        for i in 0..columns {
            let (field, column) = (source.schema().field(i).clone(), source.column(i));
            let unpacked = || match field.data_type() {
                DataType::Dictionary(_, values) => arrow::compute::cast(column, values).unwrap(),
                DataType::RunEndEncoded(_, values) => {
                    arrow::compute::cast(column, values.data_type()).unwrap()
                }
                _ => column.clone(),
            };
            let (in_parquet, in_ipc) = match field.name().as_str() {
                "dictionary" => (column.clone(), unpacked()),
                "runs" => (unpacked(), column.clone()),
                // Parquet has no days and no seconds in 64 bits, so these become what it has.
                "date64" => (
                    arrow::compute::cast(column, &DataType::Date32).unwrap(),
                    column.clone(),
                ),
                "seconds" => (
                    arrow::compute::cast(column, &DataType::Time32(TimeUnit::Millisecond)).unwrap(),
                    column.clone(),
                ),
                "at_seconds" => {
                    let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
                    (
                        arrow::compute::cast(column, &milliseconds).unwrap(),
                        column.clone(),
                    )
                }
                _ => (column.clone(), column.clone()),
            };
            assert_eq!(parquet.column(i), &in_parquet, "{field} in Parquet");
            assert_eq!(ipc.column(i), &in_ipc, "{field} in IPC");
        }
    }
}

fn half_one() -> <arrow::datatypes::Float16Type as ArrowPrimitiveType>::Native {
    arrow::compute::cast(&Float32Array::from(vec![1.0]), &DataType::Float16)
        .unwrap()
        .as_primitive::<arrow::datatypes::Float16Type>()
        .value(0)
}
