//! Runs the commands of the README, and compares its tables.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::Workdir;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The commands of the `sh` blocks under a heading, without comments.
fn commands(heading: &str) -> Vec<String> {
    let text = readme();
    let section = text
        .split(&format!("## {heading}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap());
    blocks
        .flat_map(str::lines)
        .map(|line| line.split('#').next().unwrap().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A copy of the samples, so that a test writes nothing into the checkout.
pub(crate) fn with_samples() -> Workdir {
    let work = Workdir::new();
    copy_folder(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_data"),
        &work.path("sample_data"),
    );
    work
}

#[test]
fn first_command_does_the_main_job() {
    let commands = commands("Two commands");
    assert_eq!(commands[1], "cargo test");
    let args: Vec<&str> = commands[0]
        .strip_prefix("cargo run -- ")
        .expect("the first command runs rowmill")
        .split(' ')
        .collect();
    let work = with_samples();
    let done = work.rowmill(&args).expect(0).says("SIMULATED");
    assert!(done.stdout.contains(".parquet"), "{}", done.stdout);
    assert!(
        done.stdout.contains("T-0001"),
        "a few joined rows are shown\n{}",
        done.stdout
    );
}

#[test]
fn commands_for_a_first_job_work_in_their_order() {
    let work = with_samples();
    std::fs::copy(
        work.path("sample_data/tickets/tickets.csv"),
        work.path("tickets.csv"),
    )
    .unwrap();
    let mut ran = 0;
    for command in commands("Your first job") {
        let Some(args) = command.strip_prefix("rowmill ") else {
            continue;
        };
        let args: Vec<&str> = args.split(' ').collect();
        // Without `--simulate` these need a key; other tests check the error.
        let is_offline = matches!(args[0], "init" | "preview" | "check" | "plan")
            && !args.contains(&"--calibrate");
        if is_offline || args.contains(&"--simulate") {
            work.rowmill(&args).expect(0);
            ran += 1;
        }
    }
    assert_eq!(ran, 5);
}

#[test]
fn every_sample_job_runs() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_data");
    let mut jobs = Vec::new();
    for folder in std::fs::read_dir(&samples).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let files = std::fs::read_dir(folder).unwrap();
        jobs.extend(files.map(|file| file.unwrap().path()).filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        }));
    }
    assert!(!jobs.is_empty());
    let list = std::fs::read_to_string(samples.join("README.md")).unwrap();
    for job in jobs {
        let job = job.strip_prefix(samples.parent().unwrap()).unwrap();
        let folder = job.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(list.contains(folder), "the list of samples lacks {folder}");
        let work = with_samples();
        let job = job.to_str().unwrap();
        work.rowmill(&["check", job]).expect(0);
        work.rowmill(&["run", job, "--simulate"]).expect(0);
    }
}

#[test]
fn lists_the_columns_that_are_written() {
    let text = readme();
    let listed = text
        .split("<!-- columns: written from the table in src/output/columns.rs; a test compares -->")
        .nth(1)
        .unwrap();
    let listed = listed.split("<!-- /columns -->").next().unwrap();
    assert_eq!(listed.trim(), rowmill::output::documentation().trim());
}

/// The exit codes in the sources of the command line: `const NAME: u8 = 0;`.
fn exit_codes(folder: &Path) -> BTreeSet<u8> {
    let mut codes = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes.extend(exit_codes(&path));
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        codes.extend(source.lines().filter_map(|line| {
            let (_, constant) = line.split_once("const ")?;
            let (_, value) = constant.split_once(": u8 = ")?;
            value.strip_suffix(';')?.parse::<u8>().ok()
        }));
    }
    codes
}

#[test]
fn lists_exactly_the_exit_codes_that_are_used() {
    let text = readme();
    let table = text
        .split("\n| 0 | ")
        .nth(1)
        .expect("a table of exit codes");
    let table = table.split("\n\n").next().unwrap();
    let rows = table.lines().skip(1);
    let mut listed: BTreeSet<u8> = rows
        .map(|row| row.split('|').nth(1).unwrap().trim().parse().unwrap())
        .collect();
    listed.insert(0);
    let used = exit_codes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli"));
    assert_eq!(listed, used);
}

#[test]
fn shows_a_job_file_and_a_schema_that_are_right() {
    let text = readme();
    let block = |fence: &str, nth: usize| {
        text.split(fence)
            .nth(nth)
            .unwrap()
            .split("```")
            .next()
            .unwrap()
            .to_owned()
    };
    let job = format!("{}\n{}", block("```toml\n", 2), block("```toml\n", 1));
    let job = rowmill::job::JobFile::parse(Path::new("tickets.toml"), job)
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(job.job.head.name, "ticket_triage");
    let work = with_samples();
    work.write("answer.schema.json", block("```json\n", 1));
    let hello = work.read("sample_data/hello/hello.toml");
    work.write(
        "sample_data/hello/hello.toml",
        hello.replace(
            "[request]",
            "[request]\nschema = \"../../answer.schema.json\"",
        ),
    );
    work.rowmill(&["run", "sample_data/hello/hello.toml", "--simulate"])
        .expect(0);
    let out = work.parquet("sample_data/hello/hello_answered.parquet");
    assert!(
        out.column("topic")
            .iter()
            .all(|topic| ["billing", "delivery", "other"].contains(&topic.as_str()))
    );
}
