//! The details of a result line that only some jobs need, read in a second pass.
//!
//! The message is found as raw text and read into flat structs that borrow from it; tool arguments,
//! citations and the message itself are never taken apart, but passed on as the original JSON. A
//! line that cannot be read like this has no details: the outcome of the row was decided by the
//! first pass.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lenient::OptionalText;
use super::{ParsedLine, replace_lone_surrogates};
use crate::outcome::Details;
use crate::outcome::details::{ToolCall, Wanted};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    result: Option<ResultPart<'a>>,
}

#[derive(Deserialize)]
struct ResultPart<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(borrow)]
    stop_sequence: OptionalText<'a>,
}

/// A block of content: all kinds in one struct, each with the members it has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: OptionalText<'a>,
    #[serde(borrow)]
    text: OptionalText<'a>,
    #[serde(borrow)]
    thinking: OptionalText<'a>,
    #[serde(borrow)]
    id: OptionalText<'a>,
    #[serde(borrow)]
    name: OptionalText<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
}

/// A text block that cites.
#[derive(Serialize)]
struct Cited<'a> {
    text: &'a str,
    citations: &'a RawValue,
}

/// The details of a line that was read already.
pub(super) fn read(line: &[u8], wanted: Wanted, read: &ParsedLine<'_>) -> Details {
    let mut details = Details::default();
    if wanted.words {
        details.error_code.clone_from(&read.error_code);
        details.request_id.clone_from(&read.request_id);
        details.refusal_category.clone_from(&read.refusal_category);
    }
    let Some(raw) = std::str::from_utf8(line).ok().and_then(message_of) else {
        return details;
    };
    if wanted.message {
        details.message = Some(raw.to_owned());
    }
    let replaced = replace_lone_surrogates(raw);
    let Ok(message) = serde_json::from_str::<Message<'_>>(replaced.as_deref().unwrap_or(raw))
    else {
        return details;
    };
    if wanted.thinking {
        details.thinking = thinking(&message.content);
    }
    if wanted.citations {
        details.citations = citations(&message.content);
    }
    if wanted.tool_calls {
        details.tool_calls = message.content.iter().filter_map(call).collect();
    }
    if wanted.words {
        details.stop_sequence = message.stop_sequence.owned();
    }
    details
}

fn message_of(line: &str) -> Option<&str> {
    serde_json::from_str::<Line<'_>>(line)
        .ok()?
        .result?
        .message
        .map(RawValue::get)
}

/// The text of all thinking blocks, a blank line between them: unlike text, each is a whole.
fn thinking(content: &[Block<'_>]) -> Option<String> {
    let blocks = content
        .iter()
        .filter(|block| block.kind.0.as_deref() == Some("thinking"));
    let texts: Vec<&str> = blocks
        .filter_map(|block| block.thinking.0.as_deref())
        .filter(|text| !text.is_empty())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

fn citations(content: &[Block<'_>]) -> Option<String> {
    let cited = content.iter().filter_map(|block| {
        let citations = block
            .citations
            .filter(|citations| citations.get() != "[]")?;
        Some(Cited {
            text: block.text.0.as_deref().unwrap_or_default(),
            citations,
        })
    });
    let cited: Vec<Cited<'_>> = cited.collect();
    if cited.is_empty() {
        None
    } else {
        serde_json::to_string(&cited).ok()
    }
}

fn call(block: &Block<'_>) -> Option<ToolCall> {
    if block.kind.0.as_deref() != Some("tool_use") {
        return None;
    }
    Some(ToolCall {
        id: block.id.0.as_deref().map(str::to_owned),
        name: block.name.0.as_deref().unwrap_or_default().to_owned(),
        input: block.input.map_or("null", RawValue::get).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse_with;
    use super::*;

    const ALL: Wanted = Wanted {
        thinking: true,
        citations: true,
        tool_calls: true,
        message: true,
        words: true,
    };

    fn details(line: &str, wanted: Wanted) -> Option<Details> {
        parse_with(line.as_bytes(), wanted)
            .unwrap()
            .outcome
            .details
            .map(|details| *details)
    }

    fn succeeded(message: &str) -> String {
        format!(r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{message}}}}}"#)
    }

    #[test]
    fn reads_what_is_wanted_and_nothing_else() {
        let message = r#"{"content":[{"type":"thinking","thinking":"First\n","signature":"s"},{"type":"redacted_thinking","data":"x"},
            {"type":"thinking","thinking":"","signature":"s"},{"type":"thinking","thinking":"second"},
            {"type":"text","text":"Hm"},{"type":"tool_use","id":"toolu_1","name":"look_up","input":{"a": [1, 2.50]}},
            {"type":"server_tool_use","id":"x","name":"web_search","input":{}},{"type":"tool_use","name":"look_up","input":{}}],
            "stop_reason":"stop_sequence","stop_sequence":"END"}"#;
        let line = succeeded(message);
        let all = details(&line, ALL).unwrap();
        assert_eq!(all.thinking.as_deref(), Some("First\n\n\nsecond"));
        assert_eq!(all.message.as_deref(), Some(message));
        assert_eq!(
            (all.citations.as_deref(), all.stop_sequence.as_deref()),
            (None, Some("END"))
        );
        let calls: Vec<_> = all
            .tool_calls
            .iter()
            .map(|c| (c.id.as_deref(), c.name.as_str(), c.input.as_str()))
            .collect();
        assert_eq!(
            calls,
            [
                (Some("toolu_1"), "look_up", r#"{"a": [1, 2.50]}"#),
                (None, "look_up", "{}")
            ]
        );

        assert_eq!(details(&line, Wanted::default()), None);
        let thinking = Wanted {
            thinking: true,
            ..Wanted::default()
        };
        assert_eq!(
            details(&line, thinking),
            Some(Details {
                thinking: all.thinking,
                ..Details::default()
            })
        );
    }

    #[test]
    fn keeps_each_citation_with_the_text_that_makes_it() {
        let line = succeeded(
            r#"{"content":[{"type":"text","text":"It is ","citations":null},
            {"type":"text","text":"\"red\"","citations":[{"type":"char_location","start_char_index":3, "cited_text":"rot"}]},
            {"type":"text","text":".","citations":[]}]}"#,
        );
        let cited = details(&line, ALL).unwrap().citations.unwrap();
        assert_eq!(
            cited,
            r#"[{"text":"\"red\"","citations":[{"type":"char_location","start_char_index":3, "cited_text":"rot"}]}]"#
        );
    }

    #[test]
    fn reads_the_words_of_errors_and_refusals() {
        let error = r#"{"custom_id":"a","result":{"type":"errored","error":{"type":"error","request_id":"req_1","error":{
            "type":"api_error","message":"m","details":{"error_code":"c"}}}}}"#;
        let words = details(error, ALL).unwrap();
        assert_eq!(
            (words.request_id.as_deref(), words.error_code.as_deref()),
            (Some("req_1"), Some("c"))
        );
        let refused = succeeded(
            r#"{"content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","category":"bio"}}"#,
        );
        let words = details(
            &refused,
            Wanted {
                words: true,
                ..Wanted::default()
            },
        )
        .unwrap();
        assert_eq!(
            words,
            Details {
                refusal_category: Some("bio".to_owned()),
                ..Details::default()
            }
        );
    }

    #[test]
    fn reads_halves_of_surrogate_pairs_as_replacement_characters() {
        let line =
            succeeded(r#"{"content":[{"type":"tool_use","name":"t","input":{"a":"\ud83d"}}]}"#);
        let details = details(&line, ALL).unwrap();
        assert_eq!(details.tool_calls[0].input, "{\"a\":\"\\ufffd\"}");
        assert!(
            details.message.unwrap().contains("\\ud83d"),
            "the message stays as received"
        );
    }
}
