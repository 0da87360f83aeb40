//! Headers of pages, read without the reader crate, which would decompress the page with its
//! header.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The bytes of a page header that are read at first.
const HEADER_BYTES: usize = 512;
/// The most bytes of a page header: statistics in it can be long.
const MAX_HEADER_BYTES: usize = 16 << 20;

/// Deeper nesting than this is in no page header.
const MAX_NESTING: u8 = 8;

const DICTIONARY_PAGE: i64 = 2;
const DATA_PAGE_V2: i64 = 3;

/// The header of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) is_dictionary: bool,
    pub(super) packed: u64,
    pub(super) unpacked: u64,
    pub(super) values: u64,
    pub(super) encoding: i64,
    /// Where the page begins, behind its header.
    pub(super) start: u64,
}

pub(super) fn read_header(mut file: &File, at: u64, end: u64) -> io::Result<Option<PageHeader>> {
    let mut bytes = Vec::new();
    let mut limit = HEADER_BYTES;
    loop {
        file.seek(SeekFrom::Start(at))?;
        bytes.clear();
        let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(limit);
        file.take(room as u64).read_to_end(&mut bytes)?;
        let mut reader = CompactReader {
            bytes: &bytes,
            at: 0,
        };
        if let Some(header) = reader.page_header() {
            return Ok(Some(PageHeader {
                start: at + reader.at as u64,
                ..header
            }));
        }
        if bytes.len() < limit || limit >= MAX_HEADER_BYTES {
            return Ok(None);
        }
        limit *= 8;
    }
}

/// A reader of Thrift's compact protocol, as far as page headers need it.
pub(super) struct CompactReader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl CompactReader<'_> {
    fn page_header(&mut self) -> Option<PageHeader> {
        let mut header = PageHeader::default();
        let mut kind = 0;
        self.fields(0, &mut |reader, id, wire| match id {
            1 => reader.number().map(|n| kind = n),
            2 => reader.size().map(|n| header.unpacked = n),
            3 => reader.size().map(|n| header.packed = n),
            5 | 7 | 8 => {
                // The encoding is the second field, of a data page of version 2 the fourth.
                let of_encoding = if id == 8 { 4 } else { 2 };
                reader.fields(1, &mut |reader, id, wire| match id {
                    1 => reader.size().map(|n| header.values = n),
                    _ if id == of_encoding => reader.number().map(|n| header.encoding = n),
                    _ => reader.skip(wire, 1),
                })
            }
            _ => reader.skip(wire, 0),
        })?;
        header.is_dictionary = kind == DICTIONARY_PAGE;
        (header.is_dictionary || kind == 0 || kind == DATA_PAGE_V2 || kind == 1).then_some(header)
    }

    /// Calls `each` for every field of a struct; it must read or skip the field.
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
            if depth > MAX_NESTING {
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
            // Bounded like structs: a header of nothing but nested lists would end the stack.
            9 | 10 if depth < MAX_NESTING => {
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
            12 if depth < MAX_NESTING => self.fields(depth + 1, &mut |reader, _, wire| {
                reader.skip(wire, depth + 1)
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

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
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

/// Checks the promises of the header reader on any bytes: it ends, reads no byte twice, and a
/// header cut anywhere is no header.
///
/// # Panics
/// Where a promise is broken.
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub(in crate::source) fn check_page_header(bytes: &[u8]) {
    let mut reader = CompactReader { bytes, at: 0 };
    if reader.page_header().is_none() {
        return;
    }
    assert!(reader.at <= bytes.len());
    for end in 0..reader.at.min(256) {
        let mut cut = CompactReader {
            bytes: &bytes[..end],
            at: 0,
        };
        assert_eq!(cut.page_header(), None, "cut at {end}");
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
        let mut reader = CompactReader {
            bytes: &bytes,
            at: 0,
        };
        let header = reader.page_header().unwrap();
        assert_eq!(
            (
                header.unpacked,
                header.packed,
                header.values,
                header.encoding
            ),
            (300, 200, 7, 0)
        );
        assert_eq!(reader.at, bytes.len() - 1);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(
                CompactReader {
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
    fn refuses_a_header_of_nested_lists() {
        // A field that no page header has: a list of one list of one list and so on.
        let mut bytes = vec![0x99];
        bytes.extend(std::iter::repeat_n(0x19, 1 << 20));
        let mut reader = CompactReader {
            bytes: &bytes,
            at: 0,
        };
        assert_eq!(reader.page_header(), None);
    }
}
