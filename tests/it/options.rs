//! Options of requests: the documentation's job runs, and what is shared is told.

use crate::answers::{blocks, page};
use crate::support::Workdir;

/// The job of the documentation, with its files, in a folder of its own.
fn documented() -> Workdir {
    let page = page("options.md");
    let work = crate::readme::with_samples();
    work.write("replies.toml", blocks(&page, "toml")[0])
        .write("reply.json", blocks(&page, "json")[0]);
    work
}

#[test]
fn the_job_of_the_options_page_runs() {
    let work = documented();
    let mut ran = 0;
    for command in blocks(&page("options.md"), "sh")[0].lines() {
        let args: Vec<&str> = command
            .strip_prefix("rowmill ")
            .expect("a command")
            .split(' ')
            .collect();
        let done = work.rowmill(&args).expect(0);
        if args[0] == "run" {
            done.says("by tag");
        }
        ran += 1;
    }
    assert_eq!(ran, 3);
    let table = work.parquet("replies.parquet");
    assert_eq!(table.column("_rm_tag"), table.column("channel"));
    let models = table.column("_rm_model");
    for model in ["claude-haiku-5-5", "claude-sonnet-5"] {
        assert!(models.iter().any(|found| found == model), "{models:?}");
    }
    assert!(
        table
            .column("reply")
            .iter()
            .all(|calls| calls.contains("closes_ticket")),
        "{:?}",
        table.column("reply")
    );
    let manifest = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("manifest.json"))
        .expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&work.read(&manifest)).unwrap();
    let mut channels = table.column("channel");
    channels.sort();
    channels.dedup();
    let tags: Vec<&String> = manifest["bill"]["by_tag"]
        .as_object()
        .expect("tags")
        .keys()
        .collect();
    assert_eq!(tags, channels.iter().collect::<Vec<_>>());
}

#[test]
fn every_setting_of_the_options_page_is_one() {
    let page = page("options.md");
    let jobs = blocks(&page, "toml");
    let mut job: toml::Table = toml::from_str(jobs[0]).unwrap();
    let beside: toml::Table = toml::from_str(jobs[1]).unwrap();
    job["request"]
        .as_table_mut()
        .unwrap()
        .extend(beside["request"].as_table().unwrap().clone());
    rowmill::job::JobFile::parse(
        std::path::Path::new("a.toml"),
        toml::to_string(&job).unwrap(),
    )
    .unwrap();
    assert_eq!(jobs.len(), 2);
}

#[test]
fn check_tells_what_is_shared_and_what_splits_it() {
    let work = documented();
    let checked = work
        .rowmill(&["check", "replies.toml", "--json"])
        .expect(0)
        .json();
    let shared = &checked["shared"];
    let parts: Vec<&serde_json::Value> = shared["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| &part["what"])
        .collect();
    assert_eq!(
        serde_json::json!(parts),
        serde_json::json!([{ "kind": "tool_prompt" }, { "kind": "tool", "name": "reply" }])
    );
    assert_eq!(
        (
            shared["verdict"].as_str(),
            shared["min_cache_tokens"].as_u64()
        ),
        (Some("perhaps"), Some(512))
    );
    assert_eq!(shared["splits"].as_array().unwrap().len(), 1);
    let shown = work.rowmill(&["check", "replies.toml"]).expect(0);
    for words in [
        "part",
        "up to here",
        "tool `reply`",
        "1h",
        "may hit",
        "each model has a cache of its own",
    ] {
        assert!(
            shown.stdout.contains(words),
            "`{words}` is not in\n{}",
            shown.stdout
        );
    }
    let table = shown.stdout.lines().filter(|line| line.starts_with("  "));
    assert!(
        table.clone().count() > 4 && table.clone().all(|line| line.chars().count() <= 120),
        "{}",
        shown.stdout
    );
}
