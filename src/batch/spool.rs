//! A piece of the run on disk: one Parquet file, written once and never changed.
//!
//! ```text
//!  position   0          1          2             3         4       5     6      7 ...                                      last
//!  column     row_index  custom_id  request_hash  fragment  unsent  key   tag    the source's columns, found by position  estimate
//!             u64        utf8?      utf8?         binary?   utf8?   utf8  utf8?                                           binary?
//! ```
//!
//! A row has a request when it has a fragment; otherwise `unsent` says why not, in words without
//! row contents. Rows stand in run order. The source's columns keep names, types, nullability and
//! metadata, whatever they are (see `cells.rs`); a piece made from rows of other pieces may have
//! none. Row groups hold at most 8,192 rows and about 16 MiB, so reading is bounded.

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
use super::rows::{ESTIMATE, LEADING, SpoolRows, TAG, UNSENT, estimate_field, leading_fields};
use super::{Error, SpoolReader, cells};
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
/// So many bytes of the body are put together before they are hashed.
const HASH_BYTES: usize = 1 << 20;

/// What a piece holds, for the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledBatch {
    /// Number of the piece, which is the number of its batch, counted from 1.
    pub piece: u32,
    /// Rows.
    pub rows: u64,
    /// Rows that have a request.
    pub requests: u32,
    /// Exact bytes of the create call's body.
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

/// Writes one piece.
///
/// **Shape**: stretches of any number of rows, in run order. Memory: one row group, encoded.
/// Dropped without [`SpoolWriter::finish`], it leaves nothing behind.
pub struct SpoolWriter {
    path: PathBuf,
    writer: ArrowWriter<Hashing>,
    file_schema: SchemaRef,
    columns: SchemaRef,
    packed: Vec<usize>,
    group_per_stretch: bool,
    group_bytes: usize,
    body: BodyHash,
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

/// Describes a spool file that is there, as its writer did, where nothing else tells of it any
/// more. `head` is what its requests have in common.
///
/// # Errors
/// As [`SpoolReader::open`], and what goes wrong while reading.
pub fn summary_of(path: &Path, piece: u32, head: Arc<[u8]>) -> Result<SpooledBatch, Error> {
    let mut body = BodyHash::new(head);
    let (mut rows, mut requests, mut first_row, mut last_row) = (0, 0, 0, 0);
    for stretch in SpoolReader::open(path)? {
        let stretch = stretch?;
        for row in 0..stretch.len() {
            last_row = stretch.row_index.value(row);
            if rows == 0 {
                first_row = last_row;
            }
            rows += 1;
            if stretch.fragment.is_valid(row) {
                body.push(stretch.custom_id.value(row), stretch.fragment.value(row));
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
        piece,
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
    /// Begins the file of `piece`. `head` is what all its requests have in common, `columns` the
    /// schema of the source's columns.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(
        path: &Path,
        piece: u32,
        head: Arc<[u8]>,
        columns: &SchemaRef,
    ) -> Result<SpoolWriter, Error> {
        let packed: Vec<usize> = (0..columns.fields().len())
            .filter(|&position| !cells::survives_parquet(&columns.fields()[position]))
            .collect();
        let file_schema = file_schema(columns, &packed);
        let pending = Pending::create(path).map_err(|source| cannot_write(path, source))?;
        let properties = properties(columns, &packed);
        let create = || {
            ArrowWriter::try_new(
                Hashing::new(pending),
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
            group_per_stretch: columns
                .fields()
                .iter()
                .any(|field| cells::has_narrow_keys(field.data_type())),
            packed,
            group_bytes: 0,
            body: BodyHash::new(head),
            summary: SpooledBatch {
                piece,
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

    /// Adds a stretch of rows behind those written.
    ///
    /// # Errors
    /// When rows are not in run order, a request has no usable custom_id, a row has neither request
    /// nor reason, the columns have another schema, or the file cannot be written. The writer is of
    /// no use afterwards.
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
        if self.group_per_stretch {
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
        let stretch = |what| Error::Stretch {
            path: self.path.clone(),
            what,
        };
        let lengths = rows.leading().into_iter().map(|column| column.len());
        let lengths = lengths.chain([rows.estimate.len()]);
        if lengths
            .chain([rows.columns.num_rows()])
            .any(|length| length != rows.len())
        {
            return Err(stretch("the columns have different lengths"));
        }
        let schema = rows.columns.schema_ref();
        if !Arc::ptr_eq(schema, &self.columns) && schema.fields() != self.columns.fields() {
            return Err(stretch(
                "the source columns have another schema than those before",
            ));
        }
        if rows.row_index.null_count() + rows.key.null_count() > 0 {
            return Err(stretch("a row has no index or no key"));
        }
        Ok(())
    }

    /// Checks a row, and makes it the last one.
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

    /// Writes rows, ending the row group where it would become too large to read back at once.
    fn write_bounded(&mut self, rows: &SpoolRows) -> Result<(), Error> {
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
        let mut columns = rows.leading();
        columns.extend(rows.columns.columns().iter().cloned());
        columns.push(Arc::new(rows.estimate.clone()));
        for &position in self.packed.iter().filter(|_| !rows.is_empty()) {
            let column = &mut columns[LEADING.len() + position];
            let pack = || cells::pack(&self.columns.fields()[position], column);
            *column = border::guarded(pack).map_err(failed)?;
        }
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.file_schema)));
        }
        RecordBatch::try_new(Arc::clone(&self.file_schema), columns).map_err(failed)
    }
}

/// The hash and length of a body that is never kept.
struct BodyHash {
    assembler: Assembler,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl BodyHash {
    fn new(head: Arc<[u8]>) -> BodyHash {
        BodyHash {
            assembler: Assembler::new(head),
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
struct Hashing {
    pending: Pending,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Hashing {
    fn new(pending: Pending) -> Hashing {
        Hashing {
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

impl Write for Hashing {
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
    let mut fields: Vec<_> = leading_fields().to_vec();
    fields.extend(columns.fields().iter().cloned());
    fields.push(estimate_field());
    for position in packed {
        let field = &mut fields[LEADING.len() + position];
        *field = Arc::new(cells::packed_field(field.name()));
    }
    Arc::new(Schema::new(fields))
}

/// zstd at its lowest level (1), no statistics, and no dictionaries on texts that are all
/// different: nobody searches a spool.
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
    for name in LEADING
        .into_iter()
        .filter(|name| ![LEADING[UNSENT], LEADING[TAG]].contains(name))
        .chain([ESTIMATE])
    {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    properties.build()
}

/// Whether the id can stand in the body as it is.
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
