//! What the user should know about the templates of a job, although they work.

use serde::Serialize;

/// A text column that a template uses as a condition, where the text `false` is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TextCondition {
    /// The template.
    pub template: String,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: String,
}

/// A warning about a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TemplateWarning {
    /// All values of a text column that is used as a condition read as booleans, and some of them
    /// as false: as text they are true.
    TextCondition(TextCondition),
}
