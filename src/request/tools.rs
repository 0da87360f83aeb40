//! The tools of a request: definitions from JSON files or from the job, and the provider's own
//! tools by name.
//!
//! In come the entries of `request.tools` (or what stands in `request.params.tools`); out goes a
//! [`Tool`] for each, with the definition as it is sent: members in the order in which they were
//! written, the same bytes in every request. Everything the API would refuse is found here, since
//! otherwise it is learned of row by row when a batch has ended: names, schemas of strict tools,
//! marks.
//!
//! A tool of the job's own has an `input_schema`, and the model answers with a call of it. A tool
//! of the provider's is told by its `type`: of the versions in `SERVER_TOOLS` every setting is
//! checked, of a newer version those settings that are known; a tool that is not known here is
//! passed on as it is written. The simulator asks the same table.
//!
//! To add a tool of the provider, or a version: an entry in `SERVER_TOOLS`; a setting: an entry in
//! `SETTINGS`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::{Model, Thinking};
use crate::durable;
use crate::template::prompt::CacheTtl;
use crate::template::{self, nearest};

use super::{Error, RequestWarning, parameters, schema};

/// Longest name of a tool. **Source**: thread of the provider's command line (claude-code#96152),
/// read 2026-11-22.
const MAX_NAME: usize = 128;
/// Most strict tools in a request. **Source**: structured output documentation, read 2026-08-22.
const MAX_STRICT: usize = 20;

/// A tool of the provider's, in all its versions.
struct ServerTool {
    /// What its types begin with; the day of a version stands behind.
    prefix: &'static str,
    /// What each version calls it, and what it has besides the common settings, the oldest first.
    versions: &'static [ToolVersion],
}

struct ToolVersion {
    day: &'static str,
    /// The name it has to have; `None` for sets of tools, which have none.
    name: Option<&'static str>,
    settings: &'static [&'static str],
    /// The beta it belongs to, where it does.
    beta: Option<&'static str>,
}

const fn version(
    day: &'static str,
    name: &'static str,
    settings: &'static [&'static str],
) -> ToolVersion {
    ToolVersion {
        day,
        name: Some(name),
        settings,
        beta: None,
    }
}

const fn toolset(day: &'static str) -> ToolVersion {
    ToolVersion {
        day,
        name: None,
        settings: &["configs"],
        beta: None,
    }
}

impl ToolVersion {
    const fn beta(self, beta: &'static str) -> ToolVersion {
        ToolVersion {
            beta: Some(beta),
            ..self
        }
    }

    /// Whether a definition of this version may have this member.
    fn has(&self, key: &str) -> bool {
        let common: &[&str] = if self.name.is_some() {
            COMMON_SETTINGS
        } else {
            &["cache_control"]
        };
        key == "type"
            || (key == "name" && self.name.is_some())
            || self.settings.contains(&key)
            || common.contains(&key)
    }
}

const EDITOR: &str = "str_replace_based_edit_tool";
const OLD_EDITOR: &str = "str_replace_editor";
const EXAMPLES: &[&str] = &["input_examples"];
const SEARCH: &[&str] = &[
    "allowed_domains",
    "blocked_domains",
    "max_uses",
    "user_location",
];
const FETCH: &[&str] = &[
    "allowed_domains",
    "blocked_domains",
    "citations",
    "max_content_tokens",
    "max_uses",
    "url_sources",
];
const FETCH_CACHED: &[&str] = &[
    "allowed_domains",
    "blocked_domains",
    "citations",
    "max_content_tokens",
    "max_uses",
    "url_sources",
    "use_cache",
];
const DISPLAY: &[&str] = &[
    "display_height_px",
    "display_width_px",
    "display_number",
    "input_examples",
];

/// **Source**: versions, names, settings and betas are those of the provider's Python SDK 2.14.0,
/// types `ToolUnionParam` and `BetaToolUnionParam`, read 2026-11-30; the test of the SDK's types
/// compares them with the newest release.
const SERVER_TOOLS: &[ServerTool] = &[
    ServerTool {
        prefix: "web_search_",
        versions: &[
            version("20250305", "web_search", SEARCH),
            version("20260209", "web_search", SEARCH),
            version(
                "20260318",
                "web_search",
                &[
                    "allowed_domains",
                    "blocked_domains",
                    "max_uses",
                    "user_location",
                    "response_inclusion",
                ],
            ),
        ],
    },
    ServerTool {
        prefix: "web_fetch_",
        versions: &[
            version("20250910", "web_fetch", FETCH),
            version("20260209", "web_fetch", FETCH),
            version("20260309", "web_fetch", FETCH_CACHED),
            version(
                "20260318",
                "web_fetch",
                &[
                    "allowed_domains",
                    "blocked_domains",
                    "citations",
                    "max_content_tokens",
                    "max_uses",
                    "response_inclusion",
                    "url_sources",
                    "use_cache",
                ],
            ),
        ],
    },
    ServerTool {
        prefix: "code_execution_",
        versions: &[
            version("20250522", "code_execution", &[]),
            version("20250825", "code_execution", &[]),
            version("20260120", "code_execution", &[]),
            version("20260521", "code_execution", &[]),
        ],
    },
    ServerTool {
        prefix: "bash_",
        versions: &[
            version("20241022", "bash", EXAMPLES).beta("computer-use-"),
            version("20250124", "bash", EXAMPLES),
        ],
    },
    ServerTool {
        prefix: "text_editor_",
        versions: &[
            version("20241022", OLD_EDITOR, EXAMPLES).beta("computer-use-"),
            version("20250124", OLD_EDITOR, EXAMPLES),
            version("20250429", EDITOR, EXAMPLES),
            version("20250728", EDITOR, &["input_examples", "max_characters"]),
        ],
    },
    ServerTool {
        prefix: "memory_",
        versions: &[version("20250818", "memory", EXAMPLES)],
    },
    ServerTool {
        prefix: "tool_search_tool_bm25_",
        versions: &[version("20251119", "tool_search_tool_bm25", &[])],
    },
    ServerTool {
        prefix: "tool_search_tool_regex_",
        versions: &[version("20251119", "tool_search_tool_regex", &[])],
    },
    ServerTool {
        prefix: "computer_",
        versions: &[
            version("20241022", "computer", DISPLAY).beta("computer-use-2024-"),
            version("20250124", "computer", DISPLAY).beta("computer-use-2025-01-"),
            version(
                "20251124",
                "computer",
                &[
                    "display_height_px",
                    "display_width_px",
                    "display_number",
                    "enable_zoom",
                    "input_examples",
                ],
            )
            .beta("computer-use-2025-11-"),
        ],
    },
    ServerTool {
        prefix: "computer_toolset_",
        versions: &[toolset("20260801")],
    },
    ServerTool {
        prefix: "browser_toolset_",
        versions: &[toolset("20260801")],
    },
    ServerTool {
        prefix: "advisor_",
        versions: &[version(
            "20260301",
            "advisor",
            &["caching", "max_tokens", "max_uses", "model"],
        )
        .beta("advisor-tool-")],
    },
];

/// The tools that a job names by short names, with the version that every model takes; models from
/// Claude 4.6 on take the newest, which looks through what it finds with code of the model's before
/// the model reads it. **Source**: documentation of the web search tool.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("web_search", "20250305"),
    ("web_fetch", "20250910"),
    ("code_execution", "20250825"),
];

/// Settings that every tool has which has a name.
const COMMON_SETTINGS: &[&str] = &[
    "allowed_callers",
    "cache_control",
    "defer_loading",
    "strict",
];

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
const SETTINGS: &[(&str, SettingRule, bool)] = &[
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

fn texts(value: &Value) -> Option<Vec<&str>> {
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

/// The version that a type names: the tool, and what is known of it; `None` in place of that for a
/// version that is not known.
fn version_of(kind: &str) -> Option<(&'static ServerTool, Option<&'static ToolVersion>)> {
    let is_day = |day: &str| day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit());
    let (tool, day) = SERVER_TOOLS.iter().find_map(|tool| {
        let day = kind.strip_prefix(tool.prefix).filter(|day| is_day(day));
        // Tool search may be asked for in its newest version, without a day.
        let newest = || {
            (tool.prefix.strip_suffix('_') == Some(kind) && kind.starts_with("tool_search_"))
                .then(|| tool.newest().day)
        };
        day.or_else(newest).map(|day| (tool, day))
    })?;
    Some((
        tool,
        tool.versions.iter().find(|version| version.day == day),
    ))
}

impl ServerTool {
    fn newest(&self) -> &'static ToolVersion {
        &self.versions[self.versions.len() - 1]
    }
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

/// The model that advises, where a tool is an advisor.
pub(super) fn advisor(tool: &Tool) -> Option<&str> {
    let is_advisor = tool
        .definition
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.starts_with("advisor_"));
    tool.definition
        .get("model")
        .filter(|_| is_advisor)
        .and_then(Value::as_str)
}

/// Warns of a tool that belongs to a beta the job does not name.
pub(super) fn beta_missing(tool: &Tool, betas: &[String]) -> Option<RequestWarning> {
    let kind = tool.definition.get("type").and_then(Value::as_str)?;
    // A set of tools comes with the parameter that names its server, and so with the same beta.
    let beta = if kind == "mcp_toolset" {
        parameters::parameter(parameters::MCP_SERVERS)?
            .betas
            .first()?
    } else {
        version_of(kind)?.1?.beta?
    };
    (!betas.iter().any(|name| name.starts_with(beta))).then(|| RequestWarning::ToolNeedsBeta {
        tool: tool.name.clone(),
        beta: parameters::proposed_beta(&[beta]),
    })
}

/// Why a model does not take a tool, and the fix; `None` where it does, or nothing is known
/// against it.
pub(crate) fn refused_by(id: &str, model: &Model, definition: &Value) -> Option<(String, String)> {
    let kind = definition.get("type").and_then(Value::as_str)?;
    if model.tools_refused.iter().any(|refused| refused == kind) {
        let newer = SERVER_TOOLS
            .iter()
            .find(|tool| tool.prefix == "computer_toolset_" && kind.starts_with("computer_"));
        let fix = newer.map_or_else(
            || "use another tool, or another model".to_owned(),
            |tool| {
                format!(
                    "use `{{ type = \"{}{}\" }}`",
                    tool.prefix,
                    tool.newest().day
                )
            },
        );
        return Some((
            format!("has a tool of the type `{kind}`, which `{id}` does not take"),
            fix,
        ));
    }
    if kind.starts_with("advisor_") {
        return advisor_refused(id, model, definition.get("model").and_then(Value::as_str)?);
    }
    let (tool, _) = version_of(kind)?;
    let (name, basic) = SHORT_NAMES
        .iter()
        .find(|(name, _)| tool.prefix.strip_suffix('_') == Some(*name))?;
    // Called by the model itself, the newer web tools are as the older ones.
    let only_direct = definition
        .get("allowed_callers")
        .and_then(texts)
        .is_some_and(|callers| callers == ["direct"]);
    let is_newer = match *name {
        "code_execution" => kind.ends_with(tool.newest().day),
        _ => !kind.ends_with(basic) && !only_direct,
    };
    (is_newer && model.thinking == Thinking::Extended).then(|| {
        let why =
            format!("has `{kind}`, which is for models from Claude 4.6 on and not for `{id}`");
        (
            why,
            format!("write `{{ server = \"{name}\", type = \"{name}_{basic}\" }}`"),
        )
    })
}

fn advisor_refused(id: &str, model: &Model, advisor: &str) -> Option<(String, String)> {
    let is_among = |ids: &[String]| ids.iter().any(|id| id == advisor);
    let is_refused = is_among(&model.advisors_refused)
        || (!model.advisors.is_empty() && !is_among(&model.advisors));
    let fix = match model.advisors.as_slice() {
        [] => "use a newer or larger model as advisor".to_owned(),
        ids => format!("use `{}`", ids.join("` or `")),
    };
    is_refused.then(|| {
        (
            format!("has `{advisor}` as advisor, which `{id}` does not take"),
            fix,
        )
    })
}

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
                f.write_str(
                    "the name of a JSON file, or a table with `file`, `server` or a definition",
                )
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

/// Compiles the entries of `request.tools`. Files that were read are added to `files`, as the job
/// names them, with their blake3 in hex.
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
            ToolSpec::File(path) => {
                tools.extend(from_file(path, &Map::new(), &place, folder, files)?)
            }
            ToolSpec::Table(table) => {
                tools.extend(from_table(table, newest, &place, folder, files)?)
            }
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
        return Err(wrong(
            "`request.params.tools`",
            "must be a list of definitions; `request.tools` takes names of files too",
        ));
    };
    let tools: Vec<Tool> = definitions
        .iter()
        .enumerate()
        .map(|(i, tool)| Tool::read(tool.clone(), &place(i)))
        .collect::<Result<_, _>>()?;
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
        let path = file
            .as_str()
            .ok_or_else(|| wrong(place, "has a `file` that is not a text"))?;
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
        return Err(wrong(
            place,
            "has a `strict` that is neither `true` nor `false`",
        ));
    }
    if let Some(unknown) = settings.keys().next() {
        return Err(wrong(
            place,
            &format!("has `{unknown}` beside `file`, where only `strict` and `cache` are known"),
        ));
    }
    let text =
        durable::read_text(&folder.join(path), durable::MAX_TEXT_BYTES).map_err(|source| {
            template::Error::Read {
                path: path.to_path_buf(),
                source,
            }
        })?;
    let parsed: Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|source| {
            Error::SchemaJson {
                path: path.to_path_buf(),
                source,
            }
        })?;
    files.push((
        path.to_path_buf(),
        blake3::hash(text.as_bytes()).to_hex().to_string(),
    ));
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
        let place = if count == 1 {
            format!("`{}`", path.display())
        } else {
            format!("tool {} of `{}`", i + 1, path.display())
        };
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
fn server_tool(
    name: &Value,
    settings: Map<String, Value>,
    newest: bool,
    place: &str,
) -> Result<Map<String, Value>, Error> {
    let Some((known, basic)) = SHORT_NAMES.iter().find(|(known, _)| *name == **known) else {
        let names: Vec<String> = SHORT_NAMES
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let problem = format!(
            "has the server tool {name}, which is not known by its short name as {} are; for \
             another one write its `type` and `name`",
            names.join(", ")
        );
        return Err(wrong(place, &problem));
    };
    let tool = SERVER_TOOLS
        .iter()
        .find(|tool| tool.prefix.strip_suffix('_') == Some(*known));
    let day = tool
        .filter(|_| newest)
        .map_or(*basic, |tool| tool.newest().day);
    let kind = settings
        .get("type")
        .cloned()
        .unwrap_or_else(|| Value::from(format!("{known}_{day}")));
    let mut definition = Map::new();
    definition.insert("type".to_owned(), kind);
    definition.insert("name".to_owned(), Value::from(*known));
    definition.extend(
        settings
            .into_iter()
            .filter(|(key, _)| key != "type" && key != "name"),
    );
    Ok(definition)
}

/// Takes the job's word for a cache mark out of an entry.
fn take_mark(table: &mut Map<String, Value>, place: &str) -> Result<Option<CacheTtl>, Error> {
    let Some(word) = table.shift_remove("cache") else {
        return Ok(None);
    };
    match word.as_str() {
        Some("5m") => Ok(Some(CacheTtl::FiveMinutes)),
        Some("1h") => Ok(Some(CacheTtl::OneHour)),
        _ => Err(wrong(
            place,
            &format!("has `cache = {word}`; a mark is \"5m\" or \"1h\""),
        )),
    }
}

fn set_mark(
    definition: &mut Map<String, Value>,
    mark: Option<CacheTtl>,
    place: &str,
) -> Result<(), Error> {
    let Some(ttl) = mark else { return Ok(()) };
    let control = serde_json::json!({ "type": "ephemeral", "ttl": ttl.as_str() });
    match definition.insert("cache_control".to_owned(), control) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(wrong(
            place,
            "has a `cache_control` of its own beside `cache` in the job; keep one of the two",
        )),
    }
}

impl Tool {
    /// Reads a definition, and checks what can be known of it alone.
    fn read(definition: Value, place: &str) -> Result<Tool, Error> {
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

/// A `cache_control` as it is sent; `None` where it is none that the API takes.
pub(super) fn mark_of(control: &Value) -> Option<CacheTtl> {
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

fn check_all(tools: &[Tool]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    if let Some(tool) = tools.iter().find(|tool| !names.insert(tool.name.as_str())) {
        return Err(wrong(
            "`request.tools`",
            &format!(
                "has two tools with the name `{}`; names must differ",
                tool.name
            ),
        ));
    }
    let strict = tools.iter().filter(|tool| tool.strict).count();
    if strict > MAX_STRICT {
        return Err(wrong(
            "`request.tools`",
            &format!("has {strict} strict tools; the API takes {MAX_STRICT}"),
        ));
    }
    Ok(())
}

fn wrong(place: &str, problem: &str) -> Error {
    Error::Tool {
        place: place.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LOOKUP: &str = r#"{"name":"lookup","description":"Looks up.","input_schema":{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"number"}}}}"#;

    #[derive(Deserialize)]
    struct ToolsSection {
        tools: Vec<ToolSpec>,
    }

    fn tools(toml: &str, files: &[(&str, &str)]) -> Result<Vec<Tool>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let written: ToolsSection =
            toml::from_str(&format!("tools = {toml}")).map_err(|e| e.message().to_owned())?;
        compile(&written.tools, true, folder.path(), &mut Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn keeps_definitions_as_they_are_written() {
        let found = tools(
            "[\"one.json\", { file = \"list.json\", strict = false, cache = \"1h\" }]",
            &[
                ("one.json", LOOKUP),
                (
                    "list.json",
                    &format!(
                        "[{},{}]",
                        LOOKUP.replace("lookup", "b"),
                        LOOKUP.replace("lookup", "c")
                    ),
                ),
            ],
        );
        let found = found.unwrap();
        assert_eq!(found[0].definition.to_string(), LOOKUP);
        assert_eq!(
            found
                .iter()
                .map(|tool| (tool.name.as_str(), tool.cache))
                .collect::<Vec<_>>(),
            [
                ("lookup", None),
                ("b", None),
                ("c", Some(CacheTtl::OneHour)),
            ]
        );
        let marked = r#""strict":false,"cache_control":{"type":"ephemeral","ttl":"1h"}}"#;
        assert!(
            found[2].definition.to_string().ends_with(marked),
            "{}",
            found[2].definition
        );
        assert_eq!(
            found[0].input_schema.as_ref().unwrap()["properties"]["z"],
            json!({"type": "string"})
        );
    }

    #[test]
    fn knows_tools_of_the_provider_by_short_names_and_passes_on_others() {
        let found = tools(
            "[{ server = \"web_search\", max_uses = 3, cache = \"5m\" }, { server = \"web_fetch\", type = \"web_fetch_20270910\", own = 1 },
              { type = \"mcp_toolset\", mcp_server_name = \"desk\" }, { type = \"new_tool_20270101\", name = \"new\", x = [1] }]",
            &[],
        );
        let found = found.unwrap();
        let sent: Vec<String> = found
            .iter()
            .map(|tool| tool.definition.to_string())
            .collect();
        assert_eq!(
            sent,
            [
                r#"{"type":"web_search_20260318","name":"web_search","max_uses":3,"cache_control":{"type":"ephemeral","ttl":"5m"}}"#,
                r#"{"type":"web_fetch_20270910","name":"web_fetch","own":1}"#,
                r#"{"type":"mcp_toolset","mcp_server_name":"desk"}"#,
                r#"{"type":"new_tool_20270101","name":"new","x":[1]}"#,
            ]
        );
        assert!(found.iter().all(|tool| tool.input_schema.is_none()));
        let old = compile(
            &[ToolSpec::Table(
                json!({"server": "web_search"}).as_object().unwrap().clone(),
            )],
            false,
            Path::new("."),
            &mut Vec::new(),
        );
        assert_eq!(old.unwrap()[0].definition["type"], "web_search_20250305");
    }

    #[test]
    fn agrees_with_the_types_of_the_sdk() {
        let facts: Value =
            serde_json::from_str(include_str!("../../tests/data/sdk_facts.json")).unwrap();
        let known = facts["tools"].as_object().unwrap();
        for (kind, facts) in known.iter().filter(|(kind, _)| *kind != "mcp_toolset") {
            let Some((_, Some(version))) = version_of(kind) else {
                panic!("the table has no `{kind}`")
            };
            assert_eq!(version.name, facts["name"].as_str(), "{kind}");
            assert_eq!(version.beta.is_some(), facts["beta"] == true, "{kind}");
            let has: Vec<&str> = facts["settings"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key.as_str().unwrap())
                .collect();
            assert!(has.iter().all(|key| version.has(key)), "{kind}: {has:?}");
            assert!(
                version.settings.iter().all(|key| has.contains(key)),
                "{kind}: {has:?}"
            );
        }
        for tool in SERVER_TOOLS {
            for version in tool.versions {
                assert!(
                    known.contains_key(&format!("{}{}", tool.prefix, version.day)),
                    "{}{}",
                    tool.prefix,
                    version.day
                );
            }
        }
        let forms = SETTINGS.iter().map(|(key, ..)| *key);
        assert!(forms.is_sorted(), "so that a setting is found");
    }

    #[test]
    fn takes_settings_as_they_are_documented() {
        for tool in [
            "{ server = \"web_search\", user_location = { type = \"approximate\", city = \"Oslo\", country = \"NO\" } }",
            "{ server = \"web_search\", blocked_domains = [\"example.org/news\"], response_inclusion = \"excluded\", strict = true }",
            "{ server = \"web_fetch\", max_content_tokens = 5000, use_cache = false, citations = { enabled = false }, url_sources = {} }",
            "{ server = \"code_execution\", allowed_callers = [\"direct\"] }",
            "{ type = \"computer_toolset_20260801\", configs = { zoom = { enabled = false } } }",
            "{ type = \"browser_toolset_20260801\" }",
            "{ type = \"mcp_toolset\", mcp_server_name = \"desk\", default_config = { enabled = true } }",
            "{ type = \"advisor_20260301\", name = \"advisor\", model = \"m\", max_uses = 2, caching = { type = \"ephemeral\", ttl = \"1h\" } }",
            // A newer version, or another tool, may have settings that are something else.
            "{ type = \"web_search_20290101\", name = \"web_search\", depth = 2 }",
            "{ type = \"brand_new_20270101\", name = \"x\", max_uses = \"many\" }",
        ] {
            assert!(
                tools(&format!("[{tool}]"), &[]).is_ok(),
                "{tool}: {:?}",
                tools(&format!("[{tool}]"), &[])
            );
        }
    }

    #[test]
    fn refuses_settings_that_fail_every_row() {
        for (tool, words) in [
            (
                "{ server = \"web_search\", max_uses = -1 }",
                "has a `max_uses` that must be a whole number, at least 1",
            ),
            ("{ server = \"web_search\", max_uses = 0 }", "`max_uses`"),
            (
                "{ server = \"web_search\", max_uses = \"3\" }",
                "`max_uses`",
            ),
            (
                "{ server = \"web_search\", allowed_domains = \"example.org\" }",
                "`allowed_domains` that must be a list of domains",
            ),
            (
                "{ server = \"web_search\", allowed_domains = [] }",
                "`allowed_domains`",
            ),
            (
                "{ server = \"web_search\", blocked_domains = [\"https://example.org\"] }",
                "without `https://`",
            ),
            (
                "{ type = \"web_search_20250305\", name = \"web_search\", allowed_domains = [\"a.org\"], blocked_domains = [\"b.org\"] }",
                "takes one of them",
            ),
            (
                "{ server = \"web_fetch\", allowed_domains = [\"a.org\"], blocked_domains = [\"b.org\"] }",
                "takes one of them",
            ),
            (
                "{ server = \"web_search\", user_location = { city = \"Oslo\" } }",
                "`user_location` that must be a table with `type",
            ),
            (
                "{ server = \"web_search\", user_location = { type = \"exact\" } }",
                "`user_location`",
            ),
            (
                "{ server = \"web_search\", user_location = { type = \"approximate\", country = \"Norway\" } }",
                "`user_location`",
            ),
            (
                "{ server = \"web_search\", user_location = \"Oslo\" }",
                "`user_location`",
            ),
            (
                "{ server = \"web_search\", response_inclusion = \"some\" }",
                "\"full\" or \"excluded\"",
            ),
            (
                "{ server = \"web_fetch\", citations = true }",
                "`citations` that must be `{ enabled = true }`",
            ),
            (
                "{ server = \"web_fetch\", max_content_tokens = 0.5 }",
                "`max_content_tokens`",
            ),
            (
                "{ server = \"web_fetch\", use_cache = \"no\" }",
                "`true` or `false`",
            ),
            (
                "{ server = \"web_search\", use_cache = true }",
                "`use_cache` that is not among the settings of `web_search_20260318`",
            ),
            (
                "{ server = \"web_search\", type = \"web_search_20250305\", response_inclusion = \"full\" }",
                "`response_inclusion` that is not among the settings of `web_search_20250305`",
            ),
            (
                "{ type = \"web_search_20250305\", name = \"search\" }",
                "`name` that must be \"web_search\"",
            ),
            (
                "{ type = \"web_search_20250305\" }",
                "`name` that must be \"web_search\"",
            ),
            (
                "{ type = \"computer_toolset_20260801\", name = \"computer\" }",
                "`name` that is not among the settings",
            ),
            (
                "{ type = \"computer_20250124\", name = \"computer\", display_width_px = 9 }",
                "`display_height_px` that is missing",
            ),
            (
                "{ type = \"advisor_20260301\", name = \"advisor\" }",
                "`model` that is missing",
            ),
            (
                "{ type = \"mcp_toolset\" }",
                "`mcp_server_name` that is missing",
            ),
            (
                "{ server = \"code_execution\", allowed_callers = \"direct\" }",
                "`allowed_callers` that must be a list of texts",
            ),
        ] {
            let found = tools(&format!("[{tool}]"), &[]).unwrap_err();
            assert!(
                found.contains(words),
                "{tool}\n  expected {words}\n  found    {found}"
            );
        }
    }

    #[test]
    fn refuses_what_the_api_refuses() {
        let named = |name: &str| LOOKUP.replace("\"lookup\"", &format!("\"{name}\""));
        let many = (0..21).map(|n| format!(r#"{{"name":"t{n}","strict":true,"input_schema":{{"type":"object","additionalProperties":false,"properties":{{}}}}}}"#));
        let many = format!("[{}]", many.collect::<Vec<_>>().join(","));
        for (toml, file, words) in [
            (
                "[\"t.json\"]",
                named(&"x".repeat(129)),
                "`t.json` has a name of 129 characters; the API takes 128",
            ),
            (
                "[\"t.json\"]",
                named("look up"),
                "`t.json` has the name `look up`; the API takes letters, digits, `_` and `-`",
            ),
            (
                "[\"t.json\", \"t.json\"]",
                named("a"),
                "`request.tools` has two tools with the name `a`",
            ),
            (
                "[\"t.json\"]",
                r#"{"input_schema":{"type":"object"}}"#.into(),
                "`t.json` has no `name`",
            ),
            (
                "[\"t.json\"]",
                format!("[{LOOKUP}, 7]"),
                "tool 2 of `t.json` is not an object",
            ),
            (
                "[\"t.json\"]",
                r#"{"name":"a"}"#.into(),
                "`t.json` (`a`) has no `input_schema`",
            ),
            (
                "[\"t.json\"]",
                r#"{"name":"a","input_schema":{"type":"string"}}"#.into(),
                "not of the type `object`",
            ),
            (
                "[{ file = \"t.json\", strict = true }]",
                LOOKUP.into(),
                "`additionalProperties`: every object must rule out",
            ),
            (
                "[\"t.json\"]",
                many,
                "has 21 strict tools; the API takes 20",
            ),
            ("[\"t.json\"]", "{".into(), "`t.json` is not JSON"),
            ("[\"t.json\"]", "[]".into(), "`t.json` has no tool in it"),
            ("[\"none.json\"]", String::new(), "none.json"),
            (
                "[{ file = \"t.json\", max_uses = 1 }]",
                LOOKUP.into(),
                "has `max_uses` beside `file`",
            ),
            (
                "[{ file = \"t.json\", cache = \"2h\" }]",
                LOOKUP.into(),
                "a mark is \"5m\" or \"1h\"",
            ),
            (
                "[{ server = \"web\" }]",
                String::new(),
                "`web_search`, `web_fetch`, `code_execution` are",
            ),
            (
                "[{ server = \"web_search\", max_use = 1 }]",
                String::new(),
                "did you mean `max_uses`?",
            ),
            (
                "[{ server = \"web_search\", allowed_domains = [\"a\"], blocked_domains = [\"b\"] }]",
                String::new(),
                "takes one of them",
            ),
            (
                "[7]",
                String::new(),
                "a table with `file`, `server` or a definition",
            ),
        ] {
            let found = tools(toml, &[("t.json", &file)]).unwrap_err();
            assert!(
                found.contains(words),
                "{toml}\n  expected {words}\n  found    {found}"
            );
        }
        let twice = json!([{"name": "a", "input_schema": {"type": "object"}, "cache_control": {"type": "eternal"}}]);
        assert!(
            from_params(&twice)
                .unwrap_err()
                .to_string()
                .starts_with("entry 1 of `request.params.tools` has a `cache_control`")
        );
    }
}
