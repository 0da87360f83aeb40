//! [`Expression`]: parsing, and evaluation batch by batch.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_empty_array,
};
use arrow::compute::{cast, concat, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use polars::prelude::Expr;

use super::engine::{self, EngineContext};
use super::{Bound, Error, bounds, bridge, row_size, syntax};

/// An SQL expression, parsed and type-checked against a schema; returns one value for each row.
///
/// ```
/// use std::sync::{Arc, Once};
/// use arrow::array::{ArrayRef, RecordBatch, StringArray};
/// use rowmill::table::Expression;
///
/// let zip: ArrayRef = Arc::new(StringArray::from(vec!["007", "7"]));
/// let batch = RecordBatch::try_from_iter([("zip", zip)])?;
/// let expression = Expression::parse_predicate("zip = '007'", &batch.schema())?;
/// assert_eq!(expression.mask(&batch)?.true_count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Expression {
    inner: Arc<ParsedExpression>,
}

struct ParsedExpression {
    sql: String,
    columns: Vec<String>,
    /// The types of those columns in the rows.
    types: Vec<DataType>,
    data_type: DataType,
    value: Evaluation,
    bounds: Vec<Bound>,
}

enum Evaluation {
    /// Reads no column: evaluated once, an array of one row.
    Constant(ArrayRef),
    /// Reads columns: evaluated per batch.
    PerRow(Expr),
    /// Can produce longer texts than its columns hold: evaluated in slices of bounded size.
    Growing(Expr, Box<SizeInputs>),
}

/// The inputs of the estimate of how large the result of a row can be.
struct SizeInputs {
    tree: sqlparser::ast::Expr,
    /// The lengths of `lpad` and `rpad` that are not literals.
    pads: Vec<Expr>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression")
            .field("sql", &self.inner.sql)
            .field("data_type", &self.inner.data_type)
            .finish()
    }
}

impl Expression {
    /// Parses an expression and checks its columns and types, so that mistakes are found before the
    /// first row.
    ///
    /// # Errors
    /// All of [`Error`] except those that need rows: not an expression, unknown column or function,
    /// an unsupported type, types that do not match. Another try gives the same error.
    pub fn parse(sql: &str, schema: &Schema) -> Result<Self, Error> {
        engine::quiet();
        engine::with_room(|| Self::parse_here(sql, schema)).unwrap_or_else(|| {
            Err(Error::Syntax {
                sql: sql.to_owned(),
                reason: "it cannot be parsed".to_owned(),
            })
        })
    }

    fn parse_here(sql: &str, schema: &Schema) -> Result<Self, Error> {
        let parsed = syntax::parse(sql, schema)?;
        // Before polars gets the expression: it evaluates constant parts while it plans, so a
        // constant `rpad('', 2000000000)` must be rejected first.
        check_size(
            &parsed.sql,
            row_size::of(
                &parsed.tree,
                &row_size::LongestCells {
                    columns: &|_| 0,
                    pads: &[],
                },
            ),
        )?;
        let types = column_types(&parsed.columns, schema)?;
        let context = EngineContext {
            sql: &parsed.sql,
            columns: &parsed.columns,
            types: &types,
        };
        let empty = context.frame(&types.iter().map(new_empty_array).collect::<Vec<_>>(), 0)?;
        for pattern in &parsed.patterns {
            context.check_pattern(pattern)?;
        }
        for condition in &parsed.conditions {
            context.check_condition(condition, &empty)?;
        }
        let expr = context.checked(|| engine::plan(&parsed.rewritten, &empty))?;
        let example = context.checked(|| engine::evaluate(&expr, &empty))?;
        let data_type = example.data_type().clone();
        let bounds = bounds::of(&parsed.tree, schema);
        let value = if parsed.columns.is_empty() {
            Evaluation::Constant(example)
        } else if row_size::grows(&parsed.tree) {
            let lengths = row_size::pad_lengths(&parsed.tree);
            if let Some(length) = lengths
                .iter()
                .find(|length| !row_size::pad_lengths(length).is_empty())
            {
                let what = format!(
                    "the length `{length}` contains padding by a length that is not a literal"
                );
                return Err(Error::NotByRow {
                    sql: parsed.sql,
                    what,
                });
            }
            let pads = lengths
                .into_iter()
                .map(|length| context.checked(|| engine::plan(&syntax::rewritten(length), &empty)));
            let pads = pads.collect::<Result<_, _>>()?;
            Evaluation::Growing(
                expr,
                Box::new(SizeInputs {
                    tree: parsed.tree,
                    pads,
                }),
            )
        } else {
            Evaluation::PerRow(expr)
        };
        let inner = ParsedExpression {
            sql: parsed.sql,
            columns: parsed.columns,
            types,
            data_type,
            value,
            bounds,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Parses an expression that must be true or false for each row.
    ///
    /// # Errors
    /// Those of [`Expression::parse`], and [`Error::NotBoolean`].
    pub fn parse_predicate(sql: &str, schema: &Schema) -> Result<Self, Error> {
        let expression = Self::parse(sql, schema)?;
        expression.check_predicate()?;
        Ok(expression)
    }

    /// The text it was parsed from, without surrounding space.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.inner.sql
    }

    /// The columns it reads, each once, in the order they are named.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.inner.columns
    }

    /// The type of its values, the same in every batch.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.inner.data_type
    }

    /// Simple comparisons that are all true where the expression is true, for skipping row groups
    /// by their statistics.
    ///
    /// Conservative: anything but `column op literal`, joined by `AND`, contributes nothing, nor
    /// does a column whose statistics could mislead (32-bit floats, decimals, dates, and lower
    /// bounds of floats, since NaN is the greatest value).
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        self.inner.bounds.clone()
    }

    /// Evaluates the expression for each row of a batch.
    ///
    /// **Shape.** One value a row, in row order, of [`Expression::data_type`]; a constant is
    /// repeated. Copies the columns it reads where their layout differs, so holds at most these
    /// columns and the result.
    ///
    /// # Errors
    /// [`Error::ChangedColumn`] when the batch is not of the schema the expression was parsed for;
    /// [`Error::Evaluate`] when a value cannot be evaluated. Another try gives the same error.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, Error> {
        match &self.inner.value {
            Evaluation::Constant(one_row) => Ok(repeated(one_row, batch.num_rows())),
            Evaluation::PerRow(expr) => {
                self.evaluate_rows(expr, &self.arrays(batch)?, batch.num_rows())
            }
            Evaluation::Growing(expr, size_inputs) => {
                let mut results = Vec::new();
                self.evaluate_bounded(
                    expr,
                    size_inputs,
                    &self.arrays(batch)?,
                    batch.num_rows(),
                    &mut results,
                )?;
                if let [only] = results.as_slice() {
                    return Ok(Arc::clone(only));
                }
                let parts: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
                let too_much = |e: ArrowError| Error::Evaluate {
                    sql: self.inner.sql.clone(),
                    reason: e.to_string(),
                };
                concat(&parts).map_err(too_much)
            }
        }
    }

    fn evaluate_rows(
        &self,
        expr: &Expr,
        arrays: &[ArrayRef],
        rows: usize,
    ) -> Result<ArrayRef, Error> {
        let context = self.context();
        let frame = context.frame(arrays, rows)?;
        let values = context.on_rows(|| engine::evaluate(expr, &frame))?;
        self.fitted(values, rows)
    }

    /// Evaluates rows in slices so short that intermediate results are bounded: halves the rows
    /// until the estimate for a slice is small enough.
    fn evaluate_bounded(
        &self,
        expr: &Expr,
        size_inputs: &SizeInputs,
        arrays: &[ArrayRef],
        rows: usize,
        results: &mut Vec<ArrayRef>,
    ) -> Result<(), Error> {
        let longest: Vec<u64> = arrays.iter().map(row_size::longest_cell).collect();
        let place = |name: &str| self.inner.columns.iter().position(|column| column == name);
        let columns = |name: &str| place(name).map_or(0, |place| longest[place]);
        let frame = self.context().frame(arrays, rows)?;
        let largest = |length: &Expr| {
            let lengths = self
                .context()
                .on_rows(|| engine::evaluate(length, &frame))?;
            Ok(row_size::largest(&lengths))
        };
        let pads = size_inputs
            .pads
            .iter()
            .map(largest)
            .collect::<Result<Vec<_>, Error>>()?;
        let size = row_size::of(
            &size_inputs.tree,
            &row_size::LongestCells {
                columns: &columns,
                pads: &pads,
            },
        );
        if rows > 1 && size.row.saturating_mul(rows as u64) > row_size::MAX_SLICE_BYTES {
            let half = rows / 2;
            for (from, rows) in [(0, half), (half, rows - half)] {
                let slices: Vec<ArrayRef> =
                    arrays.iter().map(|array| array.slice(from, rows)).collect();
                self.evaluate_bounded(expr, size_inputs, &slices, rows, results)?;
            }
            return Ok(());
        }
        if size.row > row_size::MAX_ROW_BYTES {
            let (bytes, limit) = (size.row, row_size::MAX_ROW_BYTES);
            return Err(Error::TooLarge {
                sql: self.inner.sql.clone(),
                bytes,
                limit,
            });
        }
        let values = self.evaluate_rows(expr, arrays, rows)?;
        if size.cell > row_size::MAX_CELL_BYTES {
            let cell = row_size::longest_cell(&values);
            check_size(&self.inner.sql, row_size::RowSize { cell, row: 0 })?;
        }
        results.push(values);
        Ok(())
    }

    /// Evaluates a condition for each row of a batch; null counts as false.
    ///
    /// # Errors
    /// Those of [`Expression::evaluate`], and [`Error::NotBoolean`].
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, Error> {
        self.check_predicate()?;
        let values = self.evaluate(batch)?;
        let mask = values.as_boolean();
        Ok(if mask.null_count() == 0 {
            mask.clone()
        } else {
            prep_null_mask_filter(mask)
        })
    }

    fn check_predicate(&self) -> Result<(), Error> {
        match &self.inner.data_type {
            DataType::Boolean => Ok(()),
            other => Err(Error::NotBoolean {
                sql: self.inner.sql.clone(),
                data_type: other.clone(),
            }),
        }
    }

    fn context(&self) -> EngineContext<'_> {
        EngineContext {
            sql: &self.inner.sql,
            columns: &self.inner.columns,
            types: &self.inner.types,
        }
    }

    /// The columns the expression reads, which must be as they were when it was parsed.
    fn arrays(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, Error> {
        let read = self.inner.columns.iter().zip(&self.inner.types);
        read.map(|(column, expected)| match batch.column_by_name(column) {
            Some(array) if array.data_type() == expected => Ok(Arc::clone(array)),
            other => Err(Error::ChangedColumn {
                sql: self.inner.sql.clone(),
                column: column.clone(),
                expected: expected.clone(),
                found: other.map_or_else(
                    || "no such column".to_owned(),
                    |array| array.data_type().to_string(),
                ),
            }),
        })
        .collect()
    }

    /// The values with one value a row, and of the type known since parsing.
    fn fitted(&self, values: ArrayRef, rows: usize) -> Result<ArrayRef, Error> {
        let fault = |reason: String| Error::Evaluate {
            sql: self.inner.sql.clone(),
            reason,
        };
        // The optimizer may find that the columns do not matter (`x = 1 OR TRUE`) and leave one
        // value.
        let values = match values.len() {
            n if n == rows => values,
            1 => repeated(&values, rows),
            n => return Err(fault(format!("it has {n} values for {rows} rows"))),
        };
        if *values.data_type() == self.inner.data_type {
            return Ok(values);
        }
        cast(&values, &self.inner.data_type).map_err(|_| {
            fault(format!(
                "it is {}, not {}",
                values.data_type(),
                self.inner.data_type
            ))
        })
    }
}

/// Rejects an expression whose result for one row is too large whatever the row holds.
fn check_size(sql: &str, row_size: row_size::RowSize) -> Result<(), Error> {
    let sizes = [
        (row_size.cell, row_size::MAX_CELL_BYTES),
        (row_size.row, row_size::MAX_ROW_BYTES),
    ];
    match sizes.into_iter().find(|(bytes, limit)| bytes > limit) {
        Some((bytes, limit)) => Err(Error::TooLarge {
            sql: sql.to_owned(),
            bytes,
            limit,
        }),
        None => Ok(()),
    }
}

/// The types of the columns that are read; each must have a type in polars.
fn column_types(columns: &[String], schema: &Schema) -> Result<Vec<DataType>, Error> {
    let types = columns.iter().filter_map(|name| {
        schema
            .field_with_name(name)
            .ok()
            .map(|field| (name, field.data_type()))
    });
    types
        .map(|(name, data_type)| match bridge::polars_type(data_type) {
            Some(_) => Ok(data_type.clone()),
            None => Err(Error::UnsupportedType {
                column: name.clone(),
                data_type: data_type.clone(),
            }),
        })
        .collect()
}

/// An array of one row, repeated.
fn repeated(one_row: &ArrayRef, rows: usize) -> ArrayRef {
    let zeros = UInt32Array::from(vec![0; rows]);
    take(one_row, &zeros, None).unwrap_or_else(|_| new_empty_array(one_row.data_type()))
}
