//! What becomes of the rows of a plan, beside the earlier output: how many are new, changed,
//! unchanged, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::OutputMode;

/// What a row of the source is, compared with the earlier output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowClass {
    /// The output has no row of this key.
    New,
    /// It has one, for another request.
    Changed,
    /// It has one for the same request, which was not answered.
    Failed,
    /// It has the answer.
    Unchanged,
}

/// Rows by class, and how many of each take an answer that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowClasses {
    /// Rows by class.
    pub rows: BTreeMap<RowClass, u64>,
    /// Rows that take the answer of an earlier output, by class. All that are unchanged do, and
    /// others whose request was answered for another row or in another output.
    pub reused: BTreeMap<RowClass, u64>,
    /// Rows that share the answer of an identical request of the same run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Rows left out because the output has their key already (`output.mode = "append"`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RowClasses {
    /// Counts a row.
    pub(crate) fn add(&mut self, class: RowClass, is_reused: bool) {
        *self.rows.entry(class).or_default() += 1;
        if is_reused {
            *self.reused.entry(class).or_default() += 1;
        }
    }

    /// Adds the counts of other rows.
    pub(crate) fn absorb(&mut self, other: &RowClasses) {
        for (class, rows) in &other.rows {
            *self.rows.entry(*class).or_default() += rows;
        }
        for (class, rows) in &other.reused {
            *self.reused.entry(*class).or_default() += rows;
        }
        self.duplicates += other.duplicates;
        self.skipped += other.skipped;
    }

    /// Rows of a class.
    #[must_use]
    pub fn count(&self, class: RowClass) -> u64 {
        self.rows.get(&class).copied().unwrap_or(0)
    }

    /// Rows that take an answer that exists.
    #[must_use]
    pub fn all_reused(&self) -> u64 {
        self.reused.values().sum()
    }
}

/// What of the request is no longer what an output was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "changed", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestChange {
    /// The model.
    Model {
        /// What it was.
        was: String,
        /// What it is.
        now: String,
    },
    /// A template, a schema or another file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Another setting of the section `[request]`, such as `max_tokens`.
    Settings,
}

/// Why an output's answers are not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotReused {
    /// Its answers come from the simulator, and the run is a real one, or the other way round.
    Simulated,
    /// It lacks a column that the answers are read from, or that the job's output has.
    NoColumn {
        /// The column.
        column: String,
    },
    /// It cannot be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What planning found by comparing the rows with earlier outputs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Incremental {
    /// How the output is written.
    pub mode: OutputMode,
    /// The output that rows are compared with; `None` where there is none yet.
    pub compared_with: Option<PathBuf>,
    /// Rows by class.
    pub classes: RowClasses,
    /// Why rows count as changed, besides what they hold themselves; empty where only rows changed,
    /// or where the output does not say what it was made with.
    pub changes: Vec<RequestChange>,
    /// Rows of the output whose key the source no longer has.
    pub removed: u64,
    /// Whether those stay in the output.
    pub keeps_removed: bool,
    /// Other outputs whose answers are used.
    pub answers_from: Vec<PathBuf>,
    /// Outputs whose answers are not used.
    pub not_reused: Vec<(PathBuf, NotReused)>,
}

impl Incremental {
    /// Whether there is anything to say of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.compared_with.is_none()
            && self.answers_from.is_empty()
            && self.not_reused.is_empty()
            && self.classes.duplicates == 0
    }
}

/// What requests are made with, as an output records it beside its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeWith {
    /// The columns of the row key.
    pub key: Vec<String>,
    /// The model.
    pub model: String,
    /// blake3 of what all requests have in common, in hex.
    pub shared: String,
    /// The templates and other files, with blake3 of each.
    pub files: Vec<(PathBuf, String)>,
}

impl MadeWith {
    /// What is different from an earlier one.
    pub(super) fn changes_since(&self, earlier: &MadeWith) -> Vec<RequestChange> {
        let mut changes = Vec::new();
        if self.model != earlier.model {
            changes.push(RequestChange::Model {
                was: earlier.model.clone(),
                now: self.model.clone(),
            });
        }
        let path_of = |(path, _): &(PathBuf, String)| path.clone();
        let differs = |file: &&(PathBuf, String)| !earlier.files.contains(file);
        let is_gone = |file: &&(PathBuf, String)| !self.has_file(&file.0);
        changes.extend(
            (self.files.iter().filter(differs).map(path_of))
                .chain(earlier.files.iter().filter(is_gone).map(path_of))
                .map(|path| RequestChange::File { path }),
        );
        if changes.is_empty() && self.shared != earlier.shared {
            changes.push(RequestChange::Settings);
        }
        changes
    }

    fn has_file(&self, path: &Path) -> bool {
        self.files.iter().any(|(own, _)| own == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_with(model: &str, shared: &str, files: &[(&str, &str)]) -> MadeWith {
        let file = |(path, hash): &(&str, &str)| (PathBuf::from(path), (*hash).to_owned());
        MadeWith {
            key: vec!["id".to_owned()],
            model: model.to_owned(),
            shared: shared.to_owned(),
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn names_what_has_changed() {
        let before = made_with("a", "1", &[("x.j2", "h"), ("y.md", "h")]);
        assert_eq!(before.changes_since(&before), []);
        let file = |path: &str| RequestChange::File { path: path.into() };
        let after = made_with("a", "2", &[("x.j2", "i"), ("z.md", "h")]);
        assert_eq!(
            after.changes_since(&before),
            [file("x.j2"), file("z.md"), file("y.md")]
        );
        let after = made_with("a", "2", &[("x.j2", "h"), ("y.md", "h")]);
        assert_eq!(after.changes_since(&before), [RequestChange::Settings]);
        let after = made_with("b", "2", &[("x.j2", "h"), ("y.md", "h")]);
        assert_eq!(
            after.changes_since(&before),
            [RequestChange::Model {
                was: "a".to_owned(),
                now: "b".to_owned()
            }]
        );
    }
}
