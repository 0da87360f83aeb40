//! Sending and waiting: what is retried in seconds, what is sent while another batch is uncertain,
//! what is reported meanwhile, and what ends the call. In each: nothing is paid twice.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rowmill::cost::Money;
use rowmill::engine::{Engine, RunOptions};
use rowmill::provider::retry::Clock as _;
use rowmill::simulator::ApiCall;

use crate::endings::Ending::{
    self, Complete, InDoubt, NothingSent, OverBudget, SomeFailed, Stopped, Unfinished,
};
use crate::endings::{Ended, Spoken, side_by_side};
use crate::in_process::Bench;
use crate::support::{JOB, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);

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

/// Five batches of seven rows that end at once.
fn bench(more: &str, faults: &str) -> Bench {
    Bench::with(five(more), faults, Duration::ZERO)
}

fn journal(bench: &Bench) -> String {
    std::fs::read_to_string(bench.newest_run().join("journal.jsonl")).expect("a journal")
}

/// Batches whose results are saved.
fn collected(bench: &Bench) -> usize {
    journal(bench).matches(r#""event":"collected""#).count()
}

#[track_caller]
fn run(bench: &Bench, ending: Ending) -> Ended {
    bench.expect(bench.run(), ending)
}

/// A run that returns after this time.
#[track_caller]
fn run_for(bench: &Bench, deadline: Duration, ending: Ending) -> Ended {
    let options = RunOptions {
        deadline: Some(deadline),
        ..RunOptions::default()
    };
    bench.expect(bench.run_with(&options), ending)
}

fn since(bench: &Bench, begun: Timestamp) -> SignedDuration {
    bench.clock.now().duration_since(begun)
}

const fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn one_429_and_one_529_on_create_cost_seconds() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\n\
                  [[calls]]\non = 'create'\nnth = [3]\ndo = 'status'\nstatus = 529";
    // The settling time is the default: five minutes would show.
    let bench = bench("", faults);
    let begun = bench.clock.now();
    run(&bench, Complete)
        .has_note("not_accepted", 1)
        .has("kind", "rate_limit_error")
        .has_note("not_accepted", 2)
        .has("kind", "overloaded_error")
        .has_no("note", "uncertain");
    assert!(since(&bench, begun) < seconds(15));
    assert_eq!(bench.calls(ApiCall::Create), 5 + 2);
    bench.check_output(35);
    bench.check_ledger(35);
}

#[test]
fn while_one_batch_is_uncertain_the_others_are_sent() {
    let bench = bench(
        "settle_seconds = 12\n",
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_before'",
    );
    let ended = run(&bench, Complete)
        .has_note("uncertain", 1)
        .has("settle_seconds", "12.0")
        .has_note("sent_again", 1);
    let waits_for_the_first = ended.notices.iter().any(|notice| {
        let reason = &notice["reasons"][0];
        notice["notice"] == "waiting"
            && (&notice["ended"], &notice["of"]) == (&4.into(), &5.into())
            && (&reason["reason"], &reason["batch"]) == (&"uncertain".into(), &1.into())
            && reason["left_seconds"].as_f64() > Some(0.0)
    });
    assert!(waits_for_the_first, "{:?}", ended.notices);
    for wait in ended.notices.iter().filter(|n| n["notice"] == "waiting") {
        assert_eq!(
            wait["in_flight"] == 0,
            wait["elapsed_seconds"].is_null(),
            "{wait}"
        );
    }
    let batches = bench.simulator().ledger().expect("a ledger").batches;
    assert_eq!(batches.len(), 5);
    let others = batches[3].at.duration_since(batches[0].at);
    assert!(others < seconds(5), "the four others took {others}");
    let resent = batches[4].at.duration_since(batches[0].at);
    assert!(resent > seconds(10), "sent again after {resent}");
    assert_eq!(bench.calls(ApiCall::Create), 6);
    bench.check_output(35);
    bench.check_ledger(35);
}

#[test]
fn uncertain_batches_of_one_size_are_told_apart_by_their_ids() {
    // The first was created and takes long, the second was not, the third was.
    let faults = "[[calls]]\non = 'create'\nnth = [1, 3]\ndo = 'reset_after'\n[[calls]]\non = \
                  'create'\nnth = [2]\ndo = 'reset_before'\n[[batches]]\nnth = [1]\nextra_seconds \
                  = 4";
    let bench = bench("settle_seconds = 1\n", faults);
    run(&bench, Complete)
        .has_note("found", 1)
        .has_note("sent_again", 2)
        .has_note("found", 3)
        .has("why", "not_ended");
    assert_eq!(bench.calls(ApiCall::Create), 6);
    bench.check_output(35);
    bench.check_ledger(35);
}

#[test]
fn where_every_call_is_lost_few_batches_become_uncertain() {
    let bench = Bench::with(
        work(70, "[batch]\nmax_requests = 7\n"),
        "[[calls]]\non = 'create'\ndo = 'reset_before'",
        Duration::ZERO,
    );
    let ended = run_for(&bench, Duration::from_secs(14), InDoubt);
    let reasons = ended.wait_reasons();
    assert!(
        reasons
            .iter()
            .any(|reason| reason["reason"] == "too_uncertain" && reason["calls"] == 4),
        "{reasons:?}"
    );
    assert_eq!(bench.calls(ApiCall::Create), 4);
}

#[test]
fn a_submit_sends_the_others_and_reports_what_is_uncertain() {
    let faults = "[[calls]]\non = 'create'\nnth = [2]\ndo = 'reset_after'";
    let bench = Bench::with(five(""), faults, HOUR);
    let ended = bench.expect(bench.submit(), InDoubt);
    assert_eq!(ended.report.expect("a report").uncertain_batches, 1);
    assert_eq!(bench.sent(), [7; 5]);
    bench.check_ledger(35);
}

#[test]
fn the_queue_limit_counts_uncertain_batches() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_after'";
    let bench = Bench::with(five("max_queued_requests = 14\n"), faults, HOUR);
    let ended = run_for(&bench, Duration::from_secs(14), InDoubt);
    assert_eq!(bench.sent(), [7, 7]);
    let reasons = ended.wait_reasons();
    assert!(
        reasons.iter().any(|reason| reason["reason"] == "queue_full"
            && (&reason["batch"], &reason["queued"]) == (&3.into(), &14.into())),
        "{reasons:?}"
    );
}

#[test]
fn a_kill_while_sending_costs_no_time_of_its_own() {
    const PROCESSING: Duration = Duration::from_secs(10);
    let undisturbed = {
        let bench = Bench::with(five(""), "", PROCESSING);
        let begun = bench.clock.now();
        run(&bench, Complete);
        since(&bench, begun)
    };
    // Ended when the provider has the first batch, and the journal does not know it.
    for n in 5..40 {
        let bench = Bench::with(five(""), "", PROCESSING);
        let job = bench.job();
        let start = |engine: Engine| engine.run(&job, &RunOptions::default()).map(|_| ());
        assert!(
            bench.crash_at(n, start).is_err(),
            "it was never accepted and not journaled"
        );
        if bench.sent().is_empty() {
            continue;
        }
        let begun = bench.clock.now();
        run(&bench, Complete).has_note("found", 1);
        let resumed = since(&bench, begun);
        assert!(
            resumed.as_secs_f64() < undisturbed.as_secs_f64() * 1.2,
            "{resumed} and {undisturbed} undisturbed"
        );
        assert_eq!(bench.calls(ApiCall::Create), 5);
        bench.check_output(35);
        bench.check_ledger(35);
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
        let bench = bench("", &faults);
        let ended = run_for(&bench, Duration::from_secs(6), Unfinished);
        let creates = bench.calls(ApiCall::Create);
        assert!(creates <= 5, "{tiny}: {creates} creates in six seconds");
        let first = ended.notices.iter().find(|n| n["note"] == "not_accepted");
        let after = first.expect("a note")["after_seconds"].as_f64();
        assert!(after > Some(0.1) && after < Some(1.0), "{tiny}: {after:?}");
    }
}

#[test]
fn a_killed_process_does_not_forget_what_the_provider_asked_for() {
    let faults =
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\nretry_after = '7'";
    let bench = bench("", faults);
    let begun = bench.clock.now();
    run_for(&bench, Duration::from_millis(500), Unfinished).has("after_seconds", "7.0");
    assert!(
        journal(&bench).contains(r#""retry_at":"#),
        "{}",
        journal(&bench)
    );
    run_for(&bench, Duration::from_secs(1), Unfinished);
    assert_eq!(bench.calls(ApiCall::Create), 1, "the time is not over");
    run(&bench, Complete);
    assert!(since(&bench, begun) >= seconds(7));
    assert_eq!(bench.calls(ApiCall::Create), 6);
    bench.check_ledger(35);
}

#[test]
fn an_impossible_batch_id_is_an_answer_that_cannot_be_read() {
    let long = "x".repeat(5_000);
    for id in ["../results", "a b", "", long.as_str(), "a\\u0007b"] {
        let faults =
            format!("[[calls]]\non = 'create'\nnth = [2]\ndo = 'batch_id'\nvalue = \"{id}\"");
        let bench = bench("settle_seconds = 1\n", &faults);
        run(&bench, Complete)
            .has_note("uncertain", 2)
            .has("kind", "unreadable")
            .has_note("found", 2);
        assert_eq!(bench.calls(ApiCall::Create), 5);
        bench.check_ledger(35);
    }
}

#[test]
fn a_list_that_names_impossible_ids_holds_only_what_is_uncertain() {
    // Whatever is listed has no id that could be asked for, so nothing can be proven of the lost
    // batch.
    let faults = "[[calls]]\non = 'create'\nnth = [2]\ndo = 'reset_after'\n[[calls]]\non = \
        'list'\nfrom = 2\ndo = 'batch_id'\nvalue = 'a/b'";
    let bench = bench("settle_seconds = 1\n", faults);
    run_for(&bench, Duration::from_secs(6), InDoubt);
    assert_eq!((bench.calls(ApiCall::Create), bench.sent().len()), (5, 5));
    bench.check_ledger(35);
}

const AT_MOST_3: &str = "requests: List should have at most 3 items after validation, not 7";

#[test]
fn a_batch_with_too_many_requests_is_sent_in_smaller_ones() {
    let faults = format!(
        "[[calls]]\non = 'create'\nnth = [1, 5]\ndo = 'status'\nstatus = 400\nmessage = \
         '{AT_MOST_3}'"
    );
    let bench = bench("", &faults);
    run(&bench, Complete)
        .has_note("split_up", 1)
        .has("message", AT_MOST_3);
    let sizes = bench.sent();
    assert_eq!(sizes.iter().sum::<u64>(), 35);
    assert_eq!(
        sizes.iter().filter(|size| **size <= 3).count(),
        6,
        "two batches went in three each: {sizes:?}"
    );
    // The two that were split have no results, and are not waited for.
    let view = bench.engine().status(&bench.newest_run()).unwrap().0;
    assert_eq!((view.batches.len(), view.with_results()), (11, 9));
    assert_eq!(view.collected(), 9);
    bench.check_output(35);
    bench.check_ledger(35);
}

#[test]
fn a_batch_that_is_refused_for_good_needs_a_change_and_then_the_run_is_planned_again() {
    let faults = "[[calls]]\non = 'create'\ntimes = 2\ndo = 'status'\nstatus = 400\nmessage = \
        'system: not in this workspace'";
    let bench = bench("", faults);
    for _ in 0..2 {
        let ended = run(&bench, NothingSent).has("message", "system: not in this workspace");
        let error = ended.notices.iter().find(|n| n["notice"] == "error");
        let error = error.expect("an error");
        assert_eq!((&error["batch"], &error["of"]), (&1.into(), &5.into()));
    }
    bench.work.write(
        "job.toml",
        bench.work.read("job.toml").replace("Say what", "Tell what"),
    );
    run(&bench, Complete);
    bench.check_output(35);
    bench.check_ledger(35);
}

#[test]
fn a_batch_that_is_refused_after_others_were_accepted_keeps_them() {
    let faults =
        "[[calls]]\non = 'create'\nfrom = 3\ndo = 'status'\nstatus = 400\nmessage = 'not this one'";
    let bench = bench("", faults);
    run(&bench, Stopped)
        .has("message", "not this one")
        .has("note", "sending_stopped");
    assert_eq!(collected(&bench), 2);
    run(&bench, Stopped).has("message", "not this one");
    assert_eq!(collected(&bench), 2);
    // The hint's way out.
    bench.cancel(false).expect("a report");
    bench.expect(bench.collect(None), SomeFailed);
    assert_eq!(bench.statuses()["succeeded"], 14);
}

#[test]
fn under_a_lasting_spend_limit_what_has_ended_is_fetched_first() {
    let bench = bench("", "spend_cap_requests = 14");
    for _ in 0..2 {
        run(&bench, Stopped).has("code", "enforced_spend_limit_reached");
        assert_eq!(collected(&bench), 2);
    }
    assert_eq!(bench.sent(), [7, 7]);
}

#[test]
fn results_that_cannot_be_fetched_do_not_stop_the_other_batches() {
    // Of the first download, the provider will hear nothing more.
    let faults =
        "[[calls]]\non = 'results'\nnth = [1]\ndo = 'status'\nstatus = 400\nmessage = 'not these'";
    let bench = bench("", faults);
    run(&bench, Stopped)
        .has("message", "not these")
        .has("note", "results_refused");
    assert_eq!(collected(&bench), 4);
    run(&bench, Complete);
    bench.check_output(35);
    bench.check_ledger(35);
}

#[test]
fn a_network_that_is_gone_is_reported_within_seconds() {
    // While batches are sent.
    let unreachable = bench("", "");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let begun = unreachable.clock.now();
    let options = RunOptions {
        deadline: Some(Duration::from_secs(4)),
        ..RunOptions::default()
    };
    let ended = unreachable
        .engine_at(format!("http://{closed}"))
        .run(&unreachable.job(), &options);
    let ended = unreachable
        .expect(ended, Unfinished)
        .has("kind", "connection");
    let shortest = ended
        .notices
        .iter()
        .filter_map(|notice| notice["after_seconds"].as_f64())
        .fold(f64::MAX, f64::min);
    assert!(shortest < 1.0, "{}", ended.text());
    assert!(since(&unreachable, begun) < seconds(20));
    // While they are looked after.
    let bench = bench("", "[[calls]]\non = 'list'\nfrom = 2\ndo = 'reset_before'");
    let ended = run_for(&bench, Duration::from_secs(6), Complete);
    let is_told = |notice: &serde_json::Value| {
        let (call, kind) = (&notice["error"]["call"], &notice["error"]["kind"]);
        notice["notice"] == "retrying" && call == "list batches" && kind == "connection"
    };
    assert!(ended.notices.iter().any(is_told), "{}", ended.text());
    bench.check_ledger(35);
}

/// What the plan says that each batch costs in the worst case.
fn worst(bench: &Bench) -> Vec<Money> {
    let plan = std::fs::read(bench.newest_run().join("plan.json")).expect("a plan");
    let plan: serde_json::Value = serde_json::from_slice(&plan).expect("JSON");
    let pieces = plan["estimate"]["pieces"].as_array().expect("batches");
    pieces
        .iter()
        .map(|piece| piece["worst_case"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_batch_that_does_not_fit_holds_back_those_behind_it_too() {
    // Three batches, the last of them smaller than the others.
    let bench = || {
        let job = work(20, "[batch]\nmax_requests = 7\n");
        Bench::with(job, "", HOUR)
    };
    let trial = bench();
    trial.expect(trial.submit(), Unfinished);
    let worst = worst(&trial);
    assert!(worst[2] < worst[0] && worst[2] < worst[1], "{worst:?}");
    let limit = |limit: Money| RunOptions {
        max_cost: Some(limit),
        ..RunOptions::default()
    };
    // While the first is in flight, there is room for the third and not for the second.
    let bench = bench();
    let ended = bench.submit_with(&limit(worst[0] + worst[2]));
    let ended = bench.expect(ended, OverBudget);
    let held = ended.notices.iter().find(|n| n["notice"] == "held_back");
    assert_eq!(held.expect("a notice")["batch"], 2);
    assert_eq!(
        bench.calls(ApiCall::Create),
        1,
        "the third batch would fit, and waits behind the second"
    );
    // Nothing is left once the first is billed.
    bench.expect(bench.collect(Some(HOUR * 2)), Unfinished);
    let spent: Money = bench.entries().iter().map(|entry| entry.spent()).sum();
    assert!(spent > Money::ZERO);
    bench.expect(bench.run_with(&limit(spent)), OverBudget);
    assert_eq!(bench.calls(ApiCall::Create), 1);
    assert!(!bench.work.path("out.parquet").exists());
    // With room, the same command sends the rest.
    let enough = "1".parse().expect("a dollar");
    bench.expect(bench.run_with(&limit(enough)), Complete);
    bench.check_output(20);
    bench.check_ledger(20);
}

/// The words and exit codes of what the tests above look at as data.
#[test]
fn the_binary_says_what_is_sent_and_what_is_not() {
    let run: &[&str] = &["run", "job.toml"];
    let cases = [
        Spoken {
            faults: "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\n\
                retry_after = '0.1'\n[[calls]]\non = 'create'\nnth = [3]\ndo = 'status'\nstatus = \
                529",
            job: "",
            args: run,
            code: 0,
            says: &[
                "batch 1 was not accepted",
                "`rate_limit_error`",
                "trying again in 0.",
                "batch 2 was not accepted",
                "`overloaded_error`",
            ],
        },
        Spoken {
            faults: "[[calls]]\non = 'create'\nnth = [2]\ndo = 'reset_after'\n[[batches]]\n\
                extra_seconds = 3600",
            job: "max_queued_requests = 14\n",
            args: &["run", "job.toml", "--deadline", "4s"],
            code: 7,
            says: &[
                "batch 2 may or may not have been created (",
                "looking for it for up to 5m, while the other batches are sent",
                "1 batch may or may not have been created",
            ],
        },
        Spoken {
            faults: "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 400\n\
                message = 'requests: List should have at most 3 items after validation, not 7'",
            job: "",
            args: &["submit", "job.toml"],
            code: 0,
            says: &[
                "batch 1 is too large for the provider (requests: List should have at most 3 items",
            ],
        },
        Spoken {
            faults: "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 400\n\
                message = 'system: not in this workspace'",
            job: "",
            args: run,
            code: 2,
            says: &[
                "batch 1 of 5 was refused",
                "system: not in this workspace",
                "nothing was sent",
                "run the same command again",
            ],
        },
        Spoken {
            faults: "[[calls]]\non = 'create'\nfrom = 3\ndo = 'status'\nstatus = 400\nmessage = \
                'not this one'",
            job: "",
            args: run,
            code: 4,
            says: &["not this one", "batches that have ended are fetched first"],
        },
        Spoken {
            faults: "[[calls]]\non = 'results'\nnth = [1]\ndo = 'status'\nstatus = 400\n\
                message = 'not these'",
            job: "",
            args: run,
            code: 4,
            says: &["not these", "the other batches continue"],
        },
        Spoken {
            faults: "[[calls]]\non = 'list'\nfrom = 2\ndo = \
                'reset_before'\n[[batches]]\nextra_seconds = 3600",
            job: "",
            args: &["run", "job.toml", "--deadline", "3s"],
            code: 5,
            says: &[
                "list batches: `connection`",
                "; failing for ",
                "s, trying again in ",
            ],
        },
        // Room for all rows in their expected cost and not in their worst case, then for a part.
        Spoken {
            faults: "",
            job: "max_queued_requests = 7\n[budget]\nrun_usd = 0.004\non_limit = 'partial'\n",
            args: run,
            code: 0,
            says: &[
                "may cost $0.00",
                "the first 6 of its 7 requests are sent now",
                "waits for the budget: it may cost",
            ],
        },
        Spoken {
            faults: "",
            job: "max_queued_requests = 7\n[budget]\nrun_usd = 0.0012\non_limit = 'partial'\n",
            args: run,
            code: 3,
            says: &["waits for the budget: it may cost", "unsent"],
        },
    ];
    side_by_side(&cases, |case| case.check(&five(case.job)));
}
