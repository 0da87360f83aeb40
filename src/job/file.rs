//! A job file: its text, its place and the job in it.

use std::path::{Path, PathBuf};

use super::{Error, Job, budget, toml_message, values};
use crate::durable;

/// A job file that was read: the job, and where it stands.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The folder all paths in it start from.
    pub folder: PathBuf,
    /// The job.
    pub job: Job,
    /// The file's text.
    pub text: String,
}

impl JobFile {
    /// Reads a job file.
    ///
    /// # Errors
    /// [`Error`]: unreadable, not TOML, an unknown key, a value out of range. The files that the
    /// job refers to are not read yet.
    pub fn read(path: &Path) -> Result<JobFile, Error> {
        let text = durable::read_text(path, durable::MAX_SETTINGS_BYTES).map_err(|source| {
            Error::Read {
                path: path.to_path_buf(),
                source,
            }
        })?;
        JobFile::parse(path, text)
    }

    /// Parses the text of a job file. `path` is used in errors, and its folder for relative paths.
    ///
    /// # Errors
    /// As [`JobFile::read`].
    pub fn parse(path: &Path, text: String) -> Result<JobFile, Error> {
        let mut job: Job =
            toml::from_str(&text).map_err(|e| toml_message::parse_error(path, &text, &e))?;
        budget::read_exact_amounts(path, &text, &mut job.budget)?;
        values::check(path, &job)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(JobFile {
            path: path.to_path_buf(),
            folder,
            job,
            text,
        })
    }

    /// Returns the blake3 of the text, in hex: whether the job is still the one a run was planned
    /// from.
    #[must_use]
    pub fn hash(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }

    /// Resolves a path of the job file against its folder.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            path.to_path_buf()
        } else {
            self.folder.join(path)
        }
    }
}
