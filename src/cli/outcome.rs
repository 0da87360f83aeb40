//! The state of a run at the end of a command: as messages, as JSON, and as an exit code.

use rowmill::engine::{NothingToDo, RunOutcome, RunReport};
use rowmill::ledger::OnLimit;
use serde_json::Value;

use super::explain::{self, Failure};
use super::format::plural;
use super::screen::Screen;
use super::summary;
use super::words;

/// Shows the state of a run, and returns the exit code.
pub(crate) fn show(report: &RunReport, screen: &Screen) -> Result<u8, Failure> {
    screen.finish();
    if let Some(nothing) = &report.nothing_to_do {
        return nothing_to_do(report, nothing, true, screen);
    }
    match &report.summary {
        Some(summary) => {
            let code = summary::show(report, summary, &document(report), screen)?;
            Ok(if report.outcome == RunOutcome::OverBudget {
                say_held(report, code, screen)
            } else {
                code
            })
        }
        None => Ok(say_standing(report, screen)),
    }
}

/// The same for a command that only sends.
pub(crate) fn show_submitted(report: &RunReport, screen: &Screen) -> Result<u8, Failure> {
    screen.finish();
    match &report.nothing_to_do {
        Some(nothing) => nothing_to_do(report, nothing, false, screen),
        None => show(report, screen),
    }
}

/// A run as data.
fn document(report: &RunReport) -> Value {
    let mut document =
        serde_json::to_value(&report.manifest).expect("a manifest has names for its keys");
    if let Some(nothing) = &report.nothing_to_do {
        document["nothing_to_do"] = true.into();
        if nothing.output_change.is_some() {
            // The file holds the rows of another run.
            document["output"] = Value::Null;
        }
    }
    document
}

/// Reports that a finished run has nothing to do. `wants_output` is false where only sending
/// was asked for, so that failed rows are no reason for another exit code.
fn nothing_to_do(
    report: &RunReport,
    nothing: &NothingToDo,
    wants_output: bool,
    screen: &Screen,
) -> Result<u8, Failure> {
    if let Some(summary) = &report.summary {
        return summary::show(report, summary, &document(report), screen);
    }
    if screen.json {
        screen.json(&document(report));
    } else if wants_output && let Some(output) = report.output_path() {
        screen.data(summary::line_of(output));
    }
    if report.simulated && !screen.json {
        screen.banner();
    }
    screen.say("--again sends all rows again, and pays for them again");
    Ok(if nothing.failed > 0 && wants_output {
        explain::PARTLY
    } else {
        explain::DONE
    })
}

/// Reports the batches that the budget held back, and returns the exit code.
fn say_held(report: &RunReport, code: u8, screen: &Screen) -> u8 {
    screen.warn(format!(
        "the budget held back {}; `rowmill run {}` sends the rest when the budget allows it",
        batches(report.unsent_batches),
        report.folder.display()
    ));
    match report.on_limit {
        OnLimit::Stop => explain::STOPPED,
        OnLimit::Partial => code.max(explain::PARTLY),
    }
}

/// Shows the state of an unfinished run, and returns the exit code.
fn say_standing(report: &RunReport, screen: &Screen) -> u8 {
    if screen.json {
        screen.json(&document(report));
    }
    screen.say(words::engine::standing(&report.standing));
    if report.abandoned {
        return say_abandoned(report, screen);
    }
    let folder = report.folder.display();
    let left = report.unsent_batches;
    match report.outcome {
        RunOutcome::InDoubt => {
            screen.warn(in_doubt(report));
            explain::DOUBT
        }
        RunOutcome::Interrupted => {
            screen.say(format!(
                "interrupted; submitted batches keep running at the provider. `rowmill run \
                 {folder}` resumes the run"
            ));
            explain::INTERRUPTED
        }
        RunOutcome::OverBudget => {
            screen.say(format!(
                "the budget has no room for {}: `rowmill run {folder}` (or submit) sends the rest \
                 when the budget allows it",
                batches(left)
            ));
            explain::UNFINISHED
        }
        RunOutcome::Unfinished if left > 0 => {
            screen.say(format!(
                "{} still to be sent: `rowmill run {folder}` (or submit) sends the rest",
                batches(left)
            ));
            explain::UNFINISHED
        }
        RunOutcome::Complete | RunOutcome::Unfinished => {
            screen.say(format!(
                "`rowmill collect {folder}` fetches what has ended, `rowmill run {folder}` waits \
                 for it"
            ));
            explain::UNFINISHED
        }
    }
}

/// Shows the state of an abandoned run; its output is written only on request.
fn say_abandoned(report: &RunReport, screen: &Screen) -> u8 {
    let folder = report.folder.display();
    match report.outcome {
        RunOutcome::Complete => {
            screen.say(format!(
                "the run was abandoned; all its results are fetched, and `rowmill export \
                 {folder}` writes them"
            ));
            explain::DONE
        }
        RunOutcome::Interrupted => explain::INTERRUPTED,
        RunOutcome::InDoubt => explain::DOUBT,
        RunOutcome::OverBudget | RunOutcome::Unfinished => {
            screen.say(format!(
                "the run was abandoned; `rowmill collect {folder}` fetches what it sent"
            ));
            explain::UNFINISHED
        }
    }
}

fn in_doubt(report: &RunReport) -> String {
    let uncertain = report.uncertain_batches;
    let (they, them, were) = if uncertain == 1 {
        ("it", "it", "it was")
    } else {
        ("they", "them", "they were")
    };
    format!(
        "{} may or may not have been created; until that is known, {they} will not be sent again. \
         `rowmill run {}` searches the provider's list for {them}, and sends what was not created; \
         --resubmit-doubtful sends again what is not found now, which is billed twice if {were} \
         created",
        batches(uncertain),
        report.folder.display(),
    )
}

/// `3 batches`, `1 batch`.
fn batches(n: u64) -> String {
    plural(n, "batch", "batches")
}
