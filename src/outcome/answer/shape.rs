//! JSON schema → the shape of a column.
//!
//! A schema is first made flat (references followed, `allOf` merged), then looked at as a whole.
//! What does not reduce to one plain type becomes [`ColumnShape::Json`]: a wrong guess would lose
//! values, JSON text never does.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde_json::{Map, Value};

/// Most nodes a schema may unfold to: references can make a small schema grow without end.
const MAX_NODES: usize = 20_000;

/// What an answer, or a part of it, looks like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnShape {
    Text,
    Choice(Arc<Choices>),
    Integer,
    Number,
    Boolean,
    Object(Vec<(String, ColumnShape)>),
    List(Box<ColumnShape>),
    /// Never anything but null.
    Null,
    /// Anything; kept as JSON text.
    Json,
    /// Text that becomes this type; checked before.
    Typed(DataType),
}

/// The words of an enum, in the schema's order, and the place of each.
#[derive(Debug, PartialEq)]
pub(super) struct Choices {
    pub(super) words: Vec<String>,
    pub(super) places: HashMap<String, i32>,
}

impl Choices {
    fn new<'a>(words: impl Iterator<Item = &'a str>) -> Choices {
        let mut choices = Choices {
            words: Vec::new(),
            places: HashMap::new(),
        };
        for word in words {
            if !choices.places.contains_key(word) {
                let place =
                    i32::try_from(choices.words.len()).expect("an enum has fewer than 2^31 words");
                choices.places.insert(word.to_owned(), place);
                choices.words.push(word.to_owned());
            }
        }
        choices
    }
}

impl ColumnShape {
    /// The Arrow type of the column.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            ColumnShape::Text | ColumnShape::Null | ColumnShape::Json => DataType::Utf8,
            ColumnShape::Choice(_) => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            ColumnShape::Integer => DataType::Int64,
            ColumnShape::Number => DataType::Float64,
            ColumnShape::Boolean => DataType::Boolean,
            ColumnShape::Typed(data_type) => data_type.clone(),
            ColumnShape::Object(members) => DataType::Struct(
                members
                    .iter()
                    .map(|(name, shape)| Field::new(name, shape.data_type(), true))
                    .collect(),
            ),
            ColumnShape::List(item) => {
                DataType::List(Arc::new(Field::new_list_field(item.data_type(), true)))
            }
        }
    }

    /// The first place where a value does not fit the column, as a JSON pointer, and what is wrong
    /// there.
    ///
    /// The validator has seen the value already; this is about what Arrow cannot hold.
    pub(super) fn misfit(&self, value: &Value) -> Option<(String, String)> {
        if value.is_null() {
            return None;
        }
        let here = |problem: &str| Some((String::new(), problem.to_owned()));
        match (self, value) {
            (ColumnShape::Json, _)
            | (ColumnShape::Text | ColumnShape::Typed(_), Value::String(_))
            | (ColumnShape::Boolean, Value::Bool(_)) => None,
            (ColumnShape::Choice(choices), Value::String(word))
                if choices.places.contains_key(word) =>
            {
                None
            }
            (ColumnShape::Integer, Value::Number(_)) if integer(value).is_some() => None,
            (ColumnShape::Integer, Value::Number(_)) => {
                here("the number is not an integer of 64 bits")
            }
            (ColumnShape::Number, Value::Number(_)) => None,
            (ColumnShape::Object(members), Value::Object(object)) => {
                members.iter().find_map(|(name, shape)| {
                    let (pointer, problem) = shape.misfit(object.get(name)?)?;
                    Some((
                        format!("/{}{pointer}", name.replace('~', "~0").replace('/', "~1")),
                        problem,
                    ))
                })
            }
            (ColumnShape::List(item), Value::Array(items)) => {
                items.iter().enumerate().find_map(|(i, value)| {
                    let (pointer, problem) = item.misfit(value)?;
                    Some((format!("/{i}{pointer}"), problem))
                })
            }
            _ => here("the value is of another type than its column"),
        }
    }
}

/// A JSON number as an `i64`, if it is one: `3`, and `3.0` too.
pub(super) fn integer(value: &Value) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0; // 2^63, exact
    value.as_i64().or_else(|| {
        let number = value
            .as_f64()
            .filter(|n| !value.is_u64() && n.fract() == 0.0 && (-BOUND..BOUND).contains(n))?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within the bounds, both just checked"
        )]
        Some(number as i64)
    })
}

/// The shape of a schema's answers.
///
/// An object at the top always becomes columns, even where it allows members of other names.
pub(super) fn of(schema: &Value) -> ColumnShape {
    let mut unfolder = ShapeReader {
        root: schema,
        nodes: 0,
    };
    match unfolder.shape(schema, &[], true) {
        ColumnShape::Null => ColumnShape::Json,
        shape => shape,
    }
}

/// The part of a schema that decides a shape, with references followed and `allOf` merged.
#[derive(Debug, Clone, Default)]
struct FlatSchema {
    types: Option<Vec<String>>,
    values: Option<Vec<Value>>,
    properties: Option<Vec<(String, Value)>>,
    items: Option<Value>,
    /// Members of other names, or items by place: no struct or list can hold them.
    open: bool,
    union: Option<Vec<Value>>,
}

struct ShapeReader<'s> {
    root: &'s Value,
    nodes: usize,
}

impl ShapeReader<'_> {
    fn shape(&mut self, schema: &Value, followed: &[String], top: bool) -> ColumnShape {
        let mut followed = followed.to_vec();
        match self.flat(schema, &mut followed) {
            Some(flat) => self.flat_shape(flat, &followed, top),
            None => ColumnShape::Json,
        }
    }

    fn flat_shape(&mut self, mut flat: FlatSchema, followed: &[String], top: bool) -> ColumnShape {
        if let Some(branches) = flat.union.take() {
            return self.union_shape(&flat, &branches, followed, top);
        }
        if let Some(values) = &mut flat.values {
            values.retain(|v| !v.is_null());
        }
        match self.type_of(&flat) {
            Some("string") => match &flat.values {
                Some(values) => ColumnShape::Choice(Arc::new(Choices::new(
                    values.iter().filter_map(Value::as_str),
                ))),
                None => ColumnShape::Text,
            },
            Some("integer") => ColumnShape::Integer,
            Some("number") => ColumnShape::Number,
            Some("boolean") => ColumnShape::Boolean,
            Some("null") => ColumnShape::Null,
            Some("object") if !flat.open || top => self.object(flat.properties, followed),
            Some("array") if !flat.open => match flat.items {
                Some(items) if items.is_object() => {
                    ColumnShape::List(Box::new(self.shape(&items, followed, false).or_json()))
                }
                _ => ColumnShape::Json,
            },
            _ => ColumnShape::Json,
        }
    }

    fn object(
        &mut self,
        properties: Option<Vec<(String, Value)>>,
        followed: &[String],
    ) -> ColumnShape {
        let members: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name, self.shape(&schema, followed, false).or_json()))
            .collect();
        // Parquet knows no struct without members.
        if members.is_empty() {
            ColumnShape::Json
        } else {
            ColumnShape::Object(members)
        }
    }

    /// The one type besides null, declared or implied by the rest of the schema; `None` if there
    /// are several or any.
    fn type_of(&self, flat: &FlatSchema) -> Option<&'static str> {
        let declared = flat.types.as_ref().map(|types| {
            let mut types: Vec<_> = types
                .iter()
                .map(String::as_str)
                .filter(|t| *t != "null")
                .collect();
            types.sort_unstable();
            match types[..] {
                [] => Some("null"),
                ["integer", "number"] => Some("number"),
                [one] => KINDS.iter().copied().find(|kind| *kind == one),
                _ => None,
            }
        });
        match declared {
            Some(kind) => kind,
            None if flat.values.is_some() => {
                type_of_values(flat.values.as_deref().unwrap_or_default())
            }
            None if flat.properties.is_some() => Some("object"),
            None if flat.items.is_some() => Some("array"),
            None => None,
        }
    }

    fn union_shape(
        &mut self,
        base: &FlatSchema,
        branches: &[Value],
        followed: &[String],
        top: bool,
    ) -> ColumnShape {
        let mut shape = ColumnShape::Null;
        for branch in branches {
            let mut followed = followed.to_vec();
            let merged = self
                .flat(branch, &mut followed)
                .and_then(|branch| merge(base.clone(), branch));
            let Some(merged) = merged else {
                return ColumnShape::Json;
            };
            shape = unify(shape, self.flat_shape(merged, &followed, top));
        }
        shape
    }

    fn flat(&mut self, schema: &Value, followed: &mut Vec<String>) -> Option<FlatSchema> {
        self.nodes += 1;
        let object = schema.as_object().filter(|_| self.nodes < MAX_NODES)?;
        let mut flat = FlatSchema::of(object);
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            flat = merge(flat, self.follow(reference, followed)?)?;
        }
        for part in object
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            flat = merge(flat, self.flat(part, followed)?)?;
        }
        Some(flat)
    }

    fn follow(&mut self, reference: &str, followed: &mut Vec<String>) -> Option<FlatSchema> {
        if followed.iter().any(|seen| seen == reference) {
            return None; // a schema that contains itself
        }
        let target = self.root.pointer(reference.strip_prefix('#')?)?;
        followed.push(reference.to_owned());
        self.flat(target, followed)
    }
}

/// The types of JSON Schema besides null.
const KINDS: [&str; 6] = ["string", "integer", "number", "boolean", "object", "array"];

fn type_of_values(values: &[Value]) -> Option<&'static str> {
    let all = |test: fn(&Value) -> bool| values.iter().all(test);
    match values {
        [] => Some("null"),
        _ if all(Value::is_string) => Some("string"),
        _ if all(Value::is_boolean) => Some("boolean"),
        _ if all(|v| integer(v).is_some()) => Some("integer"),
        _ if all(Value::is_number) => Some("number"),
        _ => None,
    }
}

impl ColumnShape {
    fn or_json(self) -> ColumnShape {
        if self == ColumnShape::Null {
            ColumnShape::Json
        } else {
            self
        }
    }
}

impl FlatSchema {
    fn of(object: &Map<String, Value>) -> FlatSchema {
        let list = |key: &str| object.get(key).and_then(Value::as_array).cloned();
        let flag = |key: &str| object.get(key).is_some_and(|v| *v != Value::Bool(false));
        let types = match object.get("type") {
            Some(Value::String(one)) => Some(vec![one.clone()]),
            Some(Value::Array(types)) => Some(
                types
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            _ => None,
        };
        let pairs = |members: &Map<String, Value>| {
            members
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        };
        FlatSchema {
            types,
            values: object
                .get("const")
                .map(|word| vec![word.clone()])
                .or_else(|| list("enum")),
            properties: object
                .get("properties")
                .and_then(Value::as_object)
                .map(pairs),
            items: object.get("items").cloned(),
            open: flag("additionalProperties") || flag("patternProperties") || flag("prefixItems"),
            union: match (list("anyOf"), list("oneOf")) {
                // A value must fit both lists; `[]` stands for a union of nothing we can name.
                (Some(_), Some(_)) => Some(vec![Value::Bool(true)]),
                (any, one) => any.or(one),
            },
        }
    }
}

/// A schema that asks for both; `None` where that is not simple.
fn merge(a: FlatSchema, b: FlatSchema) -> Option<FlatSchema> {
    if a.union.is_some() && b.union.is_some() {
        return None;
    }
    Some(FlatSchema {
        types: both(a.types, b.types, |a, b| common_types(&a, &b)),
        values: both(a.values, b.values, |a, b| {
            a.into_iter().filter(|v| b.contains(v)).collect()
        }),
        properties: both(a.properties, b.properties, merge_properties),
        items: both(a.items, b.items, all_of),
        open: a.open || b.open,
        union: a.union.or(b.union),
    })
}

fn both<T>(a: Option<T>, b: Option<T>, merge: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(merge(a, b)),
        (a, b) => a.or(b),
    }
}

fn common_types(a: &[String], b: &[String]) -> Vec<String> {
    let has = |types: &[String], kind: &str| types.iter().any(|t| t == kind);
    let allows = |types: &[String], kind: &str| {
        has(types, kind) || (kind == "integer" && has(types, "number"))
    };
    let mut common: Vec<String> = a.iter().filter(|t| allows(b, t)).cloned().collect();
    common.extend(b.iter().filter(|t| !has(a, t) && allows(a, t)).cloned());
    common
}

fn merge_properties(mut a: Vec<(String, Value)>, b: Vec<(String, Value)>) -> Vec<(String, Value)> {
    for (name, schema) in b {
        match a.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = all_of(known.take(), schema),
            None => a.push((name, schema)),
        }
    }
    a
}

fn all_of(a: Value, b: Value) -> Value {
    if a == b {
        a
    } else {
        serde_json::json!({ "allOf": [a, b] })
    }
}

/// One shape for two branches of a union.
fn unify(a: ColumnShape, b: ColumnShape) -> ColumnShape {
    match (a, b) {
        (ColumnShape::Null, shape) | (shape, ColumnShape::Null) => shape,
        (a, b) if a == b => a,
        (ColumnShape::Integer, ColumnShape::Number)
        | (ColumnShape::Number, ColumnShape::Integer) => ColumnShape::Number,
        (ColumnShape::Text, ColumnShape::Choice(_))
        | (ColumnShape::Choice(_), ColumnShape::Text) => ColumnShape::Text,
        (ColumnShape::Choice(a), ColumnShape::Choice(b)) => ColumnShape::Choice(Arc::new(
            Choices::new(a.words.iter().chain(&b.words).map(String::as_str)),
        )),
        _ => ColumnShape::Json,
    }
}
