//! Complete runs from a job to its output through the engine, in this process.

use std::time::Duration;

use rowmill::engine::{RunOptions, RunOutcome};

use crate::in_process::Bench;
use crate::support::Workdir;

#[test]
fn waits_a_day_for_a_batch_without_waiting() {
    let bench = Bench::with(
        Workdir::new().with_rows(20),
        "",
        Duration::from_secs(20 * 60 * 60),
    );
    let report = bench.run().unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert_eq!(bench.output().rows(), 20);
    assert!(bench.accepted().values().all(|times| *times == 1));
    assert!(!bench.notices.of("waiting").is_empty());
}

#[test]
fn leaves_at_the_deadline_and_resumes() {
    let bench = Bench::with(
        Workdir::new().with_rows(20),
        "",
        Duration::from_secs(60 * 60),
    );
    let options = RunOptions {
        deadline: Some(Duration::from_secs(60)),
        ..RunOptions::default()
    };
    let left = bench.run_with(&options).unwrap();
    assert_eq!(left.outcome, RunOutcome::Unfinished);
    let done = bench.run().unwrap();
    assert_eq!((done.outcome, done.run), (RunOutcome::Complete, left.run));
    assert!(bench.accepted().values().all(|times| *times == 1));
    assert_eq!(bench.notices.of("resuming").len(), 1);
}

#[test]
fn resumes_after_a_crash_at_its_first_act() {
    let bench = Bench::new(Workdir::new().with_rows(20));
    let job = bench.job();
    let crashed = bench.crash_at(1, |engine| engine.run(&job, &RunOptions::default()));
    crashed.expect_err("a crash");
    assert_eq!(bench.run().unwrap().outcome, RunOutcome::Complete);
    assert!(bench.accepted().values().all(|times| *times == 1));
}
