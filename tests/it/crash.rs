//! A run is ended at its n-th durable write or network act, for every n, and the same call is made
//! again: the output is that of an undisturbed run, every row was accepted once, and nothing is
//! left behind, and the ledger holds what the run cost. Runs with a budget are in `budget.rs`.
//!
//! The crash is one of a thread of this process, so that no time passes and thousands of acts can
//! be tried. One test ends the process itself, as proof that both are alike; it also covers what is
//! different there: no destructor removes files on their way, and spool files are acts too.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::{CollectOptions, Error, RunOptions, RunReport};
use rowmill::ledger::{EntryState, LedgerEntry};

use crate::in_process::Bench;
use crate::support::{Finished, JOB, Sim, Workdir};

const ROWS: usize = 20;
/// So often is a command run again before it counts as one that never ends.
const AGAIN: usize = 6;

/// Three batches, of which two have the same size: the ids in the results must tell them apart.
const BATCHES: &str = "[batch]\nmax_requests = 7\nsettle_seconds = 1\n";
/// A warm-up and a canary go first: four batches, each sent when the one before it is judged.
const CHECKPOINTS: &str = "[cache]\nprime = \"always\"\n[canary]\nrows = 6\n";

fn work() -> Workdir {
    work_with("")
}

fn work_with(more: &str) -> Workdir {
    let work = Workdir::in_memory().with_rows(ROWS);
    work.write("job.toml", format!("{JOB}\n{BATCHES}{more}"));
    work
}

/// Ended by itself at its n-th act: `None` if it was.
pub(crate) fn run_to(mut command: Command, n: u32) -> Option<Finished> {
    let output = command
        .env("ROWMILL_CRASH_AT", n.to_string())
        .output()
        .expect("the binary runs");
    output
        .status
        .code()
        .is_some()
        .then(|| Finished::from(output))
}

/// Runs a command until it ends with this code.
pub(crate) fn run_until(work: &Workdir, sim: &Sim, args: &[&str], code: i32) {
    let mut last = None;
    for _ in 0..AGAIN {
        let finished = work.rowmill_at(&sim.url(), args);
        if finished.code == code {
            return;
        }
        assert!([4, 5, 7].contains(&finished.code), "\n{}", finished.stderr);
        // A detached command looks once; the settling time passes between two of them.
        thread::sleep(Duration::from_millis(400));
        last = Some(finished);
    }
    last.expect("it ran").expect(code);
}

/// Compares what was written with the rows and with what the simulator answered.
pub(crate) fn check_output(work: &Workdir, sim: &Sim, rows: usize) {
    check_rows(work, &sim.answers(), rows);
}

/// The same, by the answers to each custom_id.
pub(crate) fn check_rows(work: &Workdir, answers: &BTreeMap<String, String>, rows: usize) {
    let out = work.parquet("out.parquet");
    let keys: Vec<String> = (1..=rows).map(|n| format!("T-{n}")).collect();
    assert_eq!(out.column("id"), keys);
    assert!(
        out.column("body")
            .iter()
            .zip(1..)
            .all(|(body, n)| *body == format!("the {n}th text, with a comma"))
    );
    assert!(
        out.column("_rm_status")
            .iter()
            .all(|status| status == "succeeded"),
        "{:?}",
        out.column("_rm_status")
    );
    let (ids, texts) = (out.column("_rm_custom_id"), out.column("_rm_text"));
    for ((id, text), key) in ids.iter().zip(&texts).zip(&keys) {
        assert!(id.ends_with(&format!("-{key}")), "{id} for {key}");
        assert_eq!(answers.get(id), Some(text), "{id}");
    }
}

/// Every row was accepted once.
pub(crate) fn check_ledger(sim: &Sim, rows: usize) {
    assert_eq!(sim.accepted(), once(rows));
}

fn once(rows: usize) -> BTreeMap<String, u64> {
    (1..=rows).map(|n| (format!("T-{n}"), 1)).collect()
}

/// The rows of a finished run have their answers, and were accepted once and once more for each
/// answer that failed; the ledger holds what they cost and nothing else; nothing is left behind.
pub(crate) fn check_whole(bench: &Bench, rows: usize) {
    check_rows(&bench.work, &bench.answers(), rows);
    let mut accepted = once(rows);
    for line in bench.result_lines() {
        if line["result"]["type"] != "succeeded" {
            let id = line["custom_id"].as_str().unwrap();
            *accepted.get_mut(id.split_once('-').unwrap().1).unwrap() += 1;
        }
    }
    assert_eq!(bench.accepted(), accepted);
    check_folder(&bench.work);
    let entries = bench.entries();
    let of_state = |state| entries.iter().filter(|entry| entry.state == state).count();
    assert_eq!(
        of_state(EntryState::Billed),
        bench.sent().len(),
        "{entries:?}"
    );
    assert_eq!(of_state(EntryState::Reserved), 0, "{entries:?}");
    let spent: Money = entries.iter().map(LedgerEntry::spent).sum();
    let (view, _) = bench.engine().status(&bench.newest_run()).unwrap();
    assert_eq!(view.manifest.cost_usd, Some(spent));
}

/// No file is on its way, and there is one run.
pub(crate) fn check_folder(work: &Workdir) {
    let files = work.files();
    let left: Vec<&String> = files
        .iter()
        .filter(|file| file.contains(".partial") || file.contains(".planning"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(
        files
            .iter()
            .filter(|file| file.ends_with("plan.json"))
            .count(),
        1,
        "{files:?}"
    );
}

/// Batches the journal of the one run knows the ids of.
fn journaled(work: &Workdir) -> usize {
    let journals = work
        .files()
        .into_iter()
        .filter(|file| file.ends_with("journal.jsonl"));
    journals
        .map(|file| {
            work.read(&file)
                .lines()
                .filter(|line| line.contains(r#""id":"msgbatch_"#))
                .count()
        })
        .sum()
}

/// Does `crash(n)` for n = 1, 2, … on two threads, until one tells that its command was not ended.
/// Gives the number of acts.
pub(crate) fn for_every_act(crash: impl Fn(u32) -> bool + Sync) -> u32 {
    let (next, end) = (AtomicU32::new(1), AtomicU32::new(u32::MAX));
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::SeqCst);
            if n >= end.load(Ordering::SeqCst) {
                return;
            }
            assert!(n < 1_000, "the command never comes to its end");
            if !crash(n) {
                end.fetch_min(n, Ordering::SeqCst);
            }
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        other
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    end.into_inner() - 1
}

/// A run that crashes at its n-th act and is resumed, for every n, has the output of a run that
/// does not. Gives the number of acts.
fn crash_at_every_act(job: &str, faults: &str, check: impl Fn(&Bench, u32) + Sync) -> u32 {
    let new = || Bench::with(work_with(job), faults, Duration::ZERO);
    let undisturbed = new();
    undisturbed.run().unwrap();
    check_whole(&undisturbed, ROWS);
    let expected = undisturbed.output();
    for_every_act(|n| {
        let bench = new();
        let job = bench.job();
        let crashed = bench
            .crash_at(n, |engine| engine.run(&job, &RunOptions::default()))
            .map(|done| done.unwrap())
            .is_err();
        if crashed {
            bench.run().unwrap_or_else(|e| panic!("act {n}: {e:?}"));
        }
        check_whole(&bench, ROWS);
        let output = bench.output();
        assert_eq!(output.names(), expected.names());
        for column in ["id", "body", "_rm_status", "_rm_error"] {
            assert_eq!(output.column(column), expected.column(column), "act {n}");
        }
        check(&bench, n);
        crashed
    })
}

#[test]
fn a_run_that_crashes_at_any_act_resumes_and_pays_once() {
    // As many crashes as batches are after a batch was accepted and before that was journaled.
    let found = AtomicU32::new(0);
    let acts = crash_at_every_act("", "", |bench, _| {
        let notes = bench.notices.notes("found").len();
        found.fetch_add(u32::try_from(notes).unwrap(), Ordering::SeqCst);
    });
    // Two files of the plan, its name, three batches with three acts each and what follows.
    assert!(acts >= 22, "{acts} acts");
    assert_eq!(found.into_inner(), 3, "of {acts} acts");
}

#[test]
fn a_run_with_checkpoints_that_crashes_at_any_act_resumes_and_pays_once() {
    let acts = crash_at_every_act(CHECKPOINTS, "", |bench, n| {
        let mut sizes = bench.sent();
        // Of those behind the checkpoints, one may have been sent while another was uncertain.
        sizes[2..].sort_unstable();
        assert_eq!(sizes, [1, 6, 6, 7], "crashed at act {n}");
    });
    // Beside what a run has: two verdicts.
    assert!(acts >= 27, "{acts} acts");
}

#[test]
fn a_run_with_retries_that_crashes_at_any_act_resumes_and_pays_once() {
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.4\nerror_type = 'overloaded_error'\n";
    let acts = crash_at_every_act("", faults, |bench, n| {
        assert!(
            bench.sent().len() > 3,
            "rows are sent again, crashed at act {n}"
        );
    });
    assert!(acts >= 27, "{acts} acts");
}

#[test]
fn a_run_with_a_batch_that_is_split_and_crashes_at_any_act_resumes_and_pays_once() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413\n";
    let unsplit = AtomicU32::new(0);
    let acts = crash_at_every_act("", faults, |bench, n| {
        let sent = bench.sent().len();
        assert!([3, 4].contains(&sent), "crashed at act {n}");
        unsplit.fetch_add(u32::from(sent == 3), Ordering::SeqCst);
    });
    assert!(acts >= 27, "{acts} acts");
    // From the refusal until the journal has the smaller batches, whose spool files are written
    // first, the batch is uncertain. It is not found, is sent again as it is, and is accepted.
    let unsplit = unsplit.into_inner();
    assert!((1..=6).contains(&unsplit), "{unsplit} of {acts} acts");
}

/// Calls until the run is as far as it is to be. A detached call looks once; the settling time
/// passes between two of them.
fn call_until(
    bench: &Bench,
    call: impl Fn() -> Result<RunReport, Error>,
    is_done: impl Fn(&RunReport) -> bool,
) {
    for _ in 0..AGAIN {
        if is_done(&call().unwrap()) {
            return;
        }
        bench.clock.advance(Duration::from_millis(400));
    }
    panic!("it never ends: {:?}", call());
}

fn is_sent(report: &RunReport) -> bool {
    (report.unsent_batches, report.uncertain_batches) == (0, 0)
}

fn is_exported(report: &RunReport) -> bool {
    report.all_succeeded()
}

#[test]
fn submit_and_collect_that_crash_at_any_act_resume_and_pay_once() {
    let sent = for_every_act(|n| {
        let bench = Bench::new(work());
        let job = bench.job();
        let crashed = bench
            .crash_at(n, |engine| engine.submit(&job, &RunOptions::default()))
            .map(|done| assert!(is_sent(&done.unwrap())))
            .is_err();
        if crashed {
            call_until(&bench, || bench.submit(), is_sent);
        }
        call_until(&bench, || bench.collect(None), is_exported);
        check_whole(&bench, ROWS);
        crashed
    });
    let fetched = for_every_act(|n| {
        let bench = Bench::new(work());
        assert!(is_sent(&bench.submit().unwrap()));
        let run = bench.newest_run();
        let crashed = bench
            .crash_at(n, |engine| engine.collect(&run, &CollectOptions::default()))
            .map(|done| done.unwrap())
            .is_err();
        call_until(&bench, || bench.collect(None), is_exported);
        check_whole(&bench, ROWS);
        crashed
    });
    assert!(sent >= 11 && fetched >= 12, "{sent} and {fetched} acts");
}

#[test]
fn a_process_that_ends_itself_resumes_and_pays_once() {
    // A spool file, the run's name, a batch that was accepted and is not journaled, results.
    thread::scope(|scope| {
        for n in [2, 8, 14, 20, 26] {
            scope.spawn(move || {
                let (work, sim) = (work(), Sim::start());
                let args = ["run", "job.toml"];
                assert!(run_to(work.command_at(&sim.url(), &args), n).is_none());
                run_until(&work, &sim, &args, 0);
                check_output(&work, &sim, ROWS);
                check_ledger(&sim, ROWS);
                check_folder(&work);
            });
        }
    });
}

/// Ends the process with SIGKILL at random moments, several times a run. Slow, so only on request:
/// `ROWMILL_ROUNDS=300 cargo test --test it killed_at_random -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn a_run_that_is_killed_at_random_moments_pays_once() {
    // Answers that come late leave time to die between acceptance and journal.
    const SLOW: &str = "[[calls]]\non = 'create'\ndo = 'delay'\nseconds = 0.08\n[[calls]]\non = \
        'results'\ndo = 'delay'\nseconds = 0.05";
    let rounds = std::env::var("ROWMILL_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100);
    let counts: [AtomicU32; 5] = Default::default();
    let [kills, starts, midway, adopted, absent] = &counts;
    let add = |count: &AtomicU32, n: usize| {
        count.fetch_add(u32::try_from(n).expect("a small number"), Ordering::SeqCst)
    };
    let next = AtomicU32::new(0);
    let rounds_of = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        while next.fetch_add(1, Ordering::SeqCst) < rounds {
            let (work, sim) = (
                work(),
                Sim::new(SLOW, Duration::from_millis(random.u64(0..200))),
            );
            for _ in 0..4 {
                let mut child = work
                    .command_at(&sim.url(), &["run", "job.toml"])
                    .stderr(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap();
                thread::sleep(Duration::from_micros(random.u64(0..600_000)));
                add(starts, 1);
                add(kills, usize::from(child.try_wait().unwrap().is_none()));
                child.kill().unwrap();
                child.wait().unwrap();
                if is_over(&work) {
                    break;
                }
                add(
                    midway,
                    usize::from(sim.ledger().batches.len() > journaled(&work)),
                );
            }
            if !is_over(&work) {
                run_until(&work, &sim, &["run", "job.toml"], 0);
            }
            check_output(&work, &sim, ROWS);
            check_ledger(&sim, ROWS);
            check_folder(&work);
            let journal = work
                .files()
                .into_iter()
                .find(|file| file.ends_with("journal.jsonl"))
                .unwrap();
            let journal = work.read(&journal);
            add(adopted, journal.matches(r#""event":"adopted""#).count());
            add(absent, journal.matches(r#""event":"absent""#).count());
        }
    };
    thread::scope(|scope| {
        let others = [1, 2, 3].map(|seed| scope.spawn(move || rounds_of(seed)));
        for other in others {
            other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let [kills, starts, midway, adopted, absent] = counts.map(AtomicU32::into_inner);
    eprintln!(
        "{rounds} runs of {ROWS} rows in 3 batches: {kills} of {starts} processes killed, {midway} \
         times between acceptance and journal; {adopted} batches found, {absent} shown not to \
         exist; every row accepted once, every output whole"
    );
}

/// Whether the run told everybody that it is done; the same command would begin another.
fn is_over(work: &Workdir) -> bool {
    let manifest = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("manifest.json"));
    manifest.is_some_and(|manifest| work.read(&manifest).contains(r#""state": "exported""#))
}
