//! Sorted lists of hashes, by which rows of earlier outputs are found.
//!
//! ```text
//!  entry (14 bytes)   hash, its first 80 bits │ row, 32 bits       sorted, in one array
//!  bucket (4 bytes)   the first bits of a hash → where its entries begin
//! ```
//!
//! Two different hashes of ten million rows each have the same 80 bits with a probability below
//! one in ten thousand million, and a row that is taken is compared by its whole hash once more
//! when it is written.
//!
//! The number of buckets grows with that of the entries: a bucket has about 8 to 16 of them, unless
//! hashes repeat. A search reads one bucket and its entries, which are beside each other in memory.
//!
//! **Memory:** 14 bytes a row, and half of one for the buckets, whatever the rows hold.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a hash that are kept.
const HASH_BYTES: usize = 10;
/// The first 80 bits of a hash.
pub(super) type ShortHash = [u8; HASH_BYTES];

type Entry = [u8; HASH_BYTES + 4];

/// About the most entries of a bucket.
const BUCKET_ENTRIES: usize = 16;

/// Collects entries, in any order.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    entries: Vec<Entry>,
}

/// Rows by hash.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    /// How many bits of a hash are behind those that choose its bucket, of its first 64.
    shift: u32,
    /// For each bucket, where its entries begin; and where the last ones end.
    buckets: Vec<u32>,
}

impl IndexBuilder {
    /// A builder with room for this number of rows.
    pub(super) fn with_capacity(rows: usize) -> IndexBuilder {
        IndexBuilder {
            entries: Vec::with_capacity(rows),
        }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, hash: ShortHash, row: u32) {
        self.entries.push(entry(&hash, row));
    }

    /// Sorts the entries.
    pub(super) fn finish(self) -> Index {
        let mut entries = self.entries;
        entries.sort_unstable();
        let count = (entries.len() / BUCKET_ENTRIES + 1)
            .next_power_of_two()
            .max(2);
        let shift = u64::BITS - count.ilog2();
        let mut buckets = vec![0_u32; count + 1];
        for entry in &entries {
            buckets[bucket(entry, shift) + 1] += 1;
        }
        for at in 1..buckets.len() {
            buckets[at] += buckets[at - 1];
        }
        Index {
            entries,
            shift,
            buckets,
        }
    }
}

impl Index {
    /// The position of the first entry of a hash, and its row, which is the lowest.
    pub(super) fn first(&self, hash: &ShortHash) -> Option<(usize, u32)> {
        let (from, entries) = self.bucket(hash);
        let at = entries.partition_point(|entry| entry[..HASH_BYTES] < hash[..]);
        let found = entries
            .get(at)
            .filter(|entry| entry[..HASH_BYTES] == hash[..])?;
        Some((from + at, row_of(found)))
    }

    /// Whether a hash has this row.
    pub(super) fn has(&self, hash: &ShortHash, row: u32) -> bool {
        let (_, entries) = self.bucket(hash);
        entries.binary_search(&entry(hash, row)).is_ok()
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Two rows with the same hash, and the number of entries whose hash an earlier one has.
    pub(super) fn repeated(&self) -> Option<(u64, [u32; 2])> {
        let mut pairs = self
            .entries
            .windows(2)
            .filter(|pair| pair[0][..HASH_BYTES] == pair[1][..HASH_BYTES]);
        let first = pairs.next()?;
        let rows = [row_of(&first[0]), row_of(&first[1])];
        Some((1 + pairs.count() as u64, rows))
    }

    /// The row of the entry at a position.
    pub(super) fn row_at(&self, at: usize) -> u32 {
        row_of(&self.entries[at])
    }

    /// The entries of the bucket of a hash, and where they begin.
    fn bucket(&self, hash: &ShortHash) -> (usize, &[Entry]) {
        let bounds = self.buckets.get(bucket(hash, self.shift)..);
        let Some(&[from, to]) = bounds.and_then(<[u32]>::first_chunk) else {
            return (0, &[]);
        };
        (from as usize, &self.entries[from as usize..to as usize])
    }
}

/// The bucket of a hash or of an entry: its first bits.
fn bucket(hash: &[u8], shift: u32) -> usize {
    let first = hash
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first));
    usize::try_from(first >> shift).unwrap_or(usize::MAX)
}

fn entry(hash: &ShortHash, row: u32) -> Entry {
    let mut entry = [0; HASH_BYTES + 4];
    entry[..HASH_BYTES].copy_from_slice(hash);
    entry[HASH_BYTES..].copy_from_slice(&row.to_be_bytes());
    entry
}

fn row_of(entry: &Entry) -> u32 {
    let [.., a, b, c, d] = *entry;
    u32::from_be_bytes([a, b, c, d])
}

/// The first 80 bits of a 128-bit hash.
pub(super) fn short(hash: u128) -> ShortHash {
    let bytes = hash.to_be_bytes();
    let mut short = [0; HASH_BYTES];
    short.copy_from_slice(&bytes[..HASH_BYTES]);
    short
}

/// Marks for the entries of an index, which several threads may set.
#[derive(Debug, Default)]
pub(super) struct Marks {
    words: Vec<AtomicU64>,
}

impl Marks {
    /// Marks for this number of entries, none of them set.
    pub(super) fn new(entries: usize) -> Marks {
        Marks {
            words: (0..entries.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    /// Sets a mark.
    pub(super) fn set(&self, at: usize) {
        self.words[at / 64].fetch_or(1 << (at % 64), Ordering::Relaxed);
    }

    /// Whether a mark is set.
    pub(super) fn is_set(&self, at: usize) -> bool {
        self.words[at / 64].load(Ordering::Relaxed) & (1 << (at % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_rows_of_a_hash() {
        let hash = |n: u64| {
            short(
                u128::from(blake3::hash(&n.to_le_bytes()).as_bytes()[0]) << 120
                    | u128::from(n) << 64,
            )
        };
        let mut builder = IndexBuilder::with_capacity(0);
        for row in 0..3_000_u32 {
            builder.push(hash(u64::from(row % 1_000)), row);
        }
        let index = builder.finish();
        assert_eq!(index.len(), 3_000);
        for n in 0..1_000_u32 {
            let hash = hash(n.into());
            assert_eq!(index.first(&hash).map(|(_, row)| row), Some(n));
            let rows = [n, n + 1_000, n + 2_000, n + 1, n + 3_000];
            let found = rows.map(|row| index.has(&hash, row));
            assert_eq!(found, [true, true, true, false, false]);
        }
        assert_eq!(index.first(&hash(1_000)), None);
        assert_eq!(index.repeated().map(|(rows, _)| rows), Some(2_000));
    }

    #[test]
    fn finds_nothing_in_an_empty_index() {
        let index = IndexBuilder::default().finish();
        assert_eq!(index.first(&[0; 10]), None);
        assert_eq!(index.first(&[255; 10]), None);
        assert_eq!(index.repeated(), None);
        assert_eq!(Index::default().first(&[7; 10]), None);
        assert_eq!(Index::default().first(&[255; 10]), None);
    }

    #[test]
    fn keeps_marks_apart() {
        let marks = Marks::new(130);
        marks.set(64);
        marks.set(129);
        let set: Vec<usize> = (0..130).filter(|&at| marks.is_set(at)).collect();
        assert_eq!(set, [64, 129]);
    }
}
