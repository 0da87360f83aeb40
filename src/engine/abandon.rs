//! Cancel a run, or abandon it; and what the ledger reserves for abandoned runs.
//!
//! ```text
//!   canceled     unsent batches are withdrawn ─▶ the provider is asked to cancel the others
//!   abandoned    withdrawn ─▶ abandoned in the journal ─▶ asked once, if reachable
//!
//!   reserved for a batch of an abandoned run, until
//!     ├─ its results are saved: billed
//!     ├─ its counters say that no request succeeded: nothing was billed, released
//!     └─ it was sent 25 hours ago: it has ended, and nothing more is billed; released
//! ```
//!
//! Abandoning needs neither a connection nor a key, so that a provider that is down, or a simulator
//! that is gone, never blocks a job.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::cost::Money;
use crate::journal::{AbandonReason, Event, Stage, Step};
use crate::provider::retry::{Call, Patience};
use crate::provider::{ApiError, ApiErrorKind, BatchId, Delivery};

use super::connect::Connection;
use super::context::{Context, StopSignal, Until};
use super::notice::Notice;
use super::options::CancelOptions;
use super::provider_error::{Action, stopped};
use super::report::{CancelReport, RunReport};
use super::setup::Engine;
use super::view::BATCH_LIFE;
use super::{Error, Run, drive, in_one_line, leftovers};

/// How long what an abandoned run may cost stays reserved, counted from when a batch was sent: as
/// long as a batch lives, and an hour for clocks that differ and for a slow create call.
pub(super) const LONGEST_RESERVED: Duration = BATCH_LIFE.saturating_add(Duration::from_secs(3_600));
/// How long a call to the provider may take on behalf of an abandoned run: nothing depends on it.
const A_MOMENT: Duration = Duration::from_secs(5);

impl Engine {
    /// Asks the provider to cancel what is in flight. What has come back is kept, and what was not
    /// sent never is.
    ///
    /// With [`CancelOptions::abandon`] the run is abandoned first, whether or not the provider can
    /// be reached; [`CancelReport::not_canceled`] says why its batches were not canceled.
    ///
    /// # Errors
    /// [`Error::Provider`] where the provider cannot be reached and the run is not abandoned; what
    /// was asked before is recorded.
    pub fn cancel(&self, run: &Path, options: &CancelOptions) -> Result<CancelReport, Error> {
        if options.abandon {
            return self.abandon(run);
        }
        let (mut run, connection) = self.open(run, false, None)?;
        withdraw(&mut run, self.clock.now())?;
        let context = self.context(&run, &connection, StopSignal::never(), None);
        let mut asked = 0;
        let canceled = connection.block_on(cancel(&context, &mut run, &mut asked));
        run.write_manifest(self.clock.now())?;
        canceled.map(|()| self.canceled(&run, asked))
    }

    fn abandon(&self, run: &Path) -> Result<CancelReport, Error> {
        let mut run = self.open_offline(run, None)?;
        let was_abandoned = run.state().abandoned().is_some();
        withdraw(&mut run, self.clock.now())?;
        run.abandon(self.clock.now(), AbandonReason::Requested)?;
        run.write_manifest(self.clock.now())?;
        let mut asked = 0;
        let reached = if run.in_flight_or_ended() {
            self.cancel_briefly(&mut run, &mut asked)
        } else {
            Ok(())
        };
        run.release_outlived(self.clock.now())?;
        run.write_manifest(self.clock.now())?;
        Ok(CancelReport {
            was_abandoned,
            not_canceled: reached.err().map(|error| in_one_line(&error)),
            ..self.canceled(&run, asked)
        })
    }

    /// Asks the provider once to cancel what is in flight, and saves what has ended.
    fn cancel_briefly(&self, run: &mut Run, asked: &mut u64) -> Result<(), Error> {
        let connection = self.connect_to(run, false)?;
        let context = self.brief_context(run, &connection);
        connection.block_on(cancel(&context, run, asked))?;
        // What has ended is settled here, the rest by the next command.
        if let Err(error) = connection.block_on(context.drive(run, Until::PolledOnce)) {
            self.observer.notice(Notice::ResultsNotFetched {
                run: run.folder(),
                reason: in_one_line(&error),
            });
        }
        Ok(())
    }

    fn canceled(&self, run: &Run, asked: u64) -> CancelReport {
        let now = self.clock.now();
        CancelReport {
            asked,
            was_abandoned: false,
            not_canceled: None,
            may_run_until: run
                .last_sent()
                .and_then(|at| at.checked_add(BATCH_LIFE).ok()),
            reserved: run.spent_and_reserved().1,
            reserved_until: run
                .last_sent()
                .and_then(|at| at.checked_add(LONGEST_RESERVED).ok()),
            run: RunReport::new(run, drive::standing(run), None, now),
        }
    }

    /// What the steps of an abandoned run work with: every call is made once.
    fn brief_context<'a>(&'a self, run: &Run, connection: &'a Connection) -> Context<'a> {
        let deadline = Some(self.after(A_MOMENT));
        Context {
            patience: Patience::of(Duration::ZERO),
            ..self.context(run, connection, StopSignal::never(), deadline)
        }
    }

    /// Settles what the ledger holds for abandoned runs, as far as their batches have ended, and
    /// releases what was reserved for batches that have outlived their time. What cannot be settled
    /// now is settled the next time. Without a connection, the provider of a run is connected to only
    /// where there is something to settle.
    pub(super) fn settle_abandoned(&self, connection: Option<&Connection>) {
        let Ok(reservations) = leftovers::reservations(self.state.path(), self.ledger_patience)
        else {
            return;
        };
        let folders = reservations
            .into_iter()
            .filter_map(|reservation| reservation.folder);
        let mut is_reachable = true;
        for folder in folders.filter(|f| crate::journal::stage_of(f) == Some(Stage::Abandoned)) {
            let opened = Run::open(&folder, self.clock.now(), &self.budget_context(None));
            let Ok((mut run, _)) = opened else { continue };
            if is_reachable {
                is_reachable = self.look_briefly(&mut run, connection);
            }
            let Ok(amount) = run.release_outlived(self.clock.now()) else {
                continue;
            };
            let _ = run.write_manifest(self.clock.now());
            if amount != Money::ZERO {
                self.observer.notice(Notice::ReservationReleased {
                    run: run.folder(),
                    amount,
                });
            }
        }
    }

    /// Asks the provider of an abandoned run once what has ended; `false` where it cannot be
    /// reached. That of another provider is not asked.
    fn look_briefly(&self, run: &mut Run, connection: Option<&Connection>) -> bool {
        let own = match connection {
            Some(_) => None,
            None => self.connect_to(run, false).ok(),
        };
        let Some(connection) = connection.or(own.as_ref()) else {
            return true;
        };
        if run.check_origin(&connection.origin()).is_err() {
            return true;
        }
        let context = self.brief_context(run, connection);
        let looked = connection.block_on(context.drive(run, Until::PolledOnce));
        looked.is_ok()
    }
}

impl Run {
    /// When the last batch that may still be billed was sent.
    fn last_sent(&self) -> Option<Timestamp> {
        let open = self.state().what_is_left();
        open.filter_map(|(batch, step)| match step {
            Step::Settle | Step::Watch | Step::Collect => {
                self.state().batch(batch).and_then(|batch| batch.sent_at())
            }
            Step::Submit => None,
        })
        .max()
    }
}

/// Records that what was not sent never is.
fn withdraw(run: &mut Run, now: Timestamp) -> Result<(), Error> {
    loop {
        let next = run.state().unsent().next();
        let Some(batch) = next else { return Ok(()) };
        run.record(now, Event::Withdrawn { batch })?;
    }
}

/// Asks the provider to cancel every batch in flight, and counts those that it was asked for.
///
/// # Errors
/// [`Error::Provider`] when the provider cannot be reached; batches asked before that are recorded.
async fn cancel(driver: &Context<'_>, run: &mut Run, asked: &mut u64) -> Result<(), Error> {
    let in_flight: Vec<(u32, BatchId)> = run.state().in_flight().collect();
    for (batch, id) in in_flight {
        run.record(driver.clock.now(), Event::CancelAsked { batch })?;
        // A batch that ended meanwhile answers "not found": there is nothing to cancel, and its
        // results wait.
        let has_ended = |error: &ApiError| {
            error
                .status
                .is_some_and(|status| matches!(status, 400 | 404 | 409))
        };
        let call = driver.retrying(Call::Cancel, None, || async {
            match driver.api.cancel(&id).await {
                Err(error) if has_ended(&error) => Ok(false),
                answer => answer.map(|_| true),
            }
        });
        let answer = driver.unless_leaving(call).await;
        let answer = answer.unwrap_or_else(|| Err(no_answer()));
        *asked += u64::from(answer.map_err(|source| {
            let id = id.clone();
            stopped(run, Action::CancelBatch { batch, id }, source)
        })?);
    }
    Ok(())
}

fn no_answer() -> ApiError {
    let message = format!("no answer within {} s", A_MOMENT.as_secs());
    let kind = ApiErrorKind::Timeout;
    ApiError::new(Call::Cancel, kind, &message, Delivery::Unknown)
}
