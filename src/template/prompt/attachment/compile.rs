//! The spec of a picture or document → an [`Attachment`].

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::cells::{can_hold, shown};
use super::folder::CellFolder;
use super::{Attachment, AttachmentSource};
use crate::media::{MediaClass, MediaFault, check_url, inspect, is_file_id};
use crate::template::prompt::PromptContext;
use crate::template::prompt::spec::{CellForm, DocumentSpec, ImageSpec};
use crate::template::{Error, Templates, no_column};

/// Compiles the picture or document of one block.
pub(in crate::template::prompt) struct AttachmentCompiler<'a, 's> {
    pub(in crate::template::prompt) part: String,
    pub(in crate::template::prompt) templates: &'a mut Templates,
    pub(in crate::template::prompt) schema: &'a Schema,
    pub(in crate::template::prompt) context: &'a PromptContext<'s>,
}

impl AttachmentCompiler<'_, '_> {
    pub(in crate::template::prompt) fn image(
        &mut self,
        spec: &ImageSpec,
        optional: bool,
    ) -> Result<Attachment, Error> {
        self.attach(&DocumentSpec::from(spec), MediaClass::Image, optional)
    }

    pub(in crate::template::prompt) fn document(
        &mut self,
        spec: &DocumentSpec,
        optional: bool,
    ) -> Result<Attachment, Error> {
        self.attach(spec, MediaClass::Document, optional)
    }

    fn attach(
        &mut self,
        spec: &DocumentSpec,
        class: MediaClass,
        optional: bool,
    ) -> Result<Attachment, Error> {
        Ok(Attachment {
            part: self.part.clone(),
            class,
            source: self.source(spec, class)?,
            media_type: self.template("media_type", spec.media_type.as_ref())?,
            title: self.template("title", spec.title.as_ref())?,
            context: self.template("context", spec.context.as_ref())?,
            citations: spec.citations,
            upload: spec.upload,
            optional,
        })
    }

    fn fails<T>(&self, problem: impl Into<String>) -> Result<T, Error> {
        Err(Error::Part {
            part: self.part.clone(),
            problem: problem.into(),
        })
    }

    fn source(
        &mut self,
        spec: &DocumentSpec,
        class: MediaClass,
    ) -> Result<AttachmentSource, Error> {
        if spec.column.is_none() && (spec.from != CellForm::Auto || spec.folder.is_some()) {
            return self.fails(
                "has `from` or `folder` without `column`; they say how the cells of \
                a column are read",
            );
        }
        match (
            &spec.column,
            &spec.file,
            &spec.text,
            &spec.url,
            &spec.file_id,
        ) {
            (Some(column), None, None, None, None) => self.column(column, spec, class),
            (None, Some(path), None, None, None) => self.file(path, class),
            (None, None, Some(text), None, None) => match self.template("text", Some(text))? {
                Some(name) => Ok(AttachmentSource::Text(name)),
                None => self.fails("has no text"),
            },
            (None, None, None, Some(_), None) | (None, None, None, None, Some(_))
                if spec.upload =>
            {
                self.fails(
                    "has `upload` with a `url` or `file_id`; only bytes that are here can \
                    be uploaded",
                )
            }
            (None, None, None, Some(url), None) => match check_url(url) {
                Ok(()) => Ok(AttachmentSource::Url(url.clone())),
                Err(fault) => self.fails(format!("cannot be used: {fault}")),
            },
            (None, None, None, None, Some(id)) if is_file_id(id) => {
                Ok(AttachmentSource::FileId(id.clone()))
            }
            (None, None, None, None, Some(id)) => {
                self.fails(format!("cannot be used: {}", MediaFault::FileId(shown(id))))
            }
            _ if class == MediaClass::Image => self.fails(
                "needs exactly one of `column`, `file`, \
                `url` and `file_id`",
            ),
            _ => self.fails("needs exactly one of `column`, `file`, `text`, `url` and `file_id`"),
        }
    }

    fn column(
        &self,
        column: &str,
        spec: &DocumentSpec,
        class: MediaClass,
    ) -> Result<AttachmentSource, Error> {
        let Ok(field) = self.schema.field_with_name(column) else {
            return Err(no_column(&self.part, column, self.schema));
        };
        if class == MediaClass::Image && spec.from == CellForm::Text {
            return self.fails("is a picture with `from = \"text\"`; only documents can be text");
        }
        if spec.upload && matches!(spec.from, CellForm::Url | CellForm::FileId) {
            return self.fails(
                "has `upload` with cells that are URLs or file ids; only bytes that \
                are here can be uploaded",
            );
        }
        if !can_hold(field.data_type(), spec.from) {
            let wanted = spec.from.in_words();
            let problem = format!(
                "reads {wanted} from the column `{column}`, which is of the type {}",
                field.data_type()
            );
            return self.fails(problem);
        }
        let folder = match &spec.folder {
            Some(folder) => CellFolder::new(&self.context.folder.join(folder)),
            None => CellFolder::new(self.context.table),
        };
        Ok(AttachmentSource::Column {
            name: column.to_owned(),
            from: spec.from,
            folder,
        })
    }

    fn file(&mut self, path: &Path, class: MediaClass) -> Result<AttachmentSource, Error> {
        let bytes = self.templates.read_bytes(path)?;
        match inspect(&bytes, class) {
            Ok(_) => Ok(AttachmentSource::File {
                path: self.context.folder.join(path),
                bytes: Arc::new(bytes),
            }),
            Err(fault) => self.fails(format!(
                "cannot be built from `{}`: {fault}",
                path.display()
            )),
        }
    }

    /// Compiles a text that may name columns; gives the template's name.
    fn template(&mut self, key: &str, text: Option<&String>) -> Result<Option<String>, Error> {
        let Some(text) = text else { return Ok(None) };
        let name = format!("{key} of {}", self.part);
        self.templates.add_text(&name, text.clone())?;
        self.templates.check(&name, self.schema)?;
        Ok(Some(name))
    }
}
