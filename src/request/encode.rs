//! The bytes of `params`: a head that is the same in every request, and each row's own messages.
//!
//! ```text
//! {"model":…,"max_tokens":…,"tools":[…],<params>,"system":[…],"output_config":{…},"messages":[{shared message},   ← head
//!                                                                 {row message},{row message}]}     ← fragment
//! ```
//!
//! What rows choose by themselves leaves the head and closes the fragment: see `per_row.rs`.
//!
//! The order of keys is fixed, and so are the bytes: the provider's prompt cache and the request
//! hash both depend on them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Tool;
use crate::template::prompt::{
    CacheTtl, MediaBlock, MediaSource, PromptPart, Role, SharedBlock, SharedBody,
};

/// Appends a JSON string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    json_escape_simd::escape_into(text, out);
}

/// Appends a message whose content is plain text.
fn message(out: &mut Vec<u8>, role: Role, content: &str) {
    begin(out, role);
    text(out, content);
    out.push(b'}');
}

/// Appends a message up to its content.
fn begin(out: &mut Vec<u8>, role: Role) {
    out.extend_from_slice(b"{\"role\":\"");
    out.extend_from_slice(role.as_str().as_bytes());
    out.extend_from_slice(b"\",\"content\":");
}

/// Writes the messages of a row behind the head.
pub(crate) struct MessageEncoder<'o> {
    out: &'o mut Vec<u8>,
    /// Whether a message stands before the next.
    follows: bool,
    /// Whether a block stands before the next in its message.
    block_follows: bool,
}

impl MessageEncoder<'_> {
    /// Begins behind a head; `follows` where it holds messages.
    pub(crate) fn new(out: &mut Vec<u8>, follows: bool) -> MessageEncoder<'_> {
        MessageEncoder {
            out,
            follows,
            block_follows: false,
        }
    }

    pub(crate) fn part(&mut self, part: &PromptPart<'_>) {
        match part {
            PromptPart::Text(role, content) => {
                self.next_message();
                message(self.out, *role, content);
            }
            PromptPart::Blocks(role, json) => {
                self.next_message();
                begin(self.out, *role);
                self.out.extend_from_slice(json.as_bytes());
                self.out.push(b'}');
            }
            PromptPart::Begin { opened: true, .. } => self.block_follows = true,
            PromptPart::Begin {
                role,
                opened: false,
            } => {
                self.next_message();
                begin(self.out, *role);
                self.out.push(b'[');
                self.block_follows = false;
            }
            PromptPart::TextBlock(content) => {
                self.next_block();
                text_block(self.out, content, None);
            }
            PromptPart::Media(media) => {
                self.next_block();
                media_block(self.out, media, None);
            }
            PromptPart::End => self.out.extend_from_slice(b"]}"),
        }
    }

    fn next_message(&mut self) {
        if std::mem::replace(&mut self.follows, true) {
            self.out.push(b',');
        }
    }

    fn next_block(&mut self) {
        if std::mem::replace(&mut self.block_follows, true) {
            self.out.push(b',');
        }
    }
}

/// A head with another limit for the answer's tokens. The limit stands first, or right behind the
/// model.
pub(crate) fn with_max_tokens(head: &[u8], max_tokens: u32) -> Option<Vec<u8>> {
    let start = limit_at(head)?;
    let digits = head[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    (digits > 0).then(|| {
        [
            &head[..start],
            max_tokens.to_string().as_bytes(),
            &head[start + digits..],
        ]
        .concat()
    })
}

/// Where the digits of the limit begin.
fn limit_at(head: &[u8]) -> Option<usize> {
    const MODEL: &[u8] = b"{\"model\":\"";
    const KEY: &[u8] = b"\"max_tokens\":";
    let before = match head.strip_prefix(MODEL) {
        // No model has a quote in its name.
        Some(behind) => MODEL.len() + memchr::memchr(b'"', behind)? + 2,
        None => 1,
    };
    head.get(before..)?
        .starts_with(KEY)
        .then_some(before + KEY.len())
}

/// The members of `output_config`, with the schema where there is one.
pub(crate) fn output_config(
    mut config: Map<String, Value>,
    schema: Option<&Value>,
) -> Map<String, Value> {
    if let Some(schema) = schema {
        config.insert(
            "format".to_owned(),
            serde_json::json!({ "type": "json_schema", "schema": schema }),
        );
    }
    config
}

/// What goes into the head.
pub(crate) struct HeadParts<'a> {
    /// `None` where rows choose theirs.
    pub(crate) model: Option<&'a str>,
    /// `None` where rows choose theirs.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) params: &'a Map<String, Value>,
    pub(crate) tools: &'a [Tool],
    /// `None` where there is nothing in it, or rows choose a part of it.
    pub(crate) output_config: Option<&'a Map<String, Value>>,
    pub(crate) shared: &'a [SharedBlock],
    /// Whether the last shared message continues with blocks of the row.
    pub(crate) is_open: bool,
}

impl HeadParts<'_> {
    /// The head's bytes, up to where the first row message begins.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(b'{');
        if let Some(model) = self.model {
            key(&mut out, "model");
            text(&mut out, model);
        }
        if let Some(max_tokens) = self.max_tokens {
            key(&mut out, "max_tokens");
            out.extend_from_slice(max_tokens.to_string().as_bytes());
        }
        self.tools(&mut out);
        for (name, value) in self.params {
            member(&mut out, name, value);
        }
        self.system(&mut out);
        if let Some(config) = self.output_config {
            member(&mut out, "output_config", &Value::Object(config.clone()));
        }
        key(&mut out, "messages");
        out.push(b'[');
        self.messages(&mut out);
        out
    }

    fn tools(&self, out: &mut Vec<u8>) {
        if !self.tools.is_empty() {
            member(
                out,
                "tools",
                &self
                    .tools
                    .iter()
                    .map(|tool| tool.definition.clone())
                    .collect(),
            );
        }
    }

    fn system(&self, out: &mut Vec<u8>) {
        let mut blocks = self
            .shared
            .iter()
            .filter(|block| block.role.is_none())
            .peekable();
        if blocks.peek().is_none() {
            return;
        }
        key(out, "system");
        out.push(b'[');
        while let Some(block) = blocks.next() {
            text_block(out, &block.text, block.cache);
            if blocks.peek().is_some() {
                out.push(b',');
            }
        }
        out.push(b']');
    }

    fn messages(&self, out: &mut Vec<u8>) {
        let shared: Vec<(&SharedBlock, Role)> = self
            .shared
            .iter()
            .filter_map(|block| Some((block, block.role?)))
            .collect();
        let messages = shared.chunk_by(|(a, _), (b, _)| a.message == b.message);
        let last = messages.clone().count();
        for (i, blocks) in messages.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match blocks {
                [(block, role)] if block.body == SharedBody::Whole && block.cache.is_none() => {
                    message(out, *role, &block.text)
                }
                [(block, role)] if block.body == SharedBody::Blocks => {
                    begin(out, *role);
                    out.extend_from_slice(block.text.as_bytes());
                    out.push(b'}');
                }
                blocks => shared_blocks(out, blocks, self.is_open && i + 1 == last),
            }
        }
    }
}

/// A message of shared blocks; where it stays open, the row continues it.
fn shared_blocks(out: &mut Vec<u8>, blocks: &[(&SharedBlock, Role)], stays_open: bool) {
    for (i, (block, role)) in blocks.iter().enumerate() {
        if i == 0 {
            begin(out, *role);
        }
        out.push(if i == 0 { b'[' } else { b',' });
        match &block.body {
            SharedBody::Media(media) => media_block(out, media, block.cache),
            _ => text_block(out, &block.text, block.cache),
        }
    }
    if !stays_open {
        out.extend_from_slice(b"]}");
    }
}

fn text_block(out: &mut Vec<u8>, content: &str, cache: Option<CacheTtl>) {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    text(out, content);
    end_block(out, cache);
}

/// Appends a picture or document. Bytes become base64 straight in their place.
fn media_block(out: &mut Vec<u8>, media: &MediaBlock<'_>, cache: Option<CacheTtl>) {
    out.extend_from_slice(if media.is_image {
        b"{\"type\":\"image\",\"source\":"
    } else {
        b"{\"type\":\"document\",\"source\":"
    });
    source(out, &media.source);
    for (key, value) in [("title", &media.title), ("context", &media.context)] {
        if let Some(value) = value {
            out.extend_from_slice(format!(",\"{key}\":").as_bytes());
            text(out, value);
        }
    }
    if media.citations {
        out.extend_from_slice(b",\"citations\":{\"enabled\":true}");
    }
    end_block(out, cache);
}

fn source(out: &mut Vec<u8>, source: &MediaSource<'_>) {
    match source {
        MediaSource::Bytes(media_type, bytes) => {
            out.extend_from_slice(b"{\"type\":\"base64\",\"media_type\":\"");
            out.extend_from_slice(media_type.as_bytes());
            out.extend_from_slice(b"\",\"data\":\"");
            base64(out, bytes);
            out.push(b'"');
        }
        MediaSource::Text(content) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":");
            text(out, content);
        }
        MediaSource::Url(url) => {
            out.extend_from_slice(b"{\"type\":\"url\",\"url\":");
            text(out, url);
        }
        MediaSource::FileId(id) => {
            out.extend_from_slice(b"{\"type\":\"file\",\"file_id\":");
            text(out, id);
        }
    }
    out.push(b'}');
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly what the encoder needs, so it cannot fail.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

fn end_block(out: &mut Vec<u8>, cache: Option<CacheTtl>) {
    if let Some(ttl) = cache {
        cache_control(out, ttl);
    }
    out.push(b'}');
}

fn cache_control(out: &mut Vec<u8>, ttl: CacheTtl) {
    out.extend_from_slice(b",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"");
    out.extend_from_slice(ttl.as_str().as_bytes());
    out.extend_from_slice(b"\"}");
}

fn member(out: &mut Vec<u8>, name: &str, value: &Value) {
    key(out, name);
    // `Display` of a JSON value is compact and cannot fail.
    out.extend_from_slice(value.to_string().as_bytes());
}

/// Begins a member of the head.
fn key(out: &mut Vec<u8>, name: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    text(out, name);
    out.push(b':');
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
                let awkward = format!(
                    "{}{awkward}{}",
                    "x".repeat(padding),
                    "é".repeat(padding % 5)
                );
                let mut out = Vec::new();
                text(&mut out, &awkward);
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    serde_json::to_string(&awkward).unwrap()
                );
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
