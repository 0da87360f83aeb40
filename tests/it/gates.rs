//! What goes first, and what has to be known before the rest follows: priming and canary, on the simulator.

use std::time::Duration;

use rowmill::simulator::Call;

use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 40;

/// A request shape that only the provider finds wrong: every request comes back with an error for good.
const REFUSED: &str = "[[rows]]\noutcome = 'errored'\nshare = 1.0\ntimes = 0\nerror_type = 'invalid_request_error'\n\
                       message = 'model: not for you'\n";

/// A job with sections besides the usual ones.
fn work(sections: &str) -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 15\n{sections}"));
    work
}

/// Requests in each batch that was accepted, in order.
fn sizes(sim: &Sim) -> Vec<u64> {
    sim.ledger().batches.iter().map(|batch| batch.requests).collect()
}

fn journal(work: &Workdir) -> String {
    let journal = work.files().into_iter().find(|file| file.ends_with("journal.jsonl")).expect("a journal");
    work.read(&journal)
}

/// The last judgement in the journal.
fn verdict(work: &Workdir) -> String {
    let journal = journal(work);
    let judged = journal.lines().rfind(|line| line.contains(r#""event":"judged""#)).expect("a judgement");
    serde_json::from_str::<serde_json::Value>(judged).unwrap()["verdict"].as_str().unwrap().to_owned()
}

fn check_output(work: &Workdir) {
    let out = work.parquet("out.parquet");
    assert_eq!(out.column("id"), (1..=ROWS).map(|n| format!("T-{n}")).collect::<Vec<_>>());
    assert!(out.column("_rm_status").iter().all(|status| status == "succeeded"));
}

#[test]
fn one_request_goes_first_and_the_canary_second() {
    let work = work("[cache]\nprime = \"always\"\n[canary]\nrows = 10\n");
    let sim = Sim::start();
    let said = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sizes(&sim), [1, 10, 15, 14]);
    assert!(said.stderr.contains("the canary is back, the rest follows: 10 of 10 rows succeeded"), "{}", said.stderr);
    check_output(&work);
    // Each batch was accepted after the one before it was judged.
    let events: Vec<String> = journal(&work)
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| ["accepted", "judged"].contains(&event["event"].as_str().unwrap()))
        .map(|event| format!("{} {}", event["event"].as_str().unwrap(), event["batch"]))
        .collect();
    assert_eq!(events, ["accepted 1", "judged 1", "accepted 2", "judged 2", "accepted 3", "accepted 4"]);
}

#[test]
fn a_request_that_is_wrong_for_every_row_costs_one_row() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::with(REFUSED);
    let said = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    for words in ["`invalid_request_error`: model: not for you", "39 requests were not sent", "--ignore-canary"] {
        assert!(said.stderr.contains(words), "`{words}` is not in {}", said.stderr);
    }
    assert_eq!(sizes(&sim), [1]);
    assert_eq!(verdict(&work), "stopped");
    // Nothing changes by asking again, and nothing is lost by fetching.
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"]).expect(6);
    work.rowmill_at(&sim.url(), &["collect", "job.toml"]).expect(6);
    assert_eq!(sizes(&sim), [1]);
    let status = work.rowmill(&["status", "job.toml", "--json"]).expect(0);
    assert!(status.stdout.contains("\"stopped\""), "{}", status.stdout);
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--ignore-canary"]).expect(3);
    assert_eq!(sizes(&sim).iter().sum::<u64>(), ROWS as u64);
    assert_eq!(work.parquet("out.parquet").column("_rm_status"), vec!["errored"; ROWS]);
}

#[test]
fn a_run_that_its_first_rows_stopped_can_be_given_up() {
    let work = work("[canary]\nrows = 10\n");
    let sim = Sim::with("[[rows]]\noutcome = \"refused\"\nshare = 1.0\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6).says("10 of 10 were refused by the model: 100 %");
    work.rowmill_at(&sim.url(), &["cancel", "job.toml"]).expect(0);
    work.rowmill_at(&sim.url(), &["collect", "job.toml"]).expect(3);
    let statuses = work.parquet("out.parquet").column("_rm_status");
    assert_eq!(statuses.iter().filter(|status| *status == "refused").count(), 10, "what came back is kept");
    assert_eq!(statuses.iter().filter(|status| *status == "unsent").count(), 30);
    assert_eq!(sizes(&sim), [10]);
}

#[test]
fn answers_that_are_cut_off_stop_the_canary() {
    let cut = "[[rows]]\noutcome = \"truncated\"\nshare = 1.0\ntimes = 0\n";
    let strict = work("[canary]\nrows = 12\n");
    let sim = Sim::with(cut);
    let said = strict.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    assert!(said.stderr.contains("12 of 12 were cut off: 100 %, and `canary.max_truncated` is 5 %"), "{}", said.stderr);
    let lenient = work("[canary]\nrows = 12\nmax_truncated = 1.0\n");
    let sim = Sim::with(cut);
    lenient.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(3);
    assert_eq!(sizes(&sim), [12, 15, 13]);
}

#[test]
fn rows_of_a_canary_that_failed_are_sent_again_with_the_others() {
    let work = work("[canary]\nrows = 10\nmax_error = 1.0\n");
    let sim = Sim::with("[[rows]]\noutcome = \"errored\"\nshare = 0.5\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0).says("sent again");
    check_output(&work);
    assert_eq!(sizes(&sim)[0], 10);
}

#[test]
fn the_rest_follows_unprimed_when_the_time_is_over() {
    let work = work("[cache]\nprime = \"always\"\nprime_wait = \"1s\"\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 4\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0).says("it is not back after 1 s, so the rest goes without it");
    assert_eq!(verdict(&work), "timed_out");
    assert_eq!(sizes(&sim), [1, 15, 14, 10]);
    check_output(&work);
}

#[test]
fn a_submit_waits_for_a_canary_no_longer_than_the_job_says() {
    let work = work("[cache]\nprime_wait = \"1s\"\n[canary]\nrows = 10\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 4\n");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"]).expect(5).says("3 batches still to be sent");
    assert_eq!(sizes(&sim), [10]);
    // Who only fetches opens nothing.
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "20s"]).expect(5);
    assert_eq!(sizes(&sim), [10]);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"]).expect(5);
    assert_eq!(sizes(&sim), [10, 15, 14, 1]);
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "20s"]).expect(0);
    check_output(&work);
}

#[test]
fn a_submit_sends_everything_once_the_priming_request_is_back() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::new("", Duration::from_millis(300));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"]).expect(5);
    assert_eq!(sizes(&sim), [1, 15, 14, 10]);
    assert!(sim.calls(Call::Results) >= 1, "the priming request's result was looked at");
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "20s"]).expect(0);
    check_output(&work);
}

#[test]
fn a_deadline_and_a_resumed_run_keep_the_order() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 3\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--deadline", "1s"]).expect(5);
    assert_eq!(sizes(&sim), [1]);
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sizes(&sim), [1, 15, 14, 10]);
    check_output(&work);
}

#[test]
fn a_canary_that_is_too_large_goes_in_halves() {
    let work = work("[canary]\nrows = 10\n");
    let sim = Sim::with("[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sizes(&sim)[..2].iter().sum::<u64>(), 10, "{:?}", sizes(&sim));
    assert_eq!(sizes(&sim).iter().sum::<u64>(), ROWS as u64);
    check_output(&work);
}

#[test]
fn a_rescued_run_judges_its_gates_again() {
    let work = work("[cache]\nprime = \"always\"\n");
    let job = work.read("job.toml").replace("max_requests = 15", "max_requests = 15\nsettle_seconds = 1");
    work.write("job.toml", job);
    let sim = Sim::with(REFUSED);
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    let journal = work.files().into_iter().find(|file| file.ends_with("journal.jsonl")).unwrap();
    std::fs::remove_file(work.path(&journal)).unwrap();
    let run = journal.trim_end_matches("/journal.jsonl").to_owned();
    work.rowmill_at(&sim.url(), &["rescue", &run]).expect(7);
    work.rowmill_at(&sim.url(), &["run", &run]).expect(6);
    assert_eq!(sizes(&sim), [1], "nothing behind the gate was sent");
    assert_eq!(verdict(&work), "stopped");
}
