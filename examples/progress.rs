//! Runs a job on the simulator, collects what it reports on the way, and stops it on request.
//!
//! ```sh
//! cargo run --example progress -- sample_data/tickets/triage.toml
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rowmill::engine::{
    Engine, Error, Notice, Observer, RunOptions, RunReport, StateLocation, StopHandle, StopSignal,
    Target,
};
use rowmill::job::JobFile;

/// Keeps every notice as one JSON object, and stops the run at the one it waits for.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    stop_at: Option<(&'static str, StopHandle)>,
}

impl Log {
    /// The notices so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Observer for Log {
    fn notice(&self, notice: Notice<'_>) {
        let line = serde_json::to_string(&notice).unwrap_or_else(|error| error.to_string());
        if let Some((kind, handle)) = &self.stop_at
            && line.contains(&format!("\"notice\":\"{kind}\""))
        {
            handle.stop();
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }
}

/// Takes a job to its output, or stops after the first notice of the kind `stop_at`.
pub fn run(
    job: &Path,
    state: &Path,
    stop_at: Option<&'static str>,
) -> Result<(RunReport, Vec<String>), Error> {
    let (handle, stop) = StopSignal::new();
    let log = Arc::new(Log {
        stop_at: stop_at.map(|kind| (kind, handle)),
        ..Log::default()
    });
    let engine = Engine::new(state)?
        .with_observer(Arc::clone(&log))
        .with_stop(stop);
    let options = RunOptions {
        simulate: true,
        ..RunOptions::default()
    };
    let report = engine.run(&Target::job(JobFile::read(job)?), &options)?;
    Ok((report, log.lines()))
}

#[allow(dead_code, reason = "the tests include this file and call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job = std::env::args().nth(1).ok_or("usage: progress JOB")?;
    // The state is beside the job, whichever directory the program is run in.
    let state = StateLocation::of_job(&JobFile::read(job.as_ref())?);
    let (report, notices) = run(job.as_ref(), state.path(), None)?;
    notices.iter().for_each(|notice| println!("{notice}"));
    println!("{:?}: {:?}", report.outcome, report.output_path());
    Ok(())
}
