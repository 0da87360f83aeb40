//! The estimated cost of a plan, for a terminal and as Markdown for a pull request.

use rowmill::engine::{LimitCheck, PlanReport, PlannedBatch};
use rowmill::estimate::compare::Comparison;
use rowmill::estimate::{Bounds, Estimate};
use rowmill::source::SourceSpec;

use super::format::{bytes, count, duration, percent, plural, usd};
use super::layout::Column;
use super::plan::{batches_to_send, rows_lines};
use super::screen::{Screen, labelled, table};
use super::words::budget as budget_words;
use super::words::estimate as words;

/// More batches than this are not listed one by one.
const LISTED: usize = 12;
/// The assumed speed of an upload, in bits a second: an office or home connection.
const BITS_PER_SECOND: u64 = 20_000_000;

/// The whole report, for a terminal.
pub(crate) fn report(outline: &PlanReport, source: &SourceSpec, screen: &Screen) -> String {
    let estimate = &outline.estimate;
    let mut parts = vec![rows_lines(outline, source).join("\n"), upload(outline)];
    parts.extend(
        outline
            .sampled
            .iter()
            .map(|sampling| labelled("sample", &words::sampling(sampling))),
    );
    parts.push(String::new());
    parts.push(tokens(estimate));
    if let Some(cache) = words::cache_decision(&outline.cache) {
        parts.push(labelled("cache", &cache));
    }
    parts.push(String::new());
    parts.push(money(outline, screen));
    parts.push(String::new());
    if let Some(limits) = limits(&outline.budget) {
        parts.extend([limits, String::new()]);
    }
    for (figure, assumed) in words::FIGURES.iter().zip(words::assumptions(estimate)) {
        parts.push(labelled(figure, &assumed));
    }
    parts.push(labelled("based on", &words::basis(estimate)));
    parts.join("\n")
}

/// Each limit in a line, for the beginning of a run.
pub(crate) fn limits_in_short(checks: &[LimitCheck]) -> Vec<String> {
    let line = |check: &LimitCheck| {
        let [name, limit, spent, reserved, .., verdict] =
            <[String; 7]>::try_from(budget_words::cells(check)).unwrap_or_default();
        let used = format!("{spent} spent, {reserved} reserved");
        format!("budget     {name} {limit} ({used}): {verdict}")
    };
    let explained = budget_words::explanation(checks).map(|text| format!("           {text}"));
    checks.iter().map(line).chain(explained).collect()
}

/// A table of the limits that are set, and what they mean for the cost.
pub(crate) fn limits(checks: &[LimitCheck]) -> Option<String> {
    if checks.is_empty() {
        return None;
    }
    let [name, limit, spent, reserved, expected, worst_case, verdict] = budget_words::COLUMNS;
    let amounts = [limit, spent, reserved, expected, worst_case].map(Column::Number);
    let columns: Vec<Column<'_>> = std::iter::once(Column::Id(name))
        .chain(amounts)
        .chain([Column::Id(verdict)])
        .collect();
    let mut text = table(&columns, checks.iter().map(budget_words::cells));
    if let Some(explained) = budget_words::explanation(checks) {
        text += "\n";
        text += &labelled("", &explained);
    }
    Some(text)
}

fn limits_as_markdown(checks: &[LimitCheck]) -> Vec<String> {
    if checks.is_empty() {
        return Vec::new();
    }
    let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let mut lines = vec![
        String::new(),
        row(&budget_words::COLUMNS.map(str::to_owned)),
        "|---|---:|---:|---:|---:|---:|---|".to_owned(),
    ];
    lines.extend(checks.iter().map(|check| row(&budget_words::cells(check))));
    if let Some(explained) = budget_words::explanation(checks) {
        lines.extend([String::new(), explained]);
    }
    lines
}

/// One line, for the beginning of a run.
pub(crate) fn in_short(estimate: &Estimate) -> String {
    let Bounds {
        low,
        expected,
        high,
        worst_case,
    } = estimate.total;
    format!(
        "cost       expected {} ({} to {}), worst case {}",
        usd(expected),
        usd(low),
        usd(high),
        usd(worst_case)
    )
}

fn upload(outline: &PlanReport) -> String {
    if outline.requests == 0 {
        return "upload     nothing".to_owned();
    }
    let batches = plural(batches_to_send(outline), "batch", "batches");
    let time = std::time::Duration::from_millis(outline.body_bytes * 8_000 / BITS_PER_SECOND);
    format!(
        "upload     {} in {batches}, {} at 20 Mbit/s",
        bytes(outline.body_bytes),
        duration(time)
    )
}

fn tokens(estimate: &Estimate) -> String {
    let n = estimate.requests;
    let tokens = &estimate.tokens;
    let shared = tokens.shared * n;
    let own = tokens.prompts.expected.saturating_sub(shared);
    let line =
        |label: &str, all: u64| vec![label.to_owned(), count(all.div_ceil(n.max(1))), count(all)];
    let lines = [
        line("shared part", shared),
        line("rows", own),
        line("answers", tokens.output.expected),
    ];
    let columns = [
        Column::Id("tokens"),
        Column::Number("per request"),
        Column::Number("in all"),
    ];
    table(&columns, lines)
}

fn money(outline: &PlanReport, screen: &Screen) -> String {
    let columns = [
        "batch",
        "requests",
        "size",
        "low",
        "expected",
        "high",
        "worst case",
    ]
    .map(Column::Number);
    let row = |name: String, batch: &PlannedBatch, bounds: &Bounds| {
        let mut cells = vec![name, count(batch.requests.into()), bytes(batch.body_bytes)];
        cells.extend([bounds.low, bounds.expected, bounds.high, bounds.worst_case].map(usd));
        cells
    };
    let estimate = &outline.estimate;
    // Of a sample it is not known which batch a row goes into.
    let batches = if outline.sampled.is_none() {
        outline.batches.len()
    } else {
        0
    };
    let listed = batches.min(LISTED);
    let pairs = outline.batches.iter().zip(&estimate.batches).enumerate();
    let mut rows: Vec<Vec<String>> = if batches > 1 {
        pairs
            .take(listed)
            .map(|(i, (batch, bounds))| row(count(i as u64 + 1), batch, bounds))
            .collect()
    } else {
        Vec::new()
    };
    let left = batches - listed;
    if left > 0 {
        rows.push(vec!["…".to_owned(); 7]);
    }
    let mut all = vec![
        "all".to_owned(),
        count(outline.requests),
        bytes(outline.body_bytes),
    ];
    let Bounds {
        low,
        expected,
        high,
        worst_case,
    } = estimate.total;
    all.extend([low, expected, high, worst_case].map(usd));
    rows.push(all);
    let text = table(&columns, rows);
    match text.rsplit_once('\n') {
        Some((above, last)) => format!("{above}\n{}", screen.paint(last, "1")),
        None => text,
    }
}

/// The report for a pull request.
pub(crate) fn markdown(job: &str, outline: &PlanReport, source: &SourceSpec) -> String {
    let estimate = &outline.estimate;
    let Bounds {
        low,
        expected,
        high,
        worst_case,
    } = estimate.total;
    let mut lines = vec![
        format!("### rowmill plan: `{job}`"),
        String::new(),
        format!(
            "**{}** expected, {} to {}, worst case {} · {} · `{}`",
            usd(expected),
            usd(low),
            usd(high),
            usd(worst_case),
            plural(outline.requests, "request", "requests"),
            estimate.model
        ),
        String::new(),
        "| | per request | in all |".to_owned(),
        "|---|---:|---:|".to_owned(),
    ];
    let n = estimate.requests;
    let tokens = &estimate.tokens;
    let line = |label: &str, all: u64| {
        format!(
            "| {label} | {} | {} |",
            count(all.div_ceil(n.max(1))),
            count(all)
        )
    };
    lines.push(line("tokens of the shared part", tokens.shared * n));
    lines.push(line(
        "tokens of the rows",
        tokens.prompts.expected.saturating_sub(tokens.shared * n),
    ));
    lines.push(line("tokens of the answers", tokens.output.expected));
    lines.push(format!(
        "| bytes in {} | | {} |",
        plural(outline.batches.len() as u64, "batch", "batches"),
        bytes(outline.body_bytes)
    ));
    lines.push(String::new());
    let rows = rows_lines(outline, source);
    lines.extend(
        rows.iter()
            .map(|row| format!("- {}", row.trim_start_matches("rows").trim())),
    );
    lines.extend(
        outline
            .sampled
            .iter()
            .map(|sampling| format!("- sample: {}", words::sampling(sampling))),
    );
    if let Some(cache) = words::cache_decision(&outline.cache) {
        lines.push(format!("- cache: {cache}"));
    }
    lines.push(format!("- based on: {}", words::basis(estimate)));
    for (figure, assumed) in words::FIGURES.iter().zip(words::assumptions(estimate)) {
        lines.push(format!("- {figure}: {assumed}"));
    }
    lines.extend(limits_as_markdown(&outline.budget));
    lines.join("\n")
}

/// An estimate compared with its bill, in one line.
pub(crate) fn compared(comparison: &Comparison) -> String {
    let sign = if comparison.off < 0 { "less" } else { "more" };
    let off = percent(comparison.off.unsigned_abs());
    let causes: Vec<String> = comparison
        .main_causes()
        .iter()
        .map(|(cause, money)| {
            let sign = if money.is_negative() { "" } else { "+" };
            format!("{sign}{} {}", usd(*money), words::cause(*cause))
        })
        .collect();
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!(": {}", causes.join(", "))
    };
    match comparison.off {
        0 => format!("estimate   {}, as billed", usd(comparison.expected)),
        _ => format!(
            "estimate   {}; the bill is {off} {sign}{causes}",
            usd(comparison.expected)
        ),
    }
}
