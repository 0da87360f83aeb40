//! Output for programs: one JSON document on stdout, one JSON object per line on stderr, timestamps
//! on text lines; and that only the command line writes sentences.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Sim, Workdir};

/// Commands that fail, each with its exit code and the kind of the error.
const FAILURES: &[(&[&str], i32, &str)] = &[
    (&["init", "missing.csv"], 2, "source"),
    (&["check", "missing.toml"], 2, "invalid_job"),
    (&["check", "typo.toml"], 2, "invalid_job"),
    (&["preview", "missing.toml"], 2, "invalid_job"),
    (&["plan", "missing.toml"], 2, "invalid_job"),
    (&["plan", "model.toml"], 2, "unknown_model"),
    (&["run", "missing.toml"], 2, "invalid_job"),
    (&["run", "twice.toml", "--simulate"], 2, "duplicate_keys"),
    (&["run", "job.toml"], 12, "credentials"),
    (&["run"], 2, "usage"),
    (&["run", "job.toml", "--no-such-option"], 2, "usage"),
    (&["submit", "20261130-000000-none"], 10, "run_not_found"),
    (&["collect", "20261130-000000-none"], 10, "run_not_found"),
    (&["export", "20261130-000000-none"], 10, "run_not_found"),
    (&["status", "20261130-000000-none"], 10, "run_not_found"),
    (&["cancel", "20261130-000000-none"], 10, "run_not_found"),
    (
        &["retry", "20261130-000000-none", "--class", "expired"],
        10,
        "run_not_found",
    ),
    (&["rescue", "20261130-000000-none"], 10, "run_not_found"),
    (&["models", "no-such-model"], 2, "invalid_input"),
    (&["prices", "no-such-model"], 2, "unknown_model"),
    (&["cost", "--since", "yesterday"], 2, "usage"),
    (&["sim", "--faults", "missing.toml"], 2, "invalid_input"),
    (&["completions", "no-such-shell"], 2, "usage"),
];

fn prepared() -> Workdir {
    let work = Workdir::new().with_rows(3);
    let job = work.read("job.toml");
    work.write("typo.toml", job.replace("max_tokens", "max_token"))
        .write(
            "model.toml",
            job.replace("claude-haiku-4-5", "claude-nobody-9"),
        )
        .write("twice.toml", job.replace("rows.csv", "twice.csv"))
        .write("twice.csv", "id,body\nT-1,a\nT-1,b\n");
    work
}

/// The lines of stderr as JSON objects.
fn json_lines(stderr: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: `{line}` in\n{stderr}"));
        let time = value["time"].as_str().expect("a time");
        time.parse::<jiff::Timestamp>().expect("a time stamp");
        let levels = ["error", "warn", "info", "debug", "trace"];
        assert!(levels.contains(&value["level"].as_str().unwrap()), "{line}");
        assert!(value["message"].is_string(), "{line}");
        value
    };
    stderr.lines().map(parse).collect()
}

#[test]
fn every_command_that_fails_gives_one_document() {
    let work = prepared();
    for (args, code, kind) in FAILURES {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let failed = work.rowmill(&args).expect(*code);
        let document = failed.json();
        let error = &document["error"];
        let context = format!("{args:?}: {document}");
        assert_eq!(error["kind"], *kind, "{context}");
        assert_eq!(error["exit_code"], *code, "{context}");
        let message = error["message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\n'), "{context}");
        assert!(error["details"].is_array(), "{context}");
        assert!(error["causes"].is_array(), "{context}");
        assert!(
            error["hint"].is_string() || error["hint"].is_null(),
            "{context}"
        );
        let (said, first) = (
            failed.stderr.trim(),
            message.split(['`', ':', '[']).next().unwrap().trim(),
        );
        assert!(said.contains(first), "{context}\n{said}");
    }
}

#[test]
fn an_error_is_one_line_of_json_where_the_log_is_json() {
    let work = prepared();
    for (args, code, kind) in FAILURES {
        let args: Vec<&str> = args
            .iter()
            .copied()
            .chain(["--log-format", "json"])
            .collect();
        let failed = work.rowmill(&args).expect(*code);
        let lines = json_lines(&failed.stderr);
        let errors: Vec<&Value> = lines
            .iter()
            .filter(|line| line["level"] == "error")
            .collect();
        assert_eq!(errors.len(), 1, "{args:?}: {}", failed.stderr);
        assert_eq!(errors[0]["error"]["kind"], *kind, "{args:?}");
        assert_eq!(errors[0]["error"]["exit_code"], *code, "{args:?}");
        assert_eq!(
            errors[0]["message"], errors[0]["error"]["message"],
            "{args:?}"
        );
    }
}

#[test]
fn what_prints_text_only_gives_it_as_a_document() {
    let work = Workdir::new();
    let script = work.rowmill(&["completions", "bash"]).expect(0).stdout;
    let document = work
        .rowmill(&["completions", "bash", "--json"])
        .expect(0)
        .json();
    assert_eq!(document["text"].as_str().unwrap(), script.trim_end());
}

#[test]
fn every_line_of_a_run_is_json_where_the_log_is_json() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::with(""));
    let args = ["run", "job.toml", "--json", "--log-format", "json", "-vv"];
    let finished = work.rowmill_at(&sim.url(), &args).expect(0);
    assert!(finished.json().is_object());
    let lines = json_lines(&finished.stderr);
    let of = |field: &str, value: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line[field] == value).collect()
    };
    let accepted = of("notice", "accepted");
    assert_eq!(accepted.len(), 1, "{}", finished.stderr);
    assert_eq!(accepted[0]["batch"], 1);
    assert_eq!(accepted[0]["level"], "info");
    let id = accepted[0]["id"].as_str().unwrap();
    assert_eq!(
        accepted[0]["message"],
        format!("batch 1 accepted as {id}").as_str()
    );
    let run = accepted[0]["run"].as_str().expect("the run");
    assert!(work.path(&format!(".rowmill/test/{run}")).is_dir(), "{run}");
    let ended = of("notice", "ended");
    assert_eq!(ended[0]["counts"]["succeeded"], 4);
    // The library's own log lines, each with its module.
    let calls = lines.iter().filter(|line| line["target"].is_string());
    assert!(
        calls.clone().any(|line| line["call"] == "create batch"),
        "{}",
        finished.stderr
    );
    assert!(!calls.clone().any(|line| line["level"] == "error"));
}

#[test]
fn text_lines_carry_the_time_where_stderr_is_no_terminal() {
    let (work, sim) = (Workdir::new().with_rows(4), Sim::with(""));
    let run = work
        .command_at(&sim.url(), &["run", "job.toml", "-v"])
        .output()
        .expect("the binary runs");
    let failed = work.command(&["check", "missing.toml"]).output().unwrap();
    for output in [run, failed] {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.is_empty());
        for line in stderr.lines() {
            let (time, text) = line.split_once(' ').expect("a time and a text");
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
            assert!(!text.trim().is_empty(), "{line}");
        }
    }
}

/// The source files of the library, without the command line.
fn library_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources") {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["cli", "tests"].contains(&name.as_str()) {
            library_files(&path, files);
        } else if name.ends_with(".rs") && !["main.rs", "tests.rs"].contains(&name.as_str()) {
            files.push(path);
        }
    }
}

/// The string literals and doc comments of a source file up to its tests, each with its line.
fn words_in(source: &str) -> Vec<(usize, String)> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let line = 1 + source[..source.len() - rest.len() + at]
            .matches('\n')
            .count();
        let before = &rest[..at];
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("//") {
            let end = comment.find('\n').unwrap_or(comment.len());
            if comment.starts_with(['/', '!']) {
                words.push((line, comment[..end].to_owned()));
            }
            rest = &comment[end..];
        } else if rest.starts_with('"') {
            let hashes = before.len() - before.trim_end_matches('#').len();
            let is_raw = before.trim_end_matches('#').ends_with('r');
            let end = if is_raw {
                let close = format!("\"{}", "#".repeat(hashes));
                rest[1..].find(&close).map_or(rest.len(), |end| end + 1)
            } else {
                end_of_string(rest)
            };
            words.push((line, rest[1..end].to_owned()));
            rest = &rest[(end + 1).min(rest.len())..];
        } else if let Some(quote) = ["'\"'", "'\\''", "'/'", "'\\\"'"]
            .iter()
            .find(|quote| rest.starts_with(**quote))
        {
            rest = &rest[quote.len()..];
        } else {
            rest = &rest[1..];
        }
    }
    words
}

/// The end of the string literal at the beginning of the text.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

/// Whether a text names an option of the command line, or one of its commands.
fn names_the_command_line(text: &str) -> bool {
    let flag = text.match_indices("--").any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + 2..].chars().next();
        after.is_some_and(|c| c.is_ascii_lowercase())
            && before.is_none_or(|c| c.is_whitespace() || "`'\"(".contains(c))
    });
    let command = text.match_indices("rowmill ").any(|(at, word)| {
        const COMMANDS: &[&str] = &[
            "init", "check", "preview", "plan", "run", "submit", "collect", "export", "status",
            "cancel", "retry", "rescue", "prune", "models", "prices", "cost", "sim",
        ];
        let next = text[at + word.len()..].split(|c: char| !c.is_ascii_alphabetic());
        let is_code = text[..at].ends_with('`') || text[at + word.len()..].contains(['{', '-']);
        is_code && next.take(1).any(|next| COMMANDS.contains(&next))
    });
    flag || command
}

#[test]
fn finds_options_and_commands_in_sources() {
    let source = r##"
        /// Takes `--limit`.
        // A plain comment may name --flags.
        fn a() { let c = '"'; say("run it with --all"); say(r#"a "quoted" --b"#); }
        fn b() { say("-- a dash"); say("`rowmill run` does"); say("rowmill ended"); }
        #[cfg(test)]
mod tests { const A: &str = "--in-tests"; }
    "##;
    let found: Vec<usize> = words_in(source)
        .iter()
        .filter(|(_, text)| names_the_command_line(text))
        .map(|(line, _)| *line)
        .collect();
    assert_eq!(found, [2, 4, 4, 5]);
}

#[test]
fn the_library_knows_no_options_and_no_commands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    library_files(&root, &mut files);
    assert!(files.len() > 100, "the sources were found");
    let mut found = Vec::new();
    for file in files {
        for (line, text) in words_in(&fs::read_to_string(&file).unwrap()) {
            if names_the_command_line(&text) {
                found.push(format!("{}:{line}: {text}", file.display()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "the library names the command line; say it in src/cli/words:\n{}",
        found.join("\n")
    );
}
