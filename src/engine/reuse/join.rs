//! Rows that take an answer which exists → joined rows: an answer of an earlier output, or that of
//! an identical request of the same run.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answers::{AnswerReader, ReusedAnswer};
use super::{AnswerPlace, SharedAnswer};
use crate::engine::{Error, Run};
use crate::join::{Attempt, JoinedRow, RequestRow};
use crate::outcome::answer::Answers;
use crate::outcome::{Outcome, Status};
use crate::request::custom_id::key_part;

/// Joins rows that take an answer which exists.
pub(crate) struct ExistingAnswers<'a> {
    answer: Option<&'a Answers>,
    reader: Option<AnswerReader>,
    shared: SharedAnswers,
}

impl<'a> ExistingAnswers<'a> {
    /// Opens what the rows of a run take answers from.
    ///
    /// # Errors
    /// [`Error::EarlierOutputAltered`], [`Error::Source`], [`Error::Batch`].
    pub(crate) fn open(
        run: &Run,
        answer: Option<&'a Answers>,
    ) -> Result<ExistingAnswers<'a>, Error> {
        Ok(ExistingAnswers {
            answer,
            reader: run
                .reuse()
                .map(|plan| AnswerReader::open(run, plan))
                .transpose()?,
            shared: SharedAnswers::of(run)?,
        })
    }

    /// The joined row, where a row takes an answer that exists; `None` where it has a request of
    /// its own, or none at all.
    ///
    /// # Errors
    /// As [`AnswerReader::answer`]; [`Error::Join`] where the scratch file cannot be read.
    pub(crate) fn row<'r>(
        &mut self,
        request: RequestRow<'r>,
    ) -> Result<Option<JoinedRow<'r>>, Error> {
        let Some(reason) = request.unsent else {
            return Ok(None);
        };
        if let Some(SharedAnswer(first)) = SharedAnswer::parse(reason) {
            return self.share(request, first).map(Some);
        }
        match (AnswerPlace::parse(reason), &mut self.reader) {
            (Some(place), Some(reader)) => {
                let reused = reader.answer(place)?;
                self.reuse(request, reused).map(Some)
            }
            (Some(_), None) => Err(Error::Bug(
                "a row takes an answer of an earlier output, and the plan names none".to_owned(),
            )),
            (None, _) => Ok(None),
        }
    }

    /// Keeps the answer of a row that later ones share.
    ///
    /// # Errors
    /// [`Error::Join`] where the scratch file cannot be written.
    pub(crate) fn keep(&mut self, row_index: u64, joined: &JoinedRow<'_>) -> Result<(), Error> {
        self.shared.keep(row_index, joined)
    }

    fn reuse<'r>(
        &self,
        request: RequestRow<'r>,
        reused: ReusedAnswer,
    ) -> Result<JoinedRow<'r>, Error> {
        if request.request_hash != Some(reused.request_hash.as_str()) {
            return Err(Error::Bug(
                "an earlier output has the answer to another request".to_owned(),
            ));
        }
        let key = |id: &str| key_part(id).to_owned();
        let is_own = request.custom_id.map(key) == Some(key(&reused.custom_id));
        let mut outcome = reused.outcome;
        if !is_own {
            // The row that paid for it has its cost; this one has cost nothing.
            outcome.usage = None;
        }
        let attempt = Attempt {
            attempt: reused.attempt,
            batch_id: reused.batch_id.into(),
            outcome,
        };
        let cost = if is_own {
            reused.cost_pico_usd
        } else {
            Some(0)
        };
        Ok(JoinedRow {
            sent_as: is_own.then_some(reused.custom_id),
            ..self.joined(request, attempt, cost)
        })
    }

    fn share<'r>(&mut self, request: RequestRow<'r>, first: u64) -> Result<JoinedRow<'r>, Error> {
        let Some(kept) = self.shared.get(first)? else {
            return Ok(JoinedRow {
                request: RequestRow {
                    unsent: None,
                    ..request
                },
                sent_as: None,
                status: Status::Unsent,
                attempts: Vec::new(),
                chosen: None,
                answer: None,
                cost_pico_usd: Some(0),
            });
        };
        let attempt = Attempt {
            attempt: kept.attempt,
            batch_id: kept.batch_id,
            outcome: Outcome {
                usage: None,
                ..kept.outcome
            },
        };
        Ok(self.joined(request, attempt, Some(0)))
    }

    fn joined<'r>(
        &self,
        request: RequestRow<'r>,
        mut attempt: Attempt,
        cost_pico_usd: Option<i64>,
    ) -> JoinedRow<'r> {
        let answer = self
            .answer
            .and_then(|answers| answers.check(&mut attempt.outcome));
        JoinedRow {
            request: RequestRow {
                unsent: None,
                ..request
            },
            sent_as: None,
            status: attempt.outcome.status,
            attempts: vec![attempt],
            chosen: Some(0),
            answer,
            cost_pico_usd,
        }
    }
}

/// The answers that later rows share, in a temporary file.
#[derive(Default)]
struct SharedAnswers {
    /// The rows whose answers are shared.
    wanted: HashSet<u64>,
    /// Where the answer of each is in the file, and its length.
    places: HashMap<u64, (u64, u32)>,
    file: Option<BufWriter<File>>,
    end: u64,
}

/// An answer in the file.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    attempt: u32,
    batch_id: Arc<str>,
    outcome: Outcome,
}

impl SharedAnswers {
    fn of(run: &Run) -> Result<SharedAnswers, Error> {
        let mut wanted = HashSet::new();
        if run.job().request.dedupe {
            for batch in 1..=run.planned_batches() {
                for reasons in crate::batch::no_request_reasons(&run.spool_path(batch))? {
                    let reasons = reasons?;
                    let shared = reasons.iter().flatten().filter_map(SharedAnswer::parse);
                    wanted.extend(shared.map(|SharedAnswer(first)| first));
                }
            }
        }
        Ok(SharedAnswers {
            wanted,
            ..SharedAnswers::default()
        })
    }

    fn keep(&mut self, row_index: u64, joined: &JoinedRow<'_>) -> Result<(), Error> {
        let Some(attempt) = joined
            .attempt()
            .filter(|_| self.wanted.contains(&row_index))
        else {
            return Ok(());
        };
        let kept = KeptAnswer {
            attempt: attempt.attempt,
            batch_id: Arc::clone(&attempt.batch_id),
            outcome: attempt.outcome.clone(),
        };
        let bytes = serde_json::to_vec(&kept).map_err(|error| scratch(error.into()))?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(tempfile::tempfile().map_err(scratch)?)),
        };
        file.write_all(&bytes).map_err(scratch)?;
        let length = u32::try_from(bytes.len())
            .map_err(|_| Error::Bug("an answer has more than 4 GiB".to_owned()))?;
        self.places.insert(row_index, (self.end, length));
        self.end += u64::from(length);
        Ok(())
    }

    fn get(&mut self, row_index: u64) -> Result<Option<KeptAnswer>, Error> {
        let (Some(&(from, length)), Some(file)) = (self.places.get(&row_index), &mut self.file)
        else {
            return Ok(None);
        };
        // What is buffered is written before; after that, writing goes on at the end.
        let mut bytes = vec![0; length as usize];
        file.seek(SeekFrom::Start(from))
            .and_then(|_| file.get_mut().read_exact(&mut bytes))
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(scratch)?;
        let kept = serde_json::from_slice(&bytes).map_err(|error| scratch(error.into()))?;
        Ok(Some(kept))
    }
}

fn scratch(source: std::io::Error) -> Error {
    Error::Join(crate::join::Error::Scratch(source))
}
