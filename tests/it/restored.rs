//! Runs whose files tell less than was sent: a journal that lost its end, a folder put back from a
//! copy, a folder that is gone. Nothing is paid twice, and what was paid is found.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rowmill::ledger::{EntryState, Ledger};
use rowmill::simulator::ApiCall;

use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;

fn work() -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
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

/// Cuts the journal off after its header, or in the middle of its second line.
fn cut_journal(work: &Workdir, run: &str, is_torn: bool) {
    let name = format!("{run}/journal.jsonl");
    let text = work.read(&name);
    let header = text.find('\n').unwrap() + 1;
    work.write(&name, &text[..header + if is_torn { 40 } else { 0 }]);
}

#[track_caller]
fn check_once(sim: &Sim) {
    assert!(
        sim.accepted().values().all(|times| *times == 1),
        "{:?}",
        sim.accepted()
    );
    assert_eq!(sim.accepted().len(), ROWS);
}

#[test]
fn a_journal_that_lost_its_end_sends_nothing_that_the_ledger_or_the_manifest_knows() {
    for is_torn in [false, true] {
        for lacks in ["", "ledger", "manifest"] {
            let (work, sim) = (work(), Sim::new("", Duration::from_secs(5)));
            work.rowmill_at(&sim.url(), &["submit", "job.toml"])
                .expect(5);
            let run = run_folder(&work);
            cut_journal(&work, &run, is_torn);
            match lacks {
                "ledger" => fs::remove_file(work.path(".rowmill/ledger.sqlite")).unwrap(),
                "manifest" => fs::remove_file(work.path(&format!("{run}/manifest.json"))).unwrap(),
                _ => {}
            }
            let status = work.rowmill_at(&sim.url(), &["status", &run]).expect(0);
            assert!(
                lacks == "ledger" || status.stderr.contains("may or may not have been created"),
                "{}",
                status.stderr
            );
            let held = work
                .rowmill_at(&sim.url(), &["run", "job.toml", "--deadline", "1s"])
                .expect(7);
            assert!(
                held.stderr.contains("may or may not have been created"),
                "{}",
                held.stderr
            );
            check_once(&sim);
            work.rowmill_at(&sim.url(), &["run", "job.toml"])
                .expect(0)
                .says("was found");
            check_once(&sim);
            crate::crash::check_output(&work, &sim, ROWS);
        }
    }
}

#[test]
fn a_folder_put_back_from_before_it_was_sent_finds_its_batches_by_the_list_alone() {
    for seconds in [0, 5] {
        let (work, sim) = (work(), Sim::new("", Duration::from_secs(seconds)));
        work.rowmill_at(
            &sim.url(),
            &["plan", "job.toml", "--out", ".rowmill/test/one"],
        )
        .expect(0);
        copy(&work.path(".rowmill"), &work.path("kept"));
        work.rowmill_at(&sim.url(), &["submit", ".rowmill/test/one"])
            .expect(5);
        sim.settle();
        fs::remove_dir_all(work.path(".rowmill")).unwrap();
        copy(&work.path("kept"), &work.path(".rowmill"));
        work.rowmill_at(&sim.url(), &["run", ".rowmill/test/one"])
            .expect(0);
        check_once(&sim);
        crate::crash::check_output(&work, &sim, ROWS);
        assert_eq!(sim.calls(ApiCall::Create), 3);
    }
}

#[test]
fn a_folder_put_back_whose_job_has_changed_is_not_planned_again_where_its_batches_were_sent() {
    for seconds in [0, 3_600] {
        let (work, sim) = (work(), Sim::new("", Duration::from_secs(seconds)));
        work.rowmill_at(
            &sim.url(),
            &["plan", "job.toml", "--out", ".rowmill/test/one"],
        )
        .expect(0);
        copy(&work.path(".rowmill"), &work.path("kept"));
        work.rowmill_at(&sim.url(), &["submit", ".rowmill/test/one"])
            .expect(5);
        sim.settle();
        fs::remove_dir_all(work.path(".rowmill")).unwrap();
        copy(&work.path("kept"), &work.path(".rowmill"));
        // The source is as new as its copy, and the same.
        std::thread::sleep(Duration::from_millis(20));
        work.write("rows.csv", work.read("rows.csv"));
        work.rowmill_at(&sim.url(), &["run", "job.toml"])
            .expect(4)
            .says("has changed");
        check_once(&sim);
    }
}

/// Plans a run, works on it, and then on a copy of its folder that was made before it was sent:
/// nothing more is accepted.
fn resume_from_a_copy(work: &Workdir, sim: &Sim) {
    work.rowmill_at(
        &sim.url(),
        &["plan", "job.toml", "--out", ".rowmill/test/one"],
    )
    .expect(0);
    copy(&work.path(".rowmill"), &work.path("kept"));
    work.rowmill_at(&sim.url(), &["run", ".rowmill/test/one"])
        .expect(0);
    let accepted = sim.accepted();
    fs::remove_dir_all(work.path(".rowmill")).unwrap();
    copy(&work.path("kept"), &work.path(".rowmill"));
    work.rowmill_at(&sim.url(), &["run", ".rowmill/test/one"])
        .expect(0);
    assert_eq!(sim.accepted(), accepted);
    crate::crash::check_output(work, sim, ROWS);
}

#[test]
fn a_folder_put_back_finds_the_rows_that_were_sent_again_too() {
    let work = work();
    let sim =
        Sim::with("[[rows]]\noutcome = 'errored'\nshare = 0.4\nerror_type = 'overloaded_error'");
    resume_from_a_copy(&work, &sim);
    assert!(sim.accepted().values().any(|times| *times == 2));
}

#[test]
fn a_folder_put_back_finds_the_parts_of_a_batch_that_was_too_large() {
    let work = work();
    // The first create call of either process.
    let sim = Sim::with("[[calls]]\non = 'create'\nnth = [1, 6]\ndo = 'status'\nstatus = 413");
    resume_from_a_copy(&work, &sim);
    check_once(&sim);
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
    let (work, sim) = (
        work(),
        Sim::new(
            "[[batches]]\nnth = [1, 2, 3]\nextra_seconds = 3600",
            Duration::ZERO,
        ),
    );
    work.write(
        "other.toml",
        work.read("job.toml")
            .replace("name = \"test\"", "name = \"other\"")
            .replace("out.parquet", "o.parquet"),
    );
    work.rowmill_at(
        &sim.url(),
        &["plan", "job.toml", "--out", ".rowmill/test/one"],
    )
    .expect(0);
    work.rowmill_at(&sim.url(), &["submit", "other.toml"])
        .expect(5);
    work.rowmill_at(&sim.url(), &["run", ".rowmill/test/one"])
        .expect(0);
    // Batches of somebody else that have ended are looked into, and left alone.
    work.rowmill_at(
        &sim.url(),
        &["plan", "job.toml", "--out", ".rowmill/test/two"],
    )
    .expect(0);
    sim.take_foreign_batch(7);
    sim.settle();
    work.rowmill_at(&sim.url(), &["run", ".rowmill/test/two"])
        .expect(0);
}

#[test]
fn a_run_that_lost_its_plan_and_its_journal_is_refused_and_nothing_is_paid_again() {
    let (work, sim) = (work(), Sim::new("", Duration::from_secs(3_600)));
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
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
    check_once(&sim);
    // A person may decide that it is gone for good.
    work.rowmill_at(&sim.url(), &["cancel", id, "--abandon"])
        .expect(0)
        .says("is gone");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
}

fn billed(work: &Workdir) -> Vec<(u32, String)> {
    let entries = Ledger::open(&work.path(".rowmill"))
        .unwrap()
        .entries()
        .unwrap();
    let billed = entries
        .iter()
        .filter(|entry| entry.state == EntryState::Billed);
    billed
        .map(|entry| (entry.batch, entry.spent().to_string()))
        .collect()
}

#[test]
fn rescue_knows_of_rows_that_were_sent_again_and_keeps_their_bills() {
    for results in [true, false] {
        let work = work();
        let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.5\nerror_type = 'overloaded_error'\n\
                      [[rows]]\noutcome = 'truncated'\nshare = 0.3\ntimes = 0";
        let sim = Sim::with(faults);
        work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(3);
        let run = run_folder(&work);
        work.rowmill_at(&sim.url(), &["retry", &run, "--class", "truncated"])
            .expect(3);
        let (before, accepted, creates) =
            (billed(&work), sim.accepted(), sim.calls(ApiCall::Create));
        let table = work.parquet("out.parquet");
        assert!(before.len() > 4, "{before:?}");
        fs::remove_file(work.path(&format!("{run}/journal.jsonl"))).unwrap();
        if !results {
            fs::remove_dir_all(work.path(&format!("{run}/results"))).unwrap();
            fs::create_dir(work.path(&format!("{run}/results"))).unwrap();
        }
        work.rowmill_at(&sim.url(), &["rescue", &run]).expect(5);
        work.rowmill_at(&sim.url(), &["run", &run]).expect(3);
        assert_eq!(
            (sim.accepted(), sim.calls(ApiCall::Create)),
            (accepted, creates),
            "nothing was sent again"
        );
        assert_eq!(billed(&work), before, "a bill that was written stays");
        let after = work.parquet("out.parquet");
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
fn check_rescued(work: &Workdir, sim: &Sim) {
    let run = run_folder(work);
    fs::remove_file(work.path(&format!("{run}/journal.jsonl"))).unwrap();
    sim.settle();
    work.rowmill_at(&sim.url(), &["rescue", &run]).expect(5);
    std::thread::sleep(Duration::from_millis(1_200));
    work.rowmill_at(&sim.url(), &["run", &run]).expect(0);
    check_once(sim);
    crate::crash::check_output(work, sim, ROWS);
}

#[test]
fn rescue_knows_of_batches_that_were_split() {
    let work = work();
    let sim = Sim::with("[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    check_rescued(&work, &sim);
}

#[test]
fn rescue_knows_of_batches_that_were_split_in_many() {
    let work = work();
    let faults = "[[calls]]\non = 'create'\nnth = [1, 7]\ndo = 'status'\nstatus = 400\nerror_type \
                  = 'invalid_request_error'\nmessage = 'requests: List should have at most 3 items \
                  after validation, not 7'";
    let sim = Sim::with(faults);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    assert_eq!(
        sim.calls(ApiCall::Create),
        6,
        "one refused in three parts, and two more"
    );
    check_rescued(&work, &sim);
}

#[test]
fn a_journal_that_lost_its_end_knows_of_a_part_that_was_sent_by_its_ledger_alone() {
    let work = work();
    // The first batch is too large, and the second of its halves is not taken for want of money.
    let faults = "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413\n[[calls]]\non \
                  = 'create'\nnth = [5]\ndo = 'status'\nstatus = 402\nerror_type = 'billing_error'";
    let sim = Sim::with(faults);
    assert!(work.rowmill_at(&sim.url(), &["submit", "job.toml"]).code > 2);
    let run = run_folder(&work);
    cut_journal(&work, &run, false);
    fs::remove_file(work.path(&format!("{run}/manifest.json"))).unwrap();
    work.rowmill_at(&sim.url(), &["run", &run]).expect(0);
    check_once(&sim);
    crate::crash::check_output(&work, &sim, ROWS);
}

#[test]
fn a_run_that_lost_its_ledger_too_knows_parts_of_a_batch_by_its_spool() {
    // The journal ends with the intent of the batch that was too large, or with its refusal.
    for lines in [2, 3] {
        let work = work();
        let sim = Sim::with("[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 413");
        work.rowmill_at(&sim.url(), &["submit", "job.toml"])
            .expect(5);
        let run = run_folder(&work);
        let journal = work.read(&format!("{run}/journal.jsonl"));
        let kept: String = journal.split_inclusive('\n').take(lines).collect();
        work.write(&format!("{run}/journal.jsonl"), kept);
        for file in [".rowmill/ledger.sqlite", &format!("{run}/manifest.json")] {
            fs::remove_file(work.path(file)).unwrap();
        }
        work.rowmill_at(&sim.url(), &["run", &run]).expect(0);
        check_once(&sim);
        crate::crash::check_output(&work, &sim, ROWS);
    }
}

#[test]
fn results_on_disk_are_used_where_the_provider_no_longer_has_them() {
    let (work, sim) = (work(), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    let run = run_folder(&work);
    let before = billed(&work);
    fs::remove_file(work.path(&format!("{run}/journal.jsonl"))).unwrap();
    sim.set_ahead(40 * 86_400);
    work.rowmill_at(&sim.url(), &["rescue", &run])
        .expect(5)
        .says("saved results are complete");
    work.rowmill_at(&sim.url(), &["run", &run]).expect(0);
    check_once(&sim);
    crate::crash::check_output(&work, &sim, ROWS);
    assert_eq!(billed(&work), before);
}

#[test]
fn rescue_finds_its_batches_whatever_the_clocks_say() {
    for ahead in [-29 * 86_400, 29 * 86_400] {
        let (work, sim) = (work(), Sim::start());
        sim.set_ahead(ahead);
        work.rowmill_at(&sim.url(), &["submit", "job.toml"])
            .expect(5);
        let run = run_folder(&work);
        fs::remove_file(work.path(&format!("{run}/journal.jsonl"))).unwrap();
        sim.settle();
        work.rowmill_at(&sim.url(), &["rescue", &run])
            .expect(5)
            .says("was found");
        work.rowmill_at(&sim.url(), &["run", &run]).expect(0);
        check_once(&sim);
    }
}
