//! Builds an answer block by block, within its limit of tokens, and with the fault that it shall
//! have.

use serde_json::Value;

use super::content::{AnswerContent, compose_content, recased, server_tool_use, words};
use super::message::{AnswerBlock, ServerToolCounts};
use super::{AnswerFault, AnswerSeed};
use crate::simulator::instance::InstanceGenerator;
use crate::simulator::params::ParsedRequest;
use crate::simulator::reply::opaque_id;
use crate::simulator::tokens;

pub(super) struct AnswerBuilder {
    pub(in crate::simulator) content: Vec<AnswerBlock>,
    pub(in crate::simulator) stop_reason: &'static str,
    pub(in crate::simulator) stop_sequence: Option<String>,
    pub(in crate::simulator) output_tokens: u64,
    pub(in crate::simulator) thinking_tokens: u64,
    pub(in crate::simulator) server_tool_use: Option<ServerToolCounts>,
}

impl AnswerBuilder {
    pub(super) fn compose(
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

    pub(super) fn apply_fault(&mut self, fault: AnswerFault, request: &ParsedRequest) {
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
