//! The tools of a request: definitions from JSON files or from the job, and the provider's own tools by name.
//!
//! In come the entries of `request.tools` (or what stands in `request.params.tools`); out goes a [`Tool`] for each, with the definition as it
//! is sent: members in the order in which they were written, the same bytes in every request. Everything the API would refuse is found here,
//! since otherwise it is learned of row by row when a batch has ended: names, schemas of strict tools, marks.
//!
//! A tool of the job's own has an `input_schema`, and the model answers with a call of it. A tool that the provider runs is told by its `type`;
//! one that is not known here is passed on as it is written.
//!
//! To add a tool of the provider: an entry in `SERVER_TOOLS`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::durable;
use crate::template::prompt::CacheTtl;
use crate::template::{self, nearest};

use super::{Error, schema};

/// Longest name of a tool. **Source**: thread of the provider's command line (claude-code#96152), read 2026-11-22.
const MAX_NAME: usize = 128;
/// Most strict tools in a request. **Source**: structured output documentation, read 2026-08-22.
const MAX_STRICT: usize = 20;

/// A tool that the provider runs itself.
struct ServerTool {
    /// What it is called, here and on the wire.
    name: &'static str,
    /// The version that every model takes.
    basic: &'static str,
    /// The newest version; the web tools look through what they find with code of the model's before it reads it.
    newest: &'static str,
    /// Its settings, besides those that all tools have.
    settings: &'static [&'static str],
}

/// **Source**: the versions and settings are those of the provider's Python SDK 2.12.0 (November 2026); that the newer ones are for Claude 4.6 and later
/// is in the documentation of the web search tool.
const SERVER_TOOLS: &[ServerTool] = &[
    ServerTool {
        name: "web_search",
        basic: "web_search_20250305",
        newest: "web_search_20260318",
        settings: &["max_uses", "allowed_domains", "blocked_domains", "user_location", "response_inclusion"],
    },
    ServerTool {
        name: "web_fetch",
        basic: "web_fetch_20250910",
        newest: "web_fetch_20260318",
        settings: &[
            "max_uses",
            "allowed_domains",
            "blocked_domains",
            "citations",
            "max_content_tokens",
            "response_inclusion",
            "url_sources",
            "use_cache",
        ],
    },
    ServerTool { name: "code_execution", basic: "code_execution_20250825", newest: "code_execution_20260521", settings: &[] },
];

/// Settings that every tool has.
const COMMON_SETTINGS: &[&str] = &["allowed_callers", "cache_control", "defer_loading", "strict"];

/// One entry of `request.tools`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ToolSpec {
    /// A JSON file with one definition, or a list of them.
    File(PathBuf),
    /// `{ file = … }`, `{ server = … }`, or a definition.
    Table(Map<String, Value>),
}

impl<'de> Deserialize<'de> for ToolSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ToolSpec, D::Error> {
        // Written out, because a derived untagged enum says nothing of what it wanted.
        struct FileOrTable;
        impl<'de> Visitor<'de> for FileOrTable {
            type Value = ToolSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a JSON file, or a table with `file`, `server` or a definition")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<ToolSpec, E> {
                Ok(ToolSpec::File(path.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolSpec, A::Error> {
                Map::deserialize(de::value::MapAccessDeserializer::new(map)).map(ToolSpec::Table)
            }
        }
        deserializer.deserialize_any(FileOrTable)
    }
}

/// A tool that requests offer to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What the model calls it by.
    pub name: String,
    /// The schema of a call's input; `None` for a tool that the provider runs.
    pub input_schema: Option<Value>,
    /// Whether calls are held to the schema.
    pub strict: bool,
    /// The cache mark on it.
    pub cache: Option<CacheTtl>,
    /// The definition, as it is sent.
    pub definition: Value,
}

/// Compiles the entries of `request.tools`. Files that were read are added to `files`, as the job names them, with their blake3 in hex.
///
/// `newest` says whether the model takes the newest versions of the provider's tools.
///
/// # Errors
/// Whatever of it the API would refuse.
pub(super) fn compile(
    specs: &[ToolSpec],
    newest: bool,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let place = format!("entry {} of `request.tools`", i + 1);
        match spec {
            ToolSpec::File(path) => tools.extend(from_file(path, &Map::new(), &place, folder, files)?),
            ToolSpec::Table(table) => tools.extend(from_table(table, newest, &place, folder, files)?),
        }
    }
    check_all(&tools)?;
    Ok(tools)
}

/// Reads what stands in `request.params.tools`: definitions as they are sent.
///
/// # Errors
/// As [`compile`].
pub(super) fn from_params(value: &Value) -> Result<Vec<Tool>, Error> {
    let place = |i: usize| format!("entry {} of `request.params.tools`", i + 1);
    let Some(definitions) = value.as_array() else {
        return Err(wrong("`request.params.tools`", "must be a list of definitions; `request.tools` takes names of files too"));
    };
    let tools: Vec<Tool> =
        definitions.iter().enumerate().map(|(i, tool)| Tool::read(tool.clone(), &place(i))).collect::<Result<_, _>>()?;
    check_all(&tools)?;
    Ok(tools)
}

fn from_table(
    table: &Map<String, Value>,
    newest: bool,
    place: &str,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let mut rest = table.clone();
    if let Some(file) = rest.shift_remove("file") {
        let path = file.as_str().ok_or_else(|| wrong(place, "has a `file` that is not a text"))?;
        return from_file(Path::new(path), &rest, place, folder, files);
    }
    let mark = take_mark(&mut rest, place)?;
    let mut definition = match rest.shift_remove("server") {
        Some(name) => server_tool(&name, rest, newest, place)?,
        None => rest,
    };
    set_mark(&mut definition, mark, place)?;
    Ok(vec![Tool::read(Value::Object(definition), place)?])
}

/// The definitions in a file; `settings` are those beside `file` in the job.
fn from_file(
    path: &Path,
    settings: &Map<String, Value>,
    place: &str,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let mut settings = settings.clone();
    let mark = take_mark(&mut settings, place)?;
    let strict = settings.shift_remove("strict");
    if strict.as_ref().is_some_and(|strict| !strict.is_boolean()) {
        return Err(wrong(place, "has a `strict` that is neither `true` nor `false`"));
    }
    if let Some(unknown) = settings.keys().next() {
        return Err(wrong(place, &format!("has `{unknown}` beside `file`, where only `strict` and `cache` are known")));
    }
    let text = durable::read_text(&folder.join(path), durable::MAX_TEXT_BYTES)
        .map_err(|source| template::Error::Read { path: path.to_path_buf(), source })?;
    let parsed: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|source| Error::SchemaJson { path: path.to_path_buf(), source })?;
    files.push((path.to_path_buf(), blake3::hash(text.as_bytes()).to_hex().to_string()));
    let definitions = match parsed {
        Value::Array(definitions) => definitions,
        definition => vec![definition],
    };
    let count = definitions.len();
    if count == 0 {
        return Err(wrong(&format!("`{}`", path.display()), "has no tool in it"));
    }
    let mut tools = Vec::with_capacity(count);
    for (i, mut definition) in definitions.into_iter().enumerate() {
        let place = if count == 1 { format!("`{}`", path.display()) } else { format!("tool {} of `{}`", i + 1, path.display()) };
        if let Value::Object(definition) = &mut definition {
            if let Some(strict) = &strict {
                definition.insert("strict".to_owned(), strict.clone());
            }
            // A mark covers everything up to it, so one at the end is enough.
            set_mark(definition, mark.filter(|_| i + 1 == count), &place)?;
        }
        tools.push(Tool::read(definition, &place)?);
    }
    Ok(tools)
}

/// The definition of a tool of the provider's, by its short name.
fn server_tool(name: &Value, settings: Map<String, Value>, newest: bool, place: &str) -> Result<Map<String, Value>, Error> {
    let known = SERVER_TOOLS.iter().find(|tool| *name == *tool.name);
    let Some(known) = known else {
        let names: Vec<String> = SERVER_TOOLS.iter().map(|tool| format!("`{}`", tool.name)).collect();
        let problem = format!(
            "has the server tool {name}, which is not known by its short name as {} are; for another one write its `type` and `name`",
            names.join(", ")
        );
        return Err(wrong(place, &problem));
    };
    let mut definition = Map::new();
    let by_model = if newest { known.newest } else { known.basic };
    let kind = settings.get("type").cloned().unwrap_or_else(|| Value::from(by_model));
    definition.insert("type".to_owned(), kind);
    definition.insert("name".to_owned(), Value::from(known.name));
    // Another version may have settings of its own.
    let is_known = |key: &str| known.settings.contains(&key) || COMMON_SETTINGS.contains(&key);
    if let Some(key) = settings.keys().find(|key| !settings.contains_key("type") && !is_known(key)) {
        let near = nearest(key, known.settings.iter().chain(COMMON_SETTINGS).copied());
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(wrong(place, &format!("has `{key}`, which `{}` does not have{near}", known.name)));
    }
    definition.extend(settings.into_iter().filter(|(key, _)| key != "type" && key != "name"));
    let is_set = |key: &str| definition.get(key).is_some_and(|value| !value.is_null());
    if is_set("allowed_domains") && is_set("blocked_domains") {
        return Err(wrong(place, "has both `allowed_domains` and `blocked_domains`; the API takes one of them"));
    }
    Ok(definition)
}

/// Takes the job's word for a cache mark out of an entry.
fn take_mark(table: &mut Map<String, Value>, place: &str) -> Result<Option<CacheTtl>, Error> {
    let Some(word) = table.shift_remove("cache") else { return Ok(None) };
    match word.as_str() {
        Some("5m") => Ok(Some(CacheTtl::FiveMinutes)),
        Some("1h") => Ok(Some(CacheTtl::OneHour)),
        _ => Err(wrong(place, &format!("has `cache = {word}`; a mark is \"5m\" or \"1h\""))),
    }
}

fn set_mark(definition: &mut Map<String, Value>, mark: Option<CacheTtl>, place: &str) -> Result<(), Error> {
    let Some(ttl) = mark else { return Ok(()) };
    let control = serde_json::json!({ "type": "ephemeral", "ttl": ttl.as_str() });
    match definition.insert("cache_control".to_owned(), control) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(wrong(place, "has a `cache_control` of its own beside `cache` in the job; keep one of the two")),
    }
}

impl Tool {
    /// Reads a definition, and checks what can be known of it alone.
    fn read(definition: Value, place: &str) -> Result<Tool, Error> {
        let Value::Object(map) = &definition else { return Err(wrong(place, "is not an object, which a definition is")) };
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let is_own = matches!(text("type"), None | Some("custom"));
        let cache = read_mark(map.get("cache_control"), place)?;
        let strict = map.get("strict") == Some(&Value::Bool(true));
        // A tool of the provider's may be known by another member, as a set of tools is by its server.
        let name = match text("name") {
            Some(name) => name.to_owned(),
            None if is_own => return Err(wrong(place, "has no `name`")),
            None => text("mcp_server_name").or(text("type")).unwrap_or_default().to_owned(),
        };
        if !is_own {
            return Ok(Tool { name, input_schema: None, strict, cache, definition });
        }
        check_name(&name, place)?;
        let place = format!("{place} (`{name}`)");
        let Some(input_schema) = map.get("input_schema").cloned() else {
            return Err(wrong(&place, "has no `input_schema`, which says what a call of it holds"));
        };
        if input_schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(wrong(&place, "has an `input_schema` that is not of the type `object`"));
        }
        let findings = if strict { schema::check(&input_schema) } else { Vec::new() };
        if !findings.is_empty() {
            return Err(Error::ToolSchema { place, findings });
        }
        Ok(Tool { name, input_schema: Some(input_schema), strict, cache, definition })
    }
}

fn read_mark(control: Option<&Value>, place: &str) -> Result<Option<CacheTtl>, Error> {
    let Some(control) = control.filter(|control| !control.is_null()) else { return Ok(None) };
    let kind = control.get("type").and_then(Value::as_str);
    match (kind, control.get("ttl").and_then(Value::as_str)) {
        (Some("ephemeral"), None | Some("5m")) => Ok(Some(CacheTtl::FiveMinutes)),
        (Some("ephemeral"), Some("1h")) => Ok(Some(CacheTtl::OneHour)),
        _ => Err(wrong(place, "has a `cache_control` that is not `{\"type\": \"ephemeral\", \"ttl\": \"5m\"}`, or with \"1h\"")),
    }
}

fn check_name(name: &str, place: &str) -> Result<(), Error> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.len() > MAX_NAME {
        return Err(wrong(place, &format!("has a name of {} characters; the API takes {MAX_NAME}", name.chars().count())));
    }
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(wrong(place, &format!("has the name `{name}`; the API takes letters, digits, `_` and `-`")));
    }
    Ok(())
}

fn check_all(tools: &[Tool]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    if let Some(tool) = tools.iter().find(|tool| !names.insert(tool.name.as_str())) {
        return Err(wrong("`request.tools`", &format!("has two tools with the name `{}`; names must differ", tool.name)));
    }
    let strict = tools.iter().filter(|tool| tool.strict).count();
    if strict > MAX_STRICT {
        return Err(wrong("`request.tools`", &format!("has {strict} strict tools; the API takes {MAX_STRICT}")));
    }
    Ok(())
}

fn wrong(place: &str, problem: &str) -> Error {
    Error::Tool { place: place.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LOOKUP: &str = r#"{"name":"lookup","description":"Looks up.","input_schema":{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"number"}}}}"#;

    #[derive(Deserialize)]
    struct Written {
        tools: Vec<ToolSpec>,
    }

    fn tools(toml: &str, files: &[(&str, &str)]) -> Result<Vec<Tool>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let written: Written = toml::from_str(&format!("tools = {toml}")).map_err(|e| e.message().to_owned())?;
        compile(&written.tools, true, folder.path(), &mut Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn keeps_definitions_as_they_are_written() {
        let found = tools(
            "[\"one.json\", { file = \"list.json\", strict = false, cache = \"1h\" }]",
            &[
                ("one.json", LOOKUP),
                ("list.json", &format!("[{},{}]", LOOKUP.replace("lookup", "b"), LOOKUP.replace("lookup", "c"))),
            ],
        );
        let found = found.unwrap();
        assert_eq!(found[0].definition.to_string(), LOOKUP);
        assert_eq!(
            found.iter().map(|tool| (tool.name.as_str(), tool.cache)).collect::<Vec<_>>(),
            [("lookup", None), ("b", None), ("c", Some(CacheTtl::OneHour)),]
        );
        let marked = r#""strict":false,"cache_control":{"type":"ephemeral","ttl":"1h"}}"#;
        assert!(found[2].definition.to_string().ends_with(marked), "{}", found[2].definition);
        assert_eq!(found[0].input_schema.as_ref().unwrap()["properties"]["z"], json!({"type": "string"}));
    }

    #[test]
    fn knows_tools_of_the_provider_by_short_names_and_passes_on_others() {
        let found = tools(
            "[{ server = \"web_search\", max_uses = 3, cache = \"5m\" }, { server = \"web_fetch\", type = \"web_fetch_20250910\", own = 1 },
              { type = \"mcp_toolset\", mcp_server_name = \"desk\" }, { type = \"new_tool_20270101\", name = \"new\", x = [1] }]",
            &[],
        );
        let found = found.unwrap();
        let sent: Vec<String> = found.iter().map(|tool| tool.definition.to_string()).collect();
        assert_eq!(
            sent,
            [
                r#"{"type":"web_search_20260318","name":"web_search","max_uses":3,"cache_control":{"type":"ephemeral","ttl":"5m"}}"#,
                r#"{"type":"web_fetch_20250910","name":"web_fetch","own":1}"#,
                r#"{"type":"mcp_toolset","mcp_server_name":"desk"}"#,
                r#"{"type":"new_tool_20270101","name":"new","x":[1]}"#,
            ]
        );
        assert!(found.iter().all(|tool| tool.input_schema.is_none()));
        let old = compile(
            &[ToolSpec::Table(json!({"server": "web_search"}).as_object().unwrap().clone())],
            false,
            Path::new("."),
            &mut Vec::new(),
        );
        assert_eq!(old.unwrap()[0].definition["type"], "web_search_20250305");
    }

    #[test]
    fn refuses_what_the_api_refuses() {
        let named = |name: &str| LOOKUP.replace("\"lookup\"", &format!("\"{name}\""));
        let many = (0..21).map(|n| format!(r#"{{"name":"t{n}","strict":true,"input_schema":{{"type":"object","additionalProperties":false,"properties":{{}}}}}}"#));
        let many = format!("[{}]", many.collect::<Vec<_>>().join(","));
        for (toml, file, words) in [
            ("[\"t.json\"]", named(&"x".repeat(129)), "`t.json` has a name of 129 characters; the API takes 128"),
            ("[\"t.json\"]", named("look up"), "`t.json` has the name `look up`; the API takes letters, digits, `_` and `-`"),
            ("[\"t.json\", \"t.json\"]", named("a"), "`request.tools` has two tools with the name `a`"),
            ("[\"t.json\"]", r#"{"input_schema":{"type":"object"}}"#.into(), "`t.json` has no `name`"),
            ("[\"t.json\"]", format!("[{LOOKUP}, 7]"), "tool 2 of `t.json` is not an object"),
            ("[\"t.json\"]", r#"{"name":"a"}"#.into(), "`t.json` (`a`) has no `input_schema`"),
            ("[\"t.json\"]", r#"{"name":"a","input_schema":{"type":"string"}}"#.into(), "not of the type `object`"),
            ("[{ file = \"t.json\", strict = true }]", LOOKUP.into(), "`additionalProperties`: every object must rule out"),
            ("[\"t.json\"]", many, "has 21 strict tools; the API takes 20"),
            ("[\"t.json\"]", "{".into(), "`t.json` is not JSON"),
            ("[\"t.json\"]", "[]".into(), "`t.json` has no tool in it"),
            ("[\"none.json\"]", String::new(), "none.json"),
            ("[{ file = \"t.json\", max_uses = 1 }]", LOOKUP.into(), "has `max_uses` beside `file`"),
            ("[{ file = \"t.json\", cache = \"2h\" }]", LOOKUP.into(), "a mark is \"5m\" or \"1h\""),
            ("[{ server = \"web\" }]", String::new(), "`web_search`, `web_fetch`, `code_execution` are"),
            ("[{ server = \"web_search\", max_use = 1 }]", String::new(), "did you mean `max_uses`?"),
            (
                "[{ server = \"web_search\", allowed_domains = [\"a\"], blocked_domains = [\"b\"] }]",
                String::new(),
                "takes one of them",
            ),
            ("[7]", String::new(), "a table with `file`, `server` or a definition"),
        ] {
            let found = tools(toml, &[("t.json", &file)]).unwrap_err();
            assert!(found.contains(words), "{toml}\n  expected {words}\n  found    {found}");
        }
        let twice = json!([{"name": "a", "input_schema": {"type": "object"}, "cache_control": {"type": "eternal"}}]);
        assert!(
            from_params(&twice).unwrap_err().to_string().starts_with("entry 1 of `request.params.tools` has a `cache_control`")
        );
    }
}
