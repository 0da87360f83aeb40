//! Paths in cells: they start in one folder and do not leave it, links included.

use std::path::{Path, PathBuf};

use super::cells::{MAX_PATH_CHARS, shown};
use crate::durable;
use crate::template::job_folder::stays_inside;
use crate::template::prompt::AttachmentFault;

/// Where paths in cells start.
pub(super) struct CellFolder {
    shown: String,
    /// With every link followed; `None` where there is no such folder, so that no path can be read.
    real: Option<PathBuf>,
}

impl CellFolder {
    /// A folder as it is written; an empty path is the working directory.
    pub(super) fn new(folder: &Path) -> CellFolder {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        CellFolder {
            shown: folder.display().to_string(),
            real: folder.canonicalize().ok(),
        }
    }

    /// The file that a cell names: inside of the folder, with every link followed.
    pub(super) fn find(&self, text: &str) -> Result<PathBuf, AttachmentFault> {
        let chars = text.chars().count();
        if chars > MAX_PATH_CHARS {
            return Err(AttachmentFault::NoPath { chars });
        }
        let outside = || AttachmentFault::Outside {
            path: shown(text),
            folder: self.shown.clone(),
        };
        if !Path::new(text).is_absolute() && !stays_inside(text) {
            return Err(outside());
        }
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let Some(folder) = &self.real else {
            return Err(self.unreadable(text, &missing));
        };
        let found = folder.join(text).canonicalize();
        match found {
            Ok(path) if path.starts_with(folder) => Ok(path),
            Ok(_) => Err(outside()),
            // The answer for an absolute path outside must not reveal whether there is such a file:
            // cells come from others.
            Err(_) if Path::new(text).is_absolute() && !Path::new(text).starts_with(folder) => {
                Err(outside())
            }
            Err(error) => Err(self.unreadable(text, &error)),
        }
    }

    pub(super) fn unreadable(&self, text: &str, error: &std::io::Error) -> AttachmentFault {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        AttachmentFault::Unreadable {
            path: shown(text),
            folder: self.shown.clone(),
            why,
        }
    }
}

/// Why a file that is there cannot be used.
pub(super) enum ReadError {
    TooLarge(u64),
    Io(std::io::Error),
}

/// Reads a file of at most `most` bytes.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, ReadError> {
    durable::read_bytes(path, most as u64).map_err(|error| match durable::Unreadable::of(&error) {
        Some(durable::Unreadable::TooLarge { bytes, .. }) => ReadError::TooLarge(bytes),
        _ => ReadError::Io(error),
    })
}
