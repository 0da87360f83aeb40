//! 96-bit timestamps (`INT96`), which older writers use: a Julian day and the nanoseconds in it.

use std::fs::File;
use std::path::Path;

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::RowGroupMetaData;

use super::bounds::{ColumnChunk, RowGroupContext};
use super::values::after_levels;

/// The unit in which the 96-bit timestamps of a column are read without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Int96Unit {
    /// No 96-bit timestamps, or none that needs more than microseconds.
    Microseconds,
    /// Some have digits below the microsecond, and all are within the range of nanoseconds.
    Nanoseconds,
    /// Some have such digits, and some are out of that range: no type of Arrow holds both.
    Neither,
}

/// Days since 1970 of the Julian day 0.
const JULIAN_EPOCH: i64 = 2_440_588;
/// The whole days before and after 1970 that 64 bits of nanoseconds can represent.
const NANOSECOND_DAYS: i64 = 106_751;

/// Finds the unit for the 96-bit timestamps of a column by its values: those of dictionaries, and
/// of the pages that store values plainly.
pub(in crate::source) fn int96_unit(
    file: &File,
    path: &Path,
    groups: &[RowGroupMetaData],
    leaf: usize,
) -> Int96Unit {
    let context = RowGroupContext {
        path,
        file,
        max_cell_bytes: super::super::MAX_CELL_BYTES,
        rows_before: 0,
    };
    let (mut is_fine, mut is_far) = (false, false);
    for group in groups {
        let chunk = group.column(leaf);
        let column = ColumnChunk {
            context: &context,
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
        (false, _) => Int96Unit::Microseconds,
        (true, false) => Int96Unit::Nanoseconds,
        (true, true) => Int96Unit::Neither,
    }
}
