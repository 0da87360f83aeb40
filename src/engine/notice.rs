//! What a step reports while it works, as data; the observer decides how it looks.
//!
//! Every notice is a fact with numbers, ids and errors. It serializes as one JSON object with its
//! kind in `notice`; durations are seconds.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cost::Money;
use crate::estimate::Bounds;
use crate::journal::{CheckpointKind, Owner};
use crate::ledger::Shortage;
use crate::provider::{ApiError, BatchId, Counts};
use crate::source::SourceSpec;

use super::JobChange;
use super::Warning;
use super::budget_report::LimitCheck;
use super::output_change::OutputChange;
use super::plan_report::PlanReport;
use super::start_checks::StateNote;
use super::upload::Uploaded;

use super::note::StepNote;
use super::serialize::{api_error, maybe_seconds, seconds};

/// Something that happened while a step worked.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice<'a> {
    /// Rows are read and rendered.
    Planning {
        /// Rows done.
        rows: u64,
        /// Rows in the source, where that is known before the end.
        of: Option<u64>,
    },
    /// The provider counts the tokens of a sample.
    Counting {
        /// Rows done.
        rows: u64,
        /// Rows of the sample.
        of: u64,
    },
    /// A batch is being sent to the provider.
    Submitting {
        /// The batch, from 1.
        batch: u32,
        /// Batches of the run.
        of: u32,
        /// Its requests.
        requests: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// The provider accepted a batch.
    Accepted {
        /// The batch, from 1.
        batch: u32,
        /// The provider's id of it.
        id: &'a BatchId,
    },
    /// The job has changed since an unfinished run of it was planned. That run is finished first.
    FinishedFirst {
        /// The unfinished run.
        run: &'a Path,
        /// What changed.
        what: &'a [JobChange],
    },
    /// The run waits.
    Waiting {
        /// Batches in flight.
        in_flight: u32,
        /// Batches that have ended.
        ended: u32,
        /// Batches of the run.
        of: u32,
        /// Rows that are done, as far as the provider counts them.
        rows_done: u64,
        /// Rows that are sent in the run.
        rows: u64,
        /// Since the oldest batch in flight was accepted; `None` where none is in flight.
        #[serde(rename = "elapsed_seconds", serialize_with = "maybe_seconds")]
        elapsed: Option<Duration>,
        /// Until the oldest batch in flight expires; `None` where none is in flight.
        #[serde(rename = "expires_seconds", serialize_with = "maybe_seconds")]
        expires: Option<Duration>,
        /// Until the provider is asked again.
        #[serde(rename = "next_seconds", serialize_with = "seconds")]
        next: Duration,
        /// What else the run waits for.
        reasons: &'a [WaitReason],
    },
    /// A call failed and is retried. Reported once it has failed for a short time, and from then on
    /// for each attempt.
    Retrying {
        /// Why it failed.
        #[serde(serialize_with = "api_error")]
        error: &'a ApiError,
        /// Since the first attempt.
        #[serde(rename = "since_seconds", serialize_with = "seconds")]
        since: Duration,
        /// Until the next attempt.
        #[serde(rename = "after_seconds", serialize_with = "seconds")]
        after: Duration,
    },
    /// A call has had no answer for a while.
    Slow {
        /// The call, such as `list batches`.
        call: &'static str,
        /// Since the call began.
        #[serde(rename = "waited_seconds", serialize_with = "seconds")]
        waited: Duration,
    },
    /// The budget has no room for a batch: it is sent when there is.
    HeldBack {
        /// The batch, from 1.
        batch: u32,
        /// Which limit it would exceed.
        shortage: &'a Shortage,
    },
    /// A batch has ended.
    Ended {
        /// The batch, from 1.
        batch: u32,
        /// Its requests by result.
        counts: Counts,
    },
    /// A batch's results are saved.
    Collected {
        /// The batch, from 1.
        batch: u32,
        /// Batches saved so far.
        done: u32,
        /// Batches of the run.
        of: u32,
    },
    /// Rows are written to the output.
    Exporting {
        /// Rows done.
        rows: u64,
        /// Rows of the run.
        of: u64,
    },
    /// The answers of this call are made up by the simulator.
    Simulated,
    /// An unfinished run of the job is resumed.
    Resuming {
        /// Its folder.
        run: &'a Path,
    },
    /// The job has changed since the run was planned, and nothing of it was sent: it is planned
    /// again.
    PlannedAgain {
        /// The folder of the run that is abandoned.
        run: &'a Path,
    },
    /// An unfinished run that was planned for another provider is not resumed: nothing was sent of
    /// it that costs money.
    PassedOver {
        /// Its folder.
        run: &'a Path,
        /// The provider that it was planned for.
        origin: &'a str,
    },
    /// An unfinished run is abandoned, because a new one was asked for.
    Abandoned {
        /// Its folder.
        run: &'a Path,
        /// Whether batches of it are in flight, may be, or have results that are not fetched.
        in_flight: bool,
    },
    /// Another process works on the job or the run, and the call waits until it has finished.
    WaitingForLock {
        /// The folder that the other process has locked: of the run, or of the job's runs.
        locked: &'a Path,
        /// The process, as far as it can be read.
        owner: Option<&'a Owner>,
        /// Since the call began to wait.
        #[serde(rename = "waited_seconds", serialize_with = "seconds")]
        waited: Duration,
    },
    /// A run is open, and the call works on it.
    Opened {
        /// Its folder.
        run: &'a Path,
        /// How often a batch of it had been sent before, or was about to be.
        create_calls: u64,
    },
    /// Something about the job, its source or its rows that does not stop it.
    Warning(&'a Warning),
    /// Files that requests name have ids.
    Uploaded(Uploaded),
    /// A new run is planned; nothing of it is sent yet.
    Planned {
        /// What planning found.
        report: &'a PlanReport,
        /// The source, with the rows that were selected.
        #[serde(skip)]
        source: &'a SourceSpec,
    },
    /// From here on the call stops after its current step when it is asked to.
    Driving,
    /// Uncertain batches were to be sent again, and there are none.
    NothingUncertain,
    /// A finished run of the unchanged job has all answers: nothing is sent.
    NothingToDo {
        /// Its folder.
        run: &'a Path,
        /// Its rows that did not succeed.
        failed: u64,
    },
    /// The output of a finished run is written again from the answers that the run keeps.
    OutputWrittenAgain {
        /// Why; `None` where it only takes its own place.
        change: Option<OutputChange>,
    },
    /// The output of a job is gone, and its rows are about to be planned.
    OutputGone {
        /// The output.
        output: &'a Path,
        /// The folder of the run that wrote it last.
        run: &'a Path,
        /// What becomes of its answers.
        answers: LostAnswers,
    },
    /// Saved results are missing or were altered, and are fetched again, which costs nothing.
    ResultsFetchedAgain {
        /// What is wrong with them.
        reason: String,
    },
    /// Results that the provider may still have could not be fetched.
    ResultsNotFetched {
        /// The folder of their run.
        run: &'a Path,
        /// Why.
        reason: String,
    },
    /// Rows that failed are sent again.
    RetriesPlanned {
        /// The rows.
        rows: u64,
        /// The batches that carry them.
        batches: u32,
        /// What they cost, where the user asked for the retry.
        cost: Option<Bounds>,
    },
    /// The journal of a run was rebuilt.
    Rescued {
        /// Where the old journal is kept, if there was one.
        old_journal: Option<&'a Path>,
        /// A batch that has not shown itself after this time counts as not created.
        #[serde(rename = "settle_seconds", serialize_with = "seconds")]
        settle: Duration,
    },
    /// What was reserved for batches of an abandoned run is released: they have ended, and nothing
    /// more is billed for them. What they cost was not seen.
    ReservationReleased {
        /// The folder of their run.
        run: &'a Path,
        /// What was reserved.
        amount: Money,
    },
    /// Something about the state, the job file or the output of a start.
    State(&'a StateNote),
    /// Something the user should know, and need not act on.
    Note(&'a StepNote),
}

/// What becomes of the answers of an output that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LostAnswers {
    /// The output is written again now.
    WrittenAgain,
    /// A run will write the output again first; a dry run counts their rows as if they were new.
    LeftToARun,
    /// They cannot be reused: the run that wrote the output was removed.
    Removed,
}

/// What a run waits for besides the batches in flight, and until when.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitReason {
    /// It is not known whether a batch was created, and it is looked for.
    Uncertain {
        /// The batch, from 1.
        batch: u32,
        /// Until it counts as not created, if it does not show itself; `None` where a batch was
        /// found that may be it and has not ended.
        #[serde(rename = "left_seconds", serialize_with = "maybe_seconds")]
        left: Option<Duration>,
    },
    /// The provider refused a batch for now.
    Refused {
        /// The batch, from 1.
        batch: u32,
        /// The status it answered with; `None` where it could not be reached.
        status: Option<u16>,
        /// Since it was refused first.
        #[serde(rename = "since_seconds", serialize_with = "seconds")]
        since: Duration,
        /// Until the next try.
        #[serde(rename = "after_seconds", serialize_with = "seconds")]
        after: Duration,
    },
    /// Uncertain batches cannot be looked for, since the provider's list cannot be fetched.
    NotListed {
        /// Since when.
        #[serde(rename = "since_seconds", serialize_with = "seconds")]
        since: Duration,
    },
    /// As many requests are in flight as `batch.max_queued_requests` allows.
    QueueFull {
        /// The batch that waits, from 1.
        batch: u32,
        /// Requests in flight.
        queued: u64,
        /// Most that may be.
        limit: u64,
    },
    /// Several create calls in a row had no certain result: nothing is sent until it is known of
    /// one of their batches.
    TooUncertain {
        /// How many.
        calls: u32,
    },
    /// The first rows have to be back before the rest is sent.
    Checkpoint {
        /// The batch that goes first, from 1.
        batch: u32,
        /// Why it goes first.
        kind: CheckpointKind,
        /// Until the rest is sent without it; `None` where it is waited for as long as it takes.
        #[serde(rename = "left_seconds", serialize_with = "maybe_seconds")]
        left: Option<Duration>,
    },
    /// The budget has no room for a batch.
    Budget {
        /// The batch, from 1.
        batch: u32,
    },
    /// The results of a batch cannot be fetched for now.
    Results {
        /// The batch, from 1.
        batch: u32,
        /// Until the next try.
        #[serde(rename = "after_seconds", serialize_with = "seconds")]
        after: Duration,
    },
}

/// What a retry costs that the user asked for.
#[derive(Debug, Clone, Serialize)]
pub struct RetryCost {
    /// Rows that are sent again.
    pub rows: u64,
    /// The batches that carry them.
    pub batches: u32,
    /// What they cost.
    pub cost: Bounds,
    /// The cost compared with each limit that is set.
    pub budget: Vec<LimitCheck>,
}

/// Receives what steps report, and decides when they stop.
///
/// ```
/// use rowmill::engine::{Notice, Observer};
///
/// struct Log;
///
/// impl Observer for Log {
///     fn notice(&self, notice: Notice<'_>) {
///         if let Notice::Accepted { batch, id } = notice {
///             println!("batch {batch} is {id}");
///         }
///     }
/// }
/// ```
pub trait Observer: Sync {
    /// Receives a notice. Called from the working threads, often; must be quick.
    fn notice(&self, notice: Notice<'_>);

    /// Whether the step is to stop. Steps that neither send nor wait ask between two chunks of
    /// rows.
    fn is_stopping(&self) -> bool {
        false
    }

    /// Whether to go ahead with a retry, given its cost. Called before anything is sent or recorded
    /// for it; where it is declined, nothing is left behind.
    fn confirms_retry(&self, retry: &RetryCost) -> bool {
        let _ = retry;
        true
    }
}

/// Ignores every notice, and never stops a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&self, _: Notice<'_>) {}
}

impl<T: Observer + ?Sized + Send> Observer for std::sync::Arc<T> {
    fn notice(&self, notice: Notice<'_>) {
        self.as_ref().notice(notice);
    }

    fn is_stopping(&self) -> bool {
        self.as_ref().is_stopping()
    }

    fn confirms_retry(&self, retry: &RetryCost) -> bool {
        self.as_ref().confirms_retry(retry)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::note::UncertainCause;
    use crate::journal::Unproven;
    use crate::provider::{ApiErrorKind, Call, Delivery};

    #[test]
    fn notices_are_json_objects_with_their_kind() {
        let json = |notice: Notice<'_>| serde_json::to_value(notice).unwrap();
        let id = BatchId("b_1".to_owned());
        assert_eq!(
            json(Notice::Accepted { batch: 2, id: &id }),
            json!({ "notice": "accepted", "batch": 2, "id": "b_1" })
        );
        let reasons = [WaitReason::Checkpoint {
            batch: 1,
            kind: CheckpointKind::Prime,
            left: Some(Duration::from_millis(1_500)),
        }];
        assert_eq!(
            json(Notice::Waiting {
                in_flight: 1,
                ended: 0,
                of: 3,
                rows_done: 0,
                rows: 30,
                elapsed: None,
                expires: None,
                next: Duration::from_secs(2),
                reasons: &reasons,
            }),
            json!({
                "notice": "waiting", "in_flight": 1, "ended": 0, "of": 3, "rows_done": 0,
                "rows": 30, "elapsed_seconds": null, "expires_seconds": null, "next_seconds": 2.0,
                "reasons": [{ "reason": "checkpoint", "batch": 1, "kind": { "gate": "prime" },
                    "left_seconds": 1.5 }],
            })
        );
        let match_found = StepNote::PossibleMatch {
            batch: 3,
            id: id.clone(),
            why: Unproven::NotEnded,
        };
        assert_eq!(
            json(Notice::Note(&match_found)),
            json!({ "notice": "note", "note": "possible_match", "batch": 3, "id": "b_1",
                "why": "not_ended" })
        );
        let error = ApiError::new(
            Call::Create,
            ApiErrorKind::Timeout,
            "late",
            Delivery::Unknown,
        );
        let uncertain = StepNote::Uncertain {
            batch: 1,
            cause: UncertainCause::Call { error },
            settle: Duration::from_secs(300),
        };
        let value = json(Notice::Note(&uncertain));
        assert_eq!(value["cause"]["error"]["kind"], "timeout");
        assert_eq!(value["settle_seconds"], 300.0);
    }
}
