//! What an expression says about single columns, for skipping parts of a file by their statistics.

use arrow::datatypes::{DataType, Schema};
use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, ValueWithSpan};

/// A comparison of one column with a literal that holds for every row where the expression is true.
///
/// It is about the column as it was in the schema the expression was parsed for: where a file stores another type (because the
/// job reads a number as text), the statistics of the file do not answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The column on the left.
    pub column: String,
    /// The comparison.
    pub op: BoundOp,
    /// The literal on the right.
    pub value: BoundValue,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundOp {
    /// Equal.
    Eq,
    /// Less.
    Lt,
    /// Less or equal.
    LtEq,
    /// Greater.
    Gt,
    /// Greater or equal.
    GtEq,
}

/// A literal. Text only meets text columns, booleans boolean columns, and numbers columns of integers or 64-bit floats; text
/// compares by its bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum BoundValue {
    /// A whole number.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// The bounds of an expression.
pub(super) fn of(tree: &Expr, schema: &Schema) -> Vec<Bound> {
    let mut bounds = Vec::new();
    collect(tree, schema, &mut bounds);
    bounds
}

fn collect(expr: &Expr, schema: &Schema, bounds: &mut Vec<Bound>) {
    match expr {
        Expr::Nested(inner) => collect(inner, schema, bounds),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            collect(left, schema, bounds);
            collect(right, schema, bounds);
        }
        Expr::BinaryOp { left, op, right } => {
            let Some(op) = comparison(op) else { return };
            match (column(left), literal(right), literal(left), column(right)) {
                (Some(column), Some(value), _, _) => push(column, op, value, schema, bounds),
                (_, _, Some(value), Some(column)) => push(column, turned(op), value, schema, bounds),
                _ => {}
            }
        }
        Expr::Between { expr, negated: false, low, high } => {
            let Some(column) = column(expr) else { return };
            if let Some(low) = literal(low) {
                push(column, BoundOp::GtEq, low, schema, bounds);
            }
            if let Some(high) = literal(high) {
                push(column, BoundOp::LtEq, high, schema, bounds);
            }
        }
        Expr::InList { expr, list, negated: false } => {
            let (Some(column), [only]) = (column(expr), list.as_slice()) else { return };
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
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr)? {
            BoundValue::Int(n) => n.checked_neg().map(BoundValue::Int),
            BoundValue::Float(n) => Some(BoundValue::Float(-n)),
            _ => None,
        },
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(text, _) if text.contains('.') => text.parse().ok().map(BoundValue::Float),
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
    let Ok(field) = schema.field_with_name(column) else { return };
    if comparable(field.data_type(), op, &value) {
        bounds.push(Bound { column: column.to_owned(), op, value });
    }
}

fn comparable(data_type: &DataType, op: BoundOp, value: &BoundValue) -> bool {
    // Up to here, turning a whole number into a float neither joins two numbers nor changes their order.
    const EXACT: i64 = 1 << 53;
    match (data_type, value) {
        (DataType::Dictionary(_, values), _) => comparable(values, op, value),
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, BoundValue::Text(_)) => true,
        (DataType::Boolean, BoundValue::Bool(_)) => true,
        // Not-a-number is the greatest value for the engine and absent from statistics.
        (DataType::Float64, _) if matches!(op, BoundOp::Gt | BoundOp::GtEq) => false,
        (DataType::Float64, BoundValue::Float(n)) => n.is_finite(),
        (DataType::Float64, BoundValue::Int(n)) => n.unsigned_abs() < EXACT.unsigned_abs(),
        (integer, BoundValue::Int(_)) if integer.is_integer() => true,
        (integer, BoundValue::Float(n)) if integer.is_integer() => n.abs() < EXACT as f64,
        _ => false,
    }
}
