//! Runs whose files are not what they were: a lost journal is rebuilt, everything else is refused
//! by name.

use rowmill::engine::Error;

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

#[test]
fn finds_every_batch_again_and_sends_none_twice() {
    for damage in ["lost", "garbage"] {
        let work = Workdir::new().with_rows(30);
        work.write(
            "job.toml",
            format!("{JOB}\n[batch]\nmax_requests = 12\nsettle_seconds = 60\n"),
        );
        let bench = Bench::new(work);
        let run = bench.submit().unwrap().folder;
        let sound = bench.engine().rescue(&run);
        assert!(
            matches!(sound, Err(Error::SoundJournal { .. })),
            "{sound:?}"
        );
        let journal = run.join("journal.jsonl");
        if damage == "lost" {
            std::fs::remove_file(&journal).unwrap();
        } else {
            std::fs::write(&journal, "not a journal\nat all\n").unwrap();
        }
        let refused = bench.run_at(&run);
        assert!(matches!(refused, Err(Error::Journal(_))), "{refused:?}");
        let refused = bench.run();
        assert!(
            matches!(refused, Err(Error::Journal(_))),
            "a broken run is never passed over: {refused:?}"
        );

        assert!(bench.engine().rescue(&run).unwrap().summary.is_none());
        assert_eq!(bench.notices.notes("found").len(), 3);
        assert_eq!(
            bench.notices.of("rescued")[0]["old_journal"].is_null(),
            damage == "lost"
        );
        assert!(bench.run_at(&run).unwrap().all_succeeded());
        assert_eq!(
            bench.output().column("id"),
            (1..=30).map(|n| format!("T-{n}")).collect::<Vec<_>>()
        );
        let accepted = bench.accepted();
        assert!(
            accepted.values().all(|&times| times == 1),
            "{damage}: {accepted:?}"
        );
    }
}

/// The words and the exit codes of a rescue.
#[test]
fn says_what_a_rescue_found() {
    let work = Workdir::new().with_rows(5);
    let simulator = Sim::start();
    let rowmill = |args: &[&str]| work.rowmill_at(&simulator.url(), args);
    rowmill(&["submit", "job.toml"]).expect(0);
    let journal = file_of(&work, "journal.jsonl");
    let run = journal.strip_suffix("/journal.jsonl").unwrap();
    rowmill(&["rescue", run])
        .expect(2)
        .says("nothing to rescue");
    std::fs::remove_file(work.path(&journal)).unwrap();
    rowmill(&["run", run]).expect(2).says("journal");
    rowmill(&["run", "job.toml"]).expect(2);
    simulator.settle();
    rowmill(&["rescue", run]).expect(5).says("was found");
}

/// The one file of the run whose path ends so.
fn file_of(work: &Workdir, ending: &str) -> String {
    work.files()
        .into_iter()
        .find(|file| file.ends_with(ending))
        .unwrap_or_else(|| panic!("no {ending} in {:?}", work.files()))
}

#[test]
fn altered_files_are_refused_by_name_and_nothing_is_sent() {
    for (ending, words) in [
        ("spool/00001.parquet", "was altered"),
        ("head.bin", "altered"),
        ("plan.json", "plan.json"),
        ("journal.jsonl", "journal"),
    ] {
        let work = Workdir::new().with_rows(5);
        let simulator = Sim::start();
        work.rowmill_at(&simulator.url(), &["plan", "job.toml", "--out", "kept/run"])
            .expect(0);
        let name = file_of(&work, ending);
        let mut bytes = std::fs::read(work.path(&name)).unwrap();
        let middle = bytes.len() / 2;
        // One bit of what is not text; of what is, the second half.
        if name.ends_with("json") || name.ends_with("jsonl") {
            bytes.truncate(middle)
        } else {
            bytes[middle] ^= 0x10
        }
        work.write(&name, bytes);
        let refused = work
            .rowmill_at(&simulator.url(), &["run", "kept/run"])
            .expect(2)
            .says(words);
        assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
        assert_eq!(simulator.ledger().batches.len(), 0, "{ending}");
    }
}

#[test]
fn results_of_another_run_are_refused() {
    let work = Workdir::new().with_rows(5);
    let simulator = Sim::start();
    // The second run asks something else of the same rows, so that it has results of its own.
    for (run, question) in [("kept/one", "Say what"), ("kept/two", "Tell what")] {
        work.write("job.toml", JOB.replace("Say what", question));
        work.rowmill_at(&simulator.url(), &["plan", "job.toml", "--out", run])
            .expect(0);
        work.rowmill_at(&simulator.url(), &["run", run]).expect(0);
    }
    std::fs::copy(
        work.path("kept/one/results/00001.1.jsonl.zst"),
        work.path("kept/two/results/00001.1.jsonl.zst"),
    )
    .unwrap();
    // As long as the provider has them, they are fetched again, which costs nothing.
    work.rowmill_at(&simulator.url(), &["run", "kept/two"])
        .expect(0)
        .says("00001.1.jsonl.zst")
        .says("costs nothing");
    std::fs::remove_file(work.path("kept/two/results/00001.1.jsonl.zst")).unwrap();
    work.rowmill_at(&simulator.url(), &["export", "kept/two"])
        .expect(0)
        .says("00001.1.jsonl.zst")
        .says("costs nothing");
    assert_eq!(
        work.parquet("out.parquet").column("_rm_status"),
        ["succeeded"; 5]
    );
    assert_eq!(
        simulator.accepted().values().copied().collect::<Vec<_>>(),
        [2; 5],
        "two runs, each paid once"
    );
    simulator.set_ahead(30 * 86_400);
    std::fs::copy(
        work.path("kept/one/results/00001.1.jsonl.zst"),
        work.path("kept/two/results/00001.1.jsonl.zst"),
    )
    .unwrap();
    work.rowmill_at(&simulator.url(), &["run", "kept/two"])
        .expect(2)
        .says("00001.1.jsonl.zst")
        .says("hint:");
    std::fs::remove_file(work.path("kept/one/results/00001.1.jsonl.zst")).unwrap();
    work.rowmill_at(&simulator.url(), &["run", "kept/one"])
        .expect(2)
        .says("00001.1.jsonl.zst")
        .says("hint:");
}

#[test]
fn a_journal_of_a_newer_version_or_of_another_run_is_refused() {
    let work = Workdir::new().with_rows(5);
    let simulator = Sim::start();
    for run in ["kept/one", "kept/two"] {
        work.rowmill_at(&simulator.url(), &["plan", "job.toml", "--out", run])
            .expect(0);
    }
    let journal = work.read("kept/one/journal.jsonl");
    work.write("kept/two/journal.jsonl", &journal);
    work.rowmill_at(&simulator.url(), &["run", "kept/two"])
        .expect(2)
        .says("another nonce");
    work.write(
        "kept/one/journal.jsonl",
        journal.replace("\"journal\":2", "\"journal\":99"),
    );
    work.rowmill_at(&simulator.url(), &["run", "kept/one"])
        .expect(2)
        .says("99")
        .says("hint:");
    assert_eq!(simulator.ledger().batches.len(), 0);
}

#[test]
fn a_run_copied_elsewhere_goes_on_and_says_so() {
    let work = Workdir::new().with_rows(5);
    let simulator = Sim::start();
    work.rowmill_at(&simulator.url(), &["plan", "job.toml", "--out", "kept/one"])
        .expect(0);
    std::fs::rename(work.path("kept"), work.path("moved")).unwrap();
    work.rowmill_at(&simulator.url(), &["run", "moved/one"])
        .expect(0)
        .says("kept/one");
    assert_eq!(work.parquet("out.parquet").rows(), 5);
}

#[test]
fn tells_batches_of_one_size_apart() {
    let work = Workdir::new().with_rows(28);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n"),
    );
    let bench = Bench::new(work);
    let run = bench.submit().unwrap().folder;
    bench.take_foreign_batch(7);
    std::fs::remove_file(run.join("journal.jsonl")).unwrap();
    let once = || bench.accepted().values().all(|&times| times == 1);
    // Ended in its middle, it is as if it had not begun.
    for n in 1..4 {
        let _ = bench.crash_at(n, |engine| engine.rescue(&run));
        let _ = bench.submit();
        assert!(once(), "act {n}: {:?}", bench.accepted());
    }
    let _ = bench.engine().rescue(&run);
    assert!(bench.run_at(&run).unwrap().all_succeeded());
    assert!(once(), "{:?}", bench.accepted());
}
