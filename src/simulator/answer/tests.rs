//! Answers fit their requests.

use std::sync::Arc;

use serde_json::{Value, json};

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
    let answers: Vec<_> = (0..60)
        .map(|n| calls(&answer(&n.to_string(), &tools, None)))
        .collect();
    assert!(
        answers.iter().any(|calls| calls.len() == 2) && answers.iter().any(|calls| calls == &["a"])
    );
    assert!(answers.iter().any(|calls| calls == &["b"]));
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
    let asked = json!({"messages": [{"role": "user", "content": [document, {"type": "text", "text": "What is green, and why is it \
        so?"}]}]});
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
        ["spam", "ham"].contains(&answer["label"].as_str().unwrap()) && answer["score"].is_f64()
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
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
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
