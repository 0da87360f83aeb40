//! What the prompts of a run really had, by its own results: it takes the place of what the worst
//! case assumes of them.
//!
//! Before anything is known, the worst case of a prompt is a token for every byte. Every result
//! says how many tokens its prompt had, so that after the first batch more is known:
//!
//! * **The shared part** is no longer than the shortest prompt that was billed, since every prompt
//!   has it. That is a bound.
//! * **The rows' own text** has at most [`MARGIN`] as many tokens, compared with the estimate by
//!   its characters, as the batch with the most had, once a batch of [`MEASURED_FROM`] requests was
//!   measured. That is a measurement with a margin, and no bound.
//!
//! Pictures, documents, answers as long as `max_tokens` and cache misses stay as they were.

use super::rows::RowEstimate;
use super::scale;
use super::shared::Shared;
use super::tokens::costs;
use crate::catalog::Tokenizer;
use crate::outcome::Usage;

/// Requests of a batch from which on the tokens of its rows' own text say something about others.
/// **Source**: a choice: the sum of twenty texts of a kind rarely differs from that of twenty
/// others by as much as [`MARGIN`] allows.
const MEASURED_FROM: u64 = 20;
/// How much more tokens than measured the text of other rows may have, in thousandths. **Source**:
/// a choice, more than estimates by character class are off from one table to another.
const MARGIN: u64 = 1_500;
/// Requests after which no more are measured: more would change little, and cost time.
const ENOUGH: u64 = 5_000;

/// The prompts of one batch, by its results.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BatchPrompts {
    requests: u64,
    /// Tokens of the shortest of them.
    shortest: Option<u64>,
    /// Tokens of all of them without what was written to or read from a cache.
    not_cached: u64,
    /// Tokens of all of them.
    all: u64,
    /// Thousandths of tokens of the rows' own text, as estimated by its characters.
    text: u64,
}

impl BatchPrompts {
    /// Adds a request by its usage; one without readable usage says nothing.
    pub(crate) fn add(&mut self, row: &RowEstimate, usage: &Usage, tokenizer: Tokenizer) {
        let (false, Some(plain)) = (usage.unreadable, usage.input_tokens) else {
            return;
        };
        let cached = [
            usage.cache_creation_5m_input_tokens,
            usage.cache_creation_1h_input_tokens,
            usage.cache_read_input_tokens,
        ];
        let prompt = plain + cached.into_iter().flatten().sum::<u64>();
        if prompt == 0 {
            return;
        }
        self.requests += 1;
        self.shortest = Some(self.shortest.map_or(prompt, |least| least.min(prompt)));
        self.not_cached += plain;
        self.all += prompt;
        self.text += row.characters.thousandths(&costs(tokenizer));
    }
}

/// What the prompts of a run showed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MeasuredPrompts {
    requests: u64,
    shortest: Option<u64>,
    /// The most tokens of a row's own text, in thousandths of the estimate: over everything in the
    /// prompt, and over what was not cached.
    of_all: Option<u64>,
    of_not_cached: Option<u64>,
}

impl MeasuredPrompts {
    /// Adds the prompts of a batch.
    pub(crate) fn add(&mut self, batch: &BatchPrompts) {
        self.requests += batch.requests;
        self.shortest = self.shortest.into_iter().chain(batch.shortest).min();
        if batch.requests < MEASURED_FROM || batch.text == 0 {
            return;
        }
        let ratio = |tokens: u64| scale(tokens, 1_000_000, batch.text);
        self.of_all = self.of_all.max(Some(ratio(batch.all)));
        self.of_not_cached = self.of_not_cached.max(Some(ratio(batch.not_cached)));
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Whether more batches need not be measured.
    pub(crate) fn is_enough(&self) -> bool {
        self.requests >= ENOUGH
    }

    /// The most tokens that the shared part has.
    pub(super) fn shared(&self, shared: &Shared) -> u64 {
        self.shortest.map_or(shared.worst_case, |shortest| {
            shortest.min(shared.worst_case)
        })
    }

    /// The most tokens that text of the rows has, of this many thousandths by its characters and of
    /// this many bytes.
    pub(super) fn text(&self, shared: &Shared, thousandths: u64, bytes: u64) -> u64 {
        // A mark behind the row's own text: what is cached holds that text, too.
        let ratio = match shared.each_writes {
            Some(_) => self.of_all,
            None => self.of_not_cached,
        };
        ratio.map_or(bytes, |ratio| {
            let measured = scale(thousandths, ratio, 1_000).div_ceil(1_000);
            scale(measured, MARGIN, 1_000).min(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::tokens::CharacterCounts;

    /// A batch of requests with a text of 1,000 letters each, and what a fifth of them costs.
    fn batch(requests: u64, plain: u64, cached: u64) -> BatchPrompts {
        let row = RowEstimate {
            characters: CharacterCounts::of(&"a".repeat(1_000)),
            ..RowEstimate::default()
        };
        let usage = Usage {
            input_tokens: Some(plain),
            cache_read_input_tokens: Some(cached),
            ..Usage::default()
        };
        let mut batch = BatchPrompts::default();
        (0..requests).for_each(|_| batch.add(&row, &usage, Tokenizer::First));
        batch
    }

    fn measured(batches: &[BatchPrompts]) -> MeasuredPrompts {
        let mut measured = MeasuredPrompts::default();
        batches.iter().for_each(|batch| measured.add(batch));
        measured
    }

    fn shared() -> Shared {
        Shared {
            worst_case: 9_000,
            ..Shared::default()
        }
    }

    #[test]
    fn one_request_bounds_the_shared_part_and_says_nothing_of_the_rows() {
        let measured = measured(&[batch(1, 300, 2_000)]);
        assert_eq!(measured.shared(&shared()), 2_300);
        assert_eq!(measured.text(&shared(), 306_000, 1_000), 1_000);
    }

    #[test]
    fn a_batch_bounds_the_text_of_the_rows_by_the_most_that_was_measured() {
        let measured = measured(&[batch(20, 340, 2_000), batch(30, 306, 2_000)]);
        assert_eq!(measured.shared(&shared()), 2_306);
        // 340 of the 306 tokens by characters, and half as much again.
        assert_eq!(measured.text(&shared(), 306_000, 1_000), 510);
        assert_eq!(
            measured.text(&shared(), 306_000, 400),
            400,
            "a token a byte"
        );
        // What each row writes to the cache is its own text.
        let writes = Shared {
            each_writes: Some(crate::template::prompt::CacheTtl::OneHour),
            ..shared()
        };
        assert_eq!(measured.text(&writes, 306_000, 100_000), 3_510);
    }

    #[test]
    fn what_is_not_measured_stays_a_token_a_byte() {
        let mut nothing = BatchPrompts::default();
        let unreadable = Usage {
            input_tokens: Some(7),
            unreadable: true,
            ..Usage::default()
        };
        nothing.add(&RowEstimate::default(), &unreadable, Tokenizer::First);
        nothing.add(&RowEstimate::default(), &Usage::default(), Tokenizer::First);
        let measured = measured(&[nothing]);
        assert!(measured.is_empty());
        assert_eq!(measured.shared(&shared()), 9_000);
        assert_eq!(measured.text(&shared(), 5, 1_000), 1_000);
    }
}
