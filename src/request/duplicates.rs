//! Finds rows that share a key, over any number of rows.
//!
//! Each row leaves 24 bytes: the 128-bit hash of its key and its row index. The first `IN_MEMORY`
//! rows stay in memory; after that all records go to 64 unnamed temporary files, chosen by the
//! hash's top 6 bits, so equal hashes meet in one file. At the end the files are sorted one after
//! the other; one too large to sort in `MAX_SORT_BYTES` is first split again by the next 6 bits.
//!
//! ```text
//! record:   hash (16 bytes, big-endian) · row index (8 bytes, big-endian)
//! ```
//!
//! **Memory**: 1.5 MiB while rows come in (half a MiB of write buffers once there are files), at
//! most about 64 MiB while sorting; and for [`OnDuplicate::First`] and [`OnDuplicate::Number`] 16
//! bytes for each row that repeats a key. **Disk**: 24 bytes a row, twice that while a file is
//! split.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::keys::OnDuplicate;

const BUCKETS: usize = 64;
const BITS: u32 = 6;
const RECORD: usize = 24;

/// Rows kept in memory before there are files: small tables need none.
const IN_MEMORY: usize = 1 << 16;

/// Most bytes that are sorted at once.
const MAX_SORT_BYTES: u64 = 64 << 20;

/// Groups and rows of each that are named in messages.
const SHOWN: usize = 5;

type KeyRecord = [u8; RECORD];

fn record(hash: u128, row_index: u64) -> KeyRecord {
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(&hash.to_be_bytes());
    record[16..].copy_from_slice(&row_index.to_be_bytes());
    record
}

fn hash_of(record: &KeyRecord) -> u128 {
    u128::from_be_bytes(std::array::from_fn(|i| record[i]))
}

fn row_of(record: &KeyRecord) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| record[16 + i]))
}

/// Rows that share a key with another row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Rows whose key another row has too, the first of each key included.
    pub rows: u64,
    /// Keys that several rows have.
    pub groups: u64,
    /// The first few groups, by their first row; of each the first few row indexes.
    pub first: Vec<Vec<u64>>,
    /// For each row that repeats an earlier row's key, in row order: its index, and the how-manieth
    /// repetition it is, from 1. Only kept where the job lets duplicates pass.
    pub ordinals: Vec<(u64, u32)>,
}

impl Duplicates {
    /// Whether all keys are different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// The how-manieth repetition of its key a row is; 0 for the first row of each key.
    #[must_use]
    pub fn ordinal(&self, row_index: u64) -> u32 {
        self.ordinals
            .binary_search_by_key(&row_index, |(row, _)| *row)
            .map_or(0, |place| self.ordinals[place].1)
    }
}

/// Takes the hash of each row's key, in row order, and finds the equal ones.
#[derive(Debug)]
pub struct DuplicateFinder {
    folder: PathBuf,
    keeps_ordinals: bool,
    max_sort_bytes: u64,
    in_memory: usize,
    records: Vec<KeyRecord>,
    buckets: Option<Vec<Bucket>>,
    pushed: u64,
}

impl DuplicateFinder {
    /// Begins; temporary files, should there be many rows, go to `folder` and are gone when the
    /// finder is.
    #[must_use]
    pub fn new(folder: &Path, on_duplicate: OnDuplicate) -> DuplicateFinder {
        DuplicateFinder {
            folder: folder.to_path_buf(),
            keeps_ordinals: on_duplicate != OnDuplicate::Error,
            max_sort_bytes: MAX_SORT_BYTES,
            in_memory: IN_MEMORY,
            records: Vec::new(),
            buckets: None,
            pushed: 0,
        }
    }

    /// Takes a row. Row indexes must rise from call to call; they may have gaps.
    ///
    /// # Errors
    /// What the file system answers when a temporary file cannot be made or written.
    pub fn push(&mut self, hash: u128, row_index: u64) -> io::Result<()> {
        self.pushed += 1;
        let record = record(hash, row_index);
        if let Some(buckets) = &mut self.buckets {
            return buckets[bucket_of(&record, 0)].write(&record);
        }
        self.records.push(record);
        if self.records.len() < self.in_memory {
            return Ok(());
        }
        let mut buckets = new_buckets(&self.folder)?;
        for record in std::mem::take(&mut self.records) {
            buckets[bucket_of(&record, 0)].write(&record)?;
        }
        self.buckets = Some(buckets);
        Ok(())
    }

    /// Rows added so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.pushed
    }

    /// Finds the rows that share a key.
    ///
    /// # Errors
    /// What the file system answers when a temporary file cannot be made, written or read.
    pub fn finish(mut self) -> io::Result<Duplicates> {
        let mut found = DuplicateSums {
            keeps_ordinals: self.keeps_ordinals,
            ..DuplicateSums::default()
        };
        match self.buckets.take() {
            None => {
                self.records.sort_unstable();
                found.take_sorted(&self.records);
            }
            Some(buckets) => {
                for bucket in buckets {
                    self.search(bucket, 1, &mut found)?;
                }
            }
        }
        Ok(found.into_duplicates())
    }

    /// Searches a bucket whose records agree in the first `level` groups of bits.
    fn search(&self, bucket: Bucket, level: u32, found: &mut DuplicateSums) -> io::Result<()> {
        if bucket.records < 2 {
            return Ok(());
        }
        let bytes = bucket.records * RECORD as u64;
        let same_hash = bucket.same_hash;
        let mut reader = bucket.read()?;
        if same_hash {
            // However many they are: the rows come in order, so there is nothing to sort.
            return found.take_group(&mut KeyRecords { reader });
        }
        if bytes <= self.max_sort_bytes {
            let mut raw = vec![0; bytes as usize];
            reader.read_exact(&mut raw)?;
            let (records, _) = raw.as_chunks_mut::<RECORD>();
            records.sort_unstable();
            found.take_sorted(records);
            return Ok(());
        }
        let mut parts = new_buckets(&self.folder)?;
        for record in (KeyRecords { reader }) {
            let record = record?;
            parts[bucket_of(&record, level)].write(&record)?;
        }
        for part in parts {
            self.search(part, level + 1, found)?;
        }
        Ok(())
    }
}

fn bucket_of(record: &KeyRecord, level: u32) -> usize {
    // Different hashes differ within their 128 bits, so they part before the shift runs out.
    let shift = (128 - BITS).saturating_sub(level * BITS);
    (hash_of(record) >> shift) as usize % BUCKETS
}

fn new_buckets(folder: &Path) -> io::Result<Vec<Bucket>> {
    (0..BUCKETS).map(|_| Bucket::new(folder)).collect()
}

/// Records on disk, in the order of their arrival.
#[derive(Debug)]
struct Bucket {
    file: BufWriter<File>,
    records: u64,
    first: u128,
    same_hash: bool,
}

impl Bucket {
    fn new(folder: &Path) -> io::Result<Bucket> {
        let file = BufWriter::with_capacity(8 << 10, tempfile::tempfile_in(folder)?);
        Ok(Bucket {
            file,
            records: 0,
            first: 0,
            same_hash: true,
        })
    }

    fn write(&mut self, record: &KeyRecord) -> io::Result<()> {
        let hash = hash_of(record);
        if self.records == 0 {
            self.first = hash;
        }
        self.same_hash &= hash == self.first;
        self.records += 1;
        self.file.write_all(record)
    }

    fn read(self) -> io::Result<BufReader<File>> {
        let mut file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(BufReader::with_capacity(64 << 10, file))
    }
}

struct KeyRecords {
    reader: BufReader<File>,
}

impl Iterator for KeyRecords {
    type Item = io::Result<KeyRecord>;

    fn next(&mut self) -> Option<io::Result<KeyRecord>> {
        let mut record = [0; RECORD];
        match self.reader.read_exact(&mut record) {
            Ok(()) => Some(Ok(record)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => Some(Err(e)),
        }
    }
}

#[derive(Default)]
struct DuplicateSums {
    duplicates: Duplicates,
    keeps_ordinals: bool,
}

impl DuplicateSums {
    /// Takes records sorted by hash and row.
    fn take_sorted(&mut self, records: &[KeyRecord]) {
        for group in records
            .chunk_by(|a, b| hash_of(a) == hash_of(b))
            .filter(|group| group.len() > 1)
        {
            self.begin_group();
            let mut shown = Vec::new();
            for (ordinal, record) in group.iter().enumerate() {
                self.take_row(row_of(record), ordinal, &mut shown);
            }
            self.show(shown);
        }
    }

    /// Takes records that all have one hash, in row order.
    fn take_group(&mut self, records: &mut KeyRecords) -> io::Result<()> {
        self.begin_group();
        let mut shown = Vec::new();
        for (ordinal, record) in records.enumerate() {
            self.take_row(row_of(&record?), ordinal, &mut shown);
        }
        self.show(shown);
        Ok(())
    }

    fn begin_group(&mut self) {
        self.duplicates.groups += 1;
    }

    fn take_row(&mut self, row: u64, ordinal: usize, shown: &mut Vec<u64>) {
        self.duplicates.rows += 1;
        if shown.len() < SHOWN {
            shown.push(row);
        }
        if ordinal > 0 && self.keeps_ordinals {
            self.duplicates
                .ordinals
                .push((row, u32::try_from(ordinal).unwrap_or(u32::MAX)));
        }
    }

    fn show(&mut self, shown: Vec<u64>) {
        let first = &mut self.duplicates.first;
        let place = first.partition_point(|group| group[0] < shown[0]);
        if place < SHOWN {
            first.insert(place, shown);
            first.truncate(SHOWN);
        }
    }

    fn into_duplicates(mut self) -> Duplicates {
        self.duplicates.ordinals.sort_unstable();
        self.duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use std::collections::HashMap;

    fn find(
        hashes: &[u128],
        on_duplicate: OnDuplicate,
        in_memory: usize,
        max_sort_bytes: u64,
    ) -> Duplicates {
        let folder = tempfile::tempdir().unwrap();
        let mut finder = DuplicateFinder {
            in_memory,
            max_sort_bytes,
            ..DuplicateFinder::new(folder.path(), on_duplicate)
        };
        for (row, hash) in hashes.iter().enumerate() {
            finder.push(*hash, row as u64 * 3).unwrap();
        }
        let found = finder.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        found
    }

    /// The same by a map in memory.
    fn model(hashes: &[u128]) -> Duplicates {
        let mut rows: HashMap<u128, Vec<u64>> = HashMap::new();
        for (row, hash) in hashes.iter().enumerate() {
            rows.entry(*hash).or_default().push(row as u64 * 3);
        }
        let mut groups: Vec<Vec<u64>> = rows.into_values().filter(|rows| rows.len() > 1).collect();
        groups.sort();
        let mut ordinals: Vec<(u64, u32)> = groups
            .iter()
            .flat_map(|rows| rows.iter().copied().zip(0..).skip(1))
            .collect();
        ordinals.sort_unstable();
        Duplicates {
            rows: groups.iter().map(|rows| rows.len() as u64).sum(),
            groups: groups.len() as u64,
            first: groups
                .iter()
                .take(SHOWN)
                .map(|rows| rows.iter().copied().take(SHOWN).collect())
                .collect(),
            ordinals,
        }
    }

    fn hash_strategy() -> impl Strategy<Value = u128> {
        // Few values, so that some are equal, and some that agree in many of their first bits.
        prop_oneof![
            (0u128..12).prop_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)),
            (0u128..8).prop_map(|n| u128::MAX - n),
            any::<u128>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_map_in_memory(hashes in proptest::collection::vec(hash_strategy(), 0..200), in_memory in 1usize..150, sorted in 1u64..40) {
            let expected = model(&hashes);
            let found = find(&hashes, OnDuplicate::Number, in_memory, sorted * RECORD as u64);
            prop_assert_eq!(&found, &expected);
            let counted = find(&hashes, OnDuplicate::Error, in_memory, sorted * RECORD as u64);
            prop_assert_eq!(counted, Duplicates { ordinals: Vec::new(), ..expected });
        }
    }

    #[test]
    fn numbers_the_repetitions_of_a_key() {
        let found = find(&[7, 8, 7, 7], OnDuplicate::First, IN_MEMORY, MAX_SORT_BYTES);
        assert_eq!([0, 3, 6, 9].map(|row| found.ordinal(row)), [0, 0, 1, 2]);
        assert_eq!(
            (found.rows, found.groups, found.first),
            (3, 1, vec![vec![0, 6, 9]])
        );
        assert!(find(&[1, 2, 3], OnDuplicate::Error, IN_MEMORY, MAX_SORT_BYTES).is_empty());
    }

    #[test]
    fn does_not_split_what_is_all_the_same() {
        let found = find(
            &vec![u128::MAX; 5_000],
            OnDuplicate::Number,
            10,
            RECORD as u64,
        );
        assert_eq!(
            (found.rows, found.groups, found.ordinals.len()),
            (5_000, 1, 4_999)
        );
    }
}
