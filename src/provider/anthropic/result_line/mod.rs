//! One line of a results file → what became of one request.
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
//! **Usage** is read the other way round: what decides the price and is there, but cannot be read
//! as a count, makes the cost of the row unknown ([`Usage::unreadable`]); it is never passed over,
//! since what is left would look like an exact bill. So do counts that contradict each other:
//! `cache_creation` that does not add up, `iterations` that hold less than the top level. A count
//! that is missing or null is no count; input and output have to be named.
//!
//! Text is chosen by the type of block, since an answer may begin with thinking. Blocks follow each
//! other without a separator: where the API cites a source it cuts one sentence into several
//! blocks.
//!
//! What only some jobs ask for (tool calls, thinking, citations) is read by a second look at the
//! line, in `details.rs`, so that the others do not pay for it. To take up another fact that every
//! job wants: a field in the struct of its place below, and in [`ParsedLine`].

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::details;
use crate::outcome::details::Wanted;
use crate::outcome::{Iteration, Outcome, Status, TokenCounts, Usage};
use crate::provider::{LineError, ResultLine};

/// What one line says.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedLine<'a> {
    /// Which request it answers.
    pub custom_id: Cow<'a, str>,
    /// What became of it.
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
        Err(_) => parse_odd(text),
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
fn parse_odd(text: &str) -> Result<ParsedLine<'_>, LineError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| LineError::NotJson {
        column: error.column(),
    })?;
    if let Some(mended) = mend_surrogates(text)
        && let Ok(line) = serde_json::from_str::<Line<'_>>(&mended)
    {
        let line = line.read()?;
        return Ok(ParsedLine {
            custom_id: Cow::Owned(line.custom_id.into_owned()),
            ..line
        });
    }
    let custom_id = custom_id_of(text.as_bytes())?;
    Ok(plain(custom_id, unreadable(String::new())))
}

/// Replaces halves of surrogate pairs, which JSON can spell and no text can hold, by U+FFFD. `None`
/// where there are none.
pub(super) fn mend_surrogates(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let escape = text.as_bytes().get(at..at + 6)?;
        let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = memchr::memchr(b'\\', &text.as_bytes()[at..]) {
        at += found;
        let pair = (unit(at), unit(at + 6));
        at += match pair {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&text[copied..at]);
                mended.push_str("\\ufffd");
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
    mended.push_str(&text[copied..]);
    Some(mended)
}

// ---- the shapes ----

/// A string, or nothing where another kind of value stands. Borrows where the string has no
/// escapes.
///
/// `Option<Cow<str>>` would always copy, and would fail the line for a value of another kind.
#[derive(Default)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

/// What stands where something belongs that decides the price.
#[derive(Default)]
enum Found<T> {
    /// Nothing, or null.
    #[default]
    Absent,
    /// What belongs there.
    Is(T),
    /// Something else.
    Odd,
}

impl<T> Found<T> {
    fn is_odd(&self) -> bool {
        matches!(self, Found::Odd)
    }

    fn value(self) -> Option<T> {
        match self {
            Found::Is(value) => Some(value),
            Found::Absent | Found::Odd => None,
        }
    }
}

/// A number of tokens.
type Count = Found<u64>;

/// More tokens than a step of an answer can have: a thousand times the largest context window. A
/// larger number is no count, and sums of such would not fit into an amount of money.
const MAX_TOKENS: u64 = 1_000_000_000;
/// More uses of a tool than a request can have, for the same reason.
const MAX_USES: u64 = 1_000_000;
/// Most steps that are read of an answer.
const MAX_STEPS: usize = 1_000;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    custom_id: Word<'a>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    custom_id: Word<'a>,
    #[serde(borrow)]
    result: Option<ResultPart<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResultPart<'a> {
    #[serde(borrow, rename = "type")]
    word: Word<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    error: Option<Envelope<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Word<'a>,
    #[serde(borrow)]
    model: Word<'a>,
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow)]
    stop_reason: Word<'a>,
    #[serde(borrow)]
    stop_details: Option<StopDetails<'a>>,
    #[serde(borrow)]
    usage: Found<UsagePart<'a>>,
}

/// A block of content: all kinds in one struct, each with the members it has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    text: Word<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StopDetails<'a> {
    #[serde(borrow)]
    category: Word<'a>,
    #[serde(borrow)]
    explanation: Word<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UsagePart<'a> {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Found<CacheCreation>,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    output_tokens_details: Found<OutputDetails>,
    server_tool_use: Found<ServerToolUse>,
    #[serde(borrow)]
    service_tier: Word<'a>,
    #[serde(borrow)]
    inference_geo: Word<'a>,
    #[serde(borrow)]
    iterations: Found<Vec<Found<StepPart<'a>>>>,
}

/// An entry of `iterations`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StepPart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    model: Found<Cow<'a, str>>,
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Found<CacheCreation>,
    cache_read_input_tokens: Count,
    output_tokens: Count,
}

/// Tokens written to a cache, by its lifetime.
#[derive(Default)]
struct CacheCreation {
    minutes: Count,
    hour: Count,
    /// Whether tokens were written to a cache of another lifetime, whose price is not known.
    has_others: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: Count,
    web_fetch_requests: Count,
    code_execution_requests: Count,
}

/// The envelope of an error; the kind of error is one level further in than one would think.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    message: Word<'a>,
    #[serde(borrow)]
    request_id: Word<'a>,
    #[serde(borrow)]
    error: Option<ErrorPart<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorPart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    message: Word<'a>,
    #[serde(borrow)]
    details: Option<ErrorDetails<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorDetails<'a> {
    #[serde(borrow)]
    error_code: Word<'a>,
}

// ---- from the shapes to the facts ----

impl<'a> Line<'a> {
    fn read(self) -> Result<ParsedLine<'a>, LineError> {
        let custom_id = self.custom_id.0.ok_or(LineError::NoCustomId)?;
        let result = self.result.unwrap_or_default();
        let word = result.word.owned().unwrap_or_default();
        Ok(match (word.as_str(), result.message, result.error) {
            ("succeeded", Some(message), _) => succeeded(custom_id, word, message),
            ("errored", _, Some(envelope)) => errored(custom_id, word, envelope),
            ("canceled", ..) => plain(custom_id, bare(Status::Canceled, word)),
            ("expired", ..) => plain(custom_id, bare(Status::Expired, word)),
            ("succeeded" | "errored", ..) => plain(custom_id, unreadable(word)),
            _ => {
                let error = "the result has a type that is not known".to_owned();
                let outcome = Outcome {
                    error_type: Some(UNKNOWN_RESULT.to_owned()),
                    error: Some(error),
                    ..bare(Status::Errored, word)
                };
                plain(custom_id, outcome)
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
            Found::Absent => None,
            Found::Is(usage) => Some(usage.read()),
            Found::Odd => Some(Usage {
                unreadable: true,
                ..Usage::default()
            }),
        },
        ..bare(status_of(stop_reason.as_deref()), result)
    };
    ParsedLine {
        refusal_category: details.category.owned(),
        ..plain(
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
fn status_of(stop_reason: Option<&str>) -> Status {
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

fn errored<'a>(custom_id: Cow<'a, str>, result: String, envelope: Envelope<'_>) -> ParsedLine<'a> {
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
        ..bare(Status::Errored, result)
    };
    ParsedLine {
        error_code: error.details.and_then(|details| details.error_code.owned()),
        request_id: envelope.request_id.owned(),
        ..plain(custom_id, outcome)
    }
}

fn unreadable(result: String) -> Outcome {
    let error = "the result line has another shape than the API describes".to_owned();
    Outcome {
        error_type: Some(UNREADABLE_RESULT.to_owned()),
        error: Some(error),
        ..bare(Status::Errored, result)
    }
}

fn bare(status: Status, result: String) -> Outcome {
    Outcome {
        result,
        ..Outcome::new(status)
    }
}

fn plain(custom_id: Cow<'_, str>, outcome: Outcome) -> ParsedLine<'_> {
    ParsedLine {
        custom_id,
        outcome,
        error_code: None,
        request_id: None,
        refusal_category: None,
    }
}

impl UsagePart<'_> {
    fn read(self) -> Usage {
        let written = (self.cache_creation_input_tokens, self.cache_creation);
        let (mut tokens, mut is_odd) = counts(
            [
                self.input_tokens,
                self.cache_read_input_tokens,
                self.output_tokens,
            ],
            written,
        );
        let mut iterations = Vec::new();
        match self.iterations {
            Found::Absent => {}
            Found::Odd => is_odd = true,
            Found::Is(steps) if steps.is_empty() => {}
            Found::Is(steps) => {
                let steps: Option<Vec<Iteration>> =
                    steps.into_iter().map(|step| step.value()?.read()).collect();
                let mut sums = TokenCounts::default();
                steps
                    .iter()
                    .flatten()
                    .for_each(|step| sums.add(step.tokens));
                // What the top level names is part of the list; a list that holds less has lost
                // something.
                match steps.filter(|_| !holds_less(sums, tokens)) {
                    Some(steps) => (tokens, iterations) = (sums, steps),
                    None => is_odd = true,
                }
            }
        }
        // One step by the model that answered is the whole of it.
        if matches!(iterations.as_slice(), [Iteration { model: None, .. }]) {
            iterations.clear();
        }
        let tools = match self.server_tool_use {
            Found::Is(tools) => tools,
            Found::Absent => ServerToolUse::default(),
            Found::Odd => {
                is_odd = true;
                ServerToolUse::default()
            }
        };
        let mut uses = |count: Count| {
            let is_use = !matches!(count, Found::Is(uses) if uses > MAX_USES);
            is_odd |= count.is_odd() || !is_use;
            count.value().filter(|_| is_use)
        };
        let (searches, fetches) = (
            uses(tools.web_search_requests),
            uses(tools.web_fetch_requests),
        );
        Usage {
            input_tokens: tokens.input_tokens,
            cache_creation_5m_input_tokens: tokens.cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens: tokens.cache_creation_1h_input_tokens,
            cache_read_input_tokens: tokens.cache_read_input_tokens,
            output_tokens: tokens.output_tokens,
            // Neither thinking nor runs of code have a price of their own here, so what cannot be
            // read of them costs nothing.
            thinking_tokens: self
                .output_tokens_details
                .value()
                .unwrap_or_default()
                .thinking_tokens
                .value(),
            service_tier: self.service_tier.owned(),
            inference_geo: self.inference_geo.owned(),
            web_search_requests: searches,
            web_fetch_requests: fetches,
            code_execution_requests: tools.code_execution_requests.value(),
            iterations,
            unreadable: is_odd,
        }
    }
}

impl StepPart<'_> {
    /// The step; `None` where its price cannot be told.
    fn read(self) -> Option<Iteration> {
        let written = (self.cache_creation_input_tokens, self.cache_creation);
        let (tokens, is_odd) = counts(
            [
                self.input_tokens,
                self.cache_read_input_tokens,
                self.output_tokens,
            ],
            written,
        );
        // Only these are by the model that answered where they name none.
        let is_own = matches!(self.kind.0.as_deref(), Some("message" | "compaction"));
        let has_model = matches!(self.model, Found::Is(_)) || (is_own && !self.model.is_odd());
        let is_whole = tokens.input_tokens.is_some() && tokens.output_tokens.is_some();
        let model = self.model.value().map(Cow::into_owned);
        (!is_odd && has_model && is_whole).then_some(Iteration { model, tokens })
    }
}

/// Counts of tokens, and whether one of them cannot be read. Plain input, read from a cache,
/// output; written to caches as a sum and by lifetime.
fn counts(
    [input, read, output]: [Count; 3],
    (sum, split): (Count, Found<CacheCreation>),
) -> (TokenCounts, bool) {
    let mut is_odd = [&input, &read, &output, &sum]
        .iter()
        .any(|count| count.is_odd())
        || split.is_odd();
    let CacheCreation {
        minutes,
        hour,
        has_others,
    } = split.value().unwrap_or_default();
    is_odd |= minutes.is_odd() || hour.is_odd() || has_others;
    let (sum, mut written_5m, written_1h) = (sum.value(), minutes.value(), hour.value());
    if written_5m.is_none() && written_1h.is_none() {
        // Before there were two kinds of cache, there was the one of five minutes.
        written_5m = sum;
    } else {
        let split = written_5m
            .unwrap_or(0)
            .saturating_add(written_1h.unwrap_or(0));
        is_odd |= sum.is_some_and(|sum| sum != split);
    }
    let tokens = TokenCounts {
        input_tokens: input.value(),
        cache_creation_5m_input_tokens: written_5m,
        cache_creation_1h_input_tokens: written_1h,
        cache_read_input_tokens: read.value(),
        output_tokens: output.value(),
    };
    (tokens, is_odd)
}

/// Whether the sums over a list are less than the top level, in prompt or answer.
fn holds_less(sums: TokenCounts, top: TokenCounts) -> bool {
    let prompt = |tokens: TokenCounts| {
        let TokenCounts {
            input_tokens,
            cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens,
            cache_read_input_tokens,
            output_tokens: _,
        } = tokens;
        [
            input_tokens,
            cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens,
            cache_read_input_tokens,
        ]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add)
    };
    prompt(sums) < prompt(top) || sums.output_tokens.unwrap_or(0) < top.output_tokens.unwrap_or(0)
}

// ---- values that forgive ----

impl Word<'_> {
    pub(super) fn owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor).map(Word)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Found<Cow<'a, str>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

/// Takes a struct from an object, and from nothing else: a derived one would take a list too, by
/// the order of its members.
macro_rules! from_object {
    ($($part:ty),*) => {$(
        impl<'de: 'a, 'a> Deserialize<'de> for Found<$part> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor<'a>(PhantomData<&'a ()>);

                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = Found<$part>;
                    forgive!(Found::Odd);
                    forgive_numbers!(Found::Odd);
                    forgive_lists!(Found::Odd);
                    forgive_texts!(Found::Odd);
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Found::Is)
                    }
                }
                deserializer.deserialize_any(ObjectVisitor(PhantomData))
            }
        }
    )*};
}

/// Passes over every kind of value that is not asked for; null is as good as nothing.
macro_rules! forgive {
    ($other:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! forgive_numbers {
    ($other:expr) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! forgive_texts {
    ($other:expr) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! forgive_lists {
    ($other:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($other)
        }
    };
}

macro_rules! forgive_objects {
    ($other:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($other)
        }
    };
}

from_object!(
    UsagePart<'a>,
    StepPart<'a>,
    OutputDetails,
    ServerToolUse,
    CacheCreation
);

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Option<Cow<'de, str>>;
    forgive!(None);
    forgive_numbers!(None);
    forgive_lists!(None);
    forgive_objects!(None);
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Found<Cow<'de, str>>;
    forgive!(Found::Odd);
    forgive_numbers!(Found::Odd);
    forgive_lists!(Found::Odd);
    forgive_objects!(Found::Odd);
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Found::Is(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Found::Is(Cow::Owned(text.to_owned())))
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;
    forgive!(Found::Odd);
    forgive_lists!(Found::Odd);
    forgive_objects!(Found::Odd);
    forgive_texts!(Found::Odd);
    fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
        Ok(if count <= MAX_TOKENS {
            Found::Is(count)
        } else {
            Found::Odd
        })
    }
    fn visit_f64<E>(self, count: f64) -> Result<Self::Value, E> {
        // Gateways in other languages write 12.0.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let is_count = count.fract() == 0.0 && (0.0..=MAX_TOKENS as f64).contains(&count);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in range"
        )]
        Ok(if is_count {
            Found::Is(count as u64)
        } else {
            Found::Odd
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Found<Vec<Found<StepPart<'a>>>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepsVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for StepsVisitor<'a> {
            type Value = Found<Vec<Found<StepPart<'a>>>>;
            forgive!(Found::Odd);
            forgive_numbers!(Found::Odd);
            forgive_objects!(Found::Odd);
            forgive_texts!(Found::Odd);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut steps = Vec::new();
                while steps.len() < MAX_STEPS {
                    match seq.next_element()? {
                        Some(step) => steps.push(step),
                        None => return Ok(Found::Is(steps)),
                    }
                }
                let mut is_longer = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    is_longer = true;
                }
                Ok(if is_longer {
                    Found::Odd
                } else {
                    Found::Is(steps)
                })
            }
        }
        deserializer.deserialize_any(StepsVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for CacheCreation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier)]
        enum Lifetime {
            #[serde(rename = "ephemeral_5m_input_tokens")]
            Minutes,
            #[serde(rename = "ephemeral_1h_input_tokens")]
            Hour,
            #[serde(other)]
            Other,
        }

        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = CacheCreation;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = CacheCreation::default();
                while let Some(lifetime) = map.next_key()? {
                    let count: Count = map.next_value()?;
                    match lifetime {
                        Lifetime::Minutes => found.minutes = count,
                        Lifetime::Hour => found.hour = count,
                        Lifetime::Other => {
                            found.has_others |= matches!(count, Found::Is(tokens) if tokens > 0)
                        }
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests;
