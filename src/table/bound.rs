//! A comparison of one column with a literal, by which parts of a file are skipped.

/// A comparison of one column with a literal that holds for every row where the expression is true.
///
/// A whole number may be outside the range of the column's type (`small = 300`, `unsigned > -1`).
///
/// It is about the column as it was in the schema the expression was parsed for: where a file
/// stores another type (because the job reads a number as text), the statistics of the file do not
/// answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The column on the left.
    pub column: String,
    /// The comparison.
    pub op: BoundOp,
    /// The literal on the right.
    pub value: BoundValue,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundOp {
    /// Equal.
    Eq,
    /// Less.
    Lt,
    /// Less or equal.
    LtEq,
    /// Greater.
    Gt,
    /// Greater or equal.
    GtEq,
}

/// A literal of the column's kind: text for a text column (compared by its bytes), a whole number
/// for any integer column, a float for a column of 64-bit floats, a boolean for a boolean column.
#[derive(Debug, Clone, PartialEq)]
pub enum BoundValue {
    /// A whole number.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}
