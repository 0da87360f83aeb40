//! A run as other programs see it: its manifest, its standing, the metadata of its output.

use std::path::Path;

use jiff::Timestamp;

use crate::cost::CacheUse;
use crate::engine::export_summary::ExportSummary;
use crate::engine::provider_error::RunStanding;
use crate::engine::reuse::{self, MADE_WITH};
use crate::engine::{Error, view};
use crate::estimate::CacheReason;
use crate::join::Totals;
use crate::journal::{BillSummary, CacheSummary, Manifest, MeasuredCache, RunNote};
use crate::outcome::Status;

use super::Run;

impl Run {
    pub(crate) fn output_metadata(&self) -> Vec<(String, String)> {
        let request = &self.kept.job.request;
        [
            ("rowmill.run", self.plan.run.clone()),
            ("rowmill.job", self.plan.job_name.clone()),
            ("rowmill.state", self.state_id().to_owned()),
            ("rowmill.model", request.model.clone()),
            ("rowmill.simulated", self.plan.simulated.to_string()),
            ("rowmill.origin", self.plan.origin.clone()),
            ("rowmill.planned_at", self.plan.created_at.to_string()),
            ("rowmill.priced_at", self.catalog.date.to_string()),
            ("rowmill.tool", self.plan.tool.clone()),
            (MADE_WITH, self.made_with()),
            (
                "rowmill.answer_columns",
                self.options.has_answer_columns().to_string(),
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// What its requests were made with, as its output says.
    fn made_with(&self) -> String {
        let folder = self.plan.job_path.parent().unwrap_or(Path::new(""));
        let (shared, files) = (self.plan.head.hash.clone(), &self.plan.templates);
        let made_with = reuse::made_with(&self.kept.job, folder, shared, files);
        serde_json::to_string(&made_with).expect("it is plain data with string keys")
    }

    /// How far the run is.
    #[must_use]
    pub fn standing(&self) -> RunStanding {
        RunStanding {
            run: self.plan.run.clone(),
            folder: self.folder().to_path_buf(),
            batches: self.state().batch_count(),
            by_state: self.state().batches_by_state(),
        }
    }

    /// The summary for other programs, as it is now.
    #[must_use]
    pub fn manifest(&self, now: Timestamp) -> Manifest {
        let mut manifest = view::manifest(&self.plan, self.state(), self.folder(), now);
        let (spent, reserved) = self.spent_and_reserved();
        (manifest.cost_usd, manifest.reserved_usd) = (Some(spent), Some(reserved));
        if let Some(ExportSummary {
            totals,
            comparison,
            set_aside,
            ..
        }) = &self.last_summary
        {
            (manifest.by_status, manifest.usage) = (totals.statuses.clone(), totals.usage());
            manifest.empty_answers = Some(totals.empty);
            manifest.cost_usd = Some(totals.bill.total().total());
            manifest.estimate = comparison.clone();
            let set_aside = set_aside.as_ref().map(|aside| RunNote::OutputSetAside {
                instead_of: aside.instead_of.clone(),
            });
            manifest.notes.extend(set_aside);
            manifest.bill = Some(BillSummary::new(&totals.bill, self.catalog.date));
            manifest.cache = self.cache_summary(&totals.bill.cache).or(manifest.cache);
            manifest.notes.extend(notes_on(totals));
        }
        manifest
    }

    /// What was decided about the prompt cache, and what it did; `None` where it did nothing.
    fn cache_summary(&self, cache: &CacheUse) -> Option<CacheSummary> {
        let measured = MeasuredCache::new(cache)?;
        let (primes, why) = self
            .plan
            .cache
            .as_ref()
            .map_or((false, CacheReason::NothingToCache), |decision| {
                (decision.warms_up, decision.reason.clone())
            });
        Some(CacheSummary {
            primes,
            why,
            measured: Some(measured),
        })
    }

    /// Brings the mark beside the output up to date, and replaces the manifest: a run counts as
    /// finished once both say so.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Journal`] when they cannot be written.
    pub fn write_manifest(&self, now: Timestamp) -> Result<(), Error> {
        self.update_mark(now)?;
        Ok(self.manifest(now).write(&self.dir)?)
    }
}

/// What the user should know about rows that succeeded: answers that say nothing, and costs that
/// are unknown.
fn notes_on(totals: &Totals) -> Vec<RunNote> {
    let mut notes = Vec::new();
    if totals.empty > 0 {
        notes.push(RunNote::EmptyAnswers {
            empty: totals.empty,
            succeeded: totals.count(Status::Succeeded),
        });
    }
    if totals.bill.unknown() > 0 {
        notes.push(RunNote::UnknownCost {
            requests: totals.bill.unknown(),
        });
    }
    notes
}
