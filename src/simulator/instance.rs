//! A value that fits a JSON schema, drawn at random, with the prompt's own words where text is
//! free.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::pattern;

/// How deep a value may nest before it is closed.
const MAX_DEPTH: usize = 24;

/// Draws values for one schema.
pub(super) struct InstanceGenerator<'a> {
    pub(super) root: &'a Value,
    pub(super) words: &'a [&'a str],
    pub(super) rng: &'a mut fastrand::Rng,
}

impl InstanceGenerator<'_> {
    /// A value that fits the whole schema.
    pub(super) fn instance(&mut self) -> Value {
        let root = self.root;
        self.value(root, "", 0)
    }

    fn value(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        let Value::Object(fields) = schema else {
            return Value::Null;
        };
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(constant) = fields.get("const") {
            return constant.clone();
        }
        if let Some(Value::Array(choices)) = fields.get("enum") {
            return self.one(choices).cloned().unwrap_or(Value::Null);
        }
        if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
            let root = self.root;
            return resolve(target, root)
                .map_or(Value::Null, |found| self.value(found, name, depth + 1));
        }
        if let Some(Value::Array(parts)) = fields.get("allOf") {
            let merged = self.merge(fields, parts);
            return self.value(&merged, name, depth + 1);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = fields.get(key) {
                let branch = self.preferring(branches, |b| b.get("type") != Some(&json!("null")));
                return branch.map_or(Value::Null, |branch| self.value(&branch, name, depth + 1));
            }
        }
        let kind = match fields.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Array(kinds)) => match self.preferring(kinds, |kind| kind != "null") {
                Some(Value::String(kind)) => kind,
                _ => return Value::Null,
            },
            _ if fields.contains_key("properties") => "object".to_owned(),
            _ if fields.contains_key("items") => "array".to_owned(),
            _ => "string".to_owned(),
        };
        self.of_kind(&kind, fields, name, depth)
    }

    fn of_kind(
        &mut self,
        kind: &str,
        fields: &Map<String, Value>,
        name: &str,
        depth: usize,
    ) -> Value {
        let fields = &said_in_words(fields);
        match kind {
            "object" => self.object(fields, depth),
            "array" => self.array(fields, name, depth),
            "string" => Value::String(self.text(fields)),
            "boolean" => Value::Bool(self.rng.bool()),
            "integer" => self.integer(fields),
            "number" => self.number(fields, name),
            _ => Value::Null,
        }
    }

    /// Required properties first, both groups in the schema's order, as the API writes them.
    fn object(&mut self, fields: &Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        let Some(Value::Object(properties)) = fields.get("properties") else {
            return Value::Object(object);
        };
        let required = |name: &str| {
            fields
                .get("required")
                .and_then(Value::as_array)
                .is_some_and(|r| r.iter().any(|n| n == name))
        };
        for wanted in [true, false] {
            for (name, schema) in properties
                .iter()
                .filter(|(name, _)| required(name) == wanted)
            {
                if wanted || self.rng.u8(..) < 205 {
                    let value = self.value(schema, name, depth + 1);
                    object.insert(name.clone(), value);
                }
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, fields: &Map<String, Value>, name: &str, depth: usize) -> Value {
        let bound = |key: &str| fields.get(key).and_then(Value::as_u64);
        let least = bound("minItems").unwrap_or(0).min(1_000);
        let most = bound("maxItems")
            .unwrap_or(least + 3)
            .max(least)
            .min(least + 3);
        let count = self.rng.u64(least..=most);
        let any = json!({"type": "string"});
        let items = fields.get("items").unwrap_or(&any);
        let mut values: Vec<Value> = Vec::new();
        for _ in 0..count {
            let value = self.value(items, name, depth + 1);
            // The same label twice in a list is nothing a model would say, where the list may as
            // well be shorter.
            if values.len() as u64 >= least && values.contains(&value) {
                continue;
            }
            values.push(value);
        }
        Value::Array(values)
    }

    fn text(&mut self, fields: &Map<String, Value>) -> String {
        if let Some(format) = fields.get("format").and_then(Value::as_str)
            && let Some(text) = self.formatted(format)
        {
            return text;
        }
        if let Some(expression) = fields.get("pattern").and_then(Value::as_str)
            && let Some(text) = pattern::generate(expression, self.rng)
        {
            return text;
        }
        let mut text = self.phrase(1, 6);
        let bound = |key: &str| {
            fields
                .get(key)
                .and_then(Value::as_u64)
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        while text.chars().count() < bound("minLength").unwrap_or(0).min(10_000) {
            text.push_str(" more");
        }
        match bound("maxLength") {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        }
    }

    fn formatted(&mut self, format: &str) -> Option<String> {
        let rng = &mut *self.rng;
        let (month, day, hour, minute) =
            (rng.u8(1..=12), rng.u8(1..=28), rng.u8(0..24), rng.u8(0..60));
        let year = rng.u16(2019..=2026);
        Some(match format {
            "date" => format!("{year}-{month:02}-{day:02}"),
            "time" => format!("{hour:02}:{minute:02}:00Z"),
            "date-time" => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"),
            "duration" => format!("P{day}DT{hour}H"),
            "email" => format!("someone{}@example.com", rng.u16(..)),
            "hostname" => format!("host{}.example.com", rng.u16(..)),
            "uri" => format!("https://example.com/{}", rng.u32(..)),
            "ipv4" => format!("192.0.2.{}", rng.u8(1..=254)),
            "ipv6" => format!("2001:db8::{:x}", rng.u16(1..)),
            "uuid" => {
                let bytes = rng.u128(..);
                let hex = format!("{bytes:032x}");
                format!(
                    "{}-{}-4{}-8{}-{}",
                    &hex[..8],
                    &hex[8..12],
                    &hex[13..16],
                    &hex[17..20],
                    &hex[20..]
                )
            }
            _ => return None,
        })
    }

    /// Some words of the prompt, as they stand there.
    pub(super) fn phrase(&mut self, least: usize, most: usize) -> String {
        if self.words.is_empty() {
            return "nothing".to_owned();
        }
        let count = self.rng.usize(least..=most).min(self.words.len());
        let from = self.rng.usize(..=self.words.len() - count);
        self.words[from..from + count].join(" ")
    }

    fn integer(&mut self, fields: &Map<String, Value>) -> Value {
        let bound = |key: &str| fields.get(key).and_then(Value::as_i64);
        let least = bound("minimum")
            .or(bound("exclusiveMinimum").map(|n| n.saturating_add(1)))
            .unwrap_or(0);
        let most = bound("maximum").or(bound("exclusiveMaximum").map(|n| n.saturating_sub(1)));
        let most = most.unwrap_or(least.saturating_add(100)).max(least);
        json!(self.rng.i64(least..=most))
    }

    /// Two decimals; between 0 and 1 for what is called a score.
    fn number(&mut self, fields: &Map<String, Value>, name: &str) -> Value {
        let name = name.to_ascii_lowercase();
        let share = ["confidence", "score", "probability", "share", "ratio"]
            .iter()
            .any(|word| name.contains(word));
        let bound = |key: &str| fields.get(key).and_then(Value::as_f64);
        let least = bound("minimum").unwrap_or(0.0);
        let most = bound("maximum")
            .unwrap_or(least + if share { 1.0 } else { 100.0 })
            .max(least);
        let drawn = least + self.rng.f64() * (most - least);
        json!(((drawn * 100.0).round() / 100.0).clamp(least, most))
    }

    fn one<'v>(&mut self, values: &'v [Value]) -> Option<&'v Value> {
        if values.is_empty() {
            None
        } else {
            Some(&values[self.rng.usize(..values.len())])
        }
    }

    /// One of the values, mostly one that is preferred.
    fn preferring(
        &mut self,
        values: &[Value],
        preferred: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        let liked: Vec<Value> = values.iter().filter(|v| preferred(v)).cloned().collect();
        if !liked.is_empty() && self.rng.u8(..) < 215 {
            self.one(&liked).cloned()
        } else {
            self.one(values).cloned()
        }
    }

    /// One schema out of several that hold at once: properties and requirements are put together.
    fn merge(&self, fields: &Map<String, Value>, parts: &[Value]) -> Value {
        let mut merged = fields.clone();
        merged.shift_remove("allOf");
        for part in parts {
            let part = match part.get("$ref").and_then(Value::as_str) {
                Some(target) => resolve(target, self.root).unwrap_or(part),
                None => part,
            };
            for (key, value) in part.as_object().into_iter().flatten() {
                match (merged.get_mut(key), value) {
                    (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                    (Some(Value::Array(known)), Value::Array(more)) if key == "required" => {
                        known.extend(more.clone())
                    }
                    _ => {
                        merged.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        Value::Object(merged)
    }
}

/// A schema with the bounds that its description says, as a client writes them that has lowered
/// them: `{minimum: 1, maximum: 10}`. A model mostly keeps to them.
fn said_in_words(fields: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    let words = fields
        .get("description")
        .and_then(Value::as_str)
        .and_then(|text| text.strip_suffix('}')?.rsplit_once('{'));
    let Some((_, words)) = words else {
        return Cow::Borrowed(fields);
    };
    let mut all = fields.clone();
    for (keyword, bound) in words.split(", ").filter_map(|word| word.split_once(": ")) {
        if let Ok(bound @ Value::Number(_)) = serde_json::from_str(bound) {
            all.insert(keyword.to_owned(), bound);
        }
    }
    Cow::Owned(all)
}

/// The schema a local reference names.
fn resolve<'a>(target: &str, root: &'a Value) -> Option<&'a Value> {
    root.pointer(target.strip_prefix('#')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_fits_its_schema() {
        let schemas = [
            json!({"type": "string", "enum": ["a", "b"]}),
            json!({
                "type": "object", "additionalProperties": false, "required": ["label", "when"],
                "properties": {
                    "note": {"type": ["string", "null"]},
                    "label": {"type": "string", "enum": ["x", "y", "z"]},
                    "confidence": {"type": "number"},
                    "when": {"type": "string", "format": "date-time"},
                    "tags": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/tag"}},
                    "code": {"type": "string", "pattern": "^[A-Z]{2}\\d{3}$"},
                    "nested": {"type": "object", "additionalProperties": false, "required": ["n"],
                               "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}},
                    "either": {"anyOf": [{"type": "integer"}, {"type": "null"}, {"$ref": "#/$defs/tag"}]}
                },
                "$defs": {"tag": {"type": "string", "enum": ["red", "green"]}}
            }),
            json!({"allOf": [
                {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 5}}, "required": ["a"]},
                {"properties": {"b": {"const": "k"}}, "required": ["b"]}
            ]}),
            json!({"type": "array", "items": {"type": "string", "minLength": 4, "maxLength": 9}, "maxItems": 2}),
            json!({"type": "object", "required": ["grade", "words"], "properties": {
                "grade": {"type": "integer", "minimum": 3, "maximum": 5},
                "words": {"type": "array", "items": {"type": "string", "maxLength": 6}, "minItems": 2, "maxItems": 3}}}),
        ];
        let words: Vec<_> = "The printer on floor 3 does not print".split(' ').collect();
        for schema in &schemas {
            let validator = jsonschema::validator_for(schema).unwrap();
            for seed in 0..200 {
                let mut rng = fastrand::Rng::with_seed(seed);
                let value = InstanceGenerator {
                    root: schema,
                    words: &words,
                    rng: &mut rng,
                }
                .instance();
                assert!(validator.is_valid(&value), "{schema}\n{value}");
                let lowered = crate::request::schema::lower(schema);
                let value = InstanceGenerator {
                    root: &lowered,
                    words: &words,
                    rng: &mut rng,
                }
                .instance();
                assert!(
                    validator.is_valid(&value),
                    "bounds in words: {lowered}\n{value}"
                );
            }
        }
    }

    #[test]
    fn formats_are_valid() {
        for format in [
            "date-time",
            "time",
            "date",
            "duration",
            "email",
            "hostname",
            "uri",
            "ipv4",
            "ipv6",
            "uuid",
        ] {
            let schema = json!({"type": "string", "format": format});
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .build(&schema)
                .unwrap();
            for seed in 0..50 {
                let value = InstanceGenerator {
                    root: &schema,
                    words: &[],
                    rng: &mut fastrand::Rng::with_seed(seed),
                }
                .instance();
                assert!(validator.is_valid(&value), "{format}: {value}");
            }
        }
    }

    #[test]
    fn required_properties_come_first() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "required": ["b"]});
        let value = InstanceGenerator {
            root: &schema,
            words: &[],
            rng: &mut fastrand::Rng::with_seed(3),
        }
        .instance();
        assert_eq!(value.as_object().unwrap().keys().next().unwrap(), "b");
    }
}
