//! The provider's file store: files that are uploaded once and named by their id in any number of
//! requests.
//!
//! An upload can be repeated without harm: it costs nothing, and a file that no request names has
//! no effect. So there is no journal of it, only a memory of ids (see `upload`).
//!
//! **Source**: the vendor's reference and clients of 2026-11: 500 MB a file, about 500 calls a
//! minute, at most 100 ids in one look, a life of an hour to ninety days where one is set.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ApiError;
use crate::batch::BatchBody;

/// Most ids in one look for files.
pub const MAX_IDS: usize = 100;
/// Calls a minute that the provider takes.
pub const CALLS_A_MINUTE: u32 = 500;

/// A file to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where its bytes are.
    pub path: PathBuf,
    /// The name it gets.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its exact length.
    pub bytes: u64,
    /// After how many seconds it expires, from 3,600 to 7,776,000; never if absent.
    pub expires_in_seconds: Option<u32>,
}

/// A file as the provider describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// The provider's id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub filename: String,
    /// Its media type.
    #[serde(default)]
    pub mime_type: String,
    /// Its length.
    #[serde(default)]
    pub size_bytes: u64,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// When it expires; never if absent.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// One page of a list of files, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FilePage {
    /// The files.
    pub data: Vec<RemoteFile>,
    /// Where the next page begins; none behind the last.
    #[serde(default)]
    pub next_page: Option<String>,
}

/// A provider's file store. Calls are made once, as those of [`super::BatchApi`].
pub trait FileApi: Send + Sync {
    /// Uploads a file, read from disk while it is sent.
    fn upload<'a>(&'a self, file: &'a NewFile) -> BoxFuture<'a, Result<RemoteFile, ApiError>>;
    /// Gets one file.
    fn file<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<RemoteFile, ApiError>>;
    /// Looks for files by at most [`MAX_IDS`] ids; those that do not exist are left out.
    fn files<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, Result<Vec<RemoteFile>, ApiError>>;
    /// One page of all files of the workspace; `page` from [`FilePage::next_page`].
    fn file_page<'a>(
        &'a self,
        limit: u32,
        page: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FilePage, ApiError>>;
    /// Deletes a file; requests that name it fail from then on.
    fn delete_file<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), ApiError>>;
}

/// A form with one file in it, read from disk while it is sent, of a length known before.
#[derive(Debug)]
pub(super) struct FileForm {
    before: Bytes,
    path: PathBuf,
    file_bytes: u64,
    after: Bytes,
}

/// Size of a piece, as in the bodies of batches.
const CHUNK_BYTES: usize = 256 * 1024;

impl FileForm {
    /// A form for a file; `boundary` must not occur in it, which a random one does not.
    pub(super) fn new(file: &NewFile, boundary: &str) -> FileForm {
        let life = file.expires_in_seconds.map_or_else(String::new, |seconds| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; \
                name=\"expires_in_seconds\"\r\n\r\n{seconds}\r\n"
            )
        });
        let name = quoted(&file.name);
        let before = format!(
            "{life}--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"{name}\"\r\nContent-Type: {}\r\n\r\n",
            file.media_type
        );
        FileForm {
            before: before.into(),
            path: file.path.clone(),
            file_bytes: file.bytes,
            after: format!("\r\n--{boundary}--\r\n").into(),
        }
    }
}

/// A name as it may stand between quotation marks in a header.
fn quoted(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '"' | '\\') {
                '_'
            } else {
                c
            }
        })
        .collect()
}

impl BatchBody for FileForm {
    fn requests(&self) -> u32 {
        0
    }

    fn bytes(&self) -> u64 {
        self.before.len() as u64 + self.file_bytes + self.after.len() as u64
    }

    fn chunks(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<Bytes>> + Send>> {
        let file = pieces(&self.path)?;
        let (before, after) = (self.before.clone(), self.after.clone());
        Ok(Box::new(
            std::iter::once(Ok(before))
                .chain(file)
                .chain(std::iter::once(Ok(after))),
        ))
    }
}

fn pieces(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Bytes>> + use<>> {
    let mut file = crate::durable::open_file(path)?;
    Ok(std::iter::from_fn(move || {
        let mut piece = Vec::with_capacity(CHUNK_BYTES);
        match file
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut piece)
        {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => Some(Err(error)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_the_length_it_announces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for (length, life) in [(0, None), (10, Some(3_600)), (CHUNK_BYTES * 2 + 1, None)] {
            std::fs::write(&path, vec![b'x'; length]).unwrap();
            let file = NewFile {
                path: path.clone(),
                name: "a \"b\"\r\n.png".to_owned(),
                media_type: "image/png".to_owned(),
                bytes: length as u64,
                expires_in_seconds: life,
            };
            let form = FileForm::new(&file, "BOUND");
            let body: Vec<u8> = form
                .chunks()
                .unwrap()
                .flat_map(|piece| piece.unwrap().to_vec())
                .collect();
            assert_eq!(body.len() as u64, form.bytes());
            let text = String::from_utf8(body).unwrap();
            assert!(
                text.contains("filename=\"a _b___.png\"\r\nContent-Type: image/png\r\n\r\n"),
                "{text:.200}"
            );
            assert!(text.ends_with("\r\n--BOUND--\r\n"));
            assert_eq!(
                text.contains("name=\"expires_in_seconds\"\r\n\r\n3600\r\n"),
                life.is_some()
            );
        }
    }
}
