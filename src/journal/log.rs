//! The log on disk: read as a whole, written a line at a time.
//!
//! Each line is on disk before the caller continues, so at most one line is ever incomplete. A file
//! that ends in half a line is what a crash leaves: what that line was to record had not been acted
//! upon, or is looked up again. Anything else is damage.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, Event, FORMAT, JournalEntry, Plan, RunDir, RunNote, State, cannot};
use crate::durable::{self, Appender};
use crate::request::custom_id::Nonce;

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    /// It is not JSON, or not of this shape.
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
    /// It holds NUL bytes, as a disk leaves them after a power failure.
    #[error("it holds NUL bytes")]
    NulBytes,
    /// It was written by another version.
    #[error("it has the format version {found}, and this program reads versions up to {FORMAT}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// The first line names another run than the plan.
    #[error("it belongs to the run `{run}`, which has another nonce")]
    OtherRun {
        /// The run it names.
        run: String,
    },
    /// The first line was never completed.
    #[error("the file ends before its first line does")]
    NoHeader,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct JournalHeader {
    journal: u32,
    run: String,
    nonce: Nonce,
}

/// The part of the first line that determines whether the rest can be read.
#[derive(Deserialize)]
struct Version {
    journal: u32,
}

/// A journal that was read.
#[derive(Debug)]
pub struct JournalHistory {
    /// The state after its lines.
    pub state: State,
    /// The lines.
    pub entries: Vec<JournalEntry>,
}

/// A journal that is written. The writer holds the run's lock.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    appender: Appender,
    state: State,
    is_broken: bool,
}

impl Journal {
    /// Writes a journal without events.
    pub(super) fn create(path: &Path, plan: &Plan) -> Result<(), Error> {
        Journal::write(path, plan, &[])
    }

    fn write(path: &Path, plan: &Plan, entries: &[JournalEntry]) -> Result<(), Error> {
        let odd = |e| cannot("write", path)(io::Error::other(e));
        let mut text = serde_json::to_vec(&JournalHeader {
            journal: FORMAT,
            run: plan.run.clone(),
            nonce: plan.nonce.clone(),
        })
        .map_err(odd)?;
        text.push(b'\n');
        for entry in entries {
            serde_json::to_writer(&mut text, entry).map_err(odd)?;
            text.push(b'\n');
        }
        durable::write_file(path, &text).map_err(cannot("write", path))
    }

    /// Writes a new journal with these events; the old one, if there is one, is kept under
    /// another name, which is given back. The new one is there as a whole or not at all: with half
    /// of the events, the other half would count as never having happened.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Impossible`].
    pub fn renew(
        run: &RunDir,
        plan: &Plan,
        now: Timestamp,
        events: Vec<(Timestamp, Event)>,
    ) -> Result<Option<PathBuf>, Error> {
        let path = run.journal();
        let aside = run.path().join(format!(
            "journal.until-{}.jsonl",
            now.strftime("%Y%m%d-%H%M%S")
        ));
        let kept = match fs::rename(&path, &aside) {
            Ok(()) => Some(aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot("set aside", &path)(error)),
        };
        let entries: Vec<JournalEntry> = (1..)
            .zip(events)
            .map(|(seq, (at, event))| JournalEntry::new(seq, at, event))
            .collect();
        State::from_events(&plan.batches, &plan.checkpoints, &entries).map_err(|source| {
            Error::Impossible {
                path: path.clone(),
                source,
            }
        })?;
        Journal::write(&path, plan, &entries)?;
        Ok(kept)
    }

    /// Reads a journal without touching it, even while another process writes it: half a line at
    /// its end is passed over.
    ///
    /// # Errors
    /// When it cannot be read, belongs to another run, or contains an impossible sequence of
    /// events.
    pub fn read(path: &Path, plan: &Plan) -> Result<JournalHistory, Error> {
        JournalReader::of(path, plan).map(|reading| reading.history)
    }

    /// Opens a journal for writing. A torn last line is cut off, and reported in the notes.
    ///
    /// # Errors
    /// As [`Journal::read`], and when it cannot be written.
    pub fn open(path: &Path, plan: &Plan) -> Result<(Journal, Vec<RunNote>), Error> {
        let reading = JournalReader::of(path, plan)?;
        reading.repair(path).map_err(cannot("repair", path))?;
        let appender = Appender::open(path).map_err(cannot("write", path))?;
        let journal = Journal {
            path: path.to_path_buf(),
            appender,
            state: reading.history.state,
            is_broken: false,
        };
        Ok((journal, reading.torn.into_iter().collect()))
    }

    /// Reads the bytes of a journal that is no file.
    #[cfg(any(test, fuzzing, feature = "fuzzing"))]
    pub(super) fn parse(bytes: &[u8], plan: &Plan) -> Result<JournalHistory, Error> {
        JournalReader::parse(Path::new("journal.jsonl"), bytes, plan).map(|reading| reading.history)
    }

    /// A journal without events onto a file that is not looked at.
    #[cfg(test)]
    pub(super) fn onto(path: &Path, plan: &Plan) -> Journal {
        let appender = Appender::open(path).expect("the file opens");
        Journal {
            path: path.to_path_buf(),
            appender,
            state: State::new(&plan.batches, &plan.checkpoints),
            is_broken: false,
        }
    }

    /// The state after the events so far.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Records an event; it is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Impossible`] when it cannot follow the events before it: nothing is written then.
    /// [`Error::Io`] when it may or may not have reached the disk: the journal takes nothing more
    /// then, and is to be opened again.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Result<(), Error> {
        if self.is_broken {
            return Err(Error::Broken {
                path: self.path.clone(),
            });
        }
        let entry = JournalEntry::new(self.state.events() + 1, at, event);
        self.state
            .apply(&entry)
            .map_err(|source| Error::Impossible {
                path: self.path.clone(),
                source,
            })?;
        let written = serde_json::to_string(&entry)
            .map_err(io::Error::other)
            .and_then(|line| self.appender.append_line(&line));
        self.is_broken = written.is_err();
        written.map_err(cannot("write", &self.path))
    }
}

/// A file that was read, and what is to be repaired in it.
struct JournalReader {
    history: JournalHistory,
    /// Bytes up to the end of the last line that counts.
    length: u64,
    lacks_line_feed: bool,
    torn: Option<RunNote>,
}

impl JournalReader {
    fn of(path: &Path, plan: &Plan) -> Result<JournalReader, Error> {
        let bytes = fs::read(path).map_err(cannot("read", path))?;
        JournalReader::parse(path, &bytes, plan)
    }

    /// Reads the bytes of a journal; `path` is for errors only.
    fn parse(path: &Path, bytes: &[u8], plan: &Plan) -> Result<JournalReader, Error> {
        let at_line = |line| {
            move |source| Error::Line {
                path: path.to_path_buf(),
                line,
                source,
            }
        };
        let whole = memchr::memrchr(b'\n', bytes)
            .ok_or(LineFault::NoHeader)
            .map_err(at_line(1))?;
        let mut lines = (1..).zip(bytes[..whole].split(|byte| *byte == b'\n'));
        let (_, header) = lines.next().unwrap_or_default();
        check_header(header, plan).map_err(at_line(1))?;

        let mut history = JournalHistory {
            state: State::new(&plan.batches, &plan.checkpoints),
            entries: Vec::new(),
        };
        for (number, line) in lines {
            let entry = JournalEntry::parse(line).map_err(at_line(number))?;
            history.take(path, entry)?;
        }
        let mut reading = JournalReader {
            history,
            length: whole as u64 + 1,
            lacks_line_feed: false,
            torn: None,
        };
        reading.take_tail(path, &bytes[whole + 1..])?;
        Ok(reading)
    }

    /// Takes what follows the last line feed: nothing, a line that only lacks its line feed, or
    /// half a line.
    fn take_tail(&mut self, path: &Path, tail: &[u8]) -> Result<(), Error> {
        if tail.is_empty() {
            return Ok(());
        }
        let line = self.history.state.events() + 2;
        if serde_json::from_slice::<serde::de::IgnoredAny>(tail).is_err() {
            self.torn = Some(RunNote::TornLine {
                line,
                bytes: tail.len() as u64,
            });
            return Ok(());
        }
        let entry = JournalEntry::parse(tail).map_err(|source| Error::Line {
            path: path.to_path_buf(),
            line,
            source,
        })?;
        self.history.take(path, entry)?;
        self.length += tail.len() as u64;
        self.lacks_line_feed = true;
        Ok(())
    }

    /// Cuts off half a line, or ends a whole one.
    fn repair(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(path)?;
        if file.metadata()?.len() != self.length {
            durable::act();
            file.set_len(self.length)?;
            file.sync_all()?;
        }
        if self.lacks_line_feed {
            durable::act();
            io::Write::write_all(&mut &file, b"\n")?;
            file.sync_all()?;
        }
        Ok(())
    }
}

impl JournalHistory {
    fn take(&mut self, path: &Path, entry: JournalEntry) -> Result<(), Error> {
        self.state
            .apply(&entry)
            .map_err(|source| Error::Impossible {
                path: path.to_path_buf(),
                source,
            })?;
        self.entries.push(entry);
        Ok(())
    }
}

fn check_header(line: &[u8], plan: &Plan) -> Result<(), LineFault> {
    if line.contains(&0) {
        return Err(LineFault::NulBytes);
    }
    let Version { journal } = serde_json::from_slice(line)?;
    if !(1..=FORMAT).contains(&journal) {
        return Err(LineFault::Version { found: journal });
    }
    let header: JournalHeader = serde_json::from_slice(line)?;
    if header.nonce != plan.nonce {
        return Err(LineFault::OtherRun { run: header.run });
    }
    Ok(())
}
