//! The settings of the provider's tools, and what each value has to be.

use serde_json::{Map, Value};

use super::server_tools::{COMMON_SETTINGS, version_of};
use crate::template::nearest;
use crate::template::prompt::CacheTtl;

/// What the value of a setting has to be: a test, and words for it.
type SettingRule = (fn(&Value) -> bool, &'static str);

const COUNT: SettingRule = (
    |value| value.as_u64().is_some_and(|n| n > 0),
    "must be a whole number, at least 1",
);

const NUMBER: SettingRule = (Value::is_u64, "must be a whole number, at least 0");

const SWITCH: SettingRule = (Value::is_boolean, "must be `true` or `false`");

const TEXT: SettingRule = (
    |value| value.as_str().is_some_and(|text| !text.is_empty()),
    "must be a text",
);

const TABLE: SettingRule = (Value::is_object, "must be a table");

const TEXTS: SettingRule = (|value| texts(value).is_some(), "must be a list of texts");

const TABLES: SettingRule = (
    |value| {
        value
            .as_array()
            .is_some_and(|items| items.iter().all(Value::is_object))
    },
    "must be a list of tables",
);

const MARK: SettingRule = (
    |value| mark_of(value).is_some(),
    "must be `{ type = \"ephemeral\" }`, with `ttl = \"1h\"` if wanted",
);

const DOMAINS: SettingRule = (
    is_domains,
    "must be a list of domains such as \"example.org\", without `https://`",
);

const LOCATION: SettingRule = (
    is_location,
    "must be a table with `type = \"approximate\"` and, as texts, `city`, `region`, `country` (two \
     letters) or `timezone`",
);

const CITATIONS: SettingRule = (
    |value| {
        value.as_object().is_some_and(|map| {
            map.iter()
                .all(|(key, value)| key == "enabled" && value.is_boolean())
        })
    },
    "must be `{ enabled = true }`, or `false`",
);

const INCLUSION: SettingRule = (
    |value| value == "full" || value == "excluded",
    "must be \"full\" or \"excluded\"",
);

/// The settings of tools, whatever tool has them, and whether each may be null.
pub(super) const SETTINGS: &[(&str, SettingRule, bool)] = &[
    ("allowed_callers", TEXTS, false),
    ("allowed_domains", DOMAINS, true),
    ("blocked_domains", DOMAINS, true),
    ("cache_control", MARK, true),
    ("caching", MARK, true),
    ("citations", CITATIONS, true),
    ("configs", TABLE, true),
    ("default_config", TABLE, false),
    ("defer_loading", SWITCH, false),
    ("display_height_px", COUNT, false),
    ("display_number", NUMBER, true),
    ("display_width_px", COUNT, false),
    ("enable_zoom", SWITCH, false),
    ("input_examples", TABLES, false),
    ("max_characters", COUNT, true),
    ("max_content_tokens", COUNT, true),
    ("max_tokens", COUNT, true),
    ("max_uses", COUNT, true),
    ("mcp_server_name", TEXT, false),
    ("model", TEXT, false),
    ("response_inclusion", INCLUSION, false),
    ("strict", SWITCH, false),
    ("url_sources", TABLE, true),
    ("use_cache", SWITCH, false),
    ("user_location", LOCATION, true),
];

/// Settings that a tool which has them cannot do without.
const NEEDED: &[&str] = &["display_height_px", "display_width_px", "model"];

pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn is_domains(value: &Value) -> bool {
    let is_domain = |text: &&str| {
        !text.trim().is_empty() && !text.contains("://") && !text.contains(char::is_whitespace)
    };
    texts(value).is_some_and(|texts| !texts.is_empty() && texts.iter().all(is_domain))
}

fn is_location(value: &Value) -> bool {
    let Some(map) = value.as_object() else {
        return false;
    };
    let fits = |(key, value): (&String, &Value)| match key.as_str() {
        "type" => value == "approximate",
        "city" | "region" | "timezone" => value.is_null() || value.is_string(),
        "country" => {
            value.is_null() || value.as_str().is_some_and(|code| code.chars().count() == 2)
        }
        _ => false,
    };
    map.contains_key("type") && map.iter().all(fits)
}

/// What the API refuses in the definition of one of the provider's tools, whatever the model: the
/// member at fault, empty for the whole, and why.
pub(crate) fn problem(definition: &Map<String, Value>) -> Option<(String, String)> {
    let found = |key: &str, why: String| Some((key.to_owned(), why));
    let kind = definition
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_set = |key: &str| definition.get(key).is_some_and(|value| !value.is_null());
    if let Some((_, Some(version))) = version_of(kind) {
        let name = definition.get("name").and_then(Value::as_str);
        match version.name {
            Some(known) if name != Some(known) => {
                return found(
                    "name",
                    format!("must be \"{known}\" for a tool of the type `{kind}`"),
                );
            }
            _ => {}
        }
        if let Some(key) = definition.keys().find(|key| !version.has(key)) {
            let known = version
                .settings
                .iter()
                .chain(COMMON_SETTINGS)
                .copied()
                .filter(|key| version.has(key));
            let near = nearest(key, known)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return found(key, format!("is not among the settings of `{kind}`{near}"));
        }
        if let Some(key) = version
            .settings
            .iter()
            .find(|key| NEEDED.contains(key) && !is_set(key))
        {
            return found(
                key,
                format!("is missing, and a tool of the type `{kind}` needs it"),
            );
        }
    }
    if kind == "mcp_toolset" && !is_set("mcp_server_name") {
        return found(
            "mcp_server_name",
            "is missing: a set of tools goes by its server".to_owned(),
        );
    }
    // A tool that is not known may have settings of the same name that are something else.
    if version_of(kind).is_some() || kind == "mcp_toolset" {
        let at_fault = |(key, (fits, _), nullable): &&(&str, SettingRule, bool)| {
            definition
                .get(*key)
                .is_some_and(|value| !(fits(value) || (value.is_null() && *nullable)))
        };
        if let Some((key, (_, words), _)) = SETTINGS.iter().find(at_fault) {
            return found(key, (*words).to_owned());
        }
    }
    if is_set("allowed_domains") && is_set("blocked_domains") {
        return found(
            "",
            "has both `allowed_domains` and `blocked_domains`; the API takes one of them"
                .to_owned(),
        );
    }
    None
}

/// A `cache_control` as it is sent; `None` where it is none that the API takes.
pub(in crate::request) fn mark_of(control: &Value) -> Option<CacheTtl> {
    let members = control.as_object()?;
    let is_known = members.keys().all(|key| key == "type" || key == "ttl");
    if !is_known || members.get("type").and_then(Value::as_str) != Some("ephemeral") {
        return None;
    }
    match members.get("ttl").map(Value::as_str) {
        None | Some(Some("5m")) => Some(CacheTtl::FiveMinutes),
        Some(Some("1h")) => Some(CacheTtl::OneHour),
        Some(_) => None,
    }
}
