//! Arrow IPC: files (Feather version 2) and streams, distinguished by their first bytes.
//!
//! ```text
//!   file    ARROW1 0 0 │ schema │ batch │ batch │ … │ footer: offset of each batch  │ length │ ARROW1
//!   stream               schema │ batch │ batch │ … │ end mark
//!   batch   FFFFFFFF │ length │ header: rows, length of the body │ body
//! ```
//!
//! IpcRows are counted from the headers before anything is read, so that a stream that breaks off
//! is noticed; for the same reason a stream must have its end mark, which the format leaves to the
//! writer. A batch of the file is in memory as a whole while its rows are handed out in smaller
//! ones.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::ipc::{Block, root_as_footer, root_as_message};

use super::bytes::Input;
use super::columnar::{check_cells, corrupt, fit, guarded};
use super::scan::FileBatch;
use super::{Error, Format, LargeItem};
use crate::border;

const FILE_MAGIC: &[u8] = b"ARROW1";
const FEATHER_1_MAGIC: &[u8] = b"FEA1";

/// The columns of a file and its number of rows.
pub(super) fn describe(input: &Input, max_cell_bytes: u64) -> Result<(SchemaRef, u64), Error> {
    let rows = count(input, max_cell_bytes)?;
    Ok((open_reader(input, None)?.schema(), rows))
}

type BatchReader = Box<dyn RecordBatchReader + Send>;

fn open_reader(input: &Input, projection: Option<Vec<usize>>) -> Result<BatchReader, Error> {
    let (is_file, file) = open_file(input)?;
    guarded(input.path(), Format::Ipc, || {
        Ok::<BatchReader, ArrowError>(if is_file {
            Box::new(FileReader::try_new_buffered(file, projection)?)
        } else {
            Box::new(StreamReader::try_new_buffered(file, projection)?)
        })
    })
}

/// The file, and whether it is one in the file format rather than a stream.
fn open_file(input: &Input) -> Result<(bool, File), Error> {
    let mut file = input.open()?;
    let mut head = Vec::with_capacity(6);
    file.by_ref()
        .take(6)
        .read_to_end(&mut head)
        .map_err(|e| input.failed(e))?;
    if head.is_empty() {
        return Err(Error::Empty {
            path: input.path().to_path_buf(),
        });
    }
    if head.starts_with(FEATHER_1_MAGIC) {
        return Err(corrupt(
            input.path(),
            Format::Ipc,
            "it is a Feather file of version 1, which is not Arrow IPC",
        ));
    }
    file.seek(SeekFrom::Start(0)).map_err(|e| input.failed(e))?;
    Ok((head == FILE_MAGIC, file))
}

/// The largest batch, in multiples of the largest cell, and of its bytes in the file.
const BATCH_CELLS: u64 = 8;
const BATCH_RATIO: u64 = 100;

/// Counts rows by the headers of the batches, and checks that every batch lies within the file and
/// unpacks to no more than it may.
fn count(input: &Input, max_cell_bytes: u64) -> Result<u64, Error> {
    let (is_file, file) = open_file(input)?;
    let batches = guarded(input.path(), Format::Ipc, || {
        if is_file {
            count_file(file)
        } else {
            count_stream(file)
        }
    })?;
    let mut rows = 0;
    for header in batches {
        let limit = max_cell_bytes
            .saturating_mul(BATCH_CELLS)
            .max(header.body_bytes.saturating_mul(BATCH_RATIO));
        if header.unpacked > limit {
            let (path, column, item) =
                (input.path().to_path_buf(), String::new(), LargeItem::Batch);
            return Err(Error::TooLarge {
                path,
                row: Some(rows + 1),
                column,
                item,
                bytes: header.unpacked,
                limit,
            });
        }
        rows += header.rows;
    }
    Ok(rows)
}

fn count_file(mut file: File) -> io::Result<Vec<MessageHeader>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::End(-10))?;
    let mut tail = [0; 10];
    file.read_exact(&mut tail)?;
    if tail[4..] != *FILE_MAGIC {
        return Err(damaged("it breaks off before its footer"));
    }
    let footer_bytes = i32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let footer_bytes = u64::try_from(footer_bytes)
        .ok()
        .filter(|bytes| bytes + 10 <= length);
    let footer_bytes = footer_bytes.ok_or_else(|| damaged("its footer is longer than the file"))?;
    file.seek(SeekFrom::Start(length - 10 - footer_bytes))?;
    let footer = read_bytes(&mut file, footer_bytes)?;
    let footer = root_as_footer(&footer).map_err(|e| damaged(&e.to_string()))?;
    let mut batches = Vec::new();
    for block in footer
        .dictionaries()
        .into_iter()
        .flatten()
        .chain(footer.recordBatches().into_iter().flatten())
    {
        file.seek(SeekFrom::Start(inside(block, length)?))?;
        batches.push(read_header(&mut file, length)?.ok_or_else(|| damaged("a batch is missing"))?);
    }
    Ok(batches)
}

/// Where a block begins, once it is known to end within the file.
fn inside(block: &Block, length: u64) -> io::Result<u64> {
    let parts = [
        block.offset(),
        i64::from(block.metaDataLength()),
        block.bodyLength(),
    ]
    .map(u64::try_from);
    match parts {
        [Ok(offset), Ok(header), Ok(body)]
            if offset
                .checked_add(header)
                .and_then(|end| end.checked_add(body))
                .is_some_and(|end| end <= length) =>
        {
            Ok(offset)
        }
        _ => Err(damaged("a batch lies outside of the file")),
    }
}

fn count_stream(file: File) -> io::Result<Vec<MessageHeader>> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut batches = Vec::new();
    while let Some(header) = read_header(&mut reader, length)? {
        let end = header.body.checked_add(header.body_bytes);
        let end = end
            .filter(|end| *end <= length)
            .ok_or_else(|| damaged("it breaks off inside a batch"))?;
        batches.push(header);
        reader.seek(SeekFrom::Start(end))?;
    }
    Ok(batches)
}

struct MessageHeader {
    rows: u64,
    /// Where the body begins.
    body: u64,
    body_bytes: u64,
    /// What the body's buffers unpack to.
    unpacked: u64,
}

/// Reads the header of a message; `None` at the end mark.
fn read_header(reader: &mut (impl Read + Seek), length: u64) -> io::Result<Option<MessageHeader>> {
    let mut word = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut word)?;
    if word.is_empty() {
        return Err(damaged("it ends without an end mark"));
    }
    if word == [0xff; 4] {
        word.clear();
        reader.by_ref().take(4).read_to_end(&mut word)?;
    }
    let word = <[u8; 4]>::try_from(word).map_err(|_| damaged("it breaks off inside a header"))?;
    let bytes = u64::try_from(i32::from_le_bytes(word))
        .ok()
        .filter(|bytes| *bytes <= length);
    let bytes = bytes.ok_or_else(|| damaged("it is neither an Arrow file nor an Arrow stream"))?;
    if bytes == 0 {
        return Ok(None);
    }
    let header = read_bytes(reader, bytes)?;
    let message = root_as_message(&header).map_err(|e| damaged(&e.to_string()))?;
    let of_dictionary = message
        .header_as_dictionary_batch()
        .and_then(|dictionary| dictionary.data());
    let batch = message.header_as_record_batch();
    let rows = batch.map_or(0, |batch| batch.length());
    let (Ok(rows), Ok(body_bytes)) = (u64::try_from(rows), u64::try_from(message.bodyLength()))
    else {
        return Err(damaged("a batch has a negative length"));
    };
    if rows > i32::MAX as u64 {
        return Err(damaged("a batch has more rows than a batch can have"));
    }
    let body = reader.stream_position()?;
    let mut unpacked = 0_u64;
    if let Some(packed) = batch
        .or(of_dictionary)
        .filter(|batch| batch.compression().is_some())
    {
        for buffer in packed
            .buffers()
            .into_iter()
            .flatten()
            .filter(|buffer| buffer.length() >= 8)
        {
            let at = u64::try_from(buffer.offset())
                .ok()
                .and_then(|offset| body.checked_add(offset));
            let at = at
                .filter(|at| *at < length)
                .ok_or_else(|| damaged("a buffer lies outside of the file"))?;
            reader.seek(SeekFrom::Start(at))?;
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes)?;
            // -1 means that the buffer is not compressed.
            unpacked =
                unpacked.saturating_add(u64::try_from(i64::from_le_bytes(bytes)).unwrap_or(0));
        }
    }
    Ok(Some(MessageHeader {
        rows,
        body,
        body_bytes,
        unpacked,
    }))
}

fn read_bytes(reader: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    reader.take(bytes).read_to_end(&mut buffer)?;
    if buffer.len() as u64 == bytes {
        Ok(buffer)
    } else {
        Err(damaged("it breaks off inside a header"))
    }
}

fn damaged(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

/// The rows of one file.
pub(super) struct IpcRows {
    input: Arc<Input>,
    batches: BatchReader,
    schema: SchemaRef,
    rows: u64,
    given: u64,
    max_cell_bytes: u64,
    ended: bool,
}

impl IpcRows {
    /// Opens a file for the columns of `schema`, each of which it has.
    pub(super) fn open(
        input: Arc<Input>,
        schema: SchemaRef,
        max_cell_bytes: u64,
    ) -> Result<IpcRows, Error> {
        let rows = count(&input, max_cell_bytes)?;
        let of_file = open_reader(&input, None)?.schema();
        let mut wanted: Vec<usize> = (0..of_file.fields().len())
            .filter(|i| schema.index_of(of_file.field(*i).name()).is_ok())
            .collect();
        if wanted.is_empty() {
            // Without a column, the reader loses the number of rows.
            wanted.push(0);
        }
        let batches = open_reader(&input, Some(wanted))?;
        Ok(IpcRows {
            input,
            batches,
            schema,
            rows,
            given: 0,
            max_cell_bytes,
            ended: false,
        })
    }

    fn read(&mut self) -> Result<Option<FileBatch>, Error> {
        let path: &Path = self.input.path();
        let batch = guarded(path, Format::Ipc, || self.batches.next().transpose())?;
        let Some(batch) = batch else {
            if self.given != self.rows {
                return Err(Error::RowCount {
                    path: path.to_path_buf(),
                    expected: self.rows,
                    found: self.given,
                });
            }
            return Ok(None);
        };
        let (schema, given) = (&self.schema, self.given);
        let fitted = border::guard(|| fit(path, &batch, schema, given));
        let fitted =
            fitted.map_err(|panicked| corrupt(path, Format::Ipc, &panicked.to_string()))??;
        check_cells(path, &fitted, self.given, self.max_cell_bytes)?;
        self.given += batch.num_rows() as u64;
        Ok(Some(FileBatch::Rows(fitted)))
    }
}

impl Iterator for IpcRows {
    type Item = Result<FileBatch, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.read();
        self.ended = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    }
}
