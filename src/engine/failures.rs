//! Rows that did not succeed, by what can be done about them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::batch::{SpoolReader, SpoolRows};
use crate::join::JoinedRow;
use crate::outcome::Status;
use crate::outcome::answer::Answers;
use crate::outcome::class::Class;
use crate::outcome::details::Wanted;

use super::batch_join::{BatchJoin, request_row};
use super::retry::{Lengths, RetryPolicy};
use super::{Error, Run, reuse};

/// Rows that did not succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// Rows that can be sent again, by class.
    pub by_class: BTreeMap<Class, u64>,
    /// Rows that were sent and whose request would fail again with the same error.
    pub for_good: u64,
    /// Rows whose answers were cut off and cannot get more room, so that sending them again cannot
    /// help.
    pub without_room: u64,
    /// Rows that were never sent.
    pub unsent: u64,
    /// The first row of the permanent failures; of all others, if there is none.
    pub first: Option<FirstFailure>,
}

/// A row that did not succeed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstFailure {
    /// Its place, counted from 0.
    pub row: u64,
    /// Its key, in words.
    pub key: String,
    /// Its status.
    pub status: Status,
    /// The kind of error, where there is one.
    pub error_type: Option<String>,
    /// The message of the error.
    pub error: Option<String>,
    #[serde(skip)]
    is_for_good: bool,
}

impl Failures {
    /// Records a row that did not succeed. `has_room` says whether a longer answer can be asked
    /// for, where the last was cut off.
    pub(super) fn push(
        &mut self,
        rows: &SpoolRows,
        row: usize,
        joined: &JoinedRow<'_>,
        has_room: bool,
    ) {
        let class = joined
            .attempts
            .last()
            .map(|attempt| Class::of(&attempt.outcome));
        match class {
            Some(Some(_)) if !has_room => self.without_room += 1,
            None => self.unsent += 1,
            Some(None) => self.for_good += 1,
            Some(Some(class)) => *self.by_class.entry(class).or_default() += 1,
        }
        let is_for_good = class == Some(None);
        if self
            .first
            .as_ref()
            .is_none_or(|first| is_for_good && !first.is_for_good)
        {
            self.first = Some(FirstFailure {
                row: rows.row_index.value(row),
                key: rows.key.value(row).to_owned(),
                status: joined.status,
                error_type: joined.error_type().map(str::to_owned),
                error: joined.error().map(str::to_owned),
                is_for_good,
            });
        }
    }

    /// The failures of a run whose results are all here; `policy` says how much longer an answer
    /// may get.
    ///
    /// # Errors
    /// [`Error::Batch`] and [`Error::Join`] when the run's files cannot be read.
    pub fn of_run(run: &Run, policy: &RetryPolicy) -> Result<Failures, Error> {
        let lengths = Lengths::of(run, policy);
        let answer = Answers::compile(&run.options().answer)?;
        let mut failures = Failures::default();
        for number in 1..=run.planned_batches() {
            let planned = BatchJoin {
                run,
                number,
                answer: answer.as_ref(),
                wanted: Wanted::default(),
            };
            let mut joiner = planned.joiner()?;
            for rows in SpoolReader::open_without_fragments(&run.spool_path(planned.number))? {
                let rows = rows?;
                for row in 0..rows.len() {
                    let request = request_row(&rows, row);
                    if request.unsent.is_some_and(reuse::is_answered_elsewhere) {
                        continue;
                    }
                    let joined = joiner.row(request)?;
                    if joined.status != Status::Succeeded {
                        failures.push(&rows, row, &joined, lengths.has_room(&joined));
                    }
                }
            }
        }
        Ok(failures)
    }
}
