//! What a run came to: where the output is, what is in it, and a few joined rows.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rowmill::cost::{Bill, CacheUse, Money};
use rowmill::estimate::prime::about;
use rowmill::estimate::share;
use rowmill::outcome::answer::Answers;
use rowmill::outcome::class::Class;
use rowmill::outcome::{Status, Usage};
use rowmill::pipeline::{Run, export::Summary};
use rowmill::template::prompt::SystemSpec;
use serde_json::{Value, json};

use super::explain::{self, Failure};
use super::layout::Column;
use super::screen::{Screen, count, plural, table, usd};

/// Rows shown of an output.
const ROWS: usize = 5;
/// Columns of the key, and of the answer, shown of an output.
const COLUMNS: usize = 3;
/// Characters shown of a cell, where the screen is wide enough.
const CELL: usize = 60;
/// Tags whose cost is shown, the dearest first.
const TAGS: usize = 10;

/// Shows what was written, and gives the exit code that tells whether all of it is good.
pub(crate) fn show(run: &Run, summary: &Summary, screen: &Screen) -> Result<u8, Failure> {
    let code = if summary.all_succeeded() { explain::DONE } else { explain::PARTLY };
    if screen.json {
        screen.json(&of_run(run));
    } else {
        tell(run, summary, screen);
    }
    if summary.path.is_none() {
        screen.warn("the output is held back: fewer rows succeeded than `output.min_success` asks for");
    }
    if code == explain::PARTLY {
        tell_failures(run, summary, screen);
    }
    if let (Some(path), false) = (&summary.path, screen.json) {
        if let (Some(rows), false) = (first_rows(path, run), screen.quiet) {
            screen.data(rows);
        }
        screen.data(path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string());
    }
    if run.is_simulated() && !screen.json {
        screen.banner();
    }
    Ok(code)
}

/// A run as data.
pub(crate) fn of_run(run: &Run) -> Value {
    serde_json::to_value(run.manifest(jiff::Timestamp::now())).unwrap_or_else(|e| json!({ "error": e.to_string() }))
}

fn tell(run: &Run, summary: &Summary, screen: &Screen) {
    screen.say(format!("rows       {}", by_status(summary)));
    let usage = summary.totals.usage();
    let tokens = |n: Option<u64>| count(n.unwrap_or(0));
    let mut words = format!("tokens     {} in", tokens(usage.input_tokens));
    let written = usage.cache_creation_5m_input_tokens.unwrap_or(0) + usage.cache_creation_1h_input_tokens.unwrap_or(0);
    if is_cached(run) || written + usage.cache_read_input_tokens.unwrap_or(0) > 0 {
        words += &format!(", {} written to the cache, {} read from it", count(written), tokens(usage.cache_read_input_tokens));
    }
    screen.say(format!("{words}, {} out", tokens(usage.output_tokens)));
    tell_server_tools(&usage, screen);
    tell_bill(&summary.totals.bill, screen);
    tell_cache(&summary.totals.bill.cache, screen);
    if let Some(comparison) = &summary.comparison {
        screen.say(super::estimate::compared(comparison));
    }
}

/// What the cache did, and whether marking paid.
fn tell_cache(cache: &CacheUse, screen: &Screen) {
    let Some(read) = cache.read_share() else { return };
    let saved = if cache.saved.is_negative() {
        format!("the marks cost {} more than none would have", about(Money::ZERO.saturating_sub(cache.saved)))
    } else {
        format!("{} saved against no mark", about(cache.saved))
    };
    screen.say(format!(
        "cache      {} of the marked tokens read, in {} of {} requests; {saved}",
        share(read),
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
    let uses = uses.into_iter().filter_map(|(n, one, many)| Some(plural(n.filter(|&n| n > 0)?, one, many)));
    let uses: Vec<String> = uses.collect();
    if !uses.is_empty() {
        screen.say(format!("tools      {}", uses.join(", ")));
    }
}

/// What it cost, and what for.
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
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    screen.say(format!("cost       {}{kinds}", usd(cost.total())));
    let models = bill.by_model();
    if models.len() > 1 {
        let models: Vec<String> = models.iter().map(|(model, cost)| format!("{} {model}", usd(cost.total()))).collect();
        screen.say(format!("           {}", models.join(", ")));
    }
    if !bill.by_tag.is_empty() {
        let mut tags: Vec<(&String, &Money)> = bill.by_tag.iter().collect();
        tags.sort_by_key(|(_, cost)| std::cmp::Reverse(**cost));
        let shown: Vec<String> = tags.iter().take(TAGS).map(|(tag, cost)| format!("{} {tag}", usd(**cost))).collect();
        let more = if tags.len() > TAGS { format!(" and {} more", tags.len() - TAGS) } else { String::new() };
        screen.say(format!("by tag     {}{more}", shown.join(", ")));
    }
    if bill.unknown() > 0 {
        let requests = plural(bill.unknown(), "request", "requests");
        screen
            .warn(format!("it is not known what {requests} cost, which came back without usage or from a model without a price"));
    }
}

fn is_cached(run: &Run) -> bool {
    let request = &run.job().request;
    let in_system = matches!(&request.system, SystemSpec::Blocks(blocks) if blocks.iter().any(|block| block.cache.is_some()));
    in_system || request.messages.iter().any(|message| message.cache.is_some())
}

fn by_status(summary: &Summary) -> String {
    let statuses = Status::ALL.iter().filter(|s| summary.totals.count(**s) > 0);
    let statuses: Vec<String> = statuses.map(|s| format!("{} {s}", count(summary.totals.count(*s)))).collect();
    statuses.join(", ")
}

/// Which rows did not succeed, and what can be done about those that another try may heal.
fn tell_failures(run: &Run, summary: &Summary, screen: &Screen) {
    let failed = summary.totals.rows - summary.totals.count(Status::Succeeded);
    let prefix = &run.reading().output.prefix;
    let mut words = format!(
        "{} not succeed ({}); `{prefix}status` and `{prefix}error` say why",
        plural(failed, "row did", "rows did"),
        by_status(summary)
    );
    let healable = Class::ALL.iter().filter(|class| summary.totals.count(status_of(**class)) > 0);
    let healable: Vec<&str> = healable.map(|class| class.as_str()).collect();
    let folder = run.folder().display();
    let can_be_fetched = summary.totals.count(Status::Missing) > 0 && run.may_fetch_more(jiff::Timestamp::now());
    if can_be_fetched {
        words += &format!(
            "\n  the provider may still have results of `missing` rows: `rowmill collect {folder}` asks again, which costs nothing"
        );
    }
    let healable: Vec<&str> =
        healable.into_iter().filter(|class| !(can_be_fetched && *class == Class::Missing.as_str())).collect();
    if !healable.is_empty() {
        words += &format!("\n  `rowmill retry {folder} --class {}` sends them again", healable.join(","));
    }
    screen.warn(words);
}

/// The status that rows of a class have.
fn status_of(class: Class) -> Status {
    match class {
        Class::Expired => Status::Expired,
        Class::ServerError => Status::Errored,
        Class::Missing => Status::Missing,
        Class::Truncated => Status::Truncated,
        Class::Invalid => Status::Invalid,
        Class::Canceled => Status::Canceled,
    }
}

/// The first rows of a Parquet output as a table: the key, the text, the answer and the status.
fn first_rows(path: &Path, run: &Run) -> Option<String> {
    if path.extension().is_none_or(|e| e != "parquet") {
        return None;
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    let batch = reader.with_limit(ROWS).with_batch_size(ROWS).build().ok()?.next()?.ok()?;
    let shown = shown_columns(&batch, run)?;
    let schema = batch.schema();
    let head: Vec<Column<'_>> = shown.iter().map(|&i| column(schema.field(i).name(), schema.field(i).data_type())).collect();
    let format = FormatOptions::default();
    let cells = shown.iter().map(|&i| ArrayFormatter::try_new(batch.column(i), &format).ok()).collect::<Option<Vec<_>>>()?;
    let rows = (0..batch.num_rows()).map(|row| cells.iter().map(|cells| cut(&cells.value(row).to_string())).collect());
    Some(table(&head, rows))
}

/// The key's columns, the longest text beside them, the answer's first columns or else its text, and the status.
fn shown_columns(batch: &RecordBatch, run: &Run) -> Option<Vec<usize>> {
    let schema = batch.schema();
    let job = run.job();
    let own = |name: &str| schema.index_of(&format!("{}{name}", run.reading().output.prefix)).ok();
    let status = own("status")?;
    let answers = answer_columns(run);
    let inputs = status.checked_sub(answers)?;
    let mut shown: Vec<usize> = job.key.columns.iter().filter_map(|name| schema.index_of(name).ok()).take(COLUMNS).collect();
    let text = (0..inputs).filter(|i| !shown.contains(i)).max_by_key(|&i| (bytes_of_text(batch, i), std::cmp::Reverse(i)));
    shown.extend(text);
    match answers {
        0 => shown.extend(own("text")),
        n => shown.extend((inputs..status).take(n.min(COLUMNS))),
    }
    shown.push(status);
    Some(shown)
}

fn answer_columns(run: &Run) -> usize {
    Answers::compile(&run.reading().answer).ok().flatten().map_or(0, |answers| answers.fields().len())
}

fn bytes_of_text(batch: &RecordBatch, column: usize) -> usize {
    let column = batch.column(column);
    let is_text = matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    if is_text { column.to_data().get_slice_memory_size().unwrap_or(0) } else { 0 }
}

/// How a column of a type stands on a screen.
fn column<'a>(name: &'a str, data_type: &DataType) -> Column<'a> {
    if data_type.is_numeric() { Column::Number(name) } else { Column::Text(name) }
}

fn cut(text: &str) -> String {
    if text.chars().nth(CELL).is_none() { text.to_owned() } else { text.chars().take(CELL - 1).chain(['…']).collect() }
}
