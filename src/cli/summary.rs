//! The result of a run: where the output is, what is in it, and a few joined rows.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray as _, FixedSizeBinaryArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rowmill::cost::{Bill, CacheUse, Money};
use rowmill::engine::ExportSummary;
use rowmill::engine::Failures;
use rowmill::engine::RunReport;
use rowmill::engine::{SetAside, WorseOutput};
use rowmill::outcome::class::Class;
use rowmill::outcome::{Status, Usage};

use super::explain;
use super::format::{self, count, plural, usd};
use super::layout::Column;
use super::screen::{Screen, shown, shown_to, table};

/// Rows shown of an output.
const ROWS: usize = 5;
/// Columns of the key, and of the answer, shown of an output.
const COLUMNS: usize = 3;
/// Characters shown of a cell, where the screen is wide enough.
const CELL: usize = 60;
/// Characters of a path that stands in a line of its own: more than systems allow.
const LONGEST_PATH: usize = 32_768;
/// Tags whose cost is shown, the dearest first.
const TAGS: usize = 10;

/// Shows what was written, and gives the exit code that tells whether every row succeeded.
pub(crate) fn show(run: &RunReport, summary: &ExportSummary, screen: &Screen) -> u8 {
    let code = if summary.all_succeeded() {
        explain::DONE
    } else {
        explain::PARTLY
    };
    if !screen.json {
        tell(run, summary, screen);
    }
    if summary.path.is_none() {
        screen.warn(
            "the output is held back: fewer rows succeeded than `output.min_success` requires",
        );
    }
    if let Some(aside) = &summary.set_aside {
        tell_set_aside(run, aside, screen);
    }
    tell_empty(run, summary, screen);
    if code == explain::PARTLY {
        tell_failures(run, summary, screen);
    }
    code
}

/// Prints some rows of an output that was written, and its path.
pub(crate) fn print_output(run: &RunReport, summary: &ExportSummary, screen: &Screen) {
    let Some(path) = &summary.path else {
        return;
    };
    if let (Some(rows), false) = (first_rows(path, run), screen.quiet) {
        screen.data(rows);
    }
    screen.data(line_of(path));
}

/// The whole path of an output, in one line whatever its name holds.
pub(crate) fn line_of(output: &Path) -> String {
    let output = output
        .canonicalize()
        .unwrap_or_else(|_| output.to_path_buf());
    shown_to(&output.display().to_string(), LONGEST_PATH)
}

fn tell(run: &RunReport, summary: &ExportSummary, screen: &Screen) {
    let empty = match summary.totals.empty {
        0 => String::new(),
        rows => format!(" ({} with an empty answer)", count(rows)),
    };
    screen.say(format!("rows       {}{empty}", by_status(summary)));
    if summary.reused > 0 {
        screen.say(format!(
            "reused     {} with an answer that was paid for before, or shared",
            plural(summary.reused, "row", "rows")
        ));
    }
    if summary.kept.rows > 0 {
        screen.say(format!(
            "kept       {} of the existing output",
            plural(summary.kept.rows, "row", "rows")
        ));
    }
    let usage = summary.totals.usage();
    let tokens = |n: Option<u64>| count(n.unwrap_or(0));
    let mut words = format!("tokens     {} in", tokens(usage.input_tokens));
    let written = usage.cache_creation_5m_input_tokens.unwrap_or(0)
        + usage.cache_creation_1h_input_tokens.unwrap_or(0);
    if run.output.marks_cache || written + usage.cache_read_input_tokens.unwrap_or(0) > 0 {
        words += &format!(
            ", {} written to the cache, {} read from it",
            count(written),
            tokens(usage.cache_read_input_tokens)
        );
    }
    screen.say(format!("{words}, {} out", tokens(usage.output_tokens)));
    tell_server_tools(&usage, screen);
    tell_bill(&summary.totals.bill, screen);
    tell_cache(&summary.totals.bill.cache, screen);
    if let Some(comparison) = &summary.comparison {
        screen.say(match summary.totals.bill.unknown() {
            0 => super::estimate::compared(comparison),
            n => format!(
                "estimate   {}; not compared with the bill, which lacks the cost of {}",
                usd(comparison.expected),
                plural(n, "request", "requests")
            ),
        });
    }
}

/// Shows what the cache did, and whether the marks paid.
fn tell_cache(cache: &CacheUse, screen: &Screen) {
    let Some(read) = cache.read_share() else {
        return;
    };
    let saved = if cache.saved.is_negative() {
        format!(
            "the marks cost {} more than no marks",
            usd(Money::ZERO.saturating_sub(cache.saved))
        )
    } else {
        format!("{} saved compared with no marks", usd(cache.saved))
    };
    screen.say(format!(
        "cache      {} of the marked tokens read, in {} of {} requests; {saved}",
        format::percent(read),
        count(cache.reading),
        count(cache.requests)
    ));
}

/// How often the provider's own tools were used, where they were.
fn tell_server_tools(usage: &Usage, screen: &Screen) {
    let uses = [
        (usage.web_search_requests, "web search", "web searches"),
        (usage.web_fetch_requests, "page fetched", "pages fetched"),
        (usage.code_execution_requests, "run of code", "runs of code"),
    ];
    let uses = uses
        .into_iter()
        .filter_map(|(n, one, many)| Some(plural(n.filter(|&n| n > 0)?, one, many)));
    let uses: Vec<String> = uses.collect();
    if !uses.is_empty() {
        screen.say(format!("tools      {}", uses.join(", ")));
    }
}

/// Shows the cost, by kind of token, model and tag.
fn tell_bill(bill: &Bill, screen: &Screen) {
    let cost = bill.total();
    let kinds = [
        (cost.input, "input"),
        (cost.cache_write_5m + cost.cache_write_1h, "cache writes"),
        (cost.cache_read, "cache reads"),
        (cost.output, "output"),
        (cost.server_tools, "server tools"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(amount, _)| *amount > Money::ZERO)
        .map(|(amount, kind)| format!("{} {kind}", usd(*amount)))
        .collect();
    let kinds = if kinds.is_empty() {
        String::new()
    } else {
        format!(": {}", kinds.join(", "))
    };
    screen.say(format!("cost       {}{kinds}", usd(cost.total())));
    let models = bill.by_model();
    if models.len() > 1 {
        let models: Vec<String> = models
            .iter()
            .map(|(model, cost)| format!("{} {model}", usd(cost.total())))
            .collect();
        screen.say(format!("           {}", models.join(", ")));
    }
    if !bill.by_tag.is_empty() {
        let mut tags: Vec<(&String, &Money)> = bill.by_tag.iter().collect();
        tags.sort_by_key(|(_, cost)| std::cmp::Reverse(**cost));
        let shown: Vec<String> = tags
            .iter()
            .take(TAGS)
            .map(|(tag, cost)| format!("{} {tag}", usd(**cost)))
            .collect();
        let more = if tags.len() > TAGS {
            format!(" and {} more", tags.len() - TAGS)
        } else {
            String::new()
        };
        screen.say(format!("by tag     {}{more}", shown.join(", ")));
    }
    if bill.unknown() > 0 {
        let requests = plural(bill.unknown(), "request", "requests");
        screen.warn(format!(
            "the cost of {requests} is unknown: no result line, usage that is missing or cannot be \
             read, or a model without a price; no sum above includes it, and budgets keep its \
             reservation"
        ));
    }
}

fn by_status(summary: &ExportSummary) -> String {
    let statuses = Status::ALL.iter().filter(|s| summary.totals.count(**s) > 0);
    let statuses: Vec<String> = statuses
        .map(|s| format!("{} {s}", count(summary.totals.count(*s))))
        .collect();
    if statuses.is_empty() {
        "0".to_owned()
    } else {
        statuses.join(", ")
    }
}

/// Warns of empty answers: they succeeded, so no exit code reports them.
fn tell_empty(run: &RunReport, summary: &ExportSummary, screen: &Screen) {
    let (empty, succeeded) = (
        summary.totals.empty,
        summary.totals.count(Status::Succeeded),
    );
    if empty == 0 {
        return;
    }
    let prefix = &run.output.prefix;
    screen.warn(format!(
        "{} of {} that succeeded {} empty ({}): no text but white space in `{prefix}text`, and no \
         tool call\n  look at the prompt and at `{prefix}stop_reason`; `[canary]` stops a run \
         whose first answers are empty",
        count(empty),
        plural(succeeded, "answer", "answers"),
        if empty == 1 { "is" } else { "are" },
        percent(empty, succeeded),
    ));
}

/// A share in per cent, never rounded to none or all.
#[expect(clippy::cast_precision_loss, reason = "a share of rows for a person")]
fn percent(part: u64, whole: u64) -> String {
    match part as f64 * 100.0 / whole.max(1) as f64 {
        share if part < whole && share > 99.0 => "over 99%".to_owned(),
        share if share < 1.0 => "under 1%".to_owned(),
        share => format!("{share:.0}%"),
    }
}

/// Warns that the output is not at the job's path, with the reason and the command that moves it.
fn tell_set_aside(run: &RunReport, aside: &SetAside, screen: &Screen) {
    let why = match aside.why {
        WorseOutput::Simulated => {
            "the answers of this run are simulated, and those in it are not".to_owned()
        }
        WorseOutput::Fewer { ours, theirs } => {
            format!(
                "{} succeeded in it, and {} in this run",
                plural(theirs, "row", "rows"),
                count(ours)
            )
        }
        WorseOutput::Changed => {
            "it changed after this run was planned, and rows of it would be lost".to_owned()
        }
        WorseOutput::Unfinished => {
            "this run did not finish, and the existing output may be better".to_owned()
        }
    };
    screen.warn(format!(
        "`{}` stays as it is: {why}; this output is written next to it\n  `rowmill export {} \
         --replace` replaces it",
        aside.instead_of.display(),
        run.folder.display()
    ));
}

/// Warns of rows that did not succeed, with the first reason and what can be done.
fn tell_failures(run: &RunReport, summary: &ExportSummary, screen: &Screen) {
    let failed = summary.totals.rows - summary.totals.count(Status::Succeeded);
    let prefix = &run.output.prefix;
    let mut words = format!(
        "{} not succeed ({}); `{prefix}status` and `{prefix}error` say why",
        plural(failed, "row did", "rows did"),
        by_status(summary)
    );
    for line in first_failure(&summary.failures)
        .into_iter()
        .chain(ways_out(run, &summary.failures))
    {
        words += &format!("\n  {line}");
    }
    screen.warn(words);
}

/// The first row that failed, with the error message.
pub(crate) fn first_failure(failures: &Failures) -> Option<String> {
    let first = failures.first.as_ref()?;
    let number = format!("row {}", count(first.row + 1));
    // Without key columns the row's number is its key.
    let key = if first.key == format!("row {}", first.row + 1) {
        String::new()
    } else {
        format!(" ({})", shown(&first.key))
    };
    let kind = first
        .error_type
        .as_ref()
        .map(|kind| format!(" `{}`", shown(kind)))
        .unwrap_or_default();
    let said = first
        .error
        .as_ref()
        .map(|said| format!(": {}", shown_to(said, 500)))
        .unwrap_or_default();
    Some(format!(
        "the first: {number}{key}, {}{kind}{said}",
        first.status
    ))
}

/// What can be done about rows that failed, by cause: what is free first. No command stands here
/// that would send nothing.
pub(crate) fn ways_out(run: &RunReport, failures: &Failures) -> Vec<String> {
    let folder = shown_to(&run.folder.display().to_string(), 1_000);
    let rows = |class| {
        failures
            .by_class
            .get(&class)
            .copied()
            .filter(|&rows| rows > 0)
    };
    let were = |n| plural(n, "row", "rows");
    // Nothing of an abandoned run is sent again, and `retry` refuses it.
    let is_sent_again = !run.abandoned;
    let or_paid = |words: String| if is_sent_again { words } else { String::new() };
    let mut ways = Vec::new();
    if let Some(n) = rows(Class::Missing) {
        ways.push(format!(
            "{} without a result line: `rowmill collect {folder}` checks whether the results can \
             still be fetched, which is free{}",
            were(n),
            or_paid(format!(
                "; `rowmill retry {folder} --class missing` sends them again, which is billed \
                 twice for rows that were billed before"
            ))
        ));
    }
    if let Some(n) = rows(Class::Invalid) {
        let job = shown_to(&run.output.job_path.display().to_string(), 1_000);
        ways.push(format!(
            "{} with an answer that does not match: correct the schema or `[answer]` in the job \
             file, and `rowmill export {job}` parses the answers again, which is free{}",
            were(n),
            or_paid(format!(
                "; `rowmill retry {folder} --class invalid` sends them again, which is \
                billed"
            ))
        ));
    }
    let again = [
        Class::Expired,
        Class::ServerError,
        Class::Truncated,
        Class::Canceled,
    ];
    let again: Vec<(Class, u64)> = again
        .into_iter()
        .filter_map(|class| Some((class, rows(class)?)))
        .collect();
    if is_sent_again && !again.is_empty() {
        let classes: Vec<&str> = again.iter().map(|(class, _)| class.as_str()).collect();
        let n = again.iter().map(|(_, n)| n).sum();
        ways.push(format!(
            "`rowmill retry {folder} --class {}` sends {} again",
            classes.join(","),
            were(n)
        ));
    }
    if failures.without_room > 0 {
        ways.push(format!(
            "{} truncated at the highest limit that the model or `retry.truncated` allows: sending \
             them again does not help; shorten the prompt or ask for less",
            plural(failures.without_room, "row was", "rows were")
        ));
    }
    if failures.for_good > 0 {
        ways.push(format!(
            "{} would fail again in the same way: correct the request or the row first",
            plural(failures.for_good, "request", "requests")
        ));
    }
    ways
}

/// The first rows of a Parquet output as a table: the key, the text, the answer and the status.
fn first_rows(path: &Path, run: &RunReport) -> Option<String> {
    if path.extension().is_none_or(|e| e != "parquet") {
        return None;
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    let batch = reader
        .with_limit(ROWS)
        .with_batch_size(ROWS)
        .build()
        .ok()?
        .next()?
        .ok()?;
    let shown = shown_columns(&batch, run)?;
    let schema = batch.schema();
    let head: Vec<Column<'_>> = shown
        .iter()
        .map(|&i| column(schema.field(i).name(), schema.field(i).data_type()))
        .collect();
    let format = FormatOptions::default();
    let cells = shown
        .iter()
        .map(|&i| ArrayFormatter::try_new(batch.column(i), &format).ok())
        .collect::<Option<Vec<_>>>()?;
    let of_uuids: Vec<Option<&FixedSizeBinaryArray>> =
        shown.iter().map(|&i| uuids(&batch, i)).collect();
    let cell = |row: usize, place: usize| match of_uuids[place] {
        Some(ids) if ids.is_valid(row) => uuid_text(ids.value(row)),
        _ => cells[place].value(row).to_string(),
    };
    let rows = (0..batch.num_rows()).map(|row| {
        (0..cells.len())
            .map(|place| cut(&cell(row, place)))
            .collect()
    });
    Some(table(&head, rows))
}

/// A column whose bytes are UUIDs.
fn uuids(batch: &RecordBatch, column: usize) -> Option<&FixedSizeBinaryArray> {
    let is_uuid = batch
        .schema_ref()
        .field(column)
        .metadata()
        .get("ARROW:extension:name")
        .is_some_and(|name| name == "arrow.uuid");
    batch
        .column(column)
        .as_fixed_size_binary_opt()
        .filter(|ids| is_uuid && ids.value_length() == 16)
}

/// A UUID as people write it.
fn uuid_text(bytes: &[u8]) -> String {
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [20, 16, 12, 8]
        .into_iter()
        .for_each(|place| text.insert(place, '-'));
    text
}

/// The key's columns, the longest text beside them, the answer's first columns or else its text,
/// and the status.
fn shown_columns(batch: &RecordBatch, run: &RunReport) -> Option<Vec<usize>> {
    let schema = batch.schema();
    let own = |name: &str| {
        schema
            .index_of(&format!("{}{name}", run.output.prefix))
            .ok()
    };
    let status = own("status")?;
    let answers = run.output.answer_columns;
    let inputs = status.checked_sub(answers)?;
    let mut shown: Vec<usize> = run
        .output
        .key_columns
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .take(COLUMNS)
        .collect();
    let text = (0..inputs)
        .filter(|i| !shown.contains(i))
        .max_by_key(|&i| (bytes_of_text(batch, i), std::cmp::Reverse(i)));
    shown.extend(text);
    match answers {
        0 => shown.extend(own("text")),
        n => shown.extend((inputs..status).take(n.min(COLUMNS))),
    }
    shown.push(status);
    Some(shown)
}

fn bytes_of_text(batch: &RecordBatch, column: usize) -> usize {
    let column = batch.column(column);
    let is_text = matches!(
        column.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    if is_text {
        column.to_data().get_slice_memory_size().unwrap_or(0)
    } else {
        0
    }
}

/// How a column of a type stands on a screen.
fn column<'a>(name: &'a str, data_type: &DataType) -> Column<'a> {
    if data_type.is_numeric() {
        Column::Number(name)
    } else {
        Column::Text(name)
    }
}

fn cut(text: &str) -> String {
    if text.chars().nth(CELL).is_none() {
        text.to_owned()
    } else {
        text.chars().take(CELL - 1).chain(['…']).collect()
    }
}
