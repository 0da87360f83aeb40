//! Error → message, hint, exit code.
//!
//! ```text
//! error: cannot render row 58 (ticket_id = "T-0077")
//!   caused by: `templates/triage.j2` line 12: undefined value `text`
//! hint: did you mean `body`?
//! ```

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::PathBuf;

use rowmill::engine::Error;
use rowmill::engine::budget::OverBudget;
use rowmill::engine::checkpoints::StoppedAtCheckpoint;
use rowmill::engine::faults::{Causes, FaultCount, Faults};
use rowmill::engine::plan::SharedKeys;
use rowmill::engine::submit::RefusedBatch;
use rowmill::join;
use rowmill::ledger::{self, LimitScope, Shortage};
use rowmill::provider::retry::{Call, Verdict, judge};
use rowmill::{batch, job, journal, output, request, source, template};

use super::format::{count, plural, usd};
use super::layout::visible;
use super::screen::{shown, shown_to};

/// Characters of an error, a cause or a hint that are shown.
const LONGEST: usize = 2_000;

/// All rows succeeded.
pub(crate) const DONE: u8 = 0;
/// A bug.
pub(crate) const BUG: u8 = 1;
/// Arguments, job, template, input or a file of the run need a change; this command sent nothing.
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
/// Interrupted; submitted batches keep running at the provider.
pub(crate) const INTERRUPTED: u8 = 130;

/// What a command ends with when it does not get to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A step of the library stopped.
    Step(Error),
    /// Something only the command line knows: message, hint, exit code.
    Words {
        message: String,
        hint: Option<String>,
        code: u8,
    },
}

/// What the journal of the run that a command worked on says of sending. Together with the error it
/// decides the exit code.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// The run's folder.
    pub(crate) run: Option<PathBuf>,
    /// Whether anything of the run was sent, or may have been.
    pub(crate) ever: bool,
    /// Whether this command sent something, or may have.
    pub(crate) now: bool,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Step(error.into())
    }
}

impl Failure {
    /// A failure in words.
    pub(crate) fn words(code: u8, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Words {
            message: message.into(),
            hint: Some(hint.into()).filter(|hint| !hint.is_empty()),
            code,
        }
    }

    /// The exit code: the only place that decides it. That nothing was sent is said of what the
    /// journal says so of, never because of the kind of an error.
    pub(crate) fn code(&self, sent: &Sent) -> u8 {
        match self {
            Failure::Words { code, .. } if *code == CHANGE && sent.now => PROVIDER,
            Failure::Words { code, .. } => *code,
            Failure::Step(error) => exit_code(error, sent),
        }
    }

    /// The message with its causes, on lines of its own.
    pub(crate) fn message(&self, sent: &Sent) -> String {
        match self {
            Failure::Words { message, .. } => message.clone(),
            Failure::Step(error) => {
                let mut text = told(error);
                if let (Some(run), true, false) = (&sent.run, sent.ever, says_what_was_sent(error))
                {
                    let _ = write!(
                        text,
                        "\n  what was sent is recorded in {}",
                        shown(&run.display().to_string())
                    );
                }
                text
            }
        }
    }

    /// The way out.
    pub(crate) fn hint(&self, sent: &Sent) -> Option<String> {
        match self {
            Failure::Words { hint, .. } => hint.clone(),
            Failure::Step(error) if is_of_the_disk(error) && sent.ever => Some(
                "make room or repair the disk, then run the same command again: what was sent is \
                 looked up, nothing is sent twice"
                    .to_owned(),
            ),
            Failure::Step(Error::Provider { source, .. }) => Some(provider_hint(source, sent)),
            Failure::Step(error) => hint(error).map(|hint| shown_to(&hint, LONGEST)),
        }
    }
}

/// Whether the message says already what became of what was sent.
fn says_what_was_sent(error: &Error) -> bool {
    matches!(
        error,
        Error::Provider { .. }
            | Error::Budget(_)
            | Error::StoppedAtCheckpoint(_)
            | Error::Changed { .. }
            | Error::Journal(_)
    )
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
            | Error::Ledger(
                ledger::Error::Sqlite { .. }
                    | ledger::Error::Create { .. }
                    | ledger::Error::Busy { .. }
            )
    )
}

fn exit_code(error: &Error, sent: &Sent) -> u8 {
    match error {
        Error::Bug(_) => BUG,
        Error::Interrupted => INTERRUPTED,
        Error::Provider { source, .. } => match judge(
            Call::Create,
            source,
            u32::MAX,
            std::time::Duration::MAX,
            0.0,
        ) {
            Verdict::StopCredentials => CREDENTIALS,
            _ => PROVIDER,
        },
        // Where nothing was sent, the job needs a change; else what was sent can still be fetched.
        Error::Refused(refused) if refused.nothing_was_sent => CHANGE,
        Error::Refused(_) => PROVIDER,
        Error::StoppedAtCheckpoint(_) | Error::Budget(_) => STOPPED,
        Error::Journal(journal::Error::Locked { .. }) => LOCKED,
        Error::Journal(journal::Error::NoRun { .. }) => NO_RUN,
        // A person has to change something first, and it would not help to run the command again.
        error if needs_a_change(error) && !sent.now => CHANGE,
        _ if sent.ever => PROVIDER,
        _ => CHANGE,
    }
}

/// Whether the job, its files, its input or a file of the run has to be changed by a person.
fn needs_a_change(error: &Error) -> bool {
    match error {
        Error::Batch(batch::Error::Altered { .. } | batch::Error::Missing { .. }) => true,
        Error::Journal(error) => !matches!(
            error,
            journal::Error::Io { .. } | journal::Error::Broken { .. }
        ),
        Error::Ledger(error) => {
            use ledger::Error::{Conflict, Edited, Newer, NotOurs};
            matches!(
                error,
                Newer { .. } | NotOurs { .. } | Edited { .. } | Conflict { .. }
            )
        }
        Error::Output(error) => !matches!(
            error,
            output::Error::Write { .. } | output::Error::Incomplete { .. }
        ),
        Error::Job(_)
        | Error::Source(_)
        | Error::Request(_)
        | Error::Keys(_)
        | Error::Answer(_)
        | Error::UnknownModel { .. }
        | Error::RetiredModel { .. }
        | Error::NoPrice(_)
        | Error::Rows(_)
        | Error::DuplicateKeys(_)
        | Error::NotUploaded { .. }
        | Error::Changed { .. }
        | Error::Abandoned { .. }
        | Error::RunGone { .. }
        | Error::SoundJournal { .. }
        | Error::AlteredResults { .. }
        | Error::MissingResults { .. }
        | Error::OutputIsInput { .. }
        | Error::OtherOrigin { .. } => true,
        _ => false,
    }
}

/// The error, what belongs under it, and its causes.
fn told(error: &Error) -> String {
    let mut text = match error {
        Error::Rows(faults) => told_rows(faults),
        Error::DuplicateKeys(shared) => told_shared(shared),
        Error::StoppedAtCheckpoint(stopped) => told_stopped(stopped),
        Error::Budget(short) => told_short(short),
        Error::Changed { what, .. } => {
            let mut text = error.to_string();
            for what in what {
                let _ = write!(text, "\n  {}", shown_to(what, LONGEST));
            }
            text
        }
        other => said(other),
    };
    text = with_causes(&text, error.source());
    if let Error::Provider { standing, .. } = error {
        let _ = write!(text, "\n  {}", shown_to(standing, LONGEST));
    }
    if let Error::Refused(refused) = error {
        let _ = write!(
            text,
            "\n  {}",
            if refused.nothing_was_sent {
                "nothing was sent"
            } else {
                &refused.standing
            }
        );
    }
    text
}

/// A message with an error and its causes below it.
pub(crate) fn with_causes(message: &str, mut cause: Option<&dyn std::error::Error>) -> String {
    let mut text = message.to_owned();
    while let Some(error) = cause {
        let _ = write!(text, "\n  caused by: {}", said(error));
        cause = error.source();
    }
    text
}

/// What an error says. What it says on further lines is indented, so that none of them can be taken
/// for a line of ours.
fn said(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut lines = text.trim_end().lines();
    let first = shown_to(lines.next().unwrap_or_default(), LONGEST);
    let more: Vec<String> = lines.map(|line| shown_to(line, LONGEST)).collect();
    // All of them or none, so that what points to a column of another line still does.
    let indent = if more.iter().all(|line| line.starts_with("  ")) {
        ""
    } else {
        "  "
    };
    more.iter()
        .fold(first, |text, line| format!("{text}\n{indent}{line}"))
}

fn told_rows(faults: &Faults) -> String {
    let mut text = String::new();
    if let Some((row, key, error)) = &faults.first_error {
        // Without key columns the row's number is its key, and said already.
        let key = if *key == format!("row {}", row + 1) {
            String::new()
        } else {
            format!(" ({})", shown(key))
        };
        text = with_causes(
            &format!("cannot render row {}{key}", count(row + 1)),
            Some(error),
        );
        if faults.not_rendered.count > 1 {
            let _ = write!(
                text,
                "\n  {} rows cannot be rendered: {}",
                count(faults.not_rendered.count),
                named(&faults.not_rendered)
            );
            if faults.causes.list.len() > 1 {
                let _ = write!(text, ", for different reasons");
                causes(&faults.causes).iter().for_each(|line| {
                    let _ = write!(text, "\n    {line}");
                });
            }
        }
    }
    let column = shown(faults.key_column.as_deref().unwrap_or("key"));
    for (tally, what) in [
        (&faults.null_keys, "null"),
        (&faults.empty_keys, "empty text"),
    ] {
        if tally.count > 0 {
            let gap = if text.is_empty() { "" } else { "\n  " };
            let noun = if tally.count == 1 {
                "row has"
            } else {
                "rows have"
            };
            let _ = write!(
                text,
                "{gap}{} {noun} no key: `{column}` is {what} in {}",
                count(tally.count),
                named(tally)
            );
        }
    }
    text
}

/// Which limit stands in the way, what is left of it, and who has used it up.
fn told_short(short: &OverBudget) -> String {
    let Shortage {
        scope,
        limit,
        spent,
        reserved,
        by,
        ..
    } = &short.shortage;
    let head = if short.is_under_way {
        "the rest of the run does"
    } else {
        "the run does"
    };
    let words = match scope {
        LimitScope::Run => "for a run",
        LimitScope::Day => "for today, in UTC, over all jobs",
        LimitScope::Month => "for this month, in UTC, over all jobs",
    };
    let mut text = format!(
        "{head} not fit into the budget {words}\n  `{}` is {}: {} spent, {} reserved for batches \
         in flight, {} left",
        limit_name(short),
        usd(*limit),
        usd(*spent),
        usd(*reserved),
        usd(short.shortage.left())
    );
    let _ = write!(
        text,
        "\n  {} with {} to be sent: expected {}, high {}",
        plural(short.batches, "batch", "batches"),
        plural(short.requests, "request", "requests"),
        usd(short.expected),
        usd(short.high)
    );
    if *scope != LimitScope::Run && !by.is_empty() {
        let jobs: Vec<String> = by
            .iter()
            .map(|by| {
                format!(
                    "{} {} spent, {} reserved",
                    by.job,
                    usd(by.spent),
                    usd(by.reserved)
                )
            })
            .collect();
        let _ = write!(text, "\n  by job: {}", jobs.join("; "));
    }
    if short.is_under_way {
        let _ = write!(
            text,
            "\n  what was sent is recorded in {}",
            short.run.display()
        );
    } else {
        text.push_str("\n  nothing was sent");
    }
    text
}

/// Where the limit was set.
fn limit_name(short: &OverBudget) -> &'static str {
    match short.shortage.scope {
        LimitScope::Run if short.typed => "--max-cost",
        LimitScope::Run => "budget.run_usd",
        LimitScope::Day => "budget.day_usd",
        LimitScope::Month => "budget.month_usd",
    }
}

fn short_hint(short: &OverBudget) -> String {
    let wait = match short.shortage.scope {
        LimitScope::Run => "",
        LimitScope::Day => ", wait for the next day in UTC",
        LimitScope::Month => ", wait for the next month in UTC",
    };
    format!(
        "raise `{}`{wait}, take fewer rows with --limit, or have the batches that fit sent with \
         `budget.on_limit = \"partial\"` and a smaller `batch.max_requests`; then `rowmill run {}`",
        limit_name(short),
        short.run.display()
    )
}

/// The way out where a ledger cannot be used.
fn ledger_hint(error: &ledger::Error) -> Option<String> {
    Some(match error {
        ledger::Error::Newer { .. } => {
            "use the version of rowmill that wrote it, or a newer one".to_owned()
        }
        ledger::Error::NotOurs { path } | ledger::Error::Edited { path, .. } => format!(
            "put it back from a copy, or move `{}` away: a new one is begun, which knows of the \
             runs that are gone on with, and no budget counts what others spent before. Nothing \
             was sent now",
            path.display()
        ),
        ledger::Error::Conflict { .. } => {
            "a copy of the run has sent it, or the run's journal was \
                                           put back from a copy: put the newest journal back, or \
                                           give the run up with `rowmill cancel RUN --abandon`. \
                                           Nothing was sent now"
                .to_owned()
        }
        ledger::Error::Busy { .. } => "run the same command again; nothing was sent now".to_owned(),
        _ => return None,
    })
}

fn told_stopped(stopped: &StoppedAtCheckpoint) -> String {
    let mut text = stopped.kind.stopped().to_owned();
    for line in stopped.reason.lines() {
        let _ = write!(text, "\n  {}", shown_to(line, LONGEST));
    }
    let requests = super::format::plural(stopped.requests, "request was", "requests were");
    let _ = write!(
        text,
        "\n  {requests} not sent; what came back is in {}",
        stopped.results.display()
    );
    text
}

fn told_shared(shared: &SharedKeys) -> String {
    let mut text = format!(
        "row key is not unique\n  {} keys are shared by several rows",
        count(shared.keys)
    );
    for (key, rows) in &shared.first {
        let tally = FaultCount {
            count: rows.len() as u64,
            first: rows.clone(),
        };
        let _ = write!(text, "\n  {}: {}", shown(key), named(&tally));
    }
    text
}

/// `row 4`, `rows 1 and 3`, `rows 1, 2, 3 and 12 more`.
/// Rows that cannot be rendered, a line for each reason.
pub(crate) fn causes(causes: &Causes) -> Vec<String> {
    let mut lines: Vec<String> = causes
        .list
        .iter()
        .map(|cause| match cause.rows.count {
            1 => format!("{}: {}", named(&cause.rows), visible(&cause.why)),
            rows => format!(
                "{} rows, {}: {}",
                count(rows),
                named(&cause.rows),
                visible(&cause.why)
            ),
        })
        .collect();
    if causes.more.count > 0 {
        lines.push(format!(
            "{} more rows, {}, for other reasons",
            count(causes.more.count),
            named(&causes.more)
        ));
    }
    lines
}

fn named(tally: &FaultCount) -> String {
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
        Error::UnknownModel { nearest, .. } if !nearest.is_empty() => {
            format!("did you mean `{}`?", nearest.join("`, `"))
        }
        Error::UnknownModel { .. } => {
            "docs/models.md lists the models this version knows".to_owned()
        }
        Error::RetiredModel { .. } => "change `request.model` in the job file".to_owned(),
        Error::Budget(short) => short_hint(short),
        Error::Ledger(error) => return ledger_hint(error),
        Error::NoPrice(_) => {
            "give it prices in a file named with --models (docs/models.md), or choose a model that \
             `rowmill prices` lists"
                .to_owned()
        }
        Error::Request(request::Error::Template(error)) => return template_hint(error),
        Error::Request(request::Error::Schema {
            path,
            can_be_lowered: true,
            ..
        }) => format!(
            "`request.schema = {{ file = \"{}\", lower = true }}` sends all of this as words in \
             the descriptions, and checks the answers here",
            path.display()
        ),
        Error::Keys(request::keys::Error::UnknownColumn { columns, .. })
            if is_one_line(columns) =>
        {
            ONE_COLUMN.to_owned()
        }
        Error::Keys(request::keys::Error::UnknownColumn { nearest, .. })
        | Error::Source(source::Error::UnknownColumn { nearest, .. }) => {
            did_you_mean(nearest.as_ref()?)
        }
        Error::Source(source::Error::Unsupported { path, what }) => {
            unsupported_source_hint(path, what)
        }
        Error::Output(output::Error::NotSupported { what, .. }) => {
            unsupported_output_hint(what).to_owned()
        }
        Error::Source(error) => return source_hint(error).map(str::to_owned),
        Error::Job(job::Error::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            "`rowmill init DATA` writes a job file for a data file".to_owned()
        }
        Error::DuplicateKeys(shared) => {
            let columns = shared.columns.join("`, `");
            format!(
                "add a column to `key.columns` (now `{columns}`), or set `key.on_duplicate` to \
                \"number\" or \"first\""
            )
        }
        Error::Rows(faults) if faults.first_error.is_some() => {
            "mend the template, the cell or its file, or set `request.on_row_error = \"skip\"` to \
             set such rows aside as `unsent`"
                .to_owned()
        }
        Error::StoppedAtCheckpoint(stopped) => format!(
            "mend the job, give this run up with `rowmill cancel {0} --abandon` and start anew; or \
             send the rest all the same: `rowmill run {0} --ignore-canary`",
            stopped.run.display()
        ),
        Error::Rows(_) => "choose key columns that every row has, or leave such rows out with \
            `source.where`"
            .to_owned(),
        Error::NotUploaded { .. } => {
            "`rowmill run` uploads them before it plans; a dry run uploads nothing, so it can \
             neither count nor keep such requests"
                .to_owned()
        }
        Error::Refused(refused) => refused_hint(refused),
        Error::Journal(journal::Error::Locked { .. }) => {
            "wait until it is done, or end that process; its work is not lost".to_owned()
        }
        Error::Journal(journal::Error::NoRun { .. }) => {
            "`rowmill status` lists the runs".to_owned()
        }
        Error::Journal(error) => error.way_out()?.to_owned(),
        Error::Batch(batch::Error::Altered { .. } | batch::Error::Missing { .. }) => {
            "put the file back from a copy; what was sent from it can still be fetched and joined \
             by hand from `results/`"
                .to_owned()
        }
        Error::Changed { run, .. } => format!(
            "finish the old run with `rowmill run {0}`, or give it up with `rowmill cancel {0} \
             --abandon` and start anew",
            run.display()
        ),
        Error::Abandoned { run } => format!(
            "`rowmill collect {}` fetches what it sent; `rowmill run` with the job file starts a \
             new run",
            run.display()
        ),
        Error::RunGone { run, state, .. } => format!(
            "put its folder back in `{}` and resume it; if it is gone for good, `rowmill cancel \
             {run} --abandon` gives it up, and the job can start again, which pays its rows again",
            state.display()
        ),
        Error::SoundJournal { run } => format!("`rowmill run {}` resumes it", run.display()),
        Error::AlteredResults { .. } | Error::MissingResults { .. } => {
            "put the file back from a copy; what it holds was paid for, and nothing was sent or \
             written now"
                .to_owned()
        }
        Error::OutputIsInput { .. } => "write the output to another place with `output.path`; if \
                                        it is the output of an earlier run, let `source.path` pass \
                                        it over"
            .to_owned(),
        Error::Interrupted => "run the same command again; nothing is sent twice".to_owned(),
        Error::OtherOrigin { .. } => {
            "set ANTHROPIC_BASE_URL to what it was, or start a new run".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

const ONE_COLUMN: &str = "the whole header was read as one column: tell what stands between the \
    cells with `source.delimiter`";

/// Whether the only column looks like a header that was not taken apart.
fn is_one_line(columns: &[String]) -> bool {
    matches!(columns, [only] if only.contains([';', '\t', '|']))
}

fn template_hint(error: &template::Error) -> Option<String> {
    match error {
        template::Error::UnknownColumn { columns, .. } if is_one_line(columns) => {
            Some(ONE_COLUMN.to_owned())
        }
        template::Error::UnknownColumn { nearest, .. }
        | template::Error::NoColumn { nearest, .. }
        | template::Error::UnknownFilter { nearest, .. } => nearest.as_deref().map(did_you_mean),
        template::Error::SystemVariable { .. } => {
            Some("move it to a message, which is rendered for each row".to_owned())
        }
        _ => None,
    }
}

fn source_hint(error: &source::Error) -> Option<&'static str> {
    use source::Error as E;
    Some(match error {
        E::Empty { path } if path.as_os_str() == "-" => {
            "pipe the rows in again; a run is resumed without them by its folder or id"
        }
        E::CellCount { .. } => {
            "fix the line, or say how the file is written with `source.delimiter`, `source.quote`, \
             `source.escape`, `source.comment` or `source.skip_lines`"
        }
        E::Quote { escape: true, .. } | E::AfterQuote { escape: true, .. } => {
            "set `source.escape = \"\\\\\"` where a backslash stands before quotation marks inside \
             cells, as Spark writes them, or `source.quote = \"\"` where they are ordinary \
             characters"
        }
        E::Quote { .. } => {
            "close the quotation mark, or set `source.quote = \"\"` where it is an ordinary \
             character"
        }
        E::AfterQuote { .. } => {
            "set `source.quote = \"\"` where quotation marks are ordinary characters, or \
             `source.escape = \"\\\\\"` where a backslash stands before those inside cells; \
             otherwise double them in the file"
        }
        E::ColumnUnnamed { .. } | E::ColumnTwice { .. } | E::NamesCount { .. } => {
            "in CSV and TSV, `source.names = [\"id\", \"text\"]` names all columns, in the order \
             of the file; in other formats, write the file with a different name for each column"
        }
        E::HeadersDiffer { .. } => "narrow `source.path` down to files of one header",
        E::CellTooLarge { .. } | E::TooLong { .. } => {
            "raise `source.max_cell_bytes` if the file is meant to be so (a row may have four \
             times as much), or see whether a quotation mark or a line break is missing"
        }
        E::NotAFile { .. } => {
            "name an ordinary file; rows from another program are read with `source.path = \"-\"`, \
             as in `program | rowmill run job.toml`"
        }
        E::JsonArray { .. } => {
            "write one object a line, as with `jq -c '.[]' rows.json > rows.jsonl`"
        }
        E::Json {
            line: 1, problem, ..
        } if problem.starts_with("EOF while parsing an object") => {
            "write one object a line, as with `jq -c . rows.json > rows.jsonl`"
        }
        E::NotUtf8 { .. } => {
            "name the encoding with `source.encoding`, such as \"windows-1252\" or \"latin1\""
        }
        E::Corrupt { .. } | E::RowCount { .. } => {
            "the file is damaged or written wrongly; make it anew, or set `source.format` if it is \
             of another"
        }
        E::TooLarge { .. } => {
            "raise `source.max_cell_bytes` if the file is meant to be so, or leave the column out: \
             name the columns to keep in `output.columns`, and use it in no prompt, key or \
             expression"
        }
        E::Unreadable { .. } => {
            "leave the column out: name the columns to keep in `output.columns`, and use it in no \
             prompt, key or expression"
        }
        E::UnknownFormat { .. } | E::StdinFormat => {
            "name it with `source.format`: \"csv\", \"tsv\", \"jsonl\", \"parquet\" or \"ipc\""
        }
        E::Changed { .. } => "run it again when nothing writes to the file any more",
        E::MixedFormats { .. } => {
            "narrow `source.path` down to the files of one format, such as `data/*.csv`"
        }
        E::Cell { .. } => {
            "mend the cell, or leave the column as text: take it out of `source.columns`"
        }
        _ => return None,
    })
}

/// How rows get out of what is not supported.
fn unsupported_source_hint(path: &str, what: &source::Unsupported) -> String {
    use source::Unsupported as U;
    match what {
        U::Address { scheme } if scheme == "file" => {
            "write the path alone, without `file://`".to_owned()
        }
        U::Address { scheme } => {
            let copy = match scheme.as_str() {
                "s3" | "s3a" | "s3n" => format!("aws s3 cp {path} -"),
                "gs" => format!("gcloud storage cat {path}"),
                "http" | "https" | "ftp" => format!("curl -fsSL {path}"),
                _ => "a program that reads it".to_owned(),
            };
            let copy = if copy.contains(' ') && !copy.starts_with("a program") {
                format!("`{copy}`")
            } else {
                copy
            };
            format!(
                "copy the file to this machine first, or set `source.path = \"-\"` with \
                 `source.format` and pipe it in from {copy}"
            )
        }
        U::Spreadsheet => "save the sheet as CSV (UTF-8), and name that file".to_owned(),
        U::Archive => "unpack it, and name the files in it".to_owned(),
        U::Compression => "unpack it, or pack it with gzip or zstd".to_owned(),
        _ => "write the table as Parquet, CSV or JSON Lines, as DuckDB does with `COPY … TO \
            'rows.parquet'`"
            .to_owned(),
    }
}

/// How results get to where rowmill does not write.
fn unsupported_output_hint(what: &source::Unsupported) -> &'static str {
    use source::Unsupported as U;
    match what {
        U::Address { scheme } if scheme == "file" => "write the path alone, without `file://`",
        U::Address { .. } => "name a file of this machine, and copy it there when the run is done",
        U::Spreadsheet => {
            "name a `.csv` file, which spreadsheet programs open; see `output.escape_formulas`"
        }
        _ => "name a file that ends in `.parquet`, `.csv`, `.tsv`, `.jsonl` or `.arrow`",
    }
}

/// The way out where the provider does not take a batch as it is.
fn refused_hint(refused: &RefusedBatch) -> String {
    let what = match (refused.source.status, refused.requests) {
        (Some(413), 1) => {
            "shorten this row or leave it out with `source.where`: its request alone is too large \
             for the provider"
        }
        _ => "change the job as the provider says",
    };
    if refused.nothing_was_sent {
        return format!(
            "{what}, then run the same command again: the run is planned again, since nothing was \
             sent"
        );
    }
    let run = refused.run.display();
    format!(
        "{what} for the rows that were not sent: `rowmill cancel {run}` withdraws them here, \
         `rowmill collect {run}` fetches what was accepted"
    )
}

fn provider_hint(error: &rowmill::provider::ApiError, sent: &Sent) -> String {
    match judge(Call::Create, error, 0, std::time::Duration::ZERO, 0.0) {
        Verdict::StopCredentials => "check the key in ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, \
            and what it may do"
            .to_owned(),
        Verdict::StopSpend => {
            "raise the spend limit or add credit, then run the same command again".to_owned()
        }
        Verdict::StopAccount => account_hint(error.code.as_deref()).to_owned(),
        // What was asked for without sending anything says nothing of the requests.
        Verdict::Fail if error.call != Call::Create.name() => {
            "run the same command again; what was accepted is kept, and not sent again".to_owned()
        }
        Verdict::Fail if error.status == Some(400) && sent.ever => {
            "the provider does not take a request as it is; what was accepted before is kept, and \
             not sent again"
                .to_owned()
        }
        Verdict::Fail if error.status == Some(400) => {
            "the provider does not take the request as it is; nothing was sent".to_owned()
        }
        _ => "run the same command again; what was accepted is not sent again".to_owned(),
    }
}

/// What to do about an organization or workspace that is switched off: it is neither the job's
/// fault nor the key's.
fn account_hint(code: Option<&str>) -> &'static str {
    match code {
        Some("cmek_key_disabled") => {
            "enable the workspace's encryption key again, then run the same command again"
        }
        Some("cmek_key_network_blocked") => {
            "let the provider reach the workspace's encryption key, then run the same command again"
        }
        Some("workspace_human_review_disabled") => {
            "use a key of a workspace that has Human Review on, or turn it on, then run the same \
             command again"
        }
        _ => {
            "the organization is on hold at the provider; appeal there, then run the same command \
             again"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_is_switched_off_is_no_fault_of_the_key() {
        use rowmill::provider::{ApiError, Delivery};
        for (code, words) in [
            ("cmek_key_disabled", "encryption key"),
            ("workspace_human_review_disabled", "Human Review"),
            ("organization_on_hold", "appeal"),
        ] {
            let refused = ApiError::new(
                "create batch",
                "invalid_request_error",
                "no",
                Delivery::Refused,
            );
            let source = ApiError {
                status: Some(400),
                code: Some(code.to_owned()),
                ..refused
            };
            let hint = provider_hint(&source, &Sent::default());
            assert!(
                hint.contains(words) && !hint.contains("ANTHROPIC_API_KEY"),
                "{hint}"
            );
            let error = Error::Provider {
                doing: "x".to_owned(),
                source: Box::new(source),
                standing: "y".to_owned(),
            };
            assert_eq!(exit_code(&error, &Sent::default()), PROVIDER, "{code}");
        }
    }

    #[test]
    fn names_rows_as_people_do() {
        for (rows, count, text) in [
            (vec![3], 1, "row 4"),
            (vec![0, 2], 2, "rows 1 and 3"),
            (vec![0, 1, 2], 3, "rows 1, 2 and 3"),
            (vec![0, 1, 999], 15, "rows 1, 2, 1,000 and 12 more"),
        ] {
            assert_eq!(named(&FaultCount { count, first: rows }), text);
        }
    }
}
