//! One process at a time on a run.
//!
//! The lock is the operating system's, on the file `lock`: it ends with the process, whatever ended
//! it. The text in the file only names the owner; text without a lock means nothing, and is written
//! over.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, RunDir, cannot};

/// How long after it took the lock a process may need to leave its name. Of two that start at the
/// same time, the second would else read no name, or that of an owner before.
const SIGNED_WITHIN: Duration = Duration::from_millis(20);

/// The process that works on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when.
    pub started: Timestamp,
}

impl Owner {
    /// This process on this machine. Reads the environment, so it belongs at the top of the
    /// program.
    #[must_use]
    pub fn this_process(started: Timestamp) -> Owner {
        let from_environment = || {
            std::env::var("HOSTNAME")
                .or_else(|_| std::env::var("COMPUTERNAME"))
                .ok()
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned());
        Owner {
            host: host
                .or_else(from_environment)
                .unwrap_or_else(|| "this machine".to_owned()),
            pid: std::process::id(),
            started,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "process {} on {} since {}",
            self.pid,
            self.host,
            self.started.strftime("%Y-%m-%d %H:%M:%S UTC")
        )
    }
}

/// The right to work on a run, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a run, and leaves the owner's name in it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it; otherwise what the file system answers.
    pub fn take(run: &RunDir, owner: &Owner) -> Result<Lock, Error> {
        let path = run.lock();
        let mut lock = Lock::probe(run)?;
        sign(&mut lock.file, owner).map_err(cannot("write", &path))?;
        Ok(lock)
    }

    /// Takes the lock of all runs of a job, for the time in which a run is looked for or a new one
    /// planned: two processes that started at the same time would both find none, and both send
    /// everything.
    ///
    /// # Errors
    /// [`Error::JobLocked`] when another process has it, and when the job's folder cannot be made.
    pub fn of_job(folder: &Path, owner: &Owner) -> Result<Lock, Error> {
        crate::durable::create_private_dir(folder).map_err(cannot("create", folder))?;
        Lock::take(&RunDir::at(folder), owner).map_err(|error| match error {
            Error::Locked { path, owner } => Error::JobLocked { path, owner },
            other => other,
        })
    }

    /// Takes the lock without a name in it.
    pub(super) fn probe(run: &RunDir) -> Result<Lock, Error> {
        let path = run.lock();
        let file = open(&path).map_err(cannot("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { file }),
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(SIGNED_WITHIN);
                Err(Error::Locked {
                    path: run.path().to_path_buf(),
                    owner: owner_in(file),
                })
            }
            Err(TryLockError::Error(source)) => Err(cannot("lock", &path)(source)),
        }
    }
}

impl Drop for Lock {
    /// Releases it by name and not only by closing the file: a child process that another thread
    /// has just forked has a copy of the open file until it becomes another program, and the lock
    /// would last as long.
    fn drop(&mut self) {
        // What is not released here is released when the last copy is closed.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sign(file: &mut File, owner: &Owner) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(owner)?)
}

fn owner_in(mut file: File) -> Option<Owner> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_released_although_a_child_process_still_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::this_process(Timestamp::UNIX_EPOCH);
        let lock = Lock::of_job(folder.path(), &owner).unwrap();
        let refused = Lock::of_job(folder.path(), &owner);
        assert!(
            matches!(refused, Err(Error::JobLocked { .. })),
            "{refused:?}"
        );
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::of_job(folder.path(), &owner).unwrap();
        drop(copy);
    }
}
