//! Why one row could not be rendered.

use std::borrow::Cow;

use arrow::datatypes::DataType;
use minijinja::ErrorKind;

use super::{FUEL, listed};

/// Why one row could not be rendered. Holds names and places of the template, never the row's
/// contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}`{}: {message}", .line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub struct RenderError {
    /// The template.
    pub template: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The kind of error, such as `undefined value`.
    pub kind: String,
    /// What went wrong.
    pub message: String,
}

impl RenderError {
    pub(super) fn new(root: &str, error: &minijinja::Error) -> RenderError {
        // An error inside an included template is the source of the error at its `include`.
        let mut error = error;
        while let Some(inner) = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<minijinja::Error>())
        {
            error = inner;
        }
        let kind = error.kind().to_string();
        let detail = error.detail().map(about_nulls);
        let message = match (error.kind(), detail.as_deref()) {
            (ErrorKind::OutOfFuel, _) => {
                format!("the row needs more than {FUEL} steps; is there a loop without an end?")
            }
            // The engine's own message holds the name, which is the cell's contents here.
            (ErrorKind::TemplateNotFound, _) => {
                "the row chooses a template that does not exist in the job's folder".to_owned()
            }
            (ErrorKind::InvalidOperation, Some(detail))
                if detail.starts_with("unable to calculate") =>
            {
                "a calculation overflows".to_owned()
            }
            (ErrorKind::UndefinedError | ErrorKind::InvalidOperation, Some(detail)) => {
                detail.to_owned()
            }
            (_, Some(detail)) => format!("{kind}: {detail}"),
            (_, None) => kind.clone(),
        };
        RenderError {
            template: error.name().unwrap_or(root).to_owned(),
            line: error.line(),
            kind,
            message,
        }
    }
}

/// The engine's message where a value is null, in terms of this crate: a null cell is an iterator
/// to the engine, which cannot calculate with it.
fn about_nulls(detail: &str) -> Cow<'_, str> {
    if !detail.starts_with("tried to use") || !detail.contains("iterator") {
        return Cow::Borrowed(detail);
    }
    let words = detail.replace("iterator", "null");
    Cow::Owned(format!(
        "{words}; replace a null with `|default(0)`, or ask with `{{% if … is not none %}}`"
    ))
}

impl RenderError {
    /// Adds the fields of the column, where the error is a field that it does not have.
    pub(super) fn with_fields(mut self, column: impl Fn(&str) -> Option<DataType>) -> RenderError {
        let Some(path) = self
            .message
            .strip_suffix("` is undefined")
            .and_then(|text| text.strip_prefix('`'))
        else {
            return self;
        };
        let mut names = path.split('.').filter(|name| *name != "row");
        let Some((first, mut data_type)) =
            names.next().and_then(|name| Some((name, column(name)?)))
        else {
            return self;
        };
        let mut known = first.to_owned();
        for name in names {
            let DataType::Struct(fields) = &data_type else {
                return self;
            };
            match fields.find(name) {
                Some((_, field)) => data_type = field.data_type().clone(),
                None => {
                    let fields: Vec<String> =
                        fields.iter().map(|field| field.name().clone()).collect();
                    self.message = format!("{}; `{known}` has {}", self.message, listed(&fields));
                    return self;
                }
            }
            known = format!("{known}.{name}");
        }
        self
    }
}
