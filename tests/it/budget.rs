//! Budgets and the ledger: never over, whatever races, fails or ends; and in the end the ledger is
//! the sum of the rows.

use std::process::Stdio;
use std::time::Duration;

use rowmill::cost::Money;
use rowmill::ledger::{EntryState, Ledger, LedgerEntry};

use crate::bill::{costs, sum};
use crate::crash::{for_every_act, run_to, run_until};
use crate::support::{JOB, Sim, Workdir};

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
    let work = Workdir::new().with_rows(20);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n{more}"),
    );
    work
}

/// What the plan says that each batch costs in the worst case.
fn high(work: &Workdir) -> Vec<Money> {
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

/// The same of a run that was planned for that.
fn high_of_a_trial(more: &str) -> Vec<Money> {
    let work = with_job(more);
    work.rowmill(&["plan", "job.toml", "--out", "trial"])
        .expect(0);
    high(&work)
}

/// Whether the ledger is what the rows cost, and nothing is held any more.
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

#[test]
fn the_ledger_is_the_sum_of_the_rows() {
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.3\n[[rows]]\noutcome = \
        'truncated'\nshare = 0.3\n";
    let (work, sim) = (
        with_job("[retry]\ntruncated = { times = 1, max_tokens = '2x' }\n"),
        Sim::with(faults),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    check_ledger(&work);
    let entries = entries(&work);
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
    let (work, sim) = (with_job(""), Sim::new("", Duration::from_secs(3_600)));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    assert_eq!(reserved(&entries(&work)), high(&work).into_iter().sum());
    assert_eq!(spent(&entries(&work)), Money::ZERO);
    let status = work.rowmill(&["status", "job.toml"]).expect(0);
    assert!(status.stdout.contains("reserved"), "{}", status.stdout);
    work.rowmill_at(&sim.url(), &["cancel", "job.toml"])
        .expect(0);
    std::thread::sleep(Duration::from_secs(1));
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "60s"])
        .expect(3);
    check_ledger(&work);
    let (statuses, costs) = (
        work.parquet("out.parquet").column("_rm_status"),
        costs(&work),
    );
    let canceled: Vec<usize> = (0..20).filter(|&row| statuses[row] == "canceled").collect();
    assert!(
        !canceled.is_empty() && canceled.iter().all(|&row| costs[row] == Some(Money::ZERO)),
        "{costs:?}"
    );
}

#[test]
fn a_run_that_does_not_fit_sends_nothing_and_says_what_is_short() {
    let (work, sim) = (with_job(""), Sim::start());
    let high: Money = high_of_a_trial("").into_iter().sum();
    let below = high - Money::from_picodollars(1);
    let said = work
        .rowmill_at(
            &sim.url(),
            &["run", "job.toml", "--max-cost", &below.to_string()],
        )
        .expect(6);
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
    assert_eq!(sim.ledger().batches.len(), 0);
    assert_eq!(entries(&work), []);
    // What was typed first holds until something else is typed, also for the halves of a run.
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(6)
        .says("`--max-cost` is");
    work.rowmill_at(
        &sim.url(),
        &["run", "job.toml", "--max-cost", &high.to_string()],
    )
    .expect(0);
    check_ledger(&work);
}

#[test]
fn the_budget_may_be_raised_while_a_run_is_under_way_and_the_job_changed_before() {
    let (work, sim) = (with_job("[budget]\nday_usd = 0.0001\n"), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(6)
        .says("`budget.day_usd` is $0.0001");
    let job = work.read("job.toml");
    work.write(
        "job.toml",
        job.replace("0.0001", "\"0.0001\"")
            .replace("the text", "this text"),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(6)
        .says("it is planned again")
        .says("`budget.day_usd` is $0.0001");
    work.write(
        "job.toml",
        job.replace("0.0001", "1_000.5")
            .replace("the text", "this text"),
    );
    let done = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert!(!done.stderr.contains("planned again"), "{}", done.stderr);
    check_ledger(&work);
}

#[test]
fn with_partial_the_batches_that_fit_are_sent_and_the_rest_when_there_is_room() {
    let room =
        |budget: Money| format!("[budget]\non_limit = \"partial\"\nrun_usd = \"{budget}\"\n");
    let high = high_of_a_trial("");
    // Room for one batch at a time, and after the first is billed with less for not quite another.
    let (work, sim) = (with_job(&room(high[0])), Sim::start());
    let said = work
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("the budget held back");
    let sent = sim.ledger().batches.len();
    assert!((1..3).contains(&sent), "{sent} batches");
    let out = work.parquet("out.parquet");
    let (statuses, reasons, kinds) = (
        out.column("_rm_status"),
        out.column("_rm_error"),
        out.column("_rm_error_type"),
    );
    let held: Vec<usize> = (0..20).filter(|&row| statuses[row] == "unsent").collect();
    assert!(
        !held.is_empty()
            && statuses
                .iter()
                .filter(|status| *status == "succeeded")
                .count()
                == 20 - held.len()
    );
    assert!(
        held.iter().all(|&row| kinds[row] == "budget"
            && reasons[row] == "its batch did not fit into the budget")
    );
    check_ledger(&work);
    assert!(spent(&entries(&work)) <= high[0]);
    assert!(
        said.stderr.contains("`rowmill run .rowmill/test/"),
        "{}",
        said.stderr
    );
    // There is still no room: nothing happens, and the same is said.
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("the budget held back");
    assert_eq!(sim.ledger().batches.len(), sent);
    work.write(
        "job.toml",
        work.read("job.toml").replace(&high[0].to_string(), "1"),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    crate::crash::check_output(&work, &sim, 20);
    crate::crash::check_ledger(&sim, 20);
    check_ledger(&work);
}

#[test]
fn with_partial_and_no_room_at_all_nothing_is_written() {
    let (work, sim) = (
        with_job("[budget]\non_limit = \"partial\"\nrun_usd = 0\n"),
        Sim::start(),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(6)
        .says("does not fit into the budget");
    assert!(!work.output("out.parquet").exists() && sim.ledger().batches.is_empty());
}

#[test]
fn a_partial_submit_is_fetched_without_what_was_held_back() {
    let high = high_of_a_trial("");
    let more = format!(
        "[budget]\non_limit = \"partial\"\nrun_usd = \"{}\"\n",
        high[0] + high[1]
    );
    let (work, sim) = (with_job(&more), Sim::start());
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5)
        .says("the budget has no room for 1 batch");
    assert_eq!(sim.ledger().batches.len(), 2);
    // Two batches came to less than was reserved for them; what is left is not enough for the
    // third, which is as large as the first.
    let fetched = work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "60s"]);
    assert!([3, 5].contains(&fetched.code), "{}", fetched.stderr);
    assert!(spent(&entries(&work)) <= high[0] + high[1]);
}

#[test]
fn retries_are_reserved_too_and_without_room_the_output_is_written_without_them() {
    let faults = "[[rows]]\noutcome = 'truncated'\nshare = 0.5\n";
    let high: Money = high_of_a_trial("").into_iter().sum();
    let retry = "[retry]\ntruncated = { times = 1, max_tokens = '64000' }\n";
    for (on_limit, code) in [("stop", 6), ("partial", 3)] {
        let more = format!("{retry}[budget]\non_limit = \"{on_limit}\"\nrun_usd = \"{high}\"\n")
            .replace("'64000'", "64000");
        let (work, sim) = (with_job(&more), Sim::with(faults));
        work.rowmill_at(&sim.url(), &["run", "job.toml"])
            .expect(code)
            .says("the budget held back");
        assert!(
            work.parquet("out.parquet")
                .column("_rm_status")
                .contains(&"truncated".to_owned())
        );
        assert_eq!(sim.ledger().batches.len(), 3);
        check_ledger(&work);
        // With room, the same command sends them, once.
        work.write(
            "job.toml",
            work.read("job.toml").replace(&high.to_string(), "100"),
        );
        work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
        assert!(
            sim.accepted().values().all(|times| *times <= 2),
            "{:?}",
            sim.accepted()
        );
        assert!(
            work.parquet("out.parquet")
                .column("_rm_status")
                .iter()
                .all(|status| status == "succeeded")
        );
        check_ledger(&work);
    }
}

#[test]
fn jobs_of_one_state_directory_share_the_day() {
    let (work, sim) = (with_job(""), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let spent = sum(&work);
    let high: Money = high_of_a_trial("").into_iter().sum();
    let other = work
        .read("job.toml")
        .replace("name = \"test\"", "name = \"other\"")
        .replace("out.parquet", "other.parquet");
    for (limit, code) in [
        (spent + high - Money::from_picodollars(1), 6),
        (spent + high, 0),
    ] {
        work.write(
            "other.toml",
            format!("{other}[budget]\nday_usd = \"{limit}\"\nmonth_usd = \"{limit}\"\n"),
        );
        let said = work
            .rowmill_at(&sim.url(), &["run", "other.toml"])
            .expect(code);
        assert_eq!(
            said.stderr.contains("by job: test $0.0"),
            code == 6,
            "{}",
            said.stderr
        );
    }
    // Another state directory has a ledger of its own.
    work.rowmill_at(&sim.url(), &["run", "other.toml", "--state", "elsewhere"])
        .expect(0);
}

#[test]
fn two_processes_that_race_for_the_last_dollar_are_never_over() {
    let high: Money = high_of_a_trial("").into_iter().sum();
    for on_limit in ["stop", "partial"] {
        let (work, sim) = (
            Workdir::new().with_rows(20),
            Sim::new("", Duration::from_secs(3_600)),
        );
        let limit = high + Money::from_picodollars(high.picodollars() / 2);
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
            codes.iter().all(|code| [5, 6].contains(code)),
            "{on_limit}: {codes:?}"
        );
    }
}

#[test]
fn a_ledger_that_was_edited_or_is_newer_stops_everything_before_it_is_sent() {
    let (work, sim) = (with_job(""), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let whole = std::fs::read(work.path(".rowmill/ledger.sqlite")).unwrap();
    let ways = [
        (
            "UPDATE batches SET billed = 0 WHERE batch = 2",
            "was edited: batch 2 of run `",
        ),
        (
            "PRAGMA user_version = 7",
            "has format 7, and this version knows formats up to 1",
        ),
        ("PRAGMA application_id = 7", "is no ledger of rowmill"),
    ];
    for (sql, said) in ways {
        std::fs::write(work.path(".rowmill/ledger.sqlite"), &whole).unwrap();
        rusqlite::Connection::open(work.path(".rowmill/ledger.sqlite"))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        for command in ["run", "submit"] {
            work.rowmill_at(&sim.url(), &[command, "job.toml", "--again"])
                .expect(2)
                .says(said)
                .says("hint: ");
        }
        work.rowmill(&["cost"]).expect(2).says(said);
    }
    assert_eq!(sim.ledger().batches.len(), 3, "only the first run was sent");
}

#[test]
fn a_run_that_is_ended_at_any_act_leaves_a_ledger_that_is_the_sum_of_its_rows() {
    let acts = for_every_act(|n| {
        let (work, sim) = (with_job("[budget]\nday_usd = 1\n"), Sim::start());
        let args = ["run", "job.toml"];
        let was_ended = run_to(work.command_at(&sim.url(), &args), n).is_none();
        if was_ended {
            run_until(&work, &sim, &args, 0);
        }
        check_ledger(&work);
        crate::crash::check_ledger(&sim, 20);
        assert_eq!(entries(&work).len(), 3);
        was_ended
    });
    // The acts of a run, and three batches reserved and billed besides.
    assert!(acts >= 32, "{acts} acts");
}

#[test]
fn a_lost_ledger_is_written_anew_from_the_runs_that_are_gone_on_with() {
    let (work, sim) = (with_job(""), Sim::start());
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(work.path(".rowmill").join(file));
    }
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "60s"])
        .expect(0);
    check_ledger(&work);
    assert!(spent(&entries(&work)) > Money::ZERO);
}

#[test]
fn a_run_with_retries_that_is_ended_at_any_act_leaves_a_ledger_that_is_the_sum_of_its_rows() {
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.3\n[[rows]]\noutcome = \
        'truncated'\nshare = 0.3\n";
    let retry = "[retry]\ntruncated = { times = 1, max_tokens = '2x' }\n";
    let attempts = std::sync::Mutex::new(std::collections::BTreeSet::new());
    for_every_act(|n| {
        let (work, sim) = (with_job(retry), Sim::with(faults));
        let args = ["run", "job.toml"];
        let was_ended = run_to(work.command_at(&sim.url(), &args), n).is_none();
        if was_ended {
            run_until(&work, &sim, &args, 0);
        }
        check_ledger(&work);
        attempts
            .lock()
            .unwrap()
            .insert(sim.accepted().values().sum::<u64>());
        was_ended
    });
    let attempts = attempts.into_inner().unwrap();
    assert!(
        attempts.first().is_some_and(|fewest| *fewest > 20),
        "rows were sent again in every run: {attempts:?}"
    );
}

#[test]
fn the_ledger_is_shown_by_day_job_model_and_run() {
    let (work, sim) = (with_job(""), Sim::start());
    let job = work.read("job.toml");
    let other = job
        .replace("\"test\"", "\"other\"")
        .replace("out.parquet", "b.parquet")
        .replace("haiku-4-5", "sonnet-5-5");
    work.write("other.toml", other.replace("= 200", "= 2000"));
    work.rowmill(&["cost"])
        .expect(0)
        .says("has nothing to show");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    work.rowmill_at(&sim.url(), &["submit", "other.toml"])
        .expect(5);
    let total = spent(&entries(&work));
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
            (total, reserved(&entries(&work))),
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
