//! SQL expressions over record batches: the one place where polars frames and arrow batches meet.
//!
//! In comes the text of an expression (`where`, `derive`) and the schema of the rows; out comes an
//! [`Expression`] that has been parsed and type-checked before the first row, and then makes one
//! array per record batch.
//!
//! ```text
//!  text ── syntax.rs ──▶ parsed, row by row only ──▶ polars expression ──▶ data type, known before any row
//!                                                         ▲        │
//!  batch ── only the columns it reads ── bridge.rs ───────┘        └── bridge.rs ──▶ one array, a value a row
//! ```
//!
//! **Promises.** One value a row, in row order: aggregates, windows, subqueries and everything else
//! that changes the number of rows or looks at other rows is refused by [`Expression::parse`]. The
//! data type is the same in every batch. Text stays text: `zip = '007'` compares text, and
//! comparing a text column with a number is an error, never a guess. Messages hold the expression
//! and names of columns, never a cell. Nothing panics: what the engine may do is caught at the
//! border. A text of more than 64 MiB is an error, seen before it is made (`weight.rs`).
//!
//! **What crosses.** Booleans, integers, floats, text, dates, times, timestamps, durations, binary,
//! and lists and structs of these. On the way in, dictionaries are unpacked, unsigned integers of 8
//! and 16 bits become 32-bit, floats of 16 bits become 32-bit, decimals become 64-bit floats (exact
//! up to 15 digits), seconds become milliseconds, and time zones that are an offset become UTC (the
//! same instants). On the way out text is plain `Utf8`, lists are `List`, times of day are
//! nanoseconds. Maps, unions and intervals do not cross: a clear error. A value out of the range of
//! what it becomes (a time before midnight) is null.
//!
//! **SQL.** The dialect is that of polars: comparison, `AND`, `OR`, `NOT`, `IN`, `BETWEEN`, `LIKE`,
//! `ILIKE`, `~`, `CASE`, `CAST`, `TRY_CAST`, `||`, arithmetic, `EXTRACT`, and the functions listed
//! in `syntax.rs`; to allow another one, add it there. A float that is not a number equals itself
//! and is greater than all others; text compares by its bytes; integers wrap around; a division by
//! zero of integers is null. A text that is compared with a date or timestamp column, or cast to
//! one, is read as ISO 8601 (`2024-01-31`, `2024-01-31 10:00`), value by value: unlike polars,
//! which guesses a format from the first row.
//!
//! **Without the feature `sql`** neither polars nor a parser of SQL is compiled: an [`Expression`]
//! cannot be made then, and asking for one is [`Error::WithoutSql`], at the same early moment.

mod bound;
#[cfg(feature = "sql")]
mod bounds;
#[cfg(feature = "sql")]
mod bridge;
#[cfg(feature = "sql")]
mod engine;
#[cfg(feature = "sql")]
mod expression;
#[cfg(feature = "sql")]
mod syntax;
#[cfg(feature = "sql")]
mod times;
#[cfg(feature = "sql")]
mod weight;
#[cfg(not(feature = "sql"))]
mod without_sql;

use arrow::datatypes::DataType;

pub use bound::{Bound, BoundOp, BoundValue};
#[cfg(feature = "sql")]
pub use expression::Expression;
#[cfg(not(feature = "sql"))]
pub use without_sql::Expression;

/// What can be wrong with an expression, or with the rows it meets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not one SQL expression.
    #[error("`{sql}` is not an expression: {reason}")]
    Syntax {
        /// The expression.
        sql: String,
        /// What is wrong.
        reason: String,
    },
    /// The expression looks at more than one row, or is more than the engine can do.
    #[error("`{sql}` cannot be evaluated row by row: {what}")]
    NotByRow {
        /// The expression.
        sql: String,
        /// The part that cannot.
        what: String,
    },
    /// The expression names a column that the rows do not have.
    #[error("`{sql}` names the column `{column}`, which does not exist{}", in_words(.nearest, .columns, *.quoted))]
    UnknownColumn {
        /// The expression.
        sql: String,
        /// The name that was not found.
        column: String,
        /// Names that look like it, best first.
        nearest: Vec<String>,
        /// All names there are.
        columns: Vec<String>,
        /// Whether it stood in double quotes, where text may have been meant.
        quoted: bool,
    },
    /// A function that does not exist, or that the engine does not offer row by row.
    #[error("`{sql}` calls `{function}`, which is not among the functions of one row{}", nearest_in_words(.nearest))]
    UnknownFunction {
        /// The expression.
        sql: String,
        /// The name of the function.
        function: String,
        /// Names that look like it, best first.
        nearest: Vec<String>,
    },
    /// The expression reads a column of a type that cannot cross to the engine.
    #[error("column `{column}` has the type {data_type}, which expressions cannot read")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The types in the expression do not fit each other.
    #[error("the types in `{sql}` do not fit{}: {reason}", in_brackets(.columns))]
    Type {
        /// The expression.
        sql: String,
        /// The columns it reads, each with its type.
        columns: Vec<String>,
        /// What the engine says.
        reason: String,
    },
    /// A condition that is neither true nor false.
    #[error("`{sql}` is not a condition: it makes {data_type}, not true or false")]
    NotBoolean {
        /// The expression.
        sql: String,
        /// What it makes.
        data_type: DataType,
    },
    /// A batch whose columns are not those the expression was parsed for.
    #[error(
        "`{sql}` was parsed for column `{column}` of type {expected}, but the rows have {found}"
    )]
    ChangedColumn {
        /// The expression.
        sql: String,
        /// The column.
        column: String,
        /// Its type when the expression was parsed.
        expected: DataType,
        /// What the batch has.
        found: String,
    },
    /// A part that can make more of one row than there may be.
    #[error("`{sql}` can make {bytes} bytes of one row; at most {limit} are allowed")]
    TooLarge {
        /// The expression.
        sql: String,
        /// The most bytes that it can make, by the longest cells it reads.
        bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// The library was built without the feature `sql`, which brings the SQL engine.
    #[error("`{sql}` cannot be evaluated: this build has no SQL expressions (feature `sql`)")]
    WithoutSql {
        /// The expression.
        sql: String,
    },
    /// A value in the rows cannot be worked on, for example a text that is cast to a number but
    /// holds none.
    #[error("`{sql}` fails on a value in the rows: {reason}")]
    Evaluate {
        /// The expression.
        sql: String,
        /// What the engine says, without the values.
        reason: String,
    },
}

fn in_words(nearest: &[String], columns: &[String], quoted: bool) -> String {
    const SHOWN: usize = 30;
    let mut words = nearest_in_words(nearest);
    if columns.is_empty() {
        return words + "; there are no columns";
    }
    let names: Vec<String> = columns
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    words = format!("{words}; the columns are {}", names.join(", "));
    if columns.len() > SHOWN {
        words = format!("{words} and {} more", columns.len() - SHOWN);
    }
    if quoted && nearest.is_empty() {
        words += "; text is written in 'single quotes'";
    }
    words
}

fn in_brackets(columns: &[String]) -> String {
    if columns.is_empty() {
        String::new()
    } else {
        format!(" ({})", columns.join(", "))
    }
}

fn nearest_in_words(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(
            " (nearest: {})",
            names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// The names that look like `wanted`, best first, at most three.
#[cfg(feature = "sql")]
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lower = wanted.to_lowercase();
    let mut near: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

#[cfg(all(test, feature = "sql"))]
mod tests;
