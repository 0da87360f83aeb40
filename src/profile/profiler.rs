//! [`Profiler`]: counts the values of each column, within bounded memory.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::kind::{self, KindCounts};
use super::values::{self, ColumnValues};
use super::{
    Characters, ColumnProfile, Distinct, MAX_DISTINCT, MAX_HASHES, Profile, Uniqueness, suggest,
};

/// The columns of which pairs are tried as keys.
const MAX_PAIRED: usize = 6;
/// The examples of a column.
const MAX_EXAMPLES: usize = 3;
/// The characters of an example.
const EXAMPLE_CHARACTERS: usize = 40;

/// Builds the profile of a table, batch by batch.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, RecordBatch, StringArray};
/// use rowmill::profile::{Profiler, Uniqueness, suggest};
///
/// let column = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
/// let texts = column(["Where is my card?", "How can I set a new pin?"]);
/// let batch = RecordBatch::try_from_iter([("query_id", column(["q-1", "q-2"])), ("text", texts)])?;
/// let mut profiler = Profiler::new(&batch.schema());
/// profiler.add(&batch);
/// let profile = profiler.finish();
/// assert_eq!(profile.columns[0].unique, Uniqueness::Yes);
/// assert_eq!(suggest(&profile).key, ["query_id"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Profiler {
    rows: u64,
    columns: Vec<ColumnProfiler>,
    /// The pairs that may be keys, chosen by the first rows; `None` before.
    pairs: Option<Vec<ColumnPair>>,
    pub(super) max_hashes: usize,
}

#[derive(Debug)]
struct ColumnProfiler {
    name: String,
    data_type: DataType,
    nulls: u64,
    blanks: u64,
    texts: u64,
    characters: u64,
    shortest: u64,
    longest: u64,
    distinct_values: DistinctValues,
    kind_counts: KindCounts,
    examples: Vec<String>,
}

#[derive(Debug)]
struct ColumnPair {
    columns: (usize, usize),
    distinct_values: HashSet<u128>,
}

/// The different values of a column so far.
#[derive(Debug)]
enum DistinctValues {
    /// All values are different so far.
    AllDifferent(HashSet<u128>),
    /// Some values are equal.
    Repeated(HashSet<u128>),
    /// Counting stopped: there are too many values.
    Many { at_least: u64, unique: Uniqueness },
    /// Values of this type are not counted.
    Nothing,
}

impl Profiler {
    /// Starts a profile of tables with this schema.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| ColumnProfiler::new(field.name(), field.data_type()))
            .collect();
        Self {
            rows: 0,
            columns,
            pairs: None,
            max_hashes: MAX_HASHES,
        }
    }

    /// Adds rows to the profile.
    ///
    /// **Shape.** The columns of the batch stand in the order of the schema. Keeps no reference to
    /// the batch.
    pub fn add(&mut self, batch: &RecordBatch) {
        let values: Vec<ColumnValues> = batch.columns().iter().map(ColumnValues::of).collect();
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
        // A pair with an equal row was emptied: it cannot be a key.
        self.pairs
            .iter_mut()
            .for_each(|pairs| pairs.retain(|pair| !pair.distinct_values.is_empty()));
        self.make_room();
    }

    /// The finished profile.
    #[must_use]
    pub fn finish(self) -> Profile {
        let rows = self.rows;
        let columns: Vec<ColumnProfile> = self
            .columns
            .into_iter()
            .map(|column| column.finish(rows))
            .collect();
        let alone = columns
            .iter()
            .any(|column| column.unique == Uniqueness::Yes);
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

    /// The pairs of columns that may be a key together: short, without nulls, and each with
    /// duplicates in the first rows. Columns with names like keys come first.
    fn promising_pairs(&self) -> Vec<ColumnPair> {
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
            .map(|(one, other)| ColumnPair {
                columns: (one.min(other), one.max(other)),
                distinct_values: HashSet::new(),
            })
            .collect()
    }

    /// Frees hashes until they are within the limit: first those of pairs, then those of the widest
    /// columns, which are the least probable keys.
    fn make_room(&mut self) {
        loop {
            let paired: usize = self
                .pairs
                .iter()
                .flatten()
                .map(|pair| pair.distinct_values.len())
                .sum();
            let held: usize = paired
                + self
                    .columns
                    .iter()
                    .map(|column| column.distinct_values.unique_len())
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
                .filter(|column| column.distinct_values.unique_len() > 0)
                .max_by_key(|column| column.width());
            match widest {
                Some(column) => column.distinct_values.give_up(Uniqueness::Unknown),
                None => return,
            }
        }
    }
}

impl ColumnProfiler {
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
            distinct_values: if values::are_profiled(data_type) {
                DistinctValues::AllDifferent(HashSet::new())
            } else {
                DistinctValues::Nothing
            },
            kind_counts: KindCounts::default(),
            examples: Vec::new(),
        }
    }

    fn add(&mut self, array: &ArrayRef, values: &ColumnValues) {
        self.nulls += array.logical_null_count() as u64;
        if self.nulls > 0 {
            self.distinct_values.has_duplicate();
        }
        for row in 0..array.len() {
            if let Some(hash) = values.hash(row) {
                self.distinct_values.add(hash);
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
            self.kind_counts.add(text.trim());
        }
    }

    fn take_examples(&mut self, values: &ColumnValues, rows: usize) {
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
            && matches!(self.distinct_values, DistinctValues::Repeated(_))
    }

    /// The mean length of its texts; numbers and dates count as 8.
    fn width(&self) -> u64 {
        self.characters.checked_div(self.texts).unwrap_or(8)
    }

    fn finish(self, rows: u64) -> ColumnProfile {
        let (distinct, unique) = self.distinct_values.counted();
        let mean = self.characters as f64 / self.texts as f64;
        let characters = (self.texts > 0).then_some(Characters {
            min: self.shortest,
            mean,
            max: self.longest,
        });
        let looks_like = kind::of(&self.data_type, &self.kind_counts, distinct, mean);
        ColumnProfile {
            name: self.name,
            data_type: crate::source::type_name(&self.data_type),
            nulls: self.nulls,
            blanks: self.blanks,
            distinct,
            unique: if rows == 0 {
                Uniqueness::Unknown
            } else {
                unique
            },
            characters,
            examples: self.examples,
            looks_like,
        }
    }
}

impl ColumnPair {
    /// Adds the rows of a batch; drops all hashes when one occurs twice.
    fn add(&mut self, values: &[ColumnValues], rows: usize) {
        let (one, other) = (&values[self.columns.0], &values[self.columns.1]);
        for row in 0..rows {
            let fresh = match (one.hash(row), other.hash(row)) {
                (Some(one), Some(other)) => self.distinct_values.insert(values::joined(one, other)),
                _ => false,
            };
            if !fresh {
                self.distinct_values = HashSet::new();
                return;
            }
        }
    }
}

impl DistinctValues {
    fn add(&mut self, hash: u128) {
        match self {
            Self::AllDifferent(hashes) => {
                if !hashes.insert(hash) {
                    self.has_duplicate();
                }
            }
            Self::Repeated(hashes) => {
                hashes.insert(hash);
                if hashes.len() > MAX_DISTINCT {
                    self.give_up(Uniqueness::No);
                }
            }
            Self::Many { .. } | Self::Nothing => {}
        }
    }

    /// Records that the column cannot be a key, so that its distinct values are counted up to
    /// [`MAX_DISTINCT`] only.
    fn has_duplicate(&mut self) {
        match self {
            Self::AllDifferent(hashes) if hashes.len() > MAX_DISTINCT => {
                self.give_up(Uniqueness::No)
            }
            Self::AllDifferent(hashes) => *self = Self::Repeated(std::mem::take(hashes)),
            Self::Many { unique, .. } => *unique = Uniqueness::No,
            Self::Repeated(_) | Self::Nothing => {}
        }
    }

    /// Stops counting and frees the memory.
    fn give_up(&mut self, unique: Uniqueness) {
        if let Self::AllDifferent(hashes) | Self::Repeated(hashes) = self {
            *self = Self::Many {
                at_least: hashes.len() as u64,
                unique,
            };
        }
    }

    /// The number of hashes that decide whether the column is unique.
    fn unique_len(&self) -> usize {
        match self {
            Self::AllDifferent(hashes) => hashes.len(),
            _ => 0,
        }
    }

    fn counted(&self) -> (Distinct, Uniqueness) {
        match self {
            Self::AllDifferent(hashes) => (Distinct::Exact(hashes.len() as u64), Uniqueness::Yes),
            Self::Repeated(hashes) => (Distinct::Exact(hashes.len() as u64), Uniqueness::No),
            Self::Many { at_least, unique } => (Distinct::AtLeast(*at_least), *unique),
            Self::Nothing => (Distinct::Unknown, Uniqueness::Unknown),
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
