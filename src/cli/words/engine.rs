//! Sentences about the steps of a run.

use rowmill::engine::Warning;

/// A warning about a job, its source or its rows.
pub(crate) fn warning(warning: &Warning) -> String {
    match warning {
        Warning::Text(text) => text.clone(),
        Warning::Request(warning) => super::request::warning(warning),
        _ => format!("{warning:?}"),
    }
}
