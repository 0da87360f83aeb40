//! Messages of the TOML reader, translated into the terms of a job file.
//!
//! The reader speaks of maps, sequences and `u32`, and does not name the key. The key is found by
//! the place in the text.

use std::path::Path;

use super::Error;

/// The sections that every job has.
const SECTIONS: [&str; 4] = ["job", "source", "request", "output"];

/// An error of the TOML reader, with its line and in the terms of a job file.
pub(super) fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let offset = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..offset]
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
        + 1;
    let raw = error.message().trim().replace('\n', ", ");
    let message = plain(&raw, text, offset);
    Error::Parse {
        path: path.to_path_buf(),
        line,
        nearest: nearest_known(&raw),
        message,
    }
}

/// The known key nearest to an unknown one, read from serde's "unknown field `a`, expected one of
/// `b`, `c`".
fn nearest_known(message: &str) -> Option<String> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let score = |known: &str| strsim::damerau_levenshtein(unknown, known);
    let nearest = words.min_by_key(|known| score(known))?;
    (score(nearest) <= 1 + nearest.len() / 3).then(|| nearest.to_owned())
}

/// The message about the value at `offset` in a text, in plain words; unchanged where it is not one
/// of the known messages.
fn plain(said: &str, text: &str, offset: usize) -> String {
    let key = key_at(text, offset);
    let named = if key.is_empty() {
        "this value".to_owned()
    } else {
        format!("`{key}`")
    };
    if let Some((found, wanted)) =
        parts(said, "invalid type: ").or_else(|| parts(said, "invalid value: "))
    {
        let range = if found.starts_with("integer") {
            range_in_words(wanted)
        } else {
            ""
        };
        return format!(
            "{named} must be {}{range}, not {}",
            wanted_in_words(wanted),
            found_in_words(found)
        );
    }
    if let Some(field) = said
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    {
        let section = section_at(text, offset);
        return match (section.as_str(), key.as_str()) {
            // Where a whole section is missing, the place is the beginning of the file.
            (_, "") if SECTIONS.contains(&field) => format!("the section `[{field}]` is missing"),
            (_, "") => format!("`{section}.{field}` is missing"),
            // A table that is written in one line.
            (_, key) => format!("`{key}.{field}` is missing"),
        };
    }
    if let Some(rest) = said.strip_prefix("unknown field ") {
        return match rest.split_once(", expected ") {
            Some((field, known)) => format!(
                "there is no key {field} here; there {}",
                known_in_words(known)
            ),
            None => format!("there is no key {rest} here"),
        };
    }
    if let Some((variant, known)) = said
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return format!(
            "{named} cannot be {variant}; there {}",
            known_in_words(known)
        );
    }
    if said.starts_with("data did not match any variant") {
        return format!("{named} has a value of a kind that it does not take (docs/job-file.md)");
    }
    said.to_owned()
}

/// What was found, and what was expected.
fn parts<'m>(said: &'m str, begin: &str) -> Option<(&'m str, &'m str)> {
    said.strip_prefix(begin)?.rsplit_once(", expected ")
}

fn known_in_words(known: &str) -> String {
    let known = known.trim_start_matches("one of ");
    if known.contains(", ") {
        format!("are {known}")
    } else {
        format!("is {known}")
    }
}

fn wanted_in_words(wanted: &str) -> String {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64"
        | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" | "string" | "a borrowed string" | "path string" => "text in quotation marks",
        "a sequence" => "a list",
        "a map" => "a table",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    }
    .to_owned()
}

/// Which whole numbers a type holds, where one of them did not fit.
fn range_in_words(wanted: &str) -> &'static str {
    match wanted {
        "u8" => " from 0 to 255",
        "u16" => " from 0 to 65,535",
        "u32" => " from 0 to 4,294,967,295",
        "u64" | "u128" | "usize" => " from 0 on",
        _ => "",
    }
}

fn found_in_words(found: &str) -> String {
    let bare = |prefix: &str| Some(found.strip_prefix(prefix)?.trim_matches('`').to_owned());
    if let Some(text) = found.strip_prefix("string ") {
        return format!("the text {text}");
    }
    bare("integer ")
        .or_else(|| bare("floating point "))
        .or_else(|| bare("boolean "))
        .unwrap_or_else(|| {
            match found {
                "map" => "a table",
                "sequence" => "a list",
                "unit value" => "nothing",
                found => found,
            }
            .to_owned()
        })
}

/// The key whose value begins at a place, with its section; empty where it is none, as in front of
/// a section.
fn key_at(text: &str, offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let line_begin = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_begin..].lines().next().unwrap_or_default();
    // The last `name =` before the place, or the line's own where the value is a list or goes over
    // several lines.
    let key = match before[line_begin..].rsplit_once('=') {
        Some((name, _)) => name,
        None => match line.split_once('=') {
            Some((name, _)) if !line.trim_start().starts_with('[') => name,
            _ => return String::new(),
        },
    };
    let name = key
        .trim()
        .rsplit(['{', ',', '[', ' '])
        .next()
        .unwrap_or_default()
        .trim_matches('"');
    match section_at(text, offset) {
        section if section.is_empty() => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

/// The section that a place belongs to.
fn section_at(text: &str, offset: usize) -> String {
    let end = text[offset.min(text.len())..]
        .find('\n')
        .map_or(text.len(), |at| offset + at);
    let lines = text[..end].lines().map(str::trim);
    let heads = lines.filter(|line| line.starts_with('[') && !line.contains('='));
    let last = heads
        .filter_map(|line| line.trim_start_matches('[').split(']').next())
        .next_back();
    last.map(|name| name.trim().to_owned()).unwrap_or_default()
}
