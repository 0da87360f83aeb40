//! A month of nights: one job over a table that changes, as a scheduler runs it, with a crash, an
//! overlap, a change of the template, an outage and a moved directory among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowmill::durable::crash_thread_at;
use rowmill::engine::{Error, RunOptions, RunOutcome, RunReport, Target};
use rowmill::job::JobFile;
use rowmill::journal::{self, Lock, Owner};
use rowmill::provider::retry::Clock as _;

use crate::in_process::Bench;
use crate::support::{Table, Workdir};

const JOB: &str = r#"
[job]
name = "nightly"
[source]
path = "rows.csv"
[key]
columns = ["id"]
[request]
model = "claude-haiku-4-5"
max_tokens = 60
messages = [{ role = "user", template = "user.j2" }]
[batch]
max_requests = 20
[output]
path = "out.parquet"
mode = "merge"
removed_rows = "drop"
"#;
/// The provider answers nothing but errors for some create calls in a row.
const OUTAGE: &str =
    "[[calls]]\non = \"create\"\ndo = \"status\"\nstatus = 503\nfrom = 30\ntimes = 4";
const NIGHTS: u32 = 30;

/// The table, as a program beside rowmill changes it, and everything that it ever asked for.
struct Source {
    rng: fastrand::Rng,
    rows: BTreeMap<u32, u32>,
    next: u32,
    night: u32,
    template: u32,
    asked: BTreeSet<(u32, u32, u32)>,
}

impl Source {
    fn new() -> Source {
        Source {
            rng: fastrand::Rng::with_seed(10),
            rows: (0..60).map(|id| (id, id)).collect(),
            next: 60,
            night: 0,
            template: 1,
            asked: BTreeSet::new(),
        }
    }

    /// Changes some rows, adds some, removes some; every row is seen again.
    fn change(&mut self) {
        for _ in 0..4 {
            let id = self.any();
            self.rows.insert(id, self.next);
            self.next += 1;
        }
        for _ in 0..self.rng.u32(0..4) {
            self.rows.insert(self.next, self.next);
            self.next += 1;
        }
        let gone = self.any();
        self.rows.remove(&gone);
        self.night += 1;
    }

    fn any(&mut self) -> u32 {
        let at = self.rng.usize(0..self.rows.len());
        *self.rows.keys().nth(at).expect("a row")
    }

    /// Writes the table and the template into the folder of the job.
    fn write(&mut self, folder: &Path) {
        let mut text = String::from("id,body,night\n");
        for (id, body) in &self.rows {
            text += &format!("k{id},text {body},{}\n", self.night);
            self.asked.insert((self.template, *id, *body));
        }
        std::fs::write(folder.join("rows.csv"), text).expect("the table");
        let template = format!("{}: {{{{ body }}}}", self.template);
        std::fs::write(folder.join("user.j2"), template).expect("the template");
    }
}

/// The folder of the job, which may move, and the commands that a scheduler gives.
struct Nights<'a> {
    bench: &'a Bench,
    folder: PathBuf,
}

impl Nights<'_> {
    fn engine(&self) -> rowmill::engine::Engine {
        let url = self.bench.simulator().base_url();
        self.bench.engine_in(self.folder.join(".rowmill"), url)
    }

    fn target(&self) -> Target {
        Target::job(JobFile::read(&self.folder.join("job.toml")).expect("a job"))
    }

    fn run(&self, options: &RunOptions) -> Result<RunReport, Error> {
        self.bench.clock.advance(Duration::from_secs(1));
        self.engine().run(&self.target(), options)
    }

    /// The whole command, as the scheduler repeats it until it has ended well.
    fn run_to_the_end(&self) -> RunReport {
        let report = self.run(&RunOptions::default()).expect("a run");
        assert_eq!(report.outcome, RunOutcome::Complete);
        report
    }

    fn crash(&self, act: u32) {
        let engine = self.engine();
        let target = self.target();
        let crashed = std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                crash_thread_at(act);
                engine.run(&target, &RunOptions::default()).map(drop)
            });
            run.join().is_err()
        });
        assert!(crashed, "the run ended before its act {act}");
    }

    fn output(&self) -> Table {
        Table::read(&self.folder.join("out.parquet"))
    }
}

#[test]
fn pays_each_request_of_a_month_once() {
    let work = Workdir::in_memory();
    work.write("first/job.toml", JOB);
    let bench = Bench::with(work, OUTAGE, Duration::from_secs(40 * 60));
    let mut nights = Nights {
        bench: &bench,
        folder: bench.work.path("first"),
    };
    let mut source = Source::new();
    for night in 1..=NIGHTS {
        bench.clock.advance(Duration::from_secs(24 * 60 * 60));
        match night {
            // A night on which nothing changed.
            24 => {
                let before = bench.sent().len();
                let report = nights.run_to_the_end();
                assert!(report.nothing_to_do.is_some(), "night {night}");
                assert_eq!(bench.sent().len(), before);
                continue;
            }
            15 => {
                let moved = bench.work.path("elsewhere");
                std::fs::rename(&nights.folder, &moved).expect("the folder moves");
                nights.folder = moved;
            }
            17 => source.template += 1,
            _ => {}
        }
        source.change();
        source.write(&nights.folder);
        match night {
            // Killed in the middle, and started again.
            5 => nights.crash(10),
            // Killed when everything was sent, and not started again before the next night.
            8 => {
                nights.crash(15);
                continue;
            }
            // Not ready in the morning: the next start comes while batches are in flight.
            11 => {
                let until_morning = RunOptions {
                    deadline: Some(Duration::from_secs(10 * 60)),
                    ..RunOptions::default()
                };
                let report = nights.run(&until_morning).expect("a run");
                assert_eq!(report.outcome, RunOutcome::Unfinished);
            }
            // Another start has the job.
            13 => {
                let runs = nights.folder.join(".rowmill/nightly");
                let owner = Owner::this_process(bench.clock.now());
                let _held = Lock::of_job(&runs, &owner).expect("the lock");
                let refused = nights.run(&RunOptions::default());
                let is_locked = matches!(
                    &refused,
                    Err(Error::Journal(journal::Error::JobLocked { .. }))
                );
                assert!(is_locked, "{refused:?}");
            }
            _ => {}
        }
        let report = nights.run_to_the_end();
        assert!(report.all_succeeded(), "night {night}");
        assert_eq!(nights.output().rows(), source.rows.len(), "night {night}");
    }
    let sent: u64 = bench.sent().iter().sum();
    assert_eq!(sent, source.asked.len() as u64, "each request is paid once");
    let failed_calls = bench.calls(rowmill::simulator::ApiCall::Create) - bench.sent().len() as u64;
    assert!(failed_calls >= 4, "the outage was met");

    // A run of the whole table into another folder has the same rows.
    let fresh = Nights {
        bench: &bench,
        folder: bench.work.path("fresh"),
    };
    std::fs::create_dir_all(&fresh.folder).expect("a folder");
    std::fs::write(fresh.folder.join("job.toml"), JOB).expect("the job");
    source.write(&fresh.folder);
    assert!(fresh.run_to_the_end().all_succeeded());
    let (month, fresh) = (nights.output(), fresh.output());
    assert_eq!(month.names(), fresh.names());
    for column in [
        "id",
        "body",
        "night",
        "_rm_status",
        "_rm_request_hash",
        "_rm_model",
    ] {
        assert_eq!(month.column(column), fresh.column(column), "{column}");
    }
}
