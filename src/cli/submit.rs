//! `rowmill submit`: plan and send, then leave.

use std::sync::Arc;

use rowmill::catalog::Catalog;
use rowmill::engine::drive::Until;

use super::args::{Common, Submit};
use super::explain::Failure;
use super::run::{Begun, Start, carry_on, nothing_to_do, resubmit_doubtful};
use super::screen::Screen;

pub(crate) fn run(
    args: &Submit,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let start = Start {
        target: &args.target,
        simulate: args.simulate,
        processing: args.processing,
        select: &args.select,
        max_cost: args.budget.max_cost,
        calibrate: None,
        again: args.again,
        catalog,
    };
    let (mut run, connection) = match start.begin(common, screen)? {
        Begun::Ready(ready) => *ready,
        Begun::Over(finished) => {
            return nothing_to_do(&finished, Until::Sent, false, common, catalog, screen);
        }
    };
    if args.resubmit_doubtful {
        resubmit_doubtful(&mut run, screen);
    }
    if args.ignore_canary {
        run.ignore_canary();
    }
    carry_on(
        &mut run,
        &connection,
        Until::Sent,
        None,
        &common.state,
        screen,
    )
}
