//! The system prompt of a request.

use serde_json::Value;

use crate::catalog::Tokenizer;
use crate::simulator::cache::{Prefix, Ttl};
use crate::simulator::reply::ErrorReply;
use crate::simulator::{messages, tokens};

/// The system prompt: its text, and its blocks in the prefix.
pub(super) fn read(
    value: Option<&Value>,
    prefix: &mut Prefix,
    tokenizer: Tokenizer,
) -> Result<String, ErrorReply> {
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
            return Err(ErrorReply::invalid(
                "system: Input should be a valid string or list",
            ));
        }
    };
    let mut whole = String::new();
    for (n, block) in blocks.iter().enumerate() {
        let path = format!("system.{n}");
        if block.get("type").and_then(Value::as_str) != Some("text") {
            return Err(ErrorReply::invalid(format!(
                "{path}.type: Input should be 'text'"
            )));
        }
        let text = block.get("text").and_then(Value::as_str);
        let text =
            text.ok_or_else(|| ErrorReply::invalid(format!("{path}.text: Field required")))?;
        let mark = Ttl::of(block.get("cache_control"), &format!("{path}."))?;
        match (text.is_empty(), mark) {
            (true, Some(_)) => {
                return Err(ErrorReply::invalid(format!(
                    "{path}.cache_control: cache_control cannot be set for empty text blocks"
                )));
            }
            (true, None) => {
                return Err(ErrorReply::invalid(
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
