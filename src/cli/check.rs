//! `rowmill check`: checks a job offline, over every row or the first N.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::SharedReport;
use rowmill::engine::{CheckOptions, CheckReport, PlanReport};
use rowmill::job::JobFile;
use rowmill::source::type_name;
use rowmill::template::prompt::CacheTtl;

use super::args::{Check, Common};
use super::connect::engine;
use super::estimate;
use super::explain::{self, Failure};
use super::format::{bytes, count, plural};
use super::layout::{self, Column};
use super::plan::{outline_table, warnings};
use super::screen::{Screen, shown, width};
use super::target;
use super::words;

pub(crate) fn run(
    args: &Check,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let file = JobFile::read(&args.job)?;
    let state = target::state_of_job(common, &file);
    let engine = engine(&state, Duration::ZERO, catalog, screen)?;
    let mut rows = args.select.selection();
    if let Some(first) = args.rows {
        rows.limit = Some(rows.limit.map_or(first, |limit| limit.min(first)));
    }
    let checked = engine.check(&file, &CheckOptions { rows })?;
    screen.finish();
    let warnings = warnings(&checked.warnings, &checked.plan, &checked.source);
    if screen.json {
        screen.json(&serde_json::json!({
            "job": checked.job,
            "model": checked.model,
            "rows": checked.plan,
            "key": checked.key,
            "shared": checked.shared,
            "templates": checked.templates,
            "output": { "path": checked.output, "columns": checked.output_columns },
            "warnings": warnings,
        }));
        return Ok(explain::DONE);
    }
    warnings.iter().for_each(|warning| screen.warn(warning));
    screen.data(report(&checked, warnings.len() as u64));
    Ok(explain::DONE)
}

fn report(checked: &CheckReport, warned: u64) -> String {
    let outline = &checked.plan;
    let mut lines = vec![
        format!(
            "job        {} ({})",
            checked.job,
            shown(&checked.job_path.display().to_string())
        ),
        format!(
            "model      {}, at most {} tokens an answer",
            shown(&checked.model),
            count(checked.max_tokens.into())
        ),
        format!(
            "source     {}, columns {}",
            plural(checked.source_files as u64, "file", "files"),
            names(&checked.columns_read)
        ),
        match checked.key.as_slice() {
            [] => "key        the row's number".to_owned(),
            columns => format!("key        {}, unique over all rows", names(columns)),
        },
        shared(&checked.shared, outline),
    ];
    if !checked.answer.is_empty() {
        let fields: Vec<String> = checked
            .answer
            .iter()
            .map(|column| {
                let name = shown(&column.name);
                format!("`{name}` ({})", type_name(&column.data_type))
            })
            .collect();
        lines.push(format!("answer     {}", fields.join(", ")));
    }
    if checked.sends_bounds_in_words {
        lines.push(
            "schema     constraints are sent as text in the descriptions; answers are validated \
             with the file"
                .to_owned(),
        );
    }
    let output = &checked.output;
    let output = output.strip_prefix(".").unwrap_or(output);
    lines.push(format!(
        "output     {} ({} columns)",
        shown(&output.display().to_string()),
        checked.output_columns.len()
    ));
    lines.push(outline_table(outline, &checked.source));
    if checked.has_earlier_answers {
        lines.push(
            "           all rows are counted; `rowmill plan` shows those that an earlier output has \
             answered"
                .to_owned(),
        );
    }
    if !outline.budget.is_empty() {
        lines.push(estimate::in_short(&outline.estimate));
        lines.extend(estimate::limits(&outline.budget));
    }
    let aside: u64 = outline.unsent.values().sum();
    if !outline.set_aside.list.is_empty() {
        let reasons = words::engine::causes(&outline.set_aside).join("\n");
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

/// The shared parts of all requests, and whether they can be read from the cache.
fn shared(report: &SharedReport, outline: &PlanReport) -> String {
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
                " (without the image or document)"
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
    for sentence in words::engine::cache_verdict(report) {
        text += "\n";
        text += &layout::indented(
            &layout::wrapped(&sentence, width() - layout::HEAD),
            layout::HEAD,
        );
    }
    text
}

fn names(columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| shown(column)).collect();
    format!("`{}`", columns.join("`, `"))
}
