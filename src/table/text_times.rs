//! Text that is cast to a date, a time or a timestamp.
//!
//! polars guesses the format from the first value of each batch, so the same cell could be read in
//! two ways. Here arrow-rs reads every value by itself, as ISO 8601; an offset (`Z`, `+02:00`) is
//! converted to UTC.

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use polars::prelude::{Column, DataFrame, Expr, Field, IntoColumn, IntoLazy, PolarsError, Schema};
use polars::prelude::{DataType as PolarsType, TimeUnit as PolarsUnit};

use super::bridge;
use super::engine::invalid;

/// Replaces the cast of a text to a date, time or timestamp; leaves everything else as it is.
pub(super) fn read_text(part: Expr, frame: &DataFrame) -> Result<Expr, PolarsError> {
    let Expr::Cast {
        expr,
        dtype,
        options,
    } = &part
    else {
        return Ok(part);
    };
    let Some((target, made)) = dtype
        .as_literal()
        .and_then(|made| Some((target(made)?, made.clone())))
    else {
        return Ok(part);
    };
    // A literal is the same in every batch, and polars reads it once.
    if matches!(**expr, Expr::Literal(_)) || !is_text(expr, frame)? {
        return Ok(part);
    }
    let strict = options.is_strict();
    let read = move |column: Column| read(&column, &target, strict);
    let field = move |_: &Schema, field: &Field| Ok(Field::new(field.name().clone(), made.clone()));
    Ok(expr.as_ref().clone().map(read, field))
}

fn target(data_type: &PolarsType) -> Option<DataType> {
    Some(match data_type {
        PolarsType::Date => DataType::Date32,
        PolarsType::Time => DataType::Time64(TimeUnit::Nanosecond),
        PolarsType::Datetime(PolarsUnit::Milliseconds, None) => {
            DataType::Timestamp(TimeUnit::Millisecond, None)
        }
        PolarsType::Datetime(PolarsUnit::Microseconds, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        PolarsType::Datetime(PolarsUnit::Nanoseconds, None) => {
            DataType::Timestamp(TimeUnit::Nanosecond, None)
        }
        _ => return None,
    })
}

fn is_text(expr: &Expr, frame: &DataFrame) -> Result<bool, PolarsError> {
    let schema = frame
        .clone()
        .lazy()
        .select([expr.clone()])
        .collect_schema()?;
    Ok(schema
        .iter_values()
        .all(|data_type| *data_type == PolarsType::String))
}

fn read(column: &Column, target: &DataType, strict: bool) -> Result<Column, PolarsError> {
    let text: ArrayRef = bridge::to_arrow(column.as_materialized_series())?;
    let times = cast(&text, target).map_err(|fault| invalid(fault.to_string()))?;
    let failed = times.null_count() - text.null_count();
    if strict && failed > 0 {
        let (name, rows) = (column.name(), text.len());
        // In the words of polars, from which `without_values` selects a part.
        let reason = format!(
            "conversion from `str` to `{target}` failed in column '{name}' for {failed} out of \
             {rows} values: []"
        );
        return Err(invalid(reason));
    }
    let series = bridge::to_polars(column.name(), &times)
        .ok_or_else(|| invalid(format!("cannot take {target}")))?;
    Ok(series.into_column())
}
