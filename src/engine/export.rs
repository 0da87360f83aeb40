//! Saved lines → outcomes → joined rows → output file.
//!
//! Works through the planned batches in row order: the rows and source columns of one come from its
//! spool file, their outcomes from the results of the batches that sent them. The output appears
//! under its name only when every row is in it.
//!
//! **Memory:** one row group of the spool, the places of one planned batch's result lines (32 bytes
//! each), and one row group of the output.

use std::path::Path;

use jiff::Timestamp;

use crate::batch::{SpoolReader, verify};
use crate::join::Totals;
use crate::journal::Event;
use crate::outcome::Status;
use crate::outcome::answer::Answers;
use crate::output::{self, OutputSchema, OutputWriter, RowBuilders};

use super::batch_join::{BatchJoin, request_row};
use super::export_summary::ExportSummary;
use super::failures::Failures;
use super::learn::{self, RunObserver};
use super::notice::{Notice, Observer};
use super::previous_output::{self};
use super::retry::{Lengths, RetryPolicy};
use super::reuse::{ExistingAnswers, KeptCounts, KeptRows, hash_of, write_kept};
use super::{Error, Run, reuse};

/// Why a row was not sent whose batch the budget held back.
const HELD: &str = "budget: its batch did not fit into the budget";
/// Rows handed to the writer at a time.
const ROWS: usize = 8_192;

/// How an export ended.
#[derive(Debug, Clone)]
pub(super) enum Export {
    /// All rows are joined; the output is there, or held back.
    Done(Box<ExportSummary>),
    /// Some rows are to be sent again first: their planned batches, with how many. Nothing was
    /// written.
    Retriable(Vec<(u32, u64)>),
}

/// Joins everything that was returned to its rows, and writes the output, unless `policy` sends
/// rows again first.
///
/// What the run showed is kept in `job_folder`, where its job keeps what it learned; without one,
/// nothing is.
///
/// # Errors
/// [`Error::Batch`] and [`Error::Join`] when the run's files are not what they were;
/// [`Error::Output`] when the output cannot be written. What was at its place is then as it was.
pub(super) fn export(
    run: &mut Run,
    policy: &RetryPolicy,
    job_folder: Option<&Path>,
    now: Timestamp,
    listener: &dyn Observer,
) -> Result<Export, Error> {
    let answer = Answers::compile(&run.options().answer)?;
    let spec = run.output_spec();
    let wanted = output::wanted(&spec.extra);
    let columns = run.kept_columns()?;
    let schema = OutputSchema::new(
        &columns,
        answer.as_ref().map_or(&[], Answers::fields),
        &spec,
    )?;
    let path = run.output_path();
    let mut writer = OutputWriter::create(&spec, &path, &schema, run.output_metadata())?;
    let mut summary = ExportSummary {
        path: Some(path.clone()),
        totals: Totals::default(),
        left_out: 0,
        comparison: None,
        failures: Failures::default(),
        reused: 0,
        kept: KeptCounts::default(),
        set_aside: None,
    };
    let mut existing = ExistingAnswers::open(run, answer.as_ref())?;
    let keeps_first = run.reuse().filter(|plan| plan.kept == KeptRows::All);
    if let Some(plan) = keeps_first {
        summary.kept = write_kept(run, plan, &spec.prefix, &schema, &mut writer)?;
    }
    let mut retriable = Vec::new();
    let retries = Retries {
        policy,
        lengths: Lengths::of(run, policy),
    };
    let mut observer = RunObserver::new(&columns, run.plan().counts.requests);
    for number in 1..=run.planned_batches() {
        let planned = BatchJoin {
            run,
            number,
            answer: answer.as_ref(),
            wanted,
        };
        let mut out = Destination {
            existing: &mut existing,
            writer: &mut writer,
            summary: &mut summary,
            observer: &mut observer,
        };
        let rows = planned.export(&schema, &retries, &mut out, listener)?;
        if rows > 0 {
            retriable.push((planned.number, rows));
        }
    }
    // Fewer rows than one batch of the provider needs cannot be sent again: they stay failed.
    let wanted: u64 = retriable.iter().map(|(_, rows)| rows).sum();
    if wanted >= u64::from(run.format().rules().min_requests.max(1)) {
        return Ok(Export::Retriable(retriable));
    }
    if let Some(plan) = run.reuse().filter(|plan| plan.kept != KeptRows::All) {
        summary.kept = write_kept(run, plan, &spec.prefix, &schema, &mut writer)?;
    }
    if summary.totals.rows != run.plan().rows() {
        return Err(Error::Bug(format!(
            "{} rows were planned and {} joined",
            run.plan().rows(),
            summary.totals.rows
        )));
    }
    // Prices may have changed since the results were saved; the ledger takes the bill of the
    // output.
    run.settle_by(&summary.totals.bill, now)?;
    summary.comparison = observer.compare(run, &summary.totals);
    let statistics = observer.finish(run).zip(job_folder);
    if let Some(warning) =
        statistics.and_then(|(statistics, folder)| learn::learn(run, &statistics, folder, now))
    {
        listener.notice(Notice::Warning(&warning));
    }
    if is_held_back(&summary, spec.min_success) {
        summary.path = None;
        reuse::keep_held_back(run, writer)?;
        run.record(
            now,
            Event::HeldBack {
                rows: summary.totals.rows,
                by_status: summary.totals.statuses.clone(),
            },
        )?;
        run.keep_summary(&summary);
        run.write_manifest(now)?;
        return Ok(Export::Done(Box::new(summary)));
    }
    writer.note(
        "rowmill.cost_usd",
        &summary.totals.bill.total().total().to_string(),
    );
    let (place, set_aside) = previous_output::place(run, &summary, &path, &spec);
    let written = writer.finish_as(&place)?.path;
    let (written, set_aside) = previous_output::without_copy(written, set_aside)?;
    let continues = run.reuse().is_some_and(|plan| plan.mode.continues());
    let hash = continues.then(|| hash_of(&written)).transpose()?;
    if run.plan().narrowed || set_aside.is_some() {
        reuse::keep_answers(run, &written)?;
    }
    (summary.path, summary.set_aside) = (Some(written.clone()), set_aside);
    run.record(
        now,
        Event::Exported {
            path: written,
            rows: summary.totals.rows,
            by_status: summary.totals.statuses.clone(),
            hash: hash.map(|(_, hash)| hash),
        },
    )?;
    run.keep_summary(&summary);
    run.write_manifest(now)?;
    Ok(Export::Done(Box::new(summary)))
}

/// Whether too few rows succeeded for the output to be shown. Rows left out on purpose count for
/// neither side.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of rows is compared with a configured share"
)]
fn is_held_back(summary: &ExportSummary, min_success: Option<f64>) -> bool {
    let wanted = summary.totals.rows - summary.left_out;
    let share = if wanted == 0 {
        1.0
    } else {
        summary.totals.count(Status::Succeeded) as f64 / wanted as f64
    };
    min_success.is_some_and(|least| share < least)
}

/// Which rows are to be sent again, and with how much room.
struct Retries<'p> {
    policy: &'p RetryPolicy,
    lengths: Lengths,
}

/// Where joined rows go, and what is counted on the way; and where rows without a request of their
/// own have their answers from.
struct Destination<'d, 'a> {
    existing: &'d mut ExistingAnswers<'a>,
    writer: &'d mut OutputWriter,
    summary: &'d mut ExportSummary,
    observer: &'d mut RunObserver,
}

impl BatchJoin<'_> {
    /// Writes its rows, and returns how many of them are to be sent again first.
    fn export(
        &self,
        schema: &OutputSchema,
        retries: &Retries<'_>,
        out: &mut Destination<'_, '_>,
        listener: &dyn Observer,
    ) -> Result<u64, Error> {
        let Destination {
            existing,
            writer,
            summary,
            observer,
        } = out;
        let file_hash = &self.run.spooled(self.number).file_hash;
        verify(&self.run.spool_path(self.number), file_hash)?;
        let held = self.run.unsent_rows(self.number);
        let is_held = |row: u64| {
            held.iter()
                .any(|(first, last)| (*first..=*last).contains(&row))
        };
        let mut joiner = self.joiner()?;
        let mut builders = RowBuilders::new(schema, self.answer, ROWS);
        let mut retriable = 0;
        for rows in SpoolReader::open_without_fragments(&self.run.spool_path(self.number))? {
            let rows = rows?;
            if listener.is_stopping() {
                return Err(Error::Interrupted);
            }
            let mut from = 0;
            let mut observed = observer.rows(&rows.columns);
            for row in 0..rows.len() {
                let mut request = request_row(&rows, row);
                if request.unsent.is_none() && is_held(rows.row_index.value(row)) {
                    request.unsent = Some(HELD);
                }
                let is_left_out = request
                    .unsent
                    .is_some_and(|reason| reason.starts_with("duplicate_key:"));
                summary.left_out += u64::from(is_left_out);
                let joined = match existing.row(request)? {
                    Some(joined) => {
                        summary.totals.add_paid_before(&joined);
                        summary.reused += 1;
                        if joined.status != Status::Succeeded {
                            summary.failures.push(&rows, row, &joined, true);
                        }
                        joined
                    }
                    None => {
                        let joined = joiner.row(request)?;
                        existing.keep(rows.row_index.value(row), &joined)?;
                        let has_room = retries.lengths.has_room(&joined);
                        if joined.status != Status::Succeeded && !is_left_out {
                            summary.failures.push(&rows, row, &joined, has_room);
                        }
                        retriable += u64::from(has_room && retries.policy.wants(&joined));
                        observed.push(row, &joined);
                        joined
                    }
                };
                builders.append(&joined);
                if builders.is_full() || row + 1 == rows.len() {
                    writer.write(&builders.finish(&rows.columns.slice(from, row + 1 - from))?)?;
                    from = row + 1;
                }
            }
            listener.notice(Notice::Exporting {
                rows: summary.totals.rows + joiner.totals().rows,
                of: self.run.plan().rows(),
            });
        }
        summary.totals.merge(joiner.totals());
        Ok(retriable)
    }
}
