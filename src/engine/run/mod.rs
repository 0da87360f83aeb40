//! An opened run: its folder, its plan, its journal, and what they say about each batch.
//!
//! Opening takes the run's lock, so that one process works on it at a time, and reads the journal
//! into a state. From then on an event is on disk before the state takes it in.

mod manifest;
mod mark;
mod proof;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use serde::Serialize;

use crate::batch::{SpoolReader, SpooledBatch, SpooledBody, verify};
use crate::catalog::Catalog;
use crate::durable;
use crate::job::{Job, JobFile};
use crate::join::ResultIndex;
use crate::journal::{
    AbandonReason, Batch, BatchState, Event, HashedFile, Journal, Lock, Owner, Plan, RunDir,
    RunNote, State, Step,
};
use crate::ledger::OnLimit;
use crate::output::OutputSpec;
use crate::provider::{BatchFormat, BatchId, Formats};

use crate::engine::budget::{BudgetContext, RunBudget};
use crate::engine::compile::CompiledJob;
use crate::engine::context::between;
use crate::engine::evidence::{Evidence, Scope};
use crate::engine::export_options::ExportOptions;
use crate::engine::export_summary::ExportSummary;
use crate::engine::fingerprint::{hash_of_job, hashed_files, is_same_source, source_files};
use crate::engine::kept_job::KeptJob;
use crate::engine::pace::HeldByBudget;
use crate::engine::reuse::ReusePlan;
use crate::engine::run_place::RunPlace;
use crate::engine::{Error, doubt, view};

/// What of a job is no longer what a run was planned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "changed", rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobChange {
    /// The job file, or options that were given beside it.
    Job {
        /// The job file.
        path: PathBuf,
    },
    /// A template, a schema or another file that the job names.
    File {
        /// The file.
        path: PathBuf,
    },
    /// The source.
    Source,
}

/// Results of one batch that sent rows of a planned batch.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) batch: u32,
    pub(crate) attempt: u32,
    pub(crate) id: BatchId,
    pub(crate) file: PathBuf,
    /// blake3 of the file when it was saved; `None` where nothing was returned.
    pub(crate) file_hash: Option<String>,
}

/// An opened run.
#[derive(Debug)]
pub struct Run {
    catalog: Arc<Catalog>,
    dir: RunDir,
    pub(super) plan: Plan,
    format: &'static dyn BatchFormat,
    formats: Formats,
    kept: KeptJob,
    reuse: Option<ReusePlan>,
    pub(super) budget: RunBudget,
    /// How long the job tries calls again that fail, in seconds, where it says so.
    patience: Option<u64>,
    head: Arc<[u8]>,
    journal: Journal,
    /// Batches of the workspace that were looked into, each with the batch in doubt that it is not.
    not_it: HashSet<(u32, BatchId)>,
    /// Batches of the workspace that were looked into, and are not of this run.
    foreign_batches: HashSet<BatchId>,
    /// Batches in doubt that the user decided to send again.
    resend_decided: HashSet<u32>,
    /// Batches whose saved results are fetched once more, each with whether what is saved is not to
    /// be trusted.
    again: BTreeMap<u32, bool>,
    /// Batches whose results were missing or altered, and fetched once more for that.
    replaced: HashSet<u32>,
    /// Whether it was planned by this process.
    is_new: bool,
    /// How many batches the run had when the provider's list was searched for them.
    searched: u32,
    /// Batches that this process looked for one by one, and that do not exist.
    absent: HashSet<u32>,
    /// Whether the rest is sent whatever the results of the first rows.
    ignores_canary: bool,
    options: ExportOptions,
    last_summary: Option<ExportSummary>,
    /// Whether the output replaces whatever exists in its place.
    replaces: bool,
    /// The lines of results that are being recorded, so that the ledger need not read them again.
    index_in_hand: Option<(u32, ResultIndex)>,
    _lock: Lock,
}

impl Run {
    /// Opens a run, takes its lock, and brings the ledger in line with it. Also returns what the
    /// user should know of it, such as a torn last line.
    ///
    /// # Errors
    /// [`Error::Journal`]: it is locked, is no run, or its files do not hold together; [`Error::Ledger`].
    pub fn open(
        folder: &Path,
        now: Timestamp,
        context: &BudgetContext,
    ) -> Result<(Run, Vec<RunNote>), Error> {
        let (dir, plan, mut notes) = RunDir::open(folder)?;
        let lock = Lock::take(&dir, &Owner::this_process(now))?;
        let (journal, more) = Journal::open(&dir.journal(), &plan)?;
        notes.extend(more);
        let kept = KeptJob::of_plan(&dir, &plan)?;
        let place = RunPlace::of(dir.path(), &plan, &kept.job.budget, &context.state);
        let reuse = plan.reuse.clone().map(serde_json::from_value);
        let reuse = reuse
            .transpose()
            .map_err(|source| crate::journal::Error::Damaged {
                path: dir.plan(),
                source,
            })?;
        let format = format_of(&plan, &context.formats)?;
        let head = dir.read_head(&plan.head)?;
        let options = ExportOptions::of_plan(&plan, &kept, &place);
        clear_away_what_a_crash_left(&dir, &options.path);
        let budget = RunBudget::open(place, &plan, context, kept.job.budget.clone(), now)?;
        let patience = kept.job.batch.patience_seconds;
        let mut run = Run {
            catalog: Arc::clone(&context.catalog),
            dir,
            plan,
            format,
            formats: context.formats.clone(),
            kept,
            reuse,
            budget,
            patience,
            head,
            journal,
            not_it: HashSet::new(),
            foreign_batches: HashSet::new(),
            resend_decided: HashSet::new(),
            again: BTreeMap::new(),
            replaced: HashSet::new(),
            is_new: false,
            searched: 0,
            absent: HashSet::new(),
            ignores_canary: false,
            options,
            last_summary: None,
            replaces: false,
            index_in_hand: None,
            _lock: lock,
        };
        notes.extend(run.reconcile(now)?);
        run.follow_all(now)?;
        Ok((run, notes))
    }

    /// Records that the user decided to send again what is in doubt now, and returns the number of
    /// such batches. They are looked for once more, and adopted if they are found.
    pub fn resubmit_doubtful(&mut self) -> usize {
        self.resend_decided = self.state().doubts().collect();
        self.resend_decided.len()
    }

    pub(crate) fn is_decided(&self, batch: u32) -> bool {
        self.resend_decided.contains(&batch)
    }

    /// Records that everything is sent, whatever the results of the first rows.
    pub fn ignore_canary(&mut self) {
        self.ignores_canary = true;
    }

    /// Records that the output replaces the existing one, even if it is less complete.
    pub fn replace_output(&mut self) {
        self.replaces = true;
    }

    pub(crate) fn replaces_output(&self) -> bool {
        self.replaces
    }

    pub(crate) fn ignores_canary(&self) -> bool {
        self.ignores_canary
    }

    /// Records an event on disk, then in the state; the ledger follows.
    pub(crate) fn record(&mut self, at: Timestamp, event: Event) -> Result<(), Error> {
        let batch = event.batch();
        self.journal.append(at, event)?;
        batch.map_or(Ok(()), |batch| self.follow(batch, at))
    }

    /// Whether more of the run may be sent.
    ///
    /// # Errors
    /// [`Error::Abandoned`].
    pub fn check_not_abandoned(&self) -> Result<(), Error> {
        match self.state().abandoned() {
            Some(_) => Err(Error::Abandoned {
                run: self.folder().to_path_buf(),
            }),
            None => Ok(()),
        }
    }

    /// Abandons the run: nothing more of it is sent. What was sent can still be fetched.
    ///
    /// # Errors
    /// [`Error::Journal`] when that cannot be recorded.
    pub fn abandon(&mut self, now: Timestamp, reason: AbandonReason) -> Result<(), Error> {
        if self.state().abandoned().is_some() {
            return Ok(());
        }
        self.record(now, Event::Abandoned { reason })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the journal says.
    #[must_use]
    pub fn state(&self) -> &State {
        self.journal.state()
    }

    /// The run's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// What is known of models, and what they cost.
    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(crate) fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// What all planned requests share.
    pub(crate) fn head(&self) -> Arc<[u8]> {
        Arc::clone(&self.head)
    }

    /// The job as it was planned.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.kept.job
    }

    /// What it takes from the outputs of earlier runs.
    pub(crate) fn reuse(&self) -> Option<&ReusePlan> {
        self.reuse.as_ref()
    }

    /// The API version and betas its requests were made for.
    #[must_use]
    pub fn api_options(&self) -> (Option<String>, Vec<String>) {
        let request = &self.kept.job.request;
        (request.api_version.clone(), request.betas.clone())
    }

    /// How long a lost batch is looked for.
    #[must_use]
    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.kept.job.batch.settle_seconds)
    }

    /// How long the job tries calls again that fail, where it says so.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.patience.map(Duration::from_secs)
    }

    /// Takes the patience of the job file as it is now, which is no part of what is sent.
    pub(crate) fn set_patience(&mut self, seconds: Option<u64>) {
        self.patience = seconds;
    }

    /// Whether the run can still be the one a job file means.
    ///
    /// # Errors
    /// [`Error::Changed`] that says what changed since the plan.
    pub fn check_unchanged(&self, file: &JobFile, compiled: &CompiledJob) -> Result<(), Error> {
        let mut what = Vec::new();
        if hash_of_job(&file.job) != self.plan.job_hash {
            what.push(JobChange::Job {
                path: file.path.clone(),
            });
        }
        for file in changed_files(&self.plan.templates, &hashed_files(compiled)) {
            what.push(JobChange::File {
                path: file.to_path_buf(),
            });
        }
        if !is_same_source(&self.plan.sources, &source_files(compiled)) {
            what.push(JobChange::Source);
        }
        if what.is_empty() {
            Ok(())
        } else {
            Err(Error::Changed {
                run: self.folder().to_path_buf(),
                what,
            })
        }
    }

    /// How its batches and results are written.
    pub(crate) fn format(&self) -> &'static dyn BatchFormat {
        self.format
    }

    /// Whether a provider writes batches and results as this run was planned.
    ///
    /// # Errors
    /// [`Error::OtherProvider`].
    pub(crate) fn check_provider(&self, format: &dyn BatchFormat) -> Result<(), Error> {
        if self.plan.provider == format.name() {
            return Ok(());
        }
        Err(Error::OtherProvider {
            planned: self.plan.provider.clone(),
            given: format.name().to_owned(),
        })
    }

    /// Whether the batches of the run are where the connection leads.
    ///
    /// # Errors
    /// [`Error::OtherOrigin`].
    pub fn check_origin(&self, origin: &str) -> Result<(), Error> {
        if self.plan.origin == origin {
            return Ok(());
        }
        Err(Error::OtherOrigin {
            planned: self.plan.origin.clone(),
            given: origin.to_owned(),
        })
    }

    /// Checks that a batch's spool file is the one that was planned.
    pub(crate) fn body(&self, batch: u32) -> Result<SpooledBody, Error> {
        let (path, entry) = (self.spool_path(batch), self.batch(batch));
        verify(&path, &entry.spooled.file_hash)?;
        Ok(SpooledBody::new(
            &path,
            self.format.envelope(),
            self.head_of(batch)?,
            &entry.spooled,
        ))
    }

    /// What the requests of a batch have in common.
    pub(crate) fn head_of(&self, batch: u32) -> Result<Arc<[u8]>, Error> {
        match &self.batch(batch).head {
            Some(head) => Ok(self.dir.read_head(head)?),
            None => Ok(Arc::clone(&self.head)),
        }
    }

    fn batch(&self, batch: u32) -> &Batch {
        self.state().known_batch(batch)
    }

    /// The number of batches the run was planned with, which hold its rows.
    pub(crate) fn planned_batches(&self) -> u32 {
        u32::try_from(self.plan.batches.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn spooled(&self, batch: u32) -> &SpooledBatch {
        &self.batch(batch).spooled
    }

    pub(crate) fn spool_path(&self, batch: u32) -> PathBuf {
        self.dir.spool_file(batch)
    }

    pub(crate) fn results_path(&self, batch: u32) -> PathBuf {
        self.dir.results_file(batch, self.batch(batch).attempt)
    }

    /// Where the lines of downloads that were not complete are kept.
    pub(crate) fn lines_so_far_path(&self, batch: u32) -> PathBuf {
        self.dir.lines_so_far_file(batch, self.batch(batch).attempt)
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        self.dir.relative(path)
    }

    /// The next batch to send of those whose attempt `which` takes; none that waits at a
    /// checkpoint, none whose rows an uncertain batch may carry, and none that the budget holds:
    /// with `on_limit = "stop"` that is every batch once one does not fit. Parts of a batch that was
    /// split come in its place.
    pub(crate) fn next_to_send(
        &self,
        which: impl Fn(u32) -> bool,
        held: &HeldByBudget,
    ) -> Option<u32> {
        if self.on_limit() == OnLimit::Stop && held.first().is_some() {
            return None;
        }
        let can_go = |batch: &&Batch| {
            which(batch.attempt)
                && !held.holds(batch.number())
                && !doubt::holds(self.state(), batch)
        };
        let mut batches = self.state().to_send().filter(can_go);
        let is_planned = |batch: &&Batch| batch.number() <= self.planned_batches();
        let first = batches.next()?;
        // Numbers follow the rows, but for parts, which have the last numbers.
        let parts = batches.filter(|batch| !is_planned(batch));
        let next = parts.chain([first]);
        next.min_by_key(|batch| (batch.attempt, batch.spooled.first_row, batch.number()))
            .map(Batch::number)
    }

    /// Rows of a planned batch whose batch waits to be sent, by their first and last `row_index`.
    pub(crate) fn unsent_rows(&self, number: u32) -> Vec<(u64, u64)> {
        self.state()
            .unsent_rows(&self.plan.batches[number as usize - 1])
    }

    pub(crate) fn ended(&self) -> impl Iterator<Item = (u32, BatchId)> {
        let again = self
            .again
            .keys()
            .filter_map(|batch| self.state().batch(*batch));
        let again = again.filter_map(|batch| Some((batch.number(), batch.id()?.clone())));
        self.state().ended().chain(again)
    }

    /// Whether results that are not all there may still be fetched from the provider, which costs
    /// nothing: rows are not to be sent again for them before that was tried.
    #[must_use]
    pub fn may_fetch_more(&self, now: Timestamp) -> bool {
        let is_kept = |batch: &Batch| {
            batch
                .known_since()
                .is_some_and(|(_, since)| between(since, now) <= view::RETENTION)
        };
        self.state().incomplete().any(is_kept)
    }

    /// Has the saved results of a batch fetched once more; what is saved stays until there are
    /// better ones.
    pub(crate) fn fetch_again(&mut self, batch: u32) {
        self.again.entry(batch).or_insert(false);
    }

    /// Has results that are missing on this disk, or were altered, fetched once more, where the
    /// provider may still have them; returns whether that is worth a try. It is not a second time.
    pub fn replace_results(&mut self, error: &Error) -> bool {
        let (Error::AlteredResults { path } | Error::MissingResults { path }) = error else {
            return false;
        };
        let is_it = |batch: &&Batch| matches!(&batch.state, BatchState::Collected { file, .. } if self.folder().join(file) == *path);
        let Some(batch) = self.state().batches().iter().find(is_it).map(Batch::number) else {
            return false;
        };
        if !self.replaced.insert(batch) {
            return false;
        }
        self.again.insert(batch, true);
        true
    }

    /// Keeps the index of results that are about to be recorded.
    pub(crate) fn hold_index(&mut self, batch: u32, index: ResultIndex) {
        self.index_in_hand = Some((batch, index));
    }

    /// The index of a batch's results, where they are being recorded.
    pub(crate) fn take_index(&mut self, batch: u32) -> Option<ResultIndex> {
        let (_, index) = self.index_in_hand.take_if(|(held, _)| *held == batch)?;
        Some(index)
    }

    pub(crate) fn drop_index(&mut self) {
        self.index_in_hand = None;
    }

    pub(crate) fn is_fetched_again(&self, batch: u32) -> bool {
        self.again.contains_key(&batch)
    }

    /// Whether the saved results of a batch are not those that were saved.
    pub(crate) fn is_distrusted(&self, batch: u32) -> bool {
        self.again.get(&batch) == Some(&true)
    }

    pub(crate) fn leave_as_it_was(&mut self, batch: u32) {
        self.again.remove(&batch);
    }

    /// Whether batches are in flight, may be, or have results that are not fetched.
    #[must_use]
    pub fn in_flight_or_ended(&self) -> bool {
        self.state().in_flight().next().is_some()
            || self.ended().next().is_some()
            || self.state().doubts().next().is_some()
    }

    pub(crate) fn standing_of(&self, batch: u32) -> &BatchState {
        &self.batch(batch).state
    }

    /// When the create call of a batch was about to be made, in this machine's time.
    pub(crate) fn sent_at(&self, batch: u32) -> Timestamp {
        self.batch(batch).sent_at().unwrap_or(self.plan.created_at)
    }

    /// No batch that a create call of this one made is older, in the provider's time.
    pub(crate) fn not_before(&self, batch: u32) -> Option<Timestamp> {
        self.batch(batch).not_before
    }

    /// When a batch, or its results, were not found.
    pub(crate) fn not_found(&self, batch: u32) -> &[Timestamp] {
        &self.batch(batch).not_found
    }

    /// Records that this process has planned the run, so no other process can have sent anything of
    /// it.
    #[must_use]
    pub fn planned_now(mut self) -> Run {
        self.is_new = true;
        self
    }

    /// Whether no process can have sent a batch without the journal recording it: the run was
    /// planned by this process, or the provider's list was searched for that batch. One that was
    /// added since holds rows that a copy of the run may have sent.
    pub(crate) fn is_searched_for(&self, batch: u32) -> bool {
        self.is_new || batch <= self.searched || self.absent.contains(&batch)
    }

    /// Records that a batch in doubt was looked for, and is sent again.
    pub(crate) fn looked_for(&mut self, batch: u32) {
        self.absent.insert(batch);
    }

    /// Records that the provider's list was searched for all batches there are.
    pub(crate) fn searched(&mut self) {
        self.searched = self.state().batch_count();
    }

    /// Puts in doubt what other files of the run name, and its journal does not.
    fn reconcile(&mut self, now: Timestamp) -> Result<Option<RunNote>, Error> {
        if self.state().abandoned().is_some() {
            return Ok(None);
        }
        let lost = Evidence::read(&self.dir, &self.plan, self.entries(), &self.formats)?
            .lost_events(self.state(), Scope::DoubtSearch, now)?;
        for (at, event) in lost.events {
            self.journal.append(at, event)?;
        }
        Ok((!lost.doubts.is_empty()).then_some(RunNote::MayBeSent {
            batches: lost.doubts,
            reasons: lost.reasons,
        }))
    }

    /// Batches in flight, and batches that are over.
    pub(crate) fn progress(&self) -> (u32, u32) {
        let progress = self.state().progress();
        (progress.in_flight, progress.ended)
    }

    /// Rows that are done, and rows that are sent: a row is done while no batch that is to be sent,
    /// or has not ended, carries it. `counted` gives the requests of a batch in flight that are
    /// done.
    pub(crate) fn rows_done(&self, counted: impl Fn(u32) -> u64) -> (u64, u64) {
        let (mut open, mut rows) = (0, 0);
        for number in 1..=self.state().batch_count() {
            let batch = self.batch(number);
            let requests = u64::from(batch.spooled.requests);
            let is_sent = !matches!(
                batch.state,
                BatchState::Split { .. } | BatchState::Withdrawn
            );
            if is_sent && batch.attempt == 1 {
                rows += requests;
            }
            open += match batch.state.next() {
                Some(Step::Watch) => requests.saturating_sub(counted(number)),
                Some(Step::Submit | Step::Settle) => requests,
                Some(Step::Collect) | None => 0,
            };
        }
        (rows.saturating_sub(open), rows)
    }

    pub(crate) fn is_collected(&self) -> bool {
        self.state().is_collected() && self.again.is_empty()
    }

    /// When a batch in doubt was meant to be sent.
    pub(crate) fn intended_at(&self, batch: u32) -> Timestamp {
        self.batch(batch)
            .intended_at()
            .unwrap_or(self.plan.created_at)
    }

    /// Since when it has been unknown whether a batch was made.
    pub(crate) fn in_doubt_since(&self, batch: u32) -> Timestamp {
        self.batch(batch)
            .in_doubt_since()
            .unwrap_or(self.plan.created_at)
    }

    /// The saved results of every batch that sent rows of a planned batch.
    pub(crate) fn results_of(&self, number: u32) -> Vec<Sent> {
        let rows = &self.plan.batches[number as usize - 1];
        let overlaps = |batch: &&Batch| {
            batch.number() == number
                || (batch.number() > self.planned_batches()
                    && batch.spooled.first_row <= rows.last_row
                    && rows.first_row <= batch.spooled.last_row)
        };
        let file = |batch: &Batch| match &batch.state {
            BatchState::Collected {
                file, file_hash, ..
            } => Some((self.folder().join(file), Some(file_hash.clone()))),
            // Its rows were sent, and nothing was returned: an empty file says so.
            BatchState::Lost { .. } => Some((self.results_path(batch.number()), None)),
            _ => None,
        };
        let sent = |batch: &Batch| {
            let id = batch.remote.as_ref()?.id.clone();
            let (file, file_hash) = file(batch)?;
            Some(Sent {
                batch: batch.number(),
                attempt: batch.attempt,
                id,
                file,
                file_hash,
            })
        };
        self.state()
            .batches()
            .iter()
            .filter(overlaps)
            .filter_map(sent)
            .collect()
    }

    /// Where the output goes.
    #[must_use]
    pub fn output_path(&self) -> PathBuf {
        self.options.path.clone()
    }

    /// Records that the answers are parsed with other options than planned.
    pub fn read_as(&mut self, options: ExportOptions) {
        self.options = options;
    }

    /// How the answers are read, and what is written.
    #[must_use]
    pub fn options(&self) -> &ExportOptions {
        &self.options
    }

    /// How the output is written; its input columns were chosen when the run was planned.
    pub(crate) fn output_spec(&self) -> OutputSpec {
        self.options.output.clone()
    }

    /// The source columns that were kept for the output.
    pub(crate) fn kept_columns(&self) -> Result<SchemaRef, Error> {
        match self.plan.batches.first() {
            Some(first) => Ok(Arc::clone(
                SpoolReader::open(&self.spool_path(first.number))?.columns(),
            )),
            None => Ok(Arc::clone(
                SpoolReader::open(&self.dir.spool().join(crate::journal::COLUMNS_NAME))?.columns(),
            )),
        }
    }

    pub(crate) fn keep_summary(&mut self, summary: &ExportSummary) {
        self.last_summary = Some(summary.clone());
    }
}

/// The format that a run was planned for.
///
/// # Errors
/// [`Error::UnknownProvider`].
pub(super) fn format_of(plan: &Plan, formats: &Formats) -> Result<&'static dyn BatchFormat, Error> {
    formats
        .find(&plan.provider)
        .ok_or_else(|| Error::UnknownProvider {
            provider: plan.provider.clone(),
        })
}

/// Removes temporary files of a process that was killed while it worked on the run. Called with the
/// run's lock.
fn clear_away_what_a_crash_left(dir: &RunDir, output: &Path) {
    for folder in [dir.path(), &dir.spool(), &dir.results()] {
        durable::remove_leftovers(folder, None);
    }
    // The output may be a link, and is written beside what it leads to.
    let output = std::fs::canonicalize(output).unwrap_or_else(|_| output.to_path_buf());
    if let (Some(folder), Some(name)) = (output.parent(), output.file_name()) {
        durable::remove_leftovers(folder, Some(&name.to_string_lossy()));
    }
}

/// Files whose content differs from what was planned, is gone, or is new.
fn changed_files<'f>(
    planned: &'f [HashedFile],
    now: &'f [HashedFile],
) -> impl Iterator<Item = &'f Path> {
    let differs = |file: &&HashedFile, others: &[HashedFile]| !others.contains(file);
    let gone = planned.iter().filter(move |file| differs(file, now));
    let new = now
        .iter()
        .filter(move |file| !planned.iter().any(|old| old.path == file.path));
    gone.chain(new).map(|file| file.path.as_path())
}
