//! Conversion of columns to the types that the job asks for, without loss.

use arrow::array::{Array, ArrayRef, AsArray, Datum, Scalar};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use arrow::error::ArrowError;

use super::types;

/// Whether a conversion between the types exists.
pub(super) fn can_convert(from: &DataType, to: &DataType) -> bool {
    from == to || can_cast_types(from, &without_zone(to))
}

/// The error of a column that cannot be converted.
#[derive(Debug)]
pub(crate) enum ConvertError {
    /// The cell of this row is not of the type, or would lose something.
    Row(usize),
    /// No conversion between the types exists.
    Types(ArrowError),
}

/// Converts a column to another type. A cell that would be lost, rounded or truncated is an error.
pub(crate) fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ConvertError> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let plain =
        cast_with_options(column, &without_zone(to), &options).map_err(ConvertError::Types)?;
    let nulls = (column.logical_nulls(), plain.logical_nulls());
    if let Some(row) = (0..column.len()).find(|row| {
        nulls.1.as_ref().is_some_and(|n| n.is_null(*row))
            && !nulls.0.as_ref().is_some_and(|n| n.is_null(*row))
    }) {
        return Err(ConvertError::Row(row));
    }
    if let Some(row) = first_inexact(column, &plain, &options) {
        return Err(ConvertError::Row(row));
    }
    // Only the name of the zone differs, so this cannot fail for a cell.
    if plain.data_type() == to {
        Ok(plain)
    } else {
        cast_with_options(&plain, to, &options).map_err(ConvertError::Types)
    }
}

/// The type with an offset instead of the zone name `UTC`: arrow is built without the rules of
/// named zones.
fn without_zone(to: &DataType) -> DataType {
    match to {
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == "UTC" => {
            DataType::Timestamp(*unit, Some("+00:00".into()))
        }
        other => other.clone(),
    }
}

/// The first row whose value changed: casts round and truncate where an error is wanted. Found by
/// casting back.
fn first_inexact(column: &ArrayRef, converted: &ArrayRef, options: &CastOptions) -> Option<usize> {
    let (from, to) = (types::values_of(column.data_type()), converted.data_type());
    if from.is_string() {
        return first_inexact_text(column, converted);
    }
    if !may_lose(from, to) {
        return None;
    }
    let back = cast_with_options(converted, column.data_type(), options).ok()?;
    let same =
        arrow::compute::kernels::cmp::not_distinct(column as &dyn Datum, &back as &dyn Datum)
            .ok()?;
    (0..same.len()).find(|row| !same.value(*row))
}

fn may_lose(from: &DataType, to: &DataType) -> bool {
    let widens = (from.is_integer() && to.is_integer())
        || matches!((from, to), (DataType::Float32, DataType::Float64));
    (from.is_numeric() && (to.is_numeric() || *to == DataType::Boolean) && !widens)
        || (from.is_temporal() && to.is_temporal())
}

/// The first text that its type cannot represent exactly: too many decimals, a time after a date, a
/// number beyond the range of floats.
fn first_inexact_text(column: &ArrayRef, converted: &ArrayRef) -> Option<usize> {
    type IsInexact<'a> = Box<dyn Fn(usize, &str) -> bool + 'a>;
    let is_inexact: IsInexact<'_> = match converted.data_type() {
        DataType::Decimal128(_, scale) => Box::new(|_, text| decimals(text) > *scale as usize),
        DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Time64(TimeUnit::Microsecond) => {
            Box::new(|_, text| decimals(text) > 6)
        }
        DataType::Date32 => Box::new(|_, text| text.contains(':')),
        DataType::Float32 | DataType::Float64 => {
            let floats =
                cast_with_options(converted, &DataType::Float64, &CastOptions::default()).ok()?;
            let floats = floats.as_primitive::<Float64Type>().clone();
            Box::new(move |row, text| {
                floats.value(row).is_infinite() && text.contains(|c: char| c.is_ascii_digit())
            })
        }
        _ => return None,
    };
    let texts = cast_with_options(column, &DataType::Utf8, &CastOptions::default()).ok()?;
    let texts = texts.as_string::<i32>();
    (0..texts.len()).find(|row| texts.is_valid(*row) && is_inexact(*row, texts.value(*row)))
}

/// Digits after the point that are not trailing zeros.
fn decimals(text: &str) -> usize {
    let Some((_, fraction)) = text.split_once('.') else {
        return 0;
    };
    let end = fraction
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(fraction.len());
    fraction[..end].trim_end_matches('0').len()
}

/// One value as a column of `rows` rows.
pub(super) fn repeated(value: &Scalar<ArrayRef>, rows: usize) -> Result<ArrayRef, ArrowError> {
    let (one, _) = value.get();
    arrow::compute::take(one, &arrow::array::UInt32Array::from_value(0, rows), None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampNanosecondArray};

    use super::super::types::parse;
    use super::*;

    fn from_text(cells: &[&str], to: &str) -> Result<Vec<String>, usize> {
        let column: ArrayRef = Arc::new(StringArray::from(cells.to_vec()));
        match convert(&column, &parse(to).unwrap()) {
            Ok(column) => {
                let text = arrow::compute::cast(&column, &DataType::Utf8).unwrap();
                Ok(text
                    .as_string::<i32>()
                    .iter()
                    .map(|cell| cell.unwrap_or("null").to_owned())
                    .collect())
            }
            Err(ConvertError::Row(row)) => Err(row),
            Err(ConvertError::Types(e)) => panic!("{e}"),
        }
    }

    #[test]
    fn reads_cells_as_their_type() {
        for (to, cell, expected) in [
            ("int64", "-9223372036854775808", "-9223372036854775808"),
            ("int64", "007", "7"),
            ("uint8", "255", "255"),
            ("float64", "1e5", "100000.0"),
            ("bool", "true", "true"),
            ("bool", "False", "false"),
            ("date", "2024-02-29", "2024-02-29"),
            ("time", "13:14:15.5", "13:14:15.500"),
            ("timestamp", "2024-02-29T13:14:15", "2024-02-29T13:14:15"),
            (
                "timestamp",
                "2024-02-29 13:14:15.123456",
                "2024-02-29T13:14:15.123456",
            ),
            ("decimal(5,2)", "123.45", "123.45"),
            ("Decimal( 38 , 10 )", "-0.0000000001", "-0.0000000001"),
            ("decimal(5,2)", "1.500", "1.50"),
            ("string", "007", "007"),
        ] {
            assert_eq!(
                from_text(&[cell], to),
                Ok(vec![expected.to_owned()]),
                "{to} {cell}"
            );
        }
    }

    #[test]
    fn names_the_first_cell_that_is_not_of_the_type() {
        for (to, cell) in [
            ("int64", "1.0"),
            ("int64", "9223372036854775808"),
            ("int64", ""),
            ("int64", "NA"),
            ("uint8", "256"),
            ("uint8", "-1"),
            ("float64", "1,5"),
            ("bool", "maybe"),
            ("date", "2024-02-30"),
            ("date", "29.02.2024"),
            ("timestamp", "yesterday"),
            ("decimal(5,2)", "1234.5"),
            ("decimal(5,2)", "1.239"),
            ("date", "2024-01-01T10:00:00"),
            ("timestamp", "2024-01-01T10:00:00.1234567"),
            ("float64", "1e400"),
        ] {
            let good = match to {
                "date" | "timestamp" => "2024-01-01",
                "bool" => "true",
                _ => "1",
            };
            assert_eq!(from_text(&[good, cell], to), Err(1), "{to} {cell}");
        }
    }

    #[test]
    fn keeps_an_instant_in_utc() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![
            "2024-01-01T02:00:00+02:00",
            "2024-01-01T00:00:00Z",
        ]));
        let to = parse("timestamp(UTC)").unwrap();
        let column = convert(&column, &to).unwrap();
        assert_eq!(column.data_type(), &to);
        let micros = column.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(micros.values(), &[1_704_067_200_000_000; 2]);
    }

    #[test]
    fn refuses_numbers_that_would_be_rounded() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(1.5)]));
        assert!(matches!(
            convert(&floats, &DataType::Int64),
            Err(ConvertError::Row(2))
        ));
        assert!(convert(&floats.slice(0, 2), &DataType::Int64).is_ok());
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![1, (1 << 53) + 1]));
        assert!(matches!(
            convert(&wide, &DataType::Float64),
            Err(ConvertError::Row(1))
        ));
        assert!(matches!(
            convert(&wide, &DataType::Int8),
            Err(ConvertError::Row(1))
        ));
        assert!(matches!(
            convert(&wide, &DataType::Boolean),
            Err(ConvertError::Row(1))
        ));
        assert!(matches!(
            convert(&floats, &parse("decimal(5,0)").unwrap()),
            Err(ConvertError::Row(2))
        ));
        assert!(convert(&floats, &parse("decimal(5,1)").unwrap()).is_ok());
        let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
        assert!(matches!(
            convert(&fine, &parse("timestamp").unwrap()),
            Err(ConvertError::Row(1))
        ));
        assert!(matches!(
            convert(&fine, &DataType::Date32),
            Err(ConvertError::Row(0))
        ));
    }
}
