//! `rowmill cancel`: cancels the batches in flight; finished answers are kept.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::engine::{CancelOptions, CancelReport, Engine, Error};
use serde_json::{Value, json};

use super::args::{Cancel, Common};
use super::connect::engine;
use super::explain::{self, Failure};
use super::format::{plural, usd};
use super::log::fields_of;
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
        screen.json(&document(&done));
    }
    say(&done, args.abandon, screen);
    Ok(explain::DONE)
}

/// The manifest, and what the command did.
fn document(done: &CancelReport) -> Value {
    let mut document = fields_of(&done.run.manifest);
    let cancel = json!({
        "asked": done.asked,
        "abandoned": done.run.abandoned,
        "was_abandoned": done.was_abandoned,
        "not_canceled": done.not_canceled,
        "may_run_until": done.may_run_until,
        "reserved_usd": done.reserved,
        "reserved_until": done.reserved_until,
    });
    document.insert("cancel".to_owned(), cancel);
    Value::Object(document)
}

fn say(done: &CancelReport, abandons: bool, screen: &Screen) {
    let folder = done.run.folder.display();
    if done.was_abandoned && abandons {
        screen.say(format!("the run {folder} was abandoned before"));
    } else if abandons {
        screen.say(format!(
            "the run {folder} is abandoned; `rowmill run JOB` starts a new run"
        ));
    }
    match (&done.not_canceled, done.asked) {
        (Some(reason), _) => screen.warn(format!(
            "its batches were not canceled at the provider: {reason}; `rowmill cancel {folder} \
             --abandon` tries again"
        )),
        (None, 0) => screen.say("no batch was in flight"),
        (None, asked) => screen.say(format!(
            "requested cancellation of {}; answers finished before are kept and billed",
            plural(asked, "batch", "batches")
        )),
    }
    if abandons && done.run.in_flight_or_ended {
        say_reserved(done, screen);
    } else if !abandons && done.asked > 0 {
        screen.say(format!(
            "`rowmill collect {folder} --wait 10m` fetches the finished answers"
        ));
    }
}

/// What an abandoned run may still cost, and until when.
fn say_reserved(done: &CancelReport, screen: &Screen) {
    let folder = done.run.folder.display();
    if let (Some(end), Some(release)) = (done.may_run_until, done.reserved_until) {
        screen.say(format!(
            "what was sent may run until {}; {} stays reserved until its results have been seen, \
             at most until {}",
            minute(end),
            usd(done.reserved),
            minute(release)
        ));
    }
    screen.say(format!(
        "`rowmill collect {folder}` fetches its results, and counts what they cost"
    ));
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
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
