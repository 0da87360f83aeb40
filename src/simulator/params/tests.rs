//! What is accepted and what is refused, parameter by parameter.

use serde_json::json;

use super::*;
use crate::catalog::{Catalog, Thinking, Tokenizer};

const BATCH: CallContext<'_> = CallContext {
    endpoint: Endpoint::Batch,
    new_version: true,
    betas: &[],
};
const OLD_BATCH: CallContext<'_> = CallContext {
    new_version: false,
    ..BATCH
};

/// One model of each thinking mode: `extended`, `optional`, `default`, `always`.
fn reader() -> RequestReader {
    let mut catalog = Catalog::builtin().clone();
    let haiku = catalog.model("claude-haiku-4-5").unwrap().1.clone();
    let effort: Vec<String> = ["low", "medium", "high", "xhigh", "max"]
        .map(str::to_owned)
        .into();
    let new = Model {
        aliases: Vec::new(),
        tokenizer: Tokenizer::Second,
        effort,
        sampling: false,
        prefill: false,
        system_messages: true,
        forced_tools: false,
        max_batch_output_tokens: Some(300_000),
        prices: None,
        ..haiku.clone()
    };
    let refusing = |model: Model, kinds: &[&str]| Model {
        thinking_refused: kinds.iter().map(|k| (*k).to_owned()).collect(),
        ..model
    };
    let new = refusing(new, &["enabled"]);
    let always = refusing(
        Model {
            thinking: Thinking::Always,
            ..new.clone()
        },
        &["enabled", "disabled"],
    );
    catalog.models.clear();
    catalog.models.insert(
        "extended".to_owned(),
        Model {
            aliases: vec!["alias".to_owned()],
            ..haiku
        },
    );
    catalog.models.insert(
        "optional".to_owned(),
        Model {
            thinking: Thinking::AdaptiveOptional,
            ..new.clone()
        },
    );
    catalog.models.insert(
        "default".to_owned(),
        Model {
            thinking: Thinking::AdaptiveDefault,
            thinking_off_effort: vec!["high".to_owned()],
            ..new
        },
    );
    catalog.models.insert("always".to_owned(), always);
    RequestReader::new(
        Arc::new(catalog),
        crate::simulator::files::FileStore::nowhere(),
    )
}

/// A good request with some members replaced (or, by null, removed).
fn request(changes: Value) -> String {
    let mut params = json!({"model": "extended", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]});
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => params.as_object_mut().unwrap().remove(key),
            value => params
                .as_object_mut()
                .unwrap()
                .insert(key.clone(), value.clone()),
        };
    }
    params.to_string()
}

fn problem(changes: Value, context: CallContext<'_>) -> Option<String> {
    reader()
        .read(&request(changes), context)
        .err()
        .map(|refusal| format!("{}: {}", refusal.kind, refusal.message))
}

#[test]
fn takes_what_the_api_takes() {
    let betas = |name: &str| vec![name.to_owned()];
    let (long, interleaved, budgets, compact) = (
        betas("output-300k-2026-03-24"),
        betas("interleaved-thinking-2025-05-14"),
        betas("task-budgets-2026-03-13"),
        betas("compact-2026-09-04"),
    );
    let under = |betas| CallContext { betas, ..BATCH };
    let tool = json!({"name": "f", "input_schema": {"type": "object", "properties": {}}});
    for (changes, context) in [
        (json!({}), BATCH),
        (json!({"model": "alias"}), BATCH),
        (json!({"temperature": 0.2}), OLD_BATCH),
        (json!({"model": "always", "temperature": 1.0}), OLD_BATCH),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}),
            BATCH,
        ),
        (
            json!({"model": "optional", "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
            BATCH,
        ),
        (
            json!({"model": "default", "thinking": {"type": "disabled"}}),
            BATCH,
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "tool", "name": "f"}}),
            BATCH,
        ),
        (
            json!({"model": "always", "tools": [tool], "tool_choice": {"type": "auto"}}),
            BATCH,
        ),
        (
            json!({"model": "always", "max_tokens": 300_000}),
            under(&long),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 20_000}, "tools": [tool]}),
            under(&interleaved),
        ),
        (
            json!({"output_config": {"task_budget": {"type": "tokens", "total": 50_000}}}),
            under(&budgets),
        ),
        (
            json!({"compaction": {"type": "summarize"}}),
            under(&compact),
        ),
        (
            json!({"compaction": {"type": "summarize"}, "max_tokens": null}),
            CallContext {
                endpoint: Endpoint::CountTokens,
                ..under(&compact)
            },
        ),
        (json!({"fallback_credit_token": "fct_1"}), BATCH),
        (json!({"stream": false}), BATCH),
        (
            json!({"diagnostics": {"previous_message_id": "msg_1"}, "container": "c"}),
            BATCH,
        ),
        (
            json!({"model": "default", "tools": [{"type": "computer_toolset_20260801"}, {"type": "browser_toolset_20260801"}]}),
            BATCH,
        ),
        (
            json!({"model": "default", "messages": [
                {"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "assistant", "content": "c"},
                {"role": "user", "content": "d"}, {"role": "system", "content": [{"type": "text", "text": "e"}]}
            ]}),
            BATCH,
        ),
        (json!({"something_newer": 1}), BATCH),
        (
            json!({"max_tokens": 0}),
            CallContext {
                endpoint: Endpoint::Message,
                ..BATCH
            },
        ),
        (
            json!({"max_tokens": null}),
            CallContext {
                endpoint: Endpoint::CountTokens,
                ..BATCH
            },
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            BATCH,
        ),
        (json!({"cache_control": {"type": "ephemeral"}}), BATCH),
        (
            json!({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}),
            BATCH,
        ),
        (json!({"inference_geo": "us", "model": "default"}), BATCH),
        (
            json!({"messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR42mP4z8AAQQxwFgBB0gX7b/EWxwAAAABJRU5ErkJggg=="}}
            ]}]}),
            BATCH,
        ),
    ] {
        assert_eq!(problem(changes.clone(), context), None, "{changes}");
    }
}

#[test]
fn refuses_what_the_api_refuses() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let marked = |text: &str, ttl: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}});
    let tool = json!({"name": "f", "input_schema": {"type": "object", "properties": {}}});
    let schema = |schema: Value| json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let cases = [
        (
            json!({"model": null}),
            BATCH,
            "invalid_request_error: model: Field required",
        ),
        (
            json!({"model": "claude-9"}),
            BATCH,
            "not_found_error: model: claude-9",
        ),
        (
            json!({"model": "claude-3-haiku-20240307"}),
            BATCH,
            "not_found_error: model: claude-3-haiku-20240307",
        ),
        (
            json!({"max_tokens": null}),
            BATCH,
            "max_tokens: Field required",
        ),
        (
            json!({"max_tokens": 0}),
            BATCH,
            "max_tokens: Input should be greater than or equal to 1",
        ),
        (
            json!({"max_tokens": "9"}),
            BATCH,
            "max_tokens: Input should be a valid integer",
        ),
        (
            json!({"max_tokens": 64_001}),
            BATCH,
            "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for \
             extended",
        ),
        (
            json!({"max_tokens": 1}),
            CallContext {
                endpoint: Endpoint::CountTokens,
                ..BATCH
            },
            "max_tokens: Extra inputs are not permitted",
        ),
        (
            json!({"max_tokens": null, "container": "c"}),
            CallContext {
                endpoint: Endpoint::CountTokens,
                ..BATCH
            },
            "container: Extra inputs are not permitted",
        ),
        (
            json!({"metdata": {}}),
            BATCH,
            "metdata: Extra inputs are not permitted",
        ),
        (
            json!({"workspace_id": "w"}),
            BATCH,
            "workspace_id: Extra inputs are not permitted",
        ),
        (
            json!({"thread": {"type": "create"}}),
            BATCH,
            "thread: `thread` is not supported in message batches",
        ),
        (
            json!({"compaction": {"type": "summarize"}}),
            BATCH,
            "compaction: Extra inputs are not permitted",
        ),
        (
            json!({"mcp_servers": []}),
            BATCH,
            "mcp_servers: Extra inputs are not permitted",
        ),
        (
            json!({"output_config": {"task_budget": {"type": "tokens", "total": 50_000}}}),
            BATCH,
            "output_config.task_budget: Extra inputs are not permitted",
        ),
        (
            json!({"model": "default", "thinking": {"type": "between_tools"}}),
            BATCH,
            "thinking.type: `between_tools` is not supported on this model",
        ),
        (
            json!({"temperature": 1.0}),
            BATCH,
            "temperature: Extra inputs are not permitted",
        ),
        (
            json!({"temperature": 0.5, "model": "always"}),
            OLD_BATCH,
            "temperature: `temperature` is not supported on this model",
        ),
        (json!({"top_p": 2.0}), OLD_BATCH, "top_p: range: 0..1"),
        (
            json!({"stream": true}),
            BATCH,
            "stream: `stream` is not supported in message batches",
        ),
        (
            json!({"fallbacks": []}),
            BATCH,
            "fallbacks: `fallbacks` is not supported",
        ),
        (
            json!({"speed": "fast"}),
            BATCH,
            "speed: `speed` is not supported",
        ),
        (
            json!({"betas": ["x"]}),
            BATCH,
            "betas: Extra inputs are not permitted",
        ),
        (json!({"messages": null}), BATCH, "messages: Field required"),
        (
            json!({"messages": []}),
            BATCH,
            "messages: at least one message is required",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "x"}]}),
            BATCH,
            "messages: first message must use the \"user\" role",
        ),
        (
            json!({"messages": [{"role": "bot", "content": "x"}]}),
            BATCH,
            "messages: Unexpected role \"bot\"",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "name": "y"}]}),
            BATCH,
            "messages.0.name: Extra inputs",
        ),
        (
            user(json!("")),
            BATCH,
            "messages.0: all messages must have non-empty content",
        ),
        (
            user(json!([])),
            BATCH,
            "messages.0: all messages must have non-empty content",
        ),
        (
            user(json!("  ")),
            BATCH,
            "messages: text content blocks must contain non-whitespace text",
        ),
        (
            user(json!([{"type": "text", "text": ""}])),
            BATCH,
            "messages: text content blocks must be non-empty",
        ),
        (
            user(json!([{"type": "picture"}])),
            BATCH,
            "messages.0.content.0.type: ",
        ),
        (
            user(json!([marked("", "5m")])),
            BATCH,
            "messages.0.content.0.cache_control: cache_control cannot be set for empty text blocks",
        ),
        (
            user(json!([marked("a", "5m"), marked("b", "1h")])),
            BATCH,
            "messages.0.content.1.cache_control.ttl: a ttl='1h'",
        ),
        (
            user(json!([marked("a", "2h")])),
            BATCH,
            "messages.0.content.0.cache_control.ttl: Input should be '5m' or '1h'",
        ),
        (
            user(Value::Array(vec![marked("a", "1h"); 5])),
            BATCH,
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            json!({"model": "always", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            BATCH,
            "This model does not support assistant message prefill.",
        ),
        (
            json!({"thinking": {"type": "adaptive"}}),
            BATCH,
            "thinking.type: `adaptive` is not supported",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 500}}),
            BATCH,
            "thinking.enabled.budget_tokens: Input should be greater",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
            BATCH,
            "`max_tokens` must be greater than",
        ),
        (
            json!({"model": "optional", "thinking": {"type": "enabled", "budget_tokens": 2000}}),
            BATCH,
            "thinking.type: `enabled` is not",
        ),
        (
            json!({"model": "always", "thinking": {"type": "disabled"}}),
            BATCH,
            "thinking.type: `disabled` is not supported",
        ),
        (
            json!({"model": "default", "thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}),
            BATCH,
            "thinking.type: thinking can only be disabled at effort high or below",
        ),
        (
            json!({"output_config": {"effort": "low"}}),
            BATCH,
            "output_config.effort: This model does not support",
        ),
        (
            json!({"model": "always", "output_config": {"effort": "huge"}}),
            BATCH,
            "output_config.effort: Input should be one of 'low'",
        ),
        (
            schema(json!({"type": "object"})),
            BATCH,
            "output_config.format.schema: `additionalProperties`: ",
        ),
        (
            json!({"tools": [tool, tool]}),
            BATCH,
            "tools: Tool names must be unique.",
        ),
        (
            json!({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}),
            BATCH,
            "tools.0.custom.name: String should match",
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "tool", "name": "g"}}),
            BATCH,
            "Tool 'g' not found in provided tools",
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "any"}, "model": "always"}),
            BATCH,
            "tool_choice.type: `any` is not supported",
        ),
        (
            json!({"tool_choice": {"type": "auto"}}),
            BATCH,
            "tool_choice: may only be specified while providing tools",
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "none", "disable_parallel_tool_use": true}}),
            BATCH,
            "tool_choice.none.disable_parallel_tool_use: Extra inputs",
        ),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a"], "blocked_domains": ["b"]}]}),
            BATCH,
            "has both `allowed_domains` and `blocked_domains`",
        ),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": -1}]}),
            BATCH,
            "tools.0.max_uses: must be a whole number, at least 1",
        ),
        (
            json!({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}),
            BATCH,
            "tools.0: the request has `web_search_20260318`, which is for models from Claude 4.6 on",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
            BATCH,
            "messages.1: role 'system' is not supported on this model",
        ),
        (
            json!({"model": "default", "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "a"}]}),
            BATCH,
            "messages.0: role 'system' cannot come first",
        ),
        (
            json!({"model": "default", "messages": [
                {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "system", "content": "c"}
            ]}),
            BATCH,
            "messages.2: role 'system' must follow a 'user' message",
        ),
        (
            json!({"model": "default", "messages": [
                {"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}
            ]}),
            BATCH,
            "messages.1: role 'system' must precede an 'assistant' message or end the array",
        ),
        (
            json!({"model": "default", "messages": [{"role": "user", "content": "a"}, {"role": "system", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
            ]}]}),
            BATCH,
            "messages.1.content.0.type: ",
        ),
        (
            json!({"model": "optional", "thinking": {"type": "adaptive", "display": "full"}}),
            BATCH,
            "thinking.adaptive.display: Input should be",
        ),
        (
            json!({"model": "optional", "thinking": {"type": "adaptive", "budget_tokens": 2000}}),
            BATCH,
            "thinking.adaptive.budget_tokens: Extra inputs",
        ),
        (
            json!({"inference_geo": "us"}),
            BATCH,
            "inference_geo: `inference_geo` is not supported",
        ),
        (
            json!({"stop_sequences": [" "]}),
            BATCH,
            "stop_sequences.0: each stop sequence must contain non-whitespace",
        ),
        (
            json!({"metadata": {"who": 1}}),
            BATCH,
            "metadata.who: Extra inputs are not permitted",
        ),
        (
            json!({"system": [{"type": "text", "text": ""}]}),
            BATCH,
            "system: text content blocks must be non-empty",
        ),
        (
            json!({"system": 7}),
            BATCH,
            "system: Input should be a valid string or list",
        ),
        (
            user(json!("long ".repeat(200_000))),
            BATCH,
            "prompt is too long: ",
        ),
    ];
    for (changes, context, expected) in cases {
        let found = problem(changes.clone(), context).unwrap_or_default();
        let shown: String = changes.to_string().chars().take(200).collect();
        assert!(
            found.contains(expected),
            "{shown}\n  expected {expected}\n  found    {found}"
        );
    }
}

#[test]
fn counting_and_answering_agree_on_the_tokens() {
    let mut reader = reader();
    let changes = json!({"system": "Be brief.", "tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    let answered = reader
        .read(&request(changes.clone()), BATCH)
        .unwrap()
        .row
        .input_tokens;
    let mut counted = changes;
    counted["max_tokens"] = Value::Null;
    let counted = reader
        .read(
            &request(counted),
            CallContext {
                endpoint: Endpoint::CountTokens,
                ..BATCH
            },
        )
        .unwrap()
        .row
        .input_tokens;
    assert_eq!(answered, counted);
}

#[test]
fn requests_of_a_run_share_one_head() {
    let mut reader = reader();
    let one = reader
        .read(&request(json!({"system": "s"})), BATCH)
        .unwrap();
    let other = json!({"system": "s", "messages": [{"role": "user", "content": "other"}]});
    assert!(Arc::ptr_eq(
        &one.head,
        &reader.read(&request(other), BATCH).unwrap().head
    ));
    let another = reader
        .read(&request(json!({"system": "t"})), BATCH)
        .unwrap();
    assert!(!Arc::ptr_eq(&one.head, &another.head));
}

#[test]
fn forgets_heads_when_every_row_has_its_own() {
    let mut reader = reader();
    for n in 0..200 {
        reader
            .read(&request(json!({"system": format!("row {n}")})), BATCH)
            .unwrap();
    }
    assert!(reader.heads.len() <= reader::MAX_HEADS);
}

/// A request that `check` accepts is answered, and one that it refuses would have failed every row:
/// each model with each option.
#[test]
fn agrees_with_what_is_checked_before_sending() {
    use crate::request::{RequestSpec, Requests};
    let catalog = Arc::new(Catalog::builtin().clone());
    let mut reader = RequestReader::new(
        Arc::clone(&catalog),
        crate::simulator::files::FileStore::nowhere(),
    );
    let options = agreement::options();
    let mut compared = 0;
    for id in catalog.models.keys() {
        for option in &options {
            let user = "{ role = \"user\", text = \"x\" }";
            let limit = if option.contains("max_tokens = ") {
                ""
            } else {
                "max_tokens = 2000\n"
            };
            let messages = if option.contains("messages = ") {
                String::new()
            } else {
                format!("messages = [{user}]\n")
            };
            let compile = |model: &str| {
                let spec: RequestSpec =
                    toml::from_str(&format!("model = \"{model}\"\n{limit}{messages}{option}"))
                        .unwrap();
                let folder = std::path::Path::new(".");
                (
                    Requests::compile(&spec, folder, &arrow::datatypes::Schema::empty(), &catalog),
                    spec,
                )
            };
            let (checked, spec) = compile(id);
            let sent =
                |requests: &Requests| String::from_utf8(requests.params_json(b"]}")).unwrap();
            // What is rejected is still sent, past the check: as for a model of which no rules are
            // known.
            let sent = match (&checked, compile("no-rules").0) {
                (Ok(requests), _) => sent(requests),
                (Err(_), Ok(lenient)) => sent(&lenient).replace("no-rules", id),
                // What no model takes is refused whatever the model.
                (Err(_), Err(_)) => continue,
            };
            let context = CallContext {
                endpoint: Endpoint::Batch,
                new_version: spec.api_version.is_none(),
                betas: &spec.betas,
            };
            let answered = reader.read(&sent, context);
            let (checked, answered) = (
                checked.map(|_| ()).map_err(|e| e.to_string()),
                answered.map(|_| ()).map_err(|r| r.message),
            );
            assert_eq!(
                checked.is_ok(),
                answered.is_ok(),
                "{id}: {option}\n  checked  {checked:?}\n  answered {answered:?}"
            );
            compared += 1;
        }
    }
    assert!(compared > 1_000, "{compared}");
}

/// The parameters that the test above tries, each as a piece of a job's `[request]`.
mod agreement {
    pub(super) fn options() -> Vec<String> {
        let tool = "tools = [{ name = \"f\", input_schema = { type = \"object\" } }]\n";
        let old = "api_version = \"2023-06-01\"\n";
        let user = "{ role = \"user\", text = \"x\" }";
        let mut options: Vec<String> = [
            "",
            "thinking = \"adaptive\"",
            "thinking = \"off\"",
            "thinking = \"between_tools\"",
            "thinking = { budget_tokens = 1024 }",
            "thinking = { budget_tokens = 2000 }",
            "thinking = { budget_tokens = 5000 }\nbetas = [\"interleaved-thinking-2025-05-14\"]",
            "temperature = 0.5",
            "inference_geo = \"us\"",
            "inference_geo = \"global\"",
            "stop_sequences = [\"END\"]",
            "betas = [\"context-1m-2025-08-07\"]",
            "params = { service_tier = \"auto\" }",
            "params = { stream = false }",
            "params = { cache_control = { type = \"ephemeral\", ttl = \"1h\" } }",
            "params = \
             { metadata = { user_id = \"u\" }, container = \"c\", diagnostics = { previous_message_id = \"m\" } }",
            "params = { fallback_credit_token = \"t\" }",
            "params = { user_profile_id = \"p\" }",
            "params = { something_newer = [1] }",
            "params = \
             { output_config = { task_budget = { type = \"tokens\", total = 50000 } } }\nbetas = \
             [\"task-budgets-2026-03-13\"]",
            "params = { compaction = { type = \"summarize\" } }\nbetas = [\"compact-2026-09-04\"]",
            "params = { context_management = { edits = [] } }\nbetas = \
             [\"context-management-2025-06-27\"]",
            "params = { mcp_servers = [] }\nbetas = [\"mcp-client-2025-11-20\"]",
            "params = \
             { output_config = { format = { type = \"json_schema\", schema = { type = \"boolean\" } } } }",
        ]
        .map(str::to_owned)
        .into();
        options.extend(
            ["low", "medium", "high", "xhigh", "max", "more"]
                .map(|effort| format!("effort = \"{effort}\"")),
        );
        for effort in ["low", "high", "xhigh", "max"] {
            options.extend(
                ["off", "between_tools"]
                    .map(|thinking| format!("effort = \"{effort}\"\nthinking = \"{thinking}\"")),
            );
        }
        options.extend(
            ["auto", "any", "none"].map(|choice| format!("{tool}tool_choice = \"{choice}\"")),
        );
        options.push(format!(
            "{tool}tool_choice = {{ type = \"tool\", name = \"f\" }}"
        ));
        options.push(format!(
            "{tool}tool_choice = \"any\"\nthinking = {{ budget_tokens = 1024 }}"
        ));
        options.push(format!("{tool}thinking = {{ budget_tokens = 5000 }}"));
        options.push(format!(
            "{tool}thinking = {{ budget_tokens = 5000 }}\nbetas = \
            [\"interleaved-thinking-2025-05-14\"]"
        ));
        options.extend(
            [
                "temperature = 1",
                "temperature = 0.5",
                "top_p = 0.5",
                "top_k = 5",
                "temperature = 1\ntop_p = 0.5",
            ]
            .map(|o| format!("{old}{o}")),
        );
        for max_tokens in [1, 2_000, 64_000, 64_001, 128_000, 128_001, 300_000, 300_001] {
            options.push(format!("max_tokens = {max_tokens}"));
            options.push(format!(
                "max_tokens = {max_tokens}\nbetas = [\"output-300k-2026-03-24\"]"
            ));
        }
        for turns in [
            "assistant",
            "system",
            "assistant, user, system",
            "system, assistant, user",
            "system, system",
        ] {
            let message = |role: &str| format!("{{ role = \"{role}\", text = \"y\" }}");
            let turns: Vec<String> = turns.split(", ").map(message).collect();
            options.push(format!("messages = [{user}, {}]", turns.join(", ")));
        }
        let tools = [
            "{ server = \"web_search\", max_uses = 3, allowed_domains = [\"example.org\"] }",
            "{ server = \"web_search\", type = \"web_search_20250305\" }",
            "{ server = \"web_search\", type = \"web_search_20260318\" }",
            "{ server = \"web_search\", type = \"web_search_20260318\", allowed_callers = [\"direct\"] }",
            "{ server = \"web_fetch\", citations = { enabled = true } }",
            "{ server = \"code_execution\" }",
            "{ type = \"computer_toolset_20260801\" }",
            "{ type = \"browser_toolset_20260801\", configs = {} }",
            "{ type = \"computer_20251124\", name = \"computer\", display_width_px = 800, display_height_px = 600 }",
            "{ type = \"bash_20250124\", name = \"bash\" }, \
             { type = \"memory_20250818\", name = \"memory\" }",
            "{ type = \"text_editor_20250728\", name = \"str_replace_based_edit_tool\", max_characters = 100 }",
            "{ type = \"tool_search_tool_bm25\", name = \"tool_search_tool_bm25\" }",
            "{ type = \"mcp_toolset\", mcp_server_name = \"desk\" }",
            "{ type = \"brand_new_20270101\", name = \"brand_new\", max_uses = \"some\" }",
        ];
        options.extend(tools.map(|tool| format!("tools = [{tool}]")));
        for advisor in [
            "claude-opus-5-5",
            "claude-opus-4-8",
            "claude-opus-4-7",
            "claude-sonnet-5",
            "claude-haiku-5-5",
            "claude-fable-5-2",
            "claude-x",
        ] {
            options.push(format!(
                "tools = \
                [{{ type = \"advisor_20260301\", name = \"advisor\", model = \"{advisor}\" }}]"
            ));
        }
        options
    }
}
