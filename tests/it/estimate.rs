//! What a plan says a run will cost, held against what the simulator bills: it counts tokens in a way of its own.

use std::path::Path;

use serde_json::Value;

use crate::support::{Workdir, shared_data};

/// Tables of the shared data: the file, the key, what is asked.
const TABLES: [(&str, &str, &str); 8] = [
    ("art_texts.csv", "entry_id", "{{ artist }}, {{ year }}: {{ text }}"),
    ("castle_reasons.csv", "submission_id", "Is this a strategy? {{ reason }} ({{ castle_1 }}, {{ castle_2 }}, {{ castle_10 }})"),
    ("country_codes.csv", "", "{% for name, value in row | items %}{{ name }}: {{ value }}\\n{% endfor %}"),
    ("inaugural_addresses.parquet", "", "Summarise: {{ address }}"),
    ("movie_reviews_ko.csv", "review_id", "Is this review good or bad?\\n{{ review }}"),
    ("nuclear_event_reports.csv", "event_no", "{{ category }} in {{ state }}: {{ event_text }}"),
    ("sentences_multilang.csv", "sentence_id", "Translate from {{ lang }}: {{ sentence }}"),
    ("support_queries.csv", "query_id", "What is it about? {{ text }}"),
];

fn job(table: &Path, key: &str, template: &str) -> String {
    let key = if key.is_empty() { String::new() } else { format!("[key]\ncolumns = [\"{key}\"]\n") };
    format!(
        "[job]\nname = \"test\"\n[source]\npath = \"{}\"\n{key}[request]\nmodel = \"claude-sonnet-4-6\"\nmax_tokens = 300\n\
         system = \"Answer in one short sentence.\"\nmessages = [{{ role = \"user\", text = \"{template}\" }}]\n\
         [output]\npath = \"out.parquet\"\n",
        table.display()
    )
}

fn at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

fn dollars(value: &Value, pointer: &str) -> f64 {
    let text = value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"));
    text.parse().expect("dollars")
}

fn plan(work: &Workdir, more: &[&str]) -> Value {
    let args = [&["plan", "job.toml", "--simulate", "--json"], more].concat();
    work.rowmill(&args).expect(0).json()
}

fn run(work: &Workdir) -> Value {
    work.rowmill(&["run", "job.toml", "--simulate", "--json"]).expect(0).json()
}

/// Tokens of all prompts as they were billed.
fn billed(manifest: &Value) -> u64 {
    let kinds = ["input_tokens", "cache_creation_5m_input_tokens", "cache_creation_1h_input_tokens", "cache_read_input_tokens"];
    kinds.iter().filter_map(|kind| manifest["usage"][kind].as_u64()).sum()
}

/// The difference of two numbers, in thousandths of the second.
fn off(estimate: u64, bill: u64) -> u64 {
    estimate.abs_diff(bill) * 1_000 / bill
}

#[test]
fn a_counted_sample_is_within_two_percent_of_the_bill_on_every_table() {
    let Some(data) = shared_data("estimates of real tables") else { return };
    for (table, key, template) in TABLES {
        let work = Workdir::new();
        work.write("job.toml", job(&data.join("sample").join(table), key, template));
        let guessed = at(&plan(&work, &[]), "/plan/estimate/tokens/prompts/likely");
        let counted = plan(&work, &["--calibrate", "200"]);
        assert_eq!(counted["plan"]["estimate"]["fit"]["basis"]["from"], "counted", "{table}");
        let counted = at(&counted, "/plan/estimate/tokens/prompts/likely");
        let bill = billed(&run(&work));
        eprintln!("{table}: {bill} tokens billed; off by {} ‰ counted, {} ‰ guessed", off(counted, bill), off(guessed, bill));
        assert!(off(counted, bill) <= 20, "{table}: {counted} estimated, {bill} billed");
    }
}

#[test]
fn the_second_plan_is_within_five_percent_of_its_bill() {
    let work = Workdir::new().with_rows(300);
    let first = plan(&work, &[]);
    assert_eq!(first["plan"]["estimate"]["fit"]["basis"]["from"], "constants");
    run(&work);
    let second = plan(&work, &[]);
    assert_eq!(second["plan"]["estimate"]["fit"]["basis"]["from"], "learned");
    assert_eq!(at(&second, "/plan/estimate/output_basis/rows"), 300);
    let manifest = run(&work);
    let (likely, bill) = (dollars(&second, "/plan/estimate/total/likely"), dollars(&manifest, "/cost_usd"));
    assert!((likely / bill - 1.0).abs() < 0.05, "{likely} estimated, {bill} billed");
    // What the run was planned with stands beside its bill.
    assert_eq!(dollars(&manifest, "/estimate/billed"), bill);
    assert!((dollars(&manifest, "/estimate/likely") / bill - 1.0).abs() < 0.05);
    let said = work.rowmill(&["plan", "job.toml", "--simulate"]).expect(0);
    assert!(said.stdout.contains("600 rows of earlier runs"), "{}", said.stdout);
}

#[test]
fn a_dry_run_leaves_nothing_behind_and_says_the_same_twice() {
    let work = Workdir::new().with_rows(40);
    let before = work.files();
    let plans: Vec<Value> = (0..2).map(|_| plan(&work, &["--calibrate", "10"])).collect();
    assert_eq!(plans[0], plans[1]);
    work.rowmill(&["plan", "job.toml"]).expect(0);
    let markdown = work.rowmill(&["plan", "job.toml", "--markdown"]).expect(0).stdout;
    assert!(markdown.starts_with("### rowmill plan: `test`") && markdown.contains("| tokens of the rows |"), "{markdown}");
    assert_eq!(work.files(), before);
}

#[test]
fn counting_needs_a_key() {
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["plan", "job.toml", "--calibrate", "2"]).expect(12).says("there is no key");
}

#[test]
fn what_cannot_be_read_of_what_was_learned_is_told_and_left_aside() {
    let work = Workdir::new().with_rows(40);
    run(&work);
    let file = ".rowmill/test/learned.simulated.json";
    let learned = work.read(file);
    for broken in ["{", "[]", r#"{"format":99}"#, &learned.replace("\"test\"", "\"another\"")] {
        work.write(file, broken);
        let said =
            work.rowmill(&["plan", "job.toml", "--simulate", "--json"]).expect(0).says("what earlier runs learned is not used");
        assert_eq!(said.json()["plan"]["estimate"]["fit"]["basis"]["from"], "constants");
    }
    // The next run writes a good one over it.
    run(&work);
    assert_eq!(plan(&work, &[])["plan"]["estimate"]["fit"]["basis"]["from"], "learned");
}

#[test]
fn a_real_plan_knows_nothing_of_simulated_runs() {
    let work = Workdir::new().with_rows(40);
    run(&work);
    let real: Value = work.rowmill(&["plan", "job.toml", "--json"]).expect(0).json();
    assert_eq!(real["plan"]["estimate"]["fit"]["basis"]["from"], "constants");
}
