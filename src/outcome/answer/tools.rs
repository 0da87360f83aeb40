//! Calls of the job's own tools → columns by the tools' input schemas.
//!
//! | `answer.tool_calls` | columns | a tool called twice in one answer |
//! |---|---|---|
//! | `"list"` | one a tool, named after it: a list with the arguments of each call | two items |
//! | `"struct"` | one a tool, named after it: the arguments | `invalid` |
//! | `"columns"` | the arguments of the only tool, as if the answer had its schema | `invalid` |
//!
//! Every call must fit its tool's schema, in which words may come in other letter case as in
//! answers. A call of a tool that the job does not define has no column. Without a call, the
//! columns are null.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::shape::ColumnShape;
use super::{AnswerSchema, AnswerSpec, Error, ToolCall, cut};

/// What columns the calls of tools become; the table above says more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolCalls {
    /// A list for each tool.
    #[default]
    List,
    /// A struct for each tool.
    Struct,
    /// Columns of their own for the arguments of the only tool.
    Columns,
}

/// A tool of the job: its name, and what its arguments look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSchema {
    /// The name.
    pub name: String,
    /// The JSON schema of the arguments.
    pub input_schema: Value,
}

/// The tools, compiled.
#[derive(Debug)]
pub(super) struct Tools {
    tools: Vec<(String, AnswerSchema)>,
    layout: ToolCalls,
}

impl Tools {
    /// `None` where the job has no tools of its own.
    pub(super) fn compile(tools: &[ToolSchema], spec: &AnswerSpec) -> Result<Option<Tools>, Error> {
        let wrong = |key: &str, problem: String| {
            Err(Error::Setting {
                key: key.to_owned(),
                problem,
            })
        };
        if tools.is_empty() {
            return match spec {
                AnswerSpec {
                    tool_calls: Some(_),
                    ..
                } => wrong("tool_calls", NO_TOOLS.to_owned()),
                AnswerSpec {
                    require_tool_call: true,
                    ..
                } => wrong("require_tool_call", NO_TOOLS.to_owned()),
                _ => Ok(None),
            };
        }
        let layout = spec.tool_calls.unwrap_or_default();
        if layout == ToolCalls::Columns && tools.len() > 1 {
            let problem = format!(
                "is \"columns\", which is for one tool; the job has {}: use \"struct\" or \"list\"",
                tools.len()
            );
            return wrong("tool_calls", problem);
        }
        let tools = tools
            .iter()
            .map(|tool| Ok((tool.name.clone(), compile(tool)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Some(Tools { tools, layout }))
    }

    /// Where the columns come from, in words.
    pub(super) fn origin(&self) -> &'static str {
        if self.layout == ToolCalls::Columns {
            "an argument of the tool"
        } else {
            "the calls of a tool"
        }
    }

    pub(super) fn members(&self) -> Vec<(String, ColumnShape)> {
        let column = |(name, schema): &(String, AnswerSchema)| {
            let shape = schema.shape().clone();
            (
                name.clone(),
                if self.layout == ToolCalls::List {
                    ColumnShape::List(Box::new(shape))
                } else {
                    shape
                },
            )
        };
        match (
            self.layout,
            self.tools.first().map(|(_, schema)| schema.shape()),
        ) {
            (ToolCalls::Columns, Some(ColumnShape::Object(members))) => members.clone(),
            _ => self.tools.iter().map(column).collect(),
        }
    }

    /// Reads the calls of one answer. `required`: a call of a tool of the job has to be among them.
    pub(super) fn read(&self, calls: &[ToolCall], required: bool) -> Result<Value, String> {
        let mut answer = Map::new();
        for call in calls {
            let Some((name, schema)) = self.tools.iter().find(|(name, _)| *name == call.name)
            else {
                continue;
            };
            let arguments = schema
                .parse(&call.input)
                .map_err(|why| reason(name, &why))?;
            match answer.get_mut(name) {
                Some(Value::Array(list)) if self.layout == ToolCalls::List => list.push(arguments),
                Some(_) => {
                    return Err(format!(
                        "the answer calls the tool `{name}` more than once; `answer.tool_calls = \
                         \"list\"` takes all"
                    ));
                }
                None if self.layout == ToolCalls::List => {
                    drop(answer.insert(name.clone(), Value::Array(vec![arguments])))
                }
                None => drop(answer.insert(name.clone(), arguments)),
            }
        }
        match (self.layout, answer.values_mut().next()) {
            (_, None) if required => Err("the answer calls none of the job's tools".to_owned()),
            (ToolCalls::Columns, Some(arguments)) if self.is_flat() => Ok(arguments.take()),
            _ => Ok(Value::Object(answer)),
        }
    }

    fn is_flat(&self) -> bool {
        self.tools
            .iter()
            .all(|(_, schema)| matches!(schema.shape(), ColumnShape::Object(_)))
    }
}

const NO_TOOLS: &str = "is set, and the job has no tool with an `input_schema`";

fn compile(tool: &ToolSchema) -> Result<AnswerSchema, Error> {
    AnswerSchema::compile(&tool.input_schema).map_err(|error| match error {
        Error::Schema { pointer, problem } => Error::ToolSchema {
            tool: tool.name.clone(),
            pointer,
            problem,
        },
        other => other,
    })
}

fn reason(tool: &str, why: &str) -> String {
    cut(&format!(
        "the call of `{tool}`: {}",
        why.strip_prefix("the answer: ").unwrap_or(why)
    ))
}
