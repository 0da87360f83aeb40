//! Waiting: how long, what is reported meanwhile, and abandoning a run while nothing answers.

use std::net::TcpListener;
use std::time::Duration;

use jiff::SignedDuration;
use rowmill::cost::Money;
use rowmill::engine::{
    CancelOptions, CollectOptions, Engine, Error, RunOptions, RunOutcome, SimulatorOptions,
};
use rowmill::ledger::EntryState;
use rowmill::simulator::ApiCall;

use crate::in_process::Bench;
use crate::support::{JOB, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);
const BATCHES: &str = "[batch]\nmax_requests = 7\n";

fn rows(rows: usize) -> String {
    let row = |n| format!("T-{n},text {n}\n");
    std::iter::once("id,body\n".to_owned())
        .chain((1..=rows).map(row))
        .collect()
}

fn bench(job: &str, faults: &str, processing: Duration) -> Bench {
    let work = Workdir::in_memory().with_rows(21);
    work.write("job.toml", format!("{JOB}{BATCHES}{job}"));
    Bench::with(work, faults, processing)
}

/// An address at which nothing answers.
fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn since(bench: &Bench, work: impl FnOnce()) -> SignedDuration {
    use rowmill::provider::retry::Clock as _;
    let begun = bench.clock.now();
    work();
    bench.clock.now().duration_since(begun)
}

fn states(bench: &Bench) -> Vec<EntryState> {
    bench.entries().iter().map(|entry| entry.state).collect()
}

fn held(bench: &Bench) -> Money {
    bench.entries().iter().map(|entry| entry.held()).sum()
}

fn provider_error<T: std::fmt::Debug>(ended: Result<T, Error>) {
    assert!(matches!(ended, Err(Error::Provider { .. })), "{ended:?}");
}

const ABANDON: CancelOptions = CancelOptions { abandon: true };

#[test]
fn a_run_is_abandoned_at_once_while_the_provider_cannot_be_reached() {
    let bench = bench("", "", 20 * HOUR);
    bench.submit().expect("three batches are sent");
    let run = bench.newest_run();
    let reserved = held(&bench);
    let offline = bench.engine_at(dead_address());
    let took = since(&bench, || {
        let done = offline.cancel(&run, &ABANDON).expect("it is abandoned");
        assert!(done.run.abandoned && !done.was_abandoned);
        assert!(done.not_canceled.is_some());
        assert_eq!((done.asked, done.reserved), (0, reserved));
        let (end, release) = (done.may_run_until.unwrap(), done.reserved_until.unwrap());
        assert_eq!(release.duration_since(end), SignedDuration::from_hours(1));
    });
    assert!(took < SignedDuration::from_secs(1), "{took}");
    assert_eq!(held(&bench), reserved, "nothing of it has been seen");
    let again = offline.cancel(&run, &ABANDON).expect("it says so");
    assert!(again.was_abandoned);
    // Once the provider answers, the same command cancels.
    let online = bench.cancel(true).expect("it is reachable");
    assert!(online.was_abandoned && online.not_canceled.is_none());
    assert_eq!((online.asked, bench.calls(ApiCall::Cancel)), (3, 3));
    assert_eq!(held(&bench), Money::ZERO, "all requests were canceled");
}

#[test]
fn a_run_is_abandoned_without_a_provider() {
    let bench = bench("", "", 20 * HOUR);
    bench.submit().expect("three batches are sent");
    let engine = Engine::new(bench.state()).expect("an engine");
    let done = engine.with_clock(bench.clock.clone());
    let done = done.cancel(&bench.newest_run(), &ABANDON).expect("done");
    assert!(done.run.abandoned && done.not_canceled.is_some());
    // The job starts a new run.
    bench.submit().expect("a new run");
    assert_eq!(bench.calls(ApiCall::Create), 6);
}

#[test]
fn what_an_abandoned_run_reserves_is_released_25_hours_after_it_was_sent() {
    // The first create call is uncertain, and no search has shown its batch.
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_after'";
    let bench = bench("", faults, 20 * HOUR);
    bench.submit().expect("two are accepted, one is uncertain");
    let (run, reserved) = (bench.newest_run(), held(&bench));
    let nowhere = dead_address();
    let offline = || bench.engine_at(nowhere.clone());
    offline().cancel(&run, &ABANDON).expect("it is abandoned");
    let start = || {
        let options = RunOptions {
            deadline: Some(Duration::ZERO),
            ..RunOptions::default()
        };
        let started = offline().run(&bench.job(), &options);
        started.expect("it leaves at its deadline");
    };
    bench.clock.advance(24 * HOUR + HOUR / 2);
    start();
    assert_eq!(held(&bench), reserved);
    assert!(bench.notices.of("reservation_released").is_empty());
    bench.clock.advance(HOUR);
    start();
    assert_eq!(held(&bench), Money::ZERO);
    assert_eq!(states(&bench)[..3], [EntryState::Released; 3]);
    assert_eq!(bench.notices.of("reservation_released").len(), 1);
    // What it cost is counted once its results are here.
    let collected = bench.engine().collect(
        &run,
        &CollectOptions {
            wait: Some(HOUR),
            ..CollectOptions::default()
        },
    );
    collected.expect("all results are there");
    assert_eq!(states(&bench)[..3], [EntryState::Billed; 3]);
    assert!(
        bench.entries()[..3]
            .iter()
            .all(|entry| entry.spent() > Money::ZERO)
    );
}

#[test]
fn counters_that_show_no_success_settle_an_abandoned_run_without_its_results() {
    let faults = "[[calls]]\non = 'results'\ndo = 'status'\nstatus = 500";
    let bench = bench("", faults, 20 * HOUR);
    bench.submit().expect("three batches are sent");
    let done = bench.cancel(true).expect("canceled");
    assert!(done.run.in_flight_or_ended, "no results could be fetched");
    assert_eq!(states(&bench), [EntryState::Released; 3]);
}

#[test]
fn a_start_with_nothing_to_do_settles_an_abandoned_run_if_the_provider_answers() {
    for (faults, settles) in [
        ("", true),
        // The first run fetches the results of its three batches; then nothing is fetched.
        (
            "[[calls]]\non = 'results'\nfrom = 4\ndo = 'reset_before'",
            false,
        ),
    ] {
        let bench = bench("", faults, HOUR);
        bench.run().expect("it answers all rows");
        let looks = bench.calls(ApiCall::Retrieve);
        let source = bench.work.path("rows.csv");
        let (first, time) = (
            std::fs::read(&source).unwrap(),
            std::fs::metadata(&source).unwrap().modified().unwrap(),
        );
        bench.work.write("rows.csv", rows(22));
        bench.submit().expect("one row is sent");
        let offline = bench.engine_at(dead_address());
        offline.cancel(&bench.newest_run(), &ABANDON).unwrap();
        assert!(held(&bench) > Money::ZERO);
        // The source is again what it was.
        std::fs::write(&source, first).unwrap();
        let file = std::fs::File::options().append(true).open(&source).unwrap();
        file.set_modified(time).unwrap();
        bench.clock.advance(2 * HOUR);
        bench.run().expect("there is nothing to do");
        assert_eq!(bench.notices.of("nothing_to_do").len(), 1);
        assert!(bench.calls(ApiCall::Retrieve) > looks);
        assert_eq!(held(&bench) == Money::ZERO, settles, "{faults}");
        let state = states(&bench).pop().unwrap();
        assert_eq!(state == EntryState::Billed, settles, "{faults}");
    }
}

#[test]
fn a_patience_ends_a_command_that_reaches_nobody_and_the_same_command_resumes() {
    let ten = Duration::from_secs(10);
    for job in ["", "patience_seconds = 10\n"] {
        let bench = bench(job, "", Duration::ZERO);
        let patience = job.is_empty().then_some(ten);
        let took = since(&bench, || {
            let offline = bench.engine_at(dead_address()).with_patience(patience);
            provider_error(offline.run(&bench.job(), &RunOptions::default()));
        });
        let seconds = took.as_secs();
        assert!((10..=11).contains(&seconds), "{job:?} {took}");
    }
    // While batches are looked after.
    let bench = bench(
        "",
        "[[calls]]\non = 'retrieve'\nnth = [1, 2, 3, 4, 5, 6]\ndo = 'reset_before'",
        HOUR,
    );
    let took = since(&bench, || {
        let engine = bench.engine().with_patience(Some(ten));
        provider_error(engine.run(&bench.job(), &RunOptions::default()));
    });
    assert!((10..=12).contains(&took.as_secs()), "{took}");
    let done = bench.run().expect("it resumes");
    assert_eq!(done.outcome, RunOutcome::Complete);
    assert_eq!(bench.calls(ApiCall::Create), 3);
}

#[test]
fn a_change_of_the_patience_does_not_change_the_job() {
    let bench = bench("", "", HOUR);
    bench.submit().expect("sent");
    bench
        .work
        .write("job.toml", format!("{JOB}{BATCHES}patience_seconds = 5\n"));
    let done = bench.run().expect("the same run");
    assert_eq!(done.outcome, RunOutcome::Complete);
    assert_eq!(bench.calls(ApiCall::Create), 3);
}

#[test]
fn a_wait_that_the_provider_asks_for_is_neither_shorter_nor_longer() {
    let faults = "[[calls]]\non = 'create'\nnth = [1, 2, 3, 4, 5, 6, 7, 8]\ndo = 'status'\nstatus = \
                  429\nretry_after = '3'";
    let bench = bench("", faults, Duration::ZERO);
    let took = since(&bench, || {
        bench.run().expect("it is complete");
    });
    let waits = bench.notices.notes("not_accepted");
    assert_eq!(waits.len(), 8);
    assert!(waits.iter().all(|wait| wait["after_seconds"] == 3.0));
    assert!((24..30).contains(&took.as_secs()), "{took}");
}

#[test]
fn a_wait_beyond_the_patience_does_not_begin_and_does_not_bind_the_next_command() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\nretry_after = \
                  '7200'";
    let bench = bench("patience_seconds = 600\n", faults, Duration::ZERO);
    let took = since(&bench, || {
        provider_error(bench.run());
        assert_eq!(bench.run().expect("free").outcome, RunOutcome::Complete);
    });
    assert!(took < SignedDuration::from_secs(20), "{took}");
}

#[test]
fn a_wait_is_reported_with_rows_batches_and_the_time_to_expiry() {
    // The first batch ends an hour before the others.
    let faults = "[[batches]]\nnth = [2, 3]\nextra_seconds = 3600";
    let bench = bench("", faults, HOUR);
    bench.run().expect("it is complete");
    let waits = bench.notices.of("waiting");
    let mut one_ended = waits.iter().filter(|wait| wait["ended"] == 1);
    let wait = one_ended.next_back().expect("a wait for the other two");
    assert_eq!((&wait["rows_done"], &wait["rows"]), (&7.into(), &21.into()));
    let (elapsed, left) = (&wait["elapsed_seconds"], &wait["expires_seconds"]);
    assert_eq!(elapsed.as_f64().unwrap() + left.as_f64().unwrap(), 86_400.0);
    assert!(elapsed.as_f64() > Some(7_000.0));
}

#[test]
fn twenty_nightly_runs_on_the_simulator_of_this_process_take_no_real_time() {
    let bench = Bench::new(Workdir::in_memory().with_rows(21));
    let begun = std::time::Instant::now();
    let days = since(&bench, || {
        for night in 0..20_usize {
            bench.work.write("rows.csv", rows(21 + night));
            let engine = bench.engine().with_simulator(SimulatorOptions {
                processing: HOUR,
                ..SimulatorOptions::default()
            });
            let options = RunOptions {
                simulate: true,
                ..RunOptions::default()
            };
            let done = engine.run(&bench.job(), &options).expect("a run");
            assert_eq!(done.outcome, RunOutcome::Complete, "night {night}");
            assert_eq!(bench.output().rows(), 21 + night);
            bench.clock.advance(23 * HOUR);
        }
    });
    assert!(days > SignedDuration::from_hours(20 * 24), "{days}");
    assert!(begun.elapsed() < Duration::from_secs(120));
}
