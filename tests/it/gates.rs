//! What goes first, and what has to be known before the rest follows: priming and canary, on the
//! simulator.

use std::time::Duration;

use rowmill::cost::Money;
use rowmill::journal::Manifest;
use rowmill::simulator::ApiCall;

use crate::support::{Finished, JOB, Sim, Workdir};

const ROWS: usize = 40;

/// A request shape that only the provider finds wrong: every request comes back with an error for
/// good.
const REFUSED: &str = "[[rows]]\noutcome = 'errored'\nshare = 1.0\ntimes = 0\nerror_type = \
                       'invalid_request_error'\nmessage = 'model: not for you'\n";

/// A job with sections besides the usual ones.
fn work(sections: &str) -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 15\n{sections}"),
    );
    work
}

/// Requests in each batch that was accepted, in order.
fn sizes(sim: &Sim) -> Vec<u64> {
    sim.ledger()
        .batches
        .iter()
        .map(|batch| batch.requests)
        .collect()
}

fn journal(work: &Workdir) -> String {
    let journal = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("journal.jsonl"))
        .expect("a journal");
    work.read(&journal)
}

/// The last judgement in the journal.
fn verdict(work: &Workdir) -> String {
    let journal = journal(work);
    let judged = journal
        .lines()
        .rfind(|line| line.contains(r#""event":"judged""#))
        .expect("a judgement");
    serde_json::from_str::<serde_json::Value>(judged).unwrap()["verdict"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn check_output(work: &Workdir) {
    let out = work.parquet("out.parquet");
    assert_eq!(
        out.column("id"),
        (1..=ROWS).map(|n| format!("T-{n}")).collect::<Vec<_>>()
    );
    assert!(
        out.column("_rm_status")
            .iter()
            .all(|status| status == "succeeded")
    );
}

#[test]
fn one_request_goes_first_and_the_canary_second() {
    let work = work("[cache]\nprime = \"always\"\n[canary]\nrows = 10\n");
    let sim = Sim::start();
    let said = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sizes(&sim), [1, 10, 15, 14]);
    assert!(
        said.stderr
            .contains("the canary has ended, the rest follows: 10 of 10 rows succeeded"),
        "{}",
        said.stderr
    );
    check_output(&work);
    // Each batch was accepted after the one before it was judged.
    let events: Vec<String> = journal(&work)
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| ["accepted", "judged"].contains(&event["event"].as_str().unwrap()))
        .map(|event| format!("{} {}", event["event"].as_str().unwrap(), event["batch"]))
        .collect();
    assert_eq!(
        events,
        [
            "accepted 1",
            "judged 1",
            "accepted 2",
            "judged 2",
            "accepted 3",
            "accepted 4"
        ]
    );
}

#[test]
fn a_request_that_is_wrong_for_every_row_costs_one_row() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::with(REFUSED);
    let said = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    for words in [
        "`invalid_request_error`: model: not for you",
        "39 requests were not sent",
        "--ignore-canary",
    ] {
        assert!(
            said.stderr.contains(words),
            "`{words}` is not in {}",
            said.stderr
        );
    }
    assert_eq!(sizes(&sim), [1]);
    assert_eq!(verdict(&work), "stopped");
    // Nothing changes by asking again, and nothing is lost by fetching.
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(6);
    work.rowmill_at(&sim.url(), &["collect", "job.toml"])
        .expect(6);
    assert_eq!(sizes(&sim), [1]);
    let status = work.rowmill(&["status", "job.toml", "--json"]).expect(0);
    assert!(status.stdout.contains("\"stopped\""), "{}", status.stdout);
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--ignore-canary"])
        .expect(3);
    assert_eq!(sizes(&sim).iter().sum::<u64>(), ROWS as u64);
    assert_eq!(
        work.parquet("out.parquet").column("_rm_status"),
        vec!["errored"; ROWS]
    );
}

#[test]
fn a_run_that_its_first_rows_stopped_can_be_given_up() {
    let work = work("[canary]\nrows = 10\n");
    let sim = Sim::with("[[rows]]\noutcome = \"refused\"\nshare = 1.0\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(6)
        .says("10 of 10 were refused by the model: 100%");
    work.rowmill_at(&sim.url(), &["cancel", "job.toml"])
        .expect(0);
    work.rowmill_at(&sim.url(), &["collect", "job.toml"])
        .expect(3);
    let statuses = work.parquet("out.parquet").column("_rm_status");
    assert_eq!(
        statuses
            .iter()
            .filter(|status| *status == "refused")
            .count(),
        10,
        "what came back is kept"
    );
    assert_eq!(
        statuses.iter().filter(|status| *status == "unsent").count(),
        30
    );
    assert_eq!(sizes(&sim), [10]);
}

#[test]
fn answers_that_are_cut_off_stop_the_canary() {
    let cut = "[[rows]]\noutcome = \"truncated\"\nshare = 1.0\ntimes = 0\n";
    let strict = work("[canary]\nrows = 12\n");
    let sim = Sim::with(cut);
    let said = strict
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(6);
    assert!(
        said.stderr
            .contains("12 of 12 were truncated: 100%, and `canary.max_truncated` is 5%"),
        "{}",
        said.stderr
    );
    let lenient = work("[canary]\nrows = 12\nmax_truncated = 1.0\n");
    let sim = Sim::with(cut);
    lenient
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3);
    assert_eq!(sizes(&sim), [12, 15, 13]);
}

#[test]
fn rows_of_a_canary_that_failed_are_sent_again_with_the_others() {
    let work = work("[canary]\nrows = 10\nmax_error = 1.0\n");
    let sim = Sim::with("[[rows]]\noutcome = \"errored\"\nshare = 0.5\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("sent again");
    check_output(&work);
    assert_eq!(sizes(&sim)[0], 10);
}

#[test]
fn the_rest_follows_unprimed_when_the_time_is_over() {
    let work = work("[cache]\nprime = \"always\"\nprime_wait = \"1s\"\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 4\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("s, so the rest is sent without it");
    assert_eq!(verdict(&work), "timed_out");
    assert_eq!(sizes(&sim), [1, 14, 13, 12]);
    check_output(&work);
}

#[test]
fn a_submit_waits_for_a_canary_no_longer_than_the_job_says() {
    let work = work("[cache]\nprime_wait = \"1s\"\n[canary]\nrows = 10\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 4\n");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5)
        .says("3 batches still to be sent");
    assert_eq!(sizes(&sim), [10]);
    // Each submit looks once, however long the time is over.
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5)
        .says("3 batches still to be sent");
    // Who only fetches opens nothing.
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "20s"])
        .expect(5);
    assert_eq!(sizes(&sim), [10]);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    assert_eq!(sizes(&sim), [10, 13, 9, 8]);
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "20s"])
        .expect(0);
    check_output(&work);
}

#[test]
fn a_priming_request_that_is_late_holds_up_no_canary() {
    let work = work("[cache]\nprime = \"always\"\nprime_wait = \"1s\"\n[canary]\nrows = 10\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 600\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--deadline", "15s"])
        .expect(5);
    assert_eq!(
        sizes(&sim),
        [1, 10, 15, 14],
        "the canary was judged while the first batch was under way"
    );
}

#[test]
fn a_submit_sends_what_a_canary_of_an_earlier_one_allows() {
    let work = work("[cache]\nprime_wait = \"0s\"\n[canary]\nrows = 10\n");
    let sim = Sim::new("", Duration::from_secs(2));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5)
        .says("3 batches still to be sent");
    std::thread::sleep(Duration::from_secs(3));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5)
        .says("the canary has ended");
    assert_eq!(sizes(&sim), [10, 13, 9, 8]);
}

#[test]
fn a_submit_sends_everything_once_the_priming_request_is_back() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::new("", Duration::from_millis(300));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    assert_eq!(sizes(&sim), [1, 14, 13, 12]);
    assert!(
        sim.calls(ApiCall::Results) >= 1,
        "the priming request's result was looked at"
    );
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "20s"])
        .expect(0);
    check_output(&work);
}

#[test]
fn a_deadline_and_a_resumed_run_keep_the_order() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::with("[[batches]]\nnth = [1]\nextra_seconds = 3\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--deadline", "1s"])
        .expect(5);
    assert_eq!(sizes(&sim), [1]);
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sizes(&sim), [1, 14, 13, 12]);
    check_output(&work);
}

#[test]
fn a_canary_that_is_too_large_goes_in_halves() {
    let work = work("[canary]\nrows = 10\n");
    let sim = Sim::with("[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(
        sizes(&sim)[..2].iter().sum::<u64>(),
        10,
        "{:?}",
        sizes(&sim)
    );
    assert_eq!(sizes(&sim).iter().sum::<u64>(), ROWS as u64);
    check_output(&work);
}

#[test]
fn a_rescued_run_judges_its_gates_again() {
    let work = work("[cache]\nprime = \"always\"\n");
    let job = work
        .read("job.toml")
        .replace("max_requests = 15", "max_requests = 15\nsettle_seconds = 1");
    work.write("job.toml", job);
    let sim = Sim::with(REFUSED);
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(6);
    let journal = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("journal.jsonl"))
        .unwrap();
    std::fs::remove_file(work.path(&journal)).unwrap();
    let run = journal.trim_end_matches("/journal.jsonl").to_owned();
    work.rowmill_at(&sim.url(), &["rescue", &run]).expect(7);
    work.rowmill_at(&sim.url(), &["run", &run]).expect(6);
    assert_eq!(sizes(&sim), [1], "nothing behind the gate was sent");
    assert_eq!(verdict(&work), "stopped");
}

/// What a job says of the cache after a run of 100 rows whose shared prefix has about 6,000 tokens:
/// requests that read, what the prompts cost, what the marks saved.
fn cached(mark: &str, prime: &str) -> (u64, Money, Option<Money>, Finished) {
    let work = Workdir::new().with_rows(100);
    let policy: String = (0..900)
        .map(|n| format!("Rule {n}: a text is about one thing. "))
        .collect();
    let system = format!("system = [{{ text = \"{policy}\"{mark} }}]");
    let job = work
        .read("job.toml")
        .replace("system = \"Say what the text is about.\"", &system);
    work.write("job.toml", format!("{job}\n[cache]\nprime = \"{prime}\"\n"));
    let sim = Sim::start();
    let done = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let manifest = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("manifest.json"))
        .unwrap();
    let manifest: Manifest = serde_json::from_str(&work.read(&manifest)).unwrap();
    let measured = manifest.cache.and_then(|cache| cache.measured);
    let reading = measured.as_ref().map_or(0, |measured| measured.reading);
    (
        reading,
        manifest.bill.unwrap().by_kind.input_side(),
        measured.map(|measured| measured.saved_usd),
        done,
    )
}

#[test]
fn a_primed_run_reads_what_a_cold_one_writes_again_and_again() {
    let hour = ", cache = \"1h\"";
    let (none, unmarked, nothing, _) = cached("", "auto");
    let (few, cold, lost, said_cold) = cached(hour, "off");
    let (most, primed, saved, said_primed) = cached(hour, "auto");
    // The simulator works on 64 requests at a time: of a cold batch these all write, and 36 read.
    // Primed, all but the first read.
    assert_eq!((none, few, most), (0, 36, 99));
    assert!(
        primed < unmarked && unmarked < cold,
        "{primed} {unmarked} {cold}"
    );
    // What was saved or lost is the difference to the run without a mark, to the last unit.
    assert_eq!(nothing, None);
    assert_eq!(saved, Some(unmarked.saturating_sub(primed)));
    assert_eq!(lost, Some(unmarked.saturating_sub(cold)));
    assert!(lost.unwrap().is_negative());
    for (said, words) in [
        (&said_primed, "one request goes first and writes the shared"),
        (
            &said_primed,
            "the cache warm-up request has ended, the rest follows: it wrote",
        ),
        (
            &said_primed,
            "cache      99% of the marked tokens read, in 99 of 100 requests; $",
        ),
        (&said_cold, "the 1 h mark has no warm-up: below 52.7%"),
        (
            &said_cold,
            "cache      36% of the marked tokens read, in 36 of 100 requests; the marks cost $",
        ),
    ] {
        assert!(
            said.stderr.contains(words),
            "`{words}` is not in\n{}",
            said.stderr
        );
    }
}

#[test]
fn plan_and_check_say_why_a_run_is_primed_or_not() {
    let work = work("");
    let policy: String = (0..900)
        .map(|n| format!("Rule {n}: a text is about one thing. "))
        .collect();
    let job = work.read("job.toml");
    let with = |mark: &str| {
        job.replace(
            "\"Say what the text is about.\"",
            &format!("[{{ text = \"{policy}\"{mark} }}]"),
        )
    };
    work.write("hour.toml", with(", cache = \"1h\""))
        .write("minutes.toml", with(", cache = \"5m\""))
        .write("bare.toml", with(""));
    for (name, words, gates) in [
        (
            "hour.toml",
            "cache      one request goes first and writes the shared",
            1,
        ),
        (
            "minutes.toml",
            "cache      no warm-up, since the mark expires after five minutes",
            0,
        ),
        (
            "bare.toml",
            "cache      nothing is marked: with `cache = \"1h\"`",
            0,
        ),
    ] {
        for command in ["plan", "check"] {
            let said = work.rowmill(&[command, name]).expect(0);
            assert!(
                said.stdout.contains(words),
                "{command} {name}: `{words}` is not in\n{}",
                said.stdout
            );
        }
        let plan = work.rowmill(&["plan", name, "--json"]).expect(0).json();
        assert_eq!(
            plan["plan"]["gates"].as_array().unwrap().len(),
            gates,
            "{name}"
        );
        assert_eq!(
            plan["plan"]["cache"]["primes"].as_bool().unwrap(),
            gates == 1
        );
    }
    // A run of one row has nothing that could follow.
    let one = work
        .rowmill(&["plan", "hour.toml", "--limit", "1"])
        .expect(0);
    assert!(
        one.stdout
            .contains("no warm-up, since nothing follows the first request"),
        "{}",
        one.stdout
    );
}

/// A page's text with every stretch of blanks as one, so that it may be wrapped.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_job_of_the_page_on_caching_runs_and_shows_what_the_page_says() {
    let page = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/caching.md"),
    )
    .unwrap();
    let block = |language: &str| {
        let fence = format!("```{language}\n");
        page.split(fence.as_str())
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap()
            .to_owned()
    };
    let work = crate::readme::with_samples();
    work.write("manual.toml", block("toml"));
    let mut said = Vec::new();
    for command in block("sh").lines() {
        let args: Vec<&str> = command
            .strip_prefix("rowmill ")
            .expect("a command")
            .split(' ')
            .collect();
        said.push(work.rowmill(&args).expect(0));
    }
    let shown = unwrapped(&page);
    let line = |text: &str| {
        text.lines()
            .rfind(|line| line.starts_with("cache "))
            .expect("a line on the cache")
            .to_owned()
    };
    for line in [line(&said[1].stdout), line(&said[2].stderr)] {
        assert!(
            shown.contains(&unwrapped(&line)),
            "the page does not show\n{line}"
        );
    }
    let manifest = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("manifest.json"))
        .unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&work.read(&manifest)).unwrap();
    for (name, value) in manifest["cache"]["measured"].as_object().unwrap() {
        let member = format!("\"{name}\": {value}");
        assert!(shown.contains(&member), "the page does not show {member}");
    }
    assert_eq!(work.parquet("answered.parquet").rows(), 48);
}
