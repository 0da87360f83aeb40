//! `rowmill rescue`: rebuilds a run whose journal is lost.

use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::engine::drive::Until;
use rowmill::engine::rescue;

use super::args::{Common, Rescue};
use super::explain::Failure;
use super::run::{OpenOptions, carry_on, open};
use super::screen::Screen;
use super::target::run_of;

pub(crate) fn run(
    args: &Rescue,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let (run, kept) = rescue::rescue(
        &folder,
        Timestamp::now(),
        &OpenOptions::as_it_is(catalog).means(&common.state),
    )?;
    let settle = run.settle();
    // The lock goes with the run; opening it again finds the way to its provider too.
    drop(run);
    if let Some(kept) = kept {
        screen.say(format!("the old journal is kept as {}", kept.display()));
    }
    screen.say(format!(
        "every batch is looked for in the provider's list; one that has not shown itself after {} \
         s counts as not made, and `rowmill run` sends it",
        settle.as_secs()
    ));
    let (mut run, connection) = open(
        &folder,
        &common.state,
        OpenOptions::as_it_is(catalog),
        screen,
    )?;
    carry_on(
        &mut run,
        &connection,
        Until::Sent,
        None,
        &common.state,
        screen,
    )
}
