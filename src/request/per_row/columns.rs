//! The values of the expressions for a batch of rows.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};

use crate::request::Error;
use crate::table::Expression;

/// The expressions' values for a batch of rows.
#[derive(Debug)]
pub(in crate::request) struct PerRowValues {
    pub(super) model: ExpressionColumn<StringArray>,
    pub(super) max_tokens: ExpressionColumn<Int64Array>,
    pub(super) effort: ExpressionColumn<StringArray>,
    pub(super) user_id: ExpressionColumn<StringArray>,
    pub(super) tag: ExpressionColumn<StringArray>,
}

impl PerRowValues {
    /// A row's tag; none where it cannot be evaluated, which is an error of the row in
    /// `PerRow::row_params`.
    pub(in crate::request) fn tag(&self, row: usize) -> Option<&str> {
        let (array, row) = self.tag.at(row).ok()??;
        Some(array.value(row)).filter(|tag| !tag.is_empty())
    }
}

/// An expression's values.
#[derive(Debug)]
pub(super) enum ExpressionColumn<A> {
    /// There is no expression.
    Absent,
    /// A value a row.
    Whole(A),
    /// A value a row, each by itself: some row of the batch makes the expression fail, and the
    /// others shall not suffer for it.
    Single(Vec<Result<A, String>>),
}

impl<A: Array> ExpressionColumn<A> {
    pub(super) fn of(
        expression: Option<&Expression>,
        batch: &RecordBatch,
        convert: fn(&ArrayRef) -> Result<A, String>,
    ) -> ExpressionColumn<A> {
        let Some(expression) = expression else {
            return ExpressionColumn::Absent;
        };
        let evaluate = |batch: &RecordBatch| {
            expression
                .evaluate(batch)
                .map_err(|e| e.to_string())
                .and_then(|values| convert(&values))
        };
        match evaluate(batch) {
            Ok(values) => ExpressionColumn::Whole(values),
            Err(_) => ExpressionColumn::Single(
                (0..batch.num_rows())
                    .map(|row| evaluate(&batch.slice(row, 1)))
                    .collect(),
            ),
        }
    }

    /// Where a row's value stands; `None` where it has none.
    pub(super) fn at(&self, row: usize) -> Result<Option<(&A, usize)>, &str> {
        let (array, row) = match self {
            ExpressionColumn::Absent => return Ok(None),
            ExpressionColumn::Whole(array) => (array, row),
            ExpressionColumn::Single(rows) => (rows[row].as_ref().map_err(String::as_str)?, 0),
        };
        Ok(array.is_valid(row).then_some((array, row)))
    }
}

pub(super) fn expression(
    key: &'static str,
    sql: Option<&str>,
    columns: &Schema,
    kind: &str,
    fits: impl Fn(&DataType) -> bool,
) -> Result<Option<Expression>, Error> {
    let Some(sql) = sql else { return Ok(None) };
    // The name of a column is an expression, also where it would have to stand in quotes.
    let quoted = columns
        .field_with_name(sql)
        .ok()
        .map(|field| format!("\"{}\"", field.name().replace('"', "\"\"")));
    let expression =
        Expression::parse(quoted.as_deref().unwrap_or(sql), columns).map_err(|source| {
            Error::Expression {
                key,
                source: Box::new(source),
            }
        })?;
    let made = expression.data_type();
    if fits(made) || *made == DataType::Null {
        return Ok(Some(expression));
    }
    let why = format!("makes values of the type {made} by `{sql}`");
    Err(Error::Param {
        key: format!("per_row.{key}"),
        why,
        fix: format!("it takes {kind}"),
    })
}

pub(super) fn to_text(values: &ArrayRef) -> Result<StringArray, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(values, &DataType::Utf8, &options)
        .map(|texts| texts.as_string().clone())
        .map_err(|e| e.to_string())
}

/// Numbers as whole ones, rounded up: tokens are not counted in parts.
pub(super) fn to_whole(values: &ArrayRef) -> Result<Int64Array, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = |values: &ArrayRef, to: &DataType| {
        cast_with_options(values, to, &options).map_err(|e| e.to_string())
    };
    if values.data_type().is_integer() || *values.data_type() == DataType::Null {
        return Ok(cast(values, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone());
    }
    let floats = cast(values, &DataType::Float64)?;
    let ceiled: ArrayRef = std::sync::Arc::new(
        floats
            .as_primitive::<Float64Type>()
            .unary::<_, Float64Type>(f64::ceil),
    );
    Ok(cast(&ceiled, &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .clone())
}
