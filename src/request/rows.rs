//! A batch of rows, rendered one by one.

use std::fmt;
use std::sync::Arc;

use super::compiled::Requests;
use super::hash::RequestHash;
use super::per_row::{PerRowValues, RowParamError, RowParams};
use super::{RowError, encode};
use crate::media::MediaFacts;
use crate::template::row::RenderTable;

/// A batch of rows, ready to be rendered.
pub struct RequestRows<'r> {
    pub(super) requests: &'r Requests,
    pub(super) table: Arc<RenderTable>,
    pub(super) values: PerRowValues,
}

impl fmt::Debug for RequestRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRows").finish_non_exhaustive()
    }
}

impl RequestRows<'_> {
    /// As [`Requests::render`].
    ///
    /// # Errors
    /// As there.
    pub fn render(&self, row: usize, out: &mut Vec<u8>) -> Result<RequestHash, RowError> {
        self.render_with(row, out, &mut MediaFacts::default())
    }

    /// As [`Requests::render`]; also writes which pictures and documents the row itself has, in
    /// place of what `facts` held.
    ///
    /// # Errors
    /// As there.
    pub fn render_with(
        &self,
        row: usize,
        out: &mut Vec<u8>,
        facts: &mut MediaFacts,
    ) -> Result<RequestHash, RowError> {
        let start = out.len();
        let choice = self.row_params(row)?;
        facts.clear();
        let mut messages = encode::MessageEncoder::new(out, self.requests.has_shared_messages);
        let limits = self
            .requests
            .per_row
            .limits(choice.model)
            .unwrap_or(self.requests.limits);
        let rendered = self
            .requests
            .prompt
            .render(&self.table, row, &limits, facts, |part| {
                messages.part(&part)
            });
        if let Err(fault) = rendered {
            out.truncate(start);
            return Err(fault.into());
        }
        self.requests.per_row.close(&choice, out);
        Ok(self.requests.hash(&out[start..]))
    }

    /// About the bytes that a row's pictures and documents take in its request, estimated without
    /// reading them.
    #[must_use]
    pub fn media_weight(&self, row: usize) -> u64 {
        self.requests.prompt.media_weight(&self.table, row)
    }

    /// A row's tag.
    #[must_use]
    pub fn tag(&self, row: usize) -> Option<&str> {
        self.values.tag(row)
    }

    /// The model and the limit of the answer that a row is sent with, where both can be evaluated;
    /// else the job's own.
    #[must_use]
    pub fn model_and_max_tokens(&self, row: usize) -> (&str, u32) {
        let job = &self.requests.job;
        let own = (job.model.as_str(), job.max_tokens);
        if self.requests.per_row.has_model() || self.requests.per_row.has_max_tokens() {
            return self
                .row_params(row)
                .map_or(own, |choice| (choice.model, choice.max_tokens));
        }
        own
    }

    /// What a row is sent with besides its prompt, and its tag.
    ///
    /// # Errors
    /// A value that cannot be evaluated, or that the row's model does not accept.
    pub fn row_params(&self, row: usize) -> Result<RowParams<'_>, RowParamError> {
        self.requests
            .per_row
            .row_params(&self.values, row, &self.requests.job)
    }
}
