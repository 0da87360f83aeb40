//! What a person should know before money is spent; none of it stops the job.

use serde::Serialize;

use crate::request::RequestWarning;

/// A warning about a job, its source or its rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A warning that a room still words by itself.
    Text(String),
    /// About the requests.
    Request(RequestWarning),
}

impl From<RequestWarning> for Warning {
    fn from(warning: RequestWarning) -> Warning {
        Warning::Request(warning)
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Warning {
        Warning::Text(text)
    }
}
