//! What an output cannot hold, and what its readers may take for something else.

use serde::Serialize;

use super::Format;

/// A warning about the columns of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputWarning {
    /// A column holds durations, which Parquet stores as plain integers: only readers that know
    /// Arrow see the unit.
    PlainDuration {
        /// The column.
        column: String,
    },
    /// The format keeps no metadata of the input's files.
    LostMetadata {
        /// The format.
        format: Format,
        /// The metadata that is lost, by its keys.
        keys: Vec<String>,
    },
    /// Two columns of the input have names that differ in letter case only, which most readers take
    /// for one name (DuckDB, Spark, Hive, Snowflake, BigQuery). Nested fields have their path.
    SameButForCase {
        /// The first of the two.
        first: String,
        /// The second.
        second: String,
    },
}
