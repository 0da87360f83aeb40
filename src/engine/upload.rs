//! Files that requests name by an id → their ids.
//!
//! ```text
//!  rows are walked once ─▶ files without an id ─▶ remembered, and still there? ─┬─ yes ─▶ its id
//!  (nothing is sent)                                                           └─ no ──▶ uploaded, remembered
//! ```
//!
//! What was uploaded is remembered by the hash of its bytes and the provider's origin in one file
//! of the state directory, so that the next run uploads only what is new. The memory is a
//! convenience: an id is asked for before it is used, and a file of which an upload was lost is
//! uploaded again, which costs nothing. A file expires after [`LIFE`], so that nothing of a job
//! stays with the provider for ever.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Error;
use super::provider_error::{Action, Kept};
use crate::durable;
use crate::provider::ApiError;
use crate::provider::files::{CALLS_A_MINUTE, FileApi, MAX_IDS, NewFile, RemoteFile};
use crate::provider::retry::{Call, Clock, Patience, with_retry};
use crate::template::prompt::uploads::{PendingUpload, Uploads};

/// The memory's name in the state directory.
pub(super) const MEMORY: &str = "files.json";
/// The lifetime of an uploaded file: longer than the 29 days for which a batch's results can be
/// fetched, and its rows be sent again.
pub(super) const LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// An id is used only if its file lasts this much longer: a batch takes up to a day, and rows may
/// be sent again after it.
const LEAST_LIFE: SignedDuration = SignedDuration::from_hours(3 * 24);
/// Version of the memory.
const FORMAT: u32 = 1;
/// Uploads at a time.
const AT_A_TIME: usize = 4;

/// What is done and what it says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Files that were there already.
    pub known: u64,
    /// Files that were uploaded now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Uploads what has no id.
pub(super) struct Uploader<'a> {
    /// The file store.
    pub api: &'a dyn FileApi,
    /// Time and chance.
    pub clock: &'a dyn Clock,
    /// How long a call that fails is tried again.
    pub patience: Patience,
    /// Whose ids they are: the provider, as the plan names it.
    pub origin: &'a str,
    /// The state directory.
    pub state: &'a Path,
    /// The time between two calls.
    pub pace: Duration,
}

/// The time between two calls that the provider's limit leaves.
#[must_use]
pub(super) fn pace() -> Duration {
    Duration::from_secs(60) / CALLS_A_MINUTE
}

impl Uploader<'_> {
    /// Finds an id for every file that was asked for: remembered, or uploaded now.
    ///
    /// # Errors
    /// [`Error::Provider`] when a file cannot be uploaded; what was uploaded before is remembered.
    /// [`Error::File`] when the memory cannot be read or written.
    pub(super) async fn upload(&self, uploads: &Uploads) -> Result<Uploaded, Error> {
        let mut memory = UploadedFiles::read(self.state)?;
        let wanted = uploads.pending();
        let known = self.still_there(&mut memory, &wanted).await?;
        let mut done = Uploaded {
            known: known.len() as u64,
            ..Uploaded::default()
        };
        uploads.add_ids(known);
        let wanted = uploads.pending();
        let mut uploaded = Vec::new();
        let sent = self.send(&wanted, &mut uploaded).await;
        done.files = uploaded.len() as u64;
        done.bytes = uploaded.iter().map(|(upload, _)| upload.bytes).sum();
        if !uploaded.is_empty() {
            for (upload, file) in &uploaded {
                memory.remember(self.origin, upload, file);
            }
            memory.write(self.state)?;
            uploads.add_ids(
                uploaded
                    .into_iter()
                    .map(|(upload, file)| (upload.hash.clone(), file.id)),
            );
        }
        sent.map_err(|source| failed(Action::UploadFiles, source, done.files))?;
        Ok(done)
    }

    /// Uploads files, a few at a time; after a failure no other begins, and those in progress
    /// finish.
    async fn send<'w>(
        &self,
        wanted: &'w [PendingUpload],
        uploaded: &mut Vec<(&'w PendingUpload, RemoteFile)>,
    ) -> Result<(), ApiError> {
        let begun = self.clock.now();
        let stopped = &AtomicBool::new(false);
        let mut calls = stream::iter(wanted.iter().enumerate())
            .map(|(n, upload)| async move {
                if stopped.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let turn = self
                    .pace
                    .saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
                let passed = Duration::try_from(self.clock.now().duration_since(begun))
                    .unwrap_or(Duration::ZERO);
                if let Some(wait) = turn.checked_sub(passed).filter(|wait| !wait.is_zero()) {
                    self.clock.sleep(wait).await;
                }
                let file = NewFile {
                    path: upload.path.clone(),
                    name: upload.name.clone(),
                    media_type: upload.media_type.to_owned(),
                    bytes: upload.bytes,
                    expires_in_seconds: u32::try_from(LIFE.as_secs()).ok(),
                };
                let sent = with_retry(Call::Upload, self.clock, self.patience, || {
                    self.api.upload(&file)
                })
                .await?;
                Ok::<_, ApiError>(Some((upload, sent)))
            })
            .buffer_unordered(AT_A_TIME);
        let mut failed = None;
        while let Some(one) = calls.next().await {
            match one {
                Ok(one) => uploaded.extend(one),
                Err(error) => {
                    stopped.store(true, Ordering::Relaxed);
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The remembered ids of these files that the provider still knows and that last long enough.
    async fn still_there(
        &self,
        memory: &mut UploadedFiles,
        wanted: &[PendingUpload],
    ) -> Result<Vec<(String, String)>, Error> {
        let enough = self.clock.now() + LEAST_LIFE;
        let lives = |expires: Option<Timestamp>| expires.is_none_or(|at| at > enough);
        let files = memory.origins.entry(self.origin.to_owned()).or_default();
        files.retain(|_, file| lives(file.expires_at));
        let remembered: Vec<(&String, String)> = wanted
            .iter()
            .filter_map(|upload| Some((&upload.hash, files.get(&upload.hash)?.id.clone())))
            .collect();
        let mut there = Vec::new();
        for some in remembered.chunks(MAX_IDS) {
            let ids: Vec<String> = some.iter().map(|(_, id)| id.clone()).collect();
            let found = with_retry(Call::Files, self.clock, self.patience, || {
                self.api.files(&ids)
            })
            .await;
            let found = found.map_err(|source| failed(Action::FindFiles, source, 0))?;
            let is_there = |id: &String| {
                found
                    .iter()
                    .any(|file| file.id == *id && lives(file.expires_at))
            };
            there.extend(
                some.iter()
                    .filter(|(_, id)| is_there(id))
                    .map(|(hash, id)| ((*hash).clone(), id.clone())),
            );
        }
        Ok(there)
    }
}

fn failed(action: Action, source: ApiError, files: u64) -> Error {
    Error::Provider {
        action,
        source: Box::new(source),
        kept: Kept::Files { files },
    }
}

/// Files that were uploaded, by provider and by the hash of their bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct UploadedFiles {
    format: u32,
    origins: BTreeMap<String, BTreeMap<String, RememberedFile>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RememberedFile {
    id: String,
    uploaded_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl UploadedFiles {
    /// Reads the memory; one that cannot be understood is no memory, since everything in it can be
    /// found again.
    fn read(state: &Path) -> Result<UploadedFiles, Error> {
        let path = state.join(MEMORY);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .ok()
                .filter(|memory: &UploadedFiles| memory.format == FORMAT)
                .unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(UploadedFiles::default()),
            Err(source) => Err(Error::File {
                doing: "read",
                path,
                source,
            }),
        }
    }

    fn remember(&mut self, origin: &str, upload: &PendingUpload, file: &RemoteFile) {
        let known = RememberedFile {
            id: file.id.clone(),
            uploaded_at: file.created_at,
            expires_at: file.expires_at,
        };
        self.origins
            .entry(origin.to_owned())
            .or_default()
            .insert(upload.hash.clone(), known);
    }

    /// Writes the memory, with what another process may have remembered meanwhile.
    fn write(&mut self, state: &Path) -> Result<(), Error> {
        for (origin, files) in UploadedFiles::read(state)?.origins {
            let own = self.origins.entry(origin).or_default();
            for (hash, file) in files {
                own.entry(hash).or_insert(file);
            }
        }
        self.format = FORMAT;
        let path = state.join(MEMORY);
        let written = durable::create_private_dir(state)
            .and_then(|()| serde_json::to_vec_pretty(self).map_err(io::Error::from))
            .and_then(|bytes| durable::write_file(&path, &bytes));
        written.map_err(|source| Error::File {
            doing: "write",
            path,
            source,
        })
    }
}
