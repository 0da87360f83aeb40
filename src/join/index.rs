//! Where the result line of each custom_id stands.
//!
//! Results come in any order and are larger than memory, so the lines go to a scratch file while they are read, and only their
//! places are kept, in a table sorted by the hash of the id:
//!
//! ```text
//!  slots     id: 128 bits of blake3 │ offset: u64 │ len: u32      32 bytes each, sorted by id; len 0: no line came
//!  repeats   the same, for second and later lines of an id; nearly always empty
//! ```

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};

use super::Error;

/// Longest line that is taken for a result; an answer has at most a few MB.
pub const MAX_LINE_BYTES: u64 = 256 << 20;

/// What became of the lines of a results file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Lines that are not blank.
    pub lines: u64,
    /// Second and later lines of an id that is expected: the first that succeeded counts, else the first.
    pub duplicates: u64,
    /// Lines of an id that is not expected; kept out.
    pub foreign: u64,
    /// Ids expected for which no line came.
    pub missing: u64,
    /// 1 if the last line has no end and is no whole JSON; kept out.
    pub torn: u64,
    /// Lines of nothing but white space.
    pub blank: u64,
    /// Lines in which no custom_id can be found; kept out.
    pub unreadable: u64,
}

impl LineCounts {
    /// Whether exactly one line came for each id, and nothing else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let LineCounts { lines: _, duplicates, foreign, missing, torn, blank: _, unreadable } = self;
        duplicates + foreign + missing + torn + unreadable == 0
    }
}

/// The lines of a results file, found by custom_id.
#[derive(Debug)]
pub struct ResultIndex {
    scratch: File,
    slots: Vec<Slot>,
    repeats: Vec<Slot>,
}

/// Where a line stands in the scratch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    len: u32,
}

type IdHash = [u64; 2];

#[derive(Debug, Clone, Copy)]
struct Slot {
    id: IdHash,
    offset: u64,
    len: u32,
}

impl ResultIndex {
    /// Reads all result lines of an attempt.
    ///
    /// `expected` are the ids that were sent; `custom_id_of` finds the id of a line; `scratch` is an empty file that nobody else uses,
    /// best one without a name, and takes the lines of expected ids.
    ///
    /// **Shape**: memory for 32 bytes an expected id and the longest line.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::LineTooLong`], [`Error::Scratch`], [`Error::RepeatedId`]. A bad line is counted, and no error.
    pub fn build<F, E>(
        results: impl BufRead,
        expected: impl IntoIterator<Item = impl AsRef<str>>,
        custom_id_of: F,
        scratch: File,
    ) -> Result<(ResultIndex, LineCounts), Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let mut writer = LineWriter::new(&scratch);
        let (slots, repeats, counts) = find_lines(results, expected, custom_id_of, |line| writer.append(line))?;
        writer.finish()?;
        Ok((ResultIndex { scratch, slots, repeats }, counts))
    }

    /// Counts the lines as [`ResultIndex::build`] does, and keeps none.
    ///
    /// # Errors
    /// As there, but for [`Error::Scratch`].
    pub fn count<F, E>(
        results: impl BufRead,
        expected: impl IntoIterator<Item = impl AsRef<str>>,
        custom_id_of: F,
    ) -> Result<LineCounts, Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let nowhere = |line: &[u8]| Ok(Place { offset: 0, len: length_of(line) });
        find_lines(results, expected, custom_id_of, nowhere).map(|(_, _, counts)| counts)
    }

    /// The lines of an id, in the order they came, usually one; `None` if the id was not expected.
    #[must_use]
    pub fn find(&self, custom_id: &str) -> Option<impl Iterator<Item = Place> + use<'_>> {
        let id = hash(custom_id);
        let slot = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        let from = self.repeats.partition_point(|slot| slot.id < id);
        let repeats = self.repeats[from..].iter().take_while(move |slot| slot.id == id);
        let lines = std::iter::once(&self.slots[slot]).filter(|slot| slot.len > 0).chain(repeats);
        Some(lines.map(|slot| Place { offset: slot.offset, len: slot.len }))
    }

    /// Reads a line into a buffer, in place of what is in there.
    ///
    /// # Errors
    /// [`Error::Scratch`].
    pub fn read(&self, place: Place, line: &mut Vec<u8>) -> Result<(), Error> {
        line.resize(place.len as usize, 0);
        read_exact_at(&self.scratch, line, place.offset).map_err(Error::Scratch)
    }
}

/// Reads result lines and has those of expected ids kept: their slots, sorted; the slots of repeated ones, sorted; what the lines were.
fn find_lines<F, E>(
    mut results: impl BufRead,
    expected: impl IntoIterator<Item = impl AsRef<str>>,
    custom_id_of: F,
    mut keep: impl FnMut(&[u8]) -> Result<Place, Error>,
) -> Result<(Vec<Slot>, Vec<Slot>, LineCounts), Error>
where
    F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
{
    let mut slots = slots_of(expected)?;
    let mut repeats = Vec::new();
    let mut counts = LineCounts::default();
    let mut line = Vec::new();
    let mut number = 0;
    while read_line(&mut results, &mut line, number)? {
        number += 1;
        let whole = line.ends_with(b"\n");
        let text = line.trim_ascii();
        if text.is_empty() {
            counts.blank += 1;
            continue;
        }
        counts.lines += 1;
        if !whole && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err() {
            counts.torn += 1;
            continue;
        }
        let Ok(custom_id) = custom_id_of(text) else {
            counts.unreadable += 1;
            continue;
        };
        let id = hash(&custom_id);
        let Ok(slot) = slots.binary_search_by_key(&id, |slot| slot.id) else {
            counts.foreign += 1;
            continue;
        };
        let place = keep(text)?;
        let line = Slot { id, offset: place.offset, len: place.len };
        if slots[slot].len == 0 {
            slots[slot] = line;
        } else {
            counts.duplicates += 1;
            repeats.push(line);
        }
    }
    repeats.sort_by_key(|slot| slot.id); // stable: lines of an id stay in the order they came
    counts.missing = slots.iter().filter(|slot| slot.len == 0).count() as u64;
    Ok((slots, repeats, counts))
}

fn length_of(line: &[u8]) -> u32 {
    u32::try_from(line.len()).expect("a line is shorter than the longest allowed")
}

fn slots_of(expected: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<Slot>, Error> {
    // Until a line comes, `offset` holds the id's position, which is what an error can name.
    let slot = |(position, id)| Slot { id, offset: position, len: 0 };
    let mut slots: Vec<Slot> = (0..).zip(expected.into_iter().map(|id| hash(id.as_ref()))).map(slot).collect();
    slots.sort_unstable_by_key(|slot| (slot.id, slot.offset));
    match slots.windows(2).find(|pair| pair[0].id == pair[1].id) {
        None => Ok(slots),
        Some(pair) => Err(Error::RepeatedId { first: pair[0].offset, second: pair[1].offset }),
    }
}

/// Reads the next line with its end; `false` at the end of the results.
fn read_line(results: &mut impl BufRead, line: &mut Vec<u8>, lines: u64) -> Result<bool, Error> {
    line.clear();
    let read = results.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', line);
    let read = read.map_err(|source| Error::Read { lines, source })?;
    if read as u64 > MAX_LINE_BYTES {
        return Err(Error::LineTooLong { line: lines + 1 });
    }
    Ok(read > 0)
}

/// 128 bits of the id's hash: no two ids of a run share them, and a line found by them is compared with the id itself.
fn hash(custom_id: &str) -> IdHash {
    let hash = blake3::hash(custom_id.as_bytes());
    let word = |at: usize| u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8)]
}

struct LineWriter<'f> {
    file: BufWriter<&'f File>,
    offset: u64,
}

impl<'f> LineWriter<'f> {
    fn new(file: &'f File) -> LineWriter<'f> {
        LineWriter { file: BufWriter::with_capacity(1 << 18, file), offset: 0 }
    }

    fn append(&mut self, line: &[u8]) -> Result<Place, Error> {
        let len = length_of(line);
        self.file.write_all(line).map_err(Error::Scratch)?;
        let place = Place { offset: self.offset, len };
        self.offset += u64::from(len);
        Ok(place)
    }

    fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(Error::Scratch)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}
