//! Rows → rendered rows: each row's key, custom_id and request, or why it has none.
//!
//! Pure but for the templates it was given: record batches in, bytes out; no clock, no file, no
//! network.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;

use crate::estimate::rows::{BatchRowEstimator, RowEstimate, RowEstimator};
use crate::media::MediaFacts;
use crate::request::RequestHash;
use crate::request::custom_id::{CustomId, Nonce};
use crate::request::keys::{KeyFault, Keys, OnDuplicate, RowKey};
use crate::request::{self, OnTooLarge, Requests};
use crate::source::SourceRows;

use super::faults::Faults;
use super::reuse::{AnswerPlace, Reuse, RowClasses};
use super::row_warnings::{ContextWindow, PromptFit, RowWarnings};

/// About the most bytes of requests that are rendered at a time.
const MAX_BYTES: usize = 16 << 20;

/// Number of rows of a record batch that are rendered to predict the length of the others.
const PROBES: usize = 16;

/// The rendered rows of a chunk.
pub(crate) struct RenderedRows {
    /// The source rows.
    pub(crate) rows: RecordBatch,
    /// Each row's place in the source.
    pub(crate) row_index: Vec<u64>,
    /// Each row's key in words and its rendered request.
    pub(crate) lines: Vec<RenderedRow>,
    /// The requests' own parts, one behind the other.
    pub(crate) text: Vec<u8>,
    /// Rows that cannot be sent as the job stands.
    pub(crate) faults: Faults,
    /// What the user should know about the rows.
    pub(crate) row_warnings: RowWarnings,
    /// What the rows are, beside earlier outputs; and how many were left out.
    pub(crate) classes: RowClasses,
}

impl RenderedRows {
    /// Rows that have a request.
    pub(crate) fn requests(&self) -> u64 {
        self.lines.iter().filter(|row| row.request.is_ok()).count() as u64
    }
}

/// One rendered row.
pub(crate) struct RenderedRow {
    /// The key in words, such as `ticket_id = "T-0042"`.
    pub(crate) key: String,
    /// 128 bits of the key with its type, by which duplicates are found.
    pub(crate) key_hash: Option<u128>,
    /// The row's label, where the job gives it one.
    pub(crate) tag: Option<String>,
    /// The custom_id that a request of the row has.
    pub(crate) custom_id: Option<CustomId>,
    /// The answer that the row takes, and the hash of the request that it answers.
    pub(crate) answer: Option<(AnswerPlace, RequestHash)>,
    /// The request, or why there is none.
    pub(crate) request: Result<RenderedRequest, UnsentReason>,
}

/// A row's request.
pub(crate) struct RenderedRequest {
    pub(crate) custom_id: CustomId,
    pub(crate) hash: RequestHash,
    /// Where its part is in [`RenderedRows::text`].
    pub(crate) part: Range<usize>,
    /// What it will cost, as far as its own part decides it.
    pub(crate) estimate: RowEstimate,
}

/// Why a row is not sent, in a word for `_rm_error_type` and in words for `_rm_error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnsentReason {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

/// What rendering needs to know.
pub(crate) struct Renderer<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) requests: &'a Requests,
    pub(crate) estimator: &'a RowEstimator<'a>,
    pub(crate) nonce: &'a Nonce,
    pub(crate) on_duplicate: OnDuplicate,
    /// Rows whose key an earlier row has, sorted, with their number among the rows of that key
    /// (from 1; the first is not listed).
    pub(crate) repeated: &'a [(u64, u32)],
    /// Whether a row that cannot be rendered is set aside instead of stopping the job.
    pub(crate) skip_bad_rows: bool,
    /// How long a prompt may be.
    pub(crate) window: ContextWindow<'a>,
    /// What earlier outputs hold, where they are looked into.
    pub(crate) reuse: Option<&'a Reuse>,
}

impl Renderer<'_> {
    /// Splits the rows of a record batch into chunks whose requests take about 16 MiB: a long
    /// template makes much of small rows, and a path may stand for a large picture.
    ///
    /// Where it splits depends on the rows alone (and on the files they name), so the same job over
    /// the same rows is split in the same places.
    pub(crate) fn stretches(&self, rows: &SourceRows) -> Vec<SourceRows> {
        let requests = self.requests.rows(&rows.batch);
        let count = rows.row_index.len();
        let mean = mean_text_bytes(&requests, count).max(1);
        let ends = if self.requests.has_row_media() {
            ends_by_size(count, |row| {
                mean + usize::try_from(requests.media_weight(row)).unwrap_or(MAX_BYTES)
            })
        } else {
            let most = (MAX_BYTES / mean).clamp(1, count.max(1));
            (0..count)
                .step_by(most)
                .map(|from| count.min(from + most))
                .collect()
        };
        let mut from = 0;
        let stretch = |to: usize| {
            let (begin, rows_of) = (std::mem::replace(&mut from, to), &rows.row_index);
            SourceRows {
                batch: rows.batch.slice(begin, to - begin),
                row_index: rows_of[begin..to].to_vec(),
            }
        };
        ends.into_iter().map(stretch).collect()
    }

    /// Renders the rows of a chunk, in order.
    pub(crate) fn render(&self, rows: SourceRows) -> RenderedRows {
        let (rows, skipped) = self.without_known_keys(rows);
        let count = rows.batch.num_rows();
        let mut out = RenderedRows {
            lines: Vec::with_capacity(count),
            text: Vec::with_capacity(count * 256),
            faults: Faults::default(),
            row_warnings: RowWarnings::default(),
            classes: RowClasses {
                skipped,
                ..RowClasses::default()
            },
            row_index: rows.row_index,
            rows: rows.batch,
        };
        out.row_warnings.look(self.requests.conditions(), &out.rows);
        let requests = self.requests.rows(&out.rows);
        let mut estimator = self.estimator.rows(&out.rows);
        let mut facts = MediaFacts::default();
        for row in 0..count {
            let line = self.render_row(&requests, &mut estimator, &mut facts, &mut out, row);
            out.lines.push(line);
        }
        out
    }

    fn render_row(
        &self,
        requests: &request::RequestRows<'_>,
        estimator: &mut BatchRowEstimator<'_>,
        facts: &mut MediaFacts,
        out: &mut RenderedRows,
        row: usize,
    ) -> RenderedRow {
        let index = out.row_index[row];
        let tag = requests.tag(row).map(str::to_owned);
        let key = match self.keys.key(&out.rows, row, index) {
            Ok(key) => key,
            Err(fault) => {
                out.faults.key(index, &fault);
                let (KeyFault::Null { column } | KeyFault::Empty { column }) = &fault;
                let reason = format!("the key column `{column}` is empty");
                let name = format!("row {}", index + 1);
                return RenderedRow::unsent(name, tag, "no_key", reason);
            }
        };
        let named = key.describe();
        let unique_id = match (self.number_among_repeated(index), self.on_duplicate) {
            (Some(_), OnDuplicate::First) => {
                let reason = "an earlier row has the same key, and `key.on_duplicate` is \"first\"";
                return RenderedRow::unsent(named, tag, "duplicate_key", reason.to_owned());
            }
            _ => self.custom_id(&key, index),
        };
        let start = out.text.len();
        let request = match requests.render_with(row, &mut out.text, facts) {
            Ok(hash) => {
                if let Some(answer) = self.answer(&unique_id, hash, &mut out.classes) {
                    out.text.truncate(start);
                    return RenderedRow::reused(&key, named, tag, unique_id, (answer, hash));
                }
                let (model, max_tokens) = requests.model_and_max_tokens(row);
                let estimate =
                    estimator.estimate(row, &out.text[start..], facts, model, max_tokens);
                let fits = self.window.fits(&estimate);
                out.row_warnings.fits(fits, index, &named, estimate.model);
                self.unsent_if_too_large(fits, model)
                    .map(|()| RenderedRequest {
                        custom_id: unique_id.clone(),
                        hash,
                        part: start..out.text.len(),
                        estimate,
                    })
            }
            Err(error) => {
                if let Some(reuse) = self.reuse {
                    reuse.note(&unique_id);
                }
                Err(self.not_rendered(error, index, &named, out))
            }
        };
        if request.is_err() {
            out.text.truncate(start);
        }
        RenderedRow {
            key_hash: Some(key.hash()),
            key: named,
            tag,
            custom_id: Some(unique_id),
            answer: None,
            request,
        }
    }

    /// The custom_id of a row, by its key and its number among the rows of that key.
    fn custom_id(&self, key: &RowKey, index: u64) -> CustomId {
        match (self.number_among_repeated(index), self.on_duplicate) {
            (Some(number), OnDuplicate::Number) => key.custom_id_numbered(self.nonce, number),
            _ => key.custom_id(self.nonce),
        }
    }

    /// The answer that an earlier output has to a request.
    fn answer(
        &self,
        custom_id: &CustomId,
        hash: RequestHash,
        classes: &mut RowClasses,
    ) -> Option<AnswerPlace> {
        let decision = self.reuse?.decide(custom_id, hash);
        classes.add(decision.class, decision.answer.is_some());
        decision.answer
    }

    /// Leaves rows out whose key the output has, where the job only adds rows; also gives their
    /// number.
    fn without_known_keys(&self, rows: SourceRows) -> (SourceRows, u64) {
        let Some(reuse) = self.reuse.filter(|reuse| reuse.skips_known_keys()) else {
            return (rows, 0);
        };
        let is_new = |(row, &index): (usize, &u64)| {
            // A row without a key is reported when it is rendered.
            let key = self.keys.key(&rows.batch, row, index).ok();
            !key.is_some_and(|key| reuse.knows(&self.custom_id(&key, index)))
        };
        let keep: Vec<bool> = rows.row_index.iter().enumerate().map(is_new).collect();
        let skipped = keep.iter().filter(|keep| !**keep).count() as u64;
        if skipped == 0 {
            return (rows, 0);
        }
        let mut kept = keep.iter();
        let row_index = rows.row_index.into_iter();
        let rows = SourceRows {
            row_index: row_index
                .filter(|_| *kept.next().unwrap_or(&true))
                .collect(),
            batch: filter_record_batch(&rows.batch, &keep.into())
                .expect("the mask has an entry for each row"),
        };
        (rows, skipped)
    }

    /// The number of a row among those of its key, where an earlier row has the same.
    fn number_among_repeated(&self, index: u64) -> Option<u32> {
        let at = self
            .repeated
            .binary_search_by_key(&index, |&(row, _)| row)
            .ok()?;
        Some(self.repeated[at].1)
    }

    fn unsent_if_too_large(&self, fits: PromptFit, model: &str) -> Result<(), UnsentReason> {
        match fits {
            PromptFit::No { tokens, window } if self.window.on_too_large == OnTooLarge::Unsent => {
                Err(UnsentReason {
                    kind: "too_large",
                    reason: format!(
                        "its prompt has about {tokens} tokens, and the context window of `{model}` \
                         {window}"
                    ),
                })
            }
            _ => Ok(()),
        }
    }

    /// A row that cannot be rendered: set aside where the job skips such rows, else a fault that
    /// stops the job.
    fn not_rendered(
        &self,
        error: request::RowError,
        index: u64,
        named: &str,
        out: &mut RenderedRows,
    ) -> UnsentReason {
        let reason = super::in_one_line(&error);
        if self.skip_bad_rows {
            out.row_warnings.set_aside.add(index, &reason);
        } else {
            out.faults.render(index, named, error);
        }
        UnsentReason {
            kind: "not_rendered",
            reason,
        }
    }
}

impl RenderedRow {
    /// A row without a request, whose key does not count as a duplicate.
    fn unsent(key: String, tag: Option<String>, kind: &'static str, reason: String) -> RenderedRow {
        RenderedRow {
            key,
            key_hash: None,
            tag,
            custom_id: None,
            answer: None,
            request: Err(UnsentReason { kind, reason }),
        }
    }

    /// A row whose request was answered before.
    fn reused(
        key: &RowKey,
        named: String,
        tag: Option<String>,
        custom_id: CustomId,
        answer: (AnswerPlace, RequestHash),
    ) -> RenderedRow {
        RenderedRow {
            key: named,
            key_hash: Some(key.hash()),
            tag,
            custom_id: Some(custom_id),
            answer: Some(answer),
            request: Err(UnsentReason {
                kind: "reused",
                reason: "an earlier output has the answer".to_owned(),
            }),
        }
    }
}

/// What a request of these rows takes beside pictures and documents, by some of them that lie
/// evenly apart.
fn mean_text_bytes(requests: &request::RequestRows<'_>, count: usize) -> usize {
    let (mut text, mut facts) = (Vec::new(), MediaFacts::default());
    let mut bytes = 0;
    for row in (0..count).step_by(count.div_ceil(PROBES).max(1)) {
        text.clear();
        // A row that cannot be rendered takes nothing; it is reported when its turn comes.
        if requests.render_with(row, &mut text, &mut facts).is_ok() {
            bytes += text
                .len()
                .saturating_sub(usize::try_from(facts.base64_bytes).unwrap_or(0));
        }
    }
    bytes / count.clamp(1, PROBES)
}

/// Where chunks end that take at most so much, or one row.
fn ends_by_size(count: usize, size: impl Fn(usize) -> usize) -> Vec<usize> {
    let (mut ends, mut sum) = (Vec::new(), 0_usize);
    for row in 0..count {
        let own = size(row);
        if sum > 0 && sum + own > MAX_BYTES {
            ends.push(row);
            sum = 0;
        }
        sum += own;
    }
    ends.extend((count > 0).then_some(count));
    ends
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::{Estimator, RequestPrefix, RunHistory};
    use crate::request::RequestSpec;
    use crate::request::keys::KeySpec;

    /// How many rows are rendered at a time: 1,000 rows of a short cell, with `template_bytes`
    /// bytes of template around each.
    fn stretches(template_bytes: usize) -> Vec<usize> {
        let cells: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..1_000).map(|row| row.to_string()),
        ));
        let batch = RecordBatch::try_from_iter([("a", cells)]).unwrap();
        let text = format!("{{{{ a }}}} {}", "x".repeat(template_bytes));
        let message = serde_json::json!({ "role": "user", "text": text });
        let spec = serde_json::json!({ "model": "m", "max_tokens": 1, "messages": [message] });
        let spec: RequestSpec = serde_json::from_value(spec).unwrap();
        let requests =
            Requests::compile(&spec, Path::new("."), &batch.schema(), Catalog::builtin()).unwrap();
        let estimator = Estimator::new(
            Catalog::builtin(),
            &RequestPrefix::text("claude-haiku-4-5", requests.head()),
            RunHistory::default(),
        );
        let renderer = Renderer {
            keys: &Keys::new(&KeySpec::default(), &batch.schema()).unwrap(),
            requests: &requests,
            estimator: estimator.as_ref().unwrap().row_estimator(),
            nonce: &Nonce::new(0),
            on_duplicate: OnDuplicate::Error,
            repeated: &[],
            skip_bad_rows: false,
            window: ContextWindow::new(
                Catalog::builtin(),
                estimator.as_ref().unwrap(),
                OnTooLarge::Send,
            ),
            reuse: None,
        };
        let rows = SourceRows {
            batch,
            row_index: (7..1_007).collect(),
        };
        let stretches = renderer.stretches(&rows);
        let indexes: Vec<u64> = stretches
            .iter()
            .flat_map(|rows| rows.row_index.iter().copied())
            .collect();
        assert_eq!(indexes, rows.row_index);
        for stretch in &stretches {
            let rendered = renderer.render(stretch.clone());
            assert!(rendered.text.len() <= MAX_BYTES + MAX_BYTES / 8);
            assert_eq!(
                rendered.lines[0].key,
                format!("row {}", stretch.row_index[0] + 1)
            );
        }
        stretches.iter().map(|rows| rows.row_index.len()).collect()
    }

    #[test]
    fn splits_stretches_by_the_size_of_their_files() {
        let weights = [1, 1, MAX_BYTES - 2, 1, MAX_BYTES * 3, 5, 5];
        assert_eq!(
            ends_by_size(weights.len(), |row| weights[row]),
            [3, 4, 5, 7]
        );
        assert_eq!(ends_by_size(0, |_| 1), Vec::<usize>::new());
    }

    #[test]
    fn renders_fewer_rows_at_a_time_the_longer_the_template_is() {
        assert_eq!(stretches(100), [1_000]);
        let few = stretches(100_000);
        assert!((150..170).contains(&few[0]), "{few:?}");
    }
}
