//! Only what is new is sent: answers of earlier outputs, merges, additions, identical requests.

use std::collections::BTreeMap;
use std::path::Path;

use rowmill::engine::{
    ContinueFault, Error, ExportSummary, PlanOptions, PlanOutdatedBy, PruneOptions,
    ReexportOptions, RequestChange, RowClass, RowSelection, RunOptions, RunReport, Target,
    WorseOutput,
};
use rowmill::job::JobFile;
use rowmill::output::OutputMode;

use crate::in_process::Bench;
use crate::support::{Sim, Table, Workdir};

/// A job over `rows.csv` with these lines in its sections `[request]` and `[output]`.
fn job(request: &str, output: &str, path: &str) -> String {
    format!(
        r#"
[job]
name = "night"
[source]
path = "rows.csv"
[key]
columns = ["id"]
[request]
model = "claude-haiku-4-5"
max_tokens = 60
system = "Say what the text is about."
messages = [{{ role = "user", template = "user.j2" }}]
{request}
[output]
path = "{path}"
{output}
"#
    )
}

/// Rows `id,body,seen`, of which the template uses `body` only.
fn rows(rows: &[(&str, &str, &str)]) -> String {
    let mut text = String::from("id,body,seen\n");
    for (id, body, seen) in rows {
        text += &format!("{id},{body},{seen}\n");
    }
    text
}

fn work(request: &str, output: &str) -> Workdir {
    let work = Workdir::in_memory();
    work.write("job.toml", job(request, output, "out.parquet"));
    work.write("user.j2", "{{ body }}");
    work
}

/// A bench over these rows whose job has run once.
fn after_one_run(request: &str, output: &str, first: &[(&str, &str, &str)]) -> Bench {
    let work = work(request, output);
    work.write("rows.csv", rows(first));
    let bench = Bench::new(work);
    assert!(bench.run().expect("a first run").all_succeeded());
    bench
}

/// The output by key: its status and what was seen.
fn by_key(table: &Table, column: &str) -> Vec<(String, String)> {
    table
        .column("id")
        .into_iter()
        .zip(table.column(column))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    pairs.iter().map(owned).collect()
}

fn reused(report: &RunReport) -> u64 {
    report.summary.as_ref().expect("an output").reused
}

fn plan(bench: &Bench) -> rowmill::engine::PlanReport {
    let job = JobFile::read(&bench.work.path("job.toml")).expect("a job");
    bench
        .engine()
        .plan(&job, &PlanOptions::default())
        .expect("a plan")
        .plan
}

const FOUR: [(&str, &str, &str); 4] = [
    ("a", "one", "1"),
    ("b", "two", "1"),
    ("c", "three", "1"),
    ("d", "four", "1"),
];

#[test]
fn sends_only_new_and_changed_rows_and_takes_over_the_others() {
    for mode in ["overwrite", "merge"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR);
        let before = bench.output();
        let now = [
            ("b", "two", "2"),
            ("a", "one", "2"),
            ("c", "another three", "2"),
            ("e", "five", "2"),
        ];
        bench.work.write("rows.csv", rows(&now));
        let found = plan(&bench);
        let classes = &found
            .incremental
            .as_ref()
            .expect("an earlier output")
            .classes;
        assert_eq!(
            [RowClass::New, RowClass::Changed, RowClass::Unchanged].map(|c| classes.count(c)),
            [1, 1, 2],
            "{mode}"
        );
        assert_eq!(found.requests, 2);
        let report = bench.run().unwrap();
        assert_eq!(bench.sent(), [4, 2], "{mode}");
        assert_eq!(reused(&report), 2);
        let mut seen = vec![("b", "2"), ("a", "2"), ("c", "2"), ("e", "2")];
        if mode == "merge" {
            seen.push(("d", "1"));
        }
        assert_eq!(by_key(&bench.output(), "seen"), pairs(&seen), "{mode}");
        // An answer that is taken over is the same in every column.
        let line = |table: &Table, key: &str| -> BTreeMap<String, String> {
            let at = table
                .column("id")
                .iter()
                .position(|id| id == key)
                .expect("the row");
            let names = table
                .names()
                .into_iter()
                .filter(|name| name.starts_with("_rm_"));
            names
                .map(|name| (name.clone(), table.column(&name)[at].clone()))
                .collect()
        };
        for key in ["a", "b"] {
            assert_eq!(line(&before, key), line(&bench.output(), key), "{mode}");
        }
        assert_eq!(
            bench.output().column("_rm_status"),
            vec!["succeeded"; seen.len()]
        );
    }
}

#[test]
fn continues_the_output_with_a_source_that_is_again_what_it_was() {
    for mode in ["merge", "append"] {
        for has_same_date in [true, false] {
            let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR[..2]);
            let path = bench.work.path("rows.csv");
            let written = std::fs::metadata(&path).unwrap().modified().unwrap();
            let date = |after: u64| {
                let file = std::fs::File::options().append(true).open(&path).unwrap();
                let after = std::time::Duration::from_secs(after);
                file.set_modified(written + after).unwrap();
            };
            let second = [("a", "one", "2"), ("e", "five", "2")];
            bench.work.write("rows.csv", rows(&second));
            date(1);
            bench.run().unwrap();
            bench.work.write("rows.csv", rows(&FOUR[..2]));
            date(if has_same_date { 0 } else { 2 });
            let third = bench.run().unwrap();
            assert_eq!(third.summary.expect("an output").set_aside, None, "{mode}");
            assert_eq!(
                by_key(&bench.output(), "seen"),
                pairs(&[("a", "1"), ("b", "1"), ("e", "2")]),
                "{mode}, {has_same_date}"
            );
            assert_eq!(bench.sent(), [2, 1], "{mode}, {has_same_date}");
            // What stands there is the source's as it is: there is nothing to do.
            let fourth = bench.run().unwrap();
            assert_eq!(fourth.run, third.run, "{mode}, {has_same_date}");
        }
    }
}

#[test]
fn drops_rows_that_are_gone_where_the_job_says_so() {
    let output = "mode = \"merge\"\nremoved_rows = \"drop\"";
    let bench = after_one_run("", output, &FOUR);
    bench.work.write("rows.csv", rows(&FOUR[1..]));
    let found = plan(&bench).incremental.expect("an earlier output");
    assert_eq!((found.removed, found.keeps_removed), (1, false));
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4]);
    assert_eq!(bench.output().column("id"), ["b", "c", "d"]);
}

#[test]
fn adds_rows_and_leaves_the_others_as_they_are() {
    let bench = after_one_run("", "mode = \"append\"", &FOUR);
    let now = [("a", "changed", "2"), ("e", "five", "2"), ("f", "six", "2")];
    bench.work.write("rows.csv", rows(&now));
    let classes = plan(&bench).incremental.expect("an earlier output").classes;
    assert_eq!((classes.skipped, classes.count(RowClass::New)), (1, 2));
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4, 2]);
    assert_eq!(bench.output().column("id"), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(
        bench.output().column("seen"),
        ["1", "1", "1", "1", "2", "2"]
    );
    // The next night brings nothing new: nothing is sent, and the output is the same.
    bench.work.write("rows.csv", rows(&now[..1]));
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4, 2]);
    assert_eq!(bench.output().rows(), 6);
}

#[test]
fn says_what_changed() {
    let bench = after_one_run("", "mode = \"merge\"", &FOUR);
    bench.work.write("user.j2", "About: {{ body }}");
    let found = plan(&bench).incremental.expect("an earlier output");
    assert_eq!(found.classes.count(RowClass::Changed), 4);
    let file = RequestChange::File {
        path: "user.j2".into(),
    };
    assert_eq!(found.changes, [file]);
    bench.work.write("user.j2", "{{ body }}");
    bench.work.write(
        "job.toml",
        job("stop_sequences = [\"END\"]", "", "out.parquet"),
    );
    let found = plan(&bench).incremental.expect("an earlier output");
    assert_eq!(found.changes, [RequestChange::Settings]);
}

#[test]
fn sends_failed_rows_of_a_merge_again() {
    let faults = "[[rows]]\noutcome = \"refused\"\nshare = 1.0";
    let work = work("", "mode = \"merge\"");
    work.write("rows.csv", rows(&FOUR));
    let bench = Bench::with(work, faults, std::time::Duration::ZERO);
    let first = bench.run().unwrap();
    assert!(!first.all_succeeded());
    let bench = bench.with_other_simulator("", std::time::Duration::ZERO);
    let classes = plan(&bench).incremental.expect("an earlier output").classes;
    assert_eq!(
        (
            classes.count(RowClass::Failed),
            classes.count(RowClass::Unchanged)
        ),
        (4, 0)
    );
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4]);
    assert_eq!(bench.output().column("_rm_status"), vec!["succeeded"; 4]);
}

#[test]
fn a_trial_is_not_paid_again_by_the_full_run() {
    let work = work("", "");
    work.write("rows.csv", rows(&FOUR));
    let bench = Bench::new(work);
    let trial = RunOptions {
        rows: RowSelection {
            limit: Some(3),
            filter: None,
        },
        ..RunOptions::default()
    };
    bench.run_with(&trial).unwrap();
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [3, 1]);
    assert_eq!(bench.output().rows(), 4);
    // And the other way round: a trial of answered rows costs nothing.
    let trial = RunOptions {
        rows: RowSelection {
            limit: None,
            filter: Some("id = 'd'".to_owned()),
        },
        ..RunOptions::default()
    };
    bench.run_with(&trial).unwrap();
    assert_eq!(bench.sent(), [3, 1]);
}

#[test]
fn takes_answers_of_outputs_that_the_job_names() {
    for format in ["parquet", "csv", "jsonl", "arrow", "tsv"] {
        let work = work("", "");
        work.write("rows.csv", rows(&FOUR));
        let path = format!("old/first.{format}");
        work.write("job.toml", job("", "", &path));
        let bench = Bench::new(work);
        bench.run().unwrap();
        let answers = bench.answers();
        let now = [&FOUR[..], &[("e", "five", "2")]].concat();
        bench.work.write("rows.csv", rows(&now));
        let reuse = "reuse = [\"old/*\", \"none/*.parquet\"]";
        bench.work.write("job.toml", job(reuse, "", "out.parquet"));
        assert!(bench.run().unwrap().all_succeeded());
        assert_eq!(bench.sent(), [4, 1], "{format}");
        let output = bench.output();
        let (ids, texts) = (output.column("_rm_custom_id"), output.column("_rm_text"));
        for (id, text) in ids.iter().zip(&texts) {
            assert_eq!(bench.answers()[id], *text, "{format}");
        }
        assert!(ids[..4].iter().all(|id| answers.contains_key(id)));
        let costs = output.column("_rm_cost_usd");
        assert!(
            costs.iter().all(|cost| cost.parse::<f64>().unwrap() > 0.0),
            "{costs:?}"
        );
    }
}

#[test]
fn pays_identical_requests_once() {
    let twice = [
        ("a", "same", "1"),
        ("b", "other", "2"),
        ("c", "same", "3"),
        ("d", "same", "4"),
    ];
    let work = work("dedupe = true", "");
    work.write("rows.csv", rows(&twice));
    let bench = Bench::new(work);
    let report = bench.run().unwrap();
    assert!(report.all_succeeded());
    assert_eq!(bench.sent(), [2]);
    let output = bench.output();
    let texts = output.column("_rm_text");
    assert_eq!((&texts[2], &texts[3]), (&texts[0], &texts[0]));
    assert_eq!(output.column("_rm_status"), vec!["succeeded"; 4]);
    let costs = output.column("_rm_cost_usd");
    assert!(costs[2].parse::<f64>().unwrap() == 0.0 && costs[0].parse::<f64>().unwrap() > 0.0);
    let bill = report
        .summary
        .unwrap()
        .totals
        .bill
        .total()
        .total()
        .to_string();
    let sum: f64 = costs.iter().map(|cost| cost.parse::<f64>().unwrap()).sum();
    assert!((sum - bill.trim_start_matches('$').parse::<f64>().unwrap()).abs() < 1e-9);
    // The next run has nothing to send, whatever the order of the rows.
    let mut back = twice;
    back.reverse();
    bench.work.write("rows.csv", rows(&back));
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [2]);
    assert_eq!(
        bench.output().column("_rm_text"),
        [0, 0, 1, 0].map(|at: usize| texts[at].clone())
    );
}

#[test]
fn takes_answers_in_any_order() {
    let mut many: Vec<(String, String)> = (0..2_000)
        .map(|n| (format!("k{n}"), format!("text {n}")))
        .collect();
    let table = |rows: &[(String, String)]| {
        let line = |(id, body): &(String, String)| format!("{id},{body},x\n");
        format!(
            "id,body,seen\n{}",
            rows.iter().map(line).collect::<String>()
        )
    };
    let work = work("", "mode = \"merge\"");
    work.write("rows.csv", table(&many));
    let bench = Bench::new(work);
    bench.run().unwrap();
    fastrand::Rng::with_seed(7).shuffle(&mut many);
    bench.work.write("rows.csv", table(&many));
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent().iter().sum::<u64>(), 2_000);
    let output = bench.output();
    let (ids, custom_ids) = (output.column("id"), output.column("_rm_custom_id"));
    assert_eq!(
        ids,
        many.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>()
    );
    let answers = bench.answers();
    for ((id, custom_id), text) in ids.iter().zip(&custom_ids).zip(output.column("_rm_text")) {
        assert!(custom_id.ends_with(&format!("-{id}")));
        assert_eq!(answers[custom_id], text);
    }
}

#[test]
fn sends_everything_again_only_when_asked() {
    let bench = after_one_run("", "mode = \"merge\"", &FOUR);
    let again = RunOptions {
        no_reuse: true,
        ..RunOptions::default()
    };
    assert!(bench.run_with(&again).unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4, 4]);
}

#[test]
fn never_takes_a_simulated_answer_for_a_real_one() {
    let bench = after_one_run("", "mode = \"merge\"", &FOUR);
    let simulate = RunOptions {
        simulate: true,
        ..RunOptions::default()
    };
    // The simulator of the bench says that it is one, so its answers and those of the built-in one
    // are both simulated; they are kept in different files all the same.
    bench.run_with(&simulate).unwrap();
    assert_eq!(bench.sent(), [4]);
    assert_eq!(bench.work.parquet("out.simulated.parquet").rows(), 4);
}

#[test]
fn refuses_to_continue_what_is_not_its_output() {
    let keyed = |key: &str| job("", "mode = \"merge\"", "out.parquet").replace("\"id\"", key);
    let fault = |bench: &Bench| match bench.run() {
        Err(Error::CannotContinue(found)) => {
            assert_eq!(found.mode, OutputMode::Merge);
            found.why
        }
        other => panic!("{other:?}"),
    };
    let bench = after_one_run("", "mode = \"merge\"", &FOUR);
    let before = std::fs::read(bench.work.path("out.parquet")).unwrap();
    bench.work.write("job.toml", keyed("\"id\", \"body\""));
    assert!(matches!(fault(&bench), ContinueFault::OtherKey { .. }));
    let less = "mode = \"merge\"\ncolumns = [\"id\"]";
    bench.work.write("job.toml", job("", less, "out.parquet"));
    let columns = vec!["body".to_owned(), "seen".to_owned()];
    assert_eq!(fault(&bench), ContinueFault::MoreColumns { columns });
    bench.work.write("job.toml", keyed("\"id\""));
    bench.work.write("rows.csv", rows(&FOUR[1..]));
    bench.work.write("out.parquet", "not a table");
    assert!(matches!(fault(&bench), ContinueFault::NotReadable(_)));
    assert_eq!(bench.sent(), [4]);
    bench.work.write("out.parquet", before);
    assert!(bench.run().unwrap().all_succeeded());
}

#[test]
fn keeps_rows_when_the_source_gets_a_column() {
    let bench = after_one_run("", "mode = \"merge\"", &FOUR);
    let more = "id,body,seen,more\na,one,2,x\n";
    bench.work.write("rows.csv", more);
    assert!(bench.run().unwrap().all_succeeded());
    let output = bench.output();
    assert_eq!(output.column("id"), ["a", "b", "c", "d"]);
    assert_eq!(output.column("more"), ["x", "", "", ""]);
    assert_eq!(bench.sent(), [4]);
}

#[test]
fn does_not_lose_rows_that_another_program_adds_meanwhile() {
    let bench = after_one_run("", "mode = \"append\"", &FOUR);
    bench.work.write("rows.csv", rows(&[("e", "five", "2")]));
    bench.submit().unwrap();
    let other = std::fs::read(bench.work.path("out.parquet")).unwrap();
    let longer = [&other[..other.len() - 4], b"PAR1"].concat();
    std::fs::write(bench.work.path("out.parquet"), &longer[..longer.len() - 1]).unwrap();
    let report = bench
        .collect(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let aside = report.summary.unwrap().set_aside.expect("it is set aside");
    assert_eq!(aside.why, rowmill::engine::WorseOutput::Changed);
    assert_eq!(bench.work.parquet("out.incomplete.parquet").rows(), 5);
}

#[test]
fn resumes_a_merge_after_a_crash_at_any_act() {
    for n in 1.. {
        let bench = after_one_run("", "mode = \"merge\"", &FOUR);
        bench
            .work
            .write("rows.csv", rows(&[("a", "one", "2"), ("e", "five", "2")]));
        bench.clock.advance(std::time::Duration::from_secs(1));
        let job = bench.job();
        let run = bench.crash_at(n, |engine| engine.run(&job, &RunOptions::default()));
        if run.is_ok() {
            assert!(n > 5);
            break;
        }
        assert!(bench.run().unwrap().all_succeeded(), "crash at {n}");
        assert!(
            bench.accepted().values().all(|times| *times == 1),
            "crash at {n}"
        );
        assert_eq!(
            bench.output().column("id"),
            ["a", "e", "b", "c", "d"],
            "crash at {n}"
        );
        // The output is in its place, also if the process ended before it recorded that.
        let beside = bench.work.path("out.incomplete.parquet");
        assert!(!beside.exists(), "crash at {n}");
    }
}

#[test]
fn reads_typed_answers_again() {
    let schema = r#"{"type":"object","properties":{"topic":{"type":"string"},"urgent":{"type":"boolean"}},
        "required":["topic","urgent"],"additionalProperties":false}"#;
    let work = work("schema = \"s.json\"", "mode = \"merge\"");
    work.write("s.json", schema).write("rows.csv", rows(&FOUR));
    let bench = Bench::new(work);
    bench.run().unwrap();
    let before = bench.output().column("topic");
    bench.work.write("rows.csv", rows(&[FOUR[2], FOUR[0]]));
    assert!(bench.run().unwrap().all_succeeded());
    let topics = bench.output().column("topic");
    assert_eq!(topics, [2, 0, 1, 3].map(|at: usize| before[at].clone()));
}

#[test]
fn finishes_the_run_of_last_night_before_it_plans_tonight() {
    let work = work("", "mode = \"merge\"");
    work.write("rows.csv", rows(&FOUR));
    let hour = std::time::Duration::from_secs(3_600);
    let bench = Bench::with(work, "", hour);
    bench.submit().unwrap();
    let tonight = [FOUR[1], ("c", "another three", "2"), ("e", "five", "2")];
    bench.work.write("rows.csv", rows(&tonight));
    // A command that does not wait leaves what is in flight, and sends nothing beside it.
    let submitted = bench.submit().unwrap();
    assert_eq!(submitted.outcome, rowmill::engine::RunOutcome::Unfinished);
    assert_eq!(bench.sent(), [4]);
    let report = bench.run().unwrap();
    assert!(report.all_succeeded());
    assert_eq!(bench.notices.of("finished_first").len(), 2);
    assert_eq!(bench.sent(), [4, 2]);
    assert_eq!(bench.output().column("id"), ["b", "c", "e", "a", "d"]);
}

#[test]
fn an_older_source_that_comes_back_is_merged_and_loses_no_row() {
    for mode in ["merge", "append"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR[..2]);
        let first = std::fs::read(bench.work.path("rows.csv")).unwrap();
        let time = std::fs::metadata(bench.work.path("rows.csv"))
            .unwrap()
            .modified()
            .unwrap();
        bench.work.write("rows.csv", rows(&FOUR[1..3]));
        assert!(bench.run().unwrap().all_succeeded());
        // The first table again, with the very time it had.
        std::fs::write(bench.work.path("rows.csv"), first).unwrap();
        let file = std::fs::File::options()
            .append(true)
            .open(bench.work.path("rows.csv"));
        file.unwrap().set_modified(time).unwrap();
        assert!(bench.run().unwrap().all_succeeded());
        let mut ids = bench.output().column("id");
        ids.sort();
        assert_eq!(ids, ["a", "b", "c"], "{mode}");
        assert_eq!(bench.sent(), [2, 1], "{mode}");
    }
}

#[test]
fn a_row_that_changes_back_has_the_answer_to_what_it_says() {
    for mode in ["overwrite", "merge"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &[("a", "alpha", "1")]);
        let hash = bench.output().column("_rm_request_hash");
        for body in ["beta", "alpha"] {
            bench.work.write("rows.csv", rows(&[("a", body, "1")]));
            bench.submit().unwrap();
            bench
                .collect(Some(std::time::Duration::from_secs(60)))
                .unwrap();
            assert_eq!(bench.output().column("body"), [body], "{mode}");
        }
        assert_eq!(bench.output().column("_rm_request_hash"), hash, "{mode}");
    }
}

#[test]
fn a_later_export_of_an_earlier_run_takes_no_row_away() {
    let bench = after_one_run("", "mode = \"append\"", &FOUR[..2]);
    let first = bench.newest_run();
    bench.work.write("rows.csv", rows(&FOUR));
    assert!(bench.run().unwrap().all_succeeded());
    let options = rowmill::engine::ReexportOptions::default();
    let report = bench.engine().export(&first, &options).unwrap();
    assert!(report.summary.unwrap().set_aside.is_some());
    assert_eq!(bench.output().rows(), 4);
}

#[test]
fn an_export_by_hand_keeps_rows_that_another_program_has_added() {
    let bench = after_one_run("", "mode = \"append\"", &FOUR[..2]);
    let longer = after_one_run("", "mode = \"append\"", &FOUR);
    let output = bench.work.path("out.parquet");
    std::fs::copy(longer.work.path("out.parquet"), &output).unwrap();
    let run = bench.newest_run();
    let aside = export(&bench, &run, false)
        .set_aside
        .expect("it is set aside");
    assert_eq!(aside.why, WorseOutput::Changed);
    assert_eq!(bench.output().rows(), 4);
    assert!(export(&bench, &run, true).set_aside.is_none());
    assert_eq!(bench.output().rows(), 2);
}

#[test]
fn answers_that_are_in_no_output_are_paid_once() {
    // All rows but one fail the threshold: the output is held back, and the source changes.
    let work = work("", "mode = \"merge\"\nmin_success = 1.0");
    work.write("rows.csv", rows(&FOUR));
    let faults = "[[rows]]\noutcome = \"refused\"\nshare = 1.0";
    let bench = Bench::with(work, faults, std::time::Duration::ZERO);
    assert!(bench.run().unwrap().output_path().is_none());
    let bench = bench.with_other_simulator("", std::time::Duration::ZERO);
    bench.work.write(
        "rows.csv",
        rows(&[&FOUR[..], &[("e", "five", "2")]].concat()),
    );
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.output().rows(), 5);
}

#[test]
fn two_trials_are_both_reused_by_the_full_run() {
    let work = work("", "");
    work.write("rows.csv", rows(&FOUR));
    let bench = Bench::new(work);
    for filter in ["id < 'c'", "id = 'd'"] {
        let trial = RunOptions {
            rows: RowSelection {
                limit: None,
                filter: Some(filter.to_owned()),
            },
            ..RunOptions::default()
        };
        bench.run_with(&trial).unwrap();
    }
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [2, 1, 1]);
}

#[test]
fn a_run_that_the_budget_holds_does_not_stand_in_the_way_of_a_changed_source() {
    for (mode, on_limit) in [
        ("merge", "stop"),
        ("merge", "partial"),
        ("overwrite", "partial"),
    ] {
        let work = work("", &format!("mode = \"{mode}\""));
        let budget = |usd: &str| {
            let job = job("", &format!("mode = \"{mode}\""), "out.parquet");
            format!(
                "{job}\n[budget]\nrun_usd = {usd}\non_limit = \"{on_limit}\"\n[batch]\nmax_requests = 2\n"
            )
        };
        work.write("job.toml", budget("0.0002"));
        work.write("rows.csv", rows(&FOUR));
        let bench = Bench::new(work);
        let first = bench.run();
        assert!(
            first
                .as_ref()
                .map_or(true, |report| !report.all_succeeded()),
            "{mode} {on_limit}: {first:?}"
        );
        let sent: u64 = bench.sent().iter().sum();
        bench.work.write("job.toml", budget("1.00"));
        bench.work.write(
            "rows.csv",
            rows(&[&FOUR[..], &[("e", "five", "2")]].concat()),
        );
        assert!(bench.run().unwrap().all_succeeded(), "{mode} {on_limit}");
        assert_eq!(bench.output().rows(), 5);
        assert_eq!(
            bench.sent().iter().sum::<u64>(),
            5,
            "{mode} {on_limit} after {sent}"
        );
    }
}

#[test]
fn an_output_without_answers_is_no_source_of_them() {
    let bench = after_one_run("", "", &FOUR);
    let table = bench.output().batch;
    let keep: Vec<usize> = (0..table.num_columns())
        .filter(|at| table.schema().field(*at).name() != "_rm_text")
        .collect();
    let less = table.project(&keep).unwrap();
    let file = std::fs::File::create(bench.work.path("out.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, less.schema(), None).unwrap();
    writer.write(&less).unwrap();
    writer.close().unwrap();
    bench.work.write(
        "rows.csv",
        rows(&[&FOUR[..], &[("e", "five", "2")]].concat()),
    );
    assert_eq!(plan(&bench).requests, 5);
}

#[test]
fn an_output_that_is_gone_is_written_again_before_its_answers_are_paid_again() {
    for mode in ["overwrite", "merge", "append"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR);
        // A second night, so that a merge and an addition have a row that the source has not.
        let second = [FOUR[1], FOUR[2], FOUR[3], ("e", "five", "1")];
        bench.work.write("rows.csv", rows(&second));
        bench.run().unwrap();
        let third = [FOUR[2], FOUR[3], ("e", "five", "1"), ("f", "six", "1")];
        bench.work.write("rows.csv", rows(&third));
        std::fs::remove_file(bench.work.path("out.parquet")).unwrap();
        let found = plan(&bench);
        assert_eq!(found.requests, 4, "{mode}: a dry run writes nothing");
        assert!(!bench.work.path("out.parquet").exists());
        let report = bench.run().unwrap();
        assert_eq!(bench.sent(), [4, 1, 1], "{mode}");
        assert!(report.all_succeeded());
        let mut ids = bench.output().column("id");
        ids.sort();
        let expected = match mode {
            "overwrite" => ["c", "d", "e", "f"].as_slice(),
            _ => &["a", "b", "c", "d", "e", "f"],
        };
        assert_eq!(ids, expected, "{mode}");
    }
}

#[test]
fn a_kept_plan_is_refused_once_another_run_has_sent_its_rows() {
    let bench = work("", "");
    bench.write("rows.csv", rows(&FOUR));
    let bench = Bench::new(bench);
    let planned = bench.plan_at("planned");
    let later = bench.run().unwrap().folder;
    let refused = bench.run_at(&planned);
    let Err(Error::PlanOutdated { run, since }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(run, planned);
    let sent = PlanOutdatedBy::RowsSent {
        run: later,
        rows: 4,
    };
    assert_eq!(since, sent);
    assert_eq!(bench.sent(), [4]);
    // It is the user who decides to pay for all rows again.
    let all = RunOptions {
        no_reuse: true,
        ..RunOptions::default()
    };
    let paid = bench.engine().run(&Target::run(&planned), &all).unwrap();
    assert!(paid.all_succeeded());
    assert_eq!(bench.sent(), [4, 4]);
    // A plan that knows the answers is sent.
    bench
        .work
        .write("rows.csv", rows(&[FOUR[0], ("e", "five", "1")]));
    let planned = bench.plan_at("again");
    assert!(bench.run_at(&planned).unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4, 4, 1]);
}

#[test]
fn refused_rows_that_count_as_answered_leave_nothing_to_do() {
    let faults = "[[rows]]\noutcome = \"refused\"\nshare = 1.0";
    let statuses = "reuse_status = [\"succeeded\", \"refused\"]";
    let work = work(statuses, "mode = \"merge\"");
    work.write("rows.csv", rows(&FOUR));
    let bench = Bench::with(work, faults, std::time::Duration::ZERO);
    let first = bench.run().unwrap();
    assert!(!first.all_succeeded());
    let second = bench.run().unwrap();
    let nothing = second.nothing_to_do.as_ref().expect("nothing to do");
    assert_eq!(nothing.failed, 0);
    assert_eq!(second.folder, first.folder);
    assert_eq!(bench.sent(), [4]);
}

#[test]
fn a_column_of_another_type_is_named_with_the_way_out() {
    let job = job("", "mode = \"merge\"", "out.parquet").replace("rows.csv", "rows.jsonl");
    let sim = Sim::start();
    for (first, was, second, now) in [
        ("1", "int64", "\"today\"", "string"),
        ("\"today\"", "string", "2", "int64"),
    ] {
        let work = Workdir::new();
        work.write("job.toml", &job).write("user.j2", "{{ body }}");
        let night = |seen: &str| {
            let row = format!("{{\"id\": \"a\", \"body\": \"one\", \"seen\": {seen}}}\n");
            work.write("rows.jsonl", row);
        };
        let run = |code: i32| {
            work.rowmill_at(&sim.url(), &["run", "job.toml"])
                .expect(code)
        };
        let set_type = format!("columns.seen = \"{was}\"");
        night(first);
        run(0);
        night(second);
        run(2)
            .says(&format!(
                "its column `seen` has the type {was}, in the job's output it has {now}"
            ))
            .says(&format!("set `{set_type}` under `[source]`"));
        if was == "string" {
            // A text column holds every value, so the declared type is the way out.
            work.write(
                "job.toml",
                job.replace("[key]", &format!("{set_type}\n[key]")),
            );
            run(0);
            assert_eq!(work.parquet("out.parquet").column("seen"), ["2"]);
        }
    }
}

#[test]
fn a_kept_plan_is_refused_once_the_output_it_continues_is_another() {
    for mode in ["merge", "append"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR[..2]);
        bench.work.write("rows.csv", rows(&FOUR[1..]));
        let planned = bench.plan_at("planned");
        add_row(&bench, "z");
        let refused = bench.run_at(&planned);
        let Err(Error::PlanOutdated { since, .. }) = refused else {
            panic!("{mode}: {refused:?}");
        };
        let output = bench.work.path("out.parquet");
        assert_eq!(since, PlanOutdatedBy::OutputChanged { output }, "{mode}");
        assert_eq!(bench.sent(), [2], "{mode}");
        // A plan of now knows that row.
        let planned = bench.plan_at("again");
        assert!(bench.run_at(&planned).unwrap().all_succeeded());
        assert_eq!(bench.sent(), [2, 2], "{mode}");
        assert!(bench.output().column("id").contains(&"z".to_owned()));
    }
}

#[test]
fn a_kept_plan_is_sent_although_an_earlier_run_was_exported_again() {
    for mode in ["overwrite", "merge"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR[..2]);
        let first = bench.newest_run();
        bench.work.write("rows.csv", rows(&FOUR[..3]));
        let planned = bench.plan_at("planned");
        bench.clock.advance(std::time::Duration::from_secs(1));
        export(&bench, &first, false);
        assert!(bench.run_at(&planned).unwrap().all_succeeded(), "{mode}");
        assert_eq!(bench.sent(), [2, 1], "{mode}");
    }
}

#[test]
fn a_plan_that_is_kept_writes_an_output_that_is_gone_again() {
    let bench = after_one_run("", "mode = \"append\"", &FOUR[..3]);
    std::fs::remove_file(bench.work.path("out.parquet")).unwrap();
    bench.work.write("rows.csv", rows(&FOUR[2..]));
    let planned = bench.plan_at("planned");
    assert_eq!(
        bench.notices.of("output_gone")[0]["answers"],
        "written_again"
    );
    assert!(bench.run_at(&planned).unwrap().all_succeeded());
    assert_eq!(bench.sent(), [3, 1]);
    assert_eq!(bench.output().column("id"), ["a", "b", "c", "d"]);
}

#[test]
fn a_warning_says_that_the_answers_of_an_output_that_is_gone_were_removed() {
    let bench = after_one_run("", "", &FOUR);
    let first = bench.newest_run();
    let all = PruneOptions {
        targets: vec![first.clone()],
        keep_last: 0,
        ..PruneOptions::default()
    };
    bench.engine().prune(&all).unwrap();
    assert!(!first.exists());
    std::fs::remove_file(bench.work.path("out.parquet")).unwrap();
    assert_eq!(plan(&bench).requests, 4);
    assert!(bench.run().unwrap().all_succeeded());
    assert_eq!(bench.sent(), [4, 4]);
    let gone = bench.notices.of("output_gone");
    assert_eq!(gone.len(), 2, "the plan and the run: {gone:?}");
    for gone in gone {
        assert_eq!(gone["answers"], "removed");
        assert_eq!(gone["run"], first.to_str().unwrap());
    }
}

#[test]
fn an_export_by_command_replaces_no_rows_that_another_program_added() {
    for mode in ["merge", "append"] {
        let bench = after_one_run("", &format!("mode = \"{mode}\""), &FOUR);
        let run = bench.newest_run();
        // Nobody has changed the output: it is written again in its place, or where it was.
        for is_gone in [false, true] {
            if is_gone {
                std::fs::remove_file(bench.work.path("out.parquet")).unwrap();
            }
            let done = export(&bench, &run, false);
            assert_eq!(done.set_aside, None, "{mode}");
            assert_eq!(bench.output().rows(), 4);
        }
        add_row(&bench, "z");
        let aside = export(&bench, &run, false).set_aside.expect("it is aside");
        assert_eq!(aside.why, WorseOutput::Changed, "{mode}");
        assert_eq!(bench.output().column("id"), ["a", "b", "c", "d", "z"]);
        assert_eq!(bench.work.parquet("out.incomplete.parquet").rows(), 4);
        let replaced = export(&bench, &run, true);
        assert_eq!(replaced.set_aside, None, "{mode}");
        assert_eq!(bench.output().rows(), 4);
    }
}

fn export(bench: &Bench, run: &Path, replace_output: bool) -> ExportSummary {
    let options = ReexportOptions {
        replace_output,
        ..ReexportOptions::default()
    };
    let report = bench.engine().export(run, &options).expect("an export");
    report.summary.expect("an output")
}

/// Adds a row to the output as another program would that keeps its metadata.
fn add_row(bench: &Bench, id: &str) {
    let table = bench.output().batch;
    let mut columns = table.slice(0, 1).columns().to_vec();
    for (name, value) in [("id", id), ("_rm_custom_id", &format!("abcdef-{id}"))] {
        let at = table.schema().index_of(name).unwrap();
        let value = arrow::array::StringArray::from(vec![value]);
        columns[at] = arrow::compute::cast(&value, table.column(at).data_type()).unwrap();
    }
    let row = arrow::array::RecordBatch::try_new(table.schema(), columns).unwrap();
    let longer = arrow::compute::concat_batches(&table.schema(), [&table, &row]).unwrap();
    let file = std::fs::File::create(bench.work.path("out.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, longer.schema(), None).unwrap();
    writer.write(&longer).unwrap();
    writer.close().unwrap();
}
