//! One SQL expression: parsed and type-checked once, then evaluated batch by batch.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_empty_array,
};
use arrow::compute::{cast, concat, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use polars::prelude::Expr;

use super::engine::{self, Context};
use super::{Bound, Error, bounds, bridge, syntax, weight};

/// An SQL expression, parsed and type-checked against a schema; makes one value for each row.
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
    inner: Arc<Inner>,
}

struct Inner {
    sql: String,
    columns: Vec<String>,
    /// The types of those columns in the rows.
    types: Vec<DataType>,
    data_type: DataType,
    value: Value,
    bounds: Vec<Bound>,
}

enum Value {
    /// Reads no column: worked out once, an array of one row.
    Constant(ArrayRef),
    /// Reads columns: worked out per batch.
    PerRow(Expr),
    /// Can make more of a row than its columns hold: worked out in bounded stretches.
    Growing(Expr, Box<Growth>),
}

/// What is needed to estimate how large a row can become.
struct Growth {
    tree: sqlparser::ast::Expr,
    /// The lengths that padding asks for, where they are no literals.
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
    /// Parses an expression and checks its columns and types, so that what can be wrong is said
    /// before the first row.
    ///
    /// # Errors
    /// All of [`Error`] but those that need rows: not an expression, unknown column or function, a
    /// type that cannot cross, types that do not fit each other. None is worth another try.
    pub fn parse(sql: &str, schema: &Schema) -> Result<Self, Error> {
        engine::quiet();
        engine::with_room(|| Self::parse_here(sql, schema)).unwrap_or_else(|| {
            Err(Error::Syntax {
                sql: sql.to_owned(),
                reason: "it cannot be worked on".to_owned(),
            })
        })
    }

    fn parse_here(sql: &str, schema: &Schema) -> Result<Self, Error> {
        let parsed = syntax::parse(sql, schema)?;
        // Before the engine sees it, which works out what is the same in all rows.
        check_weight(
            &parsed.sql,
            weight::of(
                &parsed.tree,
                &weight::Longest {
                    columns: &|_| 0,
                    pads: &[],
                },
            ),
        )?;
        let types = crossing_types(&parsed.columns, schema)?;
        let context = Context {
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
            Value::Constant(example)
        } else if weight::grows(&parsed.tree) {
            let lengths = weight::pad_lengths(&parsed.tree);
            if let Some(length) = lengths
                .iter()
                .find(|length| !weight::pad_lengths(length).is_empty())
            {
                let what =
                    format!("the length `{length}` pads a text by a length that is not known");
                return Err(Error::NotByRow {
                    sql: parsed.sql,
                    what,
                });
            }
            let pads = lengths
                .into_iter()
                .map(|length| context.checked(|| engine::plan(&syntax::rewritten(length), &empty)));
            let pads = pads.collect::<Result<_, _>>()?;
            Value::Growing(
                expr,
                Box::new(Growth {
                    tree: parsed.tree,
                    pads,
                }),
            )
        } else {
            Value::PerRow(expr)
        };
        let inner = Inner {
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

    /// The columns it reads, each once, in the order they are named; only these cross to the
    /// engine.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.inner.columns
    }

    /// The type of the values it makes, the same in every batch.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.inner.data_type
    }

    /// The simple comparisons that must all hold where the expression is true, for skipping row
    /// groups by their statistics.
    ///
    /// Conservative: what is not `column op literal`, joined by `AND`, contributes nothing, nor
    /// does a column whose statistics could mislead (32-bit floats, decimals, dates, and floats
    /// from below, since a value that is not a number is the greatest).
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        self.inner.bounds.clone()
    }

    /// Works the expression out for each row of a batch.
    ///
    /// **Shape.** One value a row, in row order, of [`Expression::data_type`]; a constant is
    /// repeated. Copies the columns it reads where their layout differs, so holds at most these
    /// columns and the result.
    ///
    /// # Errors
    /// [`Error::ChangedColumn`] when the batch is not of the schema the expression was parsed for;
    /// [`Error::Evaluate`] when a value cannot be worked on. None is worth another try.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, Error> {
        match &self.inner.value {
            Value::Constant(one_row) => Ok(repeated(one_row, batch.num_rows())),
            Value::PerRow(expr) => self.evaluate_rows(expr, &self.arrays(batch)?, batch.num_rows()),
            Value::Growing(expr, growth) => {
                let mut made = Vec::new();
                self.evaluate_bounded(
                    expr,
                    growth,
                    &self.arrays(batch)?,
                    batch.num_rows(),
                    &mut made,
                )?;
                if let [only] = made.as_slice() {
                    return Ok(Arc::clone(only));
                }
                let parts: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
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

    /// Works rows out in stretches so short that what is made on the way is bounded.
    fn evaluate_bounded(
        &self,
        expr: &Expr,
        growth: &Growth,
        arrays: &[ArrayRef],
        rows: usize,
        made: &mut Vec<ArrayRef>,
    ) -> Result<(), Error> {
        let longest: Vec<u64> = arrays.iter().map(weight::longest_cell).collect();
        let place = |name: &str| self.inner.columns.iter().position(|column| column == name);
        let columns = |name: &str| place(name).map_or(0, |place| longest[place]);
        let frame = self.context().frame(arrays, rows)?;
        let largest = |length: &Expr| {
            let lengths = self
                .context()
                .on_rows(|| engine::evaluate(length, &frame))?;
            Ok(weight::largest(&lengths))
        };
        let pads = growth
            .pads
            .iter()
            .map(largest)
            .collect::<Result<Vec<_>, Error>>()?;
        let weight = weight::of(
            &growth.tree,
            &weight::Longest {
                columns: &columns,
                pads: &pads,
            },
        );
        if rows > 1 && weight.row.saturating_mul(rows as u64) > weight::MAX_STRETCH_BYTES {
            let half = rows / 2;
            for (from, rows) in [(0, half), (half, rows - half)] {
                let slices: Vec<ArrayRef> =
                    arrays.iter().map(|array| array.slice(from, rows)).collect();
                self.evaluate_bounded(expr, growth, &slices, rows, made)?;
            }
            return Ok(());
        }
        if weight.row > weight::MAX_ROW_BYTES {
            let (bytes, limit) = (weight.row, weight::MAX_ROW_BYTES);
            return Err(Error::TooLarge {
                sql: self.inner.sql.clone(),
                bytes,
                limit,
            });
        }
        let values = self.evaluate_rows(expr, arrays, rows)?;
        if weight.cell > weight::MAX_CELL_BYTES {
            let cell = weight::longest_cell(&values);
            check_weight(&self.inner.sql, weight::Weight { cell, row: 0 })?;
        }
        made.push(values);
        Ok(())
    }

    /// Works a condition out for each row of a batch; where it is neither true nor false (null), it
    /// counts as false.
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

    fn context(&self) -> Context<'_> {
        Context {
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

    /// The values as promised: as many as rows, and of the type known since parsing.
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
            n => return Err(fault(format!("it made {n} values for {rows} rows"))),
        };
        if *values.data_type() == self.inner.data_type {
            return Ok(values);
        }
        cast(&values, &self.inner.data_type).map_err(|_| {
            fault(format!(
                "it made {}, not {}",
                values.data_type(),
                self.inner.data_type
            ))
        })
    }
}

/// Refuses an expression that makes too much of a row whatever the row holds.
fn check_weight(sql: &str, weight: weight::Weight) -> Result<(), Error> {
    let sizes = [
        (weight.cell, weight::MAX_CELL_BYTES),
        (weight.row, weight::MAX_ROW_BYTES),
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

/// The types of the columns that are read, all of which can cross.
fn crossing_types(columns: &[String], schema: &Schema) -> Result<Vec<DataType>, Error> {
    let types = columns.iter().filter_map(|name| {
        schema
            .field_with_name(name)
            .ok()
            .map(|field| (name, field.data_type()))
    });
    types
        .map(|(name, data_type)| match bridge::crossing(data_type) {
            Some(_) => Ok(data_type.clone()),
            None => Err(Error::UnsupportedType {
                column: name.clone(),
                data_type: data_type.clone(),
            }),
        })
        .collect()
}

/// A one-row array, as often as there are rows.
fn repeated(one_row: &ArrayRef, rows: usize) -> ArrayRef {
    let zeros = UInt32Array::from(vec![0; rows]);
    take(one_row, &zeros, None).unwrap_or_else(|_| new_empty_array(one_row.data_type()))
}
