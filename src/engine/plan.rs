//! Job → run directory with spooled batches. Nothing is sent.
//!
//! Rows are rendered on every core and packed in row order, so the same job over the same rows
//! makes the same batches. The dry run does the same without the spool: what it reports is what a
//! run would do, and it leaves nothing behind.
//!
//! **Memory:** one record batch and about 16 MiB of its requests a core, one row group of the
//! spool, and the duplicate finder's buffers; 24 bytes a row go to a temporary file for the search
//! for duplicates.

use std::path::{Path, PathBuf};
use std::thread;

use crate::batch::{Limits, Packer, SpooledBatch};
use crate::estimate::fit::{CountedRow, Fit};
use crate::estimate::sample::SampleSpec;
use crate::estimate::warm_up::WarmUpDecision;
use crate::estimate::{CacheSplit, Estimator, RequestPrefix, RunHistory};
use crate::job::JobFile;
use crate::journal::{Checkpoint, CheckpointKind};
use crate::provider::BatchFormat;
use crate::request::OnRowError;
use crate::request::custom_id::Nonce;
use crate::request::duplicates::{DuplicateFinder, Duplicates};
use crate::request::keys::OnDuplicate;
use crate::source::SourceRows;

use super::Error;
use super::batch_maker::BatchMaker;
use super::compile::CompiledJob;
use super::in_order::in_order;
use super::notice::Observer;
use super::plan_report::{PlanReport, SharedKeys};
use super::render::Renderer;
use super::reuse::Reuse;
use super::row_warnings::ContextWindow;

/// Makes the plan of a job.
pub(crate) struct Planner<'a> {
    /// The job.
    pub file: &'a JobFile,
    /// Its rooms.
    pub compiled: &'a CompiledJob,
    /// How the provider writes batches.
    pub format: &'static dyn BatchFormat,
    /// What one batch may hold, within the limits of the format.
    pub limits: Limits,
    /// The run's mark in every custom_id.
    pub nonce: &'a Nonce,
    /// Threads that render.
    pub threads: usize,
    /// What earlier runs of the job showed.
    pub history: RunHistory,
    /// A sample of rows for the provider to count, where one is wanted.
    pub sample: Option<SampleSpec>,
    /// What earlier outputs hold, where they are looked into.
    pub reuse: Option<&'a Reuse>,
    /// Where temporary files go.
    pub scratch: PathBuf,
    /// Receives progress.
    pub observer: &'a dyn Observer,
}

impl Planner<'_> {
    /// The dry run: reads, renders and packs everything; writes nothing but temporary files that
    /// are gone afterwards.
    ///
    /// # Errors
    /// Whatever would stop a run before anything is sent: unreadable rows, rows without key, rows
    /// that cannot be rendered, shared keys.
    pub(crate) fn outline(&self) -> Result<PlanReport, Error> {
        self.read_and_pack(None).map(|(outline, _)| outline)
    }

    /// Writes the spool into `folder`, one file a batch, and reports what was found.
    ///
    /// # Errors
    /// As [`Planner::outline`], and when the spool cannot be written; `folder` is then for the
    /// caller to remove.
    pub(crate) fn spool(&self, folder: &Path) -> Result<(PlanReport, Vec<SpooledBatch>), Error> {
        self.read_and_pack(Some(folder))
    }

    /// The estimator of the job.
    ///
    /// # Errors
    /// [`Error::NoPrice`].
    pub(crate) fn estimator(&self) -> Result<Estimator<'_>, Error> {
        let (request, requests) = (&self.file.job.request, &self.compiled.requests);
        let prefix = RequestPrefix {
            model: &request.model,
            head: requests.head(),
            media: requests.shared_media(),
        };
        Ok(Estimator::new(
            &self.compiled.catalog,
            &prefix,
            self.history.clone(),
        )?)
    }

    /// The arithmetic of the cache warm-up.
    pub(super) fn warm_up_decision(
        &self,
        estimator: &Estimator<'_>,
        fit: &Fit,
    ) -> Result<WarmUpDecision, Error> {
        let choices = self.compiled.requests.per_row();
        let split = [
            (choices.model, CacheSplit::Model),
            (choices.effort, CacheSplit::Effort),
        ]
        .into_iter()
        .find(|(is_chosen, _)| *is_chosen);
        let decision = WarmUpDecision::new(self.file.job.cache.prime, estimator, fit)?;
        Ok(decision.split_by(split.map(|(_, choice)| choice)))
    }

    /// Estimates an outline again, by rows that the provider counted.
    ///
    /// # Errors
    /// [`Error::NoPrice`].
    pub(super) fn estimate_by_counts(
        &self,
        outline: &mut PlanReport,
        shared_tokens: u64,
        counted: &[CountedRow],
    ) -> Result<(), Error> {
        let estimator = self.estimator()?;
        let fit = estimator.counted(shared_tokens, counted, &outline.statistics.total());
        // Whether one request goes first was settled when the batches were made; only the figures
        // behind that follow the counts.
        let warms_up = warms_up(&outline.checkpoints);
        outline.cache = self.warm_up_decision(&estimator, &fit)?.explain(
            outline.requests,
            warms_up,
            outline.requests > 1,
        );
        outline.estimate = estimator.estimate(&outline.statistics, fit, warms_up)?;
        Ok(())
    }

    /// Whether the provider takes batches of these many requests.
    ///
    /// # Errors
    /// [`Error::BatchTooSmall`].
    pub(super) fn check_sizes(&self, sizes: &[u32]) -> Result<(), Error> {
        let rules = self.format.rules();
        match rules.too_small(sizes.iter().copied()) {
            Some((batch, requests)) => Err(Error::BatchTooSmall {
                batch,
                requests,
                min: rules.min_requests,
            }),
            None => Ok(()),
        }
    }

    /// Whether the provider takes rows that choose their model.
    ///
    /// # Errors
    /// [`Error::OneModelABatch`].
    pub(super) fn check_models(&self) -> Result<(), Error> {
        // Batches keep the order of the rows, so rows of two models that alternate would make
        // batches of one request each.
        if self.format.rules().one_model && self.compiled.requests.per_row().model {
            return Err(Error::OneModelABatch);
        }
        Ok(())
    }

    fn read_and_pack(
        &self,
        spool: Option<&Path>,
    ) -> Result<(PlanReport, Vec<SpooledBatch>), Error> {
        self.check_models()?;
        let repeated = self.repeated_rows()?;
        let estimator = self.estimator()?;
        let renderer = self.renderer(&estimator, &repeated);
        let mut batches = BatchMaker::new(self, &estimator, spool)?;
        let mut scan = self.compiled.source.scan(Some(&self.compiled.read))?;
        let rows = std::iter::from_fn(|| scan.next()).flat_map(|rows| match rows {
            Ok(_) if self.observer.is_stopping() => vec![Err(Error::Interrupted)],
            Ok(rows) => renderer.stretches(&rows).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(Error::from(error))],
        });
        in_order(
            self.threads,
            rows,
            |rows: SourceRows| Ok(renderer.render(rows)),
            |rendered| batches.add(rendered),
        )?;
        let read = scan.counts().read;
        batches.finish(read)
    }

    pub(super) fn renderer<'a>(
        &'a self,
        estimator: &'a Estimator<'_>,
        repeated: &'a [(u64, u32)],
    ) -> Renderer<'a> {
        Renderer {
            keys: &self.compiled.keys,
            requests: &self.compiled.requests,
            estimator: estimator.row_estimator(),
            nonce: self.nonce,
            on_duplicate: self.file.job.key.on_duplicate,
            repeated,
            skip_bad_rows: self.file.job.request.on_row_error == OnRowError::Skip,
            window: self.window(estimator),
            reuse: self.reuse,
        }
    }

    /// Deals the job's requests to batches, of which the first have these sizes, or the fewest that
    /// the provider takes.
    pub(super) fn packer(&self, first_sizes: impl IntoIterator<Item = u32>) -> Packer {
        let (head, min) = (
            self.compiled.requests.head(),
            self.format.rules().min_requests,
        );
        Packer::for_head(self.limits, &self.format.envelope(), head.len())
            .with_first_sizes(first_sizes.into_iter().map(|size| size.max(min)))
    }

    /// How long a prompt may be.
    pub(super) fn window(&self, estimator: &Estimator<'_>) -> ContextWindow<'_> {
        ContextWindow::new(
            &self.compiled.catalog,
            estimator,
            self.file.job.request.on_too_large,
        )
    }

    /// The rows whose key an earlier row has, where the job has them numbered or left out and not
    /// rejected. It reads the key columns once more.
    fn repeated_rows(&self) -> Result<Vec<(u64, u32)>, Error> {
        let key = &self.file.job.key;
        if key.on_duplicate == OnDuplicate::Error || key.columns.is_empty() {
            return Ok(Vec::new());
        }
        let mut finder = DuplicateFinder::new(&self.scratch, key.on_duplicate);
        for rows in self
            .compiled
            .source
            .scan(Some(self.compiled.keys.columns()))?
        {
            let rows = rows?;
            for (row, &index) in rows.row_index.iter().enumerate() {
                // A row without a key is reported when all rows are read and packed.
                if let Ok(key) = self.compiled.keys.key(&rows.batch, row, index) {
                    finder
                        .push(key.hash(), index)
                        .map_err(|e| self.no_scratch(e))?;
                }
            }
        }
        Ok(finder.finish().map_err(|e| self.no_scratch(e))?.ordinals)
    }

    pub(super) fn no_scratch(&self, source: std::io::Error) -> Error {
        Error::File {
            doing: "use a temporary file in",
            path: self.scratch.clone(),
            source,
        }
    }

    /// Describes the first shared keys, by reading their first rows again.
    pub(super) fn shared_keys(&self, found: &Duplicates) -> Result<SharedKeys, Error> {
        let mut first = Vec::new();
        let mut wanted: Vec<&Vec<u64>> =
            found.first.iter().filter(|rows| !rows.is_empty()).collect();
        wanted.sort_by_key(|rows| rows[0]);
        let mut scan = self
            .compiled
            .source
            .scan(Some(self.compiled.keys.columns()))?;
        while first.len() < wanted.len() {
            let Some(rows) = scan.next() else { break };
            let rows = rows?;
            while let Some(group) = wanted.get(first.len()) {
                let Ok(row) = rows.row_index.binary_search(&group[0]) else {
                    break;
                };
                let key = self.compiled.keys.key(&rows.batch, row, group[0]);
                first.push((
                    key.map_or_else(|_| String::new(), |key| key.describe()),
                    (*group).clone(),
                ));
            }
        }
        Ok(SharedKeys {
            columns: self.compiled.keys.columns().to_vec(),
            rows: found.rows,
            keys: found.groups,
            first,
        })
    }
}

/// Whether one request goes first and writes the cache.
pub(super) fn warms_up(checkpoints: &[Checkpoint]) -> bool {
    checkpoints
        .iter()
        .any(|checkpoint| checkpoint.kind == CheckpointKind::Prime)
}

/// Threads to render on: as many as the machine has.
#[must_use]
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}
