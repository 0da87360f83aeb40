//! One request's `params`, checked as the API checks them once a batch is accepted.
//!
//! In comes the JSON text of `params`; out goes a [`Request`]: its [`Head`] (everything but the
//! messages), the [`Row`] (the messages), or the [`Refusal`] that becomes an `errored` line in a
//! batch and an HTTP error at `/v1/messages`. The wording follows the API's where that is known;
//! programs must not depend on it there, nor here.
//!
//! The requests of a run share their head byte for byte, so heads are read once and remembered by
//! their bytes.
//!
//! Which parameters there are, and where, is in the table of `request/parameters.rs`, by which jobs
//! are checked too; what the provider's tools take, in `request/tools.rs`. To add a rule about one
//! parameter: a function here, called in [`Reader::read_head`]. About messages: `messages.rs`.
//! About what a model can do: the catalog.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::cache::{Prefix, Ttl};
use super::files::Files;
use super::media::Media;
use super::messages::{self, Row};
use super::reply::Refusal;
use super::{forms, labels, tokens};
use crate::catalog::{Catalog, Model, Thinking, Tokenizer};
use crate::request::betas::{INTERLEAVED_THINKING, LONG_OUTPUT};
use crate::request::parameters::{self, InBatch, OUTPUT_CONFIG};
use crate::request::{schema, tools};

/// What is asked for: the rules differ a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request in a batch.
    Batch,
    /// A single message, answered at once.
    Message,
    /// Counting the input tokens.
    Count,
}

/// What the headers of the call say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms<'t> {
    pub(super) purpose: Purpose,
    /// API version 2026-10-21, which has no sampling parameters.
    pub(super) new_version: bool,
    /// The beta features asked for.
    pub(super) betas: &'t [String],
}

impl Terms<'_> {
    fn has_beta(&self, name: &str) -> bool {
        self.betas.iter().any(|beta| beta == name)
    }
}

/// A whole request that may be answered.
pub(super) struct Request {
    pub(super) head: Arc<Head>,
    pub(super) row: Row,
}

/// All of a request but its messages.
pub(super) struct Head {
    pub(super) model_id: String,
    pub(super) model: Model,
    pub(super) max_tokens: u64,
    pub(super) thought: Option<Thought>,
    pub(super) effort: Option<String>,
    pub(super) shape: Shape,
    pub(super) labels: Option<Vec<String>>,
    /// The form that the system prompt asks to be filled in.
    pub(super) form: Option<String>,
    /// Tools that the provider runs, by name, and how often each may be used.
    pub(super) server_tools: Vec<(&'static str, u64)>,
    pub(super) stop_sequences: Vec<String>,
    pub(super) inference_geo: Option<String>,
    pub(super) automatic_mark: Option<Ttl>,
    pub(super) prefix: Prefix,
}

/// That the model thinks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thought {
    pub(super) budget: Option<u64>,
    /// Whether the thinking is shown, or its text left out.
    pub(super) shown: bool,
}

/// What the answer has to look like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Any text.
    Free,
    /// JSON text of this schema.
    Json(Value),
    /// Calls of these tools.
    Tools(Callable),
}

/// The tools that the client runs and the answer may call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Callable {
    /// Each with the schema of its arguments; at least one.
    pub(super) tools: Vec<(String, Value)>,
    /// Whether one answer may call several times.
    pub(super) parallel: bool,
}

/// Reads requests; remembers heads.
pub(super) struct Reader {
    catalog: Arc<Catalog>,
    heads: HashMap<[u8; 32], Result<Arc<Head>, Refusal>>,
    media: Media,
}

/// Heads that are remembered; a run has one, or a few.
const MAX_HEADS: usize = 64;

type Fields<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

impl Reader {
    pub(super) fn new(catalog: Arc<Catalog>, files: Arc<Files>) -> Reader {
        Reader {
            catalog,
            heads: HashMap::new(),
            media: Media::new(files),
        }
    }

    /// Reads and checks one request.
    pub(super) fn read(&mut self, params: &str, terms: Terms<'_>) -> Result<Request, Refusal> {
        let fields = split(params)?;
        let head = self.head(&fields, terms)?;
        let messages = fields
            .iter()
            .rev()
            .find(|(key, _)| key == "messages")
            .ok_or_else(|| Refusal::invalid("messages: Field required"))?;
        let row = messages::read(&head, messages.1, terms, &mut self.media)?;
        let total = row.input_tokens
            + if terms.purpose == Purpose::Count {
                0
            } else {
                1
            };
        if total > head.model.context_tokens {
            let (found, most) = (row.input_tokens, head.model.context_tokens);
            return Err(Refusal::invalid(format!(
                "prompt is too long: {found} tokens > {most} maximum"
            )));
        }
        Ok(Request { head, row })
    }

    fn head(&mut self, fields: &Fields<'_>, terms: Terms<'_>) -> Result<Arc<Head>, Refusal> {
        let key = fingerprint(fields, terms);
        if let Some(known) = self.heads.get(&key) {
            return known.clone();
        }
        let head = self.read_head(fields, terms).map(Arc::new);
        if self.heads.len() >= MAX_HEADS {
            self.heads.clear();
        }
        self.heads.insert(key, head.clone());
        head
    }

    fn read_head(&self, fields: &Fields<'_>, terms: Terms<'_>) -> Result<Head, Refusal> {
        let params = Params::read(fields)?;
        params.check_names(terms)?;
        let (model_id, model) = self.model(&params)?;
        let rules = Rules {
            id: &model_id,
            model: &model,
            terms,
        };
        params.check_small_ones(&rules)?;
        let max_tokens = rules.max_tokens(params.get("max_tokens"))?;
        rules.sampling(&params)?;
        let effort = rules.effort(&params)?;
        let tools = Tools::read(params.get("tools"))?;
        tools.check_models(&rules, &self.catalog)?;
        // Between calls of tools, the budget is for all turns together.
        let is_interleaved = terms.has_beta(INTERLEAVED_THINKING) && !tools.0.is_empty();
        let most_budget = if is_interleaved { u64::MAX } else { max_tokens };
        let thought = rules.thinking(params.get("thinking"), most_budget, effort.as_deref())?;
        tools.check_schemas(format_of(&params))?;
        let server_tools = tools.of_the_provider();
        let forced = tools.choice(params.get("tool_choice"), &rules, thought)?;
        let format = rules.format(&params)?;

        let mut prefix = Prefix::new(model.min_cache_tokens);
        prefix.context(&[
            model_id.as_bytes(),
            format
                .as_ref()
                .map(Value::to_string)
                .unwrap_or_default()
                .as_bytes(),
        ]);
        prefix.add_tokens(
            tokens::PER_REQUEST
                + format
                    .as_ref()
                    .map_or(0, |f| tokens::count(model.tokenizer, &f.to_string())),
        );
        tools.into_prefix(&mut prefix, &model, params.get("tool_choice"))?;
        let system = read_system(params.get("system"), &mut prefix, model.tokenizer)?;
        let other = ["tool_choice", "thinking"]
            .map(|key| params.get(key).map(Value::to_string).unwrap_or_default());
        prefix.context(&[
            other[0].as_bytes(),
            other[1].as_bytes(),
            effort.as_deref().unwrap_or_default().as_bytes(),
        ]);

        let shape = match (format, forced) {
            (Some(schema), _) => Shape::Json(schema),
            (None, Some(callable)) => Shape::Tools(callable),
            (None, None) => Shape::Free,
        };
        Ok(Head {
            max_tokens,
            thought,
            effort,
            shape,
            labels: labels::find(&system),
            form: forms::find(&system),
            server_tools,
            stop_sequences: params.texts("stop_sequences")?,
            inference_geo: params
                .get("inference_geo")
                .and_then(Value::as_str)
                .map(str::to_owned),
            automatic_mark: Ttl::of(params.get("cache_control"), "")?,
            prefix,
            model,
            model_id,
        })
    }

    fn model(&self, params: &Params) -> Result<(String, Model), Refusal> {
        let name = params
            .get("model")
            .ok_or_else(|| Refusal::invalid("model: Field required"))?;
        let name = name
            .as_str()
            .ok_or_else(|| Refusal::invalid("model: Input should be a valid string"))?;
        match self.catalog.model(name) {
            Some((id, model)) => Ok((id.to_owned(), model.clone())),
            None => Err(Refusal::not_found(format!("model: {name}"))),
        }
    }
}

/// Takes `params` apart without looking into the values.
fn split(params: &str) -> Result<Fields<'_>, Refusal> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Fields<'de>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::with_capacity(12);
            while let Some(key) = map.next_key::<Key<'de>>()? {
                fields.push((key.0, map.next_value()?));
            }
            Ok(fields)
        }
    }
    #[derive(serde::Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

    let mut deserializer = serde_json::Deserializer::from_str(params);
    let fields = serde::Deserializer::deserialize_map(&mut deserializer, Visitor)
        .and_then(|f| deserializer.end().map(|()| f));
    fields.map_err(|e| {
        let text = e.to_string();
        Refusal::invalid(format!(
            "The request body is not valid JSON: {}",
            text.split(" at line ").next().unwrap_or_default()
        ))
    })
}

fn fingerprint(fields: &Fields<'_>, terms: Terms<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[
        terms.purpose as u8,
        u8::from(terms.new_version),
        u8::try_from(terms.betas.len()).unwrap_or(u8::MAX),
    ]);
    for beta in terms.betas {
        hasher
            .update(&(beta.len() as u64).to_le_bytes())
            .update(beta.as_bytes());
    }
    for (key, value) in fields.iter().filter(|(key, _)| key != "messages") {
        for part in [key.as_bytes(), value.get().as_bytes()] {
            hasher
                .update(&(part.len() as u64).to_le_bytes())
                .update(part);
        }
    }
    *hasher.finalize().as_bytes()
}

/// The parameters without `messages`, as values; `null` stands for absent where the API takes it
/// so.
struct Params(serde_json::Map<String, Value>);

impl Params {
    fn read(fields: &Fields<'_>) -> Result<Params, Refusal> {
        let mut map = serde_json::Map::new();
        for (key, raw) in fields.iter().filter(|(key, _)| key != "messages") {
            let value = serde_json::from_str(raw.get())
                .map_err(|e| Refusal::invalid(format!("{key}: {e}")))?;
            map.insert(key.clone().into_owned(), value);
        }
        Ok(Params(map))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let is_nullable = || parameters::parameter(key).is_some_and(|parameter| parameter.nullable);
        self.0
            .get(key)
            .filter(|value| !(value.is_null() && is_nullable()))
    }

    /// Refuses what is not taken here, by the table that `check` goes by. A name that is not in it
    /// and no slip may be newer than the table.
    fn check_names(&self, terms: Terms<'_>) -> Result<(), Refusal> {
        let extra = |key: &str| {
            let short: String = key.chars().take(60).collect();
            Err(Refusal::invalid(format!(
                "{short}: Extra inputs are not permitted"
            )))
        };
        for key in self.0.keys() {
            let Some(parameter) = parameters::parameter(key) else {
                if parameters::meant(key).is_some() {
                    return extra(key);
                }
                continue;
            };
            let is_refused =
                terms.purpose == Purpose::Batch && matches!(parameter.batch, InBatch::Refused(..));
            if is_refused && parameter.message && self.get(key).is_some() {
                return Err(Refusal::invalid(format!(
                    "{key}: `{key}` is not supported in message batches"
                )));
            }
            let is_taken = if terms.purpose == Purpose::Count {
                parameter.count
            } else {
                parameter.message
            };
            if !is_taken
                || (self.get(key).is_some() && !parameters::has_beta(parameter.betas, terms.betas))
            {
                return extra(key);
            }
        }
        Ok(())
    }

    fn check_small_ones(&self, rules: &Rules<'_>) -> Result<(), Refusal> {
        let bad = |key: &str, what: &str| Err(Refusal::invalid(format!("{key}: {what}")));
        match self.get("stream") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) if rules.terms.purpose == Purpose::Batch => {
                return bad("stream", "`stream` is not supported in message batches");
            }
            Some(Value::Bool(true)) => return bad("stream", "the simulator does not stream"),
            Some(_) => return bad("stream", "Input should be a valid boolean"),
        }
        match self.get("inference_geo").map(Value::as_str) {
            None => {}
            Some(Some("global" | "us")) if parameters::takes(rules.model, "inference_geo") => {}
            Some(Some("global" | "us")) => {
                return bad(
                    "inference_geo",
                    "`inference_geo` is not supported on this model",
                );
            }
            Some(_) => return bad("inference_geo", "Input should be 'global' or 'us'"),
        }
        match self.get("service_tier").map(Value::as_str) {
            None | Some(Some("auto" | "standard_only")) => {}
            Some(_) => return bad("service_tier", "Input should be 'auto' or 'standard_only'"),
        }
        if let Some(metadata) = self.get("metadata") {
            let Value::Object(fields) = metadata else {
                return bad("metadata", "Input should be a valid dictionary");
            };
            if let Some(extra) = fields.keys().find(|key| *key != "user_id") {
                return bad(
                    &format!("metadata.{extra}"),
                    "Extra inputs are not permitted",
                );
            }
        }
        if let Some(why) = self.get("compaction").and_then(parameters::compaction) {
            return bad("compaction", why);
        }
        if self.get("compaction").is_some() && self.get("context_management").is_some() {
            return bad("compaction", "cannot be combined with `context_management`");
        }
        let bill_to = self
            .get("billing_policy")
            .and_then(|policy| policy.get("bill_to"));
        if bill_to.and_then(Value::as_str) == Some("user_profile")
            && rules.terms.purpose == Purpose::Batch
        {
            return bad(
                "billing_policy.bill_to",
                "`user_profile` is not supported in message batches",
            );
        }
        Ok(())
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Refusal> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let bad = || Refusal::invalid(format!("{key}: Input should be a valid list of strings"));
        let texts: Vec<String> = value
            .as_array()
            .ok_or_else(bad)?
            .iter()
            .map(|v| v.as_str().map(str::to_owned).ok_or_else(bad))
            .collect::<Result<_, _>>()?;
        match texts.iter().position(|text| text.trim().is_empty()) {
            Some(n) => Err(Refusal::invalid(format!(
                "{key}.{n}: each stop sequence must contain non-whitespace"
            ))),
            None => Ok(texts),
        }
    }
}

/// What one model takes under the terms of one call.
struct Rules<'a> {
    id: &'a str,
    model: &'a Model,
    terms: Terms<'a>,
}

impl Rules<'_> {
    fn max_tokens(&self, value: Option<&Value>) -> Result<u64, Refusal> {
        if self.terms.purpose == Purpose::Count {
            return Ok(u64::MAX);
        }
        let value = value.ok_or_else(|| Refusal::invalid("max_tokens: Field required"))?;
        let wanted = value
            .as_i64()
            .ok_or_else(|| Refusal::invalid("max_tokens: Input should be a valid integer"))?;
        let least = if self.terms.purpose == Purpose::Batch {
            1
        } else {
            0
        };
        if wanted < least {
            return Err(Refusal::invalid(format!(
                "max_tokens: Input should be greater than or equal to {least}"
            )));
        }
        let wanted = wanted.unsigned_abs();
        let longer = self
            .model
            .max_batch_output_tokens
            .filter(|_| self.terms.has_beta(LONG_OUTPUT) && self.terms.purpose == Purpose::Batch);
        let most = longer.unwrap_or(self.model.max_output_tokens);
        if wanted > most {
            let text = format!(
                "max_tokens: {wanted} > {most}, which is the maximum allowed number of output \
                 tokens for {}",
                self.id
            );
            return Err(Refusal::invalid(text));
        }
        Ok(wanted)
    }

    /// Under 2026-10-21 the parameters do not exist; before that, newer models refuse all but their
    /// defaults.
    fn sampling(&self, params: &Params) -> Result<(), Refusal> {
        let ranges = [
            ("temperature", 0.0, 1.0, Some(1.0)),
            ("top_p", 0.0, 1.0, None),
            ("top_k", 0.0, 500.0, None),
        ];
        for (key, least, most, default) in ranges {
            let Some(value) = params.get(key) else {
                continue;
            };
            if self.terms.new_version {
                return Err(Refusal::invalid(format!(
                    "{key}: Extra inputs are not permitted"
                )));
            }
            let number = value.as_f64().ok_or_else(|| {
                Refusal::invalid(format!("{key}: Input should be a valid number"))
            })?;
            if number < least || number > most {
                return Err(Refusal::invalid(format!("{key}: range: {least}..{most}")));
            }
            if !self.model.sampling && default != Some(number) {
                return Err(Refusal::invalid(format!(
                    "{key}: `{key}` is not supported on this model"
                )));
            }
        }
        if params.get("temperature").is_some()
            && params.get("top_p").is_some()
            && self.model.sampling
        {
            let text = "`temperature` and `top_p` cannot both be specified for this model. Please \
                use only one.";
            return Err(Refusal::invalid(text));
        }
        Ok(())
    }

    fn effort(&self, params: &Params) -> Result<Option<String>, Refusal> {
        let Some(config) = params.get("output_config") else {
            return Ok(None);
        };
        let Value::Object(fields) = config else {
            return Err(Refusal::invalid(
                "output_config: Input should be a valid dictionary",
            ));
        };
        for (key, betas) in OUTPUT_CONFIG {
            if fields.contains_key(*key) && !parameters::has_beta(betas, self.terms.betas) {
                return Err(Refusal::invalid(format!(
                    "output_config.{key}: Extra inputs are not permitted"
                )));
            }
        }
        if let Some(why) = fields
            .get("task_budget")
            .filter(|v| !v.is_null())
            .and_then(parameters::task_budget)
        {
            return Err(Refusal::invalid(format!(
                "output_config.task_budget: {why}"
            )));
        }
        let Some(effort) = fields.get("effort").filter(|v| !v.is_null()) else {
            return Ok(None);
        };
        if self.model.effort.is_empty() {
            return Err(Refusal::invalid(
                "output_config.effort: This model does not support the effort parameter.",
            ));
        }
        match effort.as_str() {
            Some(level) if self.model.effort.iter().any(|known| known == level) => {
                Ok(Some(level.to_owned()))
            }
            _ => Err(Refusal::invalid(format!(
                "output_config.effort: Input should be one of '{}'",
                self.model.effort.join("', '")
            ))),
        }
    }

    fn thinking(
        &self,
        value: Option<&Value>,
        max_tokens: u64,
        effort: Option<&str>,
    ) -> Result<Option<Thought>, Refusal> {
        let shown_by_default = self.model.tokenizer == Tokenizer::First;
        let by_default = matches!(
            self.model.thinking,
            Thinking::AdaptiveDefault | Thinking::Always
        );
        let Some(value) = value else {
            return Ok(by_default.then_some(Thought {
                budget: None,
                shown: false,
            }));
        };
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let display = value.get("display").and_then(Value::as_str);
        if display.is_some_and(|display| !matches!(display, "summarized" | "omitted")) {
            return Err(Refusal::invalid(format!(
                "thinking.{kind}.display: Input should be 'summarized' or 'omitted'"
            )));
        }
        for (key, kinds) in [
            ("budget_tokens", &["enabled"][..]),
            ("display", &["adaptive", "enabled"]),
        ] {
            if value.get(key).is_some() && !kinds.contains(&kind) {
                return Err(Refusal::invalid(format!(
                    "thinking.{kind}.{key}: Extra inputs are not permitted"
                )));
            }
        }
        let shown = display.map_or(shown_by_default, |display| display == "summarized");
        let refuse = |what: &str| Err(Refusal::invalid(format!("thinking.type: {what}")));
        let is_refused = self
            .model
            .thinking_refused
            .iter()
            .any(|refused| refused == kind);
        if is_refused || (kind == "between_tools" && !self.model.between_tools) {
            return refuse(&format!("`{kind}` is not supported on this model"));
        }
        match kind {
            "adaptive" => Ok(Some(Thought {
                budget: None,
                shown,
            })),
            "enabled" => self.budget(value, max_tokens, shown).map(Some),
            "disabled" | "between_tools" if self.is_too_eager(effort) => {
                refuse("thinking can only be disabled at effort high or below on this model")
            }
            "disabled" | "between_tools" => Ok(None),
            _ => refuse(
                "Input tag does not match any of the expected tags: 'adaptive', 'between_tools', \
                 'disabled', 'enabled'",
            ),
        }
    }

    /// Whether thinking cannot be off at this effort.
    fn is_too_eager(&self, effort: Option<&str>) -> bool {
        let levels = &self.model.thinking_off_effort;
        !levels.is_empty()
            && effort.is_some_and(|effort| !levels.iter().any(|level| level == effort))
    }

    fn budget(&self, value: &Value, max_tokens: u64, shown: bool) -> Result<Thought, Refusal> {
        let budget = value
            .get("budget_tokens")
            .ok_or_else(|| Refusal::invalid("thinking.enabled.budget_tokens: Field required"))?;
        match budget.as_u64() {
            Some(budget) if budget < 1_024 => Err(Refusal::invalid(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            )),
            Some(budget) if budget >= max_tokens => Err(Refusal::invalid(
                "`max_tokens` must be greater than `thinking.budget_tokens`.",
            )),
            Some(budget) => Ok(Thought {
                budget: Some(budget),
                shown,
            }),
            None => Err(Refusal::invalid(
                "thinking.enabled.budget_tokens: Input should be a valid integer",
            )),
        }
    }

    fn format(&self, params: &Params) -> Result<Option<Value>, Refusal> {
        let new = params
            .get("output_config")
            .and_then(|config| config.get("format"))
            .filter(|v| !v.is_null());
        let (format, path) = match (new, params.get("output_format")) {
            (Some(format), _) => (format, "output_config.format"),
            (None, Some(format)) if !format.is_null() => (format, "output_format"),
            _ => return Ok(None),
        };
        if !self.model.structured_output {
            return Err(Refusal::invalid(format!(
                "{path}: structured output is not supported on this model"
            )));
        }
        if format.get("type").and_then(Value::as_str) != Some("json_schema") {
            return Err(Refusal::invalid(format!(
                "{path}.type: Input should be 'json_schema'"
            )));
        }
        let schema = format
            .get("schema")
            .ok_or_else(|| Refusal::invalid(format!("{path}.schema: Field required")))?;
        match problem(schema) {
            Some(problem) => Err(Refusal::invalid(format!("{path}.schema{problem}"))),
            None => Ok(Some(schema.clone())),
        }
    }
}

/// What the API would refuse in a schema, with its place.
fn problem(schema: &Value) -> Option<String> {
    let finding = schema::check(schema).into_iter().next()?;
    let keyword = if finding.keyword.is_empty() {
        String::new()
    } else {
        format!("`{}`: ", finding.keyword)
    };
    Some(format!(
        "{}: {keyword}{}",
        finding.pointer.replace('/', "."),
        finding.why
    ))
}

/// The schema that answers are held to, where there is one.
fn format_of(params: &Params) -> Option<&Value> {
    params.get("output_config")?.get("format")?.get("schema")
}

/// The tools of a request.
struct Tools<'a>(&'a [Value]);

impl<'a> Tools<'a> {
    fn read(value: Option<&'a Value>) -> Result<Tools<'a>, Refusal> {
        let tools = match value {
            None => return Ok(Tools(&[])),
            Some(Value::Array(tools)) => tools,
            Some(_) => return Err(Refusal::invalid("tools: Input should be a valid list")),
        };
        let mut names = std::collections::BTreeSet::new();
        for (n, tool) in tools.iter().enumerate() {
            let name = check_tool(n, tool)?;
            if !names.insert(name) {
                return Err(Refusal::invalid("tools: Tool names must be unique."));
            }
        }
        if tools
            .iter()
            .filter(|tool| tool.get("strict") == Some(&Value::Bool(true)))
            .count()
            > 20
        {
            return Err(Refusal::invalid(
                "tools: at most 20 strict tools are allowed",
            ));
        }
        Ok(Tools(tools))
    }

    /// Tools that the model does not take, and advisors.
    fn check_models(&self, rules: &Rules<'_>, catalog: &Catalog) -> Result<(), Refusal> {
        for (n, tool) in self
            .0
            .iter()
            .enumerate()
            .filter(|(_, tool)| !is_custom(tool))
        {
            if let Some((why, _)) = tools::refused_by(rules.id, rules.model, tool) {
                return Err(Refusal::invalid(format!("tools.{n}: the request {why}")));
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
                return Err(Refusal::not_found(format!("model: {name}")));
            }
        }
        Ok(())
    }

    /// The limits over all schemas of a request.
    fn check_schemas(&self, format: Option<&Value>) -> Result<(), Refusal> {
        let strict = self
            .0
            .iter()
            .filter(|tool| is_custom(tool) && tool.get("strict") == Some(&Value::Bool(true)));
        match schema::too_much(
            strict
                .filter_map(|tool| tool.get("input_schema"))
                .chain(format),
        ) {
            Some(what) => Err(Refusal::invalid(format!("tools: the schemas have {what}"))),
            None => Ok(()),
        }
    }

    /// Tools that the provider runs.
    fn of_the_provider(&self) -> Vec<(&'static str, u64)> {
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
    fn choice(
        &self,
        choice: Option<&Value>,
        rules: &Rules<'_>,
        thought: Option<Thought>,
    ) -> Result<Option<Callable>, Refusal> {
        let parallel = choice.and_then(|choice| choice.get("disable_parallel_tool_use"))
            != Some(&Value::Bool(true));
        let callable = |tools: Vec<(String, Value)>| {
            (!tools.is_empty()).then_some(Callable { tools, parallel })
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
            return Err(Refusal::invalid(
                "tool_choice: may only be specified while providing tools",
            ));
        }
        let kind = choice
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if matches!(kind, "any" | "tool") {
            if !rules.model.forced_tools {
                return Err(Refusal::invalid(format!(
                    "tool_choice.type: `{kind}` is not supported on this model; use `auto`"
                )));
            }
            if thought.is_some_and(|t| t.budget.is_some()) {
                return Err(Refusal::invalid(
                    "Thinking may not be enabled when tool_choice forces tool use.",
                ));
            }
        }
        match kind {
            "none" if choice.get("disable_parallel_tool_use").is_some() => Err(Refusal::invalid(
                "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted",
            )),
            "none" => Ok(None),
            "auto" | "any" => Ok(own()),
            "tool" => {
                let name = choice.get("name").and_then(Value::as_str);
                let name =
                    name.ok_or_else(|| Refusal::invalid("tool_choice.tool.name: Field required"))?;
                let found = self
                    .0
                    .iter()
                    .find(|tool| tool.get("name").and_then(Value::as_str) == Some(name));
                found
                    .map(|tool| callable(vec![call_of(tool)]))
                    .ok_or_else(|| {
                        Refusal::invalid(format!("Tool '{name}' not found in provided tools"))
                    })
            }
            _ => Err(Refusal::invalid(
                "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', \
                 'tool', 'none'",
            )),
        }
    }

    fn into_prefix(
        self,
        prefix: &mut Prefix,
        model: &Model,
        choice: Option<&Value>,
    ) -> Result<(), Refusal> {
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

fn check_tool(n: usize, tool: &Value) -> Result<&str, Refusal> {
    let bad = |path: &str, what: &str| Err(Refusal::invalid(format!("tools.{n}{path}: {what}")));
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
        && let Some(problem) = problem(input_schema)
    {
        return Err(Refusal::invalid(format!(
            "tools.{n}.custom.input_schema{problem}"
        )));
    }
    Ok(name)
}

/// The system prompt: its text, and its blocks in the prefix.
fn read_system(
    value: Option<&Value>,
    prefix: &mut Prefix,
    tokenizer: Tokenizer,
) -> Result<String, Refusal> {
    let blocks = match value {
        None => return Ok(String::new()),
        Some(Value::String(text)) => {
            prefix.block(
                "system",
                text.as_bytes(),
                tokens::count(tokenizer, text),
                None,
                "system",
            )?;
            return Ok(text.clone());
        }
        Some(Value::Array(blocks)) => blocks,
        Some(_) => {
            return Err(Refusal::invalid(
                "system: Input should be a valid string or list",
            ));
        }
    };
    let mut whole = String::new();
    for (n, block) in blocks.iter().enumerate() {
        let path = format!("system.{n}");
        if block.get("type").and_then(Value::as_str) != Some("text") {
            return Err(Refusal::invalid(format!(
                "{path}.type: Input should be 'text'"
            )));
        }
        let text = block.get("text").and_then(Value::as_str);
        let text = text.ok_or_else(|| Refusal::invalid(format!("{path}.text: Field required")))?;
        let mark = Ttl::of(block.get("cache_control"), &format!("{path}."))?;
        match (text.is_empty(), mark) {
            (true, Some(_)) => {
                return Err(Refusal::invalid(format!(
                    "{path}.cache_control: cache_control cannot be set for empty text blocks"
                )));
            }
            (true, None) => {
                return Err(Refusal::invalid(
                    "system: text content blocks must be non-empty",
                ));
            }
            _ => {}
        }
        messages::only_keys(
            block,
            &["type", "text", "cache_control", "citations"],
            &path,
        )?;
        prefix.block(
            "system",
            text.as_bytes(),
            tokens::count(tokenizer, text),
            mark,
            &path,
        )?;
        whole.push_str(text);
        whole.push('\n');
    }
    Ok(whole)
}
