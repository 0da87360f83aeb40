//! What a scheduler sees of each command: exit codes, the line on stdout with `-q`, what `--json`
//! says, and what happens where there is nothing to do.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rowmill::engine::{Error, NotStarted, RetryOptions, RunOptions, RunOutcome};
use serde_json::json;

use crate::in_process::Bench;
use crate::support::{Finished, JOB, Sim, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);

/// Folders of runs in the state directory.
fn runs(work: &Workdir) -> usize {
    let plans = work.files();
    plans
        .iter()
        .filter(|file| file.ends_with("plan.json"))
        .count()
}

#[test]
fn submit_ends_with_0_once_everything_is_accepted_and_with_5_while_more_waits() {
    let (work, sim) = (Workdir::new().with_rows(6), Sim::new("", HOUR));
    let limits =
        |queued| format!("{JOB}\n[batch]\nmax_requests = 3\nmax_queued_requests = {queued}\n");
    work.write("job.toml", limits(3));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5)
        .says("1 batch still to be sent");
    let ids = || fs::read_dir(work.path(".rowmill/test")).unwrap();
    let run = ids().find_map(|entry| {
        let entry = entry.unwrap();
        entry.path().is_dir().then(|| entry.path())
    });
    let run = run.unwrap().display().to_string();
    // The batches ahead end, and the same command sends the rest.
    sim.set_ahead(2 * 3_600);
    sim.settle();
    work.rowmill_at(&sim.url(), &["collect", &run]).expect(5);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0)
        .says("`rowmill collect");
    assert_eq!(sim.ledger().batches.len(), 2);
}

#[test]
fn submit_of_a_changed_job_ends_with_5_while_its_run_from_before_is_in_flight() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::new("", HOUR));
    let submit = || work.rowmill_at(&sim.url(), &["submit", "job.toml"]);
    submit().expect(0);
    work.write("job.toml", JOB.replace("Say what", "Tell what"));
    submit().expect(5).says("run the same command again");
    assert_eq!(sim.ledger().batches.len(), 1);
    sim.set_ahead(2 * 3_600);
    sim.settle();
    submit().expect(0);
    assert_eq!(sim.ledger().batches.len(), 2);
}

#[test]
fn collect_tells_nothing_sent_from_not_ended_and_from_done() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::new("", HOUR));
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["collect", "job.toml"]).expect(10);
    rowmill(&["plan", "job.toml", "--out", "monday"]).expect(0);
    for args in [
        &["collect", "monday"][..],
        &["collect", "monday", "--wait", "1h"],
    ] {
        rowmill(args)
            .expect(8)
            .says("nothing of the run has been sent yet");
    }
    rowmill(&["submit", "monday", "--new"])
        .expect(2)
        .says("--new starts a run of a job, and `monday` is a run");
    rowmill(&["submit", "monday"]).expect(0);
    rowmill(&["collect", "monday"]).expect(5);
    sim.set_ahead(2 * 3_600);
    sim.settle();
    rowmill(&["collect", "monday"]).expect(0);
    rowmill(&["collect", "monday"]).expect(0);
    assert_eq!(sim.ledger().batches.len(), 1);
}

#[test]
fn a_plan_that_another_run_has_overtaken_is_refused_before_anything_is_sent() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["plan", "job.toml", "--out", "monday"]).expect(0);
    rowmill(&["run", "job.toml"]).expect(0);
    for command in ["run", "submit"] {
        rowmill(&[command, "monday"])
            .expect(2)
            .says("`monday` was planned before the run `")
            .says("` sent 3 rows of the job")
            .says("rows that both have would be paid twice")
            .says("hint: plan the job again")
            .says("`--no-reuse` sends all rows of this plan");
    }
    let json = rowmill(&["run", "monday", "--json"]).expect(2).json();
    assert_eq!(json["error"]["kind"], "plan_outdated");
    assert_eq!(sim.ledger().batches.len(), 1);
    rowmill(&["run", "monday", "--no-reuse"]).expect(0);
    assert_eq!(sim.ledger().batches.len(), 2);
}

#[test]
fn a_night_without_rows_writes_an_empty_output_and_has_its_own_code_if_asked() {
    for (rows, why) in [
        ("id,body\n", json!({ "kind": "empty_source" })),
        (
            "id,body\nT-1,old\n",
            json!({ "kind": "none_match", "rows": 1 }),
        ),
    ] {
        let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
        let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
        let with_code = ["--empty-exit-code", "99"];
        let code = |args: &[&str]| rowmill(&[args, &with_code[..]].concat());
        // Rows are no reason for another code.
        code(&["run", "job.toml"]).expect(0);
        assert_eq!(work.parquet("out.parquet").rows(), 3);
        work.write("rows.csv", rows);
        let job = JOB.replace("[key]", "where = \"body = 'new'\"\n\n[key]");
        work.write("job.toml", job);
        let json = rowmill(&["run", "job.toml", "--json"]).expect(0).json();
        assert_eq!(
            json["nothing_to_do"],
            json!({ "reason": "no_rows", "why": why, "failed": 0, "output_change": null })
        );
        let table = work.parquet("out.parquet");
        assert_eq!(table.rows(), 0);
        assert!(table.names().contains(&"_rm_status".to_owned()));
        assert!(json["output"].as_str().unwrap().ends_with("out.parquet"));
        // A second start finds the same.
        let json = code(&["run", "job.toml", "--json"]).expect(99).json();
        assert_eq!(json["nothing_to_do"]["reason"], "unchanged");
        code(&["submit", "job.toml"]).expect(99);
        code(&["collect", "job.toml"]).expect(99);
        assert_eq!(sim.ledger().batches.len(), 1);
    }
}

#[test]
fn files_that_are_missing_are_an_error_unless_the_job_says_that_there_is_nothing_to_do() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["run", "job.toml"]).expect(0);
    let before = fs::read(work.path("out.parquet")).unwrap();
    let job = |on_missing: &str| {
        let path = format!("path = \"new/*.csv\"\n{on_missing}");
        work.write("job.toml", JOB.replace("path = \"rows.csv\"", &path));
    };
    job("");
    rowmill(&["run", "job.toml"]).expect(2);
    job("on_missing = \"empty\"");
    for command in ["run", "submit", "plan", "check"] {
        let done = rowmill(&[command, "job.toml", "--json"])
            .expect(0)
            .says("no file matches `new/*.csv`");
        let json = done.json();
        assert_eq!(
            json["nothing_to_do"]["reason"], "source_missing",
            "{command}"
        );
        assert_eq!(json["run"], json!(null));
        assert!(json["output"].as_str().unwrap().ends_with("out.parquet"));
    }
    rowmill(&["run", "job.toml", "--empty-exit-code", "99"]).expect(99);
    assert_eq!(rowmill(&["run", "job.toml", "-q"]).expect(0).stdout, "");
    assert_eq!(fs::read(work.path("out.parquet")).unwrap(), before);
    assert_eq!(runs(&work), 1, "nothing was planned");
    // The first file that comes is work.
    work.write("new/a.csv", "id,body\nN-1,a new text\n");
    rowmill(&["run", "job.toml", "--empty-exit-code", "99"]).expect(0);
    assert_eq!(work.parquet("out.parquet").column("id"), ["N-1"]);
}

#[test]
fn a_run_whose_files_were_moved_away_is_still_taken_to_its_end() {
    let bench = Bench::with(Workdir::in_memory().with_rows(3), "", HOUR);
    let job = JOB.replace(
        "path = \"rows.csv\"",
        "path = \"r*.csv\"\non_missing = \"empty\"",
    );
    bench.work.write("job.toml", job);
    bench.submit().unwrap();
    fs::remove_file(bench.work.path("rows.csv")).unwrap();
    let report = bench.run().unwrap();
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert_eq!((bench.output().rows(), bench.sent()), (3, vec![3]));
    let nothing = bench.run();
    let Err(Error::NotStarted(why)) = nothing else {
        panic!("{nothing:?}");
    };
    assert!(matches!(*why, NotStarted::SourceMissing { .. }), "{why:?}");
}

#[test]
fn quiet_commands_print_what_a_script_needs() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::new("", HOUR));
    let lines = |args: &[&str], code| {
        let done = work.rowmill_at(&sim.url(), &[args, &["-q"]].concat());
        done.expect(code).stdout
    };
    let run = lines(&["submit", "job.toml"], 0);
    let id = run.trim();
    assert_eq!(run, format!("{id}\n"));
    assert!(work.path(".rowmill/test").join(id).is_dir(), "{id}");
    assert_eq!(lines(&["collect", id], 5), "");
    assert_eq!(lines(&["run", "job.toml", "--deadline", "100ms"], 5), "");
    sim.set_ahead(2 * 3_600);
    sim.settle();
    let path = format!("{}\n", work.path("out.parquet").display());
    assert_eq!(lines(&["collect", id], 0), path);
    assert_eq!(lines(&["run", "job.toml"], 0), path, "nothing to do");
    assert_eq!(lines(&["submit", "job.toml"], 0), run, "nothing to do");
    assert_eq!(lines(&["export", "job.toml"], 0), path);

    // A retry, and an output that is held back.
    let errors = "[[rows]]\noutcome = 'errored'\nshare = 1.0\nerror_type = 'overloaded_error'";
    let (work, sim) = (Workdir::new().with_rows(3), Sim::with(errors));
    let rules = "[retry]\nserver_error = 0\n";
    work.write("job.toml", format!("{JOB}min_success = 1.0\n{rules}"));
    let lines = |args: &[&str], code| {
        let done = work.rowmill_at(&sim.url(), &[args, &["-q"]].concat());
        done.expect(code).stdout
    };
    assert_eq!(lines(&["run", "job.toml"], 3), "", "held back");
    let path = format!("{}\n", work.path("out.parquet").display());
    assert_eq!(
        lines(&["retry", "job.toml", "--class", "server_error"], 0),
        path
    );
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_one_document() {
    // The create call hangs, and the first signal waits for it.
    let hangs = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'hang_after'\nseconds = 600";
    let (work, sim) = (Workdir::new().with_rows(3), Sim::with(hangs));
    let mut command = work.command_at(&sim.url(), &["run", "job.toml", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    let kill = |signal: &str| {
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    };
    let begun = Instant::now();
    while sim.ledger().batches.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill("-TERM");
    // Signals of one kind are merged while the first is not yet taken.
    std::thread::sleep(Duration::from_millis(500));
    kill("-INT");
    let done = Finished::from(child.wait_with_output().unwrap()).expect(130);
    let json = done.json();
    assert_eq!(json["error"]["kind"], "interrupted");
    assert_eq!(json["error"]["exit_code"], 130);
    let run = json["run"].as_str().unwrap();
    assert!(work.path(run).is_dir(), "{run}");
}

#[test]
fn a_shell_script_sees_the_code_of_a_step_that_was_stopped() {
    use std::os::unix::process::CommandExt as _;
    let (work, sim) = (Workdir::new().with_rows(3), Sim::new("", HOUR));
    work.write(
        "step.sh",
        "trap : TERM\n\"$ROWMILL\" run job.toml -q\ncode=$?\necho \"ended with $code\"\nexit $code\n",
    );
    let rowmill = work.command_at(&sim.url(), &[]);
    let mut script = Command::new("sh");
    script.arg("step.sh").current_dir(work.folder());
    for (name, value) in rowmill.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script.env("ROWMILL", rowmill.get_program());
    // The signal goes to the whole group, as init systems and terminals send it.
    script.process_group(0);
    let child = script
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while sim.ledger().batches.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = format!("-{}", child.id());
    assert!(
        Command::new("kill")
            .args(["-TERM", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    let done = Finished::from(child.wait_with_output().unwrap()).expect(130);
    assert_eq!(done.stdout, "ended with 130\n");
    assert_eq!(sim.ledger().batches.len(), 1);
}

#[test]
fn a_new_run_abandons_an_unfinished_one_and_all_other_starts_resume_it() {
    let bench = Bench::with(Workdir::in_memory().with_rows(3), "", HOUR);
    let first = bench.submit().unwrap().run;
    let no_reuse = RunOptions {
        no_reuse: true,
        ..RunOptions::default()
    };
    let resumed = bench.submit_with(&no_reuse).unwrap();
    assert_eq!((resumed.run, bench.sent()), (first.clone(), vec![3]));
    let new = RunOptions {
        new: true,
        ..RunOptions::default()
    };
    let second = bench.submit_with(&new).unwrap();
    assert_ne!(second.run, first);
    assert_eq!(bench.sent(), [3, 3]);
    let abandoned = bench.notices.of("abandoned");
    assert_eq!(abandoned.len(), 1);
    assert!(abandoned[0]["run"].as_str().unwrap().ends_with(&first));
    assert_eq!(abandoned[0]["in_flight"], true);
    // What it sent may still be billed.
    let reserved = |run: &str| {
        let entries = bench.entries();
        entries
            .iter()
            .any(|entry| entry.run == run && entry.held() > rowmill::cost::Money::ZERO)
    };
    assert!(reserved(&first));
    assert_eq!(bench.run().unwrap().run, second.run);
    assert!(bench.run().unwrap().nothing_to_do.is_some());
    // A finished run does not make a new one needless, but its answers need not be paid again.
    let third = bench.run_with(&new).unwrap();
    assert!(third.run != second.run && third.summary.is_some());
    assert_eq!(bench.sent(), [3, 3]);
    let fourth = bench.run_with(&no_reuse).unwrap();
    assert!(fourth.nothing_to_do.is_none() && fourth.run != third.run);
    assert_eq!(bench.sent(), [3, 3, 3]);
}

#[test]
fn a_job_that_cannot_be_compiled_abandons_nothing() {
    let bench = Bench::with(Workdir::in_memory().with_rows(3), "", HOUR);
    let first = bench.submit().unwrap().run;
    bench
        .work
        .write("job.toml", JOB.replace("{{ body }}", "{{ nothing }}"));
    let new = RunOptions {
        new: true,
        ..RunOptions::default()
    };
    bench.run_with(&new).unwrap_err();
    bench.work.write("job.toml", JOB);
    assert_eq!(bench.run().unwrap().run, first);
}

#[test]
fn a_run_of_a_simulator_that_is_gone_does_not_block_the_job() {
    let bench = Bench::with(Workdir::in_memory().with_rows(3), "", HOUR);
    let first = bench.submit().unwrap().run;
    let bench = bench.with_other_simulator("", Duration::ZERO);
    let report = bench.run().unwrap();
    assert_ne!(report.run, first);
    assert_eq!(
        (report.outcome, bench.sent()),
        (RunOutcome::Complete, vec![3])
    );
    let passed = bench.notices.of("passed_over");
    assert!(
        passed[0]["run"].as_str().unwrap().ends_with(&first),
        "{passed:?}"
    );
    assert!(
        passed[0]["origin"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1")
    );
    assert!(bench.run().unwrap().nothing_to_do.is_some());
}

#[test]
fn a_run_of_another_real_provider_is_passed_over_only_if_nothing_was_sent_there() {
    for (sent, is_refused) in [(false, false), (true, true)] {
        let bench = Bench::with(Workdir::in_memory().with_rows(3), "", HOUR);
        let run = if sent {
            bench.submit().unwrap().folder
        } else {
            let folder = bench.plan_at(".rowmill/test/20261130-080000-abcd");
            assert!(folder.is_dir());
            folder
        };
        // As a provider would have it that is no simulator.
        let plan = run.join("plan.json");
        let text = fs::read_to_string(&plan).unwrap();
        let real = text.replace("\"simulated\": true", "\"simulated\": false");
        fs::write(
            &plan,
            real.replace("\"simulated\":true", "\"simulated\":false"),
        )
        .unwrap();
        let bench = bench.with_other_simulator("", Duration::ZERO);
        let done = bench.run();
        if is_refused {
            assert!(matches!(done, Err(Error::OtherOrigin { .. })), "{done:?}");
            assert_eq!(bench.sent(), Vec::<u64>::new());
        } else {
            assert_eq!(done.unwrap().outcome, RunOutcome::Complete);
        }
    }
}

#[test]
fn collect_of_a_job_means_the_run_in_flight_and_not_a_simulated_one_since_then() {
    let bench = Bench::with(Workdir::in_memory().with_rows(3), "", HOUR);
    let sent = bench.submit().unwrap().folder;
    let simulated = RunOptions {
        simulate: true,
        ..RunOptions::default()
    };
    let rehearsal = bench.run_with(&simulated).unwrap().folder;
    assert_eq!(bench.newest_run(), sent);
    bench.collect(Some(2 * HOUR)).unwrap();
    assert!(bench.work.path("out.parquet").exists());
    assert_eq!(bench.newest_run(), rehearsal, "nothing is left to collect");
}

#[test]
fn a_retry_without_failed_rows_is_no_work_for_a_person() {
    let bench = Bench::new(Workdir::in_memory().with_rows(3));
    bench.run().unwrap();
    let options = RetryOptions {
        classes: vec![rowmill::outcome::class::Class::Expired],
        ..RetryOptions::default()
    };
    let report = bench.retry(&options).unwrap();
    assert!(report.nothing_to_do.is_some() && report.all_succeeded());
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn collect_of_a_run_that_was_collected_before_is_done() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
    let rowmill = |args: &[&str]| work.rowmill_at(&sim.url(), args);
    rowmill(&["run", "job.toml"]).expect(0);
    let with_code = ["--empty-exit-code", "99"];
    rowmill(&[&["collect", "job.toml"], &with_code[..]].concat()).expect(0);
    rowmill(&[&["run", "job.toml"], &with_code[..]].concat()).expect(99);
    assert_eq!(sim.ledger().batches.len(), 1);
}
