//! Where an output goes, what it says of itself, what it never takes the place of; and starts that
//! have nothing to do.

use std::fs;
use std::time::Duration;

use rowmill::engine::{OutputChange, PlanOptions, ReexportOptions, RowSelection, RunOptions};
use rowmill::engine::{RunOutcome, RunReport, Target};
use rowmill::engine::{SetAside, WorseOutput};
use rowmill::job::JobFile;
use rowmill::journal::{RunNote, Stage};

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Table, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);

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

fn simulated() -> RunOptions {
    RunOptions {
        simulate: true,
        ..RunOptions::default()
    }
}

fn limited(limit: u64) -> RunOptions {
    RunOptions {
        rows: RowSelection {
            limit: Some(limit),
            filter: None,
        },
        ..RunOptions::default()
    }
}

fn filtered(filter: &str) -> RunOptions {
    RunOptions {
        rows: RowSelection {
            limit: None,
            filter: Some(filter.to_owned()),
        },
        ..RunOptions::default()
    }
}

fn again() -> RunOptions {
    RunOptions {
        no_reuse: true,
        ..RunOptions::default()
    }
}

/// Runs the job, which is to succeed for all its rows.
#[track_caller]
fn run(bench: &Bench, options: &RunOptions) -> RunReport {
    let report = bench.run_with(options).unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert!(report.all_succeeded(), "{report:?}");
    report
}

/// Runs the job, which is to fail for some rows.
#[track_caller]
fn run_partly(bench: &Bench, options: &RunOptions) -> RunReport {
    let report = bench.run_with(options).unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert!(!report.all_succeeded(), "{report:?}");
    report
}

fn export(bench: &Bench, replace_output: bool) -> RunReport {
    let options = ReexportOptions {
        job: None,
        replace_output,
    };
    let exported = bench.engine().export(&bench.newest_run(), &options);
    exported.unwrap()
}

/// Why the output of a run stands beside its place.
fn why_aside(report: &RunReport) -> Option<WorseOutput> {
    let summary = report.summary.as_ref().expect("an export");
    summary.set_aside.as_ref().map(|aside| aside.why)
}

fn rows(bench: &Bench, name: &str) -> usize {
    Table::read(&bench.work.path(name)).rows()
}

#[test]
fn a_trial_never_takes_the_place_of_the_output() {
    for name in FORMATS {
        let bench = Bench::new(Workdir::new().with_rows(4));
        let work = &bench.work;
        let (stem, extension) = name.split_once('.').unwrap();
        work.write("job.toml", job_to(name)).write(name, "paid for");
        run(&bench, &simulated());
        let two = RunOptions {
            simulate: true,
            ..limited(2)
        };
        run(&bench, &two);
        export(&bench, false);
        assert_eq!(fs::read_to_string(work.path(name)).unwrap(), "paid for");
        assert!(
            is_there(work, &format!("{stem}.simulated.{extension}")),
            "{name}: {:?}",
            work.files()
        );
    }
}

#[test]
fn a_narrowed_run_writes_beside_the_output() {
    let bench = Bench::new(Workdir::new().with_rows(6));
    run(&bench, &RunOptions::default());
    assert!(is_there(&bench.work, "out.parquet"));
    run(&bench, &limited(2));
    bench.submit_with(&filtered("id = 'T-5'")).unwrap();
    bench.collect(Some(HOUR)).unwrap();
    let trial = Table::read(&bench.work.path("out.trial.parquet"));
    assert_eq!(trial.column("id"), ["T-5"]);
    assert_eq!(rows(&bench, "out.parquet"), 6);
    // A plan that is kept knows it too.
    let kept = bench.work.path("kept/run");
    let options = PlanOptions {
        rows: limited(3).rows,
        out: Some(kept.clone()),
        ..PlanOptions::default()
    };
    let job = JobFile::read(&bench.work.path("job.toml")).unwrap();
    bench.engine().plan(&job, &options).unwrap();
    let report = bench
        .engine()
        .run(&Target::run(kept), &RunOptions::default());
    assert!(report.unwrap().all_succeeded());
    assert_eq!(rows(&bench, "out.trial.parquet"), 3);
    assert_eq!(rows(&bench, "out.parquet"), 6);
}

#[test]
fn a_simulated_row_says_so_in_every_format() {
    let out = |name: &str| {
        let bench = Bench::new(Workdir::new().with_rows(3));
        bench.work.write("job.toml", job_to(name));
        run(&bench, &simulated());
        bench.work
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
    let bench = Bench::new(Workdir::new());
    bench.work.write(
        "rows.csv",
        format!("id,body\na,short\nb,{}\n", "x".repeat(5_000)),
    );
    bench.work.write(
        "job.toml",
        format!("{}\n[batch]\nmax_bytes = 4000\n", job_to("out.csv")),
    );
    run_partly(&bench, &simulated());
    let text = bench.work.read("out.csv");
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
    let bench = Bench::new(Workdir::new().with_rows(3));
    let work = &bench.work;
    // Nothing is there: a rehearsal goes all the way, and what it writes says that it is simulated.
    run(&bench, &RunOptions::default());
    assert!(is_there(work, "out.parquet"));
    run(&bench, &again());
    assert!(!is_there(work, "out.simulated.parquet"));
    // Something else is there.
    for (name, text) in [
        ("out.parquet", "paid for"),
        ("out.csv", "id,_rm_status\nT-1,errored\n"),
    ] {
        work.write("job.toml", job_to(name)).write(name, text);
        let report = run(&bench, &again());
        let aside = SetAside {
            instead_of: work.path(name),
            why: WorseOutput::Simulated,
        };
        let output = report.output_path().unwrap().to_str().unwrap().to_owned();
        assert!(output.contains("out.simulated."), "{output}");
        assert_eq!(report.summary.unwrap().set_aside, Some(aside));
        assert_eq!(fs::read_to_string(work.path(name)).unwrap(), text);
    }
    export(&bench, true);
    let replaced = fs::read_to_string(work.path("out.csv")).unwrap();
    assert!(replaced.contains("T-3"), "{replaced}");
}

#[test]
fn what_lies_beside_an_output_is_never_read_as_its_source() {
    let bench = Bench::new(Workdir::new());
    bench
        .work
        .write("data/a.jsonl", "{\"id\":\"a\",\"body\":\"one\"}\n");
    let job = JOB
        .replace("rows.csv", "data/*.jsonl")
        .replace("out.parquet", "data/out.jsonl");
    bench.work.write("job.toml", job);
    run(&bench, &simulated());
    bench
        .work
        .rowmill(&["check", "job.toml"])
        .expect(2)
        .says("out.simulated.jsonl` is a file of the source");
}

#[test]
fn an_unchanged_job_has_nothing_to_do() {
    let bench = Bench::new(Workdir::new().with_rows(4));
    let first = run(&bench, &RunOptions::default());
    let second = run(&bench, &RunOptions::default());
    let nothing = second.nothing_to_do.expect("nothing to do");
    assert_eq!((nothing.failed, nothing.output_change), (0, None));
    assert_eq!(second.output_path(), first.output_path());
    assert_eq!(second.manifest.state, Stage::Exported);
    assert!(bench.submit().unwrap().nothing_to_do.is_some());
    assert_eq!(bench.sent().len(), 1);
    // Another kind of run is another run, and so is one of other rows, which has an output of its
    // own and reuses the answers.
    assert!(run(&bench, &simulated()).nothing_to_do.is_none());
    let trial = run(&bench, &limited(1));
    assert_ne!(trial.run, first.run);
    assert_eq!(rows(&bench, "out.trial.parquet"), 1);
    assert_eq!(bench.sent(), [4]);
    let third = run(&bench, &RunOptions::default());
    assert_eq!(third.run, first.run);
    run(&bench, &again());
    assert_eq!(bench.sent(), [4, 4]);
    // As soon as something has changed, there is something to do.
    bench
        .work
        .write("job.toml", JOB.replace("Say what", "Tell what"));
    run(&bench, &RunOptions::default());
    bench.work.write("rows.csv", "id,body\nT-1,another text\n");
    run(&bench, &RunOptions::default());
    assert_eq!(bench.sent(), [4, 4, 4, 1]);
}

#[test]
fn the_screen_says_that_there_is_nothing_to_do_and_needs_no_key_for_that() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::start());
    let first = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let second = work
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("nothing to do")
        .says("--no-reuse");
    assert_eq!(
        first.stdout.lines().last(),
        second.stdout.lines().last(),
        "the output is named"
    );
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0)
        .says("nothing to do");
    let mut command = work.command_at(&sim.url(), &["run", "job.toml", "--json"]);
    let output = command.env_remove("ANTHROPIC_API_KEY").output().unwrap();
    assert!(output.status.success());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["nothing_to_do"]["reason"], &json["state"]),
        (
            &serde_json::json!("unchanged"),
            &serde_json::json!("exported")
        )
    );
}

#[test]
fn a_source_that_was_written_again_with_the_same_rows_is_unchanged() {
    let bench = Bench::new(Workdir::new().with_rows(4));
    let work = &bench.work;
    run(&bench, &RunOptions::default());
    std::thread::sleep(Duration::from_millis(20));
    work.write("rows.csv", work.read("rows.csv"));
    assert!(run(&bench, &RunOptions::default()).nothing_to_do.is_some());
    // Another quoting, the same cells.
    work.write(
        "rows.csv",
        work.read("rows.csv").replace("T-1,", "\"T-1\","),
    );
    assert!(run(&bench, &RunOptions::default()).nothing_to_do.is_some());
    assert_eq!(bench.sent().len(), 1);
    let files = work.files();
    let plans = files.iter().filter(|file| file.ends_with("plan.json"));
    assert_eq!(plans.count(), 1, "no plan is left behind");
    // A column that no prompt uses goes to the output: that is another run, which sends nothing.
    work.write("rows.csv", "id,body,other\nT-1,a,1\n");
    run(&bench, &RunOptions::default());
    work.write("rows.csv", "id,body,other\nT-1,a,2\n");
    run(&bench, &RunOptions::default());
    assert_eq!(bench.output().column("other"), ["2"]);
    assert_eq!(bench.sent(), [4, 1]);
}

#[test]
fn an_output_that_is_gone_is_written_again_and_nothing_is_sent() {
    let bench = Bench::new(Workdir::new().with_rows(4));
    run(&bench, &RunOptions::default());
    fs::remove_file(bench.work.path("out.parquet")).unwrap();
    assert!(run(&bench, &RunOptions::default()).nothing_to_do.is_some());
    assert_eq!(
        bench.notices.of("output_written_again")[0]["change"],
        "gone"
    );
    assert_eq!((bench.output().rows(), bench.sent().len()), (4, 1));
}

#[test]
fn an_output_that_another_run_has_replaced_is_written_again_and_nothing_is_sent() {
    let bench = Bench::new(Workdir::new().with_rows(6));
    let written_again = |options: &RunOptions| {
        let before = bench.notices.of("output_written_again").len();
        let report = run(&bench, options);
        let notices = bench.notices.of("output_written_again");
        (
            report,
            notices.get(before).map(|notice| notice["change"].clone()),
        )
    };
    // Two trials share a place.
    run(&bench, &limited(2));
    run(&bench, &limited(3));
    assert_eq!(rows(&bench, "out.trial.parquet"), 3);
    let submitted = bench.submit_with(&limited(2)).unwrap();
    let nothing = submitted.nothing_to_do.unwrap();
    assert_eq!(
        nothing.output_change,
        Some(OutputChange::Replaced),
        "what stands there is not its own"
    );
    let (report, change) = written_again(&limited(2));
    assert_eq!(change, Some("replaced".into()));
    assert!(report.nothing_to_do.is_some());
    assert_eq!(report.manifest.rows, 2);
    assert_eq!(rows(&bench, "out.trial.parquet"), 2);
    // A better output gives way to a person's word, also where there is nothing to send.
    bench.work.write("out.trial.parquet", "paid for");
    let twice = RunOptions {
        no_reuse: true,
        ..limited(2)
    };
    assert!(why_aside(&run(&bench, &twice)).is_some());
    let (report, change) = written_again(&limited(2));
    assert!(report.nothing_to_do.is_some() && change.is_none());
    assert_eq!(bench.work.read("out.trial.parquet"), "paid for");
    let replacing = RunOptions {
        replace_output: true,
        ..limited(2)
    };
    let (report, change) = written_again(&replacing);
    assert!(report.nothing_to_do.is_some());
    assert_eq!(change, Some(serde_json::Value::Null), "in its own place");
    assert_eq!(rows(&bench, "out.trial.parquet"), 2);
    let (report, change) = written_again(&limited(2));
    assert!(report.nothing_to_do.is_some() && change.is_none());
    // So do a simulated run of all rows and one of some.
    run(&bench, &simulated());
    let two = RunOptions {
        simulate: true,
        ..limited(2)
    };
    run(&bench, &two);
    let (_, change) = written_again(&simulated());
    assert_eq!(change, Some("replaced".into()));
    assert_eq!(rows(&bench, "out.simulated.parquet"), 6);
    // And runs of a source that changes and changes back.
    let first = bench.work.read("rows.csv");
    run(&bench, &RunOptions::default());
    bench.work.write("rows.csv", "id,body\nT-1,another text\n");
    run(&bench, &RunOptions::default());
    bench.work.write("rows.csv", first);
    assert!(run(&bench, &RunOptions::default()).nothing_to_do.is_some());
    assert_eq!((rows(&bench, "out.parquet"), bench.sent().len()), (6, 5));
}

#[test]
fn the_screen_says_why_an_output_is_written_again() {
    let work = Workdir::new().with_rows(4);
    let run = |args: &[&str]| {
        let args = [&["run", "job.toml", "--simulate"], args].concat();
        work.rowmill(&args).expect(0)
    };
    run(&[]);
    run(&["--limit", "2"]);
    let submit = ["submit", "job.toml", "--simulate", "--json"];
    let json = work.rowmill(&submit).expect(0).json();
    assert_eq!(
        json["output"],
        serde_json::Value::Null,
        "what stands there is not its own"
    );
    let json = run(&["--json"])
        .says("another run has replaced its output")
        .json();
    assert_eq!(
        (&json["rows"], &json["nothing_to_do"]["reason"]),
        (&serde_json::json!(4), &serde_json::json!("unchanged"))
    );
    let same = run(&[]).says("nothing to do");
    assert!(!same.stderr.contains("another run"), "{}", same.stderr);
    run(&["--replace"])
        .says("nothing to do")
        .says("in its own place");
    fs::remove_file(work.path("out.simulated.parquet")).unwrap();
    run(&[]).says("its output is gone");
}

#[test]
fn a_second_night_without_rows_does_not_leave_the_output_of_the_night_before() {
    for name in FORMATS {
        let bench = Bench::new(Workdir::new());
        bench.work.write("job.toml", job_to(name));
        for (night, rows) in [("T-1,a\n", 1), ("", 0), ("T-2,b\n", 1), ("", 0)]
            .into_iter()
            .enumerate()
        {
            bench.work.write("rows.csv", format!("id,body\n{}", rows.0));
            let report = run(&bench, &RunOptions::default());
            assert_eq!(report.manifest.rows, rows.1, "{name}, night {night}");
            let written = fs::read(bench.work.path(name)).unwrap();
            let has = |id: &str| written.windows(id.len()).any(|part| part == id.as_bytes());
            assert!(
                rows.1 == 1 || !(has("T-1") || has("T-2")),
                "{name}, night {night}"
            );
        }
    }
}

/// All rows of a batch fail, in a way that no other try fixes.
const ALL_FAIL: &str =
    "[[rows]]\noutcome = \"errored\"\nshare = 1.0\nerror_type = \"invalid_request_error\"\n";

#[test]
fn an_unchanged_job_with_failed_rows_sends_nothing() {
    let bench = Bench::with(Workdir::new().with_rows(4), ALL_FAIL, Duration::ZERO);
    run_partly(&bench, &RunOptions::default());
    let second = run_partly(&bench, &RunOptions::default());
    assert_eq!(second.nothing_to_do.unwrap().failed, 4);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn the_screen_says_that_rows_failed_and_that_a_better_output_stays() {
    let (work, good, bad) = (
        Workdir::new().with_rows(4),
        Sim::start(),
        Sim::with(ALL_FAIL),
    );
    work.rowmill_at(&good.url(), &["run", "job.toml"]).expect(0);
    let failed = work
        .rowmill_at(&bad.url(), &["run", "job.toml", "--no-reuse"])
        .expect(3)
        .says("stays as it is: 4 rows succeeded in it, and 0 in this run")
        .says("--replace");
    assert!(
        failed.stdout.contains("out.incomplete."),
        "{}",
        failed.stdout
    );
    work.rowmill_at(&bad.url(), &["run", "job.toml"])
        .expect(3)
        .says("nothing to do")
        .says("4 rows of it did not succeed");
    work.rowmill_at(&bad.url(), &["run", "job.toml", "--quiet"])
        .expect(3)
        .says("4 rows of it did not succeed");
    work.rowmill_at(&bad.url(), &["export", "job.toml"])
        .expect(3)
        .says("stays as it is");
    work.write("out.parquet", "paid for");
    let done = work
        .rowmill_at(&good.url(), &["run", "job.toml", "--again"])
        .expect(0)
        .says("stays as it is");
    assert!(done.stdout.contains("out.simulated."), "{}", done.stdout);
}

#[test]
fn a_night_without_rows_ends_well_and_replaces_yesterdays_output() {
    let bench = Bench::new(Workdir::new().with_rows(4));
    let work = &bench.work;
    work.write("job.toml", job_to("out.csv"));
    run(&bench, &RunOptions::default());
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
    let report = run(&bench, &RunOptions::default());
    assert_eq!(
        work.read("out.csv"),
        format!("{}\n", yesterday.lines().next().unwrap())
    );
    assert_eq!(
        (report.manifest.rows, report.manifest.state),
        (0, Stage::Exported)
    );
    assert_eq!(bench.sent().len(), 1);
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(0)
        .says("no rows to send: the source has columns and no rows");
}

#[test]
fn no_rows_are_no_error_in_any_call_and_format() {
    for name in FORMATS {
        for (options, only_sends) in [
            (filtered("id = 'none'"), false),
            (filtered("id = 'none'"), true),
            (limited(0), false),
        ] {
            let bench = Bench::new(Workdir::new().with_rows(3));
            bench.work.write("job.toml", job_to(name));
            let report = if only_sends {
                bench.submit_with(&options)
            } else {
                bench.run_with(&options)
            };
            let report = report.unwrap();
            assert_eq!(report.outcome, RunOutcome::Complete);
            assert_eq!(report.manifest.rows, 0);
            assert_eq!(report.manifest.notes, [RunNote::NothingToSend]);
            assert!(
                fs::metadata(bench.work.output(name)).is_ok(),
                "{name}: {:?}",
                bench.work.files()
            );
            assert!(bench.sent().is_empty());
        }
    }
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["run", "job.toml", "--simulate", "--limit", "0"])
        .expect(0)
        .says("no rows to send");
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

#[test]
fn a_failed_run_never_takes_the_place_of_a_better_output() {
    for name in FORMATS {
        let bench = Bench::new(Workdir::new().with_rows(4));
        bench.work.write("job.toml", job_to(name));
        run(&bench, &RunOptions::default());
        let bench = bench.with_other_simulator(ALL_FAIL, Duration::ZERO);
        let paid = fs::read(bench.work.path(name)).unwrap();
        let failed = run_partly(&bench, &again());
        let fewer = WorseOutput::Fewer { ours: 0, theirs: 4 };
        assert_eq!(why_aside(&failed), Some(fewer));
        let output = failed.output_path().unwrap().to_str().unwrap();
        assert!(output.contains("out.incomplete."), "{output}");
        assert_eq!(fs::read(bench.work.path(name)).unwrap(), paid, "{name}");
        // Not even a night later, with other rows.
        bench.work.write("rows.csv", "id,body\nT-9,other\n");
        let failed = run_partly(&bench, &RunOptions::default());
        assert_eq!(why_aside(&failed), Some(fewer));
        assert_eq!(fs::read(bench.work.path(name)).unwrap(), paid, "{name}");
        let replacing = RunOptions {
            replace_output: true,
            ..again()
        };
        run_partly(&bench, &replacing);
        assert_ne!(fs::read(bench.work.path(name)).unwrap(), paid, "{name}");
    }
}

#[test]
fn a_canceled_run_never_takes_the_place_of_a_better_output() {
    let bench = Bench::new(Workdir::new().with_rows(12));
    run(&bench, &RunOptions::default());
    let bench = bench.with_other_simulator("", HOUR);
    bench.submit_with(&again()).unwrap();
    bench.cancel(false).unwrap();
    let collected = bench.collect(Some(HOUR)).unwrap();
    assert!(!collected.all_succeeded());
    assert!(why_aside(&collected).is_some());
    let statuses = || bench.output().column("_rm_status");
    assert!(statuses().iter().all(|status| status == "succeeded"));
    assert!(why_aside(&export(&bench, false)).is_some());
    assert!(statuses().iter().all(|status| status == "succeeded"));
    assert_eq!(why_aside(&export(&bench, true)), None);
    assert!(statuses().iter().any(|status| status == "canceled"));
}

#[test]
fn a_night_with_a_few_failures_replaces_the_output_of_other_rows() {
    let one_fails = ALL_FAIL.replace("share = 1.0", "share = 0.2");
    let bench = Bench::new(Workdir::new().with_rows(60));
    run(&bench, &RunOptions::default());
    // The same rows once more: fewer of them succeeded.
    let bench = bench.with_other_simulator(&one_fails, Duration::ZERO);
    let failed = run_partly(&bench, &again());
    assert!(
        matches!(
            why_aside(&failed),
            Some(WorseOutput::Fewer { theirs: 60, .. })
        ),
        "{:?}",
        why_aside(&failed)
    );
    // What the job calls good enough is.
    bench
        .work
        .write("job.toml", format!("{JOB}min_success = 0.1\n"));
    run_partly(&bench, &again());
    let statuses = bench.output().column("_rm_status");
    assert!(statuses.iter().any(|status| status == "errored"));
    bench.work.write("job.toml", JOB);
    let bench = bench.with_other_simulator("", Duration::ZERO);
    run(&bench, &again());
    let bench = bench.with_other_simulator(&one_fails, Duration::ZERO);
    let other: String = (0..30).map(|n| format!("N-{n},text\n")).collect();
    bench.work.write("rows.csv", format!("id,body\n{other}"));
    run_partly(&bench, &RunOptions::default());
    assert_eq!(rows(&bench, "out.parquet"), 30);
}
