//! Tables, progress, colour: how things look on a terminal, and how they read without one.
//!
//! Data goes to stdout, all else to stderr. Progress is a bar on a terminal and a plain line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rowmill::pipeline::progress::{Listener, Progress};

use super::args::{Color, Common};
use super::explain::Failure;

/// How long a log without a terminal stays silent before it hears of progress again.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where words and data go.
pub(crate) struct Screen {
    pub(crate) json: bool,
    quiet: bool,
    color: bool,
    bar: ProgressBar,
    terminal: bool,
    last_line: Mutex<Option<Instant>>,
}

impl Screen {
    pub(crate) fn new(common: &Common) -> Screen {
        let terminal = std::io::stderr().is_terminal();
        let color = match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_draw_target(if terminal && !common.quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        Screen { json: common.json, quiet: common.quiet, color, bar, terminal, last_line: Mutex::new(None) }
    }

    /// A word on what is being done.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.line(text.as_ref());
        }
    }

    /// Something a person must not miss.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.line(&format!("{} {}", self.paint("warning:", "33;1"), text.as_ref()));
    }

    /// Says that nothing of this is real. Not even `--quiet` hides it.
    pub(crate) fn banner(&self) {
        let text = "SIMULATED: the answers are made up by rowmill's simulator; nothing is sent, nothing is paid";
        self.line(&self.paint(text, "35;1"));
    }

    /// What went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.line(&failure.text(|text, code| self.paint(text, code)));
    }

    /// Data, for stdout. A reader that has gone away is not an error worth a message.
    pub(crate) fn data(&self, text: impl AsRef<str>) {
        self.bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_ref().as_bytes()).and_then(|()| out.write_all(b"\n"));
        });
    }

    /// Data as JSON, for stdout.
    pub(crate) fn json(&self, value: &impl serde::Serialize) {
        self.data(serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// Text in colour, where there is colour; `code` is the SGR code.
    pub(crate) fn paint(&self, text: &str, code: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Takes the progress off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "{text}");
        });
    }

    /// Progress that passes: replaces the bar's text, or is a line of its own now and then.
    fn passing(&self, text: String) {
        if self.terminal {
            self.bar.set_message(text);
            self.bar.tick();
        } else if !self.quiet && self.line_is_due() {
            self.line(&text);
        }
    }

    fn line_is_due(&self) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
            Progress::Submitting { batch, of, requests, bytes: n } => {
                self.passing(format!("sending batch {batch} of {of}: {} requests, {}", count(requests), bytes(n)));
            }
            Progress::Accepted { batch, id } => self.say(format!("batch {batch} accepted as {id}")),
            Progress::Waiting { in_flight, ended, of, elapsed, next } => self.passing(format!(
                "waiting: {in_flight} batches in flight, {ended} of {of} ended, {} since the oldest was accepted, next look in {}",
                duration(elapsed),
                duration(next)
            )),
            Progress::Ended { batch, counts } => self.say(format!(
                "batch {batch} ended: {} succeeded, {} errored, {} canceled, {} expired",
                count(counts.succeeded),
                count(counts.errored),
                count(counts.canceled),
                count(counts.expired)
            )),
            Progress::Collected { done, of, .. } => self.passing(format!("results of {done} of {of} batches saved")),
            Progress::Exporting { rows, of } => self.passing(format!("writing: {} of {} rows", count(rows), count(of))),
            Progress::Note(text) => self.say(format!("{} {text}", self.paint("note:", "36"))),
            _ => {}
        }
    }
}

/// A table with a head, as wide as the terminal or 120 characters.
pub(crate) fn table<R: AsRef<str>>(head: &[&str], rows: impl IntoIterator<Item = Vec<R>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal_width());
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(AsRef::as_ref));
    }
    table.to_string()
}

fn terminal_width() -> u16 {
    let from_environment = std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok());
    let from_terminal = || console::Term::stdout().size_checked().map(|(_, columns)| columns);
    from_environment.or_else(from_terminal).unwrap_or(120).clamp(60, 200)
}

/// A number with thin groups of three: `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes with a decimal unit: `1.2 MB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// A duration in its two largest units: `2h 5m`, `3m 12s`, `4.5s`.
pub(crate) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", d.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_people_read_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(duration(Duration::from_secs(3_725)), "1h 2m");
        assert_eq!(duration(Duration::from_millis(1_250)), "1.2s");
    }
}
