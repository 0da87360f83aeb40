//! Profiles of small tables, and of real ones.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, ListBuilder,
    RecordBatch, StringArray, StringBuilder, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::*;

fn texts<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn profile(batches: &[RecordBatch]) -> Profile {
    let mut profiler = Profiler::new(&batches[0].schema());
    batches.iter().for_each(|batch| profiler.add(batch));
    profiler.finish()
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn counts_nulls_blanks_distinct_values_and_characters() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![
        Some("äöü"),
        None,
        Some(""),
        Some("  "),
        Some("äöü"),
        Some("a\n b"),
    ]));
    let column = &profile(&[table(vec![("text", column)])]).columns[0];
    assert_eq!((column.nulls, column.blanks), (1, 2));
    assert_eq!(
        (column.distinct, column.unique),
        (Distinct::Exact(4), Uniqueness::No)
    );
    assert_eq!(
        column.characters,
        Some(Characters {
            min: 0,
            mean: 12.0 / 5.0,
            max: 4
        })
    );
    assert_eq!(column.examples, ["äöü", "a b"]);
}

#[test]
fn a_key_has_every_value_once_and_no_null_over_all_batches() {
    let ids = |values: &[Option<i64>]| {
        table(vec![(
            "id",
            Arc::new(Int64Array::from(values.to_vec())) as ArrayRef,
        )])
    };
    let cases = [
        (vec![Some(1), Some(2)], vec![Some(3)], Uniqueness::Yes),
        (vec![Some(1), Some(2)], vec![Some(2)], Uniqueness::No),
        (vec![Some(1), Some(1)], vec![Some(2)], Uniqueness::No),
        (vec![Some(1)], vec![None], Uniqueness::No),
        (vec![], vec![], Uniqueness::Unknown),
    ];
    for (first, second, unique) in cases {
        assert_eq!(
            profile(&[ids(&first), ids(&second)]).columns[0].unique,
            unique,
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn long_texts_that_differ_in_the_last_letter_are_different() {
    let long = "x".repeat(200);
    let column = texts((0..100).map(|n| format!("{long}{n}")));
    assert_eq!(
        profile(&[table(vec![("text", column)])]).columns[0].distinct,
        Distinct::Exact(100)
    );
}

#[test]
fn the_same_text_counts_once_whatever_holds_it() {
    let plain = texts(["a", "a text that is longer than twelve bytes", "a"]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    for data_type in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary,
    ] {
        let column =
            &profile(&[table(vec![("text", cast(&plain, &data_type).unwrap())])]).columns[0];
        assert_eq!(column.distinct, Distinct::Exact(2), "{data_type}");
        assert_eq!(
            column.characters.map(|characters| characters.max),
            Some(39),
            "{data_type}"
        );
    }
}

#[test]
fn every_type_is_profiled_and_nested_ones_are_only_counted() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("a")]);
    lists.append_null();
    let batch = table(vec![
        ("int", Arc::new(Int64Array::from(vec![Some(7), None]))),
        ("float", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
        ("date", Arc::new(Date32Array::from(vec![0, 1]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, true]))),
        ("view", Arc::new(StringViewArray::from(vec!["a", "b"]))),
        (
            "bytes",
            Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None])),
        ),
        ("list", Arc::new(lists.finish())),
        (
            "nothing",
            Arc::new(arrow::array::NullArray::new(2)) as ArrayRef,
        ),
    ]);
    let profile = profile(&[batch]);
    let found: Vec<_> = profile
        .columns
        .iter()
        .map(|column| {
            (
                column.name.as_str(),
                column.nulls,
                column.distinct,
                column.looks_like,
                column.examples.join(","),
            )
        })
        .collect();
    let expected = [
        ("int", 1, Distinct::Exact(1), Some(ValueKind::Integer), "7"),
        (
            "float",
            0,
            Distinct::Exact(2),
            Some(ValueKind::Decimal),
            "1.5,NaN",
        ),
        (
            "date",
            0,
            Distinct::Exact(2),
            Some(ValueKind::Date),
            "1970-01-01,1970-01-02",
        ),
        (
            "flag",
            0,
            Distinct::Exact(1),
            Some(ValueKind::Boolean),
            "true",
        ),
        ("view", 0, Distinct::Exact(2), None, "a,b"),
        ("bytes", 1, Distinct::Unknown, None, ""),
        ("list", 1, Distinct::Unknown, None, ""),
        ("nothing", 2, Distinct::Unknown, None, ""),
    ];
    for (found, (name, nulls, distinct, kind, examples)) in found.into_iter().zip(expected) {
        assert_eq!(found, (name, nulls, distinct, kind, examples.to_owned()));
    }
}

#[test]
fn counting_stops_at_the_cap_where_a_value_comes_twice() {
    let rows = MAX_DISTINCT as i64 + 500;
    let numbers = |from: i64, to: i64| {
        table(vec![(
            "n",
            Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef,
        )])
    };
    let unique = &profile(&[numbers(0, rows)]).columns[0];
    assert_eq!(
        (unique.distinct, unique.unique),
        (Distinct::Exact(rows as u64), Uniqueness::Yes)
    );
    let repeated = &profile(&[numbers(0, rows), numbers(0, rows)]).columns[0];
    assert_eq!(
        (repeated.distinct, repeated.unique),
        (Distinct::AtLeast(rows as u64), Uniqueness::No)
    );
    let early = &profile(&[numbers(0, 2), numbers(0, rows)]).columns[0];
    assert_eq!(
        (early.distinct, early.unique),
        (Distinct::AtLeast(MAX_DISTINCT as u64 + 1), Uniqueness::No)
    );
}

#[test]
fn the_widest_columns_give_up_when_the_room_is_used_up() {
    let batch = table(vec![
        (
            "text",
            texts((0..100).map(|n| format!("a long text with the number {n}"))),
        ),
        ("id", texts((0..100).map(|n| format!("id-{n}")))),
    ]);
    for (max_hashes, expected) in [
        (200, [Uniqueness::Yes, Uniqueness::Yes]),
        (199, [Uniqueness::Unknown, Uniqueness::Yes]),
        (99, [Uniqueness::Unknown; 2]),
    ] {
        let mut profiler = Profiler::new(&batch.schema());
        profiler.max_hashes = max_hashes;
        profiler.add(&batch);
        let profile = profiler.finish();
        assert_eq!(
            [profile.columns[0].unique, profile.columns[1].unique],
            expected,
            "{max_hashes}"
        );
        assert!(profile.columns[0].distinct != Distinct::Unknown);
    }
}

#[test]
fn two_columns_may_be_the_key_together() {
    let tenants = || texts((0..60).map(|n| format!("tenant {}", n / 20)));
    let batch = |shift: usize| {
        table(vec![
            ("tenant", tenants()),
            (
                "status",
                texts((0..60).map(|n| if n % 2 == 0 { "new" } else { "done" })),
            ),
            (
                "ticket_no",
                texts((0..60).map(|n| format!("{}", n % 20 + shift))),
            ),
            (
                "text",
                texts((0..60).map(|n| format!("Where is my card number {}?", n % 7))),
            ),
        ])
    };
    let suggestion = suggest(&profile(&[batch(0), batch(20)]));
    assert_eq!(suggestion.key, ["tenant", "ticket_no"]);
    assert_eq!(suggestion.text.as_deref(), Some("text"));
    assert_eq!(
        suggest(&profile(&[batch(0), batch(0)])).key,
        Vec::<String>::new()
    );
}

#[test]
fn suggests_nothing_where_there_is_nothing() {
    let empty = profile(&[RecordBatch::new_empty(Arc::new(Schema::empty()))]);
    assert_eq!(suggest(&empty), Suggestion::default());
}

#[test]
fn agrees_with_a_plain_model_however_the_rows_are_cut() {
    let config = Config {
        cases: 128,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..Config::default()
    };
    let values = vec(weighted(0.97, "[ab]{0,3}|[a-z]{14,17}"), 0..60);
    TestRunner::new(config)
        .run(&(values, 1_usize..20), |(values, size)| {
            let column: ArrayRef = Arc::new(StringArray::from(values.clone()));
            let whole = RecordBatch::try_from_iter_with_nullable([("text", column, true)]).unwrap();
            let cut = (0..values.len().max(1))
                .step_by(size)
                .map(|from| whole.slice(from, size.min(values.len() - from)));
            let column = profile(&cut.collect::<Vec<_>>()).columns.remove(0);
            let texts: Vec<&String> = values.iter().flatten().collect();
            let distinct: HashSet<&String> = texts.iter().copied().collect();
            let unique = match values.len() {
                0 => Uniqueness::Unknown,
                rows if rows == distinct.len() => Uniqueness::Yes,
                _ => Uniqueness::No,
            };
            prop_assert_eq!(column.nulls as usize, values.len() - texts.len());
            prop_assert_eq!(column.distinct, Distinct::Exact(distinct.len() as u64));
            prop_assert_eq!(column.unique, unique);
            prop_assert_eq!(
                column.characters.map(|found| found.max),
                texts.iter().map(|text| text.len() as u64).max()
            );
            Ok(())
        })
        .unwrap();
}

fn read_csv(path: &std::path::Path) -> Vec<RecordBatch> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let batch = |records: &[csv::StringRecord]| {
        let column = |place: usize| -> ArrayRef {
            Arc::new(StringArray::from_iter(records.iter().map(|record| {
                Some(&record[place]).filter(|text| !text.is_empty())
            })))
        };
        RecordBatch::try_from_iter_with_nullable(
            names
                .iter()
                .enumerate()
                .map(|(place, name)| (name, column(place), true)),
        )
        .unwrap()
    };
    records.chunks(512).map(batch).collect()
}

#[test]
fn suggests_what_a_user_would_choose_for_the_samples() {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sample_data");
    let cases: [(&str, &str, Option<&str>, &[&str]); 3] = [
        (
            "tickets/tickets",
            "ticket_id",
            Some("body"),
            &[
                "country",
                "language",
                "channel",
                "customer_tier",
                "priority_hint",
            ],
        ),
        (
            "manual/questions",
            "question_id",
            Some("question"),
            &["channel"],
        ),
        ("plants/photos", "photo_id", Some("message"), &[]),
    ];
    for (name, key, text, categories) in cases {
        let profile = profile(&read_csv(&samples.join(format!("{name}.csv"))));
        let suggestion = suggest(&profile);
        assert_eq!(
            (
                suggestion.key.join("+").as_str(),
                suggestion.text.as_deref()
            ),
            (key, text),
            "{name}"
        );
        assert_eq!(suggestion.categories, categories, "{name}");
    }
}
