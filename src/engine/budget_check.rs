//! Whether the budget holds a run back: before its first batch, and later when nothing that is left
//! fits any more.

use jiff::Timestamp;

use crate::ledger::OnLimit;

use super::context::Until;
use super::pace::HeldByBudget;
use super::{Error, Run, budget_split};

/// Stops a run before its first batch if the expected cost of all of them does not fit into the
/// budget, unless the job allows those that fit to be sent.
pub(crate) fn check_before_the_first(run: &Run, now: Timestamp) -> Result<(), Error> {
    if run.state().has_begun() || run.on_limit() == OnLimit::Partial {
        Ok(())
    } else {
        run.check_budget(now)
    }
}

/// Whether the budget holds everything that could be sent now, and no batch is in flight whose end
/// would make room.
///
/// # Errors
/// [`Error::Budget`] where that is the end of it: the job says so, or nothing of the run was sent.
/// Rows that were answered once are worth an output even if others cannot be sent again.
pub(crate) fn is_held(
    run: &Run,
    until: Until,
    held: &mut HeldByBudget,
    now: Timestamp,
) -> Result<bool, Error> {
    let is_under_way = run.state().doubts().next().is_some()
        || run.state().in_flight().next().is_some()
        || run.ended().next().is_some();
    if is_under_way && until != Until::Sent {
        return Ok(false);
    }
    let Some((batch, shortage)) = held
        .first()
        .map(|(batch, shortage)| (batch, shortage.clone()))
    else {
        return Ok(!until.sends(1)
            && run.on_limit() == OnLimit::Partial
            && has_no_room_for_the_rest(run, now)?);
    };
    // While a batch was in flight, others may have been settled: only what does not fit now is
    // held, and of which not even a part fits.
    if !is_under_way && (!held.is_current(run) || has_room_for_one_of(run, held, now)?) {
        held.clear();
        return Ok(false);
    }
    let is_first_try = run
        .state()
        .batch(batch)
        .is_some_and(|batch| batch.attempt == 1);
    let is_stuck = run
        .next_to_send(|attempt| until.sends(attempt), held)
        .is_none();
    // What is in flight will be billed with less, so that `submit` only has to come back for the
    // rest.
    let is_the_end = is_first_try && run.on_limit() == OnLimit::Stop && !is_under_way;
    if is_the_end || (is_stuck && !is_under_way && !run.state().has_remotes()) {
        let cause = budget_split::cause(run, batch, now)?;
        return Err(run.short(shortage, cause)?);
    }
    Ok(is_stuck)
}

fn has_room_for_one_of(run: &Run, held: &HeldByBudget, now: Timestamp) -> Result<bool, Error> {
    for batch in held.batches() {
        if run.shortage(batch, now)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what an earlier command left unsent is still held by the budget, so that who fetches
/// need not wait for it.
fn has_no_room_for_the_rest(run: &Run, now: Timestamp) -> Result<bool, Error> {
    match run.state().unsent().next() {
        Some(batch) if run.state().has_remotes() => Ok(run.shortage(batch, now)?.is_some()),
        _ => Ok(false),
    }
}
