//! The JSON Schema of the answer, within what the API takes.
//!
//! A schema that the API refuses otherwise shows only when the whole batch has ended, once for each
//! row. [`check`] finds everything that is known to be refused, and says what to write instead.
//!
//! **Source**: structured output documentation, read 2026-08-22: the subset of JSON Schema, and the
//! limits of 24 optional parameters and 16 parameters of several types over all schemas of a
//! request. Parts reached through `$ref` are counted once.
//!
//! A job may let what is refused be [lowered](fn@lower) into words. The schema as written then
//! still checks the answers.
//!
//! To follow a change of the subset: the tables below, and in `lower.rs`.

mod check;
mod file;
mod lower;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use check::check;
pub(crate) use check::too_much;
pub use file::AnswerSchema;
pub use file::SchemaSpec;
pub(crate) use file::read;
pub use lower::lower;

/// Something in a schema that the API refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFinding {
    /// Where it stands, as a JSON pointer; empty for the schema as a whole.
    pub pointer: String,
    /// The keyword.
    pub keyword: String,
    /// Why it is refused.
    pub why: String,
    /// What to write instead.
    pub fix: String,
}

const FORMATS: &[&str] = &[
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
];

fn is_object(map: &Map<String, Value>) -> bool {
    has_type(map, "object") || map.contains_key("properties")
}

fn has_type(map: &Map<String, Value>, wanted: &str) -> bool {
    match map.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        _ => false,
    }
}

/// What a pattern holds that the API refuses.
fn refused_in_pattern(pattern: &str) -> Option<&'static str> {
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('1'..='9') if !in_class => return Some("references to groups"),
                Some('k') if !in_class && chars.peek() == Some(&'<') => {
                    return Some("references to groups");
                }
                Some('b' | 'B') if !in_class => return Some("word boundaries"),
                _ => {}
            },
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                let rest: String = chars.clone().take(3).collect();
                if ["?=", "?!", "?<=", "?<!"]
                    .iter()
                    .any(|mark| rest.starts_with(mark))
                {
                    return Some("looks ahead and behind");
                }
            }
            _ => {}
        }
    }
    None
}
