//! Sentences about templates and media.

use rowmill::media::{self, Detected, MediaKind};
use rowmill::template::{ComparisonFix, TemplateWarning, TextCondition};

/// A warning about a template.
pub(crate) fn warning(warning: &TemplateWarning) -> String {
    match warning {
        TemplateWarning::TextCondition(TextCondition {
            template,
            line,
            column,
        }) => format!(
            "`{template}` line {line}: the column `{column}` is text and is used as a condition; \
             all its values read as booleans, but the text `false` is true like any other text: \
             {}, or compare it with text, such as `== \"true\"`",
            set_type(column, "bool")
        ),
        _ => format!("{warning:?}"),
    }
}

/// What to write instead of a comparison that is the same for every row.
pub(crate) fn comparison_fix(fix: &ComparisonFix) -> String {
    match fix {
        ComparisonFix::ConvertOrSetInteger { column } => format!(
            "write `|int` or `|float` behind the column, or {}",
            set_type(column, "int64")
        ),
        ComparisonFix::Convert => "write `|int` or `|float` behind it".to_owned(),
        ComparisonFix::ConvertToFloat => "write `|float` behind the column".to_owned(),
        ComparisonFix::ConvertOtherSide => "write `|int` or `|float` behind the text".to_owned(),
        ComparisonFix::SetBoolean { column } => format!(
            "{}, or compare it with text, such as `\"true\"`",
            set_type(column, "bool")
        ),
        ComparisonFix::CompareWithDateText => {
            "compare it with text, such as `\"2026-01-31\"`".to_owned()
        }
        ComparisonFix::CompareWithText => "compare it with text, such as `\"true\"`".to_owned(),
        ComparisonFix::CompareWithNumber => "compare it with a number, such as `1`".to_owned(),
        ComparisonFix::UnquoteNumber => "write the number without quotes".to_owned(),
        ComparisonFix::UnquoteBoolean => "write `true` or `false` without quotes".to_owned(),
        ComparisonFix::UseItems => {
            "ask with `in` what the list holds, or compare one of its items".to_owned()
        }
        ComparisonFix::UseFields => "compare one of its fields".to_owned(),
        ComparisonFix::UseIn => "ask with `in` whether it is one of them".to_owned(),
        ComparisonFix::CompareWith(class) => format!("compare it with {class}"),
        _ => format!("{fix:?}"),
    }
}

/// How to give a column of the source another type. A name that is no bare key of TOML is quoted.
pub(crate) fn set_type(column: &str, data_type: &str) -> String {
    let is_bare = column
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if is_bare {
        column.to_owned()
    } else {
        format!("{column:?}")
    };
    format!("set `columns.{key} = \"{data_type}\"` under `[source]`")
}

/// A picture or document in a few words, such as `png 640x427` or `pdf, 3 pages`.
pub(crate) fn media_in_words(bytes: &[u8]) -> String {
    match media::detect(bytes) {
        Some(Detected {
            kind,
            size: Some((width, height)),
            ..
        }) => format!("{} {width}x{height}", kind.extension()),
        Some(Detected {
            kind: MediaKind::Pdf,
            pages,
            ..
        }) => format!("pdf, {pages} {}", if pages == 1 { "page" } else { "pages" }),
        Some(Detected { kind, .. }) => kind.extension().to_owned(),
        None => "of an unknown kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_columns_whose_names_are_no_bare_keys() {
        for (column, hint) in [
            (
                "zip",
                "write `|int` or `|float` behind the column, or set `columns.zip = \"int64\"` \
                 under `[source]`",
            ),
            (
                "Customer name",
                "write `|int` or `|float` behind the column, or set `columns.\"Customer name\" = \
                 \"int64\"` under `[source]`",
            ),
        ] {
            let column = column.to_owned();
            assert_eq!(
                comparison_fix(&ComparisonFix::ConvertOrSetInteger { column }),
                hint
            );
        }
    }
}
