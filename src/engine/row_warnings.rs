//! What a person should know of the rows although it stops nothing: rows beyond the context window,
//! text that reads as booleans, and rows that are set aside, by cause.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use crate::catalog::Catalog;
use crate::estimate::Estimator;
use crate::estimate::fit::Fit;
use crate::estimate::rows::{RowEstimate, RowSums};
use crate::request::OnTooLarge;
use crate::template::TextCondition;

use super::Warning;
use super::faults::Causes;

/// How many rows are named.
const NAMED: usize = 5;

/// What the rows showed.
#[derive(Debug, Default)]
pub(crate) struct RowWarnings {
    /// What the text columns hold that templates use as conditions, in their order.
    reads: Vec<Reads>,
    /// Rows whose prompt is longer than the context window.
    beyond: Long,
    /// Rows whose prompt fits, and with `max_tokens` does not.
    near: Long,
    /// Rows that are set aside because they cannot be rendered.
    pub(crate) set_aside: Causes,
}

/// Rows that are long, and the first of them.
#[derive(Debug, Default)]
struct Long {
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

impl Long {
    fn add(&mut self, row: LongRow) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row);
        }
    }

    fn absorb(&mut self, later: Long) {
        self.count += later.count;
        let room = NAMED - self.first.len();
        self.first.extend(later.first.into_iter().take(room));
    }
}

/// What the cells of a text column read as.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    /// A cell is none of the words for true and false.
    other: bool,
    /// A cell is one of the words for false, and true as text.
    no: bool,
}

impl Reads {
    /// Looks at the cells of a column, until one is no boolean.
    fn of(cells: &ArrayRef) -> Reads {
        fn all<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> Reads {
            let mut reads = Reads::default();
            for text in cells.flatten() {
                match as_boolean(text) {
                    Some(yes) => reads.no |= !yes,
                    None => {
                        return Reads {
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
                Err(_) => Reads {
                    other: true,
                    no: false,
                },
            },
        }
    }
}

/// What a text reads as by a person; the empty text is false as it is.
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
pub(crate) struct Window<'a> {
    catalog: &'a Catalog,
    fit: Fit,
    /// Tokens of what all requests share, as expected and at most.
    shared: u64,
    shared_worst_case: u64,
    /// Prompts up to here fit every model, whatever their letters.
    fits_all: u64,
    pub(crate) on_too_large: OnTooLarge,
}

/// What is said of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fits {
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

impl<'a> Window<'a> {
    pub(crate) fn new(
        catalog: &'a Catalog,
        estimator: &Estimator<'_>,
        on_too_large: OnTooLarge,
    ) -> Window<'a> {
        let (fit, shared) = (estimator.fit(), estimator.shared());
        let fits_all = catalog
            .models
            .values()
            .map(|model| model.context_tokens)
            .min()
            .unwrap_or(u64::MAX);
        Window {
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
    pub(crate) fn fits(&self, weight: &RowEstimate) -> Fits {
        if self.shared_worst_case + weight.worst_case() + weight.max_tokens <= self.fits_all {
            return Fits::Yes;
        }
        let Some(model) = self.catalog.models.values().nth(weight.model) else {
            return Fits::Yes;
        };
        let mut load = RowSums::default();
        load.push(weight);
        let tokens = self.shared + self.fit.rows(&load);
        match model.context_tokens {
            window if tokens > window => Fits::No { tokens, window },
            window if tokens + weight.max_tokens > window => Fits::Barely { tokens },
            _ => Fits::Yes,
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
        let read =
            conditions
                .iter()
                .map(|condition| match rows.column_by_name(&condition.column) {
                    Some(cells) => Reads::of(cells),
                    None => Reads {
                        other: true,
                        no: false,
                    },
                });
        self.reads = read.collect();
    }

    /// Notes how a row fits its model.
    pub(crate) fn fits(&mut self, fits: Fits, row_index: u64, key: &str, model: usize) {
        let row = |tokens| LongRow {
            row_index,
            key: key.to_owned(),
            tokens,
            model,
        };
        match fits {
            Fits::Yes => {}
            Fits::Barely { tokens } => self.near.add(row(tokens)),
            Fits::No { tokens, .. } => self.beyond.add(row(tokens)),
        }
    }

    /// Takes in what rows that come after showed.
    pub(crate) fn absorb(&mut self, later: RowWarnings) {
        if self.reads.is_empty() {
            self.reads = later.reads;
        } else {
            self.reads
                .iter_mut()
                .zip(later.reads)
                .for_each(|(reads, later)| {
                    reads.other |= later.other;
                    reads.no |= later.no;
                });
        }
        self.beyond.absorb(later.beyond);
        self.near.absorb(later.near);
        self.set_aside.absorb(later.set_aside);
    }

    /// What is to be said of it, a sentence each.
    pub(crate) fn warnings(
        &self,
        conditions: &[TextCondition],
        window: &Window<'_>,
    ) -> Vec<Warning> {
        let mut warnings: Vec<String> = conditions
            .iter()
            .zip(&self.reads)
            .filter(|(_, reads)| reads.no && !reads.other)
            .map(|(c, _)| condition(c))
            .collect();
        if let Some(first) = self.beyond.first.first() {
            let (id, tokens) = window.model(first.model);
            let what = match window.on_too_large {
                OnTooLarge::Send => {
                    "the provider refuses such a request: the row comes back as `errored`, which \
                     is not billed. Shorten the prompt, use a model with a larger context window, \
                     or set `request.on_too_large = \"unsent\"` to set such rows aside before \
                     anything is sent"
                }
                OnTooLarge::Unsent => {
                    "they are set aside as `unsent` (`too_large`), as `request.on_too_large` says"
                }
            };
            let verb = if self.beyond.count == 1 { "is" } else { "are" };
            warnings.push(format!(
                "{} {verb} longer than the context window of `{id}` ({} tokens), by estimate: {}; \
                 {what}",
                prompts(self.beyond.count),
                grouped(tokens),
                rows_in_words(&self.beyond, window)
            ));
        }
        if let Some(first) = self.near.first.first() {
            let (id, tokens) = window.model(first.model);
            let verb = if self.near.count == 1 { "fits" } else { "fit" };
            warnings.push(format!(
                "{} {verb} the context window of `{id}` ({} tokens) only without the longest \
                 answer (`max_tokens`), by estimate: {}; such a request may be refused, or its \
                 answer may end at the window, which is `truncated`",
                prompts(self.near.count),
                grouped(tokens),
                rows_in_words(&self.near, window)
            ));
        }
        warnings.into_iter().map(Warning::from).collect()
    }
}

fn condition(condition: &TextCondition) -> String {
    let TextCondition {
        template,
        line,
        column,
    } = condition;
    format!(
        "`{template}` line {line}: the column `{column}` is text and is used as a condition; all \
         its values read as booleans, but the text `false` is true like any other text: set \
         `columns.{} = \"bool\"` under `[source]`, or compare it with text, such as `== \"true\"`",
        if column
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        {
            column.clone()
        } else {
            format!("{column:?}")
        }
    )
}

fn prompts(count: u64) -> String {
    if count == 1 {
        "1 prompt".to_owned()
    } else {
        format!("{} prompts", grouped(count))
    }
}

/// The first of some rows, with their keys and estimates, and how many more there are.
fn rows_in_words(long: &Long, window: &Window<'_>) -> String {
    let differ = long
        .first
        .iter()
        .any(|row| row.model != long.first[0].model);
    let named: Vec<String> = long
        .first
        .iter()
        .map(|row| {
            let number = format!("row {}", row.row_index + 1);
            let key = if row.key == number {
                String::new()
            } else {
                format!("{}, ", row.key)
            };
            let model = if differ {
                format!(" for `{}`", window.model(row.model).0)
            } else {
                String::new()
            };
            format!(
                "{number} ({key}about {} tokens{model})",
                grouped(row.tokens)
            )
        })
        .collect();
    let more = long.count - named.len() as u64;
    let more = if more > 0 {
        format!(" and {} more", grouped(more))
    } else {
        String::new()
    };
    format!("{}{more}", named.join(", "))
}

/// A number with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
            let (plain, coded) = (Reads::of(&plain), Reads::of(&coded));
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
    fn names_the_rows_with_their_estimate() {
        let window = Window {
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
                Fits::No {
                    tokens: 330_000 + row,
                    window: 200_000,
                },
                row,
                &key,
                0,
            );
        }
        let warnings = row_warnings.warnings(&[], &window);
        let Some(Warning::Text(warning)) = warnings.first() else {
            panic!("{warnings:?}");
        };
        let (id, tokens) = window.model(0);
        let head = format!(
            "7 prompts are longer than the context window of `{id}` ({} tokens), by estimate: ",
            grouped(tokens)
        );
        assert!(
            warning.starts_with(&format!(
                "{head}row 1 (id = 0, about 330,000 tokens), row 2 (id = 1, "
            )),
            "{warning}"
        );
        assert!(
            warning.contains("about 330,004 tokens) and 2 more; the provider refuses"),
            "{warning}"
        );
    }
}
