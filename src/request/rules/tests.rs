//! What models accept, and what is warned of.

use std::path::Path;

use arrow::datatypes::Schema;

use crate::catalog::Catalog;
use crate::request::{RequestWarning, Requests};

/// The warnings about a job, or why it is refused.
fn compile(model: &str, options: &str) -> Result<Vec<RequestWarning>, String> {
    let messages = if options.contains("messages") {
        ""
    } else {
        "messages = [{ role = \"user\", text = \"x\" }]\n"
    };
    let job = format!("model = \"{model}\"\n{messages}{options}");
    let job = if options.contains("max_tokens") {
        job
    } else {
        format!("max_tokens = 4000\n{job}")
    };
    let spec = toml::from_str(&job).map_err(|e| e.to_string())?;
    let requests = Requests::compile(&spec, Path::new("."), &Schema::empty(), Catalog::builtin());
    requests
        .map(|requests| requests.warnings().to_vec())
        .map_err(|e| e.to_string())
}

const TOOL: &str = "tools = [{ name = \"f\", input_schema = { type = \"object\" } }]\n";

const SYSTEM: &str = "messages = [{ role = \"user\", text = \"x\" }, \
    { role = \"system\", text = \"Be brief.\" }]";

fn advised_by(model: &str) -> String {
    let tool =
        format!("{{ type = \"advisor_20260301\", name = \"advisor\", model = \"{model}\" }}");
    format!("tools = [{tool}]\nbetas = [\"advisor-tool-2026-03-01\"]")
}

#[test]
fn models_differ_in_what_they_take() {
    let old = "api_version = \"2023-06-01\"\n";
    for (model, options, words) in [
        ("claude-opus-5-5", "effort = \"xhigh\"", ""),
        (
            "claude-opus-4-6",
            "effort = \"xhigh\"",
            "`request.effort` is \"xhigh\", which `claude-opus-4-6` does not take; it takes \
             \"low\", \"medium\", \"high\", \"max\"",
        ),
        (
            "claude-haiku-4-5",
            "effort = \"low\"",
            "`request.effort` is \"low\", but `claude-haiku-4-5` has no levels of effort; \
             leave it out",
        ),
        (
            "claude-haiku-4-5",
            "params = { output_config = { effort = \"low\" } }",
            "`request.params.output_config.effort` is \"low\", but",
        ),
        ("claude-haiku-5-5", "thinking = \"off\"", ""),
        (
            "claude-opus-5-5",
            "thinking = \"off\"",
            "`request.thinking` is of the type \"disabled\", which `claude-opus-5-5` does not \
             take; leave it out: the model always thinks",
        ),
        (
            "claude-sonnet-5-5",
            "params = { thinking = { type = \"disabled\" } }",
            "`request.params.thinking` is of the type \"disabled\", which `claude-sonnet-5-5` \
             does not take; use \"between_tools\"",
        ),
        ("claude-sonnet-5-5", "thinking = \"between_tools\"", ""),
        ("claude-opus-5", "thinking = \"off\"\neffort = \"high\"", ""),
        (
            "claude-opus-5",
            "thinking = \"off\"\neffort = \"max\"",
            "`request.thinking` is off, which `claude-opus-5` does not take at the effort \
             \"max\"; lower the effort to \"low\"",
        ),
        (
            "claude-haiku-5-5",
            "thinking = \"off\"\neffort = \"high\"",
            "",
        ),
        (
            "claude-haiku-5-5",
            "thinking = \"off\"\neffort = \"xhigh\"",
            "`request.thinking` is off, which `claude-haiku-5-5` does not take",
        ),
        (
            "claude-sonnet-5-5",
            "thinking = \"between_tools\"\neffort = \"high\"",
            "",
        ),
        (
            "claude-sonnet-5-5",
            "thinking = \"between_tools\"\nparams = { output_config = { effort = \"max\" } }",
            "`request.thinking` is off, which `claude-sonnet-5-5` does not take at the effort \
             \"max\"",
        ),
        (
            "claude-haiku-5-5",
            "thinking = \"between_tools\"",
            "`request.thinking` is of the type \"between_tools\", which `claude-haiku-5-5` \
             does not take; use \"off\"",
        ),
        (
            "claude-opus-5-5",
            "thinking = \"between_tools\"",
            "does not take; leave it out: the model always thinks",
        ),
        (
            "claude-opus-4-8",
            "thinking = { budget_tokens = 2000 }",
            "which `claude-opus-4-8` does not take; use \"adaptive\"",
        ),
        ("claude-opus-4-6", "thinking = { budget_tokens = 2000 }", ""),
        (
            "claude-sonnet-4-5",
            "thinking = \"adaptive\"",
            "give it a budget",
        ),
        (
            "claude-haiku-4-5",
            "thinking = { budget_tokens = 4000 }",
            "`request.thinking` has a budget of 4000 tokens, and the whole answer has 4000",
        ),
        (
            "claude-haiku-4-5",
            &format!(
                "{TOOL}thinking = {{ budget_tokens = 4000 }}\nbetas = \
                 [\"interleaved-thinking-2025-05-14\"]"
            ),
            "",
        ),
        (
            "claude-haiku-4-5",
            "thinking = { budget_tokens = 4000 }\nbetas = [\"interleaved-thinking-2025-05-14\"]",
            "and the whole answer has 4000",
        ),
        (
            "claude-sonnet-5-5",
            "tools = \
             [{ type = \"computer_20251124\", name = \"computer\", display_width_px = 8, display_height_px = 8 }]",
            "`request.tools` has a tool of the type `computer_20251124`, which \
             `claude-sonnet-5-5` does not take; use `{ type = \"computer_toolset_20260801\" }`",
        ),
        (
            "claude-sonnet-5-5",
            "tools = [{ type = \"computer_toolset_20260801\" }]",
            "",
        ),
        (
            "claude-haiku-4-5",
            "tools = [{ server = \"web_search\", type = \"web_search_20260318\" }]",
            "`request.tools` has `web_search_20260318`, which is for models from Claude 4.6 on \
             and not for `claude-haiku-4-5`; write \
             `{ server = \"web_search\", type = \"web_search_20250305\" }`",
        ),
        (
            "claude-haiku-4-5",
            "tools = \
             [{ server = \"web_search\", type = \"web_search_20260318\", allowed_callers = [\"direct\"] }]",
            "",
        ),
        (
            "claude-sonnet-5-5",
            &advised_by("claude-opus-4-8"),
            "`request.tools` has `claude-opus-4-8` as advisor, which `claude-sonnet-5-5` does \
             not take",
        ),
        ("claude-sonnet-5-5", &advised_by("claude-opus-5-5"), ""),
        (
            "claude-fable-5-2",
            &advised_by("claude-opus-5-5"),
            "use `claude-fable-5-2` or `claude-mythos-5-2`",
        ),
        ("claude-fable-5-2", &advised_by("claude-mythos-5-2"), ""),
        (
            "claude-opus-5",
            &advised_by("claude-opus-4-1"),
            "has the advisor `claude-opus-4-1`, which is retired; use `claude-opus-5-5`",
        ),
        (
            "claude-opus-5",
            &advised_by("claude-opus-55"),
            "has the unknown advisor `claude-opus-55`; did you mean",
        ),
        ("claude-opus-5", SYSTEM, ""),
        (
            "claude-opus-4-7",
            SYSTEM,
            "`request.messages` has a message of the role `system`, which `claude-opus-4-7` \
             does not take; put it into `request.system`",
        ),
        ("claude-opus-5", &format!("{TOOL}tool_choice = \"any\""), ""),
        (
            "claude-opus-5-5",
            &format!("{TOOL}tool_choice = \"any\""),
            "`request.tool_choice` is \"any\", and `claude-opus-5-5` cannot be forced to call \
             a tool",
        ),
        (
            "claude-opus-5-5",
            &format!("{TOOL}tool_choice = \"auto\""),
            "",
        ),
        (
            "claude-haiku-4-5",
            &format!(
                "{TOOL}thinking = {{ budget_tokens = 2000 }}\ntool_choice = \
                 {{ type = \"tool\", name = \"f\" }}"
            ),
            "does not go together with a budget",
        ),
        (
            "claude-haiku-4-5",
            "temperature = 0.0",
            "`request.temperature` is refused under API version 2026-10-21, even at its \
             default; leave it out, or set `request.api_version",
        ),
        (
            "claude-haiku-4-5",
            &format!("{old}temperature = 0.0\ntop_k = 5"),
            "",
        ),
        (
            "claude-haiku-4-5",
            &format!("{old}temperature = 0.0\ntop_p = 0.5"),
            "`request.top_p` stands beside `temperature`",
        ),
        (
            "claude-opus-5",
            &format!("{old}temperature = 0.0"),
            "`request.temperature` is not taken by `claude-opus-5`, which has no sampling \
             parameters",
        ),
        ("claude-opus-5", &format!("{old}temperature = 1"), ""),
        (
            "claude-opus-5",
            "params = { temperature = 1 }",
            "`request.params.temperature` is not taken",
        ),
        (
            "claude-haiku-4-5",
            "inference_geo = \"us\"",
            "`request.inference_geo` is not taken by `claude-haiku-4-5`; it came with Claude \
             4.6",
        ),
        ("claude-opus-4-6", "inference_geo = \"us\"", ""),
        (
            "claude-haiku-4-5",
            "max_tokens = 64001",
            "`request.max_tokens` is 64001, but `claude-haiku-4-5` makes at most 64000 tokens \
             an answer; lower it",
        ),
        (
            "claude-opus-5",
            "max_tokens = 200000",
            "add \"output-300k-2026-03-24\" to `request.betas`, with which it makes 300000",
        ),
        (
            "claude-opus-5",
            "max_tokens = 200000\nbetas = [\"output-300k-2026-03-24\"]",
            "",
        ),
        (
            "claude-opus-5",
            "messages = [{ role = \"user\", text = \"x\" }, \
             { role = \"assistant\", text = \"{\" }]",
            "`request.messages` ends with a message of the role `assistant`",
        ),
        (
            "claude-haiku-4-5",
            "messages = [{ role = \"user\", text = \"x\" }, \
             { role = \"assistant\", text = \"{\" }]",
            "",
        ),
    ] {
        let found = compile(model, options);
        let expected = if words.is_empty() {
            found == Ok(Vec::new())
        } else {
            matches!(&found, Err(e) if e.contains(words))
        };
        assert!(
            expected,
            "{model}: {options}\n  expected {words}\n  found    {found:?}"
        );
    }
}

#[test]
fn warns_where_thinking_may_leave_no_answer() {
    let tight = |model: &str, can_be_off| RequestWarning::LittleRoomToThink {
        model: model.to_owned(),
        max_tokens: 50,
        enough_tokens: 1_024,
        can_be_off,
    };
    for (model, options, can_be_off) in [
        ("claude-opus-5-5", "max_tokens = 50", Some(false)),
        ("claude-haiku-5-5", "max_tokens = 50", Some(true)),
        (
            "claude-haiku-5-5",
            "max_tokens = 50\nthinking = \"off\"",
            None,
        ),
        (
            "claude-sonnet-5-5",
            "max_tokens = 50\nthinking = \"between_tools\"",
            None,
        ),
        ("claude-opus-4-8", "max_tokens = 50", None),
        (
            "claude-opus-4-8",
            "max_tokens = 50\nthinking = \"adaptive\"",
            Some(false),
        ),
        ("claude-haiku-4-5", "max_tokens = 50", None),
    ] {
        let expected: Vec<_> = can_be_off
            .map(|off| tight(model, off))
            .into_iter()
            .collect();
        assert_eq!(compile(model, options), Ok(expected), "{model}: {options}");
    }
}

#[test]
fn warns_of_betas_that_are_missing_or_have_no_effect() {
    let long_context = |model: &str, context_tokens| RequestWarning::LongContextWithoutEffect {
        beta: "context-1m-2025-08-07".to_owned(),
        model: model.to_owned(),
        context_tokens,
    };
    for (model, options, expected) in [
        (
            "claude-sonnet-4-5",
            "betas = [\"context-1m-2025-08-07\"]",
            long_context("claude-sonnet-4-5", 200_000),
        ),
        (
            "claude-opus-4-8",
            "betas = [\"context-1m-2025-08-07\"]",
            long_context("claude-opus-4-8", 1_000_000),
        ),
        (
            "claude-opus-4-8",
            "tools = [{ type = \"mcp_toolset\", mcp_server_name = \"desk\" }]",
            RequestWarning::ToolNeedsBeta {
                tool: "desk".to_owned(),
                beta: "mcp-client-2026-09-15".to_owned(),
            },
        ),
        (
            "claude-haiku-4-5",
            "betas = [\"output-300k-2026-03-24\"]",
            RequestWarning::LongOutputWithoutEffect {
                beta: "output-300k-2026-03-24".to_owned(),
                model: "claude-haiku-4-5".to_owned(),
                max_output_tokens: 64_000,
            },
        ),
    ] {
        assert_eq!(
            compile(model, options),
            Ok(vec![expected]),
            "{model}: {options}"
        );
    }
}
