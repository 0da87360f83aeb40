//! `rowmill collect`: fetch what has ended, and write the output once all of it is there.

use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::engine::drive::Until;

use super::args::{Collect, Common};
use super::explain::Failure;
use super::run::{OpenOptions, carry_on, open};
use super::screen::Screen;
use super::target::run_of;

pub(crate) fn run(
    args: &Collect,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let (mut run, connection) = open(
        &folder,
        &common.state,
        OpenOptions::as_it_is(catalog),
        screen,
    )?;
    if args.place.replace {
        run.replace_output();
    }
    let (until, deadline) = match args.wait {
        None => (Until::LookedOnce, None),
        Some(wait) => (Until::Fetched, Some(Timestamp::now() + wait)),
    };
    carry_on(
        &mut run,
        &connection,
        until,
        deadline,
        &common.state,
        screen,
    )
}
