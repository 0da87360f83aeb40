//! The JSON that a text holds.
//!
//! A model that is asked for JSON gives it bare, in a fence, or with a sentence before it:
//!
//! ````text
//! {"label": "spam"}        ```json               Here is the result: {"label": "spam"}
//!                          {"label": "spam"}     I hope that helps.
//!                          ```
//! ````
//!
//! These three are tried in this order. What is found is the only one of its kind, or nothing:
//! where a text holds two, it is unknown which one was meant, and where one is cut off, what it
//! contains is not the answer.

use serde::de::IgnoredAny;

const NONE: &str = "the answer holds no JSON";
const SEVERAL: &str =
    "the answer holds several pieces of JSON, and it is unclear which one was meant";
const BROKEN: &str = "the JSON in the answer is broken or cut off";

/// The text of the only JSON value in an answer.
///
/// # Errors
/// Why there is none.
pub(in crate::outcome) fn find(text: &str) -> Result<&str, &'static str> {
    let text = text.trim();
    if is_json(text) {
        return Ok(text);
    }
    let mut fenced = fences(text).filter(|inner| is_json(inner));
    match (fenced.next(), fenced.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(SEVERAL),
        _ => embedded_object(text),
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What stands between fences of three backticks on lines of their own, without the word behind the
/// first.
fn fences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, opened) = rest.split_once("```")?;
        let (word, inner) = opened.split_once('\n')?;
        if word.contains('`') {
            // A fence within a line is no block.
            rest = opened;
            return Some("");
        }
        let (inner, after) = inner.split_once("```")?;
        rest = after;
        Some(inner.trim())
    })
}

/// The only object that stands in a text.
fn embedded_object(text: &str) -> Result<&str, &'static str> {
    let mut found = None;
    let mut at = 0;
    while let Some(start) = memchr::memchr(b'{', &text.as_bytes()[at..]).map(|n| at + n) {
        let rest = &text[start..];
        if !begins_like_json(rest) {
            at = start + 1;
            continue;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let Some(Ok(_)) = values.next() else {
            return Err(BROKEN);
        };
        let end = start + values.byte_offset();
        if found.replace(&text[start..end]).is_some() {
            return Err(SEVERAL);
        }
        at = end;
    }
    found.ok_or(NONE)
}

/// A brace that a name or the other brace follows; others belong to prose.
fn begins_like_json(text: &str) -> bool {
    text[1..].trim_start().starts_with(['"', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_only_json_in_a_text() {
        for (text, expected) in [
            (" {\"a\": 1}\n", Ok("{\"a\": 1}")),
            ("[1, 2]", Ok("[1, 2]")),
            ("\"word\"", Ok("\"word\"")),
            ("```json\n{\"a\": 1}\n```", Ok("{\"a\": 1}")),
            ("Sure!\n```\n[1]\n```\nBye.", Ok("[1]")),
            (
                "```python\nprint()\n```\n```json\n{\"a\": \"`b`\"}\n```",
                Ok("{\"a\": \"`b`\"}"),
            ),
            (
                "Use ```x``` here: {\"a\": {\"b\": 1}}. Done {really}.",
                Ok("{\"a\": {\"b\": 1}}"),
            ),
            ("Nothing {here}", Err(NONE)),
            ("", Err(NONE)),
            ("plain", Err(NONE)),
            ("{\"a\": 1} or {\"a\": 2}", Err(SEVERAL)),
            ("```json\n1\n```\n```json\n2\n```", Err(SEVERAL)),
            ("{\"a\": {\"b\": 1}", Err(BROKEN)),
            ("It is {\"a\": {\"b\": 1}, c}", Err(BROKEN)),
            ("```json\n{\"a\": {\"b\": 1},\n```", Err(BROKEN)),
            ("{}", Ok("{}")),
        ] {
            assert_eq!(find(text), expected, "{text}");
        }
    }
}
