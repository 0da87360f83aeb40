//! Files that go to the provider's file store once, and are named by their id from then on.
//!
//! Rendering uploads nothing. A file that has an id is named by it; one that has none is noted
//! here, and a placeholder of the same length takes the id's place, so that a dry run reports the
//! exact bytes. Before a real run the rows are rendered once, what was noted is uploaded,
//! and the job is compiled again with the ids.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use super::AttachmentFault;
use crate::media::MediaKind;

/// Takes the place of an id until the file is uploaded; as long as those of the provider.
const PLACEHOLDER_ID: &str = "file_000000000000000000000000";

/// A file that is to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpload {
    /// blake3 of the file, in hex, by which it is known.
    pub hash: String,
    /// Where its bytes can be read.
    pub path: PathBuf,
    /// The name it gets.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its length.
    pub bytes: u64,
}

/// The ids of uploaded files by their contents, and the files that have none yet.
#[derive(Debug, Default)]
pub struct Uploads {
    ids: RwLock<HashMap<String, String>>,
    pending: Mutex<BTreeMap<String, Option<PendingUpload>>>,
    /// Where bytes that have no file of their own are copied to; without it files are only counted.
    copies: Option<PathBuf>,
}

impl Uploads {
    /// Has no ids yet, and keeps copies of cells that are to be uploaded in a folder.
    #[must_use]
    pub fn keeping_copies(folder: &Path) -> Uploads {
        Uploads {
            copies: Some(folder.to_path_buf()),
            ..Uploads::default()
        }
    }

    /// Adds ids of uploaded files, by the hash of their contents.
    pub fn add_ids(&self, ids: impl IntoIterator<Item = (String, String)>) {
        self.ids
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(ids);
    }

    /// How many different files the requests name that have no id.
    #[must_use]
    pub fn missing(&self) -> usize {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .filter(|hash| !ids.contains_key(*hash))
            .count()
    }

    /// Every file that the requests name and that has no id, in the order of their hashes; none
    /// where copies are not kept.
    #[must_use]
    pub fn pending(&self) -> Vec<PendingUpload> {
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending
            .iter()
            .filter(|(hash, _)| !ids.contains_key(*hash))
            .filter_map(|(_, upload)| upload.clone())
            .collect()
    }

    /// The id of a file with these bytes, or the placeholder.
    pub(super) fn id(
        &self,
        bytes: &[u8],
        kind: MediaKind,
        path: Option<&Path>,
    ) -> Result<String, AttachmentFault> {
        let hash = blake3::hash(bytes).to_hex().to_string();
        if let Some(id) = self
            .ids
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&hash)
        {
            return Ok(id.clone());
        }
        // The lock is held while a copy is written: rows render on several threads, and the same
        // file must not be written by two of them at once.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(entry) = pending.entry(hash) {
            let upload = self
                .note(entry.key(), bytes, kind, path)
                .map_err(|error| AttachmentFault::Copy(error.to_string()))?;
            entry.insert(upload);
        }
        Ok(PLACEHOLDER_ID.to_owned())
    }

    fn note(
        &self,
        hash: &str,
        bytes: &[u8],
        kind: MediaKind,
        path: Option<&Path>,
    ) -> io::Result<Option<PendingUpload>> {
        let Some(copies) = &self.copies else {
            return Ok(None);
        };
        // The name says nothing of the row: it is shown to whoever lists the workspace's files.
        let name = format!("rowmill-{}.{}", &hash[..16], kind.extension());
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => {
                let copy = copies.join(hash);
                fs::write(&copy, bytes)?;
                copy
            }
        };
        Ok(Some(PendingUpload {
            hash: hash.to_owned(),
            path,
            name,
            media_type: kind.media_type(),
            bytes: bytes.len() as u64,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_each_file_once_until_it_has_an_id() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::keeping_copies(folder.path());
        for bytes in [b"one", b"two", b"one"] {
            assert_eq!(
                uploads.id(bytes, MediaKind::Text, None).unwrap(),
                PLACEHOLDER_ID
            );
        }
        let pending = uploads.pending();
        assert_eq!((pending.len(), uploads.missing()), (2, 2));
        for upload in &pending {
            assert_eq!(
                blake3::hash(&fs::read(&upload.path).unwrap())
                    .to_hex()
                    .to_string(),
                upload.hash
            );
        }
        uploads.add_ids(
            pending
                .iter()
                .map(|upload| (upload.hash.clone(), "file_1".to_owned())),
        );
        assert_eq!(uploads.id(b"one", MediaKind::Text, None).unwrap(), "file_1");
        assert_eq!((uploads.pending().len(), uploads.missing()), (0, 0));
    }

    #[test]
    fn a_dry_run_counts_and_keeps_nothing() {
        let uploads = Uploads::default();
        uploads.id(b"one", MediaKind::Text, None).unwrap();
        assert_eq!((uploads.pending(), uploads.missing()), (Vec::new(), 1));
    }
}
