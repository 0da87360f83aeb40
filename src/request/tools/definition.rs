//! Reads one definition, and checks what can be known of it alone.

use serde_json::Value;

use super::settings::{mark_of, problem};
use super::{Tool, wrong};
use crate::request::{Error, schema};
use crate::template::prompt::CacheTtl;

/// Longest name of a tool. **Source**: thread of the provider's command line (claude-code#96152),
/// read 2026-11-22.
const MAX_NAME: usize = 128;

impl Tool {
    /// Reads a definition, and checks what can be known of it alone.
    pub(super) fn read(definition: Value, place: &str) -> Result<Tool, Error> {
        let Value::Object(map) = &definition else {
            return Err(wrong(place, "is not an object, which a definition is"));
        };
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let is_own = matches!(text("type"), None | Some("custom"));
        let cache = read_mark(map.get("cache_control"), place)?;
        let strict = map.get("strict") == Some(&Value::Bool(true));
        // A tool of the provider's may be known by another member, as a set of tools is by its
        // server.
        let name = match text("name") {
            Some(name) => name.to_owned(),
            None if is_own => return Err(wrong(place, "has no `name`")),
            None => text("mcp_server_name")
                .or(text("type"))
                .unwrap_or_default()
                .to_owned(),
        };
        if !is_own {
            if let Some((key, why)) = problem(map) {
                let key = if key.is_empty() {
                    key
                } else {
                    format!("has a `{key}` that ")
                };
                return Err(wrong(place, &format!("{key}{why}")));
            }
            return Ok(Tool {
                name,
                input_schema: None,
                strict,
                cache,
                definition,
            });
        }
        check_name(&name, place)?;
        let place = format!("{place} (`{name}`)");
        let Some(input_schema) = map.get("input_schema").cloned() else {
            return Err(wrong(
                &place,
                "has no `input_schema`, which says what a call of it holds",
            ));
        };
        if input_schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(wrong(
                &place,
                "has an `input_schema` that is not of the type `object`",
            ));
        }
        let findings = if strict {
            schema::check(&input_schema)
        } else {
            Vec::new()
        };
        if !findings.is_empty() {
            return Err(Error::ToolSchema { place, findings });
        }
        Ok(Tool {
            name,
            input_schema: Some(input_schema),
            strict,
            cache,
            definition,
        })
    }
}

fn read_mark(control: Option<&Value>, place: &str) -> Result<Option<CacheTtl>, Error> {
    let Some(control) = control.filter(|control| !control.is_null()) else {
        return Ok(None);
    };
    let problem = "has a `cache_control` that is not `{\"type\": \"ephemeral\", \"ttl\": \"5m\"}`, \
        or with \"1h\"";
    mark_of(control)
        .map(Some)
        .ok_or_else(|| wrong(place, problem))
}

fn check_name(name: &str, place: &str) -> Result<(), Error> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.len() > MAX_NAME {
        return Err(wrong(
            place,
            &format!(
                "has a name of {} characters; the API takes {MAX_NAME}",
                name.chars().count()
            ),
        ));
    }
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(wrong(
            place,
            &format!("has the name `{name}`; the API takes letters, digits, `_` and `-`"),
        ));
    }
    Ok(())
}
