//! Reading a spool file back, a row group at a time.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use arrow::compute::{filter, is_null};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::rows::{
    CUSTOM_ID, FRAGMENT, OWN_COLUMNS, SpoolRows, UNSENT, estimate_field, own_fields,
};
use super::spool::{COLUMNS_KEY, FORMAT, FORMAT_KEY, PACKED_KEY, WITHOUT_ESTIMATES};
use super::{Error, packed_columns};
use crate::border;

/// Reads the spool file of a batch, row group by row group.
///
/// **Shape**: rows in run order, at most 8,192 rows and about 16 MiB at a time (a single row may be
/// larger).
#[derive(Debug)]
pub struct SpoolReader {
    groups: RowGroups,
    with_fragments: bool,
}

impl SpoolReader {
    /// Opens a spool file. [`verify`] checks whether it is the one that was planned.
    ///
    /// # Errors
    /// When the file is missing, is no spool file, or is one of another version.
    pub fn open(path: &Path) -> Result<SpoolReader, Error> {
        Ok(SpoolReader {
            groups: RowGroups::open(path, None)?,
            with_fragments: true,
        })
    }

    /// As [`SpoolReader::open`], but skips the fragments, which are most of the bytes: they read as
    /// null.
    ///
    /// # Errors
    /// As [`SpoolReader::open`].
    pub fn open_without_fragments(path: &Path) -> Result<SpoolReader, Error> {
        let mut groups = RowGroups::open(path, None)?;
        // The estimates, which stand last, are left out too.
        let wanted: Vec<usize> = (0..OWN_COLUMNS.len() + groups.columns.fields().len())
            .filter(|&position| position != FRAGMENT)
            .collect();
        groups.project(&wanted);
        Ok(SpoolReader {
            groups,
            with_fragments: false,
        })
    }

    /// The schema of the source's columns, as they were written.
    #[must_use]
    pub fn columns(&self) -> &SchemaRef {
        &self.groups.columns
    }

    /// The number of rows in the file.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.groups
            .metadata
            .metadata()
            .file_metadata()
            .num_rows()
            .unsigned_abs()
    }

    fn spool_rows(&self, batch: &RecordBatch) -> Result<SpoolRows, Error> {
        let mut columns = batch.columns().to_vec();
        if !self.with_fragments {
            columns.insert(
                FRAGMENT,
                new_null_array(&DataType::Binary, batch.num_rows()),
            );
        }
        let estimates = OWN_COLUMNS.len() + self.groups.columns.fields().len();
        let estimate = match columns.get(estimates) {
            Some(estimate) => estimate.as_binary().clone(),
            None => BinaryArray::new_null(batch.num_rows()),
        };
        let cells = self.source_columns(&columns[OWN_COLUMNS.len()..estimates], batch.num_rows());
        let path = || self.groups.path.clone();
        Ok(SpoolRows::from_own_columns(
            &columns,
            estimate,
            cells.map_err(|source| Error::Column {
                path: path(),
                doing: "read",
                source,
            })?,
        ))
    }

    fn source_columns(&self, columns: &[ArrayRef], rows: usize) -> Result<RecordBatch, ArrowError> {
        let mut columns = columns.to_vec();
        for &position in &self.groups.packed {
            columns[position] = border::guarded(|| packed_columns::unpack(&columns[position]))?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.groups.columns), columns, &options)
    }
}

impl Iterator for SpoolReader {
    type Item = Result<SpoolRows, Error>;

    fn next(&mut self) -> Option<Result<SpoolRows, Error>> {
        let batch = self.groups.next()?;
        Some(batch.and_then(|batch| self.spool_rows(&batch)))
    }
}

/// The custom_ids of the requests in a spool file, in run order, one array a row group. Nothing
/// else of the rows is read.
///
/// # Errors
/// As [`SpoolReader::open`]; the iterator yields what goes wrong while reading.
pub fn sent_ids(
    path: &Path,
) -> Result<impl Iterator<Item = Result<StringArray, Error>> + use<>, Error> {
    let groups = RowGroups::open(path, Some(&[CUSTOM_ID, UNSENT]))?;
    let path = path.to_path_buf();
    Ok(groups.map(move |batch| {
        let batch = batch?;
        let ids = is_null(batch.column(1)).and_then(|sent| filter(batch.column(0), &sent));
        let ids = ids.map_err(|source| Error::Column {
            path: path.clone(),
            doing: "read",
            source,
        })?;
        Ok(ids.as_string().clone())
    }))
}

/// Why rows of a spool file have no request, in run order, an array a row group: null where a row
/// has one. Nothing else of the rows is read.
///
/// # Errors
/// As [`SpoolReader::open`]; the iterator yields what goes wrong while reading.
pub fn no_request_reasons(
    path: &Path,
) -> Result<impl Iterator<Item = Result<StringArray, Error>> + use<>, Error> {
    let groups = RowGroups::open(path, Some(&[UNSENT]))?;
    Ok(groups.map(|batch| Ok(batch?.column(0).as_string().clone())))
}

/// The estimates of a batch's requests, in run order, an array a row group: null where a request
/// has none. `None` where the file is of a version that kept none. Nothing else of the rows is
/// read.
///
/// # Errors
/// As [`SpoolReader::open`]; the iterator yields what goes wrong while reading.
pub fn estimates(
    path: &Path,
) -> Result<Option<impl Iterator<Item = Result<BinaryArray, Error>> + use<>>, Error> {
    let mut groups = RowGroups::open(path, None)?;
    if !groups.has_estimates {
        return Ok(None);
    }
    groups.project(&[UNSENT, OWN_COLUMNS.len() + groups.columns.fields().len()]);
    let path = path.to_path_buf();
    Ok(Some(groups.map(move |batch| {
        let batch = batch?;
        let estimates = is_null(batch.column(0)).and_then(|sent| filter(batch.column(1), &sent));
        let estimates = estimates.map_err(|source| Error::Column {
            path: path.clone(),
            doing: "read",
            source,
        })?;
        Ok(estimates.as_binary().clone())
    })))
}

/// Checks that a spool file is the one that was planned, by its hash.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Altered`], or what the file system answers.
pub fn verify(path: &Path, file_hash: &str) -> Result<(), Error> {
    let mut file = open(path)?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut file, &mut hasher).map_err(|source| cannot_read(path, source))?;
    if hasher.finalize().to_hex().as_str() == file_hash {
        Ok(())
    } else {
        Err(Error::Altered {
            path: path.to_path_buf(),
        })
    }
}

/// The row groups of a spool file, each as one record batch.
#[derive(Debug)]
pub(super) struct RowGroups {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    columns: SchemaRef,
    packed: Vec<usize>,
    has_estimates: bool,
    mask: ProjectionMask,
    next: usize,
}

impl RowGroups {
    /// Opens the file for reading all columns, or the columns at these positions.
    pub(super) fn open(path: &Path, wanted: Option<&[usize]>) -> Result<RowGroups, Error> {
        let file = open(path)?;
        let metadata = border::guarded(|| ArrowReaderMetadata::load(&file, Default::default()))
            .map_err(|source| cannot_decode(path, source))?;
        let (columns, packed, has_estimates) = read_footer(path, metadata.metadata())?;
        if !has_layout(metadata.schema(), &columns, &packed, has_estimates) {
            return Err(not_a_spool(
                path,
                "its columns are not those of a spool file",
            ));
        }
        let mut groups = RowGroups {
            path: path.to_path_buf(),
            file,
            metadata,
            columns,
            packed,
            has_estimates,
            mask: ProjectionMask::all(),
            next: 0,
        };
        if let Some(wanted) = wanted {
            groups.project(wanted);
        }
        Ok(groups)
    }

    fn project(&mut self, wanted: &[usize]) {
        self.mask = ProjectionMask::roots(self.metadata.parquet_schema(), wanted.iter().copied());
    }

    /// Reads one row group. A reader of the whole file would fill its batches across groups, and a
    /// packed column can be unpacked only where its first value is the first of a write.
    fn read(&self, group: usize) -> Result<RecordBatch, ParquetError> {
        let rows = usize::try_from(self.metadata.metadata().row_group(group).num_rows())?;
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.try_clone()?,
            self.metadata.clone(),
        )
        .with_row_groups(vec![group])
        .with_projection(self.mask.clone())
        .with_batch_size(rows)
        .build()?;
        match reader.next().transpose()? {
            Some(batch) if batch.num_rows() == rows => Ok(batch),
            _ => Err(ParquetError::General(format!(
                "row group {group} does not hold its {rows} rows"
            ))),
        }
    }
}

impl Iterator for RowGroups {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        if self.next == self.metadata.metadata().num_row_groups() {
            return None;
        }
        let batch = border::guarded(|| self.read(self.next))
            .map_err(|source| cannot_decode(&self.path, source));
        self.next = if batch.is_ok() {
            self.next + 1
        } else {
            self.metadata.metadata().num_row_groups()
        };
        Some(batch)
    }
}

/// Whether the columns of the file are rowmill's own, followed by as many as the source has, and by
/// the estimates.
fn has_layout(file: &Schema, columns: &Schema, packed: &[usize], has_estimates: bool) -> bool {
    let fields = file.fields();
    let estimates = OWN_COLUMNS.len() + columns.fields().len();
    fields.len() == estimates + usize::from(has_estimates)
        && (!has_estimates || fields[estimates] == estimate_field())
        && fields
            .iter()
            .zip(&own_fields())
            .all(|(read, own)| read == own)
        && packed
            .iter()
            .all(|position| *fields[OWN_COLUMNS.len() + position].data_type() == DataType::Binary)
}

/// The schema of the source's columns, the positions of those that are packed, and whether there
/// are estimates.
fn read_footer(
    path: &Path,
    metadata: &ParquetMetaData,
) -> Result<(SchemaRef, Vec<usize>, bool), Error> {
    let fact = |key: &str| {
        let facts = metadata.file_metadata().key_value_metadata()?;
        facts.iter().find(|fact| fact.key == key)?.value.as_deref()
    };
    let format =
        fact(FORMAT_KEY).ok_or_else(|| not_a_spool(path, "it lacks the mark of a spool file"))?;
    if ![FORMAT, WITHOUT_ESTIMATES].contains(&format) {
        return Err(not_a_spool(
            path,
            &format!("it has format version {format}; this version reads {FORMAT}"),
        ));
    }
    let columns = fact(COLUMNS_KEY).and_then(|text| {
        let message = BASE64_STANDARD.decode(text).ok()?;
        border::guarded(|| arrow::ipc::convert::try_schema_from_ipc_buffer(&message)).ok()
    });
    let columns = columns
        .ok_or_else(|| not_a_spool(path, "the schema of its source columns is unreadable"))?;
    let packed: Option<Vec<usize>> = fact(PACKED_KEY)
        .unwrap_or("")
        .split(',')
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().ok())
        .collect();
    match packed {
        Some(packed)
            if packed
                .iter()
                .all(|&position| position < columns.fields().len()) =>
        {
            Ok((Arc::new(columns), packed, format == FORMAT))
        }
        _ => Err(not_a_spool(
            path,
            "its list of packed columns is unreadable",
        )),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            path: path.to_path_buf(),
        },
        _ => cannot_read(path, source),
    })
}

fn not_a_spool(path: &Path, what: &str) -> Error {
    Error::Format {
        path: path.to_path_buf(),
        what: what.to_owned(),
    }
}

fn cannot_read(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_path_buf(),
        doing: "read",
        source,
    }
}

fn cannot_decode(path: &Path, source: ParquetError) -> Error {
    Error::Parquet {
        path: path.to_path_buf(),
        doing: "read",
        source,
    }
}
