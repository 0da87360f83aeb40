//! Sentences about the steps of a run: notices, notes, warnings, and what stops a run.

use std::time::Duration;

use jiff::Zoned;
use rowmill::engine::StoppedAtCheckpoint;
use rowmill::engine::{Action, JobChange, Kept, LongPrompts, RunStanding, Warning};
use rowmill::engine::{CacheVerdict, SharedReport};
use rowmill::engine::{Causes, FaultCount};
use rowmill::engine::{Notice, WaitReason};
use rowmill::engine::{StepNote, UncertainCause};
use rowmill::estimate::CacheSplit;
use rowmill::join::LineCounts;
use rowmill::journal::CheckpointKind;
use rowmill::journal::Unproven;
use rowmill::ledger::Shortage;
use rowmill::provider::Counts;

use super::super::format::{bytes, count, duration, plural, usd};
use super::super::layout::{shown, visible};

/// What a step reports. What is only progress is a fragment, the rest a sentence.
pub(crate) fn notice(notice: &Notice<'_>) -> String {
    match notice {
        Notice::Planning { rows, of: Some(of) } => {
            format!("planning: {} of {} rows", count(*rows), count(*of))
        }
        Notice::Planning { rows, of: None } => format!("planning: {} rows", count(*rows)),
        Notice::Counting { rows, of } => {
            format!("counting: {} of {} sample rows", count(*rows), count(*of))
        }
        Notice::Submitting {
            batch,
            of,
            requests,
            bytes: n,
        } => format!(
            "sending batch {batch} of {of}: {}, {}",
            plural(*requests, "request", "requests"),
            bytes(*n)
        ),
        Notice::Accepted { batch, id } => {
            format!("batch {batch} accepted as {}", shown(&id.to_string()))
        }
        Notice::Waiting {
            in_flight,
            ended,
            of,
            rows_done,
            rows,
            elapsed,
            expires,
            next,
            reasons,
        } => {
            let flight = flight(*in_flight, *elapsed, *expires);
            let reasons: String = reasons
                .iter()
                .map(|reason| format!("; {}", wait_reason(reason)))
                .collect();
            format!(
                "waiting: {ended} of {} ended, {} of {} done{flight}{reasons}; next check in {}",
                plural((*of).into(), "batch", "batches"),
                count(*rows_done),
                plural(*rows, "row", "rows"),
                duration(*next)
            )
        }
        Notice::Retrying {
            error,
            since,
            after,
        } => format!(
            "{error}; failing for {}, trying again in {}",
            duration(*since),
            duration(*after)
        ),
        Notice::Slow { call, waited } => {
            format!("{call}: no answer yet after {}", duration(*waited))
        }
        Notice::HeldBack { batch, shortage } => held_back(*batch, shortage),
        Notice::Ended { batch, counts } => {
            format!("batch {batch} ended: {}", requests_by_result(counts))
        }
        Notice::Collected { done, of, .. } => format!(
            "results of {done} of {} saved",
            plural((*of).into(), "batch", "batches")
        ),
        Notice::Exporting { rows, of } => {
            format!("writing: {} of {} rows", count(*rows), count(*of))
        }
        Notice::Note(note) => self::note(note),
        other => format!("{other:?}"),
    }
}

/// What is in flight, for how long, and until when.
fn flight(in_flight: u32, elapsed: Option<Duration>, expires: Option<Duration>) -> String {
    let (Some(elapsed), Some(expires)) = (elapsed, expires) else {
        return String::new();
    };
    let oldest = if in_flight == 1 { "it" } else { "the oldest" };
    format!(
        ", {in_flight} in flight for {}, {oldest} expires in {}",
        duration(elapsed),
        duration(expires)
    )
}

/// What a terminal shows while a run waits, or a call fails again and again: the state, what is
/// waited for, and when the provider is asked next. `None` for any other notice.
pub(crate) fn on_terminal(notice: &Notice<'_>, now: &Zoned) -> Option<Vec<String>> {
    const SAFE: &str =
        "Ctrl-C is safe: submitted batches keep running, and the same command resumes";
    match notice {
        Notice::Waiting {
            in_flight,
            ended,
            of,
            rows_done,
            rows,
            elapsed,
            expires,
            next,
            reasons,
        } => {
            let state = format!(
                "{ended} of {} ended, {} of {} done{}",
                plural((*of).into(), "batch", "batches"),
                count(*rows_done),
                plural(*rows, "row", "rows"),
                flight(*in_flight, *elapsed, *expires)
            );
            let next = format!("next check at {}; {SAFE}", time_after(now, *next));
            let lines = std::iter::once(state).chain(reasons.iter().map(wait_reason));
            Some(lines.chain([next]).collect())
        }
        Notice::Retrying {
            error,
            since,
            after,
        } => {
            let what = match error.status {
                Some(_) => "the provider has answered with errors",
                None => "the provider cannot be reached",
            };
            let begun = now.checked_sub(*since).unwrap_or_else(|_| now.clone());
            Some(vec![
                format!(
                    "{what} since {} ({}): {error}",
                    clock_time(&begun, now),
                    duration(*since)
                ),
                format!("next try at {}; {SAFE}", time_after(now, *after)),
            ])
        }
        _ => None,
    }
}

/// The time of day after a while, with the date where that is another day.
fn time_after(now: &Zoned, after: Duration) -> String {
    now.checked_add(after)
        .map_or_else(|_| "no time".to_owned(), |at| clock_time(&at, now))
}

fn clock_time(at: &Zoned, now: &Zoned) -> String {
    let format = if at.date() == now.date() {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    at.strftime(format).to_string()
}

fn held_back(batch: u32, shortage: &Shortage) -> String {
    format!(
        "batch {batch} waits for the budget: it may cost {} in the worst case, and {} of {} is \
         left ({} spent, {} reserved for batches in flight)",
        usd(shortage.asked),
        usd(shortage.left()),
        usd(shortage.limit),
        usd(shortage.spent),
        usd(shortage.reserved)
    )
}

/// A batch's requests by result, as the provider counts them.
fn requests_by_result(counts: &Counts) -> String {
    let kinds = [
        (counts.succeeded, "succeeded"),
        (counts.errored, "errored"),
        (counts.canceled, "canceled"),
        (counts.expired, "expired"),
        (counts.processing, "not counted yet"),
    ];
    let parts: Vec<String> = kinds
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, kind)| format!("{} {kind}", count(*n)))
        .collect();
    if parts.is_empty() {
        "no requests".to_owned()
    } else {
        parts.join(", ")
    }
}

/// What a run waits for, and until when.
fn wait_reason(reason: &WaitReason) -> String {
    const UNCERTAIN: &str = "may or may not have been created";
    match reason {
        WaitReason::Uncertain {
            batch,
            left: Some(left),
        } if left.is_zero() => {
            format!("batch {batch} {UNCERTAIN}: the next check decides")
        }
        WaitReason::Uncertain {
            batch,
            left: Some(left),
        } => format!(
            "batch {batch} {UNCERTAIN}: looking for it for {} more",
            duration(*left)
        ),
        WaitReason::Uncertain { batch, left: None } => {
            format!("batch {batch} {UNCERTAIN}: waiting for a possible match to end (within 24h)")
        }
        WaitReason::Refused {
            batch,
            status,
            since,
            after,
        } => {
            let why = match status {
                Some(429) => "the provider's rate limit has been reached",
                Some(529) => "the provider has been overloaded",
                Some(_) => "it has been refused",
                None => "the provider could not be reached",
            };
            format!(
                "batch {batch} is sent again in {} ({why} for {})",
                duration(*after),
                duration(*since)
            )
        }
        WaitReason::NotListed { since } => format!(
            "the provider's list of batches cannot be fetched, for {}",
            duration(*since)
        ),
        WaitReason::QueueFull {
            batch,
            queued,
            limit,
        } => format!(
            "batch {batch} is sent when others end ({} requests in flight, \
             `batch.max_queued_requests` is {})",
            count(*queued),
            count(*limit)
        ),
        WaitReason::TooUncertain { calls } => format!(
            "sending is paused until it is known whether one of the last {calls} batches was \
             created: none of their create calls was answered"
        ),
        WaitReason::Checkpoint {
            batch,
            kind: CheckpointKind::Prime,
            left,
        } => {
            let left = left.map_or_else(String::new, |left| format!(", or in {}", duration(left)));
            format!("the rest is sent when batch {batch} has written the cache{left}")
        }
        WaitReason::Checkpoint { batch, .. } => {
            format!("the rest is sent when batch {batch}, the canary, has ended (within 24h)")
        }
        WaitReason::Budget { batch } => {
            format!("batch {batch} is sent once what is in flight is billed")
        }
        WaitReason::Results { batch, after } => format!(
            "the results of batch {batch} are fetched again in {}",
            duration(*after)
        ),
        other => format!("{other:?}"),
    }
}

/// Something a person should know of a run.
pub(crate) fn note(note: &StepNote) -> String {
    match note {
        StepNote::RunFiles { found } => super::journal::run_note(found),
        StepNote::SendingStopped => {
            "sending stopped; batches that have ended are fetched first".to_owned()
        }
        StepNote::Uncertain {
            batch,
            cause,
            settle,
        } => {
            let cause = match cause {
                UncertainCause::ProcessEnded => "rowmill ended while it was sent".to_owned(),
                UncertainCause::Call { error } => error.to_string(),
                other => format!("{other:?}"),
            };
            format!(
                "batch {batch} may or may not have been created ({cause}); looking for it for up \
                 to {}, while the other batches are sent",
                duration(*settle)
            )
        }
        StepNote::PossibleMatch { batch, id, why } => format!(
            "{id} may be batch {batch}: it has the same size and {}; batch {batch} is not sent \
             again until that is known",
            unproven(*why)
        ),
        StepNote::Found { batch, id } => {
            format!("batch {batch} was found at the provider: it is {id}")
        }
        StepNote::SentAgain {
            batch,
            by_person: true,
        } => format!(
            "batch {batch} is sent again, as requested; if it was created before, it is billed \
             twice"
        ),
        StepNote::SentAgain { batch, .. } => format!(
            "batch {batch} was not created: the provider lists no batch of its size; it is sent \
             again"
        ),
        StepNote::PossiblyUnrecorded { batch, id, why } => format!(
            "{id} has the size of batch {batch}, was created after the run was planned, and {}: \
             batch {batch} may have been sent before, and waits until that is known",
            unproven(*why)
        ),
        StepNote::FoundUnrecorded { batch, id } => format!(
            "batch {batch} was sent before, although the journal has no record of it: it is {id}"
        ),
        StepNote::SavedResultsUsed { batch } => format!(
            "batch {batch} is not in the provider's list; its saved results are complete, and are \
             used"
        ),
        StepNote::NotAccepted {
            batch,
            error,
            after,
        } => format!(
            "batch {batch} was not accepted ({error}); trying again in {}",
            duration(*after)
        ),
        StepNote::SplitForBudget {
            batch,
            requests,
            of,
            worst_case,
            left,
            ..
        } => format!(
            "batch {batch} may cost {} in the worst case, and {} of the budget is left: the first \
             {} of its {} requests are sent now, the rest once they are billed",
            usd(*worst_case),
            usd(*left),
            count((*requests).into()),
            count((*of).into())
        ),
        StepNote::SplitUp { batch, error, into } => format!(
            "batch {batch} is too large for the provider ({}); its requests are sent in {}",
            error.message,
            numbered("batch", "batches", into)
        ),
        StepNote::CheckpointWaits { .. } | StepNote::CheckpointDecided { .. } => {
            checkpoint_note(note)
        }
        other => results_note(other),
    }
}

fn unproven(why: Unproven) -> &'static str {
    match why {
        Unproven::NotEnded => "has not ended",
        Unproven::Unreadable => "its results cannot be read",
    }
}

/// A note on a batch that goes first.
fn checkpoint_note(note: &StepNote) -> String {
    match note {
        StepNote::CheckpointWaits {
            batch,
            kind,
            sent_ago,
            limit,
        } => {
            let ago =
                sent_ago.map_or_else(String::new, |ago| format!(" (sent {} ago)", duration(ago)));
            match kind {
                CheckpointKind::Prime => format!(
                    "batch {batch}{ago} goes first to warm up the cache, so that the others read \
                     the shared prefix from it; they are sent when it has ended, or {} after it \
                     was accepted",
                    duration(*limit)
                ),
                CheckpointKind::Canary { .. } => format!(
                    "batch {batch}{ago} is the canary; the others are sent when its results are \
                     within the limits"
                ),
            }
        }
        StepNote::CheckpointDecided {
            kind,
            verdict,
            reason,
            ..
        } => super::journal::judged(*kind, *verdict, reason),
        other => format!("{other:?}"),
    }
}

/// A note on results, and on what else is left of a run that was sent.
fn results_note(note: &StepNote) -> String {
    match note {
        StepNote::NotFound { batch, id, results } => format!(
            "{}batch {batch} ({id}) cannot be found for now; the provider accepted it, so rowmill \
             keeps trying",
            if *results { "the results of " } else { "" }
        ),
        StepNote::ResultsStillThere { batch } => format!(
            "the provider still has the results of batch {batch}: fetching them again, which costs \
             nothing"
        ),
        StepNote::ResultsRefused { batch, error } => format!(
            "the results of batch {batch} cannot be fetched now ({error}); the other batches \
             continue"
        ),
        StepNote::ResultsIncomplete { batch } => format!(
            "no more results of batch {batch} could be fetched now; the next command tries again"
        ),
        StepNote::DownloadShort {
            batch,
            error,
            lines,
            expected,
            saved_lines,
            is_slower,
        } => {
            let problem = match error {
                Some(error) => format!("broke off ({error})"),
                None => format!(
                    "has {} for {}",
                    plural(*lines, "line", "lines"),
                    plural(*expected, "request", "requests")
                ),
            };
            format!(
                "the download of the results of batch {batch} {problem}; {} saved so far; fetching \
                 again{}",
                plural(*saved_lines, "line", "lines"),
                if *is_slower {
                    ", less often from now on"
                } else {
                    ""
                }
            )
        }
        StepNote::ResultsIrregular { batch, lines } => results_irregular(*batch, lines),
        StepNote::ResultsLost {
            batch,
            reason,
            rows,
        } => {
            let rows = match rows {
                None => "its rows are".to_owned(),
                Some(1) => "1 of its rows is".to_owned(),
                Some(rows) => format!("{} of its rows are", count(*rows)),
            };
            format!(
                "the results of batch {batch} are lost: {}; {rows} `missing` in the output",
                super::journal::loss(reason)
            )
        }
        other => format!("{other:?}"),
    }
}

fn results_irregular(batch: u32, lines: &LineCounts) -> String {
    let kinds = [
        (lines.missing, "missing"),
        (lines.duplicates, "repeated"),
        (lines.foreign, "of other requests"),
        (lines.torn, "torn"),
        (lines.unreadable, "unreadable"),
        (lines.too_long, "too long to read"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, kind)| format!("{} {kind}", count(*n)))
        .collect();
    format!(
        "the results of batch {batch} have irregular lines ({}); they are saved as received",
        kinds.join(", ")
    )
}

/// `batch 3`, `batches 3 and 4`, `batches 3, 4 and 9`.
fn numbered(one: &str, many: &str, numbers: &[u32]) -> String {
    let texts: Vec<String> = numbers.iter().map(u32::to_string).collect();
    match texts.as_slice() {
        [] => many.to_owned(),
        [number] => format!("{one} {number}"),
        [numbers @ .., last] => format!("{many} {} and {last}", numbers.join(", ")),
    }
}

/// How far a run is.
pub(crate) fn standing(standing: &RunStanding) -> String {
    let parts: Vec<String> = standing
        .by_state
        .iter()
        .map(|(state, n)| format!("{} {}", count(*n), super::journal::batch_state(*state)))
        .collect();
    format!(
        "run {}: {} of {}; all of it is recorded in {}",
        standing.run,
        parts.join(", "),
        plural(standing.batches.into(), "batch", "batches"),
        standing.folder.display()
    )
}

/// What of the work is kept when a call to the provider stopped it.
pub(crate) fn kept(kept: &Kept, action: &Action) -> String {
    match (kept, action) {
        (Kept::Run(run), _) => standing(run),
        (Kept::Files { files: 1 }, _) => "no request was sent; 1 uploaded file is kept".to_owned(),
        (Kept::Files { files }, _) if *files > 0 => format!(
            "no request was sent; {} uploaded files are kept",
            count(*files)
        ),
        (_, Action::ListModels) => "the model table is unchanged".to_owned(),
        _ => "nothing was sent".to_owned(),
    }
}

/// What of a job is no longer what its run was planned from.
pub(crate) fn job_change(change: &JobChange) -> String {
    match change {
        JobChange::Job { path } => {
            format!(
                "the job file `{}`, or the options given with it",
                path.display()
            )
        }
        JobChange::File { path } => format!("the file `{}`", path.display()),
        JobChange::Source => "the source".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why the rest of a run is not sent.
pub(crate) fn stopped(stopped: &StoppedAtCheckpoint) -> &'static str {
    match stopped.kind {
        CheckpointKind::Prime => {
            "the cache warm-up request failed with an error that every other request would have too"
        }
        CheckpointKind::Canary { .. } => "too many rows of the canary failed",
    }
}

/// Rows that cannot be rendered, a line for each cause.
pub(crate) fn causes(causes: &Causes) -> Vec<String> {
    let mut lines: Vec<String> = causes
        .list
        .iter()
        .map(|cause| match cause.rows.count {
            1 => format!("{}: {}", named_rows(&cause.rows), visible(&cause.why)),
            rows => format!(
                "{} rows, {}: {}",
                count(rows),
                named_rows(&cause.rows),
                visible(&cause.why)
            ),
        })
        .collect();
    if causes.more.count > 0 {
        lines.push(format!(
            "{} more rows, {}, for other reasons",
            count(causes.more.count),
            named_rows(&causes.more)
        ));
    }
    lines
}

/// `row 4`, `rows 1 and 3`, `rows 1, 2, 3 and 12 more`.
pub(crate) fn named_rows(rows: &FaultCount) -> String {
    let named: Vec<String> = rows.first.iter().map(|row| count(row + 1)).collect();
    let more = rows.count.saturating_sub(named.len() as u64);
    match (named.as_slice(), more) {
        ([], _) => format!("{} rows", count(more)),
        ([row], 0) => format!("row {row}"),
        ([rows @ .., last], 0) => format!("rows {} and {last}", rows.join(", ")),
        (rows, more) => format!("rows {} and {} more", rows.join(", "), count(more)),
    }
}

/// A warning about a job, its source or its rows.
pub(crate) fn warning(warning: &Warning) -> String {
    match warning {
        Warning::NoKeyColumns => {
            "no `key.columns`: a row is known by its number alone, so answers cannot be matched \
             after the source changes"
                .to_owned()
        }
        Warning::Template(warning) => super::template::warning(warning),
        Warning::ModelRetirement(notice) => notice.to_string(),
        Warning::HistoryNotUsed { path, cause } => super::estimate::history_not_used(path, cause),
        Warning::HistoryNotRecorded { cause } => super::estimate::history_not_recorded(cause),
        Warning::PromptsTooLong {
            model,
            context_tokens,
            prompts,
            is_sent,
        } => {
            let what = if *is_sent {
                "the provider refuses such a request: the row comes back as `errored`, which is \
                 not billed. Shorten the prompt, use a model with a larger context window, or set \
                 `request.on_too_large = \"unsent\"` to set such rows aside before anything is sent"
            } else {
                "they are set aside as `unsent` (`too_large`), as `request.on_too_large` says"
            };
            format!(
                "{} longer than the context window of `{model}` ({} tokens), by estimate: {}; \
                 {what}",
                plural(prompts.count, "prompt is", "prompts are"),
                count(*context_tokens),
                long_prompts(prompts)
            )
        }
        Warning::AnswersMayNotFit {
            model,
            context_tokens,
            prompts,
        } => format!(
            "{} the context window of `{model}` ({} tokens) only without the longest answer \
             (`max_tokens`), by estimate: {}; such a request may be refused, or its answer may end \
             at the window, which is `truncated`",
            plural(prompts.count, "prompt fits", "prompts fit"),
            count(*context_tokens),
            long_prompts(prompts)
        ),
        Warning::CacheMarkTooShort {
            marked_tokens,
            min_cache_tokens,
            is_certain,
        } => format!(
            "the cache mark {} no effect: it covers about {} tokens, and the model caches {} or \
             more",
            if *is_certain { "has" } else { "may have" },
            count(*marked_tokens),
            count(*min_cache_tokens)
        ),
        Warning::CacheSplit { by } => cache_split(*by).to_owned(),
        Warning::Output(warning) => super::journal::output_warning(warning),
        Warning::Source(warning) => super::source::warning(warning),
        Warning::Request(warning) => super::request::warning(warning),
        other => format!("{other:?}"),
    }
}

/// The first of some long prompts, with their keys and estimates, and how many more there are.
fn long_prompts(prompts: &LongPrompts) -> String {
    let differ = prompts
        .first
        .windows(2)
        .any(|pair| pair[0].model != pair[1].model);
    let named: Vec<String> = prompts
        .first
        .iter()
        .map(|row| {
            let number = format!("row {}", row.row_index + 1);
            // Without key columns the row's number is its key.
            let key = if row.key == number {
                String::new()
            } else {
                format!("{}, ", row.key)
            };
            let model = if differ {
                format!(" for `{}`", row.model)
            } else {
                String::new()
            };
            format!("{number} ({key}about {} tokens{model})", count(row.tokens))
        })
        .collect();
    let more = prompts.count - named.len() as u64;
    let more = if more > 0 {
        format!(" and {} more", count(more))
    } else {
        String::new()
    };
    format!("{}{more}", named.join(", "))
}

/// Whether requests can read what they share from the cache, and what splits the cache.
pub(crate) fn cache_verdict(report: &SharedReport) -> Vec<String> {
    let model = format!("`{}`", report.model);
    let (marked, least) = (count(report.marked_tokens), count(report.min_cache_tokens));
    let first = match report.verdict {
        CacheVerdict::CanHit if report.splits.is_empty() => format!(
            "can hit: about {marked} tokens can be read from the cache once a request has written \
             them ({model} caches {least} tokens or more); model, tools, thinking, effort and \
             schema are the same in every request"
        ),
        CacheVerdict::CanHit => format!(
            "can hit among requests of one kind: about {marked} tokens ({model} caches {least} \
             tokens or more), but the cache is split"
        ),
        CacheVerdict::Perhaps => format!(
            "may hit: about {marked} tokens are marked, {model} caches {least} or more, and the \
             estimate is not exact enough to tell"
        ),
        CacheVerdict::TooShort => format!(
            "cannot hit: about {marked} tokens are marked, and {model} caches {least} or more; the \
             mark has no effect"
        ),
        CacheVerdict::NoMark if report.model_is_unknown() => String::new(),
        CacheVerdict::NoMark if report.tokens >= report.min_cache_tokens => format!(
            "nothing is marked for the cache, so every request pays for all of it; set `cache = \
             \"1h\"` on the last shared part, since {model} caches {least} tokens or more"
        ),
        CacheVerdict::NoMark => format!(
            "nothing is marked for the cache, and the shared part is too short: {model} caches \
             {least} tokens or more"
        ),
    };
    let splits = report.splits.iter().map(|by| cache_split(*by).to_owned());
    std::iter::once(first).chain(splits).collect()
}

fn cache_split(by: CacheSplit) -> &'static str {
    match by {
        CacheSplit::Model => {
            "rows choose their model, and each model has a cache of its own, with a shortest \
             prefix of its own"
        }
        CacheSplit::Effort => {
            "rows choose their effort, which is part of what is cached: shared messages have an \
             entry for each level, and with some models tools and system blocks too"
        }
        _ => "rows differ in what is cached",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rowmill::engine::LongPrompt;
    use rowmill::journal::BatchStateKind;
    use rowmill::provider::{ApiError, ApiErrorKind, BatchId, Call, Delivery};

    use super::*;

    #[test]
    fn names_rows_as_people_do() {
        for (rows, count, text) in [
            (vec![3], 1, "row 4"),
            (vec![0, 2], 2, "rows 1 and 3"),
            (vec![0, 1, 2], 3, "rows 1, 2 and 3"),
            (vec![0, 1, 999], 15, "rows 1, 2, 1,000 and 12 more"),
        ] {
            assert_eq!(named_rows(&FaultCount { count, first: rows }), text);
        }
    }

    #[test]
    fn numbers_batches() {
        assert_eq!(numbered("batch", "batches", &[3]), "batch 3");
        assert_eq!(numbered("batch", "batches", &[3, 4]), "batches 3 and 4");
        assert_eq!(
            numbered("batch", "batches", &[3, 4, 9]),
            "batches 3, 4 and 9"
        );
    }

    #[test]
    fn says_for_how_long_an_uncertain_batch_is_looked_for() {
        let error = ApiError::new(
            Call::Create,
            ApiErrorKind::Timeout,
            "no answer",
            Delivery::Unknown,
        );
        let note = |cause| {
            self::note(&StepNote::Uncertain {
                batch: 2,
                cause,
                settle: Duration::from_secs(300),
            })
        };
        let text = note(UncertainCause::ProcessEnded);
        assert_eq!(
            text,
            "batch 2 may or may not have been created (rowmill ended while it was sent); looking \
             for it for up to 5m, while the other batches are sent"
        );
        assert!(note(UncertainCause::Call { error }).contains("no answer"));
    }

    #[test]
    fn says_what_a_run_waits_for() {
        let reasons = [
            WaitReason::Refused {
                batch: 3,
                status: Some(429),
                since: Duration::from_secs(60),
                after: Duration::from_secs(5),
            },
            WaitReason::Uncertain {
                batch: 1,
                left: Some(Duration::ZERO),
            },
        ];
        let text = notice(&Notice::Waiting {
            in_flight: 2,
            ended: 1,
            of: 4,
            rows_done: 700,
            rows: 3_000,
            expires: Some(Duration::from_secs(86_328)),
            elapsed: Some(Duration::from_secs(72)),
            next: Duration::from_millis(500),
            reasons: &reasons,
        });
        assert_eq!(
            text,
            "waiting: 1 of 4 batches ended, 700 of 3,000 rows done, 2 in flight for 1m 12s, the \
             oldest expires in 23h 58m; batch 3 is sent again in 5s (the provider's rate limit has \
             been reached for 1m); batch 1 may or may not have been created: the next check \
             decides; next check in 0.5s"
        );
        let now: Zoned = "2026-11-30T23:58:00[UTC]".parse().unwrap();
        let shown = on_terminal(
            &Notice::Waiting {
                in_flight: 1,
                ended: 1,
                of: 2,
                rows_done: 700,
                rows: 3_000,
                expires: Some(Duration::from_secs(86_328)),
                elapsed: Some(Duration::from_secs(72)),
                next: Duration::from_secs(60),
                reasons: &[],
            },
            &now,
        );
        assert_eq!(
            shown.unwrap(),
            [
                "1 of 2 batches ended, 700 of 3,000 rows done, 1 in flight for 1m 12s, it expires \
                 in 23h 58m",
                "next check at 23:59:00; Ctrl-C is safe: submitted batches keep running, and the \
                 same command resumes"
            ]
        );
        let error = ApiError::new(
            Call::Retrieve,
            ApiErrorKind::Connection,
            "connection refused",
            Delivery::NotSent,
        );
        let shown = on_terminal(
            &Notice::Retrying {
                error: &error,
                since: Duration::from_secs(125),
                after: Duration::from_secs(180),
            },
            &now,
        );
        assert_eq!(
            shown.unwrap(),
            [
                "the provider cannot be reached since 23:55:55 (2m 5s): retrieve batch: \
                 `connection`: connection refused",
                "next try at 2026-12-01 00:01:00; Ctrl-C is safe: submitted batches keep running, \
                 and the same command resumes"
            ]
        );
        let reasons = [
            WaitReason::Uncertain {
                batch: 1,
                left: Some(Duration::from_secs(9)),
            },
            WaitReason::QueueFull {
                batch: 3,
                queued: 14,
                limit: 14,
            },
            WaitReason::TooUncertain { calls: 4 },
        ];
        let text = notice(&Notice::Waiting {
            in_flight: 0,
            ended: 4,
            of: 5,
            rows_done: 700,
            rows: 3_000,
            expires: None,
            elapsed: None,
            next: Duration::from_secs(1),
            reasons: &reasons,
        });
        for words in [
            "waiting: 4 of 5 batches ended, 700 of 3,000 rows done; batch 1 may or may not have been created: looking for \
             it for 9s",
            "batch 3 is sent when others end (14 requests in flight",
            "one of the last 4 batches was created",
        ] {
            assert!(text.contains(words), "`{words}` is not in {text}");
        }
    }

    #[test]
    fn names_long_prompts_with_their_estimates() {
        let prompt = |row_index: u64, model: &str| LongPrompt {
            row_index,
            key: format!("id = {row_index}"),
            tokens: 330_000 + row_index,
            model: model.to_owned(),
        };
        let warn = |first: Vec<LongPrompt>| {
            warning(&Warning::PromptsTooLong {
                model: "m".to_owned(),
                context_tokens: 200_000,
                prompts: LongPrompts { count: 7, first },
                is_sent: true,
            })
        };
        let text = warn((0..5).map(|row| prompt(row, "m")).collect());
        let head = "7 prompts are longer than the context window of `m` (200,000 tokens), by \
            estimate: row 1 (id = 0, about 330,000 tokens), row 2 (id = 1, ";
        assert!(text.starts_with(head), "{text}");
        let tail = "about 330,004 tokens) and 2 more; the provider refuses";
        assert!(text.contains(tail), "{text}");
        let text = warn(vec![prompt(0, "m"), prompt(1, "n")]);
        assert!(
            text.contains("tokens for `m`)") && text.contains("tokens for `n`)"),
            "{text}"
        );
    }

    #[test]
    fn says_what_is_kept() {
        let id = BatchId("b_1".to_owned());
        let action = Action::CancelBatch { batch: 1, id };
        let files = |files| kept(&Kept::Files { files }, &Action::UploadFiles);
        assert_eq!(files(0), "nothing was sent");
        assert_eq!(files(1), "no request was sent; 1 uploaded file is kept");
        let run = RunStanding {
            run: "20261130-1".to_owned(),
            folder: "runs/a".into(),
            batches: 3,
            by_state: [
                (BatchStateKind::InFlight, 1),
                (BatchStateKind::Collected, 2),
            ]
            .into(),
        };
        assert_eq!(
            kept(&Kept::Run(run), &action),
            "run 20261130-1: 1 in flight, 2 collected of 3 batches; all of it is recorded in runs/a"
        );
    }
}
