//! The settings of a job that a profile suggests.

use std::cmp::Reverse;

use super::{ColumnProfile, Distinct, Profile, Uniqueness, ValueKind};

/// Columns with more distinct values than this are not worth grouping by.
const MAX_GROUPS: u64 = 100;
/// The same for columns of integers.
const MAX_RATINGS: u64 = 12;

/// Suggested settings for a first job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suggestion {
    /// The columns of the key: one, or two that are unique together; empty where only the number of
    /// the row is unique.
    pub key: Vec<String>,
    /// The column to put into the prompt: the longest prose, else the longest text.
    pub text: Option<String>,
    /// Columns with few values, each of them often: for comparing answers by group. Words before
    /// numbers, then the most groups first.
    pub categories: Vec<String>,
}

/// Suggests settings by a profile.
#[must_use]
pub fn suggest(profile: &Profile) -> Suggestion {
    let key = key(profile);
    let text = text(profile, &key);
    let free = profile
        .columns
        .iter()
        .filter(|column| !key.contains(&column.name));
    let mut categories: Vec<_> = free
        .filter_map(|column| Some((groups(column, profile.rows)?, column)))
        .collect();
    categories.sort_by_key(|&(groups, column)| {
        (
            column.looks_like == Some(ValueKind::Integer),
            Reverse(groups),
        )
    });
    Suggestion {
        text: text.map(|column| column.name.clone()),
        categories: categories
            .into_iter()
            .map(|(_, column)| column.name.clone())
            .collect(),
        key,
    }
}

fn key(profile: &Profile) -> Vec<String> {
    let unique = profile
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.unique == Uniqueness::Yes);
    let candidates = unique.filter_map(|(place, column)| Some((key_rank(column)?, place, column)));
    if let Some((.., column)) = candidates.min_by_key(|&(rank, place, _)| (rank, place)) {
        return vec![column.name.clone()];
    }
    let names = |&(one, other): &(usize, usize)| {
        [one, other]
            .map(|place| profile.columns[place].name.clone())
            .to_vec()
    };
    profile.unique_pairs.first().map(names).unwrap_or_default()
}

/// The rank of a unique column as a key, 0 for the best; `None` where it is unique only by chance.
fn key_rank(column: &ColumnProfile) -> Option<u8> {
    // An empty text is no key, and white space alone names nothing.
    if column.blanks > 0 {
        return None;
    }
    let named = is_named_like_a_key(&column.name);
    match column.looks_like {
        Some(ValueKind::Decimal | ValueKind::Json | ValueKind::Boolean | ValueKind::Prose) => None,
        Some(ValueKind::Id | ValueKind::Integer) if named => Some(0),
        _ if named && is_narrow(column) => Some(1),
        Some(ValueKind::Id) => Some(2),
        Some(ValueKind::Integer) => Some(3),
        Some(ValueKind::Email | ValueKind::Url) => Some(4),
        Some(ValueKind::Date) => None,
        _ => is_narrow(column).then_some(5),
    }
}

fn is_narrow(column: &ColumnProfile) -> bool {
    column
        .characters
        .is_none_or(|characters| characters.max <= 64)
}

/// Whether a name ends like that of a key: `id`, `ticket_id`, `ticketId`, `event_no`, `uuid`,
/// `order key`.
pub(super) fn is_named_like_a_key(name: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "id", "key", "uuid", "guid", "no", "nr", "number", "code", "pk",
    ];
    let lower = name.to_lowercase();
    let camel = name.ends_with("Id") || name.ends_with("ID") || name.ends_with("Key");
    let last = lower
        .rsplit(|letter: char| !letter.is_alphanumeric())
        .find(|word| !word.is_empty())
        .unwrap_or("");
    camel || ENDINGS.contains(&last)
}

fn text<'a>(profile: &'a Profile, key: &[String]) -> Option<&'a ColumnProfile> {
    let length = |column: &ColumnProfile| {
        // A column that is mostly empty is short, however long its few texts are.
        let texts = profile.rows.saturating_sub(column.nulls) as f64;
        column.characters.map_or(0.0, |characters| characters.mean) * texts
    };
    let longest = |fits: &dyn Fn(&ColumnProfile) -> bool| {
        let texts = profile
            .columns
            .iter()
            .filter(|column| column.characters.is_some() && fits(column));
        // The first of equals.
        texts.rev().max_by(|a, b| length(a).total_cmp(&length(b)))
    };
    let is_value = |column: &ColumnProfile| {
        matches!(
            column.looks_like,
            Some(
                ValueKind::Integer
                    | ValueKind::Decimal
                    | ValueKind::Date
                    | ValueKind::Boolean
                    | ValueKind::Email
                    | ValueKind::Url
            )
        )
    };
    longest(&|column| column.looks_like == Some(ValueKind::Prose) && !key.contains(&column.name))
        .or_else(|| longest(&|column| column.looks_like.is_none() && !key.contains(&column.name)))
        .or_else(|| longest(&|column| !is_value(column) && !key.contains(&column.name)))
        .or_else(|| longest(&|column| !is_value(column)))
}

/// The number of groups of a column; `None` where it is not useful for grouping.
fn groups(column: &ColumnProfile, rows: u64) -> Option<u64> {
    let most = match column.looks_like {
        None | Some(ValueKind::Category | ValueKind::Boolean) => MAX_GROUPS,
        // A rating, rather than an amount.
        Some(ValueKind::Integer) => MAX_RATINGS,
        _ => return None,
    };
    let values = rows.saturating_sub(column.nulls);
    match column.distinct {
        Distinct::Exact(groups) if (2..=most).contains(&groups) && 5 * groups <= values => {
            Some(groups)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_named_like_a_key;

    #[test]
    fn knows_the_names_of_keys() {
        for name in [
            "id",
            "ID",
            "ticket_id",
            "ticketId",
            "event_no",
            "uuid",
            "Order Key",
            "entry_id",
            "zip code",
        ] {
            assert!(is_named_like_a_key(name), "{name}");
        }
        for name in ["paid", "valid", "text", "monkey", "note", "nobody", ""] {
            assert!(!is_named_like_a_key(name), "{name}");
        }
    }
}
