//! Which columns templates read.

use std::collections::BTreeSet;

/// The columns that templates read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateColumns {
    /// Any of them: a template uses the row as a whole, or loads a template whose name depends on
    /// the row.
    All,
    /// Only these.
    Named(BTreeSet<String>),
}

impl TemplateColumns {
    /// No column at all.
    #[must_use]
    pub fn none() -> TemplateColumns {
        TemplateColumns::Named(BTreeSet::new())
    }

    /// Whether no column is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, TemplateColumns::Named(names) if names.is_empty())
    }

    /// The columns that one or the other reads.
    #[must_use]
    pub fn union(self, other: TemplateColumns) -> TemplateColumns {
        match (self, other) {
            (TemplateColumns::Named(mut names), TemplateColumns::Named(more)) => {
                names.extend(more);
                TemplateColumns::Named(names)
            }
            _ => TemplateColumns::All,
        }
    }
}
