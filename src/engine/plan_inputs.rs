//! What a plan is made with besides the job: what earlier runs showed, and which rows are counted.

use std::path::{Path, PathBuf};

use crate::batch::Limits;
use crate::estimate::RunHistory;
use crate::estimate::sample::SampleSpec;
use crate::job::JobFile;
use crate::provider::BatchFormat;
use crate::provider::retry::Clock;
use crate::request::custom_id::Nonce;

use super::compile::CompiledJob;
use super::connect::Connection;
use super::notice::{Notice, Observer};
use super::plan::{self, Planner};
use super::plan_report::PlanReport;
use super::reuse::{Reuse, ReuseRules};
use super::{Error, calibrate, learn};

/// Which rows are counted depends on the rows and on this.
const SEED: u64 = 1;

/// What a plan is made with.
#[derive(Default)]
pub(super) struct PlanInputs {
    history: RunHistory,
    sample: Option<SampleSpec>,
    reuse: Option<Reuse>,
}

impl PlanInputs {
    /// Reads what earlier runs of the job showed, and what earlier outputs hold; `calibrate` is the
    /// number of rows to count.
    ///
    /// # Errors
    /// As [`ReuseRules::open`].
    pub(super) fn new(
        rules: &ReuseRules<'_>,
        state: &Path,
        calibrate: Option<u32>,
        observer: &dyn Observer,
    ) -> Result<PlanInputs, Error> {
        let (file, compiled) = (rules.file, rules.compiled);
        let known = |simulated| learn::known(state, file, compiled, simulated);
        let (history, warning) = match rules.simulated {
            Some(simulated) => known(simulated),
            // A server on this machine may be a simulator; its runs teach where no others do.
            None => match known(false) {
                (history, None) if history == RunHistory::default() => known(true),
                of_real_runs => of_real_runs,
            },
        };
        if let Some(warning) = warning {
            observer.notice(Notice::Warning(&warning));
        }
        let sample = calibrate.map(|rows| SampleSpec {
            rows: rows as usize,
            seed: SEED,
        });
        Ok(PlanInputs {
            history,
            sample,
            reuse: Some(rules.open()?),
        })
    }

    /// The dry run over all rows.
    pub(super) fn plan(
        &self,
        file: &JobFile,
        compiled: &CompiledJob,
        format: &'static dyn BatchFormat,
        counted_by: Option<(&Connection, &dyn Clock)>,
        observer: &dyn Observer,
    ) -> Result<PlanReport, Error> {
        let nonce = Nonce::new(0);
        let planner = self.planner(
            file,
            compiled,
            format,
            &nonce,
            std::env::temp_dir(),
            observer,
        );
        let mut report = planner.outline()?;
        self.count(counted_by, &planner, &mut report)?;
        Ok(report)
    }

    /// The dry run over a sample of the rows.
    pub(super) fn plan_by_sample(
        &self,
        file: &JobFile,
        compiled: &CompiledJob,
        format: &'static dyn BatchFormat,
        spec: SampleSpec,
        observer: &dyn Observer,
    ) -> Result<PlanReport, Error> {
        let nonce = Nonce::new(0);
        let scratch = std::env::temp_dir();
        self.planner(file, compiled, format, &nonce, scratch, observer)
            .outline_by_sample(spec)
    }

    pub(super) fn planner<'a>(
        &'a self,
        file: &'a JobFile,
        compiled: &'a CompiledJob,
        format: &'static dyn BatchFormat,
        nonce: &'a Nonce,
        scratch: PathBuf,
        observer: &'a dyn Observer,
    ) -> Planner<'a> {
        Planner {
            file,
            compiled,
            format,
            limits: batch_limits(file, compiled, format.limits()),
            nonce,
            threads: plan::threads(),
            history: self.history.clone(),
            sample: self.sample,
            reuse: self.reuse.as_ref(),
            scratch,
            observer,
        }
    }

    /// Has the sample counted, where there is one, and estimates again by the counts.
    pub(super) fn count(
        &self,
        counted_by: Option<(&Connection, &dyn Clock)>,
        planner: &Planner<'_>,
        report: &mut PlanReport,
    ) -> Result<(), Error> {
        match counted_by.filter(|_| self.sample.is_some()) {
            Some((connection, clock)) => {
                connection.block_on(calibrate(connection.api(), clock, planner, report))
            }
            None => Ok(()),
        }
    }
}

/// What one batch may hold: the job's limits, within the provider's, and no more requests than make
/// the batches of nearly equal size.
fn batch_limits(file: &JobFile, compiled: &CompiledJob, provider: Limits) -> Limits {
    let (batch, source) = (&file.job.batch, &file.job.source);
    let limits = Limits {
        max_requests: batch.max_requests.min(provider.max_requests),
        max_bytes: batch.max_bytes,
    };
    // A filter leaves an unknown number of rows, so the batches are balanced afterwards.
    let rows = compiled
        .source
        .rows_hint()
        .filter(|_| source.filter.is_none());
    rows.map_or(limits, |rows| {
        limits.for_rows(source.limit.map_or(rows, |limit| rows.min(limit)))
    })
}
