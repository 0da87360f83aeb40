//! What holds for the JSON in an answer, whatever the answer is.

use serde::de::IgnoredAny;

use super::answer::find_json;

/// Checks the search for the only JSON value in a text.
///
/// # Panics
/// If what is found is no JSON or does not stand in the text, or if a text that is JSON as a whole
/// is not found.
pub fn check_answer_json(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    let found = find_json(text);
    if is_json(text.trim()) {
        assert_eq!(found.ok(), Some(text.trim()));
    } else if let Ok(found) = found {
        assert!(is_json(found), "found what is no JSON");
        let inside = text.as_bytes().as_ptr_range();
        let part = found.as_bytes().as_ptr_range();
        assert!(inside.start <= part.start && part.end <= inside.end);
        // It is the answer by itself, too.
        assert_eq!(find_json(found).ok(), Some(found));
    }
}
