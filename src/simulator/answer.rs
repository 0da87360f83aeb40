//! What the simulated model says, and the message it says it in.
//!
//! The answer fits the request: a value of the schema, a call of the tool, one of the labels the
//! prompt names, or a short sentence from the prompt's own words. It depends on the seed, the
//! custom_id and the bytes of `params` alone, so the same request gets the same answer in every
//! batch and every process.

use serde::Serialize;
use serde_json::Value;

use super::cache::CachedTokens;
use super::instance::InstanceGenerator;
use super::params::{AnswerFormat, CallableTools, ParsedRequest};
use super::reply::opaque_id;
use super::tokens;
use super::{forms, labels};

/// Words of the prompt that an answer is made from.
const MAX_WORDS: usize = 120;

/// One message, as on the wire.
#[derive(Debug, Serialize)]
pub(super) struct SimMessage<'a> {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) role: &'static str,
    pub(super) model: &'a str,
    pub(super) content: Vec<AnswerBlock>,
    pub(super) stop_reason: &'static str,
    pub(super) stop_sequence: Option<String>,
    pub(super) stop_details: Option<SimStopDetails>,
    pub(super) usage: SimUsage,
}

/// One block of an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum AnswerBlock {
    Thinking {
        thinking: String,
        signature: String,
    },
    Text {
        text: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Value>,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ServerToolUse {
        id: String,
        name: &'static str,
        input: Value,
    },
    /// What a tool of the provider gave back; its type is in it.
    #[serde(untagged)]
    ServerToolResult(Value),
}

/// Why a model declined.
#[derive(Debug, Serialize)]
pub(super) struct SimStopDetails {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) category: &'static str,
    pub(super) explanation: &'static str,
}

/// Tokens by kind.
#[derive(Debug, Serialize)]
pub(super) struct SimUsage {
    pub(super) input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation: WrittenTokens,
    pub(super) output_tokens: u64,
    pub(super) output_tokens_details: ThinkingDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_tool_use: Option<ServerToolCounts>,
    pub(super) service_tier: &'static str,
    pub(super) inference_geo: String,
}

/// Uses of the provider's own tools.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct ServerToolCounts {
    pub(super) web_search_requests: u64,
    pub(super) web_fetch_requests: u64,
    pub(super) code_execution_requests: u64,
}

/// Written tokens by lifetime.
#[derive(Debug, Serialize)]
pub(super) struct WrittenTokens {
    pub(super) ephemeral_5m_input_tokens: u64,
    pub(super) ephemeral_1h_input_tokens: u64,
}

/// The part of the output that was thinking.
#[derive(Debug, Serialize)]
pub(super) struct ThinkingDetails {
    pub(super) thinking_tokens: u64,
}

/// A way in which an answer goes wrong on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerFault {
    Refused,
    Truncated,
    Paused,
    Empty,
    Recased,
    NotJson,
}

/// Answers one request.
pub(super) fn message<'a>(
    request: &'a ParsedRequest,
    seed: &AnswerSeed,
    charge: CachedTokens,
    tier: &'static str,
    fault: Option<AnswerFault>,
) -> SimMessage<'a> {
    let head = &request.head;
    let mut answer = AnswerBuilder::compose(request, seed, fault);
    if let Some(fault) = fault {
        answer.apply_fault(fault, request);
    }
    let cached = charge.read + charge.written_5m + charge.written_1h;
    let usage = SimUsage {
        input_tokens: request.row.input_tokens.saturating_sub(cached),
        cache_creation_input_tokens: charge.written_5m + charge.written_1h,
        cache_read_input_tokens: charge.read,
        cache_creation: WrittenTokens {
            ephemeral_5m_input_tokens: charge.written_5m,
            ephemeral_1h_input_tokens: charge.written_1h,
        },
        output_tokens: answer.output_tokens,
        output_tokens_details: ThinkingDetails {
            thinking_tokens: answer.thinking_tokens,
        },
        server_tool_use: answer.server_tool_use,
        service_tier: tier,
        inference_geo: head
            .inference_geo
            .clone()
            .unwrap_or_else(|| "global".to_owned()),
    };
    let refused = fault == Some(AnswerFault::Refused);
    SimMessage {
        id: opaque_id("msg_", &[&seed.key]),
        kind: "message",
        role: "assistant",
        model: &head.model_id,
        content: answer.content,
        stop_reason: answer.stop_reason,
        stop_sequence: answer.stop_sequence,
        stop_details: refused.then_some(SimStopDetails {
            kind: "refusal",
            category: "general_harms",
            explanation: "The simulator was asked to refuse this request.",
        }),
        usage,
    }
}

/// The randomness of one request.
pub(super) struct AnswerSeed {
    key: [u8; 32],
}

impl AnswerSeed {
    /// From all that an answer may depend on.
    pub(super) fn new(seed: u64, custom_id: &str, params: &str) -> AnswerSeed {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher
            .update(&(custom_id.len() as u64).to_le_bytes())
            .update(custom_id.as_bytes())
            .update(params.as_bytes());
        AnswerSeed {
            key: *hasher.finalize().as_bytes(),
        }
    }

    fn rng(&self) -> fastrand::Rng {
        let mut first = [0; 8];
        first.copy_from_slice(&self.key[..8]);
        fastrand::Rng::with_seed(u64::from_le_bytes(first))
    }
}

struct AnswerBuilder {
    content: Vec<AnswerBlock>,
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    output_tokens: u64,
    thinking_tokens: u64,
    server_tool_use: Option<ServerToolCounts>,
}

impl AnswerBuilder {
    fn compose(
        request: &ParsedRequest,
        seed: &AnswerSeed,
        fault: Option<AnswerFault>,
    ) -> AnswerBuilder {
        let mut rng = seed.rng();
        let limit = OutputLimit::of(request);
        let mut answer = AnswerBuilder {
            content: Vec::new(),
            stop_reason: "end_turn",
            stop_sequence: None,
            output_tokens: 0,
            thinking_tokens: 0,
            server_tool_use: None,
        };
        answer.think(request, &mut rng, limit.tokens);
        answer.use_server_tools(request, seed, &mut rng);
        let left = limit.tokens - answer.output_tokens;
        if left == 0 {
            answer.stop_reason = limit.full;
            return answer;
        }
        let spelled = |text: String| {
            if fault == Some(AnswerFault::Recased) {
                recased(&text)
            } else {
                text
            }
        };
        match compose_content(request, &mut rng) {
            AnswerContent::ToolCalls(calls) => {
                for (n, (name, input)) in (0..).zip(calls) {
                    let input = serde_json::from_str(&spelled(input.to_string())).unwrap_or(input);
                    answer.call(name, input, &[&seed.key, &[n]], &limit, request);
                }
            }
            AnswerContent::Text(text) => {
                answer.add_text(spelled(text), left, limit.full, request);
                answer.cite(request, &mut rng);
            }
        }
        answer
    }

    /// Uses every tool of the provider, up to as often as the request allows.
    fn use_server_tools(
        &mut self,
        request: &ParsedRequest,
        seed: &AnswerSeed,
        rng: &mut fastrand::Rng,
    ) {
        for (tool, &(name, most)) in (0_u8..).zip(&request.head.server_tools) {
            let uses = rng.u64(1..=3).min(most);
            let counts = self.server_tool_use.get_or_insert_default();
            match name {
                "web_search" => counts.web_search_requests += uses,
                "web_fetch" => counts.web_fetch_requests += uses,
                _ => counts.code_execution_requests += uses,
            }
            for n in 0..uses {
                let id = opaque_id("srvtoolu_", &[&seed.key, &[tool], &n.to_le_bytes()]);
                let (input, result) = server_tool_use(name, &words(&request.row.text), rng);
                let result = serde_json::json!({"type": format!("{name}_tool_result"), "tool_use_id": &id, "content": result});
                self.content
                    .push(AnswerBlock::ServerToolUse { id, name, input });
                self.content.push(AnswerBlock::ServerToolResult(result));
            }
        }
    }

    /// Thinks as much as the effort suggests; it counts against `max_tokens`.
    fn think(&mut self, request: &ParsedRequest, rng: &mut fastrand::Rng, most: u64) {
        let Some(mode) = request.head.thinking else {
            return;
        };
        let factor = match request.head.effort.as_deref() {
            Some("low") => 1,
            Some("medium") => 2,
            Some("xhigh") => 6,
            Some("max") => 8,
            _ => 4,
        };
        let wanted = rng.u64(15..=120) * factor;
        let tokens = wanted.min(mode.budget.unwrap_or(u64::MAX)).min(most);
        let signature = format!("sim{:032x}{:032x}", rng.u128(..), rng.u128(..));
        let thinking = if mode.shown {
            let phrase = InstanceGenerator {
                root: &Value::Null,
                words: &words(&request.row.text),
                rng,
            }
            .phrase(2, 8);
            format!("The prompt speaks of \"{phrase}\". The answer follows from that.")
        } else {
            String::new()
        };
        self.content.push(AnswerBlock::Thinking {
            thinking,
            signature,
        });
        self.thinking_tokens = tokens;
        self.output_tokens = tokens;
    }

    fn call(
        &mut self,
        name: String,
        input: Value,
        key: &[&[u8]],
        limit: &OutputLimit,
        request: &ParsedRequest,
    ) {
        if self.stop_reason == limit.full {
            return;
        }
        let left = limit.tokens.saturating_sub(self.output_tokens);
        let tokens = tokens::count(request.head.model.tokenizer, &input.to_string()) + 12;
        let fits = tokens <= left;
        let id = opaque_id("toolu_", key);
        self.content.push(AnswerBlock::ToolUse {
            id,
            name,
            input: if fits {
                input
            } else {
                Value::Object(serde_json::Map::new())
            },
        });
        self.stop_reason = if fits { "tool_use" } else { limit.full };
        self.output_tokens += tokens.min(left);
    }

    /// Cuts the text where the API would: what cites a document is a block of its own.
    fn cite(&mut self, request: &ParsedRequest, rng: &mut fastrand::Rng) {
        let documents = &request.row.cited;
        let Some(AnswerBlock::Text { text, .. }) = self.content.last_mut() else {
            return;
        };
        if documents.is_empty() {
            return;
        }
        let half = (text.len() / 2..text.len())
            .find(|&at| text.as_bytes()[at] == b' ')
            .unwrap_or(0);
        let cited = text.split_off(half);
        if text.is_empty() {
            self.content.pop();
        }
        let citations = vec![documents[rng.usize(..documents.len())].citation(rng)];
        self.content.push(AnswerBlock::Text {
            text: cited,
            citations,
        });
    }

    fn add_text(
        &mut self,
        mut text: String,
        left: u64,
        full: &'static str,
        request: &ParsedRequest,
    ) {
        let tokenizer = request.head.model.tokenizer;
        let first_stop = request
            .head
            .stop_sequences
            .iter()
            .filter_map(|stop| Some((text.find(stop.as_str())?, stop)))
            .min();
        if let Some((at, stop)) = first_stop {
            self.stop_sequence = Some(stop.clone());
            self.stop_reason = "stop_sequence";
            text.truncate(at);
        }
        let whole = tokens::cut(tokenizer, &text, left).len();
        if whole < text.len() {
            text.truncate(whole);
            self.stop_sequence = None;
            self.stop_reason = full;
            self.output_tokens += left;
        } else {
            self.output_tokens += tokens::count(tokenizer, &text).max(1);
        }
        if !text.is_empty() {
            self.content.push(AnswerBlock::Text {
                text,
                citations: Vec::new(),
            });
        }
    }

    fn apply_fault(&mut self, fault: AnswerFault, request: &ParsedRequest) {
        match fault {
            AnswerFault::Refused => {
                self.content.clear();
                self.stop_reason = "refusal";
                self.output_tokens = 1;
                self.thinking_tokens = 0;
                self.server_tool_use = None;
            }
            AnswerFault::Truncated => {
                self.halve();
                self.stop_reason = "max_tokens";
                self.output_tokens = request.head.max_tokens;
            }
            AnswerFault::Paused => {
                self.halve();
                self.stop_reason = "pause_turn";
            }
            AnswerFault::Empty => {
                self.content.clear();
                self.stop_reason = "end_turn";
                self.output_tokens = 1;
                self.thinking_tokens = 0;
            }
            AnswerFault::NotJson => match self.content.last_mut() {
                Some(AnswerBlock::Text { text, .. }) => text.insert_str(0, "Here it is: "),
                Some(AnswerBlock::ToolUse { input, .. }) => *input = Value::from("Here it is"),
                _ => {}
            },
            AnswerFault::Recased => {}
        }
    }

    fn halve(&mut self) {
        match self.content.last_mut() {
            Some(AnswerBlock::Text { text, .. }) => {
                let half = (0..=text.len() / 2)
                    .rev()
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(0);
                text.truncate(half);
            }
            Some(AnswerBlock::ToolUse { input, .. }) => {
                *input = Value::Object(serde_json::Map::new())
            }
            _ => {}
        }
    }
}

/// Tokens an answer may have, and what it says when they are used up.
struct OutputLimit {
    tokens: u64,
    full: &'static str,
}

impl OutputLimit {
    fn of(request: &ParsedRequest) -> OutputLimit {
        let window = request
            .head
            .model
            .context_tokens
            .saturating_sub(request.row.input_tokens);
        if window < request.head.max_tokens {
            OutputLimit {
                tokens: window,
                full: "model_context_window_exceeded",
            }
        } else {
            OutputLimit {
                tokens: request.head.max_tokens,
                full: "max_tokens",
            }
        }
    }
}

enum AnswerContent {
    Text(String),
    /// The name and the arguments of each.
    ToolCalls(Vec<(String, Value)>),
}

fn compose_content(request: &ParsedRequest, rng: &mut fastrand::Rng) -> AnswerContent {
    let words = words(&request.row.text);
    match &request.head.shape {
        AnswerFormat::Json(schema) => AnswerContent::Text(
            InstanceGenerator {
                root: schema,
                words: &words,
                rng,
            }
            .instance()
            .to_string(),
        ),
        AnswerFormat::Tools(CallableTools { tools, parallel }) => {
            // One call as a rule; where the request allows more, now and then two.
            let calls = if *parallel && rng.u8(..6) == 0 { 2 } else { 1 };
            let call = |rng: &mut fastrand::Rng| {
                let (name, input_schema) = &tools[rng.usize(..tools.len())];
                (
                    name.clone(),
                    InstanceGenerator {
                        root: input_schema,
                        words: &words,
                        rng,
                    }
                    .instance(),
                )
            };
            AnswerContent::ToolCalls((0..calls).map(|_| call(rng)).collect())
        }
        AnswerFormat::Free => AnswerContent::Text(free(request, &words, rng)),
    }
}

/// What a tool of the provider is asked, and what it gives back.
fn server_tool_use(name: &str, words: &[&str], rng: &mut fastrand::Rng) -> (Value, Value) {
    let phrase = InstanceGenerator {
        root: &Value::Null,
        words,
        rng,
    }
    .phrase(2, 6);
    let url = format!("https://example.com/{}", rng.u16(..));
    match name {
        "web_search" => (
            serde_json::json!({"query": phrase}),
            serde_json::json!([{"type": "web_search_result", "title": phrase, "url": url, "encrypted_content": "c2lt", "page_age": null}]),
        ),
        "web_fetch" => {
            let document = serde_json::json!({"type": "document", "title": phrase,
                "source": {"type": "text", "media_type": "text/plain", "data": phrase}});
            (
                serde_json::json!({"url": url}),
                serde_json::json!({"type": "web_fetch_result", "url": url, "content": document, "retrieved_at": null}),
            )
        }
        _ => (
            serde_json::json!({"code": format!("print({phrase:?})")}),
            serde_json::json!({"type": "code_execution_result", "stdout": format!("{phrase}\n"), "stderr": "", "return_code": 0, "content": []}),
        ),
    }
}

fn free(request: &ParsedRequest, words: &[&str], rng: &mut fastrand::Rng) -> String {
    if let Some(form) = request
        .head
        .form
        .clone()
        .or_else(|| forms::find(&request.row.text))
    {
        return forms::fill(&form, rng, |rng| {
            InstanceGenerator {
                root: &Value::Null,
                words,
                rng,
            }
            .phrase(1, 6)
        });
    }
    let found = match &request.head.labels {
        Some(labels) => Some(labels.clone()),
        None => labels::find(&request.row.text),
    };
    if let Some(labels) = found {
        return labels[rng.usize(..labels.len())].clone();
    }
    let mut sentence = InstanceGenerator {
        root: &Value::Null,
        words,
        rng,
    }
    .phrase(6, 24);
    if let Some(first) = sentence.chars().next() {
        sentence.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
    sentence.push('.');
    sentence
}

/// The words of a text, without marks around them.
fn words(text: &str) -> Vec<&str> {
    let bare = |word| str::trim_matches(word, |c: char| !c.is_alphanumeric());
    let words = text
        .split_whitespace()
        .map(bare)
        .filter(|word| !word.is_empty());
    // Text without spaces, such as Chinese, is one long word.
    words
        .map(|word| {
            word.char_indices()
                .nth(40)
                .map_or(word, |(end, _)| &word[..end])
        })
        .take(MAX_WORDS)
        .collect()
}

/// The same JSON with its texts in capitals: a documented liberty of the API with enum values.
fn recased(text: &str) -> String {
    fn walk(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.to_uppercase(),
            Value::Array(values) => values.iter_mut().for_each(walk),
            Value::Object(fields) => fields.values_mut().for_each(walk),
            _ => {}
        }
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            walk(&mut value);
            value.to_string()
        }
        Err(_) => text.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::catalog::{Catalog, Thinking};
    use crate::simulator::params::{CallContext, Endpoint, RequestReader};

    const CONTEXT: CallContext<'_> = CallContext {
        endpoint: Endpoint::Batch,
        new_version: true,
        betas: &[],
    };

    /// The message to a request with these members, as JSON.
    fn answer(id: &str, changes: &Value, fault: Option<AnswerFault>) -> Value {
        let mut catalog = Catalog::builtin().clone();
        let mut thinker = catalog.model("claude-haiku-4-5").unwrap().1.clone();
        thinker.aliases.clear();
        thinker.thinking = Thinking::Always;
        catalog.models.insert("thinker".to_owned(), thinker);
        let mut params = json!({
            "model": "claude-haiku-4-5", "max_tokens": 500,
            "messages": [{"role": "user", "content": "The printer on the third floor is out of \
                paper again."}]
        });
        params
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let params = params.to_string();
        let request = RequestReader::new(
            Arc::new(catalog),
            crate::simulator::files::FileStore::nowhere(),
        )
        .read(&params, CONTEXT)
        .map_err(|e| e.message)
        .unwrap();
        let message = message(
            &request,
            &AnswerSeed::new(1, id, &params),
            CachedTokens::default(),
            "batch",
            fault,
        );
        serde_json::to_value(message).unwrap()
    }

    fn text(message: &Value) -> &str {
        let blocks = message["content"].as_array().unwrap();
        blocks
            .iter()
            .find(|b| b["type"] == "text")
            .map_or("", |b| b["text"].as_str().unwrap())
    }

    #[test]
    fn says_the_same_to_the_same_request_and_something_else_to_others() {
        let free = json!({});
        assert_eq!(answer("a", &free, None), answer("a", &free, None));
        assert_ne!(
            answer("a", &free, None)["id"],
            answer("b", &free, None)["id"]
        );
        assert!(text(&answer("a", &free, None)).ends_with('.'));
    }

    #[test]
    fn chooses_among_the_labels_of_the_prompt() {
        let system = json!({"system": "Classify the ticket. Answer with one of: hardware, \
            software, other."});
        let answer: std::collections::BTreeSet<String> = (0..60)
            .map(|n| text(&answer(&n.to_string(), &system, None)).to_owned())
            .collect();
        assert_eq!(
            answer.into_iter().collect::<Vec<_>>(),
            ["hardware", "other", "software"]
        );
    }

    #[test]
    fn fits_the_schema_or_calls_the_tool() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["label", "why"],
            "properties": {"label": {"enum": ["a", "b"]}, "why": {"type": "string"}}});
        let format =
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
        let validator = jsonschema::validator_for(&schema).unwrap();
        let message = answer("a", &format, None);
        assert!(validator.is_valid(&serde_json::from_str(text(&message)).unwrap()));
        let tools = json!({"tools": [{"name": "file", "input_schema": schema}]});
        let message = answer("a", &tools, None);
        let call = &message["content"][0];
        assert_eq!(
            (&call["type"], &call["name"], &message["stop_reason"]),
            (&json!("tool_use"), &json!("file"), &json!("tool_use"))
        );
        assert!(validator.is_valid(&call["input"]));
    }

    #[test]
    fn calls_any_of_the_tools_and_now_and_then_two() {
        let schema =
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let tools = json!({"tools": [{"name": "a", "input_schema": schema}, {"name": "b", "input_schema": schema}]});
        let one = json!({"tools": tools["tools"], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}});
        let calls = |message: &Value| {
            let blocks = message["content"].as_array().unwrap();
            blocks
                .iter()
                .map(|block| block["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let answer: Vec<_> = (0..60)
            .map(|n| calls(&answer(&n.to_string(), &tools, None)))
            .collect();
        assert!(
            answer.iter().any(|calls| calls.len() == 2)
                && answer.iter().any(|calls| calls == &["a"])
        );
        assert!(answer.iter().any(|calls| calls == &["b"]));
        assert!((0..60).all(|n| calls(&answer(&n.to_string(), &one, None)).len() == 1));
    }

    #[test]
    fn uses_the_tools_of_the_provider_and_counts_them() {
        let tools = json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1},
            {"type": "code_execution_20250825", "name": "code_execution"}]});
        let message = answer("a", &tools, None);
        let uses = &message["usage"]["server_tool_use"];
        assert_eq!(
            (&uses["web_search_requests"], &uses["web_fetch_requests"]),
            (&json!(1), &json!(0))
        );
        let kinds: Vec<_> = message["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds[..3],
            [
                "server_tool_use",
                "web_search_tool_result",
                "server_tool_use"
            ]
        );
        assert_eq!(kinds.last(), Some(&"text"));
        let code = uses["code_execution_requests"].as_u64().unwrap();
        assert_eq!(
            kinds
                .iter()
                .filter(|kind| **kind == "server_tool_use")
                .count() as u64,
            code + 1
        );
        assert_eq!(
            answer("a", &json!({}), None)["usage"].get("server_tool_use"),
            None
        );
    }

    #[test]
    fn cites_the_documents_that_may_be_cited() {
        let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Green is the \
            colour of hope."},
            "citations": {"enabled": true}});
        let asked = json!({"messages": [{"role": "user", "content": [document, {"type": "text", "text": "What is green, and why is \
            it so?"}]}]});
        let message = answer("a", &asked, None);
        let cited = message["content"].as_array().unwrap().last().unwrap();
        let citation = &cited["citations"][0];
        assert_eq!(citation["type"], "char_location");
        assert!("Green is the colour of hope.".contains(citation["cited_text"].as_str().unwrap()));
    }

    #[test]
    fn fills_in_the_form_of_the_prompt() {
        let system = json!({"system": "Sort it. Answer in this \
            form:\n{\"label\": \"<spam | ham>\", \"score\": <number>}"});
        let answer: Value = serde_json::from_str(text(&answer("a", &system, None))).unwrap();
        assert!(
            ["spam", "ham"].contains(&answer["label"].as_str().unwrap())
                && answer["score"].is_f64()
        );
    }

    #[test]
    fn a_thinking_model_thinks_first_and_pays_for_it() {
        let message = answer("a", &json!({"model": "thinker"}), None);
        assert_eq!(message["content"][0]["type"], "thinking");
        assert_eq!(message["content"][0]["thinking"], "");
        let thought = message["usage"]["output_tokens_details"]["thinking_tokens"]
            .as_u64()
            .unwrap();
        assert!(thought > 0 && thought < message["usage"]["output_tokens"].as_u64().unwrap());
        let shown = answer(
            "a",
            &json!({"max_tokens": 3_000, "thinking": {"type": "enabled", "budget_tokens": 1_024}}),
            None,
        );
        assert!(
            shown["content"][0]["thinking"]
                .as_str()
                .unwrap()
                .starts_with("The prompt speaks of ")
        );
        let starved = answer("a", &json!({"model": "thinker", "max_tokens": 10}), None);
        assert_eq!(
            (text(&starved), &starved["stop_reason"]),
            ("", &json!("max_tokens"))
        );
        assert_eq!(starved["usage"]["output_tokens"], 10);
    }

    #[test]
    fn is_cut_at_max_tokens_and_at_a_stop_sequence() {
        let whole = answer("a", &json!({}), None);
        let cut = answer("a", &json!({"max_tokens": 2}), None);
        assert_eq!(
            (&cut["stop_reason"], &cut["usage"]["output_tokens"]),
            (&json!("max_tokens"), &json!(2))
        );
        assert!(text(&cut).len() < text(&whole).len());
        let stopped = answer("a", &json!({"stop_sequences": ["."]}), None);
        assert_eq!(
            (&stopped["stop_reason"], &stopped["stop_sequence"]),
            (&json!("stop_sequence"), &json!("."))
        );
    }

    #[test]
    fn goes_wrong_as_asked() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["l"], "properties": {"l": {"const": "abc"}}});
        let format =
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
        let cases = [
            (AnswerFault::Refused, "refusal", ""),
            (AnswerFault::Truncated, "max_tokens", r#"{"l":"#),
            (AnswerFault::Paused, "pause_turn", r#"{"l":"#),
            (AnswerFault::Empty, "end_turn", ""),
            (AnswerFault::Recased, "end_turn", r#"{"l":"ABC"}"#),
            (
                AnswerFault::NotJson,
                "end_turn",
                r#"Here it is: {"l":"abc"}"#,
            ),
        ];
        for (fault, reason, expected) in cases {
            let message = answer("a", &format, Some(fault));
            assert_eq!(
                (message["stop_reason"].as_str().unwrap(), text(&message)),
                (reason, expected),
                "{fault:?}"
            );
        }
        assert_eq!(
            answer("a", &format, Some(AnswerFault::Refused))["stop_details"]["type"],
            "refusal"
        );
        assert_eq!(
            answer("a", &format, Some(AnswerFault::Truncated))["usage"]["output_tokens"],
            500
        );
    }
}
