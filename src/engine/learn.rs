//! What a run showed → the history of its job, for the next plan.
//!
//! The export reads every row beside its answer, so a [`RunObserver`] records both; what it
//! recorded goes into `learned.json` ([`Learned`]) before the run counts as finished, and once for
//! each run however often the export is repeated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use arrow::datatypes::Schema;
use jiff::Timestamp;

use crate::cost;
use crate::durable;
use crate::estimate::compare::Comparison;
use crate::estimate::learned::{Learned, RunStatistics};
use crate::estimate::{BatchLengthRecorder, LengthRecorder, RunHistory, scale};
use crate::job::JobFile;
use crate::join::{JoinedRow, Totals};
use crate::journal::{HashedFile, Lock, Owner};

use super::compile::CompiledJob;
use super::fingerprint::hashed_files;
use super::{Run, Warning};

/// Lengths of answers are recorded for this many rows of a run, evenly spread.
const WATCHED_ROWS: u64 = 200_000;
/// How often, and how long, the lock of the job is waited for.
const PATIENCE: (u32, Duration) = (50, Duration::from_millis(100));

/// What earlier runs of a job showed, and a warning where it cannot be used.
#[must_use]
pub(super) fn known(
    state: &Path,
    file: &JobFile,
    compiled: &CompiledJob,
    simulated: bool,
) -> (RunHistory, Option<Warning>) {
    let job = &file.job;
    let path = place(&state.join(&job.head.name), simulated);
    let (learned, warning) = read(&path, &job.head.name, simulated);
    let model = compiled
        .catalog
        .model(&job.request.model)
        .map_or(job.request.model.as_str(), |(id, _)| id);
    let shape = shape(&job.request, &hashed_files(compiled));
    (
        learned
            .map(|learned| learned.known(model, &shape))
            .unwrap_or_default(),
        warning,
    )
}

fn place(folder: &Path, simulated: bool) -> PathBuf {
    folder.join(Learned::file_name(simulated))
}

fn read(path: &Path, job: &str, simulated: bool) -> (Option<Learned>, Option<Warning>) {
    let unused = |cause: String| {
        Some(Warning::HistoryNotUsed {
            path: path.to_path_buf(),
            cause,
        })
    };
    match fs::read(path) {
        Ok(text) => match Learned::parse(&text, job, simulated) {
            Ok(learned) => (Some(learned), None),
            Err(error) => (None, unused(super::in_one_line(&error))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => (None, unused(error.to_string())),
    }
}

/// What the requests are made from, hashed; how long an answer may be does not change how long it
/// is.
fn shape(request: &crate::request::RequestSpec, files: &[HashedFile]) -> String {
    let request = crate::request::RequestSpec {
        max_tokens: 0,
        dedupe: false,
        reuse: Vec::new(),
        reuse_status: Vec::new(),
        ..request.clone()
    };
    let mut hasher = blake3::Hasher::new();
    let text = serde_json::to_vec(&request).expect("a section of the job file is plain data");
    hasher.update(&text);
    files.iter().for_each(|file| {
        hasher.update(file.hash.as_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

/// Records the answers of a run while they are exported.
#[derive(Debug)]
pub(crate) struct RunObserver {
    lengths: LengthRecorder,
    /// The lengths of one row in this many are recorded.
    stride: u64,
    counted: u64,
    sums: RunSums,
}

#[derive(Debug, Default)]
struct RunSums {
    /// Requests for which usage was counted: those of rows that were sent again count each time.
    requests: u64,
    answered: u64,
    prompts: u64,
    read: u64,
    written: u64,
}

impl RunObserver {
    pub(crate) fn new(columns: &Schema, rows: u64) -> RunObserver {
        let stride = rows.div_ceil(WATCHED_ROWS).max(1);
        RunObserver {
            lengths: LengthRecorder::new(columns),
            stride,
            counted: 0,
            sums: RunSums::default(),
        }
    }

    /// Prepares a chunk of rows by their source columns.
    pub(crate) fn rows<'a>(
        &'a mut self,
        columns: &'a arrow::array::RecordBatch,
    ) -> ObservedRows<'a> {
        let RunObserver {
            lengths,
            stride,
            counted,
            sums,
        } = self;
        ObservedRows {
            recording: lengths.rows(columns),
            stride: *stride,
            counted,
            sums,
        }
    }

    /// The run's estimate beside its bill.
    pub(crate) fn compare(&self, run: &Run, totals: &Totals) -> Option<Comparison> {
        let estimate = run.plan().estimate.as_ref()?;
        let billed = totals.bill.total().total();
        Comparison::new(
            run.catalog(),
            estimate,
            self.sums.requests,
            &totals.usage(),
            billed,
        )
    }

    /// What the run showed; nothing where it had no estimate, or no answer was returned.
    pub(crate) fn finish(self, run: &Run) -> Option<RunStatistics> {
        let RunSums {
            answered: rows,
            prompts,
            read,
            written,
            ..
        } = self.sums;
        let estimate = run
            .plan()
            .estimate
            .as_ref()
            .filter(|estimate| estimate.requests > 0)?;
        if rows == 0 || prompts == 0 {
            return None;
        }
        let by_letters = scale(estimate.tokens.prompts_by_letters, rows, estimate.requests);
        let shared = scale(estimate.tokens.shared, 1_000, estimate.fit.shared);
        #[expect(clippy::cast_precision_loss, reason = "a fit")]
        let lengths = self
            .lengths
            .finish_by(by_letters as f64 / prompts as f64, shared as f64);
        let shape = shape(&run.job().request, &run.plan().templates);
        Some(RunStatistics {
            model: estimate.model.clone(),
            shape,
            rows,
            prompts,
            read,
            written,
            lengths,
        })
    }
}

/// The rows of a chunk, to be observed.
pub(crate) struct ObservedRows<'a> {
    recording: BatchLengthRecorder<'a>,
    stride: u64,
    counted: &'a mut u64,
    sums: &'a mut RunSums,
}

impl ObservedRows<'_> {
    /// Records a row by the first answer that was counted.
    pub(crate) fn push(&mut self, row: usize, joined: &JoinedRow<'_>) {
        let usages = || {
            joined
                .attempts
                .iter()
                .filter_map(|attempt| attempt.outcome.usage.as_ref())
        };
        self.sums.requests += usages().filter(|usage| usage.is_readable()).count() as u64;
        // An answer made in several steps was asked for several times: its tokens say nothing of
        // the prompt's letters.
        let Some(usage) = usages().find(|usage| usage.is_readable() && usage.iterations.is_empty())
        else {
            return;
        };
        let prompt = cost::prompt_tokens(usage);
        let Some(answer) = usage.output_tokens.filter(|_| prompt > 0) else {
            return;
        };
        self.sums.answered += 1;
        self.sums.prompts += prompt;
        self.sums.read += usage.cache_read_input_tokens.unwrap_or(0);
        self.sums.written += usage.cache_creation_5m_input_tokens.unwrap_or(0)
            + usage.cache_creation_1h_input_tokens.unwrap_or(0);
        if crate::estimate::sample::draw(0, *self.counted).is_multiple_of(self.stride) {
            self.recording.push(row, prompt, answer);
        }
        *self.counted += 1;
    }
}

/// Records what a run showed for the next plans of its job. Returns a warning where that was not
/// possible: nothing of the run depends on it.
pub(crate) fn learn(
    run: &Run,
    statistics: &RunStatistics,
    folder: &Path,
    now: Timestamp,
) -> Option<Warning> {
    let estimate = run.plan().estimate.as_ref()?;
    let simulated = run.plan().simulated;
    let path = place(folder, simulated);
    let keep = || -> Result<(), String> {
        let _alone = lock(folder, now)?;
        durable::remove_leftovers(folder, path.file_name().and_then(|name| name.to_str()));
        let (learned, _) = read(&path, &run.plan().job_name, simulated);
        let mut learned =
            learned.unwrap_or_else(|| Learned::new(&run.plan().job_name, simulated, now));
        if learned.record(&run.plan().run, statistics, estimate, now) {
            let mut text =
                serde_json::to_vec_pretty(&learned).map_err(|error| error.to_string())?;
            text.push(b'\n');
            durable::write_file(&path, &text).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    keep()
        .err()
        .map(|cause| Warning::HistoryNotRecorded { cause })
}

fn lock(folder: &Path, now: Timestamp) -> Result<Lock, String> {
    let (tries, wait) = PATIENCE;
    let owner = Owner::this_process(now);
    for _ in 1..tries {
        match Lock::of_job(folder, &owner) {
            Err(crate::journal::Error::Locked { .. }) => thread::sleep(wait),
            other => return other.map_err(|error| super::in_one_line(&error)),
        }
    }
    Lock::of_job(folder, &owner).map_err(|error| super::in_one_line(&error))
}
