//! What a person should know of a source, and what stops nothing.

use std::fmt;
use std::path::PathBuf;

/// How many names a note tells.
const SHOWN: usize = 3;

/// Something about a source that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Files without a single byte or record among others; they are passed over.
    EmptyFiles {
        /// Which, in the order in which they would be read.
        paths: Vec<PathBuf>,
        /// The files of the source, these among them.
        files: usize,
    },
    /// A column of JSON Lines that holds something else than text, and is read as text all the
    /// same.
    ReadAsText {
        /// The column.
        column: String,
        /// The file of the value that made it text.
        path: PathBuf,
        /// Its line.
        line: u64,
        /// Why.
        why: TextReason,
    },
}

/// Why a column of JSON Lines is read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextReason {
    /// An integer beyond 64 bits, or a number beyond all floats.
    OutOfRange,
    /// An integer beyond 2⁵³ among numbers with a point: a float would round it.
    WouldBeRounded,
    /// Values of several kinds.
    Kinds,
    /// Values nested too deeply.
    Depth,
    /// Objects with too many different keys.
    Keys,
}

impl fmt::Display for TextReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextReason::OutOfRange => "a number that neither 64-bit integers nor floats hold",
            TextReason::WouldBeRounded => {
                "an integer that a float would round, among numbers with decimals"
            }
            TextReason::Kinds => "a value of another kind than before",
            TextReason::Depth => "a value that is nested too deeply for a column",
            TextReason::Keys => "an object with too many different keys for a column",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::EmptyFiles { paths, files } => {
                let names: Vec<String> = paths
                    .iter()
                    .take(SHOWN)
                    .map(|path| format!("`{}`", path.display()))
                    .collect();
                let more = paths.len().saturating_sub(SHOWN);
                let more = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                let verb = if paths.len() == 1 {
                    "is empty and is"
                } else {
                    "are empty and are"
                };
                write!(
                    f,
                    "{} of {files} files {verb} skipped: {}{more}",
                    paths.len(),
                    names.join(", ")
                )
            }
            Note::ReadAsText {
                column,
                path,
                line,
                why,
            } => write!(
                f,
                "column `{column}` is read as text: `{}` line {line} has {why}; give it a type \
                 with `source.columns`, where \"string\" keeps it so",
                path.display()
            ),
        }
    }
}
