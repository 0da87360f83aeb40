//! `rowmill run`: plan, submit, watch, collect, export; resumes an unfinished run of the same job.

use std::sync::Arc;

use rowmill::catalog::Catalog;
use rowmill::engine::RunOptions;

use super::args::{Common, Run as Args};
use super::connect::engine;
use super::explain::Failure;
use super::outcome;
use super::screen::Screen;
use super::target;

pub(crate) fn run(
    args: &Args,
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
        calibrate: args.calibrate,
        new: args.fresh.new,
        no_reuse: args.fresh.no_reuse || args.fresh.again,
        if_running: args.schedule.if_running.option(),
        resubmit_uncertain: args.resubmit_doubtful,
        ignore_canary: args.ignore_canary,
        replace_output: args.place.replace,
        take_over: args.owner.take_over,
        deadline: args.deadline,
    };
    let target = target::find(&engine, &args.target)?;
    target::check_new(&target, args.fresh)?;
    let report = engine.run(&target, &options)?;
    Ok(outcome::show(&report, args.schedule, screen))
}
