//! What an expression says about single columns, for skipping parts of a file by their statistics.

use arrow::datatypes::{DataType, Schema};
use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, ValueWithSpan};

use super::{Bound, BoundOp, BoundValue};

/// The bounds of an expression.
pub(super) fn of(tree: &Expr, schema: &Schema) -> Vec<Bound> {
    let mut bounds = Vec::new();
    collect(tree, schema, &mut bounds);
    bounds
}

fn collect(expr: &Expr, schema: &Schema, bounds: &mut Vec<Bound>) {
    match expr {
        Expr::Nested(inner) => collect(inner, schema, bounds),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            collect(left, schema, bounds);
            collect(right, schema, bounds);
        }
        Expr::BinaryOp { left, op, right } => {
            let Some(op) = comparison(op) else { return };
            match (column(left), literal(right), literal(left), column(right)) {
                (Some(column), Some(value), _, _) => push(column, op, value, schema, bounds),
                (_, _, Some(value), Some(column)) => {
                    push(column, turned(op), value, schema, bounds)
                }
                _ => {}
            }
        }
        Expr::Between {
            expr,
            negated: false,
            low,
            high,
        } => {
            let Some(column) = column(expr) else { return };
            if let Some(low) = literal(low) {
                push(column, BoundOp::GtEq, low, schema, bounds);
            }
            if let Some(high) = literal(high) {
                push(column, BoundOp::LtEq, high, schema, bounds);
            }
        }
        Expr::InList {
            expr,
            list,
            negated: false,
        } => {
            let (Some(column), [only]) = (column(expr), list.as_slice()) else {
                return;
            };
            if let Some(value) = literal(only) {
                push(column, BoundOp::Eq, value, schema, bounds);
            }
        }
        _ => {}
    }
}

fn comparison(op: &BinaryOperator) -> Option<BoundOp> {
    Some(match op {
        BinaryOperator::Eq => BoundOp::Eq,
        BinaryOperator::Lt => BoundOp::Lt,
        BinaryOperator::LtEq => BoundOp::LtEq,
        BinaryOperator::Gt => BoundOp::Gt,
        BinaryOperator::GtEq => BoundOp::GtEq,
        _ => return None,
    })
}

/// The same comparison read from right to left.
fn turned(op: BoundOp) -> BoundOp {
    match op {
        BoundOp::Eq => BoundOp::Eq,
        BoundOp::Lt => BoundOp::Gt,
        BoundOp::LtEq => BoundOp::GtEq,
        BoundOp::Gt => BoundOp::Lt,
        BoundOp::GtEq => BoundOp::LtEq,
    }
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<BoundValue> {
    match expr {
        Expr::Nested(inner) => literal(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match literal(expr)? {
            BoundValue::Int(n) => n.checked_neg().map(BoundValue::Int),
            BoundValue::Float(n) => Some(BoundValue::Float(-n)),
            _ => None,
        },
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(text, _) if text.contains(['.', 'e', 'E']) => {
                text.parse().ok().map(BoundValue::Float)
            }
            Value::Number(text, _) => text.parse().ok().map(BoundValue::Int),
            Value::SingleQuotedString(text) => Some(BoundValue::Text(text.clone())),
            Value::Boolean(value) => Some(BoundValue::Bool(*value)),
            _ => None,
        },
        _ => None,
    }
}

/// Adds a bound where the column's own order is that of the literal.
fn push(column: &str, op: BoundOp, value: BoundValue, schema: &Schema, bounds: &mut Vec<Bound>) {
    let Ok(field) = schema.field_with_name(column) else {
        return;
    };
    if let Some((op, value)) = fitted(field.data_type(), op, value) {
        bounds.push(Bound {
            column: column.to_owned(),
            op,
            value,
        });
    }
}

/// Up to here, turning a whole number into a float neither joins two numbers nor changes their
/// order.
const EXACT: f64 = (1_i64 << 53) as f64;

/// The bound as a comparison within the column's own type.
fn fitted(data_type: &DataType, op: BoundOp, value: BoundValue) -> Option<(BoundOp, BoundValue)> {
    match (data_type, value) {
        (DataType::Dictionary(_, values), value) => fitted(values, op, value),
        (
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View,
            value @ BoundValue::Text(_),
        ) => Some((op, value)),
        (DataType::Boolean, value @ BoundValue::Bool(_)) => Some((op, value)),
        // A value that is not a number is the greatest for the engine, and absent from statistics.
        (DataType::Float64, _) if matches!(op, BoundOp::Gt | BoundOp::GtEq) => None,
        (DataType::Float64, BoundValue::Int(n)) => {
            fitted(data_type, op, BoundValue::Float(n as f64))
        }
        (DataType::Float64, BoundValue::Float(n)) => {
            (n.abs() < EXACT).then_some((op, BoundValue::Float(n)))
        }
        (integer, value @ BoundValue::Int(_)) if integer.is_integer() => Some((op, value)),
        (integer, BoundValue::Float(n)) if integer.is_integer() && n.abs() < EXACT => whole(op, n),
        _ => None,
    }
}

/// The same comparison with a whole number: `x < 5.5` is `x <= 5`.
fn whole(op: BoundOp, n: f64) -> Option<(BoundOp, BoundValue)> {
    let (op, n) = match op {
        _ if n.fract() == 0.0 => (op, n),
        BoundOp::Eq => return None,
        BoundOp::Lt | BoundOp::LtEq => (BoundOp::LtEq, n.floor()),
        BoundOp::Gt | BoundOp::GtEq => (BoundOp::GtEq, n.ceil()),
    };
    Some((op, BoundValue::Int(n as i64)))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, AsArray, Float64Array, Int8Array, RecordBatch, StringArray,
    };
    use arrow::datatypes::{Float64Type, Int8Type};
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::{Config, RngSeed, TestRunner};

    use super::{BoundOp, BoundValue};
    use crate::table::Expression;

    /// All combinations of a few values that tend to cause trouble.
    fn rows() -> RecordBatch {
        let floats = [
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(-0.0),
            Some(5.5),
            Some(-7.0),
            None,
        ];
        let numbers = [Some(i8::MIN), Some(-1), Some(0), Some(5), Some(44), None];
        let texts = [Some(""), Some("5"), Some("é"), Some("zz"), None];
        let every = |place: usize| (place % 6, (place / 6) % 6, place / 36);
        let columns: [(&str, ArrayRef); 3] = [
            (
                "f",
                Arc::new(Float64Array::from_iter(
                    (0..180).map(|place| floats[every(place).0]),
                )),
            ),
            (
                "n",
                Arc::new(Int8Array::from_iter(
                    (0..180).map(|place| numbers[every(place).1]),
                )),
            ),
            (
                "t",
                Arc::new(StringArray::from_iter(
                    (0..180).map(|place| texts[every(place).2]),
                )),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn comparison() -> impl Strategy<Value = String> {
        let op = || select(vec!["=", "<", "<=", ">", ">=", "!="]);
        let number = || {
            select(vec![
                "0", "5", "-1", "5.5", "-7.0", "300", "-128", "1e1", "0.0",
            ])
        };
        let text = || select(vec!["''", "'5'", "'e'", "'zz'", "'é'"]);
        let column = || select(vec!["f", "n"]);
        prop_oneof![
            (column(), op(), number())
                .prop_map(|(column, op, number)| format!("{column} {op} {number}")),
            (column(), op(), number())
                .prop_map(|(column, op, number)| format!("{number} {op} ({column})")),
            (op(), text()).prop_map(|(op, text)| format!("t {op} {text}")),
            (column(), number(), number())
                .prop_map(|(column, low, high)| format!("{column} BETWEEN {low} AND {high}")),
            (column(), number()).prop_map(|(column, number)| format!("{column} IN ({number})")),
        ]
    }

    fn condition() -> impl Strategy<Value = String> {
        comparison().prop_recursive(3, 6, 2, |inner| {
            let joined = (
                inner.clone(),
                select(vec!["AND", "AND", "OR"]),
                inner.clone(),
            );
            prop_oneof![
                joined.prop_map(|(a, op, b)| format!("({a} {op} {b})")),
                inner.prop_map(|a| format!("NOT ({a})"))
            ]
        })
    }

    fn order(array: &ArrayRef, row: usize, value: &BoundValue) -> Option<Ordering> {
        match value {
            _ if array.is_null(row) => None,
            BoundValue::Int(n) => {
                i64::from(array.as_primitive::<Int8Type>().value(row)).partial_cmp(n)
            }
            BoundValue::Float(n) => array
                .as_primitive::<Float64Type>()
                .value(row)
                .partial_cmp(n),
            BoundValue::Text(text) => array
                .as_string::<i32>()
                .value(row)
                .partial_cmp(text.as_str()),
            BoundValue::Bool(_) => None,
        }
    }

    #[test]
    fn hold_for_every_row_where_the_expression_is_true() {
        let rows = rows();
        let config = Config {
            cases: 200,
            rng_seed: RngSeed::Fixed(11),
            failure_persistence: None,
            ..Config::default()
        };
        let found = std::cell::Cell::new(0);
        TestRunner::new(config)
            .run(&condition(), |sql| {
                let expression = Expression::parse_predicate(&sql, &rows.schema()).unwrap();
                let mask = expression.mask(&rows).unwrap();
                for bound in expression.bounds() {
                    let column = rows.column_by_name(&bound.column).unwrap();
                    for row in (0..rows.num_rows()).filter(|&row| mask.value(row)) {
                        let order = order(column, row, &bound.value);
                        let holds = order.is_some_and(|order| match bound.op {
                            BoundOp::Eq => order.is_eq(),
                            BoundOp::Lt => order.is_lt(),
                            BoundOp::LtEq => order.is_le(),
                            BoundOp::Gt => order.is_gt(),
                            BoundOp::GtEq => order.is_ge(),
                        });
                        prop_assert!(holds, "{sql}: {bound:?} does not hold in row {row}");
                        found.set(found.get() + 1);
                    }
                }
                Ok(())
            })
            .unwrap();
        assert!(
            found.get() > 1_000,
            "the property was hardly tried: {}",
            found.get()
        );
    }
}
