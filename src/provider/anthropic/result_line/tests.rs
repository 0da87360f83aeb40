use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Map, Value, json};

use super::shapes::{outcome_of, status_of};
use super::*;
use crate::outcome::{Status, Usage};

fn read(line: &str) -> ParsedLine<'_> {
    parse(line.as_bytes()).unwrap()
}

fn succeeded_with(message: &Value) -> String {
    json!({"custom_id": "a-1", "result": {"type": "succeeded", "message": message}}).to_string()
}

#[test]
fn reads_a_whole_answer() {
    let line = read(
        r#"{"custom_id":"a-1","result":{"type":"succeeded","message":{"id":"msg_1","type":"message","role":"assistant",
        "model":"claude-haiku-5-5","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"Yes."}],
        "stop_reason":"end_turn","stop_sequence":null,"stop_details":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":50,
        "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":40},"cache_read_input_tokens":7,
        "output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"server_tool_use":{"web_search_requests":2,
        "web_fetch_requests":0},"service_tier":"batch","inference_geo":"us","speed":"standard","iterations":[]},
        "container":null,"diagnostics":{"x":[1]}}}}"#,
    );
    assert_eq!(line.custom_id, "a-1");
    assert!(matches!(line.custom_id, Cow::Borrowed(_)));
    let expected = Outcome {
        text: Some("Yes.".to_owned()),
        stop_reason: Some("end_turn".to_owned()),
        model: Some("claude-haiku-5-5".to_owned()),
        message_id: Some("msg_1".to_owned()),
        usage: Some(Usage {
            input_tokens: Some(3),
            cache_creation_5m_input_tokens: Some(10),
            cache_creation_1h_input_tokens: Some(40),
            cache_read_input_tokens: Some(7),
            output_tokens: Some(9),
            thinking_tokens: Some(4),
            service_tier: Some("batch".to_owned()),
            inference_geo: Some("us".to_owned()),
            web_search_requests: Some(2),
            web_fetch_requests: Some(0),
            code_execution_requests: None,
            iterations: Vec::new(),
            unreadable: false,
        }),
        ..outcome_of(Status::Succeeded, "succeeded".to_owned())
    };
    assert_eq!(line.outcome, expected);
}

#[test]
fn reads_the_kind_of_error_where_it_stands() {
    let line = read(
        r#"{"custom_id":"a","result":{"type":"errored","error":{"type":"error","request_id":"req_1","error":{
        "type":"invalid_request_error","message":"max_tokens: too large","details":{"error_code":"c","paths":["x"]}}}}}"#,
    );
    assert_eq!(
        (line.outcome.status, line.outcome.result.as_str()),
        (Status::Errored, "errored")
    );
    assert_eq!(
        line.outcome.error_type.as_deref(),
        Some("invalid_request_error")
    );
    assert_eq!(line.outcome.error.as_deref(), Some("max_tokens: too large"));
    assert_eq!(
        (line.error_code.as_deref(), line.request_id.as_deref()),
        (Some("c"), Some("req_1"))
    );

    let flat = read(
        r#"{"custom_id":"a","result":{"type":"errored","error":{"type":"api_error","message":"m"}}}"#,
    );
    assert_eq!(
        (
            flat.outcome.error_type.as_deref(),
            flat.outcome.error.as_deref()
        ),
        (Some("api_error"), Some("m"))
    );
}

#[test]
fn derives_the_status_from_result_and_stop_reason() {
    for (stop_reason, status) in [
        ("end_turn", Status::Succeeded),
        ("stop_sequence", Status::Succeeded),
        ("tool_use", Status::Succeeded),
        ("max_tokens", Status::Truncated),
        ("model_context_window_exceeded", Status::Truncated),
        ("refusal", Status::Refused),
        ("pause_turn", Status::Paused),
        ("compaction", Status::Paused),
        ("a_new_reason", Status::Succeeded),
    ] {
        let text = succeeded_with(&json!({"stop_reason": stop_reason}));
        let outcome = read(&text).outcome;
        assert_eq!(
            (outcome.status, outcome.stop_reason.as_deref()),
            (status, Some(stop_reason))
        );
    }
    for (result, status, error_type) in [
        (r#"{"type":"canceled"}"#, Status::Canceled, None),
        (r#"{"type":"expired"}"#, Status::Expired, None),
        (
            r#"{"type":"postponed","until":1}"#,
            Status::Errored,
            Some(UNKNOWN_RESULT),
        ),
        (r#"{"type":null}"#, Status::Errored, Some(UNKNOWN_RESULT)),
        ("null", Status::Errored, Some(UNKNOWN_RESULT)),
        (
            r#"{"type":"succeeded"}"#,
            Status::Errored,
            Some(UNREADABLE_RESULT),
        ),
        (
            r#"{"type":"errored","error":null}"#,
            Status::Errored,
            Some(UNREADABLE_RESULT),
        ),
        (
            r#"{"type":"succeeded","message":"words"}"#,
            Status::Errored,
            Some(UNREADABLE_RESULT),
        ),
        (r#"["succeeded"]"#, Status::Errored, Some(UNREADABLE_RESULT)),
        (
            r#"{"type":"expired","type":"expired"}"#,
            Status::Errored,
            Some(UNREADABLE_RESULT),
        ),
    ] {
        let text = format!(r#"{{"custom_id":"a","result":{result}}}"#);
        let outcome = read(&text).outcome;
        assert_eq!(
            (outcome.status, outcome.error_type.as_deref()),
            (status, error_type),
            "{result}"
        );
    }
    let postponed = read(r#"{"result":{"type":"postponed"},"custom_id":"a"}"#).outcome;
    assert_eq!(postponed.result, "postponed");
}

#[test]
fn keeps_what_a_refusal_says() {
    let text = succeeded_with(&json!({
        "content": [], "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "cyber", "explanation": "not this"},
    }));
    let line = read(&text);
    assert_eq!(
        (line.outcome.status, line.outcome.text),
        (Status::Refused, None)
    );
    assert_eq!(
        (
            line.refusal_category.as_deref(),
            line.outcome.error.as_deref()
        ),
        (Some("cyber"), Some("not this"))
    );
}

#[test]
fn joins_text_blocks_and_passes_over_others() {
    for (content, text) in [
        (json!([]), None),
        (json!(null), None),
        (
            json!([{"type": "tool_use", "id": "t", "name": "n", "input": {"text": "no", "type": "text"}}]),
            None,
        ),
        (json!([{"type": "text", "text": ""}]), Some("")),
        (
            json!([{"type": "text", "text": "a", "citations": [{"type": "text", "text": "no"}]}, {"type": "text", "text": "b"}]),
            Some("ab"),
        ),
        (
            json!([{"type": "new", "text": {"deep": 1}}, {"text": "no type"}, {"type": 7}, {"type": "text", "text": "c"}]),
            Some("c"),
        ),
        (json!([{"type": "text", "text": 7}, {"type": "text"}]), None),
    ] {
        let line = succeeded_with(&json!({"content": content, "stop_reason": "end_turn"}));
        assert_eq!(read(&line).outcome.text.as_deref(), text, "{content}");
    }
}

#[test]
fn reads_usage_in_every_dress() {
    let of = |usage: Value| {
        let line = succeeded_with(&json!({"usage": usage}));
        read(&line).outcome.usage
    };
    assert_eq!(of(json!(null)), None);
    assert_eq!(of(json!({})), Some(Usage::default()));
    let old = Usage {
        cache_creation_5m_input_tokens: Some(5),
        ..Usage::default()
    };
    assert_eq!(
        of(json!({"cache_creation_input_tokens": 5})),
        Some(old.clone())
    );
    assert_eq!(
        of(json!({"cache_creation_input_tokens": 5, "cache_creation": null})),
        Some(old.clone())
    );
    assert_eq!(
        of(json!({"cache_creation_input_tokens": 5.0, "cache_creation": {}})),
        Some(old)
    );
    let one_hour = Usage {
        cache_creation_1h_input_tokens: Some(5),
        ..Usage::default()
    };
    assert_eq!(
        of(
            json!({"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 5}})
        ),
        Some(one_hour)
    );
    let odd = json!({"input_tokens": "3", "output_tokens": -1, "cache_read_input_tokens": 1.5, "service_tier": {"x": [1]}});
    assert_eq!(
        of(odd),
        Some(Usage {
            unreadable: true,
            ..Usage::default()
        })
    );
}

#[test]
fn usage_that_cannot_be_read_is_unreadable_and_never_a_number() {
    let read = |usage: &str| {
        let line = format!(
            r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{{"content":[],"usage":{usage}}}}}}}"#
        );
        let outcome = read(&line).outcome;
        assert_eq!(
            outcome.status,
            Status::Succeeded,
            "the answer is kept: {usage}"
        );
        outcome.usage
    };
    for usage in [
        r#"{"input_tokens":"1000","output_tokens":"500"}"#,
        r#"{"input_tokens":-5,"output_tokens":-5}"#,
        r#"{"input_tokens":1.5,"output_tokens":500}"#,
        r#"{"input_tokens":1e308,"output_tokens":500}"#,
        r#"{"input_tokens":18446744073709551615,"output_tokens":500}"#,
        r#"{"input_tokens":18446744073709551616,"output_tokens":500}"#,
        r#"{"input_tokens":1000,"output_tokens":true}"#,
        r#"{"input_tokens":1000,"output_tokens":[500]}"#,
        r#"{"input_tokens":1000,"output_tokens":{"n":500}}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"cache_read_input_tokens":"7"}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"cache_creation_input_tokens":-1}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"cache_creation":[600,400]}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"cache_creation":{"ephemeral_5m_input_tokens":"600"}}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"server_tool_use":{"web_search_requests":"2"}}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"server_tool_use":{"web_search_requests":1000000000}}"#,
        r#"{"input_tokens":1000,"output_tokens":500,"server_tool_use":"2"}"#,
        r#"{"x":1}"#,
        r#"{"input_tokens":1000}"#,
        r#"{"output_tokens":500}"#,
        r#"{"input_tokens":null,"output_tokens":500}"#,
        r#"{"input_tokens":1000,"output_tokens":null}"#,
        "{}",
        "[1000,500]",
        "[]",
        "1000",
        r#""1000 in, 500 out""#,
        "true",
    ] {
        let usage_read = read(usage).unwrap();
        assert!(!usage_read.is_readable(), "{usage}: {usage_read:?}");
    }
    assert_eq!(read("null"), None);
    for usage in [
        r#"{"input_tokens":1000.0,"output_tokens":0}"#,
        r#"{"input_tokens":0,"output_tokens":500,"cache_read_input_tokens":null,"server_tool_use":null,"x":"y"}"#,
        r#"{"input_tokens":1,"output_tokens":1,"iterations":null}"#,
        r#"{"input_tokens":1,"output_tokens":1,"iterations":[]}"#,
    ] {
        assert!(read(usage).unwrap().is_readable(), "{usage}");
    }
}

#[test]
fn cache_writes_that_do_not_add_up_are_unreadable() {
    for (split, is_readable) in [
        (json!({"ephemeral_5m_input_tokens": 600}), false),
        (
            json!({"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 0}),
            false,
        ),
        (
            json!({"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 500}),
            false,
        ),
        (
            json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}),
            false,
        ),
        (json!({"ephemeral_24h_input_tokens": 1_000}), false),
        (
            json!({"ephemeral_5m_input_tokens": 600, "ephemeral_24h_input_tokens": 400}),
            false,
        ),
        (
            json!({"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400}),
            true,
        ),
        (
            json!({"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400, "ephemeral_24h_input_tokens": 0}),
            true,
        ),
        (json!({"ephemeral_1h_input_tokens": 1_000}), true),
        (json!({"note": "none"}), true),
        (json!(null), true),
    ] {
        let usage = json!({"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 1_000, "cache_creation": split});
        let line = succeeded_with(&json!({"usage": usage}));
        assert_eq!(
            read(&line).outcome.usage.unwrap().is_readable(),
            is_readable,
            "{split}"
        );
    }
}

#[test]
fn counts_of_an_answer_in_several_steps_are_the_sums_over_them() {
    let of = |usage: Value| {
        read(&succeeded_with(&json!({"usage": usage})))
            .outcome
            .usage
            .unwrap()
    };
    // The documentation's own example.
    let compacted = of(
        json!({"input_tokens": 23_000, "output_tokens": 1_000, "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
            {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
        ]}),
    );
    assert_eq!(
        (compacted.input_tokens, compacted.output_tokens),
        (Some(203_000), Some(4_500))
    );
    assert!(compacted.is_readable() && compacted.iterations.len() == 2);
    let advised = of(
        json!({"input_tokens": 500, "output_tokens": 60, "iterations": [
            {"type": "message", "input_tokens": 200, "output_tokens": 30},
            {"type": "advisor_message", "model": "claude-opus-5-5", "input_tokens": 900, "output_tokens": 400,
                "cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 100}},
            {"type": "message", "input_tokens": 300, "output_tokens": 30, "cache_read_input_tokens": 7},
        ]}),
    );
    assert_eq!(
        (advised.input_tokens, advised.output_tokens),
        (Some(1_400), Some(460))
    );
    assert_eq!(
        (
            advised.cache_creation_1h_input_tokens,
            advised.cache_read_input_tokens
        ),
        (Some(100), Some(7))
    );
    assert_eq!(
        advised.iterations[1].model.as_deref(),
        Some("claude-opus-5-5")
    );
    assert!(advised.is_readable());
    let one = of(
        json!({"input_tokens": 5, "output_tokens": 6, "iterations": [
            {"type": "message", "input_tokens": 5, "output_tokens": 6},
        ]}),
    );
    assert_eq!(
        one,
        Usage {
            input_tokens: Some(5),
            output_tokens: Some(6),
            ..Usage::default()
        }
    );
}

#[test]
fn a_list_of_steps_with_a_hole_is_unreadable() {
    let whole = json!({"type": "message", "input_tokens": 10, "output_tokens": 10});
    for step in [
        json!({"type": "compaction", "input_tokens": 10}),
        json!({"type": "compaction", "input_tokens": 10, "output_tokens": null}),
        json!({"type": "compaction", "input_tokens": "10", "output_tokens": 1}),
        json!({"type": "compaction", "input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 9,
            "cache_creation": {"ephemeral_5m_input_tokens": 8}}),
        json!({"type": "advisor_message", "input_tokens": 10, "output_tokens": 1}),
        json!({"type": "advisor_message", "model": 7, "input_tokens": 10, "output_tokens": 1}),
        json!({"type": "message", "model": 7, "input_tokens": 10, "output_tokens": 1}),
        json!({"type": "a_new_kind", "input_tokens": 10, "output_tokens": 1}),
        json!({"input_tokens": 10, "output_tokens": 1}),
        json!(null),
        json!(10),
        json!([10, 1]),
    ] {
        let line = succeeded_with(
            &json!({"usage": {"input_tokens": 10, "output_tokens": 10, "iterations": [whole, step]}}),
        );
        assert!(!read(&line).outcome.usage.unwrap().is_readable(), "{step}");
    }
    // The top level names more than the list holds: the answer's own step is lost.
    for steps in [
        json!([{"type": "compaction", "input_tokens": 5, "output_tokens": 20}]),
        json!([{"type": "compaction", "input_tokens": 20, "output_tokens": 5}]),
        json!("two"),
        json!({"type": "message"}),
        json!(2),
    ] {
        let line = succeeded_with(
            &json!({"usage": {"input_tokens": 10, "output_tokens": 10, "iterations": steps}}),
        );
        assert!(!read(&line).outcome.usage.unwrap().is_readable(), "{steps}");
    }
    let many = vec![whole; 1_001];
    let line = succeeded_with(
        &json!({"usage": {"input_tokens": 10, "output_tokens": 10, "iterations": many}}),
    );
    assert!(!read(&line).outcome.usage.unwrap().is_readable());
}

#[test]
fn detects_answers_that_say_nothing() {
    for (content, is_empty) in [
        (json!([]), true),
        (json!(null), true),
        (json!([{"type": "text", "text": ""}]), true),
        (json!([{"type": "text", "text": " \n\t\u{a0}"}]), true),
        (
            json!([{"type": "thinking", "thinking": "Let me see.", "signature": "s"}]),
            true,
        ),
        (
            json!([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "\n"}]),
            true,
        ),
        (
            json!([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]),
            true,
        ),
        (
            json!([{"type": "tool_use", "id": "t", "name": "n", "input": {}}]),
            false,
        ),
        (
            json!([{"type": "thinking", "thinking": ""}, {"type": "text", "text": "0"}]),
            false,
        ),
    ] {
        let line = succeeded_with(&json!({"content": content, "stop_reason": "end_turn"}));
        assert_eq!(read(&line).outcome.is_empty_answer(), is_empty, "{content}");
    }
    let refused = succeeded_with(&json!({"content": [], "stop_reason": "refusal"}));
    assert!(!read(&refused).outcome.is_empty_answer());
}

#[test]
fn reads_escapes_and_separators_that_are_text() {
    let line = read(
        "{\"custom_id\":\"a\\u002d1\",\"result\":{\"type\":\"succeeded\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"x\\n\\\"\u{2028}\\ud83d\\ude00}{\"}]}}}",
    );
    assert_eq!(line.custom_id, "a-1");
    assert_eq!(line.outcome.text.as_deref(), Some("x\n\"\u{2028}😀}{"));
}

#[test]
fn keeps_an_answer_with_half_a_surrogate_pair() {
    let text = |spelled: &str| {
        let line = format!(
            r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{{"content":[{{"type":"text","text":"{spelled}"}}]}}}}}}"#
        );
        read(&line).outcome.text.unwrap()
    };
    assert_eq!(text(r"a\ud83d"), "a\u{fffd}");
    assert_eq!(
        text(r"\ude00\ud83d\ude00\ud83dx\\ud83d\t"),
        "\u{fffd}😀\u{fffd}x\\ud83d\t"
    );
}

#[test]
fn reads_a_line_of_many_megabytes_and_deep_nesting() {
    let long = "ü".repeat(8 << 20);
    let line = succeeded_with(&json!({"content": [{"type": "text", "text": long}]}));
    assert_eq!(read(&line).outcome.text.as_deref(), Some(long.as_str()));
    let deep = format!(
        r#"{{"x":{}{},"custom_id":"a","result":{{"type":"expired"}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(read(&deep).outcome.status, Status::Expired);
}

#[test]
fn says_why_a_line_is_none() {
    let secret = "hunter2";
    for (line, said) in [
        (b"".as_slice(), "not JSON from byte 0"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (
            br#"{"custom_id":"hunter2","result":{"type":"expired""#,
            "not JSON",
        ),
        (
            br#"{"custom_id":"hunter2","result":{"type":"expired"}}}"#,
            "not JSON from byte 52",
        ),
        (b"<html>hunter2</html>", "not JSON from byte 1"),
        (b"{\"custom_id\":\"\xff\"}", "not UTF-8 from byte 14"),
        (
            br#"{"id":"hunter2","result":{"type":"expired"}}"#,
            "no `custom_id`",
        ),
        (br#"{"custom_id":["hunter2"]}"#, "no `custom_id`"),
        (br#"{"custom_id":null,"result":null}"#, "no `custom_id`"),
        (b"[]", "no `custom_id`"),
        (b"\"hunter2\"", "no `custom_id`"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains(secret));
        // The quick look finds less wrong, but never the wrong id.
        if let Ok(id) = custom_id_of(line) {
            assert_eq!(id, secret);
        }
    }
}

#[test]
fn finds_the_custom_id_wherever_it_stands() {
    for line in [
        r#"{"custom_id":"a-1","result":{"type":"expired"}}"#,
        r#" { "custom_id" : "a-1" , "result" : {"custom_id":"b"} } "#,
        "{\"custom_id\":\"a-1\",\"result\":{}}\r",
        r#"{"result":{"custom_id":"b","message":{"content":[{"type":"text","text":"{\"custom_id\":\"c\""}]}},"custom_id":"a-1"}"#,
        r#"{"x":"\"custom_id\":\"b\"","custom_id":"a-1"}"#,
        r#"{"custom_id":"a\u002d1"}"#,
        r#"{"custom\u005fid":"a-1"}"#,
    ] {
        assert_eq!(custom_id_of(line.as_bytes()).unwrap(), "a-1", "{line}");
    }
}

/// JSON with the members of each object in an order drawn by `seed`.
fn shuffled(value: Value, seed: &mut u64) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members
                .into_iter()
                .map(|(name, value)| (name, shuffled(value, seed)))
                .collect();
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let turn = usize::try_from(*seed >> 33).unwrap() % members.len().max(1);
            members.rotate_left(turn);
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| shuffled(item, seed)).collect())
        }
        other => other,
    }
}

fn count() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(0_u64..1 << 29)
}

fn fixed(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_261_122),
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(fixed(512))]

    #[test]
    fn a_message_written_and_read_gives_the_same_facts(
        id in ".{1,20}",
        texts in proptest::collection::vec(("(text|thinking|tool_use|new)", ".{0,40}"), 0..5),
        stop_reason in proptest::option::of("(end_turn|max_tokens|refusal|pause_turn|novel)"),
        model in proptest::option::of(".{1,12}"),
        counts in proptest::array::uniform7(count()),
        more in ".{0,30}",
        mut seed in any::<u64>(),
    ) {
        let content: Vec<Value> = texts.iter().map(|(kind, text)| json!({"type": kind, "text": text, "more": more})).collect();
        let [input, output, read_, written_5m, written_1h, thinking, searches] = counts;
        let searches = searches.map(|searches| searches % 1_000_000);
        let counts = [input, output, read_, written_5m, written_1h, thinking, searches];
        let line = json!({"custom_id": id, "more": {"custom_id": more}, "result": {"type": "succeeded", "more": more, "message": {
            "id": "msg", "model": model, "content": content, "stop_reason": stop_reason, "more": [more],
            "usage": {"input_tokens": input, "output_tokens": output, "cache_read_input_tokens": read_,
                "cache_creation": {"ephemeral_5m_input_tokens": written_5m, "ephemeral_1h_input_tokens": written_1h},
                "output_tokens_details": {"thinking_tokens": thinking}, "server_tool_use": {"web_search_requests": searches}},
        }}});
        let line = shuffled(line, &mut seed).to_string();
        let read = parse(line.as_bytes()).unwrap();
        let only_text: Vec<&str> = texts.iter().filter(|(kind, _)| kind == "text").map(|(_, text)| text.as_str()).collect();
        prop_assert_eq!(&read.custom_id, &id);
        prop_assert_eq!(custom_id_of(line.as_bytes()).unwrap(), id);
        prop_assert_eq!(read.outcome.text, (!only_text.is_empty()).then(|| only_text.concat()));
        prop_assert_eq!(read.outcome.status, status_of(stop_reason.as_deref()));
        prop_assert_eq!(read.outcome.stop_reason, stop_reason);
        prop_assert_eq!(read.outcome.model, model);
        let usage = read.outcome.usage.unwrap();
        let counts_read = [usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens,
            usage.cache_creation_5m_input_tokens, usage.cache_creation_1h_input_tokens, usage.thinking_tokens, usage.web_search_requests];
        prop_assert_eq!(counts_read, counts);
    }

    #[test]
    fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (parse(&bytes), custom_id_of(&bytes));
    }

    #[test]
    fn never_panics_on_a_damaged_line_and_always_notices_a_cut_one(
        text in r#"[a\\"ud83{}\u{2028}ü]{0,40}"#, at in any::<proptest::sample::Index>(), byte in any::<u8>(),
    ) {
        let line = succeeded_with(&json!({"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"})).into_bytes();
        let at = at.index(line.len());
        prop_assert!(parse(&line[..at]).is_err());
        let mut damaged = line.clone();
        damaged[at] = byte;
        let _ = (parse(&damaged), custom_id_of(&damaged));
        let mut escaped = line;
        escaped.insert(at, b'\\');
        let _ = (parse(&escaped), custom_id_of(&escaped));
    }
}
