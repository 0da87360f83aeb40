//! `rowmill collect`: fetches ended batches, and writes the output once all have ended.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::CollectOptions;

use super::args::{Collect, Common};
use super::connect::engine;
use super::explain::Failure;
use super::outcome;
use super::screen::Screen;
use super::target;

pub(crate) fn run(
    args: &Collect,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, Some(&args.target), screen)?;
    let engine =
        engine(&state, Duration::ZERO, catalog, screen)?.with_patience(args.patience.patience);
    let options = CollectOptions {
        wait: args.wait,
        if_running: args.schedule.if_running.option(),
        replace_output: args.place.replace,
    };
    let report = engine.collect(&engine.find_run(&args.target)?, &options)?;
    Ok(outcome::show_collected(&report, args.schedule, screen))
}
