//! Packing, spooling and writing bodies: rows per second, and bytes of text or body per second.
//!
//! A chunk is 8,192 rows of one text column; a request is that text with some words around it,
//! about 500 bytes. The head has 1 KiB.

#![allow(missing_docs)] // divan's macros make items without

mod text;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rowmill::batch::{
    BatchBody as _, Limits, Packer, SpoolReader, SpoolRows, SpoolRowsBuilder, SpoolWriter,
    SpooledBatch,
};
use rowmill::batch::{SpooledBody, verify};
use rowmill::provider::anthropic::ENVELOPE;

const ROWS: usize = 8_192;
const STRETCHES: usize = 8;

fn main() {
    text::announce();
    divan::main();
}

fn head() -> Arc<[u8]> {
    [
        b"{\"model\":\"m\",\"max_tokens\":9,\"system\":\"",
        "s".repeat(1_024).as_bytes(),
        b"\",",
    ]
    .concat()
    .into()
}

fn stretch(first: usize, texts: &[String]) -> SpoolRows {
    let mut builder = SpoolRowsBuilder::default();
    for (row, text) in (first..).zip(texts) {
        let text_in_json = serde_json::to_string(text).expect("text is JSON");
        let fragment = format!(r#""messages":[{{"role":"user","content":{text_in_json}}}]}}"#);
        let hash = format!(
            "{:032x}",
            (row as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        );
        builder.push_request(
            row as u64,
            &format!("id = {row}"),
            &format!("k3v9q2-{row}"),
            &hash,
            fragment.as_bytes(),
        );
    }
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    builder.finish(RecordBatch::try_from_iter([("text", column)]).expect("one column"))
}

fn stretches() -> Vec<SpoolRows> {
    let texts = text::texts(STRETCHES * ROWS);
    texts
        .chunks(ROWS)
        .enumerate()
        .map(|(n, texts)| stretch(n * ROWS, texts))
        .collect()
}

/// The bytes of the fragments, which are most of the written data.
fn fragment_bytes(stretches: &[SpoolRows]) -> BytesCount {
    BytesCount::new(
        stretches
            .iter()
            .map(|rows| rows.fragment.value_data().len())
            .sum::<usize>(),
    )
}

fn spool(path: &Path, stretches: &[SpoolRows]) -> SpooledBatch {
    let mut writer =
        SpoolWriter::create(path, 1, ENVELOPE, head(), stretches[0].columns.schema_ref())
            .expect("the folder is there");
    for rows in stretches {
        writer.write(rows).expect("the rows fit");
    }
    writer.finish().expect("the disk has room")
}

/// The baseline, memory speed: copies the bytes of a body once.
#[divan::bench(sample_count = 20)]
fn copy_as_many_bytes(bencher: Bencher) {
    let bytes = vec![7_u8; 98 << 20];
    let mut out = Vec::with_capacity(bytes.len());
    bencher
        .counter(BytesCount::of_slice(bytes.as_slice()))
        .bench_local(|| {
            out.clear();
            out.extend_from_slice(black_box(&bytes));
        });
}

#[divan::bench]
fn pack(bencher: Bencher) {
    let limits = Limits {
        max_requests: 10_000,
        max_bytes: 250_000_000,
    };
    bencher.counter(ItemsCount::new(ROWS * 16)).bench_local(|| {
        let mut packer = Packer::for_head(limits, &ENVELOPE, 1_100);
        for row in 0..ROWS * 16 {
            black_box(packer.offer(400 + (row as u64 & 127)));
        }
    });
}

#[divan::bench(sample_count = 20)]
fn write(bencher: Bencher) {
    let stretches = stretches();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    bencher
        .counter(ItemsCount::new(ROWS * STRETCHES))
        .counter(fragment_bytes(&stretches))
        .bench_local(|| spool(&path, &stretches));
}

/// The baseline for writing: the same columns through the Parquet crate, without checks, hashes and
/// sync.
#[divan::bench(sample_count = 20)]
fn write_by_the_crate_alone(bencher: Bencher) {
    let stretches = stretches();
    let batch = |rows: &SpoolRows| {
        let text = Arc::clone(rows.columns.column(0));
        let leading = [&rows.custom_id, &rows.request_hash, &rows.unsent, &rows.key]
            .map(|column| Arc::new(column.clone()) as ArrayRef);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(rows.row_index.clone()),
            Arc::new(rows.fragment.clone()),
            text,
        ];
        columns.extend(leading);
        let names = (0..).map(|n: usize| n.to_string());
        RecordBatch::try_from_iter_with_nullable(
            names
                .zip(columns)
                .map(|(name, column)| (name, column, true)),
        )
        .expect("one length")
    };
    let batches: Vec<RecordBatch> = stretches.iter().map(batch).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    bencher
        .counter(ItemsCount::new(ROWS * STRETCHES))
        .counter(fragment_bytes(&stretches))
        .bench_local(|| {
            let zstd = Compression::ZSTD(ZstdLevel::default());
            let properties = WriterProperties::builder()
                .set_compression(zstd)
                .set_dictionary_enabled(false)
                .build();
            let file = File::create(&path).expect("the folder is there");
            let mut writer = ArrowWriter::try_new(file, batches[0].schema(), Some(properties))
                .expect("a writer");
            for batch in &batches {
                writer.write(batch).expect("the rows fit");
                writer.flush().expect("the disk has room");
            }
            writer.close().expect("the disk has room");
        });
}

#[divan::bench(sample_count = 20)]
fn read(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    let stretches = stretches();
    spool(&path, &stretches);
    bencher
        .counter(ItemsCount::new(ROWS * STRETCHES))
        .counter(fragment_bytes(&stretches))
        .bench_local(|| {
            let rows = SpoolReader::open(&path)
                .expect("it was written")
                .map(|rows| rows.expect("it reads").len());
            assert_eq!(rows.sum::<usize>(), ROWS * STRETCHES);
        });
}

#[divan::bench(sample_count = 20)]
fn read_without_fragments(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    let stretches = stretches();
    spool(&path, &stretches);
    bencher
        .counter(ItemsCount::new(ROWS * STRETCHES))
        .counter(fragment_bytes(&stretches))
        .bench_local(|| {
            let reader = SpoolReader::open_without_fragments(&path).expect("it was written");
            assert_eq!(
                reader
                    .map(|rows| rows.expect("it reads").len())
                    .sum::<usize>(),
                ROWS * STRETCHES
            );
        });
}

#[divan::bench(sample_count = 20)]
fn make_body(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    let body = SpooledBody::new(&path, ENVELOPE, head(), &spool(&path, &stretches()));
    bencher
        .counter(ItemsCount::new(ROWS * STRETCHES))
        .counter(BytesCount::new(body.bytes()))
        .bench_local(|| {
            let chunks = body
                .chunks()
                .expect("it opens")
                .map(|chunk| chunk.expect("it reads").len() as u64);
            assert_eq!(chunks.sum::<u64>(), body.bytes());
        });
}

#[divan::bench(sample_count = 20)]
fn verify_file(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    let piece = spool(&path, &stretches());
    bencher
        .counter(BytesCount::new(piece.file_bytes))
        .bench_local(|| verify(&path, &piece.file_hash).expect("it is the same"));
}
