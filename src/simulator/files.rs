//! The file store: what was uploaded, by id.
//!
//! ```text
//!  files/file_01….json   what is said of it     files/file_01….bin   its bytes
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SimClock;
use super::media::{MediaContent, look_at};
use super::reply::{ErrorReply, opaque_id};
use super::store::{replace, wire_time};

/// Most bytes of a file.
pub(super) const MAX_FILE_BYTES: usize = crate::media::MAX_FILE_BYTES;
/// Most ids in one look for files.
const MAX_IDS: usize = 100;
/// How long a file may live, in seconds.
const LIFE: std::ops::RangeInclusive<i64> = 3_600..=7_776_000;

/// What is known of an uploaded file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredFile {
    pub(super) id: String,
    filename: String,
    mime_type: String,
    size_bytes: u64,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    pub(super) facts: MediaContent,
}

/// All uploaded files.
pub(super) struct FileStore {
    folder: PathBuf,
    clock: SimClock,
    seed: u64,
    uploads: AtomicU64,
}

impl FileStore {
    pub(super) fn open(folder: &Path, seed: u64, clock: SimClock) -> io::Result<FileStore> {
        let folder = folder.join("files");
        fs::create_dir_all(&folder)?;
        Ok(FileStore {
            folder,
            clock,
            seed,
            uploads: AtomicU64::new(0),
        })
    }

    /// A store that holds nothing and takes nothing.
    #[cfg(test)]
    pub(super) fn nowhere() -> std::sync::Arc<FileStore> {
        let clock: SimClock = std::sync::Arc::new(|| Timestamp::UNIX_EPOCH);
        std::sync::Arc::new(FileStore {
            folder: PathBuf::from("no such folder"),
            clock,
            seed: 0,
            uploads: AtomicU64::new(0),
        })
    }

    /// Keeps a file.
    pub(super) fn add(
        &self,
        name: &str,
        mime_type: Option<&str>,
        bytes: &[u8],
        life: Option<i64>,
    ) -> Result<Value, ErrorReply> {
        if bytes.is_empty() {
            return Err(ErrorReply::invalid("file: File must not be empty"));
        }
        if let Some(life) = life.filter(|life| !LIFE.contains(life)) {
            let (least, most) = LIFE.into_inner();
            return Err(ErrorReply::invalid(format!(
                "expires_in_seconds: Input should be from {least} to {most}, not {life}"
            )));
        }
        let now = (self.clock)();
        let count = self.uploads.fetch_add(1, Ordering::Relaxed);
        let parts = [
            &self.seed.to_le_bytes()[..],
            &now.as_nanosecond().to_le_bytes(),
            &count.to_le_bytes(),
            bytes,
        ];
        let stored = StoredFile {
            id: opaque_id("file_", &parts),
            filename: name
                .rsplit(['/', '\\'])
                .next()
                .filter(|name| !name.is_empty())
                .unwrap_or("unnamed")
                .to_owned(),
            mime_type: mime_type.unwrap_or("application/octet-stream").to_owned(),
            size_bytes: bytes.len() as u64,
            created_at: now,
            expires_at: life.map(|life| now + SignedDuration::from_secs(life)),
            facts: look_at(bytes),
        };
        fs::write(self.path(&stored.id, "bin"), bytes)?;
        replace(
            &self.path(&stored.id, "json"),
            &serde_json::to_vec(&stored).map_err(io::Error::from)?,
        )?;
        Ok(stored.shown())
    }

    /// What is known of a file that has not expired.
    pub(super) fn find(&self, id: &str) -> Result<StoredFile, ErrorReply> {
        let missing = || {
            ErrorReply::not_found(format!(
                "File not found: {}",
                id.chars().take(80).collect::<String>()
            ))
        };
        if !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(missing());
        }
        let text = fs::read(self.path(id, "json")).map_err(|_| missing())?;
        let stored: StoredFile = serde_json::from_slice(&text).map_err(io::Error::from)?;
        if stored.expires_at.is_some_and(|at| at <= (self.clock)()) {
            return Err(
                ErrorReply::not_found(format!("File has expired: {id}")).code("file_expired")
            );
        }
        Ok(stored)
    }

    pub(super) fn bytes(&self, id: &str) -> Result<Vec<u8>, ErrorReply> {
        Ok(fs::read(self.path(id, "bin"))?)
    }

    pub(super) fn one(&self, id: &str) -> Result<Value, ErrorReply> {
        Ok(self.find(id)?.shown())
    }

    /// Files of these ids, those left out that do not exist; or, without ids, one page, newest
    /// first.
    pub(super) fn list(
        &self,
        ids: &[String],
        limit: usize,
        page: Option<&str>,
    ) -> Result<Value, ErrorReply> {
        if ids.len() > MAX_IDS {
            return Err(ErrorReply::invalid(
                "ids: List should have at most 100 items after validation",
            ));
        }
        if !ids.is_empty() {
            let found: Vec<Value> = ids.iter().filter_map(|id| self.one(id).ok()).collect();
            return Ok(json!({ "data": found, "next_page": null }));
        }
        let from: usize = match page {
            Some(page) => page
                .strip_prefix("page_")
                .and_then(|n| n.parse().ok())
                .ok_or_else(|| {
                    ErrorReply::invalid("page: Input should be a page of an earlier answer")
                })?,
            None => 0,
        };
        let mut all = self.all()?;
        all.sort_by(|a, b| {
            b.created_at
                .cmp(&a.created_at)
                .then_with(|| a.id.cmp(&b.id))
        });
        let shown: Vec<Value> = all
            .iter()
            .skip(from)
            .take(limit)
            .map(StoredFile::shown)
            .collect();
        let next = (from + shown.len() < all.len()).then(|| format!("page_{}", from + shown.len()));
        Ok(json!({ "data": shown, "next_page": next }))
    }

    fn all(&self) -> Result<Vec<StoredFile>, ErrorReply> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(id) = name.strip_suffix(".json") {
                all.extend(self.find(id).ok());
            }
        }
        Ok(all)
    }

    pub(super) fn delete(&self, id: &str) -> Result<Value, ErrorReply> {
        let stored = self.find(id)?;
        fs::remove_file(self.path(&stored.id, "json"))?;
        fs::remove_file(self.path(&stored.id, "bin"))?;
        Ok(json!({ "id": id, "type": "file_deleted" }))
    }

    fn path(&self, id: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }
}

impl StoredFile {
    fn shown(&self) -> Value {
        json!({
            "id": self.id, "type": "file", "filename": self.filename, "mime_type": self.mime_type, "size_bytes": self.size_bytes,
            "created_at": wire_time(self.created_at), "expires_at": self.expires_at.map(wire_time), "downloadable": false,
        })
    }
}
