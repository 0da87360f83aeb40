//! A planned batch on disk: one Parquet file, written once and never changed.
//!
//! ```text
//!  position   0          1          2             3         4       5     6      7 ...                                      last
//!  column     row_index  custom_id  request_hash  fragment  unsent  key   tag    the source's columns, found by position  estimate
//!             u64        utf8?      utf8?         binary?   utf8?   utf8  utf8?                                           binary?
//! ```
//!
//! A row has a request when it has a fragment; otherwise `unsent` holds the reason, without row
//! contents. Rows are in run order. The source's columns keep names, types, nullability and
//! metadata, whatever they are (see `packed_columns.rs`); a batch built from rows of other batches
//! may have none. Row groups hold at most 8,192 rows and about 16 MiB, which bounds the memory of a
//! reader.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::{ArrowWriter, encode_arrow_schema};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use super::body::Assembler;
use super::rows::{ESTIMATE, OWN_COLUMNS, SpoolRows, TAG, UNSENT, estimate_field, own_fields};
use super::{Envelope, Error, SpoolReader, packed_columns};
use crate::border;
use crate::durable::Pending;

/// Version of the file format. A reader refuses other versions, but for the one before.
pub(super) const FORMAT: &str = "3";
/// The version before: the same file without estimates.
pub(super) const WITHOUT_ESTIMATES: &str = "2";
pub(super) const FORMAT_KEY: &str = "rowmill:spool";
/// The exact schema of the source's columns, as an Arrow IPC message in base64.
pub(super) const COLUMNS_KEY: &str = "rowmill:columns";
/// Positions of packed columns, separated by commas.
pub(super) const PACKED_KEY: &str = "rowmill:packed";

const GROUP_ROWS: usize = 8_192;
const GROUP_BYTES: usize = 16 << 20;
/// The bytes of the body that are assembled before they are hashed.
const HASH_BYTES: usize = 1 << 20;

/// A planned batch: what its spool file holds, as recorded in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledBatch {
    /// The number of the batch, counted from 1.
    #[serde(rename = "piece")]
    pub number: u32,
    /// The number of rows.
    pub rows: u64,
    /// The number of rows with a request.
    pub requests: u32,
    /// Exact bytes of the body of the create call.
    pub body_bytes: u64,
    /// `row_index` of the first row; 0 where there is none.
    pub first_row: u64,
    /// `row_index` of the last row; 0 where there is none.
    pub last_row: u64,
    /// Size of the spool file.
    pub file_bytes: u64,
    /// blake3 of the spool file, in hex.
    pub file_hash: String,
    /// blake3 of the create call's body, in hex.
    pub body_hash: String,
}

/// Writes the spool file of one batch.
///
/// **Shape**: any number of rows at a time, in run order. Memory: one row group, encoded. Dropped
/// without [`SpoolWriter::finish`], it leaves no file.
pub struct SpoolWriter {
    path: PathBuf,
    writer: ArrowWriter<HashingFile>,
    file_schema: SchemaRef,
    columns: SchemaRef,
    packed: Vec<usize>,
    group_per_write: bool,
    group_bytes: usize,
    body: BodyHasher,
    summary: SpooledBatch,
}

impl std::fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolWriter")
            .field("path", &self.path)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

/// Describes an existing spool file as its writer did, for a batch whose plan entry is lost. `head`
/// is the part that its requests have in common, `envelope` the bytes around them.
///
/// # Errors
/// As [`SpoolReader::open`], and what goes wrong while reading.
pub fn summary_of(
    path: &Path,
    number: u32,
    envelope: Envelope,
    head: Arc<[u8]>,
) -> Result<SpooledBatch, Error> {
    let mut body = BodyHasher::new(envelope, head);
    let (mut rows, mut requests, mut first_row, mut last_row) = (0, 0, 0, 0);
    for chunk in SpoolReader::open(path)? {
        let chunk = chunk?;
        for row in 0..chunk.len() {
            last_row = chunk.row_index.value(row);
            if rows == 0 {
                first_row = last_row;
            }
            rows += 1;
            if chunk.fragment.is_valid(row) {
                body.push(chunk.custom_id.value(row), chunk.fragment.value(row));
                requests += 1;
            }
        }
    }
    let cannot = |source| Error::Io {
        path: path.to_path_buf(),
        doing: "read",
        source,
    };
    let mut file = std::fs::File::open(path).map_err(cannot)?;
    let mut hasher = blake3::Hasher::new();
    let file_bytes = io::copy(&mut file, &mut hasher).map_err(cannot)?;
    let (body_bytes, body_hash) = body.finish();
    let file_hash = hasher.finalize().to_hex().to_string();
    Ok(SpooledBatch {
        number,
        rows,
        requests,
        body_bytes,
        first_row,
        last_row,
        file_bytes,
        file_hash,
        body_hash,
    })
}

impl SpoolWriter {
    /// Starts the file of batch `number`. `head` is the part that all its requests have in common,
    /// `columns` the schema of the source's columns.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(
        path: &Path,
        number: u32,
        envelope: Envelope,
        head: Arc<[u8]>,
        columns: &SchemaRef,
    ) -> Result<SpoolWriter, Error> {
        let packed: Vec<usize> = (0..columns.fields().len())
            .filter(|&position| !packed_columns::survives_parquet(&columns.fields()[position]))
            .collect();
        let file_schema = file_schema(columns, &packed);
        let pending = Pending::create(path).map_err(|source| cannot_write(path, source))?;
        let properties = properties(columns, &packed);
        let create = || {
            ArrowWriter::try_new(
                HashingFile::new(pending),
                Arc::clone(&file_schema),
                Some(properties),
            )
        };
        let writer = border::guarded(create).map_err(|source| cannot_encode(path, source))?;
        Ok(SpoolWriter {
            path: path.to_path_buf(),
            writer,
            file_schema,
            columns: Arc::clone(columns),
            group_per_write: columns
                .fields()
                .iter()
                .any(|field| packed_columns::has_narrow_keys(field.data_type())),
            packed,
            group_bytes: 0,
            body: BodyHasher::new(envelope, head),
            summary: SpooledBatch {
                number,
                rows: 0,
                requests: 0,
                body_bytes: 0,
                first_row: 0,
                last_row: 0,
                file_bytes: 0,
                file_hash: String::new(),
                body_hash: String::new(),
            },
        })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// When rows are not in run order, a request has no usable custom_id, a row has neither request
    /// nor reason, the columns have another schema, or the file cannot be written. The writer
    /// cannot be used afterwards.
    pub fn write(&mut self, rows: &SpoolRows) -> Result<(), Error> {
        self.check_shape(rows)?;
        for row in 0..rows.len() {
            self.check_row(rows, row)?;
            if rows.fragment.is_valid(row) {
                self.body
                    .push(rows.custom_id.value(row), rows.fragment.value(row));
                self.summary.requests += 1;
            }
            self.summary.rows += 1;
        }
        // A row group holds one dictionary a column, and those of two writes may have more values
        // together than narrow keys can number.
        if self.group_per_write {
            self.end_group()?;
        }
        self.write_bounded(rows)
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// When it cannot be written; there is no file of that name then, or the one from before.
    pub fn finish(self) -> Result<SpooledBatch, Error> {
        let SpoolWriter {
            path,
            writer,
            body,
            mut summary,
            ..
        } = self;
        let file = border::guarded(|| writer.into_inner())
            .map_err(|source| cannot_encode(&path, source))?;
        (summary.body_bytes, summary.body_hash) = body.finish();
        (summary.file_bytes, summary.file_hash) = file
            .finish()
            .map_err(|source| cannot_write(&path, source))?;
        Ok(summary)
    }

    fn check_shape(&self, rows: &SpoolRows) -> Result<(), Error> {
        let mismatch = |what| Error::Rows {
            path: self.path.clone(),
            what,
        };
        let lengths = rows.own_columns().into_iter().map(|column| column.len());
        let lengths = lengths.chain([rows.estimate.len()]);
        if lengths
            .chain([rows.columns.num_rows()])
            .any(|length| length != rows.len())
        {
            return Err(mismatch("the columns have different lengths"));
        }
        let schema = rows.columns.schema_ref();
        if !Arc::ptr_eq(schema, &self.columns) && schema.fields() != self.columns.fields() {
            return Err(mismatch(
                "the source columns have another schema than those before",
            ));
        }
        if rows.row_index.null_count() + rows.key.null_count() > 0 {
            return Err(mismatch("a row has no index or no key"));
        }
        Ok(())
    }

    /// Checks a row and records it as the last one.
    fn check_row(&mut self, rows: &SpoolRows, row: usize) -> Result<(), Error> {
        let row_index = rows.row_index.value(row);
        let problem = if self.summary.rows > 0 && row_index <= self.summary.last_row {
            Some("it does not follow the row before it")
        } else if rows.fragment.is_valid(row) == rows.unsent.is_valid(row) {
            Some("it must have either a request or a reason why not")
        } else if rows.fragment.is_valid(row) && !is_plain_id(&rows.custom_id, row) {
            Some("its request has no custom_id of plain characters")
        } else {
            None
        };
        if let Some(what) = problem {
            return Err(Error::Row {
                path: self.path.clone(),
                row_index,
                what,
            });
        }
        if self.summary.rows == 0 {
            self.summary.first_row = row_index;
        }
        self.summary.last_row = row_index;
        Ok(())
    }

    /// Writes rows; ends the row group where it would become too large to be read at once.
    fn write_bounded(&mut self, rows: &SpoolRows) -> Result<(), Error> {
        // The writer ends a group by itself only at its limit of rows, and may do so within one
        // write. So rows are split here: no write crosses the end of a group, and the bytes of the
        // group in progress are known.
        let room = GROUP_ROWS - self.writer.in_progress_rows();
        let bytes = rows.bytes();
        if rows.len() > room {
            self.write_bounded(&rows.slice(0, room))?;
            return self.write_bounded(&rows.slice(room, rows.len() - room));
        }
        if bytes > GROUP_BYTES && rows.len() > 1 {
            let half = rows.len() / 2;
            self.write_bounded(&rows.slice(0, half))?;
            return self.write_bounded(&rows.slice(half, rows.len() - half));
        }
        if self.group_bytes + bytes > GROUP_BYTES {
            self.end_group()?;
        }
        let batch = self.file_batch(rows)?;
        border::guarded(|| self.writer.write(&batch))
            .map_err(|source| cannot_encode(&self.path, source))?;
        self.group_bytes = if self.writer.in_progress_rows() == 0 {
            0
        } else {
            self.group_bytes + bytes
        };
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Error> {
        self.group_bytes = 0;
        border::guarded(|| self.writer.flush()).map_err(|source| cannot_encode(&self.path, source))
    }

    fn file_batch(&self, rows: &SpoolRows) -> Result<RecordBatch, Error> {
        let failed = |source| Error::Column {
            path: self.path.clone(),
            doing: "write",
            source,
        };
        let mut columns = rows.own_columns();
        columns.extend(rows.columns.columns().iter().cloned());
        columns.push(Arc::new(rows.estimate.clone()));
        // A packed column has its cells in the value of the first row, so it needs one.
        for &position in self.packed.iter().filter(|_| !rows.is_empty()) {
            let column = &mut columns[OWN_COLUMNS.len() + position];
            let pack = || packed_columns::pack(&self.columns.fields()[position], column);
            *column = border::guarded(pack).map_err(failed)?;
        }
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.file_schema)));
        }
        RecordBatch::try_new(Arc::clone(&self.file_schema), columns).map_err(failed)
    }
}

/// Calculates hash and length of a body without keeping it.
struct BodyHasher {
    assembler: Assembler,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl BodyHasher {
    fn new(envelope: Envelope, head: Arc<[u8]>) -> BodyHasher {
        BodyHasher {
            assembler: Assembler::new(envelope, head),
            buffer: Vec::new(),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, custom_id: &str, fragment: &[u8]) {
        self.assembler.push(custom_id, fragment, &mut self.buffer);
        if self.buffer.len() >= HASH_BYTES {
            self.hash();
        }
    }

    fn hash(&mut self) {
        self.hasher.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
    }

    fn finish(mut self) -> (u64, String) {
        self.assembler.close(&mut self.buffer);
        self.hash();
        (self.bytes, self.hasher.finalize().to_hex().to_string())
    }
}

/// A file that is hashed while it is written.
struct HashingFile {
    pending: Pending,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl HashingFile {
    fn new(pending: Pending) -> HashingFile {
        HashingFile {
            pending,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> io::Result<(u64, String)> {
        self.pending.commit()?;
        Ok((self.bytes, self.hasher.finalize().to_hex().to_string()))
    }
}

impl Write for HashingFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.pending.write(buf)?;
        self.hasher.update(&buf[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pending.flush()
    }
}

fn file_schema(columns: &Schema, packed: &[usize]) -> SchemaRef {
    let mut fields: Vec<_> = own_fields().to_vec();
    fields.extend(columns.fields().iter().cloned());
    fields.push(estimate_field());
    for position in packed {
        let field = &mut fields[OWN_COLUMNS.len() + position];
        *field = Arc::new(packed_columns::packed_field(field.name()));
    }
    Arc::new(Schema::new(fields))
}

/// zstd at level 1, no statistics, and no dictionaries for texts that are all different: a spool
/// file is only read from start to end.
fn properties(columns: &Schema, packed: &[usize]) -> WriterProperties {
    let positions: Vec<String> = packed.iter().map(usize::to_string).collect();
    let facts = [
        (FORMAT_KEY, FORMAT.to_owned()),
        (COLUMNS_KEY, encode_arrow_schema(columns)),
        (PACKED_KEY, positions.join(",")),
    ];
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(Some(
            facts
                .into_iter()
                .map(|(key, value)| KeyValue::new(key.to_owned(), value))
                .collect(),
        ));
    for name in OWN_COLUMNS
        .into_iter()
        .filter(|name| ![OWN_COLUMNS[UNSENT], OWN_COLUMNS[TAG]].contains(name))
        .chain([ESTIMATE])
    {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    properties.build()
}

/// Whether the id can be written into the body without escapes.
fn is_plain_id(ids: &StringArray, row: usize) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    ids.is_valid(row) && !ids.value(row).is_empty() && ids.value(row).bytes().all(is_plain)
}

fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_path_buf(),
        doing: "write",
        source,
    }
}

fn cannot_encode(path: &Path, source: ParquetError) -> Error {
    Error::Parquet {
        path: path.to_path_buf(),
        doing: "write",
        source,
    }
}
