//! What stands at the place of an output, and whether something less would replace it.
//!
//! An output records how complete it is: how many of its rows succeeded is in its own column, in
//! every format. So nothing beside the file has to be trusted, or to be there, to know that it is
//! worth more than the result of a run.
//!
//! | the run | replaces |
//! |---|---|
//! | all rows succeeded, or as many as `output.min_success` asks for | whatever exists there |
//! | it wrote what exists there | that; where it continues an output, only if its contents are still the same |
//! | on a simulator | what is simulated too |
//! | canceled, or some batches were not sent | an output in which no more rows succeeded, and no larger share of them |
//! | no row succeeded | an output in which none did either |
//! | some rows failed, and the source is the same | an output in which no more rows succeeded |
//! | some rows failed, and the source is another | whatever exists there: other rows are no measure |

use std::path::{Path, PathBuf};

use arrow::array::AsArray as _;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde::Serialize;

use crate::journal;
use crate::outcome::Status;
use crate::output::{self, OutputSpec};

use super::export_options::{INCOMPLETE, SIMULATED};
use super::export_summary::ExportSummary;
use super::reuse::{self, hash_of};
use super::state_files::is_same_place;
use super::{Error, Run};

/// An output that was written beside its place, because something better exists there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The place it did not take.
    pub instead_of: PathBuf,
    /// How it is less complete.
    pub why: WorseOutput,
}

/// How an output is less complete than the existing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorseOutput {
    /// Its answers come from the simulator, those of the other do not.
    Simulated,
    /// Fewer of its rows succeeded.
    Fewer {
        /// Rows of it that succeeded.
        ours: u64,
        /// Rows that succeeded in the existing one.
        theirs: u64,
    },
    /// The run continues the output as it was when it was planned, and it has changed since.
    Changed,
    /// The run was canceled, or not all of it was sent, and the existing file is not known to be
    /// less complete.
    Unfinished,
}

/// Where the output of a run goes that is meant for `path`, and why it is not that place.
pub(super) fn place(
    run: &Run,
    summary: &ExportSummary,
    path: &Path,
    spec: &OutputSpec,
) -> (PathBuf, Option<SetAside>) {
    let is_free = run.replaces_output() || is_own(run, path);
    let worse = || {
        if is_not_the_base(run, path) {
            return Some(WorseOutput::Changed);
        }
        if path.exists() {
            less(run, summary, path, spec)
        } else {
            None
        }
    };
    match (!is_free).then(worse).flatten() {
        None => (path.to_path_buf(), None),
        Some(why) => {
            let word = if why == WorseOutput::Simulated {
                SIMULATED
            } else {
                INCOMPLETE
            };
            (
                output::beside(path, word),
                Some(SetAside {
                    instead_of: path.to_path_buf(),
                    why,
                }),
            )
        }
    }
}

/// Where an output was written in the end. One that was set aside because another file is at its
/// place, and is the same, is not: a process that ended before it recorded its export left it there.
///
/// # Errors
/// [`Error::File`].
pub(super) fn without_copy(
    written: PathBuf,
    set_aside: Option<SetAside>,
) -> Result<(PathBuf, Option<SetAside>), Error> {
    match set_aside {
        Some(aside)
            if aside.why == WorseOutput::Changed
                && hash_of(&written)? == hash_of(&aside.instead_of)? =>
        {
            std::fs::remove_file(&written).map_err(|source| Error::File {
                doing: "remove",
                path: written,
                source,
            })?;
            Ok((aside.instead_of, None))
        }
        set_aside => Ok((written, set_aside)),
    }
}

/// Whether a run continues an output, and another one exists there by now: its rows would be lost.
pub(super) fn is_not_the_base(run: &Run, path: &Path) -> bool {
    let Some(plan) = run.reuse().filter(|plan| plan.mode.continues()) else {
        return false;
    };
    match &plan.base {
        Some(base) if is_same_place(&base.path, path) => {
            let is_same = |found: (u64, String)| found == (base.bytes, base.hash.clone());
            // An output that is gone is written again.
            path.exists() && !hash_of(path).is_ok_and(is_same)
        }
        Some(_) => false,
        // Simulated answers are no output of a real run: they were not continued, and are replaced.
        None => {
            let is_replaced = |found: OutputInfo| found.simulated && !run.plan().simulated;
            path.exists() && !look(path, &run.output_spec()).is_some_and(is_replaced)
        }
    }
}

/// How the result of a run is less complete than the existing output.
fn less(run: &Run, summary: &ExportSummary, path: &Path, spec: &OutputSpec) -> Option<WorseOutput> {
    // What is simulated in this process has a name of its own, and so replaces nothing else.
    let is_rehearsal = run.plan().simulated && !run.plan().is_in_process();
    if !is_rehearsal && (summary.all_succeeded() || spec.min_success.is_some()) {
        return None;
    }
    let standing = look(path, spec);
    let is_simulated = standing.as_ref().is_some_and(|standing| standing.simulated);
    if is_rehearsal && !is_simulated {
        return Some(WorseOutput::Simulated);
    }
    if summary.all_succeeded()
        || spec.min_success.is_some()
        || (is_simulated && !run.plan().simulated)
    {
        return None;
    }
    let is_cut_short = run.state().is_canceled() || run.state().unsent().next().is_some();
    if run.plan().is_in_process() && !is_cut_short {
        // A trial shows the new result, and simulated answers are not worth keeping.
        return None;
    }
    let ours = SuccessCount {
        of: summary.totals.rows + summary.kept.rows,
        succeeded: summary.totals.count(Status::Succeeded) + summary.kept.succeeded,
    };
    let Some(theirs) = standing.and_then(|standing| standing.share) else {
        return (is_cut_short || ours.succeeded == 0).then_some(WorseOutput::Unfinished);
    };
    let is_same_source = || {
        let sources = writer_of(run, path).and_then(|writer| writer.sources);
        sources.is_none_or(|sources| sources == run.plan().sources)
    };
    let is_less = if is_cut_short {
        ours.is_fewer_than(theirs) || ours.is_worse_than(theirs)
    } else {
        ours.is_fewer_than(theirs) && (ours.succeeded == 0 || is_same_source())
    };
    is_less.then_some(WorseOutput::Fewer {
        ours: ours.succeeded,
        theirs: theirs.succeeded,
    })
}

/// Rows, and how many of them succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SuccessCount {
    of: u64,
    succeeded: u64,
}

impl SuccessCount {
    fn is_fewer_than(self, other: SuccessCount) -> bool {
        self.succeeded < other.succeeded
    }

    fn is_worse_than(self, other: SuccessCount) -> bool {
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        product(self.succeeded, other.of) < product(other.succeeded, self.of)
    }
}

/// What a file says of itself.
#[derive(Debug, PartialEq, Eq)]
struct OutputInfo {
    /// Whether its answers come from the simulator.
    simulated: bool,
    /// Its rows; `None` where it has no status column.
    share: Option<SuccessCount>,
}

/// Reads what a file says of itself; `None` where it cannot be read as a table.
fn look(path: &Path, spec: &OutputSpec) -> Option<OutputInfo> {
    let source = reuse::open_output(path, spec.format().ok()?).ok()?;
    let named = |name: &str| {
        Some(format!("{}{name}", spec.prefix)).filter(|n| source.schema().index_of(n).is_ok())
    };
    let simulated = named(SIMULATED);
    let wanted: Vec<String> = named("status")
        .into_iter()
        .chain(simulated.clone())
        .collect();
    let mut share = SuccessCount {
        of: 0,
        succeeded: 0,
    };
    let mut is_simulated = simulated.is_some();
    for rows in source.scan(Some(&wanted)).ok()? {
        let batch = rows.ok()?.batch;
        share.of += batch.num_rows() as u64;
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let words = cast(column, &DataType::Utf8).ok()?;
            let words = words.as_string::<i32>().iter();
            if Some(field.name()) == simulated.as_ref() {
                is_simulated &= words.flatten().all(|word| word == "true");
            } else {
                share.succeeded += words
                    .flatten()
                    .filter(|word| *word == Status::Succeeded.as_str())
                    .count() as u64;
            }
        }
    }
    Some(OutputInfo {
        simulated: is_simulated,
        share: named("status").map(|_| share),
    })
}

/// Whether the run itself wrote what stands at a place, and no other program has changed it since.
fn is_own(run: &Run, path: &Path) -> bool {
    let Some((export, _)) = run.state().export() else {
        return false;
    };
    let is_unchanged = |written: &String| match hash_of(path) {
        Ok((_, hash)) => hash == *written,
        // An output that is gone is written again.
        Err(_) => !path.exists(),
    };
    export.path.as_deref() == Some(path)
        && writer_of(run, path).is_none_or(|writer| writer.run == run.plan().run)
        && export.hash.as_ref().is_none_or(is_unchanged)
}

/// The run that wrote what stands at a place, where it is beside this one.
fn writer_of(run: &Run, path: &Path) -> Option<journal::LastWriter> {
    journal::writer_of(run.folder().parent()?, path)
}
