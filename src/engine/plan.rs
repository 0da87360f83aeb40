//! Job → run directory with spooled batches. Nothing is sent.
//!
//! Rows are rendered on every core and packed in row order, so the same job over the same rows
//! makes the same batches. The dry run is the same walk without the spool: what it reports is what
//! a run would do, and it leaves nothing behind.
//!
//! **Memory:** one record batch and about 16 MiB of its requests a core, one row group of the
//! spool, and the duplicate finder's buffers; 24 bytes a row go to a temporary file for the search
//! for duplicates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde::Serialize;

use crate::batch::{Limits, Packer, Placement, SpoolRowsBuilder, SpoolWriter, SpooledBatch};
use crate::estimate::fit::{Counted, Fit};
use crate::estimate::rows::BatchStatistics;
use crate::estimate::sample::{SampleSpec, Sampled, Sampler};
use crate::estimate::sample_plan::Sampling;
use crate::estimate::warm_up::{CacheDecision, WarmUpDecision};
use crate::estimate::{Asked, Estimate, Estimator, Known};
use crate::job::JobFile;
use crate::journal::{Checkpoint, CheckpointKind};
use crate::provider::BatchFormat;
use crate::request::OnRowError;
use crate::request::custom_id::Nonce;
use crate::request::duplicates::{DuplicateFinder, Duplicates};
use crate::request::keys::OnDuplicate;
use crate::source::{Rows, SourceSpec};

use super::compile::CompiledJob;
use super::faults::{Causes, Faults};
use super::in_order::in_order;
use super::notice::{Notice, Observer};
use super::rebalance::{Tail, respool};
use super::render::{Line, Rendered, Renderer, Unsent};
use super::row_warnings::{ContextWindow, RowWarnings};
use super::warm_up::WarmUpBatches;
use super::{Error, Warning};

/// What planning found.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows that `where` and `limit` let through: the rows of the run.
    pub rows: u64,
    /// Rows that are sent.
    pub requests: u64,
    /// Rows that are not sent, by the reason's word.
    pub unsent: BTreeMap<String, u64>,
    /// Rows that are set aside because they cannot be rendered, by why.
    pub set_aside: Causes,
    /// What a person should know of the rows; none of it stops the job.
    pub warnings: Vec<Warning>,
    /// The batches, in order.
    pub batches: Vec<PlannedBatch>,
    /// Bytes of all create bodies.
    pub body_bytes: u64,
    /// Bytes that every request has in common; sent with each, kept once.
    pub shared_bytes: u64,
    /// The leading batches that have to be back before the rest is sent.
    pub gates: Vec<Checkpoint>,
    /// Whether one request goes first and writes the cache, and why.
    pub cache: CacheDecision,
    /// What it will cost.
    pub estimate: Estimate,
    /// What the figures rest on, where only some rows were rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampling>,
    /// What the requests weigh, for another estimate of them.
    #[serde(skip)]
    pub gathered: BatchStatistics,
    /// Rows for the provider to count, where they were asked for.
    #[serde(skip)]
    pub sample: Vec<Sampled>,
}

impl PlanReport {
    /// Why there is no row to send, where there is none. That is no error: a night may have no new
    /// rows.
    #[must_use]
    pub fn why_nothing(&self, source: &SourceSpec) -> Option<String> {
        if self.requests > 0 {
            return None;
        }
        Some(match (source.limit, self.rows_read) {
            _ if self.rows > 0 => format!(
                "all {} are set aside",
                crate::estimate::warm_up::thousands(self.rows)
            ),
            (Some(0), _) => "the limit is 0".to_owned(),
            (_, 0) => "the source has columns and no rows".to_owned(),
            (_, read) => format!(
                "`where` holds for none of {}",
                crate::estimate::warm_up::thousands(read)
            ),
        })
    }
}

/// One batch as it was cut.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct PlannedBatch {
    /// Rows it stands for, those that are not sent among them.
    pub rows: u64,
    /// Requests.
    pub requests: u32,
    /// Exact bytes of the create body.
    pub body_bytes: u64,
}

/// Keys that several rows have.
#[derive(Debug)]
pub struct SharedKeys {
    /// The key columns.
    pub columns: Vec<String>,
    /// Rows whose key an earlier row has.
    pub rows: u64,
    /// Keys that more than one row has.
    pub keys: u64,
    /// The first of them: the key in words, and its first rows by `row_index`.
    pub first: Vec<(String, Vec<u64>)>,
}

/// How a plan is to be made.
pub struct Planner<'a> {
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
    pub known: Known,
    /// A sample of rows for the provider to count, where one is wanted.
    pub sample: Option<SampleSpec>,
    /// Where temporary files go.
    pub scratch: PathBuf,
    /// Who hears of progress.
    pub observer: &'a dyn Observer,
}

impl Planner<'_> {
    /// The dry run: reads, renders and packs everything; writes nothing but temporary files that
    /// are gone afterwards.
    ///
    /// # Errors
    /// Whatever would stop a run before anything is sent: unreadable rows, rows without key, rows
    /// that cannot be rendered, shared keys.
    pub fn outline(&self) -> Result<PlanReport, Error> {
        self.walk(None).map(|(outline, _)| outline)
    }

    /// Writes the spool into `folder`, one file a batch, and tells what was found.
    ///
    /// # Errors
    /// As [`Planner::outline`], and when the spool cannot be written; `folder` is then for the
    /// caller to remove.
    pub fn spool(&self, folder: &Path) -> Result<(PlanReport, Vec<SpooledBatch>), Error> {
        self.walk(Some(folder))
    }

    /// What makes the estimates.
    ///
    /// # Errors
    /// [`Error::NoPrice`].
    pub fn estimator(&self) -> Result<Estimator<'_>, Error> {
        let (request, requests) = (&self.file.job.request, &self.compiled.requests);
        let asked = Asked {
            model: &request.model,
            head: requests.head(),
            media: requests.shared_media(),
        };
        Ok(Estimator::new(
            &self.compiled.catalog,
            &asked,
            self.known.clone(),
        )?)
    }

    /// The arithmetic of the cache.
    pub(super) fn priming(
        &self,
        estimator: &Estimator<'_>,
        fit: &Fit,
    ) -> Result<WarmUpDecision, Error> {
        let choices = self.compiled.requests.choices();
        let split = [(choices.model, "model"), (choices.effort, "effort")]
            .into_iter()
            .find(|(is_chosen, _)| *is_chosen);
        let priming = WarmUpDecision::new(self.file.job.cache.prime, estimator, fit)?;
        Ok(priming.split_by(split.map(|(_, choice)| choice)))
    }

    /// Makes the estimate of an outline anew, by rows that the provider counted.
    ///
    /// # Errors
    /// [`Error::NoPrice`].
    pub(super) fn estimate_anew(
        &self,
        outline: &mut PlanReport,
        shared_tokens: u64,
        counted: &[Counted],
    ) -> Result<(), Error> {
        let estimator = self.estimator()?;
        let fit = estimator.counted(shared_tokens, counted, &outline.gathered.total());
        // What leads the run was settled when it was cut; what is said of it is told by what was
        // counted.
        let priming = self.priming(&estimator, &fit)?;
        outline.cache = priming.told(
            outline.requests,
            primes(&outline.gates),
            outline.requests > 1,
        );
        outline.estimate = estimator.estimate(&outline.gathered, fit, primes(&outline.gates))?;
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
        if self.format.rules().one_model && self.compiled.requests.choices().model {
            return Err(Error::OneModelABatch);
        }
        Ok(())
    }

    fn walk(&self, spool: Option<&Path>) -> Result<(PlanReport, Vec<SpooledBatch>), Error> {
        self.check_models()?;
        let repeated = self.repeated_rows()?;
        let estimator = self.estimator()?;
        let renderer = self.renderer(&estimator, &repeated);
        let mut packer = BatchMaker::new(self, &estimator, spool)?;
        let mut scan = self.compiled.source.scan(Some(&self.compiled.read))?;
        let rows = std::iter::from_fn(|| scan.next()).flat_map(|rows| match rows {
            Ok(_) if self.observer.is_stopping() => vec![Err(Error::Interrupted)],
            Ok(rows) => renderer.stretches(&rows).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(Error::from(error))],
        });
        in_order(
            self.threads,
            rows,
            |rows: Rows| Ok(renderer.render(rows)),
            |rendered| packer.take(rendered),
        )?;
        let read = scan.counts().read;
        packer.finish(read)
    }

    pub(super) fn renderer<'a>(
        &'a self,
        estimator: &'a Estimator<'_>,
        repeated: &'a [(u64, u32)],
    ) -> Renderer<'a> {
        Renderer {
            keys: &self.compiled.keys,
            requests: &self.compiled.requests,
            estimator: estimator.estimator(),
            nonce: self.nonce,
            on_duplicate: self.file.job.key.on_duplicate,
            repeated,
            skip_bad_rows: self.file.job.request.on_row_error == OnRowError::Skip,
            window: self.window(estimator),
        }
    }

    /// Deals the job's requests to batches, of which the first have these sizes, or the fewest that
    /// the provider takes.
    pub(super) fn packer(&self, leading: impl IntoIterator<Item = u32>) -> Packer {
        let (head, min) = (
            self.compiled.requests.head(),
            self.format.rules().min_requests,
        );
        Packer::for_head(self.limits, &self.format.envelope(), head.len())
            .led_by(leading.into_iter().map(|size| size.max(min)))
    }

    /// How long a prompt may be.
    pub(super) fn window(&self, estimator: &Estimator<'_>) -> ContextWindow<'_> {
        ContextWindow::new(
            &self.compiled.catalog,
            estimator,
            self.file.job.request.on_too_large,
        )
    }

    /// The rows whose key an earlier row has, where the job wants them treated and not refused: a
    /// walk of its own over the key columns.
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
                // A row without a key is found, and told of, in the main walk.
                if let Ok(key) = self.compiled.keys.key(&rows.batch, row, index) {
                    finder
                        .push(key.hash(), index)
                        .map_err(|e| self.no_scratch(e))?;
                }
            }
        }
        Ok(finder.finish().map_err(|e| self.no_scratch(e))?.ordinals)
    }

    fn no_scratch(&self, source: std::io::Error) -> Error {
        Error::File {
            doing: "use a temporary file in",
            path: self.scratch.clone(),
            source,
        }
    }

    /// Puts the first shared keys into words, by reading their first rows again.
    fn shared_keys(&self, found: &Duplicates) -> Result<SharedKeys, Error> {
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
pub(super) fn primes(gates: &[Checkpoint]) -> bool {
    gates.iter().any(|gate| gate.kind == CheckpointKind::Prime)
}

/// Threads to render on: as many as the machine has.
#[must_use]
pub fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// Cuts rendered rows into pieces, and spools them where there is a spool.
struct BatchMaker<'a> {
    planner: &'a Planner<'a>,
    estimator: &'a Estimator<'a>,
    gathered: BatchStatistics,
    /// The last batches, which may be cut again when the table ends.
    tail: Tail,
    sampler: Option<Sampler>,
    spool: Option<&'a Path>,
    head: Arc<[u8]>,
    packer: Packer,
    priming: WarmUpDecision,
    leading: WarmUpBatches,
    /// The first rendered rows, until it is known how many batches of a set size lead the run.
    first: Option<Rendered>,
    writer: Option<SpoolWriter>,
    pieces: Vec<SpooledBatch>,
    cuts: Vec<PlannedBatch>,
    open: PlannedBatch,
    builder: SpoolRowsBuilder,
    finder: Option<DuplicateFinder>,
    unsent: BTreeMap<String, u64>,
    rows: u64,
    faults: Faults,
    row_warnings: RowWarnings,
}

impl<'a> BatchMaker<'a> {
    fn new(
        planner: &'a Planner<'a>,
        estimator: &'a Estimator<'a>,
        spool: Option<&'a Path>,
    ) -> Result<BatchMaker<'a>, Error> {
        let head: Arc<[u8]> = planner.compiled.requests.head().into();
        let priming = planner.priming(estimator, &estimator.fit())?;
        let leading = WarmUpBatches::of(planner.file, &priming);
        let by_row_number = planner.compiled.keys.columns().is_empty();
        let must_be_unique =
            planner.file.job.key.on_duplicate == OnDuplicate::Error && !by_row_number;
        Ok(BatchMaker {
            packer: planner.packer(leading.sizes()),
            priming,
            leading,
            first: None,
            finder: must_be_unique
                .then(|| DuplicateFinder::new(&planner.scratch, OnDuplicate::Error)),
            planner,
            estimator,
            gathered: estimator.gathered(),
            tail: Tail::new(planner.limits.max_requests),
            sampler: planner.sample.map(Sampler::new),
            spool,
            head,
            writer: None,
            pieces: Vec::new(),
            cuts: Vec::new(),
            open: PlannedBatch::default(),
            builder: SpoolRowsBuilder::default(),
            unsent: BTreeMap::new(),
            rows: 0,
            faults: Faults::default(),
            row_warnings: RowWarnings::default(),
        })
    }

    fn take(&mut self, rendered: Rendered) -> Result<(), Error> {
        if self.leading.is_settled() {
            return self.cut(rendered);
        }
        // A small table is seen as a whole before it is decided; of a large one, that there is
        // more.
        let requests = |rendered: &Rendered| {
            rendered
                .lines
                .iter()
                .filter(|line| line.request.is_ok())
                .count() as u64
        };
        match self.first.take() {
            None if self.leading.wants_more_than(requests(&rendered)) => {
                self.first = Some(rendered);
                Ok(())
            }
            None => {
                self.lead(u64::MAX);
                self.cut(rendered)
            }
            Some(first) => {
                self.lead(u64::MAX);
                self.cut(first)?;
                self.cut(rendered)
            }
        }
    }

    /// Settles which batches lead the run, if it has so many requests.
    fn lead(&mut self, requests: u64) {
        self.leading.settle(requests);
        self.packer = self.planner.packer(self.leading.sizes());
    }

    fn cut(&mut self, rendered: Rendered) -> Result<(), Error> {
        let mut begun = 0;
        for (row, line) in rendered.lines.iter().enumerate() {
            if let (Some(finder), Some(hash)) = (&mut self.finder, line.key_hash) {
                finder
                    .push(hash, rendered.row_index[row])
                    .map_err(|e| self.planner.no_scratch(e))?;
            }
            let placement = self.place(line);
            if placement == Placement::Next {
                self.write(&rendered, begun, row)?;
                self.close()?;
                begun = row;
            }
            self.push(&rendered, row, line, placement);
        }
        self.write(&rendered, begun, rendered.lines.len())?;
        self.rows += rendered.lines.len() as u64;
        self.faults.absorb(rendered.faults);
        self.row_warnings.absorb(rendered.row_warnings);
        if self.planner.observer.is_stopping() {
            return Err(Error::Interrupted);
        }
        if self.faults.enough() {
            return Err(Error::Rows(Box::new(std::mem::take(&mut self.faults))));
        }
        self.planner.observer.notice(Notice::Planning {
            rows: self.rows,
            of: self.planner.compiled.source.rows_hint(),
        });
        Ok(())
    }

    /// Where a row goes; a row without a request goes along with the open piece.
    fn place(&mut self, line: &Line) -> Placement {
        match &line.request {
            Ok(request) => self
                .packer
                .offer((request.custom_id.as_str().len() + request.part.len()) as u64),
            Err(_) => Placement::Here,
        }
    }

    fn push(&mut self, rendered: &Rendered, row: usize, line: &Line, placement: Placement) {
        let index = rendered.row_index[row];
        self.open.rows += 1;
        self.builder.tag_next(line.tag.as_deref());
        match &line.request {
            Ok(request) if placement != Placement::TooLarge => {
                self.open.requests += 1;
                self.open.body_bytes = self.packer.bytes();
                let part = &rendered.text[request.part.clone()];
                self.tail.push(
                    (request.custom_id.as_str().len() + request.part.len()) as u64,
                    request.weight,
                );
                if let Some(sampler) = &mut self.sampler {
                    sampler.offer(index, &request.weight, part);
                }
                self.builder.push_request(
                    index,
                    &line.key,
                    request.custom_id.as_str(),
                    &request.hash.to_string(),
                    part,
                );
            }
            Ok(request) => {
                let bytes = self.head.len() + request.part.len();
                let reason = format!(
                    "its request has {bytes} bytes, and a batch takes at most {}",
                    self.planner.limits.max_bytes
                );
                self.set_aside(
                    index,
                    &line.key,
                    &Unsent {
                        kind: "too_large",
                        reason,
                    },
                );
            }
            Err(unsent) => self.set_aside(index, &line.key, unsent),
        }
    }

    fn set_aside(&mut self, index: u64, key: &str, unsent: &Unsent) {
        *self.unsent.entry(unsent.kind.to_owned()).or_default() += 1;
        self.tail.push_unsent();
        self.builder.push_unsent(
            index,
            key,
            None,
            &format!("{}: {}", unsent.kind, unsent.reason),
        );
    }

    /// Writes the rows pushed so far, which are rows `from..to` of the rendered ones.
    fn write(&mut self, rendered: &Rendered, from: usize, to: usize) -> Result<(), Error> {
        let Some(folder) = self.spool else {
            self.builder = SpoolRowsBuilder::default();
            return Ok(());
        };
        if from == to {
            return Ok(());
        }
        let kept = &self.planner.compiled.kept;
        let columns = super::project(&rendered.rows, kept)?.slice(from, to - from);
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let piece = u32::try_from(self.pieces.len() + 1)
                    .map_err(|_| Error::Bug("more batches than can be numbered".into()))?;
                let path = folder.join(crate::journal::spool_name(piece));
                self.writer.insert(SpoolWriter::create(
                    &path,
                    piece,
                    self.planner.format.envelope(),
                    Arc::clone(&self.head),
                    kept,
                )?)
            }
        };
        writer.write(&self.builder.finish(columns))?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(writer) = self.writer.take() {
            self.pieces.push(writer.finish()?);
        }
        if self.open.rows > 0 {
            self.cuts.push(std::mem::take(&mut self.open));
            let is_leading = self.cuts.len() <= self.leading.sizes().count();
            self.tail.close(is_leading, &mut self.gathered);
        }
        Ok(())
    }

    /// Makes the last batches near-equal, so that none is left over with a few rows.
    fn rebalance(&mut self) -> Result<(), Error> {
        if let Some(new) = self.tail.rebalance(&self.packer) {
            let kept = self.cuts.len() - new.len();
            if let Some(folder) = self.spool {
                let first = u32::try_from(kept + 1)
                    .map_err(|_| Error::Bug("more batches than can be numbered".into()))?;
                let rows: Vec<u64> = new.iter().map(|cut| cut.rows).collect();
                self.pieces.truncate(kept);
                self.pieces.extend(respool(
                    folder,
                    first,
                    &rows,
                    self.planner.format.envelope(),
                    &self.head,
                    &self.planner.compiled.kept,
                )?);
            }
            self.cuts.truncate(kept);
            self.cuts.extend(new);
        }
        self.tail.finish(&mut self.gathered);
        Ok(())
    }

    fn finish(mut self, rows_read: u64) -> Result<(PlanReport, Vec<SpooledBatch>), Error> {
        if let Some(first) = self.first.take() {
            self.lead(
                first
                    .lines
                    .iter()
                    .filter(|line| line.request.is_ok())
                    .count() as u64,
            );
            self.cut(first)?;
        }
        self.close()?;
        if self.faults.any() {
            return Err(Error::Rows(Box::new(self.faults)));
        }
        self.rebalance()?;
        if let Some(finder) = self.finder {
            let found = finder.finish().map_err(|e| self.planner.no_scratch(e))?;
            if !found.is_empty() {
                return Err(Error::DuplicateKeys(Box::new(
                    self.planner.shared_keys(&found)?,
                )));
            }
        }
        if let (0, Some(folder)) = (self.rows, self.spool) {
            // No piece keeps the columns of the output, and an output without rows has them all the
            // same.
            let path = folder.join(crate::journal::COLUMNS_NAME);
            SpoolWriter::create(
                &path,
                0,
                self.planner.format.envelope(),
                Arc::clone(&self.head),
                &self.planner.compiled.kept,
            )?
            .finish()?;
        }
        let sizes: Vec<u32> = self.cuts.iter().map(|cut| cut.requests).collect();
        self.planner.check_sizes(&sizes)?;
        let gates = self.leading.gates(&sizes);
        let estimate =
            self.estimator
                .estimate(&self.gathered, self.estimator.fit(), primes(&gates))?;
        let requests = sizes.iter().map(|&size| u64::from(size)).sum();
        let cache = self.priming.decide(requests, requests > 1);
        let conditions = self.planner.compiled.requests.conditions();
        let outline = PlanReport {
            warnings: self
                .row_warnings
                .warnings(conditions, &self.planner.window(self.estimator)),
            set_aside: self.row_warnings.set_aside,
            gates,
            cache,
            estimate,
            sampled: None,
            gathered: self.gathered,
            sample: self.sampler.map(Sampler::finish).unwrap_or_default(),
            rows_read,
            rows: self.rows,
            requests: self.cuts.iter().map(|cut| u64::from(cut.requests)).sum(),
            unsent: self.unsent,
            body_bytes: self.cuts.iter().map(|cut| cut.body_bytes).sum(),
            batches: self.cuts,
            shared_bytes: self.head.len() as u64,
        };
        Ok((outline, self.pieces))
    }
}
