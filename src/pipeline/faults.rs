//! Rows that stop a job, counted, with the first of them by number.

use crate::request::RowError;
use crate::request::keys::KeyFault;

/// How many rows are named.
const NAMED: usize = 5;
/// After so many rows that cannot be rendered nobody learns from one more, and an error costs more than a row.
const ENOUGH: u64 = 1_000;

/// A count of rows with one fault, and the first of them.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The first, by `row_index` (from 0).
    pub first: Vec<u64>,
}

impl Tally {
    fn add(&mut self, row_index: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row_index);
        }
    }

    fn absorb(&mut self, other: Tally) {
        self.count += other.count;
        let room = NAMED - self.first.len();
        self.first.extend(other.first.into_iter().take(room));
    }
}

/// What was wrong with rows.
#[derive(Debug, Default)]
pub struct Faults {
    /// Rows whose key is null, with the column.
    pub null_keys: Tally,
    /// Rows whose key is the empty text.
    pub empty_keys: Tally,
    /// The column the first bad key is missing in.
    pub key_column: Option<String>,
    /// Rows that cannot be rendered.
    pub not_rendered: Tally,
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
        if self.first_error.is_none() {
            self.first_error = Some((row_index, key.to_owned(), error));
        }
    }

    /// Takes in the faults of rows that come after.
    pub(crate) fn absorb(&mut self, later: Faults) {
        self.null_keys.absorb(later.null_keys);
        self.empty_keys.absorb(later.empty_keys);
        self.not_rendered.absorb(later.not_rendered);
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
