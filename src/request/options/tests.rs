//! Parameters of a job: short forms, places, and what is refused whatever the model.

use arrow::datatypes::Schema;

use super::*;
use crate::catalog::Catalog;
use crate::request::Requests;

const TOOLS: &str = "tools = [{ name = \"f\", input_schema = { type = \"object\" } }, \
    { name = \"g\", input_schema = { type = \"object\" } }]\n";

fn head(options: &str) -> Result<String, String> {
    let job = format!(
        "model = \"claude-opus-4-6\"\nmax_tokens = 9000\nmessages = \
         [{{ role = \"user\", text = \"x\" }}]\n{options}"
    );
    let spec = toml::from_str(&job).map_err(|e| e.to_string())?;
    let requests = Requests::compile(&spec, Path::new("."), &Schema::empty(), Catalog::builtin())
        .map_err(|e| e.to_string())?;
    let head = String::from_utf8(requests.head().to_vec()).unwrap();
    let own = head
        .strip_prefix(r#"{"model":"claude-opus-4-6","max_tokens":9000,"#)
        .unwrap();
    Ok(own
        .strip_suffix(r#""messages":[{"role":"user","content":"x"}"#)
        .unwrap()
        .to_owned())
}

#[test]
fn short_forms_and_passed_on_ones_are_the_same_request() {
    for (short, passed_on) in [
        (
            "thinking = \"adaptive\"",
            "params = { thinking = { type = \"adaptive\" } }",
        ),
        (
            "thinking = \"off\"",
            "params = { thinking = { type = \"disabled\" } }",
        ),
        (
            "thinking = { budget_tokens = 2048, display = \"omitted\" }",
            "params = \
             { thinking = { type = \"enabled\", budget_tokens = 2048, display = \"omitted\" } }",
        ),
        (
            "effort = \"low\"",
            "params = { output_config = { effort = \"low\" } }",
        ),
        (
            "stop_sequences = [\"END\"]",
            "params = { stop_sequences = [\"END\"] }",
        ),
        (
            "inference_geo = \"us\"",
            "params = { inference_geo = \"us\" }",
        ),
        (
            "tool_choice = \"any\"",
            "params = { tool_choice = { type = \"any\" } }",
        ),
    ] {
        let (short, passed_on) = (format!("{TOOLS}{short}"), format!("{TOOLS}{passed_on}"));
        assert_eq!(head(&short).unwrap(), head(&passed_on).unwrap(), "{short}");
    }
    let all = "params = { container = { x = 1 } }\nstop_sequences = [\"END\"]\nthinking = \
        \"adaptive\"\ntool_choice = \
        { type = \"tool\", name = \"g\", disable_parallel_tool_use = true }\n";
    let expected = concat!(
        r#""tools":[{"name":"f","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object"}}],"#,
        r#""tool_choice":{"type":"tool","name":"g","disable_parallel_tool_use":true},"thinking":{"type":"adaptive"},"#,
        r#""stop_sequences":["END"],"container":{"x":1},"#
    );
    assert_eq!(head(&format!("{all}{TOOLS}")).unwrap(), expected);
}

#[test]
fn refuses_what_no_model_takes() {
    for (options, words) in [
        (
            "thinking = \"of\"",
            "`request.thinking` is \"of\", which does not exist; use \"adaptive\"",
        ),
        (
            "thinking = true",
            "`request.thinking` must be a text or a table",
        ),
        (
            "params = { thinking = \"adaptive\" }",
            "`request.params.thinking` must be a text or a table",
        ),
        (
            "thinking = { type = \"on\" }",
            "has the type \"on\", which does not exist",
        ),
        (
            "thinking = { budget_tokens = 1000 }",
            "has a budget of 1000 tokens; the API takes 1024 and more",
        ),
        (
            "thinking = { type = \"enabled\" }",
            "has no `budget_tokens`",
        ),
        (
            "thinking = { type = \"adaptive\", budget_tokens = 2000 }",
            "has a budget, which the type \"adaptive\" does not take",
        ),
        (
            "thinking = { type = \"adaptive\", display = \"full\" }",
            "has `display = \"full\"`",
        ),
        (
            "thinking = { type = \"disabled\", display = \"omitted\" }",
            "does not exist for the type \"disabled\"",
        ),
        (
            "thinking = { type = \"adaptive\", dispaly = \"omitted\" }",
            "has `dispaly`, which is not known; did you mean `display`?",
        ),
        (
            "thinking = \"adaptive\"\nparams = { thinking = { type = \"adaptive\" } }",
            "`request.thinking` stands in `request.params.thinking` too",
        ),
        (
            "effort = \"low\"\nparams = { output_config = { effort = \"low\" } }",
            "`request.effort` stands in `request.params.output_config.effort` too",
        ),
        (
            "params = { output_config = { effort = 3 } }",
            "`request.params.output_config.effort` must be a text",
        ),
        (
            "tool_choice = \"auto\"",
            "`request.tool_choice` chooses among tools, and there are none",
        ),
        (
            "TOOLS tool_choice = \"f\"",
            "write `{ type = \"tool\", name = \"f\" }`",
        ),
        (
            "TOOLS tool_choice = \"some\"",
            "has the type \"some\", which does not exist; use \"auto\"",
        ),
        (
            "TOOLS tool_choice = \"tool\"",
            "names the tool nothing, which is not among the tools; name one of `f`, `g`",
        ),
        (
            "TOOLS tool_choice = { type = \"tool\", name = \"h\" }",
            "names the tool \"h\"",
        ),
        (
            "TOOLS tool_choice = { type = \"none\", disable_parallel_tool_use = true }",
            "a `disable_parallel_tool_use` that cannot be",
        ),
        (
            "TOOLS tool_choice = { type = \"any\", parallel = true }",
            "has `parallel`, which is not known",
        ),
        (
            "TOOLS params = { tools = [] }",
            "`request.tools` stands in `request.params.tools` too",
        ),
        (
            "tools = [{ name = \"f\", input_schema = { type = \"object\", x = 2024-01-01 } }]",
            "`request.tools` holds a TOML date",
        ),
        (
            "temperature = 2",
            "`request.temperature` must be a number from 0 to 1",
        ),
        (
            "params = { top_p = \"x\" }",
            "`request.params.top_p` must be a number",
        ),
        ("top_k = 1.5", "`request.top_k` must be a whole number"),
        (
            "stop_sequences = [\" \"]",
            "`request.stop_sequences` has a text without a visible character",
        ),
        (
            "params = { stop_sequences = \"END\" }",
            "`request.params.stop_sequences` must be a list of texts",
        ),
        (
            "inference_geo = \"eu\"",
            "`request.inference_geo` must be \"global\" or \"us\"",
        ),
        (
            "params = { metadata = { job = \"x\" } }",
            "`request.params.metadata` takes a `user_id` and nothing else",
        ),
        (
            "params = { service_tier = \"batch\" }",
            "`request.params.service_tier` must be",
        ),
        (
            "params = { stream = true }",
            "`request.params.stream` is refused in a batch unless it is `false`",
        ),
        (
            "params = { cache_control = { type = \"ephemeral\", ttl = \"2h\" } }",
            "`request.params.cache_control` is no cache mark",
        ),
        (
            "params = { thread = { type = \"create\" } }",
            "`request.params.thread` is refused in a batch",
        ),
        (
            "params = { workspace_id = \"w\" }",
            "the workspace stands in a header; set the variable ANTHROPIC_WORKSPACE_ID",
        ),
        (
            "params = { metdata = {} }",
            "`request.params.metdata` is not known; did you mean `metadata`?",
        ),
        (
            "params = { compaction = { type = \"summarize\" } }",
            "is refused without the beta that it belongs to; add \"compact-2026-09-04\" to \
             `request.betas`",
        ),
        (
            "params = { compaction = { type = \"all\" } }\nbetas = [\"compact-2026-09-04\"]",
            "`request.params.compaction` must have the type \"summarize\"",
        ),
        (
            "params = \
             { compaction = { type = \"summarize\" }, context_management = {} }\nbetas = \
             [\"compact-2026-09-04\"]",
            "cannot be used with `context_management`",
        ),
        (
            "params = \
             { output_config = { task_budget = { type = \"tokens\", total = 50000 } } }",
            "`request.params.output_config.task_budget` is refused without the beta",
        ),
        (
            "params = { output_config = { task_budget = { total = 5 } } }\nbetas = \
             [\"task-budgets-2026-03-13\"]",
            "`request.params.output_config.task_budget` must have the type \"tokens\"",
        ),
        (
            "params = { mcp_servers = [] }",
            "add \"mcp-client-2026-09-15\" to `request.betas`",
        ),
        (
            "betas = [\"output-300k\"]",
            "`request.betas` has the unknown beta `output-300k`",
        ),
    ] {
        let found = head(&options.replace("TOOLS ", TOOLS)).unwrap_err();
        assert!(
            found.contains(words),
            "{options}\n  expected {words}\n  found    {found}"
        );
    }
}

#[test]
fn takes_what_a_batch_takes() {
    for (options, sent) in [
        ("params = { stream = false }", r#""stream":false,"#),
        (
            "params = { cache_control = { type = \"ephemeral\" } }",
            r#""cache_control":{"type":"ephemeral"},"#,
        ),
        (
            "params = { fallback_credit_token = \"t\" }",
            r#""fallback_credit_token":"t","#,
        ),
        (
            "params = { compaction = { type = \"summarize\" } }\nbetas = \
             [\"compact-2026-09-04\"]",
            r#""compaction":{"type":"summarize"},"#,
        ),
        (
            "params = \
             { output_config = { task_budget = { type = \"tokens\", total = 50000 } } }\nbetas \
             = [\"task-budgets-2026-03-13\"]",
            r#""output_config":{"task_budget":{"type":"tokens","total":50000}},"#,
        ),
        ("params = { brand_new = 1 }", r#""brand_new":1,"#),
    ] {
        assert_eq!(head(options).as_deref(), Ok(sent), "{options}");
    }
}

#[test]
fn a_mark_at_the_end_of_each_row_is_taken_and_warned_of() {
    let job = |system: &str| {
        let job = format!(
            "model = \"claude-opus-4-6\"\nmax_tokens = 10\nmessages = \
             [{{ role = \"user\", text = \"x\" }}]\n{system}\nparams = \
             {{ cache_control = {{ type = \"ephemeral\", ttl = \"1h\" }} }}"
        );
        Requests::compile(
            &toml::from_str(&job).unwrap(),
            Path::new("."),
            &Schema::empty(),
            Catalog::builtin(),
        )
    };
    assert_eq!(
        job("").unwrap().warnings(),
        [RequestWarning::CacheMarkOnRows]
    );
    // It is one of the four, and a longer life stands before a shorter one.
    let short = job("system = [{ text = \"a\", cache = \"5m\" }]")
        .unwrap_err()
        .to_string();
    assert!(short.contains("`request.params.cache_control`"), "{short}");
    let marks = ["a", "b", "c", "d"]
        .map(|text| format!("{{ text = \"{text}\", cache = \"1h\" }}"))
        .join(", ");
    assert!(job(&format!("system = [{marks}]")).is_err());
}

#[test]
fn passes_on_members_that_are_not_known_yet() {
    let sent = head(
        "params = \
        { thinking = { type = \"adaptive\", depth = 3 }, new_thing = [1] }\nbetas = \
        [\"new-thing-2027-01-01\"]\nunknown_betas = true",
    )
    .unwrap();
    assert_eq!(
        sent,
        r#""thinking":{"type":"adaptive","depth":3},"new_thing":[1],"#
    );
}
