//! How a provider refuses a batch that is too large, where it does not answer 413.

use crate::provider::ApiError;

/// What a provider says of a batch that it finds too large, with another status than 413: how many
/// requests it takes, where it names a number. `None` where the message speaks of something else,
/// such as the length of a text.
#[must_use]
pub fn most_requests(error: &ApiError) -> Option<Option<u32>> {
    const BOUNDS: [&str; 12] = [
        "at most",
        "no more than",
        "more than",
        "too many",
        "maximum",
        "max",
        "up to",
        "limit",
        "exceed",
        "between",
        "fewer",
        "less than",
    ];
    const OF_BATCHES: [&str; 5] = ["requests", "items", "entries", "elements", "rows"];
    const LARGE: [&str; 4] = [
        "batch is too large",
        "batch too large",
        "body is too large",
        "body too large",
    ];
    let text = error.message.to_ascii_lowercase();
    if LARGE.iter().any(|words| text.contains(words)) {
        return Some(None);
    }
    // Of one request's own parts, such as `requests.3.params.messages`, no smaller batch has fewer.
    let is_inside = text
        .match_indices("requests.")
        .any(|(at, found)| text[at + found.len()..].starts_with(|c: char| c.is_ascii_digit()));
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ',')
        .filter(|word| !word.is_empty())
        .collect();
    let is_of_batches = words.iter().any(|word| OF_BATCHES.contains(word));
    if is_inside || !is_of_batches || !BOUNDS.iter().any(|bound| text.contains(bound)) {
        return None;
    }
    // The number stands before its noun: "at most 1000 items", "up to 1,000 requests".
    let number = words
        .windows(2)
        .find(|pair| OF_BATCHES.contains(&pair[1]))
        .and_then(|pair| pair[0].replace(',', "").parse().ok());
    let last = words
        .iter()
        .rev()
        .find_map(|word| word.replace(',', "").parse::<u32>().ok());
    Some(number.or(last).filter(|&most| most > 0))
}
