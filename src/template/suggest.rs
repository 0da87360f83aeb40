//! Names as they are shown and suggested in errors.

/// Names of columns as words, the first forty of them.
pub(crate) fn listed(columns: &[String]) -> String {
    const MOST: usize = 40;
    if columns.is_empty() {
        return "none".to_owned();
    }
    let mut text = columns
        .iter()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if columns.len() > MOST {
        text.push_str(&format!(" and {} more", columns.len() - MOST));
    }
    text
}

/// The known name nearest to an unknown one, if it is near enough to be meant.
pub(crate) fn nearest<'n>(unknown: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let lower = unknown.to_lowercase();
    let (distance, name) = known
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                name,
            )
        })
        .min()?;
    (distance <= 1 + name.chars().count() / 3).then(|| name.to_owned())
}
