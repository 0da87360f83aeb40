//! Sending and waiting: what is tried again in seconds, what is sent while another batch is
//! uncertain, what a person hears meanwhile, and what ends the command. In each: nothing is paid
//! twice.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rowmill::cost::Money;
use rowmill::ledger::Ledger;
use rowmill::simulator::ApiCall;

use crate::crash::{check_ledger, check_output, run_to};
use crate::support::{Finished, JOB, Sim, Workdir};

/// A job with these rows, and what it says besides.
fn work(rows: usize, more: &str) -> Workdir {
    let work = Workdir::new().with_rows(rows);
    work.write("job.toml", format!("{JOB}\n{more}"));
    work
}

/// Five batches of seven rows.
fn five(more: &str) -> Workdir {
    work(35, &format!("[batch]\nmax_requests = 7\n{more}"))
}

fn journal(work: &Workdir) -> String {
    let journal = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("journal.jsonl"))
        .expect("a journal");
    work.read(&journal)
}

fn run(work: &Workdir, sim: &Sim, more: &[&str]) -> Finished {
    let args: Vec<&str> = ["run", "job.toml"].iter().chain(more).copied().collect();
    work.rowmill_at(&sim.url(), &args)
}

/// Waits until the provider has so many batches, and gives the time that took.
#[track_caller]
fn until_accepted(sim: &Sim, batches: usize) -> Duration {
    let begun = Instant::now();
    while sim.ledger().batches.len() < batches {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{} of {batches} batches",
            sim.ledger().batches.len()
        );
        thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

#[test]
fn one_429_and_one_529_on_create_cost_seconds() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\n\
                  [[calls]]\non = 'create'\nnth = [3]\ndo = 'status'\nstatus = 529";
    // The settling time is the default: five minutes would show.
    let (work, sim) = (five(""), Sim::with(faults));
    let begun = Instant::now();
    let said = run(&work, &sim, &[]).expect(0);
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(sim.calls(ApiCall::Create), 5 + 2);
    for words in [
        "batch 1 was not accepted",
        "`rate_limit_error`",
        "batch 2 was not accepted",
        "`overloaded_error`",
    ] {
        assert!(
            said.stderr.contains(words),
            "{words} is not in\n{}",
            said.stderr
        );
    }
    assert!(!said.stderr.contains("may or may not"), "{}", said.stderr);
    check_output(&work, &sim, 35);
    check_ledger(&sim, 35);
}

#[test]
fn while_one_batch_is_uncertain_the_others_are_sent() {
    let (work, sim) = (
        five("settle_seconds = 12\n"),
        Sim::with("[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_before'"),
    );
    let mut command = work.command_at(&sim.url(), &["run", "job.toml"]);
    let child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until_accepted(&sim, 1);
    let others = until_accepted(&sim, 4);
    assert!(
        others < Duration::from_secs(5),
        "the four others took {others:?}"
    );
    let said = Finished::from(child.wait_with_output().unwrap()).expect(0);
    for words in [
        "batch 1 may or may not have been created (",
        "looking for it for up to 12s, while the other batches are sent",
        "waiting: 4 of 5 batches ended; batch 1 may or may not have been created: looking for it \
         for ",
        "batch 1 was not created",
    ] {
        assert!(
            said.stderr.contains(words),
            "{words} is not in\n{}",
            said.stderr
        );
    }
    assert!(
        !said.stderr.contains("in flight for 0.0s"),
        "{}",
        said.stderr
    );
    assert_eq!(sim.calls(ApiCall::Create), 6);
    check_output(&work, &sim, 35);
    check_ledger(&sim, 35);
}

#[test]
fn uncertain_batches_of_one_size_are_told_apart_by_their_ids() {
    // The first was created and takes long, the second was not, the third was.
    let faults = "[[calls]]\non = 'create'\nnth = [1, 3]\ndo = 'reset_after'\n[[calls]]\non = \
                  'create'\nnth = [2]\ndo = 'reset_before'\n[[batches]]\nnth = [1]\nextra_seconds \
                  = 4";
    let (work, sim) = (five("settle_seconds = 1\n"), Sim::with(faults));
    let said = run(&work, &sim, &[]).expect(0);
    for words in [
        "batch 1 was found",
        "batch 2 was not created",
        "batch 3 was found",
        "it has its size and has not ended",
    ] {
        assert!(
            said.stderr.contains(words),
            "{words} is not in\n{}",
            said.stderr
        );
    }
    assert_eq!(sim.calls(ApiCall::Create), 6);
    check_output(&work, &sim, 35);
    check_ledger(&sim, 35);
}

#[test]
fn where_every_call_is_lost_few_batches_become_uncertain() {
    let sim = Sim::with("[[calls]]\non = 'create'\ndo = 'reset_before'");
    let work = work(70, "[batch]\nmax_requests = 7\n");
    run(&work, &sim, &["--deadline", "14s"])
        .expect(7)
        .says("one of the last 4 batches was created");
    assert_eq!(sim.calls(ApiCall::Create), 4);
}

#[test]
fn a_submit_sends_the_others_and_says_what_is_uncertain() {
    let (work, sim) = (
        five(""),
        Sim::new(
            "[[calls]]\non = 'create'\nnth = [2]\ndo = 'reset_after'",
            Duration::from_secs(3_600),
        ),
    );
    let said = work
        .rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(7);
    assert_eq!(sim.ledger().batches.len(), 5);
    assert!(
        said.stderr
            .contains("1 batch may or may not have been created"),
        "{}",
        said.stderr
    );
    check_ledger(&sim, 35);
}

#[test]
fn the_queue_limit_counts_uncertain_batches() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_after'";
    let work = five("max_queued_requests = 14\n");
    let sim = Sim::new(faults, Duration::from_secs(3_600));
    let said = run(&work, &sim, &["--deadline", "14s"]).expect(7);
    assert_eq!(sim.ledger().batches.len(), 2);
    assert!(
        said.stderr
            .contains("batch 3 is sent when others end (14 requests in flight"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_kill_while_sending_costs_no_time_of_its_own() {
    const PROCESSING: Duration = Duration::from_secs(10);
    let undisturbed = {
        let (work, sim) = (five(""), Sim::new("", PROCESSING));
        let begun = Instant::now();
        run(&work, &sim, &[]).expect(0);
        begun.elapsed()
    };
    // Ended when the provider has the first batch, and the journal does not know it.
    for n in 5..40 {
        let (work, sim) = (five(""), Sim::new("", PROCESSING));
        assert!(
            run_to(work.command_at(&sim.url(), &["run", "job.toml"]), n).is_none(),
            "it was never accepted and not journaled"
        );
        if sim.ledger().batches.is_empty() {
            continue;
        }
        let begun = Instant::now();
        let said = run(&work, &sim, &[]).expect(0).says("batch 1 was found");
        let resumed = begun.elapsed();
        assert!(
            resumed < undisturbed.mul_f64(1.2),
            "{resumed:?} and {undisturbed:?} undisturbed\n{}",
            said.stderr
        );
        assert_eq!(sim.calls(ApiCall::Create), 5);
        check_output(&work, &sim, 35);
        check_ledger(&sim, 35);
        return;
    }
    panic!("no batch was accepted");
}

#[test]
fn a_tiny_retry_after_does_not_make_a_stream_of_creates() {
    for tiny in [
        "0.000001",
        "0.01",
        "0",
        "-5",
        "Sun, 06 Nov 1994 08:49:37 GMT",
    ] {
        let faults = format!(
            "[[calls]]\non = 'create'\ndo = 'status'\nstatus = 429\nretry_after = '{tiny}'"
        );
        let (work, sim) = (five(""), Sim::with(&faults));
        let said = run(&work, &sim, &["--deadline", "6s"]).expect(5);
        assert!(
            sim.calls(ApiCall::Create) <= 5,
            "{tiny}: {} creates in six seconds",
            sim.calls(ApiCall::Create)
        );
        assert!(
            said.stderr.contains("trying again in 0."),
            "{tiny}: {}",
            said.stderr
        );
    }
}

#[test]
fn a_killed_process_does_not_forget_what_the_provider_asked_for() {
    let faults =
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\nretry_after = '7'";
    let (work, sim) = (five(""), Sim::with(faults));
    let begun = Instant::now();
    run(&work, &sim, &["--deadline", "500ms"])
        .expect(5)
        .says("trying again in 7s");
    assert!(
        journal(&work).contains(r#""retry_at":"#),
        "{}",
        journal(&work)
    );
    run(&work, &sim, &["--deadline", "1s"]).expect(5);
    assert_eq!(sim.calls(ApiCall::Create), 1, "the time is not over");
    run(&work, &sim, &[]).expect(0);
    assert!(
        begun.elapsed() >= Duration::from_secs(7),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(sim.calls(ApiCall::Create), 6);
    check_ledger(&sim, 35);
}

#[test]
fn an_impossible_batch_id_is_an_answer_that_cannot_be_read() {
    let long = "x".repeat(5_000);
    for id in ["../results", "a b", "", long.as_str(), "a\\u0007b"] {
        let faults =
            format!("[[calls]]\non = 'create'\nnth = [2]\ndo = 'batch_id'\nvalue = \"{id}\"");
        let (work, sim) = (five("settle_seconds = 1\n"), Sim::with(&faults));
        run(&work, &sim, &[])
            .expect(0)
            .says("batch 2 may or may not")
            .says("batch 2 was found");
        assert_eq!(sim.calls(ApiCall::Create), 5);
        check_ledger(&sim, 35);
    }
}

#[test]
fn a_list_that_names_impossible_ids_holds_only_what_is_uncertain() {
    // Whatever is listed has no id that could be asked for, so nothing can be proven of the lost
    // batch.
    let faults = "[[calls]]\non = 'create'\nnth = [2]\ndo = 'reset_after'\n[[calls]]\non = \
        'list'\nfrom = 2\ndo = 'batch_id'\nvalue = 'a/b'";
    let (work, sim) = (five("settle_seconds = 1\n"), Sim::with(faults));
    run(&work, &sim, &["--deadline", "6s"]).expect(7);
    assert_eq!(
        (sim.calls(ApiCall::Create), sim.ledger().batches.len()),
        (5, 5)
    );
    check_ledger(&sim, 35);
}

#[test]
fn a_batch_with_too_many_requests_is_sent_in_smaller_ones() {
    let faults = "[[calls]]\non = 'create'\nnth = [1, 5]\ndo = 'status'\nstatus = 400\n\
                  message = 'requests: List should have at most 3 items after validation, not 7'";
    let (work, sim) = (five(""), Sim::with(faults));
    run(&work, &sim, &[])
        .expect(0)
        .says("batch 1 is too large for the provider (requests: List should have at most 3 items");
    let mut sizes: Vec<u64> = sim
        .ledger()
        .batches
        .iter()
        .map(|batch| batch.requests)
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes.iter().sum::<u64>(), 35);
    assert_eq!(
        sizes.iter().filter(|size| **size <= 3).count(),
        6,
        "two batches went in three each: {sizes:?}"
    );
    check_output(&work, &sim, 35);
    check_ledger(&sim, 35);
}

#[test]
fn a_batch_that_is_refused_for_good_needs_a_change_and_then_the_run_is_planned_again() {
    let faults = "[[calls]]\non = 'create'\ntimes = 2\ndo = 'status'\nstatus = 400\nmessage = \
        'system: not in this workspace'";
    let (work, sim) = (five(""), Sim::with(faults));
    for _ in 0..2 {
        let said = run(&work, &sim, &[]).expect(2);
        for words in [
            "batch 1 of 5 was refused",
            "system: not in this workspace",
            "nothing was sent",
            "run the same command again",
        ] {
            assert!(
                said.stderr.contains(words),
                "{words} is not in\n{}",
                said.stderr
            );
        }
    }
    work.write(
        "job.toml",
        work.read("job.toml").replace("Say what", "Tell what"),
    );
    run(&work, &sim, &[]).expect(0);
    check_output(&work, &sim, 35);
    check_ledger(&sim, 35);
}

#[test]
fn a_batch_that_is_refused_after_others_were_accepted_keeps_them() {
    let faults =
        "[[calls]]\non = 'create'\nfrom = 3\ndo = 'status'\nstatus = 400\nmessage = 'not this one'";
    let (work, sim) = (five(""), Sim::with(faults));
    let said = run(&work, &sim, &[])
        .expect(4)
        .says("not this one")
        .says("batches that have ended are fetched first");
    // Whatever of the two had not ended by then is fetched by the next command, which is stopped as
    // well.
    run(&work, &sim, &[]).expect(4).says("not this one");
    assert_eq!(
        journal(&work).matches(r#""event":"collected""#).count(),
        2,
        "{}",
        said.stderr
    );
    // The hint's way out.
    work.rowmill_at(&sim.url(), &["cancel", "job.toml"])
        .expect(0);
    work.rowmill_at(&sim.url(), &["collect", "job.toml"])
        .expect(3);
    let statuses = work.parquet("out.parquet").column("_rm_status");
    assert_eq!(
        statuses
            .iter()
            .filter(|status| *status == "succeeded")
            .count(),
        14
    );
}

#[test]
fn under_a_lasting_spend_limit_what_has_ended_is_fetched_first() {
    let (work, sim) = (five(""), Sim::with("spend_cap_requests = 14"));
    run(&work, &sim, &[])
        .expect(4)
        .says("raise the spend limit");
    // Whatever of the two had not ended by then is fetched by the next command, which is stopped as
    // well.
    run(&work, &sim, &[])
        .expect(4)
        .says("raise the spend limit");
    assert_eq!(journal(&work).matches(r#""event":"collected""#).count(), 2);
    assert_eq!(sim.ledger().batches.len(), 2);
}

#[test]
fn results_that_cannot_be_fetched_do_not_stop_the_other_batches() {
    // Of the first download, the provider will hear nothing more.
    let faults =
        "[[calls]]\non = 'results'\nnth = [1]\ndo = 'status'\nstatus = 400\nmessage = 'not these'";
    let (work, sim) = (five(""), Sim::with(faults));
    let said = run(&work, &sim, &[])
        .expect(4)
        .says("not these")
        .says("the other batches continue");
    assert_eq!(
        journal(&work).matches(r#""event":"collected""#).count(),
        4,
        "{}",
        said.stderr
    );
    run(&work, &sim, &[]).expect(0);
    check_output(&work, &sim, 35);
    check_ledger(&sim, 35);
}

#[test]
fn a_network_that_is_gone_is_told_of_within_seconds() {
    // While batches are sent.
    let work = five("");
    let begun = Instant::now();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let said = work.rowmill_at(
        &format!("http://{closed}"),
        &["run", "job.toml", "--deadline", "4s"],
    );
    assert!(
        begun.elapsed() < Duration::from_secs(20) && said.stderr.contains("trying again in 0."),
        "{}",
        said.stderr
    );
    // While they are looked after.
    let (work, sim) = (
        five(""),
        Sim::with("[[calls]]\non = 'list'\nfrom = 2\ndo = 'reset_before'"),
    );
    let said = run(&work, &sim, &["--deadline", "6s"]);
    assert!(
        said.stderr.contains("list batches: `connection`")
            && said.stderr.contains(" now, trying again in "),
        "{}",
        said.stderr
    );
    check_ledger(&sim, 35);
}

/// What the plan says that each batch costs in the worst case.
fn worst(work: &Workdir) -> Vec<Money> {
    let plan = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("plan.json"))
        .expect("a plan");
    let plan: serde_json::Value = serde_json::from_str(&work.read(&plan)).expect("JSON");
    let pieces = plan["estimate"]["pieces"].as_array().expect("batches");
    pieces
        .iter()
        .map(|piece| piece["high"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_batch_that_does_not_fit_holds_back_those_behind_it_too() {
    // Three batches, the last of them smaller than the second.
    let (work, sim) = (
        work(20, "[batch]\nmax_requests = 7\nmax_queued_requests = 7\n"),
        Sim::start(),
    );
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    work.rowmill_at(&sim.url(), &["collect", "job.toml"]);
    let spent: Money = Ledger::open(&work.path(".rowmill"))
        .unwrap()
        .entries()
        .unwrap()
        .iter()
        .map(|entry| entry.spent())
        .sum();
    let worst = worst(&work);
    assert!(spent > Money::ZERO && worst[2] < worst[1], "{worst:?}");
    let limit = spent + worst[1] - Money::from_picodollars(1);
    let said = run(&work, &sim, &["--max-cost", &limit.to_string()]).expect(6);
    assert!(
        said.stderr
            .contains("batch 2 is held back by the budget: it may cost"),
        "{}",
        said.stderr
    );
    assert_eq!(
        sim.calls(ApiCall::Create),
        1,
        "the third batch would fit, and waits behind the second"
    );
    assert!(!work.path("out.parquet").exists());
    // With room, the same command sends the rest.
    run(&work, &sim, &["--max-cost", "1"]).expect(0);
    check_output(&work, &sim, 20);
    check_ledger(&sim, 20);
}
