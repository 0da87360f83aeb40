//! What is found in a schema.

use super::check::REFUSED;
use super::*;
use serde_json::json;

fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

fn found(schema: &Value) -> Vec<(String, String)> {
    check(schema)
        .into_iter()
        .map(|finding| (finding.pointer, finding.keyword))
        .collect()
}

#[test]
fn takes_what_the_api_takes() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "additionalProperties": false, "required": ["a", "e", "r", "l"],
        "properties": {
            "a": {"type": "string", "description": "text", "pattern": "^[A-Z]{2}[\\b]?\\d+$"},
            "b": {"type": ["integer", "null"], "default": 1},
            "d": {"type": "string", "format": "date"},
            "e": {"enum": ["x", 1, true, null]},
            "c": {"const": "k"},
            "r": {"$ref": "#/$defs/r"},
            "s": {"anyOf": [{"$ref": "#/$defs/r"}, {"type": "null"}]},
            "l": {"type": "array", "minItems": 1, "items": object(json!({"n": {"type": "number"}}))},
            "description": {"type": "boolean"},
            "minimum": {"type": "boolean"},
        },
        "$defs": {"r": object(json!({"x": {"type": "string", "format": "uuid"}}))},
    });
    assert_eq!(check(&schema), []);
}

#[test]
fn finds_every_refused_keyword() {
    for keyword in REFUSED.iter().flat_map(|(keywords, ..)| *keywords) {
        let mut property = json!({"type": "string"});
        property[*keyword] = json!(3);
        let schema = object(json!({"p/q": property}));
        assert_eq!(
            found(&schema),
            [("/properties/p~1q".to_owned(), (*keyword).to_owned())],
            "{keyword}"
        );
    }
}

#[test]
fn finds_refused_shapes() {
    for (property, keyword) in [
        (json!(true), ""),
        (json!({"type": "text"}), "type"),
        (json!({"type": []}), "type"),
        (json!({"enum": []}), "enum"),
        (json!({"enum": [{"a": 1}]}), "enum"),
        (json!({"const": [1]}), "const"),
        (json!({"type": "string", "format": "phone"}), "format"),
        (json!({"type": "string", "pattern": "(a)\\1"}), "pattern"),
        (json!({"type": "string", "pattern": "\\bword"}), "pattern"),
        (json!({"type": "string", "pattern": "(?<!a)b"}), "pattern"),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 2}),
            "minItems",
        ),
        (json!({"type": "array"}), "items"),
        (json!({"anyOf": []}), "anyOf"),
        (json!({"$ref": "other.json#/a"}), "$ref"),
        (json!({"$ref": "#/$defs/none"}), "$ref"),
        (
            json!({"type": "object", "properties": {}}),
            "additionalProperties",
        ),
        (
            json!({"properties": {}, "additionalProperties": {"type": "string"}}),
            "additionalProperties",
        ),
        (
            json!({"type": "object", "properties": {}, "additionalProperties": false, "required": ["x"]}),
            "required",
        ),
        (json!({"type": "string", "descripton": "x"}), "descripton"),
    ] {
        let schema = object(json!({"p": property}));
        assert_eq!(
            found(&schema),
            [("/properties/p".to_owned(), keyword.to_owned())],
            "{schema}"
        );
    }
    let all_of = json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}});
    assert_eq!(found(&all_of), [("/allOf/0".to_owned(), "$ref".to_owned())]);
    let fix = &check(&object(json!({"p": {"type": "string", "descripton": "x"}})))[0].fix;
    assert_eq!(fix, "did you mean `description`?");
}

#[test]
fn finds_recursion() {
    let node = |next: &str| object(json!({"next": {"$ref": next}}));
    for (schema, at) in [
        (node("#"), Some("")),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": node("#/$defs/a")}}),
            Some("/$defs/a"),
        ),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": node("#/$defs/b"), "b": node("#/$defs/a")}}),
            Some("/$defs/a"),
        ),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": node("#/$defs/b"), "b": {"type": "string"}}}),
            None,
        ),
        (
            object(json!({"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/a"}}))
                .as_object()
                .map(|map| {
                    let mut map = map.clone();
                    map.insert("$defs".to_owned(), json!({"a": {"type": "string"}}));
                    Value::Object(map)
                })
                .unwrap(),
            None,
        ),
    ] {
        let at: Vec<_> = at
            .map(|at| (at.to_owned(), "$ref".to_owned()))
            .into_iter()
            .collect();
        assert_eq!(found(&schema), at, "{schema}");
    }
}

#[test]
fn counts_optional_and_union_properties() {
    let many = |n: usize, property: Value| {
        (0..n)
            .map(|i| (format!("p{i}"), property.clone()))
            .collect::<Map<_, _>>()
    };
    for (n, expected) in [
        (24, vec![]),
        (25, vec![(String::new(), "required".to_owned())]),
    ] {
        let schema = json!({"type": "object", "additionalProperties": false, "properties": many(n, json!({"type": "string"}))});
        assert_eq!(found(&schema), expected);
    }
    for (n, expected) in [
        (16, vec![]),
        (17, vec![(String::new(), "anyOf".to_owned())]),
    ] {
        assert_eq!(
            found(&object(Value::Object(many(
                n,
                json!({"type": ["string", "null"]})
            )))),
            expected
        );
    }
}
