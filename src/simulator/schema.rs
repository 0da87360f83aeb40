//! Which schemas the API compiles: one question, answered here until the request room answers it.

use serde_json::Value;

/// Keywords that are refused, with the kind of value they belong to.
const REFUSED: [(&str, &str); 17] = [
    ("minimum", "number"),
    ("maximum", "number"),
    ("exclusiveMinimum", "number"),
    ("exclusiveMaximum", "number"),
    ("multipleOf", "number"),
    ("minLength", "string"),
    ("maxLength", "string"),
    ("maxItems", "array"),
    ("uniqueItems", "array"),
    ("contains", "array"),
    ("minProperties", "object"),
    ("maxProperties", "object"),
    ("patternProperties", "object"),
    ("oneOf", "any"),
    ("not", "any"),
    ("if", "any"),
    ("dependentRequired", "object"),
];

const FORMATS: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// What is wrong with a schema, in the API's words; `None` where it compiles.
/// Source: the provider's documentation on structured outputs, read in August 2026.
pub(super) fn problem(schema: &Value) -> Option<String> {
    if !schema.is_object() {
        return Some("Input should be a valid dictionary".to_owned());
    }
    let mut count = Count::default();
    let found = walk(schema, schema, &mut Vec::new(), &mut count);
    found.or_else(|| (count.optional > 24 || count.unions > 16).then(|| "Schema is too complex for compilation.".to_owned()))
}

#[derive(Default)]
struct Count {
    optional: usize,
    unions: usize,
}

fn walk<'a>(schema: &'a Value, root: &'a Value, refs: &mut Vec<&'a str>, count: &mut Count) -> Option<String> {
    let Value::Object(fields) = schema else { return Some("a schema must be an object".to_owned()) };
    if let Some((key, kind)) = REFUSED.iter().find(|(key, _)| fields.contains_key(*key)) {
        return Some(format!("For '{kind}' type, property '{key}' is not supported"));
    }
    if fields.get("minItems").is_some_and(|n| !matches!(n.as_u64(), Some(0 | 1))) {
        return Some("For 'array' type, 'minItems' values other than 0 or 1 are not supported".to_owned());
    }
    if let Some(format) = fields.get("format").and_then(Value::as_str)
        && !FORMATS.contains(&format)
    {
        return Some(format!("For 'string' type, format '{format}' is not supported"));
    }
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        return reference(target, root, refs, count);
    }
    count.unions += usize::from(fields.contains_key("anyOf") || fields.get("type").is_some_and(Value::is_array));
    if is_object(fields) {
        if fields.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
        }
        let properties = fields.get("properties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
        count.optional += properties.saturating_sub(fields.get("required").and_then(Value::as_array).map_or(0, Vec::len));
    }
    children(fields).into_iter().find_map(|child| walk(child, root, refs, count))
}

fn is_object(fields: &serde_json::Map<String, Value>) -> bool {
    match fields.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => fields.contains_key("properties"),
    }
}

fn children(fields: &serde_json::Map<String, Value>) -> Vec<&Value> {
    let mut found: Vec<&Value> = Vec::new();
    found.extend(fields.get("properties").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values));
    found.extend(["anyOf", "allOf"].iter().filter_map(|key| fields.get(*key)).filter_map(Value::as_array).flatten());
    found.extend(fields.get("items"));
    found
}

fn reference<'a>(target: &'a str, root: &'a Value, refs: &mut Vec<&'a str>, count: &mut Count) -> Option<String> {
    if refs.contains(&target) {
        return Some("recursive schemas are not supported".to_owned());
    }
    let Some(found) = resolve(target, root) else {
        return Some(format!("reference '{target}' cannot be resolved; only local references are supported"));
    };
    refs.push(target);
    let problem = walk(found, root, refs, count);
    refs.pop();
    problem
}

/// The schema a local reference names.
pub(super) fn resolve<'a>(target: &str, root: &'a Value) -> Option<&'a Value> {
    root.pointer(target.strip_prefix('#')?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_the_documented_subset_and_nothing_else() {
        let object = |inner: Value| json!({"type": "object", "properties": {"a": inner}, "additionalProperties": false});
        let cases = [
            (object(json!({"type": "string", "enum": ["x", "y"]})), None),
            (object(json!({"type": ["string", "null"]})), None),
            (object(json!({"type": "array", "minItems": 1, "items": {"type": "integer"}})), None),
            (json!({"type": "object", "properties": {}}), Some("additionalProperties")),
            (object(json!({"type": "integer", "minimum": 1})), Some("'minimum'")),
            (object(json!({"type": "string", "maxLength": 5})), Some("'maxLength'")),
            (object(json!({"type": "array", "minItems": 2})), Some("'minItems'")),
            (object(json!({"type": "string", "format": "color"})), Some("format 'color'")),
            (object(json!({"$ref": "#/$defs/b"})), Some("cannot be resolved")),
            (json!({"$defs": {"b": {"type": "array", "items": {"$ref": "#/$defs/b"}}}, "$ref": "#/$defs/b"}), Some("recursive")),
            (json!({"$defs": {"b": {"const": 1}}, "anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}), None),
        ];
        for (schema, expected) in cases {
            let found = problem(&schema);
            assert_eq!(found.is_some(), expected.is_some(), "{schema}: {found:?}");
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(found.contains(expected), "{found}");
            }
        }
    }
}
