//! Sentences about the steps of a run.

use rowmill::engine::Warning;

/// A warning about a job, its source or its rows.
pub(crate) fn warning(warning: &Warning) -> String {
    match warning {
        Warning::Text(text) => text.clone(),
        Warning::ModelRetirement(notice) => notice.to_string(),
        Warning::HistoryNotUsed { path, cause } => super::estimate::history_not_used(path, cause),
        Warning::HistoryNotRecorded { cause } => super::estimate::history_not_recorded(cause),
        _ => format!("{warning:?}"),
    }
}
