//! Which keys the entries of `request.messages` may have together, and how they begin.

use super::{MessageSpec, Role, part_error};
use crate::template::Error;

/// Checks which keys the entries of the messages have, and how they begin.
pub(super) fn check_entries(messages: &[MessageSpec]) -> Result<(), Error> {
    for (i, message) in messages.iter().enumerate() {
        check_keys(&format!("message {}", i + 1), message)?;
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

fn check_keys(part: &str, message: &MessageSpec) -> Result<(), Error> {
    let has_text = message.text.is_some() || message.file.is_some() || message.template.is_some();
    let brings_turns = message.examples.is_some() || message.conversation.is_some();
    let kinds = [
        has_text,
        message.content.is_some(),
        message.examples.is_some(),
        message.conversation.is_some(),
    ];
    match kinds.iter().filter(|has| **has).count() {
        0 => {
            return part_error(
                part,
                "needs one of `text`, `file`, `template`, `content`, `examples` and `conversation`",
            );
        }
        1 => {}
        _ => {
            return part_error(
                part,
                "has more than one of `text`, `content`, `examples` and `conversation`; make \
                 several messages of it",
            );
        }
    }
    match message.role {
        Some(_) if brings_turns => {
            return part_error(part, "has a `role`, but its turns bring their own");
        }
        None if !brings_turns => {
            return part_error(part, "needs a `role`, `user`, `assistant` or `system`");
        }
        _ => {}
    }
    if message.raw && !has_text {
        return part_error(part, "has `raw` without a text of its own");
    }
    if message.cache.is_some() && message.content.is_some() {
        return part_error(
            part,
            "has `cache` beside `content`; put it on the block where the cached part ends",
        );
    }
    Ok(())
}
