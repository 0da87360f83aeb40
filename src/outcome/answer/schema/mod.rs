//! The answer's text → values, by the job's JSON schema.
//!
//! | schema | column |
//! |---|---|
//! | `string` (of any format: dates stay text, as the model wrote them) | `Utf8` |
//! | `enum` or `const` of strings | `Dictionary(Int32, Utf8)`, the words in the schema's order |
//! | `integer`, `number`, `boolean` | `Int64`, `Float64`, `Boolean` |
//! | `object`, `array` | `Struct`, `List` |
//! | `null` beside another type, `anyOf` with `null` | that type: every column is nullable |
//! | local `$ref`, `allOf`, unions that are one type after all | what they reduce to |
//! | everything else: real unions, objects of any members, recursion | `Utf8` holding JSON |
//!
//! An answer either fits the whole schema or is refused with a reason; what is accepted reads back
//! from the columns as the same JSON (a member left out reads as null; members no property names
//! stay in the answer's text only). No network: a reference to another document is an error. To
//! teach it another kind of schema: `shape.rs`, then `builders.rs`.

use arrow::datatypes::Field;
use serde_json::{Map, Value};

use super::shape::{self, ColumnShape};
use super::{AnswerBuilders, Error, at, cut, respell, unique};

/// The column of an answer whose schema is not an object.
pub const WHOLE_ANSWER: &str = "answer";

/// A job's JSON schema, compiled: the columns an answer becomes, and the check that it fits.
///
/// ```
/// use rowmill::outcome::answer::AnswerSchema;
///
/// let schema = serde_json::json!({
///     "type": "object",
///     "properties": { "topic": { "enum": ["Card", "Loan"] }, "urgent": { "type": ["boolean", "null"] } },
///     "required": ["topic"],
///     "additionalProperties": false
/// });
/// let schema = AnswerSchema::compile(&schema)?;
/// let mut builders = schema.builders(2);
/// builders.append(&schema.parse(r#"{"topic": "card", "urgent": true}"#).unwrap());
/// builders.append_null();
/// assert_eq!(builders.finish().len(), schema.fields().len());
/// assert_eq!(schema.parse(r#"{"topic": "cat"}"#).unwrap_err(), r#"at `/topic`: the value is not one of "Card" or "Loan""#);
/// # Ok::<(), rowmill::outcome::answer::Error>(())
/// ```
#[derive(Debug)]
pub struct AnswerSchema {
    validator: jsonschema::Validator,
    shape: ColumnShape,
    fields: Vec<Field>,
}

impl AnswerSchema {
    /// Compiles a JSON schema.
    ///
    /// # Errors
    /// [`Error::Schema`]: it is not a schema, or refers to another document.
    pub fn compile(schema: &Value) -> Result<AnswerSchema, Error> {
        AnswerSchema::compile_lowered(schema, schema)
    }

    /// Compiles a JSON schema in whose place a looser one was sent: answers must fit `schema`, and
    /// become the columns of `sent`.
    ///
    /// # Errors
    /// As [`AnswerSchema::compile`].
    pub fn compile_lowered(schema: &Value, sent: &Value) -> Result<AnswerSchema, Error> {
        let validator =
            jsonschema::options()
                .offline()
                .build(schema)
                .map_err(|e| Error::Schema {
                    pointer: e.instance_path().as_str().to_owned(),
                    problem: cut(&e.masked_with("this").to_string()),
                })?;
        let shape = shape::of(sent);
        let fields = match &shape {
            ColumnShape::Object(members) => members
                .iter()
                .map(|(name, shape)| Field::new(name, shape.data_type(), true))
                .collect(),
            whole => vec![Field::new(WHOLE_ANSWER, whole.data_type(), true)],
        };
        Ok(AnswerSchema {
            validator,
            shape,
            fields,
        })
    }

    /// The columns of an answer, all nullable: the members of the schema's object in its order, or
    /// one column [`WHOLE_ANSWER`] where the schema is not an object.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Reads an answer: strict JSON (white space around it is allowed) that fits the schema. No
    /// object of it may name a member twice.
    ///
    /// A word of an `enum` or `const` in other letter case is replaced by the schema's own
    /// spelling, because models are known to change it. `3.0` is an integer, as JSON Schema has it;
    /// one outside of 64 bits does not fit.
    ///
    /// # Errors
    /// The reason why it does not fit, in a few words that name the place and never quote the
    /// answer.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let mut value: Value = unique::parse(text)?;
        if !self.validator.is_valid(&value) {
            respell::respell(&self.validator, &mut value)?;
        }
        match self.shape.misfit(&value) {
            None => Ok(value),
            Some((pointer, problem)) => Err(at(&pointer, &problem)),
        }
    }

    /// The columns with their shapes.
    pub(super) fn members(&self) -> Vec<(String, ColumnShape)> {
        match &self.shape {
            ColumnShape::Object(members) => members.clone(),
            whole => vec![(WHOLE_ANSWER.to_owned(), whole.clone())],
        }
    }

    /// The shape of an answer as a whole.
    pub(super) fn shape(&self) -> &ColumnShape {
        &self.shape
    }

    /// As [`AnswerSchema::parse`]; an answer that is one column is its only member.
    pub(super) fn read(&self, text: &str) -> Result<Value, String> {
        let answer = self.parse(text)?;
        match self.shape {
            ColumnShape::Object(_) => Ok(answer),
            _ => Ok(Value::Object(Map::from_iter([(
                WHOLE_ANSWER.to_owned(),
                answer,
            )]))),
        }
    }

    /// Builders for the columns of `capacity` answers.
    #[must_use]
    pub fn builders(&self, capacity: usize) -> AnswerBuilders {
        AnswerBuilders::new(&self.shape, capacity)
    }
}

#[cfg(test)]
mod tests;
