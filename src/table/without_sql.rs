//! The expression of a build without the feature `sql`: it has the same methods, but none can be
//! parsed.
//!
//! Code that reads a job compiles unchanged. A job with an expression fails when the expression is
//! parsed: before the first row is read and before anything is sent.

use std::convert::Infallible;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::{Bound, Error};

/// An SQL expression; there is none in a build without the feature `sql`.
#[derive(Debug, Clone)]
pub struct Expression {
    none: Infallible,
}

impl Expression {
    /// Rejects the expression: this build cannot evaluate any.
    ///
    /// # Errors
    /// Always [`Error::WithoutSql`].
    pub fn parse(sql: &str, _schema: &Schema) -> Result<Self, Error> {
        Err(Error::WithoutSql {
            sql: sql.trim().to_owned(),
        })
    }

    /// Rejects the condition: this build cannot evaluate any.
    ///
    /// # Errors
    /// Always [`Error::WithoutSql`].
    pub fn parse_predicate(sql: &str, schema: &Schema) -> Result<Self, Error> {
        Self::parse(sql, schema)
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn sql(&self) -> &str {
        match self.none {}
    }

    /// The columns it reads.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        match self.none {}
    }

    /// The type of its values.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        match self.none {}
    }

    /// The simple comparisons that must all hold where it is true.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        match self.none {}
    }

    /// The value for each row of a batch.
    ///
    /// # Errors
    /// None, as there is no such expression.
    pub fn evaluate(&self, _batch: &RecordBatch) -> Result<ArrayRef, Error> {
        match self.none {}
    }

    /// Whether the condition holds, for each row of a batch.
    ///
    /// # Errors
    /// None, as there is no such expression.
    pub fn mask(&self, _batch: &RecordBatch) -> Result<BooleanArray, Error> {
        match self.none {}
    }
}
