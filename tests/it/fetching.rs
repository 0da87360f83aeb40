//! Results that come late, in parts, or not at all, and clocks that differ: what was paid is
//! fetched, and nothing is given up too early.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use rowmill::engine::{Error, ReexportOptions, RetryOptions, RunOptions, RunReport, Target};
use rowmill::outcome::class::Class;
use rowmill::provider::retry::Clock as _;
use rowmill::simulator::ApiCall;
use serde_json::Value;

use crate::endings::Ending::{self, Complete, InDoubt, SomeFailed, Stopped, Unfinished};
use crate::endings::{Ended, side_by_side};
use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

const ROWS: usize = 20;

/// Twenty rows, and what the job says besides.
fn bench(more: &str, faults: &str) -> Bench {
    let work = Workdir::new().with_rows(ROWS);
    work.write("job.toml", format!("{JOB}\n{more}"));
    Bench::with(work, faults, Duration::ZERO)
}

/// One batch of twenty rows, submitted.
fn submitted(faults: &str) -> Bench {
    let bench = bench("", faults);
    bench.expect(bench.submit(), Unfinished);
    bench
}

#[track_caller]
fn collect(bench: &Bench, ending: Ending) -> Ended {
    bench.expect(bench.collect(None), ending)
}

/// Resumes the newest run.
#[track_caller]
fn resume(bench: &Bench, ending: Ending) -> Ended {
    bench.expect(resumed(bench), ending)
}

fn resumed(bench: &Bench) -> Result<RunReport, Error> {
    bench.run_at(&bench.newest_run())
}

/// Everything is there, and was paid once.
#[track_caller]
fn check_all(bench: &Bench) {
    bench.check_output(ROWS);
    bench.check_ledger(ROWS);
    let left: Vec<String> = bench
        .work
        .files()
        .into_iter()
        .filter(|file| file.contains("so-far") || file.contains(".partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn journal(bench: &Bench) -> String {
    std::fs::read_to_string(bench.newest_run().join("journal.jsonl")).expect("a journal")
}

/// The one file of the folder whose path ends so.
fn file_of(bench: &Bench, ending: &str) -> PathBuf {
    let files = bench.work.files();
    let file = files.iter().find(|file| file.ends_with(ending));
    bench
        .work
        .path(file.unwrap_or_else(|| panic!("no {ending} in {files:?}")))
}

/// The note of a download that ended early.
#[track_caller]
fn is_short(ended: &Ended, lines: u64, expected: u64, saved: u64) {
    let short = |note: &Value| {
        note["note"] == "download_short"
            && (&note["lines"], &note["expected"], &note["saved_lines"])
                == (&lines.into(), &expected.into(), &saved.into())
    };
    assert!(ended.notices.iter().any(short), "{}", ended.text());
}

#[test]
fn results_that_end_early_are_not_collected_and_the_same_call_tries_again() {
    let bench = submitted("[[calls]]\non = 'results'\ntimes = 6\ndo = 'cut'\nat_line = 5");
    is_short(&collect(&bench, Stopped), 5, 20, 5);
    assert_eq!(bench.calls(ApiCall::Results), 4);
    assert!(!bench.work.path("out.parquet").exists());
    assert!(!journal(&bench).contains("\"collected\""));
    // The lines in hand are kept, and the next process resumes from there.
    assert!(file_of(&bench, "so-far.jsonl.zst").exists());
    collect(&bench, Complete);
    assert_eq!(bench.calls(ApiCall::Results), 7);
    check_all(&bench);
}

#[test]
fn lines_of_several_downloads_make_up_the_whole() {
    // Each download lacks another line.
    let faults = "[[calls]]\non = 'results'\nnth = [1]\ndo = 'missing_line'\nat_line = 2\n\
                  [[calls]]\non = 'results'\nfrom = 2\ndo = 'missing_line'\nat_line = 3";
    let bench = submitted(faults);
    is_short(&collect(&bench, Complete), 19, 20, 19);
    assert_eq!(bench.calls(ApiCall::Results), 2);
    check_all(&bench);
}

#[test]
fn lines_of_several_downloads_are_kept_from_one_process_to_the_next() {
    let faults = "[[calls]]\non = 'results'\ntimes = 4\ndo = 'cut'\nat_byte = 900\nabrupt = true\n\
                  [[calls]]\non = 'results'\nfrom = 5\ndo = 'missing_line'\nat_line = 1";
    let bench = submitted(faults);
    collect(&bench, Stopped)
        .has("note", "download_short")
        .has("call", "fetch results");
    collect(&bench, Complete);
    check_all(&bench);
}

#[test]
fn what_a_gateway_writes_in_place_of_the_last_line_is_no_result() {
    let faults = "[[calls]]\non = 'results'\ntimes = 5\ndo = 'missing_line'\nat_line = 20\n\
                  [[calls]]\non = 'results'\ntimes = 5\ndo = 'garbage_line'\nat_line = 20";
    let bench = submitted(faults);
    // The line that is no result is kept with the others.
    is_short(&collect(&bench, Stopped), 19, 20, 20);
    collect(&bench, Complete);
    bench.check_output(ROWS);
}

#[test]
fn an_id_that_is_absent_from_complete_results_is_missing_for_good() {
    let faults = "[[calls]]\non = 'results'\ndo = 'missing_line'\nat_line = 2\n\
                  [[calls]]\non = 'results'\ndo = 'duplicate_line'\nat_line = 3";
    let bench = submitted(faults);
    let ended = collect(&bench, SomeFailed).has("missing", "1");
    let summary = ended.report.and_then(|report| report.summary);
    assert!(summary.is_some(), "the output was written");
    assert_eq!(bench.calls(ApiCall::Results), 4);
    assert_eq!(bench.statuses()["missing"], 1);
    // It is not asked for again: the results are complete.
    collect(&bench, SomeFailed);
    assert_eq!(bench.calls(ApiCall::Results), 4);
}

#[test]
fn one_batch_that_cannot_be_fetched_does_not_keep_the_others_from_being_fetched() {
    let bench = bench(
        "[batch]\nmax_requests = 7\n",
        "[[calls]]\non = 'results'\nnth = [1]\ndo = 'status'\nstatus = 400",
    );
    bench.expect(bench.submit(), Unfinished);
    collect(&bench, Stopped);
    assert_eq!(journal(&bench).matches("\"collected\"").count(), 2);
    collect(&bench, Complete);
    check_all(&bench);
}

#[test]
fn results_that_cannot_be_had_are_not_waited_for_with_batches_that_are_not_sent() {
    const LONGEST: Duration = Duration::from_secs(40);
    let faults = "[[calls]]\non = 'results'\ndo = 'status'\nstatus = 400";
    let is_soon = |bench: &Bench, begun| {
        let waited = bench.clock.now().duration_since(begun);
        assert!(
            waited < SignedDuration::from_secs(30),
            "waits {waited} for what does not come"
        );
        assert!(bench.calls(ApiCall::Create) < 3);
    };
    let queued = bench(
        "[batch]\nmax_requests = 7\nmax_queued_requests = 7\n",
        faults,
    );
    let begun = queued.clock.now();
    queued.expect(queued.submit(), Unfinished);
    queued.expect(queued.collect(Some(LONGEST)), Stopped);
    is_soon(&queued, begun);
    let short = bench(
        "[batch]\nmax_requests = 7\n[budget]\nrun_usd = 0.005\non_limit = 'partial'\n",
        faults,
    );
    let begun = short.clock.now();
    let options = RunOptions {
        deadline: Some(LONGEST),
        ..RunOptions::default()
    };
    short
        .expect(short.run_with(&options), Stopped)
        .has("notice", "held_back");
    is_soon(&short, begun);
}

/// Makes of a finished run what an earlier version left where results ended early: five lines,
/// taken for all there are.
fn cut_results(bench: &Bench, lines: usize) {
    let results = file_of(bench, "00001.1.jsonl.zst");
    let mut text = String::new();
    let bytes = std::fs::read(&results).unwrap();
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
    std::fs::write(results, bytes).unwrap();
    edit_journal(bench, |line| {
        if line["event"] == "collected" {
            line["file_hash"] = hash.clone().into();
            line["counts"]["lines"] = lines.into();
            line["counts"]["missing"] = (ROWS - lines).into();
        }
    });
}

/// Changes the lines of the journal.
fn edit_journal(bench: &Bench, edit: impl Fn(&mut Value)) {
    let lines: Vec<String> = journal(bench)
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            edit(&mut line);
            line.to_string()
        })
        .collect();
    let journal = bench.newest_run().join("journal.jsonl");
    std::fs::write(journal, lines.join("\n") + "\n").unwrap();
}

#[test]
fn results_that_an_earlier_version_took_for_all_are_fetched_again_for_nothing() {
    let run = |bench: &Bench| {
        let target = Target::run(bench.newest_run());
        bench.engine().run(&target, &RunOptions::default())
    };
    let export = |bench: &Bench| {
        let options = ReexportOptions::default();
        bench.engine().export(&bench.newest_run(), &options)
    };
    let retry = |bench: &Bench| {
        bench.retry(&RetryOptions {
            classes: vec![Class::Missing],
            ..RetryOptions::default()
        })
    };
    type Call<'a> = &'a dyn Fn(&Bench) -> Result<RunReport, Error>;
    let calls: [(&str, Call<'_>); 4] = [
        ("run", &run),
        ("collect", &|bench| bench.collect(None)),
        ("export", &export),
        ("retry", &retry),
    ];
    for (name, call) in calls {
        let bench = submitted("");
        collect(&bench, Complete);
        cut_results(&bench, 5);
        let ended = bench.expect(call(&bench), Complete);
        let again = ended.count("notice", "results_fetched_again")
            + ended.count("note", "results_still_there");
        assert!(again > 0, "{name}: {}", ended.text());
        check_all(&bench);
        let (mut view, _) = bench.engine().status(&bench.newest_run()).unwrap();
        view.add_money(&bench.entries());
        let spent = view.money.expect("the ledger knows the run").spent_usd;
        assert!(spent > rowmill::cost::Money::ZERO, "{name}");
    }
}

#[test]
fn results_that_are_past_their_time_are_not_asked_for_and_leave_what_is_there() {
    let bench = submitted("");
    collect(&bench, Complete);
    cut_results(&bench, 5);
    bench.clock.set_provider_ahead(30 * 86_400);
    resume(&bench, SomeFailed);
    assert_eq!(bench.statuses()["missing"], 15);
    bench.check_ledger(ROWS);
}

#[test]
fn one_answer_of_not_found_gives_nothing_up_whatever_the_clocks_say() {
    for ahead in [-40 * 86_400, 40 * 86_400] {
        for call in ["retrieve", "results"] {
            let bench = bench(
                "",
                &format!("[[calls]]\non = '{call}'\nnth = [1, 2]\ndo = 'status'\nstatus = 404"),
            );
            bench.clock.set_provider_ahead(ahead);
            bench
                .expect(bench.run(), Complete)
                .has_no("note", "results_lost");
            check_all(&bench);
            // The day of the ledger does not depend on the provider's clock.
            let today = bench.clock.now().to_string()[..10].to_owned();
            let entries = bench.entries();
            assert!(!entries.is_empty());
            assert!(entries.iter().all(|entry| entry.day.to_string() == today));
        }
    }
}

#[test]
fn time_left_is_measured_by_this_machines_clock() {
    let work = Workdir::new().with_rows(ROWS);
    let sim = Sim::new("", Duration::from_secs(3_600));
    sim.set_ahead(-28 * 86_400);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0);
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

/// Moves what the journal says back in time.
fn age(bench: &Bench, events: &[&str], days: i64) {
    edit_journal(bench, |line| {
        let Some(at) = line["at"]
            .as_str()
            .filter(|_| events.iter().any(|event| line["event"] == *event))
        else {
            return;
        };
        let at: jiff::Timestamp = at.parse().unwrap();
        line["at"] = (at - SignedDuration::from_hours(24 * days))
            .to_string()
            .into();
    });
}

#[test]
fn an_uncertain_batch_that_a_clock_ahead_wrote_down_is_settled_all_the_same() {
    let bench = bench(
        "[batch]\nsettle_seconds = 1\n",
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'reset_before'",
    );
    bench.expect(bench.submit(), InDoubt);
    age(&bench, &["intent", "doubt"], -300);
    let options = RunOptions {
        deadline: Some(Duration::from_secs(20)),
        ..RunOptions::default()
    };
    // The job itself does not start before its newest run; the run is resumed by its folder.
    let run = Target::run(bench.newest_run());
    bench
        .expect(bench.engine().run(&run, &options), Complete)
        .has_note("sent_again", 1);
    check_all(&bench);
}

#[test]
fn results_are_given_up_when_they_were_not_found_several_times_well_apart() {
    // Never found again, past 29 days by this machine's clock.
    let bench = submitted("[[calls]]\non = 'retrieve'\ntimes = 5\ndo = 'status'\nstatus = 404");
    age(&bench, &["intent", "accepted"], 31);
    for _ in 0..2 {
        collect(&bench, Unfinished).has("note", "not_found");
        let times = journal(&bench).matches("not_found").count();
        assert_eq!(times, 1, "once in half an hour");
    }
    age(&bench, &["not_found"], 1);
    collect(&bench, Unfinished);
    age(&bench, &["not_found"], 1);
    collect(&bench, SomeFailed).has("note", "results_lost");
    assert_eq!(bench.statuses()["missing"], ROWS);
    // It was a passing fault after all: the next call finds them, for nothing.
    resume(&bench, SomeFailed);
    let ended = resume(&bench, Complete);
    let again =
        ended.count("notice", "results_fetched_again") + ended.count("note", "results_still_there");
    assert!(again > 0, "{}", ended.text());
    check_all(&bench);
}

#[test]
fn what_came_before_results_were_lost_is_kept() {
    let bench = submitted("[[calls]]\non = 'results'\ntimes = 4\ndo = 'cut'\nat_line = 8");
    collect(&bench, Stopped);
    bench.clock.set_provider_ahead(30 * 86_400);
    collect(&bench, SomeFailed)
        .has("note", "results_lost")
        .has("rows", "12");
    assert_eq!(bench.statuses()["succeeded"], 8);
}

/// The words and exit codes of what the tests above look at as data.
#[test]
fn the_binary_says_what_became_of_results() {
    let cases = [
        (
            "[[calls]]\non = 'results'\ntimes = 6\ndo = 'cut'\nat_line = 5",
            0,
            4,
            &["5 of 20 lines", "run the same command again"][..],
        ),
        (
            "[[calls]]\non = 'results'\nnth = [1]\ndo = 'missing_line'\nat_line = 20",
            0,
            0,
            &["19 lines for 20", "19 lines saved so far"],
        ),
        (
            "[[calls]]\non = 'results'\ndo = 'missing_line'\nat_line = 2\n[[calls]]\non = \
             'results'\ndo = 'duplicate_line'\nat_line = 3",
            0,
            3,
            &["1 missing", "--class missing"],
        ),
        (
            "[[calls]]\non = 'retrieve'\ntimes = 5\ndo = 'status'\nstatus = 404",
            0,
            5,
            &["cannot be found for now"],
        ),
        ("", 30, 3, &["are lost"]),
    ];
    side_by_side(&cases, |(faults, days, code, says)| {
        let work = Workdir::new().with_rows(ROWS);
        let sim = Sim::with(faults);
        work.rowmill_at(&sim.url(), &["submit", "job.toml"])
            .expect(0);
        sim.set_ahead(days * 86_400);
        sim.settle();
        let mut finished = work
            .rowmill_at(&sim.url(), &["collect", "job.toml"])
            .expect(*code);
        for words in *says {
            finished = finished.says(words);
        }
    });
}

/// Saved results that are not there any more are fetched again, and the binary says that this
/// costs nothing.
#[test]
fn the_binary_says_that_fetching_again_costs_nothing() {
    let bench = submitted("");
    collect(&bench, Complete);
    cut_results(&bench, 5);
    let run = bench.newest_run();
    let finished = bench
        .work
        .rowmill_at(
            &bench.simulator().base_url(),
            &["collect", run.to_str().expect("a path")],
        )
        .expect(0);
    finished.says("costs nothing");
    check_all(&bench);
}
