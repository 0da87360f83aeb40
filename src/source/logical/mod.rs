//! Logical types of columns that their Arrow types do not show: UUID, JSON, ENUM, BSON, VARIANT,
//! GEOMETRY and GEOGRAPHY.
//!
//! ```text
//!  file (Parquet, Arrow IPC)            rows of a source                       output (Parquet, Arrow IPC)
//!  16 bytes, UUID              ──▶      text 12345678-90ab-…, UUID      ──▶    16 bytes, UUID
//!  text, JSON or ENUM          ──▶      text, JSON or ENUM              ──▶    text, JSON or ENUM
//!  bytes, GEOMETRY(EPSG:4326)  ──▶      bytes, GEOMETRY(EPSG:4326)      ──▶    bytes, GEOMETRY(EPSG:4326)
//! ```
//!
//! The kind is metadata of the field ([`KEY`]), so it survives the spool and every step that keeps
//! fields. Between source and output a UUID is text, so that templates, keys, expressions and text
//! formats use the form that people know; [`stored_cells`] converts it back to bytes.

mod cells;
mod fields;
mod kind;
#[cfg(test)]
mod tests;

pub(super) use cells::cells_as_read;
pub(crate) use cells::stored_cells;
pub(super) use fields::{as_read, have_same_kinds, with_file_kinds, with_inner, without_kinds};
pub(crate) use fields::{item, stored};
#[cfg(doc)]
use kind::KEY;
#[cfg(test)]
pub(crate) use kind::LogicalKind;
pub(crate) use kind::logical_kind;
