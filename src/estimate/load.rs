//! What requests weigh: counted row by row while they are rendered, added up batch by batch.
//!
//! A row's [`Weight`] is found where it is rendered, on every core. [`Gathered`] adds the weights up for each batch, as characters by
//! class and not as tokens, so that what a token is can be decided when the walk is over.

use std::collections::BTreeMap;

use super::output::{Guess, RowGuess};
use super::tokens::Tally;
use crate::catalog::Tokenizer;
use arrow::array::RecordBatch;

/// A number as a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// If everything goes well.
    pub low: u64,
    /// What to reckon with.
    pub likely: u64,
    /// If nothing goes well.
    pub high: u64,
}

impl Span {
    /// Adds another range.
    pub fn add(&mut self, other: Span) {
        self.low += other.low;
        self.likely += other.likely;
        self.high += other.high;
    }

    /// Each end through a function.
    #[must_use]
    pub fn map(self, f: impl Fn(u64) -> u64) -> Span {
        Span { low: f(self.low), likely: f(self.likely), high: f(self.high) }
    }
}

/// What one row's own part of a request weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Its text.
    pub tally: Tally,
    /// Its messages.
    pub messages: u64,
    /// Tokens of its pictures and documents.
    pub media: u64,
    /// Thousandths of tokens of its answer.
    pub output: Span,
    /// Most tokens of its answer.
    pub max_tokens: u64,
}

impl Weight {
    /// More than the tokens of it can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.tally.bytes + self.media + self.messages * super::shared::PER_MESSAGE
    }
}

/// Weighs rows. **Shape**: no state between rows, so any number of threads can share one.
#[derive(Debug)]
pub struct Weigher {
    /// What is expected of answers.
    pub guess: Guess,
    /// Most tokens of an answer, where the row has no limit of its own.
    pub max_tokens: u64,
}

impl Weigher {
    /// Prepares a batch of rows.
    #[must_use]
    pub fn rows(&self, rows: &RecordBatch) -> RowWeigher<'_> {
        RowWeigher { max_tokens: self.max_tokens, guess: self.guess.rows(rows) }
    }
}

/// Weighs the rows of one record batch.
#[derive(Debug)]
pub struct RowWeigher<'a> {
    max_tokens: u64,
    guess: RowGuess<'a>,
}

impl RowWeigher<'_> {
    /// The weight of a row by its own part of the request.
    #[must_use]
    pub fn weigh(&self, row: usize, fragment: &[u8]) -> Weight {
        let mut tally = Tally::default();
        let messages = tally.add_json(fragment);
        let max_tokens = self.max_tokens;
        let output = self.guess.of(row, &tally).map(|thousandths| thousandths.min(max_tokens.saturating_mul(1_000)));
        Weight { tally, messages, media: 0, output, max_tokens }
    }
}

/// What several rows weigh together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Rows that are sent.
    pub requests: u64,
    /// Their texts.
    pub tally: Tally,
    /// Their messages.
    pub messages: u64,
    /// Tokens of their pictures and documents.
    pub media: u64,
    /// Thousandths of tokens of their answers.
    pub output: Span,
    /// Most tokens of their answers.
    pub max_tokens: u64,
    /// What the heaviest of them weighs at most, in tokens.
    pub heaviest: u64,
}

impl Load {
    /// Adds a row.
    pub fn push(&mut self, weight: &Weight) {
        self.requests += 1;
        self.tally.add(&weight.tally);
        self.messages += weight.messages;
        self.media += weight.media;
        self.output.add(weight.output);
        self.max_tokens += weight.max_tokens;
        self.heaviest = self.heaviest.max(weight.most());
    }

    /// Adds other rows.
    pub fn merge(&mut self, other: &Load) {
        self.requests += other.requests;
        self.tally.add(&other.tally);
        self.messages += other.messages;
        self.media += other.media;
        self.output.add(other.output);
        self.max_tokens += other.max_tokens;
        self.heaviest = self.heaviest.max(other.heaviest);
    }

    /// More than the tokens of them can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.tally.bytes + self.media + self.messages * super::shared::PER_MESSAGE
    }

    /// The same for so many rows in the place of these.
    #[must_use]
    pub fn scaled(&self, requests: u64) -> Load {
        let by = |n: u64| scale(n, requests, self.requests);
        let mut tally = Tally { bytes: by(self.tally.bytes), ..Tally::default() };
        tally.chars.iter_mut().zip(self.tally.chars).for_each(|(scaled, chars)| *scaled = by(chars));
        Load {
            requests,
            tally,
            messages: by(self.messages),
            media: by(self.media),
            output: self.output.map(by),
            max_tokens: by(self.max_tokens),
            heaviest: self.heaviest,
        }
    }
}

/// `n · times / of`, to the nearest.
#[must_use]
pub fn scale(n: u64, times: u64, of: u64) -> u64 {
    let of = u128::from(of.max(1));
    u64::try_from((u128::from(n) * u128::from(times) + of / 2) / of).unwrap_or(u64::MAX)
}

/// Rows of about one size: where a long prompt has another price, those that cross the line are kept apart from those that do not.
type Size = u32;

/// What the rows of each batch weigh.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The batches in their order, each with its rows by size.
    pub pieces: Vec<BTreeMap<Size, Load>>,
    open: BTreeMap<Size, Load>,
    by_size: Option<Tokenizer>,
}

impl Gathered {
    /// Begins a walk. Rows are kept apart by size where the model has other prices for long prompts.
    #[must_use]
    pub fn new(by_size: Option<Tokenizer>) -> Gathered {
        Gathered { by_size, ..Gathered::default() }
    }

    /// Adds a row to the open batch.
    pub fn push(&mut self, weight: &Weight) {
        let size = self.by_size.map_or(0, |tokenizer| size(weight.tally.tokens(tokenizer) + weight.media));
        self.open.entry(size).or_default().push(weight);
    }

    /// Ends the open batch.
    pub fn close(&mut self) {
        self.pieces.push(std::mem::take(&mut self.open));
    }

    /// All rows together.
    #[must_use]
    pub fn total(&self) -> Load {
        let mut total = Load::default();
        self.pieces.iter().flat_map(BTreeMap::values).for_each(|load| total.merge(load));
        total
    }
}

/// A size class: eight to an octave, so that rows of one class differ by less than a tenth.
fn size(tokens: u64) -> Size {
    let tokens = tokens.max(1);
    let octave = tokens.ilog2();
    // The three bits behind the first one.
    let eighth = if octave >= 3 { (tokens >> (octave - 3)) & 7 } else { 0 };
    octave * 8 + u32::try_from(eighth).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rise_and_are_narrow() {
        let sizes: Vec<Size> = (1..200_000).step_by(17).map(size).collect();
        assert!(sizes.is_sorted());
        assert_eq!(size(100_000), size(98_305));
        assert_ne!(size(100_000), size(90_000));
        assert!((90..200).contains(&sizes.iter().collect::<std::collections::BTreeSet<_>>().len()));
    }

    #[test]
    fn scales_a_sample_up() {
        let mut load = Load::default();
        let mut tally = Tally::default();
        tally.add_text("abcdef 12");
        for _ in 0..10 {
            load.push(&Weight { tally, messages: 1, media: 2, output: Span { low: 1, likely: 5, high: 9 }, max_tokens: 50 });
        }
        let scaled = load.scaled(1_000);
        assert_eq!((scaled.requests, scaled.tally.bytes, scaled.messages, scaled.media), (1_000, 9_000, 1_000, 2_000));
        assert_eq!((scaled.output.likely, scaled.max_tokens, scaled.heaviest), (5_000, 50_000, load.heaviest));
        assert_eq!(scale(u64::MAX, 3, 3), u64::MAX);
    }
}
