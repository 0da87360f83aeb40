//! The process is ended at its n-th durable write or network act, for every n, and the same command
//! is run again: the output is that of an undisturbed run, every row was accepted once, and nothing
//! is left behind.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Finished, JOB, Sim, Workdir};

const ROWS: usize = 20;
/// So often is a command run again before it counts as one that never ends.
const AGAIN: usize = 6;

/// Three batches, of which two have the same size: the ids in the results must tell them apart.
fn work() -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n"),
    );
    work
}

/// The same, led by a priming request and a canary: four batches, each sent when the one before it
/// is judged.
fn led_work() -> Workdir {
    let work = work();
    let job = work.read("job.toml");
    work.write(
        "job.toml",
        format!("{job}\n[cache]\nprime = \"always\"\n[canary]\nrows = 6\n"),
    );
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

/// Holds what was written against the rows and against what the simulator answered.
pub(crate) fn check_output(work: &Workdir, sim: &Sim, rows: usize) {
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
    let (ids, texts, answers) = (
        out.column("_rm_custom_id"),
        out.column("_rm_text"),
        sim.answers(),
    );
    for ((id, text), key) in ids.iter().zip(&texts).zip(&keys) {
        assert!(id.ends_with(&format!("-{key}")), "{id} for {key}");
        assert_eq!(answers.get(id), Some(text), "{id}");
    }
}

/// Every row was accepted once.
pub(crate) fn check_ledger(sim: &Sim, rows: usize) {
    let once: BTreeMap<String, u64> = (1..=rows).map(|n| (format!("T-{n}"), 1)).collect();
    assert_eq!(sim.accepted(), once);
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

fn check(work: &Workdir, sim: &Sim) {
    check_output(work, sim, ROWS);
    check_ledger(sim, ROWS);
    check_folder(work);
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

#[test]
fn a_run_that_is_ended_at_any_act_goes_on_and_pays_once() {
    let accepted_and_not_journaled = AtomicU32::new(0);
    let acts = for_every_act(|n| {
        let (work, sim) = (work(), Sim::start());
        let args = ["run", "job.toml"];
        let was_ended = run_to(work.command_at(&sim.url(), &args), n).is_none();
        if sim.ledger().batches.len() > journaled(&work) {
            accepted_and_not_journaled.fetch_add(1, Ordering::SeqCst);
        }
        if was_ended {
            run_until(&work, &sim, &args, 0);
        }
        check(&work, &sim);
        was_ended
    });
    // Five files of the plan, its name, three batches with three acts each and what follows; and
    // the worst case is among them.
    assert!(acts >= 25, "{acts} acts");
    assert_eq!(accepted_and_not_journaled.into_inner(), 3, "of {acts} acts");
}

#[test]
fn a_run_that_is_led_by_other_batches_and_ended_at_any_act_goes_on_and_pays_once() {
    let acts = for_every_act(|n| {
        let (work, sim) = (led_work(), Sim::start());
        let args = ["run", "job.toml"];
        let was_ended = run_to(work.command_at(&sim.url(), &args), n).is_none();
        if was_ended {
            run_until(&work, &sim, &args, 0);
        }
        check(&work, &sim);
        let mut sizes: Vec<u64> = sim
            .ledger()
            .batches
            .iter()
            .map(|batch| batch.requests)
            .collect();
        // Of those behind the gates, one may have been sent while another was uncertain.
        sizes[2..].sort_unstable();
        assert_eq!(
            sizes,
            [1, 6, 6, 7],
            "what leads went first, ended at act {n}"
        );
        was_ended
    });
    // Beside what a run has: two judgements.
    assert!(acts >= 30, "{acts} acts");
}

#[test]
fn submit_and_collect_that_are_ended_at_any_act_go_on_and_pay_once() {
    let submit = ["submit", "job.toml"];
    let collect = ["collect", "job.toml"];
    let sent = for_every_act(|n| {
        let (work, sim) = (work(), Sim::start());
        let was_ended = run_to(work.command_at(&sim.url(), &submit), n).is_none();
        if was_ended {
            run_until(&work, &sim, &submit, 5);
        }
        run_until(&work, &sim, &collect, 0);
        check(&work, &sim);
        was_ended
    });
    let fetched = for_every_act(|n| {
        let (work, sim) = (work(), Sim::start());
        work.rowmill_at(&sim.url(), &submit).expect(5);
        let was_ended = run_to(work.command_at(&sim.url(), &collect), n).is_none();
        run_until(&work, &sim, &collect, 0);
        check(&work, &sim);
        was_ended
    });
    assert!(sent >= 14 && fetched >= 12, "{sent} and {fetched} acts");
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
            check(&work, &sim);
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
