//! The kinds of values that a profile recognises.

use arrow::datatypes::DataType;
use serde::de::IgnoredAny;

use super::Distinct;

/// The number of texts of a column that are classified.
const MAX_CLASSIFIED: u64 = 10_000;
/// The share of texts that must be of a kind for the column to be of that kind. All texts must be
/// for numbers and booleans.
const MIN_SHARE: f64 = 0.98;
/// More distinct values than this are not a category.
const MAX_CATEGORIES: u64 = 200;

/// The kind of the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Whole numbers, written without leading zeros.
    Integer,
    /// Numbers with a point.
    Decimal,
    /// Dates, or dates with a time.
    Date,
    /// True and false, yes and no.
    Boolean,
    /// Addresses of mail.
    Email,
    /// Addresses of pages or files.
    Url,
    /// JSON objects or arrays.
    Json,
    /// Codes: one word each, with digits in most, like `te-00004` or `007`.
    Id,
    /// A few values, each of them often.
    Category,
    /// Sentences.
    Prose,
}

/// The number of texts of a column by kind.
#[derive(Debug, Default)]
pub(super) struct KindCounts {
    texts: u64,
    integers: u64,
    numbers: u64,
    dates: u64,
    booleans: u64,
    emails: u64,
    urls: u64,
    jsons: u64,
    words: u64,
    codes: u64,
    leading_zeros: u64,
}

impl KindCounts {
    /// Classifies a text that is neither empty nor surrounded by white space.
    pub(super) fn add(&mut self, text: &str) {
        if self.texts == MAX_CLASSIFIED {
            return;
        }
        let is_word = !text.contains(char::is_whitespace);
        let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
        let counts = [
            (&mut self.texts, true),
            (&mut self.integers, is_integer(text)),
            (&mut self.numbers, is_number(text)),
            (&mut self.dates, has_digit && is_date(text)),
            (&mut self.booleans, is_boolean(text)),
            (&mut self.emails, is_word && is_email(text)),
            (&mut self.urls, is_word && is_url(text)),
            (&mut self.jsons, is_json(text)),
            (&mut self.words, is_word),
            (
                &mut self.codes,
                is_word && has_digit && text.is_ascii() && text.len() <= 64,
            ),
            (&mut self.leading_zeros, has_leading_zero(text)),
        ];
        for (count, holds) in counts {
            *count += u64::from(holds);
        }
    }
}

/// The kind of a column.
pub(super) fn of(
    data_type: &DataType,
    kind_counts: &KindCounts,
    distinct: Distinct,
    mean_characters: f64,
) -> Option<ValueKind> {
    match data_type {
        DataType::Boolean => return Some(ValueKind::Boolean),
        number if number.is_integer() => return Some(ValueKind::Integer),
        number if number.is_numeric() => return Some(ValueKind::Decimal),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            return Some(ValueKind::Date);
        }
        _ => {}
    }
    let texts = kind_counts.texts;
    if texts == 0 {
        return None;
    }
    let most = |count: u64| count as f64 >= MIN_SHARE * texts as f64;
    let few =
        matches!(distinct, Distinct::Exact(count) if count <= MAX_CATEGORIES && 2 * count <= texts);
    let kinds = [
        (ValueKind::Boolean, kind_counts.booleans == texts),
        (
            ValueKind::Integer,
            kind_counts.integers == texts && kind_counts.leading_zeros == 0,
        ),
        (
            ValueKind::Decimal,
            kind_counts.numbers == texts && kind_counts.leading_zeros == 0,
        ),
        (ValueKind::Date, most(kind_counts.dates)),
        (ValueKind::Email, most(kind_counts.emails)),
        (ValueKind::Url, most(kind_counts.urls)),
        (ValueKind::Json, most(kind_counts.jsons)),
        (ValueKind::Id, kind_counts.integers == texts),
        (ValueKind::Category, few && mean_characters <= 60.0),
        (
            ValueKind::Id,
            kind_counts.words == texts && most(kind_counts.codes),
        ),
        // Some scripts put no space between words.
        (
            ValueKind::Prose,
            mean_characters >= 40.0 || (mean_characters >= 20.0 && 2 * kind_counts.words <= texts),
        ),
    ];
    kinds
        .into_iter()
        .find(|(_, holds)| *holds)
        .map(|(kind, _)| kind)
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `007` is a code, not seven.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

fn is_number(text: &str) -> bool {
    // Rust also reads words like `nan` and `infinity`.
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.parse::<f64>().is_ok()
}

fn is_boolean(text: &str) -> bool {
    ["true", "false", "yes", "no", "t", "f", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// `2024-01-31`, `31.1.2024`, `1/31/2024`, with or without a time behind.
fn is_date(text: &str) -> bool {
    let day = text.split([' ', 'T']).next().unwrap_or(text);
    let Some(separator) = ['-', '/', '.']
        .into_iter()
        .find(|&separator| day.contains(separator))
    else {
        return false;
    };
    let within = |part: &str, digits: usize, low: u32, high: u32| {
        part.len() <= digits
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse().is_ok_and(|n: u32| (low..=high).contains(&n))
    };
    let small = |part: &str| within(part, 2, 1, 31);
    let year = |part: &str| within(part, 4, 1000, 2999);
    match day.split(separator).collect::<Vec<_>>().as_slice() {
        [first, second, third] => {
            let short_year = third.len() == 2 && within(third, 2, 0, 99);
            small(second)
                && ((year(first) && small(third)) || (small(first) && (year(third) || short_year)))
        }
        _ => false,
    }
}

fn is_email(text: &str) -> bool {
    match text.split_once('@') {
        Some((user, host)) => {
            !user.is_empty()
                && !host.contains('@')
                && host.split('.').count() > 1
                && !host.starts_with('.')
        }
        None => false,
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("www.")
        || text
            .split_once("://")
            .is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(texts: &[&str], distinct: u64) -> Option<ValueKind> {
        let mut kind_counts = KindCounts::default();
        texts.iter().for_each(|text| kind_counts.add(text));
        let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
        of(
            &DataType::Utf8,
            &kind_counts,
            Distinct::Exact(distinct),
            characters as f64 / texts.len() as f64,
        )
    }

    #[test]
    fn detects_the_kind_a_user_would_name() {
        let cases: [(&[&str], Option<ValueKind>); 22] = [
            (&["1", "-20", "0"], Some(ValueKind::Integer)),
            (&["007", "291"], Some(ValueKind::Id)),
            (&["00291", "10115"], Some(ValueKind::Id)),
            (&["1.50", "2", "-1e3"], Some(ValueKind::Decimal)),
            (&["nan", "inf"], None),
            (&["2024-01-31", "2024-02-01"], Some(ValueKind::Date)),
            (
                &["2024-01-31T10:00:00Z", "2024-01-31 10:00"],
                Some(ValueKind::Date),
            ),
            (&["1/5/2011", "12/31/99"], Some(ValueKind::Date)),
            (&["31.12.2024"], Some(ValueKind::Date)),
            (&["1.2.3", "10.0.1"], Some(ValueKind::Id)),
            (&["2024-99-31"], Some(ValueKind::Id)),
            (&["true", "FALSE"], Some(ValueKind::Boolean)),
            (&["yes", "no"], Some(ValueKind::Boolean)),
            (&["a@b.org", "c.d@e.co.uk"], Some(ValueKind::Email)),
            (&["https://a.b/c", "s3://bucket/key"], Some(ValueKind::Url)),
            (&["{\"a\": 1}", "[1, 2]"], Some(ValueKind::Json)),
            (&["te-00004", "te-00006"], Some(ValueKind::Id)),
            (
                &["550e8400-e29b-41d4-a716-446655440000"],
                Some(ValueKind::Id),
            ),
            (
                &[
                    "I see a direct debit that is not mine",
                    "who charged my card",
                ],
                Some(ValueKind::Prose),
            ),
            (
                &[
                    "最後まで読んで本当に良かったと思える一冊でした。また読み返したいと思います、きっと何度でも。",
                ],
                Some(ValueKind::Prose),
            ),
            (&["red", "green", "blue"], None),
            (&[], None),
        ];
        for (texts, expected) in cases {
            assert_eq!(kind(texts, texts.len() as u64), expected, "{texts:?}");
        }
    }

    #[test]
    fn a_few_values_that_come_often_are_a_category() {
        assert_eq!(
            kind(&["new", "done", "new", "done"], 2),
            Some(ValueKind::Category)
        );
        assert_eq!(kind(&["new", "done", "open", "done"], 3), None);
    }

    #[test]
    fn a_single_odd_value_does_not_hide_what_the_others_look_like() {
        let mut texts = vec!["a@b.org"; 99];
        texts.push("unknown");
        assert_eq!(kind(&texts, 100), Some(ValueKind::Email));
        let mut texts = vec!["7"; 99];
        texts.push("seven");
        assert_ne!(kind(&texts, 2), Some(ValueKind::Integer));
    }
}
