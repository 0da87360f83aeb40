//! Failed rows are sent again by class, and only those.

use rowmill::batch::SpoolReader;
use rowmill::request::per_row::FragmentTail;

use crate::support::{JOB, Sim, Workdir};

/// Rows `T-1` to `T-20` against a simulator that plays these faults.
fn with_faults(faults: &str, job: &str) -> (Workdir, Sim) {
    let work = Workdir::new().with_rows(20);
    work.write("job.toml", format!("{JOB}\n{job}"));
    (work, Sim::with(faults))
}

fn statuses(work: &Workdir) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for status in work.parquet("out.parquet").column("_rm_status") {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

#[test]
fn server_errors_are_sent_again_by_themselves() {
    let (work, simulator) = with_faults(
        "[[rows]]\noutcome = \"errored\"\nerror_type = \"overloaded_error\"\nshare = 0.5\n",
        "",
    );
    work.rowmill_at(&simulator.url(), &["run", "job.toml"])
        .expect(0)
        .says("sent again");
    assert_eq!(statuses(&work)["succeeded"], 20);
    let out = work.parquet("out.parquet");
    assert_eq!(
        out.column("id"),
        (1..=20).map(|n| format!("T-{n}")).collect::<Vec<_>>()
    );
    assert!(out.column("_rm_attempt").contains(&"2".to_owned()));
    let twice = simulator
        .accepted()
        .values()
        .filter(|&&times| times == 2)
        .count();
    assert_eq!(
        out.column("_rm_attempt")
            .iter()
            .filter(|a| *a == "2")
            .count(),
        twice,
        "only failed rows were sent again"
    );
}

#[test]
fn expired_rows_are_sent_again_until_the_job_says_stop() {
    let (work, simulator) = with_faults(
        "[[rows]]\noutcome = \"expired\"\nshare = 1.0\ntimes = 99\n",
        "[retry]\nexpired = 1\n",
    );
    work.rowmill_at(&simulator.url(), &["run", "job.toml"])
        .expect(3);
    assert_eq!(statuses(&work)["expired"], 20);
    assert!(
        simulator.accepted().values().all(|&times| times == 2),
        "{:?}",
        simulator.accepted()
    );
}

#[test]
fn cut_off_answers_get_more_tokens_when_a_person_asks() {
    let (work, simulator) = with_faults("[[rows]]\noutcome = \"truncated\"\nshare = 0.5\n", "");
    work.rowmill_at(&simulator.url(), &["run", "job.toml"])
        .expect(3);
    let cut = statuses(&work)["truncated"];
    assert!(cut > 0);
    work.rowmill_at(
        &simulator.url(),
        &[
            "retry",
            "job.toml",
            "--class",
            "truncated",
            "--max-tokens",
            "3x",
        ],
    )
    .expect(0);
    assert_eq!(statuses(&work)["succeeded"], 20);
    let head = work
        .files()
        .into_iter()
        .find(|file| file.contains("head.") && !file.ends_with("head.bin"))
        .expect("a head of its own");
    assert!(
        work.read(&head).contains("\"max_tokens\":600"),
        "{}",
        work.read(&head)
    );
    let again = simulator
        .accepted()
        .values()
        .filter(|&&times| times == 2)
        .count();
    assert_eq!(again, cut);
    work.rowmill_at(
        &simulator.url(),
        &["retry", "job.toml", "--class", "truncated"],
    )
    .expect(2)
    .says("nothing was sent again");
}

#[test]
fn errors_for_good_are_never_sent_again() {
    let (work, simulator) = with_faults(
        "[[rows]]\noutcome = \"errored\"\nerror_type = \"invalid_request_error\"\nshare = 0.5\n",
        "[retry]\nserver_error = 9\n",
    );
    work.rowmill_at(&simulator.url(), &["run", "job.toml"])
        .expect(3);
    assert!(simulator.accepted().values().all(|&times| times == 1));
}

#[test]
fn collect_sends_failed_rows_too_and_comes_back_for_them() {
    let (work, simulator) = with_faults("[[rows]]\noutcome = \"expired\"\nshare = 0.5\n", "");
    let url = simulator.url();
    work.rowmill_at(&url, &["submit", "job.toml"]).expect(5);
    work.rowmill_at(&url, &["collect", "job.toml", "--wait", "60s"])
        .expect(0);
    assert_eq!(statuses(&work)["succeeded"], 20);
}

#[test]
fn rows_that_chose_their_length_get_more_of_it() {
    let (work, simulator) = with_faults("[[rows]]\noutcome = \"truncated\"\nshare = 0.5\n", "");
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
    work.write("rows.csv", rows).write(
        "job.toml",
        job + "\n[retry]\ntruncated = { times = 1, max_tokens = \"3x\" }\n",
    );
    work.rowmill_at(&simulator.url(), &["run", "job.toml"])
        .expect(0)
        .says("by tag");
    assert_eq!(statuses(&work)["succeeded"], 20);
    let out = work.parquet("out.parquet");
    let models = out.column("_rm_model");
    assert!(
        models[0].starts_with("claude-sonnet-4-6") && models[1].starts_with("claude-haiku-4-5"),
        "{models:?}"
    );
    assert_eq!(out.column("_rm_tag")[..3], ["team 1", "team 2", "team 0"]);
    let sent = sent_lengths(&work);
    for (key, attempts) in simulator.accepted() {
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
    assert!(simulator.accepted().values().any(|&times| times == 2));
    let manifest: serde_json::Value = serde_json::from_str(
        &work.read(
            work.files()
                .iter()
                .find(|f| f.ends_with("manifest.json"))
                .unwrap(),
        ),
    )
    .unwrap();
    let by_tag = manifest
        .pointer("/bill/by_tag")
        .unwrap()
        .as_object()
        .unwrap()
        .len();
    assert_eq!(by_tag, 3);
}

/// The limits that each row was sent with, by its key, in the order of its batches.
fn sent_lengths(work: &Workdir) -> std::collections::BTreeMap<String, Vec<u32>> {
    let mut lengths = std::collections::BTreeMap::<String, Vec<u32>>::new();
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
