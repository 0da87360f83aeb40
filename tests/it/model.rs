//! Any faults together, drawn at random: the same call, made again and again, comes to its end;
//! no row is lost, none is paid twice.

use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use rowmill::engine::{CollectOptions, Engine, Error, RunOptions, RunOutcome, RunReport};

use crate::crash::check_folder;
use crate::in_process::Bench;
use crate::support::{JOB, Workdir};

const ROWS: usize = 20;
/// So often is a call made before it counts as one that never ends: each fault ends at most one
/// of them.
const AGAIN: usize = 24;

/// What goes wrong in one case.
#[derive(Debug, Clone)]
struct Plan {
    calls: Vec<String>,
    rows: Vec<String>,
    batches: Vec<String>,
    /// The first call crashes at this act.
    crash_at: Option<u32>,
    is_in_halves: bool,
    /// Whether a priming request and a canary go first.
    is_led: bool,
    max_requests: usize,
    max_queued_requests: usize,
}

impl Plan {
    fn faults(&self) -> String {
        let lists = [
            ("calls", &self.calls),
            ("rows", &self.rows),
            ("batches", &self.batches),
        ];
        lists
            .iter()
            .flat_map(|(list, faults)| {
                faults
                    .iter()
                    .map(move |fault| format!("[[{list}]]\n{fault}\n"))
            })
            .collect()
    }

    fn job(&self) -> String {
        let Plan {
            max_requests,
            max_queued_requests,
            ..
        } = self;
        let leading = if self.is_led {
            "[cache]\nprime = 'always'\nprime_wait = '2s'\n[canary]\nrows = 3\nmax_error = 1.0\n"
        } else {
            ""
        };
        format!(
            "{JOB}\n[batch]\nmax_requests = {max_requests}\nmax_queued_requests = \
             {max_queued_requests}\nsettle_seconds = 1\n{leading}"
        )
    }
}

fn words(words: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    prop::sample::select(words.to_vec())
}

fn call() -> impl Strategy<Value = String> {
    let any = [
        "do = 'reset_before'",
        "do = 'truncated_json'\nat_byte = 50",
        "do = 'status'\nstatus = 500",
        "do = 'status'\nstatus = 429",
    ];
    let create = [
        &any[..],
        &[
            "do = 'reset_after'",
            "do = 'reset_after'",
            "do = 'reset_during'\nat_byte = 200",
            "do = 'status'\nstatus = 413",
        ],
        &[
            "do = 'status'\nstatus = 529",
            "do = 'status'\nstatus = 400",
            "do = 'status'\nstatus = 401",
            "do = 'redirect'",
        ],
        &[
            "do = 'status'\nstatus = 429\nretry_after = '1'",
            "do = 'truncated_json'\nat_byte = 50\nabrupt = true",
        ],
    ]
    .concat();
    let look = [
        &any[..],
        &[
            "do = 'status'\nstatus = 404",
            "do = 'unknown_status'",
            "do = 'foreign_results_url'",
            "do = 'redirect'",
        ],
    ]
    .concat();
    let results = [
        &[
            "do = 'cut'\nat_line = 2",
            "do = 'cut'\nat_byte = 600",
            "do = 'cut'\nat_byte = 900\nabrupt = true",
            "do = 'missing_line'",
        ][..],
        &[
            "do = 'duplicate_line'",
            "do = 'foreign_line'",
            "do = 'garbage_line'",
            "do = 'crlf'",
            "do = 'blank_lines'",
        ],
        &[
            "do = 'status'\nstatus = 404",
            "do = 'status'\nstatus = 503",
            "do = 'reset_before'",
            "do = 'status'\nstatus = 401",
        ],
    ]
    .concat();
    let list = [&any[..], &["do = 'status'\nstatus = 403"]].concat();
    let on = |call: &'static str, acts: &[&'static str]| {
        (words(acts), 1..7_u32)
            .prop_map(move |(act, nth)| format!("on = '{call}'\nnth = [{nth}]\n{act}"))
    };
    prop_oneof![
        4 => on("create", &create),
        2 => on("retrieve", &look),
        2 => on("list", &list),
        3 => on("results", &results),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let rows = words(&[
        "outcome = 'errored'\nshare = 0.2\nerror_type = 'overloaded_error'",
        "outcome = 'expired'\nshare = 0.2",
    ]);
    let batches = words(&[
        "nth = [2]\nhidden_seconds = 0.5",
        "unlisted_seconds = 0.5",
        "nth = [1]\nextra_seconds = 0.7",
        "extra_seconds = 0.3",
    ]);
    let parts = (
        prop::collection::vec(call(), 0..6),
        prop::collection::vec(rows.prop_map(str::to_owned), 0..2),
        prop::collection::vec(batches.prop_map(str::to_owned), 0..2),
        prop::option::of(1..45_u32),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(4_usize), Just(7), Just(20)],
        prop_oneof![Just(20_usize), Just(1_000)],
    );
    parts.prop_map(
        |(
            calls,
            rows,
            batches,
            crash_at,
            is_in_halves,
            is_led,
            max_requests,
            max_queued_requests,
        )| Plan {
            calls,
            rows,
            batches,
            crash_at,
            is_in_halves,
            is_led,
            max_requests,
            max_queued_requests,
        },
    )
}

/// Whether a call may end so, after which it is made again.
fn may_end_so(result: &Result<RunReport, Error>) -> bool {
    match result {
        Ok(report) => !matches!(
            report.outcome,
            RunOutcome::Interrupted | RunOutcome::OverBudget
        ),
        // A fault hit a call that is not made again by itself.
        Err(error) => matches!(error, Error::Provider { .. } | Error::Refused(_)),
    }
}

/// Calls until the output is written, and gives whether all rows succeeded.
fn drive(bench: &Bench, plan: &Plan) -> bool {
    let job = bench.job();
    let options = RunOptions {
        ignore_canary: true,
        ..RunOptions::default()
    };
    let mut ended = Vec::new();
    let mut is_all_sent = false;
    for round in 0..AGAIN {
        // In halves, the first is called until there is nothing left to send.
        let collects = plan.is_in_halves && is_all_sent;
        let run = collects.then(|| bench.newest_run());
        let call = |engine: Engine| match &run {
            Some(run) => engine.collect(run, &CollectOptions::default()),
            None if plan.is_in_halves => engine.submit(&job, &options),
            None => engine.run(&job, &options),
        };
        let crash_at = plan.crash_at.filter(|_| round == 0).unwrap_or(0);
        // Act 0 never comes.
        if let Ok(result) = bench.crash_at(crash_at, call) {
            assert!(may_end_so(&result), "{result:?}");
            if let Ok(report) = &result
                && (report.summary.is_some() || report.nothing_to_do.is_some())
            {
                return report.all_succeeded();
            }
            is_all_sent = result
                .as_ref()
                .is_ok_and(|report| (report.unsent_batches, report.uncertain_batches) == (0, 0));
            ended.push(result.map(|report| report.outcome));
        }
        bench.clock.advance(Duration::from_millis(300));
    }
    panic!("it never ends: {ended:?}");
}

fn keeps_its_promises(plan: &Plan) {
    let work = Workdir::in_memory().with_rows(ROWS);
    work.write("job.toml", plan.job());
    let bench = Bench::with(work, &plan.faults(), Duration::ZERO);
    let all_succeeded = drive(&bench, plan);
    let out = bench.output();
    let keys: Vec<String> = (1..=ROWS).map(|n| format!("T-{n}")).collect();
    assert_eq!(out.column("id"), keys, "rows in are rows out");
    let statuses = out.column("_rm_status");
    assert_eq!(
        all_succeeded,
        statuses.iter().all(|status| status == "succeeded"),
        "{statuses:?}"
    );
    let (ids, texts, answers) = (
        out.column("_rm_custom_id"),
        out.column("_rm_text"),
        bench.answers(),
    );
    for ((id, text), status) in ids.iter().zip(&texts).zip(&statuses) {
        assert!(
            status != "succeeded" || answers.get(id) == Some(text),
            "{id}"
        );
    }
    // Each rule meets a row once, and is answered by one more try.
    let most = 1 + plan.rows.len() as u64;
    let accepted = bench.accepted();
    assert_eq!(accepted.len(), ROWS);
    assert!(
        accepted.values().all(|times| *times <= most),
        "{accepted:?}"
    );
    check_folder(&bench.work);
}

#[test]
fn any_faults_together_lose_no_row_and_pay_none_twice() {
    let cases_of = |seed: u64| {
        let config = Config {
            cases: 10,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            max_shrink_iters: 12,
            ..Config::default()
        };
        TestRunner::new(config).run(&plan(), |plan| {
            keeps_its_promises(&plan);
            Ok(())
        })
    };
    thread::scope(|scope| {
        let seeds = [1_u64, 2, 3, 4].map(|seed| scope.spawn(move || cases_of(seed)));
        for cases in seeds {
            let outcome = cases
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.unwrap_or_else(|failure| panic!("{failure}"));
        }
    });
}
