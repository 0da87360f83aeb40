//! Results that come late, in parts, or not at all, and clocks that differ: what was paid is
//! fetched, and nothing is given up too early.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use rowmill::simulator::ApiCall;

use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;

/// One batch of twenty rows, submitted.
fn submitted(faults: &str) -> (Workdir, Sim) {
    let work = Workdir::new().with_rows(ROWS);
    let sim = Sim::with(faults);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    (work, sim)
}

fn collect(work: &Workdir, sim: &Sim, code: i32) -> crate::support::Finished {
    work.rowmill_at(&sim.url(), &["collect", "job.toml"])
        .expect(code)
}

fn statuses(work: &Workdir) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for status in work.parquet("out.parquet").column("_rm_status") {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

/// Everything is there, and was paid once.
#[track_caller]
fn check_all(work: &Workdir, sim: &Sim) {
    crate::crash::check_output(work, sim, ROWS);
    crate::crash::check_ledger(sim, ROWS);
    let left: Vec<String> = work
        .files()
        .into_iter()
        .filter(|file| file.contains("so-far") || file.contains(".partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The one file of the run whose path ends so.
fn file_of(work: &Workdir, ending: &str) -> String {
    work.files()
        .into_iter()
        .find(|file| file.ends_with(ending))
        .unwrap_or_else(|| panic!("no {ending} in {:?}", work.files()))
}

fn run_folder(work: &Workdir) -> String {
    file_of(work, "plan.json")
        .strip_suffix("/plan.json")
        .unwrap()
        .to_owned()
}

#[test]
fn results_that_end_early_are_not_collected_and_the_same_command_tries_again() {
    let (work, sim) = submitted("[[calls]]\non = 'results'\ntimes = 6\ndo = 'cut'\nat_line = 5");
    collect(&work, &sim, 4)
        .says("5 of 20 lines")
        .says("run the same command again");
    assert_eq!(sim.calls(ApiCall::Results), 4);
    assert!(!work.path("out.parquet").exists());
    assert!(
        !work
            .read(&file_of(&work, "journal.jsonl"))
            .contains("\"collected\"")
    );
    // The lines in hand are kept, and the next process goes on from there.
    assert!(
        work.files()
            .iter()
            .any(|file| file.ends_with("so-far.jsonl.zst"))
    );
    collect(&work, &sim, 0);
    assert_eq!(sim.calls(ApiCall::Results), 7);
    check_all(&work, &sim);
}

#[test]
fn lines_of_several_downloads_make_up_the_whole() {
    // Each download lacks another line.
    let faults = "[[calls]]\non = 'results'\nnth = [1]\ndo = 'missing_line'\nat_line = 2\n\
                  [[calls]]\non = 'results'\nfrom = 2\ndo = 'missing_line'\nat_line = 3";
    let (work, sim) = submitted(faults);
    collect(&work, &sim, 0).says("19 lines saved so far");
    assert_eq!(sim.calls(ApiCall::Results), 2);
    check_all(&work, &sim);
}

#[test]
fn lines_of_several_downloads_are_kept_from_one_process_to_the_next() {
    let faults = "[[calls]]\non = 'results'\ntimes = 4\ndo = 'cut'\nat_byte = 900\nabrupt = true\n\
                  [[calls]]\non = 'results'\nfrom = 5\ndo = 'missing_line'\nat_line = 1";
    let (work, sim) = submitted(faults);
    collect(&work, &sim, 4).says("broke off");
    collect(&work, &sim, 0);
    check_all(&work, &sim);
}

#[test]
fn what_a_gateway_writes_in_place_of_the_last_line_is_no_result() {
    let faults = "[[calls]]\non = 'results'\ntimes = 5\ndo = 'missing_line'\nat_line = 20\n\
                  [[calls]]\non = 'results'\ntimes = 5\ndo = 'garbage_line'\nat_line = 20";
    let (work, sim) = submitted(faults);
    collect(&work, &sim, 4).says("19 lines for 20");
    collect(&work, &sim, 0);
    crate::crash::check_output(&work, &sim, ROWS);
}

#[test]
fn an_id_that_is_absent_from_complete_results_is_missing_for_good() {
    let faults = "[[calls]]\non = 'results'\ndo = 'missing_line'\nat_line = 2\n\
                  [[calls]]\non = 'results'\ndo = 'duplicate_line'\nat_line = 3";
    let (work, sim) = submitted(faults);
    collect(&work, &sim, 3)
        .says("1 missing")
        .says("--class missing");
    assert_eq!(sim.calls(ApiCall::Results), 4);
    assert_eq!(statuses(&work)["missing"], 1);
    // It is not asked for again: the results are complete.
    collect(&work, &sim, 3);
    assert_eq!(sim.calls(ApiCall::Results), 4);
}

#[test]
fn one_batch_that_cannot_be_fetched_does_not_keep_the_others_from_being_fetched() {
    let work = Workdir::new().with_rows(ROWS);
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 7\n"));
    let sim = Sim::with("[[calls]]\non = 'results'\nnth = [1]\ndo = 'status'\nstatus = 400");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    sim.settle();
    let first = collect(&work, &sim, 4);
    let journal = work.read(&file_of(&work, "journal.jsonl"));
    assert_eq!(
        journal.matches("\"collected\"").count(),
        2,
        "{}",
        first.stderr
    );
    collect(&work, &sim, 0);
    check_all(&work, &sim);
}

#[test]
fn results_that_cannot_be_had_are_not_waited_for_with_batches_that_are_not_sent() {
    for (more, command) in [
        ("max_queued_requests = 7", "collect"),
        ("[budget]\nrun_usd = 0.005\non_limit = 'partial'", "run"),
    ] {
        let work = Workdir::new().with_rows(ROWS);
        work.write(
            "job.toml",
            format!("{JOB}\n[batch]\nmax_requests = 7\n{more}\n"),
        );
        let sim = Sim::with("[[calls]]\non = 'results'\ndo = 'status'\nstatus = 400");
        let begun = std::time::Instant::now();
        if command == "collect" {
            work.rowmill_at(&sim.url(), &["submit", "job.toml"])
                .expect(5);
            sim.settle();
            work.rowmill_at(
                &sim.url(),
                &["collect", &run_folder(&work), "--wait", "40s"],
            )
            .expect(4);
        } else {
            let run = work
                .rowmill_at(&sim.url(), &["run", "job.toml", "--deadline", "40s"])
                .expect(4);
            run.says("held back by the budget");
        }
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(30),
            "{command} waits for what does not come"
        );
        assert!(sim.calls(ApiCall::Create) < 3);
    }
}

/// Makes of a finished run what an earlier version left where results ended early: five lines,
/// taken for all there are.
fn cut_results(work: &Workdir, lines: usize) {
    let results = file_of(work, "00001.1.jsonl.zst");
    let mut text = String::new();
    let bytes = std::fs::read(work.path(&results)).unwrap();
    zstd::Decoder::new(&bytes[..])
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let kept: String = text
        .lines()
        .take(lines)
        .map(|line| format!("{line}\n"))
        .collect();
    let bytes = zstd::encode_all(kept.as_bytes(), 1).unwrap();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    work.write(&results, bytes);
    edit_journal(work, |line| {
        if line["event"] == "collected" {
            line["file_hash"] = hash.clone().into();
            line["counts"]["lines"] = lines.into();
            line["counts"]["missing"] = (ROWS - lines).into();
        }
    });
}

/// Changes the lines of the journal.
fn edit_journal(work: &Workdir, edit: impl Fn(&mut serde_json::Value)) {
    let path = file_of(work, "journal.jsonl");
    let lines: Vec<String> = work
        .read(&path)
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            edit(&mut line);
            line.to_string()
        })
        .collect();
    work.write(&path, lines.join("\n") + "\n");
}

#[test]
fn results_that_an_earlier_version_took_for_all_are_fetched_again_for_nothing() {
    for command in [
        &["run"][..],
        &["collect"],
        &["export"],
        &["retry", "--class", "missing"],
    ] {
        let (work, sim) = submitted("");
        collect(&work, &sim, 0);
        cut_results(&work, 5);
        let run = run_folder(&work);
        let mut args = vec![command[0], run.as_str()];
        args.extend(&command[1..]);
        work.rowmill_at(&sim.url(), &args)
            .expect(0)
            .says("which is free");
        check_all(&work, &sim);
        let billed = work
            .rowmill_at(&sim.url(), &["status", &run, "--json"])
            .json();
        assert_ne!(billed["money"]["spent_usd"], "0", "{command:?}");
    }
}

#[test]
fn results_that_are_past_their_time_are_not_asked_for_and_say_what_is_left() {
    let (work, sim) = submitted("");
    collect(&work, &sim, 0);
    cut_results(&work, 5);
    sim.set_ahead(30 * 86_400);
    let run = run_folder(&work);
    work.rowmill_at(&sim.url(), &["run", &run]).expect(3);
    assert_eq!(statuses(&work)["missing"], 15);
    crate::crash::check_ledger(&sim, ROWS);
}

#[test]
fn one_answer_of_not_found_gives_nothing_up_whatever_the_clocks_say() {
    for ahead in [-40 * 86_400, 40 * 86_400] {
        for call in ["retrieve", "results"] {
            let work = Workdir::new().with_rows(ROWS);
            let sim = Sim::with(&format!(
                "[[calls]]\non = '{call}'\nnth = [1, 2]\ndo = 'status'\nstatus = 404"
            ));
            sim.set_ahead(ahead);
            let finished = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
            assert!(!finished.stderr.contains("lost"), "{}", finished.stderr);
            check_all(&work, &sim);
            // Nor does the time shown depend on the provider's clock, or the day of the ledger.
            let day = jiff::Timestamp::now().to_string()[..10].to_owned();
            let ledger = rowmill::ledger::Ledger::open(&work.path(".rowmill")).unwrap();
            assert!(
                ledger
                    .entries()
                    .unwrap()
                    .iter()
                    .all(|entry| entry.day.to_string() == day)
            );
        }
    }
}

#[test]
fn time_left_is_told_by_this_machines_clock() {
    let work = Workdir::new().with_rows(ROWS);
    let sim = Sim::new("", Duration::from_secs(3_600));
    sim.set_ahead(-28 * 86_400);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(5);
    let status = work
        .rowmill_at(&sim.url(), &["status", "job.toml", "--json"])
        .expect(0)
        .json();
    let batch = &status["batches"][0];
    assert!(
        batch["expires_in_seconds"].as_u64().unwrap() > 86_000,
        "{batch}"
    );
    assert!(
        batch["results_vanish_in_seconds"].as_u64().unwrap() > 28 * 86_400,
        "{batch}"
    );
    assert_eq!(status["warnings"], serde_json::json!([]));
}

/// Moves what the journal tells back in time.
fn age(work: &Workdir, events: &[&str], days: i64) {
    edit_journal(work, |line| {
        let Some(at) = line["at"]
            .as_str()
            .filter(|_| events.iter().any(|event| line["event"] == *event))
        else {
            return;
        };
        let at: jiff::Timestamp = at.parse().unwrap();
        line["at"] = (at - jiff::SignedDuration::from_hours(24 * days))
            .to_string()
            .into();
    });
}

#[test]
fn a_doubt_that_was_written_down_by_a_clock_that_was_ahead_is_settled_all_the_same() {
    let work = Workdir::new().with_rows(ROWS);
    work.write("job.toml", format!("{JOB}\n[batch]\nsettle_seconds = 1\n"));
    let sim = Sim::with("[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_before'");
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(7);
    age(&work, &["intent", "doubt"], -300);
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--deadline", "20s"])
        .expect(0)
        .says("was not created");
    check_all(&work, &sim);
}

#[test]
fn results_are_given_up_when_they_were_not_found_several_times_well_apart() {
    // Never found again, past 29 days by this machine's clock.
    let (work, sim) =
        submitted("[[calls]]\non = 'retrieve'\ntimes = 5\ndo = 'status'\nstatus = 404");
    age(&work, &["intent", "accepted"], 31);
    for sightings in [1, 1] {
        collect(&work, &sim, 5).says("cannot be found for now");
        assert_eq!(
            work.read(&file_of(&work, "journal.jsonl"))
                .matches("not_found")
                .count(),
            sightings,
            "once in half an hour"
        );
    }
    age(&work, &["not_found"], 1);
    collect(&work, &sim, 5);
    age(&work, &["not_found"], 1);
    collect(&work, &sim, 3).says("are lost");
    assert_eq!(statuses(&work)["missing"], ROWS);
    // It was a passing fault after all: the next command finds them, for nothing.
    let run = run_folder(&work);
    work.rowmill_at(&sim.url(), &["run", &run]).expect(3);
    work.rowmill_at(&sim.url(), &["run", &run])
        .expect(0)
        .says("which is free");
    check_all(&work, &sim);
}

#[test]
fn what_came_before_results_were_lost_is_kept() {
    let (work, sim) = submitted("[[calls]]\non = 'results'\ntimes = 4\ndo = 'cut'\nat_line = 8");
    collect(&work, &sim, 4);
    sim.set_ahead(30 * 86_400);
    collect(&work, &sim, 3).says("12 of its rows");
    assert_eq!(statuses(&work)["succeeded"], 8);
}
