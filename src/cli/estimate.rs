//! What a plan will cost, as a person reads it and as a pull request shows it.

use rowmill::engine::plan::{PlanReport, PlannedBatch};
use rowmill::estimate::compare::Comparison;
use rowmill::estimate::fit::FitBasis;
use rowmill::estimate::output::OutputBasis;
use rowmill::estimate::sample_plan::Sampling;
use rowmill::estimate::{Bounds, Estimate, share};
use rowmill::source::SourceSpec;

use super::format::{bytes, count, duration, plural, usd};
use super::layout::Column;
use super::plan::rows_lines;
use super::screen::{Screen, labelled, table};

/// More batches than this are not listed one by one.
const LISTED: usize = 12;
/// What an upload is reckoned with, in bits a second: a line of an office or of a home.
const BITS_PER_SECOND: u64 = 20_000_000;

/// The whole report, for a terminal.
pub(crate) fn report(outline: &PlanReport, source: &SourceSpec, screen: &Screen) -> String {
    let estimate = &outline.estimate;
    let mut parts = vec![rows_lines(outline, source).join("\n"), upload(outline)];
    parts.extend(
        outline
            .sampled
            .iter()
            .map(|sampling| labelled("sample", &sampled(sampling))),
    );
    parts.push(String::new());
    parts.push(tokens(estimate));
    if !outline.cache.why.is_empty() {
        parts.push(labelled("cache", &outline.cache.why));
    }
    parts.push(String::new());
    parts.push(money(outline, screen));
    parts.push(String::new());
    let says = &estimate.says;
    for (label, words) in [
        ("low", &says.low),
        ("likely", &says.likely),
        ("high", &says.high),
        ("at most", &says.most),
    ] {
        parts.push(labelled(label, words));
    }
    parts.push(labelled("known", &known(estimate)));
    parts.join("\n")
}

/// One line, for the beginning of a run.
pub(crate) fn in_short(estimate: &Estimate) -> String {
    let Bounds {
        low,
        likely,
        high,
        most,
    } = estimate.total;
    format!(
        "cost       likely {} ({} to {}), at most {}",
        usd(likely),
        usd(low),
        usd(high),
        usd(most)
    )
}

fn upload(outline: &PlanReport) -> String {
    let batches = plural(outline.batches.len() as u64, "batch", "batches");
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
    let own = tokens.prompts.likely.saturating_sub(shared);
    let line =
        |label: &str, all: u64| vec![label.to_owned(), count(all.div_ceil(n.max(1))), count(all)];
    let lines = [
        line("shared part", shared),
        line("rows", own),
        line("answers", tokens.output.likely),
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
        "batch", "requests", "size", "low", "likely", "high", "at most",
    ]
    .map(Column::Number);
    let row = |name: String, cut: &PlannedBatch, bounds: &Bounds| {
        let mut cells = vec![name, count(cut.requests.into()), bytes(cut.body_bytes)];
        cells.extend([bounds.low, bounds.likely, bounds.high, bounds.most].map(usd));
        cells
    };
    let estimate = &outline.estimate;
    // Where rows are sampled, nobody knows which batch a row goes into.
    let batches = if outline.sampled.is_none() {
        outline.batches.len()
    } else {
        0
    };
    let listed = batches.min(LISTED);
    let pairs = outline.batches.iter().zip(&estimate.pieces).enumerate();
    let mut rows: Vec<Vec<String>> = if batches > 1 {
        pairs
            .take(listed)
            .map(|(i, (cut, bounds))| row(count(i as u64 + 1), cut, bounds))
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
        likely,
        high,
        most,
    } = estimate.total;
    all.extend([low, likely, high, most].map(usd));
    rows.push(all);
    let text = table(&columns, rows);
    match text.rsplit_once('\n') {
        Some((above, last)) => format!("{above}\n{}", screen.paint(last, "1")),
        None => text,
    }
}

/// What stands for the whole table, and how far that may be off.
fn sampled(sampling: &Sampling) -> String {
    let Sampling {
        rows,
        of,
        seed,
        off,
        ..
    } = sampling;
    format!(
        "{} of {} rows were rendered (seed {seed}), and all other figures are extrapolated from \
         them, \"at most\" too; what all rows would give differs, in 95 of 100 samples, by no more \
         than {} in prompt tokens, {} in answer tokens, {} in likely cost; all rows have a key, \
         duplicate keys were not searched for",
        count(*rows),
        count(*of),
        share(off.prompts),
        share(off.output),
        share(off.cost)
    )
}

/// What the figures rest on.
fn known(estimate: &Estimate) -> String {
    let fit = match &estimate.fit.basis {
        FitBasis::Constants => {
            "tokens are guessed from letters; --calibrate 200 counts some rows, which is free"
                .to_owned()
        }
        FitBasis::Counted { rows } => format!(
            "tokens were counted for {}, which leaves ±{} for all of them",
            plural(*rows, "row", "rows"),
            share(estimate.fit.off)
        ),
        FitBasis::Learned { rows } => format!(
            "tokens as billed for {} of earlier runs",
            plural(*rows, "row", "rows")
        ),
    };
    let output = match &estimate.output_basis {
        OutputBasis::Runs {
            rows,
            by_column,
            by_length,
            stale,
        } => {
            let by = match (by_column, by_length) {
                (Some(column), _) => format!(", by `{column}`"),
                (None, true) => ", by the length of the prompt".to_owned(),
                (None, false) => String::new(),
            };
            let stale = if *stale {
                " (the prompt has changed since)"
            } else {
                ""
            };
            format!(
                "answers as in {} of earlier runs{by}{stale}",
                plural(*rows, "row", "rows")
            )
        }
        OutputBasis::Schema | OutputBasis::MaxTokens => {
            "how long answers are is not known before the first run".to_owned()
        }
    };
    format!("{fit}; {output}; prices of {}", estimate.priced_at)
}

/// The report for a pull request.
pub(crate) fn markdown(job: &str, outline: &PlanReport, source: &SourceSpec) -> String {
    let estimate = &outline.estimate;
    let Bounds {
        low,
        likely,
        high,
        most,
    } = estimate.total;
    let mut lines = vec![
        format!("### rowmill plan: `{job}`"),
        String::new(),
        format!(
            "**{}** likely, {} to {}, at most {} · {} · `{}`",
            usd(likely),
            usd(low),
            usd(high),
            usd(most),
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
        tokens.prompts.likely.saturating_sub(tokens.shared * n),
    ));
    lines.push(line("tokens of the answers", tokens.output.likely));
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
            .map(|sampling| format!("- sample: {}", sampled(sampling))),
    );
    if !outline.cache.why.is_empty() {
        lines.push(format!("- cache: {}", outline.cache.why));
    }
    lines.push(format!("- {}", known(estimate)));
    let says = &estimate.says;
    for (label, words) in [
        ("low", &says.low),
        ("likely", &says.likely),
        ("high", &says.high),
        ("at most", &says.most),
    ] {
        lines.push(format!("- {label}: {words}"));
    }
    lines.join("\n")
}

/// An estimate beside its bill, in a line.
pub(crate) fn compared(comparison: &Comparison) -> String {
    let sign = if comparison.off < 0 { "less" } else { "more" };
    let off = share(comparison.off.unsigned_abs());
    let causes: Vec<String> = comparison
        .main_causes()
        .iter()
        .map(|(cause, money)| {
            let sign = if money.is_negative() { "" } else { "+" };
            format!("{sign}{} {}", usd(*money), cause.as_str())
        })
        .collect();
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!(": {}", causes.join(", "))
    };
    match comparison.off {
        0 => format!("estimate   {}, as billed", usd(comparison.likely)),
        _ => format!(
            "estimate   {}; the bill is {off} {sign}{causes}",
            usd(comparison.likely)
        ),
    }
}
