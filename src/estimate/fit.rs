//! How characters become tokens: by the constants, by a sample that the provider counted, or by the
//! bill of an earlier run.

use serde::{Deserialize, Serialize};

use super::rows::RowSums;
use super::sample::variance;
use super::scale;
use super::shared::Shared;
use super::tokens::{CLASSES, costs};
use crate::catalog::Tokenizer;

/// How far the constants may be off, in thousandths of the tokens: an assumption, wider than what
/// the bench prints for real tables.
const CONSTANTS_OFF: u64 = 350;

/// Where a [`Fit`] comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum FitBasis {
    /// The constants of this program.
    Constants,
    /// Rows that the provider counted for this plan.
    Counted {
        /// How many.
        rows: u64,
    },
    /// The bills of earlier runs, or rows counted for earlier plans.
    Learned {
        /// How many rows.
        rows: u64,
    },
}

/// How characters become tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// How it is known.
    pub basis: FitBasis,
    /// Thousandths of a token that a character of each class costs.
    pub costs: [u64; CLASSES],
    /// Thousandths of a token that a row costs beside its characters, more or less than
    /// `PER_MESSAGE` for each message.
    pub per_row: i64,
    /// Thousandths that the shared part is to be multiplied with.
    pub shared: u64,
    /// How far the tokens of all prompts may be off, in thousandths: with 95 in 100 certainty where
    /// they were counted.
    pub off: u64,
}

impl Fit {
    /// The constants of this program.
    #[must_use]
    pub(crate) fn constants(tokenizer: Tokenizer) -> Fit {
        Fit {
            basis: FitBasis::Constants,
            costs: costs(tokenizer),
            per_row: 0,
            shared: 1_000,
            off: CONSTANTS_OFF,
        }
    }

    /// Whether it makes tokens of characters and of the shared part at all.
    #[must_use]
    pub(crate) fn is_usable(&self) -> bool {
        self.shared > 0 && self.costs.iter().any(|cost| *cost > 0)
    }

    /// Tokens of rows, without what all requests share.
    #[must_use]
    pub(crate) fn rows(&self, load: &RowSums) -> u64 {
        u64::try_from(self.thousandths(load).max(0))
            .unwrap_or(u64::MAX)
            .div_ceil(1_000)
    }

    fn thousandths(&self, load: &RowSums) -> i128 {
        let per_row = i128::from(self.per_row) * i128::from(load.requests);
        i128::from(load.characters.thousandths(&self.costs))
            + per_row
            + i128::from(load.fixed()) * 1_000
    }

    /// Tokens of something that all requests share, given its tokens by the constants.
    #[must_use]
    pub(crate) fn shared(&self, tokens: u64) -> u64 {
        scale(tokens, self.shared, 1_000)
    }

    /// Tokens of whole prompts.
    #[must_use]
    pub(crate) fn prompts(&self, load: &RowSums, shared: &Shared) -> u64 {
        self.rows(load)
            .saturating_add(self.shared(shared.tokens).saturating_mul(load.requests))
    }

    /// The same fit, with all of it multiplied by `times / of`: the tokens of a bill and those of
    /// the estimate by this fit, both without the tokens that no fit changes.
    #[must_use]
    pub(crate) fn corrected(&self, times: u64, of: u64) -> Fit {
        let by = |n: u64| scale(n, times, of);
        let per_row = i64::try_from(by(self.per_row.unsigned_abs())).unwrap_or(i64::MAX)
            * self.per_row.signum();
        Fit {
            costs: self.costs.map(by),
            per_row,
            shared: by(self.shared),
            ..self.clone()
        }
    }
}

/// A row whose whole prompt the provider counted, and the number of rows that it represents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedRow {
    /// The row.
    pub(crate) load: RowSums,
    /// Tokens of its whole prompt.
    pub(crate) tokens: u64,
    /// Rows like it, itself included.
    pub(crate) stands_for: f64,
    /// The group of rows it was drawn from.
    pub(crate) stratum: usize,
}

/// How strongly the cost of a class stays at its constant: as if this many rows had shown it.
const PRIOR_ROWS: f64 = 2.0;

impl Fit {
    /// Fits the cost of each class to counted rows.
    ///
    /// First all constants are multiplied with the one factor that fits best; then each class may
    /// move away from that, as far as the rows give reason to (a ridge regression, so that a class
    /// that is rare in the sample stays where it was). What is left over on average goes to every
    /// row, so that the sum over the table is right whatever the model of it is (a regression
    /// estimate). `off` is twice the standard error of that sum.
    ///
    /// `shared_tokens` is the counted length of the shared part, where there is one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fit"
    )]
    pub(crate) fn counted(
        tokenizer: Tokenizer,
        shared: &Shared,
        shared_tokens: u64,
        sample: &[CountedRow],
        all: &RowSums,
    ) -> Fit {
        let mut fit = Fit::constants(tokenizer);
        fit.basis = FitBasis::Counted {
            rows: sample.len() as u64,
        };
        fit.shared = scale(shared_tokens, 1_000, shared.tokens);
        let shared_tokens = fit.shared(shared.tokens);
        if sample.is_empty() {
            return fit;
        }
        let own = |row: &CountedRow| (row.tokens as f64) - (shared_tokens as f64);
        let fixed = |row: &CountedRow| row.load.fixed() as f64;
        let weights: Vec<f64> = {
            // Long rows count for more in the sum, but their errors are larger too.
            sample
                .iter()
                .map(|row| row.stands_for / own(row).max(1.0))
                .collect()
        };
        let (mut up, mut down) = (0.0, 0.0);
        for (row, weight) in sample.iter().zip(&weights) {
            let estimated = row.load.characters.thousandths(&fit.costs) as f64 / 1_000.0;
            up += weight * estimated * (own(row) - fixed(row));
            down += weight * estimated * estimated;
        }
        let factor = if down > 0.0 {
            (up / down).clamp(0.1, 10.0)
        } else {
            1.0
        };
        let base: Vec<f64> = fit
            .costs
            .iter()
            .map(|cost| *cost as f64 * factor / 1_000.0)
            .collect();
        let fitted = ridge(sample, &weights, &base, |row| own(row) - fixed(row));
        for (cost, value) in fit.costs.iter_mut().zip(&fitted) {
            *cost = (value * 1_000.0).round().max(0.0) as u64;
        }
        let total: f64 = sample.iter().map(|row| row.stands_for).sum();
        let left = |row: &CountedRow| own(row) - fit.thousandths(&row.load) as f64 / 1_000.0;
        let mean: f64 = sample
            .iter()
            .map(|row| left(row) * row.stands_for)
            .sum::<f64>()
            / total.max(1.0);
        fit.per_row = (mean * 1_000.0).round() as i64;
        fit.off = margin(sample, &fit, own, &fit.prompts(all, shared)).max(1);
        fit
    }
}

/// The sum's margin in thousandths of it: two standard errors, stratum by stratum.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a margin"
)]
fn margin(sample: &[CountedRow], fit: &Fit, own: impl Fn(&CountedRow) -> f64, whole: &u64) -> u64 {
    let strata = sample.iter().map(|row| row.stratum + 1).max().unwrap_or(0);
    let mut sum = 0.0;
    for stratum in 0..strata {
        let rows = || sample.iter().filter(|row| row.stratum == stratum);
        let left: Vec<f64> = rows()
            .map(|row| own(row) - fit.thousandths(&row.load) as f64 / 1_000.0)
            .collect();
        sum += variance(rows().map(|row| row.stands_for).sum(), &left);
    }
    (2_000.0 * sum.sqrt() / (*whole).max(1) as f64).ceil() as u64
}

/// Minimises the weighted squares of `own - Σ cost · chars`, each cost drawn to its base.
#[expect(clippy::cast_precision_loss, reason = "a fit")]
fn ridge(
    sample: &[CountedRow],
    weights: &[f64],
    base: &[f64],
    own: impl Fn(&CountedRow) -> f64,
) -> Vec<f64> {
    let mut matrix = [[0.0; CLASSES]; CLASSES];
    let mut right = [0.0; CLASSES];
    // In units of the base costs, a class that costs what it should has the coefficient 1.
    for (row, weight) in sample.iter().zip(weights) {
        let x: Vec<f64> = row
            .load
            .characters
            .chars
            .iter()
            .zip(base)
            .map(|(chars, base)| *chars as f64 * base)
            .collect();
        let missing = own(row) - x.iter().sum::<f64>();
        for i in 0..CLASSES {
            right[i] += weight * x[i] * missing;
            for j in 0..CLASSES {
                matrix[i][j] += weight * x[i] * x[j];
            }
        }
    }
    let rows = sample.len() as f64;
    let mean = (0..CLASSES).map(|i| matrix[i][i]).sum::<f64>() / rows.max(1.0);
    (0..CLASSES)
        .for_each(|i| matrix[i][i] += PRIOR_ROWS * mean / CLASSES as f64 + f64::MIN_POSITIVE);
    let moved = solve(matrix, right);
    base.iter()
        .zip(moved)
        .map(|(base, moved)| base * (1.0 + moved.clamp(-0.9, 4.0)))
        .collect()
}

/// Solves a small system by elimination; a class that nothing is known of moves by nothing.
fn solve(mut matrix: [[f64; CLASSES]; CLASSES], mut right: [f64; CLASSES]) -> [f64; CLASSES] {
    for pivot in 0..CLASSES {
        let best = (pivot..CLASSES)
            .max_by(|&a, &b| matrix[a][pivot].abs().total_cmp(&matrix[b][pivot].abs()))
            .unwrap_or(pivot);
        matrix.swap(pivot, best);
        right.swap(pivot, best);
        if matrix[pivot][pivot].abs() < f64::MIN_POSITIVE {
            continue;
        }
        for row in pivot + 1..CLASSES {
            let from = matrix[pivot];
            let factor = matrix[row][pivot] / from[pivot];
            matrix[row]
                .iter_mut()
                .zip(from)
                .skip(pivot)
                .for_each(|(cell, from)| *cell -= factor * from);
            right[row] -= factor * right[pivot];
        }
    }
    let mut found = [0.0; CLASSES];
    for row in (0..CLASSES).rev() {
        let known: f64 = (row + 1..CLASSES)
            .map(|column| matrix[row][column] * found[column])
            .sum();
        let pivot = matrix[row][row];
        found[row] = if pivot.abs() < f64::MIN_POSITIVE {
            0.0
        } else {
            (right[row] - known) / pivot
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::rows::RowEstimate;
    use crate::estimate::tokens::{CharacterClass, CharacterCounts};

    /// Rows of mixed scripts, counted by a tokenizer of quite other costs, with something on top of
    /// each row.
    fn sample(rows: usize, of: u64) -> (Vec<CountedRow>, RowSums) {
        let mut all = RowSums::default();
        let mut counted = Vec::new();
        for n in 0..rows {
            let text = format!(
                "{} {}",
                "word ".repeat(5 + n % 40),
                ["영화가 좋다 ", "12345 ", "мир и труд "][n % 3].repeat(1 + n % 7)
            );
            let weight = RowEstimate {
                characters: CharacterCounts::of(&text),
                messages: 1,
                ..RowEstimate::default()
            };
            let mut load = RowSums::default();
            load.push(&weight);
            (0..of).for_each(|_| all.push(&weight));
            counted.push(CountedRow {
                load,
                tokens: truth(&text),
                stands_for: of as f64,
                stratum: n % 3,
            });
        }
        (counted, all)
    }

    fn truth(text: &str) -> u64 {
        let cost = |c: char| match c {
            'a'..='z' | ' ' => 200,
            '0'..='9' => 900,
            'а'..='я' => 700,
            _ => 1_400,
        };
        110 + text.chars().map(cost).sum::<u64>().div_ceil(1_000)
    }

    #[test]
    fn a_counted_sample_gives_the_sum_of_a_table_that_it_is_like() {
        let (sample, all) = sample(200, 50);
        let shared = Shared {
            tokens: 80,
            ..Shared::default()
        };
        let fit = Fit::counted(Tokenizer::First, &shared, 100, &sample, &all);
        let bill: u64 = sample.iter().map(|row| row.tokens * 50).sum();
        let estimate = fit.prompts(&all, &shared);
        assert!(
            estimate.abs_diff(bill) * 500 < bill,
            "{estimate} against {bill}: {fit:?}"
        );
        assert!(fit.off < 20, "{fit:?}");
        let is_digit = |class: &CharacterClass| *class == CharacterClass::Digit;
        let digit = CharacterClass::ALL.iter().position(is_digit).unwrap();
        assert!(
            scale(fit.costs[digit], 1_000, costs(Tokenizer::First)[digit]) > 1_300,
            "{fit:?}"
        );
    }

    #[test]
    fn says_so_where_the_rows_do_not_fit() {
        let (mut sample, all) = sample(20, 50);
        sample
            .iter_mut()
            .enumerate()
            .for_each(|(n, row)| row.tokens += 300 * (n as u64 % 2));
        let shared = Shared {
            tokens: 80,
            ..Shared::default()
        };
        assert!(Fit::counted(Tokenizer::First, &shared, 100, &sample, &all).off > 50);
    }

    #[test]
    fn takes_a_sample_of_one_row_or_none() {
        let (sample, all) = sample(1, 1);
        let shared = Shared {
            tokens: 80,
            ..Shared::default()
        };
        let fit = Fit::counted(Tokenizer::First, &shared, 100, &sample, &all);
        assert!(
            fit.prompts(&all, &shared).abs_diff(sample[0].tokens) <= 1,
            "{fit:?}"
        );
        assert_eq!(
            Fit::counted(Tokenizer::First, &shared, 80, &[], &all).costs,
            costs(Tokenizer::First)
        );
    }

    #[test]
    fn is_corrected_by_a_bill() {
        let (_, all) = sample(30, 1);
        let shared = Shared {
            tokens: 80,
            ..Shared::default()
        };
        let fit = Fit::constants(Tokenizer::First);
        let before = fit.prompts(&all, &shared);
        let fixed = all.fixed();
        let after = fit
            .corrected(before * 13 / 10 - fixed, before - fixed)
            .prompts(&all, &shared);
        assert!(
            after.abs_diff(before * 13 / 10) * 50 < before,
            "{after} after {before}"
        );
    }
}
