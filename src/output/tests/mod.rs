mod files;
mod logical;
mod other_writers;
mod schema;
mod text;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use arrow::ipc::reader::FileReader;

use super::*;
use crate::join::{Attempt, JoinedRow, RequestRow};
use crate::outcome::answer::{AnswerPlan, Answers};
use crate::outcome::{Outcome, Status, Usage};

/// A record batch of named columns.
fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, array)| array).collect(),
    )
    .unwrap()
}

fn outcome(status: Status) -> Outcome {
    Outcome {
        result: "succeeded".to_owned(),
        ..Outcome::new(status)
    }
}

/// A row with one attempt.
fn joined(custom_id: &str, outcome: Outcome) -> JoinedRow<'_> {
    let request = RequestRow {
        custom_id: Some(custom_id),
        request_hash: Some("hash"),
        unsent: None,
        tag: None,
    };
    let status = outcome.status;
    let attempts = vec![Attempt {
        attempt: 1,
        batch_id: "batch".into(),
        outcome,
    }];
    JoinedRow {
        sent_as: None,
        request,
        status,
        attempts,
        chosen: Some(0),
        answer: None,
        cost_pico_usd: None,
    }
}

/// A row in which every column of the run has a value.
fn full_row() -> JoinedRow<'static> {
    let outcome = Outcome {
        status: Status::Truncated,
        result: "succeeded".to_owned(),
        text: Some("Half a sen".to_owned()),
        stop_reason: Some("max_tokens".to_owned()),
        error_type: Some("kind".to_owned()),
        error: Some("in words".to_owned()),
        model: Some("claude-haiku-4-5".to_owned()),
        message_id: Some("msg_1".to_owned()),
        usage: Some(Usage {
            input_tokens: Some(1),
            cache_creation_5m_input_tokens: Some(2),
            cache_creation_1h_input_tokens: Some(3),
            cache_read_input_tokens: Some(4),
            output_tokens: Some(5),
            thinking_tokens: Some(6),
            service_tier: Some("batch".to_owned()),
            ..Usage::default()
        }),
        calls_tools: false,
        details: None,
    };
    JoinedRow {
        cost_pico_usd: Some(1_234_500_000_000),
        ..joined("id-1", outcome)
    }
}

fn unsent_row() -> JoinedRow<'static> {
    let request = RequestRow {
        custom_id: None,
        request_hash: None,
        unsent: Some("too_large: too large"),
        tag: None,
    };
    JoinedRow {
        sent_as: None,
        request,
        status: Status::Unsent,
        attempts: Vec::new(),
        chosen: None,
        answer: None,
        cost_pico_usd: None,
    }
}

/// Writes input rows, each with the same joined row, in batches of a few rows; gives back the file.
fn write(
    folder: &Path,
    spec: &OutputSpec,
    source: &RecordBatch,
    row: &JoinedRow<'_>,
    step: usize,
) -> PathBuf {
    let schema = OutputSchema::new(&source.schema(), &[], spec).unwrap();
    let path = folder.join(&spec.path);
    let metadata = vec![
        ("rowmill.run".to_owned(), "r1".to_owned()),
        ("rowmill.simulated".to_owned(), "true".to_owned()),
    ];
    let mut writer = OutputWriter::create(spec, &path, &schema, metadata).unwrap();
    let mut rows = RowBuilders::new(&schema, None, step);
    for from in (0..source.num_rows()).step_by(step) {
        let piece = source.slice(from, step.min(source.num_rows() - from));
        (0..piece.num_rows()).for_each(|_| rows.append(row));
        writer.write(&rows.finish(&piece).unwrap()).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(
        (summary.rows, summary.bytes),
        (
            source.num_rows() as u64,
            std::fs::metadata(&path).unwrap().len()
        )
    );
    path
}

/// Writes one table with a format derived from the name, and gives back the text.
fn written_text(name: &str, source: &RecordBatch) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::read_to_string(write(
        folder.path(),
        &OutputSpec::new(name),
        source,
        &unsent_row(),
        100,
    ))
    .unwrap()
}

fn read_parquet(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

fn read_ipc(path: &Path) -> RecordBatch {
    let reader = FileReader::try_new(File::open(path).unwrap(), None).unwrap();
    let schema = reader.schema();
    let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

/// The input's columns of an output.
fn input_part(output: &RecordBatch, columns: usize) -> RecordBatch {
    let fields: Vec<_> = output.schema().fields()[..columns].to_vec();
    let options = RecordBatchOptions::new().with_row_count(Some(output.num_rows()));
    RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        output.columns()[..columns].to_vec(),
        &options,
    )
    .unwrap()
}
