//! The bytes of `params`: a head that is the same in every request, and each row's own messages.
//!
//! ```text
//! {"model":…,"max_tokens":…,"tools":[…],<params>,"system":[…],"output_config":{…},"messages":[{shared message},   ← head
//!                                                                 {row message},{row message}]}     ← fragment
//! ```
//!
//! The order of keys is fixed, and so are the bytes: the provider's prompt cache and the request hash both depend on them.

use serde_json::{Map, Value};

use super::Tool;
use crate::template::prompt::{CacheTtl, Role, SharedBlock};

/// What ends a fragment: the list of messages, and `params` with it.
pub(crate) const END: &[u8] = b"]}";

/// Appends a JSON string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    json_escape_simd::escape_into(text, out);
}

/// Appends a message whose content is plain text.
pub(crate) fn message(out: &mut Vec<u8>, role: Role, content: &str) {
    out.extend_from_slice(b"{\"role\":\"");
    out.extend_from_slice(role.as_str().as_bytes());
    out.extend_from_slice(b"\",\"content\":");
    text(out, content);
    out.push(b'}');
}

/// A head with another limit for the answer's tokens. The limit stands right behind the model, whose quotes are escaped.
pub(crate) fn with_max_tokens(head: &[u8], max_tokens: u32) -> Option<Vec<u8>> {
    const KEY: &[u8] = b",\"max_tokens\":";
    let start = memchr::memmem::find(head, KEY)? + KEY.len();
    let digits = head[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| [&head[..start], max_tokens.to_string().as_bytes(), &head[start + digits..]].concat())
}

/// What goes into the head.
pub(crate) struct Head<'a> {
    pub(crate) model: &'a str,
    pub(crate) max_tokens: u32,
    pub(crate) params: &'a Map<String, Value>,
    pub(crate) tools: &'a [Tool],
    pub(crate) schema: Option<&'a Value>,
    pub(crate) shared: &'a [SharedBlock],
}

impl Head<'_> {
    /// The head's bytes, up to where the first row message begins.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"model\":");
        text(&mut out, self.model);
        out.extend_from_slice(format!(",\"max_tokens\":{}", self.max_tokens).as_bytes());
        self.tools(&mut out);
        for (key, value) in self.params.iter().filter(|(key, _)| !["output_config", "tools"].contains(&key.as_str())) {
            member(&mut out, key, value);
        }
        self.system(&mut out);
        self.output_config(&mut out);
        out.extend_from_slice(b",\"messages\":[");
        self.messages(&mut out);
        out
    }

    fn tools(&self, out: &mut Vec<u8>) {
        if !self.tools.is_empty() {
            member(out, "tools", &self.tools.iter().map(|tool| tool.definition.clone()).collect());
        }
    }

    fn system(&self, out: &mut Vec<u8>) {
        let mut blocks = self.shared.iter().filter(|block| block.role.is_none()).peekable();
        if blocks.peek().is_none() {
            return;
        }
        out.extend_from_slice(b",\"system\":[");
        while let Some(block) = blocks.next() {
            text_block(out, block);
            if blocks.peek().is_some() {
                out.push(b',');
            }
        }
        out.push(b']');
    }

    fn output_config(&self, out: &mut Vec<u8>) {
        let mut config = match self.params.get("output_config") {
            Some(Value::Object(config)) => config.clone(),
            _ => Map::new(),
        };
        if let Some(schema) = self.schema {
            let mut format = Map::new();
            format.insert("type".to_owned(), Value::from("json_schema"));
            format.insert("schema".to_owned(), schema.clone());
            config.insert("format".to_owned(), Value::Object(format));
        }
        if !config.is_empty() {
            member(out, "output_config", &Value::Object(config));
        }
    }

    fn messages(&self, out: &mut Vec<u8>) {
        let shared = self.shared.iter().filter_map(|block| Some((block, block.role?)));
        for (i, (block, role)) in shared.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if block.cache.is_none() {
                message(out, role, &block.text);
                continue;
            }
            out.extend_from_slice(b"{\"role\":\"");
            out.extend_from_slice(role.as_str().as_bytes());
            out.extend_from_slice(b"\",\"content\":[");
            text_block(out, block);
            out.extend_from_slice(b"]}");
        }
    }
}

fn text_block(out: &mut Vec<u8>, block: &SharedBlock) {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    text(out, &block.text);
    if let Some(ttl) = block.cache {
        cache_control(out, ttl);
    }
    out.push(b'}');
}

fn cache_control(out: &mut Vec<u8>, ttl: CacheTtl) {
    out.extend_from_slice(b",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"");
    out.extend_from_slice(ttl.as_str().as_bytes());
    out.extend_from_slice(b"\"}");
}

fn member(out: &mut Vec<u8>, key: &str, value: &Value) {
    out.push(b',');
    text(out, key);
    out.push(b':');
    // `Display` of a JSON value is compact and cannot fail.
    out.extend_from_slice(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn escapes_as_serde_json_does_on_awkward_texts() {
        for awkward in [
            "",
            "\"",
            "\\",
            "\u{0}\u{1f}\u{7f}",
            "\u{2028}\u{2029}",
            "😀 \u{200d} \u{feff}",
            "\r\n\t\u{8}\u{c}",
            "</script>",
            "\u{ffff}",
        ] {
            for padding in 0..70 {
                let awkward = format!("{}{awkward}{}", "x".repeat(padding), "é".repeat(padding % 5));
                let mut out = Vec::new();
                text(&mut out, &awkward);
                assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&awkward).unwrap());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn escapes_as_serde_json_does(any in "\\PC{0,80}|[\\x00-\\x7f]{0,200}|(?s:.){0,120}", before in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = before.clone();
            text(&mut out, &any);
            prop_assert_eq!(&out[..before.len()], &before[..]);
            let expected = serde_json::to_string(&any).unwrap();
            prop_assert_eq!(&out[before.len()..], expected.as_bytes());
        }
    }
}
