//! `rowmill cancel`: cancels the batches in flight; finished answers are kept.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::{CancelOptions, CancelReport, Engine, Error};

use super::args::{Cancel, Common};
use super::connect::engine;
use super::explain::{self, Failure};
use super::format::{plural, usd};
use super::screen::Screen;
use super::target;

pub(crate) fn run(
    args: &Cancel,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, Some(&args.target), screen)?;
    let engine = engine(&state, Duration::ZERO, catalog, screen)?;
    let folder = match engine.find_run(&args.target) {
        Err(error @ Error::NoRun { .. }) if args.abandon => {
            return write_off(&engine, args, error, screen);
        }
        folder => folder?,
    };
    let options = CancelOptions {
        abandon: args.abandon,
    };
    let done = engine.cancel(&folder, &options)?;
    screen.finish();
    if screen.json {
        screen.json(&done.run.manifest);
    }
    say(&done, args.abandon, screen);
    Ok(explain::DONE)
}

fn say(done: &CancelReport, abandoned: bool, screen: &Screen) {
    let folder = done.run.folder.display();
    screen.say(match done.asked {
        0 => "no batch was in flight".to_owned(),
        asked => format!(
            "requested cancellation of {}; answers finished before are kept and billed",
            plural(asked, "batch", "batches")
        ),
    });
    if abandoned {
        screen.say(format!(
            "the run {folder} is abandoned; `rowmill run` with its job file starts a new run"
        ));
        if done.run.in_flight_or_ended {
            screen.say(format!(
                "`rowmill collect {folder}` fetches its results, and settles the amount reserved \
                 for it"
            ));
        }
    } else if done.asked > 0 {
        screen.say(format!(
            "`rowmill collect {folder} --wait 10m` fetches the finished answers"
        ));
    }
}

/// Releases the ledger's reservations of a run whose folder is missing.
fn write_off(
    engine: &Engine,
    args: &Cancel,
    no_run: Error,
    screen: &Screen,
) -> Result<u8, Failure> {
    let run = args.target.to_string_lossy();
    match engine.write_off(&run)? {
        Some(amount) => {
            screen.say(format!(
                "run {run} does not exist any more; the {} reserved for it still count for the day \
                 it was sent, because its bill is unknown",
                usd(amount)
            ));
            Ok(explain::DONE)
        }
        None => Err(no_run.into()),
    }
}
