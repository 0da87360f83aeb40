//! What the simulated model says, and the message it says it in.
//!
//! The answer fits the request: a value of the schema, a call of the tool, one of the labels the prompt names, or a short sentence from
//! the prompt's own words. It depends on the seed, the custom_id and the bytes of `params` alone, so the same request gets the same
//! answer in every batch and every process.

use serde::Serialize;
use serde_json::Value;

use super::cache::Charge;
use super::instance::Draw;
use super::labels;
use super::params::{Request, Shape};
use super::reply::opaque_id;
use super::tokens;

/// Words of the prompt that an answer is made from.
const MAX_WORDS: usize = 120;

/// One message, as on the wire.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) role: &'static str,
    pub(super) model: &'a str,
    pub(super) content: Vec<Block>,
    pub(super) stop_reason: &'static str,
    pub(super) stop_sequence: Option<String>,
    pub(super) stop_details: Option<StopDetails>,
    pub(super) usage: Usage,
}

/// One block of an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Thinking { thinking: String, signature: String },
    Text { text: String },
    ToolUse { id: String, name: String, input: Value },
}

/// Why a model declined.
#[derive(Debug, Serialize)]
pub(super) struct StopDetails {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) category: &'static str,
    pub(super) explanation: &'static str,
}

/// Tokens by kind.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation: CacheCreation,
    pub(super) output_tokens: u64,
    pub(super) output_tokens_details: OutputDetails,
    pub(super) service_tier: &'static str,
    pub(super) inference_geo: String,
}

/// Written tokens by lifetime.
#[derive(Debug, Serialize)]
pub(super) struct CacheCreation {
    pub(super) ephemeral_5m_input_tokens: u64,
    pub(super) ephemeral_1h_input_tokens: u64,
}

/// The part of the output that was thinking.
#[derive(Debug, Serialize)]
pub(super) struct OutputDetails {
    pub(super) thinking_tokens: u64,
}

/// A way in which an answer goes wrong on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    Refused,
    Truncated,
    Paused,
    Empty,
    Recased,
    NotJson,
}

/// Answers one request.
pub(super) fn message<'a>(
    request: &'a Request,
    draw: &Drawn,
    charge: Charge,
    tier: &'static str,
    flaw: Option<Flaw>,
) -> Message<'a> {
    let head = &request.head;
    let mut said = Said::compose(request, draw, flaw);
    if let Some(flaw) = flaw {
        said.spoil(flaw, request);
    }
    let cached = charge.read + charge.written_5m + charge.written_1h;
    let usage = Usage {
        input_tokens: request.row.input_tokens.saturating_sub(cached),
        cache_creation_input_tokens: charge.written_5m + charge.written_1h,
        cache_read_input_tokens: charge.read,
        cache_creation: CacheCreation {
            ephemeral_5m_input_tokens: charge.written_5m,
            ephemeral_1h_input_tokens: charge.written_1h,
        },
        output_tokens: said.output_tokens,
        output_tokens_details: OutputDetails { thinking_tokens: said.thinking_tokens },
        service_tier: tier,
        inference_geo: head.inference_geo.clone().unwrap_or_else(|| "global".to_owned()),
    };
    let refused = flaw == Some(Flaw::Refused);
    Message {
        id: opaque_id("msg_", &[&draw.key]),
        kind: "message",
        role: "assistant",
        model: &head.model_id,
        content: said.content,
        stop_reason: said.stop_reason,
        stop_sequence: said.stop_sequence,
        stop_details: refused.then_some(StopDetails {
            kind: "refusal",
            category: "general_harms",
            explanation: "The simulator was asked to refuse this request.",
        }),
        usage,
    }
}

/// The randomness of one request.
pub(super) struct Drawn {
    key: [u8; 32],
}

impl Drawn {
    /// From all that an answer may depend on.
    pub(super) fn new(seed: u64, custom_id: &str, params: &str) -> Drawn {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(custom_id.len() as u64).to_le_bytes()).update(custom_id.as_bytes()).update(params.as_bytes());
        Drawn { key: *hasher.finalize().as_bytes() }
    }

    fn rng(&self) -> fastrand::Rng {
        let mut first = [0; 8];
        first.copy_from_slice(&self.key[..8]);
        fastrand::Rng::with_seed(u64::from_le_bytes(first))
    }
}

struct Said {
    content: Vec<Block>,
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    output_tokens: u64,
    thinking_tokens: u64,
}

impl Said {
    fn compose(request: &Request, draw: &Drawn, flaw: Option<Flaw>) -> Said {
        let mut rng = draw.rng();
        let room = Room::of(request);
        let mut said =
            Said { content: Vec::new(), stop_reason: "end_turn", stop_sequence: None, output_tokens: 0, thinking_tokens: 0 };
        said.think(request, &mut rng, room.tokens);
        let left = room.tokens - said.output_tokens;
        if left == 0 {
            said.stop_reason = room.full;
            return said;
        }
        match speak(request, &mut rng) {
            Speech::Call(name, input) => said.call(name, input, draw, left, room.full, request),
            Speech::Text(text) => {
                let text = if flaw == Some(Flaw::Recased) { recased(&text) } else { text };
                said.say(text, left, room.full, request);
            }
        }
        said
    }

    /// Thinks as much as the effort suggests; it counts against `max_tokens`.
    fn think(&mut self, request: &Request, rng: &mut fastrand::Rng, most: u64) {
        let Some(thought) = request.head.thought else { return };
        let factor = match request.head.effort.as_deref() {
            Some("low") => 1,
            Some("medium") => 2,
            Some("xhigh") => 6,
            Some("max") => 8,
            _ => 4,
        };
        let wanted = rng.u64(15..=120) * factor;
        let tokens = wanted.min(thought.budget.unwrap_or(u64::MAX)).min(most);
        let thinking =
            if thought.shown { "The request is clear; the answer follows from the prompt.".to_owned() } else { String::new() };
        let signature = format!("sim{:032x}{:032x}", rng.u128(..), rng.u128(..));
        self.content.push(Block::Thinking { thinking, signature });
        self.thinking_tokens = tokens;
        self.output_tokens = tokens;
    }

    fn call(&mut self, name: String, input: Value, draw: &Drawn, left: u64, full: &'static str, request: &Request) {
        let tokens = tokens::count(request.head.model.tokenizer, &input.to_string()) + 12;
        let fits = tokens <= left;
        let id = opaque_id("toolu_", &[&draw.key]);
        self.content.push(Block::ToolUse { id, name, input: if fits { input } else { Value::Object(serde_json::Map::new()) } });
        self.stop_reason = if fits { "tool_use" } else { full };
        self.output_tokens += tokens.min(left);
    }

    fn say(&mut self, mut text: String, left: u64, full: &'static str, request: &Request) {
        let tokenizer = request.head.model.tokenizer;
        let first_stop = request.head.stop_sequences.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min();
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
            self.content.push(Block::Text { text });
        }
    }

    fn spoil(&mut self, flaw: Flaw, request: &Request) {
        match flaw {
            Flaw::Refused => {
                self.content.clear();
                self.stop_reason = "refusal";
                self.output_tokens = 1;
                self.thinking_tokens = 0;
            }
            Flaw::Truncated => {
                self.halve();
                self.stop_reason = "max_tokens";
                self.output_tokens = request.head.max_tokens;
            }
            Flaw::Paused => {
                self.halve();
                self.stop_reason = "pause_turn";
            }
            Flaw::Empty => {
                self.content.clear();
                self.stop_reason = "end_turn";
                self.output_tokens = 1;
                self.thinking_tokens = 0;
            }
            Flaw::NotJson => {
                if let Some(Block::Text { text }) = self.content.last_mut() {
                    text.insert_str(0, "Here it is: ");
                }
            }
            Flaw::Recased => {}
        }
    }

    fn halve(&mut self) {
        match self.content.last_mut() {
            Some(Block::Text { text }) => {
                let half = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                text.truncate(half);
            }
            Some(Block::ToolUse { input, .. }) => *input = Value::Object(serde_json::Map::new()),
            _ => {}
        }
    }
}

/// Tokens an answer may have, and what it says when they are used up.
struct Room {
    tokens: u64,
    full: &'static str,
}

impl Room {
    fn of(request: &Request) -> Room {
        let window = request.head.model.context_tokens.saturating_sub(request.row.input_tokens);
        if window < request.head.max_tokens {
            Room { tokens: window, full: "model_context_window_exceeded" }
        } else {
            Room { tokens: request.head.max_tokens, full: "max_tokens" }
        }
    }
}

enum Speech {
    Text(String),
    Call(String, Value),
}

fn speak(request: &Request, rng: &mut fastrand::Rng) -> Speech {
    let words = words(&request.row.text);
    match &request.head.shape {
        Shape::Json(schema) => Speech::Text(Draw { root: schema, words: &words, rng }.instance().to_string()),
        Shape::Tool { name, input_schema } => {
            Speech::Call(name.clone(), Draw { root: input_schema, words: &words, rng }.instance())
        }
        Shape::Free => Speech::Text(free(request, &words, rng)),
    }
}

fn free(request: &Request, words: &[&str], rng: &mut fastrand::Rng) -> String {
    let found = match &request.head.labels {
        Some(labels) => Some(labels.clone()),
        None => labels::find(&request.row.text),
    };
    if let Some(labels) = found {
        return labels[rng.usize(..labels.len())].clone();
    }
    let mut sentence = Draw { root: &Value::Null, words, rng }.phrase(6, 24);
    if let Some(first) = sentence.chars().next() {
        sentence.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
    sentence.push('.');
    sentence
}

/// The words of a text, without marks around them.
fn words(text: &str) -> Vec<&str> {
    let bare = |word| str::trim_matches(word, |c: char| !c.is_alphanumeric());
    let words = text.split_whitespace().map(bare).filter(|word| !word.is_empty());
    // Text without spaces, such as Chinese, is one long word.
    words.map(|word| word.char_indices().nth(40).map_or(word, |(end, _)| &word[..end])).take(MAX_WORDS).collect()
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
    use crate::simulator::params::{Purpose, Reader, Terms};

    const TERMS: Terms = Terms { purpose: Purpose::Batch, new_version: true, long_output: false };

    /// The message to a request with these members, as JSON.
    fn answer(id: &str, changes: &Value, flaw: Option<Flaw>) -> Value {
        let mut catalog = Catalog::builtin().clone();
        let mut thinker = catalog.model("claude-haiku-4-5").unwrap().1.clone();
        thinker.aliases.clear();
        thinker.thinking = Thinking::Always;
        catalog.models.insert("thinker".to_owned(), thinker);
        let mut params = json!({
            "model": "claude-haiku-4-5", "max_tokens": 500,
            "messages": [{"role": "user", "content": "The printer on the third floor is out of paper again."}]
        });
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let params = params.to_string();
        let request = Reader::new(Arc::new(catalog)).read(&params, TERMS).map_err(|e| e.message).unwrap();
        let message = message(&request, &Drawn::new(1, id, &params), Charge::default(), "batch", flaw);
        serde_json::to_value(message).unwrap()
    }

    fn text(message: &Value) -> &str {
        let blocks = message["content"].as_array().unwrap();
        blocks.iter().find(|b| b["type"] == "text").map_or("", |b| b["text"].as_str().unwrap())
    }

    #[test]
    fn says_the_same_to_the_same_request_and_something_else_to_others() {
        let free = json!({});
        assert_eq!(answer("a", &free, None), answer("a", &free, None));
        assert_ne!(answer("a", &free, None)["id"], answer("b", &free, None)["id"]);
        assert!(text(&answer("a", &free, None)).ends_with('.'));
    }

    #[test]
    fn chooses_among_the_labels_of_the_prompt() {
        let system = json!({"system": "Classify the ticket. Answer with one of: hardware, software, other."});
        let said: std::collections::BTreeSet<String> =
            (0..60).map(|n| text(&answer(&n.to_string(), &system, None)).to_owned()).collect();
        assert_eq!(said.into_iter().collect::<Vec<_>>(), ["hardware", "other", "software"]);
    }

    #[test]
    fn fits_the_schema_or_calls_the_tool() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["label", "why"],
            "properties": {"label": {"enum": ["a", "b"]}, "why": {"type": "string"}}});
        let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
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
    fn a_thinking_model_thinks_first_and_pays_for_it() {
        let message = answer("a", &json!({"model": "thinker"}), None);
        assert_eq!(message["content"][0]["type"], "thinking");
        assert_eq!(message["content"][0]["thinking"], "");
        let thought = message["usage"]["output_tokens_details"]["thinking_tokens"].as_u64().unwrap();
        assert!(thought > 0 && thought < message["usage"]["output_tokens"].as_u64().unwrap());
        let starved = answer("a", &json!({"model": "thinker", "max_tokens": 10}), None);
        assert_eq!((text(&starved), &starved["stop_reason"]), ("", &json!("max_tokens")));
        assert_eq!(starved["usage"]["output_tokens"], 10);
    }

    #[test]
    fn is_cut_at_max_tokens_and_at_a_stop_sequence() {
        let whole = answer("a", &json!({}), None);
        let cut = answer("a", &json!({"max_tokens": 2}), None);
        assert_eq!((&cut["stop_reason"], &cut["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(2)));
        assert!(text(&cut).len() < text(&whole).len());
        let stopped = answer("a", &json!({"stop_sequences": ["."]}), None);
        assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!(".")));
    }

    #[test]
    fn goes_wrong_as_asked() {
        let schema =
            json!({"type": "object", "additionalProperties": false, "required": ["l"], "properties": {"l": {"const": "abc"}}});
        let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
        let cases = [
            (Flaw::Refused, "refusal", ""),
            (Flaw::Truncated, "max_tokens", r#"{"l":"#),
            (Flaw::Paused, "pause_turn", r#"{"l":"#),
            (Flaw::Empty, "end_turn", ""),
            (Flaw::Recased, "end_turn", r#"{"l":"ABC"}"#),
            (Flaw::NotJson, "end_turn", r#"Here it is: {"l":"abc"}"#),
        ];
        for (flaw, reason, expected) in cases {
            let message = answer("a", &format, Some(flaw));
            assert_eq!((message["stop_reason"].as_str().unwrap(), text(&message)), (reason, expected), "{flaw:?}");
        }
        assert_eq!(answer("a", &format, Some(Flaw::Refused))["stop_details"]["type"], "refusal");
        assert_eq!(answer("a", &format, Some(Flaw::Truncated))["usage"]["output_tokens"], 500);
    }
}
