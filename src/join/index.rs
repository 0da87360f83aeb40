//! Where the result line of each custom_id stands.
//!
//! Results come in any order and are larger than memory, so the lines go to a scratch file while
//! they are read, and only their places are kept, in a table sorted by the hash of the id:
//!
//! ```text
//!  slots     id: 128 bits of blake3 │ offset: u64 │ len: u32      32 bytes each, sorted by id; len 0: no line arrived;
//!                                                                 len u32::MAX: it is too long to be read, offset says how long
//!  repeats   the same, for second and later lines of an id; nearly always empty
//! ```

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};

use serde::{Deserialize, Serialize};

use super::Error;
use super::lines::{LineSplitter, ResultLine};

/// Longest line that is read as a result; an answer has at most a few MB. Of a longer one only the
/// beginning is looked at, for its id: its row is missing, the others are not.
pub const MAX_LINE_BYTES: u64 = 64 << 20;
/// What is kept of the end of a file where its last line has no id.
const END_BYTES: usize = 1 << 16;
/// Length in a slot whose line is too long to be read.
const TOO_LONG: u32 = u32::MAX;

/// The lines of a results file by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Lines that are not blank.
    pub lines: u64,
    /// Second and later lines of an id that is expected: the first that succeeded counts, else the
    /// first.
    pub duplicates: u64,
    /// Lines of an id that is not expected; kept out.
    pub foreign: u64,
    /// Ids expected for which no line arrived.
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
    /// Whether exactly one line arrived for each id, and nothing else.
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
    slots: Vec<IdSlot>,
    repeats: Vec<IdSlot>,
}

/// Where a line is in the scratch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePlace {
    offset: u64,
    len: u32,
}

impl LinePlace {
    /// A line of `bytes` bytes, which is too long to be read.
    fn of_too_long(bytes: u64) -> LinePlace {
        LinePlace {
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
struct IdSlot {
    id: IdHash,
    offset: u64,
    len: u32,
}

impl ResultIndex {
    /// Reads all result lines of an attempt.
    ///
    /// `expected` are the ids that were sent; `custom_id_of` finds the id of a line; `scratch` is
    /// an empty file that nothing else uses, best one without a name, and takes the lines of
    /// expected ids.
    ///
    /// **Shape**: memory for 32 bytes an expected id and the longest line, at most
    /// [`MAX_LINE_BYTES`].
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Scratch`], [`Error::RepeatedId`]. A bad line is counted, and no
    /// error.
    pub fn build<F, E>(
        mut results: impl BufRead,
        expected: impl IntoIterator<Item = impl AsRef<str>>,
        custom_id_of: F,
        scratch: File,
    ) -> Result<(ResultIndex, LineCounts), Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let mut builder = IndexBuilder::new(expected, scratch)?;
        loop {
            let chunk = results.fill_buf().map_err(|source| Error::Read {
                lines: builder.lines_read(),
                source,
            })?;
            let read = chunk.len();
            if read == 0 {
                break;
            }
            builder.push(chunk, &custom_id_of)?;
            results.consume(read);
        }
        let built = builder.finish(&custom_id_of)?;
        Ok((built.index, built.counts))
    }

    /// Counts the lines as [`ResultIndex::build`] does, and keeps none.
    ///
    /// # Errors
    /// As there, but for [`Error::Scratch`].
    pub fn count<F, E>(
        mut results: impl BufRead,
        expected: impl IntoIterator<Item = impl AsRef<str>>,
        custom_id_of: F,
    ) -> Result<LineCounts, Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let (mut splitter, mut table) =
            (LineSplitter::new(MAX_LINE_BYTES), LineTable::of(expected)?);
        let mut keep = |line: &[u8]| {
            Ok(LinePlace {
                offset: 0,
                len: length_of(line),
            })
        };
        loop {
            let chunk = results.fill_buf().map_err(|source| Error::Read {
                lines: splitter.lines,
                source,
            })?;
            let read = chunk.len();
            if read == 0 {
                break;
            }
            splitter.push(chunk, |line| table.take(&line, &custom_id_of, &mut keep))?;
            results.consume(read);
        }
        splitter.finish(|line| table.take(&line, &custom_id_of, &mut keep))?;
        Ok(table.finish())
    }

    /// The lines of an id, in the order they arrived, usually one; `None` if the id was not
    /// expected.
    #[must_use]
    pub fn find(&self, custom_id: &str) -> Option<impl Iterator<Item = LinePlace> + use<'_>> {
        let id = hash(custom_id);
        let slot = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        let from = self.repeats.partition_point(|slot| slot.id < id);
        let repeats = self.repeats[from..]
            .iter()
            .take_while(move |slot| slot.id == id);
        let lines = std::iter::once(&self.slots[slot])
            .filter(|slot| slot.len > 0)
            .chain(repeats);
        Some(lines.map(|slot| LinePlace {
            offset: slot.offset,
            len: slot.len,
        }))
    }

    /// Reads a line into a buffer, in place of what is in there. Of one that is [too
    /// long](LinePlace::too_long) nothing is there.
    ///
    /// # Errors
    /// [`Error::Scratch`].
    pub fn read(&self, place: LinePlace, line: &mut Vec<u8>) -> Result<(), Error> {
        if place.too_long().is_some() {
            line.clear();
            return Ok(());
        }
        line.resize(place.len as usize, 0);
        read_exact_at(&self.scratch, line, place.offset).map_err(Error::Scratch)
    }
}

/// An index that is being built, fed with the bytes of a results file as they arrive, so that the
/// file is read once: while it is downloaded, or while its hash is checked.
#[derive(Debug)]
pub struct IndexBuilder {
    scratch: LineWriter,
    splitter: LineSplitter,
    table: LineTable,
}

/// An index, and what the lines of its file were.
#[derive(Debug)]
pub struct BuiltIndex {
    /// The index.
    pub index: ResultIndex,
    /// The lines by kind.
    pub counts: LineCounts,
    /// The beginning of the last line, where no custom_id was found in it.
    pub unreadable_end: Option<Vec<u8>>,
}

impl IndexBuilder {
    /// Begins the index of an attempt; the arguments are those of [`ResultIndex::build`].
    ///
    /// # Errors
    /// [`Error::RepeatedId`].
    pub fn new(
        expected: impl IntoIterator<Item = impl AsRef<str>>,
        scratch: File,
    ) -> Result<IndexBuilder, Error> {
        Ok(IndexBuilder {
            scratch: LineWriter::new(scratch),
            splitter: LineSplitter::new(MAX_LINE_BYTES),
            table: LineTable::of(expected)?,
        })
    }

    /// Lines that have come so far.
    #[must_use]
    pub fn lines_read(&self) -> u64 {
        self.splitter.lines
    }

    /// Takes the next bytes of the file, which may end anywhere in a line.
    ///
    /// # Errors
    /// [`Error::Scratch`].
    pub fn push<F, E>(&mut self, bytes: &[u8], custom_id_of: &F) -> Result<(), Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let IndexBuilder {
            scratch,
            splitter,
            table,
        } = self;
        splitter.push(bytes, |line| {
            table.take(&line, custom_id_of, &mut |text| scratch.append(text))
        })
    }

    /// Ends the index: no more bytes come.
    ///
    /// # Errors
    /// [`Error::Scratch`].
    pub fn finish<F, E>(self, custom_id_of: &F) -> Result<BuiltIndex, Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let IndexBuilder {
            mut scratch,
            splitter,
            mut table,
        } = self;
        splitter
            .finish(|line| table.take(&line, custom_id_of, &mut |text| scratch.append(text)))?;
        let counts = table.finish();
        let LineTable {
            slots,
            repeats,
            unreadable_end,
            ..
        } = table;
        let index = ResultIndex {
            scratch: scratch.finish()?,
            slots,
            repeats,
        };
        Ok(BuiltIndex {
            index,
            counts,
            unreadable_end,
        })
    }
}

/// The expected ids, sorted by hash, each with the place of its line.
#[derive(Debug)]
struct LineTable {
    slots: Vec<IdSlot>,
    /// Second and later lines of an id, in the order they arrived.
    repeats: Vec<IdSlot>,
    counts: LineCounts,
    unreadable_end: Option<Vec<u8>>,
}

impl LineTable {
    fn of(expected: impl IntoIterator<Item = impl AsRef<str>>) -> Result<LineTable, Error> {
        Ok(LineTable {
            slots: slots_of(expected)?,
            repeats: Vec::new(),
            counts: LineCounts::default(),
            unreadable_end: None,
        })
    }

    /// Counts a line, and has it kept if its id is expected.
    fn take<F, E>(
        &mut self,
        line: &ResultLine<'_>,
        custom_id_of: &F,
        keep: &mut impl FnMut(&[u8]) -> Result<LinePlace, Error>,
    ) -> Result<(), Error>
    where
        F: for<'l> Fn(&'l [u8]) -> Result<Cow<'l, str>, E>,
    {
        let (text, counts) = (line.text.trim_ascii(), &mut self.counts);
        if text.is_empty() {
            counts.blank += 1;
            return Ok(());
        }
        self.unreadable_end = None;
        counts.lines += 1;
        counts.too_long += u64::from(line.too_long.is_some());
        // Only the last line can lack its end. Without it, half a line of JSON is a stream that
        // broke off; a whole one merely lacks its line feed.
        if !line.is_ended
            && line.too_long.is_none()
            && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err()
        {
            counts.torn += 1;
            return Ok(());
        }
        let Ok(custom_id) = custom_id_of(text) else {
            // A line that is too long is counted already, and that is why it has no id.
            if line.too_long.is_none() {
                counts.unreadable += 1;
                self.unreadable_end = Some(text[..text.len().min(END_BYTES)].to_vec());
            }
            return Ok(());
        };
        let id = hash(&custom_id);
        let Ok(slot) = self.slots.binary_search_by_key(&id, |slot| slot.id) else {
            counts.foreign += 1;
            return Ok(());
        };
        let LinePlace { offset, len } = match line.too_long {
            Some(bytes) => LinePlace::of_too_long(bytes),
            None => keep(text)?,
        };
        let line = IdSlot { id, offset, len };
        if self.slots[slot].len == 0 {
            self.slots[slot] = line;
        } else {
            counts.duplicates += 1;
            self.repeats.push(line);
        }
        Ok(())
    }

    /// Sorts what is found by id, and counts what is missing.
    fn finish(&mut self) -> LineCounts {
        // A stable sort: the lines of an id stay in the order they arrived.
        self.repeats.sort_by_key(|slot| slot.id);
        self.counts.missing = self.slots.iter().filter(|slot| slot.len == 0).count() as u64;
        self.counts
    }
}

fn length_of(line: &[u8]) -> u32 {
    u32::try_from(line.len()).expect("a line is shorter than the longest allowed")
}

fn slots_of(expected: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<IdSlot>, Error> {
    // Until a line comes, `offset` holds the id's position, which is what an error can name.
    let slot = |(position, id)| IdSlot {
        id,
        offset: position,
        len: 0,
    };
    let mut slots: Vec<IdSlot> = (0..)
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

/// 128 bits of the id's hash: no two ids of a run share them, and a line found by them is compared
/// with the id itself.
fn hash(custom_id: &str) -> IdHash {
    let hash = blake3::hash(custom_id.as_bytes());
    let word = |at: usize| {
        u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"))
    };
    [word(0), word(8)]
}

/// Writes lines one after the other into the scratch file.
#[derive(Debug)]
struct LineWriter {
    file: BufWriter<File>,
    offset: u64,
}

impl LineWriter {
    fn new(file: File) -> LineWriter {
        LineWriter {
            file: BufWriter::with_capacity(1 << 18, file),
            offset: 0,
        }
    }

    fn append(&mut self, line: &[u8]) -> Result<LinePlace, Error> {
        let len = length_of(line);
        self.file.write_all(line).map_err(Error::Scratch)?;
        let place = LinePlace {
            offset: self.offset,
            len,
        };
        self.offset += u64::from(len);
        Ok(place)
    }

    fn finish(self) -> Result<File, Error> {
        self.file
            .into_inner()
            .map_err(|error| Error::Scratch(error.into_error()))
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
