//! What the job says of the output.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, columns};
use crate::source::{Unsupported, without_credentials};
use crate::template::nearest;

/// The section `[output]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// The file to write. Its folder is created if it does not exist.
    pub path: PathBuf,
    /// The format; derived from the file's name if left out.
    #[serde(default)]
    pub format: Option<Format>,
    /// Which input columns go to the output.
    #[serde(default)]
    pub columns: KeptColumns,
    /// What the names of the run's own columns begin with.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// What the names of the answer's columns begin with.
    #[serde(default)]
    pub answer_prefix: String,
    /// Columns of the run that are there only if asked for; see [`EXTRA`](super::EXTRA).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    /// How the output is written where there is one from an earlier run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: OutputMode,
    /// What happens to rows of the output whose key the source no longer has, with
    /// `mode = "merge"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub removed_rows: RemovedRows,
    /// The share of rows that must succeed, from 0 to 1; below it the output is held back.
    #[serde(default)]
    pub min_success: Option<f64>,
    /// Most rows in a Parquet row group. The default is small enough for two groups in memory and
    /// large enough that bigger ones gain nothing in size or speed.
    #[serde(default = "default_row_group_rows")]
    pub row_group_rows: u32,
    /// CSV and TSV: whether texts that a spreadsheet would run as a formula get a `'` before them.
    /// Off, since that is another text to every other reader.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escape_formulas: bool,
    /// How Parquet is compressed; `zstd` (level 1) if left out: a third smaller than snappy for a
    /// fifth more time.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// Whether the answers come from the simulator. That is a fact of the run, which no job can
    /// set.
    #[serde(skip)]
    pub simulated: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_prefix() -> String {
    "_rm_".to_owned()
}

fn default_row_group_rows() -> u32 {
    65_536
}

impl OutputSpec {
    /// The output at a path, all else by default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> OutputSpec {
        OutputSpec {
            path: path.into(),
            format: None,
            columns: KeptColumns::All,
            prefix: default_prefix(),
            answer_prefix: String::new(),
            extra: Vec::new(),
            mode: OutputMode::default(),
            removed_rows: RemovedRows::default(),
            min_success: None,
            row_group_rows: default_row_group_rows(),
            escape_formulas: false,
            compression: None,
            simulated: false,
        }
    }

    /// The output of a run on the simulator: each row says so, in the column `SIMULATED`.
    #[must_use]
    pub fn of_simulated_run(mut self) -> OutputSpec {
        self.simulated = true;
        if !self.extra.iter().any(|extra| extra == columns::SIMULATED) {
            self.extra.push(columns::SIMULATED.to_owned());
        }
        self
    }

    /// Whether rows of an existing output may stay in the new one.
    #[must_use]
    pub fn continues(&self) -> bool {
        match self.mode {
            OutputMode::Overwrite => false,
            OutputMode::Append => true,
            OutputMode::Merge => self.removed_rows == RemovedRows::Keep,
        }
    }

    /// The format: as set, or derived from the file's name.
    ///
    /// # Errors
    /// [`Error::Format`]; [`Error::NotSupported`] for a name of a format that is not written.
    pub fn format(&self) -> Result<Format, Error> {
        let format = self.format.or_else(|| Format::of(&self.path));
        format.ok_or_else(|| match Unsupported::of_name(&self.path) {
            Some(what) => Error::NotSupported {
                path: self.path.display().to_string(),
                what,
            },
            None => Error::Format {
                path: self.path.clone(),
            },
        })
    }

    /// Checks what can be checked without the input.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Setting`], [`Error::NotSupported`].
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |key, problem: &str| {
            Err(Error::Setting {
                key,
                problem: problem.to_owned(),
            })
        };
        let path = self.path.to_string_lossy();
        if path == "-" {
            return wrong(
                "output.path",
                "names a file: rows do not go to standard output, where the words of the run go",
            );
        }
        if let Some(what) = Unsupported::of_address(&path) {
            return Err(Error::NotSupported {
                path: without_credentials(&path),
                what,
            });
        }
        let format = self.format()?;
        if self
            .min_success
            .is_some_and(|share| !(0.0..=1.0).contains(&share))
        {
            return wrong("output.min_success", "must be a share from 0 to 1");
        }
        if let Err(unknown) = columns::extra(&self.extra) {
            let known: Vec<&str> = columns::EXTRA
                .iter()
                .map(|extra| extra.column.name)
                .collect();
            let meant = nearest(unknown, known.iter().copied())
                .map(|name| format!("; did you mean `{name}`?"));
            let problem = format!(
                "names `{unknown}`, and there are `{}`{}",
                known.join("`, `"),
                meant.unwrap_or_default()
            );
            return wrong("output.extra", &problem);
        }
        if self.continues() && !matches!(format, Format::Parquet | Format::Ipc) {
            return wrong(
                "output.mode",
                "keeps rows of the existing output, which needs Parquet or Arrow IPC: text formats \
                 keep no types. Use one of these, or `mode = \"overwrite\"`, which takes answers \
                 from the existing output too",
            );
        }
        if self.removed_rows == RemovedRows::Drop && self.mode != OutputMode::Merge {
            return wrong("output.removed_rows", "is for `mode = \"merge\"` only");
        }
        if self.row_group_rows == 0 {
            return wrong("output.row_group_rows", "must be at least 1");
        }
        if self.escape_formulas && !matches!(format, Format::Csv | Format::Tsv) {
            return wrong("output.escape_formulas", "is for CSV and TSV only");
        }
        if self.compression.is_some() && format != Format::Parquet {
            return wrong("output.compression", "is for Parquet only");
        }
        Ok(())
    }
}

/// How an output is written where there is one from an earlier run. In every mode, an answer that
/// the output has to the very same request is taken over and not paid again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// The output has the rows of the source.
    #[default]
    Overwrite,
    /// Rows whose key the output does not have are added; all others stay as they are.
    Append,
    /// Rows are updated by key, and new ones are added.
    Merge,
}

impl OutputMode {
    /// Whether the output is merged or appended to, so that rows may stay in it which a run does
    /// not have.
    #[must_use]
    pub fn continues(self) -> bool {
        self != OutputMode::Overwrite
    }
}

/// What happens to rows of an output whose key the source no longer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovedRows {
    /// They stay in the output, behind the others.
    #[default]
    Keep,
    /// They are left out.
    Drop,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet.
    Parquet,
    /// Comma-separated values, UTF-8, one header line, lines end in a line feed.
    Csv,
    /// The same with tabs.
    Tsv,
    /// One JSON object a line.
    #[serde(alias = "ndjson")]
    Jsonl,
    /// Arrow IPC, the file format; also known as Feather V2.
    #[serde(alias = "arrow", alias = "feather")]
    Ipc,
}

/// Extensions of file names, in the order the formats are listed in messages.
const EXTENSIONS: [(&str, Format); 11] = [
    ("parquet", Format::Parquet),
    ("pq", Format::Parquet),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("tab", Format::Tsv),
    ("jsonl", Format::Jsonl),
    ("ndjson", Format::Jsonl),
    ("ipc", Format::Ipc),
    ("arrow", Format::Ipc),
    ("feather", Format::Ipc),
    ("ft", Format::Ipc),
];

impl Format {
    /// The format of a file's extension, in any letter case.
    #[must_use]
    pub fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?;
        EXTENSIONS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(extension))
            .map(|(_, format)| *format)
    }

    /// The word for the format in the job file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Jsonl => "jsonl",
            Format::Ipc => "ipc",
        }
    }

    /// Whether values are written as text, without types.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Format::Csv | Format::Tsv | Format::Jsonl)
    }

    pub(super) fn words() -> String {
        [
            Format::Parquet,
            Format::Csv,
            Format::Tsv,
            Format::Jsonl,
            Format::Ipc,
        ]
        .map(|f| format!("`{}`", f.word()))
        .join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Parquet => "Parquet",
            Format::Csv => "CSV",
            Format::Tsv => "TSV",
            Format::Jsonl => "JSON Lines",
            Format::Ipc => "Arrow IPC",
        })
    }
}

/// How Parquet is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard, level 1.
    #[default]
    Zstd,
    /// Snappy, for readers that know nothing else.
    Snappy,
    /// Not at all.
    None,
}

/// Which input columns go to the output: the word `all`, or a list of names.
///
/// However the list is ordered, the columns stand in the order of the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeptColumns {
    /// All of them.
    #[default]
    All,
    /// Those of these names.
    Named(Vec<String>),
}

impl Serialize for KeptColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            KeptColumns::All => serializer.serialize_str("all"),
            KeptColumns::Named(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for KeptColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeptColumns, D::Error> {
        struct Kept;
        impl<'de> Visitor<'de> for Kept {
            type Value = KeptColumns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\" or a list of column names")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<KeptColumns, E> {
                match word {
                    "all" => Ok(KeptColumns::All),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<KeptColumns, A::Error> {
                let mut named = Vec::new();
                while let Some(name) = names.next_element()? {
                    named.push(name);
                }
                Ok(KeptColumns::Named(named))
            }
        }
        deserializer.deserialize_any(Kept)
    }
}
