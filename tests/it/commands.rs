//! Each command by itself: what it says, what it gives as JSON, what it leaves.

use crate::support::{JOB, Workdir};

#[test]
fn init_writes_a_job_that_runs() {
    let work = Workdir::new();
    let rows: String =
        (1..=40).map(|n| format!("{n:03},\"Message {n}: it stopped, again and again, and nobody answers\",web\n")).collect();
    work.write("My data.csv", format!("case,message text,channel\n{rows}"));
    work.rowmill(&["init", "My data.csv"]).expect(0);
    let job = work.read("My_data.toml");
    assert!(job.contains("columns = [\"case\"]"), "{job}");
    assert!(work.read("My_data.j2").contains("{{ row[\"message text\"] }}"));
    work.rowmill(&["init", "My data.csv"]).expect(2).says("--force");
    work.rowmill(&["run", "My_data.toml", "--simulate"]).expect(0);
    let out = work.parquet("My_data_out.parquet");
    assert_eq!(out.rows(), 40);
    assert_eq!(out.column("case")[6], "007");
    let labels: std::collections::BTreeSet<_> = out.column("_rm_text").into_iter().collect();
    assert!(labels.iter().all(|label| ["positive", "negative", "neutral", "unclear"].contains(&label.as_str())), "{labels:?}");
}

#[test]
fn plan_tells_what_a_run_would_do_and_leaves_nothing() {
    let work = Workdir::new().with_rows(25);
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 10\n"));
    let before = work.files();
    let plan = work.rowmill(&["plan", "job.toml", "--json"]).expect(0).json();
    assert_eq!(plan["plan"]["requests"], 25);
    assert_eq!(plan["plan"]["rows_read"], 25);
    let batches = plan["plan"]["batches"].as_array().unwrap();
    assert_eq!(batches.iter().map(|b| b["requests"].as_u64().unwrap()).sum::<u64>(), 25);
    assert_eq!(work.files(), before);
    let words = work.rowmill(&["plan", "job.toml"]).expect(0);
    assert!(words.stdout.contains("25 to send of 25 read"), "{}", words.stdout);
}

#[test]
fn plan_keeps_a_run_when_it_is_told_to_and_run_sends_it() {
    let work = Workdir::new().with_rows(5);
    work.rowmill(&["plan", "job.toml", "--simulate", "--out", "kept/run1"]).expect(0);
    assert!(!work.path("out.parquet").exists());
    work.rowmill(&["run", "kept/run1"]).expect(0).says("SIMULATED");
    assert_eq!(work.parquet("out.parquet").rows(), 5);
}

#[test]
fn preview_shows_the_prompt_or_the_exact_request() {
    let work = Workdir::new().with_rows(5);
    let shown = work.rowmill(&["preview", "job.toml", "--key", "T-3"]).expect(0);
    assert!(shown.stdout.contains("row 3 · id = \"T-3\""), "{}", shown.stdout);
    assert!(shown.stdout.contains("Text: the 3th text, with a comma"), "{}", shown.stdout);
    let requests = work.rowmill(&["preview", "job.toml", "--json", "-n", "2"]).expect(0).json();
    assert_eq!(requests[0]["params"]["model"], "claude-haiku-4-5");
    assert_eq!(requests[0]["params"]["messages"][0]["content"], "Text: the 1th text, with a comma");
    assert_eq!((&requests[1]["row"], &requests[1]["key"]), (&serde_json::json!(2), &serde_json::json!("T-2")));
    assert_eq!(requests.as_array().unwrap().len(), 2);
    work.rowmill(&["preview", "job.toml", "--key", "T-9"]).expect(2).says("no row has the key");
}

#[test]
fn check_reads_every_row_and_sends_nothing() {
    let work = Workdir::new().with_rows(5);
    let before = work.files();
    let check = work.rowmill(&["check", "job.toml", "--json"]).expect(0).json();
    assert_eq!(check["rows"]["requests"], 5);
    assert_eq!(work.files(), before);
    work.write("rows.csv", "id,body\na,one\nb,\n");
    work.write("job.toml", JOB.replace("Text: {{ body }}", "{{ body }}"));
    // The second row's only message is empty, which the API refuses: told of here, and passed over when only one row is looked at.
    work.rowmill(&["check", "job.toml"]).expect(2).says("row 2");
    work.rowmill(&["check", "job.toml", "-n", "1"]).expect(0);
}

#[test]
fn status_tells_where_every_run_stands() {
    let work = Workdir::new().with_rows(5);
    assert_eq!(work.rowmill(&["status", "--json"]).expect(0).json(), serde_json::json!([]));
    work.rowmill(&["submit", "job.toml", "--simulate", "--processing", "1h"]).expect(5);
    let runs = work.rowmill(&["status", "--json"]).expect(0).json();
    assert_eq!(runs[0]["manifest"]["state"], "in_flight");
    assert_eq!(runs[0]["manifest"]["simulated"], true);
    let one = work.rowmill(&["status", "job.toml", "--json"]).expect(0).json();
    let left = one["batches"][0]["expires_in_seconds"].as_u64().unwrap();
    assert!((86_000..=86_400).contains(&left), "{left}");
    let run = runs[0]["manifest"]["run"].as_str().unwrap();
    let words = work.rowmill(&["status", run]).expect(0);
    assert!(words.stdout.contains("SIMULATED"), "{}", words.stdout);
}

#[test]
fn a_job_that_changed_is_not_mixed_with_its_unfinished_run() {
    let work = Workdir::new().with_rows(5);
    work.rowmill(&["submit", "job.toml", "--simulate"]).expect(5);
    work.write("job.toml", JOB.replace("Say what", "Tell what"));
    let refused = work.rowmill(&["run", "job.toml", "--simulate"]).expect(2).says("has changed since run");
    assert!(refused.stderr.contains("the job file"), "{}", refused.stderr);
    work.rowmill(&["cancel", "job.toml", "--abandon"]).expect(0);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    assert_eq!(work.parquet("out.parquet").rows(), 5);
}

#[test]
fn a_run_gives_its_manifest_as_json() {
    let work = Workdir::new().with_rows(5);
    let manifest = work.rowmill(&["run", "job.toml", "--simulate", "--json"]).expect(0).json();
    assert_eq!(manifest["by_status"]["succeeded"], 5);
    assert_eq!(manifest["state"], "exported");
    assert!(manifest["output"].as_str().unwrap().ends_with("out.parquet"));
    assert!(manifest["usage"]["output_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn completions_name_the_commands() {
    let work = Workdir::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = work.rowmill(&["completions", shell]).expect(0).stdout;
        assert!(text.contains("preview"), "{shell}");
    }
}

#[test]
fn output_is_held_back_when_too_few_rows_succeed() {
    let work = Workdir::new();
    work.write("rows.csv", format!("id,body\na,short\nb,{}\n", "x".repeat(5_000)));
    work.write("job.toml", format!("{}min_success = 0.9\n[batch]\nmax_bytes = 4000\n", JOB));
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(3).says("held back");
    assert!(!work.path("out.parquet").exists());
}
