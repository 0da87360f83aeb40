//! What a model answered → typed columns.
//!
//! An answer can be read in three ways, which may be used together: by the job's JSON schema
//! ([`schema`]), by picking single values out of its text ([`picks`]), and by the calls of the
//! job's tools ([`tools`]). All is decided once, when the [`AnswerPlan`] is compiled: the columns,
//! their types, and what does not fit.
//!
//! ```text
//!  [answer], schema, tools ──▶ AnswerPlan (kept in the run's plan) ── compile ──▶ Answers ── fields ──▶ the columns
//!                                                                       │
//!  an outcome's text and tool calls ───────────────────────── read ──────┴──▶ value ── builders().append ──▶ arrays
//! ```
//!
//! Promises: an answer either fits as a whole or is refused with a reason that names the place and
//! quotes nothing of it; what is accepted reads back from the columns as it was said. An answer
//! that calls tools is read by its calls alone: what it says beside them is not the answer, and its
//! text columns are null.
//!
//! To add another parser for answers: a file beside these, a field of [`Answers`], and its columns
//! in [`Answers::compile`].

mod builders;
mod json_in_text;
pub mod picks;
mod respell;
pub mod schema;
mod shape;
pub mod tools;
mod unique;

use std::collections::HashMap;

use arrow::datatypes::Field;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use builders::AnswerBuilders;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(super) use json_in_text::find as find_json;
pub use picks::PickSpec;
pub use schema::{AnswerSchema, WHOLE_ANSWER};
pub use tools::{ToolCalls, ToolSchema};

use super::details::{ToolCall, Wanted};
use super::{Outcome, Status};
use picks::Picks;
use shape::ColumnShape;
use tools::Tools;

/// Longest reason given for an answer that does not fit, in bytes: an enum may name thousands of
/// words.
const MAX_REASON_BYTES: usize = 300;

/// The section `[answer]` of a job: how answers become columns, besides by a schema.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerSpec {
    /// Columns picked out of the answer's text, by name.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub columns: IndexMap<String, PickSpec>,
    /// What columns the calls of tools become; lists if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<ToolCalls>,
    /// Whether an answer that calls no tool is `invalid`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_tool_call: bool,
}

/// Everything that decides what columns answers become; kept in the run's plan, so that the job and
/// its files are not needed any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerPlan {
    /// The JSON schema that answers must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The schema that was sent in its place, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_schema: Option<Value>,
    /// The job's section.
    pub spec: AnswerSpec,
    /// The job's own tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSchema>,
    /// The beginning of every answer, where the request makes it: what comes back is only the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<String>,
}

/// Why answers cannot become columns as the job says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a JSON schema, or one that refers to something outside itself.
    #[error("the answer schema is wrong at `{pointer}`: {problem}")]
    Schema {
        /// JSON pointer into the schema; empty for the schema as a whole.
        pointer: String,
        /// What is wrong there.
        problem: String,
    },
    /// The same of a tool's input schema.
    #[error("the input schema of the tool `{tool}` is wrong at `{pointer}`: {problem}")]
    ToolSchema {
        /// The tool.
        tool: String,
        /// As above.
        pointer: String,
        /// As above.
        problem: String,
    },
    /// A setting of the section makes no sense.
    #[error("`answer.{key}` {problem}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Two ways of reading the answer give a column of the same name.
    #[error(
        "the answer would have two columns `{column}`: {first} and {second}; rename one of them"
    )]
    Clash {
        /// The name.
        column: String,
        /// Where it comes from.
        first: String,
        /// Where it comes from again.
        second: String,
    },
}

/// How answers become columns, compiled.
///
/// ```
/// use rowmill::outcome::answer::{AnswerPlan, AnswerSpec, Answers};
/// use rowmill::outcome::{Outcome, Status};
///
/// let spec: AnswerSpec = toml::from_str(
///     r#"columns = { label = "/label", score = { pointer = "/score", type = "float64" } }"#,
/// )?;
/// let answers = Answers::compile(&AnswerPlan { spec, ..AnswerPlan::default() })?.expect("there are columns");
/// let said = |text: &str| Outcome { text: Some(text.to_owned()), ..Outcome::new(Status::Succeeded) };
///
/// let mut builders = answers.builders(2);
/// builders.append(&answers.read(&said("Here it is:\n```json\n{\"label\": \"spam\", \"score\": 0.9}\n```"))?);
/// builders.append_null();
/// assert_eq!(builders.finish().len(), 2);
/// assert_eq!(answers.read(&said("{\"label\": \"spam\"}")).unwrap_err(), "`score`: the answer has nothing at `/score`");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Answers {
    schema: Option<AnswerSchema>,
    picks: Picks,
    tools: Option<Tools>,
    require_tool_call: bool,
    prefill: Option<String>,
    shape: ColumnShape,
    fields: Vec<Field>,
}

impl Answers {
    /// Compiles a plan; `None` if answers stay text.
    ///
    /// # Errors
    /// [`Error`]: what cannot be, or would clash.
    pub fn compile(plan: &AnswerPlan) -> Result<Option<Answers>, Error> {
        let AnswerPlan {
            schema,
            sent_schema,
            spec,
            tools,
            prefill,
        } = plan;
        let compile =
            |schema| AnswerSchema::compile_lowered(schema, sent_schema.as_ref().unwrap_or(schema));
        let schema = schema.as_ref().map(compile).transpose()?;
        let picks = Picks::compile(&spec.columns)?;
        let tools = Tools::compile(tools, spec)?;
        let mut members = Members::default();
        if let Some(schema) = &schema {
            members.add_all("a property of the schema", schema.members())?;
        }
        members.add_all("one of `answer.columns`", picks.members())?;
        if let Some(tools) = &tools {
            members.add_all(tools.origin(), tools.members())?;
        }
        if members.shapes.is_empty() {
            return Ok(None);
        }
        let fields = members
            .shapes
            .iter()
            .map(|(name, shape)| Field::new(name, shape.data_type(), true))
            .collect();
        let shape = ColumnShape::Object(members.shapes);
        let (require_tool_call, prefill) = (spec.require_tool_call, prefill.clone());
        Ok(Some(Answers {
            schema,
            picks,
            tools,
            require_tool_call,
            prefill,
            shape,
            fields,
        }))
    }

    /// The columns, all nullable: the schema's, then those of `answer.columns`, then the tools'.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What has to be read from a result line besides its text.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted {
            tool_calls: self.tools.is_some(),
            ..Wanted::default()
        }
    }

    /// Reads what a model answered: an object with a member for each column that has a value.
    ///
    /// # Errors
    /// The reason why it does not fit, in a few words that name the place and never quote the
    /// answer.
    pub fn read(&self, outcome: &Outcome) -> Result<Value, String> {
        let calls = outcome
            .details
            .as_ref()
            .map_or(&[][..], |details| &details.tool_calls);
        match &self.tools {
            Some(tools) if !calls.is_empty() => tools.read(calls, self.require_tool_call),
            _ if self.require_tool_call => Err("the answer calls no tool".to_owned()),
            _ => self.read_text(outcome.text.as_deref()),
        }
    }

    /// Reads an answer that succeeded; one that does not fit becomes [`Status::Invalid`], with the
    /// reason as its error.
    pub fn check(&self, outcome: &mut Outcome) -> Option<Value> {
        if outcome.status != Status::Succeeded {
            return None;
        }
        match self.read(outcome) {
            Ok(answer) => Some(answer),
            Err(reason) => {
                outcome.status = Status::Invalid;
                outcome.error = Some(reason);
                None
            }
        }
    }

    fn read_text(&self, text: Option<&str>) -> Result<Value, String> {
        let mut answer = match (&self.schema, text) {
            (Some(schema), Some(text)) => schema.read(text)?,
            (Some(_), None) => return Err(NO_TEXT.to_owned()),
            (None, _) => Value::Object(Map::new()),
        };
        if let Value::Object(members) = &mut answer {
            match self
                .prefill
                .as_ref()
                .and_then(|prefill| Some(format!("{prefill}{}", text?)))
            {
                // Now and then a model starts its answer again.
                Some(whole) => self
                    .picks
                    .read(Some(&whole), members)
                    .or_else(|why| self.picks.read(text, members).map_err(|_| why))?,
                None => self.picks.read(text, members)?,
            }
        }
        Ok(answer)
    }

    /// Builders for the columns of `capacity` answers.
    #[must_use]
    pub fn builders(&self, capacity: usize) -> AnswerBuilders {
        AnswerBuilders::new(&self.shape, capacity)
    }
}

const NO_TEXT: &str = "the answer has no text";

/// The columns so far, and where each comes from.
#[derive(Default)]
struct Members {
    shapes: Vec<(String, ColumnShape)>,
    origins: HashMap<String, String>,
}

impl Members {
    fn add_all(
        &mut self,
        origin: &str,
        members: impl IntoIterator<Item = (String, ColumnShape)>,
    ) -> Result<(), Error> {
        for (name, shape) in members {
            if let Some(first) = self.origins.insert(name.clone(), origin.to_owned()) {
                return Err(Error::Clash {
                    column: name,
                    first,
                    second: origin.to_owned(),
                });
            }
            self.shapes.push((name, shape));
        }
        Ok(())
    }
}

/// A reason: where, and what is wrong there.
fn at(pointer: &str, problem: &str) -> String {
    if pointer.is_empty() {
        cut(&format!("the answer: {problem}"))
    } else {
        cut(&format!("at `{pointer}`: {problem}"))
    }
}

fn cut(reason: &str) -> String {
    if reason.len() <= MAX_REASON_BYTES {
        return reason.to_owned();
    }
    format!(
        "{}…",
        &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
    )
}

#[cfg(test)]
mod tests;
