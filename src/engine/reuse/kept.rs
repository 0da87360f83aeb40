//! Rows of an earlier output that stay in the new one.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::plan::{KeptRows, ReusePlan, cannot};
use super::{CannotContinue, ContinueFault, answers, earlier};
use crate::engine::{Error, Run};
use crate::outcome::Status;
use crate::output::{OutputSchema, OutputWriter};
use crate::source::{SourceRows, type_name};

/// Rows that stay, and how many of them succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct KeptCounts {
    /// Rows.
    pub rows: u64,
    /// Rows that succeeded.
    pub succeeded: u64,
}

/// Why the rows of an output cannot stay beside those of another schema.
pub(super) fn column_fault(of_file: &Schema, wanted: &OutputSchema) -> Option<ContinueFault> {
    let wanted = wanted.schema();
    let more: Vec<String> = of_file
        .fields()
        .iter()
        .filter(|field| wanted.index_of(field.name()).is_err())
        .map(|field| field.name().clone())
        .collect();
    if !more.is_empty() {
        return Some(ContinueFault::MoreColumns { columns: more });
    }
    wanted
        .fields()
        .iter()
        .find_map(|field| match of_file.field_with_name(field.name()) {
            Ok(found) if found.data_type() == field.data_type() => None,
            Ok(found) => Some(ContinueFault::OtherType {
                column: field.name().clone(),
                was: name_beside(found.data_type(), field.data_type()),
                now: name_beside(field.data_type(), found.data_type()),
            }),
            Err(_) if field.is_nullable() => None,
            Err(_) => Some(ContinueFault::NotNull {
                column: field.name().clone(),
            }),
        })
}

/// Writes the rows that stay: all of them, where `wanted` says so, or those that are listed.
///
/// # Errors
/// [`Error::EarlierOutputAltered`], [`Error::Source`], [`Error::Output`].
pub(crate) fn write_kept(
    run: &Run,
    plan: &ReusePlan,
    prefix: &str,
    schema: &OutputSchema,
    writer: &mut OutputWriter,
) -> Result<KeptCounts, Error> {
    let mut counts = KeptCounts::default();
    let (Some(Some(copy)), listed) = (plan.files.first(), listed(run, &plan.kept)?) else {
        return Ok(counts);
    };
    if plan.kept == KeptRows::None {
        return Ok(counts);
    }
    let path = answers::check(run, copy)?;
    let source = earlier::open(&path, copy.format)?;
    // An export may write other columns than the plan did.
    if let Some(why) = column_fault(source.schema(), schema) {
        return Err(Error::CannotContinue(Box::new(CannotContinue {
            path: copy.from.clone(),
            mode: plan.mode,
            why,
        })));
    }
    let mut left = listed.as_deref();
    let status = format!("{prefix}status");
    for rows in source.scan(None)? {
        let rows = rows?;
        let batch = match &mut left {
            None => rows.batch,
            Some(left) => some_of(&rows, left)?,
        };
        if batch.num_rows() == 0 {
            continue;
        }
        counts.rows += batch.num_rows() as u64;
        counts.succeeded += succeeded(&batch, &status);
        writer.write(&in_schema(&batch, schema.schema())?)?;
    }
    Ok(counts)
}

/// The rows that are listed; `None` where all stay.
fn listed(run: &Run, kept: &KeptRows) -> Result<Option<Vec<u32>>, Error> {
    let KeptRows::Listed { file, hash, .. } = kept else {
        return Ok(None);
    };
    let path = run.folder().join(file);
    let bytes = std::fs::read(&path).map_err(cannot("read", &path))?;
    if blake3::hash(&bytes).to_hex().as_str() != hash {
        return Err(Error::EarlierOutputAltered { path });
    }
    let (rows, _) = bytes.as_chunks::<4>();
    Ok(Some(
        rows.iter().map(|row| u32::from_le_bytes(*row)).collect(),
    ))
}

/// The rows of a batch that are listed next.
fn some_of(rows: &SourceRows, left: &mut &[u32]) -> Result<RecordBatch, Error> {
    let first = rows.row_index.first().copied().unwrap_or(0);
    let end = first + rows.row_index.len() as u64;
    let here = left.partition_point(|row| u64::from(*row) < end);
    let (now, rest) = left.split_at(here);
    *left = rest;
    let at = now
        .iter()
        .map(|row| u32::try_from(u64::from(*row) - first).unwrap_or(u32::MAX));
    take_record_batch(&rows.batch, &UInt32Array::from_iter_values(at))
        .map_err(|error| Error::Bug(error.to_string()))
}

fn succeeded(batch: &RecordBatch, status: &str) -> u64 {
    let words = batch
        .column_by_name(status)
        .and_then(|column| cast(column, &DataType::Utf8).ok());
    words.map_or(0, |words| {
        let words = words.as_string::<i32>();
        let is_it =
            |row: &usize| words.is_valid(*row) && words.value(*row) == Status::Succeeded.as_str();
        (0..words.len()).filter(is_it).count() as u64
    })
}

/// Rows of an earlier output as the new one has them: a column that is new is null.
fn in_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        batch
            .column_by_name(field.name())
            .cloned()
            .unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| Error::Bug(error.to_string()))
}

/// The name of a type as the job file has it; in full where the other one has the same name.
fn name_beside(data_type: &DataType, other: &DataType) -> String {
    let name = type_name(data_type);
    if name == type_name(other) {
        data_type.to_string()
    } else {
        name
    }
}
