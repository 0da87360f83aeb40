//! Rows → rendered rows: each row's key, custom_id and request, or why it has none.
//!
//! Pure but for the templates it was given: record batches in, bytes out; no clock, no file, no network.

use std::ops::Range;

use arrow::array::RecordBatch;

use crate::request::RequestHash;
use crate::request::custom_id::{CustomId, Nonce};
use crate::request::keys::{KeyFault, Keys, OnDuplicate};
use crate::request::{self, Requests};
use crate::source::Rows;

use super::faults::Faults;

/// The rendered rows of one record batch.
pub(crate) struct Rendered {
    /// The source rows.
    pub(crate) rows: RecordBatch,
    /// Each row's place in the source.
    pub(crate) row_index: Vec<u64>,
    /// Each row's key in words and what was made of it.
    pub(crate) lines: Vec<Line>,
    /// The requests' own parts, one behind the other.
    pub(crate) text: Vec<u8>,
    /// Rows that cannot be sent as the job stands.
    pub(crate) faults: Faults,
}

/// One rendered row.
pub(crate) struct Line {
    /// The key in words, such as `ticket_id = "T-0042"`.
    pub(crate) key: String,
    /// 128 bits of the typed key, by which duplicates are found.
    pub(crate) key_hash: Option<u128>,
    /// The request, or why there is none.
    pub(crate) request: Result<Request, Unsent>,
}

/// A row's request.
pub(crate) struct Request {
    pub(crate) custom_id: CustomId,
    pub(crate) hash: RequestHash,
    /// Where its part stands in [`Rendered::text`].
    pub(crate) part: Range<usize>,
}

/// Why a row is not sent, in a word for `_rm_error_type` and in words for `_rm_error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsent {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

/// What rendering needs to know.
pub(crate) struct Renderer<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) requests: &'a Requests,
    pub(crate) nonce: &'a Nonce,
    pub(crate) on_duplicate: OnDuplicate,
    /// Rows whose key an earlier row has, sorted, with their number among the rows of that key (from 1; the first is not listed).
    pub(crate) repeated: &'a [(u64, u32)],
    /// Whether a row that cannot be rendered is set aside instead of stopping the job.
    pub(crate) skip_bad_rows: bool,
}

impl Renderer<'_> {
    /// Renders the rows of one record batch, in order.
    pub(crate) fn render(&self, rows: Rows) -> Rendered {
        let count = rows.batch.num_rows();
        let mut out = Rendered {
            lines: Vec::with_capacity(count),
            text: Vec::with_capacity(count * 256),
            faults: Faults::default(),
            row_index: rows.row_index,
            rows: rows.batch,
        };
        let requests = self.requests.rows(&out.rows);
        for row in 0..count {
            let line = self.line(&requests, &mut out, row);
            out.lines.push(line);
        }
        out
    }

    fn line(&self, requests: &request::Rows<'_>, out: &mut Rendered, row: usize) -> Line {
        let index = out.row_index[row];
        let key = match self.keys.key(&out.rows, row, index) {
            Ok(key) => key,
            Err(fault) => {
                out.faults.key(index, &fault);
                let (KeyFault::Null { column } | KeyFault::Empty { column }) = &fault;
                let reason = format!("the key column `{column}` is empty");
                return Line {
                    key: format!("row {}", index + 1),
                    key_hash: None,
                    request: Err(Unsent { kind: "no_key", reason }),
                };
            }
        };
        let named = key.describe();
        let repeated = self.repeated.binary_search_by_key(&index, |&(row, _)| row).ok().map(|at| self.repeated[at].1);
        let custom_id = match (repeated, self.on_duplicate) {
            (Some(_), OnDuplicate::First) => {
                let reason = "an earlier row has the same key, and `key.on_duplicate` is \"first\"".to_owned();
                return Line { key: named, key_hash: None, request: Err(Unsent { kind: "duplicate_key", reason }) };
            }
            (Some(number), OnDuplicate::Number) => key.custom_id_numbered(self.nonce, number),
            _ => key.custom_id(self.nonce),
        };
        let start = out.text.len();
        let request = match requests.render(row, &mut out.text) {
            Ok(hash) => Ok(Request { custom_id, hash, part: start..out.text.len() }),
            Err(error) => {
                out.text.truncate(start);
                let reason = super::in_one_line(&error);
                if !self.skip_bad_rows {
                    out.faults.render(index, &named, error);
                }
                Err(Unsent { kind: "not_rendered", reason })
            }
        };
        Line { key_hash: Some(key.hash()), key: named, request }
    }
}
