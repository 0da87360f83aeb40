//! The calls about files: generally available, so without a beta header.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::HeaderValue;

use super::Anthropic;
use crate::durable;
use crate::provider::files::{FileApi, FileForm, FilePage, MAX_IDS, NewFile, RemoteFile};
use crate::provider::http::Payload;
use crate::provider::{ApiError, ApiErrorKind, Call, Delivery};

const FILES: &str = "/v1/files";

impl FileApi for Anthropic {
    fn upload<'a>(&'a self, file: &'a NewFile) -> BoxFuture<'a, Result<RemoteFile, ApiError>> {
        async move {
            durable::act();
            let boundary = format!("rowmill-{:032x}", fastrand::u128(..));
            let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
            let Ok(kind) = kind else {
                return Err(ours("the form has no name"));
            };
            let payload = Payload::Form(kind, Arc::new(FileForm::new(file, &boundary)));
            self.read(
                Self::http_call(Call::Upload, Method::POST, FILES.to_owned(), payload),
                checked,
            )
            .await
        }
        .boxed()
    }

    fn file<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<RemoteFile, ApiError>> {
        async move {
            self.read_soon(Self::get(Call::Files, path(id)?), checked)
                .await
        }
        .boxed()
    }

    fn files<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, Result<Vec<RemoteFile>, ApiError>> {
        async move {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            if ids.len() > MAX_IDS {
                return Err(ours("more ids than one look takes"));
            }
            let mut outgoing = Self::get(Call::Files, FILES.to_owned());
            outgoing
                .query
                .extend(ids.iter().map(|id| ("ids[]", id.clone())));
            self.read_soon(outgoing, |page: FilePage| Ok(page.data))
                .await
        }
        .boxed()
    }

    fn file_page<'a>(
        &'a self,
        limit: u32,
        page: Option<&'a str>,
    ) -> BoxFuture<'a, Result<FilePage, ApiError>> {
        async move {
            let mut outgoing = Self::get(Call::Files, FILES.to_owned());
            outgoing.query.push(("limit", limit.to_string()));
            outgoing
                .query
                .extend(page.map(|page| ("page", page.to_owned())));
            self.read_soon(outgoing, Ok::<FilePage, _>).await
        }
        .boxed()
    }

    fn delete_file<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), ApiError>> {
        async move {
            durable::act();
            let outgoing = Self::http_call(Call::Files, Method::DELETE, path(id)?, Payload::None);
            self.soon(outgoing.call, self.send(&outgoing))
                .await
                .map(drop)
        }
        .boxed()
    }
}

/// An answer without an id names no file.
fn checked(file: RemoteFile) -> Result<RemoteFile, &'static str> {
    if file.id.is_empty() {
        Err("the file has no id")
    } else {
        Ok(file)
    }
}

/// The path of one file. An id that would name another path is not sent.
fn path(id: &str) -> Result<String, ApiError> {
    if id.is_empty()
        || !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return Err(ours("it is no id of a file"));
    }
    Ok(format!("{FILES}/{id}"))
}

fn ours(message: &str) -> ApiError {
    ApiError::new(Call::Files, ApiErrorKind::Body, message, Delivery::NotSent)
}
