//! Joining and writing: rows a second, and bytes a second of result lines or of input.
//!
//! Result lines have about 800 bytes, in an order of their own; answers are checked against a schema of three columns.

#![allow(missing_docs)] // divan's macros make items without

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use rowmill::join::{AttemptResults, JoinedRow, Joiner, RequestRow, ResultIndex};
use rowmill::outcome::answer::AnswerSchema;
use rowmill::outcome::{Outcome, Status, Usage};
use rowmill::output::{OutputSchema, OutputSpec, OutputWriter, RowBuilders};
use serde_json::json;

const ROWS: usize = 8_192;

fn main() {
    divan::main();
}

/// A result line of the bench's own wire format.
#[derive(serde::Serialize, serde::Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    id: Cow<'l, str>,
    text: String,
    model: String,
    message: String,
    input: u64,
    output: u64,
    padding: Cow<'l, str>,
}

fn parse(line: &[u8]) -> Result<(Cow<'_, str>, Outcome), String> {
    let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
    let line: Line<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let usage = Usage { input_tokens: Some(line.input), output_tokens: Some(line.output), ..Usage::default() };
    let outcome = Outcome {
        status: Status::Succeeded,
        result: "succeeded".to_owned(),
        text: Some(line.text),
        stop_reason: Some("end_turn".to_owned()),
        error_type: None,
        error: None,
        model: Some(line.model),
        message_id: Some(line.message),
        usage: Some(usage),
    };
    Ok((line.id, outcome))
}

fn custom_id_of(line: &[u8]) -> Result<Cow<'_, str>, String> {
    let head = line.strip_prefix(b"{\"id\":\"").ok_or("no id")?;
    let end = memchr::memchr(b'"', head).ok_or("no end")?;
    std::str::from_utf8(&head[..end]).map(Cow::Borrowed).map_err(|e| e.to_string())
}

fn id(row: usize) -> String {
    format!("x7f3a2-ticket-{row:08}")
}

fn result_lines() -> Vec<u8> {
    let mut lines = Vec::new();
    for row in 0..ROWS {
        let row = row * 5_003 % ROWS; // every row once, out of order
        let topic = if row.is_multiple_of(2) { "card" } else { "loan" };
        let reason = format!("because of {row} things").repeat(6);
        let answer = json!({ "topic": topic, "score": row as f64 / 7.0, "reason": reason });
        let line = Line {
            id: id(row).into(),
            text: answer.to_string(),
            model: "claude-haiku-4-5-20251001".to_owned(),
            message: format!("msg_{row:024}"),
            input: 200 + row as u64,
            output: 80,
            padding: "p".repeat(350).into(),
        };
        serde_json::to_writer(&mut lines, &line).unwrap();
        lines.push(b'\n');
    }
    lines
}

fn source() -> RecordBatch {
    let columns = vec![Field::new("ticket_id", DataType::Int64, false), Field::new("text", DataType::Utf8, false)];
    let texts =
        (0..ROWS).map(|row| format!("Ticket {row} says that something is wrong with number {}. ", row * 31 % 977).repeat(8));
    RecordBatch::try_new(
        Arc::new(Schema::new(columns)),
        vec![Arc::new(Int64Array::from_iter_values(0..ROWS as i64)), Arc::new(StringArray::from_iter_values(texts))],
    )
    .unwrap()
}

fn answers() -> AnswerSchema {
    let schema = json!({ "type": "object", "additionalProperties": false, "required": ["topic", "score", "reason"], "properties": {
        "topic": { "enum": ["card", "loan"] }, "score": { "type": "number" }, "reason": { "type": "string" }
    }});
    AnswerSchema::compile(&schema).unwrap()
}

fn index(lines: &[u8], ids: &[String]) -> ResultIndex {
    let (index, counts) = ResultIndex::build(Cursor::new(lines), ids, custom_id_of, tempfile::tempfile().unwrap()).unwrap();
    assert!(counts.is_clean());
    index
}

fn joined<'r>(index: ResultIndex, answers: Option<&AnswerSchema>, ids: &'r [String]) -> Vec<JoinedRow<'r>> {
    let attempt = AttemptResults { attempt: 1, batch_id: "msgbatch_1".into(), index };
    let mut joiner = Joiner::new(vec![attempt], answers, parse);
    let request = |id: &'r String| RequestRow { custom_id: Some(id), request_hash: Some("0123456789abcdef"), unsent: None };
    ids.iter().map(|id| joiner.row(request(id)).unwrap()).collect()
}

fn write(folder: &Path, name: &str, source: &RecordBatch, answers: &AnswerSchema, rows: &[JoinedRow<'_>]) {
    let spec = OutputSpec::new(name);
    let schema = OutputSchema::new(&source.schema(), answers.fields(), &spec).unwrap();
    let mut writer = OutputWriter::create(&spec, &folder.join(name), &schema, Vec::new()).unwrap();
    let mut builders = RowBuilders::new(&schema, Some(answers), ROWS);
    rows.iter().for_each(|row| builders.append(row));
    writer.write(&builders.finish(source).unwrap()).unwrap();
    writer.finish().unwrap();
}

#[divan::bench]
fn index_result_lines(bencher: Bencher<'_, '_>) {
    let lines = result_lines();
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    bencher.counter(ItemsCount::new(ROWS)).counter(BytesCount::new(lines.len())).bench_local(|| index(black_box(&lines), &ids));
}

#[divan::bench(args = ["text", "schema"])]
fn join(bencher: Bencher<'_, '_>, answer: &str) {
    let lines = result_lines();
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    let answers = (answer == "schema").then(answers);
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(lines.len()))
        .with_inputs(|| index(&lines, &ids))
        .bench_local_values(|index| black_box(joined(index, answers.as_ref(), &ids).len()));
}

#[divan::bench(args = ["a.parquet", "a.arrow", "a.csv", "a.jsonl"])]
fn write_output(bencher: Bencher<'_, '_>, name: &str) {
    let (lines, source, answers) = (result_lines(), source(), answers());
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    let rows = joined(index(&lines, &ids), Some(&answers), &ids);
    let folder = tempfile::tempdir().unwrap();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(source.get_array_memory_size()))
        .bench_local(|| write(folder.path(), name, &source, &answers, &rows));
}
