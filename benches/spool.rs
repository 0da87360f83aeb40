//! Packing, spooling and making bodies: rows a second, and bytes of body a second.
//!
//! A stretch is 8,192 rows of one text column; a request is that text with some words around it, about 450 bytes. The head has 1 KiB.

#![allow(missing_docs)] // divan's macros make items without

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use rowmill::batch::{BatchBody as _, Limits, Packer, PieceSummary, SpoolReader, SpoolRows, SpoolRowsBuilder, SpoolWriter};
use rowmill::batch::{SpooledBody, verify};

const ROWS: usize = 8_192;
const STRETCHES: usize = 8;

fn main() {
    divan::main();
}

fn head() -> Arc<[u8]> {
    [b"{\"model\":\"m\",\"max_tokens\":9,\"system\":\"", "s".repeat(1_024).as_bytes(), b"\","].concat().into()
}

/// Text that compresses about as prose does.
fn text(row: usize) -> String {
    const WORDS: [&str; 16] = [
        "the", "parcel", "arrived", "late", "and", "nobody", "answered", "when", "I", "called", "about", "my", "refund", "in",
        "March", "again",
    ];
    let mut seed = row as u64 + 1;
    let words = (0..70).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(seed >> 60) as usize]
    });
    words.collect::<Vec<_>>().join(" ")
}

fn stretch(first: usize) -> SpoolRows {
    let texts: Vec<String> = (first..first + ROWS).map(text).collect();
    let mut builder = SpoolRowsBuilder::default();
    for (row, text) in (first..).zip(&texts) {
        let fragment = format!(r#""messages":[{{"role":"user","content":"Sort this message: {text}"}}]}}"#);
        let hash = format!("{:032x}", (row as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        builder.push_request(row as u64, &format!("id = {row}"), &format!("k3v9q2-{row}"), &hash, fragment.as_bytes());
    }
    let column: ArrayRef = Arc::new(StringArray::from(texts));
    builder.finish(RecordBatch::try_from_iter([("text", column)]).expect("one column"))
}

fn stretches() -> Vec<SpoolRows> {
    (0..STRETCHES).map(|n| stretch(n * ROWS)).collect()
}

fn spool(path: &Path, stretches: &[SpoolRows]) -> PieceSummary {
    let mut writer = SpoolWriter::create(path, 1, head(), stretches[0].columns.schema_ref()).expect("the folder is there");
    for rows in stretches {
        writer.write(rows).expect("the rows fit");
    }
    writer.finish().expect("the disk has room")
}

/// Memory speed, the yardstick: the same bytes as a body, copied once.
#[divan::bench]
fn copy_as_many_bytes(bencher: Bencher) {
    let bytes = vec![7_u8; 98 << 20];
    let mut out = Vec::with_capacity(bytes.len());
    bencher.counter(BytesCount::of_slice(bytes.as_slice())).bench_local(|| {
        out.clear();
        out.extend_from_slice(black_box(&bytes));
    });
}

#[divan::bench]
fn pack(bencher: Bencher) {
    let limits = Limits { max_requests: 10_000, max_bytes: 250_000_000 };
    bencher.counter(ItemsCount::new(ROWS * 16)).bench_local(|| {
        let mut packer = Packer::for_head(limits, 1_100);
        for row in 0..ROWS * 16 {
            black_box(packer.offer(400 + (row as u64 & 127)));
        }
    });
}

#[divan::bench]
fn write(bencher: Bencher) {
    let stretches = stretches();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    bencher.counter(ItemsCount::new(ROWS * STRETCHES)).bench_local(|| spool(&path, &stretches));
}

#[divan::bench]
fn read(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    spool(&path, &stretches());
    bencher.counter(ItemsCount::new(ROWS * STRETCHES)).bench_local(|| {
        let rows = SpoolReader::open(&path).expect("it was written").map(|rows| rows.expect("it reads").len());
        assert_eq!(rows.sum::<usize>(), ROWS * STRETCHES);
    });
}

#[divan::bench]
fn read_without_fragments(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    spool(&path, &stretches());
    bencher.counter(ItemsCount::new(ROWS * STRETCHES)).bench_local(|| {
        let reader = SpoolReader::open_without_fragments(&path).expect("it was written");
        assert_eq!(reader.map(|rows| rows.expect("it reads").len()).sum::<usize>(), ROWS * STRETCHES);
    });
}

#[divan::bench]
fn make_body(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    let body = SpooledBody::new(&path, head(), &spool(&path, &stretches()));
    bencher.counter(BytesCount::new(body.bytes())).bench_local(|| {
        let chunks = body.chunks().expect("it opens").map(|chunk| chunk.expect("it reads").len() as u64);
        assert_eq!(chunks.sum::<u64>(), body.bytes());
    });
}

#[divan::bench]
fn verify_file(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("00001.parquet");
    let piece = spool(&path, &stretches());
    bencher.counter(BytesCount::new(piece.file_bytes)).bench_local(|| verify(&path, &piece.file_hash).expect("it is the same"));
}
