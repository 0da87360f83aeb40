//! Rows to requests: rendering compared with `format!`, escaping compared with `serde_json`, keys
//! and duplicates; rows and bytes per second.
//!
//! Only ratios within one run are meaningful.

#![allow(missing_docs)] // divan's macros make items without

mod text;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use rowmill::catalog::Catalog;
use rowmill::request::custom_id::Nonce;
use rowmill::request::duplicates::DuplicateFinder;
use rowmill::request::keys::{KeySpec, Keys, OnDuplicate};
use rowmill::request::{RequestSpec, Requests};

const ROWS: usize = 8_192;

fn main() {
    text::announce();
    divan::main();
}

/// Rows of about 400 bytes of text, some of it quoted, some not Latin.
fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([
        (
            "id",
            Arc::new(Int64Array::from_iter_values(0..ROWS as i64)) as ArrayRef,
        ),
        (
            "category",
            Arc::new(StringArray::from_iter_values(
                (0..ROWS).map(|i| format!("category {}", i % 20)),
            )),
        ),
        (
            "rating",
            Arc::new(Float64Array::from_iter_values(
                (0..ROWS).map(|i| i as f64 / 7.0),
            )),
        ),
        ("text", Arc::new(StringArray::from(text::texts(ROWS)))),
    ])
    .expect("the columns have one length")
}

fn requests(template: &str, rows: &RecordBatch) -> Requests {
    let spec: RequestSpec = serde_json::from_value(serde_json::json!({
        "model": "claude-haiku-4-5", "max_tokens": 100, "system": "Sort the message into one of: \
            bug, question, praise.",
        "messages": [{"role": "user", "text": template}],
    }))
    .expect("the section is right");
    Requests::compile(&spec, Path::new("."), &rows.schema(), Catalog::builtin())
        .expect("the template is right")
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringArray {
    rows.column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref())
        .expect("a text column")
}

fn text_bytes(rows: &RecordBatch) -> BytesCount {
    BytesCount::new(column(rows, "text").value_data().len())
}

#[divan::bench]
fn fragments_from_a_template(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let requests = requests(
        "Category: {{ category }}\nText:\n{{ text }}\nAnswer with one word.",
        &rows,
    );
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(text_bytes(&rows))
        .bench_local(|| {
            out.clear();
            let rows = requests.rows(&rows);
            for row in 0..ROWS {
                rows.render(row, &mut out).expect("the row renders");
            }
            black_box(out.len())
        });
}

#[divan::bench]
fn fragments_from_a_template_with_a_loop_and_filters(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let template = "{% for name, cell in row|items %}{{ name|upper }}: \
        {{ cell|default('?') }}\n{% endfor %}{{ text|oneline|truncate(100) }}";
    let requests = requests(template, &rows);
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(text_bytes(&rows))
        .bench_local(|| {
            out.clear();
            let rows = requests.rows(&rows);
            for row in 0..ROWS {
                rows.render(row, &mut out).expect("the row renders");
            }
            black_box(out.len())
        });
}

/// What [`fragments_from_a_template`] does, written by hand with `format!` and `serde_json`.
#[divan::bench]
fn fragments_by_hand(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let (category, text) = (column(&rows, "category"), column(&rows, "text"));
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(text_bytes(&rows))
        .bench_local(|| {
            out.clear();
            for row in 0..ROWS {
                let start = out.len();
                let prompt = format!(
                    "Category: {}\nText:\n{}\nAnswer with one word.",
                    category.value(row),
                    text.value(row)
                );
                out.extend_from_slice(b"{\"role\":\"user\",\"content\":");
                serde_json::to_writer(&mut out, &prompt).expect("text is JSON");
                out.extend_from_slice(b"}]");
                black_box(blake3::hash(&out[start..]));
            }
            black_box(out.len())
        });
}

#[divan::bench]
fn escaping(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let text = column(&rows, "text");
    let mut out = Vec::new();
    bencher.counter(text_bytes(&rows)).bench_local(|| {
        out.clear();
        for text in text.iter().flatten() {
            json_escape_simd::escape_into(text, &mut out);
        }
        black_box(out.len())
    });
}

#[divan::bench]
fn escaping_by_serde_json(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let text = column(&rows, "text");
    let mut out = Vec::new();
    bencher.counter(text_bytes(&rows)).bench_local(|| {
        out.clear();
        for text in text.iter().flatten() {
            serde_json::to_writer(&mut out, text).expect("text is JSON");
        }
        black_box(out.len())
    });
}

#[divan::bench]
fn keys_and_custom_ids(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let spec = KeySpec {
        columns: vec!["id".to_owned(), "category".to_owned()],
        ..KeySpec::default()
    };
    let keys = Keys::new(&spec, &rows.schema()).expect("the columns make a key");
    let nonce = Nonce::new(7);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        for row in 0..ROWS {
            black_box(
                keys.key(&rows, row, row as u64)
                    .expect("the row has a key")
                    .custom_id(&nonce),
            );
        }
    });
}

#[divan::bench]
fn duplicates_of_a_million_rows(bencher: Bencher<'_, '_>) {
    const MANY: u64 = 1_000_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| {
        let mut finder = DuplicateFinder::new(folder.path(), OnDuplicate::Error);
        for row in 0..MANY {
            // Odd multipliers spread the hashes; one in a thousand occurs twice.
            let hash = u128::from(if row % 1_000 == 999 { row - 1 } else { row });
            finder
                .push(
                    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
                    row,
                )
                .expect("the folder takes files");
        }
        black_box(finder.finish().expect("the files can be read").groups)
    });
}
