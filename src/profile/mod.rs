//! The profile of a table, and the settings of a job that it suggests.
//!
//! In come record batches, in any order and number; out comes a [`Profile`] with one
//! [`ColumnProfile`] a column: nulls, distinct values, whether the column can be a key, length of
//! texts, examples, and the kind of its values. [`suggest`] then proposes the key, the text for the
//! prompt and the columns to group by.
//!
//! **Memory** is bounded whatever the table: at most [`MAX_HASHES`] hashes for all columns together
//! (about 70 MB) and [`MAX_DISTINCT`] for a column that is known not to be unique. A value of up to
//! 15 bytes is its own hash, longer ones are hashed to 128 bits, so "unique" is exact. When the
//! hashes are used up, the widest column is dropped first: its uniqueness is then unknown.
//!
//! Numbers, dates, booleans and text are profiled; for lists, structs, maps and binary only nulls
//! are counted. To recognise another kind of text, add it to `kind.rs`.

mod kind;
mod profiler;
mod suggest;
#[cfg(test)]
mod tests;
mod values;

pub use kind::ValueKind;
pub use profiler::Profiler;
pub use suggest::{Suggestion, suggest};

/// The most hashes of all columns together.
pub const MAX_HASHES: usize = 1 << 21;
/// The most distinct values that are counted in a column with duplicates.
pub const MAX_DISTINCT: usize = 10_000;
/// The profile of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The number of rows that were read.
    pub rows: u64,
    /// The columns, in the table's order.
    pub columns: Vec<ColumnProfile>,
    /// Pairs of columns (by position) that are unique only together, best first; empty where a
    /// column is unique by itself.
    pub unique_pairs: Vec<(usize, usize)>,
}

/// The profile of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type, as [`crate::source::type_name`] names it.
    pub data_type: String,
    /// The number of nulls.
    pub nulls: u64,
    /// The number of texts that are empty or white space.
    pub blanks: u64,
    /// The number of different values, null not counted.
    pub distinct: Distinct,
    /// Whether it can be a key.
    pub unique: Uniqueness,
    /// The length of its texts; `None` where it has no text.
    pub characters: Option<Characters>,
    /// Up to three different values, shortened. They are contents of the table: show them to its
    /// user only.
    pub examples: Vec<String>,
    /// The kind of its values, where they have one in common.
    pub looks_like: Option<ValueKind>,
}

/// The number of different values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distinct {
    /// The exact number.
    Exact(u64),
    /// The number before counting stopped.
    AtLeast(u64),
    /// Values of this type are not counted.
    Unknown,
}

/// Whether a column can be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    /// All its values are different and none is null, over all rows seen.
    Yes,
    /// A value occurs twice, or is null.
    No,
    /// Too many values to decide, or a type whose values are not counted.
    Unknown,
}

/// The length of texts, in characters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Characters {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
}
