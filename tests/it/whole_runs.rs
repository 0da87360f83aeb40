//! Complete runs from a job to its output through the engine, in this process.

use std::time::Duration;

use rowmill::engine::{Error, PlanOptions, RunOptions, RunOutcome, StopSignal, Target};

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

#[test]
fn stops_planning_by_its_signal_and_sends_nothing() {
    let bench = Bench::new(Workdir::new().with_rows(20));
    let (handle, stop) = StopSignal::new();
    handle.stop();
    let engine = bench.engine_with(stop);
    let job = bench.job();
    let stopped = engine.run(&job, &RunOptions::default());
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    let Target::Job(file) = &job else {
        panic!("a job")
    };
    let stopped = engine.plan(file, &PlanOptions::default());
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert!(bench.accepted().is_empty());
    assert_eq!(bench.run().unwrap().outcome, RunOutcome::Complete);
    assert!(bench.accepted().values().all(|times| *times == 1));
}

#[test]
fn a_deadline_beyond_all_time_is_none() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    let options = RunOptions {
        deadline: Some(Duration::MAX),
        ..RunOptions::default()
    };
    let report = bench.run_with(&options).unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
}

#[test]
fn a_report_is_data_with_what_was_exported() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    let report = serde_json::to_value(bench.run().unwrap()).unwrap();
    assert_eq!(report["outcome"], "complete");
    assert_eq!(report["summary"]["totals"]["rows"], 3);
    assert_eq!(report["summary"]["failures"]["for_good"], 0);
}

#[test]
fn a_canceled_run_reports_where_it_stands() {
    let bench = Bench::with(
        Workdir::new().with_rows(3),
        "",
        Duration::from_secs(60 * 60),
    );
    bench.submit().unwrap();
    let canceled = bench.cancel(false).unwrap();
    assert_eq!(canceled.asked, 1);
    assert_eq!(canceled.run.outcome, RunOutcome::Unfinished);
    bench.collect(Some(Duration::from_secs(60 * 60))).unwrap();
    assert_eq!(
        bench.cancel(false).unwrap().run.outcome,
        RunOutcome::Complete
    );
}
