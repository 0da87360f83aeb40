//! Calls into polars: translates an expression, evaluates it on a frame, and shortens its messages.
//!
//! polars may panic, or overflow a small stack, for unusual expressions; both are caught here.

use std::sync::Once;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use polars::error::set_warning_function;
use polars::prelude::{
    Column, DataFrame, DslPlan, Expr, IntoColumn, IntoLazy, PolarsError, col, lit,
};
use polars::sql::{SQLContext, sql_expr};

use super::{Error, bridge, text_times};
use crate::border;

/// The expression and its columns, for error messages.
pub(super) struct EngineContext<'a> {
    pub(super) sql: &'a str,
    pub(super) columns: &'a [String],
    pub(super) types: &'a [DataType],
}

impl EngineContext<'_> {
    /// The columns as a polars frame.
    pub(super) fn frame(&self, arrays: &[ArrayRef], rows: usize) -> Result<DataFrame, Error> {
        let mut columns: Vec<Column> = Vec::with_capacity(arrays.len());
        for (name, array) in self.columns.iter().zip(arrays) {
            let unsupported = || Error::UnsupportedType {
                column: name.clone(),
                data_type: array.data_type().clone(),
            };
            let series = border::guard(|| bridge::to_polars(name, array));
            columns.push(series.ok().flatten().ok_or_else(unsupported)?.into_column());
        }
        DataFrame::new(rows, columns).map_err(|fault| Error::Evaluate {
            sql: self.sql.to_owned(),
            reason: without_values(&fault),
        })
    }

    /// Calls polars before any row is read, so that its message can be shown in full.
    pub(super) fn checked<T>(&self, act: impl Fn() -> Result<T, PolarsError>) -> Result<T, Error> {
        let reason = match border::guard(act) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(fault)) => in_short(&fault),
            Err(_) => "the engine cannot evaluate it".to_owned(),
        };
        let types = self
            .columns
            .iter()
            .zip(self.types)
            .map(|(name, data_type)| format!("`{name}`: {data_type}"));
        Err(Error::Type {
            sql: self.sql.to_owned(),
            columns: types.collect(),
            mixes_text_and_numbers: reason.contains("cannot compare string with numeric")
                || reason.ends_with("values in String data"),
            reason,
        })
    }

    /// Calls polars on rows, whose values must not be in a message.
    pub(super) fn on_rows<T>(&self, act: impl Fn() -> Result<T, PolarsError>) -> Result<T, Error> {
        let reason = match border::guard(act) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(fault)) => without_values(&fault),
            Err(_) => "the engine cannot evaluate it".to_owned(),
        };
        Err(Error::Evaluate {
            sql: self.sql.to_owned(),
            reason,
        })
    }

    /// Tries a regular expression on an empty text: polars would compile it only for the first row.
    pub(super) fn check_pattern(&self, pattern: &str) -> Result<(), Error> {
        let text = Column::new("text".into(), [""]);
        let matches = col("text").str().contains(lit(pattern), true);
        self.checked(|| evaluate(&matches, &DataFrame::new(1, vec![text.clone()])?))
            .map(drop)
    }

    /// Rejects an operand of `AND`, `OR` or `NOT` that is not boolean: polars would combine its
    /// bits.
    pub(super) fn check_condition(&self, sql: &str, empty: &DataFrame) -> Result<(), Error> {
        match self
            .checked(|| evaluate(&plan(sql, empty)?, empty))?
            .data_type()
        {
            DataType::Boolean | DataType::Null => Ok(()),
            other => {
                self.checked(|| Err(invalid(format!("`{sql}` is {other}, not true or false"))))
            }
        }
    }
}

/// Translates the expression by polars, which sees the types of the columns (so that
/// `day >= '2024-01-01'` compares dates).
pub(super) fn plan(sql: &str, frame: &DataFrame) -> Result<Expr, PolarsError> {
    let expr = if frame.width() == 0 {
        sql_expr(sql)?
    } else {
        let mut context = SQLContext::new();
        context.register("rows of the table", frame.clone().lazy());
        let selected = context.execute(&format!(
            "SELECT ({sql}) AS value FROM \"rows of the table\""
        ))?;
        match selected.logical_plan {
            DslPlan::Select { mut expr, .. } if expr.len() == 1 => match expr.remove(0) {
                // polars adds an expression without columns to the frame first, then selects it by
                // its name.
                Expr::Column(name) if name == "value" => sql_expr(sql)?,
                expr => expr,
            },
            _ => return Err(invalid("it is not one value a row".to_owned())),
        }
    };
    expr.try_map_expr(|part| text_times::read_text(part, frame))
}

/// Evaluates an expression on a frame; on a frame without columns, to one value.
pub(super) fn evaluate(expr: &Expr, frame: &DataFrame) -> Result<ArrayRef, PolarsError> {
    let frame = if frame.width() == 0 {
        DataFrame::new(1, vec![Column::new("nothing".into(), [false])])?
    } else {
        frame.clone()
    };
    let result = frame.lazy().select([expr.clone()]).collect()?;
    let values = result
        .columns()
        .first()
        .ok_or_else(|| invalid("it has no value".to_owned()))?;
    bridge::to_arrow(values.as_materialized_series())
}

pub(super) fn invalid(reason: String) -> PolarsError {
    PolarsError::InvalidOperation(reason.into())
}

/// Calls `act` on a large stack of its own: polars' translator takes tens of kilobytes for each
/// level of an expression.
///
/// `None` where it panics or no thread can be had.
pub(super) fn with_room<T: Send>(act: impl FnOnce() -> T + Send) -> Option<T> {
    const STACK_BYTES: usize = 64 << 20;
    let act = || border::guard(act).ok();
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, act)
            .ok()?
            .join()
            .ok()
            .flatten()
    })
}

/// Sends the warnings of polars to the log; by default it prints them to stderr.
pub(super) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_warning_function(|text, _| tracing::debug!("polars: {text}")));
}

/// The message of polars without the query plan that it adds.
fn in_short(fault: &PolarsError) -> String {
    let text = match fault {
        PolarsError::Context { error, .. } | PolarsError::ExprContext { error, .. } => {
            return in_short(error);
        }
        other => other.to_string(),
    };
    let first = text.split("\n\n").next().unwrap_or(&text);
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The message of polars where it may quote a value: only the part known to be without values.
fn without_values(fault: &PolarsError) -> String {
    let text = in_short(fault);
    // "conversion from `str` to `i64` failed in column 'x' for 3 out of 5 values: ["…", …]"
    match text.find("conversion from").zip(text.find(" values: ")) {
        Some((start, end)) if start < end => text[start..end + " values".len()].to_owned(),
        _ => "the engine cannot evaluate at least one row".to_owned(),
    }
}
