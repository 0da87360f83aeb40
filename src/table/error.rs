//! The errors of expressions.

use arrow::datatypes::DataType;

/// An error of an expression, or of the rows it reads.
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
    /// The expression is nested too deeply.
    #[error("`{sql}` is more than {limit} levels deep")]
    TooDeep {
        /// The expression.
        sql: String,
        /// The most levels.
        limit: usize,
    },
    /// The expression reads more than one row, or contains syntax that is not supported.
    #[error("`{sql}` cannot be evaluated row by row: {what}")]
    NotByRow {
        /// The expression.
        sql: String,
        /// The part that cannot.
        what: String,
    },
    /// The expression names a column that the rows do not have.
    #[error("`{sql}` names the column `{column}`, which does not exist{}", names_in_words(.nearest, .columns))]
    UnknownColumn {
        /// The expression.
        sql: String,
        /// The name that was not found.
        column: String,
        /// Names that look like it, best first.
        nearest: Vec<String>,
        /// All names there are.
        columns: Vec<String>,
        /// Whether the name was in double quotes, where a text may have been meant.
        quoted: bool,
    },
    /// A function that does not exist, or that is not available row by row.
    #[error("`{sql}` calls `{function}`, which is not a function of one row{}", nearest_in_words(.nearest))]
    UnknownFunction {
        /// The expression.
        sql: String,
        /// The name of the function.
        function: String,
        /// Names that look like it, best first.
        nearest: Vec<String>,
    },
    /// The expression reads a column of a type that polars does not have.
    #[error("column `{column}` has the type {data_type}, which expressions cannot read")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The types in the expression do not match.
    #[error("the types in `{sql}` do not fit{}: {reason}", in_brackets(.columns))]
    Type {
        /// The expression.
        sql: String,
        /// The columns it reads, each with its type.
        columns: Vec<String>,
        /// Whether a text is compared with a number.
        mixes_text_and_numbers: bool,
        /// The message of polars.
        reason: String,
    },
    /// A condition that is not boolean.
    #[error("`{sql}` is not a condition: it is {data_type}, not true or false")]
    NotBoolean {
        /// The expression.
        sql: String,
        /// Its type.
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
    /// An expression whose result for one row can be too large.
    #[error("`{sql}` can produce {bytes} bytes from one row; the limit is {limit}")]
    TooLarge {
        /// The expression.
        sql: String,
        /// The most bytes that it can produce, by the longest cells it reads.
        bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// The library was built without the feature `sql`, which contains the SQL engine.
    #[error("`{sql}` cannot be evaluated: this build has no SQL expressions (feature `sql`)")]
    WithoutSql {
        /// The expression.
        sql: String,
    },
    /// A value in the rows cannot be evaluated, for example a text that is cast to a number but is
    /// not one.
    #[error("`{sql}` fails on a value in the rows: {reason}")]
    Evaluate {
        /// The expression.
        sql: String,
        /// The message of polars, without values.
        reason: String,
    },
}

fn names_in_words(nearest: &[String], columns: &[String]) -> String {
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
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
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
