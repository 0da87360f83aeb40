//! The types of the official Python SDK accept every request of the golden cases, and its models,
//! parameters and tools are those of the catalog and the checks.
//!
//! The facts of the SDK are in `tests/data/sdk_facts.json`, with which the tables of parameters and
//! tools are compared offline; here the file is compared with the release it was written from.
//! `ROWMILL_BLESS=1 cargo test --test it sdk_types -- --ignored` writes it again, after the version
//! in [`PACKAGES`] was raised.
//!
//! The two tests that need the SDK are ignored by default, because they install it from PyPI, into
//! a virtual environment under the target directory. The CI workflow runs them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use jiff::civil::Date;
use rowmill::catalog::{Catalog, Lifecycle};
use serde_json::Value;

use crate::golden_requests::cases;

/// The installed packages; pinned, so that a new release of the SDK does not break the tests.
const PACKAGES: [&str; 2] = ["anthropic==2.14.0", "pydantic==2.14.4"];

/// Reads lines `case<tab>custom_id<tab>params` and prints those whose params the SDK's types
/// refuse.
const CHECK: &str = r#"
import json, sys
from typing import get_type_hints
from pydantic import TypeAdapter
from anthropic.types import message_create_params as plain
from anthropic.types.messages import batch_create_params as plain_batch
from anthropic.types.beta import message_create_params as beta
from anthropic.types.beta.messages import batch_create_params as beta_batch

# A typed dictionary lets unknown keys pass, so the names of parameters are compared too. Sampling
# parameters are gone from the types, but older models still take them under the older version of
# the API.
sampling = {"temperature", "top_p", "top_k"}
names = set(get_type_hints(plain.MessageCreateParamsNonStreaming)) | sampling
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
        request = beta_request if needs_beta else plain_request
        request.validate_python({"custom_id": custom_id, "params": params})
    except Exception as error:
        refused += 1
        print(f"{case}: {error}")
print("refused", refused)
"#;

#[test]
#[ignore = "installs the SDK from PyPI"]
fn the_sdk_takes_every_golden_request() {
    let mut lines = String::new();
    for case in cases("requests") {
        let name = case
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(case.join("requests.jsonl")).unwrap_or_default();
        for (n, line) in text.lines().enumerate() {
            let Some((_, params)) = line.split_once("\"params\":") else {
                continue;
            };
            let _ = writeln!(
                lines,
                "{name}\trow-{n}\t{}",
                params.strip_suffix('}').expect("the line's own brace")
            );
        }
    }
    assert!(lines.lines().count() > 20);
    let folder = tempfile::tempdir().expect("a folder");
    let (requests, check) = (
        folder.path().join("requests.tsv"),
        folder.path().join("check.py"),
    );
    fs::write(&requests, &lines).expect("a file");
    fs::write(&check, CHECK).expect("a file");
    let output = Command::new(python())
        .arg(&check)
        .arg(&requests)
        .output()
        .expect("Python runs");
    let (said, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{wrong}");
    assert!(said.ends_with("refused 0\n"), "{said}");
}

/// The day of an entry such as `January 22nd, 2027`.
fn day(text: &str) -> Date {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let mut word = || words.next().unwrap_or_else(|| panic!("a day: {text}"));
    let month = MONTHS.find(&word()[..3]).expect("a month") / 3 + 1;
    let day: i8 = word()
        .trim_end_matches(|c: char| c.is_alphabetic())
        .parse()
        .expect("a day");
    Date::new(
        word().parse().expect("a year"),
        i8::try_from(month).expect("a month"),
        day,
    )
    .expect("a day that exists")
}

fn facts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sdk_facts.json")
}

#[test]
fn the_catalog_agrees_with_the_sdks_tables_of_models_and_their_ends() {
    let facts: Value =
        serde_json::from_str(&fs::read_to_string(facts()).expect("the facts")).expect("JSON");
    let catalog = Catalog::builtin();
    let texts = |key: &str| {
        facts[key]
            .as_array()
            .expect("a list")
            .iter()
            .map(|text| text.as_str().expect("a text"))
    };
    for id in texts("models") {
        assert!(
            catalog.model(id).is_some() || catalog.retired(id).is_some(),
            "the catalog has no `{id}`"
        );
    }
    let deprecated = facts["deprecated"].as_object().expect("a table");
    for (id, end) in deprecated {
        let end = Some(day(end.as_str().expect("a text")));
        match (catalog.model(id), catalog.retired(id)) {
            (Some((_, model)), _) => assert_eq!(
                (model.lifecycle, model.retires),
                (Lifecycle::Deprecated, end),
                "{id}"
            ),
            (None, Some((_, gone))) => assert_eq!(gone.retires, end, "{id}"),
            (None, None) => panic!("the catalog has no `{id}`"),
        }
    }
    for (id, model) in catalog
        .models
        .iter()
        .filter(|(_, model)| model.lifecycle == Lifecycle::Deprecated)
    {
        let is_known = std::iter::once(id)
            .chain(&model.aliases)
            .all(|name| deprecated.contains_key(name));
        assert!(is_known, "the SDK does not call `{id}` deprecated");
    }
}

#[test]
#[ignore = "installs the SDK from PyPI"]
fn the_facts_of_the_sdk_are_those_of_its_pinned_release() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sdk_facts.py");
    let output = Command::new(python())
        .arg(&script)
        .output()
        .expect("Python runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found = String::from_utf8(output.stdout).expect("UTF-8");
    if let Some(difference) = crate::golden_requests::difference(&facts(), &found) {
        panic!("{difference}");
    }
}

/// A Python with the SDK, for all tests of this process; installed once, under the target
/// directory.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-types");
        let python = home.join(if cfg!(windows) {
            "Scripts/python.exe"
        } else {
            "bin/python"
        });
        if !python.exists() {
            let made = ["python3", "python"]
                .iter()
                .any(|python| runs(Command::new(python).args(["-m", "venv"]).arg(&home)));
            assert!(
                made,
                "there is no Python that can make a virtual environment"
            );
        }
        // Fast if both are already installed in these versions.
        let quietly = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        let installed = runs(Command::new(&python).args(quietly).args(PACKAGES));
        assert!(installed, "{PACKAGES:?} cannot be installed");
        python
    })
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
