//! Runs whose worst case is more than their budget: they are sent in rounds, and no limit is ever
//! passed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::{
    BudgetCause, Error, LimitVerdict, Notice, Observer, OverBudget, PlanOptions, PlanReport,
    RetryCost, RetryOptions, RunOptions, RunOutcome, RunReport,
};
use rowmill::job::JobFile;
use rowmill::ledger::{Ledger, LedgerEntry};
use rowmill::outcome::class::Class;

use crate::in_process::Bench;
use crate::support::{JOB, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);

/// Looks at the ledger whenever something was reserved or settled.
#[derive(Clone)]
struct LedgerWatch {
    state: PathBuf,
    limit: Money,
    /// The most that was spent and reserved together.
    most: Arc<Mutex<Money>>,
}

impl Observer for LedgerWatch {
    fn notice(&self, notice: Notice<'_>) {
        let is_change = matches!(
            notice,
            Notice::Submitting { .. } | Notice::Accepted { .. } | Notice::Collected { .. }
        );
        if !is_change {
            return;
        }
        let entries = Ledger::open(&self.state).unwrap().entries().unwrap();
        let used = used(&entries);
        assert!(used <= self.limit, "{used} of {}: {entries:?}", self.limit);
        let mut most = self.most.lock().unwrap();
        *most = (*most).max(used);
    }
}

fn used(entries: &[LedgerEntry]) -> Money {
    let each = entries.iter().map(|entry| entry.spent() + entry.held());
    each.sum()
}

/// Runs the job of a folder under a limit that is watched, and returns the most of it that was
/// used.
fn run_watched(bench: &Bench, limit: Money) -> (Result<RunReport, Error>, Money) {
    let watch = LedgerWatch {
        state: bench.state(),
        limit,
        most: Arc::default(),
    };
    let options = RunOptions {
        max_cost: Some(limit),
        ..RunOptions::default()
    };
    bench.clock.advance(Duration::from_secs(1));
    let engine = bench.engine().with_observer(watch.clone());
    let result = engine.run(&bench.job(), &options);
    let most = *watch.most.lock().unwrap();
    (result, most)
}

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

/// A part of an amount, in thousandths.
fn part(amount: Money, thousandths: i64) -> Money {
    Money::from_picodollars(amount.picodollars() / 1_000 * thousandths)
}

fn plan(bench: &Bench, max_cost: Option<Money>) -> PlanReport {
    let job = JobFile::read(&bench.work.path("job.toml")).unwrap();
    let options = PlanOptions {
        max_cost,
        ..PlanOptions::default()
    };
    bench.engine().plan(&job, &options).unwrap().plan
}

/// Every row was accepted once and succeeded.
#[track_caller]
fn check_rows(bench: &Bench, rows: usize) {
    let accepted = bench.accepted();
    assert_eq!(accepted.len(), rows);
    assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
    let out = bench.output();
    let keys: Vec<String> = (1..=rows).map(|n| format!("T-{n}")).collect();
    assert_eq!(out.column("id"), keys);
    let statuses = out.column("_rm_status");
    assert!(statuses.iter().all(|status| status == "succeeded"));
}

/// Long texts and short answers of at most a long length: 37 cents, and five dollars at most.
fn cheap_job_with_a_high_worst_case() -> Workdir {
    let work = Workdir::new().with_rows(400);
    let mut rows = String::from("id,body\n");
    for n in 1..=400 {
        rows.push_str(&format!(
            "T-{n},{} {n}\n",
            "some words to read ".repeat(300)
        ));
    }
    let schema = r#"{"type": "object", "required": ["kind"], "additionalProperties": false,
        "properties": {"kind": {"enum": ["a", "b"]}}}"#;
    work.write("rows.csv", rows).write("kind.json", schema);
    let job = JOB.replace(
        "max_tokens = 200",
        "max_tokens = 4000
schema = \"kind.json\"",
    );
    work.write("job.toml", job);
    work
}

#[test]
fn a_cheap_job_with_a_high_worst_case_runs_under_its_limit_in_few_rounds() {
    let bench = Bench::with(cheap_job_with_a_high_worst_case(), "", HOUR);
    let limit = usd("1");
    let planned = plan(&bench, Some(limit));
    let cost = planned.estimate.total;
    assert!(
        usd("0.3") < cost.expected && cost.expected < usd("0.44"),
        "{cost:?}"
    );
    assert!(cost.worst_case > usd("4.5"), "{cost:?}");
    assert_eq!(planned.batches.len(), 1);
    let LimitVerdict::SentInRounds { rounds } = planned.budget[0].verdict else {
        panic!("{:?}", planned.budget);
    };
    assert!(
        planned.budget[0].typed && (5..10).contains(&rounds),
        "{rounds}"
    );
    let (result, most) = run_watched(&bench, limit);
    assert!(result.unwrap().all_succeeded());
    check_rows(&bench, 400);
    assert!(most > part(limit, 900), "the budget was used: {most}");
    let sent = bench.sent();
    assert!(sent.len() as u32 <= rounds && sent.len() > 1, "{sent:?}");
    assert!(
        sent[..sent.len() - 1].iter().all(|part| *part > 20),
        "{sent:?}"
    );
}

#[test]
fn no_limit_is_ever_passed_whatever_the_sizes_of_batches_and_answers() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut complete, mut stopped) = (0, 0);
    for case in 0..16 {
        let rows = random.usize(4..40);
        let work = Workdir::new().with_rows(rows);
        let job = JOB.replace("= 200", &format!("= {}", random.u32(20..1_500)));
        let batches = random.u32(1..25);
        let partial = ["stop", "partial"][random.usize(0..2)];
        work.write(
            "job.toml",
            format!("{job}[batch]\nmax_requests = {batches}\n[budget]\non_limit = \"{partial}\"\n"),
        );
        let faults = "[[rows]]\noutcome = 'truncated'\nshare = 0.2\n";
        let bench = Bench::with(work, if case % 2 == 0 { faults } else { "" }, HOUR);
        let cost = plan(&bench, None).estimate.total;
        let limit = part(cost.expected, random.i64(300..3_000));
        let (result, _) = run_watched(&bench, limit);
        let entries = bench.entries();
        let what = format!("case {case}: {rows} rows, {batches} a batch, {limit} of {cost:?}");
        assert!(used(&entries) <= limit, "{what}");
        let accepted = bench.accepted();
        assert!(accepted.values().all(|times| *times == 1), "{what}");
        match result {
            Ok(report) if report.outcome == RunOutcome::Complete => {
                complete += 1;
                assert_eq!(accepted.len(), rows, "{what}");
            }
            Ok(report) => assert_eq!(report.outcome, RunOutcome::OverBudget, "{what}"),
            Err(Error::Budget(over)) => {
                stopped += 1;
                let is_right = over.expected > over.shortage.left()
                    || matches!(over.cause, BudgetCause::OneRequest { worst_case }
                        if worst_case > over.shortage.left());
                assert!(is_right, "{what}: {over:?}");
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
    assert!(complete > 3 && stopped > 1, "{complete} and {stopped}");
}

#[test]
fn what_the_first_results_show_lowers_the_reservations_of_the_others() {
    let work = Workdir::new().with_rows(90);
    let policy = "Sort the text by its subject, and be brief. ".repeat(700);
    work.write("policy.md", policy);
    let job = JOB
        .replace(
            "system = \"Say what the text is about.\"",
            "system = [ { file = \"policy.md\", cache = \"1h\" } ]",
        )
        .replace("max_tokens = 200", "max_tokens = 20");
    work.write(
        "job.toml",
        format!("{job}[batch]\nmax_requests = 40\n[cache]\nprime = \"always\"\n"),
    );
    let bench = Bench::new(work);
    assert!(bench.run().unwrap().all_succeeded());
    let mut entries = bench.entries();
    entries.sort_by_key(|entry| entry.batch);
    assert!(
        entries.len() >= 3 && entries[0].requests == 1,
        "{entries:?}"
    );
    // The warm-up request is reserved with a token a byte; the rest with the tokens it had.
    assert_eq!(entries[0].reserved, entries[0].worst_case);
    for entry in &entries[1..] {
        assert!(entry.reserved < part(entry.worst_case, 500), "{entry:?}");
        assert!(entry.spent() <= entry.reserved, "{entry:?}");
    }
}

#[test]
fn an_earlier_process_measured_what_a_resumed_run_reserves_by() {
    let work = Workdir::new().with_rows(60);
    work.write("job.toml", format!("{JOB}[batch]\nmax_requests = 30\n"));
    let bench = Bench::with(work, "", HOUR);
    let cost = plan(&bench, None).estimate.batches;
    let limit = cost[0].worst_case + part(cost[1].worst_case, 100);
    let options = RunOptions {
        max_cost: Some(limit),
        ..RunOptions::default()
    };
    let submitted = bench.submit_with(&options).unwrap();
    assert_eq!(submitted.outcome, RunOutcome::OverBudget);
    bench.collect(Some(HOUR * 2)).unwrap();
    bench.submit().unwrap();
    let second = &bench.entries()[1];
    assert!(second.reserved < second.worst_case, "{second:?}");
}

#[test]
fn submit_sends_what_fits_and_the_rest_when_it_comes_back() {
    let work = Workdir::new().with_rows(20);
    let bench = Bench::with(work, "", HOUR);
    let cost = plan(&bench, None).estimate.total;
    let options = RunOptions {
        max_cost: Some(part(cost.worst_case, 600)),
        ..RunOptions::default()
    };
    let mut submits = 0;
    loop {
        let report = bench.submit_with(&options).unwrap();
        submits += 1;
        if report.unsent_batches == 0 {
            break;
        }
        assert_eq!(report.outcome, RunOutcome::OverBudget);
        bench.collect(Some(HOUR * 2)).unwrap();
    }
    assert_eq!(submits, 2);
    assert!(bench.collect(Some(HOUR * 2)).unwrap().all_succeeded());
    check_rows(&bench, 20);
}

#[test]
fn two_jobs_share_a_day_and_each_is_sent_as_the_other_leaves_room() {
    let bench = Bench::with(Workdir::new().with_rows(20), "", HOUR);
    let cost = plan(&bench, None).estimate.total;
    let limit = part(cost.worst_case, 400);
    let budget = format!("[budget]\nday_usd = \"{limit}\"\n");
    let job = bench.work.read("job.toml");
    bench.work.write("job.toml", format!("{job}{budget}"));
    let other = job
        .replace("name = \"test\"", "name = \"other\"")
        .replace("out.parquet", "other.parquet");
    bench.work.write("other.toml", format!("{other}{budget}"));
    let watch = LedgerWatch {
        state: bench.state(),
        limit,
        most: Arc::default(),
    };
    for name in ["job.toml", "other.toml"] {
        let engine = bench.engine().with_observer(watch.clone());
        let report = engine.run(&bench.job_in(name), &RunOptions::default());
        assert!(report.unwrap().all_succeeded(), "{name}");
    }
    let jobs = |job: &str| {
        bench
            .entries()
            .iter()
            .filter(|entry| entry.job == job)
            .count()
    };
    assert!(
        jobs("test") > 1 && jobs("other") > 1,
        "{:?}",
        bench.entries()
    );
    assert!(*watch.most.lock().unwrap() > part(limit, 700));
}

#[track_caller]
fn over(result: Result<RunReport, Error>) -> OverBudget {
    match result {
        Err(Error::Budget(over)) => *over,
        other => panic!("not over budget: {other:?}"),
    }
}

#[test]
fn a_budget_without_room_for_one_request_in_its_worst_case_sends_nothing() {
    let work = Workdir::new().with_rows(2);
    let schema = r#"{"type": "object", "required": ["kind"], "additionalProperties": false,
        "properties": {"kind": {"enum": ["a", "b"]}}}"#;
    work.write("kind.json", schema);
    work.write(
        "job.toml",
        JOB.replace(
            "max_tokens = 200",
            "max_tokens = 64000\nschema = \"kind.json\"",
        ),
    );
    let bench = Bench::new(work);
    let planned = plan(&bench, Some(usd("0.1")));
    assert_eq!(planned.budget[0].verdict, LimitVerdict::Refused);
    let found = over(run_watched(&bench, usd("0.1")).0);
    let BudgetCause::OneRequest { worst_case } = found.cause else {
        panic!("{found:?}");
    };
    assert!(worst_case > usd("0.16") && !found.is_under_way, "{found:?}");
    assert!(bench.sent().is_empty() && bench.entries().is_empty());
    assert!(
        bench
            .run_with(&RunOptions {
                max_cost: Some(usd("0.17")),
                ..RunOptions::default()
            })
            .unwrap()
            .all_succeeded()
    );
}

#[test]
fn a_limit_that_was_typed_holds_for_the_run_that_is_planned_again() {
    let bench = Bench::new(Workdir::new().with_rows(5));
    let limit = usd("0.00001");
    assert!(over(run_watched(&bench, limit).0).typed);
    let job = bench.work.read("job.toml");
    bench
        .work
        .write("job.toml", job.replace("the text", "this text"));
    let found = over(bench.run());
    assert!(found.typed && found.shortage.limit == limit, "{found:?}");
    assert_eq!(bench.notices.of("planned_again").len(), 1);
    let options = RunOptions {
        max_cost: Some(usd("1")),
        ..RunOptions::default()
    };
    assert!(bench.run_with(&options).unwrap().all_succeeded());
}

#[test]
fn a_plan_that_is_kept_keeps_its_limit() {
    let bench = Bench::new(Workdir::new().with_rows(5));
    let job = JobFile::read(&bench.work.path("job.toml")).unwrap();
    let options = PlanOptions {
        max_cost: Some(usd("0.00001")),
        out: Some(bench.work.path("kept")),
        ..PlanOptions::default()
    };
    bench.engine().plan(&job, &options).unwrap();
    assert!(over(bench.run_at(&bench.work.path("kept"))).typed);
}

/// Answers a question about a retry, and keeps it.
#[derive(Clone)]
struct Answer {
    yes: bool,
    asked: Arc<Mutex<Vec<RetryCost>>>,
}

impl Observer for Answer {
    fn notice(&self, _: Notice<'_>) {}

    fn confirms_retry(&self, retry: &RetryCost) -> bool {
        self.asked.lock().unwrap().push(retry.clone());
        self.yes
    }
}

#[test]
fn a_retry_that_is_declined_leaves_nothing_behind() {
    let faults = "[[rows]]\noutcome = 'truncated'\nshare = 0.5\n";
    let work = Workdir::new().with_rows(20);
    let job = work.read("job.toml");
    work.write("job.toml", format!("{job}[budget]\nday_usd = 1\n"));
    let bench = Bench::with(work, faults, Duration::ZERO);
    assert!(!bench.run().unwrap().all_succeeded());
    let folder = bench.newest_run();
    let files = || {
        let mut files = bench.work.files();
        files.retain(|file| !file.contains("ledger.sqlite-"));
        files
    };
    let before = (
        files(),
        std::fs::read(folder.join("journal.jsonl")).unwrap(),
        bench.entries(),
    );
    let options = RetryOptions {
        classes: vec![Class::Truncated],
        ..RetryOptions::default()
    };
    let retry = |yes: bool| {
        let answer = Answer {
            yes,
            asked: Arc::default(),
        };
        let engine = bench.engine().with_observer(answer.clone());
        let result = engine.retry(&folder, &options);
        let asked = answer.asked.lock().unwrap().clone();
        (result, asked)
    };
    let (result, asked) = retry(false);
    assert!(matches!(result, Err(Error::Declined { .. })), "{result:?}");
    let after = (
        files(),
        std::fs::read(folder.join("journal.jsonl")).unwrap(),
        bench.entries(),
    );
    assert_eq!(after, before);
    let [question] = &asked[..] else {
        panic!("{asked:?}");
    };
    let spent: Money = bench.entries().iter().map(LedgerEntry::spent).sum();
    assert!(question.rows > 0 && question.batches == 1, "{question:?}");
    assert!(question.cost.expected > Money::ZERO);
    assert!(question.cost.expected < question.cost.worst_case);
    let day = &question.budget[0];
    assert_eq!((day.used.spent, day.left), (spent, usd("1") - spent));
    let (result, asked) = retry(true);
    assert!(result.unwrap().all_succeeded());
    assert_eq!(asked[0].rows, question.rows);
    // What was said to be the worst case is what was reserved.
    let reserved = bench.entries().last().unwrap().reserved;
    assert!(reserved <= question.cost.worst_case, "{reserved}");
}

#[test]
fn the_screen_shows_limits_and_rounds() {
    let work = Workdir::new().with_rows(20);
    let shows = |args: &[&str], words: &[&str]| {
        let stdout = work.rowmill(args).expect(0).stdout;
        let missing = words.iter().filter(|word| !stdout.contains(**word));
        let missing: Vec<&&str> = missing.collect();
        assert!(missing.is_empty(), "{missing:?} is not in\n{stdout}");
    };
    shows(
        &["plan", "job.toml", "--max-cost", "0.005"],
        &[
            "--max-cost",
            "sent in about 3 rounds",
            "batches are sent as long as their worst case",
        ],
    );
    shows(
        &["plan", "job.toml", "--max-cost", "0.0001", "--markdown"],
        &["| --max-cost | $0.0001 |", "| refused |"],
    );
    let json = work
        .rowmill(&["plan", "job.toml", "--max-cost", "0.0001", "--json"])
        .expect(0)
        .json();
    assert_eq!(json["plan"]["budget"][0]["verdict"], "refused");
    let job = work.read("job.toml");
    work.write("job.toml", format!("{job}[budget]\nrun_usd = 0.005\n"));
    shows(
        &["check", "job.toml"],
        &["budget.run_usd", "sent in about 3 rounds"],
    );
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(0)
        .says("requests are sent now, the rest once they are billed");
}
