//! Golden answers: result lines, and the exact table that they give.
//!
//! One folder per case under `tests/it/golden/answers/`; a new case needs no Rust:
//!
//! ```text
//!  job.toml        the job, with the files that it names
//!  results.jsonl   result lines in the API's format, in any order;
//!                  a `custom_id` is the row's key
//!  table.jsonl     one line per row, as it is read back from the output, without rowmill's columns
//!                  that have no value, and without `_rm_request_hash`, `_rm_batch_id` and `_rm_attempt`
//!  columns.txt     the answer columns and the extra columns of the job, and their Arrow types as
//!                  they are read back
//!  refused.txt     instead of the three, for bad input: the stderr of `rowmill check`
//! ```
//!
//! `ROWMILL_BLESS=1 cargo test --test it golden_answers` writes the files again; review the
//! difference before you commit it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use rowmill::catalog::Catalog;
use rowmill::engine::CompiledJob;
use rowmill::job::JobFile;
use rowmill::join::{AttemptResults, Joiner, RequestRow, ResultIndex};
use rowmill::outcome::answer::Answers;
use rowmill::output::{self, COLUMNS, OutputWriter, RowBuilders};
use rowmill::provider::anthropic::result_line::{custom_id_of, parse_with};
use serde_json::{Map, Value};

use crate::golden_requests::{cases, copy, difference, refusal};
use crate::support::Workdir;

#[test]
fn reads_what_the_golden_cases_say() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for case in cases("answers") {
        let found = match case.join("refused.txt").exists() {
            true => vec![("refused.txt", refusal(&case))],
            false => table(&case),
        };
        wrong.extend(
            found
                .iter()
                .filter_map(|(name, found)| difference(&case.join(name), found)),
        );
        checked += 1;
    }
    assert!(checked >= 2, "there are golden cases");
    assert!(
        wrong.is_empty(),
        "{} files differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// Joins the case's rows with its results, writes the output, and reads it back.
fn table(case: &Path) -> Vec<(&'static str, String)> {
    let work = copy(case);
    let job =
        JobFile::read(&work.path("job.toml")).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let today = jiff::civil::date(2026, 11, 1);
    let compiled = CompiledJob::new(&job, today, &Arc::new(Catalog::builtin().clone()));
    let compiled = compiled.unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let source = source(&compiled);
    let ids: Vec<String> = (0..source.num_rows())
        .map(|row| {
            compiled
                .keys
                .key(&source, row, row as u64)
                .expect("a key")
                .plain()
        })
        .collect();
    write(&job, &compiled, &source, &ids, &work);
    let path = &compiled.output_path;
    let batch = if path.extension().is_some_and(|e| e == "arrow") {
        ipc(path)
    } else {
        crate::support::Table::read(path).batch
    };
    let prefix = &job.job.output.prefix;
    vec![
        ("columns.txt", columns(&batch, &source, prefix)),
        ("table.jsonl", lines(&batch, prefix)),
    ]
}

fn source(compiled: &CompiledJob) -> RecordBatch {
    let rows = compiled.source.scan(Some(&compiled.read)).expect("a scan");
    let batches: Vec<RecordBatch> = rows.map(|rows| rows.expect("rows").batch).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("one batch")
}

fn write(
    job: &JobFile,
    compiled: &CompiledJob,
    source: &RecordBatch,
    ids: &[String],
    work: &Workdir,
) {
    let results = fs::read(work.path("results.jsonl")).expect("results.jsonl");
    let scratch = tempfile::tempfile().expect("a scratch file");
    let (index, _) =
        ResultIndex::build(results.as_slice(), ids, custom_id_of, scratch).expect("an index");
    let attempt = AttemptResults {
        attempt: 1,
        batch_id: "batch".into(),
        index,
    };
    let answer = compiled.answer.as_ref();
    let wanted =
        output::wanted(&job.job.output.extra).or(answer.map(Answers::wanted).unwrap_or_default());
    let mut joiner = Joiner::new(vec![attempt], answer, |line| {
        parse_with(line, wanted).map(|line| (line.custom_id, line.outcome))
    });
    let mut rows = RowBuilders::new(&compiled.output, answer, ids.len());
    for id in ids {
        let request = RequestRow {
            custom_id: Some(id),
            request_hash: None,
            unsent: None,
            tag: None,
        };
        rows.append(&joiner.row(request).expect("a joined row"));
    }
    let spec = &job.job.output;
    let mut writer = OutputWriter::create(spec, &compiled.output_path, &compiled.output, vec![])
        .expect("a writer");
    writer
        .write(&rows.finish(source).expect("a batch"))
        .expect("written");
    writer.finish().expect("finished");
}

fn ipc(path: &Path) -> RecordBatch {
    let reader = arrow::ipc::reader::FileReader::try_new(File::open(path).expect("a file"), None)
        .expect("Arrow IPC");
    reader
        .map(|batch| batch.expect("a batch"))
        .next()
        .expect("one batch")
}

fn columns(batch: &RecordBatch, source: &RecordBatch, prefix: &str) -> String {
    let usual = |name: &str| {
        COLUMNS
            .iter()
            .any(|column| format!("{prefix}{}", column.name) == name)
    };
    let fields = batch.schema();
    let told = fields
        .fields()
        .iter()
        .filter(|field| source.column_by_name(field.name()).is_none() && !usual(field.name()));
    told.map(|field| format!("{}: {}\n", field.name(), in_words(field.data_type())))
        .collect()
}

/// A complete type, without the nullability of its parts.
fn in_words(data_type: &DataType) -> String {
    let inner = |field: &Field| in_words(field.data_type());
    match data_type {
        DataType::List(item) => format!("list({})", inner(item)),
        DataType::Struct(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|field| format!("{}: {}", field.name(), inner(field)))
                .collect();
            format!("struct({})", members.join(", "))
        }
        DataType::Dictionary(_, values) => format!("dictionary({})", in_words(values)),
        other => rowmill::source::type_name(other),
    }
}

fn lines(batch: &RecordBatch, prefix: &str) -> String {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch).expect("JSON");
    let text = String::from_utf8(writer.into_inner()).expect("UTF-8");
    let quiet = ["request_hash", "batch_id", "attempt"].map(|name| format!("{prefix}{name}"));
    let told = |line: &str| {
        let mut row: Map<String, Value> = serde_json::from_str(line).expect("an object");
        row.retain(|name, value| {
            !(quiet.contains(name) || (name.starts_with(prefix) && value.is_null()))
        });
        format!("{}\n", Value::Object(row))
    };
    text.lines().map(told).collect()
}
