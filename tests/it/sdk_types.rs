//! The official Python SDK's own types take every request that the golden cases produce.
//!
//! The SDK comes from PyPI into a virtual environment under the target directory, once; where there is no Python or no PyPI the test says so
//! and passes. What fails it is a request that the types refuse.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::golden_requests::cases;

/// Reads lines `case<tab>custom_id<tab>params` and prints those whose params the SDK's types refuse.
const CHECK: &str = r#"
import json, sys
from typing import get_type_hints
from pydantic import TypeAdapter
from anthropic.types import message_create_params as plain
from anthropic.types.messages import batch_create_params as plain_batch
from anthropic.types.beta import message_create_params as beta
from anthropic.types.beta.messages import batch_create_params as beta_batch

# A typed dictionary lets unknown keys pass, so the names of parameters are compared too. Sampling parameters are gone from the types,
# but older models still take them under the older version of the API.
names = set(get_type_hints(plain.MessageCreateParamsNonStreaming)) | {"temperature", "top_p", "top_k"}
beta_names = set(get_type_hints(beta.MessageCreateParamsNonStreaming)) | names
plain_request, beta_request = TypeAdapter(plain_batch.Request), TypeAdapter(beta_batch.Request)
refused = 0
for line in open(sys.argv[1], encoding="utf-8"):
    case, custom_id, params = line.rstrip("\n").split("\t", 2)
    params = json.loads(params)
    needs_beta = not set(params) <= names
    try:
        if not set(params) <= beta_names:
            raise ValueError(f"the SDK has no parameters {sorted(set(params) - beta_names)}")
        (beta_request if needs_beta else plain_request).validate_python({"custom_id": custom_id, "params": params})
    except Exception as error:
        refused += 1
        print(f"{case}: {error}")
print("refused", refused)
"#;

#[test]
fn the_sdk_takes_every_golden_request() {
    let Some(python) = python() else {
        eprintln!("skipped: the_sdk_takes_every_golden_request: there is no Python with the SDK, and none could be made");
        return;
    };
    let mut lines = String::new();
    for case in cases("requests") {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(case.join("requests.jsonl")).unwrap_or_default();
        for (n, line) in text.lines().enumerate() {
            let Some((_, params)) = line.split_once("\"params\":") else { continue };
            let _ = writeln!(lines, "{name}\trow-{n}\t{}", params.strip_suffix('}').expect("the line's own brace"));
        }
    }
    assert!(lines.lines().count() > 20);
    let folder = tempfile::tempdir().expect("a folder");
    let (requests, check) = (folder.path().join("requests.tsv"), folder.path().join("check.py"));
    fs::write(&requests, &lines).expect("a file");
    fs::write(&check, CHECK).expect("a file");
    let output = Command::new(python).arg(&check).arg(&requests).output().expect("Python runs");
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    assert!(said.ends_with("refused 0\n"), "{said}");
}

/// A Python that has the SDK: made once, and kept under the target directory.
fn python() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-types");
    let python = home.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let has_sdk = |python: &Path| runs(Command::new(python).args(["-c", "import anthropic, pydantic"]));
    if has_sdk(&python) {
        return Some(python);
    }
    let made = ["python3", "python"].iter().any(|python| runs(Command::new(python).args(["-m", "venv"]).arg(&home)));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--timeout",
        "20",
        "--retries",
        "1",
        "anthropic",
        "pydantic",
    ];
    (made && runs(Command::new(&python).args(pip)) && has_sdk(&python)).then_some(python)
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
