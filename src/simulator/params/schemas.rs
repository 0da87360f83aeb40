//! What the API would refuse in a schema, in its words.

use serde_json::Value;

use crate::request::schema;

/// What the API would refuse in a schema, with its place.
pub(super) fn problem(schema: &Value) -> Option<String> {
    let finding = schema::check(schema).into_iter().next()?;
    let keyword = if finding.keyword.is_empty() {
        String::new()
    } else {
        format!("`{}`: ", finding.keyword)
    };
    Some(format!(
        "{}: {keyword}{}",
        finding.pointer.replace('/', "."),
        finding.why
    ))
}
