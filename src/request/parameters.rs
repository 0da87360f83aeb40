//! The parameters of a request: one table that says of each where it is accepted, who sets it, and
//! what its value may be.
//!
//! `check` reads it before anything is sent, the simulator when it answers, and the provider when
//! it counts tokens, so the three cannot disagree. Rules that depend on more than one parameter or
//! on the model are in `rules.rs`.
//!
//! ```text
//!  name            set by               batch   message  count   betas (one of them)      per row
//!  max_tokens      the job                ✓        ✓       –      –                        max_tokens
//!  thinking        a key, or `params`     ✓        ✓       ✓      –                        –
//!  metadata        `params`               ✓        ✓       –      –                        user_id
//!  compaction      `params`               ✓        ✓       ✓      compact-2026-09-04       –
//!  fallbacks       refused                –        ✓       –      –                        –
//! ```
//!
//! To add a parameter: a line in [`PARAMETERS`]. The test of the SDK's types compares the table
//! with the newest release.
//!
//! **Source**: types `MessageCreateParams` and `MessageCountTokensParams` (general and beta) of the
//! provider's Python SDK 2.14.0, and for what a batch refuses the batch guide of 2026-08-22; read
//! 2026-11-30.

use serde_json::{Value, json};

use crate::catalog::Model;
use crate::template::nearest;

use super::RequestSpec;

/// A parameter of the Messages API.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Its name on the wire.
    pub(crate) name: &'static str,
    /// Where it is set in a batch.
    pub(crate) owner: Owner,
    /// Whether `POST /v1/messages` accepts it.
    #[cfg_attr(
        not(feature = "simulator"),
        allow(dead_code, reason = "the simulator asks")
    )]
    pub(crate) message: bool,
    /// Whether `POST /v1/messages/count_tokens` accepts it.
    pub(crate) count: bool,
    /// Beta features, one of which the call has to name; a name that ends with `-` stands for all
    /// its versions. Empty: none is needed.
    pub(crate) betas: &'static [&'static str],
    /// Whether `null` is the same as leaving it out.
    #[cfg_attr(
        not(feature = "simulator"),
        allow(dead_code, reason = "the simulator asks")
    )]
    pub(crate) nullable: bool,
    /// Whether it is gone under the newest API version.
    pub(crate) old_version_only: bool,
    /// The models that accept it.
    pub(crate) models: fn(&Model) -> bool,
    /// What its value may be.
    pub(crate) value: ValueRule,
    /// The key of `request.per_row` by which rows set it, or a member of it.
    pub(crate) per_row: Option<&'static str>,
}

/// Where a parameter is set in a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// The job, from a section of its own; `request.params` must not have it.
    Job,
    /// The job, by a key of `[request]` whose value this reads, or by `request.params`.
    Key(fn(&RequestSpec) -> Option<Value>),
    /// The job, by several keys of `[request]` together, or by `request.params`.
    Keys,
    /// The job, by `request.params` alone.
    Params,
    /// Not settable: a batch rejects it, or it is not a parameter. Holds the reason and the fix.
    Refused(&'static str, &'static str),
}

impl Owner {
    /// Whether a batch refuses the parameter.
    pub(crate) fn is_refused(self) -> bool {
        matches!(self, Owner::Refused(..))
    }
}

/// What the value of a parameter may be, whatever the model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueRule {
    /// Not checked here.
    Any,
    /// A number of a range.
    Number {
        min: f64,
        max: f64,
        is_whole: bool,
        /// Under the older API version, models without the parameter still accept its default.
        default: Option<f64>,
    },
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// A list of texts, each with a visible character.
    Texts,
    /// A table with these members and no others.
    Members(&'static [&'static str]),
    /// `false`; a single message may be streamed, a batch not.
    NotStreamed,
    /// A `cache_control`.
    CacheMark,
    /// See `thinking` in `option_values.rs`.
    Thinking,
    /// See `tool_choice` in `option_values.rs`.
    ToolChoice,
    /// What the function finds wrong.
    Checked(fn(&Value) -> Option<&'static str>),
}

const fn params(name: &'static str) -> Parameter {
    Parameter {
        name,
        owner: Owner::Params,
        message: true,
        count: true,
        betas: &[],
        nullable: false,
        old_version_only: false,
        models: all,
        value: ValueRule::Any,
        per_row: None,
    }
}

const fn job(name: &'static str) -> Parameter {
    Parameter {
        owner: Owner::Job,
        ..params(name)
    }
}

const fn keys(name: &'static str) -> Parameter {
    Parameter {
        owner: Owner::Keys,
        ..params(name)
    }
}

const fn key(name: &'static str, read: fn(&RequestSpec) -> Option<Value>) -> Parameter {
    Parameter {
        owner: Owner::Key(read),
        ..params(name)
    }
}

const fn sampling(
    name: &'static str,
    read: fn(&RequestSpec) -> Option<Value>,
    value: ValueRule,
) -> Parameter {
    Parameter {
        count: false,
        old_version_only: true,
        models: samples,
        value,
        ..key(name, read)
    }
}

const fn refused(name: &'static str, why: &'static str, fix: &'static str) -> Parameter {
    Parameter {
        owner: Owner::Refused(why, fix),
        count: false,
        ..params(name)
    }
}

/// No parameter at all: a header carries it.
const fn header(name: &'static str, why: &'static str, fix: &'static str) -> Parameter {
    Parameter {
        message: false,
        ..refused(name, why, fix)
    }
}

impl Parameter {
    /// Whether a number is the parameter's default, where it has one.
    pub(crate) fn is_default(&self, number: f64) -> bool {
        let ValueRule::Number {
            default: Some(default),
            ..
        } = self.value
        else {
            return false;
        };
        (number - default).abs() < f64::EPSILON
    }

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

    const fn value(self, value: ValueRule) -> Parameter {
        Parameter { value, ..self }
    }

    const fn per_row(self, key: &'static str) -> Parameter {
        Parameter {
            per_row: Some(key),
            ..self
        }
    }
}

const NO_THREADS: &str = "is refused in a batch: requests are not part of a thread";
const SAY_IT: &str = "put what the model needs to know into `request.messages`";
const NO_HINTS: &str = "is refused in a batch";
const MARK: &str = "leave it out, and mark shared system blocks with `cache`";
const BETAS: &str = "is refused in `params`: beta names stand in the header of the whole batch";
const VERSION: &str = "is refused in `params`: the version stands in a header";

/// Every parameter. Those with a key of their own are sent in this order: the bytes of a request,
/// and with them its hash and the provider's prompt cache, depend on it.
pub(crate) const PARAMETERS: &[Parameter] = &[
    job("model").per_row("model"),
    job("messages"),
    job("max_tokens").not_counted().per_row("max_tokens"),
    job("system"),
    keys("tools"),
    key("tool_choice", |spec| spec.tool_choice.clone()).value(ValueRule::ToolChoice),
    key("thinking", |spec| spec.thinking.clone()).value(ValueRule::Thinking),
    // **Source** of the ranges: documentation of the Messages API under version 2023-06-01, read
    // 2026-08-22; of `top_k` it names no maximum.
    sampling(
        "temperature",
        |spec| spec.temperature.clone().map(Value::Number),
        ValueRule::Number {
            min: 0.0,
            max: 1.0,
            is_whole: false,
            default: Some(1.0),
        },
    ),
    sampling(
        "top_p",
        |spec| spec.top_p.clone().map(Value::Number),
        ValueRule::Number {
            min: 0.0,
            max: 1.0,
            is_whole: false,
            default: None,
        },
    ),
    sampling(
        "top_k",
        |spec| spec.top_k.clone().map(Value::Number),
        ValueRule::Number {
            min: 0.0,
            max: 1_000_000.0,
            is_whole: true,
            default: None,
        },
    ),
    key("stop_sequences", |spec| {
        (!spec.stop_sequences.is_empty()).then(|| json!(spec.stop_sequences))
    })
    .not_counted()
    .value(ValueRule::Texts),
    key("inference_geo", |spec| {
        spec.inference_geo.clone().map(Value::String)
    })
    .not_counted()
    .or_null()
    .only(is_bound_to_places)
    .value(ValueRule::OneOf(&["global", "us"])),
    keys("output_config").or_null().per_row("effort"),
    params("output_format")
        .or_null()
        .only(has_structured_output),
    params("metadata")
        .not_counted()
        .value(ValueRule::Members(&["user_id"]))
        .per_row("user_id"),
    params("service_tier")
        .not_counted()
        .value(ValueRule::OneOf(&["auto", "standard_only"])),
    params("stream").not_counted().value(ValueRule::NotStreamed),
    params("cache_control")
        .or_null()
        .value(ValueRule::CacheMark),
    params("compaction")
        .or_null()
        .beta(&["compact-2026-09-04"])
        .value(ValueRule::Checked(compaction)),
    params("container").not_counted().or_null(),
    params("diagnostics").not_counted().or_null(),
    params("user_profile_id").or_null(),
    params("context_management")
        .or_null()
        .beta(&["context-management-", "compact-"]),
    params(MCP_SERVERS).beta(&["mcp-client-"]),
    params("billing_policy").or_null().beta(&["user-profiles-"]),
    params("fallback_credit_token").not_counted().or_null(),
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

/// Parameters that cannot stand beside each other.
pub(crate) const EXCLUSIVE: &[(&str, &str)] = &[("compaction", "context_management")];

/// The servers of a job's sets of tools.
pub(crate) const MCP_SERVERS: &str = "mcp_servers";

/// The values of `thinking.type`. **Source**: types of the provider's Python SDK 2.12.0 (November
/// 2026).
pub(crate) const THINKING_TYPES: &[&str] = &["adaptive", "between_tools", "disabled", "enabled"];

/// The members of `thinking` that only some types have.
#[cfg(any(feature = "simulator", test))]
pub(crate) const THINKING_MEMBERS: &[(&str, &[&str])] = &[
    ("budget_tokens", &["enabled"]),
    ("display", &["adaptive", "enabled"]),
];

/// The values of `thinking.display`.
pub(crate) const THINKING_DISPLAYS: &[&str] = &["summarized", "omitted"];

/// The smallest `thinking.budget_tokens`. **Source**: as of [`THINKING_TYPES`].
pub(crate) const LEAST_THINKING_BUDGET: u64 = 1_024;

/// The values of `tool_choice.type`.
pub(crate) const TOOL_CHOICES: &[&str] = &["auto", "any", "tool", "none"];

fn all(_: &Model) -> bool {
    true
}

fn samples(model: &Model) -> bool {
    model.sampling
}

fn has_structured_output(model: &Model) -> bool {
    model.structured_output
}

/// A model without a price for a place refuses the parameter.
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

/// Whether a model accepts a parameter, whatever its value. An unknown one is not refused.
pub(crate) fn is_accepted_by(model: &Model, name: &str) -> bool {
    parameter(name).is_none_or(|parameter| (parameter.models)(model))
}

/// The parameter that an unknown name was meant for, where it is only misspelled. Any other unknown
/// name may be newer than this table.
pub(crate) fn meant(name: &str) -> Option<String> {
    let known = PARAMETERS
        .iter()
        .filter(|parameter| !parameter.owner.is_refused());
    nearest(name, known.map(|parameter| parameter.name))
}

/// Whether a call names one of the betas that a parameter needs.
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

/// The parameters that rows set by a key of `request.per_row`, in the order of the table.
pub(crate) fn per_row() -> impl Iterator<Item = (&'static str, &'static Parameter)> {
    PARAMETERS
        .iter()
        .filter_map(|parameter| Some((parameter.per_row?, parameter)))
}

/// Whether a `billing_policy` bills the profile of a user, which fails in a batch.
pub(crate) fn bills_a_profile(policy: &Value) -> bool {
    policy.get("bill_to").and_then(Value::as_str) == Some("user_profile")
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
    fn each_name_stands_once_and_a_count_accepts_no_more_than_a_message() {
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
            // What a batch accepts and only the beta types have belongs to a beta, except for a
            // token that a batch ignores.
            let needs_beta = !matches!(parameter.owner, Owner::Job | Owner::Refused(..))
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
    fn distinguishes_a_misspelled_name_from_a_new_one() {
        assert_eq!(meant("metdata").as_deref(), Some("metadata"));
        assert_eq!(meant("stop_sequence").as_deref(), Some("stop_sequences"));
        assert_eq!(meant("brand_new_thing"), None);
    }

    /// The keys of a section, as the reader of TOML lists them for an unknown one.
    fn keys_of<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = toml::from_str::<T>("no_such_key = 1")
            .err()
            .expect("no section has this key")
            .to_string();
        let (_, known) = error.split_once("expected one of ").unwrap();
        let known = known.split('`').skip(1).step_by(2);
        known.map(str::to_owned).collect()
    }

    #[test]
    fn every_key_of_a_section_has_a_line_or_is_no_parameter() {
        // What the job decides, or puts into parameters of another name.
        const NO_PARAMETERS: &[&str] = &[
            "schema",
            "effort",
            "per_row",
            "params",
            "api_version",
            "betas",
            "unknown_betas",
            "dedupe",
            "reuse",
            "reuse_status",
            "on_row_error",
            "on_too_large",
        ];
        let keys = keys_of::<RequestSpec>();
        for parameter in PARAMETERS {
            let has_key =
                matches!(parameter.owner, Owner::Job | Owner::Key(_)) || parameter.name == "tools";
            assert_eq!(
                keys.iter().any(|key| key == parameter.name)
                    && !NO_PARAMETERS.contains(&parameter.name),
                has_key,
                "{}",
                parameter.name
            );
        }
        for key in &keys {
            assert!(
                parameter(key).is_some() || NO_PARAMETERS.contains(&key.as_str()),
                "{key}"
            );
        }
        let mut per_row: Vec<&str> = per_row().map(|(key, _)| key).collect();
        // A tag is not sent.
        per_row.push("tag");
        let mut keys = keys_of::<crate::request::per_row::PerRowSpec>();
        keys.sort();
        per_row.sort_unstable();
        assert_eq!(per_row, keys);
    }
}
