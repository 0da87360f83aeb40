//! Two starts at once: what the second one does, in one process with locks that the test holds, and
//! with two processes.

use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rowmill::engine::{
    CollectOptions, Engine, Error, IfRunning, NotStarted, Notice, Observer, RetryOptions,
    RunOptions, RunReport, StopSignal,
};
use rowmill::journal::{self, Lock, Owner, RunDir};
use rowmill::outcome::class::Class;

use crate::in_process::Bench;
use crate::support::{Finished, Sim, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);

fn bench() -> Bench {
    Bench::with(Workdir::in_memory().with_rows(3), "", HOUR)
}

fn owner() -> Owner {
    Owner {
        host: "another-host".to_owned(),
        pid: 4_711,
        started: Timestamp::UNIX_EPOCH,
    }
}

/// The lock of all runs of the job, as another process has it that starts one.
fn lock_of_job(bench: &Bench) -> Lock {
    Lock::of_job(&bench.state().join("test"), &owner()).unwrap()
}

/// The lock of the newest run, as another process has it that works on it.
fn lock_of_run(bench: &Bench) -> Lock {
    let (run, _, _) = RunDir::open(&bench.newest_run()).unwrap();
    Lock::take(&run, &owner()).unwrap()
}

fn run_options(if_running: IfRunning) -> RunOptions {
    RunOptions {
        if_running,
        ..RunOptions::default()
    }
}

/// Every call that takes the lock of a run.
fn calls(bench: &Bench, if_running: IfRunning) -> Vec<Result<RunReport, Error>> {
    let collect = CollectOptions {
        if_running,
        ..CollectOptions::default()
    };
    let retry = RetryOptions {
        if_running,
        classes: vec![Class::Expired],
        ..RetryOptions::default()
    };
    let run = bench.newest_run();
    vec![
        bench.run_with(&run_options(if_running)),
        bench.submit_with(&run_options(if_running)),
        bench.engine().collect(&run, &collect),
        bench.engine().retry(&run, &retry),
    ]
}

#[test]
fn fails_with_the_owner_named_and_skips_where_asked() {
    let bench = bench();
    bench.submit().unwrap();
    let lock = lock_of_run(&bench);
    for done in calls(&bench, IfRunning::Fail) {
        let Err(Error::Journal(journal::Error::Locked { owner: named, .. })) = done else {
            panic!("{done:?}");
        };
        assert_eq!(named, Some(owner()));
    }
    for done in calls(&bench, IfRunning::Skip) {
        let Err(Error::NotStarted(why)) = done else {
            panic!("{done:?}");
        };
        let NotStarted::AlreadyRunning {
            locked,
            owner: named,
        } = *why
        else {
            panic!("{why:?}");
        };
        assert_eq!((locked, named), (bench.newest_run(), Some(owner())));
    }
    drop(lock);
    let lock = lock_of_job(&bench);
    let refused = bench.run_with(&run_options(IfRunning::Fail));
    assert!(
        matches!(
            refused,
            Err(Error::Journal(journal::Error::JobLocked { .. }))
        ),
        "{refused:?}"
    );
    let skipped = bench.run_with(&run_options(IfRunning::Skip));
    assert!(matches!(skipped, Err(Error::NotStarted(_))), "{skipped:?}");
    drop(lock);
    assert_eq!(bench.sent(), [3]);
}

/// Releases a lock when somebody waits for it.
struct Releases(Mutex<Option<Lock>>);

impl Observer for Releases {
    fn notice(&self, notice: Notice<'_>) {
        if let Notice::WaitingForLock { owner: named, .. } = notice {
            assert_eq!(named, Some(&owner()));
            *self.0.lock().unwrap() = None;
        }
    }
}

#[test]
fn a_start_that_waits_goes_on_when_the_lock_is_free() {
    let releasing = |bench: &Bench, lock: Lock| -> Engine {
        bench
            .engine()
            .with_observer(Releases(Mutex::new(Some(lock))))
    };
    let bench = bench();
    let wait = run_options(IfRunning::Wait);
    let engine = releasing(&bench, lock_of_job(&bench));
    engine.submit(&bench.job(), &wait).unwrap();
    let engine = releasing(&bench, lock_of_run(&bench));
    let report = engine.run(&bench.job(), &wait).unwrap();
    assert!(report.all_succeeded());
    let engine = releasing(&bench, lock_of_run(&bench));
    let collect = CollectOptions {
        if_running: IfRunning::Wait,
        ..CollectOptions::default()
    };
    engine.collect(&bench.newest_run(), &collect).unwrap();
    assert_eq!(bench.sent(), [3]);
}

#[test]
fn a_wait_ends_with_its_deadline_and_with_a_signal() {
    let bench = bench();
    bench.submit().unwrap();
    let _lock = lock_of_run(&bench);
    let longest = Duration::from_secs(130);
    let limited = RunOptions {
        deadline: Some(longest),
        ..run_options(IfRunning::Wait)
    };
    let late = bench.run_with(&limited);
    let Err(Error::StillRunning {
        owner: named,
        waited,
        ..
    }) = late
    else {
        panic!("{late:?}");
    };
    assert_eq!((named, waited), (Some(owner()), longest));
    // It is said at once, and then every minute.
    assert_eq!(bench.notices.of("waiting_for_lock").len(), 3);
    let collect = CollectOptions {
        wait: Some(Duration::from_secs(5)),
        if_running: IfRunning::Wait,
        ..CollectOptions::default()
    };
    let late = bench.engine().collect(&bench.newest_run(), &collect);
    assert!(matches!(late, Err(Error::StillRunning { .. })), "{late:?}");

    let (handle, stop) = StopSignal::new();
    handle.stop();
    let stopped = bench
        .engine_with(stop)
        .run(&bench.job(), &run_options(IfRunning::Wait));
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
}

#[test]
fn what_a_wait_took_is_taken_off_the_deadline() {
    let bench = bench();
    bench.submit().unwrap();
    /// Releases a lock at the second report, a minute later.
    struct Later(Mutex<(u32, Option<Lock>)>);
    impl Observer for Later {
        fn notice(&self, notice: Notice<'_>) {
            if matches!(notice, Notice::WaitingForLock { .. }) {
                let mut held = self.0.lock().unwrap();
                held.0 += 1;
                if held.0 == 2 {
                    held.1 = None;
                }
            }
        }
    }
    let held = Later(Mutex::new((0, Some(lock_of_run(&bench)))));
    let before = rowmill::provider::retry::Clock::now(&bench.clock);
    let options = RunOptions {
        deadline: Some(Duration::from_secs(120)),
        ..run_options(IfRunning::Wait)
    };
    let report = bench
        .engine()
        .with_observer(held)
        .run(&bench.job(), &options);
    assert_eq!(
        report.unwrap().outcome,
        rowmill::engine::RunOutcome::Unfinished
    );
    let took = rowmill::provider::retry::Clock::now(&bench.clock).duration_since(before);
    assert!(took.as_secs() <= 120, "{took}");
}

#[test]
fn the_second_of_two_processes_names_the_first_or_skips_or_waits() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::new("", HOUR));
    let start = |args: &[&str]| {
        let mut command = work.command_at(&sim.url(), args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let first = start(&["run", "job.toml"]);
    let begun = Instant::now();
    while sim.ledger().batches.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    let process = format!("process {}", first.id());
    for command in ["run", "submit", "collect"] {
        rowmill(&[command, "job.toml"])
            .expect(11)
            .says(&process)
            .says("--if-running wait");
        let skip = [command, "job.toml", "--if-running", "skip", "--json"];
        let skipped = rowmill(&skip).expect(0).says("skipped").json();
        assert_eq!(skipped["nothing_to_do"]["reason"], "already_running");
        assert_eq!(skipped["nothing_to_do"]["owner"]["pid"], first.id());
        rowmill(&[&skip[..], &["--empty-exit-code", "99"]].concat()).expect(99);
    }
    let wait = ["run", "job.toml", "--if-running", "wait"];
    let late = rowmill(&[&wait[..], &["--deadline", "1500ms", "--json"]].concat())
        .expect(5)
        .says(&process);
    assert_eq!(late.json()["error"]["kind"], "run_locked");
    // The first is ended without a chance to say so, and the one that waits resumes its run.
    let second = start(&wait);
    let mut first = first;
    first.kill().unwrap();
    first.wait().unwrap();
    sim.set_ahead(2 * 3_600);
    sim.settle();
    Finished::from(second.wait_with_output().unwrap())
        .expect(0)
        .says("resuming the unfinished run");
    assert_eq!(sim.ledger().batches.len(), 1);
    assert_eq!(work.parquet("out.parquet").rows(), 3);
}
