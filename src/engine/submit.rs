//! Spooled batches → accepted batches, each accepted once.
//!
//! ```text
//!   intent to the journal ─▶ POST ─┬─▶ accepted: id to the journal
//!                                  ├─▶ refused, certainly without effect: to the journal; later again, in smaller batches, or stop
//!                                  └─▶ uncertain: to the journal; looked for (doubt.rs), while the other batches are sent
//! ```
//!
//! Batches are sent one after the other. One that is uncertain holds back only what would carry the
//! same rows: every other batch of the run has other custom_ids, so neither can be taken for the
//! other, whatever becomes of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::batch::SpooledBody;
use crate::journal::{Batch, BatchState, DoubtReason, Event};
use crate::ledger::Shortage;
use crate::provider::retry::{
    Call, Clock, MAX_RETRY_AFTER, Verdict, asked, judge, most_requests, with_retry,
};
use crate::provider::{ApiError, BatchApi, BatchId, RemoteBatch};

use super::doubt;
use super::drive::{Context, between};
use super::notice::{Notice, WaitReason, wait_in_words};
use super::split::split;
use super::{Error, Run};

/// So many create calls in a row may end uncertain before it is waited until one of their batches
/// is found, or shown not to exist. Where every call is lost, each batch more would be looked for,
/// and hold its part of the budget, in vain.
const MAX_UNCERTAIN_IN_A_ROW: u32 = 4;
/// The wait before the next create call after one that ended uncertain; twice as long after each
/// more.
const AFTER_UNCERTAIN: Duration = Duration::from_millis(500);

/// What the sending remembers of a batch that was refused for now, and of calls that ended
/// uncertain.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    refused: Option<Refused>,
    /// How many create calls in a row ended uncertain, and when the next may follow.
    uncertain: (u32, Option<Timestamp>),
    /// The batches that the budget has no room for.
    pub(crate) short: HeldByBudget,
}

/// Batches that the budget has no room for, as long as nothing happens to the run that could make
/// room.
#[derive(Debug, Default)]
pub(crate) struct HeldByBudget {
    batches: BTreeMap<u32, Shortage>,
    events: u64,
    /// Whether a person was told of the first of them: with `partial` there may be many.
    is_told: bool,
}

impl HeldByBudget {
    /// Forgets what was held, if something has happened since.
    fn begin(&mut self, run: &Run) {
        if self.events != run.state().events() {
            self.batches.clear();
        }
        self.events = run.state().events();
    }

    fn hold(&mut self, driver: &Context<'_>, batch: u32, shortage: Shortage) {
        if !std::mem::replace(&mut self.is_told, true) {
            driver.observer.notice(Notice::HeldBack {
                batch,
                shortage: &shortage,
            });
        }
        self.batches.insert(batch, shortage);
    }

    /// Whether nothing has happened to the run since it was looked what fits.
    pub(crate) fn is_current(&self, run: &Run) -> bool {
        self.events == run.state().events()
    }

    /// Whether a batch is held.
    pub(crate) fn holds(&self, batch: u32) -> bool {
        self.batches.contains_key(&batch)
    }

    /// The held batches, by number.
    pub(crate) fn batches(&self) -> impl Iterator<Item = u32> {
        self.batches.keys().copied()
    }

    /// Holds nothing any more.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    /// The first of them, and what is short for it.
    pub(crate) fn first(&self) -> Option<(u32, &Shortage)> {
        self.batches
            .first_key_value()
            .map(|(batch, shortage)| (*batch, shortage))
    }
}

#[derive(Debug)]
struct Refused {
    batch: u32,
    /// When it was sent first.
    begun: Timestamp,
    attempts: u32,
    /// When it may be sent again.
    not_before: Timestamp,
    /// What the provider answered.
    status: Option<u16>,
}

impl Refused {
    /// Whether the queue is full or calls come too fast: both pass as batches end.
    fn is_limit(&self) -> bool {
        self.status == Some(429)
    }
}

impl Pace {
    /// What is left of the waits that a provider asked an earlier process for.
    pub(crate) fn resumed(run: &Run, now: Timestamp) -> Pace {
        let asked = |batch: &Batch| match batch.state {
            BatchState::Refused {
                at,
                status,
                retry_at: Some(retry_at),
            } if retry_at > now => {
                // A clock that was put back must not make it longer than was granted.
                let left = between(now, retry_at).min(MAX_RETRY_AFTER);
                let not_before = now.checked_add(left).unwrap_or(retry_at);
                Some(Refused {
                    batch: batch.number(),
                    begun: at,
                    attempts: 1,
                    not_before,
                    status,
                })
            }
            _ => None,
        };
        let refused = run
            .state()
            .to_send()
            .filter_map(asked)
            .max_by_key(|refused| refused.not_before);
        Pace {
            refused,
            ..Pace::default()
        }
    }

    /// How long the next batch is to wait yet; `None` if it need not wait.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let refused = self.refused.as_ref().map(|refused| refused.not_before);
        let wait = refused
            .into_iter()
            .chain(self.uncertain.1)
            .map(|not_before| between(now, not_before))
            .max();
        wait.filter(|wait| !wait.is_zero())
    }

    /// Whether time alone makes room for the next batch, so that even who only sends waits for it:
    /// not where a batch has to end first.
    pub(crate) fn passes(&self, run: &Run, now: Timestamp) -> bool {
        let is_paused = self.uncertain.1.is_some_and(|not_before| not_before > now);
        is_paused
            || self
                .refused
                .as_ref()
                .is_some_and(|refused| !refused.is_limit() || run.requests_in_flight() == 0)
    }

    /// Whether so many calls were lost that it is waited until something is known of one of them.
    fn is_too_uncertain(&self, run: &Run) -> bool {
        self.uncertain.0 >= MAX_UNCERTAIN_IN_A_ROW && run.doubts().next().is_some()
    }

    /// When the batch was sent first, and how often it was refused.
    fn history(&self, batch: u32, now: Timestamp) -> (Timestamp, u32) {
        match &self.refused {
            Some(refused) if refused.batch == batch => (refused.begun, refused.attempts),
            _ => (now, 0),
        }
    }

    fn later(&mut self, batch: u32, now: Timestamp, after: Duration, error: &ApiError) {
        let (begun, attempts) = self.history(batch, now);
        let not_before = now.checked_add(after).unwrap_or(Timestamp::MAX);
        self.refused = Some(Refused {
            batch,
            begun,
            attempts: attempts + 1,
            not_before,
            status: error.status,
        });
        self.answered();
    }

    /// The provider answered: calls are not lost any more.
    fn answered(&mut self) {
        self.uncertain = (0, None);
    }

    fn lost(&mut self, now: Timestamp) {
        let calls = self.uncertain.0.saturating_add(1);
        let after = AFTER_UNCERTAIN * 2_u32.pow((calls - 1).min(7));
        self.uncertain = (calls, now.checked_add(after).ok());
        self.refused = None;
    }

    /// What holds back the next batch, and until when.
    pub(crate) fn reasons(
        &self,
        driver: &Context<'_>,
        run: &Run,
        next: Option<u32>,
        now: Timestamp,
    ) -> Vec<WaitReason> {
        let mut reasons = Vec::new();
        if let (Some(refused), Some(after)) = (&self.refused, self.wait(now)) {
            reasons.push(WaitReason::Refused {
                batch: refused.batch,
                status: refused.status,
                after,
            });
        }
        if next.is_some() && self.is_too_uncertain(run) {
            reasons.push(WaitReason::TooUncertain {
                calls: self.uncertain.0,
            });
        } else if let Some(batch) = next.filter(|batch| !has_room(driver, run, *batch)) {
            let (queued, limit) = (run.requests_in_flight(), driver.max_queued_requests);
            reasons.push(WaitReason::QueueFull {
                batch,
                queued,
                limit,
            });
        }
        reasons.extend(
            self.short
                .first()
                .map(|(batch, _)| WaitReason::Budget { batch }),
        );
        reasons
    }
}

/// Sends the batches that are planned, in order, while there is room in the queue; `which` tells of
/// which attempts.
pub(crate) async fn send_what_fits(
    driver: &Context<'_>,
    run: &mut Run,
    pace: &mut Pace,
    which: impl Fn(u32) -> bool,
) -> Result<(), Error> {
    pace.short.begin(run);
    while let Some(batch) = run.next_to_send(&which, &pace.short) {
        let must_wait = pace.wait(driver.clock.now()).is_some()
            || pace.is_too_uncertain(run)
            || !has_room(driver, run, batch);
        if driver.is_leaving() || must_wait || !run.is_searched_for(batch) {
            break;
        }
        // What takes time or can fail comes before the reservation: one without an intent behind it
        // is a batch that has to be looked for.
        let call = CreateCall::prepare(driver, run, batch).await?;
        if let Some(shortage) = run.reserve(batch, driver.clock.now())? {
            // By `on_limit`, those behind it wait with it or are sent where they fit.
            pace.short.hold(driver, batch, shortage);
            continue;
        }
        if !send(driver, run, pace, batch, call).await? {
            break;
        }
    }
    Ok(())
}

/// Whether the next batch is sent when the provider's list was searched for it.
pub(crate) fn waits_for_a_search(run: &Run, pace: &Pace, which: impl Fn(u32) -> bool) -> bool {
    run.next_to_send(which, &pace.short)
        .is_some_and(|batch| !run.is_searched_for(batch))
}

/// Requests of batches that are uncertain count: they may well be in the queue.
fn has_room(driver: &Context<'_>, run: &Run, batch: u32) -> bool {
    let queued = run.requests_in_flight();
    queued == 0 || queued + u64::from(run.piece(batch).requests) <= driver.max_queued_requests
}

/// A create call that is about to be made.
struct CreateCall {
    body: Arc<SpooledBody>,
    /// When the newest batch was created that the provider listed, before the first create call of
    /// the run.
    newest_listed: Option<Timestamp>,
}

impl CreateCall {
    async fn prepare(driver: &Context<'_>, run: &Run, batch: u32) -> Result<CreateCall, Error> {
        let body = Arc::new(run.body(batch)?);
        let newest_listed = if run.has_remotes() {
            None
        } else {
            newest_listed(driver).await
        };
        Ok(CreateCall {
            body,
            newest_listed,
        })
    }
}

/// Sends one batch; tells whether the next may follow at once.
async fn send(
    driver: &Context<'_>,
    run: &mut Run,
    pace: &mut Pace,
    batch: u32,
    call: CreateCall,
) -> Result<bool, Error> {
    let CreateCall {
        body,
        newest_listed,
    } = call;
    let (begun, attempts) = pace.history(batch, driver.clock.now());
    let piece = run.piece(batch);
    let (requests, bytes, body_hash) = (piece.requests, piece.body_bytes, piece.body_hash.clone());
    driver.observer.notice(Notice::Submitting {
        batch,
        of: run.batches(),
        requests: requests.into(),
        bytes,
    });
    run.record(
        driver.clock.now(),
        Event::Intent {
            batch,
            requests,
            bytes,
            body_hash,
            newest_listed,
        },
    )?;
    // Not interrupted by a wish to leave: half a create call is uncertain.
    let error = match driver
        .telling_if_slow(Call::Create, driver.api.create(body))
        .await
    {
        Ok(remote) => {
            accept(driver, run, batch, &remote)?;
            pace.refused = None;
            pace.answered();
            return Ok(true);
        }
        Err(error) => error,
    };
    let now = driver.clock.now();
    match judge(
        Call::Create,
        &error,
        attempts,
        between(begun, now),
        driver.clock.jitter(),
    ) {
        Verdict::Doubt => {
            run.record(
                now,
                Event::Doubt {
                    batch,
                    reason: DoubtReason::NoCertainResult {
                        error: error.to_string(),
                    },
                },
            )?;
            pace.lost(now);
            doubt::announce(driver, batch, &error.to_string());
            Ok(false)
        }
        Verdict::Again { after } => {
            refused(run, now, batch, &error)?;
            pace.later(batch, now, after, &error);
            driver.note(&format!(
                "batch {batch} was not accepted ({error}); trying again in {}",
                wait_in_words(after)
            ));
            Ok(false)
        }
        Verdict::Split if requests > 1 => {
            refused(run, now, batch, &error)?;
            pace.refused = None;
            pace.answered();
            let into = split(run, now, batch, most_requests(&error).flatten())?;
            driver.note(&format!(
                "batch {batch} is too large for the provider ({}); its requests are sent in {} \
                 batches, {} to {}",
                error.message,
                into.len(),
                into.first().copied().unwrap_or_default(),
                into.last().copied().unwrap_or_default()
            ));
            Ok(true)
        }
        verdict => {
            refused(run, now, batch, &error)?;
            pace.answered();
            let is_permanent = matches!(verdict, Verdict::Fail | Verdict::Split)
                && matches!(error.status, Some(400 | 413 | 422));
            if is_permanent {
                return Err(Error::Refused(Box::new(RefusedBatch {
                    batch,
                    of: run.batches(),
                    requests,
                    source: error,
                    standing: run.standing_in_words(),
                    run: run.folder().to_path_buf(),
                    nothing_was_sent: run.has_sent_nothing(),
                })));
            }
            Err(stopped(
                run,
                format!("batch {batch} of {} was not accepted", run.batches()),
                error,
            ))
        }
    }
}

/// A batch that the provider does not take as it is: to send it again changes nothing.
#[derive(Debug)]
pub struct RefusedBatch {
    /// The batch, from 1.
    pub batch: u32,
    /// Batches of the run.
    pub of: u32,
    /// Its requests.
    pub requests: u32,
    /// What the provider says.
    pub source: ApiError,
    /// What of the run is safe.
    pub standing: String,
    /// The run.
    pub run: PathBuf,
    /// Whether the provider holds no batch of the run, so that it can be planned again.
    pub nothing_was_sent: bool,
}

impl std::fmt::Display for RefusedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for RefusedBatch {}

/// When the newest batch that the provider lists was created, in its own time: a batch that is
/// created after this is not older, whatever our clock says. Only to be had before the first batch
/// of a run; where the list does not answer, the search goes by our clock.
async fn newest_listed(driver: &Context<'_>) -> Option<Timestamp> {
    let list = driver.telling_if_slow(Call::List, driver.api.list(1, None));
    let page = driver.unless_leaving(list).await?.ok()?;
    Some(
        page.data
            .first()
            .map_or(Timestamp::UNIX_EPOCH, |newest| newest.created_at),
    )
}

fn accept(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    remote: &RemoteBatch,
) -> Result<(), Error> {
    run.record(
        driver.clock.now(),
        Event::Accepted {
            batch,
            id: remote.id.clone(),
            created_at: remote.created_at,
        },
    )?;
    driver.observer.notice(Notice::Accepted {
        batch,
        id: &remote.id,
    });
    Ok(())
}

fn refused(run: &mut Run, now: Timestamp, batch: u32, error: &ApiError) -> Result<(), Error> {
    let asked = Some(asked(error)).filter(|asked| !asked.is_zero());
    let retry_at = asked.and_then(|asked| now.checked_add(asked).ok());
    let (kind, message) = (error.kind.clone(), error.message.clone());
    run.record(
        now,
        Event::Refused {
            batch,
            status: error.status,
            kind,
            message,
            retry_at,
        },
    )
}

/// A provider's error, with what of the run is safe.
pub(crate) fn stopped(run: &Run, doing: String, source: ApiError) -> Error {
    Error::Provider {
        doing,
        source: Box::new(source),
        standing: run.standing_in_words(),
    }
}

/// Asks the provider to cancel every batch in flight, and gives their number. What was planned and
/// not sent stays unsent for good.
///
/// # Errors
/// [`Error::Provider`] when the provider cannot be reached; batches asked before that are recorded.
pub async fn cancel(api: &dyn BatchApi, clock: &dyn Clock, run: &mut Run) -> Result<u64, Error> {
    while let Some(batch) = run.first_unsent() {
        run.record(clock.now(), Event::Withdrawn { batch })?;
    }
    let in_flight: Vec<(u32, BatchId)> = run.in_flight().collect();
    let mut asked = 0;
    for (batch, id) in in_flight {
        run.record(clock.now(), Event::CancelAsked { batch })?;
        // A batch that ended meanwhile answers "not found": there is nothing to cancel, and its
        // results wait.
        let has_ended = |error: &ApiError| {
            error
                .status
                .is_some_and(|status| matches!(status, 400 | 404 | 409))
        };
        let call = with_retry(Call::Cancel, clock, || async {
            match api.cancel(&id).await {
                Err(error) if has_ended(&error) => Ok(false),
                answer => answer.map(|_| true),
            }
        });
        asked += u64::from(call.await.map_err(|source| {
            stopped(run, format!("cannot cancel batch {batch} ({id})"), source)
        })?);
    }
    Ok(asked)
}
