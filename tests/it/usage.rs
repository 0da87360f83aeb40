//! What answers say of their usage, or fail to say, and what that does to the bill; answers that
//! say nothing; lines that are no lines.

use std::time::Duration;

use rowmill::cost::Money;
use rowmill::engine::{Error, RetryOptions, RunReport};
use rowmill::journal::{CanaryLimit, VerdictReason};
use rowmill::ledger::{EntryState, LedgerEntry};
use rowmill::outcome::class::{Class, MoreTokens};

use crate::bill::{costs, manifest, sum};
use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

/// Rows `T-1` … against a simulator that plays these faults.
fn with_faults(rows: usize, faults: &str) -> Bench {
    Bench::with(Workdir::new().with_rows(rows), faults, Duration::ZERO)
}

/// A fault that gives every answer this usage.
fn usage(json: &str) -> String {
    format!("[[rows]]\noutcome = 'replaced'\nshare = 1.0\nusage = '''{json}'''\n")
}

/// The documentation's own example: 203,000 in and 4,500 out are due, and the top level names
/// 23,000 and 1,000.
const COMPACTED: &str = r#"{"input_tokens":23000,"output_tokens":1000,
    "cache_read_input_tokens":0,"cache_creation_input_tokens":0,"service_tier":"batch","iterations":[
    {"type":"compaction","input_tokens":180000,"output_tokens":3500},
    {"type":"message","input_tokens":23000,"output_tokens":1000}]}"#;

#[test]
fn the_bill_is_the_sum_over_the_steps_of_an_answer() {
    let bench = with_faults(2, &usage(COMPACTED));
    bench.work.write(
        "job.toml",
        JOB.replace("claude-haiku-4-5", "claude-sonnet-4-6"),
    );
    assert!(bench.run().unwrap().all_succeeded());
    let each: Money = "0.33825".parse().unwrap();
    assert_eq!(costs(&bench.work), [Some(each), Some(each)]);
    let out = bench.output();
    assert_eq!(out.column("_rm_input_tokens"), ["203000"; 2]);
    assert_eq!(out.column("_rm_output_tokens"), ["4500"; 2]);
    let manifest = manifest(&bench.work);
    assert_eq!(
        (
            manifest["cost_usd"].as_str(),
            manifest["usage"]["input_tokens"].as_u64()
        ),
        (Some("0.6765"), Some(406_000))
    );
    assert_eq!(manifest["bill"]["by_kind"]["input"], "0.609");
    let spent: Money = bench.entries().iter().map(LedgerEntry::spent).sum();
    assert_eq!(spent, each.times(2));
}

#[test]
fn the_screen_shows_the_tokens_and_the_cost_of_all_steps() {
    let (work, sim) = (Workdir::new().with_rows(2), Sim::with(&usage(COMPACTED)));
    work.write(
        "job.toml",
        JOB.replace("claude-haiku-4-5", "claude-sonnet-4-6"),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("406,000 in, 9,000 out")
        .says("cost       $0.676");
}

#[test]
fn advice_is_billed_at_the_advisors_prices() {
    let advised = r#"{"input_tokens":1000,"output_tokens":100,"iterations":[
        {"type":"message","input_tokens":1000,"output_tokens":100},
        {"type":"advisor_message","model":"claude-opus-5-5","input_tokens":2000,"output_tokens":400}]}"#;
    let bench = with_faults(1, &usage(advised));
    bench.run().unwrap();
    assert_eq!(sum(&bench.work), "0.00875".parse().unwrap());
    let bill = &manifest(&bench.work)["bill"]["by_model"];
    assert_eq!(
        (
            bill["claude-haiku-4-5-20251001"].as_str(),
            bill["claude-opus-5-5"].as_str()
        ),
        (Some("0.00075"), Some("0.008"))
    );
}

#[test]
fn usage_that_cannot_be_read_is_unknown_and_stays_reserved() {
    for odd in [
        r#"{"input_tokens":"1000","output_tokens":"500"}"#,
        r#"{"input_tokens":1e308,"output_tokens":5}"#,
        r#"{"x":1}"#,
        r#"{"input_tokens":1000}"#,
        r#"{"input_tokens":1000,"output_tokens":5,"cache_creation_input_tokens":1000,
            "cache_creation":{"ephemeral_5m_input_tokens":600,"ephemeral_1h_input_tokens":0}}"#,
        r#"{"input_tokens":10,"output_tokens":5,
            "iterations":[{"type":"message","input_tokens":10}]}"#,
        r#"{"input_tokens":10,"output_tokens":5,"iterations":[
            {"type":"message","input_tokens":10,"output_tokens":5},
            {"type":"advisor_message","model":"a-model-of-tomorrow","input_tokens":1,
             "output_tokens":1}]}"#,
        "[1000, 500]",
    ] {
        let bench = with_faults(3, &usage(odd));
        assert!(bench.run().unwrap().all_succeeded());
        assert_eq!(costs(&bench.work), [None; 3], "{odd}");
        let manifest = manifest(&bench.work);
        assert_eq!(
            (
                manifest["bill"]["unknown"].as_u64(),
                manifest["cost_usd"].as_str()
            ),
            (Some(3), Some("0")),
            "{odd}"
        );
        assert_eq!(
            manifest["notes"],
            serde_json::json!([{ "kind": "unknown_cost", "requests": 3 }])
        );
        let entry = bench.entries().remove(0);
        assert_eq!((entry.state, entry.share.unknown), (EntryState::Billed, 3));
        // All but what does not divide by three.
        assert!(
            entry.held() > Money::ZERO
                && entry.reserved - entry.held() < Money::from_picodollars(3),
            "{entry:?}"
        );
        assert_eq!(manifest["reserved_usd"], entry.held().to_string(), "{odd}");
    }
}

#[test]
fn a_budget_goes_on_protecting_where_costs_are_unknown() {
    let bench = with_faults(3, &usage(r#"{"x":1}"#));
    bench.run().unwrap();
    let held: Money = bench.entries().iter().map(LedgerEntry::held).sum();
    // Room for such a run and a twentieth: the first one still counts in full.
    let limit = Money::from_picodollars(held.picodollars() / 20 * 21);
    bench.work.write(
        "next.toml",
        format!("{JOB}\n[budget]\nday_usd = \"{limit}\"\n")
            .replace("out.parquet", "next.parquet")
            .replace("name = \"test\"", "name = \"next\""),
    );
    let next = bench.job_in("next.toml");
    match bench
        .engine()
        .run(&next, &rowmill::engine::RunOptions::default())
    {
        Err(Error::Budget(over)) => assert_eq!(over.shortage.reserved, held),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_was_compacted_and_says_nothing_is_unfinished() {
    let faults = r#"[[rows]]
outcome = 'replaced'
share = 1.0
stop_reason = 'compaction'
content = '[{"type":"compaction","content":"What was said."}]'
usage = '{"input_tokens":0,"output_tokens":0,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500}]}'
"#;
    let bench = with_faults(1, faults);
    assert!(!bench.run().unwrap().all_succeeded());
    let out = bench.output();
    assert_eq!(out.column("_rm_status"), ["paused"]);
    assert_eq!(out.column("_rm_stop_reason"), ["compaction"]);
    // 180,000 × 0.50 + 3,500 × 2.50, by the million.
    assert_eq!(sum(&bench.work), "0.09875".parse().unwrap());
}

#[test]
fn a_run_of_empty_answers_is_told_from_a_run_of_answers() {
    for fault in [
        "outcome = 'empty'",
        r#"outcome = 'replaced'
content = '[{"type":"thinking","thinking":"Let me see.","signature":"s"}]'"#,
        r#"outcome = 'replaced'
content = '[{"type":"text","text":" \n\t"}]'"#,
    ] {
        let bench = with_faults(4, &format!("[[rows]]\nshare = 1.0\n{fault}\n"));
        let report = bench.run().unwrap();
        assert!(report.all_succeeded());
        assert_eq!(report.manifest.empty_answers, Some(4), "{fault}");
        assert_eq!(
            manifest(&bench.work)["notes"],
            serde_json::json!([{ "kind": "empty_answers", "empty": 4, "succeeded": 4 }])
        );
    }
    let report = with_faults(4, "").run().unwrap();
    assert_eq!(report.manifest.empty_answers, Some(0));
}

#[test]
fn the_screen_counts_empty_answers() {
    let work = Workdir::new().with_rows(4);
    let sim = Sim::with("[[rows]]\nshare = 1.0\noutcome = 'empty'\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("4 succeeded (4 with an empty answer)")
        .says("4 of 4 answers that succeeded are empty (100%)");
}

#[test]
fn a_canary_of_empty_answers_stops_the_run() {
    let empty = "[[rows]]\nshare = 1.0\noutcome = 'empty'\n";
    let run = |canary: &str| {
        let bench = with_faults(12, empty);
        bench
            .work
            .write("job.toml", format!("{JOB}\n[canary]\nrows = 4\n{canary}"));
        bench.run()
    };
    let stopped = match run("") {
        Err(Error::StoppedAtCheckpoint(stopped)) => stopped,
        other => panic!("{other:?}"),
    };
    match stopped.reason {
        VerdictReason::OverLimits {
            rows: 4, limits, ..
        } => {
            let limit = &limits[0];
            assert_eq!(
                (limits.len(), limit.limit, limit.rows, limit.max),
                (1, CanaryLimit::Empty, 4, 0.5)
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(run("max_empty = 1.0\n").unwrap().all_succeeded());
}

#[test]
fn a_result_line_beyond_all_size_is_the_fault_of_its_row() {
    let huge = "[[calls]]\non = 'results'\ndo = 'huge_line'\nat_line = 2\nvalue = 'last'\nbytes = \
        70000000\n";
    let bench = with_faults(3, huge);
    assert!(!bench.run().unwrap().all_succeeded());
    let irregular = bench.notices.notes("results_irregular");
    assert_eq!(irregular[0]["lines"]["too_long"], 1, "{irregular:?}");
    let out = bench.output();
    let statuses = out.column("_rm_status");
    let succeeded = statuses.iter().filter(|status| *status == "succeeded");
    assert_eq!(succeeded.count(), 2, "{statuses:?}");
    let row = statuses
        .iter()
        .position(|status| status == "missing")
        .expect("a row without an answer");
    assert!(
        out.column("_rm_error")[row].contains("and at most 67108864 are read"),
        "{:?}",
        out.column("_rm_error")
    );
    assert_eq!(costs(&bench.work)[row], None);
}

#[test]
fn the_key_does_not_come_back_in_a_result_line() {
    let key = "sk-ant-test-0123456789-abcdef";
    let faults = format!(
        "[[rows]]\nshare = 0.5\noutcome = 'errored'\nerror_type = 'invalid_request_error'\nmessage \
         = 'the key {key} may not do that'\n[[rows]]\nshare = 1.0\noutcome = 'replaced'\ncontent = \
         '''[{{\"type\":\"text\",\"text\":\"it is {key}\"}}]'''\n"
    );
    let (work, sim) = (Workdir::new().with_rows(12), Sim::with(&faults));
    let mut command = work.command_at(&sim.url(), &["run", "job.toml"]);
    command.env("ANTHROPIC_API_KEY", key);
    let output = command.output().expect("it runs");
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains(key)
            && !String::from_utf8_lossy(&output.stdout).contains(key)
    );
    let out = work.parquet("out.parquet");
    let (texts, errors) = (out.column("_rm_text"), out.column("_rm_error"));
    assert!(texts.contains(&"it is [redacted]".to_owned()), "{texts:?}");
    assert!(
        errors.contains(&"the key [redacted] may not do that".to_owned()),
        "{errors:?}"
    );
    for file in work.files() {
        let bytes = std::fs::read(work.path(&file)).unwrap();
        let bytes = if file.ends_with(".zst") {
            zstd::decode_all(bytes.as_slice()).unwrap()
        } else {
            bytes
        };
        assert!(
            memchr::memmem::find(&bytes, key.as_bytes()).is_none(),
            "the key is in {file}"
        );
    }
}

/// Every answer is cut off, however often its row is sent.
const ALL_CUT_OFF: &str = "[[rows]]\noutcome = 'truncated'\nshare = 1.0\ntimes = 0\n";

/// More room than the model has, in the end.
const ALL_ROOM: &str = "[retry]\ntruncated = { times = 5, max_tokens = 64000 }\n";

#[test]
fn an_answer_cut_off_with_all_the_room_there_is_is_not_sent_again() {
    let bench = with_faults(3, ALL_CUT_OFF);
    bench.work.write("job.toml", format!("{JOB}\n{ALL_ROOM}"));
    let failures = |report: RunReport| report.summary.expect("an export").failures;
    let failed = failures(bench.run().unwrap());
    assert_eq!((failed.without_room, failed.by_class.len()), (3, 0));
    let once_more = |bench: &Bench| bench.accepted().values().all(|&times| times == 2);
    assert!(
        once_more(&bench),
        "once with more room, and not once more: {:?}",
        bench.accepted()
    );
    let options = RetryOptions {
        classes: vec![Class::Truncated],
        more_tokens: Some(MoreTokens::Fixed(64_000)),
        ..RetryOptions::default()
    };
    match bench.retry(&options) {
        Err(Error::NothingToRetry(nothing)) => assert_eq!(nothing.failures.without_room, 3),
        other => panic!("{other:?}"),
    }
    assert!(once_more(&bench), "{:?}", bench.accepted());
}

#[test]
fn the_screen_says_that_more_room_cannot_help() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::with(ALL_CUT_OFF));
    work.write("job.toml", format!("{JOB}\n{ALL_ROOM}"));
    let said = work
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("3 rows were truncated at the highest limit");
    assert!(
        !said.stderr.contains("--class truncated"),
        "{}",
        said.stderr
    );
    let retry = [
        "retry",
        "job.toml",
        "--class",
        "truncated",
        "--max-tokens",
        "64000",
    ];
    work.rowmill_at(&sim.url(), &retry)
        .expect(2)
        .says("3 rows were truncated and cannot get a higher limit");
}

#[test]
fn a_name_that_stands_twice_in_an_answer_does_not_fit() {
    let faults = r#"[[rows]]
outcome = 'replaced'
share = 1.0
content = '[{"type":"text","text":"{\"a\":{\"x\":1,\"x\":2}}"}]'
"#;
    let bench = with_faults(1, faults);
    bench.work.write(
        "job.toml",
        format!("{JOB}\n[answer]\ncolumns.x = {{ pointer = \"/a/x\", required = false }}\n"),
    );
    assert!(!bench.run().unwrap().all_succeeded());
    let out = bench.output();
    assert_eq!(out.column("_rm_status"), ["invalid"]);
    assert!(
        out.column("_rm_error")[0].contains("an object names `x` twice"),
        "{:?}",
        out.column("_rm_error")
    );
}

#[test]
fn pictures_in_a_conversation_are_in_the_plan() {
    let work = Workdir::new();
    let turns = |blocks: &str| {
        format!(
            r#"[{{"role": "user", "content": [{{"type": "text", "text": "What is it?"}}{blocks}]}}]"#
        )
    };
    let picture =
        r#", {"source": {"type": "url", "url": "https://a.example/b.png"}, "type": "image"}"#;
    let line = |talk: String| serde_json::json!({ "id": "1", "talk": talk }).to_string() + "\n";
    work.write("plain.jsonl", line(turns("")))
        .write("picture.jsonl", line(turns(picture)));
    let tokens = |rows: &str| {
        let job = JOB.replace("rows.csv", rows).replace(
            r#"messages = [{ role = "user", text = "Text: {{ body }}" }]"#,
            r#"messages = [{ conversation = "talk" }]"#,
        );
        work.write("job.toml", job);
        let plan = work
            .rowmill(&["plan", "job.toml", "--json"])
            .expect(0)
            .json();
        plan["plan"]["estimate"]["tokens"]["prompts"]["expected"]
            .as_u64()
            .expect("a number")
    };
    let (plain, picture) = (tokens("plain.jsonl"), tokens("picture.jsonl"));
    assert!(picture > plain + 1_500, "{plain} {picture}");
}
