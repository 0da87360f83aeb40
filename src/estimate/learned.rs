//! The history of a job: what its runs showed, in a small file beside them, read by the next plan.
//!
//! ```text
//!  .rowmill/<job>/learned.json             by model: how characters became tokens, how long answers were, how often the cache was read
//!  .rowmill/<job>/learned.simulated.json   the same of simulated runs, which say nothing of real ones
//! ```
//!
//! No run depends on it: a file that is missing, broken, of another job or of a newer version is
//! ignored, with a warning. It grows with the models and the values of one column,
//! not with the rows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fit::{Fit, FitBasis};
use super::lengths::AnswerLengths;
use super::{Estimate, RunHistory, scale};

/// Version of the file. An older or newer one is not used.
pub(crate) const FORMAT: u32 = 1;
/// How far the tokens of a later run may be off, in thousandths: its rows are not the same. Twice
/// that where its prompt is not either.
const OFF: u64 = 30;
/// The same where a bill was so far from what was expected that the fit follows it only in part.
const OFF_FOLLOWING: u64 = 350;
/// A fit follows one bill by at most this factor, up or down: what is farther off is something else
/// than letters.
const MOST_FACTOR: u64 = 5;
/// Runs whose names are kept. Results are available for 29 days, and nothing is exported again
/// after that.
const MOST_RUNS: usize = 1_000;
/// A bill is used for the cost of characters where at least one token in this many comes from text.
const TEXT_ONE_IN: u64 = 5;

/// What a job learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Learned {
    /// Version of the file.
    pub(crate) format: u32,
    /// The job's name.
    pub(crate) job: String,
    /// Whether the runs were simulated.
    pub(crate) simulated: bool,
    /// When a run last added to it.
    pub(crate) updated_at: Timestamp,
    /// What is known, by model.
    pub(crate) models: BTreeMap<String, ModelHistory>,
}

/// What is known of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelHistory {
    /// Runs it comes from.
    pub(crate) runs: u64,
    /// The last of them.
    pub(crate) last_run: String,
    /// Those before, the latest first, so that one that is exported again, after a retry for
    /// instance, is not counted twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier_runs: Vec<String>,
    /// Answered rows it comes from.
    pub(crate) rows: u64,
    /// What the requests were made from, hashed: prompts, schema and parameters.
    pub(crate) shape: String,
    /// How characters became tokens, by the last bill that showed it: none where pictures and
    /// documents made nearly all of every bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fit: Option<Fit>,
    /// How long answers were.
    pub(crate) lengths: AnswerLengths,
    /// Share of requests that read the cache in the last run that had something to read, in
    /// thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reads: Option<u64>,
}

/// What one run showed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunStatistics {
    /// The model.
    pub(crate) model: String,
    /// As [`ModelHistory::shape`].
    pub(crate) shape: String,
    /// Answered rows.
    pub(crate) rows: u64,
    /// Tokens of their prompts, as billed.
    pub(crate) prompts: u64,
    /// Tokens of them that were read from the cache.
    pub(crate) read: u64,
    /// Tokens of them that were written to it.
    pub(crate) written: u64,
    /// How long their answers were.
    pub(crate) lengths: AnswerLengths,
}

/// Why the history is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not the file it should be.
    #[error("it cannot be read")]
    Damaged(#[source] serde_json::Error),
    /// Written by another version.
    #[error("it has the format {0}, and this version reads {FORMAT}")]
    Version(u32),
    /// It belongs elsewhere.
    #[error("it is not of this job")]
    Foreign,
}

/// The version, which decides whether the rest can be read.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Learned {
    /// Nothing yet.
    #[must_use]
    pub(crate) fn new(job: &str, simulated: bool, now: Timestamp) -> Learned {
        Learned {
            format: FORMAT,
            job: job.to_owned(),
            simulated,
            updated_at: now,
            models: BTreeMap::new(),
        }
    }

    /// The name of the file, beside the runs of the job.
    #[must_use]
    pub(crate) fn file_name(simulated: bool) -> &'static str {
        if simulated {
            "learned.simulated.json"
        } else {
            "learned.json"
        }
    }

    /// Reads what a job learned.
    ///
    /// # Errors
    /// [`Error`]: as good as no file.
    pub(crate) fn parse(text: &[u8], job: &str, simulated: bool) -> Result<Learned, Error> {
        let Version { format } = serde_json::from_slice(text).map_err(Error::Damaged)?;
        if format != FORMAT {
            return Err(Error::Version(format));
        }
        let mut learned: Learned = serde_json::from_slice(text).map_err(Error::Damaged)?;
        learned
            .models
            .values_mut()
            .for_each(|model| model.fit = model.fit.take().filter(Fit::is_usable));
        if learned.job != job || learned.simulated != simulated {
            return Err(Error::Foreign);
        }
        Ok(learned)
    }

    /// What is known for a plan with this model and these requests.
    #[must_use]
    pub(crate) fn known(&self, model: &str, shape: &str) -> RunHistory {
        let Some(known) = self.models.get(model) else {
            return RunHistory::default();
        };
        let stale = known.shape != shape;
        let off = |fit: &Fit| if stale { 2 * fit.off } else { fit.off };
        let fit = known.fit.as_ref();
        RunHistory {
            fit: fit.map(|fit| Fit {
                basis: FitBasis::Learned { rows: known.rows },
                off: off(fit),
                ..fit.clone()
            }),
            lengths: Some((known.lengths.clone(), stale)),
            // Another prompt is another prefix.
            reads: known
                .reads
                .filter(|_| !stale)
                .map(|share| (share, known.rows)),
        }
    }

    /// Records what a run showed, beside what was expected of it; `false` where it was recorded
    /// before, or shows nothing.
    pub(crate) fn record(
        &mut self,
        run: &str,
        statistics: &RunStatistics,
        estimate: &Estimate,
        now: Timestamp,
    ) -> bool {
        let is_known = |known: &ModelHistory| {
            known.last_run == run || known.earlier_runs.iter().any(|earlier| earlier == run)
        };
        let repeated = self.models.get(&statistics.model).is_some_and(is_known);
        if repeated || statistics.rows == 0 || estimate.requests == 0 {
            return false;
        }
        self.updated_at = now;
        let fit = fit_of(statistics, estimate);
        let cached = estimate.cache.tokens() > 0 && statistics.read + statistics.written > 0;
        let reads =
            cached.then(|| scale(1_000, statistics.read, statistics.read + statistics.written));
        match self.models.get_mut(&statistics.model) {
            None => {
                let RunStatistics {
                    model,
                    shape,
                    rows,
                    lengths,
                    ..
                } = statistics.clone();
                let (last_run, earlier_runs) = (run.to_owned(), Vec::new());
                self.models.insert(
                    model,
                    ModelHistory {
                        runs: 1,
                        last_run,
                        earlier_runs,
                        rows,
                        shape,
                        fit,
                        lengths,
                        reads,
                    },
                );
            }
            Some(known) => known.add(run, statistics, fit, reads),
        }
        true
    }
}

impl ModelHistory {
    /// Adds a later run, with the fit and the share of cache reads that it showed.
    fn add(&mut self, run: &str, statistics: &RunStatistics, fit: Option<Fit>, reads: Option<u64>) {
        self.runs += 1;
        let before = std::mem::replace(&mut self.last_run, run.to_owned());
        self.earlier_runs.insert(0, before);
        self.earlier_runs.truncate(MOST_RUNS);
        if self.shape == statistics.shape {
            self.rows += statistics.rows;
            self.lengths.merge(&statistics.lengths);
        } else {
            // Answers to another prompt do not predict those to this one.
            self.shape.clone_from(&statistics.shape);
            self.rows = statistics.rows;
            self.lengths.clone_from(&statistics.lengths);
        }
        self.fit = fit.or_else(|| self.fit.take());
        self.reads = reads.or(self.reads);
    }
}

/// The cost of characters by a bill: none where too little of it comes from text.
fn fit_of(statistics: &RunStatistics, estimate: &Estimate) -> Option<Fit> {
    // Not every request was answered: what was expected of those that were.
    let expected = scale(
        estimate.tokens.prompts.expected,
        statistics.rows,
        estimate.requests,
    );
    let fixed = scale(estimate.tokens.fixed, statistics.rows, estimate.requests);
    let text = expected
        .checked_sub(fixed)
        .filter(|text| *text > 0 && text.saturating_mul(TEXT_ONE_IN) >= expected)?;
    let billed = statistics
        .prompts
        .checked_sub(fixed)
        .filter(|billed| *billed > 0)?;
    let followed = billed.clamp(text.div_ceil(MOST_FACTOR), text.saturating_mul(MOST_FACTOR));
    let off = if followed == billed {
        OFF
    } else {
        OFF_FOLLOWING
    };
    Some(Fit {
        off,
        ..estimate.fit.corrected(followed, text)
    })
    .filter(Fit::is_usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::media::Media;
    use crate::estimate::rows::RowEstimate;
    use crate::estimate::tokens::CharacterCounts;
    use crate::estimate::{Estimator, LengthRecorder, RequestPrefix, Span};

    const MODEL: &str = "claude-haiku-4-5-20251001";

    fn estimate(known: RunHistory, rows: u64) -> Estimate {
        estimate_of(known, rows, Media::default())
    }

    fn estimate_of(known: RunHistory, rows: u64, media: Media) -> Estimate {
        let head = br#"{"system":"Sort the message.","messages":["#;
        let prefix = RequestPrefix::text(MODEL, head.as_ref());
        let estimator = Estimator::new(Catalog::builtin(), &prefix, known).unwrap();
        let mut statistics = estimator.statistics();
        let model = crate::estimate::rows::place_of(Catalog::builtin(), MODEL).unwrap();
        let characters = CharacterCounts::of("The parcel came late, and the box was open.");
        let output = Span {
            low: 1_000,
            expected: 9_000,
            high: 20_000,
        };
        (0..rows).for_each(|_| {
            statistics.push(&RowEstimate {
                characters,
                messages: 1,
                media,
                output,
                max_tokens: 100,
                model,
            })
        });
        statistics.close();
        estimator
            .estimate(&statistics, estimator.fit(), false)
            .unwrap()
    }

    fn statistics(rows: u64, prompts: u64, shape: &str) -> RunStatistics {
        let mut recorder = LengthRecorder::new(&arrow::datatypes::Schema::empty());
        let empty = arrow::array::RecordBatch::new_empty(std::sync::Arc::new(
            arrow::datatypes::Schema::empty(),
        ));
        let mut recording = recorder.rows(&empty);
        (0..rows).for_each(|_| recording.push(0, 10, 33));
        drop(recording);
        let (shape, lengths) = (shape.to_owned(), recorder.finish());
        RunStatistics {
            model: MODEL.to_owned(),
            shape,
            rows,
            prompts,
            read: 0,
            written: 0,
            lengths,
        }
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn the_second_estimate_is_what_the_first_bill_was() {
        let first = estimate(RunHistory::default(), 100);
        let bill = first.tokens.prompts.expected * 137 / 100;
        let mut learned = Learned::new("a", false, now());
        learned.record("run 1", &statistics(100, bill, "s"), &first, now());
        let second = estimate(learned.known(MODEL, "s"), 100);
        assert!(
            second.tokens.prompts.expected.abs_diff(bill) * 100 < bill,
            "{} {bill}",
            second.tokens.prompts.expected
        );
        assert_eq!(second.fit.basis, FitBasis::Learned { rows: 100 });
        // The same bill again changes nothing.
        learned.record(
            "run 2",
            &statistics(100, second.tokens.prompts.expected, "s"),
            &second,
            now(),
        );
        let third = estimate(learned.known(MODEL, "s"), 100);
        assert_eq!(
            third.tokens.prompts.expected,
            second.tokens.prompts.expected
        );
        assert_eq!(
            (learned.models[MODEL].runs, learned.models[MODEL].rows),
            (2, 200)
        );
    }

    #[test]
    fn rows_that_were_not_answered_teach_nothing() {
        let first = estimate(RunHistory::default(), 100);
        let mut learned = Learned::new("a", false, now());
        learned.record(
            "run 3",
            &statistics(50, first.tokens.prompts.expected / 2, "s"),
            &first,
            now(),
        );
        let second = estimate(learned.known(MODEL, "s"), 100);
        assert!(
            second
                .tokens
                .prompts
                .expected
                .abs_diff(first.tokens.prompts.expected)
                * 200
                < first.tokens.prompts.expected
        );
        assert!(!learned.record("run 4", &statistics(0, 0, "s"), &first, now()));
        assert!(
            !learned.record("run 3", &statistics(50, 9_999, "s"), &first, now()),
            "a repeated export"
        );
        assert_eq!(learned.models[MODEL].runs, 1);
    }

    #[test]
    fn a_run_that_is_exported_again_after_others_is_taken_in_once() {
        let first = estimate(RunHistory::default(), 100);
        let mut learned = Learned::new("a", false, now());
        for (run, is_new) in [
            ("1", true),
            ("2", true),
            ("1", false),
            ("3", true),
            ("2", false),
            ("1", false),
            ("3", false),
        ] {
            assert_eq!(
                learned.record(run, &statistics(100, 5_000, "s"), &first, now()),
                is_new,
                "run {run}"
            );
        }
        assert_eq!(
            (learned.models[MODEL].runs, learned.models[MODEL].rows),
            (3, 300)
        );
        let older = serde_json::to_string(&learned)
            .unwrap()
            .replace(r#","earlier_runs":["2","1"]"#, "");
        assert!(!older.contains("earlier_runs"));
        assert_eq!(
            Learned::parse(older.as_bytes(), "a", false).unwrap().models[MODEL].runs,
            3
        );
    }

    #[test]
    fn a_changed_prompt_keeps_the_tokens_and_doubts_the_answers() {
        let first = estimate(RunHistory::default(), 100);
        let mut learned = Learned::new("a", false, now());
        learned.record(
            "run 5",
            &RunStatistics {
                read: 900,
                written: 100,
                ..statistics(100, 5_000, "s")
            },
            &first,
            now(),
        );
        let known = learned.known(MODEL, "another");
        assert!(known.fit.is_some() && known.reads.is_none());
        assert!(known.lengths.is_some_and(|(_, stale)| stale));
        assert_eq!(
            learned.known("claude-sonnet-5-5", "s"),
            RunHistory::default()
        );
    }

    #[test]
    fn a_bill_of_pictures_teaches_nothing_of_letters() {
        let media = Media {
            expected: 1_500,
            worst_case: 1_568,
        };
        let first = estimate_of(RunHistory::default(), 100, media);
        let mut learned = Learned::new("a", false, now());
        // Less than the pictures alone were expected to cost, then far more.
        learned.record("run 1", &statistics(100, 90_000, "s"), &first, now());
        learned.record("run 2", &statistics(100, 900_000, "s"), &first, now());
        assert_eq!(learned.models[MODEL].runs, 2);
        let known = learned.known(MODEL, "s");
        assert!(known.fit.is_none() && known.lengths.is_some());
        assert_eq!(
            estimate_of(known, 100, media).fit,
            first.fit,
            "nor does the margin become narrow"
        );
        // What text taught before is kept.
        learned.record(
            "run 3",
            &statistics(100, 2_500, "s"),
            &estimate(RunHistory::default(), 100),
            now(),
        );
        let taught = learned.models[MODEL].fit.clone();
        assert!(taught.is_some());
        learned.record("run 4", &statistics(100, 90_000, "s"), &first, now());
        assert_eq!(learned.models[MODEL].fit, taught);
    }

    #[test]
    fn a_bill_far_off_is_followed_in_part_and_not_trusted() {
        let first = estimate(RunHistory::default(), 100);
        let text = first.tokens.prompts.expected - first.tokens.fixed;
        for (bill, factor) in [
            (first.tokens.fixed + 40 * text, 5_000),
            (first.tokens.fixed + text / 40, 200),
        ] {
            let mut learned = Learned::new("a", false, now());
            learned.record("run 1", &statistics(100, bill, "s"), &first, now());
            let fit = learned.known(MODEL, "s").fit.unwrap();
            assert!(
                fit.shared.abs_diff(factor) <= 1 && fit.off == OFF_FOLLOWING,
                "{fit:?}"
            );
        }
    }

    #[test]
    fn a_fit_of_nothing_is_not_read() {
        let mut learned = Learned::new("a", false, now());
        learned.record(
            "run 1",
            &statistics(100, 5_000, "s"),
            &estimate(RunHistory::default(), 100),
            now(),
        );
        let written = |fit: Fit| {
            let mut learned = learned.clone();
            learned.models.get_mut(MODEL).unwrap().fit = Some(fit);
            serde_json::to_vec(&learned).unwrap()
        };
        let fit = learned.models[MODEL].fit.clone().unwrap();
        for (fit, is_read) in [
            (fit.clone(), true),
            (
                Fit {
                    costs: [0; 12],
                    ..fit.clone()
                },
                false,
            ),
            (Fit { shared: 0, ..fit }, false),
        ] {
            let read = Learned::parse(&written(fit), "a", false).unwrap();
            assert_eq!(read.known(MODEL, "s").fit.is_some(), is_read);
        }
    }

    #[test]
    fn reads_back_what_it_wrote_and_nothing_foreign() {
        let mut learned = Learned::new("a", false, now());
        learned.record(
            "run 6",
            &statistics(100, 5_000, "s"),
            &estimate(RunHistory::default(), 100),
            now(),
        );
        let text = serde_json::to_string_pretty(&learned).unwrap();
        assert_eq!(
            Learned::parse(text.as_bytes(), "a", false).unwrap(),
            learned
        );
        assert!(matches!(
            Learned::parse(text.as_bytes(), "b", false),
            Err(Error::Foreign)
        ));
        assert!(matches!(
            Learned::parse(text.as_bytes(), "a", true),
            Err(Error::Foreign)
        ));
        let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
        assert!(matches!(
            Learned::parse(newer.as_bytes(), "a", false),
            Err(Error::Version(2))
        ));
        for broken in [
            "",
            "{}",
            "[]",
            &text[..text.len() / 2],
            &text.replacen("\"runs\"", "\"walks\"", 1),
        ] {
            assert!(
                matches!(
                    Learned::parse(broken.as_bytes(), "a", false),
                    Err(Error::Damaged(_))
                ),
                "{broken:.40}"
            );
        }
    }

    #[test]
    fn reads_a_file_of_an_earlier_version() {
        let text = br#"{"format":1,"job":"a","simulated":false,"updated_at":"2026-11-20T10:00:00Z",
            "models":{"claude-haiku-4-5-20251001":{"runs":2,"last_run":"a-2","earlier_runs":["a-1"],"rows":200,"shape":"s",
            "fit":{"basis":{"from":"constants"},"costs":[306,500,150,800,600,450,550,700,1000,1000,1000,2000],
                "per_row":-12,"shared":1010,"off":30},
            "lengths":{"all":{"rows":200,"tokens":6600,"squares":217800,"shortest":33,"longest":33,"by_octave":{"5":200}},
                "by_value":{"column":"lang","values":{"en":{"rows":200,"tokens":6600,"squares":217800,"shortest":33,
                    "longest":33,"by_octave":{"5":200}}}}},
            "reads":640}}}"#;
        let history = Learned::parse(text, "a", false).unwrap().known(MODEL, "s");
        let fit = history.fit.unwrap();
        assert_eq!((fit.per_row, fit.shared, fit.off), (-12, 1_010, 30));
        let (lengths, is_stale) = history.lengths.unwrap();
        assert_eq!(
            (lengths.all.mean(), lengths.by_value.unwrap().column),
            (33_000, "lang".to_owned())
        );
        assert_eq!((is_stale, history.reads), (false, Some((640, 200))));
    }
}
