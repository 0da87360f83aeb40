//! What the simulated model says, and the message it says it in.
//!
//! The answer fits the request: a value of the schema, a call of the tool, one of the labels the
//! prompt names, or a short sentence from the prompt's own words. It depends on the seed, the
//! custom_id and the bytes of `params` alone, so the same request gets the same answer in every
//! batch and every process.

mod builder;
mod content;
mod message;
#[cfg(test)]
mod tests;

use self::builder::AnswerBuilder;
use self::message::{SimStopDetails, SimUsage, ThinkingDetails, WrittenTokens};
use super::cache::CachedTokens;
use super::params::ParsedRequest;
use super::reply::opaque_id;

pub(super) use message::SimMessage;

/// How an answer goes wrong on request.
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
