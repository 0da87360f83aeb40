//! Any faults together, drawn at random: the same command, given again and again, comes to its end;
//! no row is lost, none is paid twice.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::crash::check_folder;
use crate::support::{Finished, JOB, Sim, Workdir};

const ROWS: usize = 20;
/// So often is a command given before it counts as one that never ends: each fault ends at most one
/// of them.
const AGAIN: usize = 24;

/// What goes wrong in one case.
#[derive(Debug, Clone)]
struct Plan {
    calls: Vec<String>,
    rows: Vec<String>,
    batches: Vec<String>,
    /// The first process ends itself at this act.
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

/// Gives the command until it ends for good.
fn drive(work: &Workdir, sim: &Sim, plan: &Plan) -> i32 {
    let halves: &[&[&str]] = if plan.is_in_halves {
        &[
            &["submit", "job.toml", "--ignore-canary"],
            &["collect", "job.toml"],
        ]
    } else {
        &[&["run", "job.toml", "--ignore-canary"]]
    };
    let mut said = Vec::new();
    for round in 0..AGAIN {
        // In halves, the first is given until there is nothing left to send.
        let half = halves
            [usize::from(plan.is_in_halves && said.last().is_some_and(|(_, code)| *code == 5))];
        let mut command = work.command_at(&sim.url(), half);
        if let (0, Some(n)) = (round, plan.crash_at) {
            command.env("ROWMILL_CRASH_AT", n.to_string());
        }
        let finished = Finished::from(command.output().expect("the binary runs"));
        let Finished { code, stderr, .. } = finished;
        let is_crash = round == 0 && plan.crash_at.is_some() && code == -1;
        assert!(
            is_crash || [0, 2, 3, 4, 5, 7, 12].contains(&code),
            "exit code {code}\n{stderr}"
        );
        if [0, 3].contains(&code) {
            return code;
        }
        let is_left_to_send = stderr.contains("still to be sent");
        said.push((stderr, if is_left_to_send { 7 } else { code }));
        thread::sleep(Duration::from_millis(300));
    }
    panic!(
        "it never ends:\n{}",
        said.iter()
            .map(|(stderr, _)| stderr.as_str())
            .collect::<Vec<_>>()
            .join("\n--\n")
    );
}

fn keeps_its_promises(plan: &Plan) {
    let work = Workdir::new().with_rows(ROWS);
    work.write("job.toml", plan.job());
    let sim = Sim::with(&plan.faults());
    let code = drive(&work, &sim, plan);
    let out = work.parquet("out.parquet");
    let keys: Vec<String> = (1..=ROWS).map(|n| format!("T-{n}")).collect();
    assert_eq!(out.column("id"), keys, "rows in are rows out");
    let statuses = out.column("_rm_status");
    assert_eq!(
        code == 0,
        statuses.iter().all(|status| status == "succeeded"),
        "{statuses:?}"
    );
    let (ids, texts, answers) = (
        out.column("_rm_custom_id"),
        out.column("_rm_text"),
        sim.answers(),
    );
    for ((id, text), status) in ids.iter().zip(&texts).zip(&statuses) {
        assert!(
            status != "succeeded" || answers.get(id) == Some(text),
            "{id}"
        );
    }
    // Each rule meets a row once, and is answered by one more try.
    let most = 1 + plan.rows.len() as u64;
    let accepted: BTreeMap<String, u64> = sim.accepted();
    assert_eq!(accepted.len(), ROWS);
    assert!(
        accepted.values().all(|times| *times <= most),
        "{accepted:?}"
    );
    check_folder(&work);
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
