//! An answer's text → typed columns, by the job's JSON schema.
//!
//! In comes the text of an answer; out come either the reason why it does not fit the schema, or its values, ready for the Arrow
//! builders. Everything is decided once, when the schema is compiled: the columns, their types, and the validator.
//!
//! ```text
//!  schema ── compile ──▶ AnswerSchema ── fields ──▶ the columns
//!                            │
//!  text ──── parse ──────────┴──▶ value ── builders().append ──▶ arrays
//! ```
//!
//! | schema | column |
//! |---|---|
//! | `string` (of any format: dates stay text, as the model wrote them) | `Utf8` |
//! | `enum` or `const` of strings | `Dictionary(Int32, Utf8)`, the words in the schema's order |
//! | `integer`, `number`, `boolean` | `Int64`, `Float64`, `Boolean` |
//! | `object`, `array` | `Struct`, `List` |
//! | `null` beside another type, `anyOf` with `null` | that type: every column is nullable |
//! | local `$ref`, `allOf`, unions that are one type after all | what they come to |
//! | everything else: real unions, objects of any members, recursion | `Utf8` holding JSON |
//!
//! Promises: an answer either fits the whole schema or is refused with a reason; what is accepted reads back from the columns as
//! the same JSON (a member left out reads as null; members no property names stay in the answer's text only). No network: a
//! reference to another document is an error. To teach it another kind of schema: `answer/shape.rs`, then `answer/builders.rs`.

mod builders;
mod respell;
mod shape;

use arrow::datatypes::Field;
use serde_json::Value;

pub use builders::AnswerBuilders;
use shape::Shape;

/// The column of an answer whose schema is not an object.
pub const WHOLE_ANSWER: &str = "answer";

/// Longest reason given for an answer that does not fit, in bytes: an enum may name thousands of words.
const MAX_REASON_BYTES: usize = 300;

/// Why a schema cannot be used.
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
}

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
    shape: Shape,
    fields: Vec<Field>,
}

impl AnswerSchema {
    /// Compiles a JSON schema.
    ///
    /// # Errors
    /// [`Error::Schema`]: it is not a schema, or refers to another document.
    pub fn compile(schema: &Value) -> Result<AnswerSchema, Error> {
        let validator = jsonschema::options().offline().build(schema).map_err(|e| Error::Schema {
            pointer: e.instance_path().as_str().to_owned(),
            problem: cut(&e.masked_with("this").to_string()),
        })?;
        let shape = shape::of(schema);
        let fields = match &shape {
            Shape::Object(members) => members.iter().map(|(name, shape)| Field::new(name, shape.data_type(), true)).collect(),
            whole => vec![Field::new(WHOLE_ANSWER, whole.data_type(), true)],
        };
        Ok(AnswerSchema { validator, shape, fields })
    }

    /// The columns of an answer, all nullable: the members of the schema's object in its order, or one column
    /// [`WHOLE_ANSWER`] where the schema is not an object.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Reads an answer: strict JSON (white space around it is allowed) that fits the schema.
    ///
    /// A word of an `enum` or `const` in other letter case is replaced by the schema's own spelling, because models are known to
    /// change it. `3.0` is an integer, as JSON Schema has it; one outside of 64 bits does not fit.
    ///
    /// # Errors
    /// The reason why it does not fit, in a few words that name the place and never quote the answer.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let mut value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        if !self.validator.is_valid(&value) {
            respell::respell(&self.validator, &mut value)?;
        }
        match self.shape.misfit(&value) {
            None => Ok(value),
            Some((pointer, problem)) => Err(at(&pointer, &problem)),
        }
    }

    /// Builders for the columns of `capacity` answers.
    #[must_use]
    pub fn builders(&self, capacity: usize) -> AnswerBuilders {
        AnswerBuilders::new(&self.shape, capacity)
    }
}

/// A reason: where, and what is wrong there.
fn at(pointer: &str, problem: &str) -> String {
    if pointer.is_empty() { cut(&format!("the answer: {problem}")) } else { cut(&format!("at `{pointer}`: {problem}")) }
}

fn cut(reason: &str) -> String {
    if reason.len() <= MAX_REASON_BYTES {
        return reason.to_owned();
    }
    format!("{}…", &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)])
}

#[cfg(test)]
mod tests;
