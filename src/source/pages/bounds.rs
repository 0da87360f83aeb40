//! The most bytes of one row of a row group, and the pages, rows and cells beyond the limits.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::error::{Error, LargeItem};
use super::header::{PageHeader, read_header};
use super::values::{HybridValues, PageLevels, ValueLengths, after_levels, lengths};

/// The largest page and the largest row, in multiples of the largest cell.
const PAGE_CELLS: u64 = 8;
const ROW_CELLS: u64 = 4;

/// The most bytes of a batch, if all its rows were as large as the largest possible one.
const WORST_BATCH: u64 = 256 << 20;

/// Dictionaries up to here cannot make a batch of the most rows larger than [`WORST_BATCH`].
const SMALL_DICTIONARY: u64 = WORST_BATCH / super::super::scan::MAX_ROWS as u64;

/// The highest compression ratio of gzip.
const GZIP_RATIO: u64 = 1_032;

/// The row group whose pages are checked.
pub(in crate::source) struct RowGroupContext<'a> {
    pub(in crate::source) path: &'a Path,
    pub(in crate::source) file: &'a File,
    pub(in crate::source) max_cell_bytes: u64,
    /// Rows of the file before this row group.
    pub(in crate::source) rows_before: u64,
}

/// Checks the pages of the wanted columns of a row group against the limits, and returns the most
/// bytes that one row takes, as far as the file shows it.
pub(in crate::source) fn most_row_bytes(
    context: &RowGroupContext<'_>,
    group: &RowGroupMetaData,
    wanted: impl Fn(usize) -> bool,
) -> Result<u64, Error> {
    let mut most = 0_u64;
    for (_, chunk) in group
        .columns()
        .iter()
        .enumerate()
        .filter(|(leaf, _)| wanted(*leaf))
    {
        let column = ColumnChunk {
            context,
            chunk,
            name: &chunk.column_path().parts()[0],
            rows: group.num_rows().max(0) as u64,
        };
        most = most.saturating_add(column.most_row_bytes()?);
    }
    Ok(most)
}

/// The number of rows of a batch that stays within [`WORST_BATCH`] in the worst case.
pub(in crate::source) fn safe_rows(most_row_bytes: u64) -> usize {
    usize::try_from(WORST_BATCH / most_row_bytes.max(1))
        .unwrap_or(usize::MAX)
        .max(1)
}

/// A column chunk and its row group.
pub(super) struct ColumnChunk<'a> {
    pub(super) context: &'a RowGroupContext<'a>,
    pub(super) chunk: &'a ColumnChunkMetaData,
    pub(super) name: &'a str,
    pub(super) rows: u64,
}

impl ColumnChunk<'_> {
    fn most_row_bytes(&self) -> Result<u64, Error> {
        let pages = self.headers();
        let is_nested = self.chunk.column_descr().max_rep_level() > 0;
        let mut row = self.context.rows_before;
        let (mut values, mut bytes, mut worst_page, mut dictionary) = (0_u64, 0_u64, 0_u64, 0_u64);
        for page in &pages {
            self.check_page(page, (!is_nested).then_some(row))?;
            if page.is_dictionary {
                dictionary = page.unpacked;
                continue;
            }
            row += page.values;
            values = values.saturating_add(page.values);
            bytes = bytes.saturating_add(page.unpacked);
            worst_page = worst_page.max(page.unpacked / page.values.max(1));
        }
        let longest = self.longest_value(dictionary, &pages)?;
        if !is_nested {
            self.check_plain_cells(&pages)?;
            return Ok(longest.max(worst_page / 4));
        }
        // How values are distributed over the rows is not in the headers: one row may have all
        // values of the chunk. Only where even that would be too much, the pages are read.
        let worst = bytes.saturating_add(values.saturating_mul(longest.saturating_add(4)));
        if worst <= WORST_BATCH {
            return Ok(worst / self.rows.max(1));
        }
        self.most_in_lists(longest)
    }

    /// The longest value that can be in many rows although the file stores it once: a value of the
    /// dictionary, or values with a common prefix.
    fn longest_value(&self, dictionary: u64, pages: &[PageHeader]) -> Result<u64, Error> {
        match self.chunk.column_type() {
            Type::BYTE_ARRAY => {}
            Type::FIXED_LEN_BYTE_ARRAY => {
                let bytes = u64::try_from(self.chunk.column_descr().type_length()).unwrap_or(0);
                self.check_cell(bytes, None)?;
                return Ok(bytes);
            }
            Type::INT96 => return Ok(12),
            _ => return Ok(8),
        }
        let shared = pages
            .iter()
            .filter(|page| page.encoding == Encoding::DELTA_BYTE_ARRAY as i64);
        let shared = if self.chunk.column_descr().max_rep_level() > 0 {
            0
        } else {
            shared.map(|page| page.unpacked).max().unwrap_or(0)
        };
        if dictionary <= SMALL_DICTIONARY {
            return Ok(dictionary.max(shared));
        }
        let lengths = self.dictionary_lengths()?;
        let longest = lengths.into_iter().max().unwrap_or(0).into();
        self.check_cell(longest, None)?;
        Ok(shared.max(longest))
    }

    fn dictionary_lengths(&self) -> Result<Vec<u32>, Error> {
        match self
            .page_reader()
            .and_then(|mut pages| pages.get_next_page())
        {
            Ok(Some(Page::DictionaryPage { buf, .. })) => Ok(lengths(&buf)),
            // Damage is reported when the rows are read.
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn page_reader(&self) -> ParquetResult<SerializedPageReader<File>> {
        let file = Arc::new(self.context.file.try_clone()?);
        SerializedPageReader::new(
            file,
            self.chunk,
            usize::try_from(self.rows).unwrap_or(usize::MAX),
            None,
        )
    }

    /// Rejects a page that is too large to decompress; one with a single value is reported as a
    /// cell.
    pub(super) fn check_page(&self, page: &PageHeader, row: Option<u64>) -> Result<(), Error> {
        let most = self.context.max_cell_bytes;
        if page.values == 1 && !page.is_dictionary && page.unpacked > most.saturating_add(64) {
            return self.too_large(LargeItem::Cell, page.unpacked, most, row);
        }
        let most = most.saturating_mul(PAGE_CELLS);
        let unpacked = page
            .unpacked
            .max(self.really_unpacked(page, most).unwrap_or(0));
        // In lists, each value takes two levels in memory, and a few bytes of the file can encode
        // any number of them.
        let levels = if row.is_none() && !page.is_dictionary {
            page.values.saturating_mul(4)
        } else {
            0
        };
        let unpacked = unpacked.max(levels);
        if unpacked <= most {
            return Ok(());
        }
        self.too_large(
            if page.is_dictionary {
                LargeItem::Dictionary
            } else {
                LargeItem::Page
            },
            unpacked,
            most,
            row,
        )
    }

    /// The bytes a page decompresses to where that may be more than its header says: these
    /// decompressors do not stop at that size by themselves.
    fn really_unpacked(&self, page: &PageHeader, most: u64) -> io::Result<u64> {
        let is_bounded = match self.chunk.compression() {
            Compression::GZIP(_) => page.packed.saturating_mul(GZIP_RATIO) <= most,
            Compression::BROTLI(_) => false,
            _ => true,
        };
        if is_bounded {
            return Ok(0);
        }
        let mut file = self.context.file;
        file.seek(SeekFrom::Start(page.start))?;
        let packed = io::BufReader::new(file.take(page.packed));
        let mut unpacked: Box<dyn Read> = match self.chunk.compression() {
            Compression::GZIP(_) => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            _ => Box::new(brotli::Decompressor::new(packed, 64 << 10)),
        };
        let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
        loop {
            match unpacked.read(&mut buffer) {
                // A page of version 2 begins with levels that are not compressed, so this may fail
                // for a good page. Damage is reported by the reader.
                Ok(0) | Err(_) => return Ok(bytes),
                Ok(read) => bytes += read as u64,
            }
            if bytes > most.max(page.unpacked) {
                return Ok(bytes);
            }
        }
    }

    fn check_cell(&self, bytes: u64, row: Option<u64>) -> Result<(), Error> {
        let most = self.context.max_cell_bytes;
        if bytes <= most {
            Ok(())
        } else {
            self.too_large(LargeItem::Cell, bytes, most, row)
        }
    }

    fn too_large(
        &self,
        item: LargeItem,
        bytes: u64,
        limit: u64,
        row: Option<u64>,
    ) -> Result<(), Error> {
        let (path, column) = (self.context.path.to_path_buf(), self.name.to_owned());
        Err(Error::TooLarge {
            path,
            row: row.map(|row| row + 1),
            column,
            item,
            bytes,
            limit,
        })
    }

    /// Looks for a cell beyond the limit in the pages large enough to hold one, where values are
    /// stored plainly.
    fn check_plain_cells(&self, headers: &[PageHeader]) -> Result<(), Error> {
        let is_large =
            |page: &PageHeader| !page.is_dictionary && page.unpacked > self.context.max_cell_bytes;
        if self.chunk.column_type() != Type::BYTE_ARRAY || !headers.iter().any(is_large) {
            return Ok(());
        }
        let Ok(mut pages) = self.page_reader() else {
            return Ok(());
        };
        let mut row = self.context.rows_before;
        for header in headers {
            if !is_large(header) || header.encoding != Encoding::PLAIN as i64 {
                row += if header.is_dictionary {
                    0
                } else {
                    header.values
                };
                if pages.skip_next_page().is_err() {
                    return Ok(());
                }
                continue;
            }
            let Ok(Some(page)) = pages.get_next_page() else {
                return Ok(());
            };
            let values = lengths(after_levels(&page, self.chunk));
            let most = self.context.max_cell_bytes;
            if let Some(place) = values.iter().position(|length| u64::from(*length) > most) {
                let levels = PageLevels::of(&page, self.chunk);
                let among_nulls = levels
                    .defined
                    .enumerate()
                    .filter(|(_, level)| *level == levels.whole)
                    .nth(place);
                let at = among_nulls.map_or(place, |(at, _)| at) as u64;
                return self.too_large(LargeItem::Cell, values[place].into(), most, Some(row + at));
            }
            row += header.values;
        }
        Ok(())
    }

    /// The largest row of a column of lists, found by reading all its pages.
    fn most_in_lists(&self, longest: u64) -> Result<u64, Error> {
        let most = self.context.max_cell_bytes.saturating_mul(ROW_CELLS);
        let Ok(mut pages) = self.page_reader() else {
            return Ok(0);
        };
        let (mut row, mut bytes, mut largest) = (self.context.rows_before, 0_u64, 0_u64);
        let mut dictionary = Vec::new();
        while let Ok(Some(page)) = pages.get_next_page() {
            if let Page::DictionaryPage { buf, .. } = &page {
                dictionary = if self.chunk.column_type() == Type::BYTE_ARRAY {
                    lengths(buf)
                } else {
                    Vec::new()
                };
                continue;
            }
            let mut values = self.value_bytes(&page, &dictionary, longest);
            let levels = PageLevels::of(&page, self.chunk);
            let defined = levels.defined.chain(std::iter::repeat(levels.whole));
            let levels = levels
                .repeated
                .chain(std::iter::repeat(1))
                .zip(defined.map(|level| level == levels.whole));
            for (repeated, is_value) in levels.take(page.num_values() as usize) {
                if repeated == 0 {
                    (row, bytes) = (row + 1, 0);
                }
                bytes += 4 + if is_value {
                    values.next().unwrap_or(0)
                } else {
                    0
                };
                largest = largest.max(bytes);
                if bytes > most {
                    self.too_large(LargeItem::Row, bytes, most, row.checked_sub(1))?;
                }
            }
        }
        Ok(largest)
    }

    /// The bytes that each value of a page takes in memory.
    fn value_bytes<'p>(
        &self,
        page: &'p Page,
        dictionary: &'p [u32],
        longest: u64,
    ) -> Box<dyn Iterator<Item = u64> + 'p> {
        let data = after_levels(page, self.chunk);
        let is_text = self.chunk.column_type() == Type::BYTE_ARRAY;
        match page.encoding() {
            _ if !is_text => Box::new(std::iter::repeat(longest)),
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                let (width, runs) = data
                    .split_first()
                    .map_or((0, data), |(width, runs)| (*width, runs));
                let length = |index| {
                    usize::try_from(index)
                        .ok()
                        .and_then(|index: usize| dictionary.get(index))
                        .copied()
                };
                Box::new(
                    HybridValues::new(runs, width)
                        .map(move |index| 4 + u64::from(length(index).unwrap_or(0))),
                )
            }
            Encoding::PLAIN => Box::new(ValueLengths(data).map(|length| 4 + u64::from(length))),
            // The lengths are encoded; the mean of the page replaces them.
            _ => Box::new(std::iter::repeat(
                4 + data.len() as u64 / u64::from(page.num_values()).max(1),
            )),
        }
    }

    /// The headers of the pages, up to the first one that cannot be read: the reader then fails
    /// there too.
    pub(super) fn headers(&self) -> Vec<PageHeader> {
        let mut headers = Vec::new();
        let offset = self
            .chunk
            .dictionary_page_offset()
            .filter(|offset| *offset > 0);
        let first = offset
            .unwrap_or(i64::MAX)
            .min(self.chunk.data_page_offset());
        let (Ok(mut at), Ok(length)) = (
            u64::try_from(first),
            u64::try_from(self.chunk.compressed_size()),
        ) else {
            return headers;
        };
        let end = at.saturating_add(length);
        while at < end {
            let Ok(Some(header)) = read_header(self.context.file, at, end) else {
                break;
            };
            at = header.start.saturating_add(header.packed);
            headers.push(header);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_rows_by_the_largest() {
        assert_eq!(safe_rows(0), 256 << 20);
        assert_eq!(safe_rows(1 << 20), 256);
        assert_eq!(safe_rows(u64::MAX), 1);
    }
}
