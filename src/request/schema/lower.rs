//! A schema → one that the API takes, with what it cannot enforce said in words.
//!
//! Bounds and the like move into the `description` next to them, where the model reads them, and
//! the answers are checked against the schema as it was written. What would change the shape of
//! answers, or what cannot be said (recursion, maps, references to other documents), stays as it
//! is, for [`check`](super::check) to find.
//!
//! | written | sent |
//! |---|---|
//! | bounds of numbers, texts, arrays and objects; conditions; contents of texts | words in the description: `{minimum: 1, maximum: 10}` |
//! | `minItems` above 1 | `minItems: 1`, and words |
//! | a `format` or `pattern` that is not taken | words |
//! | `oneOf` | `anyOf` |
//! | an object without `additionalProperties`, or with `true` | `false` |
//!
//! **Source**: what the provider's Python SDK 2.12.0 does with a schema before it sends it,
//! November 2026. It drops maps to `false` too, after which an answer could hold nothing; here they
//! stay an error.

use serde_json::{Map, Value};

use super::{FORMATS, is_object, refused_in_pattern};

/// Keywords that become words, whatever their value.
const IN_WORDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// The schema as it can be sent, as far as it can be.
#[must_use]
pub fn lower(schema: &Value) -> Value {
    let Value::Object(map) = schema else {
        return schema.clone();
    };
    let mut lowered = Map::new();
    let mut words = Vec::new();
    for (keyword, value) in map {
        match keyword.as_str() {
            keyword if IN_WORDS.contains(&keyword) => words.push(in_words(keyword, value)),
            "minItems" if value.as_u64().is_some_and(|least| least > 1) => {
                words.push(in_words(keyword, value));
                lowered.insert(keyword.clone(), Value::from(1));
            }
            "format"
                if value
                    .as_str()
                    .is_some_and(|format| !FORMATS.contains(&format)) =>
            {
                words.push(in_words(keyword, value))
            }
            "pattern" if value.as_str().and_then(refused_in_pattern).is_some() => {
                words.push(in_words(keyword, value))
            }
            "oneOf" if !map.contains_key("anyOf") => {
                drop(lowered.insert("anyOf".to_owned(), each(value)))
            }
            "anyOf" | "allOf" => drop(lowered.insert(keyword.clone(), each(value))),
            "items" => drop(lowered.insert(keyword.clone(), lower(value))),
            "properties" | "$defs" | "definitions" => {
                drop(lowered.insert(keyword.clone(), each_named(value)))
            }
            _ => drop(lowered.insert(keyword.clone(), value.clone())),
        }
    }
    if is_object(map)
        && lowered
            .get("additionalProperties")
            .is_none_or(|value| *value == Value::Bool(true))
    {
        lowered.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if !words.is_empty() {
        describe(&mut lowered, &words);
    }
    Value::Object(lowered)
}

fn each(schemas: &Value) -> Value {
    match schemas {
        Value::Array(schemas) => schemas.iter().map(lower).collect(),
        other => other.clone(),
    }
}

fn each_named(schemas: &Value) -> Value {
    match schemas {
        Value::Object(schemas) => schemas
            .iter()
            .map(|(name, schema)| (name.clone(), lower(schema)))
            .collect(),
        other => other.clone(),
    }
}

fn in_words(keyword: &str, value: &Value) -> String {
    let value = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    format!("{keyword}: {value}")
}

/// Adds words to the description, as the provider's SDK writes them.
fn describe(schema: &mut Map<String, Value>, words: &[String]) {
    let words = format!("{{{}}}", words.join(", "));
    let description = match schema.get("description").and_then(Value::as_str) {
        Some(written) => format!("{written}\n\n{words}"),
        None => words,
    };
    schema.insert("description".to_owned(), Value::String(description));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::check;
    use super::*;

    #[test]
    fn says_in_words_what_is_not_enforced() {
        for (schema, expected) in [
            (
                json!({"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"}),
                json!({"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 10}"}),
            ),
            (
                json!({"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 3}),
                json!({"type": "array", "items": {"type": "string", "description": "{maxLength: 5}"}, "minItems": 1,
                       "description": "{minItems: 3}"}),
            ),
            (
                json!({"type": "string", "format": "phone", "pattern": "(?=x)y"}),
                json!({"type": "string", "description": "{format: phone, pattern: (?=x)y}"}),
            ),
            (
                json!({"type": "string", "format": "date", "pattern": "^a$"}),
                json!({"type": "string", "format": "date", "pattern": "^a$"}),
            ),
            (
                json!({"oneOf": [{"type": "number", "not": {"const": 3}}, {"type": "null"}]}),
                json!({"anyOf": [{"type": "number", "description": "{not: {\"const\":3}}"}, {"type": "null"}]}),
            ),
            (
                json!({"$defs": {"minimum": {"type": "object", "properties": {"maximum": {"type": "number", "maximum": 1}}}},
                       "$ref": "#/$defs/minimum"}),
                json!({"$defs": {"minimum": {"type": "object", "properties": {"maximum": {"type": "number", "description": "{maximum: 1}"}},
                       "additionalProperties": false}}, "$ref": "#/$defs/minimum"}),
            ),
            (
                json!({"properties": {}, "additionalProperties": true, "minProperties": 1}),
                json!({"properties": {}, "additionalProperties": false, "description": "{minProperties: 1}"}),
            ),
        ] {
            let lowered = lower(&schema);
            assert_eq!(lowered, expected);
            assert_eq!(check(&lowered), [], "{lowered}");
            assert_eq!(
                lower(&lowered),
                lowered,
                "a schema that can be sent stays as it is"
            );
        }
    }

    #[test]
    fn leaves_what_cannot_be_said_for_the_check() {
        for schema in [
            json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"$ref": "#"}}}),
            json!({"$ref": "other.json"}),
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"type": "string", "descripton": "x"}}}),
            json!({"type": "array"}),
            json!({"enum": [{"a": 1}]}),
            json!(true),
        ] {
            assert_ne!(check(&lower(&schema)), [], "{schema}");
        }
    }

    #[test]
    fn keeps_the_order_of_keywords() {
        let schema = json!({"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}, "a": {"type": "string"}}});
        let lowered = lower(&schema).to_string();
        let expected = r#"{"type":"object","required":["b"],"properties":{"b":{"type":"string"},"a":{"type":"string"}},"additionalProperties":false}"#;
        assert_eq!(lowered, expected);
    }
}
