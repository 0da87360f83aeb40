//! Spooled batches → accepted batches, each accepted once.
//!
//! ```text
//!   intent to the journal ─▶ POST ─┬─▶ accepted: id to the journal
//!                                  ├─▶ refused, certainly without effect: to the journal; later again, in smaller batches, or stop
//!                                  └─▶ uncertain: to the journal; looked for (doubt.rs), while the other batches are sent
//! ```
//!
//! Batches are sent one after the other. One that is uncertain holds back only what would carry the
//! same rows: every other batch of the run has other custom_ids, so neither can be mistaken for the
//! other, whatever their results.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::batch::SpooledBody;
use crate::journal::{DoubtReason, Event};
use crate::provider::retry::{Call, Verdict, asked, most_requests};
use crate::provider::{ApiError, RemoteBatch};

use super::context::{Context, between};
use super::note::{StepNote, UncertainCause};
use super::notice::Notice;
use super::pace::{Pace, has_room};
use super::provider_error::{Action, RunStanding, stopped};
use super::split::split;
use super::{Error, Run, budget_split, doubt};

/// Sends the batches that are planned, in order, while there is room in the queue; `which` selects
/// the attempts.
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
            if budget_split::split_to_fit(driver, run, batch, &shortage)? {
                continue;
            }
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
        let newest_listed = if run.state().has_remotes() {
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

/// Sends one batch, and returns whether the next may follow at once.
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
    let spooled = run.spooled(batch);
    let (requests, bytes, body_hash) = (
        spooled.requests,
        spooled.body_bytes,
        spooled.body_hash.clone(),
    );
    driver.observer.notice(Notice::Submitting {
        batch,
        of: run.state().batch_count(),
        requests: requests.into(),
        bytes,
    });
    // The intent is on disk before the call: if the process ends during the call, the journal says
    // that a batch may exist, and never that none does.
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
    // A stop signal does not interrupt this call: half a create call would be uncertain.
    let error = match driver
        .reporting_if_slow(Call::Create, driver.api.create(body))
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
    match driver.patience.judge(
        Call::Create,
        &error,
        attempts,
        between(begun, now),
        driver.clock.jitter(),
    ) {
        // The journal has it before anything else is done: a process that resumes the run has to
        // look for this batch, and must not send it again.
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
            doubt::announce(driver, batch, UncertainCause::Call { error });
            Ok(false)
        }
        Verdict::Again { after } => {
            let retry_at = asked(&error).and_then(|asked| now.checked_add(asked).ok());
            refused(run, now, batch, &error, retry_at)?;
            pace.later(batch, now, after, &error);
            driver.note(StepNote::NotAccepted {
                batch,
                error,
                after,
            });
            Ok(false)
        }
        // The parts replace the batch, which was not created.
        Verdict::Split if requests > 1 => {
            refused(run, now, batch, &error, None)?;
            pace.refused = None;
            pace.answered();
            let into = split(run, now, batch, most_requests(&error).flatten())?;
            driver.note(StepNote::SplitUp { batch, error, into });
            Ok(true)
        }
        verdict => {
            refused(run, now, batch, &error, None)?;
            pace.answered();
            let is_permanent = matches!(verdict, Verdict::Fail | Verdict::Split)
                && matches!(error.status, Some(400 | 413 | 422));
            if is_permanent {
                return Err(Error::Refused(Box::new(RefusedBatch {
                    batch,
                    of: run.state().batch_count(),
                    requests,
                    source: error,
                    standing: run.standing(),
                    run: run.folder().to_path_buf(),
                    nothing_was_sent: run.state().has_sent_nothing(),
                })));
            }
            let of = run.state().batch_count();
            Err(stopped(run, Action::CreateBatch { batch, of }, error))
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
    /// How far the run is.
    pub standing: RunStanding,
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
/// created after this is not older, whatever our clock says. Available only before the first batch
/// of a run; where the list does not answer, the search goes by our clock.
async fn newest_listed(driver: &Context<'_>) -> Option<Timestamp> {
    let list = driver.reporting_if_slow(Call::List, driver.api.list(1, None));
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

/// Records a refusal. `retry_at` is when the batch may be sent again, where the provider asks for a
/// time and this command waits for it: one that gives up leaves the next command free to try.
fn refused(
    run: &mut Run,
    now: Timestamp,
    batch: u32,
    error: &ApiError,
    retry_at: Option<Timestamp>,
) -> Result<(), Error> {
    let (kind, message) = (error.kind.to_string(), error.message.clone());
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
