//! How long the answers of a run were, and what tells the long ones from the short ones.
//!
//! ```text
//!  answered rows ─▶ Watch: all of them, by the values of each column that has few, and beside the length of the prompt
//!                     │ which of these explains most?
//!                     ▼
//!                  Lengths: kept with the job, read by the next plan
//! ```

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};

use super::rows::Span;

/// A column with more values than this explains nothing that lasts.
const MOST_VALUES: usize = 40;
/// Longest value that is kept; columns with longer ones hold text, not labels.
const LONGEST_VALUE: usize = 60;
/// Rows below which nothing but the mean is learned.
const FEWEST_ROWS: u64 = 30;
/// A value is told apart from the rest from so many rows on.
const FEWEST_OF_A_VALUE: u64 = 5;
/// What has to be explained of the differences between answers for a column or the prompt's length
/// to count: a tenth.
const WORTH_KNOWING: f64 = 0.1;
/// How far a later run may drift from an earlier one, in thousandths.
const DRIFT: u64 = 100;
/// The same where the prompt or the schema has changed since.
const STALE_DRIFT: u64 = 500;
/// A run of so many rows counts for at least half of what is known after it.
const WEIGHTY: u64 = 1_000;

/// Cells as text, without ornament.
const FORMAT: FormatOptions<'static> = FormatOptions::new();

/// Lengths of answers, in tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Answers.
    pub rows: u64,
    /// Their tokens.
    pub tokens: u64,
    /// The sum of the squares of their tokens.
    pub squares: u64,
    /// The shortest.
    pub shortest: u64,
    /// The longest.
    pub longest: u64,
    /// Answers by length: the class `n` holds those from 2ⁿ to 2ⁿ⁺¹ - 1 tokens.
    pub by_octave: BTreeMap<u32, u64>,
}

impl Seen {
    fn push(&mut self, tokens: u64) {
        self.shortest = if self.rows == 0 {
            tokens
        } else {
            self.shortest.min(tokens)
        };
        self.longest = self.longest.max(tokens);
        self.rows += 1;
        self.tokens += tokens;
        self.squares = self.squares.saturating_add(tokens.saturating_mul(tokens));
        *self.by_octave.entry(tokens.max(1).ilog2()).or_default() += 1;
    }

    /// Adds a later run's.
    fn merge(&mut self, later: &Seen, keep: Keep) {
        if self.rows == 0 {
            self.clone_from(later);
            return;
        }
        let Keep { times, of } = keep;
        let by = |n: u64| super::rows::scale(n, times, of);
        self.shortest = self.shortest.min(later.shortest);
        self.longest = self.longest.max(later.longest);
        (self.rows, self.tokens, self.squares) = (by(self.rows), by(self.tokens), by(self.squares));
        self.by_octave
            .values_mut()
            .for_each(|rows| *rows = by(*rows));
        self.rows += later.rows;
        self.tokens += later.tokens;
        self.squares = self.squares.saturating_add(later.squares);
        for (octave, rows) in &later.by_octave {
            *self.by_octave.entry(*octave).or_default() += rows;
        }
    }

    /// Mean length in thousandths of tokens.
    #[must_use]
    pub fn mean(&self) -> u64 {
        super::rows::scale(self.tokens, 1_000, self.rows)
    }

    /// What to expect of the mean of many more, in thousandths of tokens.
    #[must_use]
    pub fn span(&self, stale: bool) -> Span {
        let mean = self.mean();
        let off = self.uncertainty() + mean * if stale { STALE_DRIFT } else { DRIFT } / 1_000;
        Span {
            low: mean.saturating_sub(off),
            likely: mean,
            high: mean + off,
        }
    }

    /// Two standard errors of the mean, in thousandths of tokens.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a margin"
    )]
    fn uncertainty(&self) -> u64 {
        let rows = self.rows.max(1) as f64;
        (2_000.0 * (self.deviations() / rows / rows).sqrt()) as u64
    }

    /// The sum of the squared deviations from the mean.
    #[expect(clippy::cast_precision_loss, reason = "a measure of spread")]
    fn deviations(&self) -> f64 {
        let tokens = self.tokens as f64;
        (self.squares as f64 - tokens * tokens / self.rows.max(1) as f64).max(0.0)
    }
}

/// How much of what was known is kept: `times / of`.
#[derive(Debug, Clone, Copy)]
struct Keep {
    times: u64,
    of: u64,
}

/// What is known of the lengths of a job's answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    /// All answers.
    pub all: Seen,
    /// Answers by the values of the column that tells most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_value: Option<ByValue>,
    /// Answers beside the length of the prompt, where that tells more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_prompt: Option<Line>,
}

/// Answers by the values of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByValue {
    /// The column.
    pub column: String,
    /// Its values as text; null is the empty text.
    pub values: BTreeMap<String, Seen>,
}

/// Answers beside the length of the row's own prompt: sums for a straight line through them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Tokens of prompts.
    pub x: f64,
    /// Their squares.
    pub xx: f64,
    /// Prompts times answers.
    pub xy: f64,
}

impl Line {
    fn push(&mut self, prompt: f64, answer: f64) {
        self.x += prompt;
        self.xx += prompt * prompt;
        self.xy += prompt * answer;
    }

    /// The same line beside other measures of the prompts: each was `x · times - less`.
    #[expect(clippy::cast_precision_loss, reason = "a fit")]
    fn rescaled(self, times: f64, less: f64, all: &Seen) -> Line {
        let (rows, answers) = (all.rows as f64, all.tokens as f64);
        Line {
            x: self.x * times - less * rows,
            xx: self.xx * times * times - 2.0 * less * self.x * times + less * less * rows,
            xy: self.xy * times - less * answers,
        }
    }

    /// The slope, and how much of the spread it explains.
    #[expect(clippy::cast_precision_loss, reason = "a fit")]
    fn slope(&self, all: &Seen) -> (f64, f64) {
        let rows = all.rows.max(1) as f64;
        let spread = self.xx - self.x * self.x / rows;
        let together = self.xy - self.x * all.tokens as f64 / rows;
        let (deviations, slope) = (all.deviations(), together / spread);
        if spread <= 0.0 || deviations <= 0.0 || !slope.is_finite() {
            return (0.0, 0.0);
        }
        (slope, together * together / spread / deviations)
    }

    /// Thousandths of tokens for each answer, and for each token of a prompt.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fit"
    )]
    pub(super) fn spans(&self, all: &Seen, stale: bool) -> (Span, Span) {
        let whole = all.span(stale);
        let rows = all.rows.max(1) as f64;
        let slope = self.slope(all).0.max(0.0);
        let base = (whole.likely as f64 - slope * 1_000.0 * self.x / rows).max(0.0);
        let each = slope * 1_000.0;
        let by = |end: u64| end as f64 / whole.likely.max(1) as f64;
        let span = |n: f64| Span {
            low: (n * by(whole.low)) as u64,
            likely: n.round() as u64,
            high: (n * by(whole.high)).ceil() as u64,
        };
        (span(base), span(each))
    }
}

impl Lengths {
    /// Takes in what a later run showed.
    pub fn merge(&mut self, later: &Lengths) {
        if later.all.rows == 0 {
            return;
        }
        let weighty = later.all.rows >= WEIGHTY && self.all.rows > later.all.rows;
        let keep = if weighty {
            Keep {
                times: later.all.rows,
                of: self.all.rows,
            }
        } else {
            Keep { times: 1, of: 1 }
        };
        match (&mut self.by_value, &later.by_value) {
            (Some(known), Some(later)) if known.column == later.column => {
                for (value, seen) in &later.values {
                    known
                        .values
                        .entry(value.clone())
                        .or_default()
                        .merge(seen, keep);
                }
            }
            // Another column, or none: what the later run shows is what counts.
            (known, newer) => known.clone_from(newer),
        }
        self.by_prompt = later.by_prompt;
        self.all.merge(&later.all, keep);
        // A line through the answers of two runs needs the sums of both; the later run's stand for
        // all.
        if self.by_prompt.is_some() {
            self.all.clone_from(&later.all);
        }
    }
}

/// Watches the answers of a run.
#[derive(Debug, Default)]
pub struct Watch {
    all: Seen,
    line: Line,
    columns: Vec<(String, Option<BTreeMap<String, Seen>>)>,
}

impl Watch {
    /// Watches the columns of a run that can hold labels.
    #[must_use]
    pub fn new(columns: &arrow::datatypes::Schema) -> Watch {
        let labels = columns
            .fields()
            .iter()
            .filter(|field| can_be_label(field.data_type()));
        Watch {
            columns: labels
                .map(|field| (field.name().clone(), Some(BTreeMap::new())))
                .collect(),
            ..Watch::default()
        }
    }

    /// Prepares a stretch of rows.
    #[must_use]
    pub fn rows<'a>(&'a mut self, rows: &'a RecordBatch) -> WatchedRows<'a> {
        let cells = |(name, values): &(String, Option<_>)| {
            let cells = values
                .as_ref()
                .and_then(|_: &BTreeMap<String, Seen>| rows.column_by_name(name))?;
            Some((
                cells,
                ArrayFormatter::try_new(cells.as_ref(), &FORMAT).ok()?,
            ))
        };
        let cells = self.columns.iter().map(cells).collect();
        WatchedRows { watch: self, cells }
    }

    /// What it showed. Prompts were noted as they were billed, and plans measure them by the
    /// letters of the row's own part: for each billed token `times`, and `less` for what is shared.
    #[must_use]
    pub fn finish_by(mut self, times: f64, less: f64) -> Lengths {
        self.line = self.line.rescaled(times, less, &self.all);
        self.finish()
    }

    /// What it showed.
    #[must_use]
    pub fn finish(self) -> Lengths {
        if self.all.rows < FEWEST_ROWS {
            return Lengths {
                all: self.all,
                by_value: None,
                by_prompt: None,
            };
        }
        let by_prompt = self.line.slope(&self.all);
        let all = &self.all;
        let explained = |values: &BTreeMap<String, Seen>| {
            let left: f64 = values.values().map(Seen::deviations).sum();
            let total = all.deviations();
            if total > 0.0 { 1.0 - left / total } else { 0.0 }
        };
        let columns = self
            .columns
            .into_iter()
            .filter_map(|(name, values)| Some((name, values?)));
        let columns = columns.filter(|(_, values)| values.len() > 1);
        let scored = columns.map(|(name, values)| (explained(&values), name, values));
        let best = scored
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|best| best.0 > WORTH_KNOWING && best.0 >= by_prompt.1);
        let by_value = best.map(|(_, column, mut values)| {
            values.retain(|_, seen| seen.rows >= FEWEST_OF_A_VALUE);
            ByValue { column, values }
        });
        let line = (by_value.is_none() && by_prompt.0 > 0.0 && by_prompt.1 > WORTH_KNOWING)
            .then_some(self.line);
        Lengths {
            all: self.all,
            by_value,
            by_prompt: line,
        }
    }
}

/// Whether a column of a type can hold labels.
fn can_be_label(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => can_be_label(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => true,
        other => other.is_integer(),
    }
}

/// The rows of a stretch, to be watched.
pub struct WatchedRows<'a> {
    watch: &'a mut Watch,
    cells: Vec<Option<(&'a ArrayRef, ArrayFormatter<'a>)>>,
}

impl std::fmt::Debug for WatchedRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedRows").finish_non_exhaustive()
    }
}

impl WatchedRows<'_> {
    /// Takes note of an answer: the row in the stretch, the tokens of its prompt and of its answer.
    #[expect(clippy::cast_precision_loss, reason = "a fit")]
    pub fn push(&mut self, row: usize, prompt: u64, answer: u64) {
        self.watch.all.push(answer);
        self.watch.line.push(prompt as f64, answer as f64);
        for ((_, values), cells) in self.watch.columns.iter_mut().zip(&self.cells) {
            let (Some(seen), Some(cells)) = (values.as_mut(), cells) else {
                continue;
            };
            let known = label(cells.0, &cells.1, row)
                .filter(|label| seen.len() < MOST_VALUES || seen.contains_key(label));
            match known {
                Some(label) => seen.entry(label).or_default().push(answer),
                None => *values = None,
            }
        }
    }
}

/// A cell as text; `None` where it is too long for a label.
fn label(cells: &ArrayRef, format: &ArrayFormatter<'_>, row: usize) -> Option<String> {
    if cells.is_null(row) {
        return Some(String::new());
    }
    let text = format.value(row).try_to_string().ok()?;
    (text.len() <= LONGEST_VALUE).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn rows(langs: &[&str]) -> RecordBatch {
        let ids = Int64Array::from_iter_values(0..langs.len() as i64);
        let langs = StringArray::from(langs.to_vec());
        RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            ("lang", Arc::new(langs) as ArrayRef),
        ])
        .unwrap()
    }

    fn watch(answers: &[(&str, u64, u64)]) -> Lengths {
        let batch = rows(&answers.iter().map(|(lang, ..)| *lang).collect::<Vec<_>>());
        let mut watch = Watch::new(&batch.schema());
        let mut watched = watch.rows(&batch);
        answers
            .iter()
            .enumerate()
            .for_each(|(row, (_, prompt, answer))| watched.push(row, *prompt, *answer));
        drop(watched);
        watch.finish()
    }

    #[test]
    fn finds_the_column_that_tells_long_answers_from_short_ones() {
        let answers: Vec<_> = (0..100)
            .map(|n| {
                if n % 4 == 0 {
                    ("ja", 10, 200 + n % 7)
                } else {
                    ("en", 10, 20 + n % 5)
                }
            })
            .collect();
        let lengths = watch(&answers);
        let by = lengths.by_value.as_ref().expect("a column");
        assert_eq!(
            (by.column.as_str(), by.values.len(), by.values["ja"].rows),
            ("lang", 2, 25)
        );
        assert!(
            (200_000..210_000).contains(&by.values["ja"].mean()),
            "{}",
            by.values["ja"].mean()
        );
        assert_eq!(lengths.all.rows, 100);
    }

    #[test]
    fn finds_that_long_prompts_get_long_answers() {
        let answers: Vec<_> = (0..100)
            .map(|n| (if n % 2 == 0 { "a" } else { "b" }, n * 10, 5 + n * 20))
            .collect();
        let lengths = watch(&answers);
        assert_eq!(lengths.by_value, None);
        let (base, each) = lengths
            .by_prompt
            .expect("a line")
            .spans(&lengths.all, false);
        assert!(
            (4_900..=5_100).contains(&base.likely) && (1_990..=2_010).contains(&each.likely),
            "{base:?} {each:?}"
        );
    }

    #[test]
    fn what_explains_nothing_is_not_kept() {
        let answers: Vec<_> = (0..100)
            .map(|n| (["a", "b"][n as usize % 2], 100 + n % 3, 50 + n / 2 % 10))
            .collect();
        let lengths = watch(&answers);
        assert_eq!((lengths.by_value, lengths.by_prompt), (None, None));
        assert_eq!(watch(&answers[..10]).all.rows, 10);
    }

    #[test]
    fn a_column_of_many_values_is_no_label() {
        let names: Vec<String> = (0..100).map(|n| format!("name {n}")).collect();
        let answers: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), 10, n as u64))
            .collect();
        assert_eq!(watch(&answers).by_value, None);
    }

    #[test]
    fn a_large_later_run_counts_for_half_at_least() {
        let run = |rows: u64, tokens: u64| {
            let mut seen = Seen::default();
            (0..rows).for_each(|_| seen.push(tokens));
            Lengths {
                all: seen,
                ..Lengths::default()
            }
        };
        let mut known = run(5_000, 100);
        known.merge(&run(1_000, 200));
        assert_eq!((known.all.rows, known.all.mean()), (2_000, 150_000));
        let mut known = run(5_000, 100);
        known.merge(&run(10, 200));
        assert_eq!((known.all.rows, known.all.longest), (5_010, 200));
        let mut nothing = Lengths::default();
        nothing.merge(&known);
        assert_eq!(nothing, known);
    }

    #[test]
    fn knows_less_where_the_prompt_has_changed() {
        let mut seen = Seen::default();
        (0..1_000).for_each(|n| seen.push(90 + n % 21));
        let (sure, unsure) = (seen.span(false), seen.span(true));
        assert_eq!(sure.likely, unsure.likely);
        assert!(unsure.low < sure.low && sure.high < unsure.high);
        assert!(sure.low > 85_000 && sure.high < 115_000, "{sure:?}");
    }
}
