//! Sentences about runs, their journals, results and outputs.

use rowmill::join::LineCounts;
use rowmill::journal::{
    BatchStateKind, CanaryLimit, CheckpointKind, DoubtReason, Error, ExceededLimit, LineFault,
    LossReason, NextAction, RequestError, RunNote, Stage, Unproven, Verdict, VerdictReason,
};
use rowmill::output::OutputWarning;

use super::super::format::{count, duration, plural};

/// What a person should know about a run.
pub(crate) fn run_note(note: &RunNote) -> String {
    match note {
        RunNote::TornLine { line, bytes } => format!(
            "line {line} of the journal ended early after a crash ({bytes} bytes) and is left out; \
             rowmill looks up what it would have recorded"
        ),
        RunNote::Moved { from } => {
            format!("the run was planned in `{}` and moved here", from.display())
        }
        RunNote::Copied { from } => format!(
            "this run is a copy of `{}`, which still exists; resuming both would send and bill \
             everything twice",
            from.display()
        ),
        RunNote::MayBeSent { batches, reasons } => may_be_sent(batches, reasons),
        RunNote::Unchecked { error } => error.clone(),
        RunNote::UnreadableManifest { error } => {
            format!("{error}; the next command writes it again")
        }
        RunNote::UncleanResults { batch, counts } => unclean(*batch, counts),
        RunNote::LostResults { batch, reason } => {
            format!("the results of batch {batch} are lost: {}", loss(reason))
        }
        RunNote::ResultsExpire {
            batch,
            seconds_left: 0,
        } => format!(
            "the results of batch {batch} are older than 29 days; collect them now if the provider \
             still has them"
        ),
        RunNote::ResultsExpire {
            batch,
            seconds_left,
        } => format!(
            "the results of batch {batch} expire in {}: collect them now",
            duration(std::time::Duration::from_secs(*seconds_left))
        ),
        RunNote::NothingToSend => "no rows to send".to_owned(),
        RunNote::UnsentBatches { batches, requests } => format!(
            "{} with {} not sent yet",
            plural(*batches, "batch", "batches"),
            plural(*requests, "request", "requests")
        ),
        RunNote::EmptyAnswers { empty, succeeded } => {
            format!(
                "{} of {} answers are empty",
                count(*empty),
                count(*succeeded)
            )
        }
        RunNote::UnknownCost { requests } => format!(
            "the cost of {} is unknown; it is not in `cost_usd`",
            plural(*requests, "request", "requests")
        ),
        RunNote::OutputSetAside { instead_of } => format!(
            "the output is not at {}, where a better one exists",
            instead_of.display()
        ),
        RunNote::Other(text) => text.clone(),
        _ => format!("{note:?}"),
    }
}

fn may_be_sent(batches: &[u32], reasons: &[DoubtReason]) -> String {
    let numbers: Vec<String> = batches.iter().map(u32::to_string).collect();
    let reasons: Vec<String> = reasons.iter().map(doubt).collect();
    format!(
        "{} {} may or may not have been created: {}; `rowmill run` searches the provider's list, \
         and nothing is sent twice",
        if batches.len() == 1 {
            "batch"
        } else {
            "batches"
        },
        numbers.join(", "),
        reasons.join("; ")
    )
}

/// Why it is unknown whether a batch was created.
pub(crate) fn doubt(reason: &DoubtReason) -> String {
    match reason {
        DoubtReason::NoCertainResult { error } => error.clone(),
        DoubtReason::ProcessEnded => "rowmill ended while the batch was being sent".to_owned(),
        DoubtReason::Listed { id, unproven } => format!(
            "{id} has its size, was created after the run was planned, and {}",
            match unproven {
                Unproven::NotEnded => "has not ended",
                Unproven::Unreadable => "its results cannot be read",
            }
        ),
        DoubtReason::ResultsOnDisk => {
            "its results are on disk, and the journal has no record that it was sent".to_owned()
        }
        DoubtReason::Billed => {
            "the ledger has its bill, and the journal has no record that it was sent".to_owned()
        }
        DoubtReason::Reserved => {
            "money is reserved for it, and the journal has no record whether it was sent".to_owned()
        }
        DoubtReason::PartOfSplitBatch => "it is part of a batch that was too large, and neither \
             the journal nor the ledger has a record whether it was sent"
            .to_owned(),
        DoubtReason::ManifestCountsMore => {
            "the manifest of the run counts more sent batches than its journal".to_owned()
        }
        DoubtReason::JournalLost => "the journal of the run was lost".to_owned(),
        DoubtReason::Other(text) => text.clone(),
        _ => format!("{reason:?}"),
    }
}

/// Why results can never be fetched.
pub(crate) fn loss(reason: &LossReason) -> String {
    match reason {
        LossReason::Archived { at } => {
            format!("the provider keeps results for 29 days, and deleted these at {at}")
        }
        LossReason::ResultsNotFound => {
            "the provider keeps results for 29 days; they are older, and the provider cannot find \
             them"
                .to_owned()
        }
        LossReason::BatchNotFound => {
            "the provider cannot find the batch, and its 29 days are over".to_owned()
        }
        LossReason::Other(text) => text.clone(),
        _ => format!("{reason:?}"),
    }
}

/// How saved results differ from one line for each request.
pub(crate) fn unclean(batch: u32, counts: &LineCounts) -> String {
    let LineCounts {
        duplicates,
        foreign,
        missing,
        torn,
        unreadable,
        too_long,
        ..
    } = counts;
    let too_long = if *too_long > 0 {
        format!(", {} too long to be read", count(*too_long))
    } else {
        String::new()
    };
    format!(
        "the results of batch {batch} are incomplete or damaged: {} missing, {} repeated, {} of \
         other requests, {} cut off, {} unreadable{too_long}; they are saved as received",
        count(*missing),
        count(*duplicates),
        count(*foreign),
        count(*torn),
        count(*unreadable)
    )
}

/// What to do next with a run; `None` where nothing is left to do.
pub(crate) fn next_action(action: &NextAction) -> Option<String> {
    Some(match action {
        NextAction::Nothing => return None,
        NextAction::Run { run } => format!("`rowmill run {}` sends the rest", run.display()),
        NextAction::ResolveDoubt { run } => format!(
            "`rowmill run {}` finds out whether the uncertain batch was created",
            run.display()
        ),
        NextAction::Collect {
            run,
            abandoned: false,
        } => format!("`rowmill collect {}`", run.display()),
        NextAction::Collect {
            run,
            abandoned: true,
        } => format!(
            "`rowmill collect {}` fetches the results of the abandoned run",
            run.display()
        ),
        NextAction::Decide { run } => format!(
            "check the first results; `rowmill run {run} --ignore-canary` sends the rest, `rowmill \
             cancel {run}` cancels it",
            run = run.display()
        ),
        NextAction::ReviewFailures { run } => format!(
            "check the failures; lower `output.min_success` or retry, then `rowmill collect {}`",
            run.display()
        ),
        NextAction::Other(text) if text.starts_with("none") => return None,
        NextAction::Other(text) => text.clone(),
        _ => format!("{action:?}"),
    })
}

/// That a checkpoint was judged, and the rest follows.
pub(crate) fn judged(kind: CheckpointKind, verdict: Verdict, reason: &VerdictReason) -> String {
    let batch = match kind {
        CheckpointKind::Prime => "the cache warm-up request",
        CheckpointKind::Canary { .. } => "the canary",
    };
    let why = verdict_reason(reason);
    match verdict {
        Verdict::Passed => format!("{batch} has ended, the rest follows: {why}"),
        _ => format!("{batch}: {why}"),
    }
}

/// Why a checkpoint was judged as it was; a line for each thing that was found.
pub(crate) fn verdict_reason(reason: &VerdictReason) -> String {
    match reason {
        VerdictReason::Overruled => "overruled: the rest is sent, as requested".to_owned(),
        VerdictReason::NotEnded { waited_seconds } => format!(
            "it has not ended after {}, so the rest is sent without it",
            duration(std::time::Duration::from_secs(*waited_seconds))
        ),
        VerdictReason::JournalLost => "the journal of the run was lost".to_owned(),
        VerdictReason::LaterBatchSent => {
            "a later batch may have been sent, although the journal has no record of it".to_owned()
        }
        VerdictReason::NoResult => "it has no result, so nothing is cached".to_owned(),
        VerdictReason::RequestRefused(error) => request_error(error),
        VerdictReason::Canceled => "it was canceled".to_owned(),
        VerdictReason::ProviderFailed(error) => format!(
            "it failed on the provider's side, so nothing is cached: {}",
            request_error(error)
        ),
        VerdictReason::Cached {
            written_tokens: 0,
            read_tokens: 0,
        } => {
            "it wrote nothing to the cache: the marked prefix may be shorter than the model caches"
                .to_owned()
        }
        VerdictReason::Cached {
            written_tokens: 0,
            read_tokens,
        } => format!("its {} tokens were already cached", count(*read_tokens)),
        VerdictReason::Cached { written_tokens, .. } => {
            format!("it wrote {} tokens to the cache", count(*written_tokens))
        }
        VerdictReason::WithinLimits {
            rows,
            succeeded,
            empty,
        } => {
            let empty = if *empty > 0 {
                format!(", {} of them with an empty answer", count(*empty))
            } else {
                String::new()
            };
            format!(
                "{} of {} rows succeeded{empty}, within the limits",
                count(*succeeded),
                count(*rows)
            )
        }
        VerdictReason::Unanswered { rows, by_status } => {
            let statuses: Vec<String> = by_status
                .iter()
                .map(|(status, n)| format!("{} {status}", count(*n)))
                .collect();
            format!(
                "none of its {} rows was answered ({})",
                count(*rows),
                statuses.join(", ")
            )
        }
        VerdictReason::OverLimits {
            rows,
            limits,
            first_error,
        } => {
            let mut lines: Vec<String> =
                limits.iter().map(|limit| exceeded(limit, *rows)).collect();
            lines.extend(
                first_error
                    .as_ref()
                    .map(|error| format!("the first error: {}", request_error(error))),
            );
            lines.join("\n")
        }
        VerdictReason::Other(text) => text.clone(),
        _ => format!("{reason:?}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of rows for a person")]
fn exceeded(exceeded: &ExceededLimit, of: u64) -> String {
    let (what, key) = match exceeded.limit {
        CanaryLimit::Error => ("failed", "canary.max_error"),
        CanaryLimit::Truncated => ("were truncated", "canary.max_truncated"),
        CanaryLimit::Refused => ("were refused by the model", "canary.max_refused"),
        CanaryLimit::Invalid => ("do not match the schema", "canary.max_invalid"),
        CanaryLimit::Empty => ("have an empty answer", "canary.max_empty"),
    };
    format!(
        "{} of {} {what}: {}, and `{key}` is {}",
        count(exceeded.rows),
        count(of),
        percent(exceeded.rows as f64 / of.max(1) as f64),
        percent(exceeded.max)
    )
}

/// A share from 0 to 1: `12.5%`.
fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The error of one request, in the provider's words.
fn request_error(error: &RequestError) -> String {
    format!(
        "`{}`: {}",
        error.error_type.as_deref().unwrap_or("error"),
        error.message.as_deref().unwrap_or("without a message")
    )
}

/// Where a batch stands: `in_flight` is "in flight".
pub(crate) fn batch_state(state: BatchStateKind) -> String {
    state.as_str().replace('_', " ")
}

/// Where a run stands: `held_back` is "held back".
pub(crate) fn stage(stage: Stage) -> String {
    stage.as_str().replace('_', " ")
}

/// What an output cannot hold, or what its readers may take for something else.
pub(crate) fn output_warning(warning: &OutputWarning) -> String {
    match warning {
        OutputWarning::PlainDuration { column } => format!(
            "column `{column}` is a duration, which Parquet stores as a plain integer: only \
             readers that know Arrow see the unit"
        ),
        OutputWarning::LostMetadata { format, keys } => {
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            format!(
                "{format} keeps no metadata of the input's files: {}",
                keys.join(", ")
            )
        }
        OutputWarning::SameButForCase { first, second } => format!(
            "the input columns `{first}` and `{second}` differ only in letter case; DuckDB, Spark, \
             Snowflake, BigQuery and other readers of the output treat them as one name"
        ),
        _ => format!("{warning:?}"),
    }
}

/// What a person can do about a damaged run; `None` where the error says it all.
pub(crate) fn repair(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Line {
            source: LineFault::Version { .. },
            ..
        }
        | Error::Newer { .. } => "use the version of rowmill that wrote the run, or a newer one",
        Error::Line {
            source: LineFault::OtherRun { .. },
            ..
        } => "restore the run's own journal: this one belongs to another run",
        Error::Line { .. } | Error::Impossible { .. } => {
            "nothing was sent or changed; restore the file from a copy, or remove by hand the \
             lines that do not belong, after comparing them with the batches the provider lists"
        }
        Error::Damaged { .. } | Error::Contradiction { .. } | Error::NotARun { .. } => {
            "nothing was sent or changed; restore the file from a copy, or move the run's folder \
             away to plan again (what it has sent is then billed again)"
        }
        Error::Broken { .. } => {
            "free space on the disk or repair it, then run the same command again: what was sent \
             is looked up"
        }
        Error::Io { .. }
        | Error::NoRun { .. }
        | Error::Exists { .. }
        | Error::Locked { .. }
        | Error::JobLocked { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_a_canary_that_exceeds_its_limits() {
        let reason = VerdictReason::OverLimits {
            rows: 20,
            limits: vec![
                ExceededLimit {
                    limit: CanaryLimit::Error,
                    rows: 5,
                    max: 0.1,
                },
                ExceededLimit {
                    limit: CanaryLimit::Empty,
                    rows: 20,
                    max: 0.005,
                },
            ],
            first_error: Some(RequestError {
                error_type: Some("api_error".to_owned()),
                message: Some("words".to_owned()),
            }),
        };
        assert_eq!(
            verdict_reason(&reason),
            "5 of 20 failed: 25%, and `canary.max_error` is 10%\n20 of 20 have an empty answer: \
             100%, and `canary.max_empty` is 0.5%\nthe first error: `api_error`: words"
        );
    }

    #[test]
    fn words_each_limit_of_the_canary() {
        let exceeds = |limit, rows, max| exceeded(&ExceededLimit { limit, rows, max }, rows);
        assert_eq!(
            exceeds(CanaryLimit::Refused, 10, 0.05),
            "10 of 10 were refused by the model: 100%, and `canary.max_refused` is 5%"
        );
        assert_eq!(
            exceeds(CanaryLimit::Truncated, 12, 0.05),
            "12 of 12 were truncated: 100%, and `canary.max_truncated` is 5%"
        );
        assert_eq!(
            exceeds(CanaryLimit::Empty, 4, 0.5),
            "4 of 4 have an empty answer: 100%, and `canary.max_empty` is 50%"
        );
    }

    #[test]
    fn words_why_the_rest_follows_without_the_warm_up() {
        let late = VerdictReason::NotEnded {
            waited_seconds: 300,
        };
        let said = verdict_reason(&late);
        assert!(said.ends_with(", so the rest is sent without it"), "{said}");
    }

    #[test]
    fn counts_result_lines_that_are_too_long() {
        let counts = LineCounts {
            lines: 2,
            missing: 1,
            too_long: 1,
            ..LineCounts::default()
        };
        let said = unclean(7, &counts);
        assert!(said.contains("batch 7"), "{said}");
        assert!(
            said.contains("1 missing, 0 repeated") && said.contains(", 1 too long to be read;"),
            "{said}"
        );
    }

    #[test]
    fn words_what_the_warm_up_request_did_to_the_cache() {
        let cached = |written_tokens, read_tokens| {
            verdict_reason(&VerdictReason::Cached {
                written_tokens,
                read_tokens,
            })
        };
        assert_eq!(cached(5_000, 0), "it wrote 5,000 tokens to the cache");
        assert_eq!(cached(0, 5_000), "its 5,000 tokens were already cached");
        assert!(cached(0, 0).starts_with("it wrote nothing to the cache"));
    }
}
