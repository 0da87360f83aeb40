//! Why a row has no prompt, and why one of its pictures or documents cannot be attached.

use super::super::RenderError;
use super::{OrderFault, TurnFault};
use crate::media::MediaFault;

/// Why a row has no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptFault {
    /// A template fails for it.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A message is empty.
    #[error("message {message} is empty for this row, which the API refuses")]
    Empty {
        /// Its place among the job's messages, from 1.
        message: usize,
    },
    /// A block of text is empty.
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
    #[error("{part} cannot be created for this row: {fault}")]
    Media {
        /// Which block.
        part: String,
        /// What is wrong.
        fault: AttachmentFault,
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

/// Why a picture or document cannot be attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentFault {
    /// The API would not take it.
    #[error(transparent)]
    Media(#[from] MediaFault),
    /// There is none.
    #[error("the cell is null; `optional = true` leaves the block out for such rows")]
    Null,
    /// The cell holds something else.
    #[error("the cell holds {is}, and {wanted} was expected")]
    Cell {
        /// What the cell holds.
        is: &'static str,
        /// What `from` says.
        wanted: &'static str,
    },
    /// Not base64.
    #[error("the cell is not base64")]
    NotBase64,
    /// A path that leads out of the folder.
    #[error("`{path}` lies outside of `{folder}`, and paths in cells stay inside of it")]
    Outside {
        /// The path as written.
        path: String,
        /// The folder that paths start from.
        folder: String,
    },
    /// A file that cannot be read.
    #[error("`{path}` cannot be read in `{folder}`: {why}")]
    Unreadable {
        /// The path as written.
        path: String,
        /// The folder that paths start from.
        folder: String,
        /// What the file system said.
        why: String,
    },
    /// A text too long to be a path.
    #[error(
        "a text of {chars} characters is no path; base64 is read with `from = \"base64\"`, the \
         text of a document with `from = \"text\"`"
    )]
    NoPath {
        /// Its length.
        chars: usize,
    },
    /// It could not be kept for the upload.
    #[error("it cannot be copied for the upload: {0}")]
    Copy(String),
}
