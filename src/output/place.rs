//! Where the output goes: looked at before anything is sent, without leaving a trace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;

/// Checks that an output could be written at a path, without writing anything there.
///
/// The folder need not exist, as [`OutputWriter::create`](super::OutputWriter::create) makes it;
/// then the nearest folder above it must be one in which it can be made. An ordinary file at the
/// path is fine: it will be replaced when the output is complete.
///
/// # Errors
/// [`Error::Folder`], [`Error::NotAFile`], [`Error::Place`].
pub fn check_writable(path: &Path) -> Result<(), Error> {
    let target = target(path)?;
    let folder = nearest_folder(&target);
    // A file without a name is the one test that covers everything: permissions, a read-only disk,
    // a full one.
    tempfile::tempfile_in(&folder)
        .map(drop)
        .map_err(|source| Error::Place { folder, source })
}

/// A name beside an output for what must not replace it: `out.parquet` and `trial` make
/// `out.trial.parquet`.
///
/// ```
/// use std::path::Path;
/// use rowmill::output::beside;
///
/// assert_eq!(beside(Path::new("a/out.parquet"), "trial"), Path::new("a/out.trial.parquet"));
/// assert_eq!(beside(Path::new("my.out.csv"), "simulated"), Path::new("my.out.simulated.csv"));
/// assert_eq!(beside(Path::new("out"), "trial"), Path::new("out.trial"));
/// ```
#[must_use]
pub fn beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(word);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The file that will be written: what a link points to, so that the link stays one.
///
/// # Errors
/// [`Error::Folder`], [`Error::NotAFile`], [`Error::Place`].
pub(super) fn target(path: &Path) -> Result<PathBuf, Error> {
    let names_a_folder = path.file_name().is_none()
        || path
            .as_os_str()
            .to_string_lossy()
            .ends_with(std::path::is_separator);
    if names_a_folder {
        return Err(Error::Folder {
            path: path.to_path_buf(),
        });
    }
    let place = |source| Error::Place {
        folder: folder_of(path),
        source,
    };
    let target = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path).map_err(place)?,
        _ => path.to_path_buf(),
    };
    match fs::metadata(&target) {
        Ok(meta) if meta.is_dir() => Err(Error::Folder {
            path: path.to_path_buf(),
        }),
        Ok(meta) if !meta.is_file() => Err(Error::NotAFile {
            path: path.to_path_buf(),
        }),
        Ok(_) => Ok(target),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(target),
        Err(e) => Err(place(e)),
    }
}

/// Makes the folder of a target, if it does not exist.
///
/// # Errors
/// [`Error::Place`].
pub(super) fn make_folder(target: &Path) -> Result<(), Error> {
    let folder = folder_of(target);
    fs::create_dir_all(&folder).map_err(|source| Error::Place { folder, source })
}

pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The folder of a target, or the nearest above it that exists.
fn nearest_folder(target: &Path) -> PathBuf {
    let mut folder = folder_of(target);
    while matches!(fs::symlink_metadata(&folder), Err(e) if e.kind() == io::ErrorKind::NotFound) {
        let above = folder_of(&folder);
        if above == folder {
            break;
        }
        folder = above;
    }
    folder
}
