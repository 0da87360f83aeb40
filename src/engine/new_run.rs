//! A planned job → a run's folder.
//!
//! The plan keeps everything that is needed once the job file, the templates or the source are gone
//! or have changed, and the hashes that detect such a change.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::batch::SpooledBatch;
use crate::cost::Money;
use crate::job::JobFile;
use crate::journal::{HeadFile, Owner, Plan, PlanCounts, Planning};
use crate::request::custom_id::Nonce;

use super::Error;
use super::compile::CompiledJob;
use super::fingerprint::{hash_of_job, hashed_files, source_files};
use super::kept_job::{KeptJob, absolute};
use super::plan::Planner;
use super::plan_report::PlanReport;
use super::reuse;

/// A run that is about to be planned.
pub(super) struct NewRun<'a> {
    /// The folder it will have.
    pub folder: &'a Path,
    /// The state directory that it belongs to.
    pub state: &'a Path,
    /// The job.
    pub file: &'a JobFile,
    /// Its rooms.
    pub compiled: &'a CompiledJob,
    /// Its mark in every custom_id.
    pub nonce: &'a Nonce,
    /// Where its batches will be.
    pub origin: String,
    /// Whether that is the simulator.
    pub simulated: bool,
    /// Whether the rows to take were set on the command line.
    pub narrowed: bool,
    /// Most that it may cost, if the user set it.
    pub max_cost: Option<Money>,
    /// When it is planned.
    pub now: Timestamp,
}

impl NewRun<'_> {
    /// Plans the run: spools every batch and writes the plan. The folder appears under its name
    /// when all of it is there.
    ///
    /// `count` may have rows of the sample counted, and the estimate is made again from them.
    ///
    /// # Errors
    /// As [`Planner::spool`], what `count` gives, and when the folder cannot be written. Nothing is
    /// left behind then.
    pub(super) fn plan<'p>(
        &self,
        planner: impl FnOnce(PathBuf) -> Planner<'p>,
        count: impl FnOnce(&Planner<'p>, &mut PlanReport) -> Result<(), Error>,
    ) -> Result<PlanReport, Error> {
        let planning = Planning::begin(self.folder, &Owner::this_process(self.now))?;
        let planner = planner(planning.dir().path().to_path_buf());
        let (limits, provider) = (planner.limits, planner.format.name());
        let (mut outline, batches) = planner.spool(&planning.dir().spool())?;
        let files = self.compiled.uploads.missing();
        if files > 0 {
            return Err(Error::NotUploaded { files });
        }
        count(&planner, &mut outline)?;
        let found = outline.incremental.as_ref();
        let classes = found.map(|found| found.classes.clone()).unwrap_or_default();
        let reuse = match planner.reuse {
            Some(reuse) => reuse::keep(reuse, &outline.uses, &classes, planning.dir())?,
            None => None,
        };
        let head = self.compiled.requests.head();
        let mut plan = self.describe(&outline, batches, limits, provider, head);
        plan.reuse = reuse.map(|reuse| {
            serde_json::to_value(reuse).expect("a plan is plain data with string keys")
        });
        planning.finish(plan, head)?;
        Ok(outline)
    }

    fn describe(
        &self,
        outline: &PlanReport,
        batches: Vec<SpooledBatch>,
        limits: crate::batch::Limits,
        provider: &str,
        head: &[u8],
    ) -> Plan {
        let kept = KeptJob::of(self.file);
        Plan {
            format: crate::journal::FORMAT,
            tool: concat!("rowmill ", env!("CARGO_PKG_VERSION")).to_owned(),
            created_at: self.now,
            run: self
                .folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            nonce: self.nonce.clone(),
            simulated: self.simulated,
            job_name: self.file.job.head.name.clone(),
            job: serde_json::to_value(kept).expect("a job came from a file, and has string keys"),
            job_path: absolute(&self.file.path),
            job_hash: hash_of_job(&self.file.job),
            templates: hashed_files(self.compiled),
            sources: source_files(self.compiled),
            source_schema: format!("{:?}", self.compiled.source.schema()),
            answer: self.compiled.answer_plan.clone(),
            provider: provider.to_owned(),
            origin: self.origin.clone(),
            head: HeadFile::describe(None, head),
            batches,
            checkpoints: outline.checkpoints.clone(),
            cache: Some(outline.cache.clone()),
            counts: PlanCounts {
                rows: outline.rows,
                requests: outline.requests,
                unsent: outline.unsent.clone(),
                filtered: outline.rows_read - outline.rows,
            },
            limits,
            output: absolute(&self.compiled.output_path),
            narrowed: self.narrowed,
            estimate: Some(outline.estimate.clone()),
            max_cost: self.max_cost,
            state: Some(absolute(self.state)),
            reuse: None,
            home: PathBuf::new(),
        }
    }
}
