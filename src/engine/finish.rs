//! An opened run → as far as the caller wants: driven, exported, retried, and reported.

use std::path::Path;

use jiff::Timestamp;

use crate::journal::Stage;
use crate::outcome::class::MoreTokens;

use super::connect::Connection;
use super::context::{RunOutcome, Until};
use super::export::{self, Export};
use super::export_options::ExportOptions;
use super::failures::Failures;
use super::notice::{Notice, RetryCost};
use super::options::{ReexportOptions, RetryOptions};
use super::report::{NothingReason, NothingToRetry, RunReport};
use super::retry::{self, RetryPolicy};
use super::setup::Engine;
use super::{Error, Run};

impl Engine {
    /// Drives an opened run, writes the output when everything is there, sends rows again that the
    /// job wants retried, and reports where the run stands.
    pub(super) fn finish(
        &self,
        run: &mut Run,
        connection: &Connection,
        until: Until,
        deadline: Option<Timestamp>,
    ) -> Result<RunReport, Error> {
        let job_folder = self.state.of_job_named(&run.plan().job_name);
        let context = self.context(run, connection, self.stop.clone(), deadline);
        let job_wants = RetryPolicy::of_job(&run.job().retry);
        self.observer.notice(Notice::Driving);
        loop {
            let outcome = connection
                .block_on(context.drive(run, until))
                .inspect_err(|_| self.try_manifest(run))?;
            // The output of an abandoned run is written on request alone.
            let is_over = matches!(outcome, RunOutcome::Complete | RunOutcome::OverBudget)
                && run.state().abandoned().is_none();
            // Where nothing is to be sent, nothing is to be waited for either.
            let is_left_to_collect = until == Until::Sent && run.plan().counts.requests > 0;
            if !is_over || is_left_to_collect {
                run.write_manifest(self.clock.now())?;
                return Ok(RunReport::new(run, outcome, None, self.clock.now()));
            }
            // What waits to be sent again is not planned a second time, and of a canceled run
            // nothing is.
            let policy = if run.state().has_unsent_retries() || run.state().is_canceled() {
                RetryPolicy::none()
            } else {
                job_wants.clone()
            };
            let observer = &self.step_observer();
            let exported =
                export::export(run, &policy, Some(&job_folder), self.clock.now(), observer);
            let exported = match exported {
                Err(error) if self.fetches_again(run, &error) => continue,
                exported => exported.inspect_err(|_| self.try_manifest(run))?,
            };
            match exported {
                Export::Done(summary) => {
                    let now = self.clock.now();
                    return Ok(RunReport::new(run, outcome, Some(*summary), now));
                }
                Export::Retriable(batches) => {
                    let batches = batches.into_iter().map(|(batch, _)| batch);
                    let prepared = retry::prepare_retries(run, batches, &policy)?;
                    let planned = prepared.counts();
                    prepared.record(run, self.clock.now())?;
                    self.observer.notice(Notice::RetriesPlanned {
                        rows: planned.rows,
                        batches: planned.batches,
                        cost: None,
                    });
                }
            }
        }
    }

    /// Whether an export failed because saved results are missing or altered, and fetching them
    /// again, which costs nothing, is worth a try.
    fn fetches_again(&self, run: &mut Run, error: &Error) -> bool {
        let is_worth_a_try = run.replace_results(error);
        if is_worth_a_try {
            self.observer.notice(Notice::ResultsFetchedAgain {
                reason: super::in_one_line(error),
            });
        }
        is_worth_a_try
    }

    /// Writes the manifest of a run that was stopped by an error, which says more than that the
    /// manifest cannot be written either.
    fn try_manifest(&self, run: &Run) {
        let _ = run.write_manifest(self.clock.now());
    }

    pub(super) fn retry_rows(
        &self,
        folder: &Path,
        options: &RetryOptions,
    ) -> Result<RunReport, Error> {
        let ((mut run, connection), waited) =
            self.unless_running(options.if_running, options.deadline, || {
                self.open(folder, false, options.max_cost)
            })?;
        run.check_not_abandoned()?;
        self.settle_abandoned(Some(&connection));
        let lacks_results = run.may_fetch_more(self.clock.now());
        if lacks_results {
            // What can be fetched for nothing is not paid again.
            self.look_once(&mut run, &connection)?;
        }
        if !run.state().is_collected() {
            return Err(Error::NotFinished {
                run: folder.to_path_buf(),
                abandoned: false,
            });
        }
        if options.replace_output {
            run.replace_output();
        }
        let policy = RetryPolicy::by_hand(
            options.classes.iter().copied(),
            options.more_tokens.unwrap_or(MoreTokens::Factor(2)),
        );
        let batches = retry::all_planned(&run);
        let prepared = retry::prepare_retries(&run, batches, &policy)?;
        let planned = prepared.counts();
        let deadline = options
            .deadline
            .map(|time| self.after(time.saturating_sub(waited)));
        let has_all_now = lacks_results && !run.may_fetch_more(self.clock.now());
        if planned.rows == 0 && !has_all_now {
            let failures = Failures::of_run(&run, &policy)?;
            let report = RunReport::new(&run, RunOutcome::Complete, None, self.clock.now());
            if failures != Failures::default() {
                return Err(Error::NothingToRetry(Box::new(NothingToRetry {
                    classes: options.classes.clone(),
                    failures,
                    run: report,
                })));
            }
            // An output that was not written yet is written below.
            if run.state().stage() == Stage::Exported {
                return Ok(report.with_nothing_to_do(NothingReason::NoFailures, 0));
            }
        }
        if planned.rows > 0 {
            let cost = prepared.cost(&run)?;
            let retry = RetryCost {
                rows: planned.rows,
                batches: planned.batches,
                cost,
                budget: run.check_limits(cost, planned.rows, self.clock.now())?,
            };
            if !self.observer.confirms_retry(&retry) {
                prepared.discard(&run)?;
                return Err(Error::Declined {
                    run: folder.to_path_buf(),
                });
            }
            prepared.record(&mut run, self.clock.now())?;
            self.observer.notice(Notice::RetriesPlanned {
                rows: planned.rows,
                batches: planned.batches,
                cost: Some(cost),
            });
        }
        self.finish(&mut run, &connection, Until::Collected, deadline)
    }

    pub(super) fn reexport(
        &self,
        folder: &Path,
        options: &ReexportOptions,
    ) -> Result<RunReport, Error> {
        let mut run = self.open_offline(folder, None)?;
        if !run.state().is_collected() {
            return Err(Error::NotFinished {
                run: folder.to_path_buf(),
                abandoned: run.state().abandoned().is_some(),
            });
        }
        if run.may_fetch_more(self.clock.now()) {
            self.fetch_more(&mut run);
        }
        if let Some(job) = &options.job {
            let options = ExportOptions::of_job(run.plan(), job)?;
            run.read_as(options);
        }
        if options.replace_output {
            run.replace_output();
        }
        self.export_opened(&mut run)
    }

    /// Writes the output of an opened run from the answers that it keeps.
    pub(super) fn export_opened(&self, run: &mut Run) -> Result<RunReport, Error> {
        let observer = &self.step_observer();
        // What the run showed was learned when it was exported first.
        let export = |run: &mut Run| {
            export::export(run, &RetryPolicy::none(), None, self.clock.now(), observer)
        };
        let exported = match export(run) {
            Err(error) if self.fetches_again(run, &error) => {
                self.fetch_more(run);
                export(run)
            }
            exported => exported,
        };
        match exported? {
            Export::Done(summary) => Ok(RunReport::new(
                run,
                RunOutcome::Complete,
                Some(*summary),
                self.clock.now(),
            )),
            Export::Retriable(_) => Err(Error::Bug(
                "rows were to be sent again, and no retry was asked for".to_owned(),
            )),
        }
    }

    /// Fetches results that are not all there, where the provider can be reached. What cannot be
    /// fetched now is exported as missing.
    fn fetch_more(&self, run: &mut Run) {
        let fetched = self
            .connect_to(run, false)
            .and_then(|connection| self.look_once(run, &connection));
        if let Err(error) = fetched {
            self.observer.notice(Notice::ResultsNotFetched {
                run: run.folder(),
                reason: super::in_one_line(&error),
            });
        }
    }
}
