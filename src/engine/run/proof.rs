//! Whether a batch at the provider is one of the run.
//!
//! A batch carries no label, so the ids in its results are the proof: all that carry the run's
//! nonce must be ids that the batch sends.

use std::collections::HashSet;

use arrow::array::StringArray;

use crate::batch::sent_ids;
use crate::engine::{Error, collect};
use crate::provider::BatchId;

use super::Run;

impl Run {
    /// Whether a batch of the workspace is known not to be the one in doubt.
    pub(crate) fn is_not(&self, id: &BatchId, batch: u32) -> bool {
        let is_known = self.state().batch_of(id).is_some() || self.foreign_batches.contains(id);
        is_known || self.not_it.contains(&(batch, id.clone()))
    }

    /// Records a batch of the workspace that is not the one in doubt, by the ids in its results:
    /// where none carries the run's nonce, it is no batch of the run.
    pub(crate) fn rule_out_by(&mut self, id: BatchId, batch: u32, ids: &[String]) {
        if ids
            .iter()
            .any(|id| id.starts_with(self.plan.nonce.as_str()))
        {
            self.not_it.insert((batch, id));
        } else {
            self.foreign_batches.insert(id);
        }
    }

    /// Whether results with these ids are those of a batch, with an id that shows it: all that
    /// carry the run's nonce are ids that the batch sends. Rows that are sent again keep their ids,
    /// so one id alone does not distinguish the batches of a run.
    pub(crate) fn proof_of<'i>(
        &self,
        batch: u32,
        ids: &'i [String],
    ) -> Result<Option<&'i str>, Error> {
        let ours = || {
            ids.iter()
                .filter(|id| id.starts_with(self.plan.nonce.as_str()))
        };
        let Some(first) = ours().next() else {
            return Ok(None);
        };
        let mut left: HashSet<&str> = ours().map(String::as_str).collect();
        for sent in self
            .ids_of(batch)?
            .iter()
            .flat_map(|ids| ids.iter().flatten())
        {
            left.remove(sent);
        }
        Ok(left.is_empty().then_some(first.as_str()))
    }

    /// The ids that a batch sends, in its order.
    pub(crate) fn ids_of(&self, batch: u32) -> Result<Vec<StringArray>, Error> {
        Ok(sent_ids(&self.spool_path(batch))?.collect::<Result<_, _>>()?)
    }

    /// Whether there are results on disk that hold a line for each id of a batch.
    pub(crate) fn has_saved_results(&self, batch: u32) -> bool {
        let path = self.results_path(batch);
        path.is_file()
            && collect::counts_of(self, batch, &path).is_ok_and(|counts| counts.missing == 0)
    }
}
