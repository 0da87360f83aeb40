//! Parquet: row groups in order, only the wanted columns, row groups skipped where their statistics
//! exclude every row.
//!
//! A file is read row group by row group, in batches sized by the bytes that the row group states
//! for its values, so that a column of pictures takes no more memory than one of numbers. The rows
//! of a row group are counted against the file's own metadata: a damaged file ends in an error,
//! never in fewer rows. The reader crate may panic on a malicious file; that is caught here.

mod metadata;
mod rows;
mod statistics;

pub(super) use metadata::describe;
pub(super) use rows::ParquetRows;
