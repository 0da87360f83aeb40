//! The job file: one TOML file says what goes in, what is asked, and what comes out.
//!
//! Every section belongs to the room that reads it and is assembled here. Paths in it are relative
//! to the file's own folder. A key nobody knows is an error that names the nearest known one: a
//! setting that is silently ignored costs money.
//!
//! To add a setting: a field in the room's own `…Spec`, and its line in `docs/job-file.md`.

mod leading;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cost::{Money, MoneyError};
use crate::durable;
use crate::ledger::BudgetSpec;
use crate::outcome::answer::AnswerSpec;
use crate::outcome::class::RetrySpec;
use crate::output::OutputSpec;
use crate::request::RequestSpec;
use crate::request::keys::KeySpec;
use crate::source::SourceSpec;

pub use leading::{CacheSpec, CanarySpec};

/// A job as it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What the job is called.
    #[serde(rename = "job")]
    pub head: Head,
    /// Rows in.
    pub source: SourceSpec,
    /// What makes a row's custom_id.
    #[serde(default)]
    pub key: KeySpec,
    /// What is asked of the model.
    pub request: RequestSpec,
    /// How answers become columns.
    #[serde(default)]
    pub answer: AnswerSpec,
    /// How requests are cut into batches.
    #[serde(default)]
    pub batch: BatchSpec,
    /// Whether one request goes first, so that the others read the shared prefix from the cache.
    #[serde(default)]
    pub cache: CacheSpec,
    /// Some rows that go first, to see whether all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySpec>,
    /// How much may be spent.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// Which failures are sent again, and how often.
    #[serde(default)]
    pub retry: RetrySpec,
    /// Where the answers go.
    pub output: OutputSpec,
}

impl Job {
    /// How the output is written: a job that gives its rows tags has them in a column.
    #[must_use]
    pub fn output_spec(&self) -> OutputSpec {
        let mut spec = self.output.clone();
        if self.request.per_row.tag.is_some() && !spec.extra.iter().any(|extra| extra == "tag") {
            spec.extra.push("tag".to_owned());
        }
        spec
    }
}

/// The section `[job]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The job's name, which also names the folder of its runs: letters, digits, `_`, `-` and `.`.
    pub name: String,
}

/// The section `[batch]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSpec {
    /// Most requests in one batch. Progress and loss are counted in batches, so the default lies
    /// well under the API's limit.
    pub max_requests: u32,
    /// Most bytes in one batch's body. The documented limit of 256 MB may be meant either way, so
    /// the default keeps clear of both.
    pub max_bytes: u64,
    /// Most requests in flight over all batches of the run: half of what the lowest tier lets an
    /// organisation queue.
    pub max_queued_requests: u64,
    /// How long a batch that may or may not have been created is looked for before it counts as not
    /// created, in seconds. A batch shows in the list moments after it is created; the default
    /// leaves a wide margin.
    pub settle_seconds: u64,
}

impl Default for BatchSpec {
    fn default() -> BatchSpec {
        BatchSpec {
            max_requests: 10_000,
            max_bytes: 250_000_000,
            max_queued_requests: 100_000,
            settle_seconds: 300,
        }
    }
}

/// A job file that was read: the job, and where it stands.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The folder all paths in it start from.
    pub folder: PathBuf,
    /// The job.
    pub job: Job,
    /// The file's text.
    pub text: String,
}

/// Why a job file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the job file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, or says something that no section knows.
    #[error("`{}` line {line}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
        /// The known name that comes nearest to an unknown one.
        nearest: Option<String>,
    },
    /// A value that is of the right type and yet makes no sense.
    #[error("`{}`: `{key}` {problem}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
}

impl JobFile {
    /// Reads a job file.
    ///
    /// # Errors
    /// [`Error`]: unreadable, not TOML, an unknown key, a value out of range. Nothing the file refers to is looked at yet.
    pub fn read(path: &Path) -> Result<JobFile, Error> {
        let text = durable::read_text(path, durable::MAX_SETTINGS_BYTES).map_err(|source| {
            Error::Read {
                path: path.to_path_buf(),
                source,
            }
        })?;
        JobFile::parse(path, text)
    }

    /// Takes the text of a job file that stands, or stood, at `path`.
    ///
    /// # Errors
    /// As [`JobFile::read`].
    pub fn parse(path: &Path, text: String) -> Result<JobFile, Error> {
        let mut job: Job = toml::from_str(&text).map_err(|e| parse_error(path, &text, &e))?;
        take_amounts_as_written(path, &text, &mut job.budget)?;
        check_values(path, &job)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(JobFile {
            path: path.to_path_buf(),
            folder,
            job,
            text,
        })
    }

    /// blake3 of the text, in hex: whether the job is still the one a run was planned from.
    #[must_use]
    pub fn hash(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }

    /// A path of the job file, as seen from the working directory.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            path.to_path_buf()
        } else {
            self.folder.join(path)
        }
    }
}

/// The keys of `[budget]`, by where they stand in the file.
#[derive(Default, Deserialize)]
struct Written {
    #[serde(default)]
    budget: BTreeMap<String, toml::Spanned<toml::Value>>,
}

/// Takes the amounts of the budget from the text of the file: as numbers they have been rounded to
/// what floating point can hold.
fn take_amounts_as_written(path: &Path, text: &str, budget: &mut BudgetSpec) -> Result<(), Error> {
    let written: Written = toml::from_str(text).map_err(|e| parse_error(path, text, &e))?;
    for (key, amount) in budget.amounts_mut() {
        let wrong = |problem| Error::Value {
            path: path.to_path_buf(),
            key: budget_key(key),
            problem,
        };
        if let Some(value) = written
            .budget
            .get(key)
            .filter(|value| value.get_ref().is_float())
        {
            let literal = text.get(value.span()).unwrap_or_default().replace('_', "");
            *amount = Some(
                literal
                    .parse()
                    .map_err(|e: MoneyError| wrong(format!("cannot be read: {e}")))?,
            );
        }
        if amount.is_some_and(Money::is_negative) {
            return Err(wrong("cannot be less than nothing".to_owned()));
        }
    }
    Ok(())
}

/// A key of the section with its section.
fn budget_key(key: &str) -> &'static str {
    match key {
        "run_usd" => "budget.run_usd",
        "day_usd" => "budget.day_usd",
        _ => "budget.month_usd",
    }
}

fn check_values(path: &Path, job: &Job) -> Result<(), Error> {
    let wrong = |key, problem: &str| {
        Err(Error::Value {
            path: path.to_path_buf(),
            key,
            problem: problem.to_owned(),
        })
    };
    let name = &job.head.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > 100 || !name.chars().all(plain) {
        return wrong(
            "job.name",
            "names a folder: use letters, digits, `_`, `-` and `.`, not first a dot, at most 100",
        );
    }
    if job.batch.max_requests == 0 || job.batch.max_requests > 100_000 {
        return wrong(
            "batch.max_requests",
            "must be from 1 to 100,000, the most a batch may hold",
        );
    }
    if job.batch.max_bytes < 1_000 || job.batch.max_bytes > 256_000_000 {
        return wrong(
            "batch.max_bytes",
            "must be from 1,000 to 256,000,000, the most a batch may hold",
        );
    }
    if job.batch.max_queued_requests < u64::from(job.batch.max_requests) {
        return wrong(
            "batch.max_queued_requests",
            "must be at least `batch.max_requests`, or no batch could ever be sent",
        );
    }
    if job.batch.settle_seconds == 0 {
        return wrong(
            "batch.settle_seconds",
            "must be at least 1: a batch that was just created may not be listed yet",
        );
    }
    if let Some((key, problem)) = job.canary.as_ref().and_then(CanarySpec::problem) {
        return wrong(key, problem);
    }
    Ok(())
}

fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let offset = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..offset]
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
        + 1;
    let said = error.message().trim().replace('\n', ", ");
    let message = words::plain(&said, text, offset);
    Error::Parse {
        path: path.to_path_buf(),
        line,
        nearest: nearest_known(&said),
        message,
    }
}

/// The known key nearest to an unknown one, read from serde's "unknown field `a`, expected one of
/// `b`, `c`".
fn nearest_known(message: &str) -> Option<String> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let score = |known: &str| strsim::damerau_levenshtein(unknown, known);
    let nearest = words.min_by_key(|known| score(known))?;
    (score(nearest) <= 1 + nearest.len() / 3).then(|| nearest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "[job]\nname = \"a\"\n[source]\npath = \"a.csv\"\n[request]\nmodel = \
                            \"claude-haiku-4-5\"\nmax_tokens = 10\nmessages = \
                            [{ role = \"user\", text = \"{{ a }}\" }]\n[output]\npath = \
                            \"b.parquet\"\n";

    fn parse(text: &str) -> Result<JobFile, Error> {
        JobFile::parse(Path::new("jobs/a.toml"), text.to_owned())
    }

    #[test]
    fn reads_the_smallest_job() {
        let file = parse(SMALLEST).unwrap();
        assert_eq!(file.job.batch.max_requests, 10_000);
        assert_eq!(
            file.resolve(Path::new("b.parquet")),
            Path::new("jobs/b.parquet")
        );
    }

    #[test]
    fn names_the_nearest_known_key_and_the_line() {
        let text = SMALLEST.replace("path = \"b.parquet\"", "pth = \"b.parquet\"");
        let Err(Error::Parse { line, nearest, .. }) = parse(&text) else {
            panic!("an unknown key was taken")
        };
        assert_eq!((line, nearest.as_deref()), (10, Some("path")));
    }

    #[test]
    fn says_in_plain_words_what_is_wrong_with_a_key() {
        for (from, to, line, words) in [
            (
                "max_tokens = 10",
                "max_tokens = \"ten\"",
                7,
                "`request.max_tokens` must be a whole number, not the text \"ten\"",
            ),
            (
                "max_tokens = 10",
                "max_tokens = -1",
                7,
                "`request.max_tokens` must be a whole number from 0 to 4,294,967,295, not -1",
            ),
            (
                "max_tokens = 10",
                "max_tokens = 1.5",
                7,
                "`request.max_tokens` must be a whole number, not 1.5",
            ),
            (
                "max_tokens = 10\n",
                "",
                5,
                "`request.max_tokens` is missing",
            ),
            (
                "path = \"a.csv\"",
                "path = \"a.csv\"\nderive = 3",
                5,
                "`source.derive` must be a table, not 3",
            ),
            (
                "name = \"a\"",
                "name = true",
                2,
                "`job.name` must be text in quotation marks, not true",
            ),
            (
                "messages = [",
                "messages = \"hi\"\nstop_sequences = [",
                8,
                "`request.messages` must be a list, not the text \"hi\"",
            ),
            (
                "path = \"b.parquet\"",
                "pth = \"b.parquet\"",
                10,
                "there is no key `pth` here; there are `path`, ",
            ),
            (
                "[output]\npath = \"b.parquet\"\n",
                "",
                1,
                "the section `[output]` is missing",
            ),
            ("[job]", "job = 5\n[jub]", 1, "`job` must be a table, not 5"),
        ] {
            assert!(SMALLEST.contains(from), "{from}");
            let Err(Error::Parse {
                line: at, message, ..
            }) = parse(&SMALLEST.replacen(from, to, 1))
            else {
                panic!("{to} was taken")
            };
            assert!(message.starts_with(words), "{to}: {message}");
            assert_eq!(at, line, "{to}: {message}");
            for term in [
                "invalid type",
                "expected",
                "struct",
                "u32",
                "sequence",
                "map",
                "untagged",
            ] {
                assert!(!message.contains(term), "{to}: {message}");
            }
        }
    }

    #[test]
    fn takes_amounts_exactly_as_they_are_written() {
        for (written, amount) in [
            ("40", "40"),
            ("40.10", "40.1"),
            ("\"40.10\"", "40.1"),
            ("1_000.000_000_000_001", "1000.000000000001"),
            ("123456.000000000001", "123456.000000000001"),
            ("0", "0"),
        ] {
            let file = parse(&format!("{SMALLEST}[budget]\nday_usd = {written}\n")).unwrap();
            assert_eq!(
                file.job
                    .budget
                    .day_usd
                    .map(|amount| amount.to_string())
                    .as_deref(),
                Some(amount),
                "{written}"
            );
            let kept: Job =
                serde_json::from_str(&serde_json::to_string(&file.job).unwrap()).unwrap();
            assert_eq!(kept.budget, file.job.budget);
        }
        assert!(parse(&format!("{SMALLEST}budget = 1\n")).is_err());
        for written in [
            "-1",
            "-0.5",
            "\"-1\"",
            "1e3",
            "inf",
            "nan",
            "0.0000000000001",
            "\"12,50\"",
            "\"\"",
            "true",
        ] {
            let error = parse(&format!("{SMALLEST}[budget]\nrun_usd = {written}\n"));
            assert!(
                error.is_err(),
                "{written} was taken: {:?}",
                error.map(|file| file.job.budget)
            );
        }
        let Err(Error::Parse { nearest, .. }) = parse(&format!("{SMALLEST}[budget]\nrun_us = 1\n"))
        else {
            panic!("taken")
        };
        assert_eq!(nearest.as_deref(), Some("run_usd"));
    }

    #[test]
    fn refuses_values_out_of_range() {
        for (extra, key) in [
            ("[batch]\nmax_requests = 0\n", "batch.max_requests"),
            ("[batch]\nmax_requests = 100001\n", "batch.max_requests"),
            ("[batch]\nmax_bytes = 300000000\n", "batch.max_bytes"),
            (
                "[batch]\nmax_queued_requests = 5\n",
                "batch.max_queued_requests",
            ),
            ("[batch]\nsettle_seconds = 0\n", "batch.settle_seconds"),
            ("[canary]\nrows = 0\n", "canary.rows"),
        ] {
            let Err(Error::Value { key: named, .. }) = parse(&format!("{SMALLEST}{extra}")) else {
                panic!("{extra} was taken")
            };
            assert_eq!(named, key);
        }
        for name in ["", "..", "a/b", "a b"] {
            assert!(
                parse(&SMALLEST.replace("\"a\"\n[source", &format!("\"{name}\"\n[source")))
                    .is_err(),
                "{name}"
            );
        }
    }
}
