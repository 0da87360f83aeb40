//! What holds for a result line, whatever its bytes are.

use serde_json::Value;

use super::LineError;
use super::anthropic::result_line::{custom_id_of, parse, parse_with};
use crate::outcome::details::Wanted;
use crate::outcome::{TokenCounts, Usage};

/// More tokens than any count may hold after reading: larger numbers are no counts.
const MAX_TOKENS: u64 = 1_000_000_000;
/// Most steps of an answer whose counts are added up.
const MAX_STEPS: u64 = 1_000;

/// Checks the parser of result lines.
///
/// # Panics
/// If JSON with a `custom_id` gives no outcome, if the quick scan of the `custom_id` disagrees with
/// the whole reading, if details change the outcome, if a count is beyond what money can be
/// calculated from, or if an error points outside of the line.
pub fn check_result_line(line: &[u8]) {
    match parse(line) {
        Ok(read) => {
            if let Ok(quick) = custom_id_of(line) {
                assert_eq!(quick, read.custom_id, "the quick look at the id");
            }
            if let Some(usage) = &read.outcome.usage {
                check_usage(usage);
            }
            let mut detailed = parse_with(line, everything()).expect("it was read before");
            detailed.outcome.details = None;
            assert_eq!(detailed.custom_id, read.custom_id);
            assert_eq!(detailed.outcome, read.outcome, "details change the outcome");
        }
        Err(LineError::NotUtf8 { at }) => assert!(at < line.len()),
        Err(LineError::NotJson { column }) => assert!(column <= line.len() + 1),
        Err(LineError::NoCustomId) => {}
    }
    // The value is written again first: a JSON value has each key once, unlike its text.
    if let Ok(value) = serde_json::from_slice::<Value>(line)
        && let Some(id) = value.get("custom_id").and_then(Value::as_str)
    {
        let written = value.to_string();
        let read = parse(written.as_bytes()).expect("JSON with a `custom_id`");
        assert_eq!(read.custom_id, id);
        assert_eq!(custom_id_of(written.as_bytes()).expect("an id"), id);
    }
}

fn everything() -> Wanted {
    Wanted {
        thinking: true,
        citations: true,
        tool_calls: true,
        message: true,
        words: true,
    }
}

fn check_usage(usage: &Usage) {
    let sums = TokenCounts {
        input_tokens: usage.input_tokens,
        cache_creation_5m_input_tokens: usage.cache_creation_5m_input_tokens,
        cache_creation_1h_input_tokens: usage.cache_creation_1h_input_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
        output_tokens: usage.output_tokens,
    };
    check_counts(sums, MAX_TOKENS * MAX_STEPS);
    for step in &usage.iterations {
        check_counts(step.tokens, MAX_TOKENS);
    }
}

fn check_counts(tokens: TokenCounts, limit: u64) {
    for count in [
        tokens.input_tokens,
        tokens.cache_creation_5m_input_tokens,
        tokens.cache_creation_1h_input_tokens,
        tokens.cache_read_input_tokens,
        tokens.output_tokens,
    ] {
        assert!(count.unwrap_or(0) <= limit, "{tokens:?}");
    }
}
