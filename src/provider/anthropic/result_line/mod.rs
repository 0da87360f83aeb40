//! One line of a results file → the outcome of one request.
//!
//! ```text
//! {"custom_id":"…","result":{"type":"succeeded","message":{"id","model","content":[{"type":"text","text"}…],"stop_reason","usage"}}}
//! {"custom_id":"…","result":{"type":"errored","error":{"type":"error","request_id","error":{"type","message","details"}}}}
//! {"custom_id":"…","result":{"type":"canceled"}}      {"custom_id":"…","result":{"type":"expired"}}
//! ```
//!
//! The line is read into flat structs that borrow from it and take the fields they name, whatever
//! the order and whatever else there is; tagged enums and JSON values would take twice the time.
//! Words that did not exist when this was written survive: an unknown stop reason counts as
//! success, an unknown kind of block is passed over, an unknown type of result is an error of the
//! row that keeps the word. A line that is JSON and has a `custom_id` always gives an outcome.
//!
//! **Usage** is read with the opposite rule: what decides the price and is there, but cannot be
//! read as a count, makes the cost of the row unknown (`Usage::unreadable`); it is never passed
//! over, since what is left would look like an exact bill. So do counts that contradict each other:
//! `cache_creation` that does not add up, `iterations` that hold less than the top level. A count
//! that is missing or null is no count; input and output have to be named.
//!
//! Text is chosen by the type of block, since an answer may begin with thinking. Blocks follow each
//! other without a separator: where the API cites a source it cuts one sentence into several
//! blocks.
//!
//! What only some jobs ask for (tool calls, thinking, citations) is read by a second pass over the
//! line, in `details.rs`, so that the others do not pay for it. To take up another fact that every
//! job wants: a field in the struct of its place in `shapes.rs`, and in [`ParsedLine`].

mod details;
mod lenient;
mod shapes;
mod usage;

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::outcome::Outcome;
use crate::outcome::details::Wanted;
use crate::provider::{LineError, ResultLine};
use shapes::{Head, Line, line_of, unreadable};

/// What one line says.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedLine<'a> {
    /// Which request it answers.
    pub custom_id: Cow<'a, str>,
    /// The outcome of the request.
    pub outcome: Outcome,
    /// The machine code of an error, in `details.error_code`.
    pub error_code: Option<String>,
    /// The provider's id of the request, which stands on errors.
    pub request_id: Option<String>,
    /// What kind of refusal it is, such as `cyber`.
    pub refusal_category: Option<String>,
}

/// The error type of a row whose result has a type that did not exist when this was written.
pub const UNKNOWN_RESULT: &str = "unknown_result";
/// The error type of a row whose line has a `custom_id` and otherwise another shape than any known
/// one.
pub const UNREADABLE_RESULT: &str = "unreadable_result";

/// Reads one line, without its line feed.
///
/// # Errors
/// It is not UTF-8, not JSON, or has no `custom_id`. Errors hold nothing of the line.
pub fn parse(line: &[u8]) -> Result<ParsedLine<'_>, LineError> {
    let text = utf8(line)?;
    match serde_json::from_str::<Line<'_>>(text) {
        Ok(line) => line.read(),
        Err(_) => parse_unexpected(text),
    }
}

/// As [`parse`], with the details that the job wants.
///
/// # Errors
/// As there.
pub fn parse_with(line: &[u8], wanted: Wanted) -> Result<ResultLine<'_>, LineError> {
    let mut parsed = parse(line)?;
    if wanted.any() {
        parsed.outcome.details = Some(Box::new(details::read(line, wanted, &parsed)));
    }
    Ok(ResultLine {
        custom_id: parsed.custom_id,
        outcome: parsed.outcome,
    })
}

/// Reads only the `custom_id` of a line.
///
/// Quick where it stands first, as the API writes it: the rest of the line is then not looked at,
/// but for its closing brace.
///
/// # Errors
/// As [`parse`], as far as it reads.
pub fn custom_id_of(line: &[u8]) -> Result<Cow<'_, str>, LineError> {
    if let Some(id) = leading_custom_id(line) {
        return Ok(Cow::Borrowed(id));
    }
    let line: Head<'_> =
        serde_json::from_str(utf8(line)?).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => LineError::NoCustomId,
            _ => LineError::NotJson {
                column: error.column(),
            },
        })?;
    line.custom_id.0.ok_or(LineError::NoCustomId)
}

/// The value of `custom_id` if it is the first member and has no escapes.
fn leading_custom_id(line: &[u8]) -> Option<&str> {
    let rest = line.trim_ascii().strip_suffix(b"}")?.strip_prefix(b"{")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"custom_id\"")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    let id = &rest[..end];
    let plain = rest[end] == b'"' && id.iter().all(|&byte| byte >= b' ');
    if plain {
        std::str::from_utf8(id).ok()
    } else {
        None
    }
}

fn utf8(line: &[u8]) -> Result<&str, LineError> {
    std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 {
        at: error.valid_up_to(),
    })
}

/// Reads a line that has not the expected shape.
#[cold]
fn parse_unexpected(text: &str) -> Result<ParsedLine<'_>, LineError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| LineError::NotJson {
        column: error.column(),
    })?;
    if let Some(replaced) = replace_lone_surrogates(text)
        && let Ok(line) = serde_json::from_str::<Line<'_>>(&replaced)
    {
        let line = line.read()?;
        return Ok(ParsedLine {
            custom_id: Cow::Owned(line.custom_id.into_owned()),
            ..line
        });
    }
    let custom_id = custom_id_of(text.as_bytes())?;
    Ok(line_of(custom_id, unreadable(String::new())))
}

/// Replaces halves of surrogate pairs, which JSON can spell and no text can hold, by U+FFFD. `None`
/// where there are none.
fn replace_lone_surrogates(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let escape = text.as_bytes().get(at..at + 6)?;
        let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut replaced, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = memchr::memchr(b'\\', &text.as_bytes()[at..]) {
        at += found;
        let pair = (unit(at), unit(at + 6));
        at += match pair {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                replaced.push_str(&text[copied..at]);
                replaced.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            _ => 2,
        };
        at = at.min(text.len());
    }
    if copied == 0 {
        return None;
    }
    replaced.push_str(&text[copied..]);
    Some(replaced)
}

#[cfg(test)]
mod tests;
