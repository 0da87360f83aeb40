//! The beginning of every request → what it costs in tokens: read off the bytes that are sent.

use serde_json::Value;

use super::media::Media;
use super::shared::{
    AdvisorTool, FOUND_TOKENS, MarkedTokens, PER_MESSAGE, PER_REQUEST, PartKind, Shared,
    SharedPart, UNLIMITED_USES,
};
use super::tokens::CharacterCounts;
use crate::catalog::{Model, Tokenizer, ToolPromptTokens};
use crate::template::prompt::CacheTtl;

/// Tokens of the provider's own prompt about tools, where the catalog has no number:
/// the middle of those it names.
const TOOL_PROMPT: u64 = 450;

/// The length of a prompt at which it is compacted where the job sets none. **Source**: the
/// vendor's own client, November 2026.
const COMPACTION_TRIGGER: u64 = 150_000;
/// Tools that the provider defines and does not run: a call of one ends the answer.
const NOT_RUN: [&str; 4] = ["bash", "text_editor", "computer", "memory"];

impl Shared {
    /// Reads a head. A head that is not the beginning of `params` is counted as one text.
    #[must_use]
    pub(crate) fn of(head: &[u8], media: Media, model: &Model) -> Shared {
        // The row continues the last message where that is shared in part.
        let ends: [&[u8]; 2] = [b"]}", b"]}]}"];
        match ends
            .iter()
            .find_map(|end| serde_json::from_slice::<Value>(&[head, end].concat()).ok())
        {
            Some(params) => PromptReader::new(model, media).read(&params),
            None => {
                let mut characters = CharacterCounts::default();
                characters.add_json(head);
                Shared {
                    tokens: PER_REQUEST + characters.tokens(model.tokenizer) + media.expected,
                    worst_case: PER_REQUEST + characters.bytes + media.worst_case,
                    ..Shared::default()
                }
            }
        }
    }
}

/// The parts of a prompt in the order in which the model reads them: tools, system, messages.
struct PromptReader {
    tokenizer: Tokenizer,
    least: u64,
    tool_prompt: Option<ToolPromptTokens>,
    /// Pictures and documents; they count where the first of them stands.
    media: Media,
    tokens: u64,
    worst_case: u64,
    hour: u64,
    last: u64,
    marks: bool,
    parts: Vec<SharedPart>,
}

/// The mark at the end of a block, or of a whole request.
fn mark_of(value: &Value) -> Option<CacheTtl> {
    let mark = Some(&value["cache_control"]).filter(|mark| mark.is_object())?;
    Some(if mark["ttl"] == "1h" {
        CacheTtl::OneHour
    } else {
        CacheTtl::FiveMinutes
    })
}

impl PromptReader {
    fn new(model: &Model, media: Media) -> PromptReader {
        PromptReader {
            tokenizer: model.tokenizer,
            least: model.min_cache_tokens,
            tool_prompt: model.tool_prompt_tokens,
            media,
            tokens: PER_REQUEST,
            worst_case: PER_REQUEST,
            hour: 0,
            last: 0,
            marks: false,
            parts: Vec::new(),
        }
    }

    /// What the provider's own words on tools take: more where the model is forced to call one.
    fn tool_prompt(&self, params: &Value) -> u64 {
        let is_forced = matches!(params["tool_choice"]["type"].as_str(), Some("any" | "tool"));
        self.tool_prompt.map_or(TOOL_PROMPT, |tokens| {
            if is_forced { tokens.any } else { tokens.auto }
        })
    }

    /// Ends a part that began behind the one before.
    fn part(&mut self, what: PartKind, block: &Value) {
        let before = self.parts.last().map_or(0, |part| part.up_to_here);
        let cache = mark_of(block);
        let has_media = matches!(block["type"].as_str(), Some("image" | "document"));
        self.parts.push(SharedPart {
            what,
            tokens: self.tokens - before,
            up_to_here: self.tokens,
            cache,
            has_media,
        });
    }

    fn read(mut self, params: &Value) -> Shared {
        let tools = list(&params["tools"]);
        if !tools.is_empty() {
            self.add(self.tool_prompt(params));
            self.part(PartKind::ToolPrompt, &Value::Null);
        }
        for tool in tools {
            self.json(tool);
            let name = tool["name"].as_str().or(tool["type"].as_str());
            let name = name.unwrap_or_default().to_owned();
            self.part(PartKind::Tool { name }, tool);
        }
        if let schema @ Value::Object(_) = &params["output_config"]["format"] {
            // It goes to the model as text of its own, before the system prompt.
            self.json(schema);
            self.part(PartKind::Schema, &Value::Null);
        }
        match &params["system"] {
            Value::String(text) => self.text(text),
            blocks => {
                for (i, block) in list(blocks).iter().enumerate() {
                    self.block(block);
                    self.part(PartKind::SystemBlock { number: i + 1 }, block);
                }
            }
        }
        for (i, message) in list(&params["messages"]).iter().enumerate() {
            self.add(PER_MESSAGE);
            self.message(i + 1, &message["content"]);
        }
        let marked = MarkedTokens {
            hour: self.hour,
            minutes: self.last - self.hour,
        };
        let too_short = self.marks && self.last < self.least;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Shared {
            tokens: self.tokens,
            parts: self.parts,
            worst_case: self.worst_case,
            marked: if too_short {
                MarkedTokens::default()
            } else {
                marked
            },
            too_short,
            each_writes: mark_of(params),
            inference_geo: text(&params["inference_geo"]),
            effort: text(&params["output_config"]["effort"]),
            thinking: params.get("thinking").cloned(),
            schema: params["output_config"]["format"].get("schema").cloned(),
            searches: search_limit(tools),
            found: found_tokens(tools),
            advisors: tools
                .iter()
                .filter(|tool| is_advisor(tool))
                .filter_map(advisor)
                .collect(),
            compacted_from: compacted_from(params),
        }
    }

    fn message(&mut self, number: usize, content: &Value) {
        let blocks = list(content);
        if let Value::String(text) = content {
            self.text(text);
            self.part(PartKind::Message { number }, &Value::Null);
        }
        for (i, block) in blocks.iter().enumerate() {
            self.block(block);
            let what = if blocks.len() > 1 {
                PartKind::MessageBlock {
                    message: number,
                    number: i + 1,
                }
            } else {
                PartKind::Message { number }
            };
            self.part(what, block);
        }
    }

    fn add(&mut self, tokens: u64) {
        self.tokens += tokens;
        self.worst_case += tokens;
    }

    fn text(&mut self, text: &str) {
        self.add_characters(&CharacterCounts::of(text));
    }

    fn add_characters(&mut self, characters: &CharacterCounts) {
        self.tokens += characters.tokens(self.tokenizer);
        self.worst_case += characters.bytes;
    }

    /// Something the model reads as JSON, names and marks and all.
    fn json(&mut self, value: &Value) {
        let mut bare = value.clone();
        if let Value::Object(members) = &mut bare {
            members.shift_remove("cache_control");
        }
        self.text(&bare.to_string());
        self.mark(value);
    }

    fn block(&mut self, block: &Value) {
        match (block["type"].as_str(), block["text"].as_str()) {
            (Some("text") | None, Some(text)) => self.text(text),
            _ => {
                let mut characters = CharacterCounts::default();
                characters.add_json(block.to_string().as_bytes());
                self.add_characters(&characters);
                let Media {
                    expected,
                    worst_case,
                } = std::mem::take(&mut self.media);
                self.tokens += expected;
                self.worst_case += worst_case;
            }
        }
        self.mark(block);
    }

    fn mark(&mut self, block: &Value) {
        let mark = &block["cache_control"];
        if mark.is_object() {
            self.marks = true;
            self.last = self.tokens;
            if mark["ttl"] == "1h" {
                self.hour = self.tokens;
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How often a request may search: the tool's own limit, if it has one.
fn search_limit(tools: &[Value]) -> Option<u64> {
    let is_search = |tool: &&Value| {
        tool["type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("web_search"))
    };
    tools
        .iter()
        .find(is_search)
        .map(|tool| tool["max_uses"].as_u64().unwrap_or(u64::MAX))
}

fn is_advisor(tool: &Value) -> bool {
    tool["type"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("advisor_"))
}

fn advisor(tool: &Value) -> Option<AdvisorTool> {
    let model = tool["model"].as_str()?.to_owned();
    Some(AdvisorTool {
        model,
        max_uses: tool["max_uses"].as_u64(),
        max_tokens: tool["max_tokens"].as_u64(),
    })
}

/// From which length on a prompt is compacted by the provider. The parameter `compaction` is not
/// meant: with it the summary is the answer.
fn compacted_from(params: &Value) -> Option<u64> {
    let edits = list(&params["context_management"]["edits"]);
    let edit = edits.iter().find(|edit| {
        edit["type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("compact_"))
    })?;
    Some(
        edit["trigger"]["value"]
            .as_u64()
            .unwrap_or(COMPACTION_TRIGGER),
    )
}

/// What tools that the provider runs may find, in tokens.
fn found_tokens(tools: &[Value]) -> Option<u64> {
    let is_run = |tool: &&Value| {
        tool["type"].as_str().is_some_and(|kind| {
            kind != "custom" && !NOT_RUN.iter().any(|known| kind.starts_with(known))
        }) && !is_advisor(tool)
    };
    let number = |tool: &Value, key: &str, assumed| tool[key].as_u64().unwrap_or(assumed);
    let of = |tool| {
        number(tool, "max_uses", UNLIMITED_USES).saturating_mul(number(
            tool,
            "max_content_tokens",
            FOUND_TOKENS,
        ))
    };
    tools
        .iter()
        .filter(is_run)
        .map(of)
        .reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn shared(head: &str) -> Shared {
        Shared::of(
            head.as_bytes(),
            Media::default(),
            Catalog::builtin().model("claude-sonnet-5-5").unwrap().1,
        )
    }

    #[test]
    fn counts_what_is_marked_in_the_order_in_which_it_is_read() {
        let long = "policy ".repeat(400);
        let head = format!(
            r#"{{"model":"m","system":[{{"type":"text","text":"{long}","cache_control":{{"type":"ephemeral","ttl":"1h"}}}},
            {{"type":"text","text":"{long}","cache_control":{{"type":"ephemeral","ttl":"5m"}}}},{{"type":"text","text":"tail"}}],
            "messages":["#
        );
        let found = shared(&head);
        let one = CharacterCounts::of(&long).tokens(Tokenizer::Second);
        assert_eq!(
            found.marked,
            MarkedTokens {
                hour: one + PER_REQUEST,
                minutes: one
            }
        );
        assert_eq!(
            found.tokens,
            2 * one + PER_REQUEST + CharacterCounts::of("tail").tokens(Tokenizer::Second)
        );
        assert!(found.worst_case > found.tokens && !found.too_short);
    }

    #[test]
    fn what_is_too_short_is_not_cached() {
        let found = shared(
            r#"{"model":"m","system":[{"type":"text","text":"Short.","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":["#,
        );
        assert_eq!(
            (found.marked, found.too_short),
            (MarkedTokens::default(), true)
        );
    }

    #[test]
    fn reads_tools_schema_and_shared_messages() {
        let bare = shared(r#"{"model":"m","messages":["#);
        let tools = shared(
            r#"{"model":"m","tools":[{"name":"get","input_schema":{"type":"object"}}],"messages":["#,
        );
        let schema = shared(
            r#"{"model":"m","output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}},"messages":["#,
        );
        let message = shared(
            r#"{"model":"m","inference_geo":"us","messages":[{"role":"user","content":"Hello there"}"#,
        );
        assert_eq!(bare.tokens, PER_REQUEST);
        assert!(tools.tokens > TOOL_PROMPT);
        assert!(
            schema.tokens > 10
                && schema.schema.is_some()
                && schema.effort.as_deref() == Some("low")
        );
        assert_eq!(
            message.tokens,
            PER_REQUEST
                + PER_MESSAGE
                + CharacterCounts::of("Hello there").tokens(Tokenizer::Second)
        );
        assert_eq!(message.inference_geo.as_deref(), Some("us"));
    }

    #[test]
    fn a_search_is_counted_up_to_its_limit() {
        let with = |uses: &str| {
            shared(&format!(
                r#"{{"tools":[{{"type":"web_search_20250305","name":"web_search"{uses}}}],"messages":["#
            ))
        };
        assert_eq!(with(r#","max_uses":3"#).searches, Some(3));
        assert_eq!(with("").searches, Some(u64::MAX));
        assert_eq!(shared(r#"{"messages":["#).searches, None);
    }

    #[test]
    fn what_the_provider_finds_is_counted_and_what_it_does_not_run_is_not() {
        let found = |tools: &str| shared(&format!(r#"{{"tools":[{tools}],"messages":["#)).found;
        let search = r#"{"type":"web_search_20250305","name":"web_search","max_uses":3}"#;
        let fetch = r#"{"type":"web_fetch_20250910","name":"web_fetch","max_uses":2,"max_content_tokens":700}"#;
        let own = r#"{"name":"get","input_schema":{"type":"object"}},{"type":"bash_20250124","name":"bash"}"#;
        assert_eq!(
            found(&format!("{search},{fetch},{own}")),
            Some(3 * FOUND_TOKENS + 1_400)
        );
        assert_eq!(
            found(r#"{"type":"code_execution_20250825","name":"code_execution"}"#),
            Some(UNLIMITED_USES * FOUND_TOKENS)
        );
        assert_eq!(found(own), None);
    }

    #[test]
    fn advisors_and_compaction_are_read_from_the_head() {
        let head = r#"{"context_management":{"edits":[{"type":"clear_tool_uses_20250919"},{"type":"compact_20260112"}]},
            "tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-5-5","max_uses":2,"max_tokens":900}],"messages":["#;
        let read = shared(head);
        let advisor = AdvisorTool {
            model: "claude-opus-5-5".to_owned(),
            max_uses: Some(2),
            max_tokens: Some(900),
        };
        assert_eq!(
            (read.advisors, read.found, read.compacted_from),
            (vec![advisor], None, Some(150_000))
        );
        let early = r#"{"context_management":{"edits":[{"type":"compact_20260112","trigger":{"type":"input_tokens","value":60000}}]},"messages":["#;
        assert_eq!(shared(early).compacted_from, Some(60_000));
        assert_eq!(
            shared(r#"{"compaction":{"type":"summarize"},"messages":["#).compacted_from,
            None
        );
    }

    #[test]
    fn a_head_of_another_form_is_counted_as_text() {
        assert!(shared("something else \"a text\"").tokens > PER_REQUEST);
    }
}
