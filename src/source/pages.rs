//! What a row group of Parquet takes in memory, seen before it is unpacked.
//!
//! ```text
//!  column chunk   │ header │ dictionary │ header │ page │ header │ page │ …
//!                   └ bytes as packed and as unpacked, number of values
//! ```
//!
//! The headers are read by themselves: one short read a page. They say how many bytes a page
//! unpacks to, so a page, a cell or a row beyond the limits is an error before anything is
//! unpacked; and they bound how much one row can take, by which the rows of a batch are chosen. A
//! dictionary is unpacked for it where its longest value matters, and all pages of a column of
//! lists only where their number of values is suspicious. Pages whose packing does not keep to the
//! size in the header are tried first (gzip, brotli).
//!
//! **Units**: bytes, except where a name says rows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::Error;
use super::error::Held;

/// A page may be this many times as large as a cell may be, and a row half of that.
const PAGE_CELLS: u64 = 8;
const ROW_CELLS: u64 = 4;

/// Most bytes of a batch, if all its rows were as large as the largest can be.
const WORST_BATCH: u64 = 256 << 20;

/// Dictionaries up to here cannot make a batch of the most rows larger than [`WORST_BATCH`].
const SMALL_DICTIONARY: u64 = WORST_BATCH / super::scan::MAX_ROWS as u64;

/// Gzip packs at most this well.
const GZIP_RATIO: u64 = 1_032;

/// How much of a page header is read at first, and at most.
const HEADER_BYTES: usize = 512;
const MOST_HEADER_BYTES: usize = 16 << 20;

const DICTIONARY_PAGE: i64 = 2;
const DATA_PAGE_V2: i64 = 3;

/// What is looked at.
pub(super) struct Look<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a File,
    pub(super) max_cell_bytes: u64,
    /// Rows of the file before this row group.
    pub(super) rows_before: u64,
}

/// Looks through the chosen columns of a row group, and gives the most bytes that a row of it
/// takes, as far as can be known.
pub(super) fn most_row_bytes(
    look: &Look<'_>,
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
        let column = Column {
            look,
            chunk,
            name: &chunk.column_path().parts()[0],
            rows: group.num_rows().max(0) as u64,
        };
        most = most.saturating_add(column.most_row_bytes()?);
    }
    Ok(most)
}

/// How the 96-bit timestamps of a column are read without losing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldTimes {
    /// No column of such timestamps, or none that needs more than microseconds.
    Microseconds,
    /// Some have digits below the microsecond, and all lie within the years that nanoseconds reach.
    Nanoseconds,
    /// Some have such digits, and some lie beyond those years: no type of Arrow has both.
    Neither,
}

/// Days since 1970 of the Julian day 0.
const JULIAN_EPOCH: i64 = 2_440_588;
/// The days that nanoseconds in 64 bits reach on either side of 1970, whole ones.
const NANOSECOND_DAYS: i64 = 106_751;

/// Looks at the old timestamps of a column: at dictionaries, and at the pages whose values are not
/// in one.
pub(super) fn old_times(
    file: &File,
    path: &Path,
    groups: &[RowGroupMetaData],
    leaf: usize,
) -> OldTimes {
    let look = Look {
        path,
        file,
        max_cell_bytes: super::MAX_CELL_BYTES,
        rows_before: 0,
    };
    let (mut is_fine, mut is_far) = (false, false);
    for group in groups {
        let chunk = group.column(leaf);
        let column = Column {
            look: &look,
            chunk,
            name: "",
            rows: group.num_rows().max(0) as u64,
        };
        let Ok(mut pages) = column.page_reader() else {
            continue;
        };
        for header in column.headers() {
            let is_whole = header.is_dictionary || header.encoding == Encoding::PLAIN as i64;
            if !is_whole || column.check_page(&header, None).is_err() {
                if pages.skip_next_page().is_err() {
                    break;
                }
                continue;
            }
            let Ok(Some(page)) = pages.get_next_page() else {
                break;
            };
            let values = if let Page::DictionaryPage { buf, .. } = &page {
                &buf[..]
            } else {
                after_levels(&page, chunk)
            };
            for value in values.as_chunks::<12>().0 {
                let (nanoseconds, day) = value.split_at(8);
                let nanoseconds = nanoseconds.try_into().map_or(0, u64::from_le_bytes);
                let day = day.try_into().map_or(0, u32::from_le_bytes);
                is_fine |= nanoseconds % 1_000 != 0;
                is_far |= (i64::from(day) - JULIAN_EPOCH).abs() >= NANOSECOND_DAYS;
            }
        }
    }
    match (is_fine, is_far) {
        (false, _) => OldTimes::Microseconds,
        (true, false) => OldTimes::Nanoseconds,
        (true, true) => OldTimes::Neither,
    }
}

/// The rows of a batch that stay bounded whatever the rows are.
pub(super) fn safe_rows(most_row_bytes: u64) -> usize {
    usize::try_from(WORST_BATCH / most_row_bytes.max(1))
        .unwrap_or(usize::MAX)
        .max(1)
}

/// A column chunk.
struct Column<'a> {
    look: &'a Look<'a>,
    chunk: &'a ColumnChunkMetaData,
    name: &'a str,
    rows: u64,
}

impl Column<'_> {
    fn most_row_bytes(&self) -> Result<u64, Error> {
        let pages = self.headers();
        let is_nested = self.chunk.column_descr().max_rep_level() > 0;
        let mut row = self.look.rows_before;
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
        let worst = bytes.saturating_add(values.saturating_mul(longest.saturating_add(4)));
        if worst <= WORST_BATCH {
            return Ok(worst / self.rows.max(1));
        }
        self.most_in_lists(longest)
    }

    /// The longest value that can stand in many rows: of the dictionary, or of values that share
    /// what they begin with.
    fn longest_value(&self, dictionary: u64, pages: &[Header]) -> Result<u64, Error> {
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
            // What is wrong shows when the rows are read.
            _ => Ok(Vec::new()),
        }
    }

    fn page_reader(&self) -> ParquetResult<SerializedPageReader<File>> {
        let file = Arc::new(self.look.file.try_clone()?);
        SerializedPageReader::new(
            file,
            self.chunk,
            usize::try_from(self.rows).unwrap_or(usize::MAX),
            None,
        )
    }

    /// Refuses a page that is too large to unpack; one with a single value is named as a cell.
    fn check_page(&self, page: &Header, row: Option<u64>) -> Result<(), Error> {
        let most = self.look.max_cell_bytes;
        if page.values == 1 && !page.is_dictionary && page.unpacked > most.saturating_add(64) {
            return self.refuse(Held::Cell, page.unpacked, most, row);
        }
        let most = most.saturating_mul(PAGE_CELLS);
        let unpacked = page
            .unpacked
            .max(self.really_unpacked(page, most).unwrap_or(0));
        // In lists, each value takes two levels in memory, of which a few bytes in the file can
        // make any number.
        let levels = if row.is_none() && !page.is_dictionary {
            page.values.saturating_mul(4)
        } else {
            0
        };
        let unpacked = unpacked.max(levels);
        if unpacked <= most {
            return Ok(());
        }
        self.refuse(
            if page.is_dictionary {
                Held::Dictionary
            } else {
                Held::Page
            },
            unpacked,
            most,
            row,
        )
    }

    /// What a page unpacks to where that may be more than its header says: the unpacker does not
    /// stop at that size by itself.
    fn really_unpacked(&self, page: &Header, most: u64) -> io::Result<u64> {
        let ends_by_itself = match self.chunk.compression() {
            Compression::GZIP(_) => page.packed.saturating_mul(GZIP_RATIO) <= most,
            Compression::BROTLI(_) => false,
            _ => true,
        };
        if ends_by_itself {
            return Ok(0);
        }
        let mut file = self.look.file;
        file.seek(SeekFrom::Start(page.start))?;
        let packed = io::BufReader::new(file.take(page.packed));
        let mut unpacked: Box<dyn Read> = match self.chunk.compression() {
            Compression::GZIP(_) => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            _ => Box::new(brotli::Decompressor::new(packed, 64 << 10)),
        };
        let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
        loop {
            match unpacked.read(&mut buffer) {
                // A page of the second version begins with levels that are not packed: the reader
                // says what is wrong.
                Ok(0) | Err(_) => return Ok(bytes),
                Ok(read) => bytes += read as u64,
            }
            if bytes > most.max(page.unpacked) {
                return Ok(bytes);
            }
        }
    }

    fn check_cell(&self, bytes: u64, row: Option<u64>) -> Result<(), Error> {
        let most = self.look.max_cell_bytes;
        if bytes <= most {
            Ok(())
        } else {
            self.refuse(Held::Cell, bytes, most, row)
        }
    }

    fn refuse(&self, what: Held, bytes: u64, limit: u64, row: Option<u64>) -> Result<(), Error> {
        let (path, column) = (self.look.path.to_path_buf(), self.name.to_owned());
        Err(Error::TooLarge {
            path,
            row: row.map(|row| row + 1),
            column,
            what,
            bytes,
            limit,
        })
    }

    /// Looks for a cell beyond the limit in the pages that could hold one, where values stand one
    /// behind the other.
    fn check_plain_cells(&self, headers: &[Header]) -> Result<(), Error> {
        let is_large =
            |page: &Header| !page.is_dictionary && page.unpacked > self.look.max_cell_bytes;
        if self.chunk.column_type() != Type::BYTE_ARRAY || !headers.iter().any(is_large) {
            return Ok(());
        }
        let Ok(mut pages) = self.page_reader() else {
            return Ok(());
        };
        let mut row = self.look.rows_before;
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
            let most = self.look.max_cell_bytes;
            if let Some(place) = values.iter().position(|length| u64::from(*length) > most) {
                let levels = Levels::of(&page, self.chunk);
                let among_nulls = levels
                    .defined
                    .enumerate()
                    .filter(|(_, level)| *level == levels.whole)
                    .nth(place);
                let at = among_nulls.map_or(place, |(at, _)| at) as u64;
                return self.refuse(Held::Cell, values[place].into(), most, Some(row + at));
            }
            row += header.values;
        }
        Ok(())
    }

    /// The largest row of a column of lists, by a walk through all its pages.
    fn most_in_lists(&self, longest: u64) -> Result<u64, Error> {
        let most = self.look.max_cell_bytes.saturating_mul(ROW_CELLS);
        let Ok(mut pages) = self.page_reader() else {
            return Ok(0);
        };
        let (mut row, mut bytes, mut largest) = (self.look.rows_before, 0_u64, 0_u64);
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
            let levels = Levels::of(&page, self.chunk);
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
                    self.refuse(Held::Row, bytes, most, row.checked_sub(1))?;
                }
            }
        }
        Ok(largest)
    }

    /// What each value of a page takes unpacked.
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
                    Hybrid::new(runs, width)
                        .map(move |index| 4 + u64::from(length(index).unwrap_or(0))),
                )
            }
            Encoding::PLAIN => Box::new(Lengths(data).map(|length| 4 + u64::from(length))),
            // The lengths stand packed; on the average they take what the page takes.
            _ => Box::new(std::iter::repeat(
                4 + data.len() as u64 / u64::from(page.num_values()).max(1),
            )),
        }
    }

    /// The headers of the pages, up to where one cannot be read: the reader then stumbles there
    /// too.
    fn headers(&self) -> Vec<Header> {
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
            let Ok(Some(header)) = read_header(self.look.file, at, end) else {
                break;
            };
            at = header.start.saturating_add(header.packed);
            headers.push(header);
        }
        headers
    }
}

/// What the header of a page says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Header {
    is_dictionary: bool,
    packed: u64,
    unpacked: u64,
    values: u64,
    encoding: i64,
    /// Where the page begins, behind its header.
    start: u64,
}

fn read_header(mut file: &File, at: u64, end: u64) -> io::Result<Option<Header>> {
    let mut bytes = Vec::new();
    let mut most = HEADER_BYTES;
    loop {
        file.seek(SeekFrom::Start(at))?;
        bytes.clear();
        let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(most);
        file.take(room as u64).read_to_end(&mut bytes)?;
        let mut thrift = Thrift {
            bytes: &bytes,
            at: 0,
        };
        if let Some(header) = thrift.page_header() {
            return Ok(Some(Header {
                start: at + thrift.at as u64,
                ..header
            }));
        }
        if bytes.len() < most || most >= MOST_HEADER_BYTES {
            return Ok(None);
        }
        most *= 8;
    }
}

/// A reader of Thrift's compact protocol, as far as page headers go.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn page_header(&mut self) -> Option<Header> {
        let mut header = Header::default();
        let mut kind = 0;
        self.fields(0, &mut |thrift, id, wire| match id {
            1 => thrift.number().map(|n| kind = n),
            2 => thrift.size().map(|n| header.unpacked = n),
            3 => thrift.size().map(|n| header.packed = n),
            5 | 7 | 8 => {
                // The encoding stands second, in the newer data page fourth.
                let of_encoding = if id == 8 { 4 } else { 2 };
                thrift.fields(1, &mut |thrift, id, wire| match id {
                    1 => thrift.size().map(|n| header.values = n),
                    _ if id == of_encoding => thrift.number().map(|n| header.encoding = n),
                    _ => thrift.skip(wire, 1),
                })
            }
            _ => thrift.skip(wire, 0),
        })?;
        header.is_dictionary = kind == DICTIONARY_PAGE;
        (header.is_dictionary || kind == 0 || kind == DATA_PAGE_V2 || kind == 1).then_some(header)
    }

    /// Calls with each field of a struct, which must be read or skipped.
    fn fields(
        &mut self,
        depth: u8,
        each: &mut dyn FnMut(&mut Self, i16, u8) -> Option<()>,
    ) -> Option<()> {
        let mut id = 0_i16;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Some(());
            }
            id = match byte >> 4 {
                0 => i16::try_from(self.number()?).ok()?,
                delta => id.checked_add(delta.into())?,
            };
            if depth > 8 {
                return None;
            }
            each(self, id, byte & 15)?;
        }
    }

    fn skip(&mut self, wire: u8, depth: u8) -> Option<()> {
        match wire {
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.forward(8),
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.forward(length)
            }
            9 | 10 => {
                let byte = self.byte()?;
                let count = if byte >> 4 == 15 {
                    self.varint()?
                } else {
                    u64::from(byte >> 4)
                };
                (0..count).try_for_each(|_| {
                    if byte & 15 < 3 {
                        self.byte().map(drop)
                    } else {
                        self.skip(byte & 15, depth + 1)
                    }
                })
            }
            12 if depth < 8 => self.fields(depth + 1, &mut |thrift, _, wire| {
                thrift.skip(wire, depth + 1)
            }),
            _ => None,
        }
    }

    fn forward(&mut self, bytes: usize) -> Option<()> {
        self.at = self
            .at
            .checked_add(bytes)
            .filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn size(&mut self) -> Option<u64> {
        u64::try_from(self.number()?).ok()
    }
}

/// The lengths of texts that stand one behind the other, each with its length before it.
fn lengths(bytes: &[u8]) -> Vec<u32> {
    Lengths(bytes).collect()
}

struct Lengths<'a>(&'a [u8]);

impl Iterator for Lengths<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        self.0 = rest.get(length as usize..)?;
        Some(length)
    }
}

/// The values of a page, behind its levels.
fn after_levels<'p>(page: &'p Page, chunk: &ColumnChunkMetaData) -> &'p [u8] {
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

/// Bytes with their length before them, and what follows.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The levels of the values of a page. Where a column has none, there are none.
struct Levels<'p> {
    /// 0 where a row begins.
    repeated: Hybrid<'p>,
    /// [`Levels::whole`] where there is a value.
    defined: Hybrid<'p>,
    whole: u64,
}

impl<'p> Levels<'p> {
    fn of(page: &'p Page, chunk: &ColumnChunkMetaData) -> Levels<'p> {
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
        Levels {
            repeated: Hybrid::new(repeated, bits(rep)),
            defined: Hybrid::new(defined, bits(def)),
            whole: def.into(),
        }
    }
}

/// The values of a run-length and bit-packed hybrid, until the bytes end.
struct Hybrid<'a> {
    thrift: Thrift<'a>,
    width: u8,
    /// Values left of the run, and the value where it is one and the same.
    left: u64,
    same: Option<u64>,
    bits: u64,
    held: u8,
}

impl<'a> Hybrid<'a> {
    fn new(bytes: &'a [u8], width: u8) -> Hybrid<'a> {
        // Wider than any index: nothing is read of it.
        let bytes = if width > 32 { &[] } else { bytes };
        Hybrid {
            thrift: Thrift { bytes, at: 0 },
            width,
            left: 0,
            same: None,
            bits: 0,
            held: 0,
        }
    }

    fn begin_run(&mut self) -> Option<()> {
        let head = self.thrift.varint()?;
        if head & 1 == 1 {
            (self.left, self.same) = ((head >> 1).saturating_mul(8), None);
            (self.bits, self.held) = (0, 0);
            return Some(());
        }
        let mut value = 0_u64;
        for byte in 0..self.width.div_ceil(8) {
            value |= u64::from(self.thrift.byte()?) << (8 * byte);
        }
        (self.left, self.same) = (head >> 1, Some(value));
        Some(())
    }
}

impl Iterator for Hybrid<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.left == 0 {
            self.begin_run()?;
        }
        self.left -= 1;
        if let Some(value) = self.same {
            return Some(value);
        }
        while self.held < self.width {
            self.bits |= u64::from(self.thrift.byte()?) << self.held;
            self.held += 8;
        }
        let value = self.bits & ((1_u64 << self.width) - 1);
        self.bits >>= self.width;
        self.held -= self.width;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_header_of_a_page() {
        // type 0, unpacked 300, packed 200, crc -1, data page: 7 values, encoding 0, levels 3 and 3
        let bytes = [
            0x15, 0, 0x15, 0xd8, 4, 0x15, 0x90, 3, 0x15, 1, 0x1c, 0x15, 14, 0x15, 0, 0x15, 6, 0x15,
            6, 0, 0, 99,
        ];
        let mut thrift = Thrift {
            bytes: &bytes,
            at: 0,
        };
        let header = thrift.page_header().unwrap();
        assert_eq!(
            (
                header.unpacked,
                header.packed,
                header.values,
                header.encoding
            ),
            (300, 200, 7, 0)
        );
        assert_eq!(thrift.at, bytes.len() - 1);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(
                Thrift {
                    bytes: &bytes[..cut],
                    at: 0
                }
                .page_header(),
                None,
                "{cut}"
            );
        }
    }

    #[test]
    fn reads_runs_and_packed_values() {
        // Five times 1, then eight packed values.
        let values: Vec<u64> = Hybrid::new(&[10, 1, 3, 0b1010_0110], 1).collect();
        assert_eq!(values, [1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1]);
        let values: Vec<u64> =
            Hybrid::new(&[3, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3).collect();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Hybrid::new(&[0xff; 20], 33).count(), 0);
        // Runs of nothing end with the bytes.
        assert_eq!(Hybrid::new(&[0; 20], 8).count(), 0);
    }

    #[test]
    fn chooses_rows_by_the_largest() {
        assert_eq!(safe_rows(0), 256 << 20);
        assert_eq!(safe_rows(1 << 20), 256);
        assert_eq!(safe_rows(u64::MAX), 1);
    }
}
