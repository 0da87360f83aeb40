use arrow::datatypes::DataType;
use serde_json::json;

use super::super::Status;
use super::super::details::Details;
use super::*;

fn plan(spec: &str, schema: Option<Value>, tools: &[(&str, Value)]) -> AnswerPlan {
    let tools = tools
        .iter()
        .map(|(name, schema)| ToolSchema {
            name: (*name).to_owned(),
            input_schema: schema.clone(),
        })
        .collect();
    AnswerPlan {
        schema,
        spec: toml::from_str(spec).unwrap(),
        tools,
        ..AnswerPlan::default()
    }
}

fn answers(spec: &str, schema: Option<Value>, tools: &[(&str, Value)]) -> Answers {
    Answers::compile(&plan(spec, schema, tools))
        .unwrap()
        .unwrap()
}

fn columns(answers: &Answers) -> Vec<String> {
    answers
        .fields()
        .iter()
        .map(|field| {
            format!(
                "{} {}",
                field.name(),
                crate::source::type_name(field.data_type())
            )
        })
        .collect()
}

fn said(text: &str) -> Outcome {
    Outcome {
        text: Some(text.to_owned()),
        ..Outcome::new(Status::Succeeded)
    }
}

/// An answer that calls tools, with a word beside.
fn called(calls: &[(&str, &str)]) -> Outcome {
    let call = |(name, input): &(&str, &str)| ToolCall {
        id: None,
        name: (*name).to_owned(),
        input: (*input).to_owned(),
    };
    let details = Details {
        tool_calls: calls.iter().map(call).collect(),
        ..Details::default()
    };
    Outcome {
        details: Some(Box::new(details)),
        ..said("I will note that down.")
    }
}

fn note() -> Value {
    json!({ "type": "object", "required": ["kind"], "properties": { "kind": { "enum": ["Low", "High"] }, "cost": { "type": "number" } } })
}

#[test]
fn has_no_columns_without_anything_that_makes_some() {
    assert!(Answers::compile(&AnswerPlan::default()).unwrap().is_none());
}

#[test]
fn puts_the_columns_of_schema_picks_and_tools_side_by_side() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let spec = "columns = \
        { first = '/list/0', when = { regex = '\\d{4}-\\d\\d-\\d\\d', type = 'date', required = false } }";
    let answers = answers(spec, Some(schema), &[("note", note())]);
    assert_eq!(
        columns(&answers),
        [
            "n int64",
            "first string",
            "when date",
            "note list of struct of kind, cost"
        ]
    );
    let read = |outcome: &Outcome| answers.read(outcome).map(|value| value.to_string());
    let text = r#"{"n":1,"list":["2024-02-29"]}"#;
    assert_eq!(
        read(&said(text)).unwrap(),
        r#"{"n":1,"list":["2024-02-29"],"first":"2024-02-29","when":"2024-02-29"}"#
    );
    assert_eq!(
        read(&said(r#"{"n":"1"}"#)).unwrap_err(),
        "at `/n`: the value is not of type \"integer\""
    );
    assert_eq!(
        read(&called(&[("note", r#"{"kind":"LOW"}"#)])).unwrap(),
        r#"{"note":[{"kind":"Low"}]}"#
    );
    assert_eq!(
        read(&Outcome::new(Status::Succeeded)).unwrap_err(),
        "the answer has no text"
    );

    let mut builders = answers.builders(2);
    builders.append(&answers.read(&said(text)).unwrap());
    builders.append(
        &answers
            .read(&called(&[("note", r#"{"kind":"high","cost":1}"#)]))
            .unwrap(),
    );
    for (column, field) in builders.finish().iter().zip(answers.fields()) {
        assert_eq!(
            (column.data_type(), column.len(), column.null_count()),
            (field.data_type(), 2, 1),
            "{}",
            field.name()
        );
    }
}

#[test]
fn lays_calls_out_as_the_job_says() {
    let tools = [("note", note())];
    let once = called(&[("note", r#"{"kind":"Low"}"#), ("unknown", "{}")]);
    let twice = called(&[
        ("note", r#"{"kind":"Low"}"#),
        ("note", r#"{"kind":"High","cost":2.5}"#),
    ]);
    let more =
        "the answer calls the tool `note` more than once; `answer.tool_calls = \"list\"` takes all";
    for (layout, column, first, second) in [
        (
            "list",
            "note list of struct of kind, cost",
            r#"{"note":[{"kind":"Low"}]}"#,
            Ok(r#"{"note":[{"kind":"Low"},{"kind":"High","cost":2.5}]}"#),
        ),
        (
            "struct",
            "note struct of kind, cost",
            r#"{"note":{"kind":"Low"}}"#,
            Err(more),
        ),
        ("columns", "kind string", r#"{"kind":"Low"}"#, Err(more)),
    ] {
        let answers = answers(&format!("tool_calls = '{layout}'"), None, &tools);
        assert_eq!(columns(&answers)[0], column);
        assert_eq!(answers.read(&once).unwrap().to_string(), first);
        let read = answers.read(&twice).map(|value| value.to_string());
        assert_eq!(read.as_deref().map_err(String::as_str), second);
        assert_eq!(answers.read(&said("no call")).unwrap(), json!({}));
    }
    let answers = answers(
        "tool_calls = 'columns'",
        None,
        &[("any", json!({ "type": "object" }))],
    );
    assert_eq!(columns(&answers), ["any string"]);
    assert_eq!(
        answers.read(&called(&[("any", "{\"x\":1}")])).unwrap(),
        json!({ "any": { "x": 1 } })
    );
}

#[test]
fn refuses_calls_that_do_not_fit_their_tool() {
    let tools = [("note", note())];
    for (input, expected) in [
        (
            r#"{"kind":"middle"}"#,
            "the call of `note`: at `/kind`: the value is not one of \"Low\" or \"High\"",
        ),
        ("{}", "the call of `note`: \"kind\" is a required property"),
        (
            "null",
            "the call of `note`: the value is not of type \"object\"",
        ),
        (
            "{\"kind\"",
            "the call of `note`: not JSON: EOF while parsing an object at line 1 column 7",
        ),
    ] {
        assert_eq!(
            answers("", None, &tools)
                .read(&called(&[("note", input)]))
                .unwrap_err(),
            expected
        );
    }
    let required = answers("require_tool_call = true", None, &tools);
    assert_eq!(
        required.read(&said("no")).unwrap_err(),
        "the answer calls no tool"
    );
    assert_eq!(
        required.read(&called(&[("other", "{}")])).unwrap_err(),
        "the answer calls none of the job's tools"
    );
}

#[test]
fn names_what_makes_no_sense_before_anything_is_sent() {
    let one = json!({ "type": "object", "properties": { "kind": { "type": "string" } } });
    for (spec, schema, tools, expected) in [
        (
            "columns = { kind = '/a' }",
            Some(one.clone()),
            vec![],
            "the answer would have two columns `kind`: a property of the schema and one of \
             `answer.columns`; rename one of them",
        ),
        (
            "columns = { kind = '/a' }\ntool_calls = 'columns'",
            None,
            vec![("note", note())],
            "the answer would have two columns `kind`: one of `answer.columns` and an argument of \
             the tool; rename one of them",
        ),
        (
            "tool_calls = 'columns'",
            None,
            vec![("a", note()), ("b", note())],
            "`answer.tool_calls` is \"columns\", which is for one tool; the job has 2: use \
             \"struct\" or \"list\"",
        ),
        (
            "tool_calls = 'list'",
            None,
            vec![],
            "`answer.tool_calls` is set, and the job has no tool with an `input_schema`",
        ),
        (
            "require_tool_call = true",
            None,
            vec![],
            "`answer.require_tool_call` is set, and the job has no tool with an `input_schema`",
        ),
        (
            "",
            None,
            vec![("a", json!({ "type": "objekt" }))],
            "the input schema of the tool `a` is wrong at `/type`: this is not valid under any of \
             the schemas listed in the 'anyOf' keyword",
        ),
    ] {
        assert_eq!(
            Answers::compile(&plan(spec, schema, &tools))
                .unwrap_err()
                .to_string(),
            expected
        );
    }
}

#[test]
fn checks_by_the_schema_as_written_where_a_looser_one_was_sent() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 1 },
        "o": { "type": "object", "properties": { "x": { "type": "string" } }, "additionalProperties": true } } });
    let sent = json!({ "type": "object", "properties": { "n": { "type": "integer" },
        "o": { "type": "object", "properties": { "x": { "type": "string" } }, "additionalProperties": false } } });
    let plan = AnswerPlan {
        schema: Some(schema),
        sent_schema: Some(sent),
        ..AnswerPlan::default()
    };
    let answers = Answers::compile(&plan).unwrap().unwrap();
    assert_eq!(columns(&answers), ["n int64", "o struct of x"]);
    assert_eq!(
        answers.read(&said(r#"{"n":0}"#)).unwrap_err(),
        "at `/n`: the value is less than the minimum of 1"
    );
    assert!(answers.read(&said(r#"{"n":1}"#)).is_ok());
}

#[test]
fn keeps_an_answer_that_is_no_object_beside_other_columns() {
    let answers = answers(
        "columns = { first = '/0' }",
        Some(json!({ "type": "array", "items": { "type": "integer" } })),
        &[],
    );
    assert_eq!(columns(&answers), ["answer list of int64", "first string"]);
    assert_eq!(
        answers.read(&said("[7]")).unwrap(),
        json!({ "answer": [7], "first": "7" })
    );
    assert_eq!(answers.fields()[1].data_type(), &DataType::Utf8);
}

#[test]
fn puts_the_beginning_that_the_request_made_before_the_answer() {
    let plan = plan(
        "columns = { a = '/a', b = { regex = '\\{.a.' } }",
        None,
        &[],
    );
    let plan = AnswerPlan {
        prefill: Some("{\"a\":".to_owned()),
        ..plan
    };
    let answers = Answers::compile(&plan).unwrap().unwrap();
    assert_eq!(
        answers.read(&said(" 7}")).unwrap(),
        json!({ "a": "7", "b": "{\"a\"" })
    );
    assert_eq!(
        answers.read(&Outcome::new(Status::Succeeded)).unwrap_err(),
        "`a`: the answer has no text"
    );
}

#[test]
fn reads_back_from_the_plan_of_a_run() {
    let spec = "columns = { a = '/a', b = { regex = 'b', required = false } }\ntool_calls = \
        'struct'\nrequire_tool_call = true";
    let plan = plan(spec, Some(json!({ "type": "object" })), &[("note", note())]);
    let kept = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<AnswerPlan>(&kept).unwrap(), plan);
    assert_eq!(
        serde_json::from_str::<AnswerPlan>("{}").unwrap(),
        AnswerPlan::default()
    );
}
