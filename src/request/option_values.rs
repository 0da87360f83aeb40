//! The values of parameters, checked before anything is sent.
//!
//! In comes a [`ParamValue`]; out goes the value as it is sent, short forms written out, or an
//! error that names the fix. What a value may be is in the table of [`super::parameters`], which
//! the simulator reads too.

use serde_json::{Map, Value, json};

use crate::template::nearest;

use super::options::refused;
use super::parameters::{
    LEAST_THINKING_BUDGET, Parameter, THINKING_DISPLAYS, THINKING_TYPES, TOOL_CHOICES, ValueRule,
};
use super::{Error, Tool, tools};

/// A parameter as the job has it.
pub(super) struct ParamValue<'a> {
    pub(super) parameter: &'static Parameter,
    /// Its place in the job: `thinking`, or `params.thinking`.
    pub(super) place: &'a str,
    pub(super) value: &'a Value,
    /// Whether it has its own key, where short forms are accepted and unknown members are not.
    pub(super) is_own: bool,
    pub(super) tools: &'a [Tool],
}

/// Checks a value, and returns it as it is sent.
///
/// # Errors
/// What the API would refuse for every request, whatever the model.
pub(super) fn check(param: &ParamValue<'_>) -> Result<Value, Error> {
    let value = param.value;
    // Sent as it is: the API treats it as absent.
    if param.parameter.nullable && value.is_null() {
        return Ok(Value::Null);
    }
    match param.parameter.value {
        ValueRule::Any => {}
        ValueRule::Number {
            min, max, is_whole, ..
        } => number(param, min, max, is_whole)?,
        ValueRule::OneOf(words) => one_of(param, words)?,
        ValueRule::Texts => texts(param)?,
        ValueRule::Members(known) => members(param, known)?,
        ValueRule::NotStreamed if *value == Value::Bool(false) => {}
        ValueRule::NotStreamed => {
            return Err(param.refused(
                "is refused in a batch unless it is `false`: results come as a file",
                "leave it out",
            ));
        }
        ValueRule::CacheMark if tools::mark_of(value).is_some() => {}
        ValueRule::CacheMark => {
            return Err(param.refused(
                "is no cache mark",
                "write for instance `{ type = \"ephemeral\", ttl = \"1h\" }`",
            ));
        }
        ValueRule::Checked(problem) => {
            if let Some(why) = problem(value) {
                return Err(param.refused(why, "write for instance `{ type = \"summarize\" }`"));
            }
        }
        ValueRule::Thinking => return thinking(param),
        ValueRule::ToolChoice => return tool_choice(param),
    }
    Ok(value.clone())
}

fn number(param: &ParamValue<'_>, min: f64, max: f64, is_whole: bool) -> Result<(), Error> {
    let is_in_range = |number: f64| (min..=max).contains(&number);
    let fits = param.value.as_f64().is_some_and(is_in_range);
    if is_whole && !(fits && param.value.is_u64()) {
        return Err(param.refused("must be a whole number", "write for instance 40"));
    }
    if !fits {
        return Err(param.refused(
            &format!("must be a number from {min} to {max}"),
            "write for instance 0.2",
        ));
    }
    Ok(())
}

fn one_of(param: &ParamValue<'_>, words: &[&str]) -> Result<(), Error> {
    if param
        .value
        .as_str()
        .is_some_and(|word| words.contains(&word))
    {
        return Ok(());
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Err(param.refused(
        &format!("must be {}", quoted.join(" or ")),
        "use one of them, or leave it out",
    ))
}

fn texts(param: &ParamValue<'_>) -> Result<(), Error> {
    let texts = param
        .value
        .as_array()
        .map(|texts| texts.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match texts.flatten() {
        None => Err(param.refused("must be a list of texts", "write for instance [\"END\"]")),
        Some(texts) if texts.iter().any(|text| text.trim().is_empty()) => Err(param.refused(
            "has a text without a visible character, which the API refuses",
            "leave that one out",
        )),
        Some(_) => Ok(()),
    }
}

fn members(param: &ParamValue<'_>, known: &[&str]) -> Result<(), Error> {
    let is_known = param
        .value
        .as_object()
        .is_some_and(|map| map.keys().all(|key| known.contains(&key.as_str())));
    if is_known {
        return Ok(());
    }
    Err(param.refused(
        &format!("takes a `{}` and nothing else", known.join("`, `")),
        "labels that are not sent are what `request.per_row.tag` is for",
    ))
}

/// Writes the short form out: a word for `type`.
fn tool_choice(param: &ParamValue<'_>) -> Result<Value, Error> {
    let choice = match param.value {
        Value::String(kind) if param.is_own => json!({ "type": kind }),
        table @ Value::Object(_) => table.clone(),
        _ => {
            return Err(param.refused("must be a text or a table", "write for instance \"auto\""));
        }
    };
    let kind = choice
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !TOOL_CHOICES.contains(&kind) {
        let is_tool = param.tools.iter().any(|tool| tool.name == kind);
        let fix = match is_tool {
            true => format!("write `{{ type = \"tool\", name = \"{kind}\" }}`"),
            false => {
                "use \"auto\", \"any\", \"none\", or `{ type = \"tool\", name = \"…\" }`".to_owned()
            }
        };
        return Err(param.refused(
            &format!(
                "has the type {}, which does not exist",
                shown(&choice, "type")
            ),
            &fix,
        ));
    }
    if param.tools.is_empty() {
        return Err(param.refused(
            "chooses among tools, and there are none",
            "add them to `request.tools`, or leave it out",
        ));
    }
    if kind == "tool" {
        let name = choice.get("name").and_then(Value::as_str);
        if !param
            .tools
            .iter()
            .any(|tool| Some(tool.name.as_str()) == name)
        {
            let names: Vec<&str> = param.tools.iter().map(|tool| tool.name.as_str()).collect();
            let why = format!(
                "names the tool {}, which is not among the tools",
                shown(&choice, "name")
            );
            return Err(param.refused(&why, &format!("name one of `{}`", names.join("`, `"))));
        }
    }
    let parallel = choice.get("disable_parallel_tool_use");
    if parallel.is_some_and(|parallel| !parallel.is_boolean() || kind == "none") {
        let fix = "set it to `true` or `false` beside the type \"auto\", \"any\" or \"tool\"";
        return Err(param.refused("has a `disable_parallel_tool_use` that cannot be", fix));
    }
    param.only(&choice, &["type", "name", "disable_parallel_tool_use"])?;
    Ok(choice)
}

/// Writes the short forms out: a word for `type`, or a budget alone.
fn thinking(param: &ParamValue<'_>) -> Result<Value, Error> {
    const FIX: &str = "use \"adaptive\", \"off\", \"between_tools\" or `{ budget_tokens = 2048 }`";
    let value = match param.value {
        Value::String(word) if param.is_own => match word.as_str() {
            "off" | "disabled" => json!({ "type": "disabled" }),
            "adaptive" | "between_tools" => json!({ "type": word }),
            _ => return Err(param.refused(&format!("is \"{word}\", which does not exist"), FIX)),
        },
        Value::Object(table)
            if param.is_own
                && table.contains_key("budget_tokens")
                && !table.contains_key("type") =>
        {
            let mut enabled = Map::new();
            enabled.insert("type".to_owned(), Value::from("enabled"));
            enabled.extend(table.clone());
            Value::Object(enabled)
        }
        table @ Value::Object(_) => table.clone(),
        _ => return Err(param.refused("must be a text or a table", FIX)),
    };
    let kind = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !THINKING_TYPES.contains(&kind) {
        return Err(param.refused(
            &format!(
                "has the type {}, which does not exist",
                shown(&value, "type")
            ),
            FIX,
        ));
    }
    let budget = value.get("budget_tokens");
    match (kind, budget.map(Value::as_u64)) {
        ("enabled", Some(Some(LEAST_THINKING_BUDGET..))) => {}
        ("enabled", Some(_)) => {
            let why = format!(
                "has a budget of {} tokens; the API takes {LEAST_THINKING_BUDGET} and more",
                shown(&value, "budget_tokens")
            );
            return Err(param.refused(&why, "raise it"));
        }
        ("enabled", None) => {
            return Err(param.refused(
                "has no `budget_tokens`, which the type \"enabled\" needs",
                "set it",
            ));
        }
        (_, Some(_)) => {
            return Err(param.refused(
                &format!("has a budget, which the type \"{kind}\" does not take"),
                FIX,
            ));
        }
        (_, None) => {}
    }
    let display = value.get("display").filter(|display| !display.is_null());
    let is_shown = matches!(kind, "adaptive" | "enabled");
    if display.is_some_and(|display| {
        !is_shown
            || !display
                .as_str()
                .is_some_and(|word| THINKING_DISPLAYS.contains(&word))
    }) {
        let why = format!(
            "has `display = {}`, which does not exist for the type \"{kind}\"",
            shown(&value, "display")
        );
        return Err(param.refused(
            &why,
            "use \"summarized\" or \"omitted\" beside \"adaptive\" or a budget",
        ));
    }
    param.only(&value, &["type", "budget_tokens", "display"])?;
    Ok(value)
}

impl ParamValue<'_> {
    fn refused(&self, why: &str, fix: &str) -> Error {
        refused(self.place, why, fix)
    }

    /// Refuses members that are not known, where the parameter stands under its own key.
    fn only(&self, value: &Value, known: &[&str]) -> Result<(), Error> {
        let unknown = value
            .as_object()
            .and_then(|map| map.keys().find(|key| !known.contains(&key.as_str())));
        let Some(unknown) = unknown.filter(|_| self.is_own) else {
            return Ok(());
        };
        let fix = match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "what this version does not know goes into `request.params.{}`",
                self.parameter.name
            ),
        };
        Err(self.refused(&format!("has `{unknown}`, which is not known"), &fix))
    }
}

/// A member of a value, as it is param; `nothing` where there is none.
fn shown(value: &Value, member: &str) -> String {
    value
        .get(member)
        .map_or_else(|| "nothing".to_owned(), Value::to_string)
}
