use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::*;
use crate::catalog::Catalog;
use crate::template::TemplateColumns;

fn spec(toml: &str) -> RequestSpec {
    toml::from_str(&format!(
        "model = \"claude-haiku-4-5\"\nmax_tokens = 10\n{toml}"
    ))
    .unwrap()
}

const USER: &str = "messages = [{ role = \"user\", text = \"{{ a }}\" }]\n";

fn rows(cells: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(cells.to_vec())) as ArrayRef)])
        .unwrap()
}

fn compile(toml: &str) -> Result<Requests, Error> {
    Requests::compile(
        &spec(toml),
        Path::new("."),
        &rows(&[]).schema(),
        Catalog::builtin(),
    )
}

/// The whole params of the first row.
fn params(requests: &Requests, rows: &RecordBatch) -> String {
    let mut fragment = Vec::new();
    requests.render(rows, 0, &mut fragment).unwrap();
    String::from_utf8(requests.params_json(&fragment)).unwrap()
}

#[test]
fn writes_the_exact_params() {
    let requests = compile(&format!("{USER}system = \"Be short.\"")).unwrap();
    assert_eq!(
        params(&requests, &rows(&["say \"hi\"\n"])),
        r#"{"model":"claude-haiku-4-5","max_tokens":10,"system":[{"type":"text","text":"Be short."}],"messages":[{"role":"user","content":"say \"hi\"\n"}]}"#
    );
}

#[test]
fn puts_everything_shared_into_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{"type":"object","additionalProperties":false,"required":["z","b"],"properties":{"z":{"type":"string"},"b":{"type":"integer"}}}"#;
    fs::write(folder.path().join("s.json"), schema).unwrap();
    fs::write(folder.path().join("policy.md"), "RetryPolicy\n").unwrap();
    let mut spec = spec(
        "system = [{ file = \"policy.md\", cache = \"1h\" }, { text = \"Answer.\" }]
         messages = [{ role = \"user\", text = \"Example\", cache = \"5m\" }, { role = \"assistant\", text = \"ok\" }, { role = \"user\", text = \"{{ a }}\" }]
         schema = \"s.json\"
         params = { thinking = { type = \"disabled\" }, output_config = { effort = \"low\" }, stop_sequences = [\"END\"] }",
    );
    spec.model = "claude-haiku-5-5".to_owned();
    let requests = Requests::compile(
        &spec,
        folder.path(),
        &rows(&[]).schema(),
        Catalog::builtin(),
    )
    .unwrap();
    let head = concat!(
        r#"{"model":"claude-haiku-5-5","max_tokens":10,"thinking":{"type":"disabled"},"stop_sequences":["END"],"#,
        r#""system":[{"type":"text","text":"RetryPolicy","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"Answer."}],"#,
        r#""output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object","additionalProperties":false,"#,
        r#""required":["z","b"],"properties":{"z":{"type":"string"},"b":{"type":"integer"}}}}},"#,
        r#""messages":[{"role":"user","content":[{"type":"text","text":"Example","cache_control":{"type":"ephemeral","ttl":"5m"}}]},"#,
        r#"{"role":"assistant","content":"ok"}"#
    );
    assert_eq!(std::str::from_utf8(requests.head()).unwrap(), head);
    assert_eq!(
        params(&requests, &rows(&["x"])),
        format!("{head},{{\"role\":\"user\",\"content\":\"x\"}}]}}")
    );
    let files: Vec<_> = requests
        .template_files()
        .iter()
        .map(|(path, _)| path.to_str().unwrap())
        .collect();
    assert_eq!(files, ["policy.md", "s.json"]);
    assert_eq!(
        requests.template_files()[0].1,
        blake3::hash(b"RetryPolicy\n").to_hex().to_string()
    );
    assert_eq!(requests.shared_text().len(), 4);
    assert_eq!(
        requests.answer_schema().unwrap().written["required"],
        json!(["z", "b"])
    );
    assert_eq!(
        requests.columns(),
        TemplateColumns::Named(["a".to_owned()].into())
    );
}

#[test]
fn closes_params_that_are_all_shared() {
    let requests =
        compile("messages = [{ role = \"user\", text = \"Write a limerick.\" }]").unwrap();
    assert_eq!(requests.columns(), TemplateColumns::none());
    let params: Value = serde_json::from_str(&params(&requests, &rows(&["x"]))).unwrap();
    assert_eq!(
        params["messages"],
        json!([{"role": "user", "content": "Write a limerick."}])
    );
}

#[test]
fn hashes_the_exact_params() {
    let requests = compile(USER).unwrap();
    let batch = rows(&["x", "y", "x"]);
    let mut out = b"before".to_vec();
    let hashes: Vec<RequestHash> = (0..3)
        .map(|row| requests.render(&batch, row, &mut out).unwrap())
        .collect();
    assert_eq!(hashes[0], hashes[2]);
    assert_ne!(hashes[0], hashes[1]);
    let mut fragment = Vec::new();
    requests.render(&batch, 0, &mut fragment).unwrap();
    let expected = blake3::hash(&requests.params_json(&fragment)).to_hex();
    assert_eq!(hashes[0].to_string(), expected[..32]);
    assert_eq!(requests.hash(&fragment), hashes[0]);
    assert!(out.starts_with(b"before{\"role\""));
}

#[test]
fn leaves_the_buffer_alone_when_a_row_fails() {
    let requests = compile(
        "messages = [{ role = \"user\", text = \"{{ a }}\" }, \
            { role = \"user\", text = \"{{ a|number }}\" }]",
    )
    .unwrap();
    let mut out = b"before".to_vec();
    assert!(matches!(
        requests.render(&rows(&["x"]), 0, &mut out),
        Err(RowError::Prompt(PromptFault::Render(_)))
    ));
    assert!(matches!(
        requests.render(&rows(&[" "]), 0, &mut out),
        Err(RowError::Prompt(PromptFault::Empty { message: 1 }))
    ));
    assert_eq!(out, b"before");
}

#[test]
fn renders_from_several_threads() {
    let requests = compile(USER).unwrap();
    let batch = rows(&["x"; 100]);
    let render = || {
        let rows = requests.rows(&batch);
        let mut out = Vec::new();
        (0..100)
            .map(|row| rows.render(row, &mut out).unwrap())
            .collect::<Vec<_>>()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        [scope.spawn(render), scope.spawn(render)]
            .map(|t| t.join().unwrap())
            .into()
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn refuses_params_that_the_api_refuses() {
    for (params, key) in [
        ("model = \"x\"", "model"),
        ("max_tokens = 1", "max_tokens"),
        ("system = \"x\"", "system"),
        ("messages = []", "messages"),
        ("stream = true", "stream"),
        ("speed = \"fast\"", "speed"),
        ("store = true", "store"),
        (
            "previous_thread_event_id = \"x\"",
            "previous_thread_event_id",
        ),
        ("cache_hint = 1", "cache_hint"),
        ("context_hint = 1", "context_hint"),
        (
            "research_preview_2026_02 = \"active\"",
            "research_preview_2026_02",
        ),
        ("fallbacks = []", "fallbacks"),
        ("cache_control = { type = \"eternal\" }", "cache_control"),
        ("thread = { type = \"create\" }", "thread"),
        ("betas = []", "betas"),
        ("temperature = 0.0", "temperature"),
        ("top_p = 1.0", "top_p"),
        ("top_k = 1", "top_k"),
        (
            "billing_policy = { bill_to = \"user_profile\" }",
            "billing_policy",
        ),
        ("metadata = { user_id = 2024-01-01 }", "metadata"),
        ("output_config = \"low\"", "output_config"),
    ] {
        match compile(&format!("{USER}params = {{ {params} }}")) {
            Err(Error::Param { key: found, .. }) => assert_eq!(found, format!("params.{key}")),
            other => panic!("{params}: {other:?}"),
        }
    }
    assert!(
        compile(&format!(
            "{USER}params = {{ temperature = 0.0 }}\napi_version = \"2023-06-01\""
        ))
        .is_ok()
    );
    let error = compile(&format!("{USER}params = {{ stream = true }}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`request.params.stream` is refused in a batch unless it is `false`: results come as a \
         file; leave it out"
    );
}

#[test]
fn refuses_values_out_of_range() {
    for (text, key) in [
        ("model = \"\"\nmax_tokens = 1", "model"),
        ("model = \"m\"\nmax_tokens = 0", "max_tokens"),
        (
            "model = \"m\"\nmax_tokens = 1\napi_version = \"2024-01-01\"",
            "api_version",
        ),
        ("model = \"m\"\nmax_tokens = 1\nbetas = [\"a,b\"]", "betas"),
    ] {
        let spec: RequestSpec = toml::from_str(&format!("{text}\n{USER}")).unwrap();
        match Requests::compile(
            &spec,
            Path::new("."),
            &rows(&[]).schema(),
            Catalog::builtin(),
        ) {
            Err(Error::Value { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn counts_the_cache_marks_of_tools() {
    let tool = |ttl: &str| {
        format!(
            "{{ name = \"f\", input_schema = {{ type = \"object\" }}, cache_control = {{ type = \"ephemeral\", ttl = \"{ttl}\" }} }}"
        )
    };
    let job = |ttl: &str| {
        format!(
            "{USER}system = [{{ text = \"a\", cache = \"1h\" }}]\nparams = {{ tools = [{}] }}",
            tool(ttl)
        )
    };
    assert!(compile(&job("1h")).is_ok());
    let message = "system block 1 is cached for 1h behind tool `f`, which is cached for 5m; the \
        API requires the longer life first";
    assert_eq!(compile(&job("5m")).unwrap_err().to_string(), message);
}

#[test]
fn refuses_schemas_with_all_findings() {
    let folder = tempfile::tempdir().unwrap();
    let compile = |schema: &str, more: &str| {
        fs::write(folder.path().join("s.json"), schema).unwrap();
        Requests::compile(
            &spec(&format!("{USER}schema = \"s.json\"\n{more}")),
            folder.path(),
            &rows(&[]).schema(),
            Catalog::builtin(),
        )
    };
    let good = r#"{"type":"object","additionalProperties":false,"properties":{}}"#;
    assert!(compile(good, "").is_ok());
    assert!(matches!(compile("{", ""), Err(Error::SchemaJson { .. })));
    assert!(matches!(
        compile(good, "params = { output_config = { format = {} } }"),
        Err(Error::Param { .. })
    ));
    assert!(matches!(
        compile(good, "params = { output_format = {} }"),
        Err(Error::Param { .. })
    ));
    let error = compile(
        r#"{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}"#,
        "",
    )
    .unwrap_err();
    let message = "the API does not support the schema `s.json`
  at /properties/n, `minimum`: bounds of numbers are not enforced; say it in the `description`, and check the answers afterwards
  at the top level, `additionalProperties`: every object must rule out further properties; write `\"additionalProperties\": false`";
    assert_eq!(error.to_string(), message);
    let prefill = spec(
        "messages = [{ role = \"user\", text = \"{{ a }}\" }, \
         { role = \"assistant\", text = \"{\" }]\nschema = \"s.json\"",
    );
    fs::write(folder.path().join("s.json"), good).unwrap();
    assert!(matches!(
        Requests::compile(
            &prefill,
            folder.path(),
            &rows(&[]).schema(),
            Catalog::builtin()
        ),
        Err(Error::Value { key: "schema", .. })
    ));
}

#[test]
fn names_unknown_keys_of_the_section() {
    for (text, known) in [
        ("modle = \"x\"", "`model`"),
        ("system = [{ fil = \"x\" }]", "`file`"),
        ("messages = [{ role = \"user\", txt = \"x\" }]", "`text`"),
        ("messages = [{ role = \"bot\", text = \"x\" }]", "`user`"),
        ("system = [{ text = \"x\", cache = \"2h\" }]", "`1h`"),
        ("system = 3", "a text, or a list of blocks"),
    ] {
        let error = toml::from_str::<RequestSpec>(text).unwrap_err();
        assert!(error.message().contains(known), "{text}: {error}");
    }
}

#[test]
fn reads_back_the_section_it_writes() {
    let spec = spec(&format!(
        "{USER}system = [{{ text = \"a\", cache = \"5m\" }}]\nbetas = [\"x\"]\nparams = \
         {{ thinking = {{ type = \"adaptive\" }} }}"
    ));
    let written = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<RequestSpec>(&written).unwrap(), spec);
    let plain = RequestSpec {
        system: SystemSpec::Text("x".to_owned()),
        ..spec
    };
    assert_eq!(
        serde_json::from_str::<RequestSpec>(&serde_json::to_string(&plain).unwrap()).unwrap(),
        plain
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cell_arrives_as_it_is(cell in "(?s:.){1,60}") {
        prop_assume!(!cell.trim().is_empty());
        let requests = compile(USER).unwrap();
        let params: Value = serde_json::from_str(&params(&requests, &rows(&[&cell]))).unwrap();
        prop_assert_eq!(params["messages"][0]["content"].as_str(), Some(cell.as_str()));
    }
}

#[test]
fn the_limits_of_schemas_hold_over_all_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |n: usize| {
        let properties: Map<String, Value> = (0..n)
            .map(|i| (format!("p{i}"), json!({"type": "string"})))
            .collect();
        json!({"type": "object", "additionalProperties": false, "properties": properties})
    };
    fs::write(folder.path().join("s.json"), schema(14).to_string()).unwrap();
    let compile = |n: usize, strict: bool| {
        let tool = json!({"name": "f", "strict": strict, "input_schema": schema(n)});
        fs::write(folder.path().join("t.json"), tool.to_string()).unwrap();
        let spec = spec(&format!("{USER}schema = \"s.json\"\ntools = [\"t.json\"]"));
        Requests::compile(
            &spec,
            folder.path(),
            &rows(&[]).schema(),
            Catalog::builtin(),
        )
        .map(|_| ())
        .map_err(|e| e.to_string())
    };
    assert_eq!(compile(10, true), Ok(()));
    assert_eq!(compile(11, false), Ok(()));
    let error = compile(11, true).unwrap_err();
    assert!(
        error.contains(
            "`request.tools` and the schema of the answer have 25 optional properties \
            in all; the API takes 24"
        ),
        "{error}"
    );
}
