//! The state of a run at the end of a command: as messages, as JSON, and as an exit code.

use rowmill::engine::{NotStarted, NothingReason, NothingToDo, RunOutcome, RunReport};
use rowmill::ledger::OnLimit;
use serde_json::{Value, json};

use super::args::Schedule;
use super::explain;
use super::format::plural;
use super::screen::Screen;
use super::summary;
use super::words;

/// What a command was to do: it decides what is on stdout, and which exit code means that it is
/// done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The output.
    Output,
    /// That everything is sent.
    Sent,
    /// The output, without sending anything.
    Collected,
}

/// Shows the state of a run, and returns the exit code.
pub(crate) fn show(report: &RunReport, schedule: Schedule, screen: &Screen) -> u8 {
    show_as(Asked::Output, report, schedule, screen)
}

/// The same for a command that only sends.
pub(crate) fn show_submitted(report: &RunReport, schedule: Schedule, screen: &Screen) -> u8 {
    show_as(Asked::Sent, report, schedule, screen)
}

/// The same for a command that only fetches.
pub(crate) fn show_collected(report: &RunReport, schedule: Schedule, screen: &Screen) -> u8 {
    show_as(Asked::Collected, report, schedule, screen)
}

/// Shows why a command did nothing, and returns the exit code.
pub(crate) fn show_not_started(why: &NotStarted, schedule: Schedule, screen: &Screen) -> u8 {
    if screen.json {
        let output = match why {
            NotStarted::SourceMissing { output, .. } => output.as_deref(),
            _ => None,
        };
        screen.json(&json!({ "nothing_to_do": why, "run": null, "output": output }));
    }
    screen.say(words::run::not_started(why));
    schedule.code_of_nothing()
}

fn show_as(asked: Asked, report: &RunReport, schedule: Schedule, screen: &Screen) -> u8 {
    screen.finish();
    if screen.json {
        screen.json(&document(report));
    }
    let code = match (&report.summary, &report.nothing_to_do) {
        (Some(summary), _) => {
            let code = summary::show(report, summary, screen);
            if asked != Asked::Sent && !screen.json {
                summary::print_output(report, summary, screen);
            }
            if report.simulated && !screen.json {
                screen.banner();
            }
            if report.outcome == RunOutcome::OverBudget {
                say_held(report, code, screen)
            } else {
                code
            }
        }
        (None, Some(nothing)) => say_nothing_to_do(asked, report, nothing, screen),
        (None, None) => say_standing(asked, report, screen),
    };
    if asked == Asked::Sent && !screen.json {
        screen.data(&report.run);
    }
    if code == explain::DONE && report.nothing_to_do.is_some() && !has_collected(asked, report) {
        schedule.code_of_nothing()
    } else {
        code
    }
}

/// Whether a command that fetches finds what it is to fetch: a collect that is repeated, for one
/// that was killed at its end or by a sensor that looks again, has done its work like the first.
fn has_collected(asked: Asked, report: &RunReport) -> bool {
    asked == Asked::Collected && report.manifest.rows > 0
}

/// A run as data.
fn document(report: &RunReport) -> Value {
    let mut document =
        serde_json::to_value(&report.manifest).expect("a manifest has names for its keys");
    if let Some(nothing) = &report.nothing_to_do {
        document["nothing_to_do"] =
            serde_json::to_value(nothing).expect("a reason has names for its keys");
        if nothing.output_change.is_some() && report.summary.is_none() {
            // The file holds the rows of another run.
            document["output"] = Value::Null;
        }
    }
    document
}

/// Reports that there was nothing to do, and no output to be written. Failed rows of a finished run
/// are no reason for another exit code where only sending was asked for.
fn say_nothing_to_do(
    asked: Asked,
    report: &RunReport,
    nothing: &NothingToDo,
    screen: &Screen,
) -> u8 {
    if asked != Asked::Sent
        && !screen.json
        && let Some(output) = report.output_path()
    {
        screen.data(summary::line_of(output));
    }
    if report.simulated && !screen.json {
        screen.banner();
    }
    match nothing.reason {
        NothingReason::Unchanged => {
            screen.say("--no-reuse sends all rows again, and pays for them again");
        }
        NothingReason::NoFailures => screen.say("nothing to do: every row of the run succeeded"),
        _ => {}
    }
    if nothing.failed > 0 && asked != Asked::Sent {
        explain::PARTLY
    } else {
        explain::DONE
    }
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
fn say_standing(asked: Asked, report: &RunReport, screen: &Screen) -> u8 {
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
        RunOutcome::Unfinished if asked == Asked::Collected && report.nothing_sent => {
            screen.say(format!(
                "nothing of the run has been sent yet: `rowmill run {folder}` (or submit) sends it"
            ));
            explain::NOTHING_SENT
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
            if report.is_in_the_way {
                screen.say(
                    "this run is of the job as it was; the job as it is now is planned when it is \
                     finished: run the same command again",
                );
            }
            if asked == Asked::Sent && !report.is_in_the_way {
                explain::DONE
            } else {
                explain::UNFINISHED
            }
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
