//! `rowmill submit`: plans and sends, then exits.

use std::sync::Arc;

use rowmill::catalog::Catalog;
use rowmill::engine::RunOptions;

use super::args::{Common, Submit};
use super::connect::engine;
use super::explain::Failure;
use super::outcome;
use super::screen::Screen;
use super::target;

pub(crate) fn run(
    args: &Submit,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, Some(&args.target), screen)?;
    let engine =
        engine(&state, args.processing, catalog, screen)?.with_patience(args.patience.patience);
    let options = RunOptions {
        simulate: args.simulate,
        rows: args.select.selection(),
        max_cost: args.budget.max_cost,
        new: args.fresh.new,
        no_reuse: args.fresh.no_reuse || args.fresh.again,
        if_running: args.schedule.if_running.option(),
        resubmit_uncertain: args.resubmit_doubtful,
        ignore_canary: args.ignore_canary,
        take_over: args.owner.take_over,
        ..RunOptions::default()
    };
    let target = target::find(&engine, &args.target)?;
    target::check_new(&target, args.fresh)?;
    let report = engine.submit(&target, &options)?;
    Ok(outcome::show_submitted(&report, args.schedule, screen))
}
