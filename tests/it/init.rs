//! `rowmill init`: every job that it writes passes `check`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use parquet::arrow::ArrowWriter;

use crate::support::{Finished, Workdir};

/// Runs `init`, then `check` on what it wrote.
#[track_caller]
fn init_and_check(work: &Workdir, data: &str) -> (Finished, String) {
    let init = work
        .rowmill(&["init", data, "--out", "job.toml", "--force"])
        .expect(0);
    let job = work.read("job.toml");
    let check = work.rowmill(&["check", "job.toml"]);
    assert_eq!(
        check.code,
        0,
        "{data}\n{job}\n{}\n{}",
        work.read("job.j2"),
        check.stderr
    );
    (init, job)
}

fn write_parquet(work: &Workdir, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, array)| array).collect(),
    );
    let batch = batch.expect("a batch");
    let file = File::create(work.path(name)).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

/// A column of three different values of each type, none of them null.
fn every_type() -> Vec<(&'static str, ArrayRef)> {
    let texts = || StringArray::from(vec!["a", "b", "c"]);
    let bytes: [&[u8]; 3] = [b"\xff\x00", b"\x01", b"text"];
    let item = Arc::new(Field::new_list_field(DataType::Binary, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 1, 2, 3]));
    let lists = ListArray::new(
        item,
        offsets,
        Arc::new(BinaryArray::from_vec(bytes.to_vec())),
        None,
    );
    let members: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![1, 2, 3])),
        ),
        (
            Arc::new(Field::new("y", DataType::Binary, true)),
            Arc::new(BinaryArray::from_vec(bytes.to_vec())),
        ),
    ];
    let words: DictionaryArray<Int32Type> = vec!["x", "y", "z"].into_iter().collect();
    let decimals = Decimal128Array::from(vec![1, 2, 3])
        .with_precision_and_scale(10, 2)
        .expect("a decimal");
    let wide = Decimal256Array::from_iter_values([1, 2, 3].map(i256::from_i128))
        .with_precision_and_scale(60, 2)
        .expect("a decimal");
    vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![true, false, true])),
        ),
        ("int8", Arc::new(Int8Array::from(vec![1, 2, 3]))),
        ("uint64", Arc::new(UInt64Array::from(vec![1, 2, u64::MAX]))),
        ("float32", Arc::new(Float32Array::from(vec![0.5, 1.5, 2.5]))),
        (
            "float64",
            Arc::new(Float64Array::from(vec![0.5, 1.5, f64::NAN])),
        ),
        ("decimal", Arc::new(decimals)),
        ("wide", Arc::new(wide)),
        ("date", Arc::new(Date32Array::from(vec![1, 2, 3]))),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![1, 2, 3])),
        ),
        (
            "millis",
            Arc::new(Time32MillisecondArray::from(vec![1, 2, 3])),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3])),
        ),
        (
            "zoned",
            Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Berlin")),
        ),
        (
            "nowhere",
            Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3]).with_timezone("Nowhere/Else")),
        ),
        (
            "duration",
            Arc::new(DurationMillisecondArray::from(vec![1, 2, 3])),
        ),
        ("binary", Arc::new(BinaryArray::from_vec(bytes.to_vec()))),
        (
            "large_binary",
            Arc::new(LargeBinaryArray::from_vec(bytes.to_vec())),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter([[1_u8, 2], [3, 4], [5, 6]].into_iter())
                    .expect("bytes"),
            ),
        ),
        ("text", Arc::new(texts())),
        (
            "large_text",
            Arc::new(LargeStringArray::from(vec!["a", "b", "c"])),
        ),
        ("dictionary", Arc::new(words)),
        (
            "numbers",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                Some(vec![Some(1)]),
                Some(vec![]),
                None,
            ])),
        ),
        ("bytes", Arc::new(lists)),
        ("struct", Arc::new(StructArray::from(members))),
        ("nothing", Arc::new(NullArray::new(3))),
    ]
}

#[test]
fn writes_a_job_that_check_takes_for_every_type() {
    let work = Workdir::new();
    write_parquet(&work, "all.parquet", every_type());
    init_and_check(&work, "all.parquet");
    // Each alone: the only column that could be a key or be in the prompt.
    for (name, column) in every_type() {
        write_parquet(&work, "one.parquet", vec![(name, column)]);
        init_and_check(&work, "one.parquet");
    }
}

#[test]
fn leaves_bytes_out_of_the_prompt_and_floats_out_of_the_key() {
    let work = Workdir::new();
    let columns = every_type()
        .into_iter()
        .filter(|(name, _)| ["binary", "float64", "int8"].contains(name))
        .collect();
    write_parquet(&work, "a.parquet", columns);
    let (_, job) = init_and_check(&work, "a.parquet");
    assert!(job.contains("columns = [\"int8\"]"), "{job}");
    let template = work.read("job.j2");
    assert!(
        template.contains("{{ float64 }}") && !template.contains("{{ binary }}"),
        "{template}"
    );
    let columns = every_type()
        .into_iter()
        .filter(|(name, _)| ["binary", "float64"].contains(name))
        .collect();
    write_parquet(&work, "b.parquet", columns);
    let (_, job) = init_and_check(&work, "b.parquet");
    assert!(!job.contains("columns = [\"float64\"]"), "{job}");
    let columns = every_type()
        .into_iter()
        .filter(|(name, _)| ["binary", "int8"].contains(name))
        .collect();
    write_parquet(&work, "c.parquet", columns);
    init_and_check(&work, "c.parquet");
    assert!(work.read("job.j2").contains("{{ int8 }}"));
}

#[test]
fn writes_a_job_that_check_takes_whatever_columns_are_called() {
    let names = [
        "id",
        "a b",
        "Größe",
        "it's",
        "say \"hi\"",
        "{{ x }}",
        "{% raw %}",
        "{# no #}",
        "row",
        "for",
        "self",
        "loop",
        "range",
        "None",
        "true",
        "select",
        "back\\slash",
        "new\nline",
        "=1+1",
        "_rm_status",
        "_RM2_STATUS",
        "日本",
        "a.b",
        "-",
        "'",
        "#",
        "tab\there",
    ];
    for first in 0..names.len() {
        let work = Workdir::new();
        let mut names = names.to_vec();
        names.rotate_left(first);
        let quoted = |name: &&str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut text = names.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
        for row in 1..=4 {
            text += &(0..names.len())
                .map(|i| format!("a text {i} of some length {row}"))
                .collect::<Vec<_>>()
                .join(",");
            text.push('\n');
        }
        work.write("rows.csv", text);
        init_and_check(&work, "rows.csv");
        // Without an obvious text column, the template shows the columns with their names.
        let numbers = names.iter().map(quoted).collect::<Vec<_>>().join(",")
            + "\n"
            + &vec!["1"; names.len()].join(",")
            + "\n";
        work.write("numbers.csv", numbers);
        init_and_check(&work, "numbers.csv");
        if first % 5 > 0 {
            continue;
        }
        let records = names
            .iter()
            .map(|name| ((*name).to_owned(), serde_json::json!([1, {"x": 2}])))
            .collect::<serde_json::Map<_, _>>();
        work.write(
            "rows.jsonl",
            format!("{}\n", serde_json::Value::from(records)),
        );
        init_and_check(&work, "rows.jsonl");
    }
}

#[test]
fn chooses_a_prefix_where_a_column_differs_from_the_runs_own_in_letter_case_only() {
    let work = Workdir::new();
    work.write(
        "rows.csv",
        "id,Text,_RM_STATUS\n1,a text of some length,x\n2,another text of some length,y\n",
    );
    let (_, job) = init_and_check(&work, "rows.csv");
    assert!(job.contains("prefix = \"_rm2_\""), "{job}");
}

#[test]
fn writes_a_job_that_check_takes_for_keys_that_are_none() {
    for (name, text) in [
        (
            "a.jsonl",
            "{\"id\":\"\",\"t\":\"x\"}\n{\"id\":\"1\",\"t\":\"y\"}\n",
        ),
        (
            "a.jsonl",
            "{\"id\":1.5,\"t\":\"x\"}\n{\"id\":2.5,\"t\":\"x\"}\n",
        ),
        (
            "a.jsonl",
            "{\"id\":[1],\"t\":[\"x\"]}\n{\"id\":[2],\"t\":null}\n",
        ),
        (
            "a.jsonl",
            "{\"id\":1,\"t\":{\"b\":1}}\n{\"id\":\"x\",\"t\":[1e999]}\n",
        ),
        ("a.csv", "id,t\n,x\n1,y\n"),
        ("a.csv", "id\n\"  \"\n1\n"),
        ("a.csv", "a,b\n1.5,1\n2.5,1\n"),
        ("a.csv", "a,b\nx,1\nx,1\n"),
        ("a.tsv", "a\tb\n1\tx\n2\ty\n"),
        ("a.csv", "a;b\n1;x\n2;y\n"),
    ] {
        let work = Workdir::new();
        work.write(name, text);
        init_and_check(&work, name);
    }
}

#[test]
fn writes_a_job_that_check_takes_for_the_sample_data() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_data");
    let mut seen = 0;
    for folder in std::fs::read_dir(&samples)
        .expect("sample data")
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        for file in std::fs::read_dir(folder.path())
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path())
        {
            if file
                .extension()
                .is_some_and(|e| e == "csv" || e == "parquet" || e == "jsonl")
            {
                init_and_check(&Workdir::new(), file.to_str().expect("a path"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn finds_how_quotation_marks_are_written() {
    let work = Workdir::new();
    work.write(
        "inch.csv",
        "id,name\n1,\"Pipe 5\\\"\"\n2,Bolt\n3,Nut\n4,\"Rod 3\\\"\"\n5,End\n",
    );
    let (init, job) = init_and_check(&work, "inch.csv");
    assert!(
        job.contains("\nescape = '\\'\n") || job.contains("\nescape = \"\\\\\"\n"),
        "{job}"
    );
    assert!(
        init.stderr.contains("line 5") && init.stderr.contains("source.escape"),
        "{}",
        init.stderr
    );
    work.write(
        "titles.tsv",
        "id\ttitle\n1\tplain\n2\t\"Heroes\" (song)\n3\t\"Weird Al\n4\tend\n",
    );
    let (init, job) = init_and_check(&work, "titles.tsv");
    assert!(job.contains("\nquote = \"\"\n"), "{job}");
    assert!(
        init.stderr.contains("line 3") && init.stderr.contains("source.quote"),
        "{}",
        init.stderr
    );
    // If no setting fits, the error is that of the default settings, with its hint.
    work.write("broken.csv", "id,name\n1,\"a, b\" c\n");
    let refused = work
        .rowmill(&["init", "broken.csv", "--out", "broken.toml"])
        .expect(2);
    assert!(
        refused.stderr.contains("line 2") && refused.stderr.contains("hint: set `source.quote"),
        "{}",
        refused.stderr
    );
}

#[test]
fn gives_names_to_columns_without_one() {
    let work = Workdir::new();
    work.write("a.csv", ",id,id,column_1\n0,a,b,c\n1,d,e,f\n");
    let (init, job) = init_and_check(&work, "a.csv");
    assert!(
        job.contains("names = [\"column_1\", \"id\", \"id_2\", \"column_1_2\"]"),
        "{job}"
    );
    assert!(init.stderr.contains("source.names"), "{}", init.stderr);
}

#[test]
fn suggests_texts_that_may_be_null() {
    let work = Workdir::new();
    work.write("a.csv", "id,name\n1,NA\n2,\\N\n3,Nana\n");
    let (_, job) = init_and_check(&work, "a.csv");
    assert!(job.contains("# null = [\"NA\", "), "{job}");
}
