//! `rowmill export`: parses the answers of a run with the current job file, and writes the output
//! again.

use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::{ReexportOptions, Target};
use rowmill::job::JobFile;

use super::args::{Common, Export as Args, Schedule};
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
    let engine = engine(&state, Duration::ZERO, catalog, screen)?;
    let folder = engine.find_run(&args.target)?;
    let job = match (&args.job, target::find(&engine, &args.target)?) {
        (Some(path), _) => Some(JobFile::read(path)?),
        (None, Target::Job(file)) => Some(*file),
        (None, Target::Run(_)) => None,
    };
    let options = ReexportOptions {
        job,
        replace_output: args.place.replace,
    };
    let report = engine.export(&folder, &options)?;
    Ok(outcome::show(&report, Schedule::default(), screen))
}
