//! Jobs with another provider: another envelope, other result lines, a minimum number of requests,
//! one model per batch, and none of the optional calls.

use std::sync::Arc;

use rowmill::engine::{Engine, Error, PlanOptions, PlanReport, ReexportOptions, RunOutcome};
use rowmill::job::JobFile;

use crate::support::{Table, Workdir};

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "an example is a program of its own"
)]
#[path = "../../examples/custom_provider.rs"]
pub(crate) mod custom_provider;

use custom_provider::MemoryProvider;

/// The plan of the test job over some rows, with a change in the job.
fn plan(rows: usize, change: impl Fn(&str) -> String) -> Result<PlanReport, Error> {
    let work = Workdir::new().with_rows(rows);
    work.write("job.toml", change(&work.read("job.toml")));
    let job = JobFile::read(&work.path("job.toml")).expect("a job");
    let engine = Engine::new(work.path("state"))
        .expect("an engine")
        .with_provider(Arc::new(MemoryProvider::default()));
    let planned = engine.plan(&job, &PlanOptions::default());
    planned.map(|planned| planned.plan)
}

fn sizes(report: &PlanReport) -> Vec<u32> {
    report.batches.iter().map(|batch| batch.requests).collect()
}

#[test]
fn takes_a_job_to_its_output() {
    let work = Workdir::new().with_rows(11);
    let job = work.read("job.toml") + "\n[batch]\nmax_requests = 4\n";
    work.write("job.toml", job);
    let state = work.path("state");
    let report = custom_provider::run(&work.path("job.toml"), &state).expect("a run");
    assert_eq!(report.outcome, RunOutcome::Complete);
    assert!(report.all_succeeded() && !report.simulated);
    let batches: u64 = report.manifest.batches.values().sum();
    assert!(batches >= 3, "{batches} batches");
    let table = Table::read(report.output_path().expect("an output"));
    let text = |n: usize| format!("Text: the {n}th text, with a comma");
    let texts: Vec<String> = (1..=11).map(text).collect();
    assert_eq!(table.column("_rm_text"), texts, "in row order");

    // An engine without the provider does not read its results with another format.
    let other = Engine::new(&state).expect("an engine");
    let refused = other.export(&report.folder, &ReexportOptions::default());
    assert!(
        matches!(refused, Err(Error::UnknownProvider { ref provider })
            if provider == "json_lines"),
        "{refused:?}"
    );
}

#[test]
fn refuses_a_plan_with_fewer_requests_than_the_provider_needs() {
    let error = plan(1, str::to_owned).expect_err("one request");
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
    assert_eq!(sizes(&plan(2, str::to_owned).expect("two requests")), [2]);
}

#[test]
fn refuses_rows_that_choose_their_model_where_a_batch_has_one() {
    let by_row = |job: &str| {
        job.replace(
            "[output]",
            "[request.per_row]\nmodel = \"'claude-haiku-4-5'\"\n\n[output]",
        )
    };
    let error = plan(4, by_row).expect_err("several models");
    assert!(matches!(error, Error::OneModelABatch), "{error:?}");
}

#[test]
fn a_first_batch_of_a_set_size_has_as_many_requests_as_the_provider_needs() {
    let canary = |job: &str| format!("{job}\n[canary]\nrows = 1\n\n[batch]\nmax_requests = 4\n");
    let sizes = sizes(&plan(9, canary).expect("a plan"));
    assert_eq!(sizes[0], 2, "{sizes:?}");
    assert!(
        sizes.iter().all(|&size| (2..=4).contains(&size)),
        "{sizes:?}"
    );
}
