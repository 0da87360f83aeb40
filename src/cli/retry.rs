//! `rowmill retry`: sends failed rows again, by class, and writes the output anew.

use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::pipeline::drive::Until;
use rowmill::pipeline::heal::{self, Policy};

use super::args::{Common, Retry};
use super::explain::{self, Failure};
use super::run::{Way, carry_on, look_once, open, say_healing};
use super::screen::Screen;
use super::target::run_of;

pub(crate) fn run(args: &Retry, common: &Common, catalog: &Arc<Catalog>, screen: &Screen) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let (mut run, connection) =
        open(&folder, &common.state, Way { max_cost: args.budget.max_cost, ..Way::as_it_is(catalog) }, screen)?;
    run.check_not_abandoned()?;
    if run.may_fetch_more(Timestamp::now()) {
        // What can be fetched for nothing is not paid again.
        look_once(&mut run, &connection, screen).map_err(Failure::UnderWay)?;
    }
    if !run.state().is_collected() {
        let message = format!("the run `{}` is not finished: which rows failed is not known yet", folder.display());
        return Err(Failure::words(explain::CHANGE, message, format!("`rowmill run {}` finishes it", folder.display())));
    }
    let policy = Policy::by_hand(args.classes.iter().copied(), args.max_tokens);
    let pieces = heal::all_pieces(&run);
    let healing = heal::heal(&mut run, pieces, &policy, Timestamp::now())?;
    if healing.rows == 0 {
        screen.say("no row of the run failed in that way; nothing is sent");
        return Ok(explain::DONE);
    }
    say_healing(&healing, screen);
    let deadline = args.deadline.map(|deadline| Timestamp::now() + deadline);
    carry_on(&mut run, &connection, Until::Collected, deadline, &common.state, screen)
}
