//! One builder for all tests: creates a work directory, rows and a job, runs the binary, reads the
//! output.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::{SignedDuration, Timestamp};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rowmill::catalog::Catalog;
use rowmill::simulator::{
    ApiCall, RunningSimulator, SimFaults, SimLedger, Simulator, SimulatorSpec,
};

/// A temporary folder, deleted at the end of the test.
pub(crate) struct Workdir {
    folder: tempfile::TempDir,
}

/// The result of a finished command.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A table as text, for comparisons.
pub(crate) struct Table {
    pub(crate) batch: RecordBatch,
}

impl Workdir {
    pub(crate) fn new() -> Workdir {
        Workdir {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// In memory where the system has such folders, so that no sync waits for a disk: for tests
    /// that write little, since memory is small in a container.
    pub(crate) fn in_memory() -> Workdir {
        Workdir {
            folder: folder_in_memory(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Workdir {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.output(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Rows `T-1` … with a text each, and a job over them that asks for a sentence.
    pub(crate) fn with_rows(self, rows: usize) -> Workdir {
        let mut text = String::from("id,body\n");
        for n in 1..=rows {
            text.push_str(&format!("T-{n},\"the {n}th text, with a comma\"\n"));
        }
        self.write("rows.csv", text).write("job.toml", JOB);
        self
    }

    /// The binary in this folder, with nothing of the tester's environment that could matter.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowmill"));
        command.args(args).current_dir(self.folder.path());
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "ROWMILL_STATE",
            "ROWMILL_MODELS",
            "ROWMILL_CRASH_AT",
            "ROWMILL_IDLE_TIMEOUT",
            "RUST_LOG",
        ] {
            command.env_remove(name);
        }
        command.env("COLUMNS", "120");
        command
    }

    pub(crate) fn rowmill(&self, args: &[&str]) -> Finished {
        Finished::from(self.command(args).output().expect("the binary runs"))
    }

    /// As [`Workdir::rowmill`], against a simulator that runs elsewhere.
    pub(crate) fn rowmill_at(&self, base_url: &str, args: &[&str]) -> Finished {
        Finished::from(
            self.command_at(base_url, args)
                .output()
                .expect("the binary runs"),
        )
    }

    /// As [`Workdir::command`], against a simulator that runs elsewhere.
    pub(crate) fn command_at(&self, base_url: &str, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command
            .env("ANTHROPIC_BASE_URL", base_url)
            .env("ANTHROPIC_API_KEY", KEY);
        command
    }

    /// The output that the job calls by this name: the file itself, or that of a trial, which is
    /// written beside it. Which of them it is to be, the tests in `outputs.rs` tell.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let trials = ["simulated", "trial"].map(|word| rowmill::output::beside(&path, word));
        let found = std::iter::once(path.clone())
            .chain(trials)
            .find(|path| path.exists());
        found.unwrap_or(path)
    }

    pub(crate) fn parquet(&self, name: &str) -> Table {
        Table::read(&self.output(name))
    }

    /// The key-value metadata in the footer of a Parquet file.
    pub(crate) fn parquet_metadata(&self, name: &str) -> BTreeMap<String, String> {
        let file = File::open(self.output(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let pairs = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .cloned()
            .unwrap_or_default();
        pairs
            .into_iter()
            .filter_map(|pair| Some((pair.key, pair.value?)))
            .collect()
    }

    /// Everything in the folder, to see that nothing was left behind; but for the job's own lock
    /// file, which holds no lock by itself and is never removed, since that could take it from
    /// under another process.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.folder.path(), self.folder.path(), &mut found);
        found.retain(|file| {
            !(file.starts_with(".rowmill/")
                && file.ends_with("/lock")
                && file.matches('/').count() == 2)
        });
        found.sort();
        found
    }
}

/// A temporary folder in memory, or else on the disk.
pub(crate) fn folder_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}

/// The key that the tests send; it must turn up nowhere.
pub(crate) const KEY: &str = "sk-ant-test-51e9c0f2d7";

/// The job of [`Workdir::with_rows`].
pub(crate) const JOB: &str = r#"[job]
name = "test"

[source]
path = "rows.csv"

[key]
columns = ["id"]

[request]
model = "claude-haiku-4-5"
max_tokens = 200
system = "Say what the text is about."
messages = [{ role = "user", text = "Text: {{ body }}" }]

[output]
path = "out.parquet"
"#;

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: without_times(&String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Text lines without the time that they begin with where stderr is no terminal.
pub(crate) fn without_times(stderr: &str) -> String {
    let text = |line: &str| match line.split_once(' ') {
        Some((time, text)) if time.parse::<Timestamp>().is_ok() => text.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = stderr.split('\n').map(text).collect();
    lines.join("\n")
}

impl Finished {
    /// Panics with everything that was said unless the command ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Finished {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Panics unless stderr says this.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Finished {
        assert!(
            self.stderr.contains(words),
            "`{words}` is not in\n--- stderr\n{}",
            self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in\n{}", self.stdout))
    }
}

impl Table {
    pub(crate) fn read(path: &Path) -> Table {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .expect("a Parquet file")
            .build()
            .expect("a reader");
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let batches: Vec<_> = reader.map(|batch| batch.expect("a batch")).collect();
        Table {
            batch: concat_batches(&schema, &batches).expect("one table"),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect()
    }

    /// A column as text; null is the empty text.
    #[track_caller]
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        let column = self
            .batch
            .column_by_name(name)
            .unwrap_or_else(|| panic!("no column {name} in {:?}", self.names()));
        let format =
            ArrayFormatter::try_new(column, &FormatOptions::default()).expect("a printable column");
        (0..column.len())
            .map(|row| format.value(row).to_string())
            .collect()
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            found.push(
                path.strip_prefix(root)
                    .expect("below the root")
                    .display()
                    .to_string(),
            );
        }
    }
}

/// A simulator in the test's own process, with a folder and a clock of its own. What it accepted is
/// the proof of what was sent.
pub(crate) struct Sim {
    runtime: tokio::runtime::Runtime,
    running: Option<RunningSimulator>,
    folder: tempfile::TempDir,
    ahead: Arc<AtomicI64>,
}

impl Sim {
    /// Without faults; batches end at once.
    pub(crate) fn start() -> Sim {
        Sim::with("")
    }

    /// With faults, as in `docs/simulator.md`.
    pub(crate) fn with(faults: &str) -> Sim {
        Sim::new(faults, Duration::ZERO)
    }

    pub(crate) fn new(faults: &str, processing: Duration) -> Sim {
        Sim::of(faults, processing, Catalog::builtin().clone())
    }

    /// That knows other models.
    pub(crate) fn of(faults: &str, processing: Duration, catalog: Catalog) -> Sim {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ahead = Arc::new(AtomicI64::new(0));
        let seconds = Arc::clone(&ahead);
        let clock = Arc::new(move || {
            Timestamp::now() + SignedDuration::from_secs(seconds.load(Ordering::SeqCst))
        });
        let faults = SimFaults::from_toml(faults).unwrap_or_else(|e| panic!("{e} in\n{faults}"));
        let catalog = Arc::new(catalog);
        let spec = SimulatorSpec {
            faults,
            processing,
            catalog,
            ..SimulatorSpec::new(1, folder.path().to_path_buf(), clock)
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let start = Simulator::start(spec, SocketAddr::from(([127, 0, 0, 1], 0)));
        let running = Some(runtime.block_on(start).expect("the simulator starts"));
        Sim {
            runtime,
            running,
            folder,
            ahead,
        }
    }

    fn running(&self) -> &RunningSimulator {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn url(&self) -> String {
        self.running().base_url()
    }

    /// Waits until every batch whose time has come has ended.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(self.running().settle());
    }

    /// Puts the provider's clock ahead of ours (or behind, where negative).
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::SeqCst);
    }

    pub(crate) fn ledger(&self) -> SimLedger {
        self.running().ledger().expect("the ledger")
    }

    pub(crate) fn calls(&self, call: ApiCall) -> u64 {
        self.running().calls().get(&call).copied().unwrap_or(0)
    }

    /// How often each row was accepted, by its key: what follows the nonce in its custom_id.
    pub(crate) fn accepted(&self) -> BTreeMap<String, u64> {
        let mut rows = BTreeMap::new();
        for (id, times) in SimLedger::request_counts(self.folder.path()).expect("the ledger") {
            let (_, key) = id.split_once('-').expect("a nonce and a key");
            *rows.entry(key.to_owned()).or_default() += times;
        }
        rows
    }

    /// Every result line of every batch, as it stands in the simulator's own results.
    pub(crate) fn result_lines(&self) -> Vec<serde_json::Value> {
        result_lines(self.folder.path())
    }

    /// The text that was answered to each custom_id, as it stands in the simulator's own results.
    pub(crate) fn answers(&self) -> BTreeMap<String, String> {
        answers(&self.result_lines())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

/// Every result line of every batch of the simulator with this folder.
pub(crate) fn result_lines(folder: &Path) -> Vec<serde_json::Value> {
    let batches = SimLedger::read(folder).expect("the ledger").batches;
    let files = batches
        .into_iter()
        .map(|batch| folder.join("batches").join(batch.id).join("results.jsonl"));
    let texts = files.map(|file| fs::read_to_string(file).unwrap_or_default());
    texts
        .flat_map(|text| {
            text.lines()
                .map(|line| serde_json::from_str(line).expect("a result line"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The text that was answered to each custom_id, by the result lines.
pub(crate) fn answers(lines: &[serde_json::Value]) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for line in lines {
        let blocks = line["result"]["message"]["content"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text: String = blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect();
        answers.insert(line["custom_id"].as_str().expect("an id").to_owned(), text);
    }
    answers
}

/// Sends a batch as somebody else of the workspace.
pub(crate) async fn send_foreign_batch(base_url: String, requests: usize) {
    let one = |n| {
        format!(
            r#"{{"custom_id":"other-{n}","params":{{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{{"role":"user","content":"a"}}]}}}}"#
        )
    };
    let body = format!(
        r#"{{"requests":[{}]}}"#,
        (0..requests).map(one).collect::<Vec<_>>().join(",")
    );
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .expect("a client");
    let post = client
        .post(format!("{base_url}/v1/messages/batches"))
        .header("x-api-key", "other")
        .header("anthropic-version", "2026-10-21")
        .header("content-type", "application/json")
        .body(body);
    let answer = post.send().await.expect("an answer");
    assert!(answer.status().is_success());
}
