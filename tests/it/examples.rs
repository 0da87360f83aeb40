//! Runs the programs in `examples/`.

use rowmill::engine::RunOutcome;

use crate::support::Workdir;

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "an example is a program of its own"
)]
#[path = "../../examples/embed.rs"]
mod embed;
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "an example is a program of its own"
)]
#[path = "../../examples/progress.rs"]
mod progress;

#[test]
fn embeds_the_engine_in_a_dozen_lines() {
    let work = Workdir::new().with_rows(12);
    let report = embed::run(&work.path("job.toml"), &work.path("state")).unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert!(report.all_succeeded());
    assert!(report.output_path().unwrap().is_file());
}

#[test]
fn reports_progress_as_data_and_stops_on_request() {
    let work = Workdir::new().with_rows(12);
    let (job, state) = (work.path("job.toml"), work.path("state"));
    let (stopped, notices) = progress::run(&job, &state, Some("accepted")).unwrap();
    assert_eq!(stopped.outcome, RunOutcome::Interrupted);
    assert!(
        notices.iter().any(|line| line.contains("\"planned\"")),
        "{notices:?}"
    );
    let (done, notices) = progress::run(&job, &state, None).unwrap();
    assert_eq!(done.outcome, RunOutcome::Complete);
    assert_eq!(done.run, stopped.run);
    assert!(
        notices.iter().any(|line| line.contains("\"resuming\"")),
        "{notices:?}"
    );
}
