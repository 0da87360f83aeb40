//! Row → prompt.
//!
//! In come the job's prompt texts and, row by row, record batches; out goes the text of each
//! message. Templates are Jinja templates with a cell for each column name, and `row` for the row
//! as a whole (`row["Customer name"]`, `{% for name in row %}`, `row|json`). A column that is
//! itself named `row` is `row["row"]`.
//!
//! Promises:
//! * A cell is data. Its text is never expanded, whatever it holds, and nothing is escaped for
//!   HTML.
//! * Nothing is guessed: a name that is neither a column nor set by the template is an error before
//!   anything is sent, and so is an unknown filter. Only `x is defined` lets a column be absent.
//! * A null cell renders as nothing, everywhere, holds nothing, and `is none`. A comparison with it
//!   is false (`compare/`), and one that is false or true for every row because of types is an
//!   error before anything is sent (`types/`).
//! * Booleans are `true` and `false`, floats have their shortest form, decimals and dates are exact
//!   text, lists and maps print as compact JSON. (Joined by `~` or `join` a boolean is the engine's
//!   `True`; the filter `json` gives `true`.)
//! * Templates load others only from the job's folder, links followed, and the work for a row
//!   is limited ([`FUEL`]).
//! * The same row and templates give the same bytes. Files are read when the job is compiled; only
//!   a template whose *name* depends on the row is read later.
//!
//! White space: a tag alone on its line leaves no line behind (`trim_blocks`, `lstrip_blocks`), and
//! the last line feed of a template is dropped, so that a prompt looks like its template.
//! `{%+ … +%}` keeps what is around a tag.
//!
//! ```text
//! templates.rs  loading, compiling, rendering      types/      constant comparisons, text conditions
//! names.rs      what a template names              row.rs      a row as variables; cell.rs  a cell
//! compare/      comparisons with nulls             filters/    the filters
//! job_folder.rs which files may be loaded          prompt/     system blocks and messages
//! ```
//!
//! To add a filter, see `filters/`; to add a part of a prompt, see [`prompt`].

pub(crate) mod cell;
mod columns;
mod compare;
mod error;
mod filters;
mod job_folder;
mod names;
pub mod prompt;
mod render_error;
pub(crate) mod row;
mod suggest;
mod templates;
mod types;
mod warning;

pub use cell::can_be_shown;
pub use columns::TemplateColumns;
pub use error::Error;
pub use filters::{FILTERS, FilterDoc};
pub use render_error::RenderError;
pub use templates::{FUEL, is_plain_text};
pub use types::{ComparedWith, ComparisonFix, OperandType, TypeClass};
pub use warning::{TemplateWarning, TextCondition};

use error::no_column;
pub(crate) use suggest::{listed, nearest};
pub(crate) use templates::Templates;

#[cfg(test)]
mod tests;
