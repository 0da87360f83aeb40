//! What a model takes: one table of rules, against the facts of the catalog.
//!
//! A request that its model refuses fails its row, and that shows only when the batch has ended. So
//! the same rules are checked for the job as it stands, and for each row that chooses by itself.
//!
//! In comes a [`ModelCase`]: what is asked, and of which model; out goes the first [`Violation`],
//! with the fix, or the warnings.
//!
//! To add a rule: an entry in [`RULES`] or [`WARNINGS`]; a fact about models: in the catalog.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::catalog::{Model, Thinking};

use super::betas::{INTERLEAVED_THINKING, LONG_CONTEXT, LONG_OUTPUT};
use super::parameters::{self, PARAMETERS};
use super::{NEWEST_API_VERSION, RequestSpec, RequestWarning, Tool, tools};

/// Below this, an answer may be thought away: the smallest budget that thinking can be given, where
/// it can be given one.
///
/// **Source**: documentation of extended thinking, read 2026-08-22.
const ROOM_TO_THINK: u64 = 1_024;

/// What a job asks for, as far as models differ in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RequestFeatures {
    /// `thinking.type`, and the budget where there is one.
    thinking: Option<(String, Option<u64>)>,
    /// The kind of a tool choice that leaves the model no choice: `any` or `tool`.
    forced_tool: Option<String>,
    /// The effort, where the job names one.
    pub(crate) effort: Option<String>,
    /// Sampling parameters.
    sampling: Vec<(&'static str, f64)>,
    /// Whether the API version has sampling parameters.
    is_old_version: bool,
    /// Whether the place of inference is chosen.
    geo: bool,
    /// Whether the job has the beta of long answers.
    long_output: bool,
    /// Whether the job has the beta of long contexts.
    long_context: bool,
    /// Whether the budget for thinking may pass `max_tokens`.
    is_interleaved: bool,
    /// Whether a message has the role `system`.
    pub(crate) system_messages: bool,
    /// The provider's tools, as they are sent.
    tools: Vec<Value>,
    /// Whether answers have a schema.
    pub(crate) schema: bool,
    /// Whether the last message is the beginning of the answer.
    pub(crate) prefill: bool,
}

impl RequestFeatures {
    pub(super) fn new(
        spec: &RequestSpec,
        params: &Map<String, Value>,
        config: &Map<String, Value>,
        tools: &[Tool],
    ) -> RequestFeatures {
        let kind = |key: &str| {
            params
                .get(key)
                .and_then(|value| value.get("type"))
                .and_then(Value::as_str)
        };
        let budget = params
            .get("thinking")
            .and_then(|thinking| thinking.get("budget_tokens"))
            .and_then(Value::as_u64);
        let forced =
            kind("tool_choice").filter(|kind| matches!(*kind, "any" | "tool") && !tools.is_empty());
        let sampling = PARAMETERS
            .iter()
            .filter(|parameter| parameter.old_version_only)
            .filter_map(|parameter| Some((parameter.name, params.get(parameter.name)?.as_f64()?)));
        let has_beta = |name: &str| spec.betas.iter().any(|beta| beta == name);
        let of_the_provider = tools.iter().filter(|tool| tool.input_schema.is_none());
        RequestFeatures {
            thinking: kind("thinking").map(|kind| (kind.to_owned(), budget)),
            forced_tool: forced.map(str::to_owned),
            effort: config
                .get("effort")
                .and_then(Value::as_str)
                .map(str::to_owned),
            sampling: sampling.collect(),
            is_old_version: spec.api_version() != NEWEST_API_VERSION,
            geo: params
                .get("inference_geo")
                .is_some_and(|geo| !geo.is_null()),
            long_output: has_beta(LONG_OUTPUT),
            long_context: has_beta(LONG_CONTEXT),
            is_interleaved: has_beta(INTERLEAVED_THINKING) && !tools.is_empty(),
            system_messages: false,
            tools: of_the_provider
                .map(|tool| tool.definition.clone())
                .collect(),
            schema: spec.schema.is_some()
                || config.contains_key("format")
                || params.contains_key("output_format"),
            prefill: false,
        }
    }

    fn thinking(&self) -> Option<&str> {
        self.thinking.as_ref().map(|(kind, _)| kind.as_str())
    }

    fn budget(&self) -> Option<u64> {
        self.thinking.as_ref().and_then(|(_, budget)| *budget)
    }
}

/// A request, or what all requests of a job are like, and the model it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelCase<'a> {
    /// The model as it is named.
    pub(crate) id: &'a str,
    pub(crate) model: &'a Model,
    pub(crate) max_tokens: u64,
    pub(crate) effort: Option<&'a str>,
    pub(crate) features: &'a RequestFeatures,
}

/// Why a model does not take a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The parameter at fault.
    pub(crate) key: &'static str,
    /// Why, as the end of a sentence that begins with the parameter.
    pub(crate) why: String,
    /// What to do.
    pub(crate) fix: String,
}

/// A rule: why a case is refused, and the fix; `None` where it is not.
type Rule = fn(&ModelCase<'_>) -> Option<(String, String)>;

/// Every rule, by the parameter that is at fault where it does not hold.
const RULES: &[(&str, Rule)] = &[
    ("max_tokens", longest_answer),
    ("effort", effort),
    ("thinking", thinking_type),
    ("thinking", thinking_off),
    ("thinking", thinking_budget),
    ("tool_choice", forced_tool),
    ("tools", server_tools),
    ("temperature", |case| sampling(case, "temperature")),
    ("top_p", |case| sampling(case, "top_p")),
    ("top_k", |case| sampling(case, "top_k")),
    ("top_p", one_way_of_sampling),
    ("inference_geo", geo),
    ("schema", schema),
    ("messages", prefill),
    ("messages", system_messages),
];

/// What is accepted and may not be meant.
const WARNINGS: &[fn(&ModelCase<'_>) -> Option<RequestWarning>] = &[
    room_to_think,
    long_output_without_effect,
    long_context_without_effect,
];

impl ModelCase<'_> {
    /// The first rule that does not hold.
    pub(crate) fn violation(&self) -> Option<Violation> {
        RULES
            .iter()
            .find_map(|(key, rule)| rule(self).map(|(why, fix)| Violation { key, why, fix }))
    }

    /// What the API accepts and may not be meant.
    pub(crate) fn warnings(&self) -> Vec<RequestWarning> {
        WARNINGS.iter().filter_map(|rule| rule(self)).collect()
    }

    /// Whether the model thinks before it answers.
    fn thinks(&self) -> bool {
        match (self.features.thinking(), self.model.thinking) {
            (Some("adaptive" | "enabled"), _) => true,
            (Some(_), thinking) => thinking == Thinking::Always && !self.model.between_tools,
            (None, thinking) => matches!(thinking, Thinking::Always | Thinking::AdaptiveDefault),
        }
    }
}

/// The most tokens of an answer of a model, under the betas of a job.
pub(super) fn most_tokens(model: &Model, betas: &[String]) -> u64 {
    longest(model, betas.iter().any(|beta| beta == LONG_OUTPUT))
}

fn longest(model: &Model, long_output: bool) -> u64 {
    let longer = model.max_batch_output_tokens.filter(|_| long_output);
    longer.map_or(model.max_output_tokens, |longer| {
        longer.max(model.max_output_tokens)
    })
}

fn longest_answer(case: &ModelCase<'_>) -> Option<(String, String)> {
    let ModelCase {
        id,
        model,
        max_tokens,
        features,
        ..
    } = case;
    let longer = model
        .max_batch_output_tokens
        .filter(|longer| *longer > model.max_output_tokens);
    let most = longest(model, features.long_output);
    if *max_tokens <= most {
        return None;
    }
    let fix = match longer {
        Some(longer) if !features.long_output && *max_tokens <= longer => {
            format!(
                "lower it, or add \"{LONG_OUTPUT}\" to `request.betas`, with which it makes \
                 {longer}"
            )
        }
        _ => "lower it".to_owned(),
    };
    Some((
        format!("is {max_tokens}, but `{id}` makes at most {most} tokens an answer"),
        fix,
    ))
}

fn effort(case: &ModelCase<'_>) -> Option<(String, String)> {
    let effort = case.effort?;
    let ModelCase { id, model, .. } = case;
    if model.effort.is_empty() {
        return Some((
            format!("is \"{effort}\", but `{id}` has no levels of effort"),
            "leave it out".to_owned(),
        ));
    }
    if model.effort.iter().any(|level| level == effort) {
        return None;
    }
    let why = format!("is \"{effort}\", which `{id}` does not take");
    Some((
        why,
        format!(
            "it takes {}",
            listed(model.effort.iter().map(String::as_str))
        ),
    ))
}

fn thinking_type(case: &ModelCase<'_>) -> Option<(String, String)> {
    let kind = case.features.thinking()?;
    let ModelCase { id, model, .. } = case;
    let is_refused = model.thinking_refused.iter().any(|refused| refused == kind)
        || (kind == "between_tools" && !model.between_tools);
    if !is_refused {
        return None;
    }
    let takes_off = !model
        .thinking_refused
        .iter()
        .any(|refused| refused == "disabled");
    let fix = match (kind, model.thinking) {
        ("between_tools", _) if takes_off => "use \"off\"",
        ("between_tools", _) => {
            "leave it out: the model always thinks, and less at a lower `request.effort`"
        }
        ("disabled", _) if model.between_tools => {
            "use \"between_tools\", which leaves out the thinking before the answer"
        }
        ("disabled", _) => {
            "leave it out: the model always thinks, and less at a lower `request.effort`"
        }
        ("enabled", Thinking::AdaptiveOptional) => {
            "use \"adaptive\", and `request.effort` for how much"
        }
        ("enabled", _) => "leave it out: the model thinks by itself; `request.effort` is how much",
        (_, Thinking::Extended) => "give it a budget, `{ budget_tokens = 2048 }`, or leave it out",
        _ => "leave it out",
    };
    Some((
        format!("is of the type \"{kind}\", which `{id}` does not take"),
        fix.to_owned(),
    ))
}

fn thinking_off(case: &ModelCase<'_>) -> Option<(String, String)> {
    let (effort, levels) = (case.effort?, &case.model.thinking_off_effort);
    let is_off = matches!(case.features.thinking(), Some("disabled" | "between_tools"));
    if !is_off || levels.is_empty() || levels.iter().any(|level| level == effort) {
        return None;
    }
    let why = format!(
        "is off, which `{}` does not take at the effort \"{effort}\"",
        case.id
    );
    Some((
        why,
        format!(
            "lower the effort to {}, or let it think",
            listed(levels.iter().map(String::as_str))
        ),
    ))
}

fn thinking_budget(case: &ModelCase<'_>) -> Option<(String, String)> {
    let budget = case
        .features
        .budget()
        .filter(|budget| *budget >= case.max_tokens && !case.features.is_interleaved)?;
    let why = format!(
        "has a budget of {budget} tokens, and the whole answer has {}",
        case.max_tokens
    );
    Some((
        why,
        "raise `request.max_tokens` above it, or lower the budget".to_owned(),
    ))
}

fn server_tools(case: &ModelCase<'_>) -> Option<(String, String)> {
    case.features
        .tools
        .iter()
        .find_map(|tool| tools::refused_by(case.id, case.model, tool))
}

fn system_messages(case: &ModelCase<'_>) -> Option<(String, String)> {
    let why = || {
        format!(
            "has a message of the role `system`, which `{}` does not take",
            case.id
        )
    };
    let fix = "put it into `request.system`, or give it the role `user`";
    (case.features.system_messages && !case.model.system_messages).then(|| (why(), fix.to_owned()))
}

fn forced_tool(case: &ModelCase<'_>) -> Option<(String, String)> {
    let kind = case.features.forced_tool.as_deref()?;
    if !case.model.forced_tools {
        let fix = "use \"auto\" and say in the prompt that the tool is to be called, or ask \
            for the answer with `request.schema`";
        return Some((
            format!(
                "is \"{kind}\", and `{}` cannot be forced to call a tool",
                case.id
            ),
            fix.to_owned(),
        ));
    }
    let why = || format!("is \"{kind}\", which does not go together with a budget for thinking");
    case.features
        .budget()
        .map(|_| (why(), "use \"auto\", or leave the budget out".to_owned()))
}

fn sampling(case: &ModelCase<'_>, key: &str) -> Option<(String, String)> {
    let (_, value) = case
        .features
        .sampling
        .iter()
        .find(|(features, _)| *features == key)?;
    if !case.model.sampling {
        // Under the older version, such models still accept the default.
        let is_default = parameters::parameter(key).is_some_and(|p| p.is_default(*value));
        let why = format!(
            "is not taken by `{}`, which has no sampling parameters",
            case.id
        );
        return (!is_default || !case.features.is_old_version)
            .then(|| (why, "leave it out".to_owned()));
    }
    if case.features.is_old_version {
        return None;
    }
    let why = format!("is refused under API version {NEWEST_API_VERSION}, even at its default");
    Some((
        why,
        format!(
            "leave it out, or set `request.api_version = \"2023-06-01\"`, under which `{}` takes it",
            case.id
        ),
    ))
}

fn one_way_of_sampling(case: &ModelCase<'_>) -> Option<(String, String)> {
    let has = |key: &str| {
        case.features
            .sampling
            .iter()
            .any(|(features, _)| *features == key)
    };
    let why = || {
        format!(
            "stands beside `temperature`, and `{}` takes one of the two",
            case.id
        )
    };
    (has("temperature") && has("top_p")).then(|| (why(), "leave one out".to_owned()))
}

fn geo(case: &ModelCase<'_>) -> Option<(String, String)> {
    let is_refused = !parameters::is_accepted_by(case.model, "inference_geo");
    let why = || format!("is not taken by `{}`; it came with Claude 4.6", case.id);
    (case.features.geo && is_refused).then(|| (why(), "leave it out".to_owned()))
}

fn schema(case: &ModelCase<'_>) -> Option<(String, String)> {
    let why = || {
        format!(
            "is not taken by `{}`, which has no structured output",
            case.id
        )
    };
    (case.features.schema && !case.model.structured_output).then(|| {
        (
            why(),
            "say in the prompt what the answer looks like".to_owned(),
        )
    })
}

fn prefill(case: &ModelCase<'_>) -> Option<(String, String)> {
    let why = || {
        let what = "ends with a message of the role `assistant`, the beginning of an answer";
        format!("{what}, which `{}` does not continue", case.id)
    };
    let fix = "leave it out, and say in the prompt how the answer begins, or use `request.schema`";
    (case.features.prefill && !case.model.prefill).then(|| (why(), fix.to_owned()))
}

fn room_to_think(case: &ModelCase<'_>) -> Option<RequestWarning> {
    let is_tight = case.thinks() && case.max_tokens < ROOM_TO_THINK;
    is_tight.then(|| RequestWarning::LittleRoomToThink {
        model: case.id.to_owned(),
        max_tokens: case.max_tokens,
        enough_tokens: ROOM_TO_THINK,
        can_be_off: case.model.thinking == Thinking::AdaptiveDefault,
    })
}

fn long_output_without_effect(case: &ModelCase<'_>) -> Option<RequestWarning> {
    let is_vain = case.features.long_output && case.model.max_batch_output_tokens.is_none();
    is_vain.then(|| RequestWarning::LongOutputWithoutEffect {
        beta: LONG_OUTPUT.to_owned(),
        model: case.id.to_owned(),
        max_output_tokens: case.model.max_output_tokens,
    })
}

fn long_context_without_effect(case: &ModelCase<'_>) -> Option<RequestWarning> {
    (case.features.long_context).then(|| RequestWarning::LongContextWithoutEffect {
        beta: LONG_CONTEXT.to_owned(),
        model: case.id.to_owned(),
        context_tokens: case.model.context_tokens,
    })
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}
