//! The job file as a whole: types, ranges, messages.

use std::path::Path;

use super::*;

pub(super) const SMALLEST: &str = "[job]\nname = \"a\"\n[source]\npath = \
                        \"a.csv\"\n[request]\nmodel = \"claude-haiku-4-5\"\nmax_tokens = \
                        10\nmessages = [{ role = \"user\", text = \"{{ a }}\" }]\n[output]\npath = \
                        \"b.parquet\"\n";

fn parse(text: &str) -> Result<JobFile, Error> {
    JobFile::parse(Path::new("jobs/a.toml"), text.to_owned())
}

#[test]
fn reads_the_smallest_job() {
    let file = parse(SMALLEST).unwrap();
    assert_eq!(file.job.batch.max_requests, 10_000);
    assert_eq!(
        file.resolve(Path::new("b.parquet")),
        Path::new("jobs/b.parquet")
    );
}

#[test]
fn names_the_nearest_known_key_and_the_line() {
    let text = SMALLEST.replace("path = \"b.parquet\"", "pth = \"b.parquet\"");
    let Err(Error::Parse { line, nearest, .. }) = parse(&text) else {
        panic!("an unknown key was accepted")
    };
    assert_eq!((line, nearest.as_deref()), (10, Some("path")));
}

#[test]
fn says_in_plain_words_what_is_wrong_with_a_key() {
    for (from, to, line, words) in [
        (
            "max_tokens = 10",
            "max_tokens = \"ten\"",
            7,
            "`request.max_tokens` must be a whole number, not the text \"ten\"",
        ),
        (
            "max_tokens = 10",
            "max_tokens = -1",
            7,
            "`request.max_tokens` must be a whole number from 0 to 4,294,967,295, not -1",
        ),
        (
            "max_tokens = 10",
            "max_tokens = 1.5",
            7,
            "`request.max_tokens` must be a whole number, not 1.5",
        ),
        (
            "max_tokens = 10\n",
            "",
            5,
            "`request.max_tokens` is missing",
        ),
        (
            "path = \"a.csv\"",
            "path = \"a.csv\"\nderive = 3",
            5,
            "`source.derive` must be a table, not 3",
        ),
        (
            "name = \"a\"",
            "name = true",
            2,
            "`job.name` must be text in quotation marks, not true",
        ),
        (
            "messages = [",
            "messages = \"hi\"\nstop_sequences = [",
            8,
            "`request.messages` must be a list, not the text \"hi\"",
        ),
        (
            "path = \"b.parquet\"",
            "pth = \"b.parquet\"",
            10,
            "there is no key `pth` here; there are `path`, ",
        ),
        (
            "[output]\npath = \"b.parquet\"\n",
            "",
            1,
            "the section `[output]` is missing",
        ),
        ("[job]", "job = 5\n[jub]", 1, "`job` must be a table, not 5"),
    ] {
        assert!(SMALLEST.contains(from), "{from}");
        let Err(Error::Parse {
            line: at, message, ..
        }) = parse(&SMALLEST.replacen(from, to, 1))
        else {
            panic!("{to} was accepted")
        };
        assert!(message.starts_with(words), "{to}: {message}");
        assert_eq!(at, line, "{to}: {message}");
        for term in [
            "invalid type",
            "expected",
            "struct",
            "u32",
            "sequence",
            "map",
            "untagged",
        ] {
            assert!(!message.contains(term), "{to}: {message}");
        }
    }
}

#[test]
fn keeps_amounts_exactly_as_they_are_written() {
    for (written, amount) in [
        ("40", "40"),
        ("40.10", "40.1"),
        ("\"40.10\"", "40.1"),
        ("1_000.000_000_000_001", "1000.000000000001"),
        ("123456.000000000001", "123456.000000000001"),
        ("0", "0"),
    ] {
        let file = parse(&format!("{SMALLEST}[budget]\nday_usd = {written}\n")).unwrap();
        assert_eq!(
            file.job
                .budget
                .day_usd
                .map(|amount| amount.to_string())
                .as_deref(),
            Some(amount),
            "{written}"
        );
        let kept: Job = serde_json::from_str(&serde_json::to_string(&file.job).unwrap()).unwrap();
        assert_eq!(kept.budget, file.job.budget);
    }
    assert!(parse(&format!("{SMALLEST}budget = 1\n")).is_err());
    for written in [
        "-1",
        "-0.5",
        "\"-1\"",
        "1e3",
        "inf",
        "nan",
        "0.0000000000001",
        "\"12,50\"",
        "\"\"",
        "true",
    ] {
        let error = parse(&format!("{SMALLEST}[budget]\nrun_usd = {written}\n"));
        assert!(
            error.is_err(),
            "{written} was accepted: {:?}",
            error.map(|file| file.job.budget)
        );
    }
    let Err(Error::Parse { nearest, .. }) = parse(&format!("{SMALLEST}[budget]\nrun_us = 1\n"))
    else {
        panic!("accepted")
    };
    assert_eq!(nearest.as_deref(), Some("run_usd"));
}

#[test]
fn refuses_values_out_of_range() {
    for (extra, key) in [
        ("[batch]\nmax_requests = 0\n", "batch.max_requests"),
        ("[batch]\nmax_requests = 100001\n", "batch.max_requests"),
        ("[batch]\nmax_bytes = 300000000\n", "batch.max_bytes"),
        (
            "[batch]\nmax_queued_requests = 5\n",
            "batch.max_queued_requests",
        ),
        ("[batch]\nsettle_seconds = 0\n", "batch.settle_seconds"),
        ("[canary]\nrows = 0\n", "canary.rows"),
    ] {
        let Err(Error::Value { key: named, .. }) = parse(&format!("{SMALLEST}{extra}")) else {
            panic!("{extra} was accepted")
        };
        assert_eq!(named, key);
    }
    for name in ["", "..", "a/b", "a b"] {
        assert!(
            parse(&SMALLEST.replace("\"a\"\n[source", &format!("\"{name}\"\n[source"))).is_err(),
            "{name}"
        );
    }
}
