//! `rowmill check`: everything that can be known offline, over every row or the first N.

use std::sync::Arc;

use rowmill::catalog::Catalog;
use rowmill::engine::CompiledJob;
use rowmill::engine::plan::PlanReport;
use rowmill::job::JobFile;
use rowmill::source::{SourceSpec, in_words};
use rowmill::template::prompt::CacheTtl;

use super::args::Check;
use super::explain::{self, Failure};
use super::format::{bytes, count, plural};
use super::layout::{self, Column};
use super::plan::{PlanInputs, outline_table, select};
use super::screen::{Screen, shown, width};
use super::words;

pub(crate) fn run(args: &Check, catalog: &Arc<Catalog>, screen: &Screen) -> Result<u8, Failure> {
    let mut file = JobFile::read(&args.job)?;
    select(&mut file, &args.select);
    if let Some(rows) = args.rows {
        file.job.source.limit = Some(file.job.source.limit.map_or(rows, |limit| limit.min(rows)));
    }
    let compiled = CompiledJob::new(&file, super::plan::today(), catalog)?;
    let outline = PlanInputs::default().outline(&file, &compiled, None, screen)?;
    screen.finish();
    let warnings = warnings(&compiled, &outline, &file.job.source);
    if screen.json {
        screen.json(&serde_json::json!({
            "job": file.job.head.name,
            "model": file.job.request.model,
            "rows": outline,
            "key": file.job.key.columns,
            "shared": compiled.shared,
            "templates": compiled.requests.template_files().iter().map(|(path, _)| path).collect::<Vec<_>>(),
            "output": { "path": compiled.output_path, "columns": compiled.output.schema().fields().iter().map(|f| f.name()).collect::<Vec<_>>() },
            "warnings": warnings,
        }));
        return Ok(explain::DONE);
    }
    warnings.iter().for_each(|warning| screen.warn(warning));
    screen.data(report(&file, &compiled, &outline, warnings.len() as u64));
    Ok(explain::DONE)
}

fn report(file: &JobFile, compiled: &CompiledJob, outline: &PlanReport, warned: u64) -> String {
    let job = &file.job;
    let mut lines = vec![
        format!(
            "job        {} ({})",
            job.head.name,
            shown(&file.path.display().to_string())
        ),
        format!(
            "model      {}, at most {} tokens an answer",
            shown(&job.request.model),
            count(job.request.max_tokens.into())
        ),
        format!(
            "source     {}, columns {}",
            plural(compiled.source.files().len() as u64, "file", "files"),
            names(&compiled.read)
        ),
        match job.key.columns.as_slice() {
            [] => "key        the row's number".to_owned(),
            columns => format!("key        {}, unique over all rows", names(columns)),
        },
        shared(compiled, outline),
    ];
    if let Some(answer) = &compiled.answer {
        let fields: Vec<String> = answer
            .fields()
            .iter()
            .map(|f| format!("`{}` ({})", shown(f.name()), in_words(f.data_type())))
            .collect();
        lines.push(format!("answer     {}", fields.join(", ")));
    }
    if compiled.answer_plan.sent_schema.is_some() {
        lines.push(
            "schema     its bounds are sent in words; answers are checked against the file"
                .to_owned(),
        );
    }
    let output = compiled
        .output_path
        .strip_prefix(".")
        .unwrap_or(&compiled.output_path);
    lines.push(format!(
        "output     {} ({} columns)",
        shown(&output.display().to_string()),
        compiled.output.schema().fields().len()
    ));
    lines.push(outline_table(outline, &job.source));
    let aside: u64 = outline.unsent.values().sum();
    if !outline.set_aside.list.is_empty() {
        let reasons = explain::causes(&outline.set_aside).join("\n");
        lines.push(format!(
            "set aside\n{}",
            layout::indented(&reasons, layout::HEAD)
        ));
    }
    let mut verdict = "OK".to_owned();
    if aside > 0 {
        verdict += &format!(", {} set aside and not sent", plural(aside, "row", "rows"));
    }
    match warned {
        0 => {}
        warned => verdict += &format!(", {}", plural(warned, "warning", "warnings")),
    }
    lines.push(verdict);
    lines.join("\n")
}

/// All that a person should know before money is spent.
pub(crate) fn warnings(
    compiled: &CompiledJob,
    outline: &PlanReport,
    source: &SourceSpec,
) -> Vec<String> {
    let nothing = outline
        .no_requests(source)
        .map(|why| format!("no rows to send: {}", words::estimate::no_requests(why)));
    nothing
        .iter()
        .cloned()
        .chain(compiled.warnings.iter().map(words::engine::warning))
        .chain(outline.warnings.iter().map(words::engine::warning))
        .chain(
            outline
                .cache
                .warning
                .iter()
                .map(words::estimate::cache_warning),
        )
        .collect()
}

/// What every request carries, part by part, and whether it can be read from the cache.
fn shared(compiled: &CompiledJob, outline: &PlanReport) -> String {
    let report = &compiled.shared;
    let mut text = format!(
        "shared     {} of each request, about {} tokens",
        bytes(outline.shared_bytes),
        count(report.tokens)
    );
    if !report.parts.is_empty() {
        let columns = [
            Column::Text("part"),
            Column::Number("tokens"),
            Column::Number("up to here"),
            Column::Id("mark"),
        ];
        let mark = |ttl: CacheTtl| ttl.as_str().to_owned();
        let rows = report.parts.iter().map(|part| {
            let media = if part.has_media {
                " (without the picture or document)"
            } else {
                ""
            };
            let mark = part.cache.map(mark).unwrap_or_default();
            vec![
                format!("{}{media}", words::estimate::part(&part.what)),
                count(part.tokens),
                count(part.up_to_here),
                mark,
            ]
        });
        text += "\n";
        text += &layout::indented(
            &layout::table(&columns, rows, width() - layout::HEAD),
            layout::HEAD,
        );
    }
    for sentence in std::iter::once(&report.sentence).chain(&report.splits) {
        text += "\n";
        text += &layout::indented(
            &layout::wrapped(sentence, width() - layout::HEAD),
            layout::HEAD,
        );
    }
    text
}

fn names(columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| shown(column)).collect();
    format!("`{}`", columns.join("`, `"))
}
