//! The JSON shapes of a result line, and what they mean.

use std::borrow::Cow;

use serde::Deserialize;

use super::lenient::{Field, OptionalText};
use super::usage::UsagePart;
use super::{ParsedLine, UNKNOWN_RESULT, UNREADABLE_RESULT};
use crate::outcome::{Outcome, Status, Usage};
use crate::provider::LineError;

#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow, default)]
    pub(super) custom_id: OptionalText<'a>,
}

#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow, default)]
    custom_id: OptionalText<'a>,
    #[serde(borrow)]
    result: Option<ResultPart<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResultPart<'a> {
    #[serde(borrow, rename = "type")]
    word: OptionalText<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    error: Option<ErrorEnvelope<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: OptionalText<'a>,
    #[serde(borrow)]
    model: OptionalText<'a>,
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow)]
    stop_reason: OptionalText<'a>,
    #[serde(borrow)]
    stop_details: Option<StopDetails<'a>>,
    #[serde(borrow)]
    usage: Field<UsagePart<'a>>,
}

/// A block of content: all kinds in one struct, each with the members it has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: OptionalText<'a>,
    #[serde(borrow)]
    text: OptionalText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StopDetails<'a> {
    #[serde(borrow)]
    category: OptionalText<'a>,
    #[serde(borrow)]
    explanation: OptionalText<'a>,
}

/// The envelope of an error; the kind of error is one level further in than one would think.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorEnvelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: OptionalText<'a>,
    #[serde(borrow)]
    message: OptionalText<'a>,
    #[serde(borrow)]
    request_id: OptionalText<'a>,
    #[serde(borrow)]
    error: Option<ErrorPart<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorPart<'a> {
    #[serde(borrow, rename = "type")]
    kind: OptionalText<'a>,
    #[serde(borrow)]
    message: OptionalText<'a>,
    #[serde(borrow)]
    details: Option<ErrorDetails<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorDetails<'a> {
    #[serde(borrow)]
    error_code: OptionalText<'a>,
}

impl<'a> Line<'a> {
    pub(super) fn read(self) -> Result<ParsedLine<'a>, LineError> {
        let custom_id = self.custom_id.0.ok_or(LineError::NoCustomId)?;
        let result = self.result.unwrap_or_default();
        let word = result.word.owned().unwrap_or_default();
        Ok(match (word.as_str(), result.message, result.error) {
            ("succeeded", Some(message), _) => succeeded(custom_id, word, message),
            ("errored", _, Some(envelope)) => errored(custom_id, word, envelope),
            ("canceled", ..) => line_of(custom_id, outcome_of(Status::Canceled, word)),
            ("expired", ..) => line_of(custom_id, outcome_of(Status::Expired, word)),
            ("succeeded" | "errored", ..) => line_of(custom_id, unreadable(word)),
            _ => {
                let error = "the result has a type that is not known".to_owned();
                let outcome = Outcome {
                    error_type: Some(UNKNOWN_RESULT.to_owned()),
                    error: Some(error),
                    ..outcome_of(Status::Errored, word)
                };
                line_of(custom_id, outcome)
            }
        })
    }
}

fn succeeded<'a>(custom_id: Cow<'a, str>, result: String, message: Message<'_>) -> ParsedLine<'a> {
    let details = message.stop_details.unwrap_or_default();
    let stop_reason = message.stop_reason.owned();
    let content = message.content.unwrap_or_default();
    let calls_tools = content
        .iter()
        .any(|block| block.kind.0.as_deref() == Some("tool_use"));
    let outcome = Outcome {
        text: joined_text(content),
        calls_tools,
        error: details.explanation.owned(),
        model: message.model.owned(),
        message_id: message.id.owned(),
        usage: match message.usage {
            Field::Absent => None,
            Field::Valid(usage) => Some(usage.read()),
            Field::Invalid => Some(Usage {
                unreadable: true,
                ..Usage::default()
            }),
        },
        ..outcome_of(status_of(stop_reason.as_deref()), result)
    };
    ParsedLine {
        refusal_category: details.category.owned(),
        ..line_of(
            custom_id,
            Outcome {
                stop_reason,
                ..outcome
            },
        )
    }
}

/// What a stop reason says of the answer. One that is not known does not make a paid answer
/// worthless.
pub(super) fn status_of(stop_reason: Option<&str>) -> Status {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => Status::Truncated,
        Some("refusal") => Status::Refused,
        // What was said before a compaction is in a block of its own, to be sent back; there is no
        // answer yet.
        Some("pause_turn" | "compaction") => Status::Paused,
        _ => Status::Succeeded,
    }
}

fn joined_text(content: Vec<Block<'_>>) -> Option<String> {
    let mut texts = content
        .into_iter()
        .filter(|block| block.kind.0.as_deref() == Some("text"))
        .filter_map(|block| block.text.0);
    let mut joined = texts.next()?.into_owned();
    texts.for_each(|text| joined.push_str(&text));
    Some(joined)
}

fn errored<'a>(
    custom_id: Cow<'a, str>,
    result: String,
    envelope: ErrorEnvelope<'_>,
) -> ParsedLine<'a> {
    // Without the inner part, a gateway has flattened the envelope.
    let flat = ErrorPart {
        kind: envelope.kind,
        message: envelope.message,
        details: None,
    };
    let error = envelope.error.unwrap_or(flat);
    let outcome = Outcome {
        error_type: error.kind.owned(),
        error: error.message.owned(),
        ..outcome_of(Status::Errored, result)
    };
    ParsedLine {
        error_code: error.details.and_then(|details| details.error_code.owned()),
        request_id: envelope.request_id.owned(),
        ..line_of(custom_id, outcome)
    }
}

pub(super) fn unreadable(result: String) -> Outcome {
    let error = "the result line has another shape than the API describes".to_owned();
    Outcome {
        error_type: Some(UNREADABLE_RESULT.to_owned()),
        error: Some(error),
        ..outcome_of(Status::Errored, result)
    }
}

pub(super) fn outcome_of(status: Status, result: String) -> Outcome {
    Outcome {
        result,
        ..Outcome::new(status)
    }
}

pub(super) fn line_of(custom_id: Cow<'_, str>, outcome: Outcome) -> ParsedLine<'_> {
    ParsedLine {
        custom_id,
        outcome,
        error_code: None,
        request_id: None,
        refusal_category: None,
    }
}
