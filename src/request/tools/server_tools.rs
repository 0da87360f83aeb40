//! The provider's own tools: their versions, names and settings, and which models accept them.
//!
//! **Source**: see [`SERVER_TOOLS`].

use serde_json::Value;

use super::Tool;
use super::settings::texts;
use crate::catalog::{Model, Thinking};
use crate::request::{RequestWarning, parameters};

/// A tool of the provider's, in all its versions.
pub(super) struct ServerTool {
    /// What its types begin with; the day of a version stands behind.
    pub(super) prefix: &'static str,
    /// What each version calls it, and what it has besides the common settings, the oldest first.
    pub(super) versions: &'static [ToolVersion],
}

pub(super) struct ToolVersion {
    pub(super) day: &'static str,
    /// The name it has to have; `None` for sets of tools, which have none.
    pub(super) name: Option<&'static str>,
    pub(super) settings: &'static [&'static str],
    /// The beta it belongs to, where it does.
    pub(super) beta: Option<&'static str>,
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
    pub(super) const fn beta(self, beta: &'static str) -> ToolVersion {
        ToolVersion {
            beta: Some(beta),
            ..self
        }
    }

    /// Whether a definition of this version may have this member.
    pub(super) fn has(&self, key: &str) -> bool {
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
pub(super) const SERVER_TOOLS: &[ServerTool] = &[
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
pub(super) const SHORT_NAMES: &[(&str, &str)] = &[
    ("web_search", "20250305"),
    ("web_fetch", "20250910"),
    ("code_execution", "20250825"),
];

/// Settings that every tool has which has a name.
pub(super) const COMMON_SETTINGS: &[&str] = &[
    "allowed_callers",
    "cache_control",
    "defer_loading",
    "strict",
];

/// The version that a type names: the tool, and what is known of it; `None` in place of that for a
/// version that is not known.
pub(super) fn version_of(
    kind: &str,
) -> Option<(&'static ServerTool, Option<&'static ToolVersion>)> {
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
    pub(super) fn newest(&self) -> &'static ToolVersion {
        &self.versions[self.versions.len() - 1]
    }
}

/// The model that advises, where a tool is an advisor.
pub(in crate::request) fn advisor(tool: &Tool) -> Option<&str> {
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
pub(in crate::request) fn beta_missing(tool: &Tool, betas: &[String]) -> Option<RequestWarning> {
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
