//! Error → message, details, causes, hint, exit code.
//!
//! ```text
//! error: cannot render row 58 (ticket_id = "T-0077")
//!   caused by: `templates/triage.j2` line 12: undefined value `text`
//! hint: did you mean `body`?
//! ```
//!
//! With `--json` the same is one document, with a `kind` for programs.

use std::error::Error as _;

use rowmill::cost::Money;
use rowmill::engine::Error;
use rowmill::engine::RefusedBatch;
use rowmill::engine::SharedKeys;
use rowmill::engine::{BudgetCause, OverBudget};
use rowmill::engine::{FaultCount, Faults};
use rowmill::ledger::{self, LimitScope, Shortage};
use rowmill::provider::retry::{Call, Verdict, judge};
use rowmill::{batch, job, journal, output, request, source, template};
use serde_json::{Value, json};

pub(crate) use super::exit_code::{
    BUG, CHANGE, CREDENTIALS, DONE, DOUBT, INTERRUPTED, LOCKED, NO_RUN, NOTHING_SENT, PARTLY,
    PROVIDER, STOPPED, Sent, UNFINISHED,
};
use super::exit_code::{is_of_the_disk, of_error};
use super::format::{count, plural, usd};
use super::layout::{shown, shown_to};
use super::words;

/// Characters of an error, a cause or a hint that are shown.
const LONGEST: usize = 2_000;
/// What a line with a cause begins with.
const CAUSED_BY: &str = "caused by: ";

/// What a command ends with when it fails.
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

/// A failure as it is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// For programs; stable.
    pub(crate) kind: &'static str,
    /// What failed, in one line.
    pub(crate) message: String,
    /// What belongs to the message, a line each.
    details: Vec<String>,
    /// The causes, the nearest first; one may have further lines, which are indented.
    causes: Vec<String>,
    /// What of the work is kept, a line each.
    kept: Vec<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) code: u8,
    /// The run's folder.
    run: Option<String>,
}

impl Explanation {
    /// An explanation of arguments that cannot be parsed.
    pub(crate) fn of_usage(message: String, code: u8) -> Explanation {
        Explanation {
            kind: "usage",
            message,
            hint: Some("see `rowmill --help`".to_owned()),
            code,
            ..Explanation::default()
        }
    }

    /// Message, details and causes, on lines of their own.
    pub(crate) fn text(&self) -> String {
        let mut text = self.message.clone();
        let causes = self
            .causes
            .iter()
            .map(|cause| format!("{CAUSED_BY}{cause}"));
        let lines = self.details.iter().cloned().chain(causes);
        for line in lines.chain(self.kept.iter().cloned()) {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        text
    }

    /// The value of `error` in documents and log lines.
    pub(crate) fn as_json(&self) -> Value {
        let details = self.details.iter().chain(&self.kept);
        json!({
            "kind": self.kind,
            "message": self.message,
            "details": details.map(|line| line.trim()).collect::<Vec<_>>(),
            "causes": self.causes,
            "hint": self.hint,
            "exit_code": self.code,
        })
    }

    /// The document for stdout.
    pub(crate) fn document(&self) -> Value {
        json!({ "error": self.as_json(), "run": self.run })
    }
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

    /// Everything that is shown of it.
    pub(crate) fn explain(&self, sent: &Sent) -> Explanation {
        let mut explanation = match self {
            Failure::Words { message, .. } => {
                let mut lines = message.lines();
                let first = lines.next().unwrap_or_default().to_owned();
                let (mut causes, mut details) = (Vec::<String>::new(), Vec::new());
                for line in lines {
                    let own = without_indent(line);
                    match (own.strip_prefix(CAUSED_BY), causes.last_mut()) {
                        (Some(cause), _) => causes.push(cause.to_owned()),
                        // A further line of a cause, such as the place in a file.
                        (None, Some(cause)) => *cause += &format!("\n{line}"),
                        (None, None) => details.push(own.to_owned()),
                    }
                }
                Explanation {
                    message: first,
                    details,
                    causes,
                    ..Explanation::default()
                }
            }
            Failure::Step(error) => describe(error, sent),
        };
        explanation.code = self.code(sent);
        explanation.kind = self.kind(explanation.code);
        explanation.hint = self.hint(sent);
        explanation.run = sent.run.as_ref().map(|run| run.display().to_string());
        explanation
    }

    /// The exit code.
    fn code(&self, sent: &Sent) -> u8 {
        match self {
            Failure::Words { code, .. } if *code == CHANGE && sent.now => PROVIDER,
            Failure::Words { code, .. } => *code,
            Failure::Step(error) => of_error(error, sent),
        }
    }

    /// The word for programs.
    fn kind(&self, code: u8) -> &'static str {
        match self {
            Failure::Step(error) => kind_of(error, code),
            Failure::Words { code, .. } => match *code {
                BUG => "bug",
                CREDENTIALS => "credentials",
                INTERRUPTED => "interrupted",
                LOCKED => "run_locked",
                NO_RUN => "run_not_found",
                PROVIDER => "provider",
                STOPPED => "stopped",
                UNFINISHED => "unfinished",
                DOUBT => "uncertain",
                PARTLY => "rows_failed",
                _ => "invalid_input",
            },
        }
    }

    /// What to do about it.
    fn hint(&self, sent: &Sent) -> Option<String> {
        match self {
            Failure::Words { hint, .. } => hint.clone(),
            Failure::Step(error) if is_of_the_disk(error) && sent.ever => Some(
                "free space on the disk or repair it, then run the same command again: what was \
                 sent is looked up, nothing is sent twice"
                    .to_owned(),
            ),
            Failure::Step(Error::Provider { source, .. }) => Some(provider_hint(source, sent)),
            Failure::Step(error) => hint(error).map(|hint| shown_to(&hint, LONGEST)),
        }
    }
}

/// The word for programs of an error of the library. A word stays what it is when the error's
/// message changes.
fn kind_of(error: &Error, code: u8) -> &'static str {
    match error {
        Error::Job(_) => "invalid_job",
        Error::Source(_) => "source",
        Error::Request(_) => "request",
        Error::Keys(_) => "key",
        Error::Answer(_) => "schema",
        Error::Output(_) => "output",
        Error::Batch(_) => "spool",
        Error::Journal(journal::Error::Locked { .. } | journal::Error::JobLocked { .. })
        | Error::StillRunning { .. } => "run_locked",
        Error::Journal(journal::Error::NoRun { .. }) => "run_not_found",
        Error::Journal(_) => "journal",
        Error::Join(_) => "join",
        Error::Provider { .. } if code == CREDENTIALS => "credentials",
        Error::Provider { .. } => "provider",
        Error::Refused(_) => "batch_refused",
        Error::UnknownModel { .. } => "unknown_model",
        Error::RetiredModel { .. } => "retired_model",
        Error::Budget(_) => "over_budget",
        Error::Ledger(_) => "ledger",
        Error::NoPrice(_) => "no_price",
        Error::Rows(_) => "invalid_rows",
        Error::DuplicateKeys(_) => "duplicate_keys",
        Error::NotUploaded { .. } => "files_not_uploaded",
        Error::Changed { .. } => "job_changed",
        Error::Abandoned { .. } => "run_abandoned",
        Error::RunGone { .. } => "run_missing",
        Error::SoundJournal { .. } => "nothing_to_rescue",
        Error::StateAddress { .. } | Error::StateFile { .. } => "invalid_state",
        Error::StateNotWritable { .. } => "state_not_writable",
        Error::OtherJobFile { .. } => "other_job_file",
        Error::OldState(_) => "old_state",
        Error::OutputTaken(_) => "output_taken",
        Error::StateRestored { .. } => "state_restored",
        Error::ClockBehind { .. } => "clock_behind",
        Error::PlanOutdated { .. } => "plan_outdated",
        Error::LedgerLost { .. } => "ledger_lost",
        Error::AlteredResults { .. } => "results_altered",
        Error::MissingResults { .. } => "results_missing",
        Error::CannotContinue(_) => "output_cannot_be_continued",
        Error::Reuse { .. } => "earlier_output",
        Error::EarlierOutputAltered { .. } => "earlier_output_altered",
        Error::OutputIsInput { .. } => "output_is_input",
        Error::OtherOrigin { .. } | Error::OtherProvider { .. } | Error::UnknownProvider { .. } => {
            "other_provider"
        }
        Error::StoppedAtCheckpoint(_) => "stopped_at_checkpoint",
        Error::File { .. } => "file",
        Error::Interrupted => "interrupted",
        Error::Declined { .. } => "declined",
        Error::NotSimulated { .. } => "run_not_simulated",
        Error::NotFinished { .. } => "run_not_finished",
        Error::NothingToRetry(_) => "nothing_to_retry",
        Error::NoRun { .. } | Error::JobHasNoRun { .. } => "run_not_found",
        Error::Pruned { .. } => "run_removed",
        Error::PruneWithoutAge { .. } => "no_age",
        Error::NoProvider => "no_provider",
        Error::NoFileStore => "no_file_store",
        Error::NoCredential { .. } => "credentials",
        Error::Connect(_) => "connection_settings",
        Error::Simulator(_) | Error::WithoutSimulator => "simulator",
        Error::Runtime(_) => "runtime",
        Error::NoRow { .. } => "no_row",
        Error::SampleWith { .. } => "option_conflict",
        Error::Bug(_) => "bug",
        _ => "other",
    }
}

/// Whether the explanation already says what happened to what was sent.
fn says_what_was_sent(error: &Error) -> bool {
    matches!(
        error,
        Error::Provider { .. }
            | Error::Budget(_)
            | Error::StoppedAtCheckpoint(_)
            | Error::Changed { .. }
            | Error::Journal(_)
            | Error::OutputTaken(_)
            | Error::StateRestored { .. }
            | Error::LedgerLost { .. }
    )
}

/// What failed, what belongs to it, its causes, and what of the work is kept.
fn describe(error: &Error, sent: &Sent) -> Explanation {
    if let Some(text) = words::call::message(error) {
        return in_lines(&text);
    }
    let mut text = match error {
        Error::Rows(faults) => bad_rows(faults),
        Error::DuplicateKeys(shared) => duplicate_keys(shared),
        Error::Budget(short) => over_budget(short),
        Error::StoppedAtCheckpoint(stopped) => {
            let reason = words::journal::verdict_reason(&stopped.reason);
            let reason = reason.lines().map(|line| shown_to(line, LONGEST));
            Explanation {
                message: words::engine::stopped(stopped).to_owned(),
                details: reason.collect(),
                kept: vec![format!(
                    "{} not sent; the results so far are in {}",
                    plural(stopped.requests, "request was", "requests were"),
                    stopped.results.display()
                )],
                ..Explanation::default()
            }
        }
        Error::CannotContinue(found) => Explanation {
            causes: vec![words::reuse::cannot_continue(&found.why)],
            ..plain(error)
        },
        Error::Reuse { why, .. } => Explanation {
            causes: vec![words::reuse::not_reused(why)],
            ..plain(error)
        },
        Error::Changed { what, .. } => {
            let what = what.iter().map(words::engine::job_change);
            Explanation {
                details: what.map(|what| shown_to(&what, LONGEST)).collect(),
                ..plain(error)
            }
        }
        Error::Provider { kept, action, .. } => Explanation {
            kept: vec![shown_to(&words::engine::kept(kept, action), LONGEST)],
            ..plain(error)
        },
        Error::Refused(refused) if refused.nothing_was_sent => Explanation {
            kept: vec!["nothing was sent".to_owned()],
            ..plain(error)
        },
        Error::Refused(refused) => Explanation {
            kept: vec![words::engine::standing(&refused.standing)],
            ..plain(error)
        },
        other => {
            let mut text = plain(other);
            text.details.extend(words::state::details(other));
            text
        }
    };
    text.causes.extend(causes(error.source()));
    if let (Some(run), true, false) = (&sent.run, sent.ever, says_what_was_sent(error)) {
        text.kept.push(format!(
            "what was sent is recorded in {}",
            shown(&run.display().to_string())
        ));
    }
    text
}

/// The error's own words; further lines of it are details.
fn plain(error: &Error) -> Explanation {
    in_lines(&said(error))
}

/// A message whose further lines are details.
fn in_lines(text: &str) -> Explanation {
    let mut lines = text.lines();
    Explanation {
        message: lines.next().unwrap_or_default().to_owned(),
        details: lines.map(|line| without_indent(line).to_owned()).collect(),
        ..Explanation::default()
    }
}

fn without_indent(line: &str) -> &str {
    line.strip_prefix("  ").unwrap_or(line)
}

/// An error and its causes, the nearest first.
fn causes(mut cause: Option<&dyn std::error::Error>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(error) = cause {
        causes.push(said(error));
        cause = error.source();
    }
    causes
}

/// A message with an error and its causes below it.
pub(crate) fn with_causes(message: &str, cause: Option<&dyn std::error::Error>) -> String {
    causes(cause)
        .iter()
        .fold(message.to_owned(), |text, cause| {
            format!("{text}\n  {CAUSED_BY}{cause}")
        })
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

/// Rows that have no key, or cannot be rendered.
fn bad_rows(faults: &Faults) -> Explanation {
    let mut lines = Vec::new();
    let mut causes_of_first = Vec::new();
    if let Some((row, key, error)) = &faults.first_error {
        // Without key columns the row's number is its key, and said already.
        let key = if *key == format!("row {}", row + 1) {
            String::new()
        } else {
            format!(" ({})", shown(key))
        };
        lines.push(format!("cannot render row {}{key}", count(row + 1)));
        causes_of_first = causes(Some(error));
        if faults.not_rendered.count > 1 {
            let several = faults.causes.list.len() > 1;
            lines.push(format!(
                "{} rows cannot be rendered: {}{}",
                count(faults.not_rendered.count),
                words::engine::named_rows(&faults.not_rendered),
                if several {
                    ", for different reasons"
                } else {
                    ""
                }
            ));
            if several {
                let reasons = words::engine::causes(&faults.causes);
                lines.extend(reasons.iter().map(|line| format!("  {line}")));
            }
        }
    }
    let column = shown(faults.key_column.as_deref().unwrap_or("key"));
    for (rows, what) in [
        (&faults.null_keys, "null"),
        (&faults.empty_keys, "empty text"),
    ] {
        if rows.count > 0 {
            lines.push(format!(
                "{} no key: `{column}` is {what} in {}",
                plural(rows.count, "row has", "rows have"),
                words::engine::named_rows(rows)
            ));
        }
    }
    let mut lines = lines.into_iter();
    // What belongs to the first error stands under its causes.
    Explanation {
        message: lines.next().unwrap_or_default(),
        causes: causes_of_first,
        kept: lines.collect(),
        ..Explanation::default()
    }
}

/// Which limit is exceeded, what is left of it, and which jobs have used it.
fn over_budget(short: &OverBudget) -> Explanation {
    let Shortage {
        scope,
        limit,
        spent,
        reserved,
        by,
        ..
    } = &short.shortage;
    let subject = if short.is_under_way {
        "the rest of the run does"
    } else {
        "the run does"
    };
    let budget = match scope {
        LimitScope::Run => "for a run",
        LimitScope::Day => "for today, in UTC, over all jobs",
        LimitScope::Month => "for this month, in UTC, over all jobs",
    };
    let mut details = vec![
        format!(
            "`{}` is {}: {} spent, {} reserved for batches in flight, {} left",
            limit_name(short),
            usd(*limit),
            usd(*spent),
            usd(*reserved),
            usd(short.shortage.left())
        ),
        format!(
            "{} with {} to be sent: expected {}, worst case {}",
            plural(short.batches, "batch", "batches"),
            plural(short.requests, "request", "requests"),
            usd(short.expected),
            usd(short.worst_case)
        ),
        match short.cause {
            BudgetCause::OneRequest { worst_case } => format!(
                "one request may cost {} in the worst case, which is reserved while it is in flight",
                usd(worst_case)
            ),
            _ => format!(
                "the expected cost of {} is more than the {} left",
                usd(short.expected),
                usd(short.shortage.left())
            ),
        },
    ];
    if *scope != LimitScope::Run && !by.is_empty() {
        let job = |by: &ledger::JobSpend| {
            let (spent, reserved) = (usd(by.spent), usd(by.reserved));
            format!("{} {spent} spent, {reserved} reserved", by.job)
        };
        let jobs: Vec<String> = by.iter().map(job).collect();
        details.push(format!("by job: {}", jobs.join("; ")));
    }
    let kept = if short.is_under_way {
        format!("what was sent is recorded in {}", short.run.display())
    } else {
        "nothing was sent".to_owned()
    };
    Explanation {
        message: format!("{subject} not fit into the budget {budget}"),
        details,
        kept: vec![kept],
        ..Explanation::default()
    }
}

/// Where the limit was set.
fn limit_name(short: &OverBudget) -> &'static str {
    words::budget::limit_name(short.shortage.scope, short.typed)
}

fn short_hint(short: &OverBudget) -> String {
    let wait = match short.shortage.scope {
        LimitScope::Run => "",
        LimitScope::Day => ", wait for the next day in UTC",
        LimitScope::Month => ", wait for the next month in UTC",
    };
    let other = match short.cause {
        BudgetCause::OneRequest { .. } => "or lower `request.max_tokens`",
        _ => "use fewer rows with --limit, or send what fits with `budget.on_limit = \"partial\"`",
    };
    // Nothing of this run is in flight, or it would wait: this is what other runs hold.
    let collect = if short.shortage.reserved > Money::ZERO {
        ", fetch batches in flight with `rowmill collect`"
    } else {
        ""
    };
    format!(
        "raise `{}`{wait}{collect}, {other}; then `rowmill run {}`",
        limit_name(short),
        short.run.display()
    )
}

/// What to do where a ledger cannot be used.
fn ledger_hint(error: &ledger::Error) -> Option<String> {
    Some(match error {
        ledger::Error::Newer { .. } => {
            "use the version of rowmill that wrote it, or a newer one".to_owned()
        }
        ledger::Error::NotOurs { path } | ledger::Error::Edited { path, .. } => format!(
            "restore it from a copy, or move `{}` away and enter all runs again with `rowmill cost \
             --rebuild`. Nothing was sent now",
            path.display()
        ),
        ledger::Error::Conflict { .. } => {
            "a copy of the run has sent it, or the run's journal was \
                                           restored from a copy: restore the newest journal, or \
                                           abandon the run with `rowmill cancel RUN --abandon`. \
                                           Nothing was sent now"
                .to_owned()
        }
        ledger::Error::Busy { .. } => "run the same command again; nothing was sent now".to_owned(),
        _ => return None,
    })
}

/// Several rows share a key.
fn duplicate_keys(shared: &SharedKeys) -> Explanation {
    let mut details = vec![format!(
        "{} shared by several rows",
        plural(shared.keys, "key is", "keys are")
    )];
    for (key, rows) in &shared.first {
        let rows = FaultCount {
            count: rows.len() as u64,
            first: rows.clone(),
        };
        details.push(format!(
            "{}: {}",
            shown(key),
            words::engine::named_rows(&rows)
        ));
    }
    Explanation {
        message: "row key is not unique".to_owned(),
        details,
        ..Explanation::default()
    }
}

fn hint(error: &Error) -> Option<String> {
    if let Some(hint) = words::call::hint(error).or_else(|| words::state::hint(error)) {
        return Some(hint);
    }
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
            "give it prices in a file for --models (docs/models.md), or choose a model that \
             `rowmill prices` lists"
                .to_owned()
        }
        Error::Request(request::Error::Template(error)) => return template_hint(error),
        Error::Request(request::Error::Schema {
            path,
            can_be_lowered: true,
            ..
        }) => format!(
            "`request.schema = {{ file = \"{}\", lower = true }}` sends these constraints as text \
             in the descriptions, and checks the answers locally",
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
        Error::Request(request::Error::Expression { source, .. }) => {
            return super::words::source::expression_hint(source).map(str::to_owned);
        }
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
            "fix the template, the cell or its file, or set `request.on_row_error = \"skip\"` to \
             set such rows aside as `unsent`"
                .to_owned()
        }
        Error::StoppedAtCheckpoint(stopped) => format!(
            "fix the job, and start a new run with `rowmill run JOB --new`, which abandons this \
             one; or send the rest anyway with `rowmill run {0} --ignore-canary`",
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
        Error::Journal(journal::Error::Locked { .. } | journal::Error::JobLocked { .. }) => {
            "`--if-running wait` waits until it has finished, `--if-running skip` does nothing then"
                .to_owned()
        }
        Error::StillRunning { .. } => {
            "run the same command again; the other process is not disturbed".to_owned()
        }
        Error::Journal(journal::Error::NoRun { .. }) => {
            "`rowmill status` lists the runs".to_owned()
        }
        Error::Journal(error) => words::journal::repair(error)?.to_owned(),
        Error::Batch(batch::Error::Altered { .. } | batch::Error::Missing { .. }) => {
            "restore the file from a copy; what was sent from it can still be fetched and joined \
             by hand from `results/`"
                .to_owned()
        }
        Error::Changed { run, .. } => format!(
            "finish the old run with `rowmill run {0}`, or abandon it and start a new one with \
             `rowmill run JOB --new`",
            run.display()
        ),
        Error::Abandoned { run } => format!(
            "`rowmill collect {}` fetches what it sent; `rowmill run JOB --new` starts a new run",
            run.display()
        ),
        Error::RunGone { run, state, .. } => format!(
            "restore its folder in `{0}` and resume it; if it is lost, abandon it with `rowmill \
             cancel {run} --abandon --state {0}`, and `rowmill run JOB --new` starts a new run, which pays for \
             its rows again",
            state.display()
        ),
        Error::SoundJournal { run } => format!("`rowmill run {}` resumes it", run.display()),
        Error::AlteredResults { .. } | Error::MissingResults { .. } => {
            "restore the file from a copy; its contents were paid for, and nothing was sent or \
             written now"
                .to_owned()
        }
        Error::CannotContinue(error) => words::reuse::ways_out(error),
        Error::Reuse { .. } => {
            "remove it from `request.reuse`, or `--no-reuse` sends all rows".to_owned()
        }
        Error::EarlierOutputAltered { .. } => {
            "restore the file from a copy; nothing was written now".to_owned()
        }
        Error::OutputIsInput { .. } => "write the output to another path with `output.path`; if \
                                        it is the output of an earlier run, exclude it from \
                                        `source.path`"
            .to_owned(),
        Error::Interrupted => "run the same command again; nothing is sent twice".to_owned(),
        Error::Declined { run } => format!(
            "the run is unchanged; `rowmill retry {} --yes` does not ask",
            run.display()
        ),
        Error::OtherOrigin { .. } => {
            "set ANTHROPIC_BASE_URL to what it was, or abandon the run and start a new one with \
             `rowmill run JOB --new`"
                .to_owned()
        }
        _ => return None,
    };
    Some(text)
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

const ONE_COLUMN: &str = "the whole header was read as one column: set the delimiter with \
    `source.delimiter`";

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
        template::Error::ComparesNone { .. } => Some("write `is none` or `is not none`".to_owned()),
        template::Error::ComparesTypes { fix, .. } => Some(words::template::comparison_fix(fix)),
        template::Error::SystemVariable { .. } => {
            Some("move it to a message, which is rendered for each row".to_owned())
        }
        _ => None,
    }
}

fn source_hint(error: &source::Error) -> Option<&'static str> {
    use source::Error as E;
    Some(match error {
        E::Expression { source, .. } => return super::words::source::expression_hint(source),
        E::Empty { path } if path.as_os_str() == "-" => {
            "pipe the rows in again; to resume a run without them, name its folder or id"
        }
        E::CellCount { .. } => {
            "fix the line, or say how the file is written with `source.delimiter`, `source.quote`, \
             `source.escape`, `source.comment` or `source.skip_lines`"
        }
        E::Quote { escape: true, .. } | E::AfterQuote { escape: true, .. } => {
            "set `source.escape = \"\\\\\"` if a backslash escapes quotation marks inside \
             cells, as Spark writes them, or `source.quote = \"\"` if they are ordinary \
             characters"
        }
        E::Quote { .. } => {
            "close the quotation mark, or set `source.quote = \"\"` if it is an ordinary \
             character"
        }
        E::AfterQuote { .. } => {
            "set `source.quote = \"\"` if quotation marks are ordinary characters, or \
             `source.escape = \"\\\\\"` if a backslash escapes those inside cells; \
             otherwise double them in the file"
        }
        E::ColumnUnnamed { .. } | E::ColumnTwice { .. } | E::NamesCount { .. } => {
            "in CSV and TSV, `source.names = [\"id\", \"text\"]` names all columns, in the order \
             of the file; in other formats, write the file with a different name for each column"
        }
        E::HeadersDiffer { .. } => "limit `source.path` to files with the same header",
        E::CellTooLarge { .. } | E::TooLong { .. } => {
            "raise `source.max_cell_bytes` if this is intended (a row may have four \
             times as much), or check whether a quotation mark or a line break is missing"
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
            "the file is damaged or invalid; write it again, or set `source.format` if it \
             has another format"
        }
        E::TooLarge { .. } => {
            "raise `source.max_cell_bytes` if this is intended, or leave the column out: \
             list the columns to keep in `output.columns`, and do not use it in a prompt, key or \
             expression"
        }
        E::Unreadable { .. } => {
            "leave the column out: list the columns to keep in `output.columns`, and do not use it \
             in a prompt, key or expression"
        }
        E::UnknownFormat { .. } | E::StdinFormat => {
            "name it with `source.format`: \"csv\", \"tsv\", \"jsonl\", \"parquet\" or \"ipc\""
        }
        E::Changed { .. } => "run again when no other program is writing to the file",
        E::MixedFormats { .. } => {
            "limit `source.path` to files of one format, such as `data/*.csv`"
        }
        E::Cell { .. } => {
            "fix the cell, or remove the column from `source.columns` to read it as text"
        }
        _ => return None,
    })
}

/// How to read rows of an unsupported source.
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
        U::Spreadsheet => "save the sheet as CSV (UTF-8), and use that file".to_owned(),
        U::Archive => "unpack it, and use the files in it".to_owned(),
        U::Compression => "decompress it, or compress it with gzip or zstd".to_owned(),
        _ => "write the table as Parquet, CSV or JSON Lines, as DuckDB does with `COPY … TO \
            'rows.parquet'`"
            .to_owned(),
    }
}

/// How to write to an unsupported output.
fn unsupported_output_hint(what: &source::Unsupported) -> &'static str {
    use source::Unsupported as U;
    match what {
        U::Address { scheme } if scheme == "file" => "write the path alone, without `file://`",
        U::Address { .. } => {
            "name a file of this machine, and copy it there when the run has finished"
        }
        U::Spreadsheet => {
            "name a `.csv` file, which spreadsheet programs open; see `output.escape_formulas`"
        }
        _ => "name a file that ends in `.parquet`, `.csv`, `.tsv`, `.jsonl` or `.arrow`",
    }
}

/// What to do where the provider does not accept a batch as it is.
fn refused_hint(refused: &RefusedBatch) -> String {
    let what = match (refused.source.status, refused.requests) {
        (Some(413), 1) => {
            "shorten this row or leave it out with `source.where`: its request alone is too large \
             for the provider"
        }
        _ => "change the job as the provider's message says",
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
        // A call that sends nothing says nothing about the requests.
        Verdict::Fail if error.call != Call::Create => {
            "run the same command again; what was accepted is kept, and not sent again".to_owned()
        }
        Verdict::Fail if error.status == Some(400) && sent.ever => {
            "the provider rejects a request; what was accepted before is kept, and not sent again"
                .to_owned()
        }
        Verdict::Fail if error.status == Some(400) => {
            "the provider rejects the request; nothing was sent".to_owned()
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
    use rowmill::engine::{Action, Kept};
    use rowmill::provider::{ApiError, ApiErrorKind, Delivery};

    use super::*;

    fn refused(code: Option<&str>) -> ApiError {
        ApiError {
            status: Some(400),
            code: code.map(str::to_owned),
            ..ApiError::new(
                Call::Create,
                ApiErrorKind::Provider("invalid_request_error".to_owned()),
                "no",
                Delivery::Refused,
            )
        }
    }

    fn provider_error(source: ApiError) -> Failure {
        Failure::Step(Error::Provider {
            action: Action::CreateBatch { batch: 1, of: 2 },
            source: Box::new(source),
            kept: Kept::Nothing,
        })
    }

    #[test]
    fn a_workspace_that_is_switched_off_is_no_fault_of_the_key() {
        for (code, words) in [
            ("cmek_key_disabled", "encryption key"),
            ("workspace_human_review_disabled", "Human Review"),
            ("organization_on_hold", "appeal"),
        ] {
            let explained = provider_error(refused(Some(code))).explain(&Sent::default());
            let hint = explained.hint.unwrap();
            assert!(
                hint.contains(words) && !hint.contains("ANTHROPIC_API_KEY"),
                "{hint}"
            );
            assert_eq!(explained.code, PROVIDER, "{code}");
        }
    }

    #[test]
    fn an_error_is_the_same_in_text_and_json() {
        let explained = provider_error(refused(None)).explain(&Sent::default());
        let cause = refused(None).to_string();
        assert_eq!(
            explained.text(),
            format!("batch 1 of 2 was not accepted\n  caused by: {cause}\n  nothing was sent")
        );
        let hint = explained.hint.clone();
        assert_eq!(
            explained.document(),
            json!({
                "error": {
                    "kind": "provider",
                    "message": "batch 1 of 2 was not accepted",
                    "details": ["nothing was sent"],
                    "causes": [cause],
                    "hint": hint,
                    "exit_code": PROVIDER,
                },
                "run": null,
            })
        );
    }

    #[test]
    fn causes_in_a_message_are_causes() {
        let failure = Failure::words(CHANGE, "cannot read `a`\n  caused by: no such file", "");
        let explained = failure.explain(&Sent::default());
        assert_eq!(
            explained.text(),
            "cannot read `a`\n  caused by: no such file"
        );
        assert_eq!(explained.as_json()["causes"], json!(["no such file"]));
        assert_eq!((explained.kind, explained.hint), ("invalid_input", None));
        // A further line of a cause stays below it.
        let text = "cannot read `a`\n  details\n  caused by: no number\n  in `prices.input`";
        let explained = Failure::words(CHANGE, text, "").explain(&Sent::default());
        assert_eq!(explained.text(), text);
        assert_eq!(explained.as_json()["details"], json!(["details"]));
    }
}
