//! The memory that a row group of Parquet takes, known before it is decompressed.
//!
//! ```text
//!  column chunk   │ header │ dictionary │ header │ page │ header │ page │ …
//!                   └ bytes compressed and decompressed, number of values
//! ```
//!
//! The headers are read by themselves: one short read a page. They state how many bytes a page
//! decompresses to, so a page, a cell or a row beyond the limits is an error before anything is
//! decompressed; and they bound how much one row can take, which decides how many rows make a
//! batch. A dictionary is decompressed for this where its longest value matters, and all pages of a
//! column of lists only where their number of values is suspicious. Pages whose compression does
//! not respect the size in the header are decompressed on trial first (gzip, brotli).
//!
//! **Units**: bytes, except where a name says rows.

mod bounds;
mod header;
mod int96;
mod values;

pub(super) use bounds::{RowGroupContext, most_row_bytes, safe_rows};
pub(super) use int96::{Int96Unit, int96_unit};

#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(super) use header::check_page_header;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(super) use values::check_hybrid_values;
