//! The prompt of a job: what all requests share, then each row's own messages.
//!
//! ```text
//!   system block 1 ┐
//!   system block 2 │ rendered once, without a row: the same bytes in every request,
//!   user: "…"      ┘ and the only place where a cache mark can hit
//!   user: "… {{ text }} …"    rendered for each row
//!   assistant: "{"            (a prefill, where the model takes one)
//! ```
//!
//! A message belongs to the shared part if neither it nor any message before it reads a column.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use minijinja::Value;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::row::Table;
use super::{Columns, Error, RenderError, Templates, cell};

/// The system part of a job: one text, or a list of blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SystemSpec {
    /// One block, written in the job file.
    Text(String),
    /// Blocks in their order.
    Blocks(Vec<BlockSpec>),
}

impl Default for SystemSpec {
    fn default() -> SystemSpec {
        SystemSpec::Blocks(Vec::new())
    }
}

impl<'de> Deserialize<'de> for SystemSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SystemSpec, D::Error> {
        // Written out, because a derived untagged enum forgets what was wrong with a block.
        struct TextOrBlocks;
        impl<'de> Visitor<'de> for TextOrBlocks {
            type Value = SystemSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of blocks")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SystemSpec, E> {
                Ok(SystemSpec::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SystemSpec, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    blocks.push(block);
                }
                Ok(SystemSpec::Blocks(blocks))
            }
        }
        deserializer.deserialize_any(TextOrBlocks)
    }
}

/// One system block: exactly one of `text`, `file` and `template`, all of them templates unless `raw`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A file with the text, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The same as `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Whether the text is taken as it stands, braces and all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Marks the end of a prefix to be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTtl>,
}

/// One message: as [`BlockSpec`], with a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSpec {
    /// Who speaks.
    pub role: Role,
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A file with the text, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The same as `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Whether the text is taken as it stands, braces and all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Marks the end of a prefix to be cached; only on leading messages that read no column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTtl>,
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// How long a cached prefix lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheTtl {
    /// Five minutes from the last use.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour from the last use.
    #[serde(rename = "1h")]
    OneHour,
}

impl CacheTtl {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CacheTtl::FiveMinutes => "5m",
            CacheTtl::OneHour => "1h",
        }
    }
}

/// A block of text that is the same in every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBlock {
    /// `None` for a system block, the role for a leading message.
    pub role: Option<Role>,
    /// The text.
    pub text: String,
    /// The cache mark on it.
    pub cache: Option<CacheTtl>,
}

/// A message that is rendered for each row.
struct RowMessage {
    /// Its place among all messages of the job, from 1.
    number: usize,
    role: Role,
    body: Body,
}

enum Body {
    /// The name of a template.
    Template(String),
    Verbatim(String),
}

/// A prompt, compiled against the columns of the source.
pub(crate) struct Prompt {
    templates: Templates,
    shared: Vec<SharedBlock>,
    messages: Vec<RowMessage>,
    columns: Columns,
    /// The columns' names, sorted, to make a batch's [`Table`]; `None` for all.
    used: Option<Vec<Arc<str>>>,
    ends_with_prefill: bool,
}

impl Prompt {
    /// Compiles all templates, checks them against the columns, and renders what all requests share.
    pub(crate) fn compile(
        system: &SystemSpec,
        messages: &[MessageSpec],
        folder: &Path,
        schema: &Schema,
    ) -> Result<Prompt, Error> {
        check_roles(messages)?;
        let mut templates = Templates::new(folder);
        let mut shared = compile_system(system, &mut templates, schema)?;
        let mut row_messages = Vec::new();
        let mut columns = Columns::none();
        for (i, message) in messages.iter().enumerate() {
            let number = i + 1;
            let part = format!("message {number}");
            let body = body(&part, message, &mut templates)?;
            let read = match &body {
                Body::Template(name) => {
                    templates.check(name, schema)?;
                    templates.columns(name, schema)
                }
                Body::Verbatim(_) => Columns::none(),
            };
            if read.is_empty() && row_messages.is_empty() {
                let text = render_shared(&templates, &part, &body)?;
                let text = if number == messages.len() { end_prefill(message.role, text) } else { text };
                shared.push(SharedBlock { role: Some(message.role), text: not_empty(&part, text)?, cache: message.cache });
                continue;
            }
            if message.cache.is_some() {
                return Err(Error::Part {
                    part,
                    problem: "has a cache mark but is not the same for all rows: every row would pay for writing it and none would read it; \
                              mark a system block, or a leading message that names no column"
                        .to_owned(),
                });
            }
            columns = columns.union(read);
            row_messages.push(RowMessage { number, role: message.role, body });
        }
        check_zones(&columns, schema)?;
        let used = match &columns {
            Columns::All => None,
            Columns::Named(names) => Some(names.iter().map(|name| Arc::from(name.as_str())).collect()),
        };
        let ends_with_prefill = messages.last().is_some_and(|message| message.role == Role::Assistant);
        Ok(Prompt { templates, shared, messages: row_messages, columns, used, ends_with_prefill })
    }

    /// What all requests share, in the order the model reads it.
    pub(crate) fn shared(&self) -> &[SharedBlock] {
        &self.shared
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(crate) fn ends_with_prefill(&self) -> bool {
        self.ends_with_prefill
    }

    pub(crate) fn files(&self) -> &[(PathBuf, String)] {
        self.templates.files()
    }

    /// What the templates need of a batch.
    pub(crate) fn table(&self, batch: &RecordBatch) -> Arc<Table> {
        Table::new(batch, self.used.as_deref())
    }

    /// Renders the messages of a row and hands them on, one by one.
    ///
    /// # Errors
    /// The first message that cannot be rendered, or that is empty, which the API refuses.
    pub(crate) fn render(&self, table: &Arc<Table>, row: usize, mut each: impl FnMut(Role, &str)) -> Result<(), RowFault> {
        let mut values = None;
        for (i, message) in self.messages.iter().enumerate() {
            let rendered;
            let text = match &message.body {
                Body::Verbatim(text) => text.as_str(),
                Body::Template(name) => {
                    let values: &Value = values.get_or_insert_with(|| table.row(row));
                    rendered = self.templates.render(name, values.clone())?;
                    rendered.as_str()
                }
            };
            let is_prefill = i + 1 == self.messages.len() && message.role == Role::Assistant;
            let text = if is_prefill { text.trim_end() } else { text };
            if text.trim().is_empty() {
                return Err(RowFault::Empty { message: message.number });
            }
            each(message.role, text);
        }
        Ok(())
    }
}

/// Why a row has no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// A template fails for it.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A message comes out empty.
    #[error("message {message} is empty for this row, which the API refuses")]
    Empty {
        /// Its place among the job's messages, from 1.
        message: usize,
    },
}

fn check_roles(messages: &[MessageSpec]) -> Result<(), Error> {
    let wrong = |part: &str, problem: &str| Err(Error::Part { part: part.to_owned(), problem: problem.to_owned() });
    match messages.first() {
        None => wrong("`request.messages`", "is empty; a request needs at least one message"),
        Some(first) if first.role != Role::User => wrong("message 1", "must have the role `user`"),
        Some(_) => Ok(()),
    }
}

fn compile_system(system: &SystemSpec, templates: &mut Templates, schema: &Schema) -> Result<Vec<SharedBlock>, Error> {
    let written;
    let blocks = match system {
        SystemSpec::Blocks(blocks) => blocks.as_slice(),
        SystemSpec::Text(text) => {
            written = [BlockSpec { text: Some(text.clone()), ..BlockSpec::default() }];
            &written
        }
    };
    let mut shared = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let part = format!("system block {}", i + 1);
        let body = body(&part, block, templates)?;
        if let Body::Template(name) = &body
            && let Some((template, line, name)) = templates.variables(name, schema)
        {
            return Err(Error::SystemVariable { part, template, line, name });
        }
        let text = render_shared(templates, &part, &body)?;
        shared.push(SharedBlock { role: None, text: not_empty(&part, text)?, cache: block.cache });
    }
    Ok(shared)
}

/// What [`BlockSpec`] and [`MessageSpec`] have in common.
trait TextSpec {
    /// `text`, `file`, `template`, `raw`.
    fn sources(&self) -> (Option<&String>, Option<&PathBuf>, Option<&PathBuf>, bool);
}

impl TextSpec for BlockSpec {
    fn sources(&self) -> (Option<&String>, Option<&PathBuf>, Option<&PathBuf>, bool) {
        (self.text.as_ref(), self.file.as_ref(), self.template.as_ref(), self.raw)
    }
}

impl TextSpec for MessageSpec {
    fn sources(&self) -> (Option<&String>, Option<&PathBuf>, Option<&PathBuf>, bool) {
        (self.text.as_ref(), self.file.as_ref(), self.template.as_ref(), self.raw)
    }
}

fn body(part: &str, spec: &impl TextSpec, templates: &mut Templates) -> Result<Body, Error> {
    match spec.sources() {
        (Some(text), None, None, true) => Ok(Body::Verbatim(text.clone())),
        (Some(text), None, None, false) => {
            let name = format!("text of {part}");
            templates.add_text(&name, text.clone())?;
            Ok(Body::Template(name))
        }
        (None, Some(path), None, true) | (None, None, Some(path), true) => Ok(Body::Verbatim(templates.read(path)?)),
        (None, Some(path), None, false) | (None, None, Some(path), false) => Ok(Body::Template(templates.add_file(path)?)),
        _ => Err(Error::Part { part: part.to_owned(), problem: "needs exactly one of `text`, `file` and `template`".to_owned() }),
    }
}

fn render_shared(templates: &Templates, part: &str, body: &Body) -> Result<String, Error> {
    match body {
        Body::Verbatim(text) => Ok(text.clone()),
        Body::Template(name) => templates
            .render(name, Value::from_pairs(std::iter::empty::<(&str, Value)>()))
            .map_err(|source| Error::Shared { part: part.to_owned(), source }),
    }
}

/// The API refuses white space at the end of the text that the answer goes on from.
fn end_prefill(role: Role, mut text: String) -> String {
    if role == Role::Assistant {
        text.truncate(text.trim_end().len());
    }
    text
}

fn not_empty(part: &str, text: String) -> Result<String, Error> {
    if text.trim().is_empty() {
        return Err(Error::Part { part: part.to_owned(), problem: "is empty, which the API refuses".to_owned() });
    }
    Ok(text)
}

fn check_zones(columns: &Columns, schema: &Schema) -> Result<(), Error> {
    for field in schema.fields() {
        let is_read = match columns {
            Columns::All => true,
            Columns::Named(names) => names.contains(field.name()),
        };
        if let Some(zone) = cell::unknown_zone(field.data_type()).filter(|_| is_read) {
            return Err(Error::UnknownZone { column: field.name().clone(), zone: zone.to_owned() });
        }
    }
    Ok(())
}

/// Checks cache marks, given in the order in which the model reads them: what is marked, and for how long.
///
/// # Errors
/// More marks than the API takes, or a longer life behind a shorter one.
///
/// **Source**: prompt caching documentation, read 2026-08-22: at most 4 marks; every `1h` mark before any `5m` one.
pub(crate) fn check_marks(marks: &[(String, CacheTtl)]) -> Result<(), Error> {
    if let Some((part, _)) = marks.get(4) {
        return Err(Error::Part { part: part.clone(), problem: "has the fifth cache mark; the API takes four".to_owned() });
    }
    let shorter = marks.iter().position(|(_, ttl)| *ttl == CacheTtl::FiveMinutes);
    match shorter.and_then(|at| marks[at..].iter().find(|(_, ttl)| *ttl == CacheTtl::OneHour).map(|late| (&marks[at].0, &late.0)))
    {
        Some((early, late)) => {
            let problem = format!("is cached for 1h behind {early}, which is cached for 5m; the API wants the longer life first");
            Err(Error::Part { part: late.clone(), problem })
        }
        None => Ok(()),
    }
}
