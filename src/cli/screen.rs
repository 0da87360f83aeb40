//! Tables, progress, colour: how things look on a terminal, and how they read without one.
//!
//! Data goes to stdout, all else to stderr. Progress is a bar on a terminal and a plain line now
//! and then elsewhere.
//!
//! Whatever is shown passes one gate, on a terminal and in a pipe alike. Text that is not ours
//! (ids, names of columns, files and models, what a provider says) may hold anything: what could
//! act on the screen is made visible, a line that it forges is not one, and no line is endless. Our
//! own colours go through because they are marked in a way that nobody outside the process can
//! know.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rowmill::engine::Run;
use rowmill::engine::progress::{Listener, Progress, Reason, wait_in_words};
use rowmill::engine::view::create_calls;
use rowmill::journal::CheckpointKind;
use rowmill::provider::Counts;

use super::args::{Color, Common};
use super::explain::{Failure, Sent};
use super::format::{bytes, count, duration, plural, usd};
use super::layout::{self, Column};

/// How long a log without a terminal stays silent before it hears of progress again.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where words and data go.
pub(crate) struct Screen {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// Colour on stdout, colour on stderr.
    color: (bool, bool),
    bar: ProgressBar,
    terminal: bool,
    last_line: Mutex<Option<Instant>>,
    /// The run that the command works on, and how often a batch of it had been sent before.
    work: Mutex<Option<(PathBuf, u64)>>,
}

impl Screen {
    pub(crate) fn new(common: &Common) -> Screen {
        let terminal = std::io::stderr().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let color = |is_terminal: bool| match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && wanted,
        };
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        // Until there is progress to show, nothing is drawn.
        bar.set_draw_target(ProgressDrawTarget::hidden());
        Screen {
            json: common.json,
            quiet: common.quiet,
            color: (color(std::io::stdout().is_terminal()), color(terminal)),
            bar,
            terminal: terminal && !common.quiet,
            last_line: Mutex::new(None),
            work: Mutex::new(None),
        }
    }

    /// Notes which run the command works on. If it stops, the run's journal tells whether anything
    /// was sent.
    pub(crate) fn works_on(&self, run: &Run) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        *work = Some((run.folder().to_path_buf(), run.create_calls()));
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

    /// A word on what is being done.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.line(&one_message(text.as_ref()));
        }
    }

    /// Lines that stand for themselves, on stderr.
    pub(crate) fn lines(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.line(text.as_ref());
        }
    }

    /// Something a person must not miss.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.line(&format!(
            "{} {}",
            self.paint_words("warning:", "33;1"),
            one_message(text.as_ref())
        ));
    }

    /// Says that nothing of this is real. Not even `--quiet` hides it.
    pub(crate) fn banner(&self) {
        let text = "SIMULATED: the answers are made up; nothing is sent, nothing is paid";
        self.line(&self.paint_words(text, "35;1"));
    }

    /// What went wrong: in words, and as data where data was asked for.
    pub(crate) fn failure(&self, failure: &Failure) -> u8 {
        let sent = self.sent();
        let (message, hint, code) = (
            failure.message(&sent),
            failure.hint(&sent),
            failure.code(&sent),
        );
        self.line(&format!(
            "{} {}",
            self.paint_words("error:", "31;1"),
            one_message(&message)
        ));
        if let Some(hint) = &hint {
            self.line(&format!(
                "{} {}",
                self.paint_words("hint:", "36;1"),
                one_message(hint)
            ));
        }
        if self.json {
            self.json(&error_document(
                &message,
                hint.as_deref(),
                code,
                sent.run.as_deref(),
            ));
        }
        code
    }

    /// Data, for stdout. A reader that has gone away is not an error worth a message.
    pub(crate) fn data(&self, text: impl AsRef<str>) {
        self.write_data(&gate(text.as_ref(), usize::MAX));
    }

    /// Data as JSON, for stdout.
    pub(crate) fn json(&self, value: &impl serde::Serialize) {
        self.write_data(&as_json(value));
    }

    fn write_data(&self, text: &str) {
        self.bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            let _ = out
                .write_all(text.as_bytes())
                .and_then(|()| out.write_all(b"\n"));
        });
    }

    /// Text in colour for stdout, where there is colour; `code` is the SGR code.
    pub(crate) fn paint(&self, text: &str, code: &str) -> String {
        painted(text, code, self.color.0)
    }

    /// Text in colour for stderr.
    fn paint_words(&self, text: &str, code: &str) -> String {
        painted(text, code, self.color.1)
    }

    /// A way to say something from another thread while progress is on the screen.
    pub(crate) fn voice(&self) -> impl Fn(&str) + Send + 'static {
        let bar = self.bar.clone();
        move |text| {
            bar.suspend(|| {
                let _ = writeln!(std::io::stderr().lock(), "{}", gate(text, LONGEST_LINE));
            });
        }
    }

    /// Takes the progress off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "{}", gate(text, LONGEST_LINE));
        });
    }

    /// Progress that passes: replaces the bar's text, or is a line of its own now and then.
    fn passing(&self, text: String) {
        if self.terminal {
            if self.bar.is_finished() {
                self.bar.reset();
            }
            if self.bar.is_hidden() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            self.bar.set_message(shown_to(&text, LONGEST_LINE));
            self.bar.tick();
        } else if !self.quiet && self.line_is_due() {
            self.line(&one_message(&text));
        }
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
}

impl Listener for Screen {
    fn hear(&self, progress: Progress<'_>) {
        match progress {
            Progress::Planning { rows, of } => self.passing(match of {
                Some(of) => format!("planning: {} of {} rows", count(rows), count(of)),
                None => format!("planning: {} rows", count(rows)),
            }),
            Progress::Counting { rows, of } => self.passing(format!(
                "counting: {} of {} rows of the sample",
                count(rows),
                count(of)
            )),
            Progress::Submitting {
                batch,
                of,
                requests,
                bytes: n,
            } => {
                self.passing(format!(
                    "sending batch {batch} of {of}: {} requests, {}",
                    count(requests),
                    bytes(n)
                ));
            }
            Progress::Accepted { batch, id } => self.say(format!(
                "batch {batch} accepted as {}",
                shown(&id.to_string())
            )),
            Progress::Waiting {
                in_flight,
                ended,
                of,
                elapsed,
                next,
                reasons,
            } => {
                let flight = match elapsed {
                    Some(elapsed) => format!(", {in_flight} in flight for {}", duration(elapsed)),
                    None => String::new(),
                };
                let reasons: String = reasons
                    .iter()
                    .map(|reason| format!("; {}", waits_for(reason)))
                    .collect();
                let of = plural(of.into(), "batch", "batches");
                self.passing(format!(
                    "waiting: {ended} of {of} ended{flight}{reasons}; next look \
                    in {}",
                    duration(next)
                ));
            }
            Progress::Retrying {
                error,
                since,
                after,
            } => self.say(format!(
                "{} {error}; for {} now, trying again in {}",
                self.paint_words("note:", "36"),
                duration(since),
                wait_in_words(after)
            )),
            Progress::Slow { call, waited } => {
                self.say(format!(
                    "{} {call}: no answer yet after {}",
                    self.paint_words("note:", "36"),
                    wait_in_words(waited)
                ));
            }
            Progress::HeldBack { batch, shortage } => self.warn(format!(
                "batch {batch} is held back by the budget: it may cost {}, and {} of {} is left \
                 ({} spent, {} reserved)",
                usd(shortage.asked),
                usd(shortage.left()),
                usd(shortage.limit),
                usd(shortage.spent),
                usd(shortage.reserved)
            )),
            Progress::Ended { batch, counts } => {
                self.say(format!("batch {batch} ended: {}", what_became(&counts)))
            }
            Progress::Collected { done, of, .. } => {
                self.passing(format!(
                    "results of {done} of {} saved",
                    plural(of.into(), "batch", "batches")
                ));
            }
            Progress::Exporting { rows, of } => {
                self.passing(format!("writing: {} of {} rows", count(rows), count(of)))
            }
            Progress::Warning(warning) => self.warn(super::words::engine::warning(warning)),
            Progress::Note(text) => self.say(format!("{} {text}", self.paint_words("note:", "36"))),
            _ => {}
        }
    }

    fn is_leaving(&self) -> bool {
        super::signals::is_leaving()
    }
}

/// Characters of a line of words; a longer one is none that a person reads.
const LONGEST_LINE: usize = 4_000;
/// Characters of a name or an id.
const LONGEST_NAME: usize = 200;

/// A name, an id or another short text that is not ours, in one line.
pub(crate) fn shown(text: &str) -> String {
    shown_to(text, LONGEST_NAME)
}

/// A text that is not ours, in one line of at most `longest` characters.
pub(crate) fn shown_to(text: &str, longest: usize) -> String {
    layout::in_one_line(text, longest)
}

/// A message: what follows its first line is indented, or belongs to that line and was put there by
/// somebody else.
fn one_message(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut message = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let is_ours = line.starts_with("  ") || (message.is_empty() && !line.is_empty());
        message.push(if is_ours { '\n' } else { '␊' });
        message.push_str(line);
    }
    message
}

/// Makes visible what could act on the screen, and cuts lines that are longer than `longest`. Lines
/// and our own colours stay.
fn gate(text: &str, longest: usize) -> String {
    let mark = color_mark();
    let parts = text.split(mark).map(|part| {
        let mut shown = String::with_capacity(part.len());
        let mut column = 0_usize;
        for c in part.chars() {
            column = if c == '\n' { 0 } else { column + 1 };
            if column == longest {
                shown.push_str("… (cut)");
            }
            if column < longest {
                if layout::acts(c) {
                    layout::push_visible(&mut shown, c)
                } else {
                    shown.push(c)
                }
            }
        }
        shown
    });
    parts.collect::<Vec<_>>().join("\x1b[")
}

/// What begins our own colours until the gate: nobody outside the process can write it into a text.
fn color_mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| format!("\u{1}{:032x}\u{1}", fastrand::u128(..)))
}

/// A value as JSON for stdout: always one document, be it that of an error.
fn as_json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| {
        let message =
            format!("the data cannot be written as JSON ({error}): this is a bug in rowmill");
        error_document(&message, None, super::explain::BUG, None).to_string()
    });
    escaped(&text)
}

/// JSON in which the characters are escaped, too, that JSON allows and a screen acts on.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of its strings JSON has nothing but ASCII, and line feeds and blanks between.
        if c == '\u{200e}' || layout::acts(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units)
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// An error as data.
pub(crate) fn error_document(
    message: &str,
    hint: Option<&str>,
    code: u8,
    run: Option<&Path>,
) -> serde_json::Value {
    let mut lines = message.lines().map(str::trim);
    serde_json::json!({
        "error": {
            "message": lines.next().unwrap_or_default(),
            "details": lines.collect::<Vec<_>>(),
            "hint": hint,
            "exit_code": code,
        },
        "run": run.map(|run| run.display().to_string()),
    })
}

/// Data as JSON, where there is no screen yet.
pub(crate) fn print_json(value: &serde_json::Value) {
    let _ = writeln!(std::io::stdout().lock(), "{}", as_json(value));
}

/// Log lines on their way to stderr, through the gate.
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(lines);
        std::io::stderr()
            .lock()
            .write_all(gate(&text, usize::MAX).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

/// What the parser of arguments says, through the gate where it repeats something that could act on
/// the screen.
pub(crate) fn print_usage_error(error: &clap::Error) {
    let text = error.render().to_string();
    if text.chars().any(layout::acts) {
        let _ = write!(std::io::stderr().lock(), "{}", gate(&text, LONGEST_LINE));
    } else {
        let _ = error.print();
    }
}

/// What a run waits for, and until when.
fn waits_for(reason: &Reason) -> String {
    match reason {
        Reason::Uncertain {
            batch,
            left: Some(left),
        } if left.is_zero() => {
            format!("batch {batch} may or may not have been created: the next look decides")
        }
        Reason::Uncertain {
            batch,
            left: Some(left),
        } => {
            format!(
                "batch {batch} may or may not have been created: looking for it for {} more",
                wait_in_words(*left)
            )
        }
        Reason::Uncertain { batch, left: None } => {
            format!(
                "batch {batch} may or may not have been created: a batch that may be it has to end \
                 first (within 24 h)"
            )
        }
        Reason::Refused {
            batch,
            status,
            after,
        } => {
            let why = match status {
                Some(429) => "at the provider's limit",
                Some(529) => "the provider is overloaded",
                Some(_) => "refused for now",
                None => "the provider cannot be reached",
            };
            format!(
                "batch {batch} is sent again in {} ({why})",
                wait_in_words(*after)
            )
        }
        Reason::QueueFull {
            batch,
            queued,
            limit,
        } => format!(
            "batch {batch} is sent when others end ({} requests in flight, \
             `batch.max_queued_requests` is {})",
            count(*queued),
            count(*limit)
        ),
        Reason::TooUncertain { calls } => {
            format!(
                "nothing more is sent until it is known of a batch whether it was created, since \
                 {calls} create calls in a row were lost"
            )
        }
        Reason::Checkpoint {
            batch,
            kind: CheckpointKind::Prime,
            left,
        } => {
            let left = left
                .map(|left| format!(", or in {}", wait_in_words(left)))
                .unwrap_or_default();
            format!("the rest is sent when batch {batch} has written the cache{left}")
        }
        Reason::Checkpoint { batch, .. } => {
            format!("the rest is sent when batch {batch}, the canary, is back (within 24 h)")
        }
        Reason::Budget { batch } => format!("batch {batch} is sent when the budget has room"),
        Reason::Results { batch, after } => {
            format!(
                "the results of batch {batch} are fetched again in {}",
                wait_in_words(*after)
            )
        }
        _ => "for something else".to_owned(),
    }
}

/// A batch's requests by what became of them, as the provider counts them.
fn what_became(counts: &Counts) -> String {
    let kinds = [
        (counts.succeeded, "succeeded"),
        (counts.errored, "errored"),
        (counts.canceled, "canceled"),
        (counts.expired, "expired"),
        (counts.processing, "not counted yet"),
    ];
    let told: Vec<String> = kinds
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, kind)| format!("{} {kind}", count(*n)))
        .collect();
    if told.is_empty() {
        "no requests".to_owned()
    } else {
        told.join(", ")
    }
}

fn painted(text: &str, code: &str, color: bool) -> String {
    let mark = color_mark();
    if color {
        format!("{mark}{code}m{text}{mark}0m")
    } else {
        text.to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_nothing_through_that_acts_on_the_screen() {
        let text = "a\u{1b}[31mb\u{7}\u{9b}2J\u{202e}c\u{2066}\u{85}\u{2028}\r";
        assert_eq!(
            gate(text, usize::MAX),
            "a␛[31mb␇<U+009B>2J<U+202E>c<U+2066><U+0085><U+2028>␍"
        );
        assert_eq!(
            gate(&painted("ok", "31", true), usize::MAX),
            "\u{1b}[31mok\u{1b}[0m"
        );
        assert_eq!(
            gate("two\nlines\tof 日本語 שלום\u{200e}", usize::MAX),
            "two\nlines\tof 日本語 שלום\u{200e}"
        );
        assert_eq!(gate("123456\n12", 4), "123… (cut)\n12");
    }

    #[test]
    fn keeps_a_forged_line_in_the_line_it_came_in() {
        assert_eq!(
            one_message("batch x\nerror: forged"),
            "batch x␊error: forged"
        );
        assert_eq!(
            one_message("3 rows failed\n  `rowmill retry` helps"),
            "3 rows failed\n  `rowmill retry` helps"
        );
        assert_eq!(shown("a\nb\u{200e}"), "a␊b<U+200E>");
    }

    #[test]
    fn keeps_json_valid_and_harmless() {
        let value =
            serde_json::json!({ "a\u{202e}": "\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{200f}é\n😀" });
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
        assert!(!text.chars().any(layout::acts), "{text}");
    }
}
