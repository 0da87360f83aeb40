//! How long the answers of a job were: the statistics that `learned.json` keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Span, scale};

/// How far a later run may drift from an earlier one, in thousandths.
const DRIFT: u64 = 100;
/// The same where the prompt or the schema has changed since.
const STALE_DRIFT: u64 = 500;
/// A run of this many rows counts for at least half of the history after it.
const LARGE_RUN: u64 = 1_000;

/// AnswerLengths of answers, in tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LengthStatistics {
    /// Answers.
    pub(crate) rows: u64,
    /// Their tokens.
    pub(crate) tokens: u64,
    /// The sum of the squares of their tokens.
    pub(crate) squares: u64,
    /// The shortest.
    pub(crate) shortest: u64,
    /// The longest.
    pub(crate) longest: u64,
    /// Answers by length: the class `n` holds those from 2ⁿ to 2ⁿ⁺¹ - 1 tokens.
    pub(crate) by_octave: BTreeMap<u32, u64>,
}

impl LengthStatistics {
    pub(super) fn push(&mut self, tokens: u64) {
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
    fn merge(&mut self, later: &LengthStatistics, kept: Ratio) {
        if self.rows == 0 {
            self.clone_from(later);
            return;
        }
        let Ratio { times, of } = kept;
        let by = |n: u64| scale(n, times, of);
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
    pub(crate) fn mean(&self) -> u64 {
        scale(self.tokens, 1_000, self.rows)
    }

    /// What to expect of the mean of many more, in thousandths of tokens.
    #[must_use]
    pub(crate) fn span(&self, stale: bool) -> Span {
        let mean = self.mean();
        let off = self.uncertainty() + mean * if stale { STALE_DRIFT } else { DRIFT } / 1_000;
        Span {
            low: mean.saturating_sub(off),
            expected: mean,
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
    pub(super) fn deviations(&self) -> f64 {
        let tokens = self.tokens as f64;
        (self.squares as f64 - tokens * tokens / self.rows.max(1) as f64).max(0.0)
    }
}

/// How much of what was known is kept: `times / of`.
#[derive(Debug, Clone, Copy)]
struct Ratio {
    times: u64,
    of: u64,
}

/// What is known of the lengths of a job's answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerLengths {
    /// All answers.
    pub(crate) all: LengthStatistics,
    /// Answers by the values of the column that explains most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_value: Option<ByValue>,
    /// Answers beside the length of the prompt, where that explains more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_prompt: Option<LinearSums>,
}

/// Answers by the values of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByValue {
    /// The column.
    pub(crate) column: String,
    /// Its values as text; null is the empty text.
    pub(crate) values: BTreeMap<String, LengthStatistics>,
}

/// Answers beside the length of the row's own prompt: sums for a straight line through them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinearSums {
    /// Tokens of prompts.
    pub(crate) x: f64,
    /// Their squares.
    pub(crate) xx: f64,
    /// Prompts times answers.
    pub(crate) xy: f64,
}

impl LinearSums {
    pub(super) fn push(&mut self, prompt: f64, answer: f64) {
        self.x += prompt;
        self.xx += prompt * prompt;
        self.xy += prompt * answer;
    }

    /// The same line beside other measures of the prompts: each was `x · times - less`.
    #[expect(clippy::cast_precision_loss, reason = "a fit")]
    pub(super) fn rescaled(self, times: f64, less: f64, all: &LengthStatistics) -> LinearSums {
        let (rows, answers) = (all.rows as f64, all.tokens as f64);
        LinearSums {
            x: self.x * times - less * rows,
            xx: self.xx * times * times - 2.0 * less * self.x * times + less * less * rows,
            xy: self.xy * times - less * answers,
        }
    }

    /// The slope, and how much of the spread it explains.
    #[expect(clippy::cast_precision_loss, reason = "a fit")]
    pub(super) fn slope(&self, all: &LengthStatistics) -> (f64, f64) {
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
    pub(super) fn spans(&self, all: &LengthStatistics, stale: bool) -> (Span, Span) {
        let whole = all.span(stale);
        let rows = all.rows.max(1) as f64;
        let slope = self.slope(all).0.max(0.0);
        let base = (whole.expected as f64 - slope * 1_000.0 * self.x / rows).max(0.0);
        let each = slope * 1_000.0;
        let by = |end: u64| end as f64 / whole.expected.max(1) as f64;
        let span = |n: f64| Span {
            low: (n * by(whole.low)) as u64,
            expected: n.round() as u64,
            high: (n * by(whole.high)).ceil() as u64,
        };
        (span(base), span(each))
    }
}

impl AnswerLengths {
    /// Takes in what a later run showed.
    pub(crate) fn merge(&mut self, later: &AnswerLengths) {
        if later.all.rows == 0 {
            return;
        }
        let is_large = later.all.rows >= LARGE_RUN && self.all.rows > later.all.rows;
        let kept = if is_large {
            Ratio {
                times: later.all.rows,
                of: self.all.rows,
            }
        } else {
            Ratio { times: 1, of: 1 }
        };
        match (&mut self.by_value, &later.by_value) {
            (Some(known), Some(later)) if known.column == later.column => {
                for (value, seen) in &later.values {
                    known
                        .values
                        .entry(value.clone())
                        .or_default()
                        .merge(seen, kept);
                }
            }
            // Another column, or none: what the later run shows is what counts.
            (known, newer) => known.clone_from(newer),
        }
        self.by_prompt = later.by_prompt;
        self.all.merge(&later.all, kept);
        // A line through the answers of two runs needs the sums of both; the later run's stand for
        // all.
        if self.by_prompt.is_some() {
            self.all.clone_from(&later.all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_later_run_counts_for_half_at_least() {
        let run = |rows: u64, tokens: u64| {
            let mut seen = LengthStatistics::default();
            (0..rows).for_each(|_| seen.push(tokens));
            AnswerLengths {
                all: seen,
                ..AnswerLengths::default()
            }
        };
        let mut known = run(5_000, 100);
        known.merge(&run(1_000, 200));
        assert_eq!((known.all.rows, known.all.mean()), (2_000, 150_000));
        let mut known = run(5_000, 100);
        known.merge(&run(10, 200));
        assert_eq!((known.all.rows, known.all.longest), (5_010, 200));
        let mut nothing = AnswerLengths::default();
        nothing.merge(&known);
        assert_eq!(nothing, known);
    }

    #[test]
    fn knows_less_where_the_prompt_has_changed() {
        let mut seen = LengthStatistics::default();
        (0..1_000).for_each(|n| seen.push(90 + n % 21));
        let (sure, unsure) = (seen.span(false), seen.span(true));
        assert_eq!(sure.expected, unsure.expected);
        assert!(unsure.low < sure.low && sure.high < unsure.high);
        assert!(sure.low > 85_000 && sure.high < 115_000, "{sure:?}");
    }
}
