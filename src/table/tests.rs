//! What expressions make of small tables, and what must be refused.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float64Array, Int32Array, Int64Array, LargeStringArray, ListBuilder, MapBuilder, RecordBatch,
    StringArray, StringBuilder, StringViewArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, UInt8Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;

/// Three rows of each kind of column; the last row is null throughout.
fn tickets() -> RecordBatch {
    let text = |values: [&str; 2]| -> ArrayRef {
        Arc::new(StringArray::from(vec![
            Some(values[0]),
            Some(values[1]),
            None,
        ]))
    };
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("late"), Some("angry")]);
    tags.append_value([None::<&str>]);
    tags.append_null();
    let address = StructArray::from(vec![
        (
            Arc::new(Field::new("city", DataType::Utf8, true)),
            text(["Köln", "東京"]),
        ),
        (
            Arc::new(Field::new("floor", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(3), None, None])) as ArrayRef,
        ),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for _ in 0..3 {
        map.append(true).unwrap();
    }
    let zoned = TimestampMicrosecondArray::from(vec![Some(1_704_067_200_000_000), Some(0), None]);
    RecordBatch::try_from_iter([
        ("zip", text(["007", "7"])),
        ("status", text(["new", "done"])),
        ("Größe (cm)", text(["12", "none"])),
        ("created", text(["2024-01-02", "2025-06-30"])),
        (
            "logged",
            text(["2024-01-02 03:04:05", "2024-01-02T03:04:05Z"]),
        ),
        ("note", text(["secret one", "secret two"])),
        ("kind", cast(&text(["a", "b"]), &dictionary).unwrap()),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                Some("x"),
                Some("a text that is longer than twelve bytes"),
                None,
            ])),
        ),
        (
            "large",
            Arc::new(LargeStringArray::from(vec![Some("x"), Some("y"), None])),
        ),
        (
            "n",
            Arc::new(Int64Array::from(vec![Some(1), Some(-2), None])),
        ),
        (
            "small",
            Arc::new(UInt8Array::from(vec![Some(1), Some(255), None])),
        ),
        (
            "score",
            Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), None])),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![Some(1010), Some(-5), None])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        (
            "paid",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(19_724), Some(20_269), None])),
        ),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1_704_164_645_000),
                Some(0),
                None,
            ])),
        ),
        (
            "zoned",
            Arc::new(zoned.clone().with_timezone("Europe/Berlin")),
        ),
        ("offset", Arc::new(zoned.with_timezone("+02:00"))),
        (
            "picture",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\xff\xd8"[..]),
                Some(b""),
                None,
            ])),
        ),
        ("tags", Arc::new(tags.finish())),
        ("address", Arc::new(address)),
        ("extra", Arc::new(map.finish()) as ArrayRef),
    ])
    .unwrap()
}

fn shown(array: &dyn Array) -> String {
    let formatter =
        ArrayFormatter::try_new(array, &FormatOptions::default().with_null("∅")).unwrap();
    (0..array.len())
        .map(|row| formatter.value(row).to_string())
        .collect::<Vec<_>>()
        .join(" | ")
}

fn evaluated(sql: &str) -> Result<ArrayRef, Error> {
    let batch = tickets();
    let expression = Expression::parse(sql, &batch.schema())?;
    let values = expression.evaluate(&batch)?;
    assert_eq!(values.data_type(), expression.data_type(), "{sql}");
    assert_eq!(values.len(), 3, "{sql}");
    Ok(values)
}

fn refused(sql: &str) -> String {
    evaluated(sql).expect_err(sql).to_string()
}

#[test]
fn conditions_are_true_false_or_null_as_sql_says() {
    let cases = [
        ("status = 'new'", "true | false | ∅"),
        ("status != 'new'", "false | true | ∅"),
        ("zip = '007'", "true | false | ∅"),
        ("zip < '1'", "true | false | ∅"),
        ("\"Größe (cm)\" = '12'", "true | false | ∅"),
        ("kind = 'a'", "true | false | ∅"),
        ("view LIKE '%twelve%'", "false | true | ∅"),
        ("large <> 'x'", "false | true | ∅"),
        ("n > -2 AND n <= 1", "true | false | ∅"),
        ("n = 1 OR status = 'done'", "true | true | ∅"),
        ("NOT (n = 1)", "false | true | ∅"),
        ("NOT paid", "false | true | ∅"),
        ("n IN (1, 5)", "true | false | ∅"),
        ("status NOT IN ('new', 'open')", "false | true | ∅"),
        ("n BETWEEN -5 AND 0", "false | true | ∅"),
        ("zip LIKE '0__'", "true | false | ∅"),
        ("status ILIKE 'N%'", "true | false | ∅"),
        ("status NOT LIKE 'n%'", "false | true | ∅"),
        ("regexp_like(status, '^n.w$')", "true | false | ∅"),
        ("status ~ 'o'", "false | true | ∅"),
        ("zip IS NULL", "false | false | true"),
        ("zip IS NOT NULL", "true | true | false"),
        ("picture IS NOT NULL", "true | true | false"),
        ("paid IS NOT TRUE", "false | true | true"),
        ("paid IS FALSE", "false | true | false"),
        ("paid IS NOT FALSE", "true | false | true"),
        ("paid IS TRUE", "true | false | false"),
        ("small = 255", "false | true | ∅"),
        ("small > 1.5e0", "false | true | ∅"),
        ("small = 257", "false | false | ∅"),
        ("small > -1", "true | true | ∅"),
        ("price = 10.1", "true | false | ∅"),
        ("score > 100", "false | true | ∅"),
        ("score = score", "true | true | ∅"),
        ("day >= '2025-01-01'", "false | true | ∅"),
        ("day IN ('2024-01-02', '1999-01-01')", "true | false | ∅"),
        (
            "at BETWEEN '2024-01-01' AND '2024-01-02 04:00:00'",
            "true | false | ∅",
        ),
        ("zoned >= '2024-01-01 01:00:00'", "true | false | ∅"),
        ("offset >= '2024-01-01 00:00:00'", "true | false | ∅"),
        ("CAST(created AS DATE) >= '2025-01-01'", "false | true | ∅"),
        (
            "CAST(created AS DATE) NOT IN ('2024-01-02')",
            "false | true | ∅",
        ),
        ("address.floor = 3", "true | ∅ | ∅"),
        ("array_contains(tags, 'late')", "true | false | ∅"),
        ("n = 1 OR TRUE", "true | true | true"),
        ("1 = 1", "true | true | true"),
    ];
    for (sql, expected) in cases {
        let values = evaluated(sql).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(shown(&values), expected, "{sql}");
        assert_eq!(values.data_type(), &DataType::Boolean, "{sql}");
    }
}

#[test]
fn values_have_the_plain_types_of_arrow() {
    let milliseconds = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None);
    let cases = [
        ("zip", DataType::Utf8, "007 | 7 | ∅"),
        ("kind", DataType::Utf8, "a | b | ∅"),
        (
            "view",
            DataType::Utf8,
            "x | a text that is longer than twelve bytes | ∅",
        ),
        ("large", DataType::Utf8, "x | y | ∅"),
        ("small", DataType::UInt32, "1 | 255 | ∅"),
        ("price", DataType::Float64, "10.1 | -0.05 | ∅"),
        (
            "at",
            milliseconds,
            "2024-01-02T03:04:05 | 1970-01-01T00:00:00 | ∅",
        ),
        ("CAST(zip AS BIGINT)", DataType::Int64, "7 | 7 | ∅"),
        ("TRY_CAST(status AS INT)", DataType::Int32, "∅ | ∅ | ∅"),
        ("CAST(n AS TEXT)", DataType::Utf8, "1 | -2 | ∅"),
        (
            "CAST(created AS DATE)",
            DataType::Date32,
            "2024-01-02 | 2025-06-30 | ∅",
        ),
        ("TRY_CAST(status AS DATE)", DataType::Date32, "∅ | ∅ | ∅"),
        (
            "DATE(created)",
            DataType::Date32,
            "2024-01-02 | 2025-06-30 | ∅",
        ),
        (
            "EXTRACT(YEAR FROM CAST(logged AS TIMESTAMP))",
            DataType::Int32,
            "2024 | 2024 | ∅",
        ),
        (
            "STRFTIME(TIMESTAMP(logged), '%H:%M')",
            DataType::Utf8,
            "03:04 | 03:04 | ∅",
        ),
        (
            "day + INTERVAL '1 day'",
            DataType::Date32,
            "2024-01-03 | 2025-07-01 | ∅",
        ),
        ("COALESCE(zip, 'none')", DataType::Utf8, "007 | 7 | none"),
        (
            "LOWER(UPPER(status)) || '/' || zip",
            DataType::Utf8,
            "new/007 | done/7 | ∅",
        ),
        ("LENGTH(address.city)", DataType::UInt32, "4 | 2 | ∅"),
        ("SUBSTR(status, 2, 2)", DataType::Utf8, "ew | on | ∅"),
        ("SUBSTR(status, small)", DataType::Utf8, "new |  | ∅"),
        (
            "REPLACE(TRIM(status), 'n', 'N')",
            DataType::Utf8,
            "New | doNe | ∅",
        ),
        (
            "CASE WHEN n > 0 THEN 'up' WHEN n < 0 THEN 'down' ELSE 'flat' END",
            DataType::Utf8,
            "up | down | flat",
        ),
        (
            "CASE status WHEN 'new' THEN 1 ELSE 0 END",
            DataType::Int32,
            "1 | 0 | 0",
        ),
        ("n * 2 + 1", DataType::Int64, "3 | -3 | ∅"),
        ("n / 2", DataType::Float64, "0.5 | -1.0 | ∅"),
        ("n // 0", DataType::Int64, "∅ | ∅ | ∅"),
        ("tags[1]", DataType::Utf8, "late | ∅ | ∅"),
        ("'x'", DataType::Utf8, "x | x | x"),
        ("NULL", DataType::Null, "∅ | ∅ | ∅"),
    ];
    for (sql, data_type, expected) in cases {
        let values = evaluated(sql).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(
            (values.data_type(), shown(&values).as_str()),
            (&data_type, expected),
            "{sql}"
        );
    }
}

#[test]
fn names_the_column_that_does_not_exist_and_those_that_look_like_it() {
    let schema = Schema::new(vec![
        Field::new("status", DataType::Utf8, true),
        Field::new("zip", DataType::Utf8, true),
    ]);
    let message = |sql| Expression::parse(sql, &schema).unwrap_err().to_string();
    assert_eq!(
        message("staus = 'new'"),
        "`staus = 'new'` names the column `staus`, which does not exist (nearest: `status`); the \
         columns are `status`, `zip`"
    );
    assert_eq!(
        message("zip = \"new\""),
        "`zip = \"new\"` names the column `new`, which does not exist; the columns are `status`, \
         `zip`"
    );
    assert!(matches!(message("Status = 'new'"), text if text.contains("(nearest: `status`)")));
}

#[test]
fn refuses_what_is_not_one_expression_of_one_row() {
    let cases = [
        ("", "`` is not an expression: it is empty"),
        (
            "n >",
            "`n >` is not an expression: expected an expression, found the end",
        ),
        (
            "n = 1; DROP TABLE x",
            "`n = 1; DROP TABLE x` is not an expression: `;` is too much",
        ),
        (
            "SELECT n",
            "`SELECT n` is not an expression: it is a statement",
        ),
        ("n AS m", "`n AS m` is not an expression: `AS` is too much"),
        ("n, zip", "`n, zip` is not an expression: `,` is too much"),
        (
            "COUNT(*)",
            "`COUNT(*)` calls `COUNT`, which is not a function of one row (nearest: \
             `concat`)",
        ),
        (
            "SUM(n)",
            "`SUM(n)` calls `SUM`, which is not a function of one row",
        ),
        (
            "lenght(zip)",
            "`lenght(zip)` calls `lenght`, which is not a function of one row (nearest: \
             `length`)",
        ),
        (
            "UNNEST(tags)",
            "`UNNEST(tags)` calls `UNNEST`, which is not a function of one row",
        ),
        (
            "n > (SELECT 1)",
            "`n > (SELECT 1)` cannot be evaluated row by row: it holds a query",
        ),
        (
            "n IN (SELECT 1)",
            "`n IN (SELECT 1)` cannot be evaluated row by row: it holds a query",
        ),
        (
            "EXISTS (SELECT 1)",
            "`EXISTS (SELECT 1)` cannot be evaluated row by row: it holds a query",
        ),
        (
            "LOWER(zip) OVER ()",
            "`LOWER(zip) OVER ()` cannot be evaluated row by row: `LOWER(zip) OVER ()` looks at \
             other rows",
        ),
        (
            "n > ALL(n)",
            "`n > ALL(n)` cannot be evaluated row by row: `n > ALL(n)` is not understood",
        ),
    ];
    for (sql, message) in cases {
        assert_eq!(refused(sql), message);
    }
}

#[test]
fn says_before_any_row_that_types_do_not_fit() {
    let cases = [
        (
            "zip = 7",
            "(`zip`: Utf8): cannot compare string with numeric type (i32)",
        ),
        (
            "zip IN (7, 8)",
            "(`zip`: Utf8): 'is_in' cannot check for List(Int64) values in String data",
        ),
        (
            "paid AND n",
            "(`paid`: Boolean, `n`: Int64): `n` is Int64, not true or false",
        ),
        ("NOT zip", "(`zip`: Utf8): `zip` is Utf8, not true or false"),
        (
            "day = created",
            "cannot compare 'date/datetime/time' to a string value",
        ),
        ("regexp_like(zip, '(')", "unclosed group"),
        ("zip ~ '['", "unclosed character class"),
    ];
    for (sql, part) in cases {
        let fault = Expression::parse(sql, &tickets().schema()).expect_err(sql);
        let Error::Type {
            mixes_text_and_numbers,
            ..
        } = fault
        else {
            panic!("{sql}: {fault:?}");
        };
        assert_eq!(
            mixes_text_and_numbers,
            part.starts_with("(`zip`: Utf8): cannot") || part.contains("is_in")
        );
        assert!(fault.to_string().contains(part), "{fault}");
    }
}

#[test]
fn names_the_column_whose_type_cannot_cross() {
    let fault = Expression::parse("extra IS NULL", &tickets().schema()).unwrap_err();
    assert!(
        matches!(&fault, Error::UnsupportedType { column, data_type: DataType::Map(..) } if column == "extra"),
        "{fault:?}"
    );
    assert!(
        fault
            .to_string()
            .starts_with("column `extra` has the type Map("),
        "{fault}"
    );
}

#[test]
fn a_cell_never_gets_into_a_message() {
    let cases = [
        (
            "CAST(note AS INT)",
            "conversion from `str` to `i32` failed in column 'note' for 2 out of 3 values",
        ),
        (
            "CAST(note AS DATE)",
            "conversion from `str` to `Date32` failed in column 'note' for 2 out of 3 values",
        ),
        (
            "TIMESTAMP(note)",
            "conversion from `str` to `Timestamp(µs)` failed in column 'note' for 2 out of 3 values",
        ),
        (
            "regexp_like(zip, note || '(')",
            "the engine cannot evaluate at least one row",
        ),
    ];
    for (sql, reason) in cases {
        let message = refused(sql);
        assert!(!message.contains("secret"), "{message}");
        assert_eq!(
            message,
            format!("`{sql}` fails on a value in the rows: {reason}")
        );
    }
}

#[test]
fn a_mask_counts_null_as_false_and_must_be_a_condition() {
    let batch = tickets();
    let mask = Expression::parse_predicate("status = 'new'", &batch.schema())
        .unwrap()
        .mask(&batch)
        .unwrap();
    assert_eq!(mask, BooleanArray::from(vec![true, false, false]));
    for sql in ["n", "NULL", "status"] {
        let fault = Expression::parse_predicate(sql, &batch.schema()).unwrap_err();
        assert!(matches!(fault, Error::NotBoolean { .. }), "{fault:?}");
    }
    let fault = Expression::parse("n", &batch.schema())
        .unwrap()
        .mask(&batch)
        .unwrap_err();
    assert_eq!(
        fault.to_string(),
        "`n` is not a condition: it is Int64, not true or false"
    );
}

#[test]
fn reads_only_the_columns_it_names_whatever_their_place() {
    let batch = tickets();
    let expression = Expression::parse("zip || status || zip", &batch.schema()).unwrap();
    assert_eq!(expression.columns(), ["zip", "status"]);
    let narrow = batch.project(&[1, 0]).unwrap();
    assert_eq!(
        shown(&expression.evaluate(&narrow).unwrap()),
        "007new007 | 7done7 | ∅"
    );
}

#[test]
fn refuses_a_batch_of_another_schema() {
    let batch = tickets();
    let expression = Expression::parse("zip = '7'", &batch.schema()).unwrap();
    let number: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    for (other, found) in [
        (
            RecordBatch::try_from_iter([("zip", Arc::clone(&number))]).unwrap(),
            "Int64",
        ),
        (
            RecordBatch::try_from_iter([("code", number)]).unwrap(),
            "no such column",
        ),
    ] {
        let message = expression.evaluate(&other).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "`zip = '7'` was parsed for column `zip` of type Utf8, but the rows have {found}"
            )
        );
    }
}

#[test]
fn every_batch_gives_the_same_type_and_as_many_values_as_rows() {
    let batch = tickets();
    for sql in [
        "zip",
        "n // 2",
        "1",
        "'x'",
        "CASE WHEN paid THEN 1.5 ELSE 2 END",
        "tags",
        "address",
        "n = 1 OR TRUE",
    ] {
        let expression = Expression::parse(sql, &batch.schema()).unwrap();
        for (offset, length) in [(0, 0), (0, 1), (2, 1), (1, 2), (0, 3)] {
            let values = expression.evaluate(&batch.slice(offset, length)).unwrap();
            assert_eq!(
                (values.len(), values.data_type()),
                (length, expression.data_type()),
                "{sql}"
            );
        }
    }
}

#[test]
fn a_column_may_be_called_value_or_like_a_keyword() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let names = [
        "value",
        "select",
        "nothing",
        "a.b",
        "rows of the table",
        "o\"clock",
    ];
    let batch = RecordBatch::try_from_iter(names.map(|name| (name, Arc::clone(&column)))).unwrap();
    for sql in [
        "value > 1",
        "\"select\" > 1",
        "nothing > 1",
        "\"a.b\" > 1",
        "\"rows of the table\" > 1",
        "\"o\"\"clock\" > 1",
    ] {
        let mask = Expression::parse_predicate(sql, &batch.schema())
            .unwrap_or_else(|fault| panic!("{fault}"))
            .mask(&batch);
        assert_eq!(
            mask.unwrap(),
            BooleanArray::from(vec![false, true]),
            "{sql}"
        );
    }
    let message = Expression::parse("a.b > 1", &batch.schema())
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "`a.b > 1` cannot be evaluated row by row: a name with a dot is written in double quotes: \
         \"a.b\""
    );
}

#[test]
fn a_name_that_is_a_pattern_to_the_engine_is_refused() {
    let batch =
        RecordBatch::try_from_iter([("^a$", Arc::new(Int64Array::from(vec![1])) as ArrayRef)])
            .unwrap();
    let message = Expression::parse("\"^a$\" > 1", &batch.schema())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("the name of column `^a$` is a pattern to the engine"),
        "{message}"
    );
}

#[test]
fn long_expressions_are_evaluated_or_refused_but_never_end_the_process() {
    let schema = tickets().schema();
    let chain = |terms: usize| {
        (0..terms)
            .map(|n| format!("n = {n}"))
            .collect::<Vec<_>>()
            .join(" OR ")
    };
    let expression = Expression::parse_predicate(&chain(150), &schema).unwrap();
    assert_eq!(expression.mask(&tickets()).unwrap().true_count(), 1);
    let list = (0..20_000)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let expression = Expression::parse_predicate(&format!("n IN ({list})"), &schema).unwrap();
    assert_eq!(expression.mask(&tickets()).unwrap().true_count(), 1);
    for (sql, part) in [
        (chain(1_000), "is more than 200 levels deep"),
        (chain(100_000), "longer than 4000 words"),
        (
            format!("{}n{}", "(".repeat(1_000), ")".repeat(1_000)),
            "recursion limit exceeded",
        ),
    ] {
        let message = Expression::parse(&sql, &schema).unwrap_err().to_string();
        assert!(
            message.contains(part),
            "{}",
            &message[message.len() - 100..]
        );
    }
}

#[test]
fn bounds_hold_only_what_statistics_can_answer() {
    use BoundOp::{Eq, Gt, GtEq, Lt, LtEq};
    let bound = |column: &str, op, value| Bound {
        column: column.to_owned(),
        op,
        value,
    };
    let text = |text: &str| BoundValue::Text(text.to_owned());
    let cases = [
        ("zip = '007'", vec![bound("zip", Eq, text("007"))]),
        ("'b' <= kind", vec![bound("kind", GtEq, text("b"))]),
        (
            "n > 1 AND (n <= 9 AND paid = TRUE)",
            vec![
                bound("n", Gt, BoundValue::Int(1)),
                bound("n", LtEq, BoundValue::Int(9)),
                bound("paid", Eq, BoundValue::Bool(true)),
            ],
        ),
        (
            "n BETWEEN -3 AND 5",
            vec![
                bound("n", GtEq, BoundValue::Int(-3)),
                bound("n", LtEq, BoundValue::Int(5)),
            ],
        ),
        ("n IN (7)", vec![bound("n", Eq, BoundValue::Int(7))]),
        ("n < 5.5", vec![bound("n", LtEq, BoundValue::Int(5))]),
        ("n >= -5.5", vec![bound("n", GtEq, BoundValue::Int(-5))]),
        ("n = 2.0", vec![bound("n", Eq, BoundValue::Int(2))]),
        ("small < 5", vec![bound("small", Lt, BoundValue::Int(5))]),
        (
            "score < 2",
            vec![bound("score", Lt, BoundValue::Float(2.0))],
        ),
        (
            "n = 1 AND LOWER(zip) = 'a' AND zip LIKE 'a%'",
            vec![bound("n", Eq, BoundValue::Int(1))],
        ),
        // A value that is not a number is greater than 2 and absent from statistics.
        ("score > 2", vec![]),
        ("n = 2.5", vec![]),
        ("n = 1 OR n = 2", vec![]),
        ("NOT (n = 1)", vec![]),
        ("n != 1", vec![]),
        ("n NOT BETWEEN 1 AND 2", vec![]),
        ("n + 1 = 2", vec![]),
        ("n = small", vec![]),
        ("price > 2", vec![]),
        ("day > '2024-01-01'", vec![]),
        ("(n = 1) = FALSE", vec![]),
    ];
    for (sql, expected) in cases {
        let expression =
            Expression::parse(sql, &tickets().schema()).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(expression.bounds(), expected, "{sql}");
    }
}

#[test]
fn can_be_shared_by_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Expression>();
}

#[test]
fn every_column_of_parquet_files_by_other_writers_is_read_or_refused_by_its_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (mut read, mut refused) = (0, Vec::new());
    for path in paths {
        let Some(batches) = std::fs::File::open(&path).ok().and_then(|file| {
            let reader =
                parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
                    .ok()?
                    .build()
                    .ok()?;
            Some(reader.map_while(Result::ok).collect::<Vec<_>>())
        }) else {
            continue;
        };
        for batch in batches.iter().take(2) {
            let mut profiler = crate::profile::Profiler::new(&batch.schema());
            profiler.add(batch);
            assert_eq!(profiler.finish().rows as usize, batch.num_rows());
            for (place, field) in batch.schema().fields().iter().enumerate() {
                let sql = format!("\"{}\"", field.name().replace('"', "\"\""));
                match Expression::parse(&sql, &batch.schema()) {
                    Ok(expression) => {
                        let values = expression
                            .evaluate(batch)
                            .unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
                        assert_eq!(values.data_type(), expression.data_type());
                        // One file holds times before midnight, which become null.
                        let is_time = matches!(values.data_type(), DataType::Time64(_));
                        if batch.schema().index_of(field.name()).unwrap() == place && !is_time {
                            assert_eq!(
                                &values,
                                &cast(batch.column(place), values.data_type()).unwrap(),
                                "{}",
                                path.display()
                            );
                        }
                        read += 1;
                    }
                    Err(Error::UnsupportedType { column, data_type }) => {
                        assert_eq!(&column, field.name());
                        refused.push(data_type.to_string());
                    }
                    Err(other) => panic!("{}: {other}", path.display()),
                }
            }
        }
    }
    assert!(read > 100, "{read} columns");
    assert!(
        refused.iter().all(|data_type| ["Map", "Null", "Interval"]
            .iter()
            .any(|name| data_type.contains(name))),
        "{refused:?}"
    );
}

/// Rows of one text column and a number.
fn texts(cells: Vec<String>, n: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![n; cells.len()]));
    RecordBatch::try_from_iter([
        ("t", Arc::new(StringArray::from(cells)) as ArrayRef),
        ("n", numbers),
    ])
    .unwrap()
}

#[test]
fn refuses_what_makes_too_much_of_a_row_before_any_row_is_read() {
    let schema = texts(vec![], 0).schema();
    for sql in [
        "rpad(t, 2000000000, 'x')",
        "lpad(t, 2000000000)",
        "lpad('x', 100000000)",
        "LENGTH(RPAD(t, 3000000000)) > 5",
        "concat(rpad(t, 60000000), rpad(t, 60000000))",
        "rpad(t, 60000000) || lpad(t, 60000000)",
        "replace(rpad('', 60000000), ' ', 'abc')",
        "CASE WHEN n > 1 THEN rpad(t, 2000000000) ELSE '' END",
        "upper(rpad(t, 40000000))",
    ] {
        let fault = Expression::parse(sql, &schema).expect_err(sql);
        assert!(matches!(fault, Error::TooLarge { .. }), "{sql}: {fault}");
    }
    let message = Expression::parse("rpad(t, 2000000000, 'x')", &schema)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "`rpad(t, 2000000000, 'x')` can produce 2000000000 bytes from one row; the limit is \
         67108864"
    );
}

#[test]
fn refuses_what_the_rows_make_too_large_before_it_is_made() {
    for (sql, cell, n) in [
        ("rpad(t, n)", 1, 2_000_000_000),
        ("lpad(t, n + 1, 'x')", 1, 2_000_000_000),
        ("replace(t, 'x', t)", 40_000, 0),
        ("replace(t, '', t)", 40_000, 0),
        ("concat(t, t, t)", 30 << 20, 0),
        ("t || t || t", 30 << 20, 0),
    ] {
        let batch = texts(vec!["a".to_owned(), "x".repeat(cell)], n);
        let expression = Expression::parse(sql, &batch.schema())
            .unwrap_or_else(|fault| panic!("{sql}: {fault}"));
        let fault = expression.evaluate(&batch).expect_err(sql);
        assert!(matches!(fault, Error::TooLarge { .. }), "{sql}: {fault}");
    }
}

#[test]
fn works_large_rows_out_in_stretches_with_the_same_values() {
    let cells: Vec<String> = (0..100).map(|row| "x".repeat(row * 100)).collect();
    let batch = texts(cells.clone(), 70_000);
    let sizes = |sql: &str| {
        let values = Expression::parse(sql, &batch.schema())
            .unwrap()
            .evaluate(&batch)
            .unwrap();
        values
            .as_string::<i32>()
            .iter()
            .map(|cell| cell.unwrap().len())
            .collect::<Vec<_>>()
    };
    let length = |row: usize| cells[row].len();
    assert_eq!(
        sizes("replace(t, 'y', t)"),
        (0..100).map(length).collect::<Vec<_>>()
    );
    assert_eq!(
        sizes("replace(t, 'x', 'abc')"),
        (0..100).map(|row| 3 * length(row)).collect::<Vec<_>>()
    );
    assert_eq!(
        sizes("rpad('', 1000000)  || t"),
        (0..100)
            .map(|row| 1_000_000 + length(row))
            .collect::<Vec<_>>()
    );
    assert_eq!(sizes("rpad(t, n)"), vec![70_000; 100]);
}
