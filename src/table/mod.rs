//! SQL expressions over record batches: the one place where polars frames and arrow batches meet.
//!
//! In comes the text of an expression (`where`, `derive`) and the schema of the rows; out comes an
//! [`Expression`], parsed and type-checked before the first row, which returns one array per record
//! batch.
//!
//! ```text
//!  text ── syntax.rs ──▶ parsed, row by row only ──▶ polars expression ──▶ data type, known before any row
//!                                                         ▲        │
//!  batch ── only the columns it reads ── bridge.rs ───────┘        └── bridge.rs ──▶ one array, a value a row
//! ```
//!
//! **Promises.** One value a row, in row order: [`Expression::parse`] rejects aggregates, windows,
//! subqueries and everything else that changes the number of rows or reads other rows. The data
//! type is the same in every batch. Text stays text: `zip = '007'` compares text, and comparing a
//! text column with a number is an error, never a guess. Messages hold the expression and names of
//! columns, never a cell. Nothing panics: panics of polars are caught. A text of more than 64 MiB
//! is an error, found before it is built (`row_size.rs`).
//!
//! **Types.** Expressions read booleans, integers, floats, text, dates, times, timestamps,
//! durations, binary, and lists and structs of these. For polars, dictionaries are decoded,
//! unsigned integers of 8 and 16 bits become 32-bit, floats of 16 bits become 32-bit, decimals
//! become 64-bit floats (exact up to 15 digits), seconds become milliseconds, and time zones that
//! are an offset become UTC (the same instants). In the result, text is plain `Utf8`, lists are
//! `List`, times of day are nanoseconds. Maps, unions and intervals are errors. A value out of the
//! range of what it becomes (a time before midnight) is null.
//!
//! **SQL.** The dialect is that of polars: comparison, `AND`, `OR`, `NOT`, `IN`, `BETWEEN`, `LIKE`,
//! `ILIKE`, `~`, `CASE`, `CAST`, `TRY_CAST`, `||`, arithmetic, `EXTRACT`, and the functions listed
//! in `syntax.rs`; to allow another one, add it there. A float that is not a number equals itself
//! and is greater than all others; text compares by its bytes; integers wrap around; a division by
//! zero of integers is null. A text that is compared with a date or timestamp column, or cast to
//! one, is read as ISO 8601 (`2024-01-31`, `2024-01-31 10:00`), value by value: unlike polars,
//! which guesses a format from the first row.
//!
//! **Without the feature `sql`** neither polars nor an SQL parser is compiled. Parsing an
//! expression then returns [`Error::WithoutSql`].

mod bound;
#[cfg(feature = "sql")]
mod bounds;
#[cfg(feature = "sql")]
mod bridge;
#[cfg(feature = "sql")]
mod engine;
mod error;
#[cfg(feature = "sql")]
mod expression;
#[cfg(feature = "sql")]
mod row_size;
#[cfg(feature = "sql")]
mod syntax;
#[cfg(all(test, feature = "sql"))]
mod tests;
#[cfg(feature = "sql")]
mod text_times;
#[cfg(not(feature = "sql"))]
mod without_sql;

pub use bound::{Bound, BoundOp, BoundValue};
pub use error::Error;
#[cfg(feature = "sql")]
pub use expression::Expression;
#[cfg(not(feature = "sql"))]
pub use without_sql::Expression;
