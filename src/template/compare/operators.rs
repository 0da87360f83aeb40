//! The filters and tests that compare by the rule of nulls.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use crate::template::row::{is_null, is_plain_null, plain_null};

/// The filters that replace operators. Filters have a namespace of their own, so no column can hide
/// one.
const FILTERS: [(Operator, &str); 8] = [
    (Operator::Eq, "__RmEq"),
    (Operator::Ne, "__RmNe"),
    (Operator::Lt, "__RmLt"),
    (Operator::Le, "__RmLe"),
    (Operator::Gt, "__RmGt"),
    (Operator::Ge, "__RmGe"),
    (Operator::In, "__RmIn"),
    (Operator::NotIn, "__RmNotIn"),
];

/// The filter that is applied before a slice, `body[:2000]`: of a null, the engine would make an
/// empty list, which prints as `[]`.
pub(super) const SLICED: &str = "__RmSliced";

/// An operator that compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

impl Operator {
    pub(super) fn filter(self) -> &'static str {
        FILTERS
            .iter()
            .find(|(operator, _)| *operator == self)
            .map_or("", |(_, name)| name)
    }
}

/// Registers what the rewritten operators call, and the tests and filters that compare.
pub(in crate::template) fn add(env: &mut Environment<'static>) {
    env.add_filter(SLICED, |value: &Value| {
        defined(value)?;
        Ok::<Value, Error>(if is_plain_null(value) {
            Value::from("")
        } else {
            value.clone()
        })
    });
    env.add_filter("__RmEq", |a: &Value, b: &Value| {
        compare(a, b, |a, b| a == b)
    });
    env.add_filter("__RmNe", |a: &Value, b: &Value| {
        compare(a, b, |a, b| a != b)
    });
    env.add_filter("__RmLt", |a: &Value, b: &Value| compare(a, b, |a, b| a < b));
    env.add_filter("__RmLe", |a: &Value, b: &Value| {
        compare(a, b, |a, b| a <= b)
    });
    env.add_filter("__RmGt", |a: &Value, b: &Value| compare(a, b, |a, b| a > b));
    env.add_filter("__RmGe", |a: &Value, b: &Value| {
        compare(a, b, |a, b| a >= b)
    });
    env.add_filter("__RmIn", |state: &State, a: &Value, b: &Value| {
        is_in(state, a, b)
    });
    env.add_filter("__RmNotIn", |state: &State, a: &Value, b: &Value| {
        Ok::<bool, Error>(!is_in(state, a, b)? && !is_missing(a) && !is_missing(b))
    });
    for name in ["eq", "equalto", "=="] {
        env.add_test(name, |a: &Value, b: &Value| compare(a, b, |a, b| a == b));
    }
    for name in ["ne", "!="] {
        env.add_test(name, |a: &Value, b: &Value| compare(a, b, |a, b| a != b));
    }
    for name in ["lt", "lessthan", "<"] {
        env.add_test(name, |a: &Value, b: &Value| compare(a, b, |a, b| a < b));
    }
    for name in ["le", "<="] {
        env.add_test(name, |a: &Value, b: &Value| compare(a, b, |a, b| a <= b));
    }
    for name in ["gt", "greaterthan", ">"] {
        env.add_test(name, |a: &Value, b: &Value| compare(a, b, |a, b| a > b));
    }
    for name in ["ge", ">="] {
        env.add_test(name, |a: &Value, b: &Value| compare(a, b, |a, b| a >= b));
    }
    env.add_test("in", |state: &State, a: &Value, b: &Value| {
        is_in(state, a, b)
    });
    env.add_test("startingwith", |a: &Value, b: &Value| {
        affix(a, b, |text, start| text.starts_with(start))
    });
    env.add_test("endingwith", |a: &Value, b: &Value| {
        affix(a, b, |text, end| text.ends_with(end))
    });
    env.add_test("nan", is_nan);
    env.add_filter(
        "min",
        |state: &State, items: &Value, kwargs: Kwargs| match comparable(items, &kwargs)? {
            Some(kept) => filters::min(state, kept, kwargs),
            None => Ok(plain_null()),
        },
    );
    env.add_filter(
        "max",
        |state: &State, items: &Value, kwargs: Kwargs| match comparable(items, &kwargs)? {
            Some(kept) => filters::max(state, kept, kwargs),
            None => Ok(plain_null()),
        },
    );
    env.add_filter("sort", sort);
}

/// Whether a value takes part in no comparison.
fn is_missing(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Number => is_nan(value),
        ValueKind::Bool | ValueKind::String | ValueKind::Bytes => false,
        // A null cell is an object of the engine, which may look like a list or a map.
        _ => is_null(value),
    }
}

fn is_nan(value: &Value) -> bool {
    value.kind() == ValueKind::Number
        && !value.is_integer()
        && f64::try_from(value.clone()).is_ok_and(f64::is_nan)
}

#[inline]
fn compare(a: &Value, b: &Value, holds: fn(&Value, &Value) -> bool) -> Result<bool, Error> {
    defined(a)?;
    defined(b)?;
    // A null can only make a true comparison false, so a false one is not examined further.
    Ok(holds(a, b) && !is_missing(a) && !is_missing(b))
}

/// The engine's own error for a name that stands for nothing.
#[inline]
fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        // Any access fails, with an error that names the undefined expression.
        value.get_attr("").map(|_| ())
    } else {
        Ok(())
    }
}

fn is_in(state: &State, item: &Value, container: &Value) -> Result<bool, Error> {
    defined(container)?;
    defined(item)?;
    if is_missing(item) || is_missing(container) {
        return Ok(false);
    }
    // The engine's test answers `false` where its operator fails; templates were written for the
    // operator.
    match container.kind() {
        ValueKind::String
        | ValueKind::Seq
        | ValueKind::Iterable
        | ValueKind::Map
        | ValueKind::Plain => minijinja::tests::is_in(state, item, container),
        other => {
            let message = format!("`in` looks into a list, an object or a text, and got a {other}");
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    }
}

fn affix(text: &Value, affix: &Value, holds: fn(&str, &str) -> bool) -> Result<bool, Error> {
    defined(text)?;
    defined(affix)?;
    if is_missing(text) || is_missing(affix) {
        return Ok(false);
    }
    let words = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    Ok(holds(&words(text), &words(affix)))
}

/// The items of a list that can be compared: neither null nor NaN, nor is the attribute they are
/// compared by.
///
/// There are none where the list is null itself, or holds nothing else: the least of these is a
/// null. An empty list stays the engine's.
fn comparable(items: &Value, kwargs: &Kwargs) -> Result<Option<Value>, Error> {
    let attribute = kwargs.peek::<Option<&str>>("attribute")?;
    let (kept, missing) = split(items, attribute)?;
    if kept.is_empty() && (!missing.is_empty() || is_null(items)) {
        return Ok(None);
    }
    Ok(Some(Value::from(kept)))
}

/// The engine's order for what can be compared; what cannot stands behind it, or before it where
/// the order is reversed.
fn sort(state: &State, items: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let attribute = kwargs.peek::<Option<&str>>("attribute")?;
    // By several attributes the engine's order, in which nulls come last, is the only one there is.
    let (kept, missing) = match attribute {
        Some(attributes) if attributes.contains(',') => (list(items)?, Vec::new()),
        _ => split(items, attribute)?,
    };
    let reverse = kwargs.peek::<Option<bool>>("reverse")?.unwrap_or(false);
    let sorted = filters::sort(state, Value::from(kept), kwargs)?;
    if missing.is_empty() {
        return Ok(sorted);
    }
    let sorted = list(&sorted)?.into_iter();
    let all: Vec<Value> = if reverse {
        missing.into_iter().chain(sorted).collect()
    } else {
        sorted.chain(missing).collect()
    };
    Ok(Value::from(all))
}

fn list(items: &Value) -> Result<Vec<Value>, Error> {
    let not_a_list =
        |e| Error::new(ErrorKind::InvalidOperation, "cannot convert value to list").with_source(e);
    items.try_iter().map_err(not_a_list)?.checked().collect()
}

/// What can be compared, and what cannot.
fn split(items: &Value, attribute: Option<&str>) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut kept = Vec::new();
    let mut missing = Vec::new();
    for item in list(items)? {
        let by = match attribute {
            Some(path) => at_path(&item, path),
            None => item.clone(),
        };
        if is_missing(&by) {
            &mut missing
        } else {
            &mut kept
        }
        .push(item);
    }
    Ok((kept, missing))
}

fn at_path(item: &Value, path: &str) -> Value {
    let step = |value: Value, part: &str| match part.parse::<usize>() {
        Ok(place) => value.get_item(&Value::from(place)),
        Err(_) => value.get_attr(part),
    };
    path.split('.')
        .try_fold(item.clone(), step)
        .unwrap_or(Value::UNDEFINED)
}
