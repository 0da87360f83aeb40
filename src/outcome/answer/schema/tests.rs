use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Map, Value, json};

use super::*;

fn compiled(schema: &Value) -> AnswerSchema {
    AnswerSchema::compile(schema).unwrap()
}

/// The type of the one column of a schema for a member.
fn column_of(member: &Value, defs: &Value) -> DataType {
    let schema = json!({ "type": "object", "properties": { "a": member }, "$defs": defs });
    compiled(&schema).fields()[0].data_type().clone()
}

fn choice() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

#[test]
fn gives_each_kind_of_schema_its_column_type() {
    let defs = json!({
        "word": { "type": "string", "enum": ["a", "b"] },
        "point": { "type": "object", "properties": { "x": { "type": "number" } }, "additionalProperties": false },
        "tree": { "type": "object", "properties": { "kids": { "type": "array", "items": { "$ref": "#/$defs/tree" } } } }
    });
    let point = DataType::Struct(vec![Field::new("x", DataType::Float64, true)].into());
    let list = |item: DataType| DataType::List(Field::new_list_field(item, true).into());
    for (member, expected) in [
        (json!({"type": "string"}), DataType::Utf8),
        (
            json!({"type": "string", "format": "date-time"}),
            DataType::Utf8,
        ),
        (json!({"type": "string", "enum": ["a", "b"]}), choice()),
        (json!({"enum": ["a", "b", null]}), choice()),
        (json!({"const": "a"}), choice()),
        (json!({"enum": [1, 2]}), DataType::Int64),
        (json!({"enum": [1, 2.5]}), DataType::Float64),
        (json!({"enum": [1, "a"]}), DataType::Utf8),
        (json!({"type": "integer"}), DataType::Int64),
        (json!({"type": "number"}), DataType::Float64),
        (
            json!({"type": ["integer", "number", "null"]}),
            DataType::Float64,
        ),
        (json!({"type": "boolean"}), DataType::Boolean),
        (json!({"type": "null"}), DataType::Utf8),
        (json!({"type": ["string", "null"]}), DataType::Utf8),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            DataType::Int64,
        ),
        (
            json!({"oneOf": [{"$ref": "#/$defs/word"}, {"type": "null"}]}),
            choice(),
        ),
        (
            json!({"anyOf": [{"enum": ["a"]}, {"enum": ["b"]}]}),
            choice(),
        ),
        (
            json!({"anyOf": [{"enum": ["a"]}, {"type": "string"}]}),
            DataType::Utf8,
        ),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
            DataType::Utf8,
        ),
        (json!({"type": ["integer", "string"]}), DataType::Utf8),
        (json!({"$ref": "#/$defs/point"}), point.clone()),
        (
            json!({"$ref": "#/$defs/point", "description": "where"}),
            point.clone(),
        ),
        (json!({"allOf": [{"$ref": "#/$defs/point"}]}), point.clone()),
        (
            json!({"allOf": [{"type": ["integer", "null"]}, {"type": "number"}]}),
            DataType::Int64,
        ),
        (
            json!({"type": "array", "items": {"$ref": "#/$defs/point"}}),
            list(point),
        ),
        (
            json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
            list(list(DataType::Utf8)),
        ),
        (json!({"type": "array"}), DataType::Utf8),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}]}),
            DataType::Utf8,
        ),
        (json!({"type": "object"}), DataType::Utf8),
        (
            json!({"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": true}),
            DataType::Utf8,
        ),
        (json!({}), DataType::Utf8),
        (json!(true), DataType::Utf8),
    ] {
        assert_eq!(column_of(&member, &defs), expected, "{member}");
    }
}

#[test]
fn keeps_recursive_parts_as_json() {
    let schema = json!({
        "type": "object", "properties": { "tree": { "$ref": "#/$defs/tree" } },
        "$defs": { "tree": { "type": "object", "additionalProperties": false,
                             "properties": { "name": { "type": "string" }, "kid": { "$ref": "#/$defs/tree" } } } }
    });
    let DataType::Struct(members) = compiled(&schema).fields()[0].data_type().clone() else {
        panic!("not a struct")
    };
    assert_eq!(members[1].data_type(), &DataType::Utf8);
    compiled(&json!({ "$defs": { "a": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }));
}

#[test]
fn survives_a_schema_that_unfolds_without_end() {
    let mut defs = Map::new();
    for level in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
        defs.insert(
            format!("d{level}"),
            json!({ "type": "object", "properties": { "a": next, "b": next } }),
        );
    }
    defs.insert("d40".to_owned(), json!({ "type": "string" }));
    assert!(
        !compiled(&json!({ "$ref": "#/$defs/d0", "$defs": defs }))
            .fields()
            .is_empty()
    );
}

#[test]
fn merges_the_properties_of_all_parts() {
    let schema = json!({ "allOf": [
        { "type": "object", "properties": { "a": { "type": "number" }, "b": { "type": "string" } } },
        { "properties": { "a": { "type": "integer" }, "c": { "type": "boolean" } } },
    ]});
    let columns: Vec<_> = compiled(&schema)
        .fields()
        .iter()
        .map(|f| (f.name().clone(), f.data_type().clone()))
        .collect();
    let expected = [
        ("a", DataType::Int64),
        ("b", DataType::Utf8),
        ("c", DataType::Boolean),
    ];
    assert_eq!(
        columns,
        expected.map(|(name, kind)| (name.to_owned(), kind))
    );
}

#[test]
fn keeps_members_in_the_order_of_the_schema() {
    let schema =
        json!({ "type": "object", "properties": { "z": {}, "a": {}, "m": {} }, "required": ["m"] });
    let names: Vec<_> = compiled(&schema)
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn makes_one_column_where_the_schema_is_no_object() {
    for (schema, expected) in [
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            "List(Int64)",
        ),
        (json!({"enum": ["yes", "no"]}), "Dictionary(Int32, Utf8)"),
        (json!({"type": "object"}), "Utf8"),
        (json!({}), "Utf8"),
    ] {
        let schema = compiled(&schema);
        let [field] = schema.fields() else {
            panic!("not one column")
        };
        assert_eq!(
            (
                field.name().as_str(),
                field.data_type().to_string().as_str()
            ),
            (WHOLE_ANSWER, expected)
        );
    }
}

#[test]
fn fails_for_what_is_no_schema_and_for_other_documents() {
    for schema in [
        json!({"type": "strnig"}),
        json!(3),
        json!({"$ref": "https://example.com/a.json"}),
        json!({"$ref": "other.json"}),
    ] {
        assert!(AnswerSchema::compile(&schema).is_err(), "{schema}");
    }
    let error =
        AnswerSchema::compile(&json!({"properties": {"a": {"type": "strnig"}}})).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the answer schema is wrong at `/properties/a/type`: "),
        "{error}"
    );
}

#[test]
fn says_why_an_answer_does_not_fit() {
    let schema = compiled(&json!({
        "type": "object", "additionalProperties": false, "required": ["n"],
        "properties": {
            "n": { "type": "integer" }, "a/b": { "type": "array", "items": { "enum": ["x", "y"] } },
            "either": { "anyOf": [{ "type": "integer" }, { "type": "boolean" }] }
        }
    }));
    for (text, expected) in [
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        (
            "```json\n{\"n\": 1}\n```",
            "not JSON: expected value at line 1 column 1",
        ),
        (
            "{\"n\": 1} and more",
            "not JSON: trailing characters at line 1 column 10",
        ),
        (
            "{\"n\": 1",
            "not JSON: EOF while parsing an object at line 1 column 7",
        ),
        ("{}", "the answer: \"n\" is a required property"),
        ("[]", "the answer: the value is not of type \"object\""),
        (
            "{\"n\": \"1\"}",
            "at `/n`: the value is not of type \"integer\"",
        ),
        (
            "{\"n\": 1.5}",
            "at `/n`: the value is not of type \"integer\"",
        ),
        (
            "{\"n\": 9223372036854775808}",
            "at `/n`: the number is not an integer of 64 bits",
        ),
        (
            "{\"n\": 1e300}",
            "at `/n`: the number is not an integer of 64 bits",
        ),
        (
            "{\"n\": 1e999}",
            "not JSON: number out of range at line 1 column 11",
        ),
        (
            "{\"n\": 1, \"a/b\": [\"x\", \"secret\"]}",
            "at `/a~1b/1`: the value is not one of \"x\" or \"y\"",
        ),
        (
            "{\"n\": 1, \"either\": \"secret\"}",
            "at `/either`: the value is not valid under any of the schemas listed in the 'anyOf' \
             keyword",
        ),
    ] {
        assert_eq!(schema.parse(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn keeps_reasons_short() {
    let words: Vec<_> = (0..1000).map(|i| format!("word {i}")).collect();
    let reason = compiled(&json!({ "enum": words }))
        .parse("\"none\"")
        .unwrap_err();
    assert!(reason.len() < 310, "{reason}");
    assert!(compiled(&json!({})).parse(&"[".repeat(10_000)).is_err());
}

#[test]
fn takes_words_in_other_letter_case() {
    let schema = compiled(&json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "level": { "enum": ["High", "low"] },
            "kind": { "const": "Café" },
            "tags": { "type": "array", "items": { "enum": ["A", "b"] } },
            "twice": { "enum": ["ab", "AB"] },
            "free": { "anyOf": [{ "enum": ["High"] }, { "type": "string" }] },
            "shape": { "anyOf": [
                { "type": "object", "properties": { "kind": { "const": "circle" }, "r": { "type": "number" } }, "required": ["kind", "r"] },
                { "type": "object", "properties": { "kind": { "const": "square" }, "a": { "type": "number" } }, "required": ["kind", "a"] },
            ]}
        }
    }));
    for (text, expected) in [
        (r#" {"level": "HIGH"} "#, json!({"level": "High"})),
        (
            r#"{"level": "high", "tags": ["a", "B", "A"]}"#,
            json!({"level": "High", "tags": ["A", "b", "A"]}),
        ),
        (r#"{"kind": "CAFÉ"}"#, json!({"kind": "Café"})),
        (r#"{"twice": "AB"}"#, json!({"twice": "AB"})),
        (r#"{"free": "high"}"#, json!({"free": "high"})),
        (
            r#"{"level": "LOW", "shape": {"kind": "Square", "a": 2}}"#,
            json!({"level": "low", "shape": {"kind": "square", "a": 2}}),
        ),
    ] {
        assert_eq!(schema.parse(text).unwrap(), expected, "{text}");
    }
    assert!(
        schema.parse(r#"{"twice": "Ab"}"#).is_err(),
        "two words differ in case only"
    );
    assert!(schema.parse(r#"{"level": "HIGH", "tags": ["c"]}"#).is_err());
}

#[test]
fn takes_whole_numbers_written_with_a_point() {
    let schema = compiled(&json!({ "type": "array", "items": { "type": "integer" } }));
    let mut builders = schema.builders(1);
    builders.append(
        &schema
            .parse("[3.0, -9223372036854775808, 9223372036854775807, 1e3, -0.0]")
            .unwrap(),
    );
    let column = builders.finish().remove(0);
    let items = column.as_list::<i32>().value(0);
    assert_eq!(
        items.as_primitive::<Int64Type>().values(),
        &[3, i64::MIN, i64::MAX, 1000, 0]
    );
}

#[test]
fn distinguishes_an_empty_object_from_none() {
    let schema = compiled(&json!({ "type": "object", "properties": {
        "o": { "type": ["object", "null"], "properties": { "x": { "type": "string" } } },
        "l": { "type": ["array", "null"], "items": { "type": "string" } }
    }}));
    let mut builders = schema.builders(3);
    builders.append(&schema.parse(r#"{"o": {}, "l": []}"#).unwrap());
    builders.append(&schema.parse(r#"{"o": null}"#).unwrap());
    builders.append_null();
    for column in builders.finish() {
        let nulls: Vec<_> = (0..3).map(|i| column.is_null(i)).collect();
        assert_eq!(nulls, [false, true, true], "{}", column.data_type());
    }
}

#[test]
fn can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<AnswerSchema>();
}

/// A schema of the subset, as the property draws it.
#[derive(Debug, Clone)]
enum Node {
    Text,
    Choice,
    Integer,
    Number,
    Boolean,
    Either,
    Object(Vec<Node>),
    List(Box<Node>),
    Nullable(Box<Node>),
    ByReference(Box<Node>),
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(Node::Text),
        Just(Node::Choice),
        Just(Node::Integer),
        Just(Node::Number),
        Just(Node::Boolean),
        Just(Node::Either)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Node::Object),
            inner.clone().prop_map(|n| Node::List(Box::new(n))),
            inner.clone().prop_map(|n| Node::Nullable(Box::new(n))),
            inner.prop_map(|n| Node::ByReference(Box::new(n))),
        ]
    })
}

const WORDS: [&str; 3] = ["Red", "dark green", "ß"];

fn schema_of(node: &Node, defs: &mut Map<String, Value>) -> Value {
    match node {
        Node::Text => json!({ "type": "string" }),
        Node::Choice => json!({ "type": "string", "enum": WORDS }),
        Node::Integer => json!({ "type": "integer" }),
        Node::Number => json!({ "type": "number" }),
        Node::Boolean => json!({ "type": "boolean" }),
        Node::Either => {
            json!({ "anyOf": [{ "type": "integer" }, { "type": "array", "items": { "type": "string" } }] })
        }
        Node::Object(members) => {
            let properties: Map<_, _> = members
                .iter()
                .enumerate()
                .map(|(i, n)| (format!("m{i}/~"), schema_of(n, defs)))
                .collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
        Node::List(item) => json!({ "type": "array", "items": schema_of(item, defs) }),
        Node::Nullable(inner) => json!({ "anyOf": [schema_of(inner, defs), { "type": "null" }] }),
        Node::ByReference(inner) => {
            let schema = schema_of(inner, defs);
            let name = format!("d{}", defs.len());
            defs.insert(name.clone(), schema);
            json!({ "allOf": [{ "$ref": format!("#/$defs/{name}") }] })
        }
    }
}

fn instance_of(node: &Node, rng: &mut fastrand::Rng) -> Value {
    match node {
        Node::Text => json!(
            (0..rng.usize(0..6))
                .map(|_| rng.char(..))
                .collect::<String>()
        ),
        Node::Choice => json!(rng.choice(WORDS)),
        Node::Integer => json!(rng.i64(..)),
        Node::Number => json!((rng.f64() - 0.5) * 1e6),
        Node::Boolean => json!(rng.bool()),
        Node::Either if rng.bool() => json!(rng.i64(..)),
        Node::Either => json!([rng.alphabetic().to_string()]),
        Node::Object(members) => {
            let present = members
                .iter()
                .enumerate()
                .filter(|_| rng.u8(0..4) > 0)
                .collect::<Vec<_>>();
            Value::Object(
                present
                    .into_iter()
                    .map(|(i, n)| (format!("m{i}/~"), instance_of(n, rng)))
                    .collect(),
            )
        }
        Node::List(item) => json!(
            (0..rng.usize(0..4))
                .map(|_| instance_of(item, rng))
                .collect::<Vec<_>>()
        ),
        Node::Nullable(_) if rng.bool() => Value::Null,
        Node::Nullable(inner) | Node::ByReference(inner) => instance_of(inner, rng),
    }
}

/// What a column says at a row, as JSON, a member left out being null; read by Arrow type only,
/// besides what is JSON text.
fn read_back(node: &Node, column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match node {
        Node::Text => json!(column.as_string::<i32>().value(row)),
        Node::Choice => json!(
            column
                .as_dictionary::<Int32Type>()
                .downcast_dict::<arrow::array::StringArray>()
                .unwrap()
                .values()
                .value(
                    usize::try_from(column.as_dictionary::<Int32Type>().keys().value(row)).unwrap()
                )
        ),
        Node::Integer => json!(column.as_primitive::<Int64Type>().value(row)),
        Node::Number => json!(column.as_primitive::<Float64Type>().value(row)),
        Node::Boolean => json!(column.as_boolean().value(row)),
        Node::Either => serde_json::from_str(column.as_string::<i32>().value(row)).unwrap(),
        Node::Object(members) => {
            let object: &StructArray = column.as_struct();
            let read =
                |(i, n): (usize, &Node)| (format!("m{i}/~"), read_back(n, object.column(i), row));
            Value::Object(members.iter().enumerate().map(read).collect())
        }
        Node::List(item) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len())
                .map(|i| read_back(item, &items, i))
                .collect()
        }
        Node::Nullable(inner) | Node::ByReference(inner) => read_back(inner, column, row),
    }
}

/// The instance with every member that is left out as null.
fn spelled_out(node: &Node, value: &Value) -> Value {
    match (node, value) {
        (_, Value::Null) => Value::Null,
        (Node::Object(members), value) => {
            let member = |(i, n): (usize, &Node)| {
                let name = format!("m{i}/~");
                let inner = spelled_out(n, value.get(&name).unwrap_or(&Value::Null));
                (name, inner)
            };
            Value::Object(members.iter().enumerate().map(member).collect())
        }
        (Node::List(item), Value::Array(items)) => {
            items.iter().map(|v| spelled_out(item, v)).collect()
        }
        (Node::Nullable(inner) | Node::ByReference(inner), value) => spelled_out(inner, value),
        (_, value) => value.clone(),
    }
}

proptest! {
    #![proptest_config(Config { cases: 200, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() })]

    #[test]
    fn reads_the_same_json_back_from_the_columns(members in prop::collection::vec(node(), 1..4), seed in any::<u64>()) {
        let top = Node::Object(members.clone());
        let mut defs = Map::new();
        let mut schema = schema_of(&top, &mut defs);
        schema["$defs"] = Value::Object(defs);
        let schema = compiled(&schema);
        let mut rng = fastrand::Rng::with_seed(seed);
        let instances: Vec<_> = (0..5).map(|_| instance_of(&top, &mut rng)).collect();

        let mut builders = schema.builders(5);
        for instance in &instances {
            builders.append(&schema.parse(&instance.to_string()).unwrap());
        }
        let columns = builders.finish();
        for (column, field) in columns.iter().zip(schema.fields()) {
            prop_assert_eq!(column.data_type(), field.data_type());
            column.to_data().validate_full().unwrap();
        }
        for (row, instance) in instances.iter().enumerate() {
            let spelled = spelled_out(&top, instance);
            for (i, node) in members.iter().enumerate() {
                prop_assert_eq!(&read_back(node, &columns[i], row), &spelled[format!("m{i}/~")]);
            }
        }
    }
}
