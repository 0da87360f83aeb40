//! Words of an `enum` or `const` in another letter case.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

/// Replacing a word may bring a branch of a union into play whose own words were not looked at
/// before.
const ROUNDS: usize = 4;

/// One word to replace: where it stands, and the schema's spelling.
type Spelling = (String, String);

/// Gives a value that does not fit the schema the schema's own spelling of words, if that is all it
/// takes.
///
/// # Errors
/// The reason why the value does not fit.
pub(super) fn respell(validator: &Validator, value: &mut Value) -> Result<(), String> {
    for _ in 0..ROUNDS {
        for (pointer, word) in spellings(validator, value)? {
            if let Some(place) = value.pointer_mut(&pointer) {
                *place = Value::String(word);
            }
        }
        if validator.is_valid(value) {
            return Ok(());
        }
    }
    Err(validator
        .validate(value)
        .err()
        .map_or_else(|| "does not fit the schema".to_owned(), |e| reason(&e)))
}

fn spellings(validator: &Validator, value: &Value) -> Result<Vec<Spelling>, String> {
    let mut all = Vec::new();
    for error in validator.iter_errors(value) {
        match of(&error) {
            Some(mut some) => all.append(&mut some),
            None => return Err(reason(&error)),
        }
    }
    Ok(all)
}

/// The words that would fix an error; `None` if letter case is not what is wrong.
fn of(error: &ValidationError<'_>) -> Option<Vec<Spelling>> {
    let words: &[Value] = match error.kind() {
        ValidationErrorKind::Enum { options } => options.as_array()?,
        ValidationErrorKind::Constant { expected_value } => std::slice::from_ref(&**expected_value),
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            return context.iter().find_map(|branch| of_branch(branch));
        }
        _ => return None,
    };
    let written = error.instance().as_str()?.to_lowercase();
    let mut same = words
        .iter()
        .filter_map(Value::as_str)
        .filter(|word| word.to_lowercase() == written);
    let word = same.next()?;
    // Two words that differ in case only: it is unknown which one was meant.
    same.next()
        .is_none()
        .then(|| vec![(error.instance_path().as_str().to_owned(), word.to_owned())])
}

fn of_branch(errors: &[ValidationError<'_>]) -> Option<Vec<Spelling>> {
    let mut all = Vec::new();
    for error in errors {
        all.append(&mut of(error)?);
    }
    (!all.is_empty()).then_some(all)
}

fn reason(error: &ValidationError<'_>) -> String {
    super::at(
        error.instance_path().as_str(),
        &error.masked_with("the value").to_string(),
    )
}
