//! Whether a range of values excludes that any row in it matches a predicate.
//!
//! Rows are skipped only when that is certain. So nothing is concluded from missing,
//! truncated or deprecated statistics beyond what they promise, from values of another type, or
//! from an upper bound of floats: NaN is left out of statistics, yet it compares as greater than
//! every number.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};

use crate::table::{Bound, BoundOp, BoundValue};

/// Whether no row between the `i`-th values of `least` and `greatest` can match the bound. A null
/// there means unknown.
pub(super) fn excludes(bound: &Bound, least: &dyn Array, greatest: &dyn Array, i: usize) -> bool {
    match &bound.value {
        BoundValue::Int(value) => {
            if is_float(least.data_type()) {
                floats_exclude(bound.op, *value as f64, least, greatest, i)
            } else {
                outside(
                    bound.op,
                    &i128::from(*value),
                    integer(least, i).as_ref(),
                    integer(greatest, i).as_ref(),
                )
            }
        }
        BoundValue::Float(value) if is_float(least.data_type()) => {
            floats_exclude(bound.op, *value, least, greatest, i)
        }
        BoundValue::Float(value) => {
            // A comparison of an integer with a float may round the integer, which can only make
            // them equal. So `<` and `>` are treated as `<=` and `>=`.
            let (least, greatest) = (
                integer(least, i).map(|n| n as f64),
                integer(greatest, i).map(|n| n as f64),
            );
            !value.is_nan() && outside(or_equal(bound.op), value, least.as_ref(), greatest.as_ref())
        }
        BoundValue::Text(value) => {
            let (least, greatest) = (text(least, i), text(greatest, i));
            // Writers truncate long texts. An upper bound that was truncated without being raised
            // is below the values that begin with it.
            let cut = greatest
                .as_ref()
                .is_some_and(|greatest| value.starts_with(greatest.as_str()));
            let greatest = greatest.filter(|_| !cut);
            outside(bound.op, value, least.as_ref(), greatest.as_ref())
        }
        BoundValue::Bool(value) => outside(
            bound.op,
            value,
            boolean(least, i).as_ref(),
            boolean(greatest, i).as_ref(),
        ),
    }
}

/// Whether every value from `least` to `greatest` fails `x op value`; an unknown end excludes
/// nothing.
fn outside<T: PartialOrd>(op: BoundOp, value: &T, least: Option<&T>, greatest: Option<&T>) -> bool {
    let all_below = greatest.is_some_and(|greatest| greatest < value);
    let all_above = least.is_some_and(|least| least > value);
    match op {
        BoundOp::Eq => all_below || all_above,
        BoundOp::Lt => least.is_some_and(|least| least >= value),
        BoundOp::LtEq => all_above,
        BoundOp::Gt => greatest.is_some_and(|greatest| greatest <= value),
        BoundOp::GtEq => all_below,
    }
}

fn or_equal(op: BoundOp) -> BoundOp {
    match op {
        BoundOp::Lt => BoundOp::LtEq,
        BoundOp::Gt => BoundOp::GtEq,
        other => other,
    }
}

fn floats_exclude(
    op: BoundOp,
    value: f64,
    least: &dyn Array,
    greatest: &dyn Array,
    i: usize,
) -> bool {
    // A NaN among the rows is above the upper bound that the statistics give.
    if value.is_nan() || matches!(op, BoundOp::Gt | BoundOp::GtEq) {
        return false;
    }
    let (Some(least), Some(greatest)) = (float(least, i), float(greatest, i)) else {
        return false;
    };
    let op = or_equal(op);
    let wide = outside(op, &value, Some(&least), Some(&greatest));
    // A comparison with 32-bit floats may round the value to one of them.
    wide && outside(
        op,
        &(value as f32),
        Some(&(least as f32)),
        Some(&(greatest as f32)),
    )
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn integer(array: &dyn Array, i: usize) -> Option<i128> {
    if array.is_null(i) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(i).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(i).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(i).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(i).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(i).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(i).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(i).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(i).into(),
        _ => return None,
    })
}

fn float(array: &dyn Array, i: usize) -> Option<f64> {
    if array.is_null(i) {
        return None;
    }
    let value = match array.data_type() {
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(i)),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(i),
        _ => return None,
    };
    (!value.is_nan()).then_some(value)
}

fn text(array: &dyn Array, i: usize) -> Option<String> {
    if array.is_null(i) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(i).to_owned()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(i).to_owned()),
        DataType::Utf8View => Some(array.as_string_view().value(i).to_owned()),
        _ => None,
    }
}

fn boolean(array: &dyn Array, i: usize) -> Option<bool> {
    let array = array.as_boolean_opt()?;
    array.is_valid(i).then(|| array.value(i))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray, UInt64Array,
    };

    use super::*;

    fn check(range: (ArrayRef, ArrayRef), value: &BoundValue, excluding: &[BoundOp]) {
        for op in [
            BoundOp::Eq,
            BoundOp::Lt,
            BoundOp::LtEq,
            BoundOp::Gt,
            BoundOp::GtEq,
        ] {
            let bound = Bound {
                column: "a".to_owned(),
                op,
                value: value.clone(),
            };
            assert_eq!(
                excludes(&bound, &range.0, &range.1, 0),
                excluding.contains(&op),
                "{op:?} {value:?} {range:?}"
            );
        }
    }

    fn ints(least: Option<i64>, greatest: Option<i64>) -> (ArrayRef, ArrayRef) {
        (
            Arc::new(Int64Array::from(vec![least])),
            Arc::new(Int64Array::from(vec![greatest])),
        )
    }
    fn texts(least: &str, greatest: &str) -> (ArrayRef, ArrayRef) {
        (
            Arc::new(StringArray::from(vec![least])),
            Arc::new(StringArray::from(vec![greatest])),
        )
    }
    fn floats(least: f64, greatest: f64) -> (ArrayRef, ArrayRef) {
        (
            Arc::new(Float64Array::from(vec![least])),
            Arc::new(Float64Array::from(vec![greatest])),
        )
    }

    #[test]
    fn excludes_only_what_cannot_match() {
        use BoundOp::{Eq, Gt, GtEq, Lt, LtEq};
        use BoundValue::{Bool, Float, Int, Text};
        let ten = || ints(Some(1), Some(10));
        check(ten(), &Int(0), &[Eq, Lt, LtEq]);
        check(ten(), &Int(1), &[Lt]);
        check(ten(), &Int(5), &[]);
        check(ten(), &Int(10), &[Gt]);
        check(ten(), &Int(11), &[Eq, Gt, GtEq]);
        check(ints(Some(1), None), &Int(0), &[Eq, Lt, LtEq]);
        check(ints(None, Some(10)), &Int(11), &[Eq, Gt, GtEq]);
        check(ints(None, None), &Int(11), &[]);
        check(ten(), &Float(10.0), &[]);
        check(ten(), &Float(10.5), &[Eq, Gt, GtEq]);
        check(ten(), &Float(f64::NAN), &[]);
        check(ten(), &Text("a".to_owned()), &[]);
        check(texts("b", "d"), &Text("a".to_owned()), &[Eq, Lt, LtEq]);
        check(texts("b", "d"), &Text("e".to_owned()), &[Eq, Gt, GtEq]);
        check(texts("b", "d"), &Text("da".to_owned()), &[]);
        check(texts("b", "d"), &Int(1), &[]);
        let no: ArrayRef = Arc::new(BooleanArray::from(vec![false]));
        check((no.clone(), no), &Bool(true), &[Eq, Gt, GtEq]);
        let wide: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        check((wide.clone(), wide), &Int(-1), &[Eq, Lt, LtEq]);
    }

    #[test]
    fn never_excludes_floats_from_above() {
        use BoundOp::{Eq, LtEq};
        use BoundValue::{Float, Int};
        check(floats(1.0, 3.0), &Float(5.0), &[Eq]);
        check(floats(1.0, 3.0), &Int(0), &[Eq, BoundOp::Lt, LtEq]);
        check(floats(1.0, 3.0), &Int(1), &[]);
        check(floats(f64::NAN, f64::NAN), &Float(5.0), &[]);
        check(floats(-0.0, 0.0), &Float(0.0), &[]);
        let tenth: ArrayRef = Arc::new(Float32Array::from(vec![0.1_f32]));
        check((tenth.clone(), tenth), &Float(0.1), &[]);
    }
}
