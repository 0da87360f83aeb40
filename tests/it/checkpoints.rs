//! What goes first, and what has to be known before the rest follows: cache warm-up and canary.

use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::StoppedAtCheckpoint;
use rowmill::engine::{Error, RunOptions, RunOutcome, RunReport, Target};
use rowmill::journal::{
    CanaryLimit, CheckpointKind, CheckpointVerdict, ExceededLimit, RequestError, Verdict,
    VerdictReason,
};
use rowmill::provider::retry::Clock as _;
use rowmill::simulator::ApiCall;

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 40;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A request shape that only the provider finds wrong: every request comes back with an error for
/// good.
const REFUSED: &str = "[[rows]]\noutcome = 'errored'\nshare = 1.0\ntimes = 0\nerror_type = \
                       'invalid_request_error'\nmessage = 'model: not for you'\n";

/// The first batch takes an hour longer than the others.
const FIRST_IS_LATE: &str = "[[batches]]\nnth = [1]\nextra_seconds = 3600\n";

/// A job with sections besides the usual ones.
fn work(sections: &str) -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 15\n{sections}"),
    );
    work
}

fn with_faults(sections: &str, faults: &str) -> Bench {
    Bench::with(work(sections), faults, Duration::ZERO)
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

/// What stopped a run.
#[track_caller]
fn stopped(result: Result<RunReport, Error>) -> StoppedAtCheckpoint {
    match result {
        Err(Error::StoppedAtCheckpoint(stopped)) => *stopped,
        other => panic!("not stopped at a checkpoint: {other:?}"),
    }
}

/// The limits of the canary that a run exceeded, and the rows that were judged.
#[track_caller]
fn exceeded(result: Result<RunReport, Error>) -> (u64, Vec<ExceededLimit>) {
    match stopped(result).reason {
        VerdictReason::OverLimits { rows, limits, .. } => (rows, limits),
        other => panic!("not over limits: {other:?}"),
    }
}

fn ignoring_the_canary() -> RunOptions {
    RunOptions {
        ignore_canary: true,
        ..RunOptions::default()
    }
}

fn until(deadline: Duration) -> RunOptions {
    RunOptions {
        deadline: Some(deadline),
        ..RunOptions::default()
    }
}

#[track_caller]
fn check_output(bench: &Bench) {
    let out = bench.output();
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
    let bench = Bench::new(work("[cache]\nprime = \"always\"\n[canary]\nrows = 10\n"));
    assert_eq!(bench.run().unwrap().outcome, RunOutcome::Complete);
    assert_eq!(bench.sent(), [1, 10, 15, 14]);
    let decided = bench.notices.notes("checkpoint_decided");
    assert_eq!(
        decided[1]["reason"],
        serde_json::json!({ "kind": "within_limits", "rows": 10, "succeeded": 10, "empty": 0 })
    );
    check_output(&bench);
    // Each batch was accepted after the one before it was judged.
    let events: Vec<String> = journal(&bench.work)
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
    let bench = with_faults("[cache]\nprime = \"always\"\n", REFUSED);
    let found = stopped(bench.run());
    assert_eq!(found.kind, CheckpointKind::Prime);
    assert_eq!(found.requests, 39);
    assert_eq!(
        found.reason,
        VerdictReason::RequestRefused(RequestError {
            error_type: Some("invalid_request_error".to_owned()),
            message: Some("model: not for you".to_owned()),
        })
    );
    assert_eq!(bench.sent(), [1]);
    assert_eq!(verdict(&bench.work), "stopped");
    // Nothing changes by asking again, and nothing is lost by fetching.
    stopped(bench.run());
    stopped(bench.submit());
    stopped(bench.collect(None));
    assert_eq!(bench.sent(), [1]);
    let (view, _) = bench.engine().status(&bench.newest_run()).unwrap();
    assert_eq!(
        view.manifest.checkpoints[0].verdict,
        CheckpointVerdict::Judged(Verdict::Stopped)
    );
    let report = bench.run_with(&ignoring_the_canary()).unwrap();
    assert!(!report.all_succeeded());
    assert_eq!(bench.sent().iter().sum::<u64>(), ROWS as u64);
    assert_eq!(bench.output().column("_rm_status"), vec!["errored"; ROWS]);
}

#[test]
fn a_run_that_its_first_rows_stopped_can_be_given_up() {
    let bench = with_faults(
        "[canary]\nrows = 10\n",
        "[[rows]]\noutcome = \"refused\"\nshare = 1.0\n",
    );
    let (rows, limits) = exceeded(bench.run());
    assert_eq!(rows, 10);
    assert_eq!(
        (limits[0].limit, limits[0].rows),
        (CanaryLimit::Refused, 10)
    );
    bench.cancel(false).unwrap();
    let report = bench.collect(None).unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    let statuses = bench.output().column("_rm_status");
    let count = |status: &str| statuses.iter().filter(|s| *s == status).count();
    assert_eq!(count("refused"), 10, "what came back is kept");
    assert_eq!(count("unsent"), 30);
    assert_eq!(bench.sent(), [10]);
}

#[test]
fn answers_that_are_cut_off_stop_the_canary() {
    let cut = "[[rows]]\noutcome = \"truncated\"\nshare = 1.0\ntimes = 0\n";
    let strict = with_faults("[canary]\nrows = 12\n", cut);
    let truncated = ExceededLimit {
        limit: CanaryLimit::Truncated,
        rows: 12,
        max: 0.05,
    };
    assert_eq!(exceeded(strict.run()), (12, vec![truncated]));
    let lenient = with_faults("[canary]\nrows = 12\nmax_truncated = 1.0\n", cut);
    assert!(!lenient.run().unwrap().all_succeeded());
    assert_eq!(lenient.sent(), [12, 15, 13]);
}

#[test]
fn rows_of_a_canary_that_failed_are_sent_again_with_the_others() {
    let bench = with_faults(
        "[canary]\nrows = 10\nmax_error = 1.0\n",
        "[[rows]]\noutcome = \"errored\"\nshare = 0.5\n",
    );
    bench.run().unwrap();
    assert!(!bench.notices.of("retries_planned").is_empty());
    check_output(&bench);
    assert_eq!(bench.sent()[0], 10);
}

#[test]
fn the_rest_follows_without_the_warm_up_when_the_time_is_over() {
    let bench = with_faults(
        "[cache]\nprime = \"always\"\nprime_wait = \"5m\"\n",
        FIRST_IS_LATE,
    );
    bench.run().unwrap();
    let decided = &bench.notices.notes("checkpoint_decided")[0];
    assert_eq!(
        decided["reason"],
        serde_json::json!({ "kind": "not_ended", "waited_seconds": 300 })
    );
    assert_eq!(verdict(&bench.work), "timed_out");
    assert_eq!(bench.sent(), [1, 14, 13, 12]);
    check_output(&bench);
}

#[test]
fn a_submit_waits_for_a_canary_no_longer_than_the_job_says() {
    let bench = with_faults(
        "[cache]\nprime_wait = \"5m\"\n[canary]\nrows = 10\n",
        FIRST_IS_LATE,
    );
    let begin = bench.clock.now();
    let report = bench.submit().unwrap();
    assert_eq!(
        (report.outcome, report.unsent_batches),
        (RunOutcome::Unfinished, 3)
    );
    assert_eq!(bench.sent(), [10]);
    let waited = bench.clock.now().duration_since(begin).unsigned_abs();
    assert!((5 * MINUTE..6 * MINUTE).contains(&waited), "{waited:?}");
    // Each submit looks once, however long the time is over.
    let begin = bench.clock.now();
    assert_eq!(bench.submit().unwrap().unsent_batches, 3);
    assert_eq!(bench.sent(), [10]);
    let waited = bench.clock.now().duration_since(begin).unsigned_abs();
    assert!(waited < MINUTE, "{waited:?}");
    // A collect fetches and sends nothing.
    let collected = bench.collect(Some(2 * HOUR)).unwrap();
    assert_eq!(collected.outcome, RunOutcome::Unfinished);
    assert_eq!(bench.sent(), [10]);
    assert_eq!(bench.submit().unwrap().unsent_batches, 0);
    assert_eq!(bench.sent(), [10, 13, 9, 8]);
    let collected = bench.collect(Some(HOUR)).unwrap();
    assert_eq!(collected.outcome, RunOutcome::Complete);
    check_output(&bench);
}

#[test]
fn a_late_warm_up_request_holds_up_no_canary() {
    let bench = with_faults(
        "[cache]\nprime = \"always\"\nprime_wait = \"5m\"\n[canary]\nrows = 10\n",
        FIRST_IS_LATE,
    );
    let report = bench.run_with(&until(HOUR / 2)).unwrap();
    assert_eq!(report.outcome, RunOutcome::Unfinished);
    assert_eq!(
        bench.sent(),
        [1, 10, 15, 14],
        "the canary was judged while the first batch was in flight"
    );
}

#[test]
fn a_submit_sends_what_a_canary_of_an_earlier_one_allows() {
    let bench = Bench::with(
        work("[cache]\nprime_wait = \"0s\"\n[canary]\nrows = 10\n"),
        "",
        HOUR,
    );
    assert_eq!(bench.submit().unwrap().unsent_batches, 3);
    assert_eq!(bench.sent(), [10]);
    bench.clock.advance(2 * HOUR);
    let report = bench.submit().unwrap();
    assert_eq!(
        (report.outcome, report.unsent_batches),
        (RunOutcome::Unfinished, 0)
    );
    assert_eq!(
        bench.notices.notes("checkpoint_decided")[0]["verdict"],
        "passed"
    );
    assert_eq!(bench.sent(), [10, 13, 9, 8]);
}

#[test]
fn a_submit_sends_everything_once_the_warm_up_request_is_back() {
    let bench = Bench::with(work("[cache]\nprime = \"always\"\n"), "", MINUTE);
    let report = bench.submit().unwrap();
    assert_eq!(report.outcome, RunOutcome::Unfinished);
    assert_eq!(bench.sent(), [1, 14, 13, 12]);
    assert!(
        bench.calls(ApiCall::Results) >= 1,
        "the warm-up request's result was looked at"
    );
    bench.collect(Some(HOUR)).unwrap();
    check_output(&bench);
}

#[test]
fn a_deadline_and_a_resumed_run_keep_the_order() {
    let bench = with_faults(
        "[cache]\nprime = \"always\"\nprime_wait = \"2h\"\n",
        FIRST_IS_LATE,
    );
    let report = bench.run_with(&until(MINUTE)).unwrap();
    assert_eq!(report.outcome, RunOutcome::Unfinished);
    assert_eq!(bench.sent(), [1]);
    bench.run().unwrap();
    assert_eq!(bench.sent(), [1, 14, 13, 12]);
    check_output(&bench);
}

#[test]
fn a_canary_that_is_too_large_goes_in_halves() {
    let bench = with_faults(
        "[canary]\nrows = 10\n",
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413\n",
    );
    bench.run().unwrap();
    let sent = bench.sent();
    assert_eq!(sent[..2].iter().sum::<u64>(), 10, "{sent:?}");
    assert_eq!(sent.iter().sum::<u64>(), ROWS as u64);
    check_output(&bench);
}

#[test]
fn a_rescued_run_judges_its_checkpoints_again() {
    let bench = with_faults("[cache]\nprime = \"always\"\n", REFUSED);
    stopped(bench.run());
    let run = bench.newest_run();
    std::fs::remove_file(run.join("journal.jsonl")).unwrap();
    let rescued = bench.engine().rescue(&run).unwrap();
    assert_eq!(rescued.outcome, RunOutcome::InDoubt);
    stopped(
        bench
            .engine()
            .run(&Target::run(&run), &RunOptions::default()),
    );
    assert_eq!(bench.sent(), [1], "nothing behind the checkpoint was sent");
    assert_eq!(verdict(&bench.work), "stopped");
}

#[test]
fn the_screen_says_why_a_run_stopped_and_how_to_send_the_rest() {
    let work = work("[cache]\nprime = \"always\"\n");
    let sim = Sim::with(REFUSED);
    let url = sim.url();
    let said = work.rowmill_at(&url, &["run", "job.toml"]).expect(6);
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
    let status = work.rowmill(&["status", "job.toml", "--json"]).expect(0);
    assert!(status.stdout.contains("\"stopped\""), "{}", status.stdout);
    work.rowmill_at(&url, &["submit", "job.toml"]).expect(6);
    work.rowmill_at(&url, &["collect", "job.toml"]).expect(6);
}

#[test]
fn the_screen_says_what_waits_for_a_checkpoint_and_that_it_has_ended() {
    let job = "[cache]\nprime_wait = \"0s\"\n[canary]\nrows = 10\n";
    // A batch that takes an hour cannot have ended before the command does.
    work(job)
        .rowmill(&["submit", "job.toml", "--simulate", "--processing", "1h"])
        .expect(5)
        .says("3 batches still to be sent");
    work(job)
        .rowmill(&["run", "job.toml", "--simulate"])
        .expect(0)
        .says("the canary has ended, the rest follows: 10 of 10 rows succeeded");
}

/// What a job says of the cache after a run of 100 rows whose shared prefix has about 6,000 tokens:
/// requests that read, what the prompts cost, what the marks saved.
fn cached(mark: &str, prime: &str) -> (u64, Money, Option<Money>) {
    let bench = Bench::new(with_policy(mark, prime));
    let manifest = bench.run().unwrap().manifest;
    let measured = manifest.cache.and_then(|cache| cache.measured);
    let reading = measured.as_ref().map_or(0, |measured| measured.reading);
    (
        reading,
        manifest.bill.unwrap().by_kind.input_side(),
        measured.map(|measured| measured.saved_usd),
    )
}

/// A job of 100 rows with a long system prompt.
fn with_policy(mark: &str, prime: &str) -> Workdir {
    let work = Workdir::new().with_rows(100);
    let policy: String = (0..900)
        .map(|n| format!("Rule {n}: a text is about one thing. "))
        .collect();
    let system = format!("system = [{{ text = \"{policy}\"{mark} }}]");
    let job = work
        .read("job.toml")
        .replace("system = \"Say what the text is about.\"", &system);
    work.write("job.toml", format!("{job}\n[cache]\nprime = \"{prime}\"\n"));
    work
}

#[test]
fn a_run_with_a_warm_up_reads_what_one_without_writes_again_and_again() {
    let hour = ", cache = \"1h\"";
    let (none, unmarked, nothing) = cached("", "auto");
    let (few, cold, lost) = cached(hour, "off");
    let (most, warm, saved) = cached(hour, "auto");
    // The simulator works on 64 requests at a time: of a cold batch these all write, and 36 read.
    // With a warm-up, all but the first read.
    assert_eq!((none, few, most), (0, 36, 99));
    assert!(
        warm < unmarked && unmarked < cold,
        "{warm} {unmarked} {cold}"
    );
    // What was saved or lost is the difference to the run without a mark, to the last unit.
    assert_eq!(nothing, None);
    assert_eq!(saved, Some(unmarked.saturating_sub(warm)));
    assert_eq!(lost, Some(unmarked.saturating_sub(cold)));
    assert!(lost.unwrap().is_negative());
}

#[test]
fn the_screen_says_what_the_cache_did() {
    for (prime, words) in [
        (
            "auto",
            &[
                "one request goes first and writes the shared",
                "the cache warm-up request has ended, the rest follows: it wrote",
                "cache      99% of the marked tokens read, in 99 of 100 requests; $",
            ][..],
        ),
        (
            "off",
            &[
                "the 1 h mark has no warm-up: below 52.7%",
                "cache      36% of the marked tokens read, in 36 of 100 requests; the marks cost $",
            ],
        ),
    ] {
        let work = with_policy(", cache = \"1h\"", prime);
        let said = work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
        for words in words {
            assert!(
                said.stderr.contains(words),
                "`{words}` is not in\n{}",
                said.stderr
            );
        }
    }
}

#[test]
fn plan_and_check_say_why_a_run_has_a_warm_up_or_not() {
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
    for (name, words, checkpoints) in [
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
            checkpoints,
            "{name}"
        );
        assert_eq!(
            plan["plan"]["cache"]["primes"].as_bool().unwrap(),
            checkpoints == 1
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
