//! Expressions and profiles over batches of 65,536 rows, each compared with a hand-written version
//! on arrow kernels.
//!
//! Compare only within one run: the ratio of an expression to its kernel is the cost of the bridge
//! and the planner.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, Scalar, StringArray, StringBuilder,
};
use arrow::compute::kernels::cmp::{eq, gt_eq};
use arrow::compute::{and, filter_record_batch, prep_null_mask_filter};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rowmill::profile::Profiler;
use rowmill::table::Expression;

const ROWS: usize = 65_536;

fn main() {
    divan::main();
}

/// Reviews as read from a file: a key, a language, a rating with nulls and a text of a few hundred
/// characters.
fn batch() -> RecordBatch {
    let languages = ["en", "de", "ko", "fr", "es"];
    let text = |row: usize| {
        format!(
            "Review {row}: {}",
            "the plot was thin, the music was not. ".repeat(1 + row % 12)
        )
    };
    let columns: [(&str, ArrayRef); 4] = [
        (
            "id",
            Arc::new(StringArray::from_iter_values(
                (0..ROWS).map(|row| format!("rec-{row:08}")),
            )),
        ),
        (
            "lang",
            Arc::new(StringArray::from_iter_values(
                (0..ROWS).map(|row| languages[row % languages.len()]),
            )),
        ),
        (
            "rating",
            Arc::new(Int32Array::from_iter(
                (0..ROWS).map(|row| (row % 11 != 0).then_some((row % 5) as i32)),
            )),
        ),
        (
            "text",
            Arc::new(StringArray::from_iter_values((0..ROWS).map(text))),
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn strings(batch: &RecordBatch, column: usize) -> &StringArray {
    batch
        .column(column)
        .as_any()
        .downcast_ref()
        .expect("a text column")
}

#[divan::bench]
fn filter_by_expression(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let condition = Expression::parse_predicate("rating >= 4 AND lang = 'en'", &batch.schema())
        .expect("a condition");
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let mask = condition.mask(black_box(&batch)).expect("a mask");
        filter_record_batch(&batch, &mask)
    });
}

#[divan::bench]
fn filter_by_hand(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let (four, english) = (
        Scalar::new(Int32Array::from(vec![4])),
        Scalar::new(StringArray::from(vec!["en"])),
    );
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let batch = black_box(&batch);
        let good = gt_eq(batch.column(2), &four).expect("numbers");
        let mask: BooleanArray =
            and(&good, &eq(batch.column(1), &english).expect("texts")).expect("one length");
        filter_record_batch(batch, &prep_null_mask_filter(&mask))
    });
}

#[divan::bench]
fn derive_by_expression(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let derived = Expression::parse("lang || ': ' || SUBSTR(text, 1, 80)", &batch.schema())
        .expect("an expression");
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench(|| derived.evaluate(black_box(&batch)));
}

#[divan::bench]
fn derive_by_hand(bencher: Bencher<'_, '_>) {
    let batch = batch();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let batch = black_box(&batch);
        let mut derived = StringBuilder::with_capacity(ROWS, ROWS * 84);
        for (lang, text) in strings(batch, 1).iter().zip(strings(batch, 3)) {
            let (lang, text) = (lang.unwrap_or(""), text.unwrap_or(""));
            let end = text
                .char_indices()
                .nth(80)
                .map_or(text.len(), |(end, _)| end);
            derived.append_value(format!("{lang}: {}", &text[..end]));
        }
        derived.finish()
    });
}

#[divan::bench(sample_count = 20)]
fn profile(bencher: Bencher<'_, '_>) {
    let batch = batch();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let mut profiler = Profiler::new(&batch.schema());
        profiler.add(black_box(&batch));
        profiler.finish()
    });
}
