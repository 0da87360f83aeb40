//! What the user should know about the rows although it stops nothing: rows beyond the context
//! window, text that reads as booleans, and rows that are set aside, by cause.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use crate::catalog::Catalog;
use crate::estimate::Estimator;
use crate::estimate::fit::Fit;
use crate::estimate::rows::{RowEstimate, RowSums};
use crate::request::OnTooLarge;
use crate::template::{TemplateWarning, TextCondition};

use super::faults::Causes;
use super::warning::{LongPrompt, LongPrompts, Warning};

/// How many rows are named.
const NAMED: usize = 5;

/// What the rows showed.
#[derive(Debug, Default)]
pub(crate) struct RowWarnings {
    /// What the text columns hold that templates use as conditions, in their order.
    values: Vec<TextValues>,
    /// Rows whose prompt is longer than the context window.
    beyond: LongRows,
    /// Rows whose prompt fits, and with `max_tokens` does not.
    near: LongRows,
    /// Rows that are set aside because they cannot be rendered.
    pub(crate) set_aside: Causes,
}

/// Rows that are long, and the first of them.
#[derive(Debug, Default)]
struct LongRows {
    count: u64,
    first: Vec<LongRow>,
}

#[derive(Debug)]
struct LongRow {
    row_index: u64,
    key: String,
    tokens: u64,
    /// The model's place in the catalog.
    model: usize,
}

impl LongRows {
    fn add(&mut self, row: LongRow) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row);
        }
    }

    /// The first rows with the names of their models.
    fn named(&self, window: &ContextWindow<'_>) -> LongPrompts {
        let first = self.first.iter().map(|row| LongPrompt {
            row_index: row.row_index,
            key: row.key.clone(),
            tokens: row.tokens,
            model: window.model(row.model).0.to_owned(),
        });
        LongPrompts {
            count: self.count,
            first: first.collect(),
        }
    }

    fn absorb(&mut self, later: LongRows) {
        self.count += later.count;
        let room = NAMED - self.first.len();
        self.first.extend(later.first.into_iter().take(room));
    }
}

/// What the cells of a text column read as.
#[derive(Debug, Clone, Copy, Default)]
struct TextValues {
    /// A cell is none of the words for true and false.
    other: bool,
    /// A cell is one of the words for false, and true as text.
    no: bool,
}

impl TextValues {
    /// Looks at the cells of a column, until one is no boolean.
    fn of(cells: &ArrayRef) -> TextValues {
        fn all<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> TextValues {
            let mut reads = TextValues::default();
            for text in cells.flatten() {
                match as_boolean(text) {
                    Some(yes) => reads.no |= !yes,
                    None => {
                        return TextValues {
                            other: true,
                            ..reads
                        };
                    }
                }
            }
            reads
        }
        match cells.data_type() {
            DataType::Utf8 => all(cells.as_string::<i32>().iter()),
            DataType::LargeUtf8 => all(cells.as_string::<i64>().iter()),
            DataType::Utf8View => all(cells.as_string_view().iter()),
            _ => match arrow::compute::cast(cells, &DataType::Utf8) {
                Ok(text) => all(text.as_string::<i32>().iter()),
                Err(_) => TextValues {
                    other: true,
                    no: false,
                },
            },
        }
    }
}

/// How a user reads a text; the empty text is false as it is.
fn as_boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text.len() {
        0 => Some(true),
        1..=5 if is(&["true", "yes", "1", "t", "y", "on"]) => Some(true),
        1..=5 if is(&["false", "no", "0", "f", "n", "off"]) => Some(false),
        _ => None,
    }
}

/// How long a prompt may be.
pub(crate) struct ContextWindow<'a> {
    catalog: &'a Catalog,
    fit: Fit,
    /// Tokens of what all requests share, as expected and at most.
    shared: u64,
    shared_worst_case: u64,
    /// Prompts up to here fit every model, whatever their letters.
    fits_all: u64,
    pub(crate) on_too_large: OnTooLarge,
}

/// Whether a prompt fits its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PromptFit {
    Yes,
    /// Not with the longest answer.
    Barely {
        tokens: u64,
    },
    No {
        tokens: u64,
        window: u64,
    },
}

impl<'a> ContextWindow<'a> {
    pub(crate) fn new(
        catalog: &'a Catalog,
        estimator: &Estimator<'_>,
        on_too_large: OnTooLarge,
    ) -> ContextWindow<'a> {
        let (fit, shared) = (estimator.fit(), estimator.shared());
        let fits_all = catalog
            .models
            .values()
            .map(|model| model.context_tokens)
            .min()
            .unwrap_or(u64::MAX);
        ContextWindow {
            catalog,
            shared: fit.shared(shared.tokens),
            shared_worst_case: shared.worst_case,
            fit,
            fits_all,
            on_too_large,
        }
    }

    /// Whether a row's prompt fits its model. Most rows have fewer bytes than the window has
    /// tokens, and that is all that is asked.
    pub(crate) fn fits(&self, weight: &RowEstimate) -> PromptFit {
        if self.shared_worst_case + weight.worst_case() + weight.max_tokens <= self.fits_all {
            return PromptFit::Yes;
        }
        let Some(model) = self.catalog.models.values().nth(weight.model) else {
            return PromptFit::Yes;
        };
        let mut load = RowSums::default();
        load.push(weight);
        let tokens = self.shared + self.fit.rows(&load);
        match model.context_tokens {
            window if tokens > window => PromptFit::No { tokens, window },
            window if tokens + weight.max_tokens > window => PromptFit::Barely { tokens },
            _ => PromptFit::Yes,
        }
    }

    fn model(&self, place: usize) -> (&str, u64) {
        self.catalog
            .models
            .iter()
            .nth(place)
            .map_or(("", 0), |(id, model)| (id, model.context_tokens))
    }
}

impl RowWarnings {
    /// Looks at the columns that templates use as conditions.
    pub(crate) fn look(&mut self, conditions: &[TextCondition], rows: &RecordBatch) {
        let values =
            conditions
                .iter()
                .map(|condition| match rows.column_by_name(&condition.column) {
                    Some(cells) => TextValues::of(cells),
                    None => TextValues {
                        other: true,
                        no: false,
                    },
                });
        self.values = values.collect();
    }

    /// Notes how a row fits its model.
    pub(crate) fn fits(&mut self, fits: PromptFit, row_index: u64, key: &str, model: usize) {
        let row = |tokens| LongRow {
            row_index,
            key: key.to_owned(),
            tokens,
            model,
        };
        match fits {
            PromptFit::Yes => {}
            PromptFit::Barely { tokens } => self.near.add(row(tokens)),
            PromptFit::No { tokens, .. } => self.beyond.add(row(tokens)),
        }
    }

    /// Takes in what rows that come after showed.
    pub(crate) fn absorb(&mut self, later: RowWarnings) {
        if self.values.is_empty() {
            self.values = later.values;
        } else {
            self.values
                .iter_mut()
                .zip(later.values)
                .for_each(|(reads, later)| {
                    reads.other |= later.other;
                    reads.no |= later.no;
                });
        }
        self.beyond.absorb(later.beyond);
        self.near.absorb(later.near);
        self.set_aside.absorb(later.set_aside);
    }

    /// The warnings that the rows give.
    pub(crate) fn warnings(
        &self,
        conditions: &[TextCondition],
        window: &ContextWindow<'_>,
    ) -> Vec<Warning> {
        let read_as_booleans = conditions
            .iter()
            .zip(&self.values)
            .filter(|(_, values)| values.no && !values.other);
        let mut warnings: Vec<Warning> = read_as_booleans
            .map(|(condition, _)| TemplateWarning::TextCondition(condition.clone()).into())
            .collect();
        if let Some(first) = self.beyond.first.first() {
            let (model, context_tokens) = window.model(first.model);
            warnings.push(Warning::PromptsTooLong {
                model: model.to_owned(),
                context_tokens,
                prompts: self.beyond.named(window),
                is_sent: window.on_too_large == OnTooLarge::Send,
            });
        }
        if let Some(first) = self.near.first.first() {
            let (model, context_tokens) = window.model(first.model);
            warnings.push(Warning::AnswersMayNotFit {
                model: model.to_owned(),
                context_tokens,
                prompts: self.near.named(window),
            });
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn reads_text_as_booleans_until_a_cell_is_none() {
        let reads = |cells: &[Option<&str>]| {
            let plain: ArrayRef = Arc::new(StringArray::from(cells.to_vec()));
            let coded: ArrayRef = Arc::new(
                cells
                    .iter()
                    .copied()
                    .collect::<DictionaryArray<Int32Type>>(),
            );
            let (plain, coded) = (TextValues::of(&plain), TextValues::of(&coded));
            assert_eq!((plain.other, plain.no), (coded.other, coded.no));
            (plain.other, plain.no)
        };
        assert_eq!(
            reads(&[Some("true"), Some(" False "), Some("0"), None, Some("")]),
            (false, true)
        );
        assert_eq!(reads(&[Some("yes"), Some("Y"), Some("1")]), (false, false));
        assert_eq!(
            reads(&[Some("no"), Some("n"), Some("off"), Some("f")]),
            (false, true)
        );
        assert!(reads(&[Some("no"), Some("maybe"), Some("no")]).0);
    }

    #[test]
    fn names_the_first_long_prompts_and_counts_all() {
        let window = ContextWindow {
            catalog: Catalog::builtin(),
            fit: Fit::constants(crate::catalog::Tokenizer::First),
            shared: 0,
            shared_worst_case: 0,
            fits_all: 0,
            on_too_large: OnTooLarge::Send,
        };
        let mut row_warnings = RowWarnings::default();
        for row in 0..7_u64 {
            let key = format!("id = {row}");
            row_warnings.fits(
                PromptFit::No {
                    tokens: 330_000 + row,
                    window: 200_000,
                },
                row,
                &key,
                0,
            );
        }
        let (id, tokens) = window.model(0);
        let Warning::PromptsTooLong {
            model,
            context_tokens,
            prompts,
            is_sent: true,
        } = &row_warnings.warnings(&[], &window)[0]
        else {
            panic!("the prompts are too long, and sent");
        };
        assert_eq!((model.as_str(), *context_tokens), (id, tokens));
        assert_eq!((prompts.count, prompts.first.len()), (7, NAMED));
        let last = LongPrompt {
            row_index: 4,
            key: "id = 4".to_owned(),
            tokens: 330_004,
            model: id.to_owned(),
        };
        assert_eq!(prompts.first[4], last);
    }
}
