//! The filter for all output, on a terminal and in a pipe.
//!
//! External text (ids, names of columns, files and models, messages of a provider) can contain
//! anything: control characters are made visible, forged lines are indented, and long lines are
//! truncated. rowmill's own colors pass because they have a mark that nobody outside the process
//! can know.

use std::sync::OnceLock;

use super::layout;

/// A message: what follows its first line is indented, or belongs to that line and was put there by
/// somebody else.
pub(crate) fn one_message(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut message = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let is_ours = line.starts_with("  ") || (message.is_empty() && !line.is_empty());
        message.push(if is_ours { '\n' } else { '␊' });
        message.push_str(line);
    }
    message
}

/// Makes control characters visible, and truncates lines that are longer than `longest`. Line ends
/// and rowmill's own colors stay.
pub(crate) fn sanitize(text: &str, longest: usize) -> String {
    let mark = color_mark();
    let parts = text.split(mark).map(|part| {
        let mut shown = String::with_capacity(part.len());
        let mut column = 0_usize;
        for c in part.chars() {
            column = if c == '\n' { 0 } else { column + 1 };
            if column == longest {
                shown.push_str("… (cut)");
            }
            if column < longest {
                if layout::acts(c) {
                    layout::push_visible(&mut shown, c)
                } else {
                    shown.push(c)
                }
            }
        }
        shown
    });
    parts.collect::<Vec<_>>().join("\x1b[")
}

/// What begins our own colours until they are shown: nobody outside the process can write it into a
/// text.
fn color_mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| format!("\u{1}{:032x}\u{1}", fastrand::u128(..)))
}

/// A text without our own colours.
pub(crate) fn uncolored(text: &str) -> String {
    let mut parts = text.split(color_mark());
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        // A colour is its mark, its code and an `m`.
        text + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

/// JSON in which the characters are escaped, too, that JSON allows and a screen acts on.
pub(crate) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of its strings JSON has nothing but ASCII, and line feeds and blanks between.
        if c == '\u{200e}' || layout::acts(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units)
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// A text in a colour, where there is colour; `code` is the SGR code.
pub(crate) fn painted(text: &str, code: &str, color: bool) -> String {
    let mark = color_mark();
    if color {
        format!("{mark}{code}m{text}{mark}0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_nothing_through_that_acts_on_the_screen() {
        let text = "a\u{1b}[31mb\u{7}\u{9b}2J\u{202e}c\u{2066}\u{85}\u{2028}\r";
        assert_eq!(
            sanitize(text, usize::MAX),
            "a␛[31mb␇<U+009B>2J<U+202E>c<U+2066><U+0085><U+2028>␍"
        );
        assert_eq!(
            sanitize(&painted("ok", "31", true), usize::MAX),
            "\u{1b}[31mok\u{1b}[0m"
        );
        assert_eq!(
            sanitize("two\nlines\tof 日本語 שלום\u{200e}", usize::MAX),
            "two\nlines\tof 日本語 שלום\u{200e}"
        );
        assert_eq!(sanitize("123456\n12", 4), "123… (cut)\n12");
    }

    #[test]
    fn takes_our_colours_out() {
        let text = format!("a {} c", painted("b", "31;1", true));
        assert_eq!(uncolored(&text), "a b c");
        assert_eq!(uncolored("plain"), "plain");
    }

    #[test]
    fn keeps_a_forged_line_in_the_line_it_came_in() {
        assert_eq!(
            one_message("batch x\nerror: forged"),
            "batch x␊error: forged"
        );
        assert_eq!(
            one_message("3 rows failed\n  `rowmill retry` helps"),
            "3 rows failed\n  `rowmill retry` helps"
        );
        assert_eq!(layout::shown("a\nb\u{200e}"), "a␊b<U+200E>");
    }

    #[test]
    fn keeps_json_valid_and_harmless() {
        let value =
            serde_json::json!({ "a\u{202e}": "\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{200f}é\n😀" });
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
        assert!(!text.chars().any(layout::acts), "{text}");
    }
}
