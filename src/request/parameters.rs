//! The parameters of a request: one table that says of each where it is taken.
//!
//! `check` reads it before anything is sent, the simulator when it answers, and the provider when
//! it counts tokens, so the three cannot disagree. What a parameter's *value* may be is said where
//! it is read: in `options.rs`, `tools.rs` and `rules.rs`.
//!
//! ```text
//!  name            batch     message   count    betas (one of them)              models
//!  max_tokens      the job's    ✓        –      –                                all
//!  compaction      ✓            ✓        ✓      compact-2026-09-04               all
//!  temperature     ✓            ✓        –      –                                those that still sample
//!  fallbacks       refused      ✓        –      server-side-fallback-…           all
//! ```
//!
//! To add a parameter: a line in [`PARAMETERS`]. The test of the SDK's types compares the table
//! with the newest release.
//!
//! **Source**: types `MessageCreateParams` and `MessageCountTokensParams` (general and beta) of the
//! provider's Python SDK 2.14.0, and for what a batch refuses the batch guide of 2026-08-22; read
//! 2026-11-30.

use serde_json::Value;

use crate::catalog::Model;
use crate::template::nearest;

/// A parameter of the Messages API.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What a batch makes of it.
    pub(crate) batch: InBatch,
    /// Whether `POST /v1/messages` takes it.
    #[cfg_attr(
        not(feature = "simulator"),
        allow(dead_code, reason = "the simulator asks")
    )]
    pub(crate) message: bool,
    /// Whether `POST /v1/messages/count_tokens` takes it.
    pub(crate) count: bool,
    /// Beta features, one of which the call has to carry; a name that ends with `-` stands for all
    /// its versions. Empty: none is needed.
    pub(crate) betas: &'static [&'static str],
    /// Whether `null` is the same as leaving it out.
    #[cfg_attr(
        not(feature = "simulator"),
        allow(dead_code, reason = "the simulator asks")
    )]
    pub(crate) nullable: bool,
    /// The models that take it.
    pub(crate) models: fn(&Model) -> bool,
}

/// What a batch makes of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InBatch {
    /// Taken; the job passes it on.
    Taken,
    /// Taken; the job writes it by itself, from a key of its own.
    Own,
    /// Refused, or no parameter at all: why, and the way out.
    Refused(&'static str, &'static str),
}

const fn taken(name: &'static str) -> Parameter {
    Parameter {
        name,
        batch: InBatch::Taken,
        message: true,
        count: true,
        betas: &[],
        nullable: false,
        models: all,
    }
}

const fn own(name: &'static str) -> Parameter {
    Parameter {
        batch: InBatch::Own,
        ..taken(name)
    }
}

const fn refused(name: &'static str, why: &'static str, way_out: &'static str) -> Parameter {
    Parameter {
        batch: InBatch::Refused(why, way_out),
        count: false,
        ..taken(name)
    }
}

/// What is no parameter: a header carries it.
const fn header(name: &'static str, why: &'static str, way_out: &'static str) -> Parameter {
    Parameter {
        message: false,
        ..refused(name, why, way_out)
    }
}

impl Parameter {
    const fn not_counted(self) -> Parameter {
        Parameter {
            count: false,
            ..self
        }
    }

    const fn or_null(self) -> Parameter {
        Parameter {
            nullable: true,
            ..self
        }
    }

    const fn beta(self, betas: &'static [&'static str]) -> Parameter {
        Parameter { betas, ..self }
    }

    const fn only(self, models: fn(&Model) -> bool) -> Parameter {
        Parameter { models, ..self }
    }
}

const NO_THREADS: &str = "is refused in a batch: requests are not part of a thread";
const SAY_IT: &str = "put what the model needs to know into `request.messages`";
const NO_HINTS: &str = "is refused in a batch";
const MARK: &str = "leave it out, and mark shared system blocks with `cache`";
const BETAS: &str = "is refused in `params`: beta names stand in the header of the whole batch";
const VERSION: &str = "is refused in `params`: the version stands in a header";

/// Every parameter.
pub(crate) const PARAMETERS: &[Parameter] = &[
    own("model"),
    own("messages"),
    own("max_tokens").not_counted(),
    own("system"),
    taken("tools"),
    taken("tool_choice"),
    taken("thinking"),
    taken("output_config").or_null(),
    taken("output_format").or_null().only(has_structured_output),
    taken("stop_sequences").not_counted(),
    taken("temperature").not_counted().only(samples),
    taken("top_p").not_counted().only(samples),
    taken("top_k").not_counted().only(samples),
    taken("cache_control").or_null(),
    taken("inference_geo")
        .not_counted()
        .or_null()
        .only(is_bound_to_places),
    taken("metadata").not_counted(),
    taken("service_tier").not_counted(),
    taken("container").not_counted().or_null(),
    taken("diagnostics").not_counted().or_null(),
    taken("stream").not_counted(),
    taken("user_profile_id").or_null(),
    taken("compaction").or_null().beta(&["compact-2026-09-04"]),
    taken("context_management")
        .or_null()
        .beta(&["context-management-", "compact-"]),
    taken("mcp_servers").beta(&["mcp-client-"]),
    taken("billing_policy").or_null().beta(&["user-profiles-"]),
    taken("fallback_credit_token").not_counted().or_null(),
    Parameter {
        count: true,
        ..refused(
            "speed",
            "is refused in a batch: there is no fast mode",
            "leave it out",
        )
    }
    .or_null(),
    refused(
        "fallbacks",
        "fails every row of a batch",
        "leave it out, and run the rows that failed with another `request.model`",
    )
    .or_null(),
    refused("thread", NO_THREADS, SAY_IT).or_null(),
    refused("store", NO_THREADS, SAY_IT).or_null(),
    refused("previous_thread_event_id", NO_THREADS, SAY_IT).or_null(),
    refused("cache_hint", NO_HINTS, MARK).or_null(),
    refused("context_hint", NO_HINTS, MARK).or_null(),
    refused("research_preview_2026_02", NO_HINTS, "leave it out").or_null(),
    header("betas", BETAS, "put them into `request.betas`"),
    header("anthropic_beta", BETAS, "put them into `request.betas`"),
    header("anthropic-beta", BETAS, "put them into `request.betas`"),
    header("anthropic_version", VERSION, "use `request.api_version`"),
    header("anthropic-version", VERSION, "use `request.api_version`"),
    header(
        "workspace_id",
        "is refused in `params`: the workspace stands in a header",
        "set the variable ANTHROPIC_WORKSPACE_ID",
    ),
];

/// The members of `output_config`, with the beta each needs.
pub(crate) const OUTPUT_CONFIG: &[(&str, &[&str])] = &[
    ("effort", &[]),
    ("format", &[]),
    ("task_budget", &["task-budgets-"]),
];

fn all(_: &Model) -> bool {
    true
}

fn samples(model: &Model) -> bool {
    model.sampling
}

fn has_structured_output(model: &Model) -> bool {
    model.structured_output
}

/// A model without a price for that refuses the parameter.
fn is_bound_to_places(model: &Model) -> bool {
    model
        .prices
        .as_ref()
        .is_none_or(|prices| prices.us_factor.is_some())
}

/// The parameter of this name.
pub(crate) fn parameter(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

/// Whether a model takes a parameter, whatever its value. One that is not known is not refused.
pub(crate) fn takes(model: &Model, name: &str) -> bool {
    parameter(name).is_none_or(|parameter| (parameter.models)(model))
}

/// The parameter that an unknown name was meant for, where it is only misspelled. Any other unknown
/// name may be newer than this table.
pub(crate) fn meant(name: &str) -> Option<String> {
    let known = PARAMETERS
        .iter()
        .filter(|parameter| !matches!(parameter.batch, InBatch::Refused(..)));
    nearest(name, known.map(|parameter| parameter.name))
}

/// Whether a call carries one of the betas that a parameter needs.
pub(crate) fn has_beta(needed: &[&str], betas: &[String]) -> bool {
    let fits = |beta: &String| {
        needed
            .iter()
            .any(|name| beta == name || (name.ends_with('-') && beta.starts_with(name)))
    };
    needed.is_empty() || betas.iter().any(fits)
}

/// A beta of this version of the program that fits, to propose.
pub(crate) fn proposed_beta(needed: &[&str]) -> String {
    let first = needed.first().copied().unwrap_or_default();
    let newest = super::betas::known()
        .rev()
        .find(|beta| beta.starts_with(first));
    newest.unwrap_or(first).to_owned()
}

/// The budget of a task, `output_config.task_budget`: what is wrong with it.
pub(crate) fn task_budget(budget: &Value) -> Option<&'static str> {
    let Some(members) = budget.as_object() else {
        return Some("must be a table");
    };
    let tokens = |key: &str| members.get(key).and_then(Value::as_u64);
    if members.get("type").and_then(Value::as_str) != Some("tokens") {
        return Some("must have the type \"tokens\"");
    }
    if tokens("total").is_none_or(|total| total == 0) {
        return Some("must have a `total` of tokens");
    }
    let remaining = members
        .get("remaining")
        .filter(|remaining| !remaining.is_null());
    (remaining.is_some() && tokens("remaining").is_none())
        .then_some("has a `remaining` that is no number of tokens")
}

/// The parameter `compaction`: what is wrong with it.
pub(crate) fn compaction(config: &Value) -> Option<&'static str> {
    let Some(members) = config.as_object() else {
        return Some("must be a table");
    };
    if members.get("type").and_then(Value::as_str) != Some("summarize") {
        return Some("must have the type \"summarize\"");
    }
    let instructions = members
        .get("instructions")
        .filter(|instructions| !instructions.is_null());
    instructions
        .is_some_and(|instructions| !instructions.is_string())
        .then_some("has `instructions` that are not a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_once_and_a_count_takes_no_more_than_a_message() {
        for (i, parameter) in PARAMETERS.iter().enumerate() {
            assert!(
                PARAMETERS[..i]
                    .iter()
                    .all(|other| other.name != parameter.name),
                "{}",
                parameter.name
            );
            assert!(parameter.message || !parameter.count, "{}", parameter.name);
        }
    }

    #[test]
    fn agrees_with_the_types_of_the_sdk() {
        let facts: Value =
            serde_json::from_str(include_str!("../../tests/data/sdk_facts.json")).unwrap();
        let names = |key: &str| {
            facts[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect::<Vec<_>>()
        };
        let (general, all) = (names("create"), names("create_beta"));
        let (counted, all_counted) = (names("count"), names("count_beta"));
        // Headers of a call, which are no members of its body.
        const HEADERS: &[&str] = &["betas", "workspace_id"];
        for &name in all
            .iter()
            .chain(&general)
            .filter(|name| !HEADERS.contains(name))
        {
            let parameter = parameter(name).unwrap_or_else(|| panic!("the table has no `{name}`"));
            assert!(parameter.message, "{name}");
            assert_eq!(
                parameter.count,
                counted.contains(&name) || all_counted.contains(&name),
                "{name}"
            );
            // What a batch takes and only the beta types have belongs to a beta, but for a token
            // that a batch ignores.
            let needs_beta = parameter.batch == InBatch::Taken
                && !general.contains(&name)
                && name != "fallback_credit_token";
            assert_eq!(!parameter.betas.is_empty(), needs_beta, "{name}");
        }
        for name in HEADERS {
            assert!(
                parameter(name).is_some_and(|parameter| !parameter.message),
                "{name}"
            );
        }
    }

    #[test]
    fn proposes_betas_that_exist() {
        let needed = PARAMETERS
            .iter()
            .map(|parameter| parameter.betas)
            .chain(OUTPUT_CONFIG.iter().map(|(_, betas)| *betas));
        for needed in needed.filter(|needed| !needed.is_empty()) {
            let proposed = proposed_beta(needed);
            assert!(
                super::super::betas::known().any(|beta| beta == proposed),
                "{proposed}"
            );
            assert!(has_beta(needed, &[proposed]), "{needed:?}");
        }
    }

    #[test]
    fn tells_a_misspelled_name_from_a_new_one() {
        assert_eq!(meant("metdata").as_deref(), Some("metadata"));
        assert_eq!(meant("stop_sequence").as_deref(), Some("stop_sequences"));
        assert_eq!(meant("brand_new_thing"), None);
    }
}
