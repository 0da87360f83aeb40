//! What the job file says of the prompt: system blocks, messages, their blocks.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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

/// One system block: exactly one of `text`, `file` and `template`, all of them templates unless
/// `raw`.
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
    /// Whether the text is sent as it is written, braces included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Marks the end of a prefix to be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTtl>,
    /// Never of use here: read so that it can be refused in words that help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
    /// As `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentSpec>,
}

/// One entry of `request.messages`: a message of one text (as [`BlockSpec`]) or of several blocks,
/// with a role; or in its place the turns of a file of examples, or of a column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSpec {
    /// Who speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A file with the text, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The same as `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Whether the text is sent as it is written, braces included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Marks the end of a prefix to be cached; only on messages at the start that read no column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTtl>,
    /// The blocks of the message, in place of one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<ContentSpec>>,
    /// A file of turns that all requests begin with: one JSON object a line,
    /// `{"user": …, "assistant": …}` or `{"role": …, "content": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<PathBuf>,
    /// A column with the row's own turns: a list of `{role, content}`, or the same as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
}

/// One block of a message: exactly one of `text`, `file`, `template`, `image` and `document`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentSpec {
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A file with the text, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The same as `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Whether the text is sent as it is written, braces included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// A picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
    /// A document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentSpec>,
    /// Whether the block is left out for rows where its text is empty or its cell null.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Marks the end of a prefix to be cached; only where nothing up to here reads a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTtl>,
}

/// A picture: exactly one of `column`, `file`, `url` and `file_id`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// The column it stands in; a list makes several pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A file, relative to the job's folder: the same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where the API fetches it: the same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file that was uploaded before: the same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// What the cells of the column hold.
    #[serde(default, skip_serializing_if = "CellForm::is_auto")]
    pub from: CellForm,
    /// Where paths in cells start, relative to the job's folder; the folder of the table if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The type it has to be, such as `image/png`; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Whether it goes to the provider's file store once, and requests name it by its id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub upload: bool,
}

/// A document: exactly one of `column`, `file`, `text`, `url` and `file_id`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentSpec {
    /// The column it stands in; a list makes several documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A file, relative to the job's folder: the same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The text of the document; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where the API fetches it: the same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file that was uploaded before: the same for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// What the cells of the column hold.
    #[serde(default, skip_serializing_if = "CellForm::is_auto")]
    pub from: CellForm,
    /// Where paths in cells start, relative to the job's folder; the folder of the table if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The type it has to be, `application/pdf` or `text/plain`; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its title; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is known of it and is not cited; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether answers cite it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub citations: bool,
    /// Whether it goes to the provider's file store once, and requests name it by its id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub upload: bool,
}

impl From<&ImageSpec> for DocumentSpec {
    /// What a picture has in common with a document, which is all of it.
    fn from(image: &ImageSpec) -> DocumentSpec {
        let ImageSpec {
            column,
            file,
            url,
            file_id,
            from,
            folder,
            media_type,
            upload,
        } = image.clone();
        DocumentSpec {
            column,
            file,
            url,
            file_id,
            from,
            folder,
            media_type,
            upload,
            ..DocumentSpec::default()
        }
    }
}

/// What the cells of a picture's or document's column hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellForm {
    /// Detected by the column's type and each cell: bytes; or a text that is a `data:` URL, a URL,
    /// a file id, or else a path.
    #[default]
    Auto,
    /// The file itself, in a binary column.
    Bytes,
    /// The file as base64, also with `data:…;base64,` before it.
    Base64,
    /// The path of a file.
    Path,
    /// Where the API fetches it.
    Url,
    /// The id of a file that was uploaded before.
    FileId,
    /// The text of a document itself.
    Text,
}

impl CellForm {
    /// Whether each cell decides.
    fn is_auto(&self) -> bool {
        *self == CellForm::Auto
    }

    /// What is expected in a cell, in words.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            CellForm::Auto => "bytes or text",
            CellForm::Bytes => "bytes",
            CellForm::Base64 => "base64",
            CellForm::Path => "a path",
            CellForm::Url => "a URL",
            CellForm::FileId => "a file id",
            CellForm::Text => "text",
        }
    }
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// The operator, in the course of a conversation: behind a user turn, for models that take it.
    System,
}

impl Role {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
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
