//! What a template compares, by the types of the columns, found without rendering it.
//!
//! A comparison of a text with a number or with `true` gives the same for every row: every row
//! would get the wrong prompt, and be paid for. So each expression of the engine's own syntax tree
//! gets a type as far as it can be inferred: columns, fields of structs, items of lists,
//! `{% set %}`, loops, filters, macros by what they are called with. Everything else is
//! [`ValueType::Unknown`] and passes: there are no false alarms.
//!
//! Text columns that are used as a condition are collected as well: the text `false` is true.
//! Whether a column holds it, only the rows show.
//!
//! ```text
//! inferred.rs     the types, and what is known of a cell, a field, an item
//! statements.rs   scopes: which name has which type where
//! expressions.rs  the type of an expression
//! filters.rs      what filters and tests make of a type
//! comparison.rs   which comparisons are constant, and what to write instead
//! ```
//!
//! To add a filter of the engine, see `filters.rs`.

mod comparison;
mod expressions;
mod filters;
mod inferred;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;

pub use comparison::{ComparedWith, ComparisonFix, OperandType};
pub use inferred::TypeClass;
use inferred::{ColumnOrigin, Inferred, ValueType};
use statements::TypeChecker;

/// What the types of the columns say of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TypeFindings {
    /// Comparisons that give the same for every row.
    pub(super) constant: Vec<ConstantComparison>,
    /// Text columns that are used as a condition: line and name, each column once.
    pub(super) conditions: Vec<(usize, String)>,
}

/// A comparison that gives the same for every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConstantComparison {
    /// With `none`, which no cell is equal to.
    None { line: usize },
    /// Of a column with something of another type.
    Types {
        line: usize,
        column: String,
        is: OperandType,
        with: ComparedWith,
        fix: ComparisonFix,
    },
}

impl ConstantComparison {
    pub(super) fn line(&self) -> usize {
        match self {
            ConstantComparison::None { line } | ConstantComparison::Types { line, .. } => *line,
        }
    }
}

/// The names that a template may use, beside those it sets.
pub(super) struct KnownNames<'a> {
    pub(super) schema: &'a Schema,
    /// Names that one of the templates sets.
    pub(super) assigned: &'a BTreeSet<&'a str>,
    /// Whether it is the template that is rendered. One that is loaded may get the values of names
    /// from the template that loads it.
    pub(super) is_root: bool,
}

/// Checks the comparisons of a template that the engine accepts.
pub(super) fn check(
    source: &str,
    name: &str,
    syntax: &SyntaxConfig,
    known: &KnownNames<'_>,
) -> TypeFindings {
    let Ok(template) = parse(source, name, syntax.clone()) else {
        return TypeFindings::default();
    };
    let mut checker = TypeChecker::new(known);
    checker.statement(&template);
    checker
        .findings
        .constant
        .sort_by_key(ConstantComparison::line);
    checker.findings
}
