//! What an answer says beyond its text, taken from a result line only where the job asks for it.

use serde::{Deserialize, Serialize};

/// Which details are to be taken from result lines. Each costs time for every row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The text of the thinking.
    pub thinking: bool,
    /// The citations of the answer's text.
    pub citations: bool,
    /// The calls of the job's own tools.
    pub tool_calls: bool,
    /// The whole message.
    pub message: bool,
    /// The short words: refusal category, stop sequence, request id, error code.
    pub words: bool,
}

impl Wanted {
    /// Whether anything is wanted at all.
    #[must_use]
    pub fn any(self) -> bool {
        self != Wanted::default()
    }

    /// What either asks for.
    #[must_use]
    pub fn or(self, other: Wanted) -> Wanted {
        Wanted {
            thinking: self.thinking || other.thinking,
            citations: self.citations || other.citations,
            tool_calls: self.tool_calls || other.tool_calls,
            message: self.message || other.message,
            words: self.words || other.words,
        }
    }
}

/// The details of one outcome, as far as they were wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The text of the thinking; `None` where the model did not think, or the text was left out.
    pub thinking: Option<String>,
    /// A JSON array: each text block that cites, with its citations as received; `None` where
    /// nothing is cited.
    pub citations: Option<String>,
    /// The calls of the job's own tools, in the order of the answer.
    pub tool_calls: Vec<ToolCall>,
    /// The whole message as JSON, unchanged.
    pub message: Option<String>,
    /// What kind of refusal it is, such as `cyber`.
    pub refusal_category: Option<String>,
    /// The stop sequence that ended the answer.
    pub stop_sequence: Option<String>,
    /// The provider's id of the request, which stands on errors.
    pub request_id: Option<String>,
    /// The machine code of an error.
    pub error_code: Option<String>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of the call.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// The arguments as JSON, as received.
    pub input: String,
}
