//! How long answers will be.
//!
//! What earlier runs of the job showed comes first ([`Lengths`]): the mean, by the values of a
//! column or by the length of the prompt where that tells more. Without them it is a rough size of
//! what the schema asks for, and without a schema a share of `max_tokens`. Thinking is output too:
//! where a model thinks, an assumed number of tokens by effort is added. Nothing is ever longer
//! than `max_tokens`.
//!
//! **Source**: the sizes of free text, lists and thinking are assumptions of this program; the plan
//! says so.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lengths::Lengths;
use super::rows::Span;
use super::shared::Shared;
use super::tokens::{CharacterCounts, text_tokens};
use crate::catalog::{Model, Thinking, Tokenizer};

/// Tokens of thinking by effort. An assumption for tasks of the size of a row.
const THINKING: [(&str, u64); 5] = [
    ("low", 100),
    ("medium", 250),
    ("high", 700),
    ("xhigh", 1_800),
    ("max", 4_000),
];
/// The effort of a model that is not told one, where it is not `high`. **Source**: model pages,
/// read November 2026.
const MEDIUM_BY_DEFAULT: [&str; 2] = ["claude-opus-5-5", "claude-haiku-5-5"];
/// Tokens of a text about whose length the schema says nothing.
const FREE_TEXT: Span = Span {
    low: 3,
    likely: 15,
    high: 80,
};
/// Items of a list about whose length the schema says nothing.
const ITEMS: Span = Span {
    low: 0,
    likely: 2,
    high: 8,
};
/// How deep a schema is followed.
const MAX_DEPTH: usize = 16;
/// An estimate without earlier runs may be off by this much, in thousandths: half, and twice.
const UNKNOWN: (u64, u64) = (500, 2_000);

/// What is expected of answers, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum OutputBasis {
    /// Rows of earlier runs.
    Runs {
        /// How many.
        rows: u64,
        /// What tells long answers from short ones, if anything: the name of a column.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_column: Option<String>,
        /// Whether it is the length of the prompt that does.
        #[serde(default)]
        by_length: bool,
        /// Whether the prompt has changed since.
        #[serde(default)]
        stale: bool,
    },
    /// The size of what the schema asks for.
    Schema,
    /// A share of `max_tokens`.
    MaxTokens,
}

/// What is expected of answers.
#[derive(Debug)]
pub struct Guess {
    /// How it is known.
    pub basis: OutputBasis,
    /// Tokens of thinking in each answer that are assumed on top.
    pub thinking: u64,
    how: How,
}

#[derive(Debug)]
enum How {
    Flat(Span),
    /// A share of what the row itself allows, and thousandths of tokens of thinking.
    OfLimit(Span),
    /// Thousandths of tokens: some for each answer, some for each token of the row's own prompt.
    Line {
        base: Span,
        each: Span,
        tokenizer: Tokenizer,
    },
    ByValue {
        column: String,
        values: BTreeMap<String, Span>,
        other: Span,
    },
}

impl Guess {
    /// What is known before the first row is rendered. `lengths` is what earlier runs showed.
    #[must_use]
    pub fn new(
        model_id: &str,
        model: &Model,
        shared: &Shared,
        lengths: Option<(&Lengths, bool)>,
    ) -> Guess {
        if let Some((lengths, stale)) = lengths.filter(|(lengths, _)| lengths.all.rows > 0) {
            return Guess::learned(lengths, stale, model.tokenizer);
        }
        let thinking = thinking_tokens(model_id, model, shared);
        let thought = Span {
            low: thinking / 3,
            likely: thinking,
            high: thinking * 3,
        }
        .map(|tokens| tokens * 1_000);
        let Some(schema) = &shared.schema else {
            return Guess {
                basis: OutputBasis::MaxTokens,
                thinking,
                how: How::OfLimit(thought),
            };
        };
        let tokens = Sizes {
            root: schema,
            tokenizer: model.tokenizer,
        }
        .of(schema, 0);
        let (low, high) = UNKNOWN;
        let size = Span {
            low: tokens.low * low,
            likely: tokens.likely * 1_000,
            high: tokens.high * high,
        };
        Guess {
            basis: OutputBasis::Schema,
            thinking,
            how: How::Flat(plus(size, thought)),
        }
    }

    fn learned(lengths: &Lengths, stale: bool, tokenizer: Tokenizer) -> Guess {
        let mut basis = (None, false);
        let how = if let Some(by) = &lengths.by_value {
            basis.0 = Some(by.column.clone());
            let values = by
                .values
                .iter()
                .map(|(value, seen)| (value.clone(), seen.span(stale)))
                .collect();
            How::ByValue {
                column: by.column.clone(),
                values,
                other: lengths.all.span(stale),
            }
        } else if let Some(line) = &lengths.by_prompt {
            basis.1 = true;
            let (base, each) = line.spans(&lengths.all, stale);
            How::Line {
                base,
                each,
                tokenizer,
            }
        } else {
            How::Flat(lengths.all.span(stale))
        };
        let basis = OutputBasis::Runs {
            rows: lengths.all.rows,
            by_column: basis.0,
            by_length: basis.1,
            stale,
        };
        Guess {
            basis,
            thinking: 0,
            how,
        }
    }

    /// Prepares a batch of rows.
    #[must_use]
    pub fn rows<'a>(&'a self, rows: &RecordBatch) -> RowGuess<'a> {
        let values = match &self.how {
            How::ByValue {
                column,
                values,
                other,
            } => rows
                .column_by_name(column)
                .and_then(|cells| spans_of(cells, values, *other)),
            _ => None,
        };
        RowGuess {
            how: &self.how,
            values,
        }
    }
}

/// What each row of a column lets expect.
fn spans_of(cells: &dyn Array, values: &BTreeMap<String, Span>, other: Span) -> Option<Vec<Span>> {
    let format = ArrayFormatter::try_new(cells, &FormatOptions::default()).ok()?;
    let mut text = String::new();
    let span = |row| {
        text.clear();
        if cells.is_valid(row) {
            format.value(row).write(&mut text).ok()?;
        }
        Some(values.get(text.as_str()).copied().unwrap_or(other))
    };
    (0..cells.len()).map(span).collect()
}

/// What is expected of the answers to the rows of one record batch.
#[derive(Debug)]
pub struct RowGuess<'a> {
    how: &'a How,
    values: Option<Vec<Span>>,
}

impl RowGuess<'_> {
    /// Thousandths of tokens of the answer to a row that allows it so many tokens: never more than
    /// those.
    #[must_use]
    pub fn of(&self, row: usize, tally: &CharacterCounts, max_tokens: u64) -> Span {
        self.unbounded(row, tally, max_tokens)
            .map(|thousandths| thousandths.min(max_tokens * 1_000))
    }

    fn unbounded(&self, row: usize, tally: &CharacterCounts, max_tokens: u64) -> Span {
        match self.how {
            How::Flat(span) => *span,
            How::OfLimit(thought) => {
                let share = Span {
                    low: max_tokens / 20,
                    likely: max_tokens / 4,
                    high: max_tokens,
                };
                plus(share.map(|tokens| tokens * 1_000), *thought)
            }
            How::ByValue { other, .. } => self.values.as_ref().map_or(*other, |values| values[row]),
            How::Line {
                base,
                each,
                tokenizer,
            } => {
                let tokens = tally.tokens(*tokenizer);
                Span {
                    low: base.low + each.low * tokens,
                    likely: base.likely + each.likely * tokens,
                    high: base.high + each.high * tokens,
                }
            }
        }
    }
}

/// Tokens that a model will think in each answer.
fn thinking_tokens(model_id: &str, model: &Model, shared: &Shared) -> u64 {
    let kind = shared
        .thinking
        .as_ref()
        .and_then(|thinking| thinking["type"].as_str());
    let thinks = match kind {
        Some("disabled" | "between_tools") => false,
        Some("enabled" | "adaptive") => true,
        _ => matches!(model.thinking, Thinking::Always | Thinking::AdaptiveDefault),
    };
    if !thinks {
        return 0;
    }
    let default = if MEDIUM_BY_DEFAULT.contains(&model_id) {
        "medium"
    } else {
        "high"
    };
    let effort = shared.effort.as_deref().unwrap_or(default);
    let tokens = THINKING
        .iter()
        .find(|(name, _)| *name == effort)
        .map_or(THINKING[2].1, |(_, tokens)| *tokens);
    let budget = shared
        .thinking
        .as_ref()
        .and_then(|thinking| thinking["budget_tokens"].as_u64());
    budget.map_or(tokens, |budget| tokens.min(budget))
}

/// Sizes of values that fit a schema.
struct Sizes<'a> {
    root: &'a Value,
    tokenizer: Tokenizer,
}

impl Sizes<'_> {
    fn of(&self, schema: &Value, depth: usize) -> Span {
        if depth > MAX_DEPTH {
            return same(1);
        }
        if let Some(word) = schema.get("const") {
            return same(self.word(word));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return self.one_of(words.iter().map(|word| same(self.word(word))));
        }
        if let Some(target) = schema["$ref"].as_str() {
            let found = target
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(same(1), |found| self.of(found, depth + 1));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(branches) = schema[key].as_array() {
                return self.one_of(branches.iter().map(|branch| self.of(branch, depth + 1)));
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().fold(Span::default(), |sum, part| {
                plus(sum, self.of(part, depth + 1))
            });
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let one =
                    |kind: &Value| self.of_kind(kind.as_str().unwrap_or_default(), schema, depth);
                self.one_of(kinds.iter().map(one))
            }
            Value::String(kind) => self.of_kind(kind, schema, depth),
            _ if schema.get("properties").is_some() => self.object(schema, depth),
            _ => FREE_TEXT,
        }
    }

    fn of_kind(&self, kind: &str, schema: &Value, depth: usize) -> Span {
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => match schema["format"].as_str() {
                Some("date" | "time" | "email" | "hostname" | "ipv4") => Span {
                    low: 6,
                    likely: 9,
                    high: 14,
                },
                Some("date-time" | "uri" | "ipv6") => Span {
                    low: 10,
                    likely: 16,
                    high: 30,
                },
                Some("uuid") => same(26),
                _ => FREE_TEXT,
            },
            "integer" | "number" => Span {
                low: 1,
                likely: 2,
                high: 5,
            },
            _ => same(1),
        }
    }

    /// Braces, and for each member its name, two quotes, a colon and a comma; what may be left out
    /// is there or not.
    fn object(&self, schema: &Value, depth: usize) -> Span {
        let members = schema["properties"].as_object();
        let required = |name: &str| {
            schema["required"]
                .as_array()
                .is_some_and(|names| names.iter().any(|n| n == name))
        };
        members
            .into_iter()
            .flatten()
            .fold(same(2), |sum, (name, member)| {
                let size = plus(
                    same(text_tokens(name, self.tokenizer) + 3),
                    self.of(member, depth + 1),
                );
                plus(
                    sum,
                    if required(name) {
                        size
                    } else {
                        Span { low: 0, ..size }
                    },
                )
            })
    }

    fn array(&self, schema: &Value, depth: usize) -> Span {
        let item = schema
            .get("items")
            .map_or(FREE_TEXT, |items| self.of(items, depth + 1));
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let items = ITEMS.map(|items| items.max(least));
        Span {
            low: 2 + items.low * (item.low + 1),
            likely: 2 + items.likely * (item.likely + 1),
            high: 2 + items.high * (item.high + 1),
        }
    }

    /// The smallest, the mean, the largest.
    fn one_of(&self, sizes: impl Iterator<Item = Span>) -> Span {
        let sizes: Vec<Span> = sizes.collect();
        let mean = sizes
            .iter()
            .map(|size| size.likely)
            .sum::<u64>()
            .div_ceil(sizes.len().max(1) as u64);
        let low = sizes.iter().map(|size| size.low).min().unwrap_or(1);
        Span {
            low,
            likely: mean.max(low),
            high: sizes.iter().map(|size| size.high).max().unwrap_or(1),
        }
    }

    fn word(&self, word: &Value) -> u64 {
        text_tokens(&word.to_string(), self.tokenizer)
    }
}

fn same(n: u64) -> Span {
    Span {
        low: n,
        likely: n,
        high: n,
    }
}

fn plus(mut sum: Span, more: Span) -> Span {
    sum.add(more);
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;

    fn guess(model: &str, shared: &Shared) -> Guess {
        Guess::new(
            model,
            Catalog::builtin().model(model).unwrap().1,
            shared,
            None,
        )
    }

    fn flat(guess: &Guess) -> Span {
        match guess.how {
            How::Flat(span) => span,
            _ => panic!("{guess:?}"),
        }
    }

    #[test]
    fn sizes_an_answer_by_its_schema() {
        let schema = json!({ "type": "object", "required": ["label", "sure"], "additionalProperties": false, "properties": {
            "label": { "enum": ["bug", "question"] }, "sure": { "type": "boolean" }, "note": { "type": ["string", "null"] } } });
        let shared = Shared {
            schema: Some(schema.clone()),
            ..Shared::default()
        };
        let size = Sizes {
            root: &schema,
            tokenizer: Tokenizer::First,
        }
        .of(&schema, 0);
        // {"label":"question","sure":true} is about ten tokens; a note is longer.
        assert!(
            (8..20).contains(&size.low) && size.low < size.likely && size.likely < size.high,
            "{size:?}"
        );
        let guess = guess("claude-haiku-4-5", &shared);
        assert_eq!(
            (guess.basis.clone(), guess.thinking),
            (OutputBasis::Schema, 0)
        );
        assert_eq!(flat(&guess).likely, size.likely * 1_000);
    }

    #[test]
    fn follows_references_and_closes_circles() {
        let schema = json!({ "$defs": { "a": { "type": "array", "items": { "$ref": "#/$defs/a" } } }, "$ref": "#/$defs/a" });
        let size = Sizes {
            root: &schema,
            tokenizer: Tokenizer::First,
        }
        .of(&schema, 0);
        assert!(size.low >= 2);
    }

    #[test]
    fn a_model_that_thinks_writes_more() {
        let adaptive = |effort: Option<&str>, thinking: Value| Shared {
            effort: effort.map(str::to_owned),
            thinking: Some(thinking).filter(|thinking| !thinking.is_null()),
            ..Shared::default()
        };
        let cases = [
            ("claude-haiku-4-5", None, Value::Null, 0),
            (
                "claude-haiku-4-5",
                None,
                json!({ "type": "enabled", "budget_tokens": 1_024 }),
                700,
            ),
            ("claude-opus-5-5", None, Value::Null, 250),
            ("claude-fable-5-2", None, Value::Null, 700),
            ("claude-fable-5-2", Some("low"), Value::Null, 100),
            ("claude-haiku-5-5", None, json!({ "type": "disabled" }), 0),
            (
                "claude-sonnet-5-5",
                Some("max"),
                json!({ "type": "between_tools" }),
                0,
            ),
        ];
        for (model, effort, thinking, tokens) in cases {
            let shared = adaptive(effort, thinking);
            assert_eq!(
                guess(model, &shared).thinking,
                tokens,
                "{model} {effort:?} {:?}",
                shared.thinking
            );
        }
    }

    #[test]
    fn without_a_schema_it_is_a_share_of_what_the_row_allows() {
        let span = |model: &str, max_tokens| {
            let guess = guess(model, &Shared::default());
            assert_eq!(guess.basis, OutputBasis::MaxTokens);
            guess
                .rows(&RecordBatch::new_empty(
                    arrow::datatypes::Schema::empty().into(),
                ))
                .of(0, &CharacterCounts::default(), max_tokens)
        };
        assert_eq!(
            span("claude-haiku-4-5", 400),
            Span {
                low: 20_000,
                likely: 100_000,
                high: 400_000
            }
        );
        assert_eq!(
            span("claude-haiku-4-5", 8_000),
            Span {
                low: 400_000,
                likely: 2_000_000,
                high: 8_000_000
            }
        );
        // Thinking comes on top, within what is allowed.
        assert_eq!(
            span("claude-fable-5-2", 4_000),
            Span {
                low: 433_000,
                likely: 1_700_000,
                high: 4_000_000
            }
        );
    }
}
