//! `rowmill plan`: the dry run. Reads and renders everything, sends nothing, leaves nothing behind unless it is told to.

use std::sync::Arc;

use rowmill::batch::Limits;
use rowmill::catalog::Catalog;
use rowmill::job::JobFile;
use rowmill::journal;
use rowmill::pipeline::Prepared;
use rowmill::pipeline::plan::Outline;
use rowmill::provider::anthropic;
use rowmill::source::SourceSpec;

use super::args::{Plan, Rows};
use super::explain::{self, Failure};
use super::layout::Column;
use super::screen::{Screen, bytes, count, plural, table};

/// More batches than this are not listed one by one.
const LISTED: usize = 12;

pub(crate) fn run(args: &Plan, catalog: &Arc<Catalog>, screen: &Screen) -> Result<u8, Failure> {
    let mut file = JobFile::read(&args.job)?;
    select(&mut file, &args.select);
    let prepared = Prepared::new(&file, today(), catalog)?;
    let outline = match &args.out {
        None => super::check::outline(&file, &prepared, screen)?,
        Some(folder) => {
            let origin = if args.simulate { journal::Plan::IN_PROCESS.to_owned() } else { planned_origin() };
            super::run::plan_at(&file, &prepared, folder, origin, args.simulate, None, screen)?
        }
    };
    screen.finish();
    if screen.json {
        screen.json(
            &serde_json::json!({ "job": file.job.head.name, "model": file.job.request.model, "plan": outline, "run": args.out,
            "warnings": prepared.warnings }),
        );
        return Ok(explain::DONE);
    }
    prepared.warnings.iter().chain(&outline.cache.warning).for_each(|warning| screen.warn(warning));
    screen.data(outline_table(&outline, &file.job.source));
    match &args.out {
        Some(folder) => screen.say(format!("nothing was sent; `rowmill run {}` sends this plan", folder.display())),
        None => screen.say("nothing was sent, nothing was written"),
    }
    Ok(explain::DONE)
}

/// Where a run that is planned now will be sent to.
fn planned_origin() -> String {
    std::env::var("ANTHROPIC_BASE_URL")
        .ok()
        .filter(|url| !url.trim().is_empty())
        .unwrap_or_else(|| anthropic::BASE_URL.to_owned())
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

/// What one batch may hold: the job's limits, within the provider's.
pub(crate) fn limits(file: &JobFile) -> Limits {
    let batch = &file.job.batch;
    Limits { max_requests: batch.max_requests.min(anthropic::LIMITS.max_requests), max_bytes: batch.max_bytes }
}

pub(crate) fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The plan as a person reads it.
pub(crate) fn outline_table(outline: &Outline, source: &SourceSpec) -> String {
    let skipped = outline.rows_read - outline.rows;
    let sent = count(outline.requests);
    // A source that is read up to a limit says nothing of the rows behind it.
    let mut lines = vec![if source.limit == Some(outline.rows) {
        let of = if source.filter.is_some() { "the first for which `where` holds" } else { "the first of the source" };
        format!("rows       {sent} to send, {of}")
    } else {
        format!("rows       {sent} to send of {} read", count(outline.rows_read))
    }];
    if skipped > 0 && source.filter.is_some() && source.limit != Some(outline.rows) {
        lines.push(format!("           {} left out by `where`", count(skipped)));
    }
    for (reason, rows) in &outline.unsent {
        lines.push(format!("           {} not sent: {}", count(*rows), reason.replace('_', " ")));
    }
    lines.push(format!(
        "batches    {}, {} to upload, {} of it text that all requests share",
        count(outline.batches.len() as u64),
        bytes(outline.body_bytes),
        bytes(outline.shared_bytes * outline.requests)
    ));
    if !outline.cache.why.is_empty() {
        lines.push(format!("cache      {}", outline.cache.why));
    }
    let shown = outline.batches.iter().take(LISTED).enumerate();
    let rows =
        shown.map(|(i, cut)| vec![format!("{}", i + 1), count(cut.rows), count(cut.requests.into()), bytes(cut.body_bytes)]);
    if outline.batches.len() > 1 {
        let columns = [Column::Number("batch"), Column::Number("rows"), Column::Number("requests"), Column::Number("size")];
        lines.push(table(&columns, rows));
    }
    if outline.batches.len() > LISTED {
        let more = (outline.batches.len() - LISTED) as u64;
        lines.push(format!("… and {}", plural(more, "more batch", "more batches")));
    }
    lines.join("\n")
}
