//! Reads of the files that a job or the user names: ordinary files only, each within a limit.
//!
//! A pipe, a socket or a device has no end that can be known, so opening or reading one hangs or
//! fills the memory. [`open_file`] refuses them before they are opened; [`read_bytes`] and
//! [`read_text`] also bound what is read into memory as a whole:
//!
//! | files                                                           | limit                 |
//! |-----------------------------------------------------------------|-----------------------|
//! | job files, price and model tables, fault files                  | [`MAX_SETTINGS_BYTES`] |
//! | templates, includes, system files, schemas, tools, examples     | [`MAX_TEXT_BYTES`]     |
//! | pictures and documents                                          | what the API takes     |
//! | sources                                                         | none: read in batches  |

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a file of settings: a job file, a table of models, a list of faults.
pub const MAX_SETTINGS_BYTES: u64 = 16 << 20;

/// Most bytes of a file that becomes part of a prompt, or says how one is answered. The API takes
/// requests of at most 32 MB.
pub const MAX_TEXT_BYTES: u64 = 32 << 20;

/// Why a file is not read, although it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Something else than an ordinary file.
    #[error("it is {0}, not an ordinary file")]
    NotAFile(&'static str),
    /// A file beyond its limit.
    #[error("it has {bytes} bytes or more, and at most {limit} are read")]
    TooLarge {
        /// Its length, as far as it is known.
        bytes: u64,
        /// Most bytes of such a file.
        limit: u64,
    },
}

impl Unreadable {
    /// The reason in an error of [`open_file`] and its siblings, if it is one of these.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Unreadable> {
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Unreadable>())
            .copied()
    }
}

impl From<Unreadable> for io::Error {
    fn from(why: Unreadable) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, why)
    }
}

/// Opens an ordinary file, or a link to one.
///
/// # Errors
/// What the file system answers, and [`Unreadable::NotAFile`] for a folder, a pipe, a socket or a
/// device.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Before it is opened, because opening a pipe waits for its writer.
    refuse_other(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    // It may have been replaced in between.
    refuse_other(&file.metadata()?)?;
    Ok(file)
}

/// Reads an ordinary file of at most `limit` bytes.
///
/// # Errors
/// As [`open_file`], and [`Unreadable::TooLarge`].
pub fn read_bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = open_file(path)?;
    let reported = file.metadata()?.len();
    if reported > limit {
        return Err(Unreadable::TooLarge {
            bytes: reported,
            limit,
        }
        .into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(reported).unwrap_or(0) + 1);
    // Files of the system say that they have no bytes, and others grow while they are read.
    file.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        read if read > limit => Err(Unreadable::TooLarge { bytes: read, limit }.into()),
        _ => Ok(bytes),
    }
}

/// As [`read_bytes`], for text.
///
/// # Errors
/// As [`read_bytes`], and [`io::ErrorKind::InvalidData`] for bytes that are not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, limit)?)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

fn refuse_other(meta: &Metadata) -> io::Result<()> {
    if meta.is_file() {
        Ok(())
    } else {
        Err(Unreadable::NotAFile(kind(meta)).into())
    }
}

fn kind(meta: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = meta.file_type();
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if meta.is_dir() {
        "a folder"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_files_up_to_their_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let why = read_bytes(&path, 4).unwrap_err();
        assert_eq!(
            Unreadable::of(&why),
            Some(Unreadable::TooLarge { bytes: 5, limit: 4 })
        );
        std::fs::write(&path, b"a\xff").unwrap();
        assert_eq!(
            read_text(&path, 5).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[cfg(unix)]
    #[test]
    fn refuses_pipes_sockets_devices_and_folders_without_opening_them() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for (path, kind) in [
            (pipe.as_path(), "a named pipe"),
            (socket.as_path(), "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (link.as_path(), "a device"),
            (folder.path(), "a folder"),
        ] {
            let why = read_bytes(path, 10).unwrap_err();
            assert_eq!(
                Unreadable::of(&why),
                Some(Unreadable::NotAFile(kind)),
                "{}",
                path.display()
            );
        }
        assert_eq!(
            open_file(&folder.path().join("nowhere"))
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }
}
