//! Estimates of single rows, made while they are rendered, and their sums batch by batch.
//!
//! A row's [`RowEstimate`] is made where it is rendered, on every core. [`BatchStatistics`] adds
//! them up for each batch, as characters by class and not as tokens: how many tokens a character
//! costs may be known only after the last row, when the provider has counted a sample.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::media::Media;
use super::output::{BatchOutputEstimator, OutputEstimator};
use super::shared::PER_MESSAGE;
use super::tokens::CharacterCounts;
use super::{Span, scale};
use crate::catalog::{Catalog, Model, Tokenizer};
use crate::media::MediaFacts;

/// The size of one row's own part of its request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowEstimate {
    /// The characters of its text.
    pub(crate) characters: CharacterCounts,
    /// Its messages.
    pub(crate) messages: u64,
    /// Its pictures and documents.
    pub(crate) media: Media,
    /// Its model, by its index in the catalog; `usize::MAX` where it is not in it.
    pub(crate) model: usize,
    /// Thousandths of tokens of its answer.
    pub(crate) output: Span,
    /// Most tokens of its answer.
    pub(crate) max_tokens: u64,
}

impl RowEstimate {
    /// Upper bound of its tokens.
    #[must_use]
    pub(crate) fn worst_case(&self) -> u64 {
        self.characters.bytes + self.media.worst_case + self.messages * PER_MESSAGE
    }
}

/// Estimates rows. **Shape**: no state between rows, so any number of threads can share one.
#[derive(Debug)]
pub(crate) struct RowEstimator<'c> {
    /// Models that rows may choose.
    pub(crate) catalog: &'c Catalog,
    /// What is expected of answers.
    pub(crate) output_estimator: OutputEstimator,
}

impl RowEstimator<'_> {
    /// Prepares a batch of rows.
    #[must_use]
    pub(crate) fn rows(&self, rows: &RecordBatch) -> BatchRowEstimator<'_> {
        BatchRowEstimator {
            catalog: self.catalog,
            output_estimator: self.output_estimator.rows(rows),
            last: None,
        }
    }
}

/// Estimates the rows of one record batch.
#[derive(Debug)]
pub(crate) struct BatchRowEstimator<'a> {
    catalog: &'a Catalog,
    output_estimator: BatchOutputEstimator<'a>,
    /// The model of the last row: most rows have the same.
    last: Option<(String, usize, &'a Model)>,
}

impl BatchRowEstimator<'_> {
    /// The estimate of a row by its own part of the request, its pictures and documents, and the
    /// model and limit it is sent with.
    #[must_use]
    pub(crate) fn estimate(
        &mut self,
        row: usize,
        fragment: &[u8],
        facts: &MediaFacts,
        model: &str,
        max_tokens: u32,
    ) -> RowEstimate {
        let mut characters = CharacterCounts::default();
        let messages = characters.add_json(fragment);
        let max_tokens = u64::from(max_tokens);
        let output = self.output_estimator.of(row, &characters, max_tokens);
        let (place, found) = self.model(model);
        let media = if facts.is_empty() {
            Media::default()
        } else {
            found.map_or_else(Media::default, |model| Media::of(facts, model))
        };
        RowEstimate {
            characters,
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
pub(crate) fn place_of(catalog: &Catalog, model: &str) -> Option<usize> {
    let (id, _) = catalog.model(model)?;
    catalog.models.keys().position(|known| known == id)
}

/// Sums over several rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowSums {
    /// Rows that are sent.
    pub(crate) requests: u64,
    /// The characters of their texts.
    pub(crate) characters: CharacterCounts,
    /// Their messages.
    pub(crate) messages: u64,
    /// Their pictures and documents.
    pub(crate) media: Media,
    /// Thousandths of tokens of their answers.
    pub(crate) output: Span,
    /// Most tokens of their answers.
    pub(crate) max_tokens: u64,
    /// Upper bound of the tokens of the largest of them.
    pub(crate) largest: u64,
}

impl RowSums {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: &RowEstimate) {
        self.requests += 1;
        self.characters.add(&row.characters);
        self.messages += row.messages;
        self.add_media(row.media);
        self.output.add(row.output);
        self.max_tokens += row.max_tokens;
        self.largest = self.largest.max(row.worst_case());
    }

    fn add_media(&mut self, media: Media) {
        self.media.expected += media.expected;
        self.media.worst_case = self.media.worst_case.saturating_add(media.worst_case);
    }

    /// Adds other rows.
    pub(crate) fn merge(&mut self, other: &RowSums) {
        self.requests += other.requests;
        self.characters.add(&other.characters);
        self.messages += other.messages;
        self.add_media(other.media);
        self.output.add(other.output);
        self.max_tokens += other.max_tokens;
        self.largest = self.largest.max(other.largest);
    }

    /// Upper bound of their tokens.
    #[must_use]
    pub(crate) fn worst_case(&self) -> u64 {
        self.characters.bytes + self.media.worst_case + self.messages * PER_MESSAGE
    }

    /// Tokens of them that do not come from text: what messages cost beside it, pictures and
    /// documents.
    #[must_use]
    pub(crate) fn fixed(&self) -> u64 {
        self.messages * PER_MESSAGE + self.media.expected
    }

    /// The same sums for another number of rows.
    #[must_use]
    pub(crate) fn scaled(&self, requests: u64) -> RowSums {
        let by = |n: u64| scale(n, requests, self.requests);
        let mut characters = CharacterCounts {
            bytes: by(self.characters.bytes),
            ..CharacterCounts::default()
        };
        characters
            .chars
            .iter_mut()
            .zip(self.characters.chars)
            .for_each(|(scaled, chars)| *scaled = by(chars));
        RowSums {
            requests,
            characters,
            messages: by(self.messages),
            media: Media {
                expected: by(self.media.expected),
                worst_case: by(self.media.worst_case),
            },
            output: self.output.map(by),
            max_tokens: by(self.max_tokens),
            largest: self.largest,
        }
    }
}

/// Rows of one model and about one size: where a long prompt has another price, those that cross
/// the line are kept apart from those that do not.
pub(crate) type ModelAndSize = (usize, u32);

/// The sums of the rows of each batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchStatistics {
    /// The batches in their order, each with its rows by model and size.
    pub(crate) batches: Vec<BTreeMap<ModelAndSize, RowSums>>,
    open: BTreeMap<ModelAndSize, RowSums>,
    by_size: Option<Tokenizer>,
}

impl BatchStatistics {
    /// Empty statistics. Rows are kept apart by size where the model has other prices for long
    /// prompts.
    #[must_use]
    pub(crate) fn new(by_size: Option<Tokenizer>) -> BatchStatistics {
        BatchStatistics {
            by_size,
            ..BatchStatistics::default()
        }
    }

    /// Adds a row to the open batch.
    pub(crate) fn push(&mut self, row: &RowEstimate) {
        let size = self.by_size.map_or(0, |tokenizer| {
            size(row.characters.tokens(tokenizer) + row.media.expected)
        });
        self.open.entry((row.model, size)).or_default().push(row);
    }

    /// Ends the open batch.
    pub(crate) fn close(&mut self) {
        self.batches.push(std::mem::take(&mut self.open));
    }

    /// All rows together.
    #[must_use]
    pub(crate) fn total(&self) -> RowSums {
        let mut total = RowSums::default();
        self.batches
            .iter()
            .flat_map(BTreeMap::values)
            .for_each(|sums| total.merge(sums));
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
        let mut sums = RowSums::default();
        let mut characters = CharacterCounts::default();
        characters.add_text("abcdef 12");
        for _ in 0..10 {
            let media = Media {
                expected: 2,
                worst_case: 3,
            };
            sums.push(&RowEstimate {
                characters,
                messages: 1,
                media,
                output: Span {
                    low: 1,
                    expected: 5,
                    high: 9,
                },
                max_tokens: 50,
                model: 0,
            });
        }
        let scaled = sums.scaled(1_000);
        assert_eq!(
            (
                scaled.requests,
                scaled.characters.bytes,
                scaled.messages,
                scaled.media.worst_case
            ),
            (1_000, 9_000, 1_000, 3_000)
        );
        assert_eq!(
            (scaled.output.expected, scaled.max_tokens, scaled.largest),
            (5_000, 50_000, sums.largest)
        );
        assert_eq!(scale(u64::MAX, 3, 3), u64::MAX);
    }
}
