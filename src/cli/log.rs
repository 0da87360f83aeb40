//! Lines on stderr: text for people, or one JSON object a line for log collectors.
//!
//! ```text
//! 2026-11-30T14:03:11Z warning: batch 2 waits for the budget: …                no terminal
//! {"time":"2026-11-30T14:03:11.042Z","level":"warn","run":"20261130-…","batch":2,"message":"…",…}
//! ```
//!
//! Everything on stderr is written here: messages, warnings, errors, progress, tables, and the log
//! lines of the library. A text line has a timestamp if stderr is not a terminal. The fields of a
//! JSON line after `message` are those of the notice, the error or the log line.

use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use super::args::LogFormat;
use super::sanitize::{escaped, one_message, painted, sanitize, uncolored};

/// The maximum length of a text line.
pub(crate) const LONGEST_LINE: usize = 4_000;

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Level {
        match level {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        }
    }
}

/// Writes to stderr.
pub(crate) struct Log {
    format: LogFormat,
    /// Whether text lines have a timestamp.
    has_time: bool,
    color: bool,
    bar: ProgressBar,
    /// The run that the command works on.
    run: Mutex<Option<String>>,
}

/// A line in JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Value>,
    message: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Log {
    pub(crate) fn new(
        format: LogFormat,
        is_terminal: bool,
        color: bool,
        bar: ProgressBar,
    ) -> Arc<Log> {
        Arc::new(Log {
            format,
            has_time: !is_terminal,
            color,
            bar,
            run: Mutex::new(None),
        })
    }

    /// A log for messages before the arguments are parsed.
    pub(crate) fn json() -> Arc<Log> {
        Log::new(LogFormat::Json, false, false, ProgressBar::hidden())
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// From now on the lines are those of a run.
    pub(crate) fn set_run(&self, run: &str) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run.to_owned());
    }

    /// Writes a message. `label` is the word before it, with its color; `fields` is called only for
    /// JSON.
    pub(crate) fn message(
        &self,
        level: Level,
        label: Option<(&str, &str)>,
        message: &str,
        fields: impl FnOnce() -> Map<String, Value>,
    ) {
        if self.is_json() {
            return self.json_line(level, message, fields());
        }
        let message = one_message(message);
        match label {
            Some((word, color)) if message.is_empty() => {
                self.text(&painted(word, color, self.color))
            }
            Some((word, color)) => {
                self.text(&format!("{} {message}", painted(word, color, self.color)))
            }
            None => self.text(&message),
        }
    }

    /// Writes lines without a label, such as a table.
    pub(crate) fn lines(&self, text: &str) {
        if self.is_json() {
            return self.json_line(Level::Info, text, Map::new());
        }
        self.text(text);
    }

    /// Writes a line of the library's log.
    fn event(&self, level: Level, target: &str, mut fields: Map<String, Value>) {
        let message = match fields.shift_remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        if self.is_json() {
            fields.insert("target".to_owned(), target.into());
            return self.json_line(level, &message, fields);
        }
        let mut text = format!(
            "{} {target}: {message}",
            format!("{level:?}").to_uppercase()
        );
        for (name, value) in fields {
            // A string as it is; numbers and booleans have no quotes anyway.
            let _ = match value {
                Value::String(value) => write!(text, " {name}={value}"),
                value => write!(text, " {name}={value}"),
            };
        }
        self.stamped(&one_message(&text), true);
    }

    fn text(&self, text: &str) {
        self.stamped(text, self.has_time);
    }

    fn stamped(&self, text: &str, has_time: bool) {
        let mut text = sanitize(text, LONGEST_LINE);
        if has_time {
            // Each line of a message has the time, so that tables keep their columns.
            let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let lines = text.split('\n').map(|line| format!("{time} {line}"));
            text = lines.collect::<Vec<_>>().join("\n");
        }
        self.write(&text);
    }

    fn json_line(&self, level: Level, message: &str, mut fields: Map<String, Value>) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = fields.shift_remove("batch");
        // A log line's own fields do not replace the fields of every line.
        for name in ["time", "level", "run", "message"] {
            fields.shift_remove(name);
        }
        let line = JsonLine {
            time: Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
                .to_string(),
            level,
            run: run.as_deref(),
            batch,
            message: &uncolored(message),
            fields,
        };
        let json = serde_json::to_string(&line).expect("values, strings and numbers are JSON");
        self.write(&escaped(&json));
    }

    /// Writes a line around the progress bar. A closed stderr does not stop the command.
    fn write(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        });
    }
}

/// The value of a fact as the fields of a line.
pub(crate) fn fields_of(fact: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(fact).expect("facts have text keys, and no number that JSON lacks") {
        Value::Object(fields) => fields,
        value => Map::from_iter([("value".to_owned(), value)]),
    }
}

/// Passes the library's log lines to the log.
pub(crate) struct LogLayer(pub(crate) Arc<Log>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for LogLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        self.0
            .event((*meta.level()).into(), meta.target(), fields.0);
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }
}
