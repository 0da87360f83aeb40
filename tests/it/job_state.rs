//! The state belongs to the job: where it is kept, what moves with it, and what is refused because
//! rows could be paid twice.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rowmill::engine::{
    Engine, Error, OutputMark, PlanOptions, RunOptions, RunOutcome, StateLocation, TakenBecause,
    Target,
};
use rowmill::job::JobFile;
use rowmill::ledger;

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A job in a folder of its own, which can be moved.
fn in_folder(work: &Workdir, folder: &str) {
    let rows = "id,body\nT-1,It broke.\nT-2,Thank you!\nT-3,Where is it?\n";
    work.write(&format!("{folder}/rows.csv"), rows);
    work.write(&format!("{folder}/job.toml"), JOB);
}

/// An engine with the state that belongs to a job, as a program has it.
fn engine_of(bench: &Bench, job: &str) -> (Engine, Target) {
    let file = JobFile::read(&bench.work.path(job)).expect("a job");
    let state = StateLocation::of_job(&file);
    let engine = bench.engine_in(state.into(), bench.simulator().base_url());
    (engine, Target::job(file))
}

fn mark_of(work: &Workdir, output: &str) -> serde_json::Value {
    let path = OutputMark::path(&work.path(output));
    serde_json::from_str(&fs::read_to_string(path).expect("a mark")).expect("JSON")
}

fn taking_over() -> RunOptions {
    RunOptions {
        take_over: true,
        ..RunOptions::default()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Every row was accepted this number of times.
#[track_caller]
fn check_accepted(bench: &Bench, times: u64) {
    let accepted = bench.accepted();
    assert!(
        accepted.len() == 3 && accepted.values().all(|n| *n == times),
        "{accepted:?}"
    );
}

#[test]
fn a_job_started_from_two_directories_is_paid_once() {
    let sim = Sim::start();
    let work = Workdir::new();
    in_folder(&work, "jobs");
    fs::create_dir(work.path("elsewhere")).unwrap();
    let start = |from: &str, command: &str, job: &str| {
        let mut command = work.command_at(&sim.url(), &[command, job]);
        let output = command.current_dir(work.path(from)).output().unwrap();
        crate::support::Finished::from(output)
    };
    start("jobs", "submit", "job.toml");
    // It finds the run that is unfinished, and does not think that the source has changed.
    start("elsewhere", "run", "../jobs/job.toml")
        .expect(0)
        .says("resuming the unfinished run");
    start("", "run", "jobs/job.toml")
        .expect(0)
        .says("nothing to do");
    assert!(sim.accepted().values().all(|times| *times == 1));
    assert_eq!(sim.accepted().len(), 3);
    assert!(work.path("jobs/.rowmill/state.json").is_file());
    assert!(!work.path("elsewhere/.rowmill").exists());
    assert!(!work.path(".rowmill").exists());
}

#[test]
fn the_state_is_where_the_option_then_the_environment_then_the_job_says() {
    let work = Workdir::new();
    in_folder(&work, "jobs");
    let job = JOB.replace("[source]", "[state]\npath = \"../by_job\"\n[source]");
    work.write("jobs/job.toml", job);
    let run = |args: &[&str], environment: Option<&str>| {
        let mut command = work.command(&[&["run", "jobs/job.toml", "--simulate"], args].concat());
        command.envs(environment.map(|state| ("ROWMILL_STATE", state)));
        crate::support::Finished::from(command.output().unwrap()).expect(0);
    };
    run(&["--state", "by_option"], Some("by_environment"));
    assert!(work.path("by_option/test").is_dir());
    assert!(!work.path("by_environment").exists());
    run(&[], Some("by_environment"));
    assert!(work.path("by_environment/test").is_dir());
    assert!(!work.path("by_job").exists());
    run(&[], None);
    assert!(work.path("by_job/test").is_dir());
    assert!(!work.path("jobs/.rowmill").exists());
}

#[test]
fn a_state_on_an_object_store_is_refused() {
    let work = Workdir::new().with_rows(3);
    work.rowmill(&[
        "run",
        "job.toml",
        "--simulate",
        "--state",
        "s3://bucket/state",
    ])
    .expect(2)
    .says("error: the state `s3://bucket/state` is not a directory of this machine");
    assert!(!work.path("s3:").exists());
}

#[test]
fn a_place_that_cannot_be_written_names_it_and_the_way_out() {
    let work = Workdir::new().with_rows(3);
    work.write(".rowmill", "not a folder");
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(2)
        .says("error: the state directory `.rowmill` cannot be written")
        .says("`--state DIR`, or the environment variable ROWMILL_STATE");
    work.rowmill(&["run", "job.toml", "--simulate", "--state", "kept"])
        .expect(0);
}

#[test]
fn a_plan_that_is_kept_elsewhere_knows_its_state() {
    let sim = Sim::start();
    let work = Workdir::new();
    in_folder(&work, "jobs");
    work.rowmill_at(
        &sim.url(),
        &["plan", "jobs/job.toml", "--out", "kept/monday"],
    )
    .expect(0);
    work.rowmill_at(&sim.url(), &["run", "kept/monday"])
        .expect(0);
    assert!(work.path("jobs/.rowmill/ledger.sqlite").is_file());
    assert!(!work.path(".rowmill").exists());
}

#[test]
fn a_directory_that_is_moved_resumes_its_run_and_keeps_its_id() {
    let bench = Bench::with(Workdir::new(), "", HOUR);
    in_folder(&bench.work, "one");
    let (engine, job) = engine_of(&bench, "one/job.toml");
    engine.submit(&job, &RunOptions::default()).unwrap();
    let id = mark_of(&bench.work, "one/out.parquet")["state_id"].clone();
    drop(engine);

    fs::rename(bench.work.path("one"), bench.work.path("two")).unwrap();
    let (engine, job) = engine_of(&bench, "two/job.toml");
    let report = engine.run(&job, &RunOptions::default()).unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert_eq!(bench.notices.of("resuming").len(), 1);
    check_accepted(&bench, 1);
    let mark = mark_of(&bench.work, "two/out.parquet");
    assert_eq!(
        (&mark["state_id"], &mark["unfinished"]),
        (&id, &false.into())
    );
    assert!(bench.work.path("two/out.parquet").is_file());
    assert!(!bench.work.path("one").exists());

    // Nor does a finished job pay again when it is moved.
    fs::rename(bench.work.path("two"), bench.work.path("three")).unwrap();
    let (engine, job) = engine_of(&bench, "three/job.toml");
    engine.run(&job, &RunOptions::default()).unwrap();
    assert_eq!(bench.notices.of("nothing_to_do").len(), 1);
    check_accepted(&bench, 1);
    assert!(!bench.work.path("two").exists());
}

#[test]
fn an_output_says_whose_it_is() {
    let bench = Bench::with(Workdir::new().with_rows(3), "", HOUR);
    let job = JobFile::read(&bench.work.path("job.toml")).unwrap();
    bench.engine().plan(&job, &PlanOptions::default()).unwrap();
    let mark = OutputMark::path(&bench.work.path("out.parquet"));
    assert_eq!(mark, bench.work.path(".out.parquet.rowmill.json"));
    assert!(!mark.exists(), "a plan leaves no trace");

    let run = bench.submit().unwrap().run;
    let mark = mark_of(&bench.work, "out.parquet");
    assert_eq!((&mark["job"], &mark["run"]), (&"test".into(), &run.into()));
    assert_eq!(mark["unfinished"], true);
    bench.run().unwrap();
    let mark = mark_of(&bench.work, "out.parquet");
    assert_eq!(mark["unfinished"], false);
    let metadata = bench.work.parquet_metadata("out.parquet");
    assert_eq!(metadata["rowmill.job"], "test");
    assert_eq!(
        metadata["rowmill.state"],
        mark["state_id"].as_str().unwrap()
    );
}

#[test]
fn trials_leave_no_mark() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    let mut options = RunOptions::default();
    options.rows.limit = Some(1);
    bench.run_with(&options).unwrap();
    options = RunOptions {
        simulate: true,
        ..RunOptions::default()
    };
    bench.run_with(&options).unwrap();
    let marks = bench.work.files().into_iter();
    assert_eq!(
        marks.filter(|file| file.ends_with("rowmill.json")).count(),
        0
    );
}

#[test]
fn a_second_state_for_the_same_output_is_refused_before_anything_is_sent() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    bench.run().unwrap();
    let second = || bench.engine_in(bench.work.path("second"), bench.simulator().base_url());
    let refused = second().run(&bench.job(), &RunOptions::default());
    let Err(Error::OutputTaken(taken)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (taken.why, taken.has_state),
        (TakenBecause::OtherState, true)
    );
    assert_eq!(taken.mark.state, bench.state());
    assert_eq!(taken.state, bench.work.path("second"));
    let file = JobFile::read(&bench.work.path("job.toml")).unwrap();
    let kept = PlanOptions {
        out: Some(bench.work.path("kept")),
        ..PlanOptions::default()
    };
    let refused = second().plan(&file, &kept);
    assert!(matches!(refused, Err(Error::OutputTaken(_))), "{refused:?}");
    check_accepted(&bench, 1);

    // A trial does not write the output, so it is none of its business.
    let mut trial = RunOptions::default();
    trial.rows.limit = Some(1);
    second().run(&bench.job(), &trial).unwrap();

    second().run(&bench.job(), &taking_over()).unwrap();
    assert_eq!(bench.notices.of("state").len(), 1);
    let refused = bench.run();
    assert!(matches!(refused, Err(Error::OutputTaken(_))), "{refused:?}");
}

#[test]
fn a_state_that_is_gone_is_followed_by_a_new_one_unless_its_run_is_unfinished() {
    let bench = Bench::with(Workdir::new().with_rows(3), "", HOUR);
    bench.submit().unwrap();
    fs::rename(bench.state(), bench.work.path("vanished")).unwrap();
    let refused = bench.run();
    let Err(Error::OutputTaken(taken)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (taken.why, taken.has_state),
        (TakenBecause::Unfinished, false)
    );
    check_accepted(&bench, 1);

    fs::remove_dir_all(bench.state()).unwrap();
    fs::rename(bench.work.path("vanished"), bench.state()).unwrap();
    bench.run().unwrap();
    fs::remove_dir_all(bench.state()).unwrap();
    bench.run().unwrap();
    let notes = bench.notices.of("state");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0]["kind"], "output_taken_over");
    // The output has the answers, so that they are not paid again.
    check_accepted(&bench, 1);
}

#[test]
fn an_output_of_another_job_is_refused_while_that_job_exists() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    bench.run().unwrap();
    let other = JOB.replace("name = \"test\"", "name = \"other\"");
    bench.work.write("other.toml", &other);
    let run = |options: &RunOptions| bench.engine().run(&bench.job_in("other.toml"), options);
    let refused = run(&RunOptions::default());
    assert!(
        matches!(&refused, Err(Error::OutputTaken(taken)) if taken.why == TakenBecause::OtherJob),
        "{refused:?}"
    );
    check_accepted(&bench, 1);
    fs::remove_file(bench.work.path("job.toml")).unwrap();
    run(&RunOptions::default()).unwrap();
    assert_eq!(bench.notices.of("state").len(), 1);
}

#[test]
fn a_mark_that_cannot_be_read_is_an_error_that_names_it() {
    let sim = Sim::start();
    let work = Workdir::new().with_rows(3);
    work.write(".out.parquet.rowmill.json", "{");
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(2)
        .says(".out.parquet.rowmill.json`");
    assert!(sim.ledger().batches.is_empty());
}

#[test]
fn runs_of_one_name_belong_to_one_job_file() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    bench.run().unwrap();
    let copy = JOB.replace("out.parquet", "copy.parquet");
    bench.work.write("copy.toml", &copy);
    let run = |options: &RunOptions| bench.engine().run(&bench.job_in("copy.toml"), options);
    let refused = run(&RunOptions::default());
    let Err(Error::OtherJobFile {
        recorded, given, ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(recorded, bench.work.path("job.toml"));
    assert_eq!(given, bench.work.path("copy.toml"));
    check_accepted(&bench, 1);
    // One that is renamed is the same job.
    fs::remove_file(bench.work.path("job.toml")).unwrap();
    fs::write(bench.work.path("copy.toml"), JOB).unwrap();
    run(&RunOptions::default()).unwrap();
    assert_eq!(bench.notices.of("state")[0]["kind"], "job_file_moved");
    assert_eq!(bench.notices.of("nothing_to_do").len(), 1);
    check_accepted(&bench, 1);
}

#[test]
fn a_state_restored_from_an_older_copy_sends_nothing_of_a_run_that_it_lost() {
    let bench = Bench::with(Workdir::new().with_rows(3), "", HOUR);
    bench.run().unwrap();
    let older = bench.work.path("older");
    copy_folder(&bench.state(), &older);
    bench
        .work
        .write("rows.csv", "id,body\nT-1,a\nT-2,b\nT-3,c\n");
    let lost = bench.submit().unwrap();
    fs::rename(bench.state(), bench.work.path("newest")).unwrap();
    fs::rename(&older, bench.state()).unwrap();

    let refused = bench.run();
    assert!(
        matches!(&refused, Err(Error::StateRestored { run, .. }) if *run == lost.run),
        "{refused:?}"
    );
    check_accepted(&bench, 2);
    // Where that run had finished, it is a warning.
    fs::rename(bench.state(), &older).unwrap();
    fs::rename(bench.work.path("newest"), bench.state()).unwrap();
    bench.run().unwrap();
    fs::remove_dir_all(bench.state()).unwrap();
    fs::rename(&older, bench.state()).unwrap();
    bench.run().unwrap();
    assert_eq!(bench.notices.of("state")[0]["kind"], "run_forgotten");
}

#[test]
fn a_copy_of_a_state_is_another_state() {
    let bench = Bench::with(Workdir::new().with_rows(3), "", HOUR);
    bench.submit().unwrap();
    copy_folder(&bench.state(), &bench.work.path("copy"));
    let copy = bench.engine_in(bench.work.path("copy"), bench.simulator().base_url());
    let refused = copy.run(&bench.job(), &RunOptions::default());
    assert!(matches!(refused, Err(Error::OutputTaken(_))), "{refused:?}");
    bench.run().unwrap();
    check_accepted(&bench, 1);
}

#[test]
fn runs_in_the_working_directory_are_found_and_the_command_moves_them() {
    let sim = Sim::start();
    let work = Workdir::new();
    in_folder(&work, "jobs");
    // As an earlier version kept it.
    work.rowmill_at(
        &sim.url(),
        &["submit", "jobs/job.toml", "--state", ".rowmill"],
    );
    fs::remove_file(work.path(".rowmill/state.json")).unwrap();
    fs::remove_file(work.path(".rowmill/test/job.json")).unwrap();
    fs::remove_file(work.path("jobs/.out.parquet.rowmill.json")).unwrap();
    let refused = work
        .rowmill_at(&sim.url(), &["run", "jobs/job.toml"])
        .expect(2);
    assert_eq!(sim.ledger().batches.len(), 1);
    assert!(
        !work.path("jobs/.rowmill").exists(),
        "it would be in the way"
    );
    let command = "mv .rowmill jobs/.rowmill";
    let refused = refused.says(&format!("`{command}`")).says("is unfinished");
    drop(refused);
    let moved = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(work.folder())
        .status();
    assert!(moved.unwrap().success());
    work.rowmill_at(&sim.url(), &["run", "jobs/job.toml"])
        .expect(0)
        .says("resuming the unfinished run");
    assert!(sim.accepted().values().all(|times| *times == 1));
}

#[test]
fn old_runs_beside_newer_ones_are_a_warning_unless_one_is_unfinished() {
    let sim = Sim::start();
    let work = Workdir::new();
    in_folder(&work, "jobs");
    let old = ["--state", ".rowmill"];
    let new = ["--state", "jobs/.rowmill"];
    work.rowmill_at(&sim.url(), &[&["run", "jobs/job.toml"], &old[..]].concat())
        .expect(0);
    work.rowmill_at(
        &sim.url(),
        &[&["run", "jobs/job.toml", "--take-over"], &new[..]].concat(),
    )
    .expect(2);
    work.rowmill_at(
        &sim.url(),
        &["run", "jobs/job.toml", "--limit", "1", "--state", "third"],
    )
    .expect(0);
    fs::rename(work.path("third"), work.path("jobs/.rowmill")).unwrap();
    let warned = work.rowmill_at(&sim.url(), &["run", "jobs/job.toml", "--take-over"]);
    warned.expect(0).says("has finished runs of this job too");
}

#[test]
fn a_clock_that_is_behind_sends_nothing() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    let start = rowmill::provider::retry::Clock::now(&bench.clock);
    bench.run().unwrap();
    bench
        .clock
        .set(start - jiff::SignedDuration::from_hours(23));
    bench.run().unwrap();
    bench
        .clock
        .set(start - jiff::SignedDuration::from_hours(25));
    bench
        .work
        .write("rows.csv", "id,body\nT-1,a\nT-2,b\nT-3,c\n");
    let refused = bench.run();
    let Err(Error::ClockBehind { run, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(run, bench.newest_run());
    check_accepted(&bench, 1);
    bench.engine().status(&run).unwrap();
    // Where the clock is right now, and was ahead when the run was planned, the run itself can be
    // named, and what it records then counts.
    bench.run_at(&run).unwrap();
    bench.run().unwrap();
    check_accepted(&bench, 2);
}

#[test]
fn a_ledger_that_is_gone_stops_the_next_run_until_it_is_rebuilt() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    bench.run().unwrap();
    let before = bench.entries();
    fs::remove_file(bench.state().join(ledger::FILE)).unwrap();
    bench
        .work
        .write("rows.csv", "id,body\nT-1,a\nT-2,b\nT-3,c\n");
    let refused = bench.run();
    assert!(
        matches!(refused, Err(Error::LedgerLost { .. })),
        "{refused:?}"
    );
    // A command that sends nothing works, and the new ledger does not pass for a complete one.
    bench.collect(None).unwrap();
    let refused = bench.run();
    assert!(
        matches!(refused, Err(Error::LedgerLost { .. })),
        "{refused:?}"
    );
    check_accepted(&bench, 1);

    let rebuilt = bench.engine().rebuild_ledger().unwrap();
    assert_eq!((rebuilt.runs, rebuilt.unreadable.len()), (1, 0));
    let spent = |entries: &[ledger::LedgerEntry]| -> Vec<_> {
        let facts = |e: &ledger::LedgerEntry| (e.run.clone(), e.batch, e.spent(), e.day);
        entries.iter().map(facts).collect()
    };
    assert_eq!(spent(&bench.entries()), spent(&before));
    bench.run().unwrap();
    check_accepted(&bench, 2);
}

#[test]
fn a_run_that_is_under_way_sends_nothing_without_its_ledger() {
    let faults = "[[calls]]\non = 'create'\nnth = [2]\ndo = 'status'\nstatus = 403";
    let work = Workdir::new().with_rows(3);
    let small = JOB.replace("[output]", "[batch]\nmax_requests = 1\n[output]");
    work.write("job.toml", small);
    let bench = Bench::with(work, faults, HOUR);
    bench.submit().expect_err("the second batch is refused");
    let sent = bench.sent().len();
    fs::remove_file(bench.state().join(ledger::FILE)).unwrap();
    let run = bench.newest_run();
    let refused = bench.run_at(&run);
    assert!(
        matches!(refused, Err(Error::LedgerLost { .. })),
        "{refused:?}"
    );
    assert_eq!(bench.sent().len(), sent);
    bench.engine().rebuild_ledger().unwrap();
    bench.run_at(&run).unwrap();
    check_accepted(&bench, 1);
}

#[test]
fn the_lost_ledger_is_rebuilt_by_the_command_that_the_message_names() {
    let sim = Sim::start();
    let work = Workdir::new().with_rows(3);
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let cost = work.rowmill(&["cost", "--json"]).expect(0).json();
    fs::remove_file(work.path(".rowmill/ledger.sqlite")).unwrap();
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--again"])
        .expect(2)
        .says("`rowmill cost --rebuild --state .rowmill`");
    assert_eq!(sim.ledger().batches.len(), 1);
    work.rowmill(&["cost", "--rebuild", "--state", ".rowmill"])
        .expect(0);
    let again = work.rowmill(&["cost", "--json"]).expect(0).json();
    assert_eq!(again["real"], cost["real"]);
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--again"])
        .expect(0);
}

#[test]
fn a_ledger_that_is_busy_sends_nothing_and_the_same_command_succeeds_later() {
    let bench = Bench::new(Workdir::new().with_rows(3));
    let simulated = RunOptions {
        simulate: true,
        ..RunOptions::default()
    };
    bench.run_with(&simulated).unwrap();
    let file = bench.state().join(ledger::FILE);
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let engine = bench
        .engine()
        .with_ledger_patience(Duration::from_millis(20));
    let refused = engine.run(&bench.job(), &RunOptions::default());
    assert!(
        matches!(refused, Err(Error::Ledger(ledger::Error::Busy { .. }))),
        "{refused:?}"
    );
    assert!(bench.sent().is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    bench.run().unwrap();
    check_accepted(&bench, 1);
}

#[test]
fn a_shared_ledger_counts_for_the_jobs_of_several_states() {
    let bench = Bench::new(Workdir::new());
    for (folder, limit) in [("one", "1"), ("two", "0.0000001")] {
        in_folder(&bench.work, folder);
        let budget = format!("[budget]\nday_usd = \"{limit}\"\nledger = \"../team\"\n[output]");
        let job = JOB.replace("[output]", &budget);
        bench.work.write(&format!("{folder}/job.toml"), job);
    }
    let (engine, job) = engine_of(&bench, "one/job.toml");
    engine.run(&job, &RunOptions::default()).unwrap();
    let team = ledger::Ledger::open(&bench.work.path("team")).unwrap();
    let spent = team.entries().unwrap()[0].spent();
    assert!(!bench.work.path("one/.rowmill/ledger.sqlite").exists());
    // What was learned stays with the state.
    assert!(
        bench
            .work
            .path("one/.rowmill/test/learned.simulated.json")
            .is_file()
    );
    // A run that is opened by its folder knows its ledger.
    let run = engine.find_run(&bench.work.path("one/job.toml")).unwrap();
    let file = rowmill::engine::ledger_of(&run, &bench.work.path("nowhere")).unwrap();
    assert!(file.is_file());
    assert_eq!(
        fs::canonicalize(file).unwrap(),
        fs::canonicalize(team.path()).unwrap()
    );

    let (engine, job) = engine_of(&bench, "two/job.toml");
    let refused = engine.run(&job, &RunOptions::default());
    let Err(Error::Budget(short)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(short.shortage.scope, ledger::LimitScope::Day);
    assert_eq!(short.shortage.spent, spent);
}

#[test]
fn a_shared_ledger_that_is_gone_is_noticed_too() {
    let work = Workdir::new();
    in_folder(&work, "one");
    let job = JOB.replace(
        "[output]",
        "[budget]\nledger = \"../team.sqlite\"\n[output]",
    );
    work.write("one/job.toml", job);
    let bench = Bench::new(work);
    let (engine, job) = engine_of(&bench, "one/job.toml");
    engine.run(&job, &RunOptions::default()).unwrap();
    fs::remove_file(bench.work.path("team.sqlite")).unwrap();
    let again = RunOptions {
        new: true,
        no_reuse: true,
        ..RunOptions::default()
    };
    let refused = engine.run(&job, &again);
    assert!(
        matches!(refused, Err(Error::LedgerLost { .. })),
        "{refused:?}"
    );
    engine.rebuild_ledger().unwrap();
    bench.clock.advance(Duration::from_secs(1));
    engine.run(&job, &again).unwrap();
    check_accepted(&bench, 2);
}
