//! Writes that survive a power failure.
//!
//! Everything rowmill must not lose passes through this room: a file is written under a temporary
//! name in its own folder, synced, renamed, and the folder is synced; a line is appended and synced
//! before the caller continues. So a reader finds the old bytes or the new bytes, never half of
//! either.
//!
//! Each such write, and each request that leaves the machine, is an *act*. The crash test ends the
//! process at the n-th act, for every n, and starts it again (see `docs/reliability.md`); [`act`]
//! is where it counts them.
//!
//! Files that a job or the user names are read through [`open_file`], [`read_bytes`] and
//! [`read_text`]: ordinary files only.

#[cfg(any(feature = "test-hooks", debug_assertions))]
mod crash;
mod read;

pub use read::{MAX_SETTINGS_BYTES, MAX_TEXT_BYTES, Unreadable, open_file, read_bytes, read_text};

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[cfg(any(feature = "test-hooks", debug_assertions))]
pub use crash::{Crash, crash_at, crash_thread_at};

/// Marks one durable write or network act that is about to happen.
///
/// Does nothing in a release build, unless that has the feature `test-hooks`.
pub fn act() {
    #[cfg(any(feature = "test-hooks", debug_assertions))]
    crash::act();
}

/// Creates a folder that only its owner may enter (mode 0700), and its parents.
///
/// # Errors
/// What the file system answers.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The bytes of all files in a folder and the folders in it. Links are not followed.
///
/// # Errors
/// What the file system answers. What is gone when it is looked at counts nothing.
pub fn size_of_dir(path: &Path) -> io::Result<u64> {
    let gone_is_empty = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return gone_is_empty(error),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of_dir(&entry.path())?,
            Ok(meta) => meta.len(),
            Err(error) => gone_is_empty(error)?,
        };
    }
    Ok(bytes)
}

/// Syncs a folder, so that a rename or a new file in it survives a power failure.
///
/// # Errors
/// What the file system answers. Systems that cannot sync a folder are passed over.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    })?
    .sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Writes a whole small file: temporary name, sync, rename, sync of the folder.
///
/// # Errors
/// What the file system answers; the file of that name, if any, is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut pending = Pending::create(path)?;
    pending.write_all(bytes)?;
    pending.commit()
}

/// A file that is being written: under a temporary name beside its target, there under its own name
/// once committed.
///
/// Dropped without [`Pending::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Pending {
    file: BufWriter<tempfile::NamedTempFile>,
    target: PathBuf,
}

impl Pending {
    /// Opens a temporary file, private to its owner (mode 0600), in the folder of `target`.
    ///
    /// # Errors
    /// What the file system answers, for instance that the folder does not exist or cannot be
    /// written.
    pub fn create(target: &Path) -> io::Result<Pending> {
        Self::open(target, true)
    }

    /// As [`Pending::create`], but the finished file has the permissions that new files usually
    /// get.
    ///
    /// # Errors
    /// As [`Pending::create`].
    pub fn create_public(target: &Path) -> io::Result<Pending> {
        Self::open(target, false)
    }

    fn open(target: &Path, private: bool) -> io::Result<Pending> {
        let folder = folder_of(target);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{name}.");
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        if !private {
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        }
        let file = locked(|| builder.tempfile_in(folder))?;
        Ok(Pending {
            file: BufWriter::with_capacity(1 << 16, file),
            target: target.to_path_buf(),
        })
    }

    /// The name the file will have.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Opens what was written so far for reading, from its start.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn reopen(&mut self) -> io::Result<File> {
        self.file.flush()?;
        self.file.get_ref().reopen()
    }

    /// Syncs the bytes, gives the file its name, and syncs the folder.
    ///
    /// # Errors
    /// What the file system answers; the target is then as it was before.
    pub fn commit(self) -> io::Result<()> {
        let target = self.target.clone();
        self.commit_as(&target)
    }

    /// As [`Pending::commit`], under another name in the same folder.
    ///
    /// # Errors
    /// As [`Pending::commit`].
    pub fn commit_as(self, target: &Path) -> io::Result<()> {
        act();
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(target).map_err(|e| e.error)?;
        sync_dir(folder_of(target))
    }
}

impl Write for Pending {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An append-only file of lines, each on disk before the call that wrote it returns.
#[derive(Debug)]
pub struct Appender {
    file: File,
}

impl Appender {
    /// Opens or creates the file (mode 0600) and syncs its folder.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn open(path: &Path) -> io::Result<Appender> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        sync_dir(folder_of(path))?;
        Ok(Appender { file })
    }

    /// Appends one line (the line feed is added) and syncs it.
    ///
    /// # Errors
    /// What the file system answers; part of the line may then be on disk, and a reader must expect
    /// that.
    pub fn append_line(&mut self, line: &str) -> io::Result<()> {
        act();
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

/// Makes a temporary file and locks it, which shows [`remove_leftovers`] that it is in use.
fn locked(
    make: impl Fn() -> io::Result<tempfile::NamedTempFile>,
) -> io::Result<tempfile::NamedTempFile> {
    loop {
        let file = make()?;
        // Where the file system has no locks, none can be taken to remove the file either.
        let is_ours = !matches!(file.as_file().try_lock(), Err(fs::TryLockError::WouldBlock));
        if is_ours && file.path().exists() {
            return Ok(file);
        }
    }
}

/// Removes temporary files that a killed process left in a folder: those for the target `name`, or
/// for any.
///
/// Those that another process still writes stay. What cannot be removed stays too; no reader takes
/// it for data.
pub fn remove_leftovers(folder: &Path, name: Option<&str>) {
    let begins = name.map_or_else(|| ".".to_owned(), |name| format!(".{name}."));
    let Ok(entries) = fs::read_dir(if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(&begins) && name.ends_with(".partial")) {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_nothing_behind_when_it_is_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        let mut pending = Pending::create(&target).unwrap();
        pending.write_all(b"half").unwrap();
        drop(pending);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn removes_what_a_killed_process_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "a.txt",
            ".a.txt.x1.partial",
            ".b.txt.x2.partial",
            ".a.txt",
            "partial",
        ];
        names
            .iter()
            .for_each(|name| fs::write(folder.path().join(name), "half").unwrap());
        let pending = Pending::create(&folder.path().join("a.txt")).unwrap();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        remove_leftovers(folder.path(), Some("a.txt"));
        assert_eq!(
            count(),
            5,
            "{:?}",
            fs::read_dir(folder.path()).unwrap().collect::<Vec<_>>()
        );
        remove_leftovers(folder.path(), None);
        assert_eq!(count(), 4);
        pending.commit().unwrap();
        assert_eq!(fs::read(folder.path().join("a.txt")).unwrap(), b"");
        remove_leftovers(&folder.path().join("nowhere"), None);
    }

    #[test]
    fn replaces_a_file_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        write_file(&target, b"old").unwrap();
        write_file(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn appends_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        for _ in 0..2 {
            let mut appender = Appender::open(&path).unwrap();
            appender.append_line("one").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\none\n");
    }
}
