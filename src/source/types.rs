//! Column types: their names in the job file and in messages, and the types inside nested ones.

use arrow::datatypes::{DataType, FieldRef, TimeUnit};

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

/// The name of a type in the job file, or Arrow's name where the job file has none for it.
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

/// The name of a type in reports: as the job file names it where it can, nested types by their
/// contents, and nothing about the memory layout of the values.
#[must_use]
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Dictionary(_, values) => type_name(values),
        DataType::RunEndEncoded(_, values) => type_name(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("list of {}", type_name(item.data_type())),
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

/// Whether a column may have these types in two files of a source: the same type, or the same
/// values in another memory layout.
pub(super) fn are_compatible(a: &DataType, b: &DataType) -> bool {
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

/// The first result of `find` for a type and the types in it, at any depth, outermost first.
pub(crate) fn find_in<'t, T>(
    data_type: &'t DataType,
    find: &dyn Fn(&'t DataType) -> Option<T>,
) -> Option<T> {
    let inside = |field: &'t FieldRef| find_in(field.data_type(), find);
    find(data_type).or_else(|| match data_type {
        DataType::Dictionary(_, values) => find_in(values, find),
        DataType::RunEndEncoded(_, field)
        | DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::Map(field, _) => inside(field),
        DataType::Struct(fields) => fields.iter().find_map(inside),
        DataType::Union(fields, _) => fields.iter().find_map(|(_, field)| inside(field)),
        _ => None,
    })
}

/// Whether `holds` is true of a type or of a type in it, at any depth.
pub fn any_in(data_type: &DataType, holds: impl Fn(&DataType) -> bool) -> bool {
    find_in(data_type, &|part| holds(part).then_some(())).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, UnionFields, UnionMode};

    use super::*;

    #[test]
    fn names_types_type_name() {
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
            assert_eq!(type_name(&data_type), words);
        }
    }

    #[test]
    fn finds_types_at_every_depth() {
        let field = |data_type| Arc::new(Field::new("f", data_type, true));
        let bytes = field(DataType::Binary);
        for nested in [
            DataType::Binary,
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Binary)),
            DataType::RunEndEncoded(field(DataType::Int32), bytes.clone()),
            DataType::ListView(bytes.clone()),
            DataType::FixedSizeList(bytes.clone(), 2),
            DataType::Struct(vec![field(DataType::Int8), bytes.clone()].into()),
            DataType::Union(
                UnionFields::try_new([0], [bytes.clone()]).unwrap(),
                UnionMode::Dense,
            ),
            DataType::Map(field(DataType::Struct(vec![bytes.clone()].into())), false),
        ] {
            assert!(
                any_in(&nested, |part| *part == DataType::Binary),
                "{nested}"
            );
            let list = DataType::List(field(nested));
            assert!(any_in(&list, |part| *part == DataType::Binary), "{list}");
            assert!(!any_in(&list, |part| *part == DataType::Utf8), "{list}");
        }
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
