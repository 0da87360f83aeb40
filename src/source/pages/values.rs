//! The values of a page as it is stored: lengths, levels, and indexes into a dictionary.

use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;

use super::header::CompactReader;

/// The lengths of plainly stored texts, each of which follows its length.
pub(super) fn lengths(bytes: &[u8]) -> Vec<u32> {
    ValueLengths(bytes).collect()
}

pub(super) struct ValueLengths<'a>(pub(super) &'a [u8]);

impl Iterator for ValueLengths<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        self.0 = rest.get(length as usize..)?;
        Some(length)
    }
}

/// The bytes of a page after its levels: the values.
pub(super) fn after_levels<'p>(page: &'p Page, chunk: &ColumnChunkMetaData) -> &'p [u8] {
    match page {
        Page::DataPage { buf, .. } => {
            let levels = [
                chunk.column_descr().max_rep_level(),
                chunk.column_descr().max_def_level(),
            ];
            levels
                .iter()
                .filter(|level| **level > 0)
                .try_fold(&buf[..], |bytes, _| Some(prefixed(bytes)?.1))
                .unwrap_or(&[])
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => buf
            .get((*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize)..)
            .unwrap_or(&[]),
        Page::DictionaryPage { .. } => &[],
    }
}

/// The bytes after a length prefix, and the rest.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The levels of the values of a page; a column that is neither nested nor nullable has none.
pub(super) struct PageLevels<'p> {
    /// Repetition levels: 0 where a row begins.
    pub(super) repeated: HybridValues<'p>,
    /// Definition levels: [`PageLevels::whole`] where there is a value.
    pub(super) defined: HybridValues<'p>,
    pub(super) whole: u64,
}

impl<'p> PageLevels<'p> {
    pub(super) fn of(page: &'p Page, chunk: &ColumnChunkMetaData) -> PageLevels<'p> {
        let most = |level: i16| u16::try_from(level).unwrap_or(0);
        let (rep, def) = (
            most(chunk.column_descr().max_rep_level()),
            most(chunk.column_descr().max_def_level()),
        );
        let (repeated, defined): (&[u8], &[u8]) = match page {
            Page::DataPage { buf, .. } => {
                let (repeated, rest) = if rep > 0 {
                    prefixed(buf).unwrap_or_default()
                } else {
                    (&[][..], &buf[..])
                };
                (
                    repeated,
                    if def > 0 {
                        prefixed(rest).unwrap_or_default().0
                    } else {
                        &[]
                    },
                )
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let (repeated, rest) = buf
                    .split_at_checked(*rep_levels_byte_len as usize)
                    .unwrap_or_default();
                (
                    repeated,
                    rest.get(..*def_levels_byte_len as usize)
                        .unwrap_or_default(),
                )
            }
            Page::DictionaryPage { .. } => (&[], &[]),
        };
        let bits = |most: u16| u8::try_from(u16::BITS - most.leading_zeros()).unwrap_or(0);
        PageLevels {
            repeated: HybridValues::new(repeated, bits(rep)),
            defined: HybridValues::new(defined, bits(def)),
            whole: def.into(),
        }
    }
}

/// The values of Parquet's hybrid of run-length and bit-packed encoding, until the bytes end.
///
/// ```text
///   run     = header, values
///   header  = varint: count << 1         (run-length: one value, `width` bits in whole bytes)
///             varint: groups << 1 | 1    (bit-packed: 8 · groups values of `width` bits each)
/// ```
pub(super) struct HybridValues<'a> {
    reader: CompactReader<'a>,
    width: u8,
    /// The number of values left in the run, and the value of a run-length run.
    left: u64,
    same: Option<u64>,
    /// Bits read from the bytes and not yet used, and their number.
    bits: u64,
    bit_count: u8,
}

impl<'a> HybridValues<'a> {
    pub(super) fn new(bytes: &'a [u8], width: u8) -> HybridValues<'a> {
        // No index or level is wider: the bytes are damaged.
        let bytes = if width > 32 { &[] } else { bytes };
        HybridValues {
            reader: CompactReader { bytes, at: 0 },
            width,
            left: 0,
            same: None,
            bits: 0,
            bit_count: 0,
        }
    }

    fn begin_run(&mut self) -> Option<()> {
        let head = self.reader.varint()?;
        if head & 1 == 1 {
            (self.left, self.same) = ((head >> 1).saturating_mul(8), None);
            (self.bits, self.bit_count) = (0, 0);
            return Some(());
        }
        let mut value = 0_u64;
        for byte in 0..self.width.div_ceil(8) {
            value |= u64::from(self.reader.byte()?) << (8 * byte);
        }
        (self.left, self.same) = (head >> 1, Some(value));
        Some(())
    }
}

impl Iterator for HybridValues<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.left == 0 {
            self.begin_run()?;
        }
        self.left -= 1;
        if let Some(value) = self.same {
            return Some(value);
        }
        while self.bit_count < self.width {
            self.bits |= u64::from(self.reader.byte()?) << self.bit_count;
            self.bit_count += 8;
        }
        let value = self.bits & ((1_u64 << self.width) - 1);
        self.bits >>= self.width;
        self.bit_count -= self.width;
        Some(value)
    }
}

/// Checks the promises of the hybrid decoder on any bytes: it ends, and no value is wider
/// than the whole bytes that the width takes.
///
/// # Panics
/// Where a promise is broken.
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(in crate::source) fn check_hybrid_values(width: u8, bytes: &[u8]) {
    let bound = match width {
        0..=32 => 1_u64 << (8 * width.div_ceil(8)),
        _ => 0,
    };
    // A run of a few bytes can have any number of values.
    for value in HybridValues::new(bytes, width).take(10_000) {
        assert!(value < bound, "{value} at width {width}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_runs_and_packed_values() {
        // Five times 1, then eight packed values.
        let values: Vec<u64> = HybridValues::new(&[10, 1, 3, 0b1010_0110], 1).collect();
        assert_eq!(values, [1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1]);
        let values: Vec<u64> =
            HybridValues::new(&[3, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3).collect();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(HybridValues::new(&[0xff; 20], 33).count(), 0);
        // Runs of nothing end with the bytes.
        assert_eq!(HybridValues::new(&[0; 20], 8).count(), 0);
    }
}
