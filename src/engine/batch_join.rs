//! One planned batch: its rows, beside the results of every batch that sent them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::batch::SpoolRows;
use crate::join::{AttemptResults, Joiner, RequestRow};
use crate::outcome::Outcome;
use crate::outcome::answer::Answers;
use crate::outcome::details::Wanted;
use crate::provider::{BatchFormat, LineError};

use super::{Error, Run, results_file};

/// What reads a result line.
pub(crate) type Parse = Box<dyn for<'l> Fn(&'l [u8]) -> Result<(Cow<'l, str>, Outcome), LineError>>;

/// Reads result lines, with the details that are wanted.
pub(crate) fn parser(format: &'static dyn BatchFormat, wanted: Wanted) -> Parse {
    Box::new(move |line| {
        format
            .result(line, wanted)
            .map(|line| (line.custom_id, line.outcome))
    })
}

/// One planned batch of the run, to be joined with everything that was returned for its rows.
pub(crate) struct BatchJoin<'a> {
    pub(crate) run: &'a Run,
    /// Its number.
    pub(crate) number: u32,
    pub(crate) answer: Option<&'a Answers>,
    /// What the output needs of each result line beside what every output does.
    pub(crate) wanted: Wanted,
}

impl<'a> BatchJoin<'a> {
    /// A joiner over everything that was returned for its rows.
    pub(crate) fn joiner(&self) -> Result<Joiner<'a, Parse>, Error> {
        let wanted = self
            .answer
            .map_or(self.wanted, |answer| answer.wanted().or(self.wanted));
        Ok(Joiner::new(
            self.attempts()?,
            self.answer,
            parser(self.run.format(), wanted),
        )
        .priced_by(self.run.catalog()))
    }

    /// The results of every batch that sent some of its rows.
    fn attempts(&self) -> Result<Vec<AttemptResults>, Error> {
        let mut attempts = Vec::new();
        for sent in self.run.results_of(self.number) {
            let ids = self.run.ids_of(sent.batch)?;
            let index =
                results_file::read_index(self.run, &ids, &sent.file, sent.file_hash.as_deref())?;
            attempts.push(AttemptResults {
                attempt: sent.attempt,
                batch_id: Arc::from(sent.id.0.as_str()),
                index,
            });
        }
        Ok(attempts)
    }
}

pub(crate) fn request_row(rows: &SpoolRows, row: usize) -> RequestRow<'_> {
    use arrow::array::Array as _;
    let text = |column: &'_ arrow::array::StringArray| column.is_valid(row).then_some(row);
    RequestRow {
        custom_id: text(&rows.custom_id).map(|row| rows.custom_id.value(row)),
        request_hash: text(&rows.request_hash).map(|row| rows.request_hash.value(row)),
        unsent: text(&rows.unsent).map(|row| rows.unsent.value(row)),
        tag: text(&rows.tag).map(|row| rows.tag.value(row)),
    }
}
