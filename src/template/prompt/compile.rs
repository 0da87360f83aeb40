//! The job's specs → what all requests share, and the messages that are rendered for each row.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::attachment::AttachmentCompiler;
use super::entries::check_entries;
use super::order::MessageOrder;
use super::system::compile_system;
use super::text_body::{not_empty, trim_prefill};
use super::turns::{self, MessageTurn, TurnContent};
use super::{
    CacheTtl, ContentSpec, MediaSource, MessageSpec, Prompt, PromptContext, Role, RowBlock,
    RowBody, RowMessage, RowMessageKind, SharedBlock, SharedBody, SystemSpec, TextBody, part_error,
};
use crate::media::MediaFacts;
use crate::template::{Error, TemplateColumns, Templates, TextCondition, cell};

impl Prompt {
    /// Compiles all templates, checks them against the columns, and renders what all requests
    /// share.
    pub(crate) fn compile(
        system: &SystemSpec,
        messages: &[MessageSpec],
        context: &PromptContext<'_>,
        schema: &Schema,
    ) -> Result<Prompt, Error> {
        let mut templates = Templates::new(context.folder);
        // System blocks come first, as in the request: marks and media are counted in the order in
        // which the model reads them.
        let shared = compile_system(system, &mut templates, schema)?;
        check_entries(messages)?;
        let mut compiler = PromptCompiler {
            context,
            schema,
            last: messages.len(),
            templates: &mut templates,
            shared_messages: 0,
            shared,
            messages: Vec::new(),
            columns: TemplateColumns::none(),
            cites: false,
            ends_with_prefill: false,
            has_system_messages: false,
            order: MessageOrder::default(),
        };
        for (i, message) in messages.iter().enumerate() {
            compiler.entry(i + 1, message)?;
        }
        let PromptCompiler {
            shared,
            messages,
            columns,
            cites,
            ends_with_prefill,
            has_system_messages,
            ..
        } = compiler;
        // Only now all columns are known that a template reads; a zone that none reads may be
        // unknown.
        check_zones(&columns, schema)?;
        let has_conversation = messages
            .iter()
            .any(|message| matches!(message.kind, RowMessageKind::Conversation { .. }));
        Ok(Prompt {
            shared_media: check_shared_media(&shared, context)?,
            order: has_conversation.then(|| order_of(&shared)),
            conditions: conditions(&messages, &templates, schema),
            used: names_to_load(&columns),
            uploads: Arc::clone(&context.uploads),
            templates,
            shared,
            messages,
            columns,
            ends_with_prefill,
            has_system_messages,
            cites,
        })
    }
}

/// The columns that rows are loaded with; `None` for all.
fn names_to_load(columns: &TemplateColumns) -> Option<Vec<Arc<str>>> {
    match columns {
        TemplateColumns::All => None,
        TemplateColumns::Named(names) => {
            Some(names.iter().map(|name| Arc::from(name.as_str())).collect())
        }
    }
}

/// Adds up the pictures and documents of the shared part; alone they may be more than a request
/// may hold.
fn check_shared_media(
    shared: &[SharedBlock],
    context: &PromptContext<'_>,
) -> Result<MediaFacts, Error> {
    let mut facts = MediaFacts::default();
    shared.iter().for_each(|block| facts.add(&block.media));
    context
        .limits
        .media
        .check(&facts, &MediaFacts::default())
        .map_err(|fault| Error::Part {
            part: "what all requests share".to_owned(),
            problem: format!("cannot be sent: {fault}"),
        })?;
    Ok(facts)
}

/// Text columns that templates use as conditions, each once.
fn conditions(
    messages: &[RowMessage],
    templates: &Templates,
    schema: &Schema,
) -> Vec<TextCondition> {
    let mut found: Vec<TextCondition> = Vec::new();
    let names = messages
        .iter()
        .flat_map(text_bodies)
        .filter_map(|body| match body {
            TextBody::Template(name) => Some(name),
            TextBody::Verbatim(_) => None,
        });
    for condition in names.flat_map(|name| templates.conditions(name, schema)) {
        if found.iter().all(|known| known.column != condition.column) {
            found.push(condition);
        }
    }
    found
}

fn text_bodies(message: &RowMessage) -> Vec<&TextBody> {
    match &message.kind {
        RowMessageKind::Text(_, body) => vec![body],
        RowMessageKind::Blocks { blocks, .. } => blocks
            .iter()
            .filter_map(|block| match &block.body {
                RowBody::Text(body) => Some(body),
                RowBody::Media(_) => None,
            })
            .collect(),
        RowMessageKind::Fixed(_) | RowMessageKind::Conversation { .. } => Vec::new(),
    }
}

/// The order that the shared messages leave for the row's own.
fn order_of(shared: &[SharedBlock]) -> MessageOrder {
    let mut order = MessageOrder::default();
    for blocks in
        shared.chunk_by(|a, b| a.message == b.message && a.role.is_some() == b.role.is_some())
    {
        if let Some(role) = blocks[0].role {
            // A fault within the shared part was found when its entry was compiled.
            let _ = order.next(role, blocks[0].body == SharedBody::Blocks);
        }
    }
    order
}

const MARK_ON_A_ROW: &str = "has a cache mark but is not the same for all rows: every row would \
                             pay for writing it and none would read it; mark a system block, or a \
                             message at the start that names no column";
const MARK_BEHIND_A_ROW: &str = "has a cache mark behind something that is not the same for all \
                                 rows: what is cached is everything up to the mark, so every row \
                                 would pay for writing it and none would read it; mark a system \
                                 block, or move what all rows share to the front";

/// Refuses a cache mark on a part that no request can read from the cache.
fn check_no_mark(
    part: &str,
    cache: Option<CacheTtl>,
    columns: &TemplateColumns,
) -> Result<(), Error> {
    match cache {
        Some(_) if columns.is_empty() => part_error(part, MARK_BEHIND_A_ROW),
        Some(_) => part_error(part, MARK_ON_A_ROW),
        None => Ok(()),
    }
}

/// A prompt that is being compiled, entry by entry.
struct PromptCompiler<'a, 's> {
    context: &'a PromptContext<'s>,
    schema: &'a Schema,
    /// The number of the last entry.
    last: usize,
    templates: &'a mut Templates,
    /// Shared messages so far.
    shared_messages: usize,
    shared: Vec<SharedBlock>,
    messages: Vec<RowMessage>,
    columns: TemplateColumns,
    cites: bool,
    ends_with_prefill: bool,
    has_system_messages: bool,
    order: MessageOrder,
}

impl PromptCompiler<'_, '_> {
    /// Whether nothing so far depends on the row: the shared part ends for good at the first
    /// message that does, because a cache holds prefixes only.
    fn is_shared(&self) -> bool {
        self.messages.is_empty()
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
        self.check_order(part.as_str(), role, false)?;
        match &message.content {
            Some(blocks) => self.blocks(number, &part, role, blocks),
            None => self.text(number, &part, role, message),
        }
    }

    /// Checks that a message may follow those before it.
    fn check_order(&mut self, part: &str, role: Role, is_blocks: bool) -> Result<(), Error> {
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
        let body = TextBody::compile(part, message, self.templates)?;
        let columns = body.columns(self.templates, self.schema)?;
        if columns.is_empty() && self.is_shared() {
            let mut text = body.render_shared(part, self.templates)?;
            if self.ends_with_prefill {
                text = trim_prefill(text);
            }
            self.share(
                part,
                role,
                not_empty(part, text)?,
                message.cache,
                SharedBody::Whole,
            );
            self.shared_messages += 1;
            return Ok(());
        }
        check_no_mark(part, message.cache, &columns)?;
        self.add_columns(columns);
        self.messages.push(RowMessage {
            number,
            kind: RowMessageKind::Text(role, body),
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
        let is_shared = self.is_shared();
        let (mut opened, mut own): (bool, Vec<RowBlock>) = (false, Vec::new());
        for (i, spec) in specs.iter().enumerate() {
            let part = format!("block {} of {part}", i + 1);
            let (body, columns) = self.block(&part, role, spec)?;
            // An optional block may be left out, so it is the row's even where it reads no column.
            if is_shared && own.is_empty() && columns.is_empty() && !spec.optional {
                self.share_block(&part, role, &body, spec.cache)?;
                opened = true;
                continue;
            }
            check_no_mark(&part, spec.cache, &columns)?;
            self.add_columns(columns);
            own.push(RowBlock {
                part,
                body,
                optional: spec.optional,
            });
        }
        self.shared_messages += usize::from(opened);
        if !own.is_empty() {
            self.messages.push(RowMessage {
                number,
                kind: RowMessageKind::Blocks {
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
    ) -> Result<(RowBody, TemplateColumns), Error> {
        let has_text = spec.text.is_some() || spec.file.is_some() || spec.template.is_some();
        let mut compiler = AttachmentCompiler {
            part: part.to_owned(),
            templates: self.templates,
            schema: self.schema,
            context: self.context,
        };
        let attachment = match (&spec.image, &spec.document) {
            (None, None) => {
                let body = TextBody::compile(part, spec, self.templates)?;
                let columns = body.columns(self.templates, self.schema)?;
                return Ok((RowBody::Text(body), columns));
            }
            (Some(image), None) if !has_text => compiler.image(image, spec.optional)?,
            (None, Some(document)) if !has_text => compiler.document(document, spec.optional)?,
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
        self.cites |= attachment.cites();
        let columns = attachment.columns(self.templates, self.schema);
        Ok((RowBody::Media(Box::new(attachment)), columns))
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
                let text = not_empty(part, body.render_shared(part, self.templates)?)?;
                self.share(part, role, text, cache, SharedBody::Text);
            }
            RowBody::Media(attachment) => {
                let (media, facts) =
                    attachment.render_shared(self.templates, &self.context.uploads)?;
                let text = match &media.source {
                    MediaSource::Text(text) => text.to_string(),
                    _ => String::new(),
                };
                let block = self.share(part, role, text, cache, SharedBody::Media(media));
                block.media = facts;
            }
        }
        Ok(())
    }

    /// Adds a block to the shared part.
    fn share(
        &mut self,
        part: &str,
        role: Role,
        text: String,
        cache: Option<CacheTtl>,
        body: SharedBody,
    ) -> &mut SharedBlock {
        self.shared.push_mut(SharedBlock {
            part: part.to_owned(),
            role: Some(role),
            message: self.shared_messages,
            text,
            cache,
            media: MediaFacts::default(),
            body,
        })
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
            let is_blocks = matches!(turn.content, TurnContent::Blocks(_));
            self.check_order(part, turn.role, is_blocks)?;
        }
        if number == self.last {
            return part_error(
                part,
                "holds examples, and nothing is asked behind them; add a message",
            );
        }
        if self.is_shared() {
            return self.share_examples(part, turns, cache);
        }
        if cache.is_some() {
            return part_error(part, MARK_BEHIND_A_ROW);
        }
        self.messages
            .extend(turns.into_iter().map(|turn| RowMessage {
                number,
                kind: RowMessageKind::Fixed(turn),
            }));
        Ok(())
    }

    /// Adds examples to the shared part; a cache mark goes on the last of them.
    fn share_examples(
        &mut self,
        part: &str,
        turns: Vec<MessageTurn<'static>>,
        cache: Option<CacheTtl>,
    ) -> Result<(), Error> {
        let last = turns.len() - 1;
        for (i, turn) in turns.into_iter().enumerate() {
            let cache = cache.filter(|_| i == last);
            match turn.content {
                TurnContent::Text(text) => {
                    self.share(part, turn.role, text.into_owned(), cache, SharedBody::Whole);
                }
                TurnContent::Blocks(_) if cache.is_some() => {
                    return part_error(
                        part,
                        "has a cache mark, and the last example is a list of blocks; make it a text",
                    );
                }
                TurnContent::Blocks(json) => {
                    let facts = MediaFacts::of_blocks(&json);
                    let json = json.into_owned();
                    let block = self.share(part, turn.role, json, None, SharedBody::Blocks);
                    block.media = facts;
                }
            }
            self.shared_messages += 1;
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
        // It may be empty, and the next message then follows the one before it: the order is
        // checked for each row.
        self.order = MessageOrder::Unknown;
        self.add_columns(TemplateColumns::Named([column.to_owned()].into()));
        self.messages.push(RowMessage {
            number,
            kind: RowMessageKind::Conversation {
                column: column.to_owned(),
            },
        });
        Ok(())
    }

    fn add_columns(&mut self, columns: TemplateColumns) {
        self.columns = std::mem::replace(&mut self.columns, TemplateColumns::none()).union(columns);
    }
}

fn check_zones(columns: &TemplateColumns, schema: &Schema) -> Result<(), Error> {
    for field in schema.fields() {
        let is_read = match columns {
            TemplateColumns::All => true,
            TemplateColumns::Named(names) => names.contains(field.name()),
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
