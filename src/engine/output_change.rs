//! The state of the output of a finished run.

/// Why what stands at the place of a finished run's output is not what the run wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputChange {
    /// No file exists there.
    Gone,
    /// Another run has written its own output there since: another trial, or other rows.
    Replaced,
}
