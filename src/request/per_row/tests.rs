//! What rows set, row by row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use serde_json::json;

use super::*;
use crate::request::{RequestHash, Requests, with_max_tokens};

fn rows() -> RecordBatch {
    let text = |values: [Option<&str>; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    RecordBatch::try_from_iter([
        (
            "body",
            text([Some("a\",\"max_tokens\":7}"), Some("bb"), Some("c")]),
        ),
        (
            "which model",
            text([Some("claude-haiku-5-5"), None, Some("claude-sonnet-4-6")]),
        ),
        ("effort", text([Some("max"), None, Some("max")])),
        ("number", text([Some("12"), Some("x"), Some("3")])),
        (
            "length",
            Arc::new(Int64Array::from(vec![Some(300), None, Some(0)])) as ArrayRef,
        ),
    ])
    .unwrap()
}

fn compile(per_row: &str) -> Result<Requests, Error> {
    let job = format!(
        "model = \"claude-opus-5-5\"\nmax_tokens = 2000\nmessages = \
         [{{ role = \"user\", text = \"{{{{ body }}}}\" }}]\n{per_row}"
    );
    Requests::compile(
        &toml::from_str(&job).unwrap(),
        Path::new("."),
        &rows().schema(),
        Catalog::builtin(),
    )
}

fn rendered(requests: &Requests) -> Vec<Result<String, String>> {
    let batch = rows();
    let rows = requests.rows(&batch);
    let row = |row| {
        let mut out = b"before".to_vec();
        let hash = rows.render(row, &mut out).map_err(|e| e.to_string());
        assert!(hash.is_ok() || out == b"before");
        let fragment = out[6..].to_vec();
        let params = requests.params_json(&fragment);
        assert!(
            hash.as_ref().is_err()
                || RequestHash::of(requests.head(), &fragment) == *hash.as_ref().unwrap()
        );
        hash.map(|_| String::from_utf8(params).unwrap())
    };
    (0..3).map(row).collect()
}

#[test]
fn rows_choose_and_leave_the_rest_to_the_job() {
    let requests = compile(
        "[per_row]\nmodel = \"which model\"\nmax_tokens = \"length / 7\"\nuser_id = \
            \"length\"\ntag = \"effort\"",
    )
    .unwrap();
    assert_eq!(
        std::str::from_utf8(requests.head()).unwrap(),
        r#"{"messages":["#
    );
    let sent = rendered(&requests);
    let first = r#"{"messages":[{"role":"user","content":"a\",\"max_tokens\":7}"}],"metadata":{"user_id":"300"},"model":"claude-haiku-5-5","max_tokens":43}"#;
    assert_eq!(sent[0].as_deref().unwrap(), first);
    let second = r#"{"messages":[{"role":"user","content":"bb"}],"model":"claude-opus-5-5","max_tokens":2000}"#;
    assert_eq!(sent[1].as_deref().unwrap(), second);
    let third = "`request.per_row.max_tokens` is 0; an answer has at least 1 token";
    assert_eq!(sent[2].as_ref().unwrap_err(), third);
    let batch = rows();
    let values = requests.rows(&batch);
    let params = values.row_params(0).unwrap();
    assert_eq!(
        (params.tag, params.user_id, params.effort),
        (Some("max"), Some("300"), None)
    );
    let columns = ["body", "effort", "length", "which model"].map(str::to_owned);
    assert_eq!(
        requests.columns(),
        crate::template::TemplateColumns::Named(columns.into())
    );
}

#[test]
fn the_effort_takes_what_stands_beside_it_along() {
    let requests = compile(
        "effort = \"low\"\nparams = { output_config = { other = { a = 1 } } }\nper_row = \
         { effort = \"effort\", model = \"'claude-opus-5'\" }",
    );
    let requests = requests.unwrap();
    let sent: Vec<serde_json::Value> = rendered(&requests)
        .iter()
        .map(|sent| serde_json::from_str(sent.as_ref().unwrap()).unwrap())
        .collect();
    assert_eq!(
        sent[0]["output_config"],
        json!({"effort": "max", "other": {"a": 1}})
    );
    assert_eq!(
        sent[1]["output_config"],
        json!({"effort": "low", "other": {"a": 1}})
    );
    assert!(
        requests
            .head()
            .starts_with(br#"{"max_tokens":2000,"messages""#)
    );
}

#[test]
fn a_row_is_at_fault_for_what_its_model_does_not_take() {
    let sent = rendered(
        &compile(
            "thinking = \"adaptive\"\nper_row = \
            { model = \"which model\", effort = \"effort\" }",
        )
        .unwrap(),
    );
    assert!(
        sent[0].is_ok() && sent[1].is_ok() && sent[2].is_ok(),
        "{sent:?}"
    );
    for (per_row, row, words) in [
        (
            "model = \"'claude-haiku-4-6'\"",
            0,
            "`request.per_row.model` is the unknown model `claude-haiku-4-6`; did you mean \
             `claude-haiku-4-5`?",
        ),
        (
            "model = \"body\"",
            0,
            "`request.per_row.model` is no name of a model; docs/models.md",
        ),
        (
            "model = \"'claude-3-opus-20240229'\"",
            0,
            "is a retired model: model `claude-3-opus-20240229` was retired",
        ),
        (
            "model = \"'claude-haiku-4-5'\", effort = \"effort\"",
            0,
            "is \"max\", but `claude-haiku-4-5` has no levels of effort; leave it out",
        ),
        (
            "effort = \"body\"",
            1,
            "`request.per_row.effort` is none of the levels of effort; it takes \"low\"",
        ),
        (
            "max_tokens = \"length * 1000\"",
            0,
            "`request.per_row.max_tokens` is 300000, but `claude-opus-5-5` makes at most 128000",
        ),
        (
            "max_tokens = \"CAST(number AS INT)\"",
            1,
            "`request.per_row.max_tokens` cannot be evaluated: ",
        ),
    ] {
        let found = rendered(&compile(&format!("per_row = {{ {per_row} }}")).unwrap());
        assert!(
            found[row].as_ref().unwrap_err().contains(words),
            "{per_row}\n  expected {words}\n  found    {found:?}"
        );
    }
    let found = rendered(&compile("per_row = { max_tokens = \"CAST(number AS INT)\" }").unwrap());
    assert!(
        found[0].is_ok() && found[2].is_ok(),
        "one bad cell is no fault of other rows: {found:?}"
    );
}

#[test]
fn the_limits_are_those_of_a_rows_own_model() {
    // The job's model has no effort; a row that chooses another one has.
    let job = |model: &str, rest: &str| {
        let messages = if rest.contains("messages") {
            ""
        } else {
            "messages = [{ role = \"user\", text = \"{{ body }}\" }]\n"
        };
        let job = format!(
            "model = \"{model}\"\nmax_tokens = 2000\n{messages}{rest}\nper_row = \
             {{ model = \"which model\" }}"
        );
        let spec = toml::from_str(&job).unwrap();
        rendered(
            &Requests::compile(&spec, Path::new("."), &rows().schema(), Catalog::builtin())
                .unwrap(),
        )
    };
    let sent = job("claude-haiku-4-5", "effort = \"high\"");
    assert!(sent[0].is_ok() && sent[2].is_ok(), "{sent:?}");
    assert!(
        sent[1]
            .as_ref()
            .unwrap_err()
            .contains("`claude-haiku-4-5` has no levels of effort"),
        "{sent:?}"
    );
    // A version of a tool that the job's model takes and a row's does not.
    let old = "[per_row]\nmodel = \"CASE WHEN body = 'bb' THEN 'claude-haiku-4-5' END\"";
    let found =
        rendered(&compile(&format!("tools = [{{ server = \"web_search\" }}]\n{old}")).unwrap());
    assert!(found[0].is_ok() && found[2].is_ok(), "{found:?}");
    assert!(
        found[1]
            .as_ref()
            .unwrap_err()
            .contains("not for `claude-haiku-4-5`; write `{ server = \"web_search\""),
        "{found:?}"
    );
    // A message of the role `system`, by the job and in a conversation.
    let system = "messages = [{ role = \"user\", text = \"{{ body }}\" }, \
        { role = \"system\", text = \"Be brief.\" }]";
    let found = job("claude-opus-5", system);
    assert!(found[0].is_ok() && found[1].is_ok(), "{found:?}");
    assert!(
        found[2]
            .as_ref()
            .unwrap_err()
            .contains("`claude-sonnet-4-6` does not take"),
        "{found:?}"
    );
}

#[test]
fn refuses_expressions_that_fit_no_row() {
    for (per_row, words) in [
        (
            "model = \"length\"",
            "`request.per_row.model` makes values of the type Int64 by `length`; it takes texts",
        ),
        (
            "max_tokens = \"body\"",
            "`request.per_row.max_tokens` makes values of the type Utf8 by `body`; it takes \
             numbers",
        ),
        (
            "effort = \"efort\"",
            "`request.per_row.effort` does not fit the table",
        ),
    ] {
        let found = compile(&format!("per_row = {{ {per_row} }}"))
            .unwrap_err()
            .to_string();
        assert!(found.contains(words), "{found}");
    }
    let both =
        compile("params = { metadata = { user_id = \"u\" } }\nper_row = { user_id = \"body\" }")
            .unwrap_err();
    assert!(
        both.to_string()
            .contains("`request.per_row.user_id` stands in `request.params.metadata` too")
    );
}

#[test]
fn finds_the_limit_wherever_it_stands() {
    let head = br#"{"model":"claude-haiku-4-5","max_tokens":10,"tools":[{"max_tokens":5}]"#;
    let longer = with_max_tokens(head, 20).unwrap();
    assert_eq!(
        longer,
        br#"{"model":"claude-haiku-4-5","max_tokens":20,"tools":[{"max_tokens":5}]"#
    );
    assert_eq!(
        with_max_tokens(br#"{"max_tokens":10,"system""#, 7).unwrap(),
        br#"{"max_tokens":7,"system""#
    );
    assert_eq!(with_max_tokens(br#"{"tools":[{"max_tokens":5}]"#, 7), None);
    assert_eq!(
        with_max_tokens(br#"{"model":"m","tools":[{"max_tokens":5}]"#, 7),
        None
    );
    let fragment = br#"{"role":"user","content":"x"}],"model":"m","max_tokens":12}"#;
    let tail = FragmentTail::of(fragment, true, true).unwrap();
    assert_eq!((tail.model, tail.max_tokens), (Some("m"), Some(12)));
    assert_eq!(
        tail.with_max_tokens(24),
        br#"{"role":"user","content":"x"}],"model":"m","max_tokens":24}"#
    );
    let tail = FragmentTail::of(br#"{"a":1}],"max_tokens":3}"#, false, true).unwrap();
    assert_eq!(tail.with_max_tokens(4), br#"{"a":1}],"max_tokens":4}"#);
    assert_eq!(FragmentTail::of(br#"{"a":1}]}"#, false, true), None);
}
