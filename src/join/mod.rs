//! Rows × outcomes → joined rows: exactly one for each input row, in input order.
//!
//! ```text
//!  result lines of an attempt, in any order      ResultIndex: where each id's line stands
//!   {"custom_id":"b",…}  ───────────────▶  a → -      b → 0,312    c → 312,290
//!   {"custom_id":"c",…}                         ▲
//!                                               │ one read for each row
//!  the batch's rows, in input order   a  b  c ──┴──▶ Joiner::row ──▶ JoinedRow, JoinedRow, …
//! ```
//!
//! In come a batch's rows in order and, for each attempt that sent some of them, a [`ResultIndex`]
//! over its result lines. Out comes one [`JoinedRow`] a row, with its status and its answer.
//!
//! Promises: rows in = rows out; a line is joined by its custom_id and the id is compared again
//! when the line is read, so two rows are never mixed up; a row without a line is there, as
//! missing; foreign, repeated, torn and unreadable lines are counted and never taken for an answer,
//! and none of them stops the join. Memory: 32 bytes for each id of a batch and one result line of
//! at most 64 MiB.
//!
//! **Which attempt counts.** The last one whose answer succeeded (and fits the schema), else the
//! last one that sent the row. The columns show that attempt; the tokens of all attempts are
//! billed, and [`Totals`] adds them all up.
//!
//! **What a row cost** is the sum over its attempts, and unknown where it is unknown of one of them
//! (no line arrived, or its usage cannot be read). The sums of the bill hold what is known of such
//! a row, so that they are the sums over batches; the bill counts the unknown requests.
//!
//! This room knows no wire format: how to read a line is handed in.

mod index;
mod limit;
mod lines;
mod totals;

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use serde_json::Value;

pub use index::{BuiltIndex, IndexBuilder, LineCounts, LinePlace, MAX_LINE_BYTES, ResultIndex};
pub use limit::{ResultsExcess, ResultsLimit};
pub use totals::{Totals, UsageKey};

use crate::catalog::Catalog;
use crate::cost::{self, Money};
use crate::outcome::answer::Answers;
use crate::outcome::{Outcome, Status};

/// Why results cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The results cannot be read to their end.
    #[error("cannot read the results after line {lines}")]
    Read {
        /// Lines read before.
        lines: u64,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The scratch file cannot be written or read.
    #[error("cannot use the scratch file for result lines")]
    Scratch(#[source] io::Error),
    /// An id is expected twice, so its line would belong to two rows.
    #[error("requests {} and {} of the batch have the same custom_id", .first + 1, .second + 1)]
    RepeatedId {
        /// Where it comes first among the ids expected, from 0.
        first: u64,
        /// Where it comes again.
        second: u64,
    },
    /// The line found for an id names another one.
    #[error("the result line found for the custom_id `{expected}` names `{found}`")]
    WrongLine {
        /// The id that was looked for.
        expected: String,
        /// The id in the line.
        found: String,
    },
}

/// What the spool says of a row's request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestRow<'r> {
    /// The request's id; `None` for a row that never became a request.
    pub custom_id: Option<&'r str>,
    /// Hash of the request.
    pub request_hash: Option<&'r str>,
    /// Why the row was not sent, as `word: sentence`; `None` if it was.
    pub unsent: Option<&'r str>,
    /// The row's label, where the job gives it one.
    pub tag: Option<&'r str>,
}

/// The result lines of one attempt at a planned batch.
#[derive(Debug)]
pub struct AttemptResults {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The provider's id of the batch.
    pub batch_id: Arc<str>,
    /// The lines, by id. It expects the ids that the attempt sent.
    pub index: ResultIndex,
}

/// What was returned for a row in one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The provider's id of the batch.
    pub batch_id: Arc<str>,
    /// What was returned; [`Status::Invalid`] where the answer does not become columns,
    /// [`Status::Missing`] where no line arrived.
    pub outcome: Outcome,
}

/// A row with its result.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedRow<'r> {
    /// The request.
    pub request: RequestRow<'r>,
    /// The id under which an earlier run sent the request, where its answer was taken over.
    pub sent_as: Option<String>,
    /// The result of the row.
    pub status: Status,
    /// Every attempt that sent the row, the first one first.
    pub attempts: Vec<Attempt>,
    /// Which of the attempts counts; `None` if there was none.
    pub chosen: Option<usize>,
    /// The answer as values, if the row succeeded and answers become columns.
    pub answer: Option<Value>,
    /// What all attempts cost, in 10⁻¹² US dollars: nothing if there was none; `None` where it is
    /// unknown of one of them.
    pub cost_pico_usd: Option<i64>,
}

impl JoinedRow<'_> {
    /// The attempt that counts.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempts.get(self.chosen?)
    }

    /// The outcome that counts.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.attempt().map(|attempt| &attempt.outcome)
    }

    /// What went wrong, in the provider's words or ours.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self.outcome() {
            Some(outcome) => outcome.error.as_deref(),
            None => Some(self.unsent().1),
        }
    }

    /// The kind of what went wrong: the provider's, or for a row that was not sent ours.
    #[must_use]
    pub fn error_type(&self) -> Option<&str> {
        match self.outcome() {
            Some(outcome) => outcome.error_type.as_deref(),
            None => Some(self.unsent().0),
        }
    }

    /// Why the row was not sent: a word and a sentence, which the spool keeps as `word: sentence`.
    fn unsent(&self) -> (&str, &str) {
        self.request
            .unsent
            .map_or(("not_sent", "its batch was not sent"), |text| {
                text.split_once(": ").unwrap_or(("not_sent", text))
            })
    }
}

/// Joins the rows of one planned batch, one after the other.
///
/// `parse` reads a result line: its custom_id, and the outcome as far as the line alone shows it.
#[derive(Debug)]
pub struct Joiner<'a, P> {
    attempts: Vec<AttemptResults>,
    answer: Option<&'a Answers>,
    prices: Option<&'a Catalog>,
    parse: P,
    line: Vec<u8>,
    totals: Totals,
}

impl<'a, P, E> Joiner<'a, P>
where
    P: for<'l> Fn(&'l [u8]) -> Result<(Cow<'l, str>, Outcome), E>,
    E: Display,
{
    /// A joiner for a planned batch: its attempts (in any order), and how answers become columns if
    /// they do.
    pub fn new(
        mut attempts: Vec<AttemptResults>,
        answer: Option<&'a Answers>,
        parse: P,
    ) -> Joiner<'a, P> {
        attempts.sort_by_key(|results| results.attempt);
        Joiner {
            attempts,
            answer,
            prices: None,
            parse,
            line: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Has what each row cost worked out by these prices.
    #[must_use]
    pub fn priced_by(self, prices: &'a Catalog) -> Joiner<'a, P> {
        Joiner {
            prices: Some(prices),
            ..self
        }
    }

    /// Joins the next row.
    ///
    /// # Errors
    /// [`Error::Scratch`] and [`Error::WrongLine`]. A line that cannot be read is no error: the row
    /// is missing, with the reason.
    pub fn row<'r>(&mut self, request: RequestRow<'r>) -> Result<JoinedRow<'r>, Error> {
        let mut attempts = self.outcomes(request)?;
        let mut answers = self.check(&mut attempts);
        let succeeded = attempts
            .iter()
            .rposition(|attempt| attempt.outcome.status == Status::Succeeded);
        let chosen = succeeded.or(attempts.len().checked_sub(1));
        let status = chosen.map_or(Status::Unsent, |chosen| attempts[chosen].outcome.status);
        let answer = succeeded.and_then(|chosen| answers.get_mut(chosen)?.take());
        let cost_pico_usd = self
            .bill(status, request.tag, &attempts)
            .map(Money::picodollars);
        let row = JoinedRow {
            request,
            sent_as: None,
            status,
            attempts,
            chosen,
            answer,
            cost_pico_usd,
        };
        self.totals.add(&row);
        Ok(row)
    }

    /// Puts all attempts at a row on the bill, and gives what they cost; `None` where that is
    /// unknown of one of them.
    fn bill(&mut self, status: Status, tag: Option<&str>, attempts: &[Attempt]) -> Option<Money> {
        let prices = self.prices?;
        let bill = &mut self.totals.bill;
        let (mut known, mut is_whole) = (Money::ZERO, true);
        for Attempt {
            batch_id, outcome, ..
        } in attempts
        {
            let cost = cost::of_outcome(prices, outcome);
            match &outcome.usage {
                // Steps by other models have shares of their own.
                Some(usage) if !usage.iterations.is_empty() && cost.is_ok() => {
                    for (model, cost) in cost::by_model(prices, outcome).unwrap_or_default() {
                        bill.add(batch_id, Some(model), &Ok(cost));
                    }
                }
                _ => bill.add(batch_id, outcome.model.as_deref(), &cost),
            }
            bill.cache.add(prices, outcome);
            match cost {
                Ok(cost) => known += cost.total(),
                Err(_) => is_whole = false,
            }
        }
        bill.add_row(status, tag, known);
        is_whole.then_some(known)
    }

    /// The sums over the rows joined so far.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    fn outcomes(&mut self, request: RequestRow<'_>) -> Result<Vec<Attempt>, Error> {
        let mut attempts = Vec::with_capacity(1);
        let Some(custom_id) = request.custom_id.filter(|_| request.unsent.is_none()) else {
            return Ok(attempts);
        };
        for results in &self.attempts {
            let Some(places) = results.index.find(custom_id) else {
                continue;
            };
            let outcome = best_outcome(
                &results.index,
                places,
                custom_id,
                &self.parse,
                &mut self.line,
            )?;
            // The row's own count: it need not have been in every round.
            let attempt = u32::try_from(attempts.len() + 1).unwrap_or(u32::MAX);
            attempts.push(Attempt {
                attempt,
                batch_id: results.batch_id.clone(),
                outcome,
            });
        }
        Ok(attempts)
    }

    /// Reads the answers, where they become columns; gives back what they say, one entry an
    /// attempt.
    fn check(&self, attempts: &mut [Attempt]) -> Vec<Option<Value>> {
        let Some(answers) = self.answer else {
            return Vec::new();
        };
        attempts
            .iter_mut()
            .map(|attempt| answers.check(&mut attempt.outcome))
            .collect()
    }
}

/// The outcome of the first line that succeeded, else of the first line; missing if there is none.
fn best_outcome<P, E>(
    index: &ResultIndex,
    places: impl Iterator<Item = LinePlace>,
    custom_id: &str,
    parse: &P,
    line: &mut Vec<u8>,
) -> Result<Outcome, Error>
where
    P: for<'l> Fn(&'l [u8]) -> Result<(Cow<'l, str>, Outcome), E>,
    E: Display,
{
    let mut first = None;
    for place in places {
        index.read(place, line)?;
        let outcome = match parse(line) {
            _ if place.too_long().is_some() => missing(too_long(place)),
            Ok((found, outcome)) if found == custom_id => outcome,
            Ok((found, _)) => {
                return Err(Error::WrongLine {
                    expected: custom_id.to_owned(),
                    found: found.into_owned(),
                });
            }
            Err(e) => missing(format!("its result line cannot be read: {e}")),
        };
        if outcome.status == Status::Succeeded {
            return Ok(outcome);
        }
        first.get_or_insert(outcome);
    }
    Ok(first.unwrap_or_else(|| missing("the batch ended without a result line for it".to_owned())))
}

fn too_long(place: LinePlace) -> String {
    let bytes = place.too_long().unwrap_or_default();
    format!(
        "its result line has {bytes} bytes, and at most {MAX_LINE_BYTES} are read; it is kept in \
         the results as received"
    )
}

fn missing(error: String) -> Outcome {
    Outcome {
        error: Some(error),
        ..Outcome::new(Status::Missing)
    }
}

#[cfg(test)]
mod tests;
