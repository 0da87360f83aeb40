use arrow::array::{Int32Array, StringArray};
use arrow::datatypes::{DataType, IntervalUnit, UnionFields, UnionMode};
use serde_json::json;

use super::*;
use crate::outcome::Details;
use crate::outcome::details::ToolCall;

fn input(names: &[&str]) -> Schema {
    Schema::new(
        names
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true))
            .collect::<Vec<_>>(),
    )
}

fn names(schema: &OutputSchema) -> Vec<String> {
    schema
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

fn answer(names: &[&str]) -> Vec<Field> {
    names
        .iter()
        .map(|name| Field::new(*name, DataType::Int64, true))
        .collect()
}

const RUN: [&str; 20] = [
    "_rm_status",
    "_rm_result",
    "_rm_text",
    "_rm_stop_reason",
    "_rm_error_type",
    "_rm_error",
    "_rm_model",
    "_rm_input_tokens",
    "_rm_cache_creation_5m_input_tokens",
    "_rm_cache_creation_1h_input_tokens",
    "_rm_cache_read_input_tokens",
    "_rm_output_tokens",
    "_rm_thinking_tokens",
    "_rm_service_tier",
    "_rm_cost_usd",
    "_rm_attempt",
    "_rm_custom_id",
    "_rm_batch_id",
    "_rm_message_id",
    "_rm_request_hash",
];

#[test]
fn stands_input_first_then_answer_then_run() {
    let schema = OutputSchema::new(
        &input(&["b", "a"]),
        &answer(&["topic"]),
        &OutputSpec::new("a.parquet"),
    )
    .unwrap();
    assert_eq!(
        names(&schema),
        [&["b", "a", "topic"][..], &RUN[..]].concat()
    );
    assert_eq!(
        schema
            .schema()
            .fields()
            .iter()
            .filter(|f| !f.is_nullable())
            .map(|f| f.name())
            .collect::<Vec<_>>(),
        ["_rm_status"]
    );
}

#[test]
fn documents_every_column_in_one_line() {
    let documentation = documentation();
    let lines: Vec<_> = documentation.lines().skip(2).collect();
    assert_eq!(lines.len(), RUN.len());
    for (line, name) in lines.iter().zip(RUN) {
        assert!(
            line.starts_with(&format!("| `{name}` | ")) && line.matches('|').count() == 4,
            "{line}"
        );
    }
    assert!(
        Status::ALL
            .iter()
            .all(|status| lines[0].contains(&format!("`{status}`"))),
        "{}",
        lines[0]
    );
}

#[test]
fn keeps_the_columns_named_in_the_order_of_the_input() {
    let spec = OutputSpec {
        columns: KeptColumns::Named(vec!["c".into(), "a".into(), "a".into()]),
        ..OutputSpec::new("a.csv")
    };
    let schema = OutputSchema::new(&input(&["a", "b", "c"]), &[], &spec).unwrap();
    assert_eq!(
        (names(&schema)[..2].to_vec(), schema.input_columns()),
        (vec!["a".to_owned(), "c".to_owned()], &[0, 2][..])
    );
    let spec = OutputSpec {
        columns: KeptColumns::Named(vec![]),
        ..spec
    };
    assert_eq!(
        names(&OutputSchema::new(&input(&["a"]), &[], &spec).unwrap()),
        RUN
    );
}

#[test]
fn fails_for_a_column_the_input_does_not_have() {
    let spec = OutputSpec {
        columns: KeptColumns::Named(vec!["ticket".into(), "txet".into()]),
        ..OutputSpec::new("a.csv")
    };
    let error = OutputSchema::new(&input(&["ticket", "text"]), &[], &spec).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`output.columns` names `txet`, which the input does not have"
    );
    assert!(
        matches!(error, Error::UnknownColumn { nearest: Some(nearest), .. } if nearest == "text")
    );
}

#[test]
fn names_a_clash_and_the_ways_out() {
    let earlier = [&["id"][..], &RUN[..]].concat();
    let spec = OutputSpec::new("a.parquet");
    let chained = OutputSpec {
        prefix: "_rm2_".into(),
        ..spec.clone()
    };
    let dropped = OutputSpec {
        columns: KeptColumns::Named(vec!["id".into()]),
        ..spec.clone()
    };
    let renamed = OutputSpec {
        answer_prefix: "a_".into(),
        ..spec.clone()
    };
    for (input_names, answer_names, expected, ways) in [
        (
            &earlier[..],
            &[][..],
            "the output would have two columns `_rm_status` (and 19 more): one of the input and \
             one that the run adds; rename the one of the run with `output.prefix`, or leave the \
             one of the input out with `output.columns`",
            vec![&chained, &dropped],
        ),
        (
            &["id", "topic"],
            &["topic"],
            "the output would have two columns `topic`: one of the input and one of the answer; \
             rename the one of the answer with `output.answer_prefix`, or leave the one of the \
             input out with `output.columns`",
            vec![&renamed, &dropped],
        ),
        (
            &["id"],
            &["_rm_error"],
            "the output would have two columns `_rm_error`: one of the answer and one that the run \
             adds; rename the one of the run with `output.prefix`, or rename the one of the answer \
             with `output.answer_prefix`",
            vec![&chained, &renamed],
        ),
        (
            &["id", "id"],
            &[],
            "the output would have two columns `id`: one of the input and one of the input; rename \
             one of them",
            vec![],
        ),
    ] {
        let make = |spec| OutputSchema::new(&input(input_names), &answer(answer_names), spec);
        assert_eq!(make(&spec).unwrap_err().to_string(), expected);
        ways.into_iter().for_each(|way| drop(make(way).unwrap()));
    }
}

#[test]
fn derives_the_format_from_the_name() {
    for (name, format) in [
        ("a.parquet", Some(Format::Parquet)),
        ("a.b/c.PQ", Some(Format::Parquet)),
        ("a.csv", Some(Format::Csv)),
        ("a.tsv", Some(Format::Tsv)),
        ("a.jsonl", Some(Format::Jsonl)),
        ("a.ndjson", Some(Format::Jsonl)),
        ("a.arrow", Some(Format::Ipc)),
        ("a.feather", Some(Format::Ipc)),
        ("a.csv.gz", None),
        ("csv", None),
        ("a.xlsx", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
    let error = OutputSpec::new("a.data").check().unwrap_err();
    let expected = "the name `a.data` has no known extension: set `output.format` to one of \
        `parquet`, `csv`, `tsv`, `jsonl`, `ipc`";
    assert_eq!(error.to_string(), expected);
    OutputSpec {
        format: Some(Format::Csv),
        ..OutputSpec::new("a.xlsx")
    }
    .check()
    .unwrap();
    for (path, expected) in [
        (
            "a.xlsx",
            "the output `a.xlsx` is a spreadsheet, which is not supported",
        ),
        (
            "s3://b/a.parquet",
            "the output `s3://b/a.parquet` is an address (`s3://`), which is not supported",
        ),
        (
            "https://u:secret@h/a.csv?sig=secret",
            "the output `https://h/a.csv` is an address (`https://`), which is not supported",
        ),
        (
            "a.csv.bz2",
            "the output `a.csv.bz2` is compressed with another format than gzip or Zstandard, \
             which is not supported",
        ),
        (
            "-",
            "`output.path` names a file: rows do not go to standard output, where the words of the \
             run go",
        ),
    ] {
        assert_eq!(
            OutputSpec::new(path).check().unwrap_err().to_string(),
            expected
        );
        assert!(
            OutputSpec {
                format: Some(Format::Csv),
                ..OutputSpec::new(path)
            }
            .check()
            .is_err()
                || !path.contains("://")
        );
    }
}

#[test]
fn reads_the_section_of_the_job() {
    let read = toml::from_str::<OutputSpec>;
    assert_eq!(
        read("path = 'a.parquet'").unwrap(),
        OutputSpec::new("a.parquet")
    );
    let all = "path = 'a'\nformat = 'feather'\ncolumns = ['x']\nprefix = ''\nanswer_prefix = \
               'a_'\nmin_success = 0.99\nrow_group_rows = 10\ncompression = 'snappy'";
    let spec = read(all).unwrap();
    assert_eq!(
        (spec.format, spec.compression, spec.min_success),
        (Some(Format::Ipc), Some(Compression::Snappy), Some(0.99))
    );
    assert_eq!(spec.columns, KeptColumns::Named(vec!["x".to_owned()]));
    assert_eq!(
        toml::from_str::<OutputSpec>(&toml::to_string(&spec).unwrap()).unwrap(),
        spec
    );
    assert_eq!(
        read("path = 'a'\ncolumns = 'all'").unwrap().columns,
        KeptColumns::All
    );
    for wrong in [
        "path = 'a'\npth = 1",
        "format = 'csv'",
        "path = 'a'\nformat = 'xlsx'",
        "path = 'a'\ncompression = 'lzma'",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let error = read("path = 'a'\ncolumns = 'some'")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected \"all\" or a list of column names"),
        "{error}"
    );
}

#[test]
fn fails_for_settings_out_of_range() {
    let spec = OutputSpec::new("a.csv");
    for (spec, expected) in [
        (
            OutputSpec {
                min_success: Some(99.0),
                ..spec.clone()
            },
            "`output.min_success` must be a share from 0 to 1",
        ),
        (
            OutputSpec {
                min_success: Some(f64::NAN),
                ..spec.clone()
            },
            "`output.min_success` must be a share from 0 to 1",
        ),
        (
            OutputSpec {
                escape_formulas: true,
                ..OutputSpec::new("a.jsonl")
            },
            "`output.escape_formulas` is for CSV and TSV only",
        ),
        (
            OutputSpec {
                row_group_rows: 0,
                ..spec.clone()
            },
            "`output.row_group_rows` must be at least 1",
        ),
        (
            OutputSpec {
                compression: Some(Compression::Zstd),
                ..spec.clone()
            },
            "`output.compression` is for Parquet only",
        ),
    ] {
        assert_eq!(spec.check().unwrap_err().to_string(), expected);
        assert!(OutputSchema::new(&input(&["a"]), &[], &spec).is_err());
    }
}

#[test]
fn fails_for_types_the_format_cannot_hold() {
    let union = DataType::Union(
        UnionFields::try_new([0], [Field::new("a", DataType::Int32, true)]).unwrap(),
        UnionMode::Sparse,
    );
    let in_list = DataType::List(Field::new_list_field(union.clone(), true).into());
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let empty = DataType::Struct(Vec::<Field>::new().into());
    for (data_type, name, expected) in [
        (
            &union,
            "a.parquet",
            "Parquet cannot hold the column `x` of type `Union(Sparse, 0: (\"a\": Int32))`",
        ),
        (
            &in_list,
            "a.parquet",
            "Parquet cannot hold the column `x` of type",
        ),
        (
            &interval,
            "a.parquet",
            "Parquet cannot hold the column `x` of type `Interval(MonthDayNano)`",
        ),
        (
            &empty,
            "a.parquet",
            "Parquet cannot hold the column `x` of type",
        ),
        (
            &DataType::Decimal128(10, -2),
            "a.parquet",
            "Parquet cannot hold the column `x` of type `Decimal128(10, -2)`",
        ),
        (
            &union,
            "a.jsonl",
            "JSON Lines cannot hold the column `x` of type",
        ),
        (&in_list, "a.csv", "CSV cannot hold the column `x` of type"),
    ] {
        let input = Schema::new(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("x", data_type.clone(), true),
        ]);
        let error = OutputSchema::new(&input, &[], &OutputSpec::new(name))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(
            error.ends_with("leave it out with `output.columns`, or choose another format"),
            "{error}"
        );
    }
    let input = Schema::new(vec![Field::new("x", interval, true)]);
    OutputSchema::new(&input, &[], &OutputSpec::new("a.arrow")).unwrap();
    OutputSchema::new(&input, &[], &OutputSpec::new("a.csv")).unwrap();
}

#[test]
fn fails_for_rows_that_do_not_belong_to_the_output() {
    let source = table(vec![
        ("a", Arc::new(StringArray::from(vec!["x", "y"]))),
        ("b", Arc::new(Int32Array::from(vec![1, 2]))),
    ]);
    let schema = OutputSchema::new(&source.schema(), &[], &OutputSpec::new("a.csv")).unwrap();
    let mut rows = RowBuilders::new(&schema, None, 2);
    rows.append(&unsent_row());
    let error = rows.finish(&source).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rows do not fit the output: 1 joined rows for 2 input rows"
    );
    rows.append(&unsent_row());
    let error = rows.finish(&source.project(&[1, 0]).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rows do not fit the output: the input column `a` is not where it was"
    );
    assert_eq!(rows.finish(&source).unwrap().num_rows(), 2);

    let folder = tempfile::tempdir().unwrap();
    let mut writer = OutputWriter::create(
        &OutputSpec::new("a.csv"),
        &folder.path().join("a.csv"),
        &schema,
        vec![],
    )
    .unwrap();
    assert!(matches!(writer.write(&source), Err(Error::Mismatch { .. })));
    assert_eq!(writer.finish().unwrap().rows, 0);
}

#[test]
fn reports_when_a_batch_is_full() {
    let schema = OutputSchema::new(&input(&[]), &[], &OutputSpec::new("a.csv")).unwrap();
    let mut rows = RowBuilders::new(&schema, None, 2);
    let row = joined(
        "a",
        Outcome {
            text: Some("x".repeat(33 << 20)),
            ..outcome(Status::Succeeded)
        },
    );
    rows.append(&row);
    assert_eq!((rows.is_full(), rows.rows()), (false, 1));
    rows.append(&row);
    assert_eq!((rows.is_full(), rows.rows()), (true, 2));

    let mut rows = RowBuilders::new(&schema, None, 2);
    let call = ToolCall {
        id: None,
        name: "t".to_owned(),
        input: "x".repeat(65 << 20),
    };
    let details = Details {
        tool_calls: vec![call],
        ..Details::default()
    };
    rows.append(&joined(
        "a",
        Outcome {
            details: Some(Box::new(details)),
            ..outcome(Status::Succeeded)
        },
    ));
    assert!(rows.is_full(), "arguments of tools count too");
}

#[test]
fn puts_answers_into_their_columns() {
    let schema = json!({ "type": "object", "properties": {
        "topic": { "enum": ["card", "loan"] }, "score": { "type": "number" }, "tags": { "type": "array", "items": { "type": "string" } }
    }});
    let answers = Answers::compile(&AnswerPlan {
        schema: Some(schema),
        ..AnswerPlan::default()
    })
    .unwrap()
    .unwrap();
    let source = table(vec![(
        "id",
        Arc::new(StringArray::from(vec!["x", "y", "z"])),
    )]);
    for (name, expected) in [
        (
            "a.parquet",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ),
        (
            "a.arrow",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ),
        ("a.jsonl", DataType::Utf8),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let spec = OutputSpec {
            answer_prefix: "a_".to_owned(),
            ..OutputSpec::new(name)
        };
        let schema = OutputSchema::new(&source.schema(), answers.fields(), &spec).unwrap();
        assert_eq!(
            schema
                .schema()
                .field_with_name("a_topic")
                .unwrap()
                .data_type(),
            &expected,
            "{name}"
        );
        let mut rows = RowBuilders::new(&schema, Some(&answers), 3);
        for answer in [
            Some(json!({"topic": "loan", "score": 2, "tags": ["p", null]})),
            None,
            Some(json!({"topic": null})),
        ] {
            rows.append(&JoinedRow {
                answer,
                ..joined("a", outcome(Status::Succeeded))
            });
        }
        let path = folder.path().join(name);
        let mut writer = OutputWriter::create(&spec, &path, &schema, vec![]).unwrap();
        writer.write(&rows.finish(&source).unwrap()).unwrap();
        writer.finish().unwrap();
        let shown = match name {
            "a.parquet" => as_lines(&read_parquet(&path)),
            "a.arrow" => as_lines(&read_ipc(&path)),
            _ => std::fs::read_to_string(&path).unwrap(),
        };
        let shown: Vec<_> = shown
            .lines()
            .map(|line| line.split(",\"_rm_").next().unwrap())
            .collect();
        let expected = [
            r#"{"id":"x","a_topic":"loan","a_score":2.0,"a_tags":["p",null]"#,
            r#"{"id":"y","a_topic":null,"a_score":null,"a_tags":null"#,
            r#"{"id":"z","a_topic":null,"a_score":null,"a_tags":null"#,
        ];
        assert_eq!(shown, expected, "{name}");
    }
}

/// A table as JSON Lines, by arrow's own writer.
fn as_lines(table: &RecordBatch) -> String {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(table).unwrap();
    String::from_utf8(writer.into_inner()).unwrap()
}

#[test]
fn refuses_an_added_column_whose_name_differs_from_another_in_letter_case_only() {
    let member = |name: &str| Field::new(name, DataType::Int64, true);
    let nested = vec![Field::new(
        "place",
        DataType::Struct(vec![member("City"), member("city")].into()),
        true,
    )];
    for (input_names, answer, expected) in [
        (
            &["id", "Topic"][..],
            answer(&["topic"]),
            "the output would have the columns `Topic` and `topic`, which differ only in letter \
             case: one of the input and one of the answer; most readers take them for one name: \
             rename the one of the answer with `output.answer_prefix`, or leave the one of the \
             input out with `output.columns`",
        ),
        (
            &["_RM_STATUS", "_Rm_Text"],
            answer(&[]),
            "the output would have the columns `_RM_STATUS` and `_rm_status` (and 1 more), which \
             differ only in letter case: one of the input and one that the run adds; most readers \
             take them for one name: rename the one of the run with `output.prefix`, or leave the \
             one of the input out with `output.columns`",
        ),
        (
            &["GRÖSSE"],
            answer(&["größe", "grösse"]),
            "the output would have the columns `GRÖSSE` and `grösse`, which differ only in letter \
             case: one of the input and one of the answer; most readers take them for one name: \
             rename the one of the answer with `output.answer_prefix`, or leave the one of the \
             input out with `output.columns`",
        ),
        (
            &["id"],
            nested,
            "the output would have the columns `place.City` and `place.city`, which differ only in \
             letter case: one of the answer and one of the answer; most readers take them for one \
             name: rename one of them",
        ),
    ] {
        let schema =
            OutputSchema::new(&input(input_names), &answer, &OutputSpec::new("a.parquet")).unwrap();
        assert_eq!(schema.check_case().unwrap_err().to_string(), expected);
    }
}

#[test]
fn warns_about_input_columns_whose_names_differ_in_letter_case_only() {
    let city = |name: &str| Field::new(name, DataType::Utf8, true);
    let places = DataType::List(Arc::new(Field::new(
        "item",
        DataType::Struct(vec![city("City"), city("CITY")].into()),
        true,
    )));
    let fields = ["Id", "ID"]
        .map(|name| Field::new(name, DataType::Utf8, true))
        .into_iter();
    let source = Schema::new(
        fields
            .chain([Field::new("places", places, true)])
            .collect::<Vec<_>>(),
    );
    let pair = |first: &str, second: &str| OutputWarning::SameButForCase {
        first: first.to_owned(),
        second: second.to_owned(),
    };
    let spec = OutputSpec::new("a.parquet");
    let found = OutputSchema::new(&source, &[], &spec)
        .unwrap()
        .check_case()
        .unwrap();
    assert_eq!(
        found,
        [pair("Id", "ID"), pair("places.City", "places.CITY")]
    );
    let spec = OutputSpec {
        columns: KeptColumns::Named(vec!["ID".into()]),
        ..spec
    };
    assert_eq!(
        OutputSchema::new(&source, &[], &spec)
            .unwrap()
            .check_case()
            .unwrap(),
        []
    );
}
