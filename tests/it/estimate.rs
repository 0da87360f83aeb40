//! The estimated cost of a plan, compared with the simulator's bill.
//!
//! The simulator has its own token count. So these tests do not measure how close an estimate is to
//! the API's bill: they show that calibration and learning correct an estimate whose constants do
//! not fit, and that a sample states its margin of error.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use crate::support::{Sim, Workdir};

/// Tables of the samples: the file, the key, the prompt.
const TABLES: [(&str, &str, &str); 4] = [
    (
        "tickets/tickets.csv",
        "ticket_id",
        "{{ subject }}, {{ channel }}, {{ language }}: {{ body }}",
    ),
    (
        "manual/questions.csv",
        "question_id",
        "Answer briefly: {{ question }}",
    ),
    (
        "products/products.parquet",
        "sku",
        "{{ name }}: {{ tags | json }}, {{ dimensions | json }}, {{ variants | json }}",
    ),
    (
        "plants/photos.csv",
        "photo_id",
        "{{ taken_on }}: {{ message }}",
    ),
];

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_data")
}

fn job(table: &Path, key: &str, template: &str) -> String {
    let key = if key.is_empty() {
        String::new()
    } else {
        format!("[key]\ncolumns = [\"{key}\"]\n")
    };
    format!(
        "[job]\nname = \"test\"\n[source]\npath = \"{}\"\n{key}[request]\nmodel = \
         \"claude-sonnet-4-6\"\nmax_tokens = 300\nsystem = \"Answer in one short \
         sentence.\"\nmessages = [{{ role = \"user\", text = \"{template}\" }}]\n[output]\npath = \
         \"out.parquet\"\n",
        table.display()
    )
}

fn at(value: &Value, pointer: &str) -> u64 {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

fn dollars(value: &Value, pointer: &str) -> f64 {
    let text = value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {value}"));
    text.parse().expect("dollars")
}

fn plan(work: &Workdir, more: &[&str]) -> Value {
    let args = [&["plan", "job.toml", "--simulate", "--json"], more].concat();
    work.rowmill(&args).expect(0).json()
}

fn run(work: &Workdir) -> Value {
    work.rowmill(&["run", "job.toml", "--simulate", "--again", "--json"])
        .expect(0)
        .json()
}

/// The billed tokens of all prompts.
fn billed(manifest: &Value) -> u64 {
    let kinds = [
        "input_tokens",
        "cache_creation_5m_input_tokens",
        "cache_creation_1h_input_tokens",
        "cache_read_input_tokens",
    ];
    kinds
        .iter()
        .filter_map(|kind| manifest["usage"][kind].as_u64())
        .sum()
}

/// The difference of two numbers, in thousandths of the second.
fn off(estimate: u64, bill: u64) -> u64 {
    estimate.abs_diff(bill) * 1_000 / bill
}

#[test]
fn counting_corrects_an_estimate_to_two_percent_of_what_the_simulator_counts() {
    let mut corrected = 0;
    for (table, key, template) in TABLES {
        let work = Workdir::new();
        work.write("job.toml", job(&samples().join(table), key, template));
        let guessed = at(&plan(&work, &[]), "/plan/estimate/tokens/prompts/expected");
        let counted = plan(&work, &["--calibrate", "200"]);
        assert_eq!(
            counted["plan"]["estimate"]["fit"]["basis"]["from"], "counted",
            "{table}"
        );
        let counted = at(&counted, "/plan/estimate/tokens/prompts/expected");
        let bill = billed(&run(&work));
        assert!(
            off(counted, bill) <= 20,
            "{table}: {counted} estimated, {bill} billed"
        );
        corrected += usize::from(off(guessed, bill) > off(counted, bill));
    }
    assert!(corrected >= 3, "counting was no help for most tables");
}

#[test]
fn the_second_plan_is_within_five_percent_of_its_bill() {
    let work = Workdir::new().with_rows(300);
    let first = plan(&work, &[]);
    assert_eq!(
        first["plan"]["estimate"]["fit"]["basis"]["from"],
        "constants"
    );
    run(&work);
    // Other texts of the same kind: those of before would be answered already.
    work.write("rows.csv", work.read("rows.csv").replace("text", "word"));
    let second = plan(&work, &[]);
    assert_eq!(
        second["plan"]["estimate"]["fit"]["basis"]["from"],
        "learned"
    );
    assert_eq!(at(&second, "/plan/estimate/output_basis/rows"), 300);
    let manifest = run(&work);
    let (expected, bill) = (
        dollars(&second, "/plan/estimate/total/expected"),
        dollars(&manifest, "/cost_usd"),
    );
    assert!(
        (expected / bill - 1.0).abs() < 0.05,
        "{expected} estimated, {bill} billed"
    );
    // The manifest has the estimate next to the bill.
    assert_eq!(dollars(&manifest, "/estimate/billed"), bill);
    assert!((dollars(&manifest, "/estimate/expected") / bill - 1.0).abs() < 0.05);
    work.write("rows.csv", work.read("rows.csv").replace("word", "line"));
    let said = work.rowmill(&["plan", "job.toml", "--simulate"]).expect(0);
    assert!(
        said.stdout.contains("600 rows of earlier runs"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_dry_run_leaves_nothing_behind_and_says_the_same_twice() {
    let work = Workdir::new().with_rows(40);
    let before = work.files();
    let plans: Vec<Value> = (0..2)
        .map(|_| plan(&work, &["--calibrate", "10"]))
        .collect();
    assert_eq!(plans[0], plans[1]);
    work.rowmill(&["plan", "job.toml"]).expect(0);
    let markdown = work
        .rowmill(&["plan", "job.toml", "--markdown"])
        .expect(0)
        .stdout;
    assert!(
        markdown.starts_with("### rowmill plan: `test`")
            && markdown.contains("| tokens of the rows |"),
        "{markdown}"
    );
    assert_eq!(work.files(), before);
}

#[test]
fn counting_needs_a_key() {
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["plan", "job.toml", "--calibrate", "2"])
        .expect(12)
        .says("there is no key");
}

#[test]
fn what_cannot_be_read_of_what_was_learned_is_told_and_left_aside() {
    let work = Workdir::new().with_rows(40);
    run(&work);
    let file = ".rowmill/test/learned.simulated.json";
    let learned = work.read(file);
    for broken in [
        "{",
        "[]",
        r#"{"format":99}"#,
        &learned.replace("\"test\"", "\"another\""),
    ] {
        work.write(file, broken);
        let said = work
            .rowmill(&["plan", "job.toml", "--simulate", "--json"])
            .expect(0)
            .says("the statistics of earlier runs are not used");
        assert_eq!(
            said.json()["plan"]["estimate"]["fit"]["basis"]["from"],
            "constants"
        );
    }
    // The next run replaces it with a valid file.
    run(&work);
    assert_eq!(
        plan(&work, &[])["plan"]["estimate"]["fit"]["basis"]["from"],
        "learned"
    );
}

#[test]
fn a_real_plan_knows_nothing_of_simulated_runs() {
    let work = Workdir::new().with_rows(40);
    run(&work);
    let real: Value = work
        .rowmill(&["plan", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        real["plan"]["estimate"]["fit"]["basis"]["from"],
        "constants"
    );
}

/// A job over N rows of very different lengths.
fn long_and_short(rows: usize) -> Workdir {
    let work = Workdir::new().with_rows(0);
    let mut text = String::from("id,body\n");
    for n in 0..rows {
        text.push_str(&format!(
            "T-{n},\"{}\"\n",
            ["word ", "영화 ", "12345 "][n % 3]
                .repeat(1 + n * n % 97 + 900 * usize::from(n % 101 == 0))
        ));
    }
    work.write("rows.csv", text);
    work
}

/// The error of a sample's figures compared with the full plan, and the margin that it states, both
/// in thousandths of the sample's figures.
fn held_against(whole: &Value, sample: &Value) -> [(u64, u64); 2] {
    let [tokens, money] = [
        "/plan/estimate/tokens/prompts/expected",
        "/plan/estimate/total/expected",
    ];
    let money_off = (dollars(whole, money) / dollars(sample, money) - 1.0).abs() * 1_000.0;
    [
        (
            off(at(whole, tokens), at(sample, tokens)),
            at(sample, "/plan/sampled/off/prompts"),
        ),
        (money_off as u64, at(sample, "/plan/sampled/off/cost")),
    ]
}

#[test]
fn a_sample_is_as_near_to_the_whole_plan_as_it_says() {
    let work = long_and_short(5_000);
    let whole = plan(&work, &[]);
    for seed in ["1", "2", "3", "4", "5"] {
        let sample = plan(&work, &["--sample", "300", "--seed", seed]);
        assert_eq!(at(&sample, "/plan/sampled/seed").to_string(), seed);
        assert!(
            (200..=300).contains(&at(&sample, "/plan/sampled/rows")),
            "{sample}"
        );
        for pointer in [
            "/plan/rows_read",
            "/plan/rows",
            "/plan/requests",
            "/plan/sampled/of",
        ] {
            assert_eq!(at(&sample, pointer), 5_000, "{pointer}");
        }
        for (off, margin) in held_against(&whole, &sample) {
            assert!(
                off <= margin && (1..100).contains(&margin),
                "seed {seed}: off by {off} ‰, said to be within {margin} ‰"
            );
        }
        let bytes = off(
            at(&sample, "/plan/body_bytes"),
            at(&whole, "/plan/body_bytes"),
        );
        assert!(bytes < 50, "{bytes} ‰ of the bytes");
        assert_eq!(
            sample,
            plan(&work, &["--sample", "300", "--seed", seed]),
            "the same seed, the same answer"
        );
    }
    assert_ne!(
        plan(&work, &["--sample", "300"])["plan"],
        plan(&work, &["--sample", "300", "--seed", "2"])["plan"]
    );
}

/// Short texts in three scripts, in row groups of 2,000.
fn write_reviews(path: &Path, rows: usize) {
    const WORDS: [&str; 7] = ["good", "영화", "боль", "12345", "the", "schön", "tedious"];
    let text = |row: usize| {
        let words = (0..8 + row * 7_919 % 25).map(|n| WORDS[(row * 31 + n * n) % WORDS.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(text)));
    let ids: ArrayRef = Arc::new((0..rows as i64).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([("id", ids), ("review", texts)]).expect("one length");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2_000))
        .build();
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("types");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

#[test]
fn a_sample_of_many_row_groups_is_as_near_as_it_says() {
    let work = Workdir::new();
    let table = work.path("reviews.parquet");
    write_reviews(&table, 20_000);
    work.write(
        "job.toml",
        job(&table, "", "Is this review good or bad?\\n{{ review }}"),
    );
    let whole = plan(&work, &[]);
    let sample = plan(&work, &["--sample", "2000"]);
    for (off, margin) in held_against(&whole, &sample) {
        assert!(
            off <= margin && margin < 20,
            "off by {off} ‰, said to be within {margin} ‰"
        );
    }
    assert_eq!(sample["plan"]["requests"], whole["plan"]["requests"]);
    assert_eq!(
        sample["plan"]["batches"].as_array().map(Vec::len),
        whole["plan"]["batches"].as_array().map(Vec::len)
    );
}

#[test]
fn a_sample_of_requests_that_share_a_cached_prompt_is_as_near_as_it_says() {
    let work = Workdir::new();
    let job = samples().join("tickets/triage.toml");
    let plan = |more: &[&str]| {
        let args = [&["plan", job.to_str().expect("a path"), "--json"], more].concat();
        work.rowmill(&args).expect(0).json()
    };
    let (whole, sample) = (plan(&[]), plan(&["--sample", "100"]));
    assert_eq!(sample["plan"]["gates"], whole["plan"]["gates"]);
    assert_eq!(sample["plan"]["cache"], whole["plan"]["cache"]);
    for (off, margin) in held_against(&whole, &sample) {
        assert!(
            off <= margin && margin < 10,
            "off by {off} ‰, said to be within {margin} ‰"
        );
    }
}

#[test]
fn a_sample_of_all_rows_is_the_whole_plan() {
    let work = long_and_short(200);
    let whole = plan(&work, &[]);
    assert!(whole["plan"].get("sampled").is_none());
    assert_eq!(plan(&work, &["--sample", "200"]), whole);
    assert_eq!(plan(&work, &["--sample", "9999"]), whole);
    assert_eq!(
        at(&plan(&work, &["--sample", "199"]), "/plan/sampled/of"),
        200
    );
}

#[test]
fn a_sample_says_what_it_is_and_what_it_does_not_know() {
    let work = long_and_short(2_000);
    let before = work.files();
    for form in [
        &["plan", "job.toml", "--sample", "300"][..],
        &["plan", "job.toml", "--sample", "300", "--markdown"],
    ] {
        let said = work
            .rowmill(form)
            .expect(0)
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(
            said.contains("of 2,000 rows were rendered (seed 1)"),
            "{said}"
        );
        assert!(
            said.contains("duplicate keys were not searched for"),
            "{said}"
        );
    }
    for (with, why) in [
        (
            ["--out", "runs/kept"],
            "a saved plan contains every request",
        ),
        (
            ["--calibrate", "20"],
            "calibration selects rows from all requests",
        ),
    ] {
        let args = [
            &["plan", "job.toml", "--simulate", "--sample", "300"][..],
            &with,
        ]
        .concat();
        work.rowmill(&args)
            .expect(2)
            .says(&format!(
                "`--sample` cannot be used together with `{}`",
                with[0]
            ))
            .says(why);
    }
    work.rowmill(&["plan", "job.toml", "--seed", "3"])
        .expect(2)
        .says("--sample");
    assert_eq!(work.files(), before);
}

#[test]
fn a_sample_finds_every_row_without_a_key_and_extrapolates_those_that_cannot_be_rendered() {
    let work = long_and_short(2_000);
    let rows = work.read("rows.csv");
    work.write("rows.csv", rows.replace("T-1234,", ","));
    work.rowmill(&["plan", "job.toml", "--sample", "100"])
        .expect(2)
        .says("row 1,235");
    work.write("rows.csv", rows);
    let broken = work
        .read("job.toml")
        .replace(
            "{{ body }}",
            "{% if id is endingwith('7') %}{{ body.nothing.at_all }}{% endif %}{{ body }}",
        )
        .replace(
            "max_tokens = 200",
            "max_tokens = 200\non_row_error = 'skip'",
        );
    work.write("job.toml", broken);
    let (whole, sample) = (plan(&work, &[]), plan(&work, &["--sample", "400"]));
    assert_eq!(at(&whole, "/plan/unsent/not_rendered"), 200);
    let [sent, unsent] =
        ["/plan/requests", "/plan/unsent/not_rendered"].map(|pointer| at(&sample, pointer));
    assert_eq!(sent + unsent, 2_000);
    assert!((100..300).contains(&unsent), "{unsent}");
    for (off, margin) in held_against(&whole, &sample) {
        assert!(
            off <= margin,
            "off by {off} ‰, said to be within {margin} ‰"
        );
    }
}

#[test]
fn a_plan_beside_a_simulator_uses_what_simulated_runs_showed() {
    let (work, sim) = (Workdir::new().with_rows(40), Sim::start());
    let basis = || {
        let plan = work.rowmill_at(&sim.url(), &["plan", "job.toml", "--no-reuse", "--json"]);
        plan.expect(0).json()["plan"]["estimate"]["fit"]["basis"]["from"].clone()
    };
    assert_eq!(basis(), "constants");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(0);
    assert!(work.path(".rowmill/test/learned.simulated.json").exists());
    assert_ne!(basis(), "constants");
}
