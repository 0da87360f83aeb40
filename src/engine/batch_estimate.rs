//! The estimate of a batch: that of the plan, or for a batch that was not in the plan, the sum of
//! the estimates of its rows in the spool.
//!
//! Batches that are split from others, or hold rows that are sent again, are not in the plan. Their
//! rows carry the estimates that were made while the run was planned, so no request is read again.
//! A spool of a version that kept no estimates is estimated from the bytes of its requests.
//!
//! What a batch may cost at most is calculated again once results of the run show how many tokens
//! its prompts have.

use std::path::Path;

use arrow::array::Array as _;

use crate::batch::{self, SpoolReader};
use crate::cost::Money;
use crate::estimate::rows::RowEstimate;
use crate::estimate::{BatchPrompts, Bounds, Estimator, RequestPrefix, RunHistory};
use crate::media::MediaFacts;
use crate::outcome::Usage;
use crate::request::per_row::FragmentTail;

use super::{Error, Run};

impl Run {
    /// What a batch is expected to cost.
    pub(crate) fn expected_cost(&self, batch: u32) -> Result<Bounds, Error> {
        let planned = self
            .plan()
            .estimate
            .as_ref()
            .and_then(|estimate| estimate.batches.get(batch as usize - 1));
        if let Some(planned) = planned {
            return Ok(*planned);
        }
        if let Some(known) = self.budget.estimated.borrow().get(&batch) {
            return Ok(*known);
        }
        let bounds = self.estimate_batch(batch)?;
        self.budget.estimated.borrow_mut().insert(batch, bounds);
        Ok(bounds)
    }

    /// What a batch may cost at most, by what is known now.
    pub(crate) fn worst_case(&self, batch: u32) -> Result<Money, Error> {
        let planned = self.expected_cost(batch)?.worst_case;
        if self.budget.measured.is_empty() {
            return Ok(planned);
        }
        if let Some(known) = self.budget.worst_cases.borrow().get(&batch) {
            return Ok(*known);
        }
        let measured = self.estimate_batch(batch)?.worst_case.min(planned);
        self.budget.worst_cases.borrow_mut().insert(batch, measured);
        Ok(measured)
    }

    /// What a batch that the journal does not have yet is expected to cost.
    pub(crate) fn cost_of_new(&self, number: u32, head: &[u8]) -> Result<Bounds, Error> {
        let rows = RowsOfBatch::read(self, &self.spool_path(number), head)?;
        rows.bounds(self, rows.rows.len())
    }

    fn estimate_batch(&self, batch: u32) -> Result<Bounds, Error> {
        let rows = self.rows_of(batch)?;
        rows.bounds(self, rows.rows.len())
    }

    /// The estimates of the rows of a batch.
    pub(crate) fn rows_of(&self, batch: u32) -> Result<RowsOfBatch, Error> {
        RowsOfBatch::read(self, &self.spool_path(batch), &self.head_of(batch)?)
    }

    fn estimator(&self, head: &[u8]) -> Result<Estimator<'_>, Error> {
        let prefix = RequestPrefix {
            model: &self.job().request.model,
            head,
            media: &media_of(head),
        };
        let estimate = self.plan().estimate.as_ref();
        let history = RunHistory {
            // What the plan expects of the cache holds for the parts of its batches.
            reads: estimate.map(|estimate| (estimate.cache.reads.expected, estimate.requests)),
            ..RunHistory::default()
        };
        let estimator = Estimator::new(self.catalog(), &prefix, history)?;
        Ok(estimator.with_measured(self.budget.measured))
    }

    /// The estimates in the spool; `None` where one of them is missing or unreadable.
    fn spooled_estimates(
        path: &Path,
        estimator: &Estimator<'_>,
    ) -> Result<Option<Vec<RowEstimate>>, Error> {
        let Some(groups) = batch::estimates(path)? else {
            return Ok(None);
        };
        let mut rows = Vec::new();
        for group in groups {
            for bytes in &group? {
                let Some(row) = bytes.and_then(|bytes| estimator.decode(bytes)) else {
                    return Ok(None);
                };
                rows.push(row);
            }
        }
        Ok(Some(rows))
    }

    /// Estimates the requests of a batch by their bytes.
    fn estimate_requests(
        &self,
        path: &Path,
        head: &[u8],
        estimator: &Estimator<'_>,
    ) -> Result<Vec<RowEstimate>, Error> {
        let request = &self.job().request;
        let max_tokens = max_tokens_of(head).unwrap_or(request.max_tokens.into());
        let choices = RowChoices {
            model: &request.model,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            has_model: request.per_row.model.is_some(),
            has_max_tokens: request.per_row.max_tokens.is_some(),
        };
        let mut estimates = Vec::new();
        for rows in SpoolReader::open(path)? {
            let rows = rows?;
            let mut row_estimator = estimator.row_estimator().rows(&rows.columns);
            for row in (0..rows.len()).filter(|&row| rows.fragment.is_valid(row)) {
                let fragment = rows.fragment.value(row);
                let (model, limit) = choices.of(fragment)?;
                let media = media_of(fragment);
                estimates.push(row_estimator.estimate(row, fragment, &media, model, limit));
            }
        }
        Ok(estimates)
    }
}

/// The estimates of the rows of a batch, in order. **Memory:** about 170 bytes a row.
pub(crate) struct RowsOfBatch {
    head: Vec<u8>,
    rows: Vec<RowEstimate>,
}

impl RowsOfBatch {
    fn read(run: &Run, path: &Path, head: &[u8]) -> Result<RowsOfBatch, Error> {
        let estimator = run.estimator(head)?;
        let rows = match Run::spooled_estimates(path, &estimator)? {
            Some(rows) => rows,
            None => run.estimate_requests(path, head, &estimator)?,
        };
        Ok(RowsOfBatch {
            head: head.to_vec(),
            rows,
        })
    }

    /// What the first of the rows cost, as a batch of their own.
    fn bounds(&self, run: &Run, rows: usize) -> Result<Bounds, Error> {
        let estimator = run.estimator(&self.head)?;
        let mut statistics = estimator.statistics();
        self.rows[..rows]
            .iter()
            .for_each(|row| statistics.push(row));
        statistics.close();
        let planned = run.plan().estimate.as_ref();
        let fit = planned.map_or_else(|| estimator.fit(), |planned| planned.fit.clone());
        Ok(estimator.estimate(&statistics, fit, false)?.total)
    }

    /// How many of the first rows cost no more than this in the worst case.
    pub(crate) fn within(&self, run: &Run, room: Money) -> Result<u32, Error> {
        let (mut fit, mut too_many) = (0, self.rows.len() + 1);
        while fit + 1 < too_many {
            let middle = usize::midpoint(fit, too_many);
            match self.bounds(run, middle)?.worst_case <= room {
                true => fit = middle,
                false => too_many = middle,
            }
        }
        Ok(u32::try_from(fit).unwrap_or(u32::MAX))
    }

    /// What the first row costs in the worst case.
    pub(crate) fn first_worst_case(&self, run: &Run) -> Result<Money, Error> {
        Ok(self.bounds(run, self.rows.len().min(1))?.worst_case)
    }

    /// What the prompts of the rows had, by the usage of each; rows without usage say nothing.
    pub(crate) fn measured(
        &self,
        run: &Run,
        usages: &[Option<Usage>],
    ) -> Result<BatchPrompts, Error> {
        let mut prompts = BatchPrompts::default();
        if usages.len() == self.rows.len() {
            let estimator = run.estimator(&self.head)?;
            for (row, usage) in self.rows.iter().zip(usages) {
                if let Some(usage) = usage {
                    estimator.measure(&mut prompts, row, usage);
                }
            }
        }
        Ok(prompts)
    }
}

/// Model and limit of rows that do not choose, and what rows choose by themselves.
struct RowChoices<'a> {
    model: &'a str,
    max_tokens: u32,
    has_model: bool,
    has_max_tokens: bool,
}

impl RowChoices<'_> {
    /// What a row is sent with: its own choice stands at the end of its own part.
    fn of<'f>(&'f self, fragment: &'f [u8]) -> Result<(&'f str, u32), Error> {
        if !self.has_model && !self.has_max_tokens {
            return Ok((self.model, self.max_tokens));
        }
        let tail = FragmentTail::of(fragment, self.has_model, self.has_max_tokens);
        let tail = tail.ok_or_else(|| {
            Error::Bug("a request does not end with what its row chose".to_owned())
        })?;
        Ok((
            tail.model.unwrap_or(self.model),
            tail.max_tokens.unwrap_or(self.max_tokens),
        ))
    }
}

/// The pictures and documents of a part of a request, as if their sizes were unknown: they count
/// with the largest. Blocks of a conversation stand there as written, with blanks or without; a
/// name in a text has its quotation marks escaped.
fn media_of(part: &[u8]) -> MediaFacts {
    let count = |name: &[u8], value: &[u8]| {
        let behind = |at: usize| {
            part.get(at + name.len()..)
                .unwrap_or_default()
                .trim_ascii_start()
        };
        let has = |at: &usize| {
            behind(*at)
                .strip_prefix(b":")
                .is_some_and(|rest| rest.trim_ascii_start().starts_with(value))
        };
        memchr::memmem::find_iter(part, name).filter(has).count()
    };
    // A document whose text is in the request is part of that text.
    let texts = count(b"\"media_type\"", b"\"text/plain\"");
    MediaFacts {
        unseen_images: count(b"\"type\"", b"\"image\""),
        unseen_documents: count(b"\"type\"", b"\"document\"").saturating_sub(texts),
        ..MediaFacts::default()
    }
}

/// The `max_tokens` of a head, which is the beginning of a JSON object.
fn max_tokens_of(head: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"max_tokens\":";
    let at = memchr::memmem::find(head, KEY)? + KEY.len();
    let digits: Vec<u8> = head[at..]
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Catalog;

    fn choices(has_model: bool, has_max_tokens: bool) -> RowChoices<'static> {
        RowChoices {
            model: "the job's",
            max_tokens: 100,
            has_model,
            has_max_tokens,
        }
    }

    #[test]
    fn what_a_row_chose_is_read_behind_a_schema_too() {
        let config = r#""output_config":{"effort":"low","format":{"type":"json_schema","schema":{"enum":["a"],"required":["b"]}}}"#;
        let fragment = |tail: &str| {
            format!(r#"{{"role":"user","content":"],\"max_tokens\":7}}"}}],{config}{tail}}}"#)
        };
        for (tail, (model, max_tokens), chosen) in [
            ("", (false, false), ("the job's", 100)),
            (
                r#","model":"other","max_tokens":9000"#,
                (true, true),
                ("other", 9_000),
            ),
            (r#","model":"other""#, (true, false), ("other", 100)),
            (r#","max_tokens":9000"#, (false, true), ("the job's", 9_000)),
        ] {
            assert_eq!(
                choices(model, max_tokens)
                    .of(fragment(tail).as_bytes())
                    .unwrap(),
                chosen
            );
        }
        assert!(matches!(
            choices(false, true).of(fragment("").as_bytes()),
            Err(Error::Bug(_))
        ));
    }

    #[test]
    fn pictures_of_a_conversation_are_counted_however_they_are_written() {
        let fragment = br#"{"role":"user","content":[{"source": {"type": "url", "url": "x"}, "type" : "image"},
            {"type":"image","source":{"type":"file","file_id":"f"}},{"type":"text","text":"{\"type\":\"image\"}"},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            {"type": "document", "source": {"type": "url", "url": "x"}}]}"#;
        let facts = media_of(fragment);
        assert_eq!((facts.unseen_images, facts.unseen_documents), (2, 1));
    }

    #[test]
    fn a_shared_document_costs_every_request_of_a_batch() {
        let expected = |block: &str| {
            let head = format!(
                r#"{{"model":"m","max_tokens":9,"system":[{{"type":"text","text":"Sort."}}],"messages":[{{"role":"user","content":[{block}"#
            );
            let media = media_of(head.as_bytes());
            let asked = RequestPrefix {
                model: "claude-haiku-4-5",
                head: head.as_bytes(),
                media: &media,
            };
            let estimator =
                Estimator::new(Catalog::builtin(), &asked, RunHistory::default()).unwrap();
            let mut statistics = estimator.statistics();
            let none =
                arrow::array::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
            let fragment = br#",{"type":"text","text":"a row"}]}]}"#;
            statistics.push(&estimator.row_estimator().rows(&none).estimate(
                0,
                fragment,
                &media_of(fragment),
                "claude-haiku-4-5",
                9,
            ));
            statistics.close();
            let Bounds {
                expected,
                high,
                worst_case,
                ..
            } = estimator
                .estimate(&statistics, estimator.fit(), false)
                .unwrap()
                .total;
            assert!(expected < high && high <= worst_case);
            expected
        };
        let text = expected(r#"{"type":"text","text":"Look."}"#);
        let uploaded =
            expected(r#"{"type":"document","source":{"type":"file","file_id":"file_1"}}"#);
        let picture = expected(
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGVsbG8="}}"#,
        );
        let note = expected(
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"Look."}}"#,
        );
        assert!(
            uploaded > picture && picture > text.times(10) && note < text.times(2),
            "{text} {note} {picture} {uploaded}"
        );
    }
}
