//! What a state directory says of itself, of its jobs and beside their outputs.
//!
//! ```text
//!  .rowmill/state.json            a random id, which stays when the directory is moved or copied
//!  .rowmill/<job>/job.json        the job file that the runs belong to
//!  .<output file>.rowmill.json    beside the output: its job, its state and its newest run
//! ```
//!
//! A state of an earlier version has none of them and gets them when a run of it is opened.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::kept_job::absolute;
use crate::durable;

/// Version of these files.
const FORMAT: u32 = 1;
/// Most bytes of such a file that are read.
const MAX_BYTES: u64 = 1 << 20;
/// How often, and how long, another process is waited for that is writing `state.json`.
const PATIENCE: (u32, Duration) = (100, Duration::from_millis(10));

/// `state.json`: what a state directory is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateRecord {
    /// Version of the file.
    pub format: u32,
    /// What it is known by.
    pub id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether its own ledger was created, and has every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerStanding>,
    /// The shared ledgers that its jobs use, by the job's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shared_ledgers: BTreeMap<String, SharedLedger>,
}

/// Whether a ledger has every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LedgerStanding {
    /// It has.
    Complete,
    /// It was lost, and a new one has only the runs that were opened since.
    Incomplete,
}

/// A ledger that a job shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SharedLedger {
    /// It, as the job file names it.
    pub path: PathBuf,
    /// Whether it has every run of the job.
    pub standing: LedgerStanding,
}

/// `job.json` in the folder of a job's runs: the job file that they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    /// Version of the file.
    format: u32,
    /// The job file, as it was named last.
    file: PathBuf,
    /// The same, as seen from the state directory: where both are moved, it stays right.
    relative: PathBuf,
}

/// Who writes an output: a hidden file beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputMark {
    /// Version of the file.
    pub(super) format: u32,
    /// The job's name.
    pub job: String,
    /// The job file.
    pub job_file: PathBuf,
    /// The id of the state directory.
    pub state_id: String,
    /// The state directory, where it was.
    pub state: PathBuf,
    /// The run that wrote the output last, or is about to; `None` where the output was taken over
    /// and no run has sent anything since.
    pub run: Option<String>,
    /// Whether that run is unfinished, so that its batches may be in flight.
    pub unfinished: bool,
    /// When this was written.
    pub written_at: Timestamp,
}

impl StateRecord {
    /// Reads what a directory says; `None` where it is no state yet, or one of an earlier version.
    ///
    /// # Errors
    /// [`Error::StateFile`].
    pub(super) fn read(state: &Path) -> Result<Option<StateRecord>, Error> {
        read(&StateRecord::path(state), |record: &StateRecord| {
            record.format
        })
    }

    /// Reads what a directory says, and makes it a state if it is none yet.
    ///
    /// # Errors
    /// [`Error::StateFile`], [`Error::File`].
    pub(super) fn ensure(state: &Path, now: Timestamp) -> Result<StateRecord, Error> {
        if let Some(record) = StateRecord::read(state)? {
            return Ok(record);
        }
        let path = StateRecord::path(state);
        let record = StateRecord {
            format: FORMAT,
            id: format!("{:032x}", fastrand::u128(..)),
            created_at: now,
            ledger: None,
            shared_ledgers: BTreeMap::new(),
        };
        durable::act();
        // Only one of two processes creates it, so that both read the same id afterwards.
        match create_new(&path, &text_of(&record)) {
            Ok(()) => {
                durable::sync_dir(state).map_err(cannot("create", &path))?;
                Ok(record)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                StateRecord::created_by_another(state, record)
            }
            Err(error) => Err(cannot("create", &path)(error)),
        }
    }

    /// What another process is writing at this moment; one that was killed meanwhile has left an
    /// empty file.
    fn created_by_another(state: &Path, own: StateRecord) -> Result<StateRecord, Error> {
        for _ in 0..PATIENCE.0 {
            if let Some(record) = StateRecord::read(state)? {
                return Ok(record);
            }
            std::thread::sleep(PATIENCE.1);
        }
        own.write(state)?;
        Ok(own)
    }

    /// # Errors
    /// [`Error::File`].
    pub(super) fn write(&self, state: &Path) -> Result<(), Error> {
        let path = StateRecord::path(state);
        durable::write_file(&path, &text_of(self)).map_err(cannot("write", &path))
    }

    fn path(state: &Path) -> PathBuf {
        state.join("state.json")
    }
}

impl JobRecord {
    pub(super) fn new(state: &Path, file: &Path) -> JobRecord {
        let file = plain(file);
        JobRecord {
            format: FORMAT,
            relative: relative_to(&plain(state), &file),
            file,
        }
    }

    /// # Errors
    /// [`Error::StateFile`].
    pub(super) fn read(job_folder: &Path) -> Result<Option<JobRecord>, Error> {
        read(&JobRecord::path(job_folder), |record: &JobRecord| {
            record.format
        })
    }

    /// # Errors
    /// [`Error::File`].
    pub(super) fn write(&self, job_folder: &Path) -> Result<(), Error> {
        let path = JobRecord::path(job_folder);
        durable::write_file(&path, &text_of(self)).map_err(cannot("write", &path))
    }

    /// The job file where it is now: beside the state that was moved with it, or where it was.
    /// `None` where it no longer exists.
    pub(super) fn job_file(&self, state: &Path) -> Option<PathBuf> {
        let moved_along = lexical(&absolute(state).join(&self.relative));
        [moved_along, self.file.clone()]
            .into_iter()
            .find(|file| file.exists())
    }

    /// The job file as it was named last.
    pub(super) fn recorded(&self) -> &Path {
        &self.file
    }

    fn path(job_folder: &Path) -> PathBuf {
        job_folder.join("job.json")
    }
}

impl OutputMark {
    /// Where the mark of an output is.
    #[must_use]
    pub fn path(output: &Path) -> PathBuf {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        output.with_file_name(format!(".{name}.rowmill.json"))
    }

    /// # Errors
    /// [`Error::StateFile`].
    pub(super) fn read(output: &Path) -> Result<Option<OutputMark>, Error> {
        read(&OutputMark::path(output), |mark: &OutputMark| mark.format)
    }

    /// # Errors
    /// [`Error::File`].
    pub(super) fn write(&self, output: &Path) -> Result<(), Error> {
        let path = OutputMark::path(output);
        let write = || {
            if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)?;
            }
            let mut pending = durable::Pending::create_public(&path)?;
            pending.write_all(&text_of(self))?;
            pending.commit()
        };
        write().map_err(cannot("write", &path))
    }

    /// Whether the state that it names still exists where it was.
    pub(super) fn has_state(&self) -> bool {
        StateRecord::read(&self.state)
            .is_ok_and(|record| record.is_some_and(|record| record.id == self.state_id))
    }

    pub(super) fn of(job: &str, job_file: &Path, state: &Path, id: &str) -> OutputMark {
        OutputMark {
            format: FORMAT,
            job: job.to_owned(),
            job_file: plain(job_file),
            state_id: id.to_owned(),
            state: plain(state),
            run: None,
            unfinished: false,
            written_at: Timestamp::UNIX_EPOCH,
        }
    }
}

/// Whether two paths lead to the same file or directory.
pub(super) fn is_same_place(a: &Path, b: &Path) -> bool {
    if absolute(a) == absolute(b) {
        return true;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        // A directory that is mounted twice has two paths, and is one.
        if let (Ok(a), Ok(b)) = (std::fs::metadata(a), std::fs::metadata(b)) {
            return (a.dev(), a.ino()) == (b.dev(), b.ino());
        }
    }
    matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn text_of(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain data");
    text.push(b'\n');
    text
}

/// Reads a file; `None` where there is none, or where a process that was killed left it empty.
fn read<T: DeserializeOwned>(path: &Path, format: impl Fn(&T) -> u32) -> Result<Option<T>, Error> {
    let wrong = |source| Error::StateFile {
        path: path.to_path_buf(),
        source,
    };
    let text = match durable::read_bytes(path, MAX_BYTES) {
        Err(error) if is_absent(&error) => return Ok(None),
        text => text.map_err(wrong)?,
    };
    if text.is_empty() {
        return Ok(None);
    }
    let value: T = serde_json::from_slice(&text).map_err(|e| wrong(e.into()))?;
    match format(&value) {
        FORMAT => Ok(Some(value)),
        other => Err(wrong(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("its format is {other}, and this version knows {FORMAT}"),
        ))),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn create_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn cannot<'p>(doing: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Error + 'p {
    move |source| Error::File {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

/// A path as seen from a folder; both absolute.
fn relative_to(folder: &Path, path: &Path) -> PathBuf {
    let (folder, path) = (lexical(folder), lexical(path));
    let shared = folder
        .components()
        .zip(path.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder
        .components()
        .skip(shared)
        .map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// A whole path, without `.` and `..` where that is the same place; behind a link it may not be.
pub(super) fn plain(path: &Path) -> PathBuf {
    let whole = absolute(path);
    let plain = lexical(&whole);
    if is_same_place(&plain, &whole) {
        plain
    } else {
        whole
    }
}

/// A path without `.` and `..`, as far as its text says.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_id_whoever_creates_it() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let create = || StateRecord::ensure(folder.path(), Timestamp::UNIX_EPOCH);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            let ids = threads.into_iter().map(|t| t.join().unwrap().unwrap().id);
            ids.collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(ids[0].len(), 32);
    }

    #[test]
    fn a_state_whose_creation_was_cut_short_gets_an_id() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("state.json"), "").unwrap();
        let record = StateRecord::ensure(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(StateRecord::read(folder.path()).unwrap(), Some(record));
    }

    #[test]
    fn a_job_file_is_found_beside_the_state_that_was_moved_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("one/.rowmill/job")).unwrap();
        std::fs::write(at("one/job.toml"), "").unwrap();
        let record = JobRecord::new(&at("one/.rowmill"), &at("one/job.toml"));
        assert_eq!(record.relative, Path::new("../job.toml"));
        std::fs::rename(at("one"), at("two")).unwrap();
        assert_eq!(
            record.job_file(&at("two/.rowmill")),
            Some(at("two/job.toml"))
        );
        std::fs::remove_file(at("two/job.toml")).unwrap();
        assert_eq!(record.job_file(&at("two/.rowmill")), None);
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"format": 2, "id": "a", "created_at": "2026-11-30T00:00:00Z"}"#;
        std::fs::write(folder.path().join("state.json"), text).unwrap();
        let refused = StateRecord::read(folder.path());
        assert!(
            matches!(refused, Err(Error::StateFile { .. })),
            "{refused:?}"
        );
    }
}
