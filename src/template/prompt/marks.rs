//! Cache marks: how many a request may have, and in which order.

use super::CacheTtl;
use crate::template::Error;

/// Most cache marks in a request.
const MAX_MARKS: usize = 4;

/// Checks cache marks, given in the order in which the model reads them: what is marked, and for
/// how long.
///
/// # Errors
/// More marks than the API takes, or a longer life behind a shorter one.
///
/// **Source**: prompt caching documentation, read 2026-08-22: at most 4 marks; every `1h` mark
/// before any `5m` one.
pub(crate) fn check_marks(marks: &[(String, CacheTtl)]) -> Result<(), Error> {
    if let Some((part, _)) = marks.get(MAX_MARKS) {
        return Err(Error::Part {
            part: part.clone(),
            problem: "has the fifth cache mark; the API takes four".to_owned(),
        });
    }
    let shorter = marks
        .iter()
        .position(|(_, ttl)| *ttl == CacheTtl::FiveMinutes);
    match shorter.and_then(|at| {
        marks[at..]
            .iter()
            .find(|(_, ttl)| *ttl == CacheTtl::OneHour)
            .map(|late| (&marks[at].0, &late.0))
    }) {
        Some((early, late)) => {
            let problem = format!(
                "is cached for 1h behind {early}, which is cached for 5m; the API requires the \
                 longer life first"
            );
            Err(Error::Part {
                part: late.clone(),
                problem,
            })
        }
        None => Ok(()),
    }
}
