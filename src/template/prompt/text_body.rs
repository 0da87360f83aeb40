//! The text of a block or message: a template, or words that are sent as they are written.

use std::borrow::Cow;
use std::path::PathBuf;

use arrow::datatypes::Schema;
use minijinja::Value;

use super::render::RowContext;
use super::{BlockSpec, ContentSpec, MessageSpec, PromptFault, part_error};
use crate::template::{Error, TemplateColumns, Templates};

/// A text of the job.
pub(super) enum TextBody {
    /// The name of a template.
    Template(String),
    Verbatim(String),
}

/// What [`BlockSpec`], [`MessageSpec`] and [`ContentSpec`] have in common.
pub(super) trait TextSpec {
    /// `text`, `file`, `template`, `raw`.
    fn sources(&self) -> (Option<&String>, Option<&PathBuf>, Option<&PathBuf>, bool);
}

macro_rules! text_spec {
    ($($spec:ident),*) => { $(impl TextSpec for $spec {
        fn sources(&self) -> (Option<&String>, Option<&PathBuf>, Option<&PathBuf>, bool) {
            (self.text.as_ref(), self.file.as_ref(), self.template.as_ref(), self.raw)
        }
    })* };
}

text_spec!(BlockSpec, MessageSpec, ContentSpec);

impl TextBody {
    /// Compiles the text of a spec, and everything it loads.
    pub(super) fn compile(
        part: &str,
        spec: &impl TextSpec,
        templates: &mut Templates,
    ) -> Result<TextBody, Error> {
        match spec.sources() {
            (Some(text), None, None, true) => Ok(TextBody::Verbatim(text.clone())),
            (Some(text), None, None, false) => {
                let name = format!("text of {part}");
                templates.add_text(&name, text.clone())?;
                Ok(TextBody::Template(name))
            }
            (None, Some(path), None, true) | (None, None, Some(path), true) => {
                Ok(TextBody::Verbatim(templates.read(path)?))
            }
            (None, Some(path), None, false) | (None, None, Some(path), false) => {
                Ok(TextBody::Template(templates.add_file(path)?))
            }
            _ => part_error(part, "needs exactly one of `text`, `file` and `template`"),
        }
    }

    /// The columns it reads; its templates are checked against the schema.
    pub(super) fn columns(
        &self,
        templates: &Templates,
        schema: &Schema,
    ) -> Result<TemplateColumns, Error> {
        match self {
            TextBody::Verbatim(_) => Ok(TemplateColumns::none()),
            TextBody::Template(name) => {
                templates.check(name, schema)?;
                Ok(templates.columns(name, schema))
            }
        }
    }

    /// Renders it for a row.
    pub(super) fn text(&self, row: &mut RowContext<'_>) -> Result<Cow<'_, str>, PromptFault> {
        match self {
            TextBody::Verbatim(text) => Ok(Cow::Borrowed(text)),
            TextBody::Template(name) => Ok(Cow::Owned(row.text(name)?)),
        }
    }

    /// Renders it without a row.
    pub(super) fn render_shared(&self, part: &str, templates: &Templates) -> Result<String, Error> {
        match self {
            TextBody::Verbatim(text) => Ok(text.clone()),
            TextBody::Template(name) => templates
                .render(name, Value::from_pairs(std::iter::empty::<(&str, Value)>()))
                .map_err(|source| Error::Shared {
                    part: part.to_owned(),
                    source,
                }),
        }
    }
}

/// The API refuses white space at the end of a prefill.
pub(super) fn trim_prefill(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    text
}

/// The API refuses empty texts.
pub(super) fn not_empty(part: &str, text: String) -> Result<String, Error> {
    if text.trim().is_empty() {
        return part_error(part, "is empty, which the API refuses");
    }
    Ok(text)
}
