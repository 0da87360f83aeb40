//! The results of a batch that goes first → whether the rest of the run may follow.
//!
//! ```text
//!  the batch is saved ─▶ its first results are judged ─┬─ within the limits ─▶ passed
//!                                                      └─ beyond them ─▶ stopped ─▶ the user: overruled
//!  it has not ended in time (cache warm-up only) ──────────────────────▶ timed out
//! ```
//!
//! A verdict is recorded before anything acts upon it, so that a process that ends in between comes
//! to the same one. First results count: whether a row that failed is sent again later says nothing
//! about the rows that are to follow.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::batch::SpoolReader;
use crate::journal::{
    CanaryLimit, CanaryLimits, CheckpointKind, CheckpointState, Event, ExceededLimit, RequestError,
    Step, Verdict, VerdictReason,
};
use crate::outcome::answer::Answers;
use crate::outcome::class::Class;
use crate::outcome::details::Wanted;
use crate::outcome::{Outcome, Status, Usage};

use super::batch_join::{BatchJoin, request_row};
use super::context::{Context, between};
use super::note::StepNote;
use super::notice::WaitReason;
use super::{Error, Run};

/// Why a run stopped before its rest was sent.
#[derive(Debug, Clone)]
pub struct StoppedAtCheckpoint {
    /// Which checkpoint.
    pub kind: CheckpointKind,
    /// What was found.
    pub reason: VerdictReason,
    /// Requests that were not sent.
    pub requests: u64,
    /// The results that were judged.
    pub results: std::path::PathBuf,
    /// The run.
    pub run: std::path::PathBuf,
}

/// Judges the checkpoints whose batches have ended, one after the other. Where nothing more is sent
/// anyway (`sends` is false), time does not run out.
pub(crate) fn judge(driver: &Context<'_>, run: &mut Run, sends: bool) -> Result<(), Error> {
    while let Some(checkpoint) = run.state().next_checkpoint().cloned() {
        let Some((verdict, reason)) = verdict(driver, run, &checkpoint, sends)? else {
            return Ok(());
        };
        let batch = checkpoint.checkpoint.batch;
        run.record(
            driver.clock.now(),
            Event::Judged {
                batch,
                verdict,
                reason: reason.clone(),
            },
        )?;
        if verdict != Verdict::Stopped {
            driver.note(StepNote::CheckpointDecided {
                batch,
                kind: checkpoint.checkpoint.kind,
                verdict,
                reason: reason.clone(),
            });
        }
    }
    Ok(())
}

/// Whether the user must decide before more is sent.
///
/// # Errors
/// [`Error::StoppedAtCheckpoint`] if so.
pub(crate) fn check(run: &Run) -> Result<(), Error> {
    let Some(checkpoint) = run
        .state()
        .next_checkpoint()
        .filter(|checkpoint| checkpoint.is_stopped())
    else {
        return Ok(());
    };
    let Some((_, _, reason)) = checkpoint.verdict.clone() else {
        return Ok(());
    };
    let waiting = run
        .state()
        .left_to(Step::Submit)
        .map(|batch| u64::from(batch.spooled.requests));
    Err(Error::StoppedAtCheckpoint(Box::new(StoppedAtCheckpoint {
        kind: checkpoint.checkpoint.kind,
        reason,
        requests: waiting.sum(),
        results: run.results_path(checkpoint.checkpoint.batch),
        run: run.folder().to_path_buf(),
    })))
}

/// Whether a checkpoint is still to be judged, so that even a command that only sends watches its
/// batch.
pub(crate) fn is_pending(run: &Run) -> bool {
    run.state()
        .next_checkpoint()
        .is_some_and(|checkpoint| !checkpoint.is_stopped())
        && run.state().doubts().next().is_none()
}

/// Whether the next checkpoint is waited for: its batch has ended, or is in flight and its time is
/// not over.
pub(crate) fn is_awaited(driver: &Context<'_>, run: &Run) -> bool {
    let is_back = || {
        run.state()
            .next_checkpoint()
            .is_some_and(|checkpoint| run.state().is_back(checkpoint))
    };
    is_pending(run) && (is_back() || time_left(driver, run).is_some_and(|left| !left.is_zero()))
}

/// How long the next checkpoint is still waited for; `None` where none is, or its batch was not
/// sent.
pub(crate) fn time_left(driver: &Context<'_>, run: &Run) -> Option<Duration> {
    let since = run.state().known_since(run.state().next_checkpoint()?)?;
    Some(
        run.job()
            .cache
            .prime_wait
            .saturating_sub(between(since, driver.clock.now())),
    )
}

/// The checkpoint that the rest of the run waits for; `None` where nothing waits for one.
pub(crate) fn reason(driver: &Context<'_>, run: &Run) -> Option<WaitReason> {
    let checkpoint = run
        .state()
        .next_checkpoint()
        .filter(|checkpoint| !checkpoint.is_stopped())?;
    let left = match checkpoint.checkpoint.kind {
        CheckpointKind::Prime => time_left(driver, run),
        CheckpointKind::Canary { .. } => None,
    };
    Some(WaitReason::Checkpoint {
        batch: checkpoint.checkpoint.batch,
        kind: checkpoint.checkpoint.kind,
        left,
    })
}

/// The verdict on a checkpoint; `None` if it is not known yet, or was recorded.
fn verdict(
    driver: &Context<'_>,
    run: &Run,
    checkpoint: &CheckpointState,
    sends: bool,
) -> Result<Option<(Verdict, VerdictReason)>, Error> {
    if checkpoint.is_stopped() {
        let overruled = (Verdict::Overruled, VerdictReason::Overruled);
        return Ok((sends && run.ignores_canary()).then_some(overruled));
    }
    if run.state().is_back(checkpoint) {
        let outcomes = first_outcomes(run, checkpoint.checkpoint.batch)?;
        return Ok(Some(match checkpoint.checkpoint.kind {
            CheckpointKind::Prime => of_priming(&outcomes),
            CheckpointKind::Canary { limits } => of_canary(&outcomes, limits),
        }));
    }
    let is_late = time_left(driver, run).is_some_and(|left| left.is_zero());
    let waited_seconds = run.job().cache.prime_wait.as_secs();
    let late = (
        Verdict::TimedOut,
        VerdictReason::NotEnded { waited_seconds },
    );
    Ok((checkpoint.checkpoint.kind == CheckpointKind::Prime && sends && is_late).then_some(late))
}

/// What was returned for each request of a planned batch when it was first sent.
fn first_outcomes(run: &Run, number: u32) -> Result<Vec<Outcome>, Error> {
    let answer = Answers::compile(&run.options().answer)?;
    let mut joiner = BatchJoin {
        run,
        number,
        answer: answer.as_ref(),
        wanted: Wanted::default(),
    }
    .joiner()?;
    let mut outcomes = Vec::new();
    for rows in SpoolReader::open_without_fragments(&run.spool_path(number))? {
        let rows = rows?;
        for row in 0..rows.len() {
            let joined = joiner.row(request_row(&rows, row))?;
            outcomes.extend(
                joined
                    .attempts
                    .into_iter()
                    .find(|attempt| attempt.attempt == 1)
                    .map(|attempt| attempt.outcome),
            );
        }
    }
    Ok(outcomes)
}

/// Whether the request that went first shows that every other would be refused.
fn of_priming(outcomes: &[Outcome]) -> (Verdict, VerdictReason) {
    let Some(outcome) = outcomes.first() else {
        return (Verdict::Passed, VerdictReason::NoResult);
    };
    let error = || RequestError::of(outcome);
    match outcome.status {
        Status::Errored if Class::of(outcome).is_none() => {
            (Verdict::Stopped, VerdictReason::RequestRefused(error()))
        }
        Status::Canceled => (Verdict::Stopped, VerdictReason::Canceled),
        Status::Errored => (Verdict::Passed, VerdictReason::ProviderFailed(error())),
        Status::Expired | Status::Missing => (Verdict::Passed, VerdictReason::NoResult),
        _ => (Verdict::Passed, cached_by(outcome.usage.as_ref())),
    }
}

fn cached_by(usage: Option<&Usage>) -> VerdictReason {
    let of = |tokens: fn(&Usage) -> Option<u64>| usage.and_then(tokens).unwrap_or(0);
    VerdictReason::Cached {
        written_tokens: of(|usage| usage.cache_creation_5m_input_tokens)
            + of(|usage| usage.cache_creation_1h_input_tokens),
        read_tokens: of(|usage| usage.cache_read_input_tokens),
    }
}

/// Whether too many of the rows that went first went wrong.
fn of_canary(outcomes: &[Outcome], limits: CanaryLimits) -> (Verdict, VerdictReason) {
    let mut counts: BTreeMap<Status, u64> = BTreeMap::new();
    outcomes
        .iter()
        .for_each(|outcome| *counts.entry(outcome.status).or_default() += 1);
    let count = |statuses: &[Status]| {
        statuses
            .iter()
            .filter_map(|status| counts.get(status))
            .sum::<u64>()
    };
    let empty = outcomes
        .iter()
        .filter(|outcome| outcome.is_empty_answer())
        .count() as u64;
    // Rows that the model did not see say nothing about the others.
    let judged = outcomes.len() as u64 - count(&[Status::Canceled, Status::Expired]);
    if judged == 0 {
        let rows = outcomes.len() as u64;
        return (
            Verdict::Stopped,
            VerdictReason::Unanswered {
                rows,
                by_status: counts,
            },
        );
    }
    let failed = count(&[Status::Errored, Status::Missing]);
    let limits = [
        (CanaryLimit::Error, failed, limits.max_error),
        (
            CanaryLimit::Truncated,
            count(&[Status::Truncated]),
            limits.max_truncated,
        ),
        (
            CanaryLimit::Refused,
            count(&[Status::Refused]),
            limits.max_refused,
        ),
        (
            CanaryLimit::Invalid,
            count(&[Status::Invalid]),
            limits.max_invalid,
        ),
        (CanaryLimit::Empty, empty, limits.max_empty),
    ];
    let exceeded: Vec<ExceededLimit> = limits
        .into_iter()
        .filter(|(_, rows, max)| share(*rows, judged) > *max)
        .map(|(limit, rows, max)| ExceededLimit { limit, rows, max })
        .collect();
    if exceeded.is_empty() {
        let succeeded = count(&[Status::Succeeded]);
        return (
            Verdict::Passed,
            VerdictReason::WithinLimits {
                rows: judged,
                succeeded,
                empty,
            },
        );
    }
    let first_error = outcomes.iter().find(|outcome| outcome.error.is_some());
    (
        Verdict::Stopped,
        VerdictReason::OverLimits {
            rows: judged,
            limits: exceeded,
            first_error: first_error.map(RequestError::of),
        },
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of rows is compared with a configured share"
)]
fn share(rows: u64, of: u64) -> f64 {
    rows as f64 / of as f64
}

/// Reports since when the run waits for its next checkpoint, and for how long.
pub(crate) fn announce(driver: &Context<'_>, run: &Run, now: Timestamp) {
    let Some(checkpoint) = run
        .state()
        .next_checkpoint()
        .filter(|checkpoint| !checkpoint.is_open() && !checkpoint.is_stopped())
    else {
        return;
    };
    driver.note(StepNote::CheckpointWaits {
        batch: checkpoint.checkpoint.batch,
        kind: checkpoint.checkpoint.kind,
        sent_ago: run
            .state()
            .known_since(checkpoint)
            .map(|since| between(since, now)),
        limit: run.job().cache.prime_wait,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: Status, error_type: Option<&str>) -> Outcome {
        Outcome {
            text: (status == Status::Succeeded).then(|| "an answer".to_owned()),
            error_type: error_type.map(str::to_owned),
            error: error_type.map(|_| "words".to_owned()),
            ..Outcome::new(status)
        }
    }

    #[test]
    fn stops_where_every_other_request_would_be_refused_too() {
        for (status, error_type, verdict) in [
            (Status::Succeeded, None, Verdict::Passed),
            (Status::Truncated, None, Verdict::Passed),
            (Status::Refused, None, Verdict::Passed),
            (
                Status::Errored,
                Some("invalid_request_error"),
                Verdict::Stopped,
            ),
            (Status::Errored, Some("not_found_error"), Verdict::Stopped),
            (Status::Errored, Some("permission_error"), Verdict::Stopped),
            (Status::Errored, Some("overloaded_error"), Verdict::Passed),
            (Status::Errored, Some("api_error"), Verdict::Passed),
            (Status::Expired, None, Verdict::Passed),
            (Status::Missing, None, Verdict::Passed),
            (Status::Canceled, None, Verdict::Stopped),
        ] {
            let (found, reason) = of_priming(&[outcome(status, error_type)]);
            assert_eq!(found, verdict, "{status} {error_type:?}");
            let error = match reason {
                VerdictReason::RequestRefused(error) | VerdictReason::ProviderFailed(error) => {
                    error.error_type
                }
                _ => None,
            };
            assert_eq!(error.as_deref(), error_type);
        }
        assert_eq!(of_priming(&[]).0, Verdict::Passed);
    }

    #[test]
    fn says_what_the_priming_request_did_to_the_cache() {
        let usage = |written, read| Usage {
            cache_creation_1h_input_tokens: Some(written),
            cache_read_input_tokens: Some(read),
            ..Usage::default()
        };
        let cached = |written_tokens, read_tokens| VerdictReason::Cached {
            written_tokens,
            read_tokens,
        };
        for (written, read) in [(5_000, 0), (0, 5_000), (0, 0)] {
            assert_eq!(
                cached_by(Some(&usage(written, read))),
                cached(written, read)
            );
        }
        assert_eq!(cached_by(None), cached(0, 0));
    }

    #[test]
    fn holds_the_shares_of_a_canary_against_their_limits() {
        const LIMITS: CanaryLimits = CanaryLimits {
            max_error: 0.1,
            max_truncated: 0.05,
            max_refused: 0.1,
            max_invalid: 0.1,
            max_empty: 0.5,
        };
        let rows = |bad: usize, status: Status, of: usize| -> Vec<Outcome> {
            let error = (status == Status::Errored).then_some("api_error");
            let bad = std::iter::repeat_n(outcome(status, error), bad);
            bad.chain(std::iter::repeat_n(outcome(Status::Succeeded, None), of))
                .collect()
        };
        for (bad, status, good, verdict) in [
            (0, Status::Errored, 20, Verdict::Passed),
            (2, Status::Errored, 18, Verdict::Passed),
            (3, Status::Errored, 17, Verdict::Stopped),
            (3, Status::Missing, 17, Verdict::Stopped),
            (1, Status::Truncated, 19, Verdict::Passed),
            (2, Status::Truncated, 18, Verdict::Stopped),
            (3, Status::Refused, 17, Verdict::Stopped),
            (3, Status::Invalid, 17, Verdict::Stopped),
            (19, Status::Expired, 1, Verdict::Passed),
            (20, Status::Expired, 0, Verdict::Stopped),
            (20, Status::Canceled, 0, Verdict::Stopped),
        ] {
            assert_eq!(
                of_canary(&rows(bad, status, good), LIMITS).0,
                verdict,
                "{bad} {status} beside {good}"
            );
        }
        let (_, reason) = of_canary(&rows(5, Status::Errored, 15), LIMITS);
        let exceeded = |limit, rows, max| vec![ExceededLimit { limit, rows, max }];
        assert_eq!(
            reason,
            VerdictReason::OverLimits {
                rows: 20,
                limits: exceeded(CanaryLimit::Error, 5, 0.1),
                first_error: Some(RequestError {
                    error_type: Some("api_error".to_owned()),
                    message: Some("words".to_owned()),
                }),
            }
        );
        let empty = |bad: usize, of: usize| -> Vec<Outcome> {
            let nothing = Outcome {
                text: Some(" \n".to_owned()),
                ..Outcome::new(Status::Succeeded)
            };
            std::iter::repeat_n(nothing, bad)
                .chain(rows(0, Status::Errored, of))
                .collect()
        };
        assert_eq!(
            of_canary(&empty(20, 0), LIMITS),
            (
                Verdict::Stopped,
                VerdictReason::OverLimits {
                    rows: 20,
                    limits: exceeded(CanaryLimit::Empty, 20, 0.5),
                    first_error: None,
                }
            )
        );
        assert_eq!(of_canary(&empty(11, 9), LIMITS).0, Verdict::Stopped);
        let (verdict, reason) = of_canary(&empty(10, 10), LIMITS);
        assert_eq!(verdict, Verdict::Passed);
        assert_eq!(
            reason,
            VerdictReason::WithinLimits {
                rows: 20,
                succeeded: 20,
                empty: 10,
            }
        );
        assert_eq!(
            of_canary(
                &empty(20, 0),
                CanaryLimits {
                    max_empty: 1.0,
                    ..LIMITS
                }
            )
            .0,
            Verdict::Passed
        );
        let none = CanaryLimits {
            max_error: 0.0,
            ..LIMITS
        };
        assert_eq!(
            of_canary(&rows(1, Status::Errored, 999), none).0,
            Verdict::Stopped
        );
    }
}
