//! A row's estimate as bytes, for the spool: a later estimate of the same rows need not read their
//! requests again.
//!
//! ```text
//!  byte 0        1 ...                                                            end
//!  version (1)   20 varints: characters by class (12), bytes, messages,           the model's id,
//!                media expected, media worst case, output low, expected, high,    empty: the job's own
//!                max_tokens
//! ```
//!
//! A varint holds seven bits a byte, the lowest first; all bytes but the last have the highest bit
//! set. It is kept by characters and not as tokens, because what a character costs may be known
//! only once the spool is written, from a sample that the provider counts. Bytes of another version
//! are as good as none.

use super::Span;
use super::estimator::Estimator;
use super::media::Media;
use super::rows::{RowEstimate, place_of};
use super::tokens::{CLASSES, CharacterCounts};

const VERSION: u8 = 1;
/// Numbers beside the counts of characters.
const OTHERS: usize = 8;
/// Bytes of the longest varint.
const LONGEST: u32 = 64;

/// Numbers of an estimate.
const NUMBERS: usize = CLASSES + OTHERS;
/// Where the numbers behind the counts of characters stand.
const OUTPUT_LOW: usize = CLASSES + 4;
const OUTPUT_EXPECTED: usize = CLASSES + 5;
const OUTPUT_HIGH: usize = CLASSES + 6;
const MAX_TOKENS: usize = CLASSES + 7;

/// The estimate of a row as stored in the spool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpooledEstimate<'a> {
    numbers: [u64; NUMBERS],
    /// The row's model by its id; empty where it is the job's own.
    model: &'a str,
}

impl<'a> SpooledEstimate<'a> {
    /// Reads the bytes of a row; `None` where they are of another version.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<SpooledEstimate<'a>> {
        let (&version, mut rest) = bytes.split_first()?;
        if version != VERSION {
            return None;
        }
        let mut numbers = [0; NUMBERS];
        for n in &mut numbers {
            *n = take_varint(&mut rest)?;
        }
        let model = std::str::from_utf8(rest).ok()?;
        Some(SpooledEstimate { numbers, model })
    }

    /// The model that the row chose, by its id.
    pub(crate) fn model(&self) -> Option<&'a str> {
        Some(self.model).filter(|model| !model.is_empty())
    }

    /// The limit of its answer.
    pub(crate) fn max_tokens(&self) -> u64 {
        self.numbers[MAX_TOKENS]
    }

    /// The same row with a higher limit, because its answer was cut off at this one: the next
    /// answer is longer than the limit was, and may be as long as the new one.
    pub(crate) fn with_more_tokens(mut self, max_tokens: u64, out: &mut Vec<u8>) {
        let cut_off_at = self.max_tokens().min(max_tokens) * 1_000;
        self.numbers[OUTPUT_LOW] = cut_off_at;
        self.numbers[OUTPUT_EXPECTED] = cut_off_at;
        self.numbers[OUTPUT_HIGH] = max_tokens * 1_000;
        self.numbers[MAX_TOKENS] = max_tokens;
        self.write(out);
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.numbers.iter().for_each(|n| push_varint(*n, out));
        out.extend_from_slice(self.model.as_bytes());
    }
}

impl Estimator<'_> {
    /// Appends a row's estimate to `out`.
    pub(crate) fn encode(&self, row: &RowEstimate, out: &mut Vec<u8>) {
        let Media {
            expected,
            worst_case,
        } = row.media;
        let others: [u64; OTHERS] = [
            row.characters.bytes,
            row.messages,
            expected,
            worst_case,
            row.output.low,
            row.output.expected,
            row.output.high,
            row.max_tokens,
        ];
        let mut numbers = [0; NUMBERS];
        numbers[..CLASSES].copy_from_slice(&row.characters.chars);
        numbers[CLASSES..].copy_from_slice(&others);
        // By its id: the index of a model changes with the catalog.
        let model = match self.catalog.models.keys().nth(row.model) {
            Some(id) if row.model != self.place => id,
            _ => "",
        };
        SpooledEstimate { numbers, model }.write(out);
    }

    /// Reads what [`Estimator::encode`] wrote; `None` where it is of another version, or its model
    /// is no longer in the catalog.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<RowEstimate> {
        let spooled = SpooledEstimate::parse(bytes)?;
        let (counts, others) = spooled.numbers.split_at(CLASSES);
        let mut chars = [0; CLASSES];
        chars.copy_from_slice(counts);
        let &[
            bytes,
            messages,
            expected,
            worst_case,
            low,
            output,
            high,
            max_tokens,
        ] = others
        else {
            return None;
        };
        Some(RowEstimate {
            characters: CharacterCounts { chars, bytes },
            messages,
            media: Media {
                expected,
                worst_case,
            },
            model: match spooled.model() {
                None => self.place,
                Some(id) => place_of(self.catalog, id)?,
            },
            output: Span {
                low,
                expected: output,
                high,
            },
            max_tokens,
        })
    }
}

fn push_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seven bits are left")]
    out.push(n as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut n, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift >= LONGEST {
            return None;
        }
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::{RequestPrefix, RunHistory};

    fn estimator() -> Estimator<'static> {
        let prefix = RequestPrefix::text("claude-haiku-4-5", br#"{"messages":["#);
        Estimator::new(Catalog::builtin(), &prefix, RunHistory::default()).unwrap()
    }

    fn row(model: usize, n: &[u64]) -> RowEstimate {
        RowEstimate {
            characters: CharacterCounts {
                chars: std::array::from_fn(|class| n[class]),
                bytes: n[12],
            },
            messages: n[13],
            media: Media {
                expected: n[14],
                worst_case: n[15],
            },
            model,
            output: Span {
                low: n[16],
                expected: n[17],
                high: n[18],
            },
            max_tokens: n[19],
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(
            n in prop::collection::vec(prop_oneof![0u64..300, any::<u64>()], 20),
            model in 0usize..Catalog::builtin().models.len(),
        ) {
            let (estimator, row, mut bytes) = (estimator(), row(model, &n), Vec::new());
            estimator.encode(&row, &mut bytes);
            prop_assert_eq!(estimator.decode(&bytes), Some(row));
        }

        #[test]
        fn other_bytes_are_as_good_as_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = estimator().decode(&bytes);
            prop_assert!(read.is_none() || bytes[0] == VERSION);
        }
    }

    #[test]
    fn a_short_row_takes_few_bytes() {
        let (estimator, mut bytes) = (estimator(), Vec::new());
        let row = row(estimator.place, &[100; 20]);
        estimator.encode(&row, &mut bytes);
        assert_eq!(bytes.len(), 21);
        assert_eq!(estimator.decode(&bytes[..20]), None, "cut off");
        bytes[0] = VERSION + 1;
        assert_eq!(estimator.decode(&bytes), None, "a later version");
        bytes[0] = VERSION;
        bytes.extend_from_slice(b"a-model-of-tomorrow");
        assert_eq!(estimator.decode(&bytes), None, "an unknown model");
    }

    #[test]
    fn a_row_that_was_cut_off_is_expected_to_pass_its_old_limit() {
        let (estimator, mut bytes, mut longer) = (estimator(), Vec::new(), Vec::new());
        estimator.encode(&row(estimator.place, &[100; 20]), &mut bytes);
        let spooled = SpooledEstimate::parse(&bytes).unwrap();
        assert_eq!((spooled.max_tokens(), spooled.model()), (100, None));
        spooled.with_more_tokens(250, &mut longer);
        let read = estimator.decode(&longer).unwrap();
        let output = Span {
            low: 100_000,
            expected: 100_000,
            high: 250_000,
        };
        assert_eq!((read.output, read.max_tokens), (output, 250));
        assert_eq!(read.characters, row(0, &[100; 20]).characters);
    }
}
