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
//!   assistant: "{"                       (a prefill, where the model supports one)
//! ```
//!
//! A block belongs to the shared part if neither it nor anything before it reads a column; so the
//! shared part may end in the middle of a message.
//!
//! ```text
//! spec.rs       what the job file says        attachment/  pictures and documents, from cell to block
//! entries.rs    which keys an entry may have  uploads.rs   files that are named by an id
//! compile.rs    specs → blocks and messages   turns.rs     examples, conversations
//! system.rs     system blocks                 order.rs     where a `system` message may stand
//! text_body.rs  a text, template or not       marks.rs     how many cache marks there may be
//! render.rs     row → parts of its messages   fault.rs     why a row has no prompt
//! ```
//!
//! To add a kind of block: its spec in [`spec`], a variant of `RowBody` and of `PromptPart`, and
//! its bytes in `request/encode.rs`.

mod attachment;
mod compile;
mod entries;
mod fault;
mod marks;
mod order;
mod render;
pub mod spec;
mod system;
mod text_body;
mod turns;
pub mod uploads;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::row::RenderTable;
use super::{Error, TemplateColumns, Templates, TextCondition};
use crate::media::{MediaFacts, MediaLimits};
use attachment::Attachment;
use order::MessageOrder;
use text_body::TextBody;
use turns::MessageTurn;
use uploads::Uploads;

pub(crate) use attachment::{MediaBlock, MediaSource};
pub use fault::{AttachmentFault, PromptFault};
pub(crate) use marks::check_marks;
pub use order::OrderFault;
pub use spec::{
    BlockSpec, CacheTtl, CellForm, ContentSpec, DocumentSpec, ImageSpec, MessageSpec, Role,
    SystemSpec,
};
pub use turns::TurnFault;

/// Everything outside of the job file that decides how its prompt is compiled.
#[derive(Debug, Clone)]
pub struct PromptContext<'a> {
    /// The job's folder, from which paths in the job start.
    pub folder: &'a Path,
    /// The folder of the table, from which paths in cells start, and which they do not leave.
    pub table: &'a Path,
    /// What the model takes in one request.
    pub limits: PromptLimits,
    /// The ids of uploaded files.
    pub uploads: Arc<Uploads>,
}

impl<'a> PromptContext<'a> {
    /// A job whose table is in its own folder, for a model with the widest limits, without uploaded
    /// files.
    #[must_use]
    pub fn in_folder(folder: &'a Path) -> PromptContext<'a> {
        PromptContext {
            folder,
            table: folder,
            limits: PromptLimits::WIDEST,
            uploads: Arc::default(),
        }
    }
}

/// What one request may hold; it depends on the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLimits {
    /// Most pictures and pages.
    pub media: MediaLimits,
    /// Whether the last message may be the beginning of the answer.
    pub prefill: bool,
    /// Whether messages may have the role `system`.
    pub system_messages: bool,
}

impl PromptLimits {
    /// The widest limits of any model.
    pub const WIDEST: PromptLimits = PromptLimits {
        media: MediaLimits::WIDEST,
        prefill: true,
        system_messages: true,
    };

    /// The limits of a model with a context window of `context_tokens`.
    #[must_use]
    pub fn of_context(context_tokens: u64, prefill: bool, system_messages: bool) -> PromptLimits {
        PromptLimits {
            media: MediaLimits::of_context(context_tokens),
            prefill,
            system_messages,
        }
    }
}

/// A block that is the same in every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBlock {
    /// Its name in messages: `system block 1`, `message 2`, `block 1 of message 2`.
    pub part: String,
    /// `None` for a system block, the role for (a block of) a shared message.
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
            SharedBody::Media(MediaBlock {
                source: MediaSource::Bytes(_, bytes),
                ..
            }) => bytes.len(),
            SharedBody::Media(MediaBlock {
                source: MediaSource::Text(text),
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
    Media(MediaBlock<'static>),
}

/// A part of a row's messages; parts come in the order in which the request is written.
pub(crate) enum PromptPart<'a> {
    /// A whole message of one text.
    Text(Role, &'a str),
    /// A whole message whose content is this JSON list of blocks.
    Blocks(Role, &'a str),
    /// The blocks of a message begin. Where `opened`, the shared part holds the start of the same
    /// message.
    Begin { role: Role, opened: bool },
    /// A block of text.
    TextBlock(&'a str),
    /// A picture or document.
    Media(&'a MediaBlock<'a>),
    /// The blocks of a message end.
    End,
}

/// An entry of the job's messages that is rendered for each row.
struct RowMessage {
    /// Its place among all messages of the job, from 1.
    number: usize,
    kind: RowMessageKind,
}

enum RowMessageKind {
    Text(Role, TextBody),
    /// A turn of a file of examples that follows a message of the row.
    Fixed(MessageTurn<'static>),
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
    Text(TextBody),
    Media(Box<Attachment>),
}

/// A prompt, compiled against the columns of the source.
pub(crate) struct Prompt {
    templates: Templates,
    shared: Vec<SharedBlock>,
    shared_media: MediaFacts,
    messages: Vec<RowMessage>,
    columns: TemplateColumns,
    /// The columns' names, sorted, to make a batch's [`RenderTable`]; `None` for all.
    used: Option<Vec<Arc<str>>>,
    ends_with_prefill: bool,
    has_system_messages: bool,
    cites: bool,
    /// The order that the shared messages leave for the row's own. Only a conversation makes it
    /// depend on the row; without one it was checked when the job was compiled.
    order: Option<MessageOrder>,
    conditions: Vec<TextCondition>,
    uploads: Arc<Uploads>,
}

impl Prompt {
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
        self.messages.first().is_some_and(|message| {
            matches!(message.kind, RowMessageKind::Blocks { opened: true, .. })
        })
    }

    pub(crate) fn columns(&self) -> &TemplateColumns {
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
    pub(crate) fn table(&self, batch: &RecordBatch) -> Arc<RenderTable> {
        RenderTable::new(batch, self.used.as_deref())
    }

    /// Whether rows carry pictures or documents, so that their requests differ much in size.
    pub(crate) fn has_row_media(&self) -> bool {
        self.attachments().any(|attach| attach.column().is_some())
    }

    /// Estimates the bytes that a row's pictures and documents take in its request, from the sizes
    /// of cells and files alone.
    pub(crate) fn media_weight(&self, table: &RenderTable, row: usize) -> u64 {
        self.attachments()
            .map(|attach| attach.weight(table, row))
            .sum()
    }

    fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        let blocks = self
            .messages
            .iter()
            .flat_map(|message| match &message.kind {
                RowMessageKind::Blocks { blocks, .. } => blocks.as_slice(),
                _ => &[],
            });
        blocks.filter_map(|block| match &block.body {
            RowBody::Media(attach) => Some(&**attach),
            RowBody::Text(_) => None,
        })
    }
}

/// A part of the prompt that cannot be used as it is written.
fn part_error<T>(part: &str, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::Part {
        part: part.to_owned(),
        problem: problem.into(),
    })
}
