//! Tables for a terminal: one line per row, columns aligned, long cells truncated, in any script.

use console::{measure_text_width, truncate_str};

/// The width of the labels of a report.
pub(crate) const HEAD: usize = 11;
/// Between two columns.
const GAP: usize = 2;
/// The maximum width of a cell; real ids are shorter.
const LONGEST_CELL: usize = 300;
/// The minimum width of a text column.
const NARROWEST: usize = 8;

/// A column, by its alignment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a> {
    /// Left-aligned; truncated if the table is wider than the screen.
    Text(&'a str),
    /// Left-aligned; never truncated, because a truncated id is useless.
    Id(&'a str),
    /// Right-aligned; never truncated.
    Number(&'a str),
}

impl<'a> Column<'a> {
    fn name(&self) -> &'a str {
        match self {
            Column::Text(name) | Column::Id(name) | Column::Number(name) => name,
        }
    }
}

/// The lines of a table with a header, at most `width` wide if its text columns can be truncated.
pub(crate) fn table<R: AsRef<str>>(
    columns: &[Column<'_>],
    rows: impl IntoIterator<Item = Vec<R>>,
    width: usize,
) -> String {
    let head = columns.iter().map(|column| plain(column.name())).collect();
    let mut lines: Vec<Vec<String>> = vec![head];
    lines.extend(
        rows.into_iter()
            .map(|row| row.iter().map(|cell| plain(cell.as_ref())).collect()),
    );
    let widths = widths(columns, &lines, width);
    let lines: Vec<String> = lines
        .iter()
        .map(|cells| line(columns, cells, &widths))
        .collect();
    lines.join("\n")
}

/// A sentence, wrapped.
pub(crate) fn wrapped(sentence: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if !line.is_empty() && measure_text_width(line) + 1 + measure_text_width(word) > width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// A label and a wrapped sentence.
pub(crate) fn labelled(label: &str, sentence: &str, width: usize) -> String {
    let text = indented(&wrapped(sentence, width.saturating_sub(HEAD).max(20)), HEAD);
    format!("{label:<HEAD$}{}", text.trim_start())
}

/// Lines with an indent.
pub(crate) fn indented(text: &str, columns: usize) -> String {
    let indent = " ".repeat(columns);
    text.lines()
        .map(|line| format!("{indent}{line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The width of each column: the width of its cells, or less if the table would be too wide.
fn widths(columns: &[Column<'_>], lines: &[Vec<String>], width: usize) -> Vec<usize> {
    let needs = |i: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(i))
            .map(|cell| measure_text_width(cell))
            .max()
            .unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(needs).collect();
    let gaps = GAP * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let can_give = |&i: &usize| matches!(columns[i], Column::Text(_)) && widths[i] > NARROWEST;
        let Some(widest) = (0..columns.len())
            .filter(can_give)
            .max_by_key(|&i| widths[i])
        else {
            break;
        };
        widths[widest] -= 1;
    }
    widths
}

fn line(columns: &[Column<'_>], cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (i, cell) in cells.iter().enumerate().take(columns.len()) {
        if i > 0 {
            text.push_str(&" ".repeat(GAP));
        }
        let cut = truncate_str(cell, widths[i], "…");
        let room = " ".repeat(widths[i].saturating_sub(measure_text_width(&cut)));
        let (before, after) = if matches!(columns[i], Column::Number(_)) {
            (room.as_str(), "")
        } else {
            ("", room.as_str())
        };
        text.push_str(before);
        text.push_str(&cut);
        if is_right_to_left(&cut) {
            // Ends the run of right-to-left text, so that the columns after it stay where they are.
            text.push('\u{200e}');
        }
        text.push_str(after);
    }
    text.truncate(text.trim_end().len());
    text
}

/// A cell as one line that cannot change how the rest of the screen looks.
fn plain(cell: &str) -> String {
    let clean = |c: char| {
        if c.is_control() || is_line_end(c) {
            ' '
        } else {
            c
        }
    };
    let shown: String = cell
        .chars()
        .map(clean)
        .filter(|&c| !is_direction(c))
        .take(LONGEST_CELL + 1)
        .collect();
    if shown.chars().nth(LONGEST_CELL).is_none() {
        shown
    } else {
        shown.chars().take(LONGEST_CELL).chain(['…']).collect()
    }
}

/// A text of several lines, with control characters made visible.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c => push_visible(&mut shown, c),
        }
    }
    shown
}

/// Characters of a name or an id.
const LONGEST_NAME: usize = 200;

/// An external name, id or other short text, in one line.
pub(crate) fn shown(text: &str) -> String {
    shown_to(text, LONGEST_NAME)
}

/// An external text, in one line of at most `longest` characters.
pub(crate) fn shown_to(text: &str, longest: usize) -> String {
    in_one_line(text, longest)
}

/// A text in one line, with control characters made visible, and truncated to `longest`
/// characters.
pub(crate) fn in_one_line(text: &str, longest: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(4 * longest));
    for (n, c) in text.chars().enumerate() {
        if n == longest {
            let more = text.chars().skip(n).count();
            shown.push_str(&format!("… ({more} more characters)"));
            break;
        }
        push_visible(&mut shown, c);
    }
    shown
}

/// Whether a character of a text could control the screen; the mark that ends a run of
/// right-to-left text in a table cannot.
pub(crate) fn acts(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || is_line_end(c)
        || (is_direction(c) && c != '\u{200e}')
}

/// Appends a character, or the replacement of one that could control the screen.
pub(crate) fn push_visible(shown: &mut String, c: char) {
    match c {
        '\u{7f}' => shown.push('␡'),
        '\0'..='\u{1f}' => shown.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('�')),
        c if c.is_control() || is_direction(c) || is_line_end(c) => {
            shown.push_str(&format!("<U+{:04X}>", u32::from(c)))
        }
        c => shown.push(c),
    }
}

/// Characters that end a line, beside the control characters that do.
fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Characters that only change the reading order of others.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text has letters that are written from right to left: Hebrew, Arabic and their
/// neighbours.
fn is_right_to_left(text: &str) -> bool {
    text.chars().any(
        |c| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}'),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<'_>; 3] = [
        Column::Id("id"),
        Column::Text("text"),
        Column::Number("rows"),
    ];

    #[test]
    fn aligns_and_ends_no_line_in_blanks() {
        let text = table(
            &COLUMNS,
            [
                vec!["T-1", "short", "7"],
                vec!["T-200", "a longer text", "1,540"],
            ],
            80,
        );
        assert_eq!(
            text,
            "id     text            rows\nT-1    short              7\nT-200  a longer text  1,540"
        );
        let text = table(&COLUMNS[..2], [vec!["T-1", ""]], 80);
        assert_eq!(text, "id   text\nT-1");
    }

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrapped("one two three four", 8), "one two\nthree\nfour");
        assert_eq!(
            labelled("cache", "one two three four, five six", 30),
            "cache      one two three four,\n           five six"
        );
        assert_eq!(
            indented(&wrapped("a verylongword b", 6), 2),
            "  a\n  verylongword\n  b"
        );
    }

    #[test]
    fn cuts_text_and_nothing_else() {
        let long = "word ".repeat(40);
        let text = table(
            &COLUMNS,
            [vec!["T-0000000000000000000001", long.as_str(), "1,540"]],
            60,
        );
        assert!(
            text.lines().all(|line| measure_text_width(line) <= 60),
            "{text}"
        );
        assert!(
            text.contains("T-0000000000000000000001")
                && text.contains('…')
                && text.ends_with("1,540"),
            "{text}"
        );
        let narrow = table(
            &COLUMNS,
            [vec!["T-0000000000000000000001", long.as_str(), "1,540"]],
            10,
        );
        assert!(
            narrow.contains("T-0000000000000000000001") && narrow.contains("word wo…"),
            "{narrow}"
        );
    }

    #[test]
    fn measures_wide_letters_and_contains_text_that_runs_the_other_way() {
        let rows = [
            vec!["1", "영화가 좋다", "1"],
            vec!["2", "שלום", "2"],
            vec!["3", "a\u{202e}b\nc\u{1b}[31m", "3"],
        ];
        let text = table(&COLUMNS, rows, 80);
        let ends: Vec<usize> = text.lines().map(measure_text_width).collect();
        assert!(ends.iter().all(|&end| end == ends[0]), "{ends:?}\n{text}");
        assert!(text.contains("שלום\u{200e}"), "{text}");
        assert!(text.contains("ab c [31m"), "{text:?}");
    }

    #[test]
    fn shows_what_could_act_on_the_screen() {
        assert_eq!(
            visible("a\tb\nc\u{1b}[31m\u{7f}\u{202e}d\u{9b}é"),
            "a\tb\nc␛[31m␡<U+202E>d<U+009B>é"
        );
        assert_eq!(
            in_one_line("a\nb\u{2028}c\u{85}", 9),
            "a␊b<U+2028>c<U+0085>"
        );
        assert_eq!(
            in_one_line(&"x".repeat(5_000_000), 3),
            "xxx… (4999997 more characters)"
        );
    }
}
