//! Failed rows are sent again by class, and only those.

use std::collections::BTreeMap;
use std::time::Duration;

use rowmill::batch::SpoolReader;
use rowmill::engine::{NothingReason, RetryOptions, RunOutcome};
use rowmill::outcome::class::{Class, MoreTokens};
use rowmill::request::per_row::FragmentTail;

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

/// Rows `T-1` to `T-20` against a simulator that plays these faults.
fn with_faults(faults: &str, job: &str) -> Bench {
    let work = Workdir::new().with_rows(20);
    work.write("job.toml", format!("{JOB}\n{job}"));
    Bench::with(work, faults, Duration::ZERO)
}

fn statuses(bench: &Bench) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for status in bench.output().column("_rm_status") {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

/// Rows that were accepted twice.
fn twice(bench: &Bench) -> usize {
    let accepted = bench.accepted();
    accepted.values().filter(|&&times| times == 2).count()
}

fn truncated(more_tokens: Option<MoreTokens>) -> RetryOptions {
    RetryOptions {
        classes: vec![Class::Truncated],
        more_tokens,
        ..RetryOptions::default()
    }
}

#[test]
fn server_errors_are_sent_again_by_themselves() {
    let bench = with_faults(
        "[[rows]]\noutcome = \"errored\"\nerror_type = \"overloaded_error\"\nshare = 0.5\n",
        "",
    );
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(statuses(&bench)["succeeded"], 20);
    let out = bench.output();
    assert_eq!(
        out.column("id"),
        (1..=20).map(|n| format!("T-{n}")).collect::<Vec<_>>()
    );
    let attempts = out.column("_rm_attempt");
    let seconds = attempts.iter().filter(|attempt| *attempt == "2").count();
    assert!(seconds > 0);
    assert_eq!(seconds, twice(&bench), "only failed rows were sent again");
    let planned = bench.notices.of("retries_planned");
    assert_eq!(planned.len(), 1);
    assert_eq!(planned[0]["rows"], seconds);
}

#[test]
fn expired_rows_are_sent_again_until_the_job_says_stop() {
    let bench = with_faults(
        "[[rows]]\noutcome = \"expired\"\nshare = 1.0\ntimes = 99\n",
        "[retry]\nexpired = 1\n",
    );
    assert!(!bench.run().unwrap().all_succeeded());
    assert_eq!(statuses(&bench)["expired"], 20);
    assert_eq!(twice(&bench), 20, "{:?}", bench.accepted());
}

#[test]
fn cut_off_answers_get_more_tokens_when_a_person_asks() {
    let bench = with_faults("[[rows]]\noutcome = \"truncated\"\nshare = 0.5\n", "");
    assert!(!bench.run().unwrap().all_succeeded());
    let cut = statuses(&bench)["truncated"];
    assert!(cut > 0);
    let report = bench
        .retry(&truncated(Some(MoreTokens::Factor(3))))
        .unwrap();
    assert!(report.all_succeeded());
    assert_eq!(statuses(&bench)["succeeded"], 20);
    let head = bench
        .work
        .files()
        .into_iter()
        .find(|file| file.contains("head.") && !file.ends_with("head.bin"))
        .expect("a head of its own");
    let head = bench.work.read(&head);
    assert!(head.contains("\"max_tokens\":600"), "{head}");
    assert_eq!(twice(&bench), cut);
    let nothing = bench.retry(&truncated(None)).unwrap().nothing_to_do;
    assert_eq!(nothing.unwrap().reason, NothingReason::NoFailures);
    assert_eq!(twice(&bench), cut);
}

#[test]
fn the_screen_says_what_is_sent_again_and_what_is_not() {
    let work = Workdir::new().with_rows(20);
    let sim = Sim::with(
        "[[rows]]\noutcome = \"truncated\"\nshare = 0.5\n[[rows]]\noutcome = \
         \"expired\"\nshare = 0.5\n",
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("sent again");
    let retry = ["retry", "job.toml", "--class", "truncated"];
    let with_more = [&retry[..], &["--max-tokens", "3x"]].concat();
    work.rowmill_at(&sim.url(), &with_more).expect(0);
    let sent = sim.ledger().batches.len();
    work.rowmill_at(&sim.url(), &retry)
        .expect(0)
        .says("every row of the run succeeded");
    assert_eq!(sim.ledger().batches.len(), sent);
}

#[test]
fn errors_for_good_are_never_sent_again() {
    let bench = with_faults(
        "[[rows]]\noutcome = \"errored\"\nerror_type = \"invalid_request_error\"\nshare = 0.5\n",
        "[retry]\nserver_error = 9\n",
    );
    assert!(!bench.run().unwrap().all_succeeded());
    assert!(statuses(&bench)["errored"] > 0);
    assert!(bench.accepted().values().all(|&times| times == 1));
}

#[test]
fn collect_sends_failed_rows_too_and_comes_back_for_them() {
    let bench = with_faults("[[rows]]\noutcome = \"expired\"\nshare = 0.5\n", "");
    assert_eq!(bench.submit().unwrap().outcome, RunOutcome::Unfinished);
    let collected = bench.collect(Some(Duration::from_secs(3_600))).unwrap();
    assert!(collected.all_succeeded());
    assert!(twice(&bench) > 0);
    assert_eq!(statuses(&bench)["succeeded"], 20);
}

#[test]
fn rows_that_chose_their_length_get_more_of_it() {
    let bench = with_faults("[[rows]]\noutcome = \"truncated\"\nshare = 0.5\n", "");
    let mut rows = String::from("id,body,length,which,team\n");
    for n in 1..=20 {
        let (length, which) = if n % 2 == 0 {
            ("300", "claude-haiku-4-5")
        } else {
            ("", "")
        };
        rows += &format!("T-{n},text {n},{length},{which},team {}\n", n % 3);
    }
    let per_row = "[request.per_row]\nmodel = \"which\"\nmax_tokens = \"CAST(length AS INT)\"\ntag \
        = \"team\"\n\n[output]";
    let job = JOB
        .replace("[output]", per_row)
        .replace("claude-haiku-4-5", "claude-sonnet-4-6");
    bench.work.write("rows.csv", rows).write(
        "job.toml",
        job + "\n[retry]\ntruncated = { times = 1, max_tokens = \"3x\" }\n",
    );
    let manifest = bench.run().unwrap().manifest;
    assert_eq!(statuses(&bench)["succeeded"], 20);
    let out = bench.output();
    let models = out.column("_rm_model");
    assert!(
        models[0].starts_with("claude-sonnet-4-6") && models[1].starts_with("claude-haiku-4-5"),
        "{models:?}"
    );
    assert_eq!(out.column("_rm_tag")[..3], ["team 1", "team 2", "team 0"]);
    let sent = sent_lengths(&bench.work);
    for (key, attempts) in bench.accepted() {
        let first = if key[2..].parse::<u32>().unwrap() % 2 == 0 {
            300
        } else {
            200
        };
        assert_eq!(
            sent[&key],
            [first, first * 3][..usize::try_from(attempts).unwrap()],
            "{key}"
        );
    }
    assert!(twice(&bench) > 0);
    assert_eq!(manifest.bill.unwrap().by_tag.len(), 3);
}

/// The limits that each row was sent with, by its key, in the order of its batches.
fn sent_lengths(work: &Workdir) -> BTreeMap<String, Vec<u32>> {
    let mut lengths = BTreeMap::<String, Vec<u32>>::new();
    let mut spools: Vec<String> = work
        .files()
        .into_iter()
        .filter(|file| file.contains("/spool/"))
        .collect();
    spools.sort();
    for spool in spools {
        for rows in SpoolReader::open(&work.path(&spool)).unwrap() {
            let rows = rows.unwrap();
            for row in 0..rows.len() {
                let tail = FragmentTail::of(rows.fragment.value(row), true, true)
                    .expect("a fragment that ends in the row's choice");
                let (_, key) = rows.custom_id.value(row).split_once('-').unwrap();
                lengths
                    .entry(key.to_owned())
                    .or_default()
                    .push(tail.max_tokens.unwrap());
            }
        }
    }
    lengths
}
