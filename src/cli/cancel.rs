//! `rowmill cancel`: cancels what is in flight; what has come back is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::engine::drive::Until;
use rowmill::engine::{Run, leftovers, submit};
use rowmill::journal::AbandonReason;
use rowmill::provider::retry::SystemClock;

use super::args::{Cancel, Common};
use super::connect::Connection;
use super::explain::{self, Failure};
use super::format::usd;
use super::run::{OpenOptions, batches, look_for, open};
use super::screen::Screen;
use super::target::run_of;

pub(crate) fn run(
    args: &Cancel,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = match run_of(&args.target, &common.state) {
        Err(failure) if args.abandon => {
            return write_off(&args.target, &common.state, screen).unwrap_or(Err(failure));
        }
        folder => folder?,
    };
    let (mut run, connection) = open(
        &folder,
        &common.state,
        OpenOptions::as_it_is(catalog),
        screen,
    )?;
    let asked = connection.block_on(submit::cancel(&connection.api, &SystemClock, &mut run));
    if asked.is_ok() && args.abandon {
        run.abandon(Timestamp::now(), AbandonReason::Requested)?;
        settle(&mut run, &connection, screen);
    }
    run.write_manifest(Timestamp::now())?;
    let asked = asked?;
    if screen.json {
        screen.json(&super::summary::of_run(&run));
    }
    screen.say(match asked {
        0 => "no batch was in flight".to_owned(),
        asked => format!(
            "{} asked to cancel; what was finished before is kept and billed",
            batches(asked)
        ),
    });
    if args.abandon {
        screen.say(format!(
            "the run {} is given up; `rowmill run` with its job file starts a new one",
            folder.display()
        ));
        if run.in_flight_or_ended() {
            screen.say(format!(
                "`rowmill collect {}` fetches what it sent, and settles what is reserved for it",
                folder.display()
            ));
        }
    } else if asked > 0 {
        screen.say(format!(
            "`rowmill collect {} --wait 10m` fetches what came back",
            folder.display()
        ));
    }
    Ok(explain::DONE)
}

/// How long a run that is given up is watched, so that its batches end and what they came to is
/// known.
const A_WHILE: Duration = Duration::from_secs(10);

/// Fetches what ends within moments, so that the ledger holds no more than is still in flight. What
/// does not is settled by `collect`.
fn settle(run: &mut Run, connection: &Connection, screen: &Screen) {
    if run.in_flight_or_ended()
        && let Err(error) = look_for(
            run,
            connection,
            Until::Fetched,
            Some(Timestamp::now() + A_WHILE),
            screen,
        )
    {
        screen.warn(error.to_string());
    }
}

/// Writes off what the ledger holds for a run whose folder is gone; `None` where it holds nothing
/// for it.
fn write_off(target: &Path, state: &Path, screen: &Screen) -> Option<Result<u8, Failure>> {
    match leftovers::write_off(state, target.to_str()?, Timestamp::now()) {
        Ok(Some(amount)) => {
            let run = target.display();
            screen.say(format!(
                "run {run} is gone; the {} reserved for it stay held for the day it was sent on, \
                 since its bill cannot be known",
                usd(amount)
            ));
            Some(Ok(explain::DONE))
        }
        Ok(None) => None,
        Err(error) => Some(Err(error.into())),
    }
}
