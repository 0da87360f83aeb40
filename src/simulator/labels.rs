//! Finds the labels a prompt asks to choose from, so that a simulated classification looks like
//! one.
//!
//! Three ways of writing them are known: `one of: a, b, c` · `"a", "b" or "c"` · a list with a
//! label at the start of each line.

/// Longest label, in characters and in words.
const LONGEST: (usize, usize) = (40, 4);

/// The labels of a prompt, in its order; `None` where it names fewer than two.
pub(super) fn find(text: &str) -> Option<Vec<String>> {
    one_of(text)
        .or_else(|| some_quoted(text))
        .or_else(|| list(text))
}

/// `one of: billing, technical or other`, with or without words before the colon.
fn one_of(text: &str) -> Option<Vec<String>> {
    let lower = text.to_ascii_lowercase();
    memchr::memmem::find_iter(lower.as_bytes(), "one of").find_map(|at| {
        let rest = text[at + "one of".len()..].lines().next()?;
        let rest = rest.split_once(':').map_or(rest, |(_, after)| after);
        enough(alternatives(rest.split(". ").next()?))
    })
}

fn alternatives(text: &str) -> Vec<String> {
    let text = text
        .replace(" or ", ",")
        .replace(" and ", ",")
        .replace(" | ", ",");
    let separator = if text.contains(',') {
        ','
    } else if text.contains('|') {
        '|'
    } else {
        '/'
    };
    text.split(separator)
        .map(clean)
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect()
}

fn some_quoted(text: &str) -> Option<Vec<String>> {
    // Most texts quote nothing; to know that is much faster than to look for words.
    memchr::memchr3(b'"', b'`', 0xe2, text.as_bytes())?;
    text.lines().find_map(quoted)
}

/// Quoted words of one line with nothing but `,`, `or`, `and`, `|` or `/` between them.
fn quoted(line: &str) -> Option<Vec<String>> {
    let mut labels: Vec<String> = Vec::new();
    let mut between = "";
    let mut rest = line;
    while let Some(open) = rest.find(['"', '`', '“']) {
        let quote = rest[open..].chars().next()?;
        let close = if quote == '“' { '”' } else { quote };
        let after = &rest[open + quote.len_utf8()..];
        let Some(end) = after.find(close) else { break };
        between = if labels.is_empty() {
            between
        } else {
            rest[..open].trim()
        };
        if !labels.is_empty()
            && !matches!(between, "," | "or" | "and" | ", or" | ", and" | "|" | "/")
        {
            if labels.len() > 1 {
                break;
            }
            labels.clear();
        }
        labels.push(after[..end].trim().to_owned());
        rest = &after[end + close.len_utf8()..];
    }
    enough(labels)
}

/// The first run of at least two list lines that begin with something short.
fn list(text: &str) -> Option<Vec<String>> {
    let mut run: Vec<String> = Vec::new();
    for line in text.lines().chain([""]) {
        match item(line) {
            Some(label) => run.push(label.to_owned()),
            None if line.trim().is_empty() && run.len() < 2 => {}
            None => match enough(std::mem::take(&mut run)) {
                Some(labels) => return Some(labels),
                None => continue,
            },
        }
    }
    enough(run)
}

fn item(line: &str) -> Option<&str> {
    let line = line.trim();
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = match digits {
        0 => ["- ", "* ", "• "]
            .iter()
            .find_map(|bullet| line.strip_prefix(bullet))?,
        _ => [". ", ") "]
            .iter()
            .find_map(|dot| line[digits..].strip_prefix(dot))?,
    };
    let end = [": ", " - ", " – ", " — ", " ("]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min();
    Some(clean(end.map_or(rest, |end| &rest[..end])))
}

fn clean(label: &str) -> &str {
    label
        .trim()
        .trim_end_matches([':', ';', '.', ','])
        .trim_matches(['"', '`', '\'', '*', '“', '”', '(', ')'])
        .trim()
}

fn enough(labels: Vec<String>) -> Option<Vec<String>> {
    let fits = |label: &String| {
        !label.is_empty()
            && label.chars().count() <= LONGEST.0
            && label.split_whitespace().count() <= LONGEST.1
    };
    (labels.len() > 1 && labels.iter().all(fits)).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_labels_however_they_are_written() {
        let cases: [(&str, &[&str]); 9] = [
            (
                "Answer with one of: billing, bug, other.",
                &["billing", "bug", "other"],
            ),
            (
                "Choose One of these labels: `a`, `b` or `c`",
                &["a", "b", "c"],
            ),
            (
                "Reply with one of positive, neutral, negative. Nothing else.",
                &["positive", "neutral", "negative"],
            ),
            ("one of: yes|no", &["yes", "no"]),
            ("Say \"spam\" or \"ham\" and stop.", &["spam", "ham"]),
            (
                "Classes:\n- billing: money\n- bug: broken\n- other\n\nText",
                &["billing", "bug", "other"],
            ),
            ("1. **Red** (warm)\n2. **Blue** (cold)", &["Red", "Blue"]),
            ("Summarise this text in one sentence.", &[]),
            (
                "- Read the whole message before you answer it\n- Be kind",
                &[],
            ),
        ];
        for (text, labels) in cases {
            assert_eq!(find(text).unwrap_or_default(), labels, "{text}");
        }
    }
}
