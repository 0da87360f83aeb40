//! `rowmill rescue`: rebuilds a run whose journal is lost.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;

use super::args::{Common, Rescue, Schedule};
use super::connect::engine;
use super::explain::Failure;
use super::outcome;
use super::screen::Screen;
use super::target;

pub(crate) fn run(
    args: &Rescue,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, Some(&args.target), screen)?;
    let engine =
        engine(&state, Duration::ZERO, catalog, screen)?.with_patience(args.patience.patience);
    let report = engine.rescue(&engine.find_run(&args.target)?)?;
    Ok(outcome::show(&report, Schedule::default(), screen))
}
