//! Every command in every state of a run: none hangs, none pays a row twice, and each says
//! something true.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rowmill::simulator::ApiCall;

use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;
const HOUR: Duration = Duration::from_secs(3_600);

/// A run in a state.
struct Case {
    work: Workdir,
    sim: Sim,
    run: String,
}

fn start(job: &str, faults: &str, processing: Duration) -> (Workdir, Sim) {
    let work = Workdir::new().with_rows(ROWS);
    let batch = if job.contains("[batch]") {
        ""
    } else {
        "[batch]\nmax_requests = 7\nsettle_seconds = 1\n"
    };
    work.write("job.toml", format!("{JOB}{job}\n{batch}"));
    (work, Sim::new(faults, processing))
}

fn case((work, sim): (Workdir, Sim), commands: &[(&[&str], i32)]) -> Case {
    for (args, code) in commands {
        work.rowmill_at(&sim.url(), args).expect(*code);
    }
    let plan = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("plan.json"))
        .expect("a run");
    let run = plan.strip_suffix("/plan.json").unwrap().to_owned();
    Case { work, sim, run }
}

/// Brings a run into a state.
fn in_state(state: &str) -> Case {
    const SUBMIT: &[&str] = &["submit", "job.toml"];
    const RUN: &[&str] = &["run", "job.toml"];
    const CANARY: &str =
        "[[rows]]\noutcome = 'errored'\nerror_type = 'invalid_request_error'\nshare = 1.0";
    match state {
        "planned" => case(
            start("", "", Duration::ZERO),
            &[(&["plan", "job.toml", "--out", ".rowmill/test/one"], 0)],
        ),
        "submitting" => case(
            start(
                "\n[batch]\nmax_requests = 7\nsettle_seconds = 1\nmax_queued_requests = 7\n",
                "",
                Duration::ZERO,
            ),
            &[(SUBMIT, 5)],
        ),
        "in_doubt" => case(
            start(
                "",
                "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_after'",
                HOUR,
            ),
            &[(SUBMIT, 7)],
        ),
        "in_flight" => case(start("", "", HOUR), &[(SUBMIT, 5)]),
        "ended" => {
            let case = case(start("", "", Duration::ZERO), &[(SUBMIT, 5)]);
            case.sim.settle();
            case
        }
        "collected" => {
            let (work, sim) = start("", "", Duration::ZERO);
            let case = case((work, sim), &[(SUBMIT, 5)]);
            std::fs::create_dir_all(case.work.path("out.parquet/in the way")).unwrap();
            case.work
                .rowmill_at(&case.sim.url(), &["collect", "job.toml", "--wait", "30s"]);
            std::fs::remove_dir_all(case.work.path("out.parquet")).unwrap();
            case
        }
        "exported" => case(start("", "", Duration::ZERO), &[(RUN, 0)]),
        "held_back" => case(
            start(
                "min_success = 0.99",
                "[[rows]]\noutcome = 'refused'\nshare = 0.5",
                Duration::ZERO,
            ),
            &[(RUN, 3)],
        ),
        "stopped" => case(
            start("[canary]\nrows = 5\n", CANARY, Duration::ZERO),
            &[(RUN, 6)],
        ),
        "canceled" => case(
            start("", "", HOUR),
            &[(SUBMIT, 5), (&["cancel", "job.toml"], 0)],
        ),
        "abandoned" => {
            // One batch stays under way whatever is asked.
            case(
                start("", "", HOUR),
                &[(SUBMIT, 5), (&["cancel", "job.toml", "--abandon"], 0)],
            )
        }
        other => panic!("no state is called {other}"),
    }
}

/// The exit codes of the commands, in this order.
const COMMANDS: [&[&str]; 8] = [
    &["status"],
    &["export"],
    &["rescue"],
    &["retry", "--class", "expired"],
    &["collect"],
    &["submit"],
    &["run", "--deadline", "4s"],
    &["cancel"],
];

#[rustfmt::skip]
const TABLE: [(&str, [i32; 8]); 11] = [
    //             status export rescue retry collect submit run cancel
    ("planned",    [0,     2,     2,     2,    5,      5,     0,  0]),
    ("submitting", [0,     2,     2,     2,    5,      5,     0,  0]),
    ("in_doubt",   [0,     2,     2,     2,    7,      7,     7,  0]),
    ("in_flight",  [0,     2,     2,     2,    5,      5,     5,  0]),
    ("ended",      [0,     2,     2,     2,    0,      5,     0,  0]),
    ("collected",  [0,     0,     2,     2,    0,      5,     0,  0]),
    ("exported",   [0,     0,     2,     2,    0,      5,     0,  0]),
    ("held_back",  [0,     3,     2,     2,    3,      5,     3,  0]),
    ("stopped",    [0,     2,     2,     2,    6,      6,     6,  0]),
    ("canceled",   [0,     2,     2,     2,    3,      5,     3,  0]),
    ("abandoned",  [0,     3,     2,     2,    0,      2,     2,  0]),
];

#[test]
fn every_command_ends_and_pays_nothing_twice_in_every_state() {
    let pairs: Vec<(usize, usize)> = (0..TABLE.len())
        .flat_map(|state| (0..COMMANDS.len()).map(move |n| (state, n)))
        .collect();
    let next = AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((state, n)) = pairs.get(next.fetch_add(1, Ordering::SeqCst)).copied()
                {
                    let (state, codes) = TABLE[state];
                    if let Some(failure) = one(state, COMMANDS[n], codes[n]) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n====\n"));
}

fn one(state: &str, command: &[&str], code: i32) -> Option<String> {
    let Case { work, sim, run } = in_state(state);
    let mut args = vec![command[0], run.as_str()];
    args.extend(&command[1..]);
    let begun = Instant::now();
    let finished = work.rowmill_at(&sim.url(), &args);
    let took = begun.elapsed();
    let twice = sim.accepted().values().any(|times| *times > 1);
    let is_fine = finished.code == code && took < Duration::from_secs(60) && !twice;
    (!is_fine).then(|| {
        format!(
            "{state} × {args:?}: exit {} for {code}, {took:?}, paid twice: {twice}\n{}",
            finished.code, finished.stderr
        )
    })
}

#[test]
fn a_run_that_was_given_up_is_fetched_settled_and_sends_nothing() {
    let (work, sim) = start(
        "\n[budget]\nday_usd = 0.5\n",
        "[[batches]]\nnth = [1]\nextra_seconds = 0",
        HOUR,
    );
    let Case { work, sim, run } = case((work, sim), &[(&["submit", "job.toml"], 5)]);
    let held = |work: &Workdir| {
        let status = work
            .rowmill_at(&sim.url(), &["status", &run, "--json"])
            .expect(0)
            .json();
        status["money"]["reserved_usd"]
            .as_str()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!(held(&work) > 0.0);
    work.rowmill_at(&sim.url(), &["cancel", &run, "--abandon"])
        .expect(0);
    // What was canceled has ended within moments, and is settled by what it came to.
    assert!(held(&work) < 1e-9, "{}", held(&work));
    let refused = work
        .rowmill_at(&sim.url(), &["run", &run, "--deadline", "4s"])
        .expect(2)
        .says("given up")
        .says("rowmill collect");
    assert!(!refused.stderr.contains("this is a bug"));
    work.rowmill_at(&sim.url(), &["submit", &run])
        .expect(2)
        .says("rowmill collect");
    work.rowmill_at(&sim.url(), &["retry", &run, "--class", "canceled"])
        .expect(2)
        .says("rowmill collect");
    work.rowmill_at(&sim.url(), &["collect", &run])
        .expect(0)
        .says("rowmill export");
    assert!(
        !work.path("out.parquet").exists(),
        "its output is written on request alone"
    );
    let exported = work
        .rowmill_at(&sim.url(), &["export", &run])
        .expect(3)
        .says("did not succeed");
    assert!(
        !exported.stderr.contains("rowmill retry"),
        "which refuses the run: {}",
        exported.stderr
    );
    assert_eq!(work.parquet("out.parquet").rows(), ROWS);
    work.rowmill_at(&sim.url(), &["cancel", &run, "--abandon"])
        .expect(0);
    assert_eq!(sim.calls(ApiCall::Create), 3);
    // The job starts a new run.
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    assert_eq!(sim.calls(ApiCall::Create), 6);
}

#[test]
fn what_a_run_that_was_given_up_holds_is_settled_when_the_job_starts_again() {
    // The batches are not canceled in time, and end later by themselves.
    let faults = "[[calls]]\non = 'cancel'\ndo = 'status'\nstatus = 409";
    let Case { work, sim, run } = case(
        start("", faults, Duration::from_secs(14)),
        &[(&["submit", "job.toml"], 5)],
    );
    work.rowmill_at(&sim.url(), &["cancel", &run, "--abandon"])
        .expect(0)
        .says("rowmill collect");
    thread::sleep(Duration::from_secs(6));
    sim.settle();
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    let status = work
        .rowmill_at(&sim.url(), &["status", &run, "--json"])
        .expect(0)
        .json();
    assert_eq!(status["money"]["reserved_usd"], "0", "{status}");
    assert_ne!(status["money"]["spent_usd"], "0");
}
