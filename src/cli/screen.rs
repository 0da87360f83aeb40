//! The output of a command: data on stdout, everything else on stderr.
//!
//! With `--json`, stdout holds exactly one JSON document, also if the command fails. Progress is
//! a bar on a terminal and an occasional line elsewhere. All output passes through
//! [`sanitize`](super::sanitize), on a terminal and in a pipe alike.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Zoned;
use rowmill::engine::create_calls;
use rowmill::engine::{Error, Notice, Observer, RetryCost, StepNote, WaitReason};
use rowmill::provider::ApiError;
use serde_json::{Map, Value};

use super::args::{Color, Common, LogFormat};
use super::explain::{BUG, Explanation, Failure, Sent};
use super::layout::{self, Column};
pub(crate) use super::layout::{shown, shown_to};
use super::log::{LONGEST_LINE, Level, Log, fields_of};
use super::sanitize::{escaped, painted, sanitize};
use super::words;

/// How long a log without a terminal stays silent before it reports progress again.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// The same while nothing changes: a batch may take a day, an outage hours.
const UNCHANGED_EVERY: Duration = Duration::from_secs(10 * 60);
/// How long a run waits before a log without a terminal says so.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

/// The label of a note, and its color.
const NOTE: (&str, &str) = ("note:", "36");
const WARNING: (&str, &str) = ("warning:", "33;1");
const ERROR: (&str, &str) = ("error:", "31;1");
const HINT: (&str, &str) = ("hint:", "36;1");

/// The output of a command.
pub(crate) struct Screen {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    log: Arc<Log>,
    /// Whether there is colour on stdout.
    color: bool,
    bar: ProgressBar,
    /// Whether progress is a bar.
    has_bar: bool,
    /// Whether stderr is a terminal.
    is_terminal: bool,
    /// Whether it says that the run is simulated.
    has_banner: AtomicBool,
    last_line: Mutex<Option<Instant>>,
    /// What is waited for, by the last line that said so.
    waiting: Mutex<Option<WaitLine>>,
    /// When each fault that repeats was last printed.
    faults: Mutex<HashMap<String, Instant>>,
    /// Whether the document of `--json` is on stdout, and text that stands for it until then.
    has_document: Mutex<bool>,
    text: Mutex<Vec<String>>,
    /// Whether the user is asked before a retry is sent.
    asks: AtomicBool,
    /// The run that the command works on, and how often a batch of it had been sent before.
    work: Mutex<Option<(PathBuf, u64)>>,
}

impl Screen {
    pub(crate) fn new(common: &Common) -> Screen {
        let is_terminal = std::io::stderr().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let color = |is_terminal: bool| match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && wanted,
        };
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        // Until there is progress to show, nothing is drawn.
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let log = Log::new(
            common.log_format,
            is_terminal,
            color(is_terminal),
            bar.clone(),
        );
        Screen {
            json: common.json,
            quiet: common.quiet,
            log,
            color: color(std::io::stdout().is_terminal()),
            bar,
            has_bar: is_terminal && !common.quiet && common.log_format == LogFormat::Text,
            is_terminal,
            has_banner: AtomicBool::new(false),
            last_line: Mutex::new(None),
            has_document: Mutex::new(false),
            waiting: Mutex::new(None),
            faults: Mutex::default(),
            text: Mutex::new(Vec::new()),
            asks: AtomicBool::new(false),
            work: Mutex::new(None),
        }
    }

    /// The log that the lines on stderr go through.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Notes which run the command works on. If it stops, the run's journal tells whether anything
    /// was sent.
    fn works_on(&self, run: &Path, create_calls: u64) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        *work = Some((run.to_path_buf(), create_calls));
        let id = run.file_name().unwrap_or(run.as_os_str());
        self.log.set_run(&id.to_string_lossy());
    }

    /// What was sent of the run that the command works on.
    pub(crate) fn sent(&self) -> Sent {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((run, before)) = work.as_ref() else {
            return Sent::default();
        };
        // A journal that cannot be read any more is never taken for one that says that nothing was
        // sent.
        let calls = create_calls(run);
        Sent {
            run: Some(run.clone()),
            ever: calls.is_none_or(|calls| calls > 0),
            now: calls.is_none_or(|calls| calls > *before),
        }
    }

    /// From now on the user is asked before a retry is sent, where there is a terminal to ask on.
    pub(crate) fn ask_before_retry(&self) {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        self.asks
            .store(is_terminal && !self.json, Ordering::Relaxed);
    }

    /// Asks a question that is answered with yes or no; anything but yes is no.
    fn asks_for_yes(&self, question: &str) -> bool {
        let prompt = || write!(std::io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        let is_read =
            self.bar.suspend(prompt).is_ok() && std::io::stdin().read_line(&mut answer).is_ok();
        is_read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// Prints a message.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.log.message(Level::Info, None, text.as_ref(), Map::new);
        }
    }

    /// Prints lines without a label on stderr.
    pub(crate) fn lines(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.log.lines(text.as_ref());
        }
    }

    /// Prints a warning.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.log
            .message(Level::Warn, Some(WARNING), text.as_ref(), Map::new);
    }

    /// Prints that the run is simulated. Not even `--quiet` hides it. A log has it once; on a
    /// terminal, where the first line may have scrolled away, the end has it again.
    pub(crate) fn banner(&self) {
        if self.has_banner.swap(true, Ordering::Relaxed) && !self.is_terminal {
            return;
        }
        const TEXT: &str = "SIMULATED: answers are invented; nothing is sent, nothing is billed";
        let simulated = || Map::from_iter([("simulated".to_owned(), Value::Bool(true))]);
        // The whole line is its label, so that all of it is in colour.
        if self.log.is_json() {
            self.log.message(Level::Warn, None, TEXT, simulated);
        } else {
            self.log
                .message(Level::Warn, Some((TEXT, "35;1")), "", simulated);
        }
    }

    /// Prints an error: as text, and with `--json` as the document.
    pub(crate) fn failure(&self, failure: &Failure) -> u8 {
        let explanation = failure.explain(&self.sent());
        self.explained(&explanation);
        explanation.code
    }

    fn explained(&self, explanation: &Explanation) {
        let error = || Map::from_iter([("error".to_owned(), explanation.as_json())]);
        if self.log.is_json() {
            self.log
                .message(Level::Error, None, &explanation.message, error);
        } else {
            self.log
                .message(Level::Error, Some(ERROR), &explanation.text(), Map::new);
            if let Some(hint) = &explanation.hint {
                self.log.message(Level::Error, Some(HINT), hint, Map::new);
            }
        }
        if self.json {
            self.json(&explanation.document());
        }
    }

    /// Ends a command that a signal stops at once: stdout has its document all the same.
    pub(crate) fn stopped_at_once(&self) {
        if self.json {
            let stopped = Failure::Step(Error::Interrupted).explain(&self.sent());
            self.json(&stopped.document());
        }
    }

    /// Prints data on stdout. A closed stdout is not an error.
    pub(crate) fn data(&self, text: impl AsRef<str>) {
        if self.json {
            let mut texts = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            texts.push(text.as_ref().to_owned());
            return;
        }
        self.write_data(&sanitize(text.as_ref(), usize::MAX));
    }

    /// Prints the document on stdout, unless one is there: it stays the only one. A signal may want
    /// to write one from its own thread.
    pub(crate) fn json(&self, value: &impl serde::Serialize) {
        let mut has_document = self
            .has_document
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*has_document {
            self.write_data(&as_json(value));
            *has_document = true;
        }
    }

    fn write_data(&self, text: &str) {
        self.bar.suspend(|| write_stdout(text));
    }

    /// Text in colour for stdout, where there is colour; `code` is the SGR code.
    pub(crate) fn paint(&self, text: &str, code: &str) -> String {
        painted(text, code, self.color)
    }

    /// Removes the progress bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Ends a command that succeeded: what has only text on stdout gives it as a document.
    pub(crate) fn end(&self) {
        self.finish();
        if self.json {
            let texts = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            self.json(&serde_json::json!({ "text": texts.join("\n") }));
        }
    }

    /// Progress that passes: replaces the bar's text, or is a line of its own now and then.
    fn passing(&self, notice: &Notice<'_>) {
        if self.has_bar {
            self.draw(notice);
        } else if !self.quiet && self.line_is_due() {
            self.tell(Level::Info, None, notice);
        }
    }

    /// Replaces the text of the bar: a line, or a few where the run waits.
    fn draw(&self, notice: &Notice<'_>) {
        let room = width().saturating_sub(3);
        let text = match words::engine::on_terminal(notice, &Zoned::now()) {
            Some(lines) => {
                let lines = lines.iter().map(|line| shown_to(line, LONGEST_LINE));
                let wrapped = lines.map(|line| layout::wrapped(&line, room));
                wrapped.collect::<Vec<_>>().join("\n").replace('\n', "\n  ")
            }
            None => {
                let line = shown_to(&words::engine::notice(notice), LONGEST_LINE);
                console::truncate_str(&line, room, "…").into_owned()
            }
        };
        if self.bar.is_finished() {
            self.bar.reset();
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_message(text);
        self.bar.tick();
    }

    /// What a run waits for: the bar, or a line at first, on a change, and then rarely.
    fn waits(&self, notice: &Notice<'_>) {
        if self.has_bar {
            self.draw(notice);
        } else if !self.quiet && self.wait_is_due(notice) {
            self.tell(Level::Info, None, notice);
        }
    }

    fn wait_is_due(&self, notice: &Notice<'_>) -> bool {
        let now = Instant::now();
        let what = WaitLine::what(notice);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let line = waiting.get_or_insert_with(|| WaitLine {
            begun: now,
            printed: None,
        });
        let is_due = match &line.printed {
            None => line.begun.elapsed() >= WORTH_A_LINE,
            Some((at, _)) if at.elapsed() >= UNCHANGED_EVERY => true,
            Some((at, last)) => at.elapsed() >= PLAIN_EVERY && *last != what,
        };
        if is_due {
            line.printed = Some((now, what));
        }
        is_due
    }

    /// A fault that is tried again: a line at first and then rarely, until something succeeds; the
    /// bar shows it meanwhile.
    fn fails_again(&self, fault: String, notice: &Notice<'_>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let last = faults.get(&fault);
        if last.is_none_or(|last| last.elapsed() >= UNCHANGED_EVERY) {
            faults.insert(fault, Instant::now());
            self.tell(Level::Info, Some(NOTE), notice);
        }
        if self.has_bar && matches!(notice, Notice::Retrying { .. } | Notice::Slow { .. }) {
            self.draw(notice);
        }
    }

    /// Something succeeded: the next fault is a new one.
    fn succeeds(&self) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.clear();
    }

    fn line_is_due(&self) -> bool {
        let mut last = self
            .last_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *last {
            // The first is held back too: most work is over before anyone would want to read of it.
            None => {
                *last = Some(Instant::now());
                false
            }
            Some(then) if then.elapsed() < PLAIN_EVERY => false,
            Some(_) => {
                *last = Some(Instant::now());
                true
            }
        }
    }

    fn tell(&self, level: Level, label: Option<(&str, &str)>, notice: &Notice<'_>) {
        let text = words::engine::notice(notice);
        self.log.message(level, label, &text, || fields_of(notice));
    }
}

impl Screen {
    /// What concerns the run as a whole.
    fn notice_of_run(&self, notice: Notice<'_>) {
        self.finish();
        match notice {
            Notice::Simulated => self.banner(),
            Notice::Driving => super::signals::leave_orderly(),
            Notice::Opened { run, create_calls } => self.works_on(run, create_calls),
            Notice::Warning(warning) => self.warn(words::engine::warning(warning)),
            Notice::Planned { report, source } => {
                for warning in &report.warnings {
                    self.warn(words::engine::warning(warning));
                }
                if let Some(warning) = &report.cache.warning {
                    self.warn(words::estimate::cache_warning(warning));
                }
                self.lines(super::plan::outline_table(report, source));
                self.say(match report.no_requests(source) {
                    Some(why) => format!("no rows to send: {}", words::estimate::no_requests(why)),
                    None => super::estimate::in_short(&report.estimate),
                });
                for text in super::estimate::limits_in_short(&report.budget) {
                    self.say(text);
                }
            }
            Notice::State(note) if words::state::is_warning(note) => {
                self.log.message(
                    Level::Warn,
                    Some(WARNING),
                    &words::state::note(note),
                    || fields_of(&notice),
                );
            }
            Notice::ResultsNotFetched { .. }
            | Notice::OutputGone { .. }
            | Notice::NothingUncertain
            | Notice::ResultsFetchedAgain { .. } => {
                for text in words::run::notice(&notice) {
                    self.log
                        .message(Level::Warn, Some(WARNING), &text, || fields_of(&notice));
                }
            }
            _ => {
                let texts = words::run::notice(&notice);
                for text in texts.iter().filter(|_| !self.quiet) {
                    self.log
                        .message(Level::Info, None, text, || fields_of(&notice));
                }
                if let Notice::NothingToDo { run, failed } = notice
                    && failed > 0
                {
                    self.warn(words::run::failed_rows(run, failed));
                }
            }
        }
    }
}

/// The last line that said what a run waits for.
struct WaitLine {
    begun: Instant,
    printed: Option<(Instant, WaitState)>,
}

/// What a line about a wait says, but for the time: batches in flight and ended, and the reasons.
type WaitState = (u32, u32, Vec<Discriminant<WaitReason>>);

impl WaitLine {
    fn what(notice: &Notice<'_>) -> WaitState {
        match notice {
            Notice::Waiting {
                in_flight,
                ended,
                reasons,
                ..
            } => (
                *in_flight,
                *ended,
                reasons.iter().map(discriminant).collect(),
            ),
            _ => WaitState::default(),
        }
    }
}

/// What makes a fault that is tried again the same as the one before, if the notice is of one.
fn fault_of(notice: &Notice<'_>) -> Option<String> {
    let of =
        |error: &ApiError| format!("{} {:?} {:?}", error.call.name(), error.status, error.kind);
    match notice {
        Notice::Retrying { error, .. } => Some(of(error)),
        Notice::Note(StepNote::NotAccepted { batch, error, .. }) => {
            Some(format!("batch {batch} {}", of(error)))
        }
        Notice::Slow { call, .. } => Some(format!("slow {call}")),
        _ => None,
    }
}

impl Observer for Screen {
    fn notice(&self, notice: Notice<'_>) {
        if let Some(fault) = fault_of(&notice) {
            if !self.quiet {
                self.fails_again(fault, &notice);
            }
            return;
        }
        match notice {
            // Which batches may be sent again, or twice, is read from the run's files: `--quiet`
            // does not hide it.
            Notice::Note(StepNote::RunFiles { .. }) => {
                self.tell(Level::Warn, Some(WARNING), &notice)
            }
            Notice::Accepted { .. } | Notice::Ended { .. } if !self.quiet => {
                self.succeeds();
                self.tell(Level::Info, None, &notice)
            }
            Notice::HeldBack { .. } | Notice::Note(_) if !self.quiet => {
                self.tell(Level::Info, Some(NOTE), &notice)
            }
            Notice::Waiting { .. } => self.waits(&notice),
            Notice::Planning { .. }
            | Notice::Counting { .. }
            | Notice::Submitting { .. }
            | Notice::Collected { .. }
            | Notice::Exporting { .. } => self.passing(&notice),
            Notice::Accepted { .. }
            | Notice::Ended { .. }
            | Notice::HeldBack { .. }
            | Notice::Note(_) => {}
            other => self.notice_of_run(other),
        }
    }

    fn is_stopping(&self) -> bool {
        super::signals::is_leaving()
    }

    fn confirms_retry(&self, retry: &RetryCost) -> bool {
        self.finish();
        let asks = self.asks.load(Ordering::Relaxed);
        for text in words::run::retry_cost(retry) {
            // What is asked about is shown even with `--quiet`.
            if asks || !self.quiet {
                self.log.message(Level::Info, None, &text, Map::new);
            }
        }
        !asks || self.asks_for_yes("Send them?")
    }
}

/// A value as JSON for stdout: always one document, be it that of an error.
fn as_json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| {
        let message =
            format!("the data cannot be written as JSON ({error}): this is a bug in rowmill");
        let explanation = Failure::words(BUG, message, "").explain(&Sent::default());
        explanation.document().to_string()
    });
    escaped(&text)
}

fn write_stdout(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"));
}

/// What the parser of arguments says, and its document where one was asked for. There is no screen
/// yet, since it is unknown how it is to look.
pub(crate) fn usage_error(error: &clap::Error, code: u8, json: bool, json_log: bool) {
    let text = error.render().to_string();
    // The first paragraph: what is missing stands in lines of its own.
    let paragraph = text
        .trim_start_matches("error: ")
        .lines()
        .take_while(|line| !line.trim().is_empty());
    let message = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
    let explanation = Explanation::of_usage(message, code);
    if json_log && code != super::explain::DONE {
        let error = || Map::from_iter([("error".to_owned(), explanation.as_json())]);
        Log::json().message(Level::Error, None, &explanation.message, error);
    } else if text.chars().any(layout::acts) {
        // It repeats something that could act on the screen.
        let _ = write!(
            std::io::stderr().lock(),
            "{}",
            sanitize(&text, LONGEST_LINE)
        );
    } else {
        let _ = error.print();
    }
    if json && code != super::explain::DONE {
        write_stdout(&as_json(&explanation.document()));
    }
}

/// A table with a head, as wide as the screen.
pub(crate) fn table<R: AsRef<str>>(
    columns: &[Column<'_>],
    rows: impl IntoIterator<Item = Vec<R>>,
) -> String {
    layout::table(columns, rows, width())
}

/// A label, and a sentence beside it on as many lines as the terminal needs.
pub(crate) fn labelled(label: &str, sentence: &str) -> String {
    layout::labelled(label, sentence, width())
}

/// Columns of the screen: those of the terminal, whichever of the two streams is one; 100 where
/// none is.
pub(crate) fn width() -> usize {
    let from_environment = std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok());
    let of = |term: console::Term| term.size_checked().map(|(_, columns)| usize::from(columns));
    let width = from_environment
        .or_else(|| of(console::Term::stdout()))
        .or_else(|| of(console::Term::stderr()));
    width.unwrap_or(100).clamp(40, 200)
}
