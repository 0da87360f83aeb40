//! The order of messages: where one of the role `system` may stand.
//!
//! ```text
//!   user  system  assistant      yes: behind a user turn, before an answer
//!   user  system                 yes: at the end
//!   system …                     no: what holds from the start is the system prompt
//!   user  assistant  system      no: it has to follow a user turn
//!   user  system  user           no: it has to precede an answer, or come last
//! ```
//!
//! Several messages of the role `system` in a row count as one. Messages of the same role are
//! merged by the API.
//!
//! **Source**: type `MessageParam` of the provider's Python SDK 2.14.0; the places from the API's
//! own words, as public clients keep them (October 2026: "role 'system' must precede an 'assistant'
//! message or end the array").

use super::Role;

/// What precedes the next message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum MessageOrder {
    /// Nothing.
    #[default]
    Start,
    /// A message of this role.
    Behind(Role),
    /// Something that depends on the row, or the blocks of an assistant, which may end with the
    /// result of a tool.
    Unknown,
}

/// Why a message cannot stand where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// The role `system` comes first.
    #[error(
        "the role `system` cannot come first; what holds from the start goes into `request.system`"
    )]
    First,
    /// The role `system` behind an answer.
    #[error("the role `system` has to follow the role `user`, and follows `assistant`")]
    BehindAssistant,
    /// The role `user` behind `system`.
    #[error(
        "the role `user` follows `system`, which has to come last or before the role `assistant`"
    )]
    UserBehindSystem,
}

impl MessageOrder {
    /// Adds a message; `is_blocks` where its content is a list of blocks that is not looked
    /// into.
    pub(super) fn next(&mut self, role: Role, is_blocks: bool) -> Result<(), OrderFault> {
        let before = *self;
        *self = if role == Role::Assistant && is_blocks {
            MessageOrder::Unknown
        } else {
            MessageOrder::Behind(role)
        };
        match (before, role) {
            (MessageOrder::Start, Role::System) => Err(OrderFault::First),
            (MessageOrder::Behind(Role::Assistant), Role::System) => {
                Err(OrderFault::BehindAssistant)
            }
            (MessageOrder::Behind(Role::System), Role::User) => Err(OrderFault::UserBehindSystem),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_stands_behind_a_user_turn_and_before_an_answer_or_last() {
        use OrderFault::{BehindAssistant, First, UserBehindSystem};
        for (roles, expected) in [
            ("usa", Ok(())),
            ("us", Ok(())),
            ("ussa", Ok(())),
            ("uausau", Ok(())),
            ("uusau", Ok(())),
            ("su", Err(First)),
            ("uas", Err(BehindAssistant)),
            ("usu", Err(UserBehindSystem)),
            ("uasu", Err(BehindAssistant)),
            // Blocks of an answer may end with the result of a server tool.
            ("uBs", Ok(())),
        ] {
            let mut order = MessageOrder::default();
            let found = roles.chars().try_for_each(|role| match role {
                'u' => order.next(Role::User, false),
                'a' => order.next(Role::Assistant, false),
                'B' => order.next(Role::Assistant, true),
                _ => order.next(Role::System, false),
            });
            assert_eq!(found, expected, "{roles}");
        }
    }
}
