//! Every call in every state of a run: none hangs, none pays a row twice, and each reports what is
//! so.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::{
    CancelOptions, CollectOptions, Engine, Error, NothingReason, ReexportOptions, RetryOptions,
    RunOptions, RunOutcome, RunReport, Target,
};
use rowmill::ledger::{EntryState, LedgerEntry};
use rowmill::outcome::class::Class;
use rowmill::provider::retry::Clock as _;
use rowmill::simulator::ApiCall;

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;
const HOUR: Duration = Duration::from_secs(3_600);
const BATCHES: &str = "[batch]\nmax_requests = 7\nsettle_seconds = 1\n";

fn start(job: &str, faults: &str, processing: Duration) -> Bench {
    let work = Workdir::in_memory().with_rows(ROWS);
    work.write("job.toml", format!("{JOB}{job}\n"));
    Bench::with(work, faults, processing)
}

/// A run of three batches that are sent.
fn submitted(faults: &str, processing: Duration) -> Bench {
    let bench = start(BATCHES, faults, processing);
    assert_eq!(bench.submit().unwrap().outcome, RunOutcome::Unfinished);
    bench
}

/// Brings a run into a state.
pub(crate) fn in_state(state: &str) -> Bench {
    match state {
        "planned" => {
            let bench = start(BATCHES, "", Duration::ZERO);
            bench.plan_at(".rowmill/test/one");
            bench
        }
        "submitting" => {
            let one_at_a_time = format!("{BATCHES}max_queued_requests = 7\n");
            let bench = start(&one_at_a_time, "", Duration::ZERO);
            assert_eq!(bench.submit().unwrap().unsent_batches, 2);
            bench
        }
        "in_doubt" => {
            let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_after'";
            let bench = start(BATCHES, faults, HOUR);
            assert_eq!(bench.submit().unwrap().outcome, RunOutcome::InDoubt);
            bench
        }
        "in_flight" => submitted("", HOUR),
        "ended" => submitted("", Duration::ZERO),
        "collected" => {
            let bench = submitted("", Duration::ZERO);
            let in_the_way = bench.work.path("out.parquet/in the way");
            std::fs::create_dir_all(&in_the_way).unwrap();
            let failed = bench.collect(Some(Duration::from_secs(30)));
            assert!(matches!(failed, Err(Error::Output(_))), "{failed:?}");
            std::fs::remove_dir_all(bench.work.path("out.parquet")).unwrap();
            bench
        }
        "exported" => {
            let bench = start(BATCHES, "", Duration::ZERO);
            assert!(bench.run().unwrap().all_succeeded());
            bench
        }
        "held_back" => {
            let faults = "[[rows]]\noutcome = 'refused'\nshare = 0.5";
            let job = format!("min_success = 0.99\n{BATCHES}");
            let bench = start(&job, faults, Duration::ZERO);
            assert_eq!(bench.run().unwrap().output_path(), None);
            bench
        }
        "stopped" => {
            let faults = "[[rows]]\noutcome = 'errored'\nerror_type = 'invalid_request_error'\n\
                          share = 1.0";
            let job = format!("{BATCHES}[canary]\nrows = 5\n");
            let bench = start(&job, faults, Duration::ZERO);
            let stopped = bench.run();
            assert!(
                matches!(stopped, Err(Error::StoppedAtCheckpoint(_))),
                "{stopped:?}"
            );
            bench
        }
        "canceled" => {
            let bench = submitted("", HOUR);
            assert_eq!(bench.cancel(false).unwrap().asked, 3);
            bench
        }
        "abandoned" => {
            let bench = submitted("", HOUR);
            assert!(bench.cancel(true).unwrap().run.abandoned);
            bench
        }
        other => panic!("no state is called {other}"),
    }
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Reads, or cancels what there is.
    Done,
    /// All rows are in the output.
    Whole,
    /// The output is written, or held back; some rows did not succeed.
    Partly,
    /// Everything is saved, and nothing is written.
    Saved,
    /// Something is to be sent, waited for or fetched.
    Left,
    InDoubt,
    Stopped,
    // Refused.
    NotOver,
    IsSound,
    NoFailure,
    GivenUp,
}

fn ends(result: Result<RunReport, Error>) -> Result<Ends, Error> {
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            return Ok(match error {
                Error::StoppedAtCheckpoint(_) => Ends::Stopped,
                Error::NotFinished { .. } => Ends::NotOver,
                Error::SoundJournal { .. } => Ends::IsSound,
                Error::NothingToRetry(_) => Ends::NoFailure,
                Error::Abandoned { .. } => Ends::GivenUp,
                other => return Err(other),
            });
        }
    };
    let reason = report.nothing_to_do.map(|nothing| nothing.reason);
    if reason == Some(NothingReason::NoFailures) {
        return Ok(Ends::NoFailure);
    }
    Ok(match (report.outcome, &report.summary) {
        (RunOutcome::InDoubt, None) => Ends::InDoubt,
        (RunOutcome::Complete, Some(_)) if report.all_succeeded() => Ends::Whole,
        (RunOutcome::Complete, Some(_)) => Ends::Partly,
        (RunOutcome::Complete, None) => Ends::Saved,
        (RunOutcome::Unfinished, None) => Ends::Left,
        other => panic!("{other:?}"),
    })
}

const CALLS: [&str; 8] = [
    "status", "export", "rescue", "retry", "collect", "submit", "run", "cancel",
];

fn call(name: &str, engine: &Engine, run: PathBuf) -> Result<Ends, Error> {
    ends(match name {
        "status" => return engine.status(&run).map(|_| Ends::Done),
        "cancel" => {
            let options = CancelOptions::default();
            return engine.cancel(&run, &options).map(|_| Ends::Done);
        }
        "export" => engine.export(&run, &ReexportOptions::default()),
        "rescue" => engine.rescue(&run),
        "retry" => {
            let options = RetryOptions {
                classes: vec![Class::Expired],
                ..RetryOptions::default()
            };
            engine.retry(&run, &options)
        }
        "collect" => engine.collect(&run, &CollectOptions::default()),
        "submit" => engine.submit(&Target::run(run), &RunOptions::default()),
        "run" => {
            let options = RunOptions {
                deadline: Some(Duration::from_secs(4)),
                ..RunOptions::default()
            };
            engine.run(&Target::run(run), &options)
        }
        other => panic!("no call is named {other}"),
    })
}

use Ends::{
    Done, GivenUp, InDoubt, IsSound, Left, NoFailure, NotOver, Partly, Saved, Stopped, Whole,
};

#[rustfmt::skip]
const TABLE: [(&str, [Ends; 8]); 11] = [
    //             status export   rescue   retry      collect  submit   run      cancel
    ("planned",    [Done, NotOver, IsSound, NotOver,   Left,    Left,    Whole,   Done]),
    ("submitting", [Done, NotOver, IsSound, NotOver,   Left,    Left,    Whole,   Done]),
    ("in_doubt",   [Done, NotOver, IsSound, NotOver,   InDoubt, InDoubt, InDoubt, Done]),
    ("in_flight",  [Done, NotOver, IsSound, NotOver,   Left,    Left,    Left,    Done]),
    ("ended",      [Done, NotOver, IsSound, NotOver,   Whole,   Left,    Whole,   Done]),
    ("collected",  [Done, Whole,   IsSound, Whole,     Whole,   Saved,   Whole,   Done]),
    ("exported",   [Done, Whole,   IsSound, NoFailure, Whole,   Saved,   Whole,   Done]),
    ("held_back",  [Done, Partly,  IsSound, NoFailure, Partly,  Saved,   Partly,  Done]),
    ("stopped",    [Done, NotOver, IsSound, NotOver,   Stopped, Stopped, Stopped, Done]),
    ("canceled",   [Done, NotOver, IsSound, NotOver,   Partly,  Left,    Partly,  Done]),
    ("abandoned",  [Done, Partly,  IsSound, GivenUp,   Saved,   GivenUp, GivenUp, Done]),
];

#[test]
fn every_call_ends_and_pays_nothing_twice_in_every_state() {
    let pairs: Vec<(usize, usize)> = (0..TABLE.len())
        .flat_map(|state| (0..CALLS.len()).map(move |n| (state, n)))
        .collect();
    let next = AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((state, n)) = pairs.get(next.fetch_add(1, Ordering::SeqCst)).copied()
                {
                    let (state, expected) = TABLE[state];
                    if let Some(failure) = one(state, CALLS[n], expected[n]) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn one(state: &str, name: &str, expected: Ends) -> Option<String> {
    let bench = in_state(state);
    let begun = bench.clock.now();
    let ended = call(name, &bench.engine(), bench.newest_run());
    let took = bench.clock.now().duration_since(begun);
    let twice = bench.accepted().values().any(|times| *times > 1);
    let is_fine =
        matches!(&ended, Ok(ended) if *ended == expected) && took.as_secs() < 60 && !twice;
    (!is_fine).then(|| {
        format!("{state} × {name}: {ended:?} for {expected:?}, {took:?}, paid twice: {twice}")
    })
}

#[test]
fn a_run_that_was_given_up_is_fetched_settled_and_sends_nothing() {
    let bench = start(&format!("{BATCHES}[budget]\nday_usd = 0.5\n"), "", HOUR);
    bench.submit().unwrap();
    let run = bench.newest_run();
    let held = || -> Money { bench.entries().iter().map(LedgerEntry::held).sum() };
    assert!(held() > Money::ZERO);
    let engine = bench.engine();
    let abandon = CancelOptions { abandon: true };
    assert_eq!(engine.cancel(&run, &abandon).unwrap().asked, 3);
    // What was canceled has ended at once, and is settled by what it came to.
    assert_eq!(held(), Money::ZERO);
    for name in ["run", "submit", "retry"] {
        assert_eq!(call(name, &engine, run.clone()).unwrap(), GivenUp, "{name}");
    }
    let collected = engine.collect(&run, &CollectOptions::default()).unwrap();
    assert!(collected.abandoned && collected.summary.is_none());
    assert!(
        !bench.work.output("out.parquet").exists(),
        "its output is written on request alone"
    );
    let exported = engine.export(&run, &ReexportOptions::default()).unwrap();
    assert!(exported.abandoned && !exported.all_succeeded());
    assert_eq!(bench.output().rows(), ROWS);
    assert_eq!(engine.cancel(&run, &abandon).unwrap().asked, 0);
    assert_eq!(bench.calls(ApiCall::Create), 3);
    // The job starts a new run.
    assert_eq!(bench.submit().unwrap().outcome, RunOutcome::Unfinished);
    assert_eq!(bench.calls(ApiCall::Create), 6);
}

#[test]
fn what_a_run_that_was_given_up_holds_is_settled_when_the_job_starts_again() {
    // The batches are not canceled in time, and end later by themselves.
    let faults = "[[calls]]\non = 'cancel'\ndo = 'status'\nstatus = 409";
    let bench = submitted(faults, Duration::from_secs(14));
    let run = bench.newest_run();
    assert!(bench.cancel(true).unwrap().run.in_flight_or_ended);
    let of_run = || {
        let mut entries = bench.entries();
        entries.retain(|entry| run.ends_with(&entry.run));
        entries
    };
    assert!(
        of_run()
            .iter()
            .all(|entry| entry.state == EntryState::Reserved)
    );
    bench.clock.advance(Duration::from_secs(16));
    bench.submit().unwrap();
    let entries = of_run();
    assert!(
        entries
            .iter()
            .all(|entry| entry.state == EntryState::Billed)
    );
    assert!(entries.iter().all(|entry| entry.spent() > Money::ZERO));
}

/// The words and the exit codes of a run that was given up.
#[test]
fn a_run_that_was_given_up_names_the_commands_that_work() {
    let (work, sim) = (Workdir::in_memory().with_rows(ROWS), Sim::new("", HOUR));
    work.write("job.toml", format!("{JOB}{BATCHES}"));
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["submit", "job.toml"]).expect(0);
    rowmill(&["cancel", "job.toml", "--abandon"]).expect(0);
    let folder = run_of(&work);
    for args in [
        &["run", &folder][..],
        &["submit", &folder],
        &["retry", &folder, "--class", "canceled"],
    ] {
        let refused = rowmill(args).expect(2).says("was abandoned");
        let refused = refused.says("rowmill collect");
        assert!(!refused.stderr.contains("this is a bug"));
    }
    rowmill(&["collect", &folder])
        .expect(0)
        .says("rowmill export");
    let exported = rowmill(&["export", &folder]).expect(3);
    let exported = exported.says("did not succeed");
    assert!(
        !exported.stderr.contains("rowmill retry"),
        "which refuses the run: {}",
        exported.stderr
    );
}

/// The folder of the one run.
fn run_of(work: &Workdir) -> String {
    let files = work.files();
    let plan = files
        .iter()
        .find_map(|file| file.strip_suffix("/plan.json"));
    plan.expect("a run").to_owned()
}

/// One command for each way to end.
#[test]
fn the_exit_code_tells_how_a_command_ended() {
    let new = |job: &str, faults: &str, processing| {
        let (work, sim) = (
            Workdir::in_memory().with_rows(ROWS),
            Sim::new(faults, processing),
        );
        work.write("job.toml", format!("{JOB}{job}{BATCHES}"));
        (work, sim)
    };
    let (work, sim) = new(
        "",
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_after'",
        HOUR,
    );
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["submit", "job.toml"]).expect(7);
    let folder = run_of(&work);
    rowmill(&["collect", &folder]).expect(7);
    rowmill(&["status", &folder]).expect(0);
    for refused in ["export", "rescue"] {
        rowmill(&[refused, &folder]).expect(2);
    }
    rowmill(&["retry", &folder, "--class", "expired"]).expect(2);
    rowmill(&["cancel", &folder]).expect(0);

    let refusals = "[[rows]]\noutcome = 'refused'\nshare = 0.5";
    let (work, sim) = new("min_success = 0.99\n", refusals, Duration::ZERO);
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["run", "job.toml"]).expect(3);
    let folder = run_of(&work);
    rowmill(&["collect", &folder]).expect(3);
    rowmill(&["export", &folder]).expect(3);
    rowmill(&["submit", &folder]).expect(0);
}
