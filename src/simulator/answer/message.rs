//! The message of an answer, as on the wire.

use serde::Serialize;
use serde_json::Value;

/// One message, as on the wire.
#[derive(Debug, Serialize)]
pub(in crate::simulator) struct SimMessage<'a> {
    pub(in crate::simulator) id: String,
    #[serde(rename = "type")]
    pub(in crate::simulator) kind: &'static str,
    pub(in crate::simulator) role: &'static str,
    pub(in crate::simulator) model: &'a str,
    pub(in crate::simulator) content: Vec<AnswerBlock>,
    pub(in crate::simulator) stop_reason: &'static str,
    pub(in crate::simulator) stop_sequence: Option<String>,
    pub(in crate::simulator) stop_details: Option<SimStopDetails>,
    pub(in crate::simulator) usage: SimUsage,
}

/// One block of an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::simulator) enum AnswerBlock {
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
pub(in crate::simulator) struct SimStopDetails {
    #[serde(rename = "type")]
    pub(in crate::simulator) kind: &'static str,
    pub(in crate::simulator) category: &'static str,
    pub(in crate::simulator) explanation: &'static str,
}

/// Tokens by kind.
#[derive(Debug, Serialize)]
pub(in crate::simulator) struct SimUsage {
    pub(in crate::simulator) input_tokens: u64,
    pub(in crate::simulator) cache_creation_input_tokens: u64,
    pub(in crate::simulator) cache_read_input_tokens: u64,
    pub(in crate::simulator) cache_creation: WrittenTokens,
    pub(in crate::simulator) output_tokens: u64,
    pub(in crate::simulator) output_tokens_details: ThinkingDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::simulator) server_tool_use: Option<ServerToolCounts>,
    pub(in crate::simulator) service_tier: &'static str,
    pub(in crate::simulator) inference_geo: String,
}

/// Uses of the provider's own tools.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(in crate::simulator) struct ServerToolCounts {
    pub(in crate::simulator) web_search_requests: u64,
    pub(in crate::simulator) web_fetch_requests: u64,
    pub(in crate::simulator) code_execution_requests: u64,
}

/// Written tokens by lifetime.
#[derive(Debug, Serialize)]
pub(in crate::simulator) struct WrittenTokens {
    pub(in crate::simulator) ephemeral_5m_input_tokens: u64,
    pub(in crate::simulator) ephemeral_1h_input_tokens: u64,
}

/// The part of the output that was thinking.
#[derive(Debug, Serialize)]
pub(in crate::simulator) struct ThinkingDetails {
    pub(in crate::simulator) thinking_tokens: u64,
}
