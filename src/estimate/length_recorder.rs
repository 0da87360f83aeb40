//! The answers of a run → their lengths, and what explains which are long and which are short.
//!
//! ```text
//!  answered rows ─▶ LengthRecorder: all of them, by the values of each column that has few, and beside the length of the prompt
//!                     │ which of these explains most?
//!                     ▼
//!                  AnswerLengths: kept with the job, read by the next plan
//! ```

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::lengths::{AnswerLengths, ByValue, LengthStatistics, LinearSums};

/// A column with more values than this explains nothing that lasts.
const MOST_VALUES: usize = 40;
/// Longest value that is kept; columns with longer ones hold text, not labels.
const LONGEST_VALUE: usize = 60;
/// Rows below which nothing but the mean is learned.
const FEWEST_ROWS: u64 = 30;
/// Rows below which a value is not kept apart from the rest.
const FEWEST_OF_A_VALUE: u64 = 5;
/// What has to be explained of the differences between answers for a column or the prompt's length
/// to count: a tenth.
const WORTH_KNOWING: f64 = 0.1;

/// Cells as text, without ornament.
const FORMAT: FormatOptions<'static> = FormatOptions::new();

/// Records how long the answers of a run are.
#[derive(Debug, Default)]
pub(crate) struct LengthRecorder {
    all: LengthStatistics,
    by_prompt: LinearSums,
    columns: Vec<(String, Option<BTreeMap<String, LengthStatistics>>)>,
}

impl LengthRecorder {
    /// Records by the columns of a run that can hold labels.
    #[must_use]
    pub(crate) fn new(columns: &arrow::datatypes::Schema) -> LengthRecorder {
        let labels = columns
            .fields()
            .iter()
            .filter(|field| can_be_label(field.data_type()));
        LengthRecorder {
            columns: labels
                .map(|field| (field.name().clone(), Some(BTreeMap::new())))
                .collect(),
            ..LengthRecorder::default()
        }
    }

    /// Prepares a record batch.
    #[must_use]
    pub(crate) fn rows<'a>(&'a mut self, rows: &'a RecordBatch) -> BatchLengthRecorder<'a> {
        let cells = |(name, values): &(String, Option<_>)| {
            let cells = values
                .as_ref()
                .and_then(|_: &BTreeMap<String, LengthStatistics>| rows.column_by_name(name))?;
            Some((
                cells,
                ArrayFormatter::try_new(cells.as_ref(), &FORMAT).ok()?,
            ))
        };
        let cells = self.columns.iter().map(cells).collect();
        BatchLengthRecorder {
            recorder: self,
            cells,
        }
    }

    /// What it showed. Prompts were noted as they were billed, and plans measure them by the
    /// letters of the row's own part: for each billed token `times`, and `less` for what is shared.
    #[must_use]
    pub(crate) fn finish_by(mut self, times: f64, less: f64) -> AnswerLengths {
        self.by_prompt = self.by_prompt.rescaled(times, less, &self.all);
        self.finish()
    }

    /// What it showed.
    #[must_use]
    pub(crate) fn finish(self) -> AnswerLengths {
        if self.all.rows < FEWEST_ROWS {
            return AnswerLengths {
                all: self.all,
                by_value: None,
                by_prompt: None,
            };
        }
        let by_prompt = self.by_prompt.slope(&self.all);
        let all = &self.all;
        let explained = |values: &BTreeMap<String, LengthStatistics>| {
            let left: f64 = values.values().map(LengthStatistics::deviations).sum();
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
        let linear = (by_value.is_none() && by_prompt.0 > 0.0 && by_prompt.1 > WORTH_KNOWING)
            .then_some(self.by_prompt);
        AnswerLengths {
            all: self.all,
            by_value,
            by_prompt: linear,
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

/// The rows of a record batch, to be recorded.
pub(crate) struct BatchLengthRecorder<'a> {
    recorder: &'a mut LengthRecorder,
    cells: Vec<Option<(&'a ArrayRef, ArrayFormatter<'a>)>>,
}

impl std::fmt::Debug for BatchLengthRecorder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchLengthRecorder")
            .finish_non_exhaustive()
    }
}

impl BatchLengthRecorder<'_> {
    /// Records an answer: the row in the record batch, the tokens of its prompt and of its answer.
    #[expect(clippy::cast_precision_loss, reason = "a fit")]
    pub(crate) fn push(&mut self, row: usize, prompt: u64, answer: u64) {
        self.recorder.all.push(answer);
        self.recorder.by_prompt.push(prompt as f64, answer as f64);
        for ((_, values), cells) in self.recorder.columns.iter_mut().zip(&self.cells) {
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

    fn record(answers: &[(&str, u64, u64)]) -> AnswerLengths {
        let batch = rows(&answers.iter().map(|(lang, ..)| *lang).collect::<Vec<_>>());
        let mut recorder = LengthRecorder::new(&batch.schema());
        let mut recording = recorder.rows(&batch);
        answers
            .iter()
            .enumerate()
            .for_each(|(row, (_, prompt, answer))| recording.push(row, *prompt, *answer));
        drop(recording);
        recorder.finish()
    }

    #[test]
    fn finds_the_column_that_separates_long_answers_from_short_ones() {
        let answers: Vec<_> = (0..100)
            .map(|n| {
                if n % 4 == 0 {
                    ("ja", 10, 200 + n % 7)
                } else {
                    ("en", 10, 20 + n % 5)
                }
            })
            .collect();
        let lengths = record(&answers);
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
        let lengths = record(&answers);
        assert_eq!(lengths.by_value, None);
        let (base, each) = lengths
            .by_prompt
            .expect("a line")
            .spans(&lengths.all, false);
        assert!(
            (4_900..=5_100).contains(&base.expected) && (1_990..=2_010).contains(&each.expected),
            "{base:?} {each:?}"
        );
    }

    #[test]
    fn what_explains_nothing_is_not_kept() {
        let answers: Vec<_> = (0..100)
            .map(|n| (["a", "b"][n as usize % 2], 100 + n % 3, 50 + n / 2 % 10))
            .collect();
        let lengths = record(&answers);
        assert_eq!((lengths.by_value, lengths.by_prompt), (None, None));
        assert_eq!(record(&answers[..10]).all.rows, 10);
    }

    #[test]
    fn a_column_of_many_values_is_no_label() {
        let names: Vec<String> = (0..100).map(|n| format!("name {n}")).collect();
        let answers: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), 10, n as u64))
            .collect();
        assert_eq!(record(&answers).by_value, None);
    }
}
