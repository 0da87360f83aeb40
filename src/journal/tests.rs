//! Runs on disk: made, opened, locked, damaged, found.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::batch::{Limits, SpooledBatch};
use crate::outcome::{Status, Usage};
use crate::provider::{BatchId, Counts};
use crate::request::custom_id::Nonce;

const HEAD: &[u8] = b"{\"system\":\"\xff\",";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn owner() -> Owner {
    Owner {
        host: "here".to_owned(),
        pid: 42,
        started: at(0),
    }
}

fn spooled(number: u32) -> SpooledBatch {
    SpooledBatch {
        number,
        rows: 3,
        requests: 2,
        body_bytes: 99,
        first_row: 0,
        last_row: 2,
        file_bytes: 10,
        file_hash: "f".to_owned(),
        body_hash: "b".to_owned(),
    }
}

fn plan(run: &str, created_at: Timestamp) -> Plan {
    Plan {
        format: FORMAT,
        tool: "0.1.0".to_owned(),
        created_at,
        run: run.to_owned(),
        nonce: Nonce::new(created_at.as_second().unsigned_abs()),
        simulated: false,
        job_name: "job".to_owned(),
        job: serde_json::json!({ "job": { "name": "job" } }),
        job_path: "job.toml".into(),
        state: None,
        job_hash: "j".to_owned(),
        templates: vec![HashedFile {
            path: "a.j2".into(),
            hash: "t".to_owned(),
        }],
        sources: vec![SourceFile {
            path: "a.csv".to_owned(),
            bytes: 7,
            modified: Some(created_at),
        }],
        source_schema: "a: Utf8".to_owned(),
        answer: crate::outcome::answer::AnswerPlan::default(),
        provider: crate::provider::DEFAULT_PROVIDER.to_owned(),
        origin: "https://api.example".to_owned(),
        head: HeadFile::describe(None, HEAD),
        batches: vec![spooled(1), spooled(2)],
        counts: PlanCounts {
            rows: 6,
            requests: 4,
            unsent: BTreeMap::from([("too_large".to_owned(), 2)]),
            filtered: 1,
        },
        limits: Limits {
            max_requests: 2,
            max_bytes: 1_000,
        },
        output: "out.parquet".into(),
        narrowed: false,
        checkpoints: Vec::new(),
        cache: None,
        estimate: None,
        max_cost: None,
        reuse: None,
        home: PathBuf::new(),
    }
}

/// A folder of runs.
struct Work(TempDir);

impl Work {
    fn new() -> Work {
        Work(tempfile::tempdir().unwrap())
    }

    fn job(&self) -> PathBuf {
        self.0.path().join("job")
    }

    fn make(&self, run: &str, created_at: Timestamp) -> (RunDir, Plan, Lock) {
        let planning = Planning::begin(&self.job().join(run), &owner()).unwrap();
        fs::write(planning.dir().spool_file(1), "spooled").unwrap();
        planning.finish(plan(run, created_at), HEAD).unwrap()
    }
}

fn intent(batch: u32) -> Event {
    Event::Intent {
        batch,
        requests: 2,
        bytes: 99,
        body_hash: "b".to_owned(),
        newest_listed: None,
    }
}

fn accepted(batch: u32) -> Event {
    Event::Accepted {
        batch,
        id: BatchId(format!("id {batch}")),
        created_at: at(3),
    }
}

/// Everything that can happen to the two batches until the output is there.
fn whole_story() -> Vec<Event> {
    let counts = Counts {
        succeeded: 2,
        ..Counts::default()
    };
    let lines = crate::join::LineCounts {
        lines: 2,
        ..Default::default()
    };
    let statuses = BTreeMap::from([(Status::Succeeded, 4), (Status::Unsent, 2)]);
    let doubt = || Event::Doubt {
        batch: 2,
        reason: DoubtReason::NoCertainResult {
            error: "no answer \u{e9}\n".to_owned(),
        },
    };
    let collected = |batch| Event::Collected {
        batch,
        file: format!("results/{batch:05}.1.jsonl.zst"),
        file_hash: "r".to_owned(),
        counts: lines,
    };
    vec![
        intent(1),
        Event::Refused {
            batch: 1,
            status: Some(429),
            kind: "rate_limit_error".to_owned(),
            message: "later".to_owned(),
            retry_at: Some(at(9)),
        },
        intent(1),
        accepted(1),
        intent(2),
        doubt(),
        Event::Absent {
            batch: 2,
            checked_until: at(60),
            by_person: false,
        },
        intent(2),
        doubt(),
        Event::Adopted {
            batch: 2,
            id: BatchId("id 2".to_owned()),
            created_at: at(61),
            proof: AdoptionProof::HoldsId {
                custom_id: "its first id".to_owned(),
            },
        },
        Event::CancelAsked { batch: 2 },
        Event::Seen {
            batch: 1,
            status: crate::provider::Processing::Other("resting".to_owned()),
            counts,
        },
        Event::Ended {
            batch: 1,
            counts,
            ended_at: None,
        },
        collected(1),
        Event::Ended {
            batch: 2,
            counts,
            ended_at: Some(at(90)),
        },
        collected(2),
        Event::HeldBack {
            rows: 6,
            by_status: statuses.clone(),
        },
        Event::Added {
            batch: 3,
            attempt: 2,
            spooled: spooled(3),
            head: Some(HeadFile::describe(Some(3), b"x")),
        },
        intent(3),
        accepted(3),
        Event::Lost {
            batch: 3,
            reason: LossReason::Archived { at: at(95) },
        },
        Event::Exported {
            path: "out.parquet".into(),
            rows: 6,
            by_status: statuses,
            hash: Some("e".repeat(64)),
        },
        Event::Abandoned {
            reason: AbandonReason::Requested,
        },
    ]
}

/// A run with a journal of everything that can happen.
fn run_with_history() -> (Work, RunDir, Plan) {
    let work = Work::new();
    let (run, plan, _lock) = work.make("a", at(0));
    let (mut journal, notes) = Journal::open(&run.journal(), &plan).unwrap();
    assert_eq!(notes, []);
    for (second, event) in (1..).zip(whole_story()) {
        journal.append(at(second), event).unwrap();
    }
    (work, run, plan)
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[test]
fn makes_a_run_under_its_own_name_only_when_it_is_whole() {
    let work = Work::new();
    let path = work.job().join("a");
    let planning = Planning::begin(&path, &owner()).unwrap();
    assert!(!path.exists() && !is_run(planning.dir().path()) && planning.dir().spool().is_dir());
    drop(planning);
    assert_eq!(fs::read_dir(work.job()).unwrap().count(), 0);

    let (run, written, _lock) = work.make("a", at(0));
    assert_eq!(run.path(), path);
    let (_, read, notes) = RunDir::open(&path).unwrap();
    assert_eq!((&read, notes), (&written, vec![]));
    assert_eq!(&*run.read_head(&read.head).unwrap(), HEAD);
    assert_eq!(fs::read_to_string(run.spool_file(1)).unwrap(), "spooled");
    assert!(matches!(
        Planning::begin(&path, &owner()),
        Err(Error::Exists { .. })
    ));
    assert_eq!(fs::read_dir(work.job()).unwrap().count(), 1);
}

#[test]
fn a_plan_of_the_default_provider_names_none() {
    let mut plan = plan("a", at(0));
    let written = serde_json::to_value(&plan).unwrap();
    assert!(written.get("provider").is_none(), "as in earlier versions");
    let read: Plan = serde_json::from_value(written).unwrap();
    assert_eq!(read.provider, "anthropic");

    plan.provider = "json_lines".to_owned();
    let written = serde_json::to_value(&plan).unwrap();
    assert_eq!(written["provider"], "json_lines");
    assert_eq!(serde_json::from_value::<Plan>(written).unwrap(), plan);
}

#[test]
fn leaves_nothing_behind_when_the_plan_does_not_hold_together() {
    let work = Work::new();
    for (rows, first) in [(7, 1), (6, 2)] {
        let planning = Planning::begin(&work.job().join("a"), &owner()).unwrap();
        let mut plan = plan("a", at(0));
        plan.counts.rows = rows;
        plan.batches[0].number = first;
        assert!(matches!(
            planning.finish(plan, HEAD),
            Err(Error::Contradiction { .. })
        ));
        assert_eq!(fs::read_dir(work.job()).unwrap().count(), 0);
    }
}

#[test]
fn clears_away_what_a_crash_left_of_a_plan() {
    let work = Work::new();
    let abandoned = work.job().join("a.planning");
    fs::create_dir_all(abandoned.join("spool")).unwrap();
    fs::write(abandoned.join("lock"), "").unwrap();
    let planning = Planning::begin(&work.job().join("b"), &owner()).unwrap();
    assert_eq!(
        remove_abandoned_plans(&work.job()).unwrap(),
        std::slice::from_ref(&abandoned)
    );
    assert!(!abandoned.exists() && planning.dir().path().exists());

    // Left before it was locked, or after all but the folder was removed.
    fs::create_dir_all(&abandoned).unwrap();
    remove_abandoned_plans(&work.job()).unwrap();
    assert!(!abandoned.exists());

    fs::create_dir_all(&abandoned).unwrap();
    work.make("a", at(0));
    assert!(!abandoned.exists());
    assert_eq!(
        remove_abandoned_plans(&work.0.path().join("nowhere")).unwrap(),
        [] as [PathBuf; 0]
    );
}

#[cfg(unix)]
#[test]
fn keeps_everything_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (work, run, plan) = run_with_history();
    run.write_head(Some(3), b"x").unwrap();
    manifest(&plan).write(&run).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [
        work.job(),
        run.path().to_path_buf(),
        run.spool(),
        run.results(),
    ] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    let files = fs::read_dir(run.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let files: Vec<PathBuf> = files.collect();
    assert_eq!(files.len(), 6);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn names_the_owner_to_a_second_process() {
    let work = Work::new();
    let (run, _, lock) = work.make("a", at(0));
    let locked = Lock::take(&run, &owner()).unwrap_err();
    assert_eq!(
        locked.to_string(),
        format!(
            "the run `{}` is being worked on by process 42 on here since 2026-11-18 11:06:40 UTC",
            run.path().display()
        )
    );
    drop(lock);

    fs::write(
        run.lock(),
        "text that a process left when it was killed, and that is longer than the next one's name \
         and time and all",
    )
    .unwrap();
    let other = Owner { pid: 43, ..owner() };
    let lock = Lock::take(&run, &other).unwrap();
    assert_eq!(
        serde_json::from_slice::<Owner>(&fs::read(run.lock()).unwrap()).unwrap(),
        other
    );
    fs::write(run.lock(), "").unwrap();
    assert!(matches!(
        Lock::take(&run, &owner()),
        Err(Error::Locked { owner: None, .. })
    ));
    drop(lock);
}

#[test]
fn locks_out_other_processes_not_only_other_handles() {
    let work = Work::new();
    let (run, _, lock) = work.make("a", at(0));
    let try_elsewhere = || {
        let status = std::process::Command::new("flock")
            .args(["--nonblock"])
            .arg(run.lock())
            .arg("true")
            .status();
        status.ok().map(|status| status.success())
    };
    let Some(while_locked) = try_elsewhere() else {
        let _ = writeln!(std::io::stderr(), "skipped: there is no command `flock`");
        return;
    };
    assert!(!while_locked);
    drop(lock);
    assert_eq!(try_elsewhere(), Some(true));
}

type Damage<'a> = Box<dyn Fn() + 'a>;

#[test]
fn refuses_folders_that_are_no_whole_runs() {
    let work = Work::new();
    let (run, _, _lock) = work.make("a", at(0));
    let (plan, journal) = (
        fs::read_to_string(run.plan()).unwrap(),
        fs::read(run.journal()).unwrap(),
    );
    let open = || RunDir::open(run.path()).unwrap_err();
    let cases: Vec<(&str, Damage<'_>)> = vec![
        (
            "is not a run that can be used: its `journal.jsonl`",
            Box::new(|| fs::remove_file(run.journal()).unwrap()),
        ),
        (
            "is not a run that can be used: its `plan.json` is missing",
            Box::new(|| fs::remove_file(run.plan()).unwrap()),
        ),
        (
            "plan.json` is damaged: EOF while parsing",
            Box::new(|| fs::write(run.plan(), &plan[..plan.len() / 2]).unwrap()),
        ),
        (
            "plan.json` is damaged: EOF while parsing",
            Box::new(|| fs::write(run.plan(), "").unwrap()),
        ),
        (
            "plan.json` has the format version 3, and this program reads versions up to 2",
            Box::new(|| fs::write(run.plan(), r#"{"format":3,"pieces":"other"}"#).unwrap()),
        ),
        (
            "6 rows with 4 requests are planned, the batches hold 7 with 4",
            Box::new(|| {
                fs::write(run.plan(), plan.replacen(r#""rows": 3"#, r#""rows": 4"#, 1)).unwrap()
            }),
        ),
    ];
    for (expected, damage) in cases {
        fs::write(run.plan(), &plan).unwrap();
        fs::write(run.journal(), &journal).unwrap();
        RunDir::open(run.path()).unwrap();
        damage();
        let error = open();
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
    assert!(matches!(
        RunDir::open(&work.job().join("b")),
        Err(Error::NoRun { .. })
    ));
    assert!(matches!(
        RunDir::open(&work.job()),
        Err(Error::NotARun { .. })
    ));
    let planning = Planning::begin(&work.job().join("b"), &owner()).unwrap();
    assert!(
        RunDir::open(planning.dir().path())
            .unwrap_err()
            .to_string()
            .contains("never finished")
    );
}

#[test]
fn distinguishes_a_moved_run_from_a_copied_one() {
    let work = Work::new();
    let (run, plan, _lock) = work.make("a", at(0));
    let elsewhere = work.0.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for file in [run.plan(), run.journal()] {
        fs::copy(&file, elsewhere.join(file.file_name().unwrap())).unwrap();
    }
    let notes = || RunDir::open(&elsewhere).unwrap().2;
    assert_eq!(
        notes(),
        [RunNote::Copied {
            from: plan.home.clone()
        }]
    );
    fs::remove_dir_all(run.path()).unwrap();
    assert_eq!(notes(), [RunNote::Moved { from: plan.home }]);
}

#[test]
fn refuses_a_head_that_was_altered() {
    let work = Work::new();
    let (run, plan, _lock) = work.make("a", at(0));
    fs::write(run.path().join("head.bin"), "other").unwrap();
    assert!(
        run.read_head(&plan.head)
            .unwrap_err()
            .to_string()
            .contains("head.bin")
    );
}

#[test]
fn gives_back_every_event_as_it_was() {
    let (_work, run, plan) = run_with_history();
    let history = Journal::read(&run.journal(), &plan).unwrap();
    let events: Vec<Event> = history
        .entries
        .iter()
        .map(|entry| entry.event.clone())
        .collect();
    assert_eq!(events, whole_story());
    assert!(
        history
            .entries
            .iter()
            .zip(1..)
            .all(|(entry, second)| entry.at == at(second))
    );
    assert_eq!(history.state.stage(), Stage::Abandoned);
    let text = fs::read_to_string(run.journal()).unwrap();
    assert!(
        text.lines()
            .nth(1)
            .unwrap()
            .starts_with(r#"{"v":2,"seq":1,"at":"2026-11-"#),
        "{text}"
    );
    assert!(
        text.contains(r#""event":"intent","batch":1,"requests":2,"bytes":99,"body_hash":"b"}"#),
        "{text}"
    );
}

#[test]
fn takes_every_beginning_of_a_journal() {
    let (_work, run, plan) = run_with_history();
    let whole = fs::read(run.journal()).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for length in 0..=header {
        fs::write(run.journal(), &whole[..length]).unwrap();
        let error = Journal::open(&run.journal(), &plan).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Line {
                    line: 1,
                    source: LineFault::NoHeader,
                    ..
                }
            ),
            "{}",
            chain(&error)
        );
    }
    // Every length near the end of a line, and some in the middle.
    let is_near_an_end =
        |length: usize| whole[length - 1..(length + 2).min(whole.len())].contains(&b'\n');
    for length in
        (header + 1..=whole.len()).filter(|length| length % 41 == 0 || is_near_an_end(*length))
    {
        fs::write(run.journal(), &whole[..length]).unwrap();
        let read = Journal::read(&run.journal(), &plan).unwrap();
        assert_eq!(
            fs::read(run.journal()).unwrap().len(),
            length,
            "reading changed the file"
        );
        let (mut journal, notes) = Journal::open(&run.journal(), &plan).unwrap();
        assert_eq!(journal.state(), &read.state);

        let line_start = whole[..length]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        let (kept, torn) = if length == line_start {
            (length, 0)
        } else if whole[length] == b'\n' {
            (length + 1, 0)
        } else {
            (line_start, 1)
        };
        assert_eq!(notes.len(), torn, "{notes:?} after {length} bytes");
        assert_eq!(fs::read(run.journal()).unwrap(), &whole[..kept]);

        let next = whole_story().into_iter().nth(read.entries.len());
        if let Some(event) = next {
            journal.append(at(0), event).unwrap();
            let again = Journal::read(&run.journal(), &plan).unwrap();
            assert_eq!(again.entries.len(), read.entries.len() + 1);
        }
    }
}

#[test]
fn drops_nul_bytes_only_in_an_incomplete_line() {
    let (_work, run, plan) = run_with_history();
    let whole = fs::read(run.journal()).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(run.journal(), [&whole[..header], &[0; 300]].concat()).unwrap();
    let (_, notes) = Journal::open(&run.journal(), &plan).unwrap();
    assert_eq!(
        notes,
        [RunNote::TornLine {
            line: 2,
            bytes: 300
        }]
    );
    assert_eq!(fs::read(run.journal()).unwrap(), &whole[..header]);
}

#[test]
fn names_file_and_line_of_a_damaged_journal() {
    let (_work, run, plan) = run_with_history();
    let whole = fs::read_to_string(run.journal()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let replaced = |line: usize, text: &str| {
        let mut lines = lines.clone();
        lines[line - 1] = text;
        lines.join("\n") + "\n"
    };
    let newer = lines[2].replacen(r#"{"v":2"#, r#"{"v":3"#, 1);
    let cases = [
        (
            replaced(1, &lines[0].replacen("2", "3", 1)),
            "line 1 of the journal",
            "it has the format version 3",
        ),
        (
            replaced(1, lines[1]),
            "line 1 of the journal",
            "missing field `journal`",
        ),
        (
            replaced(1, &lines[0].replace(&plan.nonce.to_string(), "zzzzzz")),
            "line 1 of the journal",
            "it belongs to the run `a`",
        ),
        (
            replaced(3, "{\"v\":1,\"seq\":2,"),
            "line 3 of the journal",
            "EOF while parsing",
        ),
        (
            replaced(3, ""),
            "line 3 of the journal",
            "EOF while parsing",
        ),
        (
            replaced(3, &"\0".repeat(40)),
            "line 3 of the journal",
            "it holds NUL bytes",
        ),
        (
            replaced(3, &newer),
            "line 3 of the journal",
            "it has the format version 3, and this program reads versions up to 2",
        ),
        (
            replaced(3, &lines[2].replace("refused", "rejoiced")),
            "line 3 of the journal",
            "unknown variant `rejoiced`",
        ),
        (
            replaced(3, lines[3]),
            "contains an impossible sequence of events",
            "line 4 (batch 1): event 3 follows event 1",
        ),
        (
            format!("{whole}{}", newer.replace("\"seq\":2", "\"seq\":24")),
            "line 25 of the journal",
            "version 3",
        ),
    ];
    for (text, first, second) in cases {
        fs::write(run.journal(), &text).unwrap();
        let error = Journal::open(&run.journal(), &plan).unwrap_err();
        let message = chain(&error);
        assert!(
            message.contains(first) && message.contains(second),
            "{message}"
        );
        assert!(message.contains("journal.jsonl"), "{message}");
        assert_eq!(
            fs::read_to_string(run.journal()).unwrap(),
            text,
            "the damaged file was changed"
        );
    }
}

#[test]
fn refuses_an_impossible_event_before_it_is_written() {
    let work = Work::new();
    let (run, plan, _lock) = work.make("a", at(0));
    let (mut journal, _) = Journal::open(&run.journal(), &plan).unwrap();
    let before = fs::read(run.journal()).unwrap();
    assert!(matches!(
        journal.append(at(1), accepted(1)),
        Err(Error::Impossible { .. })
    ));
    assert_eq!(fs::read(run.journal()).unwrap(), before);
    journal.append(at(1), intent(1)).unwrap();
    assert_eq!(journal.state().left_to(Step::Settle).count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn takes_nothing_more_once_a_write_has_failed() {
    let (_work, run, plan) = run_with_history();
    let full = run.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let mut journal = Journal::onto(&full, &plan);
    assert!(matches!(
        journal.append(at(1), intent(1)),
        Err(Error::Io { doing: "write", .. })
    ));
    assert!(matches!(
        journal.append(at(1), intent(2)),
        Err(Error::Broken { .. })
    ));
}

fn manifest(plan: &Plan) -> Manifest {
    Manifest {
        format: FORMAT,
        run: plan.run.clone(),
        job: plan.job_name.clone(),
        simulated: plan.simulated,
        state: Stage::Exported,
        rows: plan.rows(),
        by_status: BTreeMap::from([(Status::Succeeded, 4), (Status::Unsent, 2)]),
        empty_answers: None,
        batches: BTreeMap::from([(BatchStateKind::Collected, 2)]),
        usage: Usage {
            input_tokens: Some(7),
            ..Usage::default()
        },
        cost_usd: Some("0.000125".parse().unwrap()),
        reserved_usd: None,
        bill: None,
        cache: None,
        checkpoints: Vec::new(),
        estimate: None,
        output: Some("out.parquet".into()),
        next_action: NextAction::Nothing,
        created_at: plan.created_at,
        updated_at: at(99),
        notes: vec![RunNote::NothingToSend],
    }
}

#[test]
fn replaces_the_manifest_as_a_whole() {
    let work = Work::new();
    let (run, plan, _lock) = work.make("a", at(0));
    assert_eq!(Manifest::read(&run).unwrap(), None);
    let manifest = manifest(&plan);
    manifest.write(&run).unwrap();
    manifest.write(&run).unwrap();
    assert_eq!(Manifest::read(&run).unwrap(), Some(manifest));
    fs::write(run.manifest(), "{").unwrap();
    assert!(matches!(Manifest::read(&run), Err(Error::Damaged { .. })));
}

fn latest_unfinished(
    state: &Path,
    job: &str,
    in_process: bool,
) -> Result<Option<RunSummary>, Error> {
    unfinished(state, job, in_process)?.next().transpose()
}

#[test]
fn finds_runs_newest_first_and_the_unfinished_one() {
    let work = Work::new();
    let state = work.0.path();
    assert!(
        runs_of(state, "job").unwrap().is_empty()
            && all_runs(&state.join("nowhere")).unwrap().is_empty()
    );
    assert!(latest_unfinished(state, "job", false).unwrap().is_none());

    let finish = |run: &RunDir, plan: &Plan| {
        let (mut journal, _) = Journal::open(&run.journal(), plan).unwrap();
        journal
            .append(
                at(9),
                Event::Abandoned {
                    reason: AbandonReason::Requested,
                },
            )
            .unwrap();
    };
    let (z, z_plan, _) = work.make("z", at(10));
    let (b, b_plan, _) = work.make("b", at(20));
    let (a, a_plan, _) = work.make("a", at(30));
    fs::create_dir(work.job().join("not a run")).unwrap();
    let _planning = Planning::begin(&work.job().join("c"), &owner()).unwrap();
    let names = |runs: Vec<RunSummary>| -> Vec<String> {
        runs.iter()
            .map(|run| run.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(runs_of(state, "job").unwrap()), ["a", "b", "z"]);
    assert_eq!(names(all_runs(state).unwrap()), ["a", "b", "z"]);

    let latest = || latest_unfinished(state, "job", false).map(|run| run.map(|run| run.path));
    assert_eq!(latest().unwrap(), Some(a.path().to_path_buf()));
    assert!(
        latest_unfinished(state, "job", true).unwrap().is_none(),
        "none of the simulator in the process"
    );
    finish(&a, &a_plan);
    assert_eq!(latest().unwrap(), Some(b.path().to_path_buf()));
    finish(&b, &b_plan);

    fs::write(z.journal(), "{}\n").unwrap();
    assert!(
        latest()
            .unwrap_err()
            .to_string()
            .contains("line 1 of the journal")
    );
    let runs = runs_of(state, "job").unwrap();
    assert!(
        runs[2].problem.is_some() && !runs[2].finished && runs[2].created_at == z_plan.created_at
    );
    fs::remove_file(z.plan()).unwrap();
    assert!(
        latest()
            .unwrap_err()
            .to_string()
            .contains("`plan.json` is missing")
    );
    // Without its plan it may be of either kind.
    assert!(
        latest_unfinished(state, "job", true)
            .unwrap_err()
            .to_string()
            .contains("`plan.json` is missing")
    );
    // Without its journal too, its spool shows that it was a run.
    fs::remove_file(z.journal()).unwrap();
    assert!(
        latest()
            .unwrap_err()
            .to_string()
            .contains("neither `plan.json` nor `journal.jsonl`")
    );
    assert!(
        all_runs(state)
            .unwrap()
            .iter()
            .any(|run| run.path == z.path() && run.problem.is_some())
    );
}

#[test]
fn never_takes_a_journal_with_a_damaged_byte_for_an_empty_one() {
    let (_work, run, plan) = run_with_history();
    let whole = fs::read(run.journal()).unwrap();
    let events = whole_story().len() as u64;
    for place in (0..whole.len()).step_by(5).chain([whole.len() - 1]) {
        for byte in [0, b'\n', b'x', b'"', b'9', b'}', 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            fs::write(run.journal(), &bytes).unwrap();
            // A changed letter in a message is not seen; but whatever is taken has all its events,
            // save for a torn last one.
            if let Ok(history) = Journal::read(&run.journal(), &plan) {
                let is_torn = !bytes.ends_with(b"\n");
                assert!(
                    (events - u64::from(is_torn)..=events).contains(&history.state.events()),
                    "byte {place} made {byte}"
                );
            }
        }
    }
}

#[test]
fn reads_a_manifest_whose_notes_and_reasons_are_sentences() {
    let work = Work::new();
    let (run, ..) = work.make("a", at(0));
    let text = r#"{
        "format": 1, "run": "a", "job": "job", "simulated": false, "state": "in_flight", "rows": 6,
        "by_status": {}, "batches": {"in_flight": 1, "lost": 1, "in_doubt": 2},
        "usage": {}, "cost_usd": null,
        "gates": [
            {"batch": 1, "gate": "prime", "verdict": "passed", "reason": "it wrote 5 tokens"},
            {"batch": 2, "gate": "canary", "verdict": "waiting", "reason": ""}
        ],
        "output": null, "next_action": "rowmill collect runs/a (or run)",
        "created_at": "2026-11-23T03:15:00Z", "updated_at": "2026-11-23T03:20:00Z",
        "notes": ["no rows to send"]
    }"#;
    fs::write(run.manifest(), text).unwrap();
    let manifest = Manifest::read(&run).unwrap().unwrap();
    assert_eq!(manifest.state, Stage::InFlight);
    assert_eq!(
        manifest.next_action,
        NextAction::Other("rowmill collect runs/a (or run)".to_owned())
    );
    assert_eq!(
        manifest.notes,
        [RunNote::Other("no rows to send".to_owned())]
    );
    let verdicts: Vec<_> = manifest
        .checkpoints
        .iter()
        .map(|checkpoint| (checkpoint.verdict, checkpoint.reason.clone()))
        .collect();
    assert_eq!(
        verdicts,
        [
            (
                CheckpointVerdict::Judged(Verdict::Passed),
                Some(VerdictReason::Other("it wrote 5 tokens".to_owned()))
            ),
            (CheckpointVerdict::Waiting, None)
        ]
    );
    assert_eq!(
        manifest.batches,
        BTreeMap::from([
            (BatchStateKind::InDoubt, 2),
            (BatchStateKind::InFlight, 1),
            (BatchStateKind::Lost, 1),
        ])
    );
}
