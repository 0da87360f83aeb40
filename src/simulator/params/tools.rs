//! The tools of a request.

use serde_json::Value;

use super::model_rules::ModelRules;
use super::{CallableTools, ThinkingMode, schemas};
use crate::catalog::{Catalog, Model};
use crate::request::parameters::TOOL_CHOICES;
use crate::request::{schema, tools};
use crate::simulator::cache::Prefix;
use crate::simulator::reply::ErrorReply;
use crate::simulator::tokens;

/// The tools of a request.
pub(super) struct RequestTools<'a>(&'a [Value]);

impl<'a> RequestTools<'a> {
    pub(super) fn read(value: Option<&'a Value>) -> Result<RequestTools<'a>, ErrorReply> {
        let tools = match value {
            None => return Ok(RequestTools(&[])),
            Some(Value::Array(tools)) => tools,
            Some(_) => return Err(ErrorReply::invalid("tools: Input should be a valid list")),
        };
        let mut names = std::collections::BTreeSet::new();
        for (n, tool) in tools.iter().enumerate() {
            let name = check_tool(n, tool)?;
            if !names.insert(name) {
                return Err(ErrorReply::invalid("tools: Tool names must be unique."));
            }
        }
        if tools
            .iter()
            .filter(|tool| tool.get("strict") == Some(&Value::Bool(true)))
            .count()
            > 20
        {
            return Err(ErrorReply::invalid(
                "tools: at most 20 strict tools are allowed",
            ));
        }
        Ok(RequestTools(tools))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses tools that the model does not accept, and unknown advisors.
    pub(super) fn check_models(
        &self,
        rules: &ModelRules<'_>,
        catalog: &Catalog,
    ) -> Result<(), ErrorReply> {
        for (n, tool) in self
            .0
            .iter()
            .enumerate()
            .filter(|(_, tool)| !is_custom(tool))
        {
            if let Some((why, _)) = tools::refused_by(rules.id, rules.model, tool) {
                return Err(ErrorReply::invalid(format!("tools.{n}: the request {why}")));
            }
            let is_advisor = tool
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.starts_with("advisor_"));
            let advisor = tool
                .get("model")
                .filter(|_| is_advisor)
                .and_then(Value::as_str);
            if let Some(name) = advisor.filter(|name| catalog.model(name).is_none()) {
                return Err(ErrorReply::not_found(format!("model: {name}")));
            }
        }
        Ok(())
    }

    /// The limits over all schemas of a request.
    pub(super) fn check_schemas(&self, format: Option<&Value>) -> Result<(), ErrorReply> {
        let strict = self
            .0
            .iter()
            .filter(|tool| is_custom(tool) && tool.get("strict") == Some(&Value::Bool(true)));
        match schema::too_much(
            strict
                .filter_map(|tool| tool.get("input_schema"))
                .chain(format),
        ) {
            Some(what) => Err(ErrorReply::invalid(format!(
                "tools: the schemas have {what}"
            ))),
            None => Ok(()),
        }
    }

    /// Tools that the provider runs.
    pub(super) fn of_the_provider(&self) -> Vec<(&'static str, u64)> {
        const KINDS: [&str; 3] = ["web_search", "web_fetch", "code_execution"];
        let kind = |tool: &Value| {
            let written = tool.get("type").and_then(Value::as_str)?;
            let kind = KINDS.into_iter().find(|kind| written.starts_with(kind))?;
            Some((
                kind,
                tool.get("max_uses").and_then(Value::as_u64).unwrap_or(3),
            ))
        };
        self.0.iter().filter_map(kind).collect()
    }

    /// The tools the answer may call: the named one, or else those that the client runs itself.
    pub(super) fn choice(
        &self,
        choice: Option<&Value>,
        rules: &ModelRules<'_>,
        thinking: Option<ThinkingMode>,
    ) -> Result<Option<CallableTools>, ErrorReply> {
        let parallel = choice.and_then(|choice| choice.get("disable_parallel_tool_use"))
            != Some(&Value::Bool(true));
        let callable = |tools: Vec<(String, Value)>| {
            (!tools.is_empty()).then_some(CallableTools { tools, parallel })
        };
        let own = || {
            callable(
                self.0
                    .iter()
                    .filter(|tool| is_custom(tool))
                    .map(call_of)
                    .collect(),
            )
        };
        let Some(choice) = choice else {
            return Ok(own());
        };
        if self.0.is_empty() {
            return Err(ErrorReply::invalid(
                "tool_choice: may only be specified while providing tools",
            ));
        }
        let kind = choice
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if matches!(kind, "any" | "tool") {
            if !rules.model.forced_tools {
                return Err(ErrorReply::invalid(format!(
                    "tool_choice.type: `{kind}` is not supported on this model; use `auto`"
                )));
            }
            if thinking.is_some_and(|t| t.budget.is_some()) {
                return Err(ErrorReply::invalid(
                    "Thinking may not be enabled when tool_choice forces tool use.",
                ));
            }
        }
        match kind {
            "none" if choice.get("disable_parallel_tool_use").is_some() => {
                Err(ErrorReply::invalid(
                    "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted",
                ))
            }
            "none" => Ok(None),
            "auto" | "any" => Ok(own()),
            "tool" => {
                let name = choice.get("name").and_then(Value::as_str);
                let name = name
                    .ok_or_else(|| ErrorReply::invalid("tool_choice.tool.name: Field required"))?;
                let found = self
                    .0
                    .iter()
                    .find(|tool| tool.get("name").and_then(Value::as_str) == Some(name));
                found
                    .map(|tool| callable(vec![call_of(tool)]))
                    .ok_or_else(|| {
                        ErrorReply::invalid(format!("Tool '{name}' not found in provided tools"))
                    })
            }
            _ => Err(ErrorReply::invalid(format!(
                "tool_choice: Input tag does not match any of the expected tags: '{}'",
                TOOL_CHOICES.join("', '")
            ))),
        }
    }

    pub(super) fn into_prefix(
        self,
        prefix: &mut Prefix,
        model: &Model,
        choice: Option<&Value>,
    ) -> Result<(), ErrorReply> {
        if !self.0.is_empty() {
            let kind = choice
                .and_then(|choice| choice.get("type"))
                .and_then(Value::as_str);
            let is_forced = matches!(kind, Some("any" | "tool"));
            let known = model
                .tool_prompt_tokens
                .map(|tokens| if is_forced { tokens.any } else { tokens.auto });
            prefix.add_tokens(known.unwrap_or(tokens::TOOL_PROMPT));
        }
        let tokenizer = model.tokenizer;
        for (n, tool) in self.0.iter().enumerate() {
            prefix.block_value("tool", tool, &format!("tools.{n}"), |text| {
                tokens::count(tokenizer, text)
            })?;
        }
        Ok(())
    }
}

fn is_custom(tool: &Value) -> bool {
    matches!(tool.get("type"), None | Some(Value::Null))
        || tool.get("type").and_then(Value::as_str) == Some("custom")
}

fn call_of(tool: &Value) -> (String, Value) {
    let name = tool
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    (
        name,
        tool.get("input_schema")
            .cloned()
            .unwrap_or_else(|| serde_json::json!({"type": "object"})),
    )
}

fn check_tool(n: usize, tool: &Value) -> Result<&str, ErrorReply> {
    let bad = |path: &str, what: &str| Err(ErrorReply::invalid(format!("tools.{n}{path}: {what}")));
    if !tool.is_object() {
        return bad("", "Input should be a valid dictionary");
    }
    if !is_custom(tool) {
        if let Some((key, why)) = tool.as_object().and_then(tools::problem) {
            let path = if key.is_empty() {
                key
            } else {
                format!(".{key}")
            };
            return bad(&path, &why);
        }
        // A set of tools has no name of its own, and goes by its server or its type.
        let word = |key: &str| tool.get(key).and_then(Value::as_str);
        return Ok(word("name")
            .or(word("mcp_server_name"))
            .or(word("type"))
            .unwrap_or_default());
    }
    let Some(name) = tool.get("name").and_then(Value::as_str) else {
        return bad(".custom.name", "Field required");
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(fits) {
        return bad(
            ".custom.name",
            "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        );
    }
    let Some(input_schema) = tool.get("input_schema") else {
        return bad(".custom.input_schema", "Field required");
    };
    if input_schema.get("type").and_then(Value::as_str) != Some("object") {
        return bad(".custom.input_schema.type", "Input should be 'object'");
    }
    if tool.get("strict") == Some(&Value::Bool(true))
        && let Some(problem) = schemas::problem(input_schema)
    {
        return Err(ErrorReply::invalid(format!(
            "tools.{n}.custom.input_schema{problem}"
        )));
    }
    Ok(name)
}
