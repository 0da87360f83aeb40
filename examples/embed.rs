//! Runs a job on the simulator and prints where its output is.
//!
//! ```sh
//! cargo run --example embed -- sample_data/tickets/triage.toml
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use rowmill::engine::{Engine, Error, RunOptions, RunReport, StateLocation, Target};
use rowmill::job::JobFile;

/// Takes a job to its output, with its runs kept in `state`.
pub fn run(job: &Path, state: &Path) -> Result<RunReport, Error> {
    let engine = Engine::new(state)?;
    let options = RunOptions {
        simulate: true,
        ..RunOptions::default()
    };
    engine.run(&Target::job(JobFile::read(job)?), &options)
}

#[allow(dead_code, reason = "the tests include this file and call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job = std::env::args().nth(1).ok_or("usage: embed JOB")?;
    let state = StateLocation::of_job(&JobFile::read(job.as_ref())?);
    let report = run(job.as_ref(), state.path())?;
    println!("{:?}: {:?}", report.outcome, report.output_path());
    Ok(())
}
