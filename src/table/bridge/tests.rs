//! Whatever crosses the bridge and comes back is what it was.

use arrow::array::{
    Array, BinaryArray, BooleanArray, BooleanBuilder, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, ListBuilder,
    StringArray, StringBuilder, StructArray, Time32SecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::*;

const ROWS: usize = 130;

fn column<T, A>(
    value: impl Strategy<Value = T> + 'static,
    build: fn(Vec<Option<T>>) -> A,
) -> BoxedStrategy<ArrayRef>
where
    T: std::fmt::Debug + 'static,
    A: Array + 'static,
{
    vec(weighted(0.8, value), 0..ROWS)
        .prop_map(move |values| Arc::new(build(values)) as ArrayRef)
        .boxed()
}

fn text() -> BoxedStrategy<String> {
    // Short texts stand inside a view, longer ones beside it.
    prop_oneof![
        Just(String::new()),
        Just("👩‍👩‍👧".to_owned()),
        "\\PC{0,12}",
        "\\PC{13,60}",
        "[a-z]{12,13}"
    ]
    .boxed()
}

fn floats() -> BoxedStrategy<f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0)
    ]
    .boxed()
}

fn timestamps(unit: TimeUnit, zone: Option<&'static str>) -> BoxedStrategy<ArrayRef> {
    let data_type = DataType::Timestamp(unit, zone.map(Arc::from));
    vec(weighted(0.8, -(1_i64 << 52)..(1_i64 << 52)), 0..ROWS)
        .prop_map(move |values| cast(&Int64Array::from(values), &data_type).unwrap())
        .boxed()
}

fn lists() -> BoxedStrategy<ArrayRef> {
    let build = |rows: Vec<Option<Vec<Option<String>>>>| {
        let mut builder = ListBuilder::new(StringBuilder::new());
        rows.into_iter().for_each(|row| builder.append_option(row));
        Arc::new(builder.finish()) as ArrayRef
    };
    vec(weighted(0.8, vec(weighted(0.8, text()), 0..4)), 0..ROWS)
        .prop_map(build)
        .boxed()
}

fn structs() -> BoxedStrategy<ArrayRef> {
    let row = weighted(0.8, (weighted(0.8, text()), weighted(0.8, any::<i64>())));
    let build = |rows: Vec<Option<(Option<String>, Option<i64>)>>| {
        let mut valid = BooleanBuilder::new();
        rows.iter()
            .for_each(|row| valid.append_value(row.is_some()));
        let (names, numbers): (Vec<_>, Vec<_>) =
            rows.into_iter().map(Option::unwrap_or_default).unzip();
        let fields = [
            Field::new("name", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(names)),
            Arc::new(Int64Array::from(numbers)),
        ];
        let nulls = arrow::buffer::NullBuffer::new(valid.finish().values().clone());
        Arc::new(StructArray::new(
            fields.to_vec().into(),
            columns,
            Some(nulls),
        )) as ArrayRef
    };
    vec(row, 0..ROWS).prop_map(build).boxed()
}

/// Types that come back as they went.
fn unchanged() -> Vec<BoxedStrategy<ArrayRef>> {
    let mut all = vec![
        column(any::<bool>(), BooleanArray::from),
        column(any::<i8>(), Int8Array::from),
        column(any::<i16>(), Int16Array::from),
        column(any::<i32>(), Int32Array::from),
        column(any::<i64>(), Int64Array::from),
        column(any::<u32>(), UInt32Array::from),
        column(any::<u64>(), UInt64Array::from),
        column(any::<f32>(), Float32Array::from),
        column(floats(), Float64Array::from),
        column(text(), StringArray::from),
        column(any::<i32>(), Date32Array::from),
        column(vec(any::<u8>(), 0..20), |values| {
            BinaryArray::from_iter(values.iter().map(|value| value.as_deref())) // the builder takes slices
        }),
        lists(),
        structs(),
    ];
    for unit in [
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ] {
        all.extend([None, Some("UTC"), Some("Asia/Tokyo")].map(|zone| timestamps(unit, zone)));
    }
    all
}

/// Types that come back as another that holds the same values.
fn unpacked() -> Vec<BoxedStrategy<ArrayRef>> {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8));
    let as_type = |to: DataType| {
        column(text(), StringArray::from)
            .prop_map(move |text| cast(&text, &to).unwrap())
            .boxed()
    };
    vec![
        column(any::<u8>(), UInt8Array::from),
        column(any::<u16>(), UInt16Array::from),
        column(0..86_400, Time32SecondArray::from),
        column(-999_999_999_999_i128..999_999_999_999, |values| {
            Decimal128Array::from(values)
                .with_precision_and_scale(12, 2)
                .unwrap()
        }),
        (0..ROWS)
            .prop_map(|rows| Arc::new(NullArray::new(rows)) as ArrayRef)
            .boxed(),
        timestamps(TimeUnit::Second, None),
        timestamps(TimeUnit::Microsecond, Some("-03:30")),
        as_type(dictionary),
        as_type(DataType::Utf8View),
        as_type(DataType::LargeUtf8),
    ]
}

/// Each column, cut anywhere, must be unchanged after a round trip.
fn check(strategies: Vec<BoxedStrategy<ArrayRef>>, cases: u32, same_type: bool) {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Config::default()
    };
    for strategy in strategies {
        let cut = (
            strategy,
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
        );
        TestRunner::new(config.clone())
            .run(&cut, |(whole, from, to)| {
                let (from, to) = (from.index(whole.len() + 1), to.index(whole.len() + 1));
                let array = whole.slice(from.min(to), from.abs_diff(to));
                let back = to_arrow(&to_polars("column", &array).unwrap()).unwrap();
                let expected = result_type(&polars_type(array.data_type()).unwrap());
                prop_assert_eq!(back.data_type(), &expected);
                prop_assert!(
                    !same_type || back.data_type() == array.data_type(),
                    "{}",
                    back.data_type()
                );
                prop_assert_eq!(&back, &cast(&array, &expected).unwrap());
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn arrow_to_polars_and_back_keeps_values_nulls_and_types() {
    check(unchanged(), 48, true);
}

#[test]
fn what_polars_does_not_know_comes_back_unpacked_with_the_same_values() {
    check(unpacked(), 32, false);
}

#[test]
fn a_large_slice_from_the_middle_keeps_its_values() {
    let text: ArrayRef =
        Arc::new(StringArray::from_iter((0..200_000).map(|n| {
            (n % 7 != 0).then(|| format!("row {n} of a long text 👍"))
        })));
    let list = ListArray::new(
        Arc::new(Field::new("item", DataType::Utf8, true)),
        arrow::buffer::OffsetBuffer::from_repeated_length(2, 100_000),
        Arc::clone(&text),
        None,
    );
    for array in [text, Arc::new(list) as ArrayRef] {
        let slice = array.slice(65_537, 20_001);
        let back = to_arrow(&to_polars("column", &slice).unwrap()).unwrap();
        assert_eq!(&back, &slice);
    }
}
