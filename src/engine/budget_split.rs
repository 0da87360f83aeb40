//! A batch that the budget has no room for → a part that fits now, and the rest.
//!
//! What is reserved for a batch is its worst case, which may be many times of what it costs. So a
//! batch that is small enough for the limit by its expected cost need not fit into it at once: its
//! first requests are sent, and once they are billed there is room for more. Each round uses all
//! that is left, so that there are few of them:
//!
//! ```text
//!  limit $1.00, expected $0.37, worst case $5.00
//!  round 1   room $1.00  ▶ a fifth of the requests, which come to $0.07
//!  round 2   room $0.93  ▶ …
//! ```

use jiff::Timestamp;

use crate::cost::Money;
use crate::ledger::{OnLimit, Shortage};

use super::budget::BudgetCause;
use super::context::Context;
use super::note::StepNote;
use super::split::split_after;
use super::{Error, Run};

/// Where not all of a run can be paid, parts are sent down to one of this many of what is left:
/// smaller ones would take many rounds, and change little.
const SMALLEST_PART: u64 = 20;
/// Rounds that are counted at most: what takes more is as good as endless.
const MOST_ROUNDS: u32 = 1_000;

/// Splits a batch so that its first part fits into the budget, and returns whether that was done.
/// While most of the budget is reserved for other batches of the run it is not: once those are
/// settled, there is more room, and fewer parts are needed.
pub(crate) fn split_to_fit(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    shortage: &Shortage,
) -> Result<bool, Error> {
    let now = driver.clock.now();
    let room = run.room(now)?;
    if run.in_flight_or_ended() && run.spent_and_reserved().1 > room {
        return Ok(false);
    }
    let requests = run.rows_of(batch)?.within(run, room)?;
    let min = run.format().rules().min_requests.max(1);
    if requests < min
        || run.spooled(batch).requests < requests + min
        || is_pointless(run, requests, room)?
    {
        return Ok(false);
    }
    let into = split_after(run, now, batch, requests)?;
    driver.note(StepNote::SplitForBudget {
        batch,
        requests: run.spooled(into[0]).requests,
        of: run.spooled(batch).requests,
        worst_case: shortage.asked,
        left: room,
        into,
    });
    Ok(true)
}

/// Whether a part of this many requests brings the run no nearer to its end: the rest is expected
/// to cost more than there is.
fn is_pointless(run: &Run, requests: u32, room: Money) -> Result<bool, Error> {
    if run.left_to_send()?.expected <= room {
        return Ok(false);
    }
    let left: u64 = run.requests_left_to_send();
    Ok(run.on_limit() == OnLimit::Stop || u64::from(requests) < left.div_ceil(SMALLEST_PART))
}

/// Why a batch, of which nothing fits any more, does not fit.
pub(crate) fn cause(run: &Run, batch: u32, now: Timestamp) -> Result<BudgetCause, Error> {
    if run.left_to_send()?.expected > run.room(now)? {
        return Ok(BudgetCause::Expected);
    }
    let worst_case = run.rows_of(batch)?.first_worst_case(run)?;
    Ok(BudgetCause::OneRequest { worst_case })
}

/// In how many rounds something is sent of which this is left to spend: in each, what fits by its
/// worst case is sent, and comes to its expected cost.
#[must_use]
pub(crate) fn rounds(left: Money, expected: Money, worst_case: Money) -> u32 {
    let (mut left, mut unsent, mut rounds) = (as_f64(left), as_f64(worst_case), 1);
    let real = as_f64(expected) / unsent.max(1.0);
    while unsent > left && rounds < MOST_ROUNDS {
        unsent -= left;
        left -= left * real;
        rounds += 1;
    }
    rounds
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an approximate number of rounds"
)]
fn as_f64(money: Money) -> f64 {
    money.picodollars() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rounds_in_which_everything_is_sent() {
        let rounds = |left: &str, expected: &str, worst_case: &str| {
            let usd = |text: &str| text.parse::<Money>().unwrap();
            rounds(usd(left), usd(expected), usd(worst_case))
        };
        assert_eq!(rounds("1", "0.37", "1"), 1);
        assert_eq!(rounds("1", "0.37", "1.01"), 2);
        assert_eq!(
            rounds("1", "0.37", "5"),
            7,
            "1 + .926 + .857 + .794 + .735 + .681 = 4.99"
        );
        assert_eq!(rounds("1", "0.99", "5"), 21);
        assert_eq!(rounds("0", "0", "5"), MOST_ROUNDS);
        assert_eq!(rounds("0", "0", "0"), 1);
    }
}
