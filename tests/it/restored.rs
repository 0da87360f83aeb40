//! Runs whose files tell less than was sent: a journal that lost its end, a folder put back from a
//! copy, a folder that is gone. Nothing is paid twice, and what was paid is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowmill::engine::{Engine, Error, RetryOptions, RunOptions, RunOutcome, RunReport};
use rowmill::journal::RunNote;
use rowmill::ledger::EntryState;
use rowmill::outcome::class::Class;
use rowmill::simulator::ApiCall;

use crate::crash::{check_folder, check_rows};
use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;

fn work() -> Workdir {
    let work = Workdir::in_memory().with_rows(ROWS);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n"),
    );
    work
}

fn run_folder(work: &Workdir) -> String {
    let plans: Vec<String> = work
        .files()
        .into_iter()
        .filter(|file| file.ends_with("plan.json"))
        .collect();
    assert_eq!(plans.len(), 1, "{plans:?}");
    plans[0].strip_suffix("/plan.json").unwrap().to_owned()
}

/// Submits the job's three batches, and gives the run's folder.
fn submit(bench: &Bench) -> PathBuf {
    let report = bench.submit().unwrap();
    assert_eq!(
        (report.outcome, report.unsent_batches),
        (RunOutcome::Unfinished, 0)
    );
    report.folder
}

/// Cuts the journal off after its header, or in the middle of its second line.
fn cut_journal(run: &Path, is_torn: bool) {
    let path = run.join("journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let header = text.find('\n').unwrap() + 1;
    fs::write(path, &text[..header + if is_torn { 40 } else { 0 }]).unwrap();
}

fn lose_journal(run: &Path) {
    fs::remove_file(run.join("journal.jsonl")).unwrap();
}

#[track_caller]
fn check_once(bench: &Bench) {
    let accepted = bench.accepted();
    assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
    assert_eq!(accepted.len(), ROWS);
}

/// The output is whole, and every row was accepted once.
#[track_caller]
fn check_whole(bench: &Bench, done: &RunReport) {
    assert!(done.all_succeeded(), "{done:?}");
    check_once(bench);
    check_rows(&bench.work, &bench.answers(), ROWS);
    check_folder(&bench.work);
}

#[test]
fn a_journal_that_lost_its_end_sends_nothing_that_the_ledger_or_the_manifest_knows() {
    for is_torn in [false, true] {
        for lacks in ["", "ledger", "manifest"] {
            let bench = Bench::with(work(), "", Duration::from_secs(5));
            let run = submit(&bench);
            cut_journal(&run, is_torn);
            match lacks {
                "ledger" => fs::remove_file(bench.state().join("ledger.sqlite")).unwrap(),
                "manifest" => fs::remove_file(run.join("manifest.json")).unwrap(),
                _ => {}
            }
            let (mut view, _) = bench.engine().status(&run).unwrap();
            view.add_money(&if lacks == "ledger" {
                Vec::new()
            } else {
                bench.entries()
            });
            let may_be_sent = |note: &RunNote| matches!(note, RunNote::MayBeSent { .. });
            assert!(
                lacks == "ledger" || view.warnings.iter().any(may_be_sent),
                "{:?}",
                view.warnings
            );
            let options = RunOptions {
                deadline: Some(Duration::from_secs(1)),
                ..RunOptions::default()
            };
            let held = bench.run_with(&options).unwrap();
            assert_eq!(
                (held.outcome, held.uncertain_batches),
                (RunOutcome::InDoubt, 3)
            );
            check_once(&bench);
            let done = bench.run().unwrap();
            let found = bench.notices.notes("found").len();
            let found = found + bench.notices.notes("found_unrecorded").len();
            assert_eq!(found, 3, "torn: {is_torn}, lacks {lacks}");
            check_whole(&bench, &done);
        }
    }
}

/// Plans a run, does something, and puts the state directory back to where it was planned.
fn put_back(bench: &Bench, work: impl Fn(&Path)) -> PathBuf {
    let run = bench.plan_at(".rowmill/test/one");
    copy(&bench.state(), &bench.work.path("kept"));
    work(&run);
    fs::remove_dir_all(bench.state()).unwrap();
    copy(&bench.work.path("kept"), &bench.state());
    fs::remove_dir_all(bench.work.path("kept")).unwrap();
    run
}

/// The same after the run was sent.
fn put_back_after_submit(bench: &Bench) -> PathBuf {
    put_back(bench, |_| {
        submit(bench);
    })
}

#[test]
fn a_folder_put_back_from_before_it_was_sent_finds_its_batches_by_the_list_alone() {
    for seconds in [0, 5] {
        let bench = Bench::with(work(), "", Duration::from_secs(seconds));
        let run = put_back_after_submit(&bench);
        let done = bench.run_at(&run).unwrap();
        check_whole(&bench, &done);
        assert_eq!(bench.calls(ApiCall::Create), 3);
    }
}

#[test]
fn a_folder_put_back_whose_job_has_changed_is_not_planned_again_where_its_batches_were_sent() {
    for seconds in [0, 3_600] {
        let bench = Bench::with(work(), "", Duration::from_secs(seconds));
        put_back_after_submit(&bench);
        // The source is as new as its copy, and the same.
        std::thread::sleep(Duration::from_millis(20));
        bench.work.write("rows.csv", bench.work.read("rows.csv"));
        let refused = bench.run();
        assert!(matches!(refused, Err(Error::Changed { .. })), "{refused:?}");
        check_once(&bench);
    }
}

/// Plans a run, works on it, and then on a copy of its folder that was made before it was sent:
/// nothing more is accepted.
fn resume_from_a_copy(bench: &Bench) {
    let run = put_back(bench, |run| {
        assert!(bench.run_at(run).unwrap().all_succeeded());
    });
    let accepted = bench.accepted();
    assert!(bench.run_at(&run).unwrap().all_succeeded());
    assert_eq!(bench.accepted(), accepted);
    check_rows(&bench.work, &bench.answers(), ROWS);
}

#[test]
fn a_folder_put_back_finds_the_rows_that_were_sent_again_too() {
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.4\nerror_type = 'overloaded_error'";
    let bench = Bench::with(work(), faults, Duration::ZERO);
    resume_from_a_copy(&bench);
    assert!(bench.accepted().values().any(|times| *times == 2));
}

#[test]
fn a_folder_put_back_finds_the_parts_of_a_batch_that_was_too_large() {
    // The first create call of either engine.
    let faults = "[[calls]]\non = 'create'\nnth = [1, 6]\ndo = 'status'\nstatus = 413";
    let bench = Bench::with(work(), faults, Duration::ZERO);
    resume_from_a_copy(&bench);
    check_once(&bench);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target)
        } else {
            fs::copy(&path, &target).map(drop).unwrap()
        }
    }
}

#[test]
fn a_resumed_run_is_not_held_by_batches_of_other_runs() {
    // Two jobs of the same sizes; the batches of the other are under way for an hour.
    let faults = "[[batches]]\nnth = [1, 2, 3]\nextra_seconds = 3600";
    let bench = Bench::with(work(), faults, Duration::ZERO);
    let job = bench.work.read("job.toml");
    let other = job.replace("name = \"test\"", "name = \"other\"");
    bench
        .work
        .write("other.toml", other.replace("out.parquet", "o.parquet"));
    let one = bench.plan_at(".rowmill/test/one");
    let other = bench
        .engine()
        .submit(&bench.job_in("other.toml"), &RunOptions::default());
    assert_eq!(other.unwrap().outcome, RunOutcome::Unfinished);
    assert!(bench.run_at(&one).unwrap().all_succeeded());
    // Batches of somebody else that have ended are looked into, and left alone.
    let two = bench.plan_at(".rowmill/test/two");
    bench.take_foreign_batch(7);
    assert!(bench.run_at(&two).unwrap().all_succeeded());
}

#[test]
fn a_run_that_lost_its_plan_and_its_journal_is_refused_and_nothing_is_paid_again() {
    let (work, sim) = (work(), Sim::new("", Duration::from_secs(3_600)));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0);
    let run = run_folder(&work);
    for file in ["plan.json", "journal.jsonl"] {
        fs::remove_file(work.path(&format!("{run}/{file}"))).unwrap();
    }
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(2)
        .says("neither `plan.json` nor `journal.jsonl`");
    work.rowmill_at(&sim.url(), &["rescue", &run])
        .expect(2)
        .says("plan.json");
    // The ledger remembers it when its folder is gone too.
    fs::remove_dir_all(work.path(&run)).unwrap();
    let id = run.rsplit('/').next().unwrap();
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(2)
        .says(id)
        .says("--abandon");
    assert_eq!(sim.accepted().len(), ROWS);
    assert!(sim.accepted().values().all(|times| *times == 1));
    // A person may decide that it is gone for good.
    work.rowmill_at(&sim.url(), &["cancel", id, "--abandon"])
        .expect(0)
        .says("does not exist any more");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0);
}

fn billed(bench: &Bench) -> Vec<(u32, String)> {
    let entries = bench.entries().into_iter();
    entries
        .filter(|entry| entry.state == EntryState::Billed)
        .map(|entry| (entry.batch, entry.spent().to_string()))
        .collect()
}

/// Begins the journal again; what is found is not waited for.
fn rescue(engine: &Engine, run: &Path) -> RunReport {
    let rescued = engine.rescue(run).unwrap();
    assert!(rescued.summary.is_none());
    rescued
}

#[test]
fn rescue_knows_of_rows_that_were_sent_again_and_keeps_their_bills() {
    for results in [true, false] {
        let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.5\nerror_type = 'overloaded_error'\n\
                      [[rows]]\noutcome = 'truncated'\nshare = 0.3\ntimes = 0";
        let bench = Bench::with(work(), faults, Duration::ZERO);
        let run = bench.run().unwrap().folder;
        let options = RetryOptions {
            classes: vec![Class::Truncated],
            ..RetryOptions::default()
        };
        assert!(!bench.retry(&options).unwrap().all_succeeded());
        let (before, accepted, creates) = (
            billed(&bench),
            bench.accepted(),
            bench.calls(ApiCall::Create),
        );
        let table = bench.output();
        assert!(before.len() > 4, "{before:?}");
        lose_journal(&run);
        if !results {
            fs::remove_dir_all(run.join("results")).unwrap();
            fs::create_dir(run.join("results")).unwrap();
        }
        rescue(&bench.engine(), &run);
        assert!(!bench.run_at(&run).unwrap().all_succeeded());
        assert_eq!(
            (bench.accepted(), bench.calls(ApiCall::Create)),
            (accepted, creates),
            "nothing was sent again"
        );
        assert_eq!(billed(&bench), before, "a bill that was written stays");
        let after = bench.output();
        for column in [
            "id",
            "_rm_status",
            "_rm_text",
            "_rm_attempt",
            "_rm_batch_id",
        ] {
            assert_eq!(after.column(column), table.column(column), "{column}");
        }
    }
}

/// Loses the journal of the one run, and checks that a rescue finds every row, sends none twice and
/// ends in a whole output.
fn check_rescued(bench: &Bench, run: &Path) {
    lose_journal(run);
    rescue(&bench.engine(), run);
    bench.clock.advance(Duration::from_millis(1_200));
    let done = bench.run_at(run).unwrap();
    check_whole(bench, &done);
}

#[test]
fn rescue_knows_of_batches_that_were_split() {
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413";
    let bench = Bench::with(work(), faults, Duration::ZERO);
    let run = submit(&bench);
    check_rescued(&bench, &run);
}

#[test]
fn rescue_knows_of_batches_that_were_split_in_many() {
    let faults = "[[calls]]\non = 'create'\nnth = [1, 7]\ndo = 'status'\nstatus = 400\nerror_type \
                  = 'invalid_request_error'\nmessage = 'requests: List should have at most 3 items \
                  after validation, not 7'";
    let bench = Bench::with(work(), faults, Duration::ZERO);
    let run = submit(&bench);
    assert_eq!(
        bench.calls(ApiCall::Create),
        6,
        "one refused in three parts, and two more"
    );
    check_rescued(&bench, &run);
}

#[test]
fn a_journal_that_lost_its_end_knows_of_a_part_that_was_sent_by_its_ledger_alone() {
    // The first batch is too large, and the second of its halves is not taken for want of money.
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413\n[[calls]]\non \
                  = 'create'\nnth = [5]\ndo = 'status'\nstatus = 402\nerror_type = 'billing_error'";
    let bench = Bench::with(work(), faults, Duration::ZERO);
    let refused = bench.submit();
    assert!(
        matches!(refused, Err(Error::Provider { .. })),
        "{refused:?}"
    );
    let run = bench.newest_run();
    cut_journal(&run, false);
    fs::remove_file(run.join("manifest.json")).unwrap();
    let done = bench.run_at(&run).unwrap();
    check_whole(&bench, &done);
}

#[test]
fn a_run_that_lost_its_ledger_too_knows_parts_of_a_batch_by_its_spool() {
    // The journal ends with the intent of the batch that was too large, or with its refusal.
    for lines in [2, 3] {
        let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413";
        let bench = Bench::with(work(), faults, Duration::ZERO);
        let run = submit(&bench);
        let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
        let kept: String = journal.split_inclusive('\n').take(lines).collect();
        fs::write(run.join("journal.jsonl"), kept).unwrap();
        fs::remove_file(bench.state().join("ledger.sqlite")).unwrap();
        fs::remove_file(run.join("manifest.json")).unwrap();
        let done = bench.run_at(&run).unwrap();
        check_whole(&bench, &done);
    }
}

#[test]
fn results_on_disk_are_used_where_the_provider_no_longer_has_them() {
    let bench = Bench::new(work());
    let run = bench.run().unwrap().folder;
    let before = billed(&bench);
    lose_journal(&run);
    bench.clock.set_provider_ahead(40 * 86_400);
    rescue(&bench.engine(), &run);
    assert_eq!(bench.notices.notes("saved_results_used").len(), 3);
    let done = bench.run_at(&run).unwrap();
    check_whole(&bench, &done);
    assert_eq!(billed(&bench), before);
}

#[test]
fn rescue_finds_its_batches_whatever_the_clocks_say() {
    for ahead in [-29 * 86_400, 29 * 86_400] {
        let bench = Bench::new(work());
        bench.clock.set_provider_ahead(ahead);
        let run = submit(&bench);
        lose_journal(&run);
        rescue(&bench.engine(), &run);
        assert_eq!(bench.notices.notes("found").len(), 3);
        let done = bench.run_at(&run).unwrap();
        check_whole(&bench, &done);
    }
}
