//! Sentences about earlier outputs: which rows are new, which take an answer that exists, and why.

use rowmill::engine::{
    CannotContinue, ContinueFault, Incremental, NotReused, RequestChange, RowClass,
};
use rowmill::output::OutputMode;

use super::template::set_type;
use crate::cli::format::{count, plural};

/// What planning found by comparing the rows with earlier outputs, a line each.
pub(crate) fn incremental(found: &Incremental) -> Vec<String> {
    let mut lines: Vec<String> = [
        RowClass::New,
        RowClass::Changed,
        RowClass::Failed,
        RowClass::Unchanged,
    ]
    .into_iter()
    .filter_map(|class| class_line(found, class))
    .collect();
    let classes = &found.classes;
    if classes.duplicates > 0 {
        lines.push(format!(
            "{} identical to an earlier row: sent once, the answer is shared",
            count(classes.duplicates)
        ));
    }
    if classes.skipped > 0 {
        lines.push(format!(
            "{} skipped: the output has their key (`output.mode = \"append\"`)",
            count(classes.skipped)
        ));
    }
    if found.removed > 0 {
        let (fate, word) = if found.keeps_removed {
            ("kept", "keep")
        } else {
            ("dropped", "drop")
        };
        lines.push(format!(
            "{} of the output no longer in the source: {fate} (`output.removed_rows = \"{word}\"`)",
            count(found.removed)
        ));
    }
    lines.extend(
        found
            .not_reused
            .iter()
            .map(|(path, why)| format!("no answers from {}: {}", path.display(), not_reused(why))),
    );
    lines
}

fn class_line(found: &Incremental, class: RowClass) -> Option<String> {
    let (rows, reused) = (
        found.classes.count(class),
        found.classes.reused.get(&class).copied().unwrap_or(0),
    );
    if rows == 0 {
        return None;
    }
    let word = match class {
        RowClass::New => "new",
        RowClass::Changed => "changed",
        RowClass::Failed => "failed before",
        _ => "unchanged",
    };
    let why = match class {
        RowClass::Changed => format!(": {}", changes(&found.changes)),
        _ => String::new(),
    };
    let answer = match reused {
        0 if class == RowClass::Unchanged => ", sent again".to_owned(),
        0 => String::new(),
        n if n == rows => ", answer reused".to_owned(),
        n => format!(", {} of them with a reused answer", count(n)),
    };
    Some(format!("{} {word}{why}{answer}", count(rows)))
}

fn changes(changes: &[RequestChange]) -> String {
    if changes.is_empty() {
        return "the row changed".to_owned();
    }
    let change = |change: &RequestChange| match change {
        RequestChange::Model { was, now } => format!("model changed from {was} to {now}"),
        RequestChange::File { path } => format!("`{}` changed", path.display()),
        RequestChange::Settings => "a setting of `[request]` changed".to_owned(),
        other => format!("{other:?}"),
    };
    changes.iter().map(change).collect::<Vec<_>>().join(", ")
}

/// Why the answers of an output are not used.
pub(crate) fn not_reused(why: &NotReused) -> String {
    match why {
        NotReused::Simulated => "simulated and real answers are kept apart".to_owned(),
        NotReused::NoColumn { column } => format!("it has no column `{column}`"),
        NotReused::Unreadable { reason } => reason.clone(),
        other => format!("{other:?}"),
    }
}

/// Why an output cannot be continued.
pub(crate) fn cannot_continue(fault: &ContinueFault) -> String {
    match fault {
        ContinueFault::NotReadable(why) => {
            format!("it is not an output of this job: {}", not_reused(why))
        }
        ContinueFault::OtherKey { was, now } => format!(
            "its rows are keyed by {}, those of the job by {}",
            named(was),
            named(now)
        ),
        ContinueFault::MoreColumns { columns } => format!(
            "it has columns that the job's output does not have: {}",
            named(columns)
        ),
        ContinueFault::OtherType { column, was, now } => {
            format!("its column `{column}` has the type {was}, in the job's output it has {now}")
        }
        ContinueFault::NotNull { column } => {
            format!("it has no column `{column}`, which cannot be null")
        }
        ContinueFault::RepeatedKeys { rows, first } => format!(
            "{} a key that an earlier row has, the first two at rows {} and {}",
            plural(*rows, "row has", "rows have"),
            count(u64::from(first[0]) + 1),
            count(u64::from(first[1]) + 1)
        ),
        other => format!("{other:?}"),
    }
}

/// What to do about an output that cannot be continued.
pub(crate) fn ways_out(error: &CannotContinue) -> String {
    let as_before = match &error.why {
        ContinueFault::OtherType { column, was, .. } if is_declarable(was) => format!(
            "if `{column}` is a column of the source, {}: it is then read as before; or ",
            set_type(column, was)
        ),
        _ => String::new(),
    };
    as_before + &other_ways_out(error)
}

/// Whether the job file can name a type for a column of the source.
fn is_declarable(name: &str) -> bool {
    name != "null" && !name.contains(' ')
}

fn other_ways_out(error: &CannotContinue) -> String {
    let mode = match error.mode {
        OutputMode::Append => "append",
        _ => "merge",
    };
    let overwrite = "`output.mode = \"overwrite\"` replaces it, and takes over the answers that it \
                     has to unchanged requests";
    match &error.why {
        ContinueFault::MoreColumns { .. } | ContinueFault::OtherType { .. }
            if error.mode == OutputMode::Merge =>
        {
            format!(
                "{overwrite}; `output.removed_rows = \"drop\"` merges without rows that are no \
                 longer in the source"
            )
        }
        ContinueFault::RepeatedKeys { .. } => format!(
            "remove the repeated rows from the output, or write to another `output.path`; \
             `mode = \"{mode}\"` needs one row for each key"
        ),
        _ => format!("{overwrite}; or write to another `output.path`"),
    }
}

fn named(names: &[String]) -> String {
    if names.is_empty() {
        return "the row's number".to_owned();
    }
    format!("`{}`", names.join("`, `"))
}
