//! The parameters of a request besides its prompt: tools and their choice, thinking, effort,
//! sampling, and whatever else the job passes on.
//!
//! A parameter has either its own key in `[request]`, with short forms and no unknown members, or
//! stands in `request.params` as it is sent, where unknown members are passed on. Both are merged
//! into [`RequestOptions`], so that the same rules hold for both: what the API would refuse for
//! every request is an error of the job, before anything is sent. What a *model* refuses is in
//! [`super::rules`].
//!
//! Which parameters there are, who sets them and what their values may be is in the table of
//! [`super::parameters`]; the checks of values are in [`super::option_values`].
//!
//! To add a parameter, or to give one a key of its own: a line in that table, and the key in
//! [`super::RequestSpec`].

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::option_values::{self, ParamValue};
use super::parameters::{self, EXCLUSIVE, OUTPUT_CONFIG, Owner, PARAMETERS};
use super::rules::RequestFeatures;
use super::{API_VERSIONS, Error, RequestSpec, RequestWarning, Tool, betas, tools};

/// Everything in a request but model, `max_tokens`, system blocks and messages.
#[derive(Debug)]
pub(super) struct RequestOptions {
    /// The members of `params` in the order in which they are sent, without `tools` and
    /// `output_config`.
    pub(super) params: Map<String, Value>,
    /// The members of `output_config` without the schema.
    pub(super) output_config: Map<String, Value>,
    /// The tools.
    pub(super) tools: Vec<Tool>,
    /// What the rules of models are about.
    pub(super) features: RequestFeatures,
    /// What is accepted and may not be meant.
    pub(super) warnings: Vec<RequestWarning>,
}

impl RequestOptions {
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
    ) -> Result<RequestOptions, Error> {
        check_values(spec)?;
        check_params(spec)?;
        let tools = match spec.params.get("tools") {
            Some(written) if spec.tools.is_empty() => tools::from_params(written)?,
            Some(_) => return Err(twice("tools", "tools")),
            None => tools::compile(&spec.tools, newest_tools, folder, files)?,
        };
        let mut params = Map::new();
        for parameter in PARAMETERS {
            let own = match parameter.owner {
                Owner::Key(read) => read(spec),
                _ => None,
            };
            let passed_on = spec.params.get(parameter.name);
            if own.is_some() && passed_on.is_some() {
                return Err(twice(parameter.name, parameter.name));
            }
            let Some(value) = own.as_ref().or(passed_on) else {
                continue;
            };
            let value = option_values::check(&ParamValue {
                parameter,
                place: &place(parameter.name, own.is_none()),
                value,
                is_own: own.is_some(),
                tools: &tools,
            })?;
            // What is passed on follows behind, in the job's own order.
            if own.is_some() {
                params.insert(parameter.name.to_owned(), value);
            }
        }
        let passed_on = spec.params.iter().filter(|(key, _)| !is_set_by_keys(key));
        params.extend(passed_on.map(|(key, value)| (key.clone(), value.clone())));
        let output_config = output_config(spec)?;
        let mut warnings = betas::check(&spec.betas, spec.unknown_betas)?;
        warnings.extend(unknown_parameters(spec)?);
        warnings.extend(
            params
                .contains_key("cache_control")
                .then_some(RequestWarning::CacheMarkOnRows),
        );
        warnings.extend(
            tools
                .iter()
                .filter_map(|tool| tools::beta_missing(tool, &spec.betas)),
        );
        let features = RequestFeatures::new(spec, &params, &output_config, &tools);
        Ok(RequestOptions {
            params,
            output_config,
            tools,
            features,
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

/// Whether several keys of the job set a parameter together: it is not passed on as it is written.
fn is_set_by_keys(name: &str) -> bool {
    parameters::parameter(name).is_some_and(|parameter| matches!(parameter.owner, Owner::Keys))
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

fn check_params(spec: &RequestSpec) -> Result<(), Error> {
    for (key, value) in &spec.params {
        let key = key.as_str();
        let place = format!("params.{key}");
        let Some(parameter) = parameters::parameter(key) else {
            continue;
        };
        match parameter.owner {
            Owner::Key(_) | Owner::Keys | Owner::Params => {
                needs_beta(spec, &place, parameter.betas)?;
            }
            Owner::Job => {
                return Err(refused(
                    &place,
                    "is set by the job",
                    &format!("use `request.{key}`"),
                ));
            }
            Owner::Refused(why, fix) => return Err(refused(&place, why, fix)),
        }
        if key == "billing_policy" && parameters::bills_a_profile(value) {
            return Err(refused(
                &place,
                "fails every row of a batch where it bills a user profile",
                "leave it out",
            ));
        }
    }
    let has = |name: &str| spec.params.contains_key(name);
    if let Some((name, other)) = EXCLUSIVE
        .iter()
        .find(|(name, other)| has(name) && has(other))
    {
        return Err(refused(
            &format!("params.{name}"),
            &format!("cannot be used with `{other}`"),
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
    let fix = format!(
        "add \"{}\" to `request.betas`",
        parameters::proposed_beta(needed)
    );
    Err(refused(
        place,
        "is refused without the beta that it belongs to",
        &fix,
    ))
}

/// Warns of parameters that the table does not have: one that is only misspelled is an error.
fn unknown_parameters(spec: &RequestSpec) -> Result<Vec<RequestWarning>, Error> {
    let mut warnings = Vec::new();
    for key in spec
        .params
        .keys()
        .filter(|key| parameters::parameter(key).is_none())
    {
        match parameters::meant(key).filter(|_| !spec.unknown_betas) {
            Some(near) => {
                let fix = format!(
                    "did you mean `{near}`? (`request.unknown_betas = true` takes names that are \
                     newer than this version of rowmill)"
                );
                return Err(refused(&format!("params.{key}"), "is not known", &fix));
            }
            None => warnings.push(RequestWarning::UnknownParameter { name: key.clone() }),
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
            let fix = "write for instance `output_config = { effort = \"low\" }`";
            return Err(refused("params.output_config", "must be a table", fix));
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

/// An error of a parameter: its place in the job, why, and the fix.
pub(super) fn refused(place: &str, why: &str, fix: &str) -> Error {
    Error::Param {
        key: place.to_owned(),
        why: why.to_owned(),
        fix: fix.to_owned(),
    }
}

fn twice(key: &str, param: &str) -> Error {
    refused(
        key,
        &format!("stands in `request.params.{param}` too"),
        "keep one of the two",
    )
}
