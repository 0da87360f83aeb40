//! Rendered rows → batches, in row order, and their spool files where there is a spool.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::batch::{Packer, Placement, SpoolRowsBuilder, SpoolWriter, SpooledBatch};
use crate::estimate::Estimator;
use crate::estimate::rows::BatchStatistics;
use crate::estimate::sample::CalibrationSampler;
use crate::estimate::warm_up::WarmUpDecision;
use crate::request::RequestHash;
use crate::request::custom_id::CustomId;
use crate::request::duplicates::DuplicateFinder;
use crate::request::keys::OnDuplicate;

use super::Error;
use super::faults::Faults;
use super::notice::Notice;
use super::plan::{Planner, warms_up};
use super::plan_report::{PlanReport, PlannedBatch};
use super::rebalance::{BatchTail, respool};
use super::render::{RenderedRow, RenderedRows, UnsentReason};
use super::reuse::{FileUses, RowClasses, SharedAnswer};
use super::row_warnings::RowWarnings;
use super::warm_up::WarmUpBatches;

/// Rows for each request, up to which the last batches are made near-equal.
const MOST_ROWS_A_REQUEST: u64 = 8;

/// Packs rendered rows into batches, and spools them where there is a spool.
pub(super) struct BatchMaker<'a> {
    planner: &'a Planner<'a>,
    estimator: &'a Estimator<'a>,
    statistics: BatchStatistics,
    /// The last batches, which may be packed again when the table ends.
    tail: BatchTail,
    sampler: Option<CalibrationSampler>,
    spool: Option<&'a Path>,
    head: Arc<[u8]>,
    packer: Packer,
    warm_up: WarmUpDecision,
    warm_up_batches: WarmUpBatches,
    /// The first rendered rows, until it is known how many batches of a set size lead the run.
    first: Option<RenderedRows>,
    writer: Option<SpoolWriter>,
    spooled: Vec<SpooledBatch>,
    batches: Vec<PlannedBatch>,
    open: PlannedBatch,
    builder: SpoolRowsBuilder,
    finder: Option<DuplicateFinder>,
    unsent: BTreeMap<String, u64>,
    /// What the rows are, beside earlier outputs, and from which they take answers.
    classes: RowClasses,
    uses: FileUses,
    /// The first row of each request that was packed, where identical ones are sent once.
    first_rows: Option<HashMap<RequestHash, u64>>,
    rows: u64,
    faults: Faults,
    row_warnings: RowWarnings,
}

impl<'a> BatchMaker<'a> {
    pub(super) fn new(
        planner: &'a Planner<'a>,
        estimator: &'a Estimator<'a>,
        spool: Option<&'a Path>,
    ) -> Result<BatchMaker<'a>, Error> {
        let head: Arc<[u8]> = planner.compiled.requests.head().into();
        let warm_up = planner.warm_up_decision(estimator, &estimator.fit())?;
        let warm_up_batches = WarmUpBatches::of(planner.file, &warm_up);
        let by_row_number = planner.compiled.keys.columns().is_empty();
        let must_be_unique =
            planner.file.job.key.on_duplicate == OnDuplicate::Error && !by_row_number;
        Ok(BatchMaker {
            packer: planner.packer(warm_up_batches.sizes()),
            warm_up,
            warm_up_batches,
            first: None,
            finder: must_be_unique
                .then(|| DuplicateFinder::new(&planner.scratch, OnDuplicate::Error)),
            planner,
            estimator,
            statistics: estimator.statistics(),
            tail: BatchTail::new(planner.limits.max_requests),
            sampler: planner.sample.map(CalibrationSampler::new),
            spool,
            head,
            writer: None,
            spooled: Vec::new(),
            batches: Vec::new(),
            open: PlannedBatch::default(),
            builder: SpoolRowsBuilder::default(),
            unsent: BTreeMap::new(),
            classes: RowClasses::default(),
            uses: FileUses::default(),
            first_rows: planner.file.job.request.dedupe.then(HashMap::new),
            rows: 0,
            faults: Faults::default(),
            row_warnings: RowWarnings::default(),
        })
    }

    pub(super) fn add(&mut self, rendered: RenderedRows) -> Result<(), Error> {
        if self.warm_up_batches.is_settled() {
            return self.pack(rendered);
        }
        // Whether a warm-up pays depends on the number of requests. A small table is rendered whole
        // before the decision; of a large one it is enough to know that there is more.
        match self.first.take() {
            None if self.warm_up_batches.wants_more_than(rendered.requests()) => {
                self.first = Some(rendered);
                Ok(())
            }
            None => {
                self.settle_warm_up(u64::MAX);
                self.pack(rendered)
            }
            Some(first) => {
                self.settle_warm_up(u64::MAX);
                self.pack(first)?;
                self.pack(rendered)
            }
        }
    }

    /// Settles which batches are sent first, if the run has enough requests.
    fn settle_warm_up(&mut self, requests: u64) {
        self.warm_up_batches.settle(requests);
        self.packer = self.planner.packer(self.warm_up_batches.sizes());
    }

    fn pack(&mut self, rendered: RenderedRows) -> Result<(), Error> {
        let mut begun = 0;
        for (row, line) in rendered.lines.iter().enumerate() {
            if let (Some(finder), Some(hash)) = (&mut self.finder, line.key_hash) {
                finder
                    .push(hash, rendered.row_index[row])
                    .map_err(|e| self.planner.no_scratch(e))?;
            }
            let same = self.first_row_of(rendered.row_index[row], line);
            let placement = if same.is_some() {
                Placement::Here
            } else {
                self.place(line)
            };
            if placement == Placement::Next {
                self.write(&rendered, begun, row)?;
                self.close()?;
                begun = row;
            }
            match same {
                Some(first) => self.share(rendered.row_index[row], line, first),
                None => self.push(&rendered, row, line, placement),
            }
        }
        self.write(&rendered, begun, rendered.lines.len())?;
        self.rows += rendered.lines.len() as u64;
        self.faults.absorb(rendered.faults);
        self.row_warnings.absorb(rendered.row_warnings);
        self.classes.absorb(&rendered.classes);
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

    /// The row that sends an identical request, where requests are sent once and an earlier row
    /// does.
    fn first_row_of(&mut self, index: u64, line: &RenderedRow) -> Option<u64> {
        let request = line.request.as_ref().ok()?;
        match self.first_rows.as_mut()?.entry(request.hash) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(entry) => {
                entry.insert(index);
                None
            }
        }
    }

    /// Adds a row that shares the answer of an earlier one.
    fn share(&mut self, index: u64, line: &RenderedRow, first: u64) {
        self.open.rows += 1;
        self.classes.duplicates += 1;
        let hash = line.request.as_ref().ok().map(|request| request.hash);
        self.without_request(index, line, hash, &SharedAnswer(first).to_string());
    }

    /// Adds a row that has no request of its own to the open batch.
    fn without_request(
        &mut self,
        index: u64,
        line: &RenderedRow,
        hash: Option<RequestHash>,
        reason: &str,
    ) {
        self.tail.push_unsent();
        self.builder.tag_next(line.tag.as_deref());
        self.builder.push_unsent(
            index,
            &line.key,
            line.custom_id.as_ref().map(CustomId::as_str),
            hash.map(|hash| hash.to_string()).as_deref(),
            reason,
        );
    }

    /// Where a row goes; a row without a request stays with the open batch.
    fn place(&mut self, line: &RenderedRow) -> Placement {
        match &line.request {
            Ok(request) => self
                .packer
                .offer((request.custom_id.as_str().len() + request.part.len()) as u64),
            Err(_) => Placement::Here,
        }
    }

    fn push(
        &mut self,
        rendered: &RenderedRows,
        row: usize,
        line: &RenderedRow,
        placement: Placement,
    ) {
        let index = rendered.row_index[row];
        self.open.rows += 1;
        if let Some((place, hash)) = line.answer {
            self.uses.note(place);
            return self.without_request(index, line, Some(hash), &place.to_string());
        }
        self.builder.tag_next(line.tag.as_deref());
        match &line.request {
            Ok(request) if placement != Placement::TooLarge => {
                self.open.requests += 1;
                self.open.body_bytes = self.packer.bytes();
                let part = &rendered.text[request.part.clone()];
                self.tail.push(
                    (request.custom_id.as_str().len() + request.part.len()) as u64,
                    request.estimate,
                );
                if self.spool.is_some() {
                    let estimate = self.builder.estimate_next();
                    self.estimator.encode(&request.estimate, estimate);
                }
                if let Some(sampler) = &mut self.sampler {
                    sampler.offer(index, &request.estimate, part);
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
                    line,
                    &UnsentReason {
                        kind: "too_large",
                        reason,
                    },
                );
            }
            Err(unsent) => self.set_aside(index, line, unsent),
        }
    }

    fn set_aside(&mut self, index: u64, line: &RenderedRow, unsent: &UnsentReason) {
        *self.unsent.entry(unsent.kind.to_owned()).or_default() += 1;
        let reason = format!("{}: {}", unsent.kind, unsent.reason);
        self.without_request(index, line, None, &reason);
    }

    /// Writes the rows pushed so far, which are rows `from..to` of the rendered ones.
    fn write(&mut self, rendered: &RenderedRows, from: usize, to: usize) -> Result<(), Error> {
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
                let number = u32::try_from(self.spooled.len() + 1)
                    .map_err(|_| Error::Bug("more batches than can be numbered".into()))?;
                let path = folder.join(crate::journal::spool_name(number));
                self.writer.insert(SpoolWriter::create(
                    &path,
                    number,
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
            self.spooled.push(writer.finish()?);
        }
        if self.open.rows > 0 {
            self.batches.push(std::mem::take(&mut self.open));
            let is_warm_up = self.batches.len() <= self.warm_up_batches.sizes().count();
            self.tail.close(is_warm_up, &mut self.statistics);
        }
        Ok(())
    }

    /// Makes the last batches near-equal, so that none is left over with a few rows. Where most rows
    /// have no request, writing all of them once more would cost more than a small batch does.
    fn rebalance(&mut self) -> Result<(), Error> {
        let rows: u64 = self.batches.iter().map(|batch| batch.rows).sum();
        let requests: u64 = self
            .batches
            .iter()
            .map(|batch| u64::from(batch.requests))
            .sum();
        let is_mostly_requests = rows <= requests.saturating_mul(MOST_ROWS_A_REQUEST);
        if let Some(new) = is_mostly_requests
            .then(|| self.tail.rebalance(&self.packer))
            .flatten()
        {
            let kept = self.batches.len() - new.len();
            if let Some(folder) = self.spool {
                let first = u32::try_from(kept + 1)
                    .map_err(|_| Error::Bug("more batches than can be numbered".into()))?;
                let rows: Vec<u64> = new.iter().map(|batch| batch.rows).collect();
                self.spooled.truncate(kept);
                self.spooled.extend(respool(
                    folder,
                    first,
                    &rows,
                    self.planner.format.envelope(),
                    &self.head,
                    &self.planner.compiled.kept,
                )?);
            }
            self.batches.truncate(kept);
            self.batches.extend(new);
        }
        self.tail.finish(&mut self.statistics);
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        rows_read: u64,
    ) -> Result<(PlanReport, Vec<SpooledBatch>), Error> {
        if let Some(first) = self.first.take() {
            self.settle_warm_up(first.requests());
            self.pack(first)?;
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
            // There is no spool file to keep the columns of the output, and an output without rows
            // still has them.
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
        let sizes: Vec<u32> = self.batches.iter().map(|batch| batch.requests).collect();
        self.planner.check_sizes(&sizes)?;
        let checkpoints = self.warm_up_batches.checkpoints(&sizes);
        let estimate = self.estimator.estimate(
            &self.statistics,
            self.estimator.fit(),
            warms_up(&checkpoints),
        )?;
        let requests = sizes.iter().map(|&size| u64::from(size)).sum();
        let cache = self.warm_up.decide(requests, requests > 1);
        let conditions = self.planner.compiled.requests.conditions();
        let incremental = self.planner.reuse.map(|reuse| reuse.report(self.classes));
        let outline = PlanReport {
            budget: Vec::new(),
            incremental: incremental.filter(|found| !found.is_empty()),
            uses: self.uses,
            warnings: self
                .row_warnings
                .warnings(conditions, &self.planner.window(self.estimator)),
            set_aside: self.row_warnings.set_aside,
            checkpoints,
            cache,
            estimate,
            sampled: None,
            statistics: self.statistics,
            sample: self
                .sampler
                .map(CalibrationSampler::finish)
                .unwrap_or_default(),
            rows_read,
            rows: self.rows,
            requests: self
                .batches
                .iter()
                .map(|batch| u64::from(batch.requests))
                .sum(),
            unsent: self.unsent,
            body_bytes: self.batches.iter().map(|batch| batch.body_bytes).sum(),
            batches: self.batches,
            shared_bytes: self.head.len() as u64,
        };
        Ok((outline, self.spooled))
    }
}
