//! What a user should know about a source although it can be read.

use std::path::PathBuf;

use serde::Serialize;

/// A warning about a source. It stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SourceWarning {
    /// Some files of the source hold no byte or no record; they are skipped.
    EmptyFiles {
        /// The empty files, in the order of the source.
        paths: Vec<PathBuf>,
        /// The number of files of the source, including the empty ones.
        files: usize,
    },
    /// A column of JSON Lines holds values that are not text, and is read as text.
    ReadAsText {
        /// The column.
        column: String,
        /// The file of the value that made it text.
        path: PathBuf,
        /// The line of that value, from 1.
        line: u64,
        /// Why the column is read as text.
        reason: TextReason,
    },
}

/// The reason why a column of JSON Lines is read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextReason {
    /// An integer beyond 64 bits, or a number beyond the range of floats.
    OutOfRange,
    /// An integer beyond 2⁵³ among numbers with decimals: a float would round it.
    WouldBeRounded,
    /// Values of different types.
    MixedTypes,
    /// Values nested too deeply.
    TooDeep,
    /// Objects with too many different keys.
    TooManyKeys,
}
