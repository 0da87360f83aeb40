//! The messages of one request: their order, their blocks, their tokens, and the text an answer is
//! made from.

use serde_json::Value;
use serde_json::value::RawValue;

use super::cache::{Prefix, Ttl};
use super::citations::CitableDocument;
use super::media::{MediaCounts, MediaReader};
use super::params::{AnswerFormat, CallContext, Endpoint, RequestHead};
use super::reply::ErrorReply;
use super::tokens;

/// Most messages in one request.
const MAX_MESSAGES: usize = 100_000;
/// The messages of one request, read.
pub(super) struct ParsedMessages {
    /// What the user said last.
    pub(super) text: String,
    /// The whole prompt, head included.
    pub(super) input_tokens: u64,
    /// The blocks of the whole prompt; absent where nothing in the request is to be cached.
    pub(super) prefix: Option<Prefix>,
    /// The documents that the answer may cite.
    pub(super) cited: Vec<CitableDocument>,
}

/// Reads and checks the messages that belong to a head.
pub(super) fn read(
    head: &RequestHead,
    raw: &RawValue,
    context: CallContext<'_>,
    media: &mut MediaReader,
) -> Result<ParsedMessages, ErrorReply> {
    let bad = |what: &str| ErrorReply::invalid(format!("messages: {what}"));
    let messages: Vec<Value> =
        serde_json::from_str(raw.get()).map_err(|_| bad("Input should be a valid list"))?;
    if messages.is_empty() {
        return Err(bad("at least one message is required"));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(bad("at most 100000 messages are allowed"));
    }
    let marked = head.automatic_mark.is_some()
        || memchr::memmem::find(raw.get().as_bytes(), b"\"cache_control\"").is_some();
    let mut walk = MessageReader {
        head,
        context,
        tokens: head.prefix.tokens(),
        prefix: marked.then(|| head.prefix.clone()),
        text: String::new(),
        after_assistant: true,
        before: PreviousTurn::Start,
        documents: 0,
        cited: Vec::new(),
        media,
        counts_so_far: MediaCounts::default(),
    };
    for (n, message) in messages.iter().enumerate() {
        walk.message(n, message, n + 1 == messages.len())?;
    }
    walk.finish(&messages)
}

/// Refuses keys that a block does not have.
pub(super) fn only_keys(block: &Value, keys: &[&str], path: &str) -> Result<(), ErrorReply> {
    let extra = block
        .as_object()
        .and_then(|fields| fields.keys().find(|key| !keys.contains(&key.as_str())));
    extra.map_or(Ok(()), |key| {
        Err(ErrorReply::invalid(format!(
            "{path}.{key}: Extra inputs are not permitted"
        )))
    })
}

/// What stands before a message, as far as the role `system` depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreviousTurn {
    Start,
    User,
    /// An answer; one that ends with the result of a server tool is as a user turn.
    Assistant,
    System,
}

impl PreviousTurn {
    fn of(role: &str, message: &Value) -> PreviousTurn {
        let last = message
            .get("content")
            .and_then(Value::as_array)
            .and_then(|blocks| blocks.last()?.get("type")?.as_str());
        match role {
            "system" => PreviousTurn::System,
            "assistant" if !last.is_some_and(|kind| kind.ends_with("_tool_result")) => {
                PreviousTurn::Assistant
            }
            _ => PreviousTurn::User,
        }
    }
}

struct MessageReader<'a> {
    head: &'a RequestHead,
    context: CallContext<'a>,
    tokens: u64,
    prefix: Option<Prefix>,
    text: String,
    /// Whether the text so far belongs to an earlier turn.
    after_assistant: bool,
    before: PreviousTurn,
    documents: u64,
    cited: Vec<CitableDocument>,
    media: &'a mut MediaReader,
    /// The pictures and documents so far.
    counts_so_far: MediaCounts,
}

impl MessageReader<'_> {
    fn message(&mut self, n: usize, message: &Value, last: bool) -> Result<(), ErrorReply> {
        let path = format!("messages.{n}");
        if !message.is_object() {
            return Err(ErrorReply::invalid(format!(
                "{path}: Input should be a valid dictionary"
            )));
        }
        only_keys(message, &["role", "content"], &path)?;
        let role = message.get("role").and_then(Value::as_str);
        let role =
            role.ok_or_else(|| ErrorReply::invalid(format!("{path}.role: Field required")))?;
        self.check_role(n, role, last)?;
        self.before = PreviousTurn::of(role, message);
        if role == "user" && std::mem::take(&mut self.after_assistant) {
            self.text.clear();
        }
        self.after_assistant |= role == "assistant";
        self.tokens += tokens::PER_MESSAGE;
        if let Some(prefix) = &mut self.prefix {
            prefix.context(&[role.as_bytes()]);
            prefix.add_tokens(tokens::PER_MESSAGE);
        }
        match message.get("content") {
            Some(Value::String(text)) => self.plain(n, role, text, last),
            Some(Value::Array(blocks)) if blocks.is_empty() => self.empty(n, role, last),
            Some(Value::Array(blocks)) => blocks
                .iter()
                .enumerate()
                .try_for_each(|(b, block)| self.block(role, block, &format!("{path}.content.{b}"))),
            Some(_) => Err(ErrorReply::invalid(format!(
                "{path}.content: Input should be a valid string or list"
            ))),
            None => Err(ErrorReply::invalid(format!(
                "{path}.content: Field required"
            ))),
        }
    }

    fn check_role(&self, n: usize, role: &str, last: bool) -> Result<(), ErrorReply> {
        let misplaced = |n: usize, what: &str| {
            Err(ErrorReply::invalid(format!(
                "messages.{n}: role 'system' {what}"
            )))
        };
        match role {
            "user" if self.before == PreviousTurn::System => misplaced(
                n - 1,
                "must precede an 'assistant' message or end the array",
            ),
            "user" => Ok(()),
            "assistant" if n == 0 => Err(ErrorReply::invalid(
                "messages: first message must use the \"user\" role",
            )),
            "assistant" if last && !self.head.model.prefill => Err(ErrorReply::invalid(
                "This model does not support assistant message prefill. The conversation must end \
                 with a user message.",
            )),
            "assistant" if last && matches!(self.head.shape, AnswerFormat::Json(_)) => {
                Err(ErrorReply::invalid(
                    "messages: prefill cannot be used together with `output_config.format`",
                ))
            }
            "assistant" => Ok(()),
            "system" if n == 0 => misplaced(
                n,
                "cannot come first; use the top-level 'system' parameter for the initial system \
                 prompt",
            ),
            "system" if !self.head.model.system_messages => {
                misplaced(n, "is not supported on this model")
            }
            "system" if self.before == PreviousTurn::Assistant => {
                misplaced(n, "must follow a 'user' message")
            }
            "system" => Ok(()),
            _ => {
                let short: String = role.chars().take(40).collect();
                let text = format!(
                    "messages: Unexpected role \"{short}\". Allowed roles are \"user\", \
                     \"assistant\" or \"system\""
                );
                Err(ErrorReply::invalid(text))
            }
        }
    }

    fn plain(&mut self, n: usize, role: &str, text: &str, last: bool) -> Result<(), ErrorReply> {
        if text.is_empty() {
            return self.empty(n, role, last);
        }
        self.text_block(role, text, None, &format!("messages.{n}.content"))
    }

    fn empty(&self, n: usize, role: &str, last: bool) -> Result<(), ErrorReply> {
        if role == "assistant" && last {
            return Ok(());
        }
        let text = format!(
            "messages.{n}: all messages must have non-empty content except for the optional final \
             assistant message"
        );
        Err(ErrorReply::invalid(text))
    }

    fn text_block(
        &mut self,
        role: &str,
        text: &str,
        mark: Option<Ttl>,
        path: &str,
    ) -> Result<(), ErrorReply> {
        if text.trim().is_empty() {
            let what = if text.is_empty() {
                "be non-empty"
            } else {
                "contain non-whitespace text"
            };
            return Err(ErrorReply::invalid(format!(
                "messages: text content blocks must {what}"
            )));
        }
        let count = tokens::count(self.head.model.tokenizer, text);
        self.tokens += count;
        if role == "user" {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(text);
        }
        match &mut self.prefix {
            Some(prefix) => prefix.block("text", text.as_bytes(), count, mark, path),
            None => Ok(()),
        }
    }

    fn block(&mut self, role: &str, block: &Value, path: &str) -> Result<(), ErrorReply> {
        let bad = |key: &str, what: &str| Err(ErrorReply::invalid(format!("{path}.{key}: {what}")));
        let mark = Ttl::of(block.get("cache_control"), &format!("{path}."))?;
        let tokenizer = self.head.model.tokenizer;
        let cost = match block.get("type").and_then(Value::as_str) {
            Some("text") => return self.typed_text(role, block, mark, path),
            Some(_) if role == "system" => {
                return bad(
                    "type",
                    "Input should be 'text' in a message of the role 'system'",
                );
            }
            Some("thinking" | "redacted_thinking") => 0,
            Some("image") if role == "user" => {
                only_keys(
                    block,
                    &["type", "source", "cache_control", "transformations"],
                    path,
                )?;
                self.media
                    .image(block, path, &self.head.model, &mut self.counts_so_far)?
            }
            Some("document") if role == "assistant" && self.context.new_version => {
                return bad(
                    "type",
                    "document blocks are not permitted in assistant messages",
                );
            }
            Some("document") => self.document(block, path)?,
            Some("tool_use") if role == "assistant" => {
                tokens::count(tokenizer, &block["input"].to_string()) + 20
            }
            Some("tool_result") if role == "user" => {
                if !block.get("tool_use_id").is_some_and(Value::is_string) {
                    return bad("tool_use_id", "Field required");
                }
                tokens::count(tokenizer, &block["content"].to_string()) + 10
            }
            Some(
                "server_tool_use"
                | "search_result"
                | "web_search_tool_result"
                | "web_fetch_tool_result"
                | "code_execution_tool_result"
                | "bash_code_execution_tool_result"
                | "text_editor_code_execution_tool_result"
                | "tool_search_tool_result"
                | "container_upload",
            ) => tokens::count(tokenizer, &block.to_string()),
            Some(_) => {
                return bad(
                    "type",
                    "Input tag does not match any of the expected tags for this role",
                );
            }
            None => return bad("type", "Field required"),
        };
        self.tokens += cost;
        match &mut self.prefix {
            Some(prefix) => prefix.block_value("block", block, path, |_| cost),
            None => Ok(()),
        }
    }

    fn typed_text(
        &mut self,
        role: &str,
        block: &Value,
        mark: Option<Ttl>,
        path: &str,
    ) -> Result<(), ErrorReply> {
        only_keys(block, &["type", "text", "cache_control", "citations"], path)?;
        let Some(text) = block.get("text").and_then(Value::as_str) else {
            return Err(ErrorReply::invalid(format!("{path}.text: Field required")));
        };
        if text.is_empty() && mark.is_some() {
            let what = "cache_control cannot be set for empty text blocks";
            return Err(ErrorReply::invalid(format!("{path}.cache_control: {what}")));
        }
        let cited = block
            .get("citations")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        if cited && role == "user" && self.context.new_version {
            return Err(ErrorReply::invalid(format!(
                "{path}.citations: citations are not permitted in user messages"
            )));
        }
        self.text_block(role, text, mark, path)
    }

    fn document(&mut self, block: &Value, path: &str) -> Result<u64, ErrorReply> {
        only_keys(
            block,
            &[
                "type",
                "source",
                "title",
                "context",
                "citations",
                "cache_control",
            ],
            path,
        )?;
        let cites =
            block.get("citations").and_then(|c| c.get("enabled")) == Some(&Value::Bool(true));
        if cites && matches!(self.head.shape, AnswerFormat::Json(_)) {
            return Err(ErrorReply::invalid(
                "output_config.format: structured output cannot be used together with citations",
            ));
        }
        self.cited
            .extend(CitableDocument::of(block, self.documents));
        self.documents += 1;
        self.media
            .document(block, path, &self.head.model, &mut self.counts_so_far)
    }

    fn finish(mut self, messages: &[Value]) -> Result<ParsedMessages, ErrorReply> {
        self.counts_so_far.check(&self.head.model)?;
        if let (Some(ttl), Some(prefix)) = (self.head.automatic_mark, &mut self.prefix) {
            prefix.mark_automatically(ttl)?;
        }
        self.prefix
            .as_ref()
            .unwrap_or(&self.head.prefix)
            .check_marks()?;
        if let Some(Value::Object(last)) = messages.last()
            && last.get("role").and_then(Value::as_str) == Some("assistant")
            && last
                .get("content")
                .and_then(Value::as_str)
                .is_some_and(|text| text.ends_with(char::is_whitespace))
            && self.context.endpoint != Endpoint::CountTokens
        {
            return Err(ErrorReply::invalid(
                "messages: final assistant content cannot end with trailing whitespace",
            ));
        }
        Ok(ParsedMessages {
            text: self.text,
            input_tokens: self.tokens,
            prefix: self.prefix,
            cited: self.cited,
        })
    }
}
