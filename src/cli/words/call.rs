//! Sentences about calls of the engine that cannot be made with the given arguments.

use std::path::Path;
use std::time::Duration;

use rowmill::engine::{Error, NothingToRetry, SampleConflict};
use rowmill::journal::Owner;
use rowmill::{provider, simulator};

use crate::cli::format::{count, duration, plural};
use crate::cli::summary;

/// The error in a sentence; `None` where it says enough by itself.
pub(crate) fn message(error: &Error) -> Option<String> {
    Some(match error {
        Error::NothingToRetry(nothing) => nothing_to_retry(nothing),
        Error::StillRunning {
            locked,
            owner,
            waited,
        } => still_running(locked, owner.as_ref(), *waited),
        Error::NoRow { key: Some(key) } => format!("no row has the key `{key}`"),
        Error::SampleWith { with } => {
            let (option, why) = match with {
                SampleConflict::KeptPlan => (
                    "--out",
                    "a saved plan contains every request, and a sample renders only some rows",
                ),
                SampleConflict::Calibration => (
                    "--calibrate",
                    "calibration selects rows from all requests, and a sample renders only some \
                     rows",
                ),
            };
            format!("`--sample` cannot be used together with `{option}`: {why}")
        }
        _ => return None,
    })
}

/// What can be done about it; `None` for all other errors.
pub(crate) fn hint(error: &Error) -> Option<String> {
    Some(match error {
        Error::NoRun { .. } => {
            "`rowmill status` lists the runs; name a run's folder, a job file, or a run's id. An id \
             is looked up in `.rowmill` of the working directory: elsewhere, add `--state DIR` (it \
             is `.rowmill` beside the job file)"
                .to_owned()
        }
        Error::JobHasNoRun { .. } => {
            "start one with `rowmill run JOB`, or name another folder with --state".to_owned()
        }
        Error::PruneWithoutAge { job: Some(_) } => {
            "add --older-than, such as `--older-than 90d`, or name runs instead of the job".to_owned()
        }
        Error::PruneWithoutAge { job: None } => {
            "add --older-than, such as `--older-than 90d`, or name the runs".to_owned()
        }
        Error::Pruned { .. } => {
            "`rowmill cost --by run` still shows what it cost; `rowmill status` lists the runs that \
             exist"
                .to_owned()
        }
        Error::NotSimulated { .. } => {
            "resume it without --simulate, or start a new run with the job file and --simulate"
                .to_owned()
        }
        Error::NotFinished { run, abandoned } => {
            let verb = if *abandoned { "collect" } else { "run" };
            format!("`rowmill {verb} {}` finishes it", run.display())
        }
        Error::NothingToRetry(nothing) => {
            let ways = summary::ways_out(&nothing.run, &nothing.failures);
            return (!ways.is_empty()).then(|| ways.join("\n  "));
        }
        Error::NoCredential {
            base_url: Some(url),
        } => format!(
            "set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) for {url}; `rowmill sim` accepts any \
             text"
        ),
        Error::NoCredential { base_url: None } => "set ANTHROPIC_API_KEY (or \
             ANTHROPIC_AUTH_TOKEN), or try the job for free with --simulate"
            .to_owned(),
        Error::Connect(error) => connect_hint(error).to_owned(),
        Error::Simulator(simulator::Error::Locked { .. }) => {
            "wait until the other run on the simulator has finished, or use another --state"
                .to_owned()
        }
        Error::Simulator(simulator::Error::Folder { .. }) => {
            "choose another folder with --state".to_owned()
        }
        Error::NoRow { key: Some(_) } => "several key columns are joined by a comma".to_owned(),
        Error::NoRow { key: None } => {
            "look at `source.path`, `source.where` and `source.limit`".to_owned()
        }
        Error::SampleWith { .. } => "leave out one of the two".to_owned(),
        _ => return None,
    })
}

/// That another process has not finished in time.
fn still_running(locked: &Path, owner: Option<&Owner>, waited: Duration) -> String {
    format!(
        "`{}` is still being worked on by {}, after {}",
        locked.display(),
        process(owner),
        duration(waited)
    )
}

/// The process that holds a lock.
pub(crate) fn process(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "another process".to_owned(), Owner::to_string)
}

fn connect_hint(error: &provider::Error) -> &'static str {
    match error {
        provider::Error::PlainHttp { .. } => "write ANTHROPIC_BASE_URL with `https://`",
        provider::Error::BaseUrl { .. } => "correct ANTHROPIC_BASE_URL",
        provider::Error::HeaderLine { .. } => {
            "write ANTHROPIC_CUSTOM_HEADERS as lines of `Name: value`"
        }
        _ => {
            "see the environment variables ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN and \
             ANTHROPIC_CUSTOM_HEADERS"
        }
    }
}

/// That no row failed in such a way, and which rows did fail.
fn nothing_to_retry(nothing: &NothingToRetry) -> String {
    let NothingToRetry {
        classes, failures, ..
    } = nothing;
    let asked: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
    let mut message = format!(
        "no row of the run has the class {}: nothing was sent again",
        asked.join(" or ")
    );
    let there: Vec<String> = failures
        .by_class
        .iter()
        .map(|(class, n)| format!("{} {class}", count(*n)))
        .collect();
    message += &match (there.as_slice(), failures.for_good) {
        ([], 0) if failures.without_room > 0 => {
            format!(
                "\n  {} truncated and cannot get a higher limit",
                plural(failures.without_room, "row was", "rows were")
            )
        }
        ([], 0) => "\n  sending its rows again would not help".to_owned(),
        ([], n) => format!(
            "\n  {} permanently: sending the same request again does not help",
            plural(n, "row failed", "rows failed")
        ),
        (there, _) => format!("\n  classes of failed rows: {}", there.join(", ")),
    };
    if let Some(first) = summary::first_failure(failures) {
        message += &format!("\n  {first}");
    }
    message
}
