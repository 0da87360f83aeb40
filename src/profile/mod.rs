//! What the columns of a table look like: the profile that is shown before a job is written, and
//! what it suggests.
//!
//! In come record batches, in any order and number; out comes a [`Profile`] with one
//! [`ColumnProfile`] a column: nulls, distinct values, whether the column can be a key, length of
//! texts, examples, and what its values look like. [`suggest`] then proposes the key, the text for
//! the prompt and the columns to group by.
//!
//! **Memory** is bounded whatever the table: at most [`MAX_HASHES`] hashes for all columns together
//! (about 70 MB) and [`MAX_DISTINCT`] a column that is known not to be unique. A value of up to 15
//! bytes is its own hash, longer ones are hashed to 128 bits, so "unique" is exact. When the room
//! is used up, the widest column gives up: its uniqueness is then unknown.
//!
//! Numbers, dates, booleans and text are looked into; lists, structs, maps and binary are only
//! counted. To recognise another kind of text, add it to `kind.rs`.

mod kind;
mod suggest;
mod values;

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};

pub use kind::Kind;
pub use suggest::{Suggestion, suggest};

use kind::Shapes;
use values::Values;

/// The hashes that are held for all columns together.
pub const MAX_HASHES: usize = 1 << 21;
/// The distinct values that are counted in a column that has duplicates.
pub const MAX_DISTINCT: usize = 10_000;
/// The columns of which pairs are tried as keys.
const MAX_PAIRED: usize = 6;
/// The examples of a column.
const MAX_EXAMPLES: usize = 3;
/// The characters of an example.
const EXAMPLE_CHARACTERS: usize = 40;

/// What a table looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The rows seen.
    pub rows: u64,
    /// The columns, in the table's order.
    pub columns: Vec<ColumnProfile>,
    /// Pairs of columns (by their place) that are unique only together, best first; empty where a
    /// column is unique by itself.
    pub unique_pairs: Vec<(usize, usize)>,
}

/// What a column looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type, in words.
    pub data_type: String,
    /// The cells without a value.
    pub nulls: u64,
    /// The texts that are empty or only space.
    pub blanks: u64,
    /// How many different values it has, null not counted.
    pub distinct: Distinct,
    /// Whether it can be a key.
    pub unique: Unique,
    /// The length of its texts; none where it holds no text.
    pub characters: Option<Characters>,
    /// Up to three different values, cut short; to be shown to the person whose table it is, and
    /// nowhere else.
    pub examples: Vec<String>,
    /// What its values look like.
    pub looks_like: Option<Kind>,
}

/// How many different values a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distinct {
    /// So many.
    Exact(u64),
    /// So many were found before counting stopped.
    AtLeast(u64),
    /// Its type is not looked into.
    Unknown,
}

impl std::fmt::Display for Distinct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(count) => write!(f, "{count}"),
            Self::AtLeast(count) => write!(f, ">= {count}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Whether a column can be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    /// All its values are different and none is null, over all rows seen.
    Yes,
    /// A value comes twice, or is null.
    No,
    /// Too many values to tell, or a type that is not looked into.
    Unknown,
}

/// The length of texts, in characters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Characters {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
}

/// Looks at the rows of a table, batch by batch.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, RecordBatch, StringArray};
/// use rowmill::profile::{Profiler, Unique, suggest};
///
/// let column = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
/// let texts = column(["Where is my card?", "How can I set a new pin?"]);
/// let batch = RecordBatch::try_from_iter([("query_id", column(["q-1", "q-2"])), ("text", texts)])?;
/// let mut profiler = Profiler::new(&batch.schema());
/// profiler.add(&batch);
/// let profile = profiler.finish();
/// assert_eq!(profile.columns[0].unique, Unique::Yes);
/// assert_eq!(suggest(&profile).key, ["query_id"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Profiler {
    rows: u64,
    columns: Vec<Column>,
    /// Chosen from the first rows; `None` before.
    pairs: Option<Vec<Pair>>,
    max_hashes: usize,
}

#[derive(Debug)]
struct Column {
    name: String,
    data_type: DataType,
    nulls: u64,
    blanks: u64,
    texts: u64,
    characters: u64,
    shortest: u64,
    longest: u64,
    seen: Seen,
    shapes: Shapes,
    examples: Vec<String>,
}

#[derive(Debug)]
struct Pair {
    columns: (usize, usize),
    seen: HashSet<u128>,
}

/// The different values so far.
#[derive(Debug)]
enum Seen {
    /// No two alike.
    Unique(HashSet<u128>),
    /// Some alike.
    Repeated(HashSet<u128>),
    /// Counting stopped.
    Many { at_least: u64, unique: Unique },
    /// Not looked into.
    Nothing,
}

impl Profiler {
    /// Starts a profile of tables with this schema.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column::new(field.name(), field.data_type()))
            .collect();
        Self {
            rows: 0,
            columns,
            pairs: None,
            max_hashes: MAX_HASHES,
        }
    }

    /// Looks at some more rows.
    ///
    /// **Shape.** The columns of the batch stand in the order of the schema. Holds no reference to
    /// the batch.
    pub fn add(&mut self, batch: &RecordBatch) {
        let values: Vec<Values> = batch.columns().iter().map(Values::of).collect();
        for ((column, array), values) in self.columns.iter_mut().zip(batch.columns()).zip(&values) {
            column.add(array, values);
        }
        self.rows += batch.num_rows() as u64;
        if self.rows > 0 && self.pairs.is_none() {
            self.pairs = Some(self.promising_pairs());
        }
        for pair in self.pairs.iter_mut().flatten() {
            pair.add(&values, batch.num_rows());
        }
        // A pair that came twice is no key.
        self.pairs
            .iter_mut()
            .for_each(|pairs| pairs.retain(|pair| !pair.seen.is_empty()));
        self.make_room();
    }

    /// Ends the profile.
    #[must_use]
    pub fn finish(self) -> Profile {
        let rows = self.rows;
        let columns: Vec<ColumnProfile> = self
            .columns
            .into_iter()
            .map(|column| column.finish(rows))
            .collect();
        let alone = columns.iter().any(|column| column.unique == Unique::Yes);
        let pairs = self
            .pairs
            .unwrap_or_default()
            .into_iter()
            .filter(|_| !alone)
            .map(|pair| pair.columns);
        Profile {
            rows,
            unique_pairs: pairs.collect(),
            columns,
        }
    }

    /// The pairs of columns that could be a key together: short, without nulls, and each with
    /// repeats in the first rows.
    fn promising_pairs(&self) -> Vec<Pair> {
        let mut columns: Vec<usize> = (0..self.columns.len())
            .filter(|&column| self.columns[column].can_be_paired())
            .collect();
        columns.sort_by_key(|&column| !suggest::is_named_like_a_key(&self.columns[column].name));
        columns.truncate(MAX_PAIRED);
        let pairs = columns
            .iter()
            .enumerate()
            .flat_map(|(place, &one)| columns[place + 1..].iter().map(move |&other| (one, other)));
        pairs
            .map(|(one, other)| Pair {
                columns: (one.min(other), one.max(other)),
                seen: HashSet::new(),
            })
            .collect()
    }

    /// Lets the widest columns give up until the hashes fit.
    fn make_room(&mut self) {
        loop {
            let paired: usize = self
                .pairs
                .iter()
                .flatten()
                .map(|pair| pair.seen.len())
                .sum();
            let held: usize = paired
                + self
                    .columns
                    .iter()
                    .map(|column| column.seen.unique_len())
                    .sum::<usize>();
            if held <= self.max_hashes {
                return;
            }
            if paired > 0 {
                self.pairs = Some(Vec::new());
                continue;
            }
            let widest = self
                .columns
                .iter_mut()
                .filter(|column| column.seen.unique_len() > 0)
                .max_by_key(|column| column.width());
            match widest {
                Some(column) => column.seen.give_up(Unique::Unknown),
                None => return,
            }
        }
    }
}

impl Column {
    fn new(name: &str, data_type: &DataType) -> Self {
        Self {
            name: name.to_owned(),
            data_type: data_type.clone(),
            nulls: 0,
            blanks: 0,
            texts: 0,
            characters: 0,
            shortest: u64::MAX,
            longest: 0,
            seen: if values::are_looked_into(data_type) {
                Seen::Unique(HashSet::new())
            } else {
                Seen::Nothing
            },
            shapes: Shapes::default(),
            examples: Vec::new(),
        }
    }

    fn add(&mut self, array: &ArrayRef, values: &Values) {
        self.nulls += array.logical_null_count() as u64;
        if self.nulls > 0 {
            self.seen.has_duplicate();
        }
        for row in 0..array.len() {
            if let Some(hash) = values.hash(row) {
                self.seen.add(hash);
            }
            if let Some(text) = values.text(row) {
                self.measure(text);
            }
        }
        if self.examples.len() < MAX_EXAMPLES {
            self.take_examples(values, array.len());
        }
    }

    fn measure(&mut self, text: &str) {
        let characters = text.chars().count() as u64;
        self.texts += 1;
        self.characters += characters;
        self.shortest = self.shortest.min(characters);
        self.longest = self.longest.max(characters);
        if text.trim().is_empty() {
            self.blanks += 1;
        } else {
            self.shapes.add(text.trim());
        }
    }

    fn take_examples(&mut self, values: &Values, rows: usize) {
        for row in 0..rows {
            if self.examples.len() == MAX_EXAMPLES {
                return;
            }
            let Some(example) = values.shown(row).map(|text| shortened(&text)) else {
                continue;
            };
            if !example.is_empty() && !self.examples.contains(&example) {
                self.examples.push(example);
            }
        }
    }

    fn can_be_paired(&self) -> bool {
        self.nulls == 0
            && self.blanks == 0
            && self.width() <= 64
            && matches!(self.seen, Seen::Repeated(_))
    }

    /// Its mean length; numbers and dates are narrow.
    fn width(&self) -> u64 {
        self.characters.checked_div(self.texts).unwrap_or(8)
    }

    fn finish(self, rows: u64) -> ColumnProfile {
        let (distinct, unique) = self.seen.counted();
        let mean = self.characters as f64 / self.texts as f64;
        let characters = (self.texts > 0).then_some(Characters {
            min: self.shortest,
            mean,
            max: self.longest,
        });
        let looks_like = kind::of(&self.data_type, &self.shapes, distinct, mean);
        ColumnProfile {
            name: self.name,
            data_type: crate::source::in_words(&self.data_type),
            nulls: self.nulls,
            blanks: self.blanks,
            distinct,
            unique: if rows == 0 { Unique::Unknown } else { unique },
            characters,
            examples: self.examples,
            looks_like,
        }
    }
}

impl Pair {
    /// Adds the pairs of a batch; forgets all when one comes twice.
    fn add(&mut self, values: &[Values], rows: usize) {
        let (one, other) = (&values[self.columns.0], &values[self.columns.1]);
        for row in 0..rows {
            let fresh = match (one.hash(row), other.hash(row)) {
                (Some(one), Some(other)) => self.seen.insert(values::joined(one, other)),
                _ => false,
            };
            if !fresh {
                self.seen = HashSet::new();
                return;
            }
        }
    }
}

impl Seen {
    fn add(&mut self, hash: u128) {
        match self {
            Self::Unique(hashes) => {
                if !hashes.insert(hash) {
                    self.has_duplicate();
                }
            }
            Self::Repeated(hashes) => {
                hashes.insert(hash);
                if hashes.len() > MAX_DISTINCT {
                    self.give_up(Unique::No);
                }
            }
            Self::Many { .. } | Self::Nothing => {}
        }
    }

    /// From now on it cannot be a key, so that only the first distinct values matter.
    fn has_duplicate(&mut self) {
        match self {
            Self::Unique(hashes) if hashes.len() > MAX_DISTINCT => self.give_up(Unique::No),
            Self::Unique(hashes) => *self = Self::Repeated(std::mem::take(hashes)),
            Self::Many { unique, .. } => *unique = Unique::No,
            Self::Repeated(_) | Self::Nothing => {}
        }
    }

    /// Stops counting and frees the memory.
    fn give_up(&mut self, unique: Unique) {
        if let Self::Unique(hashes) | Self::Repeated(hashes) = self {
            *self = Self::Many {
                at_least: hashes.len() as u64,
                unique,
            };
        }
    }

    /// The hashes held to tell whether it is a key.
    fn unique_len(&self) -> usize {
        match self {
            Self::Unique(hashes) => hashes.len(),
            _ => 0,
        }
    }

    fn counted(&self) -> (Distinct, Unique) {
        match self {
            Self::Unique(hashes) => (Distinct::Exact(hashes.len() as u64), Unique::Yes),
            Self::Repeated(hashes) => (Distinct::Exact(hashes.len() as u64), Unique::No),
            Self::Many { at_least, unique } => (Distinct::AtLeast(*at_least), *unique),
            Self::Nothing => (Distinct::Unknown, Unique::Unknown),
        }
    }
}

/// A text on one line, cut where it is long.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXAMPLE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
