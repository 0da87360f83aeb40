//! Finds everything in a schema that the API refuses.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{FORMATS, SchemaFinding, has_type, is_object, refused_in_pattern};
use crate::template::nearest;

/// **Source**: as above.
const MAX_OPTIONAL: usize = 24;

/// **Source**: as above.
const MAX_UNIONS: usize = 16;

/// Keywords the API takes or passes over.
const KNOWN: &[&str] = &[
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    "default",
    "description",
    "title",
    "format",
    "pattern",
    "minItems",
    "examples",
    "$schema",
    "$id",
    "$comment",
    "deprecated",
];

const IN_WORDS: &str = "say it in the `description`, and check the answers afterwards";

/// Keywords the API refuses, and what to do instead.
pub(super) const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
        ],
        "bounds of numbers are not enforced",
        IN_WORDS,
    ),
    (
        &["minLength", "maxLength"],
        "lengths of texts are not enforced",
        IN_WORDS,
    ),
    (
        &[
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
        ],
        "of the bounds of arrays only `minItems` 0 and 1 are enforced",
        IN_WORDS,
    ),
    (
        &["prefixItems", "additionalItems", "unevaluatedItems"],
        "arrays have one kind of item",
        "use an object with one property for each place",
    ),
    (
        &[
            "patternProperties",
            "propertyNames",
            "unevaluatedProperties",
            "minProperties",
            "maxProperties",
        ],
        "an object has exactly the properties it names",
        "name each property, or use an array of objects with a name and a value",
    ),
    (&["oneOf"], "only `anyOf` is taken", "use `anyOf`"),
    (
        &[
            "not",
            "if",
            "then",
            "else",
            "dependentRequired",
            "dependentSchemas",
            "dependencies",
        ],
        "conditions are not enforced",
        IN_WORDS,
    ),
    (
        &[
            "$dynamicRef",
            "$dynamicAnchor",
            "$recursiveRef",
            "$recursiveAnchor",
            "$anchor",
        ],
        "only `$ref` to a `$defs` entry is taken",
        "use `$ref`",
    ),
    (
        &["contentEncoding", "contentMediaType", "contentSchema"],
        "contents of texts are not enforced",
        IN_WORDS,
    ),
];

const TYPES: &[&str] = &[
    "object", "array", "string", "integer", "number", "boolean", "null",
];

/// Everything in a schema that the API would refuse, in the order in which it stands; nothing if it
/// can be sent.
#[must_use]
pub fn check(schema: &Value) -> Vec<SchemaFinding> {
    let mut check = SchemaChecker {
        root: schema,
        findings: Vec::new(),
        optional: 0,
        unions: 0,
    };
    check.schema("", schema);
    check.recursion();
    check.limit(
        "required",
        check.optional,
        MAX_OPTIONAL,
        "optional properties",
        "put more of them into `required`",
    );
    check.limit(
        "anyOf",
        check.unions,
        MAX_UNIONS,
        "properties of several types",
        "give more of them one type",
    );
    check.findings
}

/// What the schemas of one request, none of which is refused by itself, have too much of together.
#[must_use]
pub(crate) fn too_much<'s>(schemas: impl IntoIterator<Item = &'s Value>) -> Option<String> {
    let (mut optional, mut unions) = (0, 0);
    for root in schemas {
        let mut check = SchemaChecker {
            root,
            findings: Vec::new(),
            optional: 0,
            unions: 0,
        };
        check.schema("", root);
        (optional, unions) = (optional + check.optional, unions + check.unions);
    }
    let limits = [
        (optional, MAX_OPTIONAL, "optional properties"),
        (unions, MAX_UNIONS, "properties of several types"),
    ];
    let (count, most, what) = limits.into_iter().find(|(count, most, _)| count > most)?;
    Some(format!(
        "{count} {what} in all; the API takes {most} in a request"
    ))
}

struct SchemaChecker<'s> {
    root: &'s Value,
    findings: Vec<SchemaFinding>,
    optional: usize,
    unions: usize,
}

impl SchemaChecker<'_> {
    fn find(
        &mut self,
        pointer: &str,
        keyword: &str,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(SchemaFinding {
            pointer: pointer.to_owned(),
            keyword: keyword.to_owned(),
            why: why.into(),
            fix: fix.into(),
        });
    }

    fn limit(&mut self, keyword: &str, count: usize, most: usize, what: &str, fix: &str) {
        if count > most {
            self.find(
                "",
                keyword,
                format!("the schema has {count} {what}; the API takes {most}"),
                fix,
            );
        }
    }

    fn schema(&mut self, pointer: &str, schema: &Value) {
        let Value::Object(map) = schema else {
            let what = if schema.is_boolean() {
                "`true` and `false` are no schemas here"
            } else {
                "a schema is an object"
            };
            return self.find(pointer, "", what, "write a schema with a `type`");
        };
        for (keyword, value) in map {
            self.keyword(pointer, keyword, value, map);
        }
        if is_object(map) {
            self.object(pointer, map);
        }
        if has_type(map, "array") && !map.contains_key("items") {
            self.find(
                pointer,
                "items",
                "an array without `items` can hold anything",
                "say what it holds in `items`",
            );
        }
    }

    pub(super) fn keyword(
        &mut self,
        pointer: &str,
        keyword: &str,
        value: &Value,
        map: &Map<String, Value>,
    ) {
        let below = |name: &str| format!("{pointer}/{}", escaped(name));
        match keyword {
            "type" => self.types(pointer, value),
            "enum" => self.enumeration(pointer, value),
            "const" if value.is_array() || value.is_object() => {
                self.find(
                    pointer,
                    keyword,
                    "only texts, numbers, booleans and null are taken",
                    "use a scalar value",
                );
            }
            "format" => self.format(pointer, value),
            "pattern" => self.pattern(pointer, value),
            "minItems" if !matches!(value.as_u64(), Some(0 | 1)) => {
                self.find(pointer, keyword, "only 0 and 1 are enforced", IN_WORDS)
            }
            "$ref" => self.reference(pointer, value),
            "anyOf" | "allOf" => self.branches(pointer, keyword, value),
            "properties" | "$defs" | "definitions" => {
                self.named_schemas(&below(keyword), keyword, value)
            }
            "items" => self.schema(&below(keyword), value),
            "required" => self.required(pointer, value, map),
            _ if KNOWN.contains(&keyword) => {}
            _ => self.unknown(pointer, keyword),
        }
    }

    fn unknown(&mut self, pointer: &str, keyword: &str) {
        if let Some((_, why, fix)) = REFUSED
            .iter()
            .find(|(keywords, ..)| keywords.contains(&keyword))
        {
            return self.find(pointer, keyword, *why, *fix);
        }
        let fix = match nearest(keyword, KNOWN.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "leave it out".to_owned(),
        };
        self.find(
            pointer,
            keyword,
            "the keyword is not among those the API takes",
            fix,
        );
    }

    fn types(&mut self, pointer: &str, value: &Value) {
        let names: Vec<&Value> = match value {
            Value::Array(names) => names.iter().collect(),
            name => vec![name],
        };
        if names.len() > 1 {
            self.unions += 1;
        }
        if names.is_empty()
            || !names
                .iter()
                .all(|name| name.as_str().is_some_and(|name| TYPES.contains(&name)))
        {
            self.find(
                pointer,
                "type",
                format!("types are {}", listed(TYPES)),
                "use one of them, or a list of them",
            );
        }
    }

    fn enumeration(&mut self, pointer: &str, value: &Value) {
        match value.as_array() {
            Some(values)
                if !values.is_empty() && !values.iter().any(|v| v.is_array() || v.is_object()) => {}
            _ => self.find(
                pointer,
                "enum",
                "only a list of texts, numbers, booleans and null is taken, and not an empty one",
                "list scalar values",
            ),
        }
    }

    fn format(&mut self, pointer: &str, value: &Value) {
        if !value
            .as_str()
            .is_some_and(|format| FORMATS.contains(&format))
        {
            self.find(
                pointer,
                "format",
                format!("formats are {}", listed(FORMATS)),
                "use one of them, or say it in the `description`",
            );
        }
    }

    fn pattern(&mut self, pointer: &str, value: &Value) {
        match value.as_str().map(refused_in_pattern) {
            Some(None) => {}
            Some(Some(what)) => self.find(
                pointer,
                "pattern",
                format!("{what} are not taken in a pattern"),
                "write it without, or say it in the `description`",
            ),
            None => self.find(
                pointer,
                "pattern",
                "a pattern is a text",
                "write a regular expression",
            ),
        }
    }

    fn reference(&mut self, pointer: &str, value: &Value) {
        let Some(target) = value.as_str() else {
            return self.find(
                pointer,
                "$ref",
                "a reference is a text",
                "write `#/$defs/<name>`",
            );
        };
        match target.strip_prefix('#') {
            None => self.find(
                pointer,
                "$ref",
                "references to other documents are not followed",
                "put the definition under `$defs` and write `#/$defs/<name>`",
            ),
            Some(local) if self.root.pointer(local).is_none() => {
                self.find(
                    pointer,
                    "$ref",
                    format!("`{target}` is not there"),
                    "add the definition under `$defs`",
                );
            }
            Some(_) => {}
        }
    }

    fn branches(&mut self, pointer: &str, keyword: &str, value: &Value) {
        let Some(branches) = value.as_array().filter(|branches| !branches.is_empty()) else {
            return self.find(
                pointer,
                keyword,
                "needs a list of schemas",
                "list at least one schema",
            );
        };
        if keyword == "anyOf" && branches.len() > 1 {
            self.unions += 1;
        }
        for (i, branch) in branches.iter().enumerate() {
            let below = format!("{pointer}/{keyword}/{i}");
            if keyword == "allOf" && branch.get("$ref").is_some() {
                self.find(
                    &below,
                    "$ref",
                    "`allOf` does not take references",
                    "write the referenced schema in its place",
                );
            }
            self.schema(&below, branch);
        }
    }

    fn named_schemas(&mut self, pointer: &str, keyword: &str, value: &Value) {
        let Some(schemas) = value.as_object() else {
            return self.find(
                pointer,
                keyword,
                "needs an object of schemas",
                "write `{\"name\": {…}}`",
            );
        };
        for (name, schema) in schemas {
            self.schema(&format!("{pointer}/{}", escaped(name)), schema);
        }
    }

    fn required(&mut self, pointer: &str, value: &Value, map: &Map<String, Value>) {
        let Some(names) = value
            .as_array()
            .filter(|names| names.iter().all(Value::is_string))
        else {
            return self.find(
                pointer,
                "required",
                "needs a list of property names",
                "list the names",
            );
        };
        let properties = map.get("properties").and_then(Value::as_object);
        for name in names.iter().filter_map(Value::as_str) {
            if !properties.is_some_and(|properties| properties.contains_key(name)) {
                self.find(
                    pointer,
                    "required",
                    format!("`{name}` is required and is not among the `properties`"),
                    "add it to `properties`",
                );
            }
        }
    }

    fn object(&mut self, pointer: &str, map: &Map<String, Value>) {
        if map.get("additionalProperties") != Some(&Value::Bool(false)) {
            self.find(
                pointer,
                "additionalProperties",
                "every object must rule out further properties",
                "write `\"additionalProperties\": false`",
            );
        }
        let required: BTreeSet<&str> = match map.get("required").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).collect(),
            None => BTreeSet::new(),
        };
        let properties = map.get("properties").and_then(Value::as_object);
        self.optional += properties.map_or(0, |p| {
            p.keys()
                .filter(|name| !required.contains(name.as_str()))
                .count()
        });
    }

    /// Finds references that lead back to a place they are part of.
    fn recursion(&mut self) {
        let mut done = BTreeSet::new();
        let mut path = Vec::new();
        if let Some(pointer) = self.cycle("", &mut path, &mut done) {
            self.find(
                &pointer,
                "$ref",
                "the schema contains itself, and recursion is not taken",
                "write out as many levels as are needed",
            );
        }
    }

    /// Walks from a definition through its references; gives the first one on the path back to
    /// where the walk came from.
    fn cycle(
        &self,
        definition: &str,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<String> {
        if path.iter().any(|open| open == definition) {
            return Some(definition.to_owned());
        }
        if !done.insert(definition.to_owned()) {
            return None;
        }
        path.push(definition.to_owned());
        let mut targets = Vec::new();
        // Definitions are reached through references only; seen from the root they are no part of
        // the schema itself.
        references(self.root.pointer(definition)?, &mut targets);
        for target in targets {
            // A reference to something that holds the place it is made from leads back as well.
            let leads_back = path.iter().any(|open| {
                *open == target || open.starts_with(&format!("{target}/")) || target.is_empty()
            });
            if leads_back {
                return Some(target);
            }
            if let Some(found) = self.cycle(&target, path, done) {
                return Some(found);
            }
        }
        path.pop();
        None
    }
}

/// The local references of a schema, not looking into its definitions.
fn references(schema: &Value, targets: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (keyword, value) in map {
                match (keyword.as_str(), value.as_str()) {
                    ("$ref", Some(target)) => {
                        targets.extend(target.strip_prefix('#').map(str::to_owned))
                    }
                    ("$defs" | "definitions" | "enum" | "const" | "default" | "examples", _) => {}
                    // What stands below are names, not keywords.
                    ("properties", None) => value
                        .as_object()
                        .into_iter()
                        .flat_map(Map::values)
                        .for_each(|below| references(below, targets)),
                    _ => references(value, targets),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, targets)),
        _ => {}
    }
}

fn listed(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
