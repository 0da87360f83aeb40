//! Turns that are not written in the job file: examples from a file, and conversations from a
//! column.
//!
//! ```text
//!  examples.jsonl   {"user": "Where is my parcel?", "assistant": "delivery"}     two turns
//!                   {"role": "user", "content": "…"}                             one turn
//!  a column         [{"role": "user", "content": "…"}, {"role": "assistant", …}] a list of structs,
//!                                                                               or this as JSON text
//! ```
//!
//! The `content` of a turn is a text, or, where it is JSON, a list of blocks as the API takes them,
//! which pass through as they are.

use std::borrow::Cow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Schema};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::cell::{CellValue, cell, resolve};
use super::super::{Error, Templates};
use super::attachment::items;
use super::{OrderFault, Role};

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageTurn<'a> {
    pub(super) role: Role,
    pub(super) content: TurnContent<'a>,
}

/// What is said in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TurnContent<'a> {
    Text(Cow<'a, str>),
    /// A JSON list of blocks.
    Blocks(Cow<'a, str>),
}

/// Why a conversation cannot be sent. Turns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnFault {
    /// A role the API does not know.
    #[error("turn {turn} has the role `{role}`; the roles are `user`, `assistant` and `system`")]
    Role {
        /// Which turn.
        turn: usize,
        /// Its role as written.
        role: String,
    },
    /// A role or content that is missing.
    #[error("turn {turn} has no `{what}`")]
    Missing {
        /// Which turn.
        turn: usize,
        /// What it lacks.
        what: &'static str,
    },
    /// Nothing is said.
    #[error("turn {turn} is empty, which the API refuses")]
    Empty {
        /// Which turn.
        turn: usize,
    },
    /// Not a conversation.
    #[error("the cell is not a JSON list of turns such as \
        `[{{\"role\": \"user\", \"content\": \"…\"}}]`{}", .line.map(|line| format!(" (line {line} \
            of it)")).unwrap_or_default())]
    Json {
        /// Where reading failed, by the cell's own lines.
        line: Option<usize>,
    },
    /// Blocks that cannot pass.
    #[error("turn {turn} {problem}")]
    Blocks {
        /// Which turn.
        turn: usize,
        /// What is wrong with them.
        problem: &'static str,
    },
    /// The model would have to begin.
    #[error("the conversation begins with the role `assistant`, and the API requires `user` first")]
    First,
    /// The answer would have begun already.
    #[error(
        "the conversation ends with the role `assistant`, and the model does not continue the \
         beginning of an answer"
    )]
    Prefill,
    /// The model does not support such a message.
    #[error("turn {turn} has the role `system`, which the model does not take among messages")]
    System {
        /// Which turn.
        turn: usize,
    },
    /// A turn cannot stand where it does.
    #[error("turn {turn} is out of order: {fault}")]
    Order {
        /// Which turn.
        turn: usize,
        /// Why.
        fault: OrderFault,
    },
}

impl MessageTurn<'_> {
    /// The same, kept.
    pub(super) fn into_owned(self) -> MessageTurn<'static> {
        MessageTurn {
            role: self.role,
            content: owned(self.content),
        }
    }
}

/// A turn as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonTurn<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// A line of a file of examples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonExample<'a> {
    #[serde(borrow, default)]
    user: Option<&'a RawValue>,
    #[serde(borrow, default)]
    assistant: Option<&'a RawValue>,
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

fn role(turn: usize, word: &str) -> Result<Role, TurnFault> {
    match word {
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "system" => Ok(Role::System),
        other => Err(TurnFault::Role {
            turn,
            role: other.chars().take(40).collect(),
        }),
    }
}

fn content(turn: usize, role: Role, raw: &RawValue) -> Result<TurnContent<'_>, TurnFault> {
    let json = raw.get();
    if json.starts_with('"') {
        let text: Cow<'_, str> = match serde_json::from_str::<&str>(json) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(serde_json::from_str(json).map_err(|_| TurnFault::Missing {
                turn,
                what: "content",
            })?),
        };
        return if text.trim().is_empty() {
            Err(TurnFault::Empty { turn })
        } else {
            Ok(TurnContent::Text(text))
        };
    }
    let blocks: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(json)
        .map_err(|_| TurnFault::Blocks {
            turn,
            problem: "has a `content` that is neither a text nor a list of blocks",
        })?;
    if blocks.is_empty() {
        return Err(TurnFault::Empty { turn });
    }
    if !blocks
        .iter()
        .all(|block| block.get("type").is_some_and(serde_json::Value::is_string))
    {
        return Err(TurnFault::Blocks {
            turn,
            problem: "has a block without `type`",
        });
    }
    if role == Role::System && blocks.iter().any(|block| block["type"] != "text") {
        return Err(TurnFault::Blocks {
            turn,
            problem: "has the role `system` and a block that is not text",
        });
    }
    if blocks.iter().any(is_marked) {
        return Err(TurnFault::Blocks {
            turn,
            problem: "has a block with a cache mark; marks stand in the job file, on what all rows \
                share",
        });
    }
    Ok(TurnContent::Blocks(Cow::Borrowed(json)))
}

/// Whether a block, or one inside it such as those of a tool's result, has a cache mark.
fn is_marked(block: &serde_json::Map<String, serde_json::Value>) -> bool {
    let inside = block.get("content").and_then(serde_json::Value::as_array);
    let mut inside = inside
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_object);
    block.contains_key("cache_control") || inside.any(is_marked)
}

/// Passes on the turns of a cell, and returns how many there were; a null cell or an empty list has
/// none.
pub(super) fn of_cell(
    array: &ArrayRef,
    row: usize,
    mut take: impl FnMut(MessageTurn<'_>) -> Result<(), TurnFault>,
) -> Result<usize, TurnFault> {
    let Some((array, row)) = resolve(array, row) else {
        return Ok(0);
    };
    if let Some(items) = items(array, row) {
        for item in 0..items.len() {
            struct_turn(&items, item, &mut take)?;
        }
        return Ok(items.len());
    }
    let CellValue::Text(text) = cell(array, row) else {
        return Err(TurnFault::Json { line: None });
    };
    if text.trim().is_empty() {
        return Ok(0);
    }
    // Blocks stay raw: they pass through byte by byte, with keys that this version may not know.
    let turns: Vec<JsonTurn<'_>> = serde_json::from_str(text).map_err(|error| TurnFault::Json {
        line: Some(error.line()),
    })?;
    for (i, turn) in turns.iter().enumerate() {
        let number = i + 1;
        let word = turn.role.as_deref().ok_or(TurnFault::Missing {
            turn: number,
            what: "role",
        })?;
        let said = turn.content.ok_or(TurnFault::Missing {
            turn: number,
            what: "content",
        })?;
        let role = role(number, word)?;
        take(MessageTurn {
            role,
            content: content(number, role, said)?,
        })?;
    }
    Ok(turns.len())
}

fn struct_turn(
    items: &ArrayRef,
    item: usize,
    take: &mut impl FnMut(MessageTurn<'_>) -> Result<(), TurnFault>,
) -> Result<(), TurnFault> {
    let turn = item + 1;
    let missing = |what| TurnFault::Missing { turn, what };
    let (fields, row) = resolve(items, item).ok_or(missing("role"))?;
    let fields: &StructArray = fields.as_struct_opt().ok_or(missing("role"))?;
    let word = fields
        .column_by_name("role")
        .map_or(CellValue::Null, |column| cell(column, row));
    let said = fields
        .column_by_name("content")
        .map_or(CellValue::Null, |column| cell(column, row));
    let CellValue::Text(word) = word else {
        return Err(missing("role"));
    };
    let CellValue::Text(said) = said else {
        return Err(missing("content"));
    };
    if said.trim().is_empty() {
        return Err(TurnFault::Empty { turn });
    }
    take(MessageTurn {
        role: role(turn, word)?,
        content: TurnContent::Text(Cow::Borrowed(said)),
    })
}

/// Checks that a column can hold conversations.
pub(super) fn check_column(part: &str, column: &str, schema: &Schema) -> Result<(), Error> {
    let Ok(field) = schema.field_with_name(column) else {
        return Err(super::super::no_column(part, column, schema));
    };
    if holds_turns(field.data_type()) {
        return Ok(());
    }
    let problem = format!(
        "reads a conversation from the column `{column}`, which is of the type {}; it has to be a \
         list of structs with the fields `role` and `content`, or text with the same as JSON",
        field.data_type()
    );
    Err(Error::Part {
        part: part.to_owned(),
        problem,
    })
}

fn holds_turns(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => holds_turns(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            let DataType::Struct(fields) = item.data_type() else {
                return false;
            };
            ["role", "content"]
                .iter()
                .all(|name| fields.iter().any(|field| field.name() == name))
        }
        _ => false,
    }
}

/// Reads a file of examples.
pub(super) fn examples(
    part: &str,
    path: &Path,
    templates: &mut Templates,
) -> Result<Vec<MessageTurn<'static>>, Error> {
    let text = templates.read(path)?;
    let fails = |problem: String| Error::Part {
        part: part.to_owned(),
        problem,
    };
    let mut turns = Vec::new();
    let lines = text.lines().enumerate();
    for (i, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        add_example(i + 1, line, &mut turns).map_err(|problem| {
            let (path, line) = (path.display(), i + 1);
            fails(format!(
                "cannot use the examples `{path}`: line {line} {problem}"
            ))
        })?;
    }
    if turns.is_empty() {
        return Err(fails(format!("finds no example in `{}`", path.display())));
    }
    Ok(turns)
}

/// Adds the turns of one line; an error says what the line is or lacks.
fn add_example(
    number: usize,
    line: &str,
    turns: &mut Vec<MessageTurn<'static>>,
) -> Result<(), String> {
    let example: JsonExample<'_> = serde_json::from_str(line).map_err(|_| {
        "is not an object such as `{\"user\": \"…\", \"assistant\": \"…\"}`".to_owned()
    })?;
    let turn = |role: Role, raw: &RawValue| {
        Ok::<_, TurnFault>(MessageTurn {
            role,
            content: owned(content(number, role, raw)?),
        })
    };
    let fails = |fault: TurnFault| of_line(&fault);
    match (
        example.user,
        example.assistant,
        &example.role,
        example.content,
    ) {
        (Some(user), Some(assistant), None, None) => {
            turns.push(turn(Role::User, user).map_err(fails)?);
            turns.push(turn(Role::Assistant, assistant).map_err(fails)?);
        }
        (None, None, Some(word), Some(raw)) => {
            let role = role(number, word).map_err(fails)?;
            turns.push(turn(role, raw).map_err(fails)?);
        }
        _ => return Err("needs `user` and `assistant`, or `role` and `content`".to_owned()),
    }
    Ok(())
}

fn owned(content: TurnContent<'_>) -> TurnContent<'static> {
    match content {
        TurnContent::Text(text) => TurnContent::Text(Cow::Owned(text.into_owned())),
        TurnContent::Blocks(json) => TurnContent::Blocks(Cow::Owned(json.into_owned())),
    }
}

/// A fault without the number of its turn: the line says where it is.
fn of_line(fault: &TurnFault) -> String {
    match fault {
        TurnFault::Role { role, .. } => {
            format!("has the role `{role}`; the roles are `user`, `assistant` and `system`")
        }
        TurnFault::Missing { what, .. } => format!("has no `{what}`"),
        TurnFault::Empty { .. } => "holds an empty text, which the API refuses".to_owned(),
        TurnFault::Blocks { problem, .. } => (*problem).to_owned(),
        other => other.to_string(),
    }
}
