//! Pictures and documents of messages: from a cell, a file beside the job, or the name the provider
//! knows them by, to a block of a request.
//!
//! ```text
//!  column ── bytes | base64 | path ──▶ bytes ── inspected ──▶ base64 in the request, or the id of the uploaded file
//!         ── url | file id ───────────────────────────────▶ as it is
//!         ── text (documents) ────────────────────────────▶ the text itself
//!
//!  compile.rs  spec → [`Attachment`]        cells.rs   which forms a cell may have
//!  emit.rs     cell → [`MediaBlock`]        folder.rs  paths in cells
//! ```

mod cells;
mod compile;
mod emit;
mod folder;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::PromptFault;
use super::render::RowContext;
use super::spec::CellForm;
use super::uploads::Uploads;
use crate::media::{MediaClass, MediaFacts};
use crate::template::row::RenderTable;
use crate::template::{Error, TemplateColumns, Templates};
use cells::weight;
use emit::{BlockEmitter, RenderedTexts};
use folder::CellFolder;

pub(super) use cells::items;
pub(super) use compile::AttachmentCompiler;

/// A picture or document as it goes into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaBlock<'a> {
    pub(crate) is_image: bool,
    pub(crate) source: MediaSource<'a>,
    pub(crate) title: Option<Cow<'a, str>>,
    pub(crate) context: Option<Cow<'a, str>>,
    pub(crate) citations: bool,
}

/// The picture or document itself, or what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MediaSource<'a> {
    Bytes(&'static str, Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    Url(Cow<'a, str>),
    FileId(Cow<'a, str>),
}

impl MediaBlock<'_> {
    /// The same with its own memory.
    pub(super) fn into_owned(self) -> MediaBlock<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        MediaBlock {
            is_image: self.is_image,
            source: match self.source {
                MediaSource::Bytes(media_type, bytes) => {
                    MediaSource::Bytes(media_type, Cow::Owned(bytes.into_owned()))
                }
                MediaSource::Text(text) => MediaSource::Text(owned(text)),
                MediaSource::Url(url) => MediaSource::Url(owned(url)),
                MediaSource::FileId(id) => MediaSource::FileId(owned(id)),
            },
            title: self.title.map(owned),
            context: self.context.map(owned),
            citations: self.citations,
        }
    }
}

/// A picture or document of the job.
pub(super) struct Attachment {
    /// Its name in messages, such as `block 2 of message 1`.
    part: String,
    class: MediaClass,
    source: AttachmentSource,
    media_type: Option<String>,
    title: Option<String>,
    context: Option<String>,
    citations: bool,
    upload: bool,
    pub(super) optional: bool,
}

enum AttachmentSource {
    Column {
        name: String,
        from: CellForm,
        folder: CellFolder,
    },
    File {
        path: PathBuf,
        bytes: Arc<Vec<u8>>,
    },
    /// The name of a template.
    Text(String),
    Url(String),
    FileId(String),
}

impl Attachment {
    /// The columns it reads.
    pub(super) fn columns(&self, templates: &Templates, schema: &Schema) -> TemplateColumns {
        let mut columns = match &self.source {
            AttachmentSource::Column { name, .. } => TemplateColumns::Named([name.clone()].into()),
            AttachmentSource::Text(name) => templates.columns(name, schema),
            _ => TemplateColumns::none(),
        };
        for name in [&self.media_type, &self.title, &self.context]
            .into_iter()
            .flatten()
        {
            columns = columns.union(templates.columns(name, schema));
        }
        columns
    }

    /// Whether answers cite it, which excludes a schema.
    pub(super) fn cites(&self) -> bool {
        self.citations
    }

    /// The column whose cells can carry bytes, so that requests are larger than their text.
    pub(super) fn column(&self) -> Option<&str> {
        match &self.source {
            AttachmentSource::Column { name, from, .. }
                if !matches!(from, CellForm::Url | CellForm::FileId) =>
            {
                Some(name)
            }
            _ => None,
        }
    }

    /// Passes on the pictures or documents of a row, in order: one, none where an optional cell is
    /// null, several of a list.
    pub(super) fn each(
        &self,
        row: &mut RowContext<'_>,
        facts: &mut MediaFacts,
        emit: &mut dyn FnMut(&MediaBlock<'_>),
    ) -> Result<(), PromptFault> {
        let texts = self.texts(row)?;
        let uploads = row.uploads;
        let fault = |fault| PromptFault::Media {
            part: self.part.clone(),
            fault,
        };
        let mut emitter = BlockEmitter {
            attachment: self,
            texts: &texts,
            uploads,
            facts,
            emit,
        };
        match &self.source {
            AttachmentSource::File { path, bytes } => {
                emitter.bytes(bytes, Some(path)).map_err(fault)
            }
            AttachmentSource::Url(url) => emitter.url(url).map_err(fault),
            AttachmentSource::FileId(id) => emitter.file_id(id).map_err(fault),
            AttachmentSource::Text(name) => {
                let text = row.text(name)?;
                match text.trim().is_empty() {
                    true if self.optional => Ok(()),
                    _ => emitter.text(&text).map_err(fault),
                }
            }
            AttachmentSource::Column { name, from, folder } => match row.cells(name) {
                Some(array) => emitter.cell(array, row.row, *from, folder).map_err(fault),
                None => emitter.nothing().map_err(fault),
            },
        }
    }

    /// Renders the texts beside the file.
    fn texts(&self, row: &mut RowContext<'_>) -> Result<RenderedTexts, PromptFault> {
        let mut text = |name: &Option<String>| name.as_ref().map(|name| row.text(name)).transpose();
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(RenderedTexts {
            media_type: text(&self.media_type)?,
            title: given(text(&self.title)?),
            context: given(text(&self.context)?),
        })
    }

    /// Estimates the bytes it adds to a row's request, without reading a file.
    pub(super) fn weight(&self, table: &RenderTable, row: usize) -> u64 {
        let AttachmentSource::Column { name, from, folder } = &self.source else {
            return 0;
        };
        if self.upload {
            return 0;
        }
        table
            .column(name)
            .map_or(0, |array| weight(array, row, *from, folder))
    }

    pub(super) fn render_shared(
        &self,
        templates: &Templates,
        uploads: &Uploads,
    ) -> Result<(MediaBlock<'static>, MediaFacts), Error> {
        let mut row = RowContext::shared(templates, uploads);
        let (mut facts, mut media) = (MediaFacts::default(), None);
        self.each(&mut row, &mut facts, &mut |one| {
            media = Some(one.clone().into_owned())
        })
        .map_err(|fault| match fault {
            PromptFault::Render(source) => Error::Shared {
                part: self.part.clone(),
                source,
            },
            PromptFault::Media { fault, .. } => Error::Part {
                part: self.part.clone(),
                problem: format!("cannot be used: {fault}"),
            },
            other => Error::Part {
                part: self.part.clone(),
                problem: other.to_string(),
            },
        })?;
        match media {
            Some(media) => Ok((media, facts)),
            None => Err(Error::Part {
                part: self.part.clone(),
                problem: "is empty for all rows".to_owned(),
            }),
        }
    }
}
