//! `rowmill plan`: the dry run. Reads and renders everything, sends nothing, leaves nothing behind
//! without `--out`.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::{PlanOptions, PlanReport, Warning};
use rowmill::estimate::sample::SampleSpec;
use rowmill::job::JobFile;
use rowmill::source::SourceSpec;

use super::args::{Common, Plan};
use super::connect::engine;
use super::estimate;
use super::explain::{self, Failure};
use super::format::{bytes, count, plural};
use super::layout::Column;
use super::screen::{Screen, labelled, table};
use super::target;
use super::words;

/// More batches than this are not listed one by one.
const LISTED: usize = 12;

pub(crate) fn run(
    args: &Plan,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let file = JobFile::read(&args.job)?;
    let state = target::state_of_job(common, &file);
    target::warn_of_others(&state, screen);
    let engine = engine(&state, Duration::ZERO, catalog, screen)?;
    let options = PlanOptions {
        simulate: args.simulate,
        rows: args.select.selection(),
        calibrate: args.calibrate,
        sample: args.sample.map(|rows| SampleSpec {
            rows: rows as usize,
            seed: args.seed,
        }),
        max_cost: args.budget.max_cost,
        out: args.out.clone(),
        no_reuse: args.no_reuse,
        take_over: args.owner.take_over,
    };
    let result = engine.plan(&file, &options)?;
    screen.finish();
    let warnings = warnings(&result.warnings, &result.plan, &result.source);
    if screen.json {
        screen.json(&serde_json::json!({
            "job": result.job,
            "model": result.model,
            "plan": result.plan,
            "run": result.run,
            "warnings": warnings,
        }));
        return Ok(explain::DONE);
    }
    warnings.iter().for_each(|warning| screen.warn(warning));
    screen.data(match args.markdown {
        true => estimate::markdown(&result.job, &result.plan, &result.source),
        false => estimate::report(&result.plan, &result.source, screen),
    });
    match &result.run {
        Some(folder) => screen.say(format!(
            "nothing was sent; `rowmill run {}` sends this plan",
            folder.display()
        )),
        None => screen.say("nothing was sent or written"),
    }
    Ok(explain::DONE)
}

/// All warnings of a plan.
pub(crate) fn warnings(
    compiled: &[Warning],
    report: &PlanReport,
    source: &SourceSpec,
) -> Vec<String> {
    let nothing = report
        .no_requests(source)
        .map(|why| format!("no rows to send: {}", words::estimate::no_requests(why)));
    nothing
        .into_iter()
        .chain(compiled.iter().map(words::engine::warning))
        .chain(report.warnings.iter().map(words::engine::warning))
        .chain(
            report
                .cache
                .warning
                .iter()
                .map(words::estimate::cache_warning),
        )
        .collect()
}

/// The rows of a plan: sent, filtered out, set aside.
pub(crate) fn rows_lines(outline: &PlanReport, source: &SourceSpec) -> Vec<String> {
    let found = outline.incremental.as_ref();
    let left_out = found.map_or(0, |found| found.classes.skipped);
    let skipped = outline.rows_read - outline.rows - left_out;
    let sent = count(outline.requests);
    // Rows after the limit are not read.
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
        lines.push(format!(
            "           {} filtered out by `where`",
            count(skipped)
        ));
    }
    lines.extend(
        found
            .map(words::reuse::incremental)
            .unwrap_or_default()
            .into_iter()
            .map(|line| format!("           {line}")),
    );
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
    if outline.requests == 0 {
        return lines.join("\n");
    }
    lines.push(format!(
        "batches    {}, {} to upload, {} of it shared by all requests",
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
