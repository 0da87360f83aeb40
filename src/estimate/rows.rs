//! What requests weigh: counted row by row while they are rendered, added up batch by batch.
//!
//! A row's [`RowEstimate`] is found where it is rendered, on every core. [`BatchStatistics`] adds
//! the weights up for each batch, as characters by class and not as tokens, so that what a token is
//! can be decided when the walk is over.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::media::Media;
use super::output::{Guess, RowGuess};
use super::tokens::CharacterCounts;
use crate::catalog::{Catalog, Model, Tokenizer};
use crate::media::MediaFacts;

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
        Span {
            low: f(self.low),
            likely: f(self.likely),
            high: f(self.high),
        }
    }
}

/// What one row's own part of a request weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowEstimate {
    /// Its text.
    pub tally: CharacterCounts,
    /// Its messages.
    pub messages: u64,
    /// Its pictures and documents.
    pub media: Media,
    /// Its model, by its place in the catalog.
    pub model: usize,
    /// Thousandths of tokens of its answer.
    pub output: Span,
    /// Most tokens of its answer.
    pub max_tokens: u64,
}

impl RowEstimate {
    /// More than the tokens of it can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.tally.bytes + self.media.most + self.messages * super::shared::PER_MESSAGE
    }
}

/// Weighs rows. **Shape**: no state between rows, so any number of threads can share one.
#[derive(Debug)]
pub struct RowEstimator<'c> {
    /// Models that rows may choose.
    pub catalog: &'c Catalog,
    /// What is expected of answers.
    pub guess: Guess,
}

impl RowEstimator<'_> {
    /// Prepares a batch of rows.
    #[must_use]
    pub fn rows(&self, rows: &RecordBatch) -> BatchRowEstimator<'_> {
        BatchRowEstimator {
            catalog: self.catalog,
            guess: self.guess.rows(rows),
            last: None,
        }
    }
}

/// Weighs the rows of one record batch.
#[derive(Debug)]
pub struct BatchRowEstimator<'a> {
    catalog: &'a Catalog,
    guess: RowGuess<'a>,
    /// The model of the last row: most rows have the same.
    last: Option<(String, usize, &'a Model)>,
}

impl BatchRowEstimator<'_> {
    /// The weight of a row by its own part of the request, its pictures and documents, and its
    /// choices.
    #[must_use]
    pub fn weigh(
        &mut self,
        row: usize,
        fragment: &[u8],
        facts: &MediaFacts,
        model: &str,
        max_tokens: u32,
    ) -> RowEstimate {
        let mut tally = CharacterCounts::default();
        let messages = tally.add_json(fragment);
        let max_tokens = u64::from(max_tokens);
        let output = self.guess.of(row, &tally, max_tokens);
        let (place, found) = self.model(model);
        let media = if facts.is_empty() {
            Media::default()
        } else {
            found.map_or_else(Media::default, |model| Media::of(facts, model))
        };
        RowEstimate {
            tally,
            messages,
            media,
            model: place,
            output,
            max_tokens,
        }
    }

    fn model(&mut self, id: &str) -> (usize, Option<&Model>) {
        if self.last.as_ref().is_none_or(|(last, ..)| last != id) {
            let place = place_of(self.catalog, id);
            self.last = place.and_then(|place| {
                Some((
                    id.to_owned(),
                    place,
                    self.catalog.models.values().nth(place)?,
                ))
            });
        }
        self.last
            .as_ref()
            .map_or((usize::MAX, None), |(_, place, model)| {
                (*place, Some(*model))
            })
    }
}

/// A model's place in the catalog.
#[must_use]
pub fn place_of(catalog: &Catalog, model: &str) -> Option<usize> {
    let (id, _) = catalog.model(model)?;
    catalog.models.keys().position(|known| known == id)
}

/// What several rows weigh together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Rows that are sent.
    pub requests: u64,
    /// Their texts.
    pub tally: CharacterCounts,
    /// Their messages.
    pub messages: u64,
    /// Their pictures and documents.
    pub media: Media,
    /// Thousandths of tokens of their answers.
    pub output: Span,
    /// Most tokens of their answers.
    pub max_tokens: u64,
    /// What the heaviest of them weighs at most, in tokens.
    pub heaviest: u64,
}

impl Load {
    /// Adds a row.
    pub fn push(&mut self, weight: &RowEstimate) {
        self.requests += 1;
        self.tally.add(&weight.tally);
        self.messages += weight.messages;
        self.add_media(weight.media);
        self.output.add(weight.output);
        self.max_tokens += weight.max_tokens;
        self.heaviest = self.heaviest.max(weight.most());
    }

    fn add_media(&mut self, media: Media) {
        self.media.likely += media.likely;
        self.media.most = self.media.most.saturating_add(media.most);
    }

    /// Adds other rows.
    pub fn merge(&mut self, other: &Load) {
        self.requests += other.requests;
        self.tally.add(&other.tally);
        self.messages += other.messages;
        self.add_media(other.media);
        self.output.add(other.output);
        self.max_tokens += other.max_tokens;
        self.heaviest = self.heaviest.max(other.heaviest);
    }

    /// More than the tokens of them can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.tally.bytes + self.media.most + self.messages * super::shared::PER_MESSAGE
    }

    /// Tokens of them that do not come from text: what messages cost beside it, pictures and
    /// documents.
    #[must_use]
    pub fn fixed(&self) -> u64 {
        self.messages * super::shared::PER_MESSAGE + self.media.likely
    }

    /// The same for so many rows in the place of these.
    #[must_use]
    pub fn scaled(&self, requests: u64) -> Load {
        let by = |n: u64| scale(n, requests, self.requests);
        let mut tally = CharacterCounts {
            bytes: by(self.tally.bytes),
            ..CharacterCounts::default()
        };
        tally
            .chars
            .iter_mut()
            .zip(self.tally.chars)
            .for_each(|(scaled, chars)| *scaled = by(chars));
        Load {
            requests,
            tally,
            messages: by(self.messages),
            media: Media {
                likely: by(self.media.likely),
                most: by(self.media.most),
            },
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

/// Rows of one model and about one size: where a long prompt has another price, those that cross
/// the line are kept apart from those that do not.
pub type Group = (usize, u32);

/// What the rows of each batch weigh.
#[derive(Debug, Clone, Default)]
pub struct BatchStatistics {
    /// The batches in their order, each with its rows by model and size.
    pub pieces: Vec<BTreeMap<Group, Load>>,
    open: BTreeMap<Group, Load>,
    by_size: Option<Tokenizer>,
}

impl BatchStatistics {
    /// Begins a walk. Rows are kept apart by size where the model has other prices for long
    /// prompts.
    #[must_use]
    pub fn new(by_size: Option<Tokenizer>) -> BatchStatistics {
        BatchStatistics {
            by_size,
            ..BatchStatistics::default()
        }
    }

    /// Adds a row to the open batch.
    pub fn push(&mut self, weight: &RowEstimate) {
        let size = self.by_size.map_or(0, |tokenizer| {
            size(weight.tally.tokens(tokenizer) + weight.media.likely)
        });
        self.open
            .entry((weight.model, size))
            .or_default()
            .push(weight);
    }

    /// Ends the open batch.
    pub fn close(&mut self) {
        self.pieces.push(std::mem::take(&mut self.open));
    }

    /// All rows together.
    #[must_use]
    pub fn total(&self) -> Load {
        let mut total = Load::default();
        self.pieces
            .iter()
            .flat_map(BTreeMap::values)
            .for_each(|load| total.merge(load));
        total
    }
}

/// A size class: eight to an octave, so that rows of one class differ by less than a tenth.
pub(super) fn size(tokens: u64) -> u32 {
    let tokens = tokens.max(1);
    let octave = tokens.ilog2();
    // The three bits behind the first one.
    let eighth = if octave >= 3 {
        (tokens >> (octave - 3)) & 7
    } else {
        0
    };
    octave * 8 + u32::try_from(eighth).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rise_and_are_narrow() {
        let sizes: Vec<u32> = (1..200_000).step_by(17).map(size).collect();
        assert!(sizes.is_sorted());
        assert_eq!(size(100_000), size(98_305));
        assert_ne!(size(100_000), size(90_000));
        assert!(
            (90..200).contains(
                &sizes
                    .iter()
                    .collect::<std::collections::BTreeSet<_>>()
                    .len()
            )
        );
    }

    #[test]
    fn scales_a_sample_up() {
        let mut load = Load::default();
        let mut tally = CharacterCounts::default();
        tally.add_text("abcdef 12");
        for _ in 0..10 {
            let media = Media { likely: 2, most: 3 };
            load.push(&RowEstimate {
                tally,
                messages: 1,
                media,
                output: Span {
                    low: 1,
                    likely: 5,
                    high: 9,
                },
                max_tokens: 50,
                model: 0,
            });
        }
        let scaled = load.scaled(1_000);
        assert_eq!(
            (
                scaled.requests,
                scaled.tally.bytes,
                scaled.messages,
                scaled.media.most
            ),
            (1_000, 9_000, 1_000, 3_000)
        );
        assert_eq!(
            (scaled.output.likely, scaled.max_tokens, scaled.heaviest),
            (5_000, 50_000, load.heaviest)
        );
        assert_eq!(scale(u64::MAX, 3, 3), u64::MAX);
    }
}
