//! Error → message, hint, exit code.
//!
//! ```text
//! error: cannot render row 58 (ticket_id = "T-0077")
//!   caused by: `templates/triage.j2` line 12: undefined value `text`
//! hint: did you mean `body`?
//! ```

use std::error::Error as _;
use std::fmt::Write as _;

use rowmill::join;
use rowmill::ledger::{self, Scope, Shortage};
use rowmill::pipeline::Error;
use rowmill::pipeline::faults::{Faults, Tally};
use rowmill::pipeline::gates::Stopped;
use rowmill::pipeline::plan::SharedKeys;
use rowmill::pipeline::purse::Short;
use rowmill::provider::retry::{Call, Verdict, judge};
use rowmill::{batch, job, journal, request, source, template};

use super::screen::{count, plural, usd};

/// All rows succeeded.
pub(crate) const DONE: u8 = 0;
/// A bug.
pub(crate) const BUG: u8 = 1;
/// Arguments, job, template or input need a change; nothing was sent.
pub(crate) const CHANGE: u8 = 2;
/// Finished; some rows did not succeed.
pub(crate) const PARTLY: u8 = 3;
/// Stopped by provider or network.
pub(crate) const PROVIDER: u8 = 4;
/// Not finished yet.
pub(crate) const UNFINISHED: u8 = 5;
/// Stopped by a budget, or by what the first rows came to.
pub(crate) const STOPPED: u8 = 6;
/// A submit is in doubt and held.
pub(crate) const DOUBT: u8 = 7;
/// No such run.
pub(crate) const NO_RUN: u8 = 10;
/// Another process works on the run.
pub(crate) const LOCKED: u8 = 11;
/// Credentials.
pub(crate) const CREDENTIALS: u8 = 12;
/// Interrupted; batches live on.
pub(crate) const INTERRUPTED: u8 = 130;

/// What a command ends with when it does not get to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A step of the library stopped.
    Step(Error),
    /// As [`Failure::Step`], when batches may have been sent: a disk that is full then is no reason to change the job.
    UnderWay(Error),
    /// Something only the command line knows: message, hint, exit code.
    Words { message: String, hint: Option<String>, code: u8 },
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Step(error.into())
    }
}

impl Failure {
    /// A failure in words.
    pub(crate) fn words(code: u8, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Words { message: message.into(), hint: Some(hint.into()).filter(|hint| !hint.is_empty()), code }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Words { code, .. } => *code,
            Failure::Step(error) => exit_code(error),
            Failure::UnderWay(error) if is_of_the_disk(error) => PROVIDER,
            Failure::UnderWay(error) => exit_code(error),
        }
    }

    /// The message, its causes and a hint, each on lines of its own.
    pub(crate) fn text(&self, paint: impl Fn(&str, &str) -> String) -> String {
        let (message, hint) = match self {
            Failure::Words { message, hint, .. } => (message.clone(), hint.clone()),
            Failure::UnderWay(error) if is_of_the_disk(error) => {
                let hint = "make room or mend the disk, then run the same command again: what was sent is looked up, nothing is sent twice";
                (told(error), Some(hint.to_owned()))
            }
            Failure::Step(error) | Failure::UnderWay(error) => (told(error), hint(error)),
        };
        let mut text = format!("{} {message}", paint("error:", "31;1"));
        if let Some(hint) = hint {
            let _ = write!(text, "\n{} {hint}", paint("hint:", "36;1"));
        }
        text
    }
}

/// Whether the file system is at fault, and not what is in the files.
fn is_of_the_disk(error: &Error) -> bool {
    matches!(
        error,
        Error::File { .. }
            | Error::Output(_)
            | Error::Join(join::Error::Scratch(_) | join::Error::Read { .. })
            | Error::Batch(rowmill::batch::Error::Io { .. })
            | Error::Journal(journal::Error::Io { .. } | journal::Error::Broken { .. })
            | Error::Ledger(ledger::Error::Sqlite { .. } | ledger::Error::Create { .. } | ledger::Error::Busy { .. })
    )
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Bug(_) => BUG,
        Error::Provider { source, .. } => match judge(Call::Create, source, u32::MAX, std::time::Duration::MAX, 0.0) {
            Verdict::StopCredentials => CREDENTIALS,
            _ => PROVIDER,
        },
        Error::Stopped(_) | Error::Budget(_) => STOPPED,
        Error::Journal(journal::Error::Locked { .. }) => LOCKED,
        Error::Journal(journal::Error::NoRun { .. }) => NO_RUN,
        _ => CHANGE,
    }
}

/// The error, what belongs under it, and its causes.
fn told(error: &Error) -> String {
    let mut text = match error {
        Error::Rows(faults) => told_rows(faults),
        Error::DuplicateKeys(shared) => told_shared(shared),
        Error::Stopped(stopped) => told_stopped(stopped),
        Error::Budget(short) => told_short(short),
        Error::Changed { what, .. } => {
            let mut text = error.to_string();
            for what in what {
                let _ = write!(text, "\n  {what}");
            }
            text
        }
        other => other.to_string(),
    };
    text = with_causes(&text, error.source());
    if let Error::Provider { standing, .. } = error {
        let _ = write!(text, "\n  {standing}");
    }
    text
}

/// A message with an error and its causes below it.
pub(crate) fn with_causes(message: &str, mut cause: Option<&dyn std::error::Error>) -> String {
    let mut text = message.to_owned();
    while let Some(error) = cause {
        let _ = write!(text, "\n  caused by: {error}");
        cause = error.source();
    }
    text
}

fn told_rows(faults: &Faults) -> String {
    let mut text = String::new();
    if let Some((row, key, error)) = &faults.first_error {
        // Without key columns the row's number is its key, and said already.
        let key = if *key == format!("row {}", row + 1) { String::new() } else { format!(" ({key})") };
        text = with_causes(&format!("cannot render row {}{key}", count(row + 1)), Some(error));
        if faults.not_rendered.count > 1 {
            let _ =
                write!(text, "\n  {} rows cannot be rendered: {}", count(faults.not_rendered.count), named(&faults.not_rendered));
        }
    }
    let column = faults.key_column.as_deref().unwrap_or("key");
    for (tally, what) in [(&faults.null_keys, "null"), (&faults.empty_keys, "empty text")] {
        if tally.count > 0 {
            let gap = if text.is_empty() { "" } else { "\n  " };
            let noun = if tally.count == 1 { "row has" } else { "rows have" };
            let _ = write!(text, "{gap}{} {noun} no key: `{column}` is {what} in {}", count(tally.count), named(tally));
        }
    }
    text
}

/// Which limit stands in the way, what is left of it, and who has used it up.
fn told_short(short: &Short) -> String {
    let Shortage { scope, limit, spent, reserved, by, .. } = &short.shortage;
    let head = if short.is_under_way { "the rest of the run does" } else { "the run does" };
    let words = match scope {
        Scope::Run => "for a run",
        Scope::Day => "for today, in UTC, over all jobs",
        Scope::Month => "for this month, in UTC, over all jobs",
    };
    let mut text = format!(
        "{head} not fit into the budget {words}\n  `{}` is {}: {} spent, {} reserved for batches in flight, {} left",
        limit_name(short),
        usd(*limit),
        usd(*spent),
        usd(*reserved),
        usd(short.shortage.left())
    );
    let _ = write!(
        text,
        "\n  {} with {} to be sent: likely {}, if nothing goes well {}",
        plural(short.batches, "batch", "batches"),
        plural(short.requests, "request", "requests"),
        usd(short.likely),
        usd(short.high)
    );
    if *scope != Scope::Run && !by.is_empty() {
        let jobs: Vec<String> =
            by.iter().map(|by| format!("{} {} spent, {} reserved", by.job, usd(by.spent), usd(by.reserved))).collect();
        let _ = write!(text, "\n  by job: {}", jobs.join("; "));
    }
    if short.is_under_way {
        let _ = write!(text, "\n  what was sent is recorded in {}", short.run.display());
    } else {
        text.push_str("\n  nothing was sent");
    }
    text
}

/// Where the limit was set.
fn limit_name(short: &Short) -> &'static str {
    match short.shortage.scope {
        Scope::Run if short.typed => "--max-cost",
        Scope::Run => "budget.run_usd",
        Scope::Day => "budget.day_usd",
        Scope::Month => "budget.month_usd",
    }
}

fn short_hint(short: &Short) -> String {
    let wait = match short.shortage.scope {
        Scope::Run => "",
        Scope::Day => ", wait for the next day in UTC",
        Scope::Month => ", wait for the next month in UTC",
    };
    format!(
        "raise `{}`{wait}, take fewer rows with --limit, or have the batches that fit sent with `budget.on_limit = \"partial\"` \
         and a smaller `batch.max_requests`; then `rowmill run {}`",
        limit_name(short),
        short.run.display()
    )
}

/// The way out where a ledger cannot be used.
fn ledger_hint(error: &ledger::Error) -> Option<String> {
    Some(match error {
        ledger::Error::Newer { .. } => "use the version of rowmill that wrote it, or a newer one".to_owned(),
        ledger::Error::NotOurs { path } | ledger::Error::Edited { path, .. } => format!(
            "put it back from a copy, or move `{}` away: a new one is begun, which knows of the runs that are gone on with, and no budget \
             counts what others spent before. Nothing was sent now",
            path.display()
        ),
        ledger::Error::Conflict { .. } => "a copy of the run has sent it, or the run's journal was put back from a copy: put the newest \
                                           journal back, or give the run up with `rowmill cancel RUN --abandon`. Nothing was sent now"
            .to_owned(),
        ledger::Error::Busy { .. } => "run the same command again; nothing was sent now".to_owned(),
        _ => return None,
    })
}

fn told_stopped(stopped: &Stopped) -> String {
    let mut text = stopped.kind.stopped().to_owned();
    for line in stopped.reason.lines() {
        let _ = write!(text, "\n  {line}");
    }
    let requests = super::screen::plural(stopped.requests, "request was", "requests were");
    let _ = write!(text, "\n  {requests} not sent; what came back is in {}", stopped.results.display());
    text
}

fn told_shared(shared: &SharedKeys) -> String {
    let mut text = format!("row key is not unique\n  {} keys are shared by several rows", count(shared.keys));
    for (key, rows) in &shared.first {
        let tally = Tally { count: rows.len() as u64, first: rows.clone() };
        let _ = write!(text, "\n  {key}: {}", named(&tally));
    }
    text
}

/// `row 4`, `rows 1 and 3`, `rows 1, 2, 3 and 12 more`.
fn named(tally: &Tally) -> String {
    let rows: Vec<String> = tally.first.iter().map(|row| count(row + 1)).collect();
    let more = tally.count.saturating_sub(rows.len() as u64);
    match (rows.as_slice(), more) {
        ([], _) => format!("{} rows", count(more)),
        ([row], 0) => format!("row {row}"),
        ([rows @ .., last], 0) => format!("rows {} and {last}", rows.join(", ")),
        (rows, more) => format!("rows {} and {} more", rows.join(", "), count(more)),
    }
}

fn hint(error: &Error) -> Option<String> {
    let text = match error {
        Error::Job(job::Error::Parse { nearest, .. }) => did_you_mean(nearest.as_ref()?),
        Error::UnknownModel { nearest, .. } if !nearest.is_empty() => format!("did you mean `{}`?", nearest.join("`, `")),
        Error::UnknownModel { .. } => "docs/models.md lists the models this version knows".to_owned(),
        Error::RetiredModel { .. } => "change `request.model` in the job file".to_owned(),
        Error::Budget(short) => short_hint(short),
        Error::Ledger(error) => return ledger_hint(error),
        Error::NoPrice(_) => {
            "give it prices in a file named with --models (docs/models.md), or choose a model that `rowmill prices` lists"
                .to_owned()
        }
        Error::Request(request::Error::Template(error)) => return template_hint(error),
        Error::Request(request::Error::Schema { path, can_be_lowered: true, .. }) => format!(
            "`request.schema = {{ file = \"{}\", lower = true }}` sends all of this as words in the descriptions, and checks the answers here",
            path.display()
        ),
        Error::Keys(request::keys::Error::UnknownColumn { columns, .. }) if is_one_line(columns) => ONE_COLUMN.to_owned(),
        Error::Keys(request::keys::Error::UnknownColumn { nearest, .. })
        | Error::Source(source::Error::UnknownColumn { nearest, .. }) => did_you_mean(nearest.as_ref()?),
        Error::Source(error) => return source_hint(error).map(str::to_owned),
        Error::Job(job::Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            "`rowmill init DATA` writes a job file for a data file".to_owned()
        }
        Error::DuplicateKeys(shared) => {
            let columns = shared.columns.join("`, `");
            format!("add a column to `key.columns` (now `{columns}`), or set `key.on_duplicate` to \"number\" or \"first\"")
        }
        Error::Rows(faults) if faults.first_error.is_some() => {
            "mend the template, the cell or its file, or set `request.on_row_error = \"skip\"` to set such rows aside as `unsent`"
                .to_owned()
        }
        Error::Stopped(stopped) => format!(
            "mend the job, give this run up with `rowmill cancel {0} --abandon` and start anew; or send the rest all the same: \
             `rowmill run {0} --ignore-canary`",
            stopped.run.display()
        ),
        Error::Rows(_) => "choose key columns that every row has, or leave such rows out with `source.where`".to_owned(),
        Error::NotUploaded { .. } => {
            "`rowmill run` uploads them before it plans; a dry run uploads nothing, so it can neither count nor keep such requests".to_owned()
        }
        Error::NoRows(_) => "look at `source.path`, `source.where` and `source.limit`".to_owned(),
        Error::Provider { source, .. } => return Some(provider_hint(source)),
        Error::Journal(journal::Error::Locked { .. }) => {
            "wait until it is done, or end that process; its work is not lost".to_owned()
        }
        Error::Journal(journal::Error::NoRun { .. }) => "`rowmill status` lists the runs".to_owned(),
        Error::Journal(error) => error.way_out()?.to_owned(),
        Error::Batch(batch::Error::Altered { .. } | batch::Error::Missing { .. }) => {
            "put the file back from a copy; what was sent from it can still be fetched and joined by hand from `results/`"
                .to_owned()
        }
        Error::Changed { run, .. } => format!(
            "finish the old run with `rowmill run {0}`, or give it up with `rowmill cancel {0} --abandon` and start anew",
            run.display()
        ),
        Error::Abandoned { run } => format!(
            "`rowmill collect {}` fetches what it sent; `rowmill run` with the job file starts a new run",
            run.display()
        ),
        Error::RunGone { run, state, .. } => format!(
            "put its folder back in `{}` and resume it; if it is gone for good, `rowmill cancel {run} --abandon` gives it up, and the \
             job can start again, which pays its rows again",
            state.display()
        ),
        Error::SoundJournal { run } => format!("`rowmill run {}` goes on with it", run.display()),
        Error::AlteredResults { .. } | Error::MissingResults { .. } => {
            "put the file back from a copy; what it holds was paid for, and nothing was sent or written now".to_owned()
        }
        Error::OutputIsInput { .. } => "write the output to another place with `output.path`; if it is the output of an earlier run, let \
                                        `source.path` pass it over"
            .to_owned(),
        Error::OtherOrigin { .. } => "set ANTHROPIC_BASE_URL to what it was, or start a new run".to_owned(),
        _ => return None,
    };
    Some(text)
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

const ONE_COLUMN: &str = "the whole header was read as one column: tell what stands between the cells with `source.delimiter`";

/// Whether the only column looks like a header that was not taken apart.
fn is_one_line(columns: &[String]) -> bool {
    matches!(columns, [only] if only.contains([';', '\t', '|']))
}

fn template_hint(error: &template::Error) -> Option<String> {
    match error {
        template::Error::UnknownColumn { columns, .. } if is_one_line(columns) => Some(ONE_COLUMN.to_owned()),
        template::Error::UnknownColumn { nearest, .. }
        | template::Error::NoColumn { nearest, .. }
        | template::Error::UnknownFilter { nearest, .. } => nearest.as_deref().map(did_you_mean),
        template::Error::SystemVariable { .. } => Some("move it to a message, which is rendered for each row".to_owned()),
        _ => None,
    }
}

fn source_hint(error: &source::Error) -> Option<&'static str> {
    use source::Error as E;
    Some(match error {
        E::Empty { path } if path.as_os_str() == "-" => "pipe the rows in again; a run goes on without them by its folder or id",
        E::CellCount { .. } => "mend the line, or tell how the file is written with `source.delimiter` and `source.quote`",
        E::Quote { .. } => "close the quotation mark, or set `source.quote = \"\"` where it is an ordinary character",
        E::NotUtf8 { .. } => "name the encoding with `source.encoding`, such as \"windows-1252\" or \"latin1\"",
        E::Corrupt { .. } | E::RowCount { .. } => {
            "the file is damaged or written wrongly; make it anew, or set `source.format` if it is of another"
        }
        E::UnknownFormat { .. } | E::StdinFormat => {
            "name it with `source.format`: \"csv\", \"tsv\", \"jsonl\", \"parquet\" or \"ipc\""
        }
        E::Changed { .. } => "run it again when nothing writes to the file any more",
        E::MixedFormats { .. } => "narrow `source.path` down to the files of one format, such as `data/*.csv`",
        E::Cell { .. } => "mend the cell, or leave the column as text: take it out of `source.columns`",
        _ => return None,
    })
}

fn provider_hint(error: &rowmill::provider::ApiError) -> String {
    match judge(Call::Create, error, 0, std::time::Duration::ZERO, 0.0) {
        Verdict::StopCredentials => "check the key in ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, and what it may do".to_owned(),
        Verdict::StopSpend => "raise the spend limit or add credit, then run the same command again".to_owned(),
        Verdict::Split => "lower `batch.max_bytes` in the job file".to_owned(),
        Verdict::Fail if error.status == Some(400) => {
            "the provider does not take the request as it is; nothing was sent".to_owned()
        }
        _ => "run the same command again; what was accepted is not sent again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_rows_as_people_do() {
        for (rows, count, text) in [
            (vec![3], 1, "row 4"),
            (vec![0, 2], 2, "rows 1 and 3"),
            (vec![0, 1, 2], 3, "rows 1, 2 and 3"),
            (vec![0, 1, 999], 15, "rows 1, 2, 1,000 and 12 more"),
        ] {
            assert_eq!(named(&Tally { count, first: rows }), text);
        }
    }
}
