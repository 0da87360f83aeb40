//! The usage of an answer: every count that decides its price, or the word that one cannot be read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::lenient::{
    Count, Field, OptionalText, ignore_lists, ignore_numbers, ignore_objects, ignore_rest,
    ignore_texts,
};
use crate::outcome::{Iteration, TokenCounts, Usage};

/// More uses of a tool than a request can have. A larger number is no count, and sums of such would
/// not fit into an amount of money.
const MAX_USES: u64 = 1_000_000;
/// Most iterations that are read of an answer.
const MAX_ITERATIONS: usize = 1_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct UsagePart<'a> {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Field<CacheCreation>,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    output_tokens_details: Field<OutputDetails>,
    server_tool_use: Field<ServerToolUse>,
    #[serde(borrow)]
    service_tier: OptionalText<'a>,
    #[serde(borrow)]
    inference_geo: OptionalText<'a>,
    #[serde(borrow)]
    iterations: Field<Vec<Field<IterationPart<'a>>>>,
}

/// An entry of `iterations`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct IterationPart<'a> {
    #[serde(borrow, rename = "type")]
    kind: OptionalText<'a>,
    #[serde(borrow)]
    model: Field<Cow<'a, str>>,
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Field<CacheCreation>,
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

impl UsagePart<'_> {
    pub(super) fn read(self) -> Usage {
        let written = (self.cache_creation_input_tokens, self.cache_creation);
        let (mut tokens, mut is_invalid) = counts(
            [
                self.input_tokens,
                self.cache_read_input_tokens,
                self.output_tokens,
            ],
            written,
        );
        let mut iterations = Vec::new();
        match self.iterations {
            Field::Absent => {}
            Field::Invalid => is_invalid = true,
            Field::Valid(steps) if steps.is_empty() => {}
            Field::Valid(steps) => {
                let steps: Option<Vec<Iteration>> =
                    steps.into_iter().map(|step| step.value()?.read()).collect();
                let mut sums = TokenCounts::default();
                steps
                    .iter()
                    .flatten()
                    .for_each(|step| sums.add(step.tokens));
                // What the top level names is part of the list; a list that holds less has lost
                // something.
                match steps.filter(|_| !is_less(sums, tokens)) {
                    Some(steps) => (tokens, iterations) = (sums, steps),
                    None => is_invalid = true,
                }
            }
        }
        // One step by the model that answered is the whole of it.
        if matches!(iterations.as_slice(), [Iteration { model: None, .. }]) {
            iterations.clear();
        }
        let tools = match self.server_tool_use {
            Field::Valid(tools) => tools,
            Field::Absent => ServerToolUse::default(),
            Field::Invalid => {
                is_invalid = true;
                ServerToolUse::default()
            }
        };
        let mut uses = |count: Count| {
            let is_use = !matches!(count, Field::Valid(uses) if uses > MAX_USES);
            is_invalid |= count.is_invalid() || !is_use;
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
            unreadable: is_invalid,
        }
    }
}

impl IterationPart<'_> {
    /// The step; `None` where its price is unknown.
    fn read(self) -> Option<Iteration> {
        let written = (self.cache_creation_input_tokens, self.cache_creation);
        let (tokens, is_invalid) = counts(
            [
                self.input_tokens,
                self.cache_read_input_tokens,
                self.output_tokens,
            ],
            written,
        );
        // Only these are by the model that answered where they name none.
        let is_own = matches!(self.kind.0.as_deref(), Some("message" | "compaction"));
        let has_model =
            matches!(self.model, Field::Valid(_)) || (is_own && !self.model.is_invalid());
        let is_whole = tokens.input_tokens.is_some() && tokens.output_tokens.is_some();
        let model = self.model.value().map(Cow::into_owned);
        (!is_invalid && has_model && is_whole).then_some(Iteration { model, tokens })
    }
}

/// Counts of tokens, and whether one of them cannot be read. Plain input, read from a cache,
/// output; written to caches as a sum and by lifetime.
fn counts(
    [input, read, output]: [Count; 3],
    (sum, split): (Count, Field<CacheCreation>),
) -> (TokenCounts, bool) {
    let mut is_invalid = [&input, &read, &output, &sum]
        .iter()
        .any(|count| count.is_invalid())
        || split.is_invalid();
    let CacheCreation {
        minutes,
        hour,
        has_others,
    } = split.value().unwrap_or_default();
    is_invalid |= minutes.is_invalid() || hour.is_invalid() || has_others;
    let (sum, mut written_5m, written_1h) = (sum.value(), minutes.value(), hour.value());
    if written_5m.is_none() && written_1h.is_none() {
        // Before there were two kinds of cache, there was the one of five minutes.
        written_5m = sum;
    } else {
        let split = written_5m
            .unwrap_or(0)
            .saturating_add(written_1h.unwrap_or(0));
        is_invalid |= sum.is_some_and(|sum| sum != split);
    }
    let tokens = TokenCounts {
        input_tokens: input.value(),
        cache_creation_5m_input_tokens: written_5m,
        cache_creation_1h_input_tokens: written_1h,
        cache_read_input_tokens: read.value(),
        output_tokens: output.value(),
    };
    (tokens, is_invalid)
}

/// Whether the sums over a list are less than the top level, in prompt or answer.
fn is_less(sums: TokenCounts, top: TokenCounts) -> bool {
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

/// Takes a struct from an object, and from nothing else: a derived one would take a list too, by
/// the order of its members.
macro_rules! from_object {
    ($($part:ty),*) => {$(
        impl<'de: 'a, 'a> Deserialize<'de> for Field<$part> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor<'a>(PhantomData<&'a ()>);

                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = Field<$part>;
                    ignore_rest!(Field::Invalid);
                    ignore_numbers!(Field::Invalid);
                    ignore_lists!(Field::Invalid);
                    ignore_texts!(Field::Invalid);
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Field::Valid)
                    }
                }
                deserializer.deserialize_any(ObjectVisitor(PhantomData))
            }
        }
    )*};
}

from_object!(
    UsagePart<'a>,
    IterationPart<'a>,
    OutputDetails,
    ServerToolUse,
    CacheCreation
);

impl<'de: 'a, 'a> Deserialize<'de> for Field<Vec<Field<IterationPart<'a>>>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IterationsVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for IterationsVisitor<'a> {
            type Value = Field<Vec<Field<IterationPart<'a>>>>;
            ignore_rest!(Field::Invalid);
            ignore_numbers!(Field::Invalid);
            ignore_objects!(Field::Invalid);
            ignore_texts!(Field::Invalid);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut steps = Vec::new();
                while steps.len() < MAX_ITERATIONS {
                    match seq.next_element()? {
                        Some(step) => steps.push(step),
                        None => return Ok(Field::Valid(steps)),
                    }
                }
                let mut is_longer = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    is_longer = true;
                }
                Ok(if is_longer {
                    Field::Invalid
                } else {
                    Field::Valid(steps)
                })
            }
        }
        deserializer.deserialize_any(IterationsVisitor(PhantomData))
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

        struct LifetimesVisitor;

        impl<'de> Visitor<'de> for LifetimesVisitor {
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
                            found.has_others |= matches!(count, Field::Valid(tokens) if tokens > 0)
                        }
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(LifetimesVisitor)
    }
}
