//! Joining and writing: rows per second, and bytes of result lines or of the written table per
//! second.
//!
//! Result lines have about 1,200 bytes, in shuffled order; answers are validated with a schema of
//! three columns. The written table has the source's two columns, the three of the answers, and
//! rowmill's own.

#![allow(missing_docs)] // divan's macros make items without

mod text;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Cursor};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rowmill::join::{AttemptResults, JoinedRow, Joiner, RequestRow, ResultIndex};
use rowmill::outcome::answer::{AnswerPlan, Answers};
use rowmill::outcome::{Outcome, Status, Usage};
use rowmill::output::{OutputSchema, OutputSpec, OutputWriter, RowBuilders};
use serde_json::json;

const ROWS: usize = 8_192;
const BATCHES: usize = 8;
const FORMATS: [&str; 4] = ["parquet", "arrow", "csv", "jsonl"];

fn main() {
    text::announce();
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
    let usage = Usage {
        input_tokens: Some(line.input),
        output_tokens: Some(line.output),
        ..Usage::default()
    };
    let outcome = Outcome {
        result: "succeeded".to_owned(),
        text: Some(line.text),
        stop_reason: Some("end_turn".to_owned()),
        model: Some(line.model),
        message_id: Some(line.message),
        usage: Some(usage),
        ..Outcome::new(Status::Succeeded)
    };
    Ok((line.id, outcome))
}

fn custom_id_of(line: &[u8]) -> Result<Cow<'_, str>, String> {
    let head = line.strip_prefix(b"{\"id\":\"").ok_or("no id")?;
    let end = memchr::memchr(b'"', head).ok_or("no end")?;
    std::str::from_utf8(&head[..end])
        .map(Cow::Borrowed)
        .map_err(|e| e.to_string())
}

fn id(row: usize) -> String {
    format!("x7f3a2-ticket-{row:08}")
}

fn result_lines() -> Vec<u8> {
    let mut lines = Vec::new();
    let texts = text::texts(ROWS);
    for row in 0..ROWS {
        let row = row * 5_003 % ROWS; // every row once, out of order
        let topic = if row.is_multiple_of(2) {
            "card"
        } else {
            "loan"
        };
        let reason = &texts[row];
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
    let columns = vec![
        Field::new("ticket_id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
    ];
    RecordBatch::try_new(
        Arc::new(Schema::new(columns)),
        vec![
            Arc::new(Int64Array::from_iter_values(0..ROWS as i64)),
            Arc::new(StringArray::from(text::texts(ROWS))),
        ],
    )
    .unwrap()
}

/// The JSON of answers, read by pointers instead of a schema.
fn pointers() -> Answers {
    let spec = "columns = \
        { topic = '/topic', score = { pointer = '/score', type = 'float64' }, reason = '/reason' }";
    let spec = toml::from_str(spec).unwrap();
    Answers::compile(&AnswerPlan {
        spec,
        ..AnswerPlan::default()
    })
    .unwrap()
    .unwrap()
}

fn answers() -> Answers {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["topic", "score", "reason"],
        "properties": {
            "topic": { "enum": ["card", "loan"] },
            "score": { "type": "number" },
            "reason": { "type": "string" }
        }
    });
    Answers::compile(&AnswerPlan {
        schema: Some(schema),
        ..AnswerPlan::default()
    })
    .unwrap()
    .unwrap()
}

fn index(lines: &[u8], ids: &[String]) -> ResultIndex {
    let (index, counts) = ResultIndex::build(
        Cursor::new(lines),
        ids,
        custom_id_of,
        tempfile::tempfile().unwrap(),
    )
    .unwrap();
    assert!(counts.is_clean());
    index
}

fn joined<'r>(
    index: ResultIndex,
    answers: Option<&Answers>,
    ids: &'r [String],
) -> Vec<JoinedRow<'r>> {
    let attempt = AttemptResults {
        attempt: 1,
        batch_id: "msgbatch_1".into(),
        index,
    };
    let mut joiner = Joiner::new(vec![attempt], answers, parse);
    let request = |id: &'r String| RequestRow {
        custom_id: Some(id),
        request_hash: Some("0123456789abcdef"),
        unsent: None,
        tag: None,
    };
    ids.iter()
        .map(|id| joiner.row(request(id)).unwrap())
        .collect()
}

fn output_schema(
    path: &Path,
    source: &RecordBatch,
    answers: &Answers,
) -> (OutputSpec, OutputSchema) {
    let spec = OutputSpec::new(path);
    let schema = OutputSchema::new(&source.schema(), answers.fields(), &spec).unwrap();
    (spec, schema)
}

fn write(path: &Path, source: &RecordBatch, answers: &Answers, rows: &[JoinedRow<'_>]) {
    let (spec, schema) = output_schema(path, source, answers);
    let mut writer = OutputWriter::create(&spec, path, &schema, Vec::new()).unwrap();
    let mut builders = RowBuilders::new(&schema, Some(answers), ROWS);
    for _ in 0..BATCHES {
        rows.iter().for_each(|row| builders.append(row));
        writer.write(&builders.finish(source).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

fn write_by_the_crate_alone(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).unwrap();
    let batches = std::iter::repeat_n(batch, BATCHES);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("parquet") => {
            let zstd = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .build();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(zstd)).unwrap();
            batches.for_each(|batch| writer.write(batch).unwrap());
            writer.close().unwrap();
        }
        Some("arrow") => {
            let mut writer = ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
            batches.for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
        Some("csv") => {
            let mut writer = arrow::csv::Writer::new(BufWriter::new(file));
            batches.for_each(|batch| writer.write(batch).unwrap());
        }
        _ => {
            let mut writer = arrow::json::LineDelimitedWriter::new(BufWriter::new(file));
            batches.for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
    }
}

/// Joined rows of a batch, and their record batch in the output.
fn bench_writing(
    bencher: Bencher<'_, '_>,
    format: &str,
    write: impl Fn(&Path, &RecordBatch, &[JoinedRow<'_>], &RecordBatch, &Answers),
) {
    let (lines, source, answers) = (result_lines(), source(), answers());
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    let rows = joined(index(&lines, &ids), Some(&answers), &ids);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("a.{format}"));
    let mut builders = RowBuilders::new(
        &output_schema(&path, &source, &answers).1,
        Some(&answers),
        ROWS,
    );
    rows.iter().for_each(|row| builders.append(row));
    let batch = builders.finish(&source).unwrap();
    bencher
        .counter(ItemsCount::new(ROWS * BATCHES))
        .counter(BytesCount::new(batch.get_array_memory_size() * BATCHES))
        .bench_local(|| write(&path, &source, &rows, &batch, &answers));
}

#[divan::bench]
fn index_result_lines(bencher: Bencher<'_, '_>) {
    let lines = result_lines();
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(lines.len()))
        .bench_local(|| index(black_box(&lines), &ids));
}

/// The baseline for joining: reads and parses every line in its order, without a join.
#[divan::bench]
fn parse_in_any_order(bencher: Bencher<'_, '_>) {
    let lines = result_lines();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(lines.len()))
        .bench_local(|| {
            for line in lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                black_box(parse(line).unwrap());
            }
        });
}

#[divan::bench(args = ["text", "schema", "pointers"])]
fn join(bencher: Bencher<'_, '_>, answer: &str) {
    let lines = result_lines();
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    let answers = match answer {
        "schema" => Some(answers()),
        "pointers" => Some(pointers()),
        _ => None,
    };
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(lines.len()))
        .with_inputs(|| index(&lines, &ids))
        .bench_local_values(|index| black_box(joined(index, answers.as_ref(), &ids).len()));
}

/// From joined rows to the final file.
#[divan::bench(args = FORMATS, sample_count = 20)]
fn write_output(bencher: Bencher<'_, '_>, format: &str) {
    bench_writing(bencher, format, |path, source, rows, _, answers| {
        write(path, source, answers, rows)
    });
}

/// The baseline: existing batches through the crate that writes the format, without sync.
#[divan::bench(args = FORMATS, sample_count = 20)]
fn by_the_crate_alone(bencher: Bencher<'_, '_>, format: &str) {
    bench_writing(bencher, format, |path, _, _, batch, _| {
        write_by_the_crate_alone(path, batch)
    });
}
