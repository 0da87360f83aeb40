//! Each command alone: its messages, its JSON, the files it writes.

use crate::support::{JOB, Workdir};

#[test]
fn init_writes_a_job_that_runs() {
    let work = Workdir::new();
    let rows: String = (1..=40)
        .map(|n| {
            format!("{n:03},\"Message {n}: it stopped, again and again, and nobody answers\",web\n")
        })
        .collect();
    work.write("My data.csv", format!("case,message text,channel\n{rows}"));
    work.rowmill(&["init", "My data.csv"]).expect(0);
    let job = work.read("My_data.toml");
    assert!(job.contains("columns = [\"case\"]"), "{job}");
    assert!(
        work.read("My_data.j2")
            .contains("{{ row[\"message text\"] }}")
    );
    work.rowmill(&["init", "My data.csv"])
        .expect(2)
        .says("--force");
    work.rowmill(&["run", "My_data.toml", "--simulate"])
        .expect(0);
    let out = work.parquet("My_data_out.parquet");
    assert_eq!(out.rows(), 40);
    assert_eq!(out.column("case")[6], "007");
    let labels: std::collections::BTreeSet<_> = out.column("_rm_text").into_iter().collect();
    assert!(
        labels
            .iter()
            .all(|label| ["positive", "negative", "neutral", "unclear"].contains(&label.as_str())),
        "{labels:?}"
    );
}

#[test]
fn init_sees_what_stands_between_the_cells() {
    for (mark, setting) in [
        (";", "delimiter = \";\""),
        ("|", "delimiter = \"|\""),
        (",", "path = \"rows.csv\"\n# columns"),
    ] {
        let work = Workdir::new();
        let rows: String = (1..=9)
            .map(|n| format!("a{n}{mark}\"1,{n} and some words, {n}\"\n"))
            .collect();
        work.write("rows.csv", format!("id{mark}body\n{rows}"));
        work.rowmill(&["init", "rows.csv"]).expect(0);
        assert!(
            work.read("rows.toml").contains(setting),
            "{}",
            work.read("rows.toml")
        );
        work.rowmill(&["run", "rows.toml", "--simulate"]).expect(0);
        assert_eq!(
            work.parquet("rows_out.parquet").column("body")[2],
            "1,3 and some words, 3"
        );
    }
}

#[test]
fn plan_tells_what_a_run_would_do_and_leaves_nothing() {
    let work = Workdir::new().with_rows(25);
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 10\n"));
    let before = work.files();
    let plan = work
        .rowmill(&["plan", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(plan["plan"]["requests"], 25);
    assert_eq!(plan["plan"]["rows_read"], 25);
    let batches = plan["plan"]["batches"].as_array().unwrap();
    assert_eq!(
        batches
            .iter()
            .map(|b| b["requests"].as_u64().unwrap())
            .sum::<u64>(),
        25
    );
    assert_eq!(work.files(), before);
    let words = work.rowmill(&["plan", "job.toml"]).expect(0);
    assert!(
        words.stdout.contains("25 to send of 25 read"),
        "{}",
        words.stdout
    );
}

#[test]
fn plan_keeps_a_run_when_it_is_told_to_and_run_sends_it() {
    let work = Workdir::new().with_rows(5);
    work.rowmill(&["plan", "job.toml", "--simulate", "--out", "kept/run1"])
        .expect(0);
    assert!(!work.output("out.parquet").exists());
    work.rowmill(&["run", "kept/run1"])
        .expect(0)
        .says("SIMULATED");
    assert_eq!(work.parquet("out.parquet").rows(), 5);
}

#[test]
fn preview_shows_the_prompt_or_the_exact_request() {
    let work = Workdir::new().with_rows(5);
    let shown = work
        .rowmill(&["preview", "job.toml", "--key", "T-3"])
        .expect(0);
    assert!(
        shown.stdout.contains("row 3 · id = \"T-3\""),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains("Text: the 3th text, with a comma"),
        "{}",
        shown.stdout
    );
    let requests = work
        .rowmill(&["preview", "job.toml", "--json", "-n", "2"])
        .expect(0)
        .json();
    assert_eq!(requests[0]["params"]["model"], "claude-haiku-4-5");
    assert_eq!(
        requests[0]["params"]["messages"][0]["content"],
        "Text: the 1th text, with a comma"
    );
    assert_eq!(
        (&requests[1]["row"], &requests[1]["key"]),
        (&serde_json::json!(2), &serde_json::json!("T-2"))
    );
    assert_eq!(requests.as_array().unwrap().len(), 2);
    work.rowmill(&["preview", "job.toml", "--where", "id = 'none'"])
        .expect(2)
        .says("no row to show");
    work.rowmill(&["preview", "job.toml", "--key", "T-9"])
        .expect(2)
        .says("no row has the key");
}

#[test]
fn check_reads_every_row_and_sends_nothing() {
    let work = Workdir::new().with_rows(5);
    let before = work.files();
    let check = work
        .rowmill(&["check", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(check["rows"]["requests"], 5);
    assert_eq!(work.files(), before);
    work.write("rows.csv", "id,body\na,one\nb,\n");
    work.write("job.toml", JOB.replace("Text: {{ body }}", "{{ body }}"));
    // The second row's only message is empty, which the API refuses: an error here, and not seen
    // when only one row is checked.
    work.rowmill(&["check", "job.toml"]).expect(2).says("row 2");
    work.rowmill(&["check", "job.toml", "-n", "1"]).expect(0);
}

#[test]
fn status_tells_where_every_run_stands() {
    let work = Workdir::new().with_rows(5);
    assert_eq!(
        work.rowmill(&["status", "--json"]).expect(0).json(),
        serde_json::json!([])
    );
    work.rowmill(&["submit", "job.toml", "--simulate", "--processing", "1h"])
        .expect(0);
    let runs = work.rowmill(&["status", "--json"]).expect(0).json();
    assert_eq!(runs[0]["manifest"]["state"], "in_flight");
    assert_eq!(runs[0]["manifest"]["simulated"], true);
    let one = work
        .rowmill(&["status", "job.toml", "--json"])
        .expect(0)
        .json();
    let left = one["batches"][0]["expires_in_seconds"].as_u64().unwrap();
    assert!((86_000..=86_400).contains(&left), "{left}");
    let run = runs[0]["manifest"]["run"].as_str().unwrap();
    let words = work.rowmill(&["status", run]).expect(0);
    assert!(words.stdout.contains("SIMULATED"), "{}", words.stdout);
}

#[test]
fn a_job_that_changed_is_not_mixed_with_its_unfinished_run() {
    let work = Workdir::new().with_rows(5);
    let job = format!("{JOB}[batch]\nmax_requests = 3\nmax_queued_requests = 3\n");
    work.write("job.toml", &job);
    work.rowmill(&["submit", "job.toml", "--simulate"])
        .expect(5);
    work.write("job.toml", job.replace("Say what", "Tell what"));
    let refused = work
        .rowmill(&["run", "job.toml", "--simulate"])
        .expect(2)
        .says("has changed since run");
    assert!(
        refused.stderr.contains("the job file"),
        "{}",
        refused.stderr
    );
    work.rowmill(&["cancel", "job.toml", "--abandon"]).expect(0);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    assert_eq!(work.parquet("out.parquet").rows(), 5);
}

#[test]
fn a_run_that_was_sent_before_its_job_changed_is_finished_before_the_changed_job_is_sent() {
    let work = Workdir::new().with_rows(5);
    work.rowmill(&["submit", "job.toml", "--simulate"])
        .expect(0);
    work.write("job.toml", JOB.replace("Say what", "Tell what"));
    let finished = work
        .rowmill(&["run", "job.toml", "--simulate"])
        .expect(0)
        .says("has changed since run `.rowmill/test/")
        .says("the job file `job.toml`")
        .says("ended first")
        .says("5 to send of 5 read");
    let accepted = "batch 1 accepted as ";
    let (_, id) = finished.stderr.split_once(accepted).expect("a batch");
    let id = id.lines().next().unwrap();
    assert_eq!(
        work.parquet("out.parquet").column("_rm_batch_id"),
        [id; 5],
        "every answer is to the changed job"
    );
}

#[test]
fn a_run_gives_its_manifest_as_json() {
    let work = Workdir::new().with_rows(5);
    let manifest = work
        .rowmill(&["run", "job.toml", "--simulate", "--json"])
        .expect(0)
        .json();
    assert_eq!(manifest["by_status"]["succeeded"], 5);
    assert_eq!(manifest["state"], "exported");
    assert!(
        manifest["output"]
            .as_str()
            .unwrap()
            .ends_with("out.simulated.parquet")
    );
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
    work.write(
        "rows.csv",
        format!("id,body\na,short\nb,{}\n", "x".repeat(5_000)),
    );
    work.write(
        "job.toml",
        format!("{}min_success = 0.9\n[batch]\nmax_bytes = 4000\n", JOB),
    );
    work.rowmill(&["run", "job.toml", "--simulate"])
        .expect(3)
        .says("held back");
    assert!(!work.output("out.parquet").exists());
}

#[test]
fn preview_lets_no_cell_act_on_the_screen() {
    let work = Workdir::new().with_rows(1);
    work.write(
        "rows.csv",
        "id,body\nT-1,red \u{1b}[31m and \u{202e}backwards\n",
    );
    let shown = work.rowmill(&["preview", "job.toml"]).expect(0);
    assert!(
        shown
            .stdout
            .contains("Text: red ␛[31m and <U+202E>backwards"),
        "{}",
        shown.stdout
    );
    let request = work
        .rowmill(&["preview", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        request[0]["params"]["messages"][0]["content"],
        "Text: red \u{1b}[31m and \u{202e}backwards"
    );
}

#[test]
fn a_run_without_rows_stands_in_nobodys_way() {
    let work = Workdir::new().with_rows(5);
    for (args, words) in [
        (["--where", "id = 'none'"], "`where` holds for none of 5"),
        (["--limit", "0"], "the limit is 0"),
    ] {
        for command in ["check", "plan"] {
            work.rowmill(&[command, "job.toml", args[0], args[1]])
                .expect(0)
                .says(words);
        }
        work.rowmill(&["run", "job.toml", "--simulate", args[0], args[1]])
            .expect(0)
            .says(words);
    }
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    assert_eq!(work.parquet("out.parquet").rows(), 5);
}

#[test]
fn quiet_gives_the_path_alone_and_still_tells_what_failed() {
    let work = Workdir::new().with_rows(3);
    let done = work
        .rowmill(&["run", "job.toml", "--simulate", "-q"])
        .expect(0);
    assert_eq!(
        done.stdout.trim(),
        work.output("out.parquet")
            .canonicalize()
            .unwrap()
            .display()
            .to_string()
    );
    work.write(
        "job.toml",
        JOB.replace("max_tokens = 200", "max_tokens = 1"),
    );
    let cut_off = work
        .rowmill(&["run", "job.toml", "--simulate", "-q"])
        .expect(3)
        .says("3 rows did not succeed (3 truncated)");
    assert!(
        cut_off
            .stderr
            .contains("--class truncated` sends 3 rows again"),
        "{}",
        cut_off.stderr
    );
}

#[test]
fn quiet_hides_no_warning_about_the_files_of_a_run() {
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["plan", "job.toml", "--simulate", "--out", "planned"])
        .expect(0);
    std::fs::rename(work.path("planned"), work.path("moved")).unwrap();
    work.rowmill(&["run", "moved", "--simulate", "-q"])
        .expect(0)
        .says("warning: the run was planned in")
        .says("and moved here");
}

#[test]
fn shows_key_text_and_answer_within_the_width_of_the_screen() {
    let work = Workdir::new();
    let long = "넓은 글자와 ".repeat(40);
    work.write(
        "rows.csv",
        format!("order_status,body,id\nopen,{long},T-1\nshut,\"שלום, עולם\nשוב\",T-2\n"),
    );
    work.write("job.toml", JOB);
    let done = work
        .command(&["run", "job.toml", "--simulate"])
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let head: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["id", "body", "_rm_text", "_rm_status"], "{text}");
    assert!(
        text.lines()
            .take(3)
            .all(|line| console::measure_text_width(line) <= 80),
        "{text}"
    );
    assert!(
        text.lines().nth(2).unwrap().ends_with("succeeded"),
        "{text}"
    );
}

#[test]
fn warns_of_a_cache_mark_that_can_have_no_effect() {
    let work = Workdir::new().with_rows(3);
    let marked = |text: &str| {
        JOB.replace(
            "system = \"Say what the text is about.\"",
            &format!("system = [{{ text = \"{text}\", cache = \"1h\" }}]"),
        )
    };
    work.write("job.toml", marked("Say what the text is about."));
    work.rowmill(&["check", "job.toml"])
        .expect(0)
        .says("the cache mark has no effect");
    work.write(
        "job.toml",
        marked(&"Say what the text is about. ".repeat(800)),
    );
    assert!(
        !work
            .rowmill(&["check", "job.toml"])
            .expect(0)
            .stderr
            .contains("cache mark")
    );
}

#[test]
fn names_the_binary_column_that_cannot_be_in_a_prompt() {
    let work = Workdir::new();
    work.write("rows.csv", "id,body,picture\na,b,c\n");
    let job = JOB
        .replace("{{ body }}", "{{ row | json }}")
        .replace("[key]", "columns.picture = \"binary\"\n[key]");
    work.write("job.toml", job);
    work.rowmill(&["check", "job.toml"])
        .expect(2)
        .says("the column `picture` is binary");
}

#[test]
fn a_job_without_rows_has_no_batch_and_a_check_says_that_it_counts_all_rows() {
    let work = Workdir::new().with_rows(3);
    let counts_all = "all rows are counted";
    let first = work.rowmill(&["check", "job.toml"]).expect(0);
    assert!(!first.stdout.contains(counts_all), "{}", first.stdout);
    work.write("out.parquet", "");
    let second = work.rowmill(&["check", "job.toml"]).expect(0);
    assert!(second.stdout.contains(counts_all), "{}", second.stdout);
    std::fs::remove_file(work.path("out.parquet")).unwrap();
    work.write("rows.csv", "id,body\n");
    let check = work.rowmill(&["check", "job.toml"]).expect(0).stdout;
    assert!(
        check.contains("batches    none, nothing to upload"),
        "{check}"
    );
    let plan = work.rowmill(&["plan", "job.toml"]).expect(0).stdout;
    assert!(plan.contains("upload     nothing"), "{plan}");
}

#[test]
fn a_log_says_once_that_a_run_is_simulated() {
    let work = Workdir::new().with_rows(3);
    let run = work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    assert_eq!(run.stderr.matches("SIMULATED").count(), 1, "{}", run.stderr);
}
