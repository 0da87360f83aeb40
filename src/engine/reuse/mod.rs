//! The rows of a plan × the outputs of earlier runs → which rows are sent, and which take an
//! answer that exists.
//!
//! ```text
//!  the job's output ─┐               key → row      is the row new, changed, failed, unchanged?
//!  its trial         ├─▶ Reuse ───▶  request → row  is there an answer to this very request?
//!  `request.reuse`  ─┘
//! ```
//!
//! Outputs say by themselves which request each row answers: `_rm_request_hash` is over the exact
//! bytes of the request, and `_rm_custom_id` holds the row's key. So nothing beside the outputs is
//! needed to know what has been paid for, wherever they were moved to.
//!
//! What a plan takes from an output is copied into the run's folder: the run can be finished
//! whatever happens to the output meanwhile.
//!
//! **Memory:** 14 bytes a row for its request, and 14 for its key.

mod answers;
mod classes;
mod earlier;
mod index;
mod join;
mod kept;
mod own_answers;
mod plan;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::job::{Job, JobFile};
use crate::journal::HashedFile;
use crate::outcome::Status;
use crate::outcome::answer::Answers;
use crate::output::{self, Format, OutputMode, RemovedRows};
use crate::request::RequestHash;
use crate::request::custom_id::{CustomId, key_part};
use crate::source;

use self::earlier::{EarlierOutput, is_answered};
use self::index::{Index, IndexBuilder, Marks, ShortHash, short};
use super::Error;
use super::compile::CompiledJob;
use super::export_options::{TRIAL, full_place};
use super::fingerprint::hashed_files;
use super::state_files::is_same_place;

pub(crate) use classes::MadeWith;
pub use classes::{Incremental, NotReused, RequestChange, RowClass, RowClasses};
pub(crate) use earlier::{MADE_WITH, open as open_output};
pub(super) use join::ExistingAnswers;
pub use kept::KeptCounts;
pub(super) use kept::write_kept;
pub(super) use own_answers::{keep_answers, keep_held_back};
pub(super) use plan::{FileUses, KeptRows, ReusePlan, hash_of, keep};

/// Marks a row of the request index whose request was not answered.
const UNANSWERED: u32 = 1 << 31;

/// Where an answer is: a file, and a row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerPlace {
    /// The file, in the order of the run's copies.
    pub(super) file: usize,
    /// The row, from 0.
    pub(super) row: u32,
}

/// The word before the place of an answer, where a spool says why a row has no request.
const REUSED: &str = "reused: ";

impl AnswerPlace {
    /// Reads the reason why a row has no request; `None` where that is another one.
    pub(crate) fn parse(reason: &str) -> Option<AnswerPlace> {
        let (file, row) = reason.strip_prefix(REUSED)?.split_once(' ')?;
        Some(AnswerPlace {
            file: file.parse().ok()?,
            row: row.parse().ok()?,
        })
    }
}

impl fmt::Display for AnswerPlace {
    /// The reason why a row has no request, as a spool has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REUSED}{} {}", self.file, self.row)
    }
}

/// The word before the row whose answer another one shares.
const SHARED: &str = "same_as: ";

/// A row that shares the answer of an identical request: that of an earlier row, by its place in
/// the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SharedAnswer(pub(crate) u64);

impl SharedAnswer {
    /// Reads the reason why a row has no request; `None` where that is another one.
    pub(crate) fn parse(reason: &str) -> Option<SharedAnswer> {
        reason.strip_prefix(SHARED)?.parse().ok().map(SharedAnswer)
    }
}

impl fmt::Display for SharedAnswer {
    /// The reason why a row has no request, as a spool has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SHARED}{}", self.0)
    }
}

/// Whether a row has no request because its answer exists, by the reason in a spool.
pub(crate) fn is_answered_elsewhere(reason: &str) -> bool {
    reason.starts_with(REUSED) || reason.starts_with(SHARED)
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What the row is, beside the earlier output.
    pub(super) class: RowClass,
    /// The answer that it takes; `None` where it is sent.
    pub(super) answer: Option<AnswerPlace>,
}

/// Which earlier outputs a plan uses, and how.
pub(crate) struct ReuseRules<'a> {
    /// The job.
    pub(super) file: &'a JobFile,
    /// Its rooms.
    pub(super) compiled: &'a CompiledJob,
    /// The folder of its runs.
    pub(super) runs: &'a Path,
    /// Whether the run is on the simulator of this process.
    pub(super) in_process: bool,
    /// Whether its answers come from a simulator, in this process or beside it; `None` where that is
    /// not known before there is a connection, and what the outputs say is taken for it.
    pub(super) simulated: Option<bool>,
    /// Whether it takes some of the job's rows only.
    pub(super) narrowed: bool,
    /// Whether all rows are sent, whatever was answered before.
    pub(super) sends_all: bool,
}

/// What earlier outputs hold, beside a plan.
pub(crate) struct Reuse {
    mode: OutputMode,
    keeps_removed: bool,
    sends_all: bool,
    /// The statuses whose rows count as answered.
    statuses: Vec<Status>,
    files: Vec<EarlierOutput>,
    /// The number of the first row of each file, over all of them.
    starts: Vec<u32>,
    /// Whether the first file is the output that rows are compared with.
    has_base: bool,
    answers: Index,
    keys: Index,
    seen: Marks,
    made_with: MadeWith,
    not_reused: Vec<(PathBuf, NotReused)>,
}

impl ReuseRules<'_> {
    /// Opens what there is.
    ///
    /// # Errors
    /// [`Error::CannotContinue`] where the output is to be continued and cannot be;
    /// [`Error::Reuse`] where an output that the job names cannot be used.
    pub(super) fn open(&self) -> Result<Reuse, Error> {
        let job = &self.file.job;
        let output = &job.output;
        let mode = if self.narrowed {
            OutputMode::Overwrite
        } else {
            output.mode
        };
        let mut reuse = Reuse {
            mode,
            keeps_removed: mode == OutputMode::Append
                || (mode == OutputMode::Merge && output.removed_rows == RemovedRows::Keep),
            sends_all: self.sends_all,
            statuses: job.request.reuse_status.clone(),
            files: Vec::new(),
            starts: Vec::new(),
            has_base: false,
            answers: Index::default(),
            keys: Index::default(),
            seen: Marks::default(),
            made_with: made_with(
                job,
                &self.file.folder,
                blake3::hash(self.compiled.requests.head())
                    .to_hex()
                    .to_string(),
                &hashed_files(self.compiled),
            ),
            not_reused: Vec::new(),
        };
        self.open_base(&mut reuse)?;
        if !self.sends_all {
            self.open_others(&mut reuse)?;
        }
        reuse.read()?;
        Ok(reuse)
    }

    /// Opens the output that rows are compared with.
    fn open_base(&self, reuse: &mut Reuse) -> Result<(), Error> {
        let path = full_place(&self.compiled.output_path, self.in_process);
        if !path.exists() {
            return Ok(());
        }
        let format = self.file.job.output.format()?;
        let opened = self.open_file(&path, format);
        match opened {
            Ok(base) => {
                if reuse.mode.continues() {
                    self.check_continues(&base, reuse)?;
                }
                reuse.files.push(base);
                reuse.has_base = true;
                Ok(())
            }
            // What is simulated is no output of the job: it is replaced as if it were not there.
            Err(NotReused::Simulated) => {
                reuse.not_reused.push((path, NotReused::Simulated));
                Ok(())
            }
            Err(why) if !reuse.mode.continues() => {
                reuse.not_reused.push((path, why));
                Ok(())
            }
            Err(why) => Err(Error::CannotContinue(Box::new(CannotContinue {
                path,
                mode: reuse.mode,
                why: ContinueFault::NotReadable(why),
            }))),
        }
    }

    /// Checks that an output can be continued: it has the job's key, and the columns that rows
    /// which stay in it need.
    fn check_continues(&self, base: &EarlierOutput, reuse: &Reuse) -> Result<(), Error> {
        let fault = |why| {
            Err(Error::CannotContinue(Box::new(CannotContinue {
                path: base.path.clone(),
                mode: reuse.mode,
                why,
            })))
        };
        if let Some(earlier) = &base.made_with
            && earlier.key != reuse.made_with.key
        {
            return fault(ContinueFault::OtherKey {
                was: earlier.key.clone(),
                now: reuse.made_with.key.clone(),
            });
        }
        let simulated = base.is_simulated().unwrap_or(false);
        if reuse.keeps_removed
            && let Some(why) =
                kept::column_fault(base.source.schema(), &self.output_schema(simulated)?)
        {
            return fault(why);
        }
        Ok(())
    }

    /// The columns that the run's output will have.
    fn output_schema(&self, simulated: bool) -> Result<output::OutputSchema, Error> {
        let mut spec = self.file.job.output_spec();
        if simulated {
            spec = spec.of_simulated_run();
        }
        let answers = self
            .compiled
            .answer
            .as_ref()
            .map_or(&[][..], Answers::fields);
        Ok(output::OutputSchema::new(
            self.compiled.source.schema(),
            answers,
            &spec,
        )?)
    }

    /// Opens the trial of the job, and the outputs that it names.
    fn open_others(&self, reuse: &mut Reuse) -> Result<(), Error> {
        let trial = output::beside(&self.compiled.output_path, TRIAL);
        if !self.in_process && trial.exists() {
            match self.open_file(&trial, self.file.job.output.format()?) {
                Ok(trial) => reuse.files.push(trial),
                Err(why) => reuse.not_reused.push((trial, why)),
            }
        }
        for path in own_answers::of_runs(self.runs) {
            let format = Format::of(&path).filter(|_| !self.in_process);
            // Answers of a run that the job's output has are found there already.
            if let Some(Ok(file)) = format.map(|format| self.open_file(&path, format)) {
                reuse.files.push(file);
            }
        }
        for (path, format) in self.named()? {
            if reuse
                .files
                .iter()
                .any(|file| is_same_place(&file.path, &path))
            {
                continue;
            }
            match self.open_file(&path, format) {
                Ok(file) => reuse.files.push(file),
                Err(NotReused::Simulated) => {
                    reuse.not_reused.push((path, NotReused::Simulated));
                }
                Err(why) => return Err(Error::Reuse { path, why }),
            }
        }
        Ok(())
    }

    /// The files that `request.reuse` names.
    fn named(&self) -> Result<Vec<(PathBuf, Format)>, Error> {
        let mut named = Vec::new();
        for pattern in &self.file.job.request.reuse {
            let found = source::find_files(pattern, &self.file.folder)?;
            for path in found {
                let format = Format::of(&path).ok_or_else(|| Error::Reuse {
                    path: path.clone(),
                    why: NotReused::Unreadable {
                        reason: "its name has no known extension".to_owned(),
                    },
                })?;
                named.push((path, format));
            }
        }
        Ok(named)
    }

    /// Opens an output, and checks that its answers can stand in the job's output.
    fn open_file(&self, path: &Path, format: Format) -> Result<EarlierOutput, NotReused> {
        let spec = self.file.job.output_spec();
        let file = EarlierOutput::open(path, format, &spec.prefix)?;
        let is_simulated = file.is_simulated()?;
        if self
            .simulated
            .is_some_and(|simulated| simulated != is_simulated)
        {
            return Err(NotReused::Simulated);
        }
        for extra in spec.extra.iter().filter(|extra| !is_of_the_row(extra)) {
            file.check_column(extra)?;
        }
        let reads_calls =
            (self.compiled.answer.as_ref()).is_some_and(|answer| answer.wanted().tool_calls);
        if reads_calls {
            file.check_column("tool_calls")?;
        }
        Ok(file)
    }
}

/// Whether an extra column follows from the row or the run, and not from its answer.
fn is_of_the_row(extra: &str) -> bool {
    ["tag", "simulated"].contains(&extra)
}

/// What the requests of a job are made with. `shared` is blake3 of what they have in common, in
/// hex; `folder` is that of the job file.
pub(super) fn made_with(
    job: &Job,
    folder: &Path,
    shared: String,
    files: &[HashedFile],
) -> MadeWith {
    // Paths relative to the job file are the same wherever its folder is.
    let relative = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_path_buf();
    MadeWith {
        key: job.key.columns.clone(),
        model: job.request.model.clone(),
        shared,
        files: files
            .iter()
            .map(|file| (relative(&file.path), file.hash.clone()))
            .collect(),
    }
}

impl Reuse {
    /// Reads keys and requests of all files.
    fn read(&mut self) -> Result<(), Error> {
        let hint = |file: &EarlierOutput| file.source.rows_hint().unwrap_or(0);
        let rows: u64 = self.files.iter().map(hint).sum();
        let capacity = usize::try_from(rows.min(u64::from(UNANSWERED))).unwrap_or(0);
        let keyed = self
            .files
            .first()
            .filter(|_| self.compares_keys())
            .map_or(0, hint);
        let mut answers = IndexBuilder::with_capacity(capacity);
        let mut keys = IndexBuilder::with_capacity(usize::try_from(keyed).unwrap_or(0));
        let mut start = 0_u32;
        let mut starts = Vec::with_capacity(self.files.len());
        for (number, file) in self.files.iter().enumerate() {
            starts.push(start);
            let is_base = number == 0 && self.compares_keys();
            let mut rows = 0_u64;
            let read = file.each_row(|row, earlier| {
                rows = row + 1;
                let place = u64::from(start) + row;
                let Some(place) = u32::try_from(place).ok().filter(|at| *at < UNANSWERED) else {
                    return;
                };
                if let Some(hash) = earlier.request_hash {
                    let is_answer = is_answered(earlier.status, &self.statuses);
                    let mark = if is_answer { 0 } else { UNANSWERED };
                    answers.push(short(hash), place | mark);
                }
                if let (true, Some(id)) = (is_base, earlier.custom_id) {
                    keys.push(key_hash(id), place);
                }
            });
            read.map_err(|why| Error::Reuse {
                path: file.path.clone(),
                why,
            })?;
            let end = u64::from(start) + rows;
            start = u32::try_from(end)
                .ok()
                .filter(|end| *end < UNANSWERED)
                .ok_or_else(|| Error::Reuse {
                    path: file.path.clone(),
                    why: NotReused::Unreadable {
                        reason: format!("earlier outputs have more than {UNANSWERED} rows"),
                    },
                })?;
        }
        let (answers, keys) = std::thread::scope(|scope| {
            let keys = scope.spawn(|| keys.finish());
            (answers.finish(), keys.join())
        });
        (self.starts, self.answers) = (starts, answers);
        self.keys = keys.map_err(|_| Error::Bug("an index cannot be sorted".to_owned()))?;
        self.seen = Marks::new(self.keys.len());
        self.check_keys()
    }

    /// Whether rows are compared with the first file by their keys.
    fn compares_keys(&self) -> bool {
        let has_own_key = || {
            self.files[0]
                .made_with
                .as_ref()
                .is_none_or(|earlier| earlier.key == self.made_with.key)
        };
        self.has_base && has_own_key()
    }

    /// Refuses an output that has a key twice, where rows are found in it by key.
    fn check_keys(&self) -> Result<(), Error> {
        match self.keys.repeated() {
            Some((rows, first)) if self.mode.continues() => {
                Err(Error::CannotContinue(Box::new(CannotContinue {
                    path: self.files[0].path.clone(),
                    mode: self.mode,
                    why: ContinueFault::RepeatedKeys { rows, first },
                })))
            }
            _ => Ok(()),
        }
    }

    /// Whether rows whose key the output has are left out.
    pub(super) fn skips_known_keys(&self) -> bool {
        self.mode == OutputMode::Append && self.has_base
    }

    /// Whether the output has a row of this key.
    pub(super) fn knows(&self, custom_id: &CustomId) -> bool {
        self.keys.first(&key_hash(custom_id.as_str())).is_some()
    }

    /// Notes that the source has the key of a row that has no request.
    pub(super) fn note(&self, custom_id: &CustomId) {
        if let Some((at, _)) = self.keys.first(&key_hash(custom_id.as_str())) {
            self.seen.set(at);
        }
    }

    /// Decides what becomes of a row with a request.
    pub(super) fn decide(&self, custom_id: &CustomId, hash: RequestHash) -> Decision {
        let hash = short(hash.0);
        let own = self.keys.first(&key_hash(custom_id.as_str()));
        if let Some((at, _)) = own {
            self.seen.set(at);
        }
        let class = match own {
            None => RowClass::New,
            Some((_, row)) if self.answers.has(&hash, row) => RowClass::Unchanged,
            Some((_, row)) if self.answers.has(&hash, row | UNANSWERED) => RowClass::Failed,
            Some(_) => RowClass::Changed,
        };
        // The rows of a request that was answered come before those of it that were not.
        let answered = || self.answers.first(&hash).map(|(_, row)| row);
        let answer = match own {
            _ if self.sends_all => None,
            Some((_, row)) if class == RowClass::Unchanged => Some(row),
            _ => answered().filter(|row| row & UNANSWERED == 0),
        };
        Decision {
            class,
            answer: answer.map(|row| self.place(row)),
        }
    }

    fn place(&self, row: u32) -> AnswerPlace {
        let file = self.starts.partition_point(|&start| start <= row) - 1;
        AnswerPlace {
            file,
            row: row - self.starts[file],
        }
    }

    /// The rows of the output whose key no row of the plan has, ascending.
    pub(super) fn removed(&self) -> Vec<u32> {
        let rows = self.removed_places().map(|at| self.keys.row_at(at));
        let mut rows: Vec<u32> = rows.collect();
        rows.sort_unstable();
        rows
    }

    /// Where they are among the keys.
    fn removed_places(&self) -> impl Iterator<Item = usize> {
        let is_merged = self.mode == OutputMode::Merge;
        let keys = if is_merged { self.keys.len() } else { 0 };
        (0..keys).filter(|&at| !self.seen.is_set(at))
    }

    /// What a plan tells of it.
    pub(super) fn report(&self, classes: RowClasses) -> Incremental {
        let base = self.files.first().filter(|_| self.has_base);
        let is_other = |file: &&EarlierOutput| !own_answers::is_of_a_run(&file.path);
        let others = self
            .files
            .iter()
            .skip(usize::from(self.has_base))
            .filter(is_other);
        let changes = base
            .and_then(|base| base.made_with.as_ref())
            .map(|earlier| self.made_with.changes_since(earlier));
        Incremental {
            mode: self.mode,
            compared_with: base.map(|base| base.path.clone()),
            removed: self.removed_places().count() as u64,
            keeps_removed: self.keeps_removed,
            changes: changes
                .filter(|_| classes.count(RowClass::Changed) > 0)
                .unwrap_or_default(),
            classes,
            answers_from: others.map(|file| file.path.clone()).collect(),
            not_reused: self.not_reused.clone(),
        }
    }
}

/// The hash of the key in a custom_id.
fn key_hash(custom_id: &str) -> ShortHash {
    let mut short = [0; 10];
    short.copy_from_slice(&blake3::hash(key_part(custom_id).as_bytes()).as_bytes()[..10]);
    short
}

/// An output that cannot be continued.
#[derive(Debug)]
pub struct CannotContinue {
    /// The output.
    pub path: PathBuf,
    /// How it was to be continued.
    pub mode: OutputMode,
    /// Why it cannot be.
    pub why: ContinueFault,
}

/// Why an output cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContinueFault {
    /// It cannot be read as an output of this job.
    NotReadable(NotReused),
    /// Its rows have another key.
    OtherKey {
        /// The key columns that it was written with.
        was: Vec<String>,
        /// Those of the job.
        now: Vec<String>,
    },
    /// It has columns that the job's output does not have.
    MoreColumns {
        /// The columns.
        columns: Vec<String>,
    },
    /// A column has another type.
    OtherType {
        /// The column.
        column: String,
        /// Its type in the file.
        was: String,
        /// Its type in the job's output.
        now: String,
    },
    /// It lacks a column whose values cannot be null.
    NotNull {
        /// The column.
        column: String,
    },
    /// Rows of it share a key.
    RepeatedKeys {
        /// Rows whose key an earlier row has.
        rows: u64,
        /// Two rows that share one, from 0.
        first: [u32; 2],
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_place_of_an_answer_back() {
        let place = AnswerPlace {
            file: 2,
            row: 70_000,
        };
        assert_eq!(AnswerPlace::parse(&place.to_string()), Some(place));
        assert_eq!(AnswerPlace::parse("too_large: its prompt has 2 3"), None);
    }

    #[test]
    fn a_key_is_the_same_in_every_run() {
        assert_eq!(key_hash("aaaaaaaa-T-1"), key_hash("bbbbbbbb-T-1"));
        assert_ne!(key_hash("aaaaaaaa-T-1"), key_hash("aaaaaaaa-T-2"));
    }
}
