//! The result of an export, as data.

use std::path::PathBuf;

use serde::Serialize;

use crate::estimate::compare::Comparison;
use crate::join::Totals;
use crate::outcome::Status;

use super::failures::Failures;
use super::previous_output::SetAside;
use super::reuse::KeptCounts;

/// The result of an export.
#[derive(Debug, Clone, Serialize)]
pub struct ExportSummary {
    /// The output; `None` where it is held back because too few rows succeeded.
    pub path: Option<PathBuf>,
    /// Rows by status, and tokens of all attempts.
    pub totals: Totals,
    /// Rows left out because an earlier row has their key. The job requests that, so they do not
    /// count as failures.
    pub left_out: u64,
    /// What the run was expected to cost beside what it did.
    pub comparison: Option<Comparison>,
    /// Rows that did not succeed, by what can be done about them; those left out on purpose are not
    /// among them.
    pub failures: Failures,
    /// Rows whose answers were taken over: from an earlier output, or from an identical request.
    pub reused: u64,
    /// Rows of the existing output that stayed in it beside the run's.
    pub kept: KeptCounts,
    /// Why the output is not in its place, where something better exists there.
    pub set_aside: Option<SetAside>,
}

impl ExportSummary {
    /// Whether every row that was to be answered was.
    #[must_use]
    pub fn all_succeeded(&self) -> bool {
        self.totals.count(Status::Succeeded) + self.left_out == self.totals.rows
    }
}
