//! Row → the parts of its messages.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use minijinja::Value;

use super::order::MessageOrder;
use super::turns::{self, MessageTurn, TurnContent};
use super::uploads::Uploads;
use super::{
    Prompt, PromptFault, PromptLimits, PromptPart, Role, RowBlock, RowBody, RowMessage,
    RowMessageKind, TextBody, TurnFault,
};
use crate::media::MediaFacts;
use crate::template::Templates;
use crate::template::row::RenderTable;

impl Prompt {
    /// Renders the messages of a row and passes them to `emit`, part by part. `facts` adds up its
    /// pictures and documents, `limits` are those of the row's model.
    ///
    /// # Errors
    /// The first part that cannot be rendered, that is empty, or that the API would refuse.
    pub(crate) fn render(
        &self,
        table: &Arc<RenderTable>,
        row: usize,
        limits: &PromptLimits,
        facts: &mut MediaFacts,
        mut emit: impl FnMut(PromptPart<'_>),
    ) -> Result<(), PromptFault> {
        let starts_request = !self.shared.iter().any(|block| block.role.is_some());
        let mut renderer = RowRenderer {
            row: RowContext {
                templates: &self.templates,
                table: Some(table),
                row,
                values: None,
                uploads: &self.uploads,
            },
            limits,
            starts_request,
            count: 0,
            order: self.order,
            facts,
            emit: &mut emit,
        };
        for (i, message) in self.messages.iter().enumerate() {
            renderer.message(message, i + 1 == self.messages.len())?;
        }
        if starts_request && renderer.count == 0 {
            return Err(PromptFault::Nothing);
        }
        // Last, because only now all of the row's media are known; the shared part counts too.
        limits
            .media
            .check(&self.shared_media, facts)
            .map_err(|fault| PromptFault::Request { fault })
    }
}

/// What rendering needs of a row.
pub(super) struct RowContext<'a> {
    pub(super) templates: &'a Templates,
    /// `None` for what all rows share.
    pub(super) table: Option<&'a Arc<RenderTable>>,
    pub(super) row: usize,
    /// The row as variables, made for the first template that is rendered: many prompts have
    /// several templates, and some rows need none.
    pub(super) values: Option<Value>,
    pub(super) uploads: &'a Uploads,
}

impl<'a> RowContext<'a> {
    /// What all rows share: templates without columns.
    pub(super) fn shared(templates: &'a Templates, uploads: &'a Uploads) -> RowContext<'a> {
        RowContext {
            templates,
            table: None,
            row: 0,
            values: None,
            uploads,
        }
    }

    /// Renders a template for the row.
    pub(super) fn text(&mut self, name: &str) -> Result<String, PromptFault> {
        let values = self.values.get_or_insert_with(|| match self.table {
            Some(table) => table.row(self.row),
            None => Value::from_pairs(std::iter::empty::<(&str, Value)>()),
        });
        let values = values.clone();
        let column = |name: &str| self.cells(name).map(|cells| cells.data_type().clone());
        Ok(self
            .templates
            .render(name, values)
            .map_err(|error| error.with_fields(column))?)
    }

    /// The cells of a column; the row's own is at [`RowContext::row`].
    pub(super) fn cells(&self, column: &str) -> Option<&'a ArrayRef> {
        self.table.and_then(|table| table.column(column))
    }
}

/// Renders the messages of one row, in their order.
struct RowRenderer<'p, 'e> {
    row: RowContext<'p>,
    limits: &'p PromptLimits,
    /// Whether the shared part holds no message, so that the row's first one begins the request.
    starts_request: bool,
    /// Messages so far.
    count: usize,
    order: Option<MessageOrder>,
    facts: &'e mut MediaFacts,
    emit: &'e mut dyn FnMut(PromptPart<'_>),
}

impl RowRenderer<'_, '_> {
    fn message(&mut self, message: &RowMessage, is_last: bool) -> Result<(), PromptFault> {
        let number = message.number;
        // Without a conversation all roles are known, and their order was checked once.
        if let (Some(order), Some((role, is_blocks))) = (&mut self.order, message.kind.begins()) {
            order
                .next(role, is_blocks)
                .map_err(|fault| PromptFault::Order {
                    message: number,
                    fault,
                })?;
        }
        self.count += match &message.kind {
            RowMessageKind::Text(role, body) => self.text(number, *role, body, is_last)?,
            RowMessageKind::Fixed(turn) => self.turn(turn),
            RowMessageKind::Blocks {
                role,
                blocks,
                opened,
            } => self.blocks(number, *role, blocks, *opened)?,
            RowMessageKind::Conversation { column } => {
                self.conversation(column, is_last)
                    .map_err(|fault| PromptFault::Conversation {
                        column: column.clone(),
                        fault,
                    })?
            }
        };
        Ok(())
    }

    fn text(
        &mut self,
        number: usize,
        role: Role,
        body: &TextBody,
        is_last: bool,
    ) -> Result<usize, PromptFault> {
        let text = body.text(&mut self.row)?;
        // The API refuses white space at the end of a prefill.
        let is_prefill = is_last && role == Role::Assistant;
        let text = if is_prefill { text.trim_end() } else { &text };
        if text.trim().is_empty() {
            return Err(PromptFault::Empty { message: number });
        }
        (self.emit)(PromptPart::Text(role, text));
        Ok(1)
    }

    /// Passes on a turn as it is, and counts the media in its blocks.
    fn turn(&mut self, turn: &MessageTurn<'_>) -> usize {
        if let TurnContent::Blocks(json) = &turn.content {
            self.facts.add(&MediaFacts::of_blocks(json));
        }
        (self.emit)(turn.as_part());
        1
    }

    fn blocks(
        &mut self,
        number: usize,
        role: Role,
        blocks: &[RowBlock],
        opened: bool,
    ) -> Result<usize, PromptFault> {
        let mut count = usize::from(opened);
        (self.emit)(PromptPart::Begin { role, opened });
        let emit = &mut *self.emit;
        for block in blocks {
            block.render(&mut self.row, self.facts, &mut |part| {
                count += 1;
                emit(part);
            })?;
        }
        emit(PromptPart::End);
        // Every block may be optional.
        if count == 0 {
            return Err(PromptFault::Empty { message: number });
        }
        Ok(1)
    }

    /// The turns of the row's own conversation; gives how many there are.
    fn conversation(&mut self, column: &str, is_last: bool) -> Result<usize, TurnFault> {
        let Some(array) = self.row.cells(column) else {
            return Ok(0);
        };
        let mut begins_request = self.starts_request && self.count == 0;
        // One turn is held back, because the last one may be a prefill.
        let mut held: Option<MessageTurn<'static>> = None;
        let mut number = 0;
        let count = turns::of_cell(array, self.row.row, |turn| {
            number += 1;
            self.check_turn(number, &turn, std::mem::take(&mut begins_request))?;
            if let Some(before) = held.replace(turn.into_owned()) {
                self.turn(&before);
            }
            Ok(())
        })?;
        let Some(last) = held else { return Ok(count) };
        match (&last.content, is_last && last.role == Role::Assistant) {
            (_, true) if !self.limits.prefill => return Err(TurnFault::Prefill),
            (TurnContent::Text(text), true) => {
                (self.emit)(PromptPart::Text(last.role, text.trim_end()));
            }
            _ => {
                self.turn(&last);
            }
        }
        Ok(count)
    }

    fn check_turn(
        &mut self,
        number: usize,
        turn: &MessageTurn<'_>,
        begins_request: bool,
    ) -> Result<(), TurnFault> {
        if turn.role == Role::System && !self.limits.system_messages {
            return Err(TurnFault::System { turn: number });
        }
        let is_blocks = matches!(turn.content, TurnContent::Blocks(_));
        self.order
            .get_or_insert(MessageOrder::Unknown)
            .next(turn.role, is_blocks)
            .map_err(|fault| TurnFault::Order {
                turn: number,
                fault,
            })?;
        if begins_request && turn.role == Role::Assistant {
            return Err(TurnFault::First);
        }
        Ok(())
    }
}

impl RowMessageKind {
    /// The role of the message that begins here, and whether its content is a list of blocks that
    /// is not read; `None` where an earlier message continues, and for conversations, whose turns
    /// have roles of their own.
    fn begins(&self) -> Option<(Role, bool)> {
        match self {
            RowMessageKind::Text(role, _)
            | RowMessageKind::Blocks {
                role,
                opened: false,
                ..
            } => Some((*role, false)),
            RowMessageKind::Fixed(turn) => {
                Some((turn.role, matches!(turn.content, TurnContent::Blocks(_))))
            }
            RowMessageKind::Blocks { opened: true, .. } | RowMessageKind::Conversation { .. } => {
                None
            }
        }
    }
}

impl MessageTurn<'_> {
    fn as_part(&self) -> PromptPart<'_> {
        match &self.content {
            TurnContent::Text(text) => PromptPart::Text(self.role, text),
            TurnContent::Blocks(json) => PromptPart::Blocks(self.role, json),
        }
    }
}

impl RowBlock {
    fn render(
        &self,
        row: &mut RowContext<'_>,
        facts: &mut MediaFacts,
        emit: &mut dyn FnMut(PromptPart<'_>),
    ) -> Result<(), PromptFault> {
        match &self.body {
            RowBody::Media(attachment) => {
                attachment.each(row, facts, &mut |media| emit(PromptPart::Media(media)))
            }
            RowBody::Text(body) => {
                let text = body.text(row)?;
                match (text.trim().is_empty(), self.optional) {
                    (true, true) => {}
                    (true, false) => {
                        return Err(PromptFault::EmptyBlock {
                            part: self.part.clone(),
                        });
                    }
                    (false, _) => emit(PromptPart::TextBlock(&text)),
                }
                Ok(())
            }
        }
    }
}
