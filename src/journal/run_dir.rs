//! The run directory: how it is created, where its files are, and whether a folder is one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, HeadFile, Journal, Lock, Owner, Plan, RunNote, cannot};
use crate::durable;

/// What the folder of a unfinished plan is called, after the run's id.
const PLANNING: &str = ".planning";
/// What the folder of a run is called while it is being removed, after the run's id.
const PRUNED: &str = ".pruned";

/// The folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Opens a run for reading: checks that it is one, and reads its plan. Working on it takes a
    /// [`Lock`] too.
    ///
    /// # Errors
    /// When there is no run, its plan is missing, damaged or of a newer version, or its journal is
    /// missing.
    pub fn open(path: &Path) -> Result<(RunDir, Plan, Vec<RunNote>), Error> {
        let run = RunDir {
            path: path.to_path_buf(),
        };
        if !path.is_dir() {
            return Err(Error::NoRun {
                path: path.to_path_buf(),
            });
        }
        let lacks = |what| {
            Err(Error::NotARun {
                path: path.to_path_buf(),
                what,
            })
        };
        if is_planning(path) {
            return lacks("its plan was never finished");
        }
        if is_being_removed(path) {
            return lacks("its removal has begun");
        }
        match (run.plan().is_file(), run.journal().is_file()) {
            (true, true) => {}
            (true, false) => {
                return lacks("its `journal.jsonl`, which records what was sent, is missing");
            }
            (false, true) => return lacks("its `plan.json` is missing"),
            (false, false) => return lacks("it has neither `plan.json` nor `journal.jsonl`"),
        }
        let plan = Plan::read(&run.plan())?;
        let notes = moved(path, &plan).into_iter().collect();
        Ok((run, plan, notes))
    }

    /// Any folder, for its lock.
    pub(super) fn at(path: &Path) -> RunDir {
        RunDir {
            path: path.to_path_buf(),
        }
    }

    /// Opens a run whose journal is lost or cannot be read: only the plan is looked at.
    ///
    /// # Errors
    /// [`Error::NoRun`], or that the plan is missing or damaged: without it nothing can be rebuilt.
    pub fn open_without_journal(path: &Path) -> Result<(RunDir, Plan), Error> {
        let run = RunDir {
            path: path.to_path_buf(),
        };
        if !path.is_dir() || is_planning(path) || is_being_removed(path) {
            return Err(Error::NoRun {
                path: path.to_path_buf(),
            });
        }
        let plan = Plan::read(&run.plan())?;
        Ok((run, plan))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `plan.json`
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// `journal.jsonl`
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// `manifest.json`
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// `lock`
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The folder of spool files.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// The spool file of a planned batch.
    #[must_use]
    pub fn spool_file(&self, batch: u32) -> PathBuf {
        self.spool().join(spool_name(batch))
    }

    /// The folder of raw results.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.path.join("results")
    }

    /// The raw results of a batch.
    #[must_use]
    pub fn results_file(&self, batch: u32, attempt: u32) -> PathBuf {
        self.results()
            .join(format!("{batch:05}.{attempt}.jsonl.zst"))
    }

    /// Result lines of a batch that are not all of them, from downloads that ended early.
    #[must_use]
    pub fn lines_so_far_file(&self, batch: u32, attempt: u32) -> PathBuf {
        self.results()
            .join(format!("{batch:05}.{attempt}.so-far.jsonl.zst"))
    }

    /// The folder of copies of earlier outputs.
    #[must_use]
    pub fn earlier(&self) -> PathBuf {
        self.path.join("earlier")
    }

    /// A file of the run as events name it: relative, with `/`.
    #[must_use]
    pub fn relative(&self, path: &Path) -> String {
        let inner = path.strip_prefix(&self.path).unwrap_or(path);
        inner
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect::<Vec<_>>()
            .join("/")
    }

    /// What requests have in common.
    ///
    /// # Errors
    /// When the file cannot be read or is not the one that was planned.
    pub fn read_head(&self, head: &HeadFile) -> Result<Arc<[u8]>, Error> {
        let path = self.path.join(&head.file);
        let bytes = fs::read(&path).map_err(cannot("read", &path))?;
        if blake3::hash(&bytes).to_hex().as_str() != head.hash {
            return Err(Error::Contradiction {
                path,
                what: "it was altered after it was planned".to_owned(),
            });
        }
        Ok(bytes.into())
    }

    /// Keeps what requests have in common: of all planned batches (`None`), or of one that is
    /// added.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_head(&self, batch: Option<u32>, bytes: &[u8]) -> Result<HeadFile, Error> {
        let head = HeadFile::describe(batch, bytes);
        let path = self.path.join(&head.file);
        durable::write_file(&path, bytes).map_err(cannot("write", &path))?;
        Ok(head)
    }
}

/// The name of a batch's spool file in the folder of spool files.
#[must_use]
pub fn spool_name(batch: u32) -> String {
    format!("{batch:05}.parquet")
}

/// The file in the folder of spool files that keeps the columns of the output where a run has no
/// rows, and so no batch.
pub const COLUMNS_NAME: &str = "columns.parquet";

/// Whether the folder is that of a run, be it damaged. Unfinished plans do not count, nor do runs
/// whose removal has begun.
///
/// One that has lost both its plan and its journal is known by its other files: what it sent would
/// else be paid again.
#[must_use]
pub fn is_run(path: &Path) -> bool {
    let run = RunDir {
        path: path.to_path_buf(),
    };
    let has_rest = || {
        run.spool().is_dir()
            && (run.manifest().is_file() || run.lock().is_file() || run.results().is_dir())
    };
    let has_own_name = !is_planning(path) && !is_being_removed(path);
    has_own_name && (run.plan().is_file() || run.journal().is_file() || has_rest())
}

fn is_planning(path: &Path) -> bool {
    has_ending(path, PLANNING)
}

fn is_being_removed(path: &Path) -> bool {
    has_ending(path, PRUNED)
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with(ending))
}

/// Removal, in two steps: first the folder gets a name that no command takes for a run, then it is
/// deleted. A process that ends in between leaves a folder that the next prune deletes.
impl RunDir {
    /// Takes the folder of a run out of use, and returns what is to be deleted. The caller holds
    /// the run's lock.
    ///
    /// # Errors
    /// When it cannot be renamed; the run is as it was then.
    pub fn begin_removal(&self) -> Result<Removal, Error> {
        let removal = removal_of(&self.path);
        if removal.path.is_dir() {
            removal.finish()?;
        }
        durable::act();
        fs::rename(&self.path, &removal.path).map_err(cannot("rename", &self.path))?;
        let parent = parent_of(&self.path);
        durable::sync_dir(parent).map_err(cannot("write", parent))?;
        Ok(removal)
    }
}

/// A run that is being removed: its folder, under a name that is not a run's.
#[derive(Debug)]
pub struct Removal {
    path: PathBuf,
}

impl Removal {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that the folder had as a run's.
    #[must_use]
    pub fn run(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.trim_end_matches(PRUNED).to_owned()
    }

    /// Deletes the folder.
    ///
    /// # Errors
    /// When something of it cannot be deleted; what is left is found by [`removals_in`].
    pub fn finish(&self) -> Result<(), Error> {
        durable::act();
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(cannot("remove", &self.path)),
        }
    }
}

/// The removal of a run, whether it has begun or not.
#[must_use]
pub fn removal_of(run: &Path) -> Removal {
    let mut name = run.file_name().unwrap_or_default().to_owned();
    name.push(PRUNED);
    Removal {
        path: run.with_file_name(name),
    }
}

/// The removals in a folder of runs that were begun and not finished.
///
/// # Errors
/// When the folder cannot be read.
pub fn removals_in(folder: &Path) -> Result<Vec<Removal>, Error> {
    let folders = super::find::folders_in(folder)?.into_iter();
    let begun = folders.filter(|path| is_being_removed(path));
    Ok(begun.map(|path| Removal { path }).collect())
}

/// An unfinished run, under a name that is not its own yet.
///
/// Dropped without [`Planning::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Planning {
    making: RunDir,
    run: RunDir,
    lock: Option<Lock>,
}

impl Planning {
    /// Begins the run that will be the folder `path`.
    ///
    /// # Errors
    /// When something is there already, another process is planning it, or the folder cannot be
    /// made.
    pub fn begin(path: &Path, owner: &Owner) -> Result<Planning, Error> {
        let run = RunDir {
            path: path.to_path_buf(),
        };
        if !is_free(path)? {
            return Err(Error::Exists {
                path: path.to_path_buf(),
            });
        }
        let Some(name) = path.file_name() else {
            return Err(Error::Exists {
                path: path.to_path_buf(),
            });
        };
        let mut name = name.to_owned();
        name.push(PLANNING);
        let making = RunDir {
            path: path.with_file_name(name),
        };
        if making.path.is_dir() {
            remove_if_abandoned(&making)?;
        }
        durable::create_private_dir(&making.path).map_err(cannot("create", &making.path))?;
        // The lock first: a folder without one is never removed.
        let lock = Lock::take(&making, owner)?;
        for folder in [making.spool(), making.results()] {
            durable::create_private_dir(&folder).map_err(cannot("create", &folder))?;
        }
        Ok(Planning {
            making,
            run,
            lock: Some(lock),
        })
    }

    /// Where the files are while the plan is made. The spool goes to [`RunDir::spool`] of it.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.making
    }

    /// Writes the head, an empty journal and the plan, and gives the run its name. The lock stays
    /// taken.
    ///
    /// # Errors
    /// When the plan does not hold together, or something cannot be written. There is no run then.
    pub fn finish(mut self, mut plan: Plan, head: &[u8]) -> Result<(RunDir, Plan, Lock), Error> {
        let parent = parent_of(&self.run.path);
        plan.home = fs::canonicalize(parent)
            .map_err(cannot("find", parent))?
            .join(self.run.path.file_name().unwrap_or_default());
        plan.head = self.making.write_head(None, head)?;
        Journal::create(&self.making.journal(), &plan)?;
        plan.write(&self.making.plan())?;
        for folder in [self.making.spool(), self.making.results()] {
            durable::sync_dir(&folder).map_err(cannot("write", &folder))?;
        }
        durable::act();
        fs::rename(&self.making.path, &self.run.path).map_err(cannot("create", &self.run.path))?;
        let lock = self.lock.take();
        durable::sync_dir(parent).map_err(cannot("write", parent))?;
        Ok((
            self.run.clone(),
            plan,
            lock.expect("the lock is held until here"),
        ))
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Best effort: what stays is removed by the next plan.
            let _ = remove_lock_last(&self.making);
        }
    }
}

/// Removes unfinished plans that no process works on from a folder of runs, as a crash leaves them.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_abandoned_plans(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut removed = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        entries => entries.map_err(cannot("read", folder))?,
    };
    for entry in entries {
        let making = RunDir {
            path: entry.map_err(cannot("read", folder))?.path(),
        };
        if !is_planning(&making.path) {
            continue;
        }
        if !making.lock().is_file() {
            // Left before it was locked: empty then, and nothing else is removed by this.
            let _ = fs::remove_dir(&making.path);
            continue;
        }
        match remove_if_abandoned(&making) {
            Err(Error::Locked { .. }) => {}
            outcome => {
                outcome?;
                removed.push(making.path);
            }
        }
    }
    Ok(removed)
}

fn remove_if_abandoned(making: &RunDir) -> Result<(), Error> {
    let _lock = Lock::probe(making)?;
    remove_lock_last(making).map_err(cannot("remove", &making.path))
}

/// Removes an unfinished plan. Its lock is removed last: if interrupted, the remains can still be
/// distinguished from a plan in use.
fn remove_lock_last(making: &RunDir) -> io::Result<()> {
    for entry in fs::read_dir(&making.path)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path != making.lock() {
            fs::remove_file(&path)?;
        }
    }
    fs::remove_file(making.lock())?;
    fs::remove_dir(&making.path)
}

/// Whether nothing is there, or an empty folder.
fn is_free(path: &Path) -> Result<bool, Error> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(cannot("read", path)(error)),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether the run was planned elsewhere.
fn moved(path: &Path, plan: &Plan) -> Option<RunNote> {
    let here = fs::canonicalize(path).ok()?;
    if plan.home.as_os_str().is_empty() || here == plan.home {
        return None;
    }
    let from = plan.home.clone();
    let is_original =
        Plan::read(&from.join("plan.json")).is_ok_and(|original| original.nonce == plan.nonce);
    Some(if is_original {
        RunNote::Copied { from }
    } else {
        RunNote::Moved { from }
    })
}
