//! What the simulated model writes: a value of the schema, calls, a label, a form, or a sentence.

use serde_json::Value;

use crate::simulator::instance::InstanceGenerator;
use crate::simulator::params::{AnswerFormat, CallableTools, ParsedRequest};
use crate::simulator::{forms, labels};

/// Words of the prompt that an answer is made from.
const MAX_WORDS: usize = 120;

pub(super) enum AnswerContent {
    Text(String),
    /// The name and the arguments of each.
    ToolCalls(Vec<(String, Value)>),
}

pub(super) fn compose_content(request: &ParsedRequest, rng: &mut fastrand::Rng) -> AnswerContent {
    let words = words(&request.row.text);
    match &request.head.shape {
        AnswerFormat::Json(schema) => AnswerContent::Text(
            InstanceGenerator {
                root: schema,
                words: &words,
                rng,
            }
            .instance()
            .to_string(),
        ),
        AnswerFormat::Tools(CallableTools { tools, parallel }) => {
            // One call as a rule; where the request allows more, now and then two.
            let calls = if *parallel && rng.u8(..6) == 0 { 2 } else { 1 };
            let call = |rng: &mut fastrand::Rng| {
                let (name, input_schema) = &tools[rng.usize(..tools.len())];
                (
                    name.clone(),
                    InstanceGenerator {
                        root: input_schema,
                        words: &words,
                        rng,
                    }
                    .instance(),
                )
            };
            AnswerContent::ToolCalls((0..calls).map(|_| call(rng)).collect())
        }
        AnswerFormat::Free => AnswerContent::Text(free(request, &words, rng)),
    }
}

/// What a tool of the provider is asked, and what it gives back.
pub(super) fn server_tool_use(
    name: &str,
    words: &[&str],
    rng: &mut fastrand::Rng,
) -> (Value, Value) {
    let phrase = InstanceGenerator {
        root: &Value::Null,
        words,
        rng,
    }
    .phrase(2, 6);
    let url = format!("https://example.com/{}", rng.u16(..));
    match name {
        "web_search" => (
            serde_json::json!({"query": phrase}),
            serde_json::json!([{"type": "web_search_result", "title": phrase, "url": url, "encrypted_content": "c2lt", "page_age": null}]),
        ),
        "web_fetch" => {
            let document = serde_json::json!({"type": "document", "title": phrase,
                "source": {"type": "text", "media_type": "text/plain", "data": phrase}});
            (
                serde_json::json!({"url": url}),
                serde_json::json!({"type": "web_fetch_result", "url": url, "content": document, "retrieved_at": null}),
            )
        }
        _ => (
            serde_json::json!({"code": format!("print({phrase:?})")}),
            serde_json::json!({"type": "code_execution_result", "stdout": format!("{phrase}\n"), "stderr": "", "return_code": 0, "content": []}),
        ),
    }
}

pub(super) fn free(request: &ParsedRequest, words: &[&str], rng: &mut fastrand::Rng) -> String {
    if let Some(form) = request
        .head
        .form
        .clone()
        .or_else(|| forms::find(&request.row.text))
    {
        return forms::fill(&form, rng, |rng| {
            InstanceGenerator {
                root: &Value::Null,
                words,
                rng,
            }
            .phrase(1, 6)
        });
    }
    let found = match &request.head.labels {
        Some(labels) => Some(labels.clone()),
        None => labels::find(&request.row.text),
    };
    if let Some(labels) = found {
        return labels[rng.usize(..labels.len())].clone();
    }
    let mut sentence = InstanceGenerator {
        root: &Value::Null,
        words,
        rng,
    }
    .phrase(6, 24);
    if let Some(first) = sentence.chars().next() {
        sentence.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
    sentence.push('.');
    sentence
}

/// The words of a text, without marks around them.
pub(super) fn words(text: &str) -> Vec<&str> {
    let bare = |word| str::trim_matches(word, |c: char| !c.is_alphanumeric());
    let words = text
        .split_whitespace()
        .map(bare)
        .filter(|word| !word.is_empty());
    // Text without spaces, such as Chinese, is one long word.
    words
        .map(|word| {
            word.char_indices()
                .nth(40)
                .map_or(word, |(end, _)| &word[..end])
        })
        .take(MAX_WORDS)
        .collect()
}

/// The same JSON with its texts in capitals: a documented liberty of the API with enum values.
pub(super) fn recased(text: &str) -> String {
    fn walk(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.to_uppercase(),
            Value::Array(values) => values.iter_mut().for_each(walk),
            Value::Object(fields) => fields.values_mut().for_each(walk),
            _ => {}
        }
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            walk(&mut value);
            value.to_string()
        }
        Err(_) => text.to_uppercase(),
    }
}
