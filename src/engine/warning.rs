//! What a person should know before money is spent; none of it stops the job.

use serde::Serialize;

use crate::template::TemplateWarning;

/// A warning about a job, its source or its rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A warning about a template.
    Template(TemplateWarning),
    /// A warning that a room still words by itself.
    Text(String),
}

impl From<String> for Warning {
    fn from(text: String) -> Warning {
        Warning::Text(text)
    }
}

impl From<TemplateWarning> for Warning {
    fn from(warning: TemplateWarning) -> Warning {
        Warning::Template(warning)
    }
}
