//! `rowmill retry`: sends failed rows again, by class, and writes the output again.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::RetryOptions;

use super::args::{Common, Retry};
use super::connect::engine;
use super::explain::Failure;
use super::outcome;
use super::screen::Screen;
use super::target;

pub(crate) fn run(
    args: &Retry,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, Some(&args.target), screen)?;
    let engine =
        engine(&state, Duration::ZERO, catalog, screen)?.with_patience(args.patience.patience);
    let options = RetryOptions {
        classes: args.classes.clone(),
        more_tokens: Some(args.max_tokens),
        max_cost: args.budget.max_cost,
        deadline: args.deadline,
        if_running: args.schedule.if_running.option(),
        replace_output: args.place.replace,
    };
    if !args.yes {
        screen.ask_before_retry();
    }
    let report = engine.retry(&engine.find_run(&args.target)?, &options)?;
    Ok(outcome::show(&report, args.schedule, screen))
}
