//! A sample of rows for the provider to count: stratified by length and script, the same for the
//! same rows and seed.
//!
//! Each row draws a number from the seed and its place in the source; in each stratum the rows with
//! the smallest numbers are kept. So the sample is uniform within a stratum, whatever the order in
//! which rows come and however many there turn out to be. In the end each stratum gets rows by its
//! share of the tokens, and two at least: where the money is, the count is good.
//!
//! **Memory**: the requests' own parts of at most as many rows as are prefix for in each stratum,
//! and never more than 64 MiB: then the strata that hold most keep fewer.

use std::collections::{BTreeMap, BinaryHeap};

use super::fit::CountedRow;
use super::rows::{RowEstimate, RowSums};
use super::tokens::CharacterClass;

/// Most bytes of requests that are held.
const MAX_BYTES: usize = 64 << 20;
/// Rows that each stratum gets, where it has that many.
const FEWEST: usize = 2;

/// What a sample is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleSpec {
    /// Rows, about.
    pub rows: usize,
    /// What the draw depends on, besides the rows.
    pub seed: u64,
}

/// A row of the sample.
#[derive(Debug, Clone)]
pub(crate) struct SampledRow {
    /// The row's own part of its request.
    pub(crate) fragment: Vec<u8>,
    /// The sums of it alone.
    pub(crate) load: RowSums,
    /// Rows like it, itself included.
    pub(crate) stands_for: f64,
    /// The group of rows it was drawn from.
    pub(crate) stratum: usize,
}

impl SampledRow {
    /// With the tokens of its whole prompt.
    #[must_use]
    pub(crate) fn counted(&self, tokens: u64) -> CountedRow {
        CountedRow {
            load: self.load,
            tokens,
            stands_for: self.stands_for,
            stratum: self.stratum,
        }
    }
}

/// Draws a sample of rows as they arrive.
#[derive(Debug)]
pub(crate) struct CalibrationSampler {
    spec: SampleSpec,
    strata: BTreeMap<(WritingSystem, u32), Stratum>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Stratum {
    rows: u64,
    tokens: u64,
    max_rows: usize,
    bytes: usize,
    /// The largest draw on top.
    kept: BinaryHeap<Kept>,
}

#[derive(Debug)]
struct Kept {
    draw: u64,
    row: RowEstimate,
    fragment: Vec<u8>,
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        self.draw == other.draw
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Kept) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Kept) -> std::cmp::Ordering {
        self.draw.cmp(&other.draw)
    }
}

/// The kinds of scripts that strata are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum WritingSystem {
    Latin,
    Digits,
    Other,
    Wide,
}

fn writing_system(row: &RowEstimate) -> WritingSystem {
    match row.characters.main_class() {
        CharacterClass::Letter | CharacterClass::Blank | CharacterClass::Accented => {
            WritingSystem::Latin
        }
        CharacterClass::Digit
        | CharacterClass::Mark
        | CharacterClass::Symbol
        | CharacterClass::Emoji => WritingSystem::Digits,
        CharacterClass::Cyrillic | CharacterClass::Arabic | CharacterClass::Indic => {
            WritingSystem::Other
        }
        CharacterClass::Han | CharacterClass::Hangul => WritingSystem::Wide,
    }
}

impl CalibrationSampler {
    /// Begins a sample.
    #[must_use]
    pub(crate) fn new(spec: SampleSpec) -> CalibrationSampler {
        CalibrationSampler {
            spec,
            strata: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Offers a row.
    pub(crate) fn offer(&mut self, row_index: u64, row: &RowEstimate, fragment: &[u8]) {
        let tokens = row.characters.tokens(crate::catalog::Tokenizer::First) + row.media.expected;
        let stratum = self
            .strata
            .entry((writing_system(row), tokens.max(1).ilog2()))
            .or_default();
        if stratum.rows == 0 {
            stratum.max_rows = self.spec.rows.max(1);
        }
        stratum.rows += 1;
        stratum.tokens += tokens;
        let draw = draw(self.spec.seed, row_index);
        if stratum.kept.len() >= stratum.max_rows
            && stratum
                .kept
                .peek()
                .is_some_and(|largest| draw >= largest.draw)
        {
            return;
        }
        stratum.kept.push(Kept {
            draw,
            row: *row,
            fragment: fragment.to_vec(),
        });
        stratum.bytes += fragment.len();
        self.bytes += fragment.len();
        if stratum.kept.len() > stratum.max_rows {
            self.bytes -= stratum.drop_largest();
        }
        while self.bytes > MAX_BYTES && self.shrink() {}
    }

    /// Makes the stratum with the most bytes keep half of its rows; `false` where none can.
    fn shrink(&mut self) -> bool {
        let largest_stratum = self
            .strata
            .values_mut()
            .filter(|stratum| stratum.kept.len() > FEWEST)
            .max_by_key(|stratum| stratum.bytes);
        let Some(stratum) = largest_stratum else {
            return false;
        };
        stratum.max_rows = (stratum.kept.len() / 2).max(FEWEST);
        while stratum.kept.len() > stratum.max_rows {
            self.bytes -= stratum.drop_largest();
        }
        true
    }

    /// The sample: in each stratum the rows with the smallest draws.
    #[must_use]
    pub(crate) fn finish(self) -> Vec<SampledRow> {
        let sizes: Vec<(u64, usize)> = self
            .strata
            .values()
            .map(|stratum| (stratum.tokens, stratum.kept.len()))
            .collect();
        let shares = shares(self.spec.rows, &sizes);
        let mut sample = Vec::new();
        for (number, (stratum, rows)) in self.strata.into_values().zip(shares).enumerate() {
            let stands_for = as_number(stratum.rows) / as_number(rows as u64);
            for kept in stratum.kept.into_sorted_vec().into_iter().take(rows) {
                let mut load = RowSums::default();
                load.push(&kept.row);
                sample.push(SampledRow {
                    fragment: kept.fragment,
                    load,
                    stands_for,
                    stratum: number,
                });
            }
        }
        sample
    }
}

impl Stratum {
    fn drop_largest(&mut self) -> usize {
        let bytes = self.kept.pop().map_or(0, |kept| kept.fragment.len());
        self.bytes -= bytes;
        bytes
    }
}

/// Rows that each stratum gets of a sample of `rows`: [`FEWEST`] where it has them, and of the
/// others each goes where a row would stand for most. **Shape**: the size of each stratum, and the
/// rows that it has.
pub(crate) fn shares(rows: usize, strata: &[(u64, usize)]) -> Vec<usize> {
    let mut shares: Vec<usize> = strata.iter().map(|&(_, has)| has.min(FEWEST)).collect();
    for _ in shares.iter().sum()..rows {
        let open = (0..strata.len()).filter(|&at| shares[at] < strata[at].1);
        match open.max_by_key(|&at| strata[at].0 / (shares[at] as u64 + 1)) {
            Some(next) => shares[next] += 1,
            None => break,
        }
    }
    shares
}

/// The variance of a sum over the rows of a stratum, by what some of them, drawn without putting
/// back, have.
#[expect(clippy::cast_precision_loss, reason = "a variance")]
pub(crate) fn variance(population: f64, drawn: &[f64]) -> f64 {
    let n = drawn.len() as f64;
    if drawn.is_empty() || population <= n {
        return 0.0;
    }
    let mean = drawn.iter().sum::<f64>() / n;
    // One row does not show the spread in its stratum; its own size stands in for it.
    let spread = match drawn {
        [one] => one.powi(2),
        _ => {
            drawn
                .iter()
                .map(|value| (value - mean).powi(2))
                .sum::<f64>()
                / (n - 1.0)
        }
    };
    population * population * spread / n * (1.0 - n / population)
}

/// A row's number in the draw (splitmix64: every bit depends on all).
pub(crate) fn draw(seed: u64, row_index: u64) -> u64 {
    let mut z = seed.wrapping_add(
        row_index
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15),
    );
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "a weight")]
fn as_number(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::tokens::CharacterCounts;

    fn offer(sampler: &mut CalibrationSampler, row: u64, text: &str) {
        sampler.offer(
            row,
            &RowEstimate {
                characters: CharacterCounts::of(text),
                messages: 1,
                ..RowEstimate::default()
            },
            text.as_bytes(),
        );
    }

    fn text(row: u64) -> String {
        match row % 100 {
            0 => "장문 ".repeat(400),
            1..=9 => "12345 ".repeat(20),
            _ => format!("a short row {row}"),
        }
    }

    #[test]
    fn every_kind_of_row_is_in_it_and_stands_for_its_like() {
        let mut sampler = CalibrationSampler::new(SampleSpec { rows: 100, seed: 7 });
        (0..10_000).for_each(|row| offer(&mut sampler, row, &text(row)));
        let sample = sampler.finish();
        assert!((95..=100).contains(&sample.len()), "{}", sample.len());
        let stands_for: f64 = sample.iter().map(|row| row.stands_for).sum();
        assert!((stands_for - 10_000.0).abs() < 0.01, "{stands_for}");
        let hangul = sample
            .iter()
            .filter(|row| row.fragment.starts_with("장문".as_bytes()))
            .count();
        assert!(
            hangul > 30,
            "{hangul}: a hundredth of the rows, and most of the tokens"
        );
    }

    #[test]
    fn the_same_rows_in_any_order_give_the_same_sample() {
        let sample = |rows: &mut dyn Iterator<Item = u64>| {
            let mut sampler = CalibrationSampler::new(SampleSpec { rows: 20, seed: 7 });
            rows.for_each(|row| offer(&mut sampler, row, &text(row)));
            sampler
                .finish()
                .into_iter()
                .map(|row| row.fragment)
                .collect::<Vec<_>>()
        };
        let forwards = sample(&mut (0..1_000));
        assert_eq!(forwards, sample(&mut (0..1_000).rev()));
        assert!(forwards.len() <= 20);
    }

    #[test]
    fn a_table_smaller_than_the_sample_is_taken_whole() {
        let mut sampler = CalibrationSampler::new(SampleSpec { rows: 100, seed: 7 });
        (0..7).for_each(|row| offer(&mut sampler, row, &text(row)));
        let sample = sampler.finish();
        assert_eq!(sample.len(), 7);
        assert!(
            sample
                .iter()
                .all(|row| (row.stands_for - 1.0).abs() < f64::EPSILON)
        );
        assert!(
            CalibrationSampler::new(SampleSpec { rows: 5, seed: 1 })
                .finish()
                .is_empty()
        );
    }

    #[test]
    fn long_rows_do_not_fill_the_memory() {
        let mut sampler = CalibrationSampler::new(SampleSpec {
            rows: 1_000,
            seed: 7,
        });
        let long = "x".repeat(1 << 20);
        for row in 0..200 {
            offer(&mut sampler, row, &long);
            assert!(sampler.bytes <= MAX_BYTES);
        }
        let sample = sampler.finish();
        assert!((20..=64).contains(&sample.len()), "{}", sample.len());
        assert!((sample.iter().map(|row| row.stands_for).sum::<f64>() - 200.0).abs() < 0.01);
    }
}
