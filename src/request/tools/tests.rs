//! Definitions, short names, and the table of the provider's tools.

use super::server_tools::{SERVER_TOOLS, version_of};
use super::settings::SETTINGS;
use super::*;
use serde_json::json;
use std::path::Path;

const LOOKUP: &str = r#"{"name":"lookup","description":"Looks up.","input_schema":{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"number"}}}}"#;

#[derive(Deserialize)]
struct ToolsSection {
    tools: Vec<ToolSpec>,
}

fn tools(toml: &str, files: &[(&str, &str)]) -> Result<Vec<Tool>, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let written: ToolsSection =
        toml::from_str(&format!("tools = {toml}")).map_err(|e| e.message().to_owned())?;
    compile(&written.tools, true, folder.path(), &mut Vec::new()).map_err(|e| e.to_string())
}

#[test]
fn keeps_definitions_as_they_are_written() {
    let found = tools(
        "[\"one.json\", { file = \"list.json\", strict = false, cache = \"1h\" }]",
        &[
            ("one.json", LOOKUP),
            (
                "list.json",
                &format!(
                    "[{},{}]",
                    LOOKUP.replace("lookup", "b"),
                    LOOKUP.replace("lookup", "c")
                ),
            ),
        ],
    );
    let found = found.unwrap();
    assert_eq!(found[0].definition.to_string(), LOOKUP);
    assert_eq!(
        found
            .iter()
            .map(|tool| (tool.name.as_str(), tool.cache))
            .collect::<Vec<_>>(),
        [
            ("lookup", None),
            ("b", None),
            ("c", Some(CacheTtl::OneHour)),
        ]
    );
    let marked = r#""strict":false,"cache_control":{"type":"ephemeral","ttl":"1h"}}"#;
    assert!(
        found[2].definition.to_string().ends_with(marked),
        "{}",
        found[2].definition
    );
    assert_eq!(
        found[0].input_schema.as_ref().unwrap()["properties"]["z"],
        json!({"type": "string"})
    );
}

#[test]
fn knows_tools_of_the_provider_by_short_names_and_passes_on_others() {
    let found = tools(
        "[{ server = \"web_search\", max_uses = 3, cache = \"5m\" }, { server = \"web_fetch\", type = \"web_fetch_20270910\", own = 1 },
          { type = \"mcp_toolset\", mcp_server_name = \"desk\" }, { type = \"new_tool_20270101\", name = \"new\", x = [1] }]",
        &[],
    );
    let found = found.unwrap();
    let sent: Vec<String> = found
        .iter()
        .map(|tool| tool.definition.to_string())
        .collect();
    assert_eq!(
        sent,
        [
            r#"{"type":"web_search_20260318","name":"web_search","max_uses":3,"cache_control":{"type":"ephemeral","ttl":"5m"}}"#,
            r#"{"type":"web_fetch_20270910","name":"web_fetch","own":1}"#,
            r#"{"type":"mcp_toolset","mcp_server_name":"desk"}"#,
            r#"{"type":"new_tool_20270101","name":"new","x":[1]}"#,
        ]
    );
    assert!(found.iter().all(|tool| tool.input_schema.is_none()));
    let old = compile(
        &[ToolSpec::Table(
            json!({"server": "web_search"}).as_object().unwrap().clone(),
        )],
        false,
        Path::new("."),
        &mut Vec::new(),
    );
    assert_eq!(old.unwrap()[0].definition["type"], "web_search_20250305");
}

#[test]
fn agrees_with_the_types_of_the_sdk() {
    let facts: Value =
        serde_json::from_str(include_str!("../../../tests/data/sdk_facts.json")).unwrap();
    let known = facts["tools"].as_object().unwrap();
    for (kind, facts) in known.iter().filter(|(kind, _)| *kind != "mcp_toolset") {
        let Some((_, Some(version))) = version_of(kind) else {
            panic!("the table has no `{kind}`")
        };
        assert_eq!(version.name, facts["name"].as_str(), "{kind}");
        assert_eq!(version.beta.is_some(), facts["beta"] == true, "{kind}");
        let has: Vec<&str> = facts["settings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap())
            .collect();
        assert!(has.iter().all(|key| version.has(key)), "{kind}: {has:?}");
        assert!(
            version.settings.iter().all(|key| has.contains(key)),
            "{kind}: {has:?}"
        );
    }
    for tool in SERVER_TOOLS {
        for version in tool.versions {
            assert!(
                known.contains_key(&format!("{}{}", tool.prefix, version.day)),
                "{}{}",
                tool.prefix,
                version.day
            );
        }
    }
    let forms = SETTINGS.iter().map(|(key, ..)| *key);
    assert!(forms.is_sorted(), "so that a setting is found");
}

#[test]
fn takes_settings_as_they_are_documented() {
    for tool in [
        "{ server = \"web_search\", user_location = { type = \"approximate\", city = \"Oslo\", country = \"NO\" } }",
        "{ server = \"web_search\", blocked_domains = [\"example.org/news\"], response_inclusion = \"excluded\", strict = true }",
        "{ server = \"web_fetch\", max_content_tokens = 5000, use_cache = false, citations = { enabled = false }, url_sources = {} }",
        "{ server = \"code_execution\", allowed_callers = [\"direct\"] }",
        "{ type = \"computer_toolset_20260801\", configs = { zoom = { enabled = false } } }",
        "{ type = \"browser_toolset_20260801\" }",
        "{ type = \"mcp_toolset\", mcp_server_name = \"desk\", default_config = { enabled = true } }",
        "{ type = \"advisor_20260301\", name = \"advisor\", model = \"m\", max_uses = 2, caching = { type = \"ephemeral\", ttl = \"1h\" } }",
        // A newer version, or another tool, may have settings that are something else.
        "{ type = \"web_search_20290101\", name = \"web_search\", depth = 2 }",
        "{ type = \"brand_new_20270101\", name = \"x\", max_uses = \"many\" }",
    ] {
        assert!(
            tools(&format!("[{tool}]"), &[]).is_ok(),
            "{tool}: {:?}",
            tools(&format!("[{tool}]"), &[])
        );
    }
}

#[test]
fn refuses_settings_that_fail_every_row() {
    for (tool, words) in [
        (
            "{ server = \"web_search\", max_uses = -1 }",
            "has a `max_uses` that must be a whole number, at least 1",
        ),
        ("{ server = \"web_search\", max_uses = 0 }", "`max_uses`"),
        (
            "{ server = \"web_search\", max_uses = \"3\" }",
            "`max_uses`",
        ),
        (
            "{ server = \"web_search\", allowed_domains = \"example.org\" }",
            "`allowed_domains` that must be a list of domains",
        ),
        (
            "{ server = \"web_search\", allowed_domains = [] }",
            "`allowed_domains`",
        ),
        (
            "{ server = \"web_search\", blocked_domains = [\"https://example.org\"] }",
            "without `https://`",
        ),
        (
            "{ type = \"web_search_20250305\", name = \"web_search\", allowed_domains = [\"a.org\"], blocked_domains = [\"b.org\"] }",
            "takes one of them",
        ),
        (
            "{ server = \"web_fetch\", allowed_domains = [\"a.org\"], blocked_domains = [\"b.org\"] }",
            "takes one of them",
        ),
        (
            "{ server = \"web_search\", user_location = { city = \"Oslo\" } }",
            "`user_location` that must be a table with `type",
        ),
        (
            "{ server = \"web_search\", user_location = { type = \"exact\" } }",
            "`user_location`",
        ),
        (
            "{ server = \"web_search\", user_location = { type = \"approximate\", country = \"Norway\" } }",
            "`user_location`",
        ),
        (
            "{ server = \"web_search\", user_location = \"Oslo\" }",
            "`user_location`",
        ),
        (
            "{ server = \"web_search\", response_inclusion = \"some\" }",
            "\"full\" or \"excluded\"",
        ),
        (
            "{ server = \"web_fetch\", citations = true }",
            "`citations` that must be `{ enabled = true }`",
        ),
        (
            "{ server = \"web_fetch\", max_content_tokens = 0.5 }",
            "`max_content_tokens`",
        ),
        (
            "{ server = \"web_fetch\", use_cache = \"no\" }",
            "`true` or `false`",
        ),
        (
            "{ server = \"web_search\", use_cache = true }",
            "`use_cache` that is not among the settings of `web_search_20260318`",
        ),
        (
            "{ server = \"web_search\", type = \"web_search_20250305\", response_inclusion = \"full\" }",
            "`response_inclusion` that is not among the settings of `web_search_20250305`",
        ),
        (
            "{ type = \"web_search_20250305\", name = \"search\" }",
            "`name` that must be \"web_search\"",
        ),
        (
            "{ type = \"web_search_20250305\" }",
            "`name` that must be \"web_search\"",
        ),
        (
            "{ type = \"computer_toolset_20260801\", name = \"computer\" }",
            "`name` that is not among the settings",
        ),
        (
            "{ type = \"computer_20250124\", name = \"computer\", display_width_px = 9 }",
            "`display_height_px` that is missing",
        ),
        (
            "{ type = \"advisor_20260301\", name = \"advisor\" }",
            "`model` that is missing",
        ),
        (
            "{ type = \"mcp_toolset\" }",
            "`mcp_server_name` that is missing",
        ),
        (
            "{ server = \"code_execution\", allowed_callers = \"direct\" }",
            "`allowed_callers` that must be a list of texts",
        ),
    ] {
        let found = tools(&format!("[{tool}]"), &[]).unwrap_err();
        assert!(
            found.contains(words),
            "{tool}\n  expected {words}\n  found    {found}"
        );
    }
}

#[test]
fn refuses_what_the_api_refuses() {
    let named = |name: &str| LOOKUP.replace("\"lookup\"", &format!("\"{name}\""));
    let many = (0..21).map(|n| format!(r#"{{"name":"t{n}","strict":true,"input_schema":{{"type":"object","additionalProperties":false,"properties":{{}}}}}}"#));
    let many = format!("[{}]", many.collect::<Vec<_>>().join(","));
    for (toml, file, words) in [
        (
            "[\"t.json\"]",
            named(&"x".repeat(129)),
            "`t.json` has a name of 129 characters; the API takes 128",
        ),
        (
            "[\"t.json\"]",
            named("look up"),
            "`t.json` has the name `look up`; the API takes letters, digits, `_` and `-`",
        ),
        (
            "[\"t.json\", \"t.json\"]",
            named("a"),
            "`request.tools` has two tools with the name `a`",
        ),
        (
            "[\"t.json\"]",
            r#"{"input_schema":{"type":"object"}}"#.into(),
            "`t.json` has no `name`",
        ),
        (
            "[\"t.json\"]",
            format!("[{LOOKUP}, 7]"),
            "tool 2 of `t.json` is not an object",
        ),
        (
            "[\"t.json\"]",
            r#"{"name":"a"}"#.into(),
            "`t.json` (`a`) has no `input_schema`",
        ),
        (
            "[\"t.json\"]",
            r#"{"name":"a","input_schema":{"type":"string"}}"#.into(),
            "not of the type `object`",
        ),
        (
            "[{ file = \"t.json\", strict = true }]",
            LOOKUP.into(),
            "`additionalProperties`: every object must rule out",
        ),
        (
            "[\"t.json\"]",
            many,
            "has 21 strict tools; the API takes 20",
        ),
        ("[\"t.json\"]", "{".into(), "`t.json` is not JSON"),
        ("[\"t.json\"]", "[]".into(), "`t.json` has no tool in it"),
        ("[\"none.json\"]", String::new(), "none.json"),
        (
            "[{ file = \"t.json\", max_uses = 1 }]",
            LOOKUP.into(),
            "has `max_uses` beside `file`",
        ),
        (
            "[{ file = \"t.json\", cache = \"2h\" }]",
            LOOKUP.into(),
            "a mark is \"5m\" or \"1h\"",
        ),
        (
            "[{ server = \"web\" }]",
            String::new(),
            "`web_search`, `web_fetch`, `code_execution` are",
        ),
        (
            "[{ server = \"web_search\", max_use = 1 }]",
            String::new(),
            "did you mean `max_uses`?",
        ),
        (
            "[{ server = \"web_search\", allowed_domains = [\"a\"], blocked_domains = [\"b\"] }]",
            String::new(),
            "takes one of them",
        ),
        (
            "[7]",
            String::new(),
            "a table with `file`, `server` or a definition",
        ),
    ] {
        let found = tools(toml, &[("t.json", &file)]).unwrap_err();
        assert!(
            found.contains(words),
            "{toml}\n  expected {words}\n  found    {found}"
        );
    }
    let twice = json!([{"name": "a", "input_schema": {"type": "object"}, "cache_control": {"type": "eternal"}}]);
    assert!(
        from_params(&twice)
            .unwrap_err()
            .to_string()
            .starts_with("entry 1 of `request.params.tools` has a `cache_control`")
    );
}
