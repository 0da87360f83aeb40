//! Golden requests: the exact requests of a job, or the error that refuses it.
//!
//! One folder per case under `tests/it/golden/requests/`; a new case needs no Rust:
//!
//! ```text
//!  job.toml         the job, with the files that it names
//!  requests.jsonl   one line per row: {"row":1,"key":"a","params":{…}}, `params` exactly as sent,
//!                   or {"row":2,"key":"b","unsent":"why"}
//!  refused.txt      instead, for bad input: the stderr of `rowmill check`
//! ```
//!
//! `ROWMILL_BLESS=1 cargo test --test it golden_requests` writes the files again; review the
//! difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::Workdir;

/// A row of `rowmill preview --json`, with its request unchanged.
#[derive(Deserialize)]
struct Shown {
    row: u64,
    key: String,
    params: Option<Box<RawValue>>,
    unsent: Option<String>,
}

#[test]
fn sends_what_the_golden_cases_say() {
    let mut wrong = Vec::new();
    let cases = cases("requests");
    for case in &cases {
        let (name, found) = match case.join("refused.txt").exists() {
            true => ("refused.txt", refusal(case)),
            false => ("requests.jsonl", requests(case)),
        };
        wrong.extend(difference(&case.join(name), &found));
    }
    assert!(cases.len() >= 2, "there are golden cases");
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n\n")
    );
}

/// The difference between a golden file and the result. With `ROWMILL_BLESS` the file is rewritten,
/// and there is no difference.
pub(crate) fn difference(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("ROWMILL_BLESS").is_some() {
        fs::write(path, found).expect("a golden file");
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (found != expected).then(|| {
        format!(
            "{}\n--- expected\n{expected}\n--- found\n{found}",
            path.display()
        )
    })
}

/// The folders of all cases of a kind, by name.
pub(crate) fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/golden")
        .join(kind);
    let entries = fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// A copy of a case to run commands in.
pub(crate) fn copy(case: &Path) -> Workdir {
    let work = Workdir::new();
    copy_folder(case, work.folder());
    work
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

fn requests(case: &Path) -> String {
    let finished = copy(case).rowmill(&["preview", "job.toml", "-n", "1000", "--json"]);
    if finished.code != 0 {
        return format!("refused, exit code {}:\n{}", finished.code, finished.stderr);
    }
    let shown: Vec<Shown> = serde_json::from_str(&finished.stdout).expect("a list of rows");
    let line = |row: Shown| {
        let rest = match (row.params, row.unsent) {
            (Some(params), _) => format!("\"params\":{params}"),
            (None, unsent) => format!("\"unsent\":{}", serde_json::json!(unsent)),
        };
        format!(
            "{{\"row\":{},\"key\":{},{rest}}}\n",
            row.row,
            serde_json::json!(row.key)
        )
    };
    shown.into_iter().map(line).collect()
}

/// The stderr of `rowmill check` for a case that it refuses.
pub(crate) fn refusal(case: &Path) -> String {
    let finished = copy(case).rowmill(&["check", "job.toml"]);
    if finished.code != 2 {
        return format!("exit code {}:\n{}", finished.code, finished.stderr);
    }
    finished.stderr
}
