//! A plan by some rows of a table: which are drawn, the sums of all rows by those, and the margin
//! of error.
//!
//! ```text
//!  every row: index, bytes ─▶ RowSampler ─▶ SampledRows ─▶ (they are rendered) ─▶ SampleResults ─▶ Extrapolation, SamplingError
//! ```
//!
//! Rows are divided by the bytes of what their templates read, in steps of less than an eighth,
//! since that separates long prompts from short ones. In each stratum the rows with the
//! smallest draws are taken, by its share of the bytes and two at least, so that every stratum
//! shows a spread. A stratum stands for all its rows; the margins are two standard errors, stratum
//! by stratum.
//!
//! Pure and the same for the same rows and seed. **Memory**: 16 bytes for each row prefix for in
//! each stratum, and the estimates of the drawn.

use std::collections::{BTreeMap, BinaryHeap};

use serde::Serialize;

use super::fit::Fit;
use super::rows::{BatchStatistics, ModelAndSize, RowEstimate, RowSums, size};
use super::sample::{SampleSpec, draw, shares, variance};
use super::{Bounds, Estimate, Estimator, scale};
use crate::cost::{Money, Unpriced};

/// What an estimate by a sample rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sampling {
    /// Rows that were rendered.
    pub rows: u64,
    /// Rows they stand for.
    pub of: u64,
    /// What the draw depended on, besides the rows.
    pub seed: u64,
    /// Groups of rows that were drawn from.
    pub strata: u64,
    /// How far the figures may be off what all rows would give.
    pub off: SamplingError,
}

/// Two standard errors (95 in 100) of the figures of a sample, in thousandths of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SamplingError {
    /// Of the tokens of all prompts.
    pub prompts: u64,
    /// Of the tokens of all answers.
    pub output: u64,
    /// Of the expected cost.
    pub cost: u64,
}

/// Counts every row, and draws some.
#[derive(Debug)]
pub(crate) struct RowSampler {
    spec: SampleSpec,
    strata: BTreeMap<u32, NotedRow>,
}

#[derive(Debug, Default)]
struct NotedRow {
    rows: u64,
    bytes: u64,
    /// Draw and row index; the largest draw on top.
    kept: BinaryHeap<(u64, u64)>,
}

/// The rows that were drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampledRows {
    /// The rows of each stratum.
    pub(crate) strata: Vec<u64>,
    /// The drawn rows by their index, each with its stratum.
    pub(crate) rows: Vec<(u64, usize)>,
}

impl RowSampler {
    /// Begins.
    #[must_use]
    pub(crate) fn new(spec: SampleSpec) -> RowSampler {
        RowSampler {
            spec,
            strata: BTreeMap::new(),
        }
    }

    /// Counts a row, with the bytes that its request consists of.
    pub(crate) fn note(&mut self, row_index: u64, bytes: u64) {
        let stratum = self.strata.entry(size(bytes)).or_default();
        stratum.rows += 1;
        stratum.bytes += bytes.max(1);
        let drawn = (draw(self.spec.seed, row_index), row_index);
        if stratum.kept.len() < self.spec.rows {
            stratum.kept.push(drawn);
        } else if let Some(mut largest) =
            stratum.kept.peek_mut().filter(|largest| drawn < **largest)
        {
            *largest = drawn;
        }
    }

    /// Rows noted.
    #[must_use]
    pub(crate) fn rows(&self) -> u64 {
        self.strata.values().map(|stratum| stratum.rows).sum()
    }

    /// Draws.
    #[must_use]
    pub(crate) fn finish(self) -> SampledRows {
        let sizes: Vec<(u64, usize)> = self
            .strata
            .values()
            .map(|stratum| (stratum.bytes, stratum.kept.len()))
            .collect();
        let strata = self.strata.values().map(|stratum| stratum.rows).collect();
        let mut rows = Vec::new();
        for (number, (stratum, share)) in self
            .strata
            .into_values()
            .zip(shares(self.spec.rows, &sizes))
            .enumerate()
        {
            rows.extend(
                stratum
                    .kept
                    .into_sorted_vec()
                    .into_iter()
                    .take(share)
                    .map(|(_, row_index)| (row_index, number)),
            );
        }
        rows.sort_unstable();
        SampledRows { strata, rows }
    }
}

/// The drawn rows, rendered and estimated.
#[derive(Debug)]
pub(crate) struct SampleResults {
    strata: Vec<StratumResults>,
    /// One batch for each request, so that each has a price of its own.
    requests: BatchStatistics,
    /// Their strata.
    stratum: Vec<usize>,
}

#[derive(Debug, Default)]
struct StratumResults {
    rows: u64,
    drawn: u64,
    loads: BTreeMap<ModelAndSize, RowSums>,
    bytes: u64,
    unsent: BTreeMap<&'static str, u64>,
}

/// All rows of a table, extrapolated from the drawn ones.
#[derive(Debug, Default)]
pub(crate) struct Extrapolation {
    /// Their sums, as if in one batch.
    pub(crate) statistics: BatchStatistics,
    /// Rows that are sent.
    pub(crate) requests: u64,
    /// The bytes of their custom_ids and fragments.
    pub(crate) bytes: u64,
    /// Rows that are not, by the reason's word.
    pub(crate) unsent: BTreeMap<String, u64>,
}

impl SampleResults {
    /// Nothing yet of rows that were drawn from these strata.
    #[must_use]
    pub(crate) fn new(strata: &[u64], estimator: &Estimator<'_>) -> SampleResults {
        let strata = strata
            .iter()
            .map(|&rows| StratumResults {
                rows,
                ..StratumResults::default()
            })
            .collect();
        SampleResults {
            strata,
            requests: estimator.statistics(),
            stratum: Vec::new(),
        }
    }

    /// Adds a row that is sent, with the bytes of its custom_id and its fragment.
    pub(crate) fn push(&mut self, stratum: usize, row: &RowEstimate, bytes: u64) {
        self.requests.push(row);
        self.requests.close();
        self.stratum.push(stratum);
        let stratum = &mut self.strata[stratum];
        stratum.drawn += 1;
        stratum.bytes += bytes;
        for (group, load) in self.requests.batches.last().into_iter().flatten() {
            stratum.loads.entry(*group).or_default().merge(load);
        }
    }

    /// Adds a row that is not sent.
    pub(crate) fn push_unsent(&mut self, stratum: usize, reason: &'static str) {
        self.strata[stratum].drawn += 1;
        *self.strata[stratum].unsent.entry(reason).or_default() += 1;
    }

    /// All rows.
    #[must_use]
    pub(crate) fn whole(&self) -> Extrapolation {
        let mut whole = Extrapolation::default();
        let mut all: BTreeMap<ModelAndSize, RowSums> = BTreeMap::new();
        for stratum in &self.strata {
            // The parts of a stratum are rounded so that they add up to it.
            let mut before = 0;
            let mut stand_for = |drawn: u64| {
                let up_to = |drawn| scale(drawn, stratum.rows, stratum.drawn);
                before += drawn;
                up_to(before) - up_to(before - drawn)
            };
            for (group, load) in &stratum.loads {
                let rows = stand_for(load.requests);
                whole.requests += rows;
                all.entry(*group).or_default().merge(&load.scaled(rows));
            }
            for (reason, &rows) in &stratum.unsent {
                *whole.unsent.entry((*reason).to_owned()).or_default() += stand_for(rows);
            }
            whole.bytes += scale(stratum.bytes, stratum.rows, stratum.drawn);
        }
        whole.statistics.batches.push(all);
        whole
    }

    /// What the estimate of the whole rests on, by the spread of the rows in each stratum.
    ///
    /// # Errors
    /// [`Unpriced`].
    pub(crate) fn sampling(
        &self,
        seed: u64,
        estimator: &Estimator<'_>,
        estimate: &Estimate,
        warms_up: bool,
    ) -> Result<Sampling, Unpriced> {
        let mut values: Vec<[Vec<f64>; 3]> =
            self.strata.iter().map(|_| Default::default()).collect();
        let rows = self.values(estimator, &estimate.fit, warms_up)?;
        for (stratum, row) in self.stratum.iter().zip(rows) {
            values[*stratum]
                .iter_mut()
                .zip(row)
                .for_each(|(values, value)| values.push(value));
        }
        let mut sums = [0.0; 3];
        for (stratum, values) in self.strata.iter().zip(&mut values) {
            for (sum, values) in sums.iter_mut().zip(values) {
                // A row that is not sent costs nothing.
                values.resize(usize::try_from(stratum.drawn).unwrap_or(usize::MAX), 0.0);
                *sum += variance(number(stratum.rows), values);
            }
        }
        let load = self.whole().statistics.total();
        // As the values are: in tokens of the job's own model.
        let prompts = estimate.fit.prompts(&load, estimator.shared());
        let off = |sum: f64, whole: f64| thousandths(2.0 * sum.sqrt(), whole);
        Ok(Sampling {
            rows: self.strata.iter().map(|stratum| stratum.drawn).sum(),
            of: self.strata.iter().map(|stratum| stratum.rows).sum(),
            seed,
            strata: self.strata.len() as u64,
            off: SamplingError {
                prompts: off(sums[0], number(prompts)),
                output: off(sums[1], number(estimate.tokens.output.expected)),
                cost: off(sums[2], dollars(estimate.total.expected)),
            },
        })
    }

    /// Tokens of the prompt, tokens of the answer and expected cost of each request; those of rows
    /// that choose another model in tokens of the job's own.
    fn values(
        &self,
        estimator: &Estimator<'_>,
        fit: &Fit,
        warms_up: bool,
    ) -> Result<Vec<[f64; 3]>, Unpriced> {
        // As a thousand requests of its like: shares of the cache and rounding are then those of
        // many.
        let mut thousands = self.requests.clone();
        let loads = thousands.batches.iter_mut().flat_map(BTreeMap::values_mut);
        loads.for_each(|load| *load = load.scaled(1_000));
        let priced = estimator.estimate(&thousands, fit.clone(), warms_up)?;
        let value = |(loads, bounds): (&BTreeMap<ModelAndSize, RowSums>, &Bounds)| {
            let sum = |of: &dyn Fn(&RowSums) -> u64| {
                loads.values().map(|load| number(of(load)) / 1_000.0).sum()
            };
            let prompts = sum(&|load| fit.prompts(load, estimator.shared()));
            [
                prompts,
                sum(&|load| load.output.expected.div_ceil(1_000)),
                dollars(bounds.expected) / 1_000.0,
            ]
        };
        Ok(thousands
            .batches
            .iter()
            .zip(&priced.batches)
            .map(value)
            .collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a spread")]
fn number(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "a spread, not an amount")]
fn dollars(money: Money) -> f64 {
    money.picodollars() as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a margin"
)]
fn thousandths(part: f64, whole: f64) -> u64 {
    (1_000.0 * part / whole.max(1.0)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::rows::place_of;
    use crate::estimate::tokens::CharacterCounts;
    use crate::estimate::{RequestPrefix, RunHistory};

    const HEAD: &[u8] = br#"{"model":"claude-haiku-4-5","max_tokens":50,"messages":["#;

    fn estimator() -> Estimator<'static> {
        Estimator::new(
            Catalog::builtin(),
            &RequestPrefix::text("claude-haiku-4-5", HEAD),
            RunHistory::default(),
        )
        .unwrap()
    }

    /// Rows of very different lengths, in no order; a few cannot be sent.
    fn text(row: u64) -> Option<String> {
        let words = [3, 5, 9, 20, 21, 60, 400][usize::try_from(draw(99, row) % 7).unwrap()]
            + draw(98, row) % 5;
        (row % 50 != 7).then(|| {
            ["word ", "영화 "][usize::try_from(row % 2).unwrap()]
                .repeat(usize::try_from(words).unwrap())
        })
    }

    fn estimate(text: &str) -> RowEstimate {
        let model = place_of(Catalog::builtin(), "claude-haiku-4-5").unwrap();
        RowEstimate {
            characters: CharacterCounts::of(text),
            messages: 1,
            max_tokens: 50,
            model,
            ..RowEstimate::default()
        }
    }

    fn drawn(rows: u64, spec: SampleSpec) -> SampledRows {
        let mut sampler = RowSampler::new(spec);
        (0..rows).for_each(|row| sampler.note(row, text(row).map_or(0, |text| text.len() as u64)));
        assert_eq!(sampler.rows(), rows);
        sampler.finish()
    }

    fn found(drawn: &SampledRows, estimator: &Estimator<'_>) -> SampleResults {
        let mut found = SampleResults::new(&drawn.strata, estimator);
        for &(row, stratum) in &drawn.rows {
            match text(row) {
                Some(text) => found.push(stratum, &estimate(&text), text.len() as u64),
                None => found.push_unsent(stratum, "not_rendered"),
            }
        }
        found
    }

    #[test]
    fn the_same_seed_draws_the_same_rows_and_another_seed_others() {
        let draw = |seed| drawn(5_000, SampleSpec { rows: 300, seed });
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).rows, draw(2).rows);
        let rows = draw(1).rows;
        assert!(
            (290..=300).contains(&rows.len()) && rows.is_sorted(),
            "{}",
            rows.len()
        );
        assert_eq!(draw(1).strata.iter().sum::<u64>(), 5_000);
    }

    #[test]
    fn all_rows_drawn_are_all_rows() {
        let estimator = estimator();
        let found = found(&drawn(200, SampleSpec { rows: 200, seed: 1 }), &estimator);
        let whole = found.whole();
        let mut all = RowSums::default();
        (0..200)
            .filter_map(text)
            .for_each(|text| all.push(&estimate(&text)));
        assert_eq!(whole.statistics.total(), all);
        assert_eq!(
            (whole.requests, whole.unsent["not_rendered"], whole.bytes),
            (196, 4, all.characters.bytes)
        );
        let estimate = estimator
            .estimate(&whole.statistics, estimator.fit(), false)
            .unwrap();
        assert_eq!(
            found.sampling(1, &estimator, &estimate, false).unwrap().off,
            SamplingError::default()
        );
    }

    #[test]
    fn nineteen_of_twenty_samples_are_within_their_margin() {
        let estimator = estimator();
        let mut all = RowSums::default();
        (0..5_000)
            .filter_map(text)
            .for_each(|text| all.push(&estimate(&text)));
        let truth = estimator.fit().prompts(&all, estimator.shared());
        let within = (1..=100).filter(|&seed| {
            let found = found(&drawn(5_000, SampleSpec { rows: 200, seed }), &estimator);
            let whole = found.whole();
            assert_eq!(whole.requests + whole.unsent.values().sum::<u64>(), 5_000);
            let estimate = estimator
                .estimate(&whole.statistics, estimator.fit(), false)
                .unwrap();
            let sampling = found.sampling(seed, &estimator, &estimate, false).unwrap();
            assert!(
                (1..100).contains(&sampling.off.prompts) && sampling.of == 5_000,
                "{sampling:?}"
            );
            let expected = estimate.tokens.prompts.expected;
            expected.abs_diff(truth) * 1_000 <= sampling.off.prompts * expected
        });
        let within = within.count();
        assert!(within >= 90, "{within} of 100");
    }
}
