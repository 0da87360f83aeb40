//! The result lines of a batch on disk: indexed while they are written, and while they are read.
//!
//! ```text
//!  download ─▶ ResultsWriter ─┬─▶ zstd ─▶ hash ─▶ results/00001.1.jsonl.zst
//!                             └─▶ lines ─▶ counts, and an index for the bill
//!  results/00001.1.jsonl.zst ─▶ hash ─▶ zstd ─▶ lines ─▶ an index for the join
//! ```
//!
//! Results are the largest thing that a run reads, so each of the two directions is one pass: what
//! is needed of the lines (their ids, their number, the hash of the file) is read in the same pass.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use arrow::array::StringArray;

use crate::durable::Pending;
use crate::join::{BuiltIndex, IndexBuilder, LineCounts, ResultIndex};
use crate::provider::BatchFormat;

use super::{Error, Run};

/// How fast the lines are compressed: as fast as they arrive.
const LEVEL: i32 = 1;

/// Writes the result lines of a batch to a file that has no name yet.
pub(crate) struct ResultsWriter {
    encoder: zstd::Encoder<'static, Hashing<Pending>>,
    builder: IndexBuilder,
    format: &'static dyn BatchFormat,
    path: PathBuf,
}

/// Result lines that were written, in a file that has no name yet.
pub(crate) struct WrittenResults {
    pub(crate) pending: Pending,
    /// blake3 of the file, in hex.
    pub(crate) file_hash: String,
    /// Finds the lines by id.
    pub(crate) index: ResultIndex,
    pub(crate) counts: LineCounts,
}

impl ResultsWriter {
    /// Begins the file that will be `path`, with the results of a batch of the run.
    pub(crate) fn create(run: &Run, batch: u32, path: &Path) -> Result<ResultsWriter, Error> {
        let builder =
            IndexBuilder::new(run.ids_of(batch)?.iter().flatten().flatten(), scratch(run)?)?;
        let encoder = Pending::create(path)
            .and_then(|pending| zstd::Encoder::new(Hashing::new(pending), LEVEL))
            .map_err(cannot("save result lines in", path))?;
        Ok(ResultsWriter {
            encoder,
            builder,
            format: run.format(),
            path: path.to_path_buf(),
        })
    }

    /// Writes the next bytes, which may end anywhere in a line.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.encoder
            .write_all(bytes)
            .map_err(cannot("save result lines in", &self.path))?;
        let format = self.format;
        Ok(self.builder.push(bytes, &|line| format.custom_id(line))?)
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> Result<WrittenResults, Error> {
        let hashing = self
            .encoder
            .finish()
            .map_err(cannot("save result lines in", &self.path))?;
        let (pending, file_hash) = hashing.finish();
        let BuiltIndex {
            index,
            mut counts,
            unreadable_end,
        } = self.builder.finish(&|line| self.format.custom_id(line))?;
        // What a gateway writes at the end of a stream that it cut off is no result: such a line
        // names no id at all, and counts as torn.
        let is_noise = |line: Vec<u8>| !self.format.begins_result(&line);
        counts.torn += u64::from(unreadable_end.is_some_and(is_noise));
        Ok(WrittenResults {
            pending,
            file_hash,
            index,
            counts,
        })
    }
}

/// Finds the lines of saved results by id. With `file_hash` the file must be the one that was
/// saved; nothing of another is ever passed on.
///
/// # Errors
/// [`Error::MissingResults`] and [`Error::AlteredResults`]; [`Error::Join`] where the lines cannot
/// be read.
pub(crate) fn read_index(
    run: &Run,
    ids: &[StringArray],
    path: &Path,
    file_hash: Option<&str>,
) -> Result<ResultIndex, Error> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if file_hash.is_some() => Error::MissingResults {
            path: path.to_path_buf(),
        },
        _ => cannot("read results in", path)(error),
    })?;
    let scratch = scratch(run)?;
    let mut decoder =
        zstd::Decoder::new(Hashing::new(file)).map_err(cannot("read results in", path))?;
    let lines = BufReader::with_capacity(1 << 18, &mut decoder);
    let built = ResultIndex::build(
        lines,
        ids.iter().flatten().flatten(),
        |line| run.format().custom_id(line),
        scratch,
    );
    if let Some(expected) = file_hash {
        // Also where the lines could not be read: an altered file is the reason then. What the
        // decoder left unread belongs to the hash too.
        let mut rest = decoder.finish();
        io::copy(&mut rest, &mut io::sink()).map_err(cannot("read results in", path))?;
        let (_, found) = rest.into_inner().finish();
        if found != expected {
            return Err(Error::AlteredResults {
                path: path.to_path_buf(),
            });
        }
    }
    Ok(built?.0)
}

/// A temporary file without a name, for the lines of an index.
fn scratch(run: &Run) -> Result<File, Error> {
    let folder = run.folder();
    tempfile::tempfile_in(folder).map_err(cannot("use a temporary file in", folder))
}

fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File {
        doing,
        path,
        source,
    }
}

/// Hashes the bytes that are written to a file, or read from it.
struct Hashing<F> {
    file: F,
    hasher: blake3::Hasher,
}

impl<F> Hashing<F> {
    fn new(file: F) -> Hashing<F> {
        Hashing {
            file,
            hasher: blake3::Hasher::new(),
        }
    }

    /// The file, and blake3 of its bytes in hex.
    fn finish(self) -> (F, String) {
        (self.file, self.hasher.finalize().to_hex().to_string())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
