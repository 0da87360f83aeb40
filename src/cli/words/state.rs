//! Sentences about the state of a job: where it is kept, whom an output belongs to, clock and
//! ledger.

use std::path::Path;

use rowmill::engine::{Error, OldState, OutputTaken, PlanOutdatedBy, StateNote, TakenBecause};

use crate::cli::layout::shown_to;

/// Characters of a path that are shown.
const LONGEST: usize = 1_000;

/// What belongs to an error about the state, a line each.
pub(crate) fn details(error: &Error) -> Vec<String> {
    match error {
        Error::OtherJobFile {
            recorded, given, ..
        } => vec![
            format!("the runs belong to {}", path(recorded)),
            format!("this job file is {}", path(given)),
        ],
        Error::OutputTaken(taken) => owners(taken),
        Error::OldState(found) => found
            .unfinished
            .iter()
            .map(|run| format!("the run {} is unfinished", path(run)))
            .chain(["nothing was sent".to_owned()])
            .collect(),
        Error::StateRestored { .. } => vec![
            "the state was probably restored from an older copy: what that run sent may be in \
             flight, and would be paid again"
                .to_owned(),
            "nothing was sent".to_owned(),
        ],
        Error::ClockBehind { run, .. } => vec![
            format!("the run is {}", path(run)),
            "nothing was sent".to_owned(),
        ],
        Error::PlanOutdated { since, .. } => vec![
            match since {
                PlanOutdatedBy::OutputChanged { .. } => {
                    "the run continues that output as it was: its result would not fit there"
                }
                _ => "rows that both have would be paid twice",
            }
            .to_owned(),
            "nothing was sent".to_owned(),
        ],
        Error::LedgerLost { state, .. } => vec![
            format!("the state {} has runs that sent batches", path(state)),
            "nothing was sent by this command".to_owned(),
        ],
        _ => Vec::new(),
    }
}

/// What can be done about an error of the state; `None` for all other errors.
pub(crate) fn hint(error: &Error) -> Option<String> {
    Some(match error {
        Error::StateAddress { .. } => {
            "keep the state in a directory: `--state DIR`, ROWMILL_STATE, or `[state] path` in the \
             job file"
                .to_owned()
        }
        Error::StateFile { path: file, .. } => format!(
            "restore the file from a copy; if it is lost, move {} away: a new one is written",
            path(file)
        ),
        Error::StateNotWritable { .. } => {
            "keep the state in a directory that can be written, and that stays: `--state DIR`, or \
             the environment variable ROWMILL_STATE"
                .to_owned()
        }
        Error::OtherJobFile { .. } => {
            "give the jobs different names (`job.name`), or separate states (`--state DIR`); if \
             this job file replaces the other one, add `--take-over`"
                .to_owned()
        }
        Error::OldState(found) => old_state_hint(found),
        Error::OutputTaken(taken) => taken_hint(taken),
        Error::StateRestored { .. } => {
            "restore the newest copy of the state; if that run is lost, add `--take-over`: its \
             rows are paid again if they were sent"
                .to_owned()
        }
        Error::ClockBehind { run, .. } => format!(
            "set the clock of this machine; if it is right now, and was wrong when that run was \
             at work, `rowmill run {0}` resumes the run by its folder, and the job can start again",
            quoted(run)
        ),
        Error::PlanOutdated { .. } => {
            "plan the job again, or start it by its job file: the answers that exist are reused; \
             `--no-reuse` sends all rows of this plan all the same"
                .to_owned()
        }
        Error::LedgerLost { state, .. } => format!(
            "restore it from a copy, or enter all runs of the state again with `rowmill cost \
             --rebuild --state {}`, which sends nothing",
            quoted(state)
        ),
        _ => return None,
    })
}

/// Whether a note is a warning.
pub(crate) fn is_warning(note: &StateNote) -> bool {
    !matches!(note, StateNote::JobFileMoved { .. })
}

/// A note about a start.
pub(crate) fn note(note: &StateNote) -> String {
    match note {
        StateNote::JobFileMoved { from, to } => format!(
            "the runs of this job belonged to {}, and belong to {} from now on",
            path(from),
            path(to)
        ),
        StateNote::OutputTakenOver(taken) => format!(
            "taking over the output {} from the job `{}` ({}) with the state {}",
            path(&taken.output),
            taken.mark.job,
            path(&taken.mark.job_file),
            path(&taken.mark.state)
        ),
        StateNote::RunForgotten { state, output, run } => format!(
            "the state {} does not have the run {run}, which wrote {}: it was probably restored \
             from an older copy",
            path(state),
            path(output)
        ),
        StateNote::OldRuns(found) => format!(
            "{} has finished runs of this job too, which are not used: its state is {}",
            path(&found.old),
            path(&found.state)
        ),
        _ => String::new(),
    }
}

fn owners(taken: &OutputTaken) -> Vec<String> {
    let mark = &taken.mark;
    let run = match (&mark.run, mark.unfinished) {
        (Some(run), true) => format!(", unfinished run {run}"),
        (Some(run), false) => format!(", finished run {run}"),
        (None, _) => String::new(),
    };
    let gone = if taken.has_state { "" } else { " (gone)" };
    vec![
        format!(
            "it belongs to job `{}` ({}), state {}{gone}{run}",
            mark.job,
            path(&mark.job_file),
            path(&mark.state)
        ),
        format!(
            "this is job `{}` ({}), state {}",
            taken.job,
            path(&taken.job_file),
            path(&taken.state)
        ),
        "nothing was sent".to_owned(),
    ]
}

fn taken_hint(taken: &OutputTaken) -> String {
    let is_same_job = taken.mark.job == taken.job;
    match taken.why {
        TakenBecause::OtherJob => "write to another `output.path`; or add `--take-over`, if this \
            job replaces the other one"
            .to_owned(),
        _ if !is_same_job => "write to another `output.path`, or finish the other job's run; or \
            add `--take-over`, if this job replaces the other one"
            .to_owned(),
        _ if taken.has_state => format!(
            "use the other state with `--state {}`; or add `--take-over`, which starts from \
             nothing here: rows that the other state has sent are paid again",
            quoted(&taken.mark.state)
        ),
        _ => "restore the other state; if it is lost, add `--take-over`: rows that its run sent \
            are paid again"
            .to_owned(),
    }
}

fn old_state_hint(found: &OldState) -> String {
    let state = quoted(&found.state);
    match (&found.moves, &found.unfinished) {
        (Some(moves), _) => {
            let (from, to) = (quoted(&moves.from), quoted(&moves.to));
            let ends = if moves.content { ("/*", "/") } else { ("", "") };
            let moved = format!("mv {from}{} {to}{}", ends.0, ends.1);
            let ledger = if moves.to == found.state {
                String::new()
            } else {
                format!(" && rowmill cost --rebuild --state {state}")
            };
            format!("`{moved}{ledger}` moves them; `--state` keeps the state elsewhere")
        }
        (None, Some(run)) => format!(
            "finish that run with `rowmill run {0}`, or abandon it with `rowmill cancel {0} \
             --abandon`",
            quoted(run)
        ),
        (None, None) => format!("`--state {state}` uses the state of the job"),
    }
}

fn path(path: &Path) -> String {
    format!("`{}`", shown_to(&path.display().to_string(), LONGEST))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',' | ':' | '@');
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use rowmill::engine::OldStateMove;

    use super::*;

    #[test]
    fn old_runs_are_moved_by_a_command_that_a_shell_takes() {
        let found = |from: &str, to: &str, content| OldState {
            old: ".rowmill/test".into(),
            state: "my jobs/.rowmill".into(),
            job: "test".to_owned(),
            unfinished: None,
            moves: Some(OldStateMove {
                from: from.into(),
                to: to.into(),
                content,
            }),
        };
        for (found, command) in [
            (
                found(".rowmill", "my jobs/.rowmill", false),
                "`mv .rowmill 'my jobs/.rowmill'` moves them",
            ),
            (
                found(".rowmill/test", "my jobs/.rowmill/test", false),
                "`mv .rowmill/test 'my jobs/.rowmill/test' && rowmill cost --rebuild --state 'my \
                 jobs/.rowmill'` moves them",
            ),
            (
                found(".rowmill/test", "my jobs/.rowmill/test", true),
                "`mv .rowmill/test/* 'my jobs/.rowmill/test'/ && rowmill cost --rebuild --state \
                 'my jobs/.rowmill'` moves them",
            ),
        ] {
            let hint = old_state_hint(&found);
            assert!(hint.starts_with(command), "{hint}");
        }
    }
}
