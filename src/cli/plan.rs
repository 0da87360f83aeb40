//! `rowmill plan`: the dry run. Reads and renders everything, sends nothing, leaves nothing behind
//! unless it is told to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rowmill::batch::Limits;
use rowmill::catalog::Catalog;
use rowmill::engine::plan::{PlanReport, Planner};
use rowmill::engine::{CompiledJob, Error, calibrate, learn};
use rowmill::estimate::RunHistory;
use rowmill::estimate::sample::SampleSpec;
use rowmill::job::JobFile;
use rowmill::journal;
use rowmill::provider::anthropic;
use rowmill::provider::retry::SystemClock;
use rowmill::request::custom_id::Nonce;
use rowmill::source::SourceSpec;

use super::args::{Common, Plan, Rows};
use super::connect::{ApiOptions, Connection};
use super::estimate;
use super::explain::{self, Failure};
use super::format::{bytes, count, plural};
use super::layout::Column;
use super::run::NewPlan;
use super::screen::{Screen, labelled, table};
use super::words;

/// More batches than this are not listed one by one.
const LISTED: usize = 12;

pub(crate) fn run(
    args: &Plan,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    refuse_to_mix(args)?;
    let mut file = JobFile::read(&args.job)?;
    select(&mut file, &args.select);
    let request = &file.job.request;
    let api_options = ApiOptions {
        api_version: request.api_version.as_deref(),
        betas: &request.betas,
    };
    // A dry run leaves nothing behind, so the simulator that counts for it has a folder that goes
    // with it.
    let scratch = tempfile::tempdir().map_err(no_scratch)?;
    let connection = match (args.calibrate, args.simulate) {
        (None, _) => None,
        (Some(_), true) => Some(Connection::simulator(
            scratch.path(),
            Duration::ZERO,
            &api_options,
            catalog,
            screen,
        )?),
        (Some(_), false) => Some(Connection::real(&api_options)?),
    };
    let simulated = args.simulate || connection.as_ref().is_some_and(Connection::is_simulated);
    let compiled = CompiledJob::new(&file, today(), catalog)?;
    let inputs = PlanInputs::new(
        &file,
        &compiled,
        &common.state,
        simulated,
        args.calibrate,
        screen,
    );
    let outline = match &args.out {
        None => match args.sample.map(|rows| SampleSpec {
            rows: rows as usize,
            seed: args.seed,
        }) {
            Some(spec) => inputs.outline_by_sample(&file, &compiled, spec, screen)?,
            None => inputs.outline(&file, &compiled, connection.as_ref(), screen)?,
        },
        Some(folder) => {
            let origin = if args.simulate {
                journal::Plan::IN_PROCESS.to_owned()
            } else {
                super::connect::origin_of_environment()?
            };
            let narrowed = args.select.narrows();
            let plan = NewPlan {
                folder,
                origin,
                simulated,
                narrowed,
                max_cost: None,
            };
            super::run::plan_at(&file, &compiled, plan, &inputs, connection.as_ref(), screen)?
        }
    };
    screen.finish();
    let job = &file.job.head.name;
    let warnings = super::check::warnings(&compiled, &outline, &file.job.source);
    if screen.json {
        screen.json(&serde_json::json!({ "job": job, "model": file.job.request.model, "plan": outline, "run": args.out,
            "warnings": warnings }));
        return Ok(explain::DONE);
    }
    warnings.iter().for_each(|warning| screen.warn(warning));
    screen.data(match args.markdown {
        true => estimate::markdown(job, &outline, &file.job.source),
        false => estimate::report(&outline, &file.job.source, screen),
    });
    match &args.out {
        Some(folder) => screen.say(format!(
            "nothing was sent; `rowmill run {}` sends this plan",
            folder.display()
        )),
        None => screen.say("nothing was sent, nothing was written"),
    }
    Ok(explain::DONE)
}

/// What a sample cannot go together with, and why.
fn refuse_to_mix(args: &Plan) -> Result<(), Failure> {
    let (with, why) = match (args.sample, &args.out, args.calibrate) {
        (Some(_), Some(_), _) => (
            "--out",
            "a plan that is kept has every request in it, and a sample renders some rows only",
        ),
        (Some(_), None, Some(_)) => (
            "--calibrate",
            "rows are drawn for counting by the text of every request, and a sample renders some \
             rows only",
        ),
        _ => return Ok(()),
    };
    Err(Failure::words(
        explain::CHANGE,
        format!("`--sample` cannot go together with `{with}`: {why}"),
        "leave out one of the two",
    ))
}

/// The sample that is counted depends on the rows and on this.
const SEED: u64 = 1;

/// What a plan is made with, besides the job: what earlier runs showed, and how much is to be
/// counted.
#[derive(Default)]
pub(crate) struct PlanInputs {
    pub(crate) known: RunHistory,
    pub(crate) sample: Option<SampleSpec>,
}

impl PlanInputs {
    pub(crate) fn new(
        file: &JobFile,
        compiled: &CompiledJob,
        state: &Path,
        simulated: bool,
        calibrate: Option<u32>,
        screen: &Screen,
    ) -> PlanInputs {
        let (known, note) = learn::known(state, file, compiled, simulated);
        note.iter()
            .for_each(|note| screen.warn(words::engine::warning(note)));
        PlanInputs {
            known,
            sample: calibrate.map(|rows| SampleSpec {
                rows: rows as usize,
                seed: SEED,
            }),
        }
    }

    /// The dry run of a job.
    pub(crate) fn outline(
        &self,
        file: &JobFile,
        compiled: &CompiledJob,
        connection: Option<&Connection>,
        screen: &Screen,
    ) -> Result<PlanReport, Failure> {
        let nonce = Nonce::new(0);
        let planner = self.planner(file, compiled, &nonce, std::env::temp_dir(), screen);
        let mut outline = planner.outline()?;
        self.count(connection, &planner, &mut outline)?;
        Ok(outline)
    }

    /// The dry run of a job by some of its rows.
    fn outline_by_sample(
        &self,
        file: &JobFile,
        compiled: &CompiledJob,
        spec: SampleSpec,
        screen: &Screen,
    ) -> Result<PlanReport, Failure> {
        let nonce = Nonce::new(0);
        Ok(self
            .planner(file, compiled, &nonce, std::env::temp_dir(), screen)
            .outline_by_sample(spec)?)
    }

    pub(crate) fn planner<'a>(
        &self,
        file: &'a JobFile,
        compiled: &'a CompiledJob,
        nonce: &'a Nonce,
        scratch: PathBuf,
        screen: &'a Screen,
    ) -> Planner<'a> {
        Planner {
            file,
            compiled,
            limits: limits(file, compiled),
            nonce,
            threads: rowmill::engine::plan::threads(),
            history: self.known.clone(),
            sample: self.sample,
            scratch,
            listener: screen,
        }
    }

    /// Has the sample counted, where there is one.
    pub(crate) fn count(
        &self,
        connection: Option<&Connection>,
        planner: &Planner<'_>,
        outline: &mut PlanReport,
    ) -> Result<(), Error> {
        match connection.filter(|_| self.sample.is_some()) {
            Some(connection) => {
                connection.block_on(calibrate(&connection.api, &SystemClock, planner, outline))
            }
            None => Ok(()),
        }
    }
}

fn no_scratch(error: std::io::Error) -> Failure {
    Failure::words(
        explain::CHANGE,
        format!("cannot make a temporary folder: {error}"),
        "set TMPDIR to a folder that can be written",
    )
}

/// What was typed beside the job file counts as if it stood in it.
pub(crate) fn select(file: &mut JobFile, rows: &Rows) {
    let source = &mut file.job.source;
    if let Some(limit) = rows.limit {
        source.limit = Some(source.limit.map_or(limit, |own| own.min(limit)));
    }
    if let Some(filter) = &rows.filter {
        source.filter = Some(match &source.filter {
            Some(own) => format!("({own}) AND ({filter})"),
            None => filter.clone(),
        });
    }
}

/// What one batch may hold: the job's limits, within the provider's, and no more requests than make
/// the batches near-equal.
fn limits(file: &JobFile, compiled: &CompiledJob) -> Limits {
    let (batch, source) = (&file.job.batch, &file.job.source);
    let limits = Limits {
        max_requests: batch.max_requests.min(anthropic::LIMITS.max_requests),
        max_bytes: batch.max_bytes,
    };
    let rows = compiled
        .source
        .rows_hint()
        .filter(|_| source.filter.is_none());
    rows.map_or(limits, |rows| {
        limits.for_rows(source.limit.map_or(rows, |limit| rows.min(limit)))
    })
}

pub(crate) fn today() -> jiff::civil::Date {
    jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

/// The rows of a plan by what becomes of them.
pub(crate) fn rows_lines(outline: &PlanReport, source: &SourceSpec) -> Vec<String> {
    let skipped = outline.rows_read - outline.rows;
    let sent = count(outline.requests);
    // A source that is read up to a limit says nothing of the rows behind it.
    let mut lines = vec![if source.limit == Some(outline.rows) {
        let of = if source.filter.is_some() {
            "the first for which `where` holds"
        } else {
            "the first of the source"
        };
        format!("rows       {sent} to send, {of}")
    } else {
        format!(
            "rows       {sent} to send of {} read",
            count(outline.rows_read)
        )
    }];
    if skipped > 0 && source.filter.is_some() && source.limit != Some(outline.rows) {
        lines.push(format!("           {} left out by `where`", count(skipped)));
    }
    for (reason, rows) in &outline.unsent {
        lines.push(format!(
            "           {} not sent: {}",
            count(*rows),
            reason.replace('_', " ")
        ));
    }
    lines
}

/// Rows and batches, as a check shows them.
pub(crate) fn outline_table(outline: &PlanReport, source: &SourceSpec) -> String {
    let mut lines = rows_lines(outline, source);
    lines.push(format!(
        "batches    {}, {} to upload, {} of it text that all requests share",
        count(outline.batches.len() as u64),
        bytes(outline.body_bytes),
        bytes(outline.shared_bytes * outline.requests)
    ));
    if let Some(cache) = words::estimate::cache_decision(&outline.cache) {
        lines.push(labelled("cache", &cache));
    }
    let shown = outline.batches.iter().take(LISTED).enumerate();
    let rows = shown.map(|(i, cut)| {
        vec![
            format!("{}", i + 1),
            count(cut.rows),
            count(cut.requests.into()),
            bytes(cut.body_bytes),
        ]
    });
    if outline.batches.len() > 1 {
        let columns = [
            Column::Number("batch"),
            Column::Number("rows"),
            Column::Number("requests"),
            Column::Number("size"),
        ];
        lines.push(table(&columns, rows));
    }
    if outline.batches.len() > LISTED {
        let more = (outline.batches.len() - LISTED) as u64;
        lines.push(format!(
            "… and {}",
            plural(more, "more batch", "more batches")
        ));
    }
    lines.join("\n")
}
