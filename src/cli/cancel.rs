//! `rowmill cancel`: cancels what is in flight; what has come back is kept.

use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::pipeline::submit;
use rowmill::provider::retry::SystemClock;

use super::args::{Cancel, Common};
use super::explain::{self, Failure};
use super::run::{Way, batches, open};
use super::screen::Screen;
use super::target::run_of;

pub(crate) fn run(args: &Cancel, common: &Common, catalog: &Arc<Catalog>, screen: &Screen) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let (mut run, connection) = open(&folder, &common.state, Way::as_it_is(catalog), screen)?;
    let asked = connection.block_on(submit::cancel(&connection.api, &SystemClock, &mut run));
    if asked.is_ok() && args.abandon {
        run.abandon(Timestamp::now(), "given up by a person")?;
    }
    run.write_manifest(Timestamp::now())?;
    let asked = asked?;
    if screen.json {
        screen.json(&super::summary::of_run(&run));
    }
    screen.say(match asked {
        0 => "no batch was in flight".to_owned(),
        asked => format!("{} asked to cancel; what was finished before is kept and billed", batches(asked)),
    });
    if args.abandon {
        screen.say(format!("the run {} is given up; the job starts anew", folder.display()));
    } else if asked > 0 {
        screen.say(format!("`rowmill collect {} --wait 10m` fetches what came back", folder.display()));
    }
    Ok(explain::DONE)
}
