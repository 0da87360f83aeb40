//! The main job, end to end, on the simulator.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, ListBuilder, MapBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use rowmill::engine::{Error, RunOutcome};

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);

/// Runs the job of a folder to its end.
fn run(work: Workdir) -> Bench {
    let bench = Bench::new(work);
    assert_eq!(bench.run().unwrap().outcome, RunOutcome::Complete);
    bench
}

#[test]
fn gives_every_row_back_once_and_in_order() {
    let out = run(Workdir::new().with_rows(250)).output();
    let ids: Vec<String> = (1..=250).map(|n| format!("T-{n}")).collect();
    assert_eq!(out.column("id"), ids);
    assert_eq!(out.column("body")[6], "the 7th text, with a comma");
    assert!(out.column("_rm_status").iter().all(|s| s == "succeeded"));
    assert!(out.column("_rm_text").iter().all(|text| !text.is_empty()));
    assert!(
        out.column("_rm_custom_id")
            .iter()
            .zip(&ids)
            .all(|(custom, id)| custom.ends_with(&format!("-{id}")))
    );
    assert!(
        out.column("_rm_output_tokens")
            .iter()
            .all(|n| n.parse::<u64>().unwrap() > 0)
    );
}

#[test]
fn gives_the_same_rows_whatever_the_batch_size() {
    let whole = run(Workdir::new().with_rows(97)).output();
    let parts = Workdir::new().with_rows(97);
    parts.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 10\n"));
    let parts = run(parts).output();
    assert_eq!(whole.column("id"), parts.column("id"));
    let batches: std::collections::BTreeSet<_> = parts.column("_rm_batch_id").into_iter().collect();
    assert!(batches.len() >= 10, "{batches:?}");
}

#[test]
fn writes_each_format_by_its_extension() {
    for (name, first) in [
        ("out.csv", "id,body,_rm_status"),
        ("out.tsv", "id\tbody\t_rm_status"),
        ("out.jsonl", "{\"id\":\"T-1\""),
    ] {
        let work = Workdir::new().with_rows(5);
        work.write("job.toml", JOB.replace("out.parquet", name));
        let text = run(work).work.read(name);
        assert!(text.starts_with(first), "{name}: {}", &text[..80]);
        assert_eq!(
            text.lines().count(),
            if name == "out.jsonl" { 5 } else { 6 }
        );
    }
    let work = Workdir::new().with_rows(5);
    work.write("job.toml", JOB.replace("out.parquet", "out.arrow"));
    let bench = run(work);
    assert!(
        std::fs::read(bench.work.output("out.arrow"))
            .unwrap()
            .starts_with(b"ARROW1")
    );
}

#[test]
fn makes_typed_columns_of_a_schema() {
    let work = Workdir::new().with_rows(20);
    work.write(
        "answer.json",
        r#"{"type":"object","properties":{
            "mood":{"type":"string","enum":["good","bad"]},"score":{"type":"integer"},
            "sure":{"type":"boolean"},"words":{"type":"array","items":{"type":"string"}}},
            "required":["mood","score","sure","words"],"additionalProperties":false}"#,
    );
    work.write(
        "job.toml",
        JOB.replace(
            "max_tokens = 200",
            "max_tokens = 2000\nschema = \"answer.json\"",
        ),
    );
    let out = run(work).output();
    assert_eq!(
        &out.names()[..7],
        ["id", "body", "mood", "score", "sure", "words", "_rm_status"]
    );
    assert!(
        out.column("mood")
            .iter()
            .all(|mood| mood == "good" || mood == "bad")
    );
    assert!(
        out.column("score")
            .iter()
            .all(|score| score.parse::<i64>().is_ok())
    );
}

#[test]
fn says_that_it_was_simulated_in_the_output_too() {
    let (alone, beside) = (Workdir::new().with_rows(3), Workdir::new().with_rows(3));
    alone
        .rowmill(&["run", "job.toml", "--simulate"])
        .expect(0)
        .says("SIMULATED");
    // A simulator that was started for itself is known by what it answers.
    beside
        .rowmill_at(&Sim::start().url(), &["run", "job.toml"])
        .expect(0)
        .says("SIMULATED");
    for work in [alone, beside] {
        let file = std::fs::File::open(work.output("out.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let metadata = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .unwrap();
        let simulated = metadata
            .iter()
            .find(|kv| kv.key == "rowmill.simulated")
            .and_then(|kv| kv.value.clone());
        assert_eq!(simulated.as_deref(), Some("true"));
        let manifest = work
            .files()
            .into_iter()
            .find(|file| file.ends_with("manifest.json"))
            .unwrap();
        assert!(work.read(&manifest).contains("\"simulated\": true"));
    }
}

#[test]
fn sets_one_row_that_fits_no_batch_aside_and_sends_the_others() {
    let work = Workdir::new().with_rows(10);
    let huge = "x".repeat(5_000);
    work.write("rows.csv", format!("id,body\na,short\nb,{huge}\nc,short\n"));
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_bytes = 4000\n"));
    let out = run(work).output();
    assert_eq!(
        out.column("_rm_status"),
        ["succeeded", "unsent", "succeeded"]
    );
    assert_eq!(out.column("_rm_error_type")[1], "too_large");
}

#[test]
fn keeps_a_cell_that_looks_like_a_template_as_it_is() {
    let work = Workdir::new().with_rows(1);
    work.write("rows.csv", "id,body\na,{{ 7 * 7 }}{% raise %}\n");
    let shown = work.rowmill(&["preview", "job.toml"]).expect(0);
    assert!(
        shown.stdout.contains("{{ 7 * 7 }}{% raise %}"),
        "{}",
        shown.stdout
    );
}

#[test]
fn treats_duplicate_keys_as_the_job_says() {
    let rows = "id,body\na,one\nb,two\na,three\n";
    let work = Workdir::new().with_rows(1);
    work.write("rows.csv", rows);
    let refused = work
        .rowmill(&["run", "job.toml", "--simulate"])
        .expect(2)
        .says("row key is not unique");
    assert!(
        refused.stderr.contains("rows 1 and 3"),
        "{}",
        refused.stderr
    );

    let bench = Bench::new(work);
    assert!(matches!(bench.run(), Err(Error::DuplicateKeys(_))));
    let job = |how: &str| {
        JOB.replace(
            "columns = [\"id\"]",
            &format!("columns = [\"id\"]\non_duplicate = \"{how}\""),
        )
    };
    bench.work.write("job.toml", job("first"));
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(
        bench.output().column("_rm_status"),
        ["succeeded", "succeeded", "unsent"]
    );

    bench.work.write("job.toml", job("number"));
    assert!(bench.run().unwrap().all_succeeded());
    let out = bench.output();
    assert_eq!(
        out.column("_rm_status"),
        ["succeeded", "succeeded", "succeeded"]
    );
    let ids: std::collections::BTreeSet<_> = out.column("_rm_custom_id").into_iter().collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn takes_only_the_rows_that_are_asked_for() {
    let work = Workdir::new().with_rows(50);
    work.rowmill(&[
        "run",
        "job.toml",
        "--simulate",
        "--where",
        "id IN ('T-3', 'T-30', 'T-33')",
        "--limit",
        "2",
    ])
    .expect(0);
    assert_eq!(work.parquet("out.parquet").column("id"), ["T-3", "T-30"]);
}

#[test]
fn sends_in_one_step_and_fetches_in_another() {
    let work = Workdir::new().with_rows(30);
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 10\n"));
    work.rowmill(&["submit", "job.toml", "--simulate", "--processing", "1h"])
        .expect(0);
    work.rowmill(&["collect", "job.toml"]).expect(5);
    assert!(!work.output("out.parquet").exists());

    let bench = Bench::with(Workdir::new().with_rows(30), "", HOUR);
    assert_eq!(bench.submit().unwrap().outcome, RunOutcome::Unfinished);
    let collected = bench.collect(None).unwrap();
    assert_eq!(collected.outcome, RunOutcome::Unfinished);
    assert!(!bench.work.output("out.parquet").exists());
    let collected = bench.collect(Some(2 * HOUR)).unwrap();
    assert_eq!(collected.outcome, RunOutcome::Complete);
    assert_eq!(bench.output().rows(), 30);
}

#[test]
fn resumes_an_unfinished_run_instead_of_paying_again() {
    let bench = Bench::new(Workdir::new().with_rows(30));
    let submitted = bench.submit().unwrap();
    let report = bench.run().unwrap();
    assert_eq!(
        (report.run, report.outcome),
        (submitted.run, RunOutcome::Complete)
    );
    let files = bench.work.files();
    let runs = files.iter().filter(|file| file.ends_with("plan.json"));
    assert_eq!(runs.count(), 1);
    assert_eq!(bench.output().rows(), 30);
    assert!(bench.accepted().values().all(|times| *times == 1));
}

#[test]
fn cancels_what_is_in_flight_and_keeps_the_rows() {
    let bench = Bench::with(Workdir::new().with_rows(12), "", HOUR);
    bench.submit().unwrap();
    assert_eq!(bench.cancel(false).unwrap().asked, 1);
    let collected = bench.collect(Some(HOUR)).unwrap();
    assert_eq!(collected.outcome, RunOutcome::Complete);
    let out = bench.output();
    assert_eq!(out.rows(), 12);
    let statuses = out.column("_rm_status");
    // What was being worked on when the cancel came is finished, and billed.
    assert!(
        statuses.iter().all(|s| s == "canceled" || s == "succeeded"),
        "{statuses:?}"
    );
    assert!(statuses.iter().any(|s| s == "canceled"), "{statuses:?}");
}

/// A struct, a list, a map, a dictionary, nulls, and a text that looks like a number.
fn nested() -> RecordBatch {
    let codes: ArrayRef = Arc::new(StringArray::from(vec!["004", "008", "010"]));
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("euro"), None]);
    tags.append_null();
    tags.append_value([None::<&str>; 0]);
    let mut names = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (language, name) in [
        ("en", Some("Albania")),
        ("fr", None),
        ("de", Some("Algerien")),
    ] {
        names.keys().append_value(language);
        names.values().append_option(name);
        names.append(true).expect("as many keys as values");
    }
    let place = StructArray::from(vec![
        (
            Arc::new(Field::new("lat", DataType::Float64, true)),
            Arc::new(Float64Array::from(vec![Some(33.9), None, Some(-0.0)])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("code", DataType::Utf8, true)),
            Arc::clone(&codes),
        ),
    ]);
    let region: DictionaryArray<Int32Type> =
        vec![Some("Asia"), None, Some("Asia")].into_iter().collect();
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("code", codes, false),
        ("tags", Arc::new(tags.finish()), true),
        ("names", Arc::new(names.finish()), true),
        ("place", Arc::new(place), true),
        ("region", Arc::new(region), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("one length")
}

#[test]
fn passes_nested_columns_through_unchanged() {
    let before = nested();
    let work = Workdir::new();
    let file = File::create(work.path("rows.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, before.schema(), None).unwrap();
    writer.write(&before).unwrap();
    writer.close().unwrap();
    let job = JOB
        .replace("rows.csv", "rows.parquet")
        .replace("columns = [\"id\"]", "columns = [\"code\"]")
        .replace("{{ body }}", "{{ row | json }}");
    work.write("job.toml", job);
    let after = run(work).output();
    let kept: Vec<usize> = (0..before.num_columns()).collect();
    let after = after.batch.project(&kept).unwrap();
    assert_eq!(before.columns(), after.columns());
    assert_eq!(before.schema().fields(), after.schema().fields());
}
