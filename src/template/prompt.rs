//! The prompt of a job: what all requests share, then each row's own messages.
//!
//! ```text
//!   system block 1 ┐
//!   system block 2 │
//!   examples       │ rendered once, without a row: the same bytes in every request,
//!   user: [document│ and the only place where a cache mark can hit
//!         ─────────┘
//!          picture, "… {{ text }} …"]    rendered for each row
//!   the row's own conversation
//!   assistant: "{"                       (a prefill, where the model takes one)
//! ```
//!
//! A block belongs to the shared part if neither it nor anything before it reads a column; so the
//! shared part may end in the middle of a message.
//!
//! ```text
//! spec.rs    what the job file says           attach.rs   pictures and documents: from cell or file to block
//! turns.rs   examples, conversations          media.rs    what their bytes are, and whether the API takes them
//!                                             uploads.rs  files that are named by an id
//! ```
//!
//! To add a kind of block: its spec in [`spec`], a variant of `Block`, and its bytes in
//! `request/encode.rs`.

mod attach;
pub mod media;
mod order;
pub mod spec;
mod turns;
pub mod uploads;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use minijinja::Value;

use super::row::Table;
use super::{Columns, Error, RenderError, Templates, TextCondition, cell};
use attach::{Attach, Compiling, Rendering};
use media::{MediaFacts, MediaFault, PromptLimits};
use order::Order;
use turns::{Content, Turn};
use uploads::Uploads;

pub(crate) use attach::{Media, Source};
pub use order::OrderFault;
pub use spec::{
    BlockSpec, CacheTtl, CellForm, ContentSpec, DocumentSpec, ImageSpec, MessageSpec, Role,
    SystemSpec,
};
pub use turns::TurnFault;

/// What a prompt is compiled in.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// The job's folder, from which paths in the job start.
    pub folder: &'a Path,
    /// The folder of the table, from which paths in cells start, and which they do not leave.
    pub table: &'a Path,
    /// What the model takes in one request.
    pub limits: PromptLimits,
    /// The ids of uploaded files.
    pub uploads: Arc<Uploads>,
}

impl<'a> Setting<'a> {
    /// A job whose table lies in its own folder, for a model that takes the most, without uploaded
    /// files.
    #[must_use]
    pub fn in_folder(folder: &'a Path) -> Setting<'a> {
        Setting {
            folder,
            table: folder,
            limits: PromptLimits::WIDEST,
            uploads: Arc::default(),
        }
    }
}

/// A block that is the same in every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBlock {
    /// Its name in messages: `system block 1`, `message 2`, `block 1 of message 2`.
    pub part: String,
    /// `None` for a system block, the role for (a block of) a leading message.
    pub role: Option<Role>,
    /// Which message of the request it belongs to, from 0; blocks of one message have the same. Of
    /// no meaning for a system block.
    pub message: usize,
    /// The text, also of a text document; empty for pictures, and for documents that are no text.
    pub text: String,
    /// The cache mark on it.
    pub cache: Option<CacheTtl>,
    /// The picture or document it is, for limits and for counting tokens; empty for a block of
    /// text.
    pub media: MediaFacts,
    pub(crate) body: SharedBody,
}

impl SharedBlock {
    /// Bytes of the picture or document that it carries in each request; 0 for other blocks, and
    /// for one that is only named.
    #[must_use]
    pub fn carried_bytes(&self) -> usize {
        match &self.body {
            SharedBody::Media(Media {
                source: Source::Bytes(_, bytes),
                ..
            }) => bytes.len(),
            SharedBody::Media(Media {
                source: Source::Text(text),
                ..
            }) => text.len(),
            _ => 0,
        }
    }
}

/// How a shared block is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SharedBody {
    /// A system block, or the whole content of a message: a plain text unless it has a cache mark.
    Whole,
    /// A text among the blocks of a message.
    Text,
    /// A list of blocks as JSON, which is the content of a message.
    Blocks,
    Media(Media<'static>),
}

/// A stretch of what a row's messages are made of, in order.
pub(crate) enum Part<'a> {
    /// A whole message of one text.
    Text(Role, &'a str),
    /// A whole message whose content is this JSON list of blocks.
    Blocks(Role, &'a str),
    /// The blocks of a message begin; the message itself has begun in the shared part where
    /// `opened`.
    Begin { role: Role, opened: bool },
    /// A block of text.
    TextBlock(&'a str),
    /// A picture or document.
    Media(&'a Media<'a>),
    /// The blocks of a message end.
    End,
}

/// An entry of the job's messages that is rendered for each row.
struct RowTurn {
    /// Its place among all messages of the job, from 1.
    number: usize,
    kind: TurnKind,
}

enum TurnKind {
    Text(Role, Body),
    /// A turn of a file of examples that does not lead, or of JSON blocks.
    Fixed(Turn<'static>),
    Blocks {
        role: Role,
        blocks: Vec<RowBlock>,
        opened: bool,
    },
    Conversation {
        column: String,
    },
}

struct RowBlock {
    part: String,
    body: RowBody,
    optional: bool,
}

enum RowBody {
    Text(Body),
    Media(Box<Attach>),
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
    shared_media: MediaFacts,
    turns: Vec<RowTurn>,
    columns: Columns,
    /// The columns' names, sorted, to make a batch's [`Table`]; `None` for all.
    used: Option<Vec<Arc<str>>>,
    ends_with_prefill: bool,
    has_system_messages: bool,
    cites: bool,
    /// What stands before the row's own messages, where their order can be at fault: behind a
    /// conversation.
    order: Option<Order>,
    conditions: Vec<TextCondition>,
    uploads: Arc<Uploads>,
}

impl Prompt {
    /// Compiles all templates, checks them against the columns, and renders what all requests
    /// share.
    pub(crate) fn compile(
        system: &SystemSpec,
        messages: &[MessageSpec],
        setting: &Setting<'_>,
        schema: &Schema,
    ) -> Result<Prompt, Error> {
        let mut templates = Templates::new(setting.folder);
        let shared = compile_system(system, &mut templates, schema)?;
        let mut making = Making {
            setting,
            schema,
            last: messages.len(),
            templates: &mut templates,
            messages: 0,
            shared,
            turns: Vec::new(),
            columns: Columns::none(),
            cites: false,
            ends_with_prefill: false,
            has_system_messages: false,
            order: Order::default(),
        };
        check_entries(messages)?;
        for (i, message) in messages.iter().enumerate() {
            making.entry(i + 1, message)?;
        }
        let Making {
            shared,
            turns,
            columns,
            cites,
            ends_with_prefill,
            has_system_messages,
            ..
        } = making;
        check_zones(&columns, schema)?;
        let used = match &columns {
            Columns::All => None,
            Columns::Named(names) => {
                Some(names.iter().map(|name| Arc::from(name.as_str())).collect())
            }
        };
        let mut shared_media = MediaFacts::default();
        shared
            .iter()
            .for_each(|block| shared_media.add(&block.media));
        setting
            .limits
            .check(&shared_media, &MediaFacts::default())
            .map_err(|fault| Error::Part {
                part: "what all requests share".to_owned(),
                problem: format!("cannot be sent: {fault}"),
            })?;
        let has_conversation = turns
            .iter()
            .any(|turn| matches!(turn.kind, TurnKind::Conversation { .. }));
        let order = has_conversation.then(|| order_of(&shared));
        let uploads = Arc::clone(&setting.uploads);
        let conditions = conditions(&turns, &templates, schema);
        Ok(Prompt {
            templates,
            shared,
            shared_media,
            turns,
            columns,
            used,
            ends_with_prefill,
            has_system_messages,
            cites,
            order,
            conditions,
            uploads,
        })
    }

    /// What all requests share, in the order the model reads it.
    pub(crate) fn shared(&self) -> &[SharedBlock] {
        &self.shared
    }

    /// The pictures and documents of the shared part.
    pub(crate) fn shared_media(&self) -> &MediaFacts {
        &self.shared_media
    }

    /// Whether the shared part ends in the middle of a message.
    pub(crate) fn is_open(&self) -> bool {
        self.turns
            .first()
            .is_some_and(|turn| matches!(turn.kind, TurnKind::Blocks { opened: true, .. }))
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(crate) fn ends_with_prefill(&self) -> bool {
        self.ends_with_prefill
    }

    /// Whether a message of the job or its examples has the role `system`; one of a conversation is
    /// a row's own.
    pub(crate) fn has_system_messages(&self) -> bool {
        self.has_system_messages
    }

    /// Text columns that a template uses as a condition, each once.
    pub(crate) fn conditions(&self) -> &[TextCondition] {
        &self.conditions
    }

    /// Whether a document is to be cited.
    pub(crate) fn cites(&self) -> bool {
        self.cites
    }

    pub(crate) fn files(&self) -> &[(PathBuf, String)] {
        self.templates.files()
    }

    /// What the templates need of a batch.
    pub(crate) fn table(&self, batch: &RecordBatch) -> Arc<Table> {
        Table::new(batch, self.used.as_deref())
    }

    /// Whether rows carry pictures or documents, so that their requests differ much in size.
    pub(crate) fn has_row_media(&self) -> bool {
        self.attachments().any(|attach| attach.column().is_some())
    }

    /// About the bytes that a row's pictures and documents take in its request, told without
    /// reading them.
    pub(crate) fn media_weight(&self, table: &Table, row: usize) -> u64 {
        self.attachments()
            .map(|attach| attach.weight(table, row))
            .sum()
    }

    fn attachments(&self) -> impl Iterator<Item = &Attach> {
        let blocks = self.turns.iter().flat_map(|turn| match &turn.kind {
            TurnKind::Blocks { blocks, .. } => blocks.as_slice(),
            _ => &[],
        });
        blocks.filter_map(|block| match &block.body {
            RowBody::Media(attach) => Some(&**attach),
            RowBody::Text(_) => None,
        })
    }

    /// Renders the messages of a row and hands them on, part by part. `facts` takes in what
    /// pictures and documents there are, `limits` are those of the row's model.
    ///
    /// # Errors
    /// The first part that cannot be rendered, that is empty, or that the API would refuse.
    pub(crate) fn render(
        &self,
        table: &Arc<Table>,
        row: usize,
        limits: &PromptLimits,
        facts: &mut MediaFacts,
        mut each: impl FnMut(Part<'_>),
    ) -> Result<(), RowFault> {
        let mut rendering = Rendering {
            templates: &self.templates,
            table: Some(table),
            row,
            values: None,
            uploads: &self.uploads,
        };
        let begins = !self.shared.iter().any(|block| block.role.is_some());
        let mut messages = 0_usize;
        // Without a conversation, all roles are known and were checked once.
        let mut order = self.order;
        for (i, turn) in self.turns.iter().enumerate() {
            let is_last = i + 1 == self.turns.len();
            if let (Some(order), Some((role, is_blocks))) = (&mut order, turn.kind.begins()) {
                order
                    .next(role, is_blocks)
                    .map_err(|fault| RowFault::Order {
                        message: turn.number,
                        fault,
                    })?;
            }
            let empty = || RowFault::Empty {
                message: turn.number,
            };
            messages += match &turn.kind {
                TurnKind::Text(role, body) => {
                    let text = body.text(&mut rendering)?;
                    let is_prefill = is_last && *role == Role::Assistant;
                    let text = if is_prefill { text.trim_end() } else { &text };
                    if text.trim().is_empty() {
                        return Err(empty());
                    }
                    each(Part::Text(*role, text));
                    1
                }
                TurnKind::Fixed(turn) => {
                    if let Content::Blocks(json) = &turn.content {
                        facts.add(&MediaFacts::of_blocks(json));
                    }
                    each(turn.as_part());
                    1
                }
                TurnKind::Blocks {
                    role,
                    blocks,
                    opened,
                } => {
                    let mut count = usize::from(*opened);
                    each(Part::Begin {
                        role: *role,
                        opened: *opened,
                    });
                    for block in blocks {
                        block.render(&mut rendering, facts, &mut |part| {
                            count += 1;
                            each(part);
                        })?;
                    }
                    each(Part::End);
                    if count == 0 {
                        return Err(empty());
                    }
                    1
                }
                TurnKind::Conversation { column } => {
                    let place = Place {
                        is_first: begins && messages == 0,
                        is_last,
                        limits,
                    };
                    let order = order.get_or_insert(Order::Unknown);
                    let said = conversation(table, row, column, &place, order, &mut |part| {
                        if let Part::Blocks(_, json) = &part {
                            facts.add(&MediaFacts::of_blocks(json));
                        }
                        each(part);
                    });
                    said.map_err(|fault| RowFault::Conversation {
                        column: column.clone(),
                        fault,
                    })?
                }
            };
        }
        if begins && messages == 0 {
            return Err(RowFault::Nothing);
        }
        limits
            .check(&self.shared_media, facts)
            .map_err(|fault| RowFault::Request { fault })
    }
}

fn conditions(turns: &[RowTurn], templates: &Templates, schema: &Schema) -> Vec<TextCondition> {
    let mut found: Vec<TextCondition> = Vec::new();
    for turn in turns {
        let bodies: Vec<&Body> = match &turn.kind {
            TurnKind::Text(_, body) => vec![body],
            TurnKind::Blocks { blocks, .. } => blocks
                .iter()
                .filter_map(|block| {
                    if let RowBody::Text(body) = &block.body {
                        Some(body)
                    } else {
                        None
                    }
                })
                .collect(),
            TurnKind::Fixed(_) | TurnKind::Conversation { .. } => Vec::new(),
        };
        for body in bodies {
            let Body::Template(name) = body else { continue };
            for condition in templates.conditions(name, schema) {
                if found.iter().all(|known| known.column != condition.column) {
                    found.push(condition);
                }
            }
        }
    }
    found
}

/// Where a conversation stands among the messages.
struct Place<'a> {
    is_first: bool,
    is_last: bool,
    limits: &'a PromptLimits,
}

/// What the shared messages leave the row's own to follow.
fn order_of(shared: &[SharedBlock]) -> Order {
    let mut order = Order::default();
    for blocks in
        shared.chunk_by(|a, b| a.message == b.message && a.role.is_some() == b.role.is_some())
    {
        if let Some(role) = blocks[0].role {
            // What is wrong within the shared part was found when it was compiled.
            let _ = order.next(role, blocks[0].body == SharedBody::Blocks);
        }
    }
    order
}

impl TurnKind {
    /// The role of the message that begins here, and whether it is blocks that are not looked into;
    /// `None` where another one goes on, and for conversations, which have their own.
    fn begins(&self) -> Option<(Role, bool)> {
        match self {
            TurnKind::Text(role, _)
            | TurnKind::Blocks {
                role,
                opened: false,
                ..
            } => Some((*role, false)),
            TurnKind::Fixed(turn) => Some((turn.role, matches!(turn.content, Content::Blocks(_)))),
            TurnKind::Blocks { opened: true, .. } | TurnKind::Conversation { .. } => None,
        }
    }
}

fn conversation(
    table: &Table,
    row: usize,
    column: &str,
    place: &Place<'_>,
    order: &mut Order,
    each: &mut impl FnMut(Part<'_>),
) -> Result<usize, TurnFault> {
    let Some(array) = table.column(column) else {
        return Ok(0);
    };
    // One turn is held back, because the last one may be the beginning of the answer.
    let mut held: Option<Turn<'static>> = None;
    let mut is_first = place.is_first;
    let mut number = 0;
    let turns = turns::of_cell(array, row, |turn| {
        number += 1;
        if turn.role == Role::System && !place.limits.system_messages {
            return Err(TurnFault::System { turn: number });
        }
        let is_blocks = matches!(turn.content, Content::Blocks(_));
        order
            .next(turn.role, is_blocks)
            .map_err(|fault| TurnFault::Order {
                turn: number,
                fault,
            })?;
        if std::mem::take(&mut is_first) && turn.role == Role::Assistant {
            return Err(TurnFault::First);
        }
        if let Some(before) = held.replace(turn.into_owned()) {
            each(before.as_part());
        }
        Ok(())
    })?;
    let Some(last) = held else { return Ok(turns) };
    match (&last.content, place.is_last && last.role == Role::Assistant) {
        (_, true) if !place.limits.prefill => return Err(TurnFault::Prefill),
        (Content::Text(text), true) => each(Part::Text(last.role, text.trim_end())),
        _ => each(last.as_part()),
    }
    Ok(turns)
}

impl Turn<'_> {
    fn as_part(&self) -> Part<'_> {
        match &self.content {
            Content::Text(text) => Part::Text(self.role, text),
            Content::Blocks(json) => Part::Blocks(self.role, json),
        }
    }
}

impl RowBlock {
    fn render(
        &self,
        rendering: &mut Rendering<'_>,
        facts: &mut MediaFacts,
        each: &mut dyn FnMut(Part<'_>),
    ) -> Result<(), RowFault> {
        match &self.body {
            RowBody::Media(attach) => {
                attach.each(rendering, facts, &mut |media| each(Part::Media(media)))
            }
            RowBody::Text(body) => {
                let text = body.text(rendering)?;
                match (text.trim().is_empty(), self.optional) {
                    (true, true) => {}
                    (true, false) => {
                        return Err(RowFault::EmptyBlock {
                            part: self.part.clone(),
                        });
                    }
                    (false, _) => each(Part::TextBlock(&text)),
                }
                Ok(())
            }
        }
    }
}

impl Body {
    fn text(&self, rendering: &mut Rendering<'_>) -> Result<Cow<'_, str>, RowFault> {
        match self {
            Body::Verbatim(text) => Ok(Cow::Borrowed(text)),
            Body::Template(name) => Ok(Cow::Owned(rendering.text(name)?)),
        }
    }

    /// The columns it reads; templates are checked on the way.
    fn columns(&self, templates: &Templates, schema: &Schema) -> Result<Columns, Error> {
        match self {
            Body::Verbatim(_) => Ok(Columns::none()),
            Body::Template(name) => {
                templates.check(name, schema)?;
                Ok(templates.columns(name, schema))
            }
        }
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
    /// A block of text comes out empty.
    #[error(
        "{part} is empty for this row, which the API refuses; `optional = true` leaves it out for \
         such rows"
    )]
    EmptyBlock {
        /// Which block.
        part: String,
    },
    /// A message cannot stand where it does, behind the row's conversation.
    #[error("message {message} is out of order for this row: {fault}")]
    Order {
        /// Its place among the job's messages, from 1.
        message: usize,
        /// Why.
        fault: OrderFault,
    },
    /// There is no message at all.
    #[error("there is no message for this row")]
    Nothing,
    /// A picture or document cannot be sent.
    #[error("{part} cannot be made for this row: {fault}")]
    Media {
        /// Which block.
        part: String,
        /// What is wrong.
        fault: MediaFault,
    },
    /// All pictures and documents together cannot be sent.
    #[error("{fault}")]
    Request {
        /// What is wrong.
        fault: MediaFault,
    },
    /// A conversation cannot be sent.
    #[error("the conversation in the column `{column}` cannot be sent: {fault}")]
    Conversation {
        /// The column.
        column: String,
        /// What is wrong.
        fault: TurnFault,
    },
}

fn part_error<T>(part: &str, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::Part {
        part: part.to_owned(),
        problem: problem.into(),
    })
}

/// Checks which of its keys an entry of the messages has.
fn check_entries(messages: &[MessageSpec]) -> Result<(), Error> {
    for (i, message) in messages.iter().enumerate() {
        let part = format!("message {}", i + 1);
        let has_text =
            message.text.is_some() || message.file.is_some() || message.template.is_some();
        let whole = message.examples.is_some() || message.conversation.is_some();
        let kinds = [
            has_text,
            message.content.is_some(),
            message.examples.is_some(),
            message.conversation.is_some(),
        ];
        match kinds.iter().filter(|has| **has).count() {
            0 => {
                return part_error(
                    &part,
                    "needs one of `text`, `file`, `template`, `content`, `examples` and \
                     `conversation`",
                );
            }
            1 => {}
            _ => {
                return part_error(
                    &part,
                    "has more than one of `text`, `content`, `examples` and `conversation`; make \
                     several messages of it",
                );
            }
        }
        match message.role {
            Some(_) if whole => {
                return part_error(&part, "has a `role`, but its turns bring their own");
            }
            None if !whole => {
                return part_error(&part, "needs a `role`, `user`, `assistant` or `system`");
            }
            _ => {}
        }
        if message.raw && !has_text {
            return part_error(&part, "has `raw` without a text of its own");
        }
        if message.cache.is_some() && message.content.is_some() {
            return part_error(
                &part,
                "has `cache` beside `content`; put it on the block where the cached part ends",
            );
        }
    }
    match messages.first() {
        None => part_error(
            "`request.messages`",
            "is empty; a request needs at least one message",
        ),
        Some(first) if first.role == Some(Role::Assistant) => {
            part_error("message 1", "must have the role `user`")
        }
        Some(first) if first.role == Some(Role::System) => part_error(
            "message 1",
            "cannot have the role `system`: what holds from the start goes into `request.system`",
        ),
        Some(_) => Ok(()),
    }
}

const MARK_ON_A_ROW: &str = "has a cache mark but is not the same for all rows: every row would \
                             pay for writing it and none would read it; mark a system block, or a \
                             leading message that names no column";
const MARK_BEHIND_A_ROW: &str = "has a cache mark behind something that is not the same for all \
                                 rows: what is cached is everything up to the mark, so every row \
                                 would pay for writing it and none would read it; mark a system \
                                 block, or move what all rows share to the front";

/// A prompt that is being compiled, entry by entry.
struct Making<'a, 's> {
    setting: &'a Setting<'s>,
    schema: &'a Schema,
    /// How many entries there are.
    last: usize,
    templates: &'a mut Templates,
    /// Shared messages so far.
    messages: usize,
    shared: Vec<SharedBlock>,
    turns: Vec<RowTurn>,
    columns: Columns,
    cites: bool,
    ends_with_prefill: bool,
    has_system_messages: bool,
    order: Order,
}

impl Making<'_, '_> {
    /// Whether nothing so far depends on the row.
    fn leads(&self) -> bool {
        self.turns.is_empty()
    }

    fn entry(&mut self, number: usize, message: &MessageSpec) -> Result<(), Error> {
        let part = format!("message {number}");
        if let Some(path) = &message.examples {
            return self.examples(number, &part, path, message.cache);
        }
        if let Some(column) = &message.conversation {
            return self.conversation(number, &part, column, message.cache);
        }
        let role = message.role.unwrap_or(Role::User);
        self.ends_with_prefill = number == self.last && role == Role::Assistant;
        self.pass(part.as_str(), role, false)?;
        match &message.content {
            Some(blocks) => self.blocks(number, &part, role, blocks),
            None => self.text(number, &part, role, message),
        }
    }

    /// Goes past a message, and checks that it may stand there.
    fn pass(&mut self, part: &str, role: Role, is_blocks: bool) -> Result<(), Error> {
        self.has_system_messages |= role == Role::System;
        self.order
            .next(role, is_blocks)
            .or_else(|fault| part_error(part, format!("is out of order: {fault}")))
    }

    fn text(
        &mut self,
        number: usize,
        part: &str,
        role: Role,
        message: &MessageSpec,
    ) -> Result<(), Error> {
        let body = body(part, message, self.templates)?;
        let read = body.columns(self.templates, self.schema)?;
        if read.is_empty() && self.leads() {
            let text = render_shared(self.templates, part, &body)?;
            let text = if self.ends_with_prefill {
                end_prefill(text)
            } else {
                text
            };
            self.share(
                part,
                role,
                not_empty(part, text)?,
                message.cache,
                SharedBody::Whole,
            );
            self.messages += 1;
            return Ok(());
        }
        if message.cache.is_some() {
            return part_error(
                part,
                if read.is_empty() {
                    MARK_BEHIND_A_ROW
                } else {
                    MARK_ON_A_ROW
                },
            );
        }
        self.read(read);
        self.turns.push(RowTurn {
            number,
            kind: TurnKind::Text(role, body),
        });
        Ok(())
    }

    fn blocks(
        &mut self,
        number: usize,
        part: &str,
        role: Role,
        specs: &[ContentSpec],
    ) -> Result<(), Error> {
        if specs.is_empty() {
            return part_error(part, "has no blocks, which the API refuses");
        }
        let leads = self.leads();
        let (mut opened, mut own): (bool, Vec<RowBlock>) = (false, Vec::new());
        for (i, spec) in specs.iter().enumerate() {
            let part = format!("block {} of {part}", i + 1);
            let (body, read) = self.block(&part, role, spec)?;
            if leads && own.is_empty() && read.is_empty() && !spec.optional {
                self.share_block(&part, role, &body, spec.cache)?;
                opened = true;
                continue;
            }
            if spec.cache.is_some() {
                return part_error(
                    &part,
                    if read.is_empty() {
                        MARK_BEHIND_A_ROW
                    } else {
                        MARK_ON_A_ROW
                    },
                );
            }
            self.read(read);
            own.push(RowBlock {
                part,
                body,
                optional: spec.optional,
            });
        }
        self.messages += usize::from(opened);
        if !own.is_empty() {
            self.turns.push(RowTurn {
                number,
                kind: TurnKind::Blocks {
                    role,
                    blocks: own,
                    opened,
                },
            });
        }
        Ok(())
    }

    /// Compiles a block; gives the columns it reads.
    fn block(
        &mut self,
        part: &str,
        role: Role,
        spec: &ContentSpec,
    ) -> Result<(RowBody, Columns), Error> {
        let has_text = spec.text.is_some() || spec.file.is_some() || spec.template.is_some();
        let mut compiling = Compiling {
            part: part.to_owned(),
            templates: self.templates,
            schema: self.schema,
            setting: self.setting,
        };
        let attach = match (&spec.image, &spec.document) {
            (None, None) => {
                let body = body(part, spec, self.templates)?;
                let read = body.columns(self.templates, self.schema)?;
                return Ok((RowBody::Text(body), read));
            }
            (Some(image), None) if !has_text => compiling.image(image, spec.optional)?,
            (None, Some(document)) if !has_text => compiling.document(document, spec.optional)?,
            _ => {
                return part_error(
                    part,
                    "needs exactly one of `text`, `file`, `template`, `image` and `document`",
                );
            }
        };
        if role != Role::User {
            let problem = format!(
                "is a picture or document in a message of the role `{}`, which the API refuses",
                role.as_str()
            );
            return part_error(part, problem);
        }
        if spec.raw {
            return part_error(part, "has `raw` without a text of its own");
        }
        self.cites |= attach.cites();
        let read = attach.columns(self.templates, self.schema);
        Ok((RowBody::Media(Box::new(attach)), read))
    }

    fn share_block(
        &mut self,
        part: &str,
        role: Role,
        body: &RowBody,
        cache: Option<CacheTtl>,
    ) -> Result<(), Error> {
        match body {
            RowBody::Text(body) => {
                let text = not_empty(part, render_shared(self.templates, part, body)?)?;
                self.share(part, role, text, cache, SharedBody::Text);
            }
            RowBody::Media(attach) => {
                let (media, facts) = attach.render_shared(self.templates, &self.setting.uploads)?;
                let text = if let Source::Text(text) = &media.source {
                    text.to_string()
                } else {
                    String::new()
                };
                self.share(part, role, text, cache, SharedBody::Media(media));
                if let Some(block) = self.shared.last_mut() {
                    block.media = facts;
                }
            }
        }
        Ok(())
    }

    fn share(
        &mut self,
        part: &str,
        role: Role,
        text: String,
        cache: Option<CacheTtl>,
        body: SharedBody,
    ) {
        let (part, role, media) = (part.to_owned(), Some(role), MediaFacts::default());
        self.shared.push(SharedBlock {
            part,
            role,
            message: self.messages,
            text,
            cache,
            media,
            body,
        });
    }

    fn examples(
        &mut self,
        number: usize,
        part: &str,
        path: &Path,
        cache: Option<CacheTtl>,
    ) -> Result<(), Error> {
        let turns = turns::examples(part, path, self.templates)?;
        if number == 1 && turns[0].role != Role::User {
            return part_error(
                part,
                format!(
                    "must begin with the role `user`, and `{}` does not",
                    path.display()
                ),
            );
        }
        for turn in &turns {
            self.pass(part, turn.role, matches!(turn.content, Content::Blocks(_)))?;
        }
        if number == self.last {
            return part_error(
                part,
                "holds examples, and nothing is asked behind them; add a message",
            );
        }
        if !self.leads() {
            if cache.is_some() {
                return part_error(part, MARK_BEHIND_A_ROW);
            }
            self.turns.extend(turns.into_iter().map(|turn| RowTurn {
                number,
                kind: TurnKind::Fixed(turn),
            }));
            return Ok(());
        }
        let last = turns.len() - 1;
        for (i, turn) in turns.into_iter().enumerate() {
            let cache = cache.filter(|_| i == last);
            match turn.content {
                Content::Text(text) => {
                    self.share(part, turn.role, text.into_owned(), cache, SharedBody::Whole)
                }
                Content::Blocks(_) if cache.is_some() => {
                    return part_error(
                        part,
                        "has a cache mark, and the last example is a list of blocks; make it a text",
                    );
                }
                Content::Blocks(json) => {
                    let media = MediaFacts::of_blocks(&json);
                    self.share(part, turn.role, json.into_owned(), None, SharedBody::Blocks);
                    if let Some(block) = self.shared.last_mut() {
                        block.media = media;
                    }
                }
            }
            self.messages += 1;
        }
        Ok(())
    }

    fn conversation(
        &mut self,
        number: usize,
        part: &str,
        column: &str,
        cache: Option<CacheTtl>,
    ) -> Result<(), Error> {
        turns::check_column(part, column, self.schema)?;
        if cache.is_some() {
            return part_error(part, MARK_ON_A_ROW);
        }
        // It may be empty, and what stands behind it then follows what stands before it: each row
        // is checked.
        self.order = Order::Unknown;
        self.read(Columns::Named([column.to_owned()].into()));
        self.turns.push(RowTurn {
            number,
            kind: TurnKind::Conversation {
                column: column.to_owned(),
            },
        });
        Ok(())
    }

    fn read(&mut self, read: Columns) {
        self.columns = std::mem::replace(&mut self.columns, Columns::none()).union(read);
    }
}

fn compile_system(
    system: &SystemSpec,
    templates: &mut Templates,
    schema: &Schema,
) -> Result<Vec<SharedBlock>, Error> {
    let written;
    let blocks = match system {
        SystemSpec::Blocks(blocks) => blocks.as_slice(),
        SystemSpec::Text(text) => {
            written = [BlockSpec {
                text: Some(text.clone()),
                ..BlockSpec::default()
            }];
            &written
        }
    };
    let mut shared = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let part = format!("system block {}", i + 1);
        if block.image.is_some() || block.document.is_some() {
            let problem = "is a picture or document, and the API takes only text there; make it \
                           the first block of the first message, which is shared and cached just \
                           the same";
            return part_error(&part, problem);
        }
        let body = body(&part, block, templates)?;
        if let Body::Template(name) = &body
            && let Some((template, line, name)) = templates.variables(name, schema)
        {
            return Err(Error::SystemVariable {
                part,
                template,
                line,
                name,
            });
        }
        let text = not_empty(&part, render_shared(templates, &part, &body)?)?;
        let (cache, media) = (block.cache, MediaFacts::default());
        shared.push(SharedBlock {
            part,
            role: None,
            message: 0,
            text,
            cache,
            media,
            body: SharedBody::Whole,
        });
    }
    Ok(shared)
}

/// What [`BlockSpec`], [`MessageSpec`] and [`ContentSpec`] have in common.
trait TextSpec {
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

fn body(part: &str, spec: &impl TextSpec, templates: &mut Templates) -> Result<Body, Error> {
    match spec.sources() {
        (Some(text), None, None, true) => Ok(Body::Verbatim(text.clone())),
        (Some(text), None, None, false) => {
            let name = format!("text of {part}");
            templates.add_text(&name, text.clone())?;
            Ok(Body::Template(name))
        }
        (None, Some(path), None, true) | (None, None, Some(path), true) => {
            Ok(Body::Verbatim(templates.read(path)?))
        }
        (None, Some(path), None, false) | (None, None, Some(path), false) => {
            Ok(Body::Template(templates.add_file(path)?))
        }
        _ => part_error(part, "needs exactly one of `text`, `file` and `template`"),
    }
}

fn render_shared(templates: &Templates, part: &str, body: &Body) -> Result<String, Error> {
    match body {
        Body::Verbatim(text) => Ok(text.clone()),
        Body::Template(name) => templates
            .render(name, Value::from_pairs(std::iter::empty::<(&str, Value)>()))
            .map_err(|source| Error::Shared {
                part: part.to_owned(),
                source,
            }),
    }
}

/// The API refuses white space at the end of the text that the answer goes on from.
fn end_prefill(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    text
}

fn not_empty(part: &str, text: String) -> Result<String, Error> {
    if text.trim().is_empty() {
        return part_error(part, "is empty, which the API refuses");
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
            return Err(Error::UnknownZone {
                column: field.name().clone(),
                zone: zone.to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks cache marks, given in the order in which the model reads them: what is marked, and for
/// how long.
///
/// # Errors
/// More marks than the API takes, or a longer life behind a shorter one.
///
/// **Source**: prompt caching documentation, read 2026-08-22: at most 4 marks; every `1h` mark
/// before any `5m` one.
pub(crate) fn check_marks(marks: &[(String, CacheTtl)]) -> Result<(), Error> {
    if let Some((part, _)) = marks.get(4) {
        return Err(Error::Part {
            part: part.clone(),
            problem: "has the fifth cache mark; the API takes four".to_owned(),
        });
    }
    let shorter = marks
        .iter()
        .position(|(_, ttl)| *ttl == CacheTtl::FiveMinutes);
    match shorter.and_then(|at| {
        marks[at..]
            .iter()
            .find(|(_, ttl)| *ttl == CacheTtl::OneHour)
            .map(|late| (&marks[at].0, &late.0))
    }) {
        Some((early, late)) => {
            let problem = format!(
                "is cached for 1h behind {early}, which is cached for 5m; the API wants the longer \
                 life first"
            );
            Err(Error::Part {
                part: late.clone(),
                problem,
            })
        }
        None => Ok(()),
    }
}
