//! One cell of a table, whatever Arrow type its column has.
//!
//! [`cell`] looks through dictionaries and run ends and gives what exists there as one of few
//! kinds; templates and row keys both start from it, so that a cell reads the same in a prompt and
//! in a key.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, ArrowTemporalType, DataType, Date32Type, Date64Type, Decimal32Type,
    Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::source::types::{any_in, find_in};

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CellValue<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Only what does not fit [`CellValue::Int`].
    UInt(u64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Date(Date),
    Time(Time),
    /// A date and time without a zone.
    DateTime(DateTime),
    /// A point in time, with the name of the zone it is shown in.
    Instant(Timestamp, &'a str),
    Duration(SignedDuration),
    /// The exact decimal text.
    Decimal(String),
    /// A list, struct or map.
    Nested,
    /// Something rarer, as Arrow writes it: an interval, a union, a date out of range.
    Other(String),
}

/// Looks through dictionaries and run ends to the array and the place where the cell's value
/// stands; `None` is null.
pub(crate) fn resolve(mut array: &ArrayRef, mut row: usize) -> Option<(&ArrayRef, usize)> {
    macro_rules! dictionary {
        ($($key:ty),*) => { $(if let Some(dictionary) = array.as_dictionary_opt::<$key>() {
            row = dictionary.key(row)?;
            array = dictionary.values();
            continue;
        })* };
    }
    macro_rules! runs {
        ($($end:ty),*) => { $(if let Some(runs) = array.as_run_opt::<$end>() {
            row = runs.get_physical_index(row);
            array = runs.values();
            continue;
        })* };
    }
    loop {
        if *array.data_type() == DataType::Null || array.is_null(row) {
            return None;
        }
        match array.data_type() {
            DataType::Dictionary(..) => {
                dictionary!(
                    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
                    UInt64Type
                );
            }
            DataType::RunEndEncoded(..) => {
                runs!(Int16Type, Int32Type, Int64Type);
            }
            _ => {}
        }
        return Some((array, row));
    }
}

/// What stands in a row of an array.
pub(crate) fn cell(array: &ArrayRef, row: usize) -> CellValue<'_> {
    match resolve(array, row) {
        Some((array, row)) => plain(array, row),
        None => CellValue::Null,
    }
}

fn plain(array: &ArrayRef, row: usize) -> CellValue<'_> {
    fn get<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
        array.as_primitive::<T>().value(row)
    }
    let known = match array.data_type() {
        DataType::Utf8 => Some(CellValue::Text(array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Some(CellValue::Text(array.as_string::<i64>().value(row))),
        DataType::Utf8View => Some(CellValue::Text(array.as_string_view().value(row))),
        DataType::Boolean => Some(CellValue::Bool(array.as_boolean().value(row))),
        DataType::Int8 => Some(CellValue::Int(get::<Int8Type>(array, row).into())),
        DataType::Int16 => Some(CellValue::Int(get::<Int16Type>(array, row).into())),
        DataType::Int32 => Some(CellValue::Int(get::<Int32Type>(array, row).into())),
        DataType::Int64 => Some(CellValue::Int(get::<Int64Type>(array, row))),
        DataType::UInt8 => Some(CellValue::Int(get::<UInt8Type>(array, row).into())),
        DataType::UInt16 => Some(CellValue::Int(get::<UInt16Type>(array, row).into())),
        DataType::UInt32 => Some(CellValue::Int(get::<UInt32Type>(array, row).into())),
        DataType::UInt64 => {
            let value = get::<UInt64Type>(array, row);
            Some(i64::try_from(value).map_or(CellValue::UInt(value), CellValue::Int))
        }
        DataType::Float16 => Some(CellValue::Float(shortest(
            get::<Float16Type>(array, row).to_f32(),
        ))),
        DataType::Float32 => Some(CellValue::Float(shortest(get::<Float32Type>(array, row)))),
        DataType::Float64 => Some(CellValue::Float(get::<Float64Type>(array, row))),
        DataType::Binary => Some(CellValue::Bytes(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Some(CellValue::Bytes(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Some(CellValue::Bytes(array.as_binary_view().value(row))),
        DataType::FixedSizeBinary(_) => {
            Some(CellValue::Bytes(array.as_fixed_size_binary().value(row)))
        }
        DataType::Decimal32(..) => Some(CellValue::Decimal(
            array.as_primitive::<Decimal32Type>().value_as_string(row),
        )),
        DataType::Decimal64(..) => Some(CellValue::Decimal(
            array.as_primitive::<Decimal64Type>().value_as_string(row),
        )),
        DataType::Decimal128(..) => Some(CellValue::Decimal(
            array.as_primitive::<Decimal128Type>().value_as_string(row),
        )),
        DataType::Decimal256(..) => Some(CellValue::Decimal(
            array.as_primitive::<Decimal256Type>().value_as_string(row),
        )),
        DataType::Date32 => date(i64::from(get::<Date32Type>(array, row)) * 86_400)
            .map(|at| CellValue::Date(at.date())),
        DataType::Date64 => date(get::<Date64Type>(array, row).div_euclid(1_000))
            .map(|at| CellValue::Date(at.date())),
        DataType::Time32(_) | DataType::Time64(_) => time_of_day(array, row).map(CellValue::Time),
        DataType::Timestamp(unit, zone) => timestamp(array, row, *unit).map(|at| match zone {
            Some(zone) => CellValue::Instant(at, zone),
            None => CellValue::DateTime(TimeZone::UTC.to_datetime(at)),
        }),
        DataType::Duration(unit) => Some(CellValue::Duration(duration(array, row, *unit))),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Struct(_)
        | DataType::Map(..) => Some(CellValue::Nested),
        _ => None,
    };
    known.unwrap_or_else(|| as_arrow_writes_it(array, row))
}

/// A single-precision number as the double with the same shortest decimal text: 0.1, not
/// 0.10000000149.
fn shortest(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(value))
}

fn date(seconds: i64) -> Option<DateTime> {
    Timestamp::from_second(seconds)
        .ok()
        .map(|at| TimeZone::UTC.to_datetime(at))
}

fn time_of_day(array: &ArrayRef, row: usize) -> Option<Time> {
    let nanos = match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            i64::from(array.as_primitive::<Time32SecondType>().value(row))
                .checked_mul(1_000_000_000)
        }
        DataType::Time32(_) => i64::from(array.as_primitive::<Time32MillisecondType>().value(row))
            .checked_mul(1_000_000),
        DataType::Time64(TimeUnit::Microsecond) => array
            .as_primitive::<Time64MicrosecondType>()
            .value(row)
            .checked_mul(1_000),
        _ => Some(array.as_primitive::<Time64NanosecondType>().value(row)),
    }?;
    // 24:00:00 and negative times exist in files and are no time of a day.
    (0..86_400_000_000_000)
        .contains(&nanos)
        .then(|| Time::midnight().wrapping_add(SignedDuration::from_nanos(nanos)))
}

fn timestamp(array: &ArrayRef, row: usize, unit: TimeUnit) -> Option<Timestamp> {
    match unit {
        TimeUnit::Second => Timestamp::from_second(raw::<TimestampSecondType>(array, row)),
        TimeUnit::Millisecond => {
            Timestamp::from_millisecond(raw::<TimestampMillisecondType>(array, row))
        }
        TimeUnit::Microsecond => {
            Timestamp::from_microsecond(raw::<TimestampMicrosecondType>(array, row))
        }
        TimeUnit::Nanosecond => {
            Timestamp::from_nanosecond(raw::<TimestampNanosecondType>(array, row).into())
        }
    }
    .ok()
}

fn duration(array: &ArrayRef, row: usize, unit: TimeUnit) -> SignedDuration {
    match unit {
        TimeUnit::Second => SignedDuration::from_secs(raw::<DurationSecondType>(array, row)),
        TimeUnit::Millisecond => {
            SignedDuration::from_millis(raw::<DurationMillisecondType>(array, row))
        }
        TimeUnit::Microsecond => {
            SignedDuration::from_micros(raw::<DurationMicrosecondType>(array, row))
        }
        TimeUnit::Nanosecond => {
            SignedDuration::from_nanos(raw::<DurationNanosecondType>(array, row))
        }
    }
}

fn raw<T: ArrowTemporalType<Native = i64>>(array: &ArrayRef, row: usize) -> i64 {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.value(row)
}

fn as_arrow_writes_it(array: &ArrayRef, row: usize) -> CellValue<'_> {
    let options = FormatOptions::default().with_display_error(true);
    match ArrayFormatter::try_new(array.as_ref(), &options) {
        Ok(formatter) => CellValue::Other(formatter.value(row).to_string()),
        Err(_) => CellValue::Other(format!("a value of type {}", array.data_type())),
    }
}

/// The text of a point in time in its zone, after RFC 3339; in UTC, with `Z`, where the zone is UTC
/// or not known here.
pub(crate) fn instant_text(at: Timestamp, zone_name: &str) -> String {
    match zone(zone_name) {
        Some(zone) if zone != TimeZone::UTC => {
            at.display_with_offset(zone.to_offset(at)).to_string()
        }
        _ => at.to_string(),
    }
}

/// The zone of a name or an offset such as `+02:00`.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if matches!(
        name,
        "UTC" | "utc" | "Z" | "Etc/UTC" | "+00:00" | "-00:00" | "+0000"
    ) {
        return Some(TimeZone::UTC);
    }
    match fixed_offset(name) {
        Some(offset) => Some(TimeZone::fixed(offset)),
        None => TimeZone::get(name).ok(),
    }
}

fn fixed_offset(name: &str) -> Option<Offset> {
    let sign = if name.starts_with('-') { -1 } else { 1 };
    let digits = name.strip_prefix(['+', '-'])?.replace(':', "");
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let seconds = hours.parse::<i32>().ok()? * 3_600 + minutes.parse::<i32>().unwrap_or(0) * 60;
    Offset::from_seconds(sign * seconds).ok()
}

/// The first zone in a type, at any depth, that is not known on this machine.
pub(crate) fn unknown_zone(data_type: &DataType) -> Option<&str> {
    find_in(data_type, &|part| match part {
        DataType::Timestamp(_, Some(name)) => zone(name).is_none().then_some(name.as_ref()),
        _ => None,
    })
}

/// Whether a prompt can show values of a type as they are: neither bytes nor times of a zone that
/// is not known on this machine, at any depth.
#[must_use]
pub fn can_be_shown(data_type: &DataType) -> bool {
    let is_bytes =
        |part: &DataType| part.is_binary() || matches!(part, DataType::FixedSizeBinary(_));
    !any_in(data_type, is_bytes) && unknown_zone(data_type).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Date32Array, DictionaryArray, Float32Array, NullArray, RunArray, StringArray,
        Time32SecondArray, TimestampSecondArray, UInt64Array,
    };
    use std::sync::Arc;

    #[test]
    fn looks_through_dictionaries_and_run_ends() {
        let values = StringArray::from(vec![Some("a"), None]);
        let dictionary: ArrayRef = Arc::new(
            DictionaryArray::<Int32Type>::try_new(
                vec![Some(0), Some(1), None].into(),
                Arc::new(values.clone()),
            )
            .unwrap(),
        );
        assert_eq!(
            [0, 1, 2].map(|row| cell(&dictionary, row)),
            [CellValue::Text("a"), CellValue::Null, CellValue::Null]
        );
        let runs: ArrayRef =
            Arc::new(RunArray::<Int32Type>::try_new(&vec![2, 3].into(), &values).unwrap());
        assert_eq!(
            [0, 1, 2].map(|row| cell(&runs, row)),
            [CellValue::Text("a"), CellValue::Text("a"), CellValue::Null]
        );
        let nulls: ArrayRef = Arc::new(NullArray::new(1));
        assert_eq!(cell(&nulls, 0), CellValue::Null);
    }

    #[test]
    fn keeps_numbers_exact() {
        let big: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
        assert_eq!(
            [cell(&big, 0), cell(&big, 1)],
            [CellValue::Int(1), CellValue::UInt(u64::MAX)]
        );
        let single: ArrayRef = Arc::new(Float32Array::from(vec![0.1]));
        assert_eq!(cell(&single, 0), CellValue::Float(0.1));
    }

    #[test]
    fn survives_dates_and_times_out_of_range() {
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![0, i32::MAX, i32::MIN]));
        assert_eq!(
            cell(&dates, 0),
            CellValue::Date(jiff::civil::date(1970, 1, 1))
        );
        let times: ArrayRef = Arc::new(Time32SecondArray::from(vec![86_399, 86_400, -1]));
        assert_eq!(
            cell(&times, 0),
            CellValue::Time(jiff::civil::time(23, 59, 59, 0))
        );
        let stamps: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MIN, i64::MAX]));
        for (array, rows) in [(&dates, 1..3), (&times, 1..3), (&stamps, 0..2)] {
            for row in rows {
                assert!(
                    matches!(cell(array, row), CellValue::Other(_)),
                    "{} {row}",
                    array.data_type()
                );
            }
        }
    }

    #[test]
    fn shows_points_in_time_in_their_zone() {
        let at: Timestamp = "2024-07-01T12:00:00Z".parse().unwrap();
        for (zone, text) in [
            ("UTC", "2024-07-01T12:00:00Z"),
            ("+02:00", "2024-07-01T14:00:00+02:00"),
            ("-0330", "2024-07-01T08:30:00-03:30"),
            ("+02", "2024-07-01T14:00:00+02:00"),
            ("Nowhere/At all", "2024-07-01T12:00:00Z"),
        ] {
            assert_eq!(instant_text(at, zone), text, "{zone}");
        }
    }
}
