//! Text for the benches: film reviews if `ROWMILL_BENCH_DATA` names a folder with
//! `bench/movie_reviews_ko_300k.parquet` (column `review`), otherwise generated text.
//!
//! Figures from real and from generated text are not comparable, so a bench prints on stderr which
//! one it uses.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow::array::AsArray;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The approximate size of a row's text in bytes: a support message, a review, a paragraph.
const BYTES: usize = 400;

/// The parts of generated text.
const WORDS: [&str; 12] = [
    "the",
    "order",
    "\"arrived\"",
    "late,",
    "änderung",
    "返品",
    "and",
    "was",
    "broken\n",
    "🙂",
    "refund",
    "again",
];

/// Prints the kind of text before the first bench runs.
#[expect(
    clippy::print_stderr,
    reason = "figures are worth nothing without what they were measured on"
)]
pub(crate) fn announce() {
    eprintln!(
        "text: {}",
        if reviews().is_some() {
            "film reviews"
        } else {
            "made up; ROWMILL_BENCH_DATA names no reviews"
        }
    );
}

/// The texts of N rows, each of about 400 bytes, some with quotes, commas, line feeds and several
/// scripts.
pub(crate) fn texts(rows: usize) -> Vec<String> {
    match reviews() {
        Some(reviews) => joined(reviews.iter().cycle().map(String::as_str), rows),
        None => {
            let mut random = fastrand::Rng::with_seed(7);
            joined(
                std::iter::repeat_with(|| WORDS[random.usize(..WORDS.len())]),
                rows,
            )
        }
    }
}

/// Joins parts in order until each row has its size.
fn joined<'a>(mut parts: impl Iterator<Item = &'a str>, rows: usize) -> Vec<String> {
    let mut row = || {
        let mut text = String::with_capacity(BYTES + 200);
        while text.len() < BYTES {
            text.push_str(parts.next().unwrap_or_default());
            text.push(' ');
        }
        text
    };
    (0..rows).map(|_| row()).collect()
}

/// The folder of real tables from the environment.
pub(crate) fn bench_data() -> Option<PathBuf> {
    std::env::var_os("ROWMILL_BENCH_DATA").map(PathBuf::from)
}

fn reviews() -> Option<&'static [String]> {
    static REVIEWS: OnceLock<Option<Vec<String>>> = OnceLock::new();
    let read = || read_reviews(&bench_data()?.join("bench/movie_reviews_ko_300k.parquet"));
    REVIEWS.get_or_init(read).as_deref()
}

fn read_reviews(path: &Path) -> Option<Vec<String>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    let text = builder.schema().index_of("review").ok()?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), [text]);
    let mut reviews = Vec::new();
    for batch in builder.with_projection(mask).build().ok()? {
        let batch = batch.ok()?;
        reviews.extend(
            batch
                .column(0)
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned),
        );
    }
    (!reviews.is_empty()).then_some(reviews)
}
