//! Sentences about a run as a whole: resumed, planned again, retried, nothing to do.

use std::path::Path;

use rowmill::engine::{LostAnswers, NotStarted, Notice, OutputChange, RetryCost};

use crate::cli::format::{bytes, duration, plural, usd};

/// A notice in sentences, each for a line of its own; none where there is nothing to say.
pub(crate) fn notice(notice: &Notice<'_>) -> Vec<String> {
    match notice {
        Notice::Resuming { run } => vec![format!("resuming the unfinished run {}", run.display())],
        Notice::PlannedAgain { .. } => vec![
            "the job has changed, and nothing of the run was sent yet: it is planned again"
                .to_owned(),
        ],
        Notice::PassedOver { run, origin } => vec![format!(
            "the unfinished run {} was planned for {origin}, and nothing of it was sent that is \
             billed: it is not resumed",
            run.display()
        )],
        Notice::Abandoned { run, in_flight } => {
            let left = if *in_flight {
                "; what it sent is still billed, and stays reserved in the budget until its results \
                 are known"
            } else {
                ""
            };
            vec![format!(
                "the unfinished run {} is abandoned{left}",
                run.display()
            )]
        }
        Notice::WaitingForLock { locked, owner, .. } => vec![format!(
            "`{}` is being worked on by {}; waiting until it has finished",
            locked.display(),
            super::call::process(*owner)
        )],
        Notice::FinishedFirst { run, what } => {
            let what: Vec<String> = what.iter().map(super::engine::job_change).collect();
            vec![format!(
                "the job has changed since run `{}` was planned ({}); that run is ended first: what it \
                 sent is fetched, and its answers are reused where they still apply",
                run.display(),
                what.join("; ")
            )]
        }
        Notice::Uploaded(done) => {
            let uploaded = (done.files > 0).then(|| {
                let files = plural(done.files, "file", "files");
                format!("uploaded {files} ({})", bytes(done.bytes))
            });
            let known = (done.known > 0).then(|| {
                format!(
                    "{} uploaded before",
                    plural(done.known, "file was", "files were")
                )
            });
            uploaded.into_iter().chain(known).collect()
        }
        Notice::State(note) => vec![super::state::note(note)],
        Notice::NothingUncertain => {
            vec!["no batch is uncertain, so --resubmit-doubtful has no effect".to_owned()]
        }
        Notice::NothingToDo { run, .. } => vec![format!(
            "nothing to do: the job has not changed since the run {} finished",
            run.display()
        )],
        Notice::OutputWrittenAgain { change } => vec![
            match change {
                None => "its output is written again, in its own place, from the saved answers",
                Some(OutputChange::Gone) => {
                    "its output is gone; it is written again from the saved answers"
                }
                Some(OutputChange::Replaced) => {
                    "another run has replaced its output; it is written again from the saved \
                     answers"
                }
            }
            .to_owned(),
        ],
        Notice::OutputGone {
            output,
            run,
            answers,
        } => vec![output_gone(output, run, *answers)],
        Notice::ResultsFetchedAgain { reason } => {
            vec![format!(
                "{reason}: fetching them again, which costs nothing"
            )]
        }
        Notice::ResultsNotFetched { run, reason } => vec![format!(
            "results that the provider may still have could not be fetched: {reason}; `rowmill \
             collect {}` tries again",
            run.display()
        )],
        Notice::ReservationReleased { run, amount } => vec![format!(
            "the {} reserved for the abandoned run {} is released: its batches were sent more than \
             25h ago and have ended; `rowmill collect {1}` fetches what came back, and counts its \
             cost",
            usd(*amount),
            run.display()
        )],
        Notice::RetriesPlanned {
            rows,
            batches,
            cost,
        } => {
            let rows = plural(*rows, "row that failed is", "rows that failed are");
            let batches = plural((*batches).into(), "batch", "batches");
            // A retry that was asked for was announced with its cost.
            match cost {
                Some(_) => Vec::new(),
                None => vec![format!("{rows} sent again in {batches}")],
            }
        }
        Notice::Rescued {
            old_journal,
            settle,
        } => {
            let kept =
                old_journal.map(|path| format!("the old journal is kept as {}", path.display()));
            let search = format!(
                "searching the provider's list for every batch; one that is not found within {} \
                 counts as not created, and `rowmill run` sends it",
                duration(*settle)
            );
            kept.into_iter().chain([search]).collect()
        }
        _ => Vec::new(),
    }
}

/// The output of a job is gone.
fn output_gone(output: &Path, run: &Path, answers: LostAnswers) -> String {
    let (output, run) = (output.display(), run.display());
    match answers {
        LostAnswers::WrittenAgain => format!(
            "the output {output} is gone; it is written again from the saved answers of the run {run}"
        ),
        LostAnswers::Removed => format!(
            "the output {output} is gone, and the run {run} that wrote it was removed: its answers \
             cannot be reused"
        ),
        _ => format!(
            "the output {output} is gone: this plan counts all rows. A run first writes it again from \
             the saved answers of the run {run}, and reuses them"
        ),
    }
}

/// Why a command did nothing.
pub(crate) fn not_started(why: &NotStarted) -> String {
    match why {
        NotStarted::SourceMissing { paths, output, .. } => {
            let output = match output {
                Some(output) => format!("; `{}` stays as it is", output.display()),
                None => String::new(),
            };
            format!(
                "nothing to do: no file matches `{}`{output}",
                paths.join("`, `")
            )
        }
        NotStarted::AlreadyRunning { locked, owner } => format!(
            "skipped: `{}` is being worked on by {}",
            locked.display(),
            super::call::process(owner.as_ref())
        ),
        other => format!("{other:?}"),
    }
}

/// A finished run that has nothing to do has rows that did not succeed.
pub(crate) fn failed_rows(run: &Path, failed: u64) -> String {
    format!(
        "{} of it did not succeed; see `rowmill status {}` and the output",
        plural(failed, "row", "rows"),
        run.display()
    )
}

/// What a retry is and costs, before anything of it is sent.
pub(crate) fn retry_cost(retry: &RetryCost) -> Vec<String> {
    let rows = plural(retry.rows, "row that failed is", "rows that failed are");
    let batches = plural(retry.batches.into(), "batch", "batches");
    let cost = format!(
        "cost of that: expected {}, worst case {}",
        usd(retry.cost.expected),
        usd(retry.cost.worst_case)
    );
    [format!("{rows} to be sent again in {batches}"), cost]
        .into_iter()
        .chain(super::budget::left(&retry.budget))
        .collect()
}
