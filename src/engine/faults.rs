//! Rows that stop a job, counted, with the first of them by number.

use serde::Serialize;

use crate::request::RowError;
use crate::request::keys::KeyFault;

/// How many rows are named.
const NAMED: usize = 5;
/// Rows that cannot be rendered after which planning stops: one more teaches nothing, and an error
/// costs more time than a row.
const ENOUGH: u64 = 1_000;

/// A count of rows with one fault, and the first of them.
#[derive(Debug, Default, Clone, Serialize)]
pub struct FaultCount {
    /// How many.
    #[serde(rename = "rows")]
    pub count: u64,
    /// The first, by `row_index` (from 0).
    pub first: Vec<u64>,
}

impl FaultCount {
    fn add(&mut self, row_index: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row_index);
        }
    }

    fn absorb(&mut self, other: FaultCount) {
        self.count += other.count;
        let room = NAMED - self.first.len();
        self.first.extend(other.first.into_iter().take(room));
    }
}

/// Rows that cannot be rendered, by why.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(transparent)]
pub struct Causes {
    /// The causes, in the order in which they are met.
    pub list: Vec<Cause>,
    /// Rows of further causes.
    #[serde(skip)]
    pub more: FaultCount,
}

/// Why some rows cannot be rendered.
#[derive(Debug, Clone, Serialize)]
pub struct Cause {
    /// What is wrong with the first of them.
    pub why: String,
    /// The rows.
    #[serde(flatten)]
    pub rows: FaultCount,
}

/// Causes that are listed; rows with further ones are counted together.
const MOST_CAUSES: usize = 20;

impl Causes {
    pub(crate) fn add(&mut self, row_index: u64, why: &str) {
        match self.find(why) {
            Some(cause) => cause.rows.add(row_index),
            None => self.more.add(row_index),
        }
    }

    /// The cause with these words, numbers aside: two pictures too large are too large for the same
    /// reason.
    fn find(&mut self, why: &str) -> Option<&mut Cause> {
        fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
            text.chars().filter(|c| !c.is_ascii_digit() && *c != ',')
        }
        // A place of a template is a number, too, and of another cause.
        fn place(text: &str) -> Option<&str> {
            text.split_once(" line ")
                .and_then(|(_, rest)| rest.split_once(':'))
                .map(|(line, _)| line)
        }
        let known = |cause: &Cause| {
            cause.why == why
                || (place(&cause.why) == place(why) && letters(&cause.why).eq(letters(why)))
        };
        let at = match self.list.iter().position(known) {
            Some(at) => at,
            None if self.list.len() < MOST_CAUSES => {
                self.list.push(Cause {
                    why: why.to_owned(),
                    rows: FaultCount::default(),
                });
                self.list.len() - 1
            }
            None => return None,
        };
        self.list.get_mut(at)
    }

    pub(crate) fn absorb(&mut self, later: Causes) {
        for cause in later.list {
            match self.find(&cause.why) {
                Some(known) => known.rows.absorb(cause.rows),
                None => self.more.absorb(cause.rows),
            }
        }
        self.more.absorb(later.more);
    }
}

/// What was wrong with rows.
#[derive(Debug, Default)]
pub struct Faults {
    /// Rows whose key is null, with the column.
    pub null_keys: FaultCount,
    /// Rows whose key is the empty text.
    pub empty_keys: FaultCount,
    /// The column the first bad key is missing in.
    pub key_column: Option<String>,
    /// Rows that cannot be rendered.
    pub not_rendered: FaultCount,
    /// The same by why.
    pub causes: Causes,
    /// The first of them: its key in words, and why.
    pub first_error: Option<(u64, String, RowError)>,
}

impl Faults {
    /// The fault of one row that cannot be rendered.
    #[must_use]
    pub fn one(row_index: u64, key: &str, error: RowError) -> Faults {
        let mut faults = Faults::default();
        faults.render(row_index, key, error);
        faults
    }

    pub(crate) fn key(&mut self, row_index: u64, fault: &KeyFault) {
        let column = match fault {
            KeyFault::Null { column } => {
                self.null_keys.add(row_index);
                column
            }
            KeyFault::Empty { column } => {
                self.empty_keys.add(row_index);
                column
            }
        };
        self.key_column.get_or_insert_with(|| column.clone());
    }

    pub(crate) fn render(&mut self, row_index: u64, key: &str, error: RowError) {
        self.not_rendered.add(row_index);
        self.causes.add(row_index, &super::in_one_line(&error));
        if self.first_error.is_none() {
            self.first_error = Some((row_index, key.to_owned(), error));
        }
    }

    /// Takes in the faults of rows that come after.
    pub(crate) fn absorb(&mut self, later: Faults) {
        self.null_keys.absorb(later.null_keys);
        self.empty_keys.absorb(later.empty_keys);
        self.not_rendered.absorb(later.not_rendered);
        self.causes.absorb(later.causes);
        self.key_column = self.key_column.take().or(later.key_column);
        self.first_error = self.first_error.take().or(later.first_error);
    }

    pub(crate) fn any(&self) -> bool {
        self.null_keys.count + self.empty_keys.count + self.not_rendered.count > 0
    }

    pub(crate) fn enough(&self) -> bool {
        self.not_rendered.count >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_causes_and_counts_each() {
        let mut causes = Causes::default();
        let picture =
            |bytes: u64| format!("block 1 cannot be created for this row: it has {bytes} bytes");
        for row in 0..6 {
            causes.add(row, &picture(row * 1_000));
        }
        causes.add(6, "`t` line 3: `a.b` is undefined");
        let mut later = Causes::default();
        later.add(7, "`t` line 4: `a.b` is undefined");
        later.add(8, "`t` line 3: `a.b` is undefined");
        causes.absorb(later);
        let found: Vec<(u64, &[u64])> = causes
            .list
            .iter()
            .map(|cause| (cause.rows.count, &cause.rows.first[..]))
            .collect();
        assert_eq!(found, [(6, &[0, 1, 2, 3, 4][..]), (2, &[6, 8]), (1, &[7])]);
        for row in 0..100_u64 {
            causes.add(row, &"x".repeat(row as usize));
        }
        assert_eq!(
            (causes.list.len(), causes.more.count),
            (MOST_CAUSES, 100 - (MOST_CAUSES as u64 - 3))
        );
    }
}
