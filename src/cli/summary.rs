//! What a run came to: where the output is, what is in it, and a few joined rows.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rowmill::outcome::Status;
use rowmill::pipeline::{Run, export::Summary};
use serde_json::{Value, json};

use super::explain::{self, Failure};
use super::screen::{Screen, count, table};

/// Rows shown of an output.
const ROWS: usize = 5;
/// Characters shown of a cell.
const CELL: usize = 44;

/// Shows what was written, and gives the exit code that tells whether all of it is good.
pub(crate) fn show(run: &Run, summary: &Summary, screen: &Screen) -> Result<u8, Failure> {
    let code = if summary.all_succeeded() { explain::DONE } else { explain::PARTLY };
    if screen.json {
        screen.json(&of_run(run));
        return Ok(code);
    }
    let statuses = Status::ALL.iter().filter(|s| summary.totals.count(**s) > 0);
    let statuses: Vec<String> = statuses.map(|s| format!("{} {s}", count(summary.totals.count(*s)))).collect();
    screen.say(format!("rows       {}", statuses.join(", ")));
    let usage = summary.totals.usage();
    let tokens = |n: Option<u64>| count(n.unwrap_or(0));
    screen.say(format!(
        "tokens     {} in, {} written to the cache, {} read from it, {} out",
        tokens(usage.input_tokens),
        count(usage.cache_creation_5m_input_tokens.unwrap_or(0) + usage.cache_creation_1h_input_tokens.unwrap_or(0)),
        tokens(usage.cache_read_input_tokens),
        tokens(usage.output_tokens)
    ));
    let Some(path) = &summary.path else {
        screen.warn("the output is held back: fewer rows succeeded than `output.min_success` asks for");
        return Ok(code);
    };
    if let Some(rows) = first_rows(path, run.plan().answer_schema.is_some()) {
        screen.data(rows);
    }
    screen.data(path.display().to_string());
    if run.is_simulated() {
        screen.banner();
    }
    Ok(code)
}

/// A run as data.
pub(crate) fn of_run(run: &Run) -> Value {
    serde_json::to_value(run.manifest(jiff::Timestamp::now())).unwrap_or_else(|e| json!({ "error": e.to_string() }))
}

/// The first rows of a Parquet output as a table: the first columns, the answer and the status.
fn first_rows(path: &Path, is_typed: bool) -> Option<String> {
    if path.extension().is_none_or(|e| e != "parquet") {
        return None;
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    let batch = reader.with_limit(ROWS).with_batch_size(ROWS).build().ok()?.next()?.ok()?;
    let shown = shown_columns(&batch, is_typed);
    let format = FormatOptions::default();
    let columns: Vec<_> = shown.iter().filter_map(|&i| ArrayFormatter::try_new(batch.column(i), &format).ok()).collect();
    let head: Vec<String> = shown.iter().map(|&i| batch.schema().field(i).name().clone()).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows = (0..batch.num_rows()).map(|row| columns.iter().map(|column| cell(&column.value(row).to_string())).collect());
    Some(table(&head, rows))
}

/// Two columns of the source; of what came back the typed answer's first columns, or else the text; and the status.
fn shown_columns(batch: &RecordBatch, is_typed: bool) -> Vec<usize> {
    let schema = batch.schema();
    let position = |suffix: &str| schema.fields().iter().position(|f| f.name().ends_with(suffix));
    let Some(status) = position("_status") else { return (0..schema.fields().len().min(6)).collect() };
    let mut shown: Vec<usize> = (0..2.min(status)).collect();
    if is_typed {
        shown.extend((2..status).rev().take(4).collect::<Vec<_>>().into_iter().rev());
    } else {
        shown.extend(position("_text"));
    }
    shown.push(status);
    shown
}

fn cell(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= CELL { line } else { line.chars().take(CELL - 1).chain(['…']).collect() }
}
