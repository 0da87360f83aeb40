//! Sentences about sources, tables and profiles of columns.

use rowmill::source::{self, SourceWarning, TextReason};
use rowmill::table;

/// The number of file names that a sentence lists.
const LISTED_FILES: usize = 3;

/// A warning about a source.
pub(crate) fn warning(warning: &SourceWarning) -> String {
    match warning {
        SourceWarning::EmptyFiles { paths, files } => {
            let names: Vec<String> = paths
                .iter()
                .take(LISTED_FILES)
                .map(|path| format!("`{}`", path.display()))
                .collect();
            let more = match paths.len().saturating_sub(LISTED_FILES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let verb = if paths.len() == 1 {
                "is empty and is"
            } else {
                "are empty and are"
            };
            format!(
                "{} of {files} files {verb} skipped: {}{more}",
                paths.len(),
                names.join(", ")
            )
        }
        SourceWarning::ReadAsText {
            column,
            path,
            line,
            reason,
        } => format!(
            "column `{column}` is read as text: `{}` line {line} has {}; set its type in \
             `source.columns` (\"string\" keeps it as text)",
            path.display(),
            text_reason(*reason)
        ),
        _ => format!("{warning:?}"),
    }
}

fn text_reason(reason: TextReason) -> &'static str {
    match reason {
        TextReason::OutOfRange => "a number beyond the range of 64-bit integers and floats",
        TextReason::WouldBeRounded => {
            "an integer that a float would round, among numbers with decimals"
        }
        TextReason::MixedTypes => "a value of another type than the values before it",
        TextReason::TooDeep => "a value that is nested too deeply for a column",
        TextReason::TooManyKeys => "an object with too many different keys for a column",
        _ => "a value that fits no other type",
    }
}

/// The warning of `init` that a file is read with another quotation mark or escape than usual.
pub(crate) fn unusual_quoting(error: &source::Error, escape: Option<char>) -> String {
    let setting = match escape {
        Some(escape) => format!("`source.escape = {}`", toml_text(&escape.to_string())),
        None => "`source.quote = \"\"`".to_owned(),
    };
    format!("{error}; the job file sets {setting}, which fits all rows that were read")
}

/// The warning of `init` that it gave names to columns.
pub(crate) fn renamed_columns() -> String {
    "some columns have no name or the same name as another; the job file names them in \
     `source.names`, change the names as you like"
        .to_owned()
}

/// The warning of `init` that the job leaves out a column that cannot be read.
pub(crate) fn unreadable_column(error: &source::Error) -> String {
    format!("{error}; the job file leaves it out")
}

/// The hint for an expression that is not valid.
pub(crate) fn expression_hint(error: &table::Error) -> Option<&'static str> {
    use table::Error as E;
    Some(match error {
        E::UnknownColumn {
            quoted: true,
            nearest,
            ..
        } if nearest.is_empty() => "write text in 'single quotes'",
        E::TooDeep { .. } => "write a long chain of `OR` with `IN (…)`",
        E::Type {
            mixes_text_and_numbers: true,
            ..
        } => "compare text with text, as in '7', or cast it, as in CAST(x AS BIGINT)",
        _ => return None,
    })
}

fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_first_empty_files() {
        let empty = |names: &[&str]| SourceWarning::EmptyFiles {
            paths: names.iter().map(Into::into).collect(),
            files: 9,
        };
        assert_eq!(
            warning(&empty(&["a.csv"])),
            "1 of 9 files is empty and is skipped: `a.csv`"
        );
        assert_eq!(
            warning(&empty(&["a", "b", "c", "d", "e"])),
            "5 of 9 files are empty and are skipped: `a`, `b`, `c` and 2 more"
        );
    }
}
