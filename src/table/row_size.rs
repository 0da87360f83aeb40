//! The largest result of an expression for one row, estimated before it is evaluated.
//!
//! `rpad(text, 2000000000)` is a short expression that produces two gigabytes for each row, and
//! polars allocates them at once. So the most bytes that each part of an expression can produce are
//! estimated from the longest cells of the columns it reads. An expression that is too large for
//! any row is rejected when it is parsed; otherwise rows are evaluated in slices small enough to be
//! bounded.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator,
    Value, ValueWithSpan,
};

/// The most bytes of a text that an expression may produce for one row.
pub(super) const MAX_CELL_BYTES: u64 = 64 << 20;
/// The most bytes of all intermediate results for one row; an upper bound, often far above the real
/// size.
pub(super) const MAX_ROW_BYTES: u64 = 512 << 20;
/// The most bytes of all intermediate results for the rows of a slice.
pub(super) const MAX_SLICE_BYTES: u64 = 256 << 20;

/// Numbers, dates and the like, also as text.
const SMALL: u64 = 64;

/// Functions whose text can be longer than all their arguments together.
const PADS: [&str; 2] = ["lpad", "rpad"];

/// The largest inputs in the rows.
pub(super) struct LongestCells<'a> {
    /// The longest cell of each column, in bytes.
    pub(super) columns: &'a dyn Fn(&str) -> u64,
    /// The largest length of each `lpad` and `rpad` whose length is not a literal, in the order of
    /// [`pad_lengths`].
    pub(super) pads: &'a [u64],
}

/// The most bytes that an expression produces for one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowSize {
    /// The text that results; small for other types.
    pub(super) cell: u64,
    /// Including all intermediate results.
    pub(super) row: u64,
}

/// Whether an expression can produce longer texts than its columns hold.
pub(super) fn grows(expr: &Expr) -> bool {
    let mut found = false;
    each(expr, &mut |part| {
        found |= match part {
            Expr::BinaryOp { op, .. } => {
                matches!(op, BinaryOperator::StringConcat | BinaryOperator::Plus)
            }
            Expr::Function(function) => matches!(
                name(function).as_str(),
                "lpad"
                    | "rpad"
                    | "replace"
                    | "concat"
                    | "concat_ws"
                    | "array_to_string"
                    | "upper"
                    | "lower"
                    | "strftime"
            ),
            _ => false,
        };
    });
    found
}

/// The lengths of `lpad` and `rpad` that are not literals, in order.
pub(super) fn pad_lengths(expr: &Expr) -> Vec<&Expr> {
    let mut lengths = Vec::new();
    each(expr, &mut |part| {
        if let Expr::Function(function) = part
            && PADS.contains(&name(function).as_str())
            && let Some(length) = arguments(function).nth(1)
            && literal(length).is_none()
        {
            lengths.push(length);
        }
    });
    lengths
}

/// The most bytes that an expression makes of one row.
pub(super) fn of(expr: &Expr, longest: &LongestCells<'_>) -> RowSize {
    let mut estimator = SizeEstimator {
        longest,
        row: 0,
        pad: 0,
    };
    let cell = estimator.cell(expr);
    RowSize {
        cell,
        row: estimator.row,
    }
}

struct SizeEstimator<'a> {
    longest: &'a LongestCells<'a>,
    row: u64,
    /// The next length of a pad that is no literal.
    pad: usize,
}

impl SizeEstimator<'_> {
    /// Visits parts in the order of [`each`], so that the lengths in `pads` are used in the order
    /// of
    /// [`pad_lengths`]: an expression before the expressions in it.
    fn cell(&mut self, expr: &Expr) -> u64 {
        let length = self.pad_length(expr);
        let inner: Vec<u64> = children(expr)
            .into_iter()
            .map(|child| self.cell(child))
            .collect();
        let at = |place: usize| inner.get(place).copied().unwrap_or(0);
        let sum = || {
            inner
                .iter()
                .fold(0_u64, |sum, bytes| sum.saturating_add(*bytes))
        };
        let largest = inner.iter().copied().max().unwrap_or(0);
        let cell = match expr {
            Expr::Identifier(name) => (self.longest.columns)(&name.value),
            Expr::CompoundIdentifier(names) => names
                .first()
                .map_or(0, |name| (self.longest.columns)(&name.value)),
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(text),
                ..
            }) => text.len() as u64,
            Expr::BinaryOp {
                op: BinaryOperator::StringConcat | BinaryOperator::Plus,
                ..
            } => sum(),
            Expr::BinaryOp { .. } => SMALL.min(largest),
            Expr::Function(function) => match name(function).as_str() {
                "lpad" | "rpad" => {
                    let fill = arguments(function)
                        .nth(2)
                        .and_then(text)
                        .map_or(1, |fill| fill.len() as u64);
                    at(0).saturating_add(length.saturating_mul(fill))
                }
                "replace" => {
                    let old = arguments(function)
                        .nth(1)
                        .and_then(text)
                        .map_or(0, |old| old.len() as u64);
                    // An empty text is found before and after each character.
                    let times = at(0).checked_div(old).unwrap_or(at(0).saturating_add(1));
                    at(0).saturating_add(times.saturating_mul(at(2)))
                }
                "concat" => sum(),
                "concat_ws" => sum().saturating_add(at(0).saturating_mul(inner.len() as u64)),
                "array_to_string" => {
                    at(0).saturating_add(at(0).saturating_add(1).saturating_mul(at(1)))
                }
                "upper" | "lower" => at(0).saturating_mul(3),
                "strftime" => at(1).saturating_mul(SMALL),
                _ => largest,
            },
            _ => largest,
        };
        self.row = self.row.saturating_add(cell);
        cell
    }

    fn pad_length(&mut self, expr: &Expr) -> u64 {
        let Expr::Function(function) = expr else {
            return 0;
        };
        if !PADS.contains(&name(function).as_str()) {
            return 0;
        }
        let Some(length) = arguments(function).nth(1) else {
            return 0;
        };
        literal(length).unwrap_or_else(|| {
            self.pad += 1;
            self.longest.pads.get(self.pad - 1).copied().unwrap_or(0)
        })
    }
}

/// Calls with an expression and all that is in it, a part before what is in it.
fn each<'e>(expr: &'e Expr, call: &mut impl FnMut(&'e Expr)) {
    call(expr);
    for child in children(expr) {
        each(child, call);
    }
}

/// The parts of an expression, as far as `syntax.rs` allows them.
fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Nested(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Cast { expr: inner, .. }
        | Expr::Extract { expr: inner, .. }
        | Expr::Ceil { expr: inner, .. }
        | Expr::Floor { expr: inner, .. }
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::CompoundFieldAccess { root: inner, .. } => vec![inner],
        Expr::BinaryOp { left, right, .. }
        | Expr::IsDistinctFrom(left, right)
        | Expr::IsNotDistinctFrom(left, right) => {
            vec![left, right]
        }
        Expr::Between {
            expr, low, high, ..
        } => vec![expr, low, high],
        Expr::InList { expr, list, .. } => std::iter::once(&**expr).chain(list).collect(),
        Expr::Like { expr, pattern, .. }
        | Expr::ILike { expr, pattern, .. }
        | Expr::RLike { expr, pattern, .. } => {
            vec![expr, pattern]
        }
        Expr::Position { expr, r#in } => vec![expr, r#in],
        Expr::Substring {
            expr,
            substring_from,
            substring_for,
            ..
        } => std::iter::once(&**expr)
            .chain(substring_from.as_deref())
            .chain(substring_for.as_deref())
            .collect(),
        Expr::Trim {
            expr, trim_what, ..
        } => std::iter::once(&**expr)
            .chain(trim_what.as_deref())
            .collect(),
        Expr::Case {
            operand,
            conditions,
            else_result,
            ..
        } => {
            let branches = conditions
                .iter()
                .flat_map(|when| [&when.condition, &when.result]);
            operand
                .as_deref()
                .into_iter()
                .chain(branches)
                .chain(else_result.as_deref())
                .collect()
        }
        Expr::Function(function) => arguments(function).collect(),
        _ => Vec::new(),
    }
}

fn name(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

fn arguments(function: &Function) -> impl Iterator<Item = &Expr> {
    let list = if let FunctionArguments::List(list) = &function.args {
        list.args.as_slice()
    } else {
        &[]
    };
    list.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => text(inner),
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text),
            ..
        }) => Some(text),
        _ => None,
    }
}

/// A whole number that is not negative, or 0 for one that is.
fn literal(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Nested(inner) => literal(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => literal(expr).map(|_| 0),
        Expr::Value(ValueWithSpan {
            value: Value::Number(text, _),
            ..
        }) => text
            .parse::<f64>()
            .ok()
            .map(|number| number.clamp(0.0, 1e18) as u64),
        Expr::Value(ValueWithSpan {
            value: Value::Null, ..
        }) => Some(0),
        _ => None,
    }
}

/// The longest cell of a column, in bytes; of lists and structs what all rows hold, where there are
/// several.
pub(super) fn longest_cell(column: &ArrayRef) -> u64 {
    fn by_offsets<O: arrow::array::OffsetSizeTrait>(offsets: &[O]) -> u64 {
        offsets
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_usize() as u64)
            .max()
            .unwrap_or(0)
    }
    match column.data_type() {
        DataType::Utf8 => by_offsets(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => by_offsets(column.as_string::<i64>().value_offsets()),
        DataType::Binary => by_offsets(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => by_offsets(column.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => column.as_string_view().lengths().max().unwrap_or(0).into(),
        DataType::BinaryView => column.as_binary_view().lengths().max().unwrap_or(0).into(),
        DataType::Dictionary(..) => longest_cell(column.as_any_dictionary().values()),
        nested if nested.is_nested() => {
            let row = if column.len() == 1 {
                take(column, &arrow::array::UInt32Array::from(vec![0]), None).ok()
            } else {
                None
            };
            row.as_ref().unwrap_or(column).get_buffer_memory_size() as u64
        }
        _ => SMALL,
    }
}

/// The largest of the lengths that an expression asks for.
pub(super) fn largest(lengths: &ArrayRef) -> u64 {
    let Ok(lengths) = cast(lengths, &DataType::Int64) else {
        return 0;
    };
    let largest = lengths
        .as_primitive::<Int64Type>()
        .iter()
        .flatten()
        .max()
        .unwrap_or(0);
    u64::try_from(largest).unwrap_or(0)
}
