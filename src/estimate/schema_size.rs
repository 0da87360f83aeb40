//! The size of an answer by the schema it has to fit.
//!
//! **Source**: the sizes of free text and lists are assumptions of this program; the plan says so.

use serde_json::Value;

use super::Span;
use super::tokens::text_tokens;
use crate::catalog::Tokenizer;

/// Tokens of a text about whose length the schema says nothing.
const FREE_TEXT: Span = Span {
    low: 3,
    expected: 15,
    high: 80,
};
/// Items of a list about whose length the schema says nothing.
const ITEMS: Span = Span {
    low: 0,
    expected: 2,
    high: 8,
};
/// How deep a schema is followed.
const MAX_DEPTH: usize = 16;

/// Sizes of values that fit a schema.
pub(super) struct SchemaSizes<'a> {
    pub(super) root: &'a Value,
    pub(super) tokenizer: Tokenizer,
}

impl SchemaSizes<'_> {
    /// The tokens of a value that fits a part of the schema, `depth` references below its root.
    pub(super) fn of(&self, schema: &Value, depth: usize) -> Span {
        if depth > MAX_DEPTH {
            return Span::exactly(1);
        }
        if let Some(word) = schema.get("const") {
            return Span::exactly(self.word(word));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return self.one_of(words.iter().map(|word| Span::exactly(self.word(word))));
        }
        if let Some(target) = schema["$ref"].as_str() {
            let found = target
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Span::exactly(1), |found| self.of(found, depth + 1));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(branches) = schema[key].as_array() {
                return self.one_of(branches.iter().map(|branch| self.of(branch, depth + 1)));
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().fold(Span::default(), |sum, part| {
                sum.plus(self.of(part, depth + 1))
            });
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let one =
                    |kind: &Value| self.of_kind(kind.as_str().unwrap_or_default(), schema, depth);
                self.one_of(kinds.iter().map(one))
            }
            Value::String(kind) => self.of_kind(kind, schema, depth),
            _ if schema.get("properties").is_some() => self.object(schema, depth),
            _ => FREE_TEXT,
        }
    }

    fn of_kind(&self, kind: &str, schema: &Value, depth: usize) -> Span {
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => match schema["format"].as_str() {
                Some("date" | "time" | "email" | "hostname" | "ipv4") => Span {
                    low: 6,
                    expected: 9,
                    high: 14,
                },
                Some("date-time" | "uri" | "ipv6") => Span {
                    low: 10,
                    expected: 16,
                    high: 30,
                },
                Some("uuid") => Span::exactly(26),
                _ => FREE_TEXT,
            },
            "integer" | "number" => Span {
                low: 1,
                expected: 2,
                high: 5,
            },
            _ => Span::exactly(1),
        }
    }

    /// Braces, and for each member its name, two quotes, a colon and a comma; what may be left out
    /// is there or not.
    fn object(&self, schema: &Value, depth: usize) -> Span {
        let members = schema["properties"].as_object();
        let required = |name: &str| {
            schema["required"]
                .as_array()
                .is_some_and(|names| names.iter().any(|n| n == name))
        };
        members
            .into_iter()
            .flatten()
            .fold(Span::exactly(2), |sum, (name, member)| {
                let size = Span::exactly(text_tokens(name, self.tokenizer) + 3)
                    .plus(self.of(member, depth + 1));
                sum.plus(if required(name) {
                    size
                } else {
                    Span { low: 0, ..size }
                })
            })
    }

    fn array(&self, schema: &Value, depth: usize) -> Span {
        let item = schema
            .get("items")
            .map_or(FREE_TEXT, |items| self.of(items, depth + 1));
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let items = ITEMS.map(|items| items.max(least));
        Span {
            low: 2 + items.low * (item.low + 1),
            expected: 2 + items.expected * (item.expected + 1),
            high: 2 + items.high * (item.high + 1),
        }
    }

    /// The smallest, the mean, the largest.
    fn one_of(&self, sizes: impl Iterator<Item = Span>) -> Span {
        let sizes: Vec<Span> = sizes.collect();
        let mean = sizes
            .iter()
            .map(|size| size.expected)
            .sum::<u64>()
            .div_ceil(sizes.len().max(1) as u64);
        let low = sizes.iter().map(|size| size.low).min().unwrap_or(1);
        Span {
            low,
            expected: mean.max(low),
            high: sizes.iter().map(|size| size.high).max().unwrap_or(1),
        }
    }

    fn word(&self, word: &Value) -> u64 {
        text_tokens(&word.to_string(), self.tokenizer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn follows_references_and_closes_circles() {
        let schema = json!({ "$defs": { "a": { "type": "array", "items": { "$ref": "#/$defs/a" } } }, "$ref": "#/$defs/a" });
        let size = SchemaSizes {
            root: &schema,
            tokenizer: Tokenizer::First,
        }
        .of(&schema, 0);
        assert!(size.low >= 2);
    }
}
