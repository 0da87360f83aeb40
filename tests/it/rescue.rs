//! A run whose journal is lost is rebuilt from its plan and the provider's list.

use crate::support::{JOB, Sim, Workdir};

#[test]
fn finds_every_batch_again_and_sends_none_twice() {
    for damage in ["lost", "garbage"] {
        let work = Workdir::new().with_rows(30);
        work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 12\nsettle_seconds = 60\n"));
        let simulator = Sim::start();
        work.rowmill_at(&simulator.url(), &["submit", "job.toml"]).expect(5);
        let journal = work.files().into_iter().find(|file| file.ends_with("journal.jsonl")).unwrap();
        let run = journal.strip_suffix("/journal.jsonl").unwrap().to_owned();
        work.rowmill_at(&simulator.url(), &["rescue", &run]).expect(2).says("nothing to rescue");
        if damage == "lost" {
            std::fs::remove_file(work.path(&journal)).unwrap();
        } else {
            work.write(&journal, "not a journal\nat all\n");
        }
        let refused = work.rowmill_at(&simulator.url(), &["run", &run]).expect(2);
        assert!(refused.stderr.contains("journal"), "{}", refused.stderr);
        assert_eq!(work.rowmill_at(&simulator.url(), &["run", "job.toml"]).code, 2, "a broken run is never passed over");

        simulator.settle();
        work.rowmill_at(&simulator.url(), &["rescue", &run]).expect(5).says("was found");
        work.rowmill_at(&simulator.url(), &["run", &run]).expect(0);
        assert_eq!(work.parquet("out.parquet").column("id"), (1..=30).map(|n| format!("T-{n}")).collect::<Vec<_>>());
        assert!(simulator.accepted().values().all(|&times| times == 1), "{damage}: {:?}", simulator.accepted());
    }
}

#[test]
fn tells_batches_of_one_size_apart() {
    let work = Workdir::new().with_rows(28);
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 0\n"));
    let sim = Sim::start();
    work.rowmill_at(&sim.url(), &["submit", "job.toml"]).expect(5);
    sim.take_foreign_batch(7);
    sim.settle();
    let journal = work.files().into_iter().find(|file| file.ends_with("journal.jsonl")).unwrap();
    std::fs::remove_file(work.path(&journal)).unwrap();
    let run = journal.strip_suffix("/journal.jsonl").unwrap();
    // Ended in its middle, it is as if it had not begun.
    for n in 1..4 {
        let mut command = work.command_at(&sim.url(), &["rescue", run]);
        command.env("ROWMILL_CRASH_AT", n.to_string()).output().unwrap();
        work.rowmill_at(&sim.url(), &["submit", "job.toml"]);
        assert!(sim.accepted().values().all(|&times| times == 1), "act {n}: {:?}", sim.accepted());
    }
    work.rowmill_at(&sim.url(), &["rescue", run]);
    work.rowmill_at(&sim.url(), &["run", run]).expect(0);
    assert!(sim.accepted().values().all(|&times| times == 1), "{:?}", sim.accepted());
}
