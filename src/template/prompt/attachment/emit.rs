//! What a cell or file holds → a block of the request.

use std::borrow::Cow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cells::{data_url, form_of, items, shown};
use super::folder::{self, CellFolder, ReadError};
use super::{Attachment, MediaBlock, MediaSource};
use crate::media::{
    Detected, MAX_FILE_BYTES, MediaClass, MediaFacts, MediaFault, MediaKind, base64_bytes,
    check_url, inspect, is_file_id,
};
use crate::template::cell::{CellValue, cell, resolve};
use crate::template::prompt::AttachmentFault;
use crate::template::prompt::spec::CellForm;
use crate::template::prompt::uploads::Uploads;

/// The texts beside the file, rendered.
pub(super) struct RenderedTexts {
    pub(super) media_type: Option<String>,
    pub(super) title: Option<String>,
    pub(super) context: Option<String>,
}

/// Turns what a cell or file holds into a block, and passes it on.
pub(super) struct BlockEmitter<'a, 'f> {
    pub(super) attachment: &'a Attachment,
    pub(super) texts: &'a RenderedTexts,
    pub(super) uploads: &'a Uploads,
    pub(super) facts: &'f mut MediaFacts,
    pub(super) emit: &'f mut dyn FnMut(&MediaBlock<'_>),
}

impl BlockEmitter<'_, '_> {
    fn emit(&mut self, source: MediaSource<'_>) {
        let borrowed = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
        (self.emit)(&MediaBlock {
            is_image: self.attachment.class == MediaClass::Image,
            source,
            title: borrowed(&self.texts.title),
            context: borrowed(&self.texts.context),
            citations: self.attachment.citations,
        });
    }

    pub(super) fn nothing(&self) -> Result<(), AttachmentFault> {
        if self.attachment.optional {
            Ok(())
        } else {
            Err(AttachmentFault::Null)
        }
    }

    pub(super) fn cell(
        &mut self,
        array: &ArrayRef,
        row: usize,
        from: CellForm,
        folder: &CellFolder,
    ) -> Result<(), AttachmentFault> {
        let Some((array, row)) = resolve(array, row) else {
            return self.nothing();
        };
        if let Some(items) = items(array, row) {
            if items.is_empty() {
                return self.nothing();
            }
            return (0..items.len()).try_for_each(|item| self.cell(&items, item, from, folder));
        }
        if let (DataType::Struct(_), CellForm::Auto) = (array.data_type(), from) {
            return self.structure(array, row, folder);
        }
        match (cell(array, row), from) {
            (CellValue::Bytes(bytes), CellForm::Auto | CellForm::Bytes) => self.bytes(bytes, None),
            (CellValue::Text(""), _) => self.nothing(),
            (CellValue::Text(text), CellForm::Auto) => match form_of(text) {
                CellForm::Base64 => self.base64(text),
                CellForm::Url => self.url(text),
                CellForm::FileId => self.file_id(text),
                _ => self.path(text, folder),
            },
            (CellValue::Text(text), CellForm::Base64) => self.base64(text),
            (CellValue::Text(text), CellForm::Path) => self.path(text, folder),
            (CellValue::Text(text), CellForm::Url) => self.url(text),
            (CellValue::Text(text), CellForm::FileId) => self.file_id(text),
            (CellValue::Text(text), CellForm::Text) => self.text(text),
            (CellValue::Bytes(_), _) => Err(AttachmentFault::Cell {
                is: "bytes",
                wanted: from.in_words(),
            }),
            (CellValue::Text(_), _) => Err(AttachmentFault::Cell {
                is: "text",
                wanted: from.in_words(),
            }),
            _ => Err(AttachmentFault::Cell {
                is: "neither bytes nor text",
                wanted: from.in_words(),
            }),
        }
    }

    /// A struct of `bytes` and `path`, as data sets of pictures have it: the bytes where there are
    /// some.
    fn structure(
        &mut self,
        array: &ArrayRef,
        row: usize,
        folder: &CellFolder,
    ) -> Result<(), AttachmentFault> {
        let fields = array.as_struct();
        let has = |name: &str| {
            fields
                .column_by_name(name)
                .filter(|field| resolve(field, row).is_some())
        };
        match has("bytes").or_else(|| has("path")) {
            Some(field) => self.cell(field, row, CellForm::Auto, folder),
            None => self.nothing(),
        }
    }

    pub(super) fn bytes(
        &mut self,
        bytes: &[u8],
        path: Option<&Path>,
    ) -> Result<(), AttachmentFault> {
        let found = inspect(bytes, self.attachment.class)?;
        self.inspected(found, bytes, path)
    }

    fn inspected(
        &mut self,
        found: Detected,
        bytes: &[u8],
        path: Option<&Path>,
    ) -> Result<(), AttachmentFault> {
        self.check_type(found.kind)?;
        self.facts.images.extend(found.size);
        self.facts.pdf_pages += found.pages;
        if self.attachment.upload {
            if bytes.len() > MAX_FILE_BYTES {
                return Err(MediaFault::TooLarge {
                    bytes: bytes.len() as u64,
                    most: MAX_FILE_BYTES,
                    base64: false,
                }
                .into());
            }
            if found.kind == MediaKind::Text {
                self.facts.uploaded_text_bytes += bytes.len() as u64;
            }
            // An uploaded file is only named, so its bytes are no part of the request's size.
            let id = self.uploads.id(bytes, found.kind, path)?;
            self.emit(MediaSource::FileId(Cow::Owned(id)));
            return Ok(());
        }
        match (found.kind, std::str::from_utf8(bytes)) {
            // A byte order mark is no text, and would stand at the start of the document.
            (MediaKind::Text, Ok(text)) => self.emit(MediaSource::Text(Cow::Borrowed(
                text.trim_start_matches('\u{feff}'),
            ))),
            (kind, _) => {
                self.facts.base64_bytes += base64_bytes(bytes.len()) as u64;
                self.emit(MediaSource::Bytes(kind.media_type(), Cow::Borrowed(bytes)));
            }
        }
        Ok(())
    }

    fn check_type(&self, found: MediaKind) -> Result<(), AttachmentFault> {
        match self.texts.media_type.as_deref().map(str::trim) {
            Some(declared) if !declared.is_empty() => check_declared(declared, found),
            _ => Ok(()),
        }
    }

    fn base64(&mut self, text: &str) -> Result<(), AttachmentFault> {
        let (declared, data) = data_url(text);
        let compact;
        let data = if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
            compact = data.split_ascii_whitespace().collect::<String>();
            compact.as_str()
        } else {
            data
        };
        let bytes = STANDARD
            .decode(data)
            .map_err(|_| AttachmentFault::NotBase64)?;
        let found = inspect(&bytes, self.attachment.class)?;
        // Text in a data URL is declared in many ways, such as `application/json`.
        if let Some(declared) = declared.filter(|_| found.kind != MediaKind::Text) {
            check_declared(declared, found.kind)?;
        }
        self.inspected(found, &bytes, None)
    }

    fn path(&mut self, text: &str, folder: &CellFolder) -> Result<(), AttachmentFault> {
        let path = folder.find(text)?;
        // Checked against the file's size before it is read: a cell may name a huge file.
        let most = self.attachment.class.max_bytes();
        let bytes = folder::read(&path, most).map_err(|why| match why {
            ReadError::TooLarge(bytes) => MediaFault::TooLarge {
                bytes,
                most,
                base64: false,
            }
            .into(),
            ReadError::Io(error) => folder.unreadable(text, &error),
        })?;
        self.bytes(&bytes, Some(&path))
    }

    pub(super) fn url(&mut self, url: &str) -> Result<(), AttachmentFault> {
        let url = url.trim();
        check_url(url)?;
        self.unseen();
        self.emit(MediaSource::Url(Cow::Borrowed(url)));
        Ok(())
    }

    pub(super) fn file_id(&mut self, id: &str) -> Result<(), AttachmentFault> {
        let id = id.trim();
        if !is_file_id(id) {
            return Err(MediaFault::FileId(shown(id)).into());
        }
        self.unseen();
        self.emit(MediaSource::FileId(Cow::Borrowed(id)));
        Ok(())
    }

    fn unseen(&mut self) {
        match self.attachment.class {
            MediaClass::Image => self.facts.unseen_images += 1,
            MediaClass::Document => self.facts.unseen_documents += 1,
        }
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), AttachmentFault> {
        if text.trim().is_empty() {
            return Err(MediaFault::Empty.into());
        }
        if self.attachment.upload {
            return self.bytes(text.as_bytes(), None);
        }
        self.check_type(MediaKind::Text)?;
        self.emit(MediaSource::Text(Cow::Borrowed(text)));
        Ok(())
    }
}

fn check_declared(declared: &str, found: MediaKind) -> Result<(), AttachmentFault> {
    if found.is_declared_by(declared) {
        return Ok(());
    }
    Err(MediaFault::OtherType {
        declared: shown(declared),
        found: found.media_type(),
    }
    .into())
}
