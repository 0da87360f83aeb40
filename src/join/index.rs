//! Where the result line of each custom_id stands.
//!
//! Results come in any order and are larger than memory, so the lines go to a scratch file while
//! they are read, and only their places are kept, in a table sorted by the hash of the id:
//!
//! ```text
//!  slots     id: 128 bits of blake3 │ offset: u64 │ len: u32      32 bytes each, sorted by id; len 0: no line came;
//!                                                                 len u32::MAX: it is too long to be read, offset says how long
//!  repeats   the same, for second and later lines of an id; nearly always empty
//! ```

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};

use super::Error;

/// Longest line that is read as a result; an answer has at most a few MB. Of a longer one only the
/// beginning is looked at, for its id: its row is missing, the others are not.
pub const MAX_LINE_BYTES: u64 = 64 << 20;
/// What is looked at of a line that is too long.
const HEAD_BYTES: usize = 4 << 10;
/// Length in a slot whose line is too long to be read.
const TOO_LONG: u32 = u32::MAX;

/// What became of the lines of a results file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Lines that are not blank.
    pub lines: u64,
    /// Second and later lines of an id that is expected: the first that succeeded counts, else the
    /// first.
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
    /// Lines longer than [`MAX_LINE_BYTES`]; their rows are missing.
    #[serde(default)]
    pub too_long: u64,
}

impl LineCounts {
    /// Whether exactly one line came for each id, and nothing else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let LineCounts {
            lines: _,
            duplicates,
            foreign,
            missing,
            torn,
            blank: _,
            unreadable,
            too_long,
        } = self;
        duplicates + foreign + missing + torn + unreadable + too_long == 0
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

impl Place {
    /// A line of so many bytes that is too long to be read.
    fn of_too_long(bytes: u64) -> Place {
        Place {
            offset: bytes,
            len: TOO_LONG,
        }
    }

    /// How long the line is, if it is too long to be read.
    #[must_use]
    pub fn too_long(self) -> Option<u64> {
        (self.len == TOO_LONG).then_some(self.offset)
    }
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
    /// `expected` are the ids that were sent; `custom_id_of` finds the id of a line; `scratch` is
    /// an empty file that nobody else uses, best one without a name, and takes the lines of
    /// expected ids.
    ///
    /// **Shape**: memory for 32 bytes an expected id and the longest line, at most
    /// [`MAX_LINE_BYTES`].
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Scratch`], [`Error::RepeatedId`]. A bad line is counted, and no
    /// error.
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
        let (slots, repeats, counts) =
            find_lines(results, expected, custom_id_of, |line| writer.append(line))?;
        writer.finish()?;
        Ok((
            ResultIndex {
                scratch,
                slots,
                repeats,
            },
            counts,
        ))
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
        let nowhere = |line: &[u8]| {
            Ok(Place {
                offset: 0,
                len: length_of(line),
            })
        };
        find_lines(results, expected, custom_id_of, nowhere).map(|(_, _, counts)| counts)
    }

    /// The lines of an id, in the order they came, usually one; `None` if the id was not expected.
    #[must_use]
    pub fn find(&self, custom_id: &str) -> Option<impl Iterator<Item = Place> + use<'_>> {
        let id = hash(custom_id);
        let slot = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        let from = self.repeats.partition_point(|slot| slot.id < id);
        let repeats = self.repeats[from..]
            .iter()
            .take_while(move |slot| slot.id == id);
        let lines = std::iter::once(&self.slots[slot])
            .filter(|slot| slot.len > 0)
            .chain(repeats);
        Some(lines.map(|slot| Place {
            offset: slot.offset,
            len: slot.len,
        }))
    }

    /// Reads a line into a buffer, in place of what is in there. Of one that is [too
    /// long](Place::too_long) nothing is there.
    ///
    /// # Errors
    /// [`Error::Scratch`].
    pub fn read(&self, place: Place, line: &mut Vec<u8>) -> Result<(), Error> {
        if place.too_long().is_some() {
            line.clear();
            return Ok(());
        }
        line.resize(place.len as usize, 0);
        read_exact_at(&self.scratch, line, place.offset).map_err(Error::Scratch)
    }
}

/// Reads result lines and has those of expected ids kept: their slots, sorted; the slots of
/// repeated ones, sorted; what the lines were.
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
    loop {
        let too_long = match read_line(&mut results, &mut line, MAX_LINE_BYTES, number)? {
            LineRead::End => break,
            LineRead::Whole => None,
            LineRead::TooLong { bytes } => Some(bytes),
        };
        number += 1;
        let is_ended = line.ends_with(b"\n");
        let text = line.trim_ascii();
        if text.is_empty() {
            counts.blank += 1;
            continue;
        }
        counts.lines += 1;
        counts.too_long += u64::from(too_long.is_some());
        if !is_ended
            && too_long.is_none()
            && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err()
        {
            counts.torn += 1;
            continue;
        }
        let Ok(custom_id) = custom_id_of(text) else {
            // Counted already if it is too long, which is why.
            counts.unreadable += u64::from(too_long.is_none());
            continue;
        };
        let id = hash(&custom_id);
        let Ok(slot) = slots.binary_search_by_key(&id, |slot| slot.id) else {
            counts.foreign += 1;
            continue;
        };
        let place = match too_long {
            Some(bytes) => Place::of_too_long(bytes),
            None => keep(text)?,
        };
        let line = Slot {
            id,
            offset: place.offset,
            len: place.len,
        };
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
    let slot = |(position, id)| Slot {
        id,
        offset: position,
        len: 0,
    };
    let mut slots: Vec<Slot> = (0..)
        .zip(expected.into_iter().map(|id| hash(id.as_ref())))
        .map(slot)
        .collect();
    slots.sort_unstable_by_key(|slot| (slot.id, slot.offset));
    match slots.windows(2).find(|pair| pair[0].id == pair[1].id) {
        None => Ok(slots),
        Some(pair) => Err(Error::RepeatedId {
            first: pair[0].offset,
            second: pair[1].offset,
        }),
    }
}

/// What was read of the results.
#[derive(Debug, PartialEq, Eq)]
enum LineRead {
    /// Nothing: they are over.
    End,
    /// A line, with its end.
    Whole,
    /// The beginning of a line that is too long, closed by a brace: a reader that finds the id at
    /// the head of a line finds it there too.
    TooLong {
        /// Bytes of the line.
        bytes: u64,
    },
}

/// Reads the next line; of one that is longer than `most` the beginning, and passes over the rest.
fn read_line(
    results: &mut impl BufRead,
    line: &mut Vec<u8>,
    most: u64,
    lines: u64,
) -> Result<LineRead, Error> {
    line.clear();
    let broken = |source| Error::Read { lines, source };
    let read = results
        .by_ref()
        .take(most + 1)
        .read_until(b'\n', line)
        .map_err(broken)? as u64;
    if read == 0 {
        return Ok(LineRead::End);
    }
    if read <= most || line.ends_with(b"\n") {
        return Ok(LineRead::Whole);
    }
    let mut bytes = read;
    loop {
        let part = results.fill_buf().map_err(broken)?;
        let end = memchr::memchr(b'\n', part);
        let used = end.map_or(part.len(), |at| at + 1);
        bytes += end.unwrap_or(used) as u64;
        results.consume(used);
        if used == 0 || end.is_some() {
            break;
        }
    }
    line.truncate(HEAD_BYTES);
    line.push(b'}');
    Ok(LineRead::TooLong { bytes })
}

/// 128 bits of the id's hash: no two ids of a run share them, and a line found by them is compared
/// with the id itself.
fn hash(custom_id: &str) -> IdHash {
    let hash = blake3::hash(custom_id.as_bytes());
    let word = |at: usize| {
        u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"))
    };
    [word(0), word(8)]
}

struct LineWriter<'f> {
    file: BufWriter<&'f File>,
    offset: u64,
}

impl<'f> LineWriter<'f> {
    fn new(file: &'f File) -> LineWriter<'f> {
        LineWriter {
            file: BufWriter::with_capacity(1 << 18, file),
            offset: 0,
        }
    }

    fn append(&mut self, line: &[u8]) -> Result<Place, Error> {
        let len = length_of(line);
        self.file.write_all(line).map_err(Error::Scratch)?;
        let place = Place {
            offset: self.offset,
            len,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_over_what_is_too_long_and_reads_the_next_line() {
        let text = format!(
            "{{\"id\":\"a\",\"x\":\"{}\"}}\nshort\n12345678\n123456789",
            "y".repeat(9_000)
        );
        for capacity in [1, 7, 4_096, 1 << 18] {
            let mut reader = io::BufReader::with_capacity(capacity, text.as_bytes());
            let mut line = Vec::new();
            let mut next = |line: &mut Vec<u8>| read_line(&mut reader, line, 8, 0).unwrap();
            assert_eq!(next(&mut line), LineRead::TooLong { bytes: 9_000 + 17 });
            assert_eq!(line, b"{\"id\":\"a\"}");
            assert_eq!(
                (next(&mut line), line.as_slice()),
                (LineRead::Whole, b"short\n".as_slice())
            );
            assert_eq!(
                (next(&mut line), line.as_slice()),
                (LineRead::Whole, b"12345678\n".as_slice())
            );
            assert_eq!(next(&mut line), LineRead::TooLong { bytes: 9 });
            assert_eq!(next(&mut line), LineRead::End);
        }
    }
}
