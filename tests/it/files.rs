//! What may be a file of a job, and how what is no table is refused.

use crate::support::{JOB, Workdir};

/// A job that is refused within moments, with these words and nothing left behind.
#[track_caller]
fn refuses(work: &Workdir, job: &str, words: &[&str]) {
    work.write("job.toml", job);
    for command in ["check", "run"] {
        let args: &[&str] = if command == "run" {
            &["run", "job.toml", "--simulate"]
        } else {
            &["check", "job.toml"]
        };
        let refused = work.rowmill(args).expect(2);
        for word in words {
            assert!(
                refused.stderr.contains(word),
                "`{word}` is not in\n{}",
                refused.stderr
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn reads_ordinary_files_only() {
    let message = "text = \"Text: {{ body }}\"";
    for (from, to) in [
        ("\"rows.csv\"", "\"DEVICE\"\nformat = \"csv\""),
        (message, "template = \"DEVICE\""),
        (message, "text = \"{% include 'pipe' %}{{ body }}\""),
        (
            "system = \"Say what the text is about.\"",
            "system = [{ file = \"DEVICE\" }]",
        ),
        ("max_tokens = 200", "max_tokens = 200\nschema = \"DEVICE\""),
        ("max_tokens = 200", "max_tokens = 200\ntools = [\"DEVICE\"]"),
        (
            message,
            "content = [{ document = { file = \"DEVICE\" } }, { text = \"{{ body }}\" }]",
        ),
        (
            message,
            "content = [{ image = { file = \"DEVICE\" } }, { text = \"{{ body }}\" }]",
        ),
    ] {
        let work = Workdir::new().with_rows(2);
        assert!(
            std::process::Command::new("mkfifo")
                .arg(work.path("pipe"))
                .status()
                .unwrap()
                .success()
        );
        assert!(JOB.contains(from), "{from}");
        refuses(
            &work,
            &JOB.replace(from, to).replace("DEVICE", "pipe"),
            &["a named pipe, not an ordinary file"],
        );
        if to.contains("DEVICE") {
            refuses(
                &work,
                &JOB.replace(from, to).replace("DEVICE", "/dev/zero"),
                &["a device, not an ordinary file"],
            );
        }
    }
    let work = Workdir::new().with_rows(2);
    assert!(
        work.rowmill(&["check", "/dev/zero"])
            .expect(2)
            .stderr
            .contains("a device, not an ordinary file")
    );
    assert!(
        work.rowmill(&["check", "job.toml", "--models", "/dev/zero"])
            .expect(2)
            .stderr
            .contains("not an ordinary file")
    );
    assert!(
        work.rowmill(&["init", "/dev/urandom"])
            .expect(2)
            .stderr
            .contains("/dev/urandom")
    );
}

#[test]
fn refuses_files_larger_than_their_purpose_allows() {
    let work = Workdir::new().with_rows(2);
    let large = std::fs::File::create(work.path("large.j2")).unwrap();
    large.set_len((32 << 20) + 1).unwrap();
    refuses(
        &work,
        &JOB.replace("text = \"Text: {{ body }}\"", "template = \"large.j2\""),
        &["33554433 bytes or more, and at most"],
    );
    std::fs::File::create(work.path("large.toml"))
        .unwrap()
        .set_len((16 << 20) + 1)
        .unwrap();
    assert!(
        work.rowmill(&["check", "large.toml"])
            .expect(2)
            .stderr
            .contains("at most 16777216 are read")
    );
}

#[test]
fn says_the_way_out_of_what_is_not_supported() {
    let source = |path: &str| JOB.replace("\"rows.csv\"", &format!("\"{path}\""));
    let output = |path: &str| JOB.replace("\"out.parquet\"", &format!("\"{path}\""));
    let work = Workdir::new().with_rows(2);
    work.write("a.xlsx", b"PK\x03\x04")
        .write("a.zip", b"PK\x03\x04")
        .write("a.json", "[{\"id\": 1}]");
    for (job, words) in [
        (
            source("a.xlsx"),
            [
                "spreadsheet, which is not supported",
                "hint: save the sheet as CSV",
            ],
        ),
        (
            source("a.zip"),
            ["an archive, which is not supported", "hint: unpack it"],
        ),
        (
            source("a.json"),
            [
                "is one JSON array",
                "hint: write one object a line, as with `jq",
            ],
        ),
        (
            source("s3://b/a.parquet"),
            [
                "an address (`s3://`), which is not supported",
                "`aws s3 cp s3://b/a.parquet -`",
            ],
        ),
        (
            source("gs://b/a.csv"),
            ["not supported", "`gcloud storage cat gs://b/a.csv`"],
        ),
        (
            source("https://h/a.csv?key=1"),
            ["not supported", "`curl -fsSL https://h/a.csv`"],
        ),
        (
            source("az://c/a.csv"),
            ["not supported", "hint: copy the file to this machine"],
        ),
        (
            source("file:///tmp/a.csv"),
            ["not supported", "hint: write the path alone"],
        ),
        (
            output("out.xlsx"),
            [
                "the output `out.xlsx` is a spreadsheet",
                "hint: name a `.csv` file",
            ],
        ),
        (
            output("s3://b/out.parquet"),
            ["not supported", "hint: name a file of this machine"],
        ),
        (
            output("-"),
            ["`output.path` names a file", "standard output"],
        ),
    ] {
        refuses(&work, &job, &words);
    }
}

#[test]
fn warns_of_empty_files_and_of_numbers_read_as_text() {
    let work = Workdir::new();
    work.write("in/a.csv", "id,body\n1,x\n")
        .write("in/b.csv", "");
    work.write("job.toml", JOB.replace("rows.csv", "in/*.csv"));
    let check = work.rowmill(&["check", "job.toml"]).expect(0);
    assert!(
        check
            .stderr
            .contains("1 of 2 files is empty and is skipped"),
        "{}",
        check.stderr
    );
    work.write(
        "a.jsonl",
        "{\"id\":1,\"body\":1}\n{\"id\":2,\"body\":1e999}\n",
    );
    work.write("job.toml", JOB.replace("rows.csv", "a.jsonl"));
    let check = work.rowmill(&["check", "job.toml"]).expect(0);
    assert!(
        check
            .stderr
            .contains("column `body` is read as text: `./a.jsonl` line 2 has a number"),
        "{}",
        check.stderr
    );
}

#[test]
fn loses_no_row_of_a_file_with_escaped_quotation_marks() {
    let work = Workdir::new();
    let mut text = String::from("id,body\n");
    for n in 1..=1_000 {
        text += &if n % 100 == 0 {
            format!("{n},\"pipe {n}\\\"\"\n")
        } else {
            format!("{n},bolt {n}\n")
        };
    }
    work.write("rows.csv", text).write("job.toml", JOB);
    for args in [
        &["check", "job.toml"][..],
        &["run", "job.toml", "--simulate"],
    ] {
        let refused = work.rowmill(args).expect(2);
        assert!(
            refused.stderr.contains(
                "line 201, byte 6: text follows the closing quotation mark of column `body`"
            ),
            "{}",
            refused.stderr
        );
        assert!(
            refused
                .stderr
                .contains("hint: set `source.escape = \"\\\\\"`"),
            "{}",
            refused.stderr
        );
    }
    work.write(
        "job.toml",
        JOB.replace("\"rows.csv\"", "\"rows.csv\"\nescape = \"\\\\\""),
    );
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    let output = work
        .files()
        .into_iter()
        .find(|file| file.ends_with(".parquet") && !file.starts_with('.'))
        .expect("an output");
    let table = work.parquet(&output);
    assert_eq!(table.batch.num_rows(), 1_000);
}
