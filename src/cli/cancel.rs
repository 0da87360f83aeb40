//! `rowmill cancel`: cancels what is in flight; what has come back is kept.

use std::time::Duration;

use jiff::Timestamp;
use rowmill::pipeline::submit;
use rowmill::provider::retry::SystemClock;

use super::args::{Cancel, Common};
use super::explain::{self, Failure};
use super::run::{batches, open};
use super::screen::Screen;
use super::target::run_of;

pub(crate) fn run(args: &Cancel, common: &Common, screen: &Screen) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let (mut run, connection) = open(&folder, &common.state, Duration::ZERO, false, screen)?;
    let asked = connection.runtime.block_on(submit::cancel(&connection.api, &SystemClock, &mut run));
    run.write_manifest(Timestamp::now())?;
    connection.close();
    let asked = asked?;
    if screen.json {
        screen.json(&super::summary::of_run(&run));
    }
    screen.say(format!("{} asked to cancel; what they had finished is kept and billed", batches(asked)));
    screen.say(format!("`rowmill collect {} --wait 10m` fetches what came back", folder.display()));
    Ok(explain::DONE)
}
