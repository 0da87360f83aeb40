//! Where an output goes, what it says of itself, what it never takes the place of; and starts that
//! have nothing to do.

use std::fs;

use crate::support::{JOB, Sim, Workdir};

/// A job whose output is this file.
fn job_to(name: &str) -> String {
    JOB.replace("out.parquet", name)
}

/// The file of a run, by how it stands in the output's folder.
fn is_there(work: &Workdir, name: &str) -> bool {
    work.path(name).exists()
}

const FORMATS: [&str; 5] = [
    "out.parquet",
    "out.csv",
    "out.tsv",
    "out.jsonl",
    "out.arrow",
];

#[test]
fn a_trial_never_takes_the_place_of_the_output() {
    for name in FORMATS {
        let work = Workdir::new().with_rows(4);
        let stem = name.strip_suffix(name.rsplit('.').next().unwrap()).unwrap();
        let extension = name.rsplit('.').next().unwrap();
        work.write("job.toml", job_to(name)).write(name, "paid for");
        work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
        work.rowmill(&["run", "job.toml", "--simulate", "--limit", "2"])
            .expect(0);
        work.rowmill(&["export", "job.toml"]).expect(0);
        assert_eq!(fs::read_to_string(work.path(name)).unwrap(), "paid for");
        assert!(
            is_there(&work, &format!("{stem}simulated.{extension}")),
            "{name}: {:?}",
            work.files()
        );
    }
}

#[test]
fn a_narrowed_run_writes_beside_the_output() {
    let (work, sim) = (Workdir::new().with_rows(6), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert!(is_there(&work, "out.parquet"));
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--limit", "2"])
        .expect(0);
    work.rowmill_at(&sim.url(), &["submit", "job.toml", "--where", "id = 'T-5'"])
        .expect(5);
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "30s"])
        .expect(0);
    let trial = crate::support::Table::read(&work.path("out.trial.parquet"));
    assert_eq!(trial.column("id"), ["T-5"]);
    assert_eq!(
        crate::support::Table::read(&work.path("out.parquet")).rows(),
        6
    );
    // A plan that is kept knows it too.
    work.rowmill_at(
        &sim.url(),
        &["plan", "job.toml", "--limit", "3", "--out", "kept/run"],
    )
    .expect(0);
    work.rowmill_at(&sim.url(), &["run", "kept/run"]).expect(0);
    assert_eq!(
        crate::support::Table::read(&work.path("out.trial.parquet")).rows(),
        3
    );
    assert_eq!(
        crate::support::Table::read(&work.path("out.parquet")).rows(),
        6
    );
}

#[test]
fn a_simulated_row_says_so_in_every_format() {
    let out = |name: &str| {
        let work = Workdir::new().with_rows(3);
        work.write("job.toml", job_to(name));
        work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
        work
    };
    assert!(
        out("out.parquet")
            .parquet("out.parquet")
            .column("_rm_simulated")
            .iter()
            .all(|said| said == "true")
    );
    for (name, end) in [("out.csv", ",true"), ("out.tsv", "\ttrue")] {
        let text = out(name).read(name);
        let mut lines = text.lines();
        assert!(lines.next().unwrap().ends_with("_rm_simulated"), "{text}");
        assert!(lines.all(|line| line.ends_with(end)), "{text}");
    }
    assert!(
        out("out.jsonl")
            .read("out.jsonl")
            .lines()
            .all(|line| line.ends_with("\"_rm_simulated\":true}"))
    );
    let arrow = out("out.arrow");
    let reader = arrow::ipc::reader::FileReader::try_new(
        fs::File::open(arrow.output("out.arrow")).unwrap(),
        None,
    )
    .unwrap();
    for batch in reader {
        let batch = batch.unwrap();
        let said =
            arrow::array::AsArray::as_boolean(batch.column_by_name("_rm_simulated").unwrap());
        assert!(said.iter().all(|said| said == Some(true)));
    }
}

#[test]
fn a_row_that_was_not_sent_says_too_that_it_was_simulated() {
    let work = Workdir::new();
    work.write(
        "rows.csv",
        format!("id,body\na,short\nb,{}\n", "x".repeat(5_000)),
    );
    work.write(
        "job.toml",
        format!("{}\n[batch]\nmax_bytes = 4000\n", job_to("out.csv")),
    );
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(3);
    let text = work.read("out.csv");
    assert!(
        text.lines().skip(1).all(|line| line.ends_with(",true")),
        "{text}"
    );
}

#[test]
fn a_job_can_have_the_mark_in_every_output() {
    let work = Workdir::new().with_rows(2);
    work.write("job.toml", format!("{}extra = [\"simulated\"]\n", JOB));
    let check = work
        .rowmill(&["check", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        check["output"]["columns"]
            .as_array()
            .unwrap()
            .last()
            .unwrap(),
        "_rm_simulated"
    );
    work.write("rows.csv", "id,body,_rm_simulated\na,b,c\n")
        .write("job.toml", JOB);
    work.rowmill(&["check", "job.toml"])
        .expect(2)
        .says("_rm_simulated");
}

#[test]
fn a_simulated_run_over_a_connection_never_replaces_what_is_not_simulated() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
    // Nothing is there: a rehearsal goes all the way, and what it writes says that it is simulated.
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert!(is_there(&work, "out.parquet"));
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--again"])
        .expect(0);
    assert!(!is_there(&work, "out.simulated.parquet"));
    // Something else is there.
    for (name, text) in [
        ("out.parquet", "paid for"),
        ("out.csv", "id,_rm_status\nT-1,errored\n"),
    ] {
        work.write("job.toml", job_to(name)).write(name, text);
        let done = work
            .rowmill_at(&sim.url(), &["run", "job.toml", "--again"])
            .expect(0)
            .says("stays as it is");
        assert!(done.stdout.contains("out.simulated."), "{}", done.stdout);
        assert_eq!(fs::read_to_string(work.path(name)).unwrap(), text);
    }
    work.rowmill_at(&sim.url(), &["export", "job.toml", "--replace"])
        .expect(0);
    assert!(
        fs::read_to_string(work.path("out.csv"))
            .unwrap()
            .contains("T-3")
    );
}

#[test]
fn what_lies_beside_an_output_is_never_read_as_its_source() {
    let work = Workdir::new();
    work.write("data/a.jsonl", "{\"id\":\"a\",\"body\":\"one\"}\n");
    work.write(
        "job.toml",
        JOB.replace("rows.csv", "data/*.jsonl")
            .replace("out.parquet", "data/out.jsonl"),
    );
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    work.rowmill(&["check", "job.toml"])
        .expect(2)
        .says("out.simulated.jsonl` is a file of the source");
}

#[test]
fn an_unchanged_job_has_nothing_to_do() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::start());
    let first = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let second = work
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("nothing to do")
        .says("--again");
    assert_eq!(
        first.stdout.lines().last(),
        second.stdout.lines().last(),
        "the output is named"
    );
    let json = work
        .rowmill_at(&sim.url(), &["run", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&json["nothing_to_do"], &json["state"]),
        (&serde_json::json!(true), &serde_json::json!("exported"))
    );
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0)
        .says("nothing to do");
    assert_eq!(sim.ledger().batches.len(), 1);
    // A key is not needed to find out that there is nothing to do.
    let mut command = work.command_at(&sim.url(), &["run", "job.toml"]);
    assert!(
        command
            .env_remove("ANTHROPIC_API_KEY")
            .status()
            .unwrap()
            .success()
    );
    // Another kind of run is another run, and so is one of other rows.
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--limit", "1"])
        .expect(0);
    assert_eq!(sim.ledger().batches.len(), 2);
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("nothing to do");
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--again"])
        .expect(0);
    assert_eq!(sim.ledger().batches.len(), 3);
    // As soon as something has changed, there is something to do.
    work.write("job.toml", JOB.replace("Say what", "Tell what"));
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    work.write("rows.csv", "id,body\nT-1,another text\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sim.ledger().batches.len(), 5);
}

#[test]
fn a_source_that_was_written_again_with_the_same_rows_is_unchanged() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    std::thread::sleep(std::time::Duration::from_millis(20));
    work.write("rows.csv", work.read("rows.csv"));
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("nothing to do");
    // Another quoting, the same cells.
    work.write(
        "rows.csv",
        work.read("rows.csv").replace("T-1,", "\"T-1\","),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("nothing to do");
    assert_eq!(sim.ledger().batches.len(), 1);
    assert_eq!(
        work.files()
            .iter()
            .filter(|file| file.ends_with("plan.json"))
            .count(),
        1,
        "no plan is left behind"
    );
    // A column that no prompt uses goes to the output.
    work.write("rows.csv", "id,body,other\nT-1,a,1\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    work.write("rows.csv", "id,body,other\nT-1,a,2\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert_eq!(sim.ledger().batches.len(), 3);
}

#[test]
fn an_output_that_is_gone_is_written_again_and_nothing_is_sent() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    fs::remove_file(work.path("out.parquet")).unwrap();
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("its output is gone");
    assert_eq!(
        (
            work.parquet("out.parquet").rows(),
            sim.ledger().batches.len()
        ),
        (4, 1)
    );
}

#[test]
fn an_output_that_another_run_has_replaced_is_written_again_and_nothing_is_sent() {
    let (work, sim) = (Workdir::new().with_rows(6), Sim::start());
    let rows = |name: &str| crate::support::Table::read(&work.path(name)).rows();
    let run = |args: &[&str]| {
        work.rowmill_at(&sim.url(), &[&["run", "job.toml"], args].concat())
            .expect(0)
    };
    // Two trials share a place.
    run(&["--limit", "2"]);
    run(&["--limit", "3"]);
    assert_eq!(rows("out.trial.parquet"), 3);
    let json = work
        .rowmill_at(
            &sim.url(),
            &["submit", "job.toml", "--limit", "2", "--json"],
        )
        .expect(0)
        .json();
    assert_eq!(
        json["output"],
        serde_json::Value::Null,
        "what stands there is not its own"
    );
    let json = run(&["--limit", "2", "--json"])
        .says("another run has replaced its output")
        .json();
    assert_eq!(
        (&json["rows"], &json["nothing_to_do"]),
        (&serde_json::json!(2), &serde_json::json!(true))
    );
    assert_eq!(rows("out.trial.parquet"), 2);
    // A better output gives way to a person's word, also where there is nothing to send.
    work.write("out.trial.parquet", "paid for");
    run(&["--limit", "2", "--again"]).says("stays as it is");
    run(&["--limit", "2"]).says("nothing to do");
    assert_eq!(work.read("out.trial.parquet"), "paid for");
    run(&["--limit", "2", "--replace"])
        .says("nothing to do")
        .says("in its own place");
    assert_eq!(rows("out.trial.parquet"), 2);
    let same = run(&["--limit", "2"]).says("nothing to do");
    assert!(!same.stderr.contains("another run"), "{}", same.stderr);
    // So do a simulated run of all rows and one of some.
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    work.rowmill(&["run", "job.toml", "--simulate", "--limit", "2"])
        .expect(0);
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(0)
        .says("another run has replaced its output");
    assert_eq!(rows("out.simulated.parquet"), 6);
    // And runs of a source that changes and changes back.
    let first = work.read("rows.csv");
    run(&[]);
    work.write("rows.csv", "id,body\nT-1,another text\n");
    run(&[]);
    work.write("rows.csv", first);
    run(&[]).says("nothing to do");
    assert_eq!((rows("out.parquet"), sim.ledger().batches.len()), (6, 5));
}

#[test]
fn a_second_night_without_rows_does_not_leave_the_output_of_the_night_before() {
    for name in FORMATS {
        let (work, sim) = (Workdir::new(), Sim::start());
        work.write("job.toml", job_to(name));
        for (night, rows) in [("T-1,a\n", 1), ("", 0), ("T-2,b\n", 1), ("", 0)]
            .into_iter()
            .enumerate()
        {
            work.write("rows.csv", format!("id,body\n{}", rows.0));
            let done = work
                .rowmill_at(&sim.url(), &["run", "job.toml", "--json"])
                .expect(0)
                .json();
            assert_eq!(done["rows"], rows.1, "{name}, night {night}");
            let written = fs::read(work.path(name)).unwrap();
            let has = |id: &str| written.windows(id.len()).any(|part| part == id.as_bytes());
            assert!(
                rows.1 == 1 || !(has("T-1") || has("T-2")),
                "{name}, night {night}"
            );
        }
    }
}

#[test]
fn an_unchanged_job_with_failed_rows_says_so_and_sends_nothing() {
    let (work, sim) = (
        Workdir::new().with_rows(4),
        Sim::with(
            "[[rows]]\noutcome = \"errored\"\nshare = 1.0\nerror_type = \"invalid_request_error\"\n",
        ),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(3);
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("nothing to do")
        .says("4 rows of it did not succeed");
    assert_eq!(sim.ledger().batches.len(), 1);
}

#[test]
fn a_night_without_rows_ends_well_and_replaces_yesterdays_output() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::start());
    work.write("job.toml", job_to("out.csv"));
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let yesterday = work.read("out.csv");
    work.write("rows.csv", "id,body\n");
    for command in ["check", "plan"] {
        work.rowmill(&[command, "job.toml"])
            .expect(0)
            .says("no rows to send");
        let json = work
            .rowmill(&[command, "job.toml", "--json"])
            .expect(0)
            .json();
        assert!(
            json["warnings"]
                .as_array()
                .unwrap()
                .iter()
                .any(|w| w.as_str().unwrap().contains("no rows to send")),
            "{json}"
        );
    }
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("no rows to send: the source has columns and no rows");
    assert_eq!(
        work.read("out.csv"),
        format!("{}\n", yesterday.lines().next().unwrap())
    );
    let status = work
        .rowmill(&["status", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&status["manifest"]["rows"], &status["manifest"]["state"]),
        (&serde_json::json!(0), &serde_json::json!("exported"))
    );
    assert_eq!(sim.ledger().batches.len(), 1);
}

#[test]
fn no_rows_are_no_error_in_any_command_and_format() {
    for name in FORMATS {
        for args in [
            &["run", "--where", "id = 'none'"][..],
            &["submit", "--where", "id = 'none'"],
            &["run", "--limit", "0"],
        ] {
            let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
            work.write("job.toml", job_to(name));
            let args = [&[args[0], "job.toml", "--json"], &args[1..]].concat();
            let done = work
                .rowmill_at(&sim.url(), &args)
                .expect(0)
                .says("no rows to send");
            let json = done.json();
            assert_eq!(
                (&json["rows"], &json["notes"]),
                (
                    &serde_json::json!(0),
                    &serde_json::json!([{ "kind": "nothing_to_send" }])
                )
            );
            assert!(
                fs::metadata(work.output(name)).is_ok(),
                "{name}: {:?}",
                work.files()
            );
            assert!(sim.ledger().batches.is_empty());
        }
    }
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["run", "job.toml", "--simulate", "--limit", "0"])
        .expect(0);
    let out = work.parquet("out.parquet");
    assert_eq!(
        (out.rows(), &out.names()[..2]),
        (0, &["id".to_owned(), "body".to_owned()][..])
    );
}

#[test]
fn rows_that_are_all_set_aside_are_in_the_output_at_once() {
    let work = Workdir::new();
    work.write(
        "rows.csv",
        format!("id,body\na,{0}\nb,{0}\n", "x".repeat(5_000)),
    );
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_bytes = 4000\n"));
    for command in ["run", "submit"] {
        work.rowmill(&[command, "job.toml", "--simulate", "--again"])
            .expect(3)
            .says("no rows to send: all 2 are set aside");
        assert_eq!(
            work.parquet("out.parquet").column("_rm_status"),
            ["unsent", "unsent"]
        );
    }
}

/// All rows of a batch fail, in a way that no other try heals.
const ALL_FAIL: &str =
    "[[rows]]\noutcome = \"errored\"\nshare = 1.0\nerror_type = \"invalid_request_error\"\n";

#[test]
fn a_failed_run_never_takes_the_place_of_a_better_output() {
    for name in FORMATS {
        let (good, bad) = (Sim::start(), Sim::with(ALL_FAIL));
        let work = Workdir::new().with_rows(4);
        work.write("job.toml", job_to(name));
        work.rowmill_at(&good.url(), &["run", "job.toml"]).expect(0);
        let paid = fs::read(work.path(name)).unwrap();
        let failed = work.rowmill_at(&bad.url(), &["run", "job.toml"]).expect(3);
        let failed = failed
            .says("stays as it is: 4 rows succeeded in it, and 0 in this run")
            .says("--replace");
        assert!(
            failed.stdout.contains("out.incomplete."),
            "{}",
            failed.stdout
        );
        assert_eq!(fs::read(work.path(name)).unwrap(), paid, "{name}");
        // Not even a night later, with other rows.
        work.write("rows.csv", "id,body\nT-9,other\n");
        work.rowmill_at(&bad.url(), &["run", "job.toml"])
            .expect(3)
            .says("stays as it is");
        assert_eq!(fs::read(work.path(name)).unwrap(), paid, "{name}");
        work.rowmill_at(&bad.url(), &["run", "job.toml", "--again", "--replace"])
            .expect(3);
        assert_ne!(fs::read(work.path(name)).unwrap(), paid, "{name}");
    }
}

#[test]
fn a_canceled_run_never_takes_the_place_of_a_better_output() {
    let (good, slow) = (
        Sim::start(),
        Sim::new("", std::time::Duration::from_secs(3_600)),
    );
    let work = Workdir::new().with_rows(12);
    work.rowmill_at(&good.url(), &["run", "job.toml"]).expect(0);
    work.rowmill_at(&slow.url(), &["submit", "job.toml"])
        .expect(5);
    work.rowmill_at(&slow.url(), &["cancel", "job.toml"])
        .expect(0);
    work.rowmill_at(&slow.url(), &["collect", "job.toml", "--wait", "30s"])
        .expect(3)
        .says("stays as it is");
    let out = crate::support::Table::read(&work.path("out.parquet"));
    assert!(
        out.column("_rm_status")
            .iter()
            .all(|status| status == "succeeded")
    );
    work.rowmill_at(&slow.url(), &["export", "job.toml"])
        .expect(3)
        .says("stays as it is");
    work.rowmill_at(&slow.url(), &["export", "job.toml", "--replace"])
        .expect(3);
    let out = crate::support::Table::read(&work.path("out.parquet"));
    assert!(
        out.column("_rm_status")
            .iter()
            .any(|status| status == "canceled")
    );
}

#[test]
fn a_night_with_a_few_failures_replaces_the_output_of_other_rows() {
    let one_fails = ALL_FAIL.replace("share = 1.0", "share = 0.2");
    let (good, bad) = (Sim::start(), Sim::with(&one_fails));
    let work = Workdir::new().with_rows(60);
    work.rowmill_at(&good.url(), &["run", "job.toml"]).expect(0);
    // The same rows once more: fewer of them succeeded.
    work.rowmill_at(&bad.url(), &["run", "job.toml"])
        .expect(3)
        .says("stays as it is");
    // What the job calls good enough is.
    work.write("job.toml", format!("{JOB}min_success = 0.1\n"));
    work.rowmill_at(&bad.url(), &["run", "job.toml"]).expect(3);
    assert!(
        work.parquet("out.parquet")
            .column("_rm_status")
            .iter()
            .any(|status| status == "errored")
    );
    work.write("job.toml", JOB);
    work.rowmill_at(&good.url(), &["run", "job.toml", "--again"])
        .expect(0);
    let other: String = (0..30).map(|n| format!("N-{n},text\n")).collect();
    work.write("rows.csv", format!("id,body\n{other}"));
    work.rowmill_at(&bad.url(), &["run", "job.toml"]).expect(3);
    assert_eq!(
        crate::support::Table::read(&work.path("out.parquet")).rows(),
        30
    );
}
