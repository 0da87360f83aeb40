//! How long answers will be.
//!
//! What earlier runs of the job showed comes first (`AnswerLengths`): the mean, by the values of
//! a column or by the length of the prompt where that explains more. Without them it is a rough
//! size of what the schema asks for, and without a schema a share of `max_tokens`. Thinking is
//! output too: where a model thinks, an assumed number of tokens by effort is added. Nothing is
//! ever longer than `max_tokens`.
//!
//! **Source**: the sizes of free text, lists and thinking are assumptions of this program; the plan
//! says so.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};

use super::Span;
use super::lengths::AnswerLengths;
use super::schema_size::SchemaSizes;
use super::shared::Shared;
use super::tokens::CharacterCounts;
use crate::catalog::{Model, Thinking, Tokenizer};

/// Tokens of thinking by effort. An assumption for tasks of the size of a row.
const THINKING: [(&str, u64); 5] = [
    ("low", 100),
    ("medium", 250),
    ("high", 700),
    ("xhigh", 1_800),
    ("max", 4_000),
];
/// The effort of a model without one in the request, where it is not `high`. **Source**: model
/// pages, read November 2026.
const MEDIUM_BY_DEFAULT: [&str; 2] = ["claude-opus-5-5", "claude-haiku-5-5"];
/// An estimate without earlier runs may be off by this much, in thousandths: half, and twice.
const UNKNOWN: (u64, u64) = (500, 2_000);

/// What the expected length of answers is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum OutputBasis {
    /// Rows of earlier runs.
    Runs {
        /// How many.
        rows: u64,
        /// The column that explains which answers are long, if one does.
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

/// Estimates the length of answers.
#[derive(Debug)]
pub(crate) struct OutputEstimator {
    /// How it is known.
    pub(crate) basis: OutputBasis,
    /// Tokens of thinking in each answer that are assumed on top.
    pub(crate) thinking: u64,
    model: OutputModel,
}

#[derive(Debug)]
enum OutputModel {
    Constant(Span),
    /// A share of what the row itself allows, and thousandths of tokens of thinking.
    ShareOfMaxTokens(Span),
    /// Thousandths of tokens: some for each answer, some for each token of the row's own prompt.
    Linear {
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

impl OutputEstimator {
    /// What is known before the first row is rendered. `lengths` is what earlier runs showed.
    #[must_use]
    pub(crate) fn new(
        model_id: &str,
        model: &Model,
        shared: &Shared,
        lengths: Option<(&AnswerLengths, bool)>,
    ) -> OutputEstimator {
        if let Some((lengths, stale)) = lengths.filter(|(lengths, _)| lengths.all.rows > 0) {
            return OutputEstimator::learned(lengths, stale, model.tokenizer);
        }
        let thinking = thinking_tokens(model_id, model, shared);
        let thought = Span {
            low: thinking / 3,
            expected: thinking,
            high: thinking * 3,
        }
        .map(|tokens| tokens * 1_000);
        let Some(schema) = &shared.schema else {
            return OutputEstimator {
                basis: OutputBasis::MaxTokens,
                thinking,
                model: OutputModel::ShareOfMaxTokens(thought),
            };
        };
        let tokens = SchemaSizes {
            root: schema,
            tokenizer: model.tokenizer,
        }
        .of(schema, 0);
        let (low, high) = UNKNOWN;
        let size = Span {
            low: tokens.low * low,
            expected: tokens.expected * 1_000,
            high: tokens.high * high,
        };
        OutputEstimator {
            basis: OutputBasis::Schema,
            thinking,
            model: OutputModel::Constant(size.plus(thought)),
        }
    }

    fn learned(lengths: &AnswerLengths, stale: bool, tokenizer: Tokenizer) -> OutputEstimator {
        let mut basis = (None, false);
        let model = if let Some(by) = &lengths.by_value {
            basis.0 = Some(by.column.clone());
            let values = by
                .values
                .iter()
                .map(|(value, known)| (value.clone(), known.span(stale)))
                .collect();
            OutputModel::ByValue {
                column: by.column.clone(),
                values,
                other: lengths.all.span(stale),
            }
        } else if let Some(line) = &lengths.by_prompt {
            basis.1 = true;
            let (base, each) = line.spans(&lengths.all, stale);
            OutputModel::Linear {
                base,
                each,
                tokenizer,
            }
        } else {
            OutputModel::Constant(lengths.all.span(stale))
        };
        let basis = OutputBasis::Runs {
            rows: lengths.all.rows,
            by_column: basis.0,
            by_length: basis.1,
            stale,
        };
        OutputEstimator {
            basis,
            thinking: 0,
            model,
        }
    }

    /// Prepares a batch of rows.
    #[must_use]
    pub(crate) fn rows<'a>(&'a self, rows: &RecordBatch) -> BatchOutputEstimator<'a> {
        let values = match &self.model {
            OutputModel::ByValue {
                column,
                values,
                other,
            } => rows
                .column_by_name(column)
                .and_then(|cells| spans_of(cells, values, *other)),
            _ => None,
        };
        BatchOutputEstimator {
            model: &self.model,
            values,
        }
    }
}

/// The expected length for each row, by its value in a column.
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

/// Estimates the length of the answers to the rows of one record batch.
#[derive(Debug)]
pub(crate) struct BatchOutputEstimator<'a> {
    model: &'a OutputModel,
    values: Option<Vec<Span>>,
}

impl BatchOutputEstimator<'_> {
    /// Thousandths of tokens of the answer to a row with a limit of `max_tokens`: never more than
    /// that.
    #[must_use]
    pub(crate) fn of(&self, row: usize, characters: &CharacterCounts, max_tokens: u64) -> Span {
        self.unbounded(row, characters, max_tokens)
            .map(|thousandths| thousandths.min(max_tokens * 1_000))
    }

    fn unbounded(&self, row: usize, characters: &CharacterCounts, max_tokens: u64) -> Span {
        match self.model {
            OutputModel::Constant(span) => *span,
            OutputModel::ShareOfMaxTokens(thought) => {
                let share = Span {
                    low: max_tokens / 20,
                    expected: max_tokens / 4,
                    high: max_tokens,
                };
                share.map(|tokens| tokens * 1_000).plus(*thought)
            }
            OutputModel::ByValue { other, .. } => {
                self.values.as_ref().map_or(*other, |values| values[row])
            }
            OutputModel::Linear {
                base,
                each,
                tokenizer,
            } => {
                let tokens = characters.tokens(*tokenizer);
                Span {
                    low: base.low + each.low * tokens,
                    expected: base.expected + each.expected * tokens,
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Catalog;

    fn estimator(model: &str, shared: &Shared) -> OutputEstimator {
        OutputEstimator::new(
            model,
            Catalog::builtin().model(model).unwrap().1,
            shared,
            None,
        )
    }

    fn flat(estimator: &OutputEstimator) -> Span {
        match estimator.model {
            OutputModel::Constant(span) => span,
            _ => panic!("{estimator:?}"),
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
        let size = SchemaSizes {
            root: &schema,
            tokenizer: Tokenizer::First,
        }
        .of(&schema, 0);
        // {"label":"question","sure":true} is about ten tokens; a note is longer.
        assert!(
            (8..20).contains(&size.low) && size.low < size.expected && size.expected < size.high,
            "{size:?}"
        );
        let estimator = estimator("claude-haiku-4-5", &shared);
        assert_eq!(
            (estimator.basis.clone(), estimator.thinking),
            (OutputBasis::Schema, 0)
        );
        assert_eq!(flat(&estimator).expected, size.expected * 1_000);
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
                estimator(model, &shared).thinking,
                tokens,
                "{model} {effort:?} {:?}",
                shared.thinking
            );
        }
    }

    #[test]
    fn without_a_schema_it_is_a_share_of_what_the_row_allows() {
        let span = |model: &str, max_tokens| {
            let estimator = estimator(model, &Shared::default());
            assert_eq!(estimator.basis, OutputBasis::MaxTokens);
            estimator
                .rows(&RecordBatch::new_empty(
                    arrow::datatypes::Schema::empty().into(),
                ))
                .of(0, &CharacterCounts::default(), max_tokens)
        };
        assert_eq!(
            span("claude-haiku-4-5", 400),
            Span {
                low: 20_000,
                expected: 100_000,
                high: 400_000
            }
        );
        assert_eq!(
            span("claude-haiku-4-5", 8_000),
            Span {
                low: 400_000,
                expected: 2_000_000,
                high: 8_000_000
            }
        );
        // Thinking comes on top, within what is allowed.
        assert_eq!(
            span("claude-fable-5-2", 4_000),
            Span {
                low: 433_000,
                expected: 1_700_000,
                high: 4_000_000
            }
        );
    }
}
