//! The parameters of a request besides its prompt: tools and their choice, thinking, effort,
//! sampling, and whatever else the job passes on.
//!
//! A parameter stands either under its own key of `[request]`, where there are short forms and
//! every letter is checked, or in `request.params` as it is sent, where members that are not known
//! here are passed on. Both come together in [`Options`], so that the same rules hold for both:
//! what the API would refuse for every request is an error of the job, before anything is sent.
//! What a *model* refuses is said by [`super::rules`].
//!
//! Where a parameter is taken at all stands in the table of [`super::parameters`].
//!
//! To add a parameter: a line in that table, and, where its value is looked into, a check in
//! [`CHECKS`]. To give it a key of its own: a key of [`super::RequestSpec`], and an entry in
//! `own_keys`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::template::nearest;

use super::parameters::{self, InBatch, OUTPUT_CONFIG};
use super::rules::Asked;
use super::{API_VERSIONS, Error, NEWEST_API_VERSION, RequestSpec, Tool, betas, tools};

/// Sampling parameters, each with the least and the most it can be.
///
/// **Source**: documentation of the Messages API under version 2023-06-01, read 2026-08-22.
pub(super) const SAMPLING: &[(&str, f64, f64)] = &[
    ("temperature", 0.0, 1.0),
    ("top_p", 0.0, 1.0),
    ("top_k", 0.0, 1_000_000.0),
];

/// What becomes of a parameter that is there: its value as it is sent.
type Check = fn(&Written<'_>) -> Result<Value, Error>;

/// The parameters that are looked into. They are sent in this order, then the others as they are
/// written.
const CHECKS: &[(&str, Check)] = &[
    ("tool_choice", tool_choice),
    ("thinking", thinking),
    ("temperature", sampling),
    ("top_p", sampling),
    ("top_k", sampling),
    ("stop_sequences", stop_sequences),
    ("inference_geo", inference_geo),
    ("metadata", metadata),
    ("service_tier", service_tier),
    ("stream", stream),
    ("cache_control", cache_control),
    ("compaction", compaction),
];

/// Everything in a request but model, `max_tokens`, system blocks and messages.
#[derive(Debug)]
pub(super) struct Options {
    /// The members of `params` in the order in which they are sent, without `tools` and
    /// `output_config`.
    pub(super) params: Map<String, Value>,
    /// The members of `output_config` without the schema.
    pub(super) output_config: Map<String, Value>,
    /// The tools.
    pub(super) tools: Vec<Tool>,
    /// What the rules of models are about.
    pub(super) asked: Asked,
    /// What a person should know, none of which stops the job.
    pub(super) warnings: Vec<String>,
}

/// A parameter as the job has it.
struct Written<'a> {
    key: &'a str,
    /// How the job names it: `thinking`, or `params.thinking`.
    place: &'a str,
    value: &'a Value,
    /// Whether it stands under its own key, where short forms are taken and unknown members are
    /// not.
    is_own: bool,
    tools: &'a [Tool],
}

impl Options {
    /// Brings the parameters of a job together and checks them. Files that were read are added to
    /// `files`.
    ///
    /// # Errors
    /// What the API would refuse for every request, whatever the model.
    pub(super) fn compile(
        spec: &RequestSpec,
        newest_tools: bool,
        folder: &Path,
        files: &mut Vec<(PathBuf, String)>,
    ) -> Result<Options, Error> {
        check_values(spec)?;
        check_params(spec)?;
        let own = own_keys(spec);
        if let Some((key, _)) = own.iter().find(|(key, _)| spec.params.contains_key(*key)) {
            return Err(twice(key, key));
        }
        let tools = match spec.params.get("tools") {
            Some(written) if spec.tools.is_empty() => tools::from_params(written)?,
            Some(_) => return Err(twice("tools", "tools")),
            None => tools::compile(&spec.tools, newest_tools, folder, files)?,
        };
        let mut params = Map::new();
        for (key, check) in CHECKS {
            let own = own
                .iter()
                .find(|(own, _)| own == key)
                .map(|(_, value)| value);
            let Some(value) = own.or(spec.params.get(*key)) else {
                continue;
            };
            let place = place(key, own.is_none());
            let value = check(&Written {
                key,
                place: &place,
                value,
                is_own: own.is_some(),
                tools: &tools,
            })?;
            if own.is_some() {
                params.insert((*key).to_owned(), value);
            }
        }
        let passed_on = spec
            .params
            .iter()
            .filter(|(key, _)| !["tools", "output_config"].contains(&key.as_str()));
        params.extend(passed_on.map(|(key, value)| (key.clone(), value.clone())));
        let output_config = output_config(spec)?;
        let mut warnings = betas::check(&spec.betas, spec.unknown_betas)?;
        warnings.extend(unknown_parameters(spec)?);
        warnings.extend(
            params
                .contains_key("cache_control")
                .then(|| MARKS_THE_ROW.to_owned()),
        );
        warnings.extend(
            tools
                .iter()
                .filter_map(|tool| tools::beta_missing(tool, &spec.betas)),
        );
        let asked = Asked::new(spec, &params, &output_config, &tools);
        Ok(Options {
            params,
            output_config,
            tools,
            asked,
            warnings,
        })
    }
}

/// How the job names a parameter.
pub(super) fn place(key: &str, in_params: bool) -> String {
    match (in_params, key) {
        (false, _) => key.to_owned(),
        (true, "effort") => "params.output_config.effort".to_owned(),
        (true, _) => format!("params.{key}"),
    }
}

/// The parameters that stand under keys of their own.
fn own_keys(spec: &RequestSpec) -> Vec<(&'static str, Value)> {
    let texts = |texts: &Vec<String>| (!texts.is_empty()).then(|| json!(texts));
    let keys = [
        ("tool_choice", spec.tool_choice.clone()),
        ("thinking", spec.thinking.clone()),
        ("temperature", spec.temperature.clone().map(Value::Number)),
        ("top_p", spec.top_p.clone().map(Value::Number)),
        ("top_k", spec.top_k.clone().map(Value::Number)),
        ("stop_sequences", texts(&spec.stop_sequences)),
        (
            "inference_geo",
            spec.inference_geo.clone().map(Value::String),
        ),
    ];
    keys.into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

fn check_values(spec: &RequestSpec) -> Result<(), Error> {
    let wrong = |key, problem: &str| {
        Err(Error::Value {
            key,
            problem: problem.to_owned(),
        })
    };
    if spec.model.trim().is_empty() {
        return wrong("model", "is empty");
    }
    if spec.max_tokens == 0 {
        return wrong(
            "max_tokens",
            "must be at least 1; a batch takes no request without an answer",
        );
    }
    if !API_VERSIONS.contains(&spec.api_version()) {
        return wrong(
            "api_version",
            &format!("must be one of {}", API_VERSIONS.join(", ")),
        );
    }
    Ok(())
}

const MARKS_THE_ROW: &str = "`request.params.cache_control` marks the end of each row's own text: \
                             every row pays for writing a cache entry that no other row reads; \
                             `cache` on the last shared system block is read by all";

fn check_params(spec: &RequestSpec) -> Result<(), Error> {
    for (key, value) in &spec.params {
        let key = key.as_str();
        let place = format!("params.{key}");
        let Some(parameter) = parameters::parameter(key) else {
            continue;
        };
        match parameter.batch {
            InBatch::Taken => needs_beta(spec, &place, parameter.betas)?,
            InBatch::Own => {
                return Err(refused(
                    &place,
                    "is set by the job",
                    &format!("use `request.{key}`"),
                ));
            }
            InBatch::Refused(why, way_out) => return Err(refused(&place, why, way_out)),
        }
        if key == "billing_policy" && value.get("bill_to").is_some_and(|to| to == "user_profile") {
            return Err(refused(
                &place,
                "fails every row of a batch where it bills a user profile",
                "leave it out",
            ));
        }
    }
    if spec.params.contains_key("compaction") && spec.params.contains_key("context_management") {
        return Err(refused(
            "params.compaction",
            "cannot be used with `context_management`",
            "keep one of the two",
        ));
    }
    let tables = spec.tools.iter().filter_map(|tool| match tool {
        tools::ToolSpec::Table(table) => {
            Some(("tools".to_owned(), table.values().any(has_toml_date)))
        }
        tools::ToolSpec::File(_) => None,
    });
    let params = spec
        .params
        .iter()
        .map(|(key, value)| (format!("params.{key}"), has_toml_date(value)));
    match params.chain(tables).find(|(_, has_date)| *has_date) {
        Some((place, _)) => Err(refused(
            &place,
            "holds a TOML date, and JSON has none",
            "write it as text, in quotes",
        )),
        None => Ok(()),
    }
}

/// Refuses what a beta brings and the job does not ask for. A beta that is newer than this version
/// may bring it too.
fn needs_beta(spec: &RequestSpec, place: &str, needed: &[&str]) -> Result<(), Error> {
    if parameters::has_beta(needed, &spec.betas) || spec.unknown_betas {
        return Ok(());
    }
    let way_out = format!(
        "add \"{}\" to `request.betas`",
        parameters::proposed_beta(needed)
    );
    Err(refused(
        place,
        "is refused without the beta that it belongs to",
        &way_out,
    ))
}

/// What to say of parameters that the table does not have: one that is only misspelled is an error.
fn unknown_parameters(spec: &RequestSpec) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for key in spec
        .params
        .keys()
        .filter(|key| parameters::parameter(key).is_none())
    {
        match parameters::meant(key).filter(|_| !spec.unknown_betas) {
            Some(near) => {
                let way_out = format!(
                    "did you mean `{near}`? (`request.unknown_betas = true` takes names that are \
                     newer than this version of rowmill)"
                );
                return Err(refused(&format!("params.{key}"), "is not known", &way_out));
            }
            None => warnings.push(format!(
                "`request.params.{key}` is not known to this version and is passed on; the API \
                 refuses what it does not know"
            )),
        }
    }
    Ok(warnings)
}

/// TOML has dates of its own, which come as an object with one key of this name.
fn has_toml_date(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            map.contains_key("$__toml_private_datetime") || map.values().any(has_toml_date)
        }
        Value::Array(items) => items.iter().any(has_toml_date),
        _ => false,
    }
}

fn output_config(spec: &RequestSpec) -> Result<Map<String, Value>, Error> {
    let mut config = match spec.params.get("output_config") {
        None => Map::new(),
        Some(Value::Object(config)) => config.clone(),
        Some(_) => {
            let way_out = "write for instance `output_config = { effort = \"low\" }`";
            return Err(refused("params.output_config", "must be a table", way_out));
        }
    };
    if spec.schema.is_some() && config.contains_key("format") {
        return Err(refused(
            "params.output_config.format",
            "is set by `request.schema`",
            "keep one of the two",
        ));
    }
    if spec.schema.is_some() && spec.params.contains_key("output_format") {
        return Err(refused(
            "params.output_format",
            "is the old name of what `request.schema` sets",
            "leave it out",
        ));
    }
    let written = config.get("effort").filter(|effort| !effort.is_null());
    if written.is_some_and(|effort| !effort.is_string()) {
        return Err(refused(
            "params.output_config.effort",
            "must be a text",
            "write for instance `effort = \"low\"`",
        ));
    }
    for (key, betas) in OUTPUT_CONFIG
        .iter()
        .filter(|(key, _)| config.contains_key(*key))
    {
        needs_beta(spec, &format!("params.output_config.{key}"), betas)?;
    }
    if let Some(why) = config.get("task_budget").and_then(parameters::task_budget) {
        return Err(refused(
            "params.output_config.task_budget",
            why,
            "write for instance `{ type = \"tokens\", total = 50000 }`",
        ));
    }
    match (&spec.effort, written) {
        (Some(_), Some(_)) => Err(twice("effort", "output_config.effort")),
        (Some(effort), None) => {
            config.insert("effort".to_owned(), Value::from(effort.as_str()));
            Ok(config)
        }
        (None, _) => Ok(config),
    }
}

const TOOL_CHOICES: &[&str] = &["auto", "any", "tool", "none"];

fn tool_choice(written: &Written<'_>) -> Result<Value, Error> {
    let choice = match written.value {
        Value::String(kind) if written.is_own => json!({ "type": kind }),
        table @ Value::Object(_) => table.clone(),
        _ => {
            return Err(written.refused("must be a text or a table", "write for instance \"auto\""));
        }
    };
    let kind = choice
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !TOOL_CHOICES.contains(&kind) {
        let is_tool = written.tools.iter().any(|tool| tool.name == kind);
        let way_out = match is_tool {
            true => format!("write `{{ type = \"tool\", name = \"{kind}\" }}`"),
            false => {
                "use \"auto\", \"any\", \"none\", or `{ type = \"tool\", name = \"…\" }`".to_owned()
            }
        };
        return Err(written.refused(
            &format!(
                "has the type {}, which does not exist",
                shown(&choice, "type")
            ),
            &way_out,
        ));
    }
    if written.tools.is_empty() {
        return Err(written.refused(
            "chooses among tools, and there are none",
            "add them to `request.tools`, or leave it out",
        ));
    }
    if kind == "tool" {
        let name = choice.get("name").and_then(Value::as_str);
        if !written
            .tools
            .iter()
            .any(|tool| Some(tool.name.as_str()) == name)
        {
            let names: Vec<&str> = written
                .tools
                .iter()
                .map(|tool| tool.name.as_str())
                .collect();
            let why = format!(
                "names the tool {}, which is not among the tools",
                shown(&choice, "name")
            );
            return Err(written.refused(&why, &format!("name one of `{}`", names.join("`, `"))));
        }
    }
    let parallel = choice.get("disable_parallel_tool_use");
    if parallel.is_some_and(|parallel| !parallel.is_boolean() || kind == "none") {
        let way_out = "set it to `true` or `false` beside the type \"auto\", \"any\" or \"tool\"";
        return Err(written.refused("has a `disable_parallel_tool_use` that cannot be", way_out));
    }
    written.only(&choice, &["type", "name", "disable_parallel_tool_use"])?;
    Ok(choice)
}

/// **Source**: types of the provider's Python SDK 2.12.0 (November 2026).
const THINKING_TYPES: &[&str] = &["adaptive", "between_tools", "disabled", "enabled"];
/// **Source**: as above.
const LEAST_BUDGET: u64 = 1_024;

fn thinking(written: &Written<'_>) -> Result<Value, Error> {
    const WAYS: &str = "use \"adaptive\", \"off\", \"between_tools\" or `{ budget_tokens = 2048 }`";
    let value = match written.value {
        Value::String(word) if written.is_own => match word.as_str() {
            "off" | "disabled" => json!({ "type": "disabled" }),
            "adaptive" | "between_tools" => json!({ "type": word }),
            _ => return Err(written.refused(&format!("is \"{word}\", which does not exist"), WAYS)),
        },
        Value::Object(table)
            if written.is_own
                && table.contains_key("budget_tokens")
                && !table.contains_key("type") =>
        {
            let mut enabled = Map::new();
            enabled.insert("type".to_owned(), Value::from("enabled"));
            enabled.extend(table.clone());
            Value::Object(enabled)
        }
        table @ Value::Object(_) => table.clone(),
        _ => return Err(written.refused("must be a text or a table", WAYS)),
    };
    let kind = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !THINKING_TYPES.contains(&kind) {
        return Err(written.refused(
            &format!(
                "has the type {}, which does not exist",
                shown(&value, "type")
            ),
            WAYS,
        ));
    }
    let budget = value.get("budget_tokens");
    match (kind, budget.map(Value::as_u64)) {
        ("enabled", Some(Some(LEAST_BUDGET..))) => {}
        ("enabled", Some(_)) => {
            let why = format!(
                "has a budget of {} tokens; the API takes {LEAST_BUDGET} and more",
                shown(&value, "budget_tokens")
            );
            return Err(written.refused(&why, "raise it"));
        }
        ("enabled", None) => {
            return Err(written.refused(
                "has no `budget_tokens`, which the type \"enabled\" needs",
                "set it",
            ));
        }
        (_, Some(_)) => {
            return Err(written.refused(
                &format!("has a budget, which the type \"{kind}\" does not take"),
                WAYS,
            ));
        }
        (_, None) => {}
    }
    let display = value.get("display").filter(|display| !display.is_null());
    let is_shown = matches!(kind, "adaptive" | "enabled");
    if display.is_some_and(|display| !is_shown || (display != "summarized" && display != "omitted"))
    {
        let why = format!(
            "has `display = {}`, which does not exist for the type \"{kind}\"",
            shown(&value, "display")
        );
        return Err(written.refused(
            &why,
            "use \"summarized\" or \"omitted\" beside \"adaptive\" or a budget",
        ));
    }
    written.only(&value, &["type", "budget_tokens", "display"])?;
    Ok(value)
}

fn sampling(written: &Written<'_>) -> Result<Value, Error> {
    let Some(&(_, least, most)) = SAMPLING.iter().find(|(key, ..)| *key == written.key) else {
        return Ok(written.value.clone());
    };
    let is_whole = written.key != "top_k" || written.value.is_u64();
    match written
        .value
        .as_f64()
        .filter(|number| (least..=most).contains(number) && is_whole)
    {
        Some(_) => Ok(written.value.clone()),
        None if written.key == "top_k" => {
            Err(written.refused("must be a whole number", "write for instance 40"))
        }
        None => Err(written.refused(
            &format!("must be a number from {least} to {most}"),
            "write for instance 0.2",
        )),
    }
}

fn stop_sequences(written: &Written<'_>) -> Result<Value, Error> {
    let texts = written
        .value
        .as_array()
        .map(|texts| texts.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match texts.flatten() {
        None => Err(written.refused("must be a list of texts", "write for instance [\"END\"]")),
        Some(texts) if texts.iter().any(|text| text.trim().is_empty()) => Err(written.refused(
            "has a text without a visible character, which the API refuses",
            "leave that one out",
        )),
        Some(_) => Ok(written.value.clone()),
    }
}

fn inference_geo(written: &Written<'_>) -> Result<Value, Error> {
    match written.value.as_str() {
        Some("global" | "us") => Ok(written.value.clone()),
        _ if written.value.is_null() => Ok(Value::Null),
        _ => Err(written.refused("must be \"global\" or \"us\"", "use one of the two")),
    }
}

fn metadata(written: &Written<'_>) -> Result<Value, Error> {
    let is_known = written
        .value
        .as_object()
        .is_some_and(|map| map.keys().all(|key| key == "user_id"));
    match is_known {
        true => Ok(written.value.clone()),
        false => Err(written.refused(
            "takes a `user_id` and nothing else",
            "labels that are not sent are what `request.per_row.tag` is for",
        )),
    }
}

fn service_tier(written: &Written<'_>) -> Result<Value, Error> {
    match written.value.as_str() {
        Some("auto" | "standard_only") => Ok(written.value.clone()),
        _ => Err(written.refused(
            "must be \"auto\" or \"standard_only\"",
            "leave it out: a batch has a tier of its own",
        )),
    }
}

fn stream(written: &Written<'_>) -> Result<Value, Error> {
    match written.value {
        Value::Bool(false) => Ok(Value::Bool(false)),
        _ => Err(written.refused(
            "is refused in a batch unless it is `false`: results come as a file",
            "leave it out",
        )),
    }
}

fn cache_control(written: &Written<'_>) -> Result<Value, Error> {
    match tools::mark_of(written.value) {
        Some(_) => Ok(written.value.clone()),
        None => Err(written.refused(
            "is no cache mark",
            "write for instance `{ type = \"ephemeral\", ttl = \"1h\" }`",
        )),
    }
}

fn compaction(written: &Written<'_>) -> Result<Value, Error> {
    match parameters::compaction(written.value) {
        None => Ok(written.value.clone()),
        Some(why) => Err(written.refused(why, "write for instance `{ type = \"summarize\" }`")),
    }
}

impl Written<'_> {
    fn refused(&self, why: &str, way_out: &str) -> Error {
        refused(self.place, why, way_out)
    }

    /// Refuses members that are not known, where the parameter stands under its own key.
    fn only(&self, value: &Value, known: &[&str]) -> Result<(), Error> {
        let unknown = value
            .as_object()
            .and_then(|map| map.keys().find(|key| !known.contains(&key.as_str())));
        let Some(unknown) = unknown.filter(|_| self.is_own) else {
            return Ok(());
        };
        let way_out = match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "what this version does not know goes into `request.params.{}`",
                self.key
            ),
        };
        Err(self.refused(&format!("has `{unknown}`, which is not known"), &way_out))
    }
}

/// A member of a value, as it is written; `nothing` where there is none.
fn shown(value: &Value, member: &str) -> String {
    value
        .get(member)
        .map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn refused(place: &str, why: &str, way_out: &str) -> Error {
    Error::Param {
        key: place.to_owned(),
        why: why.to_owned(),
        way_out: way_out.to_owned(),
    }
}

fn twice(key: &str, param: &str) -> Error {
    refused(
        key,
        &format!("stands in `request.params.{param}` too"),
        "keep one of the two",
    )
}

/// Whether sampling parameters are gone under the API version of a job.
pub(super) fn has_no_sampling(spec: &RequestSpec) -> bool {
    spec.api_version() == NEWEST_API_VERSION
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;
    use crate::catalog::Catalog;
    use crate::request::Requests;

    const TOOLS: &str = "tools = [{ name = \"f\", input_schema = { type = \"object\" } }, \
        { name = \"g\", input_schema = { type = \"object\" } }]\n";

    fn head(options: &str) -> Result<String, String> {
        let job = format!(
            "model = \"claude-opus-4-6\"\nmax_tokens = 9000\nmessages = \
             [{{ role = \"user\", text = \"x\" }}]\n{options}"
        );
        let spec = toml::from_str(&job).map_err(|e| e.to_string())?;
        let requests =
            Requests::compile(&spec, Path::new("."), &Schema::empty(), Catalog::builtin())
                .map_err(|e| e.to_string())?;
        let head = String::from_utf8(requests.head().to_vec()).unwrap();
        let own = head
            .strip_prefix(r#"{"model":"claude-opus-4-6","max_tokens":9000,"#)
            .unwrap();
        Ok(own
            .strip_suffix(r#""messages":[{"role":"user","content":"x"}"#)
            .unwrap()
            .to_owned())
    }

    #[test]
    fn short_forms_and_passed_on_ones_are_the_same_request() {
        for (short, passed_on) in [
            (
                "thinking = \"adaptive\"",
                "params = { thinking = { type = \"adaptive\" } }",
            ),
            (
                "thinking = \"off\"",
                "params = { thinking = { type = \"disabled\" } }",
            ),
            (
                "thinking = { budget_tokens = 2048, display = \"omitted\" }",
                "params = \
                 { thinking = { type = \"enabled\", budget_tokens = 2048, display = \"omitted\" } }",
            ),
            (
                "effort = \"low\"",
                "params = { output_config = { effort = \"low\" } }",
            ),
            (
                "stop_sequences = [\"END\"]",
                "params = { stop_sequences = [\"END\"] }",
            ),
            (
                "inference_geo = \"us\"",
                "params = { inference_geo = \"us\" }",
            ),
            (
                "tool_choice = \"any\"",
                "params = { tool_choice = { type = \"any\" } }",
            ),
        ] {
            let (short, passed_on) = (format!("{TOOLS}{short}"), format!("{TOOLS}{passed_on}"));
            assert_eq!(head(&short).unwrap(), head(&passed_on).unwrap(), "{short}");
        }
        let all = "params = { container = { x = 1 } }\nstop_sequences = [\"END\"]\nthinking = \
            \"adaptive\"\ntool_choice = \
            { type = \"tool\", name = \"g\", disable_parallel_tool_use = true }\n";
        let expected = concat!(
            r#""tools":[{"name":"f","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object"}}],"#,
            r#""tool_choice":{"type":"tool","name":"g","disable_parallel_tool_use":true},"thinking":{"type":"adaptive"},"#,
            r#""stop_sequences":["END"],"container":{"x":1},"#
        );
        assert_eq!(head(&format!("{all}{TOOLS}")).unwrap(), expected);
    }

    #[test]
    fn refuses_what_no_model_takes() {
        for (options, words) in [
            (
                "thinking = \"of\"",
                "`request.thinking` is \"of\", which does not exist; use \"adaptive\"",
            ),
            (
                "thinking = true",
                "`request.thinking` must be a text or a table",
            ),
            (
                "params = { thinking = \"adaptive\" }",
                "`request.params.thinking` must be a text or a table",
            ),
            (
                "thinking = { type = \"on\" }",
                "has the type \"on\", which does not exist",
            ),
            (
                "thinking = { budget_tokens = 1000 }",
                "has a budget of 1000 tokens; the API takes 1024 and more",
            ),
            (
                "thinking = { type = \"enabled\" }",
                "has no `budget_tokens`",
            ),
            (
                "thinking = { type = \"adaptive\", budget_tokens = 2000 }",
                "has a budget, which the type \"adaptive\" does not take",
            ),
            (
                "thinking = { type = \"adaptive\", display = \"full\" }",
                "has `display = \"full\"`",
            ),
            (
                "thinking = { type = \"disabled\", display = \"omitted\" }",
                "does not exist for the type \"disabled\"",
            ),
            (
                "thinking = { type = \"adaptive\", dispaly = \"omitted\" }",
                "has `dispaly`, which is not known; did you mean `display`?",
            ),
            (
                "thinking = \"adaptive\"\nparams = { thinking = { type = \"adaptive\" } }",
                "`request.thinking` stands in `request.params.thinking` too",
            ),
            (
                "effort = \"low\"\nparams = { output_config = { effort = \"low\" } }",
                "`request.effort` stands in `request.params.output_config.effort` too",
            ),
            (
                "params = { output_config = { effort = 3 } }",
                "`request.params.output_config.effort` must be a text",
            ),
            (
                "tool_choice = \"auto\"",
                "`request.tool_choice` chooses among tools, and there are none",
            ),
            (
                "TOOLS tool_choice = \"f\"",
                "write `{ type = \"tool\", name = \"f\" }`",
            ),
            (
                "TOOLS tool_choice = \"some\"",
                "has the type \"some\", which does not exist; use \"auto\"",
            ),
            (
                "TOOLS tool_choice = \"tool\"",
                "names the tool nothing, which is not among the tools; name one of `f`, `g`",
            ),
            (
                "TOOLS tool_choice = { type = \"tool\", name = \"h\" }",
                "names the tool \"h\"",
            ),
            (
                "TOOLS tool_choice = { type = \"none\", disable_parallel_tool_use = true }",
                "a `disable_parallel_tool_use` that cannot be",
            ),
            (
                "TOOLS tool_choice = { type = \"any\", parallel = true }",
                "has `parallel`, which is not known",
            ),
            (
                "TOOLS params = { tools = [] }",
                "`request.tools` stands in `request.params.tools` too",
            ),
            (
                "tools = [{ name = \"f\", input_schema = { type = \"object\", x = 2024-01-01 } }]",
                "`request.tools` holds a TOML date",
            ),
            (
                "temperature = 2",
                "`request.temperature` must be a number from 0 to 1",
            ),
            (
                "params = { top_p = \"x\" }",
                "`request.params.top_p` must be a number",
            ),
            ("top_k = 1.5", "`request.top_k` must be a whole number"),
            (
                "stop_sequences = [\" \"]",
                "`request.stop_sequences` has a text without a visible character",
            ),
            (
                "params = { stop_sequences = \"END\" }",
                "`request.params.stop_sequences` must be a list of texts",
            ),
            (
                "inference_geo = \"eu\"",
                "`request.inference_geo` must be \"global\" or \"us\"",
            ),
            (
                "params = { metadata = { job = \"x\" } }",
                "`request.params.metadata` takes a `user_id` and nothing else",
            ),
            (
                "params = { service_tier = \"batch\" }",
                "`request.params.service_tier` must be",
            ),
            (
                "params = { stream = true }",
                "`request.params.stream` is refused in a batch unless it is `false`",
            ),
            (
                "params = { cache_control = { type = \"ephemeral\", ttl = \"2h\" } }",
                "`request.params.cache_control` is no cache mark",
            ),
            (
                "params = { thread = { type = \"create\" } }",
                "`request.params.thread` is refused in a batch",
            ),
            (
                "params = { workspace_id = \"w\" }",
                "the workspace stands in a header; set the variable ANTHROPIC_WORKSPACE_ID",
            ),
            (
                "params = { metdata = {} }",
                "`request.params.metdata` is not known; did you mean `metadata`?",
            ),
            (
                "params = { compaction = { type = \"summarize\" } }",
                "is refused without the beta that it belongs to; add \"compact-2026-09-04\" to \
                 `request.betas`",
            ),
            (
                "params = { compaction = { type = \"all\" } }\nbetas = [\"compact-2026-09-04\"]",
                "`request.params.compaction` must have the type \"summarize\"",
            ),
            (
                "params = \
                 { compaction = { type = \"summarize\" }, context_management = {} }\nbetas = \
                 [\"compact-2026-09-04\"]",
                "cannot be used with `context_management`",
            ),
            (
                "params = \
                 { output_config = { task_budget = { type = \"tokens\", total = 50000 } } }",
                "`request.params.output_config.task_budget` is refused without the beta",
            ),
            (
                "params = { output_config = { task_budget = { total = 5 } } }\nbetas = \
                 [\"task-budgets-2026-03-13\"]",
                "`request.params.output_config.task_budget` must have the type \"tokens\"",
            ),
            (
                "params = { mcp_servers = [] }",
                "add \"mcp-client-2026-09-15\" to `request.betas`",
            ),
            (
                "betas = [\"output-300k\"]",
                "`request.betas` has the unknown beta `output-300k`",
            ),
        ] {
            let found = head(&options.replace("TOOLS ", TOOLS)).unwrap_err();
            assert!(
                found.contains(words),
                "{options}\n  expected {words}\n  found    {found}"
            );
        }
    }

    #[test]
    fn takes_what_a_batch_takes() {
        for (options, sent) in [
            ("params = { stream = false }", r#""stream":false,"#),
            (
                "params = { cache_control = { type = \"ephemeral\" } }",
                r#""cache_control":{"type":"ephemeral"},"#,
            ),
            (
                "params = { fallback_credit_token = \"t\" }",
                r#""fallback_credit_token":"t","#,
            ),
            (
                "params = { compaction = { type = \"summarize\" } }\nbetas = \
                 [\"compact-2026-09-04\"]",
                r#""compaction":{"type":"summarize"},"#,
            ),
            (
                "params = \
                 { output_config = { task_budget = { type = \"tokens\", total = 50000 } } }\nbetas \
                 = [\"task-budgets-2026-03-13\"]",
                r#""output_config":{"task_budget":{"type":"tokens","total":50000}},"#,
            ),
            ("params = { brand_new = 1 }", r#""brand_new":1,"#),
        ] {
            assert_eq!(head(options).as_deref(), Ok(sent), "{options}");
        }
    }

    #[test]
    fn a_mark_at_the_end_of_each_row_is_taken_and_warned_of() {
        let job = |system: &str| {
            let job = format!(
                "model = \"claude-opus-4-6\"\nmax_tokens = 10\nmessages = \
                 [{{ role = \"user\", text = \"x\" }}]\n{system}\nparams = \
                 {{ cache_control = {{ type = \"ephemeral\", ttl = \"1h\" }} }}"
            );
            Requests::compile(
                &toml::from_str(&job).unwrap(),
                Path::new("."),
                &Schema::empty(),
                Catalog::builtin(),
            )
        };
        assert!(
            job("").unwrap().warnings()[0].contains("every row pays for writing a cache entry")
        );
        // It is one of the four, and a longer life stands before a shorter one.
        let short = job("system = [{ text = \"a\", cache = \"5m\" }]")
            .unwrap_err()
            .to_string();
        assert!(short.contains("`request.params.cache_control`"), "{short}");
        let marks = ["a", "b", "c", "d"]
            .map(|text| format!("{{ text = \"{text}\", cache = \"1h\" }}"))
            .join(", ");
        assert!(job(&format!("system = [{marks}]")).is_err());
    }

    #[test]
    fn passes_on_members_that_are_not_known_yet() {
        let sent = head(
            "params = \
            { thinking = { type = \"adaptive\", depth = 3 }, new_thing = [1] }\nbetas = \
            [\"new-thing-2027-01-01\"]\nunknown_betas = true",
        )
        .unwrap();
        assert_eq!(
            sent,
            r#""thinking":{"type":"adaptive","depth":3},"new_thing":[1],"#
        );
    }
}
