//! Budgets and the ledger: never over, whatever races, fails or ends; and in the end the ledger is
//! the sum of the rows.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::{BudgetCause, OverBudget};
use rowmill::engine::{Error, PlanOptions, RunOptions, RunOutcome, RunReport};
use rowmill::job::JobFile;
use rowmill::ledger::{EntryState, Ledger, LedgerEntry, LimitScope, OnLimit};

use crate::bill::{costs, sum};
use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;
const HOUR: Duration = Duration::from_secs(3_600);

fn entries(work: &Workdir) -> Vec<LedgerEntry> {
    Ledger::open(&work.path(".rowmill"))
        .expect("the ledger")
        .entries()
        .expect("its entries")
}

fn spent(entries: &[LedgerEntry]) -> Money {
    entries.iter().map(LedgerEntry::spent).sum()
}

fn reserved(entries: &[LedgerEntry]) -> Money {
    entries.iter().map(LedgerEntry::held).sum()
}

/// Three batches of rows `T-1` to `T-20`, and what the job says besides.
fn with_job(more: &str) -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n{more}"),
    );
    work
}

/// A figure of the plan, by batch.
fn figures(work: &Workdir, figure: &str) -> Vec<Money> {
    let plan = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("plan.json"))
        .expect("a plan");
    let plan: serde_json::Value = serde_json::from_str(&work.read(&plan)).expect("JSON");
    let batches = plan["estimate"]["pieces"].as_array().expect("batches");
    batches
        .iter()
        .map(|batch| batch[figure].as_str().unwrap().parse().unwrap())
        .collect()
}

/// The expected cost and the worst case of each batch, of a run that was planned for that.
fn costs_of_a_trial(more: &str) -> (Vec<Money>, Vec<Money>) {
    let bench = Bench::new(with_job(more));
    let job = JobFile::read(&bench.work.path("job.toml")).unwrap();
    let options = PlanOptions {
        out: Some(bench.work.path("trial")),
        ..PlanOptions::default()
    };
    bench.engine().plan(&job, &options).unwrap();
    let of = |figure| figures(&bench.work, figure);
    (of("expected"), of("worst_case"))
}

fn at_most(max_cost: Money) -> RunOptions {
    RunOptions {
        max_cost: Some(max_cost),
        ..RunOptions::default()
    }
}

/// What a run exceeds.
#[track_caller]
fn over(result: Result<RunReport, Error>) -> OverBudget {
    match result {
        Err(Error::Budget(over)) => *over,
        other => panic!("not over budget: {other:?}"),
    }
}

/// Whether the ledger is what the rows cost, and nothing is held any more.
#[track_caller]
fn check_ledger(work: &Workdir) {
    let entries = entries(work);
    assert_eq!(spent(&entries), sum(work));
    assert_eq!(reserved(&entries), Money::ZERO);
    assert!(
        entries
            .iter()
            .all(|entry| entry.state != EntryState::Reserved),
        "{entries:?}"
    );
}

/// Every row was accepted once, and has its own answer.
#[track_caller]
fn check_rows(bench: &Bench) {
    let accepted = bench.accepted();
    assert_eq!(accepted.len(), ROWS);
    assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
    let (out, answers) = (bench.output(), bench.answers());
    let keys: Vec<String> = (1..=ROWS).map(|n| format!("T-{n}")).collect();
    assert_eq!(out.column("id"), keys);
    let statuses = out.column("_rm_status");
    assert!(statuses.iter().all(|s| s == "succeeded"), "{statuses:?}");
    let (ids, texts) = (out.column("_rm_custom_id"), out.column("_rm_text"));
    for ((id, text), key) in ids.iter().zip(&texts).zip(&keys) {
        assert!(id.ends_with(&format!("-{key}")), "{id} for {key}");
        assert_eq!(answers.get(id), Some(text), "{id}");
    }
}

/// Writes the job with another word in a place of it.
fn change(work: &Workdir, from: &str, to: &str) {
    work.write("job.toml", work.read("job.toml").replace(from, to));
}

#[test]
fn the_ledger_is_the_sum_of_the_rows() {
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.3\n[[rows]]\noutcome = \
        'truncated'\nshare = 0.3\n";
    let work = with_job("[retry]\ntruncated = { times = 1, max_tokens = '2x' }\n");
    let bench = Bench::with(work, faults, Duration::ZERO);
    assert!(bench.run().unwrap().all_succeeded());
    check_ledger(&bench.work);
    let entries = entries(&bench.work);
    assert!(entries.len() > 3, "retries have entries of their own");
    assert!(
        spent(&entries) > Money::ZERO
            && entries.iter().all(|entry| entry.spent() <= entry.reserved),
        "{entries:?}"
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.reserved <= entry.worst_case && entry.simulated)
    );
}

#[test]
fn what_is_in_flight_is_reserved_and_what_was_canceled_is_released() {
    let bench = Bench::with(with_job(""), "", HOUR);
    let work = &bench.work;
    bench.submit().unwrap();
    let worst_case = figures(work, "worst_case").into_iter().sum();
    assert_eq!(reserved(&entries(work)), worst_case);
    assert_eq!(spent(&entries(work)), Money::ZERO);
    let status = work.rowmill(&["status", "job.toml"]).expect(0);
    assert!(status.stdout.contains("reserved"), "{}", status.stdout);
    assert_eq!(bench.cancel(false).unwrap().asked, 3);
    let collected = bench.collect(Some(HOUR)).unwrap();
    assert_eq!(collected.outcome, RunOutcome::Complete);
    check_ledger(work);
    let (statuses, costs) = (bench.output().column("_rm_status"), costs(work));
    let canceled: Vec<usize> = (0..ROWS)
        .filter(|&row| statuses[row] == "canceled")
        .collect();
    assert!(
        !canceled.is_empty() && canceled.iter().all(|&row| costs[row] == Some(Money::ZERO)),
        "{costs:?}"
    );
}

#[test]
fn a_run_that_does_not_fit_sends_nothing() {
    let bench = Bench::new(with_job(""));
    let (expected, _) = costs_of_a_trial("");
    let expected: Money = expected.into_iter().sum();
    let below = expected - Money::from_picodollars(1);
    let found = over(bench.run_with(&at_most(below)));
    let shortage = &found.shortage;
    assert_eq!(
        (shortage.scope, shortage.limit, shortage.asked),
        (LimitScope::Run, below, expected)
    );
    assert_eq!(
        (shortage.spent, shortage.reserved),
        (Money::ZERO, Money::ZERO)
    );
    assert_eq!((found.batches, found.requests), (3, 20));
    assert!(found.typed && !found.is_under_way);
    assert_eq!(found.cause, BudgetCause::Expected);
    assert!(bench.sent().is_empty());
    assert_eq!(entries(&bench.work), []);
    // What was typed first holds until something else is typed, also for the halves of a run.
    assert!(over(bench.submit()).typed);
    assert!(bench.run_with(&at_most(expected)).unwrap().all_succeeded());
    check_ledger(&bench.work);
}

#[test]
fn the_screen_says_what_a_run_is_over_by() {
    let work = with_job("");
    let run = ["run", "job.toml", "--simulate", "--max-cost", "0.0001"];
    let said = work.rowmill(&run).expect(6);
    for words in [
        "error: the run does not fit into the budget for a run\n  `--max-cost` is $0.0",
        "$0.00 spent, $0.00 reserved for batches in flight",
        "3 batches with 20 requests to be sent: expected $0.0",
        "\n  nothing was sent\nhint: raise `--max-cost`",
    ] {
        assert!(
            said.stderr.contains(words),
            "{words} is not in\n{}",
            said.stderr
        );
    }
    work.rowmill(&["submit", "job.toml", "--simulate"])
        .expect(6)
        .says("`--max-cost` is");
}

#[test]
fn the_screen_names_the_limit_of_the_job_and_who_has_used_it_up() {
    let work = with_job("[budget]\nday_usd = 0.0001\n");
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(6)
        .says("`budget.day_usd` is $0.0001");
    change(&work, "the text", "this text");
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(6)
        .says("it is planned again")
        .says("`budget.day_usd` is $0.0001");
    change(&work, "day_usd = 0.0001", "");
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    change(&work, "[budget]", "[budget]\nmonth_usd = 0.0001\n");
    change(&work, "\"test\"", "\"other\"");
    // Other requests, whose answers no output has.
    change(&work, "this text", "that text");
    change(&work, "out.parquet", "other.parquet");
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(6)
        .says("by job: test $0.0");
}

#[test]
fn the_budget_may_be_raised_while_a_run_is_under_way_and_the_job_changed_before() {
    let bench = Bench::new(with_job("[budget]\nday_usd = 0.0001\n"));
    let limit: Money = "0.0001".parse().unwrap();
    let shortage = over(bench.run()).shortage;
    assert_eq!((shortage.scope, shortage.limit), (LimitScope::Day, limit));
    change(&bench.work, "0.0001", "\"0.0001\"");
    change(&bench.work, "the text", "this text");
    let shortage = over(bench.run()).shortage;
    assert_eq!((shortage.scope, shortage.limit), (LimitScope::Day, limit));
    assert_eq!(bench.notices.of("planned_again").len(), 1);
    change(&bench.work, "\"0.0001\"", "1_000.5");
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.notices.of("planned_again").len(), 1);
    check_ledger(&bench.work);
}

#[test]
fn with_partial_the_batches_that_fit_are_sent_and_the_rest_when_there_is_room() {
    // Room for the worst case of two rows: each time two are sent, less is left.
    let (_, worst_case) = costs_of_a_trial("");
    let limit = Money::from_picodollars(worst_case[0].picodollars() * 2 / 7);
    let bench = Bench::new(with_job(&format!(
        "[budget]\non_limit = \"partial\"\nrun_usd = \"{limit}\"\n"
    )));
    let report = bench.run().unwrap();
    assert_eq!(
        (report.outcome, report.on_limit),
        (RunOutcome::OverBudget, OnLimit::Partial)
    );
    assert!(report.summary.is_some(), "the output is written");
    let sent = bench.sent().len();
    assert!(sent > 0, "{sent} batches");
    let out = bench.output();
    let (statuses, reasons, kinds) = (
        out.column("_rm_status"),
        out.column("_rm_error"),
        out.column("_rm_error_type"),
    );
    let held: Vec<usize> = (0..ROWS).filter(|&row| statuses[row] == "unsent").collect();
    let succeeded = statuses.iter().filter(|status| *status == "succeeded");
    assert!(!held.is_empty() && succeeded.count() == ROWS - held.len());
    assert!(
        held.iter().all(|&row| kinds[row] == "budget"
            && reasons[row] == "its batch did not fit into the budget")
    );
    check_ledger(&bench.work);
    assert!(spent(&entries(&bench.work)) <= limit);
    // There is still no room: nothing happens, and the same is reported.
    assert_eq!(bench.run().unwrap().outcome, RunOutcome::OverBudget);
    assert_eq!(bench.sent().len(), sent);
    change(&bench.work, &limit.to_string(), "1");
    assert!(bench.run().unwrap().all_succeeded());
    check_rows(&bench);
    check_ledger(&bench.work);
}

#[test]
fn with_partial_and_no_room_at_all_nothing_is_written() {
    let bench = Bench::new(with_job("[budget]\non_limit = \"partial\"\nrun_usd = 0\n"));
    assert_eq!(over(bench.run()).shortage.limit, Money::ZERO);
    assert!(!bench.work.output("out.parquet").exists());
    assert!(bench.sent().is_empty());
}

#[test]
fn a_partial_submit_is_fetched_without_what_was_held_back() {
    let (_, worst_case) = costs_of_a_trial("");
    let room = worst_case[0] + worst_case[1];
    let bench = Bench::new(with_job(&format!(
        "[budget]\non_limit = \"partial\"\nrun_usd = \"{room}\"\n"
    )));
    let report = bench.submit().unwrap();
    assert_eq!(
        (report.outcome, report.unsent_batches),
        (RunOutcome::OverBudget, 1)
    );
    assert_eq!(bench.sent().len(), 2);
    // What was held back is not sent by a command that only fetches, although there is room now.
    let collected = bench.collect(Some(HOUR)).unwrap();
    assert!(!collected.all_succeeded());
    assert!(spent(&entries(&bench.work)) <= room);
}

#[test]
fn retries_are_reserved_too_and_without_room_the_output_is_written_without_them() {
    let (_, worst_case) = costs_of_a_trial("");
    let all: Money = worst_case.into_iter().sum();
    for on_limit in [OnLimit::Stop, OnLimit::Partial] {
        let bench = Bench::with(
            work_with_retries(on_limit, all),
            HALF_TRUNCATED,
            Duration::ZERO,
        );
        let report = bench.run().unwrap();
        assert_eq!(
            (report.outcome, report.on_limit),
            (RunOutcome::OverBudget, on_limit)
        );
        let statuses = bench.output().column("_rm_status");
        assert!(statuses.contains(&"truncated".to_owned()), "{statuses:?}");
        assert_eq!(bench.sent().len(), 3);
        check_ledger(&bench.work);
        // With room, the same call sends them, once.
        change(&bench.work, &all.to_string(), "100");
        assert!(bench.run().unwrap().all_succeeded());
        let accepted = bench.accepted();
        assert!(accepted.values().all(|times| *times <= 2), "{accepted:?}");
        check_ledger(&bench.work);
    }
}

const HALF_TRUNCATED: &str = "[[rows]]\noutcome = 'truncated'\nshare = 0.5\n";

/// A budget for all rows once, and none for rows that are truncated.
fn work_with_retries(on_limit: OnLimit, budget: Money) -> Workdir {
    let on_limit = match on_limit {
        OnLimit::Stop => "stop",
        OnLimit::Partial => "partial",
    };
    with_job(&format!(
        "[retry]\ntruncated = {{ times = 1, max_tokens = 64000 }}\n[budget]\non_limit = \
         \"{on_limit}\"\nrun_usd = \"{budget}\"\n"
    ))
}

#[test]
fn the_screen_says_what_the_budget_held_back() {
    let (_, worst_case) = costs_of_a_trial("");
    let all: Money = worst_case.iter().copied().sum();
    for (on_limit, code) in [(OnLimit::Stop, 6), (OnLimit::Partial, 3)] {
        let (work, sim) = (work_with_retries(on_limit, all), Sim::with(HALF_TRUNCATED));
        work.rowmill_at(&sim.url(), &["run", "job.toml"])
            .expect(code)
            .says("the budget held back")
            .says("`rowmill run .rowmill/test/");
    }
    let work = with_job(&format!(
        "[budget]\non_limit = \"partial\"\nrun_usd = \"{}\"\n",
        worst_case[0] + worst_case[1]
    ));
    work.rowmill(&["submit", "job.toml", "--simulate"])
        .expect(5)
        .says("the budget has no room for 1 batch");
    change(&work, &(worst_case[0] + worst_case[1]).to_string(), "0");
    change(&work, "\"test\"", "\"other\"");
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(6)
        .says("does not fit into the budget");
}

#[test]
fn jobs_of_one_state_directory_share_the_day() {
    let bench = Bench::new(with_job(""));
    bench.run().unwrap();
    let spent = sum(&bench.work);
    let (expected, _) = costs_of_a_trial("");
    let expected: Money = expected.into_iter().sum();
    let other = bench
        .work
        .read("job.toml")
        .replace("name = \"test\"", "name = \"other\"")
        .replace("out.parquet", "other.parquet");
    let run_other = |limit: Money| {
        bench.work.write(
            "other.toml",
            format!("{other}[budget]\nday_usd = \"{limit}\"\nmonth_usd = \"{limit}\"\n"),
        );
        bench
            .engine()
            .run(&bench.job_in("other.toml"), &RunOptions::default())
    };
    let found = over(run_other(spent + expected - Money::from_picodollars(1)));
    assert_eq!(found.shortage.by[0].job, "test");
    assert_eq!(found.shortage.by[0].spent, spent);
    assert!(run_other(spent + expected).unwrap().all_succeeded());
    // Another state directory has a ledger of its own.
    let elsewhere = bench.engine_in(bench.work.path("elsewhere"), bench.simulator().base_url());
    let options = RunOptions {
        take_over: true,
        ..RunOptions::default()
    };
    let report = elsewhere.run(&bench.job_in("other.toml"), &options);
    assert!(report.unwrap().all_succeeded());
}

#[test]
fn two_processes_that_race_for_the_last_dollar_are_never_over() {
    let (_, worst_case) = costs_of_a_trial("");
    let all: Money = worst_case.into_iter().sum();
    for on_limit in ["stop", "partial"] {
        let (work, sim) = (
            Workdir::new().with_rows(20),
            Sim::new("", Duration::from_secs(3_600)),
        );
        let limit = all + Money::from_picodollars(all.picodollars() / 2);
        let names = ["a", "b"];
        for name in names {
            let job = JOB
                .replace("name = \"test\"", &format!("name = \"{name}\""))
                .replace("out.parquet", &format!("{name}.parquet"));
            let more = format!(
                "[batch]\nmax_requests = 7\n[budget]\nday_usd = \"{limit}\"\non_limit = \
                 \"{on_limit}\"\n"
            );
            work.write(&format!("{name}.toml"), format!("{job}\n{more}"));
        }
        let racers = names.map(|name| {
            let mut command = work.command_at(&sim.url(), &["submit", &format!("{name}.toml")]);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        });
        let codes = racers.map(|mut racer| racer.wait().unwrap().code().unwrap());
        let entries = entries(&work);
        assert!(
            reserved(&entries) <= limit,
            "{on_limit}: {} of {limit}",
            reserved(&entries)
        );
        assert_eq!(
            entries.len(),
            sim.ledger().batches.len(),
            "a batch was sent without a reservation, or none for one"
        );
        assert!(entries.len() >= 3, "{on_limit}: {codes:?}");
        assert!(
            codes.iter().all(|code| [0, 5, 6].contains(code)),
            "{on_limit}: {codes:?}"
        );
    }
}

#[test]
fn a_ledger_that_was_edited_or_is_newer_stops_everything_before_it_is_sent() {
    use rowmill::ledger::Error::{Edited, Newer, NotOurs};
    let bench = Bench::new(with_job(""));
    bench.run().unwrap();
    let ledger = bench.work.path(".rowmill/ledger.sqlite");
    let whole = std::fs::read(&ledger).unwrap();
    let again = RunOptions {
        no_reuse: true,
        ..RunOptions::default()
    };
    type IsExpected = fn(&rowmill::ledger::Error) -> bool;
    let ways: [(_, _, IsExpected); 3] = [
        (
            "UPDATE batches SET billed = 0 WHERE batch = 2",
            "was edited: batch 2 of run `",
            |error| matches!(error, Edited { .. }),
        ),
        (
            "PRAGMA user_version = 7",
            "has format 7, and this version knows formats up to 1",
            |error| matches!(error, Newer { found: 7, .. }),
        ),
        (
            "PRAGMA application_id = 7",
            "is no ledger of rowmill",
            |error| matches!(error, NotOurs { .. }),
        ),
    ];
    for (sql, said, is_right) in ways {
        std::fs::write(&ledger, &whole).unwrap();
        rusqlite::Connection::open(&ledger)
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let job = bench.job();
        for result in [
            bench.engine().run(&job, &again),
            bench.engine().submit(&job, &again),
        ] {
            match result {
                Err(Error::Ledger(error)) => assert!(is_right(&error), "{error:?}"),
                other => panic!("{other:?}"),
            }
        }
        bench.work.rowmill(&["cost"]).expect(2).says(said);
        bench
            .work
            .rowmill(&["run", "job.toml", "--simulate"])
            .expect(2)
            .says(said)
            .says("hint: ");
    }
    assert_eq!(bench.sent().len(), 3, "only the first run was sent");
}

/// A run of a job in a fresh folder that ends like a process that crashes when it is about to do
/// its n-th act, and whether it came to that.
fn crash_at(n: u32, job: &dyn Fn() -> Workdir, faults: &str) -> (Bench, bool) {
    let bench = Bench::with(job(), faults, Duration::ZERO);
    let job = bench.job();
    let crashed = bench.crash_at(n, |engine| engine.run(&job, &RunOptions::default()));
    let was_ended = crashed.is_err();
    if let Ok(report) = crashed {
        assert_eq!(report.unwrap().outcome, RunOutcome::Complete);
    }
    (bench, was_ended)
}

/// Ends a run at its n-th act, for every n from `first` on, and runs it to its end; then checks
/// what is left. Gives the number of acts.
fn for_every_act(
    first: u32,
    job: &dyn Fn() -> Workdir,
    faults: &str,
    check: impl Fn(&Bench),
) -> u32 {
    for n in first.. {
        assert!(n < 1_000, "the run never comes to its end");
        let (bench, was_ended) = crash_at(n, job, faults);
        if was_ended {
            assert_eq!(bench.run().unwrap().outcome, RunOutcome::Complete);
        }
        check_ledger(&bench.work);
        check(&bench);
        if !was_ended {
            return n - 1;
        }
    }
    unreachable!("the loop has no other end")
}

#[test]
fn a_run_that_is_ended_at_any_act_leaves_a_ledger_that_is_the_sum_of_its_rows() {
    let job = || with_job("[budget]\nday_usd = 1\n");
    let acts = for_every_act(1, &job, "", |bench| {
        check_rows(bench);
        assert_eq!(bench.entries().len(), 3);
    });
    // The acts of a run, and three batches reserved and billed besides.
    assert!(acts >= 32, "{acts} acts");
}

#[test]
fn a_run_in_rounds_that_is_ended_at_any_act_sends_each_row_once() {
    let (_, worst_case) = costs_of_a_trial("");
    let job = || with_job(&format!("[budget]\nrun_usd = \"{}\"\n", worst_case[2]));
    let acts = for_every_act(1, &job, "", |bench| {
        check_rows(bench);
        assert!(spent(&bench.entries()) <= worst_case[2]);
    });
    assert!(acts >= 32, "{acts} acts");
}

#[test]
fn a_lost_ledger_is_written_again_from_the_runs_that_are_resumed() {
    let bench = Bench::new(with_job(""));
    bench.submit().unwrap();
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(bench.state().join(file));
    }
    bench.collect(Some(HOUR)).unwrap();
    check_ledger(&bench.work);
    assert!(spent(&bench.entries()) > Money::ZERO);
}

#[test]
fn a_run_with_retries_that_is_ended_at_any_act_leaves_a_ledger_that_is_the_sum_of_its_rows() {
    // Every run has the same rounds, whichever rows are hit: each row is truncated once, and some
    // of them fail before that.
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.5\n[[rows]]\noutcome = \
        'truncated'\nshare = 1.0\n";
    let job = || {
        let work = with_job("[retry]\ntruncated = { times = 1, max_tokens = '2x' }\n");
        change(&work, "max_requests = 7", "max_requests = 20");
        work
    };
    // Until the first results are saved, it is a run without retries.
    let (mut before, mut first) = (0, 64);
    while before + 1 < first {
        let n = u32::midpoint(before, first);
        let (bench, _) = crash_at(n, &job, faults);
        if bench.notices.of("collected").is_empty() {
            before = n;
        } else {
            first = n;
        }
    }
    let attempts = std::cell::RefCell::new(BTreeSet::new());
    let acts = for_every_act(first, &job, faults, |bench| {
        let accepted = bench.accepted().values().sum::<u64>();
        attempts.borrow_mut().insert(accepted);
    });
    assert!(acts > first + 20, "{first} to {acts}");
    let attempts = attempts.into_inner();
    assert!(
        attempts.first().is_some_and(|fewest| *fewest > 20),
        "rows were sent again in every run: {attempts:?}"
    );
}

#[test]
fn the_ledger_is_shown_by_day_job_model_and_run() {
    let bench = Bench::new(with_job(""));
    let work = &bench.work;
    let job = work.read("job.toml");
    let other = job
        .replace("\"test\"", "\"other\"")
        .replace("out.parquet", "b.parquet")
        .replace("haiku-4-5", "sonnet-5-5");
    work.write("other.toml", other.replace("= 200", "= 2000"));
    work.rowmill(&["cost"])
        .expect(0)
        .says("has nothing to show");
    bench.run().unwrap();
    let submitted = bench
        .engine()
        .submit(&bench.job_in("other.toml"), &RunOptions::default());
    submitted.unwrap();
    let total = spent(&entries(work));
    for (by, groups) in [
        ("day", vec![]),
        ("job", vec!["other", "test"]),
        (
            "model",
            vec!["claude-haiku-4-5-20251001", "claude-sonnet-5-5"],
        ),
        ("run", vec![]),
    ] {
        let shown = work
            .rowmill(&["cost", "--by", by, "--json"])
            .expect(0)
            .json();
        let side = &shown["simulated"];
        assert_eq!(side["total"]["spent_usd"], total.to_string(), "{by}");
        let found = side["groups"].as_object().unwrap();
        let amount = |name: &str| -> Money {
            found
                .values()
                .map(|group| group[name].as_str().unwrap().parse::<Money>().unwrap())
                .sum()
        };
        assert_eq!(
            (amount("spent_usd"), amount("reserved_usd")),
            (total, reserved(&entries(work))),
            "{by}"
        );
        if !groups.is_empty() {
            assert_eq!(found.keys().collect::<Vec<_>>(), groups, "{by}");
        }
        assert!(
            shown["real"]["groups"].as_object().unwrap().is_empty(),
            "a simulated run is no real one"
        );
        let words = work.rowmill(&["cost", "--by", by]).expect(0).stdout;
        assert!(
            words.contains(&format!("{by}, SIMULATED"))
                && words.lines().all(|line| line.chars().count() <= 120),
            "{words}"
        );
    }
    let one = work
        .rowmill(&["cost", "--job", "other", "--since", "2020-01-01", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (
            one["simulated"]["total"]["batches"].as_u64(),
            one["simulated"]["total"]["spent_usd"].as_str()
        ),
        (Some(3), Some("0"))
    );
    let none = work
        .rowmill(&["cost", "--since", "2999-01-01", "--json"])
        .expect(0)
        .json();
    assert_eq!(none["simulated"]["total"]["batches"], 0);
    work.rowmill(&["cost", "--since", "yesterday"])
        .expect(2)
        .says("write a day such as");
}
