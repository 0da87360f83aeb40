//! Bad input gives one clear message and the documented exit code; nothing is sent or half written.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::support::{JOB, Workdir};

/// A folder that must contain only the named files after the command.
#[track_caller]
fn refuses(work: &Workdir, words: &[&str]) {
    let before = work.files();
    let finished = work.rowmill(&["run", "job.toml", "--simulate"]).expect(2);
    for word in words {
        assert!(
            finished.stderr.contains(word),
            "`{word}` is not in\n{}",
            finished.stderr
        );
    }
    assert_eq!(
        finished
            .stderr
            .lines()
            .filter(|line| line.starts_with("error:"))
            .count(),
        1,
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let left: Vec<_> = work
        .files()
        .into_iter()
        .filter(|f| !before.contains(f) && !f.contains("/.simulator/"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn refuses_an_output_that_would_replace_what_the_job_reads() {
    let templated = JOB.replace("text = \"Text: {{ body }}\"", "file = \"ask.j2\"");
    for (job, output, words) in [
        (JOB, "rows.csv", "a file of the source"),
        (JOB, "./job.toml", "the job file"),
        (templated.as_str(), "ask.j2", "a template"),
    ] {
        let work = Workdir::new().with_rows(3);
        let job = job.replace(
            "path = \"out.parquet\"",
            &format!("path = \"{output}\"\nformat = \"csv\""),
        );
        work.write("ask.j2", "About {{ body }}")
            .write("job.toml", &job);
        let kept = work.read(output);
        refuses(&work, &[words, "output.path"]);
        assert_eq!(work.read(output), kept);
    }
}

#[test]
fn refuses_sources_that_cannot_be_read() {
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("empty.csv", b"", &["empty.csv", "empty"]),
        (
            "ragged.csv",
            b"id,body\na,b\nc\n",
            &["ragged.csv", "line 3"],
        ),
        (
            "long.csv",
            b"id,body\na,b\nc,d,e\n",
            &["long.csv", "line 3"],
        ),
        (
            "quote.csv",
            b"id,body\na,b\nc,\"d\ne,f\n",
            &["quote.csv", "line 3", "quote"],
        ),
        (
            "latin.csv",
            b"id,body\na,caf\xe9\n",
            &["latin.csv", "line 2", "UTF-8"],
        ),
        ("twice.csv", b"id,body,id\na,b,c\n", &["twice.csv", "`id`"]),
        (
            "corrupt.parquet",
            b"PAR1 not really PAR1",
            &["corrupt.parquet"],
        ),
        (
            "bad.jsonl",
            b"{\"id\": \"a\", \"body\": \"b\"}\n{\"id\": \n",
            &["bad.jsonl", "line 2"],
        ),
    ];
    for (name, bytes, words) in cases {
        let work = Workdir::new();
        work.write(name, bytes)
            .write("job.toml", JOB.replace("rows.csv", name));
        refuses(&work, words);
    }
    let work = Workdir::new();
    work.write("job.toml", JOB);
    refuses(&work, &["rows.csv"]);
}

/// A table with the columns `id` and `body`.
fn parquet_bytes(rows: usize) -> Vec<u8> {
    let column = |text: &str| -> ArrayRef {
        let cells = (0..rows).map(|row| format!("{text} {row}"));
        Arc::new(StringArray::from_iter_values(cells))
    };
    let columns = [("id", column("T")), ("body", column("text"))];
    let batch = RecordBatch::try_from_iter(columns).expect("one length");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("types");
    writer.write(&batch).expect("rows");
    writer.into_inner().expect("a footer")
}

#[test]
fn refuses_damaged_parquet() {
    let bytes = parquet_bytes(500);
    let end = bytes.len();
    // The last eight bytes are the length of the footer and the magic number.
    let with = |at: std::ops::Range<usize>, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at].fill(byte);
        bytes
    };
    let cases = [
        ("its last two thirds are missing", bytes[..end / 3].to_vec()),
        ("its last nine bytes are missing", bytes[..end - 9].to_vec()),
        ("it does not end as Parquet", with(end - 4..end, b'x')),
        (
            "its footer is longer than the file",
            with(end - 8..end - 4, 0x7f),
        ),
        ("its footer has no bytes", with(end - 8..end - 4, 0)),
        ("its first page has no header", with(4..40, 0xff)),
        ("its footer is overwritten", with(end - 200..end - 8, 0xff)),
        (
            "a thousand bytes are missing inside",
            [&bytes[..100], &bytes[1_100..]].concat(),
        ),
    ];
    for (what, bytes) in cases {
        let work = Workdir::new();
        work.write("damaged.parquet", bytes)
            .write("job.toml", JOB.replace("rows.csv", "damaged.parquet"));
        eprintln!("{what}");
        refuses(&work, &["damaged.parquet"]);
    }
}

#[test]
fn refuses_jobs_that_do_not_fit_together() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("[output]", "[outptu]", &["outptu", "did you mean `output`"]),
        (
            "max_tokens",
            "max_token",
            &["line 12", "did you mean `max_tokens`"],
        ),
        (
            "{{ body }}",
            "{{ boddy }}",
            &["boddy", "did you mean `body`"],
        ),
        ("{{ body }}", "{{ body", &["message"]),
        (
            "Say what the text is about.",
            "About {{ body }}",
            &["body", "cache"],
        ),
        (
            "claude-haiku-4-5",
            "claude-haiku-4-6",
            &["unknown model", "claude-haiku-4-5"],
        ),
        (
            "\"claude-haiku-4-5\"",
            "\"claude-3-opus-20240229\"",
            &["retired"],
        ),
        ("max_tokens = 200", "max_tokens = 0", &["max_tokens"]),
        ("max_tokens = 200", "max_tokens = 900000", &["max_tokens"]),
        (
            "columns = [\"id\"]",
            "columns = [\"ide\"]",
            &["`ide`", "id"],
        ),
        ("out.parquet", "nowhere/\\u0000/out.parquet", &["output"]),
        ("out.parquet", "out.xlsx", &["xlsx"]),
        (
            "max_tokens = 200",
            "max_tokens = 200\nparams = { temperature = 0.1 }",
            &["temperature"],
        ),
        (
            "max_tokens = 200",
            "max_tokens = 200\nparams = { stream = true }",
            &["stream"],
        ),
    ];
    for (from, to, words) in cases {
        let work = Workdir::new().with_rows(3);
        assert!(JOB.contains(from), "{from}");
        work.write("job.toml", JOB.replacen(from, to, 1));
        refuses(&work, words);
    }
}

#[test]
fn refuses_a_schema_that_the_api_refuses() {
    for (schema, word) in [
        (
            r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1}},"required":["a"],"additionalProperties":false}"#,
            "minimum",
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#,
            "additionalProperties",
        ),
        (
            r#"{"type":"object","properties":{"id":{"type":"string"}},"required":["id"],"additionalProperties":false}"#,
            "`id`",
        ),
        (r#"{"type":"#, "answer.json"),
    ] {
        let work = Workdir::new().with_rows(3);
        work.write("answer.json", schema);
        work.write(
            "job.toml",
            JOB.replace(
                "max_tokens = 200",
                "max_tokens = 200\nschema = \"answer.json\"",
            ),
        );
        refuses(&work, &[word]);
    }
}

#[test]
fn names_rows_whose_key_is_missing() {
    let work = Workdir::new().with_rows(1);
    work.write("rows.csv", "id,body\na,b\n,c\n,d\n");
    refuses(&work, &["2 rows", "`id`", "rows 2 and 3"]);
}

#[test]
fn names_the_row_that_cannot_be_rendered() {
    let work = Workdir::new().with_rows(1);
    work.write("rows.csv", "id,body\na,2024-01-01\nb,yesterday\n");
    work.write(
        "job.toml",
        JOB.replace("{{ body }}", "{{ body | date('%Y') }}"),
    );
    refuses(&work, &["row 2", "id = \"b\""]);
}

#[test]
fn refuses_an_output_that_cannot_be_written() {
    let work = Workdir::new().with_rows(3);
    work.write("folder/file", "")
        .write("job.toml", JOB.replace("out.parquet", "folder"));
    refuses(&work, &["folder"]);
    let work = Workdir::new().with_rows(3);
    work.write("folder", "")
        .write("job.toml", JOB.replace("out.parquet", "folder/out.parquet"));
    refuses(&work, &["folder"]);
}

#[test]
fn tells_that_there_is_no_such_run_or_job() {
    let work = Workdir::new();
    work.rowmill(&["status", "nowhere"]).expect(10);
    work.rowmill(&["collect", "20260101-000000-abcdef"])
        .expect(10);
    work.rowmill(&["run", "missing.toml"])
        .expect(2)
        .says("missing.toml");
    work.rowmill(&["run"]).expect(2);
}

#[test]
fn asks_for_a_key_before_it_plans() {
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["run", "job.toml"])
        .expect(12)
        .says("ANTHROPIC_API_KEY");
    assert_eq!(work.files(), ["job.toml", "rows.csv"]);
}

#[test]
fn sends_a_key_over_plain_http_to_this_machine_only() {
    let work = Workdir::new().with_rows(3);
    work.rowmill_at("http://198.51.100.7:9", &["run", "job.toml"])
        .expect(2)
        .says("https");
    assert_eq!(work.files(), ["job.toml", "rows.csv"]);
}

#[test]
fn hints_at_the_setting_that_may_help() {
    for (name, bytes, hint) in [
        (
            "ragged.csv",
            &b"id,body\na;b;c\nd,e\n"[..],
            "source.delimiter",
        ),
        ("semicolons.csv", b"id;body\na;b\n", "source.delimiter"),
        ("latin.csv", b"id,body\na,caf\xe9\n", "source.encoding"),
        ("quote.csv", b"id,body\na,\"b\n", "source.quote"),
        ("rows.data", b"id,body\na,b\n", "source.format"),
        ("rows.parquet", b"id,body\na,b\n", "source.format"),
    ] {
        let work = Workdir::new();
        work.write(name, bytes)
            .write("job.toml", JOB.replace("rows.csv", name));
        let refused = work.rowmill(&["check", "job.toml"]).expect(2);
        let line = refused
            .stderr
            .lines()
            .find(|line| line.starts_with("hint:"))
            .unwrap_or_default();
        assert!(line.contains(hint), "{name}: {}", refused.stderr);
    }
    Workdir::new()
        .rowmill(&["check", "missing.toml"])
        .expect(2)
        .says("rowmill init");
}
