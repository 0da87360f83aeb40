//! A whole run with another provider: another envelope, other result lines, a minimum of requests,
//! one model a batch, and none of the optional calls.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use rowmill::batch::Limits;
use rowmill::catalog::Catalog;
use rowmill::engine::drive::{Context, RunOutcome, StopSignal, Until};
use rowmill::engine::export::{Export, export};
use rowmill::engine::new_run::NewRun;
use rowmill::engine::plan::{PlanReport, Planner};
use rowmill::engine::progress::{Listener, Progress};
use rowmill::engine::retry::RetryPolicy;
use rowmill::engine::{CompiledJob, Error, Means, Run};
use rowmill::estimate::Known;
use rowmill::job::JobFile;
use rowmill::outcome::Status;
use rowmill::provider::retry::Clock;
use rowmill::provider::{BatchApi as _, BatchFormat, Formats, anthropic};
use rowmill::request::custom_id::Nonce;

use crate::support::{Table, Workdir};

#[path = "../../examples/custom_provider.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is an example of its own too")]
pub(crate) mod custom_provider;

use custom_provider::{JsonLines, MemoryProvider, demo};

const FORMAT: &dyn BatchFormat = &JsonLines;

/// Hears nothing.
struct Silent;

impl Listener for Silent {
    fn hear(&self, _: Progress<'_>) {}
}

/// A clock whose sleeps pass at once.
struct Fast(Mutex<Timestamp>);

impl Fast {
    fn new() -> Fast {
        Fast(Mutex::new(Timestamp::now()))
    }
}

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("a clock")
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let mut now = self.0.lock().expect("a clock");
        *now = now.checked_add(duration).expect("a time");
        std::future::ready(()).boxed()
    }

    fn jitter(&self) -> f64 {
        0.0
    }
}

/// A job over some rows, in a folder of its own.
struct Bench {
    work: Workdir,
    file: JobFile,
    compiled: CompiledJob,
    catalog: Arc<Catalog>,
}

impl Bench {
    fn new(rows: usize, job: impl Fn(&str) -> String) -> Bench {
        let work = Workdir::new().with_rows(rows);
        let text = job(&work.read("job.toml"));
        work.write("job.toml", text);
        let catalog = Arc::new(Catalog::builtin().clone());
        let file = JobFile::read(&work.path("job.toml")).expect("a job");
        let compiled = CompiledJob::new(&file, jiff::civil::date(2026, 11, 1), &catalog);
        Bench {
            compiled: compiled.expect("a job"),
            work,
            file,
            catalog,
        }
    }

    fn folder(&self) -> PathBuf {
        self.work.path(".rowmill/test/20261101-000000-abcd")
    }

    fn plan(&self, max_requests: u32) -> Result<PlanReport, Error> {
        let (nonce, folder) = (Nonce::new(7), self.folder());
        std::fs::create_dir_all(folder.parent().expect("a folder")).expect("a folder");
        let run = NewRun {
            folder: &folder,
            file: &self.file,
            compiled: &self.compiled,
            nonce: &nonce,
            origin: MemoryProvider::default().origin(),
            simulated: false,
            narrowed: false,
            max_cost: None,
            now: Timestamp::now(),
        };
        let planner = |scratch: PathBuf| Planner {
            file: &self.file,
            compiled: &self.compiled,
            format: FORMAT,
            limits: Limits {
                max_requests,
                ..FORMAT.limits()
            },
            nonce: &nonce,
            threads: 1,
            known: Known::default(),
            sample: None,
            scratch,
            listener: &Silent,
        };
        run.plan(planner, |_, _| Ok(()))
    }

    fn open(&self, formats: Formats) -> Result<Run, Error> {
        let means = Means {
            catalog: Arc::clone(&self.catalog),
            state: self.work.path(".rowmill"),
            max_cost: None,
            formats,
        };
        Run::open(&self.folder(), Timestamp::now(), &means).map(|(run, _)| run)
    }
}

#[tokio::test]
async fn the_example_answers_its_requests() {
    let texts = demo().await.expect("two results");
    let texts: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (&**id, &**text)).collect();
    assert_eq!(texts, [("b", "two"), ("a", "one")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn carries_a_job_from_plan_to_output() {
    let bench = Bench::new(11, str::to_owned);
    let report = bench.plan(4).expect("a plan");
    let min = FORMAT.rules().min_requests;
    assert!(report.batches.len() >= 3);
    assert!(report.batches.iter().all(|batch| batch.requests >= min));

    let api = MemoryProvider::default();
    let mut run = bench
        .open(Formats::default().with(FORMAT))
        .expect("the run opens");
    assert_eq!(run.plan().provider, "json_lines");
    let (_stop, signal) = StopSignal::new();
    let context = Context {
        api: &api,
        clock: &Fast::new(),
        listener: &Silent,
        stop: signal,
        max_queued_requests: 1_000,
        settle: Duration::from_secs(1),
        deadline: None,
    };
    let outcome = context.drive(&mut run, Until::Collected).await;
    assert_eq!(outcome.expect("a run"), RunOutcome::Complete);
    let done = export(
        &mut run,
        &RetryPolicy::none(),
        None,
        Timestamp::now(),
        &Silent,
    );
    let Export::Done(summary) = done.expect("an output") else {
        panic!("no row is sent again")
    };
    assert_eq!(summary.totals.count(Status::Succeeded), 11);

    let table = Table::read(&bench.work.path("out.parquet"));
    let expected = |n: usize| format!("Text: the {n}th text, with a comma");
    let texts: Vec<String> = (1..=11).map(expected).collect();
    assert_eq!(table.column("_rm_text"), texts, "rows keep their order");

    // Another provider's batches are not driven on.
    let other = anthropic::Anthropic::from_parts(
        "http://127.0.0.1:9",
        anthropic::Credential::ApiKey("key".into()),
    );
    let other = Context {
        api: &other.expect("a client"),
        stop: StopSignal::new().1,
        ..context
    };
    let refused = other.drive(&mut run, Until::Collected).await;
    assert!(
        matches!(refused, Err(Error::OtherProvider { ref planned, ref given })
            if planned == "json_lines" && given == "anthropic"),
        "{refused:?}"
    );
}

#[test]
fn a_stored_run_is_not_read_by_another_format() {
    let bench = Bench::new(4, str::to_owned);
    bench.plan(4).expect("a plan");
    let error = bench.open(Formats::default()).expect_err("not known");
    assert!(
        matches!(error, Error::UnknownProvider { ref provider } if provider == "json_lines"),
        "{error:?}"
    );
}

#[test]
fn refuses_a_plan_that_breaks_the_rules_of_the_provider() {
    let error = Bench::new(1, str::to_owned)
        .plan(4)
        .expect_err("one request");
    assert!(
        matches!(
            error,
            Error::BatchTooSmall {
                batch: 1,
                requests: 1,
                min: 2
            }
        ),
        "{error:?}"
    );
    let by_row = |job: &str| {
        job.replace(
            "[output]",
            "[request.per_row]\nmodel = \"'claude-haiku-4-5'\"\n\n[output]",
        )
    };
    let error = Bench::new(4, by_row).plan(4).expect_err("several models");
    assert!(matches!(error, Error::OneModelABatch), "{error:?}");
}

#[test]
fn a_first_batch_of_a_set_size_has_as_many_requests_as_the_provider_needs() {
    let canary = |job: &str| format!("{job}\n[canary]\nrows = 1\n");
    let report = Bench::new(9, canary).plan(4).expect("a plan");
    let sizes: Vec<u32> = report.batches.iter().map(|batch| batch.requests).collect();
    assert_eq!(sizes[0], 2, "{sizes:?}");
    assert!(sizes.iter().all(|&size| size >= 2), "{sizes:?}");
}
