//! Column types by the job: their names, and how cells become them without loss.

use arrow::array::{Array, ArrayRef, AsArray, Datum, Scalar};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use arrow::error::ArrowError;

/// The type names of the job file, for messages.
pub(crate) const KNOWN: &str = "`string`, `bool`, `int8` to `int64`, `uint8` to `uint64`, \
     `float32`, `float64`, `decimal(p,s)`, `date`, `time`, `timestamp`, `timestamp(utc)` and \
     `binary`";

/// The type of this name in the job file.
pub(crate) fn parse(name: &str) -> Option<DataType> {
    let name: String = name
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    Some(match name.as_str() {
        "string" | "text" => DataType::Utf8,
        "bool" | "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp(utc)" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "binary" => DataType::Binary,
        _ => return decimal(&name),
    })
}

fn decimal(name: &str) -> Option<DataType> {
    let (precision, scale) = name
        .strip_prefix("decimal(")?
        .strip_suffix(')')?
        .split_once(',')?;
    let (precision, scale) = (precision.parse::<u8>().ok()?, scale.parse::<i8>().ok()?);
    let fits = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
    fits.then_some(DataType::Decimal128(precision, scale))
}

/// A type as the job file names it; one that the job file cannot name, as Arrow does.
pub(crate) fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Date32 => "date".to_owned(),
        DataType::Time64(TimeUnit::Microsecond) => "time".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => {
            format!("timestamp({})", zone.to_lowercase())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        other if other.is_primitive() => other.to_string().to_lowercase(),
        other => other.to_string(),
    }
}

/// A type as a person reads it: as the job file names it where it can, nested ones by what is in
/// them, and nothing about how values are laid out.
#[must_use]
pub fn in_words(data_type: &DataType) -> String {
    match data_type {
        DataType::Dictionary(_, values) => in_words(values),
        DataType::RunEndEncoded(_, values) => in_words(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("list of {}", in_words(item.data_type())),
        DataType::Struct(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            format!("struct of {}", names.join(", "))
        }
        DataType::Map(..) => "map".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            format!("decimal({precision},{scale})")
        }
        DataType::FixedSizeBinary(_) => "binary".to_owned(),
        DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(zone)) if zone.as_ref() == "UTC" => "timestamp(utc)".to_owned(),
        DataType::Timestamp(_, Some(zone)) => format!("timestamp({zone})"),
        DataType::Duration(_) => "duration".to_owned(),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::Null => "null".to_owned(),
        other => name(other),
    }
}

/// Whether two files may give a column these types: the same, or the same values laid out
/// differently.
pub(super) fn alike(a: &DataType, b: &DataType) -> bool {
    let is_text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_binary = |t: &DataType| {
        matches!(
            t,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        )
    };
    let (a, b) = (values_of(a), values_of(b));
    // The same points in time, counted in another unit.
    let are_times =
        matches!((a, b), (DataType::Timestamp(_, a), DataType::Timestamp(_, b)) if a == b);
    a.equals_datatype(b)
        || are_times
        || (is_text(a) && is_text(b))
        || (is_binary(a) && is_binary(b))
}

/// The type of the values, for a dictionary those of its entries.
pub(super) fn values_of(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// Whether a column can become a type at all.
pub(super) fn can_become(from: &DataType, to: &DataType) -> bool {
    from == to || can_cast_types(from, &without_zone(to))
}

/// Why a column did not become its type.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// This row's cell is none of that type, or would lose something.
    Row(usize),
    /// The types do not go together.
    Types(ArrowError),
}

/// Turns a column to another type; a cell that would be lost, rounded or cut is a misfit.
pub(crate) fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Misfit> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let plain = cast_with_options(column, &without_zone(to), &options).map_err(Misfit::Types)?;
    let nulls = (column.logical_nulls(), plain.logical_nulls());
    if let Some(row) = (0..column.len()).find(|row| {
        nulls.1.as_ref().is_some_and(|n| n.is_null(*row))
            && !nulls.0.as_ref().is_some_and(|n| n.is_null(*row))
    }) {
        return Err(Misfit::Row(row));
    }
    if let Some(row) = first_inexact(column, &plain, &options) {
        return Err(Misfit::Row(row));
    }
    // Only the label differs, so this cannot fail for a cell.
    if plain.data_type() == to {
        Ok(plain)
    } else {
        cast_with_options(&plain, to, &options).map_err(Misfit::Types)
    }
}

/// Offsets instead of names of zones, whose rules are not built in.
fn without_zone(to: &DataType) -> DataType {
    match to {
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == "UTC" => {
            DataType::Timestamp(*unit, Some("+00:00".into()))
        }
        other => other.clone(),
    }
}

/// The first row whose value is not what it was: casts round and cut where we want an error.
fn first_inexact(column: &ArrayRef, converted: &ArrayRef, options: &CastOptions) -> Option<usize> {
    let (from, to) = (values_of(column.data_type()), converted.data_type());
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

/// The first text that says more than its type holds: digits behind the point, a time behind a
/// date, a number beyond all floats.
fn first_inexact_text(column: &ArrayRef, converted: &ArrayRef) -> Option<usize> {
    type SaysMore<'a> = Box<dyn Fn(usize, &str) -> bool + 'a>;
    let says_more: SaysMore<'_> = match converted.data_type() {
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
    (0..texts.len()).find(|row| texts.is_valid(*row) && says_more(*row, texts.value(*row)))
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
    use arrow::datatypes::Field;

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
            Err(Misfit::Row(row)) => Err(row),
            Err(Misfit::Types(e)) => panic!("{e}"),
        }
    }

    #[test]
    fn names_types_in_words() {
        let text = Field::new("name", DataType::Utf8, true);
        for (data_type, words) in [
            (
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                "string",
            ),
            (DataType::List(Arc::new(text.clone())), "list of string"),
            (DataType::Struct(vec![text].into()), "struct of name"),
            (
                DataType::Timestamp(TimeUnit::Millisecond, Some("Europe/London".into())),
                "timestamp(Europe/London)",
            ),
            (DataType::Decimal256(40, 2), "decimal(40,2)"),
            (DataType::Int64, "int64"),
        ] {
            assert_eq!(in_words(&data_type), words);
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
            Err(Misfit::Row(2))
        ));
        assert!(convert(&floats.slice(0, 2), &DataType::Int64).is_ok());
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![1, (1 << 53) + 1]));
        assert!(matches!(
            convert(&wide, &DataType::Float64),
            Err(Misfit::Row(1))
        ));
        assert!(matches!(
            convert(&wide, &DataType::Int8),
            Err(Misfit::Row(1))
        ));
        assert!(matches!(
            convert(&wide, &DataType::Boolean),
            Err(Misfit::Row(1))
        ));
        assert!(matches!(
            convert(&floats, &parse("decimal(5,0)").unwrap()),
            Err(Misfit::Row(2))
        ));
        assert!(convert(&floats, &parse("decimal(5,1)").unwrap()).is_ok());
        let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
        assert!(matches!(
            convert(&fine, &parse("timestamp").unwrap()),
            Err(Misfit::Row(1))
        ));
        assert!(matches!(
            convert(&fine, &DataType::Date32),
            Err(Misfit::Row(0))
        ));
    }

    #[test]
    fn refuses_types_that_it_does_not_know() {
        for name in [
            "",
            "int",
            "decimal",
            "decimal(0,0)",
            "decimal(39,2)",
            "decimal(5,6)",
            "decimal(5,-1)",
            "list",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
