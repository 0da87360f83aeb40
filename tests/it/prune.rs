//! `prune`: which runs and trials go, what stays, and that a start afterwards pays nothing twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::{
    Error, KeptBecause, OutputChange, PruneOptions, PruneReport, RowSelection, RunOptions,
    TrialKind,
};
use rowmill::journal::{self, AbandonReason, Event, Journal, Lock, Owner, RunDir};
use rowmill::ledger::{BudgetLimits, Ledger, Reservation};
use rowmill::provider::retry::Clock as _;
use rowmill::simulator::ApiCall;

use crate::in_process::Bench;
use crate::states::in_state;
use crate::support::{JOB, Workdir};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);
const ROWS: usize = 5;

fn bench() -> Bench {
    Bench::new(Workdir::in_memory().with_rows(ROWS))
}

/// What removes runs of which nothing was recorded for 90 days.
fn old() -> PruneOptions {
    PruneOptions {
        older_than: Some(90 * DAY),
        ..PruneOptions::default()
    }
}

fn run_again(bench: &Bench) -> PathBuf {
    let again = RunOptions {
        new: true,
        no_reuse: true,
        ..RunOptions::default()
    };
    let report = bench.run_with(&again).unwrap();
    assert!(report.all_succeeded());
    report.folder
}

fn trial(limit: u64) -> RunOptions {
    RunOptions {
        rows: RowSelection {
            limit: Some(limit),
            filter: None,
        },
        ..RunOptions::default()
    }
}

fn simulated() -> RunOptions {
    RunOptions {
        simulate: true,
        ..RunOptions::default()
    }
}

fn prune(bench: &Bench, options: &PruneOptions) -> PruneReport {
    bench.engine().prune(options).unwrap()
}

fn names<'a>(folders: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    let name = |folder: &PathBuf| folder.file_name().unwrap().to_string_lossy().into_owned();
    let mut names: Vec<String> = folders.into_iter().map(name).collect();
    names.sort();
    names
}

fn removed(report: &PruneReport) -> Vec<String> {
    let mut runs: Vec<String> = report.removed_runs().map(|run| run.run.clone()).collect();
    runs.sort();
    runs
}

/// The files of the folder with what is in them, but for locks.
fn contents(work: &Workdir) -> BTreeMap<String, Vec<u8>> {
    let files = work.files().into_iter();
    files
        .filter(|file| !file.ends_with("lock"))
        .map(|file| {
            let bytes = fs::read(work.path(&file)).unwrap();
            (file, bytes)
        })
        .collect()
}

/// What has to be the same after a prune: the ledger, and what was learned.
fn kept(bench: &Bench) -> (Vec<rowmill::ledger::LedgerEntry>, Vec<u8>) {
    let learned = fs::read(bench.state().join("test/learned.simulated.json"))
        .or_else(|_| fs::read(bench.state().join("test/learned.json")));
    (bench.entries(), learned.expect("something was learned"))
}

#[test]
fn removes_what_is_over_and_keeps_what_is_not_in_each_state() {
    for (state, goes) in [
        ("planned", true),
        ("submitting", false),
        ("in_doubt", false),
        ("in_flight", false),
        ("ended", false),
        ("collected", false),
        ("exported", true),
        ("held_back", true),
        ("stopped", false),
        ("canceled", false),
    ] {
        let bench = in_state(state);
        let run = bench.newest_run();
        bench.clock.advance(91 * DAY);
        let entries = bench.entries();
        let options = PruneOptions {
            keep_last: 0,
            ..old()
        };
        let report = prune(&bench, &options);
        assert_eq!(report.runs.len(), 1, "{state}");
        assert_eq!(report.runs[0].kept.is_none(), goes, "{state}: {report:?}");
        assert_eq!(run.exists(), !goes, "{state}");
        assert_eq!(report.bytes_freed > 0, goes, "{state}");
        assert_eq!(bench.entries(), entries, "{state}");
    }
}

#[test]
fn an_abandoned_run_goes_once_nothing_of_it_is_in_flight() {
    let bench = in_state("in_flight");
    let run = bench.newest_run();
    let (dir, plan, _) = RunDir::open(&run).unwrap();
    let (mut journal, _) = Journal::open(&dir.journal(), &plan).unwrap();
    let reason = AbandonReason::Requested;
    journal
        .append(bench.clock.now(), Event::Abandoned { reason })
        .unwrap();
    drop(journal);
    bench.clock.advance(20 * DAY);
    let ten_days = PruneOptions {
        older_than: Some(10 * DAY),
        ..PruneOptions::default()
    };
    let kept = || prune(&bench, &ten_days).runs[0].kept.clone();
    assert_eq!(kept(), Some(KeptBecause::InFlight { batches: 3 }));
    // Its batches are over, and what they cost is not known yet.
    bench.clock.advance(20 * DAY);
    assert!(matches!(kept(), Some(KeptBecause::Reserved { .. })));
    assert!(run.exists());
    bench.clock.advance(20 * DAY);
    let ledger = Ledger::open(&bench.state()).unwrap();
    for entry in bench.entries() {
        ledger.release(&entry, bench.clock.now()).unwrap();
    }
    assert_eq!(kept(), None);
    assert!(!run.exists());

    let bench = in_state("in_flight");
    let run = bench.newest_run();
    bench.cancel(true).unwrap();
    bench.clock.advance(HOUR);
    bench.collect(Some(HOUR)).unwrap();
    bench.clock.advance(91 * DAY);
    assert_eq!(prune(&bench, &old()).removed_runs().count(), 1);
    assert!(!run.exists());
}

#[test]
fn says_why_a_run_is_kept() {
    for (state, why) in [
        ("in_doubt", KeptBecause::Uncertain { batches: 1 }),
        ("in_flight", KeptBecause::InFlight { batches: 3 }),
        ("collected", KeptBecause::Unfinished),
        ("exported", KeptBecause::TooRecent),
    ] {
        let bench = in_state(state);
        let report = prune(&bench, &old());
        assert_eq!(report.runs[0].kept, Some(why), "{state}");
    }
}

#[test]
fn keeps_the_newest_finished_run_so_that_the_next_start_has_nothing_to_do() {
    let bench = bench();
    let runs: Vec<PathBuf> = (0..4)
        .map(|_| {
            let run = run_again(&bench);
            bench.clock.advance(30 * DAY);
            run
        })
        .collect();
    bench.clock.advance(90 * DAY);
    let before = kept(&bench);
    let report = prune(&bench, &old());
    assert_eq!(removed(&report), names(&runs[..3]));
    assert_eq!(
        report.runs[0].kept,
        Some(KeptBecause::NewestFinished),
        "{report:?}"
    );
    assert_eq!(kept(&bench), before);
    let sent = bench.sent().len();
    let report = bench.run().unwrap();
    assert!(report.nothing_to_do.is_some());
    assert_eq!(report.folder, runs[3]);
    assert_eq!(bench.sent().len(), sent);
}

#[test]
fn a_finished_trial_does_not_stand_in_for_the_finished_run_of_the_whole_job() {
    let bench = bench();
    let whole = bench.run().unwrap().folder;
    bench.clock.advance(DAY);
    bench.run_with(&trial(2)).unwrap();
    bench.run_with(&simulated()).unwrap();
    bench.clock.advance(91 * DAY);
    assert_eq!(removed(&prune(&bench, &old())), Vec::<String>::new());
    assert!(whole.exists());
    let sent = bench.sent().len();
    assert!(bench.run().unwrap().nothing_to_do.is_some());
    assert_eq!(bench.sent().len(), sent);
}

#[test]
fn a_dry_run_reports_the_same_and_changes_nothing() {
    let bench = bench();
    run_again(&bench);
    run_again(&bench);
    bench.run_with(&trial(2)).unwrap();
    bench.clock.advance(91 * DAY);
    for options in [
        old(),
        PruneOptions {
            trials: true,
            ..PruneOptions::default()
        },
    ] {
        let before = contents(&bench.work);
        let dry = PruneOptions {
            dry_run: true,
            ..options.clone()
        };
        let dry = prune(&bench, &dry);
        assert_eq!(contents(&bench.work), before);
        assert_eq!(removed(&dry).len(), 1);
        let wet = prune(&bench, &options);
        assert_eq!(removed(&dry), removed(&wet));
        assert_eq!(dry.bytes_freed, wet.bytes_freed);
        assert_eq!(dry.removed_trials().count(), wet.removed_trials().count());
    }
}

#[test]
fn a_crash_at_any_step_leaves_a_run_or_none_and_the_next_prune_ends_it() {
    for n in 1.. {
        let bench = bench();
        let first = run_again(&bench);
        let second = run_again(&bench);
        bench.clock.advance(91 * DAY);
        let before = kept(&bench);
        let crashed = bench.crash_at(n, |engine| engine.prune(&old()).map(|_| ()));
        assert_eq!(kept(&bench), before, "step {n}");
        // Whatever is left of the first run, the second one has done everything.
        let sent = bench.sent().len();
        let report = bench.run().unwrap();
        assert!(report.nothing_to_do.is_some(), "step {n}");
        assert_eq!(bench.sent().len(), sent, "step {n}");
        prune(&bench, &old());
        assert!(!first.exists() && second.exists(), "step {n}");
        let job = bench.state().join("test");
        assert_eq!(journal::removals_in(&job).unwrap().len(), 0, "step {n}");
        let pruned = journal::pruned_runs(&job);
        assert_eq!(pruned.len(), 1, "step {n}");
        assert_eq!(kept(&bench), before, "step {n}");
        if crashed.is_ok() {
            assert_eq!(n, 4, "a line, a new name, a deletion");
            break;
        }
    }
}

#[test]
fn half_a_removed_folder_is_no_run_and_is_deleted_later() {
    let bench = bench();
    let first = run_again(&bench);
    run_again(&bench);
    bench.clock.advance(91 * DAY);
    let crash = bench.crash_at(3, |engine| engine.prune(&old()).map(|_| ()));
    assert!(crash.is_err());
    let left = first.with_file_name(format!("{}.pruned", names([&first])[0]));
    fs::remove_file(left.join("plan.json")).unwrap();
    assert_eq!(journal::all_runs(&bench.state()).unwrap().len(), 1);
    let gone = bench.engine().find_run(Path::new(&names([&first])[0]));
    assert!(matches!(gone, Err(Error::Pruned { .. })), "{gone:?}");
    let report = prune(&bench, &old());
    assert_eq!(report.unfinished_removals, 1);
    assert!(!left.exists());
}

#[test]
fn keeps_a_run_that_another_process_works_on() {
    let bench = bench();
    let run = run_again(&bench);
    run_again(&bench);
    bench.clock.advance(91 * DAY);
    let (dir, ..) = RunDir::open(&run).unwrap();
    let lock = Lock::take(&dir, &Owner::this_process(bench.clock.now())).unwrap();
    let report = prune(&bench, &old());
    let locked = report
        .runs
        .iter()
        .filter(|run| matches!(run.kept, Some(KeptBecause::Locked { .. })));
    assert_eq!(locked.count(), 1);
    assert!(run.exists());
    drop(lock);
    let owner = Owner::this_process(bench.clock.now());
    let lock = Lock::of_job(&bench.state().join("test"), &owner).unwrap();
    let report = prune(&bench, &old());
    assert!(
        report
            .runs
            .iter()
            .all(|run| matches!(run.kept, Some(KeptBecause::JobLocked { .. })))
    );
    drop(lock);
    assert_eq!(removed(&prune(&bench, &old())).len(), 1);
}

#[test]
fn keeps_a_run_for_which_the_ledger_holds_money() {
    let bench = in_state("planned");
    let ledger = Ledger::open(&bench.state()).unwrap();
    let amount: Money = "0.25".parse().unwrap();
    let reservation = Reservation {
        run: "one",
        batch: 1,
        job: "test",
        model: "claude-haiku-4-5",
        simulated: true,
        requests: 7,
        amount,
        worst_case: amount,
    };
    ledger
        .reserve(
            &reservation,
            None,
            &BudgetLimits::default(),
            bench.clock.now(),
        )
        .unwrap()
        .unwrap();
    bench.clock.advance(91 * DAY);
    let report = prune(&bench, &old());
    assert_eq!(report.runs[0].kept, Some(KeptBecause::Reserved { amount }));
    assert!(bench.newest_run().exists());
}

#[test]
fn an_output_that_a_removed_run_wrote_last_is_not_taken_for_an_older_one() {
    let bench = bench();
    let first = bench.work.read("rows.csv");
    bench.run().unwrap();
    bench
        .work
        .write("rows.csv", first.replace("text", "letter"));
    let second = bench.run().unwrap().folder;
    assert_eq!(bench.sent().len(), 2);
    let options = PruneOptions {
        targets: vec![second.clone()],
        keep_last: 0,
        ..PruneOptions::default()
    };
    assert_eq!(removed(&prune(&bench, &options)), names([&second]));
    bench.work.write("rows.csv", first);
    let report = bench.run().unwrap();
    let change = report.nothing_to_do.unwrap().output_change;
    assert_eq!(change, None, "it is written again");
    assert_eq!(bench.sent().len(), 2);
    let again = bench.notices.of("output_written_again");
    assert_eq!(
        again[0]["change"],
        serde_json::json!(OutputChange::Replaced)
    );
    assert!(bench.output().column("body")[0].contains("text"));
}

#[test]
fn batches_of_a_removed_run_are_still_known_as_another_runs() {
    // Without what is recorded of it, the results of its batch are looked into.
    for (is_recorded, looked_into) in [(true, 0), (false, 1)] {
        let bench = bench();
        let waiting = bench.plan_at(".rowmill/other/waiting");
        bench.clock.advance(Duration::from_secs(60));
        let sent = bench.run().unwrap().folder;
        let options = PruneOptions {
            targets: vec![sent],
            keep_last: 0,
            ..PruneOptions::default()
        };
        assert_eq!(prune(&bench, &options).removed_runs().count(), 1);
        if !is_recorded {
            fs::remove_file(bench.state().join("test/pruned.jsonl")).unwrap();
        }
        let fetched = bench.calls(ApiCall::Results);
        assert!(bench.run_at(&waiting).unwrap().all_succeeded());
        assert_eq!(bench.calls(ApiCall::Results), fetched + 1 + looked_into);
    }
}

#[test]
fn lists_trials_and_removes_them_with_their_runs() {
    let bench = bench();
    let whole = bench.run().unwrap().folder;
    let paid = bench.run_with(&trial(2)).unwrap().folder;
    let free = bench.run_with(&simulated()).unwrap().folder;
    let trials = bench.engine().trials(Some("test")).unwrap();
    let found: Vec<_> = trials
        .iter()
        .map(|trial| (trial.kind, trial.path.clone(), trial.rows))
        .collect();
    assert_eq!(
        found,
        [
            (
                TrialKind::Simulated,
                bench.work.path("out.simulated.parquet"),
                ROWS as u64
            ),
            (TrialKind::Trial, bench.work.path("out.trial.parquet"), 2),
        ]
    );
    assert_eq!(trials[1].folder.as_deref(), Some(paid.as_path()));
    assert!(bench.engine().trials(Some("other")).unwrap().is_empty());
    let simulator = || {
        let batches = bench.state().join(".simulator/batches");
        fs::read_dir(batches).unwrap().count()
    };
    bench
        .run_with(&RunOptions {
            new: true,
            no_reuse: true,
            ..simulated()
        })
        .unwrap();
    assert_eq!(simulator(), 2);
    let young = PruneOptions {
        trials: true,
        ..old()
    };
    assert_eq!(prune(&bench, &young).removed_trials().count(), 0);
    let report = prune(
        &bench,
        &PruneOptions {
            older_than: None,
            ..young
        },
    );
    assert_eq!(report.removed_runs().count(), 3);
    assert_eq!(report.removed_trials().count(), 2);
    assert!(!paid.exists() && !free.exists() && whole.exists());
    for name in ["out.trial.parquet", "out.simulated.parquet"] {
        assert!(!bench.work.path(name).exists(), "{name}");
    }
    assert_eq!(bench.output().rows(), ROWS);
    assert_eq!(bench.engine().trials(None).unwrap(), []);
    // The newest batch stays, since ids are counted from it.
    assert_eq!(simulator(), 1);
    assert!(bench.run_with(&simulated()).unwrap().all_succeeded());
}

#[test]
fn a_trial_whose_run_was_removed_earlier_is_still_known_in_every_format() {
    for name in [
        "out.csv",
        "out.jsonl",
        "out.parquet",
        "out.arrow",
        "out.tsv",
    ] {
        let work = Workdir::in_memory().with_rows(ROWS);
        work.write("job.toml", JOB.replace("out.parquet", name));
        let bench = Bench::new(work);
        bench.run_with(&trial(2)).unwrap();
        bench.clock.advance(91 * DAY);
        let options = PruneOptions {
            keep_last: 0,
            ..old()
        };
        assert_eq!(prune(&bench, &options).removed_runs().count(), 1);
        let trials = bench.engine().trials(None).unwrap();
        assert_eq!(trials.len(), 1, "{name}");
        assert_eq!((trials[0].rows, &trials[0].folder), (2, &None), "{name}");
        let options = PruneOptions {
            trials: true,
            ..old()
        };
        assert_eq!(prune(&bench, &options).removed_trials().count(), 1);
        assert!(!trials[0].path.exists(), "{name}");
    }
}

#[test]
fn a_file_that_somebody_put_in_the_place_of_a_trial_stays() {
    for (name, text) in [
        ("out.csv", "id,_rm_custom_id\nT-1,other-T-1\n"),
        ("out.jsonl", "{\"id\":\"T-1\"}\n"),
    ] {
        let work = Workdir::in_memory().with_rows(ROWS);
        work.write("job.toml", JOB.replace("out.parquet", name));
        let bench = Bench::new(work);
        bench.run_with(&trial(2)).unwrap();
        let place = rowmill::output::beside(&bench.work.path(name), "trial");
        fs::write(&place, text).unwrap();
        assert_eq!(bench.engine().trials(None).unwrap(), [], "{name}");
        let options = PruneOptions {
            trials: true,
            ..PruneOptions::default()
        };
        let report = prune(&bench, &options);
        assert_eq!(report.removed_runs().count(), 1);
        assert_eq!(fs::read_to_string(&place).unwrap(), text);
    }
}

#[test]
fn the_output_of_a_job_is_no_trial_whatever_its_name() {
    let bench = bench();
    bench.run_with(&trial(2)).unwrap();
    let other = JOB
        .replace("out.parquet", "out.trial.parquet")
        .replace("\"test\"", "\"other\"");
    bench.work.write("other.toml", other);
    bench.clock.advance(DAY);
    let job = bench.job_in("other.toml");
    bench.engine().run(&job, &RunOptions::default()).unwrap();
    let options = PruneOptions {
        trials: true,
        ..PruneOptions::default()
    };
    let report = prune(&bench, &options);
    assert_eq!(report.removed_trials().count(), 0);
    assert!(bench.work.path("out.trial.parquet").exists());
}

#[test]
fn the_command_needs_an_age_or_a_run_and_says_what_it_did() {
    let work = Workdir::new().with_rows(3);
    for args in [&["prune"][..], &["prune", "job.toml"]] {
        work.rowmill(args).expect(2).says("--older-than 90d");
    }
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    let run = work.rowmill(&["status", "--json"]).expect(0).json();
    let id = run[0]["manifest"]["run"].as_str().unwrap().to_owned();
    assert_eq!(run[0]["trial_output"]["kind"], "simulated");
    for target in [&["status"][..], &["status", "job.toml"]] {
        let status = work.rowmill(target).expect(0);
        assert!(
            status.stdout.contains("out.simulated.parquet"),
            "{}",
            status.stdout
        );
    }
    let one = work
        .rowmill(&["status", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(one["trials"][0]["rows"], 3);
    work.rowmill(&["prune", "--older-than", "1d"])
        .expect(0)
        .says("removed 0 runs");
    // It is the newest finished run of its kind.
    let kept = work.rowmill(&["prune", &id, "--json"]).expect(2).json();
    assert_eq!(kept["runs"][0]["kept"]["why"], "newest_finished");
    work.rowmill(&["prune", &id, "--keep-last", "0", "--dry-run"])
        .expect(0)
        .says("would remove 1 run");
    work.rowmill(&["prune", &id, "--keep-last", "0"])
        .expect(0)
        .says("removed 1 run");
    work.rowmill(&["status", &id])
        .expect(10)
        .says("was removed on");
    work.rowmill(&["prune", &id]).expect(10);
    let left = work.rowmill(&["status", "--json"]).expect(0).json();
    assert_eq!(left[0]["trial_output"]["run"], id.as_str());
    work.rowmill(&["prune", "--trials"])
        .expect(0)
        .says("1 trial output");
    assert!(!work.path("out.simulated.parquet").exists());
}

#[test]
fn the_command_prunes_each_job_in_its_own_state() {
    let work = Workdir::new().with_rows(2);
    for folder in ["a", "b"] {
        work.write(&format!("{folder}/job.toml"), JOB);
        work.write(&format!("{folder}/rows.csv"), work.read("rows.csv"));
        let job = format!("{folder}/job.toml");
        work.rowmill(&["run", &job, "--simulate"]).expect(0);
    }
    let both = ["prune", "a/job.toml", "b/job.toml", "--trials"];
    let report = work.rowmill(&[&both[..], &["--json"]].concat()).expect(0);
    let report = report.json();
    assert_eq!(report["runs"].as_array().unwrap().len(), 2);
    for folder in ["a", "b"] {
        let state = work.path(&format!("{folder}/.rowmill"));
        let found = report["runs"].as_array().unwrap().iter();
        let folders = found.map(|run| work.path(run["folder"].as_str().unwrap()));
        assert_eq!(folders.filter(|run| run.starts_with(&state)).count(), 1);
    }
}
